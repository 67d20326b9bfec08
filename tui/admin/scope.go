package admin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/tui/client"
	"github.com/reeve-cloud/reeve/tui/output"
	"github.com/reeve-cloud/reeve/tui/verb"
)

// GetScopesCommand returns the verb get scopes.
func GetScopesCommand(a *verb.App) *cobra.Command {
	var o verb.SiteListOptions
	cmd := &cobra.Command{
		Use:     "scopes",
		Aliases: []string{"scope"},
		Short:   "List who looks after what, and how that goes",
		Long: `List scopes: what one listing of a collector covers, such as the Deployments of a
cluster, with the agent that looks after each. One without a holder has assets that
are DISCONNECTED; reeve scope end says that they are gone. UNTAKEN is how much a scope has
that could not be taken (too large, nested too deeply, not to be read); -o wide says why.`,
		Args: verb.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return getScopes(cmd.Context(), a, o) },
	}
	o.AddTo(a, cmd)
	return cmd
}

func getScopes(ctx context.Context, a *verb.App, o verb.SiteListOptions) error {
	return verb.List(ctx, a, o, "scopes", scopeColumns, scopePages(o.Site))
}

func scopePages(site string) func(*verb.Session) client.PageFunc[*reevev1.Scope] {
	return func(s *verb.Session) client.PageFunc[*reevev1.Scope] {
		return func(ctx context.Context, size int32, token string) ([]*reevev1.Scope, string, error) {
			answer, err := s.Scope.ListScopes(ctx, connect.NewRequest(&reevev1.ListScopesRequest{PageSize: size, PageToken: token, Site: site}))
			if err != nil {
				return nil, "", err
			}
			return answer.Msg.GetScopes(), answer.Msg.GetNextPageToken(), nil
		}
	}
}

func scopeColumns(p *output.Printer) []output.Column[*reevev1.Scope] {
	return []output.Column[*reevev1.Scope]{
		{Heading: "SITE", Value: (*reevev1.Scope).GetSite},
		{Heading: "SCOPE", Value: (*reevev1.Scope).GetName},
		{Heading: "STATE", Value: scopeState},
		{Heading: "HOLDER", Value: func(s *reevev1.Scope) string { return s.GetHostname() }},
		{Heading: "AGENT", Only: output.Wide, Value: (*reevev1.Scope).GetHolder},
		{Heading: "EPOCH", Value: func(s *reevev1.Scope) string { return fmt.Sprint(s.GetEpoch()) }},
		{Heading: "ASSETS", Value: func(s *reevev1.Scope) string { return fmt.Sprint(s.GetAssets()) }},
		{Heading: "UNTAKEN", Value: func(s *reevev1.Scope) string { return fmt.Sprint(s.GetUntaken()) }},
		{Heading: "COMPLETE", Value: func(s *reevev1.Scope) string { return p.Time(s.GetCompleteTime()) }},
		{Heading: "SINCE", Only: output.Wide, Value: func(s *reevev1.Scope) string { return p.Time(s.GetHoldTime()) }},
		{Heading: "FAILING", Value: func(s *reevev1.Scope) string { return p.Time(s.GetFailTime()) }},
		{Heading: "ERROR", Only: output.Wide, Value: (*reevev1.Scope).GetError},
		{Heading: "WHY-UNTAKEN", Only: output.Wide, Value: (*reevev1.Scope).GetUntakenReason},
	}
}

// scopeState is how it is with a scope, in one word.
func scopeState(s *reevev1.Scope) string {
	switch {
	case s.GetEnded():
		return "ENDED"
	case s.GetEpoch() == 0:
		return "UNCLAIMED"
	case s.GetHolder() == "":
		return "NO-HOLDER"
	case !s.GetConnected():
		return "SILENT"
	case s.GetFailTime() != nil:
		return "FAILING"
	case s.GetWatching():
		return "WATCHED"
	}
	return "HELD"
}

// ScopeCommand returns the verb scope.
func ScopeCommand(a *verb.App) *cobra.Command {
	var site string
	var yes bool
	end := &cobra.Command{
		Use:   "end SCOPE --site SITE",
		Short: "Say that what a scope had is gone: its assets become DELETED",
		Long: `Say that what a scope had is gone: its assets become DELETED. It is for scopes that
no agent looks after any more: a collector that was removed or renamed, a machine that
is gone, what a configuration leaves out. Without --yes it only shows what it would do.
See reeve get scopes.`,
		Args:              verb.Exactly("SCOPE"),
		ValidArgsFunction: verb.First(func(ctx context.Context) []string { return completeScopes(ctx, a, site) }),
		RunE:              func(cmd *cobra.Command, args []string) error { return scopeEnd(cmd.Context(), a, site, args[0], yes) },
	}
	end.Flags().StringVar(&site, "site", "", "the site of the scope")
	end.Flags().BoolVar(&yes, "yes", false, "do it")
	a.Complete(end, "site", a.CompleteSites)
	return verb.Group("scope", "End what nobody looks after any more", end)
}

func completeScopes(ctx context.Context, a *verb.App, site string) []string {
	return a.CompleteFrom(ctx, func(ctx context.Context, s *verb.Session) (names []string) {
		answer, err := s.Scope.ListScopes(ctx, connect.NewRequest(&reevev1.ListScopesRequest{PageSize: verb.MaxPage, Site: site}))
		if err != nil {
			return nil
		}
		for _, scope := range answer.Msg.GetScopes() {
			names = append(names, scope.GetName())
		}
		return names
	})
}

func scopeEnd(ctx context.Context, a *verb.App, site, name string, yes bool) error {
	if site == "" {
		return verb.Usagef("--site is missing: see reeve get scopes")
	}
	s, err := a.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	answer, err := s.Scope.EndScope(ctx, connect.NewRequest(&reevev1.EndScopeRequest{Site: site, Name: name, ValidateOnly: !yes}))
	if connect.CodeOf(err) == connect.CodeNotFound {
		return &verb.Explained{Text: fmt.Sprintf("site %q has no scope %q: see reeve get scopes", site, name), Cause: err}
	}
	if err != nil {
		return s.Explain(err)
	}
	var all int64
	var lines []string
	for _, kind := range slices.Sorted(maps.Keys(answer.Msg.GetAssets())) {
		n := answer.Msg.GetAssets()[kind]
		all += n
		lines = append(lines, fmt.Sprintf("  %6d  %s", n, kind))
	}
	text := fmt.Sprintf("%d assets of scope %s in site %s are DELETED now", all, name, site)
	if !yes {
		text = fmt.Sprintf("%d assets of scope %s in site %s would become DELETED; --yes does it", all, name, site)
	}
	return a.Say("%s", strings.Join(append([]string{text}, lines...), "\n"))
}
