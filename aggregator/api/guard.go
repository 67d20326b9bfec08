package api

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"
)

// exchange is what a handler may need to know of its HTTP exchange.
type exchange struct {
	control *http.ResponseController
	// certificate is the one that the client proved to hold, not verified; nil
	// if it showed none.
	certificate *x509.Certificate
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) exchange {
	x, _ := ctx.Value(exchangeKey{}).(exchange)
	return x
}

// guard bounds each exchange in size and time, and keeps a panic within it.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.calls.enter() {
			http.Error(w, "the aggregator is stopping", http.StatusServiceUnavailable)
			return
		}
		defer s.calls.leave()
		// Handlers have a recover of their own, with an answer. This one is for
		// what is around them.
		defer func() {
			if p := recover(); p != nil {
				if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(p)
				}
				s.logPanic(r.Context(), r.URL.Path, p)
				panic(http.ErrAbortHandler)
			}
		}()

		x := exchange{control: http.NewResponseController(w)}
		if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
			x.certificate = r.TLS.PeerCertificates[0]
		}
		// An error means that the connection is gone: reading it will tell.
		_ = x.control.SetReadDeadline(time.Now().Add(bodyTimeout))
		_ = x.control.SetWriteDeadline(time.Now().Add(bodyTimeout + writeTimeout))
		r.Body = &timedBody{http.MaxBytesReader(w, r.Body, maxBody), x.control}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x)))
	})
}

// timedBody lifts the read deadline when the body is read: from then on it would
// end a call that takes long to answer.
type timedBody struct {
	io.ReadCloser
	control *http.ResponseController
}

func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

func (s *Server) logPanic(ctx context.Context, procedure string, p any) {
	s.metrics.panics.Inc()
	s.failures.log(ctx, slog.LevelError, "an API call panicked", "procedure", procedure, "panic", p, "stack", string(debug.Stack()))
}
