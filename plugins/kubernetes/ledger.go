package kubernetes

import (
	"context"
	"maps"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reeve-cloud/reeve/plugins/kubernetes/kinds"
)

// ledger keeps what must be known of other objects than the one at hand: what
// pods hold on nodes, and what nodes have. An entry is a few numbers.
type ledger struct {
	mu    sync.Mutex
	pods  map[string]kinds.Requests // by asset uid
	nodes map[string]nodeEntry      // likewise

	// Closed when the first listing of each, or what was recalled of it, is in.
	podsKnown, nodesKnown *latch
	// podsLeftOut and nodesLeftOut say that they are open since there is nothing to
	// wait for: they are not collected, or may not be.
	podsLeftOut, nodesLeftOut atomic.Bool
}

// nodeEntry is what the cluster's sums need of a node.
type nodeEntry struct {
	ready                 bool
	provider              string
	capacity, allocatable amounts
}

// amounts are in cores, bytes and pods.
type amounts struct {
	CPU    float64 `json:"cpu"`
	Memory float64 `json:"memory"`
	Pods   float64 `json:"pods"`
}

// add adds in whole thousandths of a core, which is what pods ask for: sums of fractions
// would differ by the order, and an asset would have a new version for nothing.
func (a *amounts) add(b amounts) {
	a.CPU = math.Round((a.CPU+b.CPU)*1000) / 1000
	a.Memory += b.Memory
	a.Pods += b.Pods
}

func newLedger() *ledger {
	return &ledger{
		pods: make(map[string]kinds.Requests), nodes: make(map[string]nodeEntry),
		podsKnown: newLatch(), nodesKnown: newLatch(),
	}
}

func (l *ledger) setPod(uid string, r kinds.Requests) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pods[uid] = r
}

func (l *ledger) deletePod(uid string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.pods, uid)
}

func (l *ledger) setNode(uid string, n nodeEntry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nodes[uid] = n
}

func (l *ledger) deleteNode(uid string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.nodes, uid)
}

// keepPods forgets all pods but those listed, keepNodes all other nodes.
func (l *ledger) keepPods(uids map[string]bool)  { keepOnly(l, l.pods, uids) }
func (l *ledger) keepNodes(uids map[string]bool) { keepOnly(l, l.nodes, uids) }

func keepOnly[V any](l *ledger, entries map[string]V, listed map[string]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(entries, func(key string, _ V) bool { return !listed[key] })
}

// countsPods reports whether all pods are known, countsNodes whether all nodes are.
func (l *ledger) countsPods() bool  { return l.podsKnown.isSet() && !l.podsLeftOut.Load() }
func (l *ledger) countsNodes() bool { return l.nodesKnown.isSet() && !l.nodesLeftOut.Load() }

// allocated returns what the pods of a node hold.
func (l *ledger) allocated(node string) (sum amounts) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.pods {
		if p.Active && p.Node == node {
			sum.add(held(p))
		}
	}
	return sum
}

func held(p kinds.Requests) amounts {
	return amounts{CPU: float64(p.CPU) / 1000, Memory: float64(p.Memory), Pods: 1}
}

// wait waits until pods and nodes are known, or the time is up.
func (l *ledger) wait(ctx context.Context, d time.Duration) error {
	patience := time.NewTimer(d)
	defer patience.Stop()
	for _, known := range []*latch{l.podsKnown, l.nodesKnown} {
		select {
		case <-known.open:
		case <-patience.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// summary is the cluster in numbers. What is not known is not in it.
type summary struct {
	Nodes       *nodeCount `json:"nodes,omitempty"`
	Pods        *podCount  `json:"pods,omitempty"`
	Capacity    *amounts   `json:"capacity,omitempty"`
	Allocatable *amounts   `json:"allocatable,omitempty"`
	Allocated   *amounts   `json:"allocated,omitempty"`
	// Provider is what most nodes name as theirs.
	Provider string `json:"provider,omitempty"`
}

type nodeCount struct {
	Total int `json:"total"`
	Ready int `json:"ready"`
}

type podCount struct {
	Total  int `json:"total"`
	Active int `json:"active"`
}

func (l *ledger) summary() (s summary) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.countsNodes() {
		s.Nodes, s.Capacity, s.Allocatable = new(nodeCount), new(amounts), new(amounts)
		providers := make(map[string]int)
		for _, n := range l.nodes {
			s.Nodes.Total++
			if n.ready {
				s.Nodes.Ready++
			}
			s.Capacity.add(n.capacity)
			s.Allocatable.add(n.allocatable)
			providers[n.provider]++
		}
		for provider, count := range providers {
			if best := providers[s.Provider]; s.Provider == "" || count > best || count == best && provider < s.Provider {
				s.Provider = provider
			}
		}
	}
	if l.countsPods() {
		s.Pods, s.Allocated = new(podCount), new(amounts)
		for _, p := range l.pods {
			s.Pods.Total++
			if p.Active {
				s.Pods.Active++
				s.Allocated.add(held(p))
			}
		}
	}
	return s
}
