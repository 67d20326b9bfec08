// Package kinds knows what Kubernetes objects mean: in what state they are,
// what they refer to, what they hold, and what has happened to them.
//
// Everything is read from the one object at hand, in one decode into a struct
// of the few fields that matter. Nothing in a reading changes by itself: it has
// no ages and no "time since", so an object that was not written reads the same.
package kinds

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/object"
)

// The kinds of relations in use.
const (
	ownedBy    = "owned_by"
	runsOn     = "runs_on"
	uses       = "uses"
	backedBy   = "backed_by"
	partOf     = "part_of"
	routesTo   = "routes_to"
	attachedTo = "attached_to"
	scales     = "scales"
	snapshotOf = "snapshot_of"
	grants     = "grants"
	grantedTo  = "granted_to"
)

// The API groups that objects of other groups refer to.
const (
	groupCore       = ""
	groupApps       = "apps"
	groupGateway    = "gateway.networking.k8s.io"
	groupNetworking = "networking.k8s.io"
	groupNode       = "node.k8s.io"
	groupRBAC       = "rbac.authorization.k8s.io"
	groupScheduling = "scheduling.k8s.io"
	groupSnapshot   = "snapshot.storage.k8s.io"
	groupStorage    = "storage.k8s.io"
)

// Reading is what an object means beyond its document.
type Reading struct {
	// Status is the object's state in one word, as kubectl prints it where it
	// does. It is empty where there is none.
	Status string
	// Derived are facts that are computed from the object: totals, counts,
	// quantities as numbers. Amounts of resources are in cores, bytes and pieces.
	Derived document.Object
	// Relations lead from the object to what it refers to. They are sorted, and
	// each is there once.
	Relations []plugin.Relation
	// Incidents are happenings that the object's status tells of. The same
	// happening has the same ID in every reading that still shows it.
	Incidents []plugin.Event
	// Requests is what a pod holds of its node, and nil for other kinds.
	Requests *Requests
}

// Requests is what a pod holds of a node while it runs.
type Requests struct {
	// Node is the node's name. It is empty while the pod has none.
	Node string
	// CPU is in thousandths of a core, Memory in bytes.
	CPU, Memory int64
	// Active says that the pod has a node and has neither succeeded nor failed.
	Active bool
}

// Read reads an object. On an error, the reading has what metadata alone says.
func Read(o *object.Object, names object.Names) (Reading, error) {
	r := reader{object: o, names: names}
	for _, owner := range o.Meta.Owners {
		r.relate(ownedBy, groupOf(owner.APIVersion), owner.Kind, owner.Name)
	}
	if r.deleted() {
		r.Status = "Terminating"
	}
	read := readers[groupKind{o.Kind.Group, o.Kind.Kind}]
	if read == nil {
		read = (*reader).custom
	}
	err := read(&r)
	slices.SortFunc(r.Relations, compareRelations)
	r.Relations = slices.Compact(r.Relations)
	return r.Reading, err
}

type groupKind struct{ group, kind string }

// readers are the readers of the kinds that are known. All others are read by
// the conventions that custom resources follow.
var readers = map[groupKind]func(*reader) error{
	{groupCore, "Endpoints"}:             (*reader).endpoints,
	{groupCore, "Node"}:                  (*reader).node,
	{groupCore, "PersistentVolume"}:      (*reader).persistentVolume,
	{groupCore, "PersistentVolumeClaim"}: (*reader).persistentVolumeClaim,
	{groupCore, "Pod"}:                   (*reader).pod,
	{groupCore, "PodTemplate"}:           (*reader).podTemplate,
	{groupCore, "ReplicationController"}: (*reader).replicaSet,
	{groupCore, "ResourceQuota"}:         (*reader).resourceQuota,
	{groupCore, "Secret"}:                (*reader).secret,
	{groupCore, "Service"}:               (*reader).service,
	{groupCore, "ServiceAccount"}:        (*reader).serviceAccount,

	{"admissionregistration.k8s.io", "MutatingWebhookConfiguration"}:   (*reader).webhooks,
	{"admissionregistration.k8s.io", "ValidatingWebhookConfiguration"}: (*reader).webhooks,

	{"apiextensions.k8s.io", "CustomResourceDefinition"}: (*reader).customResourceDefinition,

	{"apiregistration.k8s.io", "APIService"}: (*reader).apiService,

	{groupApps, "DaemonSet"}:   (*reader).daemonSet,
	{groupApps, "Deployment"}:  (*reader).deployment,
	{groupApps, "ReplicaSet"}:  (*reader).replicaSet,
	{groupApps, "StatefulSet"}: (*reader).statefulSet,

	{"autoscaling", "HorizontalPodAutoscaler"}: (*reader).horizontalPodAutoscaler,

	{"autoscaling.k8s.io", "VerticalPodAutoscaler"}: (*reader).verticalPodAutoscaler,

	{"batch", "CronJob"}: (*reader).cronJob,
	{"batch", "Job"}:     (*reader).job,

	{"certificates.k8s.io", "CertificateSigningRequest"}: (*reader).certificateSigningRequest,

	{"discovery.k8s.io", "EndpointSlice"}: (*reader).endpointSlice,

	{groupGateway, "GRPCRoute"}: (*reader).route,
	{groupGateway, "Gateway"}:   (*reader).gateway,
	{groupGateway, "HTTPRoute"}: (*reader).route,
	{groupGateway, "TCPRoute"}:  (*reader).route,
	{groupGateway, "TLSRoute"}:  (*reader).route,
	{groupGateway, "UDPRoute"}:  (*reader).route,

	{"keda.sh", "ScaledObject"}: (*reader).scaledObject,

	{groupNetworking, "Ingress"}: (*reader).ingress,

	{groupRBAC, "ClusterRoleBinding"}: (*reader).roleBinding,
	{groupRBAC, "RoleBinding"}:        (*reader).roleBinding,

	{"resource.k8s.io", "ResourceClaim"}: (*reader).resourceClaim,

	{groupSnapshot, "VolumeSnapshot"}: (*reader).volumeSnapshot,

	{groupStorage, "VolumeAttachment"}: (*reader).volumeAttachment,
}

// reader makes the reading of one object.
type reader struct {
	object *object.Object
	names  object.Names
	Reading
}

// deleted says that the object is being deleted: something still holds it.
func (r *reader) deleted() bool { return !r.object.Meta.DeletionTimestamp.IsZero() }

// state sets the status of an object that is not being deleted. Kinds whose
// status kubectl prints nevertheless set Status itself.
func (r *reader) state(status string) {
	if !r.deleted() {
		r.Status = status
	}
}

// fact adds a derived fact.
func (r *reader) fact(name string, value any) {
	r.Derived = append(r.Derived, document.Member{Name: name, Value: value})
}

// text adds a derived fact unless it is empty.
func (r *reader) text(name, value string) {
	if value != "" {
		r.fact(name, value)
	}
}

// list adds a derived fact unless it is empty.
func (r *reader) list(name string, values []string) {
	if len(values) > 0 {
		r.fact(name, values)
	}
}

// amounts adds a derived fact unless it is empty.
func (r *reader) amounts(name string, values amounts) {
	if len(values) > 0 {
		r.fact(name, values.tidy())
	}
}

// relate adds a relation to an object of the same namespace, or of none. A name
// that is empty refers to nothing.
func (r *reader) relate(verb, group, kind, name string) {
	r.relateIn(r.object.Meta.Namespace, verb, group, kind, name)
}

// relateIn is relate for an object of a given namespace.
func (r *reader) relateIn(namespace, verb, group, kind, name string) {
	if kind != "" && name != "" {
		r.edge(verb, r.names.Key(group, kind, namespace, name))
	}
}

// edge adds a relation to an asset.
func (r *reader) edge(verb string, to plugin.Key) {
	r.Relations = append(r.Relations, plugin.Relation{Kind: verb, To: to})
}

func compareRelations(a, b plugin.Relation) int {
	if d := strings.Compare(a.Kind, b.Kind); d != 0 {
		return d
	}
	if d := strings.Compare(a.To.Type, b.To.Type); d != 0 {
		return d
	}
	return strings.Compare(a.To.UID, b.To.UID)
}

// incident adds a happening. Its ID is made of the object, the type and what
// tells this happening from others of the type. One whose time is not known is
// as old as the object.
func (r *reader) incident(typ string, severity plugin.Severity, at time.Time, message string, data any, what ...string) error {
	encoded, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("encoding the incident %s of %s: %w", typ, r.object.Meta.Name, err)
	}
	if at.IsZero() {
		at = r.object.Meta.CreationTimestamp
	}
	parts := append([]string{r.object.Meta.UID, typ}, what...)
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	r.Incidents = append(r.Incidents, plugin.Event{
		ID: hex.EncodeToString(sum[:16]), Type: "cloud.reeve.kubernetes." + typ, Subject: r.names.Of(r.object),
		Time: at, Severity: severity, Message: message, Data: encoded,
	})
	return nil
}

// groupOf returns the group of an apiVersion: "apps" of "apps/v1", the core
// group of "v1".
func groupOf(apiVersion string) string {
	group, _, ok := strings.Cut(apiVersion, "/")
	if !ok {
		return groupCore
	}
	return group
}

// or returns value, or another one where value is empty.
func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

// reference names something in the namespace of the object that refers to it.
type reference struct {
	Name string `json:"name"`
}

// condition is one of an object's status conditions.
type condition struct {
	Type               string    `json:"type"`
	Status             string    `json:"status"`
	Reason             string    `json:"reason"`
	Message            string    `json:"message"`
	LastTransitionTime time.Time `json:"lastTransitionTime"`
}

type conditions []condition

// get returns the condition of a type, or nil.
func (c conditions) get(typ string) *condition {
	for i := range c {
		if c[i].Type == typ {
			return &c[i]
		}
	}
	return nil
}

// holds says that the condition of a type is true.
func (c conditions) holds(typ string) bool {
	found := c.get(typ)
	return found != nil && found.Status == "True"
}
