package lastseen

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"

	"github.com/reeve-cloud/reeve/agent/spool"
)

// Large values lie in files of their own, and badger knows what of those is garbage only
// once it has compacted the keys that led to it. Keys are few bytes: of large documents
// that change often, gigabytes would be written before it comes to that by itself. So
// when the files of values have grown, compaction is brought about.

const (
	// minGrowth is by how many bytes the files of values grow at least before compaction
	// is brought about; and they must have doubled.
	minGrowth = 8 * valueLogBytes
	// fillBytes is what one filler adds to a memory table.
	fillBytes = valueThreshold - 256
)

var fillKey = []byte("mfill")

// CollectGarbage frees disk space that changed values left behind. It is not to be called
// by several at once.
func (s *Store) CollectGarbage() error {
	if err := s.collectGarbage(); err != nil {
		return fmt.Errorf("collecting garbage in the last-seen store: %w", err)
	}
	return nil
}

func (s *Store) collectGarbage() error {
	if err := spool.CheckFree(s.db.Opts().Dir, s.MinFree); err != nil {
		return err
	}
	if err := s.dropGarbage(); err != nil {
		return err
	}
	size, err := s.valueBytes()
	if err != nil {
		return err
	}
	if size-s.settled < max(minGrowth, s.settled) {
		return nil
	}
	// Compaction writes beside what it replaces.
	if err := spool.CheckFree(s.db.Opts().Dir, s.MinFree+4*memTableBytes); err != nil {
		return err
	}
	if err := s.compact(); err != nil {
		return err
	}
	if err := s.dropGarbage(); err != nil {
		return err
	}
	s.settled, err = s.valueBytes()
	return err
}

// dropGarbage removes the files of values that are garbage for the most part, as far as
// badger knows.
func (s *Store) dropGarbage() error {
	for {
		err := s.db.RunValueLogGC(0.5)
		if errors.Is(err, badger.ErrNoRewrite) || errors.Is(err, badger.ErrRejected) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// compact brings all that was written so far into tables, and those into one level, so
// that badger knows what is garbage. Nothing but that more is written makes it write a
// memory table to disk; of what fills it here only the newest stays.
func (s *Store) compact() error {
	filler := make([]byte, fillBytes)
	rand.Read(filler)
	// The last one that waits to be written has been when another one is full.
	for range (s.db.Opts().NumMemtables + 1) * memTableBytes / fillBytes {
		if err := s.db.Update(func(txn *badger.Txn) error { return txn.Set(fillKey, filler) }); err != nil {
			return err
		}
	}
	return s.db.Flatten(1)
}

// valueBytes is the size of the files of values on disk.
func (s *Store) valueBytes() (size int64, err error) {
	files, err := filepath.Glob(filepath.Join(s.db.Opts().ValueDir, "*.vlog"))
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was garbage
		}
		if err != nil {
			return 0, err
		}
		size += info.Size()
	}
	return size, nil
}
