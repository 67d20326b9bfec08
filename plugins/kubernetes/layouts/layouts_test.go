package layouts

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/reeve-cloud/reeve/pkg/layout"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/kinds"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/object"
)

// builtIn are the kinds that the API server of Kubernetes 1.36 lists.
var builtIn = strings.Fields(`
	core.ComponentStatus core.ConfigMap core.Endpoints core.Event core.LimitRange core.Namespace core.Node
	core.PersistentVolume core.PersistentVolumeClaim core.Pod core.PodTemplate core.ReplicationController
	core.ResourceQuota core.Secret core.Service core.ServiceAccount
	admissionregistration.k8s.io.MutatingAdmissionPolicy admissionregistration.k8s.io.MutatingAdmissionPolicyBinding
	admissionregistration.k8s.io.MutatingWebhookConfiguration admissionregistration.k8s.io.ValidatingAdmissionPolicy
	admissionregistration.k8s.io.ValidatingAdmissionPolicyBinding admissionregistration.k8s.io.ValidatingWebhookConfiguration
	apiextensions.k8s.io.CustomResourceDefinition apiregistration.k8s.io.APIService
	apps.ControllerRevision apps.DaemonSet apps.Deployment apps.ReplicaSet apps.StatefulSet
	autoscaling.HorizontalPodAutoscaler batch.CronJob batch.Job certificates.k8s.io.CertificateSigningRequest
	coordination.k8s.io.Lease discovery.k8s.io.EndpointSlice events.k8s.io.Event
	flowcontrol.apiserver.k8s.io.FlowSchema flowcontrol.apiserver.k8s.io.PriorityLevelConfiguration
	networking.k8s.io.Ingress networking.k8s.io.IngressClass networking.k8s.io.IPAddress networking.k8s.io.NetworkPolicy
	networking.k8s.io.ServiceCIDR node.k8s.io.RuntimeClass policy.PodDisruptionBudget
	rbac.authorization.k8s.io.ClusterRole rbac.authorization.k8s.io.ClusterRoleBinding
	rbac.authorization.k8s.io.Role rbac.authorization.k8s.io.RoleBinding
	resource.k8s.io.DeviceClass resource.k8s.io.ResourceClaim resource.k8s.io.ResourceClaimTemplate resource.k8s.io.ResourceSlice
	scheduling.k8s.io.PriorityClass storage.k8s.io.CSIDriver storage.k8s.io.CSINode storage.k8s.io.CSIStorageCapacity
	storage.k8s.io.StorageClass storage.k8s.io.VolumeAttachment storage.k8s.io.VolumeAttributesClass`)

// added are kinds that most clusters have besides.
var added = strings.Fields(`
	cluster.Cluster
	gateway.networking.k8s.io.BackendTLSPolicy gateway.networking.k8s.io.Gateway gateway.networking.k8s.io.GatewayClass
	gateway.networking.k8s.io.GRPCRoute gateway.networking.k8s.io.HTTPRoute gateway.networking.k8s.io.ReferenceGrant
	gateway.networking.k8s.io.TCPRoute gateway.networking.k8s.io.TLSRoute gateway.networking.k8s.io.UDPRoute
	snapshot.storage.k8s.io.VolumeSnapshot snapshot.storage.k8s.io.VolumeSnapshotClass
	snapshot.storage.k8s.io.VolumeSnapshotContent`)

func TestEveryKindHasALayout(t *testing.T) {
	want := slices.Concat(builtIn, added, []string{generic})
	for _, name := range want {
		if _, ok := known()[name]; !ok {
			t.Errorf("%s has none", name)
		}
	}
	for name := range known() {
		if !slices.Contains(want, name) {
			t.Errorf("%s.json is of a kind that is not expected", name)
		}
	}
}

// TestPathsLeadSomewhere reads every column, section and search path in objects
// of its kind. Those named sample stand in for what the objects of a laboratory
// cluster do not have; their fields are those of the API server's schemas.
func TestPathsLeadSomewhere(t *testing.T) {
	for name, text := range known() {
		t.Run(name, func(t *testing.T) {
			l, err := layout.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			if len(l.Columns) < 2 || l.Icon == "" {
				t.Error("it shows too little")
			}
			documents := documentsOf(t, name)
			check := func(place string, subjects []layout.Subject, path string) {
				t.Helper()
				if strings.HasPrefix(path, "@") {
					return
				}
				for _, s := range subjects {
					if len(s.Values(path)) > 0 {
						return
					}
				}
				t.Errorf("%s: no document has %s", place, path)
			}
			columns := func(place string, subjects []layout.Subject, columns []layout.Column) {
				t.Helper()
				for _, c := range columns {
					check(place+" "+c.Title, subjects, c.Path)
					if c.Of != "" {
						check(place+" "+c.Title, subjects, c.Of)
					}
				}
			}
			columns("column", documents, l.Columns)
			seen := strings.Fields("Site Project Name State Since UID Region") // what every list has
			for _, c := range l.Columns {
				if slices.Contains(seen, c.Title) {
					t.Errorf("two columns are called %s", c.Title)
				}
				seen = append(seen, c.Title)
			}
			for _, path := range l.Search {
				check("search", documents, path)
			}
			for _, s := range l.Sections {
				within := documents
				if s.Path != "" {
					check(s.Title, documents, s.Path)
					within = nil
					for _, d := range documents {
						within = append(within, d.Elements(s.Path)...)
					}
				}
				columns(s.Title, within, s.Columns)
			}
		})
	}
}

// documentsOf returns the documents of the objects in testdata as the collector
// makes them: with what is derived.
func documentsOf(t *testing.T, name string) []layout.Subject {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var objects []json.RawMessage
	if err := json.Unmarshal(text, &objects); err != nil {
		t.Fatal(err)
	}
	group, kind := "", name[strings.LastIndexByte(name, '.')+1:]
	if group = strings.TrimSuffix(name, "."+kind); group == "core" {
		group = ""
	}
	names := object.Names{Cluster: "c", Namespaced: func(string, string) bool { return true }}
	var documents []layout.Subject
	for _, raw := range objects {
		var document map[string]any
		if err := json.Unmarshal(raw, &document); err != nil {
			t.Fatal(err)
		}
		if document["apiVersion"] != nil { // the cluster is no object
			o, err := object.Read(object.Kind{Group: group, Kind: kind}, raw)
			if err != nil {
				t.Fatal(err)
			}
			reading, err := kinds.Read(o, names)
			if err != nil {
				t.Fatal(err)
			}
			derived := make(map[string]any)
			facts, err := json.Marshal(reading.Derived)
			if err == nil {
				err = json.Unmarshal(facts, &derived)
			}
			if err != nil {
				t.Fatal(err)
			}
			if name == "core.Node" { // the collector adds it up
				derived["allocated"] = map[string]any{"cpu": 0.5, "memory": 1024.0, "pods": 3.0}
			}
			document["derived"] = derived
		}
		documents = append(documents, layout.Subject{Document: document})
	}
	return documents
}

func TestFor(t *testing.T) {
	for typeName, want := range map[string]string{
		"kubernetes.core.Pod":                                   "Pod",
		"kubernetes.core.PersistentVolumeClaim":                 "Persistent volume claim",
		"kubernetes.storage.k8s.io.CSIDriver":                   "CSI driver",
		"kubernetes.apiregistration.k8s.io.APIService":          "API service",
		"kubernetes.networking.k8s.io.ServiceCIDR":              "Service CIDR",
		"kubernetes.networking.k8s.io.IPAddress":                "IP address",
		"kubernetes.gateway.networking.k8s.io.HTTPRoute":        "HTTP route",
		"kubernetes.gateway.networking.k8s.io.BackendTLSPolicy": "Backend TLS policy",
		"kubernetes.cluster.Cluster":                            "Cluster",
		"kubernetes.lab.example.com.Widget":                     "Widget",
		"kubernetes.core.generic":                               "generic",
	} {
		title, text := For(typeName)
		if title != want {
			t.Errorf("%s is a %q, want %q", typeName, title, want)
		}
		if _, err := layout.Parse(text); err != nil {
			t.Errorf("%s: %v", typeName, err)
		}
	}
	if _, pod := For("kubernetes.core.Pod"); !strings.Contains(string(pod), "readyContainers") {
		t.Errorf("the layout of pods is %s", pod)
	}
	if _, other := For("kubernetes.core.generic"); string(other) != string(known()[generic]) {
		t.Error("a kind that is not known has another layout")
	}
}

func TestFromPrinterColumns(t *testing.T) {
	var columns []PrinterColumn
	if err := json.Unmarshal([]byte(`[
		{"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
		{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
		{"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].reason", "priority": 1},
		{"name": "App", "type": "string", "jsonPath": ".metadata.labels.app\\.kubernetes\\.io/name"},
		{"name": "Class", "type": "string", "jsonPath": ".metadata.annotations['a\\.b/c']"},
		{"name": "Hosts", "type": "string", "jsonPath": ".spec.rules[*].host"},
		{"name": "Paused", "type": "boolean", "jsonPath": ".spec.paused"},
		{"name": "Until", "type": "date", "jsonPath": ".status.notAfter"},
		{"name": "First", "type": "string", "jsonPath": ".spec.rules[0].host"},
		{"name": "Large", "type": "string", "jsonPath": ".status.conditions[?(@.n>3)].status"},
		{"name": "Both", "type": "string", "jsonPath": ".status.conditions[?(@.a==\"b\" && @.c==\"d\")].status"},
		{"name": "Deep", "type": "string", "jsonPath": "..name"},
		{"name": "Odd", "type": "string", "jsonPath": ".a[?(@.b==\"c\")"},
		{"name": "Nothing", "type": "string", "jsonPath": ""}
	]`), &columns); err != nil {
		t.Fatal(err)
	}
	l, err := layout.Parse(FromPrinterColumns(columns))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range l.Columns {
		got = append(got, fmt.Sprint(c.Title, " ", c.Path, " ", c.Format, " ", c.Wide))
	}
	want := []string{
		"Replicas spec.replicas number false",
		"Ready status.conditions[type=Ready].status status false",
		"Reason status.conditions[type=Ready].reason text true",
		"App metadata.labels.app.kubernetes.io/name text false",
		"Class metadata.annotations.a.b/c text false",
		"Hosts spec.rules.host text false",
		"Paused spec.paused bool false",
		"Until status.notAfter age false",
		"Age metadata.creationTimestamp age false",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if l.Status.Tone("False") != layout.Bad || l.Status.Tone("Ready") != layout.Good || len(l.Sections) == 0 {
		t.Error("the rest is not that of kinds that are not known")
	}
	aged := FromPrinterColumns([]PrinterColumn{{Name: "Age", Type: "date", JSONPath: ".metadata.creationTimestamp"}})
	if strings.Count(string(aged), "creationTimestamp") != 1 {
		t.Errorf("two ages: %s", aged)
	}
	for _, none := range [][]PrinterColumn{nil, columns[8:], {{Name: "a\x1b[31m", Type: "string", JSONPath: ".a"}}} {
		if string(FromPrinterColumns(none)) != string(known()[generic]) {
			t.Errorf("%v: not the layout of kinds that are not known", none)
		}
	}
}

func FuzzFromPrinterColumns(f *testing.F) {
	f.Add("Ready", "string", `.status.conditions[?(@.type=="Ready")].status`)
	f.Add("App", "date", `.metadata.labels['app\.kubernetes\.io/name']`)
	f.Fuzz(func(t *testing.T, name, kind, path string) {
		if _, err := layout.Parse(FromPrinterColumns([]PrinterColumn{{Name: name, Type: kind, JSONPath: path}})); err != nil {
			t.Fatal(err)
		}
	})
}
