package openstack

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/reeve-cloud/reeve/plugins/openstack/cloud"
	"github.com/reeve-cloud/reeve/plugins/openstack/kinds"
)

// interfaces lists what routers are connected to, by router.
func (r *elementReader) interfaces(ctx context.Context) (map[string][]kinds.Interface, error) {
	all := make(map[string][]kinds.Interface)
	query := url.Values{
		"fields": {"id", "network_id", "device_id", "fixed_ips"},
		"device_owner": {
			"network:router_interface", "network:router_interface_distributed", "network:ha_router_replicated_interface",
		},
	}
	err := r.ports(ctx, query, func(p port) {
		i := kinds.Interface{Port: p.ID, Network: p.Network}
		for _, ip := range p.Addresses {
			i.Subnets, i.Addresses = append(i.Subnets, ip.Subnet), append(i.Addresses, ip.Address)
		}
		all[p.Device] = append(all[p.Device], i)
	})
	for _, list := range all {
		slices.SortFunc(list, func(a, b kinds.Interface) int { return strings.Compare(a.Port, b.Port) })
	}
	return all, err
}

// joins prepares what elements of a kind are looked up in.
func (r *elementReader) joins(ctx context.Context) (kinds.Joins, error) {
	var j kinds.Joins
	c, k, l := r.c, r.k, r.l
	switch l.kind.String() {
	case "compute/servers":
		flavors := c.flavorNames(l.region)
		flavors.begin()
		j.Flavor = func(id string) (kinds.Flavor, bool) {
			f, ok, err := flavors.find(ctx, r.service, id)
			r.failed = errors.Join(r.failed, err)
			return f, ok
		}
		j.Fault = func(id string) string {
			fault, err := r.fault(ctx, id)
			r.failed = errors.Join(r.failed, err)
			return fault
		}
		network, err := k.Service(ctx, cloud.Network, l.region)
		if errors.Is(err, cloud.ErrNoService) {
			return j, nil
		}
		if err != nil {
			return j, err
		}
		names := c.groupNames(l.region)
		if err := names.begin(ctx, network); refusedFor(err) {
			c.log.Debug("security groups cannot be listed; servers are not related to them", "error", err)
			return j, nil
		} else if err != nil {
			return j, sourceError(cloud.Network, l.region, err)
		}
		j.SecurityGroups = func(project, name string) []string { return names.find(ctx, network, c.log, project, name) }
	case "network/routers":
		// Most polls find no router that has changed, and need no ports.
		interfaces := sync.OnceValues(func() (map[string][]kinds.Interface, error) { return r.interfaces(ctx) })
		j.Interfaces = func(router string) []kinds.Interface {
			all, err := interfaces()
			r.failed = err
			return all[router]
		}
	case "identity/groups":
		identity, err := k.Service(ctx, cloud.Identity, "")
		if err != nil {
			return j, err
		}
		j.Members = func(group string) []string {
			users, _, err := ids(ctx, identity, cloud.List{Request: cloud.Request{Path: "groups/" + url.PathEscape(group) + "/users"},
				Envelope: "users"})
			if _, r.failed = r.ofOne(ctx, "the group "+group, err); err != nil {
				return nil
			}
			return append([]string{}, users...)
		}
	}
	return j, nil
}

const (
	// faultServes is for how long a server is not asked again for its fault, and maxFaults of
	// how many servers of a region faults are known.
	faultServes = time.Hour
	maxFaults   = 10_000
	// newFaults is how many servers are asked in one listing. The others are by later ones.
	newFaults = 100
)

// fault is why a server is in ERROR, as it said at a time.
type fault struct {
	text string
	at   time.Time
}

// fault asks for one server why it is in ERROR. Nova's list does not say it of those that
// never found a host. A fault that cannot be had now is the one of before: the list is
// whole without it.
func (r *elementReader) fault(ctx context.Context, id string) (string, error) {
	c, key := r.c, r.l.region+"/"+id
	c.mu.Lock()
	known, ok := c.faults[key]
	c.mu.Unlock()
	if ok && time.Since(known.at) < faultServes || r.faults >= newFaults {
		return known.text, nil
	}
	r.faults++
	one := cloud.Request{Path: "servers/" + url.PathEscape(id), Microversion: r.request(nil).Microversion}
	raw, _, err := r.service.GetMember(ctx, one, "server")
	var status *cloud.StatusError
	switch {
	case errors.Is(err, cloud.ErrNotFound), errors.Is(err, cloud.ErrForbidden), err != nil && ofOne(err):
		return known.text, nil // it is gone, or not shown, or cannot be
	case errors.As(err, &status) && (status.Code == http.StatusTooManyRequests || status.Code >= 500):
		r.faults = newFaults // it is not asked for more now
		return known.text, nil
	case err != nil:
		return "", err
	}
	var server struct {
		Fault struct {
			Message string `json:"message"`
		} `json:"fault"`
	}
	if err := kinds.Decode(raw, &server); err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.faults) >= maxFaults {
		maps.DeleteFunc(c.faults, func(_ string, f fault) bool { return time.Since(f.at) >= faultServes })
	}
	if len(c.faults) < maxFaults {
		c.faults[key] = fault{server.Fault.Message, time.Now()}
	}
	return server.Fault.Message, nil
}

// refusedFor reports whether a service will not be had, whenever it is asked: what
// is looked up there is then left out of what other services list.
func refusedFor(err error) bool {
	return errors.Is(err, cloud.ErrToken) || errors.Is(err, cloud.ErrForbidden) || errors.Is(err, cloud.ErrNotFound) ||
		errors.Is(err, cloud.ErrRedirect)
}

// groupNames are the security groups of a region by project and name: servers
// name theirs so. They are listed when first needed, and again when a name is not
// among them, once for each list of servers.
type groupNames struct {
	mu    sync.Mutex
	ids   map[[2]string][]string
	fresh bool
}

func (c *collector) groupNames(region string) *groupNames {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.groups[region]
	if g == nil {
		g = &groupNames{}
		c.groups[region] = g
	}
	return g
}

// begin says that a list of servers begins. What was listed before does until a
// name is missing; without any the error is one of the servers' list.
func (g *groupNames) begin(ctx context.Context, network *cloud.Service) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fresh = false
	if g.ids != nil {
		return nil
	}
	return g.load(ctx, network)
}

// find returns the groups of a name. Where the list cannot be had again, those that
// were there before are what is known.
func (g *groupNames) find(ctx context.Context, network *cloud.Service, log *slog.Logger, project, name string) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := [2]string{project, name}
	if found := g.ids[key]; found != nil || g.fresh {
		return found
	}
	if err := g.load(ctx, network); err != nil {
		log.Warn("security groups cannot be listed; servers are related to those that are known", "error", err)
	}
	return g.ids[key]
}

func (g *groupNames) load(ctx context.Context, network *cloud.Service) error {
	g.fresh = true
	next := make(map[[2]string][]string)
	_, err := network.List(ctx, cloud.List{
		Request:  cloud.Request{Path: "security-groups", Query: url.Values{"fields": {"id", "name", "project_id"}}},
		Envelope: "security_groups", Limit: 1000,
	}, func(raw jsontext.Value) error {
		var e struct {
			ID      string `json:"id"`
			Name    string `json:"name"`
			Project string `json:"project_id"`
		}
		if err := kinds.Decode(raw, &e); err != nil {
			return err
		}
		at := [2]string{e.Project, e.Name}
		next[at] = append(next[at], e.ID)
		return nil
	})
	if err == nil {
		g.ids = next
	}
	return err
}

// flavorNames are the flavors of a region by id, for servers of services that name
// no more than that. They are listed when first needed, and again when one is not
// among them, once for each list of servers.
type flavorNames struct {
	mu    sync.Mutex
	all   map[string]kinds.Flavor
	fresh bool
}

func (c *collector) flavorNames(region string) *flavorNames {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flavors[region] == nil {
		c.flavors[region] = &flavorNames{}
	}
	return c.flavors[region]
}

func (f *flavorNames) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fresh = false
}

func (f *flavorNames) find(ctx context.Context, compute *cloud.Service, id string) (kinds.Flavor, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if found, ok := f.all[id]; ok || f.fresh {
		return found, ok, nil
	}
	next := make(map[string]kinds.Flavor)
	kind := kinds.Find("compute/flavors")
	query, _ := url.ParseQuery(kind.Query) // it is a constant
	_, err := compute.List(ctx, cloud.List{Request: cloud.Request{Path: kind.Path, Query: query}, Envelope: kind.Envelope, Limit: kind.Limit},
		func(raw jsontext.Value) error {
			var e struct {
				ID        string `json:"id"`
				Name      string `json:"name"`
				VCPUs     int    `json:"vcpus"`
				RAM       int64  `json:"ram"`
				Disk      int64  `json:"disk"`
				Ephemeral int64  `json:"OS-FLV-EXT-DATA:ephemeral"`
			}
			if err := kinds.Decode(raw, &e); err != nil {
				return err
			}
			next[e.ID] = kinds.Flavor{Name: e.Name, VCPUs: e.VCPUs, RAM: e.RAM, Disk: e.Disk, Ephemeral: e.Ephemeral}
			return nil
		})
	if err != nil {
		return kinds.Flavor{}, false, err
	}
	f.all, f.fresh = next, true
	found, ok := next[id]
	return found, ok, nil
}
