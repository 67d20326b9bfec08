package sqlgate_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
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
	w := warehousetest.New(t)
	r, err := w.Reader(t.Context(), warehouse.ReaderScope{Name: "all", Everything: true})
	if err != nil {
		t.Fatal(err)
	}
	return sqlgate.New(w, r)
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
		"SELECT 1":                                                       1,
		"select 1 -- a comment; and another":                             1,
		"SELECT number FROM numbers(1000)":                               1000,
		"SELECT 1 UNION ALL SELECT 2":                                    2,
		"(SELECT 1 INTERSECT SELECT 1)":                                  1,
		"WITH a AS (SELECT 1 AS x) SELECT x FROM a":                      1,
		"WITH (SELECT max(version) FROM assets) AS newest SELECT newest": 1,
		"WITH assets AS (SELECT 1 AS x) SELECT x FROM assets":            1,
		"FROM assets SELECT count()":                                     1,
		"SELECT 'a' IN assets FROM (SELECT uid FROM assets) AS assets":   0,
		"SELECT site, type, count(), COUNT(*), countIf(name = ''), uniqExactIf(uid, name != ''), sumOrNull(version), argMaxIf(uid, version, 1) " +
			"FROM assets GROUP BY site, type ORDER BY count() DESC LIMIT 5 BY site LIMIT 10": 0,
		"SELECT count() FROM assets AS a INNER JOIN relations r ON r.site = a.site AND r.from_uid = a.uid LEFT ARRAY JOIN labels WHERE " +
			"a.uid IN (SELECT uid FROM versions) AND type IN ('a', 'b')": 1,
		"SELECT count() FROM deleted_assets, events, usage":           1,
		"SELECT a.*, COLUMNS('^x') FROM (SELECT 1 AS x, 2 AS y) AS a": 1,
		"SELECT arrayMap(x -> x + 1, [1, 2])[1], CAST(1 AS String), 1::Int8, now() - INTERVAL 1 DAY, CASE WHEN 1 THEN 2 ELSE 3 END, CASE 1 " +
			"WHEN 1 THEN 2 END, (1, 2).1, map('a', 1)['a'], EXTRACT(YEAR FROM now()), 'a' LIKE 'b', NOT 1, -1, 2 BETWEEN 1 AND 3, SUBSTR('abc', " +
			"1, 2), if(1, 2, 3), NULL IS NULL": 1,
		"SELECT JSONExtractString(document, 'spec', 'nodeName'), parseDateTime64BestEffortOrNull('x', 3, 'UTC'), toStartOfHour(observe_time) " +
			"FROM versions": 0,
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
			if word, _, _ := strings.Cut(strings.TrimSpace(string(m[1])), " "); word != "SELECT" && !strings.HasPrefix(word, "WITH") {
				continue // a part of a statement
			}
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

func newOf(c driver.ColumnType) any { return reflect.New(c.ScanType()).Interface() }

func valueOf(v any) any { return reflect.ValueOf(v).Elem().Interface() }

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
