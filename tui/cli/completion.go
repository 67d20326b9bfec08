package cli

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

// complete registers the completion of a flag.
func (a *app) complete(cmd *cobra.Command, flag string, c completion) {
	// It fails only for flags that do not exist.
	_ = cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return c(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
	})
}

// first returns the completion of a verb's first argument, where it has no other.
func first(c completion) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return c(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
	}
}

func (a *app) completeContexts(context.Context) []string {
	a.quiet = true
	file, _, err := a.loadConfig()
	if err != nil {
		return nil
	}
	var names []string
	for _, c := range file.Contexts {
		names = append(names, c.Name)
	}
	return names
}

func (a *app) completeSites(ctx context.Context) []string {
	return a.completeFrom(ctx, func(ctx context.Context, s *session) (names []string) {
		answer, err := s.Fleet.ListSites(ctx, connect.NewRequest(&reevev1.ListSitesRequest{PageSize: maxPage}))
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

func (a *app) completeAgents(ctx context.Context) []string {
	return a.completeFrom(ctx, func(ctx context.Context, s *session) (ids []string) {
		answer, err := s.Fleet.ListAgents(ctx, connect.NewRequest(&reevev1.ListAgentsRequest{PageSize: maxPage}))
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

func (a *app) completeTokens(ctx context.Context) []string {
	return a.completeFrom(ctx, func(ctx context.Context, s *session) (ids []string) {
		answer, err := s.Fleet.ListJoinTokens(ctx, connect.NewRequest(&reevev1.ListJoinTokensRequest{PageSize: maxPage}))
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

func (a *app) completeTypes(ctx context.Context) []string {
	return a.completeFrom(ctx, func(ctx context.Context, s *session) (names []string) {
		types, _, err := s.typePages("")(ctx, maxPage, "")
		if err != nil {
			return nil
		}
		for _, t := range types {
			if typeName.MatchString(t.GetName()) {
				names = append(names, t.GetName())
			}
		}
		return names
	})
}

// typeName matches the names of types that a shell takes as they are.
var typeName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

func (a *app) completeFrom(ctx context.Context, ask func(context.Context, *session) []string) []string {
	a.quiet = true
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	s, err := a.open()
	if err != nil {
		return nil
	}
	defer s.Close()
	return ask(ctx, s)
}
