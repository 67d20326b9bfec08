package openstack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/pkg/plugin/plugintest"
	"github.com/reeve-cloud/reeve/plugins/openstack/cloud"
)

// script is a cloud of one service, Nova, and the identity service before it, that
// does what a healthy one does not on demand.
type script struct {
	t   *testing.T
	url string

	mu      sync.Mutex
	roles   []string
	tokens  int // the token that is valid now is token-N
	logins  int
	servers []map[string]any
	ended   []map[string]any // deleted, which changes-since has too
	page    int              // elements in a page
	asked   []string         // the requests to Nova
	// before, if set, may answer a request itself.
	before func(w http.ResponseWriter, r *http.Request) bool
}

func newScript(t *testing.T) *script {
	t.Helper()
	s := &script{t: t, roles: []string{"admin"}, tokens: 1, page: 1000}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func server(id string) map[string]any {
	return map[string]any{
		"id": id, "name": "name-" + id, "status": "ACTIVE", "tenant_id": "p1", "user_id": "u1",
		"created": "2026-11-25T10:00:00Z", "updated": "2026-11-25T10:00:00Z",
		"OS-EXT-STS:vm_state": "active", "OS-EXT-STS:power_state": 1,
		"flavor": map[string]any{"original_name": "small", "vcpus": 1, "ram": 512, "disk": 1},
	}
}

func (s *script) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// fill makes n servers, s000 and on.
func (s *script) fill(n int) {
	s.set(func() {
		for i := range n {
			s.servers = append(s.servers, server(fmt.Sprintf("s%03d", i)))
		}
	})
}

func (s *script) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.URL.Path == "/v3/auth/tokens" {
		s.login(w)
		return
	}
	if strings.HasPrefix(r.URL.Path, "/v3") {
		reply(w, 404, map[string]any{"error": map[string]any{"message": "not here"}})
		return
	}
	if r.URL.Path == "/nova/v2.1/" {
		reply(w, 200, map[string]any{"version": map[string]any{"id": "v2.1", "version": "2.93", "min_version": "2.1"}})
		return
	}
	s.asked = append(s.asked, r.URL.RequestURI())
	if s.before != nil && s.before(w, r) {
		return
	}
	if r.Header.Get("X-Auth-Token") != fmt.Sprintf("token-%d", s.tokens) {
		reply(w, 401, map[string]any{"error": map[string]any{"message": "The request you have made requires authentication."}})
		return
	}
	s.nova(w, r)
}

func (s *script) login(w http.ResponseWriter) {
	s.logins++
	var roles []map[string]string
	for _, r := range s.roles {
		roles = append(roles, map[string]string{"id": r, "name": r})
	}
	endpoint := func(path string) []map[string]string {
		return []map[string]string{{"id": path, "interface": "public", "region": "west", "region_id": "west", "url": s.url + path}}
	}
	w.Header().Set("X-Subject-Token", fmt.Sprintf("token-%d", s.tokens))
	reply(w, 201, map[string]any{"token": map[string]any{
		"expires_at": "2126-01-01T00:00:00.000000Z",
		"user":       map[string]any{"id": "u1", "name": "reeve", "domain": map[string]string{"id": "default", "name": "Default"}},
		"project":    map[string]any{"id": "p1", "name": "ops", "domain": map[string]string{"id": "default", "name": "Default"}},
		"roles":      roles,
		"catalog": []map[string]any{
			{"id": "cloud-1", "type": "identity", "name": "keystone", "endpoints": endpoint("/v3")},
			{"id": "nova-1", "type": "compute", "name": "nova", "endpoints": endpoint("/nova/v2.1")},
		},
	}})
}

func (s *script) nova(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("all_tenants") != "" && !slices.Contains(s.roles, "admin") {
		reply(w, 403, map[string]any{"forbidden": map[string]any{"code": 403,
			"message": "Policy doesn't allow os_compute_api:servers:detail:get_all_tenants to be performed."}})
		return
	}
	switch path := strings.TrimPrefix(r.URL.Path, "/nova/v2.1/"); {
	case path == "servers" || path == "servers/detail":
		list := s.servers
		if since := q.Get("changes-since"); since != "" {
			list = slices.DeleteFunc(slices.Concat(s.servers, s.ended), func(o map[string]any) bool { return o["updated"].(string) < since })
		}
		start := 0
		if marker := q.Get("marker"); marker != "" {
			start = -1
			for i, o := range list {
				if o["id"] == marker {
					start = i + 1
				}
			}
			if start < 0 {
				reply(w, 400, map[string]any{"badRequest": map[string]any{"code": 400, "message": "marker [" + marker + "] not found"}})
				return
			}
		}
		end := min(len(list), start+s.page)
		body := map[string]any{"servers": append([]map[string]any{}, list[start:end]...)}
		if end < len(list) {
			q.Set("marker", list[end-1]["id"].(string))
			body["servers_links"] = []map[string]string{{"rel": "next", "href": "http://internal.invalid/nova/v2.1/servers/detail?" + q.Encode()}}
		}
		reply(w, 200, body)
	case strings.HasSuffix(path, "/os-instance-actions"):
		reply(w, 200, map[string]any{"instanceActions": []map[string]any{{
			"action": "create", "request_id": "req-1", "start_time": "2026-11-25T10:00:00.000000", "user_id": "u1", "project_id": "p1",
		}}})
	default:
		reply(w, 404, map[string]any{"itemNotFound": map[string]any{"code": 404, "message": "no " + path}})
	}
}

func reply(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text)
}

const cloudsYAML = `clouds:
  test:
    auth: {auth_url: %s/v3, username: reeve, password: secret, project_name: ops, user_domain_name: Default, project_domain_name: Default}
`

// collector returns one that collects the servers.
func (s *script) collector(more string) *collector {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "clouds.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, cloudsYAML, s.url), 0o600); err != nil {
		s.t.Fatal(err)
	}
	options := fmt.Sprintf(`{"clouds_file":%q,"cloud":"test","include":["compute/servers"],"poll_every":"1s"%s}`, file, more)
	made, err := Plugin.New(plugin.Config{Name: "test", Options: json.RawMessage(options), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		s.t.Fatal(err)
	}
	return made.(*collector)
}

// scope runs Scopes until it has published, and returns the one scope.
func scope(t *testing.T, c *collector) plugin.Scope {
	t.Helper()
	list := scopes(t, c)
	if len(list) != 1 {
		t.Fatalf("the scopes are %+v, want one", list)
	}
	return list[0]
}

func scopes(t *testing.T, c *collector) []plugin.Scope {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var list []plugin.Scope
	err := c.Scopes(ctx, func(s []plugin.Scope) { list = s; cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	return list
}

// watched runs Watch until the test ends, or stop is called.
func watched(t *testing.T, c *collector, s plugin.Scope, out *plugintest.Sink) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Watch(ctx, s, out.Checkpoint(), out) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = stop() })
	return stop
}

func TestSweepAndPoll(t *testing.T) {
	s := newScript(t)
	s.fill(5)
	s.page = 2
	c, out := s.collector(""), plugintest.NewSink(t)
	sc := scope(t, c)
	if sc.Name != "west/compute/servers" || !sc.Watch {
		t.Errorf("the scope is %+v", sc)
	}
	if err := c.Sweep(t.Context(), sc, out); err != nil {
		t.Fatal(err)
	}
	if got := out.UIDs(); got != "s000 s001 s002 s003 s004" {
		t.Errorf("the servers are %q", got)
	}
	watched(t, c, sc, out)
	now := func() string { return time.Now().UTC().Format("2006-01-02T15:04:05Z") }
	s.set(func() {
		changed := server("s001")
		changed["status"], changed["updated"], changed["OS-EXT-STS:power_state"] = "SHUTOFF", now(), 4
		s.servers[1] = changed
		gone := server("s003")
		gone["status"], gone["updated"], gone["OS-SRV-USG:terminated_at"] = "DELETED", now(), now()
		s.servers = slices.Delete(s.servers, 3, 4)
		brief := server("brief")
		brief["status"], brief["updated"] = "DELETED", now()
		s.ended = append(s.ended, gone, brief)
		made := server("s005")
		made["updated"] = now()
		s.servers = append(s.servers, made)
	})
	out.WaitUIDs("s000 s001 s002 s004 s005")
	// One that came and went between two polls has a history too.
	out.Wait("deletions", func() error {
		if got := out.Deleted(); got != "s003 brief" {
			return fmt.Errorf("deleted is %q", got)
		}
		return nil
	})
	if o, _ := out.Get("s001"); o.Status != "SHUTOFF" {
		t.Errorf("the status is %q", o.Status)
	}
	var types []string
	for _, e := range out.Events() {
		types = append(types, strings.TrimPrefix(e.Type, eventPrefix)+" "+e.Subject.UID)
	}
	for _, want := range []string{"server.power s001", "server.create s005", "server.create s003"} {
		if !slices.Contains(types, want) {
			t.Errorf("the events are %q, without %q", types, want)
		}
	}
	// The next polls tell of the same again, and nothing is deleted twice.
	checkpoint := out.Checkpoint()
	out.Wait("polls", func() error {
		if out.Checkpoint() == checkpoint {
			return errors.New("none")
		}
		return nil
	})
	if got := out.Deleted(); got != "s003 brief" {
		t.Errorf("deleted is %q", got)
	}
}

// TestSweepAsksHowServersEnded: a list that servers are missing from does not say
// when and how they ended, but the service does, to who asks.
func TestSweepAsksHowServersEnded(t *testing.T) {
	s := newScript(t)
	s.fill(4)
	c, out := s.collector(""), plugintest.NewSink(t)
	sc := scope(t, c)
	sweep := func() (asked []string) {
		t.Helper()
		before := len(s.requests())
		if err := c.Sweep(t.Context(), sc, out); err != nil {
			t.Fatal(err)
		}
		for _, uri := range s.requests()[before:] {
			if strings.Contains(uri, "deleted=true") {
				asked = append(asked, uri)
			}
		}
		return asked
	}
	if asked := append(sweep(), sweep()...); len(asked) != 0 {
		t.Errorf("nothing is missing, and the sweeps asked %q", asked)
	}
	now := time.Now().UTC().Format("2006-01-02T15:04:05Z")
	s.set(func() {
		gone := server("s001")
		gone["status"], gone["updated"], gone["OS-SRV-USG:terminated_at"] = "DELETED", now, now
		// One that nobody knew is the poll's to tell of.
		brief := server("brief")
		brief["status"], brief["updated"] = "DELETED", now
		s.servers = slices.Delete(s.servers, 1, 3) // s002 leaves no trace
		s.ended = append(s.ended, gone, brief)
	})
	if asked := sweep(); len(asked) != 2 || !strings.Contains(asked[0], "changes-since=") || !strings.Contains(asked[0], "all_tenants=1") {
		t.Errorf("two are missing, and the sweep asked %q, want two pages", asked)
	}
	if got := out.Deleted(); got != "s001 s002" {
		t.Errorf("deleted is %q", got)
	}
	if o, _ := out.Last("s001"); o.Status != "DELETED" || !strings.Contains(string(o.Document), now) {
		t.Errorf("the last version is %s %s", o.Status, o.Document)
	}
	told := slices.ContainsFunc(out.Events(), func(e plugin.Event) bool {
		return e.Type == eventPrefix+"server.create" && e.Subject.UID == "s001"
	})
	if !told {
		t.Errorf("the events are %+v, without the actions of s001", out.Events())
	}
	if asked := sweep(); len(asked) != 0 {
		t.Errorf("nothing more is missing, and the sweep asked %q", asked)
	}
	// The poll that follows tells of the same ends.
	watched(t, c, sc, out)
	out.Wait("the poll", func() error {
		if got := out.Deleted(); got != "s001 s002 brief" {
			return fmt.Errorf("deleted is %q", got)
		}
		return nil
	})
}

// TestFaults: whatever goes wrong while a list is read, nothing is deleted, and
// what can be mended by asking again is.
func TestFaults(t *testing.T) {
	marker := func(r *http.Request) string { return r.URL.Query().Get("marker") }
	for name, test := range map[string]struct {
		fault func(s *script) func(w http.ResponseWriter, r *http.Request) bool
		// fails is a part of the error, or empty.
		fails string
		is    error
		// source says that the error is one of the service.
		source bool
	}{
		"forbidden": {fault: func(s *script) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				reply(w, 403, map[string]any{"forbidden": map[string]any{"message": "Policy doesn't allow this"}})
				return true
			}
		}, fails: "Policy doesn't allow this", is: cloud.ErrForbidden},
		"down": {fault: func(s *script) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				reply(w, 503, map[string]any{"message": "no healthy upstream"})
				return true
			}
		}, fails: "no healthy upstream", is: cloud.ErrUnavailable, source: true},
		"bursts of 429 and 500": {fault: func(s *script) func(http.ResponseWriter, *http.Request) bool {
			n := 0
			return func(w http.ResponseWriter, r *http.Request) bool {
				n++
				switch n % 4 {
				case 1:
					w.Header().Set("Retry-After", "0")
					reply(w, 429, map[string]any{"overLimit": map[string]any{"message": "slow down"}})
				case 2:
					reply(w, 500, map[string]any{"computeFault": map[string]any{"message": "oops"}})
				default:
					return false
				}
				return true
			}
		}},
		"cut in the middle of a page, once": {fault: func(s *script) func(http.ResponseWriter, *http.Request) bool {
			cut := false
			return func(w http.ResponseWriter, r *http.Request) bool {
				if cut || marker(r) == "" {
					return false
				}
				cut = true
				breakOff(w)
				return true
			}
		}},
		"cut in the middle of a page, always": {fault: func(s *script) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if marker(r) == "" {
					return false
				}
				breakOff(w)
				return true
			}
		}, fails: "broke off"},
		"an answer that is no list": {fault: func(s *script) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				reply(w, 200, map[string]any{"maintenance": true})
				return true
			}
		}, fails: "there is no servers in it"},
		"an answer that is no JSON": {fault: func(s *script) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				_, _ = io.WriteString(w, "<html>welcome to the proxy</html>")
				return true
			}
		}, fails: "not what a list is"},
		"the marker was deleted": {fault: func(s *script) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if m := marker(r); m == "s003" && len(s.servers) == 6 {
					s.servers = slices.Delete(s.servers, 3, 4)
				}
				return false
			}
		}},
		// As Nova does while a server is being made.
		"a page too small and without a link": {fault: func(s *script) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if marker(r) == "" {
					reply(w, 200, map[string]any{"servers": s.servers[:1]})
				}
				return marker(r) == ""
			}
		}},
		"the token is revoked": {fault: func(s *script) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if marker(r) == "s003" && s.tokens == 1 {
					s.tokens = 2
				}
				return false
			}
		}},
		"the role is taken away": {fault: func(s *script) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if marker(r) == "s003" && s.tokens == 1 {
					s.tokens, s.roles = 2, []string{"member"}
				}
				return false
			}
		}, fails: "Policy doesn't allow", is: cloud.ErrForbidden},
		"the role is exchanged": {fault: func(s *script) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if marker(r) == "s003" && s.tokens == 1 {
					s.tokens, s.roles = 2, []string{"admin", "member"}
				}
				return false
			}
		}, fails: "the roles were", is: cloud.ErrChanged},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScript(t)
			s.fill(6)
			s.page = 2
			c, out := s.collector(""), plugintest.NewSink(t)
			sc := scope(t, c)
			if err := c.Sweep(t.Context(), sc, out); err != nil {
				t.Fatal(err)
			}
			s.set(func() { s.before = test.fault(s) })
			err := c.Sweep(t.Context(), sc, out)
			if test.fails == "" {
				if err != nil {
					t.Fatal(err)
				}
				if out.Sweeps() != 2 {
					t.Errorf("%d sweeps were committed, want 2", out.Sweeps())
				}
			} else {
				if err == nil || !strings.Contains(err.Error(), test.fails) {
					t.Fatalf("the error is %v, want one with %q", err, test.fails)
				}
				if test.is != nil && !errors.Is(err, test.is) {
					t.Errorf("the error %v is not %v", err, test.is)
				}
				var source *plugin.SourceError
				if errors.As(err, &source) != test.source {
					t.Errorf("the error %#v is of a source: %v, want %v", err, !test.source, test.source)
				}
				if out.Deleted() != "" || out.Sweeps() != 1 {
					t.Errorf("deleted %q, %d sweeps", out.Deleted(), out.Sweeps())
				}
			}
			want := "s000 s001 s002 s003 s004 s005"
			if name == "the marker was deleted" {
				// It was listed before it was deleted: the next sweep misses it.
				s.set(func() { s.before = nil })
				if err := c.Sweep(t.Context(), sc, out); err != nil {
					t.Fatal(err)
				}
				want = "s000 s001 s002 s004 s005"
			}
			if got := out.UIDs(); got != want {
				t.Errorf("the servers are %q, want %q", got, want)
			}
		})
	}
}

func breakOff(w http.ResponseWriter) {
	w.Header().Set("Content-Length", strconv.Itoa(10_000))
	_, _ = io.WriteString(w, `{"servers": [{"id": "s004", "name": "half`)
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

// TestView: what a credential sees is a part of the scope's name, and losing
// sight of something does not delete it.
func TestView(t *testing.T) {
	s := newScript(t)
	s.fill(2)
	c, out := s.collector(""), plugintest.NewSink(t)
	all := scope(t, c)
	if err := c.Sweep(t.Context(), all, out); err != nil {
		t.Fatal(err)
	}
	s.set(func() { s.roles, s.tokens = []string{"member"}, 2 })
	if mine := scope(t, c); mine.Name != "west/compute/servers@p1" {
		t.Errorf("the scope is %q", mine.Name)
	}
	err := c.Sweep(t.Context(), all, out)
	if err == nil || !strings.Contains(err.Error(), "name it in exclude") {
		t.Errorf("the error is %v", err)
	}
	if out.Deleted() != "" {
		t.Errorf("deleted %q", out.Deleted())
	}
	// What the user leaves out is deleted.
	c = s.collector(`,"exclude":["Server"],"include":["compute/*"]`)
	if err := c.Sweep(t.Context(), all, out); err != nil {
		t.Fatal(err)
	}
	if out.Deleted() != "s000 s001" {
		t.Errorf("deleted %q", out.Deleted())
	}
}

// TestCellDown: servers of which Nova knows no more than that they exist stay as
// they were.
func TestCellDown(t *testing.T) {
	s := newScript(t)
	s.fill(2)
	c, out := s.collector(""), plugintest.NewSink(t)
	sc := scope(t, c)
	if err := c.Sweep(t.Context(), sc, out); err != nil {
		t.Fatal(err)
	}
	s.set(func() {
		s.servers[0] = map[string]any{"id": "s000", "status": "UNKNOWN", "tenant_id": "p1", "created": "2026-11-25T10:00:00Z"}
	})
	if err := c.Sweep(t.Context(), sc, out); err != nil {
		t.Fatal(err)
	}
	if o, _ := out.Get("s000"); o.Status != "ACTIVE" || out.Deleted() != "" {
		t.Errorf("the server is %+v; deleted %q", o, out.Deleted())
	}
}

func TestRequests(t *testing.T) {
	s := newScript(t)
	s.fill(3)
	c, out := s.collector(""), plugintest.NewSink(t)
	sc := scope(t, c)
	if err := c.Sweep(t.Context(), sc, out); err != nil {
		t.Fatal(err)
	}
	asked := s.requests()
	for i, want := range []string{"all_tenants=1&limit=1000", "all_tenants=1&limit=1000&marker=s002"} {
		u, err := url.Parse(asked[len(asked)-2+i])
		if err != nil {
			t.Fatal(err)
		}
		if got := u.Path + " " + u.Query().Encode(); got != "/nova/v2.1/servers/detail "+want {
			t.Errorf("the request is %q, want %q", got, want)
		}
	}
}

// TestFirstLookAsksForNoActions: what was done before the cloud was first looked at
// is no news, however lately; what is done afterwards is.
func TestFirstLookAsksForNoActions(t *testing.T) {
	s := newScript(t)
	s.fill(20)
	stamp := func(o map[string]any, at time.Time) { o["updated"] = at.UTC().Format("2006-01-02T15:04:05Z") }
	s.set(func() {
		for _, o := range s.servers {
			stamp(o, time.Now().Add(-10*time.Second))
		}
	})
	c, out := s.collector(""), plugintest.NewSink(t)
	sc := scope(t, c)
	if err := c.Sweep(t.Context(), sc, out); err != nil {
		t.Fatal(err)
	}
	stop := watched(t, c, sc, out)
	s.set(func() { stamp(s.servers[7], time.Now().Add(time.Second)) })
	actions := func() (of []string) {
		for _, asked := range s.requests() {
			if path, ok := strings.CutSuffix(strings.Split(asked, "?")[0], "/os-instance-actions"); ok {
				of = append(of, path[strings.LastIndexByte(path, '/')+1:])
			}
		}
		return of
	}
	out.Wait("the actions of one server", func() error {
		if got := actions(); len(got) == 0 {
			return errors.New("none were asked for")
		}
		return nil
	})
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if got := fmt.Sprint(actions()); got != "[s007]" {
		t.Errorf("the actions of %s were asked for", got)
	}
	// An agent that has looked before and was away asks for those that have changed.
	c = s.collector("")
	sc = scope(t, c)
	if err := c.Sweep(t.Context(), sc, out); err != nil {
		t.Fatal(err)
	}
	watched(t, c, sc, out)
	out.Wait("the actions of all", func() error {
		if got := actions(); len(got) < 21 {
			return fmt.Errorf("%d were asked for", len(got))
		}
		return nil
	})
}

func TestOptions(t *testing.T) {
	for text, want := range map[string]string{
		`{"include":["compute/servers","Volume","network/*"]}`: "",
		`{"include":["compute/serverz"]}`:                      `include[0] "compute/serverz": there is no such kind`,
		`{"sweep_every":"1s"}`:                                 "sweep_every: must be at least 30s",
		`{"poll_every":"1ms"}`:                                 "poll_every: must be at least 1s",
		`{"dashboard_url":"horizon"}`:                          "dashboard_url: must be an address",
	} {
		_, err := Plugin.New(plugin.Config{Options: json.RawMessage(text), Logger: slog.New(slog.DiscardHandler)})
		if got := fmt.Sprint(err); want == "" && err != nil || !strings.Contains(got, want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	_, err := Plugin.New(plugin.Config{Credentials: json.RawMessage(`{"notifications_url":"amqp://x","notifications_url_file":"y"}`),
		Logger: slog.New(slog.DiscardHandler)})
	if err == nil || strings.Contains(err.Error(), "amqp://x") {
		t.Errorf("two addresses of a broker: %v", err)
	}
}
