package api

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// maxWaiting is how many connections are told at once that they must wait.
const maxWaiting = 64

// TellToWait answers every call with 503 and what say returns, while the aggregator
// cannot answer yet, until ctx ends. The listener stays open.
func TellToWait(ctx context.Context, listener *net.TCPListener, certificate func() (*tls.Certificate, error), say func() string) error {
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Retry-After", "5")
			w.WriteHeader(http.StatusServiceUnavailable)
			// The form of Connect's errors. A caller who is gone needs no answer.
			_ = json.NewEncoder(w).Encode(map[string]string{"code": "unavailable", "message": say()})
		}),
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"},
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate() }},
		ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout, WriteTimeout: headerTimeout, IdleTimeout: headerTimeout,
		MaxHeaderBytes: maxHeader, ErrorLog: log.New(io.Discard, "", 0),
	}
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(netutil.LimitListener(lent{listener}, maxWaiting), "", "") }()
	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
		_ = server.Close() // its connections; nobody is to be let finish
		err = <-served
	}
	if e := listener.SetDeadline(time.Time{}); !errors.Is(err, http.ErrServerClosed) || e != nil {
		return fmt.Errorf("telling callers to wait: %w", errors.Join(err, e))
	}
	return nil
}

// lent is a listener that its borrower cannot close: it accepts nothing more until its
// deadline is set again.
type lent struct{ *net.TCPListener }

func (l lent) Close() error { return l.SetDeadline(time.Unix(1, 0)) }
