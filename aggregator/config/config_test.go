package config

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/pkg/logging"
)

func TestDefaults(t *testing.T) {
	c := Default()
	c.DataDir = "state"
	if err := c.Finish(); err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(c.DataDir) || c.Warehouse != "embedded:"+c.DataDir+"/warehouse" {
		t.Fatalf("%+v", c)
	}
}

// Agents elsewhere do not know a bare host name: it is not put into their tokens.
func TestAdvertise(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	var own []string
	if strings.Contains(host, ".") {
		own = []string{host + ":8443"}
	}
	for name, test := range map[string]struct {
		listen    string
		advertise []string
		want      []string
	}{
		"nothing given":          {":8443", nil, own},
		"any address":            {"0.0.0.0:8443", nil, own},
		"any address of IPv6":    {"[::]:8443", nil, own},
		"an address":             {"192.0.2.1:8443", nil, []string{"192.0.2.1:8443"}},
		"this machine alone":     {"127.0.0.1:8443", nil, []string{"127.0.0.1:8443"}},
		"a name to listen at":    {"reeve.example.org:8443", nil, []string{"reeve.example.org:8443"}},
		"what is given is taken": {":8443", []string{"reeve:443"}, []string{"reeve:443"}},
	} {
		c := Default()
		c.Listen, c.Advertise = test.listen, test.advertise
		if err := c.Finish(); err != nil || !slices.Equal(c.Advertise, test.want) {
			t.Errorf("%s: %q, %v", name, c.Advertise, err)
		}
		if !slices.Contains(c.Hosts(), host) {
			t.Errorf("%s: the certificate is for %q", name, c.Hosts())
		}
	}
}

func TestFaults(t *testing.T) {
	for want, spoil := range map[string]func(*Config){
		"data_dir":     func(c *Config) { c.DataDir = "" },
		"listen":       func(c *Config) { c.Listen = "8443" },
		"advertise[0]": func(c *Config) { c.Advertise = []string{"x"} },
		"warehouse":    func(c *Config) { c.Warehouse = "mysql://x" },
		"log format":   func(c *Config) { c.Log.Format = "xml" },

		"retention.audit_days":    func(c *Config) { c.Retention.AuditDays = -1 },
		"retention.versions_days": func(c *Config) { c.Retention.VersionsDays = 1 << 30 },
	} {
		c := Default()
		spoil(&c)
		if err := c.Finish(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}

func TestEnvironmentAndPassword(t *testing.T) {
	t.Setenv("REEVE_ENGINE_PROCESS", "false")
	t.Setenv("REEVE_ADVERTISE", "a:1,b:2")
	c, err := Load("")
	if err != nil || c.Engine.Process || len(c.Advertise) != 2 {
		t.Fatalf("%+v, %v", c, err)
	}
	if p, err := c.WarehousePassword(); p != "" || err != nil {
		t.Fatalf("%q, %v", p, err)
	}
	c.WarehousePasswordFile = filepath.Join(t.TempDir(), "p")
	if _, err := c.WarehousePassword(); err == nil {
		t.Fatal("a missing password file was accepted")
	}
	if err := os.WriteFile(c.WarehousePasswordFile, []byte("secret \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if p, err := c.WarehousePassword(); p != "secret " || err != nil {
		t.Fatalf("%q, %v", p, err)
	}
}

// TestPastVersions reads a file of each version that there was, with every key.
func TestPastVersions(t *testing.T) {
	for file, version := range map[string]int{"unversioned.yaml": 0, "version-1.yaml": 1} {
		c, err := Load(filepath.Join("testdata", file))
		if err == nil {
			err = c.Finish()
		}
		if err != nil {
			t.Fatal(err)
		}
		want := Config{
			Version: version,
			DataDir: "/var/lib/reeve-aggregator-1", Listen: "192.0.2.7:8443", Advertise: []string{"reeve.example.org:8443"},
			HealthListen: "127.0.0.1:9999", Warehouse: "clickhouse://reeve@192.0.2.8:9000", WarehousePasswordFile: "/etc/reeve/warehouse",
			Engine: Engine{Library: "/usr/lib/libchdb.so", MemoryBytes: 1 << 30}, Log: logging.Options{Level: "debug", Format: "json"},
			Retention: Default().Retention, // of which these files know nothing
		}
		if !reflect.DeepEqual(c, want) {
			t.Errorf("%s: %+v, want %+v", file, c, want)
		}
	}
}

func TestRetention(t *testing.T) {
	t.Setenv("REEVE_RETENTION_EVENTS_DAYS", "100")
	file := filepath.Join(t.TempDir(), "f.yaml")
	if err := os.WriteFile(file, []byte("retention:\n  versions_days: 365\n  audit_days: 0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	p := c.Retention.Policy()
	const day = 24 * time.Hour
	if p.Versions != 365*day || p.Events != 100*day || p.Audit != 0 || p.Usage != 0 || p.Gaps != 400*day {
		t.Errorf("%+v", p)
	}
}
