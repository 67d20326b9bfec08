package filter

import (
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/reeve-cloud/reeve/pkg/document"
)

// Asset is what a filter is held against.
type Asset struct {
	Name, UID, Type, Site, Region, Project, Status, State, Scope, Agent string
	// Created and the others are zero where that is not known.
	Created, Updated, Observed time.Time
	Labels                     map[string]string
	// Fields are the document's, as document.Fields makes them.
	Fields []document.Field
	// Document is needed for fields that pick elements only. It must be a valid one.
	Document []byte
	// Search is the SearchText of the asset, which words are looked for in.
	Search string
}

// maxSearch is how many bytes the text has at most that words are looked for in.
const maxSearch = 16 << 10

// SearchText returns what words are looked for in, folded: name, uid, project, the values of labels, and the values
// at the paths of the document that its type's layout names, a line each. After 16 KiB the rest is left out.
func SearchText(a *Asset, paths []string) string {
	parts := []string{a.Name, a.UID, a.Project}
	for _, name := range slices.Sorted(maps.Keys(a.Labels)) {
		parts = append(parts, a.Labels[name])
	}
	for _, path := range paths {
		if v := a.field(path); v != "" {
			parts = append(parts, strings.ReplaceAll(v, document.Separator, "\n"))
		}
	}
	text := strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "\n")
	if len(text) > maxSearch {
		end := maxSearch
		for end > 0 && !utf8.RuneStart(text[end]) {
			end--
		}
		text = text[:end]
	}
	return Fold(text)
}

// field returns the values at a path, joined, or nothing.
func (a *Asset) field(path string) string {
	for i := range a.Fields {
		if a.Fields[i].Path == path {
			return a.Fields[i].Value
		}
	}
	return ""
}

// has reports whether there is a value at a path or below it.
func (a *Asset) has(path string) bool {
	for i := range a.Fields {
		if rest, ok := strings.CutPrefix(a.Fields[i].Path, path); ok && (rest == "" || rest[0] == '.') {
			return true
		}
	}
	return false
}

// TimeFormat is how fixed fields that are moments are written, where a text is asked for.
const TimeFormat = "2006-01-02T15:04:05.000Z"

// fixed returns the text of a fixed field; empty is none.
func (a *Asset) fixed(name string) string {
	switch name {
	case "name":
		return a.Name
	case "uid":
		return a.UID
	case "type":
		return a.Type
	case "site":
		return a.Site
	case "region":
		return a.Region
	case "project":
		return a.Project
	case "status":
		return a.Status
	case "state":
		return a.State
	case "scope":
		return a.Scope
	case "agent":
		return a.Agent
	}
	if at := a.moment(name); !at.IsZero() {
		return at.UTC().Format(TimeFormat)
	}
	return ""
}

func (a *Asset) moment(name string) time.Time {
	switch name {
	case "created":
		return a.Created
	case "updated":
		return a.Updated
	case "observed":
		return a.Observed
	}
	return time.Time{}
}

// Env is what a filter needs to know beside the asset.
type Env struct {
	// Now is what relative times are told from.
	Now time.Time
	// Kind returns what the values of a label or a path were seen to be. Nil is Unknown for all.
	Kind func(Field) Kind
	// Related reports whether the asset has a relation of the kind (empty is any), in either direction, to an asset for which
	// holds is true. If holds is nil, any relation of the kind does. A filter that asks for relations needs it.
	Related func(a *Asset, kind string, holds func(*Asset) (bool, error)) (bool, error)
}

// Match reports whether an asset passes the filter.
func (f *Filter) Match(a *Asset, env *Env) (bool, error) {
	if f.Root == nil {
		return true, nil
	}
	return match(f.Root, a, env)
}

func match(n Node, a *Asset, env *Env) (bool, error) {
	switch n := n.(type) {
	case *And:
		for _, c := range n.Nodes {
			if ok, err := match(c, a, env); !ok || err != nil {
				return false, err
			}
		}
		return true, nil
	case *Or:
		for _, c := range n.Nodes {
			if ok, err := match(c, a, env); ok || err != nil {
				return ok, err
			}
		}
		return false, nil
	case *Not:
		ok, err := match(n.Node, a, env)
		return !ok && err == nil, err
	case *Word:
		folded := n.folded
		if folded == "" {
			folded = Fold(n.Text)
		}
		return strings.Contains(a.Search, folded), nil
	case *Compare:
		return n.match(a, env)
	case *Related:
		if env.Related == nil {
			return false, errors.New("filter: relations cannot be asked for here")
		}
		if n.Node == nil {
			return env.Related(a, n.Kind, nil)
		}
		return env.Related(a, n.Kind, func(other *Asset) (bool, error) { return match(n.Node, other, env) })
	}
	return false, errors.New("filter: a node that is none of this package")
}

// prepared is what is made of a comparison once.
type prepared struct {
	folded     []string
	expression *regexp.Regexp
	// texts are the values of Equal, if they are many and none has a *.
	texts map[string]bool
}

// prepare makes what Match needs again and again.
func prepare(root Node) {
	Walk(root, func(n Node) bool {
		switch n := n.(type) {
		case *Word:
			n.folded = Fold(n.Text)
		case *Compare:
			n.prepared, _ = n.prepare() // Parse has checked the expression
		}
		return true
	})
}

func (c *Compare) prepare() (*prepared, error) {
	p := new(prepared)
	switch c.Op {
	case Has:
		for _, v := range c.Values {
			p.folded = append(p.folded, Fold(v.Text))
		}
	case Match:
		re, err := compile(c.Values[0].Text)
		if err != nil {
			return nil, err
		}
		p.expression = re
	case Equal:
		if len(c.Values) < 8 || slices.ContainsFunc(c.Values, Value.open) {
			break
		}
		p.texts = make(map[string]bool, len(c.Values))
		for _, v := range c.Values {
			p.texts[v.Text] = true
		}
	}
	return p, nil
}

func (c *Compare) match(a *Asset, env *Env) (bool, error) {
	p := c.prepared
	if p == nil {
		var err error
		if p, err = c.prepare(); err != nil {
			return false, err
		}
	}
	var bound Bound
	if c.Op.Ordering() {
		kind := Unknown
		if env.Kind != nil {
			kind = env.Kind(c.Field)
		}
		bound = c.Bound(kind, env.Now)
	}
	switch f := c.Field; {
	case f.Space == Label:
		if f.Name == "" {
			return len(a.Labels) > 0, nil
		}
		value, ok := a.Labels[f.Name]
		return ok && (c.Op == Exists || c.holds(p, bound, value)), nil
	case f.Space == Fixed && f.kind() == Time && (bound.As == Time || c.Op == Equal):
		return c.matchTime(a, env, p), nil
	case f.Space == Fixed:
		value := a.fixed(f.Name)
		return value != "" && (c.Op == Exists || c.holds(p, bound, value)), nil
	case len(f.Picks) > 0:
		return c.matchPicked(a, p, bound)
	}
	if c.Op == Exists {
		return a.has(c.Field.Name), nil
	}
	if joined := a.field(c.Field.Name); joined != "" && c.anyOf(p, bound, joined) {
		return true, nil
	}
	if c.Op == Has {
		for _, v := range c.Values {
			if !v.Before && !v.After && a.has(c.Field.Name+"."+v.Text) {
				return true, nil
			}
		}
	}
	return false, nil
}

// matchTime holds a fixed field against moments.
func (c *Compare) matchTime(a *Asset, env *Env, p *prepared) bool {
	at := a.moment(c.Field.Name)
	if at.IsZero() {
		return false
	}
	return slices.ContainsFunc(c.Values, func(v Value) bool {
		if v.Before || v.After {
			return v.equal(at.UTC().Format(TimeFormat))
		}
		b := c.Field.bound(v.Text, Time, env.Now)
		return b.As == Time && ordered(c.Op, compare(at.UnixMilli(), b.Moment))
	})
}

func (c *Compare) matchPicked(a *Asset, p *prepared, bound Bound) (bool, error) {
	if a.Document == nil {
		return false, errors.New("filter: " + c.Field.String() + " needs the asset's document")
	}
	w := picker{in: document.NewReader(a.Document), picks: c.Field.Picks}
	if c.Op == Exists {
		w.below = true
		w.holds = func([]byte) bool { return true }
	} else {
		w.holds = func(text []byte) bool { return c.holds(p, bound, string(text)) }
	}
	return w.value(c.Field.Name, 0), nil
}

// anyOf holds each of the values that share a path.
func (c *Compare) anyOf(p *prepared, bound Bound, joined string) bool {
	for {
		value, rest, more := strings.Cut(joined, document.Separator)
		if c.holds(p, bound, value) {
			return true
		}
		if !more {
			return false
		}
		joined = rest
	}
}

// holds holds one value against those of the comparison.
func (c *Compare) holds(p *prepared, bound Bound, value string) bool {
	switch c.Op {
	case Equal:
		if p.texts != nil {
			return p.texts[value]
		}
		for _, v := range c.Values {
			if v.equal(value) {
				return true
			}
		}
		return false
	case Has:
		folded := Fold(value)
		for i, v := range c.Values {
			v.Text = p.folded[i]
			if v.Before == v.After {
				v.Before, v.After = true, true
			}
			if v.equal(folded) {
				return true
			}
		}
		return false
	case Match:
		return p.expression.MatchString(value)
	}
	return bound.holds(c.Op, value)
}

// equal reports whether a text is the value's, but for what a * stands for.
func (v Value) equal(text string) bool {
	switch {
	case v.Before && v.After:
		return strings.Contains(text, v.Text)
	case v.Before:
		return strings.HasSuffix(text, v.Text)
	case v.After:
		return strings.HasPrefix(text, v.Text)
	}
	return text == v.Text
}

// open reports whether a * stands at an end.
func (v Value) open() bool { return v.Before || v.After }

// picker goes through a document to the elements that are picked.
type picker struct {
	in    document.Reader
	picks []Pick
	// below says that values below the path count, too.
	below bool
	holds func(text []byte) bool
	text  []byte
	depth int
}

// value goes through the value that comes next: path leads on from it to the next pick, of which so many are done. It
// returns true as soon as a value holds.
func (w *picker) value(path string, done int) bool {
	w.depth++
	defer func() { w.depth-- }()
	if w.depth > document.MaxDepth { // no document that was taken is so deep
		w.in.Value()
		return false
	}
	there := path == ""
	last := done == len(w.picks)
	switch w.in.Peek() {
	case '{':
		if there && !(last && w.below) {
			w.in.Value()
			return false
		}
		w.in.Bracket()
		for w.in.More() {
			w.text = document.AppendText(w.text[:0], w.in.Value())
			rest := ""
			if !there {
				var ok bool
				if rest, ok = behindKey(path, string(w.text)); !ok {
					w.in.Value()
					continue
				}
			}
			if w.value(rest, done) {
				return true
			}
		}
		w.in.Bracket()
	case '[':
		w.in.Bracket()
		for w.in.More() {
			if there && !last {
				if w.picked(done) {
					return true
				}
			} else if w.value(path, done) {
				return true
			}
		}
		w.in.Bracket()
	case '"':
		w.text = document.AppendText(w.text[:0], w.in.Value())
		return there && last && len(w.text) > 0 && w.holds(w.text)
	default:
		raw := w.in.Value()
		return there && last && len(raw) > 0 && raw[0] != 'n' && w.holds(raw)
	}
	return false
}

// behindKey returns what is left of a path behind a key that it begins with.
func behindKey(path, key string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(path, key)
	switch {
	case !ok:
		return "", false
	case rest == "":
		return "", true
	}
	return strings.CutPrefix(rest, ".")
}

// picked goes on from the element that comes next, if it is one that is picked.
func (w *picker) picked(done int) bool {
	pick := w.picks[done]
	c := w.in.Peek()
	element := w.in.Value()
	if c != '{' {
		return false
	}
	behind := w.in
	defer func() { w.in = behind }()
	w.in = document.NewReader(element)
	for w.in.Bracket(); w.in.More(); {
		w.text = document.AppendText(w.text[:0], w.in.Value())
		key := string(w.text) == pick.Key
		c := w.in.Peek()
		raw := w.in.Value()
		if !key || c == '{' || c == '[' || c == 'n' {
			continue
		}
		if c == '"' {
			raw = document.AppendText(w.text[:0], raw)
		}
		if string(raw) == pick.Value {
			w.in = document.NewReader(element)
			return w.value(pick.Path, done+1)
		}
	}
	return false
}
