package session_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/reeve-cloud/reeve/agent/enroll"
	"github.com/reeve-cloud/reeve/agent/uplink"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/transport"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
	"github.com/reeve-cloud/reeve/test/centre"
)

// way leads to a centre over TCP and lets no datagram through.
type way struct {
	// address is where it begins.
	address string
	mu      sync.Mutex
	conns   []net.Conn
	// asked are the CONNECT requests that came.
	asked []*http.Request
}

// newWay makes one; begin prepares each connection, before bytes go both ways.
func newWay(t *testing.T, c *centre.Centre, begin func(w *way, conn net.Conn) error) *way {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &way{address: l.Addr().String()}
	behind := c.Address
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				if err := begin(w, conn); err != nil {
					return
				}
				to, err := net.Dial("tcp", behind)
				if err != nil {
					return
				}
				defer to.Close()
				w.mu.Lock()
				w.conns = append(w.conns, conn, to)
				w.mu.Unlock()
				var both sync.WaitGroup
				pipe := func(to, from net.Conn) {
					io.Copy(to, from)
					to.(*net.TCPConn).CloseWrite()
				}
				both.Go(func() { pipe(to, conn) })
				both.Go(func() { pipe(conn, to) })
				both.Wait()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		w.cut()
		running.Wait()
	})
	return w
}

// cut breaks all connections.
func (w *way) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, conn := range w.conns {
		conn.Close()
	}
	w.conns = nil
}

func plain(*way, net.Conn) error { return nil }

func (e *edge) overTCP() {
	e.t.Helper()
	centre.WaitFor(e.t, "a session over TCP", func() bool {
		for _, l := range e.c.Registry.AllLiveness() {
			if l.Connected && l.Transport == string(transport.TCP) {
				return true
			}
		}
		return false
	})
}

func TestShipOverTCP(t *testing.T) {
	c := centre.New(t)
	w := newWay(t, c, plain)
	e := newEdgeWith(t, c, func(u *uplink.Uplink) {
		u.Addresses, u.Limit = []string{w.address}, rate.NewLimiter(1<<20, 1<<10)
	})
	e.observe(20)
	e.arrived(20)
	e.overTCP()

	// The connection breaks in the middle of shipping.
	for range 3 {
		e.observe(50)
		w.cut()
		e.observe(50)
		e.arrived(e.sent)
	}
	// The aggregator goes, and says why.
	c.Stop()
	centre.WaitFor(t, "the agent hears the reason", func() bool {
		return strings.Contains(e.log.String(), "the aggregator ended the session: the aggregator is stopping")
	})
	e.observe(10)
	c.Start()
	e.observe(10)
	e.arrived(e.sent)
	e.overTCP()

	e.stop()
	c.Logged(`reason="the agent is stopping"`)
}

// TestSeveralAddresses has the right one behind wrong ones.
func TestSeveralAddresses(t *testing.T) {
	c := centre.New(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	e := newEdgeWith(t, c, func(u *uplink.Uplink) {
		u.Addresses = []string{closed.Addr().String(), "localhost:" + c.Address[strings.LastIndexByte(c.Address, ':')+1:]}
	})
	e.observe(5)
	e.arrived(5)
	if text := e.log.String(); strings.Contains(text, "no session with the aggregator") {
		t.Errorf("the round was given up before its end:\n%s", text)
	}
}

// proxied lets through who asks as a proxy is asked, with the right user.
func proxied(w *way, conn net.Conn) error {
	r, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.asked = append(w.asked, r)
	w.mu.Unlock()
	user, password, _ := (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth()
	if r.Method != http.MethodConnect || user != "reeve" || password != "s3cret" {
		io.WriteString(conn, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
		return errors.New("not allowed")
	}
	_, err = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
	return err
}

// TestThroughProxy enrolls and ships through a proxy, at an address where there is
// nothing without it.
func TestThroughProxy(t *testing.T) {
	c := centre.New(t)
	w := newWay(t, c, proxied)
	nothing, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nothing.Close()
	address := nothing.Addr().String()
	proxy := func(user *url.Userinfo) transport.Proxy {
		return transport.FixedProxy(&url.URL{Scheme: "http", Host: w.address, User: user})
	}
	right := proxy(url.UserPassword("reeve", "s3cret"))
	wrong := proxy(url.UserPassword("reeve", "wr0ng"))

	token := c.Token("west", 2, time.Hour)
	token.Addresses = []string{address}
	if err := enroll.Check(t.Context(), t.TempDir(), address, token, right); err != nil {
		t.Error(err)
	}
	if err := enroll.Check(t.Context(), t.TempDir(), address, token, proxy(nil)); err == nil ||
		!strings.Contains(err.Error(), "wants a user and a password (407)") {
		t.Errorf("without a user: %v", err)
	}
	id, err := enroll.Join(t.Context(), t.TempDir(), token, nil, "host", right, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	reached, err := uplink.Probe(t.Context(), address, right, id.ClientTLS())
	if err != nil || reached.Transport != transport.TCP || reached.NotQUIC == nil {
		t.Errorf("probing: %+v, %v", reached, err)
	}

	e := newEdgeWith(t, c, func(u *uplink.Uplink) { u.Addresses, u.Proxy = []string{address}, right })
	e.observe(20)
	e.arrived(20)
	e.overTCP()
	w.mu.Lock()
	for _, r := range w.asked {
		if r.Host != address {
			t.Errorf("the proxy was asked for %s, not %s", r.Host, address)
		}
	}
	w.mu.Unlock()

	refused := newEdgeWith(t, c, func(u *uplink.Uplink) { u.Addresses, u.Proxy = []string{address}, wrong })
	centre.WaitFor(t, "the agent says that the proxy refuses", func() bool {
		return strings.Contains(refused.log.String(), "does not accept the user and password that are configured (407)")
	})
	for _, log := range []string{e.log.String(), refused.log.String(), c.Log.String()} {
		if strings.Contains(log, "s3cret") || strings.Contains(log, "wr0ng") {
			t.Errorf("a password is in a log:\n%s", log)
		}
	}
}

// TestGarbageOverTCP knocks at the port as an agent does, and then does not keep to
// the protocol below that of sessions.
func TestGarbageOverTCP(t *testing.T) {
	c := centre.New(t)
	e := newEdge(t, c)
	id := c.Join(t.TempDir())
	handshake := func(protocols ...string) *tls.Conn {
		t.Helper()
		config := id.ClientTLS()
		config.NextProtos = protocols
		conn, err := tls.Dial("tcp", c.Address, config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	for name, attack := range map[string]func(*tls.Conn){
		"HTTP":     func(conn *tls.Conn) { io.WriteString(conn, "GET / HTTP/1.1\r\nHost: reeve\r\n\r\n") },
		"hangs up": func(conn *tls.Conn) { conn.Close() },
	} {
		conn := handshake(wire.ALPN)
		attack(conn)
		conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		_, err := io.Copy(io.Discard, conn)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			t.Errorf("%s: the connection stays", name)
		}
		e.observe(1)
		e.arrived(e.sent)
	}
	c.Logged("refused a session of agent")
	// The API is still there, with HTTP/2.
	conn := handshake("h2", "http/1.1")
	if got := conn.ConnectionState().NegotiatedProtocol; got != "h2" {
		t.Errorf("the API speaks %q", got)
	}
	// Without a certificate there is no handshake.
	config := identity.PinnedClient(c.CA.Pin())
	config.NextProtos = []string{wire.ALPN}
	bare, err := tls.Dial("tcp", c.Address, config)
	if err == nil {
		// In TLS 1.3 the client learns it by its first read.
		_, err = bare.Read(make([]byte, 1))
		bare.Close()
	}
	if err == nil {
		t.Error("a client without a certificate was let in")
	}
}

// TestSilentAgentOverTCP opens a session over TCP and says no more.
func TestSilentAgentOverTCP(t *testing.T) {
	t.Parallel()
	c := centre.New(t)
	conn := raw(t, transport.TCP, c)
	s := hello(t, conn, goodHello)
	var w wirev1.Control
	if err := wire.ReadMessage(bufio.NewReader(s), wire.MaxControlFrame, &w); err != nil || w.GetWelcome() == nil {
		t.Fatalf("%v, %v", &w, err)
	}
	go io.Copy(io.Discard, s)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	select {
	case <-conn.Done():
	case <-ctx.Done():
		t.Fatal("the session stays")
	}
	var closed *transport.CloseError
	if !errors.As(conn.Cause(), &closed) || closed.Code != wire.CodeSilent {
		t.Error(fmt.Errorf("ended with %w", conn.Cause()))
	}
}
