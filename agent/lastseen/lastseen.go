// Package lastseen is what an agent last saw of every asset, and how far collectors
// have followed their scopes.
//
// The store changes by [Store.Apply], with what lies in the spool, which is its redo
// log: a crash between the two repeats nothing and loses nothing. Beside that only
// checkpoints move while nothing else changes, scopes are completed, and a scope is
// replaced by what the centre knows of it ([Store.Seed]).
package lastseen

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/reeve-cloud/reeve/agent/spool"
	"github.com/reeve-cloud/reeve/pkg/badgerdb"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// Store is the store. Its methods may be called concurrently.
//
// Keys in badger:
//
//	a SCOPE 0 TYPE 0 UID   an asset: format byte, hash, compressed AssetVersion
//	d SCOPE 0 TYPE 0 UID   a deletion that the centre may not have yet: format byte,
//	                       number of its record, compressed AssetVersion
//	c SCOPE                a scope's checkpoint
//	s SCOPE                how the store stands to a scope: format byte, epoch, time
//	t TYPE                 an asset type: format byte, AssetType
//	m...                   the spool's id, how far it was applied, the clock, a filler
type Store struct {
	// MinFree is how much must be free on the filesystem for what is written
	// without the spool, which sees to that itself: the store writes through memory
	// maps, and without room for them the kernel ends the process.
	MinFree int64

	db *badger.DB

	// applying is held by Apply: the logs of the spool have a writer each.
	applying sync.Mutex
	// newest is the stored clock. Stamps of different scopes come in no order.
	newest uint64
	// resending says that what is applied may be older than what is known.
	resending bool
	// redoing says so too, until the spool is open, and restoring counts those that
	// send single assets again.
	redoing   bool
	restoring int
	// asked counts the calls of MustResend.
	asked int
	// settled is the size of the files of values when what is garbage in them was known last.
	settled int64
	damaged chan error
}

// valueLogBytes is the size of a file of values. Opening the store reads the newest one
// through, by a memory map: larger ones are what an agent has resident most at its start.
const valueLogBytes = 8 << 20

// memTableBytes is the size of a table in memory, and valueThreshold that of values from
// which on they lie in files of their own.
const (
	memTableBytes  = 4 << 20
	valueThreshold = 4 << 10
)

const (
	assetPrefix      = 'a'
	deletedPrefix    = 'd'
	checkpointPrefix = 'c'
	typePrefix       = 't'
	statePrefix      = 's'
	untakenPrefix    = 'u'
)

var (
	spoolKey  = []byte("mspool")
	clockKey  = []byte("mclock")
	resendKey = []byte("mresend")
)

func appliedKey(class wirev1.Class) []byte { return []byte(fmt.Sprintf("mapplied%d", class)) }

func scopePrefix(scope string) []byte {
	return append([]byte{assetPrefix}, scope+"\x00"...)
}

func assetKey(scope string, k plugin.Key) []byte {
	return append(scopePrefix(scope), k.Type+"\x00"+k.UID...)
}

// deletedKey is the key of an asset's deletion.
func deletedKey(assetKey []byte) []byte { return append([]byte{deletedPrefix}, assetKey[1:]...) }

// splitAssetKey takes assetKey apart.
func splitAssetKey(key []byte) (scope string, k plugin.Key) {
	parts := strings.SplitN(string(key[1:]), "\x00", 3)
	return parts[0], plugin.Key{Type: parts[1], UID: parts[2]}
}

// Open opens or makes the store in dir.
func Open(dir string, logger *slog.Logger) (*Store, error) {
	// Writes survive the death of the process; before spool segments are given
	// up they are also synced (Sync), so they survive a power cut too.
	db, err := badgerdb.Open(dir, logger, func(o badger.Options) badger.Options {
		// Badger builds a table in twice its size of memory, several at once. Keys come
		// in no order, so what leaves level zero rewrites all of the level below: four
		// tables at once, not two, and tables of 4 MiB take a sixth of the time from an
		// agent's first load, and no more memory.
		return o.WithMemTableSize(memTableBytes).WithNumLevelZeroTables(4).WithNumLevelZeroTablesStall(8).
			WithBaseTableSize(4 << 20).WithBlockCacheSize(2 << 20).WithIndexCacheSize(2 << 20).
			WithValueLogFileSize(valueLogBytes).WithValueThreshold(valueThreshold).
			// What was stored and changed on disk is an error, not another state.
			WithVerifyValueChecksum(true).WithChecksumVerificationMode(options.OnTableAndBlockRead)
	})
	if err != nil {
		return nil, fmt.Errorf("opening the last-seen store in %s: %w", dir, openError(err))
	}
	s := &Store{db: db, damaged: make(chan error, 1), redoing: true}
	stamp, err := s.Clock()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrDamaged, err), db.Close())
	}
	s.newest = uint64(stamp)
	if s.resending, _, err = s.MustBeResent(); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrDamaged, err), db.Close())
	}
	return s, nil
}

// openError says that a store is damaged where that is certain.
func openError(err error) error {
	if errors.Is(err, badgerdb.ErrDamaged) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// ErrDamaged means that the store is not what had been written.
var ErrDamaged = errors.New("last seen is damaged")

// Damaged is sent to, once, when something is read that is not what had been
// written. Only a new store helps then.
func (s *Store) Damaged() <-chan error { return s.damaged }

// Check takes note of the damage that an error of reading is, and hands it back.
func (s *Store) Check(err error) error {
	if err == nil || !errors.Is(err, ErrDamaged) {
		return err
	}
	select {
	case s.damaged <- err:
	default:
	}
	return err
}

// Close closes the store.
func (s *Store) Close() error { return s.db.Close() }

// Sync makes all that was written survive a power cut.
func (s *Store) Sync() error {
	if err := s.db.Sync(); err != nil {
		return fmt.Errorf("syncing the last-seen store: %w", err)
	}
	return nil
}

// Clock returns the newest stamp that the agent has given.
func (s *Store) Clock() (hlc.Stamp, error) {
	v, err := s.get(clockKey)
	if err != nil || v == nil {
		return 0, err
	}
	return hlc.Stamp(binary.BigEndian.Uint64(v)), nil
}

// Applied returns the number of the last record of the spool that was applied,
// or 0 if the store was fed from another spool until now.
func (s *Store) Applied(spoolID string, class wirev1.Class) (uint64, error) {
	id, err := s.get(spoolKey)
	if err != nil || string(id) != spoolID {
		return 0, err
	}
	v, err := s.get(appliedKey(class))
	if err != nil || v == nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(v), nil
}

// Adopt takes note that the agent now has the spool with the id. It reports
// whether everything must be sent again (Recorder.Resend): there was another
// spool before, and what that one held may be lost. It does so at every start
// until that is done.
func (s *Store) Adopt(spoolID string) (resend bool, err error) {
	s.applying.Lock()
	s.redoing = false
	s.applying.Unlock()
	id, err := s.get(spoolKey)
	if err != nil {
		return false, err
	}
	if string(id) == spoolID {
		must, _, err := s.MustBeResent()
		return must, err
	}
	w := writer{db: s.db, txn: s.db.NewTransaction(true)}
	defer func() { w.txn.Discard() }()
	if id == nil {
		// The store is new. If the spool is not, the checkpoints that were in it say
		// nothing: what came before them is not known.
		err = s.forgetCheckpoints(&w)
	} else {
		for _, class := range spool.Classes {
			w.do(func(txn *badger.Txn) error { return txn.Delete(appliedKey(class)) })
		}
		if err := s.MustResend("the spool is new: what waited in the one before may be lost"); err != nil {
			return false, err
		}
		// The new spool numbers records anew.
		err = s.Deletions(func(key []byte, _ uint64, a *wirev1.AssetVersion) error {
			value, err := encodeDeletion(a, math.MaxUint64)
			w.do(func(txn *badger.Txn) error { return txn.Set(key, value) })
			return err
		})
	}
	if err != nil {
		return false, err
	}
	w.do(func(txn *badger.Txn) error { return txn.Set(spoolKey, []byte(spoolID)) })
	if err := w.commit(); err != nil {
		return false, fmt.Errorf("last seen: taking note of the spool: %w", err)
	}
	return s.resending, nil
}

// MustBeResent reports whether all must be sent again (Recorder.Resend), and why.
func (s *Store) MustBeResent() (must bool, why []string, err error) {
	v, err := s.get(resendKey)
	if err != nil || v == nil {
		return false, nil, err
	}
	return true, strings.Split(strings.Trim(string(v), "\x01\n"), "\n"), nil
}

// ForgetCheckpoints has all scopes swept before they are followed again.
func (s *Store) ForgetCheckpoints() error {
	w := writer{db: s.db, txn: s.db.NewTransaction(true)}
	defer func() { w.txn.Discard() }()
	if err := s.forgetCheckpoints(&w); err != nil {
		return err
	}
	return w.commit()
}

func (s *Store) forgetCheckpoints(w *writer) error {
	return s.scan([]byte{checkpointPrefix}, func(item *badger.Item) error {
		key := item.KeyCopy(nil)
		w.do(func(txn *badger.Txn) error { return txn.Delete(key) })
		return nil
	})
}

// MustResend takes note, for good, that something in the spool was lost, and how.
// Until Recorder.Resend has done it, Adopt says so too.
func (s *Store) MustResend(why string) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	_, before, err := s.MustBeResent()
	if err != nil {
		return err
	}
	if len(before) < maxWhy && !slices.Contains(before, why) {
		before = append(before, why)
	}
	if err := s.db.Update(func(txn *badger.Txn) error { return txn.Set(resendKey, []byte(strings.Join(before, "\n"))) }); err != nil {
		return fmt.Errorf("last seen: taking note that all must be sent again: %w", err)
	}
	s.resending = true
	s.asked++
	return s.Sync()
}

// maxWhy is how many reasons for one sending are told.
const maxWhy = 20

// Restoring says that single assets are sent again, until done is called.
func (s *Store) Restoring() (done func()) {
	add := func(n int) {
		s.applying.Lock()
		defer s.applying.Unlock()
		s.restoring += n
	}
	add(1)
	return func() { add(-1) }
}

// Sendings is how often it was said that all must be sent again.
func (s *Store) Sendings() int {
	s.applying.Lock()
	defer s.applying.Unlock()
	return s.asked
}

// Resent takes note that everything has been sent again, unless that was asked
// for once more since there were so many sendings.
func (s *Store) Resent(sendings int) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	if s.asked != sendings {
		return nil
	}
	if err := s.db.Update(func(txn *badger.Txn) error { return txn.Delete(resendKey) }); err != nil {
		return fmt.Errorf("last seen: taking note that all was sent again: %w", err)
	}
	s.resending = false
	return nil
}

// Recall returns the asset or asset type in full that has the key and version of
// mark, or nil if there is a newer one. What only mark has is taken from it.
func (s *Store) Recall(mark *wirev1.Record) (*wirev1.Record, error) {
	if t := mark.GetAssetType(); t != nil {
		last, err := s.AssetType(t.GetName())
		if err != nil || last.GetVersion() != t.GetVersion() {
			return nil, err
		}
		return wire.TypeRecord(last), nil
	}
	m := mark.GetAsset()
	key := plugin.Key{Type: m.GetType(), UID: m.GetUid()}
	if m.GetOperation() == wirev1.Operation_OPERATION_DELETED {
		v, err := s.get(deletedKey(assetKey(m.GetScope(), key)))
		if err != nil || v == nil {
			return nil, err
		}
		_, a, err := decodeDeletion(v)
		if err != nil || a.GetVersion() != m.GetVersion() {
			return nil, s.Check(err)
		}
		return wire.AssetRecord(a), nil
	}
	last, err := s.Asset(m.GetScope(), key)
	if err != nil || last == nil {
		return nil, err
	}
	a, err := last.Version()
	if err != nil || a.GetVersion() != m.GetVersion() {
		return nil, s.Check(err)
	}
	a.Changed, a.RemovedRelations = m.GetChanged(), m.GetRemovedRelations()
	return wire.AssetRecord(a), nil
}

// Forget drops the deletions that the centre has, those up to and with record
// acked of the assets.
func (s *Store) Forget(acked uint64) error {
	if err := spool.CheckFree(s.db.Opts().Dir, s.MinFree); err != nil {
		return fmt.Errorf("forgetting deletions: %w", err)
	}
	s.applying.Lock()
	defer s.applying.Unlock()
	w := writer{db: s.db, txn: s.db.NewTransaction(true)}
	defer func() { w.txn.Discard() }()
	err := s.Deletions(func(key []byte, seq uint64, _ *wirev1.AssetVersion) error {
		if seq <= acked {
			w.do(func(txn *badger.Txn) error { return txn.Delete(key) })
		}
		return nil
	})
	if err != nil {
		return err
	}
	return w.commit()
}

// Deletions calls visit for every deletion that is kept.
func (s *Store) Deletions(visit func(key []byte, seq uint64, a *wirev1.AssetVersion) error) error {
	return s.scan([]byte{deletedPrefix}, func(item *badger.Item) error {
		return itemValue(item, func(v []byte) error {
			seq, a, err := decodeDeletion(v)
			if err != nil {
				return err
			}
			return visit(item.KeyCopy(nil), seq, a)
		})
	})
}

// knowsNewer reports whether a newer version of an asset was applied before. Only
// while things are sent again can that be.
func (s *Store) knowsNewer(key []byte, version uint64) (bool, error) {
	v, err := s.get(key)
	if err != nil {
		return false, err
	}
	if v != nil {
		last, err := decodeValue(v)
		if err != nil {
			return false, err
		}
		a, err := last.Version()
		return a.GetVersion() > version, err
	}
	if v, err = s.get(deletedKey(key)); err != nil || v == nil {
		return false, err
	}
	_, a, err := decodeDeletion(v)
	return a.GetVersion() > version, err
}

// Apply brings the store up to date with a frame of the spool. Doing it twice
// does no harm.
func (s *Store) Apply(f spool.Frame) error {
	records, err := f.Records()
	if err != nil {
		return err
	}
	s.applying.Lock()
	defer s.applying.Unlock()
	w := writer{db: s.db, txn: s.db.NewTransaction(true)}
	defer func() { w.txn.Discard() }()
	newest := s.newest
	mayBeOlder := s.resending || s.redoing || s.restoring > 0
	inFrame := make(map[string]uint64) // newest versions, while some may be older
	for i, r := range records {
		if t := r.GetAssetType(); t != nil {
			newest = max(newest, t.GetVersion())
			if mayBeOlder {
				if last, err := s.AssetType(t.GetName()); err != nil || last.GetVersion() > t.GetVersion() {
					w.fail(err)
					continue
				}
			}
			value, err := encodeType(t)
			if err != nil {
				return err
			}
			w.do(func(txn *badger.Txn) error { return txn.Set(typeKey(t.GetName()), value) })
			continue
		}
		newest = max(newest, r.GetUsage().GetVersion())
		a := r.GetAsset()
		if a == nil {
			continue
		}
		newest = max(newest, a.GetVersion())
		key := assetKey(a.GetScope(), plugin.Key{Type: a.GetType(), UID: a.GetUid()})
		if mayBeOlder {
			newer, err := s.knowsNewer(key, a.GetVersion())
			if err != nil || newer || inFrame[string(key)] > a.GetVersion() {
				w.fail(err)
				continue
			}
			inFrame[string(key)] = a.GetVersion()
		}
		if a.GetOperation() == wirev1.Operation_OPERATION_DELETED {
			value, err := encodeDeletion(a, f.First+uint64(i))
			if err != nil {
				return err
			}
			w.do(func(txn *badger.Txn) error { return txn.Set(deletedKey(key), value) })
			w.do(func(txn *badger.Txn) error { return txn.Delete(key) })
			continue
		}
		if a.GetOperation() == wirev1.Operation_OPERATION_CREATED {
			w.do(func(txn *badger.Txn) error { return txn.Delete(deletedKey(key)) })
		}
		value, err := encodeValue(a)
		if err != nil {
			return err
		}
		w.do(func(txn *badger.Txn) error { return txn.Set(key, value) })
	}
	for _, c := range f.Checkpoints {
		w.do(func(txn *badger.Txn) error {
			return txn.Set(append([]byte{checkpointPrefix}, c.Scope...), []byte(c.Value))
		})
	}
	if newest > s.newest {
		w.do(func(txn *badger.Txn) error { return txn.Set(clockKey, binary.BigEndian.AppendUint64(nil, newest)) })
	}
	// Last: it says that all of the above has been done.
	w.do(func(txn *badger.Txn) error {
		return txn.Set(appliedKey(f.Class), binary.BigEndian.AppendUint64(nil, f.Last))
	})
	if err := w.commit(); err != nil {
		return err
	}
	s.newest = newest
	return nil
}

// writer does writes in order, in as many transactions as they need.
type writer struct {
	db  *badger.DB
	txn *badger.Txn
	err error
}

func (w *writer) do(write func(*badger.Txn) error) {
	if w.err != nil {
		return
	}
	w.err = write(w.txn)
	if !errors.Is(w.err, badger.ErrTxnTooBig) {
		return
	}
	if w.err = w.txn.Commit(); w.err == nil {
		w.txn = w.db.NewTransaction(true)
		w.err = write(w.txn)
	}
}

// fail makes all that follows do nothing, and commit return the error.
func (w *writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (w *writer) commit() error {
	if w.err == nil {
		w.err = w.txn.Commit()
	}
	if w.err != nil {
		return fmt.Errorf("writing to the last-seen store: %w", w.err)
	}
	return nil
}

// Asset returns what was last seen of an asset, or nil.
func (s *Store) Asset(scope string, k plugin.Key) (last *Seen, err error) {
	err = s.Read(func(r Reader) error {
		last, err = r.Asset(scope, k)
		return err
	})
	return last, err
}

// Keys calls visit for every asset of a scope.
func (s *Store) Keys(scope string, visit func(plugin.Key) error) error {
	return s.scan(scopePrefix(scope), func(item *badger.Item) error {
		_, k := splitAssetKey(item.Key())
		return visit(k)
	})
}

// Assets calls visit for every asset. The version must not be changed.
func (s *Store) Assets(visit func(*wirev1.AssetVersion) error) error {
	return s.versions([]byte{assetPrefix}, visit)
}

// ScopeAssets calls visit for every asset of a scope. The version must not be changed.
func (s *Store) ScopeAssets(scope string, visit func(*wirev1.AssetVersion) error) error {
	return s.versions(scopePrefix(scope), visit)
}

func (s *Store) versions(prefix []byte, visit func(*wirev1.AssetVersion) error) error {
	return s.scan(prefix, func(item *badger.Item) error {
		return itemValue(item, func(v []byte) error {
			last, err := decodeValue(v)
			if err != nil {
				return err
			}
			a, err := last.Version()
			if err != nil {
				return err
			}
			return visit(a)
		})
	})
}

// AllScopes returns the scopes that are known, as "collector/scope", in order: those
// that have assets, and those that were granted or completed.
func (s *Store) AllScopes() ([]string, error) {
	all, err := s.scopesOfAssets()
	if err != nil {
		return nil, err
	}
	if err := s.scan([]byte{statePrefix}, func(item *badger.Item) error {
		all = append(all, string(item.Key()[1:]))
		return nil
	}); err != nil {
		return nil, err
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// scopesOfAssets returns the scopes that have assets.
func (s *Store) scopesOfAssets() ([]string, error) {
	prefix := []byte{assetPrefix}
	var names []string
	err := s.db.View(func(txn *badger.Txn) error {
		o := badger.DefaultIteratorOptions
		o.PrefetchValues, o.Prefix = false, prefix
		it := txn.NewIterator(o)
		defer it.Close()
		for it.Seek(prefix); it.Valid(); {
			scope, _ := splitAssetKey(it.Item().Key())
			names = append(names, scope)
			it.Seek(append([]byte{assetPrefix}, scope+"\x01"...))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the last-seen store: %w", err)
	}
	return names, nil
}

func (s *Store) scan(prefix []byte, visit func(*badger.Item) error) error {
	return s.scanFrom(prefix, prefix, visit)
}

// scanFrom calls visit for what has the prefix, from a key on.
func (s *Store) scanFrom(prefix, from []byte, visit func(*badger.Item) error) error {
	err := s.db.View(func(txn *badger.Txn) error {
		o := badger.DefaultIteratorOptions
		o.PrefetchValues, o.Prefix = false, prefix
		it := txn.NewIterator(o)
		defer it.Close()
		for it.Seek(from); it.Valid(); it.Next() {
			if err := visit(it.Item()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return s.Check(fmt.Errorf("reading the last-seen store: %w", err))
	}
	return nil
}

// itemValue hands a value to visit.
func itemValue(item *badger.Item, visit func([]byte) error) error {
	var refused error
	err := item.Value(func(v []byte) error {
		refused = visit(v)
		return refused
	})
	if err != nil && refused == nil {
		return readError(err)
	}
	return err
}

// readError is an error of badger's on reading.
func readError(err error) error {
	if errors.Is(err, badger.ErrDBClosed) || errors.Is(err, badger.ErrBlockedWrites) {
		return fmt.Errorf("reading the last-seen store: %w", err)
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// Checkpoint returns a scope's checkpoint, or "".
func (s *Store) Checkpoint(scope string) (plugin.Checkpoint, error) {
	v, err := s.get(append([]byte{checkpointPrefix}, scope...))
	return plugin.Checkpoint(v), err
}

// SetCheckpoint moves a checkpoint with which no facts came.
func (s *Store) SetCheckpoint(scope string, c plugin.Checkpoint) error {
	if err := spool.CheckFree(s.db.Opts().Dir, s.MinFree); err != nil {
		return fmt.Errorf("storing a checkpoint: %w", err)
	}
	err := s.db.Update(func(txn *badger.Txn) error {
		return txn.Set(append([]byte{checkpointPrefix}, scope...), []byte(c))
	})
	if err != nil {
		return fmt.Errorf("storing a checkpoint: %w", err)
	}
	return nil
}

// get returns a value, or nil.
func (s *Store) get(key []byte) (value []byte, err error) {
	err = s.Read(func(r Reader) error {
		value, err = r.get(key)
		return err
	})
	return value, err
}

// Reader reads the store as it was when the reader was made. Making one takes its
// time, so what reads many values makes one for all.
type Reader struct {
	store *Store
	txn   *badger.Txn
}

// Read lends f a reader.
func (s *Store) Read(f func(Reader) error) error {
	return s.db.View(func(txn *badger.Txn) error { return f(Reader{s, txn}) })
}

// get returns a value, or nil.
func (r Reader) get(key []byte) ([]byte, error) {
	item, err := r.txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	var value []byte
	if err == nil {
		value, err = item.ValueCopy(nil)
	}
	if err != nil {
		return nil, r.store.Check(readError(err))
	}
	return value, nil
}

// Asset returns what was last seen of an asset, or nil.
func (r Reader) Asset(scope string, k plugin.Key) (*Seen, error) {
	v, err := r.get(assetKey(scope, k))
	if err != nil || v == nil {
		return nil, err
	}
	last, err := decodeValue(v)
	return last, r.store.Check(err)
}
