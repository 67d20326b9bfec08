// Package ingest takes batches of many agents and commits them to the warehouse
// in few large inserts, each record exactly once.
//
// Batches that wait are gathered into a group. The group is frozen: written, as
// it is, to the commit log and synced. Then it is inserted, then the watermarks
// of its spools are moved, then it leaves the commit log, and then its batches
// are acknowledged. Groups are inserted one after the other; the next one may be
// frozen meanwhile. Only a batch that is larger than usual, which is a group of its own,
// is inserted in pieces, with other groups between them. If anything goes wrong on the way, here or with the engine,
// nobody knows how much of the group is in the warehouse; but what belongs into
// it is known for certain, and so it is settled: found out, and completed
// (warehouse.Settle). A group that a dead aggregator left in the commit log is
// settled before anything else is taken.
//
// What an agent says of the size of its batches is checked before anything is stored
// on its word, and what it may cause is bounded (conduct). A group that the warehouse
// refuses for good is split until what it refuses is alone, which becomes a dead
// letter (poison.go). Where this machine has no room or no descriptors left, nothing
// is taken until it has; nothing is lost by it (Err).
//
// A batch at or below its spool's watermark has been committed before and is
// only acknowledged again. Watermarks are kept by agent and spool, so no agent
// can touch another's.
package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	ingestv1 "github.com/reeve-cloud/reeve/aggregator/ingest/v1"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/retry"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

const (
	// A group is closed when it has this many bytes of records, or this many
	// records.
	groupBytes   = 16 << 20
	groupRecords = 50_000
	// The engine's time goes by groups, and the merges of their parts, not by rows. So
	// there is linger at least between the beginnings of two groups, and while little
	// comes quietLinger: less than a second, in which a change is to be readable.
	linger, quietLinger = 200 * time.Millisecond, 700 * time.Millisecond
	// What waits is more than little from so many bytes or records on.
	quietBytes, quietRecords = 1 << 20, 1_000

	firstRetry = 250 * time.Millisecond
	lastRetry  = 10 * time.Second
)

// Warehouse is where groups go.
type Warehouse interface {
	Write(context.Context, *warehouse.Group) error
	Settle(context.Context, *warehouse.Group) error
}

// Watermarks remember what is committed.
type Watermarks interface {
	Watermark(spool string, class wirev1.Class) uint64
	SetWatermarks(context.Context, map[registry.SpoolClass]uint64) error
}

// Options configure an Ingest.
type Options struct {
	Warehouse  Warehouse
	Watermarks Watermarks
	// Dir is where the commit log lies. It is made if it does not exist.
	Dir    string
	Logger *slog.Logger
	// Metrics may be nil.
	Metrics prometheus.Registerer
	// Fences says what is refused of an agent. It may be nil.
	Fences func(identity.Agent) []*ingestv1.Fence
	// Committed is called with each group after it is durable. It must not
	// block. It may be nil.
	Committed func(*warehouse.Group)
	// Progress is told how far the warehouse is. Nil is one of its own, of an empty
	// warehouse.
	Progress *Progress
}

// Ingest commits batches.
type Ingest struct {
	o       Options
	log     *commitLog
	metrics *metrics
	queue   *queue

	// checks is held while a batch is decompressed to look at it, and largeChecks in its
	// place for a large one: one at a time, so that usual ones do not wait for them.
	checks, largeChecks chan struct{}
	// inserts is held while a group, or a piece of one, is inserted. Who has waited for
	// longest is next.
	inserts chan struct{}
	// recovered is closed when what an earlier aggregator left is settled.
	recovered chan struct{}
	trouble   atomic.Pointer[trouble]

	mu       sync.Mutex
	spools   map[string]*spoolState
	conducts map[string]*conduct
}

// New returns an Ingest. Run must follow.
func New(o Options) (*Ingest, error) {
	log, err := openCommitLog(o.Dir)
	if err != nil {
		return nil, err
	}
	if o.Progress == nil {
		o.Progress = NewProgress(time.Time{})
	}
	return &Ingest{
		o: o, log: log, metrics: newMetrics(o.Metrics),
		queue: newQueue(), checks: make(chan struct{}, runtime.GOMAXPROCS(0)), largeChecks: make(chan struct{}, 1),
		inserts: make(chan struct{}, 1), recovered: make(chan struct{}),
		spools: make(map[string]*spoolState), conducts: make(map[string]*conduct),
	}, nil
}

// spoolKey names a spool among those of all agents. The name is made of both, so
// that an agent that claims another's spool gets one of its own.
func spoolKey(agentID, spoolID string) string {
	sum := sha256.Sum256([]byte(agentID + "/" + spoolID))
	return hex.EncodeToString(sum[:16])
}

// trouble is why nothing is committed at present.
type trouble struct {
	err   error
	since time.Time
}

// Err says why nothing is committed at present, or returns nil. Agents are held up
// meanwhile.
func (i *Ingest) Err() error {
	if t := i.trouble.Load(); t != nil {
		return fmt.Errorf("nothing is taken of agents since %s: %w", t.since.UTC().Format(time.RFC3339), t.err)
	}
	return nil
}

func (i *Ingest) troubled(err error) {
	t := &trouble{err: err, since: time.Now()}
	if before := i.trouble.Load(); before != nil {
		t.since = before.since
	}
	i.trouble.Store(t)
	i.metrics.paused.Set(1)
}

func (i *Ingest) untroubled() {
	if i.trouble.Swap(nil) != nil {
		i.metrics.paused.Set(0)
		i.o.Logger.Info("batches of agents are taken again")
	}
}

// persist does something that needs this machine's disk until it succeeds or ctx ends.
func (i *Ingest) persist(ctx context.Context, do func() error) error {
	pause := retry.BackOff(firstRetry, lastRetry)
	for {
		err := do()
		if err == nil {
			i.untroubled()
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		wait := pause.NextBackOff()
		i.troubled(err)
		i.o.Logger.Error("nothing is taken of agents until this works again; is the disk full, or are there too many open files?",
			"error", err, "retry_in", wait.Round(time.Millisecond))
		if err := retry.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// Run settles what an earlier aggregator left, and then commits what is submitted
// until ctx ends. While one group is inserted, the next is made ready if there is
// enough for a full one; otherwise more is waited for.
func (i *Ingest) Run(ctx context.Context) error {
	if err := i.recover(ctx); err != nil {
		return err
	}
	close(i.recovered)
	i.o.Progress.Settled()
	ready, large := make(chan *frozen), make(chan *frozen, 1)
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { return i.freezeAll(ctx, ready, large) })
	work.Go(func() error {
		for {
			select {
			case f := <-large:
				if err := i.commitLarge(ctx, f); err != nil {
					return err
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	work.Go(func() error {
		for {
			i.queue.hungry(true)
			select {
			case f := <-ready:
				i.queue.hungry(false)
				if err := i.commit(ctx, f); err != nil {
					return err
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	return work.Wait()
}

// frozen is a group that lies in the commit log and is not in the warehouse yet. One of a
// large batch has no rows: they are made piece by piece.
type frozen struct {
	began   time.Time
	batches []*pending
	name    string
	stored  *ingestv1.Group
	group   *warehouse.Group
	marks   map[registry.SpoolClass]uint64
	// versions says that versions of assets were inserted.
	versions bool
}

func (i *Ingest) freezeAll(ctx context.Context, ready, large chan<- *frozen) error {
	var last time.Time
	for {
		batches, err := i.queue.take(ctx, last)
		if err != nil {
			return err
		}
		last = time.Now()
		f, err := i.freeze(ctx, batches)
		if err != nil {
			return err
		}
		to := ready
		if f.group == nil {
			to = large
		}
		select {
		case to <- f:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (i *Ingest) freeze(ctx context.Context, batches []*pending) (*frozen, error) {
	f := &frozen{began: time.Now(), batches: batches}
	id := uuid.New()
	f.stored = freeze(id, i.o.Progress.Begin(f.began), batches, i.o.Fences)
	of := make(map[string]int) // batches by agent
	for n, p := range batches {
		of[p.agent.ID]++
		f.stored.Entries[n].Brief = of[p.agent.ID] > detailed || i.conductOf(p.agent.ID).brief()
	}
	if err := i.persist(ctx, func() (err error) {
		f.name, err = i.log.write(id, f.stored)
		return err
	}); err != nil {
		return nil, err
	}
	var err error
	if batches[0].room.large {
		f.marks, err = checkStored(f.stored)
		return f, err
	}
	if f.group, f.marks, err = thaw(f.stored); err != nil {
		return nil, err
	}
	// Now, for the next group may be frozen before this one is committed.
	i.letter(f.group)
	return f, nil
}

// letter counts the dead letters of a group with their agents.
func (i *Ingest) letter(g *warehouse.Group) {
	letters := make(map[string]int)
	for _, d := range g.DeadLetters {
		letters[d.AgentID]++
	}
	for agent, n := range letters {
		i.conductOf(agent).lettered(n)
	}
}

// commit makes a group durable and acknowledges it.
func (i *Ingest) commit(ctx context.Context, f *frozen) error {
	took, err := i.insert(ctx, f, whole(f.stored), f.group)
	if err != nil {
		return err
	}
	i.queue.took(f.batches, took)
	return i.conclude(ctx, f)
}

// rest is how many times as long as a piece of a large batch took the next one waits,
// while others send as well: so they seldom find a piece in their way.
const rest = 3

// commitLarge is commit for a group of a large batch. Other groups are inserted between
// its pieces, but none that has what its agent sent behind it.
func (i *Ingest) commitLarge(ctx context.Context, f *frozen) error {
	if err := i.inPieces(f.stored, whole(f.stored), func(p part, g *warehouse.Group) error {
		i.letter(g)
		took, err := i.insert(ctx, f, p, g)
		if err != nil || !i.queue.company() {
			return err
		}
		return retry.Sleep(ctx, rest*took)
	}); err != nil {
		return err
	}
	return i.conclude(ctx, f)
}

// insert brings a part of a group into the warehouse, says so, and returns how long that
// took once it was its turn.
func (i *Ingest) insert(ctx context.Context, f *frozen, p part, g *warehouse.Group) (took time.Duration, err error) {
	select {
	case i.inserts <- struct{}{}:
		defer func() { <-i.inserts }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	began := time.Now()
	groups := []*warehouse.Group{g}
	if err := i.o.Warehouse.Write(ctx, g); err != nil {
		if groups, err = i.settle(ctx, f.stored, p, g, err); err != nil {
			return 0, err
		}
	}
	for _, g := range groups {
		f.versions = f.versions || len(g.Versions) > 0
		i.metrics.committed(g)
		if i.o.Committed != nil {
			i.o.Committed(g)
		}
		i.tell(g)
	}
	return time.Since(began), nil
}

// conclude acknowledges a group that is in the warehouse.
func (i *Ingest) conclude(ctx context.Context, f *frozen) error {
	i.o.Progress.Done(f.stored.GetReceivedAt(), f.versions)
	if err := i.finish(ctx, f.name, f.marks); err != nil {
		return err
	}
	i.metrics.duration.Observe(time.Since(f.began).Seconds())
	i.acknowledge(f.batches)
	rooms := make([]*room, len(f.batches))
	for n, p := range f.batches {
		rooms[n] = p.room
	}
	i.queue.release(rooms...)
	return nil
}

// finish notes that a group is durable.
func (i *Ingest) finish(ctx context.Context, name string, marks map[registry.SpoolClass]uint64) error {
	return i.persist(ctx, func() error {
		if err := i.o.Watermarks.SetWatermarks(ctx, marks); err != nil {
			return err
		}
		return i.log.remove(name)
	})
}

// tell logs what of a group was not as it should be: a line for each agent and kind,
// now and then.
func (i *Ingest) tell(g *warehouse.Group) {
	for _, p := range g.Gaps {
		if unsaid, ok := i.conductOf(p.AgentID).mayLog("gap"); ok {
			i.o.Logger.Warn("an agent gave up records", "site", p.Site, "agent_id", p.AgentID, "spool_id", p.SpoolID, "class", p.Class, "reason",
				p.Reason,
				"first", p.FirstSeq, "last", p.LastSeq, "versions", p.Versions, "asset_types", p.AssetTypes, "events", p.Events, "usages", p.Usages,
				"unknown", p.Unknown, "from", p.Earliest, "to", p.Latest, "not_told", unsaid)
		}
	}
	for _, d := range g.DeadLetters {
		if unsaid, ok := i.conductOf(d.AgentID).mayLog("dead letter"); ok {
			i.o.Logger.Warn("a record could not be taken and lies in dead_letter", "site", d.Site, "agent_id", d.AgentID,
				"spool_id", d.SpoolID, "class", d.Class, "seq", d.Seq, "records", d.Records, "reason", d.Reason, "not_told", unsaid)
		}
	}
}
