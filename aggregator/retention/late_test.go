package retention

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	"github.com/reeve-cloud/reeve/pkg/hlc"
)

// lately is a warehouse with a version of five days ago, and one of an hour later that came in an hour ago.
func lately(t *testing.T) (*history, func() int) {
	t.Helper()
	h := &history{w: warehousetest.New(t), now: time.Now()}
	var err error
	if h.r, err = registry.Open(registry.Options{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.r.Close() })
	at := days.start(h.now.AddDate(0, 0, -5)).Add(10 * time.Hour)
	for i, v := range []struct{ at, received time.Time }{{at, at}, {at.Add(time.Hour), h.now.Add(-time.Hour)}} {
		if err := h.w.Write(t.Context(), &warehouse.Group{ID: uuid.New(), ReceivedAt: v.received, Versions: []warehouse.AssetVersion{{
			Origin: warehouse.Origin{Site: "west", AgentID: "a", SpoolID: "s", Seq: uint64(i + 1)}, Type: "a.b.C", UID: "u", Name: "n",
			Version: uint64(hlc.FromTime(v.at)), Operation: warehouse.Updated, Document: []byte("{}"), ObservedAt: v.at}}}); err != nil {
			t.Fatal(err)
		}
	}
	return h, func() int { return warehousetest.Rows(t, h.w, "asset_version") }
}

// TestLateVersions: what came in within a day takes nothing away that a watch goes on from.
func TestLateVersions(t *testing.T) {
	h, rows := lately(t)
	h.set(t, registry.RetentionRule{All: 1})
	if err := h.thinner().Once(t.Context()); err != nil || rows() != 2 {
		t.Errorf("%v, %d versions are left of 2", err, rows())
	}
	h.now = h.now.AddDate(0, 0, 1).Add(25 * time.Hour)
	if err := h.w.Write(t.Context(), &warehouse.Group{ID: uuid.New(), ReceivedAt: h.now, Versions: []warehouse.AssetVersion{{
		Origin: warehouse.Origin{Site: "west", AgentID: "a", SpoolID: "s", Seq: 3}, Type: "a.b.C", UID: "v", Name: "n",
		Version: uint64(hlc.FromTime(h.now)), Operation: warehouse.Updated, Document: []byte("{}"), ObservedAt: h.now}}}); err != nil {
		t.Fatal(err)
	}
	if err := h.thinner().Once(t.Context()); err != nil || rows() != 2 {
		t.Errorf("%v, %d versions are left of 3", err, rows())
	}
}

// TestClockJumpsAhead: the clock jumps, and what comes in then is received by it.
func TestClockJumpsAhead(t *testing.T) {
	h, rows := lately(t)
	thinner := h.thinner()
	if err := thinner.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.set(t, registry.RetentionRule{All: 30})
	h.now = h.now.AddDate(3, 0, 0)
	if err := h.w.Write(t.Context(), &warehouse.Group{ID: uuid.New(), ReceivedAt: h.now, Versions: []warehouse.AssetVersion{{
		Origin: warehouse.Origin{Site: "west", AgentID: "a", SpoolID: "s", Seq: 3}, Type: "a.b.C", UID: "v", Name: "n",
		Version: uint64(hlc.FromTime(h.now)), Operation: warehouse.Updated, Document: []byte("{}"), ObservedAt: h.now}}}); err != nil {
		t.Fatal(err)
	}
	if err := thinner.Once(t.Context()); err == nil || rows() != 3 {
		t.Errorf("%v, %d versions are left of 3", err, rows())
	}
}

// TestRulesChange: rules that are taken away end what they began.
func TestRulesChange(t *testing.T) {
	h, _ := lately(t)
	var g warehouse.Group
	g.ID, g.ReceivedAt = uuid.New(), h.now.AddDate(0, 0, -10)
	for i := range 200 {
		at := g.ReceivedAt.Add(time.Duration(i) * time.Second)
		g.Versions = append(g.Versions, warehouse.AssetVersion{Origin: warehouse.Origin{Site: "west", AgentID: "a", SpoolID: "s", Seq: uint64(10 + i)},
			Type: "a.b.C", UID: "w", Name: "n", Version: uint64(hlc.FromTime(at)), Operation: warehouse.Updated, Document: []byte("{}"), ObservedAt: at})
	}
	if err := h.w.Write(t.Context(), &g); err != nil {
		t.Fatal(err)
	}
	h.set(t, registry.RetentionRule{All: 1})
	thinner := h.thinner()
	thinner.atOnce = 1
	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	go func() { done <- thinner.Once(ctx) }()
	for thinner.Progress().Removed < 2 && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	h.set(t)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := thinner.Progress(); n.Removed > 10 {
		t.Errorf("it went on: %+v", n)
	}
	if n := warehousetest.Rows(t, h.w, "asset_version"); n < 150 {
		t.Errorf("%d versions are left", n)
	}
}
