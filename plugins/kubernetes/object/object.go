// Package object reads what every Kubernetes object has, and names objects and
// their kinds as Reeve's assets are named.
//
// Objects stay JSON, as the API server sent them: fields that are newer than
// this program survive, and what a reader of one kind needs it decodes into a
// small struct of its own.
package object

import (
	"bytes"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/reeve-cloud/reeve/pkg/plugin"
)

// Kind is a type of objects as an API server serves it.
type Kind struct {
	// Group is empty for the core group.
	Group, Version string
	// Kind is "Pod", Resource is "pods".
	Kind, Resource string
	// Namespaced says that objects live in namespaces.
	Namespaced bool
}

// Type returns the asset type: kubernetes.core.Pod, kubernetes.apps.Deployment,
// kubernetes.networking.k8s.io.Ingress.
func (k Kind) Type() string { return Type(k.Group, k.Kind) }

// Type returns the asset type of a kind. The version is not part of it: it is
// a view of the same objects.
func Type(group, kind string) string {
	if group == "" {
		group = "core"
	}
	return "kubernetes." + group + "." + kind
}

// String returns group/resource, "core/pods": how selections, scopes and logs
// name a kind.
func (k Kind) String() string {
	if k.Group == "" {
		return "core/" + k.Resource
	}
	return k.Group + "/" + k.Resource
}

// Object is one object.
type Object struct {
	Kind Kind
	Meta Meta
	// Raw is the whole object.
	Raw jsontext.Value
}

// Meta is the part of metadata that is of use for every kind.
type Meta struct {
	Name              string            `json:"name"`
	Namespace         string            `json:"namespace"`
	UID               string            `json:"uid"`
	ResourceVersion   string            `json:"resourceVersion"`
	Labels            map[string]string `json:"labels"`
	Annotations       map[string]string `json:"annotations"`
	CreationTimestamp time.Time         `json:"creationTimestamp"`
	DeletionTimestamp time.Time         `json:"deletionTimestamp"`
	Owners            []Owner           `json:"ownerReferences"`
	// ManagedFields tell when the object was last written, and by whom.
	ManagedFields []ManagedFields `json:"managedFields"`
}

// Owner is an owner reference. An owner lives in the object's own namespace, or
// in none.
type Owner struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	UID        string `json:"uid"`
	Controller bool   `json:"controller"`
}

// ManagedFields is one writer's entry.
type ManagedFields struct {
	Manager string    `json:"manager"`
	Time    time.Time `json:"time"`
}

// Read reads an object of a kind. It keeps raw, unless the object does not say
// what it is (those of built-in kinds do not, inside a list): then it is told.
func Read(kind Kind, raw []byte) (*Object, error) {
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   Meta   `json:"metadata"`
	}
	if err := json.Unmarshal(raw, &head, options); err != nil {
		return nil, fmt.Errorf("reading an object of %s: %w", kind, err)
	}
	if head.Metadata.Name == "" {
		return nil, fmt.Errorf("reading an object of %s: it has no name", kind)
	}
	if head.APIVersion == "" && head.Kind == "" {
		raw = kind.introduce(raw)
	}
	return &Object{Kind: kind, Meta: head.Metadata, Raw: raw}, nil
}

// introduce puts apiVersion and kind into a JSON object that is not empty.
func (k Kind) introduce(raw []byte) []byte {
	version := k.Version
	if k.Group != "" {
		version = k.Group + "/" + version
	}
	rest := raw[bytes.IndexByte(raw, '{')+1:]
	told := make([]byte, 0, len(raw)+len(version)+len(k.Kind)+32)
	told = append(told, `{"apiVersion":"`...)
	told = append(told, version...)
	told = append(told, `","kind":"`...)
	told = append(told, k.Kind...)
	told = append(told, `",`...)
	return append(told, rest...)
}

// Decode decodes the object into a struct with the fields that are of interest.
func (o *Object) Decode(into any) error {
	if err := json.Unmarshal(o.Raw, into, options); err != nil {
		return fmt.Errorf("reading %s %s/%s: %w", o.Kind, o.Meta.Namespace, o.Meta.Name, err)
	}
	return nil
}

// What custom resources hold was checked by the API server, duplicate names and
// broken UTF-8 perhaps not.
var options = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// UpdatedAt returns when the object was last written, or zero if unknown.
func (o *Object) UpdatedAt() time.Time {
	var last time.Time
	for _, m := range o.Meta.ManagedFields {
		if m.Time.After(last) {
			last = m.Time
		}
	}
	return last
}

// Names makes the keys of assets. References inside a cluster are by name, so
// names are what identifies its objects: an object that was deleted and made
// again has the same key, and is told apart by when it was created.
type Names struct {
	// Cluster is the uid of the namespace kube-system, which stays the same for
	// the life of a cluster.
	Cluster string
	// Namespaced reports whether a kind lives in namespaces.
	Namespaced func(group, kind string) bool
}

// Key returns the key of an object of the cluster. The namespace of a kind that
// has none is ignored, so it may be that of the object with the reference.
func (n Names) Key(group, kind, namespace, name string) plugin.Key {
	if namespace != "" && !n.Namespaced(group, kind) {
		namespace = ""
	}
	return n.key(group, kind, namespace, name)
}

// Of returns the key of an object.
func (n Names) Of(o *Object) plugin.Key {
	return n.key(o.Kind.Group, o.Kind.Kind, o.Meta.Namespace, o.Meta.Name)
}

// key makes uids such as CLUSTER/Deployment.apps/NAMESPACE/NAME, CLUSTER/Node/NAME.
func (n Names) key(group, kind, namespace, name string) plugin.Key {
	dot, slash := ".", "/"
	if group == "" {
		dot = ""
	}
	if namespace == "" {
		slash = ""
	}
	return plugin.Key{Type: Type(group, kind), UID: n.Cluster + "/" + kind + dot + group + "/" + namespace + slash + name}
}
