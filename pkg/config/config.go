// Package config reads a program's settings: a YAML file, and over it
// environment variables, into one struct whose fields have yaml and env tags.
package config

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/caarlos0/env/v11"
	"github.com/goccy/go-yaml"

	"github.com/reeve-cloud/reeve/pkg/version"
)

// Version is the version of the configuration files of agents and aggregators. A file
// may name it; one that does not is of this version. Files of the previous version
// are read.
const Version = 1

// EnvPrefix begins the name of every environment variable that is read.
const EnvPrefix = "REEVE_"

// Load reads file, if it has a name, and then the environment, into settings,
// which holds the defaults. A key that no field has, or a value of the wrong
// kind, is an error that names the place.
func Load(file string, settings any) error {
	if file != "" {
		if err := loadFile(file, settings); err != nil {
			return err
		}
	}
	if err := env.ParseWithOptions(settings, env.Options{Prefix: EnvPrefix}); err != nil {
		if all, ok := errors.AsType[env.AggregateError](err); ok {
			return fmt.Errorf("environment: %w", errors.Join(all.Errors...))
		}
		return fmt.Errorf("environment: %w", err)
	}
	return nil
}

func loadFile(file string, settings any) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	if err := decode(data, settings); err != nil {
		return fmt.Errorf("configuration file %s: %w", file, err)
	}
	return nil
}

func decode(data []byte, settings any) error {
	// A file of nothing but comments sets nothing; decoding it into a struct
	// would clear the defaults.
	var content any
	err := yaml.Unmarshal(data, &content)
	if err == nil && content == nil {
		return nil
	}
	if err == nil {
		// First: of another version everything else may be called otherwise.
		if err := checkVersion(content); err != nil {
			return err
		}
		err = yaml.UnmarshalWithOptions(data, settings, yaml.Strict())
	}
	if err != nil {
		// The plain form has the position and the message, and no picture of
		// the lines around, in which a credential may stand.
		return errors.New(strings.TrimSpace(yaml.FormatError(err, false, false)))
	}
	return nil
}

// checkVersion returns an error if a file names a version that is not known.
func checkVersion(content any) error {
	keys, _ := content.(map[string]any)
	named, ok := keys["version"]
	if !ok || fmt.Sprint(named) == fmt.Sprint(Version) {
		return nil
	}
	if n, ok := named.(uint64); ok && n > Version {
		return fmt.Errorf("version: the file is of version %d, and this program (%s) knows %d: use a newer one", n, version.String(), Version)
	}
	return fmt.Errorf("version: %v is no version of the configuration: write %d, or leave it out", named, Version)
}
