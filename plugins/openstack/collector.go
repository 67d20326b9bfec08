package openstack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
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
	// groups are the security groups by region.
	groups map[string]*groupNames
	// missing is what was said last of services that the catalog lacks.
	missing string
}

// place is an API in a region.
type place struct{ api, region string }

// listing is a kind in a region, as far as the credential sees it.
type listing struct {
	kind *kinds.Kind
	// region is empty for kinds that belong to none.
	region string
	// project is the one whose assets are seen, or empty where all are.
	project string
}

// scope is the listing's name. It says what is covered.
func (l *listing) scope() string {
	name := l.kind.String()
	if l.region != "" {
		name = l.region + "/" + name
	}
	if l.project != "" {
		name += "@" + l.project
	}
	return name
}

// source says what a listing needs, in words.
func (l *listing) source() string { return sourceName(l.kind.API, l.region) }

var _ plugin.Watcher = (*collector)(nil)

func newCollector(log *slog.Logger, opts options) *collector {
	return &collector{
		log: log, opts: opts, fingerprint: opts.fingerprint(), told: newTold(), alarms: newAlarms(),
		rediscover: make(chan struct{}, 1),
		seen:       make(map[place]bool), groups: make(map[string]*groupNames),
	}
}

// connect returns the cloud, and logs in first if that has not been done yet.
func (c *collector) connect(ctx context.Context) (*cloud.Cloud, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cloud != nil {
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
	c.log.Info("logged in to an OpenStack cloud", "auth_url", k.Host, "cloud_id", k.ID, "user", who.User, "scope", who.Scope(), "roles", who.Roles, "regions", k.Regions())
	c.cloud = k
	return k, nil
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
	k, err := c.connect(ctx)
	if err != nil {
		return err
	}
	published := ""
	for {
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

// discover finds out what there is to list.
func (c *collector) discover(ctx context.Context, k *cloud.Cloud) ([]*listing, error) {
	if err := k.Refresh(); err != nil {
		return nil, err
	}
	who, err := k.Identified()
	if err != nil {
		return nil, err
	}
	regions, err := c.regions(k)
	if err != nil {
		return nil, err
	}
	var all []*listing
	var missing, unseen []string
	for _, api := range cloud.APIs {
		in := regions
		if api.Global {
			in = []string{""}
		}
		for _, region := range in {
			if !k.Has(api, region) {
				missing = append(missing, strings.TrimSpace(api.Types[0]+" "+region))
				continue
			}
			seesAll := c.seesAll(ctx, k, api, region, who)
			for _, kind := range kinds.All() {
				if kind.API.Name != api.Name || !c.opts.selects(kind) {
					continue
				}
				l := &listing{kind: kind, region: region}
				if !seesAll || kind.Mine {
					if kind.Admin || who.ProjectID == "" {
						unseen = append(unseen, l.scope())
						continue
					}
					l.project = who.ProjectID
				}
				all = append(all, l)
			}
		}
	}
	c.sayMissing(who, missing, unseen)
	if len(all) == 0 {
		return nil, fmt.Errorf("there is nothing that %s of %s may list, of what include and exclude leave", who.User, who.Scope())
	}
	return all, nil
}

// sayMissing logs, whenever it changes, what is not collected and why.
func (c *collector) sayMissing(who cloud.Identified, missing, unseen []string) {
	now := strings.Join(missing, " ") + "\n" + strings.Join(unseen, " ")
	c.mu.Lock()
	defer c.mu.Unlock()
	if now == c.missing {
		return
	}
	c.missing = now
	if len(missing) > 0 {
		c.log.Info("services that the catalog does not have are passed over", "services", missing)
	}
	if len(unseen) > 0 {
		c.log.Info("what only an administrator sees is not collected", "user", who.User, "scope", who.Scope(), "roles", who.Roles, "scopes", unseen)
	}
}

// probes are requests that only who sees all of an API's assets is allowed to
// make. Where there is none, services filter by role without a word.
var probes = map[string]struct{ path, envelope, query string }{
	cloud.Identity.Name:  {"projects", "projects", "limit=1&name=reeve"},
	cloud.Compute.Name:   {"servers", "servers", "all_tenants=1&limit=1"},
	cloud.Placement.Name: {"resource_providers", "resource_providers", "name=reeve"},
	cloud.Network.Name:   {"quotas", "quotas", "fields=project_id"},
	cloud.Storage.Name:   {"os-services", "services", "binary=cinder-scheduler"},
}

// seesAll reports whether the credential sees all of an API's assets, or only
// those of its project.
func (c *collector) seesAll(ctx context.Context, k *cloud.Cloud, api cloud.API, region string, who cloud.Identified) bool {
	admin := who.System || who.HasRole("admin")
	if api.Name == cloud.LoadBalancer.Name {
		admin = admin || who.HasRole("load-balancer_admin", "load-balancer_global_observer")
	}
	probe, ok := probes[api.Name]
	if !ok {
		return admin
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	s, err := k.Service(ctx, api, region)
	if err == nil {
		query, _ := url.ParseQuery(probe.query) // they are constants
		_, err = s.List(ctx, cloud.List{
			Request: cloud.Request{Path: probe.path, Query: query}, Envelope: probe.envelope, Paging: cloud.First,
		}, ignore)
	}
	at := place{api.Name, region}
	c.mu.Lock()
	defer c.mu.Unlock()
	before, known := c.seen[at]
	switch {
	case err == nil:
		c.seen[at] = true
	case errors.Is(err, cloud.ErrForbidden):
		c.seen[at] = false
	case known:
		return before
	default:
		// It does not answer now. What the role is for is the best guess, and what
		// is listed later is refused if it is wrong.
		return admin
	}
	return c.seen[at]
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
	type group struct {
		listing *listing
		ok, all int
		failed  []plugin.Check
	}
	var order []string
	groups := make(map[string]*group)
	for _, l := range listings {
		g := groups[l.source()]
		if g == nil {
			g = &group{listing: l}
			groups[l.source()] = g
			order = append(order, l.source())
		}
		g.all++
		err := c.try(ctx, k, l)
		if err == nil || errors.Is(err, cloud.ErrNotFound) {
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
		if g.listing.project == "" {
			detail += ", all projects"
		} else {
			detail += ", project " + who.Project + " only"
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
	missing, unseen, _ := strings.Cut(c.missing, "\n")
	c.mu.Unlock()
	if missing != "" {
		checks = append(checks, plugin.Check{Subject: "not in the catalog", Detail: missing})
	}
	if unseen != "" {
		checks = append(checks, plugin.Check{Subject: "for administrators only", Detail: unseen})
	}
	return checks, nil
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
