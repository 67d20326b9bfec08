package reference_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/reeve-cloud/reeve/aggregator/reference"
	_ "github.com/reeve-cloud/reeve/pkg/api/reeve/v1" // registers the services
)

const mend = "run make generate, and commit what it changes"

// methods are those of all services.
func methods() (list []protoreflect.MethodDescriptor) {
	protoregistry.GlobalFiles.RangeFilesByPackage("reeve.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				list = append(list, s.Methods().Get(j))
			}
		}
		return true
	})
	return list
}

func TestEveryMethodIsThere(t *testing.T) {
	var document struct {
		Paths      map[string]json.RawMessage
		Components struct {
			Schemas map[string]struct{ Properties map[string]json.RawMessage }
		}
	}
	if err := json.Unmarshal(reference.Document(), &document); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile("examples.json")
	if err != nil {
		t.Fatal(err)
	}
	var examples map[string]json.RawMessage
	if err := json.Unmarshal(data, &examples); err != nil {
		t.Fatal(err)
	}
	all := methods()
	if len(all) == 0 || len(all) != len(document.Paths) {
		t.Errorf("there are %d methods, and %d in openapi.json: %s", len(all), len(document.Paths), mend)
	}
	for _, m := range all {
		name := string(m.Parent().FullName()) + "/" + string(m.Name())
		if document.Paths["/"+name] == nil {
			t.Errorf("openapi.json is without %s: %s", name, mend)
		}
		for _, d := range []protoreflect.MessageDescriptor{m.Input(), m.Output()} {
			for i := range d.Fields().Len() {
				if field := d.Fields().Get(i).JSONName(); document.Components.Schemas[string(d.Name())].Properties[field] == nil {
					t.Errorf("openapi.json is without the field %s of %s: %s", field, d.Name(), mend)
				}
			}
		}
		example, ok := examples[name]
		if !ok {
			t.Errorf("examples.json has no request for %s: add one, and %s", name, mend)
			continue
		}
		delete(examples, name)
		if err := protojson.Unmarshal(example, dynamicpb.NewMessage(m.Input())); err != nil {
			t.Errorf("examples.json: %s: %v", name, err)
		}
	}
	for name := range examples {
		t.Errorf("examples.json has a request for %s, which is no method", name)
	}
}

func TestPages(t *testing.T) {
	h, err := reference.Handler()
	if err != nil {
		t.Fatal(err)
	}
	get := func(method, path string) (*http.Response, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w.Result(), w.Body.String()
	}
	for path, kind := range map[string]string{"/api/": "text/html", "/api/style.css": "text/css", "/api/openapi.json": "application/json"} {
		r, text := get(http.MethodGet, path)
		if r.StatusCode != http.StatusOK || !strings.HasPrefix(r.Header.Get("Content-Type"), kind) || text == "" {
			t.Errorf("%s: %s, %s", path, r.Status, r.Header.Get("Content-Type"))
		}
		if csp := r.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: %q", path, csp)
		}
		if r.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: its kind may be guessed", path)
		}
	}
	for method, path := range map[string]string{http.MethodGet: "/api/generate/main.go", http.MethodPost: "/api/"} {
		if r, _ := get(method, path); r.StatusCode < 400 {
			t.Errorf("%s %s: %s", method, path, r.Status)
		}
	}
	// Nothing of it runs, and nothing comes from elsewhere.
	_, page := get(http.MethodGet, "/api/")
	for _, found := range regexp.MustCompile(`(?i)<(script|iframe|object|embed|form|img|base)\b|\bon[a-z]+=|style=|(?:src|href)="(?:[a-z]+:)?//[^"]*"|@import`).FindAllString(page, -1) {
		t.Errorf("the page has %s", found)
	}
	for _, m := range methods() {
		if !strings.Contains(page, `id="`+string(m.Parent().Name())+"."+string(m.Name())+`"`) {
			t.Errorf("the page is without %s", m.FullName())
		}
	}
	// Every link leads somewhere.
	for _, link := range regexp.MustCompile(`href="#([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if !strings.Contains(page, `id="`+link[1]+`"`) {
			t.Errorf("a link leads to %s, which is not there", link[1])
		}
	}
}
