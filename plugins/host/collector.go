package host

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netns"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/host/firmware"
	"github.com/reeve-cloud/reeve/plugins/host/statfs"
	"github.com/reeve-cloud/reeve/plugins/host/systemd"
	"github.com/reeve-cloud/reeve/plugins/host/tree"
)

// The scopes' names.
const (
	scopeSystem   = "system"
	scopeStorage  = "storage"
	scopeNetwork  = "network"
	scopeServices = "services"
)

// upsertBatch bounds how many observations are handed over at once.
const upsertBatch = 256

type collector struct {
	log  *slog.Logger
	opts options
	tree tree.Tree
	// ns is the network namespace to look at; none is the agent's own.
	ns netns.NsHandle

	// What only a reboot changes is read once.
	dmi            func() firmware.DMI
	cpuModel       func() cpuDoc
	virtualization func() firmware.Virtualization

	probes *statfs.Prober
	sizes  sync.Map // the last known size of filesystems, by uid
	// oddMemory says once that memory cannot be read.
	oddMemory sync.Once
	// capped says that the routing table is too large to be listed whole.
	capped atomic.Bool
}

var _ plugin.Watcher = (*collector)(nil)

func newCollector(log *slog.Logger, opts options, ns netns.NsHandle) *collector {
	c := &collector{log: log, opts: opts, tree: tree.New(opts.Root), ns: ns, probes: statfs.NewProber()}
	c.dmi = sync.OnceValue(func() firmware.DMI { return firmware.Read(c.tree) })
	c.cpuModel = sync.OnceValue(c.readCPUModel)
	c.virtualization = sync.OnceValue(func() firmware.Virtualization { return firmware.DetectVirtualization(c.tree, c.dmi()) })
	return c
}

// Scopes implements [plugin.Collector]. They never change: whether a machine
// has systemd is settled before an agent can start.
func (c *collector) Scopes(_ context.Context, publish func([]plugin.Scope)) error {
	scopes := []plugin.Scope{
		{Name: scopeSystem, SweepEvery: 5 * time.Minute},
		{Name: scopeStorage, SweepEvery: time.Minute},
		// The sweeps beside the watch refresh the counters, and find the little
		// that the kernel does not announce: an alias on an interface that is
		// down.
		{Name: scopeNetwork, SweepEvery: 2 * time.Minute, Watch: true},
	}
	if booted, err := systemd.Booted(c.tree); err != nil || booted {
		// If it cannot be known, the sweep's error says why.
		scopes = append(scopes, plugin.Scope{Name: scopeServices, SweepEvery: 5 * time.Minute, Watch: true})
	}
	id, _, err := c.identify()
	if err != nil {
		return err
	}
	for i := range scopes {
		scopes[i].Local = id
	}
	publish(scopes)
	return nil
}

// Sweep implements [plugin.Collector].
func (c *collector) Sweep(ctx context.Context, scope plugin.Scope, out plugin.Sink) error {
	id, err := c.identifyAs(scope.Local)
	if err != nil {
		return err
	}
	switch scope.Name {
	case scopeSystem:
		err = c.sweepSystem(ctx, id, out)
	case scopeStorage:
		err = c.sweepStorage(ctx, id, out)
	case scopeNetwork:
		err = c.sweepNetwork(ctx, id, out)
	case scopeServices:
		err = c.sweepServices(ctx, id, out)
	default:
		return fmt.Errorf("no scope %q on a host", scope.Name)
	}
	if err != nil {
		return fmt.Errorf("sweep %s: %w", scope.Name, err)
	}
	return nil
}

// Watch implements [plugin.Watcher]. There is nothing to resume from: a watch
// begins with a sweep, and what it said before is dropped as unchanged.
func (c *collector) Watch(ctx context.Context, scope plugin.Scope, _ plugin.Checkpoint, out plugin.Sink) error {
	id, err := c.identifyAs(scope.Local)
	if err != nil {
		return err
	}
	switch scope.Name {
	case scopeNetwork:
		err = c.watchNetwork(ctx, id, out)
	case scopeServices:
		err = c.watchServices(ctx, id, out)
	default:
		return fmt.Errorf("scope %q of a host cannot be watched", scope.Name)
	}
	if err != nil {
		return fmt.Errorf("watch %s: %w", scope.Name, err)
	}
	return nil
}

// unread is something in a listing that cannot be read. Its key is zero where it is not
// known which asset it is.
type unread struct {
	key plugin.Key
	why error
}

// commit sweeps a scope with a listing that came to its end. What could not be read of
// it is told, and holds up nothing else.
func commit(ctx context.Context, out plugin.Sink, all []plugin.Observation, odd ...unread) error {
	sweep, err := out.Begin(ctx)
	if err != nil {
		return err
	}
	for batch := range slices.Chunk(all, upsertBatch) {
		if err := sweep.Upsert(ctx, batch...); err != nil {
			return err
		}
	}
	for _, u := range odd {
		if err := sweep.Unread(ctx, u.key, u.why.Error()); err != nil {
			return err
		}
	}
	return sweep.Commit(ctx, "")
}

// sleep waits, or returns the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
