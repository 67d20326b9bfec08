// Package config keeps the client's configuration file: which aggregators there
// are, how to recognize them, and the token to sign in with.
package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/goccy/go-yaml"

	"github.com/reeve-cloud/reeve/pkg/atomicfile"
)

// Version is the version of the file format that is written.
const Version = 1

// maxSize bounds what is read.
const maxSize = 1 << 20

// File is the content of a configuration file.
type File struct {
	Version int `yaml:"version"`
	// Current names the context to use where none is asked for.
	Current  string    `yaml:"current,omitempty"`
	Contexts []Context `yaml:"contexts"`
}

// Context is one aggregator and how to sign in to it.
type Context struct {
	Name string `yaml:"name"`
	// Server is the API's base URL.
	Server string `yaml:"server"`
	// CAHash pins the aggregator's CA. If it is empty, the system's roots decide.
	CAHash string `yaml:"ca_hash,omitempty"`
	Token  Token  `yaml:"token"`
}

// Token is a bearer token. It prints as a placeholder; string(t) is the token
// itself.
type Token string

// String returns a placeholder.
func (t Token) String() string { return "(token)" }

// GoString returns a placeholder.
func (t Token) GoString() string { return t.String() }

// MarshalYAML quotes the token, for some of the bare forms that the encoder
// chooses are no strings to the decoder.
func (t Token) MarshalYAML() ([]byte, error) { return json.Marshal(string(t)) }

var contextName = regexp.MustCompile(`^[A-Za-z0-9_:][A-Za-z0-9_.:@-]{0,252}$`)

// CheckName returns an error that says what a context's name must look like,
// unless name does.
func CheckName(name string) error {
	if !contextName.MatchString(name) {
		return fmt.Errorf("context name %q: must be letters, digits and any of _.:@- and not begin with . @ or -", name)
	}
	return nil
}

// Decode reads a configuration file's content. Errors do not repeat it, for the
// sake of the tokens.
func Decode(data []byte) (*File, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return &File{Version: Version}, nil
	}
	// The version comes first: what it means for the other fields to be unknown
	// depends on it.
	var head struct {
		Version int `yaml:"version"`
	}
	if err := yaml.Unmarshal(data, &head); err != nil {
		return nil, withoutSource(err)
	}
	switch {
	case head.Version == 0:
		return nil, errors.New("it does not say its version (version: 1)")
	case head.Version != Version:
		return nil, fmt.Errorf("it has version %d, and this program knows version %d", head.Version, Version)
	}
	f := new(File)
	if err := yaml.UnmarshalWithOptions(data, f, yaml.Strict()); err != nil {
		return nil, withoutSource(err)
	}
	if err := f.validate(); err != nil {
		return nil, err
	}
	return f, nil
}

// withoutSource returns the place and kind of a YAML error without the lines it
// occurred in.
func withoutSource(err error) error {
	if e, ok := errors.AsType[yaml.Error](err); ok {
		if token := e.GetToken(); token != nil && token.Position != nil {
			what := "not what is expected there"
			if unknown, ok := errors.AsType[*yaml.UnknownFieldError](err); ok {
				what = unknown.GetMessage()
			}
			return fmt.Errorf("line %d, column %d: %s", token.Position.Line, token.Position.Column, what)
		}
	}
	return errors.New("not valid YAML")
}

func (f *File) validate() error {
	seen := make(map[string]bool)
	for _, c := range f.Contexts {
		if err := CheckName(c.Name); err != nil {
			return err
		}
		if seen[c.Name] {
			return fmt.Errorf("context %q is there twice", c.Name)
		}
		seen[c.Name] = true
		if c.Server == "" {
			return fmt.Errorf("context %q names no server", c.Name)
		}
	}
	return nil
}

// Encode returns the file's content.
func (f *File) Encode() ([]byte, error) {
	data, err := yaml.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encoding the configuration: %w", err)
	}
	return data, nil
}

// Context returns the named context, or nil.
func (f *File) Context(name string) *Context {
	for i := range f.Contexts {
		if f.Contexts[i].Name == name {
			return &f.Contexts[i]
		}
	}
	return nil
}

// Put adds a context or replaces the one of the same name.
func (f *File) Put(c Context) {
	if old := f.Context(c.Name); old != nil {
		*old = c
		return
	}
	f.Contexts = append(f.Contexts, c)
}

// Delete removes a context and reports whether it was there. If it was the
// current one, there is none then.
func (f *File) Delete(name string) bool {
	n := len(f.Contexts)
	f.Contexts = slices.DeleteFunc(f.Contexts, func(c Context) bool { return c.Name == name })
	if len(f.Contexts) == n {
		return false
	}
	if f.Current == name {
		f.Current = ""
	}
	return true
}

// Load reads a configuration file. One that does not exist is empty.
func Load(path string) (*File, error) {
	data, err := read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &File{Version: Version}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	f, err := Decode(data)
	if err != nil {
		return nil, fmt.Errorf("configuration file %s: %w", path, err)
	}
	return f, nil
}

func read(path string) ([]byte, error) {
	r, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxSize+1))
	if err == nil && len(data) > maxSize {
		err = fmt.Errorf("%s: larger than %d bytes", path, maxSize)
	}
	return data, err
}

// Save writes a configuration file, readable by its owner only. A crash leaves
// either the old content or the new.
func (f *File) Save(path string) error {
	if err := f.save(path); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	return nil
}

func (f *File) save(path string) error {
	f.Version = Version
	data, err := f.Encode()
	if err != nil {
		return err
	}
	// A link stays a link.
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return atomicfile.Write(path, data, 0o600)
}
