package badgerdb

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/dgraph-io/badger/v4"
)

func same(o badger.Options) badger.Options { return o }

// TestKilledWhileItMadeAFile puts what a kill leaves behind into an empty
// database, and beside the files of a used one.
func TestKilledWhileItMadeAFile(t *testing.T) {
	logger := slog.New(slog.DiscardHandler)
	for _, unborn := range []string{"00001.mem", "00009.mem", "000001.vlog", "000009.vlog"} {
		for _, used := range []bool{false, true} {
			dir := t.TempDir()
			if used {
				db, err := Open(dir, logger, same)
				if err != nil {
					t.Fatal(err)
				}
				if err := db.Update(func(txn *badger.Txn) error { return txn.Set([]byte("k"), []byte("v")) }); err != nil {
					t.Fatal(err)
				}
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
			}
			file := filepath.Join(dir, unborn)
			if _, err := os.Stat(file); err == nil {
				continue // the used database has one of that name
			}
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			db, err := Open(dir, logger, same)
			if err != nil {
				t.Errorf("%s, used %v: %v", unborn, used, err)
				continue
			}
			if used {
				if err := db.View(func(txn *badger.Txn) error { _, err := txn.Get([]byte("k")); return err }); err != nil {
					t.Errorf("%s: what was stored: %v", unborn, err)
				}
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
