package lastseen

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/reeve-cloud/reeve/agent/collect/untaken"
	"github.com/reeve-cloud/reeve/agent/spool"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// Scope is how the store stands to a scope.
type Scope struct {
	// Epoch is that with which the agent was granted the scope; zero if it never was.
	Epoch uint64
	// Completed is when a listing of the scope was completed last, with nothing lost
	// since the first: what is not known is not there. Zero means that the store may
	// know only some of it, as a new one does.
	Completed time.Time
}

// scopeFormat is what a stored Scope begins with.
const scopeFormat = 1

func scopeKey(scope string) []byte { return append([]byte{statePrefix}, scope...) }

func (s Scope) encode() []byte {
	b := binary.BigEndian.AppendUint64([]byte{scopeFormat}, s.Epoch)
	var at int64
	if !s.Completed.IsZero() {
		at = s.Completed.UnixMilli()
	}
	return binary.BigEndian.AppendUint64(b, uint64(at))
}

func decodeScope(b []byte) (s Scope, err error) {
	if len(b) != 17 || b[0] != scopeFormat {
		return s, fmt.Errorf("%w: a scope in a format that this version does not know", ErrDamaged)
	}
	s.Epoch = binary.BigEndian.Uint64(b[1:])
	if at := int64(binary.BigEndian.Uint64(b[9:])); at != 0 {
		s.Completed = time.UnixMilli(at).UTC()
	}
	return s, nil
}

// Scope returns how the store stands to a scope.
func (s *Store) Scope(scope string) (Scope, error) {
	v, err := s.get(scopeKey(scope))
	if err != nil {
		return Scope{}, err
	}
	if v != nil {
		state, err := decodeScope(v)
		return state, s.Check(err)
	}
	// Stores of earlier versions did not say it. A checkpoint came with a listing that
	// was complete, or behind one.
	c, err := s.Checkpoint(scope)
	if err != nil || c == "" {
		return Scope{}, err
	}
	return Scope{Completed: time.UnixMilli(1).UTC()}, nil
}

// SetScope takes note of how the store stands to a scope.
func (s *Store) SetScope(scope string, state Scope) error {
	if err := spool.CheckFree(s.db.Opts().Dir, s.MinFree); err != nil {
		return fmt.Errorf("noting the state of scope %s: %w", scope, err)
	}
	if err := s.db.Update(func(txn *badger.Txn) error { return txn.Set(scopeKey(scope), state.encode()) }); err != nil {
		return fmt.Errorf("noting the state of scope %s: %w", scope, err)
	}
	return nil
}

// SetUntaken takes note of what could not be taken of a scope.
func (s *Store) SetUntaken(scope string, t untaken.Tally) error {
	if err := spool.CheckFree(s.db.Opts().Dir, s.MinFree); err != nil {
		return err
	}
	return s.db.Update(func(txn *badger.Txn) error {
		if t.Count == 0 {
			return txn.Delete(untakenKey(scope))
		}
		value, err := json.Marshal(t)
		if err != nil {
			return err
		}
		return txn.Set(untakenKey(scope), value)
	})
}

// Untaken returns what could not be taken of a scope.
func (s *Store) Untaken(scope string) (t untaken.Tally, err error) {
	v, err := s.get(untakenKey(scope))
	if err != nil || v == nil {
		return t, err
	}
	if json.Unmarshal(v, &t) != nil {
		return untaken.Tally{}, nil // the next listing says it anew
	}
	return t, nil
}

func untakenKey(scope string) []byte { return append([]byte{untakenPrefix}, scope...) }

// ForgetScope drops all that is known of a scope.
func (s *Store) ForgetScope(scope string) error { return s.Seed(scope, Scope{}, nil) }

// Seed replaces all that is known of a scope by other versions, with no checkpoint.
// next returns more of them until there are none. The new state holds when all is
// stored; until then nothing is known of the scope. Nobody may collect it meanwhile.
func (s *Store) Seed(scope string, state Scope, next func() ([]*wirev1.AssetVersion, error)) error {
	if err := s.seed(scope, state, next); err != nil {
		return fmt.Errorf("seeding scope %s: %w", scope, err)
	}
	return nil
}

func (s *Store) seed(scope string, state Scope, next func() ([]*wirev1.AssetVersion, error)) error {
	if err := s.write(func(w *writer) error {
		w.do(func(txn *badger.Txn) error { return txn.Set(scopeKey(scope), Scope{}.encode()) })
		w.do(func(txn *badger.Txn) error { return txn.Delete(append([]byte{checkpointPrefix}, scope...)) })
		w.do(func(txn *badger.Txn) error { return txn.Delete(untakenKey(scope)) })
		return s.scan(scopePrefix(scope), func(item *badger.Item) error {
			key := item.KeyCopy(nil)
			w.do(func(txn *badger.Txn) error { return txn.Delete(key) })
			return nil
		})
	}); err != nil {
		return err
	}
	for next != nil {
		versions, err := next()
		if err != nil {
			return err
		}
		if len(versions) == 0 {
			break
		}
		if err := s.write(func(w *writer) error {
			for _, a := range versions {
				if a.GetScope() != scope {
					return fmt.Errorf("%s is of scope %s", a.GetUid(), a.GetScope())
				}
				value, err := encodeValue(a)
				if err != nil {
					return err
				}
				w.do(func(txn *badger.Txn) error {
					return txn.Set(assetKey(scope, plugin.Key{Type: a.GetType(), UID: a.GetUid()}), value)
				})
			}
			return nil
		}); err != nil {
			return err
		}
	}
	if state == (Scope{}) {
		return s.write(func(w *writer) error {
			w.do(func(txn *badger.Txn) error { return txn.Delete(scopeKey(scope)) })
			return nil
		})
	}
	return s.SetScope(scope, state)
}

// write has writes done that are not of the spool.
func (s *Store) write(fill func(*writer) error) error {
	if err := spool.CheckFree(s.db.Opts().Dir, s.MinFree); err != nil {
		return err
	}
	s.applying.Lock()
	defer s.applying.Unlock()
	w := writer{db: s.db, txn: s.db.NewTransaction(true)}
	defer func() { w.txn.Discard() }()
	if err := fill(&w); err != nil {
		return err
	}
	return w.commit()
}

// Rename gives a scope another name, unless something is known under that already.
// Versions stay what they are.
func (s *Store) Rename(from, to string) error {
	there := false
	if err := s.Keys(to, func(plugin.Key) error { there = true; return errEnough }); err != nil && !errors.Is(err, errEnough) {
		return err
	}
	if there {
		return nil
	}
	state, err := s.Scope(from)
	if err != nil {
		return err
	}
	checkpoint, err := s.Checkpoint(from)
	if err != nil {
		return err
	}
	err = s.write(func(w *writer) error {
		known := false
		if err := s.ScopeAssets(from, func(a *wirev1.AssetVersion) error {
			known = true
			k := plugin.Key{Type: a.GetType(), UID: a.GetUid()}
			a.Scope = to
			value, err := encodeValue(a)
			if err != nil {
				return err
			}
			w.do(func(txn *badger.Txn) error { return txn.Set(assetKey(to, k), value) })
			w.do(func(txn *badger.Txn) error { return txn.Delete(assetKey(from, k)) })
			return nil
		}); err != nil || !known {
			return err
		}
		w.do(func(txn *badger.Txn) error { return txn.Set(scopeKey(to), state.encode()) })
		w.do(func(txn *badger.Txn) error {
			return txn.Set(append([]byte{checkpointPrefix}, to...), []byte(checkpoint))
		})
		w.do(func(txn *badger.Txn) error { return txn.Delete(scopeKey(from)) })
		w.do(func(txn *badger.Txn) error { return txn.Delete(append([]byte{checkpointPrefix}, from...)) })
		return nil
	})
	if err != nil {
		return fmt.Errorf("renaming scope %s to %s: %w", from, to, err)
	}
	return nil
}

var errEnough = errors.New("enough")

// Counts returns how many assets are known of each scope.
func (s *Store) Counts() (map[string]int, error) {
	counts := make(map[string]int)
	err := s.scan([]byte{assetPrefix}, func(item *badger.Item) error {
		key := item.Key()[1:]
		counts[string(key[:bytes.IndexByte(key, 0)])]++
		return nil
	})
	return counts, err
}

// Hashes calls visit with the key and the hash of every asset of a scope, in the order
// of types and uids, beginning with from or behind it.
func (s *Store) Hashes(scope string, from plugin.Key, visit func(k plugin.Key, hash []byte) error) error {
	return s.scanFrom(scopePrefix(scope), assetKey(scope, from), func(item *badger.Item) error {
		_, k := splitAssetKey(item.Key())
		return itemValue(item, func(v []byte) error {
			hash, err := hashOf(v)
			if err != nil {
				return err
			}
			return visit(k, hash)
		})
	})
}

// ComeDown brings all stamps that are later than a moment down to it: the clock that
// they are of was wrong.
func (s *Store) ComeDown(to hlc.Stamp) error {
	var late []*wirev1.AssetVersion
	if err := s.Assets(func(a *wirev1.AssetVersion) error {
		if a.GetVersion() > uint64(to) {
			late = append(late, &wirev1.AssetVersion{Type: a.GetType(), Uid: a.GetUid(), Scope: a.GetScope()})
		}
		return nil
	}); err != nil {
		return err
	}
	for _, l := range late {
		k := plugin.Key{Type: l.GetType(), UID: l.GetUid()}
		if err := s.write(func(w *writer) error {
			last, err := s.Asset(l.GetScope(), k)
			if err != nil || last == nil {
				return err
			}
			a, err := last.Version()
			if err != nil || a.GetVersion() <= uint64(to) {
				return s.Check(err)
			}
			a.Version = uint64(to)
			value, err := encodeValue(a)
			if err != nil {
				return err
			}
			w.do(func(txn *badger.Txn) error { return txn.Set(assetKey(a.GetScope(), k), value) })
			return nil
		}); err != nil {
			return fmt.Errorf("bringing stamps down: %w", err)
		}
	}
	err := s.write(func(w *writer) error {
		// The aggregator has types, too, by when they came: their stamps would always be
		// newer than its own, and pull the clock up when they are sent again.
		if err := s.Types(func(t *wirev1.AssetType) error {
			if t.GetVersion() <= uint64(to) {
				return nil
			}
			t.Version = uint64(to)
			value, err := encodeType(t)
			w.do(func(txn *badger.Txn) error { return txn.Set(typeKey(t.GetName()), value) })
			return err
		}); err != nil {
			return err
		}
		w.do(func(txn *badger.Txn) error { return txn.Set(clockKey, binary.BigEndian.AppendUint64(nil, uint64(to))) })
		return nil
	})
	if err == nil {
		s.applying.Lock()
		s.newest = uint64(to)
		s.applying.Unlock()
	}
	return err
}
