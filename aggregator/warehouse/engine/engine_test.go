package engine

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	dir := t.TempDir()
	touch := func(parts ...string) string {
		path := filepath.Join(append([]string{dir}, parts...)...)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("CHDB_LIB_PATH", "")
	t.Setenv("REEVE_CACHE_DIR", filepath.Join(dir, "cache"))
	_, err := Find("")
	if err == nil {
		t.Fatal("found where there is none")
	}
	for _, help := range []string{"reeve-aggregator engine fetch", "--to ", "CHDB_LIB_PATH"} {
		if !strings.Contains(err.Error(), help) {
			t.Errorf("the error does not name %s: %v", help, err)
		}
	}
	pin, err := Pinned()
	if err != nil {
		t.Fatal(err)
	}
	cached := touch("cache", "engine", pin.Version+"-"+platform(), Library)
	if got, err := Find(""); got != cached || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, cached)
	}
	own := touch("own.so")
	t.Setenv("CHDB_LIB_PATH", own)
	if got, err := Find(""); got != own || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, own)
	}
	if got, err := Fetch(t.Context(), Options{Progress: t.Output()}); got != own || err != nil {
		t.Errorf("fetching where a copy is named: got %q, %v, want %q", got, err, own)
	}
	given := touch("given.so")
	if got, err := Find(given); got != given || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, given)
	}
	for _, missing := range []string{filepath.Join(dir, "missing.so"), dir} {
		if _, err := Find(missing); err == nil {
			t.Errorf("%s was taken", missing)
		}
	}
	t.Setenv("CHDB_LIB_PATH", filepath.Join(dir, "missing.so"))
	if _, err := Find(""); err == nil || !strings.Contains(err.Error(), "CHDB_LIB_PATH") {
		t.Errorf("a wrong CHDB_LIB_PATH: %v", err)
	}
}

func TestPinned(t *testing.T) {
	p, err := pinned("linux-x64")
	if err != nil || p.Version == "" || p.Size < 1<<20 || !strings.HasPrefix(p.Integrity, "sha512-") || !strings.HasPrefix(p.Name, "@") {
		t.Errorf("got %+v, %v", p, err)
	}
	if _, err := pinned("plan9-mips"); err == nil || !strings.Contains(err.Error(), "linux-x64") ||
		!strings.Contains(err.Error(), "CHDB_LIB_PATH") {
		t.Errorf("a platform without an engine: %v", err)
	}
}
