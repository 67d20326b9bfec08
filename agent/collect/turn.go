package collect

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/reeve-cloud/reeve/pkg/plugin"
)

const (
	// concurrentSweeps is how many sweeps of one collector have a turn at once: each
	// holds a part of a listing in memory and loads an API.
	concurrentSweeps = 2
	// turnStill is how long a sweep may hand over nothing and keep its turn, and
	// turnLasts how long it keeps it at most.
	turnStill = time.Second
	turnLasts = 30 * time.Second
	// sweepStill is how long a sweep may hand over nothing and go on at all.
	sweepStill = 15 * time.Minute
)

var errStandsStill = fmt.Errorf("nothing came for %v", sweepStill)

// turn is a sweep's place among those of its collector that run at once. A sweep
// that waits for something (a source that is away, a list that never comes) holds
// nobody up: its place goes to the next one, and it goes on without, as does one
// that takes long.
//
// It is the sink of its sweep, so it sees the sweep move.
type turn struct {
	plugin.Sink
	places chan struct{}
	leave  sync.Once
	// lasts ends the turn, still ends it where nothing moves, and stuck ends the
	// sweep.
	lasts, still, stuck *time.Timer
	cancel              context.CancelCauseFunc
}

// takeTurn waits for a place. Behind it the sweep runs with the context and the
// sink that are returned, and calls end at its end.
func takeTurn(ctx context.Context, places chan struct{}, out plugin.Sink) (context.Context, *turn, error) {
	select {
	case places <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	t := &turn{Sink: out, places: places, cancel: cancel}
	t.lasts = time.AfterFunc(turnLasts, t.pass)
	t.still = time.AfterFunc(turnStill, t.pass)
	t.stuck = time.AfterFunc(sweepStill, func() { cancel(errStandsStill) })
	return ctx, t, nil
}

// pass gives the place to the next sweep.
func (t *turn) pass() { t.leave.Do(func() { <-t.places }) }

// end ends the turn with its sweep, and says why the sweep ended with an error.
func (t *turn) end(ctx context.Context, err error) error {
	for _, timer := range []*time.Timer{t.lasts, t.still, t.stuck} {
		timer.Stop()
	}
	t.pass()
	defer t.cancel(nil)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errStandsStill) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// moves says that the sweep moves. The time until done does not count: the agent
// cannot take more meanwhile.
func (t *turn) moves() (done func()) {
	t.still.Stop()
	t.stuck.Stop()
	return func() {
		t.still.Reset(turnStill)
		t.stuck.Reset(sweepStill)
	}
}

// Begin implements [plugin.Sink].
func (t *turn) Begin(ctx context.Context) (plugin.Sweep, error) {
	defer t.moves()()
	s, err := t.Sink.Begin(ctx)
	if err != nil {
		return nil, err
	}
	return &turnSweep{Sweep: s, turn: t}, nil
}

// Apply implements [plugin.Sink].
func (t *turn) Apply(ctx context.Context, checkpoint plugin.Checkpoint, facts ...plugin.Fact) error {
	defer t.moves()()
	return t.Sink.Apply(ctx, checkpoint, facts...)
}

// Recall implements [plugin.Sink].
func (t *turn) Recall(ctx context.Context, visit func(plugin.Observation) error) error {
	defer t.moves()()
	return t.Sink.Recall(ctx, visit)
}

// turnSweep is a sweep that is seen to move.
type turnSweep struct {
	plugin.Sweep
	turn *turn
}

// Upsert implements [plugin.Sweep].
func (s *turnSweep) Upsert(ctx context.Context, observations ...plugin.Observation) error {
	defer s.turn.moves()()
	return s.Sweep.Upsert(ctx, observations...)
}

// Keep implements [plugin.Sweep].
func (s *turnSweep) Keep(ctx context.Context, keys ...plugin.Key) error {
	defer s.turn.moves()()
	return s.Sweep.Keep(ctx, keys...)
}

// Unread implements [plugin.Sweep].
func (s *turnSweep) Unread(ctx context.Context, key plugin.Key, why string) error {
	defer s.turn.moves()()
	return s.Sweep.Unread(ctx, key, why)
}

// Commit implements [plugin.Sweep].
func (s *turnSweep) Commit(ctx context.Context, checkpoint plugin.Checkpoint) error {
	defer s.turn.moves()()
	return s.Sweep.Commit(ctx, checkpoint)
}
