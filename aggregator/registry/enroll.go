package registry

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Enrollment is an agent's request to join.
type Enrollment struct {
	TokenID, Secret string
	// PublicKey is the agent's, in any fixed encoding.
	PublicKey []byte
	Hostname  string
	// Address is where the request came from.
	Address string
	Now     time.Time
	// CAs are the pins of the authorities that the agent is told to trust.
	CAs []string
	// Issue makes the certificate for an agent of the site and returns its end.
	// It is called once the token is known to be good, and before a use of it
	// is counted. An error of it ends the enrollment and costs no use.
	Issue func(site, id string) (expire time.Time, err error)
}

// Enroll takes an agent in: a use of the token is counted and the agent recorded
// in one step. The same request again, with the same key, gives the same agent
// and costs no second use: the answer to the first may have been lost. The
// errors are those of UseJoinToken and Issue, and ErrAgentRevoked.
func (r *Registry) Enroll(ctx context.Context, e Enrollment) (Agent, error) {
	id := agentID(e.TokenID, e.PublicKey)
	var issued bool
	var expire time.Time
	for {
		token, revision, err := r.checkJoinToken(ctx, e.TokenID, e.Secret, e.Now)
		if err != nil {
			return Agent{}, err
		}
		known, agentRevision, err := get[Agent](ctx, r.store, AgentPrefix, id)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return Agent{}, err
		}
		if known.Revoked() {
			return Agent{}, ErrAgentRevoked
		}
		agent := Agent{ID: id, Site: token.Site, Hostname: e.Hostname, JoinToken: token.ID, EnrollTime: e.Now, CAs: e.CAs}
		var ops []Op
		if agentRevision != Absent {
			agent.EnrollTime = known.EnrollTime
		} else {
			use, err := useOp(&token, revision, e.Now)
			if err != nil {
				return Agent{}, err
			}
			ops = append(ops, use)
		}
		if !issued {
			if expire, err = e.Issue(token.Site, id); err != nil {
				return Agent{}, err
			}
			issued = true
		}
		agent.CertificateExpireTime = expire
		value, err := encode(agent)
		if err != nil {
			return Agent{}, err
		}
		ops = append(ops, Op{Action: "agent.enroll", Key: AgentPrefix + id, Value: value, Revision: agentRevision})
		_, err = r.store.Apply(ctx, tokenActor(e.TokenID, e.Address), ops...)
		if errors.Is(err, ErrConflict) {
			continue
		}
		if err != nil {
			return Agent{}, fmt.Errorf("recording the agent: %w", err)
		}
		return agent, nil
	}
}

// CheckEnrollment returns the site that Enroll would let an agent into now, or the
// error that it would have. Nothing is counted or recorded. The key may be nil, of an
// agent that has not asked before.
func (r *Registry) CheckEnrollment(ctx context.Context, tokenID, secret string, publicKey []byte, now time.Time) (site string, err error) {
	token, _, err := r.checkJoinToken(ctx, tokenID, secret, now)
	if err != nil {
		return "", err
	}
	known, revision, err := get[Agent](ctx, r.store, AgentPrefix, agentID(tokenID, publicKey))
	switch {
	case err != nil && !errors.Is(err, ErrNotFound):
		return "", err
	case known.Revoked():
		return "", ErrAgentRevoked
	case revision == Absent && token.Uses >= token.MaxUses:
		return "", ErrTokenUsedUp
	}
	return token.Site, nil
}

// agentSpace is the name space of agent ids.
var agentSpace = uuid.MustParse("7c1c92a8-2f0e-4a53-9d0d-3f0f6f0b8f6e")

// agentID returns the UUID of the agent that joins with a token and a key: as
// unique as the key, and the same when the agent asks again.
func agentID(tokenID string, publicKey []byte) string {
	name := append([]byte(tokenID+"\x00"), publicKey...)
	return uuid.NewHash(sha256.New(), agentSpace, name, 8).String()
}
