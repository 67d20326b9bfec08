package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/sync/errgroup"

	"github.com/reeve-cloud/reeve/aggregator/api"
	"github.com/reeve-cloud/reeve/aggregator/config"
	"github.com/reeve-cloud/reeve/aggregator/gateway"
	"github.com/reeve-cloud/reeve/aggregator/ingest"
	"github.com/reeve-cloud/reeve/aggregator/reconcile"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/embedded"
	"github.com/reeve-cloud/reeve/pkg/atomicfile"
	"github.com/reeve-cloud/reeve/pkg/health"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/version"
)

func caDir(c config.Config) string { return filepath.Join(c.DataDir, "ca") }

// run is the aggregator: it wires the parts and runs them until ctx ends.
func run(ctx context.Context, c config.Config, logger *slog.Logger) (err error) {
	// With thousands of agents sessions are most of the heap: half a gigabyte. A
	// quarter of garbage on top costs a third more of the processor in a first load
	// than a half does, and nothing to speak of afterwards.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(25)
	}
	metrics := health.NewRegistry("reeve-aggregator")
	logger.Info("aggregator is starting", "version", version.String(), "data_dir", c.DataDir)

	// Sockets first: a port that is taken is the most common fault, and the
	// rest takes seconds.
	udp, tcp, err := listen(c.Listen)
	if err != nil {
		return err
	}
	defer func() {
		// The servers close them too; this is for when they never start.
		udp.Close()
		tcp.Close()
	}()

	ca, err := identity.LoadCA(caDir(c))
	if err != nil {
		return err
	}
	if err := ca.LetSignNext(); err != nil {
		return err
	}
	certificate := &identity.ServerCertificate{CA: ca, Hosts: c.Hosts()}
	resetKey, err := loadResetKey(filepath.Join(c.DataDir, "quic-reset.key"))
	if err != nil {
		return err
	}

	reg, err := registry.Open(registry.Options{Dir: filepath.Join(c.DataDir, "registry"), Logger: logger})
	if err != nil {
		return err
	}
	defer closing("the registry", reg, &err)
	tokenFile, err := api.EnsureAdminToken(ctx, reg, c.DataDir)
	if err != nil {
		return err
	}

	store, err := openWarehouse(ctx, c, logger)
	if err != nil {
		return err
	}
	defer closing("the warehouse", store, &err)
	if err := store.Migrate(ctx, logger); err != nil {
		return err
	}

	feed := &ingest.Feed{}
	in, err := ingest.New(ingest.Options{
		Warehouse: store, Watermarks: reg, Dir: filepath.Join(c.DataDir, "commit-log"),
		Logger: logger, Metrics: metrics, Committed: feed.Publish,
	})
	if err != nil {
		return err
	}
	if err := in.Recover(ctx); err != nil {
		return err
	}

	agents := gateway.New(gateway.Options{
		Conn: udp, Certificate: certificate.Get, CA: ca, Registry: reg, Ingest: in,
		Reconciler: reconcile.New(store, in, logger, metrics),
		Clock:      hlc.New(0), ResetKey: resetKey, Logger: logger, Metrics: metrics,
	})
	server, err := api.New(api.Options{
		Agents: agents, Listener: tcp, Certificate: certificate.Get, CA: ca, Registry: reg, Addresses: c.Advertise,
		Warehouse:   func(context.Context) (string, string, error) { return store.Kind(), store.Version(), nil },
		AssetCounts: store.AssetCounts,
		Inventory:   &api.Inventory{Warehouse: store, Registry: reg, Feed: feed, Started: time.Now(), Logger: logger},
		Metrics:     metrics, Logger: logger,
	})
	if err != nil {
		return err
	}

	group, ctx := errgroup.WithContext(ctx)
	if c.HealthListen != "" {
		h, err := health.Listen(c.HealthListen, metrics, store.Ping)
		if err != nil {
			return err
		}
		group.Go(func() error { return h.Serve(ctx) })
	}
	group.Go(func() error { return in.Run(ctx) })
	group.Go(func() error { return agents.Serve(ctx) })
	group.Go(func() error { return server.Serve(ctx) })
	logger.Info("aggregator is ready", "listen", tcp.Addr().String(), "advertise", c.Advertise,
		"warehouse", store.Kind(), "clickhouse", store.Version(), "ca_hash", ca.Pin().String(), "admin_token_file", tokenFile)
	err = group.Wait()
	if errors.Is(err, context.Canceled) {
		logger.Info("aggregator has stopped")
		return nil
	}
	return err
}

// closing closes a part when run returns, and keeps the error of that.
func closing(name string, part interface{ Close() error }, err *error) {
	if closeErr := part.Close(); closeErr != nil {
		*err = errors.Join(*err, fmt.Errorf("closing %s: %w", name, closeErr))
	}
}

// listen opens one port number for UDP and TCP.
func listen(address string) (*net.UDPConn, net.Listener, error) {
	tcp, err := net.Listen("tcp", address)
	if err != nil {
		return nil, nil, fmt.Errorf("listening for the API: %w", err)
	}
	// With port 0 the kernel has chosen one.
	at := tcp.Addr().(*net.TCPAddr)
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: at.IP, Port: at.Port, Zone: at.Zone})
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("listening for agents: %w", err), tcp.Close())
	}
	return udp, tcp, nil
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
