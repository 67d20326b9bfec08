package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/reeve-cloud/reeve/agent/collect"
	"github.com/reeve-cloud/reeve/agent/enroll"
	"github.com/reeve-cloud/reeve/agent/uplink"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/fake"
	"github.com/reeve-cloud/reeve/test/centre"
)

// wholeAgent is all of an agent: it collects what a test lists, and ships it.
type wholeAgent struct {
	t     *testing.T
	c     *centre.Centre
	id    *enroll.Identity
	dir   string
	world string
	log   *centre.Log
	stop  func()
	// exclude are scopes that it is configured not to collect; removed says that its
	// collector is not configured.
	exclude []string
	removed bool
	// now is the machine's clock; nil is the right one.
	now func() time.Time
}

func newWholeAgent(t *testing.T, c *centre.Centre) *wholeAgent {
	t.Helper()
	return &wholeAgent{t: t, c: c, id: c.Join(t.TempDir()), dir: t.TempDir(), world: t.TempDir(), log: &centre.Log{}}
}

// list says what there is: assets by uid, with their only value.
func (a *wholeAgent) list(assets map[string]string) { a.listIn("s", assets) }

// listIn says what there is in a scope.
func (a *wholeAgent) listIn(scope string, assets map[string]string) {
	a.t.Helper()
	l := fake.Listing{SweepEvery: "100ms"}
	for uid, value := range assets {
		l.Assets = append(l.Assets, fake.Asset{
			UID: uid, Name: "the " + uid, Document: json.RawMessage(fmt.Sprintf(`{"value":%q}`, value)),
			Relations: []plugin.Relation{{Kind: "part_of", To: plugin.Key{Type: fake.TypeThing, UID: "root"}}},
		})
	}
	data, err := json.Marshal(l)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(scope, data)
}

// write writes what a listing of a scope finds.
func (a *wholeAgent) write(scope string, data []byte) {
	a.t.Helper()
	file := filepath.Join(a.world, scope, "listing.json")
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file+".new", data, 0o600),
		os.Rename(file+".new", file)); err != nil {
		a.t.Fatal(err)
	}
}

func (a *wholeAgent) start() {
	a.t.Helper()
	logger := slog.New(slog.NewTextHandler(a.log, nil))
	seen, sp, clock := openStores(a.t, a.dir, logger, 0)
	if a.now != nil {
		clock = hlc.On(a.now, clock.Now())
	}
	options, err := json.Marshal(map[string]any{"directory": a.world, "exclude": append([]string{}, a.exclude...)})
	if err != nil {
		a.t.Fatal(err)
	}
	collector, err := fake.Plugin{}.New(plugin.Config{Name: "f", Options: options, Logger: logger})
	if err != nil {
		a.t.Fatal(err)
	}
	names, sources := []string{"f"}, []collect.Source{{Name: "f", Description: fake.Plugin{}.Describe(), Collector: collector}}
	if a.removed {
		names, sources = nil, nil
	}
	holdings, err := collect.NewHoldings(seen, names, logger)
	if err != nil {
		a.t.Fatal(err)
	}
	recorder := &collect.Recorder{Seen: seen, Spool: sp, Clock: clock, Logger: logger, Holdings: holdings}
	runner := &collect.Runner{Recorder: recorder, Sources: sources, RetryAfter: 50 * time.Millisecond}
	link := &uplink.Uplink{
		Spool: sp, Clock: clock, Addresses: []string{a.c.Address}, TLS: a.id.ClientTLS, Hostname: "host", Logger: logger,
		Inventory: recorder, CompareAfter: 300 * time.Millisecond, Scopes: holdings, ComeDown: seen.ComeDown, Now: a.now,
	}
	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	for _, run := range []func(context.Context) error{runner.Run, link.Run} {
		parts.Go(func() {
			if err := run(ctx); !errors.Is(err, context.Canceled) {
				a.t.Error(err)
			}
		})
	}
	a.stop = sync.OnceFunc(func() {
		cancel()
		parts.Wait()
		if err := errors.Join(sp.Close(), seen.Close()); err != nil {
			a.t.Error(err)
		}
	})
	a.t.Cleanup(a.stop)
}

// state waits until the warehouse has assets as they are listed, and all others
// deleted, with their relations.
func (a *wholeAgent) state(what string, assets map[string]string) {
	a.t.Helper()
	var have string
	defer func() {
		if a.t.Failed() {
			a.t.Logf("the warehouse has %s\nthe agent says %s", have, a.log.String())
		}
	}()
	centre.WaitFor(a.t, what, func() bool {
		list, err := a.c.Store.Assets(a.t.Context(), warehouse.AssetQuery{Site: "west", Limit: 1000, WithDocument: true})
		if err != nil {
			a.t.Fatal(err)
		}
		right := 0
		var texts []string
		for _, asset := range list {
			texts = append(texts, fmt.Sprint(asset.UID, asset.State, string(asset.Document)))
			value, there := assets[asset.UID]
			if there == (asset.State == warehouse.Gone) || there && string(asset.Document) != fmt.Sprintf(`{"value":%q}`, value) {
				have = strings.Join(texts, " ")
				return false
			}
			relations, err := a.c.Store.Relations(a.t.Context(), warehouse.AssetKey{Site: "west", Type: asset.Type, UID: asset.UID}, 10)
			if err != nil {
				a.t.Fatal(err)
			}
			if there != (len(relations) == 1) {
				return false
			}
			if there {
				right++
			}
		}
		have = strings.Join(texts, " ")
		return right == len(assets)
	})
}

// compared has the agent compare once more: in a new life, behind a change.
func (a *wholeAgent) compared(change func()) {
	a.t.Helper()
	a.stop()
	change()
	a.start()
}

// TestWarehouseLosesThings: what the warehouse has lost comes back, and nothing
// else is sent.
func TestWarehouseLosesThings(t *testing.T) {
	c := centre.New(t)
	a := newWholeAgent(t, c)
	assets := make(map[string]string)
	for i := range 1500 { // more than one listing has
		assets[fmt.Sprintf("thing-%04d-with-a-name-that-takes-its-place-in-a-frame", i)] = "1"
	}
	a.list(assets)
	a.start()
	count := func(state map[string]string) {
		t.Helper()
		centre.WaitFor(t, "all versions", func() bool { return warehousetest.Rows(t, c.Store, "asset_version") >= len(state) })
	}
	count(assets)
	exec := func(statements ...string) {
		t.Helper()
		for _, s := range statements {
			if err := c.Store.Conn().Exec(t.Context(), s); err != nil {
				t.Fatalf("%s: %v", s, err)
			}
		}
	}

	// Nothing is lost, nothing is sent.
	before := warehousetest.Rows(t, c.Store, "asset_version")
	a.compared(func() {})
	time.Sleep(3 * time.Second)
	if n := warehousetest.Rows(t, c.Store, "asset_version"); n != before {
		t.Errorf("%d versions where there were %d", n, before)
	}

	// types waits until there are the collector's types, with their titles.
	types := func() {
		t.Helper()
		centre.WaitFor(t, "all types", func() bool {
			list, err := c.Store.Types(t.Context(), warehouse.TypeQuery{Site: "west", Limit: 100})
			if err != nil {
				t.Fatal(err)
			}
			titles := make(map[string]string)
			for _, have := range list {
				titles[have.Name] = have.Title
			}
			for _, want := range (fake.Plugin{}).Describe().Types {
				if titles[want.Name] != want.Title {
					return false
				}
			}
			return true
		})
	}
	types()

	// The warehouse is emptied.
	a.compared(func() {
		exec("TRUNCATE TABLE asset", "TRUNCATE TABLE asset_type", "TRUNCATE TABLE asset_version", "TRUNCATE TABLE relation")
	})
	count(assets)
	types()
	time.Sleep(time.Second)
	if n := warehousetest.Rows(t, c.Store, "asset_version"); n != len(assets) {
		t.Errorf("%d versions of %d assets", n, len(assets))
	}

	// It is an older copy: of three assets the last word is lost, one of them a
	// deletion and one a creation.
	few := map[string]string{"changed": "1", "deleted": "1", "same": "1"}
	a.list(few)
	a.state("a small estate", few)
	changed := map[string]string{"changed": "2", "created": "1", "same": "1"}
	a.list(changed)
	a.state("a change", changed)
	var total int
	a.compared(func() {
		hash := func(uid string) document.Hash {
			var text string
			if err := c.Store.Conn().QueryRow(t.Context(),
				"SELECT any(hash) FROM asset_version WHERE uid = '"+uid+"' AND operation = 'created'").Scan(&text); err != nil {
				t.Fatal(err)
			}
			return document.Hash([]byte(text))
		}
		old := &warehouse.Group{ID: uuid.New(), ReceivedAt: time.Now().Truncate(time.Millisecond)}
		for i, uid := range []string{"changed", "deleted"} {
			old.Versions = append(old.Versions, warehouse.AssetVersion{
				Origin: warehouse.Origin{Site: "west", AgentID: a.id.Agent.ID, SpoolID: "old", Seq: uint64(i)},
				Type:   fake.TypeThing, UID: uid, Version: uint64(hlc.FromTime(time.Now().Add(-time.Hour))), Operation: warehouse.Created, Scope: "f/s",
				Name: "the " + uid, Hash: hash(uid), Document: []byte(`{"value":"1"}`), Fields: []document.Field{{Path: "value", Value: "1"}},
				ObservedAt: time.Now().Add(-time.Hour),
			})
		}
		for _, table := range []string{"asset", "asset_version"} {
			exec("ALTER TABLE " + table + " DELETE WHERE uid IN ('changed', 'deleted', 'created') SETTINGS mutations_sync = 1")
		}
		exec("ALTER TABLE relation DELETE WHERE from_uid IN ('changed', 'created') OR to_uid IN ('changed', 'created') SETTINGS mutations_sync = 1",
			"TRUNCATE TABLE asset_type")
		old.Types = []warehouse.AssetType{{Origin: old.Versions[0].Origin, Name: fake.TypeThing, Title: "an older title",
			Version: old.Versions[0].Version}}
		if err := c.Store.Write(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		total = warehousetest.Rows(t, c.Store, "asset_version")
	})
	a.state("the older copy is mended", changed)
	types()
	if n := warehousetest.Rows(t, c.Store, "asset_version") - total; n != 3 {
		t.Errorf("%d versions were sent again, want 3", n)
	}
	// And it stays so.
	a.compared(func() {})
	time.Sleep(3 * time.Second)
	if n := warehousetest.Rows(t, c.Store, "asset_version") - total; n != 3 {
		t.Errorf("%d versions were sent again in the end, want 3", n)
	}
	types()
	if text := a.log.String(); strings.Contains(text, "did not succeed") {
		t.Error(text)
	}
}
