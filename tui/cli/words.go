package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/cmdline"
	"github.com/reeve-cloud/reeve/pkg/nearest"
	"github.com/reeve-cloud/reeve/tui/client"
)

// unknownCommand is the error for a verb that a command does not have.
func unknownCommand(cmd *cobra.Command, name string) error {
	if cmd.Name() == "get" && cmdline.Hint(cmd, name) == "" {
		return usagef("%v; the assets of one type are in reeve get assets --type %s", cmdline.Unknown(cmd, name), name)
	}
	return usagef("%v", cmdline.Unknown(cmd, name))
}

// everything returns all that a list of the API has.
func everything[T any](ctx context.Context, s *session, pages client.PageFunc[T]) (all []T, err error) {
	err = client.Pages(ctx, 0, maxPage, pages, func(page []T) error {
		all = append(all, page...)
		return nil
	})
	if err != nil {
		return nil, s.explain(err)
	}
	return all, nil
}

// checkSite returns an error if there is no site of that name. It is asked only
// where nothing was found, or nothing would be said: it costs a call.
func (s *session) checkSite(ctx context.Context, name string) error {
	if name == "" {
		return nil
	}
	known, err := s.siteNames(ctx)
	if err != nil || slices.Contains(known, name) {
		return err
	}
	return usagef("--site %q: there is no such site%s; reeve get sites lists those that there are", name, nearest.Hint(name, known))
}

// siteNames returns the names of all sites.
func (s *session) siteNames(ctx context.Context) ([]string, error) {
	sites, err := everything(ctx, s, s.sitePages())
	names := make([]string, len(sites))
	for i, site := range sites {
		names[i] = site.GetName()
	}
	return names, err
}

// oneOf returns the only one of the ids that begins with what a user gave. The id
// as a whole, or what no id begins with, is returned as it is.
func oneOf(what, given string, ids []string) (string, error) {
	// With less a slip of the finger names an agent.
	const enough = 4
	if slices.Contains(ids, given) || len(given) < enough {
		return given, nil
	}
	var found []string
	for _, id := range ids {
		if strings.HasPrefix(id, given) {
			found = append(found, id)
		}
	}
	switch len(found) {
	case 0:
		return given, nil
	case 1:
		return found[0], nil
	}
	return "", usagef("%s %q could be %s: give more of it", what, given, strings.Join(found, " or "))
}

// agentID returns the id of the agent that a user means by the beginning of it.
func (s *session) agentID(ctx context.Context, given string) (string, error) {
	agents, err := everything(ctx, s, s.agentPages(&reevev1.ListAgentsRequest{}))
	if err != nil {
		return "", err
	}
	ids := make([]string, len(agents))
	for i, agent := range agents {
		ids[i] = agent.GetId()
	}
	return oneOf("agent", given, ids)
}
