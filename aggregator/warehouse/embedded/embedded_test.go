package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/reeve-cloud/reeve/aggregator/warehouse/engine"
)

// TestMain lets the test binary be the engine's process ("engine ...", and "impatient"
// with statements that do not end) and a
// parent that starts one ("parent DIR").
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "impatient":
			stuckAfter = time.Second
			os.Exit(engineMain(os.Args[2:]))
		case "engine":
			os.Exit(engineMain(os.Args[2:]))
		case "parent":
			os.Exit(parentMain(os.Args[2]))
		}
	}
	os.Exit(m.Run())
}

func engineMain(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	o, socket, err := ParseArguments(args)
	if err == nil {
		o.Logger = slog.New(slog.DiscardHandler)
		err = Serve(ctx, o, socket, os.Stdin)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func parentMain(dir string) int {
	p, err := Start(context.Background(), Options{Dir: dir}, engineCommand())
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(p.PID())
	select {} // until it is killed
}

func engineCommand() []string {
	executable, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return []string{executable, "engine"}
}

// needLibrary skips the test where there is no engine and none is required.
func needLibrary(t testing.TB) {
	t.Helper()
	if _, err := engine.Find(""); err != nil {
		if os.Getenv("REEVE_ENGINE_REQUIRED") != "" {
			t.Fatal(err)
		}
		t.Skipf("the real engine is needed: %v", err)
	}
}

func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// startProcess starts an engine in a process of its own on dir.
func startProcess(t testing.TB, dir string) *Process {
	t.Helper()
	needLibrary(t)
	p, err := start(t.Context(), Options{Dir: dir, Logger: testLogger(t)}, engineCommand(),
		timing{200 * time.Millisecond, probeEvery, hungAfter})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func connect(t testing.TB, dial func(context.Context) (net.Conn, error)) driver.Conn {
	t.Helper()
	conn, err := clickhouse.Open(ClientOptions(dial))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// startEngine starts an engine in a process of its own and connects to it.
func startEngine(t testing.TB) driver.Conn {
	return connect(t, startProcess(t, t.TempDir()).DialContext)
}

func mustExec(t testing.TB, conn driver.Conn, statement string, args ...any) {
	t.Helper()
	if err := conn.Exec(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// ask gives the single value of a query.
func ask[T any](t testing.TB, ctx context.Context, conn driver.Conn, query string, args ...any) T {
	t.Helper()
	var value T
	if err := conn.QueryRow(ctx, query, args...).Scan(&value); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return value
}

func wantCode(t testing.TB, err error, code int32) {
	t.Helper()
	var exception *clickhouse.Exception
	if !errors.As(err, &exception) {
		t.Fatalf("got error %v, want a ClickHouse exception %d", err, code)
	}
	if exception.Code != code {
		t.Fatalf("got error %v, want code %d", err, code)
	}
}

func TestTypes(t *testing.T) {
	conn := startEngine(t)
	mustExec(t, conn, `CREATE TABLE things (
		uid String CODEC(ZSTD(3)),
		kind LowCardinality(String),
		state Enum8('ACTIVE' = 1, 'DELETED' = 2),
		version UInt64,
		seen DateTime64(9, 'UTC'),
		paths Array(String),
		numbers Array(UInt64),
		fields Map(LowCardinality(String), String),
		price Decimal(18, 6),
		note Nullable(String)
	) ENGINE = ReplacingMergeTree(version) ORDER BY uid`)

	seen := time.Date(2026, 3, 4, 5, 6, 7, 891234567, time.UTC)
	note := "with\x00zero and 'quotes' \\ and ünïcode"
	batch, err := conn.PrepareBatch(t.Context(), "INSERT INTO things (uid, kind, state, version, seen, paths, numbers, fields, price, note)")
	if err != nil {
		t.Fatal(err)
	}
	const rows = 1000
	for i := range rows {
		var n *string
		if i%2 == 0 {
			n = &note
		}
		if err := batch.Append(fmt.Sprintf("uid-%04d", i), fmt.Sprintf("kind-%d", i%7), []string{"ACTIVE", "DELETED"}[i%2],
			uint64(1)<<63+uint64(i),
			seen.Add(time.Duration(i)), []string{"a.b", "c"}, []uint64{uint64(i), 1 << 60},
			map[string]string{"spec.nodeName": fmt.Sprint("node-", i%3), "": "empty key"}, "12.345678", n); err != nil {
			t.Fatal(err)
		}
	}
	if err := batch.Send(); err != nil {
		t.Fatal(err)
	}
	got, err := conn.Query(t.Context(), "SELECT * EXCEPT price FROM things ORDER BY uid")
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	for ; got.Next(); i++ {
		var (
			uid, kind, state string
			version          uint64
			when             time.Time
			paths            []string
			numbers          []uint64
			fields           map[string]string
			n                *string
		)
		if err := got.Scan(&uid, &kind, &state, &version, &when, &paths, &numbers, &fields, &n); err != nil {
			t.Fatal(err)
		}
		if uid != fmt.Sprintf("uid-%04d", i) || kind != fmt.Sprintf("kind-%d", i%7) || version != uint64(1)<<63+uint64(i) ||
			!when.Equal(seen.Add(time.Duration(i))) || !slices.Equal(paths, []string{"a.b", "c"}) ||
			!slices.Equal(numbers, []uint64{uint64(i), 1 << 60}) ||
			!maps.Equal(fields, map[string]string{"spec.nodeName": fmt.Sprint("node-", i%3), "": "empty key"}) ||
			state != []string{"ACTIVE", "DELETED"}[i%2] || (n != nil) != (i%2 == 0) || n != nil && *n != note {
			t.Fatalf("row %d came back as %q %q %q %d %v %v %v %v %v", i, uid, kind, state, version, when, paths, numbers, fields, n)
		}
	}
	if err := got.Err(); err != nil {
		t.Fatal(err)
	}
	if i != rows {
		t.Fatalf("got %d rows, want %d", i, rows)
	}
	if sum := ask[string](t, t.Context(), conn, "SELECT toString(sum(price)) FROM things"); sum != "12345.678" {
		t.Fatalf("sum of prices %s", sum)
	}
	if n := ask[uint64](t, t.Context(), conn, "SELECT count() FROM things WHERE fields['spec.nodeName'] = 'node-1'"); n != 333 {
		t.Fatalf("%d rows on node-1", n)
	}
}
