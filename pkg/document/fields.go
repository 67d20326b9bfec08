package document

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// Field is a path of a document, and the text of what is there.
type Field struct{ Path, Value string }

// All yields paths and values.
func All(fields []Field) iter.Seq2[string, string] {
	return func(yield func(path, value string) bool) {
		for _, f := range fields {
			if !yield(f.Path, f.Value) {
				return
			}
		}
	}
}

// Fields flattens a document into text values by path, each path once, in the order
// of their first places. Values that share a path are joined with Separator; null and
// empty values have no field. The document need not be canonical, so this is also the
// check of one that came from elsewhere: it must be one JSON object within the limits.
func Fields(doc []byte) ([]Field, error) {
	if len(doc) > MaxSize {
		return nil, fmt.Errorf("document of %d bytes: the largest allowed has %d", len(doc), MaxSize)
	}
	if !ordinary(doc) {
		if err := check(doc); err != nil {
			return nil, err
		}
	}
	if err := CheckPaths(doc); err != nil {
		return nil, err
	}
	f := flatteners.Get().(*flattener)
	defer flatteners.Put(f)
	return f.flatten(doc)
}

// check takes every document that is valid, and says what is wrong with another.
func check(doc []byte) error {
	v := jsontext.Value(doc)
	if v.Kind() != '{' {
		return errors.New("document: must be a JSON object")
	}
	if v.IsValid(jsontext.AllowInvalidUTF8(true)) {
		return nil
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(doc), jsontext.AllowInvalidUTF8(true))
	if err := dec.SkipValue(); err != nil {
		return fmt.Errorf("document: %w", err)
	}
	return errors.New("document: more than one JSON value")
}

var flatteners = sync.Pool{New: func() any {
	return &flattener{places: make(map[string]*place)}
}}

// maxPaths is how many paths a flattener remembers, so that documents of one type
// share them.
const maxPaths = 1 << 14

// flattener flattens documents that are known to be valid, so it does not look
// twice. It is used again and again.
type flattener struct {
	in    Reader
	depth int
	path  []byte

	// texts has the values in the order of the document, pieces where each is, and
	// places what is known of each path, also from documents before.
	texts  []byte
	pieces []piece
	places map[string]*place
	// number is that of the document, distinct how many paths it has, and joined
	// says that some have more than one value.
	number   uint64
	distinct int
	joined   bool
}

// place is a path, and its first piece in the document of a number.
type place struct {
	path   string
	number uint64
	first  int
}

type piece struct {
	// first says that it is the first of its path; only that one has it.
	first      bool
	path       string
	start, end int
	// next is the next piece of the same path, and last, of the first one, is the
	// last; zero is none.
	next, last int
}

func (f *flattener) flatten(doc []byte) ([]Field, error) {
	f.in, f.depth, f.path = NewReader(doc), 0, f.path[:0]
	f.texts, f.pieces, f.distinct, f.joined = f.texts[:0], f.pieces[:0], 0, false
	f.number++
	if len(f.places) > maxPaths {
		clear(f.places)
	}
	defer func() { f.in = Reader{} }()
	if err := f.value(); err != nil {
		return nil, fmt.Errorf("document: %w", err)
	}
	return f.fields(), nil
}

// fields makes the result, whose values share one string.
func (f *flattener) fields() []Field {
	list := make([]Field, 0, f.distinct)
	if !f.joined {
		all := string(f.texts)
		for _, p := range f.pieces {
			list = append(list, Field{p.path, all[p.start:p.end]})
		}
		return list
	}
	joined := make([]byte, 0, len(f.texts)+len(f.pieces))
	ends := make([]int, 0, f.distinct)
	for i := range f.pieces {
		p := f.pieces[i]
		if !p.first {
			continue // it stands with the first of its path
		}
		list = append(list, Field{Path: p.path})
		joined = append(joined, f.texts[p.start:p.end]...)
		for n := p.next; n != 0; n = f.pieces[n].next {
			joined = append(joined, Separator...)
			joined = append(joined, f.texts[f.pieces[n].start:f.pieces[n].end]...)
		}
		ends = append(ends, len(joined))
	}
	all, start := string(joined), 0
	for i, end := range ends {
		list[i].Value, start = all[start:end], end
	}
	return list
}

// value flattens the value that comes next.
func (f *flattener) value() error {
	start := len(f.texts)
	switch f.in.Peek() {
	case '{', '[':
		if f.depth++; f.depth > MaxDepth {
			return fmt.Errorf("nested deeper than %d levels", MaxDepth)
		}
		err := f.container()
		f.depth--
		return err
	case '"':
		f.texts = AppendText(f.texts, f.in.Value())
	case 'n':
		f.in.Value()
	default:
		f.texts = append(f.texts, f.in.Value()...)
	}
	f.emit(start)
	return nil
}

func (f *flattener) container() error {
	object := f.in.Bracket() == '{'
	above := len(f.path)
	for f.in.More() {
		if object {
			f.path = f.path[:above]
			if f.depth > 1 {
				f.path = append(f.path, '.')
			}
			f.path = AppendText(f.path, f.in.Value())
		}
		if err := f.value(); err != nil {
			return err
		}
	}
	f.in.Bracket()
	f.path = f.path[:above]
	return nil
}

// emit takes the text from start on as a value at the path.
func (f *flattener) emit(start int) {
	end := len(f.texts)
	if start == end {
		return
	}
	p, known := f.places[string(f.path)]
	if !known {
		p = &place{path: string(f.path)}
		f.places[p.path] = p
	}
	n := len(f.pieces)
	if p.number == f.number {
		f.joined = true
		first := &f.pieces[p.first]
		f.pieces[first.last].next = n
		first.last = n
		f.pieces = append(f.pieces, piece{start: start, end: end})
		return
	}
	p.number, p.first = f.number, n
	f.distinct++
	f.pieces = append(f.pieces, piece{first: true, path: p.path, start: start, end: end, last: n})
}
