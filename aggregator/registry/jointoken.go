package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/reeve-cloud/reeve/pkg/identity"
)

// JoinTokenPrefix begins the keys of join tokens; the id follows.
const JoinTokenPrefix = "join-tokens/"

var (
	// ErrTokenUnknown means that there is no token with the id and secret.
	ErrTokenUnknown = errors.New("the token is unknown")
	// ErrTokenExpired means that a token's time is over.
	ErrTokenExpired = errors.New("the token has expired")
	// ErrTokenUsedUp means that a token has been used as often as it may be.
	ErrTokenUsedUp = errors.New("the token is used up")
)

// JoinToken lets agents join a site.
type JoinToken struct {
	// ID is the handle, and no secret.
	ID   string `json:"id"`
	Site string `json:"site"`
	// SecretHash is what identity.HashSecret makes of the secret.
	SecretHash string    `json:"secret_hash"`
	CreateTime time.Time `json:"create_time"`
	ExpireTime time.Time `json:"expire_time"`
	// MaxUses is how many agents may join with it, Uses how many have.
	MaxUses     int       `json:"max_uses"`
	Uses        int       `json:"uses"`
	LastUseTime time.Time `json:"last_use_time,omitzero"`
	// CreatedBy is the name of the user.
	CreatedBy string `json:"created_by"`
	// Addresses (host:port) are what the token says of where the aggregator is.
	Addresses []string `json:"addresses"`
	// CA is the pin that the token names.
	CA string `json:"ca,omitempty"`
}

// newHandle returns 60 random bits as text: enough to tell objects apart.
func newHandle() string { return strings.ToLower(rand.Text()[:12]) }

// CreateJoinToken stores a new token and returns it with its secret, which is
// kept nowhere. The token's id, secret hash and uses are made here; all else
// must be filled in and valid. The site comes into being with its first token.
func (r *Registry) CreateJoinToken(ctx context.Context, by Actor, token JoinToken) (_ JoinToken, secret string, err error) {
	if err := identity.CheckSiteName(token.Site); err != nil {
		return JoinToken{}, "", err
	}
	secret = identity.NewSecret()
	token.ID, token.SecretHash = newHandle(), identity.HashSecret(secret)
	token.Uses, token.LastUseTime = 0, time.Time{}
	value, err := encode(token)
	if err != nil {
		return JoinToken{}, "", err
	}
	ops := []Op{{Action: "join_token.create", Key: JoinTokenPrefix + token.ID, Value: value, Revision: Absent}}
	for {
		known, err := r.Site(ctx, token.Site)
		if err == nil && known.Deleted() {
			return JoinToken{}, "", ErrSiteDeleted
		}
		if errors.Is(err, ErrNotFound) {
			site, err := encode(Site{Name: token.Site, CreateTime: token.CreateTime})
			if err != nil {
				return JoinToken{}, "", err
			}
			ops = append(ops[:1], Op{Action: "site.create", Key: SitePrefix + token.Site, Value: site, Revision: Absent})
		} else if err != nil {
			return JoinToken{}, "", err
		} else {
			ops = ops[:1]
		}
		_, err = r.store.Apply(ctx, by, ops...)
		if errors.Is(err, ErrConflict) && len(ops) > 1 {
			continue
		}
		if err != nil {
			return JoinToken{}, "", fmt.Errorf("storing the join token: %w", err)
		}
		return token, secret, nil
	}
}

// JoinTokens returns the tokens whose ids come after the one given, by id, as
// Sites does.
func (r *Registry) JoinTokens(ctx context.Context, after string) iter.Seq2[JoinToken, error] {
	return each[JoinToken](ctx, r.store, JoinTokenPrefix, after)
}

// DeleteJoinToken makes a token useless. The error is ErrNotFound among others.
func (r *Registry) DeleteJoinToken(ctx context.Context, by Actor, id string) error {
	_, err := r.store.Apply(ctx, by, Op{Action: "join_token.delete", Key: JoinTokenPrefix + id, Revision: AnyRevision})
	return err
}

// UseJoinToken counts one use of the token with the id and secret. However many
// try at once, no more than MaxUses succeed. The error is ErrTokenUnknown,
// ErrTokenExpired or ErrTokenUsedUp among others.
func (r *Registry) UseJoinToken(ctx context.Context, id, secret string, now time.Time) (JoinToken, error) {
	for {
		token, revision, err := r.checkJoinToken(ctx, id, secret, now)
		if err != nil {
			return JoinToken{}, err
		}
		op, err := useOp(&token, revision, now)
		if err != nil {
			return JoinToken{}, err
		}
		_, err = r.store.Apply(ctx, tokenActor(id, ""), op)
		if errors.Is(err, ErrConflict) {
			continue
		}
		if err != nil {
			return JoinToken{}, fmt.Errorf("counting the use of join token %s: %w", id, err)
		}
		return token, nil
	}
}

func tokenActor(id, address string) Actor {
	return Actor{Name: "join-token:" + id, Address: address}
}

// checkJoinToken returns the token if the secret is its own and its time is not
// over.
func (r *Registry) checkJoinToken(ctx context.Context, id, secret string, now time.Time) (JoinToken, int64, error) {
	token, revision, err := get[JoinToken](ctx, r.store, JoinTokenPrefix, id)
	switch {
	case errors.Is(err, ErrNotFound):
		return JoinToken{}, 0, ErrTokenUnknown
	case err != nil:
		return JoinToken{}, 0, err
	case !identity.SecretMatches(secret, token.SecretHash):
		return JoinToken{}, 0, ErrTokenUnknown
	case !now.Before(token.ExpireTime):
		return JoinToken{}, 0, ErrTokenExpired
	}
	site, err := r.Site(ctx, token.Site)
	if err == nil && site.Deleted() {
		return JoinToken{}, 0, ErrTokenUnknown
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return JoinToken{}, 0, err
	}
	return token, revision, nil
}

// useOp counts a use in the token and returns the change that stores it.
func useOp(token *JoinToken, revision int64, now time.Time) (Op, error) {
	if token.Uses >= token.MaxUses {
		return Op{}, ErrTokenUsedUp
	}
	token.Uses++
	token.LastUseTime = now
	value, err := encode(token)
	if err != nil {
		return Op{}, err
	}
	return Op{Action: "join_token.use", Key: JoinTokenPrefix + token.ID, Value: value, Revision: revision}, nil
}
