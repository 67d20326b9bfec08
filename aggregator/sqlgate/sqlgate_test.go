package sqlgate_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/reeve-cloud/reeve/aggregator/sqlgate"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
)

func TestMain(m *testing.M) { warehousetest.Main(m) }

func open(t *testing.T) *sqlgate.Gate {
	return sqlgate.New(warehousetest.New(t).Conn(), warehouse.Database)
}

// count runs a statement and returns how many rows it has.
func count(ctx context.Context, g *sqlgate.Gate, statement string) (rows int, err error) {
	err = g.Run(ctx, statement, func(_ []sqlgate.Column, r driver.Rows) error {
		for r.Next() {
			rows++
		}
		return nil
	})
	return rows, err
}

func TestStatementsThatRun(t *testing.T) {
	g := open(t)
	for statement, want := range map[string]int{
		"SELECT 1":                                                      1,
		"select 1 -- a comment; and another":                            1,
		"SELECT number FROM numbers(1000)":                              1000,
		"SELECT 1 UNION ALL SELECT 2":                                   2,
		"(SELECT 1 INTERSECT SELECT 1)":                                 1,
		"WITH a AS (SELECT 1 AS x) SELECT x FROM a":                     1,
		"WITH (SELECT max(version) FROM asset) AS newest SELECT newest": 1,
		"FROM asset SELECT count()":                                     1,
		"SELECT site, type, count(), COUNT(*), countIf(deleted), uniqExactIf(uid, NOT deleted), sumOrNull(version), argMaxIf(uid, version, 1) " +
			"FROM asset FINAL GROUP BY site, type ORDER BY count() DESC LIMIT 5 BY site LIMIT 10": 0,
		"SELECT count() FROM reeve.asset AS a INNER JOIN relation r ON r.site = a.site AND r.from_uid = a.uid LEFT ARRAY JOIN labels WHERE " +
			"a.uid IN (SELECT uid FROM asset_version) AND type IN ('a', 'b')": 1,
		"SELECT a.*, COLUMNS('^x') FROM (SELECT 1 AS x, 2 AS y) AS a": 1,
		"SELECT arrayMap(x -> x + 1, [1, 2])[1], CAST(1 AS String), 1::Int8, now() - INTERVAL 1 DAY, CASE WHEN 1 THEN 2 ELSE 3 END, CASE 1 " +
			"WHEN 1 THEN 2 END, (1, 2).1, map('a', 1)['a'], EXTRACT(YEAR FROM now()), 'a' LIKE 'b', NOT 1, -1, 2 BETWEEN 1 AND 3, SUBSTR('abc', " +
			"1, 2), if(1, 2, 3), NULL IS NULL": 1,
		"SELECT JSONExtractString(document, 'spec', 'nodeName'), parseDateTime64BestEffortOrNull('x', 3, 'UTC'), toStartOfHour(observed_at) " +
			"FROM asset_version FINAL": 0,
		"SELECT sum(1) OVER w, lagInFrame(1, 1, 0) OVER w, row_number() OVER (ORDER BY 1) FROM numbers(3) WINDOW w AS (PARTITION BY number " +
			"ORDER BY number ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)": 3,
		"SELECT 'a text with INTO OUTFILE, SETTINGS a = 1, file() and \n a newline; {x:String} ? " +
			"$1'": 1,
		"SELECT formatReadableSize(1), toTypeName(1), toString(1), round(1.5), hex('a'), lower('A'), splitByChar('/', 'a/b')[1], " +
			"dateDiff('hour', now(), now())": 1,
	} {
		if rows, err := count(t.Context(), g, statement); err != nil || rows != want {
			t.Errorf("%s: %d rows, %v", statement, rows, err)
		}
	}
}

// Every one of these reads, writes or ends what it must not, or could.
func TestStatementsThatAreRefused(t *testing.T) {
	g := open(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("HUNTER2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	for _, statement := range []string{
		"", "   ", "-- nothing", "SELECT", "SELECT 1; SELECT 2", "SELECT 1;;DROP TABLE asset", strings.Repeat("x", sqlgate.MaxStatement+1),
		"INSERT INTO asset (uid) VALUES ('x')", "DROP TABLE asset", "ALTER TABLE asset DELETE WHERE 1", "TRUNCATE TABLE asset",
		"CREATE TABLE x (a Int8) ENGINE = Memory",
		"KILL QUERY WHERE 1", "SET max_threads = 1", "USE system", "SYSTEM FLUSH LOGS", "SHOW TABLES", "DESCRIBE asset", "EXPLAIN SELECT 1",
		"OPTIMIZE TABLE asset", "EXISTS asset", "BACKUP TABLE asset TO Disk('a', 'b')",
		"SELECT 1 INTO OUTFILE '" + out + "'", "SELECT 1 FORMAT JSON", "SELECT 1 INTO OUTFILE '" + out + "' TRUNCATE FORMAT CSV",
		"WITH a AS (SELECT 1) SELECT * FROM a INTO OUTFILE '" + out + "'",
		"SELECT 1 SETTINGS max_threads = 1", "SELECT * FROM (SELECT 1 SETTINGS readonly = 0)",
		"WITH a AS (SELECT 1 SETTINGS max_memory_usage = 0) SELECT * FROM a", "SELECT (SELECT 1 SETTINGS max_threads = 1)",
		"SELECT file('" + secret + "')", "SELECT FILE('" + secret + "')", "SELECT toString(file('" + secret + "'))",
		"SELECT COLUMNS('document') APPLY(file) FROM asset", "SELECT * APPLY(x -> file(x)) FROM asset",
		"SELECT arrayMap(x -> file(x), ['" + secret + "'])", "SELECT 1 ORDER BY file('" + secret + "')",
		"SELECT sum(1) OVER (ORDER BY file('" + secret + "'))", "SELECT 1 LIMIT length(file('" + secret + "'))",
		"SELECT * FROM file('" + secret + "')", "SELECT * FROM url('http://127.0.0.1:1/', CSV, 'a String')",
		"SELECT * FROM s3('http://127.0.0.1:1/x')", "SELECT * FROM remote('127.0.0.1', system, one)",
		"SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')", "SELECT * FROM postgresql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
		"SELECT * FROM executable('id', TSV, 'a String')", "SELECT * FROM sqlite('a', 'b')",
		"SELECT * FROM cluster('default', system, one)", "SELECT * FROM merge('system', '.*')", "SELECT * FROM mergeTreeIndex('reeve', 'asset')",
		"SELECT * FROM view(SELECT * FROM system.tables)", "SELECT * FROM input('a String')",
		"SELECT * FROM dictionary('a')", "SELECT * FROM loop(system, one)", "SELECT 1 WHERE 1 IN file('" + secret + "')",
		"SELECT * FROM numbers(1) WHERE number IN (SELECT a FROM url('http://127.0.0.1:1/', CSV, 'a UInt64'))",
		"SELECT * FROM system.processes", "SELECT * FROM system.tables", "SELECT * FROM information_schema.tables", "SELECT * FROM system.one",
		"SELECT 'x' IN system.users", "SELECT count() FROM asset WHERE uid IN system.settings",
		"WITH (SELECT any(query) FROM system.processes) AS q SELECT toUInt8(q)", "SELECT * FROM `system`.`tables`", "SELECT * FROM default.x",
		"SELECT dictGet('a', 'b', 1)", "SELECT joinGet('a', 'b', 1)", "SELECT getSetting('readonly')",
		"SELECT hasColumnInTable('reeve', 'asset', 'uid')", "SELECT hostName()", "SELECT FQDN()", "SELECT getServerPort('tcp_port')",
		"SELECT sleep(3)", "SELECT sleepEachRow(1) FROM numbers(10)", "SELECT throwIf(1)", "SELECT aiGenerate('x')",
		"SELECT filesystemAvailable()", "SELECT showCertificate()", "SELECT currentUser()", "SELECT serverUUID()",
		"SELECT catboostEvaluate('a', 1)", "SELECT addressToLine(1)", "SELECT demangle('x')", "SELECT nosuchfunction(1)",
		"SELECT regionToName(toUInt32(1))", "SELECT getMacro('x')", "SELECT initializeAggregation('sum', 1)",
		"SELECT {x:String}", "SELECT nosuchcolumn FROM asset", "SELECT * FROM nosuchtable", "SELECT repeat('x', 1000000000) FROM numbers(100)",
		"SELECT range(1000000000)",
		"SELECT " + strings.Repeat("(", 1000) + "1" + strings.Repeat(")", 1000),
	} {
		rows, err := count(t.Context(), g, statement)
		refusal, ok := errors.AsType[*sqlgate.Refusal](err)
		if !ok {
			t.Errorf("%.200s: %d rows, %v", statement, rows, err)
			continue
		}
		if strings.Contains(refusal.Error(), "HUNTER2") || len(refusal.Error()) > 2000 {
			t.Errorf("%.200s: %s", statement, refusal)
		}
	}
	if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file was written: %v", err)
	}
	// Nothing has changed, and statements go on.
	if rows, err := count(t.Context(), g, "SELECT count() FROM asset"); err != nil || rows != 1 {
		t.Errorf("%d rows, %v", rows, err)
	}
}

// The SQL of the documents can be run, once its places are filled in.
func TestDocumentsRun(t *testing.T) {
	g := open(t)
	block := regexp.MustCompile("(?s)```sql\n(.*?)```")
	fill := strings.NewReplacer("{site:String}", "'west'", "{from:DateTime64(3, 'UTC')}", "toDateTime64('2026-03-01 00:00:00', 3, 'UTC')",
		"{until:DateTime64(3, 'UTC')}", "toDateTime64('2026-03-02 00:00:00', 3, 'UTC')")
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(files) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	found := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range block.FindAllSubmatch(text, -1) {
			found++
			if _, err := count(t.Context(), g, fill.Replace(string(m[1]))); err != nil {
				t.Errorf("%s, block %d: %v", filepath.Base(file), i+1, err)
			}
		}
	}
	if found < 4 {
		t.Errorf("%d blocks of SQL were found", found)
	}
}

func TestNoMoreThanTwoAtOnce(t *testing.T) {
	g := open(t)
	nested := func(inner func() error) error {
		return g.Run(t.Context(), "SELECT 1", func([]sqlgate.Column, driver.Rows) error { return inner() })
	}
	err := nested(func() error {
		return nested(func() error {
			return nested(func() error { return fmt.Errorf("a third one ran") })
		})
	})
	if !errors.Is(err, sqlgate.ErrBusy) {
		t.Errorf("%v", err)
	}
	if _, err := count(t.Context(), g, "SELECT 1"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
