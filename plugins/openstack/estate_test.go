package openstack

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/pkg/plugin/plugintest"
)

// object is one in JSON.
type object = map[string]any

// answer is what a service says.
type answer struct {
	status int
	body   any // a string is sent as it is
}

// estate is a cloud of any services, each of which answers what a test wants.
type estate struct {
	t   *testing.T
	url string

	mu sync.Mutex
	// scope is what the token is of: "project p1", "domain d1", "system".
	scope string
	roles []string
	user  string
	token int
	// catalog has the paths of endpoints by service type; {region} stands for one of
	// the regions.
	catalog map[string]string
	regions []string
	// answers are what is said, by path. One that has a "?" is for requests with that
	// query beside others.
	answers map[string]func() answer
	asked   []string
	// envelope is the member of which further pages are empty where the answer is a text.
	envelope string
}

func newEstate(t *testing.T) *estate {
	e := &estate{
		t: t, scope: "project p1", roles: []string{"admin"}, user: "u1", token: 1, regions: []string{"west"},
		catalog: map[string]string{"identity": "/v3"}, answers: make(map[string]func() answer),
	}
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	e.url = server.URL
	return e
}

func (e *estate) set(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f()
}

// on has a path answered.
func (e *estate) on(path string, status int, body any) {
	e.set(func() { e.answers[path] = func() answer { return answer{status, body} } })
}

func (e *estate) requests() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.asked)
}

func (e *estate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r.URL.Path == "/v3/auth/tokens" {
		e.login(w)
		return
	}
	e.asked = append(e.asked, r.URL.RequestURI())
	if r.Header.Get("X-Auth-Token") != fmt.Sprintf("token-%d", e.token) {
		reply(w, 401, object{"error": object{"code": 401, "message": "no such token"}})
		return
	}
	given := e.answers[r.URL.Path]
	for path, a := range e.answers {
		name, text, ok := strings.Cut(path, "?")
		if !ok || name != r.URL.Path {
			continue
		}
		want, _ := url.ParseQuery(text)
		fits := true
		for k := range want {
			fits = fits && r.URL.Query().Get(k) == want.Get(k)
		}
		if fits {
			given = a
		}
	}
	if given == nil {
		reply(w, 404, object{"itemNotFound": object{"code": 404, "message": "no " + r.URL.Path}})
		return
	}
	a := given()
	if marker := r.URL.Query().Get("marker"); marker != "" && a.status == 200 {
		// What is there is in one page.
		if _, text := a.body.(string); text {
			a.body = object{e.envelope: []object{}}
		}
		for k, v := range a.body.(object) {
			if _, ok := v.([]object); ok {
				a.body = object{k: []object{}}
			}
		}
	}
	if text, ok := a.body.(string); ok {
		w.WriteHeader(a.status)
		_, _ = w.Write([]byte(text))
		return
	}
	reply(w, a.status, a.body)
}

func (e *estate) login(w http.ResponseWriter) {
	var roles, catalog []object
	for _, r := range e.roles {
		roles = append(roles, object{"id": r, "name": r})
	}
	for typ, path := range e.catalog {
		var endpoints []object
		for _, region := range e.regions {
			endpoints = append(endpoints, object{"interface": "public", "region": region, "region_id": region,
				"url": e.url + strings.ReplaceAll(path, "{region}", region)})
		}
		catalog = append(catalog, object{"id": typ + "-1", "type": typ, "endpoints": endpoints})
	}
	body := object{
		"expires_at": "2126-01-01T00:00:00.000000Z", "roles": roles, "catalog": catalog,
		"user": object{"id": e.user, "name": e.user, "domain": object{"id": "default"}},
	}
	switch what, id, _ := strings.Cut(e.scope, " "); what {
	case "project":
		body["project"] = object{"id": id, "name": id, "domain": object{"id": "default"}}
	case "domain":
		body["domain"] = object{"id": id, "name": id}
	case "system":
		body["system"] = object{"all": true}
	}
	w.Header().Set("X-Subject-Token", fmt.Sprintf("token-%d", e.token))
	reply(w, 201, object{"token": body})
}

// become exchanges the credential.
func (e *estate) become(scope string, roles ...string) {
	e.set(func() { e.scope, e.roles, e.token = scope, roles, e.token+1 })
}

// collector returns one that collects some kinds.
func (e *estate) collector(include ...string) *collector {
	e.t.Helper()
	file := filepath.Join(e.t.TempDir(), "clouds.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, cloudsYAML, e.url), 0o600); err != nil {
		e.t.Fatal(err)
	}
	options, err := json.Marshal(object{"clouds_file": file, "cloud": "test", "include": include, "poll_every": "1s"})
	if err != nil {
		e.t.Fatal(err)
	}
	made, err := Plugin.New(plugin.Config{Name: "test", Options: options, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		e.t.Fatal(err)
	}
	return made.(*collector)
}

// sinks are those of the scopes of one collector, as an agent has them.
type sinks struct {
	t   *testing.T
	all map[string]*plugintest.Sink
}

func newSinks(t *testing.T) *sinks { return &sinks{t: t, all: make(map[string]*plugintest.Sink)} }

func (s *sinks) of(scope string) *plugintest.Sink {
	if s.all[scope] == nil {
		s.all[scope] = plugintest.NewSink(s.t)
	}
	return s.all[scope]
}

// sweep finds out what there is to list, and sweeps all of it. It returns the
// scopes' names and what went wrong.
func (s *sinks) sweep(c *collector) (names []string, errs map[string]error) {
	s.t.Helper()
	errs = make(map[string]error)
	for _, sc := range scopes(s.t, c) {
		names = append(names, sc.Name)
		if err := c.Sweep(s.t.Context(), sc, s.of(sc.Name)); err != nil {
			errs[sc.Name] = err
		}
	}
	return names, errs
}

// state says what is there and what was deleted in all scopes.
func (s *sinks) state() string {
	var parts []string
	for name, sink := range s.all {
		if sink.UIDs() != "" || sink.Deleted() != "" {
			parts = append(parts, strings.TrimSpace(name+": "+sink.UIDs()+" deleted "+sink.Deleted()))
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, "; ")
}

// told are the events of listings of one scope.
func (s *sinks) told(scope string) (types []string) {
	for _, e := range s.of(scope).Events() {
		if what, ok := strings.CutPrefix(e.Type, eventPrefix+"listing."); ok {
			types = append(types, what)
		}
	}
	return types
}

// things makes elements of ids, with members beside.
func things(more object, ids ...string) []object {
	list := []object{}
	for _, id := range ids {
		o := object{"id": id, "name": "name-" + id}
		maps.Copy(o, more)
		list = append(list, o)
	}
	return list
}

func writeFile(name, text string) error { return os.WriteFile(name, []byte(text), 0o600) }
