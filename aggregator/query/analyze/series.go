package analyze

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/pkg/filter"
)

const (
	// MaxPeriods is how many periods a series has at most, and MaxSeries how many series
	// there are.
	MaxPeriods = 1000
	MaxSeries  = 100
	// defaultPeriods is how many there are where no start is given.
	defaultPeriods = 30
)

// SeriesQuery asks for groups of assets as they were at the ends of periods. Its moment is
// not looked at.
type SeriesQuery struct {
	query.Selection
	// Interval is the length of the periods, in UTC.
	Interval Bucket
	// From and To are moments within the first and the last period. Without To it is now,
	// without From some 30 periods before that.
	From, To time.Time
	Keys     []Key
	Measures []Measure
	// Limit is how many groups have a series: those with most assets over all periods; 0
	// is 10.
	Limit int
	// Others adds one series for all that is in other groups.
	Others bool
}

// Series is the values of a group over the periods.
type Series struct {
	Keys []string
	// Points has for each period the values. Nil is none.
	Points [][]*float64
}

// Serieses are the answer.
type Serieses struct {
	query.Answered
	Keys, Values []string
	Kinds        []filter.Kind
	// Times are the beginnings of the periods. What is told of each is as of its last
	// millisecond, of the last one as of now, if it is not over.
	Times  []time.Time
	Series []Series
	Others *Series
}

// start is the beginning of the period that a moment is in.
func (b Bucket) start(t time.Time) time.Time {
	t = t.UTC()
	y, m, d := t.Date()
	switch b {
	case Hour:
		return t.Truncate(time.Hour)
	case Day:
		return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	case Week:
		return time.Date(y, m, d-int(t.Weekday()+6)%7, 0, 0, 0, 0, time.UTC)
	case Month:
		return time.Date(y, m, 1, 0, 0, 0, 0, time.UTC)
	}
	return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC)
}

// after is the beginning of the period that is so many behind the one that begins.
func (b Bucket) after(start time.Time, n int) time.Time {
	switch b {
	case Hour:
		return start.Add(time.Duration(n) * time.Hour)
	case Day:
		return start.AddDate(0, 0, n)
	case Week:
		return start.AddDate(0, 0, 7*n)
	case Month:
		return start.AddDate(0, n, 0)
	}
	return start.AddDate(n, 0, 0)
}

// periods returns the beginnings of the periods of a query, and as of which milliseconds
// each is told.
func (q *SeriesQuery) periods(now time.Time) (starts []time.Time, ends []int64, err error) {
	if q.Interval == NoBucket || q.Interval > Year {
		return nil, nil, query.Wrong("interval", "it is missing: hour, day, week, month or year")
	}
	to := q.To
	if to.IsZero() || to.After(now) {
		to = now
	}
	last := q.Interval.start(to)
	from := q.Interval.after(last, 1-defaultPeriods)
	if !q.From.IsZero() {
		from = q.Interval.start(q.From)
	}
	if from.After(last) {
		return nil, nil, query.Wrong("start_time", "%s is after the end", q.From.UTC().Format(time.RFC3339))
	}
	for at := from; !at.After(last); at = q.Interval.after(from, len(starts)) {
		if len(starts) == MaxPeriods {
			return nil, nil, query.Wrong("start_time", "there would be more than %d periods: begin later, or take longer ones", MaxPeriods)
		}
		starts = append(starts, at)
		end := q.Interval.after(from, len(starts)).UnixMilli() - 1
		ends = append(ends, min(end, now.UnixMilli()))
	}
	return starts, ends, nil
}

// SeriesOf groups assets as they were at the ends of periods: exactly as Analyze does as of
// each of these moments.
func SeriesOf(ctx context.Context, e *query.Engine, scope query.Scope, q SeriesQuery) (*Serieses, error) {
	starts, ends, err := q.periods(e.Now())
	if err != nil {
		return nil, err
	}
	if q.Limit < 0 || q.Limit > MaxSeries {
		return nil, query.Wrong("limit", "%d: must be 0 to %d", q.Limit, MaxSeries)
	}
	selection := q.Selection
	// What is asked as of a moment in the past has no states but two; relative times are
	// relative to the end.
	selection.Moment = query.At(time.UnixMilli(ends[len(ends)-1]))
	a, err := newAnalysis(ctx, e, scope, Query{Selection: selection, Keys: q.Keys, Measures: q.Measures})
	if err != nil {
		return nil, err
	}
	if slices.Contains(a.each, true) {
		return nil, query.Wrong("group_by", "series cannot have an asset in several groups")
	}
	if asksRelated(a.Filter.Root) {
		return nil, query.Wrong("filter", "series cannot ask for relations: ask for each moment by itself")
	}
	if len(ends) > 1 {
		moments := make([]time.Time, len(ends)-1)
		for i := range moments {
			moments[i] = time.UnixMilli(ends[i])
		}
		a.WarnThin(moments...)
	}
	answer := &Serieses{Answered: a.Answered, Keys: a.names, Values: a.values, Times: starts}
	for _, m := range a.measures {
		answer.Kinds = append(answer.Kinds, m.kind)
	}
	limit := cmp.Or(q.Limit, 10)
	series := &series{analysis: a, ends: ends}
	top, err := series.top(ctx, limit+1)
	if err != nil {
		return nil, err
	}
	more := len(top) > limit
	top = top[:min(len(top), limit)]
	for _, g := range top {
		answer.Series = append(answer.Series, Series{Keys: g.Keys, Points: make([][]*float64, len(ends))})
	}
	if len(top) == 0 && len(a.keys) == 0 {
		answer.Series = []Series{{Points: make([][]*float64, len(ends))}}
	}
	if q.Others && more {
		answer.Others = &Series{Points: make([][]*float64, len(ends))}
	}
	if err := series.fill(ctx, answer, top); err != nil {
		return nil, err
	}
	zero := func(s *Series) {
		for i := range s.Points {
			if s.Points[i] == nil {
				s.Points[i] = a.nothing()
			}
		}
	}
	for i := range answer.Series {
		zero(&answer.Series[i])
	}
	if answer.Others != nil {
		zero(answer.Others)
	}
	return answer, nil
}

func asksRelated(n filter.Node) (found bool) {
	filter.Walk(n, func(n filter.Node) bool {
		_, related := n.(*filter.Related)
		found = found || related
		return !found
	})
	return found
}

// nothing are the values of no assets at all.
func (a *analysis) nothing() []*float64 {
	values := make([]*float64, len(a.measures))
	for i, m := range a.measures {
		if m.Function == Count || m.Function == Distinct {
			values[i] = new(float64)
		}
	}
	return values
}

// series is an analysis over periods.
type series struct {
	*analysis
	ends []int64
}

// versions returns a SELECT, in brackets, of a row for each version that was the newest at
// the end of any period, with the numbers of the first and the last of these periods.
func (a *series) versions(s *query.Statement) string {
	columns := a.columns()
	list := func(src *query.Source) string {
		texts := []string{}
		for _, c := range columns {
			texts = append(texts, c.Of(s, src)+" AS "+c.Name)
		}
		return strings.Join(texts, ", ")
	}
	comma := func(text string) string {
		if text == "" {
			return ""
		}
		return ", " + text
	}
	first := s.Whole(query.At(time.UnixMilli(a.ends[0])).Stamp())
	last := s.Whole(query.At(time.UnixMilli(a.ends[len(a.ends)-1])).Stamp())
	n := strconv.Itoa(len(a.ends))
	now := new(query.Source)
	unchanged := "SELECT toUInt32(1) AS first_, toUInt32(" + n + ") AS last_" + comma(list(now)) + " FROM asset FINAL WHERE " +
		strings.Join(append([]string{"version <= " + first}, a.Where(s, now)...), " AND ")

	past := &query.Source{History: true}
	head, conditions := list(past), a.Where(s, past)
	keys := a.Keys(s)
	changed := "(site, id) IN (SELECT site, id FROM asset WHERE " + strings.Join(append([]string{"version > " + first}, keys...), " AND ") + ")"
	ends := s.Bind("Array(Int64)", a.ends)
	// position is how many of the ends are not later than a millisecond.
	position := func(at string) string {
		return fmt.Sprintf("if(%[1]s < %[2]d, 0, indexOf(%[3]s, roundDown(%[1]s, %[3]s)))", at, a.ends[0], ends)
	}
	table := past.From(s, "("+changed+" AND version <= "+last+")")
	timed := "SELECT *, toInt64(bitShiftRight(version, 16)) AS since_, " +
		"leadInFrame(toInt64(bitShiftRight(version, 16)), 1, toInt64(9223372036854775807)) OVER (PARTITION BY site, id ORDER BY version " +
		"ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS until_ FROM " + table
	varied := "SELECT toUInt32(" + position("since_ - 1") + " + 1) AS first_, toUInt32(" + position("until_ - 1") + ") AS last_" +
		comma(head) +
		" FROM (" + timed + ") WHERE " + strings.Join(append([]string{"first_ <= last_"}, conditions...), " AND ")
	return "(" + unchanged + " UNION ALL " + varied + ")"
}

// top returns the groups with most assets, over all periods.
func (a *series) top(ctx context.Context, limit int) (groups []Group, err error) {
	if len(a.keys) == 0 {
		return nil, nil
	}
	s := new(query.Statement)
	keys := strings.Join(a.keyColumns(), ", ")
	s.Put("SELECT ", keys, " FROM ", a.versions(s), " GROUP BY ", keys, " ORDER BY sum(last_ - first_ + 1) DESC, ", keys, " LIMIT ",
		strconv.Itoa(limit))
	err = a.Run(ctx, "grouping versions", s, func(answer driver.Rows) error {
		g := Group{Keys: make([]string, len(a.keys))}
		targets := make([]any, len(g.Keys))
		for i := range g.Keys {
			targets[i] = &g.Keys[i]
		}
		if err := answer.Scan(targets...); err != nil {
			return fmt.Errorf("reading the warehouse's answer: %w", err)
		}
		groups = append(groups, g)
		return nil
	})
	return groups, err
}

// fill gives each series its points.
func (a *series) fill(ctx context.Context, answer *Serieses, top []Group) error {
	s := new(query.Statement)
	// which is the number of the series, and 0 for all others.
	which := "toUInt32(1)"
	if len(a.keys) > 0 {
		cases := make([]string, 0, 2*len(top)+1)
		for i, g := range top {
			cases = append(cases, a.among(s, []Group{g}), fmt.Sprintf("toUInt32(%d)", i+1))
		}
		which = "toUInt32(0)"
		if len(cases) > 0 {
			which = "multiIf(" + strings.Join(cases, ", ") + ", toUInt32(0))"
		}
	}
	states, merged := make([]string, len(a.measures)), make([]string, len(a.measures))
	for i, m := range a.measures {
		name, parameters, arguments := m.aggregate()
		states[i] = fmt.Sprintf("%sState%s(%s) AS s%d", name, parameters, arguments, i)
		merged[i] = fmt.Sprintf("toNullable(toFloat64(%sMerge%s(s%d)))", name, parameters, i)
	}
	condition := ""
	if answer.Others == nil && len(a.keys) > 0 {
		condition = " WHERE which_ > 0"
	}
	s.Put("SELECT which_, period_, ", strings.Join(merged, ", "), " FROM (SELECT *, arrayJoin(range(first_, last_ + 1)) AS period_ FROM "+
		"(SELECT ", which,
		" AS which_, first_, last_, ", strings.Join(states, ", "), " FROM ", a.versions(s), condition, " GROUP BY which_, first_, last_)) "+
			"GROUP BY which_, period_")
	return a.Run(ctx, "grouping versions", s, func(rows driver.Rows) error {
		var which uint32
		var period uint64
		values := make([]*float64, len(a.measures))
		targets := []any{&which, &period}
		for i := range values {
			targets = append(targets, &values[i])
		}
		if err := rows.Scan(targets...); err != nil {
			return fmt.Errorf("reading the warehouse's answer: %w", err)
		}
		series := answer.Others
		if which > 0 {
			series = &answer.Series[which-1]
		}
		if series != nil && period >= 1 && int(period) <= len(series.Points) {
			series.Points[period-1] = values
		}
		return nil
	})
}
