package kubernetes

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/object"
)

var (
	pods     = object.Kind{Version: "v1", Kind: "Pod", Resource: "pods", Namespaced: true}
	nodes    = object.Kind{Version: "v1", Kind: "Node", Resource: "nodes"}
	netpols  = object.Kind{Group: "networking.k8s.io", Version: "v1", Kind: "NetworkPolicy", Resource: "networkpolicies", Namespaced: true}
	customs  = object.Kind{Group: "example.com", Version: "v1", Kind: "Custom", Resource: "customs"}
	leases   = object.Kind{Group: "coordination.k8s.io", Version: "v1", Kind: "Lease", Resource: "leases", Namespaced: true}
	secrets  = object.Kind{Version: "v1", Kind: "Secret", Resource: "secrets", Namespaced: true}
	metrics  = object.Kind{Group: "metrics.k8s.io", Version: "v1beta1", Kind: "PodMetrics", Resource: "pods", Namespaced: true}
	newEvent = object.Kind{Group: "events.k8s.io", Version: "v1", Kind: "Event", Resource: "events", Namespaced: true}
)

func newObserver() *observer {
	return &observer{
		log: slog.New(slog.DiscardHandler), opts: options{Cluster: "lab"},
		names:  object.Names{Cluster: "c", Namespaced: func(_, kind string) bool { return kind != "Node" }},
		ledger: newLedger(), policies: newPolicies(), told: make(map[plugin.Key][]string),
		columns: make(map[string]json.RawMessage),
	}
}

func read(t *testing.T, kind object.Kind, raw string) *object.Object {
	t.Helper()
	o, err := object.Read(kind, []byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func pod(name, node, phase, labels string) string {
	return fmt.Sprintf(`{"metadata":{"name":%q,"namespace":"a","uid":"u-%s","labels":{%s}},"spec":{"nodeName":%q,"containers":[
		{"name":"x","image":"nginx","resources":{"requests":{"cpu":"500m","memory":"1Gi"}}}]},"status":{"phase":%q}}`, name, name, labels, node, phase)
}

const node = `{"metadata":{"name":"n1"},"spec":{},"status":{"capacity":{"cpu":"4","memory":"8Gi","pods":"110"},` +
	`"allocatable":{"cpu":"3500m","memory":"7Gi","pods":"110"},
	"conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`

func TestNodesShowWhatTheirPodsHold(t *testing.T) {
	c := newObserver()
	for _, p := range []string{pod("p1", "n1", "Running", ""), pod("p2", "n1", "Succeeded", ""), pod("p3", "n2", "Running", ""),
		pod("p4", "", "Pending", ""), pod("p5", "n1", "Pending", "")} {
		c.observe(read(t, pods, p))
	}
	allocated := func() amounts {
		observation, _ := c.observe(read(t, nodes, node))
		var doc struct {
			Derived struct {
				Allocated amounts `json:"allocated"`
			} `json:"derived"`
		}
		if err := json.Unmarshal(canonical(t, observation).Document, &doc); err != nil {
			t.Fatal(err)
		}
		return doc.Derived.Allocated
	}
	if got := allocated(); got != (amounts{}) {
		t.Errorf("before all pods are known: allocated %+v", got)
	}
	c.known(kindPods)
	if got, want := allocated(), (amounts{CPU: 1, Memory: 2 << 30, Pods: 2}); got != want {
		t.Errorf("allocated %+v, want %+v", got, want)
	}
	gone := read(t, pods, pod("p1", "n1", "Running", ""))
	c.forget(c.names.Of(gone), gone)
	if got, want := allocated(), (amounts{CPU: .5, Memory: 1 << 30, Pods: 1}); got != want {
		t.Errorf("after a pod has gone: allocated %+v, want %+v", got, want)
	}
	if s := c.ledger.summary(); s.Nodes != nil || s.Capacity != nil || s.Pods == nil {
		t.Errorf("before all nodes are known: summary %+v", s)
	}
	c.known(kindNodes)
	s := c.ledger.summary()
	if s.Nodes.Total != 1 || s.Nodes.Ready != 1 || s.Pods.Total != 4 || s.Pods.Active != 2 || s.Capacity.CPU != 4 ||
		s.Allocatable.CPU != 3.5 || s.Allocated.CPU != 1 {
		t.Errorf("summary %+v", s)
	}
	c.ledger.keepPods(map[string]bool{"c/Pod/a/p3": true})
	if s := c.ledger.summary(); s.Pods.Total != 1 {
		t.Errorf("after a listing of one: %+v", s.Pods)
	}
}

func TestPoliciesSelectPods(t *testing.T) {
	c := newObserver()
	policy := func(name, selector string) *object.Object {
		return read(t, netpols, fmt.Sprintf(`{"metadata":{"name":%q,"namespace":"a"},"spec":{"podSelector":%s}}`, name, selector))
	}
	selected := func(labels string) string {
		observation, _ := c.observe(read(t, pods, pod("p", "n1", "Running", labels)))
		var names []string
		for _, r := range observation.Relations {
			if r.Kind == selectedBy {
				names = append(names, r.To.UID[strings.LastIndexByte(r.To.UID, '/')+1:])
			}
		}
		slices.Sort(names)
		return strings.Join(names, " ")
	}
	c.observe(policy("all", `{}`))
	c.observe(policy("web", `{"matchLabels":{"app":"web"}}`))
	if got := selected(`"app":"web"`); got != "all web" {
		t.Errorf("selected by %q", got)
	}
	if got := selected(`"app":"db"`); got != "all" {
		t.Errorf("selected by %q", got)
	}
	if stale := c.policies.takeStale(); len(stale) > 0 {
		t.Errorf("before anything is known, %q is out of date", stale)
	}
	for _, kind := range policyKinds {
		c.known(kind)
	}
	c.observe(policy("web", `{"matchLabels":{"app":"web"}}`)) // as before
	if stale := c.policies.takeStale(); len(stale) > 0 {
		t.Errorf("nothing has changed, but %q is out of date", stale)
	}
	c.observe(policy("web", `{"matchLabels":{"app":"db"}}`))
	if stale := c.policies.takeStale(); !slices.Equal(stale, []string{"a"}) {
		t.Errorf("out of date: %q", stale)
	}
	if got := selected(`"app":"db"`); got != "all web" {
		t.Errorf("selected by %q", got)
	}
	// A listing without the policy.
	c.keep(netpols, map[plugin.Key]bool{c.names.Of(policy("web", `{}`)): true})
	if got := selected(`"app":"x"`); got != "" {
		t.Errorf("selected by %q", got)
	}
	if stale := c.policies.takeStale(); !slices.Equal(stale, []string{"a"}) {
		t.Errorf("out of date: %q", stale)
	}
}

func TestIncidentsAreToldOnce(t *testing.T) {
	c := newObserver()
	killed := func(finished string) string {
		return fmt.Sprintf(`{"metadata":{"name":"p","namespace":"a","uid":"u"},"spec":{"containers":[{"name":"x"}]},`+
			`"status":{"phase":"Running","containerStatuses":[
			{"name":"x","restartCount":1,"state":{"running":{}},"lastState":{"terminated":{"exitCode":137,"reason":"OOMKilled","finishedAt":%q}}}]}}`, finished)
	}
	told := func(raw string) int {
		_, events := c.observe(read(t, pods, raw))
		return len(events)
	}
	if n := told(killed("2026-01-01T00:00:00Z")); n != 1 {
		t.Errorf("%d events of a container that was killed", n)
	}
	if n := told(killed("2026-01-01T00:00:00Z")); n != 0 {
		t.Errorf("%d events of what was told", n)
	}
	if n := told(pod("p", "n", "Running", "")); n != 0 {
		t.Errorf("%d events of a pod that runs", n)
	}
	if n := told(killed("2026-01-01T00:00:00Z")); n != 0 {
		t.Errorf("%d events of what was told before", n)
	}
	if n := told(killed("2026-01-01T00:05:00Z")); n != 1 {
		t.Errorf("%d events of a container that was killed again", n)
	}
}

func TestDefinitionsMakeLayouts(t *testing.T) {
	c := newObserver()
	definitions := object.Kind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition",
		Resource: "customresourcedefinitions"}
	define := func(group, kind, column string) {
		c.observe(read(t, definitions, fmt.Sprintf(`{"metadata":{"name":"x"},"spec":{"group":%q,"names":{"kind":%q},"versions":[
			{"name":"v1alpha1","additionalPrinterColumns":[{"name":"Old","type":"string","jsonPath":".spec.old"}]},
			{"name":"v1","storage":true,"additionalPrinterColumns":[{"name":%q,"type":"string","jsonPath":".spec.size"}]}]}}`, group, kind, column)))
	}
	define("example.com", "Custom", "Size")
	if l := string(c.printed("kubernetes.example.com.Custom")); !strings.Contains(l, `"spec.size"`) || strings.Contains(l, `"spec.old"`) {
		t.Errorf("layout %s", l)
	}
	if !c.takeNewColumns() || c.takeNewColumns() {
		t.Error("a new layout is news once")
	}
	define("example.com", "Custom", "Size")
	if c.takeNewColumns() {
		t.Error("the same layout is no news")
	}
	define("gateway.networking.k8s.io", "Gateway", "Size")
	if l := c.printed("kubernetes.gateway.networking.k8s.io.Gateway"); l != nil {
		t.Errorf("a kind that has a layout got %s", l)
	}
}

func TestDerivedOfACustomResourceIsItsOwn(t *testing.T) {
	c := newObserver()
	for raw, want := range map[string]string{
		`{"metadata":{"name":"x"},"derived":{"a":1},"status":{"phase":"Up"}}`: `{"a":1}`,
		`{"metadata":{"name":"x"},"spec":{"derived":{"a":1}}}`:                ``,
	} {
		observation, _ := c.observe(read(t, customs, raw))
		var doc struct {
			Derived json.RawMessage `json:"derived"`
		}
		if err := json.Unmarshal(canonical(t, observation).Document, &doc); err != nil {
			t.Fatal(err)
		}
		if string(doc.Derived) != want {
			t.Errorf("%s: derived %s", raw, doc.Derived)
		}
	}
}

func TestSelection(t *testing.T) {
	for _, test := range []struct {
		include, exclude []string
		selected         []object.Kind
		left             []object.Kind
	}{
		{nil, nil, []object.Kind{pods, secrets, leases, customs}, []object.Kind{kindEvent, newEvent, metrics}},
		{[]string{"core/*"}, nil, []object.Kind{pods, nodes}, []object.Kind{leases, customs, kindEvent}},
		{nil, []string{"Secret", "*.example.com/*", "example.com/*"}, []object.Kind{pods}, []object.Kind{secrets, customs}},
		{[]string{"pods", "LEASE"}, []string{"coordination.k8s.io/*"}, []object.Kind{pods}, []object.Kind{leases, nodes}},
	} {
		o := options{Include: test.include, Exclude: test.exclude}
		if err := o.check(); err != nil {
			t.Fatal(err)
		}
		for _, k := range test.selected {
			if !o.selects(k) {
				t.Errorf("include %q, exclude %q leaves %s out", test.include, test.exclude, k)
			}
		}
		for _, k := range test.left {
			if o.selects(k) {
				t.Errorf("include %q, exclude %q selects %s", test.include, test.exclude, k)
			}
		}
	}
	for _, bad := range []options{{Include: []string{"[a"}}, {LabelSelector: "a in b"}, {Volatile: map[string][]string{"[": nil}}} {
		if bad.check() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	o := options{Volatile: map[string][]string{"example.com/*": {"status.beat"}}}
	if v := o.volatile(customs); !slices.Contains(v, "status.beat") || slices.Contains(o.volatile(pods), "status.beat") {
		t.Errorf("volatile %q", v)
	}
}
