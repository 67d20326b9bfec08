package verb

import (
	"context"
	"regexp"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/identity"
)

// completionTimeout bounds the calls behind a press of the tab key.
const completionTimeout = 2 * time.Second

// completion returns what could stand at a place of the command line.
type completion func(ctx context.Context) []string

// Complete registers the completion of a flag.
func (a *App) Complete(cmd *cobra.Command, flag string, c completion) {
	// It fails only for flags that do not exist.
	_ = cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return c(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
	})
}

// First returns the completion of a verb's first argument, where it has no other.
func First(c completion) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return c(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
	}
}

// CompleteContexts returns the names of contexts.
func (a *App) CompleteContexts(context.Context) []string {
	a.quiet = true
	file, _, err := a.LoadConfig()
	if err != nil {
		return nil
	}
	var names []string
	for _, c := range file.Contexts {
		names = append(names, c.Name)
	}
	return names
}

// CompleteSites returns the names of sites.
func (a *App) CompleteSites(ctx context.Context) []string {
	return a.CompleteFrom(ctx, func(ctx context.Context, s *Session) (names []string) {
		answer, err := s.Fleet.ListSites(ctx, connect.NewRequest(&reevev1.ListSitesRequest{PageSize: MaxPage}))
		if err != nil {
			return nil
		}
		for _, site := range answer.Msg.GetSites() {
			// What the shell gets must not be able to surprise it.
			if identity.CheckSiteName(site.GetName()) == nil {
				names = append(names, site.GetName())
			}
		}
		return names
	})
}

// CompleteAgents returns the ids of agents.
func (a *App) CompleteAgents(ctx context.Context) []string {
	return a.CompleteFrom(ctx, func(ctx context.Context, s *Session) (ids []string) {
		answer, err := s.Fleet.ListAgents(ctx, connect.NewRequest(&reevev1.ListAgentsRequest{PageSize: MaxPage}))
		if err != nil {
			return nil
		}
		for _, agent := range answer.Msg.GetAgents() {
			if identity.CheckSiteName(agent.GetId()) == nil {
				ids = append(ids, agent.GetId())
			}
		}
		return ids
	})
}

// CompleteTokens returns the ids of join tokens.
func (a *App) CompleteTokens(ctx context.Context) []string {
	return a.CompleteFrom(ctx, func(ctx context.Context, s *Session) (ids []string) {
		answer, err := s.Fleet.ListJoinTokens(ctx, connect.NewRequest(&reevev1.ListJoinTokensRequest{PageSize: MaxPage}))
		if err != nil {
			return nil
		}
		for _, t := range answer.Msg.GetTokens() {
			if identity.CheckSiteName(t.GetId()) == nil {
				ids = append(ids, t.GetId())
			}
		}
		return ids
	})
}

// CompleteTypes returns the names of types of assets.
func (a *App) CompleteTypes(ctx context.Context) []string {
	return a.CompleteFrom(ctx, func(ctx context.Context, s *Session) (names []string) {
		types, _, err := s.TypePages("")(ctx, MaxPage, "")
		if err != nil {
			return nil
		}
		for _, t := range types {
			if TypeName.MatchString(t.GetName()) {
				names = append(names, t.GetName())
			}
		}
		return names
	})
}

// TypeName matches the names of types that a shell takes as they are.
var TypeName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// CompleteFrom returns what the aggregator answers within the time that a press of the tab key has: nothing if it does not.
func (a *App) CompleteFrom(ctx context.Context, ask func(context.Context, *Session) []string) []string {
	a.quiet = true
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	s, err := a.Open()
	if err != nil {
		return nil
	}
	defer s.Close()
	return ask(ctx, s)
}
