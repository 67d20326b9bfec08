//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/fake"
)

// typeRecords is how many records come before those of the assets: the one that
// tells what the type of the fake collector's things is called.
const typeRecords = 1

// scope is a directory that the fake collector observes as one scope.
type scope struct {
	t   *testing.T
	dir string
}

// newScope makes a scope; the collector's directory is above it.
func newScope(t *testing.T, parent, name string) *scope {
	t.Helper()
	dir := filepath.Join(parent, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return &scope{t: t, dir: dir}
}

// list replaces what a sweep finds, in one step.
func (s *scope) list(l fake.Listing) {
	s.t.Helper()
	data, err := json.Marshal(l)
	if err != nil {
		s.t.Fatal(err)
	}
	file := filepath.Join(s.dir, "listing.json")
	writeFile(s.t, file+".new", string(data))
	if err := os.Rename(file+".new", file); err != nil {
		s.t.Fatal(err)
	}
}

// tell appends to what a watch finds.
func (s *scope) tell(entries ...fake.Entry) {
	s.t.Helper()
	f, err := os.OpenFile(filepath.Join(s.dir, "journal.ndjson"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	enc := json.NewEncoder(f)
	for _, e := range entries {
		if err := enc.Encode(e); err != nil {
			s.t.Fatal(err)
		}
	}
}

// thing is an asset with a document.
func thing(uid string, document any) fake.Asset {
	data, err := json.Marshal(document)
	if err != nil {
		panic(err)
	}
	return fake.Asset{UID: uid, Name: "thing " + uid, Document: data}
}

func upsert(a fake.Asset) fake.Entry { return fake.Entry{Upsert: &a} }

func fakeEvent(c *canaries) *plugin.Event {
	return &plugin.Event{
		ID: "event-1", Type: "cloud.reeve.test.login.failed", Time: time.Now(), Severity: plugin.Warning,
		Subject: plugin.Key{Type: fake.TypeThing, UID: "leaky"},
		Message: "login failed with password=" + c.plant("message of an event"),
		Data:    json.RawMessage(`{"credentials":{"user":"root","password":"` + c.plant("data of an event") + `"}}`),
	}
}
