package main

import (
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"embed"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/template"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
)

// The manifests are templates of objects that need no more than to be written
// down. cluster.yaml is made once, namespace.yaml in each namespace of workloads,
// canaries.yaml with -canaries.
//
//go:embed manifests
var manifests embed.FS

// place is what the templates know.
type place struct {
	NS, Team, Env string
	Index         int
	// Node is a node with an OpenStack provider id, whose last part is NodeUUID.
	Node, NodeUUID string
}

// place returns what cluster-wide objects know: of the nodes, the first that is a
// server of OpenStack.
func (s *seeder) place() place {
	name, id := openstackNode(0)
	return place{Node: name, NodeUUID: id}
}

// discover learns which kinds the cluster serves, once the custom ones are.
func (s *seeder) discover() error {
	groups, err := restmapper.GetAPIGroupResources(s.kube.Discovery())
	if err != nil {
		return fmt.Errorf("asking the cluster for its kinds: %w", err)
	}
	s.mapper = restmapper.NewDiscoveryRESTMapper(groups)
	return nil
}

// apply makes the objects of a manifest that are not there yet, and gives those
// with a status theirs. The ones before a line of "--- # wait" are made first.
func (s *seeder) apply(file string, at place) {
	source, err := manifests.ReadFile("manifests/" + file)
	if err != nil {
		s.fail(err)
		return
	}
	// One template for each document, so that a canary is known by its object.
	for i, document := range strings.Split("\n"+string(source), "\n---") {
		if strings.HasPrefix(document, " # wait\n") {
			s.wg.Wait()
		}
		object, err := s.render(fmt.Sprintf("%s, document %d", file, i), document, at)
		if err != nil {
			s.fail(err)
		} else if object != nil {
			s.make(object)
		}
	}
}

func (s *seeder) render(name, document string, at place) (*unstructured.Unstructured, error) {
	var planted []*canary
	t, err := template.New(name).Option("missingkey=error").Funcs(template.FuncMap{
		"canary": func(field string) string {
			c := newCanary(s.id, name, field)
			planted = append(planted, c)
			return c.Canary
		},
		"b64":  func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) },
		"uuid": uuid,
		"csr":  certificateRequest,
		"helm": helmRelease,
	}).Parse(document)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := t.Execute(&text, at); err != nil {
		return nil, err
	}
	for _, c := range planted {
		c.Packed = !slices.ContainsFunc(c.Forms, func(form string) bool { return bytes.Contains(text.Bytes(), []byte(form)) })
	}
	var object unstructured.Unstructured
	if err := yaml.NewYAMLOrJSONDecoder(&text, 4096).Decode(&object.Object); err == io.EOF {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(object.Object) == 0 {
		return nil, nil
	}
	for _, c := range planted {
		c.Kind, c.APIVersion, c.Namespace, c.Name = object.GetKind(), object.GetAPIVersion(), object.GetNamespace(), object.GetName()
	}
	s.canaries = append(s.canaries, planted...)
	return &object, nil
}

func (s *seeder) make(object *unstructured.Unstructured) {
	s.do(func() error {
		kind := object.GroupVersionKind()
		mapping, err := s.mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if err != nil {
			return err
		}
		var resource dynamic.ResourceInterface = s.dyn.Resource(mapping.Resource)
		if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
			resource = s.dyn.Resource(mapping.Resource).Namespace(object.GetNamespace())
		}
		made, err := resource.Create(s.ctx, object, create)
		if err != nil {
			return fmt.Errorf("%s %s/%s: %w", kind.Kind, object.GetNamespace(), object.GetName(), err)
		}
		status, ok := object.Object["status"]
		if !ok {
			return nil
		}
		// Whoever else writes to it shall not be undone.
		patch, err := json.Marshal(map[string]any{"status": status})
		if err != nil {
			return err
		}
		if _, err := resource.Patch(s.ctx, made.GetName(), "application/merge-patch+json", patch,
			metav1.PatchOptions{FieldManager: create.FieldManager}, "status"); err != nil {
			return fmt.Errorf("status of %s %s/%s: %w", kind.Kind, object.GetNamespace(), object.GetName(), err)
		}
		return nil
	})
}

// certificateRequest returns a PEM certificate signing request, as a field of
// bytes wants it.
func certificateRequest(name string) (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), nil
}

// helmRelease returns what Helm 3 stores of a release in its Secret: gzipped JSON
// in base64, which a Secret's data has in base64 once more. The passwords are one
// that the user gave as a value, one of the chart's defaults, and one in the
// rendered manifest.
func helmRelease(name, namespace string, revision int, given, preset, rendered string) (string, error) {
	release, err := json.Marshal(map[string]any{
		"name": name, "namespace": namespace, "version": revision,
		"info": map[string]any{
			"status": "deployed", "description": "Upgrade complete", "notes": "Thank you for installing " + name + ".",
			"first_deployed": "2026-01-10T09:00:00Z", "last_deployed": "2026-02-20T09:00:00Z",
		},
		"config": map[string]any{"replicaCount": 3, "auth": map[string]any{"username": "shop", "password": given}},
		"chart": map[string]any{
			"metadata":  map[string]any{"name": name, "version": "12.3.4", "appVersion": "16.2", "apiVersion": "v2"},
			"values":    map[string]any{"replicaCount": 1, "auth": map[string]any{"password": preset}},
			"templates": []any{}, "files": []any{},
		},
		"manifest": "---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: " + name + "\nstringData:\n  password: " + rendered + "\n",
	})
	if err != nil {
		return "", err
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(release); err != nil {
		return "", err
	}
	if err := z.Close(); err != nil {
		return "", err
	}
	once := base64.StdEncoding.EncodeToString(packed.Bytes())
	return base64.StdEncoding.EncodeToString([]byte(once)), nil
}
