package question

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/structpb"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/tui/output"
	"github.com/reeve-cloud/reeve/tui/verb"
)

type sqlOptions struct {
	verb.OutputOptions
	limit  int
	schema bool
}

// SQLCommand returns the verb sql.
func SQLCommand(a *verb.App) *cobra.Command {
	var o sqlOptions
	cmd := &cobra.Command{
		Use:   "sql STATEMENT",
		Short: "Ask the warehouse with a SELECT statement",
		Long: `Ask the warehouse with one SELECT statement of ClickHouse's dialect; - reads it from
standard input. --schema shows the views that can be asked, with their columns, and the
limits of time, memory and size; docs/sql.md says more. It runs read-only, and goes
into the audit trail. json is a list of objects, jsonl an object a line.`,
		Example: `  reeve sql "SELECT site, type, count() FROM assets GROUP BY ALL ORDER BY 3 DESC"
  reeve sql -o csv - < report.sql > report.csv
  reeve sql --schema`,
		Args: func(cmd *cobra.Command, args []string) error {
			if o.schema {
				return verb.NoArguments(cmd, args)
			}
			return verb.Exactly("STATEMENT")(cmd, args)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.schema {
				return sqlSchema(cmd.Context(), a, o)
			}
			return sql(cmd.Context(), a, args[0], o)
		},
	}
	o.AddTo(cmd, output.Table, output.JSON, output.JSONL, output.CSV)
	o.AddNoHeaders(cmd)
	cmd.Flags().IntVar(&o.limit, "limit", 0, "show at most this many rows; 0, and more than 100000, mean 100000")
	cmd.Flags().BoolVar(&o.schema, "schema", false, "show what can be asked, and the limits")
	return cmd
}

func sql(ctx context.Context, a *verb.App, statement string, o sqlOptions) error {
	if o.limit < 0 {
		return verb.Usagef("--limit %d: must not be negative", o.limit)
	}
	p, err := o.Printer(a)
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
	s, err := a.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	began := time.Now()
	stream, err := s.Query.RunSQL(ctx, connect.NewRequest(&reevev1.RunSQLRequest{Statement: statement,
		MaxRows: int32(min(o.limit, math.MaxInt32))}))
	if err != nil {
		return s.Explain(err)
	}
	defer stream.Close()
	var w rowWriter
	rows, truncated := 0, false
	for stream.Receive() {
		m := stream.Msg()
		if w == nil {
			if w, err = o.rowWriter(a, p, m.GetColumns()); err != nil {
				return err
			}
		}
		if err := w.write(m.GetRows()); err != nil {
			return err
		}
		rows, truncated = rows+len(m.GetRows()), m.GetTruncated()
	}
	if err := stream.Err(); err != nil {
		return s.Explain(err)
	}
	took := time.Since(began)
	if w != nil {
		if err := w.end(); err != nil {
			return err
		}
	}
	switch {
	case truncated:
		a.Note("warning: the answer has more than the %d rows above: narrow the statement down, or count and group in it", rows)
	case rows == 0 && verb.IsTable(p):
		a.Note("no rows found")
	}
	if verb.IsTable(p) && verb.IsTerminal(a.Stdout) {
		// Whoever tries statements out should know what they may take. Aggregators of
		// before do not say.
		if schema, err := s.Query.GetSQLSchema(ctx, connect.NewRequest(&reevev1.GetSQLSchemaRequest{})); err == nil {
			a.Note("%d rows in %s; %s", rows, took.Round(time.Millisecond), limitsText(schema.Msg.GetLimits()))
		}
	}
	return nil
}

// limitsText says what a statement may take.
func limitsText(l *reevev1.SQLLimits) string {
	return fmt.Sprintf("a statement may take %s and %d MiB, and answer %d rows and %d MiB; %d run at once", l.GetTime().AsDuration(),
		l.GetMemoryBytes()>>20, l.GetRows(), l.GetAnswerBytes()>>20, l.GetAtOnce())
}

// sqlSchema shows the views with their columns: for people a section each, for
// programs a row for each column.
func sqlSchema(ctx context.Context, a *verb.App, o sqlOptions) error {
	p, err := o.Printer(a)
	if err != nil {
		return err
	}
	s, err := a.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	schema, err := s.Query.GetSQLSchema(ctx, connect.NewRequest(&reevev1.GetSQLSchemaRequest{}))
	if err != nil {
		return s.Explain(err)
	}
	if verb.IsTable(p) {
		details := output.NewDetails(p)
		for _, v := range schema.Msg.GetViews() {
			var rows [][]string
			for _, c := range v.GetColumns() {
				rows = append(rows, []string{c.GetName(), c.GetType(), c.GetComment()})
			}
			details.Section(output.Escape(v.GetName()+", "+v.GetComment()), []string{"COLUMN", "TYPE", "MEANING"}, rows)
		}
		details.Field("Limits", limitsText(schema.Msg.GetLimits()))
		return details.Close()
	}
	w, err := o.rowWriter(a, p, []*reevev1.SQLColumn{{Name: "view"}, {Name: "column"}, {Name: "type"}, {Name: "comment"}})
	if err != nil {
		return err
	}
	for _, v := range schema.Msg.GetViews() {
		for _, c := range v.GetColumns() {
			row := &structpb.ListValue{}
			for _, text := range []string{v.GetName(), c.GetName(), c.GetType(), c.GetComment()} {
				row.Values = append(row.Values, structpb.NewStringValue(text))
			}
			if err := w.write([]*structpb.ListValue{row}); err != nil {
				return err
			}
		}
	}
	return w.end()
}

// rowWriter writes the rows of an answer as they come.
type rowWriter interface {
	write([]*structpb.ListValue) error
	end() error
}

func (o *sqlOptions) rowWriter(a *verb.App, p *output.Printer, columns []*reevev1.SQLColumn) (rowWriter, error) {
	switch p.Format {
	case output.JSON:
		return &jsonRows{w: p.Writer, columns: columns, begin: "[", between: ",\n", last: "]\n"}, nil
	case output.JSONL:
		return &jsonRows{w: p.Writer, columns: columns, between: "\n", last: "\n"}, nil
	case output.CSV:
		return newCSVRows(a, p, columns)
	}
	list := make([]output.Column[*structpb.ListValue], len(columns))
	for i, c := range columns {
		list[i] = output.Column[*structpb.ListValue]{Heading: c.GetName(),
			Value: func(row *structpb.ListValue) string { return verb.ValueText(valueAt(row, i)) }}
	}
	return tableRows{output.NewList(p, "rows", list)}, nil
}

type tableRows struct {
	list *output.List[*structpb.ListValue]
}

func (t tableRows) write(rows []*structpb.ListValue) error { return t.list.Write(rows) }
func (t tableRows) end() error                             { return nil }

// jsonRows writes an object for each row, with the columns in their order.
type jsonRows struct {
	w                    io.Writer
	columns              []*reevev1.SQLColumn
	begin, between, last string
	count                int
}

func (j *jsonRows) write(rows []*structpb.ListValue) error {
	var b strings.Builder
	for _, row := range rows {
		if j.count == 0 {
			b.WriteString(j.begin)
		} else {
			b.WriteString(j.between)
		}
		j.count++
		for i, c := range j.columns {
			b.WriteString([]string{"{", ","}[min(i, 1)])
			b.WriteString(jsonText(c.GetName()))
			b.WriteByte(':')
			text, err := output.Marshal(valueAt(row, i))
			if err != nil {
				return err
			}
			b.Write(text)
		}
		b.WriteByte('}')
	}
	return j.text(b.String())
}

func (j *jsonRows) end() error {
	if j.count > 0 {
		return j.text(j.last)
	}
	if j.begin == "" {
		return nil
	}
	return j.text(j.begin + j.last)
}

func (j *jsonRows) text(s string) error {
	if _, err := io.WriteString(j.w, s); err != nil {
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

// csvRows writes records, behind one with the names of the columns.
type csvRows struct {
	w      *csv.Writer
	shown  func(string) string
	record []string
}

func newCSVRows(a *verb.App, p *output.Printer, columns []*reevev1.SQLColumn) (*csvRows, error) {
	// What goes to a program is as it is; a terminal could be told things.
	c := &csvRows{w: csv.NewWriter(p.Writer), shown: func(s string) string { return s }, record: make([]string, len(columns))}
	if verb.IsTerminal(a.Stdout) {
		c.shown = output.Escape
	}
	if !p.NoHeaders {
		for i, column := range columns {
			c.record[i] = c.shown(column.GetName())
		}
		if err := c.w.Write(c.record); err != nil {
			return nil, fmt.Errorf("writing output: %w", err)
		}
	}
	return c, nil
}

func (c *csvRows) write(rows []*structpb.ListValue) error {
	for _, row := range rows {
		for i := range c.record {
			c.record[i] = c.shown(verb.ValueText(valueAt(row, i)))
		}
		if err := c.w.Write(c.record); err != nil {
			return fmt.Errorf("writing output: %w", err)
		}
	}
	return c.end()
}

func (c *csvRows) end() error {
	c.w.Flush()
	if err := c.w.Error(); err != nil {
		return fmt.Errorf("writing output: %w", err)
	}
	return nil
}

// valueAt returns a value of a row, which is null if the server left it out.
func valueAt(row *structpb.ListValue, i int) *structpb.Value {
	if i < len(row.GetValues()) {
		return row.GetValues()[i]
	}
	return structpb.NewNullValue()
}
