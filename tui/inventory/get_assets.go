// Package inventory has the verbs that show assets, their types, history and events, and what was saved to be asked again.
package inventory

import (
	"context"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/tui/client"
	"github.com/reeve-cloud/reeve/tui/output"
	"github.com/reeve-cloud/reeve/tui/verb"
)

type getAssetsOptions struct {
	verb.SiteListOptions
	verb.SelectOptions
	sort                 string
	columns              []string
	full, count, explain bool
	watch, noDefault     bool
	widgets              bool
}

// GetAssetsCommand returns the verb get assets.
func GetAssetsCommand(a *verb.App) *cobra.Command {
	var o getAssetsOptions
	cmd := &cobra.Command{
		Use:   "assets",
		Short: "List the assets",
		Long: `List the assets, ordered by site, type and uid. The deleted are left out unless
--state or the filter asks for them. With --type the table has the columns of that
type; its name may be the whole of it, or its end, or the plural of that, in any case.
If a saved query is the default of the type, tables have its columns, sorting and filter,
unless those are given here; a line on standard error says so.
docs/query.md has more examples.`,
		Example: `  reeve get assets --site seoul-1 --type openstack.compute.Server
  reeve get assets -l 'type:pod status!=Running' --sort 'created desc' --limit 20
  reeve get assets -l 'spec.nodeName=n7' --columns name,status,spec.nodeName -o csv
  reeve get assets --type pods --as-of -7d --count
  reeve get assets --state disconnected,deleted -o wide
  reeve get assets --full -o json
  reeve get assets -l 'type:pod status=Pending' --watch`,
		Args: verb.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return getAssets(cmd.Context(), a, o) },
	}
	o.OutputOptions.AddTo(cmd, output.Table, output.Wide, output.JSON, output.JSONL, output.YAML, output.CSV, output.Name)
	o.AddNoHeaders(cmd)
	o.SelectOptions.AddTo(a, cmd)
	f := cmd.Flags()
	f.IntVar(&o.Limit, "limit", 0, "show at most this many; 0 is all")
	f.StringVar(&o.sort, "sort", "", "fields to sort by, parted by commas, each perhaps with desc behind it: 'spec.nodeName, created desc'")
	f.StringSliceVar(&o.columns, "columns", nil, "fields to show: name, labels.app, spec.nodeName, status.conditions[type=Ready].status ...")
	f.BoolVar(&o.count, "count", false, "show only how many there are")
	f.BoolVar(&o.explain, "explain", false, "show how the list would be made, and the SQL, and do not make it")
	f.BoolVar(&o.full, "full", false, "with the documents (json, jsonl and yaml)")
	f.BoolVar(&o.widgets, "widgets", false, "show the numbers and charts that the type's layout has of all its assets, in place of the list")
	f.BoolVar(&o.noDefault, "no-default", false, "leave the saved query out that is the default of the type")
	f.BoolVarP(&o.watch, "watch", "w", false, "go on with what enters the list, changes in it and leaves it, until interrupted")
	for _, other := range []string{"limit", "sort", "columns", "count", "explain", "state", "as-of"} {
		cmd.MarkFlagsMutuallyExclusive("watch", other)
	}
	for _, other := range []string{"limit", "sort", "columns", "count", "explain", "state", "as-of", "watch", "filter", "site", "full"} {
		cmd.MarkFlagsMutuallyExclusive("widgets", other) // widgets say themselves which assets they are of
	}
	a.Complete(cmd, "state", func(context.Context) []string { return verb.StateNames })
	return cmd
}

func getAssets(ctx context.Context, a *verb.App, o getAssetsOptions) error {
	view, err := o.View(o.full)
	if err != nil {
		return err
	}
	p, s, err := o.Open(a)
	if err != nil {
		return err
	}
	defer s.Close()
	columns := assetColumns(p)
	if o.widgets && (o.Type == "" || !verb.IsTable(p)) {
		return verb.Usagef("--widgets: goes with --type, and with -o table")
	}
	if o.Type != "" {
		t, err := s.AssetType(ctx, o.SelectOptions.Site, o.Type)
		if err != nil {
			return err
		}
		o.Type = t.GetName()
		l, err := layoutOf(t)
		if err != nil {
			// It was checked where it was taken in, so it is newer than this client.
			a.Note("warning: showing the columns that every type has: %v", err)
		}
		if o.widgets {
			if l == nil || len(l.Widgets) == 0 {
				a.Note("the layout of type %s has no widgets", o.Type)
				return nil
			}
			return widgets(ctx, s, p, o.Type, l)
		}
		if l != nil && verb.IsTable(p) && len(o.columns) == 0 && !o.count && !o.explain {
			columns, view = layoutColumns(p, l), reevev1.AssetView_ASSET_VIEW_FULL
			o.Page = verb.DocumentPage
		}
		if verb.IsTable(p) && !o.noDefault && !o.count && !o.explain && !o.watch {
			q, err := defaultQuery(ctx, s, o.Type)
			if err != nil {
				return s.Explain(err)
			}
			if o.begin(a, q) {
				columns, view = savedColumns(p, q.GetColumns(), l), reevev1.AssetView_ASSET_VIEW_FULL
				o.Page = verb.DocumentPage
			}
		}
	}
	selection, err := a.Selection(&o.SelectOptions)
	if err != nil {
		return err
	}
	switch {
	case o.watch:
		return watchAssets(ctx, a, s, p, &o)
	case o.explain:
		return explainList(ctx, s, p, &reevev1.ExplainQueryRequest{Selection: selection, OrderBy: o.sort, Columns: o.columns})
	case o.count:
		return countAssets(ctx, s, p, selection)
	case len(o.columns) > 0:
		columns = chosenColumns(o.columns)
	}
	warned := false
	pages := func(ctx context.Context, size int32, token string) ([]*reevev1.Asset, string, error) {
		answer, err := s.Inventory.ListAssets(ctx, connect.NewRequest(&reevev1.ListAssetsRequest{
			PageSize:  size,
			PageToken: token,
			Site:      selection.GetSite(),
			Type:      selection.GetType(),
			States:    selection.GetStates(),
			View:      view,
			Filter:    selection.GetFilter(),
			OrderBy:   o.sort,
			Columns:   o.columns,
			AsOf:      selection.GetAsOf(),
		}))
		if err != nil {
			return nil, "", err
		}
		if !warned {
			a.Warnings(o.Filter, answer.Msg.GetWarnings())
			warned = true
		}
		return answer.Msg.GetAssets(), answer.Msg.GetNextPageToken(), nil
	}
	o.SiteListOptions.Site = selection.GetSite()
	switch p.Format {
	case output.JSONL, output.Name, output.CSV:
		return streamAssets(ctx, s, p, o, columns, pages)
	}
	return verb.ListFrom(ctx, s, o.SiteListOptions, p, "assets", columns, pages)
}

// begin takes over what the default of a type says and the flags do not, and tells of it. It reports whether the columns
// are the query's.
func (o *getAssetsOptions) begin(a *verb.App, q *reevev1.SavedQuery) (columns bool) {
	var taken []string
	if filter := q.GetSelection().GetFilter(); filter != "" && o.Filter == "" && len(o.States) == 0 {
		o.Filter = filter
		taken = append(taken, "filter '"+filter+"'")
	}
	if states := q.GetSelection().GetStates(); len(states) > 0 && len(o.States) == 0 {
		for _, st := range states {
			o.States = append(o.States, strings.ToLower(verb.StateName(st)))
		}
		taken = append(taken, "states "+strings.Join(o.States, ", "))
	}
	if q.GetOrderBy() != "" && o.sort == "" {
		o.sort = q.GetOrderBy()
		taken = append(taken, "sorted by "+o.sort)
	}
	if columns = len(q.GetColumns()) > 0 && len(o.columns) == 0; columns {
		taken = append(taken, fmt.Sprintf("%d columns", len(q.GetColumns())))
	}
	if len(taken) > 0 {
		a.Note("as the saved query %q has it, the default of the type: %s (--no-default leaves it out)", q.GetName(), strings.Join(taken, ", "))
	}
	return columns
}

// watchAssets shows a list, and how it changes.
func watchAssets(ctx context.Context, a *verb.App, s *verb.Session, p *output.Printer, o *getAssetsOptions) error {
	switch p.Format {
	case output.YAML, output.CSV, output.Wide:
		return verb.Usagef("--watch: goes with -o table, json, jsonl and name")
	}
	// A watch over a word that is wrong would be silent for ever.
	if err := s.CheckSite(ctx, o.SelectOptions.Site); err != nil {
		return err
	}
	view := reevev1.AssetView_ASSET_VIEW_BASIC
	if o.full {
		view = reevev1.AssetView_ASSET_VIEW_FULL
	}
	return watchSet(ctx, s, p, &reevev1.WatchAssetsRequest{Filter: o.Filter, Site: o.SelectOptions.Site, Type: o.Type, View: view, Initial: true})
}

// streamAssets writes assets in a format that has a line for each.
func streamAssets(ctx context.Context, s *verb.Session, p *output.Printer, o getAssetsOptions, columns []output.Column[*reevev1.Asset],
	pages client.PageFunc[*reevev1.Asset]) error {
	size := o.Page
	if size == 0 {
		size = verb.DefaultPage
	}
	headings := make([]string, 0, len(columns))
	for _, c := range columns {
		headings = append(headings, c.Heading)
	}
	if len(o.columns) > 0 {
		headings = o.columns
	}
	if p.Format == output.CSV {
		if err := s.App.WriteCSV(p, headings, nil); err != nil {
			return err
		}
	}
	return s.Explain(client.Pages(ctx, o.Limit, size, pages, func(page []*reevev1.Asset) error {
		var rows [][]string
		for _, asset := range page {
			switch p.Format {
			case output.JSONL:
				if err := p.Line(asset); err != nil {
					return err
				}
			case output.Name:
				if err := p.Lines([]string{asset.GetUid()}); err != nil {
					return err
				}
			default:
				row := make([]string, len(columns))
				for i, c := range columns {
					row[i] = c.Value(asset)
				}
				rows = append(rows, row)
			}
		}
		return s.App.WriteCSV(p, nil, rows)
	}))
}

// chosenColumns are those that were asked for.
func chosenColumns(fields []string) []output.Column[*reevev1.Asset] {
	columns := make([]output.Column[*reevev1.Asset], len(fields))
	for i, f := range fields {
		columns[i] = output.Column[*reevev1.Asset]{Heading: strings.ToUpper(f), Value: func(asset *reevev1.Asset) string {
			if i >= len(asset.GetColumns()) {
				return "" // a server of the version before
			}
			return strings.Join(asset.GetColumns()[i].GetValues(), ", ")
		}}
	}
	return columns
}

func countAssets(ctx context.Context, s *verb.Session, p *output.Printer, selection *reevev1.AssetSelection) error {
	answer, err := s.Query.CountAssets(ctx, connect.NewRequest(&reevev1.CountAssetsRequest{Selection: selection}))
	if err != nil {
		return s.Explain(err)
	}
	s.App.Warnings(selection.GetFilter(), answer.Msg.GetFilter().GetWarnings())
	switch p.Format {
	case output.JSON, output.YAML:
		return p.Document(answer.Msg)
	case output.JSONL:
		return p.Line(answer.Msg)
	}
	return p.Lines([]string{fmt.Sprint(answer.Msg.GetCount())})
}

// explainList shows how a list would be made.
func explainList(ctx context.Context, s *verb.Session, p *output.Printer, r *reevev1.ExplainQueryRequest) error {
	answer, err := s.Query.ExplainQuery(ctx, connect.NewRequest(r))
	if err != nil {
		return s.Explain(err)
	}
	s.App.Warnings(r.GetSelection().GetFilter(), answer.Msg.GetFilter().GetWarnings())
	if !verb.IsTable(p) {
		return p.Document(answer.Msg)
	}
	lines := answer.Msg.GetSteps()
	for _, st := range answer.Msg.GetStatements() {
		lines = append(lines, "", "-- "+st.GetPurpose(), st.GetSql())
		for _, v := range st.GetParameters() {
			lines = append(lines, fmt.Sprintf("-- %s %s = %s", v.GetName(), v.GetType(), v.GetValue()))
		}
	}
	return p.Lines(lines)
}

func assetColumns(p *output.Printer) []output.Column[*reevev1.Asset] {
	return []output.Column[*reevev1.Asset]{
		{Heading: "SITE", Value: (*reevev1.Asset).GetSite},
		{Heading: "TYPE", Value: (*reevev1.Asset).GetType},
		{Heading: "NAME", Value: (*reevev1.Asset).GetName},
		{Heading: "UID", Value: (*reevev1.Asset).GetUid},
		{
			Heading: "STATE",
			Value:   func(a *reevev1.Asset) string { return verb.StateName(a.GetState()) },
			Color:   func(a *reevev1.Asset) output.Color { return verb.StateColor(a.GetState()) },
		},
		{Heading: "SINCE", Value: func(a *reevev1.Asset) string { return p.Time(stateSince(a)) }},
		{Heading: "STATUS", Value: (*reevev1.Asset).GetStatus},
		{Heading: "CHANGED", Value: func(a *reevev1.Asset) string { return p.Time(a.GetObserveTime()) }},
		{Heading: "CREATED", Only: output.Wide, Value: func(a *reevev1.Asset) string { return p.Time(a.GetCreateTime()) }},
		{Heading: "UPDATED", Only: output.Wide, Value: func(a *reevev1.Asset) string { return p.Time(a.GetUpdateTime()) }},
		{Heading: "REGION", Only: output.Wide, Value: (*reevev1.Asset).GetRegion},
		{Heading: "PROJECT", Only: output.Wide, Value: (*reevev1.Asset).GetProject},
		{Heading: "SCOPE", Only: output.Wide, Value: (*reevev1.Asset).GetScope},
		{Heading: "AGENT", Only: output.Wide, Value: (*reevev1.Asset).GetAgentId},
	}
}

// stateSince returns since when an asset has been deleted or disconnected.
func stateSince(a *reevev1.Asset) *timestamppb.Timestamp {
	switch a.GetState() {
	case reevev1.State_STATE_DELETED:
		return a.GetDeleteTime()
	case reevev1.State_STATE_DISCONNECTED:
		return a.GetDisconnectTime()
	default:
		return nil
	}
}
