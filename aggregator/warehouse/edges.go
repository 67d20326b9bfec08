package warehouse

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/reeve-cloud/reeve/pkg/hlc"
)

// edgesAtOnce is how many assets get their edges in one statement of a migration.
const edgesAtOnce = 10_000

// giveEdgesToNewest gives the newest version of each asset the edges that are known of
// it. Earlier versions were stored without theirs, and nobody knows those any more. A
// version that has its edges is passed over, so that a migration that was cut off goes
// on where it was.
func (w *Warehouse) giveEdgesToNewest(ctx context.Context, logger *slog.Logger) error {
	type kind struct {
		site, name string
		assets     uint64
	}
	rows, err := w.conn.Query(ctx, "SELECT site, type, count() FROM asset GROUP BY site, type ORDER BY site, type")
	if err != nil {
		return fmt.Errorf("listing types of assets: %w", err)
	}
	kinds, err := scan(rows, func(k *kind) []any { return []any{&k.site, &k.name, &k.assets} })
	if err != nil {
		return err
	}
	var done, all uint64
	for _, k := range kinds {
		all += k.assets
	}
	for _, k := range kinds {
		for after := ""; ; {
			parameters := []any{clickhouse.Named("site", k.site), clickhouse.Named("type", k.name), clickhouse.Named("after", after)}
			var until string
			var n uint64
			if err := w.conn.QueryRow(ctx, fmt.Sprintf(`SELECT max(uid), count() FROM (
				SELECT DISTINCT uid FROM asset
				WHERE site = {site:String} AND type = {type:String} AND uid > {after:String} ORDER BY uid LIMIT %d)`, edgesAtOnce),
				parameters...).Scan(&until, &n); err != nil {
				return fmt.Errorf("listing assets: %w", err)
			}
			if n == 0 {
				break
			}
			if err := w.conn.Exec(ctx, giveEdges, append(parameters, clickhouse.Named("until", until))...); err != nil {
				return fmt.Errorf("giving edges to versions of %s in site %s: %w", k.name, k.site, err)
			}
			after, done = until, done+n
			logger.Info("giving the newest versions their edges", "assets", done, "of", max(all, done))
		}
	}
	return nil
}

// giveEdges inserts versions once more, with their edges: they replace themselves.
const giveEdges = `INSERT INTO asset_version (site, type, uid, version, operation, scope, name, region, project, status, labels, hash, ` +
	`document, changed,
	edges.kind, edges.type, edges.uid, edges_known, created_at, updated_at, observed_at, received_at, agent_id, spool_id, seq, ingest_id)
SELECT v.site, v.type, v.uid, v.version, v.operation, v.scope, v.name, v.region, v.project,
	v.status, v.labels, v.hash, v.document, v.changed,
	r.kinds, r.types, r.uids, true, v.created_at, v.updated_at, v.observed_at, v.received_at, v.agent_id, v.spool_id, v.seq, v.ingest_id
FROM (
	SELECT * FROM asset_version FINAL
	WHERE site = {site:String} AND type = {type:String} AND uid > {after:String} AND uid <= {until:String} AND NOT edges_known
		AND (uid, version) IN (SELECT uid, version FROM asset FINAL
			WHERE site = {site:String} AND type = {type:String} AND uid > {after:String} AND uid <= {until:String})
) AS v
LEFT JOIN (
	SELECT from_uid, groupArray(kind) AS kinds, groupArray(to_type) AS types, groupArray(to_uid) AS uids
	FROM (SELECT from_uid, kind, to_type, to_uid FROM relation FINAL
		WHERE site = {site:String} AND from_type = {type:String} AND from_uid > {after:String} AND from_uid <= {until:String} AND NOT deleted
		ORDER BY from_uid, kind, to_type, to_uid)
	GROUP BY from_uid
) AS r ON r.from_uid = v.uid`

// RelationsAt lists the edges from and to an asset as they were at a moment: those of
// the newest versions that are not later than it. known is false where some of that is
// not known: versions from before edges were part of them.
func (w *Warehouse) RelationsAt(ctx context.Context, k AssetKey, at hlc.Stamp, limit int) (list []Relation, known bool, err error) {
	parameters := []any{clickhouse.Named("site", k.Site), clickhouse.Named("type", k.Type), clickhouse.Named("uid", k.UID),
		clickhouse.Named("at", fmt.Sprint(uint64(at)))}
	// What leads to it leads from assets that have had an edge to it in some version. Of
	// a version that got its edges later, both rows may be there still.
	rows, err := w.conn.Query(ctx, fmt.Sprintf(`SELECT type, uid, argMax(edges.kind, (version, edges_known)), argMax(edges.type, (version, `+
		`edges_known)),
			argMax(edges.uid, (version, edges_known)), argMax(edges_known OR operation = 'deleted', (version, edges_known))
		FROM asset_version
		WHERE site = {site:String} AND version <= {at:UInt64} AND ((type = {type:String} AND uid = {uid:String}) OR (type, uid) IN (
			SELECT type, uid FROM asset_version WHERE site = {site:String} AND version <= {at:UInt64} AND has(edges.uid, {uid:String})))
		GROUP BY type, uid ORDER BY (type, uid) != ({type:String}, {uid:String}), type, uid LIMIT %d`, limit), parameters...)
	if err != nil {
		return nil, false, fmt.Errorf("listing relations as of a moment: %w", err)
	}
	type from struct {
		kind, uid          string
		kinds, types, uids []string
		known              bool
	}
	froms, err := scan(rows, func(f *from) []any { return []any{&f.kind, &f.uid, &f.kinds, &f.types, &f.uids, &f.known} })
	if err != nil {
		return nil, false, err
	}
	known = true
	for _, f := range froms {
		known = known && f.known
		own := f.kind == k.Type && f.uid == k.UID
		for i := range f.uids {
			if own || f.types[i] == k.Type && f.uids[i] == k.UID {
				list = append(list, Relation{Site: k.Site, FromType: f.kind, FromUID: f.uid, Kind: f.kinds[i], ToType: f.types[i], ToUID: f.uids[i]})
			}
		}
	}
	slices.SortFunc(list, func(a, b Relation) int {
		if own := (a.FromUID == k.UID && a.FromType == k.Type); own != (b.FromUID == k.UID && b.FromType == k.Type) {
			return map[bool]int{true: -1, false: 1}[own]
		}
		return slices.CompareFunc([]string{a.Kind, a.ToType, a.ToUID, a.FromType, a.FromUID},
			[]string{b.Kind, b.ToType, b.ToUID, b.FromType, b.FromUID}, strings.Compare)
	})
	return list[:min(len(list), limit)], known, nil
}
