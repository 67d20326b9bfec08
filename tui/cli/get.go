package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/reeve-cloud/reeve/tui/client"
	"github.com/reeve-cloud/reeve/tui/output"
)

// Page sizes. Whole documents are large, so a page has fewer of them.
const (
	defaultPage  = 500
	documentPage = 100
	maxPage      = 1000
)

func (a *app) getCommand() *cobra.Command {
	return group("get", "Show sites, agents, assets, their types and changes, events, scopes, metrics, what is missing, and who did what",
		a.getSitesCommand(),
		a.getAgentsCommand(),
		a.getTypesCommand(),
		a.getAssetsCommand(),
		a.getAssetCommand(),
		a.getChangesCommand(),
		a.getEventsCommand(),
		a.getGapsCommand(),
		a.getMetricsCommand(),
		a.getAuditCommand(),
		a.getScopesCommand(),
	)
}

// listOptions are the flags of verbs that list.
type listOptions struct {
	outputOptions
	limit int
	// page is the page size, if not the default.
	page int32
}

func (o *listOptions) addTo(cmd *cobra.Command) {
	o.outputOptions.addTo(cmd, output.Table, output.Wide, output.JSON, output.YAML)
	o.addNoHeaders(cmd)
	cmd.Flags().IntVar(&o.limit, "limit", 0, "show at most this many; 0 is all")
}

// siteListOptions are the flags of verbs that list what is of sites.
type siteListOptions struct {
	listOptions
	site string
}

func (o *siteListOptions) addTo(a *app, cmd *cobra.Command) {
	o.listOptions.addTo(cmd)
	cmd.Flags().StringVar(&o.site, "site", "", "only this site")
	a.complete(cmd, "site", a.completeSites)
}

// list prints a list of the API. Its name is the field that has it in the API.
func list[T proto.Message](
	ctx context.Context, a *app, o siteListOptions, name string,
	columns func(*output.Printer) []output.Column[T],
	pages func(*session) client.PageFunc[T],
) error {
	p, s, err := o.open(a)
	if err != nil {
		return err
	}
	defer s.Close()
	return listFrom(ctx, s, o, p, name, columns(p), pages(s))
}

// open returns what a list needs. The session must be closed.
func (o *listOptions) open(a *app) (*output.Printer, *session, error) {
	if o.limit < 0 {
		return nil, nil, usagef("--limit %d: must not be negative", o.limit)
	}
	p, err := o.printer(a)
	if err != nil {
		return nil, nil, err
	}
	s, err := a.open()
	return p, s, err
}

// listFrom is list with a session that is open already.
func listFrom[T proto.Message](
	ctx context.Context, s *session, o siteListOptions, p *output.Printer, name string, columns []output.Column[T], pages client.PageFunc[T],
) error {
	size := o.page
	if size == 0 {
		size = defaultPage
	}
	l := output.NewList(p, name, columns)
	if err := client.Pages(ctx, o.limit, size, pages, l.Write); err != nil {
		return s.explain(err)
	}
	if l.Count() == 0 {
		if err := s.checkSite(ctx, o.site); err != nil {
			return err
		}
	}
	return finish(s.app, p, l, strings.ReplaceAll(name, "_", " "))
}
