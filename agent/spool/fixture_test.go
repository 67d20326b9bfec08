package spool

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

var update = flag.Bool("update", false, "write the fixture of this version again, in testdata")

// fixture is a spool directory as this version writes it, which later versions must
// read. It has stubs, with marks and gaps, frames of assets and events, checkpoints,
// and something that is acknowledged. A version that writes another format adds a
// directory of its own, and leaves this one.
const fixture = "testdata/spool-1"

// fixtureAssets change in the fixture in turn, "often" in between.
const fixtureAssets = 12

// makeFixture writes the fixture: the same bytes each time, with the same compressor.
func makeFixture(t *testing.T, dir string) *memory {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, idFile), []byte(idPrefix+strings.Repeat("0123456789abcdef", 2)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := newMemory()
	s := open(t, m.options(Options{Dir: dir, MaxBytes: 12 << 10, SegmentBytes: 1 << 10}))
	add := func(class wirev1.Class, r *wirev1.Record, checkpoints ...Checkpoint) {
		t.Helper()
		if err := s.Append(t.Context(), class, []*wirev1.Record{r}, checkpoints...); err != nil {
			t.Fatal(err)
		}
	}
	for n := 1; n <= 80; n++ {
		uid := "often"
		if n%5 == 0 {
			uid = fmt.Sprint("asset", n/5%fixtureAssets)
		}
		add(assets, version(uid, n), Checkpoint{"fake/s", fmt.Sprint("to ", n)})
		if n%8 == 0 {
			add(wirev1.Class_CLASS_EVENTS, &wirev1.Record{Body: &wirev1.Record_Event{Event: &wirev1.Event{
				Id: fmt.Sprint("event", n), Type: "fake.happened", Scope: "fake/s", Time: int64(1000 + n), Severity: "info", Message: "it happened",
			}}})
		}
	}
	// Some of it was shipped, and less of it acknowledged.
	r := s.Reader(wirev1.Class_CLASS_EVENTS, 1)
	for range 5 {
		if _, err := r.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(r.Close(), s.Ack(wirev1.Class_CLASS_EVENTS, 3), s.Close()); err != nil {
		t.Fatal(err)
	}
	return m
}

// sums are the hashes of the files in a directory.
func sums(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	if err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		fmt.Fprintf(&b, "%s %d %x\n", filepath.ToSlash(name), len(data), sha256.Sum256(data))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestFixtureIsReproducible(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	makeFixture(t, one)
	makeFixture(t, two)
	if a, b := sums(t, one), sums(t, two); a != b {
		t.Errorf("two runs differ:\n%s\n%s", a, b)
	}
	if !*update {
		return
	}
	if err := errors.Join(os.RemoveAll(fixture), os.CopyFS(fixture, os.DirFS(one)), os.Remove(filepath.Join(fixture, "lock"))); err != nil {
		t.Fatal(err)
	}
}

// TestPastVersions reads the spools that past versions have left.
func TestPastVersions(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(fixture)); err != nil {
		t.Fatal(err)
	}
	// What was recorded is the same whoever writes it.
	m := makeFixture(t, t.TempDir())
	m.applied = map[wirev1.Class]uint64{assets: 80, wirev1.Class_CLASS_EVENTS: 10}
	o := m.options(Options{Dir: dir, MaxBytes: 12 << 10, SegmentBytes: 1 << 10, Damaged: func(d Damage) error {
		t.Errorf("it counts as damaged: %v", d.Cause)
		return nil
	}})
	if _, stats, err := Inspect(dir, func(f Frame) error { _, err := f.Records(); return err }); err != nil || stats[1].Waiting != 7 {
		t.Errorf("looked into: %+v, %v", stats, err)
	}
	s := open(t, o)
	if s.ID() != strings.Repeat("0123456789abcdef", 2) || s.Next(assets) != 81 || s.Next(wirev1.Class_CLASS_EVENTS) != 11 ||
		s.Acked(wirev1.Class_CLASS_EVENTS) != 3 {
		t.Errorf("%s, %+v", s.ID(), s.Stat())
	}
	newest := make(map[string]uint64)
	shipped, lost, ended := 0, 0, 0
	read(t, s, assets, 1, func(_ Frame, _ uint64, r *wirev1.Record) {
		if g := r.GetGap(); g != nil {
			lost, ended = lost+int(g.GetVersions()), ended+len(g.GetEnded())
			return
		}
		shipped++
		newest[r.GetAsset().GetUid()] = r.GetAsset().GetVersion()
	})
	if shipped+lost != 80 || ended != lost || lost == 0 {
		t.Errorf("%d versions are shipped, %d lost, with %d edges", shipped, lost, ended)
	}
	for uid, a := range m.newest {
		if newest[uid] != a.GetVersion() {
			t.Errorf("%s arrives as version %d, the newest is %d", uid, newest[uid], a.GetVersion())
		}
	}
	events := 0
	read(t, s, wirev1.Class_CLASS_EVENTS, 1, func(_ Frame, _ uint64, r *wirev1.Record) {
		if events++; r.GetEvent().GetType() != "fake.happened" {
			t.Errorf("%v", r)
		}
	})
	if events != 10 {
		t.Errorf("%d events", events)
	}
	// A last seen that is behind is brought up to date, with the checkpoints.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	m.applied[assets] = 78
	var to string
	apply := o.Apply
	o.Apply = func(f Frame) error {
		for _, c := range f.Checkpoints {
			to = c.Value
		}
		return apply(f)
	}
	s = open(t, o)
	if to != "to 80" {
		t.Errorf("the checkpoint is %q", to)
	}
	appendAll(t, s, "new")
}
