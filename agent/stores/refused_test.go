//go:build linux

package stores

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/reeve-cloud/reeve/agent/spool"
	"github.com/reeve-cloud/reeve/pkg/dirlock"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// filled makes a data directory in which an asset was seen.
func filled(t *testing.T, dir string) {
	t.Helper()
	s, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Spool.Append(t.Context(), wirev1.Class_CLASS_ASSETS, []*wirev1.Record{{Body: &wirev1.Record_Asset{Asset: &wirev1.AssetVersion{
		Type: "t", Uid: "u", Scope: "c/s", Version: 1, Operation: wirev1.Operation_OPERATION_CREATED, Hash: make([]byte, 16),
		Document: []byte(`{}`),
	}}}}, spool.Checkpoint{Scope: "c/s", Value: "7"})
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
}

func open(dir string) (*Stores, error) {
	return Open(Options{Dir: dir, MaxBytes: testBudget, Logger: slog.New(slog.DiscardHandler)})
}

// keeps fails the test unless the stores in dir open and know the asset, and
// nothing was put aside.
func keeps(t *testing.T, dir string) {
	t.Helper()
	s, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if n := assets(t, s); n != 1 {
		t.Errorf("%d assets are known, want 1", n)
	}
	if must, why, err := s.Seen.MustBeResent(); must || err != nil {
		t.Errorf("all must be sent again: %q, %v", why, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if aside := putAsides(t, dir); len(aside) > 0 {
		t.Errorf("put aside: %v", aside)
	}
}

func assets(t *testing.T, s *Stores) (n int) {
	t.Helper()
	if err := s.Seen.Assets(func(*wirev1.AssetVersion) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

func putAsides(t *testing.T, dir string) []string {
	t.Helper()
	aside, err := filepath.Glob(filepath.Join(dir, "*.corrupt-*"))
	if err != nil {
		t.Fatal(err)
	}
	return aside
}

// TestSecondAgent starts agents again and again beside one that runs.
func TestSecondAgent(t *testing.T) {
	dir := t.TempDir()
	filled(t, dir)
	first, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	crash, err := os.ReadFile(filepath.Join(dir, seenCrash))
	if err != nil {
		t.Fatal(err)
	}
	for range 6 {
		if _, err := open(dir); !errors.Is(err, dirlock.ErrHeld) || !strings.Contains(err.Error(), "already running") {
			t.Fatalf("beside one that runs: %v", err)
		}
	}
	if n := assets(t, first); n != 1 {
		t.Errorf("the first one knows %d assets", n)
	}
	if after, err := os.ReadFile(filepath.Join(dir, seenCrash)); err != nil || string(after) != string(crash) {
		t.Errorf("the file of the first one's crashes was touched: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	keeps(t, dir)
}

// TestRefusedOpens has what is sound refused again and again, for what says
// nothing about it.
func TestRefusedOpens(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("NOT TESTED, files of other users take root")
	}
	const nobody = 65534
	for name, c := range map[string]struct {
		spoil, undo func(t *testing.T, dir string)
		env, want   string
	}{
		"last seen belongs to another user": {
			spoil: func(t *testing.T, dir string) { own(t, filepath.Join(dir, seenDir), 0, 0o700) },
			undo:  func(t *testing.T, dir string) { own(t, filepath.Join(dir, seenDir), nobody, 0o700) },
			want:  "permission denied",
		},
		"one file of last seen does": {
			spoil: func(t *testing.T, dir string) { own(t, filepath.Join(dir, seenDir, "MANIFEST"), 0, 0o600) },
			undo:  func(t *testing.T, dir string) { own(t, filepath.Join(dir, seenDir, "MANIFEST"), nobody, 0o600) },
			want:  "permission denied",
		},
		"the spool does": {
			spoil: func(t *testing.T, dir string) { own(t, filepath.Join(dir, "spool", "assets"), 0, 0o700) },
			undo:  func(t *testing.T, dir string) { own(t, filepath.Join(dir, "spool", "assets"), nobody, 0o700) },
			want:  "permission denied",
		},
		"12 descriptors": {env: "REEVE_TEST_FILES=12", want: "too many open files"},
		"22 descriptors": {env: "REEVE_TEST_FILES=22", want: "too many open files"},
	} {
		t.Run(name, func(t *testing.T) {
			base, err := os.MkdirTemp("", "refused")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(base) })
			dir := filepath.Join(base, "data")
			filled(t, dir)
			own(t, base, nobody, 0o755)
			if err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
				return errors.Join(err, os.Chown(path, nobody, nobody))
			}); err != nil {
				t.Fatal(err)
			}
			self := filepath.Join(base, "agent") // where that user may run it
			copyFile(t, os.Args[0], self)
			if c.spoil != nil {
				c.spoil(t, dir)
			}
			for range 5 {
				cmd := exec.Command(self)
				cmd.Env = append(os.Environ(), "REEVE_TEST_OPEN="+dir, c.env)
				cmd.Dir = base
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
				if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), c.want) {
					t.Fatalf("it started: %v, %s", err, out)
				}
			}
			if c.undo != nil {
				c.undo(t, dir)
			}
			keeps(t, dir)
		})
	}
}

func own(t *testing.T, path string, user int, mode os.FileMode) {
	t.Helper()
	if err := errors.Join(os.Chown(path, user, user), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	r, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(w, r)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestDiedWhileOpening has the process killed while it opened last seen, more often
// than anything was ever given up for.
func TestDiedWhileOpening(t *testing.T) {
	dir := t.TempDir()
	filled(t, dir)
	if err := os.WriteFile(filepath.Join(dir, seenOpening), make([]byte, 9), 0o600); err != nil {
		t.Fatal(err)
	}
	keeps(t, dir)
	if _, err := os.Stat(filepath.Join(dir, seenOpening)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still counted: %v", err)
	}
}

// TestNewerFormats opens what a newer version wrote: it is left as it is.
func TestNewerFormats(t *testing.T) {
	for name, c := range map[string]struct {
		file     string
		at       int64
		old, new string
	}{
		"last seen":       {"last-seen/MANIFEST", 7, "\x08", "\x09"},
		"spool":           {"spool/spool", 12, "1", "2"},
		"a spool segment": {"spool/assets/00000000000000000001.seg", 10, "1", "3"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			filled(t, dir)
			file := filepath.Join(dir, c.file)
			replace := func(old, by string) {
				t.Helper()
				data, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if string(data[c.at:int(c.at)+len(old)]) != old {
					t.Fatalf("%q is at %d of %s", data[:c.at+4], c.at, c.file)
				}
				copy(data[c.at:], by)
				if err := os.WriteFile(file, data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			replace(c.old, c.new)
			for range 5 {
				if s, err := open(dir); err == nil {
					t.Error("it was opened", s.Close())
				}
			}
			replace(c.new, c.old)
			keeps(t, dir)
		})
	}
}

// TestNoManifest takes the table of contents away: what is left is put aside, and
// not made an empty store of.
func TestNoManifest(t *testing.T) {
	dir := t.TempDir()
	filled(t, dir)
	if err := os.Remove(filepath.Join(dir, seenDir, "MANIFEST")); err != nil {
		t.Fatal(err)
	}
	s, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if must, _, err := s.Seen.MustBeResent(); !must || err != nil {
		t.Errorf("nothing is sent again: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	aside := putAsides(t, dir)
	if len(aside) != 1 {
		t.Fatalf("put aside: %v", aside)
	}
	if tables, err := filepath.Glob(filepath.Join(aside[0], "*.sst")); err != nil || len(tables) == 0 {
		t.Errorf("the tables are gone: %v", err)
	}
}

// TestKeptAside makes sure that the last store with something in it is not removed
// among those that were put aside.
func TestKeptAside(t *testing.T) {
	dir := t.TempDir()
	for i := range keepAside + 3 {
		name := filepath.Join(dir, fmt.Sprintf("%s.corrupt-2026010%dT000000.000Z", seenDir, i))
		if err := os.MkdirAll(name, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(putAsides(t, dir)); n != keepAside+3 {
		t.Errorf("an empty store removed what was put aside: %d are left", n)
	}
	filled(t, dir)
	if s, err = open(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(putAsides(t, dir)); n != keepAside {
		t.Errorf("%d are left, want %d", n, keepAside)
	}
}

func TestInStore(t *testing.T) {
	const badger = "\ngithub.com/dgraph-io/badger/v4.(*DB).Open(0x1)\n\t/x/badger/db.go:7\n"
	for name, c := range map[string]struct {
		trace string
		want  bool
	}{
		"a panic in the store": {"panic: runtime error: slice bounds out of range\n\ngoroutine 7 [running]:" + badger, true},
		"a fault in the store": {"fatal error: fault\n[signal SIGSEGV: segmentation violation]\n\ngoroutine 7 [running]:" + badger,
			true},
		"a full disk under a memory map": {"unexpected fault address 0x1\nfatal error: fault\n[signal SIGBUS: bus error]\n\ngoroutine 7 " +
			"[running]:" + badger, false},
		"no memory":                        {"fatal error: runtime: out of memory\n\ngoroutine 7 [running]:" + badger, false},
		"no memory to map":                 {"runtime: mmap: cannot allocate memory\nfatal error: x\n\ngoroutine 7 [running]:" + badger, false},
		"no thread":                        {"runtime: failed to create new OS thread\n\ngoroutine 7 [running]:" + badger, false},
		"something else, beside the store": {"panic: oops\n\ngoroutine 1 [running]:\nmain.main()\n\ngoroutine 7 [select]:" + badger, false},
		"nothing":                          {"", false},
	} {
		if got := inStore(c.trace); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
