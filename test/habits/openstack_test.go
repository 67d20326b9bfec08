package habits

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/openstack"
	"github.com/reeve-cloud/reeve/plugins/openstack/kinds"
)

// object is one in JSON.
type object = map[string]any

// stack is a cloud with healthy listings and a bad one.
type stack struct {
	counter
	url string
	// odd is the path of the bad listing, as its service has it.
	odd string
	bad func(w http.ResponseWriter, r *http.Request)

	changes sync.Mutex
	changed bool
}

// listed are the healthy kinds of which changes are asked for every few seconds.
func listed() (list []*kinds.Kind) {
	for name := range strings.FieldsSeq(`network/networks network/subnets network/subnetpools network/ports network/routers network/floatingips
		network/security-groups`) {
		list = append(list, kinds.Find(name))
	}
	return list
}

// others are healthy kinds that are swept, every now and then.
func others() (list []*kinds.Kind) {
	for name := range strings.FieldsSeq(`network/address-scopes network/agents network/qos-policies network/rbac-policies network/segments
		storage/snapshots storage/backups storage/groups storage/types image/images
		compute/aggregates storage/transfers identity/regions identity/domains identity/roles`) {
		if kind := kinds.Find(name); kind != nil {
			list = append(list, kind)
		}
	}
	return list
}

func (s *stack) scopes() []string { return scopesOf(slices.Concat(listed(), others())) }

func (s *stack) followed() []string { return scopesOf(listed()) }

func scopesOf(list []*kinds.Kind) (names []string) {
	for _, kind := range list {
		name := kind.String()
		if !kind.API.Global {
			name = "west/" + name
		}
		names = append(names, name)
	}
	return names
}

func (s *stack) change() {
	s.changes.Lock()
	defer s.changes.Unlock()
	s.changed = true
}

func (s *stack) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	reply := func(status int, body any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	}
	_, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case r.URL.Path == "/v3/auth/tokens":
		var catalog []object
		for typ, at := range map[string]string{"identity": "/v3", "network": "/network", "block-storage": "/storage/v3", "image": "/image/v2",
			"compute": "/compute/v2.1"} {
			catalog = append(catalog, object{"id": typ, "type": typ, "endpoints": []object{{"interface": "public", "region": "west",
				"region_id": "west", "url": s.url + at}}})
		}
		w.Header().Set("X-Subject-Token", "token")
		reply(201, object{"token": object{
			"expires_at": "2126-01-01T00:00:00.000000Z", "roles": []object{{"id": "admin", "name": "admin"}}, "catalog": catalog,
			"user":    object{"id": "u1", "name": "u1", "domain": object{"id": "default"}},
			"project": object{"id": "p1", "name": "p1", "domain": object{"id": "default"}},
		}})
		return
	case strings.HasSuffix(r.URL.Path, s.odd):
		s.add()
		s.bad(w, r)
		return
	}
	for _, kind := range slices.Concat(listed(), others()) {
		if !strings.HasSuffix("/"+path, "/"+kind.Path) {
			continue
		}
		n := 3
		s.changes.Lock()
		if s.changed {
			n++
		}
		s.changes.Unlock()
		list := []object{}
		for i := range n {
			list = append(list, object{"id": fmt.Sprintf("%s-%d", kind.Name, i), "name": fmt.Sprint(i), "project_id": "p1",
				"updated_at": time.Now().UTC().Format("2006-01-02T15:04:05Z")})
		}
		if q := r.URL.Query(); q.Get("marker") != "" || q.Get("offset") != "" {
			list = []object{}
		}
		reply(200, object{kind.Envelope: list})
		return
	}
	switch path {
	case "v2.0/quotas":
		reply(200, object{"quotas": []object{}})
	case "v2.0/extensions":
		reply(200, object{"extensions": []object{}})
	default:
		reply(404, object{"itemNotFound": object{"code": 404, "message": "no " + r.URL.Path}})
	}
}

// pages are habits of OpenStack's lists.
func pages() []habit {
	trunks := func(w http.ResponseWriter, more object, ids ...string) {
		list := []object{}
		for _, id := range ids {
			list = append(list, object{"id": id, "name": id})
		}
		body := object{"trunks": list}
		maps.Copy(body, more)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(body)
	}
	next := func(r *http.Request, marker string) object {
		return object{"trunks_links": []object{{"rel": "next", "href": "http://" + r.Host + r.URL.Path + "?marker=" + marker}}}
	}
	return []habit{
		{"parameters are ignored", func(w http.ResponseWriter, r *http.Request) { trunks(w, next(r, "b"), "a", "b") }},
		{"pages in a circle", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("marker") == "b" {
				trunks(w, next(r, "d"), "c", "d")
				return
			}
			trunks(w, next(r, "b"), "a", "b")
		}},
		{"empty pages for ever", func(w http.ResponseWriter, r *http.Request) { trunks(w, next(r, r.URL.Query().Get("marker")+"x")) }},
		{"one page for ever", func(w http.ResponseWriter, r *http.Request) {
			trunks(w, next(r, r.URL.Query().Get("marker")+"x"), "a", "b")
		}},
		{"another form", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"trunks": {"a": {"id": "a"}}}`) }},
		{"a list of nothing", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"trunks": [null, 7, "x", {}]}`) }},
		{"an error as 200", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"NeutronError": {"type": "PolicyError", "message": "no", "detail": ""}}`)
		}},
		{"413 at once again", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(413)
			fmt.Fprint(w, `{"overLimit": {"code": 413, "message": "slow down", "retryAfter": "0"}}`)
		}},
		{"409", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(409) }},
		{"300", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(300) }},
	}
}

func TestOpenStack(t *testing.T) {
	long(t)
	t.Parallel() // beside the other: both mostly wait
	var all sync.WaitGroup
	defer all.Wait()
	for _, h := range append(common(), pages()...) {
		run := func(t *testing.T) {
			s := &stack{odd: "/v2.0/trunks", bad: h.answer}
			server := httptest.NewServer(s)
			t.Cleanup(func() {
				server.CloseClientConnections()
				server.Close()
			})
			s.url = server.URL
			file := filepath.Join(t.TempDir(), "clouds.yaml")
			if err := os.WriteFile(file, fmt.Appendf(nil, `clouds:
  test:
    auth: {auth_url: %s/v3, username: u1, password: secret, project_name: p1, user_domain_name: Default, project_domain_name: Default}
`, server.URL), 0o600); err != nil {
				t.Fatal(err)
			}
			include := []string{"network/trunks"}
			for _, kind := range slices.Concat(listed(), others()) {
				include = append(include, kind.String())
			}
			options, err := json.Marshal(object{"clouds_file": file, "cloud": "test", "include": include})
			if err != nil {
				t.Fatal(err)
			}
			c, err := openstack.Plugin.New(plugin.Config{Name: "first", Options: options, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			hold(t, s, openstack.Plugin.Describe(), c)
		}
		all.Go(func() { t.Run(h.name, run) })
	}
}
