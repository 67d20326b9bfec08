// Package registry keeps the small objects that people and the system edit:
// sites, agents, join tokens, API tokens, layouts, saved queries. It also keeps how far each spool is
// durable (watermarks) and when each agent was last heard from (liveness).
//
// Objects lie in a [Store]: keys with revisions, compare-and-swap and watch,
// with the semantics of etcd so that etcd can take the store's place when there
// are several aggregators. Today it is a badger database in one directory. Every
// change of an object is audited in the transaction that makes it. Values are
// JSON objects with the version of their format in the field "v".
//
// Watermarks and liveness change many times a second and are the system's own:
// they lie beside the objects, without revision, watch or audit.
//
// Secrets are kept as hashes only, and the audit trail says which object was
// changed but not what is in it.
package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
)

var (
	// ErrNotFound means that there is no such object.
	ErrNotFound = errors.New("not found")
	// ErrConflict means that an object is not at the revision that the change
	// was made for: read it again, and decide again.
	ErrConflict = errors.New("changed in the meantime")
	// ErrCorrupt means that what is stored under a key cannot be read. Other
	// keys are not affected.
	ErrCorrupt = errors.New("stored value is corrupt")
	// ErrDiskFull means that too little disk space is left to write safely.
	// Nothing was written; reading goes on.
	ErrDiskFull = errors.New("too little disk space is left")
	// ErrClosed means that the registry was closed.
	ErrClosed = errors.New("registry is closed")
)

// Actor is who makes a change.
type Actor struct {
	// Name has the form kind:name: "user:admin", "agent:ID", "join-token:ID".
	Name string
	// Address is where the request came from, if it came from elsewhere.
	Address string
}

// System is the actor of changes that nobody asked for.
var System = Actor{Name: "system"}

// Options configure a registry.
type Options struct {
	// Dir is made if it does not exist. Only one process may have it open.
	Dir string
	// Logger may be nil.
	Logger *slog.Logger

	// For tests.
	now       func() time.Time
	flush     time.Duration
	freeSpace func(dir string) (uint64, error)
}

// Registry is an open registry. Its methods may be called concurrently.
type Registry struct {
	store      *Store
	watermarks *watermarks
	liveness   *liveness
	// tokens is held by who deletes API tokens.
	tokens sync.Mutex
	// views is held by who changes layouts or saved queries.
	views sync.Mutex

	close    sync.Once
	closeErr error
}

// Exists reports whether there is a registry in dir. It makes nothing.
func Exists(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for a registry: %w", err)
	}
	return true, nil
}

// Open opens or makes the registry in o.Dir.
func Open(o Options) (*Registry, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.now == nil {
		o.now = time.Now
	}
	if o.flush == 0 {
		o.flush = livenessInterval
	}
	if o.freeSpace == nil {
		o.freeSpace = freeSpace
	}
	r, err := open(o)
	if err != nil {
		return nil, fmt.Errorf("opening the registry in %s: %w", o.Dir, err)
	}
	return r, nil
}

func open(o Options) (_ *Registry, err error) {
	store, err := openStore(o)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, store.close())
		}
	}()
	r := &Registry{store: store}
	if r.watermarks, err = loadWatermarks(store, o.Logger); err != nil {
		return nil, err
	}
	if r.liveness, err = loadLiveness(context.Background(), store, o); err != nil {
		return nil, err
	}
	r.liveness.start()
	return r, nil
}

// Store returns the store below, to watch it.
func (r *Registry) Store() *Store { return r.store }

// Close saves when agents were last seen and closes the registry. It waits for
// calls that are under way, and ends watches.
func (r *Registry) Close() error {
	r.close.Do(func() {
		err := r.liveness.stop()
		if err = errors.Join(err, r.store.close()); err != nil {
			r.closeErr = fmt.Errorf("closing the registry: %w", err)
		}
	})
	return r.closeErr
}
