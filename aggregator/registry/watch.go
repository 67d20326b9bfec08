package registry

import (
	"context"
	"errors"
	"strings"
	"sync"
)

var (
	// ErrSlowWatcher means that a watcher did not take changes as fast as they
	// came: list again, and watch from there.
	ErrSlowWatcher = errors.New("the watcher fell behind")
	// ErrCompacted means that changes since a revision are no longer known:
	// list again, and watch from there.
	ErrCompacted = errors.New("changes since that revision are no longer known")
	// ErrWatcherClosed means that the watcher's own Close was called.
	ErrWatcherClosed = errors.New("the watcher was closed")
)

const (
	// watchBuffer is how many transactions a watcher may be behind.
	watchBuffer = 256
	// So much is kept for watches that begin at an older revision.
	historyTransactions = 1024
	historyBytes        = 4 << 20
)

// Event is one change of a key. Do not modify Value.
type Event struct {
	Key string
	// Value is what is stored now; nil where the key was deleted.
	Value    []byte
	Revision int64
}

// Watcher hands out the changes of keys with a prefix, in their order.
type Watcher struct {
	prefix string
	from   *watchers
	events chan []Event
	// err says why events was closed.
	err error
}

// watchers are a store's watchers, and the changes of late.
type watchers struct {
	mu      sync.Mutex
	all     map[*Watcher]struct{}
	history [][]Event
	bytes   int
	// forgotten is the newest revision that is not in history.
	forgotten int64
	closed    error
}

// Watch begins to watch the keys that begin with prefix for changes after the
// revision. The error is ErrCompacted if it is too old: the changes since the
// store was opened are kept, but no more than the last thousand or so. Close
// must follow.
func (s *Store) Watch(prefix string, after int64) (*Watcher, error) {
	ws := &s.watch
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.closed != nil {
		return nil, ws.closed
	}
	if after < ws.forgotten {
		return nil, ErrCompacted
	}
	var missed [][]Event
	for _, events := range ws.history {
		if events[0].Revision <= after {
			continue
		}
		if events = withPrefix(events, prefix); len(events) > 0 {
			missed = append(missed, events)
		}
	}
	w := &Watcher{prefix: prefix, from: ws, events: make(chan []Event, len(missed)+watchBuffer)}
	for _, events := range missed {
		w.events <- events
	}
	if ws.all == nil {
		ws.all = make(map[*Watcher]struct{})
	}
	ws.all[w] = struct{}{}
	return w, nil
}

// Next waits for the next transaction with changes and returns them; they have
// one revision. The error is ErrSlowWatcher, ErrClosed, ErrWatcherClosed or that
// of ctx.
func (w *Watcher) Next(ctx context.Context) ([]Event, error) {
	select {
	case events, ok := <-w.events:
		if !ok {
			return nil, w.err
		}
		return events, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close ends the watch.
func (w *Watcher) Close() {
	w.from.mu.Lock()
	defer w.from.mu.Unlock()
	w.from.end(w, ErrWatcherClosed)
}

// end is called with mu held.
func (ws *watchers) end(w *Watcher, err error) {
	if _, ok := ws.all[w]; ok {
		delete(ws.all, w)
		w.err = err
		close(w.events)
	}
}

func (ws *watchers) closeAll(err error) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.closed = err
	for w := range ws.all {
		ws.end(w, err)
	}
}

// publish hands the events of one transaction to all who watch. It never waits.
func (ws *watchers) publish(events []Event) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.history = append(ws.history, events)
	ws.bytes += size(events)
	for len(ws.history) > historyTransactions || ws.bytes > historyBytes {
		ws.bytes -= size(ws.history[0])
		ws.forgotten = ws.history[0][0].Revision
		ws.history[0] = nil
		ws.history = ws.history[1:]
	}
	for w := range ws.all {
		theirs := withPrefix(events, w.prefix)
		if len(theirs) == 0 {
			continue
		}
		select {
		case w.events <- theirs:
		default:
			ws.end(w, ErrSlowWatcher)
		}
	}
}

func size(events []Event) (n int) {
	for _, e := range events {
		n += len(e.Key) + len(e.Value) + 64
	}
	return n
}

func withPrefix(events []Event, prefix string) []Event {
	var found []Event
	for _, e := range events {
		if strings.HasPrefix(e.Key, prefix) {
			found = append(found, e)
		}
	}
	return found
}
