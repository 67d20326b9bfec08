package openstack

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/reeve-cloud/reeve/plugins/openstack/cloud"
	"github.com/reeve-cloud/reeve/plugins/openstack/kinds"
)

// view is what a listing covers. At most one of its members is set; none stands
// for all that the service has.
type view struct {
	// project, domain and user are ids: what belongs to them, and what is shared
	// with them, is seen.
	project, domain, user string
	// public is what everybody sees.
	public bool
}

// all reports whether everything is seen.
func (v view) all() bool { return v == view{} }

// suffix is the view in the names of scopes.
func (v view) suffix() string {
	switch {
	case v.project != "":
		return "@" + v.project
	case v.domain != "":
		return "@domain:" + v.domain
	case v.user != "":
		return "@user:" + v.user
	case v.public:
		return "@public"
	}
	return ""
}

// words says what is seen, to people.
func (v view) words(who cloud.Identified) string {
	switch {
	case v.project != "":
		return "project " + who.Project + " only"
	case v.domain != "":
		return "domain " + v.domain + " only"
	case v.user != "":
		return "of the user " + who.User + " only"
	case v.public:
		return "what is public only"
	}
	return "all projects"
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
	whole := c.whole(ctx, k, regions, who)
	identityWhole := whole[place{cloud.Identity.Name, ""}]
	var all []*listing
	var not unseen
	for _, api := range cloud.APIs {
		in := regions
		if api.Global {
			in = []string{""}
		}
		// An endpoint that several regions have is one service.
		served := make(map[string]string)
		for _, region := range in {
			if !k.Has(api, region) {
				not.missing = append(not.missing, strings.TrimSpace(api.Types[0]+" "+region))
				continue
			}
			if first, twice := served[k.Endpoint(api, region)]; twice {
				not.shared = append(not.shared, fmt.Sprintf("%s of %s is that of %s", api.Types[0], region, first))
				continue
			}
			served[k.Endpoint(api, region)] = region
			seesAll := whole[place{api.Name, region}]
			for _, kind := range kinds.All() {
				if kind.API.Name != api.Name || !c.opts.selects(kind) {
					continue
				}
				l := &listing{kind: kind, region: region, who: who}
				seen := seesAll && !kind.Mine && (!kind.ByRole || who.HasRole("admin")) && (!kind.ByProjects || identityWhole)
				if !seen || c.isRefused(ctx, k, l) {
					var ok bool
					if l.view, ok = narrow(kind, who); !ok {
						not.unseen = append(not.unseen, l.scope())
						continue
					}
				}
				all = append(all, l)
			}
		}
	}
	c.sayUnseen(who, not)
	if len(all) == 0 {
		return nil, fmt.Errorf("there is nothing that %s of %s may list, of what include and exclude leave", who.User, who.Scope())
	}
	return all, nil
}

// whole finds out, of all APIs at once, for one that hangs would hold up the others,
// whether the credential sees all of their assets.
func (c *collector) whole(ctx context.Context, k *cloud.Cloud, regions []string, who cloud.Identified) map[place]bool {
	whole := make(map[place]bool)
	var mu sync.Mutex
	var asking sync.WaitGroup
	for _, api := range cloud.APIs {
		in := regions
		if api.Global {
			in = []string{""}
		}
		for _, region := range in {
			if !k.Has(api, region) {
				continue
			}
			asking.Go(func() {
				sees := c.seesAll(ctx, k, api, region, who)
				mu.Lock()
				defer mu.Unlock()
				whole[place{api.Name, region}] = sees
			})
		}
	}
	asking.Wait()
	return whole
}

// narrow returns what who does not see all of a kind sees of it, and false where
// that is nothing that has a name.
func narrow(kind *kinds.Kind, who cloud.Identified) (view, bool) {
	switch {
	case kind.String() == "identity/regions":
		return view{}, true // everybody sees all of them
	case kind.Mine:
		return view{project: who.ProjectID}, who.ProjectID != ""
	case kind.OfUser:
		return view{user: who.UserID}, who.UserID != ""
	case kind.ByDomain && who.ProjectID == "" && who.DomainID != "":
		return view{domain: who.DomainID}, true
	case kind.Admin:
		// Of the rest of the identity service an administrator of a domain sees all.
		ofDomain := kind.API.Name == cloud.Identity.Name && who.ProjectID == "" && who.DomainID != "" && who.HasRole("admin")
		return view{}, ofDomain
	case kind.String() == "identity/projects":
		// Those that the user has a role in, whichever the credential is of.
		return view{user: who.UserID}, who.UserID != ""
	case who.ProjectID != "":
		return view{project: who.ProjectID}, kind.API.Name != cloud.Identity.Name
	}
	return view{public: true}, kind.Public
}

// isRefused reports whether a listing of all was refused, though the service shows
// all of other kinds. It is asked again each time.
func (c *collector) isRefused(ctx context.Context, k *cloud.Cloud, l *listing) bool {
	scope := l.scope()
	c.mu.Lock()
	refused := c.refused[scope]
	c.mu.Unlock()
	if !refused || c.try(ctx, k, l) != nil {
		return refused
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.refused, scope)
	return false
}

// refuse takes note that a listing of all is refused, and has what is seen of it
// found out.
func (c *collector) refuse(l *listing) {
	c.mu.Lock()
	known := c.refused[l.scope()]
	c.refused[l.scope()] = true
	c.mu.Unlock()
	if !known {
		c.changed()
	}
}

// unseen is what is not collected.
type unseen struct {
	// missing services are not in the catalog, unseen scopes are for others only,
	// shared services are those of another region.
	missing, unseen, shared []string
}

// sayUnseen logs, whenever it changes, what is not collected and why.
func (c *collector) sayUnseen(who cloud.Identified, not unseen) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.unseen
	c.unseen = not
	if len(not.missing) > 0 && !slices.Equal(not.missing, before.missing) {
		c.log.Info("services that the catalog does not have are passed over", "services", not.missing)
	}
	if len(not.unseen) > 0 && !slices.Equal(not.unseen, before.unseen) {
		c.log.Info("what only an administrator sees is not collected", "user", who.User, "scope", who.Scope(), "roles", who.Roles, "scopes",
			not.unseen)
	}
	if len(not.shared) > 0 && !slices.Equal(not.shared, before.shared) {
		c.log.Info("services that several regions share are collected in one of them", "services", not.shared)
	}
}

// probe is a request that is refused to who does not see all of an API's assets.
// Where there is none, services filter by role without a word.
type probe struct {
	path, envelope, query, microversion string
	headers                             map[string]string
}

// probes are those that there are. Octavia and Ironic list another project's
// assets to who sees all, and refuse to list them to others; reeve is no project.
var probes = map[string]probe{
	cloud.Identity.Name:      {path: "projects", envelope: "projects", query: "limit=1&name=reeve"},
	cloud.Compute.Name:       {path: "servers", envelope: "servers", query: "all_tenants=1&limit=1"},
	cloud.Placement.Name:     {path: "resource_providers", envelope: "resource_providers", query: "name=reeve"},
	cloud.Network.Name:       {path: "quotas", envelope: "quotas", query: "fields=project_id"},
	cloud.Storage.Name:       {path: "os-services", envelope: "services", query: "binary=cinder-scheduler"},
	cloud.LoadBalancer.Name:  {path: "lbaas/loadbalancers", envelope: "loadbalancers", query: "project_id=reeve&limit=1"},
	cloud.Orchestration.Name: {path: "stacks", envelope: "stacks", query: "global_tenant=True&limit=1"},
	cloud.DNS.Name:           {path: "zones", envelope: "zones", query: "limit=1", headers: map[string]string{"X-Auth-All-Projects": "True"}},
	cloud.BareMetal.Name:     {path: "nodes", envelope: "nodes", query: "owner=reeve&limit=1", microversion: "1.52"},
}

// byRole are APIs that show all to the role admin alone, and to all others what is
// theirs, whatever is asked for: their context_is_admin.
var byRole = map[string]bool{cloud.Storage.Name: true, cloud.Image.Name: true, cloud.Share.Name: true, cloud.Containers.Name: true}

// silent are APIs of which versions and policies differ in what they show to an
// administrator, so that the role does not prove that all is shown.
var silent = map[string]bool{cloud.BareMetal.Name: true, cloud.Share.Name: true, cloud.Containers.Name: true}

// mayShowLess reports whether a service may stop showing what is another project's
// without a word: it always may, or did not answer the request that proves it.
func (c *collector) mayShowLess(l *listing) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, probed := probes[l.kind.API.Name]
	return silent[l.kind.API.Name] || probed && !c.seen[place{l.kind.API.Name, l.region}]
}

// seesAll reports whether the credential sees all of an API's assets, or only
// those of its project.
func (c *collector) seesAll(ctx context.Context, k *cloud.Cloud, api cloud.API, region string, who cloud.Identified) bool {
	admin := who.HasRole("admin")
	switch {
	case byRole[api.Name] && !admin:
		return false
	case api.Name == cloud.Identity.Name && who.ProjectID == "" && who.DomainID != "":
		return false // its lists have what is of the domain
	case api.Name == cloud.LoadBalancer.Name:
		admin = admin || who.HasRole("load-balancer_admin", "load-balancer_global_observer")
	}
	admin = admin || who.System
	p, ok := probes[api.Name]
	if !ok {
		return admin
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	s, err := k.Service(ctx, api, region)
	if err == nil {
		query, _ := url.ParseQuery(p.query) // they are constants
		_, err = s.List(ctx, cloud.List{
			Request:  cloud.Request{Path: p.path, Query: query, Microversion: cloud.ParseMicroversion(p.microversion), Headers: p.headers},
			Envelope: p.envelope, Paging: cloud.First,
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
		// It does not answer now, or not to this. What the role is for is the best
		// guess, and what is listed later is refused if it is wrong.
		return admin
	}
	return c.seen[at]
}
