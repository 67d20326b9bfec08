package ingest

import (
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/reeve-cloud/reeve/aggregator/ingest/v1"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/layout"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// freeze fixes what is committed together.
func freeze(id uuid.UUID, at time.Time, batches []*pending) *ingestv1.Group {
	g := &ingestv1.Group{Id: id[:], ReceivedAt: at.UnixMilli()}
	for _, p := range batches {
		g.Entries = append(g.Entries, &ingestv1.Entry{Site: p.agent.Site, AgentId: p.agent.ID, Batch: p.data})
	}
	return g
}

// thaw makes rows of a frozen group, always the same ones, and returns them with
// the watermarks that hold once they are durable. What cannot be read becomes a
// dead letter; nothing that an agent sends makes thaw fail.
func thaw(frozen *ingestv1.Group) (*warehouse.Group, map[registry.SpoolClass]uint64, error) {
	id, err := uuid.FromBytes(frozen.GetId())
	if err != nil {
		return nil, nil, fmt.Errorf("group id: %w", err)
	}
	g := &warehouse.Group{ID: id, ReceivedAt: time.UnixMilli(frozen.GetReceivedAt()).UTC()}
	marks := make(map[registry.SpoolClass]uint64)
	for _, e := range frozen.GetEntries() {
		b, err := wire.DecodeBatch(e.GetBatch())
		if err != nil {
			return nil, nil, err // it was checked before it was frozen
		}
		mark := registry.SpoolClass{Spool: spoolKey(e.GetAgentId(), b.GetSpoolId()), Class: b.GetClass()}
		marks[mark] = max(marks[mark], wire.LastSeq(b))
		addBatch(g, warehouse.Origin{Site: e.GetSite(), AgentID: e.GetAgentId(), SpoolID: b.GetSpoolId()}, b)
	}
	return g, marks, nil
}

func addBatch(g *warehouse.Group, origin warehouse.Origin, b *wirev1.Batch) {
	origin.Seq = b.GetFirstSeq()
	records, err := wire.DecodeRecords(b)
	if err != nil {
		g.DeadLetters = append(g.DeadLetters, warehouse.DeadLetter{
			Origin: origin, Class: wire.ClassName(b.GetClass()), Records: b.GetCount(), Reason: err.Error(), Raw: b.GetRecords(),
		})
		return
	}
	for _, r := range records {
		if err := addRecord(g, origin, b.GetClass(), r); err != nil {
			raw, _ := proto.Marshal(r) // it has just been unmarshalled
			g.DeadLetters = append(g.DeadLetters, warehouse.DeadLetter{
				Origin: origin, Class: wire.ClassName(b.GetClass()), Records: 1, Reason: err.Error(), Raw: raw,
			})
		}
		origin.Seq++
	}
}

func addRecord(g *warehouse.Group, origin warehouse.Origin, class wirev1.Class, r *wirev1.Record) error {
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

const maxName = 1 << 10

// checkText checks identifiers, which are shown and compared everywhere.
func checkText(what, s string, empty bool) error {
	if s == "" && !empty || len(s) > maxName {
		return fmt.Errorf("%s: must have 1 to %d bytes, it has %d", what, maxName, len(s))
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("%s: is not UTF-8", what)
	}
	for _, c := range s {
		if c < ' ' || c == '\x7f' {
			return fmt.Errorf("%s: has control characters", what)
		}
	}
	return nil
}

// latest is the last time that the warehouse can keep.
var latest = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

func moment(what string, ms int64) (time.Time, error) {
	if ms == 0 {
		return time.Time{}, nil
	}
	t := time.UnixMilli(ms).UTC()
	if ms < 0 || t.After(latest) {
		return time.Time{}, fmt.Errorf("%s: %d ms is out of range", what, ms)
	}
	return t, nil
}

func checkVersion(version uint64) error {
	if version == 0 || hlc.Stamp(version).Time().After(latest) {
		return fmt.Errorf("version: %d is out of range", version)
	}
	return nil
}

func addType(g *warehouse.Group, origin warehouse.Origin, t *wirev1.AssetType) error {
	if err := errors.Join(
		checkText("name", t.GetName(), false),
		checkText("title", t.GetTitle(), true),
		checkVersion(t.GetVersion()),
	); err != nil {
		return err
	}
	if len(t.GetLayout()) > 0 {
		if _, err := layout.Parse(t.GetLayout()); err != nil {
			return fmt.Errorf("type %s: %w", t.GetName(), err)
		}
	}
	g.Types = append(g.Types, warehouse.AssetType{
		Origin: origin, Name: t.GetName(), Title: t.GetTitle(), Layout: t.GetLayout(), Version: t.GetVersion(),
	})
	return nil
}

func addVersion(g *warehouse.Group, origin warehouse.Origin, a *wirev1.AssetVersion) error {
	if err := errors.Join(
		checkText("type", a.GetType(), false),
		checkText("uid", a.GetUid(), false),
		checkText("scope", a.GetScope(), false),
		checkVersion(a.GetVersion()),
	); err != nil {
		return err
	}
	if len(a.GetHash()) != len(document.Hash{}) {
		return fmt.Errorf("hash: must have %d bytes, it has %d", len(document.Hash{}), len(a.GetHash()))
	}
	fields, err := document.Fields(a.GetDocument())
	if err != nil {
		return err
	}
	v := warehouse.AssetVersion{
		Origin: origin, Type: a.GetType(), UID: a.GetUid(), Version: a.GetVersion(), Scope: a.GetScope(),
		Name: a.GetName(), Region: a.GetRegion(), Project: a.GetProject(), Status: a.GetStatus(), Labels: a.GetLabels(),
		Hash: document.Hash(a.GetHash()), Document: a.GetDocument(), Fields: fields, Changed: a.GetChanged(),
	}
	switch a.GetOperation() {
	case wirev1.Operation_OPERATION_CREATED:
		v.Operation = warehouse.Created
	case wirev1.Operation_OPERATION_UPDATED:
		v.Operation = warehouse.Updated
	case wirev1.Operation_OPERATION_DELETED:
		v.Operation = warehouse.Deleted
	default:
		return fmt.Errorf("operation: %d is unknown", a.GetOperation())
	}
	var errs [3]error
	v.CreatedAt, errs[0] = moment("created_at", a.GetCreatedAt())
	v.UpdatedAt, errs[1] = moment("updated_at", a.GetUpdatedAt())
	v.ObservedAt, errs[2] = moment("observed_at", a.GetObservedAt())
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	var relations []warehouse.Relation
	for _, list := range []struct {
		edges []*wirev1.Relation
		ended bool
	}{{a.GetRelations(), false}, {a.GetRemovedRelations(), true}} {
		for _, r := range list.edges {
			if err := errors.Join(
				checkText("relation kind", r.GetKind(), false),
				checkText("relation type", r.GetType(), false),
				checkText("relation uid", r.GetUid(), false),
			); err != nil {
				return err
			}
			relations = append(relations, warehouse.Relation{
				Site: origin.Site, FromType: v.Type, FromUID: v.UID, Kind: r.GetKind(), ToType: r.GetType(), ToUID: r.GetUid(),
				Version: v.Version, Deleted: list.ended,
			})
		}
	}
	g.Versions = append(g.Versions, v)
	g.Relations = append(g.Relations, relations...)
	return nil
}

func addEvent(g *warehouse.Group, origin warehouse.Origin, e *wirev1.Event) error {
	if err := errors.Join(
		checkText("event id", e.GetId(), false),
		checkText("event type", e.GetType(), false),
		checkText("scope", e.GetScope(), false),
		checkText("asset type", e.GetAssetType(), true),
		checkText("asset uid", e.GetAssetUid(), true),
	); err != nil {
		return err
	}
	at, err := moment("time", e.GetTime())
	if err != nil {
		return err
	}
	var data []byte
	if len(e.GetData()) > 0 {
		if data, err = document.Canonical(e.GetData()); err != nil {
			return err
		}
	}
	g.Events = append(g.Events, warehouse.Event{
		Origin: origin, ID: e.GetId(), Type: e.GetType(),
		// CloudEvents: source and id together are unique.
		Source:    "/sites/" + origin.Site + "/" + e.GetScope(),
		AssetType: e.GetAssetType(), AssetUID: e.GetAssetUid(), Time: at,
		Severity: e.GetSeverity(), Message: e.GetMessage(), Data: data,
	})
	return nil
}

// usageReach is how far from its reception a usage may begin, either way. The
// table has a partition for each month, and an insert that touches more than
// 100 of them is refused as a whole.
const usageReach = 4 * 365 * 24 * time.Hour

func addUsage(g *warehouse.Group, origin warehouse.Origin, u *wirev1.Usage) error {
	if err := errors.Join(
		checkText("asset type", u.GetAssetType(), false),
		checkText("asset uid", u.GetAssetUid(), false),
		checkText("scope", u.GetScope(), false),
		checkText("meter", u.GetMeter(), false),
		checkText("unit", u.GetUnit(), false),
		checkVersion(u.GetVersion()),
	); err != nil {
		return err
	}
	start, err := moment("start", u.GetStart())
	if err != nil {
		return err
	}
	end, err := moment("end", u.GetEnd())
	if err != nil {
		return err
	}
	if !start.Before(end) {
		return fmt.Errorf("period: it starts at %d ms and ends at %d ms", u.GetStart(), u.GetEnd())
	}
	if away := start.Sub(g.ReceivedAt).Abs(); away > usageReach {
		return fmt.Errorf("start: %s is years away from when it came; is the clock right?", start.Format(time.RFC3339))
	}
	if q := u.GetQuantity(); math.IsNaN(q) || math.IsInf(q, 0) || q < 0 {
		return fmt.Errorf("quantity: %v is not a finite number of 0 or more", q)
	}
	g.Usage = append(g.Usage, warehouse.Usage{
		Origin: origin, AssetType: u.GetAssetType(), AssetUID: u.GetAssetUid(), Scope: u.GetScope(),
		Meter: u.GetMeter(), Unit: u.GetUnit(), Start: start, End: end, Quantity: u.GetQuantity(), Version: u.GetVersion(),
	})
	return nil
}

var gapReasons = map[wirev1.Gap_Reason]string{
	wirev1.Gap_REASON_BUDGET:  "budget",
	wirev1.Gap_REASON_DAMAGED: "damaged",
	wirev1.Gap_REASON_DISK:    "disk",
}

func addGap(g *warehouse.Group, origin warehouse.Origin, class wirev1.Class, p *wirev1.Gap) error {
	if p.GetFirstSeq() == 0 || p.GetFirstSeq() > p.GetLastSeq() || p.GetLastSeq() != origin.Seq {
		return fmt.Errorf("gap: it is of the records %d to %d, and lies in the place of record %d", p.GetFirstSeq(), p.GetLastSeq(), origin.Seq)
	}
	room := p.GetLastSeq() - p.GetFirstSeq() + 1
	for _, n := range []uint64{p.GetVersions(), p.GetAssetTypes(), p.GetEvents(), p.GetUsage(), p.GetUnknown()} {
		if n > room {
			return fmt.Errorf("gap: more is missing than the %d records that it is of", p.GetLastSeq()-p.GetFirstSeq()+1)
		}
		room -= n
	}
	earliest, err := moment("from", p.GetFrom())
	if err != nil {
		return err
	}
	latest, err := moment("to", p.GetTo())
	if err != nil {
		return err
	}
	var ended []warehouse.Relation
	for _, e := range p.GetEnded() {
		r := e.GetRelation()
		if err := errors.Join(
			checkText("type", e.GetType(), false),
			checkText("uid", e.GetUid(), false),
			checkVersion(e.GetVersion()),
			checkText("relation kind", r.GetKind(), false),
			checkText("relation type", r.GetType(), false),
			checkText("relation uid", r.GetUid(), false),
		); err != nil {
			return fmt.Errorf("gap: %w", err)
		}
		ended = append(ended, warehouse.Relation{
			Site: origin.Site, FromType: e.GetType(), FromUID: e.GetUid(), Kind: r.GetKind(), ToType: r.GetType(), ToUID: r.GetUid(),
			Version: e.GetVersion(), Deleted: true,
		})
	}
	reason, ok := gapReasons[p.GetReason()]
	if !ok {
		reason = "unknown"
	}
	g.Gaps = append(g.Gaps, warehouse.Gap{
		Origin: origin, Class: wire.ClassName(class), FirstSeq: p.GetFirstSeq(), LastSeq: p.GetLastSeq(), Reason: reason,
		Versions: p.GetVersions(), AssetTypes: p.GetAssetTypes(), Events: p.GetEvents(), Usages: p.GetUsage(), Unknown: p.GetUnknown(),
		Earliest: earliest, Latest: latest,
	})
	g.Relations = append(g.Relations, ended...)
	return nil
}
