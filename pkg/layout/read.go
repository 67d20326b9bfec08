package layout

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Read reads a layout for a client that may be older than it: members, icons and formats
// that the client does not know are passed over, and so are columns and sections that
// make no sense without them. What is left is as Parse wants it.
func Read(data []byte) (*Layout, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("layout of %d bytes: the largest allowed has %d", len(data), MaxSize)
	}
	if jsontext.Value(data).Kind() != '{' {
		return nil, errors.New("layout: must be a JSON object")
	}
	l := new(Layout)
	if err := json.Unmarshal(data, l); err != nil {
		return nil, fmt.Errorf("layout: %w", err)
	}
	if !slices.Contains(Icons, l.Icon) {
		l.Icon = ""
	}
	l.Columns = readColumns(l.Columns, true, 0)
	l.Search = kept(l.Search, func(path string) bool { return checkPath(path, true) == nil && !strings.Contains(path, "[") })
	l.Sections = readSections(l.Sections, true, 0)
	l.Widgets = kept(readSections(l.Widgets, true, 0), func(s Section) bool { return (s.Kind == Card || s.Kind == Chart) && s.Query != nil })
	l.Widgets = l.Widgets[:min(len(l.Widgets), maxWidgets)]
	for _, words := range []*[]string{&l.Status.Good, &l.Status.Warning, &l.Status.Bad, &l.Status.Done} {
		*words = kept(*words, func(word string) bool { return checkText(word) == nil })
	}
	if err := l.check(); err != nil {
		return nil, fmt.Errorf("layout: %w", err)
	}
	return l, nil
}

func kept[T any](list []T, keep func(T) bool) []T {
	return slices.DeleteFunc(list, func(v T) bool { return !keep(v) })
}

func readColumns(columns []Column, whole bool, depth int) []Column {
	columns = columns[:min(len(columns), maxItems)]
	for i := range columns {
		c := &columns[i]
		if c.Format != "" && !slices.Contains(formats, c.Format) {
			// The value as it is, without what was said of the format.
			*c = Column{Title: c.Title, Titles: c.Titles, Description: c.Description, Path: c.Path, Wide: c.Wide, Optional: c.Optional,
				Width: c.Width, Default: c.Default, Prefix: c.Prefix, Suffix: c.Suffix}
		}
		c.Sections = readSections(c.Sections, false, depth+1)
	}
	return kept(columns, func(c Column) bool { return c.check("", whole, depth) == nil })
}

func readSections(sections []Section, whole bool, depth int) []Section {
	if depth >= maxDepth {
		return nil
	}
	sections = sections[:min(len(sections), maxItems)]
	for i := range sections {
		s := &sections[i]
		inside := whole && s.Path == "" || s.Kind == QueryTable
		s.Columns = readColumns(s.Columns, inside, depth)
		s.Sections = readSections(s.Sections, inside, depth+1)
	}
	return kept(sections, func(s Section) bool { return s.check("", whole, depth) == nil })
}
