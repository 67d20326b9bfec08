// Package tree reads files of a machine, whose root may be mounted somewhere in a
// container.
package tree

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Tree is a directory of the machine, seen from the agent: below "/", or below where
// a container has the machine's root mounted. Links inside it lead where they lead
// for the machine: an absolute one begins at the machine's root, not the agent's, and
// none leads out of it.
type Tree struct {
	// root is where the machine's root is, and dir the directory below it.
	root, dir string
}

// New returns the root of the machine whose root is there.
func New(root string) Tree { return Tree{root: root, dir: "/"} }

// Root is where the machine's root is, as the agent sees it.
func (t Tree) Root() string { return t.root }

// Sub is a directory of the tree.
func (t Tree) Sub(elem ...string) Tree { return Tree{root: t.root, dir: t.join(elem)} }

func (t Tree) join(elem []string) string { return filepath.Join(append([]string{t.dir}, elem...)...) }

// Path is a file of the machine as the agent can open it.
func (t Tree) Path(elem ...string) string { return t.resolve(t.join(elem), true) }

// Entry is like Path, but does not follow a link that the file itself is.
func (t Tree) Entry(elem ...string) string { return t.resolve(t.join(elem), false) }

// maxLinks is how many links the kernel follows.
const maxLinks = 40

// resolve follows the links of a path of the machine.
func (t Tree) resolve(name string, last bool) string {
	if !t.Foreign() {
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

// Foreign says that the machine's root is not the agent's own.
func (t Tree) Foreign() bool { return t.root != "/" }

// Text reads a small file and trims it. A file that is missing or may not be
// read is empty: use it for facts that a machine need not have.
func (t Tree) Text(elem ...string) string {
	raw, err := os.ReadFile(t.Path(elem...))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}

// Number is like Text for a decimal number. Not ok means that there is none.
func (t Tree) Number(elem ...string) (n uint64, ok bool) {
	n, err := strconv.ParseUint(t.Text(elem...), 10, 64)
	return n, err == nil
}

// Flag is like Text for a file that holds 0 or 1.
func (t Tree) Flag(elem ...string) bool { return t.Text(elem...) == "1" }

// Link is the last element of what a symbolic link points to, or empty.
func (t Tree) Link(elem ...string) string {
	target, err := os.Readlink(t.Entry(elem...))
	if err != nil {
		return ""
	}
	return filepath.Base(target)
}

// Names lists a directory. A directory that is missing or may not be read has
// no names: use it for facts that a machine need not have.
func (t Tree) Names(elem ...string) []string {
	entries, err := os.ReadDir(t.Path(elem...))
	if err != nil {
		return nil
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}
