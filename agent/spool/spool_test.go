package spool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

const assets = wirev1.Class_CLASS_ASSETS

func record(uid string) *wirev1.Record {
	return &wirev1.Record{Body: &wirev1.Record_Asset{Asset: &wirev1.AssetVersion{Uid: uid}}}
}

func open(t testing.TB, o Options) *Spool {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func appendAll(t testing.TB, s *Spool, uids ...string) {
	t.Helper()
	for _, uid := range uids {
		if err := s.Append(t.Context(), assets, []*wirev1.Record{record(uid)}); err != nil {
			t.Fatal(err)
		}
	}
}

// uids reads the log from seq to its end.
func uids(t testing.TB, s *Spool, seq uint64) (got []string) {
	t.Helper()
	read(t, s, assets, seq, func(f Frame, seq uint64, r *wirev1.Record) {
		if r.GetGap() == nil {
			got = append(got, r.GetAsset().GetUid())
		}
	})
	return got
}

// gaps returns the gaps among what is shipped from seq on.
func gaps(t testing.TB, s *Spool, seq uint64) (got []*wirev1.Gap) {
	t.Helper()
	read(t, s, assets, seq, func(f Frame, seq uint64, r *wirev1.Record) {
		if g := r.GetGap(); g != nil {
			got = append(got, g)
		}
	})
	return got
}

// read visits what is shipped from seq to the end of the log.
func read(t testing.TB, s *Spool, class wirev1.Class, seq uint64, visit func(Frame, uint64, *wirev1.Record)) {
	t.Helper()
	r := s.Reader(class, seq)
	defer r.Close()
	for r.seq < s.Next(class) {
		f, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		rs, err := f.Records()
		if err != nil {
			t.Fatal(err)
		}
		if b, err := wire.DecodeBatch(f.Batch); err != nil || b.GetFirstSeq() != f.First || wire.LastSeq(b) != f.Last ||
			len(rs) != int(b.GetCount()) {
			t.Fatalf("frame of %d to %d with %d records: %v", f.First, f.Last, len(rs), err)
		}
		for i, record := range rs {
			if f.First+uint64(i) >= seq {
				visit(f, f.First+uint64(i), record)
			}
		}
	}
}

func names(from, to int) []string {
	var s []string
	for i := from; i <= to; i++ {
		s = append(s, fmt.Sprint(i))
	}
	return s
}

func equal(t *testing.T, got, want []string) {
	t.Helper()
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func TestAppendReadReopen(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir, SegmentBytes: 300})
	appendAll(t, s, names(1, 20)...)
	equal(t, uids(t, s, 1), names(1, 20))
	equal(t, uids(t, s, 15), names(15, 20))
	id := s.ID()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Append(t.Context(), assets, []*wirev1.Record{record("x")}); !errors.Is(err, ErrClosed) {
		t.Fatalf("append to a closed spool: %v", err)
	}
	s = open(t, Options{Dir: dir, SegmentBytes: 300})
	if s.ID() != id || s.Next(assets) != 21 {
		t.Fatalf("reopened: id %s (was %s), next %d", s.ID(), id, s.Next(assets))
	}
	appendAll(t, s, "21")
	equal(t, uids(t, s, 1), names(1, 21))
}

func TestAckFreesSpace(t *testing.T) {
	dir := t.TempDir()
	synced := 0
	s := open(t, Options{Dir: dir, SegmentBytes: 300, BeforeTrim: func() error { synced++; return nil }})
	appendAll(t, s, names(1, 20)...)
	before := s.Stat()[0]
	if err := s.Ack(assets, 10); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return s.Stat()[0].Segments < before.Segments })
	st := s.Stat()[0]
	if st.First > 11 || st.Waiting != 10 || synced == 0 {
		t.Fatalf("after ack of 10: %+v, %d syncs", st, synced)
	}
	equal(t, uids(t, s, 11), names(11, 20))
	if err := s.Ack(assets, 21); err == nil {
		t.Fatal("an acknowledgement of what was never written was accepted")
	}
	// A reader that was left behind goes on where there is something left.
	if f, err := s.Reader(assets, 1).Next(t.Context()); err != nil || f.First != st.First {
		t.Fatalf("%d, %v", f.First, err)
	}
}

func TestSegmentsStayIfTheyCannotBeStoredElsewhere(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), SegmentBytes: 300, BeforeTrim: func() error { return errors.New("disk") }})
	appendAll(t, s, names(1, 20)...)
	before := s.Stat()[0].Segments
	if err := s.Ack(assets, 20); err != nil {
		t.Fatal(err)
	}
	appendAll(t, s, "21") // the writer has passed the acknowledgement then
	if got := s.Stat()[0].Segments; got < before {
		t.Fatalf("%d segments, %d before", got, before)
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("did not happen")
}

// TestWaitingIsKnownLater looks at spools that nobody has open, and opens them again.
func TestWaitingIsKnownLater(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	appendAll(t, s, names(1, 9)...)
	if err := s.Ack(assets, 7); err != nil {
		t.Fatal(err)
	}
	waiting := func(want uint64) {
		t.Helper()
		_, stats, err := Inspect(dir, nil)
		if err != nil || stats[0].Waiting != want {
			t.Errorf("%d records wait by the looks of it, want %d: %v", stats[0].Waiting, want, err)
		}
		s := open(t, Options{Dir: dir})
		if got := s.Stat()[0].Waiting; got != want || s.Acked(assets) != 9-want {
			t.Errorf("%d records wait in the opened one, want %d", got, want)
		}
		equal(t, uids(t, s, 8), names(8, 9))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	waiting(2)
	file := filepath.Join(dir, "assets", ackedFile)
	for content, want := range map[string]uint64{
		string(encodeAcked(9)): 0, string(encodeAcked(8)): 1, string(encodeAcked(10)): 0, "": 9, "reeve-acked 1 7": 9,
		strings.Replace(string(encodeAcked(5)), "5", "6", 1): 9,
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		waiting(want)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	waiting(9)
}

func TestReaderWaits(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	r := s.Reader(assets, 1)
	defer r.Close()
	got := make(chan Frame)
	go func() {
		f, err := r.Next(t.Context())
		if err != nil {
			t.Error(err)
		}
		got <- f
	}()
	appendAll(t, s, "a")
	if f := <-got; f.First != 1 || f.Last != 1 {
		t.Fatalf("%+v", f)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("a cancelled wait: %v", err)
	}
}

func TestConcurrentAppendsShareFrames(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			if err := s.Append(t.Context(), assets, []*wirev1.Record{record(fmt.Sprint(i))}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	seen := make(map[string]bool)
	for _, uid := range uids(t, s, 1) {
		seen[uid] = true
	}
	if len(seen) != 200 || s.Next(assets) != 201 {
		t.Fatalf("%d distinct records, next %d", len(seen), s.Next(assets))
	}
}

func TestOneProcessOnly(t *testing.T) {
	dir := t.TempDir()
	open(t, Options{Dir: dir})
	if _, err := Open(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Fatalf("a second opening: %v", err)
	}
}

func TestRedo(t *testing.T) {
	dir := t.TempDir()
	var applied uint64
	var checkpoints []Checkpoint
	o := Options{Dir: dir,
		Applied: func(_ string, class wirev1.Class) (uint64, error) {
			if class != assets {
				return 0, nil
			}
			return applied, nil
		},
		Apply: func(f Frame) error {
			if f.Class == assets && f.First != applied+1 {
				return fmt.Errorf("record %d after %d", f.First, applied)
			}
			applied = f.Last
			checkpoints = append(checkpoints, f.Checkpoints...)
			return nil
		}}
	s := open(t, o)
	if err := s.Append(t.Context(), assets, []*wirev1.Record{record("a"), record("b")}, Checkpoint{"scope", "7"}); err != nil {
		t.Fatal(err)
	}
	if applied != 2 || len(checkpoints) != 1 {
		t.Fatalf("applied %d, %v", applied, checkpoints)
	}
	appendAll(t, s, "c")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// The agent died before it could apply the last two frames.
	applied, checkpoints = 0, nil
	s = open(t, o)
	if applied != 3 || len(checkpoints) != 1 || checkpoints[0].Value != "7" {
		t.Fatalf("after reopening: applied %d, %v", applied, checkpoints)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// What was applied and is not there any more is said to be lost, and its
	// numbers are not given again.
	applied = 9
	var damage []Damage
	o.Damaged = func(d Damage) error { damage = append(damage, d); return nil }
	s = open(t, o)
	if s.Next(assets) != 10 || len(damage) != 1 || damage[0].First != 4 || damage[0].Records != 6 {
		t.Fatalf("next %d, damage %+v", s.Next(assets), damage)
	}
	if got := gaps(t, s, 4); len(got) != 1 || got[0].GetUnknown() != 6 || got[0].GetFirstSeq() != 4 || got[0].GetLastSeq() != 9 {
		t.Fatalf("%v", got)
	}
}

// TestCrash cuts and spoils the last frame at every byte: all that was appended
// before must be there, and the spool must go on.
func TestCrash(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	appendAll(t, s, "1", "2", "3")
	size := s.Stat()[0].Bytes
	appendAll(t, s, "4")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "assets", "00000000000000000001.seg")
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	check := func(data []byte) {
		t.Helper()
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, Options{Dir: dir})
		appendAll(t, s, "5")
		equal(t, uids(t, s, 1), []string{"1", "2", "3", "5"})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for n := size; n < int64(len(whole)); n++ {
		check(whole[:n])
	}
	for n := size; n < int64(len(whole)); n += 7 {
		spoiled := append([]byte(nil), whole...)
		spoiled[n] ^= 0xff
		if n >= size+4 && n < size+12 {
			continue // the lengths: the frame then seems to end elsewhere
		}
		check(spoiled)
	}
}

func TestInspect(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir, SegmentBytes: 300})
	appendAll(t, s, names(1, 9)...)
	n := 0
	id, stats, err := Inspect(dir, func(f Frame) error { n += int(f.Last - f.First + 1); return nil })
	if err != nil || id != s.ID() || n != 9 || stats[0].Next != 10 {
		t.Fatalf("%s %d %+v %v", id, n, stats, err)
	}
	if _, _, err := Inspect(t.TempDir(), nil); err == nil {
		t.Fatal("an empty directory passed for a spool")
	}
}

func FuzzSegment(f *testing.F) {
	dir := f.TempDir()
	s := open(f, Options{Dir: dir})
	appendAll(f, s, "1", "2")
	data, err := os.ReadFile(filepath.Join(dir, "assets", "00000000000000000001.seg"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, "assets"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "assets", "00000000000000000001.seg"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(Options{Dir: dir})
		if err != nil {
			return
		}
		defer s.Close()
		appendAll(t, s, "new")
	})
}

func BenchmarkAppend(b *testing.B) {
	s := open(b, Options{Dir: b.TempDir(), MaxBytes: 1 << 40})
	rs := make([]*wirev1.Record, 256)
	for i := range rs {
		rs[i] = &wirev1.Record{Body: &wirev1.Record_Asset{Asset: &wirev1.AssetVersion{Uid: fmt.Sprint(i),
			Document: []byte(strings.Repeat(fmt.Sprintf(`{"key%d":"value"}`, i), 50))}}}
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Append(b.Context(), assets, rs); err != nil {
			b.Fatal(err)
		}
	}
}
