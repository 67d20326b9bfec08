package kubernetes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/cluster"
)

// lists is a script whose lists are what the test says.
type lists struct {
	script
	answer func(w http.ResponseWriter, r *http.Request)
}

func (l *lists) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/apis/example.com/") && (l.answer != nil) && r.URL.Query().Get("watch") != "true" {
		w.Header().Set("Content-Type", "application/json")
		l.answer(w, r)
		return
	}
	l.script.ServeHTTP(w, r)
}

func refuse(w http.ResponseWriter, code int, reason, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d,"message":%q}`, reason, code, message)
}

// TestSlightlyWrongLists: what can be read is collected, and what a list does not
// tell is not taken for deleted.
func TestSlightlyWrongLists(t *testing.T) {
	page := func(items string) string { return `{"metadata":{"resourceVersion":"7"},"items":[` + items + `]}` }
	for _, test := range []struct{ name, answer, want string }{
		{"null among them", page(widget("c", "5") + ",null," + widget("d", "6")), "a b c d"},
		{"no name", page(widget("c", "5") + `,{"metadata":{}}`), "a b c"},
		{"a Status", `{"kind":"Status","apiVersion":"v1","status":"Success"}`, "a b"},
		{"complete again", page(widget("d", "6")), "d"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := &lists{script: script{t: t, version: "5", items: []string{widget("a", "3"), widget("b", "4")}}}
			c, _ := begin(t, l, options{})
			out := newSink(t)
			if err := c.Sweep(t.Context(), widgetScope, out); err != nil {
				t.Fatal(err)
			}
			out.wait("a b")
			l.answer = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, test.answer) }
			if err := c.Sweep(t.Context(), widgetScope, out); err != nil {
				t.Fatal(err)
			}
			out.wait(test.want)
		})
	}
}

// TestListsThatBeginAgainLeaveNoGhost: an object of the first page that is gone when
// the list begins again is deleted.
func TestListsThatBeginAgainLeaveNoGhost(t *testing.T) {
	l := &lists{script: script{t: t}}
	l.answer = func(w http.ResponseWriter, r *http.Request) {
		switch q := r.URL.Query(); {
		case q.Get("continue") != "":
			refuse(w, http.StatusGone, "Expired", "the continue token is too old")
		case q.Get("limit") != "":
			fmt.Fprintf(w, `{"metadata":{"resourceVersion":"7","continue":"more"},"items":[%s,%s]}`, widget("ghost", "1"), widget("a", "2"))
		default:
			fmt.Fprintf(w, `{"metadata":{"resourceVersion":"9"},"items":[%s,%s]}`, widget("a", "2"), widget("b", "8"))
		}
	}
	c, _ := begin(t, l, options{})
	out := newSink(t)
	if err := c.Sweep(t.Context(), widgetScope, out); err != nil {
		t.Fatal(err)
	}
	if out.names() != "a b" {
		t.Errorf("the assets are %q", out.names())
	}
	if version, err := c.version(c.cluster, out.checkpoint); version != "9" || err != nil {
		t.Errorf("checkpoint %q (%v)", out.checkpoint, err)
	}
}

// TestKindsThatCannotBeWatchedAreListedNowAndThen: neither at once again, nor never.
func TestKindsThatCannotBeWatchedAreListedNowAndThen(t *testing.T) {
	for name, test := range map[string]struct {
		version string
		watch   func(w http.ResponseWriter, r *http.Request)
	}{
		"not allowed":   {"5", func(w http.ResponseWriter, _ *http.Request) { refuse(w, 403, "Forbidden", "no") }},
		"not supported": {"5", func(w http.ResponseWriter, _ *http.Request) { refuse(w, 405, "MethodNotAllowed", "no") }},
		"no version":    {"", func(http.ResponseWriter, *http.Request) { t.Error("a watch from nowhere") }},
	} {
		t.Run(name, func(t *testing.T) {
			l := &lists{script: script{t: t, version: test.version, items: []string{widget("a", "")}}}
			api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Get("watch") == "true" {
					test.watch(w, r)
					return
				}
				l.ServeHTTP(w, r)
			})
			c, _ := begin(t, api, options{})
			out := newSink(t)
			if err := c.Sweep(t.Context(), widgetScope, out); err != nil {
				t.Fatal(err)
			}
			out.wait("a")
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			if err := c.Watch(ctx, widgetScope, out.checkpoint, out); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("just listed, and already: %v", err)
			}
			if ctx.Err() == nil {
				t.Error("it ended before its time")
			}
			c.mu.Lock()
			c.listed[widgetScope.Name] = time.Now().Add(-listEvery)
			c.mu.Unlock()
			if err := c.Watch(t.Context(), widgetScope, out.checkpoint, out); !errors.Is(err, plugin.ErrCheckpointExpired) {
				t.Errorf("when it is time: %v", err)
			}
		})
	}
}

// TestWatchesThatDoNotComeAbout: the kind is listed instead, after a few tries.
func TestWatchesThatDoNotComeAbout(t *testing.T) {
	for name, watch := range map[string]func(w http.ResponseWriter, r *http.Request){
		"a list for it": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"metadata":{"resourceVersion":"5"},"items":[]}`)
		},
		"a page for it": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `<html>`) },
		"an error":      func(w http.ResponseWriter, _ *http.Request) { refuse(w, 500, "InternalError", "no") },
		"away":          func(w http.ResponseWriter, _ *http.Request) { refuse(w, 503, "ServiceUnavailable", "no") },
		"an end":        func(http.ResponseWriter, *http.Request) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &script{t: t, version: "5"}
			var tries atomic.Int32
			c, _ := begin(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Get("watch") == "true" {
					tries.Add(1)
					watch(w, r)
					return
				}
				s.ServeHTTP(w, r)
			}), options{})
			out := newSink(t)
			if err := c.Watch(t.Context(), widgetScope, c.checkpoint(c.cluster, "5"), out); !errors.Is(err, plugin.ErrCheckpointExpired) {
				t.Errorf("error %v", err)
			}
			if n := tries.Load(); n != maxReopen+1 {
				t.Errorf("tried %d times", n)
			}
		})
	}
}

// TestCredentialsThatAreRevoked: it is said at once, as one thing, and what a
// kubeconfig has instead is taken.
func TestCredentialsThatAreRevoked(t *testing.T) {
	var token atomic.Value
	token.Store("first")
	s := &script{t: t, version: "5", items: []string{widget("a", "3")}}
	s.watches = []func(http.ResponseWriter, *http.Request){send(true)} // the server restarts
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token.Load().(string) {
			refuse(w, http.StatusUnauthorized, "Unauthorized", "Unauthorized")
			return
		}
		s.ServeHTTP(w, r)
	})
	c, _ := begin(t, api, options{}, "first")
	out := newSink(t)
	if err := c.Sweep(t.Context(), widgetScope, out); err != nil {
		t.Fatal(err)
	}
	token.Store("second")
	var source *plugin.SourceError
	for what, call := range map[string]func() error{
		"watch": func() error { return c.Watch(t.Context(), widgetScope, out.checkpoint, out) },
		"sweep": func() error { return c.Sweep(t.Context(), widgetScope, out) },
		"ask":   func() error { return c.Watch(t.Context(), plugin.Scope{Name: scopeCluster}, "begun", out) },
	} {
		began := time.Now()
		err := call()
		if !errors.As(err, &source) || !cluster.Unauthorized(err) || !strings.Contains(err.Error(), "does not accept the credentials") {
			t.Errorf("%s: %v", what, err)
		}
		if time.Since(began) > gatePatience {
			t.Errorf("%s: said after %v", what, time.Since(began))
		}
	}
	config, err := os.ReadFile(c.opts.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.opts.Kubeconfig, bytes.Replace(config, []byte("first"), []byte("second"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.items = append(s.items, widget("b", "6"))
	s.mu.Unlock()
	if err := c.Sweep(t.Context(), widgetScope, out); err != nil {
		t.Fatalf("with the new token: %v", err)
	}
	out.wait("a b")
}

// TestRedirectsElsewhere: the credentials go to the host that the kubeconfig names, and to
// no other.
func TestRedirectsElsewhere(t *testing.T) {
	var told atomic.Int32
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		told.Add(1)
		fmt.Fprint(w, `{"metadata":{"resourceVersion":"9"},"items":[]}`)
	}))
	defer elsewhere.Close()
	s := &script{t: t, version: "5", items: []string{widget("a", "3")}}
	var to atomic.Value
	to.Store("")
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch where := to.Load().(string); {
		case !strings.HasPrefix(r.URL.Path, "/apis/example.com/") || where == "" || r.URL.Query().Has("here"):
			s.ServeHTTP(w, r)
		default:
			http.Redirect(w, r, where+r.URL.Path+"?here", http.StatusTemporaryRedirect)
		}
	})
	c, _ := begin(t, api, options{}, "token")
	out := newSink(t)
	if err := c.Sweep(t.Context(), widgetScope, out); err != nil {
		t.Fatal(err)
	}
	to.Store(elsewhere.URL)
	if err := c.Sweep(t.Context(), widgetScope, out); err == nil || !strings.Contains(err.Error(), "to which the credentials are not sent") {
		t.Errorf("error %v", err)
	}
	out.wait("a")
	if told.Load() > 0 {
		t.Error("another host was asked, with the token")
	}
	s.mu.Lock()
	s.items = append(s.items, widget("b", "4"))
	s.mu.Unlock()
	to.Store("/.")
	if err := c.Sweep(t.Context(), widgetScope, out); err != nil {
		t.Errorf("at the same host: %v", err)
	}
	out.wait("a b")
}

// TestPagesWithoutEnd: a list that goes in a circle is none, and is given up soon.
func TestPagesWithoutEnd(t *testing.T) {
	for name, page := range map[string]func(token string) (more string, item string){
		"one token":   func(string) (string, string) { return "x", widget("a", "1") },
		"two tokens":  func(token string) (string, string) { return map[string]string{"x": "y"}[token] + "x", widget("a", "1") },
		"one page":    func(token string) (string, string) { return token + "x", widget("a", "1") },
		"three pages": func(token string) (string, string) { return token + "x", widget(fmt.Sprint("w", len(token)%3), "1") },
		"empty pages": func(token string) (string, string) { return token + "x", "" },
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			l := &lists{script: script{t: t, version: "5", items: []string{widget("a", "3"), widget("b", "4")}}}
			c, _ := begin(t, l, options{})
			out := newSink(t)
			if err := c.Sweep(t.Context(), widgetScope, out); err != nil {
				t.Fatal(err)
			}
			l.answer = func(w http.ResponseWriter, r *http.Request) {
				asked++
				more, item := page(r.URL.Query().Get("continue"))
				fmt.Fprintf(w, `{"metadata":{"resourceVersion":"7","continue":%q},"items":[%s]}`, more, item)
			}
			if err := c.Sweep(t.Context(), widgetScope, out); err == nil || !strings.Contains(err.Error(), "no end") {
				t.Errorf("error %v", err)
			}
			if out.wait("a b"); asked > 12 {
				t.Errorf("%d pages were asked for", asked)
			}
		})
	}
}

// TestAKubeconfigThatLeadsElsewhere: the objects of another cluster are not taken for
// those of this one.
func TestAKubeconfigThatLeadsElsewhere(t *testing.T) {
	var id atomic.Value
	id.Store("cluster-1")
	s := &script{t: t, version: "5", items: []string{widget("a", "3")}}
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case id.Load() != "cluster-1" && r.Header.Get("Authorization") != "Bearer second":
			refuse(w, http.StatusUnauthorized, "Unauthorized", "Unauthorized")
		case r.URL.Path == "/api/v1/namespaces/kube-system":
			fmt.Fprintf(w, `{"metadata":{"uid":%q}}`, id.Load())
		default:
			s.ServeHTTP(w, r)
		}
	})
	c, _ := begin(t, api, options{}, "first")
	out := newSink(t)
	if err := c.Sweep(t.Context(), widgetScope, out); err != nil {
		t.Fatal(err)
	}
	id.Store("cluster-2")
	config, err := os.ReadFile(c.opts.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.opts.Kubeconfig, bytes.Replace(config, []byte("first"), []byte("second"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.items = nil
	s.mu.Unlock()
	for range 2 {
		if err := c.Sweep(t.Context(), widgetScope, out); err == nil || !strings.Contains(err.Error(), "another cluster") {
			t.Errorf("error %v", err)
		}
	}
	out.wait("a")
}

// TestRefusalsAreSaidOnce: an account without rights is one fault, not one a kind.
func TestRefusalsAreSaidOnce(t *testing.T) {
	var allowed atomic.Bool
	s := &script{t: t, version: "5"}
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/api":
			fmt.Fprint(w, `{"kind":"APIGroupDiscoveryList","items":[{"metadata":{"name":""},"versions":[{"version":"v1","resources":[
				{"resource":"secrets","responseKind":{"kind":"Secret"},"scope":"Namespaced","verbs":["list","watch"]},
				{"resource":"configmaps","responseKind":{"kind":"ConfigMap"},"scope":"Namespaced","verbs":["list","watch"]}]}]}]}`)
		case strings.HasPrefix(r.URL.Path, "/api/v1/") && r.URL.Path != "/api/v1/namespaces/kube-system" && !allowed.Load():
			refuse(w, http.StatusForbidden, "Forbidden", `x is forbidden: User "bob" cannot list resource "x" in API group "" at the cluster scope`)
		default:
			s.ServeHTTP(w, r)
		}
	})
	c, scopes := begin(t, api, options{})
	sources := make(map[string]int)
	for _, scope := range scopes {
		var source *plugin.SourceError
		if err := c.Sweep(t.Context(), scope, newSink(t)); errors.As(err, &source) {
			sources[source.Source]++
		} else if err != nil {
			t.Errorf("%s: %v", scope.Name, err)
		}
	}
	if len(sources) != 1 || sources[`the rights of "bob"`] != 3 { // with the events
		t.Errorf("sources %v", sources)
	}
	checks, err := c.Verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var failed []string
	for _, check := range checks {
		if check.Err != nil {
			failed = append(failed, check.Err.Error())
		}
	}
	if len(failed) != 1 || !strings.Contains(failed[0], `"bob" list 3 of 4 kinds: core/configmaps, core/secrets, core/events`) ||
		!strings.Contains(failed[0], "get, list and watch") {
		t.Errorf("check says %q", failed)
	}
	allowed.Store(true)
	if checks, err = c.Verify(t.Context()); err != nil || checks[len(checks)-1].Detail != "4 of 4 kinds can be listed" {
		t.Errorf("when it is allowed: %+v, %v", checks, err)
	}
}

// TestNoListIsNoAlarm: what cannot be listed by its nature is no failed check.
func TestNoListIsNoAlarm(t *testing.T) {
	l := &lists{script: script{t: t}}
	l.answer = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"kind":"Status","status":"Success"}`) }
	c, _ := begin(t, l, options{Exclude: []string{"Event"}})
	checks, err := c.Verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, check := range checks {
		if check.Err != nil {
			t.Errorf("check says %v", check.Err)
		}
	}
	if last := checks[len(checks)-1]; !strings.Contains(last.Detail, "0 of 0 kinds") ||
		!strings.Contains(last.Detail, "nothing to list of example.com/widgets") {
		t.Errorf("check says %q", last.Detail)
	}
}

// TestPatternsThatMatchNothing: a mistyped name is an error of the check, and said
// at the start.
func TestPatternsThatMatchNothing(t *testing.T) {
	for _, test := range []struct {
		name    string
		options options
		errs    []string // that the check says
		said    string   // at the start
	}{
		{"all is well", options{Include: []string{"Widget", "example.com/*", "Event"}, Exclude: []string{"widgets"}}, nil, ""},
		{"include", options{Include: []string{"Wigdet"}},
			[]string{`include[0] "Wigdet" matches none of the 1 kinds that are served; is it Widget`}, "Wigdet"},
		{"one of two", options{Include: []string{"widgets", "exmaple.com/*"}}, []string{`include[1] "exmaple.com/*"`}, "exmaple"},
		{"of a group that is away", options{Include: []string{"away.example.com/*"}}, nil, ""},
		{"exclude", options{Exclude: []string{"Wigdet"}}, nil, "Wigdet"},
		{"volatile", options{Volatile: map[string][]string{"Wigdet": {"x"}}}, nil, "Wigdet"},
		{"namespaces", func() (o options) {
			o.Namespaces.Include = []string{"kube-*", "prodd"}
			return o
		}(), []string{`namespaces.include[1] "prodd" matches none of the 2 namespaces; is it prod`}, "prodd"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &script{t: t}
			api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/api":
					fmt.Fprint(w, `{"kind":"APIGroupDiscoveryList","items":[{"metadata":{"name":"away.example.com"},"versions":[{"version":"v1",`+
						`"freshness":"Stale"}]}]}`)
				case "/api/v1/namespaces":
					fmt.Fprint(w, `{"metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":"kube-system"}},{"metadata":{"name":"prod"}}]}`)
				default:
					s.ServeHTTP(w, r)
				}
			})
			var log lockedBuffer
			c, _ := beginLogged(t, api, test.options, slog.New(slog.NewTextHandler(&log, nil)))
			if said := log.String(); test.said != "" != strings.Contains(said, "matches nothing") || !strings.Contains(said, test.said) {
				t.Errorf("at the start: %s", said)
			}
			checks, err := c.Verify(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var errs []string
			for _, check := range checks {
				if check.Err != nil && check.Subject == "options" {
					errs = append(errs, check.Err.Error())
				}
			}
			if len(errs) != len(test.errs) {
				t.Fatalf("check says %q", errs)
			}
			for i, want := range test.errs {
				if !strings.Contains(errs[i], want) {
					t.Errorf("check says %q, want %q", errs[i], want)
				}
			}
		})
	}
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var _ io.Writer = (*lockedBuffer)(nil)

// TestGateAnswersAll: of many who wait, one asks, and all have its answer.
func TestGateAnswersAll(t *testing.T) {
	down := errors.New("connection refused")
	for name, answer := range map[string]error{"up": nil, "down": down} {
		t.Run(name, func(t *testing.T) {
			g := newGate()
			g.patience = 50 * time.Millisecond
			var asked atomic.Int32
			begun := make(chan struct{})
			ask := func(context.Context) error {
				asked.Add(1)
				<-begun
				return answer
			}
			var done sync.WaitGroup
			for range 20 {
				done.Go(func() {
					if err := g.wait(t.Context(), ask); !errors.Is(err, answer) {
						t.Errorf("error %v", err)
					}
				})
			}
			time.AfterFunc(200*time.Millisecond, func() { close(begun) })
			done.Wait()
			if n := asked.Load(); n > 5 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}
