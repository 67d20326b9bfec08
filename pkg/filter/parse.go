package filter

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// longest is the length of the longest canonical form, in which a filter of MaxSize may need more than
// that. Only what is in this form may be so long.
const longest = 4 * MaxSize

// Parse reads a filter. The error is Errors: all that is wrong, each with its place and how to mend it.
func Parse(text string) (*Filter, error) {
	p := &parser{text: text}
	if e := checkText(text); e != nil {
		return nil, Errors{e}
	}
	root := p.expression(p.term, false)
	p.checkTree(root, 0)
	if len(p.errors) == 0 {
		p.checkNever(root)
		f := &Filter{Root: root, Warnings: p.warnings}
		canonical := f.Canonical()
		switch {
		case len(text) > MaxSize && canonical != text:
			p.fail(MaxSize, len(text), tooLong(text))
		case len(canonical) > longest:
			p.fail(0, len(text), fmt.Sprintf("a filter of %d bytes when its lists are written out: the longest allowed has %d",
				len(canonical), longest))
		default:
			prepare(root)
			return f, nil
		}
	}
	p.errors.sorted()
	return nil, p.errors[:min(len(p.errors), maxErrors)]
}

func tooLong(text string) string {
	return fmt.Sprintf("a filter of %d bytes: the longest allowed has %d", len(text), MaxSize)
}

func checkText(text string) *Error {
	if len(text) > longest {
		return &Error{MaxSize, len(text), tooLong(text), nil}
	}
	for i, r := range text {
		_, n := utf8.DecodeRuneInString(text[i:])
		if r == utf8.RuneError && n == 1 {
			return &Error{i, i + 1, "this byte is not UTF-8", []string{""}}
		}
		if isControl(r) {
			return &Error{i, i + n, fmt.Sprintf("there is a control character (%U)", r), []string{""}}
		}
	}
	return nil
}

// parser goes through a text once. It never goes back further than over white space, and it goes on behind what
// is wrong.
type parser struct {
	text string
	pos  int

	errors, warnings Errors
	// stopped says that there is no sense in going on.
	stopped bool

	// leaves are the terms of the tree, of which lists can make more than were written.
	depth, terms, values, expressions, leaves int
	// steps is how many relations the parser is within the filters of, and kind that of the
	// innermost.
	steps int
	kind  string
	// list has the field and the operator of the list that it is in.
	list *Compare
	// completing has what may stand at the end of the text, when that is asked.
	completing *Completion
}

func (p *parser) fail(start, end int, message string, mends ...string) {
	if p.errors = append(p.errors, &Error{start, end, message, mends}); len(p.errors) >= maxErrors {
		p.stopped = true
	}
}

func (p *parser) warn(start, end int, message string, mends ...string) {
	p.warnings = append(p.warnings, &Error{start, end, message, mends})
}

// stop fails and ends the parsing.
func (p *parser) stop(start, end int, message string) {
	p.fail(start, end, message)
	p.stopped, p.pos = true, len(p.text)
}

func (p *parser) rest() string { return p.text[p.pos:] }
func (p *parser) end() bool    { return p.pos >= len(p.text) }

// next is the rune that comes next, or -1.
func (p *parser) next() rune {
	if p.end() {
		return -1
	}
	r, _ := utf8.DecodeRuneInString(p.rest())
	return r
}

func (p *parser) space() {
	p.pos += run(p.rest(), isSpace)
}

func (p *parser) accept(s string) bool {
	if strings.HasPrefix(p.rest(), s) {
		p.pos += len(s)
		return true
	}
	return false
}

// keyword returns AND, OR or NOT if that comes next and is one.
func (p *parser) keyword() string {
	word := p.rest()[:run(p.rest(), inField)]
	if !isKeyword(word) {
		return ""
	}
	switch after, _ := utf8.DecodeRuneInString(p.rest()[len(word):]); {
	case len(word) == len(p.rest()), isSpace(after), after == '(', after == ')':
		return word
	}
	return ""
}

// chunk is the length of what comes next, up to white space or a bracket that closes what is open, outside of quotes.
func (p *parser) chunk() int {
	rest, quoted, open := p.rest(), false, 0
	for i, r := range rest {
		switch {
		case r == '"':
			quoted = !quoted
		case quoted:
		case isSpace(r), r == ')' && open == 0:
			return i
		case r == '(':
			open++
		case r == ')':
			open--
		}
	}
	return len(rest)
}

// skip goes behind what cannot be understood: to white space, or the bracket that closes what is open.
func (p *parser) skip() {
	open := 0
	for i, r := range p.rest() {
		switch {
		case r == '(':
			open++
		case r == ')' && open == 0, isSpace(r) && open == 0:
			p.pos += i
			return
		case r == ')':
			open--
		}
	}
	p.pos = len(p.text)
}

// item is a term in a row, and what stands before it: AND, OR or nothing.
type item struct {
	Pos
	node   Node
	joined string
}

// expression reads a row of terms, to the end or to the bracket that closes it. It returns nil if there is none.
func (p *parser) expression(term func() Node, inner bool) Node {
	var row []item
	joined, at := "", 0
	for {
		if p.stopped {
			return nil
		}
		p.space()
		p.mayStart(len(row) > 0 && joined == "")
		if p.end() || inner && p.next() == ')' {
			break
		}
		start := p.pos
		if word := p.keyword(); word == "AND" || word == "OR" {
			p.pos += len(word)
			switch {
			case len(row) == 0:
				mends := []string{Quote(word)}
				if p.space(); !p.end() && p.next() != ')' {
					mends = []string{"", Quote(word)}
				}
				p.fail(start, start+len(word), "nothing stands before "+word, mends...)
			case joined != "":
				p.fail(start, p.pos, word+" follows "+joined, "", Quote(word))
			default:
				joined, at = word, start
			}
			continue
		}
		if c := p.next(); c == ')' || c == ',' {
			p.pos++
			if c == ')' {
				p.fail(start, p.pos, "this bracket closes nothing", "")
			} else {
				p.fail(start, p.pos, "a comma is not between terms", "", " OR ")
			}
			continue
		}
		failed := len(p.errors)
		n := term()
		if n == nil && len(p.errors) == failed { // it is being typed
			return p.typed(row, joined)
		}
		if c := p.next(); !p.stopped && len(p.errors) == failed && c >= 0 && c != ')' && c != ',' && !isSpace(c) {
			p.fail(p.pos, p.pos, "a space is missing here", " ")
		}
		if p.pos == start && !p.end() {
			p.pos += utf8.RuneLen(p.next())
		}
		row = append(row, item{Pos{start, p.pos}, n, joined})
		joined = ""
	}
	switch {
	case p.completing != nil:
		return p.typed(row, joined)
	case joined != "":
		p.fail(at, at+len(joined), "nothing follows "+joined, "", Quote(joined))
	}
	return p.join(row)
}

// typed is what is said without the term that is being typed, and what it is an alternative to.
func (p *parser) typed(row []item, joined string) Node {
	for joined == "OR" {
		joined = row[len(row)-1].joined
		row = row[:len(row)-1]
	}
	return p.join(row)
}

// join makes a node of a row: OR binds closest, and AND and nothing are the same. But where AND and OR meet,
// people read it the other way round, so that is refused.
func (p *parser) join(row []item) Node {
	if len(row) == 0 {
		return nil
	}
	and, or := false, false
	for _, t := range row {
		and, or = and || t.joined == "AND", or || t.joined == "OR"
		if t.node == nil {
			return nil
		}
	}
	whole := Pos{row[0].Start, row[len(row)-1].End}
	if and && or {
		p.fail(whole.Start, whole.End, "AND and OR stand in one row: brackets must say which is meant",
			p.bracket(row, func(t item) bool { return t.joined == "OR" }),
			p.bracket(row, func(t item) bool { return t.joined != "OR" }))
		return nil
	}
	var factors []Node
	for i := 0; i < len(row); {
		from := i
		var choice []Node
		for ok := true; ok; ok = i < len(row) && row[i].joined == "OR" {
			choice = append(choice, row[i].node)
			i++
		}
		factors = append(factors, either(Pos{row[from].Start, row[i-1].End}, choice...))
	}
	return both(whole, factors...)
}

// bracket writes a row with brackets around what is between the terms that begin a group.
func (p *parser) bracket(row []item, begins func(item) bool) string {
	var b strings.Builder
	for i := 0; i < len(row); {
		from := i
		for i++; i < len(row) && !begins(row[i]); i++ {
		}
		if from > 0 {
			b.WriteString(strings.TrimLeft(row[from].joined+" ", " "))
		}
		if i-from > 1 {
			b.WriteByte('(')
		}
		for k := from; k < i; k++ {
			if k > from {
				b.WriteByte(' ')
				b.WriteString(strings.TrimLeft(row[k].joined+" ", " "))
			}
			b.WriteString(p.text[row[k].Start:row[k].End])
		}
		if i-from > 1 {
			b.WriteByte(')')
		}
		if i < len(row) {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// deeper reads what is within a bracket or a negation.
func (p *parser) deeper(start int, read func() Node) Node {
	if p.depth++; p.depth > MaxDepth {
		p.stop(start, start+1, fmt.Sprintf("nested deeper than %d levels", MaxDepth))
		return nil
	}
	defer func() { p.depth-- }()
	return read()
}

// term reads one term with its negation.
func (p *parser) term() Node {
	return p.negated(p.simple, false)
}

// negated reads what may have a negation before it. A list has values, which may be negative numbers.
func (p *parser) negated(simple func() Node, list bool) Node {
	start := p.pos
	minus := ""
	switch c := p.next(); {
	case c == '-' && !(list && len(p.rest()) > 1 && isDigit(p.rest()[1])):
		minus = "-"
	case c == '!' && !list:
		p.fail(p.pos, p.pos+1, "a negation is written - or NOT", "-")
		minus = "!"
	case c == '–' || c == '—' || c == '−':
		p.fail(p.pos, p.pos+len(string(c)), "this is a dash: a negation is written -", "-")
		minus = string(c)
	case p.keyword() == "NOT":
		minus = "NOT"
	default:
		return simple()
	}
	p.pos += len(minus)
	behind := p.pos
	if minus == "NOT" {
		p.space()
	}
	c := p.next()
	switch {
	case c < 0 || c == ')' || isSpace(c):
		if p.completing != nil && p.end() {
			p.mayStart(false)
			return nil
		}
		p.fail(start, behind, "nothing follows "+minus, Quote(minus))
		return nil
	case c == '-' && !(list && len(p.rest()) > 1 && isDigit(p.rest()[1])), p.keyword() == "NOT":
		second := cmp.Or(p.keyword(), "-")
		p.fail(start, p.pos+len(second), "negated twice", "")
		p.skip()
		return nil
	case p.keyword() != "":
		p.fail(start, behind, minus+" stands before "+p.keyword(), Quote(minus))
		return nil
	}
	n := p.deeper(start, simple)
	if n == nil {
		return nil
	}
	return negate(Pos{start, p.pos}, n)
}

// composite reads what stands in brackets, of which the opening one comes next. Some text could stand in place of empty ones.
func (p *parser) composite(term func() Node, empty string) Node {
	start, failed := p.pos, len(p.errors)
	p.pos++
	n := p.deeper(start, func() Node { return p.expression(term, true) })
	if !p.closed(start) {
		return nil
	}
	if n == nil && len(p.errors) == failed {
		p.fail(start, p.pos, "there is nothing between the brackets", empty)
	}
	return n
}

// closed takes the bracket that closes what was opened.
func (p *parser) closed(open int) bool {
	if p.stopped {
		return false
	}
	if p.accept(")") {
		return true
	}
	if p.completing == nil {
		mend := strings.TrimRight(p.text[open:], ", ") + ")"
		if mend == "()" {
			mend = ""
		}
		p.fail(open, len(p.text), "a bracket is not closed", mend)
	}
	return false
}

func (p *parser) simple() Node {
	if p.next() == '(' {
		return p.composite(p.term, "")
	}
	if p.terms++; p.terms > MaxTerms {
		p.stop(p.pos, len(p.text), fmt.Sprintf("more than %d terms", MaxTerms))
		return nil
	}
	return p.restriction()
}

// restriction reads a word, a comparison or a function.
func (p *parser) restriction() Node {
	start := p.pos
	if n := p.address(); n > 0 {
		if p.pos += n; p.completing != nil && p.end() {
			return nil
		}
		return &Word{Pos: Pos{start, p.pos}, Text: p.text[start:p.pos]}
	}
	quoted := closing(p.next()) != ""
	if !quoted {
		name := p.rest()[:run(p.rest(), inField)]
		if strings.HasPrefix(p.rest()[len(name):], "(") && name != "" {
			return p.function(name)
		}
	}
	path, ok := p.path()
	if !ok {
		return nil
	}
	if p.completing != nil && p.end() {
		return nil
	}
	behind := p.pos
	p.space()
	op, not := p.operator(path)
	if op == 0 {
		p.pos = behind
		return p.word(path, quoted)
	}
	field, ok := p.resolve(path)
	if !ok {
		p.skip()
		return nil
	}
	n := p.argument(field, op, path.Start)
	if n == nil {
		return nil
	}
	if not {
		return negate(Pos{start, p.pos}, n)
	}
	return n
}

// address is the length of the address that comes next, or 0.
func (p *parser) address() int {
	n := run(p.rest(), func(r rune) bool { return !isSpace(r) && r != '(' && r != ')' && r != '"' && r != ',' })
	if isAddress(p.rest()[:n]) {
		return n
	}
	return 0
}

// word makes a word of what could have been a field, had an operator followed.
func (p *parser) word(path path, quoted bool) Node {
	if path.quoted && !(quoted && path.single) || len(path.Picks) > 0 {
		p.fail(path.Start, path.End, "a comparison is missing behind this path", p.text[path.Start:path.End]+":*")
		return nil
	}
	text, stars := path.Name, path.stars
	if !quoted {
		written := p.text[path.Start:path.End]
		switch {
		case written == "&&" || written == "&":
			p.fail(path.Start, path.End, "a conjunction is written AND, or nothing", "AND")
			return nil
		case written == "||" || written == "|":
			p.fail(path.Start, path.End, "an alternative is written OR", "OR")
			return nil
		case isKeyword(written):
			p.fail(path.Start, path.End, written+" is a keyword here; in quotes it is a word", Quote(written))
			return nil
		}
		switch lower := strings.ToUpper(written); {
		case !isKeyword(lower) || written == lower:
		case lower == "NOT" || path.Start > 0 && strings.TrimRightFunc(p.rest(), isSpace) != "":
			p.warn(path.Start, path.End, Quote(written)+" is a word that is searched for; only in capitals it joins or negates terms", lower)
		}
	}
	v, ok := p.wildcards(Pos{path.Start, path.End}, text, stars)
	if !ok {
		return nil
	}
	if v.Text == "" {
		p.fail(path.Start, path.End, "this word is in every asset", "")
		return nil
	}
	return &Word{Pos: Pos{path.Start, path.End}, Text: v.Text}
}

// checkTree bounds what lists were written out to.
func (p *parser) checkTree(n Node, depth int) {
	if n == nil || p.stopped {
		return
	}
	start, end := n.Span()
	if depth > MaxDepth {
		p.stop(start, end, fmt.Sprintf("nested deeper than %d levels", MaxDepth))
		return
	}
	for _, c := range within(n) {
		p.checkTree(c, depth+1)
	}
	switch n.(type) {
	case *Word, *Compare, *Related:
		if p.leaves++; p.leaves > MaxTerms {
			p.stop(start, end, fmt.Sprintf("more than %d terms", MaxTerms))
		}
	}
}

// checkNever warns of rows that ask one and the same field to be two things. Only documents have several values of one.
func (p *parser) checkNever(root Node) {
	Walk(root, func(n Node) bool {
		and, ok := n.(*And)
		if !ok {
			return true
		}
		seen := map[string]*Compare{}
		for _, n := range and.Nodes {
			c, ok := n.(*Compare)
			if !ok || c.Op != Equal || c.Field.Space == Document || c.Field.kind() == Time || slices.ContainsFunc(c.Values, Value.open) {
				continue
			}
			name := c.Field.String()
			if before := seen[name]; before == nil {
				seen[name] = c
			} else if !slices.ContainsFunc(c.Values, func(v Value) bool { return slices.Contains(before.Values, v) }) {
				p.warn(c.Start, c.End, "no asset passes: "+name+" is to be something else before; is OR meant?")
			}
		}
		return true
	})
	p.warnings.sorted()
}
