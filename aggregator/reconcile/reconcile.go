// Package reconcile finds out what the warehouse has lost, and gets it back.
//
// Watermarks say what an agent has delivered. They do not say that it is still
// there: a warehouse may be restored from an older backup, or emptied. So now and
// then an agent sends a digest of what it last saw, for each scope and type of
// assets. Where the warehouse's differs, the agent is asked for a listing, and of
// what is listed it is asked to send again exactly what is missing or is not as
// listed. Of what the warehouse holds beyond the listing, it is asked whether it
// still knows it; where it does not, the deletion was lost, and is recorded here with
// the state that was last known.
//
// A digest also names the asset types that the agent announced, with their versions; it
// is asked to send again those that the warehouse does not have.
//
// Nothing that is under way counts as lost. An agent lists only what had been
// acknowledged, and what is newer here than its listing is left out. What is here was
// applied at the agent before, so an asset that it does not know when it is asked is
// gone; and the deletion gets the version behind the one that the agent was told of,
// so whatever came later holds.
package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/reeve-cloud/reeve/aggregator/ingest"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/health"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// SpoolID is the spool of the deletions that are recorded here, of each agent. No
// agent may have it.
const SpoolID = "00000000000000000000000000000000"

const (
	// maxScopes is how many scopes and types one digest may have, and maxTypes how
	// many types.
	maxScopes, maxTypes = 20_000, 5_000
	// frameBytes is what a message to an agent may have before another is begun.
	frameBytes = wire.MaxControlFrame / 2
	// batchBytes is what a batch of deletions may have before another is begun.
	batchBytes = 1 << 20
	// atOnce is how many agents are compared at a time. All of them come when the
	// aggregator has been restarted.
	atOnce = 2
)

// ErrProtocol means that an agent broke the rules. Its session must end.
var ErrProtocol = errors.New("protocol violation")

// Warehouse is what agents are compared with.
type Warehouse interface {
	Digests(ctx context.Context, site, agentID string) (map[warehouse.ScopeType]wire.Digest, error)
	TypeVersions(ctx context.Context, site string) (map[string]uint64, error)
	Held(ctx context.Context, site, typ, after, until string) ([]warehouse.Held, error)
	Current(ctx context.Context, site, typ string, uids []string) ([]warehouse.AssetVersion, []warehouse.Relation, error)
}

// Reconciler compares.
type Reconciler struct {
	warehouse Warehouse
	ingest    *ingest.Ingest
	logger    *slog.Logger
	turns     chan struct{}
	digests   *prometheus.CounterVec
	assets    *prometheus.CounterVec
}

// New returns a Reconciler. The registerer may be nil.
func New(w Warehouse, in *ingest.Ingest, logger *slog.Logger, metrics prometheus.Registerer) *Reconciler {
	r := &Reconciler{
		warehouse: w, ingest: in, logger: logger, turns: make(chan struct{}, atOnce),
		digests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reeve_reconcile_digests_total", Help: "Digests of agents, by how the warehouse compares: same or differing."}, []string{"result"}),
		assets: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reeve_reconcile_assets_total",
			Help: "Assets that were not in the warehouse as they should be: missing (sent again by the agent) or undeleted (deleted here)."}, []string{"what"}),
	}
	health.Zero(r.digests, "same", "differing")
	health.Zero(r.assets, "missing", "undeleted")
	if metrics != nil {
		metrics.MustRegister(r.digests, r.assets)
	}
	return r
}

// Session compares the agent of one session.
type Session struct {
	*Reconciler
	agent identity.Agent
	say   func(*wirev1.Control) error
	// digest is what has come of one.
	digest *wirev1.Digest
	jobs   chan func(context.Context) error
}

// Session returns the comparison of an agent, which is answered through say. Run
// must follow.
func (r *Reconciler) Session(agent identity.Agent, say func(*wirev1.Control) error) *Session {
	return &Session{Reconciler: r, agent: agent, say: say, jobs: make(chan func(context.Context) error, 1)}
}

// Take takes a message of the agent's, if it is for the comparison. It does not
// wait. The error is ErrProtocol.
func (s *Session) Take(c *wirev1.Control) error {
	switch m := c.GetMessage().(type) {
	case *wirev1.Control_Digest:
		return s.takeDigest(m.Digest)
	case *wirev1.Control_Listing:
		if err := checkListing(m.Listing); err != nil {
			return err
		}
		return s.queue(func(ctx context.Context) error { return s.answerListing(ctx, m.Listing) })
	case *wirev1.Control_Removed:
		return s.queue(func(ctx context.Context) error { return s.remove(ctx, m.Removed) })
	}
	return nil
}

func (s *Session) takeDigest(part *wirev1.Digest) error {
	if s.digest == nil {
		s.digest = part
	} else {
		s.digest.Scopes = append(s.digest.Scopes, part.GetScopes()...)
		s.digest.Types = append(s.digest.Types, part.GetTypes()...)
	}
	if len(s.digest.GetScopes()) > maxScopes || len(s.digest.GetTypes()) > maxTypes {
		return fmt.Errorf("%w: a digest of more than %d scopes and types, or %d types", ErrProtocol, maxScopes, maxTypes)
	}
	if part.GetMore() {
		return nil
	}
	whole := s.digest
	s.digest = nil
	return s.queue(func(ctx context.Context) error { return s.answerDigest(ctx, whole) })
}

func checkListing(l *wirev1.Listing) error {
	last := l.GetAfter()
	for _, a := range l.GetAssets() {
		if a.GetUid() <= last || l.GetUntil() != "" && a.GetUid() > l.GetUntil() {
			return fmt.Errorf("%w: a listing that is not in order, or beyond its range", ErrProtocol)
		}
		last = a.GetUid()
	}
	return nil
}

// queue has a job done. An agent waits for one answer before it asks again.
func (s *Session) queue(job func(context.Context) error) error {
	select {
	case s.jobs <- job:
		return nil
	default:
		return fmt.Errorf("%w: it compares several things at once", ErrProtocol)
	}
}

// Run answers until ctx ends.
func (s *Session) Run(ctx context.Context) error {
	for {
		select {
		case job := <-s.jobs:
			if err := s.inTurn(ctx, job); err != nil && ctx.Err() == nil {
				// The agent gets no answer, and compares again later.
				s.logger.Warn("an agent could not be compared with the warehouse", "site", s.agent.Site, "agent_id", s.agent.ID, "error", err)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Session) inTurn(ctx context.Context, job func(context.Context) error) error {
	select {
	case s.turns <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.turns }()
	return job(ctx)
}

// answerDigest says what differs.
func (s *Session) answerDigest(ctx context.Context, d *wirev1.Digest) error {
	held, err := s.warehouse.Digests(ctx, s.agent.Site, s.agent.ID)
	if err != nil {
		return err
	}
	var differing []warehouse.ScopeType
	for _, theirs := range d.GetScopes() {
		key := warehouse.ScopeType{Scope: theirs.GetScope(), Type: theirs.GetType()}
		if held[key] != (wire.Digest{Assets: theirs.GetAssets(), Sum: theirs.GetSum()}) {
			differing = append(differing, key)
		}
		delete(held, key)
	}
	for key := range held {
		differing = append(differing, key)
	}
	slices.SortFunc(differing, func(a, b warehouse.ScopeType) int {
		return cmp.Or(cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.Type, b.Type))
	})
	types, err := s.warehouse.TypeVersions(ctx, s.agent.Site)
	if err != nil {
		return err
	}
	answer := &wirev1.Differing{AsOf: d.GetAsOf()}
	size := 0
	for _, t := range d.GetTypes() {
		if types[t.GetName()] >= t.GetVersion() {
			continue
		}
		// What does not fit is found the next time.
		if size += len(t.GetName()) + 4; size > frameBytes {
			break
		}
		answer.Types = append(answer.Types, t.GetName())
	}
	result := "same"
	if len(differing)+len(answer.Types) > 0 {
		result = "differing"
		s.logger.Info("an agent knows something else than the warehouse; comparing", "site", s.agent.Site, "agent_id", s.agent.ID,
			"differing", len(differing), "missing_types", len(answer.Types))
	}
	s.digests.WithLabelValues(result).Inc()
	for _, key := range differing {
		// What does not fit is found the next time.
		if size += len(key.Scope) + len(key.Type) + 16; size > frameBytes {
			break
		}
		answer.Scopes = append(answer.Scopes, &wirev1.ScopeDigest{Scope: key.Scope, Type: key.Type})
	}
	return s.say(&wirev1.Control{Message: &wirev1.Control_Differing{Differing: answer}})
}

// answerListing says what is to be sent again, and what may have been deleted.
func (s *Session) answerListing(ctx context.Context, l *wirev1.Listing) error {
	held, err := s.warehouse.Held(ctx, s.agent.Site, l.GetType(), l.GetAfter(), l.GetUntil())
	if err != nil {
		return err
	}
	missing, unlisted := s.compare(l, held)
	s.assets.WithLabelValues("missing").Add(float64(len(missing)))
	if len(missing) > 0 {
		s.logger.Warn("the warehouse has lost assets; the agent sends them again", "site", s.agent.Site, "agent_id", s.agent.ID,
			"scope", l.GetScope(), "type", l.GetType(), "assets", len(missing))
	}
	answer := &wirev1.Resend{AsOf: l.GetAsOf(), Scope: l.GetScope(), Type: l.GetType(), Uids: missing}
	size := 0
	for _, u := range unlisted {
		// What does not fit is found the next time.
		if size += len(u.GetUid()) + 16; size > frameBytes {
			break
		}
		answer.Unlisted = append(answer.Unlisted, u)
	}
	return s.say(&wirev1.Control{Message: &wirev1.Control_Resend{Resend: answer}})
}

// compare returns what is listed and is not held as listed, and what is held of this
// agent and scope and is not listed. Both are in the order of uids.
func (s *Session) compare(l *wirev1.Listing, held []warehouse.Held) (missing []string, unlisted []*wirev1.Unlisted) {
	listed := l.GetAssets()
	for len(listed) > 0 || len(held) > 0 {
		switch {
		case len(held) == 0 || len(listed) > 0 && listed[0].GetUid() < held[0].UID:
			missing = append(missing, listed[0].GetUid())
			listed = listed[1:]
			continue
		case len(listed) == 0 || listed[0].GetUid() > held[0].UID:
			if h := held[0]; !h.Deleted && h.Version < l.GetAsOf() && h.AgentID == s.agent.ID && h.Scope == l.GetScope() {
				unlisted = append(unlisted, &wirev1.Unlisted{Uid: h.UID, Version: h.Version})
			}
		default:
			if h := held[0]; h.Version < l.GetAsOf() && (h.Deleted || string(h.Hash[:]) != string(listed[0].GetHash())) {
				missing = append(missing, h.UID)
			}
			listed = listed[1:]
		}
		held = held[1:]
	}
	return missing, unlisted
}

// remove records deletions that were lost.
func (s *Session) remove(ctx context.Context, m *wirev1.Removed) error {
	told := make(map[string]uint64)
	var uids []string
	for _, a := range m.GetAssets() {
		told[a.GetUid()] = a.GetVersion()
		uids = append(uids, a.GetUid())
	}
	versions, relations, err := s.warehouse.Current(ctx, s.agent.Site, m.GetType(), uids)
	if err != nil {
		return err
	}
	edges := make(map[string][]*wirev1.Relation)
	for _, r := range relations {
		edges[r.FromUID] = append(edges[r.FromUID], &wirev1.Relation{Kind: r.Kind, Type: r.ToType, Uid: r.ToUID})
	}
	var records []*wirev1.Record
	size, deleted := 0, 0
	for _, v := range versions {
		if v.AgentID != s.agent.ID || v.Scope != m.GetScope() || v.Version != told[v.UID] {
			continue // somebody has seen it since
		}
		deleted++
		a := &wirev1.AssetVersion{
			Type: v.Type, Uid: v.UID, Version: v.Version + 1, Operation: wirev1.Operation_OPERATION_DELETED, Scope: v.Scope,
			Name: v.Name, Region: v.Region, Project: v.Project, Status: v.Status, Labels: v.Labels, Document: v.Document, Hash: v.Hash[:],
			ObservedAt: hlc.Stamp(m.GetAsOf()).Time().UnixMilli(), RemovedRelations: edges[v.UID],
		}
		if !v.CreatedAt.IsZero() {
			a.CreatedAt = v.CreatedAt.UnixMilli()
		}
		if !v.UpdatedAt.IsZero() {
			a.UpdatedAt = v.UpdatedAt.UnixMilli()
		}
		records = append(records, &wirev1.Record{Body: &wirev1.Record_Asset{Asset: a}})
		if size += len(v.Document); size >= batchBytes {
			if err := s.submit(ctx, records); err != nil {
				return err
			}
			records, size = nil, 0
		}
	}
	if deleted > 0 {
		s.assets.WithLabelValues("undeleted").Add(float64(deleted))
		s.logger.Warn("the warehouse had lost the deletion of assets, which is recorded now", "site", s.agent.Site, "agent_id", s.agent.ID,
			"scope", m.GetScope(), "type", m.GetType(), "assets", deleted)
	}
	return s.submit(ctx, records)
}

func (s *Session) submit(ctx context.Context, records []*wirev1.Record) error {
	if len(records) == 0 {
		return nil
	}
	inlet, err := s.ingest.Open(ctx, s.agent, SpoolID)
	if err != nil {
		return err
	}
	defer inlet.Close()
	batch, err := wire.EncodeBatch(SpoolID, wirev1.Class_CLASS_ASSETS, inlet.Next(wirev1.Class_CLASS_ASSETS), records)
	if err != nil {
		return err
	}
	if err := inlet.Submit(ctx, wirev1.Class_CLASS_ASSETS, batch); err != nil {
		return fmt.Errorf("recording deletions: %w", err)
	}
	return nil
}
