// Package untaken counts what a scope has and could not be taken: what a collector
// could not read of a listing, and what is not fit to be recorded (too large, nested too
// deeply, no key). It is told, so that nothing is missing in silence.
package untaken

import (
	"time"

	"github.com/reeve-cloud/reeve/pkg/plugin"
)

// maxKeys is how many assets are told apart. What is beyond counts in each listing, and
// not between them.
const maxKeys = 10_000

// Tally is what could not be taken of one scope. It is not safe for concurrent use.
type Tally struct {
	// Count is how many that are: zero if all was taken.
	Count int
	// Why is the newest reason, and At when that was.
	Why string
	At  time.Time
}

// Counter keeps the tally of a scope. The zero value has counted nothing.
type Counter struct {
	keys map[plugin.Key]string // reasons
	// unread are the elements of the last listing, and changes since, that nobody knows
	// what they are, and before is what an earlier run of the agent has counted.
	unread, before int
	why            string
	at             time.Time
}

// Resume goes on with what an earlier run has counted, until a listing says better.
func (c *Counter) Resume(t Tally) { c.before, c.why, c.at = t.Count, t.Why, t.At }

// Refused takes note of an asset that could not be taken, and reports whether that is
// news.
func (c *Counter) Refused(k plugin.Key, why string) (news bool) {
	c.why, c.at = why, time.Now()
	if known, ok := c.keys[k]; ok || len(c.keys) >= maxKeys {
		if ok {
			c.keys[k] = why
		}
		return ok && known != why
	}
	if c.keys == nil {
		c.keys = make(map[plugin.Key]string)
	}
	c.keys[k] = why
	return true
}

// Unread takes note of a change of which nobody knows what it is of.
func (c *Counter) Unread(why string) { c.unread, c.why, c.at = c.unread+1, why, time.Now() }

// Taken takes note that an asset was taken, or is gone.
func (c *Counter) Taken(k plugin.Key) { delete(c.keys, k) }

// Listed takes note of a listing that came to its end: of which assets there are, and
// how many elements nobody knows what they are, with why for one of them.
func (c *Counter) Listed(there func(plugin.Key) bool, unread int, why string) {
	for k := range c.keys {
		if !there(k) {
			delete(c.keys, k)
		}
	}
	c.before, c.unread = 0, unread
	if unread > 0 {
		c.why, c.at = why, time.Now()
	}
}

// Tally says what could not be taken by now.
func (c *Counter) Tally() Tally {
	n := max(len(c.keys)+c.unread, c.before)
	if n == 0 {
		return Tally{}
	}
	return Tally{Count: n, Why: c.why, At: c.at}
}
