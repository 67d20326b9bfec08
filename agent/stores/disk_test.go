//go:build linux

package stores

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/plugins/fake"
)

// TestFullDisk fills the disk under a running agent, to less than it leaves free
// and to the last byte. Sweeps fail meanwhile; nothing else happens.
func TestFullDisk(t *testing.T) {
	w := newWorld(t)
	if err := syscall.Mount("tmpfs", w.dir, "tmpfs", 0, "size=160m"); err != nil {
		t.Skipf("NOT TESTED, a full disk takes root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(w.dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	n := 0
	change := func() map[string]string {
		want := make(map[string]string)
		var assets []fake.Asset
		for i := range 50 {
			n++
			uid, document := fmt.Sprint("u", i), fmt.Sprintf(`{"n":%d,"text":"%s"}`, n, strings.Repeat("x", n%4000))
			assets, want[uid] = append(assets, fake.Asset{UID: uid, Document: []byte(document)}), document
		}
		w.list(assets...)
		return want
	}
	want := change()
	var l *life
	wait := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: did not happen; %+v\n%s", what, l.stores.Spool.Stat(), w.log.String())
			}
		}
	}
	var err error
	if l, err = w.start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.stop(); err != nil {
			t.Error(err)
		}
	}()
	wait("all arrives", func() bool { return w.has(want) })
	ballast := filepath.Join(w.dir, "ballast")
	for _, left := range []int64{8 << 20, 0} {
		var s syscall.Statfs_t
		if err := syscall.Statfs(w.dir, &s); err != nil {
			t.Fatal(err)
		}
		free := int64(s.Bavail) * s.Bsize
		if err := os.WriteFile(ballast, make([]byte, free-left), 0o600); err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		if err := syscall.Statfs(w.dir, &s); err != nil {
			t.Fatal(err)
		}
		t.Logf("%d bytes were free, %d are", free, int64(s.Bavail)*s.Bsize)
		want := change()
		wait("appends are refused", func() bool { return l.stores.Spool.Err() != nil })
		if w.has(want) {
			t.Error("what could not be stored arrived")
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		wait("it goes on by itself", func() bool { return w.has(want) && l.stores.Spool.Err() == nil })
	}
}

// TestUnwritableAtStart has the agent start where it cannot write: it says so,
// and leaves everything as it is.
func TestUnwritableAtStart(t *testing.T) {
	w := newWorld(t)
	if err := syscall.Mount("tmpfs", w.dir, "tmpfs", 0, "size=160m"); err != nil {
		t.Skipf("NOT TESTED, a read-only disk takes root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(w.dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	w.list(fake.Asset{UID: "a", Document: []byte(`{}`)})
	life := func() {
		t.Helper()
		l, err := w.start()
		if err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(20 * time.Second); !w.has(map[string]string{"a": "{}"}) &&
			time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		}
		if err := l.stop(); err != nil {
			t.Fatal(err)
		}
	}
	life()
	version := w.newest["a"].GetVersion()
	if err := debug.SetCrashOutput(nil, debug.CrashOptions{}); err != nil { // it has a file open there
		t.Fatal(err)
	}
	if err := syscall.Mount("", w.dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, err := w.start(); !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), "cannot be used") {
			t.Fatalf("on a read-only disk: %v", err)
		}
	}
	if err := syscall.Mount("", w.dir, "", syscall.MS_REMOUNT, "size=160m"); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(w.dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 200<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	for range 5 {
		if _, err := w.start(); err == nil || !strings.Contains(err.Error(), "the disk is full") {
			t.Fatalf("on a full disk: %v", err)
		}
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	life()
	if w.newest["a"].GetVersion() != version {
		t.Error("the asset was recorded again")
	}
}
