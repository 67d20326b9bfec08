package query

import (
	"strings"
	"testing"

	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	"github.com/reeve-cloud/reeve/pkg/document"
)

func TestMain(m *testing.M) { warehousetest.Main(m) }

// TestTextAt holds what the engine reads of a document against what package document does.
func TestTextAt(t *testing.T) {
	w := warehousetest.New(t)
	for _, doc := range []string{
		`{"a":{"b":1.5,"t":true,"n":null,"e":"","o":{},"l":[]},"c":[{"i":"x\ny"},{"i":"z"},"w"],"s":["p","q"]}`,
		`{"a":{"b":{"c":"1"},"b.c":"2"},"a.b":{"c":"3"},"a.b.c":"4","d":{"e":"5"}}`,
		`{"metadata":{"labels":{"app.kubernetes.io/name":"x","b":"y"}},"spec":{"containers":[{"ports":[{"p":1},{"p":2}]},{"ports":[{"p":3}]}]}}`,
		`{"big":12345678901234567890123,"x":{"y":18446744073709551615,"z":-9223372036854775808},"s":"\u0001\"\\ü"}`,
		`{"n":[["q","r"],"s"],"m":[[{"n":"x"}],{"n":"y"}]}`,
		`{"":"x","q":{"":"y"}}`,
	} {
		canonical, err := document.Canonical([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		fields, err := document.Fields(canonical)
		if err != nil {
			t.Fatal(err)
		}
		want := make(map[string]string)
		for _, f := range fields {
			want[f.Path] = f.Value
		}
		for _, path := range []string{"a", "a.b", "a.b.c", "a.t", "a.n", "a.e", "a.o", "a.l", "c", "c.i", "s", "d.e", "big", "x.y", "x.z",
			"n", "q.", "",
			"metadata.labels.app.kubernetes.io/name", "metadata.labels.b", "spec.containers.ports.p", "spec.containers.ports", "not.there"} {
			var s Statement
			s.Put("SELECT ", "arrayStringConcat("+textsAt(&s, s.Text(string(canonical)), path)+", "+s.Text(document.Separator)+")", " SETTINGS allow_simdjson = 0")
			var got string
			if err := w.Conn().QueryRow(t.Context(), s.String(), s.values...).Scan(&got); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			if got != want[path] && !strings.Contains(doc, `"big"`) {
				t.Errorf("%s at %q: %q, want %q", doc, path, got, want[path])
			}
		}
	}
}

// TestAnything holds what the engine takes for a value against package document.
func TestAnything(t *testing.T) {
	w := warehousetest.New(t)
	for _, doc := range []string{`{}`, `{"a":null}`, `{"a":""}`, `{"a":{"b":[null,"",{}]},"c":""}`, `{"true":null,"1":""}`,
		`{"a":"null"}`, `{"a":[""]}`,
		`{"a":["x"]}`, `{"a":1}`, `{"a":{"b":[false]}}`, `{"a":"\""}`, `{"a\"s":null}`, `{"s,":null}`, `{"":"x"}`, `{"":{"":-1}}`, `{"a":"\\"}`, `{"\\":null,"b":""}`} {
		fields, err := document.Fields([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		var s Statement
		s.Put("SELECT toBool(", anything(s.Text(doc)), ")")
		var got bool
		if err := w.Conn().QueryRow(t.Context(), s.String(), s.values...).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got != (len(fields) > 0) {
			t.Errorf("%s: %v, but its fields are %v", doc, got, fields)
		}
	}
}

// TestIdentifier reads columns of hostile names.
func TestIdentifier(t *testing.T) {
	w := warehousetest.New(t)
	all := make([]byte, 0, 256)
	for c := range 256 {
		all = append(all, byte(c))
	}
	names := []string{"a.b", "`", "``", "\\", "\\`", "'", "\"", "a` = '' OR 1 --", "{p0:String}", "?", "@p", "$1", "*/ x /*", "key_",
		"", "ü\u202e", "\x00",
		"\\x60", "x\n;y", strings.ToValidUTF8(string(all), "?")}
	for i := range 128 {
		names = append(names, "a"+string(rune(i))+"b")
	}
	for _, name := range names {
		var s Statement
		s.Put("INSERT INTO asset (site, type, uid, version, fields) SELECT 's', 't', ", s.Text(name), ", 1, map(", s.Text(name), ", 'here')")
		if err := w.Conn().Exec(t.Context(), s.String(), s.values...); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
	}
	for _, name := range names {
		for _, final := range []string{"", " FINAL"} {
			var s Statement
			s.Put("SELECT groupArray(uid) FROM asset", final, " WHERE ", field(name), " = ", s.Text("here"))
			var uids []string
			if err := w.Conn().QueryRow(t.Context(), s.String(), s.values...).Scan(&uids); err != nil {
				t.Errorf("%q: %v", name, err)
				continue
			}
			if len(uids) != 1 || uids[0] != name {
				t.Errorf("%q: the column is that of %q", name, uids)
			}
		}
	}
}

func FuzzIdentifier(f *testing.F) {
	for _, name := range []string{"a.b", "`", "\\", "\x00", "{p:String}", "ü"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		quoted := identifier(name)
		inner := quoted[1 : len(quoted)-1]
		for i := 0; i < len(inner); i++ {
			switch c := inner[i]; {
			case c == '\\':
				i++
			case c == '`', c < ' ', c == '{', c == '}':
				t.Fatalf("%q becomes %q", name, quoted)
			}
		}
		if strings.HasSuffix(inner, `\`) && !strings.HasSuffix(inner, `\\`) {
			t.Fatalf("%q becomes %q", name, quoted)
		}
	})
}
