package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Source says where to look for a configuration file.
type Source struct {
	// File, if set, is the one.
	File string
	// Dir is the working directory. A file .reeve/cli.yaml in it or in a parent
	// comes next.
	Dir string
	// ConfigHome and Home are the last resort: reeve/cli.yaml in the first, which
	// is .config in the second if empty.
	ConfigHome, Home string
}

// Locate returns the path of the configuration file to use, which may not exist
// yet. A file in or above the working directory is used only if nobody but the
// user can have written it: others are passed over, with a call of warn.
func (s Source) Locate(warn func(string)) (string, error) {
	if s.File != "" {
		return s.File, nil
	}
	home := s.home()
	if path := s.project(warn); path != "" {
		// Whoever signed in elsewhere would not expect this one.
		if _, err := os.Stat(home); err == nil && home != path {
			warn(fmt.Sprintf("using %s, which counts in %s and below, instead of %s (--config or REEVE_CONFIG choose one)",
				path, filepath.Dir(filepath.Dir(path)), home))
		}
		return path, nil
	}
	if home == "" {
		return "", errors.New("no place for the configuration: neither HOME nor XDG_CONFIG_HOME is set; name a file with --config")
	}
	return home, nil
}

// home returns the path of the user's own configuration file, or "" if there is no
// place for it.
func (s Source) home() string {
	home := s.ConfigHome
	if !filepath.IsAbs(home) {
		if s.Home == "" {
			return ""
		}
		home = filepath.Join(s.Home, ".config")
	}
	return filepath.Join(home, "reeve", "cli.yaml")
}

func (s Source) project(warn func(string)) string {
	if s.Dir == "" {
		return ""
	}
	for dir := s.Dir; ; dir = filepath.Dir(dir) {
		path := filepath.Join(dir, ".reeve", "cli.yaml")
		err := checkTrust(path)
		if err == nil {
			return path
		}
		if !errors.Is(err, fs.ErrNotExist) {
			warn(fmt.Sprintf("passing over %s: %v", path, err))
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
	}
}

// checkTrust returns an error unless path is a plain file that, like its
// directory, belongs to the user, and that nobody else can write to.
func checkTrust(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		if e, ok := errors.AsType[*fs.PathError](err); ok {
			err = e.Err
		}
		return err
	}
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	switch {
	case !info.Mode().IsRegular():
		return errors.New("it is not a plain file")
	case !ownedByUser(info):
		return errors.New("it is not owned by you")
	case !ownedByUser(dir):
		return errors.New("its directory is not owned by you")
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("others can write to it (mode %04o; chmod 600 it if its content is yours)", info.Mode().Perm())
	}
	return nil
}

// CheckPrivate returns an error if a configuration file exists and others can
// read the tokens in it.
func CheckPrivate(path string) error {
	info, err := os.Stat(path)
	if err != nil || !hasOwners || info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	return fmt.Errorf("others can read the tokens in %s (mode %04o): chmod 600 it", path, info.Mode().Perm())
}
