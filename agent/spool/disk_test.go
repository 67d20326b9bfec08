//go:build linux

package spool

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// smallDisk mounts a filesystem of so many bytes.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("NOT TESTED, a full disk takes root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestNearlyFullDisk has a budget that the disk does not have.
func TestNearlyFullDisk(t *testing.T) {
	disk := smallDisk(t, "1m")
	m := newMemory()
	s := open(t, m.options(Options{Dir: filepath.Join(disk, "spool"), MaxBytes: 1 << 30, MinFree: 256 << 10, SegmentBytes: 32 << 10}))
	const all = 6000
	for n := 1; n <= all; n++ {
		appendOne(t, s, assets, version("a", n))
	}
	var lost, shipped int
	read(t, s, assets, 1, func(_ Frame, _ uint64, r *wirev1.Record) {
		if g := r.GetGap(); g != nil {
			lost += int(g.GetVersions())
			if g.GetReason() != wirev1.Gap_REASON_DISK {
				t.Errorf("%v", g)
			}
		} else {
			shipped++
		}
	})
	if lost == 0 || lost+shipped != all {
		t.Errorf("%d lost, %d shipped", lost, shipped)
	}
	// Somebody else takes the rest: appends fail, and nothing else happens.
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	r := []*wirev1.Record{version("a", all+1)}
	if err := s.Append(t.Context(), assets, r); err == nil || s.Err() == nil {
		t.Fatalf("on a full disk: %v, %v", err, s.Err())
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	appendOne(t, s, assets, r...)
	if s.Err() != nil {
		t.Error(s.Err())
	}
}

// TestFullDisk has the disk filled without a warning.
func TestFullDisk(t *testing.T) {
	disk := smallDisk(t, "1m")
	s := open(t, Options{Dir: filepath.Join(disk, "spool"), MaxBytes: 1 << 30, SegmentBytes: 32 << 10})
	n := 0
	var err error
	for ; err == nil; n++ {
		if n > 100000 {
			t.Fatal("the disk does not fill")
		}
		err = s.Append(t.Context(), assets, []*wirev1.Record{version("a", n+1)})
	}
	if !errors.Is(err, syscall.ENOSPC) || s.Err() == nil {
		t.Fatal(err, s.Err())
	}
	kept := s.Next(assets) - 1
	if int(kept) != n-1 {
		t.Fatalf("%d records of %d appends", kept, n-1)
	}
	if err := s.Ack(assets, kept); err != nil {
		t.Fatal(err)
	}
	appendOne(t, s, assets, version("a", n+1))
	equal(t, uids(t, s, kept+1), []string{"a"})
}

func TestReadOnlyDisk(t *testing.T) {
	disk := smallDisk(t, "1m")
	o := Options{Dir: filepath.Join(disk, "spool")}
	s := open(t, o)
	appendAll(t, s, names(1, 5)...)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("", disk, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(o); !errors.Is(err, syscall.EROFS) || errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), disk) {
		t.Fatalf("on a read-only disk: %v", err)
	}
	if err := syscall.Mount("", disk, "", syscall.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	s = open(t, o)
	equal(t, uids(t, s, 1), names(1, 5))
}
