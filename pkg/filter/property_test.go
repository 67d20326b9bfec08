package filter

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/reeve-cloud/reeve/pkg/document"
)

// maker makes random trees and texts of random parts.
type maker struct{ *rand.Rand }

func pick[T any](m maker, of ...T) T { return of[m.IntN(len(of))] }

func (m maker) text() string {
	if m.IntN(3) > 0 {
		return pick(m, "api", "api-0", "Running", "a b", "7", "n7", "lab", "shop", "2", "10GB", "1h", "-7d",
			"True", "http", "pod", "o", "ß", "Σ", "cloud")
	}
	var b strings.Builder
	for range 1 + m.IntN(6) {
		b.WriteString(pick(m, "a", "B", "*", `\`, `"`, "'", "“", " ", ".", ":", "(", ")", "=",
			"<", "-", "[", "]", "é", "\u2028", "\n", ",", "~", "!", "AND", "OR", "NOT", "@", "now", "9", "%", "$", "\u200b", "🂡"))
	}
	return b.String()
}

func (m maker) key() string {
	if m.IntN(4) > 0 {
		return pick(m, "spec", "status", "name", "labels", "conditions", "type", "doc", "image", "containers", "app",
			"@x", "vcpus", "memory", "list", "items", "id", "v")
	}
	return m.text()
}

// path is keys joined by dots. One that is parsed cannot say where keys with dots end, nor need it.
func (m maker) path() string {
	keys := make([]string, 1+m.IntN(3))
	for i := range keys {
		keys[i] = m.key()
	}
	return strings.Join(keys, ".")
}

func (m maker) field() Field {
	switch m.IntN(4) {
	case 0:
		return Field{Space: Fixed, Name: pick(m, FixedFields...).Name}
	case 1:
		return Field{Space: Label, Name: m.path()}
	}
	f := Field{Space: Document, Name: pick(m, m.path(), m.path(), "vcpus", "memory", "spec.nodeName", "status.phase", "uptime", "list")}
	for m.IntN(4) == 0 {
		f.Picks = append(f.Picks, Pick{m.key(), m.text(), m.path()})
	}
	if n := len(f.Picks); n > 0 && m.IntN(3) == 0 {
		f.Picks[n-1].Path = ""
	}
	return f
}

func (m maker) compare() Node {
	if m.IntN(20) == 0 {
		return &Compare{Field: Field{Space: Label}, Op: Exists}
	}
	c := &Compare{Field: m.field(), Op: Op(1 + m.IntN(int(GreaterEqual)))}
	moment := c.Field.kind() == Time
	switch {
	case c.Op == Exists:
	case c.Op == Match:
		c.Values = []Value{{Text: pick(m, "a", "^api", `\d+$`, `a"b`, `\\`, "(x|y)*", `\*`, "[^]]", "(?i)RUN", "é")}}
	case c.Op.Ordering() && moment:
		c.Values = []Value{{Text: pick(m, "now", "-7d", "now+1h", "2026-11-01", "2026-11-01T10:00:00Z")}}
	case c.Op.Ordering():
		c.Values = []Value{{Text: pick(m, m.text(), "", "7", "4GiB", "500m", "1h30m", "-30m", "2026-11-29")}}
	default:
		for range 1 + m.IntN(3)*m.IntN(2) {
			v := Value{Text: m.text(), Before: m.IntN(4) == 0, After: m.IntN(4) == 0}
			if moment && c.Op == Equal && !v.Before && !v.After {
				v.Text = "2026-11-01"
			}
			if c.Field.Space == Label && c.Op == Equal && m.IntN(4) == 0 {
				v = Value{}
			}
			c.Values = append(c.Values, v)
		}
	}
	return c
}

// node makes a tree, with so many relations within each other at most.
func (m maker) node(depth, steps int) Node {
	if depth == 0 {
		if m.IntN(4) == 0 {
			return &Word{Text: m.text()}
		}
		return m.compare()
	}
	switch m.IntN(6) {
	case 0, 1:
		var list []Node
		for range 2 + m.IntN(2) {
			list = append(list, m.node(m.IntN(depth), steps))
		}
		if m.IntN(2) == 0 {
			return both(Pos{}, list...)
		}
		return either(Pos{}, list...)
	case 2:
		return negate(Pos{}, m.node(depth-1, steps))
	case 3:
		if steps > 0 {
			r := &Related{Kind: pick(m, "", "runs_on", "owns", "a b", `"`)}
			if m.IntN(3) > 0 {
				r.Node = m.node(depth-1, steps-1)
			}
			return r
		}
	}
	return m.node(depth-1, steps)
}

// TestTreesRoundTrip writes random trees and reads them again.
func TestTreesRoundTrip(t *testing.T) {
	_, w := readVectors(t)
	for seed := range uint64(20000) {
		m := maker{rand.New(rand.NewPCG(seed, 1))}
		root := m.node(m.IntN(7), MaxSteps)
		text := Write(root)
		f, err := Parse(text)
		if err != nil {
			t.Fatalf("seed %d: %s: %v", seed, text, err)
		}
		if !same(f.Root, root) {
			t.Fatalf("seed %d: %s is parsed to %s", seed, text, f.Canonical())
		}
		if seed%10 == 0 {
			w.match(t, f)
		}
		// A tree that was not parsed means the same.
		for _, name := range w.names {
			a, err1 := f.Match(w.assets[name], &w.env)
			b, err2 := (&Filter{Root: root}).Match(w.assets[name], &w.env)
			if a != b || err1 != nil || err2 != nil {
				t.Fatalf("seed %d: %s: %t parsed, %t as it is: %v, %v", seed, text, a, b, err1, err2)
			}
			if seed%50 != 0 {
				break
			}
		}
	}
}

// TestComplement holds each filter against its negation: one of both holds, never both.
func TestComplement(t *testing.T) {
	_, w := readVectors(t)
	for seed := range uint64(1000) {
		m := maker{rand.New(rand.NewPCG(seed, 2))}
		text := Write(m.node(m.IntN(4), MaxSteps))
		f, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		not, err := Parse("-(" + text + ")")
		if err != nil {
			t.Fatalf("-(%s): %v", text, err)
		}
		for _, name := range w.names {
			a, _ := f.Match(w.assets[name], &w.env)
			b, _ := not.Match(w.assets[name], &w.env)
			if a == b {
				t.Fatalf("%s: %s passes it and its negation: %t", text, name, a)
			}
		}
	}
}

// sentence makes a text that is a filter, or nearly.
func (m maker) sentence() string {
	var b strings.Builder
	for range 1 + m.IntN(8) {
		b.WriteString(pick(m, "name", "status", "spec.x", "labels.app", "labels", "created", "a", `"b c"`, "@name", "doc.a",
			"regex(name, ", "related(runs_on, ", "unrelated(", "*", "=", ":", "!=", "<", ">=", "~", "(", ")", " ", " ", " AND ", " OR ",
			"NOT ", "-", "[type=Ready]", "[", "]", ".", ",", "7", "-7d", `"`, `\`, "'", "“", "”", "or ", "and "))
	}
	return b.String()
}

// TestSentences holds what Parse makes of texts that are nearly filters: it either says what is wrong, within the text, or has a
// canonical form that means the same.
func TestSentences(t *testing.T) {
	_, w := readVectors(t)
	good := 0
	for seed := range uint64(30000) {
		m := maker{rand.New(rand.NewPCG(seed, 3))}
		if checkParse(t, w, m.sentence(), seed%20 == 0) {
			good++
		}
	}
	if good < 1000 {
		t.Errorf("only %d sentences are filters", good)
	}
}

// checkParse holds what must be so for any text, and reports whether it is a filter.
func checkParse(t testing.TB, w *world, text string, match bool) bool {
	t.Helper()
	f, err := Parse(text)
	if err != nil {
		list, ok := err.(Errors) //nolint:errorlint // it is never wrapped
		if !ok || len(list) == 0 || len(list) > maxErrors {
			t.Fatalf("%q: %T, %v", text, err, err)
		}
		checkNotices(t, text, list)
		return false
	}
	checkNotices(t, text, f.Warnings)
	Walk(f.Root, func(n Node) bool {
		if start, end := n.Span(); start < 0 || start >= end || end > len(text) {
			t.Errorf("%q: a node at %d to %d", text, start, end)
		}
		return true
	})
	if f.Root == nil {
		if strings.TrimFunc(text, isSpace) != "" {
			t.Fatalf("%q: no tree and no error", text)
		}
		return true
	}
	canonical := f.Canonical()
	again, err := Parse(canonical)
	if err != nil {
		t.Fatalf("%q: its canonical form %q: %v", text, canonical, err)
	}
	if !same(f.Root, again.Root) || again.Canonical() != canonical {
		t.Fatalf("%q: its canonical form %q is parsed to %q", text, canonical, again.Canonical())
	}
	if match {
		w.match(t, f)
	}
	return true
}

func checkNotices(t testing.TB, text string, list Errors) {
	t.Helper()
	last := 0
	for _, e := range list {
		if e.Start < last || e.End < e.Start || e.End > len(text) || e.Message == "" || strings.Contains(e.Message, "\n") {
			t.Errorf("%q: %+v", text, e)
		}
		last = e.Start
		if utf8.ValidString(text) && (!utf8.ValidString(text[:e.Start]) || !utf8.ValidString(text[:e.End])) {
			t.Errorf("%q: %+v is within a character", text, e)
		}
	}
}

// TestLimits holds each limit from both sides.
func TestLimits(t *testing.T) {
	many := func(n int, part, joined string) string {
		return strings.TrimSuffix(strings.Repeat(part+joined, n), joined)
	}
	nested := func(n int, open, in string) string {
		return strings.Repeat(open, n) + in + strings.Repeat(")", n)
	}
	const allowed, deep = "the longest allowed has 8192", "nested deeper than 32 levels"
	values := func(n int) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprint(i%10))
		}
		return "a=(" + strings.Join(list, " OR ") + ")"
	}
	for _, tt := range []struct {
		name, most, more, message string
		at                        int
	}{
		{"bytes", strings.Repeat("a", MaxSize), strings.Repeat("a", MaxSize+1), "a filter of 8193 bytes: " + allowed, MaxSize},
		{"bytes in characters", many(MaxSize/2, "é", ""), many(MaxSize/2, "é", "") + "a", "a filter of 8193 bytes: " + allowed, MaxSize},
		{"many bytes", strings.Repeat("a", MaxSize), strings.Repeat("(", 1<<20), "a filter of 1048576 bytes: " + allowed, MaxSize},
		{"brackets", nested(32, "(", "a"), nested(33, "(", "a"), deep, 32},
		{"negations", nested(16, "-(", "a"), nested(17, "-(", "a"), deep, 32},
		{"brackets in a list", "x:" + nested(32, "(", "a"), "x:" + nested(33, "(", "a"), deep, 34},
		{"brackets in a relation", "related(a, " + nested(31, "(", "a") + ")", "related(a, " + nested(32, "(", "a") + ")", deep, 42},
		{"relations", nested(4, "related(a, ", "a"), nested(5, "unrelated(a, ", "a"),
			"relations are asked for at most 4 steps away; for more there is the graph", 52},
		{"words", many(200, "a", " "), many(201, "a", " "), "more than 200 terms", 400},
		{"comparisons", many(200, "a=1", " OR "), many(201, "a=1", " OR "), "more than 200 terms", 1400},
		{"terms in brackets", "(" + many(199, "a", " OR ") + ") b", "(" + many(200, "a", " OR ") + ") b", "more than 200 terms", 999},
		{"terms of a written list", "a:(" + many(200, "b", " ") + ")", "a:(" + many(201, "b", " ") + ")", "more than 200 terms", 403},
		{"values", values(1000), values(1001), "more than 1000 values in lists", 5003},
		{"expressions", many(20, `a~"x"`, " "), many(21, `a~"x"`, " "), "more than 20 regular expressions", 120},
		{"functions", many(20, `regex(a, "x")`, " "), many(21, `regex(a, "x")`, " "), "more than 20 regular expressions", 280},
		{"an expression", `a~"` + many(512, "x", "") + `"`, `a~"` + many(513, "x", "") + `"`,
			"a regular expression of 513 bytes: the longest allowed has 512", 2},
		{"steps", `a~"b(x{100}|[a-z]{50})y{20,100}z"`, `a~"(xx{100}|[a-z]{50}){1}y{100}"`,
			"a regular expression whose repetitions make 251 steps: the most allowed are 250", 2},
		{"steps without an end", `a~"(ab){125,}"`, `a~"(abc){84,}"`,
			"a regular expression whose repetitions make 252 steps: the most allowed are 250", 2},
	} {
		if f, err := Parse(tt.most); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		} else if again, err := Parse(f.Canonical()); err != nil || !same(again.Root, f.Root) {
			t.Errorf("%s: the canonical form of what is allowed: %v", tt.name, err)
		}
		_, err := Parse(tt.more)
		list, _ := err.(Errors) //nolint:errorlint // it is never wrapped
		if len(list) == 0 || list[len(list)-1].Message != tt.message || list[len(list)-1].Start != tt.at {
			t.Errorf("%s: %.300v", tt.name, err)
		}
	}
	// What is written out may be longer than what was typed, but not without end.
	if _, err := Parse("a" + strings.Repeat("b", 4000) + ":(" + many(100, "c", " ") + ")"); err == nil {
		t.Error("a list that is written out to 400,000 bytes is taken")
	}
	if _, err := Parse(`name:"` + strings.Repeat("a", MaxSize) + `" `); err == nil {
		t.Error("a filter beyond 8 KiB that is not canonical is taken")
	}
	for _, bad := range []string{"a\x00b", "a\x1fb", "name:\"\x7f\"", "a\xffb", "\xc3"} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// TestWorkGrowsWithTheText counts what is allocated for texts of the worst kinds, in place of time.
func TestWorkGrowsWithTheText(t *testing.T) {
	parts := []string{"(", ")", "-", "-(", `"`, `\`, `"\`, "'", "“", "[", "]", "a[", "a[b=", ":", "a:", "a:(", "=", "a=", "a=b=", "<", ">",
		"~", "!", "!=", ",", "a,", "*", "a*", ".", "a.", "AND ", "OR ", "NOT ", "a AND b OR ",
		"a OR b AND (", "a:(b OR ", "related(", "related(a,", "regex(", "regex(a,", `a~"(`, "a ", " ", "é",
		"@", "@a ", "foo(", "fe80::", "00:", "x!~"}
	for _, a := range parts {
		for _, b := range append(parts, "") {
			work := func(size int) float64 {
				text := strings.Repeat(a+b, size/len(a+b))
				return testing.AllocsPerRun(1, func() {
					_, _ = Parse(text) //nolint:errcheck // only the work counts
					Complete(text, len(text))
				})
			}
			if few, many := work(MaxSize/8), work(MaxSize); many > 200+12*few {
				t.Errorf("%q: %.0f allocations for 1 KiB, %.0f for 8 KiB", a+b, few, many)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	v, w := readVectors(f)
	for _, seed := range v.Vectors {
		f.Add(seed.Filter)
	}
	f.Fuzz(func(t *testing.T, text string) {
		checkParse(t, w, text, len(text) < 500)
	})
}

// TestModel asks for what assets have, and nearly have, and holds the answers against the model.
func TestModel(t *testing.T) {
	_, w := readVectors(t)
	var fields []Field
	var values []string
	for _, name := range w.names {
		th := w.model.things[name]
		for path, texts := range th.texts {
			fields = append(fields, Field{Space: Document, Name: path})
			values = append(values, texts...)
			if i := strings.LastIndexByte(path, '.'); i > 0 {
				fields = append(fields, Field{Space: Document, Name: path[:i]})
				values = append(values, path[i+1:])
			}
		}
		for label, text := range th.labels {
			fields = append(fields, Field{Space: Label, Name: label})
			values = append(values, text)
		}
	}
	for _, f := range FixedFields {
		fields = append(fields, Field{Space: Fixed, Name: f.Name})
	}
	slices.SortFunc(fields, func(a, b Field) int { return strings.Compare(a.String(), b.String()) })
	slices.Sort(values)
	hits := 0
	for seed := range uint64(20000) {
		m := maker{rand.New(rand.NewPCG(seed, 4))}
		c := &Compare{Field: pick(m, fields...), Op: Op(2 + m.IntN(6))}
		if c.Field.Space == Document && m.IntN(8) == 0 {
			c.Field = Field{Space: Document, Name: pick(m, "status.conditions", "spec.containers", "items", "status.addresses"), Picks: []Pick{{
				pick(m, "type", "name", "id", "status"), pick(m, "Ready", "Available", "api", "2", "1", "True", "InternalIP"),
				pick(m, "status", "image", "v", "ports.containerPort", "address", "resources.limits.cpu"),
			}}}
		}
		v := Value{Text: pick(m, values...)}
		if m.IntN(3) == 0 {
			v.Text = pick(m, "5m", "8", "0", "-1", "1e3", "4Gi", "2GB", "500m", "now-1h", "2026-11-30", "90s", "1h", "zzz", "A",
				v.Text+"x", strings.ToUpper(v.Text))
		}
		switch {
		case c.Op == Match:
			v.Text = pick(m, "^", "", "(?i)") + regexp.QuoteMeta(v.Text[:m.IntN(len(v.Text)+1)])
		case c.Op.Ordering() && c.Field.kind() == Time:
			v.Text = pick(m, "now", "-1d", "2026-11-30T11:59:59.999Z", "2026-11-29T22:00:00Z", "2026-11-01")
		case c.Op == Equal && c.Field.kind() == Time:
			v.Text = pick(m, "2026-11-30T12:00:00Z", "2026-11-01", "2026-09-01T02:00:00+02:00")
		case c.Op == Equal || c.Op == Has:
			v.Before, v.After = m.IntN(4) == 0, m.IntN(4) == 0
			if from := m.IntN(len(v.Text) + 1); v.Before && utf8.RuneStart((v.Text + " ")[from]) {
				v.Text = v.Text[from:]
			}
			if v.Text == "" {
				v.Text = "a"
			}
		}
		if !utf8.ValidString(v.Text) {
			continue
		}
		c.Values = []Value{v}
		f, err := New(c)
		if err != nil {
			t.Fatalf("%s: %v", Write(c), err)
		}
		if hit := len(w.match(t, f)); hit > 0 && hit < len(w.names) {
			hits++
		}
	}
	if hits < 2000 {
		t.Errorf("only %d of the filters tell assets apart", hits)
	}
}

// TestReadings holds what texts are as numbers, moments and durations against the model.
func TestReadings(t *testing.T) {
	count := map[string]int{}
	for seed := range uint64(60000) {
		m := maker{rand.New(rand.NewPCG(seed, 5))}
		text := m.reading()
		check := func(what string, ok, want bool, same func() bool) {
			if ok != want || ok && !same() {
				t.Errorf("%q as a %s: %t, the model says %t, or another one", text, what, ok, want)
			}
			if ok {
				count[what]++
			}
		}
		n, ok := Number(text)
		number := plainNumber(text)
		check("number", ok, number != nil, func() bool { return number.Cmp(big.NewFloat(n)) == 0 })
		d, ok := Duration(text)
		span := plainSpan(text)
		check("duration", ok, span != nil, func() bool { return span.Cmp(big.NewFloat(d)) == 0 })
		at, ok := Moment(text)
		moment := absolute(text)
		check("moment", ok, moment != nil, func() bool { return moment.Cmp(big.NewInt(at)) == 0 })
	}
	for what, n := range count {
		if n < 5000 {
			t.Errorf("only %d texts are a %s", n, what)
		}
	}
}

func (m maker) digits(most int) string {
	var b strings.Builder
	for range 1 + m.IntN(most) {
		b.WriteByte(byte('0' + m.IntN(10)))
	}
	return b.String()
}

// reading makes a text that is a number, a moment or a duration, or nearly.
func (m maker) reading() string {
	var b strings.Builder
	switch m.IntN(3) {
	case 0:
		b.WriteString(pick(m, "", "", "", "-", "+", " ") + m.digits(25))
		if m.IntN(2) == 0 {
			b.WriteString("." + m.digits(20))
		}
		if m.IntN(4) == 0 {
			b.WriteString(pick(m, "e", "E") + pick(m, "", "-", "+") + m.digits(3))
		}
		if m.IntN(2) == 0 {
			b.WriteString(pick(m, "", "", " ", "  ") + pick(m, "n", "u", "m", "k", "K", "M", "G", "T", "P", "E",
				"Ki", "Mi", "Gi", "Ei", "KiB", "GiB", "GB", "kB", "ki", "B", "x", "e", "kiB", "KB", "\n"))
		}
	case 1:
		fmt.Fprintf(&b, "%04d-%02d-%02d", 1968+m.IntN(235), m.IntN(14), pick(m, 1, 28, 29, 30, 31, m.IntN(33)))
		if m.IntN(5) == 0 {
			break
		}
		fmt.Fprintf(&b, "%s%02d:%02d", pick(m, "T", "T", " ", "t"), m.IntN(25), m.IntN(61))
		if m.IntN(5) > 0 {
			fmt.Fprintf(&b, ":%02d", m.IntN(61))
			if m.IntN(2) == 0 {
				b.WriteString("." + m.digits(10))
			}
		}
		b.WriteString(pick(m, "", "Z", "Z", "z", "+01:00", "-0530", "+14:59", "+15:00", "-00:60", "+1", "Z "))
	default:
		for _, unit := range []string{"w", "d", "h", "m", "s", "ms", "us", "ns"} {
			if m.IntN(4) > 0 {
				continue
			}
			b.WriteString(m.digits(6))
			if m.IntN(3) == 0 {
				b.WriteString("." + m.digits(6))
			}
			b.WriteString(unit + pick(m, "", "", "", "", "", "", "", "", "", "", "", "", "", "d", " ", "1s"))
		}
		if b.Len() == 0 {
			b.WriteString(m.digits(20) + pick(m, "", " ", "e5", ".5", "."))
		}
	}
	return b.String()
}

// FuzzDocument looks for elements in documents that may be none.
func FuzzDocument(f *testing.F) {
	v, w := readVectors(f)
	for _, name := range w.names {
		f.Add([]byte(w.assets[name].Document))
	}
	f.Add([]byte(`{"items":[{"id":2,"v":`))
	f.Add([]byte(strings.Repeat(`[`, 1000)))
	var filters []*Filter
	for _, text := range []string{"items[id=2].v=y", "items[id=2]:*", "a[b=c].d[e=f].g~x", "status.conditions[type=Ready].status=True", "a.b.c=x", "list:t"} {
		parsed, err := Parse(text)
		if err != nil {
			f.Fatal(err)
		}
		filters = append(filters, parsed)
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		fixed := map[string]string{"name": "x"}
		canonical, err := document.Canonical(doc)
		if err != nil {
			for _, filter := range filters {
				// What it says of no document does not matter, as long as it ends.
				_, _ = filter.Match(&Asset{Document: doc}, &w.env)
			}
			return
		}
		other := &world{assets: map[string]*Asset{}, names: []string{"x"}, model: model{things: map[string]*thing{}}, env: Env{Now: v.Now}}
		if _, err := document.Fields(canonical); err != nil {
			return
		}
		other.add(t, "x", fixed, nil, canonical, nil)
		for _, filter := range filters {
			other.match(t, filter)
		}
	})
}
