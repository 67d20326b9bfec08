package ingest

import (
	"context"
	"hash/maphash"
	"sync"
	"time"

	"github.com/reeve-cloud/reeve/pkg/retry"
	"github.com/reeve-cloud/reeve/pkg/wire"
)

// mostNames is how many names of each kind an agent may have. They are counted from
// the aggregator's start on.
var mostNames = [wire.Names]int{wire.NameType: 5_000, wire.NameScope: 20_000, wire.NameEvent: 5_000, wire.NameMeter: 5_000}

var nameKinds = [wire.Names]string{wire.NameType: "asset types", wire.NameScope: "scopes", wire.NameEvent: "types of events",
	wire.NameMeter: "meters"}

const (
	// An agent may begin newSpools spools at once, and another each newSpoolEvery: one
	// is begun when a spool directory is made.
	newSpools     = 32
	newSpoolEvery = 15 * time.Minute
	// Of an agent's records that cannot be taken deadLetters are kept, and another
	// each deadLetterEvery. Of more only a sum is kept, and the agent's batches are
	// read no faster than one each crawl.
	deadLetters     = 500
	deadLetterEvery = 30 * time.Second
	crawl           = 5 * time.Second
	// detailed is of how many batches of an agent a group keeps what cannot be taken
	// record by record.
	detailed = 4
	// wordEvery is how often the log has a line of each kind about an agent.
	wordEvery = time.Minute
)

// allowance is so much at once, and one more each of a time.
type allowance struct {
	most  float64
	every time.Duration
	used  float64
	at    time.Time
}

// use takes n and reports whether there still was any. What is used beyond it delays
// the next time.
func (a *allowance) use(now time.Time, n int) bool {
	ok := a.left(now)
	a.used = min(a.used+float64(n), 2*a.most)
	return ok
}

func (a *allowance) left(now time.Time) bool {
	a.used = max(0, a.used-float64(now.Sub(a.at))/float64(a.every))
	a.at = now
	return a.used+1 <= a.most
}

// conduct is what is remembered of an agent, so that it is bounded in what it may
// cause. It takes a few hundred bytes for the usual one.
type conduct struct {
	mu      sync.Mutex
	names   [wire.Names]map[uint64]struct{}
	spools  allowance
	letters allowance
	// free is when another batch may be read, of an agent that has used up its letters.
	free time.Time
	// said is when the log had the last line of a kind, and unsaid how many have
	// been left out since.
	said   map[string]time.Time
	unsaid map[string]int
}

var nameSeed = maphash.MakeSeed()

// conductOf returns what is remembered of an agent.
func (i *Ingest) conductOf(agentID string) *conduct {
	i.mu.Lock()
	defer i.mu.Unlock()
	c := i.conducts[agentID]
	if c == nil {
		c = newConduct()
		i.conducts[agentID] = c
	}
	return c
}

func newConduct() *conduct {
	return &conduct{
		spools: allowance{most: newSpools, every: newSpoolEvery}, letters: allowance{most: deadLetters, every: deadLetterEvery},
		said: make(map[string]time.Time), unsaid: make(map[string]int),
	}
}

// name counts a name, and reports whether the agent may have it.
func (c *conduct) name(kind wire.Name, text []byte) bool {
	sum := maphash.Bytes(nameSeed, text)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.names[kind][sum]; ok {
		return true
	}
	if len(c.names[kind]) >= mostNames[kind] {
		return false
	}
	if c.names[kind] == nil {
		c.names[kind] = make(map[uint64]struct{})
	}
	c.names[kind][sum] = struct{}{}
	return true
}

// newSpool reports whether the agent may begin another spool.
func (c *conduct) newSpool() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	return c.spools.left(now) && c.spools.use(now, 1)
}

// brief reports whether of what cannot be taken only a sum is to be kept.
func (c *conduct) brief() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.letters.left(time.Now())
}

// lettered counts dead letters.
func (c *conduct) lettered(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.letters.use(time.Now(), n)
}

// pace waits until another batch of the agent may be read: at once, unless it sends
// little else than what cannot be taken.
func (c *conduct) pace(ctx context.Context) error {
	c.mu.Lock()
	now := time.Now()
	var wait time.Duration
	if !c.letters.left(now) {
		if c.free.Before(now) {
			c.free = now
		}
		c.free = c.free.Add(crawl)
		wait = c.free.Sub(now)
	}
	c.mu.Unlock()
	if wait == 0 {
		return nil
	}
	return retry.Sleep(ctx, wait)
}

// mayLog reports whether the log may have a line of a kind about the agent now, and how
// many were left out before.
func (c *conduct) mayLog(kind string) (unsaid int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.said[kind]) >= wordEvery {
		unsaid, c.unsaid[kind] = c.unsaid[kind], 0
		c.said[kind] = now
		return unsaid, true
	}
	c.unsaid[kind]++
	return 0, false
}
