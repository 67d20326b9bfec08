package registry

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

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
	marks   map[SpoolClass]mark
}

// mark is how far one log of a spool is durable, and when that was said (Unix
// seconds): zero if it was said by a version that did not note it.
type mark struct {
	seq uint64
	at  int64
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
	higher := make(map[SpoolClass]mark, len(seqs))
	for sc, seq := range seqs {
		if seq > r.Watermark(sc.Spool, sc.Class) {
			higher[sc] = mark{seq, w.store.now().Unix()}
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
	maps.Copy(w.marks, higher)
	return nil
}

// Watermark returns up to which record a spool's class is durable: zero if none
// is.
func (r *Registry) Watermark(spool string, class wirev1.Class) uint64 {
	r.watermarks.mu.RLock()
	defer r.watermarks.mu.RUnlock()
	return r.watermarks.marks[SpoolClass{spool, class}].seq
}

// Watermarks returns all watermarks.
func (r *Registry) Watermarks() map[SpoolClass]uint64 {
	r.watermarks.mu.RLock()
	defer r.watermarks.mu.RUnlock()
	seqs := make(map[SpoolClass]uint64, len(r.watermarks.marks))
	for sc, m := range r.watermarks.marks {
		seqs[sc] = m.seq
	}
	return seqs
}

// TrimWatermarks forgets the spools of which nothing was said since a time, and
// returns how many marks that were. Should one come back after all, it sends again
// what it has, and the warehouse counts it once. Of marks that a version before
// wrote nobody knows the time: it counts from now on.
func (r *Registry) TrimWatermarks(ctx context.Context, before time.Time) (removed uint64, err error) {
	w := r.watermarks
	w.writing.Lock()
	defer w.writing.Unlock()
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	newest := make(map[string]int64)
	undated, dated := make(map[SpoolClass]mark), make(map[SpoolClass]mark)
	w.mu.RLock()
	for sc, m := range w.marks {
		if m.at == 0 {
			m.at = w.store.now().Unix()
			undated[sc] = m
		} else {
			dated[sc] = m
		}
		newest[sc.Spool] = max(newest[sc.Spool], m.at)
	}
	w.mu.RUnlock()
	for part := range slices.Chunk(slices.Collect(maps.Keys(undated)), chunk) {
		some := make(map[SpoolClass]mark)
		for _, sc := range part {
			some[sc] = undated[sc]
		}
		if err := w.save(some); err != nil {
			return 0, fmt.Errorf("dating watermarks: %w", err)
		}
		w.mu.Lock()
		maps.Copy(w.marks, some)
		w.mu.Unlock()
	}
	var old []SpoolClass
	for sc := range dated {
		if newest[sc.Spool] < before.Unix() {
			old = append(old, sc)
		}
	}
	for part := range slices.Chunk(old, chunk) {
		var keys [][]byte
		for _, sc := range part {
			key, err := watermarkKey(sc)
			if err != nil {
				return removed, err
			}
			keys = append(keys, key)
		}
		if err := w.store.removeRaw(keys); err != nil {
			return removed, fmt.Errorf("forgetting old watermarks: %w", err)
		}
		w.mu.Lock()
		for _, sc := range part {
			delete(w.marks, sc)
		}
		w.mu.Unlock()
		removed += uint64(len(part))
	}
	return removed, nil
}

func (w *watermarks) save(marks map[SpoolClass]mark) error {
	if err := w.store.enter(); err != nil {
		return err
	}
	defer w.store.leave()
	if err := w.store.checkSpace(); err != nil {
		return err
	}
	return w.store.db.Update(func(txn *badger.Txn) error {
		for sc, m := range marks {
			key, err := watermarkKey(sc)
			if err != nil {
				return err
			}
			value := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, m.seq), uint64(m.at))
			if err := txn.Set(key, value); err != nil {
				return err
			}
		}
		return nil
	})
}

func loadWatermarks(s *Store, logger *slog.Logger) (*watermarks, error) {
	w := &watermarks{store: s, marks: make(map[SpoolClass]mark)}
	prefix := []byte{spaceWatermark}
	start := prefix
	for {
		items, err := s.scan(context.Background(), prefix, start, chunk)
		if err != nil {
			return nil, fmt.Errorf("reading the watermarks: %w", err)
		}
		for _, item := range items {
			sc, err := parseWatermarkKey(item.key)
			if err == nil && len(item.value) != 8 && len(item.value) != 16 {
				err = fmt.Errorf("value of %d bytes", len(item.value))
			}
			if err != nil {
				// Too low is safe: the agent sends again what it still has, and
				// the warehouse counts it once.
				logger.Error("a watermark is corrupt, it counts as zero", "spool_id", sc.Spool, "class", wire.ClassName(sc.Class), "error", err)
				continue
			}
			m := mark{seq: binary.BigEndian.Uint64(item.value)}
			if len(item.value) == 16 {
				m.at = int64(binary.BigEndian.Uint64(item.value[8:]))
			}
			w.marks[sc] = m
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
