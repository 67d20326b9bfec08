package notify

import (
	"slices"
	"strconv"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
)

// Subject is a resource that a notification is about.
type Subject struct {
	// Kind is the resource's kind: "compute/servers".
	Kind string
	// ID is the resource's id, as the service's API has it; that of a keypair is
	// user/name. It is empty where the service does not say which of the kind it
	// was.
	ID string
	// Deleted says that it is gone. Where it is not set, it may be gone too: a
	// later notification may not have come yet.
	Deleted bool
	// Project owns it, where the service says.
	Project string
}

const (
	servers      = "compute/servers"
	ports        = "network/ports"
	networks     = "network/networks"
	groups       = "network/security-groups"
	routers      = "network/routers"
	qosPolicies  = "network/qos-policies"
	volumes      = "storage/volumes"
	volumeTypes  = "storage/types"
	images       = "image/images"
	zones        = "dns/zones"
	computeGroup = "compute/server-groups"
)

// rule says what the notifications are about whose event type begins with some
// words.
type rule struct {
	// kind is empty where they are of no interest.
	kind string
	// ids are where the payload has the resource's id; the first that is there
	// counts. Without any, it does not say.
	ids []string
	// owner is where it has what comes before the id.
	owner string
	// object and objects are the members of the payload that have the resource,
	// or several of them, instead of the payload itself.
	object, objects string
	// part says that they are about a part of the resource, whose end is not that
	// of the resource. If the payload does not say which resource it is a part
	// of, any may be meant.
	part bool
	// later says that the resource is only gone some time after it was told so.
	later bool
	// also are other resources that they are about.
	also []reference
}

// reference is where a payload has the id of another resource.
type reference struct{ path, kind string }

// neutron makes the rule of a resource whose payload is a member of its name. In
// what is deleted that may be missing, and the id is beside it.
func neutron(kind, object, objects string, also ...reference) rule {
	return rule{kind: kind, object: object, objects: objects, ids: []string{"id", object + "_id"}, also: also}
}

// qosRule makes the rule of one of the kinds of rules of a QoS policy. Neutron
// does not say whose one is when it is created.
func qosRule(object string) rule {
	return rule{kind: qosPolicies, object: object, objects: object + "s", ids: []string{"qos_policy_id"}, part: true}
}

func identity(kind string) rule {
	// The second is in the format cadf, should the first be missing there.
	return rule{kind: kind, ids: []string{"resource_info", "target.id"}}
}

// rules are by the words that event types begin with. The longest counts.
var rules = map[string]rule{
	"compute.instance": {kind: servers, ids: []string{"instance_id"}, also: []reference{{"volume_id", volumes}}},
	"instance": {kind: servers, ids: []string{"uuid"}, also: []reference{
		{"volume_id", volumes}, {"old_volume_id", volumes}, {"new_volume_id", volumes},
	}},
	// What comes of these is that a server is in ERROR.
	"compute_task": {kind: servers, ids: []string{"instance_uuid", "instance_id", "instance_properties.uuid"}, part: true},
	"flavor":       {kind: "compute/flavors", ids: []string{"flavorid"}},
	"keypair":      {kind: "compute/keypairs", ids: []string{"key_name", "name"}, owner: "user_id"},
	"aggregate":    {kind: "compute/aggregates", ids: []string{"aggregate_id", "id"}},
	"servergroup":  {kind: computeGroup, ids: []string{"server_group_id"}},
	"server_group": {kind: computeGroup, ids: []string{"uuid"}},
	"service":      {kind: "compute/services", ids: []string{"uuid"}},

	"network":       neutron(networks, "network", "networks"),
	"subnet":        neutron("network/subnets", "subnet", "subnets", reference{"network_id", networks}),
	"port":          neutron(ports, "port", "ports"),
	"router":        neutron(routers, "router", "routers"),
	"floatingip":    neutron("network/floatingips", "floatingip", "floatingips"),
	"trunk":         neutron("network/trunks", "trunk", "trunks"),
	"policy":        neutron(qosPolicies, "policy", "policies"),
	"rbac_policy":   neutron("network/rbac-policies", "rbac_policy", "rbac_policies"),
	"subnetpool":    neutron("network/subnetpools", "subnetpool", "subnetpools"),
	"address_scope": neutron("network/address-scopes", "address_scope", "address_scopes"),
	"agent":         neutron("network/agents", "agent", "agents"),

	"security_group": neutron(groups, "security_group", "security_groups"),
	"security_group_rule": {kind: groups, object: "security_group_rule", objects: "security_group_rules", ids: []string{"security_group_id"},
		part: true},
	// The port of an interface comes and goes with it, and is not told of.
	"router.interface": {kind: routers, object: "router_interface", ids: []string{"id"}, part: true, also: []reference{{"port_id", ports}}},

	"bandwidth_limit_rule":     qosRule("bandwidth_limit_rule"),
	"dscp_marking_rule":        qosRule("dscp_marking_rule"),
	"minimum_bandwidth_rule":   qosRule("minimum_bandwidth_rule"),
	"minimum_packet_rate_rule": qosRule("minimum_packet_rate_rule"),
	"packet_rate_limit_rule":   qosRule("packet_rate_limit_rule"),

	// A detached volume does not say of what. Nova's notification does.
	"volume":                    {kind: volumes, ids: []string{"volume_id"}, also: []reference{{"volume_attachment.instance_uuid", servers}}},
	"snapshot":                  {kind: "storage/snapshots", ids: []string{"snapshot_id"}},
	"backup":                    {kind: "storage/backups", ids: []string{"backup_id"}},
	"volume_type":               {kind: volumeTypes, object: "volume_types", objects: "volume_types", ids: []string{"id"}},
	"volume_type_extra_specs":   {kind: volumeTypes, ids: []string{"type_id"}, part: true},
	"volume_type_encryption":    {kind: volumeTypes, ids: []string{"type_id"}, part: true},
	"volume_type_project":       {kind: volumeTypes, ids: []string{"volume_type_id"}, part: true},
	"scheduler.create_volume":   {kind: volumes, ids: []string{"volume_id"}},
	"scheduler.retype":          {kind: volumes, ids: []string{"volume_id"}},
	"scheduler.manage_existing": {kind: volumes, ids: []string{"volume_id"}},

	"image":        {kind: images, ids: []string{"id"}},
	"image.member": {kind: images, ids: []string{"image_id"}, part: true},
	"image.send":   {}, // it was downloaded

	"identity.project":                identity("identity/projects"),
	"identity.user":                   identity("identity/users"),
	"identity.group":                  identity("identity/groups"),
	"identity.role":                   identity("identity/roles"),
	"identity.domain":                 identity("identity/domains"),
	"identity.application_credential": identity("identity/application-credentials"),
	"identity.service":                identity("identity/services"),
	"identity.endpoint":               identity("identity/endpoints"),
	"identity.region":                 identity("identity/regions"),
	// They have no id.
	"identity.role_assignment": {kind: "identity/role-assignments", part: true},

	"octavia.loadbalancer": {kind: "loadbalancer/loadbalancers", ids: []string{"loadbalancer_id", "id"}},
	"orchestration.stack":  {kind: "orchestration/stacks", ids: []string{"stack_identity"}},
	"dns.zone":             {kind: zones, ids: []string{"id", "zone_id"}, later: true},
	"dns.recordset":        {kind: "dns/recordsets", ids: []string{"id", "recordset_id"}, later: true, also: []reference{{"zone_id", zones}}},
	"baremetal.node":       {kind: "baremetal/nodes", ids: []string{"uuid"}},
	"share":                {kind: "share/shares", ids: []string{"share_id"}},
}

// tagged are the kinds of what has tags, by its name in notifications of those.
var tagged = func() map[string]string {
	kinds := make(map[string]string)
	for _, r := range rules {
		if strings.HasPrefix(r.kind, "network/") && r.objects != "" && !r.part {
			kinds[r.objects] = r.kind
		}
	}
	return kinds
}()

// Subjects returns the resources that a notification is about, without those that
// have no kind here. What begins ("start") and what is only counted ("exists")
// is about none.
func (n Notification) Subjects() []Subject {
	r, action := find(n.EventType)
	if r.kind == "" && !strings.HasPrefix(n.EventType, "tag.") {
		return nil
	}
	switch action[strings.LastIndexByte(action, '.')+1:] {
	case "start", "exists":
		return nil
	}
	var payload any
	if err := jsonv2.Unmarshal(n.Payload, &payload, lenient); err != nil {
		return nil
	}
	payload = data(payload)
	if r.kind == "" {
		kind, ids := tagged[first(payload, "parent_resource")], first(payload, "parent_resource_id")
		if kind == "" || ids == "" {
			return nil
		}
		return []Subject{{Kind: kind, ID: ids}}
	}
	deleted := !r.part && !r.later && (action == "delete.end" || action == "delete" || action == "deleted")
	var subjects []Subject
	add := func(s Subject) {
		if !slices.ContainsFunc(subjects, func(o Subject) bool { return o.Kind == s.Kind && o.ID == s.ID }) {
			subjects = append(subjects, s)
		}
	}
	for _, object := range r.in(payload) {
		project := first(object, "project_id", "tenant_id", "owner")
		id := first(object, r.ids...)
		if owner := first(object, r.owner); r.owner != "" && id != "" {
			id = owner + "/" + id
			if owner == "" {
				id = ""
			}
		}
		if id != "" || r.part {
			add(Subject{Kind: r.kind, ID: lastOfARN(id), Deleted: deleted, Project: project})
		}
		for _, reference := range r.also {
			for _, id := range all(object, reference.path) {
				add(Subject{Kind: reference.kind, ID: id})
			}
		}
	}
	return subjects
}

// find returns the rule of an event type, and the words behind those that it is
// by.
func find(event string) (rule, string) {
	for words := event; ; {
		if r, ok := rules[words]; ok {
			return r, strings.TrimPrefix(event[len(words):], ".")
		}
		i := strings.LastIndexByte(words, '.')
		if i < 0 {
			return rule{}, event
		}
		words = words[:i]
	}
}

// in returns the objects of a payload that have the resources.
func (r rule) in(payload any) []any {
	members, _ := payload.(map[string]any)
	for _, name := range []string{r.object, r.objects} {
		switch v := data(members[name]).(type) {
		case map[string]any:
			return []any{v}
		case []any:
			return v
		}
	}
	if list, ok := payload.([]any); ok {
		return list
	}
	return []any{payload}
}

// data returns the members of a versioned object, or a value as it is.
func data(v any) any {
	members, ok := v.(map[string]any)
	if !ok {
		return v
	}
	for _, name := range []string{"nova_object.data", "ironic_object.data", "designate_object.data"} {
		if inner, ok := members[name]; ok {
			return inner
		}
	}
	return v
}

// first returns what is at the first of several paths where there is anything.
func first(v any, paths ...string) string {
	for _, path := range paths {
		if found := all(v, path); len(found) > 0 {
			return found[0]
		}
	}
	return ""
}

// all returns the texts and the whole numbers at a path: names of members with
// dots between them. It goes through arrays.
func all(v any, path string) (found []string) {
	switch v := data(v).(type) {
	case []any:
		for _, item := range v {
			found = append(found, all(item, path)...)
		}
	case map[string]any:
		if path == "" {
			return nil
		}
		name, rest, _ := strings.Cut(path, ".")
		return all(v[name], rest)
	case string:
		if path == "" && v != "" {
			return []string{v}
		}
	case float64:
		if path == "" && v == float64(int64(v)) {
			return []string{strconv.FormatInt(int64(v), 10)}
		}
	}
	return found
}

// lastOfARN returns the id of a stack that is named as Heat does:
// arn:openstack:heat::project:stacks/name/id.
func lastOfARN(id string) string {
	if strings.HasPrefix(id, "arn:") {
		return id[strings.LastIndexByte(id, '/')+1:]
	}
	return id
}
