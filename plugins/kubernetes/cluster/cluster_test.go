package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"k8s.io/client-go/rest"

	"github.com/reeve-cloud/reeve/plugins/kubernetes/object"
)

// These answers are ones that a healthy API server does not give on demand. All
// others come from a real one, in the end-to-end tests.

var widgets = object.Kind{Group: "example.com", Version: "v1", Kind: "Widget", Resource: "widgets", Namespaced: true}

func serve(t *testing.T, minor string, handler http.HandlerFunc) *Cluster {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	c := at(t, server.URL)
	c.Version = Version{Major: "1", Minor: minor}
	return c
}

// at returns a client of what is at an address.
func at(t *testing.T, url string) *Cluster {
	t.Helper()
	r, err := newClient(&rest.Config{Host: url})
	if err != nil {
		t.Fatal(err)
	}
	c := new(Cluster)
	c.client.Store(&client{rest: r})
	return c
}

func status410(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusGone)
	fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410,"message":"too old"}`)
}

func list(version, next string, names ...string) string {
	var items []string
	for _, n := range names {
		items = append(items, fmt.Sprintf(`{"metadata":{"name":%q,"namespace":"a"}}`, n))
	}
	return fmt.Sprintf(`{"kind":"WidgetList","apiVersion":"example.com/v1","metadata":{"resourceVersion":%q,"continue":%q},"items":[%s]}`,
		version, next, strings.Join(items, ","))
}

func names(into *[]string) func(*object.Object) error {
	return func(o *object.Object) error {
		*into = append(*into, o.Meta.Name)
		return nil
	}
}

func TestPagesBeginAgainWhenTheirSnapshotIsGone(t *testing.T) {
	var asked []string
	c := serve(t, "30", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		asked = append(asked, q.Get("limit")+q.Get("continue"))
		switch {
		case q.Get("continue") == "more":
			status410(w)
		case q.Get("limit") == "500":
			fmt.Fprint(w, list("7", "more", "a"))
		default:
			fmt.Fprint(w, list("9", "", "a", "b"))
		}
	})
	var got []string
	again := func() { got = append(got, "again") }
	l, err := c.List(t.Context(), widgets, Query{}, names(&got), again)
	if err != nil || l.Version != "9" || !slices.Equal(got, []string{"a", "again", "a", "b"}) {
		t.Errorf("list %+v, objects %q, error %v", l, got, err)
	}
	if want := []string{"500", "500more", ""}; !slices.Equal(asked, want) {
		t.Errorf("asked for %q, want %q", asked, want)
	}
}

func TestListsThatAreCutAreNotComplete(t *testing.T) {
	whole := list("7", "", "a", "b")
	for cut := range len(whole) {
		c := serve(t, "30", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, whole[:cut]) })
		var got []string
		if l, err := c.List(t.Context(), widgets, Query{}, names(&got), nil); err == nil {
			t.Errorf("a list cut after %q counts as complete: %+v, %q", whole[:cut], l, got)
		}
	}
	for _, answer := range []string{`{}`, `[]`, `{"items":7}`, `{"items":[7]}`, `{"items":[{}]}`, `null`} {
		c := serve(t, "30", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, answer) })
		if _, err := c.List(t.Context(), widgets, Query{}, names(new([]string)), nil); err == nil {
			t.Errorf("%s counts as a complete list", answer)
		}
	}
}

func TestStreamedListsEndWithTheirBookmark(t *testing.T) {
	added := `{"type":"ADDED","object":{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"a","resourceVersion":"5"}}}` + "\n"
	end := `{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7","annotations":{"k8s.io/initial-events-end":"true"}}}}` + "\n"
	mark := `{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"6"}}}` + "\n"
	expired := `{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}` + "\n"
	for _, test := range []struct {
		name, answer string
		complete     bool
	}{
		{"complete", added + mark + end, true},
		{"nothing there", end, true},
		{"no end", added + mark, false},
		{"cut", added + end[:len(end)/2], false},
		{"error", added + expired, false},
		{"unknown message", added + `{"type":"NEWS","object":{}}` + end, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := serve(t, "36", func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Get("sendInitialEvents") != "true" {
					t.Errorf("asked for %s", r.URL)
				}
				fmt.Fprint(w, test.answer)
			})
			l, err := c.List(t.Context(), widgets, Query{}, names(new([]string)), nil)
			if test.complete != (err == nil) || test.complete && l.Version != "7" {
				t.Errorf("list %+v, error %v", l, err)
			}
		})
	}
}

func TestServersThatDoNotStreamAreAskedForPages(t *testing.T) {
	c := serve(t, "36", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("sendInitialEvents") {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnprocessableEntity)
			fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422,"message":"forbidden"}`)
			return
		}
		fmt.Fprint(w, list("7", "", "a"))
	})
	var got []string
	if l, err := c.List(t.Context(), widgets, Query{}, names(&got), nil); err != nil || l.Version != "7" || len(got) != 1 {
		t.Errorf("list %+v, objects %q, error %v", l, got, err)
	}
}

func TestListsThatAreTakenForWatchesAreAskedForAsPages(t *testing.T) {
	watches := 0
	c := serve(t, "36", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("watch") == "true" {
			watches++
			fmt.Fprintln(w, `{"type":"ADDED","object":{"metadata":{"name":"a"}}}`)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		fmt.Fprint(w, list("7", "", "a"))
	})
	c.impatience = 50 * time.Millisecond
	begun := 0
	for range 2 {
		if l, err := c.List(t.Context(), widgets, Query{}, names(new([]string)), func() { begun++ }); err != nil || l.Version != "7" {
			t.Errorf("list %+v, error %v", l, err)
		}
	}
	if watches != 1 || begun != 1 {
		t.Errorf("it was tried %d times, and said to begin again %d times", watches, begun)
	}
}

func TestErrorsAreToldApart(t *testing.T) {
	c := serve(t, "36", func(w http.ResponseWriter, r *http.Request) { status410(w) })
	if _, err := c.Watch(t.Context(), widgets, Query{}, "1"); !Expired(err) || Unreachable(err) || NotFound(err) || Forbidden(err) {
		t.Errorf("a watch that begins too far back: %v", err)
	}
	dead := httptest.NewServer(nil)
	dead.Close()
	if _, err := at(t, dead.URL).Watch(t.Context(), widgets, Query{}, "1"); !Unreachable(err) || Expired(err) {
		t.Errorf("a server that is not there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Watch(ctx, widgets, Query{}, "1"); Unreachable(err) {
		t.Errorf("giving up oneself is not the server's fault: %v", err)
	}
}

func TestGroupsThatDoNotAnswerAreUnknown(t *testing.T) {
	for name, apis := range map[string]string{
		"aggregated": `{"kind":"APIGroupDiscoveryList","items":[
			{"metadata":{"name":"apps"},"versions":[{"version":"v1","resources":[{"resource":"deployments","responseKind":{"kind":"Deployment"},"scope":"Namespaced","verbs":["list","watch"]}]}]},
			{"metadata":{"name":"away.example.com"},"versions":[{"version":"v1","freshness":"Stale"}]}]}`,
		"one by one": `{"kind":"APIGroupList","groups":[
			{"name":"apps","versions":[{"version":"v1"}],"preferredVersion":{"version":"v1"}},
			{"name":"away.example.com","versions":[{"version":"v1"}],"preferredVersion":{"version":"v1"}}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			c := serve(t, "36", func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/api":
					fmt.Fprint(w, `{"kind":"APIVersions","versions":["v1"]}`)
				case "/api/v1":
					fmt.Fprint(w, `{"resources":[{"name":"pods","kind":"Pod","namespaced":true,"verbs":["list","watch"]},{"name":"pods/log",`+
						`"kind":"Pod","verbs":["get"]},{"name":"bindings","kind":"Binding","verbs":["create"]}]}`)
				case "/apis":
					fmt.Fprint(w, apis)
				case "/apis/apps/v1":
					fmt.Fprint(w, `{"resources":[{"name":"deployments","kind":"Deployment","namespaced":true,"verbs":["list","watch"]}]}`)
				default:
					http.Error(w, "away", http.StatusServiceUnavailable)
				}
			})
			catalog, err := c.Discover(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			want := []Served{
				{object.Kind{Group: "apps", Version: "v1", Kind: "Deployment", Resource: "deployments", Namespaced: true}, true},
				{object.Kind{Version: "v1", Kind: "Pod", Resource: "pods", Namespaced: true}, true},
			}
			if !slices.Equal(catalog.Kinds, want) || !slices.Equal(catalog.Unknown, []string{"away.example.com"}) {
				t.Errorf("catalog %+v", catalog)
			}
		})
	}
}

// TestGroupsAreAskedBesideEachOther: those that do not answer hold up no other.
func TestGroupsAreAskedBesideEachOther(t *testing.T) {
	var arrived sync.WaitGroup
	arrived.Add(3)
	all := make(chan struct{})
	go func() {
		arrived.Wait()
		close(all)
	}()
	var together atomic.Bool
	together.Store(true)
	c := serve(t, "26", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api":
			fmt.Fprint(w, `{"kind":"APIVersions","versions":[]}`)
		case "/apis":
			fmt.Fprint(w, `{"kind":"APIGroupList","groups":[{"name":"a.io","versions":[{"version":"v1"}],"preferredVersion":{"version":"v1"}},
				{"name":"b.io","versions":[{"version":"v1"}],"preferredVersion":{"version":"v1"}},{"name":"c.io","versions":[{"version":"v1"}],"preferredVersion":{"version":"v1"}}]}`)
		default:
			arrived.Done()
			select {
			case <-all: // each waits for the others
			case <-r.Context().Done():
				together.Store(false)
			}
			http.Error(w, "away", http.StatusServiceUnavailable)
		}
	})
	catalog, err := c.Discover(t.Context())
	if err != nil || len(catalog.Unknown) != 3 || !together.Load() {
		t.Errorf("catalog %+v, error %v, asked together: %v", catalog, err, together.Load())
	}
}

func TestOnlyCertainlyGoneIsGone(t *testing.T) {
	for _, test := range []struct {
		name               string
		ready              bool
		freshness, defined string
		gone               bool
	}{
		{"gone", true, "Current", "404", true},
		{"still defined", true, "Current", "200", false},
		{"not allowed to know", true, "Current", "403", false},
		{"server starting", false, "Current", "404", false},
		{"group away", true, "Stale", "404", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := serve(t, "36", func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == "/readyz" && !test.ready:
					http.Error(w, "no", http.StatusInternalServerError)
				case r.URL.Path == "/readyz":
				case r.URL.Path == "/api":
					fmt.Fprint(w, `{"kind":"APIGroupDiscoveryList"}`)
				case r.URL.Path == "/apis":
					fmt.Fprintf(w, `{"kind":"APIGroupDiscoveryList","items":[{"metadata":{"name":"example.com"},"versions":[{"version":"v1",`+
						`"freshness":%q}]}]}`, test.freshness)
				case test.defined == "200":
					fmt.Fprint(w, `{}`)
				default:
					w.Header().Set("Content-Type", "application/json")
					code, reason := http.StatusNotFound, "NotFound"
					if test.defined == "403" {
						code, reason = http.StatusForbidden, "Forbidden"
					}
					w.WriteHeader(code)
					fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d}`, reason, code)
				}
			})
			if err := c.Gone(t.Context(), "example.com", "widgets"); test.gone != (err == nil) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestListsThatAreSlightlyWrong: what can be read is read, and how much cannot is
// said.
func TestListsThatAreSlightlyWrong(t *testing.T) {
	a, b := `{"metadata":{"name":"a"}}`, `{"metadata":{"name":"b"}}`
	for _, test := range []struct {
		name, answer string
		want         []string
		version      string
		odd          int
		err          error
	}{
		{"null among them", `{"metadata":{"resourceVersion":"7"},"items":[` + a + `,null,` + b + `]}`, []string{"a", "b"}, "7", 1, nil},
		{"null first", `{"metadata":{"resourceVersion":"7"},"items":[null,` + b + `]}`, []string{"b"}, "7", 1, nil},
		{"others among them", `{"metadata":{"resourceVersion":"7"},"items":[` + a + `,7,"x",[],{},{"metadata":null},{"metadata":{"name":7}},` +
			b + `]}`, []string{"a", "b"}, "7", 6, nil},
		{"labels that are none", `{"metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"c","labels":{"n":7}}},` + a + `]}`,
			[]string{"a"}, "7", 1, nil},
		{"no metadata", `{"items":[` + a + `]}`, []string{"a"}, "", 0, nil},
		{"metadata null", `{"metadata":null,"items":[` + a + `]}`, []string{"a"}, "", 0, nil},
		{"a version that is a number", `{"metadata":{"resourceVersion":7,"continue":null},"items":[` + a + `]}`, []string{"a"}, "7", 0, nil},
		{"null for none", `{"metadata":{"resourceVersion":"7"},"items":null}`, nil, "7", 0, nil},
		{"left out for none", `{"kind":"WidgetList","metadata":{"resourceVersion":"7"}}`, nil, "7", 0, nil},
		{"metadata behind them", `{"items":[` + a + `],"metadata":{"resourceVersion":"7"}}`, []string{"a"}, "7", 0, nil},
		{"a Status", `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success"}`, nil, "", 0, ErrNoList},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := serve(t, "30", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, test.answer) })
			var got []string
			l, err := c.List(t.Context(), widgets, Query{}, names(&got), nil)
			if !errors.Is(err, test.err) || l.Version != test.version || l.Odd != test.odd || !slices.Equal(got, test.want) {
				t.Errorf("list %+v, objects %q, error %v", l, got, err)
			}
			if err := c.Try(t.Context(), widgets, Query{}); !errors.Is(err, test.err) {
				t.Errorf("trying: %v", err)
			}
		})
	}
	c := serve(t, "30", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"kind":"Status","status":"Failure","reason":"Forbidden","code":403,"message":"no"}`)
	})
	if _, err := c.List(t.Context(), widgets, Query{}, names(new([]string)), nil); !Forbidden(err) {
		t.Errorf("a failure that is called a success: %v", err)
	}
}

// TestListsWithoutAnEnd: each page points to another one.
func TestListsWithoutAnEnd(t *testing.T) {
	for name, page := range map[string]func(n int) string{
		"the same again": func(int) string { return list("7", "more", "a") },
		"empty for ever": func(n int) string { return list("7", fmt.Sprint(n)) },
	} {
		t.Run(name, func(t *testing.T) {
			n := 0
			c := serve(t, "30", func(w http.ResponseWriter, _ *http.Request) {
				n++
				fmt.Fprint(w, page(n))
			})
			if _, err := c.List(t.Context(), widgets, Query{}, names(new([]string)), nil); err == nil || n > 2*maxEmptyPages {
				t.Errorf("after %d pages: %v", n, err)
			}
		})
	}
}

// TestOddChangesEndNoWatch: what stands behind them counts.
func TestOddChangesEndNoWatch(t *testing.T) {
	for _, odd := range []string{`{"type":"ADDED","object":null}`, `{"type":"MODIFIED","object":{}}`, `{"type":"DELETED","object":7}`,
		`{"type":"ADDED"}`} {
		c := serve(t, "30", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintln(w, odd, `{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"5"}}}`)
		})
		watch, err := c.Watch(t.Context(), widgets, Query{}, "1")
		if err != nil {
			t.Fatal(err)
		}
		first, err := watch.Next()
		if err != nil || first.Odd == nil || first.Object != nil {
			t.Errorf("%s: %+v, %v", odd, first, err)
		}
		if second, err := watch.Next(); err != nil || second.Odd != nil || second.Version != "5" {
			t.Errorf("behind %s: %+v, %v", odd, second, err)
		}
		watch.Close()
	}
}

// TestRefusalsSayWhatToDo: the account, the verb, and the mend.
func TestRefusalsSayWhatToDo(t *testing.T) {
	for name, call := range map[string]func(c *Cluster) error{
		"list": func(c *Cluster) error {
			_, err := c.List(t.Context(), widgets, Query{}, names(new([]string)), nil)
			return err
		},
		"try":   func(c *Cluster) error { return c.Try(t.Context(), widgets, Query{}) },
		"watch": func(c *Cluster) error { _, err := c.Watch(t.Context(), widgets, Query{}, "1"); return err },
		"get":   func(c *Cluster) error { _, err := c.AskVersion(t.Context()); return err },
	} {
		t.Run(name, func(t *testing.T) {
			c := serve(t, "30", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusForbidden)
				fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,
					"message":"widgets.example.com is forbidden: User \"system:serviceaccount:reeve:agent\" cannot list resource \"widgets\" in API group \"example.com\" at the cluster scope"}`)
			})
			err := call(c)
			var refused *RefusedError
			if !errors.As(err, &refused) || refused.Account != "system:serviceaccount:reeve:agent" {
				t.Fatalf("error %v", err)
			}
			for _, part := range []string{"cannot list", `allow "system:serviceaccount:reeve:agent"`, "get, list and watch", "exclude"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
			if strings.Contains(err.Error(), "unknown") {
				t.Errorf("error %v", err)
			}
		})
	}
}

func FuzzList(f *testing.F) {
	f.Add([]byte(list("7", "more", "a", "b")))
	f.Add([]byte(`{"items":null,"metadata":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _, err := readList(jsontext.NewDecoder(strings.NewReader(string(data)), lenient), widgets, func(o *object.Object) error {
			if o.Meta.Name == "" || !o.Raw.IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) {
				t.Errorf("object %q", o.Raw)
			}
			return nil
		})
		if err == nil && !strings.Contains(string(data), "items") && !strings.Contains(string(data), `\`) {
			t.Errorf("%q counts as a complete list", data)
		}
	})
}

func FuzzWatch(f *testing.F) {
	f.Add([]byte(`{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"1"}}}{"type":"BOOKMARK",` +
		`"object":{"metadata":{"resourceVersion":"2"}}}`))
	f.Add([]byte(`{"type":"ERROR","object":{"code":410,"reason":"Expired"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		dec := jsontext.NewDecoder(strings.NewReader(string(data)), lenient)
		for {
			change, err := read(dec, widgets)
			if err != nil {
				if errors.Is(err, io.EOF) && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) { //nolint:errorlint // a wrapped one is no clean end
					t.Errorf("error %v could be taken for a clean end", err)
				}
				return
			}
			if change.Type != Bookmark && change.Odd == nil && change.Object.Meta.Name == "" {
				t.Errorf("change %+v", change)
			}
		}
	})
}
