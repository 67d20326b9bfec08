package admin

import (
	"context"
	"fmt"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/tui/verb"
)

// SiteCommand returns the verb site.
func SiteCommand(a *verb.App) *cobra.Command {
	var yes bool
	remove := &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a site with all that is known of it, for good",
		Long: `Delete a site with all that is known of it, for good: its assets with their history,
events and usage. Its agents are shut out, and its join tokens serve for nothing any
more. Without --yes it only says what that would be. The warehouse removes it in the
background, which reeve get sites shows; until then the name cannot be used again.`,
		Args:              verb.Exactly("NAME"),
		ValidArgsFunction: verb.First(a.CompleteSites),
		RunE:              func(cmd *cobra.Command, args []string) error { return siteDelete(cmd.Context(), a, args[0], yes) },
	}
	remove.Flags().BoolVar(&yes, "yes", false, "do it")
	return verb.Group("site", "End sites", remove)
}

func siteDelete(ctx context.Context, a *verb.App, name string, yes bool) error {
	s, err := a.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	answer, err := s.Fleet.DeleteSite(ctx, connect.NewRequest(&reevev1.DeleteSiteRequest{Name: name, ValidateOnly: !yes}))
	if err != nil {
		return s.Explain(err)
	}
	m := answer.Msg
	if err := a.Say("Site %s: %s (%d connected), %s, %s with %s, %s, %s of usage", m.GetSite().GetName(),
		counted(int64(m.GetSite().GetAgents()), "agent"), m.GetSite().GetConnectedAgents(), counted(int64(m.GetJoinTokens()), "join token"),
		counted(m.GetStoredAssets(), "asset"), counted(m.GetStoredVersions(), "version"), counted(m.GetStoredEvents(), "event"),
		counted(m.GetStoredUsages(), "period")); err != nil {
		return err
	}
	if !yes {
		return fmt.Errorf("nothing was deleted: all of this would be, for good, with reeve site delete %s --yes", name)
	}
	return a.Say("It is being deleted: reeve get sites shows it until that is done")
}

// counted returns a number of things in words.
func counted(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
