package filter

import (
	"cmp"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/reeve-cloud/reeve/pkg/nearest"
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
	p.checkTree(root)
	if len(p.errors) == 0 {
		f := &Filter{Root: root, Warnings: p.warnings}
		canonical := f.Canonical()
		switch {
		case len(text) > MaxSize && canonical != text:
			p.fail(MaxSize, len(text), fmt.Sprintf("a filter of %d bytes: the longest allowed has %d", len(text), MaxSize))
		case len(canonical) > longest:
			p.fail(0, len(text), fmt.Sprintf("a filter that has %d bytes when its lists are written out: the longest allowed has %d", len(canonical), longest))
		default:
			prepare(root)
			return f, nil
		}
	}
	p.errors.sorted()
	return nil, p.errors[:min(len(p.errors), maxErrors)]
}

func checkText(text string) *Error {
	if len(text) > longest {
		return &Error{Start: MaxSize, End: len(text), Message: fmt.Sprintf("a filter of %d bytes: the longest allowed has %d", len(text), MaxSize)}
	}
	for i, r := range text {
		_, n := utf8.DecodeRuneInString(text[i:])
		if r == utf8.RuneError && n == 1 {
			return &Error{Start: i, End: i + 1, Message: "this byte is not UTF-8", Mends: []string{""}}
		}
		if isControl(r) {
			return &Error{Start: i, End: i + n, Message: fmt.Sprintf("there is a control character (%U)", r), Mends: []string{""}}
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

	depth, terms, values, expressions int
	// relation is the function that the parser is in the filter of, and kind that of the relation.
	relation, kind string
	// completing has what may stand at the end of the text, when that is asked.
	completing *Completion
}

func (p *parser) fail(start, end int, message string, mends ...string) {
	p.errors = append(p.errors, &Error{start, end, message, mends})
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

// chunk is the length of what comes next, up to white space outside of quotes.
func (p *parser) chunk() int {
	rest, quote := p.rest(), ""
	for i, r := range rest {
		switch {
		case quote != "":
			if strings.ContainsRune(quote, r) {
				quote = ""
			}
		case isSpace(r):
			return i
		case r == '"':
			quote = `"`
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
				p.fail(start, p.pos, "nothing stands before "+word, "", Quote(word))
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
		if p.stopped {
			return nil
		}
		if n == nil && len(p.errors) == failed {
			return nil // what is being typed, see Complete
		}
		if c := p.next(); len(p.errors) == failed && c >= 0 && c != ')' && c != ',' && !isSpace(c) {
			p.fail(p.pos, p.pos, "a space is missing here", " ")
		}
		if p.pos == start {
			p.pos += utf8.RuneLen(p.next())
		}
		row = append(row, item{Pos{start, p.pos}, n, joined})
		joined = ""
	}
	if joined != "" {
		p.fail(at, at+len(joined), "nothing follows "+joined, "", Quote(joined))
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

// deeper counts a bracket or a negation, until the function it returns is called.
func (p *parser) deeper(start int) (ok bool, up func()) {
	if p.depth++; p.depth > MaxDepth {
		p.stop(start, start+1, fmt.Sprintf("nested deeper than %d levels", MaxDepth))
		return false, nil
	}
	return true, func() { p.depth-- }
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
		p.fail(start, behind, minus+" stands before "+p.keyword(), "")
		return nil
	}
	ok, up := p.deeper(start)
	if !ok {
		return nil
	}
	defer up()
	n := simple()
	if n == nil {
		return nil
	}
	return negate(Pos{start, p.pos}, n)
}

// composite reads what stands in brackets. The opening one comes next.
func (p *parser) composite(term func() Node) Node {
	start := p.pos
	ok, up := p.deeper(start)
	if !ok {
		return nil
	}
	defer up()
	p.pos++
	failed := len(p.errors)
	n := p.expression(term, true)
	if p.closed(start) && n == nil && len(p.errors) == failed {
		p.fail(start, p.pos, "there is nothing between the brackets", "")
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
		p.fail(open, len(p.text), "a bracket is not closed", p.text[open:]+")")
	}
	return false
}

func (p *parser) simple() Node {
	if p.next() == '(' {
		return p.composite(p.term)
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
		p.pos += n
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
	behind := p.pos
	p.space()
	op, not := p.operator(path)
	if op == 0 {
		if p.pos = behind; p.stopped {
			return nil
		}
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
			p.warn(path.Start, path.End, fmt.Sprintf("%s is a word that is searched for; only in capitals it joins or negates terms", Quote(written)), lower)
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
	p.warnCase(path.Start, path.End, v.Text)
	return &Word{Pos: Pos{path.Start, path.End}, Text: v.Text}
}

// warnCase says that letters beyond A to Z are looked for as they are written.
func (p *parser) warnCase(start, end int, text string) {
	if strings.ToLower(text) == strings.ToUpper(text) {
		return
	}
	for _, r := range text {
		if r >= utf8.RuneSelf && strings.ToLower(string(r)) != strings.ToUpper(string(r)) {
			p.warn(start, end, fmt.Sprintf("%c is found only as it is written: case counts beyond the letters a to z", r))
			return
		}
	}
}

// path is a path that was read: its text, and how it was written.
type path struct {
	Field
	// quoted says that some of it was, single that it is one text in quotes.
	quoted, single bool
	stars          []int
}

// path reads keys and picks. What it returns has no space yet.
func (p *parser) path() (path, bool) {
	r := path{Field: Field{Pos: Pos{Start: p.pos}}}
	base := &r.Name
	for first := true; ; first = false {
		switch c := p.next(); {
		case closing(c) != "" && (first || strings.HasSuffix(*base, ".") || *base == "" && len(r.Picks) > 0):
			raw, ok := p.quotation()
			if !ok {
				return r, false
			}
			text, stars := unescape(raw)
			r.single, r.quoted = first, true
			if first {
				r.stars = stars
			}
			*base += text
		case c == '[' && !first:
			next, ok := p.pick(&r, *base)
			if !ok {
				return r, false
			}
			base = next
		default:
			n := run(p.rest(), inField)
			if n == 0 {
				if first {
					p.unexpected()
					return r, false
				}
				r.End = p.pos
				return r, true
			}
			text := p.rest()[:n]
			if !first && r.single && text[0] != '.' {
				r.End = p.pos
				return r, true
			}
			r.single = false
			// A key in quotes may follow a dot.
			for i := range n {
				if text[i] == '*' && first {
					r.stars = append(r.stars, i)
				}
			}
			p.pos += n
			*base += text
			p.typing(&r, *base, p.pos-n)
		}
		r.End = p.pos
	}
}

// pick reads what stands in square brackets behind a path: [type=Ready], or a key, as in labels["a b"].
func (p *parser) pick(r *path, before string) (base *string, ok bool) {
	open := p.pos
	p.pos++
	base = &r.Name
	if len(r.Picks) > 0 {
		base = &r.Picks[len(r.Picks)-1].Path
	}
	key, ok := p.piece(func(c rune) bool { return c != '=' && c != ']' && c != '[' && !isSpace(c) && c != '"' })
	if !ok {
		return nil, false
	}
	if p.next() == ']' && closing(rune(p.text[open+1])) != "" {
		p.pos++
		*base += "." + key
		r.quoted = true
		return base, true
	}
	if key == "" || !p.accept("=") {
		if p.completing == nil {
			p.fail(open, min(p.pos+1, len(p.text)), "elements are picked as in [type=Ready]")
			p.skip()
		} else {
			p.completing.members(p, before, key, open+1)
		}
		return nil, false
	}
	from := p.pos
	value, ok := p.piece(func(c rune) bool { return c != ']' && c != '[' && c != '"' })
	if !ok {
		return nil, false
	}
	if !p.accept("]") || value == "" {
		if p.completing == nil {
			p.fail(open, p.pos, "elements are picked as in [type=Ready]", p.text[open:from]+Quote(value)+"]")
			p.skip()
		} else {
			p.completing.picked(p, before+"."+key, value, from)
		}
		return nil, false
	}
	r.Picks = append(r.Picks, Pick{Key: key, Value: value})
	base = &r.Picks[len(r.Picks)-1].Path
	if p.accept(".") {
		if c := p.next(); closing(c) == "" && (c < 0 || !inField(c)) && p.completing == nil {
			p.fail(p.pos-1, p.pos, "a key is missing behind this dot", "")
			return nil, false
		}
		if p.end() {
			p.typing(r, "", p.pos)
		}
	} else if c := p.next(); c >= 0 && inField(c) {
		p.fail(p.pos, p.pos, "what follows ] begins with a dot and a key", ".")
		p.skip()
		return nil, false
	}
	return base, true
}

// piece reads a text in quotes, or one of the runes told.
func (p *parser) piece(is func(rune) bool) (string, bool) {
	if closing(p.next()) != "" {
		raw, ok := p.quotation()
		text, _ := unescape(raw)
		return text, ok
	}
	n := run(p.rest(), is)
	p.pos += n
	return p.text[p.pos-n : p.pos], true
}

// quotation reads a text in quotes and returns what is between them, as it is written.
func (p *parser) quotation() (raw string, ok bool) {
	start := p.pos
	open, n := utf8.DecodeRuneInString(p.rest())
	ends := closing(open)
	inner := p.rest()[n:]
	escaped := false
	for i, r := range inner {
		switch {
		case escaped:
			escaped = false
		case r == '\\':
			escaped = true
		case strings.ContainsRune(ends, r):
			p.pos += n + i + utf8.RuneLen(r)
			return inner[:i], true
		}
	}
	p.pos = len(p.text)
	if p.completing == nil {
		mend := p.text[start:] + string([]rune(ends)[0])
		if escaped {
			mend = p.text[start:] + `\` + string([]rune(ends)[0])
		}
		p.fail(start, len(p.text), "the quotes are not closed", mend)
	}
	return inner, false
}

// unexpected fails for what can begin no term.
func (p *parser) unexpected() {
	start := p.pos
	p.pos += utf8.RuneLen(p.next())
	switch c := p.text[start]; c {
	case '[', ']':
		p.fail(start, p.pos, "square brackets pick elements of a path, as in status.conditions[type=Ready].status", "")
	default:
		p.fail(start, p.pos, fmt.Sprintf("a field is missing before %c; in quotes it is a word", c), Quote(string(c)))
	}
	p.skip()
}

// resolve says what a path names.
func (p *parser) resolve(r path) (Field, bool) {
	f, message, mends := resolve(r.Name)
	if message == "" && !r.quoted && isKeyword(r.Name) {
		message, mends = r.Name+" is a keyword; in quotes it is a field", []string{Quote(r.Name)}
	}
	whole := r.Name
	for _, k := range r.Picks {
		whole += "." + k.Key
		if k.Path != "" {
			whole += "." + k.Path
		}
	}
	switch {
	case message != "":
	case !r.quoted && strings.ContainsAny(r.Name, "*"):
		message = "a field has no *; in quotes it is a key"
		mends = []string{Quote(r.Name)}
	case !r.quoted && (strings.HasPrefix(whole, ".") || strings.HasSuffix(whole, ".") || strings.Contains(whole, "..")):
		message = "a key is missing beside a dot"
		mends = []string{strings.Join(strings.FieldsFunc(r.Name, func(c rune) bool { return c == '.' }), ".")}
	case f.Space != Document && len(r.Picks) > 0:
		message = f.String() + " has no elements to pick"
		mends = []string{doc + "." + p.text[r.Start:r.End]}
	}
	if message != "" {
		p.fail(r.Start, r.End, message, mends...)
		return f, false
	}
	f.Pos, f.Picks = r.Pos, r.Picks
	return f, true
}

// operators are how the operators are written, the longest first.
var operators = []struct {
	text string
	op   Op
	not  bool
}{
	{"<=", LessEqual, false}, {">=", GreaterEqual, false}, {"!=", Equal, true},
	{"<", Less, false}, {">", Greater, false}, {"=", Equal, false}, {":", Has, false}, {"~", Match, false},
}

// foreign are operators of other languages, with ours.
var foreign = []struct{ text, ours string }{
	{"==", "="}, {"=~", "~"}, {"!~", ""}, {"!:", ""}, {"<>", "!="}, {"=<", "<="}, {"=>", ">="}, {":=", "="}, {":>", ">"}, {":<", "<"},
}

// operator reads an operator, if one comes next.
func (p *parser) operator(r path) (op Op, not bool) {
	start := p.pos
	for _, f := range foreign {
		if !p.accept(f.text) {
			continue
		}
		if f.ours != "" {
			p.fail(start, p.pos, "the operator is written "+f.ours, f.ours)
		} else {
			written := p.text[r.Start:r.End]
			p.fail(r.Start, p.pos, fmt.Sprintf("there is no operator %s; negate the term", f.text), "-"+written+f.text[1:])
		}
		return p.operatorOf(f.ours), false
	}
	for _, o := range operators {
		if p.accept(o.text) {
			return o.op, o.not
		}
	}
	if p.accept("!") {
		p.fail(start, p.pos, "! is no operator", "!=")
		return Equal, true
	}
	return 0, false
}

func (p *parser) operatorOf(text string) Op {
	for _, o := range operators {
		if o.text == text {
			return o.op
		}
	}
	return Match
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
				return p.composite(item)
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
	open := p.pos
	n := p.composite(item)
	if n == nil || len(p.errors) > failed {
		return nil
	}
	if and, ok := n.(*And); ok && op == Equal && p.single(f) {
		p.warn(open, p.pos, "no asset has several values of "+f.String()+"; is OR meant?", p.alternatives(open, and))
	}
	return gather(n, Pos{start, p.pos})
}

// single reports whether a field has one value at most.
func (p *parser) single(f Field) bool { return f.Space != Document }

// alternatives writes a list of values with OR between them.
func (p *parser) alternatives(open int, and *And) string {
	texts := make([]string, len(and.Nodes))
	for i, n := range and.Nodes {
		start, end := n.Span()
		texts[i] = p.text[start:end]
		if _, or := n.(*Or); or && !strings.HasPrefix(texts[i], "(") {
			texts[i] = "(" + texts[i] + ")"
		}
	}
	return "(" + strings.Join(texts, " OR ") + ")"
}

// gather makes one comparison of alternatives in a list.
func gather(n Node, whole Pos) Node {
	switch n := n.(type) {
	case *And:
		for i, c := range n.Nodes {
			n.Nodes[i] = gather(c, whole)
		}
		n.Pos = whole
	case *Not:
		n.Node = gather(n.Node, whole)
	case *Or:
		for i, c := range n.Nodes {
			n.Nodes[i] = gather(c, whole)
		}
		var all *Compare
		for _, c := range n.Nodes {
			c, ok := c.(*Compare)
			if !ok || c.Op == Exists || all != nil && c.Op != all.Op {
				return n
			}
			if all == nil {
				all = &Compare{Pos: whole, Field: c.Field, Op: c.Op}
			}
			all.Values = append(all.Values, c.Values...)
		}
		return all
	}
	return n
}

// read is a value as it was read.
type read struct {
	Pos
	text   string
	raw    string
	stars  []int
	quoted bool
}

// value reads one value.
func (p *parser) value(f Field, op Op) (read, bool) {
	v := read{Pos: Pos{Start: p.pos}}
	if closing(p.next()) != "" {
		raw, ok := p.quotation()
		v.raw, v.quoted, v.End = raw, true, p.pos
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
		p.fail(at.Start, at.End, `a * stands for any text only at the ends of a value; as a character it is written \* in quotes, and ~ asks for more`,
			Quote(text))
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
	case op == Has:
		p.warnCase(r.Start, r.End, v.Text)
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

// function reads a function. Its name comes next, and then the bracket.
func (p *parser) function(name string) Node {
	start := p.pos
	switch name {
	case "regex":
		return p.regex()
	case "related", "unrelated":
		return p.related(name)
	}
	mends := nearest.Words(name, []string{"regex", "related", "unrelated"})
	message := "there is no function " + name
	if len(mends) == 0 {
		message += "; is a space missing before the bracket?"
		mends = []string{name + " "}
	}
	p.fail(start, start+len(name), message, mends...)
	p.pos += len(name)
	p.skip()
	return nil
}

// regex reads regex(path, "expression").
func (p *parser) regex() Node {
	start := p.pos
	open := start + len("regex")
	p.pos = open + 1
	p.space()
	p.mayStart(false)
	r, ok := p.path()
	if !ok {
		p.skip()
		p.accept(")")
		return nil
	}
	f, ok := p.resolve(r)
	p.space()
	if !ok || !p.accept(",") {
		if ok && p.completing == nil {
			p.fail(start, p.pos, `a regular expression is written regex(name, "^api-[0-9]+$")`)
		}
		p.skip()
		p.accept(")")
		return nil
	}
	p.space()
	if p.end() || p.next() == ')' {
		p.fail(start, p.pos, `a regular expression is written regex(name, "^api-[0-9]+$")`)
		p.accept(")")
		return nil
	}
	v, ok := p.value(f, Match)
	if !ok {
		p.skip()
		p.accept(")")
		return nil
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
	ok, up := p.deeper(start)
	if !ok {
		return nil
	}
	defer up()
	p.pos = open + 1
	if p.relation != "" {
		p.fail(start, open, fmt.Sprintf("%s stands within %s: relations are asked for one step away; for more there is the graph", name, p.relation))
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
	if p.accept(",") {
		p.relation, p.kind = name, kind
		n.Node = p.expression(p.term, true)
		p.relation, p.kind = "", ""
		if n.Node == nil && len(p.errors) == failed && p.completing == nil && p.next() == ')' {
			p.fail(start, p.pos, "a filter is missing behind the comma", p.text[start:from]+p.text[from:from+len(kind)])
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

// checkTree bounds what lists were written out to.
func (p *parser) checkTree(root Node) {
	terms := 0
	var visit func(n Node, depth int)
	visit = func(n Node, depth int) {
		if n == nil || p.stopped {
			return
		}
		start, end := n.Span()
		if depth > MaxDepth {
			p.stop(start, end, fmt.Sprintf("nested deeper than %d levels", MaxDepth))
			return
		}
		switch n := n.(type) {
		case *And:
			for _, c := range n.Nodes {
				visit(c, depth+1)
			}
			return
		case *Or:
			for _, c := range n.Nodes {
				visit(c, depth+1)
			}
			return
		case *Not:
			visit(n.Node, depth+1)
			return
		case *Related:
			visit(n.Node, depth+1)
		}
		if terms++; terms > MaxTerms {
			p.stop(start, end, fmt.Sprintf("more than %d terms", MaxTerms))
		}
	}
	visit(root, 0)
}

func (e *Error) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "at byte %d: %s", e.Start, e.Message)
	for i, m := range e.Mends {
		switch {
		case i > 0:
			b.WriteString(", or ")
		default:
			b.WriteString("; write ")
		}
		if m == "" {
			b.WriteString("nothing")
		} else {
			b.WriteString(m)
		}
	}
	return b.String()
}

// Error returns all messages.
func (e Errors) Error() string {
	texts := make([]string, len(e))
	for i, one := range e {
		texts[i] = one.Error()
	}
	return "filter: " + strings.Join(texts, "\n")
}
