package kinds

import (
	"cmp"
	"slices"

	"github.com/reeve-cloud/reeve/pkg/document"
)

// Twins makes one reading of several of the same key, which is not empty: a
// service that was registered twice, a node that two services look after. What is
// up is what people mean by the name; the others stand beside it, and their
// relations are all there. It returns which of them leads, too: its document is
// the asset's.
func Twins(readings []Reading) (one Reading, leads int) {
	order := make([]int, len(readings))
	for i := range order {
		order[i] = i
	}
	rank := func(r Reading) int {
		switch r.Status {
		case "up":
			return 0
		case "up,disabled":
			return 1
		}
		return 2
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(rank(readings[a]), rank(readings[b])), cmp.Compare(readings[a].ID, readings[b].ID))
	})
	leads = order[0]
	one = readings[leads]
	one.Relations, one.Derived = slices.Clone(one.Relations), slices.Clone(one.Derived)
	var others []document.Object
	for _, i := range order[1:] {
		r := readings[i]
		if r.ID == one.ID {
			continue // the same element, once more
		}
		one.Relations = append(one.Relations, r.Relations...)
		others = append(others, document.Object{{Name: "id", Value: r.ID}, {Name: "status", Value: r.Status}})
	}
	if len(others) > 0 {
		one.Derived = append(one.Derived, document.Member{Name: "twins", Value: others})
	}
	slices.SortFunc(one.Relations, compareRelations)
	one.Relations = slices.Compact(one.Relations)
	return one, leads
}
