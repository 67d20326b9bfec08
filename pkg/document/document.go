// Package document works on the JSON documents of assets: their canonical form,
// the hash of what is stable in them, the paths that differ between two of
// them, and their fields, flattened for queries.
//
// A path is object keys joined by dots. Arrays add nothing to a path, so the
// images of all containers of a pod share the path spec.containers.image.
package document

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	// MaxSize is the size in bytes of the largest document that is taken.
	MaxSize = 4 << 20
	// MaxDepth is how deeply a document may be nested.
	MaxDepth = 128

	// Separator stands between the values that share one path in Fields: the
	// ASCII unit separator, which text does not contain.
	Separator = "\x1f"
)

// Hash is the hash of what is stable in an observation: the first half of a
// SHA-256.
type Hash [16]byte

// Canonical returns a document in the one form that is compared, hashed and
// stored: a JSON object as in RFC 8785 (sorted keys, no white space, minimal
// escapes), except that numbers stay as they were written, for a 64-bit counter
// does not fit RFC 8785's floating point. Bytes that are not UTF-8 are replaced
// with U+FFFD.
func Canonical(doc []byte) ([]byte, error) {
	if len(doc) > MaxSize {
		return nil, fmt.Errorf("document of %d bytes: the largest allowed has %d", len(doc), MaxSize)
	}
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

// StableHash returns the hash of a canonical document without its volatile
// paths, and of what else makes up the observation.
func StableHash(canonical []byte, volatile Paths, rest ...string) (Hash, error) {
	h := sha256.New()
	var size [20]byte
	for _, s := range rest {
		// Lengths keep ("ab", "c") and ("a", "bc") apart.
		h.Write(strconv.AppendInt(size[:0], int64(len(s)), 10))
		h.Write([]byte{':'})
		io.WriteString(h, s)
	}
	if len(volatile) == 0 {
		h.Write(canonical)
	} else if err := walk(canonical, volatile, visitor{raw: func(b []byte) { h.Write(b) }}); err != nil {
		return Hash{}, err
	}
	return Hash(h.Sum(nil)[:len(Hash{})]), nil
}

// Changed returns the paths, sorted, whose values differ between two canonical
// documents. Volatile paths do not count.
func Changed(old, new []byte, volatile Paths) ([]string, error) {
	before, err := leaves(old, volatile)
	if err != nil {
		return nil, err
	}
	after, err := leaves(new, volatile)
	if err != nil {
		return nil, err
	}
	var paths []string
	for path, value := range after {
		if was, ok := before[path]; !ok || was != value {
			paths = append(paths, path)
		}
	}
	for path := range before {
		if _, ok := after[path]; !ok {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths, nil
}

// leaves maps each path to a text that stands for all values there and for
// their places in arrays.
func leaves(doc []byte, volatile Paths) (map[string]string, error) {
	m := make(map[string][]byte)
	err := walk(doc, volatile, visitor{leaf: func(path, place []byte, raw jsontext.Value) {
		b := m[string(path)]
		b = append(b, place...)
		b = append(b, raw...)
		m[string(path)] = append(b, Separator...)
	}})
	if err != nil {
		return nil, err
	}
	texts := make(map[string]string, len(m))
	for path, b := range m {
		texts[path] = string(b)
	}
	return texts, nil
}

// Paths are path patterns: they match a path and all that lies below it. A *
// stands for one whole key.
type Paths []string

func (p Paths) match(keys []string) bool {
	for _, pattern := range p {
		if matches(pattern, keys) {
			return true
		}
	}
	return false
}

// matches takes the pattern apart key by key, so keys may have dots in them.
func matches(pattern string, keys []string) bool {
	for i, key := range keys {
		rest, ok := strings.CutPrefix(pattern, key)
		if !ok || (rest != "" && rest[0] != '.') {
			if rest, ok = strings.CutPrefix(pattern, "*"); !ok {
				return false
			}
		}
		if rest == "" {
			return i == len(keys)-1
		}
		pattern = rest[1:]
	}
	return false
}

// visitor is what a walk calls: leaf for each scalar and (with the closing
// bracket alone) for each empty container, raw for pieces of JSON text that, together, stand for what was walked.
type visitor struct {
	leaf func(path, place []byte, raw jsontext.Value)
	raw  func([]byte)
}

// walk passes through a document once, without the members that skip matches.
func walk(doc []byte, skip Paths, v visitor) error {
	w := walker{dec: jsontext.NewDecoder(bytes.NewBuffer(doc), jsontext.AllowInvalidUTF8(true)), skip: skip, visitor: v}
	if err := w.value(); err != nil {
		return fmt.Errorf("document: %w", err)
	}
	if _, err := w.dec.ReadToken(); err != io.EOF {
		return errors.New("document: more than one JSON value")
	}
	return nil
}

type walker struct {
	dec  *jsontext.Decoder
	skip Paths
	visitor
	keys  []string
	path  []byte
	place []byte
	depth int
}

func (w *walker) value() error {
	switch w.dec.PeekKind() {
	case '{', '[':
		if w.depth++; w.depth > MaxDepth {
			return fmt.Errorf("nested deeper than %d levels", MaxDepth)
		}
		defer func() { w.depth-- }()
		return w.container()
	}
	raw, err := w.dec.ReadValue()
	if err != nil {
		return err
	}
	w.emit(raw)
	return nil
}

func (w *walker) emit(raw jsontext.Value) {
	if w.raw != nil {
		w.raw(raw)
		w.raw([]byte{','})
	}
	if w.leaf != nil {
		w.leaf(w.path, w.place, raw)
	}
}

func (w *walker) container() error {
	open, err := w.dec.ReadToken()
	if err != nil {
		return err
	}
	object := open.Kind() == '{'
	if w.raw != nil {
		w.raw([]byte{byte(open.Kind())})
	}
	pathLen, placeLen := len(w.path), len(w.place)
	n := 0
	for ; ; n++ {
		kind := w.dec.PeekKind()
		if kind == '}' || kind == ']' {
			break
		}
		if object {
			err = w.member(pathLen)
		} else {
			w.place = append(strconv.AppendInt(w.place[:placeLen], int64(n), 10), '/')
			err = w.value()
		}
		if err != nil {
			return err
		}
	}
	w.path, w.place = w.path[:pathLen], w.place[:placeLen]
	end, err := w.dec.ReadToken()
	if err != nil {
		return err
	}
	if w.raw != nil {
		w.raw([]byte{byte(end.Kind())})
	}
	if n == 0 && len(w.keys) > 0 && w.leaf != nil {
		w.leaf(w.path, w.place, jsontext.Value{byte(end.Kind())})
	}
	return nil
}

func (w *walker) member(pathLen int) error {
	token, err := w.dec.ReadToken()
	if err != nil {
		return err
	}
	key := token.String()
	w.path = w.path[:pathLen]
	if len(w.keys) > 0 {
		w.path = append(w.path, '.')
	}
	w.path = append(w.path, key...)
	w.keys = append(w.keys, key)
	defer func() { w.keys = w.keys[:len(w.keys)-1] }()
	if w.skip.match(w.keys) {
		return w.dec.SkipValue()
	}
	if w.raw != nil {
		w.raw(strconv.AppendQuote(nil, key))
		w.raw([]byte{':'})
	}
	return w.value()
}
