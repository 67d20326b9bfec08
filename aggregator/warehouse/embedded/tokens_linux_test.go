package embedded

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestKillBetweenTokenAndRows kills the engine each time at the very moment it
// has noted an insert's token; nearly half of the kills then come before the
// rows are in place.
func TestKillBetweenTokenAndRows(t *testing.T) {
	const rounds, rows = 12, 10
	p := startProcess(t, t.TempDir())
	conn := connect(t, p.DialContext)
	mustExec(t, conn, `CREATE TABLE source (a UInt64, b String) ENGINE = MergeTree ORDER BY a
		SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 10000`)
	if err := sendToken(t.Context(), conn, "source", "first", 0, rows); err != nil {
		t.Fatal(err)
	}
	path := ask[string](t, t.Context(), conn, "SELECT path FROM system.parts WHERE table = 'source'")
	logDir := filepath.Join(filepath.Dir(filepath.Clean(path)), "deduplication_logs")

	for round := 1; round <= rounds; round++ {
		events, err := syscall.InotifyInit1(syscall.IN_CLOEXEC)
		if err != nil {
			t.Skip(err)
		}
		if _, err := syscall.InotifyAddWatch(events, logDir, syscall.IN_MODIFY); err != nil {
			t.Fatal(err)
		}
		pid := p.PID()
		var killing sync.WaitGroup
		killing.Go(func() {
			var event [4096]byte
			_, _ = syscall.Read(events, event[:])
			_ = syscall.Kill(pid, syscall.SIGKILL)
		})
		for attempt := 0; ; attempt++ {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			err := sendToken(ctx, conn, "source", fmt.Sprint("round-", round), round*rows, rows)
			cancel()
			if err == nil {
				break
			}
			if attempt == 3 {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond)
		}
		killing.Wait()
		_ = syscall.Close(events)
		for start := time.Now(); p.PID() == pid || p.PID() == 0; time.Sleep(time.Millisecond) {
			if time.Since(start) > 30*time.Second {
				t.Fatal("the engine did not come back")
			}
		}
	}
	for _, query := range []string{"SELECT count() FROM source", "SELECT uniqExact(a) FROM source"} {
		if n := ask[uint64](t, t.Context(), conn, query); n != (rounds+1)*rows {
			t.Errorf("%s: %d, want %d", query, n, (rounds+1)*rows)
		}
	}
}
