package warehouse

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// State is where an asset stands.
type State uint8

// The states: an asset that nobody looks after is disconnected, unless it is deleted.
const (
	Active State = iota + 1
	Disconnected
	Gone
)

// Asset is the newest version of an asset. Hash and Fields are not read.
type Asset struct {
	AssetVersion
	State      State
	ReceivedAt time.Time
}

// DisconnectedCondition is the condition that nobody looks after an asset that is not
// deleted: its scope has no holder, or one that is silent. What is of no scope that an agent
// ever claimed goes by the agent that told of it. silent is an expression for the ids of the
// agents that are not heard from, an Array(String).
func DisconnectedCondition(silent string) string {
	return fmt.Sprintf(`((site, scope) IN (SELECT site, scope FROM scope FINAL WHERE agent_id = '' OR has(%[1]s, agent_id))
	OR has(%[1]s, agent_id) AND (site, scope) NOT IN (SELECT site, scope FROM scope FINAL))`, silent)
}

// disconnected has the parameter silent.
var disconnected = DisconnectedCondition("{silent:Array(String)}")

// AssetKey is the key of an asset, and the order in which assets are listed.
type AssetKey struct{ Site, Type, UID string }

// AssetQuery selects assets. Empty fields select everything.
type AssetQuery struct {
	Site, Type, UID string
	States          []State
	// Silent are the agents that are not heard from.
	Silent []string
	// After continues a listing behind a key.
	After *AssetKey
	Limit int
	// WithDocument reads the documents too.
	WithDocument bool
}

// where gathers conditions and their parameters.
type where struct {
	conditions []string
	parameters []any
}

func (w *where) equal(column, value string) {
	if value != "" {
		w.add(fmt.Sprintf("%s = {%s:String}", column, column), clickhouse.Named(column, value))
	}
}

func (w *where) add(condition string, parameters ...any) {
	w.conditions = append(w.conditions, condition)
	w.parameters = append(w.parameters, parameters...)
}

func (w *where) String() string {
	if len(w.conditions) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.conditions, " AND ")
}

// stateOf is the expression for an asset's state. It has the parameter silent.
var stateOf = fmt.Sprintf("multiIf(deleted, %d, %s, %d, %d)", Gone, disconnected, Disconnected, Active)

func (q *AssetQuery) where() *where {
	var c where
	c.equal("site", q.Site)
	c.equal("type", q.Type)
	c.equal("uid", q.UID)
	c.parameters = append(c.parameters, clickhouse.Named("silent", q.Silent))
	if len(q.States) > 0 {
		wanted := make([]string, len(q.States))
		for i, s := range q.States {
			wanted[i] = fmt.Sprint(uint8(s))
		}
		c.add(fmt.Sprintf("%s IN (%s)", stateOf, strings.Join(wanted, ", ")))
	}
	if q.After != nil {
		c.add("(site, type, uid) > ({after_site:String}, {after_type:String}, {after_uid:String})",
			clickhouse.Named("after_site", q.After.Site), clickhouse.Named("after_type", q.After.Type), clickhouse.Named("after_uid", q.After.UID))
	}
	return &c
}

// firstOf is the condition for the first assets that conditions select, by site, type
// and uid. The table is in another order, so their keys are looked for first.
func firstOf(c *where, limit int) string {
	return fmt.Sprintf("(type, site, uid) IN (SELECT type, site, uid FROM asset FINAL%s ORDER BY site, type, uid LIMIT %d)", c.String(), limit)
}

// Assets lists the current state of assets, by site, type and uid.
func (w *Warehouse) Assets(ctx context.Context, q AssetQuery) ([]Asset, error) {
	c := q.where()
	document := "''"
	if q.WithDocument {
		document = "document"
	}
	rows, err := w.conn.Query(ctx, fmt.Sprintf(`SELECT site, type, uid, version, toUInt8(%s), scope, name, region, project, status, labels, %s,
		created_at, updated_at, observed_at, received_at, agent_id
		FROM asset FINAL WHERE %s ORDER BY site, type, uid`, stateOf, document, firstOf(c, q.Limit)), c.parameters...)
	if err != nil {
		return nil, fmt.Errorf("listing assets: %w", err)
	}
	return scan(rows, func(a *Asset) []any {
		return []any{&a.Site, &a.Type, &a.UID, &a.Version, (*uint8)(&a.State), &a.Scope, &a.Name, &a.Region, &a.Project, &a.Status, &a.Labels,
			(*text)(&a.Document), (*moment)(&a.CreatedAt), (*moment)(&a.UpdatedAt), (*moment)(&a.ObservedAt), (*moment)(&a.ReceivedAt), &a.AgentID}
	})
}

// AssetsWithin returns how many of the assets that a query selects, in its order and
// within its limit, have documents of so many bytes together: at least one, if there
// is any. They are as many as can be read at once without a bound on documents.
func (w *Warehouse) AssetsWithin(ctx context.Context, q AssetQuery, bytes uint64) (int, error) {
	c := q.where()
	rows, err := w.conn.Query(ctx, fmt.Sprintf(`SELECT length(document) FROM asset FINAL WHERE %s ORDER BY site, type, uid`,
		firstOf(c, q.Limit)), c.parameters...)
	if err != nil {
		return 0, fmt.Errorf("measuring assets: %w", err)
	}
	return fitting(rows, bytes)
}

// fitting returns how many rows, each of one size, have so many bytes together.
func fitting(rows driver.Rows, bytes uint64) (n int, err error) {
	sizes, err := scan(rows, func(size *uint64) []any { return []any{size} })
	if err != nil {
		return 0, err
	}
	var sum uint64
	for n = range sizes {
		if sum += sizes[n]; n > 0 && sum > bytes {
			return n, nil
		}
	}
	return len(sizes), nil
}

// Change is a version with the time at which it was received.
type Change struct {
	AssetVersion
	ReceivedAt time.Time
}

// ChangeQuery selects the versions of one asset.
type ChangeQuery struct {
	AssetKey
	// Before continues a listing with older versions.
	Before       uint64
	Limit        int
	WithDocument bool
}

func (q *ChangeQuery) where() *where {
	var c where
	c.equal("site", q.Site)
	c.equal("type", q.Type)
	c.equal("uid", q.UID)
	if q.Before > 0 {
		c.add("version < {before:UInt64}", clickhouse.Named("before", fmt.Sprint(q.Before)))
	}
	return &c
}

// ChangesWithin is AssetsWithin for the versions of an asset.
func (w *Warehouse) ChangesWithin(ctx context.Context, q ChangeQuery, bytes uint64) (int, error) {
	c := q.where()
	rows, err := w.conn.Query(ctx, fmt.Sprintf(`SELECT length(document) FROM asset_version FINAL%s ORDER BY version DESC LIMIT %d`,
		c.String(), q.Limit), c.parameters...)
	if err != nil {
		return 0, fmt.Errorf("measuring changes: %w", err)
	}
	return fitting(rows, bytes)
}

// Changes lists the versions of an asset, newest first.
func (w *Warehouse) Changes(ctx context.Context, q ChangeQuery) ([]Change, error) {
	c := q.where()
	document := "''"
	if q.WithDocument {
		document = "document"
	}
	rows, err := w.conn.Query(ctx, fmt.Sprintf(`SELECT site, type, uid, version, operation, name, status, changed, %s, observed_at, `+
		`received_at, agent_id
		FROM asset_version FINAL%s ORDER BY version DESC LIMIT %d`, document, c.String(), q.Limit), c.parameters...)
	if err != nil {
		return nil, fmt.Errorf("listing changes: %w", err)
	}
	return scan(rows, func(v *Change) []any {
		return []any{&v.Site, &v.Type, &v.UID, &v.Version, &v.Operation, &v.Name, &v.Status, &v.Changed,
			(*text)(&v.Document), (*moment)(&v.ObservedAt), (*moment)(&v.ReceivedAt), &v.AgentID}
	})
}

// Relations lists the edges from and to an asset: those that lead from it first.
func (w *Warehouse) Relations(ctx context.Context, k AssetKey, limit int) ([]Relation, error) {
	rows, err := w.conn.Query(ctx, fmt.Sprintf(`SELECT site, if(dir = 'out', from_type, to_type) AS ft, if(dir = 'out', from_uid, to_uid) AS fu, kind,
			if(dir = 'out', to_type, from_type) AS tt, if(dir = 'out', to_uid, from_uid) AS tu
		FROM relation FINAL
		WHERE from_id = sipHash64({site:String}, {type:String}, {uid:String}) AND site = {site:String}
			AND from_type = {type:String} AND from_uid = {uid:String} AND NOT deleted
			AND (dir = 'out' OR dir = 'in' AND (to_type, to_uid) != (from_type, from_uid))
		ORDER BY dir, kind, tt, tu, ft, fu LIMIT %d`, limit),
		clickhouse.Named("site", k.Site), clickhouse.Named("type", k.Type), clickhouse.Named("uid", k.UID))
	if err != nil {
		return nil, fmt.Errorf("listing relations: %w", err)
	}
	return scan(rows, func(r *Relation) []any {
		return []any{&r.Site, &r.FromType, &r.FromUID, &r.Kind, &r.ToType, &r.ToUID}
	})
}

// TypeSummary is a type of assets over several sites.
type TypeSummary struct {
	Name, Title string
	Layout      []byte
	// Active is how many of its assets are.
	Active int64
}

// TypeQuery selects types. Empty fields select everything.
type TypeQuery struct {
	Site string
	// Silent are the agents that are not heard from.
	Silent []string
	// After continues a listing behind a name.
	After string
	Limit int
}

// Types lists, in the order of their names, the types that agents told of or
// that have assets. Of a site it is what that site says. Over several sites it is what
// most of them say, and where as many say something else, what was said first: a site
// that says something of its own paints nothing of the others'.
func (w *Warehouse) Types(ctx context.Context, q TypeQuery) ([]TypeSummary, error) {
	var told, there where
	told.equal("site", q.Site)
	there.equal("site", q.Site)
	if q.After != "" {
		told.add("name > {after:String}", clickhouse.Named("after", q.After))
		there.add("type > {after:String}")
	}
	parameters := append(told.parameters, clickhouse.Named("silent", q.Silent))
	rows, err := w.conn.Query(ctx, fmt.Sprintf(`
		SELECT name, argMin(title, word), argMin(layout, word), toInt64(sum(active)) FROM (
			SELECT name, title, layout, (-toInt64(count()), min(received_at), min(site)) AS word, 0 AS active
			FROM asset_type FINAL%s GROUP BY name, title, layout
			UNION ALL
			SELECT type, '', '', (1, toDateTime64(0, 3, 'UTC'), ''), countIf(NOT deleted AND NOT `+disconnected+`) FROM asset FINAL%s GROUP BY type
		) GROUP BY name ORDER BY name LIMIT %d`, told.String(), there.String(), q.Limit), parameters...)
	if err != nil {
		return nil, fmt.Errorf("listing types: %w", err)
	}
	return scan(rows, func(t *TypeSummary) []any { return []any{&t.Name, &t.Title, (*text)(&t.Layout), &t.Active} })
}

// ReceivedGap is a gap with the time at which it was received.
type ReceivedGap struct {
	Gap
	ReceivedAt time.Time
}

// GapKey is the key of a gap in the order in which gaps are listed.
type GapKey struct {
	// ReceivedAt is in Unix milliseconds.
	ReceivedAt                    int64
	Site, AgentID, SpoolID, Class string
	LastSeq                       uint64
}

// GapQuery selects gaps.
type GapQuery struct {
	// Site may be empty for all.
	Site string
	// After continues a listing behind a key.
	After *GapKey
	Limit int
}

// Gaps lists what agents gave up, the newest first.
func (w *Warehouse) Gaps(ctx context.Context, q GapQuery) ([]ReceivedGap, error) {
	var c where
	c.equal("site", q.Site)
	const key = "toUnixTimestamp64Milli(received_at), site, agent_id, spool_id, class, last_seq"
	if k := q.After; k != nil {
		c.add("("+key+") < ({after_received:Int64}, {after_site:String}, {after_agent:String}, {after_spool:String}, {after_class:String}, "+
			"{after_seq:UInt64})",
			clickhouse.Named("after_received", fmt.Sprint(k.ReceivedAt)), clickhouse.Named("after_site", k.Site),
			clickhouse.Named("after_agent", k.AgentID),
			clickhouse.Named("after_spool", k.SpoolID), clickhouse.Named("after_class", k.Class),
			clickhouse.Named("after_seq", fmt.Sprint(k.LastSeq)))
	}
	rows, err := w.conn.Query(ctx, fmt.Sprintf(`SELECT site, agent_id, spool_id, class, first_seq, last_seq, reason,
		versions, asset_types, events, usages, unknown, earliest, latest, received_at
		FROM gap FINAL%s ORDER BY (%s) DESC LIMIT %d`, c.String(), key, q.Limit), c.parameters...)
	if err != nil {
		return nil, fmt.Errorf("listing gaps: %w", err)
	}
	return scan(rows, func(g *ReceivedGap) []any {
		return []any{&g.Site, &g.AgentID, &g.SpoolID, &g.Class, &g.FirstSeq, &g.LastSeq, &g.Reason,
			&g.Versions, &g.AssetTypes, &g.Events, &g.Usages, &g.Unknown, (*moment)(&g.Earliest), (*moment)(&g.Latest), (*moment)(&g.ReceivedAt)}
	})
}

// AssetCounts returns how many assets each site has that are not deleted.
func (w *Warehouse) AssetCounts(ctx context.Context) (map[string]int64, error) {
	rows, err := w.conn.Query(ctx, `SELECT site, toInt64(count()) FROM asset FINAL WHERE NOT deleted GROUP BY site`)
	if err != nil {
		return nil, fmt.Errorf("counting assets: %w", err)
	}
	return scanMap(rows, func(site *string, assets *int64) []any { return []any{site, assets} })
}

// scan reads all rows and closes them.
func scan[T any](rows driver.Rows, targets func(*T) []any) (list []T, err error) {
	defer rows.Close()
	for rows.Next() {
		var row T
		if err := rows.Scan(targets(&row)...); err != nil {
			return nil, fmt.Errorf("reading the warehouse's answer: %w", err)
		}
		list = append(list, row)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading the warehouse's answer: %w", err)
	}
	return list, nil
}

// scanMap reads rows that are a key and what belongs to it.
func scanMap[K comparable, V any](rows driver.Rows, targets func(*K, *V) []any) (map[K]V, error) {
	type row struct {
		key   K
		value V
	}
	list, err := scan(rows, func(r *row) []any { return targets(&r.key, &r.value) })
	if err != nil {
		return nil, err
	}
	m := make(map[K]V, len(list))
	for _, r := range list {
		m[r.key] = r.value
	}
	return m, nil
}

// text scans a String into bytes.
type text []byte

// Scan implements sql.Scanner.
func (t *text) Scan(src any) error {
	s, ok := src.(string)
	if !ok {
		return fmt.Errorf("a %T where a String was expected", src)
	}
	*t = []byte(s)
	return nil
}

// moment scans a time, in which the epoch stands for "unknown".
type moment time.Time

// Scan implements sql.Scanner.
func (m *moment) Scan(src any) error {
	t, ok := src.(time.Time)
	if !ok {
		return fmt.Errorf("a %T where a time was expected", src)
	}
	if t.Equal(zero) {
		t = time.Time{}
	}
	*m = moment(t)
	return nil
}

// Scan implements sql.Scanner: it reads the name.
func (o *Operation) Scan(src any) error {
	for _, k := range []Operation{Created, Updated, Deleted} {
		if src == k.String() {
			*o = k
			return nil
		}
	}
	return fmt.Errorf("operation %v is unknown", src)
}

// NewestReceived returns when the newest group with versions of assets was received, of those
// that were received before a time; zero if there is none. What has a later time came while
// the aggregator's clock was wrong.
func (w *Warehouse) NewestReceived(ctx context.Context, before time.Time) (at time.Time, err error) {
	newest := fmt.Sprintf("SELECT max(received_at) FROM asset_version WHERE received_at < fromUnixTimestamp64Milli(%d)", before.UnixMilli())
	if err := w.conn.QueryRow(ctx, newest).Scan((*moment)(&at)); err != nil {
		return at, fmt.Errorf("looking for the newest version: %w", err)
	}
	return at, nil
}
