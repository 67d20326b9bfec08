package query_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/reeve-cloud/reeve/aggregator/query"
)

// repeated joins n forms of a text that has the number in it.
func repeated(n int, format, by string) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(format, i)
	}
	return strings.Join(list, by)
}

// TestHostileFilters: what is too much says which limit it passes and how to ask for less, and
// the rest is answered.
func TestHostileFilters(t *testing.T) {
	e, estate := newEngine(t, 41, 40, 3)
	past := query.At(estate.start.Add(40 * 60 * 60 * 1e9))
	picked := make([]string, query.MaxColumns)
	for i := range picked {
		picked[i] = fmt.Sprintf("conditions[type=t%d].status", i)
	}
	for name, test := range map[string]struct {
		list query.ListQuery
		// says is what an error must say; empty is that there must be none.
		says string
	}{
		"200 conditions on elements": {
			query.ListQuery{Selection: query.Selection{Filter: repeated(200, "c[k=v%d].s=x", " OR ")}}, "conditions on elements of arrays",
		},
		"200 conditions on elements, of the past": {
			query.ListQuery{Selection: query.Selection{Filter: repeated(200, "c[k=v%d].s=x", " OR "), Moment: past}}, "conditions on elements of arrays",
		},
		"200 paths of the past": {
			query.ListQuery{Selection: query.Selection{Filter: repeated(200, "spec.p%d=x", " OR "), Moment: past}}, "paths of the past",
		},
		"100 columns of elements": {query.ListQuery{Columns: picked}, "conditions on elements of arrays"},
		"elements below a relation": {
			query.ListQuery{Selection: query.Selection{Filter: "related(*, " + repeated(150, "c[k=v%d].s=x", " OR ") + ")"}},
			"conditions on elements of arrays",
		},
		"10 conditions on elements": {query.ListQuery{Selection: query.Selection{Filter: repeated(10, "c[k=v%d].s=x", " OR ")}}, ""},
		"200 paths":                 {query.ListQuery{Selection: query.Selection{Filter: repeated(200, "spec.p%d=x", " OR ")}}, ""},
		"20 expressions":            {query.ListQuery{Selection: query.Selection{Filter: repeated(20, `name~"(a*)*b%d$"`, " OR ")}}, ""},
		"200 words":                 {query.ListQuery{Selection: query.Selection{Filter: repeated(200, "word%d", " OR ")}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := e.List(t.Context(), query.All(), test.list)
			var limit *query.LimitError
			switch {
			case test.says == "":
				if err != nil {
					t.Error(err)
				}
			case !errors.As(err, &limit) || !strings.Contains(err.Error(), test.says):
				t.Errorf("the error is %v, want one that says %q", err, test.says)
			}
		})
	}
}
