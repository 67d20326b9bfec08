package kinds

import (
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

		{name: "OpenStack", document: node(`"providerID":"openstack:///`+id+`"`, ``), status: "Ready", edges: []string{server}, facts: `{"ready":true,"provider":"openstack"}`},
		{name: "OpenStack with a region", document: node(`"providerID":"openstack://RegionOne/`+id+`"`, ``), status: "Ready", edges: []string{server}},
		{
			name: "guest without a provider", status: "Ready",
			document: node(``, `"systemUUID":"8F5F5E0C-2A0F-4A35-9F0B-3D1B7F5C1C11","machineID":"0F5F5E0C-2a0f-4a35-9f0b-3d1b7f5c1c11"`),
			edges:    []string{"backed_by host.system.Machine 0f5f5e0c2a0f4a359f0b3d1b7f5c1c11", server},
		},
		{
			name: "another provider", status: "Ready", facts: `{"ready":true,"provider":"aws"}`,
			document: node(`"providerID":"aws:///eu-west-1a/i-0123"`, `"systemUUID":"`+id+`","machineID":"ab"`),
			edges:    []string{"backed_by host.system.Machine ab"},
		},
		{name: "board without a uuid", document: node(``, `"systemUUID":"Not Settable"`), status: "Ready", edges: []string{}},
		{name: "uuid without dashes", document: node(``, `"systemUUID":"8f5f5e0c2a0f4a359f0b3d1b7f5c1c11"`), status: "Ready", edges: []string{}},
	} {
		want.check(t)
	}
}

func TestNodeIncidents(t *testing.T) {
	node := func(typ, status, at string) Reading {
		return read(t, `{"apiVersion":"v1","kind":"Node","status":{"conditions":[{"type":"`+typ+`","status":"`+status+`","reason":"R","message":"m",
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
		{"MemoryPressure", "True", first, incident{"node.memory_pressure", first, plugin.Warning, `{"status":"True","reason":"R","message":"m"}`}},
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
