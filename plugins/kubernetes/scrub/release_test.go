package scrub

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/reeve-cloud/reeve/plugins/kubernetes/object"
)

const wordpress = `{"name":"blog","namespace":"web","version":7,
	"info":{"first_deployed":"2026-01-02T03:04:05.6+09:00","last_deployed":"2026-02-03T04:05:06Z","deleted":"","status":"deployed","description":"Upgrade complete","notes":"password: x"},
	"chart":{"metadata":{"name":"wordpress","version":"24.1.0","appVersion":"6.7"},"values":{"secretDefault":"x"},"templates":[{"data":"eA=="}]},
	"config":{"auth":{"password":"hunter2"},"hosts":[{"name":"a","paths":["/"]},{"name":"b"}],"empty":{},"none":null,"image":{"tag":"6"}},
	"manifest":"kind: Secret","hooks":[{"manifest":"x"}]}`

const told = `{"chart":{"appVersion":"6.7","name":"wordpress","version":"24.1.0"},` +
	`"firstDeployed":"2026-01-02T03:04:05.6+09:00","lastDeployed":"2026-02-03T04:05:06Z","name":"blog","namespace":"web","revision":7,` +
	`"status":"deployed","valueKeys":["auth.password","empty","hosts.name","hosts.paths","image.tag","none"]}`

const helmLabels = `"labels":{"name":"blog","owner":"helm","status":"deployed","version":"7"}`

func TestRelease(t *testing.T) {
	plain := base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte(wordpress))))
	fromLabels := `{"error":"%s","name":"blog","revision":7,"status":"deployed"}`
	for _, c := range []struct {
		what    string
		s       Scrubber
		kind    object.Kind
		labels  string
		payload string
		want    string
	}{
		{"a Secret", Scrubber{}, secretType, helmLabels, helmPayload(t, wordpress, true), told},
		{"a Secret, not compressed", Scrubber{}, secretType, helmLabels, plain, told},
		{"a ConfigMap", Scrubber{}, configMapType, helmLabels, helmPayload(t, wordpress, false), told},
		{"a ConfigMap with values", Scrubber{ConfigMapValues: true}, configMapType, helmLabels, helmPayload(t, wordpress, false), told},
		{"Helm 2", Scrubber{ConfigMapValues: true}, configMapType, `"labels":{"NAME":"old","OWNER":"TILLER","STATUS":"DEPLOYED","VERSION":"3"}`,
			helmPayload(t, "protobuf", false), `{"name":"old","revision":3,"status":"DEPLOYED"}`},
		{"bad base64", Scrubber{}, secretType, helmLabels, "!!", fmt.Sprintf(fromLabels, "decoding the payload: unexpected EOF")},
		{"nothing", Scrubber{}, secretType, helmLabels, "", fmt.Sprintf(fromLabels, "the payload is empty")},
		{"bad JSON", Scrubber{}, secretType, helmLabels, helmPayload(t, `{"name":"x",hunter2`, true),
			fmt.Sprintf(fromLabels, "the JSON of the payload is broken at byte 12")},
		{"cut off", Scrubber{}, secretType, helmLabels, helmPayload(t, `{"name":"x","config":{"a":"hunter2`, true),
			fmt.Sprintf(fromLabels, "the JSON of the payload is broken at byte 34")},
		{"a wrong type", Scrubber{}, secretType, helmLabels, helmPayload(t, `{"name":"x","version":"hunter2"}`, true),
			fmt.Sprintf(fromLabels, "the payload has a value of an unexpected type at /version")},
		{"something else", Scrubber{}, secretType, helmLabels, helmPayload(t, `{"hunter2":"x"}`, true),
			fmt.Sprintf(fromLabels, "the payload is not a release: it has no name")},
		{"a bomb", Scrubber{}, secretType, helmLabels, helmPayload(t, `{"name":"`+strings.Repeat("x", maxRelease)+`"}`, true),
			fmt.Sprintf(fromLabels, "the payload has more than 32 MiB decompressed")},
		{"cut off in the compressed", Scrubber{}, configMapType, helmLabels, base64.StdEncoding.EncodeToString([]byte("\x1f\x8b\x08\x00")),
			fmt.Sprintf(fromLabels, "decompressing the payload: unexpected EOF")},
	} {
		t.Run(c.what, func(t *testing.T) {
			raw := `{"apiVersion":"v1","kind":"` + c.kind.Kind + `","data":{"release":"` + c.payload + `"},"metadata":{"name":"n",` + c.labels +
				`},"type":"helm.sh/release.v1"}`
			var got struct {
				Data struct {
					Release struct{ Bytes int }
				}
				Release json.RawMessage
			}
			doc := scrubbed(t, c.s, c.kind, raw)
			if err := json.Unmarshal(doc, &got); err != nil {
				t.Fatal(err)
			}
			if string(got.Release) != c.want {
				t.Errorf("%s\n want %s", got.Release, c.want)
			}
			if c.payload != "" && got.Data.Release.Bytes == 0 {
				t.Errorf("the payload's size is not told: %s", doc)
			}
			if bytes.Contains(doc, []byte("hunter2")) {
				t.Errorf("a value came through: %s", doc)
			}
		})
	}
}

func TestOthersAreNoReleases(t *testing.T) {
	for _, raw := range []string{
		`{"apiVersion":"v1","metadata":{"name":"n","labels":{"owner":"helm"}},"data":{"release":"eA=="},"type":"Opaque"}`,
		`{"apiVersion":"v1","metadata":{"name":"n"},"data":{"other":"eA=="},"type":"helm.sh/release.v1"}`,
	} {
		if doc := scrubbed(t, Scrubber{}, secretType, raw); bytes.Contains(doc, []byte(`"release":{"`)) &&
			!bytes.Contains(doc, []byte(`"release":{"bytes":1}`)) {
			t.Errorf("%s gave %s", raw, doc)
		}
	}
}

func TestManyValueKeys(t *testing.T) {
	var config []string
	for i := range maxValueKeys + 7 {
		config = append(config, fmt.Sprintf(`"k%04d":1`, i))
	}
	var r release
	if err := r.decode([]byte(helmPayload(t, `{"name":"x","config":{`+strings.Join(config, ",")+`}}`, true)), true); err != nil {
		t.Fatal(err)
	}
	if len(r.ValueKeys) != maxValueKeys || r.ValueKeys[maxValueKeys-1] != "k0499" || r.MoreValueKeys != 7 {
		t.Errorf("%d keys and %d more", len(r.ValueKeys), r.MoreValueKeys)
	}
}

// TestGreatValues is what would take much memory, path by path.
func TestGreatValues(t *testing.T) {
	const levels, long = 5000, 3000
	key := strings.Repeat("k", long)
	config := strings.Repeat(`{"a":1,"`+key+`":`, levels) + "1" + strings.Repeat("}", levels)
	var r release
	if err := r.decode([]byte(helmPayload(t, `{"name":"x","config":`+config+`}`, true)), true); err != nil {
		t.Fatal(err)
	}
	for _, path := range r.ValueKeys {
		if len(path) > maxValuePath {
			t.Fatalf("a path of %d bytes", len(path))
		}
	}
	if len(r.ValueKeys) != 2 { // a, and what all others are cut to
		t.Errorf("%d paths", len(r.ValueKeys))
	}
}

// FuzzRelease shows that no payload takes the collector down, and that values
// stay where they are.
func FuzzRelease(f *testing.F) {
	compressed, err := base64.StdEncoding.DecodeString(helmPayload(f, wordpress, false))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(compressed)
	f.Add([]byte(wordpress))
	f.Add([]byte(`{"status":5}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if bytes.Contains(data, []byte("c4n4ry")) {
			return
		}
		for _, payload := range []string{string(data), `{"name":"n","config":{"x":"c4n4ry"},"info":` + string(data)} {
			var r release
			err := r.decode([]byte(base64.StdEncoding.EncodeToString([]byte(payload))), false)
			if told := fmt.Sprint(r, err); strings.Contains(told, "c4n4ry") {
				t.Fatalf("%q gave %s", payload, told)
			}
			if n := len(r.ValueKeys); n > maxValueKeys {
				t.Fatalf("%q gave %d keys", payload, n)
			}
		}
	})
}

func BenchmarkRelease(b *testing.B) {
	manifest := strings.Repeat(`apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n`, 4000)
	payload := []byte(helmPayload(b, strings.Replace(wordpress, "kind: Secret", manifest, 1), true))
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		var r release
		if err := r.decode(payload, true); err != nil {
			b.Fatal(err)
		}
	}
}
