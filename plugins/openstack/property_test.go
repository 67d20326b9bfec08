package openstack

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/pkg/plugin/plugintest"
	"github.com/reeve-cloud/reeve/plugins/openstack/cloud"
	"github.com/reeve-cloud/reeve/plugins/openstack/kinds"
)

// TestOneOddElement: of the recorded answers each member, at any depth, odd in every
// way, one at a time, fails no listing, changes no other asset, and deletes nothing
// that may still be listed.
func TestOneOddElement(t *testing.T) {
	n := 0
	for _, kind := range kinds.All() {
		read := make(map[string]bool)
		raw, err := os.ReadFile(filepath.Join("kinds", "testdata", kind.API.Name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var all map[string][]jsontext.Value
		if err := json.Unmarshal(raw, &all); err != nil {
			t.Fatal(err)
		}
		list := all[kind.Name]
		if len(list) == 0 {
			t.Fatalf("there is no %s", kind)
		}
		for i := range list {
			plugintest.Odd(t, list[i], func(what string, odd []byte) {
				if read[what] {
					return
				}
				read[what] = true
				n++
				with := slices.Clone(list)
				with[i] = odd
				oddSweep(t, kind, list, with, i, what)
			})
		}
	}
	t.Logf("%d listings were read", n)
}

// oddSweep records a listing, and reads one in which an element is odd.
func oddSweep(t *testing.T, kind *kinds.Kind, sound, odd []jsontext.Value, at int, what string) {
	t.Helper()
	c := newCollector(slog.New(slog.DiscardHandler), defaults())
	out := plugintest.NewTolerantSink(t)
	f := &follower{c: c, l: &listing{kind: kind, region: "west", view: view{project: "mine"}}, out: out}
	r := &elementReader{c: c, l: f.l, in: kinds.Context{Cloud: "c", Region: "west", Project: "mine"}}
	sweep := func(list []jsontext.Value) *seen {
		t.Helper()
		w, err := out.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s := newSeen(c.seed)
		for _, raw := range list {
			if err := f.take(t.Context(), r, w, s, raw); err != nil {
				t.Fatalf("%s, %s: %v", kind, what, err)
			}
		}
		for _, twins := range s.twins {
			if err := f.takeTwins(t.Context(), r, w, twins); err != nil {
				t.Fatalf("%s, %s: %v", kind, what, err)
			}
		}
		if s.unread > 0 {
			if _, err := f.settle(t.Context(), r, w, s); err != nil {
				t.Fatalf("%s, %s: %v", kind, what, err)
			}
		}
		if err := w.Commit(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		return s
	}
	sweep(sound)
	before := make(map[plugin.Key]string)
	for _, o := range out.All() {
		before[o.Key] = fmt.Sprintf("%s %s %s %v %s", o.Name, o.Status, o.Project, o.Labels, o.Document)
	}
	was, err := kind.Read(sound[at], r.in)
	if err != nil {
		t.Fatal(err)
	}
	s := sweep(odd)
	for key, text := range before {
		o, there := out.Get(key.UID)
		switch {
		case key == was.Key && s.unread == 0:
			// It may be another asset now.
		case !there:
			t.Errorf("%s, %s: %s was deleted", kind, what, key.UID)
		case key != was.Key && fmt.Sprintf("%s %s %s %v %s", o.Name, o.Status, o.Project, o.Labels, o.Document) != text:
			t.Errorf("%s, %s: %s has changed", kind, what, key.UID)
		}
	}
}

// TestKinds: what is known of kinds fits together.
func TestKinds(t *testing.T) {
	for _, k := range kinds.All() {
		if k.Copied && k.ItemPath == "" || k.Hidden != "" && !strings.Contains(k.Hidden, "=") || k.DomainQuery && !k.ByDomain || k.Mine &&
			(k.ByRole || k.OfUser) {
			t.Errorf("%s: %+v", k, k)
		}
	}
	for api := range answers {
		if !slices.ContainsFunc(cloud.APIs, func(a cloud.API) bool { return a.Name == api }) {
			t.Errorf("there is no %s", api)
		}
	}
}
