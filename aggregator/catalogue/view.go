package catalogue

import (
	"slices"
	"strings"

	"github.com/reeve-cloud/reeve/pkg/filter"
	"github.com/reeve-cloud/reeve/pkg/nearest"
)

// View is the catalogue as one caller sees it, in the terms of filters.
type View struct {
	catalogue *Catalogue
	scope     Scope
}

// For returns the catalogue as a caller sees it.
func (c *Catalogue) For(scope Scope) *View { return &View{c, scope} }

var filterKinds = map[Kind]filter.Kind{
	Text: filter.Text, Number: filter.Numeric, Quantity: filter.Numeric, Time: filter.Time, Boolean: filter.Bool,
}

// Kind is what the values at a path of a type are, or of all types if it is empty.
func (v *View) Kind(assetType, path string) filter.Kind {
	kind, _ := v.catalogue.Kind(v.scope, assetType, path)
	return filterKinds[kind]
}

// maxNearest is how many names are given for one that is unknown.
const maxNearest = 5

// Known reports whether any asset of a type, or of all if it is empty, has or had the path,
// or one below it, and if not, which paths have names like it. Had is since there is a
// catalogue, and of what is deleted. Where it may be that it was left out, or was not
// counted yet, it says yes.
func (v *View) Known(assetType, path string) (known bool, near []string) {
	c := v.catalogue
	if !c.loaded.Load() || !c.looked.Load() {
		return true, nil
	}
	sites, all := c.seen(v.scope)
	var paths []string
	for _, t := range c.of(assetType) {
		t.mu.RLock()
		known = known || t.full || t.counted.IsZero()
		for p, e := range t.paths {
			if !all && e.sites.common(sites) == 0 {
				continue
			}
			if rest, below := strings.CutPrefix(p, path); below && (rest == "" || rest[0] == '.') {
				known = true
			}
			paths = append(paths, p)
		}
		t.mu.RUnlock()
		if known {
			return true, nil
		}
	}
	if c.bytes.Load() > maxBytes*9/10 {
		return true, nil
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	key := path[strings.LastIndexByte(path, '.')+1:]
	for _, p := range paths {
		if strings.EqualFold(p[strings.LastIndexByte(p, '.')+1:], key) {
			near = append(near, p)
		}
	}
	for _, p := range nearest.Words(path, paths) {
		if !slices.Contains(near, p) {
			near = append(near, p)
		}
	}
	return false, near[:min(len(near), maxNearest)]
}
