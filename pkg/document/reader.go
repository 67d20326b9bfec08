package document

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// Reader takes a document apart that is known to be valid, as one in canonical
// form is: it checks nothing, which makes it quick. What it reads of anything else
// is undefined, but it ends.
type Reader struct {
	doc []byte
	at  int
}

// NewReader returns a reader of a document, which must not be changed meanwhile.
func NewReader(doc []byte) Reader { return Reader{doc: doc} }

// Offset is where in the document the reader is: behind what it took last.
func (r *Reader) Offset() int { return r.at }

// between are the bytes that may stand between brackets and values.
var between = [256]bool{' ': true, '\t': true, '\n': true, '\r': true, ',': true, ':': true}

// Peek returns the byte that comes next, which says what does: a bracket, the
// quotation mark of a string or a name, or the first of a number, true, false or
// null. At the end of the document it is 0.
func (r *Reader) Peek() byte {
	for r.at < len(r.doc) {
		if c := r.doc[r.at]; !between[c] {
			return c
		}
		r.at++
	}
	return 0
}

// More reports whether another element or member follows in the array or object
// that is open.
func (r *Reader) More() bool {
	c := r.Peek()
	return c != '}' && c != ']' && c != 0
}

// Bracket takes the bracket that comes next.
func (r *Reader) Bracket() byte {
	c := r.Peek()
	r.at = min(r.at+1, len(r.doc))
	return c
}

// Value takes the value or name that comes next, as it is written. It is part of
// the document.
func (r *Reader) Value() []byte {
	c := r.Peek()
	start := r.at
	if c != '{' && c != '[' {
		r.scalar(c)
		return r.doc[start:r.at]
	}
	for depth := 0; r.at < len(r.doc); {
		switch c := r.doc[r.at]; c {
		case '"':
			r.scalar(c)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		r.at++
		if depth == 0 {
			break
		}
	}
	return r.doc[start:r.at]
}

// ends are the bytes behind a number, true, false or null.
var ends = [256]bool{',': true, '}': true, ']': true, ' ': true, '\t': true, '\n': true, '\r': true}

func (r *Reader) scalar(first byte) {
	if r.at++; first != '"' {
		for r.at < len(r.doc) && !ends[r.doc[r.at]] {
			r.at++
		}
		r.at = min(r.at, len(r.doc))
		return
	}
	for {
		n := bytes.IndexByte(r.doc[r.at:], '"')
		if n < 0 {
			r.at = len(r.doc)
			return
		}
		end := r.at + n
		r.at = end + 1
		// The mark is a character of the string behind an odd number of backslashes.
		slashes := 0
		for r.doc[end-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return
		}
	}
}

// AppendText appends the text of a string or name, of which raw is how it is
// written. Bytes that are not UTF-8 are replaced with U+FFFD.
func AppendText(to, raw []byte) []byte {
	if len(raw) < 2 {
		return to
	}
	inner := raw[1 : len(raw)-1]
	for _, c := range inner {
		if c == '\\' || c >= 0x80 {
			// It is valid, so this cannot fail but for text that is not UTF-8.
			to, _ = jsontext.AppendUnquote(to, raw)
			return to
		}
	}
	return append(to, inner...)
}
