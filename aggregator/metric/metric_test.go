package metric

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/query/analyze"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/pkg/filter"
)

func TestCheck(t *testing.T) {
	good := registry.Metric{Name: "servers", IntervalSeconds: 300, Question: json.RawMessage(`{"labels":[{"field":"status"}]}`)}
	if err := Check(&good); err != nil {
		t.Fatal(err)
	}
	long := `{"labels":[` + strings.Repeat(`{"field":"a"},`, MaxLabels) + `{"field":"a"}]}`
	for name, test := range map[string]struct {
		change func(*registry.Metric)
		want   string
	}{
		"no name":         {func(m *registry.Metric) { m.Name = "" }, "name: must be"},
		"strange name":    {func(m *registry.Metric) { m.Name = "../x" }, "name: must be"},
		"too often":       {func(m *registry.Metric) { m.IntervalSeconds = 59 }, "interval: 59s"},
		"odd interval":    {func(m *registry.Metric) { m.IntervalSeconds = 90 }, "whole minutes"},
		"too rarely":      {func(m *registry.Metric) { m.IntervalSeconds = 1 << 40 }, "interval: "},
		"kept backwards":  {func(m *registry.Metric) { m.KeepDays = -1 }, "keep: -1 days"},
		"control in unit": {func(m *registry.Metric) { m.Unit = "a\x1b[" }, "unit: must have"},
		"many labels":     {func(m *registry.Metric) { m.Question = json.RawMessage(long) }, "labels: 7 of them"},
		"many groups":     {func(m *registry.Metric) { m.Question = json.RawMessage(`{"groups":1001}`) }, "limit: 1001"},
		"disconnected":    {func(m *registry.Metric) { m.Question = json.RawMessage(`{"filter":"NOT state:disconnected"}`) }, "DISCONNECTED"},
		"wrong filter":    {func(m *registry.Metric) { m.Question = json.RawMessage(`{"filter":"a=("}`) }, "filter: "},
		"wrong question":  {func(m *registry.Metric) { m.Question = json.RawMessage(`{`) }, "reading what a metric asks"},
	} {
		t.Run(name, func(t *testing.T) {
			m := good
			test.change(&m)
			if err := Check(&m); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

func TestShipped(t *testing.T) {
	list := Shipped(time.Now())
	seen := make(map[string]bool)
	for _, m := range list {
		if err := Check(&m); err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
		q, err := ParseQuestion(m.Question)
		if err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
		if _, err := q.Analysis(query.Moment{}, query.Background); err != nil || m.Title == "" || m.Series == "" || seen[m.Name] {
			t.Errorf("%+v: %v", m, err)
		}
		seen[m.Name] = true
	}
	if len(list) < 4 {
		t.Errorf("%d metrics", len(list))
	}
}

func TestQuestion(t *testing.T) {
	asked := analyze.Query{Selection: query.Selection{Filter: "a=b", Site: "west", Type: "x.y.Z"}, Limit: 7,
		Keys: []analyze.Key{{Field: "status"}, {Name: "day", Field: "created", Bucket: analyze.Day}, {Field: "tags", Each: true}, {Field: "created",
			Bucket: analyze.Year}},
		Measures: []analyze.Measure{{Name: "n"}, {Name: "p", Function: analyze.Quantile, Field: "x", Level: 0.9, Filter: "b=c"},
			{Name: "m", Function: analyze.Max, Field: "x"}}}
	q := NewQuestion(asked)
	text, err := q.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if q, err = ParseQuestion(text); err != nil {
		t.Fatal(err)
	}
	back, err := q.Analysis(query.Moment{}, query.Interactive)
	if err != nil {
		t.Fatal(err)
	}
	before, _ := json.Marshal(asked)
	after, _ := json.Marshal(back)
	if string(before) != string(after) {
		t.Errorf("%s\nbecame %s", before, after)
	}
	for _, wrong := range []string{`{"labels":[{"field":"a","bucket":"decade"}]}`, `{"values":[{"name":"a","function":"mode"}]}`} {
		if q, err = ParseQuestion([]byte(wrong)); err != nil {
			t.Fatal(err)
		}
		if _, err := q.Analysis(query.Moment{}, query.Interactive); err == nil {
			t.Errorf("%s is taken", wrong)
		}
	}
}

func TestBounded(t *testing.T) {
	for _, text := range []string{"", "a", strings.Repeat("x", maxLabelBytes)} {
		if got := bounded(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
	a, b := bounded(strings.Repeat("ü", maxLabelBytes)+"a"), bounded(strings.Repeat("ü", maxLabelBytes)+"b")
	if a == b || len(a) > maxLabelBytes || strings.ToValidUTF8(a, "") != a {
		t.Errorf("%q and %q", a, b)
	}
}

func TestNewBackfill(t *testing.T) {
	now := time.Date(2026, 3, 10, 12, 3, 0, 0, time.UTC)
	at := func(h int) time.Time { return now.Add(time.Duration(h) * time.Hour) }
	m := &registry.Metric{IntervalSeconds: 600, KeepDays: 5}
	for name, test := range map[string]struct {
		first, last, known time.Time
		n                  int64
		from               string
		want               string
	}{
		"an hour":                   {first: at(-1), known: at(-100), n: 6, from: "11:10:00"},
		"the history is shorter":    {first: at(-5), known: at(-1), n: 6, from: "11:10:00"},
		"kept shorter":              {first: at(-500), known: at(-1000), n: 720, from: "12:10:00"},
		"no start":                  {known: at(-100), want: "start_time"},
		"backwards":                 {first: at(-1), last: at(-2), known: at(-100), want: "end_time"},
		"nothing known":             {first: at(-1), want: "history"},
		"before the history":        {first: at(-3), last: at(-2), known: at(-1), want: "history"},
		"shorter than the interval": {first: now.Add(-time.Minute), known: at(-100), want: "no moment"},
	} {
		t.Run(name, func(t *testing.T) {
			b, n, err := NewBackfill(m, test.first, test.last, test.known, now)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error %v, want %q", err, test.want)
				}
				return
			}
			if err != nil || n != test.n || b.From.Format(time.TimeOnly) != test.from {
				t.Errorf("%+v, %d, %v", b, n, err)
			}
		})
	}
	m = &registry.Metric{IntervalSeconds: 60}
	_, _, err := NewBackfill(m, now.AddDate(0, 0, -36), now, at(-10000), now)
	if e, ok := errors.AsType[*FieldError](err); !ok || e.Field != "start_time" || !strings.Contains(err.Error(), "2026-02-03T18:44:00Z or later") {
		t.Errorf("too many: %v", err)
	}
}

func TestMatcher(t *testing.T) {
	q := &Question{Labels: []Label{{Field: "status"}, {Field: "labels.app"}, {Name: "flavor", Field: "spec.flavor"}, {Field: "tags", Each: true}}}
	labels := []string{"ACTIVE", "web", "m1.small", "a\x1fb"}
	for text, want := range map[string]string{
		"": "yes", "status=ACTIVE": "yes", "status:(ERROR OR ACTIVE)": "yes", "status!=ACTIVE": "no", "labels.app=web flavor=m1.small": "yes",
		"flavor:m1*": "yes", "flavor:*": "yes", "tags=b": "yes", "tags=c": "no", "small": "yes", "large": "no", "NOT flavor=m1.large": "yes",
		"spec.flavor=m1.small": "is no label", "name=x": "is no label", "related(runs_on)": "no relations", "status=(": "bracket",
	} {
		m, err := newMatcher(text, q, time.Now())
		got := ""
		if err != nil {
			if _, ok := errors.AsType[filter.Errors](err); !ok {
				t.Errorf("%s: %v is no error of a filter", text, err)
			}
			got = err.Error()
		} else {
			holds, err := m.match(labels)
			if err != nil {
				t.Errorf("%s: %v", text, err)
			}
			got = map[bool]string{true: "yes", false: "no"}[holds]
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestNice(t *testing.T) {
	for _, test := range []struct{ interval, length, want time.Duration }{
		{time.Minute, time.Hour, time.Minute}, {5 * time.Minute, 24 * time.Hour, 5 * time.Minute}, {time.Minute, 24 * time.Hour, 5 * time.Minute},
		{5 * time.Minute, 30 * 24 * time.Hour, 6 * time.Hour}, {7 * time.Minute, 30 * 24 * time.Hour, 91 * time.Minute},
		{time.Hour, 100 * 365 * 24 * time.Hour, 1752 * time.Hour},
	} {
		if got := nice(test.interval, test.length); got != test.want {
			t.Errorf("%v of %v: %v, want %v", test.interval, test.length, got, test.want)
		}
	}
}
