package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reeve-cloud/reeve/pkg/identity"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

const mib = 1 << 20

func waiting(site string, n uint64, room *room) *pending {
	return &pending{agent: identity.Agent{Site: site, ID: room.agent.id}, batch: &wirev1.Batch{FirstSeq: n, Count: 1}, room: room}
}

// reserved is a batch that has found room at once.
func reserved(t *testing.T, q *queue, site string, n uint64, cost int64) *pending {
	t.Helper()
	room, err := q.enter(t.Context(), site, site)
	if err != nil {
		t.Fatal(err)
	}
	room.fill(cost)
	return waiting(site, n, room)
}

// committed gives back the room of a group.
func committed(q *queue, group []*pending) {
	for _, p := range group {
		q.release(p.room)
	}
}

// fill has the agents of a site put batches until none may begin another, and returns
// how many they put.
func fill(t *testing.T, q *queue, site string, agents int, cost int64) (n uint64) {
	t.Helper()
	for full := 0; full < agents; {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		room, err := q.enter(ctx, site, fmt.Sprint(site, n%uint64(agents)))
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		room.fill(cost)
		n++
		q.put(waiting(site, n, room))
	}
	return n
}

func TestNoisySiteHoldsUpItselfOnly(t *testing.T) {
	q := newQueue()
	if n := fill(t, q, "noisy", 1, mib); n != laneBytes/mib {
		t.Fatalf("one site has put %d MiB, want %d", n, laneBytes/mib)
	}
	// Others find room at once, and a place in the next group.
	for n := range uint64(3) {
		q.put(reserved(t, q, "quiet", n+1, mib))
	}
	group, err := q.take(t.Context(), time.Time{})
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

// TestNoisyAgentHoldsUpItselfOnly: the same within a site.
func TestNoisyAgentHoldsUpItselfOnly(t *testing.T) {
	q := newQueue()
	put := func(agent string, n uint64) {
		t.Helper()
		room, err := q.enter(t.Context(), "site", agent)
		if err != nil {
			t.Fatal(err)
		}
		room.fill(mib)
		q.put(&pending{agent: identity.Agent{Site: "site", ID: agent}, batch: &wirev1.Batch{FirstSeq: n, Count: 1}, room: room})
	}
	for n := range uint64(laneBytes / mib) {
		put("noisy", n+1)
	}
	for n := range uint64(3) {
		put("quiet", n+1)
	}
	of := make(map[string]int)
	for _, p := range q.gather() {
		of[p.agent.ID]++
	}
	if of["quiet"] != 3 {
		t.Errorf("the group has %v", of)
	}
}

func TestRoomIsGivenInTurn(t *testing.T) {
	q := newQueue()
	fill(t, q, "a", 2, mib)
	fill(t, q, "b", 2, mib)
	// The first one that comes may always be completed; here it does not go on.
	first, err := q.enter(t.Context(), "a", "first")
	if err != nil {
		t.Fatal(err)
	}
	defer q.release(first)
	got := make(chan string)
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	claim := func(site string) {
		before := claims(q)
		done.Go(func() {
			room, err := q.enter(ctx, site, site+"!")
			if err != nil {
				return
			}
			defer func() {
				<-ctx.Done()
				q.release(room)
			}()
			if err := room.grow(ctx, mib+1); err == nil {
				select {
				case got <- site:
				case <-ctx.Done():
				}
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
	committed(q, q.gather()[:4])
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

// TestALargeBatchWaitsForItsTurn: others go before while it saves up for its place, and
// it goes alone, at last also where there are always others.
func TestALargeBatchWaitsForItsTurn(t *testing.T) {
	q := newQueue()
	q.put(reserved(t, q, "large", 1, laneBytes))
	groups := 0
	for ; ; groups++ {
		if groups > laneBytes/quantum+1 {
			t.Fatal("it never comes")
		}
		q.put(reserved(t, q, "small", uint64(groups+1), 1000))
		group := q.gather()
		committed(q, group)
		if group[0].agent.Site == "large" {
			if len(group) != 1 {
				t.Errorf("the group has %d batches", len(group))
			}
			break
		}
	}
	if groups < laneBytes/quantum/2-1 {
		t.Errorf("it came behind %d groups", groups)
	}
	// Alone it comes at once.
	q.gather()
	q.put(reserved(t, q, "large", 2, laneBytes))
	if group := q.gather(); len(group) != 1 {
		t.Errorf("the group has %d batches", len(group))
	}
}

// TestASiteThatMakesGroupsSlow: a site whose batches make groups slow while others wait,
// too, may put less into a group, until that is quick again or it is alone.
func TestASiteThatMakesGroupsSlow(t *testing.T) {
	q := newQueue()
	// group has the slow site put more than a group may have, and another site one batch,
	// and returns how much of the former is taken.
	group := func(company bool, took time.Duration) (bytes int64) {
		t.Helper()
		fill(t, q, "slow", 1, mib/4)
		if company {
			q.put(reserved(t, q, "other", 1, 1000))
		}
		group := q.gather()
		others := 0
		for _, p := range group {
			if p.agent.Site == "slow" {
				bytes += p.room.bytes
			} else {
				others++
			}
		}
		if company && others != 1 {
			t.Errorf("%d batches of the other site are taken", others)
		}
		q.took(group, took)
		committed(q, group)
		return bytes
	}
	if bytes := group(true, 4*slowGroup); bytes < groupBytes-mib {
		t.Errorf("at first %d bytes are taken", bytes)
	}
	if bytes := group(true, 2*slowGroup); bytes > groupBytes/4 {
		t.Errorf("when that was slow %d bytes are taken", bytes)
	}
	if bytes := group(true, slowGroup); bytes > groupBytes/8 {
		t.Errorf("when that was slow, too, %d bytes are taken", bytes)
	}
	for range 10 {
		group(true, 100*slowGroup)
	}
	if bytes := group(true, slowGroup/4); bytes != quantum {
		t.Errorf("at least %d bytes are taken", bytes)
	}
	for range 5 {
		group(true, slowGroup/4)
	}
	if bytes := group(true, 100*slowGroup); bytes < groupBytes-mib {
		t.Errorf("when it is quick again %d bytes are taken", bytes)
	}
	group(true, 100*slowGroup)
	q.lanes = slices.DeleteFunc(q.lanes, func(l *lane) bool { return l.site == "other" })
	group(false, 100*slowGroup)
	if bytes := group(false, 100*slowGroup); bytes != groupBytes {
		t.Errorf("alone, %d bytes are taken", bytes)
	}
}

// TestManyRecords: a site whose batches have as many records as a group may have keeps
// the turn from no other.
func TestManyRecords(t *testing.T) {
	q := newQueue()
	for n := range uint64(5) {
		p := reserved(t, q, "many", n+1, 100<<10)
		p.batch.Count = groupRecords
		q.put(p)
	}
	q.put(reserved(t, q, "one", 1, 1000))
	for range 2 {
		for _, p := range q.gather() {
			if p.agent.Site == "one" {
				return
			}
		}
	}
	t.Error("it does not come")
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
	if group, err := q.take(t.Context(), time.Time{}); err != nil || len(group) != 1 {
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
			group, err := q.take(ctx, time.Time{})
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
					limited, cancel := context.WithTimeout(ctx, time.Duration(rand.IntN(3000))*time.Microsecond)
					room, err := q.enter(limited, site, site)
					for range rand.IntN(4) {
						if err == nil {
							if err = room.grow(limited, rand.Int64N(2*mib)); err != nil {
								q.release(room)
							}
						}
					}
					cancel()
					if err != nil {
						continue
					}
					order.Lock()
					n++
					room.fill(rand.Int64N(8*mib) + 1)
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
		used, lanes, coming := q.used, len(q.lanes), len(q.coming)
		q.mu.Unlock()
		if used == 0 && lanes == 0 && coming == 0 {
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

// dripping is a stream of which some bytes come, and then nothing until it is broken
// off.
type dripping struct {
	left   int
	broken chan struct{}
}

var errBroken = errors.New("broken off")

func (d *dripping) Read(p []byte) (int, error) {
	if d.left == 0 {
		<-d.broken
		return 0, errBroken
	}
	n := min(len(p), d.left)
	d.left -= n
	return n, nil
}

var _ io.Reader = (*dripping)(nil)

// TestRoomIsForWhatHasArrived: what is announced and does not come keeps no room from
// others, of the same agent or another's.
func TestRoomIsForWhatHasArrived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &Ingest{queue: newQueue()}
		in := &Inlet{ingest: i, agent: identity.Agent{Site: "a", ID: "a"}, conduct: newConduct()}
		broken := make(chan struct{})
		var done sync.WaitGroup
		const streams, arrived = 8, 100_000
		for range streams {
			done.Go(func() {
				err := in.Receive(t.Context(), wirev1.Class_CLASS_ASSETS, 8*mib, &dripping{arrived, broken})
				if !errors.Is(err, errBroken) {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if i.queue.used != streams*arrived {
			t.Errorf("%d bytes are used, %d have arrived", i.queue.used, streams*arrived)
		}
		close(broken)
		done.Wait()
		if i.queue.used != 0 || len(i.queue.lanes) != 0 || len(i.queue.coming) != 0 {
			t.Errorf("%d bytes are used", i.queue.used)
		}
	})
}

// TestNothingIsReadWhileTooMuchWaits of the same agent.
func TestNothingIsReadWhileTooMuchWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		in := &Inlet{ingest: &Ingest{queue: q}, agent: identity.Agent{Site: "a", ID: "a"}, conduct: newConduct()}
		full := []*pending{reserved(t, q, "a", 1, laneBytes)}
		stream := &dripping{10, make(chan struct{})}
		done := make(chan error)
		go func() { done <- in.Receive(t.Context(), wirev1.Class_CLASS_ASSETS, mib, stream) }()
		synctest.Wait()
		if stream.left != 10 {
			t.Error("the batch is read while the queue is full")
		}
		committed(q, full)
		synctest.Wait()
		if stream.left != 0 {
			t.Error("the batch is not read although there is room")
		}
		close(stream.broken)
		if err := <-done; !errors.Is(err, errBroken) {
			t.Error(err)
		}
	})
}

// TestHalfBatchesDoNotWaitForEachOther: many that are half there use up the room of
// their site, and still all are completed, also behind some that never are.
func TestHalfBatchesDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		ctx, cancel := context.WithCancel(t.Context())
		var all, honest sync.WaitGroup
		arrive := func(agent string, parts int, stalls bool) {
			room, err := q.enter(ctx, "site", agent)
			if err != nil {
				return
			}
			defer q.release(room)
			for range parts {
				if room.grow(ctx, mib) != nil {
					return
				}
				time.Sleep(time.Millisecond)
			}
			if stalls {
				<-ctx.Done()
			}
		}
		for n := range 20 {
			all.Go(func() { arrive(fmt.Sprint("stalls", n/8), 4, true) })
		}
		synctest.Wait()
		for n := range 20 {
			honest.Go(func() { arrive(fmt.Sprint("honest", n), 8, false) })
		}
		honest.Wait() // else synctest finds that all of them wait for ever
		cancel()
		all.Wait()
		if q.used != 0 {
			t.Errorf("%d bytes are used", q.used)
		}
	})
}

// TestStalledSite: a site that stalls and lies on every lane leaves the others what
// they had alone. The time is the test's own.
func TestStalledSite(t *testing.T) {
	alone, beside := throughput(t, 0), throughput(t, 8)
	t.Logf("%d batches of others alone, %d beside a hostile site", alone, beside)
	if beside*10 < alone*8 {
		t.Errorf("%d batches of others were committed beside a hostile site, %d without", beside, alone)
	}
}

// throughput returns how many batches of 20 honest sites are committed in a minute, at
// 40 MiB/s, beside some streams of a hostile one.
func throughput(t *testing.T, hostile int) (done int) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var all sync.WaitGroup
		all.Go(func() {
			for {
				group, err := q.take(ctx, time.Time{})
				if err != nil {
					return
				}
				var bytes int64
				for _, p := range group {
					bytes += p.room.bytes
				}
				time.Sleep(time.Duration(bytes) * time.Second / (40 * mib))
				for _, p := range group {
					if p.agent.Site != "hostile" {
						done++
					}
				}
				committed(q, group)
			}
		})
		for n := range hostile {
			all.Go(func() {
				for k := uint64(1); ctx.Err() == nil; k++ {
					room, err := q.enter(ctx, "hostile", "h")
					if err != nil {
						return
					}
					if n%2 == 0 { // announced, and half of it comes
						_ = room.grow(ctx, 4*mib)
						time.Sleep(time.Second)
						q.release(room)
						continue
					}
					room.fill(laneBytes) // a bomb
					q.put(waiting("hostile", k, room))
				}
			})
		}
		for site := range 20 {
			all.Go(func() {
				for k := uint64(1); ctx.Err() == nil; k++ {
					room, err := q.enter(ctx, fmt.Sprint(site), "a")
					if err != nil {
						return
					}
					if room.grow(ctx, 100<<10) != nil {
						q.release(room)
						return
					}
					room.fill(mib)
					q.put(waiting(fmt.Sprint(site), k, room))
				}
			})
		}
		all.Wait()
	})
	return done
}

// TestQuietTimes: where little comes there are few groups, and nothing waits for one for
// long; where much comes there are as many as ever; and what comes alone goes at once.
func TestQuietTimes(t *testing.T) {
	for name, c := range map[string]struct {
		every     time.Duration
		bytes     int64
		wait      time.Duration
		most, min int
	}{
		"little":       {10 * time.Millisecond, 2 << 10, quietLinger, 16, 14},
		"much":         {10 * time.Millisecond, 128 << 10, linger, 51, 49},
		"now and then": {2 * time.Second, 2 << 10, 0, 5, 5},
	} {
		synctest.Test(t, func(t *testing.T) {
			q := newQueue()
			ctx, cancel := context.WithCancel(t.Context())
			began, came := time.Now(), make(map[uint64]time.Time)
			var mu sync.Mutex
			groups := 0
			var done sync.WaitGroup
			done.Go(func() {
				var last time.Time
				for {
					group, err := q.take(ctx, last)
					if err != nil {
						return
					}
					last = time.Now()
					groups++
					mu.Lock()
					for _, p := range group {
						if waited := time.Since(came[p.batch.GetFirstSeq()]); waited > c.wait {
							t.Errorf("%s: batch %d waited for %v", name, p.batch.GetFirstSeq(), waited)
						}
					}
					mu.Unlock()
					committed(q, group)
				}
			})
			for n := uint64(1); time.Since(began) < 10*time.Second; n++ {
				mu.Lock()
				came[n] = time.Now()
				mu.Unlock()
				q.put(reserved(t, q, fmt.Sprint("site-", n%4), n, c.bytes))
				time.Sleep(c.every)
			}
			cancel()
			done.Wait()
			if groups < c.min || groups > c.most {
				t.Errorf("%s: %d groups in 10 s, want %d to %d", name, groups, c.min, c.most)
			}
		})
	}
}
