package api

import (
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/reeve-cloud/reeve/pkg/health"
)

type metrics struct {
	calls              *prometheus.CounterVec
	seconds            *prometheus.HistogramVec
	refusedCalls       *prometheus.CounterVec
	refusedEnrollments *prometheus.CounterVec
	refusedConnections prometheus.Counter
	panics             prometheus.Counter
}

// The reasons that are counted.
var (
	refusedCallReasons       = []string{"expired", "malformed", "missing", "role", "too_many", "unknown"}
	refusedEnrollmentReasons = []string{
		"bad_certificate", "bad_request", "expired_token", "no_certificate", "revoked_agent", "too_often", "unknown_agent", "unknown_token",
		"used_up_token",
	}
)

// newMetrics registers the API's metrics, unless r is nil.
func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reeve_api_calls_total",
			Help: "API calls that were let in and have ended, by procedure and code (\"ok\", or Connect's name of the error).",
		}, []string{"procedure", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "reeve_api_call_seconds",
			Help:    "How long API calls took; of a stream, its life.",
			Buckets: []float64{.001, .005, .025, .1, .5, 2, 10, 60},
		}, []string{"procedure"}),
		refusedCalls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reeve_api_refused_calls_total",
			Help: "API calls that were refused for want of a good bearer token, by reason.",
		}, []string{"reason"}),
		refusedEnrollments: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reeve_api_refused_enrollments_total",
			Help: "Requests of agents to join or renew that were refused, by reason.",
		}, []string{"reason"}),
		refusedConnections: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "reeve_api_refused_connections_total",
			Help: "Connections to the API's port that failed before their first call: not TLS, or no agreement.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "reeve_api_panics_total",
			Help: "API calls that ended in a panic.",
		}),
	}
	health.Zero(m.refusedCalls, refusedCallReasons...)
	health.Zero(m.refusedEnrollments, refusedEnrollmentReasons...)
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.calls, m.seconds, m.refusedCalls, m.refusedEnrollments, m.refusedConnections, m.panics} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) observe(procedure string, err error, d time.Duration) {
	code := "ok"
	if err != nil {
		code = connect.CodeOf(err).String()
	}
	m.calls.WithLabelValues(procedure, code).Inc()
	m.seconds.WithLabelValues(procedure).Observe(d.Seconds())
}
