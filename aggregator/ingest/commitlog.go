package ingest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/reeve-cloud/reeve/aggregator/ingest/v1"
	"github.com/reeve-cloud/reeve/pkg/atomicfile"
)

// commitLog holds the groups that are being committed, a file each. There are
// two at most while all is well. What was set aside lies in a folder of it.
type commitLog struct{ dir string }

const (
	groupSuffix = ".group"
	triesSuffix = ".tries"
	asideFolder = "set-aside"
)

func openCommitLog(dir string) (*commitLog, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening the commit log: %w", err)
	}
	return &commitLog{dir: dir}, nil
}

// write puts a group on disk and returns its name.
func (l *commitLog) write(id uuid.UUID, g *ingestv1.Group) (name string, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("writing to the commit log: %w", err)
		}
	}()
	data, err := proto.Marshal(g)
	if err != nil {
		return "", err
	}
	// Half-written files have another ending and are never read.
	name = id.String() + groupSuffix
	return name, atomicfile.Write(filepath.Join(l.dir, name), data, 0o600)
}

// list returns the names of the groups on disk, and clears away what was never
// finished.
func (l *commitLog) list() (names []string, err error) {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return nil, fmt.Errorf("reading the commit log: %w", err)
	}
	for _, e := range entries {
		if e.Name() == asideFolder || strings.HasSuffix(e.Name(), triesSuffix) {
			continue
		}
		if strings.HasSuffix(e.Name(), groupSuffix) {
			names = append(names, e.Name())
		} else if err := os.Remove(filepath.Join(l.dir, e.Name())); err != nil {
			return nil, fmt.Errorf("clearing the commit log: %w", err)
		}
	}
	return names, nil
}

func (l *commitLog) read(name string) (*ingestv1.Group, error) {
	data, err := os.ReadFile(filepath.Join(l.dir, name))
	if err != nil {
		return nil, fmt.Errorf("reading the commit log: %w", err)
	}
	g := new(ingestv1.Group)
	if err := proto.Unmarshal(data, g); err != nil {
		return nil, fmt.Errorf("reading the commit log: %s: %w: %w", name, errUnreadable, err)
	}
	return g, nil
}

// remove takes a group out. That it is gone need not be synced: a group that is
// settled twice stays the same.
func (l *commitLog) remove(name string) error {
	for _, file := range []string{name, name + triesSuffix} {
		if err := os.Remove(filepath.Join(l.dir, file)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("clearing the commit log: %w", err)
		}
	}
	return nil
}

// attempts is what is known of how often a group was begun at a start.
type attempts struct {
	// Starts is how often. The batches from Entry to End-1 were begun last, and those
	// before are settled. If Careful, that is so now: the aggregator died Deaths times
	// with them. (An earlier version did one at a time, and knew no End.)
	Starts  int  `json:"starts"`
	Careful bool `json:"careful"`
	Entry   int  `json:"entry"`
	End     int  `json:"end,omitempty"`
	Deaths  int  `json:"deaths"`
	// Aside are the batches that were set aside.
	Aside []int `json:"aside"`
}

// attempts returns what is known of a group. What cannot be read counts as nothing.
func (l *commitLog) attempts(name string) (a attempts, err error) {
	data, err := os.ReadFile(filepath.Join(l.dir, name+triesSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		return attempts{}, nil
	}
	if err != nil {
		return attempts{}, fmt.Errorf("reading the commit log: %w", err)
	}
	if json.Unmarshal(data, &a) != nil {
		return attempts{}, nil
	}
	return a, nil
}

func (l *commitLog) attempt(name string, a attempts) error {
	data, err := json.Marshal(a)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(l.dir, name+triesSuffix), data, 0o600); err != nil {
		return fmt.Errorf("writing to the commit log: %w", err)
	}
	return nil
}

// setAside moves a group that nobody can read to where nobody tries again.
func (l *commitLog) setAside(name string) (where string, err error) {
	where = filepath.Join(l.dir, asideFolder, name)
	if err := os.MkdirAll(filepath.Dir(where), 0o700); err != nil {
		return "", fmt.Errorf("setting a group of the commit log aside: %w", err)
	}
	if err := os.Rename(filepath.Join(l.dir, name), where); err != nil {
		return "", fmt.Errorf("setting a group of the commit log aside: %w", err)
	}
	return where, l.remove(name)
}

// keepAside puts a batch of a group where nobody tries again.
func (l *commitLog) keepAside(name string, entry int, batch []byte) (where string, err error) {
	where = filepath.Join(l.dir, asideFolder, fmt.Sprintf("%s.%d.batch", strings.TrimSuffix(name, groupSuffix), entry))
	if err := os.MkdirAll(filepath.Dir(where), 0o700); err != nil {
		return "", fmt.Errorf("setting a batch of the commit log aside: %w", err)
	}
	if err := atomicfile.Write(where, batch, 0o600); err != nil {
		return "", fmt.Errorf("setting a batch of the commit log aside: %w", err)
	}
	return where, nil
}
