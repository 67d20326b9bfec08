// Package habits holds the collectors against servers of which one kind has one bad
// habit: it hangs, lies, or never ends. Twenty healthy kinds beside it, and a second
// collector, are to be as current as they are without it, and the bad one is to be asked
// ever more seldom.
package habits

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/agent/collect"
	"github.com/reeve-cloud/reeve/agent/lastseen"
	"github.com/reeve-cloud/reeve/agent/spool"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/fake"
)

const (
	// healthy is how many kinds are beside the bad one.
	healthy = 20
	// soon is within what healthy kinds are collected, and their changes: they take a
	// second or two where nothing is the matter, and 20 s where the bad one has its
	// service asked less often (429). What waits for the bad one waits a minute at least.
	soon = 45 * time.Second
	// From settled on, for watched, requests to the bad kind are counted: at most one a
	// second. A try may be ten of them, and the pauses between tries are some 20 s by then.
	settled, watched = time.Minute, 30 * time.Second
)

// habit answers a request for what the bad kind has.
type habit struct {
	name   string
	answer func(w http.ResponseWriter, r *http.Request)
}

// server is one that has healthy kinds and a bad one.
type server interface {
	// scopes are the names of the healthy kinds in their collector, and followed those
	// of which changes are seen within seconds.
	scopes() []string
	followed() []string
	// change makes one more object of each healthy kind.
	change()
	// asked is how often the bad kind was asked for.
	asked() int
}

// counter counts requests.
type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) add() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

func (c *counter) asked() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// hold runs an agent with a collector of a server, and the fake one beside it, and
// holds it to what the package comment says.
func hold(t *testing.T, s server, description plugin.Description, collector plugin.Collector) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	seen, err := lastseen.Open(filepath.Join(t.TempDir(), "seen"), log)
	if err != nil {
		t.Fatal(err)
	}
	sp, err := spool.Open(spool.Options{
		Dir: filepath.Join(t.TempDir(), "spool"), Apply: seen.Apply, Applied: seen.Applied, BeforeTrim: seen.Sync, Recall: seen.Recall,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := seen.Adopt(sp.ID()); err != nil {
		t.Fatal(err)
	}
	world := t.TempDir()
	list := func(uids ...string) {
		t.Helper()
		l := fake.Listing{SweepEvery: "500ms"}
		for _, uid := range uids {
			l.Assets = append(l.Assets, fake.Asset{UID: uid, Document: json.RawMessage(`{}`)})
		}
		data, err := json.Marshal(l)
		if err == nil {
			err = errors.Join(os.MkdirAll(filepath.Join(world, "s"), 0o700), os.WriteFile(filepath.Join(world, "s", "new"), data, 0o600),
				os.Rename(filepath.Join(world, "s", "new"), filepath.Join(world, "s", "listing.json")))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	list("a")
	options, err := json.Marshal(map[string]string{"directory": world})
	if err != nil {
		t.Fatal(err)
	}
	second, err := fake.Plugin{}.New(plugin.Config{Name: "second", Options: options, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	runner := &collect.Runner{
		Recorder: &collect.Recorder{Seen: seen, Spool: sp, Clock: hlc.New(0), Logger: log},
		Sources: []collect.Source{
			{Name: "first", Description: description, Collector: collector},
			{Name: "second", Description: fake.Plugin{}.Describe(), Collector: second},
		},
	}
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() {
		if err := runner.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	defer func() {
		cancel()
		run.Wait()
		if err := errors.Join(sp.Close(), seen.Close()); err != nil {
			t.Error(err)
		}
	}()
	began := time.Now()
	// arrived waits until each scope has so many assets.
	arrived := func(what string, scopes []string, n int) {
		t.Helper()
		since := time.Now()
		for {
			var missing []string
			for _, scope := range append(scopes, "second/s") {
				want := n
				if scope == "second/s" {
					want = n - 2
				} else {
					scope = "first/" + scope
				}
				have := 0
				if err := seen.Keys(scope, func(plugin.Key) error { have++; return nil }); err != nil {
					t.Fatal(err)
				}
				if have != want {
					missing = append(missing, fmt.Sprintf("%s has %d", scope, have))
				}
			}
			if len(missing) == 0 {
				t.Logf("%s: after %v", what, time.Since(since).Round(100*time.Millisecond))
				return
			}
			if time.Since(since) > soon {
				t.Fatalf("%s: after %v %d of %d scopes are not as they should be: %s", what, soon, len(missing), len(scopes)+1,
					strings.Join(missing, ", "))
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	if n := len(s.scopes()); n < healthy {
		t.Fatalf("%d kinds are healthy", n)
	}
	arrived("listed", s.scopes(), 3)
	time.Sleep(time.Until(began.Add(settled)))
	before := s.asked()
	s.change()
	list("a", "b")
	counted := time.Now()
	arrived("changed", s.followed(), 4)
	time.Sleep(time.Until(counted.Add(watched)))
	n, all := s.asked()-before, s.asked()
	took := time.Since(counted)
	t.Logf("the bad kind was asked for %d times, %d of them in the %v behind the first minute", all, n, took.Round(time.Second))
	if float64(n) > took.Seconds() || all == 0 {
		t.Errorf("the bad kind was asked for %d times in %v, %d times in all", n, took, all)
	}
}

// common are habits of any server.
func common() []habit {
	status := func(code int, header, value, body string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			if header != "" {
				w.Header().Set(header, value)
			}
			w.WriteHeader(code)
			_, _ = w.Write([]byte(body))
		}
	}
	return []habit{
		{"hangs", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		{"hangs behind the head", func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}},
		{"slow bytes", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = w.Write([]byte(" "))
				w.(http.Flusher).Flush()
				select {
				case <-time.After(200 * time.Millisecond):
				case <-r.Context().Done():
				}
			}
		}},
		{"HTML", status(200, "Content-Type", "text/html", "<html><h1>Sign in</h1></html>")},
		{"HTML as JSON", status(200, "Content-Type", "application/json", "<html><h1>It works</h1></html>")},
		{"nothing", status(200, "Content-Type", "application/json", "")},
		{"redirects in a circle", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.String(), http.StatusFound) }},
		{"redirects elsewhere", status(http.StatusTemporaryRedirect, "Location", "http://192.0.2.1:9/", "")},
		{"breaks off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100000")
			_, _ = w.Write([]byte(`{"kind":"OddList","metadata":{"resourceVersion":"5"},"items":[{"metadata":{"na`))
			panic(http.ErrAbortHandler)
		}},
		{"closes", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		{"500", status(500, "Content-Type", "text/plain", "oops")},
		{"429 at once again", status(429, "Retry-After", "0", "slow down")},
		{"503 in a second", status(503, "Retry-After", "1", "soon")},
		{"401", status(401, "", "", "who are you")},
		{"410", status(410, "Content-Type", "text/plain", "gone")},
		{"wrong type", status(200, "Content-Type", "application/vnd.kubernetes.protobuf", "k8s\x00\x01\x02")},
		{"another clock", status(200, "Date", "Fri, 31 Dec 1999 23:59:59 GMT", "{}")},
		{"an endless text", func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte(`{"items":[{"metadata":{"name":"`))
			for part := []byte(strings.Repeat("x", 1<<10)); r.Context().Err() == nil; time.Sleep(50 * time.Millisecond) {
				if _, err := w.Write(part); err != nil {
					return
				}
				w.(http.Flusher).Flush()
			}
		}},
	}
}

// long skips a test that takes a minute and more, where that is not wanted.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes a minute and more")
	}
}
