package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/pkg/retry"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/cluster"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/object"
)

const (
	// A server sends a bookmark each minute into a watch where nothing happens,
	// once anything has ever happened to the kind. A watch that had bookmarks
	// and then nothing for this long is dead, whatever its connection says.
	bookmarkSilence = 150 * time.Second
	// A watch without bookmarks is silent until its time is up, give or take.
	endSilence = 30 * time.Second
	// maxBatch is how many changes are applied in one step.
	maxBatch = 256
	// A watch is opened again this often in a row before its failure is one of
	// the scope.
	maxReopen = 4
	// A watch that ends sooner than this is opened again after a pause.
	briefWatch = 30 * time.Second
	// goneGrace is how long it may take to discover that a kind is gone.
	goneGrace = 15 * time.Second
)

// Sweep implements [plugin.Collector].
func (c *collector) Sweep(ctx context.Context, scope plugin.Scope, out plugin.Sink) error {
	k, o, err := c.connect(ctx)
	if err != nil {
		return err
	}
	if err := c.ready(ctx, k); err != nil {
		return err
	}
	switch scope.Name {
	case scopeCluster:
		// Its watch makes the one asset there is.
		return nothing(ctx, out, "begun")
	case scopeUsage:
		// It has no assets, also when metrics are not served any more.
		return nothing(ctx, out, "begun")
	case scopeEvents:
		return c.failed(ctx, k, c.sweepEvents(ctx, k, o, out))
	}
	served, ok := c.kind(scope.Name)
	if !ok {
		return c.sweepGone(ctx, k, scope.Name, out)
	}
	err = c.sweepKind(ctx, k, o, served.Kind, out)
	if err != nil && (cluster.Refused(err) || o.policies.known[scope.Name] != nil) {
		o.leaveOut(scope.Name)
	}
	return c.failed(ctx, k, err)
}

// sweepKind lists the objects of a kind.
func (c *collector) sweepKind(ctx context.Context, k *cluster.Cluster, o *observer, kind object.Kind, out plugin.Sink) error {
	if err := o.await(ctx, kind); err != nil {
		return err
	}
	if kind.String() == kindNodes {
		o.noteNodesEarly()
	}
	sweep, err := out.Begin(ctx)
	if err != nil {
		return err
	}
	c.noteListed(kind)
	listed := make(map[plugin.Key]bool)
	// anew are the objects of a list that began again.
	var anew map[plugin.Key]bool
	list, err := k.List(ctx, kind, c.opts.query(), func(x *object.Object) error {
		if !c.opts.selectsObject(x) {
			return nil
		}
		observation, news := o.observe(x)
		if o.keeps(kind) {
			listed[observation.Key] = true
		}
		if anew != nil {
			anew[observation.Key] = true
		}
		for _, e := range news {
			if err := out.Apply(ctx, "", plugin.Fact{Event: &e}); err != nil {
				return err
			}
		}
		return sweep.Upsert(ctx, observation)
	}, func() {
		clear(listed)
		anew = make(map[plugin.Key]bool)
	})
	noList := errors.Is(err, cluster.ErrNoList)
	switch {
	case noList:
		if c.first(kind, "nothing") {
			c.log.Info("there is nothing to collect of a kind", "kind", kind.String(), "error", err)
		}
	case err != nil:
		return err
	case list.Odd > 0:
		if c.first(kind, "odd elements") {
			c.log.Warn("a list has elements that cannot be read; what is missing from it does not count as deleted",
				"kind", kind.String(), "elements", list.Odd, "error", list.Why)
		}
		for range list.Odd {
			if err := sweep.Unread(ctx, plugin.Key{}, list.Why.Error()); err != nil {
				return err
			}
		}
	}
	checkpoint := c.checkpoint(k, list.Version)
	switch {
	case noList:
		err = keepAll(ctx, out, sweep, checkpoint)
	case list.Odd > 0:
		err = sweep.Commit(ctx, checkpoint)
	case anew != nil:
		o.keep(kind, listed)
		err = commitAnew(ctx, out, sweep, anew, checkpoint)
	default:
		o.keep(kind, listed)
		err = sweep.Commit(ctx, checkpoint)
	}
	if err != nil {
		return err
	}
	o.known(kind.String())
	if kind.String() == kindCRDs {
		c.definitionsChanged()
	}
	return nil
}

// keepAll commits a sweep that does not know what is missing from it.
func keepAll(ctx context.Context, out plugin.Sink, sweep plugin.Sweep, checkpoint plugin.Checkpoint) error {
	if err := out.Recall(ctx, func(was plugin.Observation) error { return sweep.Keep(ctx, was.Key) }); err != nil {
		return err
	}
	return sweep.Commit(ctx, checkpoint)
}

// commitAnew commits the sweep of a list that began again. What the list had before
// that, and has no more, is deleted behind it. The checkpoint comes last: where the
// agent dies in between, the kind is listed again.
func commitAnew(ctx context.Context, out plugin.Sink, sweep plugin.Sweep, anew map[plugin.Key]bool, checkpoint plugin.Checkpoint) error {
	if err := sweep.Commit(ctx, ""); err != nil {
		return err
	}
	var ghosts []plugin.Fact
	if err := out.Recall(ctx, func(was plugin.Observation) error {
		if !anew[was.Key] {
			ghosts = append(ghosts, plugin.Fact{Delete: &was.Key})
		}
		return nil
	}); err != nil {
		return err
	}
	for part := range slices.Chunk(ghosts, maxBatch) {
		if err := out.Apply(ctx, "", part...); err != nil {
			return err
		}
	}
	return out.Apply(ctx, checkpoint)
}

// first reports whether something is said of a kind for the first time.
func (c *collector) first(kind object.Kind, what string) bool {
	_, said := c.said.LoadOrStore(kind.String()+" "+what, true)
	return !said
}

// noteListed takes note of when a kind is listed.
func (c *collector) noteListed(kind object.Kind) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listed[kind.String()] = time.Now()
}

// untilListed waits until a kind that cannot be watched is to be listed again.
func (c *collector) untilListed(ctx context.Context, scope string) error {
	c.mu.Lock()
	due := c.listed[scope].Add(listEvery)
	c.mu.Unlock()
	if err := retry.Sleep(ctx, time.Until(due)); err != nil {
		return err
	}
	return plugin.ErrCheckpointExpired
}

// sweepGone deletes the objects of a kind that is not collected any more, if it
// is certain that there are none.
func (c *collector) sweepGone(ctx context.Context, k *cluster.Cluster, scope string, out plugin.Sink) error {
	group, resource, ok := strings.Cut(scope, "/")
	if group == "core" {
		group = ""
	}
	if !ok {
		return fmt.Errorf("there is no scope %q", scope)
	}
	kind := object.Kind{Group: group, Resource: resource}
	if !c.excludes(kind) {
		if err := k.Gone(ctx, group, resource); err != nil {
			return err
		}
	}
	return nothing(ctx, out, gone)
}

// gone is the checkpoint of a kind that is not collected any more: one that does not
// hold, so that a kind that comes back is listed.
const gone plugin.Checkpoint = "gone"

// excludes reports whether the options alone leave a kind out, of which only
// the resource's name is known.
func (c *collector) excludes(kind object.Kind) bool {
	c.mu.Lock()
	served, ok := c.served[kind.String()]
	c.mu.Unlock()
	if ok {
		kind = served.Kind
	}
	return !c.opts.selects(kind)
}

// nothing commits a sweep that found nothing.
func nothing(ctx context.Context, out plugin.Sink, checkpoint plugin.Checkpoint) error {
	sweep, err := out.Begin(ctx)
	if err != nil {
		return err
	}
	return sweep.Commit(ctx, checkpoint)
}

// policyPatience is how long pods wait for the kinds that select them.
const policyPatience = 5 * time.Second

// await waits for what observations of a kind need to know of other kinds, but not
// for ever: what becomes known later has the objects looked at again.
func (c *observer) await(ctx context.Context, kind object.Kind) error {
	if kind.String() != kindPods {
		return nil
	}
	patience := time.NewTimer(policyPatience)
	defer patience.Stop()
	for _, l := range c.policies.known {
		select {
		case <-l.open:
		case <-ctx.Done():
			return ctx.Err()
		case <-patience.C:
			for _, l := range c.policies.known {
				l.set()
			}
			return nil
		}
	}
	return nil
}

// noteNodesEarly takes note of whether nodes are listed before all pods are known:
// they do not show then what those hold.
func (c *observer) noteNodesEarly() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodesEarly = !c.ledger.podsKnown.isSet()
}

func (c *observer) nodesWereEarly() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodesEarly
}

// keeps reports whether anything is kept of the objects of a kind.
func (c *observer) keeps(kind object.Kind) bool {
	switch kind.String() {
	case kindPods, kindNodes, kindCRDs:
		return true
	}
	return c.policies.known[kind.String()] != nil
}

// keep forgets what was kept of objects that were not listed.
func (c *observer) keep(kind object.Kind, listed map[plugin.Key]bool) {
	if !c.keeps(kind) || kind.String() == kindCRDs {
		return
	}
	uids := make(map[string]bool, len(listed))
	for key := range listed {
		uids[key.UID] = true
	}
	switch kind.String() {
	case kindPods:
		c.ledger.keepPods(uids)
	case kindNodes:
		c.ledger.keepNodes(uids)
	default:
		c.policies.keep(kind.Type(), listed)
	}
}

// checkpoint marks how far a kind was followed: in which cluster, under which
// options, up to which resource version.
func (c *collector) checkpoint(k *cluster.Cluster, version string) plugin.Checkpoint {
	return plugin.Checkpoint(k.ID + " " + c.fingerprint + " " + version)
}

// version returns the resource version of a checkpoint, if it is one to go on
// from. It is empty where the server has none.
func (c *collector) version(k *cluster.Cluster, from plugin.Checkpoint) (string, error) {
	parts := strings.Split(string(from), " ")
	if len(parts) != 3 || parts[0] != k.ID || parts[1] != c.fingerprint {
		return "", plugin.ErrCheckpointExpired
	}
	return parts[2], nil
}

// Watch implements [plugin.Watcher].
func (c *collector) Watch(ctx context.Context, scope plugin.Scope, from plugin.Checkpoint, out plugin.Sink) error {
	k, o, err := c.connect(ctx)
	if err != nil {
		return err
	}
	if err := c.ready(ctx, k); err != nil {
		return err
	}
	return c.failed(ctx, k, c.watch(ctx, k, o, scope, from, out))
}

func (c *collector) watch(ctx context.Context, k *cluster.Cluster, o *observer, scope plugin.Scope, from plugin.Checkpoint,
	out plugin.Sink) error {
	switch scope.Name {
	case scopeCluster:
		return c.watchCluster(ctx, k, o, out)
	case scopeUsage:
		return c.watchUsage(ctx, k, o, out)
	}
	version, err := c.version(k, from)
	if err != nil {
		return err
	}
	if version == "" {
		return c.untilListed(ctx, scope.Name)
	}
	if scope.Name == scopeEvents {
		return c.follow(ctx, &following{kind: kindEvent, cluster: k, version: version, out: out, facts: c.eventFacts(o)})
	}
	served, ok := c.kind(scope.Name)
	if !ok {
		return fmt.Errorf("%s is not served any more", scope.Name)
	}
	if err := o.recall(ctx, served.Kind, out); err != nil {
		return fmt.Errorf("recalling what was recorded of %s: %w", scope.Name, err)
	}
	o.known(scope.Name)
	if scope.Name == kindCRDs {
		c.definitionsChanged()
	}
	if err := o.await(ctx, served.Kind); err != nil {
		return err
	}
	f := &following{kind: served.Kind, cluster: k, version: version, out: out, facts: c.facts(o)}
	switch scope.Name {
	case kindPods:
		f.outdated = o.policies.changed
		f.refresh = func() error { return c.refresh(ctx, f, o, o.policies.takeStale()) }
	case kindNodes:
		if o.nodesWereEarly() {
			f.outdated = o.ledger.podsKnown.open
			f.refresh = func() error {
				f.outdated = nil
				return c.refresh(ctx, f, o, []string{""})
			}
		}
	}
	return c.follow(ctx, f)
}

// facts returns what turns a change of an object into facts.
func (c *collector) facts(o *observer) func(cluster.Change) []plugin.Fact {
	return func(change cluster.Change) []plugin.Fact {
		x := change.Object
		switch x.Kind.String() {
		case kindCRDs, kindServices:
			c.definitionsChanged()
		}
		if !c.opts.selectsObject(x) {
			return nil
		}
		if change.Type == cluster.Deleted {
			key := o.names.Of(x)
			o.forget(key, x)
			return []plugin.Fact{{Delete: &key}}
		}
		observation, news := o.observe(x)
		facts := []plugin.Fact{{Upsert: &observation}}
		for _, e := range news {
			facts = append(facts, plugin.Fact{Event: &e})
		}
		return facts
	}
}

// definitionsChanged says that the server may serve other kinds now.
func (c *collector) definitionsChanged() {
	select {
	case c.rediscover <- struct{}{}:
	default:
	}
}

// refresh looks again at the objects of some namespaces, which have not changed
// themselves. What the watch says of them later is newer.
func (c *collector) refresh(ctx context.Context, f *following, o *observer, namespaces []string) error {
	for _, namespace := range namespaces {
		query := c.opts.query()
		query.Namespace = namespace
		if _, err := f.cluster.List(ctx, f.kind, query, func(x *object.Object) error {
			if !c.opts.selectsObject(x) {
				return nil
			}
			observation, _ := o.observe(x)
			return f.out.Apply(ctx, "", plugin.Fact{Upsert: &observation})
		}, nil); err != nil {
			return err
		}
	}
	return nil
}

// following is a kind that is followed.
type following struct {
	kind    object.Kind
	cluster *cluster.Cluster
	// version is what has been applied.
	version string
	out     plugin.Sink
	facts   func(cluster.Change) []plugin.Fact

	// failed is the error of out.
	failed error

	// outdated says that objects must be looked at again by refresh, though
	// they have not changed. Both may be nil.
	outdated <-chan struct{}
	refresh  func() error
}

// follow watches a kind, from one watch to the next, for as long as that works.
func (c *collector) follow(ctx context.Context, f *following) error {
	pause := retry.BackOff(200*time.Millisecond, 5*time.Second)
	for failures := 0; ; {
		before := f.version
		began := time.Now()
		err := c.followOnce(ctx, f)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case f.failed != nil:
			return f.failed
		case errors.Is(err, plugin.ErrCheckpointExpired) || cluster.Unauthorized(err):
			return err
		case cluster.Expired(err):
			return fmt.Errorf("%w: %w", plugin.ErrCheckpointExpired, err)
		case cluster.NotFound(err):
			// The kind is not served any more, or soon again. If it is gone, so
			// is its scope in a moment, and this ends.
			c.definitionsChanged()
			if err := retry.Sleep(ctx, goneGrace); err != nil {
				return err
			}
			return err
		case errors.Is(err, errSilent):
			c.log.Warn("a watch has gone silent; opening it again", "kind", f.kind.String())
		case cluster.Refused(err):
			// It can be listed, and that is all.
			if c.first(f.kind, "no watch") {
				c.log.Warn("a kind cannot be watched; it is listed now and then", "kind", f.kind.String(), "error", err)
			}
			return c.untilListed(ctx, f.kind.String())
		case errors.Is(err, io.EOF) && time.Since(began) > time.Second:
			// Its time was up, or something between cuts it.
			if time.Since(began) < briefWatch {
				if err := retry.Sleep(ctx, pause.NextBackOff()); err != nil {
					return err
				}
				failures = 0
				continue
			}
		case errors.Is(err, io.EOF) || cluster.Unreachable(err):
			if f.version != before {
				failures = 0
				pause.Reset()
			}
			if failures++; failures > maxReopen {
				return c.listInstead(f, err)
			}
			c.log.Debug("a watch has ended; opening it again", "kind", f.kind.String(), "error", err)
			if err := retry.Sleep(ctx, pause.NextBackOff()); err != nil {
				return err
			}
			if err := c.askReady(ctx, f.cluster); err != nil {
				return err
			}
			continue
		default:
			// What comes is no watch, or not for now.
			if failures++; failures > maxReopen {
				return c.listInstead(f, err)
			}
			if err := retry.Sleep(ctx, pause.NextBackOff()); err != nil {
				return err
			}
			continue
		}
		failures = 0
		pause.Reset()
	}
}

// listInstead has a kind listed whose watch does not come about, though the API server
// is there: so it is seen whether the kind can be had at all, and what it is like now.
func (c *collector) listInstead(f *following, err error) error {
	c.log.Info("a watch does not come about; listing the kind", "kind", f.kind.String(), "error", err)
	return fmt.Errorf("%w: %w", plugin.ErrCheckpointExpired, err)
}

// errSilent is a watch on which nothing comes any more.
var errSilent = errors.New("the watch has gone silent")

// followOnce opens a watch and applies its changes until it ends.
func (c *collector) followOnce(ctx context.Context, f *following) error {
	ctx, cancel := context.WithCancel(ctx)
	opening := bookmarkSilence
	if c.impatience > 0 {
		opening = c.impatience
	}
	unanswered := time.AfterFunc(opening, cancel)
	watch, err := f.cluster.Watch(ctx, f.kind, c.opts.query(), f.version)
	if answered := unanswered.Stop(); err != nil || !answered {
		cancel()
		if err == nil {
			watch.Close()
		}
		if !answered {
			return errSilent
		}
		return err
	}
	type message struct {
		change cluster.Change
		err    error
	}
	messages := make(chan message, maxBatch)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			change, err := watch.Next()
			select {
			case messages <- message{change, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	defer func() {
		cancel()
		watch.Close()
		<-done
	}()

	patience := watch.Timeout + endSilence
	if c.impatience > 0 {
		patience = c.impatience
	}
	silence := time.NewTimer(patience)
	defer silence.Stop()
	for {
		var first message
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-silence.C:
			return errSilent
		case <-f.outdated:
			if err := f.refresh(); err != nil {
				return err
			}
			continue
		case first = <-messages:
		}
		var facts []plugin.Fact
		version := f.version
		next, failure := first, error(nil)
	batch:
		for n := 0; ; n++ {
			if failure = next.err; failure != nil {
				break
			}
			if next.change.Type == cluster.Bookmark {
				if older(next.change.Version, version) {
					// The cluster was set back to an older state.
					return plugin.ErrCheckpointExpired
				}
				patience = min(patience, bookmarkSilence)
			} else if next.change.Odd != nil {
				if c.first(f.kind, "odd change") {
					c.log.Warn("a change cannot be read", "kind", f.kind.String(), "error", next.change.Odd)
				}
				facts = append(facts, plugin.Fact{Unread: &plugin.Unread{Why: next.change.Odd.Error()}})
			} else {
				facts = append(facts, f.facts(next.change)...)
			}
			if next.change.Version != "" {
				version = next.change.Version
			}
			if n == maxBatch {
				break
			}
			select {
			case next = <-messages:
			default:
				break batch
			}
		}
		if version != f.version || len(facts) > 0 {
			if f.failed = f.out.Apply(ctx, c.checkpoint(f.cluster, version), facts...); f.failed != nil {
				return f.failed
			}
			f.version = version
		}
		if failure != nil {
			return failure
		}
		silence.Reset(patience)
	}
}

// older reports whether resource version a is before b. They are opaque before
// Kubernetes 1.35, but have always been decimal numbers with etcd.
func older(a, b string) bool {
	for _, s := range []string{a, b} {
		if s == "" || strings.Trim(s, "0123456789") != "" {
			return false
		}
	}
	return len(a) < len(b) || len(a) == len(b) && a < b
}
