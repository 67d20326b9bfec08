package api

import (
	"context"
	"log/slog"
	"strings"
)

// errorLog puts what net/http complains of into plain words.
type errorLog struct{ server *Server }

// Write takes one line.
func (e errorLog) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	ctx := context.Background()
	if rest, ok := strings.CutPrefix(text, "http: TLS handshake error from "); ok {
		address, reason, _ := strings.Cut(rest, ": ")
		level, message, reason := explainHandshake(reason)
		e.server.metrics.refusedConnections.Inc()
		e.server.refusedConnections.log(ctx, level, message, "address", address, "reason", reason)
		return len(line), nil
	}
	level := slog.LevelDebug // what single clients do wrong
	if strings.HasPrefix(text, "http: Accept error") {
		level = slog.LevelWarn
	}
	e.server.failures.log(ctx, level, "the API's HTTP server complains", "complaint", text)
	return len(line), nil
}

const notTLS = "refused a connection that is not TLS"

// handshakeErrors explains the errors of crypto/tls by a part of their text;
// the first that fits counts.
var handshakeErrors = []struct {
	part    string
	level   slog.Level
	message string
	reason  string // empty: the error as it is
}{
	{"client sent an HTTP request to an HTTPS server", slog.LevelWarn, notTLS, "it speaks plain HTTP: use https://"},
	{"first record does not look like a TLS handshake", slog.LevelWarn, notTLS, "its first bytes are not those of TLS"},
	{"oversized record received", slog.LevelWarn, notTLS, "its first bytes are not those of TLS"},
	{"received record with version", slog.LevelWarn, notTLS, "its first bytes are not those of TLS"},
	{"unsupported SSLv2 handshake", slog.LevelWarn, notTLS, "it speaks SSL 2"},
	{"i/o timeout", slog.LevelWarn, "refused a connection without a TLS handshake", "it sent nothing, or no whole handshake, within " + headerTimeout.String()},
	{"client offered only unsupported versions", slog.LevelWarn, "refused a connection: no common TLS version", "the client must have TLS 1.3"},
	{"unsupported application protocols", slog.LevelWarn, "refused a connection: no common protocol", ""},
	{"remote error: tls: ", slog.LevelWarn, "a client refused the TLS handshake", ""},
	// Port scans and health checks of load balancers do this all day.
	{"EOF", slog.LevelDebug, "a connection ended before its TLS handshake", ""},
	{"connection reset by peer", slog.LevelDebug, "a connection ended before its TLS handshake", ""},
	{"broken pipe", slog.LevelDebug, "a connection ended before its TLS handshake", ""},
}

func explainHandshake(problem string) (level slog.Level, message, reason string) {
	for _, e := range handshakeErrors {
		if strings.Contains(problem, e.part) {
			if e.reason == "" {
				return e.level, e.message, problem
			}
			return e.level, e.message, e.reason
		}
	}
	return slog.LevelWarn, "refused a connection: its TLS handshake failed", problem
}
