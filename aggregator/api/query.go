package api

import (
	"context"
	"errors"
	"log/slog"

	"connectrpc.com/connect"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/query/suggest"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/sqlgate"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
)

const (
	// maxSQLRows and maxSQLBytes are what an answer has at most.
	maxSQLRows  = 100_000
	maxSQLBytes = 64 << 20
	// A message is sent when it has so many rows, or bytes.
	sqlPageRows  = 500
	sqlPageBytes = 256 << 10
)

// Query is the query service.
type Query struct {
	// Gate is where statements go through. It may be nil: none is run then, because of
	// what NoGate says.
	Gate   *sqlgate.Gate
	NoGate string
	Reader *warehouse.Reader
	// Engine answers questions about the assets.
	Engine *query.Engine
	// Completer completes filters.
	Completer *suggest.Completer
	Registry  *registry.Registry
	Logger    *slog.Logger
}

var _ reevev1connect.QueryServiceHandler = (*Query)(nil)

// RunSQL implements the query service.
func (s *Query) RunSQL(ctx context.Context, r *connect.Request[reevev1.RunSQLRequest],
	out *connect.ServerStream[reevev1.RunSQLResponse]) error {
	m := r.Msg
	if m.GetMaxRows() < 0 {
		return invalid("max_rows", "%d: must not be negative", m.GetMaxRows())
	}
	if len(m.GetStatement()) > sqlgate.MaxStatement {
		return invalid("statement", "%d bytes: must be at most %d", len(m.GetStatement()), sqlgate.MaxStatement)
	}
	most := min(int(m.GetMaxRows()), maxSQLRows)
	if most == 0 {
		most = maxSQLRows
	}
	if s.Gate == nil {
		return connect.NewError(connect.CodeFailedPrecondition, errors.New("SQL is off: "+s.NoGate))
	}
	// First: what is not in the audit trail is not run.
	if err := s.Registry.Store().Note(ctx, CallerFrom(ctx).Actor(), "sql.run", m.GetStatement()); err != nil {
		s.Logger.ErrorContext(ctx, "an SQL statement is not run: it cannot be put into the audit trail", "error", err)
		return connect.NewError(connect.CodeUnavailable,
			errors.New("the statement cannot be put into the audit trail, so it is not run; the aggregator's log says more"))
	}
	err := s.Gate.Run(ctx, m.GetStatement(), func(columns []sqlgate.Column, rows driver.Rows) error {
		return answerRows(columns, rows, most, out)
	})
	refusal, refused := errors.AsType[*sqlgate.Refusal](err)
	switch {
	case err == nil:
		return nil
	case refused:
		return invalid("statement", "%w", refusal)
	case errors.Is(err, sqlgate.ErrBusy):
		return connect.NewError(connect.CodeResourceExhausted, err)
	case ctx.Err() != nil:
		return connect.NewError(connect.CodeCanceled, ctx.Err())
	}
	if e, ok := errors.AsType[*connect.Error](err); ok {
		return e
	}
	s.Logger.ErrorContext(ctx, "the warehouse failed a query", "error", err)
	return connect.NewError(connect.CodeUnavailable, errors.New("the warehouse does not answer; the aggregator's log says why"))
}

// GetSQLSchema implements the query service.
func (s *Query) GetSQLSchema(ctx context.Context, _ *connect.Request[reevev1.GetSQLSchemaRequest]) (
	*connect.Response[reevev1.GetSQLSchemaResponse], error) {
	if s.Gate == nil {
		return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("SQL is off: "+s.NoGate))
	}
	types, err := s.Reader.Types(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, connect.NewError(connect.CodeCanceled, ctx.Err())
		}
		s.Logger.ErrorContext(ctx, "the warehouse failed a query", "error", err)
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("the warehouse does not answer; the aggregator's log says why"))
	}
	response := &reevev1.GetSQLSchemaResponse{Limits: &reevev1.SQLLimits{
		Time: durationpb.New(sqlgate.MaxTime), MemoryBytes: sqlgate.MaxMemory, Rows: maxSQLRows, AnswerBytes: maxSQLBytes,
		StatementBytes: sqlgate.MaxStatement, AtOnce: sqlgate.MaxRunning,
	}}
	for _, v := range warehouse.Views() {
		view := &reevev1.SQLView{Name: v.Name, Comment: v.Comment}
		for _, c := range v.Columns {
			view.Columns = append(view.Columns, &reevev1.SQLViewColumn{Name: c.Name, Type: types[v.Name][c.Name], Comment: c.Comment})
		}
		response.Views = append(response.Views, view)
	}
	return connect.NewResponse(response), nil
}

// answerRows sends rows, up to so many, in messages of moderate size.
func answerRows(columns []sqlgate.Column, rows driver.Rows, most int, out *connect.ServerStream[reevev1.RunSQLResponse]) error {
	types := rows.ColumnTypes()
	page := &reevev1.RunSQLResponse{}
	for _, c := range columns {
		page.Columns = append(page.Columns, &reevev1.SQLColumn{Name: c.Name, Type: c.Type})
	}
	sent, total, size := 0, 0, 0
	flush := func() error {
		if err := out.Send(page); err != nil {
			return err
		}
		sent, size, page = sent+1, 0, &reevev1.RunSQLResponse{}
		return nil
	}
	bytes := 0
	for rows.Next() {
		row, err := sqlRow(rows, types)
		if err != nil {
			return err
		}
		n := proto.Size(row)
		if total == most || bytes+n > maxSQLBytes {
			page.Truncated = true
			return flush()
		}
		page.Rows = append(page.Rows, row)
		total, size, bytes = total+1, size+n, bytes+n
		if len(page.Rows) == sqlPageRows || size >= sqlPageBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if rows.Err() != nil {
		return nil // Run says so
	}
	if sent == 0 || len(page.Rows) > 0 {
		return flush()
	}
	return nil
}

func sqlRow(rows driver.Rows, columns []driver.ColumnType) (*structpb.ListValue, error) {
	targets := scanTargets(columns)
	if err := rows.Scan(targets...); err != nil {
		return nil, err
	}
	row := &structpb.ListValue{Values: make([]*structpb.Value, len(targets))}
	for i, target := range targets {
		row.Values[i] = sqlValue(target, columns[i].DatabaseTypeName())
	}
	return row, nil
}
