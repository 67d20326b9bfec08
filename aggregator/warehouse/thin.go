package warehouse

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/reeve-cloud/reeve/pkg/hlc"
)

// Thinning says how much of the history of some assets is kept. Of each asset the last
// version of each period is: so what was at the end of a period stays what it was.
type Thinning struct {
	Site, Type string
	// All versions from Cut on are kept; from Daily on one a day; from Weekly on one a week,
	// of which those end that a month ends within; from Monthly on one a month; and of what
	// is before that the last one. All are in UTC and beginnings of such periods. What is not
	// wanted begins where the one before it does.
	Cut, Daily, Weekly, Monthly time.Time
	// What was received between Fresh and Now is left alone, and what it took the place of:
	// versions may come in long after their time. What was received after Now has its time from a
	// clock that was ahead.
	Fresh, Now time.Time
}

// ThinPiece is how many versions there are in a month, as 202601, and how many of them
// would go. Month 0 is all before Monthly.
type ThinPiece struct {
	Month            uint32
	Versions, Doomed uint64
}

// AssetKind is a type of assets of a site.
type AssetKind struct{ Site, Type string }

// thinLimits are those of its statements: nobody waits for them.
var thinLimits = clickhouse.Settings{"max_threads": 1, "priority": 10, "max_memory_usage": 384 << 20, "max_bytes_before_external_group_by": 128 << 20,
	"max_execution_time": 600}

// where is the condition of the versions that are thinned out. piece and period are the
// piece that a version belongs to, and the period of which the last one is kept.
func (t *Thinning) where() string {
	w := "site = {site:String} AND type = {type:String} AND version < " + strconv.FormatUint(uint64(hlc.FromTime(t.Cut)), 10)
	if !t.Fresh.IsZero() {
		w += fmt.Sprintf(" AND NOT (received_at >= fromUnixTimestamp64Milli(toInt64(%d), 'UTC') AND received_at <= fromUnixTimestamp64Milli(toInt64(%d), 'UTC'))",
			t.Fresh.UnixMilli(), t.Now.UnixMilli())
	}
	return w
}

func (t *Thinning) parameters() []any {
	return []any{clickhouse.Named("site", t.Site), clickhouse.Named("type", t.Type)}
}

const versionTime = "fromUnixTimestamp64Milli(toInt64(bitShiftRight(version, 16)), 'UTC')"

func (t *Thinning) piece() string {
	return fmt.Sprintf("if(bitShiftRight(version, 16) < %d, toUInt32(0), toYYYYMM(%s))", t.Monthly.UnixMilli(), versionTime)
}

func (t *Thinning) period() string {
	return fmt.Sprintf("multiIf(bitShiftRight(version, 16) >= %d, (4, toDate(%[4]s)), bitShiftRight(version, 16) >= %[2]d, (3, greatest(toMonday(%[4]s), "+
		"toStartOfMonth(%[4]s))), bitShiftRight(version, 16) >= %[3]d, (2, toStartOfMonth(%[4]s)), (1, toDate('1970-01-01')))",
		t.Daily.UnixMilli(), t.Weekly.UnixMilli(), t.Monthly.UnixMilli(), versionTime)
}

// AssetKinds returns the types of assets that there are versions of, by site.
func (w *Warehouse) AssetKinds(ctx context.Context) ([]AssetKind, error) {
	rows, err := w.conn.Query(ctx, "SELECT site, type FROM asset_version GROUP BY site, type ORDER BY type, site")
	if err != nil {
		return nil, fmt.Errorf("looking which types have a history: %w", err)
	}
	return scan(rows, func(k *AssetKind) []any { return []any{&k.Site, &k.Type} })
}

// ThinPieces returns what a thinning would remove, in the months in which it would.
func (w *Warehouse) ThinPieces(ctx context.Context, t *Thinning) ([]ThinPiece, error) {
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(thinLimits))
	rows, err := w.conn.Query(ctx, "SELECT piece, sum(n), toUInt64(sum(n) - count()) FROM (SELECT "+t.piece()+" AS piece, "+t.period()+
		" AS period, id, uniqExact(version) AS n FROM asset_version WHERE "+t.where()+" GROUP BY piece, period, id) GROUP BY piece ORDER BY piece",
		t.parameters()...)
	if err != nil {
		return nil, fmt.Errorf("counting what the history of %s has more than is kept: %w", t.Type, err)
	}
	return scan(rows, func(p *ThinPiece) []any { return []any{&p.Month, &p.Versions, &p.Doomed} })
}

// Thin removes some of the versions of a month that a thinning does not keep, at most so
// many, and returns how many: call it until it returns zero. Each is named: whatever
// else comes or goes meanwhile, nothing else is removed.
func (w *Warehouse) Thin(ctx context.Context, t *Thinning, month uint32, most int) (int, error) {
	fail := func(err error) error { return fmt.Errorf("thinning out the history of %s: %w", t.Type, err) }
	reading := clickhouse.Context(ctx, clickhouse.WithSettings(thinLimits))
	of := " FROM asset_version WHERE " + t.where() + " AND " + t.piece() + " = " + strconv.Itoa(int(month))
	// All but the last of each period. What is grouped goes to disk where it is much; a set would not.
	rows, err := w.conn.Query(reading, "SELECT id, arrayJoin(arrayPopBack(arraySort(groupUniqArray(version)))) AS doomed"+of+" GROUP BY id, "+
		t.period()+" LIMIT "+strconv.Itoa(most), t.parameters()...)
	if err != nil {
		return 0, fail(err)
	}
	type version struct{ id, version uint64 }
	doomed, err := scan(rows, func(v *version) []any { return []any{&v.id, &v.version} })
	if err != nil || len(doomed) == 0 {
		return 0, err
	}
	names := make([]string, len(doomed))
	for i, v := range doomed {
		names[i] = fmt.Sprintf("(%d,%d)", v.id, v.version)
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"lightweight_deletes_sync": 1, "mutations_sync": 1}))
	if err := w.conn.Exec(ctx, "DELETE FROM asset_version WHERE site = {site:String} AND type = {type:String} AND (id, version) IN ("+
		strings.Join(names, ",")+")", t.parameters()...); err != nil {
		return 0, fail(err)
	}
	return len(doomed), nil
}

// GiveBackThinned has the disk space back of what was removed: those months are written anew
// of which some was.
func (w *Warehouse) GiveBackThinned(ctx context.Context) error {
	rows, err := w.conn.Query(ctx, `SELECT DISTINCT partition_id FROM system.parts WHERE database = currentDatabase() AND table = 'asset_version'
		AND active AND has_lightweight_delete`)
	if err != nil {
		return fmt.Errorf("looking where versions were removed: %w", err)
	}
	months, err := scan(rows, func(id *string) []any { return []any{id} })
	if err != nil {
		return fmt.Errorf("looking where versions were removed: %w", err)
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"mutations_sync": 1}))
	for _, id := range months {
		if err := w.conn.Exec(ctx, "ALTER TABLE asset_version APPLY DELETED MASK IN PARTITION ID '"+id+"'"); err != nil {
			return fmt.Errorf("writing %s of the history anew: %w", id, err)
		}
	}
	return nil
}

// VersionBytes returns how many bytes a version takes on disk, on average.
func (w *Warehouse) VersionBytes(ctx context.Context) (float64, error) {
	var bytes, rows uint64
	if err := w.conn.QueryRow(ctx, `SELECT sum(bytes_on_disk), sum(rows) FROM system.parts WHERE database = currentDatabase() AND
		table = 'asset_version' AND active`).Scan(&bytes, &rows); err != nil {
		return 0, fmt.Errorf("looking how large the history is: %w", err)
	}
	if rows == 0 {
		return 0, nil
	}
	return float64(bytes) / float64(rows), nil
}
