package sqlgate_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"github.com/reeve-cloud/reeve/aggregator/sqlgate"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
)

// besieged is a gate of a reader that may see one of two sites, with a file that it
// must not read, and one that it must not write.
type besieged struct {
	*sqlgate.Gate
	warehouse   *warehouse.Warehouse
	secret, out string
}

func besiege(t *testing.T) *besieged {
	w := warehousetest.New(t)
	for _, site := range []string{"west", "hidden"} {
		origin := warehouse.Origin{Site: site, AgentID: "agent", SpoolID: "spool", Seq: 1}
		g := &warehouse.Group{ID: uuid.New(), ReceivedAt: time.Now().UTC().Truncate(time.Millisecond)}
		g.Versions = []warehouse.AssetVersion{{Origin: origin, Type: "test.Thing", UID: "uid", Version: 1, Operation: warehouse.Created,
			Name: site + "-name", Document: []byte(`{}`), ObservedAt: g.ReceivedAt}}
		g.Events = []warehouse.Event{{Origin: origin, ID: "1", Type: "test.happened", Source: "test", Time: g.ReceivedAt, Message: site + "-message"}}
		if err := w.Write(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	r, err := w.Reader(t.Context(), warehouse.ReaderScope{Name: "west", Sites: []string{"west"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Reader(t.Context(), warehouse.ReaderScope{Name: "all", Everything: true}); err != nil {
		t.Fatal(err)
	}
	b := &besieged{Gate: sqlgate.New(w, r), warehouse: w, secret: filepath.Join(t.TempDir(), "secret"), out: filepath.Join(t.TempDir(), "out")}
	if err := os.WriteFile(b.secret, []byte("HUNTER2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return b
}

// try runs a statement, in which SECRET and OUT stand for the files, and returns what
// it answers, at most so many rows.
func (b *besieged) try(t *testing.T, statement string) (answer string, err error) {
	statement = strings.NewReplacer("SECRET", b.secret, "OUT", b.out).Replace(statement)
	var text strings.Builder
	err = b.Run(t.Context(), statement, func(columns []sqlgate.Column, rows driver.Rows) error {
		fmt.Fprintln(&text, columns)
		for n := 0; n < 1000 && rows.Next(); n++ {
			values := make([]any, len(columns))
			for i, c := range rows.ColumnTypes() {
				values[i] = newOf(c)
			}
			if err := rows.Scan(values...); err != nil {
				return err
			}
			for _, v := range values {
				fmt.Fprint(&text, valueOf(v), " ")
			}
		}
		return nil
	})
	return text.String(), err
}

// held fails the test if an answer or an error has what it must not, or a file was written.
func (b *besieged) held(t *testing.T, statement, answer string, err error) {
	t.Helper()
	text := answer
	if err != nil {
		text += err.Error()
		if _, ok := errors.AsType[*sqlgate.Refusal](err); !ok {
			t.Errorf("%.200q: %v", statement, err)
		}
		if len(err.Error()) > 2000 {
			t.Errorf("%.200q: an error of %d bytes", statement, len(err.Error()))
		}
	}
	// What a statement says itself is no secret.
	for _, word := range []string{"HUNTER2", "hidden"} {
		if strings.Contains(text, word) && !strings.Contains(statement, word) {
			t.Errorf("%.200q: shows %.500q", statement, text)
		}
	}
	if _, err := os.Stat(b.out); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%.200q: wrote a file: %v", statement, err)
	}
}

// Every one of these reads, writes or ends what it must not, or could.
func TestStatementsThatAreRefused(t *testing.T) {
	b := besiege(t)
	lists := map[string][]string{
		"as ever": {
			"", "   ", "-- nothing", "SELECT", "SELECT 1; SELECT 2", "SELECT 1;;DROP TABLE asset", strings.Repeat("x", sqlgate.MaxStatement+1),
			"INSERT INTO asset (uid) VALUES ('x')", "DROP TABLE asset", "ALTER TABLE asset DELETE WHERE 1", "TRUNCATE TABLE asset",
			"CREATE TABLE x (a Int8) ENGINE = Memory",
			"KILL QUERY WHERE 1", "SET max_threads = 1", "USE system", "SYSTEM FLUSH LOGS", "SHOW TABLES", "DESCRIBE asset", "EXPLAIN SELECT 1",
			"OPTIMIZE TABLE asset", "EXISTS asset", "BACKUP TABLE asset TO Disk('a', 'b')",
			"SELECT 1 INTO OUTFILE 'OUT'", "SELECT 1 FORMAT JSON", "SELECT 1 INTO OUTFILE 'OUT' TRUNCATE FORMAT CSV",
			"WITH a AS (SELECT 1) SELECT * FROM a INTO OUTFILE 'OUT'",
			"SELECT 1 SETTINGS max_threads = 1", "SELECT * FROM (SELECT 1 SETTINGS readonly = 0)",
			"WITH a AS (SELECT 1 SETTINGS max_memory_usage = 0) SELECT * FROM a", "SELECT (SELECT 1 SETTINGS max_threads = 1)",
			"SELECT file('SECRET')", "SELECT FILE('SECRET')", "SELECT toString(file('SECRET'))",
			"SELECT COLUMNS('document') APPLY(file) FROM asset", "SELECT * APPLY(x -> file(x)) FROM asset",
			"SELECT arrayMap(x -> file(x), ['SECRET'])", "SELECT 1 ORDER BY file('SECRET')",
			"SELECT sum(1) OVER (ORDER BY file('SECRET'))", "SELECT 1 LIMIT length(file('SECRET'))",
			"SELECT * FROM file('SECRET')", "SELECT * FROM url('http://127.0.0.1:1/', CSV, 'a String')",
			"SELECT * FROM s3('http://127.0.0.1:1/x')", "SELECT * FROM remote('127.0.0.1', system, one)",
			"SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')", "SELECT * FROM postgresql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
			"SELECT * FROM executable('id', TSV, 'a String')", "SELECT * FROM sqlite('a', 'b')",
			"SELECT * FROM cluster('default', system, one)", "SELECT * FROM merge('system', '.*')", "SELECT * FROM mergeTreeIndex('reeve', 'asset')",
			"SELECT * FROM view(SELECT * FROM system.tables)", "SELECT * FROM input('a String')",
			"SELECT * FROM dictionary('a')", "SELECT * FROM loop(system, one)", "SELECT 1 WHERE 1 IN file('SECRET')",
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
			"SELECT {x:String}", "SELECT nosuchcolumn FROM asset", "SELECT * FROM nosuchtable",
		},
		"nested settings": {
			"SELECT * FROM (SELECT * FROM (SELECT 1 SETTINGS max_threads = 1))", "SELECT 1 UNION ALL SELECT 2 SETTINGS max_threads = 1",
			"SELECT 1 WHERE 1 IN (SELECT 1 SETTINGS readonly = 0)", "SELECT 1 FROM assets AS a JOIN (SELECT 1 AS x SETTINGS readonly = 0) AS b ON 1 = 1",
			"SELECT arrayMap(x -> (SELECT 1 SETTINGS readonly = 0), [1])", "(SELECT 1 SETTINGS readonly = 0)",
			"SELECT (SELECT (SELECT (SELECT 1 SETTINGS log_comment = 'x')))", "SELECT 1 HAVING exists(SELECT 1 SETTINGS max_memory_usage = 0)",
			"SELECT * FROM (SELECT * FROM assets SETTINGS additional_table_filters = {'reeve.asset': '1'})",
			"WITH RECURSIVE a AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM a WHERE n < 3 SETTINGS readonly = 0) SELECT * FROM a",
			"SELECT 1/**/SETTINGS/**/readonly=0", "SELECT 1 sEtTiNgS readonly = 0", "SELECT 1 SETTINGS readonly = DEFAULT",
		},
		"tables by other ways": {
			"SELECT * FROM reeve.asset", "SELECT * FROM reeve.assets", "SELECT * FROM reeve_reader_all.assets", "SELECT * FROM asset",
			"SELECT * FROM asset FINAL", "SELECT 'uid' IN reeve.asset", "SELECT count() FROM assets WHERE uid IN reeve.asset_version",
			"SELECT count() FROM assets WHERE uid GLOBAL IN reeve.asset", "SELECT 1 WHERE 'x' NOT IN reeve.event",
			"SELECT 1 FROM assets AS a GLOBAL JOIN reeve.asset AS b ON a.uid = b.uid", "SELECT * FROM assets, reeve.event",
			"WITH a AS (SELECT * FROM reeve.asset) SELECT * FROM a", "WITH `reeve.asset` AS (SELECT 1) SELECT * FROM `reeve.asset`",
			"WITH assets AS (SELECT * FROM reeve.asset) SELECT * FROM assets", "WITH system AS (SELECT 1) SELECT * FROM system.processes",
			"SELECT (SELECT any(name) FROM reeve.asset)", "SELECT exists(SELECT 1 FROM reeve.asset)", "TABLE reeve.asset", "TABLE assets INTO OUTFILE 'OUT'",
			"SELECT * FROM `reeve`.`asset`", "SELECT * FROM \"reeve\".\"asset\"", "SELECT * FROM reeve . asset", "SELECT * FROM reeve./**/asset",
			"SELECT * FROM `reeve.asset`", "SELECT * FROM `..`.asset", "SELECT * FROM {t:Identifier}", "SELECT * FROM reeve.{t:Identifier}",
			"SELECT * FROM information_schema.columns", "SELECT * FROM INFORMATION_SCHEMA.TABLES", "SELECT * FROM system.numbers LIMIT 1",
			"SELECT * FROM system.row_policies", "SELECT * FROM system.query_log", "SELECT * FROM system.users", "SELECT * FROM system.merge_tree_settings",
			"SELECT * FROM default.anything", "SELECT * FROM _temporary_and_external_tables.x", "SELECT * FROM (EXPLAIN SELECT * FROM assets)",
			"SELECT * FROM (SHOW TABLES)", "SELECT * FROM (DESCRIBE assets)", "DESCRIBE TABLE (SELECT 1)", "EXPLAIN ESTIMATE SELECT * FROM assets",
			"EXPLAIN PLAN SELECT 1", "EXPLAIN AST SELECT 1", "EXPLAIN TABLE OVERRIDE mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')", "SHOW CREATE TABLE reeve.asset",
			"SHOW GRANTS", "SHOW PROCESSLIST", "SHOW DATABASES", "CHECK TABLE reeve.asset", "WATCH reeve.asset", "UNDROP TABLE reeve.asset",
		},
		"table functions": {
			"SELECT * FROM viewIfPermitted(SELECT * FROM reeve.asset ELSE null('site String'))", "SELECT * FROM mergeTreeIndex('reeve', 'asset')",
			"SELECT * FROM mergeTreeIndex(reeve, asset, with_marks = true)", "SELECT * FROM mergeTreeProjection('reeve', 'asset', 'x')",
			"SELECT * FROM mergeTreeAnalyzeIndexes('reeve', 'asset')", "SELECT * FROM mergeTreeParts('reeve', 'asset')", "SELECT * FROM merge('^assets$')",
			"SELECT * FROM remoteSecure('127.0.0.1', reeve, asset)", "SELECT * FROM clusterAllReplicas('default', reeve, asset)",
			"SELECT * FROM generateRandom('a UInt8')", "SELECT * FROM fuzzQuery('SELECT 1')", "SELECT * FROM fuzzJSON('{}')", "SELECT * FROM null('a Int8')",
			"SELECT * FROM format(CSV, 'a String', 'x')", "SELECT * FROM fileCluster('default', 'SECRET')", "SELECT * FROM azureBlobStorage('a', 'b', 'c')",
			"SELECT * FROM gcs('http://127.0.0.1:1/x')", "SELECT * FROM hdfs('hdfs://127.0.0.1:1/x', CSV, 'a String')", "SELECT * FROM redis('127.0.0.1:1', 'k', 'k String')",
			"SELECT * FROM mongodb('127.0.0.1:1', 'a', 'b', 'c', 'd', 'e String')", "SELECT * FROM odbc('a', 'b', 'c')", "SELECT * FROM jdbc('a', 'b', 'c')",
			"SELECT * FROM deltaLake('http://127.0.0.1:1/x')", "SELECT * FROM iceberg('http://127.0.0.1:1/x')", "SELECT * FROM hudi('http://127.0.0.1:1/x')",
			"SELECT * FROM urlCluster('default', 'http://127.0.0.1:1/', CSV, 'a String')", "SELECT * FROM timeSeriesData('reeve', 'asset')",
			"SELECT * FROM python('x')", "SELECT * FROM Python(x)", "SELECT * FROM filesystem('SECRET')", "SELECT * FROM primes()", "SELECT * FROM FILE('SECRET')",

			"SELECT * FROM values('a String', (file('SECRET')))", "SELECT * FROM numbers(length(file('SECRET')))", "SELECT * FROM viewExplain('EXPLAIN', '', (SELECT 1))",
			"SELECT * FROM dictionary('reeve.asset')", "INSERT INTO FUNCTION file('OUT', CSV, 'a String') VALUES ('x')", "SELECT * FROM prometheusQuery('a', 'b', 'c')",
		},
		"functions": {
			"SELECT dictGetOrDefault('a', 'b', 1, 2)", "SELECT dictHas('a', 1)", "SELECT joinGetOrNull('reeve.asset', 'uid', 'a')", "SELECT currentDatabase()",
			"SELECT currentQueryID()", "SELECT queryID()", "SELECT connectionId()", "SELECT uptime()", "SELECT buildId()", "SELECT tcpPort()", "SELECT shardNum()",
			"SELECT getServerSetting('max_connections')", "SELECT getMergeTreeSetting('index_granularity')", "SELECT getClientHTTPHeader('x')",
			"SELECT getOSKernelVersion()", "SELECT zookeeperSessionUptime()", "SELECT hasThreadFuzzer()", "SELECT initialQueryID()", "SELECT user()", "SELECT database()",
			"SELECT DATABASE()", "SELECT schema()", "SELECT USER()", "SELECT currentProfiles()", "SELECT currentRoles()", "SELECT currentSchemas(true)",
			"SELECT addressToSymbol(1)", "SELECT trap('segfault')", "SELECT evalMLMethod(1, 2)", "SELECT modelEvaluate('a', 1)", "SELECT blockSerializedSize(1)",
			"SELECT filesystemUnreserved()", "SELECT getSettingOrDefault('readonly', 1)", "SELECT getScalar('x')", "SELECT getMaxTableNameLengthForDatabase('reeve')",
			"SELECT structureToProtobufSchema('a String')", "SELECT formatRow('Template', 1)", "SELECT groupFormat('Template')(1)", "SELECT formatQuery('SELECT 1')",
			"SELECT logTrace('x')", "SELECT sleep(0.1)", "SELECT arrayMap(x -> sleep(1), [1])", "SELECT arrayFilter(x -> throwIf(x), [1])", "SELECT COLUMNS('uid') REPLACE(file('SECRET') AS uid) FROM assets",
			"SELECT * EXCEPT uid REPLACE(hostName() AS name) FROM assets", "SELECT (x -> file(x))('SECRET')", "WITH x -> file(x) AS f SELECT f('SECRET')",
			"WITH file AS f SELECT f('SECRET')", "SELECT count() FILTER (WHERE file('SECRET') != '')", "SELECT sumIf(1, file('SECRET') != '')", "SELECT max(file('SECRET')) OVER ()",
			"SELECT 1 GROUP BY file('SECRET')", "SELECT 1 LIMIT 1 BY file('SECRET')", "SELECT 1 ORDER BY 1 WITH FILL FROM length(file('SECRET')) TO 9", "SELECT `file`('SECRET')",
			"SELECT 1 FROM assets ARRAY JOIN [file('SECRET')] AS x", "SELECT 1 PREWHERE file('SECRET') = ''", "SELECT 1 QUALIFY file('SECRET') = ''", "SELECT 1 OFFSET length(file('SECRET'))",
			"SELECT 'x'.1.file('SECRET')", "SELECT CASE WHEN 1 THEN file('SECRET') END", "SELECT 1 AS x, if(x, 1, file('SECRET'))", "SELECT FiLe('SECRET')", "SELECT \"file\"('SECRET')",
			"SELECT editDistance('a', 'b')", "SELECT LEVENSHTEIN('a', 'b')", "SELECT levenshteinDistance('a', 'b')", "SELECT CAST('x', 'AggregateFunction(uniq, String)')",
			"SELECT CAST(unhex('ffff'), concat('Aggregate', 'Function(groupBitmap, UInt32)'))", "SELECT reinterpret(unhex('ffff'), 'AggregateFunction(uniq, String)')",
			"SELECT uniqState(1)", "SELECT uniqMerge(x) FROM (SELECT uniqState(1) AS x)", "SELECT finalizeAggregation(uniqState(1))", "SELECT bitmapBuild([1])", "SELECT 'x'::AggregateFunction(sum, Int8)",
			"SELECT catboostEvaluate('SECRET', 1)", "SELECT encrypt('aes-128-ecb', 'a', 'b')", "SELECT detectLanguage('x')", "SELECT s2CapContains(1, 1, 1)", "SELECT fileSize('SECRET')", "SELECT aiEmbed('x')",
		},
		"clauses": {
			"SELECT 1 INTO OUTFILE 'OUT' APPEND", "SELECT 1 INTO OUTFILE 'OUT' AND STDOUT", "SELECT 1 INTO OUTFILE 'OUT' COMPRESSION 'gzip'", "SELECT 1 FORMAT Native INTO OUTFILE 'OUT'",
			"SELECT 1 UNION ALL SELECT 2 INTO OUTFILE 'OUT'", "(SELECT 1) INTO OUTFILE 'OUT'", "SELECT 1 /* */ INTO /* */ OUTFILE /* */ 'OUT'", "SELECT 1 FORMAT Null SETTINGS readonly = 0",
			"SELECT 1) INTO OUTFILE 'OUT' --", "SELECT 1) UNION ALL SELECT * FROM (SELECT * FROM reeve.asset", "SELECT 1 PARALLEL WITH SELECT 2", "WITH 1 AS x INSERT INTO reeve.asset (uid) SELECT 'x'",
			"EXECUTE AS default SELECT 1", "BEGIN TRANSACTION", "COMMIT", "DETACH TABLE reeve.asset", "ATTACH TABLE reeve.asset", "RENAME TABLE reeve.asset TO reeve.x", "EXCHANGE TABLES a AND b",
			"CREATE FUNCTION f AS x -> file(x)", "CREATE VIEW v AS SELECT 1", "CREATE DATABASE x", "CREATE USER x", "CREATE ROW POLICY p ON reeve.asset USING 1", "GRANT ALL ON *.* TO default", "SYSTEM SHUTDOWN",
			"SYSTEM DROP MARK CACHE", "SYSTEM STOP MERGES", "KILL QUERY WHERE query_id != '' SYNC", "KILL MUTATION WHERE 1", "SET ROLE DEFAULT", "BACKUP DATABASE reeve TO File('OUT')", "RESTORE TABLE a FROM File('OUT')",
			"PREPARE x AS SELECT 1", "DELETE FROM reeve.asset WHERE 1", "UPDATE reeve.asset SET name = 'x' WHERE 1", "COPY assets TO 'OUT'", "DESCRIBE file('SECRET')", "DESC url('http://127.0.0.1:1/')",
			"SELECT 1; KILL QUERY WHERE 1", "SELECT 1;\n\nDROP DATABASE reeve", ";SELECT 1", "SELECT 1 \\G", "VALUES (1)", "CALL x()", "SELECT * FROM assets SAMPLE 0.1", "SELECT * FROM assets STREAM",
		},
		"letters": {
			"SELECT * FROM reeve\u2024asset", "\ufeffDROP TABLE asset", "SELECT\u00a0file('SECRET')", "SELECT ｆｉｌｅ('SECRET')", "SELECT fıle('SECRET')", "SELECT 1 ＩＮＴＯ OUTFILE 'OUT'", "SELECT \x00", "SELECT 1\x00; DROP TABLE asset",
			"SELECT \xff\xfe", "SELECT `\x00`", "SELECT '\x00' FROM nothing", "SELECT 1 -- \u2028 INTO OUTFILE 'OUT'\nINTO OUTFILE 'OUT'", "SELECT /* /* */ */ file('SECRET')", "SELECT # comment\n file('SECRET')", "SELECT --\r\n file('SECRET')",
			"SELECT $$x$$ INTO OUTFILE 'OUT'", "SELECT $x$ $y$ $x$, file($q$SECRET$q$)", "SELECT file(x'2f6574632f686f73746e616d65')", "SELECT file(‘SECRET’)", "SELECT “uid” FROM reeve.asset", "SELECT \u202efile('SECRET')", "SELECT '\\' , file('SECRET') --'",
		},
	}
	for kind, statements := range lists {
		for _, statement := range statements {
			answer, err := b.try(t, statement)
			if err == nil {
				t.Errorf("%s: %.200q ran: %.200s", kind, statement, answer)
			}
			b.held(t, statement, answer, err)
		}
	}
	// Nothing has changed, and statements go on.
	if answer, err := b.try(t, "SELECT site, name FROM assets"); err != nil || !strings.Contains(answer, "west west-name") {
		t.Errorf("%s, %v", answer, err)
	}
	var assets uint64
	if err := b.warehouse.Conn().QueryRow(t.Context(), "SELECT count() FROM asset FINAL").Scan(&assets); err != nil || assets != 2 {
		t.Errorf("%d assets, %v", assets, err)
	}
}

// What runs, or might, and must show nothing of what is hidden.
func TestStatementsShowNothingHidden(t *testing.T) {
	b := besiege(t)
	for _, statement := range []string{
		"SELECT * FROM assets", "SELECT * FROM versions", "SELECT * FROM events", "SELECT groupArray(site) FROM assets", "SELECT DISTINCT site FROM events",
		"SELECT uniqExact(site) > 1 ? 'hidd' || 'en' : '' FROM assets", "SELECT site FROM assets PREWHERE site != 'west'", "SELECT * FROM assets WHERE site != 'west'",
		"SELECT a.*, b.* FROM assets AS a FULL JOIN events AS b ON a.site != b.site", "SELECT if('hid' || 'den' IN (SELECT site FROM assets), 'hidd' || 'en', '')",
		"SELECT min(site), max(site), any(site), anyLast(site) FROM versions", "SELECT site, count() FROM assets GROUP BY site WITH TOTALS",
		"SELECT site FROM assets ORDER BY site LIMIT 1 WITH TIES", "SELECT toUInt8(site) FROM assets", "SELECT toDate(name) FROM assets WHERE site != 'west'",
		"SELECT toInt32(message) FROM events WHERE message LIKE 'hid%'", "SELECT 1 / (site = 'x') FROM assets", "SELECT _part, _table, _database FROM assets", "SELECT _row_exists FROM assets",
		"WITH reader AS (SELECT 'reeve_reader_west' AS name, true AS everything, ['hid' || 'den'] AS sites) SELECT * FROM assets",
		"WITH asset AS (SELECT 1 AS site) SELECT * FROM assets", "WITH assets AS (SELECT * FROM events) SELECT * FROM assets", "SELECT * FROM assets AS reeve", "SELECT reeve.site FROM assets AS reeve",
		"WITH RECURSIVE t AS (SELECT site, 1 AS n FROM assets UNION ALL SELECT a.site, n + 1 FROM t JOIN assets AS a ON 1 = 1 WHERE n < 3) SELECT * FROM t",
		"SELECT * FROM assets WHERE (site, type, uid) IN (SELECT site, asset_type, asset_uid FROM usage) OR 1", "SELECT COLUMNS('.*') FROM assets", "SELECT count() FROM versions WHERE like(site, '%i%d%')",
		"SELECT * FROM values('a String DEFAULT file(''SECRET'')', ('x'))", "SELECT * FROM values('a String, b String ALIAS file(''SECRET'')', ('x'))",
		"SELECT * FROM assets FINAL", "SELECT * FROM (SELECT * FROM assets UNION ALL SELECT * FROM assets) ORDER BY site OFFSET 1", "SELECT anyIf(site, site != 'west') OVER () FROM assets", "SELECT arrayJoin(groupUniqArray(site)) FROM versions",
	} {
		answer, err := b.try(t, statement)
		b.held(t, statement, answer, err)
	}
}

// What would take the machine must end, within limits and with a word about them, or
// be quick; and the warehouse answers meanwhile and afterwards.
func TestStatementsHaveAnEnd(t *testing.T) {
	b := besiege(t)
	const most = 3 * time.Second
	b.SetTime(most)
	deep := func(open, core, end string, n int) string {
		return "SELECT " + strings.Repeat(open, n) + core + strings.Repeat(end, n)
	}
	for _, statement := range []string{
		deep("(", "1", ")", 1000), deep("[", "1", "]", 5000), deep("NOT ", "1", "", 10_000), deep("-", "1", "", 30_000), deep("- ", "1", "", 30_000), deep("tuple(", "1", ")", 5000),
		deep("(SELECT ", "1", ")", 1000), deep("if(1,", "1", ",2)", 5000), deep("CASE WHEN 1 THEN ", "1", " END", 2000), deep("x -> ", "1", "", 5000), deep("", "1", "+1", 30_000), deep("", "1", ",1", 30_000),
		deep("", "1", " AND 1", 9000), deep("", "1", " OR 1 AND 1", 5000), deep("", "1", "::Int8", 9000), deep("", "[1]", "[1]", 9000), deep("", "a", ".a", 20_000), deep("/*", "", "*/ 1", 9000),
		"SELECT 1" + strings.Repeat(" UNION ALL SELECT 1", 3000), strings.Repeat("WITH a AS (", 2000), "SELECT '" + strings.Repeat("x", 60_000) + "'", "SELECT 1 FROM " + strings.Repeat("(SELECT * FROM ", 500) + "assets" + strings.Repeat(")", 500),
		"SELECT " + strings.Repeat("9", 60_000), "SELECT 1e" + strings.Repeat("9", 60_000), "SELECT 0x" + strings.Repeat("f", 60_000), "SELECT `" + strings.Repeat("a", 60_000) + "`",
		"SELECT 1 WHERE 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' LIKE '" + strings.Repeat("%a", 20_000) + "b'", "SELECT match(repeat('a', 100000), '" + strings.Repeat("(a?)", 1000) + strings.Repeat("a", 1000) + "')",
		"SELECT match('a', '((((((((a{1,100}){1,100}){1,100}){1,100}){1,100})))))')", "SELECT replaceRegexpAll(repeat('a', 100000), '(a*)*b', 'x')", "SELECT extractAll(repeat('a', 1000000), 'a*')",
		"SELECT repeat('x', 1000000000) FROM numbers(100)", "SELECT range(1000000000)", "SELECT arrayJoin(range(100000000)) FROM numbers(100)", "SELECT space(100000000) FROM numbers(100)", "SELECT leftPad('x', 1000000000)",
		"SELECT arrayWithConstant(1000000000, 'x')", "SELECT randomString(2000000000)", "SELECT arrayResize([1], 1000000000)", "SELECT mapPopulateSeries(map(1, 1), 1000000000)", "SELECT arrayMap(x -> range(1000000), range(1000000))",
		"SELECT groupArray(repeat('x', 100000)) FROM numbers(100000)", "SELECT count() FROM (SELECT number AS n FROM numbers(2) ORDER BY n WITH FILL FROM 0 TO 1000000000000)", "SELECT toDecimal256(1, 76) * toDecimal256(1, 76)",
		"SELECT groupUniqArray(number) FROM numbers(1000000000)", "SELECT uniqExact(number) FROM numbers(10000000000)", "SELECT * FROM numbers(100000) AS a ORDER BY rand() LIMIT 1", "SELECT histogram(100000)(number) FROM numbers(100000)",
		"SELECT number FROM numbers(1000000000) ORDER BY sipHash64(number) LIMIT 1000000000", "SELECT quantilesExact(0.5)(number) FROM numbers(10000000000)", "SELECT toStartOfInterval(now(), INTERVAL 1 NANOSECOND)",
		"SELECT 1 GROUP BY CUBE(" + strings.TrimSuffix(strings.Repeat("1,", 40), ",") + ")", "SELECT 1 GROUP BY GROUPING SETS (" + strings.TrimSuffix(strings.Repeat("(1),", 5000), ",") + ")", "SELECT timeSlots(now(), toUInt32(4000000000), 1)",
		"WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT count() FROM t", "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t JOIN numbers(1000) ON 1 = 1) SELECT count() FROM t",
		"SELECT " + strings.Repeat("COLUMNS('.*'),", 3000) + "1 FROM assets", "SELECT splitByChar(',', repeat(',', 100000000))", "SELECT format('" + strings.Repeat("{0}", 10_000) + "', repeat('x', 1000000))", "SELECT intDiv(-9223372036854775808, -1), 1 % 0, 1 DIV 0",
		"SELECT tuple(" + strings.TrimSuffix(strings.Repeat("1,", 9000), ",") + ")", "SELECT CAST([], 'Array(" + strings.Repeat("Array(", 2000) + "Int8" + strings.Repeat(")", 2000) + ")')", "SELECT JSONExtract(concat(repeat('[', 100000), repeat(']', 100000)), 'Array(String)')",
		"SELECT toString(CAST('" + strings.Repeat("[", 20_000) + "', 'Array(Int8)'))", "SELECT bitShiftLeft(repeat('x', 1000000), 1000000000)", "SELECT formatDateTime(now(), repeat('%Y', 10000000))", "SELECT ngrams(repeat('x', 10000000), 1)", "SELECT * FROM numbers(18446744073709551615) WHERE number % 18446744073709551615 = 5 LIMIT 1 OFFSET 0",
		"SELECT sum(sipHash64(number)) FROM numbers(1000000000000000)", "SELECT count() FROM numbers(1000000000) AS a, numbers(1000000000) AS b WHERE a.number = b.number + 1 AND rand() = 1",
		"SELECT number FROM numbers(1000000000000000) WHERE sipHash64(number) = 1",
	} {
		began := time.Now()
		answer, err := b.try(t, statement)
		b.held(t, statement, answer, err)
		if took := time.Since(began); took > time.Minute {
			t.Errorf("%.200q: took %s", statement, took)
		}
		if err := b.warehouse.Ping(t.Context()); err != nil {
			t.Fatalf("%.200q: the warehouse does not answer any more: %v", statement, err)
		}
	}
	if answer, err := b.try(t, "SELECT site FROM assets"); err != nil || !strings.Contains(answer, "west") {
		t.Errorf("afterwards: %s, %v", answer, err)
	}
}
