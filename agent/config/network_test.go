package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBandwidth(t *testing.T) {
	for text, want := range map[string]int64{
		"": 0, "8kbit": 1000, "500kbit": 62_500, "2Mbit": 250_000, "2 Mbit": 250_000, "1Gbit": 125_000_000,
		"1kbit": -1, "0Mbit": -1, "-2Mbit": -1, "2": -1, "2MB": -1, "2mbit": -1, "2.5Mbit": -1, "Mbit": -1, "99999999999Gbit": -1,
	} {
		got, err := ParseBandwidth(text)
		if (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for text, burst := range map[string]int{"8kbit": 1 << 10, "2Mbit": 25_000, "1Gbit": 64 << 10} {
		c := Config{Bandwidth: text}
		if l, err := c.Limit(); err != nil || l.Burst() != burst {
			t.Errorf("%s: %v, %v", text, l, err)
		}
	}
	c := Config{}
	if l, err := c.Limit(); err != nil || l != nil {
		t.Errorf("without a bandwidth: %v, %v", l, err)
	}
}

func TestProxy(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://environment.example:3128")
	credentials := func(text string) string {
		file := filepath.Join(t.TempDir(), "proxy")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for name, test := range map[string]struct {
		proxy, file string
		want        string // the proxy's address
		fault       string // in the error
	}{
		"of the environment": {want: "http://environment.example:3128"},
		"configured":         {proxy: "https://proxy.example:3129", want: "https://proxy.example:3129"},
		"with a user":        {proxy: "http://u:hush@proxy.example:3128", want: "http://u:hush@proxy.example:3128"},
		"with a file":        {proxy: "http://proxy.example:3128", file: credentials("u:hu:sh\n"), want: "http://u:hu%3Ash@proxy.example:3128"},
		"no such file":       {proxy: "http://proxy.example:3128", file: "/nonexistent/hush", fault: "proxy_credentials_file: "},
		"a bad file":         {proxy: "http://proxy.example:3128", file: credentials("hush"), fault: "USER:PASSWORD"},
		"both":               {proxy: "http://u:hush@proxy.example:3128", file: credentials("u:p"), fault: "take the user out"},
		"a file for nothing": {file: credentials("u:p"), fault: "there is no proxy"},
		"another scheme":     {proxy: "socks5://u:hush@proxy.example:1080", fault: "http://"},
		"no scheme":          {proxy: "proxy.example:3128", fault: "proxy: "},
		"a bad port":         {proxy: "http://u:hush@proxy.example:port", fault: "proxy: "},
	} {
		t.Run(name, func(t *testing.T) {
			c := Config{Proxy: test.proxy, ProxyCredentialsFile: test.file}
			through, err := c.Through()
			if test.fault != "" {
				if err == nil || !strings.Contains(err.Error(), test.fault) {
					t.Fatalf("%v, want %q", err, test.fault)
				}
				if strings.Contains(strings.ReplaceAll(err.Error(), "/nonexistent/hush", ""), "hush") {
					t.Fatalf("the password is in the error: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if u, err := through.For("reeve.example:8443"); err != nil || u.String() != test.want {
				t.Fatalf("%v, %v; want %s", u, err, test.want)
			}
		})
	}
	if _, err := load(t, "proxy: 'ftp://proxy.example'\nbandwidth: fast\n"); err == nil ||
		!strings.Contains(err.Error(), "proxy: ") || !strings.Contains(err.Error(), "bandwidth: ") {
		t.Errorf("loaded with %v", err)
	}
}
