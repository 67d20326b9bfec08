package host

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// tree is a directory of the machine, seen from the agent: below "/", or below where
// a container has the machine's root mounted. Links inside it lead where they lead
// for the machine: an absolute one begins at the machine's root, not the agent's, and
// none leads out of it.
type tree struct {
	// root is where the machine's root is, and dir the directory below it.
	root, dir string
}

func newTree(root string) tree { return tree{root: root, dir: "/"} }

// sub is a directory of the tree.
func (t tree) sub(elem ...string) tree { return tree{root: t.root, dir: t.join(elem)} }

func (t tree) join(elem []string) string { return filepath.Join(append([]string{t.dir}, elem...)...) }

// path is a file of the machine as the agent can open it.
func (t tree) path(elem ...string) string { return t.resolve(t.join(elem), true) }

// entry is like path, but does not follow a link that the file itself is.
func (t tree) entry(elem ...string) string { return t.resolve(t.join(elem), false) }

// maxLinks is how many links the kernel follows.
const maxLinks = 40

// resolve follows the links of a path of the machine.
func (t tree) resolve(name string, last bool) string {
	if !t.foreign() {
		return name // the kernel does it
	}
	at, rest, links := "/", strings.Split(name, "/"), 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		at = filepath.Join(at, part) // ".." of the root is the root
		if part == "" || part == "." || part == ".." || len(rest) == 0 && !last {
			continue
		}
		target, err := os.Readlink(filepath.Join(t.root, at))
		if err != nil {
			continue // no link, or nothing there
		}
		if links++; links > maxLinks {
			return filepath.Join(t.root, at) // opening it says so
		}
		if at = filepath.Dir(at); filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return filepath.Join(t.root, at)
}

// foreign says that the machine's root is not the agent's own.
func (t tree) foreign() bool { return t.root != "/" }

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
	target, err := os.Readlink(t.entry(elem...))
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
