// Package retention removes what is older than it is to be kept: history, events,
// usage and gaps in the warehouse, and in the registry the audit trail, tokens that
// have ended, and the marks of spools that are long gone. The state of assets is none
// of it: an asset stays, however old.
package retention

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/retry"
)

const (
	// delay is how long after the start the first look is: there is enough to do then.
	delay = 10 * time.Minute
	// every is how often after that.
	every = 6 * time.Hour
	// renewals is how long the audit trail has the renewals of agents' certificates.
	renewals = 30 * 24 * time.Hour
)

// Policy says for how long things are kept. Zero is for ever.
type Policy struct {
	// Versions is for the Thinner. Events and Usage are removed by whole months.
	Versions, Events, Usage time.Duration
	Gaps                    time.Duration
	Audit                   time.Duration
	// Tokens is for how long join tokens and API tokens stay in lists after they have
	// ended.
	Tokens time.Duration
	// Watermarks is for how long a spool of which nothing comes any more is known.
	Watermarks time.Duration
}

// Options configure a Keeper. All but Metrics are required.
type Options struct {
	Policy    Policy
	Warehouse *warehouse.Warehouse
	Registry  *registry.Registry
	Logger    *slog.Logger
	Metrics   prometheus.Registerer
}

// Keeper removes what is too old. Run must follow New.
type Keeper struct {
	o       Options
	removed *prometheus.CounterVec
}

// New returns a keeper.
func New(o Options) *Keeper {
	k := &Keeper{o: o, removed: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "reeve_retention_removed_total", Help: "What was removed because of its age, by kind; of tables, rows."}, []string{"what"})}
	for _, r := range k.rules() {
		k.removed.WithLabelValues(r.what)
	}
	if o.Metrics != nil {
		o.Metrics.MustRegister(k.removed)
	}
	return k
}

// rule is one thing to remove.
type rule struct {
	what string
	keep time.Duration
	// remove removes what is from before a time, and returns how much there was.
	remove func(ctx context.Context, before time.Time) (uint64, error)
}

func (k *Keeper) rules() []rule {
	months := func(t warehouse.Table) func(context.Context, time.Time) (uint64, error) {
		return func(ctx context.Context, before time.Time) (uint64, error) {
			return k.o.Warehouse.DropMonths(ctx, t, before)
		}
	}
	p, r := k.o.Policy, k.o.Registry
	return []rule{
		{"events", p.Events, months(warehouse.EventTable)},
		{"usage", p.Usage, months(warehouse.UsageTable)},
		{"gaps", p.Gaps, func(ctx context.Context, before time.Time) (uint64, error) {
			return k.o.Warehouse.DeleteGaps(ctx, before)
		}},
		{"renewals", renewals, func(ctx context.Context, before time.Time) (uint64, error) {
			return r.Store().TrimAudit(ctx, time.Time{}, before)
		}},
		{"audit", p.Audit, func(ctx context.Context, before time.Time) (uint64, error) {
			return r.Store().TrimAudit(ctx, before, time.Time{})
		}},
		{"tokens", p.Tokens, r.DeleteEndedTokens},
		{"watermarks", p.Watermarks, r.TrimWatermarks},
	}
}

// Run looks after the age of things until ctx ends. What fails is logged, and tried
// again the next time.
func (k *Keeper) Run(ctx context.Context) error {
	for pause := delay; ; pause = every {
		if err := retry.Sleep(ctx, pause); err != nil {
			return err
		}
		k.once(ctx, time.Now())
	}
}

func (k *Keeper) once(ctx context.Context, now time.Time) {
	for _, r := range k.rules() {
		if r.keep == 0 || ctx.Err() != nil {
			continue
		}
		before := now.Add(-r.keep)
		n, err := r.remove(ctx, before)
		k.removed.WithLabelValues(r.what).Add(float64(n))
		if err != nil && ctx.Err() == nil {
			k.o.Logger.Error("what is too old could not be removed; trying again later", "what", r.what, "before", before.UTC(), "error", err)
		}
		if n > 0 {
			k.o.Logger.Info("removed what is older than it is kept", "what", r.what, "before", before.UTC(), "removed", n)
		}
	}
}
