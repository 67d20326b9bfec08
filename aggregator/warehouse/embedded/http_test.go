package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

func TestNamedParameters(t *testing.T) {
	conn := startEngine(t)
	evil := "it's \\ a `test`\t\n; DROP TABLE x -- ünïcode"
	var text string
	var number uint64
	var list []string
	err := conn.QueryRow(t.Context(), "SELECT {text:String}, {number:UInt64}, {list:Array(String)}",
		clickhouse.Named("text", evil), clickhouse.Named("number", uint64(1)<<63), clickhouse.Named("list", []string{"a", "b'c"})).
		Scan(&text, &number, &list)
	if err != nil {
		t.Fatal(err)
	}
	if text != evil || number != 1<<63 || len(list) != 2 || list[1] != "b'c" {
		t.Fatalf("got %q %d %q", text, number, list)
	}
	// What goes over the whole output rather than the stream takes them too.
	mustExec(t, conn, "CREATE TABLE named (a String) ENGINE = MergeTree ORDER BY a")
	mustExec(t, conn, "INSERT INTO named SELECT {text:String}", clickhouse.Named("text", evil))
	if got := ask[string](t, t.Context(), conn, "SELECT a FROM named"); got != evil {
		t.Fatalf("got %q", got)
	}
}

func TestErrors(t *testing.T) {
	conn := startEngine(t)
	ctx := t.Context()
	for _, test := range []struct {
		statement string
		code      int32
	}{
		{"SELECT * FROM nowhere", codeUnknownTable},
		{"INSERT INTO nowhere VALUES (1)", codeUnknownTable},
		{"SELEC 1", codeSyntaxError},
		{"garbage", codeSyntaxError},
		{"SELECT 1; SELECT 2", codeSyntaxError},
		{"CREATE TABLE a (b UInt8) ENGINE = Memory; garbage", codeSyntaxError},
		{"SELECT throwIf(number = 3) FROM numbers(10)", 395},
		{"USE nowhere", codeUnknownDatabase},
	} {
		wantCode(t, conn.Exec(ctx, test.statement), test.code)
	}
	if n := ask[uint64](t, ctx, conn, "SELECT count() FROM system.tables WHERE name = 'a' AND database = 'default'"); n != 0 {
		t.Fatal("the first of several statements was run")
	}
	// After the first bytes of the result.
	rows, err := conn.Query(ctx, "SELECT throwIf(number = 5000000, 'too late') FROM numbers(10000000)")
	if err == nil {
		for rows.Next() {
		}
		err = rows.Err()
	}
	wantCode(t, err, 395)
	wantCode(t, conn.Exec(clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"no_such_setting": 1})), "SELECT 1"), 115)
	wantCode(t, conn.Exec(clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"max_threads": "many"})), "SELECT 1"), 27)
	// And all is well afterwards.
	if got := ask[uint8](t, ctx, conn, "SELECT 7"); got != 7 {
		t.Fatal(got)
	}
}

func TestInsertErrorReachesTheSender(t *testing.T) {
	conn := startEngine(t)
	mustExec(t, conn, "CREATE TABLE strict (a UInt64, b String, CONSTRAINT small CHECK a < 10) ENGINE = MergeTree ORDER BY a")
	batch, err := conn.PrepareBatch(t.Context(), "INSERT INTO strict")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100_000 {
		if err := batch.Append(uint64(i), strings.Repeat("x", 100)); err != nil {
			t.Fatal(err)
		}
	}
	wantCode(t, batch.Send(), 469)
	if n := ask[uint64](t, t.Context(), conn, "SELECT count() FROM strict"); n != 0 {
		t.Fatalf("%d rows of a failed insert", n)
	}
}

func TestSettings(t *testing.T) {
	conn := startEngine(t)
	ctx := t.Context()
	with := func(s clickhouse.Settings) context.Context {
		return clickhouse.Context(ctx, clickhouse.WithSettings(s))
	}
	query := "SELECT toString(getSetting('max_threads')) || ' ' || toString(getSetting('async_insert')) || ' ' || " +
		"getSetting('insert_deduplication_token')"
	plain := ask[string](t, ctx, conn, query)
	got := ask[string](t, with(clickhouse.Settings{"max_threads": 7, "async_insert": 1, "insert_deduplication_token": "it's"}), conn, query)
	if got != "7 true it's" {
		t.Fatalf("settings came out as %q", got)
	}
	for range 20 { // none stays behind
		if got := ask[string](t, ctx, conn, query); got != plain || strings.Contains(got, "true") {
			t.Fatalf("settings of another statement: %q, want %q", got, plain)
		}
	}
	wantCode(t, conn.Exec(with(clickhouse.Settings{"max_execution_time": 1}),
		"SELECT count() FROM numbers(1000000000000) WHERE NOT ignore(rand())"), 159)
	wantCode(t, conn.Exec(with(clickhouse.Settings{"readonly": 1}), "CREATE TABLE x (a UInt8) ENGINE = Memory"), codeReadonly)
	wantCode(t, conn.Exec(with(clickhouse.Settings{"readonly": 1}), "SELECT * FROM file('/etc/passwd', 'LineAsString')"), codeReadonly)
	if comment := ask[string](t, with(clickhouse.Settings{"log_comment": "mine"}), conn,
		"SELECT getSetting('log_comment')"); !strings.HasSuffix(comment, " mine") {
		t.Fatalf("log_comment %q", comment)
	}

	mustExec(t, conn, "CREATE DATABASE elsewhere")
	mustExec(t, conn, "USE elsewhere") // of no effect on another statement, as on a server
	if got := ask[string](t, ctx, conn, "SELECT currentDatabase()"); got != "default" {
		t.Fatalf("current database %q", got)
	}
}

func TestDatabaseOption(t *testing.T) {
	p := startProcess(t, t.TempDir())
	conn := connect(t, p.DialContext)
	mustExec(t, conn, "CREATE DATABASE `else``where`")
	o := ClientOptions(p.DialContext)
	o.Auth.Database = "else`where"
	there, err := clickhouse.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	mustExec(t, there, "CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
	batch, err := there.PrepareBatch(t.Context(), "INSERT INTO t")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(batch.Append(uint8(5)), batch.Send()); err != nil {
		t.Fatal(err)
	}
	if got := ask[uint8](t, t.Context(), conn, "SELECT a FROM `else``where`.t"); got != 5 {
		t.Fatal(got)
	}
	o.Auth.Database = "nowhere"
	nowhere, err := clickhouse.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer nowhere.Close()
	wantCode(t, nowhere.Exec(t.Context(), "SELECT 1"), codeUnknownDatabase)
}

// sendToken inserts the rows with a deduplication token.
func sendToken(ctx context.Context, conn clickhouse.Conn, table, token string, from, n int) error {
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
		"insert_deduplication_token":                         token,
		"deduplicate_blocks_in_dependent_materialized_views": 1,
	}))
	batch, err := conn.PrepareBatch(ctx, "INSERT INTO "+table)
	if err != nil {
		return err
	}
	defer batch.Close()
	for i := from; i < from+n; i++ {
		if err := batch.Append(uint64(i), "payload "+strconv.Itoa(i)); err != nil {
			return err
		}
	}
	return batch.Send()
}

func TestDeduplication(t *testing.T) {
	conn := startEngine(t)
	ctx := t.Context()
	mustExec(t, conn, "CREATE TABLE source (a UInt64, b String) ENGINE = MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window "+
		"= 1000")
	mustExec(t, conn, "CREATE TABLE target (a UInt64, n UInt64) ENGINE = MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window "+
		"= 1000")
	mustExec(t, conn, "CREATE MATERIALIZED VIEW view TO target AS SELECT a % 10 AS a, count() AS n FROM source GROUP BY a")
	for range 3 {
		for token := range 4 {
			if err := sendToken(ctx, conn, "source", fmt.Sprint("token-", token), token*100, 100); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := ask[uint64](t, ctx, conn, "SELECT count() FROM source"); n != 400 {
		t.Errorf("%d rows in the table, want 400", n)
	}
	if n := ask[uint64](t, ctx, conn, "SELECT sum(n) FROM target"); n != 400 {
		t.Errorf("%d counted behind the view, want 400", n)
	}
	// The same rows under another token are new rows.
	if err := sendToken(ctx, conn, "source", "other", 0, 100); err != nil {
		t.Fatal(err)
	}
	if n := ask[uint64](t, ctx, conn, "SELECT sum(n) FROM target"); n != 500 {
		t.Errorf("%d counted behind the view, want 500", n)
	}
}

func TestConcurrentStatements(t *testing.T) {
	conn := startEngine(t)
	start := time.Now()
	var running sync.WaitGroup
	for i := range 8 {
		running.Go(func() {
			var n uint64
			if err := conn.QueryRow(t.Context(), "SELECT {i:UInt64} + sleep(1)", clickhouse.Named("i", i)).Scan(&n); err != nil || n != uint64(i) {
				t.Errorf("statement %d: %d, %v", i, n, err)
			}
		})
	}
	running.Wait()
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("eight sleeps of a second took %s", took)
	}
	// More at once than there are places.
	for range 3 * maxStatements {
		running.Go(func() {
			if err := conn.Exec(t.Context(), "SELECT sum(number) FROM numbers(100000)"); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
}

// memory gives a field of a process's status, in bytes.
func memory(t testing.TB, pid int, field string) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			kb, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	t.Fatalf("no %s in the process's status", field)
	return 0
}

func TestBigResultIsStreamed(t *testing.T) {
	p := startProcess(t, t.TempDir())
	conn := connect(t, p.DialContext)
	before := memory(t, p.PID(), "VmHWM")
	// 500 MB of text that does not compress.
	rows, err := conn.Query(t.Context(), "SELECT number, randomPrintableASCII(1000) FROM numbers(500000) SETTINGS max_block_size = 8192")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var n, bytes uint64
	for rows.Next() {
		var number uint64
		var text string
		if err := rows.Scan(&number, &text); err != nil {
			t.Fatal(err)
		}
		n++
		bytes += uint64(len(text))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if n != 500_000 || bytes != 500_000_000 {
		t.Fatalf("%d rows, %d bytes", n, bytes)
	}
	grown := memory(t, p.PID(), "VmHWM") - before
	t.Logf("500 MB of result grew the engine's peak by %d MB", grown>>20)
	if grown > 200<<20 {
		t.Errorf("the engine grew by %d MB for a result of 500 MB", grown>>20)
	}
}

func TestBigInsertIsStreamed(t *testing.T) {
	p := startProcess(t, t.TempDir())
	conn := connect(t, p.DialContext)
	mustExec(t, conn, "CREATE TABLE big (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
	before := memory(t, p.PID(), "VmHWM")
	r, w := io.Pipe()
	const rows = 500_000
	go func() {
		var line []byte
		text := strings.Repeat("0123456789", 100)
		for i := range rows {
			line = fmt.Appendf(line[:0], "%d\t%s\n", i, text)
			if _, err := w.Write(line); err != nil {
				return
			}
		}
		_ = w.Close()
	}()
	status, body := post(t, p, "query="+url.QueryEscape("INSERT INTO big FORMAT "+
		"TSV")+"&max_insert_block_size=50000&min_insert_block_size_bytes=50000000", r)
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	if n := ask[uint64](t, t.Context(), conn, "SELECT count() FROM big"); n != rows {
		t.Fatalf("%d rows", n)
	}
	grown := memory(t, p.PID(), "VmHWM") - before
	t.Logf("500 MB of insert grew the engine's peak by %d MB", grown>>20)
	if grown > 400<<20 {
		t.Errorf("the engine grew by %d MB for an insert of 500 MB", grown>>20)
	}
}

// post sends a bare request, as other clients would.
func post(t testing.TB, p *Process, rawQuery string, body io.Reader, header ...string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return p.DialContext(ctx) },
	}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://engine/?"+rawQuery, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func TestBareHTTP(t *testing.T) {
	p := startProcess(t, t.TempDir())
	for _, test := range []struct {
		name, query, body string
		header            []string
		status            int
		want              string
	}{
		{name: "body", body: "SELECT 1", status: 200, want: "1\n"},
		{name: "query", query: "query=SELECT+2", status: 200, want: "2\n"},
		{name: "both", query: "query=SELECT", body: "3", status: 200, want: "3\n"},
		{name: "format clause", body: "SELECT 1 AS a FORMAT JSONEachRow", status: 200, want: "{\"a\":1}\n"},
		{name: "default format", query: "default_format=CSV", body: "SELECT 'x', 2", status: 200, want: "\"x\",2\n"},
		{name: "parameter", query: "param_a=x%5C%27y", body: "SELECT {a:String} FORMAT TSVRaw", status: 200, want: "x'y\n"},
		{name: "show", body: "SHOW DATABASES LIKE 'default'", status: 200, want: "default\n"},
		{name: "explain", body: "EXPLAIN AST DROP TABLE x", status: 200, want: "DropQuery  x (children 1)\n Identifier x\n"},
		{name: "empty result", body: "SELECT 1 WHERE 0", status: 200},
		{name: "no statement", status: 400, want: "Code: 62. "},
		{name: "bad parameter name", query: "query=SELECT+1&a-b=1", status: 400, want: "is no setting's name"},
		{name: "bad escape", query: "query=%zz", status: 400, want: "URL parameters"},
		{name: "compressed request", body: "x", header: []string{"Content-Encoding", "gzip"}, status: 415, want: "does not compress"},
		{name: "compressed answer", query: "compress=1", body: "SELECT 1", status: 400, want: "does not compress"},
		{name: "session", query: "session_id=1", body: "SELECT 1", status: 400, want: "has no sessions"},
		{name: "external tables", body: "x", header: []string{"Content-Type", "multipart/form-data; boundary=x"}, status: 415,
			want: "external tables"},
		{name: "too long", body: "SELECT '" + strings.Repeat("x", maxStatementBytes) + "'", status: 413, want: "longer than"},
		{name: "unknown table", body: "SELECT * FROM nowhere", status: 404, want: "Code: 60. "},
		{name: "insert without a table", query: "query=INSERT+INTO+nowhere+FORMAT+CSV", body: "1\n", status: 404, want: "Code: 60. "},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, text := post(t, p, test.query, strings.NewReader(test.body), test.header...)
			if status != test.status || !strings.Contains(text, test.want) || status == 200 && text != test.want {
				t.Errorf("got %d %.300q, want %d %q", status, text, test.status, test.want)
			}
		})
	}
}

func TestGetMayOnlyRead(t *testing.T) {
	p := startProcess(t, t.TempDir())
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return p.DialContext(ctx) },
	}}
	for statement, want := range map[string]int{
		"SELECT 1": http.StatusOK,
		"CREATE TABLE x (a UInt8) ENGINE = Memory": http.StatusInternalServerError,
		"INSERT INTO x FORMAT CSV":                 http.StatusMethodNotAllowed,
		"garbage":                                  http.StatusBadRequest,
	} {
		response, err := client.Get("http://engine/?query=" + url.QueryEscape(statement))
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s: %s, want %d", statement, response.Status, want)
		}
	}
}

func TestBrokenOffInsertIsNotInserted(t *testing.T) {
	p := startProcess(t, t.TempDir())
	conn := connect(t, p.DialContext)
	mustExec(t, conn, "CREATE TABLE cut (a UInt64) ENGINE = MergeTree ORDER BY a")
	for _, chunked := range []bool{true, false} {
		c, err := p.DialContext(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		head := "POST /?query=INSERT+INTO+cut+FORMAT+CSV HTTP/1.1\r\nHost: engine\r\n"
		if chunked {
			_, err = io.WriteString(c, head+"Transfer-Encoding: chunked\r\n\r\n6\r\n1\n2\n3\n\r\n")
		} else {
			_, err = io.WriteString(c, head+"Content-Length: 100\r\n\r\n1\n2\n3\n")
		}
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
		_ = c.Close()
	}
	time.Sleep(500 * time.Millisecond)
	if n := ask[uint64](t, t.Context(), conn, "SELECT count() FROM cut"); n != 0 {
		t.Errorf("%d rows of inserts that broke off", n)
	}
}

func TestCancel(t *testing.T) {
	conn := startEngine(t)
	mustExec(t, conn, "CREATE TABLE sink (a UInt64) ENGINE = MergeTree ORDER BY a")
	for _, statement := range []string{
		"SELECT count() FROM numbers(100000000000) WHERE NOT ignore(rand())", // fetched
		"SELECT number FROM numbers(100000000000)",                           // being written
		"INSERT INTO sink SELECT number FROM numbers(100000000000) WHERE rand() % 1000000 = 0",
		"SELECT sleepEachRow(1) FROM numbers(100) SETTINGS max_block_size = 1",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		start := time.Now()
		err := conn.Exec(ctx, statement)
		if err == nil {
			// Exec drops the result and with it the error of reading it.
			err = ctx.Err()
		}
		cancel()
		if err == nil {
			t.Fatalf("%s ended by itself", statement)
		}
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("%s: the client had to wait %s", statement, took)
		}
		deadline := time.Now().Add(5 * time.Second)
		for {
			n := ask[uint64](t, t.Context(), conn, "SELECT count() FROM system.processes")
			if n == 1 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s still runs 5 seconds after its client left", statement)
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Logf("%.40s: gone %s after its client's leaving", statement, (time.Since(start) - 500*time.Millisecond).Round(time.Millisecond))
	}
}

func TestMemoryLimit(t *testing.T) {
	needLibrary(t)
	p, err := Start(t.Context(), Options{Dir: t.TempDir(), MemoryLimit: 200 << 20, Logger: testLogger(t)}, engineCommand())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	conn := connect(t, p.DialContext)
	ask[uint8](t, t.Context(), conn, "SELECT 1")
	time.Sleep(2 * time.Second)
	t.Logf("at rest: %d MB resident, %d MB of it anonymous", memory(t, p.PID(), "VmRSS")>>20, memory(t, p.PID(), "RssAnon")>>20)
	wantCode(t, conn.Exec(t.Context(), "SELECT length(groupArray(toString(rand64(number)))) FROM numbers(20000000)"), 241)
	t.Logf("peak: %d MB", memory(t, p.PID(), "VmHWM")>>20)
	if err := sendTokens(t, conn); err != nil {
		t.Fatal(err)
	}
}

// sendTokens makes a table and inserts into it a few times.
func sendTokens(t *testing.T, conn clickhouse.Conn) error {
	mustExec(t, conn, "CREATE TABLE after (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
	for i := range 20 {
		if err := sendToken(t.Context(), conn, "after", strconv.Itoa(i), i*10000, 10000); err != nil {
			return err
		}
	}
	mustExec(t, conn, "OPTIMIZE TABLE after FINAL")
	return nil
}
