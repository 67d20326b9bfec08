package verb

import (
	"context"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/cmdline"
	"github.com/reeve-cloud/reeve/pkg/nearest"
	"github.com/reeve-cloud/reeve/tui/client"
)

// UnknownCommand is the error for a verb that a command does not have.
func UnknownCommand(cmd *cobra.Command, name string) error {
	if cmd.Name() == "get" && cmdline.Hint(cmd, name) == "" {
		return Usagef("%v; the assets of one type are in reeve get assets --type %s", cmdline.Unknown(cmd, name), name)
	}
	return Usagef("%v", cmdline.Unknown(cmd, name))
}

// Everything returns all that a list of the API has.
func Everything[T any](ctx context.Context, s *Session, pages client.PageFunc[T]) (all []T, err error) {
	err = client.Pages(ctx, 0, MaxPage, pages, func(page []T) error {
		all = append(all, page...)
		return nil
	})
	if err != nil {
		return nil, s.Explain(err)
	}
	return all, nil
}

// CheckSite returns an error if there is no site of that name. It is asked only
// where nothing was found, or nothing would be said: it costs a call.
func (s *Session) CheckSite(ctx context.Context, name string) error {
	if name == "" {
		return nil
	}
	known, err := s.SiteNames(ctx)
	if err != nil || slices.Contains(known, name) {
		return err
	}
	return Usagef("--site %q: there is no such site%s; reeve get sites lists those that there are", name, nearest.Hint(name, known))
}

// SiteNames returns the names of all sites.
func (s *Session) SiteNames(ctx context.Context) ([]string, error) {
	sites, err := Everything(ctx, s, s.SitePages())
	names := make([]string, len(sites))
	for i, site := range sites {
		names[i] = site.GetName()
	}
	return names, err
}

// OneOf returns the only one of the ids that begins with what a user gave. The id
// as a whole, or what no id begins with, is returned as it is.
func OneOf(what, given string, ids []string) (string, error) {
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
	return "", Usagef("%s %q could be %s: give more of it", what, given, strings.Join(found, " or "))
}

// AgentID returns the id of the agent that a user means by the beginning of it.
func (s *Session) AgentID(ctx context.Context, given string) (string, error) {
	agents, err := Everything(ctx, s, s.AgentPages(&reevev1.ListAgentsRequest{}))
	if err != nil {
		return "", err
	}
	ids := make([]string, len(agents))
	for i, agent := range agents {
		ids[i] = agent.GetId()
	}
	return OneOf("agent", given, ids)
}

// SitePages returns the pages of the list of sites.
func (s *Session) SitePages() client.PageFunc[*reevev1.Site] {
	return func(ctx context.Context, size int32, token string) ([]*reevev1.Site, string, error) {
		answer, err := s.Fleet.ListSites(ctx, connect.NewRequest(&reevev1.ListSitesRequest{PageSize: size, PageToken: token}))
		if err != nil {
			return nil, "", err
		}
		return answer.Msg.GetSites(), answer.Msg.GetNextPageToken(), nil
	}
}

// AgentPages returns the pages of the list that a request asks for.
func (s *Session) AgentPages(r *reevev1.ListAgentsRequest) client.PageFunc[*reevev1.Agent] {
	return func(ctx context.Context, size int32, token string) ([]*reevev1.Agent, string, error) {
		r.PageSize, r.PageToken = size, token
		answer, err := s.Fleet.ListAgents(ctx, connect.NewRequest(r))
		if err != nil {
			return nil, "", err
		}
		return answer.Msg.GetAgents(), answer.Msg.GetNextPageToken(), nil
	}
}
