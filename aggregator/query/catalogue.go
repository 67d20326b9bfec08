package query

import (
	"strings"

	"github.com/reeve-cloud/reeve/aggregator/catalogue"
)

// Paths is what a catalogue knows, as questions need it.
func Paths(c *catalogue.Catalogue) Catalogue { return paths{c.For(nil), c} }

type paths struct {
	*catalogue.View
	all *catalogue.Catalogue
}

const (
	// maxBelow is how many paths below one are asked for by name.
	maxBelow = 40
	// noPath is one that no document has: who says that it may be there cannot tell.
	noPath = "\x00"
)

// Below implements Catalogue.
func (p paths) Below(assetType, path string) (names []string, complete bool) {
	if known, _ := p.Known(assetType, noPath); known {
		return nil, false
	}
	list, complete := p.all.Paths(nil, assetType, path, maxBelow)
	for _, found := range list {
		if found.Path == path || strings.HasPrefix(found.Path, path+".") {
			names = append(names, found.Path)
		}
	}
	return names, complete
}
