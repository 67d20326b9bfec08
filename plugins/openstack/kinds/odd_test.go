package kinds

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/openstack/cloud"
)

// oddValues stand where others should.
var oddValues = []string{
	`null`, `"x"`, `-1`, `"-1"`, `99999999999999999999999999`, `"inf"`, `true`, `"True"`, `[null]`, `[7]`, `{}`, `{"id": 7}`, `"a\nb\u0000"`,
	`"9999-12-31T23:59:59Z"`,
}

// mutations calls visit with an element in which one member at a time, at any
// depth, has another value, is missing, or is there twice.
func mutations(raw jsontext.Value, visit func(what string, odd jsontext.Value)) {
	var walk func(v any, path string, set func(any))
	var whole any
	if err := json.Unmarshal(raw, &whole); err != nil {
		panic(err)
	}
	tell := func(what string) {
		odd, err := json.Marshal(whole)
		if err != nil {
			panic(err)
		}
		visit(what, odd)
	}
	walk = func(v any, path string, set func(any)) {
		if path != "" {
			for _, text := range append(oddValues, fmt.Sprintf("%q", strings.Repeat("h", 2_000))) {
				set(json.RawMessage(text))
				tell(fmt.Sprintf("%s = %.40s", path, text))
			}
			set(v)
		}
		switch v := v.(type) {
		case map[string]any:
			names := make([]string, 0, len(v))
			for name := range v {
				names = append(names, name)
			}
			slices.Sort(names)
			for _, name := range names {
				old := v[name]
				delete(v, name)
				tell(path + "." + name + " removed")
				v[name] = old
				walk(old, path+"."+name, func(n any) { v[name] = n })
			}
		case []any:
			if len(v) > 0 {
				set(append(slices.Clone(v), v[0]))
				tell(path + " has an element twice")
				set(v)
			}
			for i := range v {
				walk(v[i], fmt.Sprintf("%s[%d]", path, i), func(n any) { v[i] = n })
			}
		}
	}
	walk(whole, "", nil)
	visit("nothing but null", jsontext.Value(`null`))
	visit("no object", jsontext.Value(`["x"]`))
}

// TestOddMembers: an element in which one member is not what it should be is read
// as well as can be. Only where it cannot be told which element it is, that is said.
func TestOddMembers(t *testing.T) {
	n := 0
	for _, api := range cloud.APIs {
		for name, list := range elements(t, api.Name) {
			k := find(t, api.Name+"/"+name)
			for _, raw := range list[:min(len(list), 2)] {
				mutations(raw, func(what string, odd jsontext.Value) {
					n++
					r, err := k.Read(odd, contextOf(k))
					if err != nil {
						if r.UID != "" {
							t.Errorf("%s, %s: %v", k, what, err)
						}
						return
					}
					for _, e := range r.Relations {
						if !plain(e.To.UID) || e.To.UID == "" {
							t.Errorf("%s, %s: a relation to %q", k, what, e.To.UID)
						}
					}
					doc, err := k.Document(odd, r.Derived)
					if err == nil {
						_, err = document.Canonical(json.RawMessage(doc))
					}
					if err != nil {
						t.Errorf("%s, %s: %v", k, what, err)
					}
				})
			}
		}
	}
	t.Logf("%d elements were read", n)
}

// TestOneOddMember: what is not odd about an element reads as before.
func TestOneOddMember(t *testing.T) {
	k := find(t, "image/images")
	read := func(text string) Reading {
		r, err := k.Read(jsontext.Value(text), testContext)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	want := describe(t, read(`{"id": "i", "name": "n", "owner": "p", "protected": false, "os_hidden": true, "size": 10, "min_disk": 1, `+
		`"status": "active", "tags": ["7"]}`))
	got := describe(t, read(`{"id": "i", "name": "n", "owner": "p", "protected": "False", "os_hidden": "true", "size": "10", "min_disk": `+
		`"1", "status": "active", "tags": [7]}`))
	if got != want {
		t.Errorf("read was\n%s\nwant\n%s", got, want)
	}
}

// given reads a list of one of the cases.
func given(t *testing.T, name, envelope string) []jsontext.Value {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "testdata", "odd", name))
	if err != nil {
		t.Fatal(err)
	}
	var all map[string][]jsontext.Value
	if err := jsonUnmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	if len(all[envelope]) == 0 {
		t.Fatalf("%s has no %s", name, envelope)
	}
	return all[envelope]
}

// TestGiven reads the lists of the cases.
func TestGiven(t *testing.T) {
	in := testContext
	in.Joins.Flavor = func(id string) (Flavor, bool) {
		return Flavor{Name: "small", VCPUs: 2, RAM: 512, Disk: 1}, id == "11bb895a-0000-4000-8000-000000000001"
	}
	for _, test := range []struct {
		file, kind, envelope string
		want                 []string // parts of each description, after "!" what must not be there
	}{
		{"C01-glance-os_hidden-as-text.json", "image/images", "images", []string{"hidden: false", "hidden: true"}},
		{"C01-glance-protected-as-text.json", "image/images", "images", []string{"protected: false", "protected: false"}},
		{"C03-neutron-port-range-as-text.json", "network/security-groups", "security_groups", []string{`open: ["tcp/22"]`, `open: ["tcp/443"]`}},
		{"C17-nova-2.38-servers.json", "compute/servers", "servers", []string{
			"uses compute.Flavor c/RegionOne/flavor/small", "status \"ERROR\"", "status \"SOFT_DELETED\"", "vcpus: 2", "memory: 536870912",
		}},
		{"C19-cinder-pools.json", "storage/pools", "pools", []string{"!free:", "free: 7526930186", "!total:"}},
		{"C20-neutron-quota-as-text.json", "network/quotas", "quotas", []string{`"network":100,"port":500`}},
		{"C22-glance-properties-collide.json", "image/images", "images", []string{"project \"aaaa\"", "!uses image.Image", "!uses image.Image"}},
	} {
		list := given(t, test.file, test.envelope)
		for i, raw := range list {
			if i == len(test.want) {
				break
			}
			k := find(t, test.kind)
			r, err := k.Read(raw, in)
			if err != nil {
				t.Errorf("%s: %v", test.file, err)
				continue
			}
			got := describe(t, r)
			part, not := strings.CutPrefix(test.want[i], "!")
			if strings.Contains(got, part) == not || strings.Contains(got, "victim") {
				t.Errorf("%s: read was\n%s\nwant %q", test.file, got, test.want[i])
			}
		}
	}
}

// TestTwins: several elements of one key are one asset, whichever comes first.
func TestTwins(t *testing.T) {
	for file, test := range map[string]struct{ kind, envelope, want string }{
		"C07-nova-services-twice.json": {"compute/services", "services",
			"compute.Service c/RegionOne/compute-service/nova-conductor@ctl1"},
		"C08-nova-hypervisors-twice.json": {"compute/hypervisors", "hypervisors",
			"compute.Hypervisor c/RegionOne/hypervisor/4f5a6b7c-0000-4000-8000-00000000000a"},
	} {
		k := find(t, test.kind)
		list := given(t, file, test.envelope)
		var described []string
		for range 2 {
			slices.Reverse(list)
			var readings []Reading
			for _, raw := range list {
				r, err := k.Read(raw, testContext)
				if err != nil {
					t.Fatal(err)
				}
				readings = append(readings, r)
			}
			one, leads := Twins(readings)
			if readings[leads].Health != "up" {
				t.Errorf("%s: what leads is %s", file, readings[leads].Health)
			}
			described = append(described, describe(t, one))
		}
		if got := described[0]; got != described[1] || !strings.Contains(got, test.want) || !strings.Contains(got, `status "up"`) ||
			!strings.Contains(got, `twins: [{"id":"`) || !strings.Contains(got, `"status":"down"}]`) || !k.Twins {
			t.Errorf("%s: %v", file, described)
		}
	}
}

// TestNamesInKeys: whatever people name things, keys are plain, and those of
// different names differ.
func TestNamesInKeys(t *testing.T) {
	seen := map[plugin.Key]string{}
	for _, name := range []string{
		"small", "m1/small", "a b", "ü", "a\nb", "a%0Ab", "a\x00b", "a\x7fb", "a\xffb", "a\ufffdb", strings.Repeat("n", 768),
		strings.Repeat("n", 769), strings.Repeat("n", 770), "~", "",
	} {
		key := testContext.Key(typeFlavor, keyFlavor, name)
		if !plain(key.UID) {
			t.Errorf("%q: the key %q is not plain", name, key.UID)
		}
		if other, twice := seen[key]; twice {
			t.Errorf("%q and %q have the key %q", name, other, key.UID)
		}
		seen[key] = name
	}
	if uid := testContext.Key(typeFlavor, keyFlavor, "m1.small").UID; uid != "c/RegionOne/flavor/m1.small" {
		t.Errorf("a usual key is %q", uid)
	}
}

// TestUnknownStates: what is null is not known, and not the one or the other.
func TestUnknownStates(t *testing.T) {
	for kind, text := range map[string]string{
		"identity/users":             `{"id": "u", "name": "n", "enabled": null}`,
		"identity/domains":           `{"id": "d", "name": "n"}`,
		"network/agents":             `{"id": "a", "binary": "b", "host": "h", "alive": null}`,
		"compute/availability-zones": `{"zoneName": "z", "zoneState": null, "hosts": null}`,
		"compute/services":           `{"id": 1, "binary": "b", "host": "h", "state": null, "status": null}`,
	} {
		r, err := find(t, kind).Read(jsontext.Value(text), testContext)
		if err != nil || r.Status != "" || r.Health != "" {
			t.Errorf("%s: %+v, %v", kind, r, err)
		}
	}
	// Times that no cloud has are none.
	r, err := find(t, "storage/volumes").Read(
		jsontext.Value(`{"id": "v", "created_at": "1601-01-01T00:00:00", "updated_at": "9999-12-31T00:00:00"}`), testContext)
	if err != nil || !r.Created.IsZero() || !r.Updated.IsZero() {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestTexts: numbers and booleans that are written as texts, as some services and
// proxies do, read the same.
func TestTexts(t *testing.T) {
	for _, api := range cloud.APIs {
		for name, list := range elements(t, api.Name) {
			k := find(t, api.Name+"/"+name)
			for _, raw := range list {
				want, err := k.Read(raw, contextOf(k))
				if err != nil {
					t.Fatal(err)
				}
				quoted := map[string]string{}
				leaves(raw, func(path string, odd jsontext.Value) { quoted[path] = string(odd) })
				for path, odd := range quoted {
					got, err := k.Read(jsontext.Value(odd), contextOf(k))
					if err != nil || describe(t, got) != describe(t, want) {
						t.Errorf("%s with %s as a text: %v\n%s\nwant\n%s", k, path, err, describe(t, got), describe(t, want))
					}
				}
			}
		}
	}
}

// leaves calls visit with an element in which one number or boolean at a time is a
// text, booleans as Python writes them.
func leaves(raw jsontext.Value, visit func(path string, odd jsontext.Value)) {
	var whole any
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.UseNumber()
	if err := dec.Decode(&whole); err != nil {
		panic(err)
	}
	var walk func(v any, path string, set func(any))
	walk = func(v any, path string, set func(any)) {
		text := ""
		switch v := v.(type) {
		case map[string]any:
			for name, inner := range v {
				walk(inner, path+"."+name, func(n any) { v[name] = n })
			}
		case []any:
			for i := range v {
				walk(v[i], fmt.Sprintf("%s[%d]", path, i), func(n any) { v[i] = n })
			}
		case bool:
			text = map[bool]string{true: "True", false: "False"}[v]
		case json.Number:
			text = v.String()
		}
		if text == "" {
			return
		}
		set(text)
		odd, err := json.Marshal(whole)
		if err != nil {
			panic(err)
		}
		visit(path, odd)
		set(v)
	}
	walk(whole, "", nil)
}
