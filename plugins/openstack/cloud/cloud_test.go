package cloud

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/gophercloud/gophercloud/v2"
)

// service returns a service that a handler answers for, without a login.
func service(t *testing.T, handler http.HandlerFunc) *Service {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	tr := newTransport(nil)
	tr.first = time.Millisecond
	provider := &gophercloud.ProviderClient{HTTPClient: http.Client{Transport: tr}, TokenID: "t"}
	c := &Cloud{provider: provider, transport: tr, services: make(map[serviceKey]*Service)}
	return &Service{cloud: c, API: Compute, Base: server.URL + "/v2.1/", Lowest: Microversion{2, 1}, Highest: Microversion{2, 60}}
}

func collect(all *[]string) func(jsontext.Value) error {
	return func(v jsontext.Value) error {
		*all = append(*all, memberText(v, "id"))
		return nil
	}
}

func TestBase(t *testing.T) {
	for _, test := range []struct {
		api                  API
		endpoint, base, root string
	}{
		{Identity, "http://h:5000/", "http://h:5000/v3/", "http://h:5000/v3/"},
		{Identity, "https://h/identity/v2.0", "https://h/identity/v3/", "https://h/identity/v3/"},
		{Compute, "http://h:8774/v2.1", "http://h:8774/v2.1/", "http://h:8774/v2.1/"},
		{Compute, "http://h:8774/v2.1/abc", "http://h:8774/v2.1/abc/", "http://h:8774/v2.1/"},
		{Compute, "https://h/compute", "https://h/compute/v2.1/", "https://h/compute/v2.1/"},
		{Placement, "http://h:8778", "http://h:8778/", "http://h:8778/"},
		{Network, "http://h:9696", "http://h:9696/v2.0/", "http://h:9696/v2.0/"},
		{Storage, "http://h:8776/v3/abc", "http://h:8776/v3/abc/", "http://h:8776/v3/"},
		{Image, "http://h:9292/v1", "http://h:9292/v2/", "http://h:9292/v2/"},
		{ObjectStore, "http://h:8080/v1/AUTH_abc", "http://h:8080/v1/AUTH_abc/", "http://h:8080/v1/"},
	} {
		base, root, err := test.api.base(test.endpoint)
		if err != nil || base != test.base || root != test.root {
			t.Errorf("%s of %s: %q %q %v, want %q %q", test.endpoint, test.api.Name, base, root, err, test.base, test.root)
		}
	}
	for _, bad := range []string{"", "nova:8774", "ftp://h/", "http://\x00/"} {
		if _, _, err := Compute.base(bad); err == nil {
			t.Errorf("%q is taken for an address", bad)
		}
	}
}

func TestMicroversions(t *testing.T) {
	m := ParseMicroversion
	for _, test := range []struct{ wanted, lowest, highest, want string }{
		{"2.73", "2.1", "2.93", "2.73"},
		{"2.73", "2.1", "2.60", "2.60"},
		{"2.73", "2.80", "2.99", "2.80"},
		{"2.73", "", "", ""},
		{"", "2.1", "2.93", ""},
	} {
		if got := within(m(test.wanted), m(test.lowest), m(test.highest)); got != m(test.want) {
			t.Errorf("%s of %s to %s is %s, want %s", test.wanted, test.lowest, test.highest, got, test.want)
		}
	}
	if !m("2.9").Less(m("2.10")) {
		t.Error("2.10 is older than 2.9")
	}
}

func TestVersions(t *testing.T) {
	for name, test := range map[string]struct {
		body   string
		header map[string]string
	}{
		"nova":      {body: `{"version": {"id": "v2.1", "status": "CURRENT", "version": "2.93", "min_version": "2.1", "links": []}}`},
		"cinder":    {body: `{"versions": [{"id": "v3.0", "version": "2.93", "min_version": "2.1"}]}`},
		"placement": {body: `{"versions": [{"id": "v1.0", "max_version": "2.93", "min_version": "2.1"}]}`},
		"ironic": {body: `{}`, header: map[string]string{"X-OpenStack-Ironic-API-Minimum-Version": "2.1",
			"X-OpenStack-Ironic-API-Maximum-Version": "2.93"}},
	} {
		s := service(t, func(w http.ResponseWriter, r *http.Request) {
			for k, v := range test.header {
				w.Header().Set(k, v)
			}
			_, _ = io.WriteString(w, test.body)
		})
		lowest, highest, err := s.cloud.versions(t.Context(), s.Base)
		if err != nil || lowest != (Microversion{2, 1}) || highest != (Microversion{2, 93}) {
			t.Errorf("%s: %s to %s, %v", name, lowest, highest, err)
		}
	}
}

// TestPaging turns the pages of each kind of list there is.
func TestPaging(t *testing.T) {
	elements := []string{"a", "b", "c", "d", "e"}
	write := func(w io.Writer, from, n int, tail string) {
		var parts []string
		for _, id := range elements[min(from, len(elements)):min(from+n, len(elements))] {
			parts = append(parts, fmt.Sprintf(`{"id": %q, "links": [{"rel": "next", "href": "not-this"}]}`, id))
		}
		fmt.Fprintf(w, `{"things": [%s]%s}`, strings.Join(parts, ","), tail)
	}
	after := func(q url.Values) int {
		for i, id := range elements {
			if id == q.Get("marker") {
				return i + 1
			}
		}
		return 0
	}
	link := func(q url.Values, from, n int) string {
		if from+n >= len(elements) {
			return ""
		}
		return "http://internal.invalid/v2.1/things?limit=2&keep=1&marker=" + elements[from+n-1]
	}
	for name, test := range map[string]struct {
		paging Paging
		limit  int
		tail   func(next string) string
		pages  int
	}{
		"array of links": {Links, 2, func(next string) string {
			return fmt.Sprintf(`, "things_links": [{"rel": "previous", "href": "x"}, {"rel": "next", "href": %q}]`, next)
		}, 3},
		"object of links": {Links, 2, func(next string) string {
			return fmt.Sprintf(`, "links": {"self": "x", "next": %q, "previous": null}`, next)
		}, 3},
		"text": {Links, 2, func(next string) string { return fmt.Sprintf(`, "schema": "/x", "next": %q`, next) }, 3},
		"links of another name": {Links, 2, func(next string) string {
			return fmt.Sprintf(`, "thing_links": [{"rel": "next", "href": %q}]`, next)
		}, 3},
		"links where none were asked for": {Links, 0, func(next string) string { return fmt.Sprintf(`, "links": {"next": %q}`, next) }, 3},
		"marker":                          {Marker, 2, nil, 4},
		"marker, no limit":                {Marker, 0, nil, 4},
		"marker, and a limit of theirs":   {Marker, 1000, nil, 4},
		"offset":                          {Offset, 2, nil, 5},
		"offset, and a limit of theirs":   {Offset, 1000, nil, 5},
		"whole":                           {Links, 0, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := service(t, func(w http.ResponseWriter, r *http.Request) {
				q := r.URL.Query()
				if q.Get("keep") != "1" {
					t.Errorf("the query %v has lost what it began with", q)
				}
				from, n := after(q), 2
				if test.paging == Offset {
					fmt.Sscan(q.Get("offset"), &from)
				}
				if name == "whole" {
					n = len(elements)
				}
				tail := ""
				if next := link(q, from, n); next != "" && test.tail != nil {
					tail = test.tail(next)
				}
				write(w, from, n, tail)
			})
			var got []string
			done, err := s.List(t.Context(), List{
				Request: Request{Path: "things", Query: url.Values{"keep": {"1"}}}, Envelope: "things", Paging: test.paging, Limit: test.limit,
			}, collect(&got))
			if err != nil {
				t.Fatal(err)
			}
			if strings.Join(got, "") != "abcde" || done.Pages != test.pages || done.Elements != 5 || done.At.IsZero() {
				t.Errorf("listed %q, %+v", got, done)
			}
		})
	}
}

// TestCutLists: a list whose end is not there is an error, never a short list.
func TestCutLists(t *testing.T) {
	for name, test := range map[string]struct {
		paging Paging
		answer string
		says   string
	}{
		"cut by the service":    {Links, `{"things": [{"id": "a"}], "truncated": true}`, "list_limit"},
		"a link that is none":   {Links, `{"things": [{"id": "a"}], "next": "http://h:x/%zz"}`, "next page"},
		"a link without a page": {Links, `{"things": [{"id": "a"}], "next": "/things"}`, "same page"},
		"markers passed over":   {Marker, `{"things": [{"id": "a"}, {"id": "b"}]}`, "once more"},
		"nothing to go on from": {Marker, `{"things": [{"x": "a"}, {"x": "b"}]}`, "no id"},
	} {
		s := service(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, test.answer) })
		_, err := s.List(t.Context(), List{Request: Request{Path: "things"}, Envelope: "things", Paging: test.paging, Limit: 2},
			func(jsontext.Value) error { return nil })
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := service(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"things": [{"id": "a"}], "truncated": false, "links": {"next": null}}`)
	})
	if done, err := s.List(t.Context(), List{Request: Request{Path: "things"}, Envelope: "things"},
		func(jsontext.Value) error { return nil }); err != nil || done.Elements != 1 {
		t.Errorf("a list that is not cut: %+v, %v", done, err)
	}
}

// TestTurnBeyondTheEnd: a request whose turn comes after its time is up ends with
// its time, not as a fault of the service's.
func TestTurnBeyondTheEnd(t *testing.T) {
	s := service(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, `{"things": []}`) })
	at, err := url.Parse(s.Base)
	if err != nil {
		t.Fatal(err)
	}
	l := s.cloud.transport.limiter(at.Host)
	l.SetLimit(0.001)
	l.SetBurst(1)
	list := func(ctx context.Context) error {
		_, err := s.List(ctx, List{Request: Request{Path: "things"}, Envelope: "things"}, func(jsontext.Value) error { return nil })
		return err
	}
	if err := list(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := list(ctx); !errors.Is(err, context.DeadlineExceeded) || ctx.Err() == nil {
		t.Errorf("the error is %v, and the time %v", err, ctx.Err())
	}
}

// TestTransport: what may pass is asked again, and what may not is not.
func TestTransport(t *testing.T) {
	for name, test := range map[string]struct {
		answers []int
		tries   int64
		is      error
	}{
		"well":              {answers: []int{200}, tries: 1},
		"busy, then well":   {answers: []int{429, 503, 500, 200}, tries: 4},
		"busy for too long": {answers: []int{503, 503, 503, 503, 503, 503}, tries: 5, is: ErrUnavailable},
		"forbidden":         {answers: []int{403}, tries: 1, is: ErrForbidden},
		"gone":              {answers: []int{404}, tries: 1, is: ErrNotFound},
		"unauthorized":      {answers: []int{401}, tries: 1, is: ErrCredential},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var n atomic.Int64
			s := service(t, func(w http.ResponseWriter, r *http.Request) {
				code := test.answers[min(int(n.Add(1)), len(test.answers))-1]
				w.WriteHeader(code)
				if code == 200 {
					_, _ = io.WriteString(w, `{"things": []}`)
				} else {
					fmt.Fprintf(w, `{"fault": {"code": %d, "message": "so it is"}}`, code)
				}
			})
			_, err := s.List(t.Context(), List{Request: Request{Path: "things"}, Envelope: "things"}, func(jsontext.Value) error { return nil })
			if !errors.Is(err, test.is) || n.Load() != test.tries || s.cloud.Requests() != test.tries {
				t.Errorf("%d tries (%d counted), error %v; want %d and %v", n.Load(), s.cloud.Requests(), err, test.tries, test.is)
			}
			if err != nil && !strings.Contains(err.Error(), "so it is") {
				t.Errorf("the error %v does not say why", err)
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		s := service(t, func(http.ResponseWriter, *http.Request) {})
		s.Base = "http://127.0.0.1:1/"
		_, err := s.List(t.Context(), List{Request: Request{Path: "things"}, Envelope: "things"}, func(jsontext.Value) error { return nil })
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("the error is %v", err)
		}
	})
}

func TestPace(t *testing.T) {
	tr := newTransport(nil)
	l := tr.limiter("h")
	for range 20 {
		tr.learn(l, true)
	}
	if l.Limit() != lowRate {
		t.Errorf("the lowest pace is %v", l.Limit())
	}
	for range 5000 {
		tr.learn(l, false)
	}
	if l.Limit() != highRate {
		t.Errorf("the highest pace is %v", l.Limit())
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"7": 7 * time.Second, "0.5": 500 * time.Millisecond, "Wed, 25 Nov 2026 10:00:30 GMT": 30 * time.Second, "": 0, "-1": 0, "soon": 0,
		"Wed, 25 Nov 2020 10:00:30 GMT": 0,
	} {
		if got, _ := retryAfter(http.Header{"Retry-After": {text}}, now); got != want {
			t.Errorf("%q is %v, want %v", text, got, want)
		}
	}
}

func TestMessages(t *testing.T) {
	for body, want := range map[string]string{
		`{"forbidden": {"code": 403, "message": "no\n way"}}`: "no way",
		`{"error": {"title": "Forbidden", "message": "x"}}`:   "x",
		`{"NeutronError": {"type": "T", "message": "m"}}`:     "m",
		`{"faultcode": "Client", "faultstring": "f"}`:         "f",
		`{"errors": [{"status": 404, "detail": "d"}]}`:        "d",
		`{"token": "secret"}`:                                 "",
		`<html>secret</html>`:                                 "",
		`null`:                                                "",
	} {
		if got := message([]byte(body)); got != want {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
}

// FuzzPage: no answer makes the reader of lists panic, and one that it takes for
// whole is JSON with the list in it.
func FuzzPage(f *testing.F) {
	for _, seed := range []string{
		`{"servers": [{"id": "a"}, {"id": 7}], "servers_links": [{"rel": "next", "href": "http://h/?marker=a"}]}`,
		`{"links": {"next": null}, "servers": []}`, `{"servers": null}`, `{"servers": [], "truncated": true}`,
		`{"servers": [], "server_links": [{"rel": "next", "href": "x"}]}`, `{"servers": [1, "x", null]}`, `[{"id": "a"}]`,
		`{"servers": [{"id": "a"`,
		"{\"servers\": [{\"id\": \"\xff\"}], \"servers\": []}", `{"next": "/v2/images?marker=x", "servers": [{}]}`, ``, `{}`,
		`{"servers": [[[[[]]]]]}`,
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, enveloped bool) {
		envelope := ""
		if enveloped {
			envelope = "servers"
		}
		dec := jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
		next := ""
		err := decodePage(dec, envelope, func(v jsontext.Value) error {
			_ = memberText(v, "id")
			return nil
		}, &next)
		if err == nil && enveloped && !bytes.Contains(data, []byte("servers")) && !bytes.Contains(data, []byte(`\`)) {
			t.Errorf("%q is taken for a list", data)
		}
		_ = message(data)
	})
}
