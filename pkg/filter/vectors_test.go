package filter

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/pkg/document"
)

// vectors are those of testdata/vectors.json, which other programs are tested with, too.
type vectors struct {
	About string `json:"about"`
	// Now is the moment that relative times are told from.
	Now time.Time `json:"now"`
	// Kinds are what the values of some fields were seen to be.
	Kinds map[string]string `json:"kinds"`
	// Search are the paths that words are looked for in, besides what every asset has.
	Search    []string                   `json:"search"`
	Assets    map[string]json.RawMessage `json:"assets"`
	Relations []relation                 `json:"relations"`
	Vectors   []vector                   `json:"vectors"`
}

// vector is a filter with its canonical form, what is to be warned of and the assets that pass it, all others not; or with its
// errors.
type vector struct {
	Filter    string   `json:"filter"`
	Canonical string   `json:"canonical,omitempty"`
	Match     []string `json:"match,omitempty"`
	Warnings  []notice `json:"warnings,omitempty"`
	Errors    []notice `json:"errors,omitempty"`
}

type notice struct {
	Start   int      `json:"start"`
	End     int      `json:"end"`
	Message string   `json:"message"`
	Mends   []string `json:"mends,omitempty"`
}

func notices(list Errors) []notice {
	var n []notice
	for _, e := range list {
		n = append(n, notice{e.Start, e.End, e.Message, e.Mends})
	}
	return n
}

func sameNotices(a, b []notice) bool {
	return slices.EqualFunc(a, b, func(a, b notice) bool {
		return a.Start == b.Start && a.End == b.End && a.Message == b.Message && slices.Equal(a.Mends, b.Mends)
	})
}

// world is assets as Match sees them, and as the model does.
type world struct {
	model  model
	names  []string
	assets map[string]*Asset
	env    Env
}

func readVectors(t testing.TB) (*vectors, *world) {
	t.Helper()
	data, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	v := new(vectors)
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatal(err)
	}
	return v, v.world(t)
}

func (v *vectors) world(t testing.TB) *world {
	t.Helper()
	w := &world{assets: map[string]*Asset{}}
	w.model = model{now: v.Now, kinds: map[string]Kind{}, things: map[string]*thing{}, relations: v.Relations}
	for field, kind := range v.Kinds {
		w.model.kinds[field] = map[string]Kind{"text": Text, "bool": Bool, "number": Numeric, "time": Time, "duration": Span}[kind]
		if w.model.kinds[field] == Unknown {
			t.Fatalf("%s: %q is no kind", field, kind)
		}
	}
	for name, raw := range v.Assets {
		var labels struct {
			Labels   map[string]string `json:"labels"`
			Document json.RawMessage   `json:"document"`
		}
		if err := json.Unmarshal(raw, &labels); err != nil {
			t.Fatal(err)
		}
		var members map[string]any
		if err := json.Unmarshal(raw, &members); err != nil {
			t.Fatal(err)
		}
		fixed := map[string]string{}
		for key, value := range members {
			if s, ok := value.(string); ok {
				fixed[key] = s
			}
		}
		w.add(t, name, fixed, labels.Labels, labels.Document, v.Search)
	}
	w.names = slices.Sorted(maps.Keys(w.assets))
	w.env = Env{Now: v.Now, Kind: func(f Field) Kind { return w.model.kinds[f.String()] }, Related: w.related}
	return w
}

func (w *world) add(t testing.TB, name string, fixed, labels map[string]string, doc []byte, search []string) {
	t.Helper()
	canonical, err := document.Canonical(doc)
	if err != nil {
		t.Fatal(err)
	}
	fields, err := document.Fields(canonical)
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) time.Time {
		at, _ := time.Parse(time.RFC3339, fixed[name]) // zero is that it has none
		return at
	}
	a := &Asset{
		Name: fixed["name"], UID: fixed["uid"], Type: fixed["type"], Site: fixed["site"], Region: fixed["region"], Project: fixed["project"],
		Status: fixed["status"], State: fixed["state"], Scope: fixed["scope"], Agent: fixed["agent"],
		Created: at("created"), Updated: at("updated"), Observed: at("observed"), Labels: labels, Fields: fields, Document: canonical,
	}
	a.Search = SearchText(a, search)
	w.assets[name] = a
	w.model.things[name] = newThing(fixed, labels, doc, search)
}

func (w *world) related(a *Asset, kind string, holds func(*Asset) (bool, error)) (bool, error) {
	for _, r := range w.model.relations {
		if kind != "" && kind != r.Kind {
			continue
		}
		from, to := w.assets[r.From], w.assets[r.To]
		other := to
		switch a {
		case from:
		case to:
			other = from
		default:
			continue
		}
		if holds == nil {
			return true, nil
		}
		if other == nil {
			continue
		}
		if ok, err := holds(other); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// match returns the names of the assets that pass a filter, and fails where the model says otherwise.
func (w *world) match(t testing.TB, f *Filter) []string {
	t.Helper()
	var names []string
	for _, name := range w.names {
		ok, err := f.Match(w.assets[name], &w.env)
		if err != nil {
			t.Errorf("%s: %v", f.Canonical(), err)
		}
		if want := w.model.match(f.Root, w.model.things[name]); ok != want {
			t.Errorf("%s: %s passes is %t, the model says %t", f.Canonical(), name, ok, want)
		}
		if ok {
			names = append(names, name)
		}
	}
	return names
}

func TestVectors(t *testing.T) {
	v, w := readVectors(t)
	if len(v.Vectors) < 300 {
		t.Errorf("%d vectors", len(v.Vectors))
	}
	for _, want := range v.Vectors {
		f, err := Parse(want.Filter)
		var list Errors
		errors.As(err, &list)
		if got := notices(list); !sameNotices(got, want.Errors) {
			t.Errorf("%s: errors %+v, want %+v", want.Filter, got, want.Errors)
		}
		if f == nil {
			continue
		}
		if got := f.Canonical(); got != want.Canonical {
			t.Errorf("%s: canonical form %s, want %s", want.Filter, got, want.Canonical)
		}
		if got := notices(f.Warnings); !sameNotices(got, want.Warnings) {
			t.Errorf("%s: warnings %+v, want %+v", want.Filter, got, want.Warnings)
		}
		if got := w.match(t, f); !slices.Equal(got, want.Match) {
			t.Errorf("%s: passed by %v, want %v", want.Filter, got, want.Match)
		}
		again, err := Parse(f.Canonical())
		if err != nil || !same(again.Root, f.Root) {
			t.Errorf("%s: its canonical form %s is parsed otherwise: %v", want.Filter, f.Canonical(), err)
		}
		if len(again.Warnings) > 0 && len(f.Warnings) == 0 {
			t.Errorf("%s: only its canonical form is warned of: %v", want.Filter, again.Warnings[0])
		}
	}
}

// TestMends puts each mend in its place: what it mends must be gone.
func TestMends(t *testing.T) {
	v, _ := readVectors(t)
	for _, bad := range v.Vectors {
		for _, e := range append(bad.Errors, bad.Warnings...) {
			for _, mend := range e.Mends {
				text := bad.Filter[:e.Start] + mend + bad.Filter[e.End:]
				f, err := Parse(text)
				var left Errors
				errors.As(err, &left)
				if f != nil {
					left = f.Warnings
				}
				for _, l := range left {
					if l.Message == e.Message && l.Start <= e.Start && e.Start <= l.End {
						t.Errorf("%s: with the mend it is %s: %v", bad.Filter, text, l)
					}
				}
				if len(bad.Errors) == 1 && err != nil {
					t.Errorf("%s: with the only mend needed it is %s: %v", bad.Filter, text, err)
				}
			}
		}
	}
}

// same compares trees without their places.
func same(a, b Node) bool {
	switch a := a.(type) {
	case nil:
		return b == nil
	case *And:
		b, ok := b.(*And)
		return ok && slices.EqualFunc(a.Nodes, b.Nodes, same)
	case *Or:
		b, ok := b.(*Or)
		return ok && slices.EqualFunc(a.Nodes, b.Nodes, same)
	case *Not:
		b, ok := b.(*Not)
		return ok && same(a.Node, b.Node)
	case *Word:
		b, ok := b.(*Word)
		return ok && a.Text == b.Text
	case *Compare:
		b, ok := b.(*Compare)
		return ok && a.Field.Space == b.Field.Space && a.Field.Name == b.Field.Name && slices.Equal(a.Field.Picks, b.Field.Picks) &&
			a.Op == b.Op && slices.Equal(a.Values, b.Values)
	case *Related:
		b, ok := b.(*Related)
		return ok && a.Kind == b.Kind && same(a.Node, b.Node)
	}
	return false
}
