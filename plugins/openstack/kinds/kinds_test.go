package kinds

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/openstack/cloud"
)

var update = flag.Bool("update", false, "write testdata/*.golden anew")

// testContext is where the elements in testdata are read: the lists of others
// that are looked up have one of each.
var testContext = Context{
	Cloud: "c", Region: "RegionOne", Dashboard: "https://horizon.example/",
	Joins: Joins{
		SecurityGroups: func(project, name string) []string { return []string{name + "-of-" + project} },
		Interfaces: func(router string) []Interface {
			return []Interface{{Port: "port-of-" + router, Network: "net", Subnets: []string{"sub"}, Addresses: []string{"10.0.0.1"}}}
		},
		Owners: func(subnet, address string) []plugin.Key {
			return []plugin.Key{{Type: typeServer, UID: "server-at-" + subnet + "-" + address}}
		},
		Members: func(group string) []string { return []string{"b-of-" + group, "a-of-" + group} },
	},
}

// contextOf is where the elements of a kind are read.
func contextOf(k *Kind) Context {
	in := testContext
	if k.Mine {
		in.Project = "mine"
	}
	return in
}

// elements are the elements in testdata of an API, by kind.
func elements(t testing.TB, api string) map[string][]jsontext.Value {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", api+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var all map[string][]jsontext.Value
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatalf("%s: %v", api, err)
	}
	return all
}

// find returns a kind by its name.
func find(t testing.TB, name string) *Kind {
	t.Helper()
	k := Find(name)
	if k == nil {
		t.Fatalf("there is no kind %s", name)
	}
	return k
}

// describe writes a reading down.
func describe(t testing.TB, r Reading) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n\tname %q status %q project %q", strings.TrimPrefix(r.Type, "openstack."), r.UID, r.Name, r.Status, r.Project)
	if r.ID != r.UID {
		fmt.Fprintf(&b, " id %q", r.ID)
	}
	for _, at := range []struct {
		what string
		time.Time
	}{{"created", r.Created}, {"updated", r.Updated}} {
		if !at.IsZero() {
			fmt.Fprintf(&b, " %s %s", at.what, at.UTC().Format(time.RFC3339))
		}
	}
	if r.Health != "" {
		fmt.Fprintf(&b, " health %s", r.Health)
	}
	if r.Deleted {
		b.WriteString(" deleted")
	}
	if r.Partial {
		b.WriteString(" partial")
	}
	b.WriteByte('\n')
	for _, k := range sortedKeys(r.Labels) {
		fmt.Fprintf(&b, "\tlabel %s=%s\n", k, r.Labels[k])
	}
	for _, e := range r.Relations {
		fmt.Fprintf(&b, "\t%s %s %s\n", e.Kind, strings.TrimPrefix(e.To.Type, "openstack."), e.To.UID)
	}
	if r.Server != nil {
		fmt.Fprintf(&b, "\tstate %+v\n", *r.Server)
	}
	for _, f := range r.Derived {
		raw, err := json.Marshal(f.Value)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "\t%s: %s\n", f.Name, raw)
	}
	return b.String()
}

// TestRead reads elements as services sent them. Those of identity, compute,
// placement, network, storage, image, load balancer and rating are of a cloud of
// OpenStack Zed, as far as it had any; the others follow the API references. Run it with -update, and read what
// has changed.
func TestRead(t *testing.T) {
	for _, api := range cloud.APIs {
		t.Run(api.Name, func(t *testing.T) {
			all := elements(t, api.Name)
			var got strings.Builder
			for _, k := range All() {
				if k.API.Name != api.Name {
					continue
				}
				if _, ok := all[k.Name]; !ok {
					t.Errorf("nothing in testdata is one of %s", k)
				}
				for _, raw := range all[k.Name] {
					r, err := k.Read(raw, contextOf(k))
					if err != nil {
						t.Error(err)
						continue
					}
					got.WriteString(describe(t, r))
					checkReading(t, k, raw, r)
				}
				delete(all, k.Name)
			}
			for name := range all {
				t.Errorf("there is no kind %s/%s", api.Name, name)
			}
			name := filepath.Join("testdata", api.Name+".golden")
			if *update {
				if err := os.WriteFile(name, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != string(want) {
				t.Errorf("%s has\n%s\nread was\n%s", name, want, got.String())
			}
		})
	}
}

// checkReading tests what holds of all readings.
func checkReading(t *testing.T, k *Kind, raw jsontext.Value, r Reading) {
	t.Helper()
	known := map[string]bool{}
	for _, k := range All() {
		known[k.Type] = true
	}
	if r.Type != k.Type || r.UID == "" || r.ID == "" || r.Name == "" && !r.Partial {
		t.Errorf("%s: key %v, id %q, name %q", k, r.Key, r.ID, r.Name)
	}
	if !slices.IsSortedFunc(r.Relations, compareRelations) {
		t.Errorf("%s: relations are not sorted: %v", k, r.Relations)
	}
	for i, e := range r.Relations {
		if e.Kind == "" || e.To.UID == "" || e.To == r.Key || i > 0 && e == r.Relations[i-1] {
			t.Errorf("%s: relation %d: %+v", k, i, e)
		}
		if !known[e.To.Type] && !strings.HasPrefix(e.To.Type, "host.") && !strings.HasPrefix(e.To.Type, "kubernetes.") {
			t.Errorf("%s: relation %d to what there is not: %+v", k, i, e)
		}
	}
	names := map[string]bool{}
	for _, f := range r.Derived {
		if names[f.Name] {
			t.Errorf("%s: %s is derived twice", k, f.Name)
		}
		names[f.Name] = true
	}
	document, err := k.Document(raw, r.Derived)
	if err != nil {
		t.Errorf("%s: %v", k, err)
		return
	}
	if !document.IsValid() {
		t.Errorf("%s: not strictly JSON: %s", k, document)
	}
	if found := mustNotBeIn(k, document); found != "" {
		t.Errorf("%s: %s is in %s", k, found, document)
	}
	again, err := k.Read(raw, contextOf(k))
	if err != nil || !reflect.DeepEqual(again, r) {
		t.Errorf("%s: read again: %+v, %v, before %+v", k, again, err, r)
	}
}

// mustNotBeIn returns the name of a member in a document that should have been
// left out of it.
func mustNotBeIn(k *Kind, document jsontext.Value) string {
	dec := jsontext.NewDecoder(strings.NewReader(string(document)))
	for {
		token, err := dec.ReadToken()
		if err != nil {
			return ""
		}
		kind, n := dec.StackIndex(dec.StackDepth())
		if token.Kind() != '"' || kind != '{' || n%2 == 0 {
			continue // a value, or an element of an array
		}
		name := token.String()
		if strings.HasPrefix(string(dec.StackPointer()), "/derived/") {
			continue
		}
		if slices.Contains(dropped, name) || slices.Contains(k.drop, name) || strings.HasSuffix(name, "_links") {
			return name
		}
	}
}

func TestKinds(t *testing.T) {
	names, types := map[string]bool{}, map[string]bool{}
	for _, k := range All() {
		if names[k.String()] || types[k.Type] {
			t.Errorf("%s, %s: there is another one", k, k.Type)
		}
		names[k.String()], types[k.Type] = true, true
		if !regexp.MustCompile(`^openstack\.[a-z]+\.[A-Za-z0-9]+$`).MatchString(k.Type) ||
			!strings.HasPrefix(k.Type, "openstack."+k.API.Name+".") {
			t.Errorf("%s: type %s", k, k.Type)
		}
		if !regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`).MatchString(k.Name) {
			t.Errorf("%s: its name is not as others are", k)
		}
		if k.Title == "" || k.read == nil {
			t.Errorf("%s: title %q, read %v", k, k.Title, k.read != nil)
		}
		// The account of object storage, and nothing else, is its own list.
		if swift := k.API.Name == cloud.ObjectStore.Name; (k.Path == "") != swift ||
			(k.Envelope == "") != (swift || k.ItemEnvelope == "quota_set") {
			t.Errorf("%s: path %q, envelope %q", k, k.Path, k.Envelope)
		}
		if k.Microversion != "" && (k.API.Header == "" || cloud.ParseMicroversion(k.Microversion).String() != k.Microversion) {
			t.Errorf("%s: microversion %q", k, k.Microversion)
		}
		if k.ItemPath != "" && strings.Count(k.ItemPath, "%s") != 1 {
			t.Errorf("%s: item path %q", k, k.ItemPath)
		}
		for _, panel := range []string{k.Panel, k.MyPanel} {
			if strings.HasPrefix(panel, "/") || strings.Count(panel, "%s") > 1 {
				t.Errorf("%s: panel %q", k, panel)
			}
		}
		for _, path := range k.Volatile {
			if !regexp.MustCompile(`^[A-Za-z0-9_-]+(\.([A-Za-z0-9_-]+|\*))*$`).MatchString(path) {
				t.Errorf("%s: volatile %q", k, path)
			}
		}
		if Find(k.String()) != k {
			t.Errorf("%s is not found", k)
		}
	}
	if Find("compute/nothing") != nil {
		t.Error("found what there is not")
	}
}

// TestNothing: what has no id is an error, not an asset.
func TestNothing(t *testing.T) {
	for _, k := range All() {
		for _, raw := range []string{`{}`, `{"id":null,"name":null}`} {
			if r, err := k.Read(jsontext.Value(raw), contextOf(k)); err == nil {
				t.Errorf("%s read %s as %+v", k, raw, r)
			}
		}
		// What has a name only is one that names tell apart.
		if r, err := k.Read(jsontext.Value(`{"name":"x"}`), contextOf(k)); err == nil && (r.ID != "x" || !strings.HasSuffix(r.UID, "/x")) {
			t.Errorf("%s read a name as %+v", k, r)
		}
		for _, raw := range []string{``, `null`, `[]`, `"x"`, `{`, `{"id":`, `{"id":"x"} {}`} {
			_, _ = k.Read(jsontext.Value(raw), contextOf(k))
			if document, err := k.Document(jsontext.Value(raw), nil); err == nil {
				t.Errorf("%s made %s of %s", k, document, raw)
			}
		}
	}
}

func TestOwner(t *testing.T) {
	const id = "31b9e978-415a-4adb-8919-85900ad80e12"
	for _, want := range []struct{ owner, device, typ string }{
		{"compute:nova", id, typeServer},
		{"compute:", id, typeServer},
		{"network:router_interface", id, typeRouter},
		{"network:router_interface_distributed", id, typeRouter},
		{"network:router_gateway", id, typeRouter},
		{"network:router_centralized_snat", id, typeRouter},
		{"network:router_ha_interface", id, typeRouter},
		{"network:ha_router_replicated_interface", id, typeRouter},
		{"network:floatingip", id, typeFloatingIP},
		{"network:floatingip", "PENDING", ""},
		{"network:floatingip_agent_gateway", id, ""},
		{"network:dhcp", "dhcp" + id, ""},
		{"Octavia", "lb-" + id, typeLoadBalancer},
		{"", "lb-" + id, typeLoadBalancer},
		{"Octavia", "lb-", ""},
		{"neutron:LOADBALANCERV2", id, typeLoadBalancer},
		{"baremetal:none", id, typeNode},
		{"trunk:subport", id, typeTrunk},
		{"compute:nova", "", ""},
		{"", "", ""},
		{"", id, ""},
	} {
		key, ok := Owner(want.owner, want.device)
		if ok != (want.typ != "") || ok && key != (plugin.Key{Type: want.typ, UID: id}) {
			t.Errorf("%s %s: %v, %v, want %s", want.owner, want.device, key, ok, want.typ)
		}
	}
}

func TestNumber(t *testing.T) {
	for raw, want := range map[string]string{
		`1`: `{"x":1024}`, `"2"`: `{"x":2048}`, `0`: `{"x":0}`, `0.5`: `{"x":512}`, `-1`: `{"x":-1024}`, `null`: `{}`, `"infinite"`: `{}`,
		`"unknown"`: `{}`, `"NaN"`: `{}`, `"Inf"`: `{}`, `true`: `{}`, `[]`: `{}`, `{}`: `{}`, `""`: `{}`, `1e308`: `{}`, `1e400`: `{}`,
		`18446744073709551614`: `{"x":1.888946593147858e+22}`,
		`0.3`:                  `{"x":307.2}`,
	} {
		var n number
		if err := jsonUnmarshal(jsontext.Value(raw), &n); err != nil {
			t.Errorf("%s: %v", raw, err)
		}
		var r reader
		unit := 1024.0
		if raw == `1e308` {
			unit = 1e10
		}
		r.amount("x", n, unit)
		if got, err := json.Marshal(r.Derived); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v, want %s", raw, got, err, want)
		}
	}
}

func TestParseTime(t *testing.T) {
	want := time.Date(2026, 11, 25, 16, 4, 47, 0, time.UTC)
	for _, s := range []string{
		"2026-11-25T16:04:47Z", "2026-11-25T16:04:47", "2026-11-25T16:04:47.000000", "2026-11-25T17:04:47.000000+01:00", "2026-11-25 16:04:47",
		"2026-11-25 16:04:47+00:00", "2026-11-25T16:04:47+00:00",
	} {
		if at, ok := ParseTime(s); !ok || !at.Equal(want) {
			t.Errorf("%s: %v, %v", s, at, ok)
		}
	}
	for _, s := range []string{"", "null", "2026-11-25", "16:04"} {
		if at, ok := ParseTime(s); ok {
			t.Errorf("%s: %v", s, at)
		}
	}
}

func TestChanges(t *testing.T) {
	since := time.Date(2026, 11, 25, 17, 4, 47, 5, time.FixedZone("", 3600))
	for changes, want := range map[Changes][]string{
		NoChanges:    nil,
		ChangesSince: {"changes-since=2026-11-25T16%3A04%3A47Z"},
		ChangedSince: {"changed_since=2026-11-25T16%3A04%3A47Z"},
		UpdatedAt:    {"updated_at=gte%3A2026-11-25T16%3A04%3A47", "created_at=gte%3A2026-11-25T16%3A04%3A47"},
	} {
		var got []string
		for _, q := range changes.Queries(since) {
			got = append(got, q.Encode())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d: %q, want %q", changes, got, want)
		}
	}
}

// TestDashboard: who sees one project has other pages than who sees all of them.
func TestDashboard(t *testing.T) {
	k := find(t, "compute/servers")
	for _, want := range []struct{ dashboard, project, address string }{
		{"https://horizon.example/", "", `{"horizon":"https://horizon.example/admin/instances/a%2Fb/detail"}`},
		{"https://horizon.example/dashboard", "p", `{"horizon":"https://horizon.example/dashboard/project/instances/a%2Fb/"}`},
		{"", "p", `{}`},
	} {
		r := reader{kind: k, in: Context{Dashboard: want.dashboard, Project: want.project}, Reading: Reading{ID: "a/b"}}
		r.link()
		if got, err := json.Marshal(r.Derived); err != nil || string(got) != want.address {
			t.Errorf("%+v: %s, %v", want, got, err)
		}
	}
}

// FuzzRead: whatever a service sends is read or an error, and no document has what
// must not leave the site.
func FuzzRead(f *testing.F) {
	for i, k := range All() {
		for _, raw := range elements(f, k.API.Name)[k.Name] {
			f.Add(i, []byte(raw))
		}
		f.Add(i, []byte(`{"id":"x","uuid":"x","name":"x","links":[],"x_links":{},"connection_info":{"a":1},"a":{"adminPass":"x"}}`))
	}
	f.Add(0, []byte(`{"id":"x","id":"y","a":{"b":1,"b":2},"c":"`+"\xff"+`","`+"\xfe"+`":1}`))
	f.Fuzz(func(t *testing.T, n int, raw []byte) {
		all := All()
		k := all[uint(n)%uint(len(all))]
		r, err := k.Read(raw, contextOf(k))
		if err == nil && jsontext.Value(raw).IsValid() {
			checkReading(t, k, raw, r)
		}
		document, err := k.Document(raw, r.Derived)
		if err != nil {
			return
		}
		if !document.IsValid() {
			t.Errorf("not strictly JSON: %q", document)
		}
		if found := mustNotBeIn(k, document); found != "" {
			t.Errorf("%s is in %s", found, document)
		}
	})
}

func BenchmarkServer(b *testing.B) {
	k := find(b, "compute/servers")
	raw := elements(b, "compute")["servers"][0]
	if err := raw.Compact(); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		r, err := k.Read(raw, contextOf(k))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := k.Document(raw, r.Derived); err != nil {
			b.Fatal(err)
		}
	}
}

// TestPortOfFloatingIP: the port that holds an address does not have it in use, so that
// "attached to nothing" finds the addresses that nobody uses.
func TestPortOfFloatingIP(t *testing.T) {
	k, found := find(t, "network/ports"), 0
	for _, raw := range elements(t, "network")["ports"] {
		var port struct {
			Owner  string `json:"device_owner"`
			Device string `json:"device_id"`
		}
		if err := jsonUnmarshal(raw, &port); err != nil {
			t.Fatal(err)
		}
		r, err := k.Read(raw, contextOf(k))
		if err != nil {
			t.Fatal(err)
		}
		if port.Owner != "network:floatingip" || port.Device == "PENDING" {
			continue
		}
		found++
		of := plugin.Key{Type: typeFloatingIP, UID: port.Device}
		if !slices.Contains(r.Relations, plugin.Relation{Kind: partOf, To: of}) || slices.Contains(r.Relations, plugin.Relation{Kind: attachedTo, To: of}) {
			t.Errorf("%s: %v", r.ID, r.Relations)
		}
	}
	if found == 0 {
		t.Error("no port of a floating IP was read")
	}
}

func BenchmarkPort(b *testing.B) {
	k := find(b, "network/ports")
	raw := elements(b, "network")["ports"][0]
	if err := raw.Compact(); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		r, err := k.Read(raw, contextOf(k))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := k.Document(raw, r.Derived); err != nil {
			b.Fatal(err)
		}
	}
}
