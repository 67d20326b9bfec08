package plugintest

import (
	"slices"
	"strings"
	"testing"

	"github.com/reeve-cloud/reeve/pkg/layout"
	"github.com/reeve-cloud/reeve/pkg/plugin"
)

// NoVolatileColumns fails the test if a list of a type has a column whose value is
// not kept up to date: what is volatile is as old as the last change of the asset,
// and in a list it looks current. Some paths may be excepted.
func NoVolatileColumns(t testing.TB, types []plugin.Type, except ...string) {
	t.Helper()
	for _, typ := range types {
		if typ.Layout == nil {
			continue
		}
		l, err := layout.Parse(typ.Layout)
		if err != nil {
			t.Errorf("%s: %v", typ.Name, err)
			continue
		}
		for _, c := range l.Columns {
			for _, path := range []string{c.Path, c.Of} {
				for _, volatile := range typ.Volatile {
					if path != "" && covers(volatile, path) && !slices.Contains(except, path) {
						t.Errorf("%s: the column %s shows %s, which is volatile (%s)", typ.Name, c.Title, path, volatile)
					}
				}
			}
		}
	}
}

// covers reports whether a volatile path covers another path.
func covers(volatile, path string) bool {
	pattern, keys := strings.Split(volatile, "."), strings.Split(path, ".")
	if len(pattern) > len(keys) {
		return false
	}
	for i, key := range pattern {
		name, _, _ := strings.Cut(keys[i], "[")
		if key != "*" && key != name {
			return false
		}
	}
	return true
}
