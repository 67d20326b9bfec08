package gateway

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/retry"
	"github.com/reeve-cloud/reeve/pkg/wire"
)

// cutRevoked ends the sessions of agents that are revoked, until ctx ends.
func (g *Gateway) cutRevoked(ctx context.Context) {
	pause := retry.BackOff(100*time.Millisecond, time.Second)
	for {
		err := g.watchAgents(ctx)
		if ctx.Err() != nil {
			return
		}
		// A watcher that fell behind is no fault: all are looked at again.
		if !errors.Is(err, registry.ErrSlowWatcher) {
			g.o.Logger.Error("watching for revoked agents failed; trying again", "error", err)
		}
		if retry.Sleep(ctx, pause.NextBackOff()) != nil {
			return
		}
	}
}

func (g *Gateway) watchAgents(ctx context.Context) error {
	store := g.o.Registry.Store()
	w, err := store.Watch(registry.AgentPrefix, store.Revision())
	if err != nil {
		return err
	}
	defer w.Close()
	// What was revoked before the watch began. A session that opens from now on
	// looks for itself once it is in the table: see ship.
	for _, id := range g.agentIDs() {
		if err := g.cutIfRevoked(ctx, id); err != nil {
			return err
		}
	}
	for {
		events, err := w.Next(ctx)
		if err != nil {
			return err
		}
		for _, e := range events {
			if err := g.cutIfRevoked(ctx, e.Key[len(registry.AgentPrefix):]); err != nil {
				return err
			}
		}
	}
}

func (g *Gateway) agentIDs() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Collect(maps.Keys(g.sessions))
}

func (g *Gateway) cutIfRevoked(ctx context.Context, id string) error {
	g.mu.Lock()
	s := g.sessions[id]
	g.mu.Unlock()
	if s == nil {
		return nil
	}
	a, err := g.o.Registry.Agent(ctx, id)
	switch {
	case errors.Is(err, registry.ErrNotFound) || errors.Is(err, registry.ErrCorrupt):
		// Nothing says that it was revoked.
	case err != nil:
		return err
	case a.Revoked():
		s.end(wire.CodeIdentity, identity.Revoked)
	}
	return nil
}
