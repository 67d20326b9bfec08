//go:build e2e

package e2e

import (
	"cmp"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/reeve-cloud/reeve/aggregator/warehouse/embedded"
)

// openWarehouse opens the embedded warehouse of an aggregator that has stopped.
func openWarehouse(a *aggregator) driver.Conn {
	t := a.t
	t.Helper()
	engine, err := embedded.Start(t.Context(), embedded.Options{
		Dir: filepath.Join(a.dir, "warehouse"), Library: programs.engine,
		Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError})),
	}, []string{programs.aggregator, "engine"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	o := embedded.ClientOptions(engine.DialContext)
	o.Auth.Database = "reeve"
	db, err := clickhouse.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// count runs a query for one number.
func count(t *testing.T, db driver.Conn, query string, args ...any) int {
	t.Helper()
	var n uint64
	if err := db.QueryRow(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return int(n)
}

// version is a row of asset_version.
type version struct {
	UID       string   `ch:"uid"`
	Version   uint64   `ch:"version"`
	Operation string   `ch:"operation"`
	Document  string   `ch:"document"`
	Changed   []string `ch:"changed"`
	Seq       uint64   `ch:"seq"`
	Observed  int64    `ch:"observed"`
	Received  int64    `ch:"received"`
}

// versions returns a site's raw rows of asset_version, without FINAL, in the order
// in which they happened by their stamps. Times are Unix milliseconds.
func versions(t *testing.T, db driver.Conn, site string) []version {
	t.Helper()
	// There may be more of them than the engine may sort.
	var rows []version
	if err := db.Select(t.Context(), &rows, `
		SELECT uid, version, toString(operation) AS operation, document, changed, seq,
			toUnixTimestamp64Milli(observed_at) AS observed, toUnixTimestamp64Milli(received_at) AS received
		FROM asset_version WHERE site = {site:String} AND type = 'fake.test.Thing' SETTINGS max_threads = 1, max_block_size = 1024`, clickhouse.Named("site", site)); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(rows, func(a, b version) int {
		return cmp.Or(cmp.Compare(a.Version, b.Version), cmp.Compare(a.Seq, b.Seq))
	})
	return rows
}

// decode reads a JSON document, so that two can be compared whatever the order
// of their keys.
func decode(t *testing.T, document string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(document), &v); err != nil {
		t.Fatalf("document %q: %v", document, err)
	}
	return v
}
