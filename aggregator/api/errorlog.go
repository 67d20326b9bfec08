package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
)

// errorLog puts what net/http complains of into the log.
type errorLog struct{ server *Server }

// Write takes one line.
func (e errorLog) Write(line []byte) (int, error) {
	// What single clients do wrong.
	e.server.failures.log(context.Background(), slog.LevelDebug, "the API's HTTP server complains", "complaint",
		strings.TrimSpace(string(line)))
	return len(line), nil
}

const (
	notTLS    = "refused a connection that is not TLS"
	plainHTTP = "plain HTTP"
)

// explainHandshake says in plain words why a handshake failed. Old says that the
// client has no TLS 1.3.
func explainHandshake(err error, old bool) (level slog.Level, message, reason string) {
	var record tls.RecordHeaderError
	var operation *net.OpError
	switch {
	case errors.As(err, &record) && looksLikeHTTP(record.RecordHeader[:]):
		return slog.LevelWarn, plainHTTP, "it speaks plain HTTP: use https://"
	case errors.As(err, &record):
		return slog.LevelWarn, notTLS, "its first bytes are not those of TLS"
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded):
		return slog.LevelWarn, "refused a connection without a TLS handshake",
			"it sent nothing, or no whole handshake, within " + headerTimeout.String()
	case errors.As(err, &operation) && operation.Op == "remote error":
		return slog.LevelWarn, "a client refused the TLS handshake", err.Error()
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE):
		// Port scans and health checks of load balancers do this all day.
		return slog.LevelDebug, "a connection ended before its TLS handshake", err.Error()
	case old:
		return slog.LevelWarn, "refused a connection: no common TLS version", "the client must have TLS 1.3"
	}
	return slog.LevelWarn, "refused a connection: its TLS handshake failed", err.Error()
}

func looksLikeHTTP(header []byte) bool {
	for _, method := range []string{"GET /", "HEAD ", "POST ", "PUT /", "OPTIO"} {
		if bytes.HasPrefix(header, []byte(method)) {
			return true
		}
	}
	return false
}
