package warehouse

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	chcolumn "github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"github.com/reeve-cloud/reeve/pkg/document"
)

// table is how the rows of a group get into one table.
type table struct {
	name    string
	columns []column
	rows    int
	// keys is how many rows of the group have keys of their own. Fewer than
	// that in the table means that the insert did not take place.
	keys int
	// first is where the first row comes from, and numbered the column of its number.
	first    Origin
	numbered string
	// state says that rows replace each other by version, so that inserting
	// them once more changes nothing.
	state bool
}

type column struct {
	name   string
	append func(chcolumn.Interface) error
}

// values makes a column out of one value of each row.
func values[R, T any](name string, rows []R, value func(*R) T) column {
	return column{name, func(c chcolumn.Interface) error {
		list := make([]T, len(rows))
		for i := range rows {
			list[i] = value(&rows[i])
		}
		_, err := c.Append(list)
		return err
	}}
}

// documents makes a column out of a long text of each row.
func documents[R any](name string, rows []R, value func(*R) *[]byte) column {
	return column{name, func(c chcolumn.Interface) error {
		size := 0
		for i := range rows {
			size += len(*value(&rows[i]))
		}
		if err := reserve(c, strings.Repeat("\x00", size)); err != nil {
			return err
		}
		for i := range rows {
			// By a pointer, the driver copies it and nothing else does.
			if err := c.AppendRow(value(&rows[i])); err != nil {
				return err
			}
		}
		return nil
	}}
}

// texts makes a column of maps out of the entries of each row. The driver takes Go
// maps too, but by reflection and with allocations for each entry.
func texts[R any](name string, rows []R, value func(*R) iter.Seq2[string, string]) column {
	return column{name, func(c chcolumn.Interface) error {
		size := 0
		for i := range rows {
			for _, v := range value(&rows[i]) {
				size += len(v)
			}
		}
		e := entries{boxed: make(map[string]any)}
		e.set(maps.All(map[string]string{"": strings.Repeat("\x00", size)}))
		if err := reserve(c, &e); err != nil {
			return err
		}
		for i := range rows {
			e.set(value(&rows[i]))
			if err := c.AppendRow(&e); err != nil {
				return err
			}
		}
		return nil
	}}
}

// reserve makes room in an empty column, by a row that has as much text as all that
// will follow. Columns grow by a quarter whenever they are full: without it five
// times the text would be copied, and be garbage.
func reserve(c chcolumn.Interface, row any) error {
	if err := c.AppendRow(row); err != nil {
		return err
	}
	c.Reset()
	return nil
}

// entries are those of one map, as the driver reads them.
type entries struct {
	// boxed has every key that there was before: the paths of documents are the
	// same ones again and again.
	boxed  map[string]any
	keys   []any
	values []string
	next   int
}

var _ chcolumn.IterableOrderedMap = (*entries)(nil)

func (e *entries) set(m iter.Seq2[string, string]) {
	e.keys, e.values, e.next = e.keys[:0], e.values[:0], 0
	for k, v := range m {
		key, ok := e.boxed[k]
		if !ok {
			key = k
			e.boxed[k] = key
		}
		e.keys, e.values = append(e.keys, key), append(e.values, v)
	}
}

// Iterator begins anew.
func (e *entries) Iterator() chcolumn.MapIterator {
	e.next = 0
	return e
}

// Next goes to the next entry, if there is one.
func (e *entries) Next() bool {
	e.next++
	return e.next <= len(e.keys)
}

// Key is the entry's.
func (e *entries) Key() any { return e.keys[e.next-1] }

// Value is the entry's, by a pointer, which takes no allocation.
func (e *entries) Value() any { return &e.values[e.next-1] }

// Put is for maps that the driver fills, which it does not do with these.
func (e *entries) Put(key, value any) { panic("entries are only read") }

// Write inserts a group and returns when all of it is on disk. After an error
// nobody knows how much is: the same group must then be given to Settle, again
// and again until that succeeds.
func (w *Warehouse) Write(ctx context.Context, g *Group) error {
	for _, t := range w.tables(g) {
		if err := w.insert(ctx, g, t, ""); err != nil {
			return err
		}
	}
	return nil
}

// Settle brings a group into the warehouse that may be there already, in whole
// or in part, and returns when each of its rows is there exactly once.
//
// Each insert is one block, and so one part: it took place or it did not. It
// carries a token by which the engine drops a repetition, so that an earlier
// attempt that is still under way does no harm. But an engine that was killed
// may remember the token of a part that it lost: hence the count afterwards,
// and a new token if it falls short.
func (w *Warehouse) Settle(ctx context.Context, g *Group) error {
	for _, t := range w.tables(g) {
		if t.state {
			// A token of its own, for the engine may know one of an insert that it lost.
			if err := w.insert(ctx, g, t, fmt.Sprintf("/settle-%d", time.Now().UnixNano())); err != nil {
				return err
			}
			continue
		}
		for attempt := 0; ; attempt++ {
			there, err := w.count(ctx, g, t)
			if err != nil {
				return err
			}
			if there >= t.keys {
				break
			}
			if attempt == 0 && len(g.Within) > 0 {
				there, err := w.within(ctx, g, t)
				if err != nil {
					return err
				}
				if there {
					break
				}
			}
			token := ""
			if attempt > 0 {
				token = fmt.Sprintf("/%d-%d", attempt, time.Now().UnixNano())
			}
			if attempt > 3 {
				return fmt.Errorf("inserting into %s: %d of %d rows are there after %d attempts", t.name, there, t.keys, attempt)
			}
			if err := w.insert(ctx, g, t, token); err != nil {
				return err
			}
		}
	}
	return nil
}

// count returns how many rows of a group are in a table.
func (w *Warehouse) count(ctx context.Context, g *Group, t table) (int, error) {
	var n uint64
	err := w.conn.QueryRow(ctx, "SELECT count() FROM "+t.name+" WHERE received_at = {at:DateTime64(3, 'UTC')} AND ingest_id = {id:UUID}",
		clickhouse.Named("at", g.ReceivedAt.UTC().Format("2006-01-02 15:04:05.000")),
		clickhouse.Named("id", g.ID.String())).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("counting rows in %s: %w", t.name, err)
	}
	return int(n), nil
}

// within reports whether a group's rows are in a table as those of a larger group: all
// are if the first is, for they were one insert.
func (w *Warehouse) within(ctx context.Context, g *Group, t table) (bool, error) {
	var ids []string
	for _, id := range g.Within {
		ids = append(ids, id.String())
	}
	var n uint64
	err := w.conn.QueryRow(ctx, "SELECT count() FROM "+t.name+` WHERE received_at = {at:DateTime64(3, 'UTC')}
		AND toString(ingest_id) IN ({ids:Array(String)}) AND agent_id = {agent:String} AND spool_id = {spool:String} AND `+t.numbered+
		" = {seq:UInt64}",
		clickhouse.Named("at", g.ReceivedAt.UTC().Format("2006-01-02 15:04:05.000")), clickhouse.Named("ids", ids),
		clickhouse.Named("agent", t.first.AgentID), clickhouse.Named("spool", t.first.SpoolID), clickhouse.Named("seq", t.first.Seq)).Scan(&n)
	if err != nil {
		return false, fmt.Errorf("looking for rows in %s: %w", t.name, err)
	}
	return n > 0, nil
}

// insertPatience is how long an insert may take. The largest take seconds.
const insertPatience = 5 * time.Minute

func (w *Warehouse) insert(ctx context.Context, g *Group, t table, tokenSuffix string) error {
	names := make([]string, len(t.columns))
	types := make([]clickhouse.ColumnNameAndType, len(t.columns))
	for i, c := range t.columns {
		names[i] = c.name
		types[i] = clickhouse.ColumnNameAndType{Name: c.name, Type: w.types[t.name][c.name]}
	}
	// An engine that hangs must not hold up all that come after for ever.
	ctx, cancel := context.WithTimeoutCause(ctx, insertPatience, fmt.Errorf("the warehouse did not answer within %v", insertPatience))
	defer cancel()
	// Without the types the driver asks for them before each insert.
	ctx = clickhouse.Context(ctx, clickhouse.WithColumnNamesAndTypes(types), clickhouse.WithSettings(clickhouse.Settings{
		"async_insert":               0,
		"insert_deduplicate":         1,
		"insert_deduplication_token": g.ID.String() + "/" + t.name + tokenSuffix,
		// One insert, one part: whatever its size.
		"max_insert_block_size":       10_000_000,
		"min_insert_block_size_rows":  0,
		"min_insert_block_size_bytes": 0,
	}))
	batch, err := w.inserts.PrepareBatch(ctx, "INSERT INTO "+t.name+" ("+strings.Join(names, ", ")+")", driver.WithCloseOnFlush())
	if err != nil {
		return fmt.Errorf("inserting into %s: %w", t.name, err)
	}
	defer func() { _ = batch.Close() }() // which does nothing after Send, whose error counts
	for i, c := range batch.Columns() {
		if err := t.columns[i].append(c); err != nil {
			return fmt.Errorf("inserting into %s: column %s: %w", t.name, c.Name(), &rowsError{err})
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("inserting into %s: %w", t.name, err)
	}
	return nil
}

// tables returns the tables that a group has rows for.
func (w *Warehouse) tables(g *Group) []table {
	var list []table
	w.search.note(g)
	add := func(t table, columns ...column) {
		if t.rows == 0 {
			return
		}
		t.columns = columns
		list = append(list, t)
	}
	addTypes(g, add)
	addVersions(g, &w.search, add)
	addRelations(g, add)
	addEvents(g, add)
	addUsage(g, add)
	addGaps(g, add)
	addDeadLetters(g, add)
	return list
}

func addTypes(g *Group, add func(table, ...column)) {
	type T = AssetType
	rows := g.Types
	add(table{name: "asset_type", rows: len(rows), state: true},
		values("site", rows, func(t *T) string { return t.Site }),
		values("name", rows, func(t *T) string { return t.Name }),
		values("title", rows, func(t *T) string { return t.Title }),
		values("layout", rows, func(t *T) string { return string(t.Layout) }),
		values("version", rows, func(t *T) uint64 { return t.Version }),
		values("received_at", rows, func(*T) time.Time { return g.ReceivedAt }),
		values("agent_id", rows, func(t *T) string { return t.AgentID }),
		values("ingest_id", rows, func(*T) uuid.UUID { return g.ID }))
}

func addVersions(g *Group, search *searches, add func(table, ...column)) {
	type asset struct{ site, kind, uid string }
	type versionKey struct {
		asset
		version uint64
	}
	keys := make(map[versionKey]struct{}, len(g.Versions))
	newest := make(map[asset]int, len(g.Versions))
	for i := range g.Versions {
		v := &g.Versions[i]
		a := asset{v.Site, v.Type, v.UID}
		keys[versionKey{a, v.Version}] = struct{}{}
		if j, ok := newest[a]; !ok || g.Versions[j].Version <= v.Version {
			newest[a] = i
		}
	}
	type V = AssetVersion
	common := func(rows []V) []column {
		return []column{
			values("site", rows, func(v *V) string { return v.Site }),
			values("type", rows, func(v *V) string { return v.Type }),
			values("uid", rows, func(v *V) string { return v.UID }),
			values("version", rows, func(v *V) uint64 { return v.Version }),
			values("scope", rows, func(v *V) string { return v.Scope }),
			values("name", rows, func(v *V) string { return v.Name }),
			values("region", rows, func(v *V) string { return v.Region }),
			values("project", rows, func(v *V) string { return v.Project }),
			values("status", rows, func(v *V) string { return v.Status }),
			texts("labels", rows, func(v *V) iter.Seq2[string, string] { return maps.All(v.Labels) }),
			values("hash", rows, func(v *V) string { return string(v.Hash[:]) }),
			documents("document", rows, func(v *V) *[]byte { return &v.Document }),
			values("created_at", rows, func(v *V) time.Time { return orZero(v.CreatedAt) }),
			values("updated_at", rows, func(v *V) time.Time { return orZero(v.UpdatedAt) }),
			values("observed_at", rows, func(v *V) time.Time { return orZero(v.ObservedAt) }),
			values("received_at", rows, func(*V) time.Time { return g.ReceivedAt }),
			values("agent_id", rows, func(v *V) string { return v.AgentID }),
			values("ingest_id", rows, func(*V) uuid.UUID { return g.ID }),
		}
	}
	versions := table{name: "asset_version", rows: len(g.Versions), keys: len(keys), numbered: "seq"}
	if len(g.Versions) > 0 {
		versions.first = g.Versions[0].Origin
	}
	add(versions, append(common(g.Versions),
		values("operation", g.Versions, func(v *V) string { return v.Operation.String() }),
		values("changed", g.Versions, func(v *V) []string { return v.Changed }),
		values("edges.kind", g.Versions, func(v *V) []string { return edge(v, func(r *Relation) string { return r.Kind }) }),
		values("edges.type", g.Versions, func(v *V) []string { return edge(v, func(r *Relation) string { return r.ToType }) }),
		values("edges.uid", g.Versions, func(v *V) []string { return edge(v, func(r *Relation) string { return r.ToUID }) }),
		values("edges_known", g.Versions, func(*V) bool { return true }),
		values("claimed_version", g.Versions, func(v *V) uint64 { return v.ClaimedVersion }),
		values("spool_id", g.Versions, func(v *V) string { return v.SpoolID }),
		values("seq", g.Versions, func(v *V) uint64 { return v.Seq }))...)

	state := make([]V, 0, len(newest))
	for i := range g.Versions {
		v := &g.Versions[i]
		if newest[asset{v.Site, v.Type, v.UID}] == i {
			state = append(state, *v)
		}
	}
	add(table{name: "asset", rows: len(state), state: true}, append(common(state),
		values("deleted", state, func(v *V) bool { return v.Operation == Deleted }),
		texts("fields", state, func(v *V) iter.Seq2[string, string] { return document.All(v.Fields) }),
		values("search", state, search.text))...)
}

// edge returns one part of each of the edges that lead from a version.
func edge(v *AssetVersion, part func(*Relation) string) []string {
	list := make([]string, len(v.Edges))
	for i := range v.Edges {
		list[i] = part(&v.Edges[i])
	}
	return list
}

// seen is an edge as it is seen from one of its ends (table relation).
type seen struct {
	dir                              string
	fromType, fromUID, toType, toUID string
	*Relation
}

// seenEdges returns each edge as it is seen from its ends.
func seenEdges(edges []Relation) []seen {
	list := make([]seen, 0, 2*len(edges))
	for i := range edges {
		r := &edges[i]
		list = append(list, seen{"out", r.FromType, r.FromUID, r.ToType, r.ToUID, r}, seen{"in", r.ToType, r.ToUID, r.FromType, r.FromUID, r})
		if Provider(r.FromType) != Provider(r.ToType) {
			list = append(list, seen{"far", r.ToType, r.ToUID, r.FromType, r.FromUID, r})
		}
	}
	return list
}

// Provider is the first part of a type's name.
func Provider(assetType string) string {
	name, _, _ := strings.Cut(assetType, ".")
	return name
}

func addRelations(g *Group, add func(table, ...column)) {
	rows := seenEdges(g.Relations)
	add(table{name: "relation", rows: len(rows), state: true},
		values("site", rows, func(r *seen) string { return r.Site }),
		values("dir", rows, func(r *seen) string { return r.dir }),
		values("from_type", rows, func(r *seen) string { return r.fromType }),
		values("from_uid", rows, func(r *seen) string { return r.fromUID }),
		values("kind", rows, func(r *seen) string { return r.Kind }),
		values("to_type", rows, func(r *seen) string { return r.toType }),
		values("to_uid", rows, func(r *seen) string { return r.toUID }),
		values("version", rows, func(r *seen) uint64 { return r.Version }),
		values("deleted", rows, func(r *seen) bool { return r.Deleted }),
		values("received_at", rows, func(*seen) time.Time { return g.ReceivedAt }),
		values("ingest_id", rows, func(*seen) uuid.UUID { return g.ID }))
}

func addEvents(g *Group, add func(table, ...column)) {
	type E = Event
	rows := g.Events
	type key struct {
		site, source, id string
		at               int64
	}
	keys := make(map[key]struct{}, len(rows))
	for _, e := range rows {
		keys[key{e.Site, e.Source, e.ID, e.Time.UnixMilli()}] = struct{}{}
	}
	events := table{name: "event", rows: len(rows), keys: len(keys), numbered: "seq"}
	if len(rows) > 0 {
		events.first = rows[0].Origin
	}
	add(events,
		values("site", rows, func(e *E) string { return e.Site }),
		values("id", rows, func(e *E) string { return e.ID }),
		values("type", rows, func(e *E) string { return e.Type }),
		values("source", rows, func(e *E) string { return e.Source }),
		values("asset_type", rows, func(e *E) string { return e.AssetType }),
		values("asset_uid", rows, func(e *E) string { return e.AssetUID }),
		values("time", rows, func(e *E) time.Time { return orZero(e.Time) }),
		values("severity", rows, func(e *E) string { return e.Severity }),
		values("message", rows, func(e *E) string { return e.Message }),
		values("data", rows, func(e *E) string { return string(e.Data) }),
		values("received_at", rows, func(*E) time.Time { return g.ReceivedAt }),
		values("agent_id", rows, func(e *E) string { return e.AgentID }),
		values("spool_id", rows, func(e *E) string { return e.SpoolID }),
		values("seq", rows, func(e *E) uint64 { return e.Seq }),
		values("ingest_id", rows, func(*E) uuid.UUID { return g.ID }))
}

func addUsage(g *Group, add func(table, ...column)) {
	type U = Usage
	rows := g.Usage
	add(table{name: "usage", rows: len(rows), state: true},
		values("site", rows, func(u *U) string { return u.Site }),
		values("asset_type", rows, func(u *U) string { return u.AssetType }),
		values("asset_uid", rows, func(u *U) string { return u.AssetUID }),
		values("meter", rows, func(u *U) string { return u.Meter }),
		values("unit", rows, func(u *U) string { return u.Unit }),
		values("start", rows, func(u *U) time.Time { return u.Start }),
		values("end", rows, func(u *U) time.Time { return u.End }),
		values("quantity", rows, func(u *U) float64 { return u.Quantity }),
		values("version", rows, func(u *U) uint64 { return u.Version }),
		values("scope", rows, func(u *U) string { return u.Scope }),
		values("received_at", rows, func(*U) time.Time { return g.ReceivedAt }),
		values("agent_id", rows, func(u *U) string { return u.AgentID }),
		values("spool_id", rows, func(u *U) string { return u.SpoolID }),
		values("seq", rows, func(u *U) uint64 { return u.Seq }),
		values("ingest_id", rows, func(*U) uuid.UUID { return g.ID }))
}

func addGaps(g *Group, add func(table, ...column)) {
	type G = Gap
	rows := g.Gaps
	add(table{name: "gap", rows: len(rows), state: true},
		values("site", rows, func(p *G) string { return p.Site }),
		values("agent_id", rows, func(p *G) string { return p.AgentID }),
		values("spool_id", rows, func(p *G) string { return p.SpoolID }),
		values("class", rows, func(p *G) string { return p.Class }),
		values("first_seq", rows, func(p *G) uint64 { return p.FirstSeq }),
		values("last_seq", rows, func(p *G) uint64 { return p.LastSeq }),
		values("reason", rows, func(p *G) string { return p.Reason }),
		values("versions", rows, func(p *G) uint64 { return p.Versions }),
		values("asset_types", rows, func(p *G) uint64 { return p.AssetTypes }),
		values("events", rows, func(p *G) uint64 { return p.Events }),
		values("usages", rows, func(p *G) uint64 { return p.Usages }),
		values("unknown", rows, func(p *G) uint64 { return p.Unknown }),
		values("earliest", rows, func(p *G) time.Time { return orZero(p.Earliest) }),
		values("latest", rows, func(p *G) time.Time { return orZero(p.Latest) }),
		values("received_at", rows, func(*G) time.Time { return g.ReceivedAt }),
		values("ingest_id", rows, func(*G) uuid.UUID { return g.ID }))
}

func addDeadLetters(g *Group, add func(table, ...column)) {
	type D = DeadLetter
	rows := g.DeadLetters
	letters := table{name: "dead_letter", rows: len(rows), keys: len(rows), numbered: "first_seq"}
	if len(rows) > 0 {
		letters.first = rows[0].Origin
	}
	add(letters,
		values("site", rows, func(d *D) string { return d.Site }),
		values("agent_id", rows, func(d *D) string { return d.AgentID }),
		values("spool_id", rows, func(d *D) string { return d.SpoolID }),
		values("class", rows, func(d *D) string { return d.Class }),
		values("scope", rows, func(d *D) string { return d.Scope }),
		values("asset_type", rows, func(d *D) string { return d.Type }),
		values("asset_uid", rows, func(d *D) string { return d.UID }),
		values("version", rows, func(d *D) uint64 { return d.Version }),
		values("first_seq", rows, func(d *D) uint64 { return d.Seq }),
		values("records", rows, func(d *D) uint32 { return d.Records }),
		values("reason", rows, func(d *D) string { return d.Reason }),
		values("raw", rows, func(d *D) string { return string(d.Raw) }),
		values("received_at", rows, func(*D) time.Time { return g.ReceivedAt }),
		values("ingest_id", rows, func(*D) uuid.UUID { return g.ID }))
}
