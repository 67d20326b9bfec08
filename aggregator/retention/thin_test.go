package retention

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	"github.com/reeve-cloud/reeve/pkg/hlc"
)

func TestCheckRules(t *testing.T) {
	rule := func(list ...int) registry.RetentionRule {
		return registry.RetentionRule{All: list[0], Daily: list[1], Weekly: list[2], Monthly: list[3]}
	}
	typed := rule(1, 0, 0, 0)
	typed.Type = "x.y.Z"
	for name, test := range map[string]struct {
		rules []registry.RetentionRule
		want  string
	}{
		"none":            {nil, ""},
		"all":             {[]registry.RetentionRule{rule(1, 2, 3, 4)}, ""},
		"some":            {[]registry.RetentionRule{rule(7, 0, 30, 0)}, ""},
		"narrow first":    {[]registry.RetentionRule{typed, rule(1, 0, 0, 0)}, ""},
		"wide first":      {[]registry.RetentionRule{rule(1, 0, 0, 0), typed}, "rules[1]: rules[0] comes before it"},
		"nothing kept":    {[]registry.RetentionRule{rule(0, 1, 0, 0)}, "rules[0].all_days: 0"},
		"negative":        {[]registry.RetentionRule{rule(1, -1, 0, 0)}, "rules[0].daily_days: -1"},
		"too long":        {[]registry.RetentionRule{rule(1, 0, MaxDays+1, 0)}, "weekly_days"},
		"backwards":       {[]registry.RetentionRule{rule(7, 30, 14, 0)}, "rules[0].weekly_days: 14: must be more than daily_days, 30"},
		"not longer":      {[]registry.RetentionRule{rule(7, 0, 0, 7)}, "must be more than all_days"},
		"too many":        {make([]registry.RetentionRule, MaxRules+1), "at most 100"},
		"a strange type":  {[]registry.RetentionRule{{All: 1, Type: "a\x00"}}, "rules[0].type"},
		"the same, twice": {[]registry.RetentionRule{typed, typed}, "rules[1]: rules[0]"},
	} {
		t.Run(name, func(t *testing.T) {
			err := CheckRules(test.rules)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

func TestCuts(t *testing.T) {
	now := time.Date(2026, 3, 18, 15, 4, 5, 0, time.UTC) // a Wednesday
	for name, test := range map[string]struct {
		rule registry.RetentionRule
		want string
	}{
		"all":          {registry.RetentionRule{All: 2}, "2026-03-16 2026-03-16 2026-03-16 2026-03-16"},
		"daily":        {registry.RetentionRule{All: 2, Daily: 5}, "2026-03-16 2026-03-13 2026-03-13 2026-03-13"},
		"weekly":       {registry.RetentionRule{All: 2, Weekly: 15}, "2026-03-16 2026-03-16 2026-03-02 2026-03-02"},
		"cut by month": {registry.RetentionRule{All: 2, Weekly: 17}, "2026-03-16 2026-03-16 2026-03-01 2026-03-01"},
		"everything":   {registry.RetentionRule{All: 2, Daily: 10, Weekly: 30, Monthly: 100}, "2026-03-16 2026-03-02 2026-02-01 2025-12-01"},
		"for ever":     {registry.RetentionRule{All: 2, Monthly: MaxDays}, "2026-03-01 2026-03-01 2026-03-01 1970-01-01"},
	} {
		t.Run(name, func(t *testing.T) {
			c := cuts(test.rule, now)
			var got []string
			for _, at := range []time.Time{c.Cut, c.Daily, c.Weekly, c.Monthly} {
				got = append(got, at.Format(time.DateOnly))
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("%v, want %s", got, test.want)
			}
		})
	}
}

// history is a warehouse with versions, and the plain model of them.
type history struct {
	w        *warehouse.Warehouse
	r        *registry.Registry
	now      time.Time
	versions []told
}

type told struct {
	site, kind, uid, name string
	at                    time.Time
	stamp                 uint64
	deleted               bool
}

func (v *told) key() string { return v.site + " " + v.kind + " " + v.uid }

// then is what there was at a moment.
func (h *history) then(at time.Time, kind string) string {
	newest := make(map[string]*told)
	for i := range h.versions {
		v := &h.versions[i]
		if o := newest[v.key()]; !v.at.After(at) && (o == nil || v.stamp > o.stamp) {
			newest[v.key()] = v
		}
	}
	var list []string
	for key, v := range newest {
		if !v.deleted && v.kind == kind {
			list = append(list, key+" "+v.name)
		}
	}
	slices.Sort(list)
	return strings.Join(list, "\n")
}

func newHistory(t *testing.T, r *rand.Rand, days, n int) *history {
	t.Helper()
	h := &history{w: warehousetest.New(t), now: time.Date(2026, 11, 18, 15, 4, 5, 0, time.UTC)}
	var err error
	if h.r, err = registry.Open(registry.Options{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.r.Close(); err != nil {
			t.Error(err)
		}
	})
	span := time.Duration(days) * day
	for i := range n {
		at := h.now.Add(-time.Duration(r.Int64N(int64(span)))).Truncate(time.Millisecond)
		if i%5 == 0 { // at the very edges of periods
			at = grid(r.IntN(3)).start(at).Add(time.Duration(r.IntN(3)-1) * time.Millisecond)
		}
		h.versions = append(h.versions, told{site: []string{"west", "east"}[r.IntN(2)], kind: []string{"a.b.Often", "a.b.Rarely"}[r.IntN(2)],
			uid: fmt.Sprint(r.IntN(6)), name: fmt.Sprint("v", i), at: at, deleted: r.IntN(5) == 0})
	}
	h.versions = append(h.versions, told{site: "west", kind: "a.b.Often", uid: "0", name: "newest", at: h.now.Add(-time.Second)})
	slices.SortFunc(h.versions, func(a, b told) int { return a.at.Compare(b.at) })
	groups := make(map[string]*warehouse.Group)
	for i := range h.versions {
		v := &h.versions[i]
		v.stamp = uint64(hlc.FromTime(v.at)) + uint64(i) // several of one asset may be within a millisecond
		operation := warehouse.Updated
		if v.deleted {
			operation = warehouse.Deleted
		}
		received := v.at.Add(time.Duration(r.IntN(100)) * time.Hour) // some late
		if received.After(h.now) {
			received = h.now
		}
		month := received.Format("2006-01")
		if v.name == "newest" {
			month, received = "newest", h.now
		}
		if groups[month] == nil {
			groups[month] = &warehouse.Group{ID: uuid.New(), ReceivedAt: received}
		}
		groups[month].Versions = append(groups[month].Versions, warehouse.AssetVersion{
			Origin: warehouse.Origin{Site: v.site, AgentID: "a", SpoolID: "s", Seq: uint64(i + 1)}, Type: v.kind, UID: v.uid, Version: v.stamp, Name: v.name,
			Operation: operation, Document: []byte("{}"), ObservedAt: v.at})
	}
	for _, month := range slices.Sorted(maps.Keys(groups)) {
		if err := h.w.Write(t.Context(), groups[month]); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func (h *history) thinner() *Thinner {
	return &Thinner{Warehouse: h.w, Registry: h.r, Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return h.now }, atOnce: 50}
}

func (h *history) set(t *testing.T, rules ...registry.RetentionRule) {
	t.Helper()
	if err := CheckRules(rules); err != nil {
		t.Fatal(err)
	}
	if _, err := h.r.ChangeRetention(t.Context(), registry.System, "retention.set", func(r *registry.Retention) error {
		r.Rules = rules
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// asked is what the query engine answers of a moment, with its warnings.
func (h *history) asked(t *testing.T, thinner *Thinner, kind string, at time.Time) (list, warnings string) {
	t.Helper()
	e := query.New(query.Options{Warehouse: h.w, Thinned: thinner.Thinned, Now: func() time.Time { return h.now }})
	page, err := e.List(t.Context(), query.All(), query.ListQuery{Selection: query.Selection{Type: kind, Moment: query.At(at)}, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, r := range page.Rows {
		rows = append(rows, r.Site+" "+r.Type+" "+r.UID+" "+r.Name)
	}
	for _, w := range page.Warnings {
		warnings += w.Message
	}
	slices.Sort(rows)
	return strings.Join(rows, "\n"), warnings
}

// TestThinnedHistory has a random history thinned out, cut short at random, and asks of
// every moment that is still known.
func TestThinnedHistory(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	h := newHistory(t, r, 150, 600)
	often := registry.RetentionRule{Type: "a.b.Often", All: 10, Daily: 40, Weekly: 90, Monthly: 130}
	rarely := registry.RetentionRule{All: 60}
	rules := []registry.RetentionRule{often, rarely}

	if err := h.thinner().Once(t.Context()); err != nil || warehousetest.Rows(t, h.w, "asset_version") != len(h.versions) {
		t.Errorf("without rules: %v", err)
	}
	effects, err := Plan(t.Context(), h.w, rules, h.now)
	if err != nil || len(effects) != 2 || effects[0].Bytes == 0 {
		t.Fatalf("%+v, %v", effects, err)
	}
	doomed := int(effects[0].Doomed + effects[1].Doomed)
	h.set(t, rules...)
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		thinner := h.thinner()
		done := make(chan error, 1)
		go func() { done <- thinner.Once(ctx) }()
		some := uint64(1 + r.IntN(60))
		for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if p := thinner.Progress(); p.Removed >= some || !p.Finished.IsZero() {
				break
			}
		}
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) && ctx.Err() == nil {
			t.Fatal(err)
		}
	}
	thinner := h.thinner()
	if err := thinner.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	left := warehousetest.Rows(t, h.w, "asset_version")
	if left != len(h.versions)-doomed {
		t.Errorf("of %d versions there are %d, and the plan said that %d go", len(h.versions), left, doomed)
	}

	check := func(kind string, at time.Time, warned bool) {
		t.Helper()
		got, warnings := h.asked(t, thinner, kind, at)
		if want := h.then(at, kind); got != want {
			t.Errorf("%s as of %v:\n%s\nwant\n%s", kind, at, got, want)
		}
		if (warnings != "") != warned {
			t.Errorf("%s as of %v is answered with the warning %q", kind, at, warnings)
		}
	}
	c := cuts(often, h.now)
	count := 0
	for _, zone := range []struct {
		from, to time.Time
		grid     grid
	}{{c.Daily, c.Cut, days}, {c.Weekly, c.Daily, weeks}, {c.Monthly, c.Weekly, months}} {
		for at := zone.from; !at.After(zone.to); at = at.Add(day) {
			if zone.grid.start(at).Equal(at) && r.IntN(3) > 0 {
				check("a.b.Often", at.Add(-time.Millisecond), false)
				count++
			}
			if zone.grid.start(at.Add(time.Hour)).Equal(at.Add(time.Hour)) || !at.Before(zone.to) {
				continue
			}
			if _, warnings := h.asked(t, thinner, "a.b.Often", at.Add(time.Hour)); r.IntN(20) == 0 && warnings == "" {
				t.Errorf("as of %v there is no warning", at.Add(time.Hour))
			}
		}
	}
	if count < 20 {
		t.Errorf("only %d moments were looked at", count)
	}
	for range 30 {
		check("a.b.Often", c.Cut.Add(time.Duration(r.Int64N(int64(h.now.Sub(c.Cut))))), false)
		cut := cuts(rarely, h.now).Cut
		check("a.b.Rarely", cut.Add(time.Duration(r.Int64N(int64(h.now.Sub(cut))))), false)
	}
	if _, warnings := h.asked(t, thinner, "a.b.Rarely", h.now.Add(-100*day)); !strings.Contains(warnings, "is not kept") {
		t.Errorf("of what is not kept there is the warning %q", warnings)
	}

	// Once more there is nothing to do, and nothing more goes when the rules do.
	again := h.thinner()
	if err := again.Once(t.Context()); err != nil || again.Progress().Removed != 0 || warehousetest.Rows(t, h.w, "asset_version") != left {
		t.Errorf("the second time: %+v, %v", again.Progress(), err)
	}
	h.set(t)
	fresh := h.thinner()
	if err := fresh.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := fresh.Once(t.Context()); err != nil || fresh.Thinned("", "a.b.Often", c.Daily.Add(time.Hour)) == "" || !fresh.WholeSince().Equal(c.Cut) {
		t.Errorf("without rules the history is not known to be thin: %v, %v", fresh.thinned, err)
	}

	// Half a year later what is thin is thinner, and right.
	h.set(t, rules...)
	h.now = h.now.AddDate(0, 0, 9)
	h.versions = append(h.versions, told{site: "west", kind: "a.b.Often", uid: "new", name: "new", at: h.now, stamp: uint64(hlc.FromTime(h.now))})
	if err := h.w.Write(t.Context(), &warehouse.Group{ID: uuid.New(), ReceivedAt: h.now, Versions: []warehouse.AssetVersion{{
		Origin: warehouse.Origin{Site: "west", AgentID: "a", SpoolID: "s", Seq: 1 << 40}, Type: "a.b.Often", UID: "new", Name: "new",
		Version: uint64(hlc.FromTime(h.now)), Operation: warehouse.Created, Document: []byte("{}"), ObservedAt: h.now}}}); err != nil {
		t.Fatal(err)
	}
	if err := thinner.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	c = cuts(often, h.now)
	for at := c.Weekly; at.Before(c.Daily); at = at.Add(day) {
		if weeks.start(at).Equal(at) {
			check("a.b.Often", at.Add(-time.Millisecond), at.Equal(c.Weekly) && !months.start(at).Equal(at))
		}
	}
}

// TestClockAhead has the aggregator's clock years ahead: nothing goes.
func TestClockAhead(t *testing.T) {
	h := newHistory(t, rand.New(rand.NewPCG(1, 1)), 50, 50)
	h.set(t, registry.RetentionRule{All: 30})
	h.now = h.now.AddDate(3, 0, 0)
	err := h.thinner().Once(t.Context())
	if err == nil || !strings.Contains(err.Error(), "is the clock right?") || warehousetest.Rows(t, h.w, "asset_version") != len(h.versions) {
		t.Errorf("error %v", err)
	}
}

// TestVersionsDays is what the configuration says where people said nothing.
func TestVersionsDays(t *testing.T) {
	h := newHistory(t, rand.New(rand.NewPCG(1, 2)), 300, 300)
	thinner := h.thinner()
	thinner.Versions = 91 * day
	if err := thinner.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, ago := range []int{1, 30, 90} {
		at := h.now.AddDate(0, 0, -ago)
		if got, warnings := h.asked(t, thinner, "a.b.Often", at); got != h.then(at, "a.b.Often") || warnings != "" {
			t.Errorf("%d days ago: %s, %s, want %s", ago, got, warnings, h.then(at, "a.b.Often"))
		}
	}
	if n := warehousetest.Rows(t, h.w, "asset_version"); n >= len(h.versions) {
		t.Error("nothing went")
	}
}

// TestBusy has nothing removed while much comes in.
func TestBusy(t *testing.T) {
	h := newHistory(t, rand.New(rand.NewPCG(1, 3)), 300, 100)
	h.set(t, registry.RetentionRule{All: 1})
	thinner := h.thinner()
	thinner.Saw(calm)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- thinner.Once(ctx) }()
	for end := time.Now().Add(5 * time.Second); !thinner.Progress().Waiting && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if p := thinner.Progress(); !p.Waiting || p.Removed != 0 {
		t.Errorf("%+v", p)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
