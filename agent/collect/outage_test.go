package collect

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/reeve-cloud/reeve/agent/lastseen"
	"github.com/reeve-cloud/reeve/agent/spool"
	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// budget is the spool's: far too little.
const budget = 128 << 10

var seed = flag.Uint64("seed", 0, "seed of the outages, to repeat one")

// site is a recorder over real stores, with a small budget, an aggregator that
// takes batches as the real one does, and the memory of both sides.
type site struct {
	t    *testing.T
	rand *rand.Rand
	dir  string

	seen  *lastseen.Store
	spool *spool.Spool
	clock *hlc.Clock
	sink  *sink

	// What was recorded: versions by their stamp, and how many events.
	versions map[uint64]*wirev1.AssetVersion
	events   int
	// ending says that nothing changes any more.
	ending bool

	// What the centre has.
	accepted, durable map[wirev1.Class]uint64
	queue             map[wirev1.Class][]*wirev1.Record
	taken             map[uint64]*wirev1.AssetVersion
	takenEvents       map[string]bool
	gaps              []*wirev1.Gap
}

func (s *site) open() {
	s.t.Helper()
	logger := slog.New(slog.DiscardHandler)
	var err error
	if s.seen, err = lastseen.Open(filepath.Join(s.dir, "seen"), logger); err != nil {
		s.t.Fatal(err)
	}
	if s.spool, err = spool.Open(spool.Options{
		Dir: filepath.Join(s.dir, "spool"), MaxBytes: budget, SegmentBytes: 8 << 10,
		Apply: s.seen.Apply, Applied: s.seen.Applied, BeforeTrim: s.seen.Sync, Recall: s.seen.Recall,
		Damaged: func(d spool.Damage) error { return fmt.Errorf("damage: %+v", d) },
	}); err != nil {
		s.t.Fatal(err)
	}
	if resend, err := s.seen.Adopt(s.spool.ID()); err != nil || resend {
		s.t.Fatal(resend, err)
	}
	stamp, err := s.seen.Clock()
	if err != nil {
		s.t.Fatal(err)
	}
	s.clock = hlc.New(stamp)
	s.sink = &sink{Recorder: &Recorder{Seen: s.seen, Spool: s, Clock: s.clock, Logger: logger}, id: scopeID{"c", "s"}, logger: logger,
		volatile: func(string) document.Paths { return nil }}
}

// Append notes what is recorded.
func (s *site) Append(ctx context.Context, class wirev1.Class, records []*wirev1.Record, c ...spool.Checkpoint) error {
	err := s.spool.Append(ctx, class, records, c...)
	if err != nil {
		return err
	}
	for _, r := range records {
		if a := r.GetAsset(); a != nil {
			s.versions[a.GetVersion()] = proto.CloneOf(a)
		} else {
			s.events++
		}
	}
	return nil
}

func (s *site) close() {
	s.t.Helper()
	if err := s.spool.Close(); err != nil {
		s.t.Fatal(err)
	}
	if err := s.seen.Close(); err != nil {
		s.t.Fatal(err)
	}
}

// die goes on with a copy of what is on disk of the spool at this moment. Of last
// seen it takes what Close leaves: badger goes on writing by itself, so that a
// copy of that would be none of any moment.
func (s *site) die() {
	s.t.Helper()
	copied := filepath.Join(s.dir, "copied")
	for { // until no segment went away meanwhile
		err := os.CopyFS(copied, os.DirFS(filepath.Join(s.dir, "spool")))
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			s.t.Fatal(err)
		}
		if err := os.RemoveAll(copied); err != nil {
			s.t.Fatal(err)
		}
	}
	s.close()
	if err := errors.Join(os.RemoveAll(filepath.Join(s.dir, "spool")), os.Rename(copied, filepath.Join(s.dir, "spool"))); err != nil {
		s.t.Fatal(err)
	}
	s.open()
}

// work records some changes.
func (s *site) work() {
	s.t.Helper()
	var facts []plugin.Fact
	for range 1 + s.rand.IntN(20) {
		uid := fmt.Sprint(s.rand.IntN(60))
		if s.rand.IntN(2) == 0 {
			uid = fmt.Sprint(s.rand.IntN(5)) // some change more often
		}
		k := plugin.Key{Type: "fake.test.Thing", UID: uid}
		switch s.rand.IntN(8) {
		case 0:
			facts = append(facts, plugin.Fact{Delete: &k})
		case 1, 2:
			facts = append(facts, plugin.Fact{Event: &plugin.Event{ID: fmt.Sprint(s.events, len(facts), s.rand.Uint64()), Type: "t",
				Time: time.Now(), Message: fmt.Sprint(s.rand.Uint64())}})
		default:
			text := ""
			for range s.rand.IntN(30) {
				text += fmt.Sprintf("%x", s.rand.Uint64())
			}
			o := plugin.Observation{Key: k, Document: fmt.Appendf(nil, `{"n":%d,"text":%q}`, s.rand.Uint32(), text)}
			for range s.rand.IntN(3) {
				o.Relations = append(o.Relations, plugin.Relation{Kind: "on", To: plugin.Key{Type: "fake.test.Host", UID: fmt.Sprint(s.rand.IntN(4))}})
			}
			facts = append(facts, plugin.Fact{Upsert: &o})
		}
	}
	if err := s.sink.Apply(s.t.Context(), "", facts...); err != nil {
		s.t.Fatal(err)
	}
}

// session ships up to so many batches of a class, of which the aggregator makes
// some durable and acknowledges fewer.
func (s *site) session(class wirev1.Class, batches int) {
	s.t.Helper()
	if s.durable[class] > 0 {
		if err := s.spool.Ack(class, s.durable[class]); err != nil {
			s.t.Fatal(err)
		}
	}
	r := s.spool.Reader(class, s.durable[class]+1)
	defer r.Close()
	for range batches {
		if !s.waits(class) {
			return
		}
		f, err := r.Next(s.t.Context())
		if err != nil {
			s.t.Fatal(err)
		}
		s.take(class, f)
		if s.rand.IntN(3) == 0 {
			s.commit(class)
		}
		if s.rand.IntN(3) == 0 && s.durable[class] > 0 {
			if err := s.spool.Ack(class, s.durable[class]); err != nil {
				s.t.Fatal(err)
			}
		}
		if !s.ending && s.rand.IntN(4) == 0 {
			s.work()
		}
	}
}

// waits reports whether something is there that the aggregator has not taken.
func (s *site) waits(class wirev1.Class) bool { return s.accepted[class]+1 < s.spool.Next(class) }

// take does what ingest does with a batch.
func (s *site) take(class wirev1.Class, f spool.Frame) {
	s.t.Helper()
	b, err := wire.DecodeBatch(f.Batch)
	if err != nil {
		s.t.Fatal(err)
	}
	last := wire.LastSeq(b)
	if last <= s.accepted[class] {
		return
	}
	if b.GetFirstSeq() <= s.accepted[class] {
		s.t.Fatalf("records %d to %d, but those up to %d were taken", b.GetFirstSeq(), last, s.accepted[class])
	}
	records, err := wire.DecodeRecords(b)
	if err != nil {
		s.t.Fatal(err)
	}
	s.queue[class] = append(s.queue[class], records...)
	s.accepted[class] = last
}

// commit makes durable what was accepted.
func (s *site) commit(class wirev1.Class) {
	s.t.Helper()
	for _, record := range s.queue[class] {
		switch {
		case record.GetGap() != nil:
			s.gaps = append(s.gaps, record.GetGap())
		case record.GetEvent() != nil:
			if id := record.GetEvent().GetId(); s.takenEvents[id] {
				s.t.Errorf("event %s was taken twice", id)
			} else {
				s.takenEvents[id] = true
			}
		default:
			a := record.GetAsset()
			if s.taken[a.GetVersion()] != nil {
				s.t.Errorf("version %d was taken twice", a.GetVersion())
			}
			s.taken[a.GetVersion()] = a
		}
	}
	s.durable[class], s.queue[class] = s.accepted[class], nil
}

// forget is the aggregator's death: what it had not made durable is gone.
func (s *site) forget() {
	for class := range s.accepted {
		s.accepted[class], s.queue[class] = s.durable[class], nil
	}
}

// TestOutages has an agent change things, lose and find its aggregator, and die,
// with far too small a spool. In the end the centre knows the newest state of
// everything, and the gaps say exactly what it does not have.
func TestOutages(t *testing.T) {
	rounds := 2
	if testing.Short() || *seed != 0 {
		rounds = 1
	}
	for round := range rounds {
		n := *seed
		if n == 0 {
			n = uint64(time.Now().UnixNano())
		}
		t.Run(fmt.Sprint(round), func(t *testing.T) { outages(t, n) })
	}
}

func outages(t *testing.T, seed uint64) {
	t.Logf("-seed %d", seed)
	s := &site{
		t: t, rand: rand.New(rand.NewPCG(seed, 0)), dir: t.TempDir(),
		versions: make(map[uint64]*wirev1.AssetVersion),
		accepted: make(map[wirev1.Class]uint64), durable: make(map[wirev1.Class]uint64), queue: make(map[wirev1.Class][]*wirev1.Record),
		taken: make(map[uint64]*wirev1.AssetVersion), takenEvents: make(map[string]bool),
	}
	s.open()
	for range 8 {
		for range s.rand.IntN(100) {
			s.work()
			if s.rand.IntN(60) == 0 {
				s.die()
			}
			for _, st := range s.spool.Stat() {
				if st.Bytes > budget {
					t.Fatalf("%+v", st)
				}
			}
		}
		for range s.rand.IntN(4) {
			if s.rand.IntN(3) == 0 {
				s.forget()
			}
			for _, class := range spool.Classes {
				s.session(class, s.rand.IntN(40))
			}
			for range s.rand.IntN(30) {
				s.work()
			}
		}
		if s.rand.IntN(3) == 0 {
			if err := s.seen.Forget(s.spool.Acked(wirev1.Class_CLASS_ASSETS)); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.ending = true
	for _, class := range spool.Classes {
		for s.waits(class) {
			s.session(class, 1000)
		}
		s.commit(class)
	}
	s.close()
	s.check()
}

// check holds what the centre has against what was recorded.
func (s *site) check() {
	t := s.t
	var lost, lostEvents int
	for _, g := range s.gaps {
		lost += int(g.GetVersions())
		lostEvents += int(g.GetEvents())
		if g.GetUnknown() > 0 || g.GetReason() != wirev1.Gap_REASON_BUDGET || g.GetFrom() == 0 || g.GetFrom() > g.GetTo() {
			t.Errorf("%v", g)
		}
	}
	if len(s.taken)+lost != len(s.versions) || len(s.takenEvents)+lostEvents != s.events {
		t.Errorf("%d versions and %d events were recorded; taken were %d and %d, the gaps have %d and %d",
			len(s.versions), s.events, len(s.taken), len(s.takenEvents), lost, lostEvents)
	}
	if lost == 0 || lostEvents == 0 {
		t.Error("nothing was given up")
	}
	// Edges as the centre has them: of what is said of one, the newest holds.
	type word struct {
		version uint64
		there   bool
	}
	edges := make(map[string]word)
	say := func(a *wirev1.AssetVersion, list []*wirev1.Relation, there bool) {
		for _, r := range list {
			edge := fmt.Sprint(a.GetUid(), " ", r.GetKind(), " ", r.GetUid())
			if edges[edge].version <= a.GetVersion() {
				edges[edge] = word{a.GetVersion(), there}
			}
		}
	}
	newest, there := make(map[string]*wirev1.AssetVersion), make(map[string]*wirev1.AssetVersion)
	for _, stamp := range slices.Sorted(maps.Keys(s.versions)) {
		newest[s.versions[stamp].GetUid()] = s.versions[stamp]
	}
	for _, stamp := range slices.Sorted(maps.Keys(s.taken)) {
		a := s.taken[stamp]
		there[a.GetUid()] = a
		if !proto.Equal(a, s.versions[stamp]) {
			t.Errorf("version %d arrived as %v, recorded was %v", stamp, a, s.versions[stamp])
		}
		say(a, a.GetRemovedRelations(), false)
		say(a, a.GetRelations(), true)
	}
	for _, g := range s.gaps {
		for _, e := range g.GetEnded() {
			if s.taken[e.GetVersion()] != nil {
				t.Errorf("%v: that version was taken", e)
			}
			say(&wirev1.AssetVersion{Uid: e.GetUid(), Version: e.GetVersion()}, []*wirev1.Relation{e.GetRelation()}, false)
		}
	}
	held := make(map[string]bool)
	for uid, a := range newest {
		if !proto.Equal(a, there[uid]) {
			t.Errorf("%s is %v at the centre, it should be %v", uid, there[uid], a)
		}
		for _, r := range a.GetRelations() {
			held[fmt.Sprint(uid, " ", r.GetKind(), " ", r.GetUid())] = true
		}
	}
	for edge, w := range edges {
		if w.there != held[edge] {
			t.Errorf("edge %s: at the centre %v, in truth %v", edge, w.there, held[edge])
		}
	}
	t.Logf("%d versions of %d assets, %d given up; %d events, %d given up; %d gaps",
		len(s.versions), len(newest), lost, s.events, lostEvents, len(s.gaps))
}

// BenchmarkAppendFull appends to a spool that gives up as much as it takes.
func BenchmarkAppendFull(b *testing.B) {
	seen, err := lastseen.Open(b.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer seen.Close()
	sp, err := spool.Open(spool.Options{
		Dir: b.TempDir(), MaxBytes: 32 << 20, Apply: seen.Apply, Applied: seen.Applied, BeforeTrim: seen.Sync, Recall: seen.Recall,
	})
	if err != nil {
		b.Fatal(err)
	}
	defer sp.Close()
	clock, random := hlc.New(0), rand.New(rand.NewPCG(1, 1))
	const assets, frame = 20000, 256
	n := 0
	fill := func() []*wirev1.Record {
		var records []*wirev1.Record
		for range frame {
			n++
			text := ""
			for range 40 {
				text += fmt.Sprintf("%x", random.Uint64())
			}
			records = append(records, &wirev1.Record{Body: &wirev1.Record_Asset{Asset: &wirev1.AssetVersion{
				Type: "fake.test.Thing", Uid: fmt.Sprint(n % assets), Version: uint64(clock.Next()), Operation: wirev1.Operation_OPERATION_UPDATED,
				Scope: "c/s", Hash: make([]byte, 16), Document: fmt.Appendf(nil, `{"text":%q}`, text),
			}}})
		}
		return records
	}
	for sp.Stat()[0].GivenUp == 0 {
		if err := sp.Append(b.Context(), wirev1.Class_CLASS_ASSETS, fill()); err != nil {
			b.Fatal(err)
		}
	}
	var worst time.Duration
	for b.Loop() {
		b.StopTimer()
		records := fill()
		b.StartTimer()
		began := time.Now()
		if err := sp.Append(b.Context(), wirev1.Class_CLASS_ASSETS, records); err != nil {
			b.Fatal(err)
		}
		worst = max(worst, time.Since(began))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/frame, "ns/asset")
	b.ReportMetric(float64(worst.Milliseconds()), "ms-worst")
}
