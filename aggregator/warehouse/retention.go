package warehouse

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// Table is one whose rows can be removed by age.
type Table string

// The tables that are kept by months: of what was received, and of what was used.
const (
	EventTable Table = "event"
	UsageTable Table = "usage"
)

// DropMonths removes the months of a table that ended before the month of a time, and
// returns how many rows there were, those included that were replaced. It is quick:
// a month is a partition.
func (w *Warehouse) DropMonths(ctx context.Context, table Table, before time.Time) (rows uint64, err error) {
	parts, err := w.conn.Query(ctx, `SELECT partition, partition_id, sum(rows) FROM system.parts
		WHERE database = currentDatabase() AND table = {table:String} AND active GROUP BY partition, partition_id ORDER BY partition`,
		clickhouse.Named("table", string(table)))
	if err != nil {
		return 0, fmt.Errorf("looking which months %s has: %w", table, err)
	}
	type month struct {
		name, id string
		rows     uint64
	}
	months, err := scan(parts, func(m *month) []any { return []any{&m.name, &m.id, &m.rows} })
	if err != nil {
		return 0, err
	}
	first := before.UTC().Year()*100 + int(before.UTC().Month())
	for _, m := range months {
		n, err := strconv.Atoi(m.name)
		if err != nil || len(m.name) != len("200601") {
			return rows, fmt.Errorf("dropping old months of %s: it has the partition %q, which is no month", table, m.name)
		}
		if n >= first {
			break
		}
		// A server otherwise refuses to drop what is larger than 50 GB.
		if err := w.conn.Exec(ctx, fmt.Sprintf("ALTER TABLE %s DROP PARTITION ID '%s' SETTINGS max_partition_size_to_drop = 0", table,
			m.id)); err != nil {
			return rows, fmt.Errorf("dropping %s of %s: %w", m.name, table, err)
		}
		rows += m.rows
	}
	return rows, nil
}

// DeleteGaps removes the gaps that were received before a time, and returns how many
// there were.
func (w *Warehouse) DeleteGaps(ctx context.Context, before time.Time) (rows uint64, err error) {
	const old = " WHERE received_at < fromUnixTimestamp64Milli({before:Int64}, 'UTC')"
	at := clickhouse.Named("before", strconv.FormatInt(before.UnixMilli(), 10))
	if err := w.conn.QueryRow(ctx, "SELECT count() FROM gap"+old, at).Scan(&rows); err != nil {
		return 0, fmt.Errorf("counting old gaps: %w", err)
	}
	if rows == 0 {
		return 0, nil
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"mutations_sync": 1}))
	if err := w.conn.Exec(ctx, "ALTER TABLE gap DELETE"+old, at); err != nil {
		return 0, fmt.Errorf("deleting old gaps: %w", err)
	}
	return rows, nil
}
