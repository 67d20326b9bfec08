package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// ErrProtocol means that an agent broke the rules. Its session must end.
var ErrProtocol = errors.New("protocol violation")

// ErrTooManySpools means that an agent begins spools all the time. Its session must
// end.
var ErrTooManySpools = errors.New("this agent begins a new spool too often, which happens only when its spool directory is made anew: " +
	"look why it is")

// pending is a batch that waits to be committed.
type pending struct {
	agent identity.Agent
	batch *wirev1.Batch // without its records
	data  []byte
	// refused says why its records are not read, if they are not.
	refused string
	room    *room // as large as the batch's cost
	spool   *spoolState
}

// records is how many the batch puts into a group.
func (p *pending) records() int {
	if p.refused != "" {
		return 1
	}
	return int(p.batch.GetCount())
}

// spoolState is what is known of one spool.
type spoolState struct {
	key string
	// users are its inlets and the batches that wait or are being committed. Without
	// any it is forgotten. Ingest's mu is held for it.
	users int
	// mu is held while a batch is accepted and queued: two sessions of one
	// agent, a dying one and its successor, must not overtake each other.
	mu sync.Mutex
	// accepted is the last record taken into the queue, by class; durable the
	// last one committed.
	accepted, durable map[wirev1.Class]uint64
	inlets            map[*Inlet]struct{}
}

// Inlet is where one session puts the batches of one spool.
type Inlet struct {
	ingest  *Ingest
	agent   identity.Agent
	spool   string
	state   *spoolState
	conduct *conduct
	acks    chan struct{}
	notices chan string
}

// Open returns an inlet for a spool of an agent. It waits until what an earlier
// aggregator left is settled, or ctx ends. Close must follow.
func (i *Ingest) Open(ctx context.Context, agent identity.Agent, spoolID string) (*Inlet, error) {
	select {
	case <-i.recovered:
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for what was being committed before the start: %w", ctx.Err())
	}
	conduct := i.conductOf(agent.ID)
	key := spoolKey(agent.ID, spoolID)
	i.mu.Lock()
	defer i.mu.Unlock()
	s := i.spools[key]
	if s == nil {
		s = &spoolState{
			key: key, accepted: make(map[wirev1.Class]uint64), durable: make(map[wirev1.Class]uint64),
			inlets: make(map[*Inlet]struct{}),
		}
		known := false
		for class := range wirev1.Class_name {
			c := wirev1.Class(class)
			s.durable[c] = i.o.Watermarks.Watermark(key, c)
			s.accepted[c] = s.durable[c]
			known = known || s.durable[c] > 0
		}
		if !known && !conduct.newSpool() {
			i.metrics.refused.WithLabelValues("spools").Inc()
			return nil, ErrTooManySpools
		}
		i.spools[key] = s
	}
	s.users++
	in := &Inlet{
		ingest: i, agent: agent, spool: spoolID, state: s, conduct: conduct, acks: make(chan struct{}, 1), notices: make(chan string, 1),
	}
	s.mu.Lock()
	s.inlets[in] = struct{}{}
	s.mu.Unlock()
	return in, nil
}

// leave forgets spools that have no users any more: what is durable of them is in the
// registry.
func (i *Ingest) leave(spools ...*spoolState) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, s := range spools {
		if s.users--; s.users == 0 {
			delete(i.spools, s.key)
		}
	}
}

// Close ends the inlet. What was submitted is committed all the same.
func (in *Inlet) Close() {
	in.state.mu.Lock()
	delete(in.state.inlets, in)
	in.state.mu.Unlock()
	in.ingest.leave(in.state)
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

// Notices has what the agent's operator should know of what it sends, now and then.
func (in *Inlet) Notices() <-chan string { return in.notices }

func (in *Inlet) poke() {
	select {
	case in.acks <- struct{}{}:
	default:
	}
}

func (in *Inlet) notify(text string) {
	select {
	case in.notices <- text:
	default:
	}
}

// Receive takes an encoded batch of some bytes that comes on a stream of a class. It
// waits while too much waits to be committed, and does not read meanwhile; while it
// reads, it has room for what has arrived and no more. A batch that was submitted
// before, in this or an earlier session, is not taken again. The error is
// ErrProtocol, the stream's, or ctx's.
func (in *Inlet) Receive(ctx context.Context, class wirev1.Class, size int, stream io.Reader) error {
	if err := in.conduct.pace(ctx); err != nil {
		return err
	}
	room, err := in.ingest.queue.enter(ctx, in.agent.Site, in.agent.ID)
	if err != nil {
		return err
	}
	queued := false
	defer func() {
		if !queued {
			in.ingest.queue.release(room)
		}
	}()
	data, err := arrive(ctx, stream, size, room)
	if err != nil {
		return err
	}
	queued, err = in.submit(ctx, class, data, room)
	return err
}

// Submit is Receive for a batch that has been read.
func (in *Inlet) Submit(ctx context.Context, class wirev1.Class, data []byte) error {
	return in.Receive(ctx, class, len(data), bytes.NewReader(data))
}

// arrive reads a batch. Memory grows with what arrives, and so does the room.
func arrive(ctx context.Context, stream io.Reader, size int, room *room) ([]byte, error) {
	const chunk = 64 << 10
	var data []byte
	for len(data) < size {
		if len(data) == cap(data) {
			data = slices.Grow(data, min(size-len(data), max(len(data), chunk)))
		}
		n, err := stream.Read(data[len(data):min(cap(data), size)])
		data = data[:len(data)+n]
		if err != nil && len(data) < size {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if err := room.grow(ctx, int64(n)); err != nil {
			return nil, err
		}
	}
	return data, nil
}

// submit takes a batch that has come.
func (in *Inlet) submit(ctx context.Context, class wirev1.Class, data []byte, room *room) (queued bool, err error) {
	b, err := wire.DecodeBatch(data)
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if b.GetSpoolId() != in.spool || b.GetClass() != class {
		return false, fmt.Errorf("%w: a batch of %s of spool %s, but the stream is for %s of spool %s", ErrProtocol,
			wire.ClassName(b.GetClass()), b.GetSpoolId(), wire.ClassName(class), in.spool)
	}
	if in.repeated(b) {
		return false, nil
	}
	p := &pending{agent: in.agent, batch: b, data: data, spool: in.state, room: room}
	cost, err := in.check(ctx, b)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err != nil {
		// It costs what it said, for it was looked at for as long as that takes.
		cost = max(int(b.GetRawBytes()), len(data))
		p.refused = err.Error()
		in.refuse(p)
	}
	b.Records = nil // they are in data
	room.fill(int64(min(max(cost, leastCost), laneBytes)))
	return in.enqueue(p)
}

// check looks whether the records of a batch are as it says and may be read, before
// anything is stored on its word.
func (in *Inlet) check(ctx context.Context, b *wirev1.Batch) (cost int, err error) {
	places := in.ingest.checks
	if b.GetRawBytes() > largeBatch {
		places = in.ingest.largeChecks
	}
	select {
	case places <- struct{}{}:
		defer func() { <-places }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	beyond := wire.Names
	cost, err = wire.CheckRecords(b, func(kind wire.Name, text []byte) {
		if !in.conduct.name(kind, text) {
			beyond = kind
		}
	})
	if err == nil && beyond != wire.Names {
		err = fmt.Errorf("batch: the agent has more than %d %s", mostNames[beyond], nameKinds[beyond])
	}
	return cost, err
}

// refuse tells of a batch that is not read.
func (in *Inlet) refuse(p *pending) {
	in.ingest.metrics.refused.WithLabelValues("batches").Inc()
	in.conduct.lettered(1) // now, and not only when it is stored
	text := fmt.Sprintf("records %d to %d of %s cannot be read, and are kept as they came: %s",
		p.batch.GetFirstSeq(), wire.LastSeq(p.batch), wire.ClassName(p.batch.GetClass()), p.refused)
	in.notify(text)
	if unsaid, ok := in.conduct.mayLog("refused"); ok {
		in.ingest.o.Logger.Warn("an agent sent a batch that is not read", "site", in.agent.Site, "agent_id", in.agent.ID, "spool_id", in.spool,
			"class", wire.ClassName(p.batch.GetClass()), "seq", p.batch.GetFirstSeq(), "records", p.batch.GetCount(), "error", p.refused,
			"not_told", unsaid)
	}
}

// repeated reports whether a batch was taken before.
func (in *Inlet) repeated(b *wirev1.Batch) bool {
	in.state.mu.Lock()
	defer in.state.mu.Unlock()
	return in.known(b)
}

// known is repeated; the spool's mu is held.
func (in *Inlet) known(b *wirev1.Batch) bool {
	if wire.LastSeq(b) > in.state.accepted[b.GetClass()] {
		return false
	}
	in.ingest.metrics.repeated(b.GetClass(), b.GetCount())
	in.poke()
	return true
}

func (in *Inlet) enqueue(p *pending) (queued bool, err error) {
	in.ingest.mu.Lock()
	in.state.users++
	in.ingest.mu.Unlock()
	defer func() {
		if !queued {
			in.ingest.leave(in.state)
		}
	}()
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
	if in.known(b) {
		return false, nil
	}
	s := in.state
	class, first, last := b.GetClass(), b.GetFirstSeq(), wire.LastSeq(b)
	switch accepted := s.accepted[class]; {
	case first <= accepted:
		return false, fmt.Errorf("%w: records %d to %d, but those up to %d were taken already", ErrProtocol, first, last, accepted)
	case first > accepted+1:
		// What was given up of them, a gap says that comes in their place; here may
		// also be records that had nothing new, or that another aggregator had.
		if unsaid, ok := in.conduct.mayLog("passed over"); ok {
			in.ingest.o.Logger.Info("records were never here and the agent has passed over them", "site", in.agent.Site, "agent_id", in.agent.ID,
				"spool_id", in.spool, "class", wire.ClassName(class), "first", accepted+1, "last", first-1, "not_told", unsaid)
		}
	}
	s.accepted[class] = last
	return true, nil
}

// acknowledge moves what the sessions see as durable.
func (i *Ingest) acknowledge(batches []*pending) {
	spools := make([]*spoolState, len(batches))
	for n, p := range batches {
		s := p.spool
		spools[n] = s
		s.mu.Lock()
		s.durable[p.batch.GetClass()] = max(s.durable[p.batch.GetClass()], wire.LastSeq(p.batch))
		for in := range s.inlets {
			in.poke()
		}
		s.mu.Unlock()
	}
	i.leave(spools...)
}
