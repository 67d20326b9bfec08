package openstack

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/reeve-cloud/reeve/plugins/openstack/cloud"
	"github.com/reeve-cloud/reeve/plugins/openstack/kinds"
)

var optionsSchema = json.RawMessage(`{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "clouds_file": {"type": "string", "description": "A clouds.yaml, with a secure.yaml beside it if there is one. By default the places where OpenStack's own clients look."},
    "cloud": {"type": "string", "description": "The entry of clouds.yaml. By default OS_CLOUD, or else the other OS_ variables."},
    "interface": {"enum": ["public", "internal", "admin"], "description": "The endpoints of the catalog that are used. By default what the credentials say, or public."},
    "regions": {"type": "array", "items": {"type": "string", "minLength": 1}, "description": "Only these regions. By default the one that the credentials name, or else all."},
    "include": {"type": "array", "items": {"type": "string", "minLength": 1}, "description": "Only these kinds: patterns as in compute/* or network/ports, or last words of types (Server)."},
    "exclude": {"type": "array", "items": {"type": "string", "minLength": 1}, "description": "Not these kinds, written as in include."},
    "sweep_every": {"type": "string", "description": "How often each list is read as a whole: 10m. Some kinds are swept less often; docs/openstack.md says which."},
    "poll_every": {"type": "string", "description": "How often lists are asked for what has changed: 15s."},
    "actions": {"type": "boolean", "default": true, "description": "Ask what was done to servers that have changed, and by whom: a request for each."},
    "dashboard_url": {"type": "string", "description": "The address of Horizon, for links to what is shown there."},
    "notifications": {
      "type": "object", "additionalProperties": false,
      "properties": {
        "exchanges": {"type": "array", "items": {"type": "string", "minLength": 1}, "description": "The exchanges that services send their notifications to (control_exchange). By default those of OpenStack's services."},
        "topics": {"type": "array", "items": {"type": "string", "minLength": 1}, "description": "By default notifications and versioned_notifications."},
        "ca_file": {"type": "string", "description": "The certificate authority of the broker, for amqps."},
        "cert_file": {"type": "string"},
        "key_file": {"type": "string"}
      },
      "description": "How notifications are read. They are where the credentials have notifications_url or notifications_url_file."
    }
  }
}`)

var credentialsSchema = json.RawMessage(`{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "notifications_url": {"type": "string", "description": "The message broker of the cloud, as in transport_url: amqp://user:password@host:5672/vhost. Several hosts are separated by commas."},
    "notifications_url_file": {"type": "string", "description": "A file that has it."}
  }
}`)

// options are what a user can set.
type options struct {
	CloudsFile    string   `json:"clouds_file"`
	Cloud         string   `json:"cloud"`
	Interface     string   `json:"interface"`
	Regions       []string `json:"regions"`
	Include       []string `json:"include"`
	Exclude       []string `json:"exclude"`
	SweepEvery    duration `json:"sweep_every"`
	PollEvery     duration `json:"poll_every"`
	Actions       bool     `json:"actions"`
	DashboardURL  string   `json:"dashboard_url"`
	Notifications struct {
		Exchanges []string `json:"exchanges"`
		Topics    []string `json:"topics"`
		CAFile    string   `json:"ca_file"`
		CertFile  string   `json:"cert_file"`
		KeyFile   string   `json:"key_file"`
	} `json:"notifications"`

	secret credentials
}

type credentials struct {
	NotificationsURL     string `json:"notifications_url"`
	NotificationsURLFile string `json:"notifications_url_file"`
}

func defaults() options {
	return options{SweepEvery: duration(10 * time.Minute), PollEvery: duration(15 * time.Second), Actions: true}
}

// duration is a length of time as Go writes it.
type duration time.Duration

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = duration(v)
	return err
}

const (
	shortestSweep = 30 * time.Second
	shortestPoll  = time.Second
)

func (o *options) check() error {
	var errs []error
	for name, patterns := range map[string][]string{"include": o.Include, "exclude": o.Exclude} {
		for i, p := range patterns {
			if !slices.ContainsFunc(kinds.All(), func(k *kinds.Kind) bool { return match(p, k) }) {
				errs = append(errs, fmt.Errorf("%s[%d] %q: there is no such kind; docs/openstack.md lists them", name, i, p))
			}
		}
	}
	if time.Duration(o.SweepEvery) < shortestSweep {
		errs = append(errs, fmt.Errorf("sweep_every: must be at least %v", shortestSweep))
	}
	if time.Duration(o.PollEvery) < shortestPoll {
		errs = append(errs, fmt.Errorf("poll_every: must be at least %v", shortestPoll))
	}
	if o.DashboardURL != "" {
		if u, err := url.Parse(o.DashboardURL); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil {
			errs = append(errs, errors.New("dashboard_url: must be an address such as https://horizon.example.com/"))
		}
	}
	if o.secret.NotificationsURL != "" && o.secret.NotificationsURLFile != "" {
		errs = append(errs, errors.New("credentials: set notifications_url or notifications_url_file, not both"))
	}
	return errors.Join(errs...)
}

func (o *options) access() cloud.Access {
	return cloud.Access{File: o.CloudsFile, Cloud: o.Cloud, Interface: o.Interface}
}

// selects reports whether a kind is collected.
func (o *options) selects(k *kinds.Kind) bool {
	in := func(patterns []string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { return match(p, k) })
	}
	return (len(o.Include) == 0 || in(o.Include)) && !in(o.Exclude)
}

func match(pattern string, k *kinds.Kind) bool {
	if !strings.Contains(pattern, "/") {
		return strings.EqualFold(pattern, k.Type[strings.LastIndexByte(k.Type, '.')+1:]) || strings.EqualFold(pattern, k.Type)
	}
	ok, err := path.Match(pattern, k.String())
	return err == nil && ok
}

func (o *options) sweepEvery(k *kinds.Kind) time.Duration {
	return time.Duration(o.SweepEvery) * time.Duration(max(1, k.Every))
}

// broker returns the address of the message broker, or empty.
func (o *options) broker() (string, error) {
	if o.secret.NotificationsURLFile == "" {
		return o.secret.NotificationsURL, nil
	}
	text, err := os.ReadFile(o.secret.NotificationsURLFile)
	if err != nil {
		return "", fmt.Errorf("reading where notifications are: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// notified reports whether the cloud's notifications are read.
func (o *options) notified() bool {
	return o.secret.NotificationsURL != "" || o.secret.NotificationsURLFile != ""
}

// brokerTLS returns how the broker is trusted, or nil for the system's ways.
func (o *options) brokerTLS() (*tls.Config, error) {
	n := o.Notifications
	if n.CAFile == "" && n.CertFile == "" {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if n.CAFile != "" {
		pem, err := os.ReadFile(n.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading notifications.ca_file: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("notifications.ca_file: there is no certificate in %s", n.CAFile)
		}
	}
	if n.CertFile != "" {
		certificate, err := tls.LoadX509KeyPair(n.CertFile, n.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("reading notifications.cert_file: %w", err)
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	return config, nil
}

// formatOfDocuments goes up when the same element makes another document than
// before, so that everything is listed again.
const formatOfDocuments = 1

// fingerprint changes whenever a document made before may not be what would be
// made now.
func (o *options) fingerprint() string {
	sum := sha256.Sum256(fmt.Append(nil, formatOfDocuments, "\x00", o.DashboardURL))
	return hex.EncodeToString(sum[:8])
}
