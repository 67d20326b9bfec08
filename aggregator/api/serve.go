package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/reeve-cloud/reeve/pkg/wire"
)

func (s *Server) newHTTPServer(handler http.Handler) *http.Server {
	base := &tls.Config{
		MinVersion:     tls.VersionTLS13,
		ClientAuth:     tls.RequestClientCert,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.options.Certificate() },
	}
	config := base.Clone()
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
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
	server := &http.Server{
		Handler:   handler,
		TLSConfig: config,
		// Bodies and responses have deadlines of their own: see guard.
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams,
			SendPingTimeout:      30 * time.Second,
			PingTimeout:          15 * time.Second,
			WriteByteTimeout:     writeTimeout,
		},
		ErrorLog: log.New(errorLog{s}, "", 0),
	}
	if agents := s.options.Agents; agents != nil {
		server.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){
			wire.ALPN: func(_ *http.Server, conn *tls.Conn, _ http.Handler) {
				// Agents take no places of the API's: the gateway bounds them.
				if c, ok := conn.NetConn().(*limitedConn); ok {
					c.leave()
				}
				agents.Take(conn)
			},
		}
		// With another protocol in the map, HTTP/2 must be asked for.
		server.Protocols = new(http.Protocols)
		server.Protocols.SetHTTP1(true)
		server.Protocols.SetHTTP2(true)
	}
	return server
}

// limitedListener waits with accepting while there are no places.
type limitedListener struct {
	net.Listener
	places chan struct{}
	closed chan struct{}
	close  func() error
}

func limit(l net.Listener, places int) *limitedListener {
	closed := make(chan struct{})
	return &limitedListener{
		Listener: l, places: make(chan struct{}, places), closed: closed,
		close: sync.OnceValue(func() error {
			close(closed)
			return l.Close()
		}),
	}
}

func (l *limitedListener) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &limitedConn{Conn: conn, leave: sync.OnceFunc(func() { <-l.places })}, nil
}

func (l *limitedListener) Close() error { return l.close() }

// limitedConn has a place until it is closed, or leaves it before.
type limitedConn struct {
	net.Conn
	leave func()
}

func (c *limitedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// Serve answers until ctx ends, and returns nil then. Calls that are under way
// get a few seconds to finish; streams are cut at once. An error means that the
// listener failed.
func (s *Server) Serve(ctx context.Context) error {
	served := make(chan error, 1)
	go func() {
		served <- s.http.ServeTLS(limit(s.options.Listener, maxConnections), "", "")
	}()
	var failed error
	select {
	case failed = <-served:
	case <-ctx.Done():
	}

	s.cutStreams()
	s.stop(context.WithoutCancel(ctx))
	if failed == nil {
		failed = <-served
	}
	if !errors.Is(failed, http.ErrServerClosed) {
		return fmt.Errorf("serving the API: %w", failed)
	}
	return nil
}

// stop lets calls that are under way finish, for so long, and closes all
// connections. Shutdown alone would also wait for connections that have not
// begun a call.
func (s *Server) stop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	shut := make(chan struct{})
	go func() {
		defer close(shut)
		_ = s.http.Shutdown(ctx)
	}()
	finished := s.calls.wait(stopTimeout)
	if finished {
		// Their answers may still be on their way out.
		select {
		case <-shut:
		case <-time.After(flushTimeout):
		}
	} else {
		s.options.Logger.Warn("API calls are cut off: they did not finish in time", "time", stopTimeout)
	}
	cancel()
	_ = s.http.Close() // ends the contexts of calls
	<-shut
	if !finished && !s.calls.wait(time.Second) {
		s.options.Logger.Error("API calls go on though their connections are closed")
	}
}

// calls counts the calls that are under way.
type calls struct {
	mu     sync.Mutex
	n      int
	closed bool
	none   chan struct{}
}

// enter begins a call; leave must follow unless it returns false.
func (c *calls) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.n++
	return true
}

func (c *calls) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n--
	if c.n == 0 && c.none != nil {
		close(c.none)
		c.none = nil
	}
}

// wait lets no more calls begin and waits until none is under way. It returns
// false if that takes longer than timeout.
func (c *calls) wait(timeout time.Duration) bool {
	c.mu.Lock()
	c.closed = true
	none := make(chan struct{})
	if c.n == 0 {
		close(none)
	} else {
		c.none = none
	}
	c.mu.Unlock()
	select {
	case <-none:
		return true
	case <-time.After(timeout):
		return false
	}
}
