// Package uplink ships the spool to an aggregator and takes acknowledgements.
//
// It holds one session at a time. A session that ends, for whatever reason, is
// followed by another after a growing pause; what had been sent and was not
// acknowledged is sent again, as the same bytes.
//
// Sessions run over QUIC, or over TCP where UDP does not get through. One over TCP
// gives way to one over QUIC as soon as that works again.
package uplink

import (
	"bufio"
	"context"
	cryptorand "crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/reeve-cloud/reeve/agent/spool"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/retry"
	"github.com/reeve-cloud/reeve/pkg/transport"
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
	// welcomeTimeout bounds the time from a connection to the welcome, and moveTimeout
	// that of a move to QUIC: two connections, with a welcome.
	welcomeTimeout = 15 * time.Second
	moveTimeout    = time.Minute
	// unanswered is how long a peer may answer nothing over QUIC before the session
	// is given up. It is counted in looks, one every unansweredLook, so that an
	// agent that gets no CPU blames nobody.
	unanswered     = 3 * time.Second
	unansweredLook = 500 * time.Millisecond
	// probeEvery is about how often QUIC is tried while a session runs over TCP.
	// Where sessions over QUIC come up and do not last, again and again, it grows up
	// to probeRarely.
	probeEvery  = 30 * time.Second
	probeRarely = 10 * time.Minute
	// lasting is the age at which a session over QUIC shows that UDP works.
	lasting = time.Minute
	// blockedFor is how long TCP is tried first after UDP was found to be blocked.
	blockedFor = 10 * time.Minute
)

// Uplink connects a spool with an aggregator.
type Uplink struct {
	Spool *spool.Spool
	Clock *hlc.Clock
	// Addresses of the aggregator (host:port), tried in turn. A name stands for all
	// that it resolves to.
	Addresses []string
	// Proxy leads to them over TCP. It may be nil.
	Proxy transport.Proxy
	// Limit bounds the bytes of batches that are sent a second. It may be nil.
	Limit *rate.Limiter
	// TLS returns the client configuration for a new session.
	TLS func() *tls.Config
	// Inventory is compared with what the aggregator holds. Nil compares nothing.
	Inventory Inventory
	// CompareAfter is how long after its beginning a session compares first. Zero
	// means a minute or so.
	CompareAfter time.Duration
	// Scopes are claimed from the aggregator. Nil claims none.
	Scopes Scopes
	// ComeDown is told when the agent's clock was too far ahead of the aggregator's, and
	// from which stamp it goes on. It may be nil.
	ComeDown func(to hlc.Stamp) error
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

	// The rest belongs to Run. first is the index of the address that is tried
	// first.
	first int
	// blocked is until when UDP counts as blocked.
	blocked time.Time
	// doubt is set when a session over QUIC went silent, until another is up.
	doubt bool
	// shortLived counts sessions over QUIC, since one that lasted, that came up and
	// soon went silent.
	shortLived int
	// patience is by how much longer than usual a try may take; zero is one.
	patience int
}

// Metrics counts what is shipped.
type Metrics struct {
	connected    prometheus.Gauge
	transport    *prometheus.GaugeVec
	sessions     *prometheus.CounterVec
	sentBytes    *prometheus.CounterVec
	sentRecords  *prometheus.CounterVec
	ackedRecords *prometheus.GaugeVec
}

// NewMetrics registers the metrics. All are there from the start, at 0.
func NewMetrics(r prometheus.Registerer) *Metrics {
	class := []string{"class"}
	m := &Metrics{
		connected: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "reeve_agent_connected", Help: "1 while a session with an aggregator is up."}),
		transport: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "reeve_agent_transport", Help: "1 for what the session that is up runs over: quic or tcp."}, []string{"transport"}),
		sessions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reeve_agent_sessions_total", Help: "Sessions by outcome: established or failed."}, []string{"outcome"}),
		sentBytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reeve_agent_sent_batch_bytes_total", Help: "Bytes of batches sent, repeats included."}, class),
		sentRecords: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reeve_agent_sent_records_total", Help: "Records sent, repeats included."}, class),
		ackedRecords: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "reeve_agent_acknowledged_record", Help: "The number of the last acknowledged record."}, class),
	}
	r.MustRegister(m.connected, m.transport, m.sessions, m.sentBytes, m.sentRecords, m.ackedRecords)
	for _, kind := range []transport.Kind{transport.QUIC, transport.TCP} {
		m.transport.WithLabelValues(string(kind))
	}
	for _, outcome := range []string{"established", "failed"} {
		m.sessions.WithLabelValues(outcome)
	}
	for _, class := range spool.Classes {
		name := wire.ClassName(class)
		m.sentBytes.WithLabelValues(name)
		m.sentRecords.WithLabelValues(name)
		m.ackedRecords.WithLabelValues(name)
	}
	return m
}

// Connected reports whether a session is up.
func (u *Uplink) Connected() bool { return u.connected.Load() }

// Run keeps a session up until ctx ends.
func (u *Uplink) Run(ctx context.Context) error {
	u.instance = cryptorand.Text()
	pause, longPause := retry.BackOff(firstRetry, lastRetry), retry.BackOff(firstShutOutRetry, lastShutOutRetry)
	for {
		at, up, err := u.round(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if up > lastRetry {
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
			if up > 0 && u.doubt {
				// It took long enough to notice.
				wait = 0
			}
		}
		u.Logger.Log(ctx, level, "no session with the aggregator", "aggregator", at, "error", err, "retry_in", wait.Round(time.Millisecond))
		if err := retry.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// round tries each target of each address once, until a session comes up, and
// returns when that has ended: where it was, how long it was up, and why there is
// none now.
func (u *Uplink) round(ctx context.Context) (at string, up time.Duration, err error) {
	var errs []error
	for i := range u.Addresses {
		n := (u.first + i) % len(u.Addresses)
		address := u.Addresses[n]
		list, err := targets(ctx, address, u.Proxy)
		if err != nil {
			errs = append(errs, fmt.Errorf("finding %s: %w", address, err))
		}
		for _, t := range list {
			up, err := u.try(ctx, t)
			if up > 0 {
				// It goes on where it was, unless this aggregator is going away.
				u.first = n
				var closed *transport.CloseError
				if errors.As(err, &closed) && closed.Remote && closed.Code == wire.CodeStopping {
					u.first = (n + 1) % len(u.Addresses)
				}
				return t.String(), up, Explain(err)
			}
			if ctx.Err() != nil {
				return "", 0, ctx.Err()
			}
			err = Explain(err)
			if len(u.Addresses)+len(list) > 2 {
				err = fmt.Errorf("%s: %w", t, err)
			}
			errs = append(errs, err)
		}
	}
	if err = joined(errs); errors.Is(err, transport.ErrNoAnswer) || errors.Is(err, context.DeadlineExceeded) {
		u.patience = min(2*max(u.patience, 1), maxPatience)
	}
	return strings.Join(u.Addresses, ","), 0, err
}

// try connects to a target and holds sessions with it, one after the other while
// each asks for the next. It returns how long they were up.
func (u *Uplink) try(ctx context.Context, t target) (up time.Duration, err error) {
	conn, err := u.connect(ctx, t)
	if err != nil {
		u.count("failed")
		return 0, err
	}
	for {
		began := time.Now()
		established, err := u.session(ctx, t, conn)
		if established {
			up += max(time.Since(began), 1)
			u.learn(conn.Kind(), time.Since(began), err)
		} else {
			u.count("failed")
			if conn.Kind() == transport.QUIC && errors.Is(err, context.DeadlineExceeded) {
				// The handshake got through, and nothing after it.
				u.blocked = time.Now().Add(blockedFor)
			}
		}
		var m *moving
		if !errors.As(err, &m) {
			u.setConnected("")
			return up, err
		}
		conn = m.to
	}
}

// learn draws conclusions for the next try from how a session has ended.
func (u *Uplink) learn(kind transport.Kind, up time.Duration, err error) {
	if kind != transport.QUIC {
		return
	}
	silent := errors.Is(err, transport.ErrSilent)
	switch {
	case silent && up < lasting:
		u.blocked = time.Now().Add(blockedFor)
		u.shortLived++
	case up >= lasting:
		u.shortLived = 0
	}
	u.doubt = silent
}

// moving ends a session over TCP: the next one has a connection already.
type moving struct{ to transport.Conn }

func (*moving) Error() string { return "going on over QUIC" }

// Reached is what Probe finds.
type Reached struct {
	// Aggregator is the aggregator's version.
	Aggregator string
	// Transport is what the session ran over, and NotQUIC why that was not QUIC.
	Transport transport.Kind
	NotQUIC   error
}

// Probe opens a session with an aggregator, over QUIC, or over TCP if that does
// not work, and ships nothing.
func Probe(ctx context.Context, address string, proxy transport.Proxy, config *tls.Config) (Reached, error) {
	list, err := targets(ctx, address, proxy)
	if err != nil {
		return Reached{}, err
	}
	var tries []dialer
	for _, t := range list {
		if t.quic.IsValid() {
			tries = append(tries, dialQUIC(t, config, quicTimeout))
		}
	}
	for _, t := range list {
		if t.tcp != "" {
			tries = append(tries, dialTCP(t, proxy, config, maxPatience*tcpTimeout))
		}
	}
	var errs []error
	for _, try := range tries {
		conn, err := try(ctx)
		if err == nil {
			var version string
			if version, err = probe(ctx, conn); err == nil {
				r := Reached{Aggregator: version, Transport: conn.Kind()}
				if len(errs) > 0 && r.Transport != transport.QUIC {
					r.NotQUIC = errs[0]
				}
				return r, nil
			}
		}
		errs = append(errs, Explain(err))
		var closed *transport.CloseError
		if ctx.Err() != nil || errors.As(err, &closed) {
			break // the aggregator has answered
		}
	}
	return Reached{}, joined(errs)
}

// probe has a session on a connection in which nothing is shipped, closes it, and
// returns the aggregator's version.
func probe(ctx context.Context, conn transport.Conn) (string, error) {
	defer conn.Wait()
	defer conn.Close(wire.CodeNone, "probe done")
	_, _, welcome, err := greet(ctx, conn, &wirev1.Hello{Protocol: wire.MaxProtocol, AgentVersion: version.String()})
	return welcome.GetAggregatorVersion(), err
}

// greet opens the control stream and exchanges hello and welcome.
func greet(ctx context.Context, conn transport.Conn, hello *wirev1.Hello) (transport.Stream, *bufio.Reader, *wirev1.Welcome, error) {
	control, err := conn.OpenStream(ctx)
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

// session runs one session to its end, and says whether it ever was up.
func (u *Uplink) session(ctx context.Context, t target, conn transport.Conn) (established bool, err error) {
	defer conn.Wait()
	defer func() { leave(ctx, conn, err) }()
	greeting, cancel := context.WithTimeout(ctx, welcomeTimeout)
	defer cancel()
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
		return false, err
	}
	if err := u.begin(welcome); err != nil {
		conn.Close(wire.CodeProtocol, err.Error())
		return false, err
	}
	u.count("established")
	u.Logger.Info("session established", "aggregator", t.String(), "aggregator_version", welcome.GetAggregatorVersion(), "transport",
		conn.Kind())
	u.setConnected(conn.Kind())
	u.doubt = false
	if conn.Kind() == transport.QUIC {
		u.blocked = time.Time{}
	} else {
		u.blocked = time.Now().Add(blockedFor)
	}

	s := &session{
		Uplink: u, conn: conn, control: control,
		window:  newWindow(int64(welcome.GetWindowBytes())),
		limit:   int(welcome.GetMaxBatchBytes()),
		silence: time.Duration(welcome.GetHeartbeatSeconds()) * time.Second,
		drained: make(chan struct{}, 1),
		answers: make(chan *wirev1.Control, 1),
		grants:  make(chan *wirev1.Control, grantPieces),
		freed:   make(chan struct{}, 1), tellsOfFreed: welcome.GetTellsOfFreed(),
	}
	parts, group := errgroup.WithContext(ctx)
	// Reads and writes on streams end when the connection does.
	stop := context.AfterFunc(group, func() { leave(ctx, conn, context.Cause(group)) })
	defer stop()
	parts.Go(func() error { return s.listen(r) })
	parts.Go(func() error { return s.heartbeats(group) })
	if u.Inventory != nil && welcome.GetCompares() {
		parts.Go(func() error { return s.compare(group) })
	}
	if u.Scopes != nil {
		if welcome.GetGrantsScopes() {
			parts.Go(func() error { return s.claim(group) })
		} else {
			u.Scopes.Ungoverned()
		}
	}
	if conn.Kind() == transport.QUIC {
		parts.Go(func() error { return s.watch(group) })
	} else if t.quic.IsValid() {
		parts.Go(func() error { return s.probe(group, t) })
	}
	for _, class := range spool.Classes {
		from := watermark(welcome.GetDurable(), class) + 1
		parts.Go(func() error { return s.ship(group, class, from) })
	}
	return true, parts.Wait()
}

// leave closes a connection and tells the aggregator why.
func leave(ctx context.Context, conn transport.Conn, err error) {
	switch {
	case ctx.Err() != nil:
		conn.Close(wire.CodeStopping, "the agent is stopping")
	case err != nil:
		conn.Close(wire.CodeNone, err.Error())
	default:
		conn.Close(wire.CodeNone, "")
	}
}

func (u *Uplink) count(outcome string) {
	if u.Metrics != nil {
		u.Metrics.sessions.WithLabelValues(outcome).Inc()
	}
}

// setConnected says what the session that is up runs over; "" is none.
func (u *Uplink) setConnected(kind transport.Kind) {
	u.connected.Store(kind != "")
	if m := u.Metrics; m != nil {
		m.connected.Set(map[bool]float64{true: 1}[kind != ""])
		for _, k := range []transport.Kind{transport.QUIC, transport.TCP} {
			m.transport.WithLabelValues(string(k)).Set(map[bool]float64{true: 1}[k == kind])
		}
	}
}

// begin takes note of what the welcome says.
func (u *Uplink) begin(w *wirev1.Welcome) error {
	if err := u.checkClock(w); err != nil {
		return err
	}
	u.Clock.Observe(hlc.Stamp(w.GetClock()))
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

// checkClock warns if this machine's clock is too far off, and has stamps follow the
// aggregator's from then on. The session goes on: nothing is lost by it, but times are
// wrong.
func (u *Uplink) checkClock(w *wirev1.Welcome) error {
	there, here := time.UnixMilli(w.GetTime()), u.now()
	if w.GetTime() == 0 {
		there = hlc.Stamp(w.GetClock()).Time() // of an aggregator of the version before
	}
	if hlc.TooFarApart(there, here) {
		u.Logger.Warn("this machine's clock and the aggregator's are more than an hour apart: set the one that is wrong",
			"clock", here.UTC(), "aggregator_clock", there.UTC())
	}
	to, back := u.Clock.Adjust(there.Sub(here))
	if !back {
		return nil
	}
	u.Logger.Warn("stamps had run far ahead of the aggregator's clock, by a clock that was wrong: they go on from now", "from", to.Time())
	if u.ComeDown != nil {
		if err := u.ComeDown(to); err != nil {
			return fmt.Errorf("setting back what is known: %w", err)
		}
	}
	return nil
}

func (u *Uplink) acknowledge(class wirev1.Class, seq uint64) error {
	if seq == 0 {
		return nil
	}
	if seq >= u.Spool.Next(class) {
		return fmt.Errorf("the aggregator holds record %d of %s, but this spool ends with %d: its directory was restored from an old copy; "+
			"stop the agent, move the spool directory away, and start it again", seq, wire.ClassName(class), u.Spool.Next(class)-1)
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
