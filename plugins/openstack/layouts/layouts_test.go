package layouts

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/reeve-cloud/reeve/agent/redact"
	"github.com/reeve-cloud/reeve/pkg/layout"
	"github.com/reeve-cloud/reeve/plugins/openstack/kinds"
)

// link is where the address of an element's page in Horizon is.
const link = "derived.horizon"

func TestEveryTypeHasALayout(t *testing.T) {
	want := []string{generic}
	for _, k := range kinds.All() {
		want = append(want, strings.TrimPrefix(k.Type, prefix))
	}
	for _, name := range want {
		if _, ok := known()[name]; !ok {
			t.Errorf("%s has none", name)
		}
	}
	for name := range known() {
		if !slices.Contains(want, name) {
			t.Errorf("%s.json is of a type that there is not", name)
		}
	}
	if string(For(prefix+"compute.Server")) != string(known()["compute.Server"]) ||
		string(For(prefix+"compute.Dragon")) != string(known()[generic]) {
		t.Error("layouts are not found by the type")
	}
	if _, err := layout.Parse(known()[generic]); err != nil {
		t.Error(err)
	}
}

// TestPathsLeadSomewhere reads every column, section and search path in elements
// of its type, as they leave the site. Those named sample, and those of services
// that the laboratory cloud does not have, are written by hand; their members are
// those of the services' references.
func TestPathsLeadSomewhere(t *testing.T) {
	for _, k := range kinds.All() {
		t.Run(k.Type, func(t *testing.T) {
			l, err := layout.Parse(For(k.Type))
			if err != nil {
				t.Fatal(err)
			}
			if len(l.Columns) < 2 || l.Icon == "" || len(l.Sections) == 0 {
				t.Error("it shows too little")
			}
			documents := documentsOf(t, k)
			check := func(place string, subjects []layout.Subject, path string) {
				t.Helper()
				for _, s := range subjects {
					for _, v := range s.Values(path) {
						if v != "" && v != redact.Mask {
							return
						}
					}
				}
				t.Errorf("%s: no document has %s", place, path)
			}
			columns := func(place string, subjects []layout.Subject, columns []layout.Column) {
				t.Helper()
				seen := []string{}
				for _, c := range columns {
					if slices.Contains(seen, c.Title) {
						t.Errorf("%s: two are called %s", place, c.Title)
					}
					seen = append(seen, c.Title)
					check(place+" "+c.Title, subjects, c.Path)
					if c.Of != "" {
						check(place+" "+c.Title, subjects, c.Of)
					}
					if (c.Format == layout.Link) != (c.Path == link) {
						t.Errorf("%s %s is a link or it is not", place, c.Title)
					}
					if c.Format != layout.Bytes && c.Format != layout.Ratio && slices.Contains([]string{"derived.size", "derived.memory", "derived.disk"},
						c.Path) {
						t.Errorf("%s %s is not in bytes", place, c.Title)
					}
				}
			}
			columns("column", documents, l.Columns)
			shown := 0
			for _, c := range l.Columns {
				if slices.Contains(strings.Fields("Site Project Name State Since UID Region"), c.Title) { // what every list has
					t.Errorf("two columns are called %s", c.Title)
				}
				if !c.Wide {
					shown++
				}
			}
			if shown > 9 {
				t.Errorf("%d columns where there is little room", shown)
			}
			for _, path := range l.Search {
				check("search", documents, path)
			}
			linked := false
			for _, s := range l.Sections {
				within := documents
				if s.Path != "" {
					check(s.Title, documents, s.Path)
					within = nil
					for _, d := range documents {
						within = append(within, d.Elements(s.Path)...)
					}
				}
				columns(s.Title, within, s.Columns)
				linked = linked || slices.ContainsFunc(s.Columns, func(c layout.Column) bool { return c.Format == layout.Link })
			}
			if linked != (k.Panel != "" || k.MyPanel != "") {
				t.Errorf("it has a page in Horizon and no link, or the other way round")
			}
		})
	}
}

// documentsOf returns the elements in testdata as they are recorded: as who
// administers the cloud has them, and as who has one project.
func documentsOf(t *testing.T, k *kinds.Kind) []layout.Subject {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", strings.TrimPrefix(k.Type, prefix)+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var elements []jsontext.Value
	if err := json.Unmarshal(text, &elements); err != nil {
		t.Fatal(err)
	}
	var documents []layout.Subject
	for _, raw := range elements {
		for _, project := range []string{"", "p1"} {
			in := kinds.Context{Cloud: "cloud", Region: "RegionOne", Dashboard: "https://horizon.example.com/", Project: project}
			in.Joins.Interfaces = func(string) []kinds.Interface {
				return []kinds.Interface{{Port: "port", Network: "net", Subnets: []string{"subnet"}, Addresses: []string{"10.0.0.1"}}}
			}
			in.Joins.Members = func(string) []string { return []string{"u1"} }
			reading, err := k.Read(raw, in)
			if err != nil {
				t.Fatal(err)
			}
			document, err := k.Document(raw, reading.Derived)
			if err != nil {
				t.Fatal(err)
			}
			if document, err = new(redact.Rules).Document(document); err != nil {
				t.Fatal(err)
			}
			s := layout.Subject{Basics: map[string]any{"name": reading.Name, "uid": reading.UID}}
			for name, value := range map[string]string{"project": reading.Project, "status": reading.Status} {
				if value != "" {
					s.Basics[name] = value
				}
			}
			if !reading.Created.IsZero() {
				s.Basics["created"] = reading.Created
			}
			if !reading.Updated.IsZero() {
				s.Basics["updated"] = reading.Updated
			}
			if err := json.Unmarshal(document, &s.Document); err != nil {
				t.Fatal(err)
			}
			for _, v := range s.Values(link) {
				if address, ok := v.(string); !ok || !layout.IsLink(address) {
					t.Errorf("%v is no link", v)
				}
			}
			documents = append(documents, s)
		}
	}
	return documents
}

func TestStatusWords(t *testing.T) {
	for typeName, words := range map[string]map[layout.Tone]string{
		"compute.Server": {
			layout.Good:    "ACTIVE",
			layout.Warning: "BUILD REBUILD RESIZE VERIFY_RESIZE REVERT_RESIZE MIGRATING REBOOT HARD_REBOOT PASSWORD RESCUE PAUSED SUSPENDED",
			layout.Bad:     "ERROR UNKNOWN",
			layout.Done:    "SHUTOFF SHELVED SHELVED_OFFLOADED SOFT_DELETED DELETED",
		},
		"compute.Hypervisor": {layout.Good: "up", layout.Warning: "up,disabled", layout.Bad: "down down,disabled"},
		"compute.Migration":  {layout.Warning: "running post-migrating", layout.Bad: "error failed", layout.Done: "completed confirmed"},
		"network.Network":    {layout.Good: "ACTIVE", layout.Warning: "BUILD", layout.Bad: "DOWN ERROR"},
		"network.Port": {layout.Good: "ACTIVE", layout.Warning: "BUILD", layout.Bad: "ERROR binding_failed",
			layout.Neutral: "DOWN N/A unbound ovs"},
		"network.FloatingIP": {layout.Good: "ACTIVE", layout.Bad: "ERROR", layout.Neutral: "DOWN"},
		"storage.Volume": {layout.Good: "available in-use", layout.Warning: "creating restoring-backup",
			layout.Bad: "error error_deleting error_backing-up"},
		"storage.Attachment": {layout.Good: "attached", layout.Warning: "attaching", layout.Bad: "error_attaching",
			layout.Done: "detached"},
		"image.Image": {layout.Good: "active", layout.Warning: "queued saving importing deactivated", layout.Bad: "killed",
			layout.Done: "deleted pending_delete"},
		"loadbalancer.LoadBalancer": {layout.Good: "ACTIVE ONLINE", layout.Warning: "PENDING_UPDATE PENDING_DELETE",
			layout.Bad: "ERROR OFFLINE DEGRADED", layout.Neutral: "NO_MONITOR"},
		"orchestration.Stack": {layout.Good: "CREATE_COMPLETE CHECK_COMPLETE", layout.Warning: "UPDATE_IN_PROGRESS ROLLBACK_COMPLETE",
			layout.Bad: "DELETE_FAILED", layout.Done: "DELETE_COMPLETE"},
		"containerinfra.Cluster": {layout.Good: "UPDATE_COMPLETE HEALTHY", layout.Bad: "CREATE_FAILED UNHEALTHY", layout.Neutral: "UNKNOWN"},
		"identity.User":          {layout.Good: "enabled", layout.Done: "disabled"},
	} {
		l, err := layout.Parse(For(prefix + typeName))
		if err != nil {
			t.Fatal(err)
		}
		for tone, list := range words {
			for word := range strings.FieldsSeq(list) {
				if got := l.Status.Tone(word); got != tone {
					t.Errorf("%s: %s is %d, want %d", typeName, word, got, tone)
				}
			}
		}
	}
	l, err := layout.Parse(For(prefix + "baremetal.Node"))
	if err != nil {
		t.Fatal(err)
	}
	for word, want := range map[string]layout.Tone{"active": layout.Good, "deploy failed": layout.Bad, "wait call-back": layout.Warning,
		"active,maintenance": layout.Warning} {
		if got := l.Status.Tone(word); got != want {
			t.Errorf("a node: %s is %d, want %d", word, got, want)
		}
	}
}
