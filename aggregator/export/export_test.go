package export

import (
	"archive/zip"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
	"github.com/xuri/excelize/v2"

	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
)

func TestMain(m *testing.M) { warehousetest.Main(m) }

var seoul = time.FixedZone("Asia/Seoul", 9*3600)

// hostile are texts that some format or program takes for something else.
var hostile = []string{
	"", "a", "naïve ☃ 漢字 🙂", `a "quoted", text`, "two\nlines", "two\r\nlines", "a\rb", "tab\tin", " around ",
	"=1+1", "=cmd|'/C calc'!A0", "+1", "+SUM(A1)",
	"-5", "-5.25", "-a", "@SUM(1)", "\t=1", "\r=1", "\n=1", "'quoted", "''", "＝1", "＠a",
	"00123", "1e5", "TRUE", "null", "NULL", `\N`, "2026-03-01",
	"1/2", "_x000D_", "_x005F_x000D_", "<b>&amp;</b>", "]]>", `\`, `{"a":1}`, ";", "'=1", "#REF!", strings.Repeat("long ", 100),
}

// table has a column of each kind.
var table = []Column{
	{Name: "zone", Kind: Text}, {Name: "metadata.labels.app.kubernetes.io/name", Title: "App", Kind: Text}, {Name: "count", Kind: Integer},
	{Name: "share, of \"all\"", Kind: Number}, {Name: "ready", Kind: Bool}, {Name: "created", Kind: Time}, {Name: "a", Kind: Nested},
}

func rows() (rows [][]any) {
	at := time.Date(2026, 3, 1, 10, 30, 15, 123_000_000, time.UTC)
	for i, text := range hostile {
		row := []any{text, text + "x", int64(i - 3), float64(i) / 3, i%2 == 0, at.Add(time.Duration(i) * 26 * time.Hour),
			map[string]any{"b": []any{text, nil, float64(1), true}, "a": json.Number("12345678901234567890")}}
		if i%5 == 1 {
			row = make([]any, len(table))
			row[0] = text
		}
		rows = append(rows, row)
	}
	return rows
}

func write(t testing.TB, out io.Writer, format Format, o Options, columns []Column, rows [][]any) Summary {
	t.Helper()
	if o.Spill == "" {
		o.Spill = t.TempDir()
	}
	w, err := New(out, format, o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Discard(); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(o.Spill); err != nil || len(left) > 0 {
			t.Errorf("temporary files are left: %v %v", left, err)
		}
	}()
	if err := w.Table("kubernetes.core.Pod", columns); err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		if err := w.Row(row); err != nil {
			t.Fatal(err)
		}
	}
	summary, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if summary.Rows != int64(len(rows)) {
		t.Errorf("%d rows are told of, there are %d", summary.Rows, len(rows))
	}
	return summary
}

func TestCSV(t *testing.T) {
	var out bytes.Buffer
	all := rows()
	write(t, &out, CSV, Options{Location: seoul}, table, all)
	if !strings.HasPrefix(out.String(), "zone,metadata.labels.app.kubernetes.io/name,count,\"share, of \"\"all\"\"\",ready,created,a\r\n") {
		t.Errorf("the header is %.120q", out.String())
	}
	// The standard reader turns CR LF within values into LF, so it reads a copy without.
	read := csv.NewReader(strings.NewReader(strings.ReplaceAll(out.String(), "two\r\nlines", "two\x01\nlines")))
	records, err := read.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(records) != len(all)+1 {
		t.Fatalf("%d records", len(records))
	}
	for i, row := range all {
		for j, v := range row {
			want, err := textOf(v, seoul)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.ReplaceAll(records[i+1][j], "\x01\n", "\r\n")
			if s, ok := v.(string); ok {
				if first, _ := utf8.DecodeRuneInString(got); strings.ContainsRune("=+-@\t\r\n＝＋－＠", first) && !harmless.MatchString(got) {
					t.Errorf("%q is written as %q: a spreadsheet computes it", s, got)
				}
				if got = strings.TrimPrefix(got, "'"); got != s {
					t.Errorf("%q is %q once the guard is taken away", s, got)
				}
			} else if got != want {
				t.Errorf("row %d, column %d: got %q, want %q", i, j, got, want)
			}
		}
	}
	out.Reset()
	write(t, &out, CSV, Options{Plain: true}, table[:1], [][]any{{"=1+1"}, {nil}, {""}, {"b"}})
	if want := "zone\r\n=1+1\r\n\"\"\r\n\"\"\r\nb\r\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

// FuzzGuard shows that the guard can be taken away again and leaves no formula.
func FuzzGuard(f *testing.F) {
	for _, text := range hostile {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		guarded := Guard(text)
		if strings.TrimPrefix(guarded, "'") != text {
			t.Fatalf("%q becomes %q", text, guarded)
		}
		if again := appendCSV(nil, guarded); utf8.ValidString(guarded) && !strings.ContainsAny(guarded, "\r") {
			record, err := csv.NewReader(bytes.NewReader(append(again, ',', 'x', '\r', '\n'))).Read()
			if err != nil || record[0] != guarded {
				t.Fatalf("%q is read as %q: %v", again, record, err)
			}
		}
	})
}

func TestJSONL(t *testing.T) {
	var out bytes.Buffer
	all := rows()
	write(t, &out, JSONL, Options{Location: seoul}, table, all)
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != len(all) {
		t.Fatalf("%d lines", len(lines))
	}
	for i, line := range lines {
		d := json.NewDecoder(strings.NewReader(line))
		d.UseNumber()
		var got map[string]any
		if err := d.Decode(&got); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		for j, c := range table {
			want := all[i][j]
			switch v := want.(type) {
			case int64, float64:
				text, err := textOf(v, nil)
				if err != nil {
					t.Fatal(err)
				}
				want = json.Number(text)
			case time.Time:
				want = v.In(seoul).Format(time.RFC3339Nano)
			case map[string]any:
				want = map[string]any{"b": []any{all[i][0], nil, json.Number("1"), true}, "a": json.Number("12345678901234567890")}
			}
			if !reflect.DeepEqual(got[c.Name], want) {
				t.Errorf("line %d, %s: got %#v, want %#v", i, c.Name, got[c.Name], want)
			}
		}
	}
}

func TestParquet(t *testing.T) {
	var out bytes.Buffer
	all := rows()
	write(t, &out, Parquet, Options{}, table, all)
	f, err := parquet.OpenFile(bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range f.Root().Columns() {
		names = append(names, c.Name())
	}
	if names[0] != "zone" || names[6] != "a" {
		t.Errorf("the columns are %q: not in their order", names)
	}
	reader := parquet.NewReader(f)
	got := make([]parquet.Row, len(all))
	if n, err := reader.ReadRows(got); n != len(all) || err != nil && !errors.Is(err, io.EOF) {
		t.Fatalf("%d rows: %v", n, err)
	}
	for i, row := range all {
		for j, v := range row {
			cell := got[i][j]
			var same bool
			switch v := v.(type) {
			case nil:
				same = cell.IsNull()
			case string:
				same = string(cell.ByteArray()) == v
			case int64:
				same = cell.Int64() == v
			case float64:
				same = cell.Double() == v
			case bool:
				same = cell.Boolean() == v
			case time.Time:
				same = cell.Int64() == v.UnixMicro()
			default:
				text, err := jsonOf(v, time.UTC)
				same = err == nil && string(cell.ByteArray()) == string(text)
			}
			if !same {
				t.Errorf("row %d, column %d: got %v, want %v", i, j, cell, v)
			}
		}
	}
}

func TestParquetTellsOfMisfits(t *testing.T) {
	var out bytes.Buffer
	columns := []Column{{Name: "port", Kind: Integer}, {Name: "at", Kind: Time}, {Name: "share", Kind: Number}, {Name: "up", Kind: Bool}}
	summary := write(t, &out, Parquet, Options{}, columns, [][]any{
		{int64(80), time.Now(), 0.5, true}, {"http", "yesterday", "half", "yes"},
		{uint64(1 << 63), time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC), nil, nil},
		{float64(443), nil, int64(1), nil}, {json.Number("1.5"), nil, json.Number("1.5"), nil},
	})
	if len(summary.Notes) != 4 || !strings.Contains(summary.Notes[0], `column "port": 3 values are no whole number`) ||
		!strings.Contains(summary.Notes[1], `"at": 2 values`) {
		t.Errorf("%q", summary.Notes)
	}
}

func readWorkbook(t *testing.T, data []byte) *excelize.File {
	t.Helper()
	f, err := excelize.OpenReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestWorkbook(t *testing.T) {
	var out bytes.Buffer
	all := rows()
	summary := write(t, &out, XLSX, Options{Location: seoul, Facts: []Fact{{"Query", "type:pod"}}}, table, all)
	if len(summary.Notes) != 0 {
		t.Errorf("%q", summary.Notes)
	}
	f := readWorkbook(t, out.Bytes())
	if got := f.GetSheetList(); !slices.Equal(got, []string{"kubernetes.core.Pod", "About"}) {
		t.Fatalf("sheets %q", got)
	}
	panes, err := f.GetPanes("kubernetes.core.Pod")
	if err != nil || !panes.Freeze || panes.YSplit != 1 {
		t.Errorf("the header is not frozen: %+v %v", panes, err)
	}
	header, err := f.GetRows("kubernetes.core.Pod", excelize.Options{RawCellValue: true})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"zone", "App", "count", "share, of \"all\"", "ready", "created (Asia/Seoul)", "a"}; !slices.Equal(header[0], want) {
		t.Errorf("header %q", header[0])
	}
	cells := sheetCells(t, out.Bytes(), "xl/worksheets/sheet1.xml")
	for i, row := range all {
		for j, v := range row {
			at, err := excelize.CoordinatesToCellName(j+1, i+2)
			if err != nil {
				t.Fatal(err)
			}
			got := cells[at]
			if got.Formula != nil {
				t.Errorf("%s has the formula %q", at, *got.Formula)
			}
			same := false
			switch v := v.(type) {
			case nil:
				same = got == sheetCell{}
			case bool:
				same = got.Type == "b" && got.Value == map[bool]string{true: "1", false: "0"}[v]
			case int64:
				same = got.Type == "" && got.Value == strconv.FormatInt(v, 10)
			case float64:
				f, err := strconv.ParseFloat(got.Value, 64)
				same = err == nil && got.Type == "" && math.Abs(f-v) <= math.Abs(v)*5e-15 // 15 digits, rounded
			case time.Time:
				// Days since the 30th of December 1899, of the clock in Seoul.
				days, err := strconv.ParseFloat(got.Value, 64)
				want := v.Add(9*time.Hour).Sub(time.Date(1899, 12, 30, 0, 0, 0, 0, time.UTC)).Hours() / 24
				same = err == nil && got.Type == "" && math.Abs(days-want) < 1e-9 && got.Style != ""
			default:
				text, err := textOf(v, seoul)
				if err != nil {
					t.Fatal(err)
				}
				// Line ends and _x0000_ are as a reader of the format makes them.
				shown, err := f.GetCellValue("kubernetes.core.Pod", at)
				same = err == nil && got.Type == "inlineStr" && shown == text
			}
			if !same {
				t.Errorf("%s: got %+v, want %v", at, got, v)
			}
		}
	}
	about, err := f.GetRows("About")
	if err != nil || len(about) < 3 || !slices.Equal(about[1], []string{"Query", "type:pod"}) {
		t.Errorf("about: %q %v", about, err)
	}
}

// sheetCell is a cell as the file has it.
type sheetCell struct {
	Ref     string  `xml:"r,attr"`
	Type    string  `xml:"t,attr"`
	Style   string  `xml:"s,attr"`
	Value   string  `xml:"v"`
	Inline  string  `xml:"is>t"`
	Formula *string `xml:"f"`
}

func sheetCells(t *testing.T, data []byte, part string) map[string]sheetCell {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	file, err := z.Open(part)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var sheet struct {
		Cells []sheetCell `xml:"sheetData>row>c"`
	}
	if err := xml.NewDecoder(file).Decode(&sheet); err != nil {
		t.Fatal(err)
	}
	cells := make(map[string]sheetCell)
	for _, c := range sheet.Cells {
		cells[c.Ref] = c
	}
	return cells
}

func TestWorkbookSaysWhatItCuts(t *testing.T) {
	var out bytes.Buffer
	long := strings.Repeat("🙂", 20_000) // 40,000 units of UTF-16
	exact := strings.Repeat("x", maxCellUnits)
	summary := write(t, &out, XLSX, Options{}, []Column{{Name: "a"}, {Name: "n", Kind: Integer}}, [][]any{
		{long, int64(1)}, {exact, int64(math.MaxInt64)}, {exact + "y", json.Number("123456789012345678")},
		{nil, json.Number("1500")},
	})
	f := readWorkbook(t, out.Bytes())
	cell := func(at string) string {
		v, err := f.GetCellValue("kubernetes.core.Pod", at, excelize.Options{RawCellValue: true})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if got := cell("A2"); !strings.HasSuffix(got, "🙂"+cutMark) || len(utf16Units(got)) > maxCellUnits {
		t.Errorf("the cut cell ends with %q and has %d units", got[len(got)-20:], len(utf16Units(got)))
	}
	if cell("A3") != exact || !strings.HasSuffix(cell("A4"), cutMark) {
		t.Error("a cell that fits is cut, or one that does not is not")
	}
	if cell("B3") != "9223372036854775807" || cell("B4") != "123456789012345678" || cell("B5") != "1500" {
		t.Errorf("numbers %q %q %q", cell("B3"), cell("B4"), cell("B5"))
	}
	if len(summary.Notes) != 2 || !strings.HasPrefix(summary.Notes[0], "2 cells had more than") ||
		!strings.HasPrefix(summary.Notes[1], "2 numbers") {
		t.Errorf("%q", summary.Notes)
	}
	about, err := f.GetRows("About")
	if err != nil || about[len(about)-1][1] != summary.Notes[1] {
		t.Errorf("about: %q %v", about, err)
	}
}

func utf16Units(s string) []byte {
	var b []byte
	for _, r := range s {
		b = append(b, 0)
		if r >= 0x10000 {
			b = append(b, 0)
		}
	}
	return b
}

func TestWorkbookGoesOnOnFurtherSheets(t *testing.T) {
	for name, o := range map[string]Options{"rows": {sheetRows: 4}, "bytes": {sheetBytes: 500}} {
		t.Run(name, func(t *testing.T) {
			o.Spill = t.TempDir()
			var out bytes.Buffer
			w, err := New(&out, XLSX, o)
			if err != nil {
				t.Fatal(err)
			}
			defer w.Discard()
			want := make(map[string][]string)
			for _, name := range []string{"kubernetes.rbac.authorization.k8s.io.ClusterRole", "kubernetes.rbac.authorization.K8S.io.Role",
				"a/b:c", "History", "'"} {
				if err := w.Table(name, []Column{{Name: "n", Kind: Integer}}); err != nil {
					t.Fatal(err)
				}
				for i := range 7 {
					if err := w.Row([]any{int64(i)}); err != nil {
						t.Fatal(err)
					}
					want[name] = append(want[name], string(rune('0'+i)))
				}
			}
			if _, err := w.Close(); err != nil {
				t.Fatal(err)
			}
			f := readWorkbook(t, out.Bytes())
			sheets := f.GetSheetList()
			if len(sheets) < 11 {
				t.Fatalf("sheets %q", sheets)
			}
			var all []string
			for _, s := range sheets[:len(sheets)-1] {
				if len(utf16Units(s)) > maxSheetName {
					t.Errorf("the name %q is too long", s)
				}
				rows, err := f.GetRows(s)
				if err != nil || rows[0][0] != "n" {
					t.Fatalf("sheet %s: %q %v", s, rows, err)
				}
				for _, r := range rows[1:] {
					all = append(all, r[0])
				}
			}
			if got := strings.Join(all, ""); got != strings.Repeat("0123456", 5) {
				t.Errorf("rows %s", got)
			}
		})
	}
}

func TestFilesThatBreakOffLeaveNothing(t *testing.T) {
	for _, format := range Formats {
		spill := t.TempDir()
		w, err := New(io.Discard, format, Options{Spill: spill})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Close(); err == nil {
			t.Errorf("%s: a file without a table is whole", format)
		}
		if err := w.Row([]any{"a"}); err == nil {
			t.Errorf("%s: a row without a table", format)
		}
		if err := w.Table("t", []Column{{Name: "a"}, {Name: "a"}}); err == nil {
			t.Errorf("%s: a column is there twice", format)
		}
		if err := w.Table("t", []Column{{Name: "a"}}); err != nil {
			t.Fatal(err)
		}
		if err := w.Row([]any{"a", "b"}); err == nil {
			t.Errorf("%s: a row has more values than columns", format)
		}
		big := strings.Repeat("x", 30_000)
		for range 1000 {
			if err := w.Row([]any{big}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Row([]any{struct{}{}}); err == nil {
			t.Errorf("%s: a value of no type is taken", format)
		}
		if err := w.Row([]any{"a"}); err == nil {
			t.Errorf("%s: goes on after an error", format)
		}
		if err := w.Discard(); err != nil {
			t.Error(err)
		}
		if _, err := w.Close(); err == nil {
			t.Errorf("%s: a file that was given up is whole", format)
		}
		if left, err := os.ReadDir(spill); err != nil || len(left) > 0 {
			t.Errorf("%s: temporary files are left: %v %v", format, left, err)
		}
	}
}

// TestRandomNumbers shows that numbers are read again as they were.
func TestRandomNumbers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		f := math.Float64frombits(r.Uint64())
		if math.IsNaN(f) {
			continue
		}
		var got float64
		if math.IsInf(f, 0) {
			continue
		}
		if err := json.Unmarshal([]byte(floatText(f)), &got); err != nil || got != f {
			t.Fatalf("%v is written as %s and read as %v: %v", f, floatText(f), got, err)
		}
	}
}
