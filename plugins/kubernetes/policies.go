package kubernetes

import (
	"reflect"
	"sync"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/kinds"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/object"
)

// policies keeps what network policies and disruption budgets select, so that a
// pod can be related to those that concern it. The relation leads from the pod:
// a policy for a thousand pods is not a new version each time one of them goes.
type policies struct {
	mu     sync.Mutex
	byName map[plugin.Key]policy
	// stale are namespaces whose pods must be looked at again, since a policy
	// there has changed.
	stale map[string]bool
	// changed has one place, filled while stale is not empty.
	changed chan struct{}

	// known holds a latch for each kind of policies that is collected: pods are
	// not looked at before.
	known map[string]*latch
}

type policy struct {
	namespace string
	selector  kinds.Selector
}

const selectedBy = "selected_by"

// policyKinds are the kinds that select pods.
var policyKinds = []string{"networking.k8s.io/networkpolicies", "policy/poddisruptionbudgets"}

func newPolicies() *policies {
	p := &policies{
		byName: make(map[plugin.Key]policy), stale: make(map[string]bool), changed: make(chan struct{}, 1),
		known: make(map[string]*latch),
	}
	for _, kind := range policyKinds {
		p.known[kind] = newLatch()
	}
	return p
}

// set takes note of a policy as it is now.
func (p *policies) set(key plugin.Key, o *object.Object) error {
	selector, ok, err := kinds.SelectorOf(o)
	if err != nil {
		return err
	}
	if !ok {
		p.delete(key)
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	next := policy{namespace: o.Meta.Namespace, selector: selector}
	before, known := p.byName[key]
	p.byName[key] = next
	if !known || !reflect.DeepEqual(before, next) {
		p.outdate(next.namespace)
	}
	return nil
}

func (p *policies) delete(key plugin.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if before, known := p.byName[key]; known {
		delete(p.byName, key)
		p.outdate(before.namespace)
	}
}

// keep forgets all policies of a type but those listed.
func (p *policies) keep(assetType string, listed map[plugin.Key]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, before := range p.byName {
		if key.Type == assetType && !listed[key] {
			delete(p.byName, key)
			p.outdate(before.namespace)
		}
	}
}

// outdate says that the pods of a namespace must be looked at again. p.mu is
// held. Until the policies are known no pod has been looked at.
func (p *policies) outdate(namespace string) {
	for _, l := range p.known {
		if !l.isSet() {
			return
		}
	}
	p.stale[namespace] = true
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// takeStale returns the namespaces whose pods must be looked at again.
func (p *policies) takeStale() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var namespaces []string
	for namespace := range p.stale {
		namespaces = append(namespaces, namespace)
	}
	clear(p.stale)
	return namespaces
}

// relations returns the relations of a pod to the policies that select it.
func (p *policies) relations(pod *object.Object) (relations []plugin.Relation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, policy := range p.byName {
		if policy.namespace == pod.Meta.Namespace && policy.selector.Matches(pod.Meta.Labels) {
			relations = append(relations, plugin.Relation{Kind: selectedBy, To: key})
		}
	}
	return relations
}
