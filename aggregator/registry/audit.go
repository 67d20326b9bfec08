package registry

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// AuditEntry says who changed what, or did what else is worth a line. Of a change
// it holds no values.
type AuditEntry struct {
	Time time.Time `json:"time"`
	// Actor and Address are those of the Actor.
	Actor    string `json:"actor"`
	Address  string `json:"address,omitempty"`
	Action   string `json:"action"`
	Key      string `json:"key"`
	Revision int64  `json:"revision"`
	// Detail is what was done, where that is no change of an object.
	Detail string `json:"detail,omitempty"`
}

func auditKey(t time.Time, revision int64, index int) []byte {
	k := append(make([]byte, 0, 19), spaceAudit)
	k = binary.BigEndian.AppendUint64(k, nanos(t))
	k = binary.BigEndian.AppendUint64(k, uint64(revision))
	return binary.BigEndian.AppendUint16(k, uint16(index))
}

// nanos returns the Unix time in nanoseconds, the nearest that there is.
func nanos(t time.Time) uint64 {
	switch {
	case t.Before(time.Unix(0, 0)):
		return 0
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return uint64(t.UnixNano())
}

func writeAudit(txn *badger.Txn, index int, e AuditEntry) error {
	value, err := encode(e)
	if err != nil {
		return err
	}
	return txn.Set(auditKey(e.Time, e.Revision, index), value)
}

// Note puts into the audit trail what is no change of an object. It is synced to
// disk when Note returns.
func (s *Store) Note(ctx context.Context, by Actor, action, detail string) error {
	if by.Name == "" || action == "" {
		return errors.New("audit entry without an actor or an action")
	}
	if len(detail) > maxValueBytes {
		return fmt.Errorf("audit entry of %d bytes: must be at most %d", len(detail), maxValueBytes)
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	s.write.Lock()
	defer s.write.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.checkSpace(); err != nil {
		return err
	}
	// It has a revision of its own, so that no two entries share a key.
	var revision int64
	err := s.db.Update(func(txn *badger.Txn) (err error) {
		if revision, err = readRevision(txn); err != nil {
			return err
		}
		revision++
		if err := writeAudit(txn, 0, AuditEntry{
			Time: s.now(), Actor: by.Name, Address: by.Address, Action: action, Revision: revision, Detail: detail,
		}); err != nil {
			return err
		}
		return txn.Set(keyRevision, binary.BigEndian.AppendUint64(nil, uint64(revision)))
	})
	if err != nil {
		return fmt.Errorf("writing the audit trail: %w", err)
	}
	s.revision.Store(revision)
	return nil
}

// Audit returns the changes from a time (inclusive) to another (exclusive; zero
// means that there is no end), oldest first. An entry that cannot be read comes
// as an ErrCorrupt, and the ones after it follow; any other error is the last.
func (s *Store) Audit(ctx context.Context, from, to time.Time) iter.Seq2[AuditEntry, error] {
	return func(yield func(AuditEntry, error) bool) {
		start := auditKey(from, 0, 0)
		for {
			items, err := s.scan(ctx, []byte{spaceAudit}, start, chunk)
			if err != nil {
				yield(AuditEntry{}, err)
				return
			}
			for _, item := range items {
				if !to.IsZero() && binary.BigEndian.Uint64(item.key[1:]) >= nanos(to) {
					return
				}
				if !yield(decode[AuditEntry](fmt.Sprintf("audit entry %x", item.key[1:]), item.value)) {
					return
				}
			}
			if len(items) < chunk {
				return
			}
			start = append(items[len(items)-1].key, 0)
		}
	}
}

type item struct{ key, value []byte }

// scan returns up to limit raw items from start on.
func (s *Store) scan(ctx context.Context, prefix, start []byte, limit int) (items []item, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	err = s.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{PrefetchValues: true, PrefetchSize: min(limit, 64), Prefix: prefix})
		defer it.Close()
		for it.Seek(start); it.Valid() && len(items) < limit; it.Next() {
			// A value that cannot be read is as bad as one that makes no sense.
			value, err := it.Item().ValueCopy(nil)
			if err != nil {
				value = nil
			}
			items = append(items, item{it.Item().KeyCopy(nil), value})
		}
		return nil
	})
	return items, err
}
