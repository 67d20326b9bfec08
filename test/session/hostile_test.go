package session_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/agent/enroll"
	"github.com/reeve-cloud/reeve/agent/spool"
	"github.com/reeve-cloud/reeve/agent/uplink"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/retry"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
	"github.com/reeve-cloud/reeve/test/centre"
)

var (
	hostileFor = flag.Duration("hostile-for", 8*time.Second,
		"how long TestBesideHostileAgents measures honest agents alone, two minutes at most, and then beside hostile ones; from a minute on "+
			"their delays are held against each other")
	hostileAgents = flag.Int("hostile-honest", 50, "how many honest agents there are in TestBesideHostileAgents")
)

// moreMemory is how many bytes of heap the aggregator may take more than without
// hostile agents: what its queue may hold, decoded, with garbage.
const moreMemory = 1 << 30

// TestBesideHostileAgents: two enrolled agents, one of a site of its own and one of a site of
// honest ones, do to the aggregator what they can. It stays within its memory, everything
// honest arrives exactly, and the hostile ones are told and counted.
//
//	go test ./test/session -run BesideHostileAgents -hostile-for 10m -timeout 30m -v
func TestBesideHostileAgents(t *testing.T) {
	c := centre.New(t)
	const sites = 10
	var honest []*honestAgent
	for n := range *hostileAgents {
		honest = append(honest, newHonestAgent(t, c, fmt.Sprint("site", n%sites)))
	}
	alone := measure(t, honest, func() { time.Sleep(min(*hostileFor, 2*time.Minute)) })

	o := hostileOrders{Address: c.Address, Longer: 1, Heard: []string{"cannot be read", "protocol violation", "new spool"}}
	if *hostileFor >= time.Minute {
		o.Longer = 5 // sessions may not be begun as often as it would
	}
	var evil []string
	for _, site := range []string{"evil", "site0", "evil"} {
		dir := t.TempDir()
		evil = append(evil, join(t, c, site, dir).Agent.ID)
		o.Dirs = append(o.Dirs, dir)
		o.Costly = dir // the last
	}
	var reports []hostileReport
	beside := measure(t, honest, func() {
		p := startHostile(t, o)
		time.Sleep(*hostileFor)
		reports = p.stop()
		t.Logf("the hostile process used %v of processor time", p.cmd.ProcessState.UserTime()+p.cmd.ProcessState.SystemTime())
	})

	t.Logf("alone: %v", alone)
	t.Logf("beside hostile agents: %v", beside)
	for i, e := range reports {
		t.Logf("%d sessions of a hostile agent, which sent %d MB, and was told:\n  %s", e.Sessions, e.Sent>>20, strings.Join(e.Told, "\n  "))
		if o.Dirs[i] == o.Costly {
			continue
		}
		for _, want := range o.Heard {
			if !slices.ContainsFunc(e.Told, func(s string) bool { return strings.Contains(s, want) }) {
				t.Errorf("a hostile agent was not told of %q", want)
			}
		}
	}
	if beside.heap > alone.heap+moreMemory {
		t.Errorf("the heap had %d MiB at most, %d MiB without hostile agents", beside.heap>>20, alone.heap>>20)
	}
	if *hostileFor >= time.Minute && beside.p99 > alone.p99*12/10 {
		t.Errorf("honest agents wait for %v, and for %v without hostile ones (99 of 100)", beside.p99, alone.p99)
	}
	// Everything that is honest is there, once.
	for _, h := range honest {
		var rows, versions uint64
		if err := c.Store.Conn().QueryRow(t.Context(), "SELECT count(), uniqExact(version) FROM asset_version WHERE agent_id = $1",
			h.agent).Scan(&rows, &versions); err != nil {
			t.Fatal(err)
		}
		if rows != h.sent || versions != h.sent {
			t.Errorf("%d rows, %d versions of %d that an honest agent sent", rows, versions, h.sent)
		}
	}
	// The hostile ones are counted: dead letters with their names.
	for i, id := range evil {
		var letters uint64
		if err := c.Store.Conn().QueryRow(t.Context(), "SELECT count() FROM dead_letter WHERE agent_id = $1", id).Scan(&letters); err != nil {
			t.Fatal(err)
		}
		if letters == 0 && o.Dirs[i] != o.Costly {
			t.Error("there are no dead letters of a hostile agent")
		}
		if n := strings.Count(c.Log.String(), id); n > 100+200*int(hostileFor.Minutes()+1)+4*reports[i].Sessions {
			t.Errorf("the log has %d lines of one agent", n)
		}
	}
	if n := warehousetest.Rows(t, c.Store, "dead_letter"); n > 2*(1_000+64)+int(hostileFor.Seconds()) {
		t.Errorf("%d dead letters", n)
	}
}

func join(t *testing.T, c *centre.Centre, site, dir string) *enroll.Identity {
	t.Helper()
	for {
		id, err := enroll.Join(t.Context(), dir, c.Token(site, 1, time.Hour), nil, "host", nil, slog.New(slog.DiscardHandler))
		if err == nil {
			return id
		}
		if !strings.Contains(err.Error(), "too many") {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond) // so many may join from one address
	}
}

// honestAgent observes something now and then.
type honestAgent struct {
	agent string
	spool *spool.Spool
	clock *hlc.Clock
	sent  uint64
}

func newHonestAgent(t *testing.T, c *centre.Centre, site string) *honestAgent {
	t.Helper()
	id := join(t, c, site, t.TempDir())
	sp, err := spool.Open(spool.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	h := &honestAgent{agent: id.Agent.ID, spool: sp, clock: hlc.New(0)}
	link := &uplink.Uplink{Spool: sp, Clock: h.clock, Addresses: []string{c.Address}, TLS: id.ClientTLS, Hostname: "host",
		Logger: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := link.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
		if err := sp.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// observe records something and returns how long it took until it was acknowledged.
func (h *honestAgent) observe(ctx context.Context) (time.Duration, error) {
	h.sent++
	r := &wirev1.Record{Body: &wirev1.Record_Asset{Asset: &wirev1.AssetVersion{
		Type: "fake.test.Thing", Uid: fmt.Sprint(h.agent, h.sent%5), Version: uint64(h.clock.Next()),
		Operation: wirev1.Operation_OPERATION_UPDATED,
		Scope:     "fake/s", Document: fmt.Appendf(nil, `{"n":%d,"text":%q}`, h.sent, strings.Repeat("x", mrand.IntN(4000))), Hash: make([]byte, 16),
	}}}
	began := time.Now()
	if err := h.spool.Append(ctx, assets, []*wirev1.Record{r}); err != nil {
		return 0, err
	}
	for h.spool.Stat()[0].Waiting > 0 {
		if err := retry.Sleep(ctx, 2*time.Millisecond); err != nil {
			return 0, err
		}
	}
	return time.Since(began), nil
}

// figures are what was measured.
type figures struct {
	count    int
	p50, p99 time.Duration
	heap     uint64
	// processor is the time that the aggregator and the honest agents used.
	processor time.Duration
}

func (f figures) String() string {
	return fmt.Sprintf("%d records, p50 %v, p99 %v, heap at most %d MiB, %v of processor time", f.count, f.p50.Round(time.Millisecond),
		f.p99.Round(time.Millisecond), f.heap>>20, f.processor.Round(time.Second))
}

// measure has honest agents observe until during returns, and waits until everything has
// arrived.
func measure(t *testing.T, honest []*honestAgent, during func()) (f figures) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	var delays []time.Duration
	var all sync.WaitGroup
	for _, h := range honest {
		all.Go(func() {
			for ctx.Err() == nil {
				took, err := h.observe(t.Context()) // what was begun is finished
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				delays = append(delays, took)
				mu.Unlock()
				_ = retry.Sleep(ctx, time.Duration(mrand.IntN(400))*time.Millisecond)
			}
		})
	}
	var heap atomic.Uint64
	sampled := make(chan struct{})
	go func() {
		defer close(sampled)
		for ctx.Err() == nil {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			heap.Store(max(heap.Load(), m.HeapInuse))
			_ = retry.Sleep(ctx, 100*time.Millisecond)
		}
	}()
	before := processorTime(t)
	during()
	f.processor = processorTime(t) - before
	cancel()
	all.Wait()
	<-sampled
	slices.Sort(delays)
	if len(delays) == 0 {
		t.Fatal("nothing was measured")
	}
	f.count, f.p50, f.p99, f.heap = len(delays), delays[len(delays)/2], delays[len(delays)*99/100], heap.Load()
	return f
}

// processorTime is what the aggregator has used with the honest agents, without its engine.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
