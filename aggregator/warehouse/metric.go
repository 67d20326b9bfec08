package warehouse

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// MetricSample is what a metric was at a moment.
type MetricSample struct {
	// Series is what is sampled, and Moment as of when, to the second.
	Series string
	Moment time.Time
	// Labels has of each group the texts of its labels, and Values its values. Nil is none.
	Labels [][]string
	Values [][]*float64
	// Others has the values of all groups that are not kept; it is empty if there are none.
	Others []*float64
	// Taken is when it was sampled.
	Taken time.Time
}

// MetricSpan is what there is of a series.
type MetricSpan struct {
	First, Last time.Time
	Samples     uint64
}

func millis(name string, t time.Time) any {
	return clickhouse.Named(name, strconv.FormatInt(t.UnixMilli(), 10))
}

// ofSeries are the rows of a series from a moment up to another, both included.
const ofSeries = ` FROM metric_sample FINAL WHERE series = {series:String} AND moment >= fromUnixTimestamp64Milli({from:Int64}, 'UTC') AND
	moment <= fromUnixTimestamp64Milli({to:Int64}, 'UTC')`

// AddMetricSample adds a sample, in the place of one that there is of the moment.
func (w *Warehouse) AddMetricSample(ctx context.Context, s *MetricSample) error {
	fail := func(err error) error { return fmt.Errorf("writing a sample of a metric: %w", err) }
	batch, err := w.conn.PrepareBatch(ctx, "INSERT INTO metric_sample (series, moment, labels, `values`, others, taken_at)")
	if err != nil {
		return fail(err)
	}
	defer func() { _ = batch.Close() }() // which does nothing after Send, whose error counts
	if err := batch.Append(s.Series, s.Moment, s.Labels, s.Values, s.Others, s.Taken); err != nil {
		return fail(err)
	}
	if err := batch.Send(); err != nil {
		return fail(err)
	}
	return nil
}

// MetricMoments returns the moments from one up to another of which a series has a sample
// that was taken at a time or later, in order.
func (w *Warehouse) MetricMoments(ctx context.Context, series string, from, to, taken time.Time) ([]time.Time, error) {
	rows, err := w.conn.Query(ctx, "SELECT moment"+ofSeries+" AND taken_at >= fromUnixTimestamp64Milli({taken:Int64}, 'UTC') ORDER BY moment",
		clickhouse.Named("series", series), millis("from", from), millis("to", to), millis("taken", orZero(taken)))
	if err != nil {
		return nil, fmt.Errorf("looking which samples there are of a metric: %w", err)
	}
	return scan(rows, func(t *time.Time) []any { return []any{t} })
}

// MetricSpan returns what there is of a series up to a moment.
func (w *Warehouse) MetricSpan(ctx context.Context, series string, to time.Time) (s MetricSpan, err error) {
	err = w.conn.QueryRow(ctx, "SELECT min(moment), max(moment), count()"+ofSeries, clickhouse.Named("series", series),
		millis("from", zero), millis("to", to)).Scan(&s.First, &s.Last, &s.Samples)
	if err != nil {
		return s, fmt.Errorf("looking which samples there are of a metric: %w", err)
	}
	if s.Samples == 0 {
		return MetricSpan{}, nil
	}
	return s, nil
}

// MetricSamples gives take the samples of a series from a moment up to another, the
// earliest first: of each step, counted from 1970, the last one. What take returns ends
// it.
func (w *Warehouse) MetricSamples(ctx context.Context, series string, from, to time.Time, step time.Duration, take func(*MetricSample) error) error {
	fail := func(err error) error { return fmt.Errorf("reading samples of a metric: %w", err) }
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"max_threads": 1, "max_block_size": 256}))
	rows, err := w.conn.Query(ctx, `SELECT moment, labels, `+"`values`"+`, others, taken_at FROM metric_sample FINAL
		WHERE series = {series:String} AND moment IN (SELECT max(moment)`+ofSeries+` GROUP BY intDiv(toUnixTimestamp(moment), {step:Int64}))
		ORDER BY moment`,
		clickhouse.Named("series", series), millis("from", from), millis("to", to),
		clickhouse.Named("step", strconv.FormatInt(int64(step/time.Second), 10)))
	if err != nil {
		return fail(err)
	}
	defer rows.Close()
	for rows.Next() {
		s := MetricSample{Series: series}
		if err := rows.Scan(&s.Moment, &s.Labels, &s.Values, &s.Others, &s.Taken); err != nil {
			return fail(err)
		}
		if err := take(&s); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fail(err)
	}
	return nil
}

// MetricSeries returns the series that there are samples of, with what there is.
func (w *Warehouse) MetricSeries(ctx context.Context) (map[string]MetricSpan, error) {
	rows, err := w.conn.Query(ctx, "SELECT series, min(moment), max(moment), count() FROM metric_sample GROUP BY series")
	if err != nil {
		return nil, fmt.Errorf("looking which metrics have samples: %w", err)
	}
	type row struct {
		series string
		MetricSpan
	}
	list, err := scan(rows, func(r *row) []any { return []any{&r.series, &r.First, &r.Last, &r.Samples} })
	if err != nil {
		return nil, fmt.Errorf("looking which metrics have samples: %w", err)
	}
	all := make(map[string]MetricSpan, len(list))
	for _, r := range list {
		all[r.series] = r.MetricSpan
	}
	return all, nil
}

// DeleteMetricSamples removes the samples of a series from before a moment; zero is all of
// them.
func (w *Warehouse) DeleteMetricSamples(ctx context.Context, series string, before time.Time) error {
	where := " WHERE series = {series:String}"
	parameters := []any{clickhouse.Named("series", series)}
	if !before.IsZero() {
		where += " AND moment < fromUnixTimestamp64Milli({before:Int64}, 'UTC')"
		parameters = append(parameters, millis("before", before))
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"mutations_sync": 1}))
	if err := w.conn.Exec(ctx, "ALTER TABLE metric_sample DELETE"+where, parameters...); err != nil {
		return fmt.Errorf("deleting samples of a metric: %w", err)
	}
	return nil
}

// HistoryBegins returns when the oldest version was received that there is: zero if there
// is none. Of what was before nothing is known.
func (w *Warehouse) HistoryBegins(ctx context.Context) (at time.Time, err error) {
	if err := w.conn.QueryRow(ctx, "SELECT min(received_at) FROM asset_version").Scan((*moment)(&at)); err != nil {
		return at, fmt.Errorf("looking when the history begins: %w", err)
	}
	return at, nil
}
