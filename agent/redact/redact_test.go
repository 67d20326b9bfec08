package redact

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/reeve-cloud/reeve/pkg/document"
)

const canary = "c4n4ry-v4lue"

func TestSecretsAreMasked(t *testing.T) {
	for _, doc := range []string{
		`{"password":"c4n4ry-v4lue"}`,
		`{"dbPassword":"c4n4ry-v4lue"}`,
		`{"DB_PASSWORD":"c4n4ry-v4lue"}`,
		`{"DBPASSWORD":"c4n4ry-v4lue"}`,
		`{"api-key":"c4n4ry-v4lue"}`,
		`{"X-Auth-Token":"c4n4ry-v4lue"}`,
		`{"privateKey":"c4n4ry-v4lue"}`,
		`{"secret":{"value":"c4n4ry-v4lue"}}`,
		`{"secrets":["c4n4ry-v4lue"]}`,
		`{"credentials":[{"user":"u","x":{"y":["c4n4ry-v4lue"]}}]}`,
		`{"env":[{"name":"DB_PASSWORD","value":"c4n4ry-v4lue"}]}`,
		`{"user_data":"c4n4ry-v4lue"}`,
		`{"environment":["PATH=/bin","DB_PASSWORD=c4n4ry-v4lue with spaces & marks;"]}`,
		`{"environment":["A=b","TOKEN=a=c4n4ry-v4lue"]}`,
		`{"exec":"/usr/bin/app --password c4n4ry-v4lue --port 80"}`,
		`{"exec":"/usr/bin/app --db-password=c4n4ry-v4lue -x"}`,
		`{"exec":"PGPASSWORD=\"c4n4ry-v4lue\" psql"}`,
		`{"alias":"uplink, token: c4n4ry-v4lue"}`,
		`{"options":["rw","password=c4n4ry-v4lue"]}`,
		`{"url":"postgres://app:c4n4ry-v4lue@db/x"}`,
		`{"note":"Authorization: Bearer c4n4ry-v4lue"}`,
		`{"pem":"-----BEGIN RSA PRIVATE KEY-----\nc4n4ry-v4lue\n-----END RSA PRIVATE KEY-----"}`,
		`{"pem":"-----BEGIN PRIVATE KEY-----\nc4n4ry-v4lue cut off"}`,
		`{"json":"{\"password\": \"c4n4ry-v4lue\"}"}`,
		`{"name":{"password":"c4n4ry-v4lue"}}`,
	} {
		got := redact(t, doc)
		if bytes.Contains(got, []byte(canary)) || !bytes.Contains(got, []byte(Mask)) {
			t.Errorf("%s\n gave %s", doc, got)
		}
	}
}

func TestTheRestStays(t *testing.T) {
	for _, doc := range []string{
		`{"name":"web","image":"registry/app:1.2","tokenExpirationSeconds":3600,"automountServiceAccountToken":true}`,
		`{"secretName":"tls","secretKeyRef":{"key":"pw","name":"db-secret"},"imagePullSecrets":[{"name":"regcred"}]}`,
		`{"keyboard":"us","monkey":"x","url":"https://example.org/a:b","path":"/etc/passwd","compass":"north"}`,
		`{"environment":["PATH=/bin:/usr/bin","LANG=C.UTF-8"],"exec":"/usr/sbin/sshd -D","passwordPolicy":"strict"}`,
		`{"password":"","secret":null,"empty":{}}`,
		`{"relations":"keys to the city","authority":"a"}`,
		`{"name":"DB_PASSWORD","valueFrom":{"secretKeyRef":{"name":"db"}}}`,
	} {
		want, err := document.Canonical([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		if got := redact(t, doc); !bytes.Equal(got, want) {
			t.Errorf("%s\n gave %s", want, got)
		}
	}
}

func redact(t testing.TB, doc string) []byte {
	t.Helper()
	c, err := document.Canonical([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Document(c)
	if err != nil {
		t.Fatalf("%s: %v", doc, err)
	}
	if again, err := document.Canonical(got); err != nil || !bytes.Equal(again, got) {
		t.Fatalf("%s: not canonical: %s", doc, got)
	}
	return got
}

func TestKnownForms(t *testing.T) {
	for _, s := range []string{
		"AKIAIOSFODNN7EXAMPLE", "ghp_abcdefghijklmnopqrstuvwxyz0123456789", "glpat-abcdefghijklmnopqrst",
		"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
	} {
		if got := Text("see " + s + " here"); got != "see "+Mask+" here" {
			t.Errorf("%s gave %q", s, got)
		}
	}
}

func TestLabels(t *testing.T) {
	in := map[string]string{"tier": "front", "admin_pass": canary, "note": "password=" + canary}
	got := Labels(in)
	if got["tier"] != "front" || strings.Contains(got["admin_pass"]+got["note"], canary) {
		t.Errorf("%v", got)
	}
	if in["admin_pass"] != canary {
		t.Error("the argument was changed")
	}
}

func FuzzDocument(f *testing.F) {
	f.Add([]byte(`{"env":[{"name":"TOKEN","value":"x"}],"a":"b=c","password":{"x":[1,null]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := document.Canonical(data)
		if err != nil {
			return
		}
		got, err := Document(c)
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(got) {
			t.Fatalf("%s gave %s", c, got)
		}
	})
}

func BenchmarkDocument(b *testing.B) {
	doc := []byte(`{"metadata":{"labels":{"app":"web","tier":"front"},"name":"web-7d9f"},"spec":{"containers":[{"env":[{"name":"A","value":"b"}],"image":"registry.example/app:1.2.3","name":"c"}],"nodeName":"node-17"},"status":{"phase":"Running","podIP":"10.1.2.3"}}`)
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Document(doc); err != nil {
			b.Fatal(err)
		}
	}
}
