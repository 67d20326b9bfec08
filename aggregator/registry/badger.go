package registry

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/dgraph-io/badger/v4"

	"github.com/reeve-cloud/reeve/pkg/badgerdb"
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
	// A registry is a few megabytes: it needs no caches (blocks that are not
	// compressed are read in place, from the mapped files) and little else.
	db, err := badgerdb.Open(dir, logger, func(o badger.Options) badger.Options {
		return o.WithSyncWrites(true).WithNumGoroutines(1).WithValueLogFileSize(16 << 20).
			WithBlockCacheSize(0).WithIndexCacheSize(0)
	})
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
				return fmt.Errorf("its format is %q, this program reads %q: run the version of reeve-aggregator that wrote it, or a newer one", found,
					format)
			}
			return nil
		})
	})
}
