// Package config is what an agent can be told: one YAML file, and environment
// variables over it.
package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/reeve-cloud/reeve/agent/redact"
	"github.com/reeve-cloud/reeve/pkg/config"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/logging"
	"github.com/reeve-cloud/reeve/pkg/plugin"
)

// Config is the agent's configuration. docs/agent.md explains each key.
type Config struct {
	// Version is that of the file ([config.Version]); zero where it names none.
	Version int `yaml:"version" env:"-"`
	// DataDir holds identity, spool and what was last seen. It must survive
	// restarts, and belongs to one agent.
	DataDir string `yaml:"data_dir" env:"DATA_DIR"`
	// JoinTokenFile holds the join token, which is needed until the agent has
	// enrolled. JoinToken holds the token itself; it is read from the
	// environment only, never from a file that people copy around.
	JoinTokenFile string `yaml:"join_token_file" env:"JOIN_TOKEN_FILE"`
	JoinToken     string `yaml:"-" env:"JOIN_TOKEN,unset"`
	// Aggregators (host:port) win over the addresses in the join token.
	Aggregators []string `yaml:"aggregators" env:"AGGREGATORS"`
	// Proxy leads to aggregators over TCP: http:// or https://, host and port. By
	// default the environment's HTTPS_PROXY and NO_PROXY say what does.
	// ProxyCredentialsFile holds USER:PASSWORD for it.
	Proxy                string `yaml:"proxy" env:"PROXY"`
	ProxyCredentialsFile string `yaml:"proxy_credentials_file" env:"PROXY_CREDENTIALS_FILE"`
	// Bandwidth bounds what is shipped, as in 500kbit or 2Mbit, a second. Empty
	// means not at all.
	Bandwidth string `yaml:"bandwidth" env:"BANDWIDTH"`
	// HealthListen is where health checks and metrics are served. Empty means
	// nowhere.
	HealthListen string          `yaml:"health_listen" env:"HEALTH_LISTEN"`
	Log          logging.Options `yaml:"log" envPrefix:"LOG_"`
	Spool        Spool           `yaml:"spool" envPrefix:"SPOOL_"`
	Redact       Redact          `yaml:"redact"`
	// Collectors are what runs. By default the host collector does.
	Collectors []Collector `yaml:"collectors"`
}

// Redact is what is masked beside what always is.
type Redact struct {
	// Keys are names of keys, in any case, whose values are secret. * stands for
	// any characters, ? for one.
	Keys []string `yaml:"keys"`
	// Patterns are regular expressions (RE2) for secrets in any text.
	Patterns []string `yaml:"patterns"`
}

// Spool is how much may wait on disk.
type Spool struct {
	// MaxBytes is what the spool may have on disk. Beyond it the oldest of what
	// waits is given up.
	MaxBytes int64 `yaml:"max_bytes" env:"MAX_BYTES"`
}

// Collector is one use of a plugin.
type Collector struct {
	Plugin string `yaml:"plugin"`
	// Name is the plugin's name by default.
	Name        string         `yaml:"name"`
	Options     map[string]any `yaml:"options"`
	Credentials map[string]any `yaml:"credentials"`
}

// Default is the configuration of an agent that was told nothing.
func Default() Config {
	return Config{
		DataDir:      "/var/lib/reeve-agent",
		HealthListen: "127.0.0.1:9464",
		Log:          logging.Defaults,
		Spool:        Spool{MaxBytes: 1 << 30},
		Collectors:   []Collector{{Plugin: "host"}},
	}
}

// Load reads a configuration file, which may be "", and the environment, and
// checks what can be checked without plugins.
func Load(file string) (Config, error) {
	c := Default()
	if err := config.Load(file, &c); err != nil {
		return c, err
	}
	return c, c.check()
}

var collectorName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

func (c *Config) check() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.DataDir == "" {
		fail("data_dir: must not be empty")
	} else if abs, err := filepath.Abs(c.DataDir); err != nil {
		fail("data_dir: %w", err)
	} else {
		c.DataDir = abs
	}
	if c.Spool.MaxBytes < 16<<20 {
		fail("spool.max_bytes: must be at least 16777216 (16 MiB), not %d", c.Spool.MaxBytes)
	}
	for i, a := range c.Aggregators {
		if err := identity.CheckAddress(a); err != nil {
			fail("aggregators[%d]: %w", i, err)
		}
	}
	if _, err := c.proxy(); err != nil {
		errs = append(errs, err)
	}
	if _, err := ParseBandwidth(c.Bandwidth); err != nil {
		fail("bandwidth: %w", err)
	}
	if _, err := logging.New(nil, c.Log); err != nil {
		fail("log: %w", err)
	}
	if _, err := c.Redact.Rules(); err != nil {
		errs = append(errs, err)
	}
	if len(c.Collectors) == 0 {
		fail("collectors: there must be at least one")
	}
	names := make(map[string]bool)
	for i := range c.Collectors {
		k := &c.Collectors[i]
		if k.Plugin == "" {
			fail("collectors[%d].plugin: must not be empty", i)
			continue
		}
		if k.Name == "" {
			k.Name = k.Plugin
		}
		if !collectorName.MatchString(k.Name) {
			fail("collectors[%d].name %q: must be lower-case letters, digits and hyphens", i, k.Name)
		}
		if names[k.Name] {
			fail("collectors[%d].name %q: is used twice; give each collector a name of its own", i, k.Name)
		}
		names[k.Name] = true
	}
	return errors.Join(errs...)
}

// Rules returns the rules that collect goes by.
func (r Redact) Rules() (*redact.Rules, error) { return redact.New(r.Keys, r.Patterns) }

// Token returns the join token, or ok false if none is configured.
func (c *Config) Token() (token identity.JoinToken, ok bool, err error) {
	text := c.JoinToken
	if text == "" && c.JoinTokenFile != "" {
		data, err := os.ReadFile(c.JoinTokenFile)
		if err != nil {
			return token, false, fmt.Errorf("reading the join token: %w", err)
		}
		text = string(data)
	}
	if strings.TrimSpace(text) == "" {
		return token, false, nil
	}
	token, err = identity.ParseJoinToken(text)
	return token, err == nil, err
}

// Open makes the configured collectors out of the plugins. Options and
// credentials are checked against the plugin's schemas first.
func (c *Config) Open(plugins []plugin.Plugin, logger *slog.Logger) ([]Opened, error) {
	byName := make(map[string]plugin.Plugin)
	var known []string
	for _, p := range plugins {
		name := p.Describe().Name
		byName[name] = p
		known = append(known, name)
	}
	var all []Opened
	var errs []error
	for _, k := range c.Collectors {
		p, ok := byName[k.Plugin]
		if !ok {
			errs = append(errs, fmt.Errorf("collector %s: there is no plugin %q; there are: %s", k.Name, k.Plugin, strings.Join(known, ", ")))
			continue
		}
		o, err := k.open(p, logger.With("collector", k.Name))
		if err != nil {
			errs = append(errs, fmt.Errorf("collector %s: %w", k.Name, err))
			continue
		}
		all = append(all, o)
	}
	return all, errors.Join(errs...)
}

// Opened is a collector that was made from its configuration.
type Opened struct {
	Name        string
	Description plugin.Description
	Collector   plugin.Collector
}

func (k Collector) open(p plugin.Plugin, logger *slog.Logger) (Opened, error) {
	d := p.Describe()
	options, err := validate("options", d.Options, k.Options)
	if err != nil {
		return Opened{}, err
	}
	credentials, err := validate("credentials", d.Credentials, k.Credentials)
	if err != nil {
		return Opened{}, err
	}
	collector, err := p.New(plugin.Config{Name: k.Name, Options: options, Credentials: credentials, Logger: logger})
	if err != nil {
		return Opened{}, err
	}
	return Opened{Name: k.Name, Description: d, Collector: collector}, nil
}

// validate checks settings against a schema and returns them as JSON. Its
// errors name keys and never values: they may be credentials.
func validate(what string, schema json.RawMessage, settings map[string]any) (json.RawMessage, error) {
	if schema == nil {
		if len(settings) > 0 {
			return nil, fmt.Errorf("%s: the plugin takes none", what)
		}
		return nil, nil
	}
	if settings == nil {
		settings = map[string]any{}
	}
	data, err := json.Marshal(settings)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(schema)))
	if err != nil {
		return nil, fmt.Errorf("%s: the plugin's schema is not JSON: %w", what, err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("settings.json", doc); err != nil {
		return nil, fmt.Errorf("%s: the plugin's schema: %w", what, err)
	}
	compiled, err := compiler.Compile("settings.json")
	if err != nil {
		return nil, fmt.Errorf("%s: the plugin's schema: %w", what, err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(string(data)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if err := compiled.Validate(value); err != nil {
		if ve, ok := errors.AsType[*jsonschema.ValidationError](err); ok {
			return nil, fmt.Errorf("%s: %s", what, describe(ve))
		}
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return data, nil
}

// describe says where and against which rule a value is wrong.
func describe(e *jsonschema.ValidationError) string {
	for len(e.Causes) > 0 {
		e = e.Causes[0]
	}
	place := strings.Join(e.InstanceLocation, ".")
	if place == "" {
		place = "at the top"
	}
	rule := strings.Join(e.ErrorKind.KeywordPath(), ".")
	if rule == "required" || rule == "additionalProperties" {
		// These speak of keys only.
		_, text, _ := strings.Cut(e.Error(), ": ")
		return fmt.Sprintf("%s: %s", place, strings.TrimSpace(text))
	}
	return fmt.Sprintf("%s: does not fulfil %q of the plugin's schema", place, rule)
}
