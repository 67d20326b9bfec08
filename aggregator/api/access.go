package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/reeve-cloud/reeve/aggregator/admission"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
)

type accessService struct{ *Server }

var _ reevev1connect.AccessServiceHandler = accessService{}

var userName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,62}$`)

func (s accessService) CreateApiToken(ctx context.Context, req *connect.Request[reevev1.CreateApiTokenRequest]) (
	*connect.Response[reevev1.CreateApiTokenResponse], error) {
	caller, m := CallerFrom(ctx), req.Msg
	user := m.GetUser()
	if user == "" {
		user = caller.User
	}
	if !userName.MatchString(user) {
		return nil, invalid("user", "must be 1 to 63 letters, digits and any of _.@- and begin with a letter, a digit or _")
	}
	token, secret := registry.NewAPIToken(user, registry.RoleAdmin)
	if m.GetTtl() != nil {
		if err := m.GetTtl().CheckValid(); err != nil {
			return nil, invalid("ttl", "%w", err)
		}
		life := m.GetTtl().AsDuration()
		if life <= 0 {
			return nil, invalid("ttl", "%s: must be more than 0", life)
		}
		token.ExpireTime = token.CreateTime.Add(life)
	}
	if err := s.options.Registry.AddAPIToken(ctx, caller.Actor(), token); err != nil {
		return nil, s.failed(ctx, "creating an API token", err)
	}
	s.options.Logger.InfoContext(ctx, "API token created", "token_id", token.ID, "of", token.User, "expires", token.ExpireTime, "user",
		caller.User, "address", caller.Address)
	return connect.NewResponse(&reevev1.CreateApiTokenResponse{Token: apiToken(token, caller), Secret: formatBearer(token.ID, secret)}), nil
}

func apiToken(t registry.APIToken, caller Caller) *reevev1.ApiToken {
	return &reevev1.ApiToken{
		Id: t.ID, User: t.User, CreateTime: timestamp(t.CreateTime), ExpireTime: timestamp(t.ExpireTime), Current: t.ID == caller.TokenID,
	}
}

func (s accessService) ListApiTokens(ctx context.Context, req *connect.Request[reevev1.ListApiTokensRequest]) (
	*connect.Response[reevev1.ListApiTokensResponse], error) {
	tokens, next, err := page(ctx, s.Server, req.Msg, "API tokens", "", s.options.Registry.APITokens,
		func(t registry.APIToken) string { return t.ID }, all[registry.APIToken])
	if err != nil {
		return nil, err
	}
	res := &reevev1.ListApiTokensResponse{NextPageToken: next}
	for _, t := range tokens {
		res.Tokens = append(res.Tokens, apiToken(t, CallerFrom(ctx)))
	}
	return connect.NewResponse(res), nil
}

func (s accessService) RevokeApiToken(ctx context.Context, req *connect.Request[reevev1.RevokeApiTokenRequest]) (
	*connect.Response[reevev1.RevokeApiTokenResponse], error) {
	caller, id := CallerFrom(ctx), req.Msg.GetId()
	if !isTokenPart(id) {
		return nil, invalid("id", "must be the id of an API token, as ListApiTokens shows it")
	}
	err := s.options.Registry.DeleteAPIToken(ctx, caller.Actor(), id, time.Now())
	switch {
	case errors.Is(err, registry.ErrNotFound):
		return nil, connect.NewError(connect.CodeNotFound, errors.New("id: there is no API token "+id))
	case errors.Is(err, registry.ErrLastToken):
		return nil, connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("%w: make another one first, and revoke this one with it", err))
	case err != nil:
		return nil, s.failed(ctx, "revoking an API token", err)
	}
	if id != caller.TokenID {
		// Streams that run, and whatever else came in with it.
		s.options.Places.End(admission.Caller, id)
	}
	s.options.Logger.InfoContext(ctx, "API token revoked", "token_id", id, "user", caller.User, "address", caller.Address)
	return connect.NewResponse(&reevev1.RevokeApiTokenResponse{}), nil
}

func (s accessService) ListAuditEntries(ctx context.Context,
	req *connect.Request[reevev1.ListAuditEntriesRequest]) (*connect.Response[reevev1.ListAuditEntriesResponse], error) {
	m := req.Msg
	size, err := checkPageSize(m.GetPageSize())
	if err != nil {
		return nil, err
	}
	f := registry.AuditFilter{Actor: m.GetActor(), Action: m.GetAction()}
	for _, t := range []struct {
		field string
		value *timestamppb.Timestamp
		to    *time.Time
	}{{"start_time", m.GetStartTime(), &f.From}, {"end_time", m.GetEndTime(), &f.To}} {
		if t.value == nil {
			continue
		}
		if err := t.value.CheckValid(); err != nil {
			return nil, invalid(t.field, "%w", err)
		}
		*t.to = t.value.AsTime()
	}
	filter := fmt.Sprintf("%v %v %q %q", f.From, f.To, f.Actor, f.Action)
	after, err := decodePageToken(m.GetPageToken(), "audit entries", filter)
	if err != nil {
		return nil, err
	}
	entries, next, corrupt, err := s.options.Registry.Store().AuditPage(ctx, f, after, size)
	if errors.Is(err, registry.ErrNotFound) {
		return nil, invalid("page_token", "%w", errPageToken)
	}
	if err != nil {
		return nil, s.failed(ctx, "reading the audit trail", err)
	}
	if corrupt > 0 {
		s.failures.log(ctx, slog.LevelError, "entries of the audit trail cannot be read; they are left out of a list", "entries", corrupt)
	}
	res := &reevev1.ListAuditEntriesResponse{}
	if next != "" {
		res.NextPageToken = encodePageToken("audit entries", filter, next)
	}
	for _, e := range entries {
		res.Entries = append(res.Entries, &reevev1.AuditEntry{
			Time: timestamp(e.Time), Actor: e.Actor, Address: e.Address, Action: e.Action, Key: e.Key, Detail: cutText(e.Detail),
		})
	}
	return connect.NewResponse(res), nil
}

// cutText bounds a text in a list, which has up to a thousand of them.
func cutText(text string) string {
	const most = 4 << 10
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "..."
}
