package kubernetes

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reeve-cloud/reeve/pkg/retry"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/cluster"
)

// gate holds all kinds back while the API server is away: one of them asks it
// again and again, the others wait, and not all of them report the same fault.
type gate struct {
	asking chan struct{} // has one place
	mu     sync.Mutex
	lastOK time.Time
	// shut says that a request failed since the server was last found ready.
	shut atomic.Bool
}

func newGate() *gate { return &gate{asking: make(chan struct{}, 1)} }

// wait returns when ask has succeeded once since the call.
func (g *gate) wait(ctx context.Context, ask func(context.Context) error) error {
	began := time.Now()
	select {
	case g.asking <- struct{}{}:
		defer func() { <-g.asking }()
	case <-ctx.Done():
		return ctx.Err()
	}
	g.mu.Lock()
	answered := g.lastOK.After(began)
	g.mu.Unlock()
	if answered {
		return nil
	}
	pause := retry.BackOff(250*time.Millisecond, 10*time.Second)
	for ask(ctx) != nil {
		if err := retry.Sleep(ctx, pause.NextBackOff()); err != nil {
			return err
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lastOK = time.Now()
	return nil
}

// note takes note of how a request went.
func (g *gate) note(err error) {
	if cluster.Unreachable(err) {
		g.shut.Store(true)
	}
}

// pass waits if a request failed lately.
func (g *gate) pass(ctx context.Context, ask func(context.Context) error) error {
	if !g.shut.Load() {
		return nil
	}
	if err := g.wait(ctx, ask); err != nil {
		return err
	}
	g.shut.Store(false)
	return nil
}
