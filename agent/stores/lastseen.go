package stores

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/reeve-cloud/reeve/agent/lastseen"
	"github.com/reeve-cloud/reeve/agent/spool"
	"github.com/reeve-cloud/reeve/pkg/atomicfile"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// Files about the last-seen store. Damage to it may end the process, for it works
// in goroutines of its own; that must not happen for ever. That the process is
// killed while the store is opened may happen as well, and says nothing about it.
const (
	seenDir = "last-seen"
	// seenDamaged says that it was found to be damaged.
	seenDamaged = "last-seen.damaged"
	// seenOpening is there while the store is opened, and has how often in a row the
	// process has died over that.
	seenOpening = "last-seen.opening"
	// seenCrash is where the process writes why it crashes, and seenCrashes has how
	// often it did so in the store, since it last stopped in order.
	seenCrash   = "last-seen.crash"
	seenCrashes = "last-seen.crashes"
	crashTries  = 2
	// keepAside is how many damaged directories of a kind are kept, at least.
	keepAside = 2
)

func (s *Stores) file(name string) string { return filepath.Join(s.dir, name) }

// openLastSeen opens last seen. One that is damaged is put aside: collectors then
// see everything for the first time.
func (s *Stores) openLastSeen() (*lastseen.Store, error) {
	dir := s.file(seenDir)
	if err := spool.CheckFree(s.dir, minFree); err != nil {
		return nil, fmt.Errorf("opening the last-seen store: %w", err)
	}
	crashes, err := s.crashed()
	if err != nil {
		return nil, err
	}
	var seen *lastseen.Store
	if _, found := os.Stat(s.file(seenDamaged)); found == nil {
		err = fmt.Errorf("%w, as the last run found", lastseen.ErrDamaged)
	} else if crashes >= crashTries {
		err = fmt.Errorf("%w: the agent crashed in it %d times in a row", lastseen.ErrDamaged, crashes)
	} else {
		seen, err = s.tryLastSeen(dir)
	}
	if errors.Is(err, lastseen.ErrDamaged) {
		aside, moved := putAside(dir)
		if moved != nil {
			return nil, errors.Join(err, moved)
		}
		s.logger.Error("what was last seen cannot be read and was put aside: every asset is recorded as new, and what went away meanwhile "+
			"stays at the centre",
			"error", err, "moved_to", aside)
		if err := remove(s.file(seenDamaged), s.file(seenCrashes)); err != nil {
			return nil, err
		}
		if seen, err = s.tryLastSeen(dir); err == nil {
			err = seen.MustResend("what was last seen cannot be read and was put aside: every asset is recorded as new")
		}
	}
	if err != nil && seen != nil {
		return nil, errors.Join(err, seen.Close())
	}
	return seen, err
}

// tryLastSeen opens the store, and counts the times that the process dies over it.
func (s *Stores) tryLastSeen(dir string) (*lastseen.Store, error) {
	file := s.file(seenOpening)
	n, err := count(file)
	if err != nil {
		return nil, err
	}
	if died := n - 1; died > 0 {
		s.logger.Error("the agent has died while it opened what it last saw; the store is kept, for that alone is no damage: was the agent "+
			"killed, for want of memory perhaps? "+
			"If it goes on like this with enough of it, stop the agent, move the directory away, and start it again: every asset is then "+
			"recorded as new",
			"times", died, "directory", dir)
	}
	seen, err := lastseen.Open(dir, s.logger)
	// It has not died, whatever came of it.
	if removed := remove(file); removed != nil && seen != nil {
		return nil, errors.Join(removed, seen.Close())
	}
	return seen, err
}

// crashed looks at what the last run wrote as it crashed, and has this one do the
// same. It returns how often in a row it was the store that crashed.
func (s *Stores) crashed() (n int, err error) {
	file := s.file(seenCrash)
	trace, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	if len(trace) > 0 {
		first, _, _ := strings.Cut(string(trace), "\n")
		s.logger.Error("the last run of the agent crashed", "error", first, "trace", string(trace[:min(len(trace), 4<<10)]))
		if inStore(string(trace)) {
			if n, err = count(s.file(seenCrashes)); err != nil {
				return 0, err
			}
		}
	}
	f, err := os.Create(file)
	if err != nil {
		return 0, fmt.Errorf("the data directory cannot be written to: %w", err)
	}
	return n, errors.Join(debug.SetCrashOutput(f, debug.CrashOptions{}), f.Close())
}

// scarce are what a process dies of that lacks something, wherever it was just
// then: memory, room on the disk under a memory map, threads, descriptors.
var scarce = regexp.MustCompile(`SIGBUS|out of memory|[Cc]annot allocate|thread exhaustion|new OS thread|too many open files|no space ` +
	`left|temporarily unavailable`)

// inStore reports whether it was what the last-seen store does that crashed, by
// the trace: only the goroutine that did is looked at, which comes first.
func inStore(trace string) bool {
	_, stacks, found := strings.Cut(trace, "\ngoroutine ")
	if !found || scarce.MatchString(trace[:len(trace)-len(stacks)]) {
		return false
	}
	crashing, _, _ := strings.Cut(stacks, "\n\n")
	return strings.Contains(crashing, "github.com/dgraph-io/")
}

func remove(files ...string) error {
	for _, file := range files {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// count counts in a file how often it is called.
func count(file string) (int, error) {
	data, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	n := len(data) + 1
	if err := os.WriteFile(file, make([]byte, n), 0o600); err != nil {
		return 0, fmt.Errorf("the data directory cannot be written to: %w", err)
	}
	return n, nil
}

// putAside renames a directory, and returns its new name.
func putAside(dir string) (string, error) {
	aside := fmt.Sprintf("%s.corrupt-%s", dir, time.Now().UTC().Format("20060102T150405.000Z"))
	if err := os.Rename(dir, aside); err != nil {
		return "", fmt.Errorf("putting %s aside: %w", dir, err)
	}
	if err := atomicfile.SyncDir(filepath.Dir(dir)); err != nil {
		return "", fmt.Errorf("putting %s aside: %w", dir, err)
	}
	return aside, nil
}

// tidyAside removes all but the newest of what was put aside, once what took
// their place has something in it: the last store that has data is never removed.
func (s *Stores) tidyAside() {
	err := s.Seen.Assets(func(*wirev1.AssetVersion) error { return errFound })
	if !errors.Is(err, errFound) {
		return
	}
	for _, kind := range []string{seenDir, "spool"} {
		old, err := filepath.Glob(filepath.Join(s.dir, kind+".corrupt-*"))
		if err != nil {
			s.logger.Warn("looking for old damaged directories", "error", err)
			continue
		}
		slices.Sort(old)
		for _, name := range old[:max(len(old)-keepAside, 0)] {
			if err := os.RemoveAll(name); err != nil {
				s.logger.Warn("removing an old damaged directory", "error", err)
			}
		}
	}
}

var errFound = errors.New("there is an asset")
