package registry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"
)

// AgentPrefix begins the keys of agents; the id follows.
const AgentPrefix = "agents/"

// ErrAgentRevoked means that an agent was shut out for good.
var ErrAgentRevoked = errors.New("the agent was revoked")

// Agent is an enrolled agent, and what is known of it.
type Agent struct {
	// ID is a UUID.
	ID   string `json:"id"`
	Site string `json:"site"`
	// Hostname is what the agent said last, at the latest when it enrolled.
	Hostname string `json:"hostname"`
	// JoinToken is the id of the token that it joined with.
	JoinToken  string    `json:"join_token"`
	EnrollTime time.Time `json:"enroll_time"`
	// CertificateExpireTime is the end of the certificate issued last.
	CertificateExpireTime time.Time `json:"certificate_expire_time"`
	// CAs are the pins of the authorities that the agent was told to trust when
	// that certificate was issued. The first signed it.
	CAs []string `json:"cas,omitempty"`
	// RevokeTime is when the agent was shut out: zero if it was not. The object
	// stays for good, so that no certificate of the agent can come back.
	RevokeTime time.Time `json:"revoke_time,omitzero"`

	// What follows is its Liveness, filled in when an agent is read.

	Connected      bool      `json:"-"`
	SeenTime       time.Time `json:"-"`
	Address        string    `json:"-"`
	Version        string    `json:"-"`
	Platform       string    `json:"-"`
	Collectors     []string  `json:"-"`
	BacklogRecords uint64    `json:"-"`
	Clone          Clone     `json:"-"`
	Transport      string    `json:"-"`
}

func (a *Agent) addLiveness(l Liveness) {
	if l.Hostname != "" {
		a.Hostname = l.Hostname
	}
	a.Connected, a.SeenTime, a.BacklogRecords, a.Clone = l.Connected, l.SeenTime, l.BacklogRecords, l.Clone
	a.Address, a.Version, a.Platform, a.Collectors = l.Address, l.Version, l.Platform, l.Collectors
	a.Transport = l.Transport
}

// Revoked reports whether the agent was shut out.
func (a *Agent) Revoked() bool { return !a.RevokeTime.IsZero() }

// Agent returns the agent with the id, also one that was revoked. The error is
// ErrNotFound or ErrCorrupt among others.
func (r *Registry) Agent(ctx context.Context, id string) (Agent, error) {
	a, _, err := get[Agent](ctx, r.store, AgentPrefix, id)
	if err != nil {
		return Agent{}, err
	}
	a.addLiveness(r.Liveness(id))
	return a, nil
}

// Agents returns the agents whose ids come after the one given, by id, as Sites
// does.
func (r *Registry) Agents(ctx context.Context, after string) iter.Seq2[Agent, error] {
	return func(yield func(Agent, error) bool) {
		for a, err := range each[Agent](ctx, r.store, AgentPrefix, after) {
			if err == nil {
				a.addLiveness(r.Liveness(a.ID))
			}
			if !yield(a, err) {
				return
			}
		}
	}
}

// AgentRenewed notes the end of an agent's new certificate, and the authorities
// that it was told of. The error is ErrNotFound or ErrAgentRevoked among others.
func (r *Registry) AgentRenewed(ctx context.Context, by Actor, id string, expire time.Time, cas []string) error {
	_, err := r.changeAgent(ctx, by, "agent.renew", id, func(a *Agent) error {
		if a.Revoked() {
			return ErrAgentRevoked
		}
		a.CertificateExpireTime, a.CAs = expire, cas
		return nil
	})
	if err != nil {
		return fmt.Errorf("noting the new certificate of agent %s: %w", id, err)
	}
	return nil
}

// RevokeAgent shuts an agent out for good: its certificate gets no new session
// and no renewal, and its session is cut by who watches AgentPrefix. When it was
// last seen stays known, so that what it brought counts as disconnected. The
// agent is as it was if it was revoked before. The error is ErrNotFound among
// others.
func (r *Registry) RevokeAgent(ctx context.Context, by Actor, id string, now time.Time) (Agent, error) {
	a, err := r.changeAgent(ctx, by, "agent.revoke", id, func(a *Agent) error {
		if a.Revoked() {
			return ErrAgentRevoked
		}
		a.RevokeTime = now
		return nil
	})
	if errors.Is(err, ErrAgentRevoked) {
		err = nil
	}
	if err != nil {
		return Agent{}, fmt.Errorf("revoking agent %s: %w", id, err)
	}
	return a, nil
}

// forgetAgent removes an agent without sessions, and when it was seen.
func (r *Registry) forgetAgent(ctx context.Context, by Actor, id string) error {
	_, err := r.store.Apply(ctx, by, Op{Action: "agent.forget", Key: AgentPrefix + id, Revision: AnyRevision})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("forgetting agent %s: %w", id, err)
	}
	return r.liveness.forget(id)
}

// changeAgent stores what change makes of an agent, and returns it. It may be
// called more than once. An error of it ends the attempt, and the agent is
// returned with it.
func (r *Registry) changeAgent(ctx context.Context, by Actor, action, id string, change func(*Agent) error) (Agent, error) {
	for {
		a, revision, err := get[Agent](ctx, r.store, AgentPrefix, id)
		if err != nil {
			return Agent{}, err
		}
		err = change(&a)
		a.addLiveness(r.Liveness(id))
		if err != nil {
			return a, err
		}
		value, err := encode(a)
		if err != nil {
			return Agent{}, err
		}
		_, err = r.store.Apply(ctx, by, Op{Action: action, Key: AgentPrefix + id, Value: value, Revision: revision})
		if errors.Is(err, ErrConflict) {
			continue
		}
		return a, err
	}
}
