package query_test

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/query/analyze"
)

// modelKey is a key with what the model groups by.
type modelKey struct {
	key analyze.Key
	of  func(*state) []string
}

var modelKeys = []modelKey{
	{analyze.Key{Field: "status"}, func(v *state) []string { return []string{v.status} }},
	{analyze.Key{Field: "site"}, func(v *state) []string { return []string{v.of.site} }},
	{analyze.Key{Field: "labels.app"}, func(v *state) []string { return []string{v.labels["app"]} }},
	{analyze.Key{Field: "spec.word"}, func(v *state) []string { return []string{strings.Join(v.texts["spec.word"], "\x1f")} }},
	{analyze.Key{Field: "tags", Name: "tag", Each: true}, func(v *state) []string {
		tags := slices.Compact(slices.Sorted(slices.Values(v.texts["tags"])))
		if len(tags) == 0 {
			return []string{""}
		}
		return tags
	}},
	{analyze.Key{Field: "observed", Name: "day", Bucket: analyze.Day}, func(v *state) []string { return []string{v.observed.Format("2006-01-02")} }},
	{analyze.Key{Field: "created", Name: "hour", Bucket: analyze.Hour}, func(v *state) []string {
		if v.created.IsZero() {
			return []string{""}
		}
		return []string{v.created.Format("2006-01-02T15") + ":00Z"}
	}},
	{analyze.Key{Field: "spec.when", Name: "month", Bucket: analyze.Month}, func(v *state) []string {
		if at, ok := moments_[strings.Join(v.texts["spec.when"], "")]; ok {
			return []string{at.Format("2006-01")}
		}
		return []string{""}
	}},
}

// modelMeasure is a measure with what the model has for assets.
type modelMeasure struct {
	measure analyze.Measure
	of      func([]*state) *float64
}

// numbersOf are all values of a path that are numbers.
func numbersOf(list []*state, path string, of func(string) (float64, bool)) (numbers []float64) {
	for _, v := range list {
		for _, text := range v.texts[path] {
			if n, ok := of(text); ok {
				numbers = append(numbers, n)
			}
		}
	}
	slices.Sort(numbers)
	return numbers
}

func ofNumbers(path string, reduce func([]float64) float64) func([]*state) *float64 {
	return func(list []*state) *float64 {
		numbers := numbersOf(list, path, numberOf)
		if len(numbers) == 0 {
			return nil
		}
		return new(reduce(numbers))
	}
}

func sumOf(numbers []float64) (sum float64) {
	for _, n := range numbers {
		sum += n
	}
	return sum
}

var modelMeasures = []modelMeasure{
	{analyze.Measure{Name: "n"}, func(list []*state) *float64 { return new(float64(len(list))) }},
	{analyze.Measure{Name: "worded", Function: analyze.Count, Field: "spec.word"}, func(list []*state) *float64 {
		n := 0.0
		for _, v := range list {
			if len(v.texts["spec.word"]) > 0 {
				n++
			}
		}
		return &n
	}},
	{analyze.Measure{Name: "tags", Function: analyze.Distinct, Field: "tags"}, func(list []*state) *float64 {
		seen := make(map[string]bool)
		for _, v := range list {
			for _, text := range v.texts["tags"] {
				seen[text] = true
			}
		}
		return new(float64(len(seen)))
	}},
	{analyze.Measure{Name: "total", Function: analyze.Sum, Field: "spec.size"}, ofNumbers("spec.size", sumOf)},
	{analyze.Measure{Name: "mean", Function: analyze.Average, Field: "spec.size"}, ofNumbers("spec.size",
		func(l []float64) float64 { return sumOf(l) / float64(len(l)) })},
	{analyze.Measure{Name: "least", Function: analyze.Min, Field: "conditions.n"}, ofNumbers("conditions.n", func(l []float64) float64 { return l[0] })},
	{analyze.Measure{Name: "most", Function: analyze.Max, Field: "spec.size"}, ofNumbers("spec.size", func(l []float64) float64 { return l[len(l)-1] })},
	{analyze.Measure{Name: "q", Function: analyze.Quantile, Level: 0.75, Field: "conditions.n"}, ofNumbers("conditions.n", func(l []float64) float64 {
		at := 0.75 * float64(len(l)-1)
		i := int(at)
		if i+1 >= len(l) {
			return l[i]
		}
		return l[i] + (at-float64(i))*(l[i+1]-l[i])
	})},
	{analyze.Measure{Name: "first", Function: analyze.Min, Field: "created"}, func(list []*state) *float64 {
		var first *float64
		for _, v := range list {
			if at := float64(v.created.UnixMilli()); !v.created.IsZero() && (first == nil || at < *first) {
				first = &at
			}
		}
		return first
	}},
	{analyze.Measure{Name: "longest", Function: analyze.Max, Field: "spec.took"}, func(list []*state) *float64 {
		l := numbersOf(list, "spec.took", func(s string) (float64, bool) { n, ok := durations[s]; return n, ok })
		if len(l) == 0 {
			return nil
		}
		return new(l[len(l)-1])
	}},
}

func close_(a, b *float64) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b || math.Abs(*a-*b) <= 1e-9*max(math.Abs(*a), math.Abs(*b))
}

func equalValues(t *testing.T, what string, got, want []*float64, names []string) {
	t.Helper()
	for i := range want {
		if !close_(got[i], want[i]) {
			t.Errorf("%s: %s is %v, want %v", what, names[i], deref(got[i]), deref(want[i]))
		}
	}
}

// grouped is the model's grouping.
func grouped(list []*state, keys []modelKey) map[string][]*state {
	groups := make(map[string][]*state)
	for _, v := range list {
		tuples := []string{""}
		for _, k := range keys {
			var more []string
			for _, t := range tuples {
				for _, text := range k.of(v) {
					more = append(more, t+text+"\x00")
				}
			}
			tuples = more
		}
		for _, t := range tuples {
			groups[t] = append(groups[t], v)
		}
	}
	return groups
}

func keyText(keys []string) string {
	text := ""
	for _, k := range keys {
		text += k + "\x00"
	}
	return text
}

func measured(list []*state, measures []modelMeasure) []*float64 {
	values := make([]*float64, len(measures))
	for i, m := range measures {
		values[i] = m.of(list)
	}
	return values
}

// randomAnalysis chooses keys and measures, some with a condition of their own.
func randomAnalysis(g *generator, world func(*thing) *state, each bool) (keys []modelKey, measures []modelMeasure, q analyze.Query) {
	for _, i := range g.Perm(len(modelKeys))[:g.IntN(4)] {
		if modelKeys[i].key.Each && !each {
			continue
		}
		keys = append(keys, modelKeys[i])
		q.Keys = append(q.Keys, modelKeys[i].key)
	}
	measures = []modelMeasure{modelMeasures[0]}
	for _, i := range g.Perm(len(modelMeasures))[:1+g.IntN(5)] {
		if i > 0 {
			measures = append(measures, modelMeasures[i])
		}
	}
	for i := range measures {
		if i > 0 && g.IntN(3) == 0 {
			condition, of := g.path(), measures[i].of
			measures[i].measure.Filter = condition.text
			measures[i].of = func(list []*state) *float64 {
				var some []*state
				for _, v := range list {
					if condition.holds(v, world) {
						some = append(some, v)
					}
				}
				return of(some)
			}
		}
		q.Measures = append(q.Measures, measures[i].measure)
	}
	return keys, measures, q
}

func (e *estate) selected(q question, m query.Moment) []*state {
	at := e.worldAt(m)
	var list []*state
	for _, t := range e.things {
		if v := at(t); v != nil && !v.deleted && q.holds(v, at) {
			list = append(list, v)
		}
	}
	return list
}

// TestAnalyses holds groups against the model, now and as of moments.
func TestAnalyses(t *testing.T) {
	_, estate := newEngine(t, 23, 120, 4)
	e := estate.engine(query.Options{Catalogue: testKinds})
	g := &generator{Rand: rand.New(rand.NewPCG(8, 9)), estate: estate}
	for round := range 15 {
		moment := query.Moment{}
		if round%3 == 2 {
			moment = query.At(estate.start.Add(time.Duration(g.IntN(70)) * time.Hour))
		}
		all := question{"", func(*state, func(*thing) *state) bool { return true }}
		if g.IntN(3) == 0 {
			all = g.fixed()
		}
		keys, measures, q := randomAnalysis(g, estate.worldAt(moment), true)
		q.Filter, q.Moment, q.Limit = all.text, moment, 1000
		q.Computed = []analyze.Computed{{Name: "twice", Expression: "n * 2"}, {Name: "part", Expression: "twice / (n - 1)"}}
		selected := estate.selected(all, moment)
		groups := grouped(selected, keys)
		a, err := analyze.Analyze(t.Context(), e, query.All(), q)
		if err != nil {
			t.Fatalf("%+v: %v", q, err)
		}
		if len(keys) == 0 && len(selected) == 0 {
			groups[""] = nil
		}
		if len(a.Groups) != len(groups) {
			t.Errorf("%+v: %d groups, want %d", q, len(a.Groups), len(groups))
		}
		for _, group := range a.Groups {
			list, ok := groups[keyText(group.Keys)]
			if !ok {
				t.Errorf("%+v: there is no group %q", q, group.Keys)
				continue
			}
			want := measured(list, measures)
			want = append(want, new(2*float64(len(list))), nil)
			if len(list) != 1 {
				want[len(want)-1] = new(2 * float64(len(list)) / (float64(len(list)) - 1))
			}
			equalValues(t, fmt.Sprintf("%q as of %v by %q", group.Keys, moment.Time(), q.Filter), group.Values, want, a.Values)
		}
		// The first ones, and what is left of them.
		top := q
		top.Limit, top.Others, top.Totals = 2, true, true
		if round%2 == 0 {
			top.Having = "n > 1 AND NOT twice < 3"
		}
		b, err := analyze.Analyze(t.Context(), e, query.All(), top)
		if err != nil {
			t.Fatalf("%+v: %v", top, err)
		}
		rest := 0.0
		for _, group := range b.Groups {
			delete(groups, keyText(group.Keys))
		}
		larger := false
		for _, list := range groups {
			rest += float64(len(list))
			for _, group := range b.Groups {
				larger = larger || float64(len(list)) > *group.Values[0]
			}
		}
		if larger && len(b.Groups) == 2 {
			t.Errorf("%+v: the groups are not the largest: %v", top, b.Groups)
		}
		if b.Others != nil && *b.Others.Values[0] != rest || b.Others == nil && len(b.Groups) > 0 && rest > 0 {
			t.Errorf("%+v: others are %+v, want %v", top, b.Others, rest)
		}
		equalValues(t, "totals", b.Totals.Values, measured(selected, measures), b.Values)
		if t.Failed() {
			return
		}
	}
}

func TestPivots(t *testing.T) {
	e, estate := newEngine(t, 29, 120, 3)
	selected := estate.selected(question{"", func(*state, func(*thing) *state) bool { return true }}, query.Moment{})
	a, err := analyze.Analyze(t.Context(), e, query.All(), analyze.Query{Keys: []analyze.Key{{Field: "type"}}, Pivot: &analyze.Key{Field: "spec.word"}, PivotLimit: 4,
		Limit: 2, Others: true,
		Totals: true, Measures: []analyze.Measure{{Name: "n"}, {Name: "sites", Function: analyze.Distinct, Field: "site"}}})
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Groups) != 2 || len(a.PivotValues) != 4 || !a.PivotOthers || a.Others == nil || !a.More {
		t.Fatalf("%+v", a)
	}
	check := func(what string, group *analyze.Group, of func(*state) bool) {
		for i, cell := range group.Pivot {
			n, sites := 0.0, map[string]bool{}
			for _, v := range selected {
				word := strings.Join(v.texts["spec.word"], "\x1f")
				here := i < 4 && word == a.PivotValues[i] || i == 4 && !slices.Contains(a.PivotValues, word)
				if of(v) && here {
					n++
					sites[v.of.site] = true
				}
			}
			switch {
			case cell == nil && n != 0:
				t.Errorf("%s, %d: nothing, want %v", what, i, n)
			case cell != nil && (*cell[0] != n || *cell[1] != float64(len(sites))):
				t.Errorf("%s, %d: %v and %v, want %v and %d", what, i, *cell[0], *cell[1], n, len(sites))
			}
		}
	}
	shown := []string{a.Groups[0].Keys[0], a.Groups[1].Keys[0]}
	for i := range a.Groups {
		check(shown[i], &a.Groups[i], func(v *state) bool { return v.of.kind == shown[i] })
	}
	check("others", a.Others, func(v *state) bool { return !slices.Contains(shown, v.of.kind) })
	check("totals", a.Totals, func(*state) bool { return true })
}

func TestFacets(t *testing.T) {
	e, estate := newEngine(t, 31, 120, 4)
	fields := map[string]func(*state) []string{
		"type": func(v *state) []string { return []string{v.of.kind} }, "status": func(v *state) []string { return one(v.status) },
		"tags": func(v *state) []string { return v.texts["tags"] }, "spec.word": func(v *state) []string { return v.texts["spec.word"] },
		"labels.app": func(v *state) []string { return one(v.labels["app"]) }, "state": func(*state) []string { return []string{"ACTIVE"} },
		"conditions.sub.x": func(v *state) []string { return v.texts["conditions.sub.x"] }, "spec.nothing": func(*state) []string { return nil },
	}
	names := slices.Sorted(maps.Keys(fields))
	for _, moment := range []query.Moment{{}, query.At(estate.start.Add(40 * time.Hour))} {
		got, err := analyze.FacetsOf(t.Context(), e, query.All(), analyze.FacetQuery{Selection: query.Selection{Filter: "-status=down", Moment: moment}, Fields: names,
			Limit: 3})
		if err != nil {
			t.Fatal(err)
		}
		selected := estate.selected(question{"", func(v *state, _ func(*thing) *state) bool { return v.status != "down" }}, moment)
		for i, name := range names {
			counts, missing := make(map[string]int64), int64(0)
			for _, v := range selected {
				texts := slices.Compact(slices.Sorted(slices.Values(fields[name](v))))
				for _, text := range texts {
					counts[text]++
				}
				if len(texts) == 0 {
					missing++
				}
			}
			values := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
				return cmp.Or(cmp.Compare(counts[b], counts[a]),
					cmp.Compare(a, b))
			})
			f := got.Facets[i]
			if f.Field != name || f.Distinct != int64(len(counts)) || f.Missing != missing || len(f.Values) != min(3, len(values)) {
				t.Errorf("%s as of %v: %+v, want %v, %d missing", name, moment.Time(), f, counts, missing)
				continue
			}
			for j, v := range f.Values {
				if v.Value != values[j] || v.Count != counts[v.Value] {
					t.Errorf("%s as of %v: %+v, want %v", name, moment.Time(), f, counts)
				}
			}
		}
	}
}

// periodEnds are the last milliseconds of the hours or days of a query.
func periodEnds(q analyze.SeriesQuery, now time.Time) (ends []int64) {
	length, to := time.Hour, q.To
	if q.Interval == analyze.Day {
		length = 24 * time.Hour
	}
	if to.IsZero() || to.After(now) {
		to = now
	}
	for at := q.From.UTC().Truncate(length); !at.After(to); at = at.Add(length) {
		ends = append(ends, min(at.Add(length).UnixMilli()-1, now.UnixMilli()))
	}
	return ends
}

// TestSeries holds series against the model as of the end of each period.
func TestSeries(t *testing.T) {
	_, estate := newEngine(t, 37, 80, 5)
	e := estate.engine(query.Options{Catalogue: testKinds})
	g := &generator{Rand: rand.New(rand.NewPCG(10, 11)), estate: estate}
	for round := range 8 {
		q := analyze.SeriesQuery{Interval: analyze.Hour, From: estate.start.Add(time.Duration(g.IntN(30)) * time.Hour), Limit: 100}
		q.To = q.From.Add(time.Duration(g.IntN(60)) * time.Hour)
		if round%4 == 0 {
			q = analyze.SeriesQuery{Interval: analyze.Day, From: estate.start.Add(-30 * time.Hour), Limit: 2, Others: true}
		}
		ends := periodEnds(q, estate.end)
		last := query.At(time.UnixMilli(ends[len(ends)-1]))
		all := g.path()
		keys, measures, a := randomAnalysis(g, estate.worldAt(last), false)
		q.Keys, q.Measures, q.Filter = a.Keys, a.Measures, all.text
		answer, err := analyze.SeriesOf(t.Context(), e, query.All(), q)
		if err != nil {
			t.Fatalf("%+v: %v", q, err)
		}
		if len(answer.Times) != len(ends) {
			t.Fatalf("%d times, want %d", len(answer.Times), len(ends))
		}
		found := make(map[string]*analyze.Series)
		for i := range answer.Series {
			found[keyText(answer.Series[i].Keys)] = &answer.Series[i]
		}
		for i, end := range ends {
			at := estate.worldAt(query.At(time.UnixMilli(end)))
			var selected []*state
			for _, th := range estate.things {
				// Relative times are relative to the end of the series.
				if v := at(th); v != nil && !v.deleted && all.holds(v, estate.worldAt(last)) {
					selected = append(selected, v)
				}
			}
			groups := grouped(selected, keys)
			if len(keys) == 0 && len(selected) == 0 {
				groups[""] = nil
			}
			var others []*state
			for key, list := range groups {
				if s := found[key]; s != nil {
					equalValues(t, fmt.Sprintf("%s %q at %d %v", q.Filter, key, i, answer.Times[i]), s.Points[i], measured(list, measures), answer.Values)
				} else {
					others = append(others, list...)
				}
			}
			for key, s := range found {
				if groups[key] == nil && *s.Points[i][0] != 0 {
					t.Errorf("%s %q at %v: %v, want nothing", q.Filter, key, answer.Times[i], *s.Points[i][0])
				}
			}
			if answer.Others != nil {
				equalValues(t, "others", answer.Others.Points[i], measured(others, measures), answer.Values)
			} else if len(others) > 0 {
				t.Errorf("%s at %v: %d assets are in no series", q.Filter, answer.Times[i], len(others))
			}
		}
		if t.Failed() {
			return
		}
	}
}

// TestJoins holds pairs against the model, page by page.
func TestJoins(t *testing.T) {
	e, estate := newEngine(t, 41, 60, 3)
	g := &generator{Rand: rand.New(rand.NewPCG(12, 13)), estate: estate}
	provider := func(kind string) string { p, _, _ := strings.Cut(kind, "."); return p }
	for round := range 6 {
		moment := query.Moment{}
		if round%2 == 1 {
			moment = query.At(estate.start.Add(time.Duration(20+g.IntN(50)) * time.Hour))
		}
		left, right := g.fixed(), g.path()
		kind := pick(g.Rand, []string{"", "runs_on", "attached_to"})
		q := analyze.JoinQuery{Left: query.Selection{Filter: left.text, Moment: moment}, Right: query.Selection{Filter: right.text}, Relation: kind,
			Limit:       10 + g.IntN(40),
			LeftColumns: []string{"spec.word"}, RightColumns: []string{"status", "labels.app"}, Outer: round%4 < 2}
		var want []string
		rights := estate.selected(right, moment)
		for _, l := range estate.selected(left, moment) {
			some := false
			for _, r := range rights {
				leads := func(a, b *state) bool {
					return slices.ContainsFunc(a.edges, func(x edge) bool {
						return (kind == "" || x.kind == kind) && x.toType == b.of.kind && x.toUID == b.of.uid &&
							(a.of.site == b.of.site || provider(a.of.kind) != provider(b.of.kind))
					})
				}
				if leads(l, r) || leads(r, l) {
					some = true
					want = append(want, l.key()+" - "+r.key()+" "+strings.Join(l.texts["spec.word"], ",")+" "+r.status)
				}
			}
			if !some && q.Outer {
				want = append(want, l.key()+" - nothing")
			}
		}
		var got []string
		for {
			page, err := analyze.Join(t.Context(), e, query.All(), q)
			if err != nil {
				t.Fatalf("%+v: %v", q, err)
			}
			for _, p := range page.Pairs {
				text := p.Left.Site + " " + p.Left.Type + " " + p.Left.UID + " - nothing"
				if p.Right != nil {
					text = strings.TrimSuffix(text, "nothing") + p.Right.Site + " " + p.Right.Type + " " + p.Right.UID + " " +
						strings.Join(p.Left.Values[0], ",") + " " +
						strings.Join(p.Right.Values[0], ",")
				}
				got = append(got, text)
			}
			if q.Token = page.Next; q.Token == "" {
				break
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("%s joined by %q to %s, outer %v, at %v:\n got  %d, more %v\n want %d, more %v", left.text, kind, right.text, q.Outer,
				moment.Time(), len(got),
				few(got, want), len(want), few(want, got))
		}
	}
}

func deref[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}
