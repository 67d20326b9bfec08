package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/kinds"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/object"
)

// told returns the usage that was told of, as "a/x cpu 10:00:00-10:01:00 60", and
// forgets it.
func (s *sink) told() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	for _, u := range s.usage {
		kind, name, _ := strings.Cut(strings.TrimPrefix(u.Subject.UID, "cluster-1/"), "/")
		meter := map[[2]string]string{{"cpu.used", "core.second"}: "cpu", {"memory.used", "byte.second"}: "memory"}[[2]string{u.Meter, u.Unit}]
		if u.Subject.Type != "kubernetes.core."+kind {
			s.t.Errorf("the usage of %s is that of a %s", u.Subject.UID, u.Subject.Type)
		}
		lines = append(lines, fmt.Sprintf("%s %s %s-%s %v", name, meter, u.Start.Format(time.TimeOnly), u.End.Format(time.TimeOnly), u.Quantity))
	}
	s.usage = nil
	slices.Sort(lines)
	return lines
}

var podKind = object.Kind{Version: "v1", Kind: "Pod", Resource: "pods", Namespaced: true}

func newTestMeter(out plugin.Sink) *meter {
	names := object.Names{Cluster: "cluster-1", Namespaced: func(string, string) bool { return true }}
	return newMeter(usualPace, podKind, names, out)
}

func TestMeter(t *testing.T) {
	// A listing has samples as "name time cores"; of memory there are ten bytes
	// for each core.
	type listing struct {
		samples []string
		// want are the lines of CPU that are told of then.
		want []string
	}
	for name, listings := range map[string][]listing{
		"the first word comes with the second sample": {
			{[]string{"x 10:00:10 5"}, nil},
			{[]string{"x 10:01:10 2"}, []string{"a/x cpu 10:00:10-10:01:10 120"}},
			{[]string{"x 10:02:10 2"}, nil},
		},
		"then every ten minutes, with all that there is": {
			{[]string{"x 10:00:00 1"}, nil},
			{[]string{"x 10:04:00 1"}, []string{"a/x cpu 10:00:00-10:04:00 240"}},
			{[]string{"x 10:08:00 1"}, nil},
			{[]string{"x 10:13:00 2"}, nil},
			{[]string{"x 10:14:00 2"}, []string{"a/x cpu 10:00:00-10:14:00 1200"}},
		},
		"an hour ends on the hour": {
			{[]string{"x 10:58:00 1"}, nil},
			{[]string{"x 10:59:00 1"}, []string{"a/x cpu 10:58:00-10:59:00 60"}},
			{[]string{"x 11:01:00 3"}, []string{"a/x cpu 10:58:00-11:00:00 240"}},
			{[]string{"x 11:05:00 1"}, nil},
			{[]string{"x 11:10:00 1"}, []string{"a/x cpu 11:00:00-11:10:00 720"}},
		},
		"a sample on the hour": {
			{[]string{"x 10:59:00 1"}, nil},
			{[]string{"x 11:00:00 1"}, []string{"a/x cpu 10:59:00-11:00:00 60"}},
			{nil, nil},
		},
		"what is gone is told of to its end": {
			{[]string{"x 10:00:00 1", "y 10:00:00 1"}, nil},
			{[]string{"x 10:01:00 1", "y 10:01:00 1"}, []string{"a/x cpu 10:00:00-10:01:00 60", "a/y cpu 10:00:00-10:01:00 60"}},
			{[]string{"x 10:02:00 1", "y 10:02:00 1"}, nil},
			{[]string{"y 10:03:00 1"}, []string{"a/x cpu 10:00:00-10:02:00 120"}},
			{[]string{"x 10:04:00 1", "y 10:04:00 1"}, nil},
			{[]string{"x 10:05:00 1"}, []string{"a/x cpu 10:04:00-10:05:00 60", "a/y cpu 10:00:00-10:04:00 240"}},
		},
		"the same sample again is nothing new": {
			{[]string{"x 10:00:00 1"}, nil},
			{[]string{"x 10:01:00 1"}, []string{"a/x cpu 10:00:00-10:01:00 60"}},
			{[]string{"x 10:01:00 1"}, nil},
			{[]string{"x 10:00:30 1"}, nil},
			{nil, nil},
		},
		"a short gap is made up for, a long one is not": {
			{[]string{"x 10:00:00 1"}, nil},
			{[]string{"x 10:05:00 1"}, []string{"a/x cpu 10:00:00-10:05:00 300"}},
			{[]string{"x 10:06:00 1"}, nil},
			{[]string{"x 10:11:01 1"}, []string{"a/x cpu 10:00:00-10:06:00 360"}},
			{[]string{"x 10:12:01 1"}, []string{"a/x cpu 10:11:01-10:12:01 60"}},
		},
		"a clock that was wrong for a moment": {
			{[]string{"x 10:00:00 1"}, nil},
			{[]string{"x 10:01:00 1"}, []string{"a/x cpu 10:00:00-10:01:00 60"}},
			{[]string{"x 20:00:00 1"}, nil},
			{[]string{"x 10:03:00 1"}, nil},
			{[]string{"x 10:04:00 1"}, []string{"a/x cpu 10:03:00-10:04:00 60"}},
		},
		"seen once": {
			{[]string{"x 10:00:00 1"}, nil},
			{nil, nil},
		},
	} {
		t.Run(name, func(t *testing.T) {
			out := newSink(t)
			m := newTestMeter(out)
			for i, l := range listings {
				m.begin()
				for _, text := range l.samples {
					var name, clock string
					var s kinds.Sample
					if _, err := fmt.Sscan(text, &name, &clock, &s.CPU); err != nil {
						t.Fatal(err)
					}
					s.At, s.Memory = moment(t, clock), s.CPU*10
					if err := m.add(t.Context(), "a", name, s); err != nil {
						t.Fatal(err)
					}
				}
				if err := m.end(t.Context()); err != nil {
					t.Fatal(err)
				}
				want := slices.Clone(l.want)
				for _, line := range l.want {
					want = append(want, strings.Replace(line, "cpu", "memory", 1)+"0")
				}
				slices.Sort(want)
				if got := out.told(); !slices.Equal(got, want) {
					t.Errorf("listing %d: told %q, want %q", i, got, want)
				}
			}
		})
	}
}

func moment(t *testing.T, clock string) time.Time {
	t.Helper()
	at, err := time.Parse(time.DateTime, "2026-03-01 "+clock)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// metered is an API server with metrics, whose time goes on by a minute with each
// listing of pods. Its lists cannot be watched.
type metered struct {
	script
	t *testing.T

	mu sync.Mutex
	// groups are what discovery has beside the core.
	groups string
	// answer, if set, is the status of every answer to a list of metrics.
	answer int
	now    time.Time
	lists  int
	pods   []string
}

const metricsGroup = `{"metadata":{"name":"metrics.k8s.io"},"versions":[{"version":"v1beta1","resources":[
	{"resource":"pods","responseKind":{"kind":"PodMetrics"},"scope":"Namespaced","verbs":["get","list"]},
	{"resource":"nodes","responseKind":{"kind":"NodeMetrics"},"scope":"Cluster","verbs":["get","list"]}]}]}`

func newMetered(t *testing.T) *metered {
	return &metered{t: t, groups: metricsGroup, now: moment(t, "10:00:00"), pods: []string{"a/x"}}
}

func (s *metered) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *metered) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	metrics, ok := strings.CutPrefix(r.URL.Path, "/apis/metrics.k8s.io/v1beta1/")
	switch {
	case r.URL.Path == "/version":
		fmt.Fprint(w, `{"major":"1","minor":"35","gitVersion":"v1.35.0"}`)
	case r.URL.Path == "/apis":
		fmt.Fprintf(w, `{"kind":"APIGroupDiscoveryList","items":[%s]}`, s.groups)
	case !ok:
		s.script.ServeHTTP(w, r)
	case r.URL.Query().Get("watch") == "true":
		fail(w, http.StatusMethodNotAllowed, "MethodNotAllowed")
	case s.answer != 0:
		s.lists++
		fail(w, s.answer, strings.ReplaceAll(http.StatusText(s.answer), " ", ""))
	case metrics == "pods":
		s.lists++
		s.now = s.now.Add(time.Minute)
		var items []string
		for _, pod := range s.pods {
			namespace, name, _ := strings.Cut(pod, "/")
			items = append(items, fmt.Sprintf(`{"metadata":{"name":%q,"namespace":%q},"timestamp":%q,"containers":[{"name":"c",`+
				`"usage":{"cpu":"500m","memory":"1Ki"}}]}`,
				name, namespace, s.now.Format(time.RFC3339)))
		}
		fmt.Fprintf(w, `{"metadata":{},"items":[%s]}`, strings.Join(items, ","))
	case metrics == "nodes":
		fmt.Fprintf(w, `{"metadata":{},"items":[{"metadata":{"name":"n"},"timestamp":%q,"usage":{"cpu":"2","memory":"1Mi"}}]}`,
			s.now.Format(time.RFC3339))
	}
}

func fail(w http.ResponseWriter, code int, reason string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d}`, reason, code)
}

// listed waits for so many more lists.
func (s *metered) listed(more int) {
	s.t.Helper()
	lists := func() (n int) { s.set(func() { n = s.lists }); return n }
	want := lists() + more
	for deadline := time.Now().Add(10 * time.Second); lists() < want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("there were %d lists of metrics, want %d", lists(), want)
		}
	}
}

func TestUsageIsAScopeWhereItIsMeasured(t *testing.T) {
	const pods = `{"metadata":{"name":"metrics.k8s.io"},"versions":[{"version":"v1","resources":[{"resource":"pods",` +
		`"responseKind":{"kind":"PodMetrics"},"scope":"Namespaced","verbs":["get","list"]}]}]}`
	for name, test := range map[string]struct {
		groups string
		opts   options
		want   string // the kinds that are listed
	}{
		"served":             {metricsGroup, options{Usage: true}, "metrics.k8s.io/pods v1beta1, metrics.k8s.io/nodes v1beta1"},
		"served in part":     {pods, options{Usage: true}, "metrics.k8s.io/pods v1"},
		"not served":         {"", options{Usage: true}, ""},
		"only to get":        {strings.ReplaceAll(metricsGroup, `,"list"`, ""), options{Usage: true}, ""},
		"not wanted":         {metricsGroup, options{}, ""},
		"metrics excluded":   {metricsGroup, options{Usage: true, Exclude: []string{"metrics.k8s.io/*"}}, ""},
		"pods excluded":      {metricsGroup, options{Usage: true, Exclude: []string{"Pod"}}, "metrics.k8s.io/nodes v1beta1"},
		"only pods included": {metricsGroup, options{Usage: true, Include: []string{"core/pods"}}, "metrics.k8s.io/pods v1beta1"},
	} {
		t.Run(name, func(t *testing.T) {
			api := newMetered(t)
			api.groups = test.groups
			c, scopes := begin(t, api, test.opts)
			var kinds []string
			for _, k := range c.metrics() {
				kinds = append(kinds, k.String()+" "+k.Version)
			}
			if got := strings.Join(kinds, ", "); got != test.want {
				t.Errorf("listed are %q, want %q", got, test.want)
			}
			published := false
			for _, s := range scopes {
				published = published || s.Name == scopeUsage && s.Watch
				if strings.Contains(s.Name, "metrics.k8s.io") {
					t.Errorf("metrics are the assets of the scope %s", s.Name)
				}
			}
			if published != (test.want != "") {
				t.Errorf("the scopes are %v", scopes)
			}
		})
	}
}

// TestUsageScopeComesAndGoes installs and removes what serves the metrics.
func TestUsageScopeComesAndGoes(t *testing.T) {
	api := newMetered(t)
	api.groups = ""
	c, _ := begin(t, api, options{Usage: true})
	ctx, cancel := context.WithCancel(t.Context())
	published := make(chan []plugin.Scope, 1)
	var done sync.WaitGroup
	defer done.Wait()
	defer cancel()
	done.Go(func() { c.Scopes(ctx, func(scopes []plugin.Scope) { published <- scopes }) })
	for _, groups := range []string{metricsGroup, ""} {
		api.set(func() { api.groups = groups })
		c.definitionsChanged()
		select {
		case scopes := <-published:
			if slices.ContainsFunc(scopes, func(s plugin.Scope) bool { return s.Name == scopeUsage }) != (groups != "") {
				t.Errorf("with the groups %q there are the scopes %v", groups, scopes)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("no scopes were published with the groups %q", groups)
		}
	}
	// A scope that has left is swept once more.
	if err := c.Sweep(t.Context(), plugin.Scope{Name: scopeUsage}, newSink(t)); err != nil {
		t.Errorf("the scope that has left: %v", err)
	}
}

// follow watches the usage until the test ends, or the watch does, and returns
// what it ends with.
func (s *metered) follow(c *collector, out plugin.Sink) (ended chan error, stop func()) {
	s.t.Helper()
	c.pace.list = 2 * time.Millisecond
	if err := c.Sweep(s.t.Context(), plugin.Scope{Name: scopeUsage, Watch: true}, out); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	ended = make(chan error, 1)
	var done sync.WaitGroup
	done.Go(func() { ended <- c.Watch(ctx, plugin.Scope{Name: scopeUsage, Watch: true}, "begun", out) })
	return ended, func() { cancel(); done.Wait() }
}

func TestUsageIsCollected(t *testing.T) {
	api := newMetered(t)
	api.pods = []string{"a/x", "b/y", "b/short"}
	o := options{Usage: true}
	o.Namespaces.Exclude = []string{"a"}
	c, _ := begin(t, api, o)
	out := newSink(t)
	_, stop := api.follow(c, out)
	api.listed(2)
	api.set(func() { api.pods = api.pods[:2] })
	api.listed(70) // more than an hour
	stop()
	told := out.told()
	for _, want := range []string{
		"b/y cpu 10:01:00-10:02:00 30", "b/y cpu 10:01:00-10:12:00 330", "b/y cpu 10:01:00-11:00:00 1770",
		"b/y memory 10:01:00-11:00:00 3.62496e+06",
		"b/short cpu 10:01:00-10:02:00 30", "n cpu 10:01:00-11:00:00 7080",
	} {
		if !slices.Contains(told, want) {
			t.Errorf("%q was not told: %q", want, told)
		}
	}
	for _, line := range told {
		if strings.HasPrefix(line, "a/") {
			t.Errorf("told of a namespace that is excluded: %s", line)
		}
	}
}

// TestMetricsThatAreAway restarts what serves the metrics, for a moment and for
// good.
func TestMetricsThatAreAway(t *testing.T) {
	for name, test := range map[string]struct {
		code int
		want string
	}{
		"503": {http.StatusServiceUnavailable, "listing metrics.k8s.io/pods"},
		"404": {http.StatusNotFound, "listing metrics.k8s.io/pods"},
		"403": {http.StatusForbidden, "verbs get, list and watch"},
	} {
		t.Run(name, func(t *testing.T) {
			api := newMetered(t)
			c, _ := begin(t, api, options{Usage: true})
			out := newSink(t)
			ended, stop := api.follow(c, out)
			defer stop()
			api.listed(4)
			api.set(func() { api.answer = test.code })
			api.listed(4)
			api.set(func() { api.answer = 0 })
			api.listed(12)
			if told := out.told(); !slices.ContainsFunc(told, func(line string) bool { return strings.HasPrefix(line, "a/x cpu 10:01:00-10:1") }) {
				t.Errorf("the period did not go on behind the fault: %q", told)
			}
			// The same for longer is a fault of the scope, and what was measured
			// before is told of to its end.
			stop()
			<-ended
			c.pace.patience = 50 * time.Millisecond
			ended, stop = api.follow(c, out)
			defer stop()
			api.listed(4)
			var last string
			api.set(func() { api.answer, last = test.code, api.now.Format(time.TimeOnly) })
			select {
			case err := <-ended:
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("the watch ended with %v, want %q in it", err, test.want)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("the fault was never told")
			}
			if told := out.told(); !slices.ContainsFunc(told, func(line string) bool {
				return strings.HasPrefix(line, "a/x cpu ") && strings.Contains(line, "-"+last+" ")
			}) {
				t.Errorf("what was used until %s was not told: %q", last, told)
			}
			// So is one that was there from the first.
			ended, stop = api.follow(c, out)
			defer stop()
			if err := <-ended; err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the watch ended with %v, want %q in it", err, test.want)
			}
		})
	}
}

// deaf is a sink that takes nothing any more.
type deaf struct{ *sink }

func (deaf) Apply(context.Context, plugin.Checkpoint, ...plugin.Fact) error { return errDeaf }

var errDeaf = errors.New("the disk is full")

func TestUsageEndsWithTheAgentsFault(t *testing.T) {
	api := newMetered(t)
	c, _ := begin(t, api, options{Usage: true})
	ended, stop := api.follow(c, deaf{newSink(t)})
	defer stop()
	select {
	case err := <-ended:
		if !errors.Is(err, errDeaf) {
			t.Errorf("the watch ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the watch goes on though nothing is recorded")
	}
}

// TestMeterOfManyPodsIsSmall holds what 10,000 pods cost between listings.
func TestMeterOfManyPodsIsSmall(t *testing.T) {
	const pods = 10_000
	heap := func() uint64 {
		var s runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	m := newTestMeter(nullSink{})
	before := heap()
	at := moment(t, "10:00:00")
	for range 3 {
		m.begin()
		for i := range pods {
			// Strings of their own, as they come out of a list.
			name, namespace := fmt.Sprintf("frontend-7d9c5b8f6d-%05d", i), fmt.Sprintf("team-%03d", i%100)
			if err := m.add(t.Context(), namespace, name, kinds.Sample{At: at, CPU: 0.1, Memory: 1 << 20}); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.end(t.Context()); err != nil {
			t.Fatal(err)
		}
		at = at.Add(time.Minute)
	}
	each := (heap() - before) / pods
	t.Logf("%d bytes a pod", each)
	if each > 512 {
		t.Errorf("%d bytes a pod", each)
	}
	runtime.KeepAlive(m)
}

// nullSink keeps nothing.
type nullSink struct{ plugin.Sink }

func (nullSink) Apply(context.Context, plugin.Checkpoint, ...plugin.Fact) error { return nil }
