package metric

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/filter"
	"github.com/reeve-cloud/reeve/pkg/nearest"
)

const (
	// MaxPoints is how many values an answer has at most, MaxSteps how many moments, and
	// MaxSeries how many series.
	MaxPoints = 200_000
	MaxSteps  = 5000
	MaxSeries = 1000
	// fewSteps is how many steps there are at most where none is asked for, and maxGaps how
	// many gaps are told.
	fewSteps = 500
	maxGaps  = 100
)

// Aggregate is how values of several groups become one.
type Aggregate uint8

// The aggregates. None leaves groups apart.
const (
	None Aggregate = iota
	Sum
	Average
	Min
	Max
)

// SeriesQuery asks for the samples of a metric.
type SeriesQuery struct {
	// Filter says which groups, by their labels, in the language of package filter. Empty is
	// all, and only then the groups that are not kept count.
	Filter string
	// From and To are the first and the last moment. Without To it is now, without From a
	// day before.
	From, To time.Time
	// Step has the last sample of each step only, counted from 1970; a multiple of the
	// metric's interval. 0 is one that gives some hundreds of them at most.
	Step time.Duration
	// Aggregate puts groups together that have the same labels By.
	Aggregate Aggregate
	By        []string
}

// Series are the samples of a metric.
type Series struct {
	// Filter is the canonical form of the filter.
	Filter         string
	Labels, Values []string
	Step           time.Duration
	// Times are the moments of the samples, in order.
	Times []time.Time
	List  []Line
	// Others has the groups that are not kept, if there are any, and no aggregate.
	Others *Line
	// Gaps are where samples are missing, MoreGaps that there are more than are told.
	Gaps     []Gap
	MoreGaps bool
	// Warnings say what is probably meant otherwise.
	Warnings []string
}

// Line is the values of a group over time.
type Line struct {
	Labels []string
	// Points has for each time the values: none where the group was not in the sample.
	Points [][]*float64
}

// Gap says that Moments moments between two times have no sample.
type Gap struct {
	From, To time.Time
	Moments  int
}

// ErrLimit means that an answer would be too large.
var ErrLimit = errors.New("the answer would be too large")

// cell is what several values become.
type cell struct {
	n                int
	sum, least, most float64
}

func (c *cell) add(v *float64) {
	if v == nil {
		return
	}
	if c.n == 0 {
		c.least, c.most = math.Inf(1), math.Inf(-1)
	}
	c.n++
	c.sum, c.least, c.most = c.sum+*v, min(c.least, *v), max(c.most, *v)
}

func (c *cell) value(a Aggregate) *float64 {
	if c.n == 0 {
		return nil
	}
	v := c.sum
	switch a {
	case Average:
		v /= float64(c.n)
	case Min:
		v = c.least
	case Max:
		v = c.most
	}
	return &v
}

// Read answers the series of a metric as of now. Errors are FieldErrors, filter.Errors or ErrLimit,
// if it is not the warehouse that fails.
func Read(ctx context.Context, w *warehouse.Warehouse, m *registry.Metric, q SeriesQuery, now time.Time) (*Series, error) {
	question, err := ParseQuestion(m.Question)
	if err != nil {
		return nil, err
	}
	interval := time.Duration(m.IntervalSeconds) * time.Second
	if q.To.IsZero() || q.To.After(now) {
		q.To = now
	}
	if q.From.IsZero() {
		q.From = q.To.Add(-24 * time.Hour)
	}
	out := &Series{Labels: question.LabelNames(), Values: question.ValueNames(), Step: q.Step}
	if q.From.After(q.To) {
		return nil, wrong("start_time", "%s is after the end", q.From.UTC().Format(time.RFC3339))
	}
	length := q.To.Sub(q.From)
	if out.Step == 0 {
		out.Step = nice(interval, length)
	}
	if out.Step < interval || out.Step%interval != 0 {
		return nil, wrong("step", "%v: must be a multiple of the metric's interval, %v", out.Step, interval)
	}
	if length/out.Step > MaxSteps {
		return nil, fmt.Errorf("%w: it has more than %d moments: take a longer step than %v, as %v, or begin later", ErrLimit, MaxSteps, out.Step,
			nice(interval, length))
	}
	pass, err := newMatcher(q.Filter, &question, now)
	if err != nil {
		return nil, err
	}
	out.Filter = pass.canonical
	by, err := places(q, out.Labels)
	if err != nil {
		return nil, err
	}
	if q.Aggregate == Sum {
		for i, v := range question.Values {
			if v.Function != "" && v.Function != "count" && v.Function != "sum" {
				out.Warnings = append(out.Warnings, fmt.Sprintf("%s is %s of each group: its sum means nothing", out.Values[i], v.Function))
			}
		}
	}
	if q.Aggregate != None {
		out.Labels = q.By
	}
	r := &reader{query: q, out: out, pass: pass, by: by, lines: make(map[string]int), interval: interval}
	if err := w.MetricSamples(ctx, m.Series, q.From, q.To, out.Step, r.take); err != nil {
		return nil, err
	}
	r.finish(grid(q.To, interval), grid(now.Add(-settle), interval))
	return out, nil
}

// nice is a step that gives some hundreds of moments at most.
func nice(interval, length time.Duration) time.Duration {
	for _, step := range []time.Duration{interval, 5 * time.Minute, 15 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour} {
		if step >= interval && step%interval == 0 && length/step <= fewSteps && (step == interval || length/step >= fewSteps/20) {
			return step
		}
	}
	return interval * max(1, (length/fewSteps+interval-1)/interval)
}

// places returns where the labels stand that groups are put together by.
func places(q SeriesQuery, labels []string) ([]int, error) {
	if q.Aggregate == None {
		if len(q.By) > 0 {
			return nil, wrong("by", "it needs an aggregate: sum, avg, min or max")
		}
		return nil, nil
	}
	list := make([]int, len(q.By))
	for i, name := range q.By {
		if list[i] = slices.Index(labels, name); list[i] < 0 {
			return nil, wrong("by", "%q is no label of the metric: they are %s%s", name, strings.Join(labels, ", "), nearest.Hint(name, labels))
		}
		if slices.Contains(q.By[:i], name) {
			return nil, wrong("by", "%s is there twice", name)
		}
	}
	return list, nil
}

// reader makes lines of samples.
type reader struct {
	query    SeriesQuery
	out      *Series
	pass     *matcher
	by       []int
	lines    map[string]int
	interval time.Duration
	points   int
	others   bool
}

func (r *reader) take(s *warehouse.MetricSample) error {
	r.gap(s.Moment)
	t := len(r.out.Times)
	r.out.Times = append(r.out.Times, s.Moment)
	cells := make(map[string][]cell)
	for i, labels := range s.Labels {
		holds, err := r.pass.match(labels)
		if err != nil {
			return err
		}
		if !holds {
			continue
		}
		if r.query.Aggregate == None {
			if err := r.put(labels, t, s.Values[i]); err != nil {
				return err
			}
			continue
		}
		kept := make([]string, len(r.by))
		for j, at := range r.by {
			if at < len(labels) {
				kept[j] = labels[at]
			}
		}
		add(cells, kept, s.Values[i], len(r.out.Values))
	}
	if len(s.Others) > 0 {
		if err := r.takeOthers(s, cells, t); err != nil {
			return err
		}
	}
	for key, row := range cells {
		values := make([]*float64, len(row))
		for i := range row {
			values[i] = row[i].value(r.query.Aggregate)
		}
		labels := strings.Split(key, "\x00")
		if len(r.by) == 0 {
			labels = nil
		}
		if err := r.put(labels, t, values); err != nil {
			return err
		}
	}
	return nil
}

func add(cells map[string][]cell, labels []string, values []*float64, width int) {
	key := strings.Join(labels, "\x00")
	row := cells[key]
	if row == nil {
		row = make([]cell, width)
		cells[key] = row
	}
	for i, v := range values {
		if i < width {
			row[i].add(v)
		}
	}
}

// takeOthers has the groups that are not kept where they belong: a line of their own, or
// within the sum of all.
func (r *reader) takeOthers(s *warehouse.MetricSample, cells map[string][]cell, t int) error {
	switch {
	case r.pass.narrows():
		r.others = true
	case r.query.Aggregate == None:
		if r.out.Others == nil {
			r.out.Others = &Line{}
		}
		return r.extend(r.out.Others, t, s.Others)
	case r.query.Aggregate == Sum && len(r.by) == 0:
		add(cells, nil, s.Others, len(r.out.Values))
	default:
		r.others = true
	}
	return nil
}

// put gives a group its values at the time t.
func (r *reader) put(labels []string, t int, values []*float64) error {
	key := strings.Join(labels, "\x00")
	at, ok := r.lines[key]
	if !ok {
		if at = len(r.out.List); at == MaxSeries {
			return fmt.Errorf("%w: it has more than %d series: narrow it by a filter over labels, or put groups together", ErrLimit, MaxSeries)
		}
		r.lines[key] = at
		r.out.List = append(r.out.List, Line{Labels: labels})
	}
	return r.extend(&r.out.List[at], t, values)
}

func (r *reader) extend(l *Line, t int, values []*float64) error {
	if r.points += (t + 1 - len(l.Points)) * len(r.out.Values); r.points > MaxPoints {
		return fmt.Errorf("%w: it has more than %d values: take a longer step than %v, begin later, narrow it by a filter over labels, or put groups "+
			"together", ErrLimit, MaxPoints, r.out.Step)
	}
	for len(l.Points) <= t {
		l.Points = append(l.Points, nil)
	}
	l.Points[t] = values
	return nil
}

// gap takes note of what is missing before a moment.
func (r *reader) gap(at time.Time) {
	before := from(r.query.From, r.interval).Add(-r.interval)
	if n := len(r.out.Times); n > 0 {
		before = r.out.Times[n-1]
	}
	// Within a step only its last sample is looked at: what is missing is a whole step.
	first, last := grid(before, r.out.Step).Add(r.out.Step), grid(at, r.out.Step).Add(-r.interval)
	if last.Before(first) {
		return
	}
	if len(r.out.Gaps) == maxGaps {
		r.out.MoreGaps = true
		return
	}
	r.out.Gaps = append(r.out.Gaps, Gap{From: first, To: last, Moments: int(last.Sub(first)/r.interval) + 1})
}

// finish ends the lines, of samples up to the last moment that is asked for and the last
// that could be there.
func (r *reader) finish(asked, due time.Time) {
	n := len(r.out.Times)
	if asked.After(due) {
		asked = due
	}
	r.gap(asked.Add(r.interval))
	fill := func(l *Line) {
		for len(l.Points) < n {
			l.Points = append(l.Points, nil)
		}
	}
	for i := range r.out.List {
		fill(&r.out.List[i])
	}
	if r.out.Others != nil {
		fill(r.out.Others)
	}
	slices.SortFunc(r.out.List, func(a, b Line) int { return slices.Compare(a.Labels, b.Labels) })
	if r.others {
		r.out.Warnings = append(r.out.Warnings, "some samples have more groups than are kept; those that are not kept are left out of this")
	}
}

// matcher tells which groups pass a filter over labels.
type matcher struct {
	filter    *filter.Filter
	canonical string
	fields    []filter.Field
	env       filter.Env
	known     map[string]bool
}

func newMatcher(text string, q *Question, now time.Time) (*matcher, error) {
	f, err := filter.Parse(text)
	if err != nil {
		return nil, err
	}
	m := &matcher{filter: f, canonical: f.Canonical(), env: filter.Env{Now: now}, known: make(map[string]bool)}
	var names []string
	for _, name := range q.LabelNames() {
		field, err := fieldOf(name)
		if err != nil {
			return nil, err
		}
		m.fields, names = append(m.fields, field), append(names, field.String())
	}
	var bad filter.Errors
	filter.Walk(f.Root, func(n filter.Node) bool {
		e := &filter.Error{}
		switch n := n.(type) {
		case *filter.Related:
			e.Message = "labels have no relations"
			e.Start, e.End = n.Span()
		case *filter.Compare:
			if slices.Contains(names, n.Field.String()) {
				return true
			}
			e.Start, e.End = n.Field.Span()
			e.Message = fmt.Sprintf("%s is no label of the metric: they are %s", n.Field, strings.Join(names, ", "))
			e.Mends = nearest.Words(n.Field.String(), names)
		default:
			return true
		}
		bad = append(bad, e)
		return false
	})
	if len(bad) > 0 {
		return nil, bad
	}
	return m, nil
}

// fieldOf is the field of a filter that a label is called like.
func fieldOf(name string) (filter.Field, error) {
	f, err := filter.Parse(name + ":*")
	if err == nil {
		if c, ok := f.Root.(*filter.Compare); ok {
			return c.Field, nil
		}
	}
	return filter.Field{}, wrong("labels", "the label %q cannot be asked for in a filter: give it a name", name)
}

func (m *matcher) narrows() bool { return m.filter.Root != nil }

func (m *matcher) match(labels []string) (bool, error) {
	if m.filter.Root == nil {
		return true, nil
	}
	key := strings.Join(labels, "\x00")
	if holds, ok := m.known[key]; ok {
		return holds, nil
	}
	a := &filter.Asset{Labels: make(map[string]string)}
	var search []string
	for i, text := range labels {
		if i >= len(m.fields) || text == "" {
			continue
		}
		search = append(search, strings.ReplaceAll(text, document.Separator, "\n"))
		switch f := m.fields[i]; f.Space {
		case filter.Label:
			a.Labels[f.Name] = text
		case filter.Document:
			a.Fields = append(a.Fields, document.Field{Path: f.Name, Value: text})
		default:
			setFixed(a, f.Name, text)
		}
	}
	a.Search = filter.Fold(strings.Join(search, "\n"))
	holds, err := m.filter.Match(a, &m.env)
	if err == nil && len(m.known) < 10*MaxSeries {
		m.known[key] = holds
	}
	return holds, err
}

// setFixed gives an asset that stands for a group what it is called by.
func setFixed(a *filter.Asset, name, text string) {
	texts := map[string]*string{"name": &a.Name, "uid": &a.UID, "type": &a.Type, "site": &a.Site, "region": &a.Region, "project": &a.Project,
		"status": &a.Status, "state": &a.State, "scope": &a.Scope, "agent": &a.Agent}
	if at := texts[name]; at != nil {
		*at = text
		return
	}
	moments := map[string]*time.Time{"created": &a.Created, "updated": &a.Updated, "observed": &a.Observed}
	for _, format := range []string{"2006-01-02T15:04Z", "2006-01-02", "2006-01", "2006", filter.TimeFormat} {
		if t, err := time.Parse(format, text); err == nil && moments[name] != nil {
			*moments[name] = t
			return
		}
	}
}
