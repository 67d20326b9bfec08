package admin

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/tui/output"
	"github.com/reeve-cloud/reeve/tui/verb"
)

// GetSitesCommand returns the verb get sites.
func GetSitesCommand(a *verb.App) *cobra.Command {
	var o verb.ListOptions
	cmd := &cobra.Command{
		Use:     "sites",
		Aliases: []string{"site"},
		Short:   "List the sites",
		Args:    verb.NoArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return getSites(cmd.Context(), a, o) },
	}
	o.AddTo(cmd)
	return cmd
}

func getSites(ctx context.Context, a *verb.App, o verb.ListOptions) error {
	return verb.List(ctx, a, verb.SiteListOptions{ListOptions: o}, "sites", siteColumns, (*verb.Session).SitePages)
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
