package kinds

import (
	"strings"
	"testing"

	"github.com/reeve-cloud/reeve/pkg/plugin"
)

func TestNode(t *testing.T) {
	const id = "8f5f5e0c-2a0f-4a35-9f0b-3d1b7f5c1c11"
	const server = "backed_by openstack.compute.Server " + id
	node := func(spec, info string) string {
		return `{"apiVersion":"v1","kind":"Node","spec":{` + spec + `},"status":{"nodeInfo":{` + info + `},
			"conditions":[{"type":"Ready","status":"True"}]}}`
	}
	condition := func(spec, condition string) string {
		return `{"apiVersion":"v1","kind":"Node","spec":{` + spec + `},"status":{"conditions":[` + condition + `]}}`
	}
	for _, want := range []reading{
		{name: "ready", document: node(``, ``), status: "Ready", facts: `{"ready":true}`},
		{name: "not ready", document: condition(``, `{"type":"Ready","status":"False"}`), status: "NotReady", facts: `{"ready":false}`},
		{name: "not heard of", document: condition(``, `{"type":"Ready","status":"Unknown"}`), status: "NotReady"},
		{name: "new", document: condition(``, ``), status: "Unknown"},
		{name: "cordoned", document: condition(`"unschedulable":true`, `{"type":"Ready","status":"True"}`), status: "Ready,SchedulingDisabled"},
		{
			name: "deleted", status: "Ready",
			document: `{"apiVersion":"v1","kind":"Node","metadata":{"name":"x","deletionTimestamp":"2026-03-01T00:00:00Z"},
				"status":{"conditions":[{"type":"Ready","status":"True"}]}}`,
		},
		{
			name: "labels", status: "Ready",
			document: `{"apiVersion":"v1","kind":"Node","metadata":{"name":"x","labels":{"node-role.kubernetes.io/worker":"",
				"node-role.kubernetes.io/control-plane":"","kubernetes.io/role":"worker","failure-domain.beta.kubernetes.io/zone":"a",
				"topology.kubernetes.io/region":"r","beta.kubernetes.io/instance-type":"m1"}},"status":{"conditions":[{"type":"Ready","status":"True"}],
				"addresses":[{"type":"Hostname","address":"x"},{"type":"InternalIP","address":"10.0.0.1"},{"type":"InternalIP","address":"fd00::1"}]}}`,
			facts: `{"ready":true,"roles":["control-plane","worker"],"instanceType":"m1","zone":"a","region":"r","internalIP":"10.0.0.1"}`,
		},

		{name: "OpenStack", document: node(`"providerID":"openstack:///`+id+`"`, ``), status: "Ready", edges: []string{server},
			facts: `{"ready":true,"provider":"openstack"}`},
		{name: "OpenStack with a region", document: node(`"providerID":"openstack://RegionOne/`+id+`"`, ``), status: "Ready",
			edges: []string{server}},
		{
			name: "guest without a provider", status: "Ready",
			document: node(``, `"systemUUID":"8F5F5E0C-2A0F-4A35-9F0B-3D1B7F5C1C11","machineID":"0F5F5E0C-2a0f-4a35-9f0b-3d1b7f5c1c11"`),
			edges:    []string{"backed_by host.system.Machine 0f5f5e0c2a0f4a359f0b3d1b7f5c1c11", server},
		},
		{
			name: "another provider", status: "Ready", facts: `{"ready":true,"provider":"aws"}`,
			document: node(`"providerID":"aws:///eu-west-1a/i-0123"`, `"systemUUID":"`+id+`","machineID":"0f5f5e0c2a0f4a359f0b3d1b7f5c1c11"`),
			edges:    []string{"backed_by host.system.Machine 0f5f5e0c2a0f4a359f0b3d1b7f5c1c11"},
		},
		{name: "board without a uuid", document: node(``, `"systemUUID":"Not Settable"`), status: "Ready", edges: []string{}},
		{name: "uuid without dashes", document: node(``, `"systemUUID":"8f5f5e0c2a0f4a359f0b3d1b7f5c1c11"`), status: "Ready",
			edges: []string{server}},
	} {
		want.check(t)
	}
}

// TestNodesOnServers: which node is on which server of OpenStack.
func TestNodesOnServers(t *testing.T) {
	const id = "8f5f5e0c-2a0f-4a35-9f0b-3d1b7f5c1c11"
	for _, test := range []struct{ provider, uuid, want string }{
		{"openstack:///" + id, "", id},
		{"openstack://RegionOne/" + id, "", id},
		{"openstack:///8F5F5E0C-2A0F-4A35-9F0B-3D1B7F5C1C11", "", id},
		{"openstack:///" + id, "11111111-2222-4333-8444-555555555555", id}, // the provider knows better
		{"openstack:///i-0123", id, ""},
		{"openstack:///", id, ""},
		{"", id, id},
		{"", "8F5F5E0C-2A0F-4A35-9F0B-3D1B7F5C1C11", id},
		{"", "8f5f5e0c2a0f4a359f0b3d1b7f5c1c11", id},
		{"", " " + id + "\\n", ""},
		{"", "0c5e5f8f-0f2a-354a-9f0b-3d1b7f5c1c11", id}, // the first three fields turned
		{"", "0C5E5F8F-0F2A-354A-9F0B-3D1B7F5C1C11", id},
		// Whoever made the cluster, the machine is a server.
		{"k3s://n", id, id}, {"rke2://n", id, id}, {"kind://docker/kind/n", id, id}, {"k0s://n", id, id}, {"metal3://ns/n/u", id, id},
		{"byoh://n", id, id}, {"n", id, id}, {"talos://n", id, id}, {"someday://n", id, id},
		// Another cloud's is none.
		{"aws:///eu-west-1a/i-0123", id, ""}, {"AWS:///eu-west-1a/i-0123", id, ""}, {"gce://p/z/n", id, ""}, {"azure:///subscriptions/x", id, ""},
		{"vsphere://" + id, id, ""}, {"hcloud://1", id, ""}, {"digitalocean://1", id, ""}, {"ocid1.instance.oc1.x", id, ""},
		{"kubevirt://n", id, ""},
		{"harvester://n", id, ""}, {"proxmox://c/1", id, ""}, {"linode://1", id, ""}, {"oci://x", id, ""}, {"ibm://x", id, ""},
		// What stands there where nobody wrote any, and boards' own.
		{"", "03000200-0400-0500-0006-000700080009", ""},
		{"", "00020003-0004-0005-0006-000700080009", ""},
		{"", "00000000-0000-0000-0000-000000000000", ""},
		{"", "ffffffff-ffff-ffff-ffff-ffffffffffff", ""},
		{"", "FEFEFEFE-FEFE-FEFE-FEFE-FEFEFEFEFEFE", ""},
		{"", "00010203-0405-0607-0809-0A0B0C0D0E0F", ""},
		{"", "03020100-0504-0706-0809-0A0B0C0D0E0F", ""},
		{"", "12345678-1234-5678-90ab-cddeefaabbcc", ""},
		{"", "12345678-1234-1234-1234-123456789abc", ""},
		{"", "01234567-8910-1112-1314-151617181920", ""},
		{"", "DEADBEEF-DEAD-BEEF-DEAD-BEEFDEADBEEF", ""},
		{"", "03D40274-0435-05DC-8506-010700080009", ""},
		{"", "4C4C4544-0042-3510-8052-B3C04F4B4E32", ""},
		{"", "4C4C4544-0000-2010-8020-80A04F202020", ""},
		{"", "00000000-0000-0000-0000-0CC47A000000", ""},
		{"", "11111111-1111-4111-8111-111111111111", ""},
		{"", "44444444-4444-4444-8444-444444444444", ""},
		{"", "00000000-0000-4000-8000-000000000000", ""},
		{"", "Not Settable", ""}, {"", "Not Present", ""}, {"", "To be filled by O.E.M.", ""}, {"", "0", ""}, {"", "", ""},
		{"k3s://n", "03000200-0400-0500-0006-000700080009", ""},
	} {
		if got := serverOf(test.provider, test.uuid); got != test.want {
			t.Errorf("provider id %q, system UUID %q: server %q, want %q", test.provider, test.uuid, got, test.want)
		}
	}
	const machine = "0f5f5e0c2a0f4a359f0b3d1b7f5c1c11"
	for text, want := range map[string]string{
		machine: machine, "0F5F5E0C2A0F4A359F0B3D1B7F5C1C11": machine, "0f5f5e0c-2a0f-4a35-9f0b-3d1b7f5c1c11": machine,
		"": "", "b": "", "localhost": "", "uninitialized": "", strings.Repeat("0", 32): "", strings.Repeat("f", 32): "", machine + "0": "",
		machine[1:]:                        "",
		"0f5f5e0c2a0f4a359f0b3d1b7f5c1c1g": "",
	} {
		if got := machineOf(text); got != want {
			t.Errorf("machine id %q: %q, want %q", text, got, want)
		}
	}
}

func TestNodeIncidents(t *testing.T) {
	node := func(typ, status, at string) Reading {
		return read(t, `{"apiVersion":"v1","kind":"Node","status":{"conditions":[{"type":"`+typ+`","status":"`+status+`","reason":"R",`+
			`"message":"m",
			"lastHeartbeatTime":"2027-01-01T00:00:00Z","lastTransitionTime":"`+at+`"}]}}`)
	}
	const first, second = "2026-03-01T01:00:00Z", "2026-03-01T02:00:00Z"
	seen := map[string]bool{}
	for _, test := range []struct {
		typ, status, at string
		want            incident
	}{
		{"Ready", "True", first, incident{"node.ready", first, plugin.Info, `{"status":"True","reason":"R","message":"m"}`}},
		{"Ready", "False", first, incident{"node.not_ready", first, plugin.Error, `{"status":"False","reason":"R","message":"m"}`}},
		{"Ready", "Unknown", second, incident{"node.not_ready", second, plugin.Error, `{"status":"Unknown","reason":"R","message":"m"}`}},
		{"MemoryPressure", "True", first, incident{"node.memory_pressure", first, plugin.Warning,
			`{"status":"True","reason":"R","message":"m"}`}},
		{"DiskPressure", "True", first, incident{"node.disk_pressure", first, plugin.Warning, `{"status":"True","reason":"R","message":"m"}`}},
		{"PIDPressure", "True", first, incident{"node.pid_pressure", first, plugin.Warning, `{"status":"True","reason":"R","message":"m"}`}},
	} {
		id := incidents(t, node(test.typ, test.status, test.at), test.want)[0]
		if seen[id] {
			t.Errorf("%s has the id of another incident", test.typ)
		}
		seen[id] = true
	}
	for _, typ := range []string{"MemoryPressure", "DiskPressure", "NetworkUnavailable"} {
		incidents(t, node(typ, "False", first))
	}
	incidents(t, node("NetworkUnavailable", "True", first))
}
