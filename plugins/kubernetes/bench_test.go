package kubernetes

import (
	"os"
	"testing"

	"github.com/reeve-cloud/reeve/plugins/kubernetes/object"
)

// BenchmarkObserve is the way of a pod from the API server's JSON to an
// observation: what a change costs before the agent compares it.
func BenchmarkObserve(b *testing.B) {
	raw, err := os.ReadFile("scrub/testdata/pod.json")
	if err != nil {
		b.Fatal(err)
	}
	c := newObserver()
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		o, err := object.Read(pods, raw)
		if err != nil {
			b.Fatal(err)
		}
		if observation, _ := c.observe(o); observation.Document == nil {
			b.Fatal("the pod was refused")
		}
	}
}
