package uplink

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/retry"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

const (
	// claimAgain is how soon an agent asks again for a scope that another one holds, or
	// that could not be seeded, and claimSeldom how soon at most when it has asked often.
	// An aggregator that says when a scope has come free is asked more and more seldom.
	claimAgain, claimSeldom = 30 * time.Second, 10 * time.Minute
	// claimSettle is how long changes of claims are gathered before they are told.
	claimSettle = time.Second
	// claimEvery is how far apart claims are that tell nothing new but times.
	claimEvery = time.Hour
	// grantPieces is how many messages of the aggregator may wait to be taken: all
	// pieces of one message of a seed.
	grantPieces = wire.MaxBatch/wire.SeedPiece + 16
)

// Scopes are the scopes that the agent looks after, or would. The aggregator's package
// scope says who holds which.
type Scopes interface {
	// Changed is sent to when there is something to tell.
	Changed() <-chan struct{}
	// Claims lists all scopes that the agent has or would have.
	Claims() []*wirev1.ScopeClaim
	// Granted takes the answer. It returns which scopes are to be seeded, and whether
	// other agents hold some.
	Granted(claims []*wirev1.ScopeClaim, grants []*wirev1.ScopeGrant) (seeds []*wirev1.ScopeGrant, refused bool, err error)
	// Seed replaces what is known of a scope by what next returns, until that is
	// nothing, and has it collected from then on. ready is called before, when nothing
	// is recorded of the scope any more.
	Seed(ctx context.Context, grant *wirev1.ScopeGrant, ready func(context.Context) error, next func() ([]*wirev1.AssetVersion, error)) error
	// Ungoverned says that the aggregator does not answer claims.
	Ungoverned()
}

// claim tells the aggregator of the agent's scopes, whenever there is something to tell,
// and takes what it says of them.
func (s *session) claim(ctx context.Context) error {
	pause := retry.BackOff(claimAgain, claimSeldom)
	for {
		again, err := s.claimOnce(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			s.Logger.Warn("claiming scopes did not succeed; it is tried again", "error", err)
			again = true
		}
		wait := about(claimEvery)
		switch {
		case !again:
			pause.Reset()
		case s.tellsOfFreed:
			wait = pause.NextBackOff()
		default:
			wait = claimAgain
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-s.freed:
			timer.Stop()
		case <-s.Scopes.Changed():
			timer.Stop()
			if err := retry.Sleep(ctx, claimSettle); err != nil {
				return err
			}
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// claimOnce claims all scopes, and reports whether that is to be done again soon.
func (s *session) claimOnce(ctx context.Context) (again bool, err error) {
	// What came too late for an earlier question would be taken for the answer to this one.
	for late := true; late; {
		select {
		case <-s.grants:
		default:
			late = false
		}
	}
	claims := s.Scopes.Claims()
	if err := s.sendClaims(claims); err != nil {
		return false, err
	}
	var grants []*wirev1.ScopeGrant
	for more := true; more; {
		c, err := answerFrom(ctx, s.grants, func(c *wirev1.Control) bool { return c.GetGrants() != nil })
		if err != nil {
			return false, err
		}
		if grants = append(grants, c.GetGrants().GetGrants()...); len(grants) > len(claims) {
			return false, fmt.Errorf("the aggregator grants more scopes than were claimed")
		}
		more = c.GetGrants().GetMore()
	}
	seeds, refused, err := s.Scopes.Granted(claims, grants)
	if err != nil {
		return false, err
	}
	for _, g := range seeds {
		if err := s.Scopes.Seed(ctx, g, s.delivered, s.seedOf(ctx, g)); err != nil {
			return false, err
		}
		s.Logger.Info("took over a scope with what the aggregator has of it", "scope", g.GetScope(), "epoch", g.GetEpoch())
	}
	// A seeded scope is claimed once more, with its epoch.
	return refused, nil
}

func (s *session) sendClaims(claims []*wirev1.ScopeClaim) error {
	for more := true; more; {
		part := &wirev1.Scopes{}
		for size := 0; len(claims) > 0; claims = claims[1:] {
			if size += proto.Size(claims[0]) + 4; size > compareFrame && len(part.Scopes) > 0 {
				break
			}
			part.Scopes = append(part.Scopes, claims[0])
		}
		more = len(claims) > 0
		part.More = more
		if err := s.say(&wirev1.Control{Message: &wirev1.Control_Scopes{Scopes: part}}); err != nil {
			return err
		}
	}
	return nil
}

// seedOf returns a function that returns the next versions of a seed, or none at its end.
func (s *session) seedOf(ctx context.Context, g *wirev1.ScopeGrant) func() ([]*wirev1.AssetVersion, error) {
	ask := &wirev1.SeedRequest{Scope: g.GetScope(), Epoch: g.GetEpoch()}
	end := false
	return func() ([]*wirev1.AssetVersion, error) {
		if end {
			return nil, nil
		}
		if err := s.say(&wirev1.Control{Message: &wirev1.Control_SeedRequest{SeedRequest: ask}}); err != nil {
			return nil, err
		}
		var pieces wire.SeedPieces
		for {
			c, err := answerFrom(ctx, s.grants, func(c *wirev1.Control) bool {
				return c.GetSeed().GetScope() == g.GetScope() && c.GetSeed().GetEpoch() == g.GetEpoch()
			})
			if err != nil {
				return nil, err
			}
			versions, done, err := pieces.Add(c.GetSeed())
			if err != nil {
				return nil, err
			}
			if !done {
				continue
			}
			for _, a := range versions {
				// What is recorded from now on comes behind what was taken over.
				s.Clock.Observe(hlc.Stamp(a.GetVersion()))
			}
			ask.AfterType, ask.AfterUid = c.GetSeed().GetUntilType(), c.GetSeed().GetUntilUid()
			if end = c.GetSeed().GetEnd() || len(versions) == 0; end && len(versions) == 0 {
				return nil, nil
			}
			return versions, nil
		}
	}
}
