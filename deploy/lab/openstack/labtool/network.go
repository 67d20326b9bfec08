package main

import (
	"context"
	"net/url"
	"os"
)

// seedNetworking makes what a network service has beside the networks that each
// project needs: it belongs to the administrator and to one project.
func seedNetworking(ctx context.Context, admin *cloud, base *shared, t *tenant) error {
	n := admin.network
	extensions, err := list(ctx, n, "extensions?fields=alias")
	if err != nil {
		return err
	}
	has := func(alias string) bool { return find(extensions, "alias", alias) != nil }

	if err := seedQoS(ctx, admin); err != nil {
		return err
	}

	// Ten policies are all that a project may have, with those that its shared
	// networks and pools bring.
	own, err := list(ctx, admin.identity, "projects?name="+url.QueryEscape(os.Getenv("OS_PROJECT_NAME")))
	if err != nil {
		return err
	}
	for _, p := range own {
		if _, err := call(ctx, n, "PUT", "quotas/"+id(p), obj{"quota": obj{"rbac_policy": -1}}); err != nil {
			return err
		}
	}

	// Address scopes and the pools in them.
	pools := map[int]string{}
	for _, p := range []struct {
		version       int
		scope, pool   string
		prefix        string
		defaultLength int
	}{
		{4, "scope-v4", "pool-v4", "172.20.0.0/14", 24},
		{6, "scope-v6", "pool-v6", "2001:db8:100::/48", 64},
	} {
		scope, err := ensure(ctx, n, "address-scopes", "address_scope", p.scope, obj{"ip_version": p.version, "shared": true})
		if err != nil {
			return err
		}
		if pools[p.version], err = ensure(ctx, n, "subnetpools", "subnetpool", p.pool, obj{"prefixes": []string{p.prefix},
			"default_prefixlen": p.defaultLength, "shared": true, "address_scope_id": scope,
			"description": "for those who do not mind which"}); err != nil {
			return err
		}
	}

	// A provider network that is everybody's, and one that is one project's.
	for _, p := range []struct {
		name   string
		vlan   int
		shared bool
		cidr   string
	}{{"shared-services", 110, true, "10.250.0.0/24"}, {"storage-net", 120, false, "10.251.0.0/24"}} {
		network, err := ensure(ctx, n, "networks", "network", p.name, obj{"shared": p.shared, "provider:network_type": "vlan",
			"provider:physical_network": "physnet1", "provider:segmentation_id": p.vlan})
		if err != nil {
			return err
		}
		if _, err := ensure(ctx, n, "subnets", "subnet", p.name+"-v4", obj{"network_id": network, "ip_version": 4, "cidr": p.cidr,
			"gateway_ip": nil, "host_routes": []obj{{"destination": "10.252.0.0/24", "nexthop": "10.250.0.254"}}}); err != nil {
			return err
		}
		if p.shared {
			continue
		}
		rbac, err := list(ctx, n, "rbac-policies?object_id="+network+"&target_tenant="+t.id)
		if err != nil {
			return err
		}
		if len(rbac) == 0 {
			if _, err := call(ctx, n, "POST", "rbac-policies", obj{"rbac_policy": obj{"object_type": "network",
				"object_id": network, "action": "access_as_shared", "target_tenant": t.id}}); err != nil {
				return err
			}
		}
	}
	if has("address-group") {
		if _, err := ensure(ctx, n, "address-groups", "address_group", "offices",
			obj{"description": "where people work", "addresses": []string{"192.0.2.0/25", "198.51.100.7/32"}}); err != nil {
			return err
		}
	}

	// A second network of the project, with both kinds of addresses, on its router.
	app, err := ensure(ctx, t.network, "networks", "network", t.name+"-app", obj{"description": "dual stack"})
	if err != nil {
		return err
	}
	for _, s := range []struct {
		name string
		body obj
	}{
		{t.name + "-app-v4", obj{"ip_version": 4, "subnetpool_id": pools[4]}},
		{t.name + "-app-v6", obj{"ip_version": 6, "subnetpool_id": pools[6], "ipv6_address_mode": "slaac", "ipv6_ra_mode": "slaac"}},
	} {
		s.body["network_id"] = app
		subnet, err := ensure(ctx, t.network, "subnets", "subnet", s.name, s.body)
		if err != nil {
			return err
		}
		if err := t.route(ctx, app, subnet); err != nil {
			return err
		}
	}
	if _, err := call(ctx, t.network, "PUT", "networks/"+app+"/tags", obj{"tags": []string{"tier-app", "dual-stack"}}); err != nil {
		return err
	}
	return seedPorts(ctx, admin, t, app, has("trunk"))
}

// seedPorts makes ports without a server: one that an address moves to, one that
// is off and filters nothing, and a trunk with two others in it.
func seedPorts(ctx context.Context, admin *cloud, t *tenant, app string, trunks bool) error {
	ports := map[string]string{}
	for _, p := range []struct {
		name string
		body obj
	}{
		{"vip", obj{"network_id": t.networkID, "description": "moves between servers",
			"allowed_address_pairs": []obj{{"ip_address": "10.10.31.200"}}, "dns_name": "vip"}},
		{"firewall-inside", obj{"network_id": app, "admin_state_up": false, "port_security_enabled": false, "security_groups": []string{}}},
		{"trunk-parent", obj{"network_id": t.networkID}},
		{"trunk-sub-1", obj{"network_id": app}},
		{"trunk-sub-2", obj{"network_id": app}},
	} {
		if !trunks && p.name[:3] == "tru" {
			continue
		}
		var err error
		if ports[p.name], err = ensure(ctx, t.network, "ports", "port", p.name, p.body); err != nil {
			return err
		}
	}
	if !trunks {
		return nil
	}
	_, err := ensure(ctx, t.network, "trunks", "trunk", "firewall-trunk", obj{"port_id": ports["trunk-parent"],
		"description": "all networks on one port", "sub_ports": []obj{
			{"port_id": ports["trunk-sub-1"], "segmentation_type": "vlan", "segmentation_id": 101},
			{"port_id": ports["trunk-sub-2"], "segmentation_type": "vlan", "segmentation_id": 102}}})
	return err
}

// seedQoS makes policies. No network has one: the lab's driver knows no rules.
func seedQoS(ctx context.Context, admin *cloud) error {
	n := admin.network
	gold, err := ensure(ctx, n, "qos/policies", "policy", "gold", obj{"shared": true, "description": "10 Gbit/s"})
	if err != nil {
		return err
	}
	bronze, err := ensure(ctx, n, "qos/policies", "policy", "bronze", obj{"shared": false, "description": "what is left"})
	if err != nil {
		return err
	}
	for _, r := range []struct {
		policy, kind, envelope string
		body                   obj
	}{
		{gold, "bandwidth_limit_rules", "bandwidth_limit_rule", obj{"max_kbps": 10000000, "max_burst_kbps": 1000000, "direction": "egress"}},
		{gold, "dscp_marking_rules", "dscp_marking_rule", obj{"dscp_mark": 26}},
		{bronze, "bandwidth_limit_rules", "bandwidth_limit_rule", obj{"max_kbps": 100000, "direction": "ingress"}},
	} {
		path := "qos/policies/" + r.policy + "/" + r.kind
		have, err := list(ctx, n, path)
		if err != nil {
			return err
		}
		if len(have) == 0 {
			if _, err := call(ctx, n, "POST", path, obj{r.envelope: r.body}); err != nil {
				return err
			}
		}
	}
	return nil
}

// seedFloatingIPs gives every n-th server with a port a floating IP, and the
// project one that is paid for and used by nothing, if the project has a router.
func seedFloatingIPs(ctx context.Context, t *tenant, base *shared, every, parallel int) (int, error) {
	if t.router == "" {
		return 0, nil
	}
	ports, err := list(ctx, t.network, "ports?"+ofServers+"&network_id="+t.networkID+"&fields=id&sort_key=id&sort_dir=asc")
	if err != nil {
		return 0, err
	}
	have, err := list(ctx, t.network, "floatingips")
	if err != nil {
		return 0, err
	}
	used, spare := map[any]bool{}, false
	for _, f := range have {
		if f["port_id"] == nil {
			spare = true
		} else {
			used[f["port_id"]] = true
		}
	}
	var todo []any
	for _, p := range ports {
		if (len(used)+len(todo))*every >= len(ports) {
			break
		}
		if !used[p["id"]] {
			todo = append(todo, p["id"])
		}
	}
	if !spare {
		todo = append(todo, nil)
	}
	return len(todo), each(ctx, parallel, len(todo), func(i int) error {
		f := obj{"floating_network_id": base.public, "description": "seeded"}
		if todo[i] != nil {
			f["port_id"] = todo[i]
		}
		_, err := call(ctx, t.network, "POST", "floatingips", obj{"floatingip": f})
		return err
	})
}
