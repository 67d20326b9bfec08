package object

import (
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

var (
	pods        = Kind{Version: "v1", Kind: "Pod", Resource: "pods", Namespaced: true}
	deployments = Kind{Group: "apps", Version: "v1", Kind: "Deployment", Resource: "deployments", Namespaced: true}
)

func TestRead(t *testing.T) {
	for _, test := range []struct {
		name string
		kind Kind
		raw  string
		want string // "" for an error
	}{
		{"from a list", deployments, ` { "metadata":{"name":"x"}}`, `{"apiVersion":"apps/v1","kind":"Deployment", "metadata":{"name":"x"}}`},
		{"of the core group", pods, `{"metadata":{"name":"x"}}`, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"}}`},
		{"from a watch", pods, `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"x"}}`,
			`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"x"}}`},
		{"without a creation time", pods, `{"kind":"Pod","metadata":{"name":"x","creationTimestamp":null}}`,
			`{"kind":"Pod","metadata":{"name":"x","creationTimestamp":null}}`},
		{"without a name", pods, `{"metadata":{}}`, ""},
		{"no object", pods, `[]`, ""},
		{"broken", pods, `{"metadata":{"name":"x"}`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			o, err := Read(test.kind, []byte(test.raw))
			if (err != nil) != (test.want == "") {
				t.Fatalf("error %v", err)
			}
			if err == nil && string(o.Raw) != test.want {
				t.Errorf("read %s, want %s", o.Raw, test.want)
			}
		})
	}
}

func TestUpdatedAt(t *testing.T) {
	o, err := Read(pods, []byte(`{"metadata":{"name":"x","managedFields":[{"time":"2026-01-02T00:00:00Z"},{"time":"2026-01-03T00:00:00Z"},`+
		`{}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC); !o.UpdatedAt().Equal(want) {
		t.Errorf("updated at %v, want %v", o.UpdatedAt(), want)
	}
}

func TestNames(t *testing.T) {
	names := Names{Cluster: "c", Namespaced: func(_, kind string) bool { return kind != "Node" }}
	for _, test := range []struct{ group, kind, namespace, name, wantType, wantUID string }{
		{"", "Pod", "a", "x", "kubernetes.core.Pod", "c/Pod/a/x"},
		{"", "Node", "a", "x", "kubernetes.core.Node", "c/Node/x"},
		{"networking.k8s.io", "Ingress", "a", "x", "kubernetes.networking.k8s.io.Ingress", "c/Ingress.networking.k8s.io/a/x"},
	} {
		key := names.Key(test.group, test.kind, test.namespace, test.name)
		if key.Type != test.wantType || key.UID != test.wantUID {
			t.Errorf("%+v gave %+v", test, key)
		}
	}
	o, err := Read(deployments, []byte(`{"metadata":{"name":"x","namespace":"a"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if names.Of(o) != names.Key("apps", "Deployment", "a", "x") {
		t.Errorf("an object's own key %v is not the one that others refer to it by", names.Of(o))
	}
	if deployments.String() != "apps/deployments" || pods.String() != "core/pods" {
		t.Errorf("kinds are called %s and %s", deployments, pods)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"metadata":{"name":"x","labels":{"a":"b"},"ownerReferences":[{"kind":"K"}]}}`))
	f.Add([]byte(`{"kind":"Pod","metadata":{"name":"x","creationTimestamp":"2026-01-01T00:00:00Z"}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		o, err := Read(pods, raw)
		if err == nil && (o.Meta.Name == "" || !o.Raw.IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))) {
			t.Errorf("%q was read as %q", raw, o.Raw)
		}
	})
}
