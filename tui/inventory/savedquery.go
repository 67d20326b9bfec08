package inventory

import (
	"context"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/layout"
	"github.com/reeve-cloud/reeve/tui/client"
	"github.com/reeve-cloud/reeve/tui/output"
	"github.com/reeve-cloud/reeve/tui/verb"
)

// QueryCommand returns the verb query.
func QueryCommand(a *verb.App) *cobra.Command {
	remove := false
	star := &cobra.Command{
		Use:   "star QUERY",
		Short: "Star a query, so that it is close by",
		Args:  verb.Exactly("QUERY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withQuery(cmd.Context(), a, args[0], func(s *verb.Session, q *reevev1.SavedQuery) error {
				_, err := s.View.StarQuery(cmd.Context(), connect.NewRequest(&reevev1.StarQueryRequest{Id: q.GetId(), Starred: !remove}))
				return err
			})
		},
	}
	star.Flags().BoolVar(&remove, "remove", false, "take the star away")
	forget := &cobra.Command{
		Use:   "delete QUERY",
		Short: "Forget a query of yours, and its link",
		Args:  verb.Exactly("QUERY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withQuery(cmd.Context(), a, args[0], func(s *verb.Session, q *reevev1.SavedQuery) error {
				_, err := s.View.DeleteQuery(cmd.Context(), connect.NewRequest(&reevev1.DeleteQueryRequest{Id: q.GetId()}))
				return err
			})
		},
	}
	run := queryRunCommand(a)
	for _, cmd := range []*cobra.Command{star, forget, run} {
		cmd.ValidArgsFunction = verb.First(func(ctx context.Context) []string { return CompleteQueries(ctx, a) })
	}
	return verb.Group("query", "Keep questions, and ask them again", querySaveCommand(a), queryListCommand(a), run, forget, star)
}

// CompleteQueries returns the names of saved queries.
func CompleteQueries(ctx context.Context, a *verb.App) []string {
	return a.CompleteFrom(ctx, func(ctx context.Context, s *verb.Session) (names []string) {
		answer, err := s.View.ListQueries(ctx, connect.NewRequest(&reevev1.ListQueriesRequest{PageSize: verb.MaxPage}))
		if err != nil {
			return nil
		}
		for _, q := range answer.Msg.GetQueries() {
			names = append(names, q.GetName())
		}
		return names
	})
}

// withQuery does something with the query that a user names by id, link or name.
func withQuery(ctx context.Context, a *verb.App, name string, do func(*verb.Session, *reevev1.SavedQuery) error) error {
	s, err := a.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	q, err := SavedQuery(ctx, s, name)
	if err != nil {
		return err
	}
	if err := do(s, q); err != nil {
		return s.Explain(err)
	}
	return nil
}

// SavedQuery returns the query that a user means: by its id, its link, or its name, of
// which their own come first.
func SavedQuery(ctx context.Context, s *verb.Session, name string) (*reevev1.SavedQuery, error) {
	id := name
	if at := strings.LastIndex(name, "/s/"); at >= 0 {
		id = name[at+len("/s/"):]
	}
	answer, err := s.View.GetQuery(ctx, connect.NewRequest(&reevev1.GetQueryRequest{Id: id}))
	if err == nil {
		return answer.Msg.GetQuery(), nil
	}
	if connect.CodeOf(err) != connect.CodeNotFound || id != name {
		return nil, s.Explain(err)
	}
	var found []*reevev1.SavedQuery
	err = client.Pages(ctx, 0, verb.MaxPage, queryPages(s, &reevev1.ListQueriesRequest{}), func(page []*reevev1.SavedQuery) error {
		for _, q := range page {
			if q.GetName() == name {
				found = append(found, q)
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, s.Explain(err)
	case len(found) == 0:
		return nil, verb.Usagef("there is no saved query %q: reeve query list shows them", name)
	case len(found) > 1:
		ids := make([]string, len(found))
		for i, q := range found {
			ids[i] = q.GetId() + " of " + q.GetOwner()
		}
		return nil, verb.Usagef("query %q could be %s: give the id", name, strings.Join(ids, " or "))
	}
	return found[0], nil
}

func queryPages(s *verb.Session, r *reevev1.ListQueriesRequest) client.PageFunc[*reevev1.SavedQuery] {
	return func(ctx context.Context, size int32, token string) ([]*reevev1.SavedQuery, string, error) {
		answer, err := s.View.ListQueries(ctx, connect.NewRequest(&reevev1.ListQueriesRequest{PageSize: size, PageToken: token, Type: r.GetType(),
			Starred: r.GetStarred()}))
		if err != nil {
			return nil, "", err
		}
		return answer.Msg.GetQueries(), answer.Msg.GetNextPageToken(), nil
	}
}

func queryListCommand(a *verb.App) *cobra.Command {
	var o verb.SiteListOptions
	r := &reevev1.ListQueriesRequest{}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List your queries and those that are shared, those with your star first",
		Args:  verb.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return verb.List(cmd.Context(), a, o, "queries", queryColumns,
				func(s *verb.Session) client.PageFunc[*reevev1.SavedQuery] { return starredFirst(s, r) })
		},
	}
	o.ListOptions.AddTo(cmd)
	cmd.Flags().StringVar(&r.Type, "type", "", "only of this type (the whole name)")
	cmd.Flags().BoolVar(&r.Starred, "starred", false, "only what you have starred")
	a.Complete(cmd, "type", a.CompleteTypes)
	return cmd
}

// behindStars is the token of the first page behind the starred ones.
const behindStars = "behind the stars"

// starredFirst returns the pages of a list of queries, those with the caller's star before all others.
func starredFirst(s *verb.Session, r *reevev1.ListQueriesRequest) client.PageFunc[*reevev1.SavedQuery] {
	stars, all := queryPages(s, &reevev1.ListQueriesRequest{Type: r.GetType(), Starred: true}), queryPages(s, r)
	behind := false
	return func(ctx context.Context, size int32, token string) ([]*reevev1.SavedQuery, string, error) {
		if !behind {
			page, next, err := stars(ctx, size, token)
			if err == nil && next == "" && !r.GetStarred() {
				behind, next = true, behindStars
			}
			return page, next, err
		}
		if token == behindStars {
			token = ""
		}
		page, next, err := all(ctx, size, token)
		return slices.DeleteFunc(page, (*reevev1.SavedQuery).GetStarred), next, err
	}
}

// defaultQuery returns the query that lists of a type begin with: nil if none is.
func defaultQuery(ctx context.Context, s *verb.Session, name string) (*reevev1.SavedQuery, error) {
	var found *reevev1.SavedQuery
	err := client.Pages(ctx, 0, verb.MaxPage, queryPages(s, &reevev1.ListQueriesRequest{Type: name}), func(page []*reevev1.SavedQuery) error {
		for _, q := range page {
			if q.GetDefaultOfType() && q.GetAnalysis() == nil {
				found = q
			}
		}
		return nil
	})
	if connect.CodeOf(err) == connect.CodeUnimplemented { // a server of a version before
		return nil, nil
	}
	return found, err
}

func queryColumns(p *output.Printer) []output.Column[*reevev1.SavedQuery] {
	mark := func(is bool, word string) string {
		if is {
			return word
		}
		return ""
	}
	return []output.Column[*reevev1.SavedQuery]{
		{Heading: "ID", Value: (*reevev1.SavedQuery).GetId},
		{Heading: "NAME", Value: (*reevev1.SavedQuery).GetName},
		{Heading: "TYPE", Value: func(q *reevev1.SavedQuery) string { return q.GetSelection().GetType() }},
		{Heading: "FILTER", Value: func(q *reevev1.SavedQuery) string { return q.GetSelection().GetFilter() }},
		{Heading: "OWNER", Value: (*reevev1.SavedQuery).GetOwner},
		{Heading: "SHARED", Value: func(q *reevev1.SavedQuery) string { return mark(q.GetShared(), "yes") }},
		{Heading: "STARRED", Value: func(q *reevev1.SavedQuery) string { return mark(q.GetStarred(), "*") }},
		{Heading: "DEFAULT", Value: func(q *reevev1.SavedQuery) string { return mark(q.GetDefaultOfType(), "yes") }},
		{Heading: "CHANGED", Only: output.Wide, Value: func(q *reevev1.SavedQuery) string { return p.Time(q.GetUpdateTime()) }},
	}
}

func querySaveCommand(a *verb.App) *cobra.Command {
	q := &reevev1.SavedQuery{Selection: &reevev1.AssetSelection{}}
	var columns, groups, states []string
	cmd := &cobra.Command{
		Use:   "save [NAME]",
		Short: "Keep a query; without a name as a link only",
		Long: `Keep a query. It prints the query's id and its link, which does not end by itself.
Without a name there is the link only. With --group-by it counts the assets by the values
of these fields in place of listing them. A query without a filter is a set of columns.`,
		Example: `  reeve query save 'Servers in ERROR' --type servers -l 'status=ERROR' --columns @name,@project,flavor.name=Flavor --shared
  reeve query save 'Servers by flavor' --type servers --group-by flavor.name --chart donut`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return verb.Usagef("%s takes one argument at most, NAME; there are %d", cmd.CommandPath(), len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				q.Name = args[0]
			}
			return querySave(cmd.Context(), a, q, columns, groups, states)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f := cmd.Flags()
	f.StringVar(&q.Id, "id", "", "change this query of yours")
	f.StringVar(&q.Description, "description", "", "what it is for")
	f.StringVarP(&q.Selection.Filter, "filter", "l", "", "only what passes this (docs/filter.md)")
	f.StringVar(&q.Selection.Site, "site", "", "only this site")
	f.StringVar(&q.Selection.Type, "type", "", "only this type (reeve get types lists them)")
	f.StringSliceVar(&states, "state", nil, "only these states: active, disconnected, deleted")
	f.StringVar(&q.OrderBy, "sort", "", "fields to sort by, parted by commas, each perhaps with desc behind it")
	f.StringSliceVar(&columns, "columns", nil, "columns: PATH or PATH=HEADING")
	f.StringSliceVar(&groups, "group-by", nil, "fields to group by")
	f.StringVar(&q.Chart, "chart", "", "how groups are drawn: "+strings.Join(layout.Charts, ", "))
	f.BoolVar(&q.Shared, "shared", false, "everybody may see it")
	f.BoolVar(&q.DefaultOfType, "default", false, "lists of its type begin with it")
	a.Complete(cmd, "type", a.CompleteTypes)
	a.Complete(cmd, "site", a.CompleteSites)
	return cmd
}

func querySave(ctx context.Context, a *verb.App, q *reevev1.SavedQuery, columns, groups, states []string) (err error) {
	if q.Selection.States, err = verb.ParseStates(states); err != nil {
		return err
	}
	for _, c := range ParseColumns(columns) {
		q.Columns = append(q.Columns, &reevev1.SavedColumn{Path: c.GetPath(), Title: c.GetTitle()})
	}
	for _, field := range groups {
		if q.Analysis == nil {
			q.Analysis = &reevev1.AnalyzeAssetsRequest{}
		}
		q.Analysis.GroupBy = append(q.Analysis.GroupBy, &reevev1.GroupKey{Field: field})
	}
	s, err := a.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	if q.Selection.Type != "" {
		t, err := s.AssetType(ctx, q.Selection.Site, q.Selection.Type)
		if err != nil {
			return err
		}
		q.Selection.Type = t.GetName()
	}
	answer, err := s.View.SaveQuery(ctx, connect.NewRequest(&reevev1.SaveQueryRequest{Query: q}))
	if err != nil {
		return s.Explain(err)
	}
	id := answer.Msg.GetQuery().GetId()
	return a.Say("%s %s/s/%s", id, s.Context.Server, id)
}

func queryRunCommand(a *verb.App) *cobra.Command {
	var o verb.SiteListOptions
	asOf := ""
	cmd := &cobra.Command{
		Use:   "run QUERY",
		Short: "Ask a query again; QUERY is its name, id or link",
		Args:  verb.Exactly("QUERY"),
		RunE:  func(cmd *cobra.Command, args []string) error { return queryRun(cmd.Context(), a, args[0], asOf, o) },
	}
	o.ListOptions.AddTo(cmd)
	cmd.Flags().StringVar(&asOf, "as-of", "", "as of this moment: a date, a time, or a span such as -7d")
	return cmd
}

func queryRun(ctx context.Context, a *verb.App, name, asOf string, o verb.SiteListOptions) error {
	at, err := a.AsOf(asOf)
	if err != nil {
		return err
	}
	p, s, err := o.Open(a)
	if err != nil {
		return err
	}
	defer s.Close()
	q, err := SavedQuery(ctx, s, name)
	if err != nil {
		return err
	}
	selection := q.GetSelection()
	if at != nil {
		if selection == nil {
			selection = &reevev1.AssetSelection{}
		}
		selection.AsOf = at
	}
	if q.GetAnalysis() != nil {
		return runAnalysis(ctx, s, p, q, selection)
	}
	columns := assetColumns(p)
	switch l, err := layoutFor(ctx, s, selection.GetSite(), selection.GetType()); {
	case err != nil:
		return err
	case len(q.GetColumns()) > 0:
		columns = savedColumns(p, q.GetColumns(), l)
	case l != nil && len(l.Columns) > 0:
		columns = layoutColumns(p, l)
	}
	o.Page = verb.DocumentPage
	return verb.ListFrom(ctx, s, o, p, "assets", columns, func(ctx context.Context, size int32, token string) ([]*reevev1.Asset, string, error) {
		answer, err := s.Inventory.ListAssets(ctx, connect.NewRequest(&reevev1.ListAssetsRequest{
			PageSize: size, PageToken: token, View: reevev1.AssetView_ASSET_VIEW_FULL, Site: selection.GetSite(), Type: selection.GetType(),
			States: selection.GetStates(), Filter: selection.GetFilter(), AsOf: selection.GetAsOf(), OrderBy: q.GetOrderBy(),
		}))
		if err != nil {
			return nil, "", err
		}
		return answer.Msg.GetAssets(), answer.Msg.GetNextPageToken(), nil
	})
}

// layoutFor returns the layout of a type: nil without one.
func layoutFor(ctx context.Context, s *verb.Session, site, name string) (*layout.Layout, error) {
	if name == "" {
		return nil, nil
	}
	answer, err := s.View.GetLayout(ctx, connect.NewRequest(&reevev1.GetLayoutRequest{Type: name, Site: site}))
	if connect.CodeOf(err) == connect.CodeNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, s.Explain(err)
	}
	return layoutOf(&reevev1.AssetType{Name: name, Layout: answer.Msg.GetLayout().GetLayout()})
}

// savedColumns are those of a query, shown as the type's layout shows the same paths.
func savedColumns(p *output.Printer, saved []*reevev1.SavedColumn, l *layout.Layout) []output.Column[*reevev1.Asset] {
	age := func(t time.Time) string { return p.Time(timestamppb.New(t)) }
	columns := make([]output.Column[*reevev1.Asset], len(saved))
	for i, c := range saved {
		of := layout.Column{Path: c.GetPath(), Title: strings.TrimPrefix(c.GetPath(), "@")}
		if l != nil {
			for _, known := range l.Columns {
				if known.Path == c.GetPath() {
					of = known
				}
			}
		}
		if c.GetTitle() != "" {
			of.Title = c.GetTitle()
		}
		columns[i] = output.Column[*reevev1.Asset]{
			Heading: strings.ReplaceAll(strings.ToUpper(of.Title), " ", "-"),
			Value:   func(a *reevev1.Asset) string { return of.Text(subject(a), age) },
		}
	}
	return columns
}

// runAnalysis shows the groups of a query.
func runAnalysis(ctx context.Context, s *verb.Session, p *output.Printer, q *reevev1.SavedQuery, selection *reevev1.AssetSelection) error {
	request := q.GetAnalysis()
	request.Selection = selection
	answer, err := s.Query.AnalyzeAssets(ctx, connect.NewRequest(request))
	if err != nil {
		return s.Explain(err)
	}
	if !verb.IsTable(p) {
		return p.Document(answer.Msg)
	}
	headings, rows := verb.GroupRows(answer.Msg)
	if answer.Msg.GetMore() {
		s.App.Note("warning: there are more groups than these %d", len(answer.Msg.GetGroups()))
	}
	return p.Rows(headings, rows)
}

// ParseColumns reads columns as users give them: PATH or PATH=HEADING.
func ParseColumns(texts []string) (columns []*reevev1.ExportColumn) {
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
