package analyze

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/pkg/document"
)

const (
	// MaxFacets is how many fields are counted at once.
	MaxFacets = 8
	// MaxFacetValues is how many values of each are answered at most.
	MaxFacetValues = 100
)

// FacetQuery asks which values fields have, and how many assets have each.
type FacetQuery struct {
	query.Selection
	Fields []string
	// Limit is how many values of each field are answered, the commonest first; 0 is 10.
	Limit int
}

// Facet is what a field has.
type Facet struct {
	Field  string
	Values []FacetValue
	// Distinct is how many values there are in all, and Missing how many assets have none.
	Distinct, Missing int64
}

// FacetValue is a value with the number of assets that have it: those that a filter
// FIELD=VALUE has. An asset with several values counts with each of them.
type FacetValue struct {
	Value string
	Count int64
}

// Facets are the answer.
type Facets struct {
	query.Answered
	Facets []Facet
}

// FacetsOf counts the values of up to eight fields in one statement.
func FacetsOf(ctx context.Context, e *query.Engine, scope query.Scope, q FacetQuery) (*Facets, error) {
	switch {
	case len(q.Fields) == 0 || len(q.Fields) > MaxFacets:
		return nil, query.Wrong("fields", "%d fields: there must be 1 to %d", len(q.Fields), MaxFacets)
	case q.Limit < 0 || q.Limit > MaxFacetValues:
		return nil, query.Wrong("limit", "%d: must be 0 to %d", q.Limit, MaxFacetValues)
	}
	p, err := e.Plan(ctx, scope, q.Selection)
	if err != nil {
		return nil, err
	}
	answer := &Facets{Facets: make([]Facet, len(q.Fields))}
	var columns []query.Column
	for i, text := range q.Fields {
		f, err := p.Field("fields", text)
		if err != nil {
			return nil, err
		}
		answer.Facets[i].Field = f.String()
		columns = append(columns, query.Column{Name: fmt.Sprintf("f%d", i), Of: p.TextOf(f)})
	}
	answer.Answered = p.Answered
	s := facetStatement(p, columns, cmp.Or(q.Limit, 10))
	err = p.Run(ctx, "counting values", s, func(rows driver.Rows) error {
		var facet uint8
		var value string
		var count, distinct uint64
		if err := rows.Scan(&facet, &value, &count, &distinct); err != nil {
			return fmt.Errorf("reading the warehouse's answer: %w", err)
		}
		f := &answer.Facets[facet]
		f.Distinct = int64(distinct)
		if value == "" {
			f.Missing = int64(count)
		} else {
			f.Values = append(f.Values, FacetValue{value, int64(count)})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i := range answer.Facets {
		// Where nothing is missing there is one more.
		f := &answer.Facets[i]
		f.Values = f.Values[:min(len(f.Values), cmp.Or(q.Limit, 10))]
	}
	return answer, nil
}

// facetStatement counts the texts of each field first, and then the values in them.
func facetStatement(p *query.Plan, columns []query.Column, limit int) *query.Statement {
	s := new(query.Statement)
	var which, text, sets []string
	for i, c := range columns {
		which = append(which, fmt.Sprintf("grouping(%s) = 0, %d", c.Name, i))
		text = append(text, fmt.Sprintf("grouping(%s) = 0, %s", c.Name, c.Name))
		sets = append(sets, "("+c.Name+")")
	}
	counted := fmt.Sprintf("SELECT toUInt8(multiIf(%s, 255)) AS facet, multiIf(%s, '') AS text, count() AS n FROM %s GROUP BY GROUPING "+
		"SETS (%s)",
		strings.Join(which, ", "), strings.Join(text, ", "), p.Rows(s, columns...), strings.Join(sets, ", "))
	values := fmt.Sprintf("SELECT facet, arrayJoin(arrayDistinct(splitByChar(%s, text))) AS value, n FROM (%s)",
		s.Text(document.Separator), counted)
	s.Put("SELECT facet, value, c, countIf(value != '') OVER (PARTITION BY facet) FROM (SELECT facet, value, sum(n) AS c FROM (", values,
		") GROUP BY facet, value) ORDER BY facet, value != '', c DESC, value LIMIT ", fmt.Sprint(limit+1), " BY facet")
	return s
}
