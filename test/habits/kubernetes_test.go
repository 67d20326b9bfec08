package habits

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/kubernetes"
)

// cluster is an API server with healthy kinds and a bad one.
type cluster struct {
	counter
	// minor is the version: those before 1.34 are listed by pages, and others by streams.
	minor int
	bad   func(w http.ResponseWriter, r *http.Request)

	changes sync.Mutex
	changed bool
	news    chan struct{}
}

func (s *cluster) scopes() (names []string) {
	for i := range healthy {
		names = append(names, fmt.Sprintf("healthy.example.com/h%02ds", i))
	}
	return names
}

func (s *cluster) followed() []string { return s.scopes() }

func (s *cluster) change() {
	s.changes.Lock()
	defer s.changes.Unlock()
	s.changed = true
	close(s.news)
}

func (s *cluster) hasChanged() bool {
	s.changes.Lock()
	defer s.changes.Unlock()
	return s.changed
}

// thing is an object.
func thing(name, version string) string {
	return fmt.Sprintf(`{"metadata":{"name":%q,"namespace":"a","resourceVersion":%q,"creationTimestamp":"2026-01-01T00:00:00Z"}}`, name, version)
}

func (s *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch q := r.URL.Query(); {
	case r.URL.Path == "/version":
		fmt.Fprintf(w, `{"major":"1","minor":"%d","gitVersion":"v1.%d.0"}`, s.minor, s.minor)
	case r.URL.Path == "/readyz":
	case r.URL.Path == "/api/v1/namespaces/kube-system":
		fmt.Fprint(w, `{"metadata":{"name":"kube-system","uid":"cluster-1"}}`)
	case r.URL.Path == "/api":
		fmt.Fprint(w, `{"kind":"APIGroupDiscoveryList"}`)
	case r.URL.Path == "/apis":
		group := func(name, resources string) string {
			return fmt.Sprintf(`{"metadata":{"name":%q},"versions":[{"version":"v1","resources":[%s]}]}`, name, resources)
		}
		resource := func(name string) string {
			return fmt.Sprintf(`{"resource":%q,"responseKind":{"kind":%q},"scope":"Namespaced","verbs":["list","watch"]}`, name+"s",
				strings.ToUpper(name[:1])+name[1:])
		}
		var all []string
		for i := range healthy {
			all = append(all, resource(fmt.Sprintf("h%02d", i)))
		}
		fmt.Fprintf(w, `{"kind":"APIGroupDiscoveryList","items":[%s,%s]}`, group("bad.example.com", resource("odd")),
			group("healthy.example.com", strings.Join(all, ",")))
	case strings.HasPrefix(r.URL.Path, "/apis/bad.example.com/"):
		s.add()
		s.bad(w, r)
	case q.Get("watch") == "true":
		s.watch(w, r)
	default:
		items := thing("x", "1") + "," + thing("y", "2") + "," + thing("z", "3")
		if s.hasChanged() {
			items += "," + thing("news", "9")
		}
		fmt.Fprintf(w, `{"kind":"List","metadata":{"resourceVersion":"5"},"items":[%s]}`, items)
	}
}

func (s *cluster) watch(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("sendInitialEvents") == "true" {
		initial(w, thing("x", "1"), thing("y", "2"), thing("z", "3"))
	}
	w.(http.Flusher).Flush()
	select {
	case <-s.news:
		fmt.Fprintf(w, `{"type":"ADDED","object":%s}`+"\n", thing("news", "9"))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	case <-r.Context().Done():
	}
}

// initial sends a list as a stream.
func initial(w http.ResponseWriter, objects ...string) {
	for _, o := range objects {
		fmt.Fprintf(w, `{"type":"ADDED","object":%s}`+"\n", o)
	}
	fmt.Fprintln(w, `{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"5","annotations":{"k8s.io/initial-events-end":"true"}}}}`)
}

// watches are habits of a kind that can be listed, and not be watched as it should.
func watches() []habit {
	listed := func(watch func(w http.ResponseWriter, r *http.Request)) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			switch q := r.URL.Query(); {
			case q.Get("sendInitialEvents") == "true":
				initial(w, thing("o", "4"))
				w.(http.Flusher).Flush()
				watch(w, r)
			case q.Get("watch") == "true":
				watch(w, r)
			default:
				fmt.Fprintf(w, `{"kind":"OddList","metadata":{"resourceVersion":"5"},"items":[%s]}`, thing("o", "4"))
			}
		}
	}
	message := func(text string, then func(r *http.Request)) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintln(w, text)
			w.(http.Flusher).Flush()
			then(r)
		}
	}
	stays, ends := func(r *http.Request) { <-r.Context().Done() }, func(*http.Request) {}
	const expired = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410,"message":"too old"}`
	return []habit{
		{"watch: 410", listed(message(`{"type":"ERROR","object":`+expired+`}`, ends))},
		{"watch: 410 by status", listed(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(410)
			fmt.Fprint(w, expired)
		})},
		{"watch: old bookmarks", listed(message(`{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"3"}}}`, stays))},
		{"watch: ends at once", listed(func(http.ResponseWriter, *http.Request) {})},
		{"watch: ends with a bookmark", listed(message(`{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"6"}}}`, ends))},
		{"watch: a list", listed(message(`{"kind":"OddList","metadata":{"resourceVersion":"5"},"items":[]}`, ends))},
		{"watch: HTML", listed(message(`<html>`, ends))},
		{"watch: 500", listed(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })},
		{"watch: hangs", listed(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })},
		{"watch: an odd object, again and again", listed(message(`{"type":"MODIFIED","object":{"metadata":{"labels":7}}}`, ends))},
		{"parameters are ignored", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"kind":"OddList","metadata":{"resourceVersion":"5","continue":"more"},"items":[%s]}`, thing("o", "4"))
		}},
		{"pages in a circle", func(w http.ResponseWriter, r *http.Request) {
			next := map[string]string{"": "a", "a": "b", "b": "a"}[r.URL.Query().Get("continue")]
			fmt.Fprintf(w, `{"kind":"OddList","metadata":{"resourceVersion":"5","continue":%q},"items":[]}`, next)
		}},
		{"pages for ever", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"kind":"OddList","metadata":{"resourceVersion":"5","continue":%q},"items":[]}`, r.URL.Query().Get("continue")+"x")
		}},
		{"one page for ever", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"kind":"OddList","metadata":{"resourceVersion":"5","continue":%q},"items":[%s]}`, r.URL.Query().Get("continue")+"x",
				thing("o", "4"))
		}},
		{"two pages in a circle", func(w http.ResponseWriter, r *http.Request) {
			n := len(r.URL.Query().Get("continue"))
			fmt.Fprintf(w, `{"kind":"OddList","metadata":{"resourceVersion":"5","continue":%q},"items":[%s]}`, strings.Repeat("x", n+1),
				thing(fmt.Sprint("o", n%2), "4"))
		}},
		{"pages that expire", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("continue") != "" || r.URL.Query().Get("limit") == "" {
				w.WriteHeader(410)
				fmt.Fprint(w, expired)
				return
			}
			fmt.Fprintf(w, `{"kind":"OddList","metadata":{"resourceVersion":"5","continue":"x"},"items":[%s]}`, thing("o", "4"))
		}},
		{"a Status for a list", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Success"}`)
		}},
		{"no version", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"kind":"OddList","metadata":{},"items":[%s]}`, thing("o", ""))
		}},
		{"no element that can be read", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"kind":"OddList","metadata":{"resourceVersion":"5"},"items":[null,7,{"metadata":{}}]}`)
		}},
	}
}

func TestKubernetes(t *testing.T) {
	long(t)
	t.Parallel() // beside the other: both mostly wait
	// All at once: they wait most of the time.
	var all sync.WaitGroup
	defer all.Wait()
	for _, minor := range []int{30, 36} {
		for _, h := range append(common(), watches()...) {
			run := func(t *testing.T) {
				s := &cluster{minor: minor, bad: h.answer, news: make(chan struct{})}
				server := httptest.NewServer(s)
				// Its handlers end with their requests.
				t.Cleanup(func() {
					server.CloseClientConnections()
					server.Close()
				})
				kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
				config := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","clusters":[{"name":"c","cluster":{"server":%q}}],"users":[{"name":"u"}],
					"contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],"current-context":"c"}`, server.URL)
				if err := os.WriteFile(kubeconfig, []byte(config), 0o600); err != nil {
					t.Fatal(err)
				}
				options, err := json.Marshal(map[string]any{"kubeconfig": kubeconfig, "exclude": []string{"core/events"}})
				if err != nil {
					t.Fatal(err)
				}
				c, err := kubernetes.Plugin.New(plugin.Config{Name: "first", Options: options, Logger: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
				hold(t, s, kubernetes.Plugin.Describe(), c)
			}
			all.Go(func() { t.Run(fmt.Sprintf("1.%d %s", minor, h.name), run) })
		}
	}
}
