package query

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/filter"
)

// Source is a table whose rows are versions of assets, as one SELECT reads them.
type Source struct {
	// History is for asset_version, which has no fields beside its documents and no text
	// for searches. Otherwise it is asset.
	History bool
	// paths are what is read of the documents of the history: each becomes a column, the
	// values at the path. So it is known only when the rest of the SELECT is.
	paths []string
}

// deleted is the condition that a row says that its asset is.
func (src *Source) deleted() string {
	if src.History {
		return "operation = 'deleted'"
	}
	return "deleted"
}

// List returns the values at a path, of the history.
func (src *Source) List(path string) string {
	i := slices.Index(src.paths, path)
	if i < 0 {
		i = len(src.paths)
		src.paths = append(src.paths, path)
	}
	return "path" + strconv.Itoa(i) + "_"
}

// path returns the text of a path: values that share it have the unit separator between
// them, and none is empty.
func (src *Source) path(s *Statement, path string) string {
	if src.History {
		return "arrayStringConcat(" + src.List(path) + ", " + s.Text(document.Separator) + ")"
	}
	return field(path)
}

// From returns what stands behind FROM for rows of the history that a condition selects
// before anything else of them is read.
func (src *Source) From(s *Statement, condition string) string {
	if len(src.paths) == 0 {
		return "asset_version FINAL PREWHERE " + condition
	}
	var b strings.Builder
	b.WriteString("(SELECT *")
	for i, path := range src.paths {
		fmt.Fprintf(&b, ", %s AS path%d_", scalars(below(s, "[document]", path)), i)
	}
	b.WriteString(" FROM asset_version FINAL PREWHERE " + condition + ")")
	return b.String()
}

// attributes are the columns of fixed fields. What is not among them is no column.
var attributes = map[string]string{
	"name": "name", "uid": "uid", "type": "type", "site": "site", "region": "region", "project": "project", "status": "status",
	"scope": "scope", "agent": "agent_id", "created": "created_at", "updated": "updated_at", "observed": "observed_at",
}

// state is the number of the state of a row, as package warehouse has it.
func (p *Plan) state(s *Statement, src *Source) string {
	if !p.selection.Moment.Now() {
		return fmt.Sprintf("if(%s, %d, %d)", src.deleted(), warehouse.Gone, warehouse.Active)
	}
	return fmt.Sprintf("multiIf(%s, %d, %s, %d, %d)", src.deleted(), warehouse.Gone, warehouse.DisconnectedCondition(s.Texts(p.silent)), warehouse.Disconnected,
		warehouse.Active)
}

// stateText is the name of the state of a row.
func (p *Plan) stateText(s *Statement, src *Source) string {
	if !p.selection.Moment.Now() {
		return fmt.Sprintf("if(%s, 'DELETED', 'ACTIVE')", src.deleted())
	}
	return fmt.Sprintf("multiIf(%s, 'DELETED', %s, 'DISCONNECTED', 'ACTIVE')", src.deleted(), warehouse.DisconnectedCondition(s.Texts(p.silent)))
}

// Where returns the conditions that an asset fulfils that is selected. They are those of
// one row: that it is the newest one is not among them.
func (p *Plan) Where(s *Statement, src *Source) []string {
	list := p.Keys(s)
	switch {
	case len(p.selection.States) > 0:
		numbers := make([]string, len(p.selection.States))
		for i, st := range p.selection.States {
			numbers[i] = fmt.Sprint(uint8(st))
		}
		list = append(list, fmt.Sprintf("%s IN (%s)", p.state(s, src), strings.Join(numbers, ", ")))
	case !p.states:
		list = append(list, "NOT "+bracket(src.deleted()))
	}
	if p.Filter.Root != nil {
		list = append(list, p.Condition(s, src, p.Filter.Root))
	}
	return list
}

// Keys returns those conditions that go by what never changes of an asset.
func (p *Plan) Keys(s *Statement) []string {
	var list []string
	if c := p.scope.condition(); c != "" {
		list = append(list, c)
	}
	if p.selection.Site != "" {
		list = append(list, "site = "+s.Text(p.selection.Site))
	}
	if p.selection.Type != "" {
		list = append(list, "type = "+s.Text(p.selection.Type))
	}
	for _, n := range Conjuncts(p.Filter.Root) {
		compare, ok := n.(*filter.Compare)
		if !ok || compare.Field.Space != filter.Fixed {
			continue
		}
		c := compiler{Plan: p, s: s, source: new(Source)}
		switch compare.Field.Name {
		case "type":
			if !slices.ContainsFunc(compare.Values, func(v filter.Value) bool { return v.Before || v.After }) && compare.Op == filter.Equal {
				list = append(list, c.node(n))
				continue
			}
			// The engine finds the parts of a table by the types themselves, and not by what
			// is true of them.
			list = append(list, "type IN (SELECT type FROM asset WHERE "+c.node(n)+" GROUP BY type)")
		case "site", "uid":
			list = append(list, c.node(n))
		}
	}
	return list
}

// Conjuncts are the nodes that must all hold.
func Conjuncts(n filter.Node) []filter.Node {
	if n == nil {
		return nil
	}
	if and, ok := n.(*filter.And); ok {
		return and.Nodes
	}
	return []filter.Node{n}
}

// Column is a column that a question makes of each row.
type Column struct {
	Name string
	// Of returns its expression for rows of a source.
	Of func(*Statement, *Source) string
}

// Rows returns a SELECT of columns of exactly the assets that are selected, a row each, in
// brackets.
func (p *Plan) Rows(s *Statement, columns ...Column) string {
	list := func(src *Source) string {
		if len(columns) == 0 {
			return "1 AS one"
		}
		texts := make([]string, len(columns))
		for i, c := range columns {
			texts[i] = c.Of(s, src) + " AS " + c.Name
		}
		return strings.Join(texts, ", ")
	}
	now := new(Source)
	if p.selection.Moment.Now() {
		return "(SELECT " + list(now) + " FROM asset FINAL" + where(p.Where(s, now)) + ")"
	}
	stamp := s.Whole(p.selection.Moment.stamp())
	past := &Source{History: true}
	head, conditions := list(past), where(p.Where(s, past))
	return "(SELECT " + list(now) + " FROM asset FINAL" + where(append([]string{"version <= " + stamp}, p.Where(s, now)...)) +
		" UNION ALL SELECT " + head + " FROM " + past.From(s, p.past(s)) + conditions + ")"
}

// Condition returns the condition that a row of a source passes a filter.
func (p *Plan) Condition(s *Statement, src *Source, n filter.Node) string {
	c := compiler{Plan: p, s: s, source: src}
	return c.node(n)
}

// past returns the condition of the newest versions before the moment of those assets that
// have changed since.
func (p *Plan) past(s *Statement) string {
	stamp := s.Whole(p.selection.Moment.stamp())
	keys := p.Keys(s)
	changed := "SELECT site, id FROM asset" + where(append([]string{"version > " + stamp}, keys...))
	newest := "SELECT site, id, max(version) FROM asset_version" +
		where(append([]string{"version <= " + stamp, "(site, id) IN (" + changed + ")"}, keys...)) + " GROUP BY site, id"
	return "(site, id, version) IN (" + newest + ")"
}

func where(conditions []string) string {
	if len(conditions) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(conditions, " AND ")
}

func bracket(condition string) string { return "(" + condition + ")" }
