package ingest

import (
	"context"
	"slices"
	"sync"
)

const (
	// queueBytes bounds the bytes of records that wait or are being committed.
	// Beyond it agents are held up, by flow control.
	queueBytes = 64 << 20
	// laneBytes is what one site may have of them.
	laneBytes = queueBytes / 2
)

// queue holds the batches that wait to be committed. Each site has a lane, and
// the lanes take turns, for room in the queue as for a place in a group: a site
// that has much to say holds up itself and no other.
type queue struct {
	mu   sync.Mutex
	used int64
	// lanes are those of all sites that have anything here. The first is the
	// one whose turn is next.
	lanes []*lane
	// bytes and records are what waits, and wanted says that nothing else is being
	// committed.
	bytes   int64
	records int
	wanted  bool
	// filled is poked when something waits, or is wanted.
	filled chan struct{}
}

type lane struct {
	site string
	// used is the room that the site has, of batches that wait and of those that
	// are being committed.
	used    int64
	claims  []*claim // oldest first
	waiting []*pending
}

// claim is a wish for room.
type claim struct {
	bytes   int64
	granted chan struct{}
}

func newQueue() *queue { return &queue{wanted: true, filled: make(chan struct{}, 1)} }

// lane returns the lane of a site. q.mu is held.
func (q *queue) lane(site string) *lane {
	for _, l := range q.lanes {
		if l.site == site {
			return l
		}
	}
	l := &lane{site: site}
	q.lanes = append(q.lanes, l)
	return l
}

// room is what a batch of a site takes of a queue.
type room struct {
	queue *queue
	site  string
	// bytes is 0 if it was given back, and filled says that the batch is there. The
	// queue's mu is held for both.
	bytes  int64
	filled bool
}

// reserve waits until there is room for a batch of a site. The room is kept
// until release.
func (q *queue) reserve(ctx context.Context, site string, bytes int64) (*room, error) {
	c := &claim{bytes: bytes, granted: make(chan struct{})}
	q.mu.Lock()
	l := q.lane(site)
	l.claims = append(l.claims, c)
	q.grant()
	q.mu.Unlock()
	select {
	case <-c.granted:
		return &room{queue: q, site: site, bytes: bytes}, nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	l = q.lane(site)
	if i := slices.Index(l.claims, c); i >= 0 {
		l.claims = slices.Delete(l.claims, i, i+1)
	} else { // it was granted just now
		l.used -= bytes
		q.used -= bytes
	}
	q.grant()
	return nil, ctx.Err()
}

// fill makes the room as large as the batch that has come is, without waiting, and
// reports whether there still is any.
func (r *room) fill(bytes int64) bool {
	r.queue.mu.Lock()
	defer r.queue.mu.Unlock()
	if r.bytes == 0 {
		return false
	}
	r.filled = true
	r.take(bytes - r.bytes)
	r.queue.grant()
	return true
}

// expire gives the room back if the batch has not come.
func (r *room) expire() {
	r.queue.mu.Lock()
	defer r.queue.mu.Unlock()
	if !r.filled {
		r.take(-r.bytes)
		r.queue.grant()
	}
}

// release gives rooms back, each once.
func (q *queue) release(rooms ...*room) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range rooms {
		r.take(-r.bytes)
	}
	q.grant()
}

// take makes the room larger, or smaller. The queue's mu is held.
func (r *room) take(bytes int64) {
	r.queue.lane(r.site).used += bytes
	r.queue.used += bytes
	r.bytes += bytes
}

// grant gives the room that there is to the lanes in turn. q.mu is held.
func (q *queue) grant() {
	for idle := 0; idle < len(q.lanes); {
		l := q.lanes[0]
		if len(l.claims) > 0 && (l.used == 0 || l.used+l.claims[0].bytes <= laneBytes) {
			c := l.claims[0]
			if q.used > 0 && q.used+c.bytes > queueBytes {
				return // it has the next turn
			}
			l.claims = l.claims[1:]
			l.used += c.bytes
			q.used += c.bytes
			close(c.granted)
			idle = 0
		} else {
			idle++
		}
		q.pass()
	}
	q.lanes = slices.DeleteFunc(q.lanes, func(l *lane) bool { return l.used == 0 && len(l.claims) == 0 })
}

// pass gives the turn to the next lane. q.mu is held.
func (q *queue) pass() { q.lanes = append(q.lanes[1:], q.lanes[0]) }

// put adds a batch that has its room. It never waits.
func (q *queue) put(p *pending) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.lane(p.agent.Site)
	l.waiting = append(l.waiting, p)
	q.bytes += p.room.bytes
	q.records += int(p.batch.GetCount())
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

// take waits for batches and takes a group of them.
func (q *queue) take(ctx context.Context) ([]*pending, error) {
	for {
		select {
		case <-q.filled:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if group := q.gather(); len(group) > 0 {
			return group, nil
		}
	}
}

// gather takes a batch of each lane in turn until the group is full. The batches
// of a site come in the order of put. It takes none if there are not enough and
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
		if q.bytes > 0 {
			q.poke()
		}
	}()
	for idle := 0; idle < len(q.lanes); q.pass() {
		l := q.lanes[0]
		if len(l.waiting) == 0 {
			idle++
			continue
		}
		p := l.waiting[0]
		count := int(p.batch.GetCount())
		if len(group) > 0 && (bytes+p.room.bytes > groupBytes || records+count > groupRecords) {
			return group // the lane has the first turn in the next
		}
		bytes += p.room.bytes
		records += count
		l.waiting = l.waiting[1:]
		group = append(group, p)
		idle = 0
	}
	return group
}
