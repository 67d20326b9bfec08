package session_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/test/centre"
)

// estate makes so many assets.
func estate(n int) map[string]string {
	assets := make(map[string]string)
	for i := range n {
		assets[fmt.Sprintf("thing-%04d", i)] = "1"
	}
	return assets
}

// states counts the assets of a centre by their states, as the API tells them.
func states(t *testing.T, c *centre.Centre) map[reevev1.State]int {
	t.Helper()
	n := make(map[reevev1.State]int)
	for token := ""; ; {
		answer, err := c.Client().Inventory.ListAssets(t.Context(), connect.NewRequest(&reevev1.ListAssetsRequest{
			PageSize: 1000, PageToken: token, States: []reevev1.State{reevev1.State_STATE_ACTIVE, reevev1.State_STATE_DISCONNECTED,
				reevev1.State_STATE_DELETED}}))
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range answer.Msg.GetAssets() {
			n[a.GetState()]++
		}
		if token = answer.Msg.GetNextPageToken(); token == "" {
			return n
		}
	}
}

func versions(t *testing.T, c *centre.Centre) int {
	t.Helper()
	return warehousetest.Rows(t, c.Store, "asset_version")
}

// settled waits until no version has come for a while.
func settled(t *testing.T, c *centre.Centre) int {
	t.Helper()
	n, since := versions(t, c), time.Now()
	for time.Since(since) < 3*time.Second {
		time.Sleep(200 * time.Millisecond)
		if now := versions(t, c); now != n {
			n, since = now, time.Now()
		}
	}
	return n
}

// TestLostLastSeen: an agent that has forgotten everything, and whose source cannot be
// listed, deletes nothing. What the centre has of its scope comes back, so that
// nothing is created twice, and what went away meanwhile is found.
func TestLostLastSeen(t *testing.T) {
	c := centre.New(t)
	a := newWholeAgent(t, c)
	assets := estate(1000)
	a.list(assets)
	a.start()
	a.state("all", assets)
	for name, lost := range map[string]string{
		"the source cannot be read": `{"assets": [`,
		"the listing breaks halfway": `{"assets":[{"uid":"thing-0001","name":"the thing-0001","document":{"value":"1"}},{"uid":"x",` +
			`"document":{}}],"fail_after":1,"error":"cut","sweep_every":"100ms"}`,
	} {
		t.Run(name, func(t *testing.T) {
			settled(t, c)
			a.stop()
			before, deleted := versions(t, c), states(t, c)[reevev1.State_STATE_DELETED]
			if err := os.RemoveAll(filepath.Join(a.dir, "last-seen")); err != nil {
				t.Fatal(err)
			}
			a.write("s", []byte(lost))
			a.start()
			time.Sleep(5 * time.Second) // several comparisons
			if n := states(t, c)[reevev1.State_STATE_DELETED] - deleted; n > 0 {
				t.Fatalf("%d assets were deleted though no listing succeeded\n%s", n, a.log)
			}
			// The source is back: 10 are gone, and 5 have changed.
			uids := slices.Sorted(maps.Keys(assets))
			for i, uid := range uids[:15] {
				if i < 10 {
					delete(assets, uid)
				} else {
					assets[uid] += "+"
				}
			}
			a.list(assets)
			deadline := time.Now().Add(30 * time.Second)
			for time.Now().Before(deadline) && versions(t, c) < before+15 {
				time.Sleep(100 * time.Millisecond)
			}
			if n := settled(t, c); n != before+15 {
				t.Errorf("%d versions came of 15 changes\n%s", n-before, a.log)
			}
			for uid := range estateOf(t, c) {
				if _, there := assets[uid]; !there {
					t.Errorf("%s is there still", uid)
				}
			}
		})
	}
}

// estateOf returns what the warehouse has that is not deleted.
func estateOf(t *testing.T, c *centre.Centre) map[string]bool {
	t.Helper()
	list, err := c.Store.Assets(t.Context(), warehouse.AssetQuery{Site: "west", Limit: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	there := make(map[string]bool)
	for _, a := range list {
		if a.State != warehouse.Gone {
			there[a.UID] = true
		}
	}
	return there
}

func scopes(t *testing.T, c *centre.Centre) map[string]*reevev1.Scope {
	t.Helper()
	answer, err := c.Client().Scope.ListScopes(t.Context(), connect.NewRequest(&reevev1.ListScopesRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]*reevev1.Scope)
	for _, s := range answer.Msg.GetScopes() {
		all[s.GetName()] = s
	}
	return all
}

// TestReplacedHolder: a second agent with the same collector is held off while the first
// lives. When that is revoked, the second takes over what the centre has of the scope:
// nothing is created twice, and what went away between the two is deleted. The late
// word of the first does not count.
func TestReplacedHolder(t *testing.T) {
	c := centre.New(t)
	first := newWholeAgent(t, c)
	assets := estate(300)
	first.list(assets)
	first.start()
	first.state("all", assets)
	before := settled(t, c)

	second := newWholeAgent(t, c)
	second.world = first.world
	second.start()
	centre.WaitFor(t, "the second is held off", func() bool {
		return strings.Contains(second.log.String(), "another agent of the site holds this scope")
	})
	if s := scopes(t, c)["f/s"]; s.GetHolder() != first.id.Agent.ID || s.GetEpoch() != 1 || s.GetAssets() != 300 ||
		s.GetCompleteTime() == nil {
		t.Errorf("the scope is %v", s)
	}
	if n := settled(t, c); n != before {
		t.Errorf("the second told of %d versions", n-before)
	}

	first.stop()
	second.stop()
	delete(assets, "thing-0001")
	assets["thing-0002"] = "2"
	assets["new"] = "1"
	second.list(assets)
	if _, err := c.Registry.RevokeAgent(t.Context(), registry.System, first.id.Agent.ID, time.Now()); err != nil {
		t.Fatal(err)
	}
	second.start()
	second.state("the second has taken over", assets)
	if n := settled(t, c); n != before+3 {
		t.Errorf("%d versions came of 3 changes\n%s", n-before, second.log)
	}
	if s := scopes(t, c)["f/s"]; s.GetHolder() != second.id.Agent.ID || s.GetEpoch() != 2 {
		t.Errorf("the scope is %v", s)
	}
	if n := states(t, c); n[reevev1.State_STATE_ACTIVE] != 300 || n[reevev1.State_STATE_DELETED] != 1 {
		t.Errorf("the states are %v", n)
	}
}

// TestConfigurationUndone: what a configuration leaves out is deleted if it is little, and
// waits for a person's word if it is much; and when the configuration is as it was,
// everything is there again. A collector that is removed leaves a scope without a
// holder, which a person can end.
func TestConfigurationUndone(t *testing.T) {
	c := centre.New(t)
	a := newWholeAgent(t, c)
	large, small := estate(95), map[string]string{"a": "1", "b": "1", "c": "1", "d": "1", "e": "1"}
	a.listIn("large", large)
	a.listIn("small", small)
	a.start()
	is := func(what string, active, disconnected, deleted int) {
		t.Helper()
		var n map[reevev1.State]int
		defer func() {
			if t.Failed() {
				t.Logf("%s: the states are %v\n%s", what, n, a.log)
			}
		}()
		centre.WaitFor(t, what, func() bool {
			n = states(t, c)
			return n[reevev1.State_STATE_ACTIVE] == active && n[reevev1.State_STATE_DISCONNECTED] == disconnected &&
				n[reevev1.State_STATE_DELETED] == deleted
		})
	}
	again := func(change func()) {
		t.Helper()
		settled(t, c)
		a.compared(change)
	}
	is("all", 100, 0, 0)

	again(func() { a.exclude = []string{"small"} })
	is("5 of 100 are left out", 95, 0, 5)
	again(func() { a.exclude = nil })
	is("they are back", 100, 0, 0)

	before := versions(t, c)
	again(func() { a.exclude = []string{"large", "small"} })
	is("all are left out", 0, 100, 0)
	if text := a.log.String(); !strings.Contains(text, "is that meant?") {
		t.Error("nothing was said of it")
	}
	again(func() { a.exclude = nil })
	is("they are back once more", 100, 0, 0)
	if n := settled(t, c); n != before {
		t.Errorf("%d versions came of nothing", n-before)
	}

	again(func() { a.removed = true })
	is("the collector is removed", 0, 100, 0)
	if s := scopes(t, c)["f/large"]; s.GetHolder() != "" || s.GetReleaseTime() == nil || s.GetAssets() != 95 {
		t.Errorf("the scope is %v", s)
	}
	end := func(dry bool) map[string]int64 {
		t.Helper()
		answer, err := c.Client().Scope.EndScope(t.Context(),
			connect.NewRequest(&reevev1.EndScopeRequest{Site: "west", Name: "f/large", ValidateOnly: dry}))
		if err != nil {
			t.Fatal(err)
		}
		return answer.Msg.GetAssets()
	}
	if n := end(true); n["fake.test.Thing"] != 95 {
		t.Errorf("it would delete %v", n)
	}
	is("nothing is done yet", 0, 100, 0)
	end(false)
	is("it is ended", 0, 5, 95)

	again(func() { a.removed = false })
	is("the collector is back", 100, 0, 0)
	if _, err := c.Client().Scope.EndScope(t.Context(),
		connect.NewRequest(&reevev1.EndScopeRequest{Site: "west", Name: "f/large"})); connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("a scope that is looked after: %v", err)
	}
}

// TestFutureClock: an agent whose machine was ten years ahead for a while pins nothing: its
// stamps come down, and what it says later counts, deletions included.
func TestFutureClock(t *testing.T) {
	c := centre.New(t)
	a := newWholeAgent(t, c)
	a.now = func() time.Time { return time.Now().Add(10 * 365 * 24 * time.Hour) }
	assets := map[string]string{"a": "1", "b": "1"}
	// It has observed both before it could reach anybody.
	address := c.Address
	a.c = &centre.Centre{}
	*a.c = *c
	a.c.Address = "127.0.0.1:1"
	a.list(assets)
	a.start()
	time.Sleep(35 * time.Second) // its patience
	a.stop()
	a.c.Address = address
	a.start()
	a.state("what it saw in the future", assets)
	assets["a"] = "2"
	delete(assets, "b")
	a.list(assets)
	a.state("what it sees while its clock is wrong", assets)
	a.compared(func() { a.now = nil })
	assets["a"] = "3"
	assets["b"] = "2"
	a.list(assets)
	a.state("what it sees when its clock is right", assets)
	list, err := c.Store.Assets(t.Context(), warehouse.AssetQuery{Site: "west", Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	for _, asset := range list {
		if limit := uint64(time.Now().Add(time.Hour).UnixMilli()) << 16; asset.Version > limit {
			t.Errorf("%s has version %d", asset.UID, asset.Version)
		}
	}
	if claimed := warehousetest.Rows(t, c.Store, "asset_version WHERE claimed_version > 0"); claimed < 2 {
		t.Errorf("%d versions keep what was claimed", claimed)
	}
}
