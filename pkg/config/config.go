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
)

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
		err = yaml.UnmarshalWithOptions(data, settings, yaml.Strict())
	}
	if err != nil {
		// The plain form has the position and the message, and no picture of
		// the lines around, in which a credential may stand.
		return errors.New(strings.TrimSpace(yaml.FormatError(err, false, false)))
	}
	return nil
}
