package collect

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/pkg/retry"
)

const (
	// A failed scope is tried again after a second, later and later, up to five
	// minutes.
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
	// A watch that has gone on for so long works.
	worksAfter = time.Minute
)

// Source is a configured collector.
type Source struct {
	// Name is its configured name.
	Name        string
	Description plugin.Description
	Collector   plugin.Collector
}

// Runner sweeps and watches the scopes of collectors.
type Runner struct {
	Recorder *Recorder
	Sources  []Source
	// RetryAfter is the first pause after a failure. Zero means a second.
	RetryAfter time.Duration

	// leaving counts the assets of scopes that the configuration leaves out.
	leaving leaving
}

// Run runs the collectors until ctx ends.
func (r *Runner) Run(ctx context.Context) error {
	r.tellUnconfigured()
	var wg sync.WaitGroup
	for _, source := range r.Sources {
		c := &collectorRun{
			Source: source, recorder: r.Recorder, turns: make(chan struct{}, concurrentSweeps), retryAfter: r.RetryAfter,
			logger: r.Recorder.Logger.With("collector", source.Name), leaving: &r.leaving,
			scopes: make(map[string]*scopeRun), sources: make(map[string]*outage),
		}
		if c.retryAfter == 0 {
			c.retryAfter = firstRetry
		}
		wg.Go(func() { c.run(ctx) })
	}
	wg.Wait()
	<-ctx.Done()
	return ctx.Err()
}

// outage is a source of several scopes that cannot be had.
type outage struct {
	// over is closed when one of the scopes has succeeded, or none waits any more.
	over chan struct{}
	// scopes are the names of those that fail for it.
	scopes map[string]bool
}

// collectorRun runs one collector's scopes.
type collectorRun struct {
	Source
	recorder *Recorder
	// turns has a place for each sweep that runs at once.
	turns      chan struct{}
	retryAfter time.Duration
	logger     *slog.Logger
	leaving    *leaving

	mu sync.Mutex
	// scopes are those that run, by their names (scopeName).
	scopes map[string]*scopeRun
	// sources are those that cannot be had, by what they are called.
	sources map[string]*outage
	// orphans says that scopes left over from before were looked for.
	orphans bool
	wg      sync.WaitGroup
}

func (c *collectorRun) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer c.wg.Wait()
	defer cancel()
	pause := retry.BackOff(c.retryAfter, lastRetry)
	// That nothing is collected at all no scope can say.
	out := &sink{Recorder: c.recorder, id: scopeID{collector: c.Name, scope: "scopes"}, logger: c.logger}
	failing := false
	for ctx.Err() == nil {
		err := c.guard(func() error {
			return c.Collector.Scopes(ctx, func(scopes []plugin.Scope) {
				pause.Reset()
				if failing {
					failing = false
					c.emit(ctx, out, "cloud.reeve.agent.source.recovered", plugin.Info, fmt.Sprintf("it is known again what %s is to collect", c.Name))
				}
				c.announce(ctx, scopes)
				c.publish(ctx, scopes)
			})
		})
		if err == nil || ctx.Err() != nil {
			break
		}
		wait := pause.NextBackOff()
		c.logger.Warn("cannot find out what there is to collect", "error", c.recorder.Redact.Text(err.Error()), "retry_in", wait)
		if !failing {
			failing = true
			c.emit(ctx, out, "cloud.reeve.agent.source.failing", plugin.Warning,
				fmt.Sprintf("finding out what %s is to collect failed: %v", c.Name, err))
		}
		if err := retry.Sleep(ctx, wait); err != nil {
			break
		}
	}
	<-ctx.Done()
}

// scopeName is the name of a scope in its collector, with what it is local to.
func scopeName(s plugin.Scope) string {
	if s.Local == "" {
		return s.Name
	}
	return s.Name + "@" + s.Local
}

// publish starts the scopes that are new in the list and stops those that left.
func (c *collectorRun) publish(ctx context.Context, list []plugin.Scope) {
	c.mu.Lock()
	defer c.mu.Unlock()
	listed := make(map[string]bool)
	for _, scope := range list {
		name := scopeName(scope)
		listed[name] = true
		run, runs := c.scopes[name]
		if runs && run.last { // it is back
			run.cancel()
			runs = false
		}
		if !runs {
			c.start(ctx, scope, false)
		}
	}
	for name, run := range c.scopes {
		if !listed[name] && !run.last {
			run.cancel()
			c.logger.Info("scope is gone", "scope", name)
			c.start(ctx, plugin.Scope{Name: run.scope.Name, Local: run.scope.Local, Types: run.scope.Types}, true)
		}
	}
	if c.orphans {
		return
	}
	c.orphans = true
	if err := c.lookForOrphans(ctx, list, listed); err != nil {
		c.logger.Error("looking for scopes from before", "error", err)
	}
}

// start runs a scope; last means that it is only to be swept once more. c.mu is
// held.
func (c *collectorRun) start(ctx context.Context, scope plugin.Scope, last bool) {
	ctx, cancel := context.WithCancel(ctx)
	name := scopeName(scope)
	id := scopeID{collector: c.Name, scope: name}
	s := &scopeRun{
		collectorRun: c, scope: scope, cancel: cancel, last: last,
		before: c.scopes[name], done: make(chan struct{}),
		logger: c.logger.With("scope", name),
	}
	s.deselected = last && leavesOut(c.Collector, scope.Name)
	s.sink = &sink{Recorder: c.recorder, id: id, logger: s.logger, volatile: c.volatile(scope), progressed: s.recovered}
	c.scopes[name] = s
	c.wg.Go(func() {
		defer close(s.done)
		defer cancel()
		if s.before != nil {
			<-s.before.done // never two calls at once for a scope
			s.failing, s.fault, s.source = s.before.failing, s.before.fault, s.before.source
			s.before = nil
		}
		if err := s.claim(); err != nil {
			s.logger.Error("claiming a scope", "error", err)
		}
		s.run(ctx)
		if last {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.scopes[name] == s {
				delete(c.scopes, name)
				c.recorder.Metrics.end(id)
				c.recorder.release(id.String())
			}
		}
	})
}

// volatile returns a function from asset types to their volatile paths.
func (c *collectorRun) volatile(scope plugin.Scope) func(string) document.Paths {
	paths := make(map[string]document.Paths)
	for _, types := range [][]plugin.Type{c.Description.Types, scope.Types} {
		for _, t := range types {
			paths[t.Name] = t.Volatile
		}
	}
	return func(assetType string) document.Paths { return paths[assetType] }
}

// guard calls the collector. A panic there is an error here: a fault in one
// collector must not stop the others.
func (c *collectorRun) guard(call func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.logger.Error("collector panicked", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("collector panicked: %v", p)
		}
	}()
	return call()
}

// scopeRun runs one scope.
type scopeRun struct {
	*collectorRun
	scope  plugin.Scope
	sink   *sink
	logger *slog.Logger
	cancel context.CancelFunc
	last   bool
	// deselected says that the configuration leaves the scope out: whatever the source
	// has, its last sweep finds nothing.
	deselected bool
	before     *scopeRun
	done       chan struct{}

	// health is held while it changes, and while the centre is told.
	health  sync.Mutex
	failing bool
	// fault is what was said last of why it fails, and source what cannot be had
	// if it is more than the scope.
	fault, source string
}

// claim has the scope claimed, under the name that it has today.
func (s *scopeRun) claim() (err error) {
	id := s.sink.id
	if s.scope.Local != "" {
		if err := s.recorder.Seen.Rename(scopeID{id.collector, s.scope.Name}.String(), id.String()); err != nil {
			return err
		}
	}
	if s.recorder.Holdings != nil {
		if s.sink.holding, err = s.recorder.Holdings.claim(id.String()); err == nil {
			s.sink.told = s.sink.holding.untaken
			s.sink.untaken.Resume(s.sink.told)
		}
	}
	return err
}

// run collects the scope while the agent holds it, until ctx ends.
func (s *scopeRun) run(ctx context.Context) {
	for ctx.Err() == nil {
		held, done := ctx, func() {}
		if s.sink.holding != nil {
			var err error
			if held, done, err = s.sink.holding.hold(ctx); err != nil {
				return
			}
		}
		s.beginMetrics()
		over := s.collect(held)
		done()
		if over {
			return
		}
	}
}

func (s *scopeRun) beginMetrics() {
	state, err := s.recorder.Seen.Scope(s.sink.id.String())
	if err != nil {
		s.logger.Error("reading when a scope was last swept", "error", err)
	}
	s.recorder.Metrics.begin(s.sink.id, state.Completed)
}

// collect alternates between sweeping and watching until ctx ends. It returns true when
// a scope that has left was swept for the last time.
func (s *scopeRun) collect(ctx context.Context) (over bool) {
	watcher, _ := s.Collector.(plugin.Watcher)
	if !s.scope.Watch {
		watcher = nil
	}
	pause := retry.BackOff(s.retryAfter, lastRetry)
	again := retry.BackOff(s.retryAfter, lastRetry)
	expired := 0 // checkpoints in a row that did not hold for a while
	due := time.Now()
	if watcher != nil {
		if from, err := s.recorder.Seen.Checkpoint(s.sink.id.String()); err == nil && from != "" {
			// It is known how far the scope was followed: go on from there.
			due = s.nextSweep()
		}
	}
	for ctx.Err() == nil {
		var err error
		switch {
		case !due.IsZero() && !time.Now().Before(due):
			if err = s.sweep(ctx); err == nil {
				due = s.nextSweep()
				if s.last {
					if err = s.recorder.Seen.ForgetScope(s.sink.id.String()); err == nil {
						s.sink.holding.forgotten()
						s.recovered(ctx)
						return true
					}
				}
			}
		case watcher != nil:
			began := time.Now()
			if err = s.watch(ctx, watcher, due); errors.Is(err, plugin.ErrCheckpointExpired) {
				if time.Since(began) >= worksAfter {
					expired = 0
					again.Reset()
				}
				if expired++; !s.sweepAgain(ctx, expired, again.NextBackOff) {
					return
				}
				due = time.Now()
				continue
			}
		case due.IsZero():
			<-ctx.Done()
		default:
			err = retry.Sleep(ctx, time.Until(due))
		}
		if ctx.Err() != nil {
			return false
		}
		if err == nil {
			s.recovered(ctx)
			pause.Reset()
			continue
		}
		if !s.isFailing() {
			pause.Reset()
		}
		wait := pause.NextBackOff()
		if !sleep(ctx, wait, s.failed(ctx, err, wait)) {
			return false
		}
	}
	return false
}

// sweepAgain waits until a scope is to be swept whose checkpoint has expired: the
// n-th in a row. The first one is swept for at once, and makes a new one. A source
// whose checkpoints never hold is swept now and then. It returns false when ctx
// ends.
func (s *scopeRun) sweepAgain(ctx context.Context, n int, pause func() time.Duration) bool {
	switch n {
	case 1:
		s.logger.Info("checkpoint has expired at the source; sweeping")
		return ctx.Err() == nil
	case 2:
		s.logger.Info("the checkpoints of this scope do not hold at the source; sweeping now and then")
	}
	return retry.Sleep(ctx, pause()) == nil
}

// sleep waits for d, or until over is closed. It returns false when ctx ends.
func sleep(ctx context.Context, d time.Duration, over <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-over:
		// Not all scopes of a source at the same moment.
		return retry.Sleep(ctx, time.Duration(rand.Int64N(int64(time.Second)))) == nil
	case <-ctx.Done():
		return false
	}
	return true
}

// nextSweep returns when the scope is to be swept again, or zero for never.
// The times of many agents and scopes drift apart.
func (s *scopeRun) nextSweep() time.Time {
	if s.scope.SweepEvery <= 0 {
		return time.Time{}
	}
	every := float64(s.scope.SweepEvery)
	return time.Now().Add(time.Duration(every * (0.9 + 0.2*rand.Float64())))
}

func (s *scopeRun) sweep(ctx context.Context) error {
	turnCtx, turn, err := takeTurn(ctx, s.turns, s.sink)
	if err != nil {
		return err
	}
	err = turn.end(turnCtx, s.guard(func() error { return s.list(turnCtx, turn) }))
	if s.sink.abandon() && err == nil {
		err = errors.New("the sweep ended without a commit")
	}
	if err != nil {
		s.recorder.Metrics.sweepFailed(s.sink.id)
		return fmt.Errorf("sweeping: %w", err)
	}
	return nil
}

// list has the collector list the scope.
func (s *scopeRun) list(ctx context.Context, out plugin.Sink) error {
	if !s.deselected {
		return s.Collector.Sweep(ctx, s.scope, out)
	}
	sweep, err := out.Begin(ctx)
	if err != nil {
		return err
	}
	return sweep.Commit(ctx, "")
}

// watch follows the scope until the next sweep is due.
func (s *scopeRun) watch(ctx context.Context, w plugin.Watcher, due time.Time) error {
	from, err := s.recorder.Seen.Checkpoint(s.sink.id.String())
	if err != nil {
		return err
	}
	watchCtx, cancel := ctx, context.CancelFunc(func() {})
	if !due.IsZero() {
		watchCtx, cancel = context.WithDeadline(ctx, due)
	}
	defer cancel()
	// A watch may go on for months: that it works again is said while it does, when
	// it has come further or has lasted for a while. What ends it later is then
	// news, not the same old fault.
	watching, ended := context.WithCancel(watchCtx)
	defer ended()
	var works sync.WaitGroup
	works.Go(func() {
		if retry.Sleep(watching, worksAfter) == nil {
			s.recovered(ctx)
		}
	})
	s.sink.holding.watches(true)
	defer s.sink.holding.watches(false)
	err = s.guard(func() error { return w.Watch(watchCtx, s.scope, from, s.sink) })
	ended()
	works.Wait()
	s.sink.abandon()
	switch {
	case ctx.Err() != nil || watchCtx.Err() != nil:
		return nil
	case errors.Is(err, plugin.ErrCheckpointExpired):
		return err
	case err == nil:
		err = errors.New("the watch ended by itself")
	}
	return fmt.Errorf("watching: %w", err)
}

// failed logs a failure, and the first of a row also as an event, so that it is
// seen at the centre. Where a source of several scopes cannot be had, that is said
// once for all of them; the channel is closed when it can be had again.
func (s *scopeRun) failed(ctx context.Context, err error, retryIn time.Duration) (over <-chan struct{}) {
	s.health.Lock()
	defer s.health.Unlock()
	var out *plugin.SourceError
	news := !s.failing
	if errors.As(err, &out) {
		if s.source != out.Source {
			s.leaveOutage(ctx)
		}
		over, news = s.beginOutage(out.Source, s.scope.Name)
		s.source = out.Source
	} else if s.source != "" {
		// The source answers, and this scope fails for a reason of its own.
		s.leaveOutage(ctx)
		news = true
	}
	// Errors of sources may repeat URLs and requests, with what is in them. The
	// same fault again and again is no news, whoever reads the log.
	fault := s.recorder.Redact.Text(err.Error())
	level := slog.LevelWarn
	if fault == s.fault || s.source != "" && !news {
		level = slog.LevelDebug
	}
	s.fault = fault
	s.logger.Log(ctx, level, "collecting failed; what is known stays as it is", "error", fault, "retry_in", retryIn.Round(time.Millisecond))
	s.failing = true
	s.sink.holding.fails(fault)
	s.recorder.Metrics.health(s.sink.id, true)
	switch {
	case !news:
	case out != nil:
		s.emit(ctx, "cloud.reeve.agent.source.failing", plugin.Warning, fmt.Sprintf("collecting from %s failed: %v", s.Name, out))
	default:
		s.emit(ctx, "cloud.reeve.agent.scope.failing", plugin.Warning, fmt.Sprintf("collecting %s failed: %v", s.sink.id, err))
	}
	return over
}

// beginOutage takes note that a scope's source cannot be had, and reports whether
// that is news.
func (c *collectorRun) beginOutage(source, scope string) (over <-chan struct{}, news bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.sources[source]
	if o == nil {
		o, news = &outage{over: make(chan struct{}), scopes: make(map[string]bool)}, true
		c.sources[source] = o
	}
	o.scopes[scope] = true
	return o.over, news
}

// endOutage takes note that a source can be had again, and reports whether that
// is news.
func (c *collectorRun) endOutage(source string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.sources[source]
	if o == nil {
		return false
	}
	close(o.over)
	delete(c.sources, source)
	return true
}

// leaveOutage takes note that the scope does not wait for its source any more. An
// outage that nobody waits for is over. s.health is held.
func (s *scopeRun) leaveOutage(ctx context.Context) {
	source := s.source
	s.source = ""
	s.mu.Lock()
	o := s.sources[source]
	if o != nil {
		delete(o.scopes, s.scope.Name)
	}
	over := o != nil && len(o.scopes) == 0
	s.mu.Unlock()
	if over && s.endOutage(source) {
		s.emit(ctx, "cloud.reeve.agent.source.recovered", plugin.Info,
			fmt.Sprintf("collecting from %s does not fail any more: %s", s.Name, source))
	}
}

func (s *scopeRun) isFailing() bool {
	s.health.Lock()
	defer s.health.Unlock()
	return s.failing
}

func (s *scopeRun) recovered(ctx context.Context) {
	s.health.Lock()
	defer s.health.Unlock()
	if !s.failing {
		return
	}
	source := s.source
	s.failing, s.fault = false, ""
	s.sink.holding.fails("")
	s.recorder.Metrics.health(s.sink.id, false)
	switch {
	case source == "" && s.last:
		s.logger.Info("what failed is not collected any more")
		s.emit(ctx, "cloud.reeve.agent.scope.recovered", plugin.Info, fmt.Sprintf("%s is gone and does not fail any more", s.sink.id))
	case source == "":
		s.logger.Info("collecting works again")
		s.emit(ctx, "cloud.reeve.agent.scope.recovered", plugin.Info, fmt.Sprintf("collecting %s works again", s.sink.id))
	case s.last:
		// Its end says nothing of its source.
		s.leaveOutage(ctx)
	default:
		s.source = ""
		s.logger.Info("collecting works again")
		if s.endOutage(source) {
			s.emit(ctx, "cloud.reeve.agent.source.recovered", plugin.Info, fmt.Sprintf("collecting from %s works again: %s", s.Name, source))
		}
	}
}

func (s *scopeRun) emit(ctx context.Context, eventType string, severity plugin.Severity, message string) {
	s.collectorRun.emit(ctx, s.sink, eventType, severity, message)
}

func (c *collectorRun) emit(ctx context.Context, out *sink, eventType string, severity plugin.Severity, message string) {
	now := time.Now()
	sum := sha256.Sum256([]byte(fmt.Sprint(eventType, out.id, now.UnixNano())))
	err := out.Apply(ctx, "", plugin.Fact{Event: &plugin.Event{
		ID: hex.EncodeToString(sum[:16]), Type: eventType, Time: now, Severity: severity, Message: message,
	}})
	if err != nil && ctx.Err() == nil {
		out.logger.Error("recording an event", "event_type", eventType, "error", err)
	}
}
