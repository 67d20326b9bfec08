package collect

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/agent/spool"
	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
	"github.com/reeve-cloud/reeve/plugins/fake"
)

// appended is a spool that keeps what is appended.
type appended struct {
	Spool
	records []*wirev1.Record
}

func (a *appended) Append(ctx context.Context, class wirev1.Class, records []*wirev1.Record, c ...spool.Checkpoint) error {
	a.records = append(a.records, records...)
	return a.Spool.Append(ctx, class, records, c...)
}

// newHeld returns what records the scope f/s, with holdings, and what it appends.
func newHeld(t *testing.T) (*sink, *appended) {
	t.Helper()
	a := newAgent(t)
	a.sources = []Source{}
	a.start()
	logger := slog.New(slog.DiscardHandler)
	h, err := NewHoldings(a.seen, []string{"f"}, logger)
	if err != nil {
		t.Fatal(err)
	}
	to := &appended{Spool: a.spool}
	s := &sink{
		Recorder: &Recorder{Seen: a.seen, Spool: to, Clock: hlc.New(0), Logger: logger, Holdings: h},
		id:       scopeID{"f", "s"}, logger: logger, volatile: func(string) document.Paths { return nil },
	}
	if s.holding, err = h.claim("f/s"); err != nil {
		t.Fatal(err)
	}
	return s, to
}

// grant has the aggregator answer all claims.
func (s *sink) grant(t *testing.T, g *wirev1.ScopeGrant) {
	t.Helper()
	g.Scope = "f/s"
	if _, _, err := s.Holdings.Granted(s.Holdings.Claims(), []*wirev1.ScopeGrant{g}); err != nil {
		t.Fatal(err)
	}
}

// sweepOnce lists and keeps assets, by their uids.
func (s *sink) sweepOnce(t *testing.T, listed, kept []string) {
	t.Helper()
	w, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, uid := range listed {
		if err := w.Upsert(t.Context(), plugin.Observation{Key: plugin.Key{Type: fake.TypeThing, UID: uid}, Document: []byte(`{"a":1}`)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, uid := range kept {
		if err := w.Keep(t.Context(), plugin.Key{Type: fake.TypeThing, UID: uid}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Commit(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
}

// gone asks whether an asset that is not known is gone.
func (s *sink) gone(t *testing.T) bool {
	t.Helper()
	gone, err := s.Gone("f/s", fake.TypeThing, []*wirev1.Unlisted{{Uid: "unknown", Version: 1}})
	if err != nil {
		t.Fatal(err)
	}
	return len(gone) > 0
}

// TestRefusedKnowsTooLittle: an agent whose scope was another's knows not all of it, also
// where it has it again in the same epoch: the aggregator's registry was set up from a
// backup.
func TestRefusedKnowsTooLittle(t *testing.T) {
	s, _ := newHeld(t)
	s.grant(t, &wirev1.ScopeGrant{Epoch: 1})
	s.sweepOnce(t, []string{"a"}, nil)
	if !s.gone(t) {
		t.Error("the holder that has listed all says nothing of what is not there")
	}
	s.grant(t, &wirev1.ScopeGrant{Holder: "another"})
	s.grant(t, &wirev1.ScopeGrant{Epoch: 1})
	if s.gone(t) {
		t.Error("what another agent may have recorded is gone")
	}
	if st, err := s.Seen.Scope("f/s"); err != nil || !st.Completed.IsZero() || st.Epoch != 1 {
		t.Errorf("stored is %+v, %v", st, err)
	}
	s.sweepOnce(t, []string{"a"}, nil)
	if !s.gone(t) {
		t.Error("another listing was complete, and it says nothing")
	}
}

// TestKeptAndUnknown: what is there and not known is not gone.
func TestKeptAndUnknown(t *testing.T) {
	for name, listed := range map[string][2][]string{
		"kept":    {{"a"}, {"b"}},
		"refused": {{"a", "b\xff"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newHeld(t)
			s.sweepOnce(t, listed[0], listed[1])
			if c := s.Holdings.Claims(); len(c) != 1 || c[0].GetComplete() {
				t.Errorf("it says that it knows all: %v", c)
			}
			// The aggregator has seeded what it has: what is unknown now, it has not.
			s.grant(t, &wirev1.ScopeGrant{Epoch: 1})
			s.sweepOnce(t, listed[0], listed[1])
			if c := s.Holdings.Claims(); !c[0].GetComplete() || !s.gone(t) {
				t.Errorf("it does not know all: %v", c)
			}
		})
	}
}

// TestAppliedDeletes: what was deleted while a listing was under way is known to be gone.
func TestAppliedDeletes(t *testing.T) {
	s, _ := newHeld(t)
	w, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	k := plugin.Key{Type: fake.TypeThing, UID: "a"}
	if err := w.Upsert(t.Context(), plugin.Observation{Key: k, Document: []byte(`{}`)}); err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(t.Context(), "", plugin.Fact{Delete: &k}); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if !s.Holdings.Claims()[0].GetComplete() {
		t.Error("the listing is not complete")
	}
}

// TestSentAgainInTheEpochOfNow: what the holder sends again is not refused for when it was
// recorded, or for where it was seeded from.
func TestSentAgainInTheEpochOfNow(t *testing.T) {
	s, to := newHeld(t)
	s.sweepOnce(t, []string{"a", "b"}, nil) // before the aggregator's word
	s.grant(t, &wirev1.ScopeGrant{Epoch: 7})
	l, err := s.Listing(t.Context(), "f/s", fake.TypeThing, "", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	epochs := func(what string, want int, send func() (int, error)) {
		t.Helper()
		to.records = nil
		if n, err := send(); err != nil || n != want || len(to.records) != want {
			t.Errorf("%s: %d, %v", what, n, err)
		}
		for _, r := range to.records {
			if r.GetAsset().GetEpoch() != 7 {
				t.Errorf("%s: %v", what, r)
			}
		}
	}
	epochs("missing, and corrected", 2, func() (int, error) {
		return s.Restore(t.Context(), l, []string{"a", "b"}, []uint64{0, uint64(s.Clock.Next())})
	})
	s.grant(t, &wirev1.ScopeGrant{Epoch: 7})
	epochs("all", 2, func() (int, error) { return s.Resend(t.Context()) })

	// Of a scope that another one holds, it vouches for nothing.
	s.grant(t, &wirev1.ScopeGrant{Holder: "another"})
	s.sweepOnce(t, []string{"c"}, nil)
	if h := s.Holdings.heldEpoch("f/s"); h != 0 {
		t.Errorf("it holds the scope in epoch %d", h)
	}
}

// TestSeedsAreWaitedFor: scopes are seeded one after the other, and none is collected
// before its turn for want of patience; where a seed fails, none waits for ever.
func TestSeedsAreWaitedFor(t *testing.T) {
	s, _ := newHeld(t)
	h := s.Holdings
	h.patience = 0
	second, err := h.claim("f/second")
	if err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	begins := func(g *holding) bool {
		held, done, err := g.hold(over)
		if err == nil {
			done()
		}
		return held != nil
	}
	seeds, _, err := h.Granted(h.Claims(), []*wirev1.ScopeGrant{{Scope: "f/s", Epoch: 1, Seed: true}, {Scope: "f/second", Epoch: 1, Seed: true}})
	if err != nil || len(seeds) != 2 {
		t.Fatalf("the seeds are %v, %v", seeds, err)
	}
	ready := func(context.Context) error { return nil }
	failure := errors.New("cut")
	seed := func(g *wirev1.ScopeGrant, err error) error {
		return h.Seed(t.Context(), g, ready, func() ([]*wirev1.AssetVersion, error) {
			if begins(second) || g.GetScope() == "f/s" && begins(s.holding) {
				t.Error("it is collected before it is seeded")
			}
			return nil, err
		})
	}
	if err := seed(&wirev1.ScopeGrant{Scope: "f/s", Epoch: 1, Seed: true}, nil); err != nil || !begins(s.holding) {
		t.Errorf("the first is not collected: %v", err)
	}
	if err := seed(&wirev1.ScopeGrant{Scope: "f/second", Epoch: 1, Seed: true}, failure); !errors.Is(err, failure) {
		t.Error(err)
	}
	if !begins(second) {
		t.Error("a scope whose seed has failed waits on")
	}
	// The connection is lost while the first of two is seeded.
	if _, _, err := h.Granted(h.Claims(), []*wirev1.ScopeGrant{{Scope: "f/s", Epoch: 2, Seed: true}, {Scope: "f/second", Epoch: 2, Seed: true}}); err != nil {
		t.Fatal(err)
	}
	if err := seed(&wirev1.ScopeGrant{Scope: "f/s", Epoch: 2, Seed: true}, failure); !errors.Is(err, failure) {
		t.Error(err)
	}
	if !begins(second) || !begins(s.holding) {
		t.Error("scopes wait for a seed that does not come")
	}
}

// TestCollectorsThatDoNotEnd: a collector that goes on after it was told to end holds up
// the seeds of other scopes for a while and not for ever.
func TestCollectorsThatDoNotEnd(t *testing.T) {
	s, _ := newHeld(t)
	s.Holdings.patience, s.Holdings.stopWithin = 0, 0
	_, done, err := s.holding.hold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	s.grant(t, &wirev1.ScopeGrant{Epoch: 1, Seed: true})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err = s.Holdings.Seed(ctx, &wirev1.ScopeGrant{Scope: "f/s", Epoch: 1, Seed: true}, nil, nil)
	if err == nil || ctx.Err() != nil {
		t.Errorf("it waited for ever: %v", err)
	}
}
