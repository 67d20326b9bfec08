package cli

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/tui/output"
)

type sqlOptions struct {
	outputOptions
	limit int
}

func (a *app) sqlCommand() *cobra.Command {
	var o sqlOptions
	cmd := &cobra.Command{
		Use:   "sql STATEMENT",
		Short: "Ask the warehouse with a SELECT statement",
		Long: `Ask the warehouse with one SELECT statement of ClickHouse's dialect; - reads it from
standard input. The tables are in docs/sql.md. It runs read-only and within limits of
time, memory and size, and goes into the audit trail. json is one object a line.`,
		Example: `  reeve sql "SELECT site, type, count() FROM asset FINAL WHERE NOT deleted GROUP BY ALL ORDER BY 3 DESC"
  reeve sql -o csv - < report.sql > report.csv`,
		Args:              exactly("STATEMENT"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.sql(cmd.Context(), args[0], o) },
	}
	o.addTo(cmd, output.Table, output.JSON, output.CSV)
	o.addNoHeaders(cmd)
	cmd.Flags().IntVar(&o.limit, "limit", 0, "show at most this many rows; 0, and more than 100000, mean 100000")
	return cmd
}

func (a *app) sql(ctx context.Context, statement string, o sqlOptions) error {
	if o.limit < 0 {
		return usagef("--limit %d: must not be negative", o.limit)
	}
	p, err := o.printer(a)
	if err != nil {
		return err
	}
	if statement == "-" {
		// More than the server takes, so that it refuses what is too long.
		text, err := io.ReadAll(io.LimitReader(a.Stdin, 128<<10))
		if err != nil {
			return fmt.Errorf("reading the statement: %w", err)
		}
		statement = string(text)
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.Close()
	stream, err := s.Query.RunSQL(ctx, connect.NewRequest(&reevev1.RunSQLRequest{Statement: statement,
		MaxRows: int32(min(o.limit, math.MaxInt32))}))
	if err != nil {
		return s.explain(err)
	}
	defer stream.Close()
	var write func([]*structpb.ListValue) error
	rows, truncated := 0, false
	for stream.Receive() {
		m := stream.Msg()
		if write == nil {
			if write, err = o.rowWriter(a, p, m.GetColumns()); err != nil {
				return err
			}
		}
		if err := write(m.GetRows()); err != nil {
			return err
		}
		rows, truncated = rows+len(m.GetRows()), m.GetTruncated()
	}
	if err := stream.Err(); err != nil {
		return s.explain(err)
	}
	switch {
	case truncated:
		a.note("warning: the answer has more than the %d rows above: narrow the statement down, or count and group in it", rows)
	case rows == 0 && isTable(p):
		a.note("no rows found")
	}
	return nil
}

// rowWriter returns what writes the rows of an answer as they come.
func (o *sqlOptions) rowWriter(a *app, p *output.Printer, columns []*reevev1.SQLColumn) (func([]*structpb.ListValue) error, error) {
	switch p.Format {
	case output.JSON:
		return func(rows []*structpb.ListValue) error { return writeJSONRows(p.Writer, columns, rows) }, nil
	case output.CSV:
		return csvWriter(a, p, columns)
	}
	list := make([]output.Column[*structpb.ListValue], len(columns))
	for i, c := range columns {
		list[i] = output.Column[*structpb.ListValue]{Heading: c.GetName(),
			Value: func(row *structpb.ListValue) string { return valueText(valueAt(row, i)) }}
	}
	return output.NewList(p, "rows", list).Write, nil
}

// writeJSONRows writes an object a line, with the columns in their order.
func writeJSONRows(w io.Writer, columns []*reevev1.SQLColumn, rows []*structpb.ListValue) error {
	var b strings.Builder
	for _, row := range rows {
		for i, c := range columns {
			b.WriteString([]string{"{", ","}[min(i, 1)])
			b.WriteString(jsonText(c.GetName()))
			b.WriteByte(':')
			text, err := output.Marshal(valueAt(row, i))
			if err != nil {
				return err
			}
			b.Write(text)
		}
		b.WriteString("}\n")
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("writing output: %w", err)
	}
	return nil
}

func jsonText(s string) string {
	text, err := output.Marshal(structpb.NewStringValue(s))
	if err != nil {
		return `""` // not UTF-8, which messages cannot hold
	}
	return string(text)
}

func csvWriter(a *app, p *output.Printer, columns []*reevev1.SQLColumn) (func([]*structpb.ListValue) error, error) {
	w := csv.NewWriter(p.Writer)
	// What goes to a program is as it is; a terminal could be told things.
	shown := func(s string) string { return s }
	if isTerminal(a.Stdout) {
		shown = output.Escape
	}
	record := make([]string, len(columns))
	if !p.NoHeaders {
		for i, c := range columns {
			record[i] = shown(c.GetName())
		}
		if err := w.Write(record); err != nil {
			return nil, fmt.Errorf("writing output: %w", err)
		}
	}
	return func(rows []*structpb.ListValue) error {
		for _, row := range rows {
			for i := range record {
				record[i] = shown(valueText(valueAt(row, i)))
			}
			if err := w.Write(record); err != nil {
				return fmt.Errorf("writing output: %w", err)
			}
		}
		w.Flush()
		if err := w.Error(); err != nil {
			return fmt.Errorf("writing output: %w", err)
		}
		return nil
	}, nil
}

// valueAt returns a value of a row, which is null if the server left it out.
func valueAt(row *structpb.ListValue, i int) *structpb.Value {
	if i < len(row.GetValues()) {
		return row.GetValues()[i]
	}
	return structpb.NewNullValue()
}

// valueText returns a value as tables and CSV have it: texts as they are, what is
// nested as JSON, and nothing for null.
func valueText(v *structpb.Value) string {
	switch v.GetKind().(type) {
	case *structpb.Value_NullValue, nil:
		return ""
	case *structpb.Value_StringValue:
		return v.GetStringValue()
	}
	text, err := protojson.Marshal(v)
	if err != nil {
		return ""
	}
	// protojson varies its white space on purpose.
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return string(text)
	}
	return compact.String()
}
