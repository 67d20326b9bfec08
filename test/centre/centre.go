// Package centre is a whole aggregator inside a test: gateway, API, ingest,
// registry and the embedded warehouse, over directories that go with the test.
package centre

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/reeve-cloud/reeve/agent/enroll"
	"github.com/reeve-cloud/reeve/aggregator/api"
	"github.com/reeve-cloud/reeve/aggregator/gateway"
	"github.com/reeve-cloud/reeve/aggregator/ingest"
	"github.com/reeve-cloud/reeve/aggregator/reconcile"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/identity"
)

// Log is a log that can be searched.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Centre is an aggregator.
type Centre struct {
	t testing.TB
	// Address is where agents and the API are served.
	Address  string
	CADir    string
	CA       *identity.CA
	Registry *registry.Registry
	Store    *warehouse.Warehouse
	Log      *Log
	// Stop stops it. Stores stay open, so that Start can follow.
	Stop    func()
	commits string
}

// New starts an aggregator on a free port. It goes with the test.
func New(t testing.TB) *Centre {
	c := &Centre{t: t, CADir: t.TempDir(), commits: t.TempDir(), Store: warehousetest.New(t), Log: &Log{}, Address: "127.0.0.1:0"}
	var err error
	if c.CA, err = identity.LoadCA(c.CADir); err != nil {
		t.Fatal(err)
	}
	if c.Registry, err = registry.Open(registry.Options{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	c.Start()
	t.Cleanup(func() {
		c.Stop()
		if err := c.Registry.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(c.Log.String())
		}
	})
	return c
}

// Start starts it, at the address that it had before.
func (c *Centre) Start() {
	c.t.Helper()
	logger := slog.New(slog.NewTextHandler(c.Log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	certificate := &identity.ServerCertificate{CA: c.CA}
	tcp, udp := c.listen()
	c.Address = tcp.Addr().String()
	feed := &ingest.Feed{}
	in, err := ingest.New(ingest.Options{Warehouse: c.Store, Watermarks: c.Registry, Dir: c.commits, Logger: logger, Committed: feed.Publish})
	if err != nil {
		c.t.Fatal(err)
	}
	g := gateway.New(gateway.Options{
		Conn: udp, Certificate: certificate.Get, CA: c.CA, Registry: c.Registry, Ingest: in,
		Reconciler: reconcile.New(c.Store, in, logger, nil),
		Clock:      hlc.New(0), ResetKey: quic.StatelessResetKey{1, 2, 3}, Logger: logger,
	})
	server, err := api.New(api.Options{
		Agents: g, Listener: tcp, Certificate: certificate.Get, CA: c.CA, Registry: c.Registry, Addresses: []string{c.Address}, Logger: logger,
		Warehouse:   func(context.Context) (string, string, error) { return "embedded", "", nil },
		AssetCounts: c.Store.AssetCounts,
		Inventory:   &api.Inventory{Warehouse: c.Store, Registry: c.Registry, Feed: feed, Started: time.Now(), Logger: logger},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	// As the program does before it takes anything.
	if err := in.Recover(ctx); err != nil {
		c.t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, part := range []func(context.Context) error{in.Run, g.Serve, server.Serve} {
		wg.Go(func() {
			if err := part(ctx); err != nil && !errors.Is(err, context.Canceled) {
				c.t.Error(err)
			}
		})
	}
	c.Stop = func() {
		cancel()
		wg.Wait()
		c.Stop = func() {}
	}
}

// listen opens one port number for TCP and UDP. A number that is free for TCP may
// be another program's for UDP: where any will do, others are tried.
func (c *Centre) listen() (net.Listener, *net.UDPConn) {
	c.t.Helper()
	for range 20 {
		tcp, err := net.Listen("tcp", c.Address)
		if err != nil {
			c.t.Fatal(err)
		}
		udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(tcp.Addr().(*net.TCPAddr).AddrPort()))
		if err == nil {
			return tcp, udp
		}
		tcp.Close()
		if !strings.HasSuffix(c.Address, ":0") {
			c.t.Fatal(err)
		}
	}
	c.t.Fatal("no port number is free for both TCP and UDP")
	return nil, nil
}

// Token makes a join token.
func (c *Centre) Token(site string, uses int, ttl time.Duration) identity.JoinToken {
	c.t.Helper()
	now := time.Now()
	rt, secret, err := c.Registry.CreateJoinToken(c.t.Context(), registry.System, registry.JoinToken{
		Site: site, MaxUses: uses, CreateTime: now, ExpireTime: now.Add(ttl), CreatedBy: "test", CA: c.CA.Pin().String(),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return identity.JoinToken{Site: site, Addresses: []string{c.Address}, CA: rt.CA, ID: rt.ID, Secret: secret}
}

// Join enrolls an agent whose identity lies in dir.
func (c *Centre) Join(dir string) *enroll.Identity {
	c.t.Helper()
	id, err := enroll.Join(c.t.Context(), dir, c.Token("west", 1, time.Hour), nil, "host", nil, slog.New(slog.DiscardHandler))
	if err != nil {
		c.t.Fatal(err)
	}
	return id
}

// Logged waits until a text is in the log.
func (c *Centre) Logged(text string) {
	c.t.Helper()
	WaitFor(c.t, "a log line with "+text, func() bool { return strings.Contains(c.Log.String(), text) })
}

// WaitFor waits until ok returns true, and fails the test if that takes too long.
func WaitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for range 3000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("did not happen: %s", what)
}
