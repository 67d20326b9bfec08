package collect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/reeve-cloud/reeve/agent/collect/untaken"
	"github.com/reeve-cloud/reeve/agent/lastseen"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// patience is how long a scope that this agent never held waits for the aggregator's
// word. Behind it collecting begins all the same: what is seen without the aggregator
// is worth more than a history in which nothing is created twice.
const patience = 30 * time.Second

// stopWithin is how long a collector may take to end what it does before a seed: those
// of other scopes wait behind it.
const stopWithin = 2 * time.Minute

// Holdings are the scopes that the agent has, and whether it holds them.
//
// A scope of a site has one holder, and the aggregator says who that is. An agent that
// held a scope before goes on with it, with or without the aggregator. One that never
// did, or lost what it knew, waits for its word first, so that what the aggregator has
// of the scope can take the place of what the agent does not know (uplink.Scopes). A
// scope that another agent holds is left alone until that has changed.
type Holdings struct {
	seen   *lastseen.Store
	logger *slog.Logger
	// patience is that of new scopes.
	patience time.Duration
	// stopWithin is how long collecting may take to end.
	stopWithin time.Duration
	// changed is sent to when there is something to tell.
	changed chan struct{}

	mu     sync.Mutex
	scopes map[string]*holding
	// ungoverned says that the aggregator grants nothing: it is older than that.
	ungoverned bool
}

// holding is one scope. What follows all is guarded by its lock.
type holding struct {
	all *Holdings
	id  string

	state lastseen.Scope
	// saved is when state was stored last.
	saved time.Time
	// granted says that the agent has the aggregator's word, or does without.
	granted bool
	// holder is who has the scope instead.
	holder string
	// since is when the scope began to wait.
	since time.Time
	// running is set while it is collected, and stop ends that.
	running bool
	stop    context.CancelFunc
	// news is closed, and replaced, when any of the above changes.
	news chan struct{}

	watching     bool
	failingSince time.Time
	fault        string
	// untaken is what could not be taken of it.
	untaken untaken.Tally
}

// NewHoldings returns the holdings of an agent, with what its collectors held before:
// that is claimed until they say otherwise.
func NewHoldings(seen *lastseen.Store, collectors []string, logger *slog.Logger) (*Holdings, error) {
	h := &Holdings{
		seen: seen, logger: logger, patience: patience, stopWithin: stopWithin,
		changed: make(chan struct{}, 1), scopes: make(map[string]*holding),
	}
	scopes, err := seen.AllScopes()
	if err != nil {
		return nil, err
	}
	for _, id := range scopes {
		collector, _, _ := strings.Cut(id, "/")
		if !slices.Contains(collectors, collector) {
			continue
		}
		state, err := seen.Scope(id)
		if err != nil {
			return nil, err
		}
		if state.Epoch > 0 {
			h.add(id, state)
		}
	}
	return h, nil
}

// add adds a scope. The caller holds the lock, or is alone.
func (h *Holdings) add(id string, state lastseen.Scope) *holding {
	g := &holding{
		all: h, id: id, state: state, since: time.Now(), news: make(chan struct{}),
		// What it held, or knows all of, it goes on with.
		granted: state.Epoch > 0 || !state.Completed.IsZero(),
	}
	h.scopes[id] = g
	return g
}

// claim says that the agent would look after a scope.
func (h *Holdings) claim(id string) (g *holding, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if g = h.scopes[id]; g == nil {
		state, err := h.seen.Scope(id)
		if err != nil {
			return nil, err
		}
		g = h.add(id, state)
	}
	if g.untaken, err = h.seen.Untaken(id); err != nil {
		return nil, err
	}
	h.tell()
	return g, nil
}

// release says that the agent does not look after a scope any more.
func (h *Holdings) release(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.scopes[id] != nil {
		delete(h.scopes, id)
		h.tell()
	}
}

// tell has the aggregator told. The lock is held.
func (h *Holdings) tell() {
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

func (g *holding) changed() {
	close(g.news)
	g.news = make(chan struct{})
}

// hold waits until the scope may be collected, and returns a context that ends when it
// may not any more. done must be called when collecting has ended.
func (g *holding) hold(ctx context.Context) (held context.Context, done func(), err error) {
	h := g.all
	for {
		h.mu.Lock()
		wait := time.Until(g.since.Add(h.patience))
		if !g.granted && g.holder == "" && (wait <= 0 || h.ungoverned) {
			if !h.ungoverned {
				h.logger.Info("collecting begins without the aggregator's word: it cannot be had", "scope", g.id)
			}
			g.granted = true
		}
		if g.granted {
			held, stop := context.WithCancel(ctx)
			g.running, g.stop = true, stop
			h.mu.Unlock()
			return held, func() {
				stop()
				h.mu.Lock()
				defer h.mu.Unlock()
				g.running, g.stop = false, nil
				g.changed()
			}, nil
		}
		news := g.news
		if g.holder != "" {
			wait = time.Hour // until there is news
		}
		h.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-news:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, nil, ctx.Err()
		}
		timer.Stop()
	}
}

// epoch is that of what is recorded now.
func (g *holding) epoch() uint64 {
	if g == nil {
		return 0
	}
	g.all.mu.Lock()
	defer g.all.mu.Unlock()
	return g.state.Epoch
}

// heldEpoch is the epoch in which the agent holds a scope now, or zero.
func (h *Holdings) heldEpoch(scope string) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if g := h.scopes[scope]; g != nil && g.granted && g.holder == "" {
		return g.state.Epoch
	}
	return 0
}

// forgotten takes note that the store has forgotten the scope.
func (g *holding) forgotten() {
	if g == nil {
		return
	}
	g.all.mu.Lock()
	defer g.all.mu.Unlock()
	g.state.Completed = time.Time{}
}

// saveEvery is how often the time of complete listings is stored.
const saveEvery = 10 * time.Minute

// completed takes note that a listing of the scope is complete, in which so many assets
// were listed that are not known: what a collector kept, and what cannot be recorded. A
// holding of nil is of an agent without holdings.
//
// The aggregator may have those, so they must not count as gone. Behind a grant they
// are not there either: what it had was seeded.
func (s *sink) completed(unknown int) error {
	now := time.Now().UTC().Truncate(time.Millisecond)
	g := s.holding
	if g == nil {
		state, err := s.Seen.Scope(s.id.String())
		if err != nil || !state.Completed.IsZero() || unknown > 0 {
			return err
		}
		state.Completed = now
		return s.Seen.SetScope(s.id.String(), state)
	}
	h := g.all
	h.mu.Lock()
	defer h.mu.Unlock()
	first := g.state.Completed.IsZero()
	if first && unknown > 0 && g.state.Epoch == 0 {
		return nil
	}
	g.state.Completed = now
	if !first && now.Sub(g.saved) < saveEvery {
		return nil
	}
	if err := h.seen.SetScope(g.id, g.state); err != nil {
		return err
	}
	g.saved = now
	if first {
		h.tell()
	}
	return nil
}

// fails takes note of why a scope fails, or that it does no more.
func (g *holding) fails(fault string) {
	if g == nil {
		return
	}
	h := g.all
	h.mu.Lock()
	defer h.mu.Unlock()
	if (fault == "") != g.failingSince.IsZero() {
		g.failingSince = time.Time{}
		if fault != "" {
			g.failingSince = time.Now()
		}
		h.tell()
	}
	g.fault = fault
}

// cannotTake takes note of what could not be taken of a scope, over a restart as well:
// until the next listing nobody says it again.
func (g *holding) cannotTake(t untaken.Tally) {
	if g == nil {
		return
	}
	h := g.all
	h.mu.Lock()
	defer h.mu.Unlock()
	g.untaken = t
	h.tell()
	if err := h.seen.SetUntaken(g.id, t); err != nil {
		h.logger.Warn("noting what could not be taken of a scope", "scope", g.id, "error", err)
	}
}

// watches takes note of whether a scope is followed.
func (g *holding) watches(is bool) {
	if g == nil {
		return
	}
	g.all.mu.Lock()
	defer g.all.mu.Unlock()
	g.watching = is
}

// What follows is what the uplink negotiates (uplink.Scopes).

// Changed is sent to when there are other claims than before, or something that the
// aggregator should know of one.
func (h *Holdings) Changed() <-chan struct{} { return h.changed }

// maxFault bounds what is told of why a scope fails.
const maxFault = 512

// Claims lists the scopes that the agent has or would have, in the order of their names.
func (h *Holdings) Claims() []*wirev1.ScopeClaim {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []*wirev1.ScopeClaim
	names := 0
	for _, id := range slices.Sorted(maps.Keys(h.scopes)) {
		// The rest is collected as if the aggregator granted nothing: it goes by the agent.
		if names += len(id); len(list) == wire.MaxClaims || names > wire.MaxClaimNames {
			h.logger.Warn("there are more scopes than an agent may claim: of the rest no other agent is held off", "scopes", len(h.scopes),
				"claimed", len(list))
			break
		}
		g := h.scopes[id]
		c := &wirev1.ScopeClaim{Scope: id, Epoch: g.state.Epoch, Complete: !g.state.Completed.IsZero(), Watching: g.watching}
		if c.Complete {
			c.CompletedAt = g.state.Completed.UnixMilli()
		}
		if !g.failingSince.IsZero() {
			c.FailingSince, c.Error = g.failingSince.UnixMilli(), strings.ToValidUTF8(g.fault[:min(len(g.fault), maxFault)], "")
		}
		if t := g.untaken; t.Count > 0 {
			c.Untaken, c.UntakenAt = uint32(t.Count), t.At.UnixMilli()
			c.UntakenReason = strings.ToValidUTF8(t.Why[:min(len(t.Why), maxFault)], "")
		}
		list = append(list, c)
	}
	return list
}

// Ungoverned says that the aggregator grants nothing.
func (h *Holdings) Ungoverned() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ungoverned = true
	for _, g := range h.scopes {
		g.granted, g.holder = true, ""
		g.changed()
	}
}

// Granted takes the aggregator's answer to claims. It returns the grants of scopes that
// are to be seeded, which are not collected until they are (Seed), and whether others
// hold any of the rest.
func (h *Holdings) Granted(claims []*wirev1.ScopeClaim, grants []*wirev1.ScopeGrant) (seeds []*wirev1.ScopeGrant, refused bool, err error) {
	answers := make(map[string]*wirev1.ScopeGrant, len(grants))
	for _, a := range grants {
		answers[a.GetScope()] = a
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ungoverned = false
	var errs []error
	for _, c := range claims {
		g := h.scopes[c.GetScope()]
		if g == nil {
			continue // released meanwhile
		}
		a := answers[c.GetScope()]
		if a == nil {
			a = &wirev1.ScopeGrant{Scope: c.GetScope(), Epoch: c.GetEpoch()}
		}
		switch {
		case a.GetEpoch() == 0:
			refused = true
			if holder := cmp.Or(a.GetHolder(), "another agent"); g.holder != holder {
				g.holder = holder
				h.logger.Warn("another agent of the site holds this scope: nothing is collected of it here. If that is another source, give its "+
					"collector another name; if it is a machine with the same machine-id, give one of them a new one",
					"scope", g.id, "holder", holder, "hostname", a.GetHostname())
			}
			// What the other one records is not known here: all is listed anew, should the
			// scope come back.
			if !g.state.Completed.IsZero() {
				g.state.Completed = time.Time{}
				if err := h.seen.SetScope(g.id, g.state); err != nil {
					errs = append(errs, err)
				}
			}
			g.withdraw()
		case a.GetSeed():
			g.holder = ""
			g.withdraw()
			g.since = time.Now().Add(seedsTake)
			seeds = append(seeds, a)
		default:
			if g.holder != "" {
				h.logger.Info("this agent holds the scope now", "scope", g.id, "epoch", a.GetEpoch())
			}
			if g.state.Epoch != a.GetEpoch() {
				g.state.Epoch = a.GetEpoch()
				if err := h.seen.SetScope(g.id, g.state); err != nil {
					errs = append(errs, err)
				}
			}
			g.holder, g.granted = "", true
			g.changed()
		}
	}
	return seeds, refused, errors.Join(errs...)
}

// withdraw ends the collecting of a scope. The lock is held.
func (g *holding) withdraw() {
	g.granted, g.since = false, time.Now()
	if g.stop != nil {
		g.stop()
	}
	g.changed()
}

// Seed replaces what is known of a scope by what the aggregator has of it, and has it
// collected. ready waits until the aggregator has all that was recorded of it here, and
// next returns more of what it has until there is none.
func (h *Holdings) Seed(ctx context.Context, grant *wirev1.ScopeGrant, ready func(context.Context) error,
	next func() ([]*wirev1.AssetVersion, error)) error {
	err := h.seed(ctx, grant, ready, next)
	if err == nil {
		return nil
	}
	// Those behind it are not seeded either, for now: their patience begins anew.
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for _, g := range h.scopes {
		if !g.granted && g.since.After(now) {
			g.since = now
			g.changed()
		}
	}
	return err
}

func (h *Holdings) seed(ctx context.Context, grant *wirev1.ScopeGrant, ready func(context.Context) error,
	next func() ([]*wirev1.AssetVersion, error)) error {
	g, err := h.stopped(ctx, grant.GetScope())
	if err != nil || g == nil {
		return err
	}
	if err := ready(ctx); err != nil {
		return err
	}
	h.mu.Lock()
	g.state = lastseen.Scope{}
	h.mu.Unlock()
	state := lastseen.Scope{Epoch: grant.GetEpoch()}
	if err := h.seen.Seed(g.id, state, next); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	g.state, g.granted = state, true
	g.changed()
	return nil
}

// seedsTake is longer than it takes to seed all scopes of an agent, one after the other.
const seedsTake = 24 * time.Hour

// stopped waits until a scope that is to be seeded is not collected any more. It returns
// nil if there is nothing to seed.
func (h *Holdings) stopped(ctx context.Context, scope string) (*holding, error) {
	late := time.NewTimer(h.stopWithin)
	defer late.Stop()
	for {
		h.mu.Lock()
		g := h.scopes[scope]
		if g == nil || g.granted {
			h.mu.Unlock()
			return nil, nil
		}
		if !g.running {
			h.mu.Unlock()
			return g, nil
		}
		news := g.news
		h.mu.Unlock()
		select {
		case <-news:
		case <-late.C:
			return nil, fmt.Errorf("scope %s is to be seeded, but its collector does not end within %v", scope, h.stopWithin)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// complete reports whether the agent holds a scope and knows all of it.
func (h *Holdings) complete(scope string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := h.scopes[scope]
	return g != nil && g.granted && g.holder == "" && !g.state.Completed.IsZero() && (g.state.Epoch > 0 || h.ungoverned)
}
