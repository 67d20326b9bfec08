package ingest

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/reeve-cloud/reeve/aggregator/ingest/v1"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/retry"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// part is a part of a frozen group: some of its batches or, of one batch, some of its
// records. A part is inserted like a group, with an id that follows from what it is a
// part of: an aggregator that is started again splits the group in the same way, and
// finds what is there already.
type part struct {
	// The batches first to end-1.
	first, end int
	// Of one batch the records from to to-1, counted from 0; all if to is 0.
	from, to int
	// dead says that it is what becomes of a record that the warehouse refuses.
	dead bool
	// within is the part that it was made of, nil for the whole group. Some of its rows
	// may be there as that part's, if inserting it came so far.
	within *part
}

func whole(g *ingestv1.Group) part { return part{end: len(g.GetEntries())} }

// id is what the part's rows are known by.
func (p part) id(g *ingestv1.Group, group uuid.UUID) uuid.UUID {
	if p == whole(g) {
		return group
	}
	return uuid.NewSHA1(group, fmt.Appendf(nil, "batches %d-%d records %d-%d dead %t", p.first, p.end, p.from, p.to, p.dead))
}

// has reports whether a record of the part's batch is in it.
func (p part) has(n int) bool { return p.to == 0 || p.from <= n && n < p.to }

// halves splits a part, and reports whether it can be.
func (p part) halves(g *ingestv1.Group) (one, other part, ok bool) {
	one, other = p, p
	one.within, other.within = &p, &p
	if p.end-p.first > 1 {
		one.end = (p.first + p.end) / 2
		other.first = one.end
		return one, other, true
	}
	to := p.to
	if to == 0 {
		to = records(g.GetEntries()[p.first])
	}
	if to-p.from < 2 {
		return p, p, false
	}
	one.to, other.to = (p.from+to)/2, to
	other.from = one.to
	return one, other, true
}

// groups returns the ids of the groups of which the part's rows may be, besides its own.
func (p part) groups(g *ingestv1.Group, group uuid.UUID) (ids []uuid.UUID) {
	for w := p.within; w != nil; w = w.within {
		ids = append(ids, w.id(g, group))
	}
	return ids
}

// records is how many records of a batch are taken one by one.
func records(e *ingestv1.Entry) int {
	b, err := wire.DecodeBatch(e.GetBatch())
	if err != nil || e.GetRefused() != "" {
		return 1
	}
	if _, err := wire.CheckRecords(b, nil); err != nil {
		return 1 // it is one dead letter
	}
	return int(b.GetCount())
}

// How often the warehouse must refuse a group, a part of it, and a single record,
// until it is split, and buried.
const (
	groupTries  = 4
	partTries   = 2
	recordTries = 6
)

// settle brings a part of a group, whose insert failed for a cause, into the warehouse,
// and returns its rows. Meanwhile nothing is acknowledged, and agents are held up when
// the queue is full. It tries until it succeeds or ctx ends. But what the warehouse
// refuses again and again although it works is split, until what it refuses is alone,
// which becomes a dead letter: so the rows may come as several groups.
func (i *Ingest) settle(ctx context.Context, stored *ingestv1.Group, p part, g *warehouse.Group, cause error) ([]*warehouse.Group, error) {
	pause := retry.BackOff(firstRetry, lastRetry)
	refusals := 0
	for ; ; cause = i.o.Warehouse.Settle(ctx, g) {
		if cause == nil {
			i.untroubled()
			return []*warehouse.Group{g}, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		i.metrics.failed()
		if warehouse.Refused(cause) {
			if refusals++; refusals >= tries(stored, p) {
				return i.split(ctx, stored, p, cause)
			}
		} else {
			i.troubled(cause)
		}
		wait := pause.NextBackOff()
		i.o.Logger.Warn("the warehouse did not take a group; trying again", "group", g.ID, "error", cause, "retry_in",
			wait.Round(time.Millisecond))
		if err := retry.Sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}

func tries(stored *ingestv1.Group, p part) int {
	if p == whole(stored) {
		return groupTries
	}
	if _, _, ok := p.halves(stored); ok {
		return partTries
	}
	return recordTries
}

// split settles both halves of a part that the warehouse refuses.
func (i *Ingest) split(ctx context.Context, stored *ingestv1.Group, p part, cause error) (groups []*warehouse.Group, err error) {
	one, other, ok := p.halves(stored)
	if !ok {
		return i.bury(ctx, stored, p, cause)
	}
	i.o.Logger.Warn("the warehouse refuses a group for good; splitting it", "batches", p.end-p.first, "error", cause)
	for _, half := range []part{one, other} {
		g, _, err := thawPart(stored, half)
		if err != nil {
			return nil, err
		}
		if cause := i.o.Warehouse.Settle(ctx, g); cause != nil {
			settled, err := i.settle(ctx, stored, half, g, cause)
			if err != nil {
				return nil, err
			}
			groups = append(groups, settled...)
			continue
		}
		groups = append(groups, g)
	}
	return groups, nil
}

// bury makes a dead letter of a record that the warehouse refuses, or of a batch that
// is none but dead letters. Of a record some rows may be there: what is refused is one
// insert.
func (i *Ingest) bury(ctx context.Context, stored *ingestv1.Group, p part, cause error) ([]*warehouse.Group, error) {
	e := stored.GetEntries()[p.first]
	b, err := wire.DecodeBatch(e.GetBatch())
	if err != nil {
		return nil, err
	}
	p.dead = true
	g := &warehouse.Group{ID: p.id(stored, uuid.UUID(stored.GetId())), ReceivedAt: time.UnixMilli(stored.GetReceivedAt()).UTC()}
	origin, count, raw := originOf(e, b, g.ReceivedAt), b.GetCount(), []byte(nil)
	var asset *wirev1.AssetVersion
	if p.to != 0 {
		origin.Seq += uint64(p.from)
		count = uint32(p.to - p.from)
		if records, err := wire.DecodeRecords(b); err == nil {
			asset = records[p.from].GetAsset()
			raw, _ = proto.Marshal(records[p.from]) // it has just been unmarshalled
		}
	}
	l := letters{group: g, class: wire.ClassName(b.GetClass())}
	l.add(origin, count, "the warehouse refuses it: "+cause.Error(), raw, asset)
	pause := retry.BackOff(firstRetry, lastRetry)
	for {
		err := i.o.Warehouse.Settle(ctx, g)
		if err == nil {
			i.untroubled()
			return []*warehouse.Group{g}, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if warehouse.Refused(err) {
			g.DeadLetters[0].Raw = nil
		}
		i.troubled(err)
		wait := pause.NextBackOff()
		i.o.Logger.Error("the warehouse does not take a dead letter; trying again", "error", err, "retry_in", wait.Round(time.Millisecond))
		if err := retry.Sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}
