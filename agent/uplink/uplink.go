// Package uplink ships the spool to an aggregator and takes acknowledgements.
//
// It holds one session at a time. A session that ends, for whatever reason, is
// followed by another after a growing pause; what had been sent and was not
// acknowledged is sent again, as the same bytes.
package uplink

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/quic-go/quic-go"
	"golang.org/x/sync/errgroup"

	"github.com/reeve-cloud/reeve/agent/spool"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/retry"
	"github.com/reeve-cloud/reeve/pkg/version"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

const (
	firstRetry = 250 * time.Millisecond
	lastRetry  = 15 * time.Second
	// An agent that is shut out asks so seldom whether that was mended.
	firstShutOutRetry = 2 * time.Minute
	lastShutOutRetry  = 15 * time.Minute
	// welcomeTimeout bounds the time from dialing to the welcome.
	welcomeTimeout = 10 * time.Second
)

// Uplink connects a spool with an aggregator.
type Uplink struct {
	Spool *spool.Spool
	Clock *hlc.Clock
	// Addresses of the aggregator, tried in turn.
	Addresses []string
	// TLS returns the client configuration for a new session.
	TLS func() *tls.Config
	// Hostname and Collectors are what the agent says of itself.
	Hostname   string
	Collectors []string
	Logger     *slog.Logger
	// Metrics may be nil.
	Metrics *Metrics
	// Renew asks for a new certificate within the time: the aggregator wants the
	// agent to have one. It does not wait. It may be nil.
	Renew func(within time.Duration)

	// Now is the wall clock. Nil means time.Now.
	Now func() time.Time

	connected atomic.Bool
	// instance is this run's random name: a copy of the agent elsewhere has
	// another.
	instance string
}

// Metrics counts what is shipped.
type Metrics struct {
	connected    prometheus.Gauge
	sessions     *prometheus.CounterVec
	sentBytes    *prometheus.CounterVec
	sentRecords  *prometheus.CounterVec
	ackedRecords *prometheus.GaugeVec
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	class := []string{"class"}
	m := &Metrics{
		connected: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "reeve_agent_connected", Help: "1 while a session with an aggregator is up."}),
		sessions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reeve_agent_sessions_total", Help: "Sessions by outcome: established or failed."}, []string{"outcome"}),
		sentBytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reeve_agent_sent_batch_bytes_total", Help: "Bytes of batches sent, repeats included."}, class),
		sentRecords: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reeve_agent_sent_records_total", Help: "Records sent, repeats included."}, class),
		ackedRecords: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "reeve_agent_acknowledged_record", Help: "The number of the last acknowledged record."}, class),
	}
	r.MustRegister(m.connected, m.sessions, m.sentBytes, m.sentRecords, m.ackedRecords)
	return m
}

// Connected reports whether a session is up.
func (u *Uplink) Connected() bool { return u.connected.Load() }

// Run keeps a session up until ctx ends.
func (u *Uplink) Run(ctx context.Context) error {
	u.instance = rand.Text()
	pause, longPause := retry.BackOff(firstRetry, lastRetry), retry.BackOff(firstShutOutRetry, lastShutOutRetry)
	for turn := 0; ; turn++ {
		address := u.Addresses[turn%len(u.Addresses)]
		began := time.Now()
		err := u.session(ctx, address)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Since(began) > lastRetry {
			pause.Reset()
		}
		if endedWith(err, wire.CodeExpired) && u.Renew != nil {
			u.Renew(0)
		}
		wait, level := pause.NextBackOff(), slog.LevelWarn
		if endedWith(err, wire.CodeIdentity) || endedWith(err, wire.CodeClone) {
			wait, level = longPause.NextBackOff(), slog.LevelError
		} else {
			longPause.Reset()
		}
		u.Logger.Log(ctx, level, "no session with the aggregator", "aggregator", address, "error", Explain(err), "retry_in", wait.Round(time.Millisecond))
		if err := retry.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// Probe opens a session with an aggregator, ships nothing, and returns the
// aggregator's version.
func Probe(ctx context.Context, address string, config *tls.Config) (aggregator string, err error) {
	conn, err := dial(ctx, address, config)
	if err != nil {
		return "", err
	}
	defer conn.CloseWithError(wire.CodeNone, "probe done")
	_, _, welcome, err := greet(ctx, conn, &wirev1.Hello{Protocol: wire.MaxProtocol, AgentVersion: version.String()})
	return welcome.GetAggregatorVersion(), err
}

func dial(ctx context.Context, address string, config *tls.Config) (*quic.Conn, error) {
	config.NextProtos = []string{wire.ALPN}
	conn, err := quic.DialAddr(ctx, address, config, &quic.Config{
		HandshakeIdleTimeout: 5 * time.Second,
		MaxIdleTimeout:       45 * time.Second,
		// Shorter than the time for which routers usually keep a UDP mapping.
		KeepAlivePeriod: 10 * time.Second,
		// An aggregator opens no streams and says little.
		MaxIncomingStreams:             -1,
		MaxIncomingUniStreams:          -1,
		InitialStreamReceiveWindow:     64 << 10,
		MaxStreamReceiveWindow:         256 << 10,
		InitialConnectionReceiveWindow: 64 << 10,
		MaxConnectionReceiveWindow:     512 << 10,
	})
	if err != nil {
		return nil, fmt.Errorf("connecting over QUIC: %w", err)
	}
	return conn, nil
}

// greet opens the control stream and exchanges hello and welcome.
func greet(ctx context.Context, conn *quic.Conn, hello *wirev1.Hello) (*quic.Stream, *bufio.Reader, *wirev1.Welcome, error) {
	control, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { control.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := wire.WriteMessage(control, &wirev1.Control{Message: &wirev1.Control_Hello{Hello: hello}}); err != nil {
		return nil, nil, nil, fmt.Errorf("saying hello: %w", err)
	}
	r := bufio.NewReader(control)
	var c wirev1.Control
	if err := wire.ReadMessage(r, wire.MaxControlFrame, &c); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, nil, nil, fmt.Errorf("waiting for the welcome: %w", err)
	}
	switch m := c.GetMessage().(type) {
	case *wirev1.Control_Welcome:
		return control, r, m.Welcome, nil
	case *wirev1.Control_Goodbye:
		return nil, nil, nil, goodbye(m.Goodbye)
	}
	return nil, nil, nil, errors.New("the aggregator answered hello with something else than a welcome")
}

func goodbye(g *wirev1.Goodbye) error {
	return fmt.Errorf("the aggregator ended the session: %s", g.GetMessage())
}

// session runs one session to its end.
func (u *Uplink) session(ctx context.Context, address string) error {
	greeting, cancel := context.WithTimeout(ctx, welcomeTimeout)
	defer cancel()
	conn, err := dial(greeting, address, u.TLS())
	if err != nil {
		u.count("failed")
		return err
	}
	defer conn.CloseWithError(wire.CodeNone, "")
	control, r, welcome, err := greet(greeting, conn, &wirev1.Hello{
		Protocol:     wire.MaxProtocol,
		AgentVersion: version.String(),
		SpoolId:      u.Spool.ID(),
		Hostname:     u.Hostname,
		Platform:     runtime.GOOS + "/" + runtime.GOARCH,
		Collectors:   u.Collectors,
		InstanceId:   u.instance,
		Time:         u.now().UnixMilli(),
	})
	if err != nil {
		u.count("failed")
		return err
	}
	if err := u.begin(welcome); err != nil {
		u.count("failed")
		conn.CloseWithError(wire.CodeProtocol, err.Error())
		return err
	}
	u.count("established")
	u.Logger.Info("session established", "aggregator", address, "aggregator_version", welcome.GetAggregatorVersion())
	u.setConnected(true)
	defer u.setConnected(false)

	s := &session{
		Uplink: u, conn: conn, control: control,
		window: newWindow(int64(welcome.GetWindowBytes())),
		limit:  int(welcome.GetMaxBatchBytes()),
		beat:   max(time.Duration(welcome.GetHeartbeatSeconds())*time.Second/3, time.Second),
	}
	group, ctx := errgroup.WithContext(ctx)
	// Reads and writes on streams end when the connection does.
	stop := context.AfterFunc(ctx, func() { conn.CloseWithError(wire.CodeStopping, "the agent is stopping or starts a new session") })
	defer stop()
	group.Go(func() error { return s.listen(r) })
	group.Go(func() error { return s.heartbeats(ctx) })
	for _, class := range spool.Classes {
		from := watermark(welcome.GetDurable(), class) + 1
		group.Go(func() error { return s.ship(ctx, class, from) })
	}
	return group.Wait()
}

func (u *Uplink) count(outcome string) {
	if u.Metrics != nil {
		u.Metrics.sessions.WithLabelValues(outcome).Inc()
	}
}

func (u *Uplink) setConnected(up bool) {
	u.connected.Store(up)
	if u.Metrics != nil {
		u.Metrics.connected.Set(map[bool]float64{true: 1}[up])
	}
}

// begin takes note of what the welcome says.
func (u *Uplink) begin(w *wirev1.Welcome) error {
	u.Clock.Observe(hlc.Stamp(w.GetClock()))
	u.checkClock(w)
	for _, class := range spool.Classes {
		if err := u.acknowledge(class, watermark(w.GetDurable(), class)); err != nil {
			return err
		}
	}
	return nil
}

func (u *Uplink) now() time.Time {
	if u.Now != nil {
		return u.Now()
	}
	return time.Now()
}

// checkClock warns if this machine's clock is too far off. The session goes on:
// nothing is lost by it, but times are wrong.
func (u *Uplink) checkClock(w *wirev1.Welcome) {
	there, here := time.UnixMilli(w.GetTime()), u.now()
	if w.GetTime() == 0 {
		there = hlc.Stamp(w.GetClock()).Time() // of an aggregator of the version before
	}
	if hlc.TooFarApart(there, here) {
		u.Logger.Warn("this machine's clock and the aggregator's are more than an hour apart: set the one that is wrong",
			"clock", here.UTC(), "aggregator_clock", there.UTC())
	}
}

func (u *Uplink) acknowledge(class wirev1.Class, seq uint64) error {
	if seq == 0 {
		return nil
	}
	if seq >= u.Spool.Next(class) {
		return fmt.Errorf("the aggregator holds record %d of %s, but this spool ends with %d: its directory was restored from an old copy; "+
			"stop the agent, remove the spool directory, and start it again", seq, wire.ClassName(class), u.Spool.Next(class)-1)
	}
	if u.Metrics != nil {
		u.Metrics.ackedRecords.WithLabelValues(wire.ClassName(class)).Set(float64(seq))
	}
	return u.Spool.Ack(class, seq)
}

func watermark(ws []*wirev1.Watermark, class wirev1.Class) uint64 {
	for _, w := range ws {
		if w.GetClass() == class {
			return w.GetSeq()
		}
	}
	return 0
}

// session is one established session.
type session struct {
	*Uplink
	conn   *quic.Conn
	window *window
	limit  int
	beat   time.Duration

	writing sync.Mutex
	control *quic.Stream
}

// listen takes what the aggregator says on the control stream.
func (s *session) listen(r *bufio.Reader) error {
	for {
		var c wirev1.Control
		if err := wire.ReadMessage(r, wire.MaxControlFrame, &c); err != nil {
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
			s.Logger.Warn("the aggregator says: " + m.Notice.GetMessage())
		case *wirev1.Control_Goodbye:
			return goodbye(m.Goodbye)
		}
		// Anything else comes from a newer aggregator and can be passed over.
	}
}

func (s *session) heartbeats(ctx context.Context) error {
	t := time.NewTicker(s.beat)
	defer t.Stop()
	for {
		if err := s.beatOnce(0); err != nil {
			return err
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// beatOnce sends a heartbeat. The number is that of the ping that it answers, or
// zero.
func (s *session) beatOnce(answers uint64) error {
	beat := &wirev1.Heartbeat{Clock: uint64(s.Clock.Now()), Answers: answers}
	for _, st := range s.Spool.Stat() {
		beat.Backlog = append(beat.Backlog, &wirev1.Backlog{Class: st.Class, Records: st.Waiting, Bytes: uint64(st.Bytes)})
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := wire.WriteMessage(s.control, &wirev1.Control{Message: &wirev1.Control_Heartbeat{Heartbeat: beat}}); err != nil {
		return fmt.Errorf("sending a heartbeat: %w", err)
	}
	return nil
}

// ship sends the batches of a class from a record on.
func (s *session) ship(ctx context.Context, class wirev1.Class, from uint64) error {
	r := s.Spool.Reader(class, from)
	defer r.Close()
	var stream *quic.SendStream
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
			if stream, err = s.conn.OpenUniStreamSync(ctx); err != nil {
				return fmt.Errorf("opening a data stream: %w", err)
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
