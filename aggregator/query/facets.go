package query

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/filter"
)

const (
	// MaxFacets is how many fields are counted at once.
	MaxFacets = 8
	// MaxFacetValues is how many values of each are answered at most.
	MaxFacetValues = 100
)

// FacetQuery asks which values fields have, and how many assets have each.
type FacetQuery struct {
	Selection
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
	Answered
	Facets []Facet
}

// Facets counts the values of up to eight fields in one statement.
func (e *Engine) Facets(ctx context.Context, scope Scope, q FacetQuery) (*Facets, error) {
	switch {
	case len(q.Fields) == 0 || len(q.Fields) > MaxFacets:
		return nil, wrong("fields", "%d fields: there must be 1 to %d", len(q.Fields), MaxFacets)
	case q.Limit < 0 || q.Limit > MaxFacetValues:
		return nil, wrong("limit", "%d: must be 0 to %d", q.Limit, MaxFacetValues)
	}
	p, err := e.plan(ctx, scope, q.Selection)
	if err != nil {
		return nil, err
	}
	answer := &Facets{Answered: p.answered, Facets: make([]Facet, len(q.Fields))}
	var columns []column
	for i, text := range q.Fields {
		f, err := parseField("fields", text)
		if err != nil {
			return nil, err
		}
		answer.Facets[i].Field = f.String()
		columns = append(columns, column{name: fmt.Sprintf("f%d", i), of: p.textOf(f)})
	}
	s := facetStatement(p, columns, cmp.Or(q.Limit, 10))
	err = e.run(ctx, q.Class, "counting values", s, func(rows driver.Rows) error {
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
func facetStatement(p *plan, columns []column, limit int) *statement {
	s := new(statement)
	var which, text, sets []string
	for i, c := range columns {
		which = append(which, fmt.Sprintf("grouping(%s) = 0, %d", c.name, i))
		text = append(text, fmt.Sprintf("grouping(%s) = 0, %s", c.name, c.name))
		sets = append(sets, bracket(c.name))
	}
	counted := fmt.Sprintf("SELECT toUInt8(multiIf(%s, 255)) AS facet, multiIf(%s, '') AS text, count() AS n FROM %s GROUP BY GROUPING "+
		"SETS (%s)",
		strings.Join(which, ", "), strings.Join(text, ", "), p.rows(s, columns...), strings.Join(sets, ", "))
	values := fmt.Sprintf("SELECT facet, arrayJoin(arrayDistinct(splitByChar(%s, text))) AS value, n FROM (%s)",
		s.text(document.Separator), counted)
	s.put("SELECT facet, value, c, countIf(value != '') OVER (PARTITION BY facet) FROM (SELECT facet, value, sum(n) AS c FROM (", values,
		") GROUP BY facet, value) ORDER BY facet, value != '', c DESC, value LIMIT ", fmt.Sprint(limit+1), " BY facet")
	return s
}

// Get returns an asset with its document as of a moment, deleted or not. Several, two at
// most, come where the site and the type are left out and it is not clear which is meant.
func (e *Engine) Get(ctx context.Context, scope Scope, site, assetType, uid string, moment Moment) ([]Row, error) {
	page, err := e.List(ctx, scope, ListQuery{
		Selection: Selection{Filter: "state:* uid=" + filter.Quote(uid), Site: site, Type: assetType, Moment: moment},
		Limit:     2, Documents: true, DocumentBytes: 64 << 20,
	})
	if err != nil {
		return nil, err
	}
	return page.Rows, nil
}
