package kubernetes

import (
	"context"
	"time"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/cluster"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/kinds"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/object"
)

// overlap is how far behind the newest event known a new listing begins. Events
// that come again are the same rows at the centre; this only saves sending an
// hour of them whenever the API server has restarted.
const overlap = 2 * time.Minute

// sweepEvents records the events that the server has.
func (c *collector) sweepEvents(ctx context.Context, k *cluster.Cluster, o *observer, out plugin.Sink) error {
	since := o.eventsSince()
	c.noteListed(kindEvent)
	var facts []plugin.Fact
	flush := func() error {
		err := out.Apply(ctx, "", facts...)
		facts = facts[:0]
		return err
	}
	list, err := k.List(ctx, kindEvent, c.opts.query(), func(x *object.Object) error {
		if written(x).Before(since) {
			return nil
		}
		facts = append(facts, c.event(o, x)...)
		if len(facts) < maxBatch {
			return nil
		}
		return flush()
	}, nil)
	if err == nil {
		err = flush()
	}
	if err != nil {
		return err
	}
	return nothing(ctx, out, c.checkpoint(k, list.Version))
}

// eventFacts returns what turns a change of an event into facts. That an event
// is forgotten after its hour is none.
func (c *collector) eventFacts(o *observer) func(cluster.Change) []plugin.Fact {
	return func(change cluster.Change) []plugin.Fact {
		if change.Type == cluster.Deleted {
			return nil
		}
		return c.event(o, change.Object)
	}
}

func (c *collector) event(o *observer, x *object.Object) []plugin.Fact {
	if !c.opts.selectsNamespace(x.Meta.Namespace) {
		return nil
	}
	e, err := kinds.Event(x, o.names)
	if err != nil {
		c.log.Warn("an event cannot be read", "namespace", x.Meta.Namespace, "name", x.Meta.Name, "error", err)
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if t := written(x); t.After(o.lastEvent) {
		o.lastEvent = t
	}
	return []plugin.Fact{{Event: &e}}
}

// written is when an event was last written, by the server's clock.
func written(x *object.Object) time.Time {
	if t := x.UpdatedAt(); !t.IsZero() {
		return t
	}
	return x.Meta.CreationTimestamp
}

func (c *observer) eventsSince() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lastEvent.IsZero() {
		return time.Time{}
	}
	return c.lastEvent.Add(-overlap)
}
