package warehouse

import (
	"fmt"
	"strings"
)

// A View is one that people ask in SQL: its name and columns stay, whatever becomes of
// the tables behind it. Its rows are the newest, each once.
type View struct {
	Name string
	// Comment says what a row is.
	Comment string
	Columns []ViewColumn

	// table is the table behind it, where says which of its rows are shown, and append
	// that no row of it replaces another.
	table, where string
	append       bool
}

// A ViewColumn is a column of a view.
type ViewColumn struct {
	Name, Comment string
	expression    string
}

// Views are the views that people may ask.
func Views() []View { return views }

// known is an expression for a time that the warehouse keeps as the epoch while it is unknown.
func known(column string) string { return "nullIf(" + column + ", toDateTime64(0, 3, 'UTC'))" }

// identity and state are the columns that assets and their versions have in common.
var (
	identity = []ViewColumn{
		{"site", "the site", "site"},
		{"type", "provider.group.Kind, as in kubernetes.core.Pod", "type"},
		{"uid", "unique among the assets of a site and a type", "uid"},
	}
	state = []ViewColumn{
		{"name", "its name", "name"},
		{"status", "the provider's own word for its condition", "status"},
		{"region", "the provider's region", "region"},
		{"project", "the provider's project, or a namespace", "project"},
		{"labels", "labels and tags", "labels"},
		{"document", "all that the source said of it, redacted, as JSON", "document"},
	}
	origin = []ViewColumn{
		{"scope", "the collector and scope that told of it", "scope"},
		{"agent_id", "the agent that told of it", "agent_id"},
		{"create_time", "when the source made it; NULL where the source does not say", known("created_at")},
		{"update_time", "when the source changed it; NULL where the source does not say", known("updated_at")},
	}
	fields = ViewColumn{"fields", "each path of the document with its text, as in fields['spec.nodeName']", "fields"}
)

func columns(lists ...any) (all []ViewColumn) {
	for _, list := range lists {
		switch c := list.(type) {
		case []ViewColumn:
			all = append(all, c...)
		case ViewColumn:
			all = append(all, c)
		}
	}
	return all
}

var views = []View{
	{
		Name: "assets", Comment: "an asset that is there now", table: "asset", where: "NOT deleted",
		Columns: columns(identity, state, fields, origin,
			ViewColumn{"version", "its newest version", "version"},
			ViewColumn{"observe_time", "when an agent saw that version", "observed_at"},
			ViewColumn{"receive_time", "when the aggregator took it", "received_at"}),
	},
	{
		Name: "deleted_assets", Comment: "an asset that is not there any more, as it was last", table: "asset", where: "deleted",
		Columns: columns(identity, state, fields, origin,
			ViewColumn{"version", "the version that tells of its end", "version"},
			ViewColumn{"delete_time", "when an agent saw that it is gone", "observed_at"},
			ViewColumn{"receive_time", "when the aggregator heard of it", "received_at"}),
	},
	{
		Name: "versions", Comment: "a version of an asset, recorded when it changed: the history", table: "asset_version",
		Columns: columns(identity,
			ViewColumn{"version", "orders the versions of an asset: a hybrid logical clock, 48 bits of Unix milliseconds and 16 of counter", "version"},
			ViewColumn{"operation", "created, updated or deleted", "operation"},
			state,
			ViewColumn{"changed", "the paths of the document that differ from the version before", "changed"},
			ViewColumn{"relations", "the relations that led from it then",
				"arrayMap((kind, to_type, to_uid) -> CAST((kind, to_type, to_uid), 'Tuple(kind String, to_type String, to_uid String)'), " +
					"`edges.kind`, `edges.type`, `edges.uid`)"},
			ViewColumn{"relations_known", "false for old versions, of which relations were not kept", "edges_known"},
			origin,
			ViewColumn{"observe_time", "when an agent saw it", "observed_at"},
			ViewColumn{"receive_time", "when the aggregator took it", "received_at"}),
	},
	{
		Name: "relations", Comment: "an edge between two assets, as of today; what it leads to may be gone, or never have been told of",
		// Each is seen from both ends.
		table: "relation", where: "dir = 'out' AND NOT deleted",
		Columns: []ViewColumn{
			{"site", "the site", "site"},
			{"kind", "as in runs_on, attached_to, owned_by", "kind"},
			{"from_type", "the asset that it leads from", "from_type"},
			{"from_uid", "and its uid", "from_uid"},
			{"to_type", "the asset that it leads to", "to_type"},
			{"to_uid", "and its uid", "to_uid"},
		},
	},
	{
		Name: "events", Comment: "something that happened, in the terms of CloudEvents 1.0", table: "event",
		Columns: []ViewColumn{
			{"site", "the site", "site"},
			{"source", "the collector and scope that it comes from", "source"},
			{"id", "unique among the events of a source", "id"},
			{"type", "as in cloud.reeve.host.interface.down", "type"},
			{"asset_type", "the asset that it is about, or empty", "asset_type"},
			{"asset_uid", "and its uid", "asset_uid"},
			{"time", "when it happened, by the clock of its source", "time"},
			{"severity", "info, warning or error", "severity"},
			{"message", "in words", "message"},
			{"data", "all that the source said of it, redacted, as JSON", "data"},
			{"agent_id", "the agent that told of it", "agent_id"},
			{"receive_time", "when the aggregator took it", "received_at"},
		},
	},
	{
		Name: "usage", Comment: "what an asset used of something in a period; periods of one asset and meter add up", table: "usage",
		Columns: []ViewColumn{
			{"site", "the site", "site"},
			{"asset_type", "the asset whose usage it is", "asset_type"},
			{"asset_uid", "and its uid", "asset_uid"},
			{"meter", "what was used, as in cpu.used", "meter"},
			{"unit", "in what it is counted, as in core.second", "unit"},
			{"start", "the part of time that was measured", "start"},
			{"end", "and its end", "end"},
			{"quantity", "how much was used in it", "quantity"},
			{"scope", "the collector and scope that told of it", "scope"},
			{"agent_id", "the agent that told of it", "agent_id"},
			{"receive_time", "when the aggregator took it", "received_at"},
		},
	},
	{
		Name: "gaps", Comment: "what an agent gave up for good, because its spool had no room for it or was damaged", table: "gap",
		Columns: []ViewColumn{
			{"site", "the site", "site"},
			{"agent_id", "the agent", "agent_id"},
			{"class", "the part of the spool: assets or events", "class"},
			{"reason", "budget, damaged, disk or unknown", "reason"},
			{"versions", "how many versions of assets are missing; later ones of the same assets are there", "versions"},
			{"events", "how many events", "events"},
			{"usages", "how many periods of usage", "usages"},
			{"unknown", "how many records of which nobody knows what they were", "unknown"},
			{"earliest", "when the first of them was observed; NULL where nobody knows", known("earliest")},
			{"latest", "and the last", known("latest")},
			{"receive_time", "when the aggregator heard of it", "received_at"},
		},
	},
	{
		Name: "dead_letters", Comment: "a record, or several, that could not be taken; kept for 90 days", table: "dead_letter", append: true,
		Columns: []ViewColumn{
			{"site", "the site", "site"},
			{"agent_id", "the agent that sent them", "agent_id"},
			{"class", "the part of the spool: assets or events", "class"},
			{"scope", "the collector and scope that it is of, where the record says so", "scope"},
			{"asset_type", "the asset that it is about, where the record says so", "asset_type"},
			{"asset_uid", "and its uid", "asset_uid"},
			{"records", "how many", "records"},
			{"reason", "why they could not be taken", "reason"},
			{"raw", "as they came", "raw"},
			{"receive_time", "when they came", "received_at"},
		},
	},
}

// statement is the one that makes the view in a database, in the place of one of before.
func (v *View) statement(database string) string {
	list := make([]string, len(v.Columns))
	for i, c := range v.Columns {
		list[i] = c.expression
		if c.expression != c.Name {
			list[i] += " AS " + c.Name
		}
	}
	rest := " FINAL"
	if v.append {
		rest = ""
	}
	if v.where != "" {
		rest += " WHERE " + v.where
	}
	// The rights are those of who asks, so that the policies on the table are.
	return fmt.Sprintf("CREATE OR REPLACE VIEW %s.%s SQL SECURITY INVOKER AS SELECT %s FROM %s.%s%s", database, v.Name,
		strings.Join(list, ", "), Database, v.table, rest)
}
