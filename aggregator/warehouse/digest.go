package warehouse

import (
	"context"
	"fmt"
	"strconv"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/wire"
)

// ScopeType names the assets of one type in one scope.
type ScopeType struct{ Scope, Type string }

// DigestQuery selects assets of a site: those of Scopes, and those of OwnIn that the agent
// told of last.
type DigestQuery struct {
	Site, AgentID string
	Scopes, OwnIn []string
}

// Digests sums up assets that are not deleted.
func (w *Warehouse) Digests(ctx context.Context, q DigestQuery) (map[ScopeType]wire.Digest, error) {
	// As wire.Digest.Add does it.
	rows, err := w.conn.Query(ctx, `SELECT scope, type, count(), groupBitXor(xxHash64(concat(uid, '\0', hash)))
		FROM asset FINAL WHERE site = {site:String} AND NOT deleted
			AND (scope IN {scopes:Array(String)} OR scope IN {own:Array(String)} AND agent_id = {agent:String}) GROUP BY scope, type`,
		clickhouse.Named("site", q.Site), clickhouse.Named("scopes", q.Scopes), clickhouse.Named("own", q.OwnIn),
		clickhouse.Named("agent", q.AgentID))
	if err != nil {
		return nil, fmt.Errorf("summing up assets: %w", err)
	}
	return scanMap(rows, func(k *ScopeType, d *wire.Digest) []any { return []any{&k.Scope, &k.Type, &d.Assets, &d.Sum} })
}

// TypeVersions returns the version of each asset type of a site.
func (w *Warehouse) TypeVersions(ctx context.Context, site string) (map[string]uint64, error) {
	rows, err := w.conn.Query(ctx, "SELECT name, max(version) FROM asset_type WHERE site = {site:String} GROUP BY name",
		clickhouse.Named("site", site))
	if err != nil {
		return nil, fmt.Errorf("listing asset types: %w", err)
	}
	return scanMap(rows, func(name *string, version *uint64) []any { return []any{name, version} })
}

// Held is what is held of an asset, without what is in it.
type Held struct {
	UID            string
	Version        uint64
	Deleted        bool
	Hash           document.Hash
	Scope, AgentID string
}

// Held lists what is held of the assets of a site and a type whose uid is above
// after, and not above until, unless that is empty; in the order of uids, and no more
// than limit.
func (w *Warehouse) Held(ctx context.Context, site, typ, after, until string, limit int) ([]Held, error) {
	rows, err := w.conn.Query(ctx, `SELECT uid, version, deleted, hash, scope, agent_id FROM asset FINAL
		WHERE site = {site:String} AND type = {type:String} AND uid > {after:String}
			AND ({until:String} = '' OR uid <= {until:String}) ORDER BY uid LIMIT {limit:UInt64}`,
		clickhouse.Named("site", site), clickhouse.Named("type", typ), clickhouse.Named("after", after), clickhouse.Named("until", until),
		clickhouse.Named("limit", strconv.Itoa(limit)))
	if err != nil {
		return nil, fmt.Errorf("listing what is held: %w", err)
	}
	return scan(rows, func(h *Held) []any {
		return []any{&h.UID, &h.Version, &h.Deleted, (*hash)(&h.Hash), &h.Scope, &h.AgentID}
	})
}

// Sizes returns about how many bytes the documents and edges of assets of a site and a
// type have that are not deleted, by uid.
func (w *Warehouse) Sizes(ctx context.Context, site, typ string, uids []string) (map[string]uint64, error) {
	rows, err := w.conn.Query(ctx, `SELECT uid, length(document) FROM asset FINAL
		WHERE site = {site:String} AND type = {type:String} AND uid IN {uids:Array(String)} AND NOT deleted`,
		clickhouse.Named("site", site), clickhouse.Named("type", typ), clickhouse.Named("uids", uids))
	if err != nil {
		return nil, fmt.Errorf("measuring assets: %w", err)
	}
	sizes, err := scanMap(rows, func(uid *string, size *uint64) []any { return []any{uid, size} })
	if err != nil {
		return nil, err
	}
	counts, err := w.edges(ctx, site, typ, uids)
	for uid, n := range counts {
		if _, there := sizes[uid]; there {
			sizes[uid] += uint64(n) * edgeBytes
		}
	}
	return sizes, err
}

// Current returns the newest versions of assets of a site and a type that are not
// deleted, with their documents, and the relations that lead from them.
func (w *Warehouse) Current(ctx context.Context, site, typ string, uids []string) ([]AssetVersion, []Relation, error) {
	parameters := []any{clickhouse.Named("site", site), clickhouse.Named("type", typ), clickhouse.Named("uids", uids)}
	rows, err := w.conn.Query(ctx, `SELECT site, type, uid, version, scope, name, region, project, status, labels, hash, document, `+
		`created_at, updated_at, observed_at, agent_id
		FROM asset FINAL
		WHERE site = {site:String} AND type = {type:String} AND uid IN {uids:Array(String)} AND NOT deleted ORDER BY uid`, parameters...)
	if err != nil {
		return nil, nil, fmt.Errorf("reading assets: %w", err)
	}
	versions, err := scan(rows, func(v *AssetVersion) []any {
		return []any{&v.Site, &v.Type, &v.UID, &v.Version, &v.Scope, &v.Name, &v.Region, &v.Project, &v.Status, &v.Labels,
			(*hash)(&v.Hash), (*text)(&v.Document), (*moment)(&v.CreatedAt), (*moment)(&v.UpdatedAt), (*moment)(&v.ObservedAt), &v.AgentID}
	})
	if err != nil {
		return nil, nil, err
	}
	relations, err := w.relationsFrom(ctx, site, typ, uids)
	return versions, relations, err
}

// hash scans a FixedString(16).
type hash document.Hash

// Scan implements sql.Scanner.
func (h *hash) Scan(src any) error {
	s, ok := src.(string)
	if !ok || len(s) != len(h) {
		return fmt.Errorf("a %T of %d bytes where a hash was expected", src, len(s))
	}
	copy(h[:], s)
	return nil
}
