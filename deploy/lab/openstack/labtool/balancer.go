package main

import (
	"context"
	"fmt"
)

// seedBalancer makes a load balancer in front of servers of the project.
func seedBalancer(ctx context.Context, t *tenant) error {
	found, err := list(ctx, t.balance, "lbaas/loadbalancers?name="+t.name+"-lb")
	if err != nil || len(found) > 0 {
		return err
	}
	ports, err := list(ctx, t.network, "ports?"+ofServers+"&network_id="+t.networkID+"&fields=fixed_ips&sort_key=id&sort_dir=asc")
	if err != nil {
		return err
	}
	members := func(port int) []obj {
		var all []obj
		for i, p := range ports[:min(len(ports), 4)] {
			for _, ip := range p["fixed_ips"].([]any) {
				ip := ip.(obj)
				all = append(all, obj{"name": fmt.Sprintf("m%d", i), "address": ip["ip_address"], "subnet_id": ip["subnet_id"],
					"protocol_port": port, "weight": 1 + i, "backup": i == 3})
			}
		}
		return all
	}
	lb, err := call(ctx, t.balance, "POST", "lbaas/loadbalancers", obj{"loadbalancer": obj{
		"name": t.name + "-lb", "vip_subnet_id": t.subnet, "tags": []string{"seeded"}, "description": "in front of " + t.name,
		"listeners": []obj{
			{"name": "http", "protocol": "HTTP", "protocol_port": 80, "insert_headers": obj{"X-Forwarded-For": "true"},
				"allowed_cidrs": []string{"0.0.0.0/0"},
				"default_pool": obj{"name": "web", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN",
					"session_persistence": obj{"type": "APP_COOKIE", "cookie_name": "session"},
					"members":             members(8080),
					"healthmonitor": obj{"name": "alive", "type": "HTTP", "delay": 5, "timeout": 3, "max_retries": 3,
						"url_path": "/healthz", "expected_codes": "200-204"}},
				"l7policies": []obj{
					{"name": "old-shop", "action": "REDIRECT_TO_URL", "redirect_url": "https://shop.example.com/", "position": 1,
						"rules": []obj{{"type": "PATH", "compare_type": "STARTS_WITH", "value": "/old"}}},
					{"name": "api", "action": "REDIRECT_TO_POOL", "position": 2,
						"redirect_pool": obj{"name": "api", "protocol": "HTTP", "lb_algorithm": "LEAST_CONNECTIONS", "members": members(9090)},
						"rules":         []obj{{"type": "HEADER", "key": "X-Api", "compare_type": "EQUAL_TO", "value": "v2", "invert": true}}},
				}},
			{"name": "postgres", "protocol": "TCP", "protocol_port": 5432, "connection_limit": 500,
				"default_pool": obj{"name": "db", "protocol": "TCP", "lb_algorithm": "SOURCE_IP",
					"healthmonitor": obj{"type": "TCP", "delay": 10, "timeout": 5, "max_retries": 3}}},
		}}})
	if err != nil {
		return err
	}
	return settle(ctx, t.balance, "lbaas/loadbalancers/"+id(lb), "provisioning_status", "ACTIVE")
}
