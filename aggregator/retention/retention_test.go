package retention

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

func TestMain(m *testing.M) { warehousetest.Main(m) }

const day = 24 * time.Hour

// TestKeeper has a warehouse with a row a month of everything, and a registry.
func TestKeeper(t *testing.T) {
	w := warehousetest.New(t)
	r, err := registry.Open(registry.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	now := time.Date(2026, 12, 15, 12, 0, 0, 0, time.UTC)
	origin := warehouse.Origin{Site: "west", AgentID: "agent-1", SpoolID: "spool-1"}
	const months = 12
	for i := range months {
		at := now.AddDate(0, -i, 0)
		g := &warehouse.Group{ID: uuid.New(), ReceivedAt: at,
			Events: []warehouse.Event{{Origin: origin, ID: fmt.Sprint(i), Type: "t", Time: at, Severity: "info"}},
			Usage: []warehouse.Usage{{Origin: origin, AssetType: "x.y.Z", AssetUID: "a", Meter: "m", Unit: "u", Start: at,
				End: at.Add(time.Minute), Version: 1}},
			Gaps: []warehouse.Gap{{Origin: origin, Class: "events", FirstSeq: uint64(i), LastSeq: uint64(i), Reason: "budget", Events: 1}},
			// Each is the newest version of its asset.
			Versions: []warehouse.AssetVersion{{Origin: origin, Type: "x.y.Z", UID: fmt.Sprint(i), Version: uint64(i + 1),
				Operation: warehouse.Created, Document: []byte("{}"), ObservedAt: at}},
		}
		if err := w.Write(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	rows := func() string {
		var counts []string
		for _, table := range []string{"asset", "asset_version", "event", "usage", "gap"} {
			counts = append(counts, fmt.Sprint(warehousetest.Rows(t, w, table)))
		}
		return strings.Join(counts, " ")
	}
	keep := func(p Policy) (removed map[string]float64) {
		t.Helper()
		metrics := prometheus.NewRegistry()
		New(Options{Policy: p, Warehouse: w, Registry: r, Logger: slog.New(slog.DiscardHandler), Metrics: metrics}).once(t.Context(), now)
		families, err := metrics.Gather()
		if err != nil {
			t.Fatal(err)
		}
		removed = make(map[string]float64)
		for _, m := range families[0].GetMetric() {
			removed[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
		}
		return removed
	}
	keep(Policy{})
	if got := rows(); got != "12 12 12 12 12" {
		t.Errorf("with everything kept for ever: %s", got)
	}
	// 15 September is in a month that has not ended before; a gap is removed to the day.
	// The state of every asset stays, and so does its last version: what it was before it
	// changes next is asked of that one.
	removed := keep(Policy{Events: 300 * day, Usage: 10 * day, Gaps: 91 * day})
	if got := rows(); got != "12 12 11 1 4" {
		t.Errorf("afterwards: %s", got)
	}
	for what, want := range map[string]float64{"events": 1, "usage": 11, "gaps": 8, "audit": 0} {
		if got := removed[what]; got != want {
			t.Errorf("%s: %v were removed", what, got)
		}
	}
	assets, err := w.Assets(t.Context(), warehouse.AssetQuery{Limit: 100, WithDocument: true})
	if err != nil || len(assets) != months || string(assets[0].Document) != "{}" {
		t.Errorf("%d assets, %v", len(assets), err)
	}

	// The registry's clock is the real one, so its things are looked at from later.
	ctx := t.Context()
	began := time.Now()
	ended, lasting := registry.JoinToken{Site: "west", MaxUses: 1, ExpireTime: began.Add(time.Hour)},
		registry.JoinToken{Site: "west", MaxUses: 1, ExpireTime: began.Add(300 * day)}
	for _, token := range []registry.JoinToken{ended, lasting} {
		if _, _, err := r.CreateJoinToken(ctx, registry.System, token); err != nil {
			t.Fatal(err)
		}
	}
	for _, expires := range []time.Time{{}, began.Add(time.Hour)} {
		token, _ := registry.NewAPIToken("admin", registry.RoleAdmin)
		token.ExpireTime = expires
		if err := r.AddAPIToken(ctx, registry.System, token); err != nil {
			t.Fatal(err)
		}
	}
	spool := registry.SpoolClass{Spool: strings.Repeat("ab", 16), Class: wirev1.Class_CLASS_ASSETS}
	if err := r.SetWatermarks(ctx, map[registry.SpoolClass]uint64{spool: 5}); err != nil {
		t.Fatal(err)
	}
	k := New(Options{Policy: Policy{Tokens: 90 * day, Watermarks: 400 * day, Audit: 400 * day}, Warehouse: w, Registry: r,
		Logger: slog.New(slog.DiscardHandler)})
	for _, test := range []struct {
		after         time.Duration
		tokens, marks int
		audit         int // a line for each token and the site, and one for each that was removed
	}{{89 * day, 4, 1, 5}, {91 * day, 2, 1, 7}, {401 * day, 1, 0, 1}} {
		k.once(ctx, began.Add(test.after))
		tokens := 0
		for range r.JoinTokens(ctx, "") {
			tokens++
		}
		for range r.APITokens(ctx, "") {
			tokens++
		}
		entries, _, _, err := r.Store().AuditPage(ctx, registry.AuditFilter{}, "", 100)
		if tokens != test.tokens || len(r.Watermarks()) != test.marks || len(entries) != test.audit || err != nil {
			t.Errorf("after %v: %d tokens, %d watermarks, %d lines of audit, %v", test.after, tokens, len(r.Watermarks()), len(entries), err)
		}
	}
}
