package registry

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"math"
	"strings"
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

// AuditFilter says which entries are wanted. Fields that are empty want all.
type AuditFilter struct {
	// From is inclusive, To exclusive.
	From, To time.Time
	Actor    string
	// Action is one, or the beginning of several where it ends with a dot.
	Action string
}

func (f *AuditFilter) wants(e *AuditEntry) bool {
	if f.Actor != "" && f.Actor != e.Actor {
		return false
	}
	if strings.HasSuffix(f.Action, ".") {
		return strings.HasPrefix(e.Action, f.Action)
	}
	return f.Action == "" || f.Action == e.Action
}

// maxAuditScan is how many entries one call reads at most.
const maxAuditScan = 20_000

// AuditPage returns up to limit entries that the filter wants, the newest first,
// from behind the position that the page before returned (empty for the first).
// Next is empty if there are no more. There may be more though the page is not full:
// one call reads so many entries and no more. Entries that cannot be read are left
// out and counted.
func (s *Store) AuditPage(ctx context.Context, f AuditFilter, position string, limit int) (entries []AuditEntry, next string, corrupt int,
	err error) {
	if err := ctx.Err(); err != nil {
		return nil, "", 0, err
	}
	if err := s.enter(); err != nil {
		return nil, "", 0, err
	}
	defer s.leave()
	end := time.Unix(0, math.MaxInt64)
	if !f.To.IsZero() {
		end = f.To
	}
	start, oldest := auditKey(end, 0, 0), auditKey(f.From, 0, 0)
	if position != "" {
		p, err := hex.DecodeString(position)
		if err != nil || len(p) != len(start)-1 {
			return nil, "", 0, fmt.Errorf("audit position %q: %w", position, ErrNotFound)
		}
		if p = append([]byte{spaceAudit}, p...); bytes.Compare(p, start) < 0 {
			start = p
		}
	}
	err = s.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{PrefetchValues: true, PrefetchSize: 64, Prefix: []byte{spaceAudit}, Reverse: true})
		defer it.Close()
		read := 0
		for it.Seek(start); it.Valid(); it.Next() {
			key := it.Item().KeyCopy(nil)
			if bytes.Equal(key, start) {
				continue // the last one of the page before
			}
			if bytes.Compare(key, oldest) < 0 {
				break
			}
			if len(entries) == limit || read == maxAuditScan {
				return nil
			}
			read++
			next = hex.EncodeToString(key[1:])
			value, err := it.Item().ValueCopy(nil)
			if err != nil {
				corrupt++
				continue
			}
			e, err := decode[AuditEntry](fmt.Sprintf("audit entry %x", key[1:]), value)
			if err != nil {
				corrupt++
				continue
			}
			if f.wants(&e) {
				entries = append(entries, e)
			}
		}
		next = ""
		return nil
	})
	return entries, next, corrupt, err
}

// Routine actions happen without anybody's doing, to each agent every day.
var routineActions = map[string]bool{"agent.renew": true}

// TrimAudit removes the entries from before a time, and those of routine actions
// (renewals of certificates) from before another. A zero time removes none. It
// returns how many it removed.
func (s *Store) TrimAudit(ctx context.Context, before, routineBefore time.Time) (removed uint64, err error) {
	start := []byte{spaceAudit}
	for {
		items, err := s.scan(ctx, []byte{spaceAudit}, start, chunk)
		if err != nil {
			return removed, err
		}
		var gone [][]byte
		for _, item := range items {
			at := binary.BigEndian.Uint64(item.key[1:])
			switch {
			case at < nanos(before):
				gone = append(gone, item.key)
			case at < nanos(routineBefore):
				// One that cannot be read stays until its time.
				if e, err := decode[AuditEntry]("", item.value); err == nil && routineActions[e.Action] {
					gone = append(gone, item.key)
				}
			}
		}
		if err := s.removeRaw(gone); err != nil {
			return removed, fmt.Errorf("trimming the audit trail: %w", err)
		}
		removed += uint64(len(gone))
		if len(items) < chunk || binary.BigEndian.Uint64(items[len(items)-1].key[1:]) >= max(nanos(before), nanos(routineBefore)) {
			return removed, nil
		}
		start = append(items[len(items)-1].key, 0)
	}
}

// removeRaw removes keys of badger's, at most a chunk of them.
func (s *Store) removeRaw(keys [][]byte) error {
	if len(keys) == 0 {
		return nil
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if err := s.checkSpace(); err != nil {
		return err
	}
	return s.db.Update(func(txn *badger.Txn) error {
		for _, key := range keys {
			if err := txn.Delete(key); err != nil {
				return err
			}
		}
		return nil
	})
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
