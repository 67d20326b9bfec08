package layout

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/reeve-cloud/reeve/pkg/filter"
)

// Section is one part of the details.
type Section struct {
	Title string `json:"title"`
	// Titles are translations of the title, by language.
	Titles map[string]string `json:"titles,omitempty"`
	Kind   Kind              `json:"kind"`
	// Path is where the section is in the document. Empty is the whole asset,
	// which only some kinds can be made of.
	Path string `json:"path,omitempty"`
	// Columns have paths that begin where the section is. Fields without them
	// are all members of the object there.
	Columns []Column `json:"columns,omitempty"`
	// Sort is how a table is sorted at first.
	Sort *Sort `json:"sort,omitempty"`
	// Plain tables have no tools to search and sort with.
	Plain bool `json:"plain,omitempty"`
	// Text is what markdown shows, where no path has it; Texts are translations by
	// language.
	Text  string            `json:"text,omitempty"`
	Texts map[string]string `json:"texts,omitempty"`
	// Sections are those of a group, or what a popup opens.
	Sections []Section `json:"sections,omitempty"`
	// Query is of which assets a query table, a card or a chart is.
	Query *Query `json:"query,omitempty"`
	// Chart is how a chart is drawn: one of Charts. Name and Value are the paths, in each
	// element at Path, of what its parts are called and how large they are; Format is
	// that of the values, and of a card's.
	Chart  string `json:"chart,omitempty"`
	Name   string `json:"name,omitempty"`
	Value  string `json:"value,omitempty"`
	Format Format `json:"format,omitempty"`
}

// Sort is an order.
type Sort struct {
	Path       string `json:"path"`
	Descending bool   `json:"descending,omitempty"`
}

// Query selects assets, and says what is computed of them.
type Query struct {
	// Type is that of the assets; that of the layout by default.
	Type string `json:"type,omitempty"`
	// Filter is in the language of filters. {PATH} in it stands for the value at a path of
	// the asset that is shown, as a quoted text, and {{ for a {.
	Filter string `json:"filter,omitempty"`
	// By is the path that assets are grouped by, for charts. Top is how many of the
	// largest groups are shown; 10 by default.
	By  string `json:"by,omitempty"`
	Top int    `json:"top,omitempty"`
	// Function is what is computed: one of Functions; count by default. Of is the path of
	// the numbers that it is computed of.
	Function string `json:"function,omitempty"`
	Of       string `json:"of,omitempty"`
}

// Kind is how a section is drawn.
type Kind string

// The kinds.
const (
	// Table is a row for each element, Records one with the elements' own members as
	// columns, Fields names with their values, Values only values.
	Table   Kind = "table"
	Records Kind = "records"
	Fields  Kind = "fields"
	Values  Kind = "list"
	// Markdown is text with marks, without HTML in it. Raw is JSON.
	Markdown Kind = "markdown"
	Raw      Kind = "raw"
	// QueryTable is a list of other assets.
	QueryTable Kind = "query"
	// Group is several sections one below the other, and Popup a word that opens some.
	Group Kind = "group"
	Popup Kind = "popup"
	// Card is one large number, and Chart a drawing of several.
	Card  Kind = "card"
	Chart Kind = "chart"
)

// What sections may name.
var (
	Charts    = []string{"column", "bar", "line", "donut", "treemap"}
	Functions = []string{"count", "distinct", "sum", "avg", "min", "max"}
)

const (
	maxMarkdown = 8 << 10
	maxFilter   = 2 << 10
	maxTop      = 100
)

// shapeOf is which members a kind of section must have, and which it may have besides
// title, titles and kind.
type shapeOf struct{ must, may []string }

// kinds are in the order in which they are told of.
var kinds = []struct {
	kind  Kind
	shape shapeOf
}{
	{Table, shapeOf{[]string{"path", "columns"}, []string{"sort", "plain"}}},
	{Fields, shapeOf{nil, []string{"path", "columns"}}},
	{Values, shapeOf{[]string{"path"}, nil}},
	{Records, shapeOf{[]string{"path"}, []string{"sort", "plain"}}},
	{Markdown, shapeOf{nil, []string{"path", "text", "texts"}}},
	{Raw, shapeOf{nil, []string{"path"}}},
	{QueryTable, shapeOf{[]string{"query", "columns"}, []string{"sort"}}},
	{Group, shapeOf{[]string{"sections"}, []string{"path"}}},
	{Popup, shapeOf{[]string{"sections"}, []string{"path"}}},
	{Card, shapeOf{nil, []string{"path", "query", "format"}}},
	{Chart, shapeOf{[]string{"chart"}, []string{"path", "name", "value", "query", "format"}}},
}

// given are the members that a section has.
func (s *Section) given() map[string]bool {
	return map[string]bool{
		"path": s.Path != "", "columns": len(s.Columns) > 0, "sort": s.Sort != nil, "plain": s.Plain, "text": s.Text != "",
		"texts":    len(s.Texts) > 0,
		"sections": len(s.Sections) > 0, "query": s.Query != nil, "chart": s.Chart != "", "name": s.Name != "", "value": s.Value != "",
		"format": s.Format != "",
	}
}

// members are all of given, in the order in which they are told of.
var members = []string{"path", "columns", "sort", "plain", "text", "texts", "sections", "query", "chart", "name", "value", "format"}

// reasons say why a kind needs or does not have a member, where that is not plain.
var reasons = map[string]string{
	"table columns needed": "a table needs some", "query columns needed": "a table needs some", "list columns": "a list has none",
}

func checkSections(place string, sections []Section, whole bool, depth int) error {
	if len(sections) > maxItems {
		return fmt.Errorf("%s: %d of them, at most %d are allowed", place, len(sections), maxItems)
	}
	if len(sections) > 0 && depth >= maxDepth {
		return fmt.Errorf("%s: %w", place, errTooDeep)
	}
	for i := range sections {
		if err := sections[i].check(fmt.Sprintf("%s[%d]", place, i), whole, depth); err != nil {
			return err
		}
	}
	return nil
}

// check checks a section. Only a section of a whole asset can do without a path, and has
// basics then.
func (s *Section) check(place string, whole bool, depth int) error {
	if err := checkText(s.Title); err != nil {
		return fmt.Errorf("%s.title: %w", place, err)
	}
	if err := checkTranslations(place+".titles", s.Titles); err != nil {
		return err
	}
	if err := s.checkMembers(place); err != nil {
		return err
	}
	if s.Path != "" {
		if err := checkPath(s.Path, false); err != nil {
			return fmt.Errorf("%s.path: %w", place, err)
		}
	}
	inside := whole && s.Path == ""
	switch s.Kind {
	case Fields:
		if s.Path == "" && len(s.Columns) == 0 {
			return fmt.Errorf("%s: fields need a path, or columns", place)
		}
	case Markdown:
		if (s.Path == "") == (s.Text == "") {
			return fmt.Errorf("%s: markdown needs a path or a text, and not both", place)
		}
	case QueryTable:
		inside = true
	case Card:
		if (s.Path == "") == (s.Query == nil) {
			return fmt.Errorf("%s: a card needs a path or a query, and not both", place)
		}
	case Chart:
		if err := s.checkChart(place); err != nil {
			return err
		}
	}
	if s.Format != "" && !slices.Contains([]Format{Number, Bytes, Cores}, s.Format) {
		return fmt.Errorf("%s.format: %q is not one of %s, %s, %s", place, s.Format, Number, Bytes, Cores)
	}
	if s.Sort != nil {
		if err := checkPath(s.Sort.Path, inside); err != nil {
			return fmt.Errorf("%s.sort.path: %w", place, err)
		}
	}
	if err := s.checkTexts(place); err != nil {
		return err
	}
	if s.Query != nil {
		if err := s.Query.check(place+".query", s.Kind); err != nil {
			return err
		}
	}
	if err := checkColumns(place+".columns", s.Columns, inside, depth); err != nil {
		return err
	}
	return checkSections(place+".sections", s.Sections, inside, depth+1)
}

// checkMembers checks which members a section has.
func (s *Section) checkMembers(place string) error {
	at := slices.IndexFunc(kinds, func(k struct {
		kind  Kind
		shape shapeOf
	}) bool {
		return k.kind == s.Kind
	})
	if at < 0 {
		known := make([]string, len(kinds))
		for i, k := range kinds {
			known[i] = string(k.kind)
		}
		return fmt.Errorf("%s.kind: %q is not one of %s", place, s.Kind, strings.Join(known, ", "))
	}
	shape, given := kinds[at].shape, s.given()
	for _, m := range members {
		must := slices.Contains(shape.must, m)
		key := string(s.Kind) + " " + m
		switch {
		case must && !given[m] && m == "path":
			// The path's own error says what is wrong with it.
			return fmt.Errorf("%s.path: %w", place, checkPath("", false))
		case must && !given[m]:
			if reason, ok := reasons[key+" needed"]; ok {
				return fmt.Errorf("%s.%s: %s", place, m, reason)
			}
			return fmt.Errorf("%s.%s: a section of kind %s needs it", place, m, s.Kind)
		case given[m] && !must && !slices.Contains(shape.may, m):
			if reason, ok := reasons[key]; ok {
				return fmt.Errorf("%s.%s: %s", place, m, reason)
			}
			return fmt.Errorf("%s.%s: a section of kind %s has none", place, m, s.Kind)
		}
	}
	return nil
}

func (s *Section) checkChart(place string) error {
	if err := checkWord(s.Chart, Charts); err != nil {
		return fmt.Errorf("%s.chart: %w", place, err)
	}
	if (s.Path == "") == (s.Query == nil) {
		return fmt.Errorf("%s: a chart needs a path or a query, and not both", place)
	}
	for _, p := range []struct{ name, path string }{{"name", s.Name}, {"value", s.Value}} {
		if s.Query != nil && p.path != "" {
			return fmt.Errorf("%s.%s: a chart of a query has none: by and function say it", place, p.name)
		}
		if s.Query == nil {
			if err := checkPath(p.path, false); err != nil {
				return fmt.Errorf("%s.%s: %w", place, p.name, err)
			}
		}
	}
	return nil
}

func (s *Section) checkTexts(place string) error {
	if len(s.Texts) > 0 && s.Text == "" {
		return fmt.Errorf("%s.text: is missing: translations are of it", place)
	}
	if len(s.Texts) > maxLanguages {
		return fmt.Errorf("%s.texts: %d of them, at most %d are allowed", place, len(s.Texts), maxLanguages)
	}
	for language, text := range s.Texts {
		if !isLanguage(language) {
			return fmt.Errorf("%s.texts: %.40q is not a language, as in ko and pt-BR", place, language)
		}
		if err := checkMarkdown(text); err != nil {
			return fmt.Errorf("%s.texts.%s: %w", place, language, err)
		}
	}
	if s.Text != "" {
		if err := checkMarkdown(s.Text); err != nil {
			return fmt.Errorf("%s.text: %w", place, err)
		}
	}
	return nil
}

func checkMarkdown(text string) error {
	switch {
	case text == "" || len(text) > maxMarkdown:
		return fmt.Errorf("must have 1 to %d bytes", maxMarkdown)
	case !utf8.ValidString(text):
		return errors.New("is not UTF-8")
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r == '\x7f' }):
		return errors.New("has control characters")
	}
	return nil
}

func (q *Query) check(place string, kind Kind) error {
	if q.Type != "" {
		if err := checkText(q.Type); err != nil {
			return fmt.Errorf("%s.type: %w", place, err)
		}
	}
	if q.Filter != "" {
		if len(q.Filter) > maxFilter {
			return fmt.Errorf("%s.filter: %d bytes: must be at most %d", place, len(q.Filter), maxFilter)
		}
		text, err := fill(q.Filter, func(path string) (string, error) { return `"x"`, checkPath(path, true) })
		if err == nil {
			_, err = filter.Parse(text)
		}
		if err != nil {
			return fmt.Errorf("%s.filter: %w", place, err)
		}
	}
	if err := checkWord(q.Function, Functions); err != nil {
		return fmt.Errorf("%s.function: %w", place, err)
	}
	counts := q.Function == "" || q.Function == "count"
	for _, m := range []struct {
		name        string
		given       bool
		must, never bool
	}{
		{"by", q.By != "", kind == Chart, kind != Chart},
		{"top", q.Top != 0, false, kind != Chart},
		{"function", q.Function != "", false, kind == QueryTable},
		{"of", q.Of != "", kind != QueryTable && !counts, kind == QueryTable || counts},
	} {
		switch {
		case m.must && !m.given:
			return fmt.Errorf("%s.%s: is missing", place, m.name)
		case m.never && m.given && m.name == "of" && kind != QueryTable:
			return fmt.Errorf("%s.of: count has none", place)
		case m.never && m.given:
			return fmt.Errorf("%s.%s: a section of kind %s has none", place, m.name, kind)
		}
	}
	for _, p := range []struct{ name, path string }{{"by", q.By}, {"of", q.Of}} {
		if p.path != "" {
			if err := checkPath(p.path, true); err != nil {
				return fmt.Errorf("%s.%s: %w", place, p.name, err)
			}
		}
	}
	if q.Top < 0 || q.Top > maxTop {
		return fmt.Errorf("%s.top: %d: must be 1 to %d", place, q.Top, maxTop)
	}
	return nil
}

// fill replaces each {PATH} of a filter, and each {{.
func fill(text string, value func(path string) (string, error)) (string, error) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "{")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		if after, ok := strings.CutPrefix(rest, "{"); ok {
			b.WriteByte('{')
			text = after
			continue
		}
		path, after, closed := strings.Cut(rest, "}")
		if !closed {
			return "", errors.New("a } is missing: {PATH} stands for a value of the asset")
		}
		v, err := value(path)
		if err != nil {
			return "", err
		}
		b.WriteString(v)
		text = after
	}
}

// For returns the filter of a query for the asset that is shown. A value that is not there
// is the empty text.
func (q *Query) For(s Subject) (string, error) {
	return fill(q.Filter, func(path string) (string, error) {
		values := spread(s.Values(path))
		if len(values) == 0 {
			return filter.Quote(""), nil
		}
		return filter.Quote(text(values[0])), nil
	})
}
