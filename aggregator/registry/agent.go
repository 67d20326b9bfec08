package registry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"
)

// AgentPrefix begins the keys of agents; the id follows. An agent whose key is
// deleted was removed: its sessions are to be cut.
const AgentPrefix = "agents/"

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

	// What follows is its Liveness, filled in when an agent is read.

	Connected      bool      `json:"-"`
	SeenTime       time.Time `json:"-"`
	Address        string    `json:"-"`
	Version        string    `json:"-"`
	Platform       string    `json:"-"`
	Collectors     []string  `json:"-"`
	BacklogRecords uint64    `json:"-"`
	Transport      string    `json:"-"`
}

func (a *Agent) addLiveness(l Liveness) {
	if l.Hostname != "" {
		a.Hostname = l.Hostname
	}
	a.Connected, a.SeenTime, a.BacklogRecords = l.Connected, l.SeenTime, l.BacklogRecords
	a.Address, a.Version, a.Platform, a.Collectors = l.Address, l.Version, l.Platform, l.Collectors
	a.Transport = l.Transport
}

// Agent returns the agent with the id. The error is ErrNotFound, also for one
// that was removed, or ErrCorrupt among others.
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

// AgentRenewed notes the end of an agent's new certificate. The error is
// ErrNotFound for an agent that was removed.
func (r *Registry) AgentRenewed(ctx context.Context, by Actor, id string, expire time.Time) error {
	for {
		a, revision, err := get[Agent](ctx, r.store, AgentPrefix, id)
		if err != nil {
			return err
		}
		a.CertificateExpireTime = expire
		value, err := encode(a)
		if err != nil {
			return err
		}
		_, err = r.store.Apply(ctx, by, Op{Action: "agent.renew", Key: AgentPrefix + id, Value: value, Revision: revision})
		if errors.Is(err, ErrConflict) {
			continue
		}
		if err != nil {
			return fmt.Errorf("noting the new certificate of agent %s: %w", id, err)
		}
		return nil
	}
}

// RemoveAgent revokes an agent: its certificate gets no new session and no
// renewal. The error is ErrNotFound among others.
func (r *Registry) RemoveAgent(ctx context.Context, by Actor, id string) error {
	r.liveness.saving.Lock()
	defer r.liveness.saving.Unlock()
	if _, err := r.store.Apply(ctx, by, Op{Action: "agent.remove", Key: AgentPrefix + id, Revision: AnyRevision}); err != nil {
		return err
	}
	return r.liveness.forget(id)
}
