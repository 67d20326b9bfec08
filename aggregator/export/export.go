// Package export writes rows into files of the formats that people and programs
// take elsewhere: CSV, JSON lines, Parquet and Excel workbooks. Rows are written as
// they come, and memory stays the same however many there are.
//
// What a value becomes in each format is in docs/export.md. Nothing is left out
// silently: what a format cannot hold is counted, and the Summary says so.
package export

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Format is the format of a file.
type Format string

// The formats.
const (
	CSV     Format = "csv"
	JSONL   Format = "jsonl"
	Parquet Format = "parquet"
	XLSX    Format = "xlsx"
)

// Formats are all formats.
var Formats = []Format{CSV, JSONL, Parquet, XLSX}

// MaxColumns is how many columns a table has at most.
const MaxColumns = 256

// maxName is how many bytes the names of columns and tables have at most.
const maxName = 1024

// Kind is what the values of a column are. A value of another kind is written all
// the same by formats that can hold it.
type Kind int

// The kinds. Nested values are Text in formats that cannot nest: as JSON.
const (
	Text Kind = iota
	Integer
	Number
	Bool
	Time
	// Nested is an array or an object.
	Nested
)

// Column is one column of a table.
type Column struct {
	// Name is unique in its table. Workbooks show Title in its place, if there is one.
	Name, Title string
	Kind        Kind
}

// Options say how values are written.
type Options struct {
	// Location is the time zone of times. Nil is UTC.
	Location *time.Location
	// Plain leaves texts in CSV as they are, without the guard against formulas.
	Plain bool
	// Facts are what a workbook says of itself on its last sheet.
	Facts []Fact
	// Spill is an existing directory for temporary files, which only workbooks need.
	Spill string

	// For tests.
	sheetRows  int
	sheetBytes int64
}

// Fact is a line of what a workbook says of itself.
type Fact struct{ Name, Value string }

// Summary says what was written.
type Summary struct {
	// Rows are those of all tables.
	Rows int64
	// Notes say what the format could not hold, in words for people.
	Notes []string
}

// Writer writes one file. Table must come before the rows of a table, Close after
// the last one. Discard must be called in any case; it does nothing after Close.
type Writer struct {
	encoder encoder
	format  Format
	columns []Column
	tables  int
	summary Summary
	// failed is the error that ended the file.
	failed error
}

// encoder is one format. Rows have a value for each column.
type encoder interface {
	table(name string, columns []Column) error
	row(values []any) error
	close() (notes []string, err error)
	discard() error
}

// Values of rows are nil, bool, int64, uint64, float64, json.Number, string,
// time.Time, []any and map[string]any.

// New begins a file in out.
func New(out io.Writer, format Format, o Options) (*Writer, error) {
	if o.Location == nil {
		o.Location = time.UTC
	}
	w := &Writer{format: format}
	switch format {
	case CSV:
		w.encoder = newCSV(out, o)
	case JSONL:
		w.encoder = newJSONL(out, o)
	case Parquet:
		w.encoder = newParquet(out)
	case XLSX:
		x, err := newWorkbook(out, o)
		if err != nil {
			return nil, err
		}
		w.encoder = x
	default:
		return nil, fmt.Errorf("format %q: is not one of %v", format, Formats)
	}
	return w, nil
}

// Table begins a table. Only workbooks have several.
func (w *Writer) Table(name string, columns []Column) error {
	if w.failed != nil {
		return w.failed
	}
	if err := checkTable(name, columns); err != nil {
		return err
	}
	if w.tables > 0 && w.format != XLSX {
		return fmt.Errorf("a file of format %s has one table: export the others into files of their own, or use %s", w.format, XLSX)
	}
	w.tables++
	w.columns = columns
	return w.fail(w.encoder.table(name, columns))
}

// Row writes a row of the table that was begun last.
func (w *Writer) Row(values []any) error {
	switch {
	case w.failed != nil:
		return w.failed
	case w.tables == 0:
		return errors.New("a row before its table")
	case len(values) != len(w.columns):
		return fmt.Errorf("row %d has %d values for %d columns", w.summary.Rows+1, len(values), len(w.columns))
	}
	if err := w.encoder.row(values); err != nil {
		return w.fail(fmt.Errorf("row %d: %w", w.summary.Rows+1, err))
	}
	w.summary.Rows++
	return nil
}

// Rows is how many rows were written.
func (w *Writer) Rows() int64 { return w.summary.Rows }

// Close ends the file: only then is it whole.
func (w *Writer) Close() (Summary, error) {
	if w.failed != nil {
		return w.summary, w.failed
	}
	if w.tables == 0 {
		return w.summary, errors.New("a file without a table")
	}
	notes, err := w.encoder.close()
	w.summary.Notes = notes
	w.failed = errors.New("the file is closed")
	if err != nil {
		w.failed = err
	}
	return w.summary, err
}

// Discard gives up what a file needed beside its output.
func (w *Writer) Discard() error {
	if w.failed == nil {
		w.failed = errors.New("the file was given up")
	}
	return w.encoder.discard()
}

func (w *Writer) fail(err error) error {
	if err != nil {
		w.failed = err
	}
	return err
}

func checkTable(name string, columns []Column) error {
	if name == "" || len(name) > maxName || !utf8.ValidString(name) {
		return fmt.Errorf("table %.80q: its name must have 1 to %d bytes of UTF-8", name, maxName)
	}
	if len(columns) == 0 || len(columns) > MaxColumns {
		return fmt.Errorf("table %q has %d columns: must have 1 to %d", name, len(columns), MaxColumns)
	}
	seen := make(map[string]bool, len(columns))
	for _, c := range columns {
		switch {
		case c.Name == "" || len(c.Name) > maxName || !utf8.ValidString(c.Name):
			return fmt.Errorf("column %.80q: its name must have 1 to %d bytes of UTF-8", c.Name, maxName)
		case seen[c.Name]:
			return fmt.Errorf("column %q is there twice", c.Name)
		}
		seen[c.Name] = true
	}
	return nil
}

// textOf returns a value as text: what is nested is JSON. Null is nothing.
func textOf(v any, location *time.Location) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return strings.ToValidUTF8(v, "\uFFFD"), nil
	case bool:
		return strconv.FormatBool(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case uint64:
		return strconv.FormatUint(v, 10), nil
	case float64:
		return floatText(v), nil
	case json.Number:
		return v.String(), nil
	case time.Time:
		return v.In(location).Format(time.RFC3339Nano), nil
	}
	text, err := jsonOf(v, location)
	return string(text), err
}

// jsonOf returns a value as JSON.
func jsonOf(v any, location *time.Location) ([]byte, error) {
	return appendJSON(nil, v, location, 0)
}

// maxDepth is how deep values nest at most; documents are not that deep.
const maxDepth = 256

func appendJSON(b []byte, v any, location *time.Location, depth int) ([]byte, error) {
	if depth > maxDepth {
		return b, fmt.Errorf("a value is nested more than %d deep", maxDepth)
	}
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return appendString(b, floatText(v))
		}
		return append(b, floatText(v)...), nil
	case string:
		return appendString(b, v)
	case time.Time:
		return appendString(b, v.In(location).Format(time.RFC3339Nano))
	case json.Number, bool, int64, uint64:
		text, err := textOf(v, location)
		return append(b, text...), err
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			var err error
			if b, err = appendJSON(b, e, location, depth+1); err != nil {
				return b, err
			}
		}
		return append(b, ']'), nil
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		b = append(b, '{')
		for i, k := range keys {
			if i > 0 {
				b = append(b, ',')
			}
			var err error
			if b, err = appendString(b, k); err != nil {
				return b, err
			}
			b = append(b, ':')
			if b, err = appendJSON(b, v[k], location, depth+1); err != nil {
				return b, err
			}
		}
		return append(b, '}'), nil
	}
	return b, fmt.Errorf("a value of type %T cannot be exported", v)
}

// appendString appends a JSON string. Unlike encoding/json's default it leaves <, >
// and & as they are, so that a text is found again by a plain search.
func appendString(b []byte, s string) ([]byte, error) {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for _, r := range strings.ToValidUTF8(s, "\uFFFD") {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, '\\', 'n')
		case r == '\r':
			b = append(b, '\\', 'r')
		case r == '\t':
			b = append(b, '\\', 't')
		case r < ' ':
			b = append(b, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"'), nil
}

// floatText returns a number so that it is read again as the same one.
func floatText(f float64) string {
	if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// misfits counts what a format could not hold, by what it was.
type misfits struct {
	order  []string
	counts map[string]int64
}

func (m *misfits) add(what string) {
	if m.counts == nil {
		m.counts = make(map[string]int64)
	}
	if m.counts[what] == 0 {
		m.order = append(m.order, what)
	}
	m.counts[what]++
}

// counted stands for the number in what misfits count: no name has it.
const counted = "\x00"

// notes are what was counted.
func (m *misfits) notes() []string {
	var notes []string
	for _, what := range m.order {
		notes = append(notes, strings.Replace(what, counted, strconv.FormatInt(m.counts[what], 10), 1))
	}
	return notes
}
