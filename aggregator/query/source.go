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
	// paths are what is read of the documents of the history: each has a name for the values
	// at the path. So it is known only when the rest of the SELECT is.
	paths []string
	// documents says that they are read, for paths or otherwise.
	documents bool
}

// With returns the names that the rest of a SELECT of the history uses, to stand before it.
func (src *Source) With(s *Statement) string {
	if len(src.paths) == 0 {
		return ""
	}
	list := make([]string, len(src.paths))
	for i, path := range src.paths {
		list[i] = fmt.Sprintf("%s AS path%d_", textsAt(s, "document", path), i)
	}
	return "WITH " + strings.Join(list, ", ") + " "
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
	src.documents = true
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

// once returns an expression of a text. That of the history is long, and so stands in it once,
// however often the expression has it.
func (src *Source) once(of func(text string) string, text string) string {
	if !src.History {
		return of(text)
	}
	return "arrayMap(t -> " + of("t") + ", [" + text + "])[1]"
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
		fmt.Fprintf(&b, ", %s AS path%d_", textsAt(s, "document", path), i)
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
	for _, n := range Conjuncts(p.Filter.Root) {
		// What is said twice of the key takes the engine several times as long.
		if compare, ok := n.(*filter.Compare); !ok || !plainKey(compare) {
			list = append(list, p.Condition(s, src, n))
		}
	}
	return list
}

// Keys returns those conditions that go by what never changes of an asset.
func (p *Plan) Keys(s *Statement) []string {
	list := p.plainKeys(s)
	for _, n := range Conjuncts(p.Filter.Root) {
		if compare, ok := n.(*filter.Compare); ok && !plainKey(compare) && compare.Field.Space == filter.Fixed && compare.Field.Name == "type" {
			// The engine finds the parts of a table by the types themselves, and not by what
			// is true of them.
			c := compiler{Plan: p, s: s, source: new(Source)}
			list = append(list, "type IN (SELECT type FROM asset WHERE "+c.node(n)+" GROUP BY type)")
		}
	}
	return list
}

// plainKey reports whether a comparison goes by what never changes of an asset, and takes no
// statement of its own to be quick.
func plainKey(n *filter.Compare) bool {
	if n.Field.Space != filter.Fixed {
		return false
	}
	switch n.Field.Name {
	case "site", "uid":
		return true
	case "type":
		return n.Op == filter.Equal && !slices.ContainsFunc(n.Values, func(v filter.Value) bool { return v.Before || v.After })
	}
	return false
}

// plainKeys are those of the keys that take no statement of their own.
func (p *Plan) plainKeys(s *Statement) []string {
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
		if compare, ok := n.(*filter.Compare); ok && plainKey(compare) {
			c := compiler{Plan: p, s: s, source: new(Source)}
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
// brackets. No column may make several rows of one.
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
	head, conditions := list(past), p.Where(s, past)
	from := p.past(s, conditions) + oneEach
	if !past.documents {
		from = p.pastRows(s) + where(conditions)
	}
	return "(SELECT " + list(now) + " FROM asset FINAL" + where(append([]string{"version <= " + stamp}, p.Where(s, now)...)) +
		" UNION ALL " + past.With(s) + "SELECT " + head + " FROM " + from + ")"
}

// Condition returns the condition that a row of a source passes a filter.
func (p *Plan) Condition(s *Statement, src *Source, n filter.Node) string {
	c := compiler{Plan: p, s: s, source: src}
	return c.node(n)
}

// oneEach leaves one row of each asset, where the same insert is there twice: FINAL, which
// does so, reads a whole table of versions in order.
const oneEach = " LIMIT 1 BY site, id"

// past returns what stands behind FROM for those of the newest versions before the moment
// that fulfil conditions, of assets that have changed since. A row may be there twice, see
// [oneEach]. Numbers of assets are quick to look for, but only with the site are they exact.
func (p *Plan) past(s *Statement, conditions []string) string {
	first, changed := p.changed(s)
	newest := "SELECT site, id, max(version), argMax(ingest_id, (version, received_at)) FROM " + first + where(changed) + " GROUP BY site, id"
	return first + where(append([]string{"(site, id, version, ingest_id) IN (" + newest + ")"}, conditions...))
}

// pastRows is past without conditions, each row once, for whoever needs no documents: it sorts
// the versions, which is quicker than to look for them twice.
func (p *Plan) pastRows(s *Statement) string {
	first, changed := p.changed(s)
	return "(SELECT * FROM " + first + where(changed) + " ORDER BY version DESC, received_at DESC" + oneEach + ")"
}

// changed returns what stands behind FROM for the versions until the moment of assets that
// have changed since, and the conditions that they fulfil exactly.
func (p *Plan) changed(s *Statement) (from string, conditions []string) {
	stamp := s.Whole(p.selection.Moment.stamp())
	keys := p.plainKeys(s)
	changed := " FROM asset" + where(append([]string{"version > " + stamp}, keys...))
	return "asset_version PREWHERE version <= " + stamp + " AND id IN (SELECT id" + changed + ")",
		append([]string{"(site, id) IN (SELECT site, id" + changed + ")"}, keys...)
}

func where(conditions []string) string {
	if len(conditions) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(conditions, " AND ")
}

func bracket(condition string) string { return "(" + condition + ")" }
