package warehouse

import (
	"context"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// TypeLayout returns the layout of a type, by the word of one site, or of all if site is
// empty, as Types does: nothing if nobody told of it.
func (w *Warehouse) TypeLayout(ctx context.Context, site, name string) ([]byte, error) {
	var c where
	c.equal("site", site)
	c.add("name = {name:String}", clickhouse.Named("name", name))
	rows, err := w.conn.Query(ctx, fmt.Sprintf(`SELECT layout FROM (
			SELECT layout, (-toInt64(count()), min(received_at), min(site)) AS word FROM asset_type FINAL%s GROUP BY title, layout
		) ORDER BY word LIMIT 1`, c.String()), c.parameters...)
	if err != nil {
		return nil, fmt.Errorf("reading the layout of type %s: %w", name, err)
	}
	found, err := scan(rows, func(l *text) []any { return []any{l} })
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return found[0], nil
}
