package export

import (
	"archive/zip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/xuri/excelize/v2"
)

const (
	// What a sheet and a cell hold, by Excel's specification.
	maxSheetRows = 1_048_576
	maxCellUnits = 32_767
	maxSheetName = 31
	// maxSheetBytes is how large a sheet becomes, uncompressed, before a further one is
	// begun: that much disk is what a workbook needs beside its output.
	maxSheetBytes = 2 << 30
	// A sheet of so many bytes at the most has spilled: excelize keeps 16 MiB in memory, and
	// all of it where it cannot make its file.
	spilledBytes = 256 << 20
	// maxSheets is how many sheets of data a workbook has. Their names are all that is kept
	// of them.
	maxSheets = 256
	// exactDigits is how many digits Excel's numbers have.
	exactDigits = 15

	cutMark = "... (cut)"
)

// workbook writes an Excel workbook. excelize keeps all that it makes until the end, and
// makes the whole file in memory. So each sheet is a workbook of its own, which spills to
// one temporary file; when it is whole, its part of the file goes to the output, and
// the rest of it is forgotten. In the end a workbook of empty sheets gives all other parts.
type workbook struct {
	options Options
	zip     *zip.Writer
	sheets  []string
	// names are the sheets' names in lower case.
	names map[string]bool

	tableName string
	columns   []Column
	// current is the sheet being written, with its rows and its bytes at the most.
	current *excelize.File
	stream  *excelize.StreamWriter
	styles  styles
	rows    int
	bytes   int64
	// spilled says that its temporary file is there.
	spilled bool
	cells   []any

	cut, imprecise int64
}

// styles are the numbers of the header's style, and of times to the second and the millisecond.
type styles struct{ header, second, milli int }

func newWorkbook(out io.Writer, o Options) (*workbook, error) {
	if o.Spill == "" {
		return nil, errors.New("a workbook needs a directory for temporary files")
	}
	if o.sheetRows == 0 {
		o.sheetRows = maxSheetRows
	}
	if o.sheetBytes == 0 {
		o.sheetBytes = maxSheetBytes
	}
	return &workbook{options: o, zip: zip.NewWriter(out), names: map[string]bool{"history": true}}, nil
}

func (w *workbook) table(name string, columns []Column) error {
	if err := w.endSheet(); err != nil {
		return err
	}
	w.tableName, w.columns = name, columns
	return w.beginSheet()
}

// newSheetFile returns a workbook with the styles that all of them have, in the same order.
func (w *workbook) newSheetFile() (*excelize.File, styles, error) {
	f := excelize.NewFile(excelize.Options{TmpDir: w.options.Spill})
	var s styles
	second, milli := "yyyy-mm-dd hh:mm:ss", "yyyy-mm-dd hh:mm:ss.000"
	for _, style := range []struct {
		id *int
		is excelize.Style
	}{
		{&s.header, excelize.Style{Font: &excelize.Font{Bold: true}}},
		{&s.second, excelize.Style{CustomNumFmt: &second}},
		{&s.milli, excelize.Style{CustomNumFmt: &milli}},
	} {
		id, err := f.NewStyle(&style.is)
		if err != nil {
			return nil, s, errors.Join(fmt.Errorf("making a style of a workbook: %w", err), f.Close())
		}
		*style.id = id
	}
	return f, s, nil
}

const firstSheet = "Sheet1"

func (w *workbook) beginSheet() (err error) {
	if len(w.sheets) > maxSheets {
		return fmt.Errorf("the workbook would have more than %d sheets of data: export less, or in another format", maxSheets)
	}
	if w.current, w.styles, err = w.newSheetFile(); err != nil {
		return err
	}
	if w.stream, err = w.current.NewStreamWriter(firstSheet); err != nil {
		return fmt.Errorf("beginning a sheet: %w", err)
	}
	if err := w.stream.SetPanes(&excelize.Panes{Freeze: true, YSplit: 1, TopLeftCell: "A2", ActivePane: "bottomLeft"}); err != nil {
		return fmt.Errorf("freezing the header: %w", err)
	}
	header := make([]any, len(w.columns))
	for i, c := range w.columns {
		title := c.Name
		if c.Title != "" {
			title = c.Title
		}
		width := 16.0
		if c.Kind == Time {
			title += " (" + w.options.Location.String() + ")"
			width = 22
		}
		if err := w.stream.SetColWidth(i+1, i+1, width); err != nil {
			return fmt.Errorf("setting the width of a column: %w", err)
		}
		header[i] = excelize.Cell{StyleID: w.styles.header, Value: w.fit(title)}
	}
	w.sheets = append(w.sheets, w.sheetName(w.tableName))
	w.rows, w.bytes, w.spilled = 0, 0, false
	return w.setRow(header)
}

func (w *workbook) setRow(cells []any) error {
	w.rows++
	if err := w.stream.SetRow("A"+strconv.Itoa(w.rows), cells); err != nil {
		return fmt.Errorf("writing to a sheet: %w", err)
	}
	return nil
}

func (w *workbook) row(values []any) error {
	w.cells = w.cells[:0]
	size := int64(64)
	for i, v := range values {
		cell, n, err := w.cell(v, w.columns[i].Kind)
		if err != nil {
			return err
		}
		w.cells = append(w.cells, cell)
		size += n
	}
	if w.rows == w.options.sheetRows || w.rows > 1 && w.bytes+size > w.options.sheetBytes {
		if err := w.endSheet(); err != nil {
			return err
		}
		if err := w.beginSheet(); err != nil {
			return err
		}
	}
	if w.bytes += size; w.bytes > spilledBytes && !w.spilled {
		files, err := filepath.Glob(filepath.Join(w.options.Spill, "excelize-*"))
		if err != nil || len(files) == 0 {
			return errors.Join(fmt.Errorf("no temporary file can be made in %s: is its disk full?", w.options.Spill), err)
		}
		w.spilled = true
	}
	return w.setRow(w.cells)
}

// cell returns a cell, and how many bytes it has at the most.
func (w *workbook) cell(v any, kind Kind) (cell any, size int64, err error) {
	const around = 64 // what stands around a value
	switch v := v.(type) {
	case nil:
		return nil, 0, nil
	case bool:
		return v, around, nil
	case time.Time:
		local := v.In(w.options.Location)
		if local.Year() < 1901 || local.Year() > 9999 {
			break // as text: a sheet has no such day
		}
		style := w.styles.second
		if local.Nanosecond() >= int(time.Millisecond) {
			style = w.styles.milli
		}
		return excelize.Cell{StyleID: style, Value: local}, around, nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			break
		}
		return rounded(v), around, nil
	case int64:
		if v > -1e15 && v < 1e15 {
			return v, around, nil
		}
	case uint64:
		if v < 1e15 {
			return v, around, nil
		}
	case json.Number:
		if f, ok := exactNumber(v.String()); ok {
			return f, around, nil
		}
	}
	text, err := textOf(v, w.options.Location)
	if err != nil {
		return nil, 0, err
	}
	if _, isText := v.(string); !isText && (kind == Integer || kind == Number) {
		w.imprecise++
	}
	text = w.fit(text)
	// The most that a character becomes is &#34; or _x005F_ in front.
	return text, around + int64(len(text)) + 6*int64(strings.Count(text, "&")+strings.Count(text, "<")+strings.Count(text, ">")+
		strings.Count(text, `"`)+strings.Count(text, "'")+strings.Count(text, "\t")+strings.Count(text, "\r")+strings.Count(text, "_")), nil
}

// rounded returns a number with as many digits as a sheet holds: excelize cuts the others off.
func rounded(f float64) float64 {
	r, err := strconv.ParseFloat(strconv.FormatFloat(f, 'e', exactDigits-1, 64), 64)
	if err != nil {
		return f // next to the largest there is
	}
	return r
}

// exactNumber returns a number if it has no more digits than a sheet holds.
func exactNumber(text string) (float64, bool) {
	mantissa, _, _ := strings.Cut(strings.ToLower(text), "e")
	digits := strings.Trim(strings.NewReplacer("-", "", "+", "", ".", "").Replace(mantissa), "0")
	f, err := strconv.ParseFloat(text, 64)
	return f, err == nil && len(digits) <= exactDigits
}

// fit cuts a text that is too long for a cell.
func (w *workbook) fit(text string) string {
	if len(text) <= maxCellUnits { // it has no more units than bytes
		return text
	}
	units, end := 0, 0
	for i, r := range text {
		n := utf16.RuneLen(r)
		if units+n > maxCellUnits-len(cutMark) && end == 0 {
			end = i
		}
		units += n
	}
	if units <= maxCellUnits {
		return text
	}
	w.cut++
	return text[:end] + cutMark
}

// sheetName returns a name that a sheet may have, and no other one has.
func (w *workbook) sheetName(table string) string {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r == '\x7f' || strings.ContainsRune(`:\/?*[]`, r) {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(table, "_"))
	if clean = strings.Trim(clean, "' "); clean == "" {
		clean = "Data"
	}
	for n := 1; ; n++ {
		suffix := ""
		if n > 1 {
			suffix = " (" + strconv.Itoa(n) + ")"
		}
		name := cutUnits(clean, maxSheetName-len(suffix)) + suffix
		if !w.names[strings.ToLower(name)] {
			w.names[strings.ToLower(name)] = true
			return name
		}
	}
}

func cutUnits(text string, most int) string {
	units := 0
	for i, r := range text {
		if units += utf16.RuneLen(r); units > most {
			return text[:i]
		}
	}
	return text
}

// endSheet has the sheet that is being written go to the output.
func (w *workbook) endSheet() error {
	if w.current == nil {
		return nil
	}
	f := w.current
	w.current = nil
	err := w.stream.Flush()
	if err == nil {
		part := sheetPart(len(w.sheets))
		err = w.write(f, func(name string) string {
			if name == sheetPart(1) {
				return part
			}
			return ""
		})
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("ending a sheet: %w", err)
	}
	return nil
}

func sheetPart(n int) string { return fmt.Sprintf("xl/worksheets/sheet%d.xml", n) }

func (w *workbook) close() ([]string, error) {
	if err := w.endSheet(); err != nil {
		return nil, err
	}
	var m []string
	if w.cut > 0 {
		m = append(m, fmt.Sprintf("%d cells had more than the %d characters that a cell holds, and are cut", w.cut, maxCellUnits))
	}
	if w.imprecise > 0 {
		m = append(m, fmt.Sprintf("%d numbers have more digits than a sheet holds, and are text", w.imprecise))
	}
	data := len(w.sheets)
	w.tableName, w.columns = "About", []Column{{Name: "Fact"}, {Name: "Value"}}
	if err := w.beginSheet(); err != nil {
		return nil, err
	}
	facts := append([]Fact{}, w.options.Facts...)
	facts = append(facts, Fact{"Time zone of times", w.options.Location.String()}, Fact{"Sheets of data", strconv.Itoa(data)})
	for _, note := range m {
		facts = append(facts, Fact{"Note", note})
	}
	for _, fact := range facts {
		if err := w.row([]any{fact.Name, fact.Value}); err != nil {
			return nil, err
		}
	}
	if err := w.endSheet(); err != nil {
		return nil, err
	}
	return m, w.frame()
}

// frame writes all parts but the sheets.
func (w *workbook) frame() error {
	f, _, err := w.newSheetFile()
	if err != nil {
		return err
	}
	for i, name := range w.sheets {
		if i == 0 {
			err = f.SetSheetName(firstSheet, name)
		} else {
			_, err = f.NewSheet(name)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("naming sheet %q: %w", name, err), f.Close())
		}
	}
	written := make(map[string]bool, len(w.sheets))
	for i := range w.sheets {
		written[sheetPart(i+1)] = true
	}
	err = w.write(f, func(name string) string {
		if written[name] {
			return ""
		}
		return name
	})
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("ending the workbook: %w", err)
	}
	if err := w.zip.Close(); err != nil {
		return fmt.Errorf("ending the workbook: %w", err)
	}
	return nil
}

// write has a workbook write those of its parts to the output that get a name there.
func (w *workbook) write(f *excelize.File, name func(string) string) error {
	f.SetZipWriter(func(io.Writer) excelize.ZipWriter { return parts{w.zip, name} })
	_, err := f.WriteTo(io.Discard)
	return err
}

func (w *workbook) discard() error {
	if w.current == nil {
		return nil
	}
	f := w.current
	w.current = nil
	return f.Close()
}

// parts passes on some parts of a workbook.
type parts struct {
	zip  *zip.Writer
	name func(string) string
}

func (p parts) Create(name string) (io.Writer, error) {
	if name = p.name(name); name == "" {
		return io.Discard, nil
	}
	return p.zip.Create(name)
}

// AddFS is part of excelize's interface; nothing calls it.
func (p parts) AddFS(fs.FS) error { return errors.ErrUnsupported }

// Close leaves the output open for the next workbook.
func (p parts) Close() error { return nil }
