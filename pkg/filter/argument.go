package filter

import (
	"fmt"
	"slices"
	"strings"

	"github.com/reeve-cloud/reeve/pkg/nearest"
)

// operators are how the operators are written, the longest first. Those that other languages have are told, with ours;
// where we have none, the term is to be negated.
var operators = []struct {
	text, ours string
	op         Op
	not        bool
}{
	{"<=", "", LessEqual, false}, {">=", "", GreaterEqual, false}, {"!=", "", Equal, true}, {"==", "=", Equal, false},
	{":=", "=", Equal, false}, {"=~", "~", Match, false}, {"<>", "!=", Equal, true}, {"=<", "<=", LessEqual, false},
	{"=>", ">=", GreaterEqual, false}, {":<", "<", Less, false}, {":>", ">", Greater, false}, {"!~", "", Match, true},
	{"!:", "", Has, true}, {"!", "!=", Equal, true}, {"<", "", Less, false}, {">", "", Greater, false}, {"=", "", Equal, false},
	{":", "", Has, false}, {"~", "", Match, false},
}

// operator reads an operator, if one comes next.
func (p *parser) operator(r path) (op Op, not bool) {
	start := p.pos
	for _, o := range operators {
		switch {
		case !p.accept(o.text):
			continue
		case o.ours != "":
			p.fail(start, p.pos, "the operator is written "+o.ours, o.ours)
		case o.not && o.op != Equal:
			p.fail(r.Start, p.pos, fmt.Sprintf("there is no operator %s; negate the term", o.text), "-"+p.text[r.Start:r.End]+o.text[1:])
		}
		return o.op, o.not
	}
	return 0, false
}

// argument reads what stands behind an operator.
func (p *parser) argument(f Field, op Op, start int) Node {
	behind := p.pos
	p.space()
	if p.completing != nil && p.end() {
		p.completing.value(p, f, op, "", p.pos)
		return nil
	}
	if c := p.next(); c != '(' {
		if c < 0 || c == ')' || c == ',' {
			p.fail(start, behind, "a value is missing behind the operator", p.text[f.Start:f.End]+":*")
			return nil
		}
		v, ok := p.value(f, op)
		if !ok {
			return nil
		}
		return p.compare(Pos{start, p.pos}, f, op, v)
	}
	if op.Ordering() || op == Match {
		from := p.pos
		p.skip()
		p.fail(from, p.pos, "a list of values goes with = and : only")
		return nil
	}
	failed := len(p.errors)
	var item func() Node
	item = func() Node {
		return p.negated(func() Node {
			if p.next() == '(' {
				return p.composite(item, "*")
			}
			from := p.pos
			if p.values++; p.values > MaxValues {
				p.stop(from, len(p.text), fmt.Sprintf("more than %d values in lists", MaxValues))
				return nil
			}
			v, ok := p.value(f, op)
			if !ok {
				return nil
			}
			return p.compare(Pos{from, p.pos}, f, op, v)
		}, true)
	}
	p.list = &Compare{Field: f, Op: op}
	n := p.composite(item, "*")
	p.list = nil
	if n == nil || len(p.errors) > failed {
		return nil
	}
	return gather(n, Pos{start, p.pos})
}

// gather makes one comparison of alternatives in a list.
func gather(n Node, whole Pos) Node {
	parts := within(n)
	for i, c := range parts {
		parts[i] = gather(c, whole)
	}
	switch n := n.(type) {
	case *And:
		n.Pos = whole
	case *Not:
		n.Node = parts[0]
	case *Or:
		all := &Compare{Pos: whole}
		for _, c := range parts {
			c, ok := c.(*Compare)
			if !ok || c.Op == Exists || all.Op != 0 && c.Op != all.Op {
				return n
			}
			all.Field, all.Op, all.Values = c.Field, c.Op, append(all.Values, c.Values...)
		}
		return all
	}
	return n
}

// read is a value as it was read.
type read struct {
	Pos
	text  string
	raw   string
	stars []int
}

// value reads one value.
func (p *parser) value(f Field, op Op) (read, bool) {
	v := read{Pos: Pos{Start: p.pos}}
	if closing(p.next()) != "" {
		raw, ok := p.quotation()
		v.raw, v.End = raw, p.pos
		v.text, v.stars = unescape(raw)
		if !ok && p.completing != nil {
			p.completing.value(p, f, op, v.text, v.Start)
		}
		return v, ok
	}
	if word := p.keyword(); word != "" {
		p.fail(p.pos, p.pos+len(word), word+" is a keyword; in quotes it is a value", Quote(word))
		p.pos += len(word)
		return v, false
	}
	n := run(p.rest(), inValue)
	whole := p.chunk()
	if n < whole && p.rest()[n] != ')' {
		text := p.rest()[:whole]
		if f.Space == Label && f.Name == "" && text[n] == '=' { // labels:app=web, of which compare knows more
			p.pos += whole
			v.text, v.End = text, p.pos
			return v, true
		}
		if n > 0 && text[n] == ',' && !strings.ContainsAny(text, "()\"=<>") {
			p.fail(p.pos, p.pos+whole, "a list is written with OR, in brackets",
				"("+strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == ',' }), " OR ")+")", Quote(text))
		} else {
			p.fail(p.pos, p.pos+whole, fmt.Sprintf("a value with %c in it stands in quotes", text[n]), quoteTyped(text, op))
		}
		p.pos += whole
		return v, false
	}
	v.text = p.rest()[:n]
	for i := range n {
		if v.text[i] == '*' {
			v.stars = append(v.stars, i)
		}
	}
	p.pos += n
	v.raw, v.End = v.text, p.pos
	if p.completing != nil && p.end() {
		p.completing.value(p, f, op, v.text, v.Start)
		return v, false
	}
	return v, true
}

// quoteTyped puts quotes around what was typed without them.
func quoteTyped(text string, op Op) string {
	if op == Match {
		return quoteExpression(text)
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

// wildcards takes the * from the ends of a text. In between they are refused.
func (p *parser) wildcards(at Pos, text string, stars []int) (Value, bool) {
	v := Value{Text: text}
	end := len(text)
	from := 0
	for len(stars) > 0 && stars[0] == from && from < end {
		from++
		stars = stars[1:]
		v.Before = true
	}
	for len(stars) > 0 && stars[len(stars)-1] == end-1 {
		end--
		stars = stars[:len(stars)-1]
		v.After = true
	}
	if len(stars) > 0 {
		p.fail(at.Start, at.End, "a * stands for any text only at the ends of a value; "+
			`as a character it is written \* in quotes, and ~ asks for more`, Quote(text))
		return v, false
	}
	v.Text = text[from:end]
	if v.Text == "" && v.Before {
		v.After = true
	}
	return v, true
}

// compare makes the node of a comparison with one value.
func (p *parser) compare(at Pos, f Field, op Op, r read) Node {
	if f.Space == Label && f.Name == "" {
		return p.anyLabel(at, f, op, r)
	}
	switch {
	case op == Match:
		return p.expressionOf(at, f, r)
	case op.Ordering():
		if k := f.kind(); k == Time && !isTime(r.text) {
			mends := []string{"now-7d"}
			if isTime("-" + r.text) {
				mends = []string{"-" + r.text}
			}
			p.fail(r.Start, r.End, f.Name+" is a moment, such as 2026-11-30, 2026-11-30T08:00:00Z or -7d", mends...)
			return nil
		}
		return &Compare{Pos: at, Field: f, Op: op, Values: []Value{{Text: r.text}}}
	}
	v, ok := p.wildcards(r.Pos, r.text, r.stars)
	if !ok {
		return nil
	}
	exists := &Compare{Pos: at, Field: f, Op: Exists}
	switch {
	case v.Text == "" && (v.Before || v.After || op == Has):
		return exists
	case v.Text == "" && f.Space != Label:
		return negate(at, exists)
	case op == Equal && f.kind() == Time && !v.Before && !v.After && !isTime(v.Text):
		p.fail(r.Start, r.End, f.Name+" is a moment, such as 2026-11-30T08:00:00Z; with : a part of it is enough", "now-7d")
		return nil
	case op == Equal && f.Space == Fixed && f.Name == "state" && !v.Before && !v.After && !slices.Contains(states, v.Text):
		p.warn(r.Start, r.End, "no asset has this state: they are "+strings.Join(states, ", "), nearest.Words(v.Text, states)...)
	}
	return &Compare{Pos: at, Field: f, Op: op, Values: []Value{v}}
}

// anyLabel is a comparison with all labels: only their names can be asked for.
func (p *parser) anyLabel(at Pos, f Field, op Op, r read) Node {
	v, ok := p.wildcards(r.Pos, r.text, r.stars)
	switch {
	case !ok:
		return nil
	case op == Has && v.Text == "" || op == Equal && v.Text == "" && v.Before:
		return &Compare{Pos: at, Field: f, Op: Exists}
	case op == Has && !v.Before && !v.After && !strings.Contains(v.Text, "="):
		f.Name = v.Text
		return &Compare{Pos: at, Field: f, Op: Exists}
	}
	mend := "labels:*"
	if name, value, ok := strings.Cut(r.text, "="); ok && name != "" {
		mend = Field{Space: Label, Name: name}.String() + "=" + quoteTyped(value, Equal)
	}
	p.fail(at.Start, at.End, "labels are asked for by name: labels:NAME, or labels.NAME=VALUE", mend)
	return nil
}
