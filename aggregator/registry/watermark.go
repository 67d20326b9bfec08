package registry

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"

	"github.com/dgraph-io/badger/v4"

	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// SpoolClass names one log of one spool.
type SpoolClass struct {
	// Spool is the spool's id: 32 lower-case hexadecimal digits.
	Spool string
	Class wirev1.Class
}

// watermarks are few and small: all are in memory, as they are on disk.
type watermarks struct {
	store *Store
	// writing is held by who writes, mu for the map alone, so that reading
	// does not wait for the disk.
	writing sync.Mutex
	mu      sync.RWMutex
	seqs    map[SpoolClass]uint64
}

// SetWatermarks notes that the records of each spool and class up to and with
// the number are durable, in one transaction that is synced when it returns. A
// lower number than the one known is passed over: what is durable stays so.
func (r *Registry) SetWatermarks(ctx context.Context, seqs map[SpoolClass]uint64) error {
	w := r.watermarks
	w.writing.Lock()
	defer w.writing.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	higher := make(map[SpoolClass]uint64, len(seqs))
	for sc, seq := range seqs {
		if seq > r.Watermark(sc.Spool, sc.Class) {
			higher[sc] = seq
		}
	}
	if len(higher) == 0 {
		return nil
	}
	if err := w.save(higher); err != nil {
		return fmt.Errorf("saving %d watermarks: %w", len(higher), err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.Copy(w.seqs, higher)
	return nil
}

// Watermark returns up to which record a spool's class is durable: zero if none
// is.
func (r *Registry) Watermark(spool string, class wirev1.Class) uint64 {
	r.watermarks.mu.RLock()
	defer r.watermarks.mu.RUnlock()
	return r.watermarks.seqs[SpoolClass{spool, class}]
}

// Watermarks returns all watermarks.
func (r *Registry) Watermarks() map[SpoolClass]uint64 {
	r.watermarks.mu.RLock()
	defer r.watermarks.mu.RUnlock()
	return maps.Clone(r.watermarks.seqs)
}

func (w *watermarks) save(seqs map[SpoolClass]uint64) error {
	if err := w.store.enter(); err != nil {
		return err
	}
	defer w.store.leave()
	if err := w.store.checkSpace(); err != nil {
		return err
	}
	return w.store.db.Update(func(txn *badger.Txn) error {
		for sc, seq := range seqs {
			key, err := watermarkKey(sc)
			if err != nil {
				return err
			}
			if err := txn.Set(key, binary.BigEndian.AppendUint64(nil, seq)); err != nil {
				return err
			}
		}
		return nil
	})
}

func loadWatermarks(s *Store, logger *slog.Logger) (*watermarks, error) {
	w := &watermarks{store: s, seqs: make(map[SpoolClass]uint64)}
	prefix := []byte{spaceWatermark}
	start := prefix
	for {
		items, err := s.scan(context.Background(), prefix, start, chunk)
		if err != nil {
			return nil, fmt.Errorf("reading the watermarks: %w", err)
		}
		for _, item := range items {
			sc, err := parseWatermarkKey(item.key)
			if err == nil && len(item.value) != 8 {
				err = fmt.Errorf("value of %d bytes", len(item.value))
			}
			if err != nil {
				// Too low is safe: the agent sends again what it still has, and
				// the warehouse counts it once.
				logger.Error("a watermark is corrupt, it counts as zero", "spool_id", sc.Spool, "class", wire.ClassName(sc.Class), "error", err)
				continue
			}
			w.seqs[sc] = binary.BigEndian.Uint64(item.value)
		}
		if len(items) < chunk {
			return w, nil
		}
		start = append(items[len(items)-1].key, 0)
	}
}

func watermarkKey(sc SpoolClass) ([]byte, error) {
	if err := wire.CheckSpoolID(sc.Spool); err != nil {
		return nil, err
	}
	if !wire.KnownClass(sc.Class) || sc.Class > 0xff {
		return nil, fmt.Errorf("class %d is unknown", sc.Class)
	}
	key, err := hex.AppendDecode([]byte{spaceWatermark}, []byte(sc.Spool))
	if err != nil {
		return nil, err
	}
	return append(key, byte(sc.Class)), nil
}

func parseWatermarkKey(key []byte) (SpoolClass, error) {
	if len(key) != 1+16+1 {
		return SpoolClass{}, errors.New("key of the wrong length")
	}
	return SpoolClass{hex.EncodeToString(key[1:17]), wirev1.Class(key[17])}, nil
}
