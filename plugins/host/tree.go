package host

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// tree is the directory below which the machine's files are: "/", or where a
// container has the machine's root mounted.
type tree string

// path is a file of the machine as the agent can open it.
func (t tree) path(elem ...string) string {
	return filepath.Join(append([]string{string(t)}, elem...)...)
}

// foreign says that the machine's root is not the agent's own.
func (t tree) foreign() bool { return t != "/" }

// text reads a small file and trims it. A file that is missing or may not be
// read is empty: use it for facts that a machine need not have.
func (t tree) text(elem ...string) string {
	raw, err := os.ReadFile(t.path(elem...))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}

// number is like text for a decimal number. Not ok means that there is none.
func (t tree) number(elem ...string) (n uint64, ok bool) {
	n, err := strconv.ParseUint(t.text(elem...), 10, 64)
	return n, err == nil
}

// flag is like text for a file that holds 0 or 1.
func (t tree) flag(elem ...string) bool { return t.text(elem...) == "1" }

// link is the last element of what a symbolic link points to, or empty.
func (t tree) link(elem ...string) string {
	target, err := os.Readlink(t.path(elem...))
	if err != nil {
		return ""
	}
	return filepath.Base(target)
}

// names lists a directory. A directory that is missing or may not be read has
// no names: use it for facts that a machine need not have.
func (t tree) names(elem ...string) []string {
	entries, err := os.ReadDir(t.path(elem...))
	if err != nil {
		return nil
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}
