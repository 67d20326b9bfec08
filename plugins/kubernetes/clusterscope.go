package kubernetes

import (
	"context"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/cluster"
)

const (
	// summarizeEvery is how often the cluster's numbers are added up.
	summarizeEvery = time.Minute
	// askVersionEvery is how often the server is asked for its version.
	askVersionEvery = 10 * time.Minute
	// ledgerPatience is how long the first of them wait for pods and nodes.
	ledgerPatience = 10 * time.Second
)

// watchCluster keeps the asset that stands for the cluster. It asks the API server
// each minute, so that an outage, or credentials that are not accepted any more, do
// not go unsaid until the next watch ends.
func (c *collector) watchCluster(ctx context.Context, k *cluster.Cluster, o *observer, out plugin.Sink) error {
	if err := o.ledger.wait(ctx, ledgerPatience); err != nil {
		return err
	}
	var version cluster.Version
	var asked time.Time
	ticks := time.NewTicker(summarizeEvery)
	defer ticks.Stop()
	for {
		if err := c.askReady(ctx, k); err != nil {
			return err
		}
		if time.Since(asked) >= askVersionEvery {
			var err error
			if version, err = k.AskVersion(ctx); err != nil {
				return err
			}
			asked = time.Now()
		}
		observation, err := c.clusterObservation(k, version, o.ledger.summary())
		if err != nil {
			return err
		}
		if err := out.Apply(ctx, "begun", plugin.Fact{Upsert: &observation}); err != nil {
			return err
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *collector) clusterObservation(k *cluster.Cluster, version cluster.Version, s summary) (plugin.Observation, error) {
	document, err := json.Marshal(struct {
		Name     string `json:"name"`
		ID       string `json:"id"`
		Server   string `json:"server"`
		Version  string `json:"version"`
		Platform string `json:"platform"`
		summary
	}{c.opts.Cluster, k.ID, k.Host, version.GitVersion, version.Platform, s})
	if err != nil {
		return plugin.Observation{}, fmt.Errorf("encoding the cluster: %w", err)
	}
	status := "Ready"
	if s.Nodes != nil && s.Nodes.Ready < s.Nodes.Total {
		status = "NotReady"
	}
	return plugin.Observation{
		Key:  plugin.Key{Type: typeCluster, UID: k.ID},
		Name: c.opts.Cluster, Region: c.opts.Cluster, Status: status, Document: document,
	}, nil
}

// newNodeEntry keeps of a node what the cluster's sums need.
func newNodeEntry(derived document.Object) (entry nodeEntry, err error) {
	raw, err := json.Marshal(derived)
	if err != nil {
		return entry, err
	}
	var facts struct {
		Ready       bool    `json:"ready"`
		Provider    string  `json:"provider"`
		Capacity    amounts `json:"capacity"`
		Allocatable amounts `json:"allocatable"`
	}
	err = json.Unmarshal(raw, &facts)
	return nodeEntry{ready: facts.Ready, provider: facts.Provider, capacity: facts.Capacity, allocatable: facts.Allocatable}, err
}
