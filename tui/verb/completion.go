package verb

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/tui/output"
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

// CompleteFilter registers the completion of a flag that takes a filter: what is half typed is completed from what there
// is, of the type and in the site that are given.
func (a *App) CompleteFilter(cmd *cobra.Command, flag string, site, typ *string) {
	// It fails only for flags that do not exist.
	_ = cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		found := a.CompleteFrom(cmd.Context(), func(ctx context.Context, s *Session) []string {
			return s.suggestions(ctx, *site, *typ, typed)
		})
		return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveKeepOrder
	})
}

// maxSuggestions is how many ends of what is typed a shell shows.
const maxSuggestions = 40

// suggestions are filters that begin with what is typed, each perhaps with a tab and what its end is.
func (s *Session) suggestions(ctx context.Context, site, typ, typed string) (list []string) {
	if typ != "" {
		t, err := s.AssetType(ctx, site, typ)
		if err != nil {
			return nil
		}
		typ = t.GetName()
	}
	answer, err := s.Query.SuggestFilter(ctx, connect.NewRequest(&reevev1.SuggestFilterRequest{
		Filter: typed, Cursor: int32(len(typed)), Type: typ, Site: site, Limit: maxSuggestions,
	}))
	if err != nil { // there is nobody to tell
		return nil
	}
	start := int(answer.Msg.GetStart())
	if start < 0 || start > len(typed) {
		return nil
	}
	for _, found := range answer.Msg.GetSuggestions() {
		whole, help := typed[:start]+found.GetText(), found.GetHelp()
		if n := found.GetAssets(); n > 0 {
			help = strings.TrimPrefix(fmt.Sprintf("%s, about %d assets", help, n), ", ")
		}
		// What the shell gets is one line, and must not be able to surprise the terminal.
		if output.Escape(whole) != whole {
			continue
		}
		if help != "" {
			whole += "\t" + output.Escape(help)
		}
		list = append(list, whole)
	}
	return list
}

// Suggest returns how a filter may go on, for assets of a type.
func (s *Session) Suggest(ctx context.Context, site, typ, typed string, limit int32) ([]*reevev1.FilterSuggestion, error) {
	answer, err := s.Query.SuggestFilter(ctx, connect.NewRequest(&reevev1.SuggestFilterRequest{
		Filter: typed, Cursor: int32(len(typed)), Type: typ, Site: site, Limit: limit,
	}))
	if err != nil {
		return nil, s.Explain(err)
	}
	return answer.Msg.GetSuggestions(), nil
}

// CompletePaths returns the paths of a type that begin with what is typed.
func (a *App) CompletePaths(ctx context.Context, site, name, typed string) []string {
	return a.CompleteFrom(ctx, func(ctx context.Context, s *Session) (paths []string) {
		t, err := s.AssetType(ctx, site, name)
		if err != nil {
			return nil
		}
		found, err := s.Suggest(ctx, site, t.GetName(), typed, maxSuggestions)
		if err != nil {
			return nil
		}
		for _, f := range found {
			if f.GetKind() == reevev1.FilterSuggestion_KIND_FIELD && f.GetAssets() > 0 && output.Escape(f.GetText()) == f.GetText() {
				paths = append(paths, f.GetText())
			}
		}
		return paths
	})
}
