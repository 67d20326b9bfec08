package edge

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/reeve-cloud/reeve/agent/config"
	"github.com/reeve-cloud/reeve/pkg/dirlock"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/fake"
)

func options(t *testing.T) Options {
	c := config.Default()
	c.DataDir = t.TempDir()
	c.HealthListen = "127.0.0.1:0"
	c.Collectors = []config.Collector{{Plugin: "fake", Name: "fake", Options: map[string]any{"directory": t.TempDir()}}}
	return Options{Config: c, Plugins: []plugin.Plugin{fake.Plugin{}}, Logger: slog.New(slog.DiscardHandler)}
}

func get(t *testing.T, a *Agent, path string) (status int, body string) {
	t.Helper()
	response, err := http.Get("http://" + a.Addr().String() + path)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(data)
}

// TestLife runs an agent whose aggregator is away.
func TestLife(t *testing.T) {
	o := options(t)
	token, err := identity.JoinToken{
		Site: "s", Addresses: []string{"127.0.0.1:1"}, CA: "sha256:" + strings.Repeat("0", 64), ID: "i", Secret: identity.NewSecret(),
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	o.Config.JoinToken = token
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(o); !errors.Is(err, dirlock.ErrHeld) {
		t.Errorf("a second one with the same data directory: %v", err)
	}
	a.Start()
	if status, _ := get(t, a, "/healthz"); status != http.StatusOK {
		t.Errorf("healthz: %d", status)
	}
	if status, body := get(t, a, "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "no session") {
		t.Errorf("readyz: %d %q", status, body)
	}
	_, metrics := get(t, a, "/metrics")
	for _, want := range []string{
		`reeve_agent_connected 0`, `reeve_agent_transport{transport="quic"} 0`, `reeve_agent_sessions_total{outcome="failed"} 0`,
		`reeve_agent_sent_records_total{class="events"} 0`, `reeve_agent_acknowledged_record{class="assets"} 0`,
		`reeve_agent_observations_total{collector="fake",outcome="refused"} 0`, `reeve_agent_spool_failing 0`,
	} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("a fresh agent does not show %s", want)
		}
	}
	if err := a.Stop(); err != nil {
		t.Error(err)
	}
	if a, err = New(o); err != nil {
		t.Fatalf("after it has stopped: %v", err)
	}
	if err := a.Stop(); err != nil {
		t.Errorf("stopped without a start: %v", err)
	}
}

// TestEndsByItself runs an agent that has no way to become one.
func TestEndsByItself(t *testing.T) {
	a, err := New(options(t))
	if err != nil {
		t.Fatal(err)
	}
	a.Start()
	<-a.Done()
	if err := a.Stop(); err == nil || !strings.Contains(err.Error(), "join token") {
		t.Errorf("it ended with %v", err)
	}
}

func TestCleanHostname(t *testing.T) {
	for name, want := range map[string]string{
		"node-1.example.org":     "node-1.example.org",
		"n\xffode":               "node",
		"n\x1b[2Jode\n":          "n[2Jode",
		"b\u00fccher":            "b\u00fccher",
		"a b":                    "ab",
		"\xff\xfe":               "unnamed",
		"":                       "unnamed",
		strings.Repeat("ü", 200): strings.Repeat("ü", 126),
	} {
		if got := cleanHostname(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
