package ingest

import (
	"context"
	"slices"
	"time"
)

const (
	// queueBytes bounds the bytes of batches that come, wait or are being committed:
	// what has arrived of one that comes, and what it costs (wire.CheckRecords) once it
	// is there. Beyond it agents are held up, by flow control.
	queueBytes = 64 << 20
	// laneBytes is what one site may have of them, and one agent of its site's.
	laneBytes = queueBytes / 2
	// laneShare and agentShare are what each site, and each agent, has for certain,
	// whatever the others have.
	laneShare  = 1 << 20
	agentShare = 32 << 10

	// patience is for how long a batch that nothing more arrives of may keep its turn
	// to be completed, while others wait.
	patience = 10 * time.Second
)

// place is where bytes are counted: those of an agent, of its site, and of all. Each
// counts with its parent, with half of what the parent may have at most: one alone
// never fills it.
type place struct {
	parent *place
	// used is what is here, at most limit unless nothing else would go on; share is
	// always free.
	used, limit, share int64
	// coming are the batches that are under way, of which something may have arrived.
	// The first may always be completed: else many that are half there could wait for
	// each other.
	coming []*room
}

// counted is how much of a place counts with its parent.
func (p *place) counted() int64 { return min(p.used, p.parent.limit/2) }

func (p *place) add(bytes int64) {
	for ; p != nil; p = p.parent {
		if p.parent == nil {
			p.used += bytes
			return
		}
		before := p.counted()
		p.used += bytes
		bytes = p.counted() - before
	}
}

// fits reports whether there is room for more bytes of a batch, or for one to begin
// with.
func (p *place) fits(r *room, bytes int64) bool {
	for ; p != nil; p = p.parent {
		if p.used+bytes <= p.share {
			return true
		}
		full := p.used+bytes > p.limit || bytes == 0 && p.used == p.limit
		if full && (bytes == 0 || p.coming[0] != r) {
			return false
		}
	}
	return true
}

// room is what a batch takes of a queue.
type room struct {
	queue *queue
	lane  *lane
	agent *agentLane
	bytes int64
	// coming says that the batch is not complete; moved is when something of it came
	// last. The queue's mu is held for all of them.
	coming bool
	moved  time.Time
	// large says that its batch is the large one that is being committed.
	large bool
}

// claim is a wish for room: for the bytes of a batch that have arrived, or, with none,
// to begin with one.
type claim struct {
	room    *room
	bytes   int64
	granted chan struct{}
}

// enter waits until an agent may send a batch: while too much of it or of all waits to
// be committed, nothing is read. The room is kept until release.
func (q *queue) enter(ctx context.Context, site, agent string) (*room, error) {
	q.mu.Lock()
	l := q.lane(site)
	r := &room{queue: q, lane: l, agent: l.agent(agent)}
	r.agent.rooms++
	q.mu.Unlock()
	if err := q.claim(ctx, r, 0); err != nil {
		q.release(r)
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	r.coming, r.moved = true, time.Now()
	for p := &r.agent.place; p != nil; p = p.parent {
		p.coming = append(p.coming, r)
	}
	return r, nil
}

// grow waits until there is room for bytes that have arrived.
func (r *room) grow(ctx context.Context, bytes int64) error { return r.queue.claim(ctx, r, bytes) }

func (q *queue) claim(ctx context.Context, r *room, bytes int64) error {
	q.mu.Lock()
	r.moved = time.Now()
	if len(r.lane.claims) == 0 && r.agent.fits(r, bytes) {
		r.take(bytes)
		q.mu.Unlock()
		return nil
	}
	c := &claim{room: r, bytes: bytes, granted: make(chan struct{})}
	r.lane.claims = append(r.lane.claims, c)
	q.grant()
	q.mu.Unlock()
	impatience := time.NewTicker(patience)
	defer impatience.Stop()
	for {
		select {
		case <-c.granted:
			return nil
		case <-impatience.C:
			q.passOver(r)
		case <-ctx.Done():
			q.mu.Lock()
			defer q.mu.Unlock()
			if i := slices.Index(r.lane.claims, c); i >= 0 {
				r.lane.claims = slices.Delete(r.lane.claims, i, i+1)
			} else { // it was granted just now
				r.take(-bytes)
			}
			q.grant()
			return ctx.Err()
		}
	}
}

// passOver takes the first turn from batches that nothing more comes of, wherever room
// r waits for them.
func (q *queue) passOver(r *room) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for p := &r.agent.place; p != nil; p = p.parent {
		for range len(p.coming) {
			if first := p.coming[0]; time.Since(first.moved) < patience || q.waits(first) {
				break
			}
			p.coming = append(p.coming[1:], p.coming[0])
		}
	}
	q.grant()
}

// waits reports whether a room waits for more. Then it is not its batch that does not
// come. q.mu is held.
func (q *queue) waits(r *room) bool {
	return slices.ContainsFunc(r.lane.claims, func(c *claim) bool { return c.room == r })
}

// fill makes the room as large as the batch that has come is, without waiting.
func (r *room) fill(bytes int64) {
	r.queue.mu.Lock()
	defer r.queue.mu.Unlock()
	r.came()
	r.take(bytes - r.bytes)
	r.queue.grant()
}

// came notes that nothing more is awaited. The queue's mu is held.
func (r *room) came() {
	if !r.coming {
		return
	}
	r.coming = false
	for p := &r.agent.place; p != nil; p = p.parent {
		if i := slices.Index(p.coming, r); i >= 0 {
			p.coming = slices.Delete(p.coming, i, i+1)
		}
	}
}

// release gives rooms back, each once.
func (q *queue) release(rooms ...*room) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range rooms {
		r.came()
		r.take(-r.bytes)
		r.agent.rooms--
		if r.large {
			q.large, r.agent.large = false, false
			q.poke()
		}
	}
	q.grant()
	q.lanes = slices.DeleteFunc(q.lanes, func(l *lane) bool {
		l.agents = slices.DeleteFunc(l.agents, func(a *agentLane) bool { return a.rooms == 0 })
		return len(l.agents) == 0
	})
}

// take makes the room larger, or smaller. The queue's mu is held.
func (r *room) take(bytes int64) {
	r.bytes += bytes
	r.agent.add(bytes)
}

// grant gives the room that there is to the lanes in turn. A claim that does not fit
// holds up no other. q.mu is held.
func (q *queue) grant() {
	for idle := 0; idle < len(q.lanes); q.pass() {
		l := q.lanes[0]
		i := slices.IndexFunc(l.claims, func(c *claim) bool { return c.room.agent.fits(c.room, c.bytes) })
		if i < 0 {
			idle++
			continue
		}
		c := l.claims[i]
		l.claims = slices.Delete(l.claims, i, i+1)
		c.room.take(c.bytes)
		close(c.granted)
		idle = 0
	}
}
