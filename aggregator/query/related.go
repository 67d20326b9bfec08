package query

import (
	"github.com/reeve-cloud/reeve/pkg/filter"
)

// far is the condition that an edge may lead to another site: its ends are of different
// providers.
const far = "splitByChar('.', from_type)[1] != splitByChar('.', to_type)[1]"

// related returns the condition that an asset has a neighbour that passes a filter. What is deleted is no neighbour, unless the filter asks for a state.
func (c *compiler) related(n *filter.Related) string {
	if c.selection.Moment.Now() {
		return bracket(c.relatedNow(n))
	}
	return bracket(c.relatedThen(n))
}

// others returns a SELECT, in brackets, of columns of the assets that pass the filter of a
// relation.
func (c *compiler) others(n *filter.Related, columns ...column) string {
	other := &plan{
		engine: c.engine, scope: c.scope, selection: Selection{Moment: c.selection.Moment}, filter: &filter.Filter{Root: n.Node}, now: c.now,
		states: asksState(n.Node), silent: c.silent,
	}
	return other.rows(c.s, columns...)
}

// constant is a column that is the same in all sources.
func constant(name, text string) column {
	return column{name: name, of: func(*statement, *source) string { return text }}
}

// relatedNow looks at the table relation, in which each edge stands under both of its ends.
func (c *compiler) relatedNow(n *filter.Related) string {
	conditions := []string{"NOT deleted"}
	if n.Kind != "" {
		conditions = append(conditions, "kind = "+c.s.text(n.Kind))
	}
	edges := func(columns string, more ...string) string {
		return "(SELECT " + columns + " FROM relation FINAL" + where(append(more, conditions...)) + ")"
	}
	if n.Node == nil {
		return "(site, id) IN " + edges("site, from_id", "dir IN ('out', 'in')") +
			" OR sipHash64('', type, uid) IN " + edges("from_id", "dir = 'far'")
	}
	others := c.others(n, constant("site", "site"), constant("id", "id"))
	keys := "(site, from_id) IN " + others
	hashes := "from_id IN " + c.others(n, constant("far_id", "sipHash64('', type, uid)"))
	return "(site, id) IN " + edges("site, to_id", "dir IN ('out', 'in')", keys) +
		" OR (site, id) IN " + edges("site, to_id", "dir = 'far'", hashes) +
		" OR (type, uid) IN " + edges("to_type, to_uid", "dir = 'out'", keys, far)
}

// relatedThen looks at the edges as of the moment.
func (c *compiler) relatedThen(n *filter.Related) string {
	neighbours := "(SELECT end.1 FROM (" + c.ends(n.Kind) + ")"
	if n.Node != nil {
		neighbours += " WHERE end.2 IN (SELECT arrayJoin([(toString(site), id), ('', far_id)]) FROM " +
			c.others(n, constant("site", "site"), constant("id", "id"), constant("far_id", "sipHash64('', type, uid)")) + ")"
	}
	neighbours += ")"
	return "(toString(site), id) IN " + neighbours + " OR ('', sipHash64('', type, uid)) IN " + neighbours
}

// ends returns a SELECT of all edges of a kind as pairs of their ends, each edge in both
// directions: now, or as of the moment those of today that are not younger, and those of
// the versions of what has changed since. An end is a site with the number of an asset, or
// no site with that of a type and uid anywhere.
func (c *compiler) ends(kind string) string {
	edges := "SELECT site, from_id, from_type, kind, to_id, to_type, to_uid FROM relation FINAL WHERE dir = 'out' AND NOT deleted"
	if !c.selection.Moment.Now() {
		all := *c.plan
		all.selection = Selection{Moment: c.selection.Moment}
		all.filter = &filter.Filter{}
		edges += " AND version <= " + c.s.whole(c.selection.Moment.stamp()) +
			" UNION ALL SELECT site, id AS from_id, type AS from_type, edge.1 AS kind, sipHash64(site, to_type, to_uid) AS to_id, " +
			"edge.2 AS to_type, edge.3 AS to_uid FROM (SELECT site, id, type, arrayJoin(arrayZip(edges.kind, edges.type, edges.uid)) AS edge " +
			"FROM asset_version FINAL PREWHERE " + all.past(c.s) + " WHERE operation != 'deleted')"
	}
	condition := ""
	if kind != "" {
		condition = " WHERE kind = " + c.s.text(kind)
	}
	const from, to, anywhere = "(toString(site), from_id)", "(toString(site), to_id)", "('', sipHash64('', to_type, to_uid))"
	return "SELECT arrayJoin(arrayConcat([(" + from + ", " + to + "), (" + to + ", " + from + ")], if(" + far + ", [(" + from + ", " +
		anywhere + "), (" +
		anywhere + ", " + from + ")], []))) AS end FROM (" + edges + ")" + condition
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
