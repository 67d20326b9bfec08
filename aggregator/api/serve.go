package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

func (s *Server) newHTTPServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler: handler,
		// The door has done the handshakes; this says what was agreed on there.
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"}},
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
		ConnState: s.watchIdle,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, placedKey{}, placedOf(conn))
		},
		ErrorLog: log.New(errorLog{s}, "", 0),
	}
}

// placedKey is that of the connection in the contexts of its calls.
type placedKey struct{}

// Serve answers until ctx ends, and returns nil then. Calls that are under way
// get a few seconds to finish; streams are cut at once. An error means that the
// listener failed.
func (s *Server) Serve(ctx context.Context) error {
	door := s.open(s.options.Listener)
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(door) }()
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
	// The server closes it too, unless it never came to serve.
	if err := door.Close(); err != nil {
		s.options.Logger.Warn("closing the API's listener", "error", err)
	}
	door.wait()
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
