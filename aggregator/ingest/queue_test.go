package ingest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reeve-cloud/reeve/pkg/identity"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

const mib = 1 << 20

func waiting(site string, n uint64, room *room) *pending {
	return &pending{agent: identity.Agent{Site: site}, batch: &wirev1.Batch{FirstSeq: n, Count: 1}, room: room}
}

// reserved is a batch that has found room at once.
func reserved(t *testing.T, q *queue, site string, n uint64, cost int64) *pending {
	t.Helper()
	room, err := q.reserve(t.Context(), site, cost)
	if err != nil {
		t.Fatal(err)
	}
	return waiting(site, n, room)
}

// committed gives back the room of a group.
func committed(q *queue, group []*pending) {
	for _, p := range group {
		q.release(p.room)
	}
}

// fill has a site put batches until there is no room for more, and returns how
// many it put.
func fill(t *testing.T, q *queue, site string, cost int64) (n uint64) {
	t.Helper()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		room, err := q.reserve(ctx, site, cost)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
		q.put(waiting(site, n, room))
	}
}

func TestNoisySiteHoldsUpItselfOnly(t *testing.T) {
	q := newQueue()
	if n := fill(t, q, "noisy", mib); n != laneBytes/mib {
		t.Fatalf("one site has put %d MiB, want %d", n, laneBytes/mib)
	}
	// Others find room at once, and a place in the next group.
	for n := range uint64(3) {
		q.put(reserved(t, q, "quiet", n+1, mib))
	}
	group, err := q.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	of := make(map[string][]uint64)
	for _, p := range group {
		of[p.agent.Site] = append(of[p.agent.Site], p.batch.GetFirstSeq())
	}
	if fmt.Sprint(of["quiet"]) != "[1 2 3]" || len(of["noisy"]) != groupBytes/mib-3 || of["noisy"][0] != 1 {
		t.Errorf("the group has %v", of)
	}
}

func TestRoomIsGivenInTurn(t *testing.T) {
	q := newQueue()
	fill(t, q, "a", mib)
	fill(t, q, "b", mib)
	got := make(chan string)
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	claim := func(site string) {
		before := claims(q)
		done.Go(func() {
			if _, err := q.reserve(ctx, site, mib); err == nil {
				got <- site
			}
		})
		for claims(q) == before {
			time.Sleep(time.Millisecond)
		}
	}
	// Twenty wishes of one site were there before the one of another.
	for range 20 {
		claim("a")
	}
	claim("late")
	committed(q, q.gather()[:2])
	if first, second := <-got, <-got; first != "late" && second != "late" {
		t.Error("the other site has to wait for more than its turn")
	}
	cancel()
	done.Wait()
	if n := claims(q); n != 0 {
		t.Errorf("%d wishes are left behind", n)
	}
}

func claims(q *queue) (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, l := range q.lanes {
		n += len(l.claims)
	}
	return n
}

func TestABatchLargerThanALaneGoesAlone(t *testing.T) {
	q := newQueue()
	q.put(reserved(t, q, "a", 1, queueBytes))
	if n := fill(t, q, "b", mib); n != 0 {
		t.Errorf("%d more found room beside it", n)
	}
	group := q.gather()
	if len(group) != 1 {
		t.Fatalf("the group has %d batches", len(group))
	}
	committed(q, group)
	if n := fill(t, q, "b", mib); n != laneBytes/mib {
		t.Errorf("%d find room behind it", n)
	}
}

// TestBusy: while a group is being committed only a full one is taken.
func TestBusy(t *testing.T) {
	q := newQueue()
	q.hungry(false)
	for n := range uint64(groupBytes / mib) {
		if group := q.gather(); group != nil {
			t.Fatalf("%d batches are taken of %d MiB", len(group), n)
		}
		q.put(reserved(t, q, "a", n+1, mib))
	}
	q.put(reserved(t, q, "a", groupBytes/mib+1, mib))
	if group := q.gather(); len(group) != groupBytes/mib {
		t.Errorf("the full group has %d batches", len(group))
	}
	if group := q.gather(); group != nil {
		t.Errorf("behind it %d are taken", len(group))
	}
	q.hungry(true)
	if group, err := q.take(t.Context()); err != nil || len(group) != 1 {
		t.Errorf("%d batches are taken, %v", len(group), err)
	}
}

// TestQueueUnderLoad has many sessions of some sites come, go and give up.
func TestQueueUnderLoad(t *testing.T) {
	q := newQueue()
	ctx, cancel := context.WithCancel(t.Context())
	var taken sync.WaitGroup
	last := make(map[string]uint64)
	count := 0
	taken.Go(func() {
		for {
			group, err := q.take(ctx)
			if err != nil {
				return
			}
			for _, p := range group {
				if n := p.batch.GetFirstSeq(); n != last[p.agent.Site]+1 {
					t.Errorf("%s: %d behind %d", p.agent.Site, n, last[p.agent.Site])
				}
				last[p.agent.Site]++
				count++
			}
			committed(q, group)
		}
	})
	var put sync.WaitGroup
	var mu sync.Mutex
	total := 0
	for s := range 5 {
		site := fmt.Sprint("site", s)
		var n uint64
		var order sync.Mutex
		for range 20 {
			put.Go(func() {
				for range 100 {
					cost := rand.Int64N(8*mib) + 1
					limited, cancel := context.WithTimeout(ctx, time.Duration(rand.IntN(3000))*time.Microsecond)
					room, err := q.reserve(limited, site, cost)
					cancel()
					if err != nil {
						continue
					}
					order.Lock()
					n++
					q.put(waiting(site, n, room))
					order.Unlock()
					mu.Lock()
					total++
					mu.Unlock()
				}
			})
		}
	}
	put.Wait()
	for {
		q.mu.Lock()
		used, lanes := q.used, len(q.lanes)
		q.mu.Unlock()
		if used == 0 && lanes == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	taken.Wait()
	if count != total || total == 0 {
		t.Errorf("%d taken of %d", count, total)
	}
}

// TestRoomIsMadeBeforeABatchIsRead: while the queue is full nothing is read, and who
// is slow keeps no room from others for longer than a second.
func TestRoomIsMadeBeforeABatchIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		in := &Inlet{ingest: &Ingest{queue: q}, agent: identity.Agent{Site: "a"}}
		full := []*pending{reserved(t, q, "b", 1, queueBytes)}
		began, broken := time.Now(), errors.New("broken off")
		read := make(chan struct{})
		done := make(chan error)
		go func() {
			done <- in.Receive(t.Context(), wirev1.Class_CLASS_ASSETS, mib, func() ([]byte, error) {
				close(read)
				time.Sleep(3 * time.Second)
				return nil, broken
			})
		}()
		synctest.Wait()
		select {
		case <-read:
			t.Error("the batch is read while the queue is full")
		default:
		}
		committed(q, full)
		<-read
		if _, err := q.reserve(t.Context(), "b", queueBytes); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited != patience {
			t.Errorf("the room of the slow one was free after %v", waited)
		}
		if err := <-done; !errors.Is(err, broken) {
			t.Errorf("the error is %v", err)
		}
		if q.used != queueBytes {
			t.Errorf("%d bytes are used", q.used)
		}
	})
}

// TestRoomIsAsLargeAsTheBatch also where it was guessed wrongly or was given back
// before.
func TestRoomIsAsLargeAsTheBatch(t *testing.T) {
	q := newQueue()
	for _, guess := range []int64{1, mib, 5 * mib} {
		room, err := q.reserve(t.Context(), "a", guess)
		if err != nil {
			t.Fatal(err)
		}
		if !room.fill(2*mib) || q.used != 2*mib {
			t.Errorf("%d bytes are used", q.used)
		}
		room.expire() // too late
		if q.used != 2*mib {
			t.Errorf("%d bytes are used", q.used)
		}
		q.release(room)
		q.release(room)
		if room.fill(mib) || q.used != 0 {
			t.Errorf("%d bytes are used in the end", q.used)
		}
	}
}
