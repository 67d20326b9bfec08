package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/pkg/identity"
)

func run1(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := command()
	root.SetArgs(args)
	root.SetOut(&out)
	err := root.ExecuteContext(t.Context())
	return strings.TrimSpace(out.String()), err
}

// TestCommandsMakeNothing runs the commands over a directory that is not there, and
// over an empty one.
func TestCommandsMakeNothing(t *testing.T) {
	empty := t.TempDir()
	for _, dir := range []string{filepath.Join(empty, "nonexistent"), empty} {
		for command, want := range map[string]string{"ca-hash": "no certificate authority", "admin-token": "no registry"} {
			if out, err := run1(t, command, "--data-dir", dir); err == nil || !strings.Contains(err.Error(), want) || out != "" {
				t.Errorf("%s: %q, %v", command, out, err)
			}
		}
	}
	if entries, err := os.ReadDir(empty); err != nil || len(entries) != 0 {
		t.Errorf("made %v, %v", entries, err)
	}
}

func TestCAHash(t *testing.T) {
	dir := t.TempDir()
	ca, err := identity.MakeCA(filepath.Join(dir, "ca"))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := run1(t, "ca-hash", "--data-dir", dir); err != nil || out != ca.Pin().String() {
		t.Errorf("%q, %v", out, err)
	}
}

func TestAdminToken(t *testing.T) {
	dir := t.TempDir()
	r, err := registry.Open(registry.Options{Dir: filepath.Join(dir, "registry")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := run1(t, "admin-token", "--data-dir", dir); err == nil || !strings.Contains(err.Error(), "running") {
		t.Errorf("while it is in use: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := run1(t, "admin-token", "--data-dir", dir)
	if err != nil {
		t.Fatal(err)
	}
	token, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if r, err = registry.Open(registry.Options{Dir: filepath.Join(dir, "registry")}); err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	id, secret, _ := strings.Cut(strings.TrimSpace(string(token)), ".")
	if got, err := r.CheckAPIToken(t.Context(), id, secret, time.Now()); err != nil || got.User != "admin" {
		t.Errorf("%v, %v", got, err)
	}
}
