package layout

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Column is one column of a list, or one field of a section.
type Column struct {
	Title string `json:"title"`
	// Titles are translations of the title, by language: "ko".
	Titles map[string]string `json:"titles,omitempty"`
	// Description says what the column means, for a hint beside its title.
	Description string `json:"description,omitempty"`
	Path        string `json:"path"`
	// Of is the path of the whole that the value is a part of: "2/3".
	Of     string `json:"of,omitempty"`
	Format Format `json:"format,omitempty"`
	// Wide columns are shown only where there is room for more.
	Wide bool `json:"wide,omitempty"`
	// Optional columns are shown only to who asks for them.
	Optional bool `json:"optional,omitempty"`
	// Width is how many characters are shown at most; 0 is as many as there are.
	Width int `json:"width,omitempty"`
	// SortBy is the path that the column is sorted by, where that is another one.
	// Unsortable columns are sorted by nothing.
	SortBy     string `json:"sortBy,omitempty"`
	Unsortable bool   `json:"unsortable,omitempty"`
	// Default stands where there is no value. Prefix and Suffix stand around one.
	Default string `json:"default,omitempty"`
	Prefix  string `json:"prefix,omitempty"`
	Suffix  string `json:"suffix,omitempty"`
	// Asset says that the value names an asset, which clients link to.
	Asset *Reference `json:"asset,omitempty"`
	// Href is the path of an address that the value links to.
	Href string `json:"href,omitempty"`

	// What follows is for some formats only: options says which.

	// Unit is what a value of format bytes is counted in, and Display what it is
	// shown in: one of Units. Bytes, and what fits, are the default.
	Unit    string `json:"unit,omitempty"`
	Display string `json:"display,omitempty"`
	// Source is how a time is written: one of Sources. It is rfc3339 by default.
	Source string `json:"source,omitempty"`
	// Show is how much of a time is shown: one of Shows; second by default.
	Show string `json:"show,omitempty"`
	// Delimiter stands between the elements of a list; a comma by default.
	Delimiter string `json:"delimiter,omitempty"`
	// Member is the path in each element of a list that is shown of it.
	Member string `json:"member,omitempty"`
	// Item is how each element of a list is shown.
	Item *Style `json:"item,omitempty"`
	// Items are how the values of an enum are shown. Other values show as they are.
	Items map[string]Style `json:"items,omitempty"`
	// Style is how a badge looks.
	Style *Style `json:"style,omitempty"`
	// Sections are what more opens.
	Sections []Section `json:"sections,omitempty"`
}

// Reference says how a value names an asset.
type Reference struct {
	// Type is that of the asset.
	Type string `json:"type"`
	// By is uid, which is the default, or name.
	By string `json:"by,omitempty"`
}

// Style is how a value looks.
type Style struct {
	// Label stands in place of the value.
	Label string `json:"label,omitempty"`
	// Labels are translations of the label, by language.
	Labels map[string]string `json:"labels,omitempty"`
	// Format is one of StyleFormats; text by default.
	Format Format `json:"format,omitempty"`
	// Tone is what the value means: good, warning, bad or done.
	Tone string `json:"tone,omitempty"`
	// Color is one of Colors: for what differs and means nothing.
	Color string `json:"color,omitempty"`
	// Shape is round, which is the default, or square; Outline has a line in place of
	// a filled ground. Both are for badges.
	Shape   string `json:"shape,omitempty"`
	Outline bool   `json:"outline,omitempty"`
	// Icon is one of Icons.
	Icon string `json:"icon,omitempty"`
}

// Format is what kind of value a column has.
type Format string

// The formats. Text is the default.
const (
	Text   Format = "text"
	Number Format = "number"
	// Bytes is a number of bytes, Cores one of processor cores.
	Bytes Format = "bytes"
	Cores Format = "cores"
	// Time is a moment, and Age the time since then, which clients compute.
	Time Format = "time"
	Age  Format = "age"
	// StatusWord is a word that Layout.Status explains.
	StatusWord Format = "status"
	Bool       Format = "bool"
	// List is several values, or the members of an object; Count is how many
	// there are.
	List  Format = "list"
	Count Format = "count"
	// Ratio is the share that the value is of Of, in percent. Progress is that, or a
	// number from 0 to 100 without Of, with a bar where one can be drawn.
	Ratio    Format = "ratio"
	Progress Format = "progress"
	// Link is an address that clients make clickable if IsLink says that it is
	// one, and show as text otherwise.
	Link Format = "link"
	// Badge is a word on a coloured ground, and Enum one of words that Items has.
	Badge Format = "badge"
	Enum  Format = "enum"
	// Dict is an object's members, each on a line of its own.
	Dict Format = "dict"
	// More is a word that opens Sections, which begin where the value is.
	More Format = "more"
	// JSON is the value as JSON.
	JSON Format = "json"
)

var formats = []Format{Text, Number, Bytes, Cores, Time, Age, StatusWord, Bool, List, Count, Ratio, Link, Badge, Enum, Dict, More,
	Progress, JSON}

// Formats are all formats.
func Formats() []Format { return slices.Clone(formats) }

// What columns and styles may name.
var (
	// Units are of bytes, by powers of 1024 and of 1000.
	Units   = []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "kB", "MB", "GB", "TB", "PB"}
	Sources = []string{"rfc3339", "seconds", "milliseconds"}
	Shows   = []string{"date", "minute", "second"}
	Colors  = []string{"black", "blue", "cyan", "gray", "green", "indigo", "orange", "red", "violet", "white", "yellow"}
	// StyleFormats are the formats of a style.
	StyleFormats = []Format{Text, Badge, StatusWord, Number, Bytes, Time, Age, Link}

	tones  = []string{"good", "warning", "bad", "done"}
	shapes = []string{"round", "square"}
	bys    = []string{"uid", "name"}
)

const (
	maxWidth     = 1000
	maxLanguages = 32
	maxDepth     = 3
)

// options are the members of a column that only some formats have, in order.
var options = []struct {
	name    string
	formats []Format
	given   func(*Column) bool
}{
	{"of", []Format{Number, Bytes, Cores, Count, Ratio, Progress}, func(c *Column) bool { return c.Of != "" }},
	{"unit", []Format{Bytes}, func(c *Column) bool { return c.Unit != "" }},
	{"display", []Format{Bytes}, func(c *Column) bool { return c.Display != "" }},
	{"source", []Format{Time, Age}, func(c *Column) bool { return c.Source != "" }},
	{"show", []Format{Time}, func(c *Column) bool { return c.Show != "" }},
	{"delimiter", []Format{List}, func(c *Column) bool { return c.Delimiter != "" }},
	{"member", []Format{List, More}, func(c *Column) bool { return c.Member != "" }},
	{"item", []Format{List}, func(c *Column) bool { return c.Item != nil }},
	{"items", []Format{Enum}, func(c *Column) bool { return len(c.Items) > 0 }},
	{"style", []Format{Badge}, func(c *Column) bool { return c.Style != nil }},
	{"sections", []Format{More}, func(c *Column) bool { return len(c.Sections) > 0 }},
}

// needs are the options that formats must have.
var needs = map[Format]string{Ratio: "of", Enum: "items", More: "sections"}

// checkColumns checks columns. Only whole assets have basics. Depth is that of the section
// that has them.
func checkColumns(place string, columns []Column, whole bool, depth int) error {
	if len(columns) > maxItems {
		return fmt.Errorf("%s: %d of them, at most %d are allowed", place, len(columns), maxItems)
	}
	for i := range columns {
		if err := columns[i].check(fmt.Sprintf("%s[%d]", place, i), whole, depth); err != nil {
			return err
		}
	}
	return nil
}

func (c *Column) check(place string, whole bool, depth int) error {
	if err := checkText(c.Title); err != nil {
		return fmt.Errorf("%s.title: %w", place, err)
	}
	if err := checkPath(c.Path, whole); err != nil {
		return fmt.Errorf("%s.path: %w", place, err)
	}
	if c.Format != "" && !slices.Contains(formats, c.Format) {
		return fmt.Errorf("%s.format: %q is not one of %v", place, c.Format, formats)
	}
	if err := c.checkOptions(place); err != nil {
		return err
	}
	for _, p := range []struct{ name, path string }{{"of", c.Of}, {"sortBy", c.SortBy}, {"href", c.Href}} {
		if p.path != "" {
			if err := checkPath(p.path, whole); err != nil {
				return fmt.Errorf("%s.%s: %w", place, p.name, err)
			}
		}
	}
	if c.Member != "" {
		if err := checkPath(c.Member, false); err != nil {
			return fmt.Errorf("%s.member: %w", place, err)
		}
	}
	if c.SortBy != "" && c.Unsortable {
		return fmt.Errorf("%s.sortBy: the column is unsortable", place)
	}
	if c.Width < 0 || c.Width > maxWidth {
		return fmt.Errorf("%s.width: %d: must be 1 to %d", place, c.Width, maxWidth)
	}
	if err := checkTranslations(place+".titles", c.Titles); err != nil {
		return err
	}
	for _, t := range []struct{ name, text string }{
		{"description", c.Description}, {"default", c.Default}, {"prefix", c.Prefix}, {"suffix", c.Suffix}, {"delimiter", c.Delimiter},
	} {
		if t.text != "" {
			if err := checkText(t.text); err != nil {
				return fmt.Errorf("%s.%s: %w", place, t.name, err)
			}
		}
	}
	if c.Asset != nil {
		if err := checkText(c.Asset.Type); err != nil {
			return fmt.Errorf("%s.asset.type: %w", place, err)
		}
	}
	if err := c.checkStyles(place); err != nil {
		return err
	}
	return checkSections(place+".sections", c.Sections, false, depth+1)
}

// checkOptions checks which members a column has, and the words that they are.
func (c *Column) checkOptions(place string) error {
	for _, o := range options {
		switch {
		case !o.given(c) || slices.Contains(o.formats, c.Format):
		case o.name == "of":
			return fmt.Errorf("%s.of: only numbers are parts of a whole", place)
		default:
			return fmt.Errorf("%s.%s: is for format %s only", place, o.name, words(o.formats))
		}
		if needs[c.Format] == o.name && !o.given(c) {
			return fmt.Errorf("%s.%s: a %s needs it", place, o.name, c.Format)
		}
	}
	by := ""
	if c.Asset != nil {
		by = c.Asset.By
	}
	for _, w := range []struct {
		name, word string
		known      []string
	}{
		{"unit", c.Unit, Units}, {"display", c.Display, Units}, {"source", c.Source, Sources}, {"show", c.Show, Shows}, {"asset.by", by, bys},
	} {
		if err := checkWord(w.word, w.known); err != nil {
			return fmt.Errorf("%s.%s: %w", place, w.name, err)
		}
	}
	return nil
}

func (c *Column) checkStyles(place string) error {
	if len(c.Items) > maxItems {
		return fmt.Errorf("%s.items: %d of them, at most %d are allowed", place, len(c.Items), maxItems)
	}
	for _, value := range slices.Sorted(maps.Keys(c.Items)) {
		place := fmt.Sprintf("%s.items[%q]", place, value)
		if err := checkText(value); err != nil {
			return fmt.Errorf("%s: %w", place, err)
		}
		style := c.Items[value]
		if err := style.check(place); err != nil {
			return err
		}
	}
	if c.Item != nil {
		if err := c.Item.check(place + ".item"); err != nil {
			return err
		}
	}
	if c.Style != nil {
		return c.Style.check(place + ".style")
	}
	return nil
}

func (s *Style) check(place string) error {
	if s.Format != "" && !slices.Contains(StyleFormats, s.Format) {
		return fmt.Errorf("%s.format: %q is not one of %v", place, s.Format, StyleFormats)
	}
	for _, w := range []struct {
		name, word string
		known      []string
	}{{"tone", s.Tone, tones}, {"color", s.Color, Colors}, {"shape", s.Shape, shapes}, {"icon", s.Icon, Icons}} {
		if err := checkWord(w.word, w.known); err != nil {
			return fmt.Errorf("%s.%s: %w", place, w.name, err)
		}
	}
	if s.Label != "" {
		if err := checkText(s.Label); err != nil {
			return fmt.Errorf("%s.label: %w", place, err)
		}
	}
	return checkTranslations(place+".labels", s.Labels)
}

// checkTranslations checks texts by language, as in ko and pt-BR.
func checkTranslations(place string, texts map[string]string) error {
	if len(texts) > maxLanguages {
		return fmt.Errorf("%s: %d of them, at most %d are allowed", place, len(texts), maxLanguages)
	}
	for _, language := range slices.Sorted(maps.Keys(texts)) {
		if !isLanguage(language) {
			return fmt.Errorf("%s: %.40q is not a language, as in ko and pt-BR", place, language)
		}
		if err := checkText(texts[language]); err != nil {
			return fmt.Errorf("%s.%s: %w", place, language, err)
		}
	}
	return nil
}

func isLanguage(s string) bool {
	parts := strings.Split(s, "-")
	for i, p := range parts {
		if len(p) < 2 || len(p) > 8 || i == 0 && len(p) > 3 || strings.ContainsFunc(p, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (i == 0 || r < '0' || r > '9')
		}) {
			return false
		}
	}
	return len(parts) <= 3
}

func checkWord(word string, known []string) error {
	if word != "" && !slices.Contains(known, word) {
		return fmt.Errorf("%.40q is not one of %s", word, strings.Join(known, ", "))
	}
	return nil
}

func words(formats []Format) string {
	texts := make([]string, len(formats))
	for i, f := range formats {
		texts[i] = string(f)
	}
	return strings.Join(texts, " or ")
}

var errTooDeep = errors.New("sections lie in each other more than " + fmt.Sprint(maxDepth) + " deep")
