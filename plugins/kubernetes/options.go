package kubernetes

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/reeve-cloud/reeve/pkg/nearest"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/cluster"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/object"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/scrub"
)

var optionsSchema = json.RawMessage(`{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "kubeconfig": {"type": "string", "description": "A kubeconfig file. By default the service account of the pod that the agent runs in is used."},
    "context": {"type": "string", "description": "A context of the kubeconfig. By default its current one."},
    "cluster": {"type": "string", "description": "What the cluster is called: the region of its assets. By default the collector's name."},
    "include": {"type": "array", "items": {"type": "string", "minLength": 1}, "description": "Only these kinds: patterns of group/resource (apps/*, core/pods, *.example.com/*), or names of kinds (Deployment)."},
    "exclude": {"type": "array", "items": {"type": "string", "minLength": 1}, "description": "Not these kinds, written as in include."},
    "namespaces": {
      "type": "object", "additionalProperties": false,
      "properties": {
        "include": {"type": "array", "items": {"type": "string", "minLength": 1}, "description": "Only objects in these namespaces, as patterns (team-*). Objects without a namespace are not concerned."},
        "exclude": {"type": "array", "items": {"type": "string", "minLength": 1}, "description": "Not these."}
      }
    },
    "label_selector": {"type": "string", "description": "Only objects with these labels, as in kubectl -l. It holds for every kind, so for nodes too."},
    "config_map_values": {"type": "boolean", "description": "Collect the values in ConfigMaps, not only their keys and sizes."},
    "usage": {"type": "boolean", "default": true, "description": "Collect what pods and nodes use, where metrics.k8s.io is served."},
    "env_values": {"type": "boolean", "description": "Collect the literal values of environment variables."},
    "volatile": {
      "type": "object",
      "additionalProperties": {"type": "array", "items": {"type": "string", "minLength": 1}},
      "description": "Document paths, by kind as in include, whose changes alone make no new version: {\"example.com/widgets\": [\"status.heartbeat\"]}."
    }
  }
}`)

// options are what a user can set.
type options struct {
	Kubeconfig string   `json:"kubeconfig"`
	Context    string   `json:"context"`
	Cluster    string   `json:"cluster"`
	Include    []string `json:"include"`
	Exclude    []string `json:"exclude"`
	Namespaces struct {
		Include []string `json:"include"`
		Exclude []string `json:"exclude"`
	} `json:"namespaces"`
	LabelSelector   string              `json:"label_selector"`
	ConfigMapValues bool                `json:"config_map_values"`
	EnvValues       bool                `json:"env_values"`
	Usage           bool                `json:"usage"`
	Volatile        map[string][]string `json:"volatile"`
}

func (o *options) check() error {
	for _, list := range []struct {
		name     string
		patterns []string
	}{
		{"include", o.Include}, {"exclude", o.Exclude},
		{"namespaces.include", o.Namespaces.Include}, {"namespaces.exclude", o.Namespaces.Exclude},
	} {
		for i, p := range list.patterns {
			if _, err := path.Match(p, ""); err != nil {
				return fmt.Errorf("%s[%d] %q: %w", list.name, i, p, err)
			}
		}
	}
	for p := range o.Volatile {
		if _, err := path.Match(p, ""); err != nil {
			return fmt.Errorf("volatile %q: %w", p, err)
		}
	}
	if _, err := labels.Parse(o.LabelSelector); err != nil {
		return fmt.Errorf("label_selector: %w", err)
	}
	return nil
}

func (o *options) access() cluster.Access {
	return cluster.Access{Kubeconfig: o.Kubeconfig, Context: o.Context}
}

func (o *options) query() cluster.Query { return cluster.Query{LabelSelector: o.LabelSelector} }

func (o *options) scrubber() scrub.Scrubber {
	return scrub.Scrubber{ConfigMapValues: o.ConfigMapValues, EnvValues: o.EnvValues}
}

// notAssets are kinds that are no assets: events are events, metrics are usage,
// and component statuses are made up for each request by asking the components.
var notAssets = []string{"core/events", "events.k8s.io/events", "metrics.k8s.io/*", "*.metrics.k8s.io/*", "core/componentstatuses"}

// selects reports whether the kind is collected as assets.
func (o *options) selects(k object.Kind) bool {
	return !matches(notAssets, k) && (len(o.Include) == 0 || matches(o.Include, k)) && !matches(o.Exclude, k)
}

// selectsEvents reports whether events are collected.
func (o *options) selectsEvents() bool {
	return (len(o.Include) == 0 || matches(o.Include, kindEvent)) && !matches(o.Exclude, kindEvent)
}

func matches(patterns []string, k object.Kind) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return match(p, k) })
}

func match(pattern string, k object.Kind) bool {
	if !strings.Contains(pattern, "/") {
		return strings.EqualFold(pattern, k.Kind) || strings.EqualFold(pattern, k.Resource)
	}
	ok, _ := path.Match(strings.ToLower(pattern), strings.ToLower(k.String()))
	return ok
}

// unmatched says of each pattern of kinds that matches nothing what is near: errors
// of what is to be collected, notes of the rest, which may be meant for another
// cluster. A group that the server does not tell about may have what a pattern means.
func (o *options) unmatched(catalog cluster.Catalog) (errs []error, notes []string) {
	var names []string
	for _, served := range catalog.Kinds {
		names = append(names, served.Kind.Kind, served.Resource, served.Kind.String())
	}
	find := func(option, pattern string) (text string) {
		group, _, _ := strings.Cut(pattern, "/")
		if match(pattern, kindEvent) ||
			slices.ContainsFunc(catalog.Kinds, func(s cluster.Served) bool { return match(pattern, s.Kind) }) ||
			slices.ContainsFunc(catalog.Unknown, func(g string) bool { ok, _ := path.Match(group, g); return ok }) {
			return ""
		}
		return fmt.Sprintf("%s %q matches none of the %d kinds that are served%s", option, pattern, len(catalog.Kinds),
			nearest.Hint(pattern, names))
	}
	for i, p := range o.Include {
		if text := find(fmt.Sprintf("include[%d]", i), p); text != "" {
			errs = append(errs, errors.New(text))
		}
	}
	for i, p := range o.Exclude {
		if text := find(fmt.Sprintf("exclude[%d]", i), p); text != "" {
			notes = append(notes, text)
		}
	}
	for _, p := range slices.Sorted(maps.Keys(o.Volatile)) {
		if text := find("volatile", p); text != "" {
			notes = append(notes, text)
		}
	}
	return errs, notes
}

// unmatchedNamespaces says which patterns of namespaces to collect match none.
func (o *options) unmatchedNamespaces(names []string) (errs []error) {
	for i, p := range o.Namespaces.Include {
		if !slices.ContainsFunc(names, func(name string) bool { ok, _ := path.Match(p, name); return ok }) {
			errs = append(errs, fmt.Errorf("namespaces.include[%d] %q matches none of the %d namespaces%s", i, p, len(names),
				nearest.Hint(p, names)))
		}
	}
	return errs
}

// selectsNamespace reports whether objects in a namespace are collected. A
// namespace itself, as an object, counts as in itself.
func (o *options) selectsNamespace(name string) bool {
	if name == "" {
		return true
	}
	in := func(patterns []string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { ok, _ := path.Match(p, name); return ok })
	}
	return (len(o.Namespaces.Include) == 0 || in(o.Namespaces.Include)) && !in(o.Namespaces.Exclude)
}

func (o *options) selectsObject(x *object.Object) bool {
	if x.Kind.Group == "" && x.Kind.Kind == "Namespace" {
		return o.selectsNamespace(x.Meta.Name)
	}
	return o.selectsNamespace(x.Meta.Namespace)
}

// volatile returns the volatile paths of a kind.
func (o *options) volatile(k object.Kind) []string {
	paths := slices.Clone(volatileEverywhere)
	paths = append(paths, volatileByKind[k.String()]...)
	for pattern, more := range o.Volatile {
		if match(pattern, k) {
			paths = append(paths, more...)
		}
	}
	return paths
}

// volatileEverywhere are what ticks by itself in objects of any kind: the marks
// of leaders that renew their election.
var volatileEverywhere = []string{
	"metadata.annotations.control-plane.alpha.kubernetes.io/leader",
	"status.conditions.lastHeartbeatTime",
	"status.conditions.lastProbeTime",
}

var volatileByKind = map[string][]string{
	"coordination.k8s.io/leases": {"spec.renewTime"},
	// What was measured last; what it led to is status.desiredReplicas.
	"autoscaling/horizontalpodautoscalers": {"status.currentMetrics", "derived.current.metrics"},
}

// formatOfDocuments goes up when the same object makes another document than
// before, so that everything is listed again.
const formatOfDocuments = 1

// fingerprint changes whenever a document made before may not be what would be
// made now, or an object collected before not be one that is collected now.
func (o *options) fingerprint() string {
	data, err := json.Marshal([]any{
		formatOfDocuments, o.Cluster, o.Namespaces, o.LabelSelector, o.ConfigMapValues, o.EnvValues,
	})
	if err != nil {
		panic(err) // there is nothing in it that JSON cannot say
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}
