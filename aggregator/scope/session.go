package scope

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

const (
	// atOnce is how many claims and seeds are worked on at a time. All agents come when
	// the aggregator has been restarted.
	atOnce = 2
	// frameBytes is what a message to an agent may have before another is begun.
	frameBytes = wire.MaxControlFrame / 2
	// seedBytes and seedAssets are what one message of a seed has, about.
	seedBytes, seedAssets = 1 << 20, 500
	// lookAgain is how often is looked whether a scope that an agent was refused has come
	// free.
	lookAgain = 10 * time.Second
)

// ErrProtocol means that an agent broke the rules. Its session must end.
var ErrProtocol = errors.New("protocol violation")

// Session answers the claims of the agent of one session.
type Session struct {
	*Scopes
	agent identity.Agent
	say   func(*wirev1.Control) error
	// claims are what has come of a list of them, and names the bytes of their names.
	claims []*wirev1.ScopeClaim
	names  int
	// refused are the scopes that others hold, by their holders, as was logged.
	refused map[string]string
	jobs    chan job
}

// job does what an agent asks for, and returns what it is to be told.
type job func(context.Context) ([]*wirev1.Control, error)

// Session returns the session of an agent, which is answered through say. Run must
// follow.
func (s *Scopes) Session(agent identity.Agent, say func(*wirev1.Control) error) *Session {
	return &Session{Scopes: s, agent: agent, say: say, jobs: make(chan job, 1)}
}

// Take takes a message of the agent's, if it is about scopes. It does not wait. The
// error is ErrProtocol.
func (s *Session) Take(c *wirev1.Control) error {
	switch m := c.GetMessage().(type) {
	case *wirev1.Control_Scopes:
		return s.takeClaims(m.Scopes)
	case *wirev1.Control_SeedRequest:
		return s.queue(func(ctx context.Context) ([]*wirev1.Control, error) { return s.seed(ctx, m.SeedRequest) })
	}
	return nil
}

func (s *Session) takeClaims(part *wirev1.Scopes) error {
	for _, c := range part.GetScopes() {
		if err := wire.CheckName("scope", c.GetScope()); err != nil {
			return fmt.Errorf("%w: claims: %w", ErrProtocol, err)
		}
		s.names += len(c.GetScope())
		if len(c.GetError()) > maxError {
			c.Error = c.GetError()[:maxError]
		}
		if len(c.GetUntakenReason()) > maxError {
			c.UntakenReason = c.GetUntakenReason()[:maxError]
		}
	}
	if s.claims = append(s.claims, part.GetScopes()...); len(s.claims) > wire.MaxClaims || s.names > wire.MaxClaimNames {
		return fmt.Errorf("%w: more than %d scopes, or %d bytes of their names", ErrProtocol, wire.MaxClaims, wire.MaxClaimNames)
	}
	if part.GetMore() {
		return nil
	}
	claims := s.claims
	s.claims, s.names = nil, 0
	return s.queue(func(ctx context.Context) ([]*wirev1.Control, error) { return s.answer(ctx, claims) })
}

// maxError bounds what an agent tells of why a scope fails.
const maxError = 512

// queue has a job done. An agent waits for one answer before it asks again.
func (s *Session) queue(j job) error {
	select {
	case s.jobs <- j:
		return nil
	default:
		return fmt.Errorf("%w: it claims several things at once", ErrProtocol)
	}
}

// Run answers until ctx ends.
func (s *Session) Run(ctx context.Context) error {
	look := time.NewTicker(s.lookAgain)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			free, err := s.freed(ctx)
			if err == nil && free {
				err = s.say(&wirev1.Control{Message: &wirev1.Control_Freed{Freed: &wirev1.Freed{}}})
			}
			if err != nil && ctx.Err() == nil {
				s.logger.Warn("looking whether scopes have come free", "site", s.agent.Site, "agent_id", s.agent.ID, "error", err)
			}
		case j := <-s.jobs:
			answer, err := s.inTurn(ctx, j)
			// Behind its turn: an agent that reads slowly holds up nobody.
			for i := 0; i < len(answer) && err == nil; i++ {
				err = s.say(answer[i])
			}
			if err != nil && ctx.Err() == nil {
				// The agent gets no answer, and asks again later.
				s.logger.Warn("an agent's scopes could not be looked after", "site", s.agent.Site, "agent_id", s.agent.ID, "error", err)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// freed reports whether the agent could have a scope that it was refused.
func (s *Session) freed(ctx context.Context) (bool, error) {
	alive := make(map[string]struct{}) // agents
	for name := range s.refused {
		st, _ := s.Get(s.agent.Site, name)
		if st.Holder == "" {
			return true, nil
		}
		if _, known := alive[st.Holder]; known {
			continue
		}
		lives, err := s.alive(ctx, st.Holder)
		if err != nil || !lives {
			return err == nil, err
		}
		alive[st.Holder] = struct{}{}
	}
	return false, nil
}

func (s *Session) inTurn(ctx context.Context, j job) ([]*wirev1.Control, error) {
	select {
	case s.turns <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-s.turns }()
	return j(ctx)
}

func (s *Session) answer(ctx context.Context, claims []*wirev1.ScopeClaim) (answer []*wirev1.Control, err error) {
	grants, err := s.claim(ctx, s.agent, claims)
	if err != nil {
		return nil, err
	}
	refused := make(map[string]string)
	for _, g := range grants {
		if g.GetEpoch() != 0 {
			continue
		}
		refused[g.GetScope()] = g.GetHolder()
		if s.refused[g.GetScope()] != g.GetHolder() {
			s.logger.Warn("an agent claims a scope that another holds: if they are of different sources, their collectors need different names; "+
				"if they are two machines with one machine-id, one of them needs a new one",
				"site", s.agent.Site, "agent_id", s.agent.ID, "hostname", s.registry.Liveness(s.agent.ID).Hostname,
				"scope", g.GetScope(), "holder", g.GetHolder(), "holder_hostname", g.GetHostname())
		}
	}
	s.refused = refused
	for more := true; more; {
		part := &wirev1.Grants{}
		for size := 0; len(grants) > 0; grants = grants[1:] {
			if size += proto.Size(grants[0]) + 4; size > frameBytes && len(part.Grants) > 0 {
				break
			}
			part.Grants = append(part.Grants, grants[0])
		}
		more = len(grants) > 0
		part.More = more
		answer = append(answer, &wirev1.Control{Message: &wirev1.Control_Grants{Grants: part}})
	}
	return answer, nil
}

// seed returns the next assets of a scope.
func (s *Session) seed(ctx context.Context, r *wirev1.SeedRequest) (answer []*wirev1.Control, err error) {
	if status, ok := s.Get(s.agent.Site, r.GetScope()); !ok || status.Holder != s.agent.ID || status.Epoch != r.GetEpoch() {
		return nil, fmt.Errorf("it asked for the seed of scope %q with epoch %d, which it does not hold", r.GetScope(), r.GetEpoch())
	}
	versions, relations, more, err := s.warehouse.ScopeAssets(ctx, warehouse.ScopeQuery{
		SiteScope: warehouse.SiteScope{Site: s.agent.Site, Scope: r.GetScope()},
		AfterType: r.GetAfterType(), AfterUID: r.GetAfterUid(), Assets: seedAssets, Bytes: seedBytes,
	})
	if err != nil {
		return nil, err
	}
	to := &wirev1.Seed{Scope: r.GetScope(), Epoch: r.GetEpoch(), End: !more}
	if n := len(versions); n > 0 {
		to.UntilType, to.UntilUid = versions[n-1].Type, versions[n-1].UID
	}
	pieces, err := wire.PackSeed(Records(versions, relations), to)
	if err != nil {
		return nil, err
	}
	for _, p := range pieces {
		answer = append(answer, &wirev1.Control{Message: &wirev1.Control_Seed{Seed: p}})
	}
	return answer, nil
}

// Records makes of rows of the warehouse the versions that agents told of.
func Records(versions []warehouse.AssetVersion, relations []warehouse.Relation) []*wirev1.AssetVersion {
	type asset struct{ kind, uid string }
	edges := make(map[asset][]*wirev1.Relation)
	for _, r := range relations {
		from := asset{r.FromType, r.FromUID}
		edges[from] = append(edges[from], &wirev1.Relation{Kind: r.Kind, Type: r.ToType, Uid: r.ToUID})
	}
	list := make([]*wirev1.AssetVersion, 0, len(versions))
	for i := range versions {
		v := &versions[i]
		a := &wirev1.AssetVersion{
			Type: v.Type, Uid: v.UID, Version: v.Version, Operation: wirev1.Operation_OPERATION_UPDATED, Scope: v.Scope,
			Name: v.Name, Region: v.Region, Project: v.Project, Status: v.Status, Labels: v.Labels, Document: v.Document, Hash: v.Hash[:],
			Relations: edges[asset{v.Type, v.UID}],
		}
		slices.SortFunc(a.Relations, wire.CompareRelations)
		for _, t := range []struct {
			to   *int64
			from interface {
				IsZero() bool
				UnixMilli() int64
			}
		}{{&a.CreatedAt, v.CreatedAt}, {&a.UpdatedAt, v.UpdatedAt}, {&a.ObservedAt, v.ObservedAt}} {
			if !t.from.IsZero() {
				*t.to = t.from.UnixMilli()
			}
		}
		list = append(list, a)
	}
	return list
}

// Deletion is the version that ends an asset: with its last state, the edges that it had
// as ended, and a stamp. The epoch is that of the scope now.
func Deletion(a *wirev1.AssetVersion, version, epoch uint64, at time.Time) *wirev1.AssetVersion {
	a.Epoch, a.Version, a.Operation, a.ObservedAt = epoch, version, wirev1.Operation_OPERATION_DELETED, at.UnixMilli()
	a.RemovedRelations, a.Relations = a.GetRelations(), nil
	return a
}
