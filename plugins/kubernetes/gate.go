package kubernetes

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/pkg/retry"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/cluster"
)

// gatePatience is how long an API server may be away, as when it is restarted,
// before that is a failure.
const gatePatience = 15 * time.Second

// gate holds all kinds back while the API server is away: one of them asks it
// again and again, the others wait, and all have the same answer.
type gate struct {
	asking   chan struct{} // has one place
	patience time.Duration

	mu     sync.Mutex
	lastOK time.Time
	// failure is why the server was not ready when it was asked last, until failed.
	failure error
	failed  time.Time
	// shut says that a request failed since the server was last found ready.
	shut atomic.Bool
}

func newGate() *gate { return &gate{asking: make(chan struct{}, 1), patience: gatePatience} }

// wait returns when ask has succeeded once since the call, or its error if it does
// not for too long, or will not: the credentials are refused.
func (g *gate) wait(ctx context.Context, ask func(context.Context) error) error {
	began := time.Now()
	select {
	case g.asking <- struct{}{}:
		defer func() { <-g.asking }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if answered, err := g.answer(began); answered {
		return err
	}
	pause := retry.BackOff(250*time.Millisecond, 10*time.Second)
	for asked := time.Now(); ; {
		err := ask(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil || cluster.Unauthorized(err) || time.Since(asked) >= g.patience:
			g.note(err)
			return err
		}
		if err := retry.Sleep(ctx, min(pause.NextBackOff(), g.patience)); err != nil {
			return err
		}
	}
}

// answer returns what the server has answered since a moment, if it has.
func (g *gate) answer(since time.Time) (answered bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.failed.After(since):
		return true, g.failure
	case g.lastOK.After(since):
		return true, nil
	}
	return false, nil
}

// note takes note of an answer.
func (g *gate) note(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		g.failure, g.failed = err, time.Now()
		g.shut.Store(true)
		return
	}
	g.lastOK = time.Now()
	g.shut.Store(false)
}

// doubt takes note of how a request went: the server, or the credentials, may have
// to be asked for.
func (g *gate) doubt(err error) {
	if cluster.Unreachable(err) || cluster.Unauthorized(err) {
		g.shut.Store(true)
	}
}

// ready returns when the API server can be asked, at once where nothing says that
// it cannot. Its error is one of all kinds.
func (c *collector) ready(ctx context.Context, k *cluster.Cluster) error {
	if !c.gate.shut.Load() {
		return nil
	}
	return c.askReady(ctx, k)
}

// askReady asks the API server whether it can be asked.
func (c *collector) askReady(ctx context.Context, k *cluster.Cluster) error {
	err := c.gate.wait(ctx, k.Ready)
	if err == nil || ctx.Err() != nil {
		return err
	}
	return &plugin.SourceError{Source: "the API server", Err: err}
}

// failed returns the error of a scope as it is to be said: what concerns the API
// server, or the account, as a whole is not a matter of one kind.
func (c *collector) failed(ctx context.Context, k *cluster.Cluster, err error) error {
	c.gate.doubt(err)
	var refused *cluster.RefusedError
	switch {
	case err == nil || ctx.Err() != nil:
		return err
	case errors.As(err, &refused):
		return &plugin.SourceError{Source: "the rights of " + refused.Who(), Err: err}
	case c.gate.shut.Load():
		if away := c.askReady(ctx, k); away != nil {
			return away
		}
	}
	return err
}
