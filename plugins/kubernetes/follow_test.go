package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/plugin"
)

// sink keeps what it is told, as the agent would.
type sink struct {
	t  *testing.T
	mu sync.Mutex

	checkpoint plugin.Checkpoint
	state      map[plugin.Key]plugin.Observation
	events     []plugin.Event
	usage      []plugin.Usage
	changed    chan struct{}
}

func newSink(t *testing.T) *sink {
	return &sink{t: t, state: make(map[plugin.Key]plugin.Observation), changed: make(chan struct{}, 1)}
}

func (s *sink) Begin(context.Context) (plugin.Sweep, error) {
	return &sweep{sink: s, listed: make(map[plugin.Key]plugin.Observation)}, nil
}

func (s *sink) Apply(_ context.Context, c plugin.Checkpoint, facts ...plugin.Fact) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c != "" {
		s.checkpoint = c
	}
	for _, f := range facts {
		switch {
		case f.Upsert != nil:
			s.state[f.Upsert.Key] = canonical(s.t, *f.Upsert)
		case f.Delete != nil:
			delete(s.state, *f.Delete)
		case f.Event != nil:
			s.events = append(s.events, *f.Event)
		case f.Usage != nil:
			s.usage = append(s.usage, *f.Usage)
		}
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return nil
}

func (s *sink) Recall(_ context.Context, visit func(plugin.Observation) error) error {
	for _, o := range s.all() {
		if err := visit(o); err != nil {
			return err
		}
	}
	return nil
}

func (s *sink) all() (list []plugin.Observation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.state {
		list = append(list, o)
	}
	slices.SortFunc(list, func(a, b plugin.Observation) int { return strings.Compare(a.UID, b.UID) })
	return list
}

func (s *sink) names() string {
	var names []string
	for _, o := range s.all() {
		names = append(names, o.Name)
	}
	return strings.Join(names, " ")
}

// wait waits until the names of the assets are these.
func (s *sink) wait(names string) {
	s.t.Helper()
	deadline := time.After(10 * time.Second)
	for s.names() != names {
		select {
		case <-s.changed:
		case <-deadline:
			s.t.Fatalf("the assets are %q, want %q", s.names(), names)
		}
	}
}

type sweep struct {
	sink   *sink
	listed map[plugin.Key]plugin.Observation
	blind  bool
}

func (w *sweep) Upsert(_ context.Context, observations ...plugin.Observation) error {
	for _, o := range observations {
		w.listed[o.Key] = canonical(w.sink.t, o)
	}
	return nil
}

func (w *sweep) Keep(_ context.Context, keys ...plugin.Key) error {
	w.sink.mu.Lock()
	defer w.sink.mu.Unlock()
	for _, key := range keys {
		if was, known := w.sink.state[key]; known && w.listed[key].Document == nil {
			w.listed[key] = was
		}
	}
	return nil
}

func (w *sweep) Unread(_ context.Context, key plugin.Key, _ string) error {
	w.blind = w.blind || key == plugin.Key{}
	return w.Keep(context.Background(), key)
}

func (w *sweep) Commit(_ context.Context, c plugin.Checkpoint) error {
	w.sink.mu.Lock()
	defer w.sink.mu.Unlock()
	for key, was := range w.sink.state {
		if _, there := w.listed[key]; w.blind && !there {
			w.listed[key] = was
		}
	}
	w.sink.state = w.listed
	if c != "" {
		w.sink.checkpoint = c
	}
	return nil
}

// canonical fails the test where the agent would refuse an observation.
func canonical(t *testing.T, o plugin.Observation) plugin.Observation {
	t.Helper()
	doc, err := document.Canonical(o.Document)
	if err != nil {
		t.Errorf("%v: %v", o.Key, err)
	}
	o.Document = doc
	return o
}

// script is an API server of one kind whose watches do what a healthy one's do
// not on demand.
type script struct {
	t       *testing.T
	mu      sync.Mutex
	items   []string
	version string
	// watches answer one watch each; asked are the versions that they began at.
	watches []func(w http.ResponseWriter, r *http.Request)
	asked   []string
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	switch {
	case r.URL.Path == "/version":
		fmt.Fprint(w, `{"major":"1","minor":"30","gitVersion":"v1.30.0"}`)
	case r.URL.Path == "/readyz":
	case r.URL.Path == "/api/v1/namespaces/kube-system":
		fmt.Fprint(w, `{"metadata":{"name":"kube-system","uid":"cluster-1"}}`)
	case r.URL.Path == "/api":
		fmt.Fprint(w, `{"kind":"APIGroupDiscoveryList"}`)
	case r.URL.Path == "/apis":
		fmt.Fprint(w, `{"kind":"APIGroupDiscoveryList","items":[{"metadata":{"name":"example.com"},"versions":[{"version":"v1","resources":[
			{"resource":"widgets","responseKind":{"kind":"Widget"},"scope":"Namespaced","verbs":["list","watch"]}]}]}]}`)
	case q.Get("watch") == "true":
		s.mu.Lock()
		s.asked = append(s.asked, q.Get("resourceVersion"))
		answer := func(http.ResponseWriter, *http.Request) { <-r.Context().Done() }
		if len(s.watches) > 0 {
			answer, s.watches = s.watches[0], s.watches[1:]
		}
		s.mu.Unlock()
		w.(http.Flusher).Flush()
		answer(w, r)
	default:
		s.mu.Lock()
		defer s.mu.Unlock()
		fmt.Fprintf(w, `{"metadata":{"resourceVersion":%q},"items":[%s]}`, s.version, strings.Join(s.items, ","))
	}
}

func widget(name, version string) string {
	return fmt.Sprintf(`{"metadata":{"name":%q,"namespace":"a","resourceVersion":%q,"creationTimestamp":"2026-01-01T00:00:00Z"}}`, name,
		version)
}

// send writes messages into a watch, and then leaves it open or ends it.
func send(end bool, messages ...string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, m := range messages {
			fmt.Fprintln(w, m)
		}
		w.(http.Flusher).Flush()
		if !end {
			<-r.Context().Done()
		}
	}
}

func message(kind, object string) string { return fmt.Sprintf(`{"type":%q,"object":%s}`, kind, object) }

// begin starts a collector of the script, up to its scopes.
func (s *script) begin(options options) *collector {
	s.t.Helper()
	c, _ := begin(s.t, s, options)
	return c
}

// begin starts a collector of an API server, up to its scopes.
func begin(t *testing.T, api http.Handler, options options, token ...string) (*collector, []plugin.Scope) {
	t.Helper()
	return beginLogged(t, api, options, slog.New(slog.DiscardHandler), token...)
}

func beginLogged(t *testing.T, api http.Handler, options options, log *slog.Logger, token ...string) (*collector, []plugin.Scope) {
	t.Helper()
	server := httptest.NewUnstartedServer(api)
	if len(token) > 0 { // clients send none in the open
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	options.Kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	config := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","clusters":[{"name":"c","cluster":{"server":%q,`+
		`"insecure-skip-tls-verify":true}}],"users":[{"name":"u","user":{"token":%q}}],
		"contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],"current-context":"c"}`, server.URL, strings.Join(token, ""))
	if err := os.WriteFile(options.Kubeconfig, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newCollector(log, options)
	ctx, cancel := context.WithCancel(t.Context())
	published := make(chan []plugin.Scope, 1)
	var done sync.WaitGroup
	ended := make(chan error, 1)
	done.Go(func() { ended <- c.Scopes(ctx, func(scopes []plugin.Scope) { published <- scopes }) })
	var scopes []plugin.Scope
	select {
	case scopes = <-published:
	case err := <-ended:
		cancel()
		t.Fatal(err)
	}
	cancel()
	done.Wait()
	return c, scopes
}

var widgetScope = plugin.Scope{Name: "example.com/widgets", Watch: true}

func (s *script) versions() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.asked, " ")
}

func TestWatchesGoOnWhereTheyEnded(t *testing.T) {
	s := &script{t: t, version: "5", items: []string{widget("a", "3"), widget("b", "4")}}
	s.watches = []func(http.ResponseWriter, *http.Request){
		// Cut in the middle of a message, by the server, and for good.
		send(true, message("ADDED", widget("c", "6")), message("DELETED", widget("a", "7")), `{"type":"ADDED","obj`),
		send(true, message("BOOKMARK", `{"metadata":{"resourceVersion":"9"}}`)),
		send(false, message("DELETED", widget("b", "10"))),
	}
	c, out := s.begin(options{}), newSink(t)
	if err := c.Sweep(t.Context(), widgetScope, out); err != nil {
		t.Fatal(err)
	}
	out.wait("a b")
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		if err := c.Watch(ctx, widgetScope, out.checkpoint, out); !errors.Is(err, context.Canceled) {
			t.Errorf("the watch ended with %v", err)
		}
	})
	out.wait("c")
	cancel()
	done.Wait()
	if s.versions() != "5 7 9" {
		t.Errorf("watches began at %s", s.versions())
	}
	if version, err := c.version(c.cluster, out.checkpoint); version != "10" || err != nil {
		t.Errorf("checkpoint %q (%v)", version, err)
	}
}

func TestSilentWatchesAreOpenedAgain(t *testing.T) {
	s := &script{t: t, version: "5"}
	s.watches = []func(http.ResponseWriter, *http.Request){
		send(false, message("ADDED", widget("a", "6"))), // and nothing ever after
		send(false, message("ADDED", widget("b", "7"))),
	}
	c, out := s.begin(options{}), newSink(t)
	c.impatience = 50 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { c.Watch(ctx, widgetScope, c.checkpoint(c.cluster, "5"), out) })
	out.wait("a b")
	cancel()
	done.Wait()
	if !strings.HasPrefix(s.versions(), "5 6") {
		t.Errorf("watches began at %s", s.versions())
	}
}

func TestCheckpointsThatAreOfNoUse(t *testing.T) {
	s := &script{t: t, version: "5"}
	c, out := s.begin(options{}), newSink(t)
	good := c.checkpoint(c.cluster, "5")
	other := newCollector(c.log, options{EnvValues: true})
	for name, from := range map[string]plugin.Checkpoint{
		"none":                         "",
		"nonsense":                     "5",
		"of another cluster":           plugin.Checkpoint(strings.Replace(string(good), c.cluster.ID, "cluster-2", 1)),
		"from before an option change": other.checkpoint(c.cluster, "5"),
	} {
		if err := c.Watch(t.Context(), widgetScope, from, out); !errors.Is(err, plugin.ErrCheckpointExpired) {
			t.Errorf("a checkpoint %s: %v", name, err)
		}
	}
	for name, answer := range map[string]string{
		"too old":           message("ERROR", `{"kind":"Status","code":410,"reason":"Expired"}`),
		"from a newer past": message("BOOKMARK", `{"metadata":{"resourceVersion":"4"}}`),
	} {
		s.mu.Lock()
		s.watches = []func(http.ResponseWriter, *http.Request){send(false, answer)}
		s.mu.Unlock()
		if err := c.Watch(t.Context(), widgetScope, good, out); !errors.Is(err, plugin.ErrCheckpointExpired) {
			t.Errorf("a checkpoint %s: %v", name, err)
		}
	}
}

func TestNamespacesAndScopesThatAreLeftOut(t *testing.T) {
	s := &script{t: t, version: "5", items: []string{
		widget("a", "1"), strings.Replace(widget("b", "2"), `"namespace":"a"`, `"namespace":"kube-system"`, 1),
	}}
	var o options
	o.Namespaces.Exclude = []string{"kube-*"}
	c, out := s.begin(o), newSink(t)
	if err := c.Sweep(t.Context(), widgetScope, out); err != nil {
		t.Fatal(err)
	}
	out.wait("a")
	// A kind that the options leave out now is empty; one that is said to be
	// served is not gone, whatever is asked for.
	if err := c.Sweep(t.Context(), plugin.Scope{Name: "core/secrets"}, out); err != nil {
		t.Errorf("a kind that is not served, and has no definition: %v", err)
	}
	out.wait("")
	if err := c.Sweep(t.Context(), widgetScope, out); err != nil {
		t.Fatal(err)
	}
	c.opts.Exclude = []string{"Widget"}
	if err := c.Sweep(t.Context(), widgetScope, out); err != nil {
		t.Errorf("a kind that is excluded: %v", err)
	}
	out.wait("")
	// When it is not excluded any more it is listed, not watched from where it was
	// left off.
	c.opts.Exclude = nil
	if err := c.Watch(t.Context(), widgetScope, out.checkpoint, out); !errors.Is(err, plugin.ErrCheckpointExpired) {
		t.Errorf("a kind that was excluded: %v", err)
	}
}
