package kubernetes

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/kinds"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/object"
)

// observe makes an observation of an object, and events of what its status
// tells that was not told before. An object that cannot be read makes an
// observation without a document: it is refused behind the contract, loudly,
// and not taken for deleted.
func (c *observer) observe(o *object.Object) (plugin.Observation, []plugin.Event) {
	key := c.names.Of(o)
	observation := plugin.Observation{
		Key:  key,
		Name: o.Meta.Name, Region: c.opts.Cluster, Project: o.Meta.Namespace, Labels: o.Meta.Labels,
		CreatedAt: o.Meta.CreationTimestamp, UpdatedAt: o.UpdatedAt(),
	}
	reading, err := kinds.Read(o, c.names)
	if err != nil {
		// What the kind means is lost; what the object says is not.
		c.log.Warn("an object is not as its kind says", "kind", o.Kind.String(), "namespace", o.Meta.Namespace, "name", o.Meta.Name, "error", err)
	}
	observation.Status, observation.Relations = reading.Status, reading.Relations
	derived := reading.Derived
	switch o.Kind.String() {
	case kindPods:
		observation.Relations = append(observation.Relations, c.policies.relations(o)...)
	case kindNodes:
		if c.ledger.countsPods() {
			derived = append(slices.Clone(derived), document.Member{Name: "allocated", Value: c.ledger.allocated(o.Meta.Name)})
		}
	}
	document, err := c.document(o, derived)
	if err != nil {
		c.log.Error("an object cannot be made fit to leave the cluster", "kind", o.Kind.String(), "namespace", o.Meta.Namespace, "name",
			o.Meta.Name, "error", err)
		return observation, nil
	}
	observation.Document = document
	c.note(key, o, reading)
	return observation, c.news(key, reading.Incidents)
}

// document returns an object without its secrets, with what was derived from it.
func (c *observer) document(o *object.Object, derived document.Object) ([]byte, error) {
	document, err := c.scrubber.Object(o)
	if err != nil || len(derived) == 0 {
		return document, err
	}
	if bytes.Contains(document, []byte(`"derived":`)) && hasMember(document, "derived") {
		return document, nil // a custom resource's own
	}
	facts, err := json.Marshal(derived)
	if err != nil {
		return nil, fmt.Errorf("encoding what was derived: %w", err)
	}
	// Behind the last member of the object, which has a name at least.
	whole := bytes.TrimSuffix(bytes.TrimSpace(document), []byte("}"))
	whole = append(whole, `,"derived":`...)
	whole = append(whole, facts...)
	return append(whole, '}'), nil
}

// hasMember reports whether a JSON object has a member at its top.
func hasMember(document []byte, name string) bool {
	dec := jsontext.NewDecoder(bytes.NewReader(document), jsontext.AllowDuplicateNames(true))
	if _, err := dec.ReadToken(); err != nil {
		return false
	}
	for dec.PeekKind() == '"' {
		token, err := dec.ReadToken()
		if err != nil {
			return false
		}
		if token.String() == name {
			return true
		}
		if err := dec.SkipValue(); err != nil {
			return false
		}
	}
	return false
}

// note keeps what other objects need to know of this one.
func (c *observer) note(key plugin.Key, o *object.Object, reading kinds.Reading) {
	switch o.Kind.String() {
	case kindPods:
		if reading.Requests != nil {
			c.ledger.setPod(key.UID, *reading.Requests)
		}
	case kindNodes:
		entry, err := newNodeEntry(reading.Derived)
		if err != nil {
			c.log.Error("a node's amounts cannot be added up", "name", o.Meta.Name, "error", err)
		}
		c.ledger.setNode(key.UID, entry)
	case kindCRDs:
		if err := c.noteColumns(o); err != nil {
			c.log.Warn("the columns of a custom resource cannot be read", "name", o.Meta.Name, "error", err)
		}
	case policyKinds[0], policyKinds[1]:
		if err := c.policies.set(key, o); err != nil {
			c.log.Warn("a policy's selector cannot be read; pods are not related to it", "kind", o.Kind.String(),
				"namespace", o.Meta.Namespace, "name", o.Meta.Name, "error", err)
		}
	}
}

// forget drops what was kept of an object that is gone.
func (c *observer) forget(key plugin.Key, o *object.Object) {
	switch o.Kind.String() {
	case kindPods:
		c.ledger.deletePod(key.UID)
	case kindNodes:
		c.ledger.deleteNode(key.UID)
	case policyKinds[0], policyKinds[1]:
		c.policies.delete(key)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.told, key)
}

// maxTold is how many incidents of an object are remembered.
const maxTold = 32

// news returns the incidents that were not told of the object yet. Between two
// crashes a container runs for a moment and its status shows none: what was told
// is remembered for as long as the object exists, or so many newer ones came.
func (c *observer) news(key plugin.Key, incidents []plugin.Event) (fresh []plugin.Event) {
	if len(incidents) == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	told := c.told[key]
	for _, e := range incidents {
		if !slices.Contains(told, e.ID) {
			told = append(told, e.ID)
			fresh = append(fresh, e)
		}
	}
	c.told[key] = slices.Clone(told[max(0, len(told)-maxTold):])
	return fresh
}
