package filter

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// path is a path that was read: its text, and how it was written.
type path struct {
	Field
	// quoted says that some of it was, single that it is one text in quotes.
	quoted, single bool
	// dangling says that it ends with a dot.
	dangling bool
	stars    []int
}

// path reads keys and picks. What it returns has no space yet.
func (p *parser) path() (path, bool) {
	r := path{Field: Field{Pos: Pos{Start: p.pos}}}
	base := &r.Name
	// dot says that a key must follow, closed that none can without a dot, and picked that the dot belongs to no key.
	for first, dot, closed, picked := true, false, false, false; ; first = false {
		c := p.next()
		switch {
		case closing(c) != "" && (first || dot):
			raw, ok := p.quotation()
			text, stars := unescape(raw)
			if !ok {
				if *base += text; !first {
					p.typing(&r, *base, p.pos)
				}
				return r, false
			}
			if first {
				r.stars = stars
			}
			*base += text
			r.single, r.quoted, dot, closed = first, true, false, true
		case c == '[' && !first && !dot:
			var ok bool
			picks := len(r.Picks)
			if base, ok = p.pick(&r, base); !ok {
				return r, false
			}
			r.single, dot, closed, picked = false, false, true, len(r.Picks) > picks
		case c >= 0 && inField(c) && (!closed || c == '.'):
			start := p.pos
			p.pos += run(p.rest(), inField)
			text := p.text[start:p.pos]
			for i := range text {
				if text[i] == '*' && first {
					r.stars = append(r.stars, i)
				}
			}
			if picked {
				text, start = text[1:], start+1
			}
			*base += text
			r.single, dot, closed, picked = false, p.text[p.pos-1] == '.', false, false
			p.typing(&r, *base, start)
		case first:
			p.unexpected()
			return r, false
		default:
			r.dangling = dot
			return r, true
		}
		r.End = p.pos
	}
}

// pick reads what stands in square brackets behind a path: [type=Ready], or a key, as in labels["a b"]. It returns
// where the path goes on.
func (p *parser) pick(r *path, base *string) (*string, bool) {
	open := p.pos
	p.pos++
	inKey := closing(p.next()) != ""
	key, ok := p.piece(func(c rune) bool { return !strings.ContainsRune(`=[]"`, c) && !isSpace(c) })
	if !ok {
		return nil, false
	}
	if inKey && key != "" && p.accept("]") {
		*base += "." + key
		r.quoted = true
		return base, true
	}
	if p.completing != nil && p.end() {
		p.completing.members(p, r.whole(), key, open+1)
		return nil, false
	}
	if key == "" || !p.accept("=") {
		p.skip()
		p.fail(open, p.pos, "elements are picked as in [type=Ready]", "")
		return nil, false
	}
	from := p.pos
	value, ok := p.piece(func(c rune) bool { return !strings.ContainsRune(`[]"`, c) })
	if p.completing != nil && p.end() {
		p.completing.picked(p, r.whole()+"."+key, value, from)
		return nil, false
	}
	if !ok {
		return nil, false
	}
	if !p.accept("]") || value == "" {
		from, end := open, p.pos
		p.skip()
		p.fail(from, end, "elements are picked as in [type=Ready]", "")
		return nil, false
	}
	if c := p.next(); c >= 0 && c != '.' && inField(c) {
		p.fail(p.pos, p.pos, "what follows ] begins with a dot and a key", ".")
		p.skip()
		return nil, false
	}
	r.Picks = append(r.Picks, Pick{Key: key, Value: value})
	return &r.Picks[len(r.Picks)-1].Path, true
}

// whole is the path of the document that was read, without what was picked.
func (r *path) whole() string {
	f, _, _ := resolve(r.Name)
	keys := []string{f.Name}
	for _, k := range r.Picks {
		if k.Path != "" {
			keys = append(keys, k.Path)
		}
	}
	return strings.Join(keys, ".")
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
	p.pos += max(p.chunk(), 1)
	text := p.text[start:p.pos]
	message := fmt.Sprintf("a field is missing before %c; in quotes it is a word", text[0])
	if text[0] == '[' || text[0] == ']' {
		message = "square brackets pick elements of a path, as in status.conditions[type=Ready].status; in quotes they are a word"
	}
	p.fail(start, p.pos, message, Quote(text))
}

// resolve says what a path names.
func (p *parser) resolve(r path) (Field, bool) {
	f, message, mends := resolve(r.Name)
	if message == "" && !r.quoted && isKeyword(r.Name) {
		message, mends = r.Name+" is a keyword; in quotes it is a field", []string{Quote(r.Name)}
	}
	whole := r.Name
	for i, k := range r.Picks {
		if whole += "." + k.Path; k.Path == "" {
			whole = strings.TrimSuffix(whole, ".")
			if i < len(r.Picks)-1 {
				message = "what is picked once cannot be picked from again without a key between"
			}
		}
	}
	switch {
	case message != "":
	case !r.quoted && strings.ContainsAny(r.Name, "*"):
		message = "a field has no *; in quotes it is a key"
		mends = []string{Quote(r.Name)}
	case r.dangling, !r.quoted && (strings.HasPrefix(whole, ".") || strings.Contains(whole, "..")):
		message = "a key is missing beside a dot"
		mend := strings.Join(strings.FieldsFunc(r.Name, func(c rune) bool { return c == '.' }), ".")
		if len(r.Picks) == 0 && !r.quoted && mend != "" && mend != labels {
			mends = []string{mend}
		}
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
