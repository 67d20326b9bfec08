package diff

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestOf(t *testing.T) {
	for name, c := range map[string]struct {
		old, recent string
		want        []string
	}{
		"nothing": {`{"a":1,"b":[1,2]}`, `{"b":[1,2],"a":1}`, nil},
		"members": {`{"a":1,"b":{"c":"x","d":null}}`, `{"b":{"c":"y","e":[]},"f":true}`,
			[]string{"removed a 1", "changed b.c \"x\" \"y\"", "removed b.d null", "added b.e []", "added f true"}},
		"another kind": {`{"a":{"b":1}}`, `{"a":[1]}`, []string{`changed a {"b":1} [1]`}},
		"elements by name": {`{"c":[{"name":"a","v":1},{"name":"b","v":1}]}`, `{"c":[{"name":"b","v":2},{"name":"x","v":3}]}`,
			[]string{`removed c[name=a] {"name":"a","v":1}`, "changed c[name=b].v 1 2", `added c[name=x] {"name":"x","v":3}`}},
		"another order": {`{"c":[{"id":1},{"id":2}]}`, `{"c":[{"id":2},{"id":1}]}`, []string{"reordered c"}},
		"twice the same name": {`{"c":[{"name":"a"},{"name":"a"}]}`, `{"c":[{"name":"a"},{"name":"b"}]}`,
			[]string{`changed c[1].name "a" "b"`}},
		"places":              {`{"c":[{"x":1},[2]]}`, `{"c":[{"x":2},[3],{}]}`, []string{"changed c[0].x 1 2", "changed c[1] [2] [3]", "added c[2] {}"}},
		"scalars":             {`{"t":["a","b"]}`, `{"t":["b"]}`, []string{`changed t ["a","b"] ["b"]`}},
		"numbers as written":  {`{"n":12345678901234567890}`, `{"n":12345678901234567891}`, []string{"changed n 12345678901234567890 12345678901234567891"}},
		"markup":              {`{"a":"<"}`, `{"a":">"}`, []string{`changed a "<" ">"`}},
		"created":             {``, `{"a":1}`, []string{"added a 1"}},
		"deleted":             {`{"a":1}`, ``, []string{"removed a 1"}},
		"names that are dots": {`{"a.b":{"c":1}}`, `{"a.b":{"c":2}}`, []string{"changed a.b.c 1 2"}},
	} {
		changes, err := Of([]byte(c.old), []byte(c.recent))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, d := range changes {
			words := []string{d.Operation.String(), d.String()}
			for _, v := range []json.RawMessage{d.Old, d.New} {
				if v != nil {
					words = append(words, string(v))
				}
			}
			got = append(got, strings.Join(words, " "))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
}

func TestRefused(t *testing.T) {
	for _, doc := range []string{"[]", "{", "1", `"x"`, "nonsense"} {
		if _, err := Of([]byte(doc), nil); err == nil {
			t.Errorf("%s was taken", doc)
		}
		if _, err := Of(nil, []byte(doc)); err == nil {
			t.Errorf("%s was taken", doc)
		}
	}
}

// TestBounded wants few differences of documents that differ everywhere.
func TestBounded(t *testing.T) {
	large := func(v int) []byte {
		m := map[string]any{}
		for i := range 300 {
			inner := map[string]any{}
			for j := range 100 {
				inner[fmt.Sprint("k", j)] = v
			}
			m[fmt.Sprint("m", i)] = inner
		}
		doc, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return doc
	}
	changes, err := Of(large(1), large(2))
	if err != nil || len(changes) != 300 {
		t.Errorf("%d changes, %v; want one for each of 300 members", len(changes), err)
	}
}

// apply makes the later document of the earlier one, by the differences. What it cannot tell
// is the order of lists whose elements have names.
func apply(t *testing.T, doc any, changes []Change) any {
	t.Helper()
	// From the back, so that places in lists stay what they are while elements go; what is
	// added goes behind.
	for _, c := range slices.Backward(changes) {
		if c.Operation == Removed {
			doc = put(t, doc, c.Path, nil, false)
		}
	}
	for _, c := range changes {
		if c.Operation == Changed || c.Operation == Added {
			v := decodeValue(t, c.New)
			doc = put(t, doc, c.Path, v, true)
		}
	}
	return doc
}

func decodeValue(t *testing.T, raw json.RawMessage) (v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return v
}

func put(t *testing.T, in any, path []Step, v any, set bool) any {
	t.Helper()
	if len(path) == 0 {
		return v
	}
	s := path[0]
	if !s.Element {
		m := in.(map[string]any)
		if len(path) == 1 && !set {
			delete(m, s.Key)
		} else {
			m[s.Key] = put(t, m[s.Key], path[1:], v, set)
		}
		return m
	}
	a := in.([]any)
	i := s.Index
	if s.Value != nil {
		id := decodeValue(t, s.Value)
		i = slices.IndexFunc(a, func(e any) bool { return e.(map[string]any)[s.Key] == id })
		if i < 0 {
			i = len(a)
		}
	}
	switch {
	case len(path) == 1 && !set:
		return slices.Delete(a, i, i+1)
	case i >= len(a):
		return append(a, v)
	}
	a[i] = put(t, a[i], path[1:], v, set)
	return a
}

// ordered sorts lists whose elements have names.
func ordered(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = ordered(e)
		}
	case []any:
		for i, e := range v {
			v[i] = ordered(e)
		}
		if key := identify(v); key != "" {
			slices.SortFunc(v, func(a, b any) int {
				return strings.Compare(fmt.Sprint(a.(map[string]any)[key]), fmt.Sprint(b.(map[string]any)[key]))
			})
		}
	}
	return v
}

func random(r *rand.Rand, depth int) any {
	switch n := r.IntN(8); {
	case n < 3 && depth > 0:
		m := map[string]any{}
		for range r.IntN(4) {
			m[[]string{"a", "b", "name", "id", "a.b", ""}[r.IntN(6)]] = random(r, depth-1)
		}
		return m
	case n < 5 && depth > 0:
		a := []any{}
		for range r.IntN(4) {
			a = append(a, random(r, depth-1))
		}
		return a
	case n == 5:
		return nil
	case n == 6:
		return json.Number(fmt.Sprint(r.IntN(3)))
	}
	return []any{"x", "y", "", true}[r.IntN(4)]
}

// TestApply makes later documents of earlier ones by what is told, for many random pairs.
func TestApply(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		old, recent := map[string]any{"r": random(r, 4)}, map[string]any{"r": random(r, 4)}
		before, err := json.Marshal(old)
		if err != nil {
			t.Fatal(err)
		}
		after, err := json.Marshal(recent)
		if err != nil {
			t.Fatal(err)
		}
		changes, err := Of(before, after)
		if err != nil {
			t.Fatal(err)
		}
		if same := string(before) == string(after); same != (len(changes) == 0) {
			t.Fatalf("%s\n%s\n%v", before, after, changes)
		}
		got := ordered(apply(t, decodeValue(t, before), changes))
		if want := ordered(decodeValue(t, after)); !equal(got, want) {
			t.Fatalf("%s\n%s\nby %v:\ngot  %v\nwant %v", before, after, changes, got, want)
		}
	}
}

func FuzzOf(f *testing.F) {
	f.Add([]byte(`{"a":[{"name":"x"}]}`), []byte(`{"a":[{"name":"y"}]}`))
	f.Add([]byte(`{"a":1e400}`), []byte(`{"a":[[[]]]}`))
	f.Fuzz(func(t *testing.T, before, after []byte) {
		changes, err := Of(before, after)
		if err != nil {
			return
		}
		back, err := Of(after, before)
		if err != nil {
			t.Fatal(err)
		}
		if (len(changes) == 0) != (len(back) == 0) {
			t.Errorf("%d changes one way, %d the other", len(changes), len(back))
		}
	})
}

func BenchmarkOf(b *testing.B) {
	old, err := json.Marshal(map[string]any{"spec": random(rand.New(rand.NewPCG(3, 4)), 8)})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Of(old, old); err != nil {
			b.Fatal(err)
		}
	}
}
