// Package diff says how one document of an asset became another: what came, what went and
// what is another value now, by path.
//
// Elements of arrays are told apart by what identifies them, where they have such a thing: in
// containers[name=web].image it is the name. A list that only has another order is said to be
// reordered, and no more. Elements without such a thing are told apart by their places.
package diff

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/reeve-cloud/reeve/pkg/document"
)

// Operation is what happened at a path.
type Operation uint8

// The operations.
const (
	// Added: there was nothing.
	Added Operation = iota + 1
	// Removed: there is nothing any more.
	Removed
	// Changed: there is another value.
	Changed
	// Reordered: a list has the same elements, or those that others are added to and removed
	// from, in another order.
	Reordered
)

// String is the operation's name.
func (o Operation) String() string {
	switch o {
	case Added:
		return "added"
	case Removed:
		return "removed"
	case Changed:
		return "changed"
	case Reordered:
		return "reordered"
	}
	return "unknown"
}

// Step is one step of a path: a member of an object, or an element of an array.
type Step struct {
	// Key is the name of a member, or of what identifies an element.
	Key string
	// Value is what identifies the element, as JSON; nil for a member of an object.
	Value json.RawMessage
	// Index is the place of an element that nothing identifies: of the old list, or if it
	// was added, of the new one. It counts where Element is set and Value is nil.
	Index   int
	Element bool
}

// Change is one difference.
type Change struct {
	Operation Operation
	Path      []Step
	// Old and New are JSON: what was there, and what is. Of what was added there is no Old,
	// of what was removed no New, and of what was reordered neither.
	Old, New json.RawMessage
}

// String is the path as docs/layouts.md has paths; elements that nothing identifies are
// given by their places, from 0.
func (c *Change) String() string {
	var b strings.Builder
	for i, s := range c.Path {
		switch {
		case s.Element && s.Value != nil:
			text := string(s.Value)
			if plain, err := unquoted(s.Value); err == nil {
				text = plain
			}
			fmt.Fprintf(&b, "[%s=%s]", s.Key, text)
		case s.Element:
			b.WriteString("[" + strconv.Itoa(s.Index) + "]")
		default:
			if i > 0 {
				b.WriteByte('.')
			}
			b.WriteString(s.Key)
		}
	}
	return b.String()
}

func unquoted(v json.RawMessage) (text string, err error) {
	err = json.Unmarshal(v, &text)
	return text, err
}

// maxDepth is how deeply a document is compared. What lies deeper is compared as a whole.
const maxDepth = 200

// MaxChanges is how many differences are told of. Where there are more, only the largest
// parts that differ are named.
const MaxChanges = 10_000

// Of returns the differences between two documents, which are JSON objects, in the order of
// their paths. Either may be empty: then there was, or is, no document.
func Of(before, after []byte) ([]Change, error) {
	old, err := decode(before)
	if err != nil {
		return nil, fmt.Errorf("the earlier document: %w", err)
	}
	recent, err := decode(after)
	if err != nil {
		return nil, fmt.Errorf("the later document: %w", err)
	}
	// A document of a million differences is told of by its larger parts.
	for depth := maxDepth; ; depth = min(depth, 8) - 1 {
		c := comparison{depth: depth}
		c.compare(nil, old, recent)
		if c.err != nil {
			return nil, c.err
		}
		if len(c.changes) <= MaxChanges || depth <= 1 {
			return c.changes, nil
		}
	}
}

// decode returns a value in which numbers are as they were written.
func decode(doc []byte) (any, error) {
	if len(doc) == 0 {
		return map[string]any{}, nil
	}
	if len(doc) > document.MaxSize {
		return nil, fmt.Errorf("%d bytes: the largest allowed has %d", len(doc), document.MaxSize)
	}
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		return nil, err
	}
	return m, nil
}

type comparison struct {
	depth   int
	changes []Change
	err     error
}

func (c *comparison) add(op Operation, path []Step, old, recent any) {
	change := Change{Operation: op, Path: slices.Clone(path)}
	if op == Removed || op == Changed {
		change.Old = c.encode(old)
	}
	if op == Added || op == Changed {
		change.New = c.encode(recent)
	}
	c.changes = append(c.changes, change)
}

func (c *comparison) encode(v any) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil && c.err == nil {
		c.err = fmt.Errorf("a value of a document: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func (c *comparison) compare(path []Step, old, recent any) {
	if len(path) < c.depth {
		switch old := old.(type) {
		case map[string]any:
			if recent, ok := recent.(map[string]any); ok {
				c.objects(path, old, recent)
				return
			}
		case []any:
			if recent, ok := recent.([]any); ok {
				c.arrays(path, old, recent)
				return
			}
		}
	}
	if !equal(old, recent) {
		c.add(Changed, path, old, recent)
	}
}

func (c *comparison) objects(path []Step, old, recent map[string]any) {
	keys := make([]string, 0, len(old))
	for k := range old {
		keys = append(keys, k)
	}
	for k := range recent {
		if _, both := old[k]; !both {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		o, was := old[k]
		r, is := recent[k]
		at := append(path, Step{Key: k})
		switch {
		case !was:
			c.add(Added, at, nil, r)
		case !is:
			c.add(Removed, at, o, nil)
		default:
			c.compare(at, o, r)
		}
	}
}

// identities are the members that may identify an element of an array, the best first.
var identities = []string{"uid", "id", "name", "key", "type", "mountPath", "devicePath", "ip", "address", "cidr", "port", "containerPort", "host", "path"}

// identify returns the member that identifies the elements of two arrays: every element is an
// object that has it, and no two of one array have the same.
func identify(arrays ...[]any) string {
	for _, key := range identities {
		if slices.ContainsFunc(arrays, func(a []any) bool { return !identifies(key, a) }) {
			continue
		}
		return key
	}
	return ""
}

func identifies(key string, array []any) bool {
	seen := make(map[any]struct{}, len(array))
	for _, e := range array {
		object, ok := e.(map[string]any)
		if !ok {
			return false
		}
		switch v := object[key].(type) {
		case string, json.Number:
			if _, twice := seen[v]; twice {
				return false
			}
			seen[v] = struct{}{}
		default:
			return false
		}
	}
	return true
}

func (c *comparison) arrays(path []Step, old, recent []any) {
	if len(old) == 0 && len(recent) == 0 {
		return
	}
	if scalars(old) && scalars(recent) {
		if !equal(old, recent) {
			c.add(Changed, path, old, recent)
		}
		return
	}
	if key := identify(old, recent); key != "" {
		c.identified(path, key, old, recent)
		return
	}
	for i := range max(len(old), len(recent)) {
		at := append(path, Step{Index: i, Element: true})
		switch {
		case i >= len(old):
			c.add(Added, at, nil, recent[i])
		case i >= len(recent):
			c.add(Removed, at, old[i], nil)
		default:
			c.compare(at, old[i], recent[i])
		}
	}
}

func scalars(array []any) bool {
	return !slices.ContainsFunc(array, func(e any) bool {
		switch e.(type) {
		case map[string]any, []any:
			return true
		}
		return false
	})
}

func (c *comparison) identified(path []Step, key string, old, recent []any) {
	name := func(e any) any { return e.(map[string]any)[key] }
	places := make(map[any]int, len(recent))
	for i, e := range recent {
		places[name(e)] = i
	}
	last, reordered := -1, false
	for _, e := range old {
		at := append(path, Step{Key: key, Value: c.encode(name(e)), Element: true})
		i, is := places[name(e)]
		if !is {
			c.add(Removed, at, e, nil)
			continue
		}
		reordered = reordered || i < last
		last = max(last, i)
		delete(places, name(e))
		c.compare(at, e, recent[i])
	}
	for i, e := range recent {
		if _, is := places[name(e)]; is {
			c.add(Added, append(path, Step{Key: key, Value: c.encode(name(e)), Index: i, Element: true}), nil, e)
		}
	}
	if reordered {
		c.add(Reordered, path, nil, nil)
	}
}

func equal(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for k, v := range a {
			if w, ok := b[k]; !ok || !equal(v, w) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equal)
	}
	return a == b
}
