package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/cluster"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/kinds"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/layouts"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/object"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/scrub"
)

const (
	// rediscoverEvery is how often the server is asked what it serves where no
	// definition was seen to change. Most often it says "as before".
	rediscoverEvery = 10 * time.Minute
	// listEvery is how often a kind that cannot be watched is listed.
	listEvery = 10 * time.Minute
	// relistEvery is how often a kind that is watched is listed all the same,
	// should a change ever have been missed.
	relistEvery = 24 * time.Hour
)

// The kinds that need more than the rest, and the scopes that are no kinds.
const (
	kindPods     = "core/pods"
	kindNodes    = "core/nodes"
	kindCRDs     = "apiextensions.k8s.io/customresourcedefinitions"
	kindServices = "apiregistration.k8s.io/apiservices"
	scopeCluster = "cluster"
	scopeEvents  = "core/events"
	scopeUsage   = "usage"
)

var kindEvent = object.Kind{Version: "v1", Kind: "Event", Resource: "events", Namespaced: true}

type collector struct {
	log  *slog.Logger
	opts options
	// fingerprint is that of opts.
	fingerprint string
	gate        *gate
	// impatience, if set, is how long any watch may be silent.
	impatience time.Duration
	pace       pace

	// rediscover has one place: a definition has changed.
	rediscover chan struct{}

	mu       sync.Mutex
	cluster  *cluster.Cluster
	observer *observer
	// served are the kinds by scope, nil until they are known.
	served map[string]cluster.Served
	// clusterWide are the kinds that live in no namespace, by asset type.
	clusterWide map[string]bool
	// listed is when kinds were listed last.
	listed map[string]time.Time

	// said is what was said of kinds.
	said sync.Map
}

// observer makes observations of the objects of one cluster.
type observer struct {
	log      *slog.Logger
	opts     options
	names    object.Names
	scrubber scrub.Scrubber
	ledger   *ledger
	policies *policies

	mu sync.Mutex
	// told are the ids of the incidents that each object's status shows.
	told map[plugin.Key][]string
	// lastEvent is when the newest event was written.
	lastEvent time.Time
	// columns are the layouts of custom resources by asset type, made of the
	// columns that their definitions print; newColumns says that they changed.
	columns    map[string]json.RawMessage
	newColumns bool
	// nodesEarly says that the nodes were listed before all pods were known.
	nodesEarly bool
}

var (
	_ plugin.Watcher  = (*collector)(nil)
	_ plugin.Selector = (*collector)(nil)
)

func newCollector(log *slog.Logger, opts options) *collector {
	return &collector{
		log: log, opts: opts, fingerprint: opts.fingerprint(), gate: newGate(), pace: usualPace,
		rediscover: make(chan struct{}, 1), listed: make(map[string]time.Time),
	}
}

// connect returns the cluster, and connects to it first if that has not been
// done yet.
func (c *collector) connect(ctx context.Context) (*cluster.Cluster, *observer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cluster != nil {
		return c.cluster, c.observer, nil
	}
	k, err := cluster.Connect(ctx, c.opts.access())
	if err != nil {
		return nil, nil, err
	}
	c.log.Info("connected to a Kubernetes cluster", "server", k.Host, "version", k.Version.GitVersion, "cluster_id", k.ID)
	c.cluster = k
	c.observer = &observer{
		log: c.log, opts: c.opts, scrubber: c.opts.scrubber(),
		names:  object.Names{Cluster: k.ID, Namespaced: c.namespaced},
		ledger: newLedger(), policies: newPolicies(), told: make(map[plugin.Key][]string),
		columns: make(map[string]json.RawMessage),
	}
	return c.cluster, c.observer, nil
}

// Verify implements [plugin.Collector]. It lists one object of every kind.
func (c *collector) Verify(ctx context.Context) ([]plugin.Check, error) {
	k, _, err := c.connect(ctx)
	if err != nil {
		return []plugin.Check{{Subject: "API server", Err: err}}, nil
	}
	checks := []plugin.Check{{Subject: "API server", Detail: fmt.Sprintf("%s, Kubernetes %s", k.Host, k.Version.GitVersion)}}
	catalog, err := k.Discover(ctx)
	if err != nil {
		return append(checks, plugin.Check{Subject: "discovery", Err: err}), nil
	}
	c.learn(catalog)
	for _, group := range catalog.Unknown {
		checks = append(checks, plugin.Check{Subject: "group " + group, Err: errors.New("the API server cannot tell what it serves")})
	}
	errs, notes := c.opts.unmatched(catalog)
	for _, err := range append(errs, c.unmatchedNamespaces(ctx, k)...) {
		checks = append(checks, plugin.Check{Subject: "options", Err: err})
	}
	for _, note := range notes {
		checks = append(checks, plugin.Check{Subject: "options", Detail: note})
	}
	list := slices.DeleteFunc(catalog.Kinds, func(s cluster.Served) bool {
		_, measured := c.opts.measured(s.Kind)
		return !measured && !c.opts.selects(s.Kind)
	})
	if c.opts.selectsEvents() {
		list = append(list, cluster.Served{Kind: kindEvent, Watch: true})
	}
	listed, noLists := 0, []string{}
	refusals := make(map[string][]string) // kinds by account
	for _, served := range list {
		err := k.Try(ctx, served.Kind, c.opts.query())
		var refused *cluster.RefusedError
		switch {
		case err == nil:
			listed++
		case errors.Is(err, cluster.ErrNoList):
			noLists = append(noLists, served.Kind.String())
		case errors.As(err, &refused):
			refusals[refused.Who()] = append(refusals[refused.Who()], served.Kind.String())
		default:
			checks = append(checks, plugin.Check{Subject: served.Kind.String(), Err: err})
		}
	}
	for _, account := range slices.Sorted(maps.Keys(refusals)) {
		checks = append(checks, plugin.Check{Subject: "rights", Err: fmt.Errorf(
			"the API server does not let %s list %d of %d kinds: %s: allow it the verbs get, list and watch there, or exclude them",
			account, len(refusals[account]), len(list), strings.Join(refusals[account], ", "))})
	}
	detail := fmt.Sprintf("%d of %d kinds can be listed", listed, len(list)-len(noLists))
	if len(noLists) > 0 {
		detail += "; there is nothing to list of " + strings.Join(noLists, ", ")
	}
	return append(checks, plugin.Check{Subject: "lists", Detail: detail}), nil
}

// unmatchedNamespaces says of the patterns of namespaces to collect which match
// none. Where namespaces cannot be listed nothing can be said.
func (c *collector) unmatchedNamespaces(ctx context.Context, k *cluster.Cluster) []error {
	if len(c.opts.Namespaces.Include) == 0 {
		return nil
	}
	var names []string
	if _, err := k.List(ctx, object.Kind{Version: "v1", Kind: "Namespace", Resource: "namespaces"}, cluster.Query{},
		func(x *object.Object) error {
			names = append(names, x.Meta.Name)
			return nil
		}, nil); err != nil {
		return nil // that is said of the kind itself
	}
	return c.opts.unmatchedNamespaces(names)
}

// Scopes implements [plugin.Collector].
func (c *collector) Scopes(ctx context.Context, publish func([]plugin.Scope)) error {
	k, o, err := c.connect(ctx)
	if err != nil {
		return err
	}
	again := time.NewTimer(0)
	defer again.Stop()
	pauses := []time.Duration{}
	told := false
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.rediscover:
			// What a new definition defines is served a little later.
			pauses = []time.Duration{300 * time.Millisecond, time.Second, 3 * time.Second, 10 * time.Second}
		case <-again.C:
			if err := c.ready(ctx, k); err != nil {
				return err
			}
			catalog, err := k.Discover(ctx)
			if err != nil {
				return c.failed(ctx, k, err)
			}
			if !told {
				told = true
				c.warn(ctx, k, catalog)
			}
			if news := c.learn(catalog); o.takeNewColumns() || news {
				o.release(c.selected())
				publish(c.scopes(o))
			}
			if len(catalog.Unknown) > 0 && len(pauses) == 0 {
				pauses = []time.Duration{30 * time.Second}
			}
		}
		next := rediscoverEvery
		if len(pauses) > 0 {
			next, pauses = pauses[0], pauses[1:]
		}
		again.Reset(next)
	}
}

// warn tells of options that select nothing: a mistyped name looks like a kind that
// is not there.
func (c *collector) warn(ctx context.Context, k *cluster.Cluster, catalog cluster.Catalog) {
	errs, notes := c.opts.unmatched(catalog)
	for _, err := range append(errs, c.unmatchedNamespaces(ctx, k)...) {
		c.log.Warn("an option matches nothing: what it means is not collected", "error", err)
	}
	for _, note := range notes {
		c.log.Info("an option matches nothing", "option", note)
	}
}

// learn takes note of what is served, and reports whether that is news. Kinds
// of groups that the server knows nothing of at the moment stay.
func (c *collector) learn(catalog cluster.Catalog) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := make(map[string]cluster.Served)
	for name, served := range c.served {
		if slices.Contains(catalog.Unknown, served.Group) {
			next[name] = served
		}
	}
	for _, served := range catalog.Kinds {
		next[served.Kind.String()] = served
	}
	news := c.served == nil || !maps.Equal(c.served, next)
	c.served, c.clusterWide = next, make(map[string]bool)
	for _, served := range next {
		if !served.Namespaced {
			c.clusterWide[served.Type()] = true
		}
	}
	return news
}

// namespaced reports whether objects of a kind live in namespaces. Of a kind
// that is not served it is not known, and of no importance: nothing is there.
func (c *collector) namespaced(group, kind string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.clusterWide[object.Type(group, kind)]
}

// Selects implements [plugin.Selector]. Of a kind that the server was never seen to
// serve it is not known: patterns may mean it by its kind's name.
func (c *collector) Selects(scope string) bool {
	switch scope {
	case scopeCluster:
		return true
	case scopeEvents:
		return c.opts.selectsEvents()
	case scopeUsage:
		return c.opts.Usage
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	served, known := c.served[scope]
	return !known || c.opts.selects(served.Kind)
}

// kind returns the kind of a scope.
func (c *collector) kind(scope string) (cluster.Served, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	served, ok := c.served[scope]
	return served, ok && c.opts.selects(served.Kind)
}

// selected returns the kinds that are collected, in order.
func (c *collector) selected() []cluster.Served {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []cluster.Served
	for _, served := range c.served {
		if c.opts.selects(served.Kind) {
			list = append(list, served)
		}
	}
	slices.SortFunc(list, func(x, y cluster.Served) int { return strings.Compare(x.Kind.String(), y.Kind.String()) })
	return list
}

func (c *collector) scopes(o *observer) []plugin.Scope {
	scopes := []plugin.Scope{{Name: scopeCluster, Watch: true}}
	if c.opts.selectsEvents() {
		scopes = append(scopes, plugin.Scope{Name: scopeEvents, Watch: true})
	}
	if len(c.metrics()) > 0 {
		scopes = append(scopes, plugin.Scope{Name: scopeUsage, Watch: true})
	}
	for _, served := range c.selected() {
		title, layout := layouts.For(served.Type())
		if printed := o.printed(served.Type()); printed != nil {
			layout = printed
		}
		s := plugin.Scope{
			Name:  served.Kind.String(),
			Types: []plugin.Type{{Name: served.Type(), Title: title, Layout: layout, Volatile: c.opts.volatile(served.Kind)}},
			Watch: served.Watch, SweepEvery: relistEvery,
		}
		if !served.Watch {
			s.SweepEvery = listEvery
		}
		scopes = append(scopes, s)
	}
	return scopes
}

// release opens the latches of kinds that are not collected: nobody is to wait
// for them.
func (c *observer) release(selected []cluster.Served) {
	collected := make(map[string]bool)
	for _, served := range selected {
		collected[served.Kind.String()] = served.Watch
	}
	for _, kind := range append([]string{kindPods, kindNodes}, policyKinds...) {
		if !collected[kind] {
			c.leaveOut(kind)
		}
	}
}

// leaveOut says that nobody is to wait for a kind, nor to count on it.
func (c *observer) leaveOut(kind string) {
	switch kind {
	case kindPods:
		c.ledger.podsLeftOut.Store(true)
	case kindNodes:
		c.ledger.nodesLeftOut.Store(true)
	}
	c.open(kind)
}

// known says that all objects of a kind are known.
func (c *observer) known(kind string) {
	switch kind {
	case kindPods:
		c.ledger.podsLeftOut.Store(false)
	case kindNodes:
		c.ledger.nodesLeftOut.Store(false)
	}
	c.open(kind)
}

// open opens the latch of a kind, if it has one.
func (c *observer) open(kind string) {
	switch kind {
	case kindPods:
		c.ledger.podsKnown.set()
	case kindNodes:
		c.ledger.nodesKnown.set()
	default:
		if l := c.policies.known[kind]; l != nil {
			l.set()
		}
	}
}

// recall learns from what was recorded what an earlier run of the agent knew of
// the objects of a kind.
func (c *observer) recall(ctx context.Context, kind object.Kind, out plugin.Sink) error {
	if !c.keeps(kind) {
		return nil
	}
	return out.Recall(ctx, func(was plugin.Observation) error {
		o, err := object.Read(kind, was.Document)
		if err != nil {
			return err
		}
		reading, err := kinds.Read(o, c.names)
		if err != nil {
			return err
		}
		c.note(was.Key, o, reading)
		c.news(was.Key, reading.Incidents)
		return nil
	})
}
