package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/reeve-cloud/reeve/agent/collect"
	"github.com/reeve-cloud/reeve/agent/config"
	"github.com/reeve-cloud/reeve/agent/enroll"
	"github.com/reeve-cloud/reeve/agent/spool"
	"github.com/reeve-cloud/reeve/agent/uplink"
	"github.com/reeve-cloud/reeve/pkg/health"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/transport"
	"github.com/reeve-cloud/reeve/pkg/version"
)

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
	clock := hlc.New(stamp)
	recorder := &collect.Recorder{
		Seen: stores.seen, Spool: stores.spool, Clock: clock, Logger: logger, Redact: rules,
		Metrics: collect.NewMetrics(registry),
	}
	runner := &collect.Runner{Recorder: recorder, Sources: sources}

	link := &uplink.Uplink{
		Spool: stores.spool, Clock: clock, Hostname: hostname, Collectors: names, Logger: logger,
		Metrics: uplink.NewMetrics(registry), Limit: limit,
	}

	group, ctx := errgroup.WithContext(ctx)
	if c.HealthListen != "" {
		server, err := health.Listen(c.HealthListen, registry, func(context.Context) error {
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
		if stores.resend {
			n, err := recorder.Resend(ctx)
			if err != nil {
				return fmt.Errorf("sending everything again: %w", err)
			}
			logger.Warn("the spool is new: what was last seen is sent again", "assets", n)
		}
		return runner.Run(ctx)
	})
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
	group.Go(func() error { return stores.collectGarbage(ctx) })
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
	seen  *collect.LastSeen
	spool *spool.Spool
	// resend says that a spool before this one is gone, with what it held.
	resend bool
}

func openStores(c config.Config, logger *slog.Logger) (s stores, err error) {
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return s, fmt.Errorf("making the data directory: %w", err)
	}
	if s.seen, err = collect.OpenLastSeen(filepath.Join(c.DataDir, "last-seen"), logger); err != nil {
		return s, err
	}
	options := spool.Options{
		Dir: filepath.Join(c.DataDir, "spool"), MaxBytes: c.Spool.MaxBytes, Logger: logger,
		Apply: s.seen.Apply, Applied: s.seen.Applied, BeforeTrim: s.seen.Sync,
	}
	s.spool, err = spool.Open(options)
	if errors.Is(err, spool.ErrCorrupt) {
		aside := fmt.Sprintf("%s.corrupt-%s", options.Dir, time.Now().UTC().Format("20060102T150405Z"))
		logger.Error("the spool is damaged and was put aside; all assets are sent again, events that waited in it are lost",
			"error", err, "moved_to", aside)
		if err := os.Rename(options.Dir, aside); err != nil {
			return s, errors.Join(fmt.Errorf("putting the damaged spool aside: %w", err), s.seen.Close())
		}
		s.spool, err = spool.Open(options)
	}
	if err != nil {
		return s, errors.Join(err, s.seen.Close())
	}
	if s.resend, err = s.seen.Adopt(s.spool.ID()); err != nil {
		return s, errors.Join(err, s.spool.Close(), s.seen.Close())
	}
	return s, nil
}

func (s stores) close(logger *slog.Logger) {
	if err := errors.Join(s.spool.Close(), s.seen.Close()); err != nil {
		logger.Error("closing the stores", "error", err)
	}
}

func (s stores) collectGarbage(ctx context.Context) error {
	t := time.NewTicker(10 * time.Minute)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if err := s.seen.CollectGarbage(); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
