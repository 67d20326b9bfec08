// Package centre is the aggregator as a whole: it wires the parts, runs them, and
// ends them. The program reeve-aggregator is this package behind a command line,
// and tests that need an aggregator run the same.
package centre

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/quic-go/quic-go"
	"golang.org/x/sync/errgroup"

	"github.com/reeve-cloud/reeve/aggregator/admission"
	"github.com/reeve-cloud/reeve/aggregator/api"
	"github.com/reeve-cloud/reeve/aggregator/catalogue"
	"github.com/reeve-cloud/reeve/aggregator/config"
	"github.com/reeve-cloud/reeve/aggregator/export"
	"github.com/reeve-cloud/reeve/aggregator/gateway"
	"github.com/reeve-cloud/reeve/aggregator/graph"
	"github.com/reeve-cloud/reeve/aggregator/ingest"
	"github.com/reeve-cloud/reeve/aggregator/metric"
	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/query/suggest"
	"github.com/reeve-cloud/reeve/aggregator/reconcile"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/removal"
	"github.com/reeve-cloud/reeve/aggregator/retention"
	"github.com/reeve-cloud/reeve/aggregator/scope"
	"github.com/reeve-cloud/reeve/aggregator/sqlgate"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/embedded"
	"github.com/reeve-cloud/reeve/aggregator/watch"
	"github.com/reeve-cloud/reeve/pkg/atomicfile"
	"github.com/reeve-cloud/reeve/pkg/health"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/version"
)

// Centre is an aggregator. New opens it, Start lets it serve, and Stop ends it.
type Centre struct {
	config    config.Config
	logger    *slog.Logger
	metrics   *prometheus.Registry
	ca        *identity.CA
	registry  *registry.Registry
	warehouse *warehouse.Warehouse
	// tokenFile is where the admin's token lies, if this start made it.
	tokenFile string

	tcp    *net.TCPListener
	health *health.Server
	// ready says whether the aggregator can do its work, once there is somebody to ask.
	ready atomic.Pointer[func(context.Context) error]
	// parts serve until their context ends.
	parts []func(context.Context) error
	// closers close what New has opened, in the order of opening.
	closers []closer

	cancel context.CancelFunc
	// done is closed when the parts have ended; failed is why, and nil after Stop.
	done   chan struct{}
	failed error
}

type closer struct {
	name  string
	close func() error
}

// New opens an aggregator: its sockets, its stores, which it makes if they are not
// there, and the warehouse, whose schema it brings up to date. What was under way
// when it ended last is settled. Start or Stop must follow. The configuration must
// be finished.
//
// The embedded engine, if it is to be a process of its own, is this program with
// the argument "engine".
func New(ctx context.Context, c config.Config, logger *slog.Logger) (*Centre, error) {
	a := &Centre{config: c, logger: logger, metrics: health.NewRegistry("reeve-aggregator"), done: make(chan struct{})}
	logger.Info("aggregator is starting", "version", version.String(), "data_dir", c.DataDir)
	if err := a.open(ctx); err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

func (a *Centre) open(ctx context.Context) error {
	c, logger := a.config, a.logger
	// Sockets first: a port that is taken is the most common fault, and the
	// rest takes seconds.
	udp, tcp, err := listen(c.Listen)
	if err != nil {
		return err
	}
	a.tcp = tcp
	// The servers close them too; this is for when they never start.
	a.closing("the sockets", func() error { udp.Close(); tcp.Close(); return nil })

	if err := a.openIdentity(ctx); err != nil {
		return err
	}
	certificate := &identity.ServerCertificate{CA: a.ca, Hosts: c.Hosts()}
	resetKey, err := loadResetKey(filepath.Join(c.DataDir, "quic-reset.key"))
	if err != nil {
		return err
	}

	if err := a.serveHealth(); err != nil {
		return err
	}
	if err := a.awaitClock(ctx, certificate.Get); err != nil {
		return err
	}
	if a.warehouse, err = openWarehouse(ctx, c, logger); err != nil {
		return err
	}
	a.closing("the warehouse", a.warehouse.Close)
	if err := a.checkWarehouseThere(ctx); err != nil {
		return err
	}
	if err := a.migrate(ctx, certificate.Get); err != nil {
		return err
	}

	people := a.openQuery(ctx)
	clock := hlc.New(0)
	scopes, err := scope.Open(ctx, a.registry, a.warehouse, clock, logger)
	if err != nil {
		return err
	}
	feed := ingest.NewFeed(a.metrics)
	thinner := &retention.Thinner{Warehouse: a.warehouse, Registry: a.registry, Versions: c.Retention.Policy().Versions, Logger: logger}
	if err := thinner.Load(ctx); err != nil {
		return err
	}
	newest, err := a.warehouse.NewestReceived(ctx, time.Now().Add(hlc.MaxSkew))
	if err != nil {
		return err
	}
	progress := ingest.NewProgress(newest)
	paths := catalogue.New(a.warehouse, logger)
	in, err := ingest.New(ingest.Options{
		Warehouse: a.warehouse, Watermarks: a.registry, Dir: commitLogDir(c),
		Logger: logger, Metrics: a.metrics, Committed: func(g *warehouse.Group) { paths.Learn(g); feed.Publish(g); thinner.Saw(len(g.Versions)) },
		Fences:   scopes.Fences,
		Progress: progress,
	})
	if err != nil {
		return err
	}

	agents := gateway.New(gateway.Options{
		Conn: udp, Certificate: certificate.Get, CA: a.ca, Registry: a.registry, Ingest: in,
		Reconciler: reconcile.New(a.warehouse, scopes, in, logger, a.metrics), Scopes: scopes,
		Clock: clock, ResetKey: resetKey, Logger: logger, Metrics: a.metrics,
	})
	inventory := &api.Inventory{Warehouse: a.warehouse, Registry: a.registry, Feed: feed, Started: time.Now(), Logger: logger, Scopes: scopes}
	remover := removal.New(removal.Options{Registry: a.registry, Warehouse: a.warehouse, Logger: logger,
		Forgotten: func(site string) { scopes.Forget(site); paths.Forget(site); inventory.Tail.Removed(site) }})
	inventory.Engine = query.New(query.Options{Warehouse: a.warehouse, Silent: inventory.SilentAgents, Catalogue: query.Paths(paths), Thinned: thinner.Thinned,
		Logger: logger})
	if inventory.Tail, err = watch.New(ctx, watch.Options{
		Engine: inventory.Engine, Progress: progress, Removed: a.registry.ForgottenSite, Logger: logger,
	}); err != nil {
		return err
	}
	people.Engine, people.Completer = inventory.Engine, suggest.New(inventory.Engine, paths, logger)
	inventory.Layouts = &api.Layouts{Warehouse: a.warehouse, Registry: a.registry, Catalogue: paths, Logger: logger}
	exports, err := export.NewJobs(filepath.Join(c.DataDir, "export"), a.registry.Store().FreeSpace)
	if err != nil {
		return err
	}
	descriptors, err := admission.Descriptors()
	if err != nil {
		return err
	}
	inside := a.warehouse.Kind() == "embedded" && !c.Engine.Process
	places := admission.PlacesWithin(descriptors, inside)
	if places < 1024 {
		logger.Warn("few files may be open, so there is room for few connections: raise the limit (ulimit -n, LimitNOFILE=)", "files",
			descriptors, "connections", places)
	}
	if err := a.registry.ShipMetrics(ctx, metric.Shipped(time.Now())); err != nil {
		return err
	}
	// What was between is not known any more where the history is thin, so it is sampled of no moment of it.
	known := func(ctx context.Context) (time.Time, error) {
		begins, err := a.warehouse.HistoryBegins(ctx)
		if since := thinner.WholeSince(); err == nil && !begins.IsZero() && since.After(begins) {
			return since, nil
		}
		return begins, err
	}
	sampler := metric.New(metric.Options{Registry: a.registry, Warehouse: a.warehouse, Engine: inventory.Engine, Logger: logger,
		Known: known, Metrics: a.metrics})
	server, err := api.New(api.Options{
		Agents: agents, Listener: tcp, Certificate: certificate.Get, CA: a.ca, Registry: a.registry, Addresses: c.Advertise,
		Warehouse:   func(context.Context) (string, string, error) { return a.warehouse.Kind(), a.warehouse.Version(), nil },
		AssetCounts: a.warehouse.AssetCounts, Ingest: in.Err, CountSite: a.warehouse.CountSite, RemoveSites: remover.Wake,
		Inventory: inventory, Events: inventory,
		Scope:   &api.Scope{Scopes: scopes, Warehouse: a.warehouse, Registry: a.registry, Ingest: in, Logger: logger},
		Query:   people,
		Export:  &api.Export{Inventory: inventory, Query: people, Registry: a.registry, Jobs: exports, Logger: logger},
		View:    &api.View{Layouts: inventory.Layouts, Registry: a.registry, Logger: logger},
		Graph:   &api.Graph{Inventory: inventory, Walker: graph.New(inventory.Engine)},
		History: &api.History{Inventory: inventory},
		Metric: &api.Metric{Registry: a.registry, Warehouse: a.warehouse, Engine: inventory.Engine, Sampler: sampler,
			Known: known, Logger: logger},
		Retention: &api.Retention{Registry: a.registry, Warehouse: a.warehouse, Thinner: thinner, Logger: logger},
		Metrics:   a.metrics, Logger: logger,
	})
	if err != nil {
		return err
	}
	ready := func(ctx context.Context) error { return errors.Join(a.warehouse.Ping(ctx), in.Err()) }
	a.ready.Store(&ready)
	keeper := retention.New(retention.Options{
		Policy: c.Retention.Policy(), Warehouse: a.warehouse, Registry: a.registry, Logger: logger, Metrics: a.metrics,
	})
	a.parts = append(a.parts, in.Run, inventory.Tail.Run, paths.Run, scopes.Run, agents.Serve, server.Serve, remover.Run, keeper.Run, sampler.Run,
		thinner.Run, a.keepClock)
	return nil
}

// serveHealth answers health checks from now on until the end: while it takes long to
// become ready, they say why.
func (a *Centre) serveHealth() (err error) {
	if a.config.HealthListen == "" {
		return nil
	}
	starting := func(context.Context) error { return errStarting }
	a.ready.Store(&starting)
	if a.health, err = health.Listen(a.config.HealthListen, a.metrics, func(ctx context.Context) error { return (*a.ready.Load())(ctx) }); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- a.health.Serve(ctx) }()
	a.closing("the address for health checks", func() error {
		cancel()
		return errors.Join(<-served, a.health.Close())
	})
	a.parts = append(a.parts, func(ctx context.Context) error {
		select {
		case err := <-served:
			served <- err
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return nil
}

var errStarting = errors.New("the aggregator is starting")

// migrate brings the warehouse up to date. Callers and health checks are told how far it
// is.
func (a *Centre) migrate(ctx context.Context, certificate func() (*tls.Certificate, error)) error {
	say := func() string {
		if how := a.warehouse.Migrating(); how != "" {
			return how
		}
		return errStarting.Error()
	}
	return a.tellToWait(ctx, certificate, say, func() error { return a.warehouse.Migrate(ctx, a.logger) })
}

// tellToWait does something that may take long, before the aggregator can answer. Callers
// and health checks are told what say returns meanwhile.
func (a *Centre) tellToWait(ctx context.Context, certificate func() (*tls.Certificate, error), say func() string, do func() error) error {
	waits := func(context.Context) error { return errors.New(say()) }
	a.ready.Store(&waits)
	waiting, cancel := context.WithCancel(ctx)
	told := make(chan error, 1)
	go func() { told <- api.TellToWait(waiting, a.tcp, certificate, say) }()
	err := do()
	cancel()
	return errors.Join(err, <-told)
}

// openQuery makes the service for SQL. It is off where the engine, which is ours, would
// not hold people's statements back itself.
func (a *Centre) openQuery(ctx context.Context) *api.Query {
	q := &api.Query{Registry: a.registry, Logger: a.logger}
	missing, err := a.warehouse.Unfenced(ctx)
	switch {
	case err == nil && len(missing) == 0:
	case a.warehouse.Kind() == "embedded":
		q.NoGate = "the engine has not taken the row policies that hold statements back; the aggregator's log says more"
		a.logger.Error("SQL is off: the engine has not taken its row policies", "error", err, "missing", missing)
		return q
	default:
		a.logger.Warn("the ClickHouse server has no row policies behind people's SQL: docs/sql.md has the statements that make them", "error",
			err, "missing", missing)
	}
	if q.Reader, err = a.warehouse.Reader(ctx, warehouse.ReaderScope{Name: "all", Everything: true}); err != nil {
		q.NoGate = "its views could not be made; the aggregator's log says more"
		a.logger.Error("SQL is off: its views could not be made", "error", err)
		return q
	}
	q.Gate = sqlgate.New(a.warehouse, q.Reader)
	return q
}

// closing has something closed at the end, before what was opened before it.
func (a *Centre) closing(name string, close func() error) {
	a.closers = append(a.closers, closer{name, close})
}

func (a *Centre) close() error {
	var errs []error
	for _, c := range slices.Backward(a.closers) {
		if err := c.close(); err != nil {
			errs = append(errs, fmt.Errorf("closing %s: %w", c.name, err))
		}
	}
	a.closers = nil
	return errors.Join(errs...)
}

// Start lets the aggregator serve, in the background. If one part fails, the
// others end too, and Done is closed.
func (a *Centre) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	group, ctx := errgroup.WithContext(ctx)
	for _, part := range a.parts {
		group.Go(func() error { return part(ctx) })
	}
	if len(a.config.Advertise) == 0 {
		a.logger.Warn("advertise is not configured, and the host name has no domain: each join token must be made with addresses by which " +
			"agents reach this aggregator")
	}
	for _, address := range a.config.Advertise {
		if doubt := identity.Doubt(address); doubt != "" {
			a.logger.Warn("agents on other machines may not reach an address that is advertised", "address", address, "reason", doubt)
		}
	}
	a.logger.Info("aggregator is ready", "listen", a.Addr().String(), "advertise", a.config.Advertise, "warehouse", a.warehouse.Kind(),
		"clickhouse", a.warehouse.Version(), "ca_hash", a.ca.Pin().String(), "admin_token_file", a.tokenFile)
	go func() {
		defer close(a.done)
		if err := group.Wait(); !errors.Is(err, context.Canceled) {
			a.failed = err
		}
	}()
}

// Done is closed when the aggregator has ended, by Stop or because a part failed.
// Stop must follow all the same.
func (a *Centre) Done() <-chan struct{} { return a.done }

// Stop ends the aggregator and closes its stores: calls that are under way get a
// few seconds, agents hear why their sessions end. It returns why the aggregator
// had ended before, and what could not be closed. It must be called once.
func (a *Centre) Stop() error {
	var failed error
	if a.cancel != nil {
		a.cancel()
		<-a.done
		failed = a.failed
	}
	err := errors.Join(failed, a.close())
	if err == nil {
		a.logger.Info("aggregator has stopped")
	}
	return err
}

// Addr is the address at which agents (UDP and TCP) and the API (TCP) are served.
func (a *Centre) Addr() net.Addr { return a.tcp.Addr() }

// HealthAddr is the address of health checks and metrics: nil if there is none.
func (a *Centre) HealthAddr() net.Addr {
	if a.health == nil {
		return nil
	}
	return a.health.Addr()
}

// CA is the aggregator's certificate authority.
func (a *Centre) CA() *identity.CA { return a.ca }

// Registry is open until Stop.
func (a *Centre) Registry() *registry.Registry { return a.registry }

// Warehouse is open until Stop.
func (a *Centre) Warehouse() *warehouse.Warehouse { return a.warehouse }

// listen opens one port number for UDP and TCP. A number that is free for TCP may
// be another program's for UDP: where any will do, others are tried.
func listen(address string) (*net.UDPConn, *net.TCPListener, error) {
	const tries = 20
	for try := 1; ; try++ {
		tcp, err := net.Listen("tcp", address)
		if err != nil {
			return nil, nil, fmt.Errorf("listening for the API: %w", err)
		}
		// With port 0 the kernel has chosen one.
		at := tcp.Addr().(*net.TCPAddr)
		udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: at.IP, Port: at.Port, Zone: at.Zone})
		if err == nil {
			return udp, tcp.(*net.TCPListener), nil
		}
		tcp.Close()
		if _, port, _ := net.SplitHostPort(address); port != "0" || try == tries {
			return nil, nil, fmt.Errorf("listening for agents: %w", err)
		}
	}
}

func openWarehouse(ctx context.Context, c config.Config, logger *slog.Logger) (*warehouse.Warehouse, error) {
	password, err := c.WarehousePassword()
	if err != nil {
		return nil, err
	}
	o := warehouse.Options{
		Address: c.Warehouse, Password: password, Logger: logger,
		Engine: embedded.Options{Library: c.Engine.Library, MemoryLimit: c.Engine.MemoryBytes},
	}
	if c.Engine.Process {
		exe, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("finding this program, to run the engine with: %w", err)
		}
		o.EngineCommand = []string{exe, "engine"}
	}
	return warehouse.Open(ctx, o)
}

// loadResetKey reads the key for QUIC's stateless resets, or makes one.
func loadResetKey(file string) (key quic.StatelessResetKey, err error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		rand.Read(key[:])
		if err := atomicfile.Write(file, key[:], 0o600); err != nil {
			return key, fmt.Errorf("storing the QUIC reset key: %w", err)
		}
		return key, nil
	}
	if err == nil && len(data) != len(key) {
		err = fmt.Errorf("%s has %d bytes, not %d: remove it", file, len(data), len(key))
	}
	if err != nil {
		return key, fmt.Errorf("reading the QUIC reset key: %w", err)
	}
	return quic.StatelessResetKey(data), nil
}
