package ingest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/pkg/identity"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

const mib = 1 << 20

func waiting(site string, n uint64, cost int64) *pending {
	return &pending{agent: identity.Agent{Site: site}, batch: &wirev1.Batch{FirstSeq: n, Count: 1}, cost: cost}
}

// fill has a site put batches until there is no room for more, and returns how
// many it put.
func fill(t *testing.T, q *queue, site string, cost int64) (n uint64) {
	t.Helper()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		err := q.reserve(ctx, site, cost)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
		q.put(waiting(site, n, cost))
	}
}

func TestNoisySiteHoldsUpItselfOnly(t *testing.T) {
	q := newQueue()
	if n := fill(t, q, "noisy", mib); n != laneBytes/mib {
		t.Fatalf("one site has put %d MiB, want %d", n, laneBytes/mib)
	}
	// Others find room at once, and a place in the next group.
	for n := range uint64(3) {
		if err := q.reserve(t.Context(), "quiet", mib); err != nil {
			t.Fatal(err)
		}
		q.put(waiting("quiet", n+1, mib))
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
			if q.reserve(ctx, site, mib) == nil {
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
	q.release(q.gather()[:2]...)
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
	if err := q.reserve(t.Context(), "a", queueBytes); err != nil {
		t.Fatal(err)
	}
	q.put(waiting("a", 1, queueBytes))
	if n := fill(t, q, "b", mib); n != 0 {
		t.Errorf("%d more found room beside it", n)
	}
	group := q.gather()
	if len(group) != 1 {
		t.Fatalf("the group has %d batches", len(group))
	}
	q.release(group...)
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
		if err := q.reserve(t.Context(), "a", mib); err != nil {
			t.Fatal(err)
		}
		q.put(waiting("a", n+1, mib))
	}
	q.put(waiting("a", groupBytes/mib+1, mib))
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
			q.release(group...)
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
					err := q.reserve(limited, site, cost)
					cancel()
					if err != nil {
						continue
					}
					order.Lock()
					n++
					q.put(waiting(site, n, cost))
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
