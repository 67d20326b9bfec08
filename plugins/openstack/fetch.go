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

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/openstack/cloud"
	"github.com/reeve-cloud/reeve/plugins/openstack/kinds"
)

// lenient reads what services send, duplicates and broken texts included.
var lenient = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// list reads a listing to its end. Most are one list; some are a list for each
// element of another, for the API has none of all.
func (r *elementReader) list(ctx context.Context, sweep plugin.Sweep, out plugin.Sink, visit func(jsontext.Value) error) (cloud.Listed, error) {
	switch r.l.kind.String() {
	case "compute/quotas", "storage/quotas":
		return r.listQuotas(ctx, visit)
	case "compute/keypairs":
		return r.listKeypairs(ctx, visit)
	case "identity/application-credentials":
		return r.listForUsers(ctx, func(ctx context.Context, user string) (cloud.Listed, error) {
			list := r.request(nil)
			list.Path = fmt.Sprintf(list.Path, url.PathEscape(user))
			return r.service.List(ctx, list, visit)
		})
	case "loadbalancer/members":
		return r.listMembers(ctx, visit)
	case "placement/resource-providers":
		return r.listProviders(ctx, sweep, out, visit)
	}
	done, err := r.service.List(ctx, r.request(nil), visit)
	if errors.Is(err, cloud.ErrNotFound) && done.Pages == 0 {
		// The extension that has it is not there, and so neither are elements.
		return r.nothing(ctx)
	}
	return done, err
}

// nothing is the outcome of a listing that the service does not have. That it is
// there otherwise is asked for: a proxy in front of a service that is gone says 404, too.
func (r *elementReader) nothing(ctx context.Context) (cloud.Listed, error) {
	known := map[string]string{cloud.Network.Name: "extensions", cloud.Compute.Name: "flavors", cloud.Storage.Name: "types", cloud.LoadBalancer.Name: "lbaas/loadbalancers"}
	path, ok := known[r.l.kind.API.Name]
	if !ok {
		return cloud.Listed{}, fmt.Errorf("listing %s of %s: %w", r.l.kind.Path, r.l.kind.API.Name, cloud.ErrNotFound)
	}
	_, at, err := r.service.Get(ctx, cloud.Request{Path: path, Query: url.Values{"limit": {"1"}}})
	return cloud.Listed{At: at}, err
}

// ids lists the ids of something, and nothing else of it where the API can leave
// the rest out.
func ids(ctx context.Context, s *cloud.Service, list cloud.List) ([]string, cloud.Listed, error) {
	var all []string
	done, err := s.List(ctx, list, func(raw jsontext.Value) error {
		var e struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(raw, &e, lenient); err != nil {
			return err
		}
		if e.ID == "" {
			return fmt.Errorf("one of %s has no id", list.Path)
		}
		all = append(all, e.ID)
		return nil
	})
	return all, done, err
}

// projects are the ids of the projects whose quotas are listed.
func (r *elementReader) projects(ctx context.Context) ([]string, cloud.Listed, error) {
	if r.l.project != "" {
		return []string{r.l.project}, cloud.Listed{}, nil
	}
	identity, err := r.k.Service(ctx, cloud.Identity, "")
	if err != nil {
		return nil, cloud.Listed{}, err
	}
	return ids(ctx, identity, cloud.List{Request: cloud.Request{Path: "projects"}, Envelope: "projects"})
}

func (r *elementReader) listQuotas(ctx context.Context, visit func(jsontext.Value) error) (cloud.Listed, error) {
	projects, done, err := r.projects(ctx)
	if err != nil {
		return done, err
	}
	for _, project := range projects {
		request := r.request(nil).Request
		request.Path = fmt.Sprintf(request.Path, url.PathEscape(project))
		raw, at, err := r.service.GetMember(ctx, request, r.l.kind.ItemEnvelope)
		if err != nil {
			return done, err
		}
		if done.At.IsZero() {
			done.At = at
		}
		if raw, err = with(raw, "project_id", project); err != nil {
			return done, err
		}
		if err := visit(raw); err != nil {
			return done, err
		}
	}
	return done, nil
}

// listForUsers reads a list for each user who has a role anywhere.
func (r *elementReader) listForUsers(ctx context.Context, list func(ctx context.Context, user string) (cloud.Listed, error)) (done cloud.Listed, err error) {
	who, err := r.k.Identified()
	if err != nil {
		return done, err
	}
	users := []string{who.UserID}
	if r.l.project == "" {
		identity, err := r.k.Service(ctx, cloud.Identity, "")
		if err != nil {
			return done, err
		}
		if done, err = identity.List(ctx, cloud.List{
			Request: cloud.Request{Path: "role_assignments", Query: url.Values{"effective": {""}}}, Envelope: "role_assignments",
		}, func(raw jsontext.Value) error {
			var a struct {
				User struct {
					ID string `json:"id"`
				} `json:"user"`
			}
			if err := json.Unmarshal(raw, &a, lenient); err != nil {
				return err
			}
			if a.User.ID != "" {
				users = append(users, a.User.ID)
			}
			return nil
		}); err != nil {
			return done, err
		}
		slices.Sort(users)
		users = slices.Compact(users)
	}
	for _, user := range users {
		of, err := list(ctx, user)
		if err != nil && !errors.Is(err, cloud.ErrNotFound) { // the user may be gone since
			return done, err
		}
		if done.At.IsZero() {
			done.At = of.At
		}
	}
	return done, nil
}

func (r *elementReader) listKeypairs(ctx context.Context, visit func(jsontext.Value) error) (cloud.Listed, error) {
	return r.listForUsers(ctx, func(ctx context.Context, user string) (cloud.Listed, error) {
		query := url.Values{}
		if r.l.project == "" {
			query.Set("user_id", user)
		}
		return r.service.List(ctx, r.request(query), func(raw jsontext.Value) error {
			raw, err := with(raw, "user_id", user)
			if err != nil {
				return err
			}
			return visit(raw)
		})
	})
}

// addressesAtOnce is how many addresses are looked for in one list of ports.
const addressesAtOnce = 50

// listMembers reads the members of each pool: Octavia has no list of all.
func (r *elementReader) listMembers(ctx context.Context, visit func(jsontext.Value) error) (cloud.Listed, error) {
	type pool struct {
		ID      string `json:"id"`
		Members []struct {
			ID string `json:"id"`
		} `json:"members"`
	}
	var pools []string
	done, err := r.service.List(ctx, cloud.List{Request: cloud.Request{Path: "lbaas/pools"}, Envelope: "pools"}, func(raw jsontext.Value) error {
		var p pool
		if err := json.Unmarshal(raw, &p, lenient); err != nil {
			return err
		}
		if len(p.Members) > 0 {
			pools = append(pools, p.ID)
		}
		return nil
	})
	if err != nil {
		return done, err
	}
	var members []jsontext.Value
	var addresses []string
	for _, id := range pools {
		list := r.request(nil)
		list.Path = fmt.Sprintf(list.Path, url.PathEscape(id))
		if _, err := r.service.List(ctx, list, func(raw jsontext.Value) error {
			var m struct {
				Address string `json:"address"`
			}
			if err := json.Unmarshal(raw, &m, lenient); err != nil {
				return err
			}
			// It is held until what has its address is known.
			whole, err := with(slices.Clone(raw), "pool_id", id)
			members, addresses = append(members, whole), append(addresses, m.Address)
			return err
		}); err != nil && !errors.Is(err, cloud.ErrNotFound) { // the pool may be gone since
			return done, err
		}
	}
	slices.Sort(addresses)
	if r.in.Joins.Owners, err = r.owners(ctx, slices.Compact(addresses)); err != nil {
		return done, err
	}
	for _, m := range members {
		if err := visit(m); err != nil {
			return done, err
		}
	}
	return done, nil
}

// owners finds what has ports with addresses. Where the network is not collected
// or cannot be asked, nothing is found.
func (r *elementReader) owners(ctx context.Context, addresses []string) (func(subnet, address string) []plugin.Key, error) {
	type where struct{ subnet, address string }
	found := make(map[where][]plugin.Key)
	for part := range slices.Chunk(addresses, addressesAtOnce) {
		query := url.Values{"fields": {"id", "device_id", "device_owner", "fixed_ips"}}
		for _, a := range part {
			query.Add("fixed_ips", "ip_address="+a)
		}
		if err := r.ports(ctx, query, func(p port) {
			key, ok := kinds.Owner(p.Owner, p.Device)
			if !ok {
				return
			}
			for _, ip := range p.Addresses {
				at := where{ip.Subnet, ip.Address}
				found[at] = append(found[at], key)
			}
		}); err != nil {
			return nil, err
		}
	}
	return func(subnet, address string) []plugin.Key { return found[where{subnet, address}] }, nil
}

// port is what is looked up of ports.
type port struct {
	ID        string `json:"id"`
	Network   string `json:"network_id"`
	Device    string `json:"device_id"`
	Owner     string `json:"device_owner"`
	Addresses []struct {
		Subnet  string `json:"subnet_id"`
		Address string `json:"ip_address"`
	} `json:"fixed_ips"`
}

func (r *elementReader) ports(ctx context.Context, query url.Values, visit func(port)) error {
	network, err := r.k.Service(ctx, cloud.Network, r.l.region)
	if err != nil {
		if errors.Is(err, cloud.ErrNoService) {
			return nil
		}
		return err
	}
	_, err = network.List(ctx, cloud.List{Request: cloud.Request{Path: "ports", Query: query}, Envelope: "ports", Limit: 1000}, func(raw jsontext.Value) error {
		var p port
		if err := json.Unmarshal(raw, &p, lenient); err != nil {
			return err
		}
		visit(p)
		return nil
	})
	return sourceError(cloud.Network, r.l.region, err)
}

// listProviders reads the resource providers. What is used of a provider takes a
// request of its own. What it has takes three more, which are made where its generation
// is another than the one that was recorded: placement counts up whenever that
// changes, but not when something that used it goes.
func (r *elementReader) listProviders(ctx context.Context, sweep plugin.Sweep, out plugin.Sink, visit func(jsontext.Value) error) (cloud.Listed, error) {
	type provider struct {
		UUID       string `json:"uuid"`
		Name       string `json:"name"`
		Generation int64  `json:"generation"`
		Parent     string `json:"parent_provider_uuid"`
	}
	type record struct {
		provider
		Usages      jsontext.Value `json:"usages"`
		Inventories jsontext.Value `json:"inventories"`
		Traits      jsontext.Value `json:"traits"`
		Aggregates  jsontext.Value `json:"aggregates"`
	}
	recorded := make(map[string]record)
	if err := out.Recall(ctx, func(o plugin.Observation) error {
		var was record
		if err := json.Unmarshal(o.Document, &was, lenient); err == nil { // one that cannot be read is read anew
			recorded[was.UUID] = was
		}
		return nil
	}); err != nil {
		return cloud.Listed{}, err
	}
	part := func(id, name string) (jsontext.Value, error) {
		value, _, err := r.service.GetMember(ctx, cloud.Request{
			Path:         "resource_providers/" + url.PathEscape(id) + "/" + name,
			Microversion: cloud.ParseMicroversion("1.19"), // aggregates come with a generation
		}, name)
		return value, err
	}
	return r.service.List(ctx, r.request(nil), func(raw jsontext.Value) error {
		var p provider
		if err := json.Unmarshal(raw, &p, lenient); err != nil {
			return err
		}
		was, known := recorded[p.UUID]
		known = known && was.provider == p && was.Inventories != nil && was.Traits != nil && was.Aggregates != nil
		usages, err := part(p.UUID, "usages")
		if errors.Is(err, cloud.ErrNotFound) {
			return nil // it is gone since
		}
		if err != nil {
			return err
		}
		if known && sameJSON(usages, was.Usages) {
			reading, err := r.l.kind.Read(raw, r.in)
			if err != nil {
				return err
			}
			return sweep.Keep(ctx, reading.Key)
		}
		parts := map[string]jsontext.Value{"usages": usages, "inventories": was.Inventories, "traits": was.Traits, "aggregates": was.Aggregates}
		for _, name := range []string{"usages", "inventories", "traits", "aggregates"} {
			value := parts[name]
			if !known && name != "usages" {
				if value, err = part(p.UUID, name); errors.Is(err, cloud.ErrNotFound) {
					return nil
				}
				if err != nil {
					return err
				}
			}
			if raw, err = withValue(raw, name, value); err != nil {
				return err
			}
		}
		return visit(raw)
	})
}

// sameJSON reports whether two values are the same, whatever the order of members.
func sameJSON(a, b jsontext.Value) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	return a.Canonicalize() == nil && b.Canonicalize() == nil && slices.Equal(a, b)
}

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
		network, err := k.Service(ctx, cloud.Network, l.region)
		if errors.Is(err, cloud.ErrNoService) {
			return j, nil
		}
		if err != nil {
			return j, err
		}
		names := c.groupNames(l.region)
		if err := names.begin(ctx, network); err != nil {
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
		groups, _, err := ids(ctx, identity, cloud.List{Request: cloud.Request{Path: "groups"}, Envelope: "groups"})
		if err != nil {
			return j, err
		}
		members := make(map[string][]string)
		for _, g := range groups {
			users, _, err := ids(ctx, identity, cloud.List{Request: cloud.Request{Path: "groups/" + url.PathEscape(g) + "/users"}, Envelope: "users"})
			if err != nil && !errors.Is(err, cloud.ErrNotFound) { // the group may be gone since
				return j, err
			}
			members[g] = users
		}
		j.Members = func(group string) []string { return members[group] }
	}
	return j, nil
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
		if err := json.Unmarshal(raw, &e, lenient); err != nil {
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

// with adds a member with a text to an object.
func with(object jsontext.Value, name, text string) (jsontext.Value, error) {
	value, err := json.Marshal(text)
	if err != nil {
		return nil, err
	}
	return withValue(object, name, value)
}

// withValue adds a member to an object. One that it has already stays.
func withValue(object jsontext.Value, name string, value jsontext.Value) (jsontext.Value, error) {
	if object.Kind() != '{' {
		return nil, fmt.Errorf("adding %s: it is not an object", name)
	}
	if cloud.Member(object, name) != nil {
		return object, nil
	}
	quoted, err := jsontext.AppendQuote(nil, name)
	if err != nil {
		return nil, err
	}
	whole := slices.Clone([]byte(object))
	for whole[len(whole)-1] != '}' { // white space
		whole = whole[:len(whole)-1]
	}
	whole = whole[:len(whole)-1]
	for _, c := range slices.Backward(whole) {
		if c == ' ' || c == '\n' || c == '\t' || c == '\r' {
			continue
		} else if c != '{' {
			whole = append(whole, ',')
		}
		break
	}
	return append(append(append(append(whole, quoted...), ':'), value...), '}'), nil
}
