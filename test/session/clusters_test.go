package session

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/reeve-cloud/reeve/agent/collect"
	"github.com/reeve-cloud/reeve/agent/lastseen"
	"github.com/reeve-cloud/reeve/agent/spool"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/fake"
	"github.com/reeve-cloud/reeve/plugins/kubernetes"
)

// apiServer is as much of an API server as a collector needs. It counts the lists
// that it gives.
type apiServer struct {
	id string
	// list, if set, answers a list of a resource, and reports whether it has.
	list func(w http.ResponseWriter, r *http.Request) bool
	// down says that it answers nothing.
	down atomic.Bool
}

var served = map[string]map[string]string{ // kinds by resource and group
	"":                  {"pods": "Pod", "services": "Service", "configmaps": "ConfigMap", "secrets": "Secret", "limitranges": "LimitRange"},
	"apps":              {"deployments": "Deployment", "daemonsets": "DaemonSet", "statefulsets": "StatefulSet", "replicasets": "ReplicaSet"},
	"networking.k8s.io": {"networkpolicies": "NetworkPolicy"},
	"policy":            {"poddisruptionbudgets": "PodDisruptionBudget"},
}

const servedKinds = 11

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.down.Load() {
		if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
			conn.Close()
		}
		return
	}
	w.Header().Set("Content-Type", "application/json")
	group := func(name string) string {
		var resources []string
		for resource, kind := range served[name] {
			resources = append(resources, fmt.Sprintf(
				`{"resource":%q,"responseKind":{"kind":%q},"scope":"Namespaced","verbs":["list","watch"]}`, resource, kind))
		}
		return fmt.Sprintf(`{"metadata":{"name":%q},"versions":[{"version":"v1","resources":[%s]}]}`, name, strings.Join(resources, ","))
	}
	switch {
	case r.URL.Path == "/version":
		fmt.Fprint(w, `{"major":"1","minor":"30","gitVersion":"v1.30.0"}`)
	case r.URL.Path == "/readyz":
	case r.URL.Path == "/api/v1/namespaces/kube-system":
		fmt.Fprintf(w, `{"metadata":{"uid":%q}}`, s.id)
	case r.URL.Path == "/api":
		fmt.Fprintf(w, `{"kind":"APIGroupDiscoveryList","items":[%s]}`, group(""))
	case r.URL.Path == "/apis":
		fmt.Fprintf(w, `{"kind":"APIGroupDiscoveryList","items":[%s,%s,%s]}`, group("apps"), group("networking.k8s.io"), group("policy"))
	case r.URL.Query().Get("watch") == "true":
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	case s.list != nil && s.list(w, r):
	default:
		fmt.Fprintf(w, `{"kind":"List","metadata":{"resourceVersion":"5"},"items":[{"metadata":{"name":"x","namespace":"a",`+
			`"resourceVersion":"1"}}]}`)
	}
}

// collecting runs collectors over real stores until the test ends, and returns the
// metrics.
func collecting(t *testing.T, sources ...collect.Source) *prometheus.Registry {
	t.Helper()
	logger, dir := slog.New(slog.DiscardHandler), t.TempDir()
	seen, err := lastseen.Open(filepath.Join(dir, "seen"), logger)
	if err != nil {
		t.Fatal(err)
	}
	sp, err := spool.Open(spool.Options{
		Dir: filepath.Join(dir, "spool"), Apply: seen.Apply, Applied: seen.Applied, BeforeTrim: seen.Sync, Recall: seen.Recall,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := seen.Adopt(sp.ID()); err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	runner := &collect.Runner{
		Recorder: &collect.Recorder{Seen: seen, Spool: sp, Clock: hlc.New(0), Logger: logger, Metrics: collect.NewMetrics(registry)},
		Sources:  sources,
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { runner.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		done.Wait()
		sp.Close()
		seen.Close()
	})
	return registry
}

// clusterSource returns a collector of an API server.
func clusterSource(t *testing.T, name string, api http.Handler) collect.Source {
	t.Helper()
	server := httptest.NewServer(api)
	t.Cleanup(func() { // watches do not end by themselves
		server.CloseClientConnections()
		server.Close()
	})
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, fmt.Appendf(nil, `{"apiVersion":"v1","kind":"Config","current-context":"x",
		"clusters":[{"name":"x","cluster":{"server":%q}}],"users":[{"name":"x","user":{}}],"contexts":[{"name":"x","context":{"cluster":"x","user":"x"}}]}`,
		server.URL), 0o600); err != nil {
		t.Fatal(err)
	}
	options, err := json.Marshal(map[string]any{"kubeconfig": file})
	if err != nil {
		t.Fatal(err)
	}
	c, err := kubernetes.Plugin.New(plugin.Config{Name: name, Options: options, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return collect.Source{Name: name, Description: kubernetes.Plugin.Describe(), Collector: c}
}

// fakeSource returns a collector that is swept every 100 ms.
func fakeSource(t *testing.T, name string) collect.Source {
	t.Helper()
	world := t.TempDir()
	if err := os.MkdirAll(filepath.Join(world, "s"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(world, "s", "listing.json"), []byte(`{"sweep_every":"100ms","assets":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	options, err := json.Marshal(map[string]string{"directory": world})
	if err != nil {
		t.Fatal(err)
	}
	c, err := fake.Plugin{}.New(plugin.Config{Name: name, Options: options, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return collect.Source{Name: name, Description: fake.Plugin{}.Describe(), Collector: c}
}

// committed returns how often each scope of a collector was swept, by name.
func committed(t *testing.T, registry *prometheus.Registry, collector string) map[string]int {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	swept := make(map[string]int)
	for _, f := range families {
		if f.GetName() != "reeve_agent_sweeps_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := make(map[string]string)
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			// Scopes that were never swept are there with zero.
			if n := int(m.GetCounter().GetValue()); labels["collector"] == collector && labels["outcome"] == "committed" && n > 0 {
				swept[labels["scope"]] = n
			}
		}
	}
	return swept
}

// within waits for a condition: long enough for a busy machine, far below what it
// takes until a list that hangs is given up.
func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(25 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 25 s", what)
		}
	}
}

// TestADeadClusterHoldsUpNobody: an API server that goes away while it is listed first
// does not keep another collector from sweeping.
func TestADeadClusterHoldsUpNobody(t *testing.T) {
	api := &apiServer{id: "dead"}
	var lists atomic.Int32
	api.list = func(w http.ResponseWriter, r *http.Request) bool {
		if lists.Add(1) > 4 {
			api.down.Store(true)
			if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
				conn.Close()
			}
			return true
		}
		return false
	}
	registry := collecting(t, clusterSource(t, "dead", api), fakeSource(t, "other"))
	within(t, "the API server is down", api.down.Load)
	for range 3 {
		before := committed(t, registry, "other")["s"]
		within(t, "the other collector goes on", func() bool { return committed(t, registry, "other")["s"] >= before+20 })
	}
}

// TestKindsThatHangCostThemselves: kinds that answer discovery, and never a list, or
// never its end, hold up no other kind, nor another collector.
func TestKindsThatHangCostThemselves(t *testing.T) {
	for name, test := range map[string]struct {
		hang  []string
		begin string // of the answer
	}{
		"no answer": {[]string{"deployments", "daemonsets", "statefulsets"}, ""},
		"no end": {[]string{"deployments", "daemonsets", "statefulsets"},
			`{"metadata":{"resourceVersion":"5"},"items":[{"metadata":{"name":"x","namespace":"a"}},`},
		"what pods wait on": {[]string{"networkpolicies", "poddisruptionbudgets"}, ""},
		"pods":              {[]string{"pods"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			api := &apiServer{id: "hangs"}
			api.list = func(w http.ResponseWriter, r *http.Request) bool {
				for _, resource := range test.hang {
					if strings.HasSuffix(r.URL.Path, "/"+resource) {
						if test.begin != "" {
							fmt.Fprint(w, test.begin)
							w.(http.Flusher).Flush()
						}
						<-r.Context().Done()
						return true
					}
				}
				return false
			}
			registry := collecting(t, clusterSource(t, "hangs", api), fakeSource(t, "other"))
			want := servedKinds + 2 - len(test.hang) // with events and the cluster
			within(t, "all others are swept", func() bool { return len(committed(t, registry, "hangs")) == want })
			within(t, "the other collector goes on", func() bool { return committed(t, registry, "other")["s"] > 20 })
		})
	}
}

// TestTwoClusters: what the kinds of one cluster wait for does not stand behind those
// of the other.
func TestTwoClusters(t *testing.T) {
	var both sync.WaitGroup
	both.Add(2)
	var sources []collect.Source
	for i := range 2 {
		var once sync.Once
		api := &apiServer{id: fmt.Sprint("cluster-", i)}
		api.list = func(http.ResponseWriter, *http.Request) bool {
			once.Do(both.Done)
			both.Wait() // both begin at once
			return false
		}
		sources = append(sources, clusterSource(t, fmt.Sprint("c", i), api))
	}
	registry := collecting(t, sources...)
	for i := range 2 {
		within(t, "all scopes are swept", func() bool { return len(committed(t, registry, fmt.Sprint("c", i))) == servedKinds+2 })
	}
}

// TestListsArePaced: whatever an API server answers, it is not asked without a pause.
func TestListsArePaced(t *testing.T) {
	for name, test := range map[string]struct {
		list, watch string
	}{
		"no resource version": {`{"metadata":{},"items":[]}`, ""},
		"every watch is too late": {`{"metadata":{"resourceVersion":"5"},"items":[]}`,
			`{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}`},
		"a bookmark from before": {`{"metadata":{"resourceVersion":"5"},"items":[]}`,
			`{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"4"}}}`},
		"a change, then too late": {
			`{"metadata":{"resourceVersion":"5"},"items":[]}`,
			`{"type":"ADDED","object":{"metadata":{"name":"x","namespace":"a","resourceVersion":"6"}}}{"type":"ERROR","object":{"kind":"Status",` +
				`"code":410,"reason":"Expired"}}`,
		},
		"an empty watch":   {`{"metadata":{"resourceVersion":"5"},"items":[]}`, " "},
		"a watch of noise": {`{"metadata":{"resourceVersion":"5"},"items":[]}`, `{"type":"NEWS"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int32
			api := &apiServer{id: "odd"}
			api.list = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "/configmaps") {
					return false
				}
				requests.Add(1)
				fmt.Fprint(w, test.list)
				return true
			}
			outer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/configmaps") && r.URL.Query().Get("watch") == "true" {
					requests.Add(1)
					fmt.Fprint(w, test.watch)
					return
				}
				api.ServeHTTP(w, r)
			})
			collecting(t, clusterSource(t, "odd", outer))
			within(t, "it is listed", func() bool { return requests.Load() > 0 })
			time.Sleep(5 * time.Second)
			// Without a pause there are hundreds, with pauses from a second on a few.
			if n := requests.Load(); n > 40 {
				t.Errorf("%d requests in 5 s", n)
			}
		})
	}
}
