package cli_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
)

// knows reports whether an Authorization header has a token that serves. The id of a
// token is its secret here.
func (f *fakeServer) knows(authorization string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.bearers, func(t *reevev1.ApiToken) bool { return authorization == "Bearer "+t.GetId() })
}

// fakeAccess has API tokens that come and go, and a trail of three entries.
type fakeAccess struct {
	reevev1connect.UnimplementedAccessServiceHandler
	*fakeServer
}

func (f fakeAccess) CreateApiToken(_ context.Context, r *connect.Request[reevev1.CreateApiTokenRequest]) (
	*connect.Response[reevev1.CreateApiTokenResponse], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := &reevev1.ApiToken{Id: fmt.Sprint("fresh", len(f.bearers)), User: r.Msg.GetUser(), CreateTime: timestamppb.New(testNow)}
	if r.Msg.GetTtl() != nil {
		t.ExpireTime = timestamppb.New(testNow.Add(r.Msg.GetTtl().AsDuration()))
	}
	if t.User == "" {
		t.User = "admin"
	}
	f.bearers = append(f.bearers, t)
	return connect.NewResponse(&reevev1.CreateApiTokenResponse{Token: t, Secret: t.GetId()}), nil
}

func (f fakeAccess) ListApiTokens(_ context.Context, r *connect.Request[reevev1.ListApiTokensRequest]) (
	*connect.Response[reevev1.ListApiTokensResponse], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	response := &reevev1.ListApiTokensResponse{}
	for _, t := range f.bearers {
		t = proto.CloneOf(t)
		t.Current = r.Header().Get("Authorization") == "Bearer "+t.GetId()
		response.Tokens = append(response.Tokens, t)
	}
	return connect.NewResponse(response), nil
}

func (f fakeAccess) RevokeApiToken(_ context.Context, r *connect.Request[reevev1.RevokeApiTokenRequest]) (
	*connect.Response[reevev1.RevokeApiTokenResponse], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rest := slices.DeleteFunc(slices.Clone(f.bearers), func(t *reevev1.ApiToken) bool { return t.GetId() == r.Msg.GetId() })
	switch {
	case len(rest) == len(f.bearers):
		return nil, connect.NewError(connect.CodeNotFound, errors.New("id: there is no API token"))
	case len(rest) == 0:
		return nil, connect.NewError(connect.CodeFailedPrecondition,
			errors.New("it is the last API token that serves: make another one first, and revoke this one with it"))
	}
	f.bearers = rest
	return connect.NewResponse(&reevev1.RevokeApiTokenResponse{}), nil
}

func (f fakeAccess) ListAuditEntries(_ context.Context, r *connect.Request[reevev1.ListAuditEntriesRequest]) (
	*connect.Response[reevev1.ListAuditEntriesResponse], error) {
	m := r.Msg
	var entries []*reevev1.AuditEntry
	for _, e := range []*reevev1.AuditEntry{
		{Time: timestamppb.New(testNow.Add(-time.Minute)), Actor: "user:admin", Address: "192.0.2.1:5", Action: "agent.revoke", Key: "agents/7c"},
		{Time: timestamppb.New(testNow.Add(-time.Hour)), Actor: "user:admin", Address: "192.0.2.1:5", Action: "sql.run", Detail: "SELECT\n1"},
		{Time: timestamppb.New(testNow.Add(-48 * time.Hour)), Actor: "system", Action: "api_token.create", Key: "api-tokens/x"},
	} {
		at := e.Time.AsTime()
		if m.Actor != "" && m.Actor != e.Actor || m.Action != "" && !strings.HasPrefix(e.Action, m.Action) || m.StartTime != nil &&
			at.Before(m.StartTime.AsTime()) || m.EndTime != nil && !at.Before(m.EndTime.AsTime()) {
			continue
		}
		entries = append(entries, e)
	}
	page, next := pageOf(f.fakeServer, entries, m.PageSize, m.PageToken)
	return connect.NewResponse(&reevev1.ListAuditEntriesResponse{Entries: page, NextPageToken: next}), nil
}
