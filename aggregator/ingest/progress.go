package ingest

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/reeve-cloud/reeve/pkg/hlc"
)

// Progress says how far the warehouse is. Each group has a time of its own at which it was
// received (warehouse.Group.ReceivedAt), later than those of all groups before it, also of
// those before a restart. Most groups are readable in this order; one of a large batch,
// which goes in piece by piece, may be readable only after others that came later. So what
// is readable is said by one time and a few exceptions: [Readable].
type Progress struct {
	mu   sync.Mutex
	last int64
	// open are the groups that are not readable yet, or not as a whole.
	open map[int64]bool
	now  Readable
	more chan struct{}
	// settled is closed when what an earlier aggregator left is readable.
	settled chan struct{}
}

// Readable says which groups can be read.
type Readable struct {
	// At is when the newest one that has versions was received, in milliseconds since
	// 1970. All that were received before it can be read as well, but for Open, of which
	// perhaps a part can.
	At   int64
	Open []int64
	// Count grows with every change.
	Count uint64
}

// NewProgress returns the progress of a warehouse whose newest group with versions was
// received at a time; the zero time where there is none.
func NewProgress(newest time.Time) *Progress {
	p := &Progress{open: make(map[int64]bool), more: make(chan struct{}), settled: make(chan struct{})}
	if !newest.IsZero() {
		p.last = newest.UnixMilli()
		p.now.At = p.last
	}
	return p
}

// Begin opens a group, and returns when it was received: now, unless the clock does not
// say later than before.
func (p *Progress) Begin(now time.Time) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = max(p.last+1, now.UnixMilli())
	p.open[p.last] = true
	return time.UnixMilli(p.last).UTC()
}

// Left takes note of a group that an earlier aggregator has begun. One of a time that has yet to
// come was begun while the clock was wrong: what comes now is not to wait for that time.
func (p *Progress) Left(at int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if toCome(at) {
		return
	}
	p.last = max(p.last, at)
}

// Done says that a group can be read, and whether it has versions.
func (p *Progress) Done(at int64, versions bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, at)
	newest := p.now.At
	if versions && (at <= p.last || !toCome(at)) {
		newest = max(newest, at)
	}
	open := slices.DeleteFunc(slices.Sorted(maps.Keys(p.open)), func(o int64) bool { return o > newest })
	if newest == p.now.At && slices.Equal(open, p.now.Open) {
		return
	}
	p.now = Readable{At: newest, Open: open, Count: p.now.Count + 1}
	close(p.more)
	p.more = make(chan struct{})
}

// toCome reports whether a time is further ahead than clocks may be.
func toCome(at int64) bool { return time.Until(time.UnixMilli(at)) > hlc.MaxSkew }

// Settled says that what an earlier aggregator left can be read.
func (p *Progress) Settled() { close(p.settled) }

// Now returns what can be read, and a channel that is closed when that is more. It waits
// until what an earlier aggregator left is among it.
func (p *Progress) Now(ctx context.Context) (Readable, <-chan struct{}, error) {
	select {
	case <-p.settled:
	case <-ctx.Done():
		return Readable{}, nil, ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now, p.more, nil
}
