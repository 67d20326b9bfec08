package layout

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Shown is a section as a client of texts shows it.
type Shown struct {
	Title string
	Kind  Kind
	// Heading and Rows are those of tables and records; Rows of fields and charts are a
	// name and a value each, of lists a value. A card has one value.
	Heading []string
	Rows    [][]string
	// Text is markdown, or JSON.
	Text string
	// Sections are those of a group or popup.
	Sections []Shown
	// Query is what the client has to ask for: then Rows are empty. Columns are those of a
	// list of assets that is asked for, and Sort is its order: nil for any.
	Query   *Query
	Columns []Column
	Sort    *Sort
}

// Show returns what a section shows of a subject in a language, which may be empty. Of a
// section without anything it is false.
func (s *Section) Show(of Subject, language string, age func(time.Time) string) (Shown, bool) {
	shown := Shown{Title: translated(s.Title, s.Titles, language), Kind: s.Kind, Query: s.Query}
	if s.Query != nil {
		q := *s.Query
		text, err := q.For(of)
		if err != nil {
			return Shown{}, false // it was checked
		}
		q.Filter = text
		shown.Query = &q
		shown.Heading, shown.Columns, shown.Sort = headings(s.Columns, language), s.Columns, s.Sort
		return shown, true
	}
	switch s.Kind {
	case Table:
		shown.Heading = headings(s.Columns, language)
		for _, e := range s.elements(of) {
			row := make([]string, len(s.Columns))
			for i := range s.Columns {
				row[i] = s.Columns[i].Text(e, age)
			}
			shown.Rows = append(shown.Rows, row)
		}
	case Records:
		shown.Heading, shown.Rows = records(s.elements(of))
	case Fields:
		shown.Rows = s.fields(of, language, age)
	case Values:
		for _, e := range of.Elements(s.Path) {
			shown.Rows = append(shown.Rows, []string{text(e.Document)})
		}
	case Markdown:
		if shown.Text = translated(s.Text, s.Texts, language); s.Path != "" {
			shown.Text = (&Column{Path: s.Path}).Text(of, age)
		}
	case Raw:
		shown.Text = raw(of, s.Path)
	case Group, Popup:
		inner := of
		if s.Path != "" {
			elements := of.Elements(s.Path)
			if len(elements) == 0 {
				return Shown{}, false
			}
			inner = elements[0]
		}
		for i := range s.Sections {
			if part, ok := s.Sections[i].Show(inner, language, age); ok {
				shown.Sections = append(shown.Sections, part)
			}
		}
	case Card:
		if text := (&Column{Path: s.Path, Format: s.Format}).Text(of, age); text != "" {
			shown.Rows = [][]string{{text}}
		}
	case Chart:
		for _, e := range of.Elements(s.Path) {
			shown.Rows = append(shown.Rows, []string{
				(&Column{Path: s.Name}).Text(e, age), (&Column{Path: s.Value, Format: s.Format}).Text(e, age),
			})
		}
	}
	return shown, len(shown.Rows) > 0 || len(shown.Sections) > 0 || shown.Text != ""
}

// elements are those of a table, in its order.
func (s *Section) elements(of Subject) []Subject {
	elements := of.Elements(s.Path)
	if s.Sort == nil {
		return elements
	}
	slices.SortStableFunc(elements, func(a, b Subject) int {
		n := compare(a.Values(s.Sort.Path), b.Values(s.Sort.Path))
		if s.Sort.Descending {
			return -n
		}
		return n
	})
	return elements
}

// compare orders values: numbers by size, before texts; what is not there comes first.
func compare(a, b []any) int {
	a, b = spread(a), spread(b)
	switch {
	case len(a) == 0 || len(b) == 0:
		return min(len(a), 1) - min(len(b), 1)
	}
	x, isX := a[0].(float64)
	y, isY := b[0].(float64)
	switch {
	case isX && isY && x < y, isX && !isY:
		return -1
	case isX && isY && x > y, isY && !isX:
		return 1
	case isX && isY:
		return 0
	}
	return strings.Compare(text(a[0]), text(b[0]))
}

func (s *Section) fields(of Subject, language string, age func(time.Time) string) (rows [][]string) {
	inner := of
	if s.Path != "" {
		elements := of.Elements(s.Path)
		if len(elements) == 0 {
			return nil
		}
		inner = elements[0]
	}
	if len(s.Columns) == 0 {
		m, ok := inner.Document.(map[string]any)
		if !ok {
			return nil
		}
		for _, k := range slices.Sorted(maps.Keys(m)) {
			rows = append(rows, []string{k, text(m[k])})
		}
		return rows
	}
	for i := range s.Columns {
		c := &s.Columns[i]
		if value := c.Text(inner, age); value != "" {
			rows = append(rows, []string{translated(c.Title, c.Titles, language), value})
		}
	}
	return rows
}

// maxRecordColumns bounds how many members of elements are columns.
const maxRecordColumns = 64

// records returns elements with their members as columns: those that most have first.
func records(elements []Subject) (heading []string, rows [][]string) {
	counts := make(map[string]int)
	for _, e := range elements {
		m, ok := e.Document.(map[string]any)
		if !ok {
			m = map[string]any{"": e.Document}
		}
		for k := range m {
			counts[k]++
		}
	}
	heading = slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		if counts[a] != counts[b] {
			return counts[b] - counts[a]
		}
		return strings.Compare(a, b)
	})
	heading = heading[:min(len(heading), maxRecordColumns)]
	for _, e := range elements {
		row := make([]string, len(heading))
		for i, k := range heading {
			if m, ok := e.Document.(map[string]any); ok {
				row[i] = text(m[k])
			} else if k == "" {
				row[i] = text(e.Document)
			}
		}
		rows = append(rows, row)
	}
	return heading, rows
}

func raw(of Subject, path string) string {
	values := []any{of.Document}
	if path != "" {
		values = of.Values(path)
	}
	if len(values) == 0 || values[0] == nil {
		return ""
	}
	var v any = values
	if len(values) == 1 {
		v = values[0]
	}
	data, err := json.Marshal(v, json.Deterministic(true), jsontext.WithIndent("  "))
	if err != nil {
		return text(v)
	}
	return string(data)
}

func headings(columns []Column, language string) []string {
	texts := make([]string, len(columns))
	for i := range columns {
		texts[i] = columns[i].TitleIn(language)
	}
	return texts
}

// TitleIn returns the title in a language, which may be empty.
func (c *Column) TitleIn(language string) string { return translated(c.Title, c.Titles, language) }

// translated returns the text in a language, in its main one (pt for pt-BR), or as it is.
func translated(text string, texts map[string]string, language string) string {
	if t, ok := texts[language]; ok {
		return t
	}
	main, _, _ := strings.Cut(language, "-")
	if t, ok := texts[main]; ok {
		return t
	}
	return text
}
