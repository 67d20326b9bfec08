package collect

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
	"github.com/reeve-cloud/reeve/plugins/fake"
)

// collector is one whose sweeps and watches do what the test says.
type collector struct {
	scopes []plugin.Scope
	// leave, if set, says when all of them leave.
	leave chan struct{}
	sweep func(ctx context.Context, scope plugin.Scope, out plugin.Sink) error
	watch func(ctx context.Context, scope plugin.Scope, from plugin.Checkpoint, out plugin.Sink) error
}

func (c *collector) Verify(context.Context) ([]plugin.Check, error) { return nil, nil }

func (c *collector) Scopes(ctx context.Context, publish func([]plugin.Scope)) error {
	publish(c.scopes)
	select {
	case <-c.leave:
		publish(nil)
	case <-ctx.Done():
	}
	return nil
}

func (c *collector) Sweep(ctx context.Context, scope plugin.Scope, out plugin.Sink) error {
	return c.sweep(ctx, scope, out)
}

func (c *collector) Watch(ctx context.Context, scope plugin.Scope, from plugin.Checkpoint, out plugin.Sink) error {
	return c.watch(ctx, scope, from, out)
}

// nothing commits a sweep that found nothing.
func nothing(ctx context.Context, out plugin.Sink, checkpoint plugin.Checkpoint) error {
	sweep, err := out.Begin(ctx)
	if err != nil {
		return err
	}
	return sweep.Commit(ctx, checkpoint)
}

// run runs collectors over real stores until the test ends.
func run(t *testing.T, collectors ...*collector) *agent {
	a := newAgent(t)
	for i, c := range collectors {
		a.sources = append(a.sources, Source{Name: fmt.Sprint("c", i), Collector: c})
	}
	a.start()
	return a
}

// hangs is a sweep that gets no answer, after it has begun or before.
func hangs(begun bool) func(ctx context.Context, out plugin.Sink) error {
	return func(ctx context.Context, out plugin.Sink) error {
		if begun {
			sweep, err := out.Begin(ctx)
			if err != nil {
				return err
			}
			if err := sweep.Upsert(ctx, plugin.Observation{Key: plugin.Key{Type: "t", UID: "u"}, Document: []byte(`{}`)}); err != nil {
				return err
			}
		}
		<-ctx.Done()
		return ctx.Err()
	}
}

// TestSweepsThatHangHoldUpNobody: neither scopes of their own collector nor others.
func TestSweepsThatHangHoldUpNobody(t *testing.T) {
	swept := make(chan string, 100)
	collects := func(name string) *collector {
		c := &collector{sweep: func(ctx context.Context, scope plugin.Scope, out plugin.Sink) error {
			switch scope.Name[:1] {
			case "a":
				return hangs(false)(ctx, out)
			case "b":
				return hangs(true)(ctx, out)
			}
			swept <- name + "/" + scope.Name
			return nothing(ctx, out, "")
		}}
		return c
	}
	broken, whole := collects("broken"), collects("whole")
	for _, s := range []string{"a1", "a2", "b1", "b2", "c", "d"} {
		broken.scopes = append(broken.scopes, plugin.Scope{Name: s})
	}
	whole.scopes = []plugin.Scope{{Name: "e"}}
	run(t, broken, whole)
	var got []string
	for range 3 {
		select {
		case s := <-swept:
			got = append(got, s)
		case <-time.After(30 * time.Second):
			t.Fatalf("swept were %q alone", got)
		}
	}
	slices.Sort(got)
	if want := []string{"broken/c", "broken/d", "whole/e"}; !slices.Equal(got, want) {
		t.Errorf("swept were %q, want %q", got, want)
	}
}

// silentSink takes everything at once.
type silentSink struct{ plugin.Sink }

func (silentSink) Apply(context.Context, plugin.Checkpoint, ...plugin.Fact) error { return nil }

func TestTurns(t *testing.T) {
	for _, test := range []struct {
		name string
		// moves is how often the sweep hands something over, and lasts how long it
		// takes.
		moves, lasts time.Duration
		// place is when the next sweep has its place.
		place time.Duration
		// stuck says that the sweep is ended.
		stuck bool
	}{
		{"short", 100 * time.Millisecond, 10 * time.Second, 10 * time.Second, false},
		{"hangs", time.Hour, time.Minute, turnStill, false},
		{"hangs for good", time.Hour, time.Hour, turnStill, true},
		{"slow", 3 * turnStill, time.Minute, turnStill, false},
		{"long", 100 * time.Millisecond, time.Hour, turnLasts, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				places := make(chan struct{}, 1)
				ctx, turn, err := takeTurn(t.Context(), places, silentSink{})
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				var place time.Duration
				var next sync.WaitGroup
				next.Go(func() {
					ctx, turn, err := takeTurn(t.Context(), places, silentSink{})
					if err != nil {
						t.Error(err)
						return
					}
					place = time.Since(began)
					turn.end(ctx, nil)
				})
				err = nil
				for time.Since(began) < test.lasts && err == nil {
					select {
					case <-time.After(min(test.moves, test.lasts)):
						err = turn.Apply(ctx, "")
					case <-ctx.Done():
						err = ctx.Err()
					}
				}
				err = turn.end(ctx, err)
				next.Wait()
				if place != test.place || errors.Is(err, errStandsStill) != test.stuck || (err != nil) != test.stuck {
					t.Errorf("the next one had its place after %v, want %v; error %v", place, test.place, err)
				}
				if len(places) != 0 {
					t.Error("a place was not given back")
				}
			})
		})
	}
}

// TestCheckpointsThatNeverHold: a source that expires each checkpoint is swept now
// and then, with growing pauses.
func TestCheckpointsThatNeverHold(t *testing.T) {
	sweeps := make(chan time.Time)
	run(t, &collector{
		scopes: []plugin.Scope{{Name: "s", Watch: true}},
		sweep: func(ctx context.Context, _ plugin.Scope, out plugin.Sink) error {
			select {
			case sweeps <- time.Now():
			case <-ctx.Done():
			}
			return nothing(ctx, out, "checkpoint")
		},
		// It comes further each time, so that it looks as if it worked.
		watch: func(ctx context.Context, _ plugin.Scope, _ plugin.Checkpoint, out plugin.Sink) error {
			if err := out.Apply(ctx, plugin.Checkpoint(time.Now().String())); err != nil {
				return err
			}
			return plugin.ErrCheckpointExpired
		},
	})
	first := <-sweeps
	var last time.Time
	for range 7 {
		last = <-sweeps
	}
	// The first is swept for at once, the pauses behind that begin at 10 ms, grow by
	// half each time, and are shorter by half at most.
	if took := last.Sub(first); took < 100*time.Millisecond {
		t.Errorf("8 sweeps in %v", took)
	}
}

// failing returns what the metric says of scopes that fail.
func (a *agent) failing() (n float64) {
	a.t.Helper()
	families, err := a.metrics.Gather()
	if err != nil {
		a.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "reeve_agent_scope_failing" {
			for _, m := range f.GetMetric() {
				n += m.GetGauge().GetValue()
			}
		}
	}
	return n
}

// health returns the events that tell of failures.
func (a *agent) health() (all []string) {
	for _, r := range a.records(wirev1.Class_CLASS_EVENTS) {
		all = append(all, strings.TrimPrefix(r.GetEvent().GetType(), "cloud.reeve.agent."))
	}
	return all
}

// TestFailuresEndWithTheirScope: a scope that leaves while it fails does not fail
// for ever.
func TestFailuresEndWithTheirScope(t *testing.T) {
	for name, test := range map[string]struct {
		failure error
		want    []string
	}{
		"of its own":    {errors.New("forbidden"), []string{"scope.failing", "scope.recovered"}},
		"of its source": {&plugin.SourceError{Source: "the cloud", Err: errors.New("refused")}, []string{"source.failing", "source.recovered"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := &collector{scopes: []plugin.Scope{{Name: "s", Watch: true}}, leave: make(chan struct{})}
			c.sweep = func(ctx context.Context, scope plugin.Scope, out plugin.Sink) error {
				if scope.Watch {
					return test.failure
				}
				return nothing(ctx, out, "") // it is gone
			}
			a := run(t, c)
			a.wait("the failure", func() bool { return len(a.health()) == 1 && a.failing() == 1 })
			close(c.leave)
			a.wait("its end", func() bool { return len(a.health()) == 2 && a.failing() == 0 })
			if got := a.health(); !slices.Equal(got, test.want) {
				t.Errorf("the events are %q, want %q", got, test.want)
			}
		})
	}
}

// series returns the values of a metric by scope.
func (a *agent) series(name string) map[string]float64 {
	a.t.Helper()
	families, err := a.metrics.Gather()
	if err != nil {
		a.t.Fatal(err)
	}
	values := make(map[string]float64)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "scope" {
					values[l.GetValue()] += m.GetGauge().GetValue() + m.GetCounter().GetValue()
				}
			}
		}
	}
	return values
}

// TestMetricsOfScopes shows that what is there to watch of a scope is there before anything
// happens to it, and goes with it.
func TestMetricsOfScopes(t *testing.T) {
	listing := make(chan struct{})
	c := &collector{scopes: []plugin.Scope{{Name: "s", Watch: true}}, leave: make(chan struct{})}
	c.sweep = func(ctx context.Context, scope plugin.Scope, out plugin.Sink) error {
		if scope.Watch {
			select {
			case <-listing:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nothing(ctx, out, "")
	}
	a := run(t, c)
	names := []string{"reeve_agent_scope_failing", "reeve_agent_sweeps_total", "reeve_agent_last_sweep_timestamp_seconds"}
	for _, name := range names {
		a.wait(name, func() bool { return maps.Equal(a.series(name), map[string]float64{"s": 0}) })
	}
	close(listing)
	a.wait("the sweep", func() bool { return a.series("reeve_agent_last_sweep_timestamp_seconds")["s"] > 1e9 })
	close(c.leave)
	for _, name := range names {
		a.wait(name+" without the scope", func() bool { return len(a.series(name)) == 0 })
	}
}

// unready is a collector that does not know its scopes until it is told.
type unready struct {
	collector
	ready chan struct{}
}

func (u *unready) Scopes(ctx context.Context, publish func([]plugin.Scope)) error {
	select {
	case <-u.ready:
		return u.collector.Scopes(ctx, publish)
	default:
		return errors.New("connection refused")
	}
}

// TestCollectorsThatCannotBegin: that nothing is collected at all is told, and when it
// is over.
func TestCollectorsThatCannotBegin(t *testing.T) {
	u := &unready{ready: make(chan struct{})}
	u.sweep = func(ctx context.Context, _ plugin.Scope, out plugin.Sink) error { return nothing(ctx, out, "") }
	a := newAgent(t)
	a.sources = []Source{{Name: "u", Collector: u}}
	a.start()
	want := []string{"source.failing"}
	a.wait("the failure", func() bool { return slices.Equal(a.health(), want) })
	close(u.ready)
	want = append(want, "source.recovered")
	a.wait("its end", func() bool { return slices.Equal(a.health(), want) })
}

// TestOutagesEndWhereNobodyWaits: a scope whose source answers again, though with
// an error of the scope's own, does not hide the next outage.
func TestOutagesEndWhereNobodyWaits(t *testing.T) {
	a := newAgent(t)
	a.list("s", fake.Listing{Error: "refused", Source: "the cloud"})
	a.start()
	want := []string{"source.failing"}
	for range 2 {
		a.wait("an outage", func() bool { return slices.Equal(a.health(), want) })
		a.list("s", fake.Listing{Error: "forbidden"})
		want = append(want, "source.recovered", "scope.failing")
		a.wait("a failure of its own", func() bool { return slices.Equal(a.health(), want) })
		a.list("s", fake.Listing{Error: "refused", Source: "the cloud"})
		want = append(want, "source.failing")
	}
}
