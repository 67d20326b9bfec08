package registry

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
)

const (
	// AnyRevision as the revision of an Op makes the change whatever is there.
	AnyRevision int64 = -1
	// Absent as the revision of an Op makes the change only if nothing is there.
	Absent int64 = 0
)

const (
	maxKeyBytes   = 512
	maxValueBytes = 512 << 10
	maxOps        = 128

	// minFreeSpace is how much must be left on the disk before a write. Badger
	// writes through memory maps of files with holes: on a full disk it does
	// not return an error, the process dies of SIGBUS. This is enough for two
	// memtables, their logs and their flush.
	minFreeSpace = 64 << 20
)

// KV is a key and what is stored under it.
type KV struct {
	Key   string
	Value []byte
	// CreateRevision and ModRevision are the store's revisions at which the key
	// came into being and was changed last.
	CreateRevision, ModRevision int64
	// Err is set by List where the stored bytes cannot be read; Value is empty
	// then. It is ErrCorrupt.
	Err error
}

// Op is one change within Apply.
type Op struct {
	// Action names the change for the audit trail: "site.create".
	Action string
	Key    string
	// Value is what to store; nil deletes.
	Value []byte
	// Revision is the ModRevision that the key must have, or Absent, or
	// AnyRevision.
	Revision int64
}

// Store is a key-value store with a revision that grows by one with each
// transaction, audited changes, compare-and-swap and watch.
type Store struct {
	db        *badger.DB
	dir       string
	now       func() time.Time
	freeSpace func(string) (uint64, error)

	// write is held by who changes objects, so that revisions reach watchers in
	// order.
	write    sync.Mutex
	revision atomic.Int64
	watch    watchers

	// users counts calls that are under way; no more begin when closed is set.
	life   sync.Mutex
	closed bool
	users  sync.WaitGroup
}

func openStore(o Options) (*Store, error) {
	db, err := openBadger(o.Dir, o.Logger)
	if err != nil {
		return nil, err
	}
	s := &Store{db: db, dir: o.Dir, now: o.now, freeSpace: o.freeSpace}
	err = db.View(func(txn *badger.Txn) error {
		rev, err := readRevision(txn)
		s.revision.Store(rev)
		s.watch.forgotten = rev
		return err
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// enter begins a call; leave must follow unless it returns ErrClosed.
func (s *Store) enter() error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.users.Add(1)
	return nil
}

func (s *Store) leave() { s.users.Done() }

func (s *Store) close() error {
	s.life.Lock()
	s.closed = true
	s.life.Unlock()
	s.users.Wait()
	s.watch.closeAll(ErrClosed)
	return s.db.Close()
}

// Revision returns the revision of the newest change.
func (s *Store) Revision() int64 { return s.revision.Load() }

// Get returns what is stored under the key. The error is ErrNotFound or
// ErrCorrupt among others.
func (s *Store) Get(ctx context.Context, key string) (KV, error) {
	if err := ctx.Err(); err != nil {
		return KV{}, err
	}
	if err := s.enter(); err != nil {
		return KV{}, err
	}
	defer s.leave()
	var kv KV
	err := s.db.View(func(txn *badger.Txn) (err error) {
		kv, err = getKV(txn, key)
		return err
	})
	return kv, err
}

// List returns up to limit keys that begin with prefix and come after the key
// after (which may be empty), in order, and the revision at which they were
// read: a Watch from there on misses nothing. A value that cannot be read is in
// the list with its Err set.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) (kvs []KV, revision int64, err error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	if err := s.enter(); err != nil {
		return nil, 0, err
	}
	defer s.leave()
	err = s.db.View(func(txn *badger.Txn) error {
		if revision, err = readRevision(txn); err != nil {
			return err
		}
		it := txn.NewIterator(badger.IteratorOptions{PrefetchValues: true, PrefetchSize: min(limit, 64), Prefix: objectKey(prefix)})
		defer it.Close()
		start := objectKey(prefix)
		if after >= prefix {
			start = append(objectKey(after), 0)
		}
		for it.Seek(start); it.Valid() && len(kvs) < limit; it.Next() {
			kv, err := readKV(it.Item())
			if err != nil {
				kv = KV{Key: string(it.Item().Key()[1:]), Err: err}
			}
			kvs = append(kvs, kv)
		}
		return nil
	})
	return kvs, revision, err
}

// Apply makes all the changes in one transaction, or none, and returns its
// revision when they are synced to disk. If a key does not have the revision
// that its Op names, the error is ErrConflict. Deleting what is not there is
// ErrNotFound.
func (s *Store) Apply(ctx context.Context, by Actor, ops ...Op) (revision int64, err error) {
	if err := checkOps(by, ops); err != nil {
		return 0, err
	}
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	s.write.Lock()
	defer s.write.Unlock()
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := s.checkSpace(); err != nil {
		return 0, err
	}

	events := make([]Event, 0, len(ops))
	err = s.db.Update(func(txn *badger.Txn) error {
		// The database's word counts, not this process's: a commit that
		// returned an error may still have reached the disk.
		if revision, err = readRevision(txn); err != nil {
			return err
		}
		revision++
		now := s.now()
		for i, op := range ops {
			if err := applyOp(txn, op, revision); err != nil {
				return err
			}
			if err := writeAudit(txn, i, AuditEntry{
				Time: now, Actor: by.Name, Address: by.Address, Action: op.Action, Key: op.Key, Revision: revision,
			}); err != nil {
				return err
			}
			events = append(events, Event{Key: op.Key, Value: bytes.Clone(op.Value), Revision: revision})
		}
		return txn.Set(keyRevision, binary.BigEndian.AppendUint64(nil, uint64(revision)))
	})
	if err != nil {
		return 0, err
	}
	s.revision.Store(revision)
	s.watch.publish(events)
	return revision, nil
}

func checkOps(by Actor, ops []Op) error {
	if by.Name == "" {
		return errors.New("registry change without an actor")
	}
	if len(ops) == 0 || len(ops) > maxOps {
		return fmt.Errorf("registry change with %d operations: must be 1 to %d", len(ops), maxOps)
	}
	for i, op := range ops {
		switch {
		case op.Action == "":
			return fmt.Errorf("registry change of %q without an action", op.Key)
		case op.Key == "" || len(op.Key) > maxKeyBytes:
			return fmt.Errorf("registry key of %d bytes: must be 1 to %d", len(op.Key), maxKeyBytes)
		case len(op.Value) > maxValueBytes:
			return fmt.Errorf("registry key %q: value of %d bytes is larger than %d", op.Key, len(op.Value), maxValueBytes)
		case op.Revision < AnyRevision:
			return fmt.Errorf("registry key %q: revision %d is impossible", op.Key, op.Revision)
		}
		for _, other := range ops[:i] {
			if other.Key == op.Key {
				return fmt.Errorf("registry key %q is changed twice in one transaction", op.Key)
			}
		}
	}
	return nil
}

func applyOp(txn *badger.Txn, op Op, revision int64) error {
	old, err := getKV(txn, op.Key)
	switch {
	case errors.Is(err, ErrNotFound):
		if op.Value == nil {
			return err
		}
	case errors.Is(err, ErrCorrupt) && op.Revision == AnyRevision:
		// So that what is broken can be replaced.
	case err != nil:
		return err
	}
	if op.Revision != AnyRevision && op.Revision != old.ModRevision {
		return fmt.Errorf("registry key %q: %w", op.Key, ErrConflict)
	}
	if op.Value == nil {
		return txn.Delete(objectKey(op.Key))
	}
	created := old.CreateRevision
	if created == 0 {
		created = revision
	}
	return txn.Set(objectKey(op.Key), encodeKV(created, revision, op.Value))
}

// FreeSpace returns how many bytes are left on the disk that the store is on.
func (s *Store) FreeSpace() (uint64, error) { return s.freeSpace(s.dir) }

func (s *Store) checkSpace() error {
	free, err := s.freeSpace(s.dir)
	if err != nil {
		return fmt.Errorf("asking how full the disk of %s is: %w", s.dir, err)
	}
	if free < minFreeSpace {
		return fmt.Errorf("%w: %d MiB in %s, the registry needs %d MiB", ErrDiskFull, free>>20, s.dir, minFreeSpace>>20)
	}
	return nil
}

func readRevision(txn *badger.Txn) (int64, error) {
	item, err := txn.Get(keyRevision)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading the registry's revision: %w", err)
	}
	var revision int64
	err = item.Value(func(b []byte) error {
		if len(b) != 8 {
			return fmt.Errorf("the registry's revision: %w", ErrCorrupt)
		}
		revision = int64(binary.BigEndian.Uint64(b))
		return nil
	})
	return revision, err
}

func objectKey(key string) []byte { return append([]byte{spaceObject}, key...) }

// kvFormat is the first byte of a stored object; its revisions follow.
const (
	kvFormat = 1
	kvHeader = 1 + 8 + 8
)

func encodeKV(created, modified int64, value []byte) []byte {
	b := make([]byte, 0, kvHeader+len(value))
	b = append(b, kvFormat)
	b = binary.BigEndian.AppendUint64(b, uint64(created))
	b = binary.BigEndian.AppendUint64(b, uint64(modified))
	return append(b, value...)
}

func getKV(txn *badger.Txn, key string) (KV, error) {
	item, err := txn.Get(objectKey(key))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return KV{}, fmt.Errorf("registry key %q: %w", key, ErrNotFound)
	}
	if err != nil {
		return KV{}, fmt.Errorf("registry key %q: %w", key, err)
	}
	return readKV(item)
}

func readKV(item *badger.Item) (KV, error) {
	kv := KV{Key: string(item.Key()[1:])}
	b, err := item.ValueCopy(nil)
	if err != nil {
		return kv, fmt.Errorf("registry key %q: %w: %w", kv.Key, ErrCorrupt, err)
	}
	if len(b) < kvHeader || b[0] != kvFormat {
		return kv, fmt.Errorf("registry key %q: %w: it has no header", kv.Key, ErrCorrupt)
	}
	kv.CreateRevision = int64(binary.BigEndian.Uint64(b[1:]))
	kv.ModRevision = int64(binary.BigEndian.Uint64(b[9:]))
	kv.Value = b[kvHeader:]
	return kv, nil
}
