package layout

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

var update = flag.Bool("update", false, "write the schema that docs publish")

const published = "../../docs/layout.schema.json"

func schema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(Schema())))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.AddResource(SchemaID, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(SchemaID)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPublishedSchema(t *testing.T) {
	if *update {
		if err := os.WriteFile(published, Schema(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(published)
	if err != nil || string(text) != string(Schema()) {
		t.Errorf("%s is not the schema of this version (%v): go test ./pkg/layout -run Published -update", published, err)
	}
}

// corpus are layouts that are right and layouts that are not, by what is wrong.
var corpus = map[bool][]string{
	true: {
		pod, `{}`, `{"columns":[]}`, `{"icon":"pod","status":{"good":["A*"]},"search":["a.b","@labels.x/y"]}`,
		column(`"format":"bytes","unit":"MiB","display":"GB","of":"b"`), column(`"format":"time","source":"seconds","show":"minute"`),
		column(`"format":"age","source":"milliseconds"`), column(`"format":"progress"`), column(`"format":"progress","of":"b"`),
		column(`"format":"list","delimiter":" | ","member":"x.y","item":{"format":"badge","color":"violet","shape":"square","outline":true}`),
		column(`"format":"enum","items":{"on":{"label":"On","labels":{"ko":"켜짐"},"tone":"good","icon":"disk"},"off":{}}`),
		column(`"format":"badge","style":{"label":"new","color":"red"}`), column(`"format":"dict"`), column(`"format":"json"`),
		column(`"format":"more","member":"n","sections":[{"title":"S","kind":"table","path":"a","columns":[{"title":"A","path":"a"}]}]`),
		column(`"titles":{"pt-BR":"A"},"description":"d","optional":true,"width":20,"sortBy":"@name","default":"-","prefix":"<","suffix":">",
			"asset":{"type":"a.b.C","by":"name"},"href":"url"`),
		column(`"unsortable":true`), column(`"unsortable":false,"sortBy":"b"`),
		section(`"kind":"records","path":"a","sort":{"path":"b","descending":true},"plain":true`),
		section(`"kind":"raw"`), section(`"kind":"raw","path":"a[b=c].d"`), section(`"kind":"markdown","text":"# A\nb","texts":{"ko":"# 가"}`),
		section(`"kind":"markdown","path":"a"`), section(`"kind":"fields","columns":[{"title":"A","path":"@uid"}]`),
		section(`"kind":"query","query":{"type":"a.b.C","filter":"spec.node={@name}"},"columns":[{"title":"A","path":"@name"}],
			"sort":{"path":"@created"}`),
		section(`"kind":"group","sections":[{"title":"A","kind":"raw"},
			{"title":"B","kind":"fields","columns":[{"title":"A","path":"@uid"}]}]`),
		section(`"kind":"popup","path":"a","sections":[{"title":"A","kind":"group","sections":[{"title":"A","kind":"raw"}]}]`),
		section(`"kind":"card","path":"a.b","format":"bytes"`), section(`"kind":"card","query":{"filter":"state=ACTIVE"}`),
		section(`"kind":"chart","chart":"donut","path":"a","name":"b","value":"c","format":"number"`),
		section(`"kind":"chart","chart":"column","query":{"by":"@region","function":"sum","of":"spec.vcpus","top":5}`),
		`{"widgets":[{"title":"W","kind":"card","query":{}},{"title":"W","kind":"chart","chart":"bar","query":{"by":"@status"}}]}`,
	},
	false: {
		``, `[]`, `null`, `{"icons":"pod"}`, `{"icon":"dragon"}`, `{"columns":[{"title":"A"}]}`, `{"columns":[{"path":"a"}]}`, `{"columns":{}}`,
		`{"search":["a[b=c]"]}`, `{"search":["@nothing"]}`, `{"status":{"odd":["a"]}}`, `{"status":{"good":["a\u001b"]}}`,
		column(`"format":"hex"`), column(`"of":"b"`), column(`"format":"ratio"`), column(`"format":"text","of":"b"`), column(`"path2":"a"`),
		column(`"unit":"MiB"`), column(`"format":"bytes","unit":"mib"`), column(`"format":"number","display":"GB"`),
		column(`"format":"age","show":"date"`),
		column(`"format":"time","show":"hour"`), column(`"format":"time","source":"ticks"`), column(`"format":"enum"`),
		column(`"format":"more"`),
		column(`"format":"text","items":{"a":{}}`), column(`"format":"enum","items":{"a":{"color":"pink"}}`),
		column(`"format":"enum","items":{"a":{"x":1}}`),
		column(`"format":"list","item":{"format":"enum"}`), column(`"format":"dict","member":"a"`), column(`"format":"list","member":"@name"`),
		column(`"format":"badge","style":{"tone":"great"}`), column(`"style":{}`), column(`"titles":{"korean!":"A"}`),
		column(`"titles":{"ko":""}`),
		column(`"width":1001`), column(`"width":-1`), column(`"width":1.5`), column(`"unsortable":true,"sortBy":"b"`), column(`"asset":{}`),
		column(`"asset":{"type":"a","by":"hash"}`), column(`"href":"a..b"`), column(`"sortBy":"[a=b]"`), column(`"description":"a\u0007"`),
		column(`"format":"more","sections":[{"title":"S","kind":"fields","columns":[{"title":"A","path":"@uid"}]}]`),
		`{"columns":[{"title":"A","path":"a."}]}`, `{"columns":[{"title":"A","path":".a"}]}`, `{"columns":[{"title":"A","path":"a[b]"}]}`,
		`{"columns":[{"title":"A","path":"a[b=c"}]}`, `{"columns":[{"title":"A","path":"a[b=c]d"}]}`,
		`{"columns":[{"title":"A","path":"a[b=c]."}]}`,
		`{"columns":[{"title":"A","path":"@labels."}]}`, `{"columns":[{"title":"A","path":"@name.x"}]}`,
		`{"columns":[{"title":"A","path":"@"}]}`,
		section(`"kind":"tree"`), section(`"kind":"table","path":"a"`), section(`"kind":"table","columns":[{"title":"A","path":"a"}]`),
		section(`"kind":"list"`), section(`"kind":"list","path":"a","columns":[{"title":"A","path":"a"}]`),
		section(`"kind":"list","path":"@labels"`),
		section(`"kind":"fields"`), section(`"kind":"fields","path":"a","columns":[{"title":"A","path":"@uid"}]`), section(`"kind":"records"`),
		section(`"kind":"records","path":"a","sort":{"path":"@name"}`), section(`"kind":"raw","text":"a"`), section(`"kind":"markdown"`),
		section(`"kind":"markdown","text":"a","path":"b"`), section(`"kind":"markdown","path":"b","texts":{"ko":"a"}`),
		section(`"kind":"markdown","text":"a\u001b"`), section(`"kind":"query","columns":[{"title":"A","path":"a"}]`),
		section(`"kind":"query","query":{}`),
		section(`"kind":"query","query":{"by":"a"},"columns":[{"title":"A","path":"a"}]`),
		section(`"kind":"query","query":{"function":"count"},"columns":[{"title":"A","path":"a"}]`),
		section(`"kind":"group"`), section(`"kind":"group","sections":[{"title":"A"}]`), section(`"kind":"popup","sections":[]`),
		section(`"kind":"popup","path":"a","sections":[{"title":"B","kind":"fields","columns":[{"title":"A","path":"@uid"}]}]`),
		section(`"kind":"group","sections":[{"title":"A","kind":"group","sections":[{"title":"A","kind":"group",
			"sections":[{"title":"A","kind":"raw"}]}]}]`),
		section(`"kind":"card"`), section(`"kind":"card","path":"a","query":{}`), section(`"kind":"card","path":"a","format":"time"`),
		section(`"kind":"card","query":{"function":"sum"}`), section(`"kind":"card","query":{"of":"a"}`),
		section(`"kind":"card","query":{"by":"a"}`),
		section(`"kind":"chart","path":"a","name":"b","value":"c"`), section(`"kind":"chart","chart":"pie","path":"a","name":"b","value":"c"`),
		section(`"kind":"chart","chart":"bar","path":"a","name":"b"`), section(`"kind":"chart","chart":"bar","query":{}`),
		section(`"kind":"chart","chart":"bar","query":{"by":"a","top":101}`),
		section(`"kind":"chart","chart":"bar","query":{"by":"a"},"name":"b"`),
		section(`"kind":"chart","chart":"bar","query":{"by":"a","function":"median","of":"b"}`),
		`{"widgets":[{"title":"W","kind":"raw"}]}`, `{"widgets":[{"title":"W","kind":"card","path":"a"}]}`,
		`{"columns":[` + strings.Repeat(`{"title":"A","path":"a"},`, 64) + `{"title":"A","path":"a"}]}`,
		`{"widgets":[` + strings.Repeat(`{"title":"W","kind":"card","query":{}},`, 16) + `{"title":"W","kind":"card","query":{}}]}`,
	},
}

func column(members string) string {
	return `{"columns":[{"title":"A","path":"a",` + members + `}]}`
}

func section(members string) string { return `{"sections":[{"title":"S",` + members + `}]}` }

func TestSchemaAndCheckerAgree(t *testing.T) {
	s := schema(t)
	for right, layouts := range corpus {
		for _, text := range layouts {
			agree(t, s, text, &right)
		}
	}
	// What collectors bring.
	for _, pattern := range []string{"../../plugins/*/layouts/*.json"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			right := true
			agree(t, s, string(text), &right)
		}
	}
}

// agree holds the checker and the schema against each other, and against what is wanted.
func agree(t *testing.T, s *jsonschema.Schema, text string, right *bool) {
	t.Helper()
	_, checked := Parse([]byte(text))
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err == nil {
		err = s.Validate(doc)
	}
	if (checked == nil) != (err == nil) || right != nil && *right != (err == nil) {
		t.Errorf("%.300s\nthe checker says: %v\nthe schema says: %v", text, checked, err)
	}
}

// TestSchemaAndCheckerAgreeOnMutants takes single members away from what is right, and puts
// single ones of others in.
func TestSchemaAndCheckerAgreeOnMutants(t *testing.T) {
	s := schema(t)
	// Members to put in, each once.
	type member struct {
		key   string
		value any
	}
	var donors []member
	seen := make(map[string]bool)
	parse := func(text string) (v map[string]any) {
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, text := range corpus[true] {
		each(parse(text), func(m map[string]any) {
			for k, v := range m {
				if list, ok := v.([]any); ok && len(list) == 0 {
					continue // empty, which the schema wants left out
				}
				if id := k + toJSON(t, v); !seen[id] {
					seen[id] = true
					donors = append(donors, member{k, v})
				}
			}
		})
	}
	n := 0
	try := func(root any) {
		text, err := json.Marshal(root)
		if err != nil {
			t.Fatal(err)
		}
		n++
		agree(t, s, string(text), nil)
	}
	for _, text := range corpus[true] {
		root := parse(text)
		each(root, func(m map[string]any) {
			for k, v := range m {
				delete(m, k)
				try(root)
				m[k] = v
			}
			for _, d := range donors {
				if _, there := m[d.key]; !there {
					m[d.key] = d.value
					try(root)
					delete(m, d.key)
				}
			}
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d mutants", n)
}

// each calls visit for every object.
func each(v any, visit func(map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		var inner []any
		for _, e := range v {
			inner = append(inner, e)
		}
		visit(v)
		for _, e := range inner {
			each(e, visit)
		}
	case []any:
		for _, e := range v {
			each(e, visit)
		}
	}
}

func TestReadTakesWhatItKnows(t *testing.T) {
	l, err := Read([]byte(`{"icon":"hologram","shine":true,"columns":[{"title":"A","path":"a","format":"aura","hue":3,"wide":true},
		{"title":"B","path":"b","format":"bytes"},{"title":"C","path":"c","format":"ratio"},{"title":"D","path":"d","titel":"x"}],
		"status":{"good":["On"],"odd":["x"]},"search":["a","b[c=d]"],
		"sections":[{"title":"S","kind":"hologram","path":"a"},
		{"title":"T","kind":"table","path":"t","columns":[{"title":"E","path":"e","format":"aura"}]},
		{"title":"G","kind":"group","sections":[{"title":"H","kind":"hologram"},{"title":"R","kind":"raw"}]},
		{"title":"N","kind":"group","sections":[{"title":"H","kind":"hologram"}]}],
		"widgets":[{"title":"W","kind":"card","query":{"by":"a"}},{"title":"V","kind":"card","query":{}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintln(len(l.Columns), l.Columns[0].Format, l.Columns[0].Wide, l.Columns[1].Format, l.Columns[2].Title, l.Icon,
		l.Search, len(l.Sections),
		l.Sections[0].Columns[0].Title, len(l.Sections[1].Sections),
		len(l.Widgets), l.Widgets[0].Title); got != "3  true bytes D  [a] 2 E 1 1 V\n" {
		t.Errorf("got %s", got)
	}
	for _, text := range corpus[true] {
		want, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Read([]byte(text))
		if err != nil || toJSON(t, got) != toJSON(t, want) {
			t.Errorf("%s: reads as %s: %v", text, toJSON(t, got), err)
		}
	}
}

func toJSON(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
