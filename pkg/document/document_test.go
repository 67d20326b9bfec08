package document

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
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
		`{"deep":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`: `{"deep":` + strings.Repeat("[", 100) +
			strings.Repeat("]", 100) + `}`,
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
	for _, test := range []struct {
		doc  string
		want []Field
	}{
		{`{"a":{"b":1.5,"t":true,"n":null,"e":"","o":{},"l":[]},"c":[{"i":"x\ny"},{"i":"z"},"w"],"s":["p","q"]}`,
			[]Field{{"a.b", "1.5"}, {"a.t", "true"}, {"c.i", "x\ny\x1fz"}, {"c", "w"}, {"s", "p\x1fq"}}},
		{`{}`, []Field{}},
		{" {\n\t\"a\" : [ { \"b\" : -1e+3 , \"c\":false } , { \"b\" : \"\" } , null ] , \"a\\u0062\" : \"\" }\r\n",
			[]Field{{"a.b", "-1e+3"}, {"a.c", "false"}}},
		{`{"":{"":"x","y":[["z"],[["w"]]]},"ü":"\u00fc\"\\","k\n":0}`, []Field{{".", "x"}, {".y", "z\x1fw"}, {"ü", `ü"\`}, {"k\n", "0"}}},
		{"{\"a\":\"x\xffy\",\"\xff\":1}", []Field{{"a", "x\ufffdy"}, {"\ufffd", "1"}}},
		{`{"a":["x",1,true,null,"",{"b":[]},"y"],"b":{"a":"z"},"a.b":2}`, []Field{{"a", "x\x1f1\x1ftrue\x1fy"}, {"b.a", "z"}, {"a.b", "2"}}},
	} {
		got, err := Fields([]byte(test.doc))
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %q, %v, want %q", test.doc, got, err, test.want)
		}
	}
}

// leavesOf flattens a document the slow way.
func leavesOf(t *testing.T, doc []byte) map[string]string {
	t.Helper()
	texts := make(map[string][]string)
	dec := jsontext.NewDecoder(bytes.NewReader(doc), jsontext.AllowInvalidUTF8(true))
	var read func(keys []string)
	read = func(keys []string) {
		token, err := dec.ReadToken()
		if err != nil {
			t.Fatalf("%q is taken, but %v", doc, err)
		}
		switch token.Kind() {
		case '{', '[':
			for dec.PeekKind() != '}' && dec.PeekKind() != ']' {
				below := keys
				if token.Kind() == '{' {
					key, err := dec.ReadToken()
					if err != nil {
						t.Fatalf("%q is taken, but %v", doc, err)
					}
					below = append(slices.Clip(keys), key.String())
				}
				read(below)
			}
			if _, err := dec.ReadToken(); err != nil {
				t.Fatalf("%q is taken, but %v", doc, err)
			}
		case 'n':
		default:
			if text := token.String(); text != "" {
				path := strings.Join(keys, ".")
				texts[path] = append(texts[path], text)
			}
		}
	}
	read(nil)
	fields := make(map[string]string)
	for path, list := range texts {
		fields[path] = strings.Join(list, Separator)
	}
	return fields
}

// FuzzFields holds the quick way against the slow one.
func FuzzFields(f *testing.F) {
	for _, doc := range []string{`{"a":[1,{"b":"c"}],"d":null}`, "{\"\\ud800\":\"\xff\",\"a\":\" \"}", `{"a":{"a":{"a":[[[1,2]]]}}}`, ` { } `,
		`{"a":1}x`} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		list, err := Fields(doc)
		if err != nil {
			return
		}
		got := make(map[string]string)
		for _, field := range list {
			if _, twice := got[field.Path]; twice || field.Value == "" {
				t.Errorf("%q: %+v", doc, field)
			}
			got[field.Path] = field.Value
		}
		if want := leavesOf(t, doc); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %q, want %q", doc, got, want)
		}
	})
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
		var k keys
		for key := range strings.FieldsSeq(test.keys) {
			k.push([]byte(`"` + key + `"`))
		}
		if got := k.match(test.pattern); got != test.want {
			t.Errorf("%q on %q: %v", test.pattern, test.keys, got)
		}
	}
}

// FuzzCanonical holds the quick way against the slow one.
func FuzzCanonical(f *testing.F) {
	for _, doc := range []string{
		`{"b":1,"a":[{"z":-0.10e+05,"y":[]},null,{}],"c":{"":true,"!":false,"a b":"\u00fc\/\ud83d\ude00"}}`, "{\"a\":\"x\xffy\"}",
		`{"a":1,"b":2,"a":3}`, ` { "ü" : "é" , "é" : 01 } `, `{"a":"\ud800"}`, "{\"a\":\"\u007f\u2028\"}", `{"a":1}x`, `{"a":[1,]}`,
		"{\"a\":\"\t\"}",
	} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		want, wrong := canonicalSlowly(doc)
		got, err := Canonical(doc)
		if (err == nil) != (wrong == nil) || !bytes.Equal(got, want) {
			t.Errorf("%q: got %q, %v, want %q, %v", doc, got, err, want, wrong)
		}
		if ordinary(doc) {
			if err := check(doc); err != nil {
				t.Errorf("%q: %v", doc, err)
			}
		}
	})
}

// FuzzReader: whatever it is given, a reader ends, and stays inside.
func FuzzReader(f *testing.F) {
	for _, doc := range []string{`{"a":[1,"\\\""]}`, `["`, `[[[`, `]"\`, `{"a":{`, `tru,]`} {
		f.Add([]byte(doc), true)
	}
	f.Fuzz(func(t *testing.T, doc []byte, values bool) {
		r := NewReader(doc)
		for n := 0; r.Peek() != 0; n++ {
			if n > len(doc) {
				t.Fatalf("%q has no end", doc)
			}
			if values || r.More() && r.Peek() == '"' {
				AppendText(nil, r.Value())
			} else {
				r.Bracket()
			}
		}
		_ = walk(doc, Paths{"a"}, visitor{raw: func([]byte) {}, leaf: func(_, _, _ []byte) {}})
	})
}

// TestQuick shows that ordinary documents go the quick way.
func TestQuick(t *testing.T) {
	doc := []byte(`{"b":"a\nb","a":[{"z":-0.10e+05,"y":"grün"},null,{}]}`)
	c := canonizer{scanner: scanner{doc: doc}}
	if !c.document() || string(c.out) != `{"a":[{"y":"grün","z":-0.10e+05},null,{}],"b":"a\nb"}` {
		t.Errorf("%s", c.out)
	}
	if ordinary(doc) || !ordinary(c.out) {
		t.Error("canonical form is not what is ordinary")
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
		fmt.Fprintf(&b, `{"name":"c%d","image":"registry.example/app/%d:1.2.3","env":[{"name":"A","value":"b"}],"ports":[{"port":80%d}],`+
			`"resources":{"limits":{"cpu":"500m","memory":"128Mi"}}}`, i, i, i)
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
