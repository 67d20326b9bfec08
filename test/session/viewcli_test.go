package session_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/test/centre"
	"github.com/reeve-cloud/reeve/tui/cli"
	"github.com/reeve-cloud/reeve/tui/verb"
)

// TestViewsOnTheCommandLine keeps layouts and queries by the client's verbs.
func TestViewsOnTheCommandLine(t *testing.T) {
	c := centre.New(t)
	const kind = "fake.test.Machine"
	var versions []warehouse.AssetVersion
	for _, m := range []struct{ uid, status, doc string }{
		{"a", "ERROR", `{"flavor":{"name":"small"},"n":3}`}, {"b", "ACTIVE", `{"flavor":{"name":"large"},"n":1}`},
		{"c", "ERROR", `{"flavor":{"name":"small"},"n":2}`},
	} {
		v := version("seoul-1", kind, m.uid, warehouse.Created)
		v.Name, v.Status, v.Document = "m-"+m.uid, m.status, []byte(m.doc)
		var err error
		if v.Fields, err = document.Fields(v.Document); err != nil {
			t.Fatal(err)
		}
		versions = append(versions, v)
	}
	insert(t, c, versions...)
	if err := c.Store.Write(t.Context(), &warehouse.Group{Types: []warehouse.AssetType{{
		Origin: warehouse.Origin{Site: "seoul-1", AgentID: "a", SpoolID: "s"}, Name: kind,
		Layout: []byte(`{"columns":[{"title":"N","path":"n","format":"number"}]}`)}}}); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	token, secret := registry.NewAPIToken("ann", "admin")
	if err := c.Registry.AddAPIToken(t.Context(), registry.System, token); err != nil {
		t.Fatal(err)
	}
	file := func(name, text string) string {
		path := filepath.Join(home, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	run := func(args ...string) (out string, code int) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		code = cli.Run(t.Context(), args, verb.System{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Dir: home, Now: time.Now,
			Getenv: func(name string) string { return map[string]string{"HOME": home}[name] }})
		return stdout.String() + stderr.String(), code
	}
	must := func(want string, args ...string) string {
		t.Helper()
		out, code := run(args...)
		if code != 0 || !strings.Contains(out, want) {
			t.Fatalf("reeve %s: exits with %d and says %s\nwant %q in it", strings.Join(args, " "), code, out, want)
		}
		return out
	}
	must("Signed in", "login", c.Address, "--ca-hash", c.CA.Pin().String(), "--token-file", file("token", token.ID+"."+secret))

	must(`"title": "N"`, "layout", "get", "machines")
	must("is shown by this layout now", "layout", "set", "machine", file("l.json", `{"columns":[{"title":"Flavor","path":"flavor.name"}]}`))
	must("FLAVOR", "get", "assets", "--type", "machines")
	bad := file("bad.json", `{"columns":[{"title":"F"}]}`)
	if out, code := run("layout", "set", "machine", bad); code != 1 || !strings.Contains(out, "columns[0].path") {
		t.Errorf("a bad layout: %d %s", code, out)
	}
	// What a section or widget has to ask for is asked for.
	must("is shown by", "layout", "set", "machine", file("q.json", `{"columns":[{"title":"Flavor","path":"flavor.name"}],
		"sections":[{"title":"Siblings","kind":"query","query":{"filter":"flavor.name={flavor.name}"},"sort":{"path":"n","descending":false},
			"columns":[{"title":"Who","path":"@name"},{"title":"N","path":"n"}]},
			{"title":"Nobody","kind":"query","query":{"filter":"name=nobody"},"columns":[{"title":"Who","path":"@name"}]},
			{"title":"Box","kind":"group","sections":[{"title":"Broken","kind":"card","query":{"filter":"status=ERROR"}}]}],
		"widgets":[{"title":"Flavors","kind":"chart","chart":"bar","query":{"by":"flavor.name"}},
			{"title":"Sum","kind":"card","query":{"function":"sum","of":"n"}}]}`))
	got := strings.Join(strings.Fields(must("", "get", "asset", "a")), " ")
	for _, want := range []string{"Siblings: WHO N m-c 2 m-a 3 ", "Nobody: none ", "Box / Broken: 2 "} {
		if !strings.Contains(got, want) {
			t.Errorf("an asset with sections that ask: no %q in %s", want, got)
		}
	}
	if got := strings.Join(strings.Fields(must("", "get", "assets", "--type", "machine", "--widgets")), " "); !strings.Contains(got,
		"Flavors: small: 2 large: 1") || !strings.Contains(got, "Sum: 6") {
		t.Errorf("widgets: %s", got)
	}
	must("its own layout again", "layout", "reset", "machine")
	must("$schema", "layout", "schema")

	out := must("/s/", "query", "save", "Broken", "--type", "machines", "-l", "status=ERROR", "--columns", "@name,n=Number,flavor.name", "--sort",
		"n desc", "--shared")
	id, link, _ := strings.Cut(strings.TrimSpace(out), " ")
	must("Broken", "query", "list")
	must("", "query", "star", "Broken")
	must("Broken", "query", "list", "--starred")
	must("", "query", "star", "Broken", "--remove")
	if out := must("", "query", "list", "--starred"); strings.Contains(out, "Broken") {
		t.Errorf("starred still: %s", out)
	}
	for _, name := range []string{"Broken", id, link} {
		got := strings.Join(strings.Fields(must("", "query", "run", name)), " ")
		if !strings.HasPrefix(got, "NAME NUMBER FLAVOR.NAME m-a 3 small m-c 2 small") {
			t.Errorf("%s: %s", name, got)
		}
	}
	// The default of a type is what its lists begin with, unless something else is asked for.
	must("", "query", "save", "Default", "--type", "machines", "-l", "status=ERROR", "--columns", "n=Number", "--sort", "n desc", "--shared",
		"--default")
	for _, x := range []struct{ args, want, not string }{
		{"", "NUMBER 3 2 reeve: as the saved query \"Default\"", "m-b"},
		{"--no-default", "m-b", "saved query"},
		{"--columns name --sort name", "NAME m-a m-c", "NUMBER"},
		{"--filter status=ACTIVE", "NUMBER 1", "filter '"},
		{"-o name", "b", "saved query"},
		{"--count", "3", "saved query"},
	} {
		got := strings.Join(strings.Fields(must("", append([]string{"get", "assets", "--type", "machines"}, strings.Fields(x.args)...)...)), " ")
		if !strings.Contains(got, x.want) || strings.Contains(got, x.not) {
			t.Errorf("with a default, %q: %s", x.args, got)
		}
	}
	must("", "query", "save", "Zuletzt")
	must("", "query", "star", "Zuletzt")
	if out := must("", "query", "list", "--no-headers"); strings.Count(out, "Zuletzt") != 1 || !strings.Contains(strings.Split(out, "\n")[0], "Zuletzt") ||
		strings.Count(out, "\n") != 3 {
		t.Errorf("the starred one is not the first of three: %s", out)
	}
	must("", "query", "delete", "Default")

	must("", "query", "save", "By flavor", "--group-by", "flavor.name", "--chart", "donut")
	if got := strings.Join(strings.Fields(must("", "query", "run", "By flavor")), " "); !strings.Contains(got, "small 2 large 1") {
		t.Errorf("groups: %s", got)
	}
	if got := must("", "export", "query", "Broken", "-o", "csv"); !strings.HasPrefix(got,
		"name,n,flavor.name\r\nm-a,3,small\r\nm-c,2,small\r\n") {
		t.Errorf("exported: %q", got)
	}
	if got := must("", "export", "query", "By flavor", "-o", "jsonl"); !strings.HasPrefix(got, `{"flavor.name":"small","count":2}`+"\n"+
		`{"flavor.name":"large","count":1}`+"\n") {
		t.Errorf("groups exported: %q", got)
	}
	if out, code := run("query", "save", "Broken"); code != 1 || !strings.Contains(out, "you have a saved query of this name") {
		t.Errorf("the same name: %d %s", code, out)
	}
	must("", "query", "delete", "Broken")
	if out, code := run("query", "run", link); code != 1 || !strings.Contains(out, "no saved query") {
		t.Errorf("deleted: %d %s", code, out)
	}
	if out, code := run("query", "run", "Broken"); code != 2 || !strings.Contains(out, "reeve query list shows them") {
		t.Errorf("deleted: %d %s", code, out)
	}
}
