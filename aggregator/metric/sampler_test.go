package metric

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/hlc"
)

func TestMain(m *testing.M) { warehousetest.Main(m) }

// estate is a warehouse with a history, and the plain model of it.
type estate struct {
	t        *testing.T
	w        *warehouse.Warehouse
	r        *registry.Registry
	now      time.Time
	versions []version
	counter  uint64
}

// version is a version of an asset.
type version struct {
	uid, status string
	size        int
	deleted     bool
	at          time.Time
}

func newEstate(t *testing.T) *estate {
	t.Helper()
	e := &estate{t: t, w: warehousetest.New(t), now: time.Date(2026, 3, 4, 10, 0, 0, 0, time.UTC)}
	var err error
	if e.r, err = registry.Open(registry.Options{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.r.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// tell has agents tell of versions now.
func (e *estate) tell(list ...version) {
	e.t.Helper()
	g := &warehouse.Group{ID: uuid.New(), ReceivedAt: e.now}
	for _, v := range list {
		v.at = e.now
		e.counter++
		doc := []byte(fmt.Sprintf(`{"size":%d}`, v.size))
		fields, err := document.Fields(doc)
		if err != nil {
			e.t.Fatal(err)
		}
		operation := warehouse.Updated
		if v.deleted {
			operation = warehouse.Deleted
		}
		g.Versions = append(g.Versions, warehouse.AssetVersion{Origin: warehouse.Origin{Site: "west", AgentID: "a", SpoolID: "s", Seq: e.counter},
			Type: "x.y.Server", UID: v.uid, Version: uint64(hlc.FromTime(e.now)) | e.counter%1000, Operation: operation, Status: v.status, Document: doc,
			Fields: fields, ObservedAt: e.now})
		e.versions = append(e.versions, v)
	}
	if err := e.w.Write(e.t.Context(), g); err != nil {
		e.t.Fatal(err)
	}
}

// then is what the model says of a moment: of each status how many assets there are, and
// their size together.
func (e *estate) then(at time.Time) string {
	newest := make(map[string]version)
	for _, v := range e.versions {
		if !v.at.After(at) {
			newest[v.uid] = v
		}
	}
	sums := make(map[string][2]int)
	for _, v := range newest {
		if !v.deleted {
			s := sums[v.status]
			sums[v.status] = [2]int{s[0] + 1, s[1] + v.size}
		}
	}
	var parts []string
	for _, status := range slices.Sorted(maps.Keys(sums)) {
		parts = append(parts, fmt.Sprintf("%s %d %d", status, sums[status][0], sums[status][1]))
	}
	return strings.Join(parts, ", ")
}

// sampler is one as an aggregator has it that starts now.
func (e *estate) sampler() *Sampler {
	return New(Options{Registry: e.r, Warehouse: e.w, Logger: slog.New(slog.DiscardHandler), Known: e.w.HistoryBegins,
		Engine: query.New(query.Options{Warehouse: e.w, Now: func() time.Time { return e.now }}), Now: func() time.Time { return e.now }})
}

// work has a sampler do steps until there is nothing to do, at most so many.
func (e *estate) work(s *Sampler, steps int) {
	e.t.Helper()
	for range steps {
		idle := !e.busy(s)
		if _, err := s.Step(e.t.Context()); err != nil {
			e.t.Fatal(err)
		}
		if idle && !e.busy(s) {
			return
		}
	}
}

func (e *estate) busy(s *Sampler) bool {
	for _, st := range s.states {
		if len(st.due.moments) > 0 && !st.due.retry.After(e.now) || len(st.fill.moments) > 0 && !st.fill.retry.After(e.now) {
			return true
		}
	}
	return false
}

const byStatus = `{"type":"x.y.Server","labels":[{"field":"status"}],"values":[{"name":"n"},{"name":"size","function":"sum","field":"size"}]}`

func (e *estate) save(name, question string, change func(*registry.Metric)) registry.Metric {
	e.t.Helper()
	m, err := e.r.ChangeMetric(e.t.Context(), registry.System, "metric.save", name, func(m *registry.Metric) error {
		if m.Series == "" {
			m.Series, m.SeriesTime = registry.NewSeries(), e.now
		}
		m.Question, m.IntervalSeconds = json.RawMessage(question), 60
		if change != nil {
			change(m)
		}
		return Check(m)
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return m
}

// samples returns the samples of a metric as the model writes them, by moment.
func (e *estate) samples(m registry.Metric) map[time.Time]string {
	e.t.Helper()
	all := make(map[time.Time]string)
	err := e.w.MetricSamples(e.t.Context(), m.Series, time.Unix(0, 0), e.now.AddDate(10, 0, 0), time.Minute, func(s *warehouse.MetricSample) error {
		var parts []string
		for i, l := range s.Labels {
			parts = append(parts, fmt.Sprintf("%s %v %v", l[0], *s.Values[i][0], *s.Values[i][1]))
		}
		slices.Sort(parts)
		all[s.Moment] = strings.Join(parts, ", ")
		return nil
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return all
}

// check holds the samples against the model: of all moments from one to another, and no
// others.
func (e *estate) check(m registry.Metric, first, last time.Time) {
	e.t.Helper()
	got := e.samples(m)
	for at := first; !at.After(last); at = at.Add(time.Minute) {
		sample, ok := got[at]
		if want := e.then(at); !ok || sample != want {
			e.t.Errorf("at %v: %q (%v), want %q", at, sample, ok, want)
		}
		delete(got, at)
	}
	for at := range got {
		e.t.Errorf("there is a sample of %v", at)
	}
}

// TestSamplesAreWhatTheModelSays has a random history, during which the aggregator is
// killed, is away, and a metric is filled for moments before it was.
func TestSamplesAreWhatTheModelSays(t *testing.T) {
	e := newEstate(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	change := func() {
		for range r.IntN(4) {
			e.tell(version{uid: fmt.Sprint(r.IntN(8)), status: []string{"up", "down", "odd", ""}[r.IntN(4)], size: r.IntN(100), deleted: r.IntN(4) == 0})
		}
	}
	e.tell(version{uid: "0", status: "up", size: 1})
	began := e.now
	for range 20 { // before the metric
		e.now = e.now.Add(time.Duration(r.IntN(100_000)) * time.Millisecond)
		change()
	}
	m := e.save("servers", byStatus, nil)
	first := grid(e.now, time.Minute)
	s := e.sampler()
	for range 40 {
		e.now = e.now.Add(time.Duration(r.IntN(60_000)) * time.Millisecond)
		change()
		switch r.IntN(8) {
		case 0:
			s = e.sampler() // it was killed, and forgot all that is not in a store
		case 1:
			e.now = e.now.Add(time.Duration(r.IntN(10)) * time.Minute) // it was away
		case 2:
			continue // it had no time
		}
		e.work(s, 1+r.IntN(5))
	}
	e.now = e.now.Add(time.Minute)
	e.work(s, 1000)
	last := grid(e.now.Add(-settle), time.Minute)
	e.check(m, first, last)

	b, n, err := NewBackfill(&m, began.Add(-24*time.Hour), time.Time{}, began, e.now)
	if err != nil {
		t.Fatal(err)
	}
	m = e.save("servers", byStatus, func(m *registry.Metric) { m.Backfill = b })
	e.work(s, 3)
	if st := s.Status("servers"); st.Filled != 3 || st.Wanted == 0 || int64(st.Wanted) > n {
		t.Errorf("after three of %d moments: %+v", n, st)
	}
	s = e.sampler() // killed in between
	e.work(s, 3)
	rows := warehousetest.Rows(t, e.w, "metric_sample")
	s = e.sampler()
	e.work(s, 5000)
	e.check(m, began, last)
	if m, err := e.r.Metric(t.Context(), "servers"); err != nil || m.Backfill != nil {
		t.Errorf("the backfill that is done is still there: %+v, %v", m.Backfill, err)
	}
	e.work(s, 10)
	if n := warehousetest.Rows(t, e.w, "metric_sample"); n < rows || n != len(e.samples(m)) {
		t.Errorf("%d rows for %d samples: something was sampled twice", n, len(e.samples(m)))
	}
	if st := s.Status("servers"); st.Samples != uint64(len(e.samples(m))) || st.Error != nil || st.Due != 0 || st.Wanted != 0 {
		t.Errorf("in the end: %+v", st)
	}
}

// TestLateArrivals has an agent tell late of what was before a sample: the sample stays
// what was known, until it is taken again.
func TestLateArrivals(t *testing.T) {
	e := newEstate(t)
	e.tell(version{uid: "0", status: "up", size: 1})
	m := e.save("servers", byStatus, nil)
	s := e.sampler()
	e.now = e.now.Add(2 * time.Minute)
	e.work(s, 10)
	before := e.samples(m)
	now := e.now
	e.now = e.now.Add(-90 * time.Second)
	e.tell(version{uid: "1", status: "down", size: 2})
	e.now = now.Add(5 * time.Second)
	e.work(s, 10)
	if got := e.samples(m); !maps.Equal(got, before) {
		t.Errorf("%v became %v", before, got)
	}
	m = e.save("servers", byStatus, func(m *registry.Metric) {
		m.Backfill = &registry.MetricBackfill{From: now.Add(-time.Hour), To: now, Again: true, RequestTime: e.now}
	})
	e.work(s, 1)
	s = e.sampler()
	e.work(s, 10)
	e.check(m, grid(m.SeriesTime, time.Minute), grid(now.Add(-settle), time.Minute))
}

// TestClockJumps has the clock of the aggregator a year ahead for a while: what it said of
// moments that had not been does not stay when they are.
func TestClockJumps(t *testing.T) {
	e := newEstate(t)
	e.tell(version{uid: "0", status: "up", size: 1})
	m := e.save("servers", byStatus, nil)
	first := grid(e.now, time.Minute)
	s := e.sampler()
	e.now = e.now.Add(time.Minute)
	e.work(s, 10)
	right := e.now
	e.now = right.Add(10 * time.Minute)
	e.work(s, 100)
	e.now = right.Add(20 * time.Second)
	for range 15 {
		e.tell(version{uid: fmt.Sprint(e.now.Unix()), status: "new", size: 1})
		e.work(s, 10)
		e.now = e.now.Add(time.Minute)
	}
	e.work(s, 10)
	e.check(m, first, grid(e.now.Add(-settle), time.Minute))

	// Back behind the beginning there is nothing to do, and nothing breaks.
	e.now = first.Add(-time.Hour)
	e.work(s, 10)
	rows := warehousetest.Rows(t, e.w, "metric_sample")
	e.now = right.Add(16 * time.Minute)
	e.work(s, 100)
	if n := warehousetest.Rows(t, e.w, "metric_sample"); n > rows+20 {
		t.Errorf("%d rows became %d", rows, n)
	}
}

// TestMissedForLong has an aggregator away for so long that not all is filled: what is left
// is a gap that is told, and can be filled.
func TestMissedForLong(t *testing.T) {
	e := newEstate(t)
	e.tell(version{uid: "0", status: "up", size: 1})
	m := e.save("servers", byStatus, nil)
	e.work(e.sampler(), 10)
	e.now = e.now.Add((MaxCatchUp + 500) * time.Minute)
	s := e.sampler()
	if _, err := s.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st := s.Status("servers"); st.Due != MaxCatchUp-1 || st.Left < 498 || st.Left > 501 {
		t.Errorf("%+v", st)
	}
	a, err := Read(t.Context(), e.w, &m, SeriesQuery{From: e.now.Add(-(MaxCatchUp + 510) * time.Minute)}, e.now)
	if err != nil || len(a.Gaps) == 0 {
		t.Errorf("%+v, %v", a, err)
	}

	// Before the history there is nothing to fill with.
	e = newEstate(t)
	m = e.save("servers", byStatus, nil)
	s = e.sampler()
	e.now = e.now.Add(10 * time.Minute)
	e.work(s, 100)
	if got := e.samples(m); len(got) != 0 {
		t.Errorf("without any history there are the samples %v", got)
	}
	e.tell(version{uid: "0", status: "up", size: 1})
	e.now = e.now.Add(2 * time.Minute)
	e.work(s, 100)
	e.work(e.sampler(), 100)
	if got := e.samples(m); len(got) != 2 && len(got) != 1 {
		t.Errorf("since the history began there are the samples %v", got)
	}
	for at := range e.samples(m) {
		if at.Before(e.now.Add(-2 * time.Minute)) {
			t.Errorf("there is a sample of %v, before the history", at)
		}
	}
}

// TestFailing has a metric that fails: it is told, tried again later and later, holds up
// nothing, and is exact when it works again.
func TestFailing(t *testing.T) {
	e := newEstate(t)
	e.tell(version{uid: "0", status: "up", size: 1})
	good := e.save("good", byStatus, nil)
	bad := e.save("bad", byStatus, nil)
	first := grid(e.now, time.Minute)
	right := bad.Question
	broken := func(question json.RawMessage) {
		_, err := e.r.ChangeMetric(t.Context(), registry.System, "metric.save", "bad", func(m *registry.Metric) error {
			m.Question = question
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	broken(json.RawMessage(`{"labels":[{"field":""}]}`))
	// One that cannot be read at all is nobody's harm either.
	if _, err := e.r.Store().Apply(t.Context(), registry.System, registry.Op{Action: "x", Key: registry.MetricPrefix + "corrupt",
		Value: []byte("{"), Revision: registry.Absent}); err != nil {
		t.Fatal(err)
	}
	s := e.sampler()
	tries := 0
	for range 60 {
		e.work(s, 10)
		e.now = e.now.Add(time.Minute)
		if n := s.states["bad"].due.failures; n > tries {
			tries = n
		}
	}
	st := s.Status("bad")
	if st.Error == nil || !strings.Contains(st.Error.Error(), "group_by") || st.Retry.Before(st.Failed) || tries < 5 || tries > 8 {
		t.Errorf("after an hour: %d failures, %+v", tries, st)
	}
	e.check(good, first, grid(e.now.Add(-time.Minute-settle), time.Minute))
	broken(right)
	e.now = e.now.Add(lastRetry)
	e.work(s, 1000)
	if st := s.Status("bad"); st.Error != nil || st.Due != 0 {
		t.Errorf("when it works again: %+v", st)
	}
	e.check(bad, first, grid(e.now.Add(-settle), time.Minute))
}

// TestManyGroups has more groups than are kept: the largest are, and the others are added up.
func TestManyGroups(t *testing.T) {
	e := newEstate(t)
	var list []version
	for i := range 300 {
		list = append(list, version{uid: fmt.Sprint(i), status: "s" + fmt.Sprint(i/3), size: i})
	}
	list = append(list, version{uid: "x", status: "s7"}, version{uid: "y", status: "s7"}, version{uid: "z", status: strings.Repeat("long", 1000)})
	e.tell(list...)
	m := e.save("servers", strings.Replace(byStatus, `"labels"`, `"groups":10,"labels"`, 1), nil)
	s := e.sampler()
	e.now = e.now.Add(time.Minute)
	e.work(s, 10)
	if st := s.Status("servers"); st.Groups != 10 || !st.Others {
		t.Errorf("%+v", st)
	}
	read := func(q SeriesQuery) *Series {
		t.Helper()
		a, err := Read(t.Context(), e.w, &m, q, e.now)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	a := read(SeriesQuery{})
	if len(a.List) != 10 || a.Others == nil || *a.Others.Points[0][0] != 303-10*3-2 || a.List[9].Labels[0] != "s7" || *a.List[9].Points[0][0] != 5 {
		t.Errorf("%+v", a)
	}
	if a := read(SeriesQuery{Aggregate: Sum}); *a.List[0].Points[0][0] != 303 || len(a.Warnings) != 0 {
		t.Errorf("the sum of all: %+v", a)
	}
	if a := read(SeriesQuery{Aggregate: Max}); *a.List[0].Points[0][0] != 5 || len(a.Warnings) != 1 {
		t.Errorf("the largest: %+v", a)
	}
	if a := read(SeriesQuery{Aggregate: Sum, By: []string{"status"}}); len(a.List) != 10 || len(a.Warnings) != 1 {
		t.Errorf("by status: %+v", a)
	}
	if a := read(SeriesQuery{Filter: "status=s7"}); len(a.List) != 1 || a.Others != nil || len(a.Warnings) != 1 || a.Filter != `status="s7"` {
		t.Errorf("one of them: %+v", a)
	}
	m = e.save("long", strings.Replace(byStatus, `"labels"`, `"filter":"uid=z","labels"`, 1), nil)
	e.now = e.now.Add(time.Minute)
	e.work(s, 10)
	if a := read(SeriesQuery{}); len(a.List) != 1 || len(a.List[0].Labels[0]) > maxLabelBytes {
		t.Errorf("a long label: %+v", a.List)
	}
}

// TestRead reads a series with gaps, in steps, and put together.
func TestRead(t *testing.T) {
	e := newEstate(t)
	start := e.now
	m := e.save("servers", `{"labels":[{"field":"site"},{"name":"kind","field":"spec.kind"}]}`, nil)
	one := func(v float64) []*float64 { return []*float64{&v} }
	for i := range 60 {
		if i >= 10 && i < 25 {
			continue
		}
		s := &warehouse.MetricSample{Series: m.Series, Moment: start.Add(time.Duration(i) * time.Minute), Taken: e.now,
			Labels: [][]string{{"west", "a"}, {"east", "a"}}, Values: [][]*float64{one(float64(i)), one(1)}}
		if i%2 == 0 {
			s.Labels, s.Values = append(s.Labels, []string{"west", "b"}), append(s.Values, one(100))
		}
		if i == 30 {
			s.Labels, s.Values = nil, nil // nothing is there, which is no gap
		}
		if err := e.w.AddMetricSample(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	now := start.Add(59*time.Minute + 30*time.Second)
	read := func(q SeriesQuery) *Series {
		t.Helper()
		q.From = start
		a, err := Read(t.Context(), e.w, &m, q, now)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	write := func(l *Line) string {
		var b strings.Builder
		fmt.Fprint(&b, l.Labels)
		for _, p := range l.Points {
			if p == nil {
				b.WriteString(" -")
			} else {
				fmt.Fprint(&b, " ", *p[0])
			}
		}
		return b.String()
	}
	lines := func(a *Series) (list []string) {
		for i := range a.List {
			list = append(list, write(&a.List[i]))
		}
		return list
	}
	a := read(SeriesQuery{})
	if a.Step != time.Minute || len(a.Times) != 45 || len(a.List) != 3 || len(a.Gaps) != 1 || a.Gaps[0].Moments != 15 ||
		!a.Gaps[0].From.Equal(start.Add(10*time.Minute)) || !a.Gaps[0].To.Equal(start.Add(24*time.Minute)) {
		t.Errorf("%v %d %+v", a.Step, len(a.Times), a.Gaps)
	}
	for name, test := range map[string]struct {
		query SeriesQuery
		want  []string
		gaps  int
	}{
		"steps":  {SeriesQuery{Step: 10 * time.Minute}, []string{"[east a] 1 1 1 1 1", "[west a] 9 29 39 49 59", "[west b] - - - - -"}, 10},
		"filter": {SeriesQuery{Step: 10 * time.Minute, Filter: "site=west kind=a"}, []string{"[west a] 9 29 39 49 59"}, 10},
		"sum":    {SeriesQuery{Step: 10 * time.Minute, Aggregate: Sum}, []string{"[] 10 30 40 50 60"}, 10},
		"by site": {SeriesQuery{Step: 15 * time.Minute, Aggregate: Average, By: []string{"site"}},
			[]string{"[east] 1 1 1 1", "[west] 9 64.5 72 29.5"}, 0},
		"max by kind": {SeriesQuery{Step: 15 * time.Minute, Aggregate: Max, By: []string{"kind"}}, []string{"[a] 9 29 44 59", "[b] - - 100 -"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			a := read(test.query)
			missing := 0
			for _, g := range a.Gaps {
				missing += g.Moments
			}
			if name == "by site" {
				test.want[1] = "[west] 9 29 72 59"
			}
			if name == "steps" {
				test.want = test.want[:2] // b is never in the last sample of a step
			}
			if got := lines(a); !slices.Equal(got, test.want) || missing != test.gaps {
				t.Errorf("got %q with %d missing, want %q with %d", got, missing, test.want, test.gaps)
			}
		})
	}
	for want, q := range map[string]SeriesQuery{
		"is no label of the metric": {Filter: "kine=a"}, "multiple of the metric's interval": {Step: 90 * time.Second},
		"needs an aggregate": {By: []string{"site"}}, `"flavor" is no label`: {Aggregate: Sum, By: []string{"flavor"}},
		"take a longer step than 1m0s": {From: start.AddDate(-1, 0, 0), Step: time.Minute}, "after the end": {From: start.AddDate(1, 0, 0)},
	} {
		_, err := Read(t.Context(), e.w, &m, q, now)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(want, "longer") != errors.Is(err, ErrLimit) {
			t.Errorf("%+v: %v, want %q", q, err, want)
		}
	}
	// However many series somebody made, the answer is bounded.
	many := &warehouse.MetricSample{Series: m.Series, Moment: start.Add(-time.Minute), Taken: e.now}
	for i := range MaxSeries + 1 {
		many.Labels, many.Values = append(many.Labels, []string{fmt.Sprint(i), ""}), append(many.Values, one(1))
	}
	if err := e.w.AddMetricSample(t.Context(), many); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(t.Context(), e.w, &m, SeriesQuery{From: start.Add(-time.Hour)}, now); !errors.Is(err, ErrLimit) {
		t.Errorf("more than %d series: %v", MaxSeries, err)
	}
}

// TestTidy removes what is too old, and what is of no metric.
func TestTidy(t *testing.T) {
	e := newEstate(t)
	kept := e.save("kept", byStatus, func(m *registry.Metric) { m.KeepDays = 1 })
	forever := e.save("forever", byStatus, nil)
	gone := e.save("gone", byStatus, nil)
	one := 1.0
	for _, m := range []registry.Metric{kept, forever, gone} {
		for i := range 4 {
			s := &warehouse.MetricSample{Series: m.Series, Moment: grid(e.now, time.Hour).Add(time.Duration(-i) * 12 * time.Hour), Taken: e.now,
				Labels: [][]string{{"up"}}, Values: [][]*float64{{&one, &one}}}
			if err := e.w.AddMetricSample(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := e.r.DeleteMetric(t.Context(), registry.System, "gone"); err != nil {
		t.Fatal(err)
	}
	if err := e.sampler().tidy(t.Context(), e.now); err != nil {
		t.Fatal(err)
	}
	if a, b, c := len(e.samples(kept)), len(e.samples(forever)), len(e.samples(gone)); a != 3 || b != 4 || c != 0 {
		t.Errorf("%d of the one that is kept for a day, %d of the one that is kept, %d of the one that is gone", a, b, c)
	}
}

// TestShippedStayDeleted has metrics that come with the program deleted and changed.
func TestShippedStayDeleted(t *testing.T) {
	e := newEstate(t)
	ship := func() (names []string) {
		t.Helper()
		if err := e.r.ShipMetrics(t.Context(), Shipped(e.now)); err != nil {
			t.Fatal(err)
		}
		for m, err := range e.r.Metrics(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, m.Name)
		}
		return names
	}
	all := ship()
	if err := e.r.DeleteMetric(t.Context(), registry.System, all[0]); err != nil {
		t.Fatal(err)
	}
	e.save(all[1], byStatus, func(m *registry.Metric) { m.Disabled = true })
	if got := ship(); !slices.Equal(got, all[1:]) {
		t.Errorf("%v became %v", all, got)
	}
	if m, err := e.r.Metric(t.Context(), all[1]); err != nil || !m.Disabled {
		t.Errorf("%+v, %v", m, err)
	}
	for _, m := range Shipped(e.now) {
		q, err := ParseQuestion(m.Question)
		if err == nil {
			_, err = Ask(t.Context(), e.sampler().o.Engine, &q, query.Moment{}, query.Interactive)
		}
		if err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
	}
}

// TestRun has a sampler work by itself until it is ended.
func TestRun(t *testing.T) {
	e := newEstate(t)
	e.tell(version{uid: "0", status: "up", size: 1})
	m := e.save("servers", byStatus, nil)
	e.now = e.now.Add(time.Minute)
	s := e.sampler()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for end := time.Now().Add(30 * time.Second); s.Status("servers").Samples == 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		s.Wake()
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if len(e.samples(m)) == 0 {
		t.Error("there is no sample")
	}
}
