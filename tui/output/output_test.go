package output_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/goccy/go-yaml"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/tui/output"
)

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"":                      "",
		"web-1 (웹서버) é 😀":       "web-1 (웹서버) é 😀",
		`C:\temp "x" 'y'`:       `C:\temp "x" 'y'`,
		"\x1b[31m":              `\x1b[31m`,
		"a\nb\r\tc\x00":         `a\nb\r\tc\x00`,
		"\u009b2J\u0085\x7f":    `\u009b2J\u0085\x7f`,
		"\u202egpj.exe\u2066":   `\u202egpj.exe\u2066`,
		"\ufeff\u200b\u2028":    `\ufeff\u200b\u2028`,
		"\U000e0041":            `\U000e0041`,
		"bad \xff\xc3 utf-8":    `bad \xff\xc3 utf-8`,
		"replacement \ufffd ok": "replacement \ufffd ok",
	} {
		if got := output.Escape(in); got != want {
			t.Errorf("Escape(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("a\x1b[2J\xff\u202e")
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range output.Escape(s) {
			if !unicode.IsPrint(r) {
				t.Fatalf("Escape(%q) has %q", s, r)
			}
		}
	})
}

func TestAge(t *testing.T) {
	const day = 24 * time.Hour
	for d, want := range map[time.Duration]string{
		0:                        "0s",
		-100 * time.Millisecond:  "0s",
		90 * time.Second:         "90s",
		2 * time.Minute:          "2m",
		119 * time.Minute:        "119m",
		26 * time.Hour:           "26h",
		47*time.Hour + time.Hour: "2d",
		400 * day:                "400d",
		800 * day:                "2y",
		-3 * time.Hour:           "in 3h",
		-5 * time.Second:         "in 5s",
	} {
		if got := output.Age(d); got != want {
			t.Errorf("Age(%s) = %q, want %q", d, got, want)
		}
	}
}

func TestParseFormat(t *testing.T) {
	if f, err := output.ParseFormat("json", output.Table, output.JSON); f != output.JSON || err != nil {
		t.Errorf("got %q, %v", f, err)
	}
	if _, err := output.ParseFormat("yaml", output.Table, output.JSON); err == nil ||
		!strings.Contains(err.Error(), "must be one of table, json") {
		t.Errorf("got %v", err)
	}
}

func columns() []output.Column[*reevev1.Site] {
	return []output.Column[*reevev1.Site]{
		{Heading: "NAME", Value: (*reevev1.Site).GetName, Color: func(*reevev1.Site) output.Color { return output.Green }},
		{Heading: "END", Value: func(*reevev1.Site) string { return "x" }},
	}
}

func write(t *testing.T, p *output.Printer, pages ...[]string) string {
	t.Helper()
	var b bytes.Buffer
	p.Writer = &b
	l := output.NewList(p, "sites", columns())
	for _, names := range pages {
		var page []*reevev1.Site
		for _, name := range names {
			page = append(page, &reevev1.Site{Name: name})
		}
		if err := l.Write(page); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTable(t *testing.T) {
	long := strings.Repeat("y", 150)
	for name, test := range map[string]struct {
		printer output.Printer
		pages   [][]string
		want    string
	}{
		"empty": {printer: output.Printer{Format: output.Table}},
		"pages": {
			// The widths of a page hold for the next ones.
			printer: output.Printer{Format: output.Table},
			pages:   [][]string{{"longer-name", "b"}, {}, {"c"}},
			want:    "NAME          END\nlonger-name   x\nb             x\nc             x\n",
		},
		"no headers": {
			printer: output.Printer{Format: output.Table, NoHeaders: true},
			pages:   [][]string{{"a", ""}},
			want:    "a   x\n-   x\n",
		},
		"wide characters": {
			printer: output.Printer{Format: output.Table, NoHeaders: true},
			pages:   [][]string{{"서울", "abcd", "e\u0301"}},
			want:    "서울   x\nabcd   x\ne\u0301      x\n",
		},
		"absurd name": {
			printer: output.Printer{Format: output.Table, NoHeaders: true},
			pages:   [][]string{{long, "a"}},
			want:    long + "   x\na   x\n",
		},
		"color": {
			printer: output.Printer{Format: output.Table, NoHeaders: true, Color: true},
			pages:   [][]string{{"a", "bc\x1b[0m"}},
			want:    "\x1b[32ma\x1b[0m           x\n\x1b[32mbc\\x1b[0m\x1b[0m   x\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := write(t, &test.printer, test.pages...); got != test.want {
				t.Errorf("got\n%q, want\n%q", got, test.want)
			}
		})
	}
}

func TestTime(t *testing.T) {
	at := timestamppb.New(time.Date(2026, 3, 1, 12, 0, 0, 999, time.FixedZone("KST", 9*3600)))
	now := at.AsTime().Add(5 * time.Minute)
	for format, want := range map[output.Format]string{output.Table: "5m", output.Wide: "2026-03-01T03:00:00Z"} {
		p := output.Printer{Format: format, Now: now}
		if got := p.Time(at); got != want {
			t.Errorf("%s: got %q, want %q", format, got, want)
		}
		if got := p.Time(nil); got != "" {
			t.Errorf("%s: no time is %q", format, got)
		}
	}
}

// FuzzDocument checks that JSON and YAML give every document back as it was, and
// never anything that a terminal would obey.
func FuzzDocument(f *testing.F) {
	for _, s := range []string{
		"", "yes", "null", "~", "1.0", "0x1f", "1_000", ".5", "1:30", "a\nb", " a\n b\n", "- a", "# b", "a: b", "a #b",
		"2024-01-01", "\x1b[31m", "\u0085", "\u2028", "<<", "=", "!x", "&a", "*a", "%", "@", "`", "|", ">", "{", "[", "'",
		`"`, `\`, "a\r\nb", "\t", "a\t", "\ufeff", "---", "...", "?", "? a", "-", ":", "a:", "a::b", "/", "\U000e0041", "e\u0301",
		"a b", "a  b", "a ", "No", "ON", ".inf", "웹서버",
	} {
		f.Add(s, 1.5)
	}
	f.Fuzz(func(t *testing.T, s string, n float64) {
		s = strings.ToValidUTF8(s, "?")
		document, err := structpb.NewStruct(map[string]any{
			"k" + s: s,
			s:       map[string]any{"list": []any{s, n, nil, true, []any{}, []any{s, []any{s}}, map[string]any{}, map[string]any{s: s, "z": s}}},
		})
		if err != nil {
			t.Skip(err)
		}
		for format, decode := range map[output.Format]func([]byte, *any) error{
			output.JSON: func(b []byte, v *any) error { return json.Unmarshal(b, v) },
			output.YAML: func(b []byte, v *any) error { return yaml.Unmarshal(b, v) },
		} {
			var b bytes.Buffer
			p := output.Printer{Writer: &b, Format: format}
			if err := p.Document(document); err != nil {
				t.Skip(err)
			}
			for _, r := range b.String() {
				if r != '\n' && !unicode.IsPrint(r) {
					t.Fatalf("%s has %q:\n%s", format, r, &b)
				}
			}
			var got any
			if err := decode(b.Bytes(), &got); err != nil {
				t.Fatalf("%s: %v\n%s", format, err, &b)
			}
			if want := document.AsMap(); !reflect.DeepEqual(floats(got), any(want)) {
				t.Fatalf("%s:\n%s\ngot  %#v\nwant %#v", format, &b, got, want)
			}
		}
	})
}

// floats turns the integers of a decoded value into floats, which is all that a
// document has.
func floats(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = floats(v[k])
		}
	case []any:
		for i := range v {
			v[i] = floats(v[i])
		}
	case uint64:
		return float64(v)
	case int64:
		return float64(v)
	}
	return v
}

func TestMomentsAndExpiries(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	past, future := timestamppb.New(now.Add(-106*time.Second)), timestamppb.New(now.Add(106*time.Second))
	table, wide := &output.Printer{Format: output.Table, Now: now}, &output.Printer{Format: output.Wide, Now: now}
	for got, want := range map[string]string{
		table.Expiry(past):   "expired 106s ago",
		table.Expiry(future): "in 106s",
		wide.Expiry(past):    "expired 2026-03-01T11:58:14Z",
		wide.Expiry(future):  "2026-03-01T12:01:46Z",
		table.Moment(past):   "106s ago",
		wide.Moment(past):    "2026-03-01T11:58:14Z",
		table.Expiry(nil):    "",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
