package question

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
	"github.com/reeve-cloud/reeve/tui/inventory"
	"github.com/reeve-cloud/reeve/tui/verb"
)

// exportFormats are the formats as a user gives them.
var exportFormats = []string{"csv", "jsonl", "parquet", "xlsx"}

// exportOptions are the flags that all exports have.
type exportOptions struct {
	format, out, timeZone string
	plain                 bool
}

func (o *exportOptions) addTo(a *verb.App, cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&o.format, "output", "o", "", "format: csv, jsonl, parquet, xlsx (default: by the end of --out, else csv)")
	flags.StringVar(&o.out, "out", "-", "file to write; - is standard output")
	flags.StringVar(&o.timeZone, "time-zone", "UTC", "time zone of times, as in Asia/Seoul")
	flags.BoolVar(&o.plain, "plain", false, "leave texts in csv as they are, though a spreadsheet may take them for formulas")
	a.Complete(cmd, "output", func(context.Context) []string { return exportFormats })
	_ = cmd.MarkFlagFilename("out")
}

// ExportCommand returns the verb export.
func ExportCommand(a *verb.App) *cobra.Command {
	return verb.Group("export", "Write assets, changes or what a query answers into a file: csv, jsonl, parquet, xlsx", exportAssetsCommand(a), exportChangesCommand(a),
		exportQueryCommand(a))
}

type exportAssetsOptions struct {
	exportOptions
	site, filter, sort, asOf string
	types, states, columns   []string
}

func exportAssetsCommand(a *verb.App) *cobra.Command {
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
		Args: verb.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return exportAssets(cmd.Context(), a, o) },
	}
	o.addTo(a, cmd)
	cmd.Flags().StringVar(&o.site, "site", "", "only this site")
	cmd.Flags().StringVarP(&o.filter, "filter", "l", "", "only what passes this (docs/filter.md)")
	cmd.Flags().StringVar(&o.sort, "sort", "", "fields to sort by, parted by commas, each perhaps with desc behind it")
	cmd.Flags().StringVar(&o.asOf, "as-of", "", "as of this moment: a date, a time, or a span such as -7d")
	cmd.Flags().StringSliceVar(&o.types, "type", nil, "only this type, or these in xlsx (reeve get types lists them)")
	cmd.Flags().StringSliceVar(&o.states, "state", nil, "only these states: active, disconnected, deleted")
	cmd.Flags().StringSliceVar(&o.columns, "columns", nil, "columns: PATH or PATH=HEADING")
	a.Complete(cmd, "site", a.CompleteSites)
	a.Complete(cmd, "type", a.CompleteTypes)
	a.Complete(cmd, "state", func(context.Context) []string { return verb.StateNames })
	return cmd
}

func exportAssets(ctx context.Context, a *verb.App, o exportAssetsOptions) error {
	states, err := verb.ParseStates(o.states)
	if err != nil {
		return err
	}
	format, err := o.check(a)
	if err != nil {
		return err
	}
	if len(o.types) > 1 && format != reevev1.ExportFormat_EXPORT_FORMAT_XLSX {
		return verb.Usagef("--type: only -o xlsx takes several types, a sheet each")
	}
	at, err := a.AsOf(o.asOf)
	if err != nil {
		return err
	}
	columns := inventory.ParseColumns(o.columns)
	s, err := a.Open()
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
			t, err := s.AssetType(ctx, o.site, name)
			if err != nil {
				return err
			}
			name = t.GetName()
		}
		request.Tables = append(request.Tables, &reevev1.ExportTable{Rows: &reevev1.ExportTable_Assets{Assets: &reevev1.ExportAssets{
			Site: o.site, Type: name, States: states, Columns: columns, Filter: o.filter, OrderBy: o.sort, AsOf: at,
		}}})
	}
	return export(ctx, a, s, request, o.out)
}

func exportChangesCommand(a *verb.App) *cobra.Command {
	var o exportOptions
	var all verb.ChangesOptions
	var site, typ string
	cmd := &cobra.Command{
		Use:   "changes [UID]",
		Short: "Write all versions of an asset, or what changed in all assets, into a file, the newest first",
		Example: `  reeve export changes 5f0c... --site seoul-1 --type openstack.compute.Server --out history.xlsx
  reeve export changes --since 7d --type pods --operation deleted --out deleted.csv`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return verb.Usagef("%s takes at most one argument, UID; there are %d", cmd.CommandPath(), len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return exportEstateChanges(cmd.Context(), a, o, all, site, typ)
			}
			if err := all.OfOne(cmd); err != nil {
				return err
			}
			return exportChanges(cmd.Context(), a, o, site, typ, args[0])
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	o.addTo(a, cmd)
	all.AddTo(cmd)
	cmd.Flags().StringVar(&site, "site", "", "only this site; with a UID the asset's, where more than one has it")
	cmd.Flags().StringVar(&typ, "type", "", "only this type; with a UID the asset's, where more than one has it")
	a.Complete(cmd, "site", a.CompleteSites)
	a.Complete(cmd, "type", a.CompleteTypes)
	return cmd
}

// exportEstateChanges exports what changed in the whole inventory.
func exportEstateChanges(ctx context.Context, a *verb.App, o exportOptions, all verb.ChangesOptions, site, typ string) error {
	format, err := o.check(a)
	if err != nil {
		return err
	}
	r, err := all.Request(a)
	if err != nil {
		return err
	}
	s, err := a.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.CheckSite(ctx, site); err != nil {
		return err
	}
	if typ != "" {
		t, err := s.AssetType(ctx, site, typ)
		if err != nil {
			return err
		}
		typ = t.GetName()
	}
	r.Site, r.Type = site, typ
	return export(ctx, a, s, &reevev1.ExportRequest{Format: format, TimeZone: o.timeZone, Plain: o.plain, Tables: []*reevev1.ExportTable{{
		Rows: &reevev1.ExportTable_EstateChanges{EstateChanges: r},
	}}}, o.out)
}

func exportChanges(ctx context.Context, a *verb.App, o exportOptions, site, typ, uid string) error {
	format, err := o.check(a)
	if err != nil {
		return err
	}
	s, err := a.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	if typ != "" {
		t, err := s.AssetType(ctx, site, typ)
		if err != nil {
			return err
		}
		typ = t.GetName()
	}
	found, err := s.Inventory.GetAsset(ctx, connect.NewRequest(&reevev1.GetAssetRequest{Uid: uid, Site: site, Type: typ}))
	if err != nil {
		return s.Explain(err)
	}
	asset := found.Msg.GetAsset()
	return export(ctx, a, s, &reevev1.ExportRequest{Format: format, TimeZone: o.timeZone, Plain: o.plain, Tables: []*reevev1.ExportTable{{
		Rows: &reevev1.ExportTable_Changes{Changes: &reevev1.ExportChanges{Site: asset.GetSite(), Type: asset.GetType(), Uid: asset.GetUid()}},
	}}}, o.out)
}

// check returns the format.
func (o *exportOptions) check(a *verb.App) (reevev1.ExportFormat, error) {
	name := o.format
	if name == "" {
		name = strings.ToLower(strings.TrimPrefix(filepath.Ext(o.out), "."))
		if !slices.Contains(exportFormats, name) {
			name = "csv"
		}
	}
	if !slices.Contains(exportFormats, name) {
		return 0, verb.Usagef("--output %q: must be csv, jsonl, parquet or xlsx%s", name, nearest.Hint(name, exportFormats))
	}
	if o.out == "" {
		return 0, verb.Usagef("--out: is empty: name a file, or - for standard output")
	}
	if o.out == "-" && verb.IsTerminal(a.Stdout) {
		// What strangers named could tell the terminal things.
		return 0, verb.Usagef("--out is missing: a terminal is no place for an export; reeve get assets shows a list")
	}
	return reevev1.ExportFormat(reevev1.ExportFormat_value["EXPORT_FORMAT_"+strings.ToUpper(name)]), nil
}

// export runs an export. The file is there only when it is whole.
func export(ctx context.Context, a *verb.App, s *verb.Session, request *reevev1.ExportRequest, path string) error {
	if path == "-" {
		return receive(ctx, a, s, request, a.Stdout)
	}
	partial := path + ".partial"
	file, err := os.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return fmt.Errorf("writing the export: %w", err)
	}
	if err := receive(ctx, a, s, request, file); err != nil {
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
func receive(ctx context.Context, a *verb.App, s *verb.Session, request *reevev1.ExportRequest, out io.Writer) error {
	stream, err := s.Export.Export(ctx, connect.NewRequest(request))
	if err != nil {
		return s.Explain(err)
	}
	defer stream.Close()
	bar := progressLine{app: a, shown: verb.IsTerminal(a.Stderr), began: a.Now()}
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
		return s.Explain(err)
	}
	if summary == nil || !bytes.Equal(summary.GetSha256(), sum.Sum(nil)) {
		return errors.New("the export is not whole: the connection ended too early, or changed it; try again")
	}
	bar.clear()
	for _, note := range summary.GetNotes() {
		a.Note("warning: %s", note)
	}
	if summary.GetRows() == 0 {
		a.Note("nothing found: the file has a heading only")
	}
	return nil
}

// progressLine is a line on a terminal that changes.
type progressLine struct {
	app   *verb.App
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

func exportQueryCommand(a *verb.App) *cobra.Command {
	var o exportOptions
	asOf := ""
	cmd := &cobra.Command{
		Use:     "query QUERY",
		Short:   "Write what a saved query answers into a file; QUERY is its name, id or link",
		Example: `  reeve export query 'Servers in ERROR' --out errors.xlsx`,
		Args:    verb.Exactly("QUERY"),
		RunE:    func(cmd *cobra.Command, args []string) error { return exportQuery(cmd.Context(), a, o, args[0], asOf) },
	}
	o.addTo(a, cmd)
	cmd.Flags().StringVar(&asOf, "as-of", "", "as of this moment: a date, a time, or a span such as -7d")
	cmd.ValidArgsFunction = verb.First(func(ctx context.Context) []string { return inventory.CompleteQueries(ctx, a) })
	return cmd
}

func exportQuery(ctx context.Context, a *verb.App, o exportOptions, name, asOf string) error {
	format, err := o.check(a)
	if err != nil {
		return err
	}
	at, err := a.AsOf(asOf)
	if err != nil {
		return err
	}
	s, err := a.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	q, err := inventory.SavedQuery(ctx, s, name)
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
	return export(ctx, a, s, &reevev1.ExportRequest{Format: format, TimeZone: o.timeZone, Plain: o.plain, Tables: []*reevev1.ExportTable{table}},
		o.out)
}
