package watch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/ingest"
	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/pkg/retry"
)

// Tail reads what changes, once for all who watch.
type Tail struct {
	o Options
	// all is the plan by which it reads.
	all *query.Plan
	// catching is held by a reader that takes steps of its own.
	catching chan struct{}
	// wake is poked when there is somebody to read for.
	wake chan struct{}

	mu    sync.Mutex
	seats map[*seat]struct{}
	// place is where the tail is, and count that of the newest progress that is in it.
	place Place
	count uint64
	// moved is closed when count grows, or nobody has a seat any more.
	moved chan struct{}
	// removals counts sites that were deleted. last is the last one, and removed has what the count
	// was with each.
	removals uint64
	last     string
	removed  map[string]uint64
}

// seat is where steps wait for a reader.
type seat struct {
	site  string
	more  chan struct{}
	steps []*step
	bytes int
	err   error
}

// New returns a Tail. Run must follow.
func New(ctx context.Context, o Options) (*Tail, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	all, err := o.Engine.Plan(ctx, query.All(), query.Selection{})
	if err != nil {
		return nil, fmt.Errorf("preparing to read changes: %w", err)
	}
	return &Tail{
		o: o, all: all, catching: make(chan struct{}, catchingUp), wake: make(chan struct{}, 1), seats: make(map[*seat]struct{}),
		moved: make(chan struct{}), removed: make(map[string]uint64),
	}, nil
}

// Run reads for those who watch until ctx ends.
func (t *Tail) Run(ctx context.Context) error {
	pause := retry.BackOff(time.Second, 30*time.Second)
	for {
		t.mu.Lock()
		idle, from := len(t.seats) == 0, t.place
		t.mu.Unlock()
		if idle {
			select {
			case <-t.wake:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		now, more, err := t.o.Progress.Now(ctx)
		if err != nil {
			return err
		}
		to := placeOf(now)
		if from.equal(to) {
			t.arrived(from, now.Count)
			select {
			case <-more:
			case <-t.wake:
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		s, err := t.read(ctx, t.all, from, to)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			wait := pause.NextBackOff()
			t.o.Logger.Error("changes cannot be read for those who watch; it is tried again", "error", err, "retry_in", wait.Round(time.Millisecond))
			if err := retry.Sleep(ctx, wait); err != nil {
				return err
			}
			continue
		}
		pause.Reset()
		t.publish(from, s)
	}
}

// arrived says that the tail is where progress is.
func (t *Tail) arrived(at Place, count uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if count > t.count && t.place.equal(at) {
		t.count = count
		t.move()
	}
}

func (t *Tail) move() {
	close(t.moved)
	t.moved = make(chan struct{})
}

// publish hands a step to all seats. One that is too far behind is cut off instead.
func (t *Tail) publish(from Place, s *step) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.place.equal(from) {
		return // all have left, and others have come
	}
	t.place = s.to
	for at := range t.seats {
		if len(at.steps) > 0 && at.bytes+s.bytes > behindBytes {
			t.cut(at, ErrFellBehind)
			continue
		}
		at.steps = append(at.steps, s)
		at.bytes += s.bytes
		at.poke()
	}
}

// cut ends what a seat is for, unless it has ended.
func (t *Tail) cut(at *seat, err error) {
	at.steps, at.bytes = nil, 0
	if at.err == nil {
		at.err = err
	}
	delete(t.seats, at)
	if len(t.seats) == 0 {
		t.move()
	}
	at.poke()
}

func (at *seat) poke() {
	select {
	case at.more <- struct{}{}:
	default:
	}
}

// Removed ends the watches of a site that was deleted.
func (t *Tail) Removed(site string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.removals++
	t.last, t.removed[site] = site, t.removals
	for at := range t.seats {
		if at.site == "" || at.site == site {
			t.cut(at, removedError(site))
		}
	}
}

// sit gives a reader a seat that is at a place which progress had by a count, and returns where
// the tail is. removals is how many sites had been deleted when the reader began.
func (t *Tail) sit(ctx context.Context, site string, count, removals uint64) (*seat, Place, error) {
	now, _, err := t.o.Progress.Now(ctx)
	if err != nil {
		return nil, Place{}, err
	}
	for {
		at, to, moved, err := t.trySit(site, count, removals, now)
		if at != nil || err != nil {
			return at, to, err
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return nil, Place{}, ctx.Err()
		}
	}
}

func (t *Tail) trySit(site string, count, removals uint64, now ingest.Readable) (*seat, Place, <-chan struct{}, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case site == "" && t.removals > removals:
		return nil, Place{}, nil, removedError(t.last)
	case t.removed[site] > removals:
		return nil, Place{}, nil, removedError(site)
	}
	if len(t.seats) == 0 && now.Count >= t.count {
		t.place, t.count = placeOf(now), now.Count
	}
	if t.count < count {
		return nil, Place{}, t.moved, nil
	}
	at := &seat{site: site, more: make(chan struct{}, 1)}
	t.seats[at] = struct{}{}
	select {
	case t.wake <- struct{}{}:
	default:
	}
	return at, t.place, nil, nil
}

// deleted is how many sites were deleted so far.
func (t *Tail) deleted() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.removals
}

// next takes a step from a seat, or returns what is poked when there is one.
func (t *Tail) next(at *seat) (*step, <-chan struct{}, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at.err != nil {
		return nil, nil, at.err
	}
	if len(at.steps) == 0 {
		return nil, at.more, nil
	}
	s := at.steps[0]
	at.steps[0] = nil
	at.steps = at.steps[1:]
	at.bytes -= s.bytes
	return s, nil, nil
}

var errLeft = errors.New("watch: the seat was given up")

// leave gives a seat up.
func (t *Tail) leave(at *seat) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cut(at, errLeft)
}
