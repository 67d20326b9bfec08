// Package document works on the JSON documents of assets: their canonical form,
// the hash of what is stable in them, the paths that differ between two of
// them, and their fields, flattened for queries.
//
// A path is object keys joined by dots. Arrays add nothing to a path, so the
// images of all containers of a pod share the path spec.containers.image.
package document

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
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
	err := walk(doc, volatile, visitor{leaf: func(path, place, raw []byte) {
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

func (p Paths) match(k keys) bool {
	return slices.ContainsFunc(p, k.match)
}

// keys are the keys of a path. They may have dots in them, so where each starts is
// kept, too.
type keys struct {
	path   []byte
	starts []int
}

func (k *keys) push(name []byte) {
	if len(k.starts) > 0 {
		k.path = append(k.path, '.')
	}
	k.starts = append(k.starts, len(k.path))
	k.path = AppendText(k.path, name)
}

func (k *keys) pop() {
	last := len(k.starts) - 1
	k.path = k.path[:max(0, k.starts[last]-1)]
	k.starts = k.starts[:last]
}

// last is the innermost key.
func (k *keys) last() []byte { return k.path[k.starts[len(k.starts)-1]:] }

// match takes the pattern apart key by key.
func (k *keys) match(pattern string) bool {
	for i, start := range k.starts {
		end := len(k.path)
		if i < len(k.starts)-1 {
			end = k.starts[i+1] - 1
		}
		n := end - start
		if n > len(pattern) || pattern[:n] != string(k.path[start:end]) || n < len(pattern) && pattern[n] != '.' {
			if n = 1; pattern == "" || pattern[0] != '*' || len(pattern) > 1 && pattern[1] != '.' {
				return false
			}
		}
		if n == len(pattern) {
			return i == len(k.starts)-1
		}
		pattern = pattern[n+1:]
	}
	return false
}

// visitor is what a walk calls: leaf for each scalar and (with the closing
// bracket alone) for each empty container, raw for pieces of JSON text that, together, stand for what was walked.
type visitor struct {
	leaf func(path, place, raw []byte)
	raw  func([]byte)
}

// walk passes through a valid document once, without the members that skip matches.
func walk(doc []byte, skip Paths, v visitor) error {
	w := walker{in: NewReader(doc), skip: skip, visitor: v}
	if err := w.value(); err != nil {
		return fmt.Errorf("document: %w", err)
	}
	if w.in.Peek() != 0 {
		return errors.New("document: more than one JSON value")
	}
	return nil
}

type walker struct {
	in   Reader
	skip Paths
	visitor
	keys  keys
	place []byte
	depth int
	name  []byte
	mark  [1]byte
}

func (w *walker) value() error {
	if c := w.in.Peek(); c == '{' || c == '[' {
		if w.depth++; w.depth > MaxDepth {
			return fmt.Errorf("nested deeper than %d levels", MaxDepth)
		}
		defer func() { w.depth-- }()
		return w.container()
	}
	raw := w.in.Value()
	if len(raw) == 0 {
		return io.ErrUnexpectedEOF
	}
	if w.raw != nil {
		w.raw(raw)
		w.marked(',')
	}
	if w.leaf != nil {
		w.leaf(w.keys.path, w.place, raw)
	}
	return nil
}

func (w *walker) marked(c byte) {
	if w.mark[0] = c; w.raw != nil {
		w.raw(w.mark[:])
	}
}

func (w *walker) container() (err error) {
	open := w.in.Bracket()
	w.marked(open)
	place := len(w.place)
	n := 0
	for ; w.in.More(); n++ {
		if open == '{' {
			err = w.member()
		} else {
			w.place = append(strconv.AppendInt(w.place[:place], int64(n), 10), '/')
			err = w.value()
		}
		if err != nil {
			return err
		}
	}
	w.place = w.place[:place]
	end := w.in.Bracket()
	w.marked(end)
	if n == 0 && len(w.keys.starts) > 0 && w.leaf != nil {
		w.leaf(w.keys.path, w.place, w.mark[:])
	}
	return nil
}

func (w *walker) member() error {
	w.keys.push(w.in.Value())
	defer w.keys.pop()
	if w.skip.match(w.keys) {
		w.in.Value()
		return nil
	}
	if w.raw != nil {
		w.name = append(strconv.AppendQuote(w.name[:0], string(w.keys.last())), ':')
		w.raw(w.name)
	}
	return w.value()
}
