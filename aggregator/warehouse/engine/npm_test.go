package engine

import (
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRegistryByNpmSettings(t *testing.T) {
	const scoped = "@chdb:registry=https://scoped.example/npm\n"
	for name, c := range map[string]struct {
		global, user string
		environment  []string
		want         string // empty: an error
	}{
		"nothing is said": {want: publicRegistry},
		"global file":     {global: "registry=https://global.example/", want: "https://global.example/"},
		"user's file over it": {global: "registry=https://global.example/", user: "registry = https://user.example/npm/",
			want: "https://user.example/npm/"},
		"environment over both": {user: "registry=https://user.example/",
			environment: []string{"npm_config_registry=http://env.example:4873"}, want: "http://env.example:4873"},
		"environment in capitals": {environment: []string{"NPM_CONFIG_REGISTRY=https://env.example/"}, want: "https://env.example/"},
		"empty environment is nothing": {user: "registry=https://user.example/", environment: []string{"npm_config_registry="},
			want: "https://user.example/"},
		"the scope's own over all": {user: scoped, environment: []string{"npm_config_registry=https://env.example/"},
			want: "https://scoped.example/npm"},
		"another scope's": {user: strings.ReplaceAll(scoped, "chdb", "other"), want: publicRegistry},
		"quotes, comments, sections": {user: "; registry=https://a.example/\n# " +
			"registry=https://b.example/\n[section]\n\nregistry=\"https://user.example/\"\nalone\n", want: "https://user.example/"},
		"last line of two": {user: "registry=https://a.example/\nregistry=https://b.example/\n", want: "https://b.example/"},
		"environment in a value": {user: "registry=https://${MIRROR}/${UNSET}/", environment: []string{"MIRROR=mirror.example"},
			want: "https://mirror.example/$%7BUNSET%7D/"},
		"unclosed environment":    {user: "registry=https://a.example/${MIRROR", want: "https://a.example/$%7BMIRROR"},
		"null is nothing":         {user: "registry=null", want: publicRegistry},
		"no URL":                  {user: "registry=mirror.example"},
		"another scheme":          {user: "registry=file:///etc/passwd"},
		"a file that is not text": {user: strings.Repeat("x", 1<<17)},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			global, user := filepath.Join(dir, "globalrc"), filepath.Join(dir, ".npmrc")
			for path, text := range map[string]string{global: c.global, user: c.user} {
				if text != "" {
					if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			settings, err := readNpmSettings(append([]string{"HOME=" + dir, "npm_config_globalconfig=" + global}, c.environment...))
			if err == nil {
				u, e := settings.registry("@chdb")
				if err = e; err == nil && u.String() != c.want {
					t.Errorf("got %s, want %s", u, c.want)
				}
			}
			if (err == nil) != (c.want != "") {
				t.Errorf("got error %v, want one: %v", err, c.want == "")
			}
		})
	}
}

func TestWhereNpmSettingsAre(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("node/bin/node", "")
	write("node/etc/npmrc", "registry=https://beside-node.example/")
	write("prefix/etc/npmrc", "registry=https://prefix.example/")
	user := write("elsewhere", "registry=https://elsewhere.example/")
	t.Setenv("PATH", filepath.Join(dir, "node", "bin"))
	for want, environment := range map[string][]string{
		"https://beside-node.example/": nil,
		"https://prefix.example/":      {"PREFIX=" + filepath.Join(dir, "prefix")},
		"https://elsewhere.example/":   {"npm_config_userconfig=" + user},
	} {
		settings, err := readNpmSettings(environment)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := settings.registry("@chdb"); err != nil || got.String() != want {
			t.Errorf("with %q: got %v, %v, want %s", environment, got, err, want)
		}
	}
	t.Setenv("PATH", dir) // no node
	if settings, err := readNpmSettings(nil); err != nil || len(settings) != 0 {
		t.Errorf("with nothing: got %v, %v", settings, err)
	}
}

// TestProxies asks a registry through proxies that answer for it.
func TestProxies(t *testing.T) {
	proxy := func(name string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, name+" "+r.URL.Host)
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	npm, environment := proxy("npm's"), proxy("the environment's")
	for name, c := range map[string]struct {
		settings npmSettings
		env      string
		want     string
	}{
		"npm's":                  {settings: npmSettings{"proxy": npm}, want: "npm's registry.example"},
		"npm's over environment": {settings: npmSettings{"proxy": npm}, env: environment, want: "npm's registry.example"},
		"the environment's":      {env: environment, want: "the environment's registry.example"},
		"excepted":               {settings: npmSettings{"proxy": npm, "noproxy": "registry.example"}, want: ""},
		"https only":             {settings: npmSettings{"https-proxy": npm}, env: environment, want: "the environment's registry.example"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, variable := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "REQUEST_METHOD"} {
				t.Setenv(variable, "")
			}
			t.Setenv("HTTP_PROXY", c.env)
			client, err := c.settings.client()
			if err != nil {
				t.Fatal(err)
			}
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://registry.example/", nil)
			if err != nil {
				t.Fatal(err)
			}
			u, err := client.Transport.(*http.Transport).Proxy(request)
			if err != nil {
				t.Fatal(err)
			}
			if c.want == "" {
				if u != nil {
					t.Errorf("goes through %s", u)
				}
				return
			}
			response, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if got, err := io.ReadAll(response.Body); err != nil || string(got) != c.want {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestAuthoritiesOfNpm(t *testing.T) {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(s.Close)
	get := func(settings npmSettings) error {
		client, err := settings.client()
		if err != nil {
			return err
		}
		response, err := client.Get(s.URL)
		if err == nil {
			err = response.Body.Close()
		}
		return err
	}
	dir := t.TempDir()
	ca, empty := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := get(npmSettings{}); err == nil {
		t.Error("a registry of an unknown authority was believed")
	}
	if err := get(npmSettings{"cafile": ca}); err != nil {
		t.Errorf("with npm's cafile: %v", err)
	}
	for _, file := range []string{empty, filepath.Join(dir, "missing.pem")} {
		if err := get(npmSettings{"cafile": file}); err == nil || !strings.Contains(err.Error(), "cafile") {
			t.Errorf("cafile %s: %v", file, err)
		}
	}
}
