// Package engine finds the library of the ClickHouse engine (libchdb.so) on this
// machine, and fetches it from the npm registry where it is missing.
//
// One version is pinned, by the hash of its package; what does not fit it is
// never unpacked. The library lies in a cache, one for all checkouts of a user:
//
//	${REEVE_CACHE_DIR:-${XDG_CACHE_HOME:-~/.cache}/reeve}/engine/VERSION-PLATFORM/libchdb.so
//
// CHDB_LIB_PATH names a copy of one's own, which is then used as it is.
package engine

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Library is the name of the library's file.
const Library = "libchdb.so"

// Pin is a package of the npm registry.
type Pin struct {
	Version string
	// Name is that of the package, with its scope: "@chdb/lib-linux-x64-gnu".
	Name string
	// Size is that of the package's file in bytes.
	Size int64
	// Integrity is the hash of the package's file in the registry's form: "sha512-" and Base64.
	Integrity string
}

//go:embed engine.json
var pins []byte

// Pinned returns the package that Reeve is built and tested with on this platform.
func Pinned() (Pin, error) { return pinned(platform()) }

func pinned(platform string) (Pin, error) {
	var file struct {
		Version  string
		Packages map[string]Pin
	}
	if err := json.Unmarshal(pins, &file); err != nil {
		return Pin{}, fmt.Errorf("engine.json: %w", err)
	}
	p, ok := file.Packages[platform]
	if !ok {
		return Pin{}, fmt.Errorf("no ClickHouse engine is pinned for %s, only for %s: set CHDB_LIB_PATH to a copy of %s",
			platform, strings.Join(slices.Sorted(maps.Keys(file.Packages)), ", "), Library)
	}
	p.Version = file.Version
	return p, nil
}

// platform is this machine's name in the npm registry's terms.
func platform() string {
	arch := runtime.GOARCH
	if arch == "amd64" {
		arch = "x64"
	}
	return runtime.GOOS + "-" + arch
}

// Find gives the absolute path of the library: explicit when not empty, else
// $CHDB_LIB_PATH, else libchdb.so beside the executable, in ../lib/reeve or in
// ../lib from there, else the one in the cache. The error says how to get it.
func Find(explicit string) (string, error) {
	for _, given := range []struct{ path, from string }{
		{explicit, "the given path"},
		{os.Getenv("CHDB_LIB_PATH"), "CHDB_LIB_PATH"},
	} {
		if given.path == "" {
			continue
		}
		path, err := filepath.Abs(given.path)
		if err == nil {
			err = isFile(path)
		}
		if err != nil {
			return "", fmt.Errorf("engine library from %s: %w", given.from, err)
		}
		return path, nil
	}
	var candidates []string
	forAll := "DIR"
	if executable, err := os.Executable(); err == nil {
		dir := filepath.Dir(executable)
		forAll = filepath.Join(dir, "..", "lib", "reeve")
		candidates = append(candidates, filepath.Join(dir, Library), filepath.Join(forAll, Library), filepath.Join(dir, "..", "lib", Library))
	}
	if dir, err := cacheDir(); err == nil {
		candidates = append(candidates, filepath.Join(dir, Library))
	}
	for _, path := range candidates {
		if isFile(path) == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("the ClickHouse engine library %s is missing (looked for %s): fetch it with `reeve-aggregator engine fetch`, "+
		"or for all users of this machine with `reeve-aggregator engine fetch --to %s`, or set CHDB_LIB_PATH to a copy of it",
		Library, strings.Join(candidates, ", "), forAll)
}

func isFile(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", path)
	}
	return err
}

// cacheDir is the pinned library's directory in the cache.
func cacheDir() (string, error) {
	p, err := Pinned()
	if err != nil {
		return "", err
	}
	cache := os.Getenv("REEVE_CACHE_DIR")
	if cache == "" {
		if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
			cache = filepath.Join(dir, "reeve")
		} else if home, err := os.UserHomeDir(); err == nil {
			cache = filepath.Join(home, ".cache", "reeve")
		} else {
			return "", errors.New("there is no home directory for the cache: say where the engine is to lie")
		}
	}
	return filepath.Abs(filepath.Join(cache, "engine", p.Version+"-"+platform()))
}
