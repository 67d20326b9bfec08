package registry

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/reeve-cloud/reeve/pkg/logging"
)

// The first byte of a badger key says what lies there.
const (
	spaceMeta      = 'm'
	spaceObject    = 'o' // and the object's key
	spaceAudit     = 'a' // and time, revision, index: 8, 8, 2 bytes, big-endian
	spaceWatermark = 'w' // and spool id, class: 16, 1 bytes
	spaceLiveness  = 'l' // and the agent's id
)

var (
	keyFormat   = []byte{spaceMeta, 'f'}
	keyRevision = []byte{spaceMeta, 'r'}
)

const format = "reeve-registry 1"

func openBadger(dir string, logger *slog.Logger) (*badger.DB, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	// A registry is a few megabytes: it needs no caches (blocks that are not
	// compressed are read in place, from the mapped files) and little else.
	db, err := badger.Open(badger.DefaultOptions(dir).
		WithSyncWrites(true).
		WithMemTableSize(8 << 20).
		WithNumMemtables(2).
		WithNumCompactors(2).
		WithNumGoroutines(1).
		WithValueLogFileSize(16 << 20).
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		WithNumVersionsToKeep(1).
		// Writers take turns; nothing is read and written by two at once.
		WithDetectConflicts(false).
		WithMetricsEnabled(false).
		WithLogger(logging.Badger{Logger: logger}))
	if err != nil {
		return nil, err
	}
	if err := checkFormat(db); err != nil {
		_ = db.Close()
		return nil, err
	}
	return db, nil
}

func checkFormat(db *badger.DB) error {
	return db.Update(func(txn *badger.Txn) error {
		item, err := txn.Get(keyFormat)
		if errors.Is(err, badger.ErrKeyNotFound) {
			return txn.Set(keyFormat, []byte(format))
		}
		if err != nil {
			return err
		}
		return item.Value(func(found []byte) error {
			if string(found) != format {
				return fmt.Errorf("its format is %q, this program reads %q: run the version of reeve-aggregator that wrote it, or a newer one", found, format)
			}
			return nil
		})
	})
}
