package cloud

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/gophercloud/gophercloud/v2"
)

// versions asks a service which microversions it speaks.
func (c *Cloud) versions(ctx context.Context, root string) (lowest, highest Microversion, err error) {
	answer, err := c.provider.Request(ctx, http.MethodGet, root, &gophercloud.RequestOpts{
		KeepResponseBody: true, OkCodes: []int{http.StatusOK, http.StatusMultipleChoices},
	})
	if err != nil {
		return lowest, highest, explain(err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return lowest, highest, err
	}
	// Ironic and Magnum say it in headers.
	for name, values := range answer.Header {
		switch name = strings.ToLower(name); {
		case strings.HasSuffix(name, "api-minimum-version"):
			lowest = ParseMicroversion(last(values))
		case strings.HasSuffix(name, "api-maximum-version"):
			highest = ParseMicroversion(last(values))
		}
	}
	if highest != (Microversion{}) {
		return lowest, highest, nil
	}
	type told struct {
		Version    string `json:"version"`
		MinVersion string `json:"min_version"`
		MaxVersion string `json:"max_version"`
	}
	var body struct {
		Version  jsontext.Value `json:"version"`
		Versions jsontext.Value `json:"versions"`
	}
	if err := json.Unmarshal(data, &body, jsontext.AllowDuplicateNames(true)); err != nil {
		return lowest, highest, fmt.Errorf("the answer is not what it should be: %w", err)
	}
	var list []told
	if body.Versions.Kind() == '[' {
		err = json.Unmarshal(body.Versions, &list)
	} else if body.Version.Kind() == '{' {
		list = make([]told, 1)
		err = json.Unmarshal(body.Version, &list[0])
	}
	if err != nil {
		return lowest, highest, fmt.Errorf("the answer is not what it should be: %w", err)
	}
	for _, v := range list {
		for _, text := range []string{v.Version, v.MaxVersion} {
			if m := ParseMicroversion(text); highest.Less(m) {
				lowest, highest = ParseMicroversion(v.MinVersion), m
			}
		}
	}
	return lowest, highest, nil
}

// last returns the last word of a header: Magnum writes "container-infra 1.11".
func last(values []string) string {
	words := strings.Fields(strings.Join(values, " "))
	if len(words) == 0 {
		return ""
	}
	return words[len(words)-1]
}
