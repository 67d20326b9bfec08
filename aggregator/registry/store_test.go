package registry

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestApplyAtRevisions(t *testing.T) {
	r := open1(t, Options{})
	s, ctx := r.store, t.Context()
	created, err := s.Apply(ctx, admin, Op{Action: "x", Key: "k", Value: []byte("1"), Revision: Absent})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(ctx, admin, Op{Action: "x", Key: "k", Value: []byte("2"), Revision: Absent}); !errors.Is(err, ErrConflict) {
		t.Errorf("creating what is there: %v", err)
	}
	changed, err := s.Apply(ctx, admin, Op{Action: "x", Key: "k", Value: []byte("2"), Revision: created})
	if err != nil || changed != created+1 {
		t.Fatalf("change: revision %d, %v", changed, err)
	}
	// All or nothing.
	_, err = s.Apply(ctx, admin,
		Op{Action: "x", Key: "other", Value: []byte("1"), Revision: Absent},
		Op{Action: "x", Key: "k", Revision: created})
	if !errors.Is(err, ErrConflict) {
		t.Errorf("deleting at an old revision: %v", err)
	}
	if _, err := s.Get(ctx, "other"); !errors.Is(err, ErrNotFound) {
		t.Errorf("half of a transaction: %v", err)
	}
	if s.Revision() != changed {
		t.Errorf("revision %d after failed changes, want %d", s.Revision(), changed)
	}

	r = reopen(t, r, Options{})
	s = r.store
	kv, err := s.Get(ctx, "k")
	if err != nil || string(kv.Value) != "2" || kv.CreateRevision != created || kv.ModRevision != changed {
		t.Errorf("after reopening: %+v, %v", kv, err)
	}
	deleted, err := s.Apply(ctx, admin, Op{Action: "x", Key: "k", Revision: changed})
	if err != nil || deleted != changed+1 {
		t.Errorf("delete: revision %d, %v", deleted, err)
	}
	if _, err := s.Apply(ctx, admin, Op{Action: "x", Key: "k", Revision: AnyRevision}); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleting what is not there: %v", err)
	}
}

func TestBadOpsAreRefused(t *testing.T) {
	r := open1(t, Options{})
	good := Op{Action: "x", Key: "k", Value: []byte("1")}
	for name, ops := range map[string][]Op{
		"none":      {},
		"no action": {{Key: "k", Value: []byte("1")}},
		"no key":    {{Action: "x", Value: []byte("1")}},
		"long key":  {{Action: "x", Key: strings.Repeat("k", maxKeyBytes+1), Value: []byte("1")}},
		"value":     {{Action: "x", Key: "k", Value: make([]byte, maxValueBytes+1)}},
		"twice":     {good, good},
		"revision":  {{Action: "x", Key: "k", Value: []byte("1"), Revision: -2}},
	} {
		if _, err := r.store.Apply(t.Context(), admin, ops...); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := r.store.Apply(t.Context(), Actor{}, good); err == nil {
		t.Error("without an actor: accepted")
	}
	// The largest transaction that is allowed fits in one of badger's.
	var ops []Op
	for i := range 2 {
		ops = append(ops, Op{Action: "x", Key: strconv.Itoa(i), Value: make([]byte, maxValueBytes)})
	}
	if _, err := r.store.Apply(t.Context(), admin, ops...); err != nil {
		t.Error(err)
	}
}

func TestConcurrentCompareAndSwapLosesNothing(t *testing.T) {
	r := open1(t, Options{})
	s, ctx := r.store, t.Context()
	put(t, r, "n", "0")
	const workers, times = 8, 25
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for done := 0; done < times; {
				kv, err := s.Get(ctx, "n")
				if err != nil {
					t.Error(err)
					return
				}
				n, _ := strconv.Atoi(string(kv.Value))
				_, err = s.Apply(ctx, admin, Op{Action: "x", Key: "n", Value: []byte(strconv.Itoa(n + 1)), Revision: kv.ModRevision})
				if err == nil {
					done++
				} else if !errors.Is(err, ErrConflict) {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	kv, err := s.Get(ctx, "n")
	if err != nil || string(kv.Value) != strconv.Itoa(workers*times) {
		t.Errorf("counter: %s, %v", kv.Value, err)
	}
	if s.Revision() != workers*times+1 {
		t.Errorf("revision %d", s.Revision())
	}
}

func TestList(t *testing.T) {
	r := open1(t, Options{})
	for _, k := range []string{"a/1", "a/2", "a/3", "b/1", "a"} {
		put(t, r, k, k)
	}
	for _, test := range []struct {
		prefix, after string
		limit         int
		want          string
	}{
		{"a/", "", 10, "a/1 a/2 a/3"},
		{"a/", "a/1", 10, "a/2 a/3"},
		{"a/", "a/1", 1, "a/2"},
		{"a/", "a/11", 10, "a/2 a/3"},
		{"a/", "b", 10, ""},
		{"", "", 10, "a a/1 a/2 a/3 b/1"},
	} {
		kvs, revision, err := r.store.List(t.Context(), test.prefix, test.after, test.limit)
		var keys []string
		for _, kv := range kvs {
			keys = append(keys, kv.Key)
		}
		if got := strings.Join(keys, " "); err != nil || got != test.want || revision != 5 {
			t.Errorf("%+v: %s at %d, %v", test, got, revision, err)
		}
	}
}

func TestWatchSeesChangesInOrder(t *testing.T) {
	r := open1(t, Options{})
	s, ctx := r.store, t.Context()
	first := put(t, r, "a/0", "old")
	w, err := s.Watch("a/", first)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	const workers, times = 4, 20
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			for j := range times {
				_, err := s.Apply(ctx, admin,
					Op{Action: "x", Key: fmt.Sprintf("a/%d", i), Value: []byte(strconv.Itoa(j)), Revision: AnyRevision},
					Op{Action: "x", Key: fmt.Sprintf("b/%d", i), Value: []byte("not watched"), Revision: AnyRevision})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	next := make(map[string]int)
	last := first
	for range workers * times {
		events, err := w.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(events) != 1 || events[0].Revision != last+1 {
			t.Fatalf("after revision %d: %+v", last, events)
		}
		e := events[0]
		last = e.Revision
		if string(e.Value) != strconv.Itoa(next[e.Key]) && e.Key != "a/0" {
			t.Fatalf("%s: value %s, want %d", e.Key, e.Value, next[e.Key])
		}
		next[e.Key]++
	}
	wg.Wait()
	if _, err := s.Apply(ctx, admin, Op{Action: "x", Key: "a/0", Revision: AnyRevision}); err != nil {
		t.Fatal(err)
	}
	events, err := w.Next(ctx)
	if err != nil || len(events) != 1 || events[0].Value != nil || events[0].Key != "a/0" {
		t.Errorf("deletion: %+v, %v", events, err)
	}

	// Who comes later may begin where a list was read.
	late, err := s.Watch("a/", last-1)
	if err != nil {
		t.Fatal(err)
	}
	for want := last; want <= last+1; want++ {
		if events, err := late.Next(ctx); err != nil || events[0].Revision != want {
			t.Errorf("late watcher: %+v, %v", events, err)
		}
	}
	late.Close()
	late.Close()
	if _, err := late.Next(ctx); !errors.Is(err, ErrWatcherClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestSlowWatcherIsCutOffAndBlocksNobody(t *testing.T) {
	r := open1(t, Options{})
	w, err := r.store.Watch("", 0)
	if err != nil {
		t.Fatal(err)
	}
	for range watchBuffer + 10 {
		put(t, r, "k", "v")
	}
	for i := range watchBuffer {
		if events, err := w.Next(t.Context()); err != nil || events[0].Revision != int64(i+1) {
			t.Fatalf("event %d: %+v, %v", i, events, err)
		}
	}
	if _, err := w.Next(t.Context()); !errors.Is(err, ErrSlowWatcher) {
		t.Errorf("after falling behind: %v", err)
	}
	// It comes back from where it was.
	if w, err = r.store.Watch("", watchBuffer); err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if events, err := w.Next(t.Context()); err != nil || events[0].Revision != watchBuffer+1 {
		t.Errorf("again: %+v, %v", events, err)
	}
}

func TestWatchFromTooLongAgo(t *testing.T) {
	r := open1(t, Options{})
	rev := put(t, r, "k", "v")
	r = reopen(t, r, Options{})
	if _, err := r.store.Watch("", rev-1); !errors.Is(err, ErrCompacted) {
		t.Errorf("before the store was opened: %v", err)
	}
	w, err := r.store.Watch("", rev)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	// The history is bounded in bytes.
	for range historyBytes/maxValueBytes + 2 {
		put(t, r, "k", strings.Repeat("x", maxValueBytes))
	}
	if r.store.watch.bytes > historyBytes {
		t.Errorf("history of %d bytes", r.store.watch.bytes)
	}
	if _, err := r.store.Watch("", rev); !errors.Is(err, ErrCompacted) {
		t.Errorf("beyond the history: %v", err)
	}
}

func TestAudit(t *testing.T) {
	clock := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	r := open1(t, Options{now: func() time.Time { return clock }})
	ctx := t.Context()
	token, secret, err := r.CreateJoinToken(ctx, admin, newToken("lab", 1))
	if err != nil {
		t.Fatal(err)
	}
	clock = clock.Add(time.Minute)
	if _, err := r.UseJoinToken(ctx, token.ID, secret, time.Now()); err != nil {
		t.Fatal(err)
	}
	clock = clock.Add(time.Minute)
	if err := r.DeleteJoinToken(ctx, admin, token.ID); err != nil {
		t.Fatal(err)
	}
	r = reopen(t, r, Options{})
	read := func(from, to time.Time) string {
		var lines []string
		for e, err := range r.store.Audit(ctx, from, to) {
			if err != nil {
				t.Error(err)
				continue
			}
			lines = append(lines, fmt.Sprint(e.Time.Minute(), " ", e.Actor, " ", e.Action, " ", e.Key, " ", e.Revision))
		}
		return strings.Join(lines, "\n")
	}
	key := JoinTokenPrefix + token.ID
	want := []string{
		"0 user:admin join_token.create " + key + " 1",
		"0 user:admin site.create sites/lab 1",
		"1 join-token:" + token.ID + " join_token.use " + key + " 2",
		"2 user:admin join_token.delete " + key + " 3",
	}
	if got := read(time.Time{}, time.Time{}); got != strings.Join(want, "\n") {
		t.Errorf("the whole trail:\n%s", got)
	}
	if got := read(clock.Add(-time.Minute), clock); got != want[2] {
		t.Errorf("one minute of it:\n%s", got)
	}
	// No secret, nor its hash, is in the trail.
	items, err := r.store.scan(ctx, []byte{spaceAudit}, []byte{spaceAudit}, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range items {
		if strings.Contains(string(item.value), secret) || strings.Contains(string(item.value), token.SecretHash) {
			t.Errorf("secret in the audit trail: %s", item.value)
		}
	}
	// A broken entry does not hide the others.
	damage(t, r, items[1].key, "broken")
	var good, bad int
	for _, err := range r.store.Audit(ctx, time.Time{}, time.Time{}) {
		switch {
		case err == nil:
			good++
		case errors.Is(err, ErrCorrupt):
			bad++
		default:
			t.Error(err)
		}
	}
	if good != 3 || bad != 1 {
		t.Errorf("%d good entries, %d bad", good, bad)
	}
}

// TestAuditPages reads a trail by pages, newest first, and trims it.
func TestAuditPages(t *testing.T) {
	clock := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	r := open1(t, Options{now: func() time.Time { return clock }})
	ctx, began := t.Context(), clock
	agent := Actor{Name: "agent:a", Address: "192.0.2.1:1"}
	const n = 300 // more than a chunk
	for i := range n {
		clock = began.Add(time.Duration(i) * time.Hour)
		by, action := admin, "site.create"
		if i%3 == 0 {
			by, action = agent, "agent.renew"
		}
		if _, err := r.store.Apply(ctx, by, Op{Action: action, Key: fmt.Sprint("k", i), Value: []byte("{}"), Revision: AnyRevision}); err != nil {
			t.Fatal(err)
		}
	}
	read := func(f AuditFilter, limit int) (keys []string) {
		t.Helper()
		for position := ""; ; {
			entries, next, corrupt, err := r.store.AuditPage(ctx, f, position, limit)
			if err != nil || corrupt != 0 || len(entries) > limit {
				t.Fatal(err, corrupt, len(entries))
			}
			for _, e := range entries {
				keys = append(keys, e.Key)
			}
			if next == "" {
				return keys
			}
			position = next
		}
	}
	for _, test := range []struct {
		f           AuditFilter
		many        int
		first, last string
	}{
		{AuditFilter{}, n, "k299", "k0"},
		{AuditFilter{Actor: "agent:a"}, 100, "k297", "k0"},
		{AuditFilter{Action: "agent."}, 100, "k297", "k0"},
		{AuditFilter{Action: "agent"}, 0, "", ""},
		{AuditFilter{Action: "site.create", Actor: admin.Name}, 200, "k299", "k1"},
		{AuditFilter{From: began.Add(10 * time.Hour), To: began.Add(20 * time.Hour)}, 10, "k19", "k10"},
		{AuditFilter{To: began}, 0, "", ""},
		{AuditFilter{From: clock.Add(1)}, 0, "", ""},
	} {
		for _, limit := range []int{1, 7, 1000} {
			keys := read(test.f, limit)
			if len(keys) != test.many || test.many > 0 && (keys[0] != test.first || keys[len(keys)-1] != test.last) {
				t.Errorf("%+v by %d: %d entries, from %v", test.f, limit, len(keys), keys[:min(len(keys), 3)])
			}
		}
	}
	if _, _, _, err := r.store.AuditPage(ctx, AuditFilter{}, "nonsense", 1); !errors.Is(err, ErrNotFound) {
		t.Errorf("a position that is none: %v", err)
	}
	// Renewals go earlier than others.
	removed, err := r.store.TrimAudit(ctx, began.Add(30*time.Hour), began.Add(60*time.Hour))
	if err != nil || removed != 30+10 {
		t.Errorf("%d removed, %v", removed, err)
	}
	if keys := read(AuditFilter{}, 1000); len(keys) != n-40 || keys[len(keys)-1] != "k31" {
		t.Errorf("%d are left, the oldest is %s", len(keys), keys[len(keys)-1])
	}
	if keys := read(AuditFilter{Action: "agent.renew"}, 1000); keys[len(keys)-1] != "k60" {
		t.Errorf("the oldest renewal is %s", keys[len(keys)-1])
	}
	if removed, err := r.store.TrimAudit(ctx, time.Time{}, time.Time{}); err != nil || removed != 0 {
		t.Errorf("%d removed without a time, %v", removed, err)
	}
}
