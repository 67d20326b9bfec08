package export

import (
	"bytes"
	"context"
	"encoding/csv"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
)

// TestEngineReadsWhatIsWritten compares cell by cell what ClickHouse itself reads of files.
func TestEngineReadsWhatIsWritten(t *testing.T) {
	w := warehousetest.Empty(t)
	all := rows()
	const rest = ", ready Nullable(Bool), created Nullable(String), a Nullable(String)"
	structure := map[Format]string{
		CSV: "zone Nullable(String), app Nullable(String), count Nullable(Int64), share Nullable(Float64)" + rest,
		JSONL: "zone Nullable(String), `metadata.labels.app.kubernetes.io/name` Nullable(String), count Nullable(Int64), " +
			"`share, of \"all\"` Nullable(Float64)" + rest,
		Parquet: "auto",
	}
	engineFormat := map[Format]string{CSV: "CSVWithNames", JSONL: "JSONEachRow", Parquet: "Parquet"}
	for format, structure := range structure {
		t.Run(string(format), func(t *testing.T) {
			var file bytes.Buffer
			write(t, &file, format, Options{Location: seoul}, table, all)
			// The file lies in the statement: the warehouse's user may not read files.
			arguments := fmt.Sprintf("'%s', unhex('%x')", engineFormat[format], file.Bytes())
			if structure != "auto" {
				arguments = fmt.Sprintf("'%s', '%s', unhex('%x')", engineFormat[format], structure, file.Bytes())
			}
			// Each value as text, by position.
			result, err := w.Conn().Query(context.Background(), "SELECT * FROM format("+arguments+`)
				SETTINGS input_format_csv_empty_as_default = 1, input_format_with_names_use_header = 0,
				input_format_json_read_objects_as_strings = 1, max_query_size = 4000000`)
			if err != nil {
				t.Fatal(err)
			}
			defer result.Close()
			types := result.ColumnTypes()
			if len(types) != len(table) {
				t.Fatalf("%d columns", len(types))
			}
			n := 0
			for ; result.Next(); n++ {
				got := make([]any, len(table))
				for i, c := range types {
					got[i] = newOf(c.ScanType())
				}
				if err := result.Scan(got...); err != nil {
					t.Fatal(err)
				}
				for i, v := range all[n] {
					want, err := textOf(v, seoul)
					if err != nil {
						t.Fatal(err)
					}
					if s, ok := v.(string); ok && format == CSV {
						want = Guard(s)
					}
					have := pointed(got[i])
					switch h := have.(type) {
					case time.Time:
						have = h.In(seoul).Format(time.RFC3339Nano)
					case nil:
						have = ""
					}
					if fmt.Sprint(have) != want && !sameNumber(fmt.Sprint(have), want) {
						t.Errorf("row %d, column %s (%s): got %q, want %q", n, table[i].Name, types[i].DatabaseTypeName(), have, want)
					}
				}
			}
			if err := result.Err(); err != nil {
				t.Fatal(err)
			}
			if n != len(all) {
				t.Errorf("%d rows, want %d", n, len(all))
			}
		})
	}
}

func sameNumber(a, b string) bool {
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	return errX == nil && errY == nil && x == y
}

// TestLibreOfficeReadsWhatIsWritten has LibreOffice turn workbooks into CSV.
func TestLibreOfficeReadsWhatIsWritten(t *testing.T) {
	soffice, err := exec.LookPath("soffice")
	if err != nil {
		t.Skip("LibreOffice is not here (no soffice in PATH): workbooks are not opened by it")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "export.xlsx")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	all := rows()
	write(t, f, XLSX, Options{Location: seoul}, table, all)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	// Comma, quotes, UTF-8, from line 1, all columns, English, texts quoted, numbers as they are and not as shown, no formulas.
	command := exec.CommandContext(ctx, soffice, "-env:UserInstallation=file://"+dir+"/profile", "--headless", "--convert-to",
		`csv:Text - txt - csv (StarCalc):44,34,76,1,,1033,true,false,false`, "--outdir", dir, path)
	if text, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	data, err := os.ReadFile(filepath.Join(dir, "export.csv"))
	if err != nil {
		t.Fatal(err)
	}
	records, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
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
			got := records[i+1][j]
			same := got == want
			switch v := v.(type) {
			case bool:
				same = strings.EqualFold(got, want)
			case float64:
				f, err := strconv.ParseFloat(got, 64)
				same = err == nil && f >= v-1e-9 && f <= v+1e-9
			case time.Time:
				// Without formats LibreOffice writes moments by its own.
				at, err := time.ParseInLocation("2006-01-02 15:04:05.000", got, seoul)
				same = err == nil && at.Equal(v)
			case string:
				// It has one kind of line end.
				lines := strings.NewReplacer("\r\n", "\n", "\r", "\n")
				same = lines.Replace(got) == lines.Replace(v)
			}
			if !same {
				t.Errorf("row %d, column %s: got %q, want %q", i, table[j].Name, got, want)
			}
		}
	}
}

var large = flag.Int("large", 0, "write so many rows in TestMemoryIsConstant; 800000 take some minutes")

// counter counts bytes, and forgets them.
type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) { c.n += int64(len(p)); return len(p), nil }

// TestMemoryIsConstant writes many rows, and looks at the heap while it does.
func TestMemoryIsConstant(t *testing.T) {
	if *large == 0 {
		t.Skip("-large is not given")
	}
	columns := make([]Column, 12)
	for i := range columns {
		columns[i] = Column{Name: fmt.Sprintf("column.%d", i), Kind: Kind(i % 6)}
	}
	for _, format := range Formats {
		t.Run(string(format), func(t *testing.T) {
			var most atomic.Uint64
			look := func() {
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most.Store(max(most.Load(), m.HeapInuse))
			}
			runtime.GC()
			look()
			before := most.Load()
			var out counter
			w, err := New(&out, format, Options{Spill: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Discard()
			if err := w.Table("assets", columns); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
			for i := range *large {
				row := make([]any, len(columns))
				for j := range row {
					switch columns[j].Kind {
					case Text:
						row[j] = fmt.Sprintf("asset-%d-of-column-%d", i, j)
					case Integer:
						row[j] = int64(i)
					case Number:
						row[j] = float64(i) / 7
					case Bool:
						row[j] = i%3 == 0
					case Time:
						row[j] = at.Add(time.Duration(i) * time.Second)
					default:
						row[j] = map[string]any{"n": float64(i), "list": []any{"a", "b"}}
					}
				}
				if err := w.Row(row); err != nil {
					t.Fatal(err)
				}
				if i%10_000 == 0 {
					look()
				}
			}
			if _, err := w.Close(); err != nil {
				t.Fatal(err)
			}
			look()
			t.Logf("%d rows, %d MiB in %s; heap in use %d MiB at most, %d before", *large, out.n>>20, time.Since(start).Round(time.Second),
				most.Load()>>20, before>>20)
			if most.Load() > before+160<<20 {
				t.Errorf("the heap grew from %d MiB to %d MiB", before>>20, most.Load()>>20)
			}
		})
	}
}

func newOf(t reflect.Type) any { return reflect.New(t).Interface() }

// pointed returns what a pointer points at in the end: nil if one of them is nil.
func pointed(v any) any {
	r := reflect.ValueOf(v)
	for r.Kind() == reflect.Pointer {
		if r.IsNil() {
			return nil
		}
		r = r.Elem()
	}
	return r.Interface()
}
