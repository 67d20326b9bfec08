package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type settings struct {
	Version int      `yaml:"version"`
	Listen  string   `yaml:"listen" env:"LISTEN"`
	Limit   int      `yaml:"limit" env:"LIMIT"`
	Hosts   []string `yaml:"hosts" env:"HOSTS"`
}

func load(t *testing.T, yaml string) (settings, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	s := settings{Listen: ":1", Limit: 7}
	err := Load(file, &s)
	return s, err
}

func TestLoad(t *testing.T) {
	t.Setenv("REEVE_HOSTS", "a,b")
	t.Setenv("REEVE_LISTEN", ":3")
	s, err := load(t, "listen: ':2'\n")
	if err != nil {
		t.Fatal(err)
	}
	if s.Listen != ":3" || s.Limit != 7 || len(s.Hosts) != 2 {
		t.Fatalf("%+v: the environment must win over the file, the file over the default", s)
	}
}

func TestEmptyFile(t *testing.T) {
	if s, err := load(t, "# nothing\n"); err != nil || s.Limit != 7 {
		t.Fatalf("%+v, %v", s, err)
	}
}

func TestErrorsNameThePlace(t *testing.T) {
	for yaml, want := range map[string]string{
		"listen: ':2'\nlimits: 3\n": "[2:1]",
		"limti: 3\n":                "; is it limit?",
		"limit: many\n":             "[1:8]",
		"limit: [1\n":               "c.yaml",
	} {
		_, err := load(t, yaml)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "c.yaml") {
			t.Errorf("%q: %v, want %s", yaml, err, want)
		}
	}
	if err := Load(filepath.Join(t.TempDir(), "none.yaml"), &settings{}); err == nil {
		t.Error("a missing file was accepted")
	}
	t.Setenv("REEVE_LIMIT", "x")
	if err := Load("", &settings{}); err == nil || !strings.Contains(err.Error(), "Limit") {
		t.Errorf("a wrong environment variable: %v", err)
	}
}

// A variable that is misspelt set nothing, and nobody said so.
func TestMisspeltVariables(t *testing.T) {
	for variable, want := range map[string]string{
		"REEVE_LSITEN": "REEVE_LSITEN is not known; is it REEVE_LISTEN?",
		"REEVE_LIMITS": "is it REEVE_LIMIT?",
		"REEVE_HOST":   "",
		"REEVE_CONFIG": "",
		"REEVE_LIST":   "",
		"LSITEN":       "",
	} {
		t.Run(variable, func(t *testing.T) {
			t.Setenv(variable, "1")
			err := Load("", &settings{})
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%v, want %q", err, want)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("listen: x\nhosts: [a]\n")
	f.Fuzz(func(t *testing.T, s string) {
		_ = decode([]byte(s), &settings{})
	})
}

func TestVersion(t *testing.T) {
	for yaml, want := range map[string]string{
		"version: 1\nlisten: ':2'\n":      "",
		"version: \"1\"\n":                "",
		"version: 2\nlisteners: [':2']\n": "use a newer one",
		"version: 0\n":                    "no version of the configuration",
		"version: -1\n":                   "no version of the configuration",
		"version: v1\n":                   "no version of the configuration",
		"version: {}\n":                   "no version of the configuration",
		"version:\n":                      "no version of the configuration",
		"version: 1.5\n":                  "no version of the configuration",
		"version: 1\nversion: 1\n":        "c.yaml", // twice
	} {
		_, err := load(t, yaml)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", yaml, err, want)
		}
	}
}
