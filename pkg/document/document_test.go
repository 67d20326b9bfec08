package document

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func canonical(t testing.TB, doc string) []byte {
	t.Helper()
	c, err := Canonical([]byte(doc))
	if err != nil {
		t.Fatalf("%s: %v", doc, err)
	}
	return c
}

func TestCanonical(t *testing.T) {
	for doc, want := range map[string]string{
		`{ "b": 1, "a": [ {"z":1, "y":2} ] }`: `{"a":[{"y":2,"z":1}],"b":1}`,
		`{"n":9223372036854775807,"f":1.50}`:  `{"f":1.50,"n":9223372036854775807}`,
		`{"s":"\u0041\/"}`:                    `{"s":"A/"}`,
		"{\"s\":\"a\xffb\"}":                  "{\"s\":\"a\ufffdb\"}",
		`{}`:                                  `{}`,
		`{"deep":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`: `{"deep":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`,
	} {
		if got := canonical(t, doc); string(got) != want {
			t.Errorf("%s\n gave %s\n want %s", doc, got, want)
		}
	}
	for _, bad := range []string{``, `[]`, `"x"`, `{`, `{"a":1}{"b":2}`, `{"a":1,"a":2}`, `{"a":nul}`,
		`{"deep":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`,
		`{"big":"` + strings.Repeat("x", MaxSize) + `"}`} {
		if _, err := Canonical([]byte(bad)); err == nil {
			t.Errorf("accepted %.40s", bad)
		}
	}
}

func TestStableHash(t *testing.T) {
	volatile := Paths{"usage", "status.*.time", "labels.app.io/seen"}
	base := `{"name":"a","usage":{"free":1},"status":{"ready":{"ok":true,"time":1}},"labels":{"app.io/seen":"x"}}`
	hash := func(doc string, rest ...string) Hash {
		h, err := StableHash(canonical(t, doc), volatile, rest...)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	for doc, same := range map[string]bool{
		`{"usage":{"free":2},"name":"a","status":{"ready":{"time":9,"ok":true}},"labels":{"app.io/seen":"y"}}`: true,
		`{"usage":7,"name":"a","status":{"ready":{"ok":true}},"labels":{}}`:                                    true,
		`{"name":"b","usage":{"free":1},"status":{"ready":{"ok":true,"time":1}},"labels":{}}`:                  false,
		`{"name":"a","status":{"ready":{"ok":false}},"labels":{}}`:                                             false,
		`{"name":"a","status":{"ready":{"ok":true}}}`:                                                          false,
	} {
		if (hash(doc) == hash(base)) != same {
			t.Errorf("%s: same hash is %v", doc, !same)
		}
	}
	if hash(base, "ab", "c") == hash(base, "a", "bc") {
		t.Error("the bounds of the other parts are not hashed")
	}
	if hash(`{"a":[{"b":1,"c":2}]}`) == hash(`{"a":[{"b":1},{"c":2}]}`) {
		t.Error("the structure is not hashed")
	}
}

func TestChanged(t *testing.T) {
	for _, test := range []struct {
		old, new string
		want     []string
	}{
		{`{"a":1}`, `{"a":1}`, nil},
		{`{"a":1}`, `{"a":2}`, []string{"a"}},
		{`{"a":1}`, `{"a":"1"}`, []string{"a"}},
		{`{"a":1}`, `{}`, []string{"a"}},
		{`{"x":0,"l":{"k":"v"}}`, `{"x":0,"l":{}}`, []string{"l", "l.k"}},
		{`{"c":[{"i":"a"},{"i":"b"}]}`, `{"c":[{"i":"b"},{"i":"a"}]}`, []string{"c.i"}},
		{`{"c":[{"i":1,"j":2}]}`, `{"c":[{"i":1},{"j":2}]}`, []string{"c.j"}},
		{`{"u":{"free":1},"a":1}`, `{"u":{"free":2},"a":1}`, nil},
		{`{"a.b":1,"a":{"c":1}}`, `{"a.b":2,"a":{"c":2}}`, []string{"a.b", "a.c"}},
	} {
		got, err := Changed(canonical(t, test.old), canonical(t, test.new), Paths{"u.free"})
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s -> %s: got %q, want %q", test.old, test.new, got, test.want)
		}
	}
}

func TestFields(t *testing.T) {
	got, err := Fields([]byte(`{"a":{"b":1.5,"t":true,"n":null,"e":"","o":{},"l":[]},"c":[{"i":"x\ny"},{"i":"z"},"w"],"s":["p","q"]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"a.b": "1.5", "a.t": "true", "c.i": "x\ny\x1fz", "c": "w", "s": "p\x1fq"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFieldsRefuses(t *testing.T) {
	for _, bad := range []string{``, `[]`, `"x"`, ` {"a":1} x`, `{"a":1}{}`, `{"a":}`, `{"a":1,"a":2}`,
		`{"deep":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`, `{"big":"` + strings.Repeat("x", MaxSize) + `"}`} {
		if f, err := Fields([]byte(bad)); err == nil {
			t.Errorf("%.40s gave %v", bad, f)
		}
	}
}

func TestMatches(t *testing.T) {
	for _, test := range []struct {
		pattern, keys string
		want          bool
	}{
		{"a", "a", true}, {"a", "ab", false}, {"a", "a b", false}, {"a.b", "a b", true}, {"a.b", "a.b", true},
		{"a.*.c", "a b c", true}, {"a.*.c", "a b", false}, {"*", "x", true}, {"*.y", "x y", true}, {"a.b", "a", false},
	} {
		if got := matches(test.pattern, strings.Fields(test.keys)); got != test.want {
			t.Errorf("%q on %q: %v", test.pattern, test.keys, got)
		}
	}
}

func FuzzDocument(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":"c"}],"d":null}`), []byte(`{"a":[1],"e":{}}`))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		x, err := Canonical(a)
		if err != nil {
			return
		}
		again, err := Canonical(x)
		if err != nil || !bytes.Equal(again, x) {
			t.Fatalf("canonical form is not stable: %s then %s (%v)", x, again, err)
		}
		if !json.Valid(x) {
			t.Fatalf("canonical form is not JSON: %s", x)
		}
		if _, err := Fields(x); err != nil {
			t.Fatal(err)
		}
		y, err := Canonical(b)
		if err != nil {
			return
		}
		changed, err := Changed(x, y, nil)
		if err != nil {
			t.Fatal(err)
		}
		hx, err := StableHash(x, Paths{"a.*"})
		if err != nil {
			t.Fatal(err)
		}
		hy, err := StableHash(y, Paths{"a.*"})
		if err != nil {
			t.Fatal(err)
		}
		if len(changed) == 0 && hx != hy {
			t.Fatalf("no changed path between %s and %s", x, y)
		}
	})
}

func sample() []byte {
	var b bytes.Buffer
	b.WriteString(`{"metadata":{"name":"web-7d9f","labels":{"app.kubernetes.io/name":"web","tier":"front"}},"spec":{"containers":[`)
	for i := range 4 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"name":"c%d","image":"registry.example/app/%d:1.2.3","env":[{"name":"A","value":"b"}],"ports":[{"port":80%d}],"resources":{"limits":{"cpu":"500m","memory":"128Mi"}}}`, i, i, i)
	}
	b.WriteString(`],"nodeName":"node-17"},"status":{"phase":"Running","podIP":"10.1.2.3","time":123}}`)
	return b.Bytes()
}

func BenchmarkCanonical(b *testing.B) {
	doc := sample()
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Canonical(doc); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStableHash(b *testing.B) {
	doc := canonical(b, string(sample()))
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := StableHash(doc, Paths{"status.time", "metadata.managedFields"}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFields(b *testing.B) {
	doc := canonical(b, string(sample()))
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Fields(doc); err != nil {
			b.Fatal(err)
		}
	}
}
