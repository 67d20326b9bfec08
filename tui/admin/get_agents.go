package admin

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/tui/client"
	"github.com/reeve-cloud/reeve/tui/output"
	"github.com/reeve-cloud/reeve/tui/verb"
)

type getAgentsOptions struct {
	verb.SiteListOptions
	revoked bool
}

// GetAgentsCommand returns the verb get agents.
func GetAgentsCommand(a *verb.App) *cobra.Command {
	var o getAgentsOptions
	cmd := &cobra.Command{
		Use:     "agents",
		Aliases: []string{"agent"},
		Short:   "List the agents",
		Args:    verb.NoArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return getAgents(cmd.Context(), a, o) },
	}
	o.AddTo(a, cmd)
	cmd.Flags().BoolVar(&o.revoked, "revoked", false, "also those that were revoked")
	return cmd
}

func getAgents(ctx context.Context, a *verb.App, o getAgentsOptions) error {
	return verb.List(ctx, a, o.SiteListOptions, "agents", agentColumns, func(s *verb.Session) client.PageFunc[*reevev1.Agent] {
		return s.AgentPages(&reevev1.ListAgentsRequest{Site: o.Site, ShowRevoked: o.revoked})
	})
}

func agentColumns(p *output.Printer) []output.Column[*reevev1.Agent] {
	return []output.Column[*reevev1.Agent]{
		{Heading: "ID", Value: (*reevev1.Agent).GetId},
		{Heading: "SITE", Value: (*reevev1.Agent).GetSite},
		{Heading: "HOSTNAME", Value: (*reevev1.Agent).GetHostname},
		{
			Heading: "STATE",
			Value:   func(a *reevev1.Agent) string { state, _ := agentState(a); return state },
			Color:   func(a *reevev1.Agent) output.Color { _, color := agentState(a); return color },
		},
		{Heading: "SEEN", Value: func(a *reevev1.Agent) string { return p.Time(a.GetSeenTime()) }},
		{Heading: "BACKLOG", Value: func(a *reevev1.Agent) string { return fmt.Sprint(a.GetBacklogRecords()) }},
		{Heading: "VERSION", Value: (*reevev1.Agent).GetVersion},
		{Heading: "PLATFORM", Only: output.Wide, Value: (*reevev1.Agent).GetPlatform},
		{Heading: "COLLECTORS", Only: output.Wide, Value: func(a *reevev1.Agent) string { return strings.Join(a.GetCollectors(), ",") }},
		{Heading: "ADDRESS", Only: output.Wide, Value: (*reevev1.Agent).GetAddress},
		{Heading: "TRANSPORT", Only: output.Wide, Value: (*reevev1.Agent).GetTransport},
		{Heading: "CLONE", Only: output.Wide, Value: func(a *reevev1.Agent) string {
			if a.GetClone() == nil {
				return ""
			}
			return a.GetClone().GetHostname() + "@" + a.GetClone().GetAddress()
		}},
		{Heading: "ENROLLED", Only: output.Wide, Value: func(a *reevev1.Agent) string { return p.Time(a.GetEnrollTime()) }},
		{Heading: "CERTIFICATE-EXPIRES", Only: output.Wide,
			Value: func(a *reevev1.Agent) string { return p.Expiry(a.GetCertificateExpireTime()) }},
	}
}

func agentState(a *reevev1.Agent) (string, output.Color) {
	switch {
	case a.GetRevokeTime() != nil:
		return "REVOKED", output.Red
	case a.GetClone() != nil:
		return "CLONED", output.Red
	case a.GetConnected():
		return "CONNECTED", output.Green
	}
	return "DISCONNECTED", output.Yellow
}
