package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
)

// seedRating hands cloudkitty the rated usage of every server for the last full
// hours, as its processor would. Once only: points would add up.
func seedRating(ctx context.Context, c *cloud, hours int) (int, error) {
	base, err := c.provider.EndpointLocator(gophercloud.EndpointOpts{
		Type: "rating", Availability: gophercloud.AvailabilityPublic, Region: os.Getenv("OS_REGION_NAME")})
	if err != nil {
		return 0, nil // no such service here
	}
	rating := &gophercloud.ServiceClient{ProviderClient: c.provider, Endpoint: strings.TrimSuffix(base, "/") + "/"}
	const day = "20060102T150405Z"
	end := time.Now().UTC().Truncate(time.Hour)
	begin := end.Add(-time.Duration(hours) * time.Hour)
	sum, err := call(ctx, rating, "GET", "v2/summary?begin="+begin.Format(day)+"&end="+end.Format(day), nil)
	if err != nil {
		return 0, err
	}
	if n, _ := sum["total"].(float64); n > 0 {
		if rows, _ := sum["results"].([]any); len(rows) > 0 {
			return 0, nil
		}
	}
	price := map[string]float64{"m1.small": 0.02, "m1.medium": 0.04, "c1.large": 0.09, "r1.medium": 0.11, "m1.xlarge": 0.16}
	points, marker := 0, ""
	for {
		path := "servers/detail?all_tenants=1&limit=200"
		if marker != "" {
			path += "&marker=" + marker
		}
		page, err := list(ctx, c.compute, path)
		if err != nil || len(page) == 0 {
			return points, err
		}
		marker = id(page[len(page)-1])
		var frames []obj
		for h := range hours {
			from := begin.Add(time.Duration(h) * time.Hour)
			var usage []obj
			for _, s := range page {
				flavor := s["flavor"].(obj)
				name := flavor["original_name"].(string)
				usage = append(usage, obj{
					"vol":     obj{"unit": "instance", "qty": 1.0},
					"rating":  obj{"price": price[name]},
					"groupby": obj{"id": s["id"], "project_id": s["tenant_id"], "user_id": s["user_id"]},
					"metadata": obj{"flavor_name": name, "flavor_id": name,
						"vcpus": fmt.Sprint(flavor["vcpus"])},
				})
			}
			points += len(usage)
			frames = append(frames, obj{"period": obj{"begin": from.Format(day),
				"end": from.Add(time.Hour).Format(day)}, "usage": obj{"instance": usage}})
		}
		if _, err := call(ctx, rating, "POST", "v2/dataframes", obj{"dataframes": frames}); err != nil {
			return points, err
		}
	}
}
