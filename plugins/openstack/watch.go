package openstack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/pkg/retry"
	"github.com/reeve-cloud/reeve/plugins/openstack/cloud"
	"github.com/reeve-cloud/reeve/plugins/openstack/kinds"
)

const (
	// oldest is how old a mark may be. Services forget what was deleted: operators
	// archive such rows. Where they do not tell of it at all, what was missed is long
	// enough to look again at all.
	oldest        = time.Hour
	oldestIfBlind = 3 * time.Minute
	// gather is how long more notifications are waited for before the first one
	// of a burst is looked after.
	gather = 200 * time.Millisecond
	// maxItems is how many elements are read one by one. More are found by a poll,
	// or by a sweep where there is no poll.
	maxItems = 50
	// sweepApart is how far apart sweeps are that were not due by the clock.
	sweepApart = 30 * time.Second
)

// nudged are kinds that are swept when another asset's end says that theirs have
// changed: nothing tells of the deletion of a server's ports.
var nudged = map[string]bool{"network/ports": true, "network/floatingips": true, "storage/volumes": true, "storage/attachments": true}

// Watch implements [plugin.Watcher]. It polls for changes, and looks after what
// notifications name.
func (c *collector) Watch(ctx context.Context, scope plugin.Scope, from plugin.Checkpoint, out plugin.Sink) error {
	if scope.Name == scopeNotifications {
		return c.listen(ctx, out)
	}
	k, err := c.connect(ctx)
	if err != nil {
		return c.notConnected(err)
	}
	l, ok := c.listing(scope.Name)
	if !ok {
		return fmt.Errorf("%s is not listed any more", scope.Name)
	}
	var m mark
	limit := oldest
	if !l.kind.Changes.Deletions() {
		limit = max(oldestIfBlind, 3*time.Duration(c.opts.PollEvery))
	}
	if err := json.Unmarshal([]byte(from), &m); err != nil || m.Fingerprint != c.fingerprint || time.Since(m.Taken) > limit {
		return plugin.ErrCheckpointExpired
	}
	w := &watch{follower: c.follow(k, l, out), since: m.Since, alarm: c.alarms.of(l.kind.String(), l.region)}
	if err := w.states.recall(ctx, l, kinds.Context{Cloud: k.ID, Region: l.region}, out); err != nil {
		return err
	}
	w.states.looked(m)
	return l.sourceOf(w.run(ctx))
}

// follower records what changes in one listing.
type follower struct {
	c   *collector
	k   *cloud.Cloud
	l   *listing
	out plugin.Sink
	// states are what was last known of its assets.
	states *states
}

func (c *collector) follow(k *cloud.Cloud, l *listing, out plugin.Sink) follower {
	return follower{c: c, k: k, l: l, out: out, states: c.told.of(l)}
}

// watch follows one listing between two sweeps.
type watch struct {
	follower
	since time.Time
	alarm *alarm
	// swept is when the listing was last swept from here, and due fires when it is
	// to be swept again.
	swept time.Time
	due   *time.Timer
}

func (w *watch) run(ctx context.Context) error {
	// Scopes of many agents drift apart, and the first poll comes soon: what
	// happened during the sweep is waiting.
	next := time.NewTimer(0)
	defer next.Stop()
	w.due = time.NewTimer(0)
	defer w.due.Stop()
	w.due.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-next.C:
			if err := w.poll(ctx); err != nil {
				return err
			}
			next.Reset(time.Duration(w.c.opts.PollEvery))
		case <-w.due.C:
			w.alarm.take() // what rang meanwhile is seen too
			w.swept = time.Now()
			if err := w.sweep(ctx); err != nil {
				return err
			}
		case <-w.alarm.rings:
			if err := retry.Sleep(ctx, gather); err != nil {
				return err
			}
			if err := w.look(ctx, w.alarm.take()); err != nil {
				return err
			}
		}
	}
}

// poll asks for what has changed.
func (w *watch) poll(ctx context.Context) error {
	queries := w.l.kind.Changes.Queries(w.since)
	if len(queries) == 0 {
		return nil
	}
	r, err := w.c.reader(ctx, w.k, w.l)
	if err != nil {
		return err
	}
	if needs := cloud.ParseMicroversion(w.l.kind.Microversion); w.l.kind.Changes == kinds.UpdatedAt && r.service.Speaks(needs).Less(needs) {
		return nil // an older Cinder takes the filter for a text that nothing has
	}
	since := w.since
	var at time.Time
	for _, q := range queries {
		done, err := r.service.List(ctx, r.request(q), func(raw jsontext.Value) error { return w.apply(ctx, r, raw, since) })
		if err != nil {
			return err
		}
		if at.IsZero() {
			at = done.At
		}
	}
	w.since = at.Add(-overlap)
	w.states.complete(at)
	return w.out.Apply(ctx, w.c.checkpoint(at, w.states.endedLately(time.Duration(w.c.opts.PollEvery))))
}

// apply records one element that has changed.
func (f *follower) apply(ctx context.Context, r *elementReader, raw jsontext.Value, since time.Time) error {
	reading, observation, err := r.observe(raw)
	switch {
	case r.failed != nil:
		return r.failed
	case err != nil && reading.UID != "":
		return f.out.Apply(ctx, "", plugin.Fact{Unread: &plugin.Unread{Key: reading.Key, Why: err.Error()}})
	case err != nil:
		// The next sweep says that it cannot be read, and takes nothing for gone.
		f.c.log.Debug("passing over what has changed, and cannot be read", "scope", f.l.scope(), "error", err)
		return nil
	}
	return f.record(ctx, r, reading, &observation, since)
}

// record records what was read of one element, and what was done to it since a
// moment.
func (f *follower) record(ctx context.Context, r *elementReader, reading kinds.Reading, o *plugin.Observation, since time.Time) error {
	if reading.Partial || reading.Deleted && f.states.hasEnded(reading.UID) {
		return nil
	}
	var facts []plugin.Fact
	for _, e := range f.states.news(reading) {
		facts = append(facts, plugin.Fact{Event: &e})
	}
	if f.c.opts.Actions && f.l.kind.String() == kindServers && !f.states.askedAbout(reading) {
		actions, err := actionsOf(ctx, r, reading, since)
		if err != nil {
			return err
		}
		f.states.askedFor(reading)
		facts = append(facts, actions...)
	}
	if !reading.Deleted {
		return f.out.Apply(ctx, "", append(facts, plugin.Fact{Upsert: o})...)
	}
	return f.end(ctx, reading.Key, o, facts)
}

// end records that an asset was deleted. What the source says of its end is a last
// version before that, also of one that was not seen alive.
func (f *follower) end(ctx context.Context, key plugin.Key, last *plugin.Observation, facts []plugin.Fact) error {
	known := f.states.forget(key)
	if last != nil {
		facts = append(facts, plugin.Fact{Upsert: last})
	}
	facts = append(facts, plugin.Fact{Delete: &key})
	if err := f.out.Apply(ctx, "", facts...); err != nil {
		return err
	}
	if last != nil {
		f.states.hasNowEnded(key.UID)
	}
	if known && f.l.kind.String() == kindServers {
		for kind := range nudged {
			f.c.alarms.of(kind, f.l.region).ring("", false)
		}
	}
	return nil
}

// look looks after the elements that a notification named. An empty id stands for
// any of them.
func (w *watch) look(ctx context.Context, ids map[string]bool) error {
	if len(ids) == 0 {
		return nil
	}
	whole := ids[""] || len(ids) > maxItems
	switch {
	case byName[w.l.kind.String()]:
	case w.l.kind.Changes != kinds.NoChanges && !ids[""]:
		// One list has all that was changed, and those that are not in it any more
		// are looked for one by one.
		if err := w.poll(ctx); err != nil {
			return err
		}
		if w.l.kind.Changes.Deletions() {
			return nil
		}
		gone := maps.Clone(ids)
		maps.DeleteFunc(gone, func(_ string, deleted bool) bool { return !deleted })
		if len(gone) <= maxItems {
			return w.items(ctx, gone)
		}
	case w.l.kind.ItemPath != "" && !whole:
		return w.items(ctx, ids)
	}
	w.sweepSoon()
	return nil
}

// items reads elements one by one.
func (w *watch) items(ctx context.Context, ids map[string]bool) error {
	if len(ids) == 0 {
		return nil
	}
	if w.l.kind.ItemPath == "" {
		w.sweepSoon()
		return nil
	}
	r, err := w.c.reader(ctx, w.k, w.l)
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		request := r.request(nil).Request
		request.Path, request.Query = fmt.Sprintf(w.l.kind.ItemPath, url.PathEscape(id)), nil
		raw, _, err := r.service.GetMember(ctx, request, w.l.kind.ItemEnvelope)
		switch {
		case err == nil:
		case ctx.Err() != nil, errors.Is(err, cloud.ErrUnavailable) && !ofOne(err), errors.Is(err, cloud.ErrCredential):
			return err
		default:
			// It is not there, or not ours to see, or a proxy says so, or nobody can read
			// it: the list tells.
			w.sweepSoon()
			continue
		}
		if err := w.apply(ctx, r, raw, w.since); err != nil {
			return err
		}
	}
	return nil
}

// sweepSoon has the listing swept, though not due by the clock: now, or when it is
// long enough ago that it was.
func (w *watch) sweepSoon() { w.due.Reset(max(0, time.Until(w.swept.Add(sweepApart)))) }

// alarms wake listings between two polls.
type alarms struct {
	mu  sync.Mutex
	all map[place]*alarm
}

func newAlarms() *alarms { return &alarms{all: make(map[place]*alarm)} }

// of returns the alarm of a kind in a region.
func (a *alarms) of(kind, region string) *alarm {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := place{kind, region}
	if a.all[at] == nil {
		a.all[at] = &alarm{rings: make(chan struct{}, 1)}
	}
	return a.all[at]
}

// ring wakes a kind in all regions in which it is watched: a notification does
// not say where it comes from.
func (a *alarms) ring(kind, id string, deleted bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for at, alarm := range a.all {
		if at.api == kind {
			alarm.ring(id, deleted)
		}
	}
}

// alarm is what to look at, and whether it is said to be deleted.
type alarm struct {
	rings chan struct{}

	mu  sync.Mutex
	ids map[string]bool
	// gone is what was said to be deleted lately, with when that was.
	gone map[string]time.Time
}

// ended returns how many of what is missing from a list were said to be deleted.
func (a *alarm) ended(missing map[plugin.Key]string) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.gone, func(_ string, at time.Time) bool { return time.Since(at) > oldest })
	for k := range missing {
		if _, ok := a.gone[k.UID]; ok {
			n++
		}
	}
	return n
}

// maxAlarms is how many ids an alarm remembers. More stand for all.
const maxAlarms = 10_000

func (a *alarm) ring(id string, deleted bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if deleted && id != "" && len(a.gone) < maxAlarms {
		if a.gone == nil {
			a.gone = make(map[string]time.Time)
		}
		a.gone[id] = time.Now()
	}
	if a.ids == nil {
		a.ids = make(map[string]bool)
	}
	if len(a.ids) < maxAlarms {
		a.ids[id] = a.ids[id] || deleted
	} else {
		a.ids[""] = true
	}
	select {
	case a.rings <- struct{}{}:
	default:
	}
}

// take returns what rang, and forgets it.
func (a *alarm) take() map[string]bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	ids := a.ids
	a.ids = nil
	select {
	case <-a.rings:
	default:
	}
	return ids
}
