package cloud

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

func ignore(jsontext.Value) error { return nil }

// TestOffsetMoves: elements that move up, or down, while pages are turned are
// neither passed over nor is the list given up.
func TestOffsetMoves(t *testing.T) {
	for name, move := range map[string]func(all []string) []string{
		"the first goes":              func(all []string) []string { return all[1:] },
		"the last of the page goes":   func(all []string) []string { return append(append([]string{}, all[:2]...), all[3:]...) },
		"one comes before":            func(all []string) []string { return append([]string{"new"}, all...) },
		"all but one go":              func(all []string) []string { return all[5:] },
		"one goes and another comes":  func(all []string) []string { return append(append([]string{}, all[1:]...), "new") },
		"nothing":                     func(all []string) []string { return all },
		"the whole first page leaves": func(all []string) []string { return all[3:] },
	} {
		t.Run(name, func(t *testing.T) {
			all := []string{"g0", "g1", "g2", "g3", "g4", "g5", "g6"}
			asked := 0
			s := service(t, func(w http.ResponseWriter, r *http.Request) {
				if asked++; asked == 2 {
					all = move(all)
				}
				from := 0
				_, _ = fmt.Sscan(r.URL.Query().Get("offset"), &from)
				var parts []string
				for _, id := range all[min(from, len(all)):min(from+3, len(all))] {
					parts = append(parts, fmt.Sprintf(`{"id": %q}`, id))
				}
				fmt.Fprintf(w, `{"things": [%s]}`, strings.Join(parts, ","))
			})
			var got []string
			if _, err := s.List(t.Context(), List{Request: Request{Path: "things"}, Envelope: "things", Paging: Offset, Limit: 3},
				collect(&got)); err != nil {
				t.Fatal(err)
			}
			for _, id := range all {
				if !strings.Contains(" "+strings.Join(got, " ")+" ", " "+id+" ") {
					t.Errorf("%s is there and was not listed: %v", id, got)
				}
			}
		})
	}
}

// TestNextOfAnOffset: the next page begins with the last element of the one before.
func TestNextOfAnOffset(t *testing.T) {
	l := List{Paging: Offset, Limit: 3}
	for _, test := range []struct {
		page, elements int
		want           string
	}{{3, 3, "2"}, {2, 7, "6"}, {1, 1, "1"}} {
		q, err := l.next(url.Values{}, page{elements: test.page}, nil, test.elements)
		if err != nil || q.Get("offset") != test.want {
			t.Errorf("behind %d elements: %v, %v, want %s", test.elements, q, err, test.want)
		}
	}
	if q, err := l.next(url.Values{}, page{}, nil, 6); q != nil || err != nil {
		t.Errorf("behind an empty page: %v, %v", q, err)
	}
}

// TestOffsetIgnored: a service that knows no offset has all in its first page,
// unless that is as full as it may be. One that always moves is not whole.
func TestOffsetIgnored(t *testing.T) {
	s := service(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"things": [{"id": "a"}, {"id": "b"}]}`)
	})
	list := List{Request: Request{Path: "things"}, Envelope: "things", Paging: Offset, Limit: 1000}
	if done, err := s.List(t.Context(), list, ignore); err != nil || done.Elements != 2 {
		t.Errorf("%+v, %v", done, err)
	}
	one := service(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, `{"things": [{"id": "a"}]}`) })
	if done, err := one.List(t.Context(), list, ignore); err != nil || done.Elements != 1 {
		t.Errorf("one element: %+v, %v", done, err)
	}
	list.Limit = 2
	if _, err := s.List(t.Context(), list, ignore); err == nil {
		t.Error("a full page that comes again is taken for the whole")
	}
	n := 0
	s = service(t, func(w http.ResponseWriter, r *http.Request) {
		n += 2
		fmt.Fprintf(w, `{"things": [{"id": "%d"}, {"id": "%d"}]}`, n, n+1)
	})
	if _, err := s.List(t.Context(), list, ignore); err == nil || !strings.Contains(err.Error(), "moved") {
		t.Errorf("a list that always moves: %v", err)
	}
}

// TestCircles: pages that lead back to one before are no list.
func TestCircles(t *testing.T) {
	n := 0
	s := service(t, func(w http.ResponseWriter, r *http.Request) {
		n++
		next := map[string]string{"": "a", "a": "b", "b": "c", "c": "a"}[r.URL.Query().Get("marker")]
		fmt.Fprintf(w, `{"things": [{"id": "%d"}], "next": "/things?marker=%s"}`, n, next)
	})
	if _, err := s.List(t.Context(), List{Request: Request{Path: "things"}, Envelope: "things"}, ignore); err == nil ||
		!strings.Contains(err.Error(), "circle") || n != 4 {
		t.Errorf("%d pages, %v", n, err)
	}
}

// TestPagesWithoutEnd: links that always differ lead in a circle, too, if the pages are
// those that there were, or have nothing.
func TestPagesWithoutEnd(t *testing.T) {
	for name, page := range map[string]func(n int) string{
		"one page": func(int) string { return `{"id": "a"}, {"id": "b"}` }, "empty pages": func(int) string { return "" },
		"three pages": func(n int) string { return fmt.Sprintf(`{"id": "%d"}`, n%3) },
	} {
		for _, paging := range []Paging{Links, Marker} {
			if name == "empty pages" && paging == Marker {
				continue // there the first of them is the end
			}
			n := 0
			s := service(t, func(w http.ResponseWriter, r *http.Request) {
				n++
				fmt.Fprintf(w, `{"things": [%s], "next": "/things?marker=%d"}`, page(n), n)
			})
			if _, err := s.List(t.Context(), List{Request: Request{Path: "things"}, Envelope: "things", Paging: paging}, ignore); err == nil ||
				n > maxEmpty+1 {
				t.Errorf("%s: %d pages, %v", name, n, err)
			}
		}
	}
}

// TestDeletedMarkers: what is deleted may be in a list of changes, and no marker.
func TestDeletedMarkers(t *testing.T) {
	for name, test := range map[string]struct {
		ended, linked bool
		fails         bool
	}{
		"the end of a list of changes":         {ended: true},
		"a list of changes that leads further": {ended: true, linked: true, fails: true},
		"a list of what is there":              {fails: true},
	} {
		s := service(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("marker") != "" {
				w.WriteHeader(400)
				_, _ = io.WriteString(w, `{"badRequest": {"code": 400, "message": "marker [gone] not found"}}`)
				return
			}
			link := ""
			if test.linked {
				link = `, "servers_links": [{"rel": "next", "href": "x?marker=gone"}]`
			}
			_, _ = io.WriteString(w, `{"servers": [{"id": "gone", "status": "DELETED"}]`+link+`}`)
		})
		done, err := s.List(t.Context(), List{Request: Request{Path: "servers"}, Envelope: "servers", Paging: Marker, Limit: 1000,
			Ended: test.ended}, ignore)
		if (err != nil) != test.fails || err == nil && done.Elements != 1 {
			t.Errorf("%s: %+v, %v", name, done, err)
		}
	}
}

// TestLimits: too many requests are told in several ways.
func TestLimits(t *testing.T) {
	for _, code := range []int{413, 429, 498} {
		n := 0
		s := service(t, func(w http.ResponseWriter, r *http.Request) {
			if n++; n <= 2 {
				w.Header().Set("Retry-After", "0")
				w.WriteHeader(code)
				_, _ = io.WriteString(w, `{"overLimit": {"code": 413, "message": "This request was rate-limited."}}`)
				return
			}
			_, _ = io.WriteString(w, `{"things": []}`)
		})
		if _, err := s.List(t.Context(), List{Request: Request{Path: "things"}, Envelope: "things"}, ignore); err != nil || n != 3 {
			t.Errorf("%d: %d requests, %v", code, n, err)
		}
	}
	// Who asks for an hour is left alone, and another service of the host is not.
	n := 0
	s := service(t, func(w http.ResponseWriter, r *http.Request) {
		n++
		if strings.HasPrefix(r.URL.Path, "/v2.1/") {
			w.Header().Set("Retry-After", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
			w.WriteHeader(429)
			return
		}
		_, _ = io.WriteString(w, `{"things": []}`)
	})
	for range 3 {
		if _, err := s.List(t.Context(), List{Request: Request{Path: "things"}, Envelope: "things"}, ignore); !errors.Is(err, ErrUnavailable) {
			t.Errorf("the error is %v", err)
		}
	}
	if n != 1 {
		t.Errorf("it was asked %d times", n)
	}
	s.Base = strings.Replace(s.Base, "/v2.1/", "/other/", 1)
	if _, err := s.List(t.Context(), List{Request: Request{Path: "things"}, Envelope: "things"}, ignore); err != nil {
		t.Errorf("the other service: %v", err)
	}
}

// TestHangs: a service that takes requests and answers none is not waited for again
// and again.
func TestHangs(t *testing.T) {
	var n atomic.Int64
	over := make(chan struct{})
	defer close(over)
	s := service(t, func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		select {
		case <-over:
		case <-r.Context().Done():
		}
	})
	s.cloud.transport.next.(*http.Transport).ResponseHeaderTimeout = 50 * time.Millisecond
	for range 5 {
		if _, err := s.List(t.Context(), List{Request: Request{Path: "things"}, Envelope: "things"}, ignore); !errors.Is(err, ErrUnavailable) {
			t.Errorf("the error is %v", err)
		}
	}
	if n.Load() != 1 {
		t.Errorf("it was asked %d times", n.Load())
	}
}

// TestOwnWords: a 404 of the service's own is told from a proxy's.
func TestOwnWords(t *testing.T) {
	for body, want := range map[string]bool{
		`{"itemNotFound": {"code": 404, "message": "x"}}`:                                             true,
		`{"NeutronError": {"type": "PortNotFound", "message": "x", "detail": ""}}`:                    true,
		`{"error": {"code": 404, "message": "x", "title": "Not Found"}}`:                              true,
		`{"message": "The resource could not be found.", "code": "404 Not Found", "title": "x"}`:      true,
		`{"faultcode": "Client", "faultstring": "x", "debuginfo": null}`:                              true,
		`{"errors": [{"status": 404, "title": "Not Found", "detail": "x"}]}`:                          true,
		`{"code": 404, "type": "zone_not_found", "message": "x", "request_id": "r"}`:                  true,
		`{"error_message": "{\"faultstring\": \"x\"}"}`:                                               true,
		`{"code": 404, "title": "Not Found", "description": "x"}`:                                     true,
		`<html><h1>404 Not Found</h1></html>`:                                                         false,
		`404 page not found`:                                                                          false,
		`default backend - 404`:                                                                       false,
		``:                                                                                            false,
		`{"message": "no Route matched with those values"}`:                                           false,
		`{"timestamp": "x", "status": 404, "error": "Not Found", "message": "none", "path": "/nova"}`: false,
		`null`: false, `[]`: false, `"x"`: false, `{"error": "not found"}`: false,
	} {
		if got := own([]byte(body)); got != want {
			t.Errorf("%s: %v, want %v", body, got, want)
		}
	}
}

// keystone is an identity service with a catalog. It fails the test when a token
// or a password arrives where it should not.
func keystone(t *testing.T, catalog func(self string) string, others http.HandlerFunc) (address string) {
	t.Helper()
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v3/auth/tokens" {
			others(w, r)
			return
		}
		w.Header().Set("X-Subject-Token", "tok")
		w.WriteHeader(201)
		fmt.Fprintf(w, `{"token": {"expires_at": "2126-01-01T00:00:00Z", "user": {"id": "u", "name": "n"}, "project": {"id": "p1", "name": "p"},
			"roles": [{"id": "r", "name": "admin"}], "catalog": [
			{"id": "k", "type": "identity", "endpoints": [{"interface": "public", "region": "west", "url": "%s/v3"}]}, %s]}}`, server.URL, catalog(server.URL))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// connect logs in with a clouds.yaml, in which AUTH stands for the address.
func connect(t *testing.T, address, yaml string) (*Cloud, error) {
	t.Helper()
	clearEnvironment(t)
	file := filepath.Join(t.TempDir(), "clouds.yaml")
	if yaml == "" {
		yaml = `clouds: {test: {auth: {auth_url: "AUTH/v3", username: reeve, password: x, project_name: p, user_domain_name: Default, ` +
			`project_domain_name: Default}}}`
	}
	write(t, file, strings.ReplaceAll(yaml, "AUTH", address))
	return Connect(t.Context(), Access{File: file, Cloud: "test"})
}

// given reads one of the cases in testdata.
func given(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "testdata", "odd", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestEndpoints: where the catalog does not say whose service it means, nothing is
// sent.
func TestEndpoints(t *testing.T) {
	for endpoint, says := range map[string]string{
		"http://:9292":                       "no placeholder",
		"http://":                            "no placeholder",
		"https://h:9292/v2/$(project_id)s":   "no placeholder",
		"https://h:9292/v2/%(tenant_id)s":    "no placeholder",
		"/image":                             "no placeholder",
		"http://localhost:9292":              "this machine",
		"http://LOCALHOST.:9292":             "this machine",
		"http://127.0.0.2:9292":              "this machine",
		"http://0.0.0.0:9292":                "this machine",
		"http://[::]:9292":                   "this machine",
		"http://[::1]:9292":                  "this machine",
		"http://[::ffff:127.0.0.1]:9292":     "this machine",
		"http://169.254.169.254/image":       "this machine",
		"http://[fe80::1]:9292/image":        "this machine",
		"https://image.example.com/image/v2": "",
	} {
		c := &Cloud{Host: "https://cloud.example.com/v3", services: map[serviceKey]*Service{}}
		c.credentials.visibility = "public"
		if err := json.Unmarshal(fmt.Appendf(nil, `[{"type": "image", "endpoints": [{"interface": "public", "region": "west", "url": %q}]}]`,
			endpoint), &c.catalog); err != nil {
			t.Fatal(err)
		}
		_, err := c.Service(t.Context(), Image, "west")
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says) ||
			!strings.Contains(err.Error(), "image_endpoint_override")) {
			t.Errorf("%s: %v, want %q", endpoint, err, says)
		}
	}
}

// TestRedirects: a token goes with a redirect at one host, and to no other.
func TestRedirects(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("%s %s came with %v", r.Method, r.URL, r.Header)
		_, _ = io.WriteString(w, `{"images": []}`)
	}))
	defer elsewhere.Close()
	for name, test := range map[string]struct {
		to    func(self string) string
		fails bool
	}{
		"elsewhere":              {func(string) string { return elsewhere.URL + "/ui/index.html" }, true},
		"elsewhere, by its name": {func(string) string { return strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1) }, true},
		"without a scheme":       {func(string) string { return strings.TrimPrefix(elsewhere.URL, "http:") }, true},
		"at the same host":       {func(self string) string { return self + "/images" }, false},
		"relative":               {func(string) string { return "/images" }, false},
		"in a circle":            {func(self string) string { return self + "/v2/images" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			var self string
			self = keystone(t, func(self string) string {
				return fmt.Sprintf(`{"type": "image", "endpoints": [{"interface": "public", "region": "west", "url": %q}]}`, self)
			}, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/images" {
					if r.Header.Get("X-Auth-Token") != "tok" {
						t.Error("the token did not come along")
					}
					_, _ = io.WriteString(w, `{"images": []}`)
					return
				}
				http.Redirect(w, r, test.to(self), http.StatusFound)
			})
			c, err := connect(t, self, "")
			if err != nil {
				t.Fatal(err)
			}
			s, err := c.Service(t.Context(), Image, "west")
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.List(t.Context(), List{Request: Request{Path: "images"}, Envelope: "images"}, ignore)
			if (err != nil) != test.fails {
				t.Fatalf("the error is %v", err)
			}
			if test.fails && name != "in a circle" && !errors.Is(err, ErrRedirect) {
				t.Errorf("the error is %v", err)
			}
		})
	}
	t.Run("logging in", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
		}))
		defer server.Close()
		if _, err := connect(t, server.URL, ""); !errors.Is(err, ErrRedirect) {
			t.Errorf("the error is %v", err)
		}
	})
	t.Run("versions", func(t *testing.T) {
		// What the identity service says of its own address does not lead elsewhere.
		self := keystone(t, func(string) string { return `{"type": "x", "endpoints": []}` }, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(300)
			fmt.Fprintf(w, `{"versions": {"values": [{"id": "v3.14", "status": "stable", "links": [{"rel": "self", "href": "%s/v3/"}]}]}}`,
				elsewhere.URL)
		})
		c, err := connect(t, self, strings.Replace(`clouds: {test: {auth: {auth_url: "AUTH/v3", username: reeve, password: x, project_name: p,`+
			` user_domain_name: D, project_domain_name: D}}}`, "/v3", "", 1))
		if err != nil {
			t.Fatal(err)
		}
		if c.Host != self {
			t.Errorf("the address is %q", c.Host)
		}
	})
}

// TestVersionsUntold: a service whose version page is missing, or another page, is
// used as the catalog has it.
func TestVersionsUntold(t *testing.T) {
	for name, test := range map[string]struct {
		endpoint string
		root     http.HandlerFunc
		speaks   string // the newest microversion that it has, or empty
		wants    string
	}{
		"C12: it is not found": {"/v2/p1", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(404)
			_, _ = io.WriteString(w, `{"message": "The resource could not be found.", "code": "404 Not Found", "title": "Not Found"}`)
		}, "", ""},
		"C37b: a page of HTML": {"/nova/v2.1/p1/", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/ui" {
				http.Redirect(w, r, "/ui", http.StatusFound)
				return
			}
			_, _ = io.WriteString(w, "<html>hello</html>")
		}, "2.60", "2.60"},
		"a redirect elsewhere": {"/nova/v2.1/", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://sso.example.org/", http.StatusFound)
		}, "2.93", "2.61"},
		"forbidden":             {"/nova/v2.1/", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(403) }, "2.60", "2.60"},
		"refused for its token": {"/nova/v2.1/", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(401) }, "2.60", "2.60"},
		"empty":                 {"/nova/v2.1/", func(w http.ResponseWriter, r *http.Request) {}, "2.60", "2.60"},
		"JSON that says something else": {"/nova/v2.1/", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"version": "5", "versions": [7]}`)
		}, "2.60", "2.60"},
	} {
		t.Run(name, func(t *testing.T) {
			var last string
			self := keystone(t, func(self string) string {
				return fmt.Sprintf(`{"type": "compute", "endpoints": [{"interface": "public", "region": "west", "url": %q}]}`, self+test.endpoint)
			}, func(w http.ResponseWriter, r *http.Request) {
				if !strings.HasSuffix(r.URL.Path, "/flavors/detail") {
					test.root(w, r)
					return
				}
				last = r.Header.Get("X-OpenStack-Nova-API-Version")
				if asked := ParseMicroversion(last); test.speaks != "" && ParseMicroversion(test.speaks).Less(asked) {
					w.WriteHeader(406)
					fmt.Fprintf(w, `{"computeFault": {"message": "Version %s is not supported by the API. Minimum is 2.1 and maximum is %s.", "code": `+
						`406}}`, last, test.speaks)
					return
				}
				_, _ = io.WriteString(w, `{"flavors": []}`)
			})
			c, err := connect(t, self, "")
			if err != nil {
				t.Fatal(err)
			}
			s, err := c.Service(t.Context(), Compute, "west")
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if _, err := s.List(t.Context(), List{Request: Request{Path: "flavors/detail", Microversion: Microversion{2, 61}},
					Envelope: "flavors"}, ignore); err != nil {
					t.Fatal(err)
				}
			}
			if test.speaks != "" && last != test.wants {
				t.Errorf("the microversion is %q, want %q", last, test.wants)
			}
		})
	}
}

// TestServicesOfOneCloud: a catalog has several entries that fit, and whoever
// configures has the last word.
func TestServicesOfOneCloud(t *testing.T) {
	var c15 struct {
		Type      string
		Endpoints jsontext.Value
	}
	if err := json.Unmarshal([]byte(given(t, "C13-two-endpoints-v2-and-v2.1.json")), &c15); err != nil {
		t.Fatal(err)
	}
	c := &Cloud{Host: "http://127.0.0.1/v3"}
	c.credentials.visibility = "public"
	if err := json.Unmarshal([]byte(`[`+given(t, "C13-two-endpoints-v2-and-v2.1.json")+`, {"type": "volume", "name": "old", "endpoints": [
		{"interface": "public", "region": "west", "url": "http://h/v1/p"}]}, {"type": "volumev3", "name": "new", "endpoints": [
		{"interface": "public", "region": "west", "url": "http://h/v3/p"}, {"interface": "internal", "region": "west", "url": "http://i/v3/p"}]}]`), &c.catalog); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		api  API
		over override
		want string
	}{
		{Compute, override{}, "http://127.0.0.1:34449/ecs/v2.1/p1"},
		{Storage, override{}, "http://h/v3/p"},
		{Storage, override{visibility: "internal"}, "http://i/v3/p"},
		{Storage, override{serviceType: "volume"}, "http://h/v1/p"},
		{Storage, override{serviceName: "old"}, "http://h/v1/p"},
		{Storage, override{endpoint: "https://mine/%(project_id)s"}, "https://mine/p9"},
		{LoadBalancer, override{endpoint: "https://cloud/octavia-proxy/v2.0/"}, "https://cloud/octavia-proxy/v2.0"},
		{LoadBalancer, override{}, ""},
	} {
		c.credentials.overrides = map[string]override{test.api.Name: test.over}
		c.identity.ProjectID = "p9"
		if got := c.Endpoint(test.api, "west"); got != test.want {
			t.Errorf("%s with %+v: %q, want %q", test.api.Name, test.over, got, test.want)
		}
	}
}

// TestCloudsFiles reads the given files: those that openstacksdk takes are taken,
// and those that would send a password to the wrong place are refused by name.
func TestCloudsFiles(t *testing.T) {
	for name, says := range map[string]string{
		"C15-clouds-anchors.yaml": "", "C15-clouds-both-names-and-ids-of-domains.yaml": "", "C15-clouds-identity_api_version.yaml": "",
		"C15-clouds-password-0123-and-user-42.yaml": "", "C15-clouds-password-is-a-number.yaml": "", "C15-clouds-regions-with-values.yaml": "",
		"C15-clouds-verify-is-a-text.yaml":        "",
		"C15p-clouds-profile.yaml":                `profile "vexxhost"`,
		"C15r-clouds-auth-url-in-regions.yaml":    "values of the region west",
		"C35-clouds-endpoint-override.yaml":       "",
		"C36-clouds-v3oidcaccesstoken.yaml":       `auth_type "v3oidcaccesstoken"`,
		"C36-clouds-v3oidcclientcredentials.yaml": `auth_type "v3oidcclientcredentials"`,
		"C36-clouds-v3oidcpassword.yaml":          `auth_type "v3oidcpassword"`,
		"C36-clouds-v3totp.yaml":                  `auth_type "v3multifactor"`,
	} {
		clearEnvironment(t)
		file := filepath.Join(t.TempDir(), "clouds.yaml")
		write(t, file, given(t, name))
		c, err := Access{File: file, Cloud: "test"}.resolve()
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%s: %v, want %q", name, err, says)
		}
		for _, secret := range []string{"IDPPASSWORD", "CSEC", "ATOK", "123456"} {
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("%s: the error %v has a secret", name, err)
			}
		}
		if name == "C35-clouds-endpoint-override.yaml" && c.overrides[LoadBalancer.Name].endpoint != "https://cloud/octavia-proxy/v2.0" {
			t.Errorf("%s: %+v", name, c.overrides)
		}
	}
	for text, insecure := range map[string]bool{
		`"False"`: true, `'false'`: true, `FALSE`: true, `false`: true, `"true"`: false, `"True"`: false, `true`: false, `null`: false,
	} {
		for _, form := range []string{`clouds: {test: {verify: %s, auth: %s}}`, `clouds: {test: {auth: %[2]s,"verify" : %[1]s}}`,
			"clouds:\n  test:\n    verify:  %s # yes\n    auth: %s\n"} {
			clearEnvironment(t)
			file := filepath.Join(t.TempDir(), "clouds.yaml")
			write(t, file, fmt.Sprintf(form, text, `{auth_url: "https://k/v3", username: u, password: "a verify: 'false'", project_id: p, user_domain_id: d}`))
			c, err := Access{File: file, Cloud: "test"}.resolve()
			if err != nil || c.tls.InsecureSkipVerify != insecure || c.auth.Password != "a verify: 'false'" {
				t.Errorf("verify: %s: %v", text, err)
			}
		}
	}
	for text, says := range map[string]string{
		`clouds: {test: {verify: "never", auth: {auth_url: "http://k/v3"}}}`: "verify must be true or false",
		`clouds: {test: {verify: 0, auth: {auth_url: "http://k/v3"}}}`:       "verify must be true or false",
		`clouds: {test: {}}`:             "auth is missing",
		`clouds: {test: }`:               "auth is missing",
		`clouds: {test: {auth: s3cret}}`: "auth is missing",
		`clouds: {test: {regions: s3cret, auth: {auth_url: "http://k/v3"}}}`: "a value",
		`clouds: [1]`: "not a clouds.yaml",
		`clouds: {test: {auth: {auth_url: "http://k", username: ` +
			`"s3cret`: "not a clouds.yaml",
		`clouds: {test: {auth: {auth_url: "http://k/v3", username: u, password: s3cret, passcode: ` +
			`"1"}}}`: "auth has passcode",
		`clouds: {test: {auth: {auth_url: "http://k/v3", username: u, password: s3cret, identity_provider: ` +
			`idp}}}`: "auth has identity_provider",
		`clouds: {test: {auth_type: V3KERBEROS, auth: {auth_url: ` +
			`"http://k/v3"}}}`: `auth_type "v3kerberos"`,
		`clouds: {test: {auth_type: none, endpoint: "http://i", auth: ` +
			`{}}}`: `auth_type "none"`,
		`clouds: {test: {auth_type: v2password, auth: {auth_url: "http://k/v2.0", username: u, password: ` +
			`s3cret}}}`: `auth_type "v2password"`,
		`clouds: {test: {image_endpoint_override: "image:9292", auth: {auth_url: "http://k/v3", username: u, password: s3cret, project_id: p, ` +
			`user_domain_id: d}}}`: "endpoint_override of image",
	} {
		clearEnvironment(t)
		file := filepath.Join(t.TempDir(), "clouds.yaml")
		write(t, file, text)
		if _, err := (Access{File: file, Cloud: "test"}).resolve(); err == nil || !strings.Contains(err.Error(), says) ||
			strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v, want %q", text, err, says)
		}
	}
	// Regions, old names of services, what stands in the secure file, and the environment.
	clearEnvironment(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "clouds.yaml"),
		`clouds: {test: {region_name: west, volumev3_endpoint_override: "https://old/v3", block_storage_interface: internalURL,
		regions: [east, {name: west, values: {dns_endpoint_override: "https://dns/v2"}}, {name: south, values: {rating_endpoint_override: "https://not/this"}}],
		auth: {auth_url: "http://k/v3", username: u, project_id: p, user_domain_id: d}}}`)
	write(t, filepath.Join(dir, "secure.yaml"),
		`clouds: {test: {image_endpoint_override: "https://image/%(project_id)s", auth: {password: s3cret}}}`)
	c, err := Access{File: filepath.Join(dir, "clouds.yaml"), Cloud: "test"}.resolve()
	if err != nil || c.auth.Password != "s3cret" {
		t.Fatalf("%+v, %v", c.auth, err)
	}
	if got := fmt.Sprint(c.overrides["storage"], c.overrides["dns"], c.overrides["image"],
		c.overrides["rating"]); got != `{https://old/v3 internal  } {https://dns/v2   } {https://image/%(project_id)s   } {   }` {
		t.Errorf("the overrides are %s", got)
	}
	t.Setenv("OS_AUTH_URL", "http://k/v3")
	t.Setenv("OS_USERNAME", "u")
	t.Setenv("OS_LOAD_BALANCER_ENDPOINT_OVERRIDE", "https://lb/v2")
	if c, err = (Access{}).resolve(); err != nil || c.overrides["loadbalancer"].endpoint != "https://lb/v2" {
		t.Errorf("%+v, %v", c.overrides, err)
	}
	t.Setenv("OS_AUTH_TYPE", "v3oidcpassword")
	if _, err = (Access{}).resolve(); err == nil || !strings.Contains(err.Error(), "v3oidcpassword") {
		t.Errorf("the error is %v", err)
	}
}

// TestRefusals: whose refusal it is, is said rightly.
func TestRefusals(t *testing.T) {
	self := keystone(t, func(self string) string {
		return fmt.Sprintf(`{"type": "network", "endpoints": [{"interface": "public", "region": "west", "url": %q}]}`, self+"/net")
	}, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(401)
		_, _ = io.WriteString(w, `{"error": {"code": 401, "message": "The request you have made requires authentication."}}`)
	})
	c, err := connect(t, self, "")
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Service(t.Context(), Network, "west")
	if err != nil {
		t.Fatal(err)
	}
	if _, err = s.List(t.Context(), List{Request: Request{Path: "networks"}, Envelope: "networks"}, ignore); !errors.Is(err, ErrToken) {
		t.Errorf("the error is %v", err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(401) }))
	defer server.Close()
	if _, err = connect(t, server.URL, ""); !errors.Is(err, ErrCredential) || errors.Is(err, ErrToken) {
		t.Errorf("logging in: %v", err)
	}
}
