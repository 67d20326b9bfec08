// Package edge is the agent: it wires the parts and runs them.
package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/reeve-cloud/reeve/agent/collect"
	"github.com/reeve-cloud/reeve/agent/config"
	"github.com/reeve-cloud/reeve/agent/enroll"
	"github.com/reeve-cloud/reeve/agent/redact"
	"github.com/reeve-cloud/reeve/agent/stores"
	"github.com/reeve-cloud/reeve/agent/uplink"
	"github.com/reeve-cloud/reeve/pkg/health"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/pkg/retry"
	"github.com/reeve-cloud/reeve/pkg/transport"
	"github.com/reeve-cloud/reeve/pkg/version"
)

// Options are what an agent is made of.
type Options struct {
	Config config.Config
	// Plugins are the collectors that the configuration may name.
	Plugins []plugin.Plugin
	Logger  *slog.Logger
	// Now is the wall clock that stamps follow. Nil means time.Now.
	Now func() time.Time
}

// Agent is an agent with its stores open. Its methods are called in the order New,
// Start, Stop, by one goroutine.
type Agent struct {
	config   config.Config
	now      func() time.Time
	logger   *slog.Logger
	hostname string
	names    []string // of collectors
	proxy    transport.Proxy
	limit    *rate.Limiter

	stores   *stores.Stores
	clock    *hlc.Clock
	holdings *collect.Holdings
	recorder *collect.Recorder
	runner   *collect.Runner
	health   *health.Server // nil where it is not served
	shipping *uplink.Metrics
	// link is there once the agent has enrolled.
	link atomic.Pointer[uplink.Uplink]

	cancel context.CancelFunc
	group  *errgroup.Group
	done   chan struct{}
	// err is why the agent has ended. It is set before done is closed.
	err error
}

// New opens the stores and the listeners. Nothing is observed or shipped before
// Start. Stop must follow in any case.
func New(o Options) (*Agent, error) {
	c := o.Config
	if o.Now == nil {
		o.Now = time.Now
	}
	rules, err := c.Redact.Rules()
	if err != nil {
		return nil, err
	}
	opened, err := c.Open(o.Plugins, o.Logger)
	if err != nil {
		return nil, err
	}
	a := &Agent{config: c, now: o.Now, logger: o.Logger, done: make(chan struct{})}
	var sources []collect.Source
	for _, source := range opened {
		sources = append(sources, collect.Source(source))
		a.names = append(a.names, source.Name)
	}
	if a.proxy, err = c.Through(); err != nil {
		return nil, err
	}
	if a.limit, err = c.Limit(); err != nil {
		return nil, err
	}
	if a.hostname, err = hostname(); err != nil {
		return nil, err
	}
	o.Logger.Info("agent is starting", "version", version.String(), "data_dir", c.DataDir, "collectors", a.names)
	if a.stores, err = stores.Open(stores.Options{Dir: c.DataDir, MaxBytes: c.Spool.MaxBytes, Logger: o.Logger}); err != nil {
		return nil, err
	}
	key, err := redact.OpenKey(filepath.Join(c.DataDir, "uid-key"))
	if err != nil {
		return nil, errors.Join(err, a.stores.Close())
	}
	rules.SetKey(key)
	stamp, err := a.stores.Seen.Clock()
	if err != nil {
		return nil, errors.Join(err, a.stores.Close())
	}
	a.clock = hlc.On(o.Now, stamp)
	registry := health.NewRegistry("reeve-agent")
	if a.holdings, err = collect.NewHoldings(a.stores.Seen, a.names, o.Logger); err != nil {
		return nil, errors.Join(err, a.stores.Close())
	}
	a.recorder = &collect.Recorder{
		Seen: a.stores.Seen, Spool: a.stores.Spool, Clock: a.clock, Logger: o.Logger, Redact: rules,
		Metrics: collect.NewMetrics(registry, a.names...), Holdings: a.holdings,
	}
	a.runner = &collect.Runner{Recorder: a.recorder, Sources: sources}
	a.stores.Register(registry)
	a.shipping = uplink.NewMetrics(registry)
	if err := a.listen(registry); err != nil {
		return nil, errors.Join(err, a.stores.Close())
	}
	return a, nil
}

func (a *Agent) listen(registry *prometheus.Registry) (err error) {
	if a.config.HealthListen == "" {
		return nil
	}
	a.health, err = health.Listen(a.config.HealthListen, registry, func(context.Context) error { return a.ready() })
	return err
}

// ready returns why the agent does not do its work, or nil.
func (a *Agent) ready() error {
	if err := a.stores.Spool.Err(); err != nil {
		return err
	}
	if link := a.link.Load(); link == nil || !link.Connected() {
		return errors.New("no session with the aggregator")
	}
	return nil
}

// Addr is where health checks and metrics are served, or nil.
func (a *Agent) Addr() net.Addr {
	if a.health == nil {
		return nil
	}
	return a.health.Addr()
}

// Start begins the work, and returns at once. Done is closed when that has ended,
// by Stop or by itself.
func (a *Agent) Start() {
	var ctx context.Context
	ctx, a.cancel = context.WithCancel(context.Background())
	a.group, ctx = errgroup.WithContext(ctx)
	if a.health != nil {
		a.group.Go(func() error { return a.health.Serve(ctx) })
	}
	// Collection does not wait for enrollment: what is seen until then is spooled.
	a.group.Go(func() error { return a.runner.Run(ctx) })
	a.group.Go(func() error { return a.stores.MakeGood(ctx, a.recorder) })
	a.group.Go(func() error { return a.stores.CollectGarbage(ctx) })
	a.group.Go(func() error { return a.ship(ctx) })
	a.group.Go(func() error { return a.count(ctx) })
	go func() {
		defer close(a.done)
		if err := a.group.Wait(); !errors.Is(err, context.Canceled) {
			a.err = err
		}
	}()
}

// Done is closed when the work has ended.
func (a *Agent) Done() <-chan struct{} { return a.done }

// Stop ends the work, waits for it, and closes the stores. It returns why the work
// had ended by itself, if it had.
func (a *Agent) Stop() error {
	if a.cancel == nil {
		var err error
		if a.health != nil {
			err = a.health.Close()
		}
		return errors.Join(err, a.stores.Close())
	}
	a.cancel()
	<-a.done
	err := errors.Join(a.err, a.stores.Close())
	if err == nil {
		a.logger.Info("agent has stopped")
	}
	return err
}

// ship enrolls if need be, and holds sessions.
func (a *Agent) ship(ctx context.Context) error {
	id, err := a.enrolled(ctx)
	if err != nil {
		return err
	}
	id.Proxy = a.proxy
	link := &uplink.Uplink{
		Spool: a.stores.Spool, Clock: a.clock, Now: a.now, Addresses: Addresses(a.config, id), Proxy: a.proxy, Limit: a.limit,
		TLS: id.ClientTLS, Renew: id.RenewSoon, Inventory: a.recorder, Hostname: a.hostname, Collectors: a.names,
		Logger: a.logger, Metrics: a.shipping, Scopes: a.holdings, ComeDown: a.stores.Seen.ComeDown,
	}
	a.link.Store(link)
	a.group.Go(func() error { return id.KeepFresh(ctx, link.Addresses, a.logger) })
	return link.Run(ctx)
}

// enrolled returns the agent's identity, and enrolls if it has none.
func (a *Agent) enrolled(ctx context.Context) (*enroll.Identity, error) {
	dir := IdentityDir(a.config)
	id, err := enroll.Load(dir)
	if !errors.Is(err, enroll.ErrNotEnrolled) {
		return id, err
	}
	token, ok, err := a.config.Token()
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("this agent has not enrolled yet and has no join token: make one with `reeve token create --site SITE`, " +
			"put it into a file, and name that in join_token_file or REEVE_JOIN_TOKEN_FILE")
	}
	return enroll.Join(ctx, dir, token, a.config.Aggregators, a.hostname, a.proxy, a.logger)
}

// countEvery is how often the agent writes down how many assets its scopes have.
const countEvery = 10 * time.Minute

// count writes down how many assets each scope has, soon after the start, now and then,
// and at the end.
func (a *Agent) count(ctx context.Context) error {
	write := func() {
		if err := a.recorder.WriteCounts(CountsFile(a.config)); err != nil {
			a.logger.Warn("reeve-agent check cannot tell what a configuration would delete", "error", err)
		}
	}
	defer write()
	for wait := time.Minute; ; wait = countEvery {
		if err := retry.Sleep(ctx, wait); err != nil {
			return err
		}
		write()
	}
}

// CountsFile is where an agent writes down how many assets its scopes have.
func CountsFile(c config.Config) string { return filepath.Join(c.DataDir, "scopes.json") }

// IdentityDir is where an agent's identity lies.
func IdentityDir(c config.Config) string { return filepath.Join(c.DataDir, "identity") }

// Addresses are where an agent with an identity looks for aggregators.
func Addresses(c config.Config, id *enroll.Identity) []string {
	if len(c.Aggregators) > 0 {
		return c.Aggregators
	}
	return id.Addresses
}
