// Package scope says who looks after what.
//
// A scope is what one listing covers completely: a cluster's Deployments, a project's
// volumes. (site, collector, scope) is the unit of ownership: one agent is its holder,
// and the epoch grows whenever that changes. Whether an asset is DISCONNECTED, whose
// digests count, and who may say that something is gone, go by the holder of its scope,
// whichever agent wrote its newest version.
//
// Agents claim the scopes that they have. A scope without a holder, or whose holder was
// revoked or has been silent for a while, goes to who claims it. If that agent does not
// know all of the scope, it is seeded: what the warehouse holds of the scope takes the
// place of what the agent knows, so that nothing is created twice, and its first
// complete listing finds what vanished in between. A scope that its holder does not
// claim any more has no holder, until another claims it or a person has it ended.
//
// What agents of earlier versions bring, which claim nothing, goes by the agent.
package scope

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	ingestv1 "github.com/reeve-cloud/reeve/aggregator/ingest/v1"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/retry"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

const (
	// TakeOverAfter is how long a holder must have been silent before a scope goes to
	// another agent that claims it: longer than a restart takes.
	TakeOverAfter = time.Minute
	// maxFormer is how many former holders of a scope are remembered, unless its holder
	// has so many scopes that they are more than allFormer together: then it is fewer,
	// and leastFormer at least. With it, and what an agent may claim (wire.MaxClaims),
	// all that is known of an agent's scopes fits into one object of the registry.
	maxFormer, leastFormer = 64, 4
	allFormer              = leastFormer * wire.MaxClaims
)

// Warehouse is where the assets of scopes are.
type Warehouse interface {
	SetScopes(ctx context.Context, scopes []warehouse.ScopeHolder) error
	ScopesVersion(ctx context.Context) (uint64, error)
	ScopeCounts(ctx context.Context, site string, scopes []string) (map[warehouse.SiteScope]int64, error)
	ScopeTypes(ctx context.Context, s warehouse.SiteScope) (map[string]int64, error)
	ScopeAssets(ctx context.Context, q warehouse.ScopeQuery) (versions []warehouse.AssetVersion, relations []warehouse.Relation, more bool,
		err error)
}

// key names a scope.
type key struct{ site, name string }

// held is a scope with its holder, or the last one it had.
type held struct {
	registry.HeldScope
	agent string
}

// holder is the agent that has the scope now, or "".
func (h *held) holder() string {
	if h.ReleasedAt != 0 {
		return ""
	}
	return h.agent
}

// Scopes knows all scopes. Run must follow Open.
type Scopes struct {
	registry  *registry.Registry
	warehouse Warehouse
	clock     *hlc.Clock
	logger    *slog.Logger
	// started is when agents could first be heard.
	started time.Time
	// takeOverAfter is TakeOverAfter, lookAgain the constant.
	takeOverAfter, lookAgain time.Duration
	turns                    chan struct{}

	mu     sync.Mutex
	scopes map[key]*held
	// fences are those of agents, by id, made anew with each change.
	fences map[string][]*ingestv1.Fence
	// status is what holders said last.
	status map[key]*wirev1.ScopeClaim
	// unwritten are those that the warehouse does not know yet, as they are, or were
	// when they were forgotten.
	unwritten map[key]*held
	revision  int64
	wake      chan struct{}

	// opened is the revision at the start, and ahead by how much what the warehouse was
	// told is to be above the revision: a registry from a backup is behind it. Both belong
	// to write, which asks once.
	opened int64
	ahead  uint64
	asked  bool
}

// Open reads who holds what.
func Open(ctx context.Context, r *registry.Registry, w Warehouse, clock *hlc.Clock, logger *slog.Logger) (*Scopes, error) {
	s := &Scopes{
		registry: r, warehouse: w, clock: clock, logger: logger, started: time.Now(), takeOverAfter: TakeOverAfter,
		lookAgain: lookAgain,
		turns:     make(chan struct{}, atOnce), scopes: make(map[key]*held), status: make(map[key]*wirev1.ScopeClaim),
		unwritten: make(map[key]*held), wake: make(chan struct{}, 1), revision: r.Store().Revision(),
	}
	for a, err := range r.Scopes(ctx) {
		if errors.Is(err, registry.ErrCorrupt) {
			logger.Error("the scopes of an agent cannot be read; it claims them again", "error", err)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading who holds scopes: %w", err)
		}
		for _, h := range a.Scopes {
			k := key{a.Site, h.Name}
			// Should two have it, by a crash between versions of this program, the later holds.
			if other := s.scopes[k]; other == nil || other.Epoch < h.Epoch {
				s.scopes[k] = &held{HeldScope: h, agent: a.Agent}
			}
			s.unwritten[k] = s.scopes[k]
		}
	}
	s.opened = s.revision
	s.fence()
	return s, nil
}

// fence makes the fences anew. The lock is held, or nobody else has s yet.
func (s *Scopes) fence() {
	s.fences = make(map[string][]*ingestv1.Fence)
	for k, h := range s.scopes {
		for _, id := range h.Former {
			s.fences[id] = append(s.fences[id], &ingestv1.Fence{Scope: k.name, Epoch: h.Epoch, Since: h.Since})
		}
	}
}

// Run keeps the warehouse told of holders until ctx ends.
func (s *Scopes) Run(ctx context.Context) error {
	pause := retry.BackOff(time.Second, time.Minute)
	for {
		if err := s.write(ctx); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			wait := pause.NextBackOff()
			s.logger.Warn("telling the warehouse who holds scopes", "error", err, "retry_in", wait.Round(time.Millisecond))
			if err := retry.Sleep(ctx, wait); err != nil {
				return err
			}
			continue
		}
		pause.Reset()
		select {
		case <-s.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// write tells the warehouse what it does not know yet.
func (s *Scopes) write(ctx context.Context) error {
	if !s.asked {
		told, err := s.warehouse.ScopesVersion(ctx)
		if err != nil {
			return err
		}
		if told > uint64(s.opened) {
			s.ahead = told - uint64(s.opened) + 1
		}
		s.asked = true
	}
	s.mu.Lock()
	var rows []warehouse.ScopeHolder
	taken := s.unwritten
	for k, h := range taken {
		rows = append(rows, warehouse.ScopeHolder{
			SiteScope: warehouse.SiteScope{Site: k.site, Scope: k.name}, AgentID: h.holder(), Epoch: h.Epoch, Version: uint64(s.revision) + s.ahead,
		})
	}
	s.unwritten = make(map[key]*held)
	s.mu.Unlock()
	if len(rows) == 0 {
		return nil
	}
	err := s.warehouse.SetScopes(ctx, rows)
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		for k := range taken {
			// Unless it is news already, or its site is gone.
			if now := s.scopes[k]; now != nil && s.unwritten[k] == nil {
				s.unwritten[k] = now
			}
		}
	}
	return err
}

// alive reports whether an agent may still look after its scopes.
func (s *Scopes) alive(ctx context.Context, id string) (bool, error) {
	a, err := s.registry.Agent(ctx, id)
	if errors.Is(err, registry.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking whether agent %s lives: %w", id, err)
	}
	if a.Revoked() {
		return false, nil
	}
	heard := a.SeenTime
	if s.started.After(heard) {
		heard = s.started
	}
	return a.Connected || time.Since(heard) <= s.takeOverAfter, nil
}

// claim takes all claims of an agent, and answers those that are not granted as they
// are.
func (s *Scopes) claim(ctx context.Context, agent identity.Agent, claims []*wirev1.ScopeClaim) (grants []*wirev1.ScopeGrant, err error) {
	var partial []string
	for _, c := range claims {
		if c.GetEpoch() == 0 && !c.GetComplete() {
			partial = append(partial, c.GetScope())
		}
	}
	// What the warehouse has nothing of needs no seed.
	var stored map[warehouse.SiteScope]int64
	if len(partial) > 0 {
		if stored, err = s.warehouse.ScopeCounts(ctx, agent.Site, partial); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := uint64(s.clock.Next())
	changed := make(map[key]*held)
	claimed := make(map[string]bool, len(claims))
	alive := make(map[string]bool) // by agent
	for _, c := range claims {
		k := key{agent.Site, c.GetScope()}
		if claimed[k.name] {
			continue
		}
		claimed[k.name] = true
		h := s.scopes[k]
		if h != nil && h.holder() != "" && h.agent != agent.ID {
			lives, known := alive[h.agent]
			if !known {
				if lives, err = s.alive(ctx, h.agent); err != nil {
					return nil, err
				}
				alive[h.agent] = lives
			}
			if lives {
				grants = append(grants, &wirev1.ScopeGrant{Scope: k.name, Holder: h.agent, Hostname: s.registry.Liveness(h.agent).Hostname})
				continue
			}
		}
		next := s.next(h, agent.ID, c.GetEpoch(), now)
		if next != nil {
			changed[k] = next
			h = next
		}
		// An agent that never had it, or has forgotten it, knows too little; one that had
		// it in another epoch knows what may not be true any more.
		seed := c.GetEpoch() != h.Epoch && c.GetEpoch() != 0
		if c.GetEpoch() == 0 && !c.GetComplete() {
			seed = stored[warehouse.SiteScope{Site: k.site, Scope: k.name}] > 0
		}
		if seed || c.GetEpoch() != h.Epoch {
			grants = append(grants, &wirev1.ScopeGrant{Scope: k.name, Epoch: h.Epoch, Seed: seed})
		}
		s.status[k] = c
	}
	for k, h := range s.scopes {
		if k.site == agent.Site && h.holder() == agent.ID && !claimed[k.name] {
			released := *h
			released.ReleasedAt = time.Now().UnixMilli()
			changed[k] = &released
		}
	}
	return grants, s.store(ctx, registry.Actor{Name: "agent/" + agent.ID}, "scope.claim", changed)
}

// next is a scope with an agent as its holder, or nil if that is so already.
func (s *Scopes) next(h *held, agent string, epoch, now uint64) *held {
	switch {
	case h == nil:
		// The registry may have lost it: epochs grow.
		return &held{agent: agent, HeldScope: registry.HeldScope{Epoch: epoch + 1, Since: now}}
	case h.agent == agent && h.ReleasedAt == 0 && epoch <= h.Epoch:
		return nil
	case h.agent == agent && !h.Ended && h.Epoch == epoch:
		// It gave it up, and nobody had it since.
		next := *h
		next.ReleasedAt = 0
		return &next
	}
	// Of an agent that has it again, what it recorded while another had it is refused too.
	next := &held{agent: agent, HeldScope: registry.HeldScope{Epoch: max(h.Epoch, epoch) + 1, Since: now, Former: []string{h.agent}}}
	for _, id := range h.Former {
		if len(next.Former) < maxFormer && !slices.Contains(next.Former, id) {
			next.Former = append(next.Former, id)
		}
	}
	return next
}

// store makes changes durable, and only then known. The lock is held.
func (s *Scopes) store(ctx context.Context, by registry.Actor, action string, changed map[key]*held) error {
	if len(changed) == 0 {
		return nil
	}
	agents := make(map[string]registry.AgentScopes)
	touch := func(site, agent string) {
		if _, ok := agents[agent]; agent != "" && !ok {
			agents[agent] = registry.AgentScopes{Site: site, Agent: agent}
		}
	}
	for k, h := range changed {
		touch(k.site, h.agent)
		if before := s.scopes[k]; before != nil {
			touch(k.site, before.agent)
		}
	}
	add := func(k key, h *held) {
		if a, ok := agents[h.agent]; ok && a.Site == k.site {
			h.Name = k.name
			a.Scopes = append(a.Scopes, h.HeldScope)
			agents[h.agent] = a
		}
	}
	for k, h := range s.scopes {
		if changed[k] == nil {
			add(k, h)
		}
	}
	for k, h := range changed {
		add(k, h)
	}
	var forgotten []key
	for id, a := range agents {
		for _, name := range bound(&a) {
			forgotten = append(forgotten, key{a.Site, name})
		}
		agents[id] = a
	}
	revision, err := s.registry.SetScopes(ctx, by, action, agents)
	if err != nil {
		return err
	}
	s.revision = revision
	defer s.fence()
	for k, h := range changed {
		s.scopes[k] = h
		s.unwritten[k] = h
	}
	for _, k := range forgotten {
		delete(s.scopes, k)
		delete(s.status, k)
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return nil
}

// bound keeps of the scopes of an agent as many as may be stored, in order, and of their
// former holders: those that it gave up long ago are forgotten, and returned. Who claims
// one of them begins anew.
func bound(a *registry.AgentScopes) (forgotten []string) {
	// What it holds first, then what it gave up last.
	slices.SortFunc(a.Scopes, func(x, y registry.HeldScope) int {
		held := func(h registry.HeldScope) int64 {
			if h.ReleasedAt == 0 {
				return math.MaxInt64
			}
			return h.ReleasedAt
		}
		return cmp.Or(cmp.Compare(held(y), held(x)), strings.Compare(x.Name, y.Name))
	})
	names, most := 0, 0
	for ; most < len(a.Scopes) && most < wire.MaxClaims; most++ {
		if names += len(a.Scopes[most].Name); names > wire.MaxClaimNames {
			break
		}
	}
	for _, h := range a.Scopes[most:] {
		forgotten = append(forgotten, h.Name)
	}
	a.Scopes = a.Scopes[:most]
	if most > 0 {
		former := min(maxFormer, allFormer/most)
		for i := range a.Scopes {
			h := &a.Scopes[i]
			h.Former = h.Former[:min(len(h.Former), former)]
		}
	}
	slices.SortFunc(a.Scopes, func(x, y registry.HeldScope) int { return strings.Compare(x.Name, y.Name) })
	return forgotten
}

// Holds reports whether an agent holds a scope.
func (s *Scopes) Holds(agent identity.Agent, scope string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.scopes[key{agent.Site, scope}]
	return h != nil && h.holder() == agent.ID
}

// Governed reports whether an agent ever claimed a scope.
func (s *Scopes) Governed(site, scope string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.scopes[key{site, scope}] != nil
}

// Epoch is that of a scope, or zero if no agent ever claimed it.
func (s *Scopes) Epoch(site, scope string) uint64 {
	st, _ := s.Get(site, scope)
	return st.Epoch
}

// Held reports whether any agent holds a scope.
func (s *Scopes) Held(site, scope string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.scopes[key{site, scope}]
	return h != nil && h.holder() != ""
}

// Fences returns what is refused of an agent (ingest.Options): of the scopes that it held
// once and lost, what it recorded later.
func (s *Scopes) Fences(agent identity.Agent) []*ingestv1.Fence {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fences[agent.ID]
}

// Status is a scope as people see it.
type Status struct {
	Site, Scope string
	// Holder is the agent that has it, or "".
	Holder string
	// Last is the agent that had it last.
	Last  string
	Epoch uint64
	// HeldTime is when the epoch began. ReleaseTime is when the last holder gave it up:
	// zero while it has it.
	HeldTime, ReleaseTime time.Time
	Ended                 bool
	// What the holder said last: zero if it has said nothing yet.
	CompleteTime, FailingTime time.Time
	Error                     string
	Watching                  bool
	// Untaken is how much the holder could not take of it.
	Untaken Untaken
}

// Untaken is how much of a scope could not be taken, with the newest reason.
type Untaken struct {
	Count  int64
	Reason string
	Time   time.Time
}

// List returns the scopes of a site, or of all, by site and name.
func (s *Scopes) List(site string) []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Status
	for k := range s.scopes {
		if site == "" || k.site == site {
			list = append(list, s.statusOf(k))
		}
	}
	slices.SortFunc(list, func(a, b Status) int {
		if c := strings.Compare(a.Site, b.Site); c != 0 {
			return c
		}
		return strings.Compare(a.Scope, b.Scope)
	})
	return list
}

// Get returns one scope, if an agent ever claimed it.
func (s *Scopes) Get(site, scope string) (Status, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := key{site, scope}
	if s.scopes[k] == nil {
		return Status{}, false
	}
	return s.statusOf(k), true
}

func (s *Scopes) statusOf(k key) Status {
	h := s.scopes[k]
	st := Status{
		Site: k.site, Scope: k.name, Holder: h.holder(), Last: h.agent, Epoch: h.Epoch, HeldTime: hlc.Stamp(h.Since).Time(), Ended: h.Ended,
	}
	if h.ReleasedAt != 0 {
		st.ReleaseTime = time.UnixMilli(h.ReleasedAt).UTC()
	}
	if c := s.status[k]; c != nil {
		st.CompleteTime, st.FailingTime = moment(c.GetCompletedAt()), moment(c.GetFailingSince())
		st.Error, st.Watching = c.GetError(), c.GetWatching() && st.Holder != ""
		st.Untaken = Untaken{Count: int64(c.GetUntaken()), Reason: c.GetUntakenReason(), Time: moment(c.GetUntakenAt())}
	}
	return st
}

// moment is a time that an agent told; zero where it is none.
func moment(ms int64) time.Time {
	if ms <= 1 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// Forget drops all that is known of a site's scopes: the site is deleted.
func (s *Scopes) Forget(site string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.scopes, func(k key, _ *held) bool { return k.site == site })
	maps.DeleteFunc(s.status, func(k key, _ *wirev1.ScopeClaim) bool { return k.site == site })
	maps.DeleteFunc(s.unwritten, func(k key, _ *held) bool { return k.site == site })
}
