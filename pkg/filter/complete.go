package filter

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Want is what may stand at a place of a filter.
type Want uint8

// The wants. WantNothing is where only the writer knows, as within a quoted word.
const (
	WantNothing Want = iota
	// WantTerm is a term: a word, or a field whose name begins with Prefix.
	WantTerm
	// WantMember is a member of the elements of the array at Under, as in conditions[ty.
	WantMember
	// WantValue is a value of Field that begins with Prefix.
	WantValue
	// WantRelation is a kind of relation.
	WantRelation
)

// Completion is what may stand where somebody types.
type Completion struct {
	// Start and End are what is replaced by what is chosen.
	Start, End int
	Want       Want
	// Prefix is what is typed of it already, without quotes.
	Prefix string
	// Under is the path of the document that fields lie below, where elements were picked.
	Under string
	// Field is that of the value. Of a term it is what Prefix names, if a whole field; then operators may follow.
	Field Field
	// Op is the operator before the value, Exists if there is none.
	Op Op
	// Joins says that AND or OR may stand here, too.
	Joins bool
	// Related says that this is within related(...), and Relation is the kind that was given there.
	Related  bool
	Relation string
	// Rest is what the text says before the term that is typed, without what that is an alternative to: what the
	// choices are to be counted in. It is nil where that cannot be told.
	Rest *Filter
}

// Complete says what may stand at a place of a text that is half typed. What is on the right of it does not count,
// but for the rest of the word that it is in.
func Complete(text string, cursor int) Completion {
	cursor = max(0, min(cursor, len(text)))
	for cursor > 0 && cursor < len(text) && !utf8.RuneStart(text[cursor]) {
		cursor--
	}
	c := Completion{Start: cursor, End: cursor, Op: Exists}
	if checkText(text[:cursor]) != nil {
		return c
	}
	p := &parser{text: text[:cursor], completing: &c}
	root := p.expression(p.term, false)
	if len(p.errors) == 0 {
		prepare(root)
		c.Rest = &Filter{Root: root}
	}
	rest := text[cursor:]
	switch c.Want {
	case WantTerm, WantMember:
		c.End = cursor + run(rest, inField)
	case WantValue, WantRelation:
		if open, n := utf8.DecodeRuneInString(text[c.Start:]); closing(open) != "" {
			q := &parser{text: text[c.Start:], completing: &Completion{}}
			if _, ok := q.quotation(); ok && c.Start+n <= cursor {
				c.End = c.Start + q.pos
			}
		} else {
			c.End = cursor + run(rest, inValue)
		}
	}
	return c
}

func (c *Completion) set(p *parser, want Want, prefix string, start int) {
	c.Want, c.Prefix, c.Start = want, prefix, start
	c.Related, c.Relation = p.steps > 0, p.kind
}

// mayStart says that a term may start here, or a value in a list, if this is where somebody types. joins says that a term stands before.
func (p *parser) mayStart(joins bool) {
	c := p.completing
	if c == nil || !p.end() || c.Want != WantNothing {
		return
	}
	if before, _ := utf8.DecodeLastRuneInString(p.text); joins && !isSpace(before) {
		return
	}
	if c.set(p, WantTerm, "", p.pos); p.list != nil {
		c.value(p, p.list.Field, p.list.Op, "", p.pos)
	}
	c.Joins = joins
}

// typing says that a key of a path is typed.
func (p *parser) typing(r *path, key string, start int) {
	if p.completing == nil || !p.end() {
		return
	}
	c := p.completing
	c.set(p, WantTerm, key, start)
	c.Under, c.Field = "", Field{}
	if f, message, _ := resolve(r.Name); message == "" && !strings.HasSuffix(key, ".") {
		f.Picks = slices.Clone(r.Picks)
		c.Field = f
	}
	if len(r.Picks) > 0 {
		last := &r.Picks[len(r.Picks)-1].Path
		typed := *last
		*last = ""
		c.Under = r.whole()
		*last = typed
	} else {
		c.Start = r.Start
	}
}

func (c *Completion) members(p *parser, under, prefix string, start int) {
	if !p.end() {
		return
	}
	c.set(p, WantMember, prefix, start)
	c.Under = under
}

func (c *Completion) picked(p *parser, path, prefix string, start int) {
	if !p.end() {
		return
	}
	c.set(p, WantValue, prefix, start)
	c.Field, c.Op = Field{Space: Document, Name: path}, Equal
}

func (c *Completion) value(p *parser, f Field, op Op, prefix string, start int) {
	c.set(p, WantValue, prefix, start)
	c.Field, c.Op = f, op
}

func (c *Completion) relation(p *parser, prefix string, start int) {
	c.set(p, WantRelation, prefix, start)
}
