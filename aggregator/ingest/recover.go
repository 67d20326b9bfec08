package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	ingestv1 "github.com/reeve-cloud/reeve/aggregator/ingest/v1"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/pkg/wire"
)

// mostDeaths is of how many deaths of the aggregator a batch may be the last thing
// that it had begun, until it is set aside.
const mostDeaths = 2

// recover settles what an earlier aggregator left in the commit log. It starts no
// crash loop: a group that cannot be read is set aside, and one that the aggregator
// has died of before is settled batch by batch; the batch that it dies of again and
// again is set aside alone, and becomes a dead letter.
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
			a.Deaths++ // of the entry that it had begun
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
	i.o.Logger.Info("settling what was being committed when the aggregator stopped", "group", name, "batches", len(stored.GetEntries()),
		"attempt", a.Starts)
	if a.Starts > 1 {
		err = i.recoverCarefully(ctx, name, stored, a)
	} else {
		err = i.recoverPart(ctx, stored, whole(stored))
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
	g, _, err := thawPart(stored, p)
	if err != nil {
		return err
	}
	groups, err := i.settle(ctx, stored, p, g, i.o.Warehouse.Settle(ctx, g))
	if err != nil {
		return err
	}
	for _, g := range groups {
		i.metrics.committed(g)
		i.tell(g)
	}
	return nil
}

// recoverCarefully settles a group batch by batch, and notes each before it is begun.
func (i *Ingest) recoverCarefully(ctx context.Context, name string, stored *ingestv1.Group, a attempts) error {
	died := a
	for n, e := range stored.GetEntries() {
		if died.Careful && died.Entry == n && died.Deaths >= mostDeaths && !slices.Contains(a.Aside, n) {
			a.Aside = append(a.Aside, n)
			var where string
			if err := i.persist(ctx, func() (err error) {
				where, err = i.log.keepAside(name, n, e.GetBatch())
				return err
			}); err != nil {
				return err
			}
			i.metrics.aside.Inc()
			i.o.Logger.Error("a batch of the commit log was set aside: the aggregator died of it again and again", "site", e.GetSite(), "agent_id",
				e.GetAgentId(), "file", where)
		}
		if slices.Contains(a.Aside, n) {
			e.Refused = "the aggregator died of it, and it was set aside in the commit log's folder"
		}
		if !a.Careful || a.Entry != n {
			a.Deaths = 0
			if died.Careful && died.Entry == n {
				a.Deaths = died.Deaths
			}
		}
		a.Careful, a.Entry = true, n
		if err := i.persist(ctx, func() error { return i.log.attempt(name, a) }); err != nil {
			return err
		}
		if err := i.recoverPart(ctx, stored, part{first: n, end: n + 1}); err != nil {
			if ctx.Err() != nil { // it was stopped, and did not die
				a.Deaths, a.Careful = 0, false
				return errors.Join(err, i.log.attempt(name, a))
			}
			return err
		}
	}
	return nil
}
