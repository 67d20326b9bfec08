package uplink

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/retry"
	"github.com/reeve-cloud/reeve/pkg/transport"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// session is one established session.
type session struct {
	*Uplink
	conn   transport.Conn
	window *window
	limit  int
	// silence is the longest one before the session counts as dead; zero is any.
	silence time.Duration

	writing sync.Mutex
	control transport.Stream

	// answers are what the aggregator says to a comparison.
	answers chan *wirev1.Control
	// grants are what it says to claims of scopes.
	grants chan *wirev1.Control
	// freed is poked when it says that a scope has come free, if it does (tellsOfFreed).
	freed        chan struct{}
	tellsOfFreed bool

	// told is how many records waited by the last heartbeat, and drained is poked when
	// none does any more: an agent that stops then must not be remembered with a backlog.
	told    atomic.Uint64
	drained chan struct{}
}

// waiting is how many records are not acknowledged.
func (s *session) waiting() (records uint64) {
	for _, st := range s.Spool.Stat() {
		records += st.Waiting
	}
	return records
}

// listen takes what the aggregator says on the control stream.
func (s *session) listen(r *bufio.Reader) error {
	for {
		if s.silence > 0 {
			if err := s.control.SetReadDeadline(time.Now().Add(s.silence)); err != nil {
				return err
			}
		}
		var c wirev1.Control
		if err := wire.ReadMessage(r, wire.MaxControlFrame, &c); err != nil {
			var timeout interface{ Timeout() bool }
			if errors.As(err, &timeout) && timeout.Timeout() {
				return fmt.Errorf("nothing was heard for %v: %w", s.silence, transport.ErrSilent)
			}
			return fmt.Errorf("listening to the aggregator: %w", err)
		}
		switch m := c.GetMessage().(type) {
		case *wirev1.Control_Ack:
			for _, w := range m.Ack.GetDurable() {
				if !wire.KnownClass(w.GetClass()) || w.GetSeq() == 0 {
					continue
				}
				if err := s.acknowledge(w.GetClass(), w.GetSeq()); err != nil {
					return err
				}
				s.window.acknowledged(w.GetClass(), w.GetSeq())
			}
			if s.told.Load() > 0 && s.waiting() == 0 {
				select {
				case s.drained <- struct{}{}:
				default:
				}
			}
		case *wirev1.Control_Heartbeat:
			s.Clock.Observe(hlc.Stamp(m.Heartbeat.GetClock()))
		case *wirev1.Control_Ping:
			if err := s.beatOnce(m.Ping.GetNumber()); err != nil {
				return err
			}
		case *wirev1.Control_Renew:
			if s.Renew != nil {
				s.Renew(time.Duration(m.Renew.GetWithinSeconds()) * time.Second)
			}
		case *wirev1.Control_Notice:
			s.Logger.Warn("the aggregator has a notice", "notice", m.Notice.GetMessage())
		case *wirev1.Control_Differing, *wirev1.Control_Resend:
			if err := take(s.answers, &c); err != nil {
				return err
			}
		case *wirev1.Control_Grants, *wirev1.Control_Seed:
			if err := take(s.grants, &c); err != nil {
				return err
			}
		case *wirev1.Control_Freed:
			select {
			case s.freed <- struct{}{}:
			default:
			}
		case *wirev1.Control_Goodbye:
			return goodbye(m.Goodbye)
		}
		// Anything else comes from a newer aggregator and can be passed over.
	}
}

// watch ends a session over QUIC whose datagrams do not get through any more, long
// before the missing heartbeats show it.
func (s *session) watch(ctx context.Context) error {
	t := time.NewTicker(unansweredLook)
	defer t.Stop()
	looks := 0
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		// In a busy session something is always on its way.
		if s.conn.Unanswered() < unansweredLook {
			looks = 0
			continue
		}
		if looks++; looks >= int(unanswered/unansweredLook) {
			return fmt.Errorf("nothing that was sent for %v was answered: %w", unanswered, transport.ErrSilent)
		}
	}
}

// probe tries QUIC now and then while the session runs over TCP, and ends the
// session when QUIC works: when a session could be had, and there is a connection
// for the next one.
func (s *session) probe(ctx context.Context, t target) error {
	every := pauseBetweenProbes(s.shortLived)
	for {
		// Between 0.8 and 1.2 times as long.
		if err := retry.Sleep(ctx, every*4/5+rand.N(every*2/5)); err != nil {
			return err
		}
		conn, err := s.reachOverQUIC(ctx, t)
		if ctx.Err() != nil {
			if err == nil {
				conn.Close(wire.CodeNone, "")
				conn.Wait()
			}
			return ctx.Err()
		}
		if err == nil {
			s.Logger.Info("QUIC works: the session moves from TCP to it", "aggregator", t.String())
			return &moving{conn}
		}
		s.Logger.Debug("QUIC does not work yet", "aggregator", t.String(), "error", Explain(err))
	}
}

// pauseBetweenProbes is about how long to wait before QUIC is tried again, after so
// many sessions over QUIC in a row that came up and did not last.
func pauseBetweenProbes(shortLived int) time.Duration {
	pause := probeEvery
	for range shortLived - 2 {
		if pause *= 2; pause > probeRarely {
			return probeRarely
		}
	}
	return pause
}

func (s *session) reachOverQUIC(ctx context.Context, t target) (transport.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	// Nothing waits for this.
	dial := dialQUIC(t, s.TLS(), 2*quicTimeout)
	conn, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := probe(ctx, conn); err != nil {
		return nil, err
	}
	return dial(ctx)
}

func (s *session) heartbeats(ctx context.Context) error {
	t := time.NewTicker(max(s.silence/3, time.Second))
	defer t.Stop()
	for {
		if err := s.beatOnce(0); err != nil {
			return err
		}
		select {
		case <-t.C:
		case <-s.drained:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// beatOnce sends a heartbeat. The number is that of the ping that it answers, or
// zero.
func (s *session) beatOnce(answers uint64) error {
	beat := &wirev1.Heartbeat{Clock: uint64(s.Clock.Now()), Answers: answers}
	waiting := uint64(0)
	for _, st := range s.Spool.Stat() {
		waiting += st.Waiting
		beat.Backlog = append(beat.Backlog, &wirev1.Backlog{Class: st.Class, Records: st.Waiting, Bytes: uint64(st.Bytes)})
	}
	if err := s.say(&wirev1.Control{Message: &wirev1.Control_Heartbeat{Heartbeat: beat}}); err != nil {
		return fmt.Errorf("sending a heartbeat: %w", err)
	}
	s.told.Store(waiting)
	return nil
}

func (s *session) say(c *wirev1.Control) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return wire.WriteMessage(s.control, c)
}

// ship sends the batches of a class from a record on.
func (s *session) ship(ctx context.Context, class wirev1.Class, from uint64) error {
	r := s.Spool.Reader(class, from)
	defer r.Close()
	var stream io.Writer
	for {
		f, err := r.Next(ctx)
		if err != nil {
			return err
		}
		if len(f.Batch) > s.limit {
			return fmt.Errorf("a batch of %s has %d bytes, the aggregator takes %d at most", wire.ClassName(class), len(f.Batch), s.limit)
		}
		if err := s.window.send(ctx, class, f.Last, int64(len(f.Batch))); err != nil {
			return err
		}
		if stream == nil {
			if stream, err = s.conn.OpenSendStream(ctx); err != nil {
				return fmt.Errorf("opening a data stream: %w", err)
			}
			if s.Limit != nil {
				stream = paced{ctx, stream, s.Limit}
			}
			if err := wire.WriteMessage(stream, &wirev1.DataHeader{Class: class}); err != nil {
				return fmt.Errorf("shipping %s: %w", wire.ClassName(class), err)
			}
		}
		if err := wire.WriteFrame(stream, f.Batch); err != nil {
			return fmt.Errorf("shipping %s: %w", wire.ClassName(class), err)
		}
		if m := s.Metrics; m != nil {
			m.sentBytes.WithLabelValues(wire.ClassName(class)).Add(float64(len(f.Batch)))
			m.sentRecords.WithLabelValues(wire.ClassName(class)).Add(float64(f.Last - f.First + 1))
		}
	}
}

// paced writes no more a second than a limit allows.
type paced struct {
	ctx   context.Context
	w     io.Writer
	limit *rate.Limiter
}

func (p paced) Write(data []byte) (written int, err error) {
	for len(data) > 0 {
		part := data[:min(len(data), p.limit.Burst())]
		if err := p.limit.WaitN(p.ctx, len(part)); err != nil {
			return written, err
		}
		n, err := p.w.Write(part)
		written += n
		if err != nil {
			return written, err
		}
		data = data[n:]
	}
	return written, nil
}
