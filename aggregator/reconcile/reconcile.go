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
// acknowledged, and what is newer here than its listing is left out. And that an agent
// does not know an asset says nothing by itself: it counts only in a scope that the
// agent holds (package scope) and of which it knows all, because it has completed a
// listing of it since its memory began. Then an asset that it does not know when it is
// asked is gone; and the deletion gets the version behind the one that the agent was
// told of, so whatever came later holds.
package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sort"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/reeve-cloud/reeve/aggregator/ingest"
	"github.com/reeve-cloud/reeve/aggregator/scope"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/health"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

const (
	// maxScopes is how many scopes and types one digest may have, and maxTypes how
	// many types.
	maxScopes, maxTypes = 20_000, 5_000
	// maxDigestBytes is what all parts of one digest may have.
	maxDigestBytes = 8 << 20
	// heldPage is how much of what is held is looked at, at a time.
	heldPage = 5_000
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
	Digests(ctx context.Context, q warehouse.DigestQuery) (map[warehouse.ScopeType]wire.Digest, error)
	TypeVersions(ctx context.Context, site string) (map[string]uint64, error)
	Held(ctx context.Context, site, typ, after, until string, limit int) ([]warehouse.Held, error)
	Sizes(ctx context.Context, site, typ string, uids []string) (map[string]uint64, error)
	Current(ctx context.Context, site, typ string, uids []string) ([]warehouse.AssetVersion, []warehouse.Relation, error)
}

// Scopes says who holds scopes.
type Scopes interface {
	// Holds reports whether an agent holds a scope, and Governed whether any agent ever
	// claimed it.
	Holds(agent identity.Agent, scope string) bool
	Governed(site, scope string) bool
	// Epoch is the scope's, or zero.
	Epoch(site, scope string) uint64
	// Held reports whether any agent holds it now.
	Held(site, scope string) bool
}

// Reconciler compares.
type Reconciler struct {
	scopes    Scopes
	warehouse Warehouse
	ingest    *ingest.Ingest
	logger    *slog.Logger
	turns     chan struct{}
	digests   *prometheus.CounterVec
	assets    *prometheus.CounterVec
}

// New returns a Reconciler. The registerer may be nil.
func New(w Warehouse, scopes Scopes, in *ingest.Ingest, logger *slog.Logger, metrics prometheus.Registerer) *Reconciler {
	r := &Reconciler{
		warehouse: w, scopes: scopes, ingest: in, logger: logger, turns: make(chan struct{}, atOnce),
		digests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reeve_reconcile_digests_total", Help: "Digests of agents, by how the warehouse compares: same or differing."},
			[]string{"result"}),
		assets: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reeve_reconcile_assets_total",
			Help: "Assets that were not in the warehouse as they should be: missing (sent again by the agent) or undeleted (deleted here)."},
			[]string{"what"}),
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
	digest      *wirev1.Digest
	digestBytes int
	// complete are the scopes of which the agent knew all by its last digest. It belongs
	// to Run.
	complete map[string]bool
	// jobs has room for a question and for what the agent says is removed before it, which
	// has no answer: asked and removed are true while one waits.
	jobs           chan func(context.Context) error
	asked, removed atomic.Bool
}

// Session returns the comparison of an agent, which is answered through say. Run
// must follow.
func (r *Reconciler) Session(agent identity.Agent, say func(*wirev1.Control) error) *Session {
	return &Session{Reconciler: r, agent: agent, say: say, jobs: make(chan func(context.Context) error, 2)}
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
		return s.queue(&s.asked, func(ctx context.Context) error { return s.answerListing(ctx, m.Listing) })
	case *wirev1.Control_Removed:
		return s.queue(&s.removed, func(ctx context.Context) error { return s.remove(ctx, m.Removed) })
	}
	return nil
}

func (s *Session) takeDigest(part *wirev1.Digest) error {
	if s.digest == nil {
		s.digest = part
	} else {
		s.digest.Scopes = append(s.digest.Scopes, part.GetScopes()...)
		s.digest.Types = append(s.digest.Types, part.GetTypes()...)
		s.digest.Complete = append(s.digest.Complete, part.GetComplete()...)
	}
	if s.digestBytes += proto.Size(part); s.digestBytes > maxDigestBytes {
		return fmt.Errorf("%w: a digest of more than %d bytes", ErrProtocol, maxDigestBytes)
	}
	if len(s.digest.GetScopes()) > maxScopes || len(s.digest.GetComplete()) > maxScopes || len(s.digest.GetTypes()) > maxTypes {
		return fmt.Errorf("%w: a digest of more than %d scopes and types, or %d types", ErrProtocol, maxScopes, maxTypes)
	}
	if part.GetMore() {
		return nil
	}
	whole := s.digest
	s.digest, s.digestBytes = nil, 0
	return s.queue(&s.asked, func(ctx context.Context) error { return s.answerDigest(ctx, whole) })
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

// queue has a job done, unless one of its kind waits: an agent waits for one answer before
// it asks again.
func (s *Session) queue(waits *atomic.Bool, job func(context.Context) error) error {
	if !waits.CompareAndSwap(false, true) {
		return fmt.Errorf("%w: it compares several things at once", ErrProtocol)
	}
	s.jobs <- func(ctx context.Context) error { // there is room for one of each kind
		waits.Store(false)
		return job(ctx)
	}
	return nil
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
	q := warehouse.DigestQuery{Site: s.agent.Site, AgentID: s.agent.ID}
	s.complete = make(map[string]bool)
	for _, name := range d.GetComplete() {
		s.complete[name] = true
	}
	named := make(map[string]bool)
	add := func(name string) {
		switch {
		case named[name]:
		case s.scopes.Holds(s.agent, name):
			q.Scopes = append(q.Scopes, name)
		case !s.scopes.Governed(s.agent.Site, name):
			q.OwnIn = append(q.OwnIn, name)
		default:
			return // another agent holds it, or nobody does
		}
		named[name] = true
	}
	for _, theirs := range d.GetScopes() {
		add(theirs.GetScope())
	}
	for _, name := range d.GetComplete() {
		add(name)
	}
	held, err := s.warehouse.Digests(ctx, q)
	if err != nil {
		return err
	}
	var differing []warehouse.ScopeType
	for _, theirs := range d.GetScopes() {
		key := warehouse.ScopeType{Scope: theirs.GetScope(), Type: theirs.GetType()}
		if named[key.Scope] && held[key] != (wire.Digest{Assets: theirs.GetAssets(), Sum: theirs.GetSum()}) {
			differing = append(differing, key)
		}
		delete(held, key)
	}
	for key := range held {
		if s.complete[key.Scope] {
			differing = append(differing, key)
		}
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
	missing, unlisted, err := s.compareAll(ctx, l)
	if err != nil {
		return err
	}
	var uids []string
	var versions []uint64
	for _, m := range missing {
		uids, versions = append(uids, m.GetUid()), append(versions, m.GetVersion())
	}
	s.assets.WithLabelValues("missing").Add(float64(len(missing)))
	if len(missing) > 0 {
		s.logger.Warn("the warehouse has lost assets; the agent sends them again", "site", s.agent.Site, "agent_id", s.agent.ID,
			"scope", l.GetScope(), "type", l.GetType(), "assets", len(missing))
	}
	answer := &wirev1.Resend{AsOf: l.GetAsOf(), Scope: l.GetScope(), Type: l.GetType(), Uids: uids, Held: versions, Unlisted: unlisted}
	return s.say(&wirev1.Control{Message: &wirev1.Control_Resend{Resend: answer}})
}

// fits counts what is unlisted, and reports whether it still fits into an answer. What
// does not fit is found the next time.
func fits(size *int, u *wirev1.Unlisted) bool {
	*size += len(u.GetUid()) + 16
	return *size <= frameBytes
}

// compareAll is compare with all that is held in the range of a listing, looked at
// by pages: a type may have more assets than should be in memory for one agent.
func (s *Session) compareAll(ctx context.Context, l *wirev1.Listing) (missing, unlisted []*wirev1.Unlisted, err error) {
	rest, after, size := l.GetAssets(), l.GetAfter(), 0
	for {
		held, err := s.warehouse.Held(ctx, s.agent.Site, l.GetType(), after, l.GetUntil(), heldPage)
		if err != nil {
			return nil, nil, err
		}
		// Of the listing, what lies in the range of this page.
		listed, last := rest, len(held) < heldPage
		if !last {
			after = held[len(held)-1].UID
			n := sort.Search(len(rest), func(i int) bool { return rest[i].GetUid() > after })
			listed, rest = rest[:n], rest[n:]
		}
		m, u := s.compare(l, listed, held)
		missing = append(missing, m...)
		for _, one := range u {
			if !fits(&size, one) {
				break
			}
			unlisted = append(unlisted, one)
		}
		// Nothing more is to be found that could be told.
		if last || size > frameBytes && len(rest) == 0 {
			return missing, unlisted, nil
		}
	}
}

// compare returns what is listed and is not held as listed, with the version that is
// held of it or zero, and what is held of this scope and is certainly gone unless the
// agent knows it. Both are in the order of uids.
func (s *Session) compare(l *wirev1.Listing, listed []*wirev1.Listed, held []warehouse.Held) (missing, unlisted []*wirev1.Unlisted) {
	holds := s.scopes.Holds(s.agent, l.GetScope())
	for len(listed) > 0 || len(held) > 0 {
		switch {
		case len(held) == 0 || len(listed) > 0 && listed[0].GetUid() < held[0].UID:
			missing = append(missing, &wirev1.Unlisted{Uid: listed[0].GetUid()})
			listed = listed[1:]
			continue
		case len(listed) == 0 || listed[0].GetUid() > held[0].UID:
			if h := held[0]; !h.Deleted && h.Version < l.GetAsOf() && h.Scope == l.GetScope() && s.mayEnd(h.Scope, h.AgentID) {
				unlisted = append(unlisted, &wirev1.Unlisted{Uid: h.UID, Version: h.Version})
			}
		default:
			h := held[0]
			// What another scope has as well goes by that, unless nobody looks after it.
			elsewhere := h.Scope != l.GetScope() && !h.Deleted
			differs := h.Deleted || string(h.Hash[:]) != string(listed[0].GetHash()) || elsewhere && holds
			if h.Version < l.GetAsOf() && differs && !(elsewhere && s.scopes.Held(s.agent.Site, h.Scope)) {
				missing = append(missing, &wirev1.Unlisted{Uid: h.UID, Version: h.Version})
			}
			listed = listed[1:]
		}
		held = held[1:]
	}
	return missing, unlisted
}

// mayEnd reports whether the agent's word that an asset is gone counts: one of a scope of
// which it knows all, and which it holds, or which nobody ever held while it told of the
// asset last.
func (s *Session) mayEnd(name, toldBy string) bool {
	return s.complete[name] && (s.scopes.Holds(s.agent, name) || !s.scopes.Governed(s.agent.Site, name) && toldBy == s.agent.ID)
}

// remove records deletions that were lost.
func (s *Session) remove(ctx context.Context, m *wirev1.Removed) error {
	told := make(map[string]uint64)
	var uids []string
	for _, a := range m.GetAssets() {
		told[a.GetUid()] = a.GetVersion()
		uids = append(uids, a.GetUid())
	}
	sizes, err := s.warehouse.Sizes(ctx, s.agent.Site, m.GetType(), uids)
	if err != nil {
		return err
	}
	deleted := 0
	for _, some := range bySize(uids, sizes, batchBytes) {
		n, err := s.removeSome(ctx, m, some, told)
		if deleted += n; err != nil {
			return err
		}
	}
	if deleted > 0 {
		s.assets.WithLabelValues("undeleted").Add(float64(deleted))
		s.logger.Warn("the warehouse had lost the deletion of assets, which is recorded now", "site", s.agent.Site, "agent_id", s.agent.ID,
			"scope", m.GetScope(), "type", m.GetType(), "assets", deleted)
	}
	return nil
}

// bySize divides uids into parts whose documents have so many bytes together, or that
// are one alone. Those that have no size are left out: they are not there.
func bySize(uids []string, sizes map[string]uint64, most uint64) (parts [][]string) {
	var part []string
	var sum uint64
	for _, uid := range uids {
		size, there := sizes[uid]
		if !there {
			continue
		}
		if len(part) > 0 && sum+size > most {
			parts, part, sum = append(parts, part), nil, 0
		}
		part, sum = append(part, uid), sum+size
	}
	if len(part) > 0 {
		parts = append(parts, part)
	}
	return parts
}

// removeSome is remove for some of the uids, as few as may be in memory at once. It
// returns how many deletions it recorded.
func (s *Session) removeSome(ctx context.Context, m *wirev1.Removed, uids []string, told map[string]uint64) (deleted int, err error) {
	versions, relations, err := s.warehouse.Current(ctx, s.agent.Site, m.GetType(), uids)
	if err != nil {
		return 0, err
	}
	toldBy := make(map[string]string)
	for i := range versions {
		toldBy[versions[i].UID] = versions[i].AgentID
	}
	at, epoch := hlc.Stamp(m.GetAsOf()).Time(), s.scopes.Epoch(s.agent.Site, m.GetScope())
	var records []*wirev1.Record
	for _, a := range scope.Records(versions, relations) {
		if a.GetScope() != m.GetScope() || a.GetVersion() != told[a.GetUid()] || !s.mayEnd(a.GetScope(), toldBy[a.GetUid()]) {
			continue // somebody has seen it since
		}
		records = append(records, wire.AssetRecord(scope.Deletion(a, a.GetVersion()+1, epoch, at)))
	}
	if err := scope.Submit(ctx, s.ingest, s.agent, records); err != nil {
		return 0, err
	}
	return len(records), nil
}
