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
	// ExpireTime is when it ends: zero if it does not by itself.
	ExpireTime time.Time `json:"expire_time,omitzero"`
}

// Expired reports whether the token has ended.
func (t *APIToken) Expired(now time.Time) bool {
	return !t.ExpireTime.IsZero() && !now.Before(t.ExpireTime)
}

// ErrLastToken means that nobody could sign in any more without the token.
var ErrLastToken = errors.New("it is the last API token that serves")

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
	if _, err := r.store.Apply(ctx, by, Op{Action: "api_token.create", Key: APITokenPrefix + token.ID, Value: value,
		Revision: Absent}); err != nil {
		return fmt.Errorf("storing the API token: %w", err)
	}
	return nil
}

// CheckAPIToken returns the token with the id and secret. The error is
// ErrTokenUnknown or ErrTokenExpired among others.
func (r *Registry) CheckAPIToken(ctx context.Context, id, secret string, now time.Time) (APIToken, error) {
	token, _, err := get[APIToken](ctx, r.store, APITokenPrefix, id)
	switch {
	case errors.Is(err, ErrNotFound):
		return APIToken{}, ErrTokenUnknown
	case err != nil:
		return APIToken{}, err
	case !identity.SecretMatches(secret, token.SecretHash):
		return APIToken{}, ErrTokenUnknown
	case token.Expired(now):
		return APIToken{}, ErrTokenExpired
	}
	return token, nil
}

// APITokens returns the tokens whose ids come after the one given, by id, as
// Sites does.
func (r *Registry) APITokens(ctx context.Context, after string) iter.Seq2[APIToken, error] {
	return each[APIToken](ctx, r.store, APITokenPrefix, after)
}

// DeleteAPIToken makes a token useless. The error is ErrNotFound, or ErrLastToken if
// no other one serves, among others.
func (r *Registry) DeleteAPIToken(ctx context.Context, by Actor, id string, now time.Time) error {
	// Two that are deleted at once must not both see the other one.
	r.tokens.Lock()
	defer r.tokens.Unlock()
	this, _, err := get[APIToken](ctx, r.store, APITokenPrefix, id)
	if err != nil && !errors.Is(err, ErrCorrupt) { // what is corrupt can be deleted
		return err
	}
	others := 0
	for token, err := range r.APITokens(ctx, "") {
		if err != nil && !errors.Is(err, ErrCorrupt) {
			return err
		}
		if err == nil && token.ID != id && !token.Expired(now) {
			others++
		}
	}
	if others == 0 && err == nil && !this.Expired(now) {
		return ErrLastToken
	}
	_, err = r.store.Apply(ctx, by, Op{Action: "api_token.delete", Key: APITokenPrefix + id, Revision: AnyRevision})
	return err
}

// DeleteEndedTokens deletes the join tokens and API tokens that ended before a time,
// and returns how many there were.
func (r *Registry) DeleteEndedTokens(ctx context.Context, before time.Time) (deleted uint64, err error) {
	var ops []Op
	for t, err := range r.JoinTokens(ctx, "") {
		if err != nil && !errors.Is(err, ErrCorrupt) {
			return 0, err
		}
		if err == nil && t.ExpireTime.Before(before) {
			ops = append(ops, Op{Action: "join_token.delete", Key: JoinTokenPrefix + t.ID, Revision: AnyRevision})
		}
	}
	for t, err := range r.APITokens(ctx, "") {
		if err != nil && !errors.Is(err, ErrCorrupt) {
			return 0, err
		}
		if err == nil && !t.ExpireTime.IsZero() && t.ExpireTime.Before(before) {
			ops = append(ops, Op{Action: "api_token.delete", Key: APITokenPrefix + t.ID, Revision: AnyRevision})
		}
	}
	for _, op := range ops {
		switch _, err := r.store.Apply(ctx, System, op); {
		case err == nil:
			deleted++
		case !errors.Is(err, ErrNotFound): // somebody else was quicker
			return deleted, fmt.Errorf("deleting tokens that have ended: %w", err)
		}
	}
	return deleted, nil
}
