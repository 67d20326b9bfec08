package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"connectrpc.com/connect"

	"github.com/reeve-cloud/reeve/aggregator/ingest"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/scope"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/wire"
)

// Scope is the scope service.
type Scope struct {
	Scopes    *scope.Scopes
	Warehouse *warehouse.Warehouse
	Registry  *registry.Registry
	Ingest    *ingest.Ingest
	Logger    *slog.Logger
}

var _ reevev1connect.ScopeServiceHandler = (*Scope)(nil)

func (s *Scope) unavailable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return connect.NewError(connect.CodeCanceled, ctx.Err())
	}
	s.Logger.ErrorContext(ctx, "a call about scopes failed", "error", err)
	return connect.NewError(connect.CodeUnavailable,
		errors.New("the warehouse or the registry does not answer; the aggregator's log says why"))
}

// ListScopes implements the scope service.
func (s *Scope) ListScopes(ctx context.Context, r *connect.Request[reevev1.ListScopesRequest]) (
	*connect.Response[reevev1.ListScopesResponse], error) {
	m := r.Msg
	size, err := checkPageSize(m.GetPageSize())
	if err != nil {
		return nil, err
	}
	filter := fmt.Sprintf("%q", m.GetSite())
	after, err := decodePageToken(m.GetPageToken(), "scopes", filter)
	if err != nil {
		return nil, err
	}
	counts, err := s.Warehouse.ScopeCounts(ctx, m.GetSite(), nil)
	if err != nil {
		return nil, s.unavailable(ctx, err)
	}
	letters, err := s.Warehouse.ScopeUntaken(ctx, m.GetSite())
	if err != nil {
		return nil, s.unavailable(ctx, err)
	}
	list := make(map[string]*reevev1.Scope)
	name := func(site, scope string) string { return site + "\x1f" + scope }
	for _, st := range s.Scopes.List(m.GetSite()) {
		v := &reevev1.Scope{
			Site: st.Site, Name: st.Scope, Holder: st.Holder, Epoch: st.Epoch, HoldTime: timestamp(st.HeldTime),
			ReleaseTime:  timestamp(st.ReleaseTime),
			CompleteTime: timestamp(st.CompleteTime), FailTime: timestamp(st.FailingTime), Error: st.Error, Watching: st.Watching, Ended: st.Ended,
		}
		addUntaken(v, warehouse.Untaken(st.Untaken))
		if st.Holder != "" {
			l := s.Registry.Liveness(st.Holder)
			v.Hostname, v.Connected = l.Hostname, l.Connected
			v.Watching = v.Watching && l.Connected
		}
		list[name(st.Site, st.Scope)] = v
	}
	at := func(k warehouse.SiteScope) *reevev1.Scope {
		v := list[name(k.Site, k.Scope)]
		if v == nil {
			v = &reevev1.Scope{Site: k.Site, Name: k.Scope}
			list[name(k.Site, k.Scope)] = v
		}
		return v
	}
	for k, n := range counts {
		at(k).Assets = n
	}
	for k, u := range letters {
		addUntaken(at(k), u)
	}
	response := &reevev1.ListScopesResponse{}
	names := make([]string, 0, len(list))
	for n, v := range list {
		// Of a scope that nobody has and that has nothing there is nothing to say.
		if n > after && (v.GetHolder() != "" || v.GetAssets() > 0 || v.GetUntaken() > 0) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	if len(names) > size {
		names = names[:size]
		response.NextPageToken = encodePageToken("scopes", filter, names[size-1])
	}
	for _, n := range names {
		response.Scopes = append(response.Scopes, list[n])
	}
	return connect.NewResponse(response), nil
}

// addUntaken adds what could not be taken of a scope. The newest reason is shown.
func addUntaken(v *reevev1.Scope, u warehouse.Untaken) {
	if u.Count == 0 {
		return
	}
	v.Untaken += u.Count
	if v.GetUntakenTime() == nil || u.Time.After(v.GetUntakenTime().AsTime()) {
		v.UntakenReason, v.UntakenTime = u.Reason, timestamp(u.Time)
	}
}

// EndScope implements the scope service.
func (s *Scope) EndScope(ctx context.Context, r *connect.Request[reevev1.EndScopeRequest]) (*connect.Response[reevev1.EndScopeResponse],
	error) {
	m := r.Msg
	if err := identity.CheckSiteName(m.GetSite()); err != nil {
		return nil, invalid("site", "%w", err)
	}
	if err := wire.CheckName("name", m.GetName()); err != nil || !strings.Contains(m.GetName(), "/") {
		return nil, invalid("name", "%q is not the name of a scope: that is COLLECTOR/SCOPE", m.GetName())
	}
	at := warehouse.SiteScope{Site: m.GetSite(), Scope: m.GetName()}
	end, err := s.Scopes.End(ctx, CallerFrom(ctx).Actor(), s.Ingest, at, m.GetValidateOnly())
	if errors.Is(err, scope.ErrHeld) {
		return nil, connect.NewError(connect.CodeFailedPrecondition, err)
	}
	if err != nil {
		return nil, s.unavailable(ctx, err)
	}
	if _, claimed := s.Scopes.Get(at.Site, at.Scope); !claimed && len(end.Assets) == 0 {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("site %q has no scope %q", at.Site, at.Scope))
	}
	return connect.NewResponse(&reevev1.EndScopeResponse{Assets: end.Assets, LastHolder: end.Last}), nil
}
