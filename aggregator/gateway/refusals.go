package gateway

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/qlog"
	"github.com/quic-go/quic-go/qlogwriter"
)

// refusals logs what was turned away: the first of a kind from an address at
// once, and then how many more, at most once a minute. A flood fills no disk.
type refusals struct {
	logger *slog.Logger
	count  *prometheus.CounterVec

	mu   sync.Mutex
	last map[string]*refused
}

type refused struct {
	logged time.Time
	since  int
}

const (
	refusalPause = time.Minute
	// maxRefusals bounds the table: addresses of datagrams can be forged.
	maxRefusals = 1024
)

// refusedReasons are the kinds that are counted.
var refusedReasons = []string{"bad-packet", "certificate", "clone", "not-quic", "session", "too-many", "unknown-session"}

func newRefusals(logger *slog.Logger, count *prometheus.CounterVec) *refusals {
	return &refusals{logger: logger, count: count, last: make(map[string]*refused)}
}

func (r *refusals) log(kind string, from net.Addr, message string, err error) {
	r.count.WithLabelValues(kind).Inc()
	key, address := kind, "unknown"
	if from != nil {
		address = from.String()
		if host, _, err := net.SplitHostPort(address); err == nil {
			key += " " + host
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.last[key]
	if known == nil {
		if len(r.last) >= maxRefusals {
			clear(r.last)
		}
		known = new(refused)
		r.last[key] = known
	}
	if time.Since(known.logged) < refusalPause {
		known.since++
		return
	}
	args := []any{"address", address}
	if err != nil {
		args = append(args, "error", err)
	}
	if known.since > 0 {
		args = append(args, "more_since_last", known.since)
	}
	r.logger.Warn(message, args...) //nolint:sloglint // callers have constants
	known.logged, known.since = time.Now(), 0
}

// watchForeign takes the datagrams that are not QUIC at all. The transport
// hands them over only when asked.
func (r *refusals) watchForeign(ctx context.Context, t *quic.Transport) {
	buf := make([]byte, 2048)
	for {
		_, from, err := t.ReadNonQUICPacket(ctx, buf)
		if err != nil {
			return
		}
		r.log("not-quic", from, "dropped datagrams that are not QUIC", nil)
	}
}

// dropped hears of the datagrams that the transport drops because they belong
// to no connection. Their addresses are not told.
type dropped struct{ *refusals }

var _ qlogwriter.Recorder = dropped{}

// RecordEvent implements [qlogwriter.Recorder].
func (d dropped) RecordEvent(e qlogwriter.Event) {
	p, ok := e.(qlog.PacketDropped)
	switch {
	case !ok:
	case p.Trigger == qlog.PacketDropUnknownConnectionID:
		// Usual after a restart: agents still speak of their old sessions, and
		// learn by the answer that those are gone.
		d.log("unknown-session", nil, "dropped datagrams of sessions that are not open here", nil)
	default:
		d.log("bad-packet", nil, "dropped datagrams that look like QUIC and are not ("+string(p.Trigger)+")", nil)
	}
}

// Close implements [qlogwriter.Recorder].
func (dropped) Close() error { return nil }
