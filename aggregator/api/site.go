package api

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"connectrpc.com/connect"

	"github.com/reeve-cloud/reeve/aggregator/registry"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/nearest"
)

func (s fleetService) DeleteSite(ctx context.Context, req *connect.Request[reevev1.DeleteSiteRequest]) (
	*connect.Response[reevev1.DeleteSiteResponse], error) {
	caller, name := CallerFrom(ctx), req.Msg.GetName()
	if err := identity.CheckSiteName(name); err != nil {
		return nil, invalid("name", "%w", err)
	}
	if s.options.CountSite == nil || s.options.RemoveSites == nil {
		return nil, connect.NewError(connect.CodeUnimplemented, errors.New("this aggregator does not delete sites"))
	}
	site, err := s.options.Registry.Site(ctx, name)
	switch {
	case errors.Is(err, registry.ErrNotFound):
		return nil, s.noSite(ctx, name)
	case err != nil:
		return nil, s.failed(ctx, "reading a site", err)
	}
	counts, err := s.options.CountSite(ctx, name)
	if err != nil {
		if ctx.Err() != nil {
			return nil, s.failed(ctx, "counting what there is of a site", ctx.Err())
		}
		s.failures.log(ctx, slog.LevelError, "an API call failed", "doing", "counting what there is of a site", "error", err)
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("the warehouse does not answer; the aggregator's log says why"))
	}
	answer := &reevev1.DeleteSiteResponse{
		StoredAssets: counts.Assets, StoredVersions: counts.Versions, StoredEvents: counts.Events, StoredUsages: counts.Usages,
	}
	for t, err := range readable(ctx, s.Server, s.options.Registry.JoinTokens(ctx, "")) {
		if err != nil {
			return nil, s.failed(ctx, "counting join tokens", err)
		}
		if t.Site == name {
			answer.JoinTokens++
		}
	}
	agents, connected, err := s.countAgents(ctx)
	if err != nil {
		return nil, err
	}
	if !req.Msg.GetValidateOnly() {
		if site, err = s.options.Registry.DeleteSite(ctx, caller.Actor(), name, time.Now()); err != nil {
			return nil, s.failed(ctx, "deleting a site", err)
		}
		s.options.Logger.InfoContext(ctx, "site is being deleted", "site", name, "user", caller.User, "address", caller.Address)
		s.options.RemoveSites()
	}
	answer.Site = &reevev1.Site{
		Name: name, CreateTime: timestamp(site.CreateTime), DeleteTime: timestamp(site.DeleteTime),
		Agents: agents[name], ConnectedAgents: connected[name],
	}
	return connect.NewResponse(answer), nil
}

// noSite is the error for a site that is not there, with the names that are near.
func (s fleetService) noSite(ctx context.Context, name string) error {
	var known []string
	for site, err := range readable(ctx, s.Server, s.options.Registry.Sites(ctx, "")) {
		if err != nil {
			return s.failed(ctx, "listing sites", err)
		}
		known = append(known, site.Name)
	}
	return connect.NewError(connect.CodeNotFound, errors.New("name: there is no site "+name+nearest.Hint(name, known)))
}
