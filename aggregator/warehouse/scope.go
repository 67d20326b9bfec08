package warehouse

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// SiteScope names a scope.
type SiteScope struct{ Site, Scope string }

// ScopeHolder is a scope with the agent that holds it, or none.
type ScopeHolder struct {
	SiteScope
	AgentID string
	Epoch   uint64
	// Version grows with the registry's revision: of two of a scope the larger holds.
	Version uint64
}

// SetScopes takes note of who holds scopes.
func (w *Warehouse) SetScopes(ctx context.Context, scopes []ScopeHolder) error {
	batch, err := w.conn.PrepareBatch(ctx, "INSERT INTO scope (site, scope, agent_id, epoch, version)")
	if err != nil {
		return fmt.Errorf("noting who holds scopes: %w", err)
	}
	defer func() { _ = batch.Close() }() // which does nothing after Send, whose error counts
	for _, s := range scopes {
		if err := batch.Append(s.Site, s.Scope, s.AgentID, s.Epoch, s.Version); err != nil {
			return fmt.Errorf("noting who holds scopes: %w", err)
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("noting who holds scopes: %w", err)
	}
	return nil
}

// ScopesVersion returns the largest version of what was noted of holders, or zero.
func (w *Warehouse) ScopesVersion(ctx context.Context) (version uint64, err error) {
	if err := w.conn.QueryRow(ctx, "SELECT max(version) FROM scope").Scan(&version); err != nil {
		return 0, fmt.Errorf("reading what was noted of holders: %w", err)
	}
	return version, nil
}

// ScopeCounts returns how many assets there are, not deleted, in scopes of a site, or of
// all sites if it is empty; nil scopes are all that there are.
func (w *Warehouse) ScopeCounts(ctx context.Context, site string, scopes []string) (map[SiteScope]int64, error) {
	var c where
	c.equal("site", site)
	c.add("NOT deleted")
	if scopes != nil {
		c.add("scope IN {scopes:Array(String)}", clickhouse.Named("scopes", scopes))
	}
	rows, err := w.conn.Query(ctx, "SELECT site, scope, toInt64(count()) FROM asset FINAL"+c.String()+" GROUP BY site, scope", c.parameters...)
	if err != nil {
		return nil, fmt.Errorf("counting the assets of scopes: %w", err)
	}
	return scanMap(rows, func(k *SiteScope, n *int64) []any { return []any{&k.Site, &k.Scope, n} })
}

// Untaken is what of a scope could not be taken, and why.
type Untaken struct {
	// Count is of how many assets the newest version is a dead letter.
	Count int64
	// Reason is that of the newest, and Time when it came.
	Reason string
	Time   time.Time
}

// ScopeUntaken returns what could not be taken of the scopes of a site, or of all, and
// was not taken since. A scope that is not in it has nothing of that.
func (w *Warehouse) ScopeUntaken(ctx context.Context, site string) (map[SiteScope]Untaken, error) {
	var c where
	c.equal("site", site)
	c.add("scope != ''")
	rows, err := w.conn.Query(ctx, `SELECT d.site, d.scope, toInt64(count()), argMax(d.why, d.at), max(d.at)
		FROM (SELECT site, scope, asset_type, asset_uid, max(version) AS version, argMax(reason, received_at) AS why, max(received_at) AS at
			FROM dead_letter`+c.String()+` GROUP BY site, scope, asset_type, asset_uid) AS d
		LEFT JOIN (SELECT type, site, uid, max(version) AS version FROM asset
			WHERE (type, site, uid) IN (SELECT asset_type, site, asset_uid FROM dead_letter`+c.String()+`) GROUP BY type, site, uid) AS a
		ON a.type = d.asset_type AND a.site = d.site AND a.uid = d.asset_uid
		WHERE a.version < d.version GROUP BY d.site, d.scope`, c.parameters...)
	if err != nil {
		return nil, fmt.Errorf("counting what could not be taken of scopes: %w", err)
	}
	return scanMap(rows, func(k *SiteScope, u *Untaken) []any { return []any{&k.Site, &k.Scope, &u.Count, &u.Reason, &u.Time} })
}

// ScopeTypes returns how many assets of each type there are in a scope, not deleted.
func (w *Warehouse) ScopeTypes(ctx context.Context, s SiteScope) (map[string]int64, error) {
	rows, err := w.conn.Query(ctx, `SELECT type, toInt64(count()) FROM asset FINAL
		WHERE site = {site:String} AND scope = {scope:String} AND NOT deleted GROUP BY type`,
		clickhouse.Named("site", s.Site), clickhouse.Named("scope", s.Scope))
	if err != nil {
		return nil, fmt.Errorf("counting the assets of a scope: %w", err)
	}
	return scanMap(rows, func(name *string, n *int64) []any { return []any{name, n} })
}

// ScopeQuery selects the next assets of a scope, by type and uid.
type ScopeQuery struct {
	SiteScope
	AfterType, AfterUID string
	// At most so many assets, and about so many bytes of documents, but at least one.
	Assets, Bytes int
}

// ScopeAssets returns the newest versions of the next assets of a scope that are not
// deleted, with their documents and the edges that lead from them, and whether there
// may be more.
func (w *Warehouse) ScopeAssets(ctx context.Context, q ScopeQuery) (versions []AssetVersion, relations []Relation, more bool, err error) {
	rows, err := w.conn.Query(ctx, fmt.Sprintf(`SELECT site, type, uid, version, scope, name, region, project, status, labels, hash, document,
			created_at, updated_at, observed_at, agent_id
		FROM asset FINAL WHERE site = {site:String} AND scope = {scope:String} AND NOT deleted AND (type, uid) > ({type:String}, {uid:String})
		ORDER BY type, uid LIMIT %d`, q.Assets),
		clickhouse.Named("site", q.Site), clickhouse.Named("scope", q.Scope), clickhouse.Named("type", q.AfterType),
		clickhouse.Named("uid", q.AfterUID))
	if err != nil {
		return nil, nil, false, fmt.Errorf("reading the assets of a scope: %w", err)
	}
	defer rows.Close()
	size := 0
	for rows.Next() {
		if size >= q.Bytes {
			more = true
			break
		}
		var v AssetVersion
		if err := rows.Scan(&v.Site, &v.Type, &v.UID, &v.Version, &v.Scope, &v.Name, &v.Region, &v.Project, &v.Status, &v.Labels,
			(*hash)(&v.Hash), (*text)(&v.Document), (*moment)(&v.CreatedAt), (*moment)(&v.UpdatedAt), (*moment)(&v.ObservedAt),
			&v.AgentID); err != nil {
			return nil, nil, false, fmt.Errorf("reading the assets of a scope: %w", err)
		}
		versions, size = append(versions, v), size+len(v.Document)
	}
	if err := rows.Err(); err != nil && !more {
		return nil, nil, false, fmt.Errorf("reading the assets of a scope: %w", err)
	}
	more = more || len(versions) == q.Assets
	if len(versions) == 0 {
		return nil, nil, false, nil
	}
	// Edges are not in the documents, and may be many more: as many assets as have few
	// enough of them.
	edges := 0
	for first := 0; first < len(versions); {
		kind, end := versions[first].Type, first
		var uids []string
		for ; end < len(versions) && versions[end].Type == kind; end++ {
			uids = append(uids, versions[end].UID)
		}
		counts, err := w.edges(ctx, q.Site, kind, uids)
		if err != nil {
			return nil, nil, false, err
		}
		for i, uid := range uids {
			if edges += counts[uid]; first+i > 0 && edges > pageEdges {
				versions, uids, more = versions[:first+i], uids[:i], true
				break
			}
		}
		list, err := w.relationsFrom(ctx, q.Site, kind, uids)
		if err != nil {
			return nil, nil, false, err
		}
		relations, first = append(relations, list...), end
	}
	return versions, relations, more, nil
}

const (
	// pageEdges is how many edges are read with several assets at most, and assetEdges
	// with one: more than any version may have.
	pageEdges, assetEdges = 50_000, 800_000
	// edgeBytes is about what an edge takes.
	edgeBytes = 64
)

// edgesFrom is the condition for the edges that lead from assets of a site and a type.
const edgesFrom = `from_id IN (SELECT sipHash64({site:String}, {type:String}, arrayJoin({uids:Array(String)}))) AND dir = 'out'
		AND site = {site:String} AND from_type = {type:String} AND from_uid IN {uids:Array(String)} AND NOT deleted`

// edges returns how many edges lead from assets of a site and a type, by uid.
func (w *Warehouse) edges(ctx context.Context, site, typ string, uids []string) (map[string]int, error) {
	rows, err := w.conn.Query(ctx, `SELECT from_uid, toInt64(count()) FROM relation FINAL
		WHERE `+edgesFrom+` GROUP BY from_uid`,
		clickhouse.Named("site", site), clickhouse.Named("type", typ), clickhouse.Named("uids", uids))
	if err != nil {
		return nil, fmt.Errorf("counting relations: %w", err)
	}
	counts, err := scanMap(rows, func(uid *string, n *int64) []any { return []any{uid, n} })
	if err != nil {
		return nil, err
	}
	edges := make(map[string]int, len(counts))
	for uid, n := range counts {
		edges[uid] = int(n)
	}
	return edges, nil
}

// relationsFrom lists the edges that lead from assets of a site and a type.
func (w *Warehouse) relationsFrom(ctx context.Context, site, typ string, uids []string) ([]Relation, error) {
	rows, err := w.conn.Query(ctx, fmt.Sprintf(`SELECT site, from_type, from_uid, kind, to_type, to_uid FROM relation FINAL
		WHERE `+edgesFrom+` LIMIT %d BY from_uid`, assetEdges),
		clickhouse.Named("site", site), clickhouse.Named("type", typ), clickhouse.Named("uids", uids))
	if err != nil {
		return nil, fmt.Errorf("reading relations: %w", err)
	}
	return scan(rows, func(r *Relation) []any { return []any{&r.Site, &r.FromType, &r.FromUID, &r.Kind, &r.ToType, &r.ToUID} })
}
