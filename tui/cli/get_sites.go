package cli

import (
	"context"
	"fmt"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/tui/client"
	"github.com/reeve-cloud/reeve/tui/output"
)

func (a *app) getSitesCommand() *cobra.Command {
	var o listOptions
	cmd := &cobra.Command{
		Use:     "sites",
		Aliases: []string{"site"},
		Short:   "List the sites",
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.getSites(cmd.Context(), o) },
	}
	o.addTo(cmd)
	return cmd
}

func (a *app) getSites(ctx context.Context, o listOptions) error {
	return list(ctx, a, siteListOptions{listOptions: o}, "sites", siteColumns, (*session).sitePages)
}

func (s *session) sitePages() client.PageFunc[*reevev1.Site] {
	return func(ctx context.Context, size int32, token string) ([]*reevev1.Site, string, error) {
		answer, err := s.Fleet.ListSites(ctx, connect.NewRequest(&reevev1.ListSitesRequest{PageSize: size, PageToken: token}))
		if err != nil {
			return nil, "", err
		}
		return answer.Msg.GetSites(), answer.Msg.GetNextPageToken(), nil
	}
}

func siteColumns(p *output.Printer) []output.Column[*reevev1.Site] {
	return []output.Column[*reevev1.Site]{
		{
			Heading: "NAME",
			Value: func(s *reevev1.Site) string {
				if s.GetDeleteTime() != nil {
					return s.GetName() + " (being deleted)"
				}
				return s.GetName()
			},
		},
		{
			Heading: "AGENTS",
			Value: func(s *reevev1.Site) string {
				return fmt.Sprintf("%d/%d", s.GetConnectedAgents(), s.GetAgents())
			},
			Color: func(s *reevev1.Site) output.Color {
				if s.GetConnectedAgents() < s.GetAgents() {
					return output.Yellow
				}
				return output.NoColor
			},
		},
		{Heading: "ASSETS", Value: func(s *reevev1.Site) string { return fmt.Sprint(s.GetAssets()) }},
		{Heading: "CREATED", Value: func(s *reevev1.Site) string { return p.Time(s.GetCreateTime()) }},
	}
}
