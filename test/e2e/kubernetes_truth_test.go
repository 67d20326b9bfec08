//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/reeve-cloud/reeve/pkg/document"
)

// apiServer asks an API server without any of the collector's code.
type apiServer struct {
	t    *testing.T
	http *http.Client
	url  string
}

func newAPIServer(t *testing.T, kubeconfig string) *apiServer {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	return &apiServer{t: t, http: client, url: config.Host}
}

// do makes a request and returns the answer's body. It comes again where the
// server asks for that: the storage of a new kind is not ready at once.
func (s *apiServer) do(method, path, contentType, body string) ([]byte, error) {
	for tries := 0; ; tries++ {
		data, code, err := s.try(method, path, contentType, body)
		if err != nil || code < 300 {
			return data, err
		}
		if code != http.StatusTooManyRequests || tries == 30 {
			return data, fmt.Errorf("%s %s: %d: %.300s", method, path, code, data)
		}
		time.Sleep(time.Second)
	}
}

func (s *apiServer) try(method, path, contentType, body string) (data []byte, code int, err error) {
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	answer, err := s.http.Do(r)
	if err != nil {
		return nil, 0, err
	}
	defer answer.Body.Close()
	data, err = io.ReadAll(answer.Body)
	return data, answer.StatusCode, err
}

func (s *apiServer) must(method, path, contentType, body string) []byte {
	s.t.Helper()
	data, err := s.do(method, path, contentType, body)
	if err != nil {
		s.t.Fatal(err)
	}
	return data
}

func (s *apiServer) create(path, body string) []byte {
	s.t.Helper()
	return s.must(http.MethodPost, path, "application/json", body)
}

func (s *apiServer) patch(path, body string) {
	s.t.Helper()
	s.must(http.MethodPatch, path, "application/merge-patch+json", body)
}

func (s *apiServer) delete(path string) {
	s.t.Helper()
	s.must(http.MethodDelete, path, "", "")
}

func (s *apiServer) read(path string, into any) {
	s.t.Helper()
	if !s.readIfServed(path, into) {
		s.t.Fatalf("%s is not served", path)
	}
}

// readIfServed reports whether there is something to read: kinds come and go.
func (s *apiServer) readIfServed(path string, into any) bool {
	s.t.Helper()
	data, err := s.do(http.MethodGet, path, "", "")
	if err != nil && strings.Contains(err.Error(), ": 404: ") {
		return false
	}
	if err != nil {
		s.t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		s.t.Fatalf("%s: %v", path, err)
	}
	return true
}

// notCompared are kinds that are no assets. docs/kubernetes.md says so.
var notCompared = []string{"events", "componentstatuses"}

// truth returns every object of every kind that the server lists, by the asset's
// type and uid, as kubectl get --raw would print it.
func (s *apiServer) truth() map[string]map[string]any {
	s.t.Helper()
	var namespace struct {
		Metadata struct{ UID string }
	}
	s.read("/api/v1/namespaces/kube-system", &namespace)
	var groups struct {
		Groups []struct {
			Name             string
			PreferredVersion struct{ GroupVersion string }
		}
	}
	s.read("/apis", &groups)
	type group struct{ name, path string }
	all := []group{{"core", "/api/v1"}}
	for _, g := range groups.Groups {
		all = append(all, group{g.Name, "/apis/" + g.PreferredVersion.GroupVersion})
	}
	objects := make(map[string]map[string]any)
	for _, g := range all {
		var resources struct {
			Resources []struct {
				Name, Kind string
				Verbs      []string
			}
		}
		if !s.readIfServed(g.path, &resources) {
			continue
		}
		for _, r := range resources.Resources {
			if !slices.Contains(r.Verbs, "list") || slices.Contains(notCompared, r.Name) {
				continue
			}
			var list struct{ Items []map[string]any }
			if !s.readIfServed(g.path+"/"+r.Name, &list) {
				continue
			}
			for _, object := range list.Items {
				metadata := object["metadata"].(map[string]any)
				uid := namespace.Metadata.UID + "/" + r.Kind
				if g.name != "core" {
					uid += "." + g.name
				}
				uid += "/"
				if in, ok := metadata["namespace"].(string); ok {
					uid += in + "/"
				}
				objects["kubernetes."+g.name+"."+r.Kind+" "+uid+metadata["name"].(string)] = object
			}
		}
	}
	return objects
}

// stored is an asset as the centre has it.
type stored struct{ name, project, document string }

// differences says where what the centre has is not what the server has. What
// ticks by itself may differ, and what was redacted.
func differences(truth map[string]map[string]any, have map[string]stored) (list []string) {
	for key, object := range truth {
		asset, ok := have[key]
		if !ok {
			list = append(list, key+" is missing")
			continue
		}
		metadata := object["metadata"].(map[string]any)
		if project, _ := metadata["namespace"].(string); asset.name != metadata["name"] || asset.project != project {
			list = append(list, fmt.Sprintf("%s is called %s in %s", key, asset.name, asset.project))
		}
		d := json.NewDecoder(strings.NewReader(asset.document))
		d.UseNumber()
		var doc map[string]any
		if err := d.Decode(&doc); err != nil {
			list = append(list, fmt.Sprintf("%s: %v", key, err))
			continue
		}
		if where := differs("", object, doc); where != "" {
			list = append(list, key+" differs at "+where)
		}
	}
	for key := range have {
		if _, ok := truth[key]; !ok {
			list = append(list, key+" does not exist")
		}
	}
	slices.Sort(list)
	return list
}

// ticking are paths that a version is not made for, so that what the centre has
// may be older.
var ticking = document.Paths{
	".spec.renewTime", ".status.conditions.lastHeartbeatTime", ".status.conditions.lastProbeTime", ".status.currentMetrics",
	".metadata.annotations.control-plane.alpha.kubernetes.io/leader",
}

// differs returns the first path at which a document is not the object, or "".
func differs(path string, object, doc any) string {
	if slices.Contains(ticking, path) {
		return ""
	}
	switch object := object.(type) {
	case map[string]any:
		doc, ok := doc.(map[string]any)
		if !ok {
			return path
		}
		for key, value := range object {
			if path == ".metadata" && (key == "managedFields" || key == "resourceVersion" || key == "selfLink") {
				continue
			}
			if _, ok := doc[key]; !ok {
				return path + "." + key + " (missing)"
			}
			if where := differs(path+"."+key, value, doc[key]); where != "" {
				return where
			}
		}
		for key := range doc {
			if _, ok := object[key]; !ok && path != "" {
				return path + "." + key + " (made up)"
			}
		}
		return ""
	case []any:
		doc, ok := doc.([]any)
		if !ok || len(doc) != len(object) {
			return path
		}
		for i := range object {
			if where := differs(path, object[i], doc[i]); where != "" {
				return where
			}
		}
		return ""
	case string:
		switch doc := doc.(type) {
		case string:
			if doc == object || strings.Contains(doc, "[redacted]") || doc == "[left out]" {
				return ""
			}
		case map[string]any:
			if _, sized := doc["bytes"]; sized {
				return ""
			}
		}
		return path
	}
	if doc == object || doc == "[redacted]" {
		return ""
	}
	if a, ok := object.(json.Number); ok {
		if b, ok := doc.(json.Number); ok {
			x, _ := a.Float64()
			y, _ := b.Float64()
			if x == y { // the API's documents have no other numbers
				return ""
			}
		}
	}
	return fmt.Sprintf("%s (%v, not %v)", path, doc, object)
}

// stored returns the Kubernetes assets that the API lists as active.
func (a *aggregator) stored() map[string]stored {
	a.t.Helper()
	have := make(map[string]stored)
	for _, asset := range a.assets("--full", "--state", "active") {
		if !strings.HasPrefix(asset.GetType(), "kubernetes.") || asset.GetType() == "kubernetes.cluster.Cluster" {
			continue
		}
		doc, err := asset.GetDocument().MarshalJSON()
		if err != nil {
			a.t.Fatal(err)
		}
		have[asset.GetType()+" "+asset.GetUid()] = stored{asset.GetName(), asset.GetProject(), string(doc)}
	}
	return have
}

// equals waits until the centre has exactly what the server has. Objects that
// change while it looks (containers that crash and start again) are left out, as
// long as they are few.
func (a *aggregator) equals(s *apiServer, limit time.Duration) (objects, kinds int) {
	a.t.Helper()
	eventually(a.t, limit, "the centre has exactly what the API server has", func() error {
		before := s.truth()
		have := a.stored()
		after := s.truth()
		moving := 0
		for key := range before {
			if _, still := after[key]; !still || resourceVersion(before[key]) != resourceVersion(after[key]) {
				delete(before, key)
				delete(after, key)
				delete(have, key)
				moving++
			}
		}
		for key := range after {
			if _, was := before[key]; !was {
				delete(have, key)
				moving++
			}
		}
		if moving > len(after)/20 {
			return fmt.Errorf("%d of %d objects change while they are looked at", moving, len(after))
		}
		if list := differences(before, have); len(list) > 0 {
			return fmt.Errorf("%d differences, such as %s", len(list), strings.Join(list[:min(len(list), 5)], "; "))
		}
		seen := make(map[string]bool)
		for key := range after {
			kind, _, _ := strings.Cut(key, " ")
			seen[kind] = true
		}
		objects, kinds = len(before), len(seen)
		return nil
	})
	return objects, kinds
}

func resourceVersion(object map[string]any) any {
	return object["metadata"].(map[string]any)["resourceVersion"]
}
