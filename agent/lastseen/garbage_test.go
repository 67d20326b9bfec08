package lastseen

import (
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/dgraph-io/badger/v4"
)

// TestGarbageOfLargeValues: a few large values that change often take no more room than
// some times their own, though their keys are too few for badger to compact them; and
// what is there stays.
func TestGarbageOfLargeValues(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const keys, size, rounds = 20, 256 << 10, 50
	random := rand.NewChaCha8([32]byte{})
	newest := make(map[string]string)
	most := int64(0)
	for range rounds {
		for n := range keys {
			key, value := fmt.Sprint("avalue-", n), make([]byte, size)
			random.Read(value)
			if err := s.db.Update(func(txn *badger.Txn) error { return txn.Set([]byte(key), value) }); err != nil {
				t.Fatal(err)
			}
			newest[key] = string(value)
		}
		if err := s.CollectGarbage(); err != nil {
			t.Fatal(err)
		}
		most = max(most, sizeOf(t, dir))
	}
	// The values, as much again, what is let grow, and badger's own tables and logs.
	if limit := int64(2*keys*size + 2*minGrowth + 16*memTableBytes); most > limit {
		t.Errorf("%d MB of values took %d MB of room at most, of which %d MB were written", keys*size>>20, most>>20, rounds*keys*size>>20)
	}
	for key, want := range newest {
		got, err := s.get([]byte(key))
		if err != nil || string(got) != want {
			t.Fatalf("%s has %d bytes, %v", key, len(got), err)
		}
	}
}

func sizeOf(t *testing.T, dir string) (size int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return size
}
