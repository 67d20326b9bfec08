package query_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/query/analyze"
)

// TestUnknownFields names, in each part of a request, a field that no asset has.
func TestUnknownFields(t *testing.T) {
	_, estate := newEngine(t, 17, 20, 1)
	e := estate.engine(query.Options{Catalogue: testKinds})
	for part, ask := range map[string]func(query.Selection, string) (query.Answered, error){
		"columns": func(s query.Selection, field string) (a query.Answered, err error) {
			page, err := e.List(t.Context(), query.All(), query.ListQuery{Selection: s, Columns: []string{field}})
			if err == nil {
				a = page.Answered
			}
			return a, err
		},
		"order_by": func(s query.Selection, field string) (a query.Answered, err error) {
			page, err := e.List(t.Context(), query.All(), query.ListQuery{Selection: s, Sort: []query.Order{{Field: field}}})
			if err == nil {
				a = page.Answered
			}
			return a, err
		},
		"fields": func(s query.Selection, field string) (a query.Answered, err error) {
			facets, err := analyze.FacetsOf(t.Context(), e, query.All(), analyze.FacetQuery{Selection: s, Fields: []string{field}})
			if err == nil {
				a = facets.Answered
			}
			return a, err
		},
		"group_by": func(s query.Selection, field string) (a query.Answered, err error) {
			answer, err := analyze.Analyze(t.Context(), e, query.All(), analyze.Query{Selection: s, Keys: []analyze.Key{{Field: field}}})
			if err == nil {
				a = answer.Answered
			}
			return a, err
		},
		"values: n": func(s query.Selection, field string) (a query.Answered, err error) {
			answer, err := analyze.Analyze(t.Context(), e, query.All(),
				analyze.Query{Selection: s, Measures: []analyze.Measure{{Name: "n", Function: analyze.Count, Filter: field + ":*"}}})
			if err == nil {
				a = answer.Answered
			}
			return a, err
		},
		"left_columns": func(s query.Selection, field string) (a query.Answered, err error) {
			pairs, err := analyze.Join(t.Context(), e, query.All(), analyze.JoinQuery{Left: s, LeftColumns: []string{field}})
			if err == nil {
				a = pairs.Left
			}
			return a, err
		},
	} {
		for field, near := range map[string]string{"spec.wrod": "spec.word", "naem": "name"} {
			a, err := ask(query.Selection{}, field)
			if err != nil || len(a.Warnings) != 1 || a.Warnings[0].End != 0 || !strings.HasPrefix(a.Warnings[0].Message, part) ||
				!strings.Contains(a.Warnings[0].Message, "no asset has "+field+"; is it "+near) {
				t.Errorf("%s %s: %v, %v", part, field, a.Warnings, err)
			}
			if _, err := ask(query.Selection{Strict: true}, field); !errors.Is(err, query.ErrRequest) || !strings.Contains(err.Error(), near) {
				t.Errorf("%s %s, strictly: %v", part, field, err)
			}
		}
		if a, err := ask(query.Selection{}, "spec.word"); err != nil || len(a.Warnings) != 0 {
			t.Errorf("%s spec.word: %v, %v", part, a.Warnings, err)
		}
	}
}
