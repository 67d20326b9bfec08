package kinds

import (
	"fmt"
	"time"

	"github.com/reeve-cloud/reeve/plugins/kubernetes/object"
)

// Sample is what a pod or a node used at a moment, as its metrics say it.
type Sample struct {
	At time.Time
	// CPU is in cores and Memory in bytes.
	CPU, Memory float64
}

// Metrics reads an object of the group metrics.k8s.io: the metrics of a node, or
// those of a pod, whose containers it adds up.
func Metrics(o *object.Object) (Sample, error) {
	var metrics struct {
		Timestamp  time.Time `json:"timestamp"`
		Usage      amounts   `json:"usage"`
		Containers []struct {
			Usage amounts `json:"usage"`
		} `json:"containers"`
	}
	if err := o.Decode(&metrics); err != nil {
		return Sample{}, err
	}
	used := metrics.Usage
	for _, c := range metrics.Containers {
		used = used.plus(c.Usage)
	}
	s := Sample{At: metrics.Timestamp, CPU: used.get("cpu"), Memory: used.get("memory")}
	switch {
	case s.At.Unix() <= 0:
		return Sample{}, fmt.Errorf("reading %s %s/%s: it has no timestamp", o.Kind, o.Meta.Namespace, o.Meta.Name)
	case len(used) == 0:
		return Sample{}, fmt.Errorf("reading %s %s/%s: it has no usage", o.Kind, o.Meta.Namespace, o.Meta.Name)
	case s.CPU < 0 || s.Memory < 0:
		return Sample{}, fmt.Errorf("reading %s %s/%s: its usage is below zero", o.Kind, o.Meta.Namespace, o.Meta.Name)
	}
	return s, nil
}
