// Package metric samples questions about groups of assets on a schedule, and answers the
// series that come of it.
//
// A metric's moments are the multiples of its interval since 1970. A sample is what
// query.Engine's Analyze answers as of its moment. As the warehouse has the history, that
// is the same whether it is asked ten seconds after the moment or a week: what was missed
// while the aggregator was off is filled exactly, and so is what was before the metric. What
// cannot be filled is a gap, and no value.
//
// A sample is one row of the warehouse with all of its groups: it is there as a whole or
// not at all, and one that is taken again takes the place of the one before.
package metric

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/query/analyze"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/filter"
)

const (
	// MinInterval and MaxInterval bound how long it is from one sample to the next.
	MinInterval = time.Minute
	MaxInterval = 7 * 24 * time.Hour
	// DefaultInterval is that of a metric that says nothing.
	DefaultInterval = 5 * time.Minute
	// MaxKeepDays is for how long samples are kept at most, unless they are for ever.
	MaxKeepDays = 36500
	// MaxLabels, MaxValues and MaxGroups are how many labels, values and groups a sample
	// has at most. What is in more groups is added up as the others.
	MaxLabels = analyze.MaxKeys
	MaxValues = 10
	MaxGroups = 1000
	// DefaultGroups is how many groups are kept where a metric says nothing.
	DefaultGroups = 100
	// maxLabelBytes is how long the text of a label is: what is longer is cut, and ends with
	// a hash that tells it from others.
	maxLabelBytes = 256
	// maxQuestion is the size of a question as it is kept.
	maxQuestion = 32 << 10
)

// Question is what a metric asks.
type Question struct {
	Filter string `json:"filter,omitempty"`
	Site   string `json:"site,omitempty"`
	Type   string `json:"type,omitempty"`
	// Labels are what assets are grouped by. There may be none.
	Labels []Label `json:"labels,omitempty"`
	// Values are what is kept of each group. Without any it is the count.
	Values []Value `json:"values,omitempty"`
	// Groups is how many groups are kept: those whose first value is largest. 0 is
	// DefaultGroups.
	Groups int `json:"groups,omitempty"`
}

// Label is what assets are grouped by; see analyze.Key.
type Label struct {
	Name   string `json:"name,omitempty"`
	Field  string `json:"field"`
	Bucket string `json:"bucket,omitempty"`
	Each   bool   `json:"each,omitempty"`
}

// Value is a value of each group; see analyze.Measure.
type Value struct {
	Name     string  `json:"name"`
	Function string  `json:"function,omitempty"`
	Field    string  `json:"field,omitempty"`
	Level    float64 `json:"level,omitempty"`
	Filter   string  `json:"filter,omitempty"`
}

// buckets and functions are the words of questions for those of package query.
var (
	buckets   = []string{analyze.NoBucket: "", analyze.Hour: "hour", analyze.Day: "day", analyze.Week: "week", analyze.Month: "month", analyze.Year: "year"}
	functions = []string{analyze.Count: "count", analyze.Distinct: "distinct", analyze.Sum: "sum", analyze.Average: "avg", analyze.Min: "min",
		analyze.Max: "max", analyze.Quantile: "quantile"}
)

// NewQuestion returns the question of an analysis. What else an analysis may have, as
// computed values, it has not.
func NewQuestion(q analyze.Query) Question {
	out := Question{Filter: q.Filter, Site: q.Site, Type: q.Type, Groups: q.Limit}
	for _, k := range q.Keys {
		out.Labels = append(out.Labels, Label{Name: k.Name, Field: k.Field, Bucket: buckets[k.Bucket], Each: k.Each})
	}
	for _, m := range q.Measures {
		out.Values = append(out.Values, Value{Name: m.Name, Function: functions[m.Function], Field: m.Field, Level: m.Level, Filter: m.Filter})
	}
	return out
}

// ParseQuestion reads a question as it is kept.
func ParseQuestion(text []byte) (Question, error) {
	var q Question
	if err := json.Unmarshal(text, &q); err != nil {
		return q, fmt.Errorf("reading what a metric asks: %w", err)
	}
	return q, nil
}

// Analysis returns the question as package query asks it as of a moment.
func (q *Question) Analysis(moment query.Moment, class query.Class) (analyze.Query, error) {
	a := analyze.Query{Selection: query.Selection{Filter: q.Filter, Site: q.Site, Type: q.Type, Moment: moment, Class: class}, Limit: q.Groups}
	if a.Limit == 0 {
		a.Limit = DefaultGroups
	}
	for _, l := range q.Labels {
		at := slices.Index(buckets, l.Bucket)
		if at < 0 {
			return a, fmt.Errorf("labels: %q is not a length of periods", l.Bucket)
		}
		a.Keys = append(a.Keys, analyze.Key{Name: l.Name, Field: l.Field, Bucket: analyze.Bucket(at), Each: l.Each})
	}
	for _, v := range q.Values {
		at := slices.Index(functions, v.Function)
		if v.Function == "" {
			at = int(analyze.Count)
		}
		if at < 0 {
			return a, fmt.Errorf("values: %q is not a function", v.Function)
		}
		a.Measures = append(a.Measures, analyze.Measure{Name: v.Name, Function: analyze.Function(at), Field: v.Field, Level: v.Level, Filter: v.Filter})
	}
	return a, nil
}

// Encode returns the question as it is kept.
func (q *Question) Encode() (json.RawMessage, error) {
	text, err := json.Marshal(q)
	if err != nil {
		return nil, fmt.Errorf("encoding what a metric asks: %w", err)
	}
	return text, nil
}

var names = regexp.MustCompile(`^[a-z][a-z0-9_.-]{0,62}$`)

// CheckName returns an error unless a metric can have the name.
func CheckName(name string) error {
	if !names.MatchString(name) {
		return fmt.Errorf("must be 1 to 63 of a-z, 0-9, dots, hyphens and underscores, and begin with a letter, as in servers.by-status")
	}
	return nil
}

// A FieldError says which part of a metric is wrong.
type FieldError struct {
	// Field is the name of the part, as the API has it.
	Field  string
	Reason error
}

// Error implements error.
func (e *FieldError) Error() string { return e.Field + ": " + e.Reason.Error() }

// Unwrap returns the reason.
func (e *FieldError) Unwrap() error { return e.Reason }

func wrong(field, format string, args ...any) error {
	return &FieldError{field, fmt.Errorf(format, args...)}
}

// Check returns an error unless a metric can be kept. It asks nothing: whether its question
// can be answered is found out by asking it ([Ask]).
func Check(m *registry.Metric) error {
	if err := CheckName(m.Name); err != nil {
		return &FieldError{"name", err}
	}
	for _, t := range []struct {
		field, text string
		most        int
	}{{"title", m.Title, 100}, {"description", m.Description, 2000}, {"unit", m.Unit, 32}} {
		switch {
		case len(t.text) > t.most:
			return wrong(t.field, "%d bytes: must be at most %d", len(t.text), t.most)
		case !utf8.ValidString(t.text) || strings.ContainsFunc(t.text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' }):
			return wrong(t.field, "must have no control characters")
		}
	}
	interval := time.Duration(m.IntervalSeconds) * time.Second
	switch {
	case m.IntervalSeconds < int64(MinInterval/time.Second) || m.IntervalSeconds > int64(MaxInterval/time.Second):
		return wrong("interval", "%ds: must be %v to %v", m.IntervalSeconds, MinInterval, MaxInterval)
	case interval%time.Minute != 0:
		return wrong("interval", "%v: must be whole minutes", interval)
	case m.KeepDays < 0 || m.KeepDays > MaxKeepDays:
		return wrong("keep", "%d days: must be 0, for ever, to %d", m.KeepDays, MaxKeepDays)
	case len(m.Question) > maxQuestion:
		return wrong("selection", "the question has %d bytes: must be at most %d", len(m.Question), maxQuestion)
	}
	q, err := ParseQuestion(m.Question)
	if err != nil {
		return err
	}
	switch {
	case len(q.Labels) > MaxLabels:
		return wrong("labels", "%d of them: must be at most %d", len(q.Labels), MaxLabels)
	case len(q.Values) > MaxValues:
		return wrong("values", "%d of them: must be at most %d", len(q.Values), MaxValues)
	case q.Groups < 0 || q.Groups > MaxGroups:
		return wrong("limit", "%d: must be 0 to %d", q.Groups, MaxGroups)
	}
	f, err := filter.Parse(q.Filter)
	if err != nil {
		return err
	}
	// Who was heard from at a moment is not known later, so a series would show none.
	never := false
	filter.Walk(f.Root, func(n filter.Node) bool {
		if c, ok := n.(*filter.Compare); ok && c.Field.Space == filter.Fixed && c.Field.Name == "state" {
			never = never || slices.ContainsFunc(c.Values, func(v filter.Value) bool { return strings.EqualFold(v.Text, "DISCONNECTED") })
		}
		return true
	})
	if never {
		return wrong("selection.filter", "samples are as of moments that are over, of which it is not known who was DISCONNECTED: leave that out")
	}
	return nil
}

// Ask asks a question as of a moment.
func Ask(ctx context.Context, e *query.Engine, q *Question, moment query.Moment, class query.Class) (*analyze.Analysis, error) {
	asked, err := q.Analysis(moment, class)
	if err != nil {
		return nil, err
	}
	answer, err := analyze.Analyze(ctx, e, query.All(), asked)
	if err == nil && answer.More {
		// What is in other groups costs a statement of its own, which most need not.
		asked.Others = true
		answer, err = analyze.Analyze(ctx, e, query.All(), asked)
	}
	return answer, err
}

// sample is an answer as it is kept.
func sample(a *analyze.Analysis) *warehouse.MetricSample {
	s := &warehouse.MetricSample{Labels: make([][]string, len(a.Groups)), Values: make([][]*float64, len(a.Groups))}
	for i, g := range a.Groups {
		s.Labels[i], s.Values[i] = make([]string, len(g.Keys)), g.Values
		for j, text := range g.Keys {
			s.Labels[i][j] = bounded(text)
		}
	}
	if a.Others != nil {
		s.Others = a.Others.Values
	}
	return s
}

// bounded is the text of a label, cut where it is too long.
func bounded(text string) string {
	if len(text) <= maxLabelBytes {
		return text
	}
	hash := sha256.Sum256([]byte(text))
	end := maxLabelBytes - len("...#12345678")
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return fmt.Sprintf("%s...#%x", text[:end], hash[:4])
}

// LabelNames are the names of the labels of a question, in their order.
func (q *Question) LabelNames() []string {
	list := make([]string, len(q.Labels))
	for i, l := range q.Labels {
		if list[i] = l.Name; l.Name == "" {
			list[i] = l.Field
			if f, err := fieldOf(l.Field); err == nil {
				list[i] = f.String()
			}
		}
	}
	return list
}

// ValueNames are the names of the values of a question, in their order.
func (q *Question) ValueNames() []string {
	if len(q.Values) == 0 {
		return []string{"count"}
	}
	list := make([]string, len(q.Values))
	for i, v := range q.Values {
		list[i] = v.Name
	}
	return list
}

// NewBackfill returns a backfill of a metric, with how many moments it has. Without a last
// one it is up to now. known is since when the history has everything; zero is never.
func NewBackfill(m *registry.Metric, first, last, known, now time.Time) (*registry.MetricBackfill, int64, error) {
	interval := time.Duration(m.IntervalSeconds) * time.Second
	if first.IsZero() {
		return nil, 0, wrong("start_time", "it is missing: since when")
	}
	if last.IsZero() || last.After(now) {
		last = now
	}
	if last.Before(first) {
		return nil, 0, wrong("end_time", "%s is before the start", last.UTC().Format(time.RFC3339))
	}
	if known.IsZero() || known.After(last) {
		return nil, 0, wrong("end_time", "%s is before all of the history that there is", last.UTC().Format(time.RFC3339))
	}
	if m.KeepDays > 0 {
		first = latest(first, now.AddDate(0, 0, -int(m.KeepDays)))
	}
	b := &registry.MetricBackfill{From: from(latest(first, known), interval), To: grid(last, interval), RequestTime: now.UTC().Truncate(time.Millisecond)}
	n := int64(b.To.Sub(b.From)/interval) + 1
	switch {
	case b.To.Before(b.From):
		return nil, 0, wrong("start_time", "no moment of the metric lies between it and the end")
	case n > MaxBackfill:
		return nil, 0, wrong("start_time", "that are %d moments: there may be %d at once; take %s or later, and what is before when that is done", n,
			MaxBackfill, b.To.Add(-(MaxBackfill-1)*interval).Format(time.RFC3339))
	}
	return b, n, nil
}
