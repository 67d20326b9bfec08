package spool

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// spoil changes a byte of a file.
func spoil(t *testing.T, file string, at int) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[at] ^= 1
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestDamage spoils what lies between whole frames, while the spool is open and
// while it is not. Only what is spoilt is lost, and it is counted.
func TestDamage(t *testing.T) {
	for _, test := range []struct {
		name    string
		spoil   func(t *testing.T, dir string)
		lost    []uint64
		damages int
	}{
		{"a frame", func(t *testing.T, dir string) {
			spoil(t, filepath.Join(dir, "assets", "00000000000000000001.seg"), segmentHeaderSize+30)
		}, []uint64{1}, 1},
		{"a header", func(t *testing.T, dir string) {
			spoil(t, filepath.Join(dir, "assets", "00000000000000000001.seg"), segmentHeaderSize+20)
		}, []uint64{1}, 1},
		{"a segment's header", func(t *testing.T, dir string) {
			spoil(t, filepath.Join(dir, "assets", "00000000000000000001.seg"), 3)
		}, nil, 1},
		{"the end of a segment", func(t *testing.T, dir string) {
			file := filepath.Join(dir, "assets", "00000000000000000001.seg")
			info, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(file, info.Size()-3); err != nil {
				t.Fatal(err)
			}
		}, []uint64{3}, 1},
		{"a segment is gone", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "assets", "00000000000000000004.seg")); err != nil {
				t.Fatal(err)
			}
		}, []uint64{4, 5, 6}, 1},
		{"the id", func(t *testing.T, dir string) { spoil(t, filepath.Join(dir, idFile), len(idPrefix)+3) }, nil, 0},
		{"all of the id", func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, idFile), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, nil, 0},
		{"what is sent", func(t *testing.T, dir string) { spoil(t, filepath.Join(dir, "assets", sentFile), 20) }, nil, 0},
		{"the last frame", func(t *testing.T, dir string) {
			file := filepath.Join(dir, "assets", "00000000000000000010.seg")
			info, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			spoil(t, file, int(info.Size())-3)
		}, []uint64{10}, 1},
	} {
		for _, opened := range []bool{false, true} {
			if opened && test.damages == 0 || opened && test.name == "the last frame" {
				continue // not read while it is open
			}
			t.Run(test.name, func(t *testing.T) {
				m := newMemory()
				dir := t.TempDir()
				var damages []Damage
				o := m.options(Options{Dir: dir, SegmentBytes: 200, Damaged: func(d Damage) error { damages = append(damages, d); return nil }})
				s := open(t, o)
				id := s.ID()
				appendAll(t, s, names(1, 10)...)
				if st := s.Stat()[0]; st.Segments != 4 {
					t.Fatalf("%+v", st)
				}
				if !opened {
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
				}
				test.spoil(t, dir)
				if !opened {
					s = open(t, o)
				}
				appendAll(t, s, "11")
				want := names(1, 11)
				for _, n := range slices.Backward(test.lost) {
					want = slices.Delete(want, int(n)-1, int(n))
				}
				equal(t, uids(t, s, 1), want)
				var lost uint64
				for _, g := range gaps(t, s, 1) {
					if g.GetReason() != wirev1.Gap_REASON_DAMAGED || g.GetFirstSeq() != test.lost[0] || g.GetLastSeq() != test.lost[len(test.lost)-1] {
						t.Errorf("%v", g)
					}
					lost += g.GetUnknown()
				}
				if int(lost) != len(test.lost) || len(damages) != test.damages || s.ID() != id {
					t.Errorf("%d are lost, damage: %+v, id %s, was %s", lost, damages, s.ID(), id)
				}
				for _, d := range damages {
					if !errors.Is(d.Cause, ErrCorrupt) && !errors.Is(d.Cause, os.ErrNotExist) || d.Records != lost {
						t.Errorf("%+v", d)
					}
				}
				// It is mended for good.
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if _, _, err := Inspect(dir, nil); err != nil {
					t.Error(err)
				}
				damages = nil
				s = open(t, o)
				equal(t, uids(t, s, 1), want)
				if len(damages) > 0 {
					t.Errorf("%+v", damages)
				}
			})
		}
	}
}

// TestDamagedStubs spoils what is left of frames that were given up.
func TestDamagedStubs(t *testing.T) {
	m := newMemory()
	dir := t.TempDir()
	var damages []Damage
	o := m.options(Options{Dir: dir, MaxBytes: 16 << 10, SegmentBytes: 1 << 10,
		Damaged: func(d Damage) error { damages = append(damages, d); return nil }})
	s := open(t, o)
	for n := 1; n <= 200; n++ {
		appendOne(t, s, assets, version("a", n))
	}
	spoil(t, filepath.Join(dir, "assets", "00000000000000000001.seg"), segmentHeaderSize+40)
	var n, unknown uint64
	read(t, s, assets, 1, func(_ Frame, _ uint64, r *wirev1.Record) {
		g := r.GetGap()
		if g == nil {
			n++
		}
		n, unknown = n+g.GetVersions()+g.GetUnknown(), unknown+g.GetUnknown()
	})
	if n != 200 || unknown == 0 || len(damages) != 1 {
		t.Fatalf("%d records, %d unknown, damage %+v", n, unknown, damages)
	}
}

func TestQuarantineIsBounded(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir, MaxBytes: 16 << 10, SegmentBytes: 600})
	for n := range 40 {
		appendAll(t, s, names(n*10, n*10+9)...)
		st := s.Stat()[0]
		segments, err := listSegments(filepath.Join(dir, "assets"))
		if err != nil || len(segments) < 2 {
			t.Fatalf("%d segments of %+v: %v", len(segments), st, err)
		}
		spoil(t, segments[len(segments)-2].path, segmentHeaderSize+30)
		uids(t, s, 1)
	}
	entries, err := os.ReadDir(filepath.Join(dir, quarantineDir))
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if len(entries) == 0 || size > 2<<10 {
		t.Errorf("%d files with %d bytes", len(entries), size)
	}
}

func TestAppendGoesOnAfterAFault(t *testing.T) {
	m := newMemory()
	o := m.options(Options{Dir: t.TempDir()})
	apply, failing := o.Apply, false
	o.Apply = func(f Frame) error {
		if failing {
			return errors.New("disk")
		}
		return apply(f)
	}
	s := open(t, o)
	appendAll(t, s, "1")
	failing = true
	for _, uid := range []string{"2", "3"} {
		if err := s.Append(t.Context(), assets, []*wirev1.Record{record(uid)}); err == nil {
			t.Fatal("an append whose frame was not applied succeeded")
		}
	}
	if s.Err() == nil || s.Next(assets) != 2 {
		t.Fatalf("%v, next %d", s.Err(), s.Next(assets))
	}
	failing = false
	appendAll(t, s, "4")
	// The second was on disk, and so it counts; the third never got there.
	equal(t, uids(t, s, 1), []string{"1", "2", "4"})
	if s.Err() != nil || m.applied[assets] != 3 {
		t.Fatalf("%v, applied %d", s.Err(), m.applied[assets])
	}
}
