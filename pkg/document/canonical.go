package document

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Canonical returns a document in the one form that is compared, hashed and
// stored: a JSON object as in RFC 8785 (sorted keys, no white space, minimal
// escapes), except that numbers stay as they were written, for a 64-bit counter
// does not fit RFC 8785's floating point. Bytes that are not UTF-8 are replaced
// with U+FFFD.
func Canonical(doc []byte) ([]byte, error) {
	if len(doc) > MaxSize {
		return nil, fmt.Errorf("document of %d bytes: the largest allowed has %d", len(doc), MaxSize)
	}
	c := canonizers.Get().(*canonizer)
	c.scanner, c.out, c.members = scanner{doc: doc}, make([]byte, 0, len(doc)), c.members[:0]
	ok, canonical := c.document(), c.out
	c.scanner, c.out = scanner{}, nil
	canonizers.Put(c)
	if ok {
		return canonical, nil
	}
	return canonicalSlowly(doc)
}

var canonizers = sync.Pool{New: func() any { return new(canonizer) }}

// canonicalSlowly takes every document, and says what is wrong with one.
func canonicalSlowly(doc []byte) ([]byte, error) {
	v := jsontext.Value(bytes.Clone(doc))
	if err := v.Format(
		jsontext.CanonicalizeRawInts(false),
		jsontext.CanonicalizeRawFloats(false),
		jsontext.ReorderRawObjects(true),
		jsontext.PreserveRawStrings(false),
		jsontext.AllowInvalidUTF8(true),
	); err != nil {
		return nil, fmt.Errorf("document: %w", err)
	}
	if v.Kind() != '{' {
		return nil, errors.New("document: must be a JSON object")
	}
	if err := checkDepth(v); err != nil {
		return nil, err
	}
	return v, nil
}

func checkDepth(canonical []byte) error {
	depth, inString := 0, false
	for i := 0; i < len(canonical); i++ {
		switch c := canonical[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > MaxDepth {
				return fmt.Errorf("document: nested deeper than %d levels", MaxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// canonizer makes the canonical form of ordinary documents in one pass. It gives
// up, by returning false, on all that is wrong or rare: a name that is not plain
// ASCII or stands twice, an escape that makes no text, bytes that are not UTF-8.
// What becomes of these is jsontext's to say.
type canonizer struct {
	scanner
	out []byte
	// members has those of the objects that are open, the innermost last.
	members []member
	scratch []byte
}

// member is where a member of an object stands in the output, and its name in the
// document, without quotation marks. (Offsets, for pointers are work for the
// garbage collector.)
type member struct{ nameStart, nameEnd, start, end int }

func (c *canonizer) name(m member) []byte { return c.doc[m.nameStart:m.nameEnd] }

func (c *canonizer) document() bool {
	return c.peek() == '{' && c.value(1) && c.peek() == 0 && c.at == len(c.doc)
}

func (c *canonizer) value(depth int) bool {
	switch c.peek() {
	case '{':
		return depth <= MaxDepth && c.object(depth)
	case '[':
		return depth <= MaxDepth && c.array(depth)
	case '"':
		return c.quoted()
	}
	start := c.at
	if !c.scalar() {
		return false
	}
	c.out = append(c.out, c.doc[start:c.at]...)
	return true
}

func (c *canonizer) quoted() bool {
	raw, form, ok := c.quote()
	switch {
	case !ok || form == beyondASCII && !utf8.Valid(raw):
		return false
	case form == escaped:
		var err error
		if c.scratch, err = jsontext.AppendUnquote(c.scratch[:0], raw); err != nil {
			return false
		}
		c.out, err = jsontext.AppendQuote(c.out, c.scratch)
		return err == nil
	}
	c.out = append(c.out, raw...)
	return true
}

func (c *canonizer) array(depth int) bool {
	c.copy()
	if c.peek() == ']' {
		c.copy()
		return true
	}
	for {
		if !c.value(depth + 1) {
			return false
		}
		switch c.peek() {
		case ',':
			c.copy()
		case ']':
			c.copy()
			return true
		default:
			return false
		}
	}
}

func (c *canonizer) object(depth int) bool {
	c.copy()
	if c.peek() == '}' {
		c.copy()
		return true
	}
	first, start := len(c.members), len(c.out)
	inOrder := true
	for {
		c.peek()
		m := member{nameStart: c.at + 1, start: len(c.out)}
		raw, form, ok := c.quote()
		if m.nameEnd = c.at - 1; !ok || form != plain || c.peek() != ':' {
			return false
		}
		c.out = append(c.out, raw...)
		c.copy()
		if !c.value(depth + 1) {
			return false
		}
		m.end = len(c.out)
		if len(c.members) > first {
			inOrder = inOrder && bytes.Compare(c.name(c.members[len(c.members)-1]), c.name(m)) < 0
		}
		c.members = append(c.members, m)
		switch c.peek() {
		case ',':
			c.copy()
		case '}':
			if !inOrder && !c.reorder(c.members[first:], start) {
				return false
			}
			c.members = c.members[:first]
			c.copy()
			return true
		default:
			return false
		}
	}
}

// reorder puts the members, which stand in the output from start on, in the order
// of their names, unless one stands twice.
func (c *canonizer) reorder(members []member, start int) bool {
	slices.SortFunc(members, func(a, b member) int { return bytes.Compare(c.name(a), c.name(b)) })
	c.scratch = c.scratch[:0]
	for i, m := range members {
		if i > 0 {
			if bytes.Equal(c.name(members[i-1]), c.name(m)) {
				return false
			}
			c.scratch = append(c.scratch, ',')
		}
		c.scratch = append(c.scratch, c.out[m.start:m.end]...)
	}
	copy(c.out[start:], c.scratch)
	return true
}

// copy takes the byte that is next.
func (c *canonizer) copy() {
	c.out = append(c.out, c.doc[c.at])
	c.at++
}

// unquoted returns a plain string without its quotation marks.
func unquoted(raw []byte) []byte { return raw[1 : len(raw)-1] }

// ordinary reports whether a document is one JSON object within the limits, each
// name once. It says no to some that are: those with names that are not plain
// ASCII, or not in order.
func ordinary(doc []byte) bool {
	s := scanner{doc: doc}
	return s.peek() == '{' && s.ordinary(1) && s.peek() == 0 && s.at == len(doc)
}

func (s *scanner) ordinary(depth int) bool {
	open := s.peek()
	switch open {
	case '"':
		_, _, ok := s.quote()
		return ok
	case '{', '[':
	default:
		return s.scalar()
	}
	if depth > MaxDepth {
		return false
	}
	s.at++
	last := open + 2 // both closing brackets stand two behind their opening ones
	if s.peek() == last {
		s.at++
		return true
	}
	var before []byte
	for {
		if open == '{' {
			s.peek()
			name, form, ok := s.quote()
			if !ok || form != plain || s.peek() != ':' || before != nil && bytes.Compare(before, unquoted(name)) >= 0 {
				return false
			}
			before = unquoted(name)
			s.at++
		}
		if !s.ordinary(depth + 1) {
			return false
		}
		switch s.peek() {
		case ',':
			s.at++
		case last:
			s.at++
			return true
		default:
			return false
		}
	}
}
