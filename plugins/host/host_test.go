package host

import (
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/host/systemd"
	"github.com/reeve-cloud/reeve/plugins/host/tree"
)

func newPlugin(t *testing.T, opts string) (plugin.Collector, error) {
	t.Helper()
	return Plugin.New(plugin.Config{Name: "host", Options: json.RawMessage(opts), Logger: slog.New(slog.DiscardHandler)})
}

func TestOptions(t *testing.T) {
	for _, good := range []string{"", "{}", `{"id":"web-1"}`, `{"root":"/host"}`, `{"filesystems":{"exclude":["/mnt/*"]}}`} {
		if _, err := newPlugin(t, good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for bad, names := range map[string]string{
		`[]`:                                 "options",
		`{"ID":"x"}`:                         "unknown option ID",
		`{"id":""}`:                          "option id",
		`{"id":"a/b"}`:                       "option id",
		`{"id":5}`:                           "option id",
		`{"id":null}`:                        "option id",
		`{"root":"host"}`:                    "option root",
		`{"filesystems":[]}`:                 "option filesystems",
		`{"filesystems":{"exlude":[]}}`:      "unknown option filesystems.exlude",
		`{"filesystems":{"exclude":"/mnt"}}`: "option filesystems.exclude",
		`{"filesystems":{"exclude":["/a","mnt"]}}`: "option filesystems.exclude[1]",
		`{"filesystems":{"exclude":["/[a"]}}`:      "option filesystems.exclude[0]",
	} {
		if _, err := newPlugin(t, bad); err == nil || !strings.Contains(err.Error(), names) {
			t.Errorf("%s: error %v does not name %q", bad, err, names)
		}
	}
	_, err := Plugin.New(plugin.Config{Credentials: json.RawMessage(`{"token":"x"}`), Logger: slog.Default()})
	if err == nil {
		t.Error("credentials were taken")
	}
}

func TestExcluded(t *testing.T) {
	opts := options{Exclude: []string{"/mnt/backup-*", "/srv"}}
	for point, want := range map[string]bool{
		"/": false, "/mnt": false, "/mnt/backup-1": true, "/mnt/backup-1/deep/er": true, "/mnt/other": false, "/srv/x": true, "/srvx": false,
	} {
		if got := opts.excluded(point); got != want {
			t.Errorf("excluded(%s) = %v", point, got)
		}
	}
}

// writeTree lays out files below a directory that stands for a machine's root.
func writeTree(t *testing.T, files map[string]string) tree.Tree {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			if err := os.Symlink(target, file); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return tree.New(root)
}

func TestIdentity(t *testing.T) {
	const uuid = "4C4C4544-0042-3510-8052-B4C04F4D3132"
	for name, test := range map[string]struct {
		files map[string]string
		id    string
		want  string
	}{
		"machine-id": {files: map[string]string{"etc/machine-id": "0123456789ABCDEF0123456789abcdef\n"}, want: testID},
		"dbus":       {files: map[string]string{"var/lib/dbus/machine-id": testID, "etc/machine-id": ""}, want: testID},
		"first boot": {files: map[string]string{"etc/machine-id": "uninitialized\n", "sys/class/dmi/id/product_uuid": uuid},
			want: strings.ToLower(uuid)},
		"dmi":           {files: map[string]string{"sys/class/dmi/id/product_uuid": uuid}, want: strings.ToLower(uuid)},
		"dmi of no one": {files: map[string]string{"sys/class/dmi/id/product_uuid": "00000000-0000-0000-0000-000000000000"}},
		"none":          {},
		"option":        {files: map[string]string{"etc/machine-id": testID}, id: "Web-1", want: "web-1"},
	} {
		c := newCollector(slog.New(slog.DiscardHandler), options{Root: writeTree(t, test.files).Root(), ID: test.id}, -1)
		got, _, err := c.identify()
		if got != test.want || (err != nil) != (test.want == "") {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
		if test.want != "" {
			continue
		}
		for _, scope := range []string{scopeSystem, scopeStorage, scopeNetwork, scopeServices} {
			s := newSink()
			if err := c.Sweep(t.Context(), plugin.Scope{Name: scope}, s); !errors.Is(err, errNoIdentity) || s.sweeps > 0 {
				t.Errorf("%s: sweep of %s without identity: %v", name, scope, err)
			}
		}
	}
}

// TestVerify runs on this machine, whatever it has.
func TestVerify(t *testing.T) {
	checks, err := testCollector(t, options{}).Verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range checks {
		t.Logf("%s: %s (%v)", c.Subject, c.Detail, c.Err)
		if c.Err != nil && c.Subject != "systemd" {
			t.Errorf("%s: %v", c.Subject, c.Err)
		}
	}
}

func TestScopes(t *testing.T) {
	c := testCollector(t, options{})
	var scopes []plugin.Scope
	if err := c.Scopes(t.Context(), func(s []plugin.Scope) { scopes = s }); err != nil {
		t.Fatal(err)
	}
	booted, _ := systemd.Booted(c.tree)
	if want := 3 + map[bool]int{true: 1}[booted]; len(scopes) != want {
		t.Errorf("%d scopes, want %d: %v", len(scopes), want, scopes)
	}
}

// TestStable sweeps twice and compares all that is not declared volatile.
func TestStable(t *testing.T) {
	c := testCollector(t, options{})
	volatile := map[string][]string{}
	for _, typ := range Plugin.Describe().Types {
		volatile[typ.Name] = typ.Volatile
	}
	for _, scope := range []string{scopeSystem, scopeStorage, scopeNetwork} {
		first := sweepScope(t, c, scope).all()
		// Have the counters move.
		file := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(file, make([]byte, 8<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1200 * time.Millisecond)
		second := sweepScope(t, c, scope).all()
		if len(first) == 0 {
			t.Errorf("%s: nothing observed", scope)
		}
		for key, a := range first {
			b, ok := second[key]
			if !ok {
				t.Errorf("%s vanished", key)
				continue
			}
			if x, y := stable(t, a, volatile[key.Type]), stable(t, b, volatile[key.Type]); x != y {
				t.Errorf("%s changed by itself:\n%s\n%s", key, x, y)
			}
			if a.Status != b.Status || a.Name != b.Name || !reflect.DeepEqual(a.Relations, b.Relations) {
				t.Errorf("%s changed by itself: %+v, then %+v", key, a, b)
			}
		}
	}
}

// stable is a document without its volatile paths.
func stable(t *testing.T, o plugin.Observation, volatile []string) string {
	doc := document[map[string]any](t, o)
	for _, path := range volatile {
		remove(doc, strings.Split(path, "."))
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func remove(doc map[string]any, path []string) {
	if len(path) == 1 {
		delete(doc, path[0])
	} else if below, ok := doc[path[0]].(map[string]any); ok {
		remove(below, path[1:])
	}
}

// TestExamples shows what documents look like; run it with -v.
func TestExamples(t *testing.T) {
	c := testCollector(t, options{})
	shown := map[string]bool{}
	for _, scope := range []string{scopeSystem, scopeStorage, scopeNetwork} {
		for key, o := range sweepScope(t, c, scope).all() {
			if shown[key.Type] || (key.Type == typeInterface && o.Name == "lo") {
				continue
			}
			shown[key.Type] = true
			t.Logf("%s %s %q %q %v\n%s", key.Type, key.UID, o.Name, o.Status, o.Relations, o.Document)
		}
	}
}
