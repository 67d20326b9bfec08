package embedded

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestInProcess runs the engine inside the test's own process.
func TestInProcess(t *testing.T) {
	needLibrary(t)
	dir := t.TempDir()
	for i := range 2 { // and a second time, for one process can reopen its storage
		e, err := Open(t.Context(), Options{Dir: dir, Logger: testLogger(t)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), Options{Dir: t.TempDir()}); !errors.Is(err, ErrInUse) {
			t.Errorf("second engine in one process: %v", err)
		}
		conn := connect(t, e.DialContext)
		mustExec(t, conn, "CREATE TABLE IF NOT EXISTS kept (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
		if err := sendToken(t.Context(), conn, "kept", "", i, 1000); err != nil {
			t.Fatal(err)
		}
		if n := ask[uint64](t, t.Context(), conn, "SELECT count() FROM kept"); n != uint64(i+1)*1000 {
			t.Fatalf("%d rows on opening %d", n, i)
		}
		// The Go runtime still has its signals.
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			var nothing *Options
			_ = nothing.Dir
		}()
		if err := errors.Join(e.Close(), e.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := e.DialContext(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("dial after close: %v", err)
		}
	}
}

func TestLockedStorage(t *testing.T) {
	dir := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	if err := prepareStorage(t.Context(), dir, log); err != nil {
		t.Errorf("an empty storage: %v", err)
	}
	status := filepath.Join(dir, "status")
	if err := os.WriteFile(status, []byte("PID: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := prepareStorage(t.Context(), dir, log); err != nil {
		t.Errorf("a storage that was left: %v", err)
	}
	lock, err := lockFile(status)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := prepareStorage(ctx, dir, log); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a locked storage: %v", err)
	}
	time.AfterFunc(100*time.Millisecond, func() { _ = lock.Close() })
	if err := prepareStorage(t.Context(), dir, log); err != nil {
		t.Errorf("a storage whose lock went away: %v", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	needLibrary(t)
	for _, o := range []Options{{}, {Dir: "x", MemoryLimit: 1}, {Dir: "x", MemoryLimit: -1}, {Dir: "x", Library: "/nonexistent.so"}} {
		if _, err := o.resolve(); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
	o, err := Options{Dir: "relative"}.resolve()
	if err != nil || !filepath.IsAbs(o.Dir) || o.MemoryLimit != DefaultMemoryLimit || o.Logger == nil {
		t.Errorf("got %+v, %v", o, err)
	}
}
