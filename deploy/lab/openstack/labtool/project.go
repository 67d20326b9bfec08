package main

import (
	"context"
	"fmt"
	"net/url"
)

// tenant is a project, as its own user sees it.
type tenant struct {
	*cloud
	name, id, user, networkID, subnet, router string
}

// ofServers is the filter for ports of servers: the owner has the availability zone.
const ofServers = "device_owner=compute:nova&device_owner=compute:zone-b"

const tenantPassword = "lab-tenant-secret"

// seedProject makes a project with a user, a network, security groups and a keypair.
// Some have a router to the outside: it costs more than all the rest.
func seedProject(ctx context.Context, admin *cloud, base *shared, name string, i int) (*tenant, error) {
	t := &tenant{name: name}
	have, err := list(ctx, admin.identity, "projects?domain_id=default&name="+url.QueryEscape(name))
	if err != nil {
		return nil, err
	}
	// Nothing has to be looked for in a project that was made just now.
	fresh := len(have) == 0
	if t.id, err = ensure(ctx, admin.identity, "projects", "project", name,
		obj{"domain_id": "default", "description": "seeded tenant", "tags": []string{"seeded", "tier-" + fmt.Sprint(i%3)}}); err != nil {
		return nil, err
	}
	if t.user, err = ensure(ctx, admin.identity, "users", "user", name+"-ops",
		obj{"domain_id": "default", "password": tenantPassword, "default_project_id": t.id, "email": name + "-ops@example.com"}); err != nil {
		return nil, err
	}
	for _, role := range []string{"member", "load-balancer_member"} {
		if base.roles[role] == "" {
			continue
		}
		if _, err := call(ctx, admin.identity, "PUT",
			"projects/"+t.id+"/users/"+t.user+"/roles/"+base.roles[role], nil); err != nil {
			return nil, err
		}
	}
	if t.cloud, err = login(ctx, name+"-ops", tenantPassword, name); err != nil {
		return nil, err
	}
	need := func(path, envelope, name string, body obj) (string, error) {
		if !fresh {
			return ensure(ctx, t.network, path, envelope, name, body)
		}
		body["name"] = name
		made, err := call(ctx, t.network, "POST", path, obj{envelope: body})
		return id(made), err
	}
	if t.networkID, err = need("networks", "network", name+"-net", obj{}); err != nil {
		return nil, err
	}
	if t.subnet, err = need("subnets", "subnet", name+"-subnet", obj{
		"network_id": t.networkID, "ip_version": 4, "cidr": fmt.Sprintf("10.%d.0.0/19", 10+i),
		"dns_nameservers": []string{"198.51.100.53"}}); err != nil {
		return nil, err
	}
	if i < 3 || i%3 == 0 {
		if t.router, err = need("routers", "router", name+"-router",
			obj{"external_gateway_info": obj{"network_id": base.public}}); err != nil {
			return nil, err
		}
		if fresh {
			_, err = call(ctx, t.network, "PUT", "routers/"+t.router+"/add_router_interface", obj{"subnet_id": t.subnet})
		} else {
			err = t.route(ctx, t.networkID, t.subnet)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := t.securityGroups(ctx, fresh); err != nil {
		return nil, err
	}
	return t, again(ctx, t.compute, "POST", "os-keypairs",
		obj{"keypair": obj{"name": "ops", "type": "ssh", "public_key": publicKey}})
}

// route puts a subnet on the project's router.
func (t *tenant) route(ctx context.Context, network, subnet string) error {
	ports, err := list(ctx, t.network, "ports?device_id="+t.router+"&network_id="+network+"&fixed_ips=subnet_id%3D"+subnet)
	if err != nil || len(ports) > 0 {
		return err
	}
	_, err = call(ctx, t.network, "PUT", "routers/"+t.router+"/add_router_interface", obj{"subnet_id": subnet})
	return err
}

func (t *tenant) securityGroups(ctx context.Context, fresh bool) error {
	var have []obj
	var err error
	if !fresh {
		if have, err = list(ctx, t.network, "security-groups?fields=id&fields=name"); err != nil {
			return err
		}
	}
	groups := map[string]string{}
	for _, g := range []struct {
		name, description string
		ports             []int
	}{
		{"web", "http and ssh", []int{22, 80, 443}},
		{"db", "postgres from the web servers", []int{5432}},
	} {
		if groups[g.name] = id(find(have, "name", g.name)); groups[g.name] != "" {
			continue
		}
		made, err := call(ctx, t.network, "POST", "security-groups", obj{"security_group": obj{"name": g.name, "description": g.description}})
		if err != nil {
			return err
		}
		groups[g.name] = id(made)
		var rules []obj
		for _, port := range g.ports {
			rule := obj{"security_group_id": id(made), "direction": "ingress", "ethertype": "IPv4", "protocol": "tcp",
				"port_range_min": port, "port_range_max": port}
			if g.name == "db" {
				rule["remote_group_id"] = groups["web"]
			} else {
				rule["remote_ip_prefix"] = "0.0.0.0/0"
			}
			rules = append(rules, rule)
		}
		if _, err := call(ctx, t.network, "POST", "security-group-rules", obj{"security_group_rules": rules}); err != nil {
			return err
		}
	}
	return nil
}

// seedQuotas sets quotas of some projects, in each service that has them.
func seedQuotas(ctx context.Context, admin *cloud, projects []*tenant) error {
	for i, t := range projects {
		if i%3 != 0 {
			continue
		}
		if _, err := call(ctx, admin.compute, "PUT", "os-quota-sets/"+t.id,
			obj{"quota_set": obj{"instances": 5000 + i, "cores": 40000, "ram": 81920000}}); err != nil {
			return err
		}
		if _, err := call(ctx, admin.network, "PUT", "quotas/"+t.id,
			obj{"quota": obj{"port": 9000 + i, "floatingip": 2000}}); err != nil {
			return err
		}
		if admin.volume != nil {
			if _, err := call(ctx, admin.volume, "PUT", "os-quota-sets/"+t.id,
				obj{"quota_set": obj{"volumes": 8000 + i, "gigabytes": 900000}}); err != nil {
				return err
			}
		}
		if admin.balance != nil {
			if _, err := call(ctx, admin.balance, "PUT", "lbaas/quotas/"+t.id,
				obj{"quota": obj{"load_balancer": 50 + i, "listener": 200}}); err != nil {
				return err
			}
		}
	}
	return nil
}
