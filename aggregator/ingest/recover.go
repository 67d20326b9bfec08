package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	ingestv1 "github.com/reeve-cloud/reeve/aggregator/ingest/v1"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/wire"
)

const (
	// mostDeaths is of how many deaths of the aggregator a batch may be the last thing
	// that it had begun, until it is set aside.
	mostDeaths = 3
	// wholeStarts is at how many starts a group is settled as a whole.
	wholeStarts = 2
	// cells is into how many parts a group, and each part of it that the aggregator died
	// of, is divided.
	cells = 16
)

// recover settles what an earlier aggregator left in the commit log. It starts no
// crash loop: a group that cannot be read is set aside, and one that the aggregator
// has died of before is settled in parts, of which the one that it dies of is divided
// at the next start. The batch that it dies of again and again is set aside alone, and
// becomes a dead letter. Most who die are killed for other reasons: so there are few
// parts, each of which takes several inserts, and what is settled is not begun again.
func (i *Ingest) recover(ctx context.Context) error {
	var left []string
	if err := i.persist(ctx, func() (err error) {
		left, err = i.log.list()
		return err
	}); err != nil {
		return err
	}
	for _, name := range left {
		if err := i.recoverGroup(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

var errUnreadable = errors.New("it cannot be read")

func (i *Ingest) recoverGroup(ctx context.Context, name string) error {
	var stored *ingestv1.Group
	var a attempts
	var marks map[registry.SpoolClass]uint64
	err := i.persist(ctx, func() (err error) {
		if a, err = i.log.attempts(name); err != nil {
			return err
		}
		a.Starts++
		if a.Careful {
			a.End = max(a.End, a.Entry+1)
			a.Deaths++ // of what it had begun
		}
		if err := i.log.attempt(name, a); err != nil {
			return err
		}
		stored, err = i.log.read(name)
		if errors.Is(err, errUnreadable) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	if stored != nil {
		marks, err = checkStored(stored)
	} else {
		err = errUnreadable
	}
	if err != nil {
		return i.setAside(ctx, name, err)
	}
	i.o.Progress.Left(stored.GetReceivedAt())
	i.o.Logger.Info("settling what was being committed when the aggregator stopped", "group", name, "batches", len(stored.GetEntries()),
		"attempt", a.Starts)
	if a.Careful || a.Starts > wholeStarts {
		err = i.recoverCarefully(ctx, name, stored, a)
	} else if err = i.recoverPart(ctx, stored, whole(stored)); err != nil && ctx.Err() != nil {
		a.Starts-- // it was stopped, and did not die
		err = errors.Join(err, i.log.attempt(name, a))
	}
	if err != nil {
		return err
	}
	return i.finish(ctx, name, marks)
}

// checkStored looks whether the envelopes of a stored group can be read, and returns
// its watermarks.
func checkStored(stored *ingestv1.Group) (map[registry.SpoolClass]uint64, error) {
	marks := make(map[registry.SpoolClass]uint64)
	if len(stored.GetId()) != 16 || len(stored.GetEntries()) == 0 {
		return nil, fmt.Errorf("%w: it has no id or no batches", errUnreadable)
	}
	for _, e := range stored.GetEntries() {
		b, err := wire.DecodeBatch(e.GetBatch())
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errUnreadable, err)
		}
		mark := registry.SpoolClass{Spool: spoolKey(e.GetAgentId(), b.GetSpoolId()), Class: b.GetClass()}
		marks[mark] = max(marks[mark], wire.LastSeq(b))
	}
	return marks, nil
}

// setAside puts a group away that cannot be read. Nothing of it was acknowledged, so
// the agents send it again.
func (i *Ingest) setAside(ctx context.Context, name string, cause error) error {
	var where string
	if err := i.persist(ctx, func() (err error) {
		where, err = i.log.setAside(name)
		return err
	}); err != nil {
		return err
	}
	i.metrics.aside.Inc()
	i.o.Logger.Error("a group of the commit log cannot be read and was set aside; the agents send again what is in it", "group", name, "file",
		where, "error", cause)
	return nil
}

func (i *Ingest) recoverPart(ctx context.Context, stored *ingestv1.Group, p part) error {
	return i.inPieces(stored, p, func(p part, g *warehouse.Group) error {
		groups, err := i.settle(ctx, stored, p, g, i.o.Warehouse.Settle(ctx, g))
		if err != nil {
			return err
		}
		for _, g := range groups {
			i.metrics.committed(g)
			i.o.Progress.Done(stored.GetReceivedAt(), len(g.Versions) > 0)
			i.tell(g)
		}
		return nil
	})
}

// recoverCarefully settles a group part by part, and notes each before it is begun.
func (i *Ingest) recoverCarefully(ctx context.Context, name string, stored *ingestv1.Group, a attempts) error {
	died := a
	all := len(stored.GetEntries())
	if alone := died.End == died.Entry+1; died.Careful && alone && died.Deaths >= mostDeaths && !slices.Contains(a.Aside, a.Entry) {
		e := stored.GetEntries()[died.Entry]
		a.Aside = append(a.Aside, died.Entry)
		var where string
		if err := i.persist(ctx, func() (err error) {
			where, err = i.log.keepAside(name, died.Entry, e.GetBatch())
			return err
		}); err != nil {
			return err
		}
		i.metrics.aside.Inc()
		i.o.Logger.Error("a batch of the commit log was set aside: the aggregator died of it again and again", "site", e.GetSite(), "agent_id",
			e.GetAgentId(), "file", where)
	}
	for _, n := range a.Aside {
		stored.GetEntries()[n].Refused = "the aggregator died of it, and it was set aside in the commit log's folder"
	}
	most := all - 1
	switch {
	case died.Careful:
		most = died.End - died.Entry - 1
	case died.End > 0: // it was stopped there
		most = died.End - died.Entry
	}
	for begin := died.Entry; begin < all; {
		p := cell(whole(stored), begin, max(most, 1))
		if p.first != died.Entry || p.end != died.End {
			a.Deaths = 0
		}
		a.Careful, a.Entry, a.End = true, p.first, p.end
		if err := i.persist(ctx, func() error { return i.log.attempt(name, a) }); err != nil {
			return err
		}
		if err := i.recoverPart(ctx, stored, p); err != nil {
			if ctx.Err() != nil { // it was stopped, and did not die
				a.Deaths, a.Careful = 0, false
				return errors.Join(err, i.log.attempt(name, a))
			}
			return err
		}
		begin, most, died = p.end, all-1, attempts{}
	}
	return nil
}

// cell returns the largest part of another that begins with a batch, has at most so many,
// and is one of its parts by cells, or of theirs: two of them have batches in common only
// if one is within the other.
func cell(of part, begin, most int) part {
	for of.first != begin || of.end-of.first > most {
		outer, size := of, (of.end-of.first+cells-1)/cells
		of.within = &outer
		of.first += (begin - of.first) / size * size
		of.end = min(of.first+size, outer.end)
	}
	return of
}
