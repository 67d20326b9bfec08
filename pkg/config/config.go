// Package config reads a program's settings: a YAML file, and over it
// environment variables, into one struct whose fields have yaml and env tags.
package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"
	"github.com/goccy/go-yaml"

	"github.com/reeve-cloud/reeve/pkg/nearest"
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
// kind, is an error that names the place. So is a variable with the prefix that
// no field has and that is nearly called as one that a field has; others may be
// for other programs.
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
	return checkEnvironment(os.Environ(), settings)
}

// checkEnvironment returns an error for a variable that is misspelt.
func checkEnvironment(environment []string, settings any) error {
	fields, err := env.GetFieldParamsWithOptions(settings, env.Options{Prefix: EnvPrefix})
	if err != nil {
		return fmt.Errorf("environment: %w", err)
	}
	var known []string
	for _, f := range fields {
		known = append(known, strings.TrimPrefix(f.Key, EnvPrefix))
	}
	for _, variable := range environment {
		name, _, _ := strings.Cut(variable, "=")
		name, ours := strings.CutPrefix(name, EnvPrefix)
		if !ours || slices.Contains(known, name) {
			continue
		}
		near := slices.DeleteFunc(nearest.Words(name, known), func(word string) bool {
			// LISTEN is another program's, and no slip for HEALTH_LISTEN.
			return strings.Contains(word, name)
		})
		if len(near) > 0 {
			return fmt.Errorf("environment: %s%s is not known; is it %s%s?", EnvPrefix, name, EnvPrefix, near[0])
		}
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
		text := strings.TrimSpace(yaml.FormatError(err, false, false))
		if unknown, ok := errors.AsType[*yaml.UnknownFieldError](err); ok && unknown.GetToken() != nil {
			text += nearest.Hint(unknown.GetToken().Value, keys(reflect.TypeOf(settings)))
		}
		return errors.New(text)
	}
	return nil
}

// keys returns the keys that settings of a type can have, at any depth.
func keys(t reflect.Type) (all []string) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		return keys(t.Elem())
	case reflect.Struct:
		for field := range t.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
			if name != "" && name != "-" {
				all = append(all, name)
			}
			all = append(all, keys(field.Type)...)
		}
	}
	return all
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
