package api

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"connectrpc.com/connect"
	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/reeve-cloud/reeve/aggregator/registry"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/version"
)

const (
	defaultTokenLife = time.Hour
	maxTokenLife     = 30 * 24 * time.Hour
	maxTokenUses     = 10000
	maxAddresses     = 16
	maxAddress       = 261 // a host name and a port
)

type fleetService struct{ *Server }

var _ reevev1connect.FleetServiceHandler = fleetService{}

func (s fleetService) GetStatus(ctx context.Context, _ *connect.Request[reevev1.GetStatusRequest]) (
	*connect.Response[reevev1.GetStatusResponse], error) {
	kind, warehouseVersion, err := s.options.Warehouse(ctx)
	if err != nil {
		// The call is there to test a sign-in with.
		s.failures.log(ctx, slog.LevelWarn, "the warehouse does not tell its version", "error", err)
	}
	status := &reevev1.GetStatusResponse{
		Version:          version.String(),
		User:             CallerFrom(ctx).User,
		Warehouse:        kind,
		WarehouseVersion: warehouseVersion,
	}
	if err := s.options.Ingest(); err != nil {
		status.IngestProblem = err.Error()
	}
	return connect.NewResponse(status), nil
}

func (s fleetService) ListSites(ctx context.Context, req *connect.Request[reevev1.ListSitesRequest]) (
	*connect.Response[reevev1.ListSitesResponse], error) {
	sites, next, err := page(ctx, s.Server, req.Msg, "sites", "", s.options.Registry.Sites,
		func(site registry.Site) string { return site.Name }, all[registry.Site])
	if err != nil {
		return nil, err
	}
	agents, connected, err := s.countAgents(ctx)
	if err != nil {
		return nil, err
	}
	assets, err := s.options.AssetCounts(ctx)
	if err != nil {
		if ctx.Err() == nil {
			s.failures.log(ctx, slog.LevelError, "an API call failed", "doing", "counting assets", "error", err)
			return nil, connect.NewError(connect.CodeUnavailable,
				errors.New("counting assets: the warehouse does not answer; the aggregator's log says more"))
		}
		return nil, s.failed(ctx, "counting assets", ctx.Err())
	}
	res := &reevev1.ListSitesResponse{NextPageToken: next}
	for _, site := range sites {
		res.Sites = append(res.Sites, &reevev1.Site{
			Name:            site.Name,
			CreateTime:      timestamp(site.CreateTime),
			Agents:          agents[site.Name],
			ConnectedAgents: connected[site.Name],
			Assets:          assets[site.Name],
			DeleteTime:      timestamp(site.DeleteTime),
		})
	}
	return connect.NewResponse(res), nil
}

// countAgents returns how many agents each site has, and how many of them are
// connected.
func (s fleetService) countAgents(ctx context.Context) (agents, connected map[string]int32, err error) {
	agents, connected = make(map[string]int32), make(map[string]int32)
	for a, err := range readable(ctx, s.Server, s.options.Registry.Agents(ctx, "")) {
		if err != nil {
			return nil, nil, s.failed(ctx, "counting agents", err)
		}
		if a.Revoked() {
			continue
		}
		agents[a.Site]++
		if a.Connected {
			connected[a.Site]++
		}
	}
	return agents, connected, nil
}

func (s fleetService) ListAgents(ctx context.Context, req *connect.Request[reevev1.ListAgentsRequest]) (
	*connect.Response[reevev1.ListAgentsResponse], error) {
	site := req.Msg.GetSite()
	if site != "" {
		if err := identity.CheckSiteName(site); err != nil {
			return nil, invalid("site", "%w", err)
		}
	}
	filter, revoked := site, req.Msg.GetShowRevoked()
	if revoked {
		filter += " and revoked"
	}
	agents, next, err := page(ctx, s.Server, req.Msg, "agents", filter, s.options.Registry.Agents,
		func(a registry.Agent) string { return a.ID },
		func(a registry.Agent) bool { return (site == "" || a.Site == site) && (revoked || !a.Revoked()) })
	if err != nil {
		return nil, err
	}
	res := &reevev1.ListAgentsResponse{NextPageToken: next}
	for _, a := range agents {
		res.Agents = append(res.Agents, agent(a))
	}
	return connect.NewResponse(res), nil
}

func (s fleetService) RevokeAgent(ctx context.Context, req *connect.Request[reevev1.RevokeAgentRequest]) (
	*connect.Response[reevev1.RevokeAgentResponse], error) {
	caller, id := CallerFrom(ctx), req.Msg.GetId()
	if parsed, err := uuid.Parse(id); err != nil || parsed.String() != id {
		return nil, invalid("id", "must be the id of an agent, as ListAgents shows it")
	}
	a, err := s.options.Registry.RevokeAgent(ctx, caller.Actor(), id, time.Now())
	switch {
	case errors.Is(err, registry.ErrNotFound):
		return nil, connect.NewError(connect.CodeNotFound, errors.New("id: there is no agent "+id))
	case err != nil:
		return nil, s.failed(ctx, "revoking an agent", err)
	}
	s.options.Logger.InfoContext(ctx, "agent revoked", "agent_id", id, "site", a.Site, "hostname", a.Hostname, "user", caller.User, "address",
		caller.Address)
	return connect.NewResponse(&reevev1.RevokeAgentResponse{Agent: agent(a)}), nil
}

// cloneShown is for how long an agent counts as cloned after its clone was seen.
// Clones try again at least that often.
const cloneShown = 30 * time.Minute

func agent(a registry.Agent) *reevev1.Agent {
	m := &reevev1.Agent{
		Id:                    a.ID,
		Site:                  a.Site,
		Hostname:              a.Hostname,
		Version:               a.Version,
		Platform:              a.Platform,
		Collectors:            a.Collectors,
		Connected:             a.Connected,
		EnrollTime:            timestamp(a.EnrollTime),
		SeenTime:              timestamp(a.SeenTime),
		CertificateExpireTime: timestamp(a.CertificateExpireTime),
		BacklogRecords:        a.BacklogRecords,
		Address:               a.Address,
		Transport:             a.Transport,
		RevokeTime:            timestamp(a.RevokeTime),
	}
	if time.Since(a.Clone.SeenTime) < cloneShown {
		m.Clone = &reevev1.Clone{Hostname: a.Clone.Hostname, Address: a.Clone.Address, SeenTime: timestamp(a.Clone.SeenTime)}
	}
	return m
}

func (s fleetService) CreateJoinToken(ctx context.Context, req *connect.Request[reevev1.CreateJoinTokenRequest]) (
	*connect.Response[reevev1.CreateJoinTokenResponse], error) {
	caller := CallerFrom(ctx)
	wanted, err := s.wantedJoinToken(req.Msg)
	if err != nil {
		return nil, err
	}
	wanted.CreatedBy, wanted.CA = caller.User, s.options.CA.Pin().String()
	token, secret, err := s.options.Registry.CreateJoinToken(ctx, caller.Actor(), wanted)
	if errors.Is(err, registry.ErrSiteDeleted) {
		return nil, connect.NewError(connect.CodeFailedPrecondition,
			errors.New("site: "+wanted.Site+" is being deleted: when ListSites has it no more, its name can be used again"))
	}
	if err != nil {
		return nil, s.failed(ctx, "creating a join token", err)
	}
	encoded, err := identity.JoinToken{
		Site:      token.Site,
		Addresses: token.Addresses,
		CA:        token.CA,
		ID:        token.ID,
		Secret:    secret,
	}.Encode()
	if err != nil {
		return nil, s.failed(ctx, "creating a join token", err)
	}
	s.options.Logger.InfoContext(ctx, "join token created", "token_id", token.ID, "site", token.Site,
		"max_uses", token.MaxUses, "expires", token.ExpireTime, "user", caller.User, "address", caller.Address)
	return connect.NewResponse(&reevev1.CreateJoinTokenResponse{Token: joinToken(token), Secret: encoded,
		Warnings: doubts(ctx, token.Addresses)}), nil
}

// wantedJoinToken checks a request for a token and fills in what it leaves open.
func (s fleetService) wantedJoinToken(m *reevev1.CreateJoinTokenRequest) (registry.JoinToken, error) {
	var none registry.JoinToken
	if err := identity.CheckSiteName(m.GetSite()); err != nil {
		return none, invalid("site", "%w", err)
	}
	life := defaultTokenLife
	if m.GetTtl() != nil {
		if err := m.GetTtl().CheckValid(); err != nil {
			return none, invalid("ttl", "%w", err)
		}
		life = m.GetTtl().AsDuration()
	}
	if life <= 0 || life > maxTokenLife {
		return none, invalid("ttl", "%s: must be more than 0 and at most %s (30 days)", life, maxTokenLife)
	}
	uses := int(m.GetMaxUses())
	if uses == 0 {
		uses = 1
	}
	if uses < 0 || uses > maxTokenUses {
		return none, invalid("max_uses", "%d: must be 1 to %d", uses, maxTokenUses)
	}
	addresses := m.GetAddresses()
	if len(addresses) == 0 {
		addresses = s.options.Addresses
	}
	if len(addresses) == 0 {
		return none, invalid("addresses", "the aggregator does not know by which address agents reach it: name at least one (host:port), or "+
			"set advertise in its configuration%s", s.suggestion())
	}
	if len(addresses) > maxAddresses {
		return none, invalid("addresses", "%d of them: must be at most %d", len(addresses), maxAddresses)
	}
	for _, a := range addresses {
		if len(a) > maxAddress {
			return none, invalid("addresses", "one is longer than %d characters", maxAddress)
		}
		if err := identity.CheckAddress(a); err != nil {
			return none, invalid("addresses", "%w", err)
		}
	}
	now := time.Now()
	return registry.JoinToken{
		Site: m.GetSite(), CreateTime: now, ExpireTime: now.Add(life), MaxUses: uses, Addresses: addresses,
	}, nil
}

func (s fleetService) ListJoinTokens(ctx context.Context, req *connect.Request[reevev1.ListJoinTokensRequest]) (
	*connect.Response[reevev1.ListJoinTokensResponse], error) {
	tokens, next, err := page(ctx, s.Server, req.Msg, "join tokens", "", s.options.Registry.JoinTokens,
		func(t registry.JoinToken) string { return t.ID }, all[registry.JoinToken])
	if err != nil {
		return nil, err
	}
	res := &reevev1.ListJoinTokensResponse{NextPageToken: next}
	for _, t := range tokens {
		res.Tokens = append(res.Tokens, joinToken(t))
	}
	return connect.NewResponse(res), nil
}

func (s fleetService) DeleteJoinToken(ctx context.Context, req *connect.Request[reevev1.DeleteJoinTokenRequest]) (
	*connect.Response[reevev1.DeleteJoinTokenResponse], error) {
	caller, id := CallerFrom(ctx), req.Msg.GetId()
	if !isTokenPart(id) {
		return nil, invalid("id", "must be the id of a join token, as ListJoinTokens shows it")
	}
	err := s.options.Registry.DeleteJoinToken(ctx, caller.Actor(), id)
	switch {
	case errors.Is(err, registry.ErrNotFound):
		return nil, connect.NewError(connect.CodeNotFound, errors.New("id: there is no join token "+id))
	case err != nil:
		return nil, s.failed(ctx, "deleting a join token", err)
	}
	s.options.Logger.InfoContext(ctx, "join token deleted", "token_id", id, "user", caller.User, "address", caller.Address)
	return connect.NewResponse(&reevev1.DeleteJoinTokenResponse{}), nil
}

func joinToken(t registry.JoinToken) *reevev1.JoinToken {
	return &reevev1.JoinToken{
		Id:          t.ID,
		Site:        t.Site,
		CreateTime:  timestamp(t.CreateTime),
		ExpireTime:  timestamp(t.ExpireTime),
		MaxUses:     int32(t.MaxUses),
		Uses:        int32(t.Uses),
		LastUseTime: timestamp(t.LastUseTime),
		CreatedBy:   t.CreatedBy,
		Addresses:   t.Addresses,
	}
}

// timestamp returns nil for the zero time.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func all[T any](T) bool { return true }
