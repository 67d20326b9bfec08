// Package collect runs collectors and turns what they observe into changes.
//
// Every observation is redacted, brought into canonical form and compared, by
// the hash of what is stable in it, with what was last seen of the asset. An
// unchanged one is dropped. A changed one becomes a version, with the paths that
// changed and a hybrid-logical-clock stamp, and goes to the spool; once it is
// synced there, last seen is brought up to date from the very same frame
// ([lastseen.Store.Apply]). The spool is thus the redo log of last seen, and a crash
// between the two repeats nothing and loses nothing.
//
// The types of assets go the same way: each once, and again when a collector
// changes what it is called or how it is shown.
//
// Whether and when a scope is swept or watched is decided here ([Runner], and
// [Holdings] for scopes that another agent of the site may hold), so that collectors need no schedule, no retries and no memory of their
// own.
package collect

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/reeve-cloud/reeve/agent/lastseen"
	"github.com/reeve-cloud/reeve/agent/redact"
	"github.com/reeve-cloud/reeve/agent/spool"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// Spool is where changes go. An append returns when the records are on disk and
// last seen knows them.
type Spool interface {
	Append(context.Context, wirev1.Class, []*wirev1.Record, ...spool.Checkpoint) error
}

// Recorder turns observations into records in the spool.
type Recorder struct {
	Seen   *lastseen.Store
	Spool  Spool
	Clock  *hlc.Clock
	Logger *slog.Logger
	// Redact says what is a secret; nil means by the built-in rules alone.
	Redact *redact.Rules
	// Metrics may be nil.
	Metrics *Metrics
	// Holdings say which scopes the agent holds. Nil means all that it has.
	Holdings *Holdings
}

// release says that the agent does not look after a scope any more.
func (r *Recorder) release(scope string) {
	if r.Holdings != nil {
		r.Holdings.release(scope)
	}
}

// Metrics counts what the collectors do.
type Metrics struct {
	observations *prometheus.CounterVec
	sweeps       *prometheus.CounterVec
	lastSweep    *prometheus.GaugeVec
	failing      *prometheus.GaugeVec
}

// NewMetrics registers the metrics.
//
// What is counted by collector is there from the start, at 0, for the collectors
// that are named.
func NewMetrics(r prometheus.Registerer, collectors ...string) *Metrics {
	m := &Metrics{
		observations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reeve_agent_observations_total",
			Help: "What collectors observed, by outcome: created, updated, deleted, unchanged, refused.",
		}, []string{"collector", "outcome"}),
		sweeps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reeve_agent_sweeps_total",
			Help: "Sweeps by outcome: committed or failed.",
		}, []string{"collector", "scope", "outcome"}),
		lastSweep: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "reeve_agent_last_sweep_timestamp_seconds",
			Help: "When the scope was last swept completely; 0 if it never was.",
		}, []string{"collector", "scope"}),
		failing: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "reeve_agent_scope_failing",
			Help: "1 while the last sweep or watch of the scope failed.",
		}, []string{"collector", "scope"}),
	}
	r.MustRegister(m.observations, m.sweeps, m.lastSweep, m.failing)
	for _, name := range collectors {
		for _, outcome := range []string{"created", "updated", "deleted", "unchanged", "refused"} {
			m.observations.WithLabelValues(name, outcome)
		}
	}
	return m
}

// begin makes the metrics of a scope, so that they are there before there is anything to count. completed is
// what is known of its last complete listing from before.
func (m *Metrics) begin(s scopeID, completed time.Time) {
	if m == nil {
		return
	}
	for _, outcome := range []string{"committed", "failed"} {
		m.sweeps.WithLabelValues(s.collector, s.scope, outcome)
	}
	last := m.lastSweep.WithLabelValues(s.collector, s.scope)
	if at := completed.Unix(); at > 0 {
		last.Set(float64(at))
	}
	m.failing.WithLabelValues(s.collector, s.scope)
}

// end removes the metrics of a scope that is gone: the time of its last sweep would grow old for ever.
func (m *Metrics) end(s scopeID) {
	if m == nil {
		return
	}
	of := prometheus.Labels{"collector": s.collector, "scope": s.scope}
	m.sweeps.DeletePartialMatch(of)
	m.lastSweep.DeletePartialMatch(of)
	m.failing.DeletePartialMatch(of)
}

func (m *Metrics) observed(collector, outcome string) {
	if m != nil {
		m.observations.WithLabelValues(collector, outcome).Inc()
	}
}

func (m *Metrics) swept(s scopeID) {
	if m != nil {
		m.sweeps.WithLabelValues(s.collector, s.scope, "committed").Inc()
		m.lastSweep.WithLabelValues(s.collector, s.scope).SetToCurrentTime()
	}
}

func (m *Metrics) sweepFailed(s scopeID) {
	if m != nil {
		m.sweeps.WithLabelValues(s.collector, s.scope, "failed").Inc()
	}
}

func (m *Metrics) health(s scopeID, failing bool) {
	if m == nil {
		return
	}
	value := 0.0
	if failing {
		value = 1
	}
	m.failing.WithLabelValues(s.collector, s.scope).Set(value)
}

// scopeID names a scope in the agent.
type scopeID struct{ collector, scope string }

func (s scopeID) String() string { return s.collector + "/" + s.scope }
