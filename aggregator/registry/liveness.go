package registry

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// livenessInterval is how often the liveness of agents is saved: after a crash,
// a seen time may be that much too old.
const livenessInterval = 30 * time.Second

// Connection is what an agent says of itself when it connects.
type Connection struct {
	// Address is where the session comes from.
	Address  string `json:"address"`
	Hostname string `json:"hostname"`
	Version  string `json:"version"`
	Platform string `json:"platform"`
	// Collectors are those that run, by configured name.
	Collectors []string `json:"collectors,omitempty"`
	// Transport is what the session runs over: quic or tcp.
	Transport string `json:"transport,omitempty"`
}

// Liveness is when an agent was heard from, and what it said.
type Liveness struct {
	// Connected is set while the agent has at least one session.
	Connected bool `json:"-"`
	// SeenTime is when it was last heard from: zero if never. Of an agent that
	// is not connected it is since when it is silent.
	SeenTime time.Time `json:"seen_time"`
	// Connection is that of its newest session, or of its last.
	Connection
	// BacklogRecords wait in its spool, as it last said.
	BacklogRecords uint64 `json:"backlog_records"`
	// Clone is the last clone of it that was seen.
	Clone Clone `json:"clone,omitzero"`
}

// Clone is another process that came with the identity of an agent that was
// connected.
type Clone struct {
	Hostname string    `json:"hostname"`
	Address  string    `json:"address"`
	SeenTime time.Time `json:"seen_time"`
}

// liveness is kept in memory and saved now and then.
type liveness struct {
	store  *Store
	now    func() time.Time
	every  time.Duration
	logger *slog.Logger

	// saving is held while liveness is written, before mu.
	saving sync.Mutex
	mu     sync.Mutex
	agents map[string]*agentLiveness

	// soon asks for a save now.
	soon   chan struct{}
	cancel context.CancelFunc
	done   chan struct{}
}

type agentLiveness struct {
	Liveness
	// sessions are the open ones, the newest last.
	sessions []*Session
	// dirty is set while there is more to save than was saved.
	dirty bool
}

// Session is an open session of an agent.
type Session struct {
	all  *liveness
	of   *agentLiveness
	conn Connection
}

// AgentConnected notes that an agent opened a session. Close of the session must
// follow when it ends. An agent may have several for a while: it may reconnect
// before the end of its old one is noticed. The error is ErrNotFound or
// ErrAgentRevoked among others.
func (r *Registry) AgentConnected(ctx context.Context, id string, c Connection) (*Session, error) {
	l := r.liveness
	known, _, err := get[Agent](ctx, r.store, AgentPrefix, id)
	if err != nil {
		return nil, err
	}
	if known.Revoked() {
		return nil, ErrAgentRevoked
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.agents[id]
	if a == nil {
		a = &agentLiveness{}
		l.agents[id] = a
	}
	c.Collectors = slices.Clone(c.Collectors)
	s := &Session{all: l, of: a, conn: c}
	a.sessions = append(a.sessions, s)
	a.Connection = c
	a.seen(l.now())
	return s, nil
}

// Seen notes that the agent was heard from. It is cheap and does not wait for
// the disk.
func (s *Session) Seen() {
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	s.of.seen(s.all.now())
}

// Backlog notes that the agent was heard from, and how many records wait in its
// spool.
func (s *Session) Backlog(records uint64) {
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	s.of.BacklogRecords = records
	s.of.seen(s.all.now())
}

// AgentCloned notes that a clone of an agent was seen and held off.
func (r *Registry) AgentCloned(id string, c Clone) {
	l := r.liveness
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.agents[id]; a != nil {
		a.Clone = c
		a.dirty = true
	}
}

// Close notes that the session is over. It may be called more than once.
func (s *Session) Close() {
	l, a := s.all, s.of
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(a.sessions, s)
	if i < 0 {
		return
	}
	a.sessions = slices.Delete(a.sessions, i, i+1)
	a.dirty = true
	if n := len(a.sessions); n > 0 {
		a.Connection = a.sessions[n-1].conn
		return
	}
	// The agent is silent from now on: save that soon, together with others
	// that go at the same time.
	select {
	case l.soon <- struct{}{}:
	default:
	}
}

func (a *agentLiveness) seen(now time.Time) {
	if now.After(a.SeenTime) {
		a.SeenTime = now
	}
	a.dirty = true
}

func (a *agentLiveness) current() Liveness {
	l := a.Liveness
	l.Connected = len(a.sessions) > 0
	return l
}

// Liveness returns the liveness of an agent: the zero value if it was never
// heard from.
func (r *Registry) Liveness(id string) Liveness {
	r.liveness.mu.Lock()
	defer r.liveness.mu.Unlock()
	if a := r.liveness.agents[id]; a != nil {
		return a.current()
	}
	return Liveness{}
}

// AllLiveness returns the liveness of all agents that were ever heard from, by
// id.
func (r *Registry) AllLiveness() map[string]Liveness {
	r.liveness.mu.Lock()
	defer r.liveness.mu.Unlock()
	all := make(map[string]Liveness, len(r.liveness.agents))
	for id, a := range r.liveness.agents {
		all[id] = a.current()
	}
	return all
}

// forget removes what is known of when an agent was seen.
func (l *liveness) forget(id string) error {
	l.saving.Lock()
	defer l.saving.Unlock()
	l.mu.Lock()
	delete(l.agents, id)
	l.mu.Unlock()
	if err := l.store.enter(); err != nil {
		return err
	}
	defer l.store.leave()
	return l.store.db.Update(func(txn *badger.Txn) error { return txn.Delete(livenessKey(id)) })
}

func livenessKey(id string) []byte { return append([]byte{spaceLiveness}, id...) }

func loadLiveness(ctx context.Context, s *Store, o Options) (*liveness, error) {
	l := &liveness{
		store: s, now: o.now, every: o.flush, logger: o.Logger,
		agents: make(map[string]*agentLiveness),
		soon:   make(chan struct{}, 1), done: make(chan struct{}),
	}
	prefix := []byte{spaceLiveness}
	start := prefix
	for {
		items, err := s.scan(ctx, prefix, start, chunk)
		if err != nil {
			return nil, fmt.Errorf("reading when agents were seen: %w", err)
		}
		for _, item := range items {
			id := string(item.key[1:])
			known, err := decode[Liveness](id, item.value)
			if err != nil {
				l.logger.Error("when an agent was last seen cannot be read, it counts as never", "agent_id", id, "error", err)
				continue
			}
			l.agents[id] = &agentLiveness{Liveness: known}
		}
		if len(items) < chunk {
			return l, nil
		}
		start = append(items[len(items)-1].key, 0)
	}
}

// start begins to save in the background, until stop.
func (l *liveness) start() {
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	go func() {
		defer close(l.done)
		l.run(ctx)
	}()
}

func (l *liveness) run(ctx context.Context) {
	tick := time.NewTicker(l.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-l.soon:
		}
		if err := l.save(); err != nil {
			l.logger.Error("when agents were last seen cannot be saved", "error", err)
		}
	}
}

// stop saves what is left to save.
func (l *liveness) stop() error {
	l.cancel()
	<-l.done
	return l.save()
}

// save writes what changed, in as many transactions as it takes.
func (l *liveness) save() error {
	l.saving.Lock()
	defer l.saving.Unlock()
	changed := l.takeDirty()
	if len(changed) == 0 {
		return nil
	}
	if err := l.write(changed); err != nil {
		l.markDirty(changed)
		return fmt.Errorf("saving when %d agents were last seen: %w", len(changed), err)
	}
	return nil
}

func (l *liveness) takeDirty() map[string]Liveness {
	l.mu.Lock()
	defer l.mu.Unlock()
	changed := make(map[string]Liveness)
	for id, a := range l.agents {
		if a.dirty {
			changed[id] = a.Liveness
			a.dirty = false
		}
	}
	return changed
}

func (l *liveness) markDirty(ids map[string]Liveness) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range ids {
		if a := l.agents[id]; a != nil {
			a.dirty = true
		}
	}
}

func (l *liveness) write(changed map[string]Liveness) error {
	if err := l.store.enter(); err != nil {
		return err
	}
	defer l.store.leave()
	if err := l.store.checkSpace(); err != nil {
		return err
	}
	// A write batch splits what is too much for one transaction.
	batch := l.store.db.NewWriteBatch()
	defer batch.Cancel()
	for id, v := range changed {
		value, err := encode(v)
		if err != nil {
			return err
		}
		if err := batch.Set(livenessKey(id), value); err != nil {
			return err
		}
	}
	return batch.Flush()
}
