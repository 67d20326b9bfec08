package filter

import (
	"fmt"
	"strings"

	"github.com/reeve-cloud/reeve/pkg/nearest"
)

// function reads a function. Its name comes next, and then the bracket.
func (p *parser) function(name string) Node {
	start := p.pos
	switch name {
	case "regex":
		return p.regex()
	case "related", "unrelated":
		return p.deeper(start, func() Node { return p.related(name) })
	}
	mends := nearest.Words(name, []string{"regex", "related", "unrelated"})
	message := "there is no function " + name
	if len(mends) == 0 {
		message += "; is a space missing before the bracket?"
		mends = []string{name + " "}
	}
	p.fail(start, start+len(name), message, mends...)
	p.pos += len(name) + 1
	return p.leave()
}

// leave goes behind the bracket that closes a function of which something is wrong.
func (p *parser) leave() Node {
	open, quoted := 0, false
	for i, r := range p.rest() {
		switch {
		case r == '"':
			quoted = !quoted
		case quoted:
		case r == '(':
			open++
		case r == ')':
			if open--; open < 0 {
				p.pos += i + 1
				return nil
			}
		}
	}
	p.pos = len(p.text)
	return nil
}

// regex reads regex(path, "expression").
func (p *parser) regex() Node {
	start := p.pos
	open := start + len("regex")
	p.pos = open + 1
	p.space()
	p.mayStart(false)
	usage := func() Node {
		if p.completing == nil {
			p.fail(start, p.pos, `a regular expression is written regex(name, "^api-[0-9]+$")`)
		}
		return p.leave()
	}
	if c := p.next(); c < 0 || c == ',' || c == ')' {
		return usage()
	}
	r, ok := p.path()
	if !ok {
		return p.leave()
	}
	f, ok := p.resolve(r)
	if !ok {
		return p.leave()
	}
	if p.space(); !p.accept(",") {
		return usage()
	}
	if p.space(); p.end() || p.next() == ')' {
		return usage()
	}
	v, ok := p.value(f, Match)
	if !ok {
		return p.leave()
	}
	p.space()
	if !p.closed(open) {
		return nil
	}
	return p.compare(Pos{start, p.pos}, f, Match, v)
}

// related reads related(kind, filter), where the filter may be left out.
func (p *parser) related(name string) Node {
	start := p.pos
	open := start + len(name)
	p.pos = open + 1
	if p.steps == MaxSteps {
		p.fail(start, open, fmt.Sprintf("relations are asked for at most %d steps away; for more there is the graph", MaxSteps))
		p.pos = start
		p.skip()
		return nil
	}
	p.space()
	from := p.pos
	kind, ok := p.piece(func(r rune) bool { return inValue(r) && r != ':' })
	if !ok || p.completing != nil && p.end() {
		if p.completing != nil {
			p.completing.relation(p, kind, from)
		}
		return nil
	}
	if kind == "" || strings.Contains(kind, "*") && kind != "*" {
		p.fail(start, p.pos, "the kind of relation is missing: "+name+"(runs_on, name=x), or * for any", name+"(*")
	}
	if kind == "*" {
		kind = ""
	}
	p.space()
	n := &Related{Kind: kind}
	failed := len(p.errors)
	comma := p.pos
	if p.accept(",") {
		outer := p.kind
		p.steps, p.kind = p.steps+1, kind
		n.Node = p.expression(p.term, true)
		p.steps, p.kind = p.steps-1, outer
		if n.Node == nil && len(p.errors) == failed && p.completing == nil && p.next() == ')' {
			p.fail(start, p.pos, "a filter is missing behind the comma", p.text[start:comma])
		}
	} else if c := p.next(); c >= 0 && c != ')' {
		p.fail(p.pos, p.pos, "a comma is missing behind the kind of relation", ",")
		p.skip()
	}
	if !p.closed(open) || len(p.errors) > failed {
		return nil
	}
	n.Pos = Pos{start, p.pos}
	if name == "unrelated" {
		return negate(n.Pos, n)
	}
	return n
}
