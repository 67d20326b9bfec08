package engine

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"
)

const publicRegistry = "https://registry.npmjs.org/"

// npmSettings are the settings of the npm client that say how its registry is
// reached: npm_config_* in the environment, then the user's .npmrc, then the
// global one. Keys are as in these files: "registry", "https-proxy".
type npmSettings map[string]string

// readNpmSettings reads them as npm does. npm itself need not be there.
func readNpmSettings(environ []string) (npmSettings, error) {
	environment, fromEnvironment := map[string]string{}, npmSettings{}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		environment[name] = value
		const prefix = "npm_config_"
		if len(name) > len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) && value != "" {
			fromEnvironment[strings.ReplaceAll(strings.ToLower(name[len(prefix):]), "_", "-")] = value
		}
	}
	settings := npmSettings{}
	for _, file := range []string{globalNpmrc(environment, fromEnvironment), userNpmrc(environment, fromEnvironment)} {
		if file == "" {
			continue
		}
		if err := settings.readFile(file, environment); err != nil {
			return nil, err
		}
	}
	maps.Copy(settings, fromEnvironment)
	return settings, nil
}

func userNpmrc(environment map[string]string, settings npmSettings) string {
	if file := settings["userconfig"]; file != "" {
		return file
	}
	if home := environment["HOME"]; home != "" {
		return filepath.Join(home, ".npmrc")
	}
	return ""
}

// globalNpmrc is etc/npmrc under npm's prefix, which is where node is installed
// if nobody says otherwise.
func globalNpmrc(environment map[string]string, settings npmSettings) string {
	if file := settings["globalconfig"]; file != "" {
		return file
	}
	prefix := settings["prefix"]
	if prefix == "" {
		prefix = environment["PREFIX"]
	}
	if prefix == "" {
		node, err := exec.LookPath("node")
		if err != nil {
			return ""
		}
		if resolved, err := filepath.EvalSymlinks(node); err == nil {
			node = resolved
		}
		prefix = filepath.Dir(filepath.Dir(node))
	}
	return filepath.Join(prefix, "etc", "npmrc")
}

// readFile reads a file in the form of npm's: "key = value", in the value ${NAME}
// for the environment. A missing file has no settings.
func (s npmSettings) readFile(file string, environment map[string]string) error {
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("npm settings: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, 1<<20))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == ';' || line[0] == '#' || line[0] == '[' {
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
			value = value[1 : n-1]
		}
		value = expand(value, environment)
		if value == "null" {
			value = ""
		}
		s[key] = value
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("npm settings in %s: %w", file, err)
	}
	return nil
}

// expand replaces ${NAME}; a name that is not set stays as it is, as in npm.
func expand(value string, environment map[string]string) string {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(value, "${")
		name, after, closed := strings.Cut(rest, "}")
		if !found || !closed {
			out.WriteString(value)
			return out.String()
		}
		out.WriteString(before)
		if v, ok := environment[name]; ok {
			out.WriteString(v)
		} else {
			out.WriteString("${" + name + "}")
		}
		value = after
	}
}

// registry is where packages of a scope ("@chdb") are.
func (s npmSettings) registry(scope string) (*url.URL, error) {
	text := publicRegistry
	for _, key := range []string{scope + ":registry", "registry"} {
		if s[key] != "" {
			text = s[key]
			break
		}
	}
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" {
		return nil, errors.New("npm settings: the registry is no http or https URL (see `npm config get registry`, or set npm_config_registry)")
	}
	return u, nil
}

// client makes the HTTP client for the registry: its proxy from npm's settings
// or else from the environment, its authorities those of the system and of npm.
func (s npmSettings) client() (*http.Client, error) {
	proxies := httpproxy.FromEnvironment()
	if proxy := s["proxy"]; proxy != "" {
		proxies.HTTPProxy, proxies.HTTPSProxy = proxy, proxy
	}
	if proxy := s["https-proxy"]; proxy != "" {
		proxies.HTTPSProxy = proxy
	}
	if none := s["noproxy"]; none != "" {
		proxies.NoProxy = none
	}
	proxy := proxies.ProxyFunc()

	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = func(r *http.Request) (*url.URL, error) { return proxy(r.URL) }
	transport.ResponseHeaderTimeout = time.Minute
	// The package's own bytes are what is hashed.
	transport.DisableCompression = true
	if file := s["cafile"]; file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("npm's setting cafile: %w", err)
		}
		roots, err := x509.SystemCertPool()
		if err != nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("npm's setting cafile: %s has no certificates", file)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{Transport: transport}, nil
}
