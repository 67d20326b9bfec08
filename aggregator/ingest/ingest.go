// Package ingest takes batches of many agents and commits them to the warehouse
// in few large inserts, each record exactly once.
//
// Batches that wait are gathered into a group. The group is frozen: written, as
// it is, to the commit log and synced. Then it is inserted, then the watermarks
// of its spools are moved, then it leaves the commit log, and then its batches
// are acknowledged. Groups are inserted one after the other; the next one may be
// frozen meanwhile. If anything goes wrong on the way, here or with the engine,
// nobody knows how much of the group is in the warehouse; but what belongs into
// it is known for certain, and so it is settled: found out, and completed
// (warehouse.Settle). A group that a dead aggregator left in the commit log is
// settled before anything else is taken.
//
// A batch at or below its spool's watermark has been committed before and is
// only acknowledged again. Watermarks are kept by agent and spool, so no agent
// can touch another's.
package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/retry"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

const (
	// A group is closed when it has this many bytes of records, or this many
	// records.
	groupBytes   = 16 << 20
	groupRecords = 50_000
	// linger is the least time between the ends of two groups, so that a
	// trickle of changes does not make a part in the warehouse for each.
	linger = 200 * time.Millisecond

	firstRetry = 250 * time.Millisecond
	lastRetry  = 10 * time.Second

	// patience is for how long room is kept for a batch that has not come yet.
	patience = time.Second
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
	// Committed is called with each group after it is durable. It must not
	// block. It may be nil.
	Committed func(*warehouse.Group)
}

// Ingest commits batches.
type Ingest struct {
	o       Options
	log     *commitLog
	metrics *metrics
	queue   *queue

	mu     sync.Mutex
	spools map[string]*spoolState
}

// pending is a batch that waits to be committed.
type pending struct {
	agent identity.Agent
	batch *wirev1.Batch // without its records
	data  []byte
	room  *room // as large as it is when it is decompressed
	spool *spoolState
}

// spoolState is what is known of one spool.
type spoolState struct {
	// mu is held while a batch is accepted and queued: two sessions of one
	// agent, a dying one and its successor, must not overtake each other.
	mu sync.Mutex
	// accepted is the last record taken into the queue, by class; durable the
	// last one committed.
	accepted, durable map[wirev1.Class]uint64
	inlets            map[*Inlet]struct{}
}

// New returns an Ingest. Recover and Run must follow.
func New(o Options) (*Ingest, error) {
	log, err := openCommitLog(o.Dir)
	if err != nil {
		return nil, err
	}
	return &Ingest{
		o: o, log: log, metrics: newMetrics(o.Metrics),
		queue:  newQueue(),
		spools: make(map[string]*spoolState),
	}, nil
}

// spoolKey names a spool among those of all agents. The name is made of both, so
// that an agent that claims another's spool gets one of its own.
func spoolKey(agentID, spoolID string) string {
	sum := sha256.Sum256([]byte(agentID + "/" + spoolID))
	return hex.EncodeToString(sum[:16])
}

// ErrProtocol means that an agent broke the rules. Its session must end.
var ErrProtocol = errors.New("protocol violation")

// Inlet is where one session puts the batches of one spool.
type Inlet struct {
	ingest *Ingest
	agent  identity.Agent
	spool  string
	state  *spoolState
	acks   chan struct{}
}

// Open returns an inlet for a spool of an agent. Close must follow.
func (i *Ingest) Open(agent identity.Agent, spoolID string) *Inlet {
	key := spoolKey(agent.ID, spoolID)
	i.mu.Lock()
	defer i.mu.Unlock()
	s := i.spools[key]
	if s == nil {
		s = &spoolState{
			accepted: make(map[wirev1.Class]uint64), durable: make(map[wirev1.Class]uint64),
			inlets: make(map[*Inlet]struct{}),
		}
		for class := range wirev1.Class_name {
			c := wirev1.Class(class)
			s.durable[c] = i.o.Watermarks.Watermark(key, c)
			s.accepted[c] = s.durable[c]
		}
		i.spools[key] = s
	}
	in := &Inlet{ingest: i, agent: agent, spool: spoolID, state: s, acks: make(chan struct{}, 1)}
	s.mu.Lock()
	s.inlets[in] = struct{}{}
	s.mu.Unlock()
	return in
}

// Durable returns the last committed record of each class that has any.
func (in *Inlet) Durable() []*wirev1.Watermark {
	in.state.mu.Lock()
	defer in.state.mu.Unlock()
	var list []*wirev1.Watermark
	for class, seq := range in.state.durable {
		if seq > 0 {
			list = append(list, &wirev1.Watermark{Class: class, Seq: seq})
		}
	}
	return list
}

// Next is the number that the next record of a class has, if the spool is
// complete.
func (in *Inlet) Next(class wirev1.Class) uint64 {
	in.state.mu.Lock()
	defer in.state.mu.Unlock()
	return in.state.accepted[class] + 1
}

// Acks is poked when Durable has grown, or a batch came that was durable before.
func (in *Inlet) Acks() <-chan struct{} { return in.acks }

func (in *Inlet) poke() {
	select {
	case in.acks <- struct{}{}:
	default:
	}
}

// expansion is by which factor batches usually grow when they are decompressed.
const expansion = 10

// Receive makes room for an encoded batch of some bytes that comes on a stream of a
// class, reads and takes it. It waits while too much waits to be committed, and does
// not read meanwhile. A batch that was submitted before, in this or an earlier
// session, is not taken again. The error is ErrProtocol, read's, or ctx's.
func (in *Inlet) Receive(ctx context.Context, class wirev1.Class, size int, read func() ([]byte, error)) error {
	room, err := in.ingest.queue.reserve(ctx, in.agent.Site, min(int64(size)*expansion, queueBytes))
	if err != nil {
		return err
	}
	// Who sends slowly must not keep it from others.
	impatience := time.AfterFunc(patience, room.expire)
	data, err := read()
	impatience.Stop()
	if err != nil {
		in.ingest.queue.release(room)
		return err
	}
	return in.submit(ctx, class, data, room)
}

// Submit is Receive for a batch that has been read.
func (in *Inlet) Submit(ctx context.Context, class wirev1.Class, data []byte) error {
	return in.Receive(ctx, class, len(data), func() ([]byte, error) { return data, nil })
}

// submit takes a batch that has, or had, room for about its size.
func (in *Inlet) submit(ctx context.Context, class wirev1.Class, data []byte, room *room) error {
	queued := false
	defer func() {
		if !queued {
			in.ingest.queue.release(room)
		}
	}()
	b, err := wire.DecodeBatch(data)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if b.GetSpoolId() != in.spool || b.GetClass() != class {
		return fmt.Errorf("%w: a batch of %s of spool %s, but the stream is for %s of spool %s", ErrProtocol,
			wire.ClassName(b.GetClass()), b.GetSpoolId(), wire.ClassName(class), in.spool)
	}
	b.Records = nil // they are in data
	cost := int64(min(max(int(b.GetRawBytes()), len(data)), queueBytes))
	if !room.fill(cost) {
		again, err := in.ingest.queue.reserve(ctx, in.agent.Site, cost)
		if err != nil {
			return err
		}
		room = again
	}
	queued, err = in.enqueue(&pending{agent: in.agent, batch: b, data: data, spool: in.state, room: room})
	return err
}

func (in *Inlet) enqueue(p *pending) (queued bool, err error) {
	in.state.mu.Lock()
	defer in.state.mu.Unlock()
	if taken, err := in.accept(p.batch); err != nil || !taken {
		return false, err
	}
	in.ingest.queue.put(p)
	return true, nil
}

// accept decides whether a batch is new. The spool's mu is held.
func (in *Inlet) accept(b *wirev1.Batch) (bool, error) {
	s := in.state
	class, first, last := b.GetClass(), b.GetFirstSeq(), wire.LastSeq(b)
	switch accepted := s.accepted[class]; {
	case last <= accepted:
		in.ingest.metrics.repeated(class, b.GetCount())
		in.poke()
		return false, nil
	case first <= accepted:
		return false, fmt.Errorf("%w: records %d to %d, but those up to %d were taken already", ErrProtocol, first, last, accepted)
	case first > accepted+1:
		// What was given up of them, a gap says that comes in their place; here may
		// also be records that had nothing new, or that another aggregator had.
		in.ingest.o.Logger.Info("records were never here and the agent has passed over them",
			"site", in.agent.Site, "agent_id", in.agent.ID, "spool_id", in.spool, "class", wire.ClassName(class), "first", accepted+1, "last", first-1)
	}
	s.accepted[class] = last
	return true, nil
}

// Close ends the inlet. What was submitted is committed all the same.
func (in *Inlet) Close() {
	in.state.mu.Lock()
	defer in.state.mu.Unlock()
	delete(in.state.inlets, in)
}

// Recover settles what an earlier aggregator left in the commit log.
func (i *Ingest) Recover(ctx context.Context) error {
	left, err := i.log.list()
	if err != nil {
		return err
	}
	for _, name := range left {
		stored, err := i.log.read(name)
		if err != nil {
			return err
		}
		g, marks, err := thaw(stored)
		if err != nil {
			return fmt.Errorf("commit log: %s: %w", name, err)
		}
		i.o.Logger.Info("settling what was being committed when the aggregator stopped", "group", g.ID, "types", len(g.Types), "versions", len(g.Versions), "events", len(g.Events), "usage", len(g.Usage), "gaps", len(g.Gaps))
		if err := i.o.Warehouse.Settle(ctx, g); err != nil {
			return fmt.Errorf("settling a group from the commit log: %w", err)
		}
		if err := i.finish(ctx, name, marks); err != nil {
			return err
		}
	}
	return nil
}

// finish notes that a group is durable.
func (i *Ingest) finish(ctx context.Context, name string, marks map[registry.SpoolClass]uint64) error {
	if err := i.o.Watermarks.SetWatermarks(ctx, marks); err != nil {
		return err
	}
	return i.log.remove(name)
}

// Run commits what is submitted until ctx ends, and returns an error if the
// aggregator's own disk fails. While one group is inserted, the next is made ready
// if there is enough for a full one; otherwise more is waited for.
func (i *Ingest) Run(ctx context.Context) error {
	ready := make(chan *frozen)
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { return i.freezeAll(ctx, ready) })
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

// frozen is a group that lies in the commit log and is not in the warehouse yet.
type frozen struct {
	began   time.Time
	batches []*pending
	name    string
	group   *warehouse.Group
	marks   map[registry.SpoolClass]uint64
}

func (i *Ingest) freezeAll(ctx context.Context, ready chan<- *frozen) error {
	pace := time.NewTimer(0)
	defer pace.Stop()
	for {
		select {
		case <-pace.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		batches, err := i.queue.take(ctx)
		if err != nil {
			return err
		}
		pace.Reset(linger)
		f, err := i.freeze(batches)
		if err != nil {
			return err
		}
		select {
		case ready <- f:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (i *Ingest) freeze(batches []*pending) (*frozen, error) {
	f := &frozen{began: time.Now(), batches: batches}
	id := uuid.New()
	stored := freeze(id, f.began, batches)
	var err error
	if f.name, err = i.log.write(id, stored); err != nil {
		return nil, err
	}
	f.group, f.marks, err = thaw(stored)
	return f, err
}

// commit makes a group durable and acknowledges it.
func (i *Ingest) commit(ctx context.Context, f *frozen) error {
	g := f.group
	if err := i.o.Warehouse.Write(ctx, g); err != nil {
		if err := i.settle(ctx, g, err); err != nil {
			return err
		}
	}
	if err := i.finish(ctx, f.name, f.marks); err != nil {
		return err
	}
	i.metrics.committed(g, time.Since(f.began))
	acknowledge(f.batches)
	rooms := make([]*room, len(f.batches))
	for n, p := range f.batches {
		rooms[n] = p.room
	}
	i.queue.release(rooms...)
	if i.o.Committed != nil {
		i.o.Committed(g)
	}
	for _, p := range g.Gaps {
		i.o.Logger.Warn("an agent gave up records", "site", p.Site, "agent_id", p.AgentID, "spool_id", p.SpoolID, "class", p.Class, "reason", p.Reason,
			"first", p.FirstSeq, "last", p.LastSeq, "versions", p.Versions, "asset_types", p.AssetTypes, "events", p.Events, "usages", p.Usages,
			"unknown", p.Unknown, "from", p.Earliest, "to", p.Latest)
	}
	for _, d := range g.DeadLetters {
		i.o.Logger.Warn("a record could not be taken and lies in dead_letter", "site", d.Site, "agent_id", d.AgentID,
			"spool_id", d.SpoolID, "class", d.Class, "seq", d.Seq, "reason", d.Reason)
	}
	return nil
}

// settle tries until a group whose insert failed is in the warehouse. Meanwhile
// nothing is acknowledged, and agents are held up when the queue is full.
func (i *Ingest) settle(ctx context.Context, g *warehouse.Group, cause error) error {
	pause := retry.BackOff(firstRetry, lastRetry)
	for {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		i.metrics.failed()
		wait := pause.NextBackOff()
		i.o.Logger.Warn("the warehouse did not take a group; trying again", "group", g.ID, "error", cause, "retry_in", wait.Round(time.Millisecond))
		if err := retry.Sleep(ctx, wait); err != nil {
			return err
		}
		if cause = i.o.Warehouse.Settle(ctx, g); cause == nil {
			i.o.Logger.Info("the group is in the warehouse", "group", g.ID)
			return nil
		}
	}
}

// acknowledge moves what the sessions see as durable.
func acknowledge(batches []*pending) {
	for _, p := range batches {
		s := p.spool
		s.mu.Lock()
		s.durable[p.batch.GetClass()] = max(s.durable[p.batch.GetClass()], wire.LastSeq(p.batch))
		for in := range s.inlets {
			in.poke()
		}
		s.mu.Unlock()
	}
}
