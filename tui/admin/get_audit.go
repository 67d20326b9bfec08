package admin

import (
	"context"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/tui/output"
	"github.com/reeve-cloud/reeve/tui/verb"
)

type getAuditOptions struct {
	verb.ListOptions
	actor, action, since, until string
}

// GetAuditCommand returns the verb get audit.
func GetAuditCommand(a *verb.App) *cobra.Command {
	var o getAuditOptions
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "List who did what to the installation, newest first",
		Long: `List who did what, newest first: people (user:NAME), agents (agent:ID), join tokens
(join-token:ID), and the aggregator itself (system). An action that ends with a dot
stands for all that begin with it. A time is an age as in 90s, 15m, 24h and 7d, or
RFC 3339 as in 2026-03-01T12:00:00Z.`,
		Example: `  reeve get audit --since 7d
  reeve get audit --actor user:admin --action agent.
  reeve get audit --action sql.run -o wide`,
		Args: verb.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return getAudit(cmd.Context(), a, o) },
	}
	o.AddTo(cmd)
	cmd.Flags().StringVar(&o.actor, "actor", "", "only what this one did, as in user:admin")
	cmd.Flags().StringVar(&o.action, "action", "", "only this action, as in agent.revoke, or a beginning, as in agent.")
	cmd.Flags().StringVar(&o.since, "since", "", "only what was done since then")
	cmd.Flags().StringVar(&o.until, "until", "", "only what was done before then")
	return cmd
}

func getAudit(ctx context.Context, a *verb.App, o getAuditOptions) error {
	r := &reevev1.ListAuditEntriesRequest{Actor: o.actor, Action: o.action}
	for _, t := range []struct {
		flag, value string
		to          **timestamppb.Timestamp
	}{{"since", o.since, &r.StartTime}, {"until", o.until, &r.EndTime}} {
		if t.value == "" {
			continue
		}
		at, err := verb.ParseMoment(t.value, a.Now())
		if err != nil {
			return verb.Usagef("--%s %q: %v", t.flag, t.value, err)
		}
		*t.to = timestamppb.New(at)
	}
	p, s, err := o.Open(a)
	if err != nil {
		return err
	}
	defer s.Close()
	return verb.ListFrom(ctx, s, verb.SiteListOptions{ListOptions: o.ListOptions}, p, "entries", auditColumns(p),
		func(ctx context.Context, size int32, token string) ([]*reevev1.AuditEntry, string, error) {
			r.PageSize, r.PageToken = size, token
			answer, err := s.Access.ListAuditEntries(ctx, connect.NewRequest(r))
			if err != nil {
				return nil, "", err
			}
			return answer.Msg.GetEntries(), answer.Msg.GetNextPageToken(), nil
		})
}

func auditColumns(p *output.Printer) []output.Column[*reevev1.AuditEntry] {
	return []output.Column[*reevev1.AuditEntry]{
		{Heading: "TIME", Value: func(e *reevev1.AuditEntry) string { return p.Time(e.GetTime()) }},
		{Heading: "ACTOR", Value: (*reevev1.AuditEntry).GetActor},
		{Heading: "ACTION", Value: (*reevev1.AuditEntry).GetAction},
		{Heading: "OBJECT", Value: (*reevev1.AuditEntry).GetKey},
		{Heading: "ADDRESS", Value: (*reevev1.AuditEntry).GetAddress},
		{Heading: "DETAIL", Only: output.Wide, Value: (*reevev1.AuditEntry).GetDetail},
	}
}
