package embedded

import (
	"strconv"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// BenchmarkInsert sends 10,000 rows a round through driver, socket and engine,
// synced to disk.
func BenchmarkInsert(b *testing.B) {
	conn := startEngine(b)
	mustExec(b, conn, `CREATE TABLE rows (
		uid String, kind LowCardinality(String), version UInt64, seen DateTime64(3), document String CODEC(ZSTD(3)),
		fields Map(LowCardinality(String), String)
	) ENGINE = ReplacingMergeTree(version) ORDER BY uid SETTINGS fsync_after_insert = 1, fsync_part_directory = 1`)
	const rows = 10_000
	fields := map[string]string{"spec.nodeName": "node-1", "metadata.namespace": "default", "status.phase": "Running"}
	b.ReportAllocs()
	for b.Loop() {
		batch, err := conn.PrepareBatch(b.Context(), "INSERT INTO rows")
		if err != nil {
			b.Fatal(err)
		}
		for i := range rows {
			if err := batch.Append("uid-"+strconv.Itoa(i), "kubernetes.core.Pod", uint64(i), time.Unix(int64(i), 0),
				`{"kind":"Pod","metadata":{"name":"pod"}}`, fields); err != nil {
				b.Fatal(err)
			}
		}
		if err := batch.Send(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(rows*b.N)/b.Elapsed().Seconds(), "rows/s")
}

func benchmarkSelect(b *testing.B, conn driver.Conn) {
	for b.Loop() {
		var one uint8
		if err := conn.QueryRow(b.Context(), "SELECT 1").Scan(&one); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSelect is a small query to an engine in a process of its own and back.
func BenchmarkSelect(b *testing.B) { benchmarkSelect(b, startEngine(b)) }

// BenchmarkSelectInProcess is the same within one process.
func BenchmarkSelectInProcess(b *testing.B) {
	needLibrary(b)
	e, err := Open(b.Context(), Options{Dir: b.TempDir(), Logger: testLogger(b)})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	benchmarkSelect(b, connect(b, e.DialContext))
}
