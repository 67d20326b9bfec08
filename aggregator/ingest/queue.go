package ingest

import (
	"context"
	"sync"
	"time"

	"github.com/reeve-cloud/reeve/pkg/retry"
)

const (
	// quantum is what a lane may put into a group in its turn, in bytes, its agents
	// alike, and leastQuantum what each of them may for certain. A larger batch saves
	// up for it, while others go before.
	quantum      = 1 << 20
	leastQuantum = 16 << 10
	// largeBatch is what a batch has more than that is not usual: an agent closes one
	// at 1 MiB. It makes a group of its own, which is inserted in pieces, beside others.
	largeBatch = 2 << 20
	// slowGroup is how long a group may take to be inserted that is mostly of one site
	// while others wait as well: if it took longer, that site may put in less.
	slowGroup = 250 * time.Millisecond
	// leastCost is what the smallest batch counts as, for each takes some time.
	leastCost = 4 << 10
)

// queue holds the batches that wait to be committed. Each site has a lane, and
// the lanes take turns, for room in the queue as for a place in a group: a site
// that has much to say holds up itself and no other. So do the agents of a site.
type queue struct {
	place
	mu sync.Mutex
	// lanes are those of all sites that have anything here. The first is the
	// one whose turn is next.
	lanes []*lane
	// bytes and records are what waits, and wanted says that nothing else is being
	// committed.
	bytes   int64
	records int
	wanted  bool
	// large says that a large batch is being committed. There is one at a time.
	large bool
	// filled is poked when something waits, or is wanted.
	filled chan struct{}
}

// lane is what a site has in the queue.
type lane struct {
	place
	site   string
	agents []*agentLane
	// most is what it may put into one group, and taken what it has put into this one.
	most, taken int64
	claims      []*claim // oldest first
}

// agentLane is what an agent has in its site's lane.
type agentLane struct {
	place
	id      string
	rooms   int
	waiting []*pending
	// credit is what it may put into a group, in bytes, and earns what its lane's turn
	// adds to it.
	credit, earns int64
	// large says that a large batch of it is being committed: what is behind it waits.
	large bool
}

func newQueue() *queue {
	return &queue{place: place{limit: queueBytes}, wanted: true, filled: make(chan struct{}, 1)}
}

// lane returns the lane of a site. q.mu is held.
func (q *queue) lane(site string) *lane {
	for _, l := range q.lanes {
		if l.site == site {
			return l
		}
	}
	l := &lane{site: site, most: groupBytes, place: place{parent: &q.place, limit: laneBytes, share: laneShare}}
	q.lanes = append(q.lanes, l)
	return l
}

// agent returns the part of an agent. The queue's mu is held.
func (l *lane) agent(id string) *agentLane {
	for _, a := range l.agents {
		if a.id == id {
			return a
		}
	}
	a := &agentLane{id: id, place: place{parent: &l.place, limit: laneBytes, share: agentShare}}
	l.agents = append(l.agents, a)
	return a
}

// pass gives the turn to the next lane. q.mu is held.
func (q *queue) pass() { q.lanes = append(q.lanes[1:], q.lanes[0]) }

// put adds a batch that has its room. It never waits.
func (q *queue) put(p *pending) {
	q.mu.Lock()
	defer q.mu.Unlock()
	a := p.room.agent
	a.waiting = append(a.waiting, p)
	q.bytes += p.room.bytes
	q.records += p.records()
	q.poke()
}

// hungry says whether take may return less than a full group.
func (q *queue) hungry(yes bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.wanted = yes; yes {
		q.poke()
	}
}

func (q *queue) poke() {
	select {
	case q.filled <- struct{}{}:
	default:
	}
}

// take waits for batches and takes a group of them: linger after the last one was taken
// at the earliest, and where little waits quietLinger after it.
func (q *queue) take(ctx context.Context, last time.Time) ([]*pending, error) {
	for {
		select {
		case <-q.filled:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if err := q.linger(ctx, last); err != nil {
			return nil, err
		}
		if group := q.gather(); len(group) > 0 {
			return group, nil
		}
	}
}

// linger waits until there is enough, or it was long enough since the last group.
func (q *queue) linger(ctx context.Context, last time.Time) error {
	if err := retry.Sleep(ctx, time.Until(last.Add(linger))); err != nil {
		return err
	}
	quiet := time.NewTimer(time.Until(last.Add(quietLinger)))
	defer quiet.Stop()
	for {
		q.mu.Lock()
		much := q.bytes >= quietBytes || q.records >= quietRecords
		q.mu.Unlock()
		if much {
			return nil
		}
		select {
		case <-q.filled:
		case <-quiet.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// gather takes batches of each lane in turn until the group is full. The batches
// of an agent come in the order of put. It takes none if there are not enough and
// the queue is not hungry.
func (q *queue) gather() (group []*pending) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.wanted && q.bytes < groupBytes && q.records < groupRecords {
		return nil
	}
	var bytes int64
	var records int
	defer func() {
		q.bytes -= bytes
		q.records -= records
		if q.bytes > 0 && len(group) > 0 {
			q.poke()
		}
	}()
	for _, l := range q.lanes {
		l.taken = 0
	}
	for idle, usual, large := 0, 0, 0; ; {
		if idle == len(q.lanes) {
			// Nobody may put in more yet. Who saves up for a large batch does so from
			// one group to the next, unless there is nobody else.
			if usual == 0 && (len(group) > 0 || large == 0) {
				return group
			}
			idle, usual, large = 0, 0, 0
		}
		before := len(group)
		for _, a := range q.lanes[0].turn() {
			a.credit += a.earns
			for len(a.waiting) > 0 {
				p := a.waiting[0]
				count := p.records()
				isLarge := p.room.bytes > largeBatch
				l := q.lanes[0]
				if isLarge && q.large || l.taken > 0 && l.taken+p.room.bytes > l.most {
					break
				}
				if p.room.bytes > a.credit {
					if isLarge {
						large++
					} else {
						usual++
					}
					break
				}
				if len(group) > 0 && (isLarge || bytes+p.room.bytes > groupBytes || records+count > groupRecords) {
					a.credit -= a.earns
					if len(group) > before {
						q.pass() // else the lane has the first turn in the next
					}
					return group
				}
				a.credit -= p.room.bytes
				l.taken += p.room.bytes
				bytes += p.room.bytes
				records += count
				a.waiting = a.waiting[1:]
				group = append(group, p)
				if isLarge {
					q.large, a.large, p.room.large = true, true, true
					q.pass()
					return group
				}
			}
			if len(a.waiting) == 0 {
				a.credit = 0
			}
		}
		if idle++; len(group) > before {
			idle = 0
		}
		q.pass()
	}
}

// company reports whether several sites have something here.
func (q *queue) company() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.lanes) > 1
}

// took notes how long a group took to be inserted. A site that made most of it, and made
// it slow for others, may put less into the next ones.
func (q *queue) took(group []*pending, d time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var all int64
	of := make(map[*lane]int64)
	for _, p := range group {
		all += p.room.bytes
		of[p.room.lane] += p.room.bytes
	}
	for l, bytes := range of {
		switch {
		case len(q.lanes) == 1:
			l.most = groupBytes
		case d > slowGroup && bytes > all/2:
			l.most = max(min(l.most, bytes*int64(slowGroup)/int64(d)), quantum)
		case d < slowGroup/2:
			l.most = min(2*l.most, groupBytes)
		}
	}
}

// turn returns the agents of a lane of which anything waits, those first whose turn was
// longest ago, and says what each earns by it.
func (l *lane) turn() (agents []*agentLane) {
	for _, a := range l.agents {
		if len(a.waiting) > 0 && !a.large {
			agents = append(agents, a)
		}
	}
	if len(agents) == 0 {
		return nil
	}
	for _, a := range agents {
		a.earns = max(quantum/int64(len(agents)), leastQuantum)
	}
	l.agents = append(l.agents[1:], l.agents[0])
	return agents
}
