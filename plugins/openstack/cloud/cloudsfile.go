package cloud

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// texts are the files that an [Access] leads to, as they are.
type texts struct {
	name, source   string
	clouds, secure []byte
	// public is a clouds-public.yaml, which profiles come from. It may be nil.
	public []byte
	// environment has what is said of single services where there is no file.
	environment map[string]any
}

// read reads the files, or writes what the environment says as one.
func (a Access) read() (texts, error) {
	t := texts{name: a.Cloud, source: a.File}
	if t.name == "" {
		t.name = os.Getenv("OS_CLOUD")
	}
	if t.name == "" {
		if a.File != "" {
			return t, fmt.Errorf("the option cloud must say which entry of %s is meant", a.File)
		}
		if os.Getenv("OS_AUTH_URL") == "" {
			return t, errors.New("there are no credentials: set the options clouds_file and cloud, or OS_CLOUD, or OS_AUTH_URL and the variables " +
				"beside it")
		}
		text, err := environmentFile(os.Getenv)
		t.name, t.source, t.clouds = environmentCloud, "environment", text
		t.environment = make(map[string]any)
		for _, v := range os.Environ() {
			name, value, _ := strings.Cut(v, "=")
			if name, ok := strings.CutPrefix(name, "OS_"); ok && value != "" && strings.HasSuffix(name, "_ENDPOINT_OVERRIDE") {
				t.environment[strings.ToLower(name)] = value
			}
		}
		return t, err
	}
	places, err := a.places()
	if err != nil {
		return t, err
	}
	for _, file := range places {
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return t, fmt.Errorf("reading the credentials of %q: %w", t.name, err)
		}
		t.source, t.clouds = file, text
		secure := filepath.Join(filepath.Dir(file), "secure.yaml")
		if t.secure, err = os.ReadFile(secure); err != nil && !errors.Is(err, os.ErrNotExist) {
			return t, fmt.Errorf("reading the credentials of %q: %w", t.name, err)
		}
		for _, place := range append([]string{file}, places...) {
			if t.public, err = os.ReadFile(filepath.Join(filepath.Dir(place), "clouds-public.yaml")); err == nil {
				break
			}
		}
		return t, nil
	}
	return t, fmt.Errorf("reading the credentials of %q: there is no file: %s", t.name, strings.Join(places, ", "))
}

// places are where a clouds.yaml may be.
func (a Access) places() ([]string, error) {
	if a.File != "" {
		return []string{a.File}, nil
	}
	if file := os.Getenv("OS_CLIENT_CONFIG_FILE"); file != "" {
		return []string{file}, nil
	}
	here, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("looking for clouds.yaml: %w", err)
	}
	places := []string{filepath.Join(here, "clouds.yaml")}
	mine := os.Getenv("XDG_CONFIG_HOME")
	if home, err := os.UserHomeDir(); mine == "" && err == nil {
		mine = filepath.Join(home, ".config")
	}
	if mine != "" {
		places = append(places, filepath.Join(mine, "openstack", "clouds.yaml"))
	}
	return append(places, "/etc/openstack/clouds.yaml"), nil
}

// entry is one of a clouds.yaml, with what OpenStack's clients read there and the
// client library does not.
type entry map[string]any

// errNotYAML does not say what is wrong: a parser shows the lines around.
var errNotYAML = errors.New("it is not a clouds.yaml: an object clouds with an object for each cloud")

func (t texts) entry() (entry, error) {
	whole := make(entry)
	for i, text := range [][]byte{t.clouds, t.secure} {
		var file struct {
			Clouds map[string]map[string]any `yaml:"clouds"`
		}
		if err := yaml.Unmarshal(text, &file); err != nil {
			return nil, errNotYAML
		}
		part, ok := file.Clouds[t.name]
		if !ok && i == 0 {
			return nil, fmt.Errorf("there is no cloud %q in it", t.name)
		}
		for k, v := range part {
			if old, ok := whole[k].(map[string]any); ok {
				if more, ok := v.(map[string]any); ok {
					old = maps.Clone(old)
					maps.Copy(old, more)
					whole[k] = old
					continue
				}
			}
			whole[k] = v
		}
	}
	maps.Copy(whole, t.environment)
	return whole, nil
}

// text returns a member that is a text, or empty.
func (e entry) text(name string) string {
	s, _ := e[name].(string)
	return s
}

func (e entry) auth() entry {
	auth, _ := e["auth"].(map[string]any)
	return auth
}

// supportedTypes are the ways to log in.
var supportedTypes = []string{"", "password", "v3password", "token", "v3token", "v3applicationcredential"}

// foreignMembers are members of auth that belong to other ways.
var foreignMembers = []string{
	"identity_provider", "protocol", "access_token", "passcode", "client_id", "client_secret", "discovery_endpoint", "consumer_key",
	"mutual_auth", "service_provider",
}

// supported refuses ways to log in that are not known, by their names: a password
// for another place must not be sent to the identity service.
func (e entry) supported() error {
	if _, ok := e["auth"].(map[string]any); !ok && e.text("profile") == "" && e.text("cloud") == "" {
		return errors.New("auth is missing")
	}
	if v, ok := e["verify"]; ok && v != nil {
		text, _ := v.(string)
		if _, ok := v.(bool); !ok && !strings.EqualFold(text, "true") && !strings.EqualFold(text, "false") {
			return errors.New("verify must be true or false")
		}
	}
	if way := strings.ToLower(e.text("auth_type")); !slices.Contains(supportedTypes, way) {
		return fmt.Errorf("auth_type %q is not supported: use password, v3applicationcredential or token "+
			"(openstack application credential create makes one from any way to log in)", way)
	}
	if _, ok := e["auth_methods"]; ok {
		return errors.New("auth_methods is not supported: use an application credential, which needs one method only")
	}
	for _, name := range foreignMembers {
		if _, ok := e.auth()[name]; ok {
			return fmt.Errorf("auth has %s, which belongs to a way to log in that is not supported: use password, an application credential or "+
				"token", name)
		}
	}
	return nil
}

// verifyText finds a verify that is given as a text, which OpenStack's clients read.
var verifyText = regexp.MustCompile(`(?im)(^\s*|[{,]\s*)(["']?verify["']?\s*:\s*)["'](true|false)["']`)

// unquoteVerify makes a truth of a verify that is a text.
func unquoteVerify(file []byte) []byte { return verifyText.ReplaceAll(file, []byte("${1}${2}${3}")) }

// quoted finds what a parser repeats of a file.
var quoted = regexp.MustCompile("`[^`]*`")

// explain says what to do about an entry that lacks something. It does not repeat
// what the entry has.
func (e entry) explain(err error) error {
	if text := err.Error(); quoted.MatchString(text) {
		err = errors.New(quoted.ReplaceAllString(text, "a value"))
	}
	if e.auth().text("auth_url") != "" {
		return err
	}
	for _, r := range e.regions() {
		if values, ok := r["values"].(map[string]any); ok && entry(values).auth().text("auth_url") != "" {
			return fmt.Errorf("auth_url is missing: it stands in the values of the region %v, which are not read; write it into auth of the entry",
				r["name"])
		}
	}
	for _, name := range []string{"profile", "cloud"} {
		if p := e.text(name); p != "" {
			return fmt.Errorf("auth_url is missing: %s %q is one of a list that comes with OpenStack's clients, which is not read; "+
				"write its auth_url into auth of the entry, or the profile into a clouds-public.yaml beside the file", name, p)
		}
	}
	return err
}

// regions are those of the entry that have more than a name.
func (e entry) regions() []entry {
	list, _ := e["regions"].([]any)
	var all []entry
	for _, r := range list {
		if r, ok := r.(map[string]any); ok {
			all = append(all, r)
		}
	}
	return all
}

// override is what is said of one service.
type override struct {
	// endpoint is used instead of the catalog's.
	endpoint string
	// visibility is the interface of its endpoints, serviceType and serviceName
	// those of its entry in the catalog. They may be empty.
	visibility, serviceType, serviceName string
}

// overrides are what an entry says of single services: load_balancer_endpoint_override
// and its like. Those of the region that is used have precedence.
func (e entry) overrides(region string) (map[string]override, error) {
	all := make(map[string]override)
	levels := []entry{e}
	for _, r := range e.regions() {
		if values, ok := r["values"].(map[string]any); ok && region != "" && r["name"] == region {
			levels = append(levels, values)
		}
	}
	for _, level := range levels {
		for _, api := range APIs {
			o := all[api.Name]
			// The official name comes last, and so has the last word.
			for _, typ := range slices.Backward(api.Types) {
				prefix := strings.ReplaceAll(typ, "-", "_") + "_"
				for _, m := range []struct {
					suffix string
					into   *string
				}{
					{"endpoint_override", &o.endpoint}, {"interface", &o.visibility}, {"endpoint_type", &o.visibility},
					{"service_type", &o.serviceType}, {"service_name", &o.serviceName},
				} {
					if value := level.text(prefix + m.suffix); value != "" {
						*m.into = value
					}
				}
			}
			o.visibility = strings.TrimSuffix(o.visibility, "URL")
			if o == (override{}) {
				continue
			}
			if u, err := url.Parse(fill(o.endpoint, Identified{})); o.endpoint != "" && (err != nil || u.Hostname() == "") {
				return nil, fmt.Errorf("the endpoint_override of %s must be an address such as https://cloud.example.com/v2", api.Types[0])
			}
			all[api.Name] = o
		}
	}
	return all, nil
}
