package config

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/logging"
	"github.com/reeve-cloud/reeve/pkg/plugin"
)

func load(t *testing.T, yaml string) (Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(file)
}

func TestLoad(t *testing.T) {
	c, err := load(t, `
data_dir: state
aggregators: ["centre:8443"]
collectors:
  - plugin: host
  - plugin: cloud
    name: cloud-west
    options: {region: west}
`)
	if err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(c.DataDir) || len(c.Collectors) != 2 || c.Collectors[0].Name != "host" || c.Collectors[1].Options["region"] != "west" {
		t.Fatalf("%+v", c)
	}
	if c, err := Load(""); err != nil || len(c.Collectors) != 1 || c.Collectors[0].Name != "host" {
		t.Fatalf("defaults: %+v, %v", c, err)
	}
}

func TestEveryFaultIsNamed(t *testing.T) {
	_, err := load(t, `
data_dir: ""
aggregators: [nowhere]
spool: {max_bytes: 5}
log: {level: loud}
redact: {keys: ["*_dsn", "*"], patterns: ["ACME-[0-9]{12}", "(", "x*"]}
collectors:
  - plugin: host
  - plugin: host
  - name: "Upper Case"
  - plugin: x
    name: "Upper Case"
`)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"data_dir", "aggregators[0]", "spool.max_bytes", "log level",
		"redact.keys[1]", "redact.patterns[1]", "redact.patterns[2]", "used twice", "collectors[2].plugin", `"Upper Case"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not named in: %v", want, err)
		}
	}
}

func TestToken(t *testing.T) {
	text, err := identity.JoinToken{Site: "west", Addresses: []string{"c:1"}, CA: identity.Pin{}.String(), ID: "i", Secret: "s"}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("REEVE_JOIN_TOKEN", text)
	c, err := Load("")
	if err != nil {
		t.Fatal(err)
	}
	if _, still := os.LookupEnv("REEVE_JOIN_TOKEN"); still {
		t.Error("the token stays in the environment, where child processes inherit it")
	}
	for _, c := range []Config{c, {JoinTokenFile: file}} {
		token, ok, err := c.Token()
		if err != nil || !ok || token.Site != "west" {
			t.Errorf("%+v, %v, %v", token, ok, err)
		}
	}
	none := Config{}
	if _, ok, err := none.Token(); ok || err != nil {
		t.Errorf("no token: %v, %v", ok, err)
	}
	missing := Config{JoinTokenFile: file + "x"}
	if _, _, err := missing.Token(); err == nil {
		t.Error("a missing token file was accepted")
	}
}

// cloud is a plugin with schemas.
type cloud struct{ got *plugin.Config }

func (cloud) Describe() plugin.Description {
	return plugin.Description{
		Name:        "cloud",
		Options:     json.RawMessage(`{"type":"object","additionalProperties":false,"properties":{"region":{"type":"string"}}}`),
		Credentials: json.RawMessage(`{"type":"object","required":["password"],"properties":{"password":{"type":"string","minLength":8}}}`),
	}
}

func (p cloud) New(c plugin.Config) (plugin.Collector, error) { *p.got = c; return nil, nil }

func TestOpen(t *testing.T) {
	var got plugin.Config
	plugins := []plugin.Plugin{cloud{&got}}
	open := func(k Collector) error {
		c := Config{Collectors: []Collector{k}}
		_, err := c.Open(plugins, slog.New(slog.DiscardHandler))
		return err
	}
	good := map[string]any{"password": "correct horse"}
	if err := open(Collector{Plugin: "cloud", Name: "c", Options: map[string]any{"region": "w"}, Credentials: good}); err != nil {
		t.Fatal(err)
	}
	if string(got.Options) != `{"region":"w"}` || !strings.Contains(string(got.Credentials), "horse") || got.Name != "c" || got.Logger == nil {
		t.Fatalf("%+v", got)
	}
	for want, k := range map[string]Collector{
		"there is no plugin": {Plugin: "nope", Name: "n"},
		"password":           {Plugin: "cloud", Name: "c"},
		"regoin":             {Plugin: "cloud", Name: "c", Options: map[string]any{"regoin": "w"}, Credentials: good},
		"minLength":          {Plugin: "cloud", Name: "c", Credentials: map[string]any{"password": "s3cr3t"}},
	} {
		err := open(k)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
		if err != nil && strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("a credential is in the error: %v", err)
		}
	}
}

// TestPastVersions reads a file of each version that there was, with every key.
func TestPastVersions(t *testing.T) {
	for file, version := range map[string]int{"unversioned.yaml": 0, "version-1.yaml": 1} {
		c, err := Load(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		want := Config{
			Version: version,
			DataDir: "/var/lib/reeve-agent-1", JoinTokenFile: "/etc/reeve/join-token",
			Aggregators: []string{"reeve.example.org:8443", "192.0.2.7:8443"},
			Proxy:       "http://proxy.example.org:3128", ProxyCredentialsFile: "/etc/reeve/proxy", Bandwidth: "2Mbit",
			HealthListen: "127.0.0.1:9999", Log: logging.Options{Level: "debug", Format: "json"}, Spool: Spool{MaxBytes: 32 << 20},
			Redact: Redact{Keys: []string{"*_conn"}, Patterns: []string{"ACME-[0-9]{12}"}},
			Collectors: []Collector{
				{Plugin: "host", Name: "host"},
				{Plugin: "openstack", Name: "west", Options: map[string]any{"cloud": "west"},
					Credentials: map[string]any{"file": "/etc/reeve/clouds.yaml"}},
			},
		}
		if !reflect.DeepEqual(c, want) {
			t.Errorf("%s: %+v, want %+v", file, c, want)
		}
	}
}
