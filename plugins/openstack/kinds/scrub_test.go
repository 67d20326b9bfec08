package kinds

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/reeve-cloud/reeve/pkg/document"
)

func base64Of(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// quoted writes a text as JSON.
func quoted(s string) string {
	raw, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

func TestDocument(t *testing.T) {
	const data = "#cloud-config\npassword: hunter2\n"
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = w.Write([]byte(data))
	_ = w.Close()
	lines := func(s string) string { // as base64(1) writes it
		var b strings.Builder
		for len(s) > 20 {
			b.WriteString(s[:20] + "\n")
			s = s[20:]
		}
		return b.String() + s
	}
	bytesOf := func(n int) string { return fmt.Sprintf(`{"bytes":%d}`, n) }
	long := strings.Repeat("x", maxText+1)
	for _, want := range []struct{ name, raw, document string }{
		{"nothing", `{}`, `{}`},
		{"white space", "{ \"a\" : [ 1 , { } ] }\n", `{"a":[1,{}]}`},
		{"numbers stay as they are", `{"a":12345678901234567890,"b":1.0,"c":1e5}`, `{"a":12345678901234567890,"b":1.0,"c":1e5}`},
		{"texts stay as they are", `{"a":"\u00e9\/é","b":"","c":null,"d":[true,false]}`, `{"a":"\u00e9\/é","b":"","c":null,"d":[true,false]}`},

		{"user data", `{"OS-EXT-SRV-ATTR:user_data":` + quoted(base64Of(data)) + `}`, `{"OS-EXT-SRV-ATTR:user_data":` + bytesOf(len(data)) + `}`},
		{"user data of no form", `{"user_data":"swordfish"}`, `{"user_data":` + bytesOf(9) + `}`},
		{"no user data", `{"user_data":null,"a":{"user_data":0}}`, `{"user_data":null,"a":{"user_data":0}}`},
		{"files", `{"personality":[{"path":"/etc/x","contents":"eA=="}]}`,
			`{"personality":` + bytesOf(len(`[{"path":"/etc/x","contents":"eA=="}]`)) + `}`},
		{"a name that is escaped", `{"user\u005fdata":"swordfish","\u006cinks":[]}`, `{"user\u005fdata":` + bytesOf(9) + `}`},

		{"cloud-init", `{"metadata":{"note":` + quoted(data) + `}}`, `{"metadata":{"note":` + bytesOf(len(data)) + `}}`},
		{"cloud-init in base64", `{"metadata":{"note":` + quoted(base64Of(data)) + `}}`,
			`{"metadata":{"note":` + bytesOf(len(base64Of(data))) + `}}`},
		{"cloud-init in lines of base64", `{"note":` + quoted(lines(base64Of(data))) + `}`,
			`{"note":` + bytesOf(len(lines(base64Of(data)))) + `}`},
		{"cloud-init, compressed", `{"note":` + quoted(base64Of(zipped.String())) + `}`,
			`{"note":` + bytesOf(len(base64Of(zipped.String()))) + `}`},
		{"cloud-init, unpadded", `{"note":` + quoted(strings.TrimRight(base64Of(data+"x"), "=")) + `}`,
			`{"note":` + bytesOf(len(strings.TrimRight(base64Of(data+"x"), "="))) + `}`},
		{"a script", `{"a":["#!/bin/sh\nset -x"]}`, `{"a":[` + bytesOf(16) + `]}`},
		{"a script of Windows", `{"a":"  <powershell>Set-X</powershell>"}`, `{"a":` + bytesOf(32) + `}`},
		{"parts", `{"a":"Content-Type: multipart/mixed; boundary=x"}`, `{"a":` + bytesOf(41) + `}`},
		{"Ignition", `{"a":"{ \"ignition\": {\"version\": \"3.4.0\"}}"}`, `{"a":` + bytesOf(35) + `}`},
		{"no script", `{"a":"#1 of the list, really","b":"Content of it","c":"aGVsbG8gd29ybGQsIGhlbGxv","d":"{\"a\": 1, \"ignition\": 2}"}`,
			`{"a":"#1 of the list, really","b":"Content of it","c":"aGVsbG8gd29ybGQsIGhlbGxv","d":"{\"a\": 1, \"ignition\": 2}"}`},
		{"a long text", `{"a":"` + long + `"}`, `{"a":` + bytesOf(maxText+1) + `}`},
		{"a text that is just short enough", `{"a":"` + long[1:] + `"}`, `{"a":"` + long[1:] + `"}`},

		{"links", `{"links":[{"href":"x"}],"a":{"links":{"self":"x"},"servers_links":[],"b":1}}`, `{"a":{"b":1}}`},
		{"connection info", `{"connection_info":{"auth_password":"x"},"connector":{"host":"x"},"volume_id":"v"}`, `{"volume_id":"v"}`},
		{"all of it", `{"links":[]}`, `{}`},
		{"the first of it", `{"links":[],"a":1,"adminPass":"x","b":2,"private_key":"x"}`, `{"a":1,"b":2}`},
		{"derived of its own", `{"derived":{"x":1},"a":{"derived":{"x":1}}}`, `{"a":{"derived":{"x":1}}}`},

		{"a name twice", `{"a":1,"a":2,"b":{"c":1,"c":2}}`, `{"a":1,"b":{"c":1}}`},
		{"a name twice, of objects", `{"a":{"x":1},"a":{"user_data":"x"},"c":3}`, `{"a":{"x":1},"c":3}`},
		{"a name twice, once escaped", `{"a":1,"\u0061":2}`, `{"a":1}`},
		{"a name twice that is left out", `{"links":1,"links":2,"a":1}`, `{"a":1}`},
		{"not UTF-8", "{\"a\":\"x\xffy\",\"b\xff\":\"\\ud800\"}", `{"a":"x` + "\ufffd" + `y","b` + "\ufffd" + `":"` + "\ufffd" + `"}`},
		{"not UTF-8, with data", "{\"a\":\"\xff\",\"b\":" + quoted(data) + `,"user_data":"` + "\xff" + `"}`,
			`{"a":"` + "\ufffd" + `","b":` + bytesOf(len(data)) + `,"user_data":` + bytesOf(3) + `}`},
		{"not UTF-8, short", "{\"a\":[\"\xff\"]}", `{"a":["` + "\ufffd" + `"]}`},
		{"deep", deep(maxDepth - 1), deep(maxDepth - 1)},
	} {
		t.Run(want.name, func(t *testing.T) {
			for _, k := range []*Kind{find(t, "compute/servers"), find(t, "storage/volumes")} {
				got, err := k.Document(jsontext.Value(want.raw), nil)
				if err != nil {
					t.Fatal(err)
				}
				if string(got) != want.document {
					t.Errorf("%s, want %s", short(string(got)), short(want.document))
				}
				if !got.IsValid() {
					t.Errorf("not strictly JSON: %q", short(string(got)))
				}
				facts, err := k.Document(jsontext.Value(want.raw), document.Object{{Name: "x", Value: 1}})
				if err != nil {
					t.Fatal(err)
				}
				with := strings.TrimSuffix(want.document, "}") + `,"derived":{"x":1}}`
				if want.document == `{}` {
					with = `{"derived":{"x":1}}`
				}
				if string(facts) != with {
					t.Errorf("with facts: %s, want %s", short(string(facts)), short(with))
				}
			}
		})
	}
}

func short(s string) string {
	if len(s) > 1000 {
		return s[:500] + "..." + s[len(s)-200:]
	}
	return s
}

// deep is an element that is nested so many times.
func deep(n int) string {
	return `{"a":` + strings.Repeat("[", n-1) + "{}" + strings.Repeat("]", n-1) + `}`
}

func TestNoDocument(t *testing.T) {
	k := find(t, "compute/servers")
	for name, raw := range map[string]string{
		"empty": ``, "array": `[]`, "text": `"x"`, "null": `null`, "broken": `{"a":`, "broken in what is left out": `{"links":[`, "two": `{}{}`,
		"rest": `{} x`,
		"deep": deep(maxDepth), "very deep": strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000),
		"very deep, left out": `{"links":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`,
	} {
		if got, err := k.Document(jsontext.Value(raw), nil); err == nil {
			t.Errorf("%s: made %s", name, short(string(got)))
		} else if !strings.Contains(err.Error(), "compute/servers") {
			t.Errorf("%s: %v does not say where", name, err)
		}
		_, _ = k.Read(jsontext.Value(raw), testContext)
	}
}

// TestDropped: what a kind leaves out by itself is not left out of others.
func TestDropped(t *testing.T) {
	for name, members := range map[string][]string{
		"compute/servers":                  {"server_groups"},
		"image/images":                     {"locations", "direct_url"},
		"storage/volumes":                  {"encryption_key_id", "connection_info"},
		"storage/attachments":              {"connection_info"},
		"identity/application-credentials": {"secret"},
		"baremetal/nodes":                  {"agent_secret_token", "rescue_password", "image_url", "ports"},
		"containerinfra/clusters":          {"discovery_url"},
	} {
		k := find(t, name)
		for _, member := range members {
			raw := `{"id":"x","` + member + `":"swordfish","a":{"` + member + `":["swordfish"]}}`
			document, err := k.Document(jsontext.Value(raw), nil)
			if err != nil || string(document) != `{"id":"x","a":{}}` {
				t.Errorf("%s: %s, %v", name, document, err)
			}
		}
	}
	if document, err := find(t, "network/ports").Document(jsontext.Value(`{"locations":["x"],"secret":"x"}`), nil); err != nil ||
		string(document) != `{"locations":["x"],"secret":"x"}` {
		t.Errorf("%s, %v", document, err)
	}
}

// TestLabels: what is taken out of documents does not leave as a label.
func TestLabels(t *testing.T) {
	booted := base64.StdEncoding.EncodeToString([]byte("#cloud-config\npassword: canary\n"))
	raw := `{"id": "s", "name": "n", "status": "ACTIVE", "metadata": {"plain": "x", "first_boot": "` + booted +
		`", "user_data": "canary", "payload": "canary",
		"links": "canary", "private_key": "canary", "x_links": "canary", "long": "` + strings.Repeat("x", 5000) + `"}}`
	r, err := Find("compute/servers").Read(jsontext.Value(raw), Context{})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Labels) != 1 || r.Labels["plain"] != "x" {
		t.Errorf("the labels are %v", r.Labels)
	}
	raw = `{"id": "n", "name": "n", "tags": ["plain", "` + booted + `", "user_data=canary", "` + strings.Repeat("x", 5000) + `"]}`
	if r, err = Find("network/networks").Read(jsontext.Value(raw), Context{}); err != nil {
		t.Fatal(err)
	}
	if _, ok := r.Labels["plain"]; len(r.Labels) != 1 || !ok {
		t.Errorf("the tags are %v", r.Labels)
	}
}
