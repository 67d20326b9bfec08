package warehouse

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// SiteCounts is what the warehouse has of a site. Assets are those that are
// deleted as well.
type SiteCounts struct{ Assets, Versions, Events, Usages int64 }

// CountSite counts what the warehouse has of a site.
func (w *Warehouse) CountSite(ctx context.Context, site string) (c SiteCounts, err error) {
	err = w.conn.QueryRow(ctx, `SELECT
		(SELECT toInt64(count()) FROM asset FINAL WHERE site = {site:String}),
		(SELECT toInt64(count()) FROM asset_version FINAL WHERE site = {site:String}),
		(SELECT toInt64(count()) FROM event FINAL WHERE site = {site:String}),
		(SELECT toInt64(count()) FROM usage FINAL WHERE site = {site:String})`, clickhouse.Named("site", site)).
		Scan(&c.Assets, &c.Versions, &c.Events, &c.Usages)
	if err != nil {
		return c, fmt.Errorf("counting what there is of site %s: %w", site, err)
	}
	return c, nil
}

// DeleteSite removes the rows of a site from every table, and returns how many
// there were. What is inserted meanwhile may stay: call it until it returns zero.
// It takes as long as writing the parts anew takes that have such rows.
func (w *Warehouse) DeleteSite(ctx context.Context, site string) (rows uint64, err error) {
	for _, table := range slices.Sorted(maps.Keys(w.types)) {
		if w.types[table]["site"] == "" {
			continue
		}
		var n uint64
		if err := w.conn.QueryRow(ctx, "SELECT count() FROM "+table+" WHERE site = {site:String}",
			clickhouse.Named("site", site)).Scan(&n); err != nil {
			return rows, fmt.Errorf("counting the rows of site %s in %s: %w", site, table, err)
		}
		if n == 0 {
			continue
		}
		rows += n
		ctx := clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"mutations_sync": 1}))
		if err := w.conn.Exec(ctx, "ALTER TABLE "+table+" DELETE WHERE site = {site:String}", clickhouse.Named("site", site)); err != nil {
			return rows, fmt.Errorf("deleting the rows of site %s in %s: %w", site, table, err)
		}
	}
	return rows, nil
}
