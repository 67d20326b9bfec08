package link

import (
	"container/heap"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"sync"
	"time"
)

// line is one direction of a link.
type line struct {
	mu      sync.Mutex
	rules   Rules
	changed chan struct{} // closed and replaced with the rules
	counts  Counts
	// free is when what was taken has been put on the wire, lastDue when the
	// last datagram that keeps its place comes out.
	free, lastDue time.Time
	number        int
	parcels       parcels
	poke          chan struct{}
}

// parcel is one datagram on its way.
type parcel struct {
	due    time.Time
	number int
	send   func()
}

// parcels is a heap.
type parcels []parcel

func (p parcels) Len() int           { return len(p) }
func (p parcels) Less(i, j int) bool { return earliest(p[i], p[j]) < 0 }
func (p parcels) Swap(i, j int)      { p[i], p[j] = p[j], p[i] }
func (p *parcels) Push(x any)        { *p = append(*p, x.(parcel)) }
func (p *parcels) Pop() any {
	last := (*p)[len(*p)-1]
	(*p)[len(*p)-1] = parcel{}
	*p = (*p)[:len(*p)-1]
	return last
}

func newLine() *line { return &line{changed: make(chan struct{}), poke: make(chan struct{}, 1)} }

func (l *line) set(r Rules) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rules = r
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *line) throttled() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rules.BytesPerSecond > 0
}

func (l *line) counted() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts
}

// take says when so many bytes that come now have been put on the wire. l.mu is
// held.
func (l *line) take(now time.Time, bytes int) time.Time {
	if l.rules.BytesPerSecond == 0 {
		l.free = now
		return now
	}
	if l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(bytes) * time.Second / time.Duration(l.rules.BytesPerSecond))
	return l.free
}

// datagram sends one on its way, or not.
func (l *line) datagram(bytes int, dice *dice, send func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.rules.fate(dice.next())
	now := time.Now()
	tooLarge := l.rules.MaxDatagram > 0 && bytes > l.rules.MaxDatagram
	if f.copies == 0 || tooLarge || l.rules.BytesPerSecond > 0 && l.free.Sub(now) > queueTime {
		l.counts.Lost++
		return
	}
	l.counts.Passed++
	l.counts.Bytes += int64(bytes)
	due := l.take(now, bytes).Add(f.delay)
	if f.overtaken {
		l.counts.Reordered++
	} else {
		if due.Before(l.lastDue) {
			due = l.lastDue
		}
		l.lastDue = due
	}
	for range f.copies {
		l.number++
		heap.Push(&l.parcels, parcel{due, l.number, send})
	}
	if f.copies > 1 {
		l.counts.Duplicated++
	}
	select {
	case l.poke <- struct{}{}:
	default:
	}
}

// run delivers datagrams when they are due, until ctx ends.
func (l *line) run(ctx context.Context) {
	for {
		l.mu.Lock()
		var ready []parcel
		for len(l.parcels) > 0 && !l.parcels[0].due.After(time.Now()) {
			ready = append(ready, heap.Pop(&l.parcels).(parcel))
		}
		var next <-chan time.Time
		if len(l.parcels) > 0 {
			next = time.After(time.Until(l.parcels[0].due))
		}
		l.mu.Unlock()
		for _, p := range ready {
			p.send()
		}
		if len(ready) > 0 {
			continue
		}
		select {
		case <-next:
		case <-l.poke:
		case <-ctx.Done():
			return
		}
	}
}

// open waits until the line is no black hole.
func (l *line) open(ctx context.Context) error {
	for {
		l.mu.Lock()
		hole, changed := l.rules.Blackhole, l.changed
		l.mu.Unlock()
		if !hole {
			return ctx.Err()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stream carries bytes until their source ends, which it passes on, and says
// whether it ended so.
func (l *line) stream(ctx context.Context, from, to *net.TCPConn, dice *dice) (whole bool) {
	type piece struct {
		data []byte
		due  time.Time
	}
	// What is read and not yet due: the pipe's own buffer.
	under := make(chan piece, 64)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan bool, 1)
	go func() { // ends with its source or ctx; ended is waited for below
		defer close(under)
		var last time.Time
		for {
			data := make([]byte, 16<<10)
			room, err := l.room(ctx)
			if err != nil {
				ended <- false
				return
			}
			n, err := from.Read(data[:min(len(data), room)])
			if n > 0 {
				last = l.piece(n, dice.next(), last)
				select {
				case under <- piece{data[:n], last}:
				case <-ctx.Done():
					ended <- false
					return
				}
			}
			if err != nil {
				ended <- errors.Is(err, io.EOF)
				return
			}
		}
	}()
	for p := range under {
		if l.write(ctx, to, p.data, p.due) != nil {
			cancel()
			from.Close()
			<-ended
			return false
		}
	}
	return <-ended && to.CloseWrite() == nil
}

// room waits until a throttled line takes more of a stream, and returns how many bytes.
// What waits for longer than on such a line stays with the sender.
func (l *line) room(ctx context.Context) (bytes int, err error) {
	for {
		l.mu.Lock()
		rate, wait := l.rules.BytesPerSecond, time.Until(l.free.Add(-queueTime))
		l.mu.Unlock()
		if rate == 0 {
			return math.MaxInt, nil
		}
		if wait <= 0 {
			return max(rate/4, 256), nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// piece says when a piece of a stream comes out.
func (l *line) piece(bytes int, d draw, last time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts.Bytes += int64(bytes)
	due := l.take(time.Now(), bytes).Add(l.rules.Delay + time.Duration(d.jitter*float64(l.rules.Jitter)))
	if d.loss < l.rules.Loss {
		due = due.Add(retransmission)
	}
	if due.Before(last) {
		due = last
	}
	return due
}

func (l *line) write(ctx context.Context, to *net.TCPConn, data []byte, due time.Time) error {
	t := time.NewTimer(time.Until(due))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := l.open(ctx); err != nil {
		return err
	}
	_, err := to.Write(data)
	return err
}
