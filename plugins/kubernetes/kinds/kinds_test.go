package kinds

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/object"
)

// clusterKinds are those that the tests use and that live in no namespace.
var clusterKinds = []string{
	"APIService", "CertificateSigningRequest", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "GatewayClass",
	"IngressClass", "MutatingWebhookConfiguration", "Namespace", "Node", "PersistentVolume", "PriorityClass", "RuntimeClass",
	"StorageClass", "ValidatingWebhookConfiguration", "VolumeAttachment", "VolumeSnapshotClass", "VolumeSnapshotContent",
}

var testNames = object.Names{
	Cluster:    "c",
	Namespaced: func(_, kind string) bool { return !slices.Contains(clusterKinds, kind) },
}

// parse reads an object. What every object has is added: a name, a uid, the
// namespace "ns" where there are namespaces, and when it was made.
func parse(t testing.TB, document string) *object.Object {
	t.Helper()
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := json.Unmarshal([]byte(document), &head); err != nil {
		t.Fatalf("%v in %s", err, document)
	}
	kind := object.Kind{Group: groupOf(head.APIVersion), Kind: head.Kind, Namespaced: !slices.Contains(clusterKinds, head.Kind)}
	raw := jsontext.Value(document)
	if err := raw.Compact(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(document, `"metadata"`) {
		raw = jsontext.Value(strings.Replace(string(raw), "{", `{"metadata":{"name":"x"},`, 1))
	}
	o, err := object.Read(kind, raw)
	if err != nil {
		t.Fatal(err)
	}
	o.Meta.UID = cmp.Or(o.Meta.UID, "u")
	if o.Meta.CreationTimestamp.IsZero() {
		o.Meta.CreationTimestamp = at("2026-03-01T00:00:00Z")
	}
	if kind.Namespaced {
		o.Meta.Namespace = cmp.Or(o.Meta.Namespace, "ns")
	}
	return o
}

func read(t testing.TB, document string) Reading {
	t.Helper()
	r, err := Read(parse(t, document), testNames)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func file(t testing.TB, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// edges writes relations down: "uses core.Secret ns/x", and the whole type of
// what is not an object of the cluster.
func edges(relations []plugin.Relation) []string {
	var all []string
	for _, r := range relations {
		typ, uid := strings.TrimPrefix(r.To.Type, "kubernetes."), r.To.UID
		dot := strings.LastIndexByte(typ, '.')
		group, kind := typ[:dot], typ[dot+1:]
		if group != "core" {
			kind += "." + group
		}
		all = append(all, r.Kind+" "+typ+" "+strings.TrimPrefix(uid, "c/"+kind+"/"))
	}
	return all
}

// facts are the derived facts as JSON.
func facts(t testing.TB, f document.Object) string {
	t.Helper()
	raw, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// reading is what is expected of a reading. What is empty is not compared, save
// for the status.
type reading struct {
	name, document, status string
	facts                  string
	edges                  []string
}

func (want reading) check(t *testing.T) {
	t.Run(want.name, func(t *testing.T) {
		got := read(t, want.document)
		if got.Status != want.status {
			t.Errorf("status %q, want %q", got.Status, want.status)
		}
		if f := facts(t, got.Derived); want.facts != "" && f != want.facts {
			t.Errorf("facts\n%s, want\n%s", f, want.facts)
		}
		if e := edges(got.Relations); want.edges != nil && !slices.Equal(e, want.edges) {
			t.Errorf("relations\n%s\nwant\n%s", strings.Join(e, "\n"), strings.Join(want.edges, "\n"))
		}
	})
}

// TestRealObjects reads objects as API servers sent them.
func TestRealObjects(t *testing.T) {
	const sha = "sha256:"
	for _, want := range []reading{
		{
			name: "pod", document: file(t, "pod.json"), status: "Running",
			facts: `{"requests":{"cpu":0.6,"memory":624951296},"limits":{"cpu":0.5,"memory":1249902592},` +
				`"readyContainers":2,"containers":2,"restarts":2,` +
				`"lastRestart":{"container":"api-0","reason":"OOMKilled","exitCode":137,"time":"2026-11-22T18:20:31Z"},` +
				`"images":[{"name":"docker.io/envoyproxy/envoy:v1.34.1","digest":"` + sha + strings.Repeat("b", 64) + `"},` +
				`{"name":"registry.example.com/api-0:1.4.18","digest":"` + sha + strings.Repeat("a", 64) + `"}],` +
				`"qosClass":"Burstable","controller":{"kind":"Deployment","name":"api-0"}}`,
			edges: []string{
				"owned_by apps.ReplicaSet checkout-dev-02/api-0-5fdb5786f8",
				"runs_on core.Node worker-1",
				"uses container.image.Image docker.io/envoyproxy/envoy:v1.34.1",
				"uses container.image.Image registry.example.com/api-0:1.4.18",
				"uses core.ConfigMap checkout-dev-02/config-0",
				"uses core.ConfigMap checkout-dev-02/kube-root-ca.crt",
				"uses core.PersistentVolumeClaim checkout-dev-02/api-0-5fdb5786f8-ffml6-scratch",
				"uses core.PersistentVolumeClaim checkout-dev-02/api-data",
				"uses core.Secret checkout-dev-02/api-tls",
				"uses core.Secret checkout-dev-02/db",
				"uses core.Secret checkout-dev-02/registry",
				"uses core.ServiceAccount checkout-dev-02/api",
				"uses scheduling.k8s.io.PriorityClass high",
			},
		},
		{
			name: "deployment", document: file(t, "deployment.json"), status: "Available",
			facts: `{"replicas":{"desired":10,"ready":10,"available":10,"updated":10},` +
				`"requests":{"cpu":0.156,"memory":490733568},"limits":{"memory":981467136},` +
				`"images":[{"name":"registry.example.com/api-0:1.4.18"}]}`,
			edges: []string{"uses container.image.Image registry.example.com/api-0:1.4.18"},
		},
		{
			name: "node", document: file(t, "node.json"), status: "Ready",
			facts: `{"ready":true,"roles":["worker"],"provider":"openstack","instanceType":"m1.xlarge","zone":"nova","region":"RegionOne",` +
				`"kubelet":"v1.36.3","runtime":"containerd://2.1.4","os":"linux","osImage":"Ubuntu 24.04.3 LTS","kernel":"6.8.0-90-generic",` +
				`"arch":"amd64","internalIP":"10.0.0.10",` +
				`"capacity":{"cpu":8,"ephemeral-storage":107374182400,"memory":34359738368,"nvidia.com/gpu":2,"pods":250},` +
				`"allocatable":{"cpu":7.92,"ephemeral-storage":107374182400,"memory":33625735168,"nvidia.com/gpu":2,"pods":250}}`,
			edges: []string{
				"backed_by host.system.Machine 8f5f5e0c2a0f4a359f0b3d1b7f5c1c11",
				"backed_by openstack.compute.Server 8f5f5e0c-2a0f-4a35-9f0b-3d1b7f5c1c11",
			},
		},
	} {
		want.check(t)
	}
}

func TestEveryObject(t *testing.T) {
	owners := `"metadata":{"name":"x","ownerReferences":[
		{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"b"},{"apiVersion":"v1","kind":"Node","name":"n"},
		{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"b"},{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"a"}]`
	sorted := []string{"owned_by apps.ReplicaSet ns/a", "owned_by apps.ReplicaSet ns/b", "owned_by core.Node n"}
	for _, want := range []reading{
		{name: "owners", document: `{"apiVersion":"v1","kind":"ConfigMap",` + owners + `}}`, edges: sorted, facts: `{}`},
		{
			name: "deleted", status: "Terminating", edges: sorted,
			document: `{"apiVersion":"v1","kind":"Service",` + owners + `,"deletionTimestamp":"2026-03-01T00:00:00Z"}}`,
		},
		{
			name: "deleted, with a phase of its own", status: "Terminating",
			document: `{"apiVersion":"v1","kind":"PersistentVolume","metadata":{"name":"x","deletionTimestamp":"2026-03-01T00:00:00Z"},
				"status":{"phase":"Bound"}}`,
		},
	} {
		want.check(t)
	}
}

// TestBadObject: what cannot be decoded still has its owners.
func TestBadObject(t *testing.T) {
	for _, spec := range []string{
		`{"containers":5}`, `{"containers":[{"resources":{"requests":{"cpu":"many"}}}]}`, `{"containers":[{"resources":{"limits":[1]}}]}`,
	} {
		o := parse(t, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x","ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"n"}]},
			"spec":`+spec+`}`)
		r, err := Read(o, testNames)
		if err == nil || !strings.Contains(err.Error(), "ns/x") {
			t.Errorf("%s: error %v does not name the object", spec, err)
		}
		if e := edges(r.Relations); !slices.Equal(e, []string{"owned_by core.Node n"}) {
			t.Errorf("%s: relations %q", spec, e)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, name := range documents(f) {
		kind := parse(f, file(f, name)).Kind
		f.Add(kind.Group+"/"+kind.Kind, file(f, name))
	}
	for kind := range readers {
		f.Add(kind.group+"/"+kind.kind, `{"metadata":{"name":"x","deletionTimestamp":"2026-03-01T00:00:00Z"},"spec":{},"status":{}}`)
	}
	f.Add("example.com/Widget", `{"metadata":{"name":"x"},"status":{"phase":5,"conditions":{"Ready":true}}}`)
	f.Fuzz(func(t *testing.T, name, document string) {
		group, kind, _ := strings.Cut(name, "/")
		o, err := object.Read(object.Kind{Group: group, Kind: kind}, []byte(document))
		if err != nil {
			t.Skip()
		}
		r, err := Read(o, testNames)
		if err != nil {
			return
		}
		if raw, err := json.Marshal(r.Derived); err != nil || raw[0] != '{' {
			t.Errorf("derived: %s, %v", raw, err)
		}
		if !slices.IsSortedFunc(r.Relations, compareRelations) {
			t.Errorf("relations are not sorted: %v", r.Relations)
		}
		for i, e := range r.Relations {
			if e.Kind == "" || e.To.UID == "" || e.To.Type == "" || i > 0 && e == r.Relations[i-1] {
				t.Errorf("relation %d: %+v", i, e)
			}
		}
		again, err := Read(o, testNames)
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Errorf("read again: %+v, %v, before %+v", again, err, r)
		}
		if _, _, err := SelectorOf(o); err != nil && kind != "NetworkPolicy" && kind != "PodDisruptionBudget" {
			t.Errorf("selector of a %s: %v", kind, err)
		}
	})
}

func documents(t testing.TB) []string {
	t.Helper()
	files, err := fs.Glob(os.DirFS("testdata"), "*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(errors.Join(err, fs.ErrNotExist))
	}
	return files
}

func BenchmarkRead(b *testing.B) {
	for _, name := range []string{"pod.json", "deployment.json", "node.json"} {
		b.Run(strings.TrimSuffix(name, ".json"), func(b *testing.B) {
			o := parse(b, file(b, name))
			b.SetBytes(int64(len(o.Raw)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Read(o, testNames); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEvent(b *testing.B) {
	o := parse(b, file(b, "event.json"))
	b.SetBytes(int64(len(o.Raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Event(o, testNames); err != nil {
			b.Fatal(err)
		}
	}
}

// at is a time.
func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}
