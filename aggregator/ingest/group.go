package ingest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/reeve-cloud/reeve/aggregator/ingest/v1"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// freeze fixes what is committed together, and what is refused of whom: fences tells.
func freeze(id uuid.UUID, at time.Time, batches []*pending, fences func(identity.Agent) []*ingestv1.Fence) *ingestv1.Group {
	g := &ingestv1.Group{Id: id[:], ReceivedAt: at.UnixMilli()}
	for _, p := range batches {
		e := &ingestv1.Entry{Site: p.agent.Site, AgentId: p.agent.ID, Batch: p.data, Refused: p.refused}
		if fences != nil {
			e.Fences = fences(p.agent)
		}
		g.Entries = append(g.Entries, e)
	}
	return g
}

const (
	// Of one batch so many dead letters are kept, each with so many bytes of the
	// record; of more there is one with their sum.
	maxLetters   = 32
	maxLetterRaw = 64 << 10
	maxReason    = 1 << 10
)

// thaw makes rows of a frozen group, always the same ones, and returns them with
// the watermarks that hold once they are durable. What cannot be read becomes a
// dead letter; nothing that an agent sends makes thaw fail.
func thaw(frozen *ingestv1.Group) (*warehouse.Group, map[registry.SpoolClass]uint64, error) {
	return thawPart(frozen, whole(frozen))
}

// thawPart is thaw for a part of a group.
func thawPart(frozen *ingestv1.Group, p part) (*warehouse.Group, map[registry.SpoolClass]uint64, error) {
	g, err := emptyPart(frozen, p)
	if err != nil {
		return nil, nil, err
	}
	marks := make(map[registry.SpoolClass]uint64)
	for _, e := range frozen.GetEntries()[p.first:p.end] {
		b, err := wire.DecodeBatch(e.GetBatch())
		if err != nil {
			return nil, nil, err // it was checked before it was frozen
		}
		mark := registry.SpoolClass{Spool: spoolKey(e.GetAgentId(), b.GetSpoolId()), Class: b.GetClass()}
		marks[mark] = max(marks[mark], wire.LastSeq(b))
		addBatch(g, e, b, p)
	}
	return g, marks, nil
}

// emptyPart is a part of a group without its rows.
func emptyPart(frozen *ingestv1.Group, p part) (*warehouse.Group, error) {
	id, err := uuid.FromBytes(frozen.GetId())
	if err != nil {
		return nil, fmt.Errorf("group id: %w", err)
	}
	return &warehouse.Group{
		ID: p.id(frozen, id), Within: p.groups(frozen, id), ReceivedAt: time.UnixMilli(frozen.GetReceivedAt()).UTC(),
	}, nil
}

// origin is where a record comes from, and what that means for it.
type origin struct {
	warehouse.Origin
	received time.Time
	fences   map[string]*ingestv1.Fence // by scope
}

// ordered is the stamp that a record is ordered by: the one that its agent gave, unless
// that is so far ahead of this machine's clock that nothing would supersede it for as
// long. Then it is ordered by when it came, and claimed is what the agent gave.
func (o origin) ordered(version uint64) (order, claimed uint64) {
	if version <= uint64(hlc.FromTime(o.received.Add(hlc.MaxSkew))) {
		return version, 0
	}
	// In the order of their numbers, over more of them than a group has: within 256
	// milliseconds of when they came.
	return uint64(hlc.FromTime(o.received)) + o.Seq&0xffffff, version
}

// refused returns why a version is refused though it is in order.
func (o origin) refused(a *wirev1.AssetVersion) error {
	f := o.fences[a.GetScope()]
	if f == nil || a.GetEpoch() >= f.GetEpoch() || a.GetVersion() < f.GetSince() {
		return nil
	}
	return fmt.Errorf("scope %s: another agent holds it since %s (epoch %d), and this was recorded later, with epoch %d",
		a.GetScope(), hlc.Stamp(f.GetSince()).Time().Format(time.RFC3339), f.GetEpoch(), a.GetEpoch())
}

func addBatch(g *warehouse.Group, e *ingestv1.Entry, b *wirev1.Batch, p part) {
	records, err := readRecords(e, b)
	if err != nil {
		l := lettersOf(g, e, b)
		l.add(originOf(e, b, g.ReceivedAt), b.GetCount(), err.Error(), b.GetRecords(), nil)
		l.sum()
		return
	}
	addRecords(g, lettersOf(g, e, b), e, b, p, records)
}

// readRecords reads the records of a batch. With an error it is one dead letter.
func readRecords(e *ingestv1.Entry, b *wirev1.Batch) ([]*wirev1.Record, error) {
	if e.GetRefused() != "" {
		return nil, errors.New(e.GetRefused())
	}
	return wire.DecodeRecords(b)
}

// addRecords adds those records of a batch that a part has.
func addRecords(g *warehouse.Group, l *letters, e *ingestv1.Entry, b *wirev1.Batch, p part, records []*wirev1.Record) {
	origin := originOf(e, b, g.ReceivedAt)
	defer l.sum()
	for n, r := range records {
		if p.has(n) {
			if err := addRecord(g, origin, b.GetClass(), r); err != nil {
				raw, _ := proto.Marshal(r) // it has just been unmarshalled
				l.add(origin, 1, err.Error(), raw, r.GetAsset())
			}
		}
		origin.Seq++
	}
}

// originOf returns where the first record of a batch comes from.
func originOf(e *ingestv1.Entry, b *wirev1.Batch, received time.Time) origin {
	o := origin{
		Origin:   warehouse.Origin{Site: e.GetSite(), AgentID: e.GetAgentId(), SpoolID: b.GetSpoolId(), Seq: b.GetFirstSeq()},
		received: received,
	}
	for _, f := range e.GetFences() {
		if o.fences == nil {
			o.fences = make(map[string]*ingestv1.Fence)
		}
		o.fences[f.GetScope()] = f
	}
	return o
}

func lettersOf(g *warehouse.Group, e *ingestv1.Entry, b *wirev1.Batch) *letters {
	return &letters{group: g, brief: e.GetBrief(), class: wire.ClassName(b.GetClass())}
}

// letters are the dead letters of one batch.
type letters struct {
	group *warehouse.Group
	class string
	// brief says that only their sum is kept.
	brief bool
	kept  int
	more  warehouse.DeadLetter
}

// add adds what could not be taken, and which version it was if it was one.
func (l *letters) add(origin origin, records uint32, reason string, raw []byte, a *wirev1.AssetVersion) {
	reason = strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")
	if !l.brief && l.kept < maxLetters {
		l.kept++
		letter := warehouse.DeadLetter{
			Origin: origin.Origin, Class: l.class, Records: records, Reason: reason, Raw: raw[:min(len(raw), maxLetterRaw)],
		}
		// Who had it refused for its scope has that no more.
		if a != nil && origin.refused(a) == nil && named(a) {
			letter.Scope, letter.Type, letter.UID = a.GetScope(), a.GetType(), a.GetUid()
			letter.Version, _ = origin.ordered(a.GetVersion())
		}
		l.group.DeadLetters = append(l.group.DeadLetters, letter)
		return
	}
	if l.more.Records == 0 {
		l.more = warehouse.DeadLetter{Origin: origin.Origin, Class: l.class,
			Reason: "more of this batch cannot be taken and is not kept; the first: " + reason}
	}
	l.more.Records += records
}

// named reports whether a version that is not in order says which asset it is of.
func named(a *wirev1.AssetVersion) bool {
	return wire.CheckName("scope", a.GetScope()) == nil && wire.CheckName("type", a.GetType()) == nil && wire.CheckName("uid", a.GetUid()) == nil
}

// sum adds the sum of what was not kept.
func (l *letters) sum() {
	if l.more.Records > 0 {
		l.group.DeadLetters = append(l.group.DeadLetters, l.more)
	}
}

func addRecord(g *warehouse.Group, origin origin, class wirev1.Class, r *wirev1.Record) error {
	switch body := r.GetBody().(type) {
	case *wirev1.Record_Asset:
		if class != wirev1.Class_CLASS_ASSETS {
			return errors.New("an asset in another class")
		}
		return addVersion(g, origin, body.Asset)
	case *wirev1.Record_AssetType:
		if class != wirev1.Class_CLASS_ASSETS {
			return errors.New("an asset type in another class")
		}
		return addType(g, origin, body.AssetType)
	case *wirev1.Record_Event:
		if class != wirev1.Class_CLASS_EVENTS {
			return errors.New("an event in another class")
		}
		return addEvent(g, origin, body.Event)
	case *wirev1.Record_Usage:
		if class != wirev1.Class_CLASS_EVENTS {
			return errors.New("a usage in another class")
		}
		return addUsage(g, origin, body.Usage)
	case *wirev1.Record_Gap:
		return addGap(g, origin, class, body.Gap)
	}
	return errors.New("a kind of record that this aggregator does not know; a newer one does")
}

func addType(g *warehouse.Group, origin origin, t *wirev1.AssetType) error {
	if err := wire.CheckType(t); err != nil {
		return err
	}
	version, _ := origin.ordered(t.GetVersion())
	g.Types = append(g.Types, warehouse.AssetType{
		Origin: origin.Origin, Name: t.GetName(), Title: t.GetTitle(), Layout: t.GetLayout(), Version: version,
	})
	return nil
}

var operations = map[wirev1.Operation]warehouse.Operation{
	wirev1.Operation_OPERATION_CREATED: warehouse.Created,
	wirev1.Operation_OPERATION_UPDATED: warehouse.Updated,
	wirev1.Operation_OPERATION_DELETED: warehouse.Deleted,
}

func addVersion(g *warehouse.Group, origin origin, a *wirev1.AssetVersion) error {
	if err := wire.CheckAsset(a); err != nil {
		return err
	}
	fields, err := document.Fields(a.GetDocument())
	if err != nil {
		return err
	}
	if err := origin.refused(a); err != nil {
		return err
	}
	version, claimed := origin.ordered(a.GetVersion())
	first := len(g.Relations)
	g.Relations = addEdges(g.Relations, origin, a, version, a.GetRelations(), false)
	g.Versions = append(g.Versions, warehouse.AssetVersion{
		Origin: origin.Origin, Type: a.GetType(), UID: a.GetUid(), Version: version, ClaimedVersion: claimed,
		Operation: operations[a.GetOperation()], Scope: a.GetScope(),
		Name: a.GetName(), Region: a.GetRegion(), Project: a.GetProject(), Status: a.GetStatus(), Labels: a.GetLabels(),
		Hash: document.Hash(a.GetHash()), Document: a.GetDocument(), Fields: fields, Changed: a.GetChanged(),
		Edges:     g.Relations[first:len(g.Relations):len(g.Relations)],
		CreatedAt: wire.Time(a.GetCreatedAt()), UpdatedAt: wire.Time(a.GetUpdatedAt()), ObservedAt: wire.Time(a.GetObservedAt()),
	})
	g.Relations = addEdges(g.Relations, origin, a, version, a.GetRemovedRelations(), true)
	return nil
}

// addEdges appends edges that lead from a version, or have ended with it.
func addEdges(to []warehouse.Relation, origin origin, a *wirev1.AssetVersion, version uint64, edges []*wirev1.Relation,
	ended bool) []warehouse.Relation {
	for _, r := range edges {
		to = append(to, warehouse.Relation{
			Site: origin.Site, FromType: a.GetType(), FromUID: a.GetUid(), Kind: r.GetKind(), ToType: r.GetType(), ToUID: r.GetUid(),
			Version: version, Deleted: ended,
		})
	}
	return to
}

func addEvent(g *warehouse.Group, origin origin, e *wirev1.Event) error {
	if err := wire.CheckEvent(e); err != nil {
		return err
	}
	var data []byte
	if len(e.GetData()) > 0 {
		var err error
		if data, err = document.Canonical(e.GetData()); err != nil {
			return err
		}
	}
	g.Events = append(g.Events, warehouse.Event{
		Origin: origin.Origin, ID: e.GetId(), Type: e.GetType(),
		// CloudEvents: source and id together are unique.
		Source:    "/sites/" + origin.Site + "/" + e.GetScope(),
		AssetType: e.GetAssetType(), AssetUID: e.GetAssetUid(), Time: wire.Time(e.GetTime()),
		Severity: e.GetSeverity(), Message: e.GetMessage(), Data: data,
	})
	return nil
}

func addUsage(g *warehouse.Group, origin origin, u *wirev1.Usage) error {
	if err := wire.CheckUsage(u, g.ReceivedAt, wire.UsageReach); err != nil {
		return err
	}
	version, _ := origin.ordered(u.GetVersion())
	g.Usage = append(g.Usage, warehouse.Usage{
		Origin: origin.Origin, AssetType: u.GetAssetType(), AssetUID: u.GetAssetUid(), Scope: u.GetScope(), Meter: u.GetMeter(),
		Unit:  u.GetUnit(),
		Start: wire.Time(u.GetStart()), End: wire.Time(u.GetEnd()), Quantity: u.GetQuantity(), Version: version,
	})
	return nil
}

var gapReasons = map[wirev1.Gap_Reason]string{
	wirev1.Gap_REASON_BUDGET:  "budget",
	wirev1.Gap_REASON_DAMAGED: "damaged",
	wirev1.Gap_REASON_DISK:    "disk",
}

func addGap(g *warehouse.Group, origin origin, class wirev1.Class, p *wirev1.Gap) error {
	if err := wire.CheckGap(p, origin.Seq); err != nil {
		return err
	}
	reason, ok := gapReasons[p.GetReason()]
	if !ok {
		reason = "unknown"
	}
	g.Gaps = append(g.Gaps, warehouse.Gap{
		Origin: origin.Origin, Class: wire.ClassName(class), FirstSeq: p.GetFirstSeq(), LastSeq: p.GetLastSeq(), Reason: reason,
		Versions: p.GetVersions(), AssetTypes: p.GetAssetTypes(), Events: p.GetEvents(), Usages: p.GetUsage(), Unknown: p.GetUnknown(),
		Earliest: wire.Time(p.GetFrom()), Latest: wire.Time(p.GetTo()),
	})
	for _, e := range p.GetEnded() {
		r := e.GetRelation()
		version, _ := origin.ordered(e.GetVersion())
		g.Relations = append(g.Relations, warehouse.Relation{
			Site: origin.Site, FromType: e.GetType(), FromUID: e.GetUid(), Kind: r.GetKind(), ToType: r.GetType(), ToUID: r.GetUid(),
			Version: version, Deleted: true,
		})
	}
	return nil
}
