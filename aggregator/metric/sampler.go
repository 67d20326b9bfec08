package metric

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
)

const (
	// settle is how long after its moment a sample is taken: until then what agents told of
	// the moment has arrived, where they are connected.
	settle = 10 * time.Second
	// MaxCatchUp is how many missed moments of a metric are filled by themselves. Those
	// before stay a gap until somebody asks for them.
	MaxCatchUp = 1000
	// MaxBackfill is how many moments somebody may ask for at once.
	MaxBackfill = 50_000
	// tidyEvery is how often samples are removed that are too old, or of no metric any more.
	tidyEvery = 6 * time.Hour
	// firstRetry and lastRetry are how long a metric that fails is left alone.
	firstRetry, lastRetry = time.Minute, time.Hour
	// most is how long the sampler waits before it looks whether there is something to do.
	most = time.Minute
)

// Options of a Sampler. All are required unless they say otherwise.
type Options struct {
	Registry  *registry.Registry
	Warehouse *warehouse.Warehouse
	Engine    *query.Engine
	Logger    *slog.Logger
	// Known returns since when the history has everything: of moments before there are no
	// samples. Zero is never.
	Known func(context.Context) (time.Time, error)
	// Metrics may be nil.
	Metrics prometheus.Registerer
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Sampler takes the samples of all metrics, one after the other. Run must follow New.
type Sampler struct {
	o       Options
	samples *prometheus.CounterVec
	wake    chan struct{}

	mu     sync.Mutex
	states map[string]*state
	// turn counts, so that metrics take turns; tidied is when tidy was last.
	turn   uint64
	tidied time.Time
}

// queue are moments that samples are to be taken of, in order, and how that goes.
type queue struct {
	moments  []time.Time
	failures int
	failed   time.Time
	err      error
	retry    time.Time
}

// state is how far the sampling of a metric is.
type state struct {
	series   string
	interval time.Duration
	// last is the newest moment that was taken note of. due are missed ones, itself among
	// them as long as it is to be sampled.
	last time.Time
	due  queue
	// left is how many moments were left out, because they were too many, or too long ago.
	left int
	// fill are the moments of the backfill that was requested at the time.
	fill      queue
	requested time.Time
	wanted    int
	turn      uint64
	samples   uint64
	first     time.Time
	newest    time.Time
	others    bool
	groups    int
}

// New returns a sampler.
func New(o Options) *Sampler {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Sampler{o: o, states: make(map[string]*state), wake: make(chan struct{}, 1),
		samples: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reeve_metric_samples_total", Help: "Samples of metrics that were taken, or failed, by outcome."}, []string{"outcome"})}
	for _, outcome := range []string{"taken", "failed"} {
		s.samples.WithLabelValues(outcome)
	}
	if o.Metrics != nil {
		o.Metrics.MustRegister(s.samples)
	}
	return s
}

// Wake has the sampler look at once whether there is something to do.
func (s *Sampler) Wake() {
	select {
	case s.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// Run takes samples until ctx ends. What fails is logged, and tried again later.
func (s *Sampler) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		case <-s.wake:
		}
		wait, err := s.Step(ctx)
		if err != nil && ctx.Err() == nil {
			s.o.Logger.Error("metrics cannot be sampled at present; trying again soon", "error", err)
			wait = 10 * time.Second
		}
		timer.Reset(wait)
	}
}

// Step does the one thing that is most urgent, and returns how long to wait until the next.
// It must not be called while another call, or Run, is under way.
func (s *Sampler) Step(ctx context.Context) (wait time.Duration, err error) {
	now := s.o.Now()
	if now.Sub(s.tidied).Abs() >= tidyEvery {
		// What stays until the next time harms nobody.
		if err := s.tidy(ctx, now); err != nil {
			s.o.Logger.Error("samples of metrics that are too old could not be removed; trying again later", "error", err)
		}
		s.tidied = now
	}
	metrics, err := s.metrics(ctx)
	if err != nil {
		return 0, err
	}
	s.forget(metrics)
	// Newest moments first, of the metric whose last turn is longest ago; backfills only
	// when nothing else is due.
	var next, fill *registry.Metric
	wait = most
	later := func(at time.Time) { wait = min(wait, max(at.Sub(now), 0)) }
	for i := range metrics {
		m := &metrics[i]
		st, err := s.advance(ctx, m, now)
		if err != nil {
			return 0, err
		}
		if m.Disabled && len(st.fill.moments) == 0 {
			continue
		}
		later(st.last.Add(st.interval + settle))
		earlier := func(than *registry.Metric) bool { return than == nil || st.turn < s.states[than.Name].turn }
		if len(st.due.moments) > 0 && !m.Disabled {
			if st.due.retry.After(now) {
				later(st.due.retry)
			} else if earlier(next) {
				next = m
			}
		}
		if len(st.fill.moments) > 0 {
			if st.fill.retry.After(now) {
				later(st.fill.retry)
			} else if earlier(fill) {
				fill = m
			}
		}
	}
	switch {
	case next != nil:
		st := s.states[next.Name]
		newest := st.due.moments[len(st.due.moments)-1].Equal(st.last)
		took, err := s.take(ctx, next, st, &st.due, now)
		if newest {
			took = 0
		}
		return took, err
	case fill != nil:
		st := s.states[fill.Name]
		return s.take(ctx, fill, st, &st.fill, now)
	}
	return wait, nil
}

// metrics returns all of them. One that cannot be read is left out, and told.
func (s *Sampler) metrics(ctx context.Context) (list []registry.Metric, err error) {
	for m, err := range s.o.Registry.Metrics(ctx, "") {
		if errors.Is(err, registry.ErrCorrupt) {
			s.o.Logger.Error("a metric is not sampled", "error", err)
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, nil
}

// forget drops the states of metrics that there are no more.
func (s *Sampler) forget(metrics []registry.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.states {
		if !slices.ContainsFunc(metrics, func(m registry.Metric) bool { return m.Name == name }) {
			delete(s.states, name)
		}
	}
}

// grid returns the last moment of an interval that is not after a time.
func grid(t time.Time, interval time.Duration) time.Time {
	step := int64(interval / time.Second)
	unix := t.Unix()
	return time.Unix(unix-((unix%step)+step)%step, 0).UTC()
}

// from is the first moment of an interval that is not before a time.
func from(t time.Time, interval time.Duration) time.Time {
	at := grid(t, interval)
	if at.Before(t) {
		at = at.Add(interval)
	}
	return at
}

// latest returns the latest of some times.
func latest(list ...time.Time) time.Time { return slices.MaxFunc(list, time.Time.Compare) }

// advance brings the state of a metric up to a time.
func (s *Sampler) advance(ctx context.Context, m *registry.Metric, now time.Time) (*state, error) {
	interval := time.Duration(m.IntervalSeconds) * time.Second
	due := grid(now.Add(-settle), interval)
	st := s.states[m.Name]
	if st == nil || st.series != m.Series || st.interval != interval || st.last.After(due) {
		// Behind the last there is what a clock said that has gone back since: what was
		// sampled of moments that had not been is sampled again when they are.
		var err error
		if st, err = s.begin(ctx, m, interval, due); err != nil {
			return nil, err
		}
		s.mu.Lock()
		s.states[m.Name] = st
		s.mu.Unlock()
	}
	if due.After(st.last) {
		known, err := s.o.Known(ctx)
		if err != nil {
			return nil, err
		}
		first := latest(st.last.Add(interval), due.Add(-(MaxCatchUp-1)*interval))
		if known.IsZero() {
			first = due.Add(interval) // there is no history at all
		} else {
			first = latest(first, from(known, interval))
		}
		s.mu.Lock()
		st.left += int(first.Sub(st.last)/interval) - 1
		for at := first; !at.After(due); at = at.Add(interval) {
			st.due.moments = append(st.due.moments, at)
		}
		if over := len(st.due.moments) - MaxCatchUp; over > 0 {
			st.due.moments = slices.Delete(st.due.moments, 0, over)
			st.left += over
		}
		st.last = due
		s.mu.Unlock()
	}
	return st, s.plan(ctx, m, st, now)
}

// begin finds out what there is of a metric, and what was missed since its series began.
func (s *Sampler) begin(ctx context.Context, m *registry.Metric, interval time.Duration, due time.Time) (*state, error) {
	span, err := s.o.Warehouse.MetricSpan(ctx, m.Series, due)
	if err != nil {
		return nil, err
	}
	st := &state{series: m.Series, interval: interval, last: due, samples: span.Samples, first: span.First, newest: span.Last}
	first := grid(m.SeriesTime, interval)
	window := latest(first, due.Add(-(MaxCatchUp-1)*interval))
	if st.due.moments, err = s.missing(ctx, m, interval, window, due, time.Time{}); err != nil {
		return nil, err
	}
	if window.After(first) {
		there, err := s.o.Warehouse.MetricMoments(ctx, m.Series, first, window.Add(-interval), time.Time{})
		if err != nil {
			return nil, err
		}
		st.left = max(int(window.Sub(first)/interval)-len(there), 0)
	}
	return st, nil
}

// missing returns the moments from one to another of which there is no sample that was
// taken at a time or later, as far back as the history is known.
func (s *Sampler) missing(ctx context.Context, m *registry.Metric, interval time.Duration, first, last, taken time.Time) ([]time.Time, error) {
	known, err := s.o.Known(ctx)
	if err != nil || known.IsZero() {
		return nil, err
	}
	if m.KeepDays > 0 {
		known = latest(known, last.AddDate(0, 0, -int(m.KeepDays)))
	}
	first = latest(first, from(known, interval))
	there, err := s.o.Warehouse.MetricMoments(ctx, m.Series, first, last, taken)
	if err != nil {
		return nil, err
	}
	has := make(map[int64]bool, len(there))
	for _, at := range there {
		has[at.Unix()] = true
	}
	var list []time.Time
	for at := first; !at.After(last); at = at.Add(interval) {
		if !has[at.Unix()] {
			list = append(list, at)
		}
	}
	return list, nil
}

// plan has the moments of a backfill in its queue, and forgets one that is done.
func (s *Sampler) plan(ctx context.Context, m *registry.Metric, st *state, now time.Time) error {
	b := m.Backfill
	if b == nil {
		s.mu.Lock()
		st.fill, st.requested, st.wanted = queue{}, time.Time{}, 0
		s.mu.Unlock()
		return nil
	}
	if !st.requested.Equal(b.RequestTime) {
		taken := time.Time{}
		if b.Again {
			taken = b.RequestTime
		}
		last := b.To
		if last.After(st.last) {
			last = st.last
		}
		moments, err := s.missing(ctx, m, st.interval, from(b.From, st.interval), last, taken)
		if err != nil {
			return err
		}
		if over := len(moments) - MaxBackfill; over > 0 {
			moments = moments[over:]
		}
		s.mu.Lock()
		st.fill, st.requested, st.wanted = queue{moments: moments}, b.RequestTime, len(moments)
		s.mu.Unlock()
	}
	if len(st.fill.moments) > 0 || st.fill.retry.After(now) {
		return nil
	}
	span, err := s.o.Warehouse.MetricSpan(ctx, m.Series, st.last)
	if err != nil {
		return err
	}
	_, err = s.o.Registry.ChangeMetric(ctx, registry.System, "metric.backfilled", m.Name, func(now *registry.Metric) error {
		if now.Series != m.Series || now.Backfill == nil || !now.Backfill.RequestTime.Equal(b.RequestTime) {
			return errChanged
		}
		now.Backfill = nil
		return nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	st.samples, st.first, st.newest = span.Samples, span.First, span.Last
	if err != nil && !errors.Is(err, errChanged) {
		// It is done all the same, and others go on.
		st.fill.retry = now.Add(firstRetry)
		s.o.Logger.Warn("it cannot be noted that a metric's backfill is done; trying again", "metric", m.Name, "error", err)
	}
	return nil
}

var errChanged = errors.New("the metric has changed meanwhile")

// take takes the newest sample of a queue, and returns how long it took. A failure is the
// queue's own.
func (s *Sampler) take(ctx context.Context, m *registry.Metric, st *state, q *queue, now time.Time) (time.Duration, error) {
	s.mu.Lock()
	s.turn++
	st.turn = s.turn
	at := q.moments[len(q.moments)-1]
	s.mu.Unlock()
	began := time.Now()
	sample, err := s.sample(ctx, m, at, now)
	took := min(time.Since(began), 5*time.Second)
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.samples.WithLabelValues("failed").Inc()
		q.failures++
		q.failed, q.err, q.retry = now, err, now.Add(min(firstRetry<<min(q.failures-1, 10), lastRetry))
		if q.failures == 1 {
			s.o.Logger.Warn("a metric cannot be sampled; trying again later and later", "metric", m.Name, "moment", at, "error", err)
		}
		return 0, nil
	}
	s.samples.WithLabelValues("taken").Inc()
	if q.failures > 0 {
		s.o.Logger.Info("a metric can be sampled again", "metric", m.Name, "failures", q.failures)
	}
	*q = queue{moments: q.moments[:len(q.moments)-1]}
	st.samples++
	if st.first.IsZero() || at.Before(st.first) {
		st.first = at
	}
	if !at.Before(st.newest) {
		st.newest, st.groups, st.others = at, len(sample.Labels), len(sample.Others) > 0
	}
	return took, nil
}

func (s *Sampler) sample(ctx context.Context, m *registry.Metric, at, now time.Time) (*warehouse.MetricSample, error) {
	q, err := ParseQuestion(m.Question)
	if err != nil {
		return nil, err
	}
	answer, err := Ask(ctx, s.o.Engine, &q, query.At(at), query.Background)
	if err != nil {
		return nil, err
	}
	out := sample(answer)
	out.Series, out.Moment, out.Taken = m.Series, at, now
	return out, s.o.Warehouse.AddMetricSample(ctx, out)
}

// tidy removes samples that are older than they are kept, and those of no metric.
func (s *Sampler) tidy(ctx context.Context, now time.Time) error {
	// First what there is, then whose it is: what comes into being meanwhile is not looked at.
	spans, err := s.o.Warehouse.MetricSeries(ctx)
	if err != nil {
		return err
	}
	kept, all := make(map[string]registry.Metric), true
	for m, err := range s.o.Registry.Metrics(ctx, "") {
		if errors.Is(err, registry.ErrCorrupt) {
			all = false // its samples may be any
			continue
		}
		if err != nil {
			return fmt.Errorf("looking which samples are of no metric: %w", err)
		}
		kept[m.Series] = m
	}
	for series, span := range spans {
		m, ok := kept[series]
		if !ok && !all {
			continue
		}
		before := time.Time{}
		if ok {
			if m.KeepDays == 0 {
				continue
			}
			if before = now.AddDate(0, 0, -int(m.KeepDays)); !span.First.Before(before) {
				continue
			}
		}
		if err := s.o.Warehouse.DeleteMetricSamples(ctx, series, before); err != nil {
			return err
		}
		s.o.Logger.Info("removed samples of a metric", "series", series, "metric", m.Name, "before", before)
	}
	return nil
}

// Status is how the sampling of a metric goes.
type Status struct {
	// Samples is how many there are, from First to Last. Groups is how many groups the
	// last one has, and Others says that there were more.
	Samples     uint64
	First, Last time.Time
	Groups      int
	Others      bool
	// Due is how many moments are to be sampled, and Left how many are left a gap, as there
	// were too many.
	Due, Left int
	// Error says why sampling failed last, at Failed; it is tried again at Retry. It is nil
	// if the last time went well.
	Error         error
	Failed, Retry time.Time
	// Wanted is how many moments a backfill that is under way has, and Filled how many of
	// them are done.
	Wanted, Filled int
}

// Status returns how it goes with a metric: nothing is known as long as it has not been
// looked at.
func (s *Sampler) Status(name string) Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.states[name]
	if st == nil {
		return Status{}
	}
	out := Status{Samples: st.samples, First: st.first, Last: st.newest, Groups: st.groups, Others: st.others, Due: len(st.due.moments), Left: st.left,
		Wanted: st.wanted, Filled: st.wanted - len(st.fill.moments)}
	for _, q := range []*queue{&st.due, &st.fill} {
		if q.err != nil && q.failed.After(out.Failed) {
			out.Error, out.Failed, out.Retry = q.err, q.failed, q.retry
		}
	}
	return out
}
