package filter

import (
	"slices"
	"strings"

	"github.com/reeve-cloud/reeve/pkg/nearest"
)

// Field is what a comparison looks at.
type Field struct {
	Pos
	Space Space
	// Name is that of the fixed field, of the label (empty is all labels, which only Exists asks
	// for), or the path of the document as package document writes it.
	Name string
	// Picks go on from Name, in the document only: each looks into the array that is there and
	// takes some of its elements.
	Picks []Pick
}

// Pick takes those elements of an array that have a member Key with the text Value. Path goes on
// from them; empty, which only the last can have, is the elements themselves.
type Pick struct{ Key, Value, Path string }

// Space is where a field lies.
type Space uint8

// The spaces: what each asset has, its labels, its document.
const (
	Fixed Space = iota + 1
	Label
	Document
)

// Kind is what the values of a field are, as they were seen to be.
type Kind uint8

// The kinds. Unknown is for fields of which nothing was seen.
const (
	Unknown Kind = iota
	Text
	Bool
	// Numeric are numbers and quantities, as Number reads them.
	Numeric
	// Time are moments, and Span durations.
	Time
	Span
)

// FixedField is a field that every asset has.
type FixedField struct {
	Name string
	// Kind is Text or Time.
	Kind Kind
	Help string
}

// FixedFields are those that there are, but for the labels. What else a text names is a path of
// the document.
var FixedFields = []FixedField{
	{"name", Text, "what people call it"},
	{"uid", Text, "its identity within site and type"},
	{"type", Text, "provider.group.Kind"},
	{"site", Text, "where it is"},
	{"region", Text, "the provider's region"},
	{"project", Text, "the provider's project or namespace"},
	{"status", Text, "the provider's own word for its condition"},
	{"state", Text, "ACTIVE, DISCONNECTED or DELETED"},
	{"scope", Text, "collector and scope that reported it"},
	{"agent", Text, "the agent that reported it last"},
	{"created", Time, "when the source made it"},
	{"updated", Time, "when the source last changed it"},
	{"observed", Time, "when an agent saw this version of it, which is when it last changed"},
}

var states = []string{"ACTIVE", "DISCONNECTED", "DELETED"}

// labels is the name of the field that has members, and doc what a path of the document may begin with,
// so that it is nothing else.
const (
	labels = "labels"
	doc    = "doc"
)

func fixed(name string) (FixedField, bool) {
	i := slices.IndexFunc(FixedFields, func(f FixedField) bool { return f.Name == name })
	if i < 0 {
		return FixedField{}, false
	}
	return FixedFields[i], true
}

// kind is what the language itself knows of a field.
func (f Field) kind() Kind {
	if f.Space == Fixed {
		k, _ := fixed(f.Name)
		return k.Kind
	}
	return Unknown
}

// resolve says what a path names. The message is empty, or says what is wrong with it.
func resolve(path string) (f Field, message string, mends []string) {
	if rest, at := strings.CutPrefix(path, "@"); at {
		if _, ok := fixed(rest); ok {
			return Field{Space: Fixed, Name: rest}, "", nil
		}
		if rest == labels {
			return Field{Space: Label}, "", nil
		}
		if name, ok := strings.CutPrefix(rest, labels+"."); ok {
			return Field{Space: Label, Name: name}, "", nil
		}
		known := []string{"@" + labels}
		for _, k := range FixedFields {
			known = append(known, "@"+k.Name)
		}
		return f, "no asset has a field " + path + "; a member of a document is written doc." + path, nearest.Words(path, known)
	}
	if rest, ok := strings.CutPrefix(path, doc+"."); ok {
		return Field{Space: Document, Name: rest}, "", nil
	}
	if name, ok := strings.CutPrefix(path, labels+"."); ok {
		return Field{Space: Label, Name: name}, "", nil
	}
	if path == labels {
		return Field{Space: Label}, "", nil
	}
	if _, ok := fixed(path); ok {
		return Field{Space: Fixed, Name: path}, "", nil
	}
	return Field{Space: Document, Name: path}, "", nil
}

// String returns the field as it is written in a filter.
func (f Field) String() string {
	var b strings.Builder
	switch f.Space {
	case Fixed:
		return f.Name
	case Label:
		b.WriteString(labels)
		if f.Name != "" {
			b.WriteByte('.')
			writePath(&b, f.Name)
		}
		return b.String()
	}
	_, known := fixed(f.Name)
	first, _, _ := strings.Cut(f.Name, ".")
	if known || first == labels || first == doc || strings.HasPrefix(first, "@") {
		b.WriteString(doc + ".")
	}
	writePath(&b, f.Name)
	for _, p := range f.Picks {
		b.WriteByte('[')
		writePicked(&b, p.Key)
		b.WriteByte('=')
		writePicked(&b, p.Value)
		b.WriteByte(']')
		if p.Path != "" {
			b.WriteByte('.')
			writePath(&b, p.Path)
		}
	}
	return b.String()
}

// writePath writes keys joined by dots, those in quotes that need them.
func writePath(b *strings.Builder, path string) {
	for i, key := range strings.Split(path, ".") {
		if i > 0 {
			b.WriteByte('.')
		}
		if plainKey(key, i == 0) {
			b.WriteString(key)
		} else {
			b.WriteString(Quote(key))
		}
	}
}

func writePicked(b *strings.Builder, text string) {
	if plainPick(text) {
		b.WriteString(text)
	} else {
		b.WriteString(Quote(text))
	}
}
