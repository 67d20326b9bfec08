package openstack

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/pkg/plugin/plugintest"
	"github.com/reeve-cloud/reeve/plugins/openstack/cloud"
)

var forbidden = object{"error": object{"code": 403, "message": "You are not authorized.", "title": "Forbidden"}}

// TestNarrowed: a credential that sees less is another scope, and what only the
// wider one saw stays.
func TestNarrowed(t *testing.T) {
	for name, test := range map[string]struct {
		include []string
		before  func(e *estate)
		after   func(e *estate)
		// want are the scopes and what is in them at the end.
		want string
	}{
		"C05, C39: a reader of a domain": {
			include: []string{"identity/projects", "identity/users", "identity/groups"},
			before: func(e *estate) {
				e.on("/v3/projects", 200, object{"projects": append(things(object{"domain_id": "doma"}, "pa"),
					things(object{"domain_id": "domb"}, "pb", "pc")...)})
				e.on("/v3/projects?name=reeve", 200, object{"projects": []object{}})
				e.on("/v3/domains", 200, object{"domains": things(nil, "doma", "domb")})
				e.on("/v3/users", 200, object{"users": append(things(object{"domain_id": "doma"}, "ua"), things(object{"domain_id": "domb"}, "ub")...)})
				e.on("/v3/groups", 200, object{"groups": append(things(object{"domain_id": "doma"}, "ga"),
					things(object{"domain_id": "domb"}, "gb")...)})
				e.on("/v3/groups/ga/users", 200, object{"users": []object{}})
				e.on("/v3/groups/gb/users", 200, object{"users": []object{}})
			},
			after: func(e *estate) {
				e.become("domain doma", "reader")
				e.on("/v3/projects", 200, object{"projects": things(object{"domain_id": "doma"}, "pa")})
				e.on("/v3/users", 200, object{"users": things(object{"domain_id": "doma"}, "ua")})
				e.on("/v3/groups", 200, object{"groups": things(object{"domain_id": "doma"}, "ga")})
			},
			want: "identity/groups: ga gb deleted; identity/groups@domain:doma: ga deleted; identity/projects: pa pb pc deleted; " +
				"identity/projects@domain:doma: pa deleted; identity/users: ua ub deleted; identity/users@domain:doma: ua deleted",
		},
		"C41: a role of Cinder that only reads": {
			include: []string{"storage/volumes"},
			before: func(e *estate) {
				e.catalog["volumev3"] = "/cinder/v3/p1"
				e.on("/cinder/v3/", 200, object{"versions": []object{{"id": "v3.0", "version": "3.70", "min_version": "3.0"}}})
				e.on("/cinder/v3/p1/os-services", 200, object{"services": []object{}})
				e.on("/cinder/v3/p1/volumes/detail?all_tenants=1", 200,
					object{"volumes": append(things(object{"os-vol-tenant-attr:tenant_id": "p1"}, "own"),
						things(object{"os-vol-tenant-attr:tenant_id": "p2"}, "of-p2")...)})
				e.on("/cinder/v3/p1/volumes/detail", 200, object{"volumes": things(object{"os-vol-tenant-attr:tenant_id": "p1"}, "own")})
			},
			after: func(e *estate) {
				e.become("project p1", "admin_readonly")
				e.on("/cinder/v3/p1/volumes/detail?all_tenants=1", 200, object{"volumes": things(object{"os-vol-tenant-attr:tenant_id": "p1"}, "own")})
			},
			want: "west/storage/volumes: of-p2 own deleted; west/storage/volumes@p1: own deleted",
		},
		"C34: a reader of the system, to Glance": {
			include: []string{"image/images"},
			before: func(e *estate) {
				e.catalog["image"] = "/glance"
				e.on("/glance/v2/images", 200, object{"images": append(things(object{"owner": "aaaa", "visibility": "public"}, "public"),
					things(object{"owner": "aaaa", "visibility": "private"}, "private")...)})
			},
			after: func(e *estate) {
				e.become("system", "reader")
				e.on("/glance/v2/images", 200, object{"images": things(object{"owner": "aaaa", "visibility": "public"}, "public")})
			},
			want: "west/image/images: private public deleted; west/image/images@public: public deleted",
		},
		"a role that Ironic shows its own nodes": {
			include: []string{"baremetal/nodes"},
			before: func(e *estate) {
				e.catalog["baremetal"] = "/ironic"
				e.on("/ironic/v1/", 200, object{"version": object{"id": "v1", "version": "1.90", "min_version": "1.1"}})
				e.on("/ironic/v1/nodes", 200, object{"nodes": []object{}})
				e.on("/ironic/v1/nodes/detail", 200, object{"nodes": []object{{"uuid": "n1"}, {"uuid": "n2"}}})
			},
			after: func(e *estate) {
				e.on("/ironic/v1/nodes", 403, object{"error_message": `{"faultstring": "You are not authorized"}`})
				e.on("/ironic/v1/nodes/detail", 200, object{"nodes": []object{}})
				e.catalog["image"] = "/glance" // there must be something to list
				e.become("project p1", "admin")
				e.on("/glance/v2/images", 200, object{"images": []object{}})
			},
			want: "west/baremetal/nodes: n1 n2 deleted",
		},
		"a role of Octavia that sees its own": {
			include: []string{"loadbalancer/loadbalancers"},
			before: func(e *estate) {
				e.catalog["load-balancer"] = "/octavia"
				e.on("/octavia/v2/lbaas/loadbalancers", 200,
					object{"loadbalancers": append(things(object{"project_id": "p1"}, "own"), things(object{"project_id": "p2"}, "other")...)})
			},
			after: func(e *estate) {
				e.on("/octavia/v2/lbaas/loadbalancers?project_id=reeve", 403,
					object{"faultcode": "Client", "faultstring": "Policy does not allow this request to be performed."})
				e.on("/octavia/v2/lbaas/loadbalancers", 200, object{"loadbalancers": things(object{"project_id": "p1"}, "own")})
			},
			want: "west/loadbalancer/loadbalancers: other own deleted; west/loadbalancer/loadbalancers@p1: own deleted",
		},
		"key pairs of another user": {
			include: []string{"compute/keypairs"},
			before: func(e *estate) {
				e.roles = []string{"member"}
				e.catalog["compute"] = "/nova/v2.1"
				e.on("/nova/v2.1/", 200, object{"version": object{"id": "v2.1", "version": "2.93", "min_version": "2.1"}})
				e.on("/nova/v2.1/servers", 403, forbidden)
				e.on("/nova/v2.1/os-keypairs", 200, object{"keypairs": []object{{"keypair": object{"name": "k1"}}}})
			},
			after: func(e *estate) {
				e.user = "u2"
				e.become("project p1", "member")
				e.on("/nova/v2.1/os-keypairs", 200, object{"keypairs": []object{{"keypair": object{"name": "k1"}}}})
			},
			want: "west/compute/keypairs@user:u1: identity-1/west/keypair/u1/k1 deleted; west/compute/keypairs@user:u2: " +
				"identity-1/west/keypair/u2/k1 deleted",
		},
		"a reader who may list servers of all, and flavors that are public": {
			include: []string{"compute/flavors", "compute/servers", "compute/server-groups"},
			before: func(e *estate) {
				e.catalog["compute"] = "/nova/v2.1"
				e.on("/nova/v2.1/", 200, object{"version": object{"id": "v2.1", "version": "2.93", "min_version": "2.1"}})
				e.on("/nova/v2.1/servers", 200, object{"servers": []object{}})
				e.on("/nova/v2.1/servers/detail", 200, object{"servers": []object{server("s1")}})
				e.on("/nova/v2.1/flavors/detail", 200, object{"flavors": things(nil, "1", "2")})
				e.on("/nova/v2.1/os-server-groups", 200, object{"server_groups": things(object{"project_id": "p2"}, "g1")})
			},
			after: func(e *estate) {
				e.become("project p1", "reader")
				e.on("/nova/v2.1/flavors/detail", 200, object{"flavors": things(nil, "1")})
				e.on("/nova/v2.1/os-server-groups", 200, object{"server_groups": []object{}})
			},
			want: "west/compute/flavors: identity-1/west/flavor/name-1 identity-1/west/flavor/name-2 deleted; west/compute/flavors@p1: " +
				"identity-1/west/flavor/name-1 deleted; " +
				"west/compute/server-groups: g1 deleted; west/compute/servers: s1 deleted",
		},
	} {
		t.Run(name, func(t *testing.T) {
			e, s := newEstate(t), newSinks(t)
			test.before(e)
			c := e.collector(test.include...)
			if _, errs := s.sweep(c); len(errs) > 0 {
				t.Fatal(errs)
			}
			test.after(e)
			// The old scopes are swept once more, as it happens, before it is found out.
			for name, sink := range s.all {
				if err := c.Sweep(t.Context(), plugin.Scope{Name: name}, sink); err == nil && sink.Deleted() != "" {
					t.Errorf("%s: deleted %q", name, sink.Deleted())
				}
			}
			c = e.collector(append(test.include, "image/images")...)
			if _, errs := s.sweep(c); len(errs) > 0 {
				t.Error(errs)
			}
			if got := s.state(); got != test.want {
				t.Errorf("there is\n%s\nwant\n%s", strings.ReplaceAll(got, "; ", "\n"), strings.ReplaceAll(test.want, "; ", "\n"))
			}
		})
	}
}

// TestServiceShowsLess: the same credential is shown less without a word, by another
// version or policy of the service. What is missing stays, and that is told once.
func TestServiceShowsLess(t *testing.T) {
	for name, test := range map[string]struct {
		kind, path, envelope, typ string
		before, after             []object
		// kept says that what is missing stays.
		kept bool
	}{
		"C42: Ironic's new defaults": {"baremetal/nodes", "/x/v1/nodes/detail", "nodes", "baremetal",
			[]object{{"uuid": "a"}, {"uuid": "b"}}, []object{}, true},
		"Ironic shows one that is the project's": {"baremetal/nodes", "/x/v1/nodes/detail", "nodes", "baremetal",
			[]object{{"uuid": "a"}, {"uuid": "b", "owner": "6f70656e737461636b2e657374617465"}},
			[]object{{"uuid": "b", "owner": "6f70656e737461636b2e657374617465"}}, true},
		"Ironic's ports": {"baremetal/ports", "/x/v1/ports/detail", "ports", "baremetal",
			[]object{{"uuid": "a"}, {"uuid": "b"}}, []object{}, true},
		"Manila": {"share/shares", "/x/v2/shares/detail", "shares", "sharev2",
			append(things(object{"project_id": "6f70656e737461636b2e657374617465"}, "a"), things(object{"project_id": "other"}, "b")...),
			things(object{"project_id": "6f70656e737461636b2e657374617465"}, "a"), true},
		"Magnum": {"containerinfra/clusters", "/x/v1/clusters/detail", "clusters", "container-infra",
			[]object{{"uuid": "a", "project_id": "other"}}, []object{}, true},
		"nodes that were removed": {"baremetal/nodes", "/x/v1/nodes/detail", "nodes", "baremetal",
			[]object{{"uuid": "a"}, {"uuid": "b"}, {"uuid": "c"}}, []object{{"uuid": "c"}}, false},
		"Manila, one of others": {"share/shares", "/x/v2/shares/detail", "shares", "sharev2",
			append(things(object{"project_id": "p9"}, "a"), things(object{"project_id": "other"}, "b")...), things(object{"project_id": "p9"}, "a"),
			false},
	} {
		t.Run(name, func(t *testing.T) {
			e, s := newEstate(t), newSinks(t)
			e.scope = "project 6f70656e737461636b2e657374617465"
			e.catalog[test.typ] = "/x"
			e.on(test.path, 200, object{test.envelope: test.before})
			c := e.collector(test.kind)
			names, errs := s.sweep(c)
			if len(errs) > 0 || len(names) != 1 {
				t.Fatal(names, errs)
			}
			out := s.of(names[0])
			had := out.UIDs()
			e.on(test.path, 200, object{test.envelope: test.after})
			for range 3 {
				if _, errs := s.sweep(c); len(errs) > 0 {
					t.Fatal(errs)
				}
			}
			if test.kept {
				if out.UIDs() != had || !slices.Equal(s.told(names[0]), []string{"kept"}) {
					t.Errorf("there is %q of %q, told was %q", out.UIDs(), had, s.told(names[0]))
				}
				// So it stays over a start of the agent.
				c = e.collector(test.kind)
				if s.sweep(c); out.UIDs() != had {
					t.Errorf("after a start there is %q", out.UIDs())
				}
				// When it is shown again, all is as before; and after a day of nothing else
				// it is believed.
				c.mu.Lock()
				c.held[names[0]] = time.Now().Add(-heldFor)
				c.mu.Unlock()
				if s.sweep(c); out.UIDs() == had {
					t.Error("after a day it is still there")
				}
				return
			}
			if out.UIDs() == had || !slices.Equal(s.told(names[0]), []string{"shrunk"}) {
				t.Errorf("there is %q of %q, told was %q", out.UIDs(), had, s.told(names[0]))
			}
		})
	}
}

// TestShrinks: a list that is much shorter is asked for again, and told; a little
// less is nothing to speak of, and neither is what the cloud has told of itself.
func TestShrinks(t *testing.T) {
	ids := func(n int) (list []string) {
		for i := range n {
			list = append(list, fmt.Sprintf("n%02d", i))
		}
		return list
	}
	type step struct {
		n     int // how many there are
		once  int // how many the first answer has, or 0 for as many
		ended int // how many the notifications have told of
		lists int
		left  int
		says  string
	}
	for name, s := range map[string]step{
		"a few go":            {n: 27, lists: 1, left: 27},
		"many go":             {n: 20, lists: 2, left: 20, says: "shrunk"},
		"all go":              {n: 0, lists: 2, left: 0, says: "shrunk"},
		"a list was cut once": {n: 30, once: 5, lists: 2, left: 30},
		"the cloud told":      {n: 20, ended: 10, lists: 1, left: 20},
		"the cloud told half": {n: 20, ended: 5, lists: 2, left: 20, says: "shrunk"},
	} {
		t.Run(name, func(t *testing.T) {
			e, sinks := newEstate(t), newSinks(t)
			e.catalog["network"] = "/neutron"
			e.on("/neutron/v2.0/quotas", 200, object{"quotas": []object{}})
			const path = "/neutron/v2.0/networks"
			e.on(path, 200, object{"networks": things(nil, ids(30)...)})
			c := e.collector("network/networks")
			names, errs := sinks.sweep(c)
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			scope := plugin.Scope{Name: names[0]}
			lists := 0
			e.set(func() {
				e.answers[path] = func() answer {
					if lists++; lists == 1 && s.once > 0 {
						return answer{200, object{"networks": things(nil, ids(s.once)...)}}
					}
					return answer{200, object{"networks": things(nil, ids(s.n)...)}}
				}
			})
			for _, id := range ids(30)[30-s.ended:] {
				c.alarms.of("network/networks", "west").ring(id, true)
			}
			out := sinks.of(names[0])
			if err := c.Sweep(t.Context(), scope, out); err != nil {
				t.Fatal(err)
			}
			if lists != s.lists || len(out.All()) != s.left || strings.Join(sinks.told(names[0]), " ") != s.says {
				t.Errorf("%d lists, %d left, told %q; want %+v", lists, len(out.All()), sinks.told(names[0]), s)
			}
		})
	}
}

// TestQuietSweeps: as long as nothing goes, a sweep asks for its list and for
// nothing else.
func TestQuietSweeps(t *testing.T) {
	e, s := newEstate(t), newSinks(t)
	e.catalog["network"], e.catalog["image"] = "/neutron", "/glance"
	e.on("/neutron/v2.0/quotas", 200, object{"quotas": []object{}})
	e.on("/neutron/v2.0/networks", 200, object{"networks": things(nil, "a", "b")})
	e.on("/glance/v2/images", 200, object{"images": things(nil, "i")})
	c := e.collector("network/networks", "image/images")
	names, _ := s.sweep(c)
	before := len(e.requests())
	for range 3 {
		for _, name := range names {
			if err := c.Sweep(t.Context(), plugin.Scope{Name: name}, s.of(name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := e.requests()[before:]; len(got) != 6 {
		t.Errorf("the requests are %q", got)
	}
}

// TestUsersByDomain: where domains have drivers of their own, each is asked for.
func TestUsersByDomain(t *testing.T) {
	base := func(e *estate) {
		e.on("/v3/projects", 200, object{"projects": []object{}})
		e.on("/v3/domains", 200, object{"domains": things(nil, "default", "ldap", "empty")})
		e.on("/v3/users?domain_id=default", 200, object{"users": things(object{"domain_id": "default"}, "u1")})
		e.on("/v3/users?domain_id=ldap", 200, object{"users": things(object{"domain_id": "ldap"}, "l1", "l2")})
		e.on("/v3/users?domain_id=empty", 200, object{"users": []object{}})
	}
	for name, test := range map[string]struct {
		plain  answer
		change func(e *estate)
		want   string
		told   string
	}{
		"C04b: one domain is shown": {plain: answer{200, object{"users": things(object{"domain_id": "default"}, "u1")}}, want: "l1 l2 u1"},
		"C04: a domain must be named": {plain: answer{401,
			object{"error": object{"code": 401, "message": "The request you have made requires authentication."}}}, want: "l1 l2 u1"},
		"a domain must be named, newer": {plain: answer{400, object{"error": object{"code": 400, "message": "Expecting to find domain_id"}}},
			want: "l1 l2 u1"},
		"all are shown": {plain: answer{200,
			object{"users": append(things(object{"domain_id": "default"}, "u1"), things(object{"domain_id": "ldap"}, "l1", "l2")...)}},
			want: "l1 l2 u1"},
		"the directory is away later on": {plain: answer{200, object{"users": things(object{"domain_id": "default"}, "u1")}},
			change: func(e *estate) {
				e.on("/v3/users?domain_id=ldap", 403, object{"error": object{"code": 403, "message": "LDAP is down"}})
			}, want: "l1 l2 u1", told: "kept"},
		"the domain is disabled later on": {plain: answer{200, object{"users": things(object{"domain_id": "default"}, "u1")}},
			change: func(e *estate) {
				e.on("/v3/users?domain_id=ldap", 401, object{"error": object{"code": 401, "message": "Domain is disabled"}})
			}, want: "l1 l2 u1", told: "kept"},
		"users of the directory go": {plain: answer{200, object{"users": things(object{"domain_id": "default"}, "u1")}}, change: func(e *estate) {
			e.on("/v3/users?domain_id=ldap", 200, object{"users": things(object{"domain_id": "ldap"}, "l2")})
		}, want: "l2 u1", told: "shrunk"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, s := newEstate(t), newSinks(t)
			base(e)
			e.on("/v3/users", test.plain.status, test.plain.body)
			c := e.collector("identity/users")
			names, errs := s.sweep(c)
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			if test.change != nil {
				test.change(e)
				if err := c.Sweep(t.Context(), plugin.Scope{Name: names[0]}, s.of(names[0])); err != nil {
					t.Fatal(err)
				}
			}
			if got := s.of(names[0]).UIDs(); got != test.want || strings.Join(s.told(names[0]), " ") != test.told {
				t.Errorf("the users are %q, told was %q", got, s.told(names[0]))
			}
			empty := 0
			for range 3 {
				_ = c.Sweep(t.Context(), plugin.Scope{Name: names[0]}, s.of(names[0]))
			}
			for _, uri := range e.requests() {
				if strings.Contains(uri, "domain_id=empty") {
					empty++
				}
			}
			if empty > 1 && test.plain.status == 200 {
				t.Errorf("the domain without users was asked for %d times", empty)
			}
		})
	}
}

// TestGlobalIndex: C06: where the list of all is refused, the project's own is read.
func TestGlobalIndex(t *testing.T) {
	e, s := newEstate(t), newSinks(t)
	e.catalog["orchestration"] = "/heat/v1/p1"
	e.on("/heat/v1/p1/stacks", 200, object{"stacks": things(nil, "s1")})
	e.on("/heat/v1/p1/stacks?global_tenant=True", 403,
		object{"error": object{"message": "You are not authorized to use global_index.", "type": "Forbidden"}, "code": 403})
	c := e.collector("orchestration/stacks")
	if names, errs := s.sweep(c); len(errs) > 0 || s.state() != "west/orchestration/stacks@p1: s1 deleted" {
		t.Errorf("%v %v: %s", names, errs, s.state())
	}
	checks, err := c.Verify(t.Context())
	if err != nil || !slices.ContainsFunc(checks, func(c plugin.Check) bool {
		return c.Err == nil && strings.HasSuffix(c.Detail, "1 of 1 listings, project p1 only")
	}) {
		t.Errorf("%+v, %v", checks, err)
	}
	// A kind of which the list of all is refused, where others are not.
	e = newEstate(t)
	e.catalog["volumev3"] = "/cinder/v3/p1"
	e.on("/cinder/v3/", 200, object{"versions": []object{{"id": "v3.0", "version": "3.70", "min_version": "3.0"}}})
	e.on("/cinder/v3/p1/os-services", 200, object{"services": []object{}})
	e.on("/cinder/v3/p1/volumes/detail", 200, object{"volumes": things(nil, "v1")})
	e.on("/cinder/v3/p1/backups/detail", 200, object{"backups": things(nil, "b1")})
	e.on("/cinder/v3/p1/backups/detail?all_tenants=1", 403, forbidden)
	s, c = newSinks(t), e.collector("storage/volumes", "storage/backups")
	if _, errs := s.sweep(c); len(errs) != 1 || !errors.Is(errs["west/storage/backups"], cloud.ErrForbidden) {
		t.Errorf("%v", errs)
	}
	if _, errs := s.sweep(c); len(errs) > 0 || s.state() != "west/storage/backups@p1: b1 deleted; west/storage/volumes: v1 deleted" {
		t.Errorf("%v: %s", errs, s.state())
	}
	checks, err = c.Verify(t.Context())
	if err != nil || !slices.ContainsFunc(checks, func(c plugin.Check) bool {
		return strings.HasSuffix(c.Detail, "all projects; backups: project p1 only") ||
			strings.HasSuffix(c.Detail, "project p1 only; volumes: all projects")
	}) {
		t.Errorf("%+v, %v", checks, err)
	}
	// When it is allowed, it is seen again.
	e.on("/cinder/v3/p1/backups/detail?all_tenants=1", 200, object{"backups": things(nil, "b1", "b2")})
	if _, errs := s.sweep(c); len(errs) > 0 || s.of("west/storage/backups").UIDs() != "b1 b2" {
		t.Errorf("%v: %s", errs, s.state())
	}
}

// TestRegions: what has one id in several regions is there as long as it is in one
// of them, and a service of several regions is one.
func TestRegions(t *testing.T) {
	e, s := newEstate(t), newSinks(t)
	e.regions = []string{"west", "east"}
	e.catalog["image"], e.catalog["dns"] = "/{region}/glance", "/designate"
	e.on("/designate/v2/zones", 200, object{"zones": things(nil, "z")})
	const id = "9264c41b-e774-4305-b08e-d1ddd43c075a"
	e.on("/west/glance/v2/images", 200, object{"images": things(nil, id, "w")})
	e.on("/east/glance/v2/images", 200, object{"images": things(nil, id, "x")})
	c := e.collector("image/images", "dns/zones")
	names, errs := s.sweep(c)
	if len(errs) > 0 || fmt.Sprint(names) != "[east/image/images west/image/images east/dns/zones]" {
		t.Fatal(names, errs)
	}
	sweep := func(region string) {
		t.Helper()
		if err := c.Sweep(t.Context(), plugin.Scope{Name: region + "/image/images"}, s.of(region+"/image/images")); err != nil {
			t.Fatal(err)
		}
	}
	e.on("/east/glance/v2/images", 200, object{"images": things(nil, "x")})
	for range 3 {
		sweep("east")
	}
	if got := s.of("east/image/images").Deleted(); got != "" {
		t.Errorf("deleted %q, which is in west", got)
	}
	// While the other region cannot be asked it is not known.
	e.on("/west/glance/v2/images", 404, "<html>no</html>")
	sweep("east")
	if got := s.of("east/image/images").Deleted(); got != "" {
		t.Errorf("deleted %q, which may be in west", got)
	}
	e.on("/west/glance/v2/images", 200, object{"images": things(nil, "w")})
	sweep("west")
	sweep("east")
	if got := s.of("east/image/images").Deleted() + " " + s.of("west/image/images").Deleted(); got != id+" "+id {
		t.Errorf("deleted %q", got)
	}
}

// TestHiddenImages: an image that is hidden is still there.
func TestHiddenImages(t *testing.T) {
	e, s := newEstate(t), newSinks(t)
	e.catalog["image"] = "/glance"
	e.on("/glance/v2/images", 200, object{"images": things(nil, "a", "b")})
	e.on("/glance/v2/images?os_hidden=true", 200, object{"images": []object{}})
	c := e.collector("image/images")
	s.sweep(c)
	e.on("/glance/v2/images", 200, object{"images": things(nil, "a")})
	e.on("/glance/v2/images?os_hidden=true", 200, object{"images": things(object{"os_hidden": true}, "b")})
	for range 3 {
		s.sweep(c)
	}
	if got := s.state(); got != "west/image/images: a b deleted" {
		t.Error(got)
	}
	if o, _ := s.of("west/image/images").Get("b"); !strings.Contains(string(o.Document), `"hidden":true`) {
		t.Errorf("it is not hidden: %s", o.Document)
	}
	e.on("/glance/v2/images?os_hidden=true", 200, object{"images": []object{}})
	if s.sweep(c); s.state() != "west/image/images: a deleted b" {
		t.Error(s.state())
	}
}

// TestQuotas: C09: a project that is deleted, or that its quota cannot be had of,
// costs its own quota and no other.
func TestQuotas(t *testing.T) {
	for name, odd := range map[string]answer{
		"C09: it is no valid project": {400, object{"badRequest": object{"code": 400, "message": "Project ID gone is not a valid project."}}},
		"it is not found":             {404, object{"itemNotFound": object{"code": 404, "message": "Project gone could not be found."}}},
		"it breaks the service":       {500, object{"computeFault": object{"code": 500, "message": "Unexpected API Error."}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, s := newEstate(t), newSinks(t)
			e.catalog["compute"] = "/nova/v2.1"
			e.on("/nova/v2.1/", 200, object{"version": object{"id": "v2.1", "version": "2.93", "min_version": "2.1"}})
			e.on("/nova/v2.1/servers", 200, object{"servers": []object{}})
			e.on("/v3/projects", 200, object{"projects": things(nil, "p1", "gone", "p2")})
			for _, id := range []string{"p1", "gone", "p2"} {
				e.on("/nova/v2.1/os-quota-sets/"+id+"/detail", 200, object{"quota_set": object{"id": id, "cores": object{"limit": 20, "in_use": 1}}})
			}
			c := e.collector("compute/quotas")
			s.sweep(c)
			e.on("/nova/v2.1/os-quota-sets/gone/detail", odd.status, odd.body)
			e.on("/nova/v2.1/os-quota-sets/p2/detail", 200, object{"quota_set": object{"id": "p2", "cores": object{"limit": "40", "in_use": 1}}})
			if _, errs := s.sweep(c); len(errs) > 0 {
				t.Fatal(errs)
			}
			out := s.of("west/compute/quotas")
			if o, _ := out.Get("identity-1/west/compute-quota/p2"); out.Deleted() != "" ||
				!strings.Contains(string(o.Document), `"limits":{"cores":40}`) {
				t.Errorf("deleted %q; %s", out.Deleted(), o.Document)
			}
			e.on("/v3/projects", 200, object{"projects": things(nil, "p1", "p2")})
			if s.sweep(c); out.Deleted() != "identity-1/west/compute-quota/gone" {
				t.Errorf("deleted %q", out.Deleted())
			}
		})
	}
}

// TestProxies: what a proxy says of what it does not reach deletes nothing, in any
// list that is made of several.
func TestProxies(t *testing.T) {
	e, s := newEstate(t), newSinks(t)
	e.catalog["compute"], e.catalog["load-balancer"], e.catalog["placement"], e.catalog["network"] = "/nova/v2.1", "/octavia", "/placement",
		"/neutron"
	e.on("/nova/v2.1/", 200, object{"version": object{"id": "v2.1", "version": "2.93", "min_version": "2.1"}})
	e.on("/placement/", 200, object{"versions": []object{{"id": "v1.0", "max_version": "1.39", "min_version": "1.0"}}})
	e.on("/nova/v2.1/servers", 200, object{"servers": []object{}})
	e.on("/nova/v2.1/flavors", 200, object{"flavors": []object{}})
	e.on("/neutron/v2.0/quotas", 200, object{"quotas": []object{}})
	e.on("/neutron/v2.0/extensions", 200, object{"extensions": []object{}})
	e.on("/neutron/v2.0/trunks", 200, object{"trunks": things(nil, "t1")})
	e.on("/v3/projects", 200, object{"projects": []object{}})
	e.on("/v3/role_assignments", 200, object{"role_assignments": []object{{"user": object{"id": "u1"}}, {"user": object{"id": "u2"}},
		{"user": nil}, {}}})
	e.on("/nova/v2.1/os-keypairs?user_id=u1", 200, object{"keypairs": []object{{"keypair": object{"name": "k1"}}}})
	e.on("/nova/v2.1/os-keypairs?user_id=u2", 200, object{"keypairs": []object{{"keypair": object{"name": "k2"}}}})
	for _, u := range []string{"u1", "u2"} {
		e.on("/v3/users/"+u+"/application_credentials", 200, object{"application_credentials": things(object{"user_id": u}, "ac-"+u)})
	}
	e.on("/v3/groups", 200, object{"groups": things(object{"domain_id": "default"}, "g1")})
	e.on("/v3/groups/g1/users", 200, object{"users": things(nil, "u1")})
	e.on("/v3/domains", 200, object{"domains": things(nil, "default")})
	e.on("/v3/regions", 200, object{"regions": things(nil, "west")})
	e.on("/octavia/v2/lbaas/loadbalancers", 200, object{"loadbalancers": []object{}})
	e.on("/octavia/v2/lbaas/pools", 200, object{"pools": things(object{"members": things(nil, "m1")}, "pool1")})
	e.on("/octavia/v2/lbaas/pools/pool1/members", 200, object{"members": things(object{"address": "10.0.0.1"}, "m1")})
	e.on("/neutron/v2.0/ports", 200, object{"ports": []object{}})
	e.on("/placement/resource_providers", 200, object{"resource_providers": []object{{"uuid": "rp1", "name": "rp1", "generation": 1}}})
	for _, part := range []string{"usages", "inventories", "traits", "aggregates"} {
		e.on("/placement/resource_providers/rp1/"+part, 200, object{part: object{}})
	}
	c := e.collector("compute/keypairs", "identity/application-credentials", "identity/groups", "loadbalancer/members", "placement/*",
		"network/trunks")
	if _, errs := s.sweep(c); len(errs) > 0 {
		t.Fatal(errs)
	}
	want := s.state()
	if !strings.Contains(want, "k2") || !strings.Contains(want, "ac-u2") || !strings.Contains(want, "m1") || !strings.Contains(want, "rp1") ||
		!strings.Contains(want, "g1") || !strings.Contains(want, "t1") {
		t.Fatalf("there is %s", want)
	}
	sound := e.answers
	for name, page := range map[string]answer{
		"HTML": {404, "<html><h1>404 Not Found</h1></html>"}, "text": {404, "default backend - 404"}, "empty": {404, ""},
		"JSON": {404, object{"message": "no Route matched with those values"}}, "gone": {410, "gone"},
	} {
		for _, all := range []bool{true, false} {
			e.set(func() {
				e.answers = make(map[string]func() answer)
				for path, a := range sound {
					single := strings.Contains(path, "keypairs") || strings.Contains(path, "application_credentials") ||
						strings.Contains(path, "groups/") ||
						strings.Contains(path, "members") || strings.Contains(path, "rp1") || strings.Contains(path, "trunks")
					if all || single {
						a = func() answer { return page }
					}
					e.answers[path] = a
				}
			})
			for scope, sink := range s.all {
				_ = c.Sweep(t.Context(), plugin.Scope{Name: scope}, sink)
			}
			if got := s.state(); got != want {
				t.Fatalf("%s, all %v: there is\n%s\nwant\n%s", name, all, got, want)
			}
		}
	}
	// In its own words, a service that answers otherwise has no such user, and no such
	// extension.
	own := answer{404, object{"itemNotFound": object{"code": 404, "message": "no such user"}}}
	e.set(func() {
		e.answers = sound
		e.answers["/nova/v2.1/os-keypairs?user_id=u2"] = func() answer { return own }
		e.answers["/neutron/v2.0/trunks"] = func() answer {
			return answer{404, object{"message": "The resource could not be found.", "code": "404 Not Found", "title": "Not Found"}}
		}
	})
	for scope, sink := range s.all {
		if err := c.Sweep(t.Context(), plugin.Scope{Name: scope}, sink); err != nil {
			t.Error(scope, err)
		}
	}
	if got := s.of("west/compute/keypairs").Deleted() + " " + s.of("west/network/trunks").Deleted(); got != "identity-1/west/keypair/u2/k2 "+
		"t1" {
		t.Errorf("deleted %q", got)
	}
}

// TestNotFoundItems: what a notification names, and is not found, is looked for in
// the list before it is taken for deleted.
func TestNotFoundItems(t *testing.T) {
	e := newEstate(t)
	e.catalog["network"] = "/neutron"
	e.on("/neutron/v2.0/quotas", 200, object{"quotas": []object{}})
	e.on("/neutron/v2.0/trunks", 200, object{"trunks": things(nil, "t1", "t2")})
	c, out := e.collector("network/trunks"), plugintest.NewSink(t)
	sc := scope(t, c)
	if err := c.Sweep(t.Context(), sc, out); err != nil {
		t.Fatal(err)
	}
	watched(t, c, sc, out)
	e.on("/neutron/v2.0/trunks/t1", 404, object{"NeutronError": object{"type": "TrunkNotFound", "message": "no", "detail": ""}})
	c.alarms.ring("network/trunks", "t1", true)
	out.Wait("a sweep", func() error {
		if out.Sweeps() < 2 {
			return errors.New("none")
		}
		return nil
	})
	if out.Deleted() != "" {
		t.Errorf("deleted %q", out.Deleted())
	}
	e.on("/neutron/v2.0/trunks", 200, object{"trunks": things(nil, "t2")})
	if err := c.Sweep(t.Context(), sc, out); err != nil || out.Deleted() != "t1" {
		t.Errorf("deleted %q, %v", out.Deleted(), err)
	}
}
