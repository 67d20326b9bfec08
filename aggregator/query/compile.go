package query

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/filter"
)

// compiler makes conditions of nodes, for rows of a source. A condition is 1 or 0 and
// never NULL, so that NOT is the exact complement.
type compiler struct {
	*Plan
	s      *Statement
	source *Source
}

// node returns the condition of a node, in brackets where it needs them.
func (c *compiler) node(n filter.Node) string {
	switch n := n.(type) {
	case *filter.And:
		return c.join(n.Nodes, " AND ")
	case *filter.Or:
		return c.join(n.Nodes, " OR ")
	case *filter.Not:
		return "NOT " + bracket(c.node(n.Node))
	case *filter.Word:
		return c.word(n)
	case *filter.Compare:
		return bracket(c.compare(n))
	case *filter.Related:
		return c.related(n)
	}
	panic(fmt.Sprintf("a filter has a node %T", n))
}

func (c *compiler) join(nodes []filter.Node, by string) string {
	texts := make([]string, len(nodes))
	for i, n := range nodes {
		texts[i] = c.node(n)
	}
	return bracket(strings.Join(texts, by))
}

// operand is what a comparison looks at, in rows of a source.
type operand struct {
	// some is the condition that there is any value.
	some string
	// any returns the condition that one value is as told. loose is a condition that the
	// text of all values fulfils wherever one value does: it is cheaper to look at.
	any func(is func(value string) string) string
	// text is all of it, if that is at hand as a text: empty where there is nothing. Then each
	// is any for conditions that are long: it has them once.
	text string
	each func(is func(value string) string) string
}

// operand returns that of a field of the document without picks, or of a label or an
// attribute that is text.
func (c *compiler) operand(f filter.Field) operand {
	switch f.Space {
	case filter.Fixed:
		column := attributes[f.Name]
		if f.Name == "state" {
			column = c.stateText(c.s, c.source)
		}
		return single(column, column+" != ''")
	case filter.Label:
		name := c.s.Text(f.Name)
		return single("labels["+name+"]", "mapContains(labels, "+name+")")
	}
	if len(f.Picks) > 0 {
		return c.picked(f)
	}
	if c.source.History {
		list := c.source.List(f.Name)
		return operand{some: "notEmpty(" + list + ")", any: func(is func(string) string) string {
			return fmt.Sprintf("arrayExists(v -> %s, %s)", is("v"), list)
		}}
	}
	text := c.source.path(c.s, f.Name)
	separator := c.s.Text(document.Separator)
	some := text + " != ''"
	each := func(is func(string) string) string {
		return fmt.Sprintf("arrayExists(v -> %s, splitByChar(%s, %s))", is("v"), separator, text)
	}
	return operand{some: some, text: text, each: each, any: func(is func(string) string) string {
		// Most paths have one value, of which no list needs to be made.
		return fmt.Sprintf("(%s AND if(position(%s, %s) = 0, %s, %s))", some, text, separator, is(text), each(is))
	}}
}

// single is the operand of what has one value.
func single(value, some string) operand {
	return operand{some: some, any: func(is func(string) string) string { return some + " AND " + is(value) }}
}

// picked is the operand of a field that takes elements of arrays: they are read from the
// document, of those rows whose fields have what is needed somewhere.
func (c *compiler) picked(f filter.Field) operand {
	var before strings.Builder
	if !c.source.History {
		path := f.Name
		for _, p := range f.Picks {
			if p.Value != "" {
				before.WriteString(fmt.Sprintf("position(%s, %s) > 0 AND ", field(path+"."+p.Key), c.s.Text(p.Value)))
			}
			path += "." + p.Path
		}
	}
	raws := c.pickedRaws(f)
	return operand{
		some: fmt.Sprintf("%sarrayExists(x -> %s, %s)", before.String(), anything("x"), raws),
		any: func(is func(string) string) string {
			return fmt.Sprintf("%sarrayExists(v -> %s, %s)", before.String(), is("v"), scalars(raws))
		},
	}
}

// pickedRaws returns an expression that is the raw JSON values of such a field.
func (c *compiler) pickedRaws(f filter.Field) string {
	c.source.documents = true
	raws := below(c.s, "[document]", f.Name)
	for _, p := range f.Picks {
		raws = fmt.Sprintf("arrayFilter(x -> startsWith(x, '{') AND %s = %s, arrayFlatten(arrayMap(x -> "+
			"if(startsWith(x, '['), JSONExtractArrayRaw(x), []), %s)))", memberText(c.s, "x", p.Key), c.s.Text(p.Value), raws)
		if p.Path != "" {
			raws = below(c.s, raws, p.Path)
		}
	}
	return raws
}

// compare returns the condition of a comparison.
func (c *compiler) compare(n *filter.Compare) string {
	f := n.Field
	if f.Space == filter.Label && f.Name == "" {
		return "notEmpty(labels)"
	}
	if f.Space == filter.Fixed && isTime(f.Name) {
		return c.compareTime(n)
	}
	o := c.operand(f)
	if n.Op == filter.Equal && f.Space != filter.Document && !slices.ContainsFunc(n.Values, func(v filter.Value) bool { return v.Text == "" }) {
		// That there is a value goes without saying, and keys are best compared alone.
		any := o.any
		o.any = func(is func(string) string) string { return strings.TrimPrefix(any(is), o.some+" AND ") }
	}
	switch n.Op {
	case filter.Exists:
		if f.Space == filter.Document && len(f.Picks) == 0 {
			return c.someBelow(f.Name)
		}
		return o.some
	case filter.Equal:
		return c.equal(n, o)
	case filter.Has:
		found := c.sieve(n, "multiSearchAnyCaseInsensitive") +
			o.any(func(v string) string { return c.either(n.Values, func(w filter.Value) string { return c.has(v, w) }) })
		if f.Space == filter.Document {
			found = c.orMember(n, found)
		}
		return found
	case filter.Match:
		// With s, . is line breaks, too.
		expression := c.s.Text("(?s:" + n.Values[0].Text + ")")
		return o.any(func(v string) string { return "match(" + v + ", " + expression + ")" })
	}
	return c.order(n, o)
}

func (c *compiler) either(values []filter.Value, is func(filter.Value) string) string {
	if len(values) == 1 {
		return is(values[0])
	}
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = is(v)
	}
	return bracket(strings.Join(texts, " OR "))
}

// equal returns the condition that a value is one of texts.
func (c *compiler) equal(n *filter.Compare, o operand) string {
	var whole []string
	var parts []filter.Value
	for _, v := range n.Values {
		if v.Before || v.After {
			parts = append(parts, v)
		} else {
			whole = append(whole, v.Text)
		}
	}
	var list []string
	switch {
	case len(whole) == 1:
		text := c.s.Text(whole[0])
		list = append(list, o.any(func(v string) string { return v + " = " + text }))
	case len(whole) > 1:
		texts := c.s.Texts(whole)
		list = append(list, o.any(func(v string) string { return v + " IN " + texts }))
	}
	if len(parts) > 0 {
		list = append(list, o.any(func(v string) string {
			return c.either(parts, func(w filter.Value) string { return part(v, c.s.Text(w.Text), w) })
		}))
	}
	found := list[0]
	if len(list) > 1 {
		found = bracket(bracket(strings.Join(list, ") OR (")))
	}
	return c.sieve(n, "multiSearchAny") + found
}

// written are texts that stand in a document as they are, and that are no part of a number,
// for these may be written otherwise.
var written = regexp.MustCompile(`^[-A-Za-z0-9 _.:/]*[A-DF-Za-df-z][-A-Za-z0-9 _.:/]*$`)

// sieve returns a condition, with AND behind it, that documents of the history fulfil which
// have one of the texts of a comparison anywhere: that is quick, reading documents is not.
func (c *compiler) sieve(n *filter.Compare, search string) string {
	// The engine looks for so many at once.
	const most = 255
	if !c.source.History || n.Field.Space != filter.Document || len(n.Values) > most {
		return ""
	}
	texts := make([]string, len(n.Values))
	for i, v := range n.Values {
		if texts[i] = v.Text; !written.MatchString(v.Text) {
			return ""
		}
	}
	return search + "(document, " + c.s.Texts(texts) + ") AND "
}

// part returns the condition that a value has a text at its beginning, its end, or
// anywhere.
func part(value, text string, w filter.Value) string {
	switch {
	case w.Before && w.After:
		return fmt.Sprintf("position(%s, %s) > 0", value, text)
	case w.Before:
		return fmt.Sprintf("endsWith(%s, %s)", value, text)
	}
	return fmt.Sprintf("startsWith(%s, %s)", value, text)
}

// has returns the condition that a value has a text in any case.
func (c *compiler) has(value string, w filter.Value) string {
	if w.Before == w.After {
		w.Before, w.After = true, true
	}
	text := filter.Fold(w.Text)
	return part(folded(value, text), c.s.Text(text), w)
}

// folded is filter.Fold of a value in which a text is looked for: of what is ASCII only
// that becomes ASCII.
func folded(value, text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return r > 0x7f }) {
		return "replaceAll(lowerUTF8(" + value + "), 'ς', 'σ')"
	}
	return "lower(" + value + ")"
}

// someBelow returns the condition that there is a value at a path of the document or below
// it.
func (c *compiler) someBelow(path string) string {
	if c.source.History {
		c.source.documents = true
		return fmt.Sprintf("arrayExists(x -> %s, %s)", anything("x"), below(c.s, "[document]", path))
	}
	// The names of all paths are much to read. Of what is there now the catalogue knows.
	if c.engine.catalogue != nil && c.selection.Moment.Now() && !c.states && len(c.selection.States) == 0 {
		if paths, complete := c.engine.catalogue.Below(c.assetType(), path); complete {
			list := []string{field(path) + " != ''"}
			for _, p := range paths {
				if p != path {
					list = append(list, field(p)+" != ''")
				}
			}
			return strings.Join(list, " OR ")
		}
	}
	return fmt.Sprintf("%s != '' OR arrayExists(k -> startsWith(k, %s), fields.keys)", field(path), c.s.Text(path+"."))
}

// orMember returns the condition that what is found is there, or that there is something
// at a member with the name of one of the values.
func (c *compiler) orMember(n *filter.Compare, found string) string {
	if len(n.Field.Picks) > 0 {
		return found
	}
	list := []string{found}
	for _, v := range n.Values {
		if v.Before || v.After {
			continue
		}
		list = append(list, c.someBelow(n.Field.Name+"."+v.Text))
	}
	return strings.Join(list, " OR ")
}

// word returns the condition that the text that searches look at has a word. Of versions
// of before that text is made here: what the layouts have looked at is as it is today.
func (c *compiler) word(n *filter.Word) string {
	text := filter.Fold(n.Text)
	word := c.s.Text(text)
	if !c.source.History {
		return "position(search, " + word + ") > 0"
	}
	const own = "name, '\n', uid, '\n', project, '\n', arrayStringConcat(mapValues(labels), '\n')"
	in := func(of string) string {
		return fmt.Sprintf("position(%s, %s) > 0", folded("concat("+of+")", text), word)
	}
	paths := c.engine.searchPaths(c.assetType())
	if len(paths) == 0 {
		return in(own)
	}
	c.source.documents = true
	all := in(own + ", '\n', " + searched(c.s, paths))
	if written.MatchString(text) {
		return bracket(in(own) + " OR multiSearchAnyCaseInsensitive(document, " + c.s.Texts([]string{text}) + ") AND " + all)
	}
	return all
}
