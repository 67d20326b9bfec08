// Package hlc is a hybrid logical clock: stamps that follow the wall clock as
// closely as they can and never run backwards, on one node or along messages
// between nodes (Kulkarni et al., "Logical Physical Clocks", 2014).
package hlc

import (
	"sync"
	"time"
)

// Stamp is a moment. Of two stamps the larger one is the later. The upper 48
// bits are Unix milliseconds, the lower 16 count within a millisecond.
type Stamp uint64

const logicalBits = 16

// MaxSkew is how far apart the wall clocks of two nodes may be. Within it all
// works. It is also how far ahead of the wall clock a remote stamp may pull a
// clock: a peer that is further off is not followed, or it would drag every stamp
// in the fleet into the future.
const MaxSkew = time.Hour

// TooFarApart reports whether two wall clocks, read at the same moment, are
// further apart than MaxSkew.
func TooFarApart(a, b time.Time) bool { return a.Sub(b).Abs() > MaxSkew }

// FromTime returns the first stamp of t's millisecond. Times before 1970 give 0.
func FromTime(t time.Time) Stamp {
	ms := t.UnixMilli()
	if ms < 0 {
		return 0
	}
	return Stamp(ms) << logicalBits
}

// Time returns the stamp's wall-clock part.
func (s Stamp) Time() time.Time {
	return time.UnixMilli(int64(s >> logicalBits)).UTC()
}

// Clock makes stamps. Its methods may be called concurrently.
type Clock struct {
	now func() time.Time

	mu   sync.Mutex
	last Stamp
	// offset is added to the wall clock.
	offset time.Duration
}

// New returns a clock whose every stamp is later than after: the last stamp
// that the node made before it was stopped, or zero.
func New(after Stamp) *Clock { return On(time.Now, after) }

// On returns a clock that follows another wall clock than this machine's.
func On(now func() time.Time, after Stamp) *Clock {
	return &Clock{now: now, last: after}
}

// Next returns a stamp later than every one that the clock made or observed.
func (c *Clock) Next() Stamp {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.last+1, FromTime(c.wall()))
	return c.last
}

// Now returns a stamp for "up to here", without using it up.
func (c *Clock) Now() Stamp {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(c.last, FromTime(c.wall()))
}

// Observe takes note of a peer's stamp, so that what happens here from now on
// is later. It reports whether the stamp was believed: one that is more than an
// hour ahead of the wall clock is not.
func (c *Clock) Observe(remote Stamp) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if remote > FromTime(c.wall().Add(MaxSkew)) {
		return false
	}
	c.last = max(c.last, remote)
	return true
}

// Adjust sets the clock by one that is right: it says how far that is ahead of this
// machine's wall clock, or behind it below zero. Within MaxSkew the wall clock is
// followed as it is; beyond it the difference is added to it. Stamps may only then run
// backwards, where they were more than MaxSkew ahead of what is right: nothing that is
// ordered by them would ever be superseded otherwise. Adjust reports that, with the
// stamp from which the clock goes on.
func (c *Clock) Adjust(ahead time.Duration) (from Stamp, back bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset = 0
	if ahead.Abs() > MaxSkew {
		c.offset = ahead
	}
	// Not this machine's wall clock: stamps that followed it may be two skews ahead of it
	// after it was set back, and still be right enough.
	if right := c.now().Add(ahead); c.last > FromTime(right.Add(MaxSkew)) {
		c.last, back = FromTime(right), true
	}
	return c.last, back
}

// wall is the wall clock, set right.
func (c *Clock) wall() time.Time { return c.now().Add(c.offset) }
