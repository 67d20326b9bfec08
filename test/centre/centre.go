// Package centre is a whole aggregator inside a test: the one that the program
// runs, with the embedded warehouse, over a directory that goes with the test.
package centre

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/agent/enroll"
	"github.com/reeve-cloud/reeve/aggregator/centre"
	"github.com/reeve-cloud/reeve/aggregator/config"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/tui/client"
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

	config  config.Config
	running *centre.Centre
	client  *client.Client
}

// New starts an aggregator on a free port. It goes with the test, which is skipped
// where there is no engine.
func New(t testing.TB) *Centre {
	t.Helper()
	warehousetest.Require(t)
	c := &Centre{t: t, Log: &Log{}, config: config.Default()}
	c.config.DataDir, c.config.Listen, c.config.HealthListen = t.TempDir(), "127.0.0.1:0", ""
	c.CADir = centre.CADir(c.config)
	c.Start()
	t.Cleanup(func() {
		c.Stop()
		if t.Failed() {
			t.Log(c.Log.String())
		}
	})
	return c
}

// Start starts it, at the address that it had before.
func (c *Centre) Start() {
	c.t.Helper()
	if err := c.config.Finish(); err != nil {
		c.t.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(c.Log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	running, err := centre.New(context.Background(), c.config, logger)
	if err != nil {
		c.t.Fatal(err)
	}
	c.Address = running.Addr().String()
	c.config.Listen, c.config.Advertise = c.Address, []string{c.Address}
	c.CA, c.Registry, c.Store = running.CA(), running.Registry(), running.Warehouse()
	c.running = running
	running.Start()
}

// Stop stops it, unless it is stopped. Start may follow.
func (c *Centre) Stop() {
	c.t.Helper()
	if c.running == nil {
		return
	}
	if err := c.running.Stop(); err != nil {
		c.t.Error(err)
	}
	c.running = nil
}

// Client returns a client of its API, as the administrator.
func (c *Centre) Client() *client.Client {
	c.t.Helper()
	if c.client != nil {
		return c.client
	}
	api, err := client.New(client.Options{Server: c.Address, CAHash: c.CA.Pin().String(), Token: c.AdminToken()})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(api.Close)
	c.client = api
	return api
}

// AdminToken returns the token of the administrator.
func (c *Centre) AdminToken() string {
	c.t.Helper()
	token, err := os.ReadFile(filepath.Join(c.config.DataDir, "admin-token"))
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.TrimSpace(string(token))
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
