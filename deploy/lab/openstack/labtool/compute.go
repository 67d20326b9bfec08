package main

import (
	"context"
	"fmt"
)

// special is a server of which there is one, and what is done to it.
type special struct {
	name string
	body obj    // what differs from the usual
	want string // the status it ends in, ACTIVE if empty
	do   func(server string) error
}

// seedSpecials makes server groups with servers, and a server in each state and
// with each history that servers can have.
func seedSpecials(ctx context.Context, admin *cloud, base *shared, t *tenant, parallel int) error {
	groups := map[string]string{}
	for name, policy := range map[string]string{"web-apart": "soft-anti-affinity", "cache-together": "soft-affinity"} {
		var err error
		if groups[name], err = ensureIn(ctx, t.compute, "os-server-groups", "os-server-groups", "server_group", "name", name,
			obj{"policy": policy}); err != nil {
			return err
		}
	}
	act := func(c *cloud, action obj, want ...string) func(string) error {
		return func(server string) error {
			if _, err := call(ctx, c.compute, "POST", "servers/"+server+"/action", action); err != nil {
				return err
			}
			if len(want) == 0 {
				return nil
			}
			return settle(ctx, c.compute, "servers/"+server, "status", want...)
		}
	}
	then := func(steps ...func(string) error) func(string) error {
		return func(server string) error {
			for _, do := range steps {
				if err := do(server); err != nil {
					return err
				}
			}
			return nil
		}
	}
	confirm := act(t.cloud, obj{"confirmResize": nil}, "ACTIVE")
	resize := act(t.cloud, obj{"resize": obj{"flavorRef": "lab-m1.medium"}}, "VERIFY_RESIZE")
	hints := func(group string) obj { return obj{"os:scheduler_hints": obj{"group": groups[group]}} }
	specials := []special{
		{name: "apart-1", body: hints("web-apart")},
		{name: "apart-2", body: hints("web-apart")},
		{name: "together-1", body: hints("cache-together")},
		{name: "together-2", body: hints("cache-together")},
		{name: "in-zone-b", body: obj{"availability_zone": "zone-b", "networks": []obj{{"uuid": t.networkID}}}},
		{name: "stopped", want: "SHUTOFF", do: act(t.cloud, obj{"os-stop": nil})},
		{name: "paused", want: "PAUSED", do: act(t.cloud, obj{"pause": nil})},
		{name: "suspended", want: "SUSPENDED", do: act(t.cloud, obj{"suspend": nil})},
		{name: "shelved", want: "SHELVED_OFFLOADED", do: act(t.cloud, obj{"shelve": nil})},
		{name: "rescued", want: "RESCUE", do: act(t.cloud, obj{"rescue": nil})},
		{name: "broken", want: "ERROR", do: act(admin, obj{"os-resetState": obj{"state": "error"}})},
		{name: "resizing", want: "VERIFY_RESIZE", do: act(t.cloud, obj{"resize": obj{"flavorRef": "lab-m1.medium"}})},
		{name: "locked", do: act(t.cloud, obj{"lock": obj{"locked_reason": "the auditors look at it"}})},
		{name: "resized", do: then(resize, confirm)},
		{name: "migrated", do: then(act(admin, obj{"migrate": nil}, "VERIFY_RESIZE"), confirm)},
		{name: "moved-live", do: act(admin, obj{"os-migrateLive": obj{"host": nil, "block_migration": "auto"}}, "ACTIVE")},
		{name: "rebooted", do: act(t.cloud, obj{"reboot": obj{"type": "SOFT"}}, "ACTIVE")},
	}
	have, err := list(ctx, t.compute, "servers/detail?tags=special&limit=1000")
	if err != nil {
		return err
	}
	return each(ctx, parallel, len(specials), func(i int) error {
		s := specials[i]
		if s.want == "" {
			s.want = "ACTIVE"
		}
		name := t.name + "-" + s.name
		o := find(have, "name", name)
		if o != nil && o["status"] == "ERROR" && s.want != "ERROR" {
			// Its build failed the last time.
			if _, err := call(ctx, t.compute, "DELETE", "servers/"+id(o), nil); err != nil {
				return err
			}
			o = nil
		}
		done := o != nil && o["status"] == s.want
		server := id(o)
		if o == nil {
			var err error
			if server, err = makeServer(ctx, t, base, name, s.body); err != nil {
				return err
			}
		}
		if done {
			return nil
		}
		if err := settle(ctx, t.compute, "servers/"+server, "status", "ACTIVE"); err != nil {
			return err
		}
		if s.do != nil {
			if err := s.do(server); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return settled(ctx, t, server, s.want)
	})
}

// settled waits for a status, of which ERROR may be one.
func settled(ctx context.Context, t *tenant, server, want string) error {
	if want == "ERROR" {
		return nil // the administrator set it
	}
	return settle(ctx, t.compute, "servers/"+server, "status", want)
}

// makeServer asks for a small server without a port. What body has replaces that;
// scheduler hints go beside the server.
func makeServer(ctx context.Context, t *tenant, base *shared, name string, body obj) (string, error) {
	s := obj{"name": name, "flavorRef": base.flavors[0], "imageRef": base.images[0], "key_name": "ops",
		"networks": "none", "metadata": obj{"env": "lab", "owner": "team-" + t.name},
		"tags": []string{"special", "seeded"}, "description": "a server of its own kind"}
	request := obj{"server": s}
	for k, v := range body {
		switch {
		case k == "os:scheduler_hints":
			request[k] = v
		case v == nil:
			delete(s, k)
		default:
			s[k] = v
		}
	}
	made, err := call(ctx, t.compute, "POST", "servers", request)
	return id(made), err
}
