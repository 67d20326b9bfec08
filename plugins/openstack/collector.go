package openstack

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/pkg/retry"
	"github.com/reeve-cloud/reeve/plugins/openstack/cloud"
	"github.com/reeve-cloud/reeve/plugins/openstack/kinds"
)

// rediscoverEvery is how often it is looked again what there is to list.
const rediscoverEvery = 10 * time.Minute

// collector observes one cloud.
type collector struct {
	log         *slog.Logger
	opts        options
	fingerprint string
	told        *told
	alarms      *alarms
	// rediscover has one place: the credential sees something else than before.
	rediscover chan struct{}

	mu    sync.Mutex
	cloud *cloud.Cloud
	// listings are what was published, by scope.
	listings map[string]*listing
	// seen is what was found out of what can be seen, by API and region.
	seen map[place]bool
	// refused are the scopes of all that the service refuses to list.
	refused map[string]bool
	// groups are the security groups by region, flavors the flavors.
	groups  map[string]*groupNames
	flavors map[string]*flavorNames
	domains domains
	// unseen is what was said last of what is not collected.
	unseen unseen
	// sums tell what the last sweep of a scope has seen, where all of it was there;
	// said is what was told of scopes, and held since when something is kept.
	seed maphash.Seed
	sums map[string]uint64
	said map[string]bool
	held map[string]time.Time
	// faults are by region/server.
	faults map[string]fault
}

// place is an API in a region.
type place struct{ api, region string }

// listing is a kind in a region, as far as the credential sees it.
type listing struct {
	kind *kinds.Kind
	// region is empty for kinds that belong to none.
	region string
	view   view
	// who saw it so when it was found out.
	who cloud.Identified
}

// scope is the listing's name. It says what is covered.
func (l *listing) scope() string {
	name := l.kind.String()
	if l.region != "" {
		name = l.region + "/" + name
	}
	return name + l.view.suffix()
}

// source says what a listing needs, in words.
func (l *listing) source() string { return sourceName(l.kind.API, l.region) }

var (
	_ plugin.Watcher  = (*collector)(nil)
	_ plugin.Selector = (*collector)(nil)
)

func newCollector(log *slog.Logger, opts options) *collector {
	return &collector{
		log: log, opts: opts, fingerprint: opts.fingerprint(), told: newTold(), alarms: newAlarms(),
		rediscover: make(chan struct{}, 1),
		seen:       make(map[place]bool), refused: make(map[string]bool),
		groups: make(map[string]*groupNames), flavors: make(map[string]*flavorNames), domains: domains{empty: make(map[string]time.Time)},
		seed: maphash.MakeSeed(), sums: make(map[string]uint64), said: make(map[string]bool), held: make(map[string]time.Time),
		faults: make(map[string]fault),
	}
}

// connect returns the cloud, and logs in first if that has not been done yet.
func (c *collector) connect(ctx context.Context) (*cloud.Cloud, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cloud != nil && !c.cloud.Stale() {
		return c.cloud, nil
	}
	k, err := cloud.Connect(ctx, c.opts.access())
	if err != nil {
		return nil, err
	}
	who, err := k.Identified()
	if err != nil {
		return nil, err
	}
	c.log.Info("logged in to an OpenStack cloud", "auth_url", k.Host, "cloud_id", k.ID, "user", who.User, "scope", who.Scope(), "roles",
		who.Roles, "regions", k.Regions())
	c.cloud = k
	return k, nil
}

// disconnect has the credentials read anew, where they were refused: what they are
// may have been exchanged.
func (c *collector) disconnect(k *cloud.Cloud, err error) {
	if !errors.Is(err, cloud.ErrCredential) || errors.Is(err, cloud.ErrToken) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cloud == k {
		c.cloud = nil
	}
}

// regions returns the regions that are collected.
func (c *collector) regions(k *cloud.Cloud) ([]string, error) {
	have := k.Regions()
	want := c.opts.Regions
	if len(want) == 0 && k.Region() != "" {
		want = []string{k.Region()}
	}
	if len(want) == 0 {
		return have, nil
	}
	for _, r := range want {
		if !slices.Contains(have, r) {
			return nil, fmt.Errorf("the catalog does not have the region %q; it has: %s", r, strings.Join(have, ", "))
		}
	}
	return want, nil
}

// Scopes implements [plugin.Collector].
func (c *collector) Scopes(ctx context.Context, publish func([]plugin.Scope)) error {
	published := ""
	for {
		k, err := c.connect(ctx)
		if err != nil {
			return err
		}
		listings, err := c.discover(ctx, k)
		if err != nil {
			return err
		}
		names := make([]string, 0, len(listings))
		byScope := make(map[string]*listing, len(listings))
		for _, l := range listings {
			names = append(names, l.scope())
			byScope[l.scope()] = l
		}
		c.mu.Lock()
		c.listings = byScope
		c.mu.Unlock()
		if now := strings.Join(names, " "); now != published {
			published = now
			publish(c.scopes(listings))
		}
		t := time.NewTimer(rediscoverEvery)
		select {
		case <-t.C:
		case <-c.rediscover:
			t.Stop()
			// Not in a circle, should a credential change all the time.
			if err := retry.Sleep(ctx, time.Second); err != nil {
				return err
			}
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
}

// changed has it looked again what the credential sees.
func (c *collector) changed() {
	select {
	case c.rediscover <- struct{}{}:
	default:
	}
}

func (c *collector) scopes(listings []*listing) []plugin.Scope {
	scopes := make([]plugin.Scope, 0, len(listings)+1)
	if c.opts.notified() {
		scopes = append(scopes, plugin.Scope{Name: scopeNotifications, Watch: true})
	}
	for _, l := range listings {
		scopes = append(scopes, plugin.Scope{
			Name: l.scope(), SweepEvery: c.opts.sweepEvery(l.kind),
			Watch: l.kind.Changes != kinds.NoChanges || c.opts.notified() || nudged[l.kind.String()],
		})
	}
	return scopes
}

// listing returns what a scope lists.
func (c *collector) listing(scope string) (*listing, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l, ok := c.listings[scope]
	return l, ok
}

// Verify implements [plugin.Collector]. It asks every listing for its first
// element.
func (c *collector) Verify(ctx context.Context) ([]plugin.Check, error) {
	k, err := c.connect(ctx)
	if err != nil {
		return []plugin.Check{{Subject: "identity", Err: err}}, nil
	}
	who, err := k.Identified()
	if err != nil {
		return nil, err
	}
	checks := []plugin.Check{{
		Subject: "identity",
		Detail:  fmt.Sprintf("%s, user %s, %s, roles %s", k.Host, who.User, who.Scope(), strings.Join(who.Roles, ", ")),
	}}
	listings, err := c.discover(ctx, k)
	if err != nil {
		return append(checks, plugin.Check{Subject: "listings", Err: err}), nil
	}
	var order []string
	groups := make(map[string]*checked)
	for _, l := range listings {
		g := groups[l.source()]
		if g == nil {
			g = &checked{listing: l, kinds: make(map[string][]string)}
			groups[l.source()] = g
			order = append(order, l.source())
		}
		g.all++
		err := c.try(ctx, k, l)
		if errors.Is(err, cloud.ErrForbidden) && l.view.all() {
			if v, ok := narrow(l.kind, who); ok && !v.all() {
				c.refuse(l) // as a sweep would find out
				l = &listing{kind: l.kind, region: l.region, view: v, who: who}
				err = c.try(ctx, k, l)
			}
		}
		if err == nil || errors.Is(err, cloud.ErrNotFound) {
			g.kinds[l.view.words(who)] = append(g.kinds[l.view.words(who)], l.kind.Name)
			g.ok++ // an extension that is missing is no fault
			continue
		}
		g.failed = append(g.failed, plugin.Check{Subject: l.scope(), Err: err})
	}
	for _, source := range order {
		g := groups[source]
		detail := fmt.Sprintf("%d of %d listings", g.ok, g.all)
		if s, err := k.Service(ctx, g.listing.kind.API, g.listing.region); err == nil && s.Highest != (cloud.Microversion{}) {
			detail += fmt.Sprintf(", microversions %s to %s", s.Lowest, s.Highest)
		}
		if g.ok > 0 {
			detail += ", " + strings.Join(g.covers(), "; ")
		}
		check := plugin.Check{Subject: source, Detail: detail}
		if g.ok == 0 {
			check.Err, g.failed = g.failed[0].Err, nil
		}
		checks = append(append(checks, check), g.failed...)
	}
	if c.opts.notified() {
		checks = append(checks, c.tryNotifications(ctx))
	}
	c.mu.Lock()
	not := c.unseen
	c.mu.Unlock()
	for _, rest := range []struct {
		subject string
		list    []string
	}{{"not in the catalog", not.missing}, {"for administrators only", not.unseen}, {"shared by regions", not.shared}} {
		if len(rest.list) > 0 {
			checks = append(checks, plugin.Check{Subject: rest.subject, Detail: strings.Join(rest.list, " ")})
		}
	}
	return checks, nil
}

// checked is what was tried of a source.
type checked struct {
	listing *listing
	ok, all int
	failed  []plugin.Check
	// kinds are the kinds by what is seen of them.
	kinds map[string][]string
}

// covers says what is seen, and of which kinds where that differs.
func (g *checked) covers() []string {
	most := ""
	for _, words := range slices.Sorted(maps.Keys(g.kinds)) {
		if len(g.kinds[words]) > len(g.kinds[most]) {
			most = words
		}
	}
	all := []string{most}
	for _, words := range slices.Sorted(maps.Keys(g.kinds)) {
		if words != most {
			all = append(all, strings.Join(g.kinds[words], ", ")+": "+words)
		}
	}
	return all
}

// sourceOf makes errors that concern more than one scope say so.
func (l *listing) sourceOf(err error) error { return sourceError(l.kind.API, l.region, err) }

// sourceError is the error of a request to an API, in terms of what cannot be had.
func sourceError(api cloud.API, region string, err error) error {
	var known *plugin.SourceError
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case errors.Is(err, cloud.ErrToken):
		// The others may take the token that this one refuses.
		return &plugin.SourceError{Source: sourceName(api, region), Err: err}
	case errors.Is(err, cloud.ErrCredential):
		return &plugin.SourceError{Source: credentialSource, Err: err}
	case errors.Is(err, cloud.ErrUnavailable):
		return &plugin.SourceError{Source: sourceName(api, region), Err: err}
	}
	return err
}

// credentialSource is what cannot be had where logging in fails.
const credentialSource = "the identity service"

func sourceName(api cloud.API, region string) string {
	if api.Global {
		return credentialSource
	}
	return api.Name + " in " + region
}
