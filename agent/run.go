package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/reeve-cloud/reeve/agent/collect"
	"github.com/reeve-cloud/reeve/agent/config"
	"github.com/reeve-cloud/reeve/agent/enroll"
	"github.com/reeve-cloud/reeve/agent/spool"
	"github.com/reeve-cloud/reeve/agent/uplink"
	"github.com/reeve-cloud/reeve/pkg/health"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/pkg/retry"
	"github.com/reeve-cloud/reeve/pkg/transport"
	"github.com/reeve-cloud/reeve/pkg/version"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// wallClock is what stamps follow. It is another in the builds of tests.
var wallClock = time.Now

// softMemoryLimit is what an agent's heap needs not exceed, up to some fifty
// thousand assets.
const softMemoryLimit = 112 << 20

// run is the agent: it wires the parts and runs them until ctx ends.
func run(ctx context.Context, c config.Config, logger *slog.Logger) error {
	// Memory is what an agent must not take from its host: collect garbage
	// earlier than Go does by default, unless the user says otherwise.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		// No hard limit: above it garbage is collected more eagerly, and memory
		// that a first listing needed is given back soon after.
		debug.SetMemoryLimit(softMemoryLimit)
	}
	registry := health.NewRegistry("reeve-agent")

	rules, err := c.Redact.Rules()
	if err != nil {
		return err
	}
	opened, err := c.Open(plugins, logger)
	if err != nil {
		return err
	}
	var sources []collect.Source
	var names []string
	for _, o := range opened {
		sources = append(sources, collect.Source(o))
		names = append(names, o.Name)
	}
	proxy, err := c.Through()
	if err != nil {
		return err
	}
	limit, err := c.Limit()
	if err != nil {
		return err
	}
	hostname, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("finding out the host name: %w", err)
	}

	logger.Info("agent is starting", "version", version.String(), "data_dir", c.DataDir, "collectors", names)
	stores, err := openStores(c, logger)
	if err != nil {
		return err
	}
	defer stores.close(logger)

	stamp, err := stores.seen.Clock()
	if err != nil {
		return err
	}
	clock := hlc.On(wallClock, stamp)
	recorder := &collect.Recorder{
		Seen: stores.seen, Spool: stores.spool, Clock: clock, Logger: logger, Redact: rules,
		Metrics: collect.NewMetrics(registry),
	}
	runner := &collect.Runner{Recorder: recorder, Sources: sources}

	watchSpool(stores.spool, registry)
	link := &uplink.Uplink{
		Spool: stores.spool, Clock: clock, Now: wallClock, Hostname: hostname, Collectors: names, Logger: logger,
		Metrics: uplink.NewMetrics(registry), Limit: limit, Inventory: recorder,
	}

	group, ctx := errgroup.WithContext(ctx)
	if c.HealthListen != "" {
		server, err := health.Listen(c.HealthListen, registry, func(context.Context) error {
			if err := stores.spool.Err(); err != nil {
				return err
			}
			if !link.Connected() {
				return errors.New("no session with the aggregator")
			}
			return nil
		})
		if err != nil {
			return err
		}
		group.Go(func() error { return server.Serve(ctx) })
	}
	// Collection does not wait for enrollment: what is seen until then is spooled.
	group.Go(func() error {
		return runner.Run(ctx)
	})
	group.Go(func() error { return stores.makeGood(ctx, recorder, logger) })
	group.Go(func() error {
		id, err := enrolled(ctx, c, hostname, proxy, logger)
		if err != nil {
			return err
		}
		id.Proxy = proxy
		link.Addresses, link.TLS, link.Proxy, link.Renew = addresses(c, id), id.ClientTLS, proxy, id.RenewSoon
		group.Go(func() error { return id.KeepFresh(ctx, link.Addresses, logger) })
		return link.Run(ctx)
	})
	group.Go(func() error { return stores.collectGarbage(ctx, logger) })
	err = group.Wait()
	if errors.Is(err, context.Canceled) {
		logger.Info("agent has stopped")
		return nil
	}
	return err
}

// enrolled returns the agent's identity, and enrolls if it has none.
func enrolled(ctx context.Context, c config.Config, hostname string, proxy transport.Proxy, logger *slog.Logger) (*enroll.Identity, error) {
	dir := filepath.Join(c.DataDir, "identity")
	id, err := enroll.Load(dir)
	if !errors.Is(err, enroll.ErrNotEnrolled) {
		return id, err
	}
	token, ok, err := c.Token()
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("this agent has not enrolled yet and has no join token: make one with `reeve token create --site SITE`, " +
			"put it into a file, and name that in join_token_file or REEVE_JOIN_TOKEN_FILE")
	}
	return enroll.Join(ctx, dir, token, c.Aggregators, hostname, proxy, logger)
}

func addresses(c config.Config, id *enroll.Identity) []string {
	if len(c.Aggregators) > 0 {
		return c.Aggregators
	}
	return id.Addresses
}

// stores are what the agent keeps on disk.
type stores struct {
	// dir is where they lie.
	dir   string
	seen  *collect.LastSeen
	spool *spool.Spool
	// lost is poked when something in the spool was lost.
	lost chan struct{}
}

func openStores(c config.Config, logger *slog.Logger) (s stores, err error) {
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return s, fmt.Errorf("making the data directory: %w", err)
	}
	s.dir, s.lost = c.DataDir, make(chan struct{}, 1)
	if s.seen, err = openLastSeen(c, logger); err != nil {
		return s, err
	}
	s.seen.MinFree = minFree
	options := spool.Options{
		Dir: filepath.Join(c.DataDir, "spool"), MaxBytes: c.Spool.MaxBytes, MinFree: minFree, Logger: logger,
		Apply: s.seen.Apply, Applied: s.seen.Applied, BeforeTrim: s.seen.Sync, Recall: s.seen.Recall,
		Damaged: func(d spool.Damage) error {
			if err := s.seen.MustResend(fmt.Sprintf("the spool was damaged: %d records of %s are lost", d.Records, wire.ClassName(d.Class))); err != nil {
				return err
			}
			select {
			case s.lost <- struct{}{}:
			default:
			}
			return nil
		},
	}
	s.spool, err = spool.Open(options)
	if errors.Is(err, spool.ErrCorrupt) {
		aside, moved := putAside(options.Dir)
		if moved != nil {
			return s, errors.Join(err, moved, s.seen.Close())
		}
		logger.Error("the spool cannot be read and was put aside; all assets are sent again, events that waited in it are lost",
			"error", err, "moved_to", aside)
		if err := s.seen.MustResend("the spool cannot be read and was put aside: events that waited in it are lost"); err != nil {
			return s, errors.Join(err, s.seen.Close())
		}
		s.spool, err = spool.Open(options)
	}
	if err != nil {
		return s, errors.Join(err, s.seen.Close())
	}
	resend, err := s.seen.Adopt(s.spool.ID())
	if err == nil && resend {
		// What was lost may never have been applied: collectors look at everything
		// again before they go on from where they were.
		err = s.seen.ForgetCheckpoints()
	}
	if err != nil {
		return s, errors.Join(err, s.spool.Close(), s.seen.Close())
	}
	return s, nil
}

// minFree is what the agent leaves free on its filesystem. Last seen writes
// through memory maps: without room for them the kernel ends the process.
const minFree = 32 << 20

// putAside renames a directory, and returns its new name.
func putAside(dir string) (string, error) {
	aside := fmt.Sprintf("%s.corrupt-%s", dir, time.Now().UTC().Format("20060102T150405.000Z"))
	if err := os.Rename(dir, aside); err != nil {
		return "", fmt.Errorf("putting %s aside: %w", dir, err)
	}
	old, err := filepath.Glob(dir + ".corrupt-*")
	if err != nil {
		return "", err
	}
	slices.Sort(old)
	for _, name := range old[:max(len(old)-keepAside, 0)] {
		if err := os.RemoveAll(name); err != nil {
			return "", fmt.Errorf("removing an old damaged directory: %w", err)
		}
	}
	return aside, nil
}

// keepAside is how many damaged directories of a kind are kept.
const keepAside = 2

// openLastSeen opens last seen. One that is damaged is put aside: collectors then
// see everything for the first time.
func openLastSeen(c config.Config, logger *slog.Logger) (*collect.LastSeen, error) {
	dir := filepath.Join(c.DataDir, "last-seen")
	if err := spool.CheckFree(c.DataDir, minFree); err != nil {
		return nil, fmt.Errorf("opening the last-seen store: %w", err)
	}
	file := func(name string) string { return filepath.Join(c.DataDir, name) }
	crashes, err := crashed(file(seenCrash), file(seenCrashes), logger)
	if err != nil {
		return nil, err
	}
	opened, err := tries(file(seenOpening))
	if err != nil {
		return nil, err
	}
	var seen *collect.LastSeen
	if _, found := os.Stat(file(seenDamaged)); found == nil {
		err = fmt.Errorf("%w, as the last run found", collect.ErrDamaged)
	} else if opened > openTries || crashes >= crashTries {
		err = fmt.Errorf("%w: the agent died over it again and again", collect.ErrDamaged)
	} else {
		seen, err = collect.OpenLastSeen(dir, logger)
	}
	if errors.Is(err, collect.ErrDamaged) {
		aside, moved := putAside(dir)
		if moved != nil {
			return nil, errors.Join(err, moved)
		}
		logger.Error("what was last seen cannot be read and was put aside: every asset is recorded as new, and what went away meanwhile stays at the centre",
			"error", err, "moved_to", aside)
		if err := remove(file(seenDamaged), file(seenCrashes)); err != nil {
			return nil, err
		}
		if seen, err = collect.OpenLastSeen(dir, logger); err == nil {
			err = seen.MustResend("what was last seen cannot be read and was put aside: every asset is recorded as new")
		}
	}
	if err != nil {
		return nil, err
	}
	if err := remove(file(seenOpening)); err != nil {
		return nil, errors.Join(err, seen.Close())
	}
	return seen, nil
}

// Files about the last-seen store. Damage to it may end the process, for it works
// in goroutines of its own; that must not happen for ever. That the process is
// killed while the store is opened may happen as well.
const (
	// seenDamaged says that it was found to be damaged.
	seenDamaged = "last-seen.damaged"
	// seenOpening has how often it was opened in vain.
	seenOpening = "last-seen.opening"
	// seenCrash is where the process writes why it crashes, and seenCrashes has how
	// often it did so in the store, since it last stopped in order.
	seenCrash   = "last-seen.crash"
	seenCrashes = "last-seen.crashes"
	openTries   = 3
	crashTries  = 2
)

// crashed looks at what the last run wrote as it crashed, and has this one do the
// same. It returns how often in a row it was the store that crashed, by the looks
// of it. A full disk under its memory maps does not count.
func crashed(file, count string, logger *slog.Logger) (n int, err error) {
	trace, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	if len(trace) > 0 {
		first, _, _ := strings.Cut(string(trace), "\n")
		logger.Error("the last run of the agent crashed", "error", first, "trace", string(trace[:min(len(trace), 4<<10)]))
		if strings.Contains(string(trace), "github.com/dgraph-io/") && !strings.Contains(string(trace), "SIGBUS") {
			if n, err = tries(count); err != nil {
				return 0, err
			}
		}
	}
	f, err := os.Create(file)
	if err != nil {
		return 0, fmt.Errorf("the data directory cannot be written to: %w", err)
	}
	return n, errors.Join(debug.SetCrashOutput(f, debug.CrashOptions{}), f.Close())
}

func remove(files ...string) error {
	for _, file := range files {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// tries counts in a file how often it is called.
func tries(file string) (int, error) {
	data, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	n := len(data) + 1
	if err := os.WriteFile(file, make([]byte, n), 0o600); err != nil {
		return 0, fmt.Errorf("the data directory cannot be written to: %w", err)
	}
	return n, nil
}

// makeGood tells the centre of damage and sends everything again, whenever
// something was lost. It tries until it can.
func (s stores) makeGood(ctx context.Context, recorder *collect.Recorder, logger *slog.Logger) error {
	pause := retry.BackOff(time.Second, time.Minute)
	for {
		err := s.tellAndResend(ctx, recorder, logger)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			wait := pause.NextBackOff()
			logger.Error("sending again what was lost", "error", err, "retry_in", wait.Round(time.Millisecond))
			if err := retry.Sleep(ctx, wait); err != nil {
				return err
			}
			continue
		}
		pause.Reset()
		select {
		case <-s.lost:
		case err := <-s.seen.Damaged():
			// Only a new one helps, and that takes a restart.
			return errors.Join(err, os.WriteFile(filepath.Join(s.dir, seenDamaged), nil, 0o600))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s stores) tellAndResend(ctx context.Context, recorder *collect.Recorder, logger *slog.Logger) error {
	must, why, err := s.seen.MustBeResent()
	if err != nil || !must {
		return err
	}
	for _, text := range why {
		if err := recorder.Tell(ctx, "cloud.reeve.agent.spool.damaged", plugin.Error, text); err != nil {
			return err
		}
	}
	n, err := recorder.Resend(ctx)
	if err != nil {
		return err
	}
	logger.Warn("what was last seen is sent again, for something that waited was lost", "assets", n)
	return nil
}

// watchSpool registers metrics of the spool.
func watchSpool(s *spool.Spool, r prometheus.Registerer) {
	for i, class := range spool.Classes {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "reeve_agent_spool_bytes", Help: "Size of the spool's log on disk.", ConstLabels: prometheus.Labels{"class": wire.ClassName(class)},
		}, func() float64 { return float64(s.Stat()[i].Bytes) }))
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "reeve_agent_spool_given_up_records", Help: "Records in the spool's log that were given up, owed ones included, and are not acknowledged yet.",
			ConstLabels: prometheus.Labels{"class": wire.ClassName(class)},
		}, func() float64 { return float64(s.Stat()[i].GivenUp) }))
	}
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "reeve_agent_spool_failing", Help: "1 while nothing can be appended to the spool.",
	}, func() float64 {
		if s.Err() != nil {
			return 1
		}
		return 0
	}))
}

func (s stores) close(logger *slog.Logger) {
	if err := errors.Join(s.spool.Close(), s.seen.Close(), remove(filepath.Join(s.dir, seenCrashes))); err != nil {
		logger.Error("closing the stores", "error", err)
	}
}

func (s stores) collectGarbage(ctx context.Context, logger *slog.Logger) error {
	t := time.NewTicker(10 * time.Minute)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if err := errors.Join(s.seen.Forget(s.spool.Acked(wirev1.Class_CLASS_ASSETS)), s.seen.CollectGarbage()); err != nil {
				logger.Warn("tidying up the last-seen store", "error", err)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
