package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/reeve-cloud/reeve/tui/config"
)

func sample() *config.File {
	return &config.File{
		Version: config.Version,
		Current: "a",
		Contexts: []config.Context{
			{Name: "a", Server: "https://a:1", CAHash: "sha256:00", Token: "123"},
			{Name: "::1", Server: "https://[::1]:1", Token: "yes"},
		},
	}
}

func TestSaveLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "dir", "cli.yaml")
	if f, err := config.Load(path); err != nil || len(f.Contexts) != 0 {
		t.Fatalf("missing file: %v, %v", f, err)
	}
	want := sample()
	if err := want.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if err := config.CheckPrivate(path); err != nil {
		t.Error(err)
	}
	// Nothing is left beside it.
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("directory has %v, %v", entries, err)
	}
}

func TestSaveKeepsLink(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target.yaml"), filepath.Join(dir, "cli.yaml")
	if err := os.WriteFile(target, []byte("version: 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Skip(err)
	}
	if err := sample().Save(link); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(link)
	if err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v, %v", info, err)
	}
	if info, err := os.Lstat(target); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("target: %v, %v", info, err)
	}
}

func TestTokenIsNotPrinted(t *testing.T) {
	c := config.Context{Name: "a", Token: "s3cret"}
	if got := fmt.Sprintf("%v %+v %#v %s %q", c, c, c, c.Token, c.Token); strings.Contains(got, "s3cret") {
		t.Error(got)
	}
}

func TestPutDelete(t *testing.T) {
	f := sample()
	f.Put(config.Context{Name: "a", Server: "https://other:1"})
	f.Put(config.Context{Name: "b", Server: "https://b:1"})
	if len(f.Contexts) != 3 || f.Context("a").Server != "https://other:1" {
		t.Errorf("after Put: %+v", f)
	}
	if f.Delete("c") || !f.Delete("b") || f.Current != "a" || !f.Delete("a") || f.Current != "" || len(f.Contexts) != 1 {
		t.Errorf("after Delete: %+v", f)
	}
}

func TestDecodeErrors(t *testing.T) {
	for content, want := range map[string]string{
		"contexts: []":                             "does not say its version",
		"version: 7":                               "has version 7",
		"version: 1\ncontexts: [{name: x}]":        `"x" names no server`,
		"version: 1\ncontexts: [{name: '-x'}]":     "context name",
		"version: 1\nextra: 1":                     `line 2, column 1: unknown field "extra"`,
		"version: 1\ncontexts: s3cret":             "line 2, column 11",
		"version: 1\ncontexts: [{token: *s3cret}]": "line 2, column",
	} {
		_, err := config.Decode([]byte(content))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", content, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: the error repeats it: %v", content, err)
		}
	}
}

func TestLocate(t *testing.T) {
	noWarning := func(s string) { t.Errorf("warning: %s", s) }
	for name, test := range map[string]struct {
		source config.Source
		want   string
	}{
		"named":       {config.Source{File: "x.yaml", Home: "/h"}, "x.yaml"},
		"config home": {config.Source{ConfigHome: "/c", Home: "/h"}, "/c/reeve/cli.yaml"},
		"home":        {config.Source{ConfigHome: "relative", Home: "/h"}, "/h/.config/reeve/cli.yaml"},
	} {
		if got, err := test.source.Locate(noWarning); err != nil || got != filepath.FromSlash(test.want) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	if _, err := (config.Source{}).Locate(noWarning); err == nil {
		t.Error("a place without a home")
	}
}

func FuzzDecode(f *testing.F) {
	data, err := sample().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("version: 1\ncurrent: a\ncontexts:\n- {name: a, server: b, token: !!binary aGk=}\n"))
	f.Add([]byte("version: 1\ncontexts: &a [*a]\n"))
	f.Add([]byte("version: 1\ncontexts:\n- &x {name: a, server: b}\n- {<<: *x, name: c}\n"))
	f.Add([]byte("{\"version\": 1}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := config.Decode(data)
		if err != nil {
			return
		}
		encoded, err := first.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := config.Decode(encoded); err != nil {
			t.Skipf("not written by this program: %v", err)
		}
	})
}

// FuzzToken checks that what can be a token is read back as it was written.
func FuzzToken(f *testing.F) {
	for _, s := range []string{"yes", "123", "1e5", "null", "~", "?", "-", "a:", "#x", "*a", "&a", "!!x", "'", `"`, `\`, "|", ">", "%", "@",
		"`", "{", "[", "<<", "0x1", ".inf"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, token string) {
		if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Skip()
		}
		data, err := (&config.File{Version: 1,
			Contexts: []config.Context{{Name: "a", Server: "https://a:1", Token: config.Token(token)}}}).Encode()
		if err != nil {
			t.Fatal(err)
		}
		f, err := config.Decode(data)
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		if got := string(f.Contexts[0].Token); got != token {
			t.Fatalf("got %q, want %q\n%s", got, token, data)
		}
	})
}
