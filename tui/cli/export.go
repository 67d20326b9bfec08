package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/nearest"
)

// exportFormats are the formats as a user gives them.
var exportFormats = []string{"csv", "jsonl", "parquet", "xlsx"}

// exportOptions are the flags that all exports have.
type exportOptions struct {
	format, out, timeZone string
	plain                 bool
}

func (o *exportOptions) addTo(a *app, cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&o.format, "output", "o", "", "format: csv, jsonl, parquet, xlsx (default: by the end of --out, else csv)")
	flags.StringVar(&o.out, "out", "-", "file to write; - is standard output")
	flags.StringVar(&o.timeZone, "time-zone", "UTC", "time zone of times, as in Asia/Seoul")
	flags.BoolVar(&o.plain, "plain", false, "leave texts in csv as they are, though a spreadsheet may take them for formulas")
	a.complete(cmd, "output", func(context.Context) []string { return exportFormats })
	_ = cmd.MarkFlagFilename("out")
}

func (a *app) exportCommand() *cobra.Command {
	return group("export", "Write assets, changes or what a query answers into a file: csv, jsonl, parquet, xlsx", a.exportAssetsCommand(), a.exportChangesCommand(),
		a.exportQueryCommand())
}

type exportAssetsOptions struct {
	exportOptions
	site, filter, sort, asOf string
	types, states, columns   []string
}

func (a *app) exportAssetsCommand() *cobra.Command {
	var o exportAssetsOptions
	cmd := &cobra.Command{
		Use:   "assets",
		Short: "Write assets into a file",
		Long: `Write assets that pass a filter into a file. The deleted are left out unless --state or
the filter asks for them. With --type the columns are those of the type, with several
--type an Excel workbook has a sheet for each. --columns says which instead: paths of
the document, or @name and the like, each with =HEADING if you like.
docs/export.md says what values become in each format.`,
		Example: `  reeve export assets --type pods --out pods.xlsx --time-zone Asia/Seoul
  reeve export assets --type servers --type volumes --out cloud.xlsx
  reeve export assets --columns @site,@name,spec.nodeName=Node -o csv > pods.csv
  reeve export assets --filter 'type:server status=ERROR' --sort 'created desc' --as-of -7d --out errors.xlsx
  reeve export assets --site seoul-1 --out assets.parquet`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.exportAssets(cmd.Context(), o) },
	}
	o.addTo(a, cmd)
	cmd.Flags().StringVar(&o.site, "site", "", "only this site")
	cmd.Flags().StringVarP(&o.filter, "filter", "l", "", "only what passes this (docs/filter.md)")
	cmd.Flags().StringVar(&o.sort, "sort", "", "fields to sort by, parted by commas, each perhaps with desc behind it")
	cmd.Flags().StringVar(&o.asOf, "as-of", "", "as of this moment: a date, a time, or a span such as -7d")
	cmd.Flags().StringSliceVar(&o.types, "type", nil, "only this type, or these in xlsx (reeve get types lists them)")
	cmd.Flags().StringSliceVar(&o.states, "state", nil, "only these states: active, disconnected, deleted")
	cmd.Flags().StringSliceVar(&o.columns, "columns", nil, "columns: PATH or PATH=HEADING")
	a.complete(cmd, "site", a.completeSites)
	a.complete(cmd, "type", a.completeTypes)
	a.complete(cmd, "state", func(context.Context) []string { return stateNames })
	return cmd
}

func (a *app) exportAssets(ctx context.Context, o exportAssetsOptions) error {
	states, err := parseStates(o.states)
	if err != nil {
		return err
	}
	format, err := o.check(a)
	if err != nil {
		return err
	}
	if len(o.types) > 1 && format != reevev1.ExportFormat_EXPORT_FORMAT_XLSX {
		return usagef("--type: only -o xlsx takes several types, a sheet each")
	}
	at, err := a.asOf(o.asOf)
	if err != nil {
		return err
	}
	columns := parseColumns(o.columns)
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.Close()
	request := &reevev1.ExportRequest{Format: format, TimeZone: o.timeZone, Plain: o.plain}
	types := o.types
	if len(types) == 0 {
		types = []string{""}
	}
	for _, name := range types {
		if name != "" {
			t, err := s.assetType(ctx, o.site, name)
			if err != nil {
				return err
			}
			name = t.GetName()
		}
		request.Tables = append(request.Tables, &reevev1.ExportTable{Rows: &reevev1.ExportTable_Assets{Assets: &reevev1.ExportAssets{
			Site: o.site, Type: name, States: states, Columns: columns, Filter: o.filter, OrderBy: o.sort, AsOf: at,
		}}})
	}
	return a.export(ctx, s, request, o.out)
}

// parseColumns reads columns as users give them: PATH or PATH=HEADING.
func parseColumns(texts []string) (columns []*reevev1.ExportColumn) {
	for _, c := range texts {
		path, title, _ := strings.Cut(c, "=")
		// A = within brackets is the path's own: conditions[type=Ready].status=Ready.
		if open := strings.IndexByte(c, '['); open >= 0 && open < len(path) {
			end := strings.LastIndexByte(c, ']')
			var rest string
			rest, title, _ = strings.Cut(c[end+1:], "=")
			path = c[:end+1] + rest
		}
		columns = append(columns, &reevev1.ExportColumn{Path: path, Title: title})
	}
	return columns
}

func (a *app) exportChangesCommand() *cobra.Command {
	var o exportOptions
	var site, typ string
	cmd := &cobra.Command{
		Use:     "changes UID",
		Short:   "Write all versions of an asset into a file, the newest first",
		Example: `  reeve export changes 5f0c... --site seoul-1 --type openstack.compute.Server --out history.xlsx`,
		Args:    exactly("UID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.exportChanges(cmd.Context(), o, site, typ, args[0])
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	o.addTo(a, cmd)
	cmd.Flags().StringVar(&site, "site", "", "the asset's site, where more than one has the UID")
	cmd.Flags().StringVar(&typ, "type", "", "the asset's type, where more than one has the UID")
	a.complete(cmd, "site", a.completeSites)
	a.complete(cmd, "type", a.completeTypes)
	return cmd
}

func (a *app) exportChanges(ctx context.Context, o exportOptions, site, typ, uid string) error {
	format, err := o.check(a)
	if err != nil {
		return err
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.Close()
	if typ != "" {
		t, err := s.assetType(ctx, site, typ)
		if err != nil {
			return err
		}
		typ = t.GetName()
	}
	found, err := s.Inventory.GetAsset(ctx, connect.NewRequest(&reevev1.GetAssetRequest{Uid: uid, Site: site, Type: typ}))
	if err != nil {
		return s.explain(err)
	}
	asset := found.Msg.GetAsset()
	return a.export(ctx, s, &reevev1.ExportRequest{Format: format, TimeZone: o.timeZone, Plain: o.plain, Tables: []*reevev1.ExportTable{{
		Rows: &reevev1.ExportTable_Changes{Changes: &reevev1.ExportChanges{Site: asset.GetSite(), Type: asset.GetType(), Uid: asset.GetUid()}},
	}}}, o.out)
}

// check returns the format.
func (o *exportOptions) check(a *app) (reevev1.ExportFormat, error) {
	name := o.format
	if name == "" {
		name = strings.ToLower(strings.TrimPrefix(filepath.Ext(o.out), "."))
		if !slices.Contains(exportFormats, name) {
			name = "csv"
		}
	}
	if !slices.Contains(exportFormats, name) {
		return 0, usagef("--output %q: must be csv, jsonl, parquet or xlsx%s", name, nearest.Hint(name, exportFormats))
	}
	if o.out == "" {
		return 0, usagef("--out: is empty: name a file, or - for standard output")
	}
	if o.out == "-" && isTerminal(a.Stdout) {
		// What strangers named could tell the terminal things.
		return 0, usagef("--out is missing: a terminal is no place for an export; reeve get assets shows a list")
	}
	return reevev1.ExportFormat(reevev1.ExportFormat_value["EXPORT_FORMAT_"+strings.ToUpper(name)]), nil
}

// export runs an export. The file is there only when it is whole.
func (a *app) export(ctx context.Context, s *session, request *reevev1.ExportRequest, path string) error {
	if path == "-" {
		return a.receive(ctx, s, request, a.Stdout)
	}
	partial := path + ".partial"
	file, err := os.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return fmt.Errorf("writing the export: %w", err)
	}
	if err := a.receive(ctx, s, request, file); err != nil {
		_ = file.Close()
		_ = os.Remove(partial)
		return err
	}
	if err := errors.Join(file.Sync(), file.Close(), os.Rename(partial, path)); err != nil {
		_ = os.Remove(partial)
		return fmt.Errorf("writing the export: %w", err)
	}
	return nil
}

// receive writes an export to out, and tells people how far it is.
func (a *app) receive(ctx context.Context, s *session, request *reevev1.ExportRequest, out io.Writer) error {
	stream, err := s.Export.Export(ctx, connect.NewRequest(request))
	if err != nil {
		return s.explain(err)
	}
	defer stream.Close()
	bar := progressLine{app: a, shown: isTerminal(a.Stderr), began: a.Now()}
	defer bar.clear()
	sum := sha256.New()
	var summary *reevev1.ExportSummary
	for stream.Receive() {
		m := stream.Msg()
		if _, err := io.MultiWriter(out, sum).Write(m.GetData()); err != nil {
			return fmt.Errorf("writing the export: %w", err)
		}
		bar.show(m)
		if m.GetSummary() != nil {
			summary = m.GetSummary()
		}
	}
	if err := stream.Err(); err != nil {
		return s.explain(err)
	}
	if summary == nil || !bytes.Equal(summary.GetSha256(), sum.Sum(nil)) {
		return errors.New("the export is not whole: the connection ended too early, or changed it; try again")
	}
	bar.clear()
	for _, note := range summary.GetNotes() {
		a.note("warning: %s", note)
	}
	if summary.GetRows() == 0 {
		a.note("nothing found: the file has a heading only")
	}
	return nil
}

// progressLine is a line on a terminal that changes.
type progressLine struct {
	app   *app
	shown bool
	began time.Time
	bytes int64
	rows  int64
	drawn time.Time
}

func (p *progressLine) show(m *reevev1.ExportResponse) {
	p.bytes += int64(len(m.GetData()))
	p.rows = max(p.rows, m.GetProgress().GetRows())
	if now := p.app.Now(); p.shown && now.Sub(p.drawn) >= 100*time.Millisecond {
		p.drawn = now
		line := fmt.Sprintf("%d rows", p.rows)
		if total := m.GetProgress().GetTotalRows(); total > 0 {
			line += fmt.Sprintf(" of %d", total)
		}
		_, _ = fmt.Fprintf(p.app.Stderr, "\r%s, %.1f MiB, %s\x1b[K", line, float64(p.bytes)/(1<<20), now.Sub(p.began).Round(time.Second))
	}
}

// clear takes the line away.
func (p *progressLine) clear() {
	if p.shown && !p.drawn.IsZero() {
		_, _ = fmt.Fprint(p.app.Stderr, "\r\x1b[K")
		p.drawn = time.Time{}
	}
}

func (a *app) exportQueryCommand() *cobra.Command {
	var o exportOptions
	asOf := ""
	cmd := &cobra.Command{
		Use:     "query QUERY",
		Short:   "Write what a saved query answers into a file; QUERY is its name, id or link",
		Example: `  reeve export query 'Servers in ERROR' --out errors.xlsx`,
		Args:    exactly("QUERY"),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.exportQuery(cmd.Context(), o, args[0], asOf) },
	}
	o.addTo(a, cmd)
	cmd.Flags().StringVar(&asOf, "as-of", "", "as of this moment: a date, a time, or a span such as -7d")
	cmd.ValidArgsFunction = first(a.completeQueries)
	return cmd
}

func (a *app) exportQuery(ctx context.Context, o exportOptions, name, asOf string) error {
	format, err := o.check(a)
	if err != nil {
		return err
	}
	at, err := a.asOf(asOf)
	if err != nil {
		return err
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.Close()
	q, err := s.savedQuery(ctx, name)
	if err != nil {
		return err
	}
	selection := q.GetSelection()
	if selection == nil {
		selection = &reevev1.AssetSelection{}
	}
	if at != nil {
		selection.AsOf = at
	}
	table := &reevev1.ExportTable{Name: q.GetName()}
	if q.GetAnalysis() != nil {
		q.Analysis.Selection = selection
		table.Rows = &reevev1.ExportTable_Analysis{Analysis: q.GetAnalysis()}
	} else {
		assets := &reevev1.ExportAssets{Site: selection.GetSite(), Type: selection.GetType(), States: selection.GetStates(),
			Filter: selection.GetFilter(), AsOf: selection.GetAsOf(), OrderBy: q.GetOrderBy()}
		for _, c := range q.GetColumns() {
			assets.Columns = append(assets.Columns, &reevev1.ExportColumn{Path: c.GetPath(), Title: c.GetTitle()})
		}
		table.Rows = &reevev1.ExportTable_Assets{Assets: assets}
	}
	return a.export(ctx, s, &reevev1.ExportRequest{Format: format, TimeZone: o.timeZone, Plain: o.plain, Tables: []*reevev1.ExportTable{table}},
		o.out)
}
