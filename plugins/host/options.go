package host

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// optionsSchema describes what parseOptions accepts.
var optionsSchema = json.RawMessage(`{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "id": {
      "type": "string",
      "pattern": "^[A-Za-z0-9._:-]{1,128}$",
      "description": "The machine's identifier, for a machine that has no usable /etc/machine-id. It must be unique in the site and stay the same."
    },
    "root": {
      "type": "string",
      "pattern": "^/",
      "default": "/",
      "description": "Where the machine's root directory is seen from the agent, when that runs in a container: /host. The agent must then also use the machine's network namespace."
    },
    "filesystems": {
      "type": "object",
      "additionalProperties": false,
      "properties": {
        "exclude": {
          "type": "array",
          "items": {"type": "string", "pattern": "^/"},
          "description": "Mount points to leave out, as globs in which * stays inside one directory level: /mnt/backup-*. What lies below a matching directory is left out too."
        }
      }
    }
  }
}`)

var idPattern = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,128}$`)

// options are what an operator may set.
type options struct {
	ID      string   // overrides the machine id
	Root    string   // where the machine's root directory is
	Exclude []string // globs of mount points
}

// parseOptions checks options by hand, member by member, so that each error
// names the option in the way in which it is written in a configuration.
func parseOptions(raw json.RawMessage) (options, error) {
	opts := options{Root: "/"}
	members, err := object("", raw, "id", "root", "filesystems")
	if err != nil {
		return opts, err
	}
	if raw, ok := members["id"]; ok {
		if err := value("id", raw, "a string", &opts.ID); err != nil {
			return opts, err
		}
		if !idPattern.MatchString(opts.ID) {
			return opts, fmt.Errorf("option id: %q is not 1 to 128 letters, digits, '.', '_', ':' and '-'", opts.ID)
		}
	}
	if raw, ok := members["root"]; ok {
		if err := value("root", raw, "a string", &opts.Root); err != nil {
			return opts, err
		}
		if !path.IsAbs(opts.Root) {
			return opts, fmt.Errorf("option root: %q is not an absolute path, such as /host", opts.Root)
		}
		opts.Root = path.Clean(opts.Root)
	}
	filesystems, err := object("filesystems", members["filesystems"], "exclude")
	if err != nil {
		return opts, err
	}
	if raw, ok := filesystems["exclude"]; ok {
		if err := value("filesystems.exclude", raw, "a list of strings", &opts.Exclude); err != nil {
			return opts, err
		}
		for i, glob := range opts.Exclude {
			if !path.IsAbs(glob) {
				return opts, fmt.Errorf("option filesystems.exclude[%d]: %q does not start with /", i, glob)
			}
			if _, err := path.Match(glob, "/"); err != nil {
				return opts, fmt.Errorf("option filesystems.exclude[%d]: %q is not a glob: an unclosed [ or a trailing \\", i, glob)
			}
		}
	}
	return opts, nil
}

// rejectCredentials makes sure that nobody believes a credential to be in use.
func rejectCredentials(raw json.RawMessage) error {
	if members, err := object("credentials", raw); err != nil || len(members) > 0 {
		return fmt.Errorf("credentials: the host plugin takes none; remove them")
	}
	return nil
}

// object splits the JSON object at a path of the options into its members, of
// which only the named ones are known.
func object(at string, raw json.RawMessage, known ...string) (map[string]json.RawMessage, error) {
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil, nil
	}
	subject := "options"
	if at != "" {
		subject = "option " + at
		at += "."
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, fmt.Errorf("%s: must be a JSON object: %w", subject, err)
	}
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("unknown option %s%s; known are: %s", at, name, strings.Join(known, ", "))
		}
	}
	return members, nil
}

// value decodes one option. Null is no value: it would silently be the default.
func value(name string, raw json.RawMessage, want string, into any) error {
	if bytes.Equal(bytes.TrimSpace(raw), []byte("null")) {
		return fmt.Errorf("option %s: must be %s, not null", name, want)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("option %s: must be %s: %w", name, want, err)
	}
	return nil
}

// excluded says whether a glob matches the mount point or a directory above it.
func (o options) excluded(mountpoint string) bool {
	for dir := mountpoint; ; dir = path.Dir(dir) {
		for _, glob := range o.Exclude {
			if ok, _ := path.Match(glob, dir); ok {
				return true
			}
		}
		if dir == "/" || dir == "." {
			return false
		}
	}
}
