package scope

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/ingest"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// SpoolID is the spool of what the aggregator itself records of an agent's assets. No
// agent may have it.
const SpoolID = "00000000000000000000000000000000"

// batchBytes is what a batch of deletions may have before another is begun.
const batchBytes = 1 << 20

// ErrHeld means that somebody looks after a scope.
var ErrHeld = errors.New("an agent looks after the scope")

// Ending is what the end of a scope does.
type Ending struct {
	// Assets become DELETED: how many, by type.
	Assets map[string]int64
	// Last is the agent that had it last, or "".
	Last string
}

// End ends a scope without a holder: a person says that what it had is gone. With
// dryRun it only tells what that would do. The error is ErrHeld among others.
func (s *Scopes) End(ctx context.Context, by registry.Actor, in *ingest.Ingest, at warehouse.SiteScope, dryRun bool) (Ending, error) {
	e := Ending{}
	status, claimed := s.Get(at.Site, at.Scope)
	if claimed {
		e.Last = status.Last
		if err := s.checkAway(ctx, status.Holder); err != nil {
			return e, err
		}
	}
	var err error
	if e.Assets, err = s.warehouse.ScopeTypes(ctx, at); err != nil {
		return e, err
	}
	if dryRun {
		return e, nil
	}
	if claimed {
		// First, so that the last holder's late word comes behind a fence.
		if err := s.markEnded(ctx, by, key{at.Site, at.Scope}, status); err != nil {
			return e, err
		}
	}
	q := warehouse.ScopeQuery{SiteScope: at, Assets: seedAssets, Bytes: batchBytes}
	for more := true; more; {
		var versions []warehouse.AssetVersion
		var relations []warehouse.Relation
		if versions, relations, more, err = s.warehouse.ScopeAssets(ctx, q); err != nil {
			return e, err
		}
		if len(versions) == 0 {
			break
		}
		// An agent that takes it up meanwhile has what is there, and says what is not.
		if status, _ = s.Get(at.Site, at.Scope); status.Holder != "" {
			return e, s.takenUp(status.Holder)
		}
		last := versions[len(versions)-1]
		q.AfterType, q.AfterUID = last.Type, last.UID
		agents := make(map[string][]*wirev1.Record)
		for i, a := range Records(versions, relations) {
			d := Deletion(a, max(a.GetVersion()+1, uint64(s.clock.Next())), status.Epoch, time.Now())
			agents[versions[i].AgentID] = append(agents[versions[i].AgentID], wire.AssetRecord(d))
		}
		for id, records := range agents {
			if err := Submit(ctx, in, identity.Agent{Site: at.Site, ID: id}, records); err != nil {
				return e, err
			}
		}
	}
	s.logger.Info("a scope was ended: its assets are recorded as deleted", "site", at.Site, "scope", at.Scope, "by", by.Name, "assets",
		e.Assets)
	return e, nil
}

// Submit records something of an agent's assets in its name, and returns when that is
// durable or ctx ends.
func Submit(ctx context.Context, in *ingest.Ingest, agent identity.Agent, records []*wirev1.Record) error {
	if len(records) == 0 {
		return nil
	}
	inlet, err := in.Open(ctx, agent, SpoolID)
	if err != nil {
		return fmt.Errorf("recording deletions: %w", err)
	}
	defer inlet.Close()
	last, err := queue(ctx, inlet, records)
	if err != nil {
		return fmt.Errorf("recording deletions: %w", err)
	}
	for !durable(inlet, last) {
		select {
		case <-inlet.Acks():
		case <-ctx.Done():
			return fmt.Errorf("waiting until deletions are recorded: %w", ctx.Err())
		}
	}
	return nil
}

// numbering is held while records get their numbers and are queued: two that record
// something of one agent would give the same ones, and the later would be taken for a
// repetition.
var numbering = make(chan struct{}, 1)

// queue queues records, and returns the number of the last.
func queue(ctx context.Context, inlet *ingest.Inlet, records []*wirev1.Record) (last uint64, err error) {
	select {
	case numbering <- struct{}{}:
		defer func() { <-numbering }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	first := inlet.Next(wirev1.Class_CLASS_ASSETS)
	batch, err := wire.EncodeBatch(SpoolID, wirev1.Class_CLASS_ASSETS, first, records)
	if err != nil {
		return 0, err
	}
	return first + uint64(len(records)) - 1, inlet.Submit(ctx, wirev1.Class_CLASS_ASSETS, batch)
}

func durable(inlet *ingest.Inlet, seq uint64) bool {
	return slices.ContainsFunc(inlet.Durable(), func(w *wirev1.Watermark) bool {
		return w.GetClass() == wirev1.Class_CLASS_ASSETS && w.GetSeq() >= seq
	})
}

// checkAway returns ErrHeld if an agent that holds a scope may still look after it.
func (s *Scopes) checkAway(ctx context.Context, holder string) error {
	if holder == "" {
		return nil
	}
	lives, err := s.alive(ctx, holder)
	if err == nil && lives {
		err = fmt.Errorf("%w: agent %s of host %q: revoke it, or take the scope out of its configuration", ErrHeld, holder,
			s.registry.Liveness(holder).Hostname)
	}
	return err
}

// takenUp says that an agent took a scope up while it was being ended.
func (s *Scopes) takenUp(agent string) error {
	return fmt.Errorf("%w: agent %s of host %q has taken it up meanwhile", ErrHeld, agent, s.registry.Liveness(agent).Hostname)
}

// markEnded takes note that a scope was ended, unless it is another's now than it was
// when it was looked at. Who claims it again begins anew.
func (s *Scopes) markEnded(ctx context.Context, by registry.Actor, k key, looked Status) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.scopes[k]
	if h == nil {
		return nil
	}
	if h.holder() != looked.Holder || h.Epoch != looked.Epoch {
		return s.takenUp(h.agent)
	}
	// A holder that is back has claimed it, maybe, and would not know of the end.
	if err := s.checkAway(ctx, h.holder()); err != nil {
		return err
	}
	ended := *h
	ended.Epoch, ended.Since, ended.Ended = h.Epoch+1, uint64(s.clock.Next()), true
	if ended.ReleasedAt == 0 {
		ended.ReleasedAt = time.Now().UnixMilli()
	}
	if !slices.Contains(ended.Former, h.agent) {
		ended.Former = append([]string{h.agent}, ended.Former[:min(len(ended.Former), maxFormer-1)]...)
	}
	return s.store(ctx, by, "scope.end", map[key]*held{k: &ended})
}
