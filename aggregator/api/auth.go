package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/reeve-cloud/reeve/aggregator/admission"
	"github.com/reeve-cloud/reeve/aggregator/registry"
)

// Caller is who makes an API call.
type Caller struct {
	User string
	Role string
	// TokenID is the handle of the token that it was made with.
	TokenID string
	// Address is where the call comes from.
	Address string
	// expires is when the token ends: zero if it does not.
	expires time.Time
}

// Actor returns the caller for the audit trail.
func (c Caller) Actor() registry.Actor {
	return registry.Actor{Name: "user:" + c.User, Address: c.Address}
}

type callerKey struct{}

// CallerFrom returns the caller of the API call that ctx belongs to: the zero
// value outside of one, and in the EnrollmentService.
func CallerFrom(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// authenticate lets in calls with a good bearer token. It runs before the call's
// body is read.
func (s *Server) authenticate(ctx context.Context, spec connect.Spec, peer connect.Peer, header http.Header) (context.Context, error) {
	refuse := func(reason string, err error) (context.Context, error) {
		s.metrics.refusedCalls.WithLabelValues(reason).Inc()
		s.refusedCalls.log(ctx, slog.LevelWarn, "refused an API call", "reason", err, "procedure", spec.Procedure, "address", peer.Addr)
		refusal := connect.NewError(connect.CodeUnauthenticated, err)
		refusal.Meta().Set("WWW-Authenticate", "Bearer")
		return nil, refusal
	}
	id, secret, err := parseBearer(header.Get("Authorization"))
	switch {
	case errors.Is(err, errNoBearer):
		return refuse("missing", err)
	case err != nil:
		return refuse("malformed", err)
	}
	token, err := s.options.Registry.CheckAPIToken(ctx, id, secret, time.Now())
	switch {
	case errors.Is(err, registry.ErrTokenUnknown):
		return refuse("unknown", errors.New("the bearer token is unknown: it was deleted, is damaged, or is another aggregator's"))
	case errors.Is(err, registry.ErrTokenExpired):
		return refuse("expired", errors.New("the bearer token has expired: sign in with a new one (reeve api-token create makes one)"))
	case err != nil:
		return nil, s.failed(ctx, "checking the bearer token", err)
	case token.Role != registry.RoleAdmin:
		return refuse("role", errors.New("the bearer token has a role that this aggregator does not know"))
	}
	if conn, ok := ctx.Value(placedKey{}).(*placed); ok && conn != nil {
		if err := conn.place.Become(admission.Caller, token.ID); err != nil {
			s.metrics.refusedCalls.WithLabelValues("too_many").Inc()
			s.refusedCalls.log(ctx, slog.LevelWarn, "refused an API call", "reason", err, "procedure", spec.Procedure, "address", peer.Addr)
			return nil, connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("%w: close some, or try again later", err))
		}
	}
	return context.WithValue(ctx, callerKey{}, Caller{User: token.User, Role: token.Role, TokenID: token.ID, Address: peer.Addr,
		expires: token.ExpireTime}), nil
}

// failed returns the answer to a call that failed for a reason that is not the
// caller's, and logs the reason.
func (s *Server) failed(ctx context.Context, what string, err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeCanceled, err)
	case errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, err)
	}
	s.failures.log(ctx, slog.LevelError, "an API call failed", "doing", what, "error", err)
	switch {
	case errors.Is(err, registry.ErrClosed):
		return errStopping()
	case errors.Is(err, registry.ErrDiskFull):
		return connect.NewError(connect.CodeUnavailable, errors.New(what+": the aggregator's disk is full"))
	}
	return errInternal()
}
