package scope

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/reeve-cloud/reeve/aggregator/ingest"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// between is a warehouse in which something else happens while a scope is looked at.
type between struct {
	counted
	types, assets, holders func() error
}

func (b *between) ScopeTypes(context.Context, warehouse.SiteScope) (map[string]int64, error) {
	return map[string]int64{"a.b.Thing": 2}, b.types()
}

func (b *between) ScopeAssets(_ context.Context, q warehouse.ScopeQuery) ([]warehouse.AssetVersion, []warehouse.Relation, bool, error) {
	if err := b.assets(); err != nil || q.AfterUID == "2" {
		return nil, nil, false, err
	}
	v := warehouse.AssetVersion{Origin: warehouse.Origin{Site: q.Site, AgentID: "somebody"}, Type: "a.b.Thing", UID: "1", Version: 1, Scope: q.Scope,
		Document: []byte("{}")}
	if q.AfterUID == "1" {
		v.UID = "2"
	}
	return []warehouse.AssetVersion{v}, nil, true, nil
}

func (c *counted) ScopesVersion(context.Context) (version uint64, err error) {
	for _, h := range c.told {
		version = max(version, h.Version)
	}
	return version, nil
}

// TestRegistryFromABackup: what the warehouse was told by a registry that is lost does not
// hold against what the one from the backup says.
func TestRegistryFromABackup(t *testing.T) {
	f := newFixture(t)
	one, _ := f.join("one")
	f.w.told["k/lost"] = warehouse.ScopeHolder{Version: 1000}
	for range 2 { // and over restarts
		f.claim(one, 1, true)
		version, err := f.w.ScopesVersion(t.Context())
		if err != nil || f.w.told["k/pods"].Version != version || version <= 1000 {
			t.Errorf("the warehouse was told %v, %v", f.w.told, err)
		}
		f.open()
		f.release(one)
	}
}

func (b *between) SetScopes(context.Context, []warehouse.ScopeHolder) error { return b.holders() }

// TestEndWhileItIsClaimed: a scope that an agent takes up while a person has it ended is
// that agent's, whenever it does so.
func TestEndWhileItIsClaimed(t *testing.T) {
	for _, when := range []string{"looked at", "begun", "looked at, of nobody"} {
		t.Run(when, func(t *testing.T) {
			f := newFixture(t)
			two, _ := f.join("two")
			epoch := "1 seed"
			if when != "looked at, of nobody" {
				one, _ := f.join("one")
				f.claim(one, 0, false)
				f.release(one)
				epoch = "2 seed"
			}
			claim := func() error {
				if f.holder() == "" {
					f.expect("the other takes it up", f.claim(two, 0, false), epoch)
				}
				return nil
			}
			none := func() error { return nil }
			w := &between{counted: *f.w, types: none, assets: none, holders: none}
			if when == "begun" {
				epoch = "3 seed" // it was ended before
				w.assets = claim
			} else {
				w.types = claim
			}
			f.s.warehouse = w
			in, rows := f.ingest()
			_, err := f.s.End(t.Context(), registry.System, in, warehouse.SiteScope{Site: "west", Scope: "k/pods"}, false)
			if !errors.Is(err, ErrHeld) {
				t.Errorf("it was ended: %v", err)
			}
			st, _ := f.s.Get("west", "k/pods")
			if st.Holder != two.ID || st.Ended || len(f.s.Fences(two)) != 0 {
				t.Errorf("the scope is %+v, the fences are %v", st, f.s.Fences(two))
			}
			if rows.count() != 0 {
				t.Errorf("%d were deleted", rows.count())
			}
		})
	}
}

// TestEndWhileItsHolderComesBack: a silent holder that is back before the end has begun
// keeps its scope.
func TestEndWhileItsHolderComesBack(t *testing.T) {
	f := newFixture(t)
	f.s.takeOverAfter = 0
	one, session := f.join("one")
	f.claim(one, 0, false)
	session.Close()
	none := func() error { return nil }
	f.s.warehouse = &between{counted: *f.w, assets: none, holders: none, types: func() (err error) {
		if session, err = f.reg.AgentConnected(t.Context(), one.ID, registry.Connection{Hostname: "one"}); err == nil {
			f.expect("it is back", f.claim(one, 1, true), "as claimed")
		}
		return err
	}}
	in, rows := f.ingest()
	_, err := f.s.End(t.Context(), registry.System, in, warehouse.SiteScope{Site: "west", Scope: "k/pods"}, false)
	session.Close()
	if !errors.Is(err, ErrHeld) || f.holder() != one.ID || rows.count() != 0 {
		t.Errorf("it was ended: %v; the holder is %q, %d were deleted", err, f.holder(), rows.count())
	}
}

// TestSitesGoWhileTheWarehouseIsAway: what is forgotten is not told to the warehouse.
func TestSitesGoWhileTheWarehouseIsAway(t *testing.T) {
	f := newFixture(t)
	one, _ := f.join("one")
	w := &between{counted: *f.w, holders: func() error {
		f.s.Forget("west")
		return errors.New("the warehouse is away")
	}}
	if _, err := f.s.claim(t.Context(), one, []*wirev1.ScopeClaim{{Scope: "k/pods", Complete: true}}); err != nil {
		t.Fatal(err)
	}
	f.s.warehouse = w
	if err := f.s.write(t.Context()); err == nil {
		t.Error("the warehouse was told")
	}
	f.s.warehouse = f.w
	if err := f.s.write(t.Context()); err != nil || len(f.w.told) != 0 {
		t.Errorf("the warehouse was told %v, %v", f.w.told, err)
	}
}

// stored is what ingest has written.
type stored struct {
	mu   sync.Mutex
	rows []warehouse.AssetVersion
}

func (s *stored) Write(_ context.Context, g *warehouse.Group) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows = append(s.rows, g.Versions...)
	return nil
}

func (s *stored) Settle(context.Context, *warehouse.Group) error { return nil }

func (s *stored) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.rows)
}

// ingest is a real one, and what it has written.
func (f *fixture) ingest() (*ingest.Ingest, *stored) {
	f.t.Helper()
	w := &stored{}
	in, err := ingest.New(ingest.Options{Warehouse: w, Watermarks: f.reg, Dir: f.t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := in.Run(ctx); !errors.Is(err, context.Canceled) {
			f.t.Error(err)
		}
	})
	f.t.Cleanup(func() { cancel(); done.Wait() })
	return in, w
}

// TestSubmitted: what is recorded in an agent's name is durable when that is said, and all
// of it, also where several record something at once.
func TestSubmitted(t *testing.T) {
	in, w := newFixture(t).ingest()
	deletion := func(uid string) []*wirev1.Record {
		return []*wirev1.Record{wire.AssetRecord(&wirev1.AssetVersion{Type: "a.b.Thing", Uid: uid, Scope: "k/pods", Version: 1,
			Operation: wirev1.Operation_OPERATION_DELETED, Document: []byte("{}"), Hash: make([]byte, 16)})}
	}
	agent := identity.Agent{Site: "west", ID: "somebody"}
	if err := Submit(t.Context(), in, agent, deletion("first")); err != nil || w.count() != 1 {
		t.Errorf("it is done, and %d are stored: %v", w.count(), err)
	}
	const more = 50
	var all sync.WaitGroup
	for i := range more {
		all.Go(func() {
			if err := Submit(t.Context(), in, agent, deletion(fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := w.count(); n != 1+more {
		t.Errorf("of %d deletions %d are stored", 1+more, n)
	}
}
