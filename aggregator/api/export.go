package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/reeve-cloud/reeve/aggregator/export"
	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
	"github.com/reeve-cloud/reeve/pkg/layout"
	"github.com/reeve-cloud/reeve/pkg/version"
)

const (
	maxExportTables = 32
	// A message has so many bytes of the file at the most, about.
	exportChunk = 128 << 10
	// progressInterval is how often a client hears how far an export is.
	progressInterval = 300 * time.Millisecond
	// roomInterval is after how many rows an export looks whether the disk has room.
	roomInterval = 1024
)

// Export is the export service.
type Export struct {
	Inventory *Inventory
	Query     *Query
	Registry  *registry.Registry
	Jobs      *export.Jobs
	Logger    *slog.Logger
}

var _ reevev1connect.ExportServiceHandler = (*Export)(nil)

var exportFormats = map[reevev1.ExportFormat]export.Format{
	reevev1.ExportFormat_EXPORT_FORMAT_CSV: export.CSV, reevev1.ExportFormat_EXPORT_FORMAT_JSONL: export.JSONL,
	reevev1.ExportFormat_EXPORT_FORMAT_PARQUET: export.Parquet, reevev1.ExportFormat_EXPORT_FORMAT_XLSX: export.XLSX,
}

// Export implements the export service.
func (s *Export) Export(ctx context.Context, r *connect.Request[reevev1.ExportRequest],
	out *connect.ServerStream[reevev1.ExportResponse]) (err error) {
	m := r.Msg
	format, location, err := checkExport(m)
	if err != nil {
		return err
	}
	tables := make([]exportedTable, len(m.GetTables()))
	for i, t := range m.GetTables() {
		if tables[i], err = s.table(ctx, t); err != nil {
			return under(fmt.Sprintf("tables[%d]", i), err)
		}
	}
	asked, err := protojson.Marshal(m)
	if err != nil {
		return s.failed(ctx, err)
	}
	job, err := s.Jobs.Begin()
	if err != nil {
		return s.failed(ctx, err)
	}
	defer func() {
		if ended := job.End(); ended != nil {
			s.Logger.ErrorContext(ctx, "an export has left temporary files", "error", ended)
		}
	}()
	// First: what is not in the audit trail is not exported.
	if err := s.Registry.Store().Note(ctx, CallerFrom(ctx).Actor(), "export.run", string(asked)); err != nil {
		return s.failed(ctx, fmt.Errorf("putting an export into the audit trail: %w", err))
	}
	sender := &exportSender{out: out, sum: sha256.New()}
	began := time.Now()
	w, err := export.New(sender, format, export.Options{Location: location, Plain: m.GetPlain(), Spill: job.Dir, Facts: []export.Fact{
		{Name: "Asked", Value: string(asked)}, {Name: "By", Value: CallerFrom(ctx).User},
		{Name: "At", Value: began.In(location).Format(time.RFC3339)}, {Name: "Written by", Value: "Reeve " + version.String()},
	}})
	if err != nil {
		return s.failed(ctx, err)
	}
	defer func() {
		if given := w.Discard(); given != nil {
			s.Logger.ErrorContext(ctx, "giving up an export", "error", given)
		}
	}()
	for _, t := range tables {
		sender.total += t.total
	}
	for _, t := range tables {
		if err := sender.write(w, t, job); err != nil {
			return s.failed(ctx, err)
		}
	}
	summary, err := w.Close()
	for _, t := range tables {
		summary.Notes = append(t.notes, summary.Notes...)
	}
	if err == nil {
		err = sender.flush()
	}
	if err != nil {
		return s.failed(ctx, err)
	}
	s.Logger.InfoContext(ctx, "exported", "format", string(format), "rows", summary.Rows, "bytes", sender.bytes, "time", time.Since(began),
		"user", CallerFrom(ctx).User)
	return out.Send(&reevev1.ExportResponse{Summary: &reevev1.ExportSummary{
		Rows: summary.Rows, Bytes: sender.bytes, Sha256: sender.sum.Sum(nil), Notes: summary.Notes, EndTime: timestamp(time.Now()),
	}})
}

// checkExport checks what an export has beside its tables.
func checkExport(m *reevev1.ExportRequest) (export.Format, *time.Location, error) {
	format, ok := exportFormats[m.GetFormat()]
	if !ok {
		return "", nil, invalid("format", "%d is not a format of exports", m.GetFormat())
	}
	// "Local" would be the aggregator's own.
	if len(m.GetTimeZone()) > 64 || m.GetTimeZone() == "Local" {
		return "", nil, invalid("time_zone", "%q is not a time zone: it has an IANA name, as in Asia/Seoul", short(m.GetTimeZone()))
	}
	location, err := time.LoadLocation(m.GetTimeZone())
	if err != nil {
		return "", nil, invalid("time_zone", "%q is not a time zone: it has an IANA name, as in Asia/Seoul", short(m.GetTimeZone()))
	}
	switch n := len(m.GetTables()); {
	case n == 0:
		return "", nil, invalid("tables", "there must be one")
	case n > maxExportTables:
		return "", nil, invalid("tables", "%d of them: must be at most %d", n, maxExportTables)
	case n > 1 && format != export.XLSX:
		return "", nil, invalid("tables", "%d of them: a file of format %s has one; only xlsx has several", n, format)
	case m.GetPlain() && format != export.CSV:
		return "", nil, invalid("plain", "is for csv only: in %s no text is taken for a formula", format)
	}
	return format, location, nil
}

// table looks at what is asked for. Its rows are read when they are written.
func (s *Export) table(ctx context.Context, t *reevev1.ExportTable) (table exportedTable, err error) {
	if len(t.GetName()) > 256 {
		return table, invalid("name", "%d bytes: must be at most 256", len(t.GetName()))
	}
	switch {
	case t.GetAssets() != nil:
		if table, err = s.assets(ctx, t.GetAssets()); err != nil {
			return table, err
		}
	case t.GetChanges() != nil:
		c := t.GetChanges()
		for _, field := range []struct{ name, value string }{{"site", c.GetSite()}, {"type", c.GetType()}, {"uid", c.GetUid()}} {
			if field.value == "" {
				return table, invalid("changes."+field.name, "is missing: an export of changes is of one asset")
			}
		}
		table.name, table.columns = "changes", changeColumns
		table.rows = s.Inventory.changeRows(ctx, warehouse.AssetKey{Site: c.GetSite(), Type: c.GetType(), UID: c.GetUid()})
	case t.GetEstateChanges() != nil:
		if table, err = s.estateChanges(ctx, t.GetEstateChanges()); err != nil {
			return table, err
		}
	case t.GetAnalysis() != nil:
		if table, err = s.analysis(ctx, t.GetAnalysis()); err != nil {
			return table, err
		}
	default:
		return table, invalid("rows", "must say what the table has: assets, changes, estate_changes, or an analysis")
	}
	if t.GetName() != "" {
		table.name = t.GetName()
	}
	return table, nil
}

// assets looks at what is asked for of assets, and counts them.
func (s *Export) assets(ctx context.Context, a *reevev1.ExportAssets) (table exportedTable, err error) {
	q := query.ListQuery{Limit: 1, Total: query.TotalExact}
	q.Filter, q.Site, q.Type, q.Strict, q.Class = a.GetFilter(), a.GetSite(), a.GetType(), a.GetStrict(), query.Export
	// States that nobody asks for are left to the filter.
	if len(a.GetStates()) > 0 {
		if q.States, err = wantedStates(a.GetStates()); err != nil {
			return table, err
		}
	}
	if q.Moment, err = asOf(a.GetAsOf()); err != nil {
		return table, err
	}
	if q.Sort, err = query.ParseOrder(a.GetOrderBy()); err != nil {
		return table, queryError(ctx, s.Logger, err)
	}
	l, err := s.layoutOf(ctx, a.GetSite(), a.GetType())
	if err != nil {
		return table, err
	}
	columns, err := exportColumns(a.GetColumns(), l)
	if err != nil {
		return table, err
	}
	counted, err := s.Inventory.Engine.List(ctx, query.All(), q)
	if err != nil {
		return table, filterError("filter", a.GetFilter(), queryError(ctx, s.Logger, err))
	}
	table.name, table.total = "assets", counted.Total
	for _, w := range counted.Warnings {
		table.notes = append(table.notes, "filter: "+w.Error())
	}
	if a.GetType() != "" {
		table.name = a.GetType()
	}
	for _, c := range columns {
		table.columns = append(table.columns, c.Column)
		q.Documents = q.Documents || !strings.HasPrefix(c.of.Path, "@") || c.of.Path == "@document"
	}
	// The paths are checked. Were they again for each page, what the catalogue learns in
	// between would break an export off.
	q.Limit, q.Total, q.DocumentBytes, q.Strict = exportPage, query.TotalNone, pageBytes, false
	table.rows = assetRows(ctx, s.Inventory.Engine, q, columns)
	return table, nil
}

// layoutOf returns the layout of a type: nil if it has none.
func (s *Export) layoutOf(ctx context.Context, site, name string) (*layout.Layout, error) {
	if name == "" {
		return nil, nil
	}
	text, _, _, err := s.Inventory.Layouts.of(ctx, site, name)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	if len(text) == 0 {
		return nil, nil
	}
	l, err := layout.Parse(text)
	if err != nil {
		// It was checked where it was taken in.
		s.Logger.WarnContext(ctx, "an export has the columns that every asset has: its type's layout cannot be read", "type", name, "error", err)
		return nil, nil
	}
	return l, nil
}

// failed is the answer when an export fails, whose reason the log has.
func (s *Export) failed(ctx context.Context, err error) error {
	if e, ok := errors.AsType[*connect.Error](err); ok {
		return e
	}
	switch {
	case ctx.Err() != nil:
		return connect.NewError(connect.CodeCanceled, ctx.Err())
	case errors.Is(err, export.ErrBusy), errors.Is(err, export.ErrNoRoom):
		return connect.NewError(connect.CodeResourceExhausted, err)
	}
	if _, ok := errors.AsType[*query.LimitError](err); ok {
		return connect.NewError(connect.CodeResourceExhausted, err)
	}
	s.Logger.ErrorContext(ctx, "an export failed", "error", err)
	return connect.NewError(connect.CodeUnavailable, errors.New("the export failed; the aggregator's log says why"))
}

// exportSender is the file as it goes to the client.
type exportSender struct {
	out     *connect.ServerStream[reevev1.ExportResponse]
	pending []byte
	bytes   int64
	sum     hash.Hash
	told    time.Time
	// total is how many rows there are, about.
	total int64
}

// write writes a table, and tells how far it is.
func (s *exportSender) write(w *export.Writer, t exportedTable, job *export.Job) error {
	if err := w.Table(t.name, t.columns); err != nil {
		return err
	}
	for row, err := range t.rows {
		if err != nil {
			return err
		}
		if err := w.Row(row); err != nil {
			return err
		}
		if w.Rows()%roomInterval == 0 {
			if err := job.CheckRoom(); err != nil {
				return err
			}
		}
		if now := time.Now(); now.Sub(s.told) >= progressInterval {
			s.told = now
			if err := s.out.Send(&reevev1.ExportResponse{Progress: &reevev1.ExportProgress{Rows: w.Rows(), TotalRows: s.total}}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Write takes bytes of the file.
func (s *exportSender) Write(p []byte) (int, error) {
	s.sum.Write(p)
	s.bytes += int64(len(p))
	n := len(p)
	for len(p) > 0 {
		some := min(len(p), exportChunk-len(s.pending))
		s.pending, p = append(s.pending, p[:some]...), p[some:]
		if len(s.pending) == exportChunk {
			if err := s.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

func (s *exportSender) flush() error {
	if len(s.pending) == 0 {
		return nil
	}
	err := s.out.Send(&reevev1.ExportResponse{Data: s.pending})
	s.pending = s.pending[:0]
	return err
}

// under names the place of an invalid field.
func under(place string, err error) error {
	e, ok := errors.AsType[*connect.Error](err)
	if !ok || e.Code() != connect.CodeInvalidArgument {
		return err
	}
	named := connect.NewError(e.Code(), fmt.Errorf("%s.%w", place, e.Unwrap()))
	for _, d := range e.Details() {
		named.AddDetail(d)
	}
	return named
}
