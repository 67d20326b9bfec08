package ingest

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/health"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

type metrics struct {
	records  *prometheus.CounterVec
	missing  *prometheus.CounterVec
	again    *prometheus.CounterVec
	groups   *prometheus.CounterVec
	refused  *prometheus.CounterVec
	aside    prometheus.Counter
	paused   prometheus.Gauge
	duration prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reeve_ingest_records_total",
			Help: "Records committed, by what became of them: asset_type, version, event, usage, gap, dead_letter."}, []string{"kind"}),
		missing: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reeve_ingest_given_up_records_total",
			Help: "Records that agents gave up, by class and reason: budget, damaged, disk."}, []string{"class", "reason"}),
		again: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reeve_ingest_repeated_records_total",
			Help: "Records that agents sent again and that were not taken again."}, []string{"class"}),
		groups: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reeve_ingest_groups_total",
			Help: "Attempts to commit a group, by outcome: committed or failed."}, []string{"outcome"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reeve_ingest_refused_total",
			Help: "What agents sent or wanted and that was refused before anything was stored of it: batches (whose records are not read), " +
				"spools (begun too often)."},
			[]string{"what"}),
		aside: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "reeve_ingest_set_aside_total",
			Help: "Groups and batches of the commit log that were set aside at start, because they could not be read or the aggregator died of " +
				"them."}),
		paused: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "reeve_ingest_paused", Help: "1 while nothing is taken of agents because the disk, or the warehouse, does not take it."}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "reeve_ingest_commit_seconds",
			Help:    "Time from the freezing of a group to its acknowledgement.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 14)}),
	}
	health.Zero(m.records, "asset_type", "version", "event", "usage", "gap", "dead_letter")
	health.Zero(m.groups, "committed", "failed")
	for _, class := range []wirev1.Class{wirev1.Class_CLASS_ASSETS, wirev1.Class_CLASS_EVENTS} {
		health.Zero(m.again, wire.ClassName(class))
		for _, reason := range gapReasons {
			m.missing.WithLabelValues(wire.ClassName(class), reason)
		}
	}
	if r != nil {
		r.MustRegister(m.records, m.missing, m.again, m.groups, m.refused, m.aside, m.paused, m.duration)
	}
	for _, what := range []string{"batches", "spools"} {
		m.refused.WithLabelValues(what)
	}
	return m
}

func (m *metrics) committed(g *warehouse.Group) {
	m.records.WithLabelValues("asset_type").Add(float64(len(g.Types)))
	m.records.WithLabelValues("version").Add(float64(len(g.Versions)))
	m.records.WithLabelValues("event").Add(float64(len(g.Events)))
	m.records.WithLabelValues("usage").Add(float64(len(g.Usage)))
	m.records.WithLabelValues("gap").Add(float64(len(g.Gaps)))
	for _, p := range g.Gaps {
		m.missing.WithLabelValues(p.Class, p.Reason).Add(float64(p.Versions + p.AssetTypes + p.Events + p.Usages + p.Unknown))
	}
	m.records.WithLabelValues("dead_letter").Add(float64(len(g.DeadLetters)))
	m.groups.WithLabelValues("committed").Inc()
}

func (m *metrics) failed() { m.groups.WithLabelValues("failed").Inc() }

func (m *metrics) repeated(class wirev1.Class, records uint32) {
	m.again.WithLabelValues(wire.ClassName(class)).Add(float64(records))
}
