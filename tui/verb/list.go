package verb

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/tui/client"
	"github.com/reeve-cloud/reeve/tui/output"
)

// Page sizes. Whole documents are large, so a page has fewer of them.
const (
	DefaultPage  = 500
	DocumentPage = 100
	MaxPage      = 1000
)

// ListOptions are the flags of verbs that list.
type ListOptions struct {
	OutputOptions
	Limit int
	// Page is the page size, if not the default.
	Page int32
}

// AddTo adds the flags to a verb.
func (o *ListOptions) AddTo(cmd *cobra.Command) {
	o.OutputOptions.AddTo(cmd, output.Table, output.Wide, output.JSON, output.YAML)
	o.AddNoHeaders(cmd)
	cmd.Flags().IntVar(&o.Limit, "limit", 0, "show at most this many; 0 is all")
}

// SiteListOptions are the flags of verbs that list what is of sites.
type SiteListOptions struct {
	ListOptions
	Site string
}

// AddTo adds the flags to a verb.
func (o *SiteListOptions) AddTo(a *App, cmd *cobra.Command) {
	o.ListOptions.AddTo(cmd)
	cmd.Flags().StringVar(&o.Site, "site", "", "only this site")
	a.Complete(cmd, "site", a.CompleteSites)
}

// List prints a list of the API. Its name is the field that has it in the API.
func List[T proto.Message](
	ctx context.Context, a *App, o SiteListOptions, name string,
	columns func(*output.Printer) []output.Column[T],
	pages func(*Session) client.PageFunc[T],
) error {
	p, s, err := o.Open(a)
	if err != nil {
		return err
	}
	defer s.Close()
	return ListFrom(ctx, s, o, p, name, columns(p), pages(s))
}

// Open returns what a list needs. The session must be closed.
func (o *ListOptions) Open(a *App) (*output.Printer, *Session, error) {
	if o.Limit < 0 {
		return nil, nil, Usagef("--limit %d: must not be negative", o.Limit)
	}
	p, err := o.Printer(a)
	if err != nil {
		return nil, nil, err
	}
	s, err := a.Open()
	return p, s, err
}

// ListFrom is list with a session that is open already.
func ListFrom[T proto.Message](
	ctx context.Context, s *Session, o SiteListOptions, p *output.Printer, name string, columns []output.Column[T], pages client.PageFunc[T],
) error {
	size := o.Page
	if size == 0 {
		size = DefaultPage
	}
	l := output.NewList(p, name, columns)
	if err := client.Pages(ctx, o.Limit, size, pages, l.Write); err != nil {
		return s.Explain(err)
	}
	if l.Count() == 0 {
		if err := s.CheckSite(ctx, o.Site); err != nil {
			return err
		}
	}
	return finish(s.App, p, l, strings.ReplaceAll(name, "_", " "))
}

// View returns the view to ask for, and sets the page size for it.
func (o *ListOptions) View(full bool) (reevev1.AssetView, error) {
	if !full {
		return reevev1.AssetView_ASSET_VIEW_BASIC, nil
	}
	if o.Format != string(output.JSON) && o.Format != string(output.YAML) && o.Format != string(output.JSONL) {
		return 0, Usagef("--full: a table has no place for documents; use it with -o json or -o yaml")
	}
	o.Page = DocumentPage
	return reevev1.AssetView_ASSET_VIEW_FULL, nil
}
