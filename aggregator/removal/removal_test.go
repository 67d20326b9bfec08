package removal_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/removal"
	"github.com/reeve-cloud/reeve/pkg/identity"
)

// rows is a warehouse that only counts.
type rows struct {
	mu   sync.Mutex
	left map[string]uint64
	// calls that fail first.
	failing int
}

func (r *rows) DeleteSite(_ context.Context, site string) (uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failing > 0 {
		r.failing--
		return 0, errors.New("no answer")
	}
	n := r.left[site]
	delete(r.left, site)
	return n, nil
}

func (r *rows) insert(site string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left[site]++
}

func openRegistry(t *testing.T) *registry.Registry {
	t.Helper()
	reg, err := registry.Open(registry.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := reg.Close(); err != nil {
			t.Error(err)
		}
	})
	return reg
}

func token(t *testing.T, reg *registry.Registry, site string) (registry.JoinToken, string) {
	t.Helper()
	now := time.Now()
	tk, secret, err := reg.CreateJoinToken(t.Context(), registry.System, registry.JoinToken{
		Site: site, MaxUses: 10, CreateTime: now, ExpireTime: now.Add(time.Hour), CreatedBy: "test", CA: identity.Pin{}.String(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return tk, secret
}

func join(t *testing.T, reg *registry.Registry, site, key string) registry.Agent {
	t.Helper()
	tk, secret := token(t, reg, site)
	a, err := reg.Enroll(t.Context(), registry.Enrollment{
		TokenID: tk.ID, Secret: secret, PublicKey: []byte(key), Hostname: key, Now: time.Now(),
		Issue: func(string, string) (time.Time, error) { return time.Now().Add(time.Hour), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 3000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("did not happen: %s", what)
}

func TestRemover(t *testing.T) {
	reg := openRegistry(t)
	gone, other := join(t, reg, "west", "a"), join(t, reg, "east", "b")
	store := &rows{left: map[string]uint64{"west": 5, "east": 7}}
	session, err := reg.AgentConnected(t.Context(), gone.ID, registry.Connection{})
	if err != nil {
		t.Fatal(err)
	}
	r := removal.New(removal.Options{Registry: reg, Warehouse: store, Logger: slog.New(slog.DiscardHandler), Settled: 20 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()

	if _, err := reg.DeleteSite(t.Context(), registry.System, "west", time.Now()); err != nil {
		t.Fatal(err)
	}
	r.Wake()
	waitFor(t, "the agent to be revoked", func() bool { a, err := reg.Agent(t.Context(), gone.ID); return err == nil && a.Revoked() })
	// While it has a session there is more to come.
	for range 5 {
		store.insert("west")
		waitFor(t, "what came in late to be removed", func() bool {
			store.mu.Lock()
			defer store.mu.Unlock()
			return store.left["west"] == 0
		})
		if site, err := reg.Site(t.Context(), "west"); err != nil || !site.Deleted() {
			t.Fatalf("forgotten while an agent is connected: %+v, %v", site, err)
		}
	}
	session.Close()
	waitFor(t, "the site to be forgotten",
		func() bool { _, err := reg.Site(t.Context(), "west"); return errors.Is(err, registry.ErrNotFound) })
	if _, err := reg.Agent(t.Context(), gone.ID); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("the agent: %v", err)
	}
	if _, there := reg.AllLiveness()[gone.ID]; there {
		t.Error("when it was seen is still known")
	}
	if _, err := reg.AgentConnected(t.Context(), gone.ID, registry.Connection{}); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("it comes back: %v", err)
	}
	if a, err := reg.Agent(t.Context(), other.ID); err != nil || a.Revoked() || store.left["east"] != 7 {
		t.Errorf("the other site: %+v, %v, %v", a, err, store.left)
	}
	// Its name can be used again.
	token(t, reg, "west")
}

func TestRemoverTriesAgain(t *testing.T) {
	reg := openRegistry(t)
	token(t, reg, "west")
	if _, err := reg.DeleteSite(t.Context(), registry.System, "west", time.Now()); err != nil {
		t.Fatal(err)
	}
	store := &rows{left: map[string]uint64{"west": 1}, failing: 1}
	// What was marked before the start is found without a word.
	r := removal.New(removal.Options{Registry: reg, Warehouse: store, Logger: slog.New(slog.DiscardHandler), Settled: time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	waitFor(t, "the first try to fail", func() bool { store.mu.Lock(); defer store.mu.Unlock(); return store.failing == 0 })
	waitFor(t, "the site to be forgotten", func() bool {
		r.Wake()
		_, err := reg.Site(t.Context(), "west")
		return errors.Is(err, registry.ErrNotFound)
	})
	cancel()
	<-done
}
