package session_test

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/agent/config"
	whole "github.com/reeve-cloud/reeve/agent/edge"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/fake"
	"github.com/reeve-cloud/reeve/test/centre"
)

// TestAgent runs a whole agent, as it is shipped, twice over one data directory: it
// joins, is ready, and records nothing twice.
func TestAgent(t *testing.T) {
	c := centre.New(t)
	token, err := c.Token("west", 1, time.Hour).Encode()
	if err != nil {
		t.Fatal(err)
	}
	world := t.TempDir()
	listing, err := json.Marshal(fake.Listing{SweepEvery: "50ms", Assets: []fake.Asset{
		{UID: "a", Document: json.RawMessage(`{"n":1}`)}, {UID: "b", Document: json.RawMessage(`{"n":2}`)},
	}})
	if err := errors.Join(err, os.Mkdir(filepath.Join(world, "s"), 0o700),
		os.WriteFile(filepath.Join(world, "s", "listing.json"), listing, 0o600)); err != nil {
		t.Fatal(err)
	}
	settings := config.Default()
	settings.DataDir, settings.HealthListen, settings.JoinToken = t.TempDir(), "127.0.0.1:0", token
	settings.Collectors = []config.Collector{{Plugin: "fake", Name: "fake", Options: map[string]any{"directory": world}}}
	for range 2 {
		log := &centre.Log{}
		a, err := whole.New(whole.Options{Config: settings, Plugins: []plugin.Plugin{fake.Plugin{}},
			Logger: slog.New(slog.NewTextHandler(log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		a.Start()
		get := func(path string) (int, string) {
			t.Helper()
			response, err := http.Get("http://" + a.Addr().String() + path)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			if err := errors.Join(err, response.Body.Close()); err != nil {
				t.Fatal(err)
			}
			return response.StatusCode, string(body)
		}
		centre.WaitFor(t, "the agent to be ready", func() bool {
			status, _ := get("/readyz")
			return status == http.StatusOK
		})
		centre.WaitFor(t, "everything to be swept and to arrive", func() bool {
			_, metrics := get("/metrics")
			return strings.Contains(metrics, `reeve_agent_sweeps_total{collector="fake",outcome="committed",scope="s"}`) &&
				warehousetest.Rows(t, c.Store, "asset_version") == 2
		})
		if err := a.Stop(); err != nil {
			t.Errorf("it ended with %v\n%s", err, log)
		}
	}
}
