package main

import (
	"context"
	"errors"
)

// seedIdentity makes a second domain and what else an identity service lists.
func seedIdentity(ctx context.Context, admin *cloud, base *shared, projects []*tenant) error {
	c, first := admin.identity, projects[0]
	put := func(path string) error {
		_, err := call(ctx, c, "PUT", path, nil)
		return err
	}
	domain, err := ensure(ctx, c, "domains", "domain", "partners", obj{"description": "companies that work with us"})
	if err != nil {
		return err
	}
	portal, err := ensure(ctx, c, "projects", "project", "partner-portal",
		obj{"domain_id": domain, "description": "a project outside the default domain", "tags": []string{"external"}})
	if err != nil {
		return err
	}
	if _, err := ensure(ctx, c, "projects", "project", "web-shop-lab",
		obj{"domain_id": "default", "parent_id": first.id, "description": "a project inside another"}); err != nil {
		return err
	}
	if _, err := ensure(ctx, c, "projects", "project", "old-intranet",
		obj{"domain_id": "default", "enabled": false}); err != nil {
		return err
	}
	auditor, err := ensure(ctx, c, "roles", "role", "auditor", obj{"description": "looks, and touches nothing"})
	if err != nil {
		return err
	}
	if err := put("roles/" + auditor + "/implies/" + base.roles["reader"]); err != nil && !errors.Is(err, errConflict) {
		return err
	}

	users := map[string]string{}
	for _, u := range []struct {
		name, domain string
		enabled      bool
	}{
		{"partner-admin", domain, true}, {"partner-dev", domain, true},
		{"alice", "default", true}, {"bob", "default", true}, {"former-employee", "default", false},
	} {
		if users[u.name], err = ensure(ctx, c, "users", "user", u.name, obj{"domain_id": u.domain,
			"password": tenantPassword, "enabled": u.enabled, "email": u.name + "@example.com"}); err != nil {
			return err
		}
	}
	groups := map[string]string{}
	for _, g := range []struct {
		name, domain string
		members      []string
	}{
		{"partner-team", domain, []string{"partner-admin", "partner-dev"}},
		{"operators", "default", []string{"alice"}},
		{"developers", "default", []string{"alice", "bob"}},
	} {
		if groups[g.name], err = ensure(ctx, c, "groups", "group", g.name,
			obj{"domain_id": g.domain, "description": "seeded group"}); err != nil {
			return err
		}
		for _, m := range g.members {
			if err := put("groups/" + groups[g.name] + "/users/" + users[m]); err != nil {
				return err
			}
		}
	}
	for _, grant := range []string{
		"projects/" + portal + "/groups/" + groups["partner-team"] + "/roles/" + base.roles["member"],
		"domains/" + domain + "/users/" + users["partner-admin"] + "/roles/" + base.roles["admin"],
		"projects/" + first.id + "/groups/" + groups["developers"] + "/roles/" + base.roles["member"],
		"projects/" + first.id + "/users/" + users["bob"] + "/roles/" + auditor,
		"system/groups/" + groups["operators"] + "/roles/" + base.roles["reader"],
		"OS-INHERIT/domains/default/groups/" + groups["operators"] + "/roles/" + base.roles["reader"] + "/inherited_to_projects",
	} {
		if err := put(grant); err != nil {
			return err
		}
	}

	// Only users themselves make these.
	if _, err := ensure(ctx, first.identity, "users/"+first.user+"/application_credentials", "application_credential", "ci-deploy",
		obj{"description": "for the pipeline", "roles": []obj{{"name": "member"}}, "expires_at": "2099-01-01T00:00:00"}); err != nil {
		return err
	}
	trusts, err := list(ctx, c, "OS-TRUST/trusts")
	if err != nil || len(trusts) > 0 {
		return err
	}
	_, err = call(ctx, first.identity, "POST", "OS-TRUST/trusts", obj{"trust": obj{
		"trustor_user_id": first.user, "trustee_user_id": users["alice"], "project_id": first.id,
		"impersonation": true, "roles": []obj{{"name": "member"}}}})
	return err
}
