package filter

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func (c Completion) brief(text string) string {
	want := []string{WantNothing: "nothing", WantTerm: "term", WantMember: "member", WantValue: "value", WantRelation: "relation"}[c.Want]
	s := fmt.Sprintf("%s %q replaces %q", want, c.Prefix, text[c.Start:c.End])
	if c.Under != "" {
		s += " under " + c.Under
	}
	if c.Want == WantValue {
		s += " of " + c.Field.String() + " " + c.Op.String()
	}
	if c.Joins {
		s += " joins"
	}
	if c.Related {
		s += " related " + c.Relation
	}
	if c.Rest != nil && c.Rest.Root != nil {
		s += " rest " + c.Rest.Canonical()
	}
	return s
}

func TestComplete(t *testing.T) {
	for _, tt := range []struct{ text, want string }{ // | is where somebody types
		{"|", `term "" replaces ""`},
		{"na|", `term "na" replaces "na"`},
		{"na|me", `term "na" replaces "name"`},
		{"|name=x", `term "" replaces "name"`},
		{"name|", `term "name" replaces "name"`},
		{"a |", `term "" replaces "" joins rest "a"`},
		{"a AND |", `term "" replaces "" rest "a"`},
		{"a OR |", `term "" replaces ""`},
		{"x a OR b OR |", `term "" replaces "" rest "x"`},
		{"x a OR b |", `term "" replaces "" joins rest "x" AND ("a" OR "b")`},
		{"-na|", `term "na" replaces "na"`},
		{"-|", `term "" replaces ""`},
		{"NOT |", `term "" replaces ""`},
		{"site:lab (na|", `term "na" replaces "na" rest site:"lab"`},
		{"site:lab (a |", `term "" replaces "" joins rest site:"lab"`},
		{"site:lab (|) b", `term "" replaces "" rest site:"lab"`},
		{"spec.|", `term "spec." replaces "spec."`},
		{"spec.no| x", `term "spec.no" replaces "spec.no"`},
		{"doc.sta|", `term "doc.sta" replaces "doc.sta"`},
		{"@sta|", `term "@sta" replaces "@sta"`},
		{"labels.|", `term "labels." replaces "labels."`},
		{"labels.app.kub|", `term "labels.app.kub" replaces "labels.app.kub"`},
		{`labels."a |`, `term "labels.a " replaces "labels.\"a "`},
		{"name=|", `value "" replaces "" of name =`},
		{"name= |", `value "" replaces "" of name =`},
		{"name!=|", `value "" replaces "" of name =`},
		{"name=ap|", `value "ap" replaces "ap" of name =`},
		{"name=ap|i-0 x", `value "ap" replaces "api-0" of name =`},
		{"site:lab name:ap|", `value "ap" replaces "ap" of name : rest site:"lab"`},
		{`name="ap|`, `value "ap" replaces "\"ap" of name =`},
		{`name="a b|c" x`, `value "a b" replaces "\"a bc\"" of name =`},
		{`name="a|`, `value "a" replaces "\"a" of name =`},
		{`name="|"`, `value "" replaces "\"\"" of name =`},
		{"name=“a|”", `value "a" replaces "“a”" of name =`},
		{"vcpus>|", `value "" replaces "" of vcpus >`},
		{"vcpus>=8|", `value "8" replaces "8" of vcpus >=`},
		{"labels.app=|", `value "" replaces "" of labels.app =`},
		{"labels:|", `value "" replaces "" of labels :`},
		{"image:nginx:1|", `value "nginx:1" replaces "nginx:1" of image :`},
		{"status:(a OR |", `value "" replaces "" of status :`},
		{"status:(a OR b|", `value "b" replaces "b" of status :`},
		{"x status:(|", `value "" replaces "" of status : rest "x"`},
		{"x status:(a |", `value "" replaces "" of status : joins rest "x"`},
		{"x status:(-|", `value "" replaces "" of status : rest "x"`},
		{"x status:(a (b OR |", `value "" replaces "" of status : rest "x"`},
		{"status.conditions[|", `member "" replaces "" under status.conditions`},
		{"status.conditions[ty|pe=Ready]", `member "ty" replaces "type" under status.conditions`},
		{"doc.status.conditions[ty|", `member "ty" replaces "ty" under status.conditions`},
		{"status.conditions[type=|", `value "" replaces "" of status.conditions.type =`},
		{"status.conditions[type=Re|", `value "Re" replaces "Re" of status.conditions.type =`},
		{`status.conditions[type="Re|`, `value "Re" replaces "\"Re" of status.conditions.type =`},
		{"status.conditions[type=Ready].|", `term "" replaces "" under status.conditions`},
		{"status.conditions[type=Ready].st|", `term "st" replaces "st" under status.conditions`},
		{"a.b[c=d].e[f=|", `value "" replaces "" of a.b.e.f =`},
		{"status.conditions[type=Ready].status=|", `value "" replaces "" of status.conditions[type=Ready].status =`},
		{"related(|", `relation "" replaces ""`},
		{"related(ru|", `relation "ru" replaces "ru"`},
		{"unrelated(ru|ns_on, x)", `relation "ru" replaces "runs_on"`},
		{"related(runs_on, |", `term "" replaces "" related runs_on`},
		{"x related(runs_on, a na|", `term "na" replaces "na" related runs_on rest "x"`},
		{"related(a, x related(b, |", `term "" replaces "" related b`},
		{"related(a, related(b, x) |", `term "" replaces "" joins related a`},
		{"x related(*, name=|", `value "" replaces "" of name = related  rest "x"`},
		{"related(runs_on) |", `term "" replaces "" joins rest related(runs_on)`},
		{"regex(|", `term "" replaces ""`},
		{"regex(na|", `term "na" replaces "na"`},
		{`regex(name, "|`, `value "" replaces "\"" of name ~`},
		{`"a b|`, `nothing "" replaces ""`},
		{"a) |", `term "" replaces "" joins`},
		{"fe80::1|", `nothing "" replaces ""`},
	} {
		cursor := strings.IndexByte(tt.text, '|')
		text := tt.text[:cursor] + tt.text[cursor+1:]
		if got := Complete(text, cursor).brief(text); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.text, got, tt.want)
		}
	}
}

func TestCompleteNamesTheField(t *testing.T) {
	for text, want := range map[string]string{
		"name": "name", "x -doc.status": "doc.status", "@labels": "labels", "spec.": "",
		"a[b=c].d": "a[b=c].d", "@nothing": "", `labels."x`: "labels.x",
	} {
		f := Complete(text, len(text)).Field
		if got := f.String(); f.Space != 0 && got != want || f.Space == 0 && want != "" {
			t.Errorf("%s: the field %q, want %q", text, got, want)
		}
	}
}

// TestCompleteTakesWhatIsOffered types each vector letter by letter: where a value or a field is offered, what stands there
// can be chosen and the rest of the filter stays what it is.
func TestCompleteTakesWhatIsOffered(t *testing.T) {
	v, _ := readVectors(t)
	for _, vec := range v.Vectors {
		for cursor := range len(vec.Filter) + 1 {
			checkComplete(t, vec.Filter, cursor)
		}
		f, err := Parse(vec.Filter)
		if err != nil {
			continue
		}
		Walk(f.Root, func(n Node) bool {
			c, ok := n.(*Compare)
			if !ok || len(c.Values) != 1 || c.Values[0].Before || c.Values[0].After || c.Op == Match {
				return true
			}
			start, end := c.Span()
			got := Complete(vec.Filter, end)
			if got.Want != WantValue {
				return true // it ends with a bracket
			}
			text := vec.Filter[:got.Start] + Plain(c.Values[0].Text) + vec.Filter[got.End:]
			again, err := Parse(text)
			if err != nil || !same(again.Root, f.Root) {
				t.Errorf("%s: with the value at %d to %d chosen it is %s: %v", vec.Filter, start, end, text, err)
			}
			return true
		})
	}
}

func checkComplete(t testing.TB, text string, cursor int) {
	t.Helper()
	c := Complete(text, cursor)
	at := max(0, min(cursor, len(text)))
	switch {
	case c.Start < 0 || c.End < c.Start || c.End > len(text):
		t.Fatalf("%q at %d: %+v is not within the text", text, cursor, c)
	case utf8.ValidString(text) && (!utf8.ValidString(text[:c.Start]) || !utf8.ValidString(text[:c.End])):
		t.Fatalf("%q at %d: %+v is within a character", text, cursor, c)
	case c.Start > at || c.End < at && utf8.RuneStart((text + " ")[at]):
		t.Fatalf("%q at %d: %+v is not where somebody types", text, cursor, c)
	case c.Want == WantValue && (c.Field.Space == 0 || c.Op == Exists || c.Op == 0):
		t.Fatalf("%q at %d: %+v is of no field", text, cursor, c)
	}
	if c.Rest != nil && c.Rest.Root != nil {
		if _, err := Parse(c.Rest.Canonical()); err != nil && len(text) < 1000 {
			t.Fatalf("%q at %d: the rest %s: %v", text, cursor, c.Rest.Canonical(), err)
		}
	}
}

func FuzzComplete(f *testing.F) {
	v, _ := readVectors(f)
	for i, seed := range v.Vectors {
		f.Add(seed.Filter, i%(len(seed.Filter)+1))
	}
	f.Fuzz(func(t *testing.T, text string, cursor int) {
		checkComplete(t, text, cursor)
	})
}

func BenchmarkParse(b *testing.B) {
	text := "type:pod status:(Pending OR Failed) spec.nodeName=n7 memory>4GiB updated>-7d -site:lab"
	for b.Loop() {
		if _, err := Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	_, w := readVectors(b)
	f, err := Parse("type:pod status:(Running OR Failed) spec.nodeName=n7 spec.containers.resources.limits.memory>4MiB " +
		"updated>-7d -site:cloud")
	if err != nil {
		b.Fatal(err)
	}
	a := w.assets["api-0"]
	for b.Loop() {
		if ok, err := f.Match(a, &w.env); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func BenchmarkMatchOneElement(b *testing.B) {
	_, w := readVectors(b)
	f, err := Parse("status.conditions[type=PodScheduled].status=True")
	if err != nil {
		b.Fatal(err)
	}
	a := w.assets["api-0"]
	for b.Loop() {
		if ok, err := f.Match(a, &w.env); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
