package notify

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What the messages of testdata are about. They were recorded from Nova 26,
// Neutron 21, Cinder 21, Glance 25 and Keystone 22 (Zed), with other tokens.
const (
	admin   = "1dd5ca15804d47ab9351e985bf5ba3f7"
	server  = "84b884ba-2202-4ed1-addc-50d479b684dd"
	volume  = "9197450f-e9db-4fad-adf3-4b510e4c5403"
	network = "293a65b2-87e9-4263-9bf0-cf769a3e4e67"
	failed  = "5456c5b8-0c01-43fd-a853-1a23038b1a7f"
	group   = "7ce3d8e6-51e3-40b5-a05c-50934630c9ef"
	keypair = "05ce46756a61422f92d3798dbe97baf0/notify-test"
)

func recorded(t testing.TB, file string) []json.RawMessage {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	var messages []json.RawMessage
	if err := json.Unmarshal(text, &messages); err != nil {
		t.Fatal(err)
	}
	return messages
}

func TestSubjectsOfRecorded(t *testing.T) {
	one := func(kind, id, project string) []Subject { return []Subject{{Kind: kind, ID: id, Project: project}} }
	gone := func(kind, id, project string) []Subject {
		return []Subject{{Kind: kind, ID: id, Project: project, Deleted: true}}
	}
	attached := []Subject{{Kind: servers, ID: server, Project: admin}, {Kind: volumes, ID: volume}}
	iface := []Subject{
		{Kind: routers, ID: "20def9be-abef-4b05-8a8b-1a600abfe00e", Project: admin}, {Kind: ports, ID: "e301557f-888d-4a36-8f83-3f1340a4fbd7"},
	}
	const subnets = "network/subnets"
	tests := []struct {
		file, event string
		want        []Subject
	}{
		{"nova.json", "compute.instance.update", one(servers, server, admin)},
		{"nova.json", "compute.instance.create.end", one(servers, server, admin)},
		{"nova.json", "compute.instance.power_off.end", one(servers, server, admin)},
		{"nova.json", "compute.instance.volume.attach", attached},
		{"nova.json", "compute.instance.volume.detach", attached},
		{"nova.json", "compute.instance.delete.start", nil},
		{"nova.json", "compute.instance.shutdown.end", one(servers, server, admin)},
		{"nova.json", "compute.instance.delete.end", gone(servers, server, admin)},
		{"nova.json", "compute_task.build_instances", one(servers, failed, "")},
		{"nova.json", "scheduler.select_destinations.end", nil},
		{"nova.json", "keypair.create.end", one("compute/keypairs", keypair, admin)},
		{"nova.json", "keypair.delete.end", gone("compute/keypairs", keypair, admin)},
		{"nova.json", "aggregate.create.end", one("compute/aggregates", "1", "")},
		{"nova.json", "servergroup.create", one("compute/server-groups", "a32042a0-c0ae-4d85-9436-58ffcdc018e4", admin)},
		{"nova.json", "servergroup.delete", gone("compute/server-groups", "a32042a0-c0ae-4d85-9436-58ffcdc018e4", "")},

		{"nova-versioned.json", "instance.update", one(servers, server, admin)},
		{"nova-versioned.json", "instance.create.end", one(servers, server, admin)},
		{"nova-versioned.json", "instance.volume_attach.end", attached},
		{"nova-versioned.json", "instance.volume_detach.end", attached},
		{"nova-versioned.json", "instance.interface_attach.end", one(servers, server, admin)},
		{"nova-versioned.json", "instance.lock", one(servers, failed, admin)},
		{"nova-versioned.json", "instance.delete.start", nil},
		{"nova-versioned.json", "instance.delete.end", gone(servers, server, admin)},
		{"nova-versioned.json", "compute_task.build_instances.error", one(servers, failed, "")},
		{"nova-versioned.json", "flavor.create", one("compute/flavors", "2b9bf24a-69dc-4b39-aefb-235d9c814eb8", "")},
		{"nova-versioned.json", "flavor.update", one("compute/flavors", "a03106b6-588d-433e-8591-0d9a1db4a174", "")},
		{"nova-versioned.json", "flavor.delete", gone("compute/flavors", "2b9bf24a-69dc-4b39-aefb-235d9c814eb8", "")},
		{"nova-versioned.json", "keypair.create.end", one("compute/keypairs", keypair, "")},
		{"nova-versioned.json", "aggregate.delete.end", gone("compute/aggregates", "1", "")},
		{"nova-versioned.json", "server_group.create", one("compute/server-groups", "a32042a0-c0ae-4d85-9436-58ffcdc018e4", admin)},
		{"nova-versioned.json", "service.update", one("compute/services", "d117b9ae-dbd7-4b11-8354-bf8c42551381", "")},

		{"neutron.json", "network.create.end", one(networks, network, admin)},
		{"neutron.json", "network.delete.end", gone(networks, network, admin)},
		{"neutron.json", "subnet.create.end", []Subject{
			{Kind: subnets, ID: "499e87f2-ab5f-4613-a584-b45af8e98eac", Project: admin}, {Kind: networks, ID: network},
		}},
		{"neutron.json", "subnet.delete.end", []Subject{
			{Kind: subnets, ID: "499e87f2-ab5f-4613-a584-b45af8e98eac", Project: admin, Deleted: true}, {Kind: networks, ID: network},
		}},
		{"neutron.json", "port.create.end", one(ports, "ea1097ad-96d1-46fd-83df-9bedf869dc98", admin)},
		{"neutron.json", "port.delete.start", nil},
		{"neutron.json", "port.delete.end", gone(ports, "17477f7b-02e3-4528-b416-9d6fa8f46b43", admin)},
		{"neutron.json", "router.interface.create", iface},
		{"neutron.json", "router.interface.delete", iface},
		{"neutron.json", "router.delete.end", gone(routers, "20def9be-abef-4b05-8a8b-1a600abfe00e", admin)},
		{"neutron.json", "floatingip.update.end", one("network/floatingips", "ec7203e0-b1c7-4e36-9213-83b2f29bd1f0", admin)},
		{"neutron.json", "floatingip.delete.end", gone("network/floatingips", "ec7203e0-b1c7-4e36-9213-83b2f29bd1f0", admin)},
		{"neutron.json", "security_group_rule.create.end", one(groups, group, admin)},
		{"neutron.json", "security_group_rule.delete.end", one(groups, group, admin)},
		{"neutron.json", "security_group.delete.end", gone(groups, group, admin)},
		{"neutron.json", "policy.delete.end", gone(qosPolicies, "b01678de-a22e-4ea1-acf9-46d5218d637b", admin)},
		{"neutron.json", "bandwidth_limit_rule.create.end", one(qosPolicies, "", "")},
		{"neutron.json", "rbac_policy.delete.end", gone("network/rbac-policies", "780e0ef6-7ac8-4022-9f34-c3c718959bf3", admin)},
		{"neutron.json", "subnetpool.create.end", one("network/subnetpools", "89027cbc-485f-4ace-829c-6319cd754fee", admin)},
		{"neutron.json", "address_scope.delete.end", gone("network/address-scopes", "b4c2d914-0c2b-4fe7-8ccc-780be2feb21c", admin)},
		{"neutron.json", "tag.update.end", one(networks, "664d8000-db64-40d0-943b-0cecfc480751", "")},

		{"cinder.json", "volume.create.end", one(volumes, volume, admin)},
		{"cinder.json", "volume.attach.end", []Subject{{Kind: volumes, ID: volume, Project: admin}, {Kind: servers, ID: server}}},
		{"cinder.json", "volume.detach.end", one(volumes, volume, admin)},
		{"cinder.json", "volume.resize.end", one(volumes, volume, admin)},
		{"cinder.json", "volume.delete.end", gone(volumes, volume, admin)},
		{"cinder.json", "snapshot.delete.end", gone("storage/snapshots", "5276d0fb-8a09-4916-9256-bbf6fa163746", admin)},
		{"cinder.json", "volume_type.create", one(volumeTypes, "e258e36c-092e-483b-8363-cfa3468c6da8", "")},
		{"cinder.json", "volume_type.delete", gone(volumeTypes, "e258e36c-092e-483b-8363-cfa3468c6da8", "")},

		{"glance.json", "image.create", one(images, "44a843e9-b6b5-41c4-a2aa-9f2004daff01", admin)},
		{"glance.json", "image.activate", one(images, "44a843e9-b6b5-41c4-a2aa-9f2004daff01", admin)},
		{"glance.json", "image.delete", gone(images, "44a843e9-b6b5-41c4-a2aa-9f2004daff01", admin)},

		{"keystone.json", "identity.project.created", one("identity/projects", "45a13bac25364b98b9676f372561fa5d", "")},
		{"keystone.json", "identity.group.updated", one("identity/groups", "86ad000b9abd427d9a4a17a685b5b862", "")},
		{"keystone.json", "identity.user.deleted", gone("identity/users", "cf6d2993de0d47808300eb0be1b8b98b", "")},
		{"keystone.json", "identity.role_assignment.created", one("identity/role-assignments", "", "")},
		{"keystone.json", "identity.role_assignment.deleted", one("identity/role-assignments", "", "")},
		{"keystone.json", "identity.region.deleted", gone("identity/regions", "notify-test", "")},
		{"keystone.json", "identity.application_credential.deleted",
			gone("identity/application-credentials", "674a74bd540d4fabb3963194d96c07c1", "")},
	}
	for _, test := range tests {
		t.Run(test.file+"/"+test.event, func(t *testing.T) {
			for _, body := range recorded(t, test.file) {
				n, err := Parse(body)
				if err != nil {
					t.Fatal(err)
				}
				if n.EventType != test.event {
					continue
				}
				if got := n.Subjects(); !slices.Equal(got, test.want) {
					t.Errorf("about %+v, want %+v", got, test.want)
				}
				return // there may be more of this type, with other subjects
			}
			t.Fatal("there is no such message")
		})
	}
}

// Notifications of services that are not in the lab, and older ones. They are
// written by hand: nobody has recorded them.
func TestSubjects(t *testing.T) {
	tests := []struct {
		event, payload string
		want           []Subject
	}{
		{"octavia.loadbalancer.create.end", `{"loadbalancer_id": "l", "project_id": "p", "vip": {"port_id": "x"}}`,
			[]Subject{{Kind: "loadbalancer/loadbalancers", ID: "l", Project: "p"}}},
		{"octavia.loadbalancer.delete.end", `{"loadbalancer_id": "l", "project_id": "p"}`,
			[]Subject{{Kind: "loadbalancer/loadbalancers", ID: "l", Project: "p", Deleted: true}}},
		{"orchestration.stack.delete.end", `{"stack_identity": "arn:openstack:heat::t:stacks/name/1-2", "tenant_id": "t"}`,
			[]Subject{{Kind: "orchestration/stacks", ID: "1-2", Project: "t", Deleted: true}}},
		{"dns.zone.delete", `{"id": "z", "tenant_id": "t"}`, []Subject{{Kind: zones, ID: "z", Project: "t"}}},
		{"dns.zone.exists", `{"id": "z"}`, nil},
		{"dns.recordset.create", `{"designate_object.name": "RecordSet", "designate_object.data": {"id": "r", "zone_id": "z"}}`,
			[]Subject{{Kind: "dns/recordsets", ID: "r"}, {Kind: zones, ID: "z"}}},
		{"baremetal.node.provision_set.success", `{"ironic_object.data": {"uuid": "n", "name": "x"}}`,
			[]Subject{{Kind: "baremetal/nodes", ID: "n"}}},
		{"share.delete.end", `{"share_id": "s", "project_id": "p"}`, []Subject{{Kind: "share/shares", ID: "s", Project: "p", Deleted: true}}},
		{"identity.project.created", `{"typeURI": "x", "target": {"id": "p"}, "initiator": {"id": "u"}}`,
			[]Subject{{Kind: "identity/projects", ID: "p"}}},
		{"identity.authenticate", `{"target": {"id": "p"}}`, nil},
		{"port.delete.end", `{"port_id": "p"}`, []Subject{{Kind: ports, ID: "p", Deleted: true}}},
		{"security_group_rule.delete.end", `{"security_group_rule_id": "r"}`, []Subject{{Kind: groups}}},
		{"trunk.update.end", `{"trunk": {"id": "t", "port_id": "p"}}`, []Subject{{Kind: "network/trunks", ID: "t"}}},
		{"agent.update.end", `{"agent": {"id": "a"}}`, []Subject{{Kind: "network/agents", ID: "a"}}},
		{"volume_type_extra_specs.delete", `{"type_id": "t", "id": "key"}`, []Subject{{Kind: volumeTypes, ID: "t"}}},
		{"backup.delete.end", `{"backup_id": "b", "volume_id": "v"}`, []Subject{{Kind: "storage/backups", ID: "b", Deleted: true}}},
		{"image.member.delete", `{"image_id": "i", "member_id": "p"}`, []Subject{{Kind: images, ID: "i"}}},
		{"image.send", `{"image_id": "i"}`, nil},
		{"instance.volume_swap.end", `{"nova_object.data": {"uuid": "s", "old_volume_id": "1", "new_volume_id": "2"}}`,
			[]Subject{{Kind: servers, ID: "s"}, {Kind: volumes, ID: "1"}, {Kind: volumes, ID: "2"}}},
		{"instance.exists", `{"nova_object.data": {"uuid": "s"}}`, nil},
		{"compute.instance.soft_delete.end", `{"instance_id": "s"}`, []Subject{{Kind: servers, ID: "s"}}},
		{"instance.delete.error", `{"nova_object.data": {"uuid": "s"}}`, []Subject{{Kind: servers, ID: "s"}}},
		{"compute.instance.create.end", `{}`, nil},
		{"compute.instance.create.end", `"text"`, nil},
		{"compute.instance.create.end", `{"instance_id": {"a": 1}}`, nil},
		{"port.create.end", `{"ports": [1, {"id": "a"}, {"id": "a"}, null]}`, []Subject{{Kind: ports, ID: "a"}}},
		{"keypair.create.end", `{"key_name": "k"}`, nil},
		{"tag.create.end", `{"parent_resource": "others", "parent_resource_id": "x"}`, nil},
		{"weather.changed", `{"id": "x"}`, nil},
	}
	for _, test := range tests {
		n := Notification{EventType: test.event, Payload: json.RawMessage(test.payload)}
		if got := n.Subjects(); !slices.Equal(got, test.want) {
			t.Errorf("%s %s is about %+v, want %+v", test.event, test.payload, got, test.want)
		}
	}
}

func TestRulesHaveKnownKinds(t *testing.T) {
	for words, r := range rules {
		if r.kind == "" {
			continue
		}
		if api, name, ok := strings.Cut(r.kind, "/"); !ok || api == "" || name == "" {
			t.Errorf("%s: kind %q", words, r.kind)
		}
		if len(r.ids) == 0 && !r.part {
			t.Errorf("%s: nothing says which one", words)
		}
	}
}
