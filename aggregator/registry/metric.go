package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"
)

const (
	// MetricPrefix begins the keys of metrics; the name follows.
	MetricPrefix = "metrics/"
	// shippedKey has which metrics of those that come with the program were made.
	shippedKey = "metrics-shipped"
	// MaxMetrics is how many metrics there are.
	MaxMetrics = 500
)

// Metric is a question about groups of assets that is asked again and again, to be kept as
// a series.
type Metric struct {
	Name string `json:"name"`
	// Series is what its samples lie under: a new one whenever the question changes, and
	// SeriesTime since when. It is never given out again.
	Series      string    `json:"series"`
	SeriesTime  time.Time `json:"series_time"`
	Title       string    `json:"title,omitempty"`
	Description string    `json:"description,omitempty"`
	Unit        string    `json:"unit,omitempty"`
	// Question is what is asked, as package metric has it.
	Question json.RawMessage `json:"question"`
	// IntervalSeconds is how long it is from one sample to the next, and KeepDays for how
	// long they are kept; 0 is for ever.
	IntervalSeconds int64 `json:"interval_seconds"`
	KeepDays        int64 `json:"keep_days,omitempty"`
	// Disabled ones are not sampled.
	Disabled bool `json:"disabled,omitempty"`
	// Backfill is what was asked for and is not done yet.
	Backfill   *MetricBackfill `json:"backfill,omitempty"`
	UpdatedBy  string          `json:"updated_by"`
	CreateTime time.Time       `json:"create_time"`
	UpdateTime time.Time       `json:"update_time"`
}

// MetricBackfill asks for samples of moments that are over.
type MetricBackfill struct {
	// From and To are the first and the last moment.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Again takes those again as well that there are.
	Again       bool      `json:"again,omitempty"`
	RequestTime time.Time `json:"request_time"`
}

// Metric returns a metric. The error is ErrNotFound among others.
func (r *Registry) Metric(ctx context.Context, name string) (Metric, error) {
	m, _, err := get[Metric](ctx, r.store, MetricPrefix, name)
	return m, err
}

// Metrics returns the metrics whose names come after the one given, by name, as Sites
// does.
func (r *Registry) Metrics(ctx context.Context, after string) iter.Seq2[Metric, error] {
	return each[Metric](ctx, r.store, MetricPrefix, after)
}

// ChangeMetric changes a metric as change says. Where there is none, it is made: then it is
// empty but for its name. The error is that of change, or ErrTooMany, among others.
func (r *Registry) ChangeMetric(ctx context.Context, by Actor, action, name string, change func(*Metric) error) (Metric, error) {
	r.views.Lock()
	defer r.views.Unlock()
	m, revision, err := get[Metric](ctx, r.store, MetricPrefix, name)
	switch {
	case errors.Is(err, ErrNotFound):
		n, err := count(r.Metrics(ctx, ""))
		if err != nil {
			return m, err
		}
		if n >= MaxMetrics {
			return m, fmt.Errorf("%w: %d metrics", ErrTooMany, n)
		}
		m, revision = Metric{Name: name}, Absent
	case err != nil:
		return m, err
	}
	if err := change(&m); err != nil {
		return m, err
	}
	value, err := encode(m)
	if err != nil {
		return m, err
	}
	if _, err := r.store.Apply(ctx, by, Op{Action: action, Key: MetricPrefix + name, Value: value, Revision: revision}); err != nil {
		return m, fmt.Errorf("storing metric %s: %w", name, err)
	}
	return m, nil
}

// NewSeries returns the name of a series that there was none of before.
func NewSeries() string { return newHandle() }

// DeleteMetric forgets a metric. The error is ErrNotFound among others.
func (r *Registry) DeleteMetric(ctx context.Context, by Actor, name string) error {
	r.views.Lock()
	defer r.views.Unlock()
	_, err := r.store.Apply(ctx, by, Op{Action: "metric.delete", Key: MetricPrefix + name, Revision: AnyRevision})
	return err
}

// ShipMetrics makes those metrics that come with the program and were never made before:
// what people have deleted or changed since stays so.
func (r *Registry) ShipMetrics(ctx context.Context, list []Metric) error {
	r.views.Lock()
	defer r.views.Unlock()
	type shipped struct {
		Names []string `json:"names"`
	}
	had, revision, err := get[shipped](ctx, r.store, shippedKey, "")
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	var ops []Op
	for _, m := range list {
		if slices.Contains(had.Names, m.Name) {
			continue
		}
		had.Names = append(had.Names, m.Name)
		if _, err := r.Metric(ctx, m.Name); err == nil {
			continue // people had one of that name
		} else if !errors.Is(err, ErrNotFound) {
			return err
		}
		value, err := encode(m)
		if err != nil {
			return err
		}
		ops = append(ops, Op{Action: "metric.save", Key: MetricPrefix + m.Name, Value: value, Revision: Absent})
	}
	if len(ops) == 0 {
		return nil
	}
	value, err := encode(had)
	if err != nil {
		return err
	}
	ops = append(ops, Op{Action: "metric.ship", Key: shippedKey, Value: value, Revision: revision})
	if _, err := r.store.Apply(ctx, System, ops...); err != nil {
		return fmt.Errorf("storing the metrics that come with the program: %w", err)
	}
	return nil
}
