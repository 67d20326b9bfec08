package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
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

func TestFindLibrary(t *testing.T) {
	dir := t.TempDir()
	make := func(parts ...string) string {
		path := filepath.Join(append([]string{dir}, parts...)...)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("CHDB_LIB_PATH", "")
	t.Setenv("REEVE_CACHE_DIR", filepath.Join(dir, "cache"))
	if _, err := FindLibrary(""); err == nil || !strings.Contains(err.Error(), "make engine") || !strings.Contains(err.Error(), "CHDB_LIB_PATH") {
		t.Errorf("the error does not help: %v", err)
	}
	cached := make("cache", "engine", Version+"-"+platform(), "libchdb.so")
	if got, err := FindLibrary(""); got != cached || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, cached)
	}
	own := make("own.so")
	t.Setenv("CHDB_LIB_PATH", own)
	if got, err := FindLibrary(""); got != own || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, own)
	}
	given := make("given.so")
	if got, err := FindLibrary(given); got != given || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, given)
	}
	for _, missing := range []string{filepath.Join(dir, "missing.so"), dir} {
		if _, err := FindLibrary(missing); err == nil {
			t.Errorf("%s was taken", missing)
		}
	}
	t.Setenv("CHDB_LIB_PATH", filepath.Join(dir, "missing.so"))
	if _, err := FindLibrary(""); err == nil || !strings.Contains(err.Error(), "CHDB_LIB_PATH") {
		t.Errorf("a wrong CHDB_LIB_PATH: %v", err)
	}
}

func TestVersionIsThePinnedOne(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "deploy", "engine", "engine.json"))
	if err != nil {
		t.Fatal(err)
	}
	var pinned struct{ Version string }
	if err := json.Unmarshal(b, &pinned); err != nil {
		t.Fatal(err)
	}
	if pinned.Version != Version {
		t.Errorf("Version is %s, deploy/engine/engine.json pins %s", Version, pinned.Version)
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
