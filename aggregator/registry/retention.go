package registry

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const retentionKey = "retention"

// Retention is how much of the history is kept, as people said, and how much was removed.
type Retention struct {
	// Rules are tried in their order: of each asset the first that is its own holds.
	Rules      []RetentionRule `json:"rules,omitempty"`
	UpdatedBy  string          `json:"updated_by,omitempty"`
	UpdateTime time.Time       `json:"update_time,omitzero"`
	// Thinned has of which assets the history may be thin. It stays when the rules go.
	Thinned []Thinned `json:"thinned,omitempty"`
}

// RetentionRule says for how many days versions are kept, counted from now: all of them, then
// one a day, one a week, one a month. What is older than all of these goes but for the last.
type RetentionRule struct {
	// Site and Type say whose. Empty is all.
	Site string `json:"site,omitempty"`
	Type string `json:"type,omitempty"`
	// All is at least 1. 0 of the others leaves that out.
	All     int `json:"all"`
	Daily   int `json:"daily,omitempty"`
	Weekly  int `json:"weekly,omitempty"`
	Monthly int `json:"monthly,omitempty"`
}

// Thinned says how thin the history of some assets may be: from Cut on it is whole, before
// that it is kept as warehouse.Thinning says.
type Thinned struct {
	Site    string    `json:"site,omitempty"`
	Type    string    `json:"type,omitempty"`
	Cut     time.Time `json:"cut"`
	Daily   time.Time `json:"daily"`
	Weekly  time.Time `json:"weekly"`
	Monthly time.Time `json:"monthly"`
}

// Retention returns how much of the history is kept: nothing was said if it is empty.
func (r *Registry) Retention(ctx context.Context) (Retention, error) {
	v, _, err := get[Retention](ctx, r.store, retentionKey, "")
	if errors.Is(err, ErrNotFound) {
		return Retention{}, nil
	}
	return v, err
}

// ChangeRetention changes how much of the history is kept, as change says.
func (r *Registry) ChangeRetention(ctx context.Context, by Actor, action string, change func(*Retention) error) (Retention, error) {
	r.views.Lock()
	defer r.views.Unlock()
	v, revision, err := get[Retention](ctx, r.store, retentionKey, "")
	if errors.Is(err, ErrNotFound) {
		revision, err = Absent, nil
	}
	if err == nil {
		err = change(&v)
	}
	if err != nil {
		return v, err
	}
	value, err := encode(v)
	if err != nil {
		return v, err
	}
	if _, err := r.store.Apply(ctx, by, Op{Action: action, Key: retentionKey, Value: value, Revision: revision}); err != nil {
		return v, fmt.Errorf("storing how much of the history is kept: %w", err)
	}
	return v, nil
}
