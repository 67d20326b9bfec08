package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/reeve-cloud/reeve/pkg/plugin"
)

// sink keeps the state of one scope as an agent would.
type sink struct {
	mu      sync.Mutex
	state   map[plugin.Key]plugin.Observation
	sweeps  int
	applied int
	open    bool
	changed chan struct{}
}

func newSink() *sink {
	return &sink{state: map[plugin.Key]plugin.Observation{}, changed: make(chan struct{})}
}

func (s *sink) Begin(context.Context) (plugin.Sweep, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open {
		return nil, errors.New("a sweep is open already")
	}
	s.open = true
	return &sweep{sink: s, seen: map[plugin.Key]plugin.Observation{}}, nil
}

func (s *sink) Apply(_ context.Context, _ plugin.Checkpoint, facts ...plugin.Fact) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range facts {
		switch {
		case f.Upsert != nil:
			s.state[f.Upsert.Key] = *f.Upsert
		case f.Delete != nil:
			delete(s.state, *f.Delete)
		}
	}
	s.applied += len(facts)
	s.notify()
	return nil
}

func (s *sink) Recall(_ context.Context, visit func(plugin.Observation) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.state {
		if err := visit(o); err != nil {
			return err
		}
	}
	return nil
}

func (s *sink) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

type sweep struct {
	sink *sink
	seen map[plugin.Key]plugin.Observation
}

func (w *sweep) Upsert(_ context.Context, observations ...plugin.Observation) error {
	for _, o := range observations {
		if _, twice := w.seen[o.Key]; twice {
			return errors.New("listed twice: " + o.UID)
		}
		if o.Name == "" || o.UID == "" || !json.Valid(o.Document) {
			return errors.New("malformed: " + o.UID)
		}
		w.seen[o.Key] = o
	}
	return nil
}

func (w *sweep) Keep(context.Context, ...plugin.Key) error {
	return errors.New("the host has nothing to keep")
}

func (w *sweep) Unread(_ context.Context, key plugin.Key, why string) error {
	return fmt.Errorf("%v cannot be read: %s", key, why)
}

func (w *sweep) Commit(context.Context, plugin.Checkpoint) error {
	w.sink.mu.Lock()
	defer w.sink.mu.Unlock()
	w.sink.state, w.sink.open = w.seen, false
	w.sink.sweeps++
	w.sink.notify()
	return nil
}

// all is a copy of the state.
func (s *sink) all() map[plugin.Key]plugin.Observation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.state)
}

// ofType are the observations of one type, in the order of their uids.
func (s *sink) ofType(typ string) []plugin.Observation {
	var list []plugin.Observation
	for k, v := range s.all() {
		if k.Type == typ {
			list = append(list, v)
		}
	}
	slices.SortFunc(list, func(a, b plugin.Observation) int { return strings.Compare(a.UID, b.UID) })
	return list
}

// named finds an observation by type and name.
func (s *sink) named(typ, name string) (plugin.Observation, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, v := range s.state {
		if k.Type == typ && v.Name == name {
			return v, true
		}
	}
	return plugin.Observation{}, false
}

// eventually waits until the state is as wanted and returns how long it took.
// The bound is for a machine under load.
func (s *sink) eventually(t *testing.T, what string, ok func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	limit := time.After(10 * time.Second)
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if ok() {
			took := time.Since(start)
			t.Logf("%s: seen after %v", what, took.Round(time.Millisecond))
			return took
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("%s: not seen within 10 s", what)
		}
	}
}

// testID is an identity for tests, as not every container has a machine id.
const testID = "0123456789abcdef0123456789abcdef"

func testCollector(t testing.TB, opts options) *collector {
	if opts.Root == "" {
		opts.Root = "/"
	}
	if opts.ID == "" {
		opts.ID = testID
	}
	log := slog.New(slog.DiscardHandler)
	if t, ok := t.(*testing.T); ok {
		log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	return newCollector(log, opts, netns.None())
}

func sweepScope(t testing.TB, c *collector, scope string) *sink {
	t.Helper()
	s := newSink()
	if err := c.Sweep(t.Context(), plugin.Scope{Name: scope}, s); err != nil {
		t.Fatal(err)
	}
	if s.sweeps != 1 {
		t.Fatalf("%d sweeps were committed, want 1", s.sweeps)
	}
	return s
}

// document decodes an observation's document.
func document[T any](t testing.TB, o plugin.Observation) T {
	t.Helper()
	var doc T
	if err := json.Unmarshal(o.Document, &doc); err != nil {
		t.Fatalf("%s: %v", o.UID, err)
	}
	return doc
}

// startWatch runs a watch until the test ends, and makes sure that it then
// returns.
func startWatch(t *testing.T, c *collector, scope string) *sink {
	t.Helper()
	s := newSink()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		err := c.Watch(ctx, plugin.Scope{Name: scope}, "", s)
		if ctx.Err() == nil {
			t.Logf("Watch ended: %v", err)
		}
		done <- err
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Watch returned %v, want the context's error", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Watch did not return when its context ended")
		}
	})
	s.eventually(t, "first sweep of "+scope, func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.sweeps > 0 })
	return s
}
