package spool

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// memory is a last seen that a test can look into.
type memory struct {
	mu      sync.Mutex
	newest  map[string]*wirev1.AssetVersion
	applied map[wirev1.Class]uint64
}

func newMemory() *memory {
	return &memory{newest: make(map[string]*wirev1.AssetVersion), applied: make(map[wirev1.Class]uint64)}
}

func (m *memory) options(o Options) Options {
	o.Apply = func(f Frame) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		records, err := f.Records()
		for _, r := range records {
			if a := r.GetAsset(); a != nil {
				m.newest[a.GetUid()] = a
			}
		}
		m.applied[f.Class] = f.Last
		return err
	}
	o.Applied = func(_ string, class wirev1.Class) (uint64, error) { return m.applied[class], nil }
	o.Recall = func(r *wirev1.Record) (*wirev1.Record, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if a := m.newest[r.GetAsset().GetUid()]; a.GetVersion() == r.GetAsset().GetVersion() {
			return &wirev1.Record{Body: &wirev1.Record_Asset{Asset: a}}, nil
		}
		return nil, nil
	}
	return o
}

func version(uid string, n int) *wirev1.Record {
	return &wirev1.Record{Body: &wirev1.Record_Asset{Asset: &wirev1.AssetVersion{
		Uid: uid, Version: uint64(n), ObservedAt: int64(1000 + n), Document: []byte(strings.Repeat(fmt.Sprint(n*7919), 20)),
		RemovedRelations: []*wirev1.Relation{{Kind: "on", Type: "t", Uid: fmt.Sprint(n)}},
	}}}
}

func appendOne(t testing.TB, s *Spool, class wirev1.Class, r ...*wirev1.Record) {
	t.Helper()
	if err := s.Append(t.Context(), class, r); err != nil {
		t.Fatal(err)
	}
}

// TestGivesUpTheOldest lets one asset change over and over, and others once.
func TestGivesUpTheOldest(t *testing.T) {
	m := newMemory()
	dir := t.TempDir()
	o := m.options(Options{Dir: dir, MaxBytes: 16 << 10, SegmentBytes: 1 << 10})
	s := open(t, o)
	const once = 20
	n := 0
	for i := range once {
		n++
		appendOne(t, s, assets, version(fmt.Sprint("once", i), n))
	}
	for range 400 {
		n++
		appendOne(t, s, assets, version("often", n))
		if st := s.Stat()[0]; st.Bytes > o.MaxBytes/8*5 {
			t.Fatalf("%d bytes", st.Bytes)
		}
	}
	check := func() {
		t.Helper()
		var shipped []*wirev1.AssetVersion
		var lost, ended int
		read(t, s, assets, 1, func(_ Frame, seq uint64, r *wirev1.Record) {
			if g := r.GetGap(); g != nil {
				if g.GetReason() != wirev1.Gap_REASON_BUDGET || g.GetLastSeq() != seq || g.GetFrom() == 0 || g.GetTo() < g.GetFrom() {
					t.Errorf("%d: %v", seq, g)
				}
				lost += int(g.GetVersions())
				ended += len(g.GetEnded())
				return
			}
			shipped = append(shipped, r.GetAsset())
		})
		if len(shipped)+lost != n || ended != lost {
			t.Errorf("%d were shipped and %d lost of %d, %d edges ended with the latter", len(shipped), lost, n, ended)
		}
		last := make(map[string]*wirev1.AssetVersion)
		for _, a := range shipped {
			last[a.GetUid()] = a
		}
		if len(last) != once+1 {
			t.Errorf("%d assets", len(last))
		}
		for uid, a := range last {
			if !proto.Equal(a, m.newest[uid]) {
				t.Errorf("%s arrives as %v", uid, a)
			}
		}
	}
	check()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, o)
	check()
	// Nothing is in doubt here, so that much becomes one.
	if g := gaps(t, s, 1); len(g) > 40 {
		t.Errorf("%d gaps", len(g))
	}
	if err := s.Ack(assets, s.Next(assets)-1); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return s.Stat()[0].Segments <= 1 })
}

// TestInDoubt gives up what was sent without an answer: whether the centre took
// it or not, what is sent instead is true.
func TestInDoubt(t *testing.T) {
	m := newMemory()
	s := open(t, m.options(Options{Dir: t.TempDir(), MaxBytes: 16 << 10, SegmentBytes: 1 << 10}))
	const frames = 30
	for n := 1; n <= frames; n++ {
		appendOne(t, s, assets, version("a", n))
	}
	taken := make(map[uint64]bool)
	read(t, s, assets, 1, func(f Frame, _ uint64, _ *wirev1.Record) { taken[f.Last] = true })
	for n := frames + 1; n <= 300; n++ {
		appendOne(t, s, assets, version("a", n))
	}
	if m := s.Stat()[0]; m.First != 1 {
		t.Fatalf("%+v", m)
	}
	// Of what may have been taken, each frame still ends where it did.
	for mark := uint64(0); mark <= frames; mark++ {
		lost, shipped := 0, 0
		read(t, s, assets, mark+1, func(f Frame, _ uint64, r *wirev1.Record) {
			if f.First <= mark {
				t.Fatalf("records %d to %d are shipped, but those up to %d were taken", f.First, f.Last, mark)
			}
			if g := r.GetGap(); g != nil {
				lost += int(g.GetVersions())
			} else {
				shipped++
			}
		})
		if lost+shipped != 300-int(mark) {
			t.Fatalf("taken %d, lost %d, shipped %d", mark, lost, shipped)
		}
	}
}

// TestDiesWhileGivingUp has the file of stubs in place and the segments that went
// into it not removed.
func TestDiesWhileGivingUp(t *testing.T) {
	m := newMemory()
	dir := t.TempDir()
	o := m.options(Options{Dir: dir, MaxBytes: 16 << 10, SegmentBytes: 1 << 10})
	s := open(t, o)
	saved := make(map[string][]byte)
	for n := 1; n <= 200; n++ {
		appendOne(t, s, assets, version("a", n))
		entries, err := os.ReadDir(filepath.Join(dir, "assets"))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			file := filepath.Join(dir, "assets", e.Name())
			if _, ok := saved[file]; !ok && strings.HasSuffix(file, segmentSuffix) {
				if saved[file], err = os.ReadFile(file); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	back := 0
	for file, data := range saved {
		if _, err := os.Stat(file); err == nil {
			continue
		}
		back++
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if back == 0 {
		t.Fatal("nothing was given up")
	}
	s = open(t, o)
	var lost, shipped int
	read(t, s, assets, 1, func(_ Frame, _ uint64, r *wirev1.Record) {
		if g := r.GetGap(); g != nil {
			lost += int(g.GetVersions())
		} else {
			shipped++
		}
	})
	if lost+shipped != 200 {
		t.Fatalf("%d lost, %d shipped", lost, shipped)
	}
}

func TestEventsAreCounted(t *testing.T) {
	const events = wirev1.Class_CLASS_EVENTS
	s := open(t, Options{Dir: t.TempDir(), MaxBytes: 16 << 10, SegmentBytes: 1 << 10})
	const all = 300
	for i := range all {
		appendOne(t, s, events,
			&wirev1.Record{Body: &wirev1.Record_Event{Event: &wirev1.Event{Id: fmt.Sprint(i), Time: int64(i + 1)}}},
			&wirev1.Record{Body: &wirev1.Record_Usage{Usage: &wirev1.Usage{AssetUid: fmt.Sprint(i), Start: int64(i + 1), End: int64(i + 2)}}})
	}
	var e, u, gaps int
	read(t, s, events, 1, func(_ Frame, _ uint64, r *wirev1.Record) {
		if g := r.GetGap(); g != nil {
			gaps++
			e, u = e+int(g.GetEvents()), u+int(g.GetUsage())
			if g.GetFrom() != 1 || g.GetTo() != int64(g.GetEvents()+1) {
				t.Errorf("%v", g)
			}
		} else if r.GetEvent() != nil {
			e++
		} else {
			u++
		}
	})
	if e != all || u != all || gaps != 1 {
		t.Errorf("%d events, %d usages, %d gaps", e, u, gaps)
	}
}

func TestLargerThanTheBudget(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), MaxBytes: 16 << 10})
	r := record("x")
	for i := range 4000 {
		r.GetAsset().Document = fmt.Appendf(r.GetAsset().Document, "%x", i*i*7919)
	}
	if err := s.Append(t.Context(), assets, []*wirev1.Record{r}); err == nil || !strings.Contains(err.Error(), "spool.max_bytes") {
		t.Fatal(err)
	}
	appendAll(t, s, "y")
	equal(t, uids(t, s, 1), []string{"y"})
}
