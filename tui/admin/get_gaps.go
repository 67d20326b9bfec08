package admin

import (
	"context"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/tui/client"
	"github.com/reeve-cloud/reeve/tui/output"
	"github.com/reeve-cloud/reeve/tui/verb"
)

// GetGapsCommand returns the verb get gaps.
func GetGapsCommand(a *verb.App) *cobra.Command {
	var o verb.SiteListOptions
	cmd := &cobra.Command{
		Use:     "gaps",
		Aliases: []string{"gap"},
		Short:   "List what agents had to give up, newest first",
		Args:    verb.NoArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return getGaps(cmd.Context(), a, o) },
	}
	o.AddTo(a, cmd)
	return cmd
}

func getGaps(ctx context.Context, a *verb.App, o verb.SiteListOptions) error {
	return verb.List(ctx, a, o, "gaps", gapColumns, func(s *verb.Session) client.PageFunc[*reevev1.Gap] {
		return func(ctx context.Context, size int32, token string) ([]*reevev1.Gap, string, error) {
			answer, err := s.Inventory.ListGaps(ctx, connect.NewRequest(&reevev1.ListGapsRequest{PageSize: size, PageToken: token, Site: o.Site}))
			if err != nil {
				return nil, "", err
			}
			return answer.Msg.GetGaps(), answer.Msg.GetNextPageToken(), nil
		}
	})
}

func gapColumns(p *output.Printer) []output.Column[*reevev1.Gap] {
	count := func(n func(*reevev1.Gap) uint64) func(*reevev1.Gap) string {
		return func(g *reevev1.Gap) string { return fmt.Sprint(n(g)) }
	}
	return []output.Column[*reevev1.Gap]{
		{Heading: "SITE", Value: (*reevev1.Gap).GetSite},
		{Heading: "AGENT", Value: (*reevev1.Gap).GetAgentId},
		{Heading: "CLASS", Value: (*reevev1.Gap).GetClass},
		{Heading: "REASON", Value: func(g *reevev1.Gap) string { return strings.TrimPrefix(g.GetReason().String(), "REASON_") }},
		{Heading: "VERSIONS", Value: count((*reevev1.Gap).GetVersions)},
		{Heading: "EVENTS", Value: count((*reevev1.Gap).GetEvents)},
		{Heading: "USAGES", Value: count((*reevev1.Gap).GetUsages)},
		{Heading: "TYPES", Only: output.Wide, Value: count((*reevev1.Gap).GetAssetTypes)},
		{Heading: "UNKNOWN", Value: count((*reevev1.Gap).GetUnknown)},
		{Heading: "FROM", Value: func(g *reevev1.Gap) string { return p.Time(g.GetEarliestTime()) }},
		{Heading: "TO", Value: func(g *reevev1.Gap) string { return p.Time(g.GetLatestTime()) }},
		{Heading: "RECEIVED", Only: output.Wide, Value: func(g *reevev1.Gap) string { return p.Time(g.GetReceiveTime()) }},
		{Heading: "RECORDS", Only: output.Wide, Value: func(g *reevev1.Gap) string { return fmt.Sprint(g.GetFirstSeq(), "-", g.GetLastSeq()) }},
		{Heading: "SPOOL", Only: output.Wide, Value: (*reevev1.Gap).GetSpoolId},
	}
}
