package kinds

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/reeve-cloud/reeve/agent/redact"
	"github.com/reeve-cloud/reeve/pkg/document"
)

// planted are the secrets in testdata/secrets: of metadata, tags, addresses, and of what
// services write into messages. An address on an IPMI bus is none.
var planted = regexp.MustCompile(`Zq\d\d|abcdef0\d|daae261f|WnEw|H4sI`)

// TestSecretsStay: of what is planted nothing is left, in documents and labels
// alike, once they have passed the agent.
func TestSecretsStay(t *testing.T) {
	kinds := map[string]string{
		"nodes": "baremetal/nodes", "servers": "compute/servers", "networks": "network/networks", "endpoints": "identity/endpoints",
		"clustertemplates": "containerinfra/cluster-templates", "volumes": "storage/volumes", "attachments": "storage/attachments",
	}
	files, err := filepath.Glob("testdata/secrets/*.json")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	var rules *redact.Rules
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var bodies map[string]json.RawMessage
		if err := json.Unmarshal(data, &bodies); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for list, body := range bodies {
			var elements []jsontext.Value
			if err := json.Unmarshal(body, &elements); err != nil { // an answer as a whole
				var inner map[string][]jsontext.Value
				if err := json.Unmarshal(body, &inner); err != nil {
					t.Fatalf("%s: %v", file, err)
				}
				elements = inner[list]
			}
			k := find(t, kinds[list])
			for _, raw := range elements {
				r, err := k.Read(raw, Context{})
				if err != nil {
					t.Fatalf("%s: %v", file, err)
				}
				doc, err := k.Document(raw, r.Derived)
				if err != nil {
					t.Fatalf("%s: %v", file, err)
				}
				if doc, err = document.Canonical(doc); err != nil {
					t.Fatalf("%s: %v", file, err)
				}
				if doc, err = rules.Document(doc); err != nil {
					t.Fatalf("%s: %v", file, err)
				}
				doc = bytes.ReplaceAll(doc, []byte(`"ipmi_target_address":"Zq16xK7v"`), nil)
				for _, found := range planted.FindAllIndex(doc, -1) {
					t.Errorf("%s: ... %s ... leaves in the document", file, doc[max(0, found[0]-80):min(len(doc), found[1]+20)])
				}
				labels, err := json.Marshal(rules.Labels(r.Labels))
				if err != nil {
					t.Fatal(err)
				}
				for _, found := range planted.FindAllIndex(labels, -1) {
					t.Errorf("%s: ... %s ... leaves in the labels", file, labels[max(0, found[0]-80):min(len(labels), found[1]+20)])
				}
			}
		}
	}
}
