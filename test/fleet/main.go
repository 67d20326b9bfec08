// Command fleet holds an aggregator against a fleet: it runs the real spool, uplink
// and enrollment of many agents in one process, each with a made-up estate that
// changes, and says what that costs the centre and whether the warehouse has the
// truth in the end.
//
//	make fleet ARGS='-agents 200 -assets 400 -churn 1%/min -for 2m'
//
// It starts an aggregator of its own (bin/reeve-aggregator, with the engine in
// CHDB_LIB_PATH), measures it and compares. Of one that is named with -aggregator it
// measures only what shows from outside, and does not compare.
//
// What follows the agents' collectors is real; the collectors, the redaction and what
// was last seen are not here, nor are costs, for which the wire has no record yet.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/reeve-cloud/reeve/agent/uplink"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/test/aims"
	"github.com/reeve-cloud/reeve/tui/client"
)

type options struct {
	count, assets int
	churn         float64 // of all assets, a second
	length        time.Duration
	seed          uint64
	dir           string
	aggregator    string
	token, caHash string
}

func main() {
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		err = run(ctx, o)
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("fleet", flag.ContinueOnError)
	f.IntVar(&o.count, "agents", 20, "how many agents there are")
	f.IntVar(&o.assets, "assets", 100, "how many assets each of them sees; whole hundreds have the right mix of types")
	churn := f.String("churn", "1%/min", "how much of all assets changes in which time: PERCENT%/s, /min or /h")
	f.DurationVar(&o.length, "for", time.Minute, "for how long they change")
	f.Uint64Var(&o.seed, "seed", 1, "what the estates and the changes are made of")
	f.StringVar(&o.dir, "dir", "", "where the spools and the aggregator's state lie; a temporary directory if empty")
	f.StringVar(&o.aggregator, "aggregator", "", "HOST:PORT of an aggregator; one of its own if empty")
	tokenFile := f.String("token", "", "file with an API token of that aggregator")
	f.StringVar(&o.caHash, "ca-hash", "", "hash of that aggregator's CA")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if o.churn, err = parseChurn(*churn); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("%q is no option", f.Arg(0))
	case o.count < 1 || o.count > 10_000 || o.assets < 1:
		return o, errors.New("-agents must be 1 to 10000, -assets 1 or more")
	case o.aggregator != "" && (*tokenFile == "" || o.caHash == ""):
		return o, errors.New("-aggregator needs -token FILE and -ca-hash")
	}
	if *tokenFile != "" {
		data, err := os.ReadFile(*tokenFile)
		if err != nil {
			return o, err
		}
		o.token = strings.TrimSpace(string(data))
	}
	return o, nil
}

func parseChurn(s string) (perSecond float64, err error) {
	percent, unit, found := strings.Cut(s, "%/")
	n, err := strconv.ParseFloat(percent, 64)
	seconds := map[string]float64{"s": 1, "min": 60, "h": 3600}[unit]
	if !found || err != nil || seconds == 0 || !(n >= 0 && n <= 100) {
		return 0, fmt.Errorf("-churn %q: must be as 1%%/min", s)
	}
	return n / 100 / seconds, nil
}

// fleet is what a run is made of.
type fleet struct {
	options
	began   time.Time
	centre  *centre // nil if it is not our own
	watcher *watcher
	api     *client.Client
	agents  []*agent
	metrics *prometheus.Registry
}

func run(ctx context.Context, o options) (err error) {
	// Each agent has a socket and some five files.
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if need := uint64(o.count*8 + 200); limit.Max < need {
		return fmt.Errorf("%d agents need %d open files, and %d are allowed (ulimit -Hn)", o.count, need, limit.Max)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	// Processor time is the aggregator's; memory is what we have.
	debug.SetGCPercent(200)
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "reeve-fleet-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(o.dir)) }()
	}
	r := &fleet{options: o, began: time.Now(), metrics: prometheus.NewRegistry()}
	r.say("%d agents with %d assets each, seed %d", o.count, o.assets, o.seed)
	if o.aggregator == "" {
		if r.centre, err = startCentre(ctx, o.dir); err != nil {
			return err
		}
		stopped := sync.OnceValue(r.centre.stop)
		defer func() { err = errors.Join(err, stopped()) }()
		r.aggregator, r.token, r.caHash = r.centre.address, r.centre.token, r.centre.caHash
		r.watcher = &watcher{pids: []int{r.centre.cmd.Process.Pid, r.centre.engine()}}
		watching, end := context.WithCancel(ctx)
		var wg sync.WaitGroup
		wg.Go(func() { r.watcher.watch(watching) })
		defer wg.Wait()
		defer end()
	}
	server, err := client.ParseServer(r.aggregator)
	if err != nil {
		return err
	}
	if r.api, err = client.New(client.Options{Server: server, CAHash: r.caHash, Token: r.token}); err != nil {
		return err
	}
	defer r.api.Close()
	if err := r.ship(ctx); err != nil {
		return err
	}
	if r.centre == nil {
		r.say("the aggregator is not our own: the warehouse is not compared")
		return nil
	}
	if err := r.centre.stop(); err != nil {
		return fmt.Errorf("stopping the aggregator: %w", err)
	}
	began := time.Now()
	c, err := compare(ctx, r.centre, r.agents)
	if err != nil {
		return fmt.Errorf("comparing the warehouse with the truth: %w", err)
	}
	r.say("compared in %.1f s: %s", time.Since(began).Seconds(), c)
	if !c.equal() {
		return errors.New("the warehouse is not equal to the truth")
	}
	r.say("the warehouse is equal to the truth")
	return nil
}

func (r *fleet) say(format string, args ...any) {
	fmt.Printf("%7.1f s  %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

// ship goes through the phases, and ends with all agents stopped.
// What an aggregator and its engine should hold of memory, for 800,000 assets, and
// how soon a reader of the API should be told of a change, for 99 of 100.
const (
	residentAim = 1536 // MiB
	toldAim     = 2 * time.Second
)

// missed takes note of a figure that is short of its aim, which is no failure.
func (r *fleet) missed(what string, got, aim any) {
	what = fmt.Sprintf("fleet of %d agents with %d assets each: %s", r.count, r.assets, what)
	if err := aims.Missed(r.say, what, got, aim); err != nil {
		r.say("%v", err)
	}
}

func (r *fleet) ship(ctx context.Context) (err error) {
	defer func() {
		for _, a := range r.agents {
			err = errors.Join(err, a.spool.Close())
		}
	}()
	if err := r.enroll(ctx); err != nil {
		return err
	}
	began := time.Now()
	if err := r.each(ctx, 4, func(ctx context.Context, a *agent) error { return a.sweep(ctx) }); err != nil {
		return err
	}
	var waiting int64
	for _, a := range r.agents {
		waiting += a.spool.Stat()[0].Bytes
	}
	r.say("spools filled in %.1f s: %.1f MB of frames", time.Since(began).Seconds(), float64(waiting)/1e6)
	// What that needed is not needed again.
	debug.FreeOSMemory()

	running, end := context.WithCancel(ctx)
	defer end()
	links, running := errgroup.WithContext(running)
	from := r.figures()
	if err := r.connect(running, links); err != nil {
		return errors.Join(err, links.Wait())
	}
	err = r.load(running, from)
	if err == nil && r.length > 0 {
		err = r.steady(running)
	}
	end()
	if linkErr := links.Wait(); linkErr != nil {
		return linkErr
	}
	return err
}

// each does something for every agent, so many at once.
func (r *fleet) each(ctx context.Context, atOnce int, do func(context.Context, *agent) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, a := range r.agents {
		group.Go(func() error {
			if err := do(ctx, a); err != nil {
				return fmt.Errorf("%s: %w", a.site, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// enroll makes the agents and lets them join.
func (r *fleet) enroll(ctx context.Context) error {
	for number := range r.count {
		a, err := newAgent(r.seed, number, r.assets, r.dir)
		if err != nil {
			return err
		}
		r.agents = append(r.agents, a)
	}
	metrics := uplink.NewMetrics(r.metrics)
	from, began := r.figures(), time.Now()
	if err := r.each(ctx, 8, func(ctx context.Context, a *agent) error {
		return a.join(ctx, r.api, r.aggregator, r.dir,
			metrics)
	}); err != nil {
		return err
	}
	took := time.Since(began).Seconds()
	r.say("%d agents enrolled in %.1f s (%.0f a second, a site and a token made for each)%s", len(r.agents), took,
		float64(len(r.agents))/took, r.since(from))
	return nil
}

// connect starts the uplinks, a new one whenever fewer than a hundred are on their
// way: all at once, on a machine that has other work, they time out faster than
// their handshakes are done.
func (r *fleet) connect(ctx context.Context, links *errgroup.Group) error {
	began := time.Now()
	var pending []*agent
	for _, a := range r.agents {
		for len(pending) >= 100 {
			pending = slices.DeleteFunc(pending, func(a *agent) bool { return a.link.Connected() })
			select {
			case <-time.After(5 * time.Millisecond):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		pending = append(pending, a)
		links.Go(func() error { return a.run(ctx) })
	}
	r.say("%d agents connected in %.1f s", len(r.agents)-len(pending), time.Since(began).Seconds())
	return nil
}

// load waits until all that was spooled is acknowledged.
func (r *fleet) load(ctx context.Context, from figures) error {
	said := time.Now()
	for left := slices.Clone(r.agents); ; {
		left = slices.DeleteFunc(left, func(a *agent) bool { return a.shipped() })
		if len(left) == 0 {
			break
		}
		if time.Since(said) > 10*time.Second {
			said = time.Now()
			r.say("  %d of %d agents have shipped everything", len(r.agents)-len(left), len(r.agents))
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	took := time.Since(from.at).Seconds()
	rows := float64(len(r.agents) * r.assets)
	r.say("first load: %.0f versions acknowledged in %.1f s, %.0f a second%s", rows, took, rows/took, r.since(from))
	if cpu := r.figures().cpu() - from.cpu(); cpu > 0 {
		r.say("  that is %.0f us of a processor for each version at the centre", float64(cpu.Microseconds())/rows)
	}
	return nil
}

// operation is one change.
type operation struct {
	agent, asset int
	gone, event  bool
}

// steady lets the estates change for a while and measures how long it takes until
// a reader of the API is told.
func (r *fleet) steady(ctx context.Context) error {
	told := &delays{}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	group, watching := errgroup.WithContext(watching)
	standing := make(chan struct{})
	group.Go(func() error { return told.watch(watching, r.api, standing) })
	select {
	case <-standing:
	case <-watching.Done():
		return group.Wait()
	}
	r.sample()
	from := r.figures()
	perSecond := r.churn * float64(len(r.agents)*r.assets)
	made, err := r.change(watching, perSecond)
	if err != nil {
		return errors.Join(err, group.Wait())
	}
	took := time.Since(from.at).Seconds()
	cost := r.since(from)
	for deadline := time.Now().Add(30 * time.Second); told.count() < made; {
		if time.Now().After(deadline) {
			return fmt.Errorf("%d versions were made, and the watch was told of %d", made, told.count())
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-watching.Done():
			return group.Wait()
		}
	}
	stop()
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	for _, a := range r.agents {
		for !a.shipped() { // events, and the last acknowledgements
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	r.say("steady: %d versions in %.0f s, %.1f a second (%.1f meant)%s", made, took, float64(made)/took, perSecond, cost)
	r.say("  observed until a reader of the API is told: %s", told)
	if p99 := told.p99(); p99 > toldAim {
		r.missed("observed until a reader of the API is told, p99", p99, toldAim)
	}
	return nil
}

// change makes changes for as long as the options say, and returns how many
// versions they were.
func (r *fleet) change(ctx context.Context, perSecond float64) (made int, err error) {
	const workers = 32
	ctx, cancel := context.WithTimeout(ctx, r.length)
	defer cancel()
	group, working := errgroup.WithContext(context.WithoutCancel(ctx))
	// All changes of an agent go through one worker, in their order.
	queues := make([]chan operation, workers)
	for i := range queues {
		queues[i] = make(chan operation, 100)
		group.Go(func() error {
			for o := range queues[i] {
				if err := r.agents[o.agent].change(working, o); err != nil {
					return err
				}
			}
			return nil
		})
	}
	random := rand.New(rand.NewPCG(r.seed, 1))
	for next := time.Now(); ; made++ {
		if perSecond == 0 {
			<-ctx.Done()
			break
		}
		next = next.Add(time.Duration(random.ExpFloat64() / perSecond * float64(time.Second)))
		o := operation{random.IntN(len(r.agents)), random.IntN(r.assets), random.IntN(20) == 0, random.IntN(10) == 0}
		select {
		case <-time.After(time.Until(next)):
		case <-ctx.Done():
		}
		if ctx.Err() != nil || working.Err() != nil {
			break
		}
		select {
		case queues[o.agent%workers] <- o:
			continue
		case <-working.Done():
		}
		break
	}
	for _, q := range queues {
		close(q)
	}
	return made, group.Wait()
}

// delays are how long it took from an observation until a watch was told of it.
type delays struct {
	mu   sync.Mutex
	list []time.Duration
}

// watch reads changes until ctx ends, and closes standing when it has begun to.
func (d *delays) watch(ctx context.Context, api *client.Client, standing chan<- struct{}) error {
	stream, err := api.Inventory.WatchChanges(ctx, connect.NewRequest(&reevev1.WatchChangesRequest{}))
	if err != nil {
		return fmt.Errorf("watching changes: %w", err)
	}
	defer stream.Close()
	for stream.Receive() {
		now := time.Now()
		d.mu.Lock()
		for _, c := range stream.Msg().GetChanges() {
			d.list = append(d.list, now.Sub(c.GetObserveTime().AsTime()))
		}
		d.mu.Unlock()
		if standing != nil {
			close(standing)
			standing = nil
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("watching changes: %w", stream.Err())
}

func (d *delays) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.list)
}

// p99 is the delay that one in a hundred exceeds.
func (d *delays) p99() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.list) == 0 {
		return 0
	}
	slices.Sort(d.list)
	return d.list[int(.99*float64(len(d.list)-1))]
}

func (d *delays) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.list) == 0 {
		return "nothing changed"
	}
	slices.Sort(d.list)
	at := func(q float64) float64 { return d.list[int(q*float64(len(d.list)-1))].Seconds() }
	return fmt.Sprintf("p50 %.2f s, p90 %.2f s, p99 %.2f s, worst %.2f s of %d", at(.5), at(.9), at(.99), at(1), len(d.list))
}

// figures are what was needed up to a moment.
type figures struct {
	at                             time.Time
	own, aggregator, engine        time.Duration
	batchBytes, groups, groupsTook float64
}

func (f figures) cpu() time.Duration { return f.aggregator + f.engine }

func (r *fleet) figures() figures {
	f := figures{at: time.Now()}
	var self syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &self) == nil {
		f.own = time.Duration(self.Utime.Nano() + self.Stime.Nano())
	}
	families, err := r.metrics.Gather()
	for _, family := range families {
		if err == nil && family.GetName() == "reeve_agent_sent_batch_bytes_total" {
			for _, m := range family.GetMetric() {
				f.batchBytes += m.GetCounter().GetValue()
			}
		}
	}
	if r.centre == nil {
		return f
	}
	// A figure that cannot be had shows as zero.
	for i, into := range []*time.Duration{&f.aggregator, &f.engine} {
		if u, err := usageOf(r.watcher.pids[i]); err == nil {
			*into = u.cpu
		}
	}
	if all, err := r.centre.metrics(); err == nil {
		f.groups, f.groupsTook = all["reeve_ingest_commit_seconds_count"], all["reeve_ingest_commit_seconds_sum"]
	}
	return f
}

// sample begins the peaks of memory anew.
func (r *fleet) sample() {
	if r.watcher != nil {
		r.watcher.take()
	}
}

// since says what was needed since a moment.
func (r *fleet) since(from figures) string {
	f := r.figures()
	took := f.at.Sub(from.at).Seconds()
	var s strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&s, "\n             "+format, args...) }
	if r.centre != nil {
		line("processor: aggregator %.1f s (%.0f %% of a core), engine %.1f s (%.0f %%), simulator %.1f s (%.0f %%)",
			(f.aggregator - from.aggregator).Seconds(), (f.aggregator-from.aggregator).Seconds()/took*100,
			(f.engine - from.engine).Seconds(), (f.engine-from.engine).Seconds()/took*100,
			(f.own - from.own).Seconds(), (f.own-from.own).Seconds()/took*100)
		most, last := r.watcher.take()
		if len(most) == 3 {
			mib := func(kib int) int { return kib >> 10 }
			own := make([]int, 2)
			for i := range own {
				if u, err := usageOf(r.watcher.pids[i]); err == nil {
					own[i] = mib(u.own)
				}
			}
			line("resident, most: aggregator %d MiB, engine %d MiB, both %d MiB; in the end %d (%d of its own), %d (%d of its own), %d MiB",
				mib(most[0]), mib(most[1]), mib(most[2]), mib(last[0]), own[0], mib(last[1]), own[1], mib(last[2]))
			if r.count*r.assets <= 800_000 && mib(most[2]) > residentAim {
				r.missed("MiB resident, aggregator and engine", mib(most[2]), residentAim)
			}
		}
		if groups := f.groups - from.groups; groups > 0 {
			line("%.0f groups committed, %.0f ms each", groups, (f.groupsTook-from.groupsTook)/groups*1000)
		}
	}
	if sent := f.batchBytes - from.batchBytes; sent > 0 {
		line("batches: %.1f MB, %.1f kB/s", sent/1e6, sent/1e3/took)
	}
	return s.String()
}
