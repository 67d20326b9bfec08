package session_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"html"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/reeve-cloud/reeve/aggregator/reference"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/test/centre"
)

// refusedExamples are the methods whose example is refused, for it names what is not
// there, with the code that is answered.
var refusedExamples = map[string]string{
	"/reeve.v1.AccessService/RevokeApiToken":            "not_found",
	"/reeve.v1.EnrollmentService/CheckJoinToken":        "unauthenticated",
	"/reeve.v1.EnrollmentService/Enroll":                "invalid_argument",
	"/reeve.v1.EnrollmentService/Renew":                 "unauthenticated",
	"/reeve.v1.FleetService/DeleteJoinToken":            "not_found",
	"/reeve.v1.FleetService/RetireCertificateAuthority": "not_found",
	"/reeve.v1.FleetService/RevokeAgent":                "not_found",
	"/reeve.v1.MetricService/DeleteMetric":              "not_found",
	"/reeve.v1.ScopeService/EndScope":                   "not_found",
	"/reeve.v1.ViewService/DeleteQuery":                 "not_found",
	"/reeve.v1.ViewService/GetLayout":                   "not_found",
	"/reeve.v1.ViewService/GetQuery":                    "not_found",
	"/reeve.v1.ViewService/ResetLayout":                 "not_found",
	"/reeve.v1.ViewService/StarQuery":                   "not_found",
}

// rotation comes last: what trusts the authority of before is shut out by it.
const rotation = "/reeve.v1.FleetService/RotateCertificateAuthority"

type apiDocument struct {
	Paths map[string]map[string]struct {
		RequestBody struct {
			Content map[string]struct{ Example json.RawMessage }
		}
		Responses map[string]struct {
			Content map[string]struct {
				Schema struct {
					Reference string `json:"$ref"`
				}
			}
		}
	}
}

// answers holds what the aggregator answers against its own reference.
type answers struct {
	document apiDocument
	compiler *jsonschema.Compiler
}

func newAnswers(t *testing.T, document []byte) *answers {
	a := &answers{compiler: jsonschema.NewCompiler()}
	if err := json.Unmarshal(document, &a.document); err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err == nil {
		err = a.compiler.AddResource("openapi.json", value)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// check holds a body against the schema of a method's answer, or of errors.
func (a *answers) check(t *testing.T, what, path string, body []byte, streamed bool) {
	t.Helper()
	var failed struct{ Code string }
	if !streamed {
		_ = json.Unmarshal(body, &failed) // what is no JSON fails below
	}
	want := refusedExamples[path]
	if failed.Code != want {
		t.Errorf("%s: answers %.500s, want the error %q", what, body, want)
		return
	}
	response, kind := "200", "application/json"
	if want != "" {
		response = "default"
	} else if streamed {
		kind = "application/connect+json"
	}
	reference := a.document.Paths[path]["post"].Responses[response].Content[kind].Schema.Reference
	schema, err := a.compiler.Compile("openapi.json" + reference)
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err == nil {
		err = schema.Validate(value)
	}
	if err != nil {
		t.Errorf("%s: answers %.500s: %v", what, body, err)
	}
}

// checkStream holds each message of a stream against its schema; the end may be missing,
// of one that goes on for ever.
func (a *answers) checkStream(t *testing.T, what, path string, body []byte) {
	t.Helper()
	for len(body) >= 5 {
		flags, n := body[0], int(binary.BigEndian.Uint32(body[1:]))
		if len(body) < 5+n {
			t.Errorf("%s: a message of %d bytes is cut", what, n)
			return
		}
		message := body[5 : 5+n]
		if body = body[5+n:]; flags&2 != 0 {
			// The one that goes on for ever is cut by the caller, and may still say so.
			cut := isWatch(path) && bytes.Contains(message, []byte(`"canceled"`))
			if bytes.Contains(message, []byte(`"error"`)) && !cut {
				t.Errorf("%s: ends with %s", what, message)
			}
			continue
		}
		a.check(t, what, path, message, true)
	}
}

// isWatch reports whether an address is that of a method that goes on for ever.
func isWatch(address string) bool { return strings.Contains(address, "/Watch") }

// Every method is called with its example, over HTTP and by the command of the page for
// people, and what comes is as the reference says.
func TestReferenceIsWhatTheServerAnswers(t *testing.T) {
	c := centre.New(t)
	pod, node := version("seoul-1", "kubernetes.core.Pod", "cluster/Pod/default/web-0", warehouse.Created),
		version("seoul-1", "kubernetes.core.Node", "cluster/Node/node-1", warehouse.Created)
	pod.Labels, pod.Document = map[string]string{"app": "web"}, []byte(`{"spec":{"nodeName":"node-1"}}`)
	insert(t, c, pod, node)

	ca, err := os.ReadFile(filepath.Join(c.CADir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer transport.CloseIdleConnections()
	call := func(method, address, kind string, body []byte) ([]byte, int) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if isWatch(address) {
			ctx, cancel = context.WithTimeout(ctx, time.Second) // it never ends
			defer cancel()
		}
		r, err := http.NewRequestWithContext(ctx, method, "https://"+c.Address+address, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+c.AdminToken())
		if kind != "" {
			r.Header.Set("Content-Type", kind)
		}
		response, err := (&http.Client{Transport: transport}).Do(r)
		if err != nil {
			if ctx.Err() != nil && isWatch(address) {
				return nil, http.StatusOK
			}
			t.Fatalf("%s: %v", address, err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%s: %v", address, err)
		}
		return text, response.StatusCode
	}

	document, status := call(http.MethodGet, reference.Path+"openapi.json", "", nil)
	if status != http.StatusOK || !bytes.Equal(document, reference.Document()) {
		t.Fatalf("the aggregator serves another document: status %d, %d bytes", status, len(document))
	}
	a := newAnswers(t, document)
	for _, path := range slices.Sorted(maps.Keys(a.document.Paths)) {
		if path == rotation {
			continue
		}
		for kind, body := range a.document.Paths[path]["post"].RequestBody.Content {
			if kind == "application/connect+json" {
				envelope := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body.Example)))
				text, _ := call(http.MethodPost, path, kind, append(envelope, body.Example...))
				a.checkStream(t, "POST "+path, path, text)
				continue
			}
			text, _ := call(http.MethodPost, path, kind, body.Example)
			a.check(t, "POST "+path, path, text, false)
			if _, ok := a.document.Paths[path]["get"]; ok {
				text, _ := call(http.MethodGet, path+"?connect=v1&encoding=json&message="+url.QueryEscape(string(body.Example)), "", nil)
				a.check(t, "GET "+path, path, text, false)
			}
		}
	}
	// A field that is not there is an error of the form that is documented.
	refused, status := call(http.MethodPost, "/reeve.v1.FleetService/ListSites", "application/json", []byte(`{"page": 1}`))
	if status != http.StatusBadRequest || !bytes.Contains(refused, []byte(`"code":"invalid_argument"`)) {
		t.Errorf("%d %s", status, refused)
	}

	page, _ := call(http.MethodGet, reference.Path, "", nil)
	a.runCommands(t, c, string(page))
}

// runCommands runs the commands of the page.
func (a *answers) runCommands(t *testing.T, c *centre.Centre, page string) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Log("there is no curl here: its commands are not run")
		return
	}
	dir := t.TempDir()
	ca, err := os.ReadFile(filepath.Join(c.CADir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"ca.crt": string(ca), "token.header": "Authorization: Bearer " + c.AdminToken() + "\n", ".curlrc": "silent\nshow-error\nmax-time = 20\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var commands []string
	for _, m := range regexp.MustCompile(`(?s)<pre class="curl">(.*?)</pre>`).FindAllStringSubmatch(page, -1) {
		commands = append(commands, html.UnescapeString(m[1]))
	}
	if len(commands) != len(a.document.Paths) {
		t.Errorf("the page has %d commands for %d methods", len(commands), len(a.document.Paths))
	}
	isRotation := func(command string) int {
		if strings.Contains(command, rotation) {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(commands, func(a, b string) int { return isRotation(a) - isRotation(b) })
	path := regexp.MustCompile(`\$REEVE(/[A-Za-z0-9./]+)"`)
	for _, command := range commands {
		m := path.FindStringSubmatch(command)
		if m == nil {
			t.Errorf("no method is called by %s", command)
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		if isWatch(m[1]) {
			cancel()
			ctx, cancel = context.WithTimeout(t.Context(), 2*time.Second)
		}
		run := exec.CommandContext(ctx, "sh", "-c", command)
		run.Dir, run.Env, run.WaitDelay = dir, append(os.Environ(), "REEVE="+c.Address, "CURL_HOME="+dir), time.Second
		var errors bytes.Buffer
		run.Stderr = &errors
		body, err := run.Output()
		over := ctx.Err() != nil
		cancel()
		if err != nil && !over {
			t.Errorf("%s: %v: %s", command, err, errors.String())
			continue
		}
		if strings.Contains(command, "connect+json") {
			a.checkStream(t, command, m[1], body)
		} else {
			a.check(t, command, m[1], body, false)
		}
	}
}
