// Package gateway holds the sessions of agents: it welcomes them over QUIC, or
// over TCP where UDP does not get through, hands their batches to ingest, and sends acknowledgements back.
//
// Who an agent is, is said by its certificate alone. A session that breaks the
// protocol ends with a reason that the agent logs; other sessions never notice.
package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/quic-go/quic-go"
	"golang.org/x/time/rate"

	"github.com/reeve-cloud/reeve/aggregator/admission"
	"github.com/reeve-cloud/reeve/aggregator/ingest"
	"github.com/reeve-cloud/reeve/aggregator/reconcile"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/scope"
	"github.com/reeve-cloud/reeve/pkg/health"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/transport"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

const (
	// heartbeat is the longest silence before a session counts as dead. Agents
	// speak three times as often.
	heartbeat = 15 * time.Second
	// helloTimeout is how long a new connection may take to say hello.
	helloTimeout = 10 * time.Second
	// renewWithin is the time over which agents spread their renewals when the
	// authorities have changed.
	renewWithin = 10 * time.Minute
	// windowBytes is what an agent may have under way unacknowledged.
	windowBytes = 16 << 20
	// maxSessions bounds the memory that connections take.
	maxSessions = 10_000
	// maxOpen is how many connections one agent may have: a session, one that takes
	// over, attempts by both transports, and somebody who checks the configuration.
	maxOpen = 8
	// An agent may begin so many sessions at once, and then so many a second.
	sessionBurst, sessionRate = 60, 0.5
	// So many handshakes over QUIC may begin a second without a proof that the client
	// is where it says; in a flood, or when all agents come back, a round trip more
	// is asked of each.
	handshakeRate, handshakeBurst = 200, 400
	// farewells is how many strangers are told at a time, over TCP, why they are
	// refused. Others find the connection closed.
	farewells = 16
)

// Options configure a Gateway. All but Metrics are required.
type Options struct {
	// Conn is closed by Serve.
	Conn        *net.UDPConn
	Certificate func() (*tls.Certificate, error)
	CA          *identity.CA
	Registry    *registry.Registry
	Ingest      *ingest.Ingest
	Reconciler  *reconcile.Reconciler
	Scopes      *scope.Scopes
	Clock       *hlc.Clock
	// ResetKey lets agents notice at once that this aggregator was restarted.
	// It must stay the same over restarts.
	ResetKey quic.StatelessResetKey
	Logger   *slog.Logger
	Metrics  prometheus.Registerer
}

// Gateway accepts sessions. Serve must follow New.
type Gateway struct {
	o         Options
	transport *quic.Transport
	refusals  *refusals
	metrics   *metrics
	// arriving are connections over TCP on their way from Take to Serve; stopped
	// is closed when there is no Serve any more.
	arriving chan arrival
	stopped  chan struct{}

	attempts  *admission.Attempts
	farewells chan struct{}

	mu sync.Mutex
	// sessions are the open ones, by agent id.
	sessions map[string]*session
	// open counts the connections of each agent, sessions among them.
	open map[string]int
}

// arrival is a connection over TCP whose TLS handshake is done.
type arrival struct {
	conn *tls.Conn
	// served is closed when the gateway has done with it.
	served chan struct{}
}

type metrics struct {
	trials   prometheus.Gauge
	sessions *prometheus.GaugeVec
	refused  *prometheus.CounterVec
	received *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		sessions: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "reeve_gateway_sessions", Help: "Open sessions of agents, by transport: quic or tcp."}, []string{"transport"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reeve_gateway_refused_total", Help: "Connections and datagrams that were refused, by reason."}, []string{"reason"}),
		trials: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "reeve_gateway_trials", Help: "Open connections of agents that only try whether they could have a session."}),
		received: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reeve_gateway_received_batch_bytes_total", Help: "Bytes of batches received, repeats included."}, []string{"class"}),
	}
	for _, kind := range []transport.Kind{transport.QUIC, transport.TCP} {
		m.sessions.WithLabelValues(string(kind)).Set(0)
	}
	health.Zero(m.refused, refusedReasons...)
	health.Zero(m.received, wire.ClassName(wirev1.Class_CLASS_ASSETS), wire.ClassName(wirev1.Class_CLASS_EVENTS))
	if r != nil {
		r.MustRegister(m.sessions, m.refused, m.trials, m.received)
	}
	return m
}

// New makes a gateway on a UDP socket.
func New(o Options) *Gateway {
	g := &Gateway{
		o: o, metrics: newMetrics(o.Metrics), sessions: make(map[string]*session),
		arriving: make(chan arrival), stopped: make(chan struct{}), open: make(map[string]int),
		attempts: admission.NewAttempts(sessionRate, sessionBurst), farewells: make(chan struct{}, farewells),
	}
	handshakes := rate.NewLimiter(handshakeRate, handshakeBurst)
	g.refusals = newRefusals(o.Logger, g.metrics.refused)
	g.transport = &quic.Transport{
		Conn:              o.Conn,
		StatelessResetKey: &o.ResetKey,
		Tracer:            dropped{g.refusals},
		// Datagrams can be forged, and each first one would cost a signature.
		VerifySourceAddress: func(net.Addr) bool { return !handshakes.Allow() },
	}
	return g
}

// Serve accepts sessions until ctx ends, and returns when all have ended.
func (g *Gateway) Serve(ctx context.Context) error {
	defer close(g.stopped)
	listener, err := g.transport.Listen(g.tls(), &quic.Config{
		HandshakeIdleTimeout:  10 * time.Second, // some ways have round trips of seconds
		InitialPacketSize:     transport.InitialPacketSize,
		MaxIdleTimeout:        45 * time.Second,
		MaxIncomingStreams:    1, // the control stream
		MaxIncomingUniStreams: 8, // one a class, and room for more classes
		// What agents have sent that wait for the warehouse waits in these, thousands
		// of them. They grow for those who are read from.
		InitialStreamReceiveWindow:     16 << 10,
		MaxStreamReceiveWindow:         4 << 20,
		InitialConnectionReceiveWindow: 32 << 10,
		MaxConnectionReceiveWindow:     8 << 20,
	})
	if err != nil {
		return fmt.Errorf("listening for agents: %w", err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { g.refusals.watchForeign(ctx, g.transport) })
	wg.Go(func() { g.cutRevoked(ctx) })
	wg.Go(func() { g.serveArriving(ctx) })
	for {
		conn, err := listener.Accept(ctx)
		if err != nil {
			break
		}
		wg.Go(func() { g.serve(ctx, transport.FromQUIC(conn)) })
	}
	if err := listener.Close(); err != nil {
		g.o.Logger.Warn("closing the QUIC listener", "error", err)
	}
	wg.Wait()
	err = errors.Join(g.transport.Close(), g.o.Conn.Close())
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// Take has a session over TCP on a connection whose TLS handshake was done with
// TLS, and returns when it has ended and the connection is closed.
func (g *Gateway) Take(conn *tls.Conn) {
	a := arrival{conn, make(chan struct{})}
	select {
	case g.arriving <- a:
		<-a.served
	case <-g.stopped:
		conn.Close()
	}
}

// serveArriving serves the connections over TCP until ctx ends, and returns when
// all have ended.
func (g *Gateway) serveArriving(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	places := make(chan struct{}, maxSessions)
	for {
		select {
		case a := <-g.arriving:
			wg.Go(func() {
				defer close(a.served)
				select {
				case places <- struct{}{}:
					defer func() { <-places }()
					g.serveTCP(ctx, a.conn)
				default:
					g.refusals.log("too-many", a.conn.RemoteAddr(), fmt.Sprintf("refused a connection over TCP: there are %d already", maxSessions), nil)
					a.conn.Close()
				}
			})
		case <-ctx.Done():
			return
		}
	}
}

func (g *Gateway) serveTCP(ctx context.Context, raw *tls.Conn) {
	// TLS lets nobody in without a certificate.
	if err := g.checkIssuer(raw.ConnectionState().PeerCertificates[0]); err != nil {
		g.refusals.log("certificate", raw.RemoteAddr(), foreignCertificate, err)
		g.turnAway(raw, err)
		return
	}
	conn, err := transport.FromTCP(raw)
	if err != nil {
		g.refusals.log("session", raw.RemoteAddr(), "refused a connection over TCP", err)
		return
	}
	g.serve(ctx, conn)
}

// turnAway closes a stranger's connection, and tells it why unless many others are
// being told.
func (g *Gateway) turnAway(raw *tls.Conn, why error) {
	select {
	case g.farewells <- struct{}{}:
		defer func() { <-g.farewells }()
	default:
		raw.Close()
		return
	}
	conn, err := transport.FromTCP(raw)
	if err != nil {
		return // it has closed the connection
	}
	conn.Close(wire.CodeIdentity, "it does not accept this agent's certificate: "+why.Error())
	conn.Wait()
}

// enter counts a connection of an agent; leave must follow unless it returns an
// error, which is what the agent is told.
func (g *Gateway) enter(id string) error {
	if !g.attempts.Allow(id, time.Now()) {
		return end(wire.CodeStopping, "this agent begins sessions too often: it may begin one every %v",
			time.Duration(float64(time.Second)/sessionRate))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open[id] >= maxOpen {
		return end(wire.CodeStopping, "this agent has %d connections already", maxOpen)
	}
	g.open[id]++
	return nil
}

func (g *Gateway) leave(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open[id]--; g.open[id] == 0 {
		delete(g.open, id)
	}
}

// checkIssuer returns an error for a certificate that is not one of this aggregator's
// agents'. One that has ended is: its agent gets a session that tells it what to do.
func (g *Gateway) checkIssuer(cert *x509.Certificate) error {
	_, err := g.o.CA.VerifyAgent(cert, hlc.MaxSkew)
	if expired := (*identity.ExpiredError)(nil); errors.As(err, &expired) {
		return nil
	}
	return err
}

const foreignCertificate = "refused a connection whose certificate is not one of this aggregator's agents"

// TLS returns the configuration for the handshakes of connections that Take gets.
// Whose certificate the client has is looked at behind the handshake: a TLS alert
// is easily lost when a TCP connection is closed, and tells less.
func (g *Gateway) TLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{wire.ALPN},
		ClientAuth: tls.RequireAnyClientCert,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return g.o.Certificate()
		},
	}
}

// tls returns the configuration of the QUIC listener. The client's certificate is
// checked here, so that a refusal can be logged with its reason.
func (g *Gateway) tls() *tls.Config {
	base := g.TLS()
	config := base.Clone()
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		from := hello.Conn.RemoteAddr()
		c := base.Clone()
		c.VerifyPeerCertificate = func(raw [][]byte, _ [][]*x509.Certificate) error {
			cert, err := x509.ParseCertificate(raw[0])
			if err == nil {
				err = g.checkIssuer(cert)
			}
			if err != nil {
				g.refusals.log("certificate", from, foreignCertificate, err)
			}
			return err
		}
		return c, nil
	}
	return config
}

// add registers a session and ends an older one of the same agent.
func (g *Gateway) add(s *session) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	older := g.sessions[s.agent.ID]
	if older == nil && len(g.sessions) >= maxSessions {
		return end(wire.CodeStopping, "too many sessions: there are %d already", maxSessions)
	}
	if older != nil {
		older.end(wire.CodeReplaced, "a newer session of the same agent took over")
	}
	g.sessions[s.agent.ID] = s
	g.metrics.sessions.WithLabelValues(string(s.conn.Kind())).Inc()
	return nil
}

func (g *Gateway) remove(s *session) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sessions[s.agent.ID] == s {
		delete(g.sessions, s.agent.ID)
	}
	g.metrics.sessions.WithLabelValues(string(s.conn.Kind())).Dec()
}
