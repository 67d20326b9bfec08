package uplink

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/reeve-cloud/reeve/pkg/retry"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

const (
	// A session begins to compare after about this time: sessions begin anew where
	// an aggregator has been set up from a backup.
	compareAfter = time.Minute
	// compareEvery is how far apart comparisons are, about.
	compareEvery = time.Hour
	// answerWithin is how long an answer may take: all agents come at once when an
	// aggregator was restarted.
	answerWithin = 10 * time.Minute
	// compareFrame is what a message of a comparison may have.
	compareFrame = wire.MaxControlFrame / 2
)

// Inventory is what the agent knows of assets. The aggregator's package reconcile
// describes the comparison.
type Inventory interface {
	// Digest sums up what is known of the scopes of which everything is, and names those.
	Digest(context.Context) (scopes []*wirev1.ScopeDigest, complete []string, err error)
	// Listing lists what is known of a type in a scope whose uid is above after,
	// as much as fits into so many bytes.
	Listing(ctx context.Context, scope, typ, after string, bytes int) (*wirev1.Listing, error)
	// Restore puts some of a listing into the spool again, and returns how many: newer
	// than the versions that the aggregator has of them, or zero.
	Restore(ctx context.Context, l *wirev1.Listing, uids []string, held []uint64) (int, error)
	// Types lists the types that were announced.
	Types(context.Context) ([]*wirev1.TypeVersion, error)
	// RestoreTypes puts some of them into the spool again.
	RestoreTypes(ctx context.Context, names []string) error
	// Gone returns those of the assets that are certainly not there any more.
	Gone(scope, typ string, assets []*wirev1.Unlisted) ([]*wirev1.Unlisted, error)
}

// about is a time that differs from agent to agent.
func about(d time.Duration) time.Duration { return d/2 + rand.N(d) }

// compare finds out now and then whether the aggregator still has what it has
// acknowledged, and sends again what it has not.
func (s *session) compare(ctx context.Context) error {
	wait := about(compareAfter)
	if s.CompareAfter > 0 {
		wait = s.CompareAfter
	}
	for {
		if err := retry.Sleep(ctx, wait); err != nil {
			return err
		}
		if err := s.compareOnce(ctx); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			s.Logger.Warn("comparing with the aggregator did not succeed; it is tried again later", "error", err)
		}
		wait = about(compareEvery)
	}
}

func (s *session) compareOnce(ctx context.Context) error {
	asOf := uint64(s.Clock.Next())
	scopes, complete, err := s.Inventory.Digest(ctx)
	if err != nil {
		return err
	}
	types, err := s.Inventory.Types(ctx)
	if err != nil {
		return err
	}
	if err := s.delivered(ctx); err != nil {
		return err
	}
	if err := s.sendDigest(&wirev1.Digest{AsOf: asOf, Types: types, Scopes: scopes, Complete: complete}); err != nil {
		return err
	}
	answer, err := s.answer(ctx, func(c *wirev1.Control) bool { return c.GetDiffering() != nil && c.GetDiffering().GetAsOf() == asOf })
	if err != nil {
		return err
	}
	missing := answer.GetDiffering().GetTypes()
	if err := s.Inventory.RestoreTypes(ctx, missing); err != nil {
		return err
	}
	restored, removed := 0, 0
	for _, d := range answer.GetDiffering().GetScopes() {
		for after := ""; ; {
			l, r, g, err := s.compareListing(ctx, d.GetScope(), d.GetType(), after)
			restored, removed = restored+r, removed+g
			if err != nil {
				return err
			}
			if after = l.GetUntil(); after == "" {
				break
			}
		}
	}
	if len(missing)+restored+removed > 0 {
		s.Logger.Warn("the aggregator had lost some of what it had acknowledged; it was sent again", "asset_types", len(missing), "assets",
			restored, "deletions", removed)
	}
	return nil
}

// compareListing compares one listing, and returns how many of its assets were sent
// again, and how many deletions were.
func (s *session) compareListing(ctx context.Context, scope, typ, after string) (l *wirev1.Listing, restored, removed int, err error) {
	asOf := uint64(s.Clock.Next())
	if l, err = s.Inventory.Listing(ctx, scope, typ, after, compareFrame); err != nil {
		return nil, 0, 0, err
	}
	l.AsOf = asOf
	if err := s.delivered(ctx); err != nil {
		return l, 0, 0, err
	}
	if err := s.say(&wirev1.Control{Message: &wirev1.Control_Listing{Listing: l}}); err != nil {
		return l, 0, 0, err
	}
	answer, err := s.answer(ctx, func(c *wirev1.Control) bool { return c.GetResend() != nil && c.GetResend().GetAsOf() == asOf })
	if err != nil {
		return l, 0, 0, err
	}
	if restored, err = s.Inventory.Restore(ctx, l, answer.GetResend().GetUids(), answer.GetResend().GetHeld()); err != nil {
		return l, restored, 0, err
	}
	gone, err := s.Inventory.Gone(scope, typ, answer.GetResend().GetUnlisted())
	if err != nil || len(gone) == 0 {
		return l, restored, 0, err
	}
	// Deletions that are under way come first: then the versions are others.
	m := &wirev1.Removed{AsOf: uint64(s.Clock.Next()), Scope: scope, Type: typ, Assets: gone}
	if err := s.delivered(ctx); err != nil {
		return l, restored, 0, err
	}
	return l, restored, len(gone), s.say(&wirev1.Control{Message: &wirev1.Control_Removed{Removed: m}})
}

// delivered waits until all that is in the spool now is acknowledged.
func (s *session) delivered(ctx context.Context) error {
	last := s.Spool.Next(wirev1.Class_CLASS_ASSETS) - 1
	for s.Spool.Acked(wirev1.Class_CLASS_ASSETS) < last {
		if err := retry.Sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// sendDigest sends a digest in parts that fit into frames.
func (s *session) sendDigest(whole *wirev1.Digest) error {
	types, scopes, complete := whole.GetTypes(), whole.GetScopes(), whole.GetComplete()
	for more := true; more; {
		part := &wirev1.Digest{AsOf: whole.GetAsOf()}
		size := 0
		fits := func(bytes int) bool {
			first := size == 0
			size += bytes + 4
			return size <= compareFrame || first
		}
		for ; len(types) > 0 && fits(proto.Size(types[0])); types = types[1:] {
			part.Types = append(part.Types, types[0])
		}
		for ; len(types) == 0 && len(complete) > 0 && fits(len(complete[0])); complete = complete[1:] {
			part.Complete = append(part.Complete, complete[0])
		}
		for ; len(types)+len(complete) == 0 && len(scopes) > 0 && fits(proto.Size(scopes[0])); scopes = scopes[1:] {
			part.Scopes = append(part.Scopes, scopes[0])
		}
		part.More = len(types)+len(complete)+len(scopes) > 0
		more = part.GetMore()
		if err := s.say(&wirev1.Control{Message: &wirev1.Control_Digest{Digest: part}}); err != nil {
			return err
		}
	}
	return nil
}

// answer waits for the answer to a question of a comparison. Answers to older ones are
// passed over.
func (s *session) answer(ctx context.Context, is func(*wirev1.Control) bool) (*wirev1.Control, error) {
	return answerFrom(ctx, s.answers, is)
}

func answerFrom(ctx context.Context, answers <-chan *wirev1.Control, is func(*wirev1.Control) bool) (*wirev1.Control, error) {
	timeout := time.NewTimer(answerWithin)
	defer timeout.Stop()
	for {
		select {
		case c := <-answers:
			if is(c) {
				return c, nil
			}
		case <-timeout.C:
			return nil, fmt.Errorf("no answer within %v", answerWithin)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take hands an answer to who waits for it.
func take(answers chan<- *wirev1.Control, c *wirev1.Control) error {
	select {
	case answers <- c:
		return nil
	default:
		return errors.New("the aggregator answers what it was not asked")
	}
}
