package kubernetes

import (
	"fmt"
	"testing"

	"github.com/reeve-cloud/reeve/plugins/kubernetes/kinds"
)

// TestSumsHaveNoOrder sums what pods hold, in whichever order they come: it is the same
// each time, and no fraction that nobody asked for.
func TestSumsHaveNoOrder(t *testing.T) {
	l := newLedger()
	l.podsKnown.set()
	for i, cpu := range []int64{100, 10, 100, 235, 1, 3330, 70} {
		l.setPod(fmt.Sprint(i), kinds.Requests{Node: "n", CPU: cpu, Memory: 1 << 20, Active: true})
	}
	want := amounts{CPU: 3.846, Memory: 7 << 20, Pods: 7}
	for range 200 { // a map's order is another one each time
		if got := l.allocated("n"); got != want {
			t.Fatalf("a node's pods hold %v, want %v", got, want)
		}
		if got := *l.summary().Allocated; got != want {
			t.Fatalf("the cluster's pods hold %v, want %v", got, want)
		}
	}
}
