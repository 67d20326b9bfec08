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
	client, err := newClient(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return &Cluster{rest: client, Version: Version{Major: "1", Minor: minor}}
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
	version, err := c.List(t.Context(), widgets, Query{}, names(&got))
	if err != nil || version != "9" || !slices.Equal(got, []string{"a", "a", "b"}) {
		t.Errorf("version %q, objects %q, error %v", version, got, err)
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
		if version, err := c.List(t.Context(), widgets, Query{}, names(&got)); err == nil {
			t.Errorf("a list cut after %q counts as complete: version %q, %q", whole[:cut], version, got)
		}
	}
	for _, answer := range []string{`{}`, `[]`, `{"items":7}`, `{"items":[7]}`, `{"items":[{}]}`, `null`} {
		c := serve(t, "30", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, answer) })
		if _, err := c.List(t.Context(), widgets, Query{}, names(new([]string))); err == nil {
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
			version, err := c.List(t.Context(), widgets, Query{}, names(new([]string)))
			if test.complete != (err == nil) || test.complete && version != "7" {
				t.Errorf("version %q, error %v", version, err)
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
	if version, err := c.List(t.Context(), widgets, Query{}, names(&got)); err != nil || version != "7" || len(got) != 1 {
		t.Errorf("version %q, objects %q, error %v", version, got, err)
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
	for range 2 {
		if version, err := c.List(t.Context(), widgets, Query{}, names(new([]string))); err != nil || version != "7" {
			t.Errorf("version %q, error %v", version, err)
		}
	}
	if watches != 1 {
		t.Errorf("it was tried %d times", watches)
	}
}

func TestErrorsAreToldApart(t *testing.T) {
	c := serve(t, "36", func(w http.ResponseWriter, r *http.Request) { status410(w) })
	if _, err := c.Watch(t.Context(), widgets, Query{}, "1"); !Expired(err) || Unreachable(err) || NotFound(err) || Forbidden(err) {
		t.Errorf("a watch that begins too far back: %v", err)
	}
	dead := httptest.NewServer(nil)
	dead.Close()
	client, err := newClient(&rest.Config{Host: dead.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = (&Cluster{rest: client}).Watch(t.Context(), widgets, Query{}, "1"); !Unreachable(err) || Expired(err) {
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
					fmt.Fprint(w, `{"resources":[{"name":"pods","kind":"Pod","namespaced":true,"verbs":["list","watch"]},{"name":"pods/log","kind":"Pod","verbs":["get"]},{"name":"bindings","kind":"Binding","verbs":["create"]}]}`)
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
					fmt.Fprintf(w, `{"kind":"APIGroupDiscoveryList","items":[{"metadata":{"name":"example.com"},"versions":[{"version":"v1","freshness":%q}]}]}`, test.freshness)
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
	f.Add([]byte(`{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"1"}}}{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"2"}}}`))
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
			if change.Type != Bookmark && change.Object.Meta.Name == "" {
				t.Errorf("change %+v", change)
			}
		}
	})
}
