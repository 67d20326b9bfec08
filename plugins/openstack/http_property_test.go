package openstack

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/pkg/plugin/plugintest"
	"github.com/reeve-cloud/reeve/plugins/openstack/kinds"
)

// oneIn is of how many odd answers one is asked for over HTTP, which takes some 40 ms: what is
// read of each is held by [TestOneOddElement].
const oneIn = 61

// TestOneOddAnswer: over HTTP, in the recorded answer of each list an element is odd in every
// way, one at a time: the listing is whole, no other asset changes, and nothing is deleted but
// the odd one, which may be another now.
func TestOneOddAnswer(t *testing.T) {
	var asked, left []string
	n := 0
	for _, kind := range kinds.All() {
		if kind.Path == "" || kind.Envelope == "" || strings.Contains(kind.Path, "%") {
			left = append(left, kind.String())
			continue
		}
		raw, err := os.ReadFile(filepath.Join("kinds", "testdata", kind.API.Name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var all map[string][]jsontext.Value
		if err := json.Unmarshal(raw, &all); err != nil {
			t.Fatal(err)
		}
		list := all[kind.Name]
		e := newEstate(t)
		e.envelope = kind.Envelope
		base := "/" + kind.API.Name
		if kind.API.Name == "identity" {
			base = ""
		}
		if kind.API.Path != "" {
			base += "/" + kind.API.Path
		}
		e.catalog[kind.API.Types[0]] = base
		major := map[string]string{"compute": "2", "share": "2", "storage": "3"}[kind.API.Name]
		if major == "" {
			major = "1"
		}
		version := object{"id": "v" + major, "version": major + ".99", "max_version": major + ".99", "min_version": major + ".0", "status": "CURRENT"}
		e.on(base+"/", 200, object{"version": version, "versions": []object{version}})
		e.on(base+"/flavors/detail", 200, object{"flavors": []object{}})
		for _, probe := range []string{"servers", "volumes", "quotas", "projects", "shares", "nodes", "images", "stacks", "zones", "secrets", "clusters",
			"role_assignments", "lbaas/loadbalancers"} {
			e.on(base+"/"+probe, 200, object{probe[strings.LastIndexByte(probe, '/')+1:]: []object{}})
		}
		answered := func(list []jsontext.Value) {
			parts := make([]string, len(list))
			for i, element := range list {
				parts[i] = string(element)
			}
			e.on(base+"/"+kind.Path, 200, fmt.Sprintf(`{%q:[%s]}`, kind.Envelope, strings.Join(parts, ",")))
		}
		answered(list)
		c, s := e.collector(kind.String()), newSinks(t)
		names, errs := s.sweep(c)
		at := slices.IndexFunc(names, func(name string) bool {
			return strings.HasSuffix(name, kind.String()) && errs[name] == nil && s.of(name).UIDs() != ""
		})
		if at < 0 {
			left = append(left, kind.String())
			continue
		}
		asked = append(asked, kind.String())
		scope := plugin.Scope{Name: names[at]}
		texts := func(out *plugintest.Sink) map[plugin.Key]string {
			m := make(map[plugin.Key]string)
			for _, o := range out.All() {
				m[o.Key] = fmt.Sprintf("%s %s %s %v %s", o.Name, o.Status, o.Project, o.Labels, o.Document)
			}
			return m
		}
		sound := s.of(names[at]).All()
		before := texts(s.of(names[at]))
		for i := range list {
			answered(slices.Delete(slices.Clone(list), i, i+1))
			alone := plugintest.NewTolerantSink(t)
			if err := c.Sweep(t.Context(), scope, alone); err != nil {
				t.Fatalf("%s without an element: %v", kind, err)
			}
			others := texts(alone)
			plugintest.Odd(t, list[i], func(what string, odd []byte) {
				if n++; n%oneIn != 0 {
					return
				}
				out := plugintest.NewTolerantSink(t)
				for _, o := range sound {
					if err := out.Apply(t.Context(), "", plugin.Fact{Upsert: &o}); err != nil {
						t.Fatal(err)
					}
				}
				with := slices.Clone(list)
				with[i] = odd
				answered(with)
				err := c.Sweep(t.Context(), scope, out)
				if err != nil && len(list) == 1 && strings.Contains(err.Error(), "no id to go on from") {
					// Whether there is more behind a page without any id, nobody can know.
					if out.Deleted() != "" {
						t.Errorf("%s, %s: deleted %s", kind, what, out.Deleted())
					}
				} else if err != nil {
					t.Errorf("%s, %s: %v", kind, what, err)
				}
				now := texts(out)
				for key := range others {
					if text, there := now[key]; !there || text != before[key] {
						t.Errorf("%s, %s: %s is\n %s\n and was\n %s", kind, what, key.UID, text, before[key])
					}
				}
			})
		}
	}
	t.Logf("%d answers of %d kinds; not over HTTP: %q", n/oneIn, len(asked), left)
	if len(asked) < 25 {
		t.Errorf("only %d kinds were listed: %q", len(asked), asked)
	}
}
