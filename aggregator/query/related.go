package query

import (
	"github.com/reeve-cloud/reeve/pkg/filter"
)

// far is the condition that an edge may lead to another site: its ends are of different
// providers.
const far = "splitByChar('.', from_type)[1] != splitByChar('.', to_type)[1]"

// bothEnds are the two ends that an asset is, as [Plan.Edges] has them.
const bothEnds = "[(toString(site), id), ('', sipHash64('', type, uid))]"

// related returns the condition that an asset has a neighbour that passes a filter. What is deleted is no neighbour, unless the filter asks for a state.
func (c *compiler) related(n *filter.Related) string {
	c.s.eager = true
	if c.selection.Moment.Now() {
		return bracket(c.relatedNow(n))
	}
	return bracket(c.relatedThen(n))
}

// others returns a SELECT, in brackets, of the ends of the assets that pass the filter of a
// relation.
func (c *compiler) others(n *filter.Related) string {
	other := &Plan{
		engine: c.engine, scope: c.scope, selection: Selection{Moment: c.selection.Moment}, Filter: &filter.Filter{Root: n.Node}, now: c.now,
		states: asksState(n.Node), silent: c.silent,
	}
	return "(SELECT arrayJoin(ends) FROM " + other.Rows(c.s, Constant("ends", bothEnds)) + ")"
}

// Constant is a column that is the same in all sources.
func Constant(name, text string) Column {
	return Column{Name: name, Of: func(*Statement, *Source) string { return text }}
}

// relatedNow looks at the table relation, in which each edge stands under both of its ends. The
// other assets stand once in the statement, so that relations within relations do not
// multiply.
func (c *compiler) relatedNow(n *filter.Related) string {
	conditions := []string{"NOT deleted"}
	if n.Kind != "" {
		conditions = append(conditions, "kind = "+c.s.Text(n.Kind))
	}
	// An end is what [Plan.Edges] has.
	ends := "(if(dir = 'far', '', toString(site)), from_id)"
	if n.Node != nil {
		conditions = append(conditions, ends+" IN "+c.others(n))
		ends = "arrayJoin(arrayConcat([(toString(site), to_id)], if(dir = 'out' AND " + far + ", [('', sipHash64('', to_type, to_uid))], [])))"
	}
	return "arrayExists(end -> end IN (SELECT " + ends + " FROM relation FINAL" + where(conditions) + "), " + bothEnds + ")"
}

// relatedThen looks at the edges as of the moment. Those of today are found by the key of the
// table relation, as in relatedNow, and the other assets stand once in the statement.
func (c *compiler) relatedThen(n *filter.Related) string {
	kind := ""
	if n.Kind != "" {
		kind = "kind = " + c.s.Text(n.Kind)
	}
	conditions := []string{"NOT deleted", "version <= " + c.s.Whole(c.selection.Moment.stamp())}
	if kind != "" {
		conditions = append(conditions, kind)
	}
	edges := "SELECT if(dir = 'far', '', toString(site)) AS own_site, from_id AS own_id, arrayConcat([(toString(site), to_id)], if(dir = 'out' AND " +
		far + ", [('', sipHash64('', to_type, to_uid))], [])) AS others FROM relation FINAL" + where(conditions) +
		" UNION ALL SELECT end.2.1 AS own_site, end.2.2 AS own_id, [end.1] AS others FROM (" + ends(c.pastEdges(c.s), kind) + ")"
	if n.Node == nil {
		return "arrayExists(end -> end IN (SELECT own_site, own_id FROM (" + edges + ")), " + bothEnds + ")"
	}
	return "arrayExists(end -> end IN (SELECT arrayJoin(others) FROM (" + edges + ") WHERE (own_site, own_id) IN " + c.others(n) + "), " + bothEnds + ")"
}

// Edges returns a SELECT of all edges of a kind as pairs of their ends, each edge in both
// directions: now, or as of the moment those of today that are not younger, and those of
// the versions of what has changed since. An end is a site with the number of an asset, or
// no site with that of a type and uid anywhere.
func (p *Plan) Edges(s *Statement, kind string) string {
	edges := "SELECT site, from_id, from_type, kind, to_id, to_type, to_uid FROM relation FINAL WHERE dir = 'out' AND NOT deleted"
	if !p.selection.Moment.Now() {
		edges += " AND version <= " + s.Whole(p.selection.Moment.stamp()) + " UNION ALL " + p.pastEdges(s)
	}
	condition := ""
	if kind != "" {
		condition = "kind = " + s.Text(kind)
	}
	return ends(edges, condition)
}

// pastEdges returns a SELECT of the edges, as they were at the moment, of what has changed
// since.
func (p *Plan) pastEdges(s *Statement) string {
	all := *p
	all.selection = Selection{Moment: p.selection.Moment}
	all.Filter = &filter.Filter{}
	return "SELECT site, id AS from_id, type AS from_type, edge.1 AS kind, sipHash64(site, to_type, to_uid) AS to_id, " +
		"edge.2 AS to_type, edge.3 AS to_uid FROM (SELECT site, id, type, arrayJoin(arrayZip(edges.kind, edges.type, edges.uid)) AS edge " +
		"FROM " + all.pastRows(s) + " WHERE operation != 'deleted')"
}

// ends returns a SELECT of the pairs of ends of edges that fulfil a condition, unless that is empty.
func ends(edges, condition string) string {
	if condition != "" {
		condition = " WHERE " + condition
	}
	const from, to, anywhere = "(toString(site), from_id)", "(toString(site), to_id)", "('', sipHash64('', to_type, to_uid))"
	return "SELECT arrayJoin(arrayConcat([(" + from + ", " + to + "), (" + to + ", " + from + ")], if(" + far + ", [(" + from + ", " +
		anywhere + "), (" + anywhere + ", " + from + ")], []))) AS end FROM (" + edges + ")" + condition
}

// asksState reports whether a filter asks for the state of the asset itself.
func asksState(n filter.Node) (found bool) {
	filter.Walk(n, func(n filter.Node) bool {
		if c, ok := n.(*filter.Compare); ok && c.Field.Space == filter.Fixed && c.Field.Name == "state" {
			found = true
		}
		_, other := n.(*filter.Related)
		return !other && !found
	})
	return found
}
