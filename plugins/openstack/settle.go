package openstack

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/openstack/cloud"
	"github.com/reeve-cloud/reeve/plugins/openstack/kinds"
)

// heldFor is how long what is missing is kept where a service may have stopped
// showing it without a word. Who is told of it can mend the role meanwhile.
const heldFor = 24 * time.Hour

// seen is what a list has shown so far.
type seen struct {
	seed maphash.Seed
	keys map[uint64]struct{}
	// sum is another when the keys are.
	sum uint64
	// others says that there was something of another project than the credential's.
	others bool
	// unread are the elements of which it cannot be told what they are, why is what
	// is wrong with the last of them, and odd are those of which only that is known.
	unread, odd int
	why         string
	// twins are the elements of kinds that may have several of one key.
	twins map[plugin.Key][]twin
	// at is when the list was begun, by the clock of the service.
	at time.Time
}

func newSeen(seed maphash.Seed) *seen { return &seen{seed: seed, keys: make(map[uint64]struct{})} }

func (s *seen) add(k plugin.Key) {
	h := maphash.Comparable(s.seed, k)
	if _, known := s.keys[h]; !known {
		s.keys[h] = struct{}{}
		s.sum += h
	}
}

func (s *seen) has(k plugin.Key) bool {
	_, ok := s.keys[maphash.Comparable(s.seed, k)]
	return ok
}

// doubts says that what is missing may be among what cannot be read.
func (s *seen) doubts(r *elementReader) {
	if s.unread > 0 {
		r.doubts(fmt.Sprintf("%d elements cannot be told from others: %s", s.unread, s.why))
	}
}

// missing returns what is recorded in the listing and was not seen, with its
// projects, and how much is recorded. Where the same was seen as by the last
// sweep, nothing is.
func (f *follower) missing(ctx context.Context, s *seen) (missing map[plugin.Key]string, recorded int, err error) {
	f.c.mu.Lock()
	last, known := f.c.sums[f.l.scope()]
	f.c.mu.Unlock()
	if known && last == s.sum {
		return nil, 0, nil
	}
	missing = make(map[plugin.Key]string)
	err = f.out.Recall(ctx, func(o plugin.Observation) error {
		recorded++
		if !s.has(o.Key) {
			missing[plugin.Key{Type: strings.Clone(o.Type), UID: strings.Clone(o.UID)}] = strings.Clone(o.Project)
		}
		return nil
	})
	return missing, recorded, err
}

// settle finds out about what is missing from a list that came to its end, and
// keeps what may still be there: nothing is deleted by ignorance. It reports whether
// it has kept anything.
func (f *follower) settle(ctx context.Context, r *elementReader, sweep plugin.Sweep, s *seen) (kept bool, err error) {
	missing, recorded, err := f.missing(ctx, s)
	if err != nil {
		return false, err
	}
	if len(missing) > 0 && f.states != nil && f.l.kind.Changes.Deletions() {
		if err := f.ends(ctx, r, missing, s.at); err != nil {
			return false, err
		}
	}
	s.doubts(r)
	if len(missing) > 0 && r.doubt == "" && f.l.kind.Hidden != "" {
		if err := f.hidden(ctx, r, sweep, s, missing); err != nil {
			return false, err
		}
	}
	before := len(missing)
	if before > 0 && r.doubt == "" && f.l.kind.Copied {
		if err := f.elsewhere(ctx, r, sweep, missing); err != nil {
			return false, err
		}
	}
	kept = len(missing) < before
	var why string
	switch told := f.c.alarms.of(f.l.kind.String(), f.l.region).ended(missing); {
	case len(missing) == 0:
	case r.doubt != "":
		why = r.doubt
	case told == len(missing):
		// The cloud has said so itself.
	case 10*len(missing) > recorded || len(s.keys) == 0:
		if why, err = f.shrunk(ctx, r, sweep, s, missing, recorded); err != nil {
			return kept, err
		}
	}
	if why == "" {
		f.c.heal(f.l, "kept")
		return kept, nil
	}
	f.tell(ctx, "kept", plugin.Warning, fmt.Sprintf("%d of %d are missing from the list of %s, and are kept as they were: %s",
		len(missing), recorded, f.l.scope(), why))
	return true, sweep.Keep(ctx, slices.Collect(maps.Keys(missing))...)
}

// shrunk looks once more at a list that has become much shorter, and returns why
// what is missing is kept, or empty.
func (f *follower) shrunk(
	ctx context.Context, r *elementReader, sweep plugin.Sweep, s *seen, missing map[plugin.Key]string, recorded int,
) (why string, err error) {
	if err := f.read(ctx, r, sweep, s); err != nil {
		return "", fmt.Errorf("asking once more for a list that has become much shorter: %w", err)
	}
	maps.DeleteFunc(missing, func(k plugin.Key, _ string) bool { return s.has(k) })
	if len(missing) == 0 {
		return "", nil
	}
	s.doubts(r)
	if r.doubt != "" {
		return r.doubt, nil
	}
	scope := f.l.scope()
	// What is left of another project proves that such things are shown.
	whole := !f.l.view.all() || s.others
	if !whole && !f.c.seesAll(ctx, f.k, f.l.kind.API, f.l.region, f.l.who) {
		f.c.changed()
		return "the service does not show all any more to a credential of these roles", nil
	}
	if !whole && f.c.mayShowLess(f.l) {
		f.c.mu.Lock()
		since, held := f.c.held[scope]
		if !held {
			since = time.Now()
			f.c.held[scope] = since
		}
		f.c.mu.Unlock()
		if until := since.Add(heldFor); time.Now().Before(until) {
			return fmt.Sprintf("the service shows nothing of other projects any more, "+
				"which it also does without a word when the credential's roles, the service's policy "+
				"or its version lets it show less. Give the credential a role that sees all, or leave the kind out by exclude; "+
				"if nothing is changed, they are recorded as deleted after %s",
				until.UTC().Format(time.RFC3339)), nil
		}
	}
	severity := plugin.Info
	if len(s.keys) == 0 && recorded > 1 {
		severity = plugin.Warning
	}
	f.say(ctx, "shrunk", severity, fmt.Sprintf("%d of %d are missing from the list of %s, also when it was asked for once more: they are "+
		"recorded as deleted",
		len(missing), recorded, scope))
	return "", nil
}

// hidden looks for what is missing among what the list leaves out.
func (f *follower) hidden(ctx context.Context, r *elementReader, sweep plugin.Sweep, s *seen, missing map[plugin.Key]string) error {
	list := r.request(nil)
	name, value, _ := strings.Cut(f.l.kind.Hidden, "=")
	list.Query.Set(name, value)
	if _, err := r.service.List(ctx, list, func(raw jsontext.Value) error { return f.take(ctx, r, sweep, s, raw) }); err != nil {
		return err
	}
	maps.DeleteFunc(missing, func(k plugin.Key, _ string) bool { return s.has(k) })
	return nil
}

// elsewhere looks for what is missing in the other regions, where operators may
// have made it with the same id. Assets are one for all regions.
func (f *follower) elsewhere(ctx context.Context, r *elementReader, sweep plugin.Sweep, missing map[plugin.Key]string) error {
	for _, other := range f.c.sameKind(f.l) {
		there := func(raw jsontext.Value) error {
			key := plugin.Key{Type: f.l.kind.Type, UID: idOf(raw)}
			if _, wanted := missing[key]; !wanted {
				return nil
			}
			delete(missing, key)
			return sweep.Keep(ctx, key)
		}
		s, err := f.k.Service(ctx, other.kind.API, other.region)
		if err == nil {
			o := &elementReader{c: f.c, k: f.k, l: other, service: s}
			_, err = s.List(ctx, o.request(nil), there)
		}
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			r.doubts(fmt.Sprintf("they may be in %s, which cannot be asked: %v", other.region, err))
		}
	}
	return nil
}

// sameKind are the listings of the same kind in other regions.
func (c *collector) sameKind(l *listing) (others []*listing) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, scope := range slices.Sorted(maps.Keys(c.listings)) {
		if o := c.listings[scope]; o.kind == l.kind && o.region != l.region {
			others = append(others, o)
		}
	}
	return others
}

// tell says something of a listing as an event, once, until it is healed.
func (f *follower) tell(ctx context.Context, what string, severity plugin.Severity, message string) {
	f.c.mu.Lock()
	key := f.l.scope() + " " + what
	said := f.c.said[key]
	f.c.said[key] = true
	f.c.mu.Unlock()
	if !said {
		f.say(ctx, what, severity, message)
	}
}

// heal says that something is not so any more: it is news when it comes again.
func (c *collector) heal(l *listing, what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.said, l.scope()+" "+what)
	if what == "kept" {
		delete(c.held, l.scope())
	}
}

func (f *follower) say(ctx context.Context, what string, severity plugin.Severity, message string) {
	f.c.log.Warn("told of a listing", "scope", f.l.scope(), "told", message)
	now := time.Now()
	err := f.out.Apply(ctx, "", plugin.Fact{Event: &plugin.Event{
		ID:   kinds.EventID(f.l.scope(), what, now.UTC().Format(time.RFC3339Nano)),
		Type: eventPrefix + "listing." + what, Time: now, Severity: severity, Message: message,
	}})
	if err != nil && ctx.Err() == nil {
		f.c.log.Error("recording an event", "event_type", eventPrefix+"listing."+what, "error", err)
	}
}

// ofOne reports whether an error is of the one thing that a list was asked for,
// and not of the service.
func ofOne(err error) bool {
	var status *cloud.StatusError
	if !errors.As(err, &status) || errors.Is(err, cloud.ErrStranger) {
		return false
	}
	switch status.Code {
	case 400, 404, 409, 410, 422, 500:
		return true
	}
	return false
}
