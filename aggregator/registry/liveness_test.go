package registry

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

const spool = "00112233445566778899aabbccddeeff"

func enroll(t *testing.T, r *Registry, key string) Agent {
	t.Helper()
	token, secret, err := r.CreateJoinToken(t.Context(), admin, newToken("lab", 1))
	if err != nil {
		t.Fatal(err)
	}
	a, err := r.Enroll(t.Context(), Enrollment{
		TokenID: token.ID, Secret: secret, PublicKey: []byte(key), Hostname: "enrolled", Now: time.Now(),
		Issue: func(string, string) (time.Time, error) { return time.Now().Add(time.Hour), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// clock is one that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
	return c.t
}

func TestOverlappingSessions(t *testing.T) {
	c := newClock()
	r := open1(t, Options{now: c.now})
	id := enroll(t, r, "k").ID
	old, err := r.AgentConnected(t.Context(), id, Connection{Address: "192.0.2.1:1", Version: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	c.add(time.Second)
	young, err := r.AgentConnected(t.Context(), id, Connection{Address: "192.0.2.2:2", Version: "v2", Hostname: "renamed"})
	if err != nil {
		t.Fatal(err)
	}
	seen := c.add(time.Second)
	young.Backlog(17)

	old.Close()
	old.Close()
	a, err := r.Agent(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if !a.Connected || a.Address != "192.0.2.2:2" || a.Version != "v2" || a.Hostname != "renamed" || a.BacklogRecords != 17 ||
		!a.SeenTime.Equal(seen) {
		t.Errorf("while the young session is open: %+v", a)
	}
	young.Close()
	if l := r.Liveness(id); l.Connected || !l.SeenTime.Equal(seen) || l.Address != "192.0.2.2:2" {
		t.Errorf("after both: %+v", l)
	}
	// The other way round: the young one goes first.
	first, _ := r.AgentConnected(t.Context(), id, Connection{Address: "first"})
	second, _ := r.AgentConnected(t.Context(), id, Connection{Address: "second"})
	second.Close()
	if l := r.Liveness(id); !l.Connected || l.Address != "first" {
		t.Errorf("while the first session is open: %+v", l)
	}
	first.Close()
}

func TestLivenessSurvives(t *testing.T) {
	c := newClock()
	o := Options{now: c.now, flush: time.Hour}
	r := open1(t, o)
	id := enroll(t, r, "k").ID
	s, err := r.AgentConnected(t.Context(), id, Connection{Address: "192.0.2.1:1", Collectors: []string{"host"}})
	if err != nil {
		t.Fatal(err)
	}
	seen := c.add(time.Minute)
	s.Backlog(3)
	r = reopen(t, r, o) // with the session open
	l := r.Liveness(id)
	if l.Connected || !l.SeenTime.Equal(seen) || l.BacklogRecords != 3 || strings.Join(l.Collectors, " ") != "host" {
		t.Errorf("after a restart: %+v", l)
	}
	if all := r.AllLiveness(); len(all) != 1 {
		t.Errorf("all: %+v", all)
	}
}

func savedSeen(t *testing.T, r *Registry, id string) time.Time {
	t.Helper()
	items, err := r.store.scan(t.Context(), livenessKey(id), livenessKey(id), 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(items) == 0 {
		return time.Time{}
	}
	l, err := decode[Liveness](id, items[0].value)
	if err != nil {
		t.Fatal(err)
	}
	return l.SeenTime
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain for", what)
		}
	}
}

func TestLivenessIsSavedNowAndThen(t *testing.T) {
	c := newClock()
	r := open1(t, Options{now: c.now, flush: 20 * time.Millisecond})
	id := enroll(t, r, "k").ID
	s, err := r.AgentConnected(t.Context(), id, Connection{})
	if err != nil {
		t.Fatal(err)
	}
	seen := c.add(time.Minute)
	s.Seen()
	waitFor(t, "the save", func() bool { return savedSeen(t, r, id).Equal(seen) })
}

func TestLivenessIsSavedAtDisconnect(t *testing.T) {
	r := open1(t, Options{flush: time.Hour})
	id := enroll(t, r, "k").ID
	s, err := r.AgentConnected(t.Context(), id, Connection{})
	if err != nil {
		t.Fatal(err)
	}
	s.Seen()
	if !savedSeen(t, r, id).IsZero() {
		t.Error("saved at once")
	}
	s.Close()
	waitFor(t, "the save", func() bool { return !savedSeen(t, r, id).IsZero() })
}

func TestLivenessIsSavedAgainAfterAFullDisk(t *testing.T) {
	var mu sync.Mutex
	free := uint64(minFreeSpace)
	r := open1(t, Options{flush: time.Hour, freeSpace: func(string) (uint64, error) {
		mu.Lock()
		defer mu.Unlock()
		return free, nil
	}})
	id := enroll(t, r, "k").ID
	s, err := r.AgentConnected(t.Context(), id, Connection{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	mu.Lock()
	free = 0
	mu.Unlock()
	if err := r.liveness.save(); !errors.Is(err, ErrDiskFull) {
		t.Errorf("on a full disk: %v", err)
	}
	mu.Lock()
	free = minFreeSpace
	mu.Unlock()
	if err := r.liveness.save(); err != nil || savedSeen(t, r, id).IsZero() {
		t.Errorf("later: %v", err)
	}
}

func TestRevokedAgentStaysKnown(t *testing.T) {
	now := time.Now()
	r := open1(t, Options{flush: time.Millisecond, now: func() time.Time { return now }})
	ctx := t.Context()
	id := enroll(t, r, "k").ID
	s, err := r.AgentConnected(ctx, id, Connection{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := r.Store().Watch(AgentPrefix, r.Store().Revision())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	revoked := now.Add(time.Minute)
	if a, err := r.RevokeAgent(ctx, admin, id, revoked); err != nil || !a.Revoked() || !a.Connected {
		t.Fatalf("%+v, %v", a, err)
	}
	if events, err := w.Next(ctx); err != nil || events[0].Key != AgentPrefix+id {
		t.Errorf("watch: %+v, %v", events, err)
	}
	s.Close()
	if _, err := r.AgentConnected(ctx, id, Connection{}); !errors.Is(err, ErrAgentRevoked) {
		t.Errorf("a revoked agent connects: %v", err)
	}
	again, err := r.RevokeAgent(ctx, admin, id, revoked.Add(time.Hour))
	if err != nil || !again.RevokeTime.Equal(revoked) {
		t.Errorf("revoking again: %+v, %v", again, err)
	}
	if _, err := r.RevokeAgent(ctx, admin, "no-such", revoked); !errors.Is(err, ErrNotFound) {
		t.Errorf("revoking nobody: %v", err)
	}
	// What it brought must count as disconnected, also after a restart.
	r = reopen(t, r, Options{})
	if l, ok := r.AllLiveness()[id]; !ok || l.Connected || !l.SeenTime.Equal(now) {
		t.Errorf("liveness of a revoked agent: %+v", l)
	}
	if a, err := r.Agent(ctx, id); err != nil || !a.RevokeTime.Equal(revoked) {
		t.Errorf("after a restart: %+v, %v", a, err)
	}
}

func TestConcurrentSessions(t *testing.T) {
	r := open1(t, Options{flush: time.Millisecond})
	id := enroll(t, r, "k").ID
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 20 {
				s, err := r.AgentConnected(t.Context(), id, Connection{Address: "a"})
				if err != nil {
					t.Error(err)
					return
				}
				s.Backlog(1)
				if !r.Liveness(id).Connected {
					t.Error("not connected with an open session")
				}
				s.Close()
			}
		})
	}
	wg.Wait()
	if r.Liveness(id).Connected {
		t.Error("connected without a session")
	}
}

func TestWatermarksOnlyRise(t *testing.T) {
	r := open1(t, Options{})
	ctx := t.Context()
	assets, events := SpoolClass{spool, wirev1.Class_CLASS_ASSETS}, SpoolClass{spool, wirev1.Class_CLASS_EVENTS}
	before := r.store.Revision()
	for _, step := range []struct {
		set            map[SpoolClass]uint64
		assets, events uint64
	}{
		{map[SpoolClass]uint64{assets: 10, events: 5}, 10, 5},
		{map[SpoolClass]uint64{assets: 9, events: 6}, 10, 6},
		{map[SpoolClass]uint64{assets: 10}, 10, 6},
		{map[SpoolClass]uint64{assets: 1 << 63}, 1 << 63, 6},
		{nil, 1 << 63, 6},
	} {
		if err := r.SetWatermarks(ctx, step.set); err != nil {
			t.Fatal(err)
		}
		if a, e := r.Watermark(spool, assets.Class), r.Watermark(spool, events.Class); a != step.assets || e != step.events {
			t.Errorf("after %v: %d, %d", step.set, a, e)
		}
	}
	for _, bad := range []SpoolClass{{"../x", 1}, {spool, 0}, {spool, 99}} {
		err := r.SetWatermarks(ctx, map[SpoolClass]uint64{bad: 1, {spool, wirev1.Class_CLASS_CHARGES}: 1})
		if err == nil || len(r.Watermarks()) != 2 {
			t.Errorf("%v: %v, %v", bad, err, r.Watermarks())
		}
	}
	if r.store.Revision() != before {
		t.Error("watermarks move the revision")
	}
	r = reopen(t, r, Options{})
	if got := fmt.Sprint(r.Watermarks()[assets], r.Watermarks()[events], len(r.Watermarks())); got != "9223372036854775808 6 2" {
		t.Errorf("after a restart: %s", got)
	}
}

func TestConcurrentWatermarks(t *testing.T) {
	r := open1(t, Options{})
	key := SpoolClass{spool, wirev1.Class_CLASS_ASSETS}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				if err := r.SetWatermarks(t.Context(), map[SpoolClass]uint64{key: uint64(i*20 + j + 1)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	r = reopen(t, r, Options{})
	if got := r.Watermarks()[key]; got != 160 {
		t.Errorf("watermark %d", got)
	}
}

func TestManyWatermarksInOneTransaction(t *testing.T) {
	r := open1(t, Options{})
	seqs := make(map[SpoolClass]uint64)
	for i := range 5000 {
		seqs[SpoolClass{fmt.Sprintf("%032x", i), wirev1.Class_CLASS_ASSETS}] = uint64(i + 1)
	}
	if err := r.SetWatermarks(t.Context(), seqs); err != nil {
		t.Fatal(err)
	}
	r = reopen(t, r, Options{})
	if got := len(r.Watermarks()); got != len(seqs) {
		t.Errorf("%d watermarks after a restart", got)
	}
}

func TestCorruptWatermarkAndLivenessAreReported(t *testing.T) {
	r := open1(t, Options{})
	one, two := SpoolClass{spool, 1}, SpoolClass{spool, 2}
	if err := r.SetWatermarks(t.Context(), map[SpoolClass]uint64{one: 1, two: 2}); err != nil {
		t.Fatal(err)
	}
	key, err := watermarkKey(one)
	if err != nil {
		t.Fatal(err)
	}
	damage(t, r, key, "xyz")
	damage(t, r, livenessKey("some-agent"), "xyz")
	var log strings.Builder
	r = reopen(t, r, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if got := r.Watermarks(); len(got) != 1 || got[two] != 2 {
		t.Errorf("watermarks: %v", got)
	}
	if !strings.Contains(log.String(), spool) || !strings.Contains(log.String(), "some-agent") {
		t.Errorf("log: %s", log.String())
	}
}

// TestTrimWatermarks forgets spools of which nothing comes any more. A mark that a
// version before wrote has no time: it counts from when it is looked at first.
func TestTrimWatermarks(t *testing.T) {
	clock := time.Unix(1_800_000_000, 0)
	o := Options{now: func() time.Time { return clock }}
	r := open1(t, o)
	ctx := t.Context()
	spool := func(n int) SpoolClass { return SpoolClass{fmt.Sprintf("%032x", n), wirev1.Class_CLASS_ASSETS} }
	events := SpoolClass{spool(1).Spool, wirev1.Class_CLASS_EVENTS}
	set := func(marks map[SpoolClass]uint64) {
		t.Helper()
		if err := r.SetWatermarks(ctx, marks); err != nil {
			t.Fatal(err)
		}
	}
	set(map[SpoolClass]uint64{spool(1): 1, events: 2, spool(2): 3})
	key, err := watermarkKey(spool(3))
	if err != nil {
		t.Fatal(err)
	}
	damage(t, r, key, "\x00\x00\x00\x00\x00\x00\x00\x04")
	r = reopen(t, r, o)
	if len(r.Watermarks()) != 4 || r.Watermark(spool(3).Spool, spool(3).Class) != 4 {
		t.Fatalf("%v", r.Watermarks())
	}
	trim := func(keep time.Duration, want int) {
		t.Helper()
		before := len(r.Watermarks())
		n, err := r.TrimWatermarks(ctx, clock.Add(-keep))
		if err != nil || len(r.Watermarks()) != want || int(n) != before-want {
			t.Errorf("%d forgotten, %d left, want %d: %v", n, len(r.Watermarks()), want, err)
		}
		r = reopen(t, r, o)
		if len(r.Watermarks()) != want {
			t.Errorf("%d on disk, want %d", len(r.Watermarks()), want)
		}
	}
	trim(time.Hour, 4)
	clock = clock.Add(2 * time.Hour)
	// One log of a spool that moves keeps the others of it.
	set(map[SpoolClass]uint64{spool(1): 10})
	trim(3*time.Hour, 4)
	trim(time.Hour, 2)
	if r.Watermark(events.Spool, events.Class) != 2 || r.Watermark(spool(1).Spool, spool(1).Class) != 10 {
		t.Errorf("%v", r.Watermarks())
	}
}
