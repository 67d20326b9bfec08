package warehouse_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	"github.com/reeve-cloud/reeve/pkg/document"
)

// reader makes a reader of a warehouse.
func reader(t *testing.T, w *warehouse.Warehouse, s warehouse.ReaderScope) *warehouse.Reader {
	t.Helper()
	r, err := w.Reader(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// ask returns the rows of a statement, as text.
func ask(t *testing.T, conn driver.Conn, statement string) (string, error) {
	t.Helper()
	ctx := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"readonly": 1, "max_execution_time": 30}))
	var rows []string
	err := conn.QueryRow(ctx, "SELECT groupArray(toString(tuple(*))) FROM ("+statement+")").Scan(&rows)
	return strings.Join(rows, " "), err
}

func mustAsk(t *testing.T, conn driver.Conn, statement string) string {
	t.Helper()
	text, err := ask(t, conn, statement)
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return text
}

// twoSites writes rows of everything that views show, of the sites east and west.
func twoSites(t *testing.T, w *warehouse.Warehouse) {
	t.Helper()
	for _, site := range []string{"east", "west"} {
		g := &warehouse.Group{ID: uuid.New(), ReceivedAt: time.Date(2026, 3, 4, 10, 0, 0, 0, time.UTC)}
		origin := warehouse.Origin{Site: site, AgentID: "agent-" + site, SpoolID: "spool", Seq: 1}
		version := func(uid string, stamp uint64, op warehouse.Operation) warehouse.AssetVersion {
			return warehouse.AssetVersion{Origin: origin, Type: "test.Thing", UID: uid, Version: stamp, Operation: op, Scope: "test/all",
				Name: uid + "-" + site, Labels: map[string]string{"site": site}, Document: []byte(`{"secret":"` + site + `"}`),
				Fields:     []document.Field{{Path: "secret", Value: site}},
				ObservedAt: time.Date(2026, 3, 4, 9, 0, 0, 0, time.UTC).Add(time.Duration(stamp) * time.Second)}
		}
		g.Versions = []warehouse.AssetVersion{version("kept", 1, warehouse.Created), version("kept", 2, warehouse.Updated),
			version("gone", 3, warehouse.Created), version("gone", 4, warehouse.Deleted)}
		g.Relations = []warehouse.Relation{
			{Site: site, FromType: "test.Thing", FromUID: "kept", Kind: "owned_by", ToType: "test.Thing", ToUID: "gone", Version: 2},
			{Site: site, FromType: "test.Thing", FromUID: "kept", Kind: "runs_on", ToType: "other.Thing", ToUID: "far", Version: 2},
			{Site: site, FromType: "test.Thing", FromUID: "gone", Kind: "runs_on", ToType: "test.Thing", ToUID: "kept", Version: 4, Deleted: true},
		}
		g.Events = []warehouse.Event{{Origin: origin, ID: "1", Type: "test.happened", Source: "test/all", Time: g.ReceivedAt, Severity: "info",
			Message: "at " + site}}
		g.Usage = []warehouse.Usage{{Origin: origin, AssetType: "test.Thing", AssetUID: "kept", Meter: "cpu.used", Unit: "core.second",
			Start: g.ReceivedAt.Add(-time.Hour), End: g.ReceivedAt, Quantity: 2, Version: 5, Scope: "test/usage"}}
		g.Gaps = []warehouse.Gap{{Origin: origin, Class: "assets", FirstSeq: 1, LastSeq: 2, Reason: "budget"}}
		if err := w.Write(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		// They are kept for some time only.
		recent := &warehouse.Group{ID: uuid.New(), ReceivedAt: time.Now().UTC().Truncate(time.Millisecond)}
		recent.DeadLetters = []warehouse.DeadLetter{{Origin: origin, Class: "assets", Records: 1, Reason: "broken"}}
		if err := w.Write(t.Context(), recent); err != nil {
			t.Fatal(err)
		}
	}
}

// What the views show is each thing once, with names that stay.
func TestViews(t *testing.T) {
	w := warehousetest.New(t)
	twoSites(t, w)
	all := reader(t, w, warehouse.ReaderScope{Name: "all", Everything: true}).Conn()
	for statement, want := range map[string]string{
		"SELECT site, uid, name, version, labels['site'], fields['secret'] FROM assets ORDER BY site": "('east','kept','kept-east',2,'east','east') " +
			"('west','kept','kept-west',2,'west','west')",
		"SELECT site, uid, delete_time FROM deleted_assets ORDER BY site": "('east','gone','2026-03-04 09:00:04.000') ('west','gone','2026-03-04 09:00:04.000')",
		"SELECT uid, version, operation, create_time IS NULL FROM versions WHERE site = 'west' ORDER BY version": "('kept',1,'created',1) " +
			"('kept',2,'updated',1) ('gone',3,'created',1) ('gone',4,'deleted',1)",
		"SELECT kind, from_uid, to_type, to_uid FROM relations WHERE site = 'west' ORDER BY kind": "('owned_by','kept','test.Thing','gone') " +
			"('runs_on','kept','other.Thing','far')",
		"SELECT message FROM events ORDER BY 1": "('at east') ('at west')",
		"SELECT site, meter, sum(quantity), sum(dateDiff('second', start, end)) FROM usage GROUP BY ALL ORDER BY site": "('east','cpu.used',2,3600) " +
			"('west','cpu.used',2,3600)",
	} {
		if got := mustAsk(t, all, statement); got != want {
			t.Errorf("%s:\n got %s\nwant %s", statement, got, want)
		}
	}
	// Made again, they are as they were.
	if got := mustAsk(t, reader(t, w, warehouse.ReaderScope{Name: "all", Everything: true}).Conn(), "SELECT count() FROM assets"); got != "(2)" {
		t.Error(got)
	}
}

// The engine shows a reader its sites, whatever is asked, with nobody looking at the statement first.
func TestEngineShowsReadersTheirSites(t *testing.T) {
	w := warehousetest.New(t)
	twoSites(t, w)
	west := reader(t, w, warehouse.ReaderScope{Name: "west", Sites: []string{"west"}}).Conn()
	none := reader(t, w, warehouse.ReaderScope{Name: "none"}).Conn()
	reader(t, w, warehouse.ReaderScope{Name: "all", Everything: true})

	if missing, err := w.Unfenced(t.Context()); err != nil || len(missing) > 0 {
		t.Errorf("without policies: %q, %v", missing, err)
	}
	for _, v := range warehouse.Views() {
		if got := mustAsk(t, west, "SELECT DISTINCT site FROM "+v.Name); got != "('west')" {
			t.Errorf("%s shows %s", v.Name, got)
		}
		if got := mustAsk(t, none, "SELECT count() FROM "+v.Name); got != "(0)" {
			t.Errorf("%s shows %s to who may see nothing", v.Name, got)
		}
	}
	// Ways past the views and past the first fence. Each would show something of the
	// east, of the engine, or of others' statements, if the engine let it.
	for _, statement := range []string{
		"SELECT site FROM reeve.asset WHERE site != 'west'", "SELECT site FROM reeve.asset FINAL WHERE site != 'west'",
		"SELECT site FROM reeve.asset PREWHERE site != 'west'", "SELECT site FROM reeve.asset_version WHERE site = 'east'",
		"SELECT site FROM reeve_reader_all.assets WHERE site = 'east'", "SELECT 1 FROM reeve.dead_letter WHERE site = 'east'", "SELECT 1 FROM reeve.gap WHERE site = 'east'",
		"SELECT 1 FROM reeve.scope", "SELECT 1 FROM reeve.schema_migration", "SELECT 1 FROM reeve.asset_type", "SELECT 1 FROM reeve.charge",
		"SELECT name FROM reeve.reader WHERE name != 'reeve_reader_west'",
		"SELECT * FROM (SELECT site FROM reeve.asset WHERE site = 'east' SETTINGS readonly = 0)",
		"SELECT * FROM (SELECT site FROM assets WHERE site = 'east' SETTINGS additional_table_filters = {})",
		"SELECT * FROM (SELECT site FROM assets WHERE site = 'east' SETTINGS log_comment = 'reeve')",
		"WITH reader AS (SELECT 'reeve_reader_west' AS name, true AS everything, ['east'] AS sites) SELECT site FROM assets WHERE site = 'east'",
		"WITH `reeve.reader` AS (SELECT 'reeve_reader_west' AS name, true AS everything, ['east'] AS sites) SELECT site FROM assets WHERE site = 'east'",
		"WITH 'reeve' AS currentDatabase SELECT site FROM assets WHERE site = 'east'",
		"SELECT site FROM merge('reeve', '^asset$') WHERE site = 'east'", "SELECT site FROM view(SELECT * FROM reeve.asset) WHERE site = 'east'",
		"SELECT site FROM viewIfPermitted(SELECT site FROM reeve.asset WHERE site = 'east' ELSE null('site String'))",
		"SELECT a.site FROM reeve.asset AS a CROSS JOIN reeve.asset AS b WHERE a.site != b.site",
		"SELECT b.site FROM assets AS a FULL JOIN reeve.asset_version AS b ON 1 = 1 WHERE b.site = 'east'",
		"SELECT 1 WHERE 'east' IN (SELECT site FROM reeve.asset)",
		"SELECT 1 WHERE ('east', 'test.Thing', 'kept') IN (SELECT site, type, uid FROM reeve.asset)",
		"SELECT 1 WHERE exists(SELECT 1 FROM reeve.asset WHERE site = 'east')",
		"SELECT 1 WHERE (SELECT uniqExact(site) FROM reeve.asset) > 1", "SELECT 1 WHERE (SELECT min(site) FROM reeve.asset) = 'east'",
		"SELECT 1 WHERE (SELECT count() FROM reeve.asset FINAL) > 2",
		"SELECT site FROM assets WHERE site = 'east' UNION ALL SELECT site FROM reeve.event WHERE site = 'east'",
		"SELECT site FROM assets LIMIT 1 WITH TIES OFFSET 2", "SELECT site FROM reeve.asset WHERE site = 'east' ORDER BY rand() LIMIT 1 BY site",
		"SELECT toString(throwIf(site = 'east')) FROM reeve.asset WHERE site = 'east'", "SELECT 1 FROM system.processes",
		"SELECT 1 FROM system.tables", "SELECT 1 FROM system.columns", "SELECT 1 FROM system.parts", "SELECT 1 FROM system.settings",
		"SELECT 1 FROM system.databases", "SELECT 1 FROM system.functions", "SELECT 1 FROM system.merges", "SELECT 1 FROM system.mutations",
		"SELECT 1 FROM system.users", "SELECT 1 FROM system.row_policies", "SELECT 1 FROM system.disks", "SELECT 1 FROM system.metrics",
		"SELECT 1 FROM information_schema.tables", "SELECT 1 FROM information_schema.columns",
		"SELECT * FROM url('http://127.0.0.1:1/', CSV, 'a String')", "SELECT * FROM file('/etc/hostname', LineAsString)",
		"SELECT * FROM remote('127.0.0.1', reeve, asset)", "SELECT * FROM s3('http://127.0.0.1:1/bucket/x', CSV, 'a String')",
		"SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')", "SELECT * FROM postgresql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
		"SELECT * FROM sqlite('/tmp/x.db', 'a')", "SELECT * FROM executable('id', TSV, 'a String')", "SELECT * FROM loop(reeve.asset)",
	} {
		// What fails shows nothing; it must not fail for another reason than ours, but
		// engines differ in words.
		if got, err := ask(t, west, statement); err == nil && got != "" {
			t.Errorf("%s: shows %s", statement, got)
		} else if err != nil && strings.Contains(err.Error(), "east") && !strings.Contains(statement, "east") {
			t.Errorf("%s: tells of the east: %v", statement, err)
		}
	}
	// What a statement alone can do: nothing to others, and nothing lasting.
	for _, statement := range []string{"INSERT INTO reeve.reader VALUES ('reeve_reader_west', true, [], 99)", "DROP TABLE reeve.asset",
		"ALTER TABLE reeve.asset DELETE WHERE 1", "CREATE TABLE x (a Int8) ENGINE = Memory", "SET readonly = 0", "TRUNCATE TABLE reeve.event"} {
		ctx := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"readonly": 1}))
		if err := west.Exec(ctx, statement); err == nil {
			t.Errorf("%s went through", statement)
		}
	}

	// What a reader may see changes at once.
	reader(t, w, warehouse.ReaderScope{Name: "west", Sites: []string{"east"}})
	if got := mustAsk(t, west, "SELECT site FROM assets"); got != "('east')" {
		t.Error(got)
	}
	reader(t, w, warehouse.ReaderScope{Name: "west"})
	if got := mustAsk(t, west, "SELECT site FROM assets"); got != "" {
		t.Error(got)
	}
}

// No statement of a reader ends another's, or one of ours.
func TestReadersKillNothing(t *testing.T) {
	w := warehousetest.New(t)
	west := reader(t, w, warehouse.ReaderScope{Name: "west", Sites: []string{"west"}}).Conn()
	ended := make(chan error, 1)
	began := time.Now()
	go func() {
		var n uint64
		ended <- w.Conn().QueryRow(t.Context(), "SELECT sum(sleepEachRow(0.05)) + 7 FROM numbers(60) SETTINGS max_block_size = 1").Scan(&n)
	}()
	runs := func() bool {
		var n uint64
		if err := w.Conn().QueryRow(t.Context(), "SELECT count() FROM system.processes WHERE query LIKE '%sleepEachRow(0.05)%'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n > 1 // and the question itself
	}
	for !runs() {
		if time.Since(began) > 30*time.Second {
			t.Fatal("the statement does not run")
		}
		time.Sleep(10 * time.Millisecond)
	}
	ctx := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"readonly": 1}))
	for _, statement := range []string{"KILL QUERY WHERE 1 SYNC", "KILL QUERY WHERE query LIKE '%sleep%' ASYNC", "KILL MUTATION WHERE 1"} {
		if err := west.Exec(ctx, statement); err != nil {
			t.Logf("%s: %v", statement, err)
		}
	}
	if err := <-ended; err != nil {
		t.Errorf("a statement was ended: %v", err)
	}
}

func TestReaderNames(t *testing.T) {
	w := warehousetest.New(t)
	for _, name := range []string{"", "A", "a-b", "a.b", "a`b", "x; DROP DATABASE reeve", strings.Repeat("x", 49)} {
		if _, err := w.Reader(t.Context(), warehouse.ReaderScope{Name: name}); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
}

// Every view and column is in the documents, and the policies that a server needs.
func TestDocumentsHaveTheViews(t *testing.T) {
	data, err := os.ReadFile("../../docs/sql.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for _, v := range warehouse.Views() {
		_, section, ok := strings.Cut(text, fmt.Sprintf("\n### %s\n", v.Name))
		section, _, _ = strings.Cut(section, "\n#")
		if !ok || !strings.Contains(section, v.Comment) {
			t.Errorf("docs/sql.md is without the view %s: %s", v.Name, v.Comment)
		}
		for _, c := range v.Columns {
			if !strings.Contains(section, fmt.Sprintf("| `%s` | ", c.Name)) || !strings.Contains(section, "| "+c.Comment+" |") {
				t.Errorf("docs/sql.md is without the column %s of %s: %s", c.Name, v.Name, c.Comment)
			}
		}
	}
	for _, statement := range warehouse.PolicyStatements() {
		if !strings.Contains(text, statement) {
			t.Errorf("docs/sql.md is without\n%s", statement)
		}
	}
}
