// Package analyze answers questions about groups of assets: facets, groups with values over
// them, series over history, and pairs that have a relation. Which assets are meant, and as of
// when, is a selection of package query, whose plans it makes its statements of.
package analyze

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/query/expression"
	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/filter"
)

const (
	// MaxKeys, MaxMeasures and MaxComputed are how many keys, values and computed values
	// an analysis has, MaxGroups how many groups are answered, MaxPivot how many values are
	// turned into columns.
	MaxKeys     = 6
	MaxMeasures = 20
	MaxComputed = 20
	MaxGroups   = 1000
	MaxPivot    = 50
)

// Bucket is the length of time that moments are grouped into.
type Bucket uint8

// The buckets, in UTC; weeks begin on Monday. The zero one groups nothing.
const (
	NoBucket Bucket = iota
	Hour
	Day
	Week
	Month
	Year
)

// Key is what assets are grouped by.
type Key struct {
	// Name is that in the answer; empty is the field.
	Name, Field string
	// Bucket groups the moments of the field.
	Bucket Bucket
	// Each has an asset with several values counted once for each of them. Otherwise it
	// is in one group, of all its values.
	Each bool
}

// Function is how values of a group become one.
type Function uint8

// The functions. Count is of assets: without a field of all, otherwise of those that have a
// value. Distinct counts different values. The others are of numbers, moments and
// durations, and take all values where an asset has several.
const (
	Count Function = iota
	Distinct
	Sum
	Average
	Min
	Max
	Quantile
)

// Measure is a value of each group.
type Measure struct {
	// Name is a word of letters, digits and underscores.
	Name     string
	Function Function
	Field    string
	// Level is that of a Quantile, above 0 and below 1.
	Level float64
	// Filter says which assets of the group count. Empty is all.
	Filter string
}

// Computed is a value that is computed of others: see [Analysis].
type Computed struct{ Name, Expression string }

// Query asks for groups of assets.
type Query struct {
	query.Selection
	// Keys may be empty: then all is one group.
	Keys []Key
	// Measures may be empty: then it is one, count.
	Measures []Measure
	// Computed are expressions over the names of measures and of computed values before.
	Computed []Computed
	// Having is a comparison of the same names that groups must fulfil.
	Having string
	// Pivot turns the values of one more key into columns, the commonest PivotLimit of
	// them (0 is 10); what is left is one more.
	Pivot      *Key
	PivotLimit int
	// Sort is by names of keys, measures and computed values; empty is the first measure,
	// the largest first.
	Sort []query.Order
	// Limit is how many groups are answered; 0 is 100.
	Limit int
	// Others adds up all groups that are not answered, Totals all that is selected.
	Others, Totals bool
}

// Group is a row of an analysis.
type Group struct {
	// Keys has the text of each key; empty where there is no value.
	Keys []string
	// Values has the measures, then what is computed. Nil is none.
	Values []*float64
	// Pivot has the values for each value of the pivot.
	Pivot [][]*float64
}

// Analysis is the answer of Analyze. Times are milliseconds since 1970, durations seconds.
type Analysis struct {
	query.Answered
	// Keys are the names of the keys, and Values those of the values.
	Keys, Values []string
	// Kinds are those of the values: filter.Numeric, filter.Time or filter.Span.
	Kinds  []filter.Kind
	Groups []Group
	// PivotValues are those of the pivot; PivotOthers says that one more stands for all
	// that are not among them.
	PivotValues []string
	PivotOthers bool
	// Others and Totals are nil where they were not asked for, or where there are no others.
	Others, Totals *Group
	// More says that there are more groups than are answered.
	More bool
}

// measure is a measure that is understood.
type measure struct {
	Measure
	kind filter.Kind
	// column has what is aggregated, of each asset, and condition which assets count.
	column, condition *query.Column
}

// analysis is what is grouped, understood.
type analysis struct {
	*query.Plan
	keys     []query.Column
	names    []string
	each     []bool
	measures []measure
	computed []*expression.Expression
	values   []string
	having   *expression.Expression
	pivot    *query.Column
}

func newAnalysis(ctx context.Context, e *query.Engine, scope query.Scope, q Query) (*analysis, error) {
	switch {
	case len(q.Keys) > MaxKeys:
		return nil, query.Wrong("group_by", "%d keys: there may be %d", len(q.Keys), MaxKeys)
	case len(q.Measures) > MaxMeasures:
		return nil, query.Wrong("values", "%d values: there may be %d", len(q.Measures), MaxMeasures)
	case len(q.Computed) > MaxComputed:
		return nil, query.Wrong("computed", "%d values: there may be %d", len(q.Computed), MaxComputed)
	case q.Limit < 0 || q.Limit > MaxGroups:
		return nil, query.Wrong("limit", "%d: must be 0 to %d", q.Limit, MaxGroups)
	case q.PivotLimit < 0 || q.PivotLimit > MaxPivot:
		return nil, query.Wrong("pivot_limit", "%d: must be 0 to %d", q.PivotLimit, MaxPivot)
	}
	p, err := e.Plan(ctx, scope, q.Selection)
	if err != nil {
		return nil, err
	}
	a := &analysis{Plan: p}
	for i, k := range q.Keys {
		c, name, err := key(p, "group_by", fmt.Sprintf("k%d", i), k)
		if err != nil {
			return nil, err
		}
		if slices.Contains(a.names, name) {
			return nil, query.Wrong("group_by", "%s is there twice", name)
		}
		a.keys, a.names, a.each = append(a.keys, c), append(a.names, name), append(a.each, k.Each)
	}
	if q.Pivot != nil {
		c, _, err := key(p, "pivot", "pivot_", *q.Pivot)
		if err != nil {
			return nil, err
		}
		a.pivot = &c
	}
	measures := q.Measures
	if len(measures) == 0 {
		measures = []Measure{{Name: "count"}}
	}
	for i, m := range measures {
		if err := a.addMeasure(i, m); err != nil {
			return nil, err
		}
	}
	for _, c := range q.Computed {
		if err := a.newName("computed", c.Name); err != nil {
			return nil, err
		}
		x, err := expression.Parse(c.Expression, a.values, false)
		if err != nil {
			return nil, &query.RequestError{Part: "computed: " + c.Name, Reason: err}
		}
		a.computed, a.values = append(a.computed, x), append(a.values, c.Name)
	}
	if q.Having != "" {
		if a.having, err = expression.Parse(q.Having, a.values, true); err != nil {
			return nil, &query.RequestError{Part: "having", Reason: err}
		}
	}
	return a, nil
}

func (a *analysis) newName(part, name string) error {
	if err := expression.CheckName(name); err != nil {
		return query.Wrong(part, "%q: %w", name, err)
	}
	if slices.Contains(a.values, name) {
		return query.Wrong(part, "%s is there twice", name)
	}
	return nil
}

// key returns the column of a key, and its name in the answer.
func key(p *query.Plan, part, column_ string, k Key) (query.Column, string, error) {
	f, err := p.Field(part, k.Field)
	if err != nil {
		return query.Column{}, "", err
	}
	c := query.Column{Name: column_, Of: p.TextOf(f)}
	if k.Bucket != NoBucket {
		at := p.Millis(f)
		start := map[Bucket]string{Hour: "toStartOfHour", Day: "toStartOfDay", Week: "toMonday", Month: "toStartOfMonth",
			Year: "toStartOfYear"}[k.Bucket]
		format := map[Bucket]string{Hour: "%Y-%m-%dT%H:00Z", Month: "%Y-%m", Year: "%Y"}[k.Bucket]
		c.Of = func(s *query.Statement, src *query.Source) string {
			return fmt.Sprintf("ifNull(formatDateTime(%s(fromUnixTimestamp64Milli(%s, 'UTC')), '%s'), '')", start, at(s, src), cmp.Or(format,
				"%Y-%m-%d"))
		}
	}
	return c, cmp.Or(k.Name, f.String()), nil
}

func (a *analysis) addMeasure(i int, m Measure) error {
	if err := a.newName("values", m.Name); err != nil {
		return err
	}
	part := "values: " + m.Name
	understood := measure{Measure: m, kind: filter.Numeric}
	if m.Function != Count && m.Field == "" {
		return query.Wrong(part, "the field is missing")
	}
	if m.Function == Quantile && !(m.Level > 0 && m.Level < 1) {
		return query.Wrong(part, "the level %v must be above 0 and below 1, as 0.95", m.Level)
	}
	if m.Field != "" {
		f, err := a.Field(part, m.Field)
		if err != nil {
			return err
		}
		values := a.Numbers(f)
		if m.Function == Count || m.Function == Distinct {
			values = a.Texts(f)
		}
		understood.column = &query.Column{Name: fmt.Sprintf("v%d", i), Of: values}
		if kind := a.KindOf(f); m.Function != Count && m.Function != Distinct && (kind == filter.Time || kind == filter.Span) {
			understood.kind = kind
			if kind == filter.Time && (m.Function == Sum || m.Function == Average) {
				return query.Wrong(part, "moments have a smallest and a largest, but no sum and no average")
			}
		}
	}
	if m.Filter != "" {
		f, err := a.FilterOf(part, m.Filter)
		if err != nil {
			return err
		}
		if f.Root != nil {
			understood.condition = &query.Column{Name: fmt.Sprintf("c%d", i), Of: func(s *query.Statement, src *query.Source) string {
				return a.Condition(s, src, f.Root)
			}}
		}
	}
	a.measures, a.values = append(a.measures, understood), append(a.values, m.Name)
	return nil
}

// aggregate returns the name of the engine's function for a measure, with its parameters
// and arguments.
func (m *measure) aggregate() (name, parameters, arguments string) {
	name, arguments = "count", ""
	if m.column != nil {
		arguments = m.column.Name
	}
	switch m.Function {
	case Count:
		if m.column != nil {
			name, arguments = "sum", "toUInt64(notEmpty("+m.column.Name+"))"
		}
	case Distinct:
		name = "uniqExactArray"
	case Sum:
		name = "sumOrNullArray"
	case Average:
		name = "avgOrNullArray"
	case Min:
		name = "minOrNullArray"
	case Max:
		name = "maxOrNullArray"
	case Quantile:
		name, parameters = "quantileExactInclusiveOrNullArray", "("+strconv.FormatFloat(m.Level, 'g', -1, 64)+")"
	}
	if m.condition != nil {
		name += "If"
		arguments = strings.TrimPrefix(arguments+", "+m.condition.Name, ", ")
	}
	return name, parameters, arguments
}

// columns are all that the groups are made of.
func (a *analysis) columns() []query.Column {
	list := slices.Clone(a.keys)
	if a.pivot != nil {
		list = append(list, *a.pivot)
	}
	for _, m := range a.measures {
		if m.column != nil {
			list = append(list, *m.column)
		}
		if m.condition != nil {
			list = append(list, *m.condition)
		}
	}
	return list
}

// rows returns a SELECT, in brackets, of what is grouped. Apart has each value of a key
// have a row of its own, where that is asked for.
func (a *analysis) rows(s *query.Statement, apart bool) string {
	columns := a.columns()
	rows := a.Plan.Rows(s, columns...)
	if !apart || !slices.Contains(a.each, true) {
		return rows
	}
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = c.Name
		if i < len(a.each) && a.each[i] {
			list[i] = fmt.Sprintf("arrayJoin(arrayDistinct(splitByChar(%s, %s_))) AS %s", s.Text(document.Separator), c.Name, c.Name)
		}
	}
	inner := make([]string, len(columns))
	for i, c := range columns {
		inner[i] = c.Name
		if i < len(a.each) && a.each[i] {
			inner[i] = c.Name + " AS " + c.Name + "_"
		}
	}
	return "(SELECT " + strings.Join(list, ", ") + " FROM (SELECT " + strings.Join(inner, ", ") + " FROM " + rows + "))"
}

// valueColumn is the column of a value.
func (a *analysis) valueColumn(name string) string {
	return "a" + strconv.Itoa(slices.Index(a.values, name))
}

// computedColumns are the values that are computed, over the measures a0, a1 ...
func (a *analysis) computedColumns(s *query.Statement) []string {
	var list []string
	for i, x := range a.computed {
		list = append(list, fmt.Sprintf("toNullable(toFloat64(%s)) AS a%d", x.SQL(a.valueColumn, s.Number), len(a.measures)+i))
	}
	return list
}

// aggregated returns the measures as columns a0, a1 ...
func (a *analysis) aggregated() []string {
	list := make([]string, len(a.measures))
	for i, m := range a.measures {
		name, parameters, arguments := m.aggregate()
		list[i] = fmt.Sprintf("toNullable(toFloat64(%s%s(%s))) AS a%d", name, parameters, arguments, i)
	}
	return list
}

// valueColumns are the names of all values.
func (a *analysis) valueColumns() []string {
	list := make([]string, len(a.values))
	for i := range list {
		list[i] = "a" + strconv.Itoa(i)
	}
	return list
}

// groups groups rows by columns, which may be none, and returns the keys and values of each
// group. tail is what follows: a condition, an order and a limit over the columns.
func (a *analysis) groups(ctx context.Context, s *query.Statement, rows string, by []string, tail string) (list []Group, err error) {
	inner := append(slices.Clone(by), append(a.aggregated(), "count() AS rows_")...)
	names := make([]string, len(by))
	for i, b := range by {
		names[i] = b
		if at := strings.LastIndex(b, " AS "); at >= 0 {
			names[i] = b[at+len(" AS "):]
		}
	}
	s.Put("SELECT ", strings.Join(append(slices.Clone(names), a.valueColumns()...), ", "), " FROM (")
	text := "SELECT " + strings.Join(inner, ", ") + " FROM " + rows
	if len(by) > 0 {
		text += " GROUP BY " + strings.Join(names, ", ")
	}
	// What is computed may need what was computed before.
	for _, c := range a.computedColumns(s) {
		text = "SELECT *, " + c + " FROM (" + text + ")"
	}
	s.Put(text, ")", tail)
	err = a.Run(ctx, "grouping assets", s, func(answer driver.Rows) error {
		g := Group{Keys: make([]string, len(by)), Values: make([]*float64, len(a.values))}
		targets := make([]any, 0, len(by)+len(a.values))
		for i := range g.Keys {
			targets = append(targets, &g.Keys[i])
		}
		for i := range g.Values {
			targets = append(targets, &g.Values[i])
		}
		if err := answer.Scan(targets...); err != nil {
			return fmt.Errorf("reading the warehouse's answer: %w", err)
		}
		list = append(list, g)
		return nil
	})
	return list, err
}

func (a *analysis) keyColumns() []string {
	list := make([]string, len(a.keys))
	for i, k := range a.keys {
		list[i] = k.Name
	}
	return list
}

// among is the condition that keys are those of one of the groups.
func (a *analysis) among(s *query.Statement, groups []Group) string {
	if len(a.keys) == 0 || len(groups) == 0 {
		return "1"
	}
	tuples := make([]string, len(groups))
	for i, g := range groups {
		places := make([]string, len(g.Keys))
		for j, k := range g.Keys {
			places[j] = s.Text(k)
		}
		tuples[i] = "(" + strings.Join(places, ", ") + ")"
		if len(places) == 1 {
			tuples[i] = places[0]
		}
	}
	return "(" + strings.Join(a.keyColumns(), ", ") + ") IN (" + strings.Join(tuples, ", ") + ")"
}

// order returns the ORDER BY of groups: in the end by the keys, so that it is always one.
func (a *analysis) order(sort []query.Order) (string, error) {
	var list []string
	for _, o := range sort {
		way := ""
		if o.Desc {
			way = " DESC"
		}
		if i := slices.Index(a.values, o.Field); i >= 0 {
			list = append(list, fmt.Sprintf("a%d%s NULLS LAST", i, way))
		} else if i := slices.Index(a.names, o.Field); i >= 0 {
			list = append(list, fmt.Sprintf("k%d%s", i, way))
		} else {
			return "", query.Wrong("order_by", "%q is no key and no value: they are %s", o.Field, strings.Join(slices.Concat(a.names, a.values), ", "))
		}
	}
	if len(sort) == 0 && len(a.keys) > 0 {
		list = append(list, "a0 DESC NULLS LAST")
	}
	list = append(list, a.keyColumns()...)
	if len(list) == 0 {
		return "", nil
	}
	return " ORDER BY " + strings.Join(list, ", "), nil
}

// Analyze groups assets.
func Analyze(ctx context.Context, e *query.Engine, scope query.Scope, q Query) (*Analysis, error) {
	a, err := newAnalysis(ctx, e, scope, q)
	if err != nil {
		return nil, err
	}
	answer := &Analysis{Answered: a.Answered, Keys: a.names, Values: a.values}
	for i := range a.values {
		kind := filter.Numeric
		if i < len(a.measures) {
			kind = a.measures[i].kind
		}
		answer.Kinds = append(answer.Kinds, kind)
	}
	limit := cmp.Or(q.Limit, 100)
	s := new(query.Statement)
	rows := a.rows(s, true)
	tail := ""
	if a.having != nil {
		tail = " WHERE " + a.having.SQL(a.valueColumn, s.Number)
	}
	order, err := a.order(q.Sort)
	if err != nil {
		return nil, err
	}
	tail += order + " LIMIT " + strconv.Itoa(limit+1)
	if answer.Groups, err = a.groups(ctx, s, rows, a.keyColumns(), tail); err != nil {
		return nil, err
	}
	if answer.More = len(answer.Groups) > limit; answer.More {
		answer.Groups = answer.Groups[:limit]
	}
	if q.Others && len(a.keys) > 0 {
		if answer.Others, err = a.whole(ctx, true, func(s *query.Statement) string { return "NOT (" + a.among(s, answer.Groups) + ")" }); err != nil {
			return nil, err
		}
		if len(answer.Groups) == 0 {
			answer.Others = nil
		}
	}
	if q.Totals {
		if answer.Totals, err = a.whole(ctx, false, func(*query.Statement) string { return "1" }); err != nil {
			return nil, err
		}
	}
	if a.pivot != nil {
		if err := a.pivoted(ctx, answer, cmp.Or(q.PivotLimit, 10)); err != nil {
			return nil, err
		}
	}
	return answer, nil
}

// whole adds up all rows that fulfil a condition: nil if there are none, unless they are all.
func (a *analysis) whole(ctx context.Context, apart bool, condition func(*query.Statement) string) (*Group, error) {
	s := new(query.Statement)
	rows := "(SELECT * FROM " + a.rows(s, apart) + " WHERE " + condition(s) + ")"
	tail := ""
	if apart {
		tail = " WHERE rows_ > 0"
	}
	list, err := a.groups(ctx, s, rows, nil, tail)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[0], nil
}

// pivoted fills in the values for each value of the pivot.
func (a *analysis) pivoted(ctx context.Context, answer *Analysis, limit int) error {
	s := new(query.Statement)
	top, err := a.groups(ctx, s, a.rows(s, true), []string{"pivot_"}, " ORDER BY rows_ DESC, pivot_ LIMIT "+strconv.Itoa(limit+1))
	if err != nil {
		return err
	}
	if answer.PivotOthers = len(top) > limit; answer.PivotOthers {
		top = top[:limit]
	}
	for _, g := range top {
		answer.PivotValues = append(answer.PivotValues, g.Keys[0])
	}
	width := len(answer.PivotValues)
	if answer.PivotOthers {
		width++
	}
	// fill gives groups, by their keys, what the rows that fulfil a condition have.
	fill := func(by []string, apart bool, condition func(*query.Statement) string, group func(keys []string) *Group) error {
		s := new(query.Statement)
		shown := s.Texts(answer.PivotValues)
		rows := "(SELECT * FROM " + a.rows(s, apart) + " WHERE " + condition(s) + ")"
		cells, err := a.groups(ctx, s, rows, append(slices.Clone(by), fmt.Sprintf("toString(indexOf(%s, pivot_)) AS at_", shown)), "")
		if err != nil {
			return err
		}
		for _, c := range cells {
			g := group(c.Keys[:len(by)])
			at, err := strconv.Atoi(c.Keys[len(by)])
			if at--; err != nil || g == nil || at >= width {
				continue
			}
			if at < 0 {
				at = width - 1
			}
			g.Pivot[at] = c.Values
		}
		return nil
	}
	byKeys := make(map[string]*Group, len(answer.Groups))
	for i := range answer.Groups {
		answer.Groups[i].Pivot = make([][]*float64, width)
		byKeys[strings.Join(answer.Groups[i].Keys, "\x00")] = &answer.Groups[i]
	}
	if err := fill(a.keyColumns(), true, func(s *query.Statement) string { return a.among(s, answer.Groups) },
		func(keys []string) *Group { return byKeys[strings.Join(keys, "\x00")] }); err != nil {
		return err
	}
	if g := answer.Others; g != nil {
		g.Pivot = make([][]*float64, width)
		if err := fill(nil, true, func(s *query.Statement) string { return "NOT (" + a.among(s, answer.Groups) + ")" },
			func([]string) *Group { return g }); err != nil {
			return err
		}
	}
	if g := answer.Totals; g != nil {
		g.Pivot = make([][]*float64, width)
		return fill(nil, false, func(*query.Statement) string { return "1" }, func([]string) *Group { return g })
	}
	return nil
}
