package metric

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/registry"
)

//go:embed shipped.json
var shipped []byte

// Shipped returns the metrics that come with the program, as they are made at a time. A
// test sees to it that they are right.
func Shipped(now time.Time) []registry.Metric {
	var list []registry.Metric
	if err := json.Unmarshal(shipped, &list); err != nil {
		panic(fmt.Sprintf("the metrics that come with the program: %v", err)) // it is part of the program
	}
	for i := range list {
		m := &list[i]
		m.Series, m.SeriesTime, m.UpdatedBy, m.CreateTime, m.UpdateTime = registry.NewSeries(), now, "system", now, now
	}
	return list
}
