package retention

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/retry"
	"github.com/reeve-cloud/reeve/pkg/wire"
)

const (
	// MaxRules is how many rules there are, and MaxDays how far they reach.
	MaxRules = 100
	MaxDays  = 36500
	// Versions are removed only while fewer than calm come in within calmTime.
	calm     = 500
	calmTime = 10 * time.Second
	// thinAtOnce is how many versions a statement removes: it names each.
	thinAtOnce = 4000
	// fresh is for how long nothing goes because of what came in: a watch goes on from tokens
	// of a day (watch.Resumable), and must find what was there before.
	fresh = 48 * time.Hour
	// maxThinned is of how many types it is noted apart how thin their history is.
	maxThinned = 500
)

// CheckRules returns an error unless the history can be kept by these rules.
func CheckRules(rules []registry.RetentionRule) error {
	if len(rules) > MaxRules {
		return fmt.Errorf("rules: %d of them: must be at most %d", len(rules), MaxRules)
	}
	for i, r := range rules {
		if err := wire.CheckName("type", r.Type); err != nil && r.Type != "" {
			return fmt.Errorf("rules[%d].type: %q is not the name of a type, as in openstack.compute.Server", i, r.Type)
		}
		if r.All < 1 || r.All > MaxDays {
			return fmt.Errorf("rules[%d].all_days: %d: must be 1 to %d: for how many days all versions are kept", i, r.All, MaxDays)
		}
		before, name := r.All, "all_days"
		for _, s := range []struct {
			name string
			days int
		}{{"daily_days", r.Daily}, {"weekly_days", r.Weekly}, {"monthly_days", r.Monthly}} {
			switch {
			case s.days == 0:
			case s.days < 0 || s.days > MaxDays:
				return fmt.Errorf("rules[%d].%s: %d: must be 0 to %d", i, s.name, s.days, MaxDays)
			case s.days <= before:
				return fmt.Errorf("rules[%d].%s: %d: must be more than %s, %d: all are counted from now", i, s.name, s.days, name, before)
			default:
				before, name = s.days, s.name
			}
		}
		for j, o := range rules[:i] {
			if (o.Site == "" || o.Site == r.Site) && (o.Type == "" || o.Type == r.Type) {
				return fmt.Errorf("rules[%d]: rules[%d] comes before it, and has all of its assets: put the narrower one first", i, j)
			}
		}
	}
	return nil
}

// grid is how long a period is.
type grid uint8

const (
	days grid = iota
	weeks
	months
)

// start is the beginning of the period that a time is in. Weeks begin on Monday, and anew with
// a month, so that a month has whole ones.
func (g grid) start(t time.Time) time.Time {
	t = t.UTC()
	y, m, d := t.Date()
	month := time.Date(y, m, 1, 0, 0, 0, 0, time.UTC)
	switch g {
	case months:
		return month
	case weeks:
		monday := time.Date(y, m, d-int(t.Weekday()+6)%7, 0, 0, 0, 0, time.UTC)
		if monday.Before(month) {
			return month
		}
		return monday
	}
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}

// cuts returns what a rule means at a time. Each part begins where periods of the one
// behind it do, so that these are whole.
func cuts(r registry.RetentionRule, now time.Time) registry.Thinned {
	stages := []struct {
		days int
		grid grid
	}{{r.Daily, days}, {r.Weekly, weeks}, {r.Monthly, months}}
	// bounds are those behind all versions, the daily, the weekly and the monthly ones.
	var bounds [4]time.Time
	own := days
	bound := func(age, next int) time.Time {
		align := own
		for _, s := range stages[next:] {
			if s.days > 0 {
				align = s.grid
				break
			}
		}
		return align.start(now.AddDate(0, 0, -age))
	}
	bounds[0] = bound(r.All, 0)
	for i, s := range stages {
		if bounds[i+1] = bounds[i]; s.days > 0 {
			own = s.grid
			if b := bound(s.days, i+1); b.Before(bounds[i]) {
				bounds[i+1] = b
			}
		}
	}
	epoch := time.Unix(0, 0).UTC()
	for i := range bounds {
		if bounds[i].Before(epoch) {
			bounds[i] = epoch
		}
	}
	return registry.Thinned{Site: r.Site, Type: r.Type, Cut: bounds[0], Daily: bounds[1], Weekly: bounds[2], Monthly: bounds[3]}
}

// ruleOf returns the rule that holds for a type of a site: nil if none does.
func ruleOf(rules []registry.RetentionRule, k warehouse.AssetKind) *registry.RetentionRule {
	i := slices.IndexFunc(rules, func(r registry.RetentionRule) bool {
		return (r.Site == "" || r.Site == k.Site) && (r.Type == "" || r.Type == k.Type)
	})
	if i < 0 {
		return nil
	}
	return &rules[i]
}

func thinning(k warehouse.AssetKind, c registry.Thinned, now time.Time) *warehouse.Thinning {
	return &warehouse.Thinning{Site: k.Site, Type: k.Type, Cut: c.Cut, Daily: c.Daily, Weekly: c.Weekly, Monthly: c.Monthly, Fresh: now.Add(-fresh),
		Now: now.Add(hlc.MaxSkew)}
}

// Effect is what rules do to the history of a type.
type Effect struct {
	Type string
	// Versions is how many there are that are old enough, Doomed how many of them go, and
	// Bytes about how much disk they take.
	Versions, Doomed, Bytes uint64
}

// Plan returns what rules would remove now, of each type that they remove something of.
func Plan(ctx context.Context, w *warehouse.Warehouse, rules []registry.RetentionRule, now time.Time) ([]Effect, error) {
	kinds, err := w.AssetKinds(ctx)
	if err != nil {
		return nil, err
	}
	each, err := w.VersionBytes(ctx)
	if err != nil {
		return nil, err
	}
	var effects []Effect
	for _, k := range kinds {
		rule := ruleOf(rules, k)
		if rule == nil {
			continue
		}
		pieces, err := w.ThinPieces(ctx, thinning(k, cuts(*rule, now), now))
		if err != nil {
			return nil, err
		}
		for _, p := range pieces {
			if len(effects) == 0 || effects[len(effects)-1].Type != k.Type {
				effects = append(effects, Effect{Type: k.Type})
			}
			e := &effects[len(effects)-1]
			e.Versions, e.Doomed = e.Versions+p.Versions, e.Doomed+p.Doomed
			e.Bytes = uint64(float64(e.Doomed) * each)
		}
	}
	return effects, nil
}

// Cuts returns what rules mean at a time, in their order.
func Cuts(rules []registry.RetentionRule, now time.Time) []registry.Thinned {
	list := make([]registry.Thinned, len(rules))
	for i, r := range rules {
		list[i] = cuts(r, now)
	}
	return list
}

// Thinner removes versions that the rules do not keep. Run must follow New.
type Thinner struct {
	Warehouse *warehouse.Warehouse
	Registry  *registry.Registry
	Logger    *slog.Logger
	// Versions is for how long versions are kept where people made no rules; 0 is for ever.
	Versions time.Duration
	// Now is the clock; nil is time.Now.
	Now func() time.Time

	// atOnce is thinAtOnce, but for tests.
	atOnce int

	mu       sync.Mutex
	progress Progress
	seen     int
	since    time.Time
	// thinned is that of the registry.
	thinned []registry.Thinned
	// newest is when the newest version came in that was there at began.
	newest, began time.Time
}

// Progress is how far the thinning is.
type Progress struct {
	// Running says that it is under way; Doomed is how many versions go in this run, and
	// Removed how many have.
	Running         bool
	Doomed, Removed uint64
	// Waiting says that it waits for ingest to have less to do.
	Waiting bool
	// Finished is when the last run ended, and Error why, if it failed.
	Finished time.Time
	Error    error
}

func (t *Thinner) now() time.Time {
	if t.Now == nil {
		return time.Now()
	}
	return t.Now()
}

// Saw says that so many versions came in.
func (t *Thinner) Saw(versions int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); now.Sub(t.since) > calmTime {
		t.seen, t.since = 0, now
	}
	t.seen += versions
}

func (t *Thinner) busy() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.progress.Waiting = t.seen >= calm && time.Since(t.since) <= calmTime
	return t.progress.Waiting
}

// Progress returns how far it is.
func (t *Thinner) Progress() Progress {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.progress
}

// Load reads how thin the history is already. It comes before everything else.
func (t *Thinner) Load(ctx context.Context) error {
	r, err := t.Registry.Retention(ctx)
	if err != nil {
		return fmt.Errorf("reading how much of the history is kept: %w", err)
	}
	newest, err := t.Warehouse.NewestReceived(ctx, t.now().Add(hlc.MaxSkew))
	if err != nil {
		return err
	}
	if newest.IsZero() {
		newest = t.now()
	}
	t.newest, t.began = newest, time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.thinned = r.Thinned
	return nil
}

// Thinned says in words what is not known any more of a moment, for assets of a site and a
// type, where empty is all of them. It is empty if all is.
func (t *Thinner) Thinned(site, assetType string, at time.Time) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	worst, text := 0, ""
	for _, x := range t.thinned {
		if site != "" && x.Site != "" && site != x.Site || assetType != "" && x.Type != "" && assetType != x.Type || !at.Before(x.Cut) {
			continue
		}
		of := "history"
		if x.Type != "" && x.Type != assetType {
			of += " of " + x.Type
		}
		if x.Site != "" && x.Site != site {
			of += " of site " + x.Site
		}
		level, kept, until, period := 1, "once a day", x.Cut, days
		switch {
		case at.Before(x.Monthly):
			level, kept, until, period = 4, "only as it was last", x.Monthly, months
		case at.Before(x.Weekly):
			level, kept, until, period = 3, "once a month", x.Weekly, months
		case at.Before(x.Daily):
			level, kept, until, period = 2, "once a week", x.Daily, weeks
		}
		// What was at the end of a period is known.
		if end := at.Add(time.Millisecond); end.Equal(x.Monthly) || level < 4 && period.start(end).Equal(end) {
			continue
		}
		if level > worst {
			worst = level
			text = fmt.Sprintf("%s before %s is kept %s: what was between is told as it was at the end of the period before", of,
				until.Format(time.DateOnly), kept)
			if level == 4 {
				text = fmt.Sprintf("%s before %s is not kept: of moments before that the answer is not whole", of, until.Format(time.DateOnly))
			}
		}
	}
	return text
}

// WholeSince returns since when the history is whole, of all assets: zero if it has not been
// thinned out.
func (t *Thinner) WholeSince() (since time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, x := range t.thinned {
		if x.Cut.After(since) {
			since = x.Cut
		}
	}
	return since
}

// Run removes what the rules do not keep, now and then, until ctx ends. What fails is
// logged, and tried again the next time.
func (t *Thinner) Run(ctx context.Context) error {
	for pause := delay; ; pause = every {
		if err := retry.Sleep(ctx, pause); err != nil {
			return err
		}
		if err := t.Once(ctx); err != nil && ctx.Err() == nil {
			t.Logger.Error("the history could not be thinned out; trying again later", "error", err)
		}
	}
}

var errRulesChanged = errors.New("the rules have changed")

// Once removes all that the rules do not keep now. Whatever ends it, another call goes on
// where it was.
func (t *Thinner) Once(ctx context.Context) error {
	for {
		if err := t.once(ctx); !errors.Is(err, errRulesChanged) {
			return err
		}
	}
}

func (t *Thinner) once(ctx context.Context) (err error) {
	kept, err := t.Registry.Retention(ctx)
	if err != nil {
		return err
	}
	rules := kept.Rules
	if len(rules) == 0 {
		if t.Versions == 0 {
			return nil
		}
		rules = []registry.RetentionRule{{All: max(int(t.Versions/(24*time.Hour)), 1)}}
	}
	t.set(func(p *Progress) { *p = Progress{Running: true} })
	defer func() {
		t.set(func(p *Progress) { p.Running, p.Waiting, p.Finished, p.Error = false, false, t.now(), err })
	}()
	now := t.now()
	newest, err := t.Warehouse.NewestReceived(ctx, now.Add(hlc.MaxSkew))
	if err != nil || newest.IsZero() {
		return err
	}
	// What came in since the start was received by the clock that may be wrong.
	if ran := t.newest.Add(time.Since(t.began)); !t.began.IsZero() && ran.Before(newest) {
		newest = ran
	}
	for _, c := range Cuts(rules, now) {
		// What is gone does not come back, so a clock that is ahead must not have it removed.
		if newest.Before(c.Cut) {
			return fmt.Errorf("by what came in before the start it is about %s, so nothing is removed as long as all is kept for longer than that ago, %s: "+
				"is the clock right? If it is, restart the aggregator", newest.UTC().Format(time.RFC3339), c.Cut.Format(time.DateOnly))
		}
	}
	kinds, err := t.Warehouse.AssetKinds(ctx)
	if err != nil {
		return err
	}
	var list []registry.Thinned
	for _, k := range kinds {
		if rule := ruleOf(rules, k); rule != nil {
			c := cuts(*rule, now)
			c.Site, c.Type = "", k.Type
			list = append(list, c)
		}
	}
	if err := t.note(ctx, list); err != nil {
		return err
	}
	removed := 0
	var failed []error
	for _, k := range kinds {
		rule := ruleOf(rules, k)
		if rule == nil {
			continue
		}
		n, err := t.thin(ctx, thinning(k, cuts(*rule, now), now), kept.Rules)
		if removed += n; ctx.Err() != nil || errors.Is(err, errRulesChanged) {
			return err
		}
		failed = append(failed, err)
	}
	if removed > 0 {
		t.Logger.Info("thinned out the history", "versions", removed)
	}
	return errors.Join(append(failed, t.Warehouse.GiveBackThinned(ctx))...)
}

func (t *Thinner) set(change func(*Progress)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.progress)
}

// thin removes what a thinning does not keep, piece by piece, and rests as long as each took.
// It ends when the rules are others.
func (t *Thinner) thin(ctx context.Context, of *warehouse.Thinning, rules []registry.RetentionRule) (removed int, err error) {
	pieces, err := t.Warehouse.ThinPieces(ctx, of)
	if err != nil {
		return 0, err
	}
	for _, p := range pieces {
		if p.Doomed == 0 {
			continue
		}
		t.set(func(q *Progress) { q.Doomed += p.Doomed })
		for {
			for t.busy() {
				if err := retry.Sleep(ctx, time.Second); err != nil {
					return removed, err
				}
			}
			now, err := t.Registry.Retention(ctx)
			if err != nil {
				return removed, err
			}
			if !slices.Equal(now.Rules, rules) {
				return removed, errRulesChanged
			}
			began := time.Now()
			n, err := t.Warehouse.Thin(ctx, of, p.Month, cmp.Or(t.atOnce, thinAtOnce))
			if err != nil {
				return removed, err
			}
			if n == 0 {
				break
			}
			removed += n
			t.set(func(q *Progress) { q.Removed += uint64(n) })
			if err := retry.Sleep(ctx, time.Since(began)); err != nil {
				return removed, err
			}
		}
	}
	return removed, nil
}

// note writes down how thin the history becomes, before it does: answers say so from then
// on, also when the rules are others again.
func (t *Thinner) note(ctx context.Context, list []registry.Thinned) error {
	changed := false
	merge := func(all []registry.Thinned) []registry.Thinned {
		all = slices.Clone(all)
		for _, c := range list {
			at := slices.IndexFunc(all, func(x registry.Thinned) bool { return x.Site == c.Site && x.Type == c.Type })
			if at < 0 {
				all, changed = append(all, c), true
				continue
			}
			for _, b := range [][2]*time.Time{{&all[at].Cut, &c.Cut}, {&all[at].Daily, &c.Daily}, {&all[at].Weekly, &c.Weekly}, {&all[at].Monthly,
				&c.Monthly}} {
				if b[1].After(*b[0]) {
					*b[0], changed = *b[1], true
				}
			}
		}
		if len(all) > maxThinned {
			// Types are as many as agents say, and what is stored is not: all are as thin as the thinnest.
			one := registry.Thinned{}
			for _, x := range all {
				one.Cut, one.Daily = latest(one.Cut, x.Cut), latest(one.Daily, x.Daily)
				one.Weekly, one.Monthly = latest(one.Weekly, x.Weekly), latest(one.Monthly, x.Monthly)
			}
			all = []registry.Thinned{one}
		}
		slices.SortFunc(all, func(a, b registry.Thinned) int { return strings.Compare(a.Type+"\x00"+a.Site, b.Type+"\x00"+b.Site) })
		return all
	}
	now, err := t.Registry.Retention(ctx)
	if err != nil {
		return err
	}
	if merge(now.Thinned); changed {
		if now, err = t.Registry.ChangeRetention(ctx, registry.System, "retention.thin", func(r *registry.Retention) error {
			r.Thinned = merge(r.Thinned)
			return nil
		}); err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.thinned = now.Thinned
	return nil
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
