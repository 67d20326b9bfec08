package kubernetes

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/reeve-cloud/reeve/pkg/layout"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/layouts"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/object"
)

// TestNothingStaleIsShown: a volatile value is as old as the last change of the
// object, so sections that show one say so. Lists show none.
func TestSectionsSayWhatIsStale(t *testing.T) {
	paths := make(map[string][]string) // by asset type
	for _, kind := range []object.Kind{
		{Group: "coordination.k8s.io", Kind: "Lease", Resource: "leases"},
		{Group: "autoscaling", Kind: "HorizontalPodAutoscaler", Resource: "horizontalpodautoscalers"},
	} {
		paths[kind.Type()] = volatileByKind[kind.String()]
	}
	for _, list := range paths {
		if len(list) == 0 || len(paths) != len(volatileByKind) {
			t.Fatal("kinds with volatile paths are not looked at")
		}
	}
	files, err := os.ReadDir("layouts")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		kind, ok := strings.CutSuffix(file.Name(), ".json")
		if !ok {
			continue
		}
		_, text := layouts.For("kubernetes." + kind)
		l, err := layout.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		all := slices.Concat(volatileEverywhere, paths["kubernetes."+kind])
		volatile := func(path string) bool {
			return slices.ContainsFunc(all, func(v string) bool { return path == v || strings.HasPrefix(path, v+".") })
		}
		for _, s := range l.Sections {
			said := strings.Contains(s.Title, "measured at the last change")
			if volatile(s.Path) != said {
				t.Errorf("%s: the section %s", kind, s.Title)
			}
			for _, c := range s.Columns {
				if volatile(strings.TrimPrefix(s.Path+"."+c.Path, ".")) && !said {
					t.Errorf("%s: %s in the section %s", kind, c.Title, s.Title)
				}
			}
		}
	}
}
