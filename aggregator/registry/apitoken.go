package registry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/reeve-cloud/reeve/pkg/identity"
)

// APITokenPrefix begins the keys of API tokens; the id follows.
const APITokenPrefix = "api-tokens/"

// RoleAdmin may do everything.
const RoleAdmin = "admin"

// APIToken is a user's bearer token.
type APIToken struct {
	// ID is the handle, and no secret.
	ID   string `json:"id"`
	User string `json:"user"`
	// SecretHash is what identity.HashSecret makes of the secret.
	SecretHash string    `json:"secret_hash"`
	CreateTime time.Time `json:"create_time"`
	Role       string    `json:"role"`
}

// NewAPIToken makes a token, which counts once AddAPIToken has stored it, and
// its secret, which is kept nowhere.
func NewAPIToken(user, role string) (token APIToken, secret string) {
	secret = identity.NewSecret()
	return APIToken{
		ID: newHandle(), User: user, Role: role,
		SecretHash: identity.HashSecret(secret), CreateTime: time.Now(),
	}, secret
}

// AddAPIToken stores a new token.
func (r *Registry) AddAPIToken(ctx context.Context, by Actor, token APIToken) error {
	if token.User == "" || token.Role != RoleAdmin {
		return fmt.Errorf("API token for user %q with role %q: must have a user and the role %q", token.User, token.Role, RoleAdmin)
	}
	value, err := encode(token)
	if err != nil {
		return err
	}
	if _, err := r.store.Apply(ctx, by, Op{Action: "api_token.create", Key: APITokenPrefix + token.ID, Value: value, Revision: Absent}); err != nil {
		return fmt.Errorf("storing the API token: %w", err)
	}
	return nil
}

// CheckAPIToken returns the token with the id and secret. The error is
// ErrTokenUnknown among others.
func (r *Registry) CheckAPIToken(ctx context.Context, id, secret string) (APIToken, error) {
	token, _, err := get[APIToken](ctx, r.store, APITokenPrefix, id)
	switch {
	case errors.Is(err, ErrNotFound):
		return APIToken{}, ErrTokenUnknown
	case err != nil:
		return APIToken{}, err
	case !identity.SecretMatches(secret, token.SecretHash):
		return APIToken{}, ErrTokenUnknown
	}
	return token, nil
}

// APITokens returns the tokens whose ids come after the one given, by id, as
// Sites does.
func (r *Registry) APITokens(ctx context.Context, after string) iter.Seq2[APIToken, error] {
	return each[APIToken](ctx, r.store, APITokenPrefix, after)
}

// DeleteAPIToken makes a token useless. The error is ErrNotFound among others.
func (r *Registry) DeleteAPIToken(ctx context.Context, by Actor, id string) error {
	_, err := r.store.Apply(ctx, by, Op{Action: "api_token.delete", Key: APITokenPrefix + id, Revision: AnyRevision})
	return err
}
