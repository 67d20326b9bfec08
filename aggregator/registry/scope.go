package registry

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
)

// ScopesPrefix begins the keys of the scopes that agents hold; the site, a slash and
// the agent's id follow.
const ScopesPrefix = "scopes/"

// HeldScope is a scope of which an agent is the holder, or was the last one.
type HeldScope struct {
	// Name is "collector/scope".
	Name string `json:"name"`
	// Epoch grows by one whenever the scope gets another holder.
	Epoch uint64 `json:"epoch"`
	// Since is when the epoch began, by the aggregator's hybrid logical clock.
	Since uint64 `json:"since"`
	// ReleasedAt is when the holder gave the scope up, in Unix milliseconds: zero
	// while it has it.
	ReleasedAt int64 `json:"released_at,omitempty"`
	// Ended says that a person had the scope ended.
	Ended bool `json:"ended,omitempty"`
	// Former are agents that held it before, the last one first.
	Former []string `json:"former,omitempty"`
}

// AgentScopes are the scopes of which an agent is the holder, or was the last one.
type AgentScopes struct {
	Site   string      `json:"site"`
	Agent  string      `json:"agent"`
	Scopes []HeldScope `json:"scopes"`
}

// Scopes returns the scopes of all agents, by site and agent, as Sites does.
func (r *Registry) Scopes(ctx context.Context) iter.Seq2[AgentScopes, error] {
	return each[AgentScopes](ctx, r.store, ScopesPrefix, "")
}

// SetScopes stores the scopes of agents, by agent, in one transaction, and returns its
// revision.
func (r *Registry) SetScopes(ctx context.Context, by Actor, action string, agents map[string]AgentScopes) (revision int64, err error) {
	var ops []Op
	for _, id := range slices.Sorted(maps.Keys(agents)) {
		value, err := encode(agents[id])
		if err != nil {
			return 0, err
		}
		ops = append(ops, Op{Action: action, Key: ScopesPrefix + agents[id].Site + "/" + id, Value: value, Revision: AnyRevision})
	}
	if revision, err = r.store.Apply(ctx, by, ops...); err != nil {
		return 0, fmt.Errorf("noting who holds scopes: %w", err)
	}
	return revision, nil
}

// forgetScopes removes what is known of the scopes of a site.
func (r *Registry) forgetScopes(ctx context.Context, by Actor, site string) error {
	for {
		kvs, _, err := r.store.List(ctx, ScopesPrefix+site+"/", "", maxOps)
		if err != nil || len(kvs) == 0 {
			return err
		}
		var ops []Op
		for _, kv := range kvs {
			ops = append(ops, Op{Action: "scope.forget", Key: kv.Key, Revision: AnyRevision})
		}
		if _, err := r.store.Apply(ctx, by, ops...); err != nil {
			return fmt.Errorf("forgetting the scopes of site %s: %w", site, err)
		}
	}
}
