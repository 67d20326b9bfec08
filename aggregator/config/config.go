// Package config is what an aggregator can be told: one YAML file, environment
// variables over it, and a few flags over both.
package config

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/retention"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/config"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/logging"
)

// Config is the aggregator's configuration. docs/aggregator.md explains each
// key.
type Config struct {
	// Version is that of the file ([config.Version]); zero where it names none.
	Version int `yaml:"version" env:"-"`
	// DataDir holds the CA, the registry, the commit log, and by default the
	// warehouse.
	DataDir string `yaml:"data_dir" env:"DATA_DIR"`
	// Listen is where agents (QUIC over UDP) and the API (TLS over TCP) are
	// served: one port number for both.
	Listen string `yaml:"listen" env:"LISTEN"`
	// Advertise are the addresses (host:port) by which agents reach this
	// aggregator. By default it is the host of Listen, or else the host name if it
	// has a domain, with the port of Listen; or nothing, and each join token must
	// be made with addresses of its own.
	Advertise []string `yaml:"advertise" env:"ADVERTISE"`
	// HealthListen is where health checks and metrics are served. Empty means
	// nowhere.
	HealthListen string `yaml:"health_listen" env:"HEALTH_LISTEN"`
	// Warehouse is embedded:DIR or the address of a ClickHouse server.
	Warehouse string `yaml:"warehouse" env:"WAREHOUSE"`
	// WarehousePasswordFile holds the password for a server.
	WarehousePasswordFile string `yaml:"warehouse_password_file" env:"WAREHOUSE_PASSWORD_FILE"`
	// NewWarehouse lets this one start begin with an empty warehouse though there was
	// another. It is a flag only: in a file it would count at the next start as well.
	NewWarehouse bool            `yaml:"-" env:"-"`
	Engine       Engine          `yaml:"engine" envPrefix:"ENGINE_"`
	Retention    Retention       `yaml:"retention" envPrefix:"RETENTION_"`
	Log          logging.Options `yaml:"log" envPrefix:"LOG_"`
}

// Engine configures the embedded engine.
type Engine struct {
	// Process runs the engine in a process of its own, so that its crash is
	// survived.
	Process bool `yaml:"process" env:"PROCESS"`
	// Library is the path of libchdb.so. By default it is looked for.
	Library string `yaml:"library" env:"LIBRARY"`
	// MemoryBytes is what the engine may use. Zero leaves it to the engine.
	MemoryBytes int64 `yaml:"memory_bytes" env:"MEMORY_BYTES"`
}

// Retention says for how many days things are kept. Zero is for ever.
type Retention struct {
	// Versions, events and usage go by whole months.
	VersionsDays   int `yaml:"versions_days" env:"VERSIONS_DAYS"`
	EventsDays     int `yaml:"events_days" env:"EVENTS_DAYS"`
	UsageDays      int `yaml:"usage_days" env:"USAGE_DAYS"`
	GapsDays       int `yaml:"gaps_days" env:"GAPS_DAYS"`
	AuditDays      int `yaml:"audit_days" env:"AUDIT_DAYS"`
	TokensDays     int `yaml:"tokens_days" env:"TOKENS_DAYS"`
	WatermarksDays int `yaml:"watermarks_days" env:"WATERMARKS_DAYS"`
}

// Policy returns what the retention is told.
func (r Retention) Policy() retention.Policy {
	days := func(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }
	return retention.Policy{
		Versions: days(r.VersionsDays), Events: days(r.EventsDays), Usage: days(r.UsageDays), Gaps: days(r.GapsDays),
		Audit: days(r.AuditDays), Tokens: days(r.TokensDays), Watermarks: days(r.WatermarksDays),
	}
}

func (r Retention) check() error {
	const most = 36_500
	for _, d := range []struct {
		key  string
		days int
	}{
		{"versions_days", r.VersionsDays}, {"events_days", r.EventsDays}, {"usage_days", r.UsageDays}, {"gaps_days", r.GapsDays},
		{"audit_days", r.AuditDays}, {"tokens_days", r.TokensDays}, {"watermarks_days", r.WatermarksDays},
	} {
		if d.days < 0 || d.days > most {
			return fmt.Errorf("retention.%s: %d: must be 0 (for ever) to %d", d.key, d.days, most)
		}
	}
	return nil
}

// Default is the configuration of an aggregator that was told nothing.
func Default() Config {
	return Config{
		DataDir:      "/var/lib/reeve-aggregator",
		Listen:       ":8443",
		HealthListen: "127.0.0.1:9465",
		Engine:       Engine{Process: true},
		Retention:    Retention{GapsDays: 400, AuditDays: 400, TokensDays: 90, WatermarksDays: 400},
		Log:          logging.Defaults,
	}
}

// Load reads a configuration file, which may be "", and the environment. Finish
// must follow, when flags have been set over it.
func Load(file string) (Config, error) {
	c := Default()
	return c, config.Load(file, &c)
}

// Finish checks the configuration and fills in what depends on the rest.
func (c *Config) Finish() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.DataDir == "" {
		fail("data_dir: must not be empty")
	} else if abs, err := filepath.Abs(c.DataDir); err != nil {
		fail("data_dir: %w", err)
	} else {
		c.DataDir = abs
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil || port == "" {
		fail("listen %q: must have the form host:port or :port", c.Listen)
	}
	if len(c.Advertise) == 0 && err == nil {
		ip := net.ParseIP(host)
		given := host != "" && (ip == nil || !ip.IsUnspecified())
		if !given {
			if host, err = os.Hostname(); err != nil {
				fail("advertise: finding out the host name: %w", err)
			}
		}
		// A bare host name serves at home only: whoever makes a token is asked then.
		if guess := net.JoinHostPort(host, port); given || identity.Doubt(guess) == "" {
			c.Advertise = []string{guess}
		}
	}
	for i, a := range c.Advertise {
		if err := identity.CheckAddress(a); err != nil {
			fail("advertise[%d]: %w", i, err)
		}
	}
	if c.Warehouse == "" {
		c.Warehouse = "embedded:" + filepath.Join(c.DataDir, "warehouse")
	}
	if err := warehouse.CheckAddress(c.Warehouse); err != nil {
		errs = append(errs, err)
	}
	if err := c.Retention.check(); err != nil {
		errs = append(errs, err)
	}
	if _, err := logging.New(nil, c.Log); err != nil {
		fail("log: %w", err)
	}
	return errors.Join(errs...)
}

// WarehousePassword reads the password file, if there is one.
func (c *Config) WarehousePassword() (string, error) {
	if c.WarehousePasswordFile == "" {
		return "", nil
	}
	data, err := os.ReadFile(c.WarehousePasswordFile)
	if err != nil {
		return "", fmt.Errorf("reading the warehouse's password: %w", err)
	}
	return strings.TrimRight(string(data), "\r\n"), nil
}

// Hosts are the names in the aggregator's certificate.
func (c *Config) Hosts() []string {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	if name, err := os.Hostname(); err == nil && name != "" {
		hosts = append(hosts, name)
	}
	for _, a := range c.Advertise {
		if host, _, err := net.SplitHostPort(a); err == nil {
			hosts = append(hosts, host)
		}
	}
	return hosts
}
