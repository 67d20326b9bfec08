package kubernetes

import (
	"context"
	"errors"
	"time"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/cluster"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/kinds"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/object"
)

// The kinds of metrics, served where something measures: metrics-server, or an
// adapter of another monitoring system.
const (
	kindPodMetrics  = "metrics.k8s.io/pods"
	kindNodeMetrics = "metrics.k8s.io/nodes"
)

// usageBatch is how many facts of usage are applied in one step.
const usageBatch = 1024

// pace is the times by which usage is collected.
type pace struct {
	// list is how often metrics are listed.
	list time.Duration
	// tell is how often a period that is not over is told of.
	tell time.Duration
	// gap is how long there may be no sample of an object. The next one stands
	// for the time since the last; behind a longer gap a new period begins.
	gap time.Duration
	// patience is how long metrics may fail to be listed before it is a failure
	// of the scope.
	patience time.Duration
}

var usualPace = pace{list: time.Minute, tell: 10 * time.Minute, gap: 5 * time.Minute, patience: 5 * time.Minute}

// measured returns the kind of the objects that a kind of metrics is about, and
// whether their usage is collected: where they are collected themselves.
func (o *options) measured(metrics object.Kind) (subject object.Kind, ok bool) {
	switch metrics.String() {
	case kindPodMetrics:
		subject = object.Kind{Version: "v1", Kind: "Pod", Resource: "pods", Namespaced: true}
	case kindNodeMetrics:
		subject = object.Kind{Version: "v1", Kind: "Node", Resource: "nodes"}
	default:
		return subject, false
	}
	return subject, o.Usage && o.selects(subject) && !matches(o.Exclude, metrics)
}

// metrics returns the kinds of metrics that are served and collected.
func (c *collector) metrics() (list []object.Kind) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range []string{kindPodMetrics, kindNodeMetrics} {
		served := c.served[name] // of no kind if it is not served
		if _, ok := c.opts.measured(served.Kind); ok {
			list = append(list, served.Kind)
		}
	}
	return list
}

// watchUsage lists metrics again and again, and tells of what was used.
func (c *collector) watchUsage(ctx context.Context, k *cluster.Cluster, o *observer, out plugin.Sink) error {
	meters := make(map[string]*meter)
	tellAll := func() error {
		for _, m := range meters {
			if err := m.tellAll(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	ticks := time.NewTicker(c.pace.list)
	defer ticks.Stop()
	var listed time.Time
	for {
		var failure error
		for _, kind := range c.metrics() {
			m := meters[kind.String()]
			if m == nil {
				subject, _ := c.opts.measured(kind)
				m = newMeter(c.pace, subject, o.names, out)
				meters[kind.String()] = m
			}
			err := c.readMeter(ctx, k, kind, m)
			if m.failed != nil {
				return m.failed
			}
			failure = errors.Join(failure, err)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case failure == nil:
			listed = time.Now()
		case time.Since(listed) > c.pace.patience:
			if err := tellAll(); err != nil {
				return err
			}
			return failure
		default:
			// What serves the metrics restarts, or the API server does: the next
			// metrics make up for those that are missing.
			c.log.Debug("metrics cannot be listed; trying again", "error", failure)
			if cluster.NotFound(failure) {
				// It may have been removed. Then this ends in a moment.
				c.definitionsChanged()
				if err := tellAll(); err != nil {
					return err
				}
			}
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// readMeter takes in the metrics of a kind as they are now.
func (c *collector) readMeter(ctx context.Context, k *cluster.Cluster, kind object.Kind, m *meter) error {
	m.begin()
	var unreadable int
	var example error
	if _, err := k.List(ctx, kind, c.opts.query(), func(x *object.Object) error {
		if !c.opts.selectsObject(x) {
			return nil
		}
		sample, err := kinds.Metrics(x)
		if err != nil {
			unreadable, example = unreadable+1, err
			return nil
		}
		return m.add(ctx, x.Meta.Namespace, x.Meta.Name, sample)
	}, nil); err != nil {
		return err
	}
	if unreadable > 0 {
		c.log.Warn("metrics cannot be read; what was used is not known", "kind", kind.String(), "objects", unreadable, "error", example)
	}
	return m.end(ctx)
}

// meter adds up the metrics of one kind of objects to periods, and tells of them.
// A period is an hour by the clock, or the part of it that was measured: from the
// first sample, which says no more than when measuring began, to the last. Each
// sample stands for the time since the one before.
//
// Of each object it keeps its name and a few numbers.
type meter struct {
	pace    pace
	subject object.Kind
	names   object.Names
	out     plugin.Sink
	periods map[subjectName]period
	// listing is the number of the listing under way.
	listing uint32
	// facts are those that are to be applied.
	facts []plugin.Fact
	// failed is the error of the sink.
	failed error
}

type subjectName struct{ namespace, name string }

// period is what an object used. Times are in Unix seconds: those of metrics
// have no fractions.
type period struct {
	start, end int64
	// told is the end as it was told last.
	told int64
	// In core-seconds and byte-seconds.
	cpu, memory float64
	// listing is the last one that had the object.
	listing uint32
}

const hour = int64(time.Hour / time.Second)

func newMeter(p pace, subject object.Kind, names object.Names, out plugin.Sink) *meter {
	return &meter{pace: p, subject: subject, names: names, out: out, periods: make(map[subjectName]period)}
}

// begin begins a listing.
func (m *meter) begin() { m.listing++ }

// add takes in a sample of an object.
func (m *meter) add(ctx context.Context, namespace, name string, s kinds.Sample) error {
	who, at := subjectName{namespace, name}, s.At.Unix()
	p, known := m.periods[who]
	if known && time.Duration(max(at-p.end, p.end-at))*time.Second > m.pace.gap {
		if err := m.tell(ctx, who, &p); err != nil {
			return err
		}
		known = false
	}
	if !known {
		// Told as if long ago, so that its turn comes with the second sample:
		// many a pod lives for minutes only.
		p = period{start: at, end: at, told: at - int64(m.pace.tell/time.Second)}
	}
	for p.end < at {
		full := (p.end/hour + 1) * hour
		until := min(at, full)
		p.cpu += s.CPU * float64(until-p.end)
		p.memory += s.Memory * float64(until-p.end)
		p.end = until
		if until == full {
			if err := m.tell(ctx, who, &p); err != nil {
				return err
			}
			p = period{start: full, end: full, told: full}
		}
	}
	p.listing = m.listing
	m.periods[who] = p
	return nil
}

// end ends a complete listing: an object that was not in it is gone. It tells of
// the periods whose turn it is.
func (m *meter) end(ctx context.Context) error {
	for who, p := range m.periods {
		gone := p.listing != m.listing
		if gone || time.Duration(p.end-p.told)*time.Second >= m.pace.tell {
			if err := m.tell(ctx, who, &p); err != nil {
				return err
			}
		}
		if gone {
			delete(m.periods, who)
		} else {
			m.periods[who] = p
		}
	}
	return m.flush(ctx)
}

// tellAll tells of all periods as far as they have come.
func (m *meter) tellAll(ctx context.Context) error {
	for who, p := range m.periods {
		if err := m.tell(ctx, who, &p); err != nil {
			return err
		}
		m.periods[who] = p
	}
	return m.flush(ctx)
}

// tell tells of a period, if there is any news in it.
func (m *meter) tell(ctx context.Context, who subjectName, p *period) error {
	if p.end == p.start || p.end == p.told {
		return nil
	}
	p.told = p.end
	cpu := plugin.Usage{
		Subject: m.names.Key(m.subject.Group, m.subject.Kind, who.namespace, who.name),
		Meter:   "cpu.used", Unit: "core.second", Quantity: p.cpu,
		Start: time.Unix(p.start, 0).UTC(), End: time.Unix(p.end, 0).UTC(),
	}
	memory := cpu
	memory.Meter, memory.Unit, memory.Quantity = "memory.used", "byte.second", p.memory
	m.facts = append(m.facts, plugin.Fact{Usage: &cpu}, plugin.Fact{Usage: &memory})
	if len(m.facts) < usageBatch {
		return nil
	}
	return m.flush(ctx)
}

func (m *meter) flush(ctx context.Context) error {
	if len(m.facts) == 0 {
		return nil
	}
	m.failed = m.out.Apply(ctx, "", m.facts...)
	m.facts = nil
	return m.failed
}
