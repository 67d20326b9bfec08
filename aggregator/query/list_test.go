package query_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/filter"
)

// kindsOf is a catalogue that knows the kinds of some paths, and all paths but one.
type kindsOf map[string]filter.Kind

func (k kindsOf) Kind(_, path string) filter.Kind { return k[path] }
func (k kindsOf) Known(_, path string) (bool, []string) {
	switch path {
	case "spec.wrod":
		return false, []string{"spec.word"}
	case "naem":
		return false, nil
	}
	return true, nil
}

func (k kindsOf) Below(_, path string) ([]string, bool) { return nil, false }

var testKinds = kindsOf{"spec.size": filter.Numeric, "spec.when": filter.Time, "spec.took": filter.Span, "spec.word": filter.Text}

// sortedBy is a field that lists are sorted by, with what the model sorts by.
type modelOrder struct {
	field string
	// of returns the text or number of a version, and whether there is one.
	of func(*state) (string, float64, bool)
}

func textOrder(field string, of func(*state) string) modelOrder {
	return modelOrder{field, func(v *state) (string, float64, bool) { s := of(v); return s, 0, s != "" }}
}

var modelOrders = []modelOrder{
	textOrder("name", func(v *state) string { return v.name }),
	textOrder("site", func(v *state) string { return v.of.site }),
	textOrder("status", func(v *state) string { return v.status }),
	textOrder("labels.app", func(v *state) string { return v.labels["app"] }),
	textOrder("spec.word", func(v *state) string { return strings.Join(v.texts["spec.word"], "\x1f") }),
	textOrder("tags", func(v *state) string { return strings.Join(v.texts["tags"], "\x1f") }),
	{"created", func(v *state) (string, float64, bool) { return "", float64(v.created.UnixMilli()), !v.created.IsZero() }},
	{"observed", func(v *state) (string, float64, bool) { return "", float64(v.observed.UnixMilli()), true }},
	{"spec.size", func(v *state) (string, float64, bool) {
		n, ok := 0.0, false
		if len(v.texts["spec.size"]) == 1 {
			n, ok = numberOf(v.texts["spec.size"][0])
		}
		return "", n, ok
	}},
	{"spec.took", func(v *state) (string, float64, bool) {
		n, ok := 0.0, false
		if len(v.texts["spec.took"]) == 1 {
			n, ok = durations[v.texts["spec.took"][0]]
		}
		return "", n, ok
	}},
	{"spec.when", func(v *state) (string, float64, bool) {
		at, ok := time.Time{}, false
		if len(v.texts["spec.when"]) == 1 {
			at, ok = moments_[v.texts["spec.when"][0]]
		}
		return "", float64(at.UnixMilli()), ok
	}},
}

// sorted is the model's order of assets.
func sorted(list []*state, orders []modelOrder, desc []bool) []string {
	slices.SortFunc(list, func(a, b *state) int {
		for i, o := range orders {
			at, an, aok := o.of(a)
			bt, bn, bok := o.of(b)
			switch {
			case aok != bok && aok:
				return -1
			case aok != bok:
				return 1
			case !aok:
				continue
			}
			c := cmp.Or(cmp.Compare(at, bt), cmp.Compare(an, bn))
			if desc[i] {
				c = -c
			}
			if c != 0 {
				return c
			}
		}
		return cmp.Or(cmp.Compare(a.of.site, b.of.site), cmp.Compare(a.of.kind, b.of.kind), cmp.Compare(a.of.uid, b.of.uid))
	})
	keys := make([]string, len(list))
	for i, v := range list {
		keys[i] = v.key()
	}
	return keys
}

// TestLists pages through lists in random orders, now and as of moments, and holds them
// against the model.
func TestLists(t *testing.T) {
	_, estate := newEngine(t, 11, 80, 5)
	e := estate.engine(query.Options{Catalogue: testKinds})
	g := &generator{Rand: rand.New(rand.NewPCG(5, 6)), estate: estate}
	moments := []query.Moment{{}, query.At(estate.start.Add(30 * time.Hour)), {}, query.At(estate.start.Add(60 * time.Hour))}
	for round := range 24 {
		q := g.question(g.IntN(2))
		if round%3 == 0 {
			q = question{"", func(*state, func(*thing) *state) bool { return true }}
		}
		moment := moments[round%len(moments)]
		var orders []modelOrder
		var desc []bool
		list := query.ListQuery{Selection: query.Selection{Filter: q.text, Moment: moment}, Limit: 8 + g.IntN(60) + round%2*150, Total: query.TotalExact,
			Columns: []string{"spec.word", "labels.tier",
				"conditions[type=Ready].status", "created", "tags"}, Documents: round%2 == 0}
		for range g.IntN(4) {
			o := pick(g.Rand, modelOrders)
			if slices.ContainsFunc(orders, func(p modelOrder) bool { return p.field == o.field }) {
				continue
			}
			orders, desc = append(orders, o), append(desc, g.IntN(2) == 0)
			list.Sort = append(list.Sort, query.Order{Field: o.field, Desc: desc[len(desc)-1]})
		}
		at := estate.worldAt(moment)
		var selected []*state
		byKey := make(map[string]*state)
		for _, th := range estate.things {
			if v := at(th); v != nil && !v.deleted && q.holds(v, at) {
				selected = append(selected, v)
				byKey[v.key()] = v
			}
		}
		want := sorted(selected, orders, desc)
		var got []string
		pages := 0
		for page, err := range e.All(t.Context(), query.All(), list) {
			if err != nil {
				t.Fatalf("%s sorted by %v: %v", q.text, list.Sort, err)
			}
			if pages++; pages == 1 && (page.Total != int64(len(want)) || !page.Exact) {
				t.Errorf("%s: %d in all, exact %v, want %d", q.text, page.Total, page.Exact, len(want))
			}
			if len(page.Rows) > list.Limit {
				t.Errorf("a page of %d has %d rows", list.Limit, len(page.Rows))
			}
			for _, r := range page.Rows {
				key := r.Site + " " + r.Type + " " + r.UID
				got = append(got, key)
				if v := byKey[key]; v != nil {
					checkRow(t, &r, v, list.Documents)
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%s sorted by %v at %v in pages of %d:\n got  %d %v\n want %d %v", q.text, list.Sort, moment.Time(), list.Limit,
				len(got), got, len(want), want)
		}
	}
}

func checkRow(t *testing.T, r *query.Row, v *state, documents bool) {
	t.Helper()
	if r.Name != v.name || r.Version != v.stamp || r.Status != v.status || !r.CreatedAt.Equal(v.created) || len(r.Labels) != len(v.labels) ||
		r.State != warehouse.Active {
		t.Errorf("%s: %+v is not %+v", v.key(), r, v)
	}
	var ready []string
	all, _ := v.doc["conditions"].([]any)
	for _, c := range all {
		if m, ok := c.(map[string]any); ok && m["type"] == "Ready" && m["status"] != nil {
			ready = append(ready, m["status"].(string))
		}
	}
	created := []string(nil)
	if !v.created.IsZero() {
		created = []string{v.created.Format("2006-01-02T15:04:05.000Z")}
	}
	for i, want := range [][]string{v.texts["spec.word"], one(v.labels["tier"]), ready, created, v.texts["tags"]} {
		if !slices.Equal(r.Values[i], want) {
			t.Errorf("%s: column %d is %q, want %q", v.key(), i, r.Values[i], want)
		}
	}
	if documents {
		want, err := json.Marshal(v.doc)
		var a, b any
		if err != nil || json.Unmarshal(want, &a) != nil || json.Unmarshal(r.Document, &b) != nil {
			t.Fatalf("%s: the document is %q: %v %v %+v", v.key(), r.Document, err, r.Version, v.of.versions)
		}
		if x, y := mustJSON(t, a), mustJSON(t, b); x != y {
			t.Errorf("%s: the document is %s, want %s", v.key(), y, x)
		}
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestStates(t *testing.T) {
	_, estate := newEngine(t, 13, 60, 3)
	silent := []string{}
	e := estate.engine(query.Options{Silent: func() []string { return silent }})
	deleted := 0
	for _, th := range estate.things {
		if th.at(1 << 63).deleted {
			deleted++
		}
	}
	alive := len(estate.things) - deleted
	count := func(q query.Selection) int {
		t.Helper()
		c, err := e.Count(t.Context(), query.All(), q)
		if err != nil {
			t.Fatal(err)
		}
		return int(c.Count)
	}
	for _, test := range []struct {
		silent    []string
		selection query.Selection
		want      int
	}{
		{nil, query.Selection{}, alive},
		{nil, query.Selection{Filter: "state:DELETED"}, deleted},
		{nil, query.Selection{Filter: "-state=ACTIVE"}, deleted},
		{nil, query.Selection{Filter: "state:*"}, alive + deleted},
		{nil, query.Selection{States: []warehouse.State{warehouse.Gone}}, deleted},
		{nil, query.Selection{Filter: "state=DISCONNECTED"}, 0},
		{[]string{"agent-west", "agent-east"}, query.Selection{Filter: "state=DISCONNECTED"}, alive},
		{[]string{"agent-west", "agent-east"}, query.Selection{States: []warehouse.State{warehouse.Active}}, 0},
		{[]string{"agent-west", "agent-east"}, query.Selection{Filter: "state=ACTIVE", Moment: query.At(estate.end)}, alive},
	} {
		silent = test.silent
		if got := count(test.selection); got != test.want {
			t.Errorf("%+v with %v silent: %d, want %d", test.selection, test.silent, got, test.want)
		}
	}
	if n, err := e.Count(t.Context(), query.Scope{}, query.Selection{Filter: "state:*"}); err != nil || n.Count != 0 {
		t.Errorf("without a scope there are %d assets, %v", n.Count, err)
	}
	page, err := e.List(t.Context(), query.Scope{}, query.ListQuery{Total: query.TotalExact})
	if err != nil || len(page.Rows) != 0 || page.Total != 0 {
		t.Errorf("without a scope there is %+v, %v", page, err)
	}
}

func TestUnknownPaths(t *testing.T) {
	_, estate := newEngine(t, 17, 20, 1)
	e := estate.engine(query.Options{Catalogue: testKinds})
	counted, err := e.Count(t.Context(), query.All(), query.Selection{Filter: "name:* spec.wrod=alpha"})
	if err != nil || counted.Count != 0 || len(counted.Warnings) != 1 {
		t.Fatalf("%+v, %v", counted, err)
	}
	if w := counted.Warnings[0]; w.Start != 7 || !slices.Equal(w.Mends, []string{"spec.word"}) || !strings.Contains(w.Message, "spec.wrod") {
		t.Errorf("%+v", w)
	}
	var errs filter.Errors
	if _, err := e.Count(t.Context(), query.All(), query.Selection{Filter: "spec.wrod=alpha", Strict: true}); !errors.As(err, &errs) || len(errs) != 1 {
		t.Errorf("strictly: %v", err)
	}
}

func TestTokens(t *testing.T) {
	e, estate := newEngine(t, 19, 30, 1)
	first, err := e.List(t.Context(), query.All(), query.ListQuery{Limit: 3})
	if err != nil || first.Next == "" {
		t.Fatalf("%+v, %v", first, err)
	}
	for name, q := range map[string]query.ListQuery{
		"another filter": {Selection: query.Selection{Filter: "name:a"}, Token: first.Next},
		"another order":  {Sort: []query.Order{{Field: "name"}}, Token: first.Next},
		"another moment": {Selection: query.Selection{Moment: query.At(estate.end)}, Token: first.Next},
		"no token":       {Token: "x"},
		"a cut token":    {Token: first.Next[:len(first.Next)-3]},
		"a long token":   {Token: strings.Repeat("A", 100_000)},
	} {
		if _, err := e.List(t.Context(), query.All(), q); !errors.Is(err, query.ErrRequest) || !strings.HasPrefix(err.Error(), "page_token: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := e.List(t.Context(), query.All(), query.ListQuery{Limit: 7, Token: first.Next, Selection: query.Selection{Filter: "  "}}); err != nil {
		t.Errorf("a token with another limit: %v", err)
	}
}
