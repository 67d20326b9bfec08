package export

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

const (
	// A row group is in memory until it is whole: so many bytes of values, about, or rows.
	groupBytes = 16 << 20
	groupRows  = 100_000
)

// parquetEncoder writes one column of Parquet for each of the table's, all optional.
type parquetEncoder struct {
	out     io.Writer
	writer  *parquet.GenericWriter[any]
	columns []Column
	values  parquet.Row
	// rows and bytes are those of the row group.
	rows, bytes int
	misfits     misfits
}

func newParquet(out io.Writer) *parquetEncoder { return &parquetEncoder{out: out} }

// inOrder is a group whose fields come in an order of ours: those of parquet.Group are
// sorted by name.
type inOrder struct {
	parquet.Group
	columns []Column
}

func (g inOrder) Fields() []parquet.Field {
	fields := g.Group.Fields()
	byName := make(map[string]parquet.Field, len(fields))
	for _, f := range fields {
		byName[f.Name()] = f
	}
	for i, c := range g.columns {
		fields[i] = byName[c.Name]
	}
	return fields
}

func (e *parquetEncoder) table(name string, columns []Column) error {
	group := make(parquet.Group, len(columns))
	for _, c := range columns {
		var node parquet.Node
		switch c.Kind {
		case Integer:
			node = parquet.Int(64)
		case Number:
			node = parquet.Leaf(parquet.DoubleType)
		case Bool:
			node = parquet.Leaf(parquet.BooleanType)
		case Time:
			node = parquet.Timestamp(parquet.Microsecond)
		default:
			// Nested is text as well: some readers take only objects for JSON.
			node = parquet.String()
		}
		group[c.Name] = parquet.Optional(node)
	}
	e.columns = columns
	e.values = make(parquet.Row, len(columns))
	e.writer = parquet.NewGenericWriter[any](e.out, parquet.NewSchema(name, inOrder{group, columns}), parquet.Compression(&zstd.Codec{}),
		parquet.CreatedBy("reeve", "", ""))
	return nil
}

func (e *parquetEncoder) row(values []any) error {
	for i, v := range values {
		value, size, err := e.value(v, e.columns[i])
		if err != nil {
			return err
		}
		present := 1
		if value.IsNull() {
			present = 0
		}
		e.values[i] = value.Level(0, present, i)
		e.bytes += size
	}
	if _, err := e.writer.WriteRows([]parquet.Row{e.values}); err != nil {
		return err
	}
	if e.rows++; e.rows < groupRows && e.bytes < groupBytes {
		return nil
	}
	e.rows, e.bytes = 0, 0
	return e.writer.Flush()
}

// value returns what a column has of a value: null if it is of another kind.
func (e *parquetEncoder) value(v any, c Column) (_ parquet.Value, size int, err error) {
	if v == nil {
		return parquet.NullValue(), 1, nil
	}
	switch c.Kind {
	case Integer:
		if n, ok := integerOf(v); ok {
			return parquet.Int64Value(n), 8, nil
		}
	case Number:
		if f, ok := numberOf(v); ok {
			return parquet.DoubleValue(f), 8, nil
		}
	case Bool:
		if b, ok := v.(bool); ok {
			return parquet.BooleanValue(b), 1, nil
		}
	case Time:
		if t, ok := v.(time.Time); ok && !t.Before(earliest) && t.Before(latest) {
			return parquet.Int64Value(t.UnixMicro()), 8, nil
		}
	case Nested:
		text, err := jsonOf(v, time.UTC)
		return parquet.ByteArrayValue(text), len(text) + 4, err
	default:
		text, err := textOf(v, time.UTC)
		return parquet.ByteArrayValue([]byte(text)), len(text) + 4, err
	}
	e.misfits.add(fmt.Sprintf("column %q: %s values are no %s, and null in this file; csv, jsonl and xlsx have them", c.Name, counted,
		kindNames[c.Kind]))
	return parquet.NullValue(), 1, nil
}

var kindNames = [...]string{Text: "text", Integer: "whole number of 64 bits", Number: "number", Bool: "boolean", Time: "time",
	Nested: "JSON"}

// The times that every reader of microseconds takes.
var (
	earliest = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	latest   = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
)

func integerOf(v any) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case uint64:
		return int64(v), v <= math.MaxInt64
	case float64:
		return int64(v), v == math.Trunc(v) && math.Abs(v) <= 1<<53
	case json.Number:
		n, err := strconv.ParseInt(v.String(), 10, 64)
		return n, err == nil
	}
	return 0, false
}

func numberOf(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case uint64:
		return float64(v), true
	case float64:
		return v, true
	case json.Number:
		f, err := v.Float64()
		return f, err == nil
	}
	return 0, false
}

func (e *parquetEncoder) close() ([]string, error) { return e.misfits.notes(), e.writer.Close() }

// discard leaves the writer alone: its memory is all it has, and closing it would end
// the file as if it were whole.
func (e *parquetEncoder) discard() error { return nil }
