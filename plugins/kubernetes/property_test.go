package kubernetes

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/pkg/plugin/plugintest"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/cluster"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/object"
)

// recordedKinds are the kinds of objects in layouts/testdata, which the lab's API
// server, and the controllers that clusters have besides, answered with.
func recordedKinds(t *testing.T) map[object.Kind][]json.RawMessage {
	t.Helper()
	files, err := filepath.Glob("layouts/testdata/*.json")
	if err != nil || len(files) < 50 {
		t.Fatal(len(files), err)
	}
	kinds := make(map[object.Kind][]json.RawMessage)
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var list []map[string]json.RawMessage
		if err := json.Unmarshal(raw, &list); err != nil {
			t.Fatal(file, err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		if name == "cluster.Cluster" { // which is not listed
			continue
		}
		dot := strings.LastIndexByte(name, '.')
		k := object.Kind{Kind: name[dot+1:], Version: "v1", Namespaced: true}
		if dot > 0 && name[:dot] != "core" {
			k.Group = name[:dot]
		}
		if k.Resource = strings.ToLower(k.Kind); !strings.HasSuffix(k.Resource, "s") {
			k.Resource += "s"
		}
		if stem, ok := strings.CutSuffix(k.Resource, "ys"); ok && !strings.HasSuffix(stem, "wa") {
			k.Resource = stem + "ies"
		}
		var elements []json.RawMessage
		for _, members := range list {
			delete(members, "derived") // the collector's own
			element, err := json.Marshal(members)
			if err != nil {
				t.Fatal(err)
			}
			elements = append(elements, element)
		}
		kinds[k] = elements
	}
	return kinds
}

// one is an API server that lists what one kind has.
type one struct {
	script
	resource string
	page     []byte
}

func (s *one) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/"+s.resource) {
		_, _ = w.Write(s.page)
		return
	}
	s.script.ServeHTTP(w, r)
}

// TestOneOddElement: of the recorded answers each member, at any depth, odd in every
// way, one at a time, fails no listing, changes no other asset, and deletes nothing
// that is still listed.
func TestOneOddElement(t *testing.T) {
	for kind, list := range recordedKinds(t) {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			s := &one{script: script{t: t}, resource: kind.Resource}
			c, _ := begin(t, s, options{})
			c.mu.Lock()
			c.served[kind.String()] = cluster.Served{Kind: kind, Watch: true}
			c.mu.Unlock()
			read := make(map[string]bool)
			for _, sound := range list {
				before := sweepBeside(t, c, s, kind, sound, plugintest.NewSink(t))
				plugintest.Odd(t, sound, func(what string, odd []byte) {
					if !read[what] {
						read[what] = true
						oddSweep(t, c, s, kind, what, before, sound, odd)
					}
				})
			}
			t.Logf("%d lists were read", len(read))
		})
	}
}

// sweepBeside sweeps a kind that has an element between two others, and returns what is
// there then.
func sweepBeside(t *testing.T, c *collector, s *one, kind object.Kind, element []byte, out *plugintest.Sink) []plugin.Observation {
	t.Helper()
	beside := `{"metadata":{"name":%q,"namespace":"beside","creationTimestamp":"2026-01-01T00:00:00Z"}}`
	s.page = fmt.Appendf(nil, `{"metadata":{"resourceVersion":"7"},"items":[`+beside+`,%s,`+beside+`]}`, "a", element, "z")
	if err := c.Sweep(t.Context(), plugin.Scope{Name: kind.String()}, out); err != nil {
		t.Fatalf("%.80s: %v", element, err)
	}
	return out.All()
}

// oddSweep sweeps a kind of which one element is odd, and was not before.
func oddSweep(t *testing.T, c *collector, s *one, kind object.Kind, what string, before []plugin.Observation, sound, odd []byte) {
	t.Helper()
	out := plugintest.NewTolerantSink(t)
	for _, b := range before {
		if err := out.Apply(t.Context(), "", plugin.Fact{Upsert: &b}); err != nil {
			t.Fatal(err)
		}
	}
	sweepBeside(t, c, s, kind, odd, out)
	was, err := object.Read(kind, sound)
	if err != nil {
		t.Fatal(err)
	}
	key := c.observer.names.Of(was)
	is, unread := object.Read(kind, odd)
	for _, b := range before {
		now, there := out.Get(b.UID)
		switch {
		case b.Key == key && unread == nil && c.observer.names.Of(is) != key:
			// It is another asset now.
		case !there:
			t.Errorf("%s: %s was deleted", what, b.UID)
		case b.Key != key && !same(b, now):
			t.Errorf("%s: %s has changed", what, b.UID)
		}
	}
}

// same reports whether two observations say the same.
func same(a, b plugin.Observation) bool {
	text := func(o plugin.Observation) string {
		return fmt.Sprint(o.Key, o.Name, o.Status, o.Project, o.Labels, o.Relations, string(o.Document))
	}
	return text(a) == text(b)
}
