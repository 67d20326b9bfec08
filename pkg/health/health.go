// Package health serves a program's liveness, readiness and metrics over HTTP,
// on an address that should be local or firewalled: it takes no credentials and
// tells no secrets.
package health

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"github.com/reeve-cloud/reeve/pkg/logging"
	"github.com/reeve-cloud/reeve/pkg/version"
)

// maxConnections is enough for whoever asks for health, and leaves descriptors.
const maxConnections = 64

// NewRegistry returns a metrics registry with the figures that every program
// has: Go runtime, process, and build.
func NewRegistry(program string) *prometheus.Registry {
	r := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "reeve_build_info",
		Help:        "The running build. The value is always 1.",
		ConstLabels: prometheus.Labels{"program": program, "version": version.String()},
	})
	build.Set(1)
	dropped := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "reeve_log_lines_dropped_total",
		Help: "Lines of the log that were dropped: whoever reads it was too slow, or gone.",
	}, func() float64 { return float64(logging.Dropped()) })
	r.MustRegister(build, dropped, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Server answers /healthz (the process runs), /readyz (ready returns nil, else
// 503 with its error) and /metrics.
type Server struct {
	listener net.Listener
	server   *http.Server
}

// Listen opens the address. Serve must follow.
func Listen(address string, registry *prometheus.Registry, ready func(context.Context) error) (*Server, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening for health checks and metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := ready(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return &Server{listener: netutil.LimitListener(l, maxConnections), server: &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug),
	}}, nil
}

// Addr is the address that is listened on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Close ends a server that was never served.
func (s *Server) Close() error {
	if err := s.listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Serve answers until ctx ends.
func (s *Server) Serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.server.Close() })
	defer stop()
	if err := s.server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving health checks and metrics: %w", err)
	}
	return nil
}

// Zero has the counters for these values of a vector's label be there from the
// start: an alert on a counter that is absent until it first counts never sees the
// first step.
func Zero(c *prometheus.CounterVec, values ...string) {
	for _, value := range values {
		c.WithLabelValues(value)
	}
}
