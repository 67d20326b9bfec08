package query

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/reeve-cloud/reeve/pkg/filter"
)

// Explained says how a list is made.
type Explained struct {
	Answered
	// Steps are the plan in words.
	Steps []string
	// Statements are those that it takes, in this order.
	Statements []ExplainedStatement
}

// ExplainedStatement is one of the SQL statements.
type ExplainedStatement struct {
	Purpose, SQL string
	Parameters   []Parameter
}

// Explain says how the first page of a list would be made, and what counting it takes. It
// runs nothing.
func (e *Engine) Explain(ctx context.Context, scope Scope, q ListQuery) (*Explained, error) {
	l, err := e.newList(ctx, scope, q)
	if err != nil {
		return nil, err
	}
	x := &Explained{Answered: l.Answered, Steps: l.steps()}
	add := func(purpose string, s *Statement) {
		x.Statements = append(x.Statements, ExplainedStatement{Purpose: purpose, SQL: s.String(), Parameters: s.list})
	}
	add("candidates of the first page", l.candidateStatement(nil, (l.query.Limit+1)*6/5+1))
	s := new(Statement)
	s.Put(newestStatement, "FROM asset PREWHERE id IN ", s.Bind("Array(UInt64)", "the candidates' ids"), " WHERE type IN ",
		s.Bind("Array(String)", "the candidates' types"), " AND site IN ", s.Bind("Array(String)", "the candidates' sites"), " GROUP BY site, type, uid")
	add("which candidates are the newest versions of their assets", s)
	add("the exact total, if it is asked for", l.countStatement())
	return x, nil
}

// steps are the plan in words.
func (l *list) steps() []string {
	var list []string
	add := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if l.Filter.Root == nil {
		add("The filter is empty: it has every asset.")
	} else {
		add("The filter means %s", l.Answered.Filter)
	}
	seen := make(map[string]bool)
	filter.Walk(l.Filter.Root, func(n filter.Node) bool {
		c, ok := n.(*filter.Compare)
		if !ok || seen[c.Field.String()] {
			return true
		}
		seen[c.Field.String()] = true
		add("%s is %s.", c.Field, l.describe(c.Field))
		return true
	})
	switch {
	case len(l.selection.States) > 0:
		add("Only assets in the states that were asked for.")
	case l.states:
		add("The filter asks for a state, so deleted assets are not left out.")
	default:
		add("Deleted assets are left out.")
	}
	if l.selection.Moment.Now() {
		add("As of now: the table asset, in which older versions of an asset may lie that are not merged away yet. So candidates are read " +
			"first, and then " +
			"which of them are the newest.")
	} else {
		add("As of %s: what has not changed since is in the table asset; of what has, the newest version from before is in asset_version, "+
			"and its paths are "+
			"read from the document.", l.selection.Moment.Time().Format("2006-01-02T15:04:05.000Z"))
	}
	var order []string
	for _, k := range l.sort {
		text := k.field.String()
		if k.kind != "String" {
			text += " (by its value)"
		}
		if k.desc {
			text += ", the largest first"
		}
		order = append(order, text)
	}
	add("Sorted by %s; what has no value comes last. A page begins behind the last key of the one before, so deep pages cost no more.",
		strings.Join(order, ", then "))
	for _, f := range l.columns {
		add("Column %s: %s.", f, l.describe(f))
	}
	limits := l.selection.Class.Limits()
	add("Class %s: at most %v, %d MiB of memory, %d million rows read and %d MiB of answer for each statement.", l.selection.Class,
		limits.Time,
		limits.Memory>>20, limits.Rows/1_000_000, limits.ResultBytes>>20)
	return list
}

// describe says what a field is.
func (p *Plan) describe(f filter.Field) string {
	switch {
	case f.Space == filter.Fixed && f.Name == "state":
		return "computed: whether the asset is deleted, and whether the holder of its scope is heard from"
	case f.Space == filter.Fixed:
		return "the column " + attributes[f.Name]
	case f.Space == filter.Label && f.Name == "":
		return "all labels"
	case f.Space == filter.Label:
		return "a label"
	}
	kinds := map[filter.Kind]string{filter.Text: "texts", filter.Bool: "true or false", filter.Numeric: "numbers", filter.Time: "moments",
		filter.Span: "durations"}
	text := "a path of the document"
	if kind := kinds[p.KindOf(f)]; kind != "" {
		text += ", whose values are " + kind
	}
	if len(f.Picks) > 0 {
		text += "; its elements are looked at one by one, in the documents of those assets that can have it"
	}
	if slices.ContainsFunc(p.Answered.Warnings, func(w *filter.Error) bool { return strings.HasSuffix(w.Message, "has "+f.Name) }) {
		text += "; no asset has it"
	}
	return text
}
