package ingest

import (
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

// commitLog holds the groups that are being committed, a file each. There is
// one at most while all is well.
type commitLog struct{ dir string }

const groupSuffix = ".group"

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
		return nil, fmt.Errorf("reading the commit log: %s: %w", name, err)
	}
	return g, nil
}

// remove takes a group out. That it is gone need not be synced: a group that is
// settled twice stays the same.
func (l *commitLog) remove(name string) error {
	if err := os.Remove(filepath.Join(l.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("clearing the commit log: %w", err)
	}
	return nil
}
