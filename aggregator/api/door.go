package api

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/admission"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/wire"
)

const (
	// strangerIdle is how long a connection may stay without a call that has shown no
	// credentials, and strangerLife how long it may stay at all: an enrollment over a
	// slow link takes seconds.
	strangerIdle = 10 * time.Second
	strangerLife = 90 * time.Second
)

// door is the API's listener. It gives each connection a place among the strangers
// and does its TLS handshake. One that shows an agent's certificate takes a place of
// agents from then on, one that shows a bearer token in a call one of callers. Those
// that ask for a session of an agent never reach net/http.
type door struct {
	inner  net.Listener
	server *Server
	config *tls.Config
	// ready are those for net/http.
	ready chan net.Conn
	// ctx ends when the door is closed.
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	// failed is why the inner listener broke, set before ctx ends.
	failed error
}

// open begins to accept. Close and wait must follow.
func (s *Server) open(inner net.Listener) *door {
	d := &door{inner: inner, server: s, config: s.tls(), ready: make(chan net.Conn)}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.wg.Go(d.accept)
	return d
}

// tls returns the configuration for handshakes.
func (s *Server) tls() *tls.Config {
	base := &tls.Config{
		MinVersion:     tls.VersionTLS13,
		ClientAuth:     tls.RequestClientCert,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.options.Certificate() },
	}
	config := base.Clone()
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if c, ok := hello.Conn.(*placed); ok {
			c.old = !slices.Contains(hello.SupportedVersions, tls.VersionTLS13)
		}
		if agents := s.options.Agents; agents != nil && slices.Contains(hello.SupportedProtos, wire.ALPN) {
			return agents.TLS(), nil
		}
		// Naming the CA keeps browsers from asking their users for certificates
		// of other ones. What a client shows is verified where it counts, in
		// Renew: there an ended certificate may do.
		c := base.Clone()
		c.ClientCAs = s.options.CA.Pool()
		return c, nil
	}
	return config
}

// accept runs until the door is closed or the inner listener breaks.
func (d *door) accept() {
	defer d.cancel()
	pause := time.Duration(0)
	for {
		raw, err := d.inner.Accept()
		var temporary interface{ Temporary() bool }
		switch {
		case err == nil:
		case d.ctx.Err() != nil:
			return
		case errors.As(err, &temporary) && temporary.Temporary():
			// No descriptor is left, for instance: others go on, and give theirs back.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			d.server.failures.log(d.ctx, slog.LevelWarn, "a connection could not be accepted; trying again", "error", err)
			select {
			case <-time.After(pause):
			case <-d.ctx.Done():
			}
			continue
		default:
			d.failed = err
			return
		}
		pause = 0
		c := &placed{Conn: raw}
		if c.place, err = d.server.options.Places.Enter(admission.Network(raw.RemoteAddr().String()), c.evict); err != nil {
			d.refuse(c, slog.LevelWarn, "refused a connection", err.Error())
			continue
		}
		c.mu.Lock()
		c.life = time.AfterFunc(d.server.options.strangerLife, c.endStranger)
		c.mu.Unlock()
		d.wg.Go(func() { d.welcome(c) })
	}
}

// welcome does the handshake with a connection and hands it on.
func (d *door) welcome(c *placed) {
	ctx, cancel := context.WithTimeout(d.ctx, headerTimeout)
	defer cancel()
	conn := tls.Server(c, d.config)
	if err := conn.HandshakeContext(ctx); err != nil {
		if d.ctx.Err() == nil {
			d.explain(c, err)
		}
		c.Close()
		return
	}
	state := conn.ConnectionState()
	if len(state.PeerCertificates) > 0 {
		if agent, err := d.server.options.CA.VerifyAgent(state.PeerCertificates[0], identity.RenewalGrace); err == nil {
			if err := c.place.Become(admission.Agent, agent.ID); err != nil {
				d.refuse(c, slog.LevelWarn, "refused a connection of an agent", err.Error(), "site", agent.Site, "agent_id", agent.ID)
				return
			}
		}
	}
	if agents := d.server.options.Agents; agents != nil && state.NegotiatedProtocol == wire.ALPN {
		agents.Take(conn)
		c.Close()
		return
	}
	select {
	case d.ready <- conn:
	case <-d.ctx.Done():
		c.Close()
	}
}

// refuse counts and logs a connection that is turned away, and closes it.
func (d *door) refuse(c *placed, level slog.Level, message, reason string, args ...any) {
	d.server.metrics.refusedConnections.Inc()
	d.server.refusedConnections.log(d.ctx, level, message, append([]any{"address", c.RemoteAddr().String(), "reason", reason}, args...)...)
	c.Close()
}

func (d *door) explain(c *placed, err error) {
	if c.evicted() {
		d.refuse(c, slog.LevelWarn, "refused a connection without a TLS handshake",
			"others wait, and its network has the most connections without credentials")
		return
	}
	level, message, reason := explainHandshake(err, c.old)
	if message == plainHTTP {
		message = notTLS
		// In words that a browser or curl shows.
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = c.Write([]byte("HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"))
	}
	d.refuse(c, level, message, reason)
}

// Accept returns the next connection for net/http.
func (d *door) Accept() (net.Conn, error) {
	select {
	case conn := <-d.ready:
		return conn, nil
	case <-d.ctx.Done():
		if d.failed != nil {
			return nil, d.failed
		}
		return nil, net.ErrClosed
	}
}

// Close closes the listener, and breaks off handshakes.
func (d *door) Close() error {
	d.cancel()
	if err := d.inner.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

func (d *door) Addr() net.Addr { return d.inner.Addr() }

// wait returns when nothing of the door runs any more.
func (d *door) wait() { d.wg.Wait() }

// placed is a connection with a place, which it has until it is closed.
type placed struct {
	net.Conn
	place *admission.Place
	// old says that the client has no TLS 1.3.
	old bool

	mu sync.Mutex
	// life and idle end a stranger's connection.
	life, idle *time.Timer
	gone       bool // evicted
}

// placedOf returns the connection below one of net/http's.
func placedOf(conn net.Conn) *placed {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	c, _ := conn.(*placed)
	return c
}

// watchIdle ends a stranger's connection that has no call for too long.
func (s *Server) watchIdle(conn net.Conn, state http.ConnState) {
	c := placedOf(conn)
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle != nil {
		c.idle.Stop()
		c.idle = nil
	}
	if state == http.StateIdle && c.place.Stranger() {
		c.idle = time.AfterFunc(s.options.strangerIdle, c.endStranger)
	}
}

func (c *placed) endStranger() {
	if c.place.Stranger() {
		c.Close()
	}
}

// evict ends a connection whose place another one gets.
func (c *placed) evict() {
	c.mu.Lock()
	c.gone = true
	c.mu.Unlock()
	c.Close()
}

func (c *placed) evicted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone
}

// Close may be called more than once.
func (c *placed) Close() error {
	c.mu.Lock()
	for _, timer := range []*time.Timer{c.life, c.idle} {
		if timer != nil {
			timer.Stop()
		}
	}
	c.mu.Unlock()
	if c.place != nil {
		c.place.Leave()
	}
	return c.Conn.Close()
}
