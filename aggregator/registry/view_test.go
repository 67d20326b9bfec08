package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestLayouts(t *testing.T) {
	r := open1(t, Options{})
	ctx := t.Context()
	if _, err := r.Layout(ctx, "a.b.C"); !errors.Is(err, ErrNotFound) {
		t.Errorf("without one: %v", err)
	}
	for _, text := range []string{`{"icon":"pod"}`, `{"icon":"disk"}`} {
		if err := r.SetLayout(ctx, System, TypeLayout{Type: "a.b.C", Layout: json.RawMessage(text), UpdatedBy: "ann"}); err != nil {
			t.Fatal(err)
		}
		if l, err := r.Layout(ctx, "a.b.C"); err != nil || string(l.Layout) != text || l.UpdatedBy != "ann" {
			t.Errorf("%+v, %v", l, err)
		}
	}
	if err := r.ResetLayout(ctx, System, "a.b.C"); err != nil {
		t.Fatal(err)
	}
	if err := r.ResetLayout(ctx, System, "a.b.C"); !errors.Is(err, ErrNotFound) {
		t.Errorf("reset twice: %v", err)
	}
}

func TestSavedQueries(t *testing.T) {
	r := open1(t, Options{})
	ctx := t.Context()
	create := func(q SavedQuery) SavedQuery {
		t.Helper()
		q.Query = json.RawMessage(`{"filter":"a=b"}`)
		q, err := r.CreateQuery(ctx, System, q)
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	first := create(SavedQuery{Name: "Pods", Owner: "ann", Type: "pod", Default: true})
	second := create(SavedQuery{Name: "Pods", Owner: "bob", Type: "pod", Default: true, Shared: true})
	create(SavedQuery{Owner: "ann"})
	create(SavedQuery{Owner: "ann"}) // links have no name, and are as many as one likes
	other := create(SavedQuery{Name: "Nodes", Owner: "ann", Type: "node", Default: true})
	if got, err := r.SavedQuery(ctx, first.ID); err != nil || got.Default || string(got.Query) != `{"filter":"a=b"}` {
		t.Errorf("the default before is %+v, %v", got, err)
	}
	if got, err := r.SavedQuery(ctx, other.ID); err != nil || !got.Default {
		t.Errorf("the default of another type is %+v, %v", got, err)
	}
	if _, err := r.CreateQuery(ctx, System, SavedQuery{Name: "Pods", Owner: "ann"}); !errors.Is(err, ErrConflict) {
		t.Errorf("one of the same name: %v", err)
	}
	rename := func(q *SavedQuery) error { q.Name = "Pods"; return nil }
	if _, err := r.ChangeQuery(ctx, System, "query.change", other.ID, rename); !errors.Is(err, ErrConflict) {
		t.Errorf("renamed to one that there is: %v", err)
	}
	if !second.Visible("ann") || first.Visible("bob") || !first.Visible("ann") {
		t.Error("who sees what")
	}
	for _, starred := range []bool{true, true, false} {
		q, err := r.ChangeQuery(ctx, System, "query.star", second.ID, func(q *SavedQuery) error { return q.Star("ann", starred) })
		if err != nil || slices.Contains(q.StarredBy, "ann") != starred || len(q.StarredBy) > 1 {
			t.Errorf("starred %v: %+v, %v", starred, q, err)
		}
	}
	broken := errors.New("no")
	if _, err := r.ChangeQuery(ctx, System, "query.change", first.ID, func(*SavedQuery) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("a change that is refused: %v", err)
	}
	long := json.RawMessage(`"` + strings.Repeat("x", MaxQueryBytes) + `"`)
	if _, err := r.CreateQuery(ctx, System, SavedQuery{Owner: "ann", Query: long}); err == nil {
		t.Error("a query of any size is kept")
	}
	if err := r.DeleteQuery(ctx, System, first.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := r.SavedQuery(ctx, first.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted: %v", err)
	}
}

func TestSavedQueriesAreBounded(t *testing.T) {
	r := open1(t, Options{})
	ctx := t.Context()
	for i := range MaxOwnQueries {
		value, err := encode(SavedQuery{ID: fmt.Sprint(i), Owner: "ann", Query: json.RawMessage(`{}`)})
		if err != nil {
			t.Fatal(err)
		}
		op := Op{Action: "query.create", Key: QueryPrefix + fmt.Sprint(i), Value: value, Revision: Absent}
		if _, err := r.store.Apply(ctx, System, op); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.CreateQuery(ctx, System, SavedQuery{Owner: "ann", Query: json.RawMessage(`{}`)}); !errors.Is(err, ErrTooMany) {
		t.Errorf("one more: %v", err)
	}
	if _, err := r.CreateQuery(ctx, System, SavedQuery{Owner: "bob", Query: json.RawMessage(`{}`)}); err != nil {
		t.Errorf("of another user: %v", err)
	}
	q := SavedQuery{StarredBy: make([]string, MaxStars)}
	if err := q.Star("ann", true); !errors.Is(err, ErrTooMany) {
		t.Errorf("one more star: %v", err)
	}
}
