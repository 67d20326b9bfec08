//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// openStackProxy stands between the agent and the services of a cloud: it counts
// requests, and does what a healthy service does not on demand. The catalog's
// "admin" interface leads to it.
type openStackProxy struct {
	t *testing.T
	// ports are the proxy's by the service's own.
	ports map[string]string

	mu    sync.Mutex
	calls map[string]int
	// fault, if set, may answer a request itself; service is the port of the
	// service behind.
	fault func(w http.ResponseWriter, r *http.Request, service string) bool
	// tokens are those that were seen last, by service.
	tokens map[string]string
}

func newOpenStackProxy(t *testing.T, api *openStackAPI) *openStackProxy {
	t.Helper()
	p := &openStackProxy{t: t, ports: make(map[string]string), calls: make(map[string]int), tokens: make(map[string]string)}
	type endpoints struct {
		Endpoints []struct{ ID, Interface, URL string }
	}
	var public, admin endpoints
	api.call(http.MethodGet, "identity", "/endpoints?interface=public", "", &public)
	for _, e := range public.Endpoints {
		u, err := url.Parse(strings.NewReplacer("%(", "", ")s", "").Replace(e.URL))
		if err != nil {
			t.Fatal(err)
		}
		p.listen(u.Host)
	}
	// Endpoints of the admin interface may lead to a proxy of a test before: they
	// are made anew from the public ones.
	api.call(http.MethodGet, "identity", "/endpoints?interface=admin", "", &admin)
	for _, e := range admin.Endpoints {
		address := e.URL
		for _, pub := range public.Endpoints {
			if path(pub.URL) == path(e.URL) && sameService(api, pub.ID, e.ID) {
				address = pub.URL
			}
		}
		for own, proxy := range p.ports {
			address = strings.Replace(address, own, proxy, 1)
		}
		api.call(http.MethodPatch, "identity", "/endpoints/"+e.ID, fmt.Sprintf(`{"endpoint": {"url": %q}}`, address), nil)
	}
	return p
}

func path(address string) string {
	_, rest, _ := strings.Cut(address, "://")
	_, rest, _ = strings.Cut(rest, "/")
	return rest
}

func sameService(api *openStackAPI, a, b string) bool {
	var one, two struct {
		Endpoint struct {
			Service string `json:"service_id"`
		}
	}
	api.call(http.MethodGet, "identity", "/endpoints/"+a, "", &one)
	api.call(http.MethodGet, "identity", "/endpoints/"+b, "", &two)
	return one.Endpoint.Service == two.Endpoint.Service
}

func (p *openStackProxy) listen(host string) {
	p.t.Helper()
	if p.ports[host] != "" {
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.t.Fatal(err)
	}
	p.ports[host] = l.Addr().String()
	behind := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: host})
	behind.ErrorLog = log.New(io.Discard, "", 0)
	behind.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) {
		// As if nobody listened.
		panic(http.ErrAbortHandler)
	}
	server := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.calls[what(host, r)]++
		if t := r.Header.Get("X-Auth-Token"); t != "" {
			p.tokens[host] = t
		}
		fault := p.fault
		p.mu.Unlock()
		if fault != nil && fault(w, r, host) {
			return
		}
		behind.ServeHTTP(w, r)
	})}
	go func() { _ = server.Serve(l) }()
	p.t.Cleanup(func() { _ = server.Close() })
}

var idInPath = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32}`)

// pollFilters are how services are asked for changes.
var pollFilters = []string{"changes-since", "changed_since", "updated_at", "created_at"}

// isPoll reports whether what a request is for are changes.
func isPoll(what string) bool {
	return slices.ContainsFunc(pollFilters, func(filter string) bool { return strings.HasSuffix(what, " "+filter) })
}

// what says what a request is for: the service's port, the path without ids, and
// how it asks for changes.
func what(host string, r *http.Request) string {
	_, port, _ := strings.Cut(host, ":")
	s := r.Method + " " + port + idInPath.ReplaceAllString(r.URL.Path, "ID")
	for _, key := range pollFilters {
		if r.URL.Query().Has(key) {
			s += " " + key
		}
	}
	return s
}

// count returns how many requests there were since the last call: in all, for
// changes, and for what.
func (p *openStackProxy) count() (all, polls int, calls map[string]int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	calls = p.calls
	p.calls = make(map[string]int)
	for what, n := range calls {
		all += n
		if isPoll(what) {
			polls += n
		}
	}
	return all, polls, calls
}

func (p *openStackProxy) set(fault func(w http.ResponseWriter, r *http.Request, service string) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = fault
}

// token returns the agent's token.
func (p *openStackProxy) token() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.tokens {
		return t
	}
	return ""
}

// show writes counts for people.
func show(calls map[string]int) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(calls)) {
		fmt.Fprintf(&b, "\n%6d %s", calls[k], k)
	}
	return b.String()
}

// quiet waits until the agent asks for nothing but changes for a while.
func (p *openStackProxy) quiet(limit, silence time.Duration) {
	p.t.Helper()
	last, since := -1, time.Now()
	eventually(p.t, limit, "the agent sweeps no more", func() error {
		p.mu.Lock()
		n := 0
		for what, c := range p.calls {
			if !isPoll(what) {
				n += c
			}
		}
		p.mu.Unlock()
		if n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) < silence {
			return fmt.Errorf("%d so far", n)
		}
		return nil
	})
}
