package scrub

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/object"
)

var (
	secretType    = object.Kind{Version: "v1", Kind: "Secret", Resource: "secrets", Namespaced: true}
	configMapType = object.Kind{Version: "v1", Kind: "ConfigMap", Resource: "configmaps", Namespaced: true}
	podType       = object.Kind{Version: "v1", Kind: "Pod", Resource: "pods", Namespaced: true}
	customType    = object.Kind{Group: "example.com", Version: "v1", Kind: "App", Resource: "apps"}
)

func TestObject(t *testing.T) {
	cert := "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n"
	certBase64 := base64.StdEncoding.EncodeToString([]byte(cert))
	fingerprint := fmt.Sprintf(`{"bytes":%d,"sha256":"%x"}`, len(cert), sha256.Sum256([]byte(cert)))
	long := strings.Repeat("x", maxText)

	for _, c := range []struct {
		what     string
		s        Scrubber
		kind     object.Kind
		in, want string // members beside apiVersion, kind and the name
	}{
		{"a Secret", Scrubber{ConfigMapValues: true, EnvValues: true}, secretType,
			`"data":{"a":"aGk=","b":"","c":"aGVsbG8h","d":null},"immutable":true,"stringData":{"e":"hé"},"type":"Opaque"`,
			`"data":{"a":{"bytes":2},"b":{"bytes":0},"c":{"bytes":6},"d":null},"immutable":true,"stringData":{"e":{"bytes":3}},"type":"Opaque"`},
		{"a Secret without data", Scrubber{}, secretType, `"data":null,"stringData":{}`, `"data":null,"stringData":{}`},
		{"a ConfigMap", Scrubber{}, configMapType,
			`"binaryData":{"b":"AAAA"},"data":{"a":"one\ntwo"}`, `"binaryData":{"b":{"bytes":3}},"data":{"a":{"bytes":7}}`},
		{"a ConfigMap with values", Scrubber{ConfigMapValues: true}, configMapType,
			`"binaryData":{"b":"AAAA"},"data":{"a":"one\ntwo","env":"x","long":"` + long + `","values":"y"}`,
			`"binaryData":{"b":"AAAA"},"data":{"a":"one\ntwo","env":"x","long":"` + long + `","values":"y"}`},
		{"a manifest of a Secret among the values", Scrubber{ConfigMapValues: true}, configMapType,
			`"data":{"a":"kind: Secret\nstringData: {a: b}"}`, `"data":{"a":{"bytes":31}}`},
		{"environment variables", Scrubber{}, podType,
			`"env":[{"name":"A","value":"x"},{"name":"B","value":""},{"name":"C","valueFrom":{"secretKeyRef":{"key":"k","name":"s"}}}],` +
				`"envFrom":[{"configMapRef":{"name":"c"},"prefix":"P_"}]`,
			`"env":[{"name":"A","value":"[redacted]"},{"name":"B","value":""},{"name":"C","valueFrom":{"secretKeyRef":{"key":"k","name":"s"}}}],` +
				`"envFrom":[{"configMapRef":{"name":"c"},"prefix":"P_"}]`},
		{"environment variables with values", Scrubber{EnvValues: true}, podType,
			`"env":[{"name":"A","value":"x"}],"extraEnv":{"A":"x"},"params":[{"name":"p","value":"x"}],"values":{"a":"x"}`,
			`"env":[{"name":"A","value":"x"}],"extraEnv":{"A":"x"},"params":[{"name":"p","value":"x"}],"values":{"a":"[redacted]"}`},
		{"environments in other forms", Scrubber{}, customType,
			`"env":{"A":"x","B":7,"C":true,"D":{"valueFrom":{"name":"n"}},"E":{"value":"x"}},"environment":["A=x","B=","C","D\u003dx","E=\"x"]`,
			`"env":{"A":"[redacted]","B":"[redacted]","C":true,"D":{"valueFrom":{"name":"n"}},"E":{"value":"[redacted]"}},` +
				`"environment":["A=[redacted]","B=[redacted]","C","[redacted]","[redacted]"]`},
		{"an environment that is none", Scrubber{}, customType,
			`"environment":"production","envoy":{"a":"b"},"labels":{"env":"prod"}`,
			`"environment":"production","envoy":{"a":"b"},"labels":{"env":"prod"}`},
		{"parameters", Scrubber{}, customType,
			`"parameters":[{"name":"n","value":["x",{"y":"z"}]},{"default":"d","name":"n","type":"string"}]`,
			`"parameters":[{"name":"n","value":["[redacted]",{"y":"[redacted]"}]},{"default":"d","name":"n","type":"string"}]`},
		{"parameters of a class", Scrubber{}, customType, `"parameters":{"fsType":"ext4","type":"gp3"}`,
			`"parameters":{"fsType":"ext4","type":"gp3"}`},
		{"values of a chart", Scrubber{}, customType,
			`"values":{"a":{"b":[1,"x",null,true,""]},"kind":"Secret"},"valuesContent":"a: b","valuesFrom":[{"kind":"ConfigMap","name":"n"}]`,
			`"values":{"a":{"b":["[redacted]","[redacted]",null,true,""]},"kind":"[redacted]"},"valuesContent":{"bytes":4},` +
				`"valuesFrom":[{"kind":"ConfigMap","name":"n"}]`},
		{"environments in other spellings", Scrubber{}, customType,
			`"Env":[{"Name":"A","Value":"x"},{"key":"B","val":"y"}],"Parameters":[{"ParameterKey":"p","ParameterValue":"x"}]`,
			`"Env":[{"Name":"A","Value":"[redacted]"},{"key":"B","val":"[redacted]"}],"Parameters":[{"ParameterKey":"p",` +
				`"ParameterValue":"[redacted]"}]`},
		{"a quota", Scrubber{}, customType,
			`"spec":{"hard":{"count/secrets":"5","secrets":"10"}},"status":{"used":{"secrets":"3"}}`,
			`"spec":{"hard":{"count/secrets":"5","secrets":"10"}},"status":{"used":{"secrets":"3"}}`},
		{"values of a selector", Scrubber{}, customType,
			`"matchExpressions":[{"key":"k","operator":"In","values":["a","b"]}]`,
			`"matchExpressions":[{"key":"k","operator":"In","values":["a","b"]}]`},
		{"files", Scrubber{}, customType,
			`"files":[{"content":"abc","contentFrom":{"secret":{"key":"k","name":"n"}},"path":"/a"}],"source":"data:,abc","userData":{"name":"n"}`,
			`"files":[{"content":{"bytes":3},"contentFrom":{"secret":{"key":"k","name":"n"}},"path":"/a"}],"source":{"bytes":9},` +
				`"userData":{"name":"n"}`},
		{"certificates", Scrubber{}, customType,
			`"caBundle":"` + certBase64 + `","other":"` + certBase64 + `","pem":"` + strings.ReplaceAll(cert, "\n", `\n`) + `"`,
			`"caBundle":` + fingerprint + `,"other":` + fingerprint + `,"pem":` + fingerprint},
		{"long texts", Scrubber{}, customType, `"long":"` + long + `","short":"` + long[:maxText-2] + `"`,
			`"long":{"bytes":16384},"short":"` + long[:maxText-2] + `"`},
		{"a schema", Scrubber{}, customType,
			`"openAPIV3Schema":{"properties":{"env":{"type":"array"},"values":{"type":"object"}}}`,
			`"openAPIV3Schema":{"properties":{"env":{"type":"array"},"values":{"type":"object"}}}`},
		{"an embedded Secret, kind behind data", Scrubber{}, customType,
			`"m":[{"data":{"a":"aGk="},"kind":"Secret","stringData":{"b":"x"}}],"n":{"data":{"a":"aGk="}}`,
			`"m":[{"data":{"a":{"bytes":2}},"kind":"Secret","stringData":{"b":{"bytes":1}}}],"n":{"data":{"a":"aGk="}}`},
		{"a reference to a Secret", Scrubber{}, customType,
			`"ref":{"kind":"Secret","name":"n"},"store":"kind: SecretStore, which is not one"`,
			`"ref":{"kind":"Secret","name":"n"},"store":"kind: SecretStore, which is not one"`},
		{"a template of a Secret", Scrubber{}, customType,
			`"template":{"data":{"a":"text"},"type":"Opaque"}`, `"template":{"data":{"a":{"bytes":4}},"type":"Opaque"}`},
		{"a template of pods", Scrubber{}, customType,
			`"template":{"metadata":{"annotations":{"a/b":"c","kubectl.kubernetes.io/last-applied-configuration":"x"},"resourceVersion":"1"}}`,
			`"template":{"metadata":{"annotations":{"a/b":"c","kubectl.kubernetes.io/last-applied-configuration":"[left out]"}}}`},
		{"what is not known", Scrubber{}, customType,
			`"new":{"a":[1.50,-0,1e400,true,null,{},[]],"é\"\u0001":"\ud83d\ude00 <&>"}`,
			`"new":{"a":[1.50,-0,1e400,true,null,{},[]],"é\"\u0001":"😀 <&>"}`},
	} {
		head := `{"apiVersion":"v1","kind":"` + c.kind.Kind + `","metadata":{"name":"n"},`
		want, err := document.Canonical([]byte(head + c.want + "}"))
		if err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		if got := scrubbed(t, c.s, c.kind, head+c.in+"}"); !bytes.Equal(got, want) {
			t.Errorf("%s:\n  %s\n gave\n  %s\n want\n  %s", c.what, c.in, got, want)
		}
	}
}

func TestMetadata(t *testing.T) {
	for _, c := range []struct {
		what     string
		s        Scrubber
		kind     object.Kind
		in, want string
	}{
		{"any object", Scrubber{}, podType,
			`"generation":2,"managedFields":[{"manager":"kubectl"}],"name":"n","resourceVersion":"5","selfLink":"/x","uid":"u"`,
			`"generation":2,"name":"n","uid":"u"`},
		{"a Secret", Scrubber{ConfigMapValues: true}, secretType, `"name":"n","resourceVersion":"5"`, `"name":"n","resourceVersion":"5"`},
		{"a ConfigMap", Scrubber{}, configMapType, `"name":"n","resourceVersion":"5"`, `"name":"n","resourceVersion":"5"`},
		{"a ConfigMap with values", Scrubber{ConfigMapValues: true}, configMapType, `"name":"n","resourceVersion":"5"`, `"name":"n"`},
		{"a ConfigMap for leader election", Scrubber{}, configMapType,
			`"annotations":{"control-plane.alpha.kubernetes.io/leader":"{}"},"name":"n","resourceVersion":"5"`,
			`"annotations":{"control-plane.alpha.kubernetes.io/leader":"{}"},"name":"n"`},
		{"nothing left", Scrubber{}, podType, `"name":"n","managedFields":[],"resourceVersion":"5"`, `"name":"n"`},
		{"manifests in annotations", Scrubber{}, podType,
			`"annotations":{"a/applied-at":"2030","b/x":"{\"apiVersion\":\"v1\"}","deployment/original-name":"","kapp.k14s.io/original":"{}",` +
				`"kapp.k14s.io/identity":"v1;x","objectset.rio.cattle.io/applied":"H4s"},"name":"n"`,
			`"annotations":{"a/applied-at":"2030","b/x":"[left out]","deployment/original-name":"","kapp.k14s.io/original":"[left out]",` +
				`"kapp.k14s.io/identity":"v1;x","objectset.rio.cattle.io/applied":"[left out]"},"name":"n"`},
		{"long annotations", Scrubber{}, podType,
			`"annotations":{"a":"` + strings.Repeat("x", maxText) + `"},"name":"n"`, `"annotations":{"a":"[left out]"},"name":"n"`},
	} {
		head := `{"apiVersion":"v1","kind":"` + c.kind.Kind + `","metadata":{`
		want, err := document.Canonical([]byte(head + c.want + "}}"))
		if err != nil {
			t.Fatal(err)
		}
		if got := scrubbed(t, c.s, c.kind, head+c.in+"}}"); !bytes.Equal(got, want) {
			t.Errorf("%s:\n  %s\n gave\n  %s\n want\n  %s", c.what, c.in, got, want)
		}
	}
}

func TestObjectStaysAsItWas(t *testing.T) {
	raw := []byte(`{"apiVersion":"v1","metadata":{"name":"n","managedFields":[]},"data":{"a":"aGk="},"stringData":{"b":"c"}}`)
	before := bytes.Clone(raw)
	if _, err := (Scrubber{}).Object(&object.Object{Kind: secretType, Raw: raw}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(raw, before) {
		t.Errorf("now it is %s", raw)
	}
}

func TestBadObjects(t *testing.T) {
	for _, raw := range []string{``, `[]`, `"x"`, `{`, `{"a":}`, `{"data":{"a"}}`, `{} {}`, `{}x`,
		`{"a":` + strings.Repeat("[", 128) + strings.Repeat("]", 128) + `}`} {
		o := &object.Object{Kind: secretType, Meta: object.Meta{Namespace: "ns", Name: "n"}, Raw: jsontext.Value(raw)}
		got, err := Scrubber{}.Object(o)
		if err == nil {
			t.Errorf("%s gave %s", raw, got)
		} else if !strings.Contains(err.Error(), "core/secrets ns/n") {
			t.Errorf("%s: the object is not named in: %v", raw, err)
		}
	}
}

// FuzzObject shows that whatever stands beside the data of a Secret, and in
// front of it, no value comes out.
func FuzzObject(f *testing.F) {
	f.Add([]byte(`"metadata":{"name":"n","annotations":{"a":"b"}},"type":"helm.sh/release.v1","kind":"x","env":[{"name":"a","value":1}]`))
	f.Add([]byte(`"template":{"data":{"a":"b"}},"values":{"a":[1]},"environment":["a=b"],"caBundle":"x"`))
	f.Add([]byte("\"a\\ud800\":\"\xff\",\"kind\":\"ConfigMap\",\"data\":{}"))
	const canary = "YzRuNHJ5LXY0bHVl"
	f.Fuzz(func(t *testing.T, members []byte) {
		if bytes.Contains(members, []byte(canary)) {
			return
		}
		for _, raw := range []string{
			`{"data":{"a":"` + canary + `","release":"` + canary + `"},` + string(members) + `}`,
			`{` + string(members) + `,"stringData":{"a":"` + canary + `"}}`,
			`{"list":[{"data":{"a":"` + canary + `"},` + string(members) + `,"kind":"Secret"}]}`,
		} {
			for _, s := range []Scrubber{{}, {ConfigMapValues: true, EnvValues: true}} {
				kind := secretType
				if strings.HasPrefix(raw, `{"list"`) {
					kind = customType
				}
				out, err := s.Object(&object.Object{Kind: kind, Raw: []byte(raw)})
				if err != nil {
					continue
				}
				if !jsontext.Value(out).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) {
					t.Fatalf("%s gave %s", raw, out)
				}
				if bytes.Contains(out, []byte(canary)) {
					t.Fatalf("%s gave %s", raw, out)
				}
			}
		}
	})
}

func BenchmarkPod(b *testing.B) {
	raw, err := os.ReadFile("testdata/pod.json")
	if err != nil {
		b.Fatal(err)
	}
	o, err := object.Read(podType, raw)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (Scrubber{}).Object(o); err != nil {
			b.Fatal(err)
		}
	}
}
