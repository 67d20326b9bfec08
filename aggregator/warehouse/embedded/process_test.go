package embedded

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// TestKillsLoseNothing kills the engine in the middle of inserts. What was
// acknowledged has to be there, and an insert that was not, sent again under
// its token, has to count once, in the table and behind the view.
func TestKillsLoseNothing(t *testing.T) {
	const kills, writers, rows = 10, 4, 500
	p := startProcess(t, t.TempDir())
	conn := connect(t, p.DialContext)
	const safe = "SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 10000"
	mustExec(t, conn, "CREATE TABLE source (a UInt64, b String) ENGINE = ReplacingMergeTree ORDER BY a "+safe)
	// Neither merges rows of one key away, so that counted twice is seen.
	mustExec(t, conn, "CREATE TABLE plain (a UInt64, b String) ENGINE = MergeTree ORDER BY a "+safe)
	mustExec(t, conn, "CREATE TABLE target (bucket UInt64, n UInt64) ENGINE = MergeTree ORDER BY bucket "+safe)
	mustExec(t, conn, "CREATE MATERIALIZED VIEW plain_view TO plain AS SELECT a, b FROM source")
	mustExec(t, conn, "CREATE MATERIALIZED VIEW count_view TO target AS SELECT intDiv(a, 500) AS bucket, count() AS n FROM source GROUP BY "+
		"bucket")

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var (
		mu           sync.Mutex
		next         int
		acknowledged int
		retried      int
		remembered   int // unacknowledged, yet there when looked for before the retry
		stop         = make(chan struct{})
		running      sync.WaitGroup
	)
	for range writers {
		running.Go(func() {
			for {
				mu.Lock()
				batch := next
				next++
				mu.Unlock()
				for attempt := 0; ; attempt++ {
					err := sendToken(ctx, conn, "source", "batch-"+strconv.Itoa(batch), batch*rows, rows)
					if err == nil {
						break
					}
					if ctx.Err() != nil {
						t.Errorf("batch %d: %v", batch, err)
						return
					}
					mu.Lock()
					retried++
					mu.Unlock()
					var n uint64
					if conn.QueryRow(ctx, "SELECT count() FROM source WHERE intDiv(a, 500) = {batch:UInt64}",
						clickhouse.Named("batch", batch)).Scan(&n) == nil && n > 0 {
						mu.Lock()
						remembered++
						mu.Unlock()
					}
				}
				mu.Lock()
				acknowledged++
				mu.Unlock()
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for range kills {
		time.Sleep(300*time.Millisecond + rand.N(300*time.Millisecond))
		pid := p.PID()
		if pid == 0 {
			t.Fatal("no engine to kill")
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for start := time.Now(); p.PID() == 0 || p.PID() == pid; time.Sleep(5 * time.Millisecond) {
			if time.Since(start) > 30*time.Second {
				t.Fatal("the engine did not come back")
			}
		}
	}
	time.Sleep(300 * time.Millisecond)
	close(stop)
	running.Wait()
	t.Logf("%d batches acknowledged, %d sends failed, after %d of which the rows were there all the same", acknowledged, retried, remembered)
	if retried == 0 {
		t.Error("no kill hit an insert")
	}
	want := uint64(next * rows)
	if acknowledged != next {
		t.Errorf("%d of %d batches acknowledged", acknowledged, next)
	}
	for query, what := range map[string]string{
		"SELECT uniqExact(a) FROM source":            "distinct rows in the table",
		"SELECT count() FROM source FINAL":           "rows in the table",
		"SELECT uniqExact(a) FROM plain":             "distinct rows behind the view",
		"SELECT count() FROM plain":                  "rows behind the view",
		"SELECT sum(n) FROM target":                  "rows counted behind the view",
		"SELECT uniqExact(bucket) * 500 FROM target": "batches counted behind the view, times 500",
	} {
		if got := ask[uint64](t, ctx, conn, query); got != want {
			t.Errorf("%d %s, want %d", got, what, want)
		}
	}
}

// TestMapBuckets tries the table settings that the warehouse relies on.
func TestMapBuckets(t *testing.T) {
	conn := startEngine(t)
	mustExec(t, conn, `CREATE TABLE documents (
		uid String, version UInt64, fields Map(LowCardinality(String), String) CODEC(ZSTD(1))
	) ENGINE = ReplacingMergeTree(version) ORDER BY uid SETTINGS
		map_serialization_version = 'with_buckets', map_serialization_version_for_zero_level_parts = 'basic',
		map_buckets_strategy = 'constant', max_buckets_in_map = 16, map_buckets_min_avg_size = 0,
		fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 10000`)
	for version := range uint64(3) {
		batch, err := conn.PrepareBatch(t.Context(), "INSERT INTO documents")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 2000 {
			fields := map[string]string{}
			for f := range 40 {
				fields["path."+strconv.Itoa(f)] = fmt.Sprint(i, f, version)
			}
			if err := batch.Append("uid-"+strconv.Itoa(i), version, fields); err != nil {
				t.Fatal(err)
			}
		}
		if err := batch.Send(); err != nil {
			t.Fatal(err)
		}
	}
	for _, optimized := range []bool{false, true} {
		if optimized {
			mustExec(t, conn, "OPTIMIZE TABLE documents FINAL")
		}
		if n := ask[uint64](t, t.Context(), conn,
			"SELECT count() FROM documents FINAL WHERE fields['path.7'] = '19 7 2' AND length(fields) = 40"); n != 1 {
			t.Errorf("optimized %v: %d rows found by a field, want 1", optimized, n)
		}
	}
}

// alive tells whether the process runs; one that waits for its parent to notice its end does not.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return syscall.Kill(pid, 0) == nil && !errors.Is(err, os.ErrNotExist)
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func waitGone(t *testing.T, pid int) {
	t.Helper()
	for start := time.Now(); alive(pid); time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatal("the engine outlived its parent")
		}
	}
}

// TestAHungEngineIsStartedAgain stops the process, which then neither dies nor answers.
func TestAHungEngineIsStartedAgain(t *testing.T) {
	needLibrary(t)
	p, err := start(t.Context(), Options{Dir: t.TempDir(), Logger: testLogger(t)}, engineCommand(),
		timing{200 * time.Millisecond, 50 * time.Millisecond, 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	conn := connect(t, p.DialContext)
	mustExec(t, conn, "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
	pid := p.PID()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	// What it was asked meanwhile fails, and does not wait for ever.
	if err := conn.Exec(ctx, "INSERT INTO t VALUES (1)"); err == nil || ctx.Err() != nil {
		t.Errorf("an insert into an engine that hangs: %v", err)
	}
	for ctx.Err() == nil && conn.Exec(ctx, "INSERT INTO t VALUES (2)") != nil {
		time.Sleep(10 * time.Millisecond)
	}
	if p.PID() == pid || ctx.Err() != nil {
		t.Error("it was not started again")
	}
}

func TestParentDeathEndsEngine(t *testing.T) {
	needLibrary(t)
	dir := t.TempDir()
	for range 3 { // each takes over from its predecessor without a pause
		parent := exec.Command(engineCommand()[0], "parent", dir)
		parent.Stderr = t.Output()
		out, err := parent.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := parent.Start(); err != nil {
			t.Fatal(err)
		}
		line, _ := bufio.NewReader(out).ReadString('\n')
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil || !alive(pid) {
			t.Fatalf("the parent said %q", line)
		}
		if err := parent.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = parent.Wait()
		defer waitGone(t, pid)
	}
}

func TestSecondEngineOnSameStorage(t *testing.T) {
	dir := t.TempDir()
	first := startProcess(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := Start(ctx, Options{Dir: dir, Logger: testLogger(t)}, engineCommand()); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a second engine on the same storage: %v", err)
	}
	// The first has lost neither its storage nor its socket.
	if got := ask[uint8](t, t.Context(), connect(t, first.DialContext), "SELECT 3"); got != 3 {
		t.Fatal(got)
	}
}

func TestStartFails(t *testing.T) {
	needLibrary(t)
	library := filepath.Join(t.TempDir(), "libchdb.so")
	if err := os.WriteFile(library, []byte("not a library"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), Options{Dir: t.TempDir(), Library: library, Logger: testLogger(t)}, engineCommand())
	if err == nil || !strings.Contains(err.Error(), "ended before it answered") || !strings.Contains(err.Error(), "load engine library") {
		t.Fatalf("start with a broken library: %v", err)
	}
	t.Log(err)
	if _, err := Start(t.Context(), Options{Dir: t.TempDir(), Logger: testLogger(t)}, []string{"/nonexistent/engine"}); !errors.Is(err,
		os.ErrNotExist) {
		t.Fatalf("start of a missing command: %v", err)
	}
}

func TestLongPathAndReopening(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	for i := range 2 {
		p := startProcess(t, dir)
		conn := connect(t, p.DialContext)
		mustExec(t, conn, "CREATE TABLE IF NOT EXISTS kept (a UInt64) ENGINE = MergeTree ORDER BY a")
		mustExec(t, conn, "INSERT INTO kept VALUES (1)")
		if n := ask[uint64](t, t.Context(), conn, "SELECT count() FROM kept"); n != uint64(i+1) {
			t.Fatalf("%d rows on opening %d", n, i)
		}
		info, err := os.Stat(filepath.Dir(p.socket))
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("the socket's directory: %v, %v", info.Mode(), err)
		}
		pid := p.PID()
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if alive(pid) {
			t.Fatal("the engine outlived Close")
		}
		if _, err := os.Stat(p.tempDir); p.tempDir == "" || !errors.Is(err, os.ErrNotExist) {
			t.Errorf("socket directory %q is left: %v", p.tempDir, err)
		}
		if _, err := p.DialContext(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("dial after close: %v", err)
		}
	}
}

func TestCloseKillsStatements(t *testing.T) {
	p := startProcess(t, t.TempDir())
	conn := connect(t, p.DialContext)
	failed := make(chan error)
	go func() {
		failed <- conn.Exec(t.Context(), "INSERT INTO FUNCTION null('a UInt64') SELECT number FROM numbers(1000000000000)")
	}()
	time.Sleep(300 * time.Millisecond)
	start := time.Now()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("close took %s", took)
	}
	if err := <-failed; err == nil {
		t.Error("the statement ended by itself")
	}
}

func TestArguments(t *testing.T) {
	o := Options{Dir: "/a dir/-x", Library: "/lib/libchdb.so", MemoryLimit: 1 << 40}
	got, socket, err := ParseArguments(arguments(o, "/run/e.sock"))
	if err != nil || socket != "/run/e.sock" || !reflect.DeepEqual(got, o) {
		t.Fatalf("got %+v %q %v", got, socket, err)
	}
	for _, args := range [][]string{nil, {"--dir", "x"}, {"--socket", "x"}, {"--dir", "x", "--socket", "y", "z"}, {"--memory", "much"}} {
		if _, _, err := ParseArguments(args); err == nil {
			t.Errorf("%q was taken", args)
		}
	}
}

func TestLineLogger(t *testing.T) {
	l := &lineLogger{}
	for _, s := range []string{"one\ntw", "o\n\n", strings.Repeat("x", 3*maxLine), "\nlast"} {
		if n, err := l.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatal(n, err)
		}
	}
	if got := l.last(); !strings.HasPrefix(got, "one | two | xxx") || !strings.HasSuffix(got, "x | last") || len(got) > 3*maxLine {
		t.Errorf("got %.60q of %d bytes", got, len(got))
	}
}

// A statement that cannot be killed, for it is within one call of a function, costs the
// engine's process, if it was one that may only read.
func TestStatementThatDoesNotEnd(t *testing.T) {
	needLibrary(t)
	command := engineCommand()
	command[1] = "impatient"
	p, err := start(t.Context(), Options{Dir: t.TempDir(), Logger: testLogger(t)}, command, timing{200 * time.Millisecond, probeEvery, hungAfter})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	conn := connect(t, p.DialContext)
	mustExec(t, conn, "CREATE TABLE kept (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
	if err := sendToken(t.Context(), conn, "kept", "", 0, 1000); err != nil {
		t.Fatal(err)
	}
	before := p.PID()
	// An hour in one call.
	const endless = "SELECT sum(editDistance(concat(repeat('a', 60000), toString(number)), repeat('b', 60000))) FROM numbers(1000)"
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		var n uint64
		ended <- conn.QueryRow(clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"readonly": 1})), endless).Scan(&n)
	}()
	// By then it is in that call.
	for ask[uint64](t, t.Context(), conn, "SELECT count() FROM system.processes WHERE memory_usage > 50000000 AND elapsed > 2") == 0 {
		time.Sleep(20 * time.Millisecond)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatalf("it ended by itself: %v", err)
	}
	deadline := time.Now().Add(time.Minute)
	for p.PID() == before || p.PID() == 0 {
		if time.Now().After(deadline) {
			t.Fatal("the engine goes on with it")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if n := ask[uint64](t, t.Context(), conn, "SELECT count() FROM kept"); n != 1000 {
		t.Errorf("%d rows afterwards", n)
	}
}
