// Package kubernetes observes a Kubernetes cluster: every kind of objects that
// its API server serves, custom resources included, as assets, its events, and
// what pods and nodes use where that is measured.
//
// Each kind is a scope. It is listed once and then watched, from where it was
// left off when the agent starts again; what the server serves is discovered
// again whenever definitions change. No object is kept in memory: what was last
// seen of it lies with the agent, and of pods and nodes there are the few
// numbers of [ledger].
//
// What an object passes through, each in a package of its own:
//
//	cluster   lists and watches, as JSON
//	object    what all kinds have, and the keys of assets
//	scrub     takes out what must not leave the cluster
//	kinds     states, relations and derived facts of the kinds that are known
//	layouts   how consoles show them
//
// An asset's uid is CLUSTER/KIND/NAMESPACE/NAME, with the uid of the namespace
// kube-system for the cluster and KIND as in Deployment.apps: references inside
// a cluster are by name, so a relation needs no look-up and holds whichever of
// the two objects comes first.
package kubernetes

import (
	"encoding/json"
	"fmt"
	"sync"

	"k8s.io/klog/v2"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/layouts"
)

// Plugin is the Kubernetes plugin.
var Plugin plugin.Plugin = kubernetesPlugin{}

type kubernetesPlugin struct{}

var clientLogger sync.Once

// typeCluster is the asset that stands for the cluster as a whole.
const typeCluster = "kubernetes.cluster.Cluster"

// Describe implements [plugin.Plugin].
func (kubernetesPlugin) Describe() plugin.Description {
	title, layout := layouts.For(typeCluster)
	return plugin.Description{
		Name:      "kubernetes",
		Summary:   "A Kubernetes cluster: all kinds that its API server serves, and its events.",
		Stability: plugin.Beta,
		Types:     []plugin.Type{{Name: typeCluster, Title: title, Layout: layout}},
		Options:   optionsSchema,
	}
}

// New implements [plugin.Plugin].
func (kubernetesPlugin) New(config plugin.Config) (plugin.Collector, error) {
	o := options{Usage: true}
	if len(config.Options) > 0 {
		if err := json.Unmarshal(config.Options, &o); err != nil {
			return nil, fmt.Errorf("options: %w", err)
		}
	}
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("options: %w", err)
	}
	if o.Cluster == "" {
		o.Cluster = config.Name
	}
	// What the client library says, it says to one logger for all, which is not to be
	// changed while a collector runs.
	clientLogger.Do(func() { klog.SetSlogLogger(config.Logger) })
	return newCollector(config.Logger, o), nil
}
