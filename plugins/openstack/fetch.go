package openstack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/openstack/cloud"
	"github.com/reeve-cloud/reeve/plugins/openstack/kinds"
)

// list reads a listing to its end. Most are one list; some are a list for each
// element of another, for the API has none of all.
func (r *elementReader) list(ctx context.Context, sweep plugin.Sweep, out plugin.Sink, visit func(jsontext.Value) error) (cloud.Listed,
	error) {
	switch r.l.kind.String() {
	case "compute/quotas", "storage/quotas":
		return r.listQuotas(ctx, sweep, visit)
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
	if v := r.l.view; v.all() && r.l.kind.DomainQuery && r.l.kind.String() != "identity/projects" {
		return r.listByDomain(ctx, visit)
	}
	done, err := r.service.List(ctx, r.request(nil), visit)
	if errors.Is(err, cloud.ErrNotFound) && done.Pages == 0 {
		// The extension that has it is not there, and so neither are elements.
		if errors.Is(err, cloud.ErrStranger) {
			r.doubts("the list is not found, and the answer is not in the service's own words")
		}
		return r.nothing(ctx)
	}
	return done, err
}

// answers are lists that services have in all versions, by their APIs.
var answers = map[string]string{
	cloud.Identity.Name: "regions", cloud.Network.Name: "extensions", cloud.Compute.Name: "flavors", cloud.Storage.Name: "types",
	cloud.LoadBalancer.Name: "lbaas/loadbalancers",
}

// nothing is the outcome of a listing that the service does not have. That it is
// there otherwise is asked for: a proxy in front of a service that is gone says 404, too.
func (r *elementReader) nothing(ctx context.Context) (cloud.Listed, error) {
	path, ok := answers[r.l.kind.API.Name]
	if !ok {
		return cloud.Listed{}, fmt.Errorf("listing %s of %s: %w", r.l.kind.Path, r.l.kind.API.Name, cloud.ErrNotFound)
	}
	_, at, err := r.service.Get(ctx, cloud.Request{Path: path, Query: url.Values{"limit": {"1"}}})
	return cloud.Listed{At: at}, err
}

// ofOne takes what went wrong with the list of one user, pool or project among
// many. It returns nil where that is no reason to give up the others: gone says
// that the one is not there any more, in the words of a service that answers
// otherwise; else what is missing is not known to be gone.
func (r *elementReader) ofOne(ctx context.Context, which string, err error) (gone bool, failed error) {
	if err == nil {
		r.inRow = 0
		return false, nil
	}
	if r.inRow++; !ofOne(err) || r.inRow > maxInRow {
		return false, err
	}
	if errors.Is(err, cloud.ErrNotFound) {
		if !r.answered {
			if _, err := r.nothing(ctx); err != nil {
				return false, err
			}
			r.answered = true
		}
		r.inRow = 0
		return true, nil
	}
	r.doubts(fmt.Sprintf("of %s is not known what there is: %v", which, err))
	return false, nil
}

// maxInRow is how many of many may fail in a row, before it is the service that does.
const maxInRow = 3

// domains are those of the cloud, which are looked for now and then.
type domains struct {
	mu  sync.Mutex
	at  time.Time
	ids []string
	// empty are those that had nothing of a kind when they were last asked for.
	empty map[string]time.Time
}

func (d *domains) all(ctx context.Context, identity *cloud.Service) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.at) < rediscoverEvery {
		return d.ids, nil
	}
	list, _, err := ids(ctx, identity, cloud.List{Request: cloud.Request{Path: "domains"}, Envelope: "domains"})
	if err != nil {
		return nil, err
	}
	d.ids, d.at = list, time.Now()
	return list, nil
}

// wasEmpty reports whether a domain had nothing of a kind not long ago.
func (d *domains) wasEmpty(kind, domain string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Since(d.empty[kind+" "+domain]) < emptyFor
}

func (d *domains) setEmpty(kind, domain string, empty bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.empty, kind+" "+domain)
	if empty {
		d.empty[kind+" "+domain] = time.Now()
	}
}

// emptyFor is how long a domain without users is not asked for them again.
const emptyFor = time.Hour

// listByDomain reads users or groups. Where domains have drivers of their own, a
// list of all is one of the credential's domain, or refused: the other domains are
// asked for one by one.
func (r *elementReader) listByDomain(ctx context.Context, visit func(jsontext.Value) error) (cloud.Listed, error) {
	all, err := r.c.domains.all(ctx, r.service)
	if err != nil && !errors.Is(err, cloud.ErrForbidden) && !errors.Is(err, cloud.ErrNotFound) {
		return cloud.Listed{}, err
	}
	shown := make(map[string]bool)
	take := func(raw jsontext.Value) error {
		var e struct {
			Domain string `json:"domain_id"`
		}
		if kinds.Decode(raw, &e) == nil {
			shown[e.Domain] = true
		}
		return visit(raw)
	}
	done, err := r.service.List(ctx, r.request(nil), take)
	var status *cloud.StatusError
	if err != nil && (len(all) == 0 || !errors.As(err, &status) || status.Code != 401 && status.Code != 400 && status.Code != 403) {
		return done, err
	}
	refused, well, inRow := err, 0, 0
	for _, domain := range all {
		kind := r.l.kind.String()
		if shown[domain] || refused == nil && r.c.domains.wasEmpty(kind, domain) {
			continue
		}
		of, err := r.service.List(ctx, r.request(url.Values{"domain_id": {domain}}), take)
		if ctx.Err() != nil {
			return done, err
		}
		if err != nil && (!errors.Is(err, cloud.ErrNotFound) || errors.Is(err, cloud.ErrStranger)) {
			// A directory that is away is one domain's.
			if inRow++; inRow > maxInRow {
				return done, err
			}
			r.doubts(fmt.Sprintf("the domain %s cannot be listed: %v", domain, err))
			continue
		}
		well, inRow = well+1, 0
		if done.At.IsZero() {
			done.At = of.At
		}
		r.c.domains.setEmpty(kind, domain, err == nil && of.Elements == 0)
	}
	if well == 0 && refused != nil {
		return done, refused
	}
	return done, nil
}

// ids lists the ids of something, and nothing else of it where the API can leave
// the rest out.
func ids(ctx context.Context, s *cloud.Service, list cloud.List) ([]string, cloud.Listed, error) {
	var all []string
	done, err := s.List(ctx, list, func(raw jsontext.Value) error {
		var e struct {
			ID string `json:"id"`
		}
		if err := kinds.Decode(raw, &e); err != nil {
			return err
		}
		if e.ID != "" { // else it cannot be asked for
			all = append(all, e.ID)
		}
		return nil
	})
	return all, done, err
}

// projects are the ids of the projects whose quotas are listed.
func (r *elementReader) projects(ctx context.Context) ([]string, cloud.Listed, error) {
	if r.l.view.project != "" {
		return []string{r.l.view.project}, cloud.Listed{}, nil
	}
	identity, err := r.k.Service(ctx, cloud.Identity, "")
	if err != nil {
		return nil, cloud.Listed{}, err
	}
	return ids(ctx, identity, cloud.List{Request: cloud.Request{Path: "projects"}, Envelope: "projects"})
}

func (r *elementReader) listQuotas(ctx context.Context, sweep plugin.Sweep, visit func(jsontext.Value) error) (cloud.Listed, error) {
	projects, done, err := r.projects(ctx)
	if err != nil {
		return done, err
	}
	for _, project := range projects {
		request := r.request(nil).Request
		request.Path = fmt.Sprintf(request.Path, url.PathEscape(project))
		raw, at, err := r.service.GetMember(ctx, request, r.l.kind.ItemEnvelope)
		if err != nil {
			// A project that is deleted meanwhile is not among the projects of the next
			// sweep, which has its quota go.
			if r.inRow++; r.inRow > maxInRow || len(projects) == 1 || !ofOne(err) {
				return done, err
			}
			raw, err := with(jsontext.Value("{}"), "project_id", project)
			if err != nil {
				return done, err
			}
			reading, err := r.l.kind.Read(raw, r.in)
			if err != nil {
				return done, err
			}
			if err := r.keep(ctx, sweep, reading.Key); err != nil {
				return done, err
			}
			continue
		}
		r.inRow = 0
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

// keep keeps an asset that the list does not have.
func (r *elementReader) keep(ctx context.Context, sweep plugin.Sweep, key plugin.Key) error {
	r.kept(key)
	return sweep.Keep(ctx, key)
}

// listForUsers reads a list for each user who has a role anywhere.
func (r *elementReader) listForUsers(ctx context.Context, list func(ctx context.Context, user string) (cloud.Listed, error)) (
	done cloud.Listed, err error) {
	who, err := r.k.Identified()
	if err != nil {
		return done, err
	}
	users := []string{who.UserID}
	if r.l.view.all() {
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
			if err := kinds.Decode(raw, &a); err != nil {
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
		if _, err := r.ofOne(ctx, "the user "+user, err); err != nil {
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
		if r.l.view.all() {
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
	done, err := r.service.List(ctx, cloud.List{Request: cloud.Request{Path: "lbaas/pools"}, Envelope: "pools"},
		func(raw jsontext.Value) error {
			var p pool
			if err := kinds.Decode(raw, &p); err != nil {
				return err
			}
			if p.ID != "" && len(p.Members) > 0 {
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
		_, err := r.service.List(ctx, list, func(raw jsontext.Value) error {
			var m struct {
				Address string `json:"address"`
			}
			if err := kinds.Decode(raw, &m); err != nil {
				return err
			}
			// It is held until what has its address is known.
			whole, err := with(slices.Clone(raw), "pool_id", id)
			if err != nil {
				whole = slices.Clone(raw) // which is no object
			}
			members = append(members, whole)
			if m.Address != "" {
				addresses = append(addresses, m.Address)
			}
			return nil
		})
		if _, err := r.ofOne(ctx, "the pool "+id, err); err != nil {
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
	_, err = network.List(ctx, cloud.List{Request: cloud.Request{Path: "ports", Query: query}, Envelope: "ports", Limit: 1000},
		func(raw jsontext.Value) error {
			var p port
			if err := kinds.Decode(raw, &p); err != nil {
				return err
			}
			visit(p)
			return nil
		})
	if r.l.kind.API.Name != cloud.Network.Name && refusedFor(err) {
		return nil
	}
	return sourceError(cloud.Network, r.l.region, err)
}

// listProviders reads the resource providers. What is used of a provider takes a
// request of its own. What it has takes three more, which are made where its generation
// is another than the one that was recorded: placement counts up whenever that
// changes, but not when something that used it goes.
func (r *elementReader) listProviders(ctx context.Context, sweep plugin.Sweep, out plugin.Sink,
	visit func(jsontext.Value) error) (cloud.Listed, error) {
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
		if err := kinds.Decode(jsontext.Value(o.Document), &was); err == nil { // one that cannot be read is read anew
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
		if err := kinds.Decode(raw, &p); err != nil {
			return err
		}
		if p.UUID == "" {
			return visit(raw) // which cannot be read
		}
		// later keeps a provider that cannot be asked: should it be gone, the next list
		// does not have it.
		later := func(err error) error {
			if r.inRow++; !ofOne(err) || r.inRow > maxInRow {
				return err
			}
			reading, err := r.l.kind.Read(raw, r.in)
			if err != nil {
				return visit(raw)
			}
			return r.keep(ctx, sweep, reading.Key)
		}
		was, known := recorded[p.UUID]
		known = known && was.provider == p && was.Inventories != nil && was.Traits != nil && was.Aggregates != nil
		usages, err := part(p.UUID, "usages")
		if err != nil {
			return later(err)
		}
		r.inRow = 0
		if known && sameJSON(usages, was.Usages) {
			reading, err := r.l.kind.Read(raw, r.in)
			if err != nil {
				return err
			}
			return r.keep(ctx, sweep, reading.Key)
		}
		parts := map[string]jsontext.Value{"usages": usages, "inventories": was.Inventories, "traits": was.Traits, "aggregates": was.Aggregates}
		for _, name := range []string{"usages", "inventories", "traits", "aggregates"} {
			value := parts[name]
			if !known && name != "usages" {
				if value, err = part(p.UUID, name); err != nil {
					return later(err)
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

// idOf returns the id of an element, or empty.
func idOf(raw jsontext.Value) string {
	var e struct {
		ID   string `json:"id"`
		UUID string `json:"uuid"`
	}
	if kinds.Decode(raw, &e) != nil {
		return ""
	}
	return cmp.Or(e.ID, e.UUID)
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
