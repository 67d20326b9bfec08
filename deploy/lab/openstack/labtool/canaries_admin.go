package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
)

// identities have attributes that nobody defined, which the service keeps.
func (p *planter) identities(ctx context.Context, admin *cloud, _ *shared, t *tenant) error {
	if _, err := ensure(ctx, admin.identity, "projects", "project", "leaky-project", obj{
		"domain_id": "default", "api_key": p.in("project", "leaky-project", "api_key", false),
		"description": "the vault's password is " + "password=" + p.in("project", "leaky-project", "description", false),
	}); err != nil {
		return err
	}
	if _, err := ensure(ctx, admin.identity, "users", "user", "leaky-user", obj{
		"domain_id": "default", "password": p.in("user", "leaky-user", "password", true),
		"secret_token": p.in("user", "leaky-user", "secret_token", false),
	}); err != nil {
		return err
	}
	path := "users/" + url.PathEscape(t.user) + "/application_credentials"
	have, err := list(ctx, t.identity, path)
	if err != nil || find(have, "name", "leaky-credential") != nil {
		return err
	}
	made, err := call(ctx, t.identity, "POST", path, obj{"application_credential": obj{
		"name": "leaky-credential", "secret": p.in("application credential", "leaky-credential", "secret", true),
	}})
	if err == nil && id(made) == "" {
		err = errors.New("the application credential has no id")
	}
	return err
}

// types are told to everybody, and have secrets of backends all the same.
func (p *planter) types(ctx context.Context, admin *cloud, _ *shared, _ *tenant) error {
	_, err := call(ctx, admin.compute, "POST", "flavors",
		obj{"flavor": obj{"id": "lab-leaky", "name": "leaky", "vcpus": 1, "ram": 64, "disk": 1}})
	if err == nil || errors.Is(err, errConflict) {
		_, err = call(ctx, admin.compute, "POST", "flavors/lab-leaky/os-extra_specs",
			obj{"extra_specs": obj{"lab:admin_password": p.in("flavor", "leaky", "extra_specs.lab:admin_password", false)}})
	}
	if err != nil {
		return fmt.Errorf("flavor: %w", err)
	}
	aggregates, err := list(ctx, admin.compute, "os-aggregates")
	if err != nil {
		return err
	}
	if a := find(aggregates, "name", "fast-disk"); a != nil {
		if _, err := call(ctx, admin.compute, "POST", fmt.Sprintf("os-aggregates/%v/action", a["id"]), obj{"set_metadata": obj{"metadata": obj{
			"ipmi_password": p.in("aggregate", "fast-disk", "metadata.ipmi_password", false),
		}}}); err != nil {
			return fmt.Errorf("aggregate: %w", err)
		}
	}
	if admin.volume == nil {
		return nil
	}
	if _, err := ensureIn(ctx, admin.volume, "types?is_public=None", "types", "volume_type", "name", "leaky-type",
		obj{"extra_specs": obj{"san_password": p.in("volume type", "leaky-type", "extra_specs.san_password", false)}}); err != nil {
		return fmt.Errorf("volume type: %w", err)
	}
	return nil
}

// addresses are what somebody noted down about them.
func (p *planter) addresses(ctx context.Context, admin *cloud, base *shared, t *tenant) error {
	described := func(kind, name, text string) obj {
		return obj{"description": text + p.in(kind, name, "description", false)}
	}
	if _, err := ensure(ctx, t.network, "routers", "router", "leaky-router",
		described("router", "leaky-router", "ssh admin, password: ")); err != nil {
		return err
	}
	if err := ensurePort(ctx, t, "leaky-port", described("port", "leaky-port", "iscsi chap secret=")); err != nil {
		return err
	}
	pool := described("subnet pool", "leaky-pool", "ipam api_key=")
	pool["prefixes"], pool["default_prefixlen"] = []string{"172.31.0.0/16"}, 24
	if _, err := ensure(ctx, admin.network, "subnetpools", "subnetpool", "leaky-pool", pool); err != nil {
		return err
	}
	// These have no names.
	address := described("floating ip", "", "vpn psk, password=")
	address["floating_network_id"] = base.public
	if _, err := ensureIn(ctx, t.network, "floatingips", "floatingips", "floatingip", "description", address["description"].(string),
		address); err != nil {
		return err
	}
	groups, err := list(ctx, t.network, "security-groups?name=leaky-group")
	if err != nil || len(groups) == 0 {
		return err
	}
	rule := described("security group rule", "leaky-group", "for the agent, --token ")
	rule["security_group_id"], rule["direction"], rule["ethertype"] = id(groups[0]), "ingress", "IPv4"
	rule["protocol"], rule["port_range_min"], rule["port_range_max"] = "tcp", 8443, 8443
	_, err = ensureIn(ctx, t.network, "security-group-rules?security_group_id="+id(groups[0]), "security-group-rules", "security_group_rule",
		"description", rule["description"].(string), rule)
	return err
}

func ensurePort(ctx context.Context, t *tenant, name string, body obj) error {
	body["network_id"] = t.networkID
	_, err := ensure(ctx, t.network, "ports", "port", name, body)
	return err
}

// access is who may do what.
func (p *planter) access(ctx context.Context, admin *cloud, _ *shared, _ *tenant) error {
	for _, o := range []struct {
		kind, path, envelope, field, text string
		domain                            string
	}{
		{"domain", "domains", "domain", "ldap_password", "", ""},
		{"group", "groups", "group", "description", "ldap bind password=", "default"},
		{"role", "roles", "role", "description", "granted by https://robot:", ""},
		{"service", "services", "service", "auth_token", "", ""},
	} {
		name := "leaky-" + o.kind
		secret := p.in(o.kind, name, o.field, false)
		body := obj{o.field: o.text + secret}
		switch o.kind {
		case "role":
			body[o.field] = o.text + secret + "@iam.example.com/"
		case "service":
			body["type"] = "lab-leaky"
		}
		if o.domain != "" {
			body["domain_id"] = o.domain
		}
		if _, err := ensure(ctx, admin.identity, o.path, o.envelope, name, body); err != nil {
			return err
		}
	}
	return nil
}
