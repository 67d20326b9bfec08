package kinds

import (
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/openstack/cloud"
)

// Keystone lists everything at once.
var identityKinds = []*Kind{
	{
		API: cloud.Identity, Name: "domains", Type: typeDomain, Title: "Domain",
		Path: "domains", Envelope: "domains", Admin: true, ByDomain: true,
		ItemPath: "domains/%s", ItemEnvelope: "domain",
		Panel: "identity/domains/", read: (*reader).domain,
	},
	{
		API: cloud.Identity, Name: "projects", Type: typeProject, Title: "Project",
		Path: "projects", Envelope: "projects", ByDomain: true, DomainQuery: true,
		ItemPath: "projects/%s", ItemEnvelope: "project",
		Panel: "identity/", MyPanel: "identity/", read: (*reader).project,
	},
	{
		API: cloud.Identity, Name: "users", Type: typeUser, Title: "User",
		Path: "users", Envelope: "users", Admin: true, ByDomain: true, DomainQuery: true,
		ItemPath: "users/%s", ItemEnvelope: "user",
		Panel: "identity/users/", read: (*reader).user,
	},
	{
		API: cloud.Identity, Name: "groups", Type: typeGroup, Title: "Group",
		Path: "groups", Envelope: "groups", Admin: true, ByDomain: true, DomainQuery: true,
		ItemPath: "groups/%s", ItemEnvelope: "group",
		Panel: "identity/groups/", read: (*reader).group,
	},
	{
		API: cloud.Identity, Name: "roles", Type: typeRole, Title: "Role",
		Path: "roles", Envelope: "roles", Admin: true, ByDomain: true,
		ItemPath: "roles/%s", ItemEnvelope: "role",
		Panel: "identity/roles/", read: (*reader).role,
	},
	{
		API: cloud.Identity, Name: "role-assignments", Type: typeRoleAssignment, Title: "Role assignment",
		Path: "role_assignments", Envelope: "role_assignments", Admin: true, ByDomain: true,
		read: (*reader).roleAssignment,
	},
	{
		API: cloud.Identity, Name: "services", Type: typeService, Title: "Service",
		Path: "services", Envelope: "services", Admin: true,
		ItemPath: "services/%s", ItemEnvelope: "service",
		Panel: "admin/info/", read: (*reader).service,
	},
	{
		API: cloud.Identity, Name: "endpoints", Type: typeEndpoint, Title: "Endpoint",
		Path: "endpoints", Envelope: "endpoints", Admin: true,
		ItemPath: "endpoints/%s", ItemEnvelope: "endpoint",
		read: (*reader).endpoint,
	},
	{
		API: cloud.Identity, Name: "regions", Type: typeRegion, Title: "Region",
		Path: "regions", Envelope: "regions",
		ItemPath: "regions/%s", ItemEnvelope: "region",
		read: (*reader).region,
	},
	{
		API: cloud.Identity, Name: "application-credentials", Type: typeAppCredential, Title: "Application credential",
		// For each user with a role: there is no list of all.
		Path: "users/%s/application_credentials", Envelope: "application_credentials", Every: 36, OfUser: true, ByProjects: true,
		MyPanel: "identity/application_credentials/",
		drop:    []string{"secret"}, read: (*reader).appCredential,
	},
}

// enabled sets the status of what is enabled or disabled. Of what does not say
// neither is known.
func (r *reader) enabled(on *bool) {
	r.Status = ""
	if on != nil {
		r.Status = map[bool]string{true: "enabled", false: "disabled"}[*on]
	}
}

// inDomain relates to the domain of an id. That of the first domain is the same in
// all clouds.
func (r *reader) inDomain(verb, id string) {
	if id != "" {
		r.edge(verb, r.in.GlobalKey(typeDomain, keyDomain, id))
	}
}

func (r *reader) domain() error {
	var d struct {
		Enabled *bool `json:"enabled"`
	}
	if err := r.decode(&d); err != nil {
		return err
	}
	r.named(keyDomain, r.ID)
	r.enabled(d.Enabled)
	return nil
}

func (r *reader) project() error {
	var p struct {
		Domain  string `json:"domain_id"`
		Parent  string `json:"parent_id"`
		Enabled *bool  `json:"enabled"`
	}
	if err := r.decode(&p); err != nil {
		return err
	}
	r.Project = r.ID
	r.inDomain(partOf, p.Domain)
	if p.Parent != p.Domain {
		r.relate(partOf, typeProject, p.Parent)
	}
	r.enabled(p.Enabled)
	return nil
}

func (r *reader) user() error {
	var u struct {
		Domain         string `json:"domain_id"`
		Enabled        *bool  `json:"enabled"`
		Email          text   `json:"email"`
		DefaultProject string `json:"default_project_id"`
		Expires        moment `json:"password_expires_at"`
	}
	if err := r.decode(&u); err != nil {
		return err
	}
	r.inDomain(partOf, u.Domain)
	r.enabled(u.Enabled)
	r.text("email", string(u.Email))
	r.text("defaultProject", u.DefaultProject)
	r.when("passwordExpires", u.Expires)
	return nil
}

func (r *reader) group() error {
	var g struct {
		Domain string `json:"domain_id"`
	}
	if err := r.decode(&g); err != nil {
		return err
	}
	r.inDomain(partOf, g.Domain)
	if r.in.Joins.Members != nil {
		members := r.in.Joins.Members(r.ID)
		r.Partial = members == nil
		for _, user := range members {
			r.relate(includes, typeUser, user)
		}
		r.fact("members", len(members))
	}
	return nil
}

func (r *reader) role() error {
	var o struct {
		Domain  string `json:"domain_id"`
		Options struct {
			Immutable bool `json:"immutable"`
		} `json:"options"`
	}
	if err := r.decode(&o); err != nil {
		return err
	}
	r.inDomain(partOf, o.Domain)
	r.fact("immutable", o.Options.Immutable)
	return nil
}

// roleAssignment reads what has no id: it is who, what and where.
func (r *reader) roleAssignment() error {
	var a struct {
		Role  ref `json:"role"`
		User  ref `json:"user"`
		Group ref `json:"group"`
		Scope struct {
			Project   ref             `json:"project"`
			Domain    ref             `json:"domain"`
			System    *jsontext.Value `json:"system"`
			Inherited text            `json:"OS-INHERIT:inherited_to"`
		} `json:"scope"`
	}
	if err := r.decode(&a); err != nil {
		return err
	}
	var who, on string
	switch {
	case a.User.ID != "":
		who = "user"
		r.relate(grantedTo, typeUser, string(a.User.ID))
	case a.Group.ID != "":
		who = "group"
		r.relate(grantedTo, typeGroup, string(a.Group.ID))
	}
	switch {
	case a.Scope.Project.ID != "":
		on = "project"
		r.Project = string(a.Scope.Project.ID)
		r.relate(grantedOn, typeProject, r.Project)
	case a.Scope.Domain.ID != "":
		on = "domain"
		r.inDomain(grantedOn, string(a.Scope.Domain.ID))
	case a.Scope.System != nil:
		on = "system"
	}
	if r.Key = (plugin.Key{}); a.Role.ID == "" || who == "" || on == "" {
		return nil // there is nothing to tell it by
	}
	r.relate(grants, typeRole, string(a.Role.ID))
	name := string(a.Role.ID) + "/" + who + "/" + string(a.User.ID+a.Group.ID) + "/" + on
	if target := string(a.Scope.Project.ID + a.Scope.Domain.ID); target != "" {
		name += "/" + target
	}
	if a.Scope.Inherited != "" {
		name += "/inherited"
	}
	r.named("role-assignment", name)
	r.ID, r.Name = name, name
	r.fact("actor", who)
	r.fact("scope", on)
	r.fact("inherited", a.Scope.Inherited != "")
	return nil
}

func (r *reader) service() error {
	var s struct {
		Type    string `json:"type"`
		Enabled *bool  `json:"enabled"`
	}
	if err := r.decode(&s); err != nil {
		return err
	}
	r.Name = or(r.Name, s.Type)
	r.enabled(s.Enabled)
	r.text("type", s.Type)
	return nil
}

func (r *reader) endpoint() error {
	var e struct {
		Interface string `json:"interface"`
		RegionID  string `json:"region_id"`
		Region    string `json:"region"`
		Service   string `json:"service_id"`
		URL       string `json:"url"`
		Enabled   *bool  `json:"enabled"`
	}
	if err := r.decode(&e); err != nil {
		return err
	}
	r.Name = strings.TrimSpace(e.Interface + " " + e.URL)
	r.enabled(e.Enabled)
	r.relate(partOf, typeService, e.Service)
	region := or(e.RegionID, e.Region)
	if region != "" {
		r.edge(partOf, r.in.GlobalKey(typeRegion, keyRegion, region))
	}
	r.text("interface", e.Interface)
	r.text("region", region)
	r.text("url", e.URL)
	return nil
}

func (r *reader) region() error {
	var g struct {
		Parent string `json:"parent_region_id"`
	}
	if err := r.decode(&g); err != nil {
		return err
	}
	r.Name = r.ID
	r.named(keyRegion, r.ID)
	if g.Parent != "" {
		r.edge(partOf, r.in.GlobalKey(typeRegion, keyRegion, g.Parent))
	}
	return nil
}

func (r *reader) appCredential() error {
	var c struct {
		User         string `json:"user_id"`
		Expires      moment `json:"expires_at"`
		Unrestricted bool   `json:"unrestricted"`
		Roles        []struct {
			ID   string `json:"id"`
			Name string `json:"name"`
		} `json:"roles"`
		Rules []jsontext.Value `json:"access_rules"`
	}
	if err := r.decode(&c); err != nil {
		return err
	}
	r.relate(ownedBy, typeUser, c.User)
	names := make([]string, 0, len(c.Roles))
	for _, role := range c.Roles {
		r.relate(grants, typeRole, role.ID)
		names = append(names, role.Name)
	}
	r.list("roles", sorted(names))
	r.fact("unrestricted", c.Unrestricted)
	if len(c.Rules) > 0 {
		r.fact("accessRules", len(c.Rules))
	}
	r.when("expires", c.Expires)
	return nil
}
