package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"
)

const (
	// LayoutPrefix begins the keys of layouts that people gave to types; the type follows.
	LayoutPrefix = "layouts/"
	// QueryPrefix begins the keys of saved queries; the id follows.
	QueryPrefix = "queries/"
)

// The bounds of what people keep.
const (
	MaxLayouts = 2000
	// MaxQueries is how many saved queries there are, and MaxOwnQueries how many of one user.
	MaxQueries    = 20_000
	MaxOwnQueries = 1000
	// MaxQueryBytes is the size of what one asks.
	MaxQueryBytes = 32 << 10
	// MaxStars is how many users star one query.
	MaxStars = 1000
)

// ErrTooMany means that there are as many objects of a kind as there may be.
var ErrTooMany = errors.New("there are as many as there may be")

// TypeLayout is the layout that people gave to a type in place of its own.
type TypeLayout struct {
	Type string `json:"type"`
	// Layout is as layout.Parse wants it.
	Layout     json.RawMessage `json:"layout"`
	UpdatedBy  string          `json:"updated_by"`
	UpdateTime time.Time       `json:"update_time"`
}

// Layout returns the layout that people gave to a type. The error is ErrNotFound among
// others.
func (r *Registry) Layout(ctx context.Context, assetType string) (TypeLayout, error) {
	l, _, err := get[TypeLayout](ctx, r.store, LayoutPrefix, assetType)
	return l, err
}

// Layouts returns the layouts of the types whose names come after the one given, by name,
// as Sites does.
func (r *Registry) Layouts(ctx context.Context, after string) iter.Seq2[TypeLayout, error] {
	return each[TypeLayout](ctx, r.store, LayoutPrefix, after)
}

// SetLayout gives a type a layout. The error is ErrTooMany among others.
func (r *Registry) SetLayout(ctx context.Context, by Actor, l TypeLayout) error {
	r.views.Lock()
	defer r.views.Unlock()
	if _, err := r.Layout(ctx, l.Type); errors.Is(err, ErrNotFound) {
		n, err := count(r.Layouts(ctx, ""))
		if err != nil {
			return err
		}
		if n >= MaxLayouts {
			return fmt.Errorf("%w: %d layouts", ErrTooMany, n)
		}
	} else if err != nil && !errors.Is(err, ErrCorrupt) {
		return err
	}
	value, err := encode(l)
	if err != nil {
		return err
	}
	if _, err := r.store.Apply(ctx, by, Op{Action: "layout.set", Key: LayoutPrefix + l.Type, Value: value, Revision: AnyRevision}); err != nil {
		return fmt.Errorf("storing the layout of type %s: %w", l.Type, err)
	}
	return nil
}

// ResetLayout gives a type its own layout back. The error is ErrNotFound among others.
func (r *Registry) ResetLayout(ctx context.Context, by Actor, assetType string) error {
	_, err := r.store.Apply(ctx, by, Op{Action: "layout.reset", Key: LayoutPrefix + assetType, Revision: AnyRevision})
	return err
}

// SavedQuery is a question that somebody keeps.
type SavedQuery struct {
	// ID is never given out again.
	ID string `json:"id"`
	// Name may be empty: then there is only the link.
	Name  string `json:"name,omitempty"`
	Owner string `json:"owner"`
	// Shared ones are for everybody to see.
	Shared bool `json:"shared,omitempty"`
	// Default is what lists of its type begin with.
	Default bool `json:"default,omitempty"`
	// Type is that of the assets, or empty.
	Type string `json:"type,omitempty"`
	// Query is what is asked, as the API has it.
	Query json.RawMessage `json:"query"`
	// StarredBy are the users who want it close by.
	StarredBy  []string  `json:"starred_by,omitempty"`
	CreateTime time.Time `json:"create_time"`
	UpdateTime time.Time `json:"update_time"`
}

// Visible reports whether a user may see the query.
func (q *SavedQuery) Visible(user string) bool { return q.Shared || q.Owner == user }

// SavedQuery returns a query. The error is ErrNotFound among others.
func (r *Registry) SavedQuery(ctx context.Context, id string) (SavedQuery, error) {
	q, _, err := get[SavedQuery](ctx, r.store, QueryPrefix, id)
	return q, err
}

// SavedQueries returns the queries whose ids come after the one given, by id, as Sites
// does.
func (r *Registry) SavedQueries(ctx context.Context, after string) iter.Seq2[SavedQuery, error] {
	return each[SavedQuery](ctx, r.store, QueryPrefix, after)
}

// CreateQuery keeps a query; its id is made here. The error is ErrTooMany, or ErrConflict
// if the owner has one of that name, among others.
func (r *Registry) CreateQuery(ctx context.Context, by Actor, q SavedQuery) (SavedQuery, error) {
	r.views.Lock()
	defer r.views.Unlock()
	q.ID = newHandle()
	all, own := 0, 0
	for other, err := range r.SavedQueries(ctx, "") {
		if err != nil && !errors.Is(err, ErrCorrupt) {
			return q, err
		}
		if all++; other.Owner == q.Owner {
			own++
		}
		if err == nil && q.Name != "" && other.Owner == q.Owner && other.Name == q.Name {
			return q, fmt.Errorf("a query %q: %w", q.Name, ErrConflict)
		}
	}
	switch {
	case all >= MaxQueries:
		return q, fmt.Errorf("%w: %d saved queries", ErrTooMany, all)
	case own >= MaxOwnQueries:
		return q, fmt.Errorf("%w: %d saved queries of one user", ErrTooMany, own)
	}
	return q, r.storeQueries(ctx, by, "query.create", Absent, q)
}

// ChangeQuery changes a query as change says, which may be called more than once. The error
// is that of change, or ErrNotFound, among others.
func (r *Registry) ChangeQuery(ctx context.Context, by Actor, action, id string, change func(*SavedQuery) error) (SavedQuery, error) {
	r.views.Lock()
	defer r.views.Unlock()
	q, revision, err := get[SavedQuery](ctx, r.store, QueryPrefix, id)
	if err != nil {
		return q, err
	}
	before := q.Name
	if err := change(&q); err != nil {
		return q, err
	}
	if q.Name != "" && q.Name != before {
		for other, err := range r.SavedQueries(ctx, "") {
			if err != nil && !errors.Is(err, ErrCorrupt) {
				return q, err
			}
			if err == nil && other.ID != id && other.Owner == q.Owner && other.Name == q.Name {
				return q, fmt.Errorf("a query %q: %w", q.Name, ErrConflict)
			}
		}
	}
	return q, r.storeQueries(ctx, by, action, revision, q)
}

// storeQueries stores a query. Where it is the default of its type, the one before it is not
// any more.
func (r *Registry) storeQueries(ctx context.Context, by Actor, action string, revision int64, q SavedQuery) error {
	if len(q.Query) > MaxQueryBytes {
		return fmt.Errorf("a query of %d bytes: must be at most %d", len(q.Query), MaxQueryBytes)
	}
	value, err := encode(q)
	if err != nil {
		return err
	}
	ops := []Op{{Action: action, Key: QueryPrefix + q.ID, Value: value, Revision: revision}}
	if q.Default {
		for other, err := range r.SavedQueries(ctx, "") {
			if err != nil && !errors.Is(err, ErrCorrupt) {
				return err
			}
			if err != nil || !other.Default || other.Type != q.Type || other.ID == q.ID {
				continue
			}
			other.Default = false
			value, err := encode(other)
			if err != nil {
				return err
			}
			ops = append(ops, Op{Action: "query.change", Key: QueryPrefix + other.ID, Value: value, Revision: AnyRevision})
		}
	}
	if _, err := r.store.Apply(ctx, by, ops...); err != nil {
		return fmt.Errorf("storing a query: %w", err)
	}
	return nil
}

// DeleteQuery forgets a query. The error is ErrNotFound among others.
func (r *Registry) DeleteQuery(ctx context.Context, by Actor, id string) error {
	r.views.Lock()
	defer r.views.Unlock()
	_, err := r.store.Apply(ctx, by, Op{Action: "query.delete", Key: QueryPrefix + id, Revision: AnyRevision})
	return err
}

// Star has a user star a query, or not any more. The error is ErrTooMany among others.
func (q *SavedQuery) Star(user string, starred bool) error {
	at := slices.Index(q.StarredBy, user)
	switch {
	case starred == (at >= 0):
	case !starred:
		q.StarredBy = slices.Delete(q.StarredBy, at, at+1)
	case len(q.StarredBy) >= MaxStars:
		return fmt.Errorf("%w: %d users have starred the query", ErrTooMany, MaxStars)
	default:
		q.StarredBy = append(q.StarredBy, user)
	}
	return nil
}

func count[T any](list iter.Seq2[T, error]) (n int, err error) {
	for _, err := range list {
		if err != nil && !errors.Is(err, ErrCorrupt) {
			return n, err
		}
		n++
	}
	return n, nil
}
