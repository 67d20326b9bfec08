package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
)

// canary is a made-up secret, and where it was planted.
type canary struct {
	Canary    string `json:"canary"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Field     string `json:"field"`
	// Forms are what to look for: the canary, and what is always there of it in
	// base64, at each of the three offsets.
	Forms []string `json:"forms"`
	// Packed says that the API shows it in none of these forms.
	Packed bool `json:"packed,omitempty"`
}

// planter makes canaries for one project.
type planter struct {
	seed, project string
	planted       []canary
}

// in makes up the secret of a place, the same each time.
func (p *planter) in(kind, name, field string, packed bool) string {
	sum := sha256.Sum256([]byte(p.seed + "\x00" + kind + "\x00" + name + "\x00" + field))
	c := canary{Canary: "Cnry" + hex.EncodeToString(sum[:12]), Kind: kind, Namespace: p.project, Name: name, Field: field, Packed: packed}
	c.Forms = append([]string{c.Canary}, base64Forms(c.Canary)...)
	p.planted = append(p.planted, c)
	return c.Canary
}

// base64Forms returns those parts of the base64 of any text with a string in it
// that depend on the string alone, for each offset it may have in the text.
func base64Forms(s string) (forms []string) {
	for offset := range 3 {
		encoded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("-", offset) + s))
		// A character has six bits: the first to be all in s, and the last.
		from, to := (offset*8+5)/6, (offset+len(s))*8/6
		forms = append(forms, encoded[from:to])
	}
	return forms
}

// seedCanaries plants a made-up secret in each place where people put them, and
// writes to a file what and where they are.
func seedCanaries(ctx context.Context, admin *cloud, base *shared, t *tenant, seed, file string) (int, error) {
	p := &planter{seed: seed, project: t.name}
	for _, plant := range []func(context.Context, *cloud, *shared, *tenant) error{
		p.servers, p.images, p.volumes, p.networks, p.addresses, p.balancers, p.identities, p.access, p.types,
	} {
		if err := plant(ctx, admin, base, t); err != nil {
			return 0, err
		}
	}
	data, err := json.MarshalIndent(p.planted, "", "  ")
	if err != nil {
		return 0, err
	}
	return len(p.planted), os.WriteFile(file, append(data, '\n'), 0o600)
}

func (p *planter) servers(ctx context.Context, _ *cloud, base *shared, t *tenant) error {
	const name = "leaky"
	in := func(field string) string { return p.in("server", name, field, false) }
	booted := func(field string) string {
		return base64.StdEncoding.EncodeToString([]byte("#cloud-config\nusers:\n- name: ops\n  plain_text_passwd: " + in(field) + "\n"))
	}
	body := obj{
		"user_data":   booted("user_data"),
		"adminPass":   p.in("server", name, "adminPass", true),
		"description": "log in with password=" + in("description"),
		"metadata": obj{
			"db_password": in("metadata.db_password"),
			"api-token":   in("metadata.api-token"),
			"database":    "postgres://shop:" + in("metadata.database") + "@db.example.com/shop",
			"first_boot":  booted("metadata.first_boot"),
			"start":       "/usr/bin/agent --token " + in("metadata.start") + " --verbose",
			"innocent":    in("metadata.innocent"), // found only by its key
		},
	}
	have, err := list(ctx, t.compute, "servers?name="+name)
	if err != nil || len(have) > 0 {
		return err
	}
	server, err := makeServer(ctx, t, base, name, body)
	if err != nil {
		return err
	}
	return settle(ctx, t.compute, "servers/"+server, "status", "ACTIVE")
}

func (p *planter) images(ctx context.Context, admin *cloud, _ *shared, _ *tenant) error {
	const name = "leaky-image"
	in := func(field string) string { return p.in("image", name, field, false) }
	_, err := ensure(ctx, admin.image, "images", "", name, obj{
		"visibility": "private", "disk_format": "raw", "container_format": "bare",
		"os_admin_password": in("os_admin_password"), "registry_token": in("registry_token"),
		"mirror": "https://ops:" + in("mirror") + "@mirror.example.com/", "notes": "root password: " + in("notes"),
	})
	return err
}

func (p *planter) volumes(ctx context.Context, admin *cloud, _ *shared, t *tenant) error {
	if admin.volume == nil {
		return nil
	}
	const name = "leaky-volume"
	in := func(field string) string { return p.in("volume", name, field, false) }
	volume, err := ensureIn(ctx, t.volume, "volumes/detail?limit=1000", "volumes", "volume", "name", name, obj{
		"size": 1, "description": "passphrase=" + in("description"),
		"metadata": obj{"luks_passphrase": in("metadata.luks_passphrase"), "secret_key": in("metadata.secret_key")},
	})
	if err != nil {
		return err
	}
	if err := settle(ctx, t.volume, "volumes/"+volume, "status", "available"); err != nil {
		return err
	}
	_, err = ensureIn(ctx, t.volume, "snapshots/detail", "snapshots", "snapshot", "name", "leaky-snapshot", obj{
		"volume_id": volume, "description": "restore with --password " + p.in("snapshot", "leaky-snapshot", "description", false),
		"metadata": obj{"restore_password": p.in("snapshot", "leaky-snapshot", "metadata.restore_password", false)},
	})
	return err
}

func (p *planter) networks(ctx context.Context, _ *cloud, _ *shared, t *tenant) error {
	network, err := ensure(ctx, t.network, "networks", "network", "leaky-net",
		obj{"description": "vpn password=" + p.in("network", "leaky-net", "description", false)})
	if err != nil {
		return err
	}
	if _, err := ensure(ctx, t.network, "subnets", "subnet", "leaky-subnet", obj{
		"network_id": network, "ip_version": 4, "cidr": "10.249.0.0/24",
		"description": "switch: --password " + p.in("subnet", "leaky-subnet", "description", false),
	}); err != nil {
		return err
	}
	_, err = ensure(ctx, t.network, "security-groups", "security_group", "leaky-group",
		obj{"description": "api_key: " + p.in("security group", "leaky-group", "description", false)})
	return err
}

func (p *planter) balancers(ctx context.Context, admin *cloud, _ *shared, t *tenant) error {
	if admin.balance == nil {
		return nil
	}
	const name = "leaky-lb"
	in := func(field string) string { return p.in("load balancer", name, field, false) }
	// A listener's inserted headers have values that the API prescribes.
	body := obj{"name": name, "vip_subnet_id": t.subnet,
		"listeners": []obj{{"name": "leaky-listener", "protocol": "HTTP", "protocol_port": 8080,
			"description": "basic auth: password=" + in("listener.description"),
			"l7policies": []obj{{"name": "leaky-policy", "action": "REDIRECT_TO_URL", "description": "api_key=" + in("l7policy.description"),
				"redirect_url": "https://ops:" + in("l7policy.redirect_url") + "@old.example.com/",
				"rules":        []obj{{"type": "PATH", "compare_type": "STARTS_WITH", "value": "/old"}}}}}},
		"description": "statistics at https://stats:" + in("description") + "@lb.example.com/",
		"pools": []obj{{"name": "leaky-pool", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN",
			"description": "secret=" + in("pool.description"),
			"members":     []obj{{"name": "token=" + in("member.name"), "address": "10.10.31.250", "protocol_port": 8080, "subnet_id": t.subnet}},
			"healthmonitor": obj{"name": "leaky-monitor", "type": "HTTP", "delay": 5, "timeout": 3, "max_retries": 3,
				"url_path": "/alive?token=" + in("healthmonitor.url_path")}}}}
	found, err := list(ctx, t.balance, "lbaas/loadbalancers?name="+name)
	if err != nil || len(found) > 0 {
		return err
	}
	lb, err := call(ctx, t.balance, "POST", "lbaas/loadbalancers", obj{"loadbalancer": body})
	if err != nil {
		return err
	}
	return settle(ctx, t.balance, "lbaas/loadbalancers/"+id(lb), "provisioning_status", "ACTIVE")
}
