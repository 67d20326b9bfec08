// Package plugintest has what tests of collectors need: a sink that remembers.
package plugintest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/plugin"
)

// Sink remembers what one scope is told, as an agent does: a sweep that is not
// committed deletes nothing. It fails the test where an agent would refuse what it
// is told.
type Sink struct {
	t testing.TB

	mu         sync.Mutex
	state      map[plugin.Key]plugin.Observation
	checkpoint plugin.Checkpoint
	events     []plugin.Event
	deleted    []plugin.Observation // as they last were
	tolerant   bool
	refused    []plugin.Key
	unread     []string // why
	sweeps     int
	changed    chan struct{}
}

var _ plugin.Sink = (*Sink)(nil)

// NewSink returns an empty sink.
func NewSink(t testing.TB) *Sink {
	return &Sink{t: t, state: make(map[plugin.Key]plugin.Observation), changed: make(chan struct{}, 1)}
}

// NewTolerantSink returns an empty sink that does as an agent does with what it does
// not take: it says so, and what is known of the asset stays.
func NewTolerantSink(t testing.TB) *Sink {
	s := NewSink(t)
	s.tolerant = true
	return s
}

// TakeRefused returns the keys of what was not taken since the last call.
func (s *Sink) TakeRefused() []plugin.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	refused := s.refused
	s.refused = nil
	return refused
}

// TakeUnread returns why elements of listings could not be read since the last call.
func (s *Sink) TakeUnread() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	unread := s.unread
	s.unread = nil
	return unread
}

// Begin implements [plugin.Sink].
func (s *Sink) Begin(context.Context) (plugin.Sweep, error) {
	return &sweep{sink: s, listed: make(map[plugin.Key]bool)}, nil
}

// Apply implements [plugin.Sink].
func (s *Sink) Apply(ctx context.Context, checkpoint plugin.Checkpoint, facts ...plugin.Fact) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range facts {
		switch {
		case f.Upsert != nil:
			s.upsert(*f.Upsert)
		case f.Delete != nil:
			s.delete(*f.Delete)
		case f.Unread != nil:
			s.unread = append(s.unread, f.Unread.Why)
		case f.Event != nil:
			s.events = append(s.events, *f.Event)
		}
	}
	if checkpoint != "" {
		s.checkpoint = checkpoint
	}
	s.notify()
	return ctx.Err()
}

// Recall implements [plugin.Sink].
func (s *Sink) Recall(_ context.Context, visit func(plugin.Observation) error) error {
	for _, o := range s.All() {
		o.Relations = nil
		if err := visit(o); err != nil {
			return err
		}
	}
	return nil
}

func (s *Sink) upsert(o plugin.Observation) {
	doc, err := document.Canonical(o.Document)
	if err != nil && s.tolerant {
		s.refused = append(s.refused, o.Key)
		return
	}
	if err != nil {
		s.t.Errorf("%v: %v", o.Key, err)
	}
	if o.Type == "" || o.UID == "" {
		s.t.Errorf("an observation without a key: %+v", o)
	}
	o.Document = doc
	s.state[o.Key] = o
}

func (s *Sink) delete(k plugin.Key) {
	if last, known := s.state[k]; known {
		delete(s.state, k)
		s.deleted = append(s.deleted, last)
	}
}

func (s *Sink) notify() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// All returns the assets, in the order of their keys.
func (s *Sink) All() []plugin.Observation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.state), func(a, b plugin.Observation) int {
		return strings.Compare(a.Type+"\x00"+a.UID, b.Type+"\x00"+b.UID)
	})
}

// Get returns an asset by its uid.
func (s *Sink) Get(uid string) (plugin.Observation, bool) {
	for _, o := range s.All() {
		if o.UID == uid {
			return o, true
		}
	}
	return plugin.Observation{}, false
}

// UIDs returns the uids of the assets, in order, separated by spaces.
func (s *Sink) UIDs() string {
	var uids []string
	for _, o := range s.All() {
		uids = append(uids, o.UID)
	}
	return strings.Join(uids, " ")
}

// Last returns how an asset that was deleted last was, by its uid.
func (s *Sink) Last(uid string) (plugin.Observation, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range slices.Backward(s.deleted) {
		if o.UID == uid {
			return o, true
		}
	}
	return plugin.Observation{}, false
}

// Deleted returns the uids of what was deleted, in the order in which it was.
func (s *Sink) Deleted() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var uids []string
	for _, k := range s.deleted {
		uids = append(uids, k.UID)
	}
	return strings.Join(uids, " ")
}

// Events returns the events that were told.
func (s *Sink) Events() []plugin.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// Checkpoint returns the last checkpoint.
func (s *Sink) Checkpoint() plugin.Checkpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.checkpoint
}

// Sweeps returns how many sweeps were committed.
func (s *Sink) Sweeps() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sweeps
}

// Wait waits until ok returns nil, and fails the test if that takes too long.
func (s *Sink) Wait(what string, ok func() error) {
	s.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		err := ok()
		if err == nil {
			return
		}
		select {
		case <-s.changed:
		case <-time.After(50 * time.Millisecond):
		case <-deadline:
			s.t.Fatalf("%s: %v", what, err)
		}
	}
}

// WaitUIDs waits until the uids of the assets are these.
func (s *Sink) WaitUIDs(want string) {
	s.t.Helper()
	s.Wait("the assets", func() error {
		if have := s.UIDs(); have != want {
			return fmt.Errorf("they are %q, want %q", have, want)
		}
		return nil
	})
}

type sweep struct {
	sink   *Sink
	listed map[plugin.Key]bool
	done   bool
}

func (w *sweep) Upsert(ctx context.Context, observations ...plugin.Observation) error {
	w.sink.mu.Lock()
	defer w.sink.mu.Unlock()
	for _, o := range observations {
		w.listed[o.Key] = true
		w.sink.upsert(o)
	}
	return ctx.Err()
}

func (w *sweep) Keep(ctx context.Context, keys ...plugin.Key) error {
	for _, k := range keys {
		w.listed[k] = true
	}
	return ctx.Err()
}

// Unread implements [plugin.Sweep].
func (w *sweep) Unread(_ context.Context, key plugin.Key, why string) error {
	w.sink.mu.Lock()
	defer w.sink.mu.Unlock()
	w.sink.unread = append(w.sink.unread, why)
	w.listed[key] = true
	return nil
}

func (w *sweep) Commit(ctx context.Context, c plugin.Checkpoint) error {
	w.sink.mu.Lock()
	defer w.sink.mu.Unlock()
	if w.done {
		return errors.New("the sweep is committed already")
	}
	w.done = true
	for _, k := range slices.SortedFunc(maps.Keys(w.sink.state), func(a, b plugin.Key) int { return strings.Compare(a.UID, b.UID) }) {
		if !w.listed[k] && !w.listed[plugin.Key{}] {
			w.sink.delete(k)
		}
	}
	w.sink.checkpoint = c
	w.sink.sweeps++
	w.sink.notify()
	return ctx.Err()
}
