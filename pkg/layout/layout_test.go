package layout

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

const pod = `{
	"icon": "pod",
	"columns": [
		{"title": "READY", "path": "derived.readyContainers", "of": "derived.containers", "format": "number"},
		{"title": "STATUS", "path": "@status", "format": "status"},
		{"title": "AGE", "path": "metadata.creationTimestamp", "format": "age"},
		{"title": "READY SINCE", "path": "status.conditions[type=Ready].lastTransitionTime", "format": "time", "wide": true}
	],
	"status": {"good": ["Running"], "warning": ["Pending", "Init:*"], "bad": ["Error", "Init:Error", "*"], "done": ["Succeeded"]},
	"search": ["spec.nodeName", "@labels.app.kubernetes.io/name"],
	"sections": [
		{"title": "Containers", "kind": "table", "path": "spec.containers", "columns": [{"title": "Name", "path": "name"}]},
		{"title": "Labels", "kind": "fields", "path": "metadata.labels"},
		{"title": "Arguments", "kind": "list", "path": "spec.containers.args"},
		{"title": "Pod", "kind": "fields", "columns": [{"title": "Project", "path": "@project"}]}
	]
}`

func TestParse(t *testing.T) {
	l, err := Parse([]byte(pod))
	if err != nil {
		t.Fatal(err)
	}
	if l.Icon != "pod" || len(l.Columns) != 4 || l.Columns[0].Of != "derived.containers" || !l.Columns[3].Wide || len(l.Sections) != 4 {
		t.Fatalf("%+v", l)
	}
	for word, want := range map[string]Tone{"Running": Good, "Init:0/2": Warning, "Pending": Warning, "Succeeded": Done, "Odd": Bad,
		"Init:Error": Bad, "Init:Er": Warning} {
		if got := l.Status.Tone(word); got != want {
			t.Errorf("%s is %d, want %d", word, got, want)
		}
	}
	if tone := (Status{Good: []string{"Up"}, Done: []string{"Over"}}).Tone("up"); tone != Neutral {
		t.Errorf("an unknown word is %d", tone)
	}
	if !slices.IsSorted(Icons) {
		t.Error("the icons are not sorted")
	}
}

func TestParseNamesThePlace(t *testing.T) {
	column := func(c string) string { return `{"columns":[{"title":"A","path":"a"},` + c + `]}` }
	section := func(s string) string { return `{"sections":[` + s + `]}` }
	for data, want := range map[string]string{
		``:                           "must be a JSON object",
		`[]`:                         "must be a JSON object",
		`{"columns":`:                "layout: ",
		`{} {}`:                      "layout: ",
		`{"icons":"pod"}`:            `"icons"`,
		`{"columns":[],"columns":1}`: `"columns"`,
		`{"columns":[{"title":"A","path":"a","wide":"yes"}]}`: "/columns/0/wide",
		`{"icon":"dragon"}`:    `icon: "dragon" is not one of`,
		column(`{"path":"a"}`): "columns[1].title: ",
		column(`{"title":"` + strings.Repeat("x", 300) + `","path":"a"}`):                               "columns[1].title: ",
		column(`{"title":"a\u001b[31m","path":"a"}`):                                                    "columns[1].title: ",
		column(`{"title":"B"}`):                                                                         "columns[1].path: ",
		column(`{"title":"B","path":"a..b"}`):                                                           "a key is missing",
		column(`{"title":"B","path":".a"}`):                                                             "a key is missing",
		column(`{"title":"B","path":"a."}`):                                                             "a key is missing",
		column(`{"title":"B","path":"[a=b].c"}`):                                                        "a key is missing",
		column(`{"title":"B","path":"a[b=c"}`):                                                          "a ] is missing",
		column(`{"title":"B","path":"a[0]"}`):                                                           "[type=Ready]",
		column(`{"title":"B","path":"a]b[c"}`):                                                          "[type=Ready]",
		column(`{"title":"B","path":"a[b=c]d"}`):                                                        "begins with a dot",
		column(`{"title":"B","path":"a[b=c]."}`):                                                        "begins with a dot",
		column(`{"title":"B","path":"@owner"}`):                                                         "is not one of @name",
		column(`{"title":"B","path":"@name.x"}`):                                                        "is not one of @name",
		column(`{"title":"B","path":"a","format":"hex"}`):                                               `columns[1].format: "hex"`,
		column(`{"title":"B","path":"a","of":"b"}`):                                                     "columns[1].of: only numbers",
		column(`{"title":"B","path":"a","of":"b","format":"link"}`):                                     "columns[1].of: only numbers",
		column(`{"title":"B","path":"a","of":"b..c","format":"bytes"}`):                                 "columns[1].of: ",
		column(`{"title":"B","path":"a","format":"ratio"}`):                                             "columns[1].of: a ratio needs it",
		`{"columns":[` + strings.Repeat(`{"title":"A","path":"a"},`, 64) + `{"title":"A","path":"a"}]}`: "columns: 65 of them",
		`{"status":{"bad":["Error",""]}}`:                                                               "status.bad[1]: ",
		`{"search":["a","b[c=d]"]}`:                                                                     "search[1]: ",
		section(`{"title":"S","kind":"tree","path":"a"}`):                                               `sections[0].kind: "tree"`,
		section(`{"title":"S","kind":"table","path":"a"}`):                                              "sections[0].columns: ",
		section(`{"title":"S","kind":"table","columns":[{"title":"A","path":"a"}]}`):                    "sections[0].path: ",
		section(`{"title":"S","kind":"list","path":"a","columns":[{"title":"A","path":"a"}]}`):          "sections[0].columns: ",
		section(`{"title":"S","kind":"fields"}`):                                                        "sections[0]: ",
		section(`{"title":"S","kind":"fields","path":"a","columns":[{"title":"A","path":"@uid"}]}`):     "sections[0].columns[0].path: ",
		section(`{"title":"S","kind":"list","path":"@labels"}`):                                         "sections[0].path: ",
		`{"icon":"` + strings.Repeat("x", MaxSize) + `"}`:                                               "largest allowed",
	} {
		if _, err := Parse([]byte(data)); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "layout") {
			t.Errorf("%.100s: got %v, want %q in it", data, err, want)
		}
	}
}

func subject(t testing.TB, doc string) Subject {
	t.Helper()
	s := Subject{Basics: map[string]any{"name": "web-1", "labels": map[string]any{"app.kubernetes.io/name": "web"}}}
	if err := json.Unmarshal([]byte(doc), &s.Document); err != nil {
		t.Fatal(err)
	}
	return s
}

const document = `{
	"metadata": {"creationTimestamp": "2026-03-01T10:00:00Z", "labels": {"a.b/c": "x", "a": {"b/c": "y"}, "tier": "front"}},
	"spec": {"replicas": 3, "unlimited": -1, "page": "https://console.example.com/a?b=c", "big": 1234567890123, "paused": false, "none": null,
		"containers": [{"name": "c1", "args": ["-v", "-x"], "ports": [{"port": 80}, {"port": 443}]}, {"name": "c2"}]},
	"status": {"ready": 1, "memory": 1610612736, "used": 805306368, "cpu": 0.25049,
		"conditions": [{"type": "Ready", "status": "False", "n": 1}, {"type": "Other.One", "status": "True", "n": 2}]}
}`

func TestText(t *testing.T) {
	s := subject(t, document)
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		column Column
		want   string
	}{
		{Column{Path: "spec.replicas"}, "3"},
		{Column{Path: "spec.big", Format: Number}, "1234567890123"},
		{Column{Path: "spec.paused", Format: Bool}, "false"},
		{Column{Path: "spec.none"}, ""},
		{Column{Path: "spec.replicas.none"}, ""},
		{Column{Path: "nothing.here", Format: Bytes}, ""},
		{Column{Path: "@name"}, "web-1"},
		{Column{Path: "@labels.app.kubernetes.io/name"}, "web"},
		{Column{Path: "@status", Format: StatusWord}, ""},
		{Column{Path: "spec.containers.name", Format: List}, "c1,c2"},
		{Column{Path: "spec.containers.args", Format: List}, "-v,-x"},
		{Column{Path: "spec.containers.ports.port", Format: List}, "80,443"},
		{Column{Path: "spec.containers[name=c2].name"}, "c2"},
		{Column{Path: "spec.containers[name=c1]"}, "args=-v,-x,name=c1,ports=port=80,port=443"},
		{Column{Path: "spec.containers.ports[port=443].port"}, "443"},
		{Column{Path: "metadata.labels.a.b/c"}, "y,x"},
		{Column{Path: "metadata.labels.tier"}, "front"},
		{Column{Path: "status.conditions[type=Ready].status"}, "False"},
		{Column{Path: "status.conditions[type=Other.One].status"}, "True"},
		{Column{Path: "status.conditions[type=Absent].status"}, ""},
		{Column{Path: "status.ready[type=Ready].status"}, ""},
		{Column{Path: "status.conditions[n=2].type"}, "Other.One"},
		{Column{Path: "metadata.creationTimestamp", Format: Age}, "2h0m0s"},
		{Column{Path: "metadata.creationTimestamp", Format: Time}, "2026-03-01T10:00:00Z"},
		{Column{Path: "spec.containers.name", Format: Age}, "c1,c2"},
		{Column{Path: "status.memory", Format: Bytes}, "1.5GiB"},
		{Column{Path: "spec.replicas", Format: Bytes}, "3B"},
		{Column{Path: "metadata.labels.tier", Format: Bytes}, "front"},
		{Column{Path: "status.cpu", Format: Cores}, "0.25"},
		{Column{Path: "status.ready", Of: "spec.replicas", Format: Number}, "1/3"},
		{Column{Path: "status.absent", Of: "spec.replicas", Format: Number}, "0/3"},
		{Column{Path: "status.absent", Of: "spec.absent", Format: Number}, ""},
		{Column{Path: "status.used", Of: "status.memory", Format: Bytes}, "768MiB/1.5GiB"},
		{Column{Path: "status.used", Of: "status.memory", Format: Ratio}, "50%"},
		{Column{Path: "status.used", Of: "status.absent", Format: Ratio}, ""},
		{Column{Path: "spec.containers", Format: Count}, "2"},
		{Column{Path: "metadata.labels", Format: Count}, "3"},
		{Column{Path: "spec.containers.name", Format: Count}, "2"},
		{Column{Path: "spec.absent", Format: Count}, ""},
		{Column{Path: "spec.absent", Of: "spec.containers", Format: Count}, "0/2"},
		{Column{Path: "status.ready", Of: "spec.unlimited", Format: Number}, "1"},
		{Column{Path: "status.absent", Of: "spec.unlimited", Format: Bytes}, "0B"},
		{Column{Path: "status.ready", Of: "spec.unlimited", Format: Ratio}, ""},
		{Column{Path: "spec.replicas", Format: Bytes, Unit: "GiB"}, "3GiB"},
		{Column{Path: "status.memory", Format: Bytes, Display: "MB"}, "1610.61MB"},
		{Column{Path: "status.used", Of: "status.memory", Format: Bytes, Unit: "kB", Display: "GB"}, "805.31GB/1610.61GB"},
		{Column{Path: "spec.big", Format: Time, Source: "milliseconds"}, "2009-02-13T23:31:30Z"},
		{Column{Path: "spec.replicas", Format: Time, Source: "seconds", Show: "minute"}, "1970-01-01T00:00Z"},
		{Column{Path: "spec.big", Format: Time, Source: "seconds"}, "1234567890123"},
		{Column{Path: "metadata.creationTimestamp", Format: Time, Show: "date"}, "2026-03-01"},
		{Column{Path: "spec.paused", Format: Enum, Items: map[string]Style{"false": {Label: "running"}}}, "running"},
		{Column{Path: "metadata.labels.tier", Format: Enum, Items: map[string]Style{"back": {Label: "Back"}}}, "front"},
		{Column{Path: "metadata.labels.tier", Format: Badge, Style: &Style{Color: "red"}}, "front"},
		{Column{Path: "metadata.labels", Format: Dict}, "a: b/c=y; a.b/c: x; tier: front"},
		{Column{Path: "spec.containers", Format: List, Member: "ports.port", Delimiter: " | "}, "80 | 443"},
		{Column{Path: "spec.containers.ports.port", Format: List, Item: &Style{Format: Bytes}}, "80B,443B"},
		{Column{Path: "spec.containers", Format: More}, "2"},
		{Column{Path: "spec.containers", Format: More, Member: "name"}, "c1,c2"},
		{Column{Path: "spec.replicas", Format: Progress}, "3%"},
		{Column{Path: "status.ready", Of: "spec.replicas", Format: Progress}, "33%"},
		{Column{Path: "spec.containers[name=c2]", Format: JSON}, `{"name":"c2"}`},
		{Column{Path: "spec.containers.args", Format: JSON}, `["-v","-x"]`},
		{Column{Path: "spec.none", Default: "-", Prefix: "<"}, "-"},
		{Column{Path: "spec.replicas", Prefix: "x", Suffix: " pcs"}, "x3 pcs"},
		{Column{Path: "metadata.labels.tier", Width: 3}, "fr…"},
		{Column{Path: "metadata.labels.tier", Width: 5}, "front"},
		{Column{Path: "spec.page", Format: Link}, "https://console.example.com/a?b=c"},
		{Column{Path: "metadata.labels.tier", Format: Link}, "front"},
		{Column{Path: "spec.replicas", Format: Link}, "3"},
	} {
		if got := test.column.Text(s, func(t time.Time) string { return now.Sub(t).String() }); got != test.want {
			t.Errorf("%s of %s as %s: got %q, want %q", test.column.Path, test.column.Of, test.column.Format, got, test.want)
		}
	}
	var rows []string
	for _, e := range s.Elements("spec.containers") {
		rows = append(rows, (&Column{Path: "name"}).Text(e, nil))
	}
	if !slices.Equal(rows, []string{"c1", "c2"}) {
		t.Errorf("rows %q", rows)
	}
}

func TestIsLink(t *testing.T) {
	for value, want := range map[string]bool{
		"https://console.example.com/a?b=c#d": true, "http://10.0.0.1:8080": true, "HTTPS://console.example.com": true, "http://[::1]/": true,
		"": false, "console.example.com": false, "/project/instances": false, "//console.example.com/": false, "https:": false,
		"https:///a":    false,
		"https://:443/": false, "https:console": false, "ftp://a.b/": false, "file:///etc/passwd": false, "javascript:alert(1)": false,
		"data:text/html,x":     false,
		" javascript:alert(1)": false, "java\nscript:alert(1)": false, "https://a.b/\n": false, "https://user:secret@a.b/": false,
		"https://a.b@c.d/": false,
		"http://a.b/%zz":   false,
	} {
		if got := IsLink(value); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

func TestBytes(t *testing.T) {
	for n, want := range map[float64]string{
		0: "0B", 1023: "1023B", 1024: "1KiB", 1536: "1.5KiB", 10*1024 + 512: "10KiB", 1 << 30: "1GiB", 1 << 62: "4EiB", 1e30: "867361737988EiB",
		-2048: "-2KiB",
	} {
		if got := number(n, Bytes); got != want {
			t.Errorf("%v: got %q, want %q", n, got, want)
		}
	}
}

// FuzzParse draws whatever is taken for a layout.
func FuzzParse(f *testing.F) {
	f.Add([]byte(pod), document)
	for _, layouts := range corpus {
		for _, text := range layouts {
			f.Add([]byte(text), document)
		}
	}
	f.Add([]byte(`{"columns":[{"title":"A","path":"a[b=c].d"}]}`), `{"a":[{"b":"c","d":[[1]]}]}`)
	f.Fuzz(func(t *testing.T, data []byte, doc string) {
		lenient, readErr := Read(data)
		if readErr == nil {
			again, err := json.Marshal(lenient)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Parse(again); err != nil && len(again) <= MaxSize {
				t.Fatalf("%s is read, but refused when written again: %v", again, err)
			}
		}
		l, err := Parse(data)
		if err != nil {
			return
		}
		if readErr != nil {
			t.Fatalf("%s is right, but cannot be read: %v", data, readErr)
		}
		again, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		second, err := Parse(again)
		if err != nil && len(again) <= MaxSize {
			t.Fatalf("%s is refused when written again: %v", again, err)
		}
		if err == nil && toJSON(t, second) != string(again) {
			t.Fatalf("%s is not %s", toJSON(t, second), again)
		}
		var s Subject
		if json.Unmarshal([]byte(doc), &s.Document) != nil {
			return
		}
		age := func(t time.Time) string { return t.String() }
		for _, c := range l.Columns {
			c.Text(s, age)
		}
		for _, section := range append(l.Sections, l.Widgets...) {
			section.Show(s, "ko", age)
			for _, e := range s.Elements(section.Path) {
				for _, c := range section.Columns {
					c.Text(e, age)
				}
			}
		}
	})
}
