package collect

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/reeve-cloud/reeve/agent/redact"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
	"github.com/reeve-cloud/reeve/plugins/fake"
)

// secretUIDs are uids with a secret in them, Zq, each of another form.
var secretUIDs = []string{
	"https://u:Zq1@files/share", "https://u:Zq2@files/share", "mount:password=Zq", "keypair/ghp_ZqZqZqZqZqZqZqZqZqZqZqZqZqZqZqZqZqZq",
	"m1:/mnt/x?sig=Zq", `{"token":"Zq"}`,
}

// TestSecretsInUIDs plants secrets in uids, and follows them from a collector to the
// spool, last seen and digests: none is there, and all that names an asset still
// does, also after a restart.
func TestSecretsInUIDs(t *testing.T) {
	a := newAgent(t)
	rules := func(file string) *redact.Rules {
		r, err := redact.New(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		key, err := redact.OpenKey(filepath.Join(a.world, file))
		if err != nil {
			t.Fatal(err)
		}
		r.SetKey(key)
		return r
	}
	a.redact = rules("uid-key")

	listing := fake.Listing{Assets: []fake.Asset{thing("plain", `{}`)}}
	for n, uid := range secretUIDs {
		x := thing(uid, fmt.Sprintf(`{"n":%d}`, n))
		x.Labels = map[string]string{"a": "b", "password:Zq": "x", "db_password:Zq" + fmt.Sprint(n): ""}
		// Each leads to the next, and all to the one that is plain.
		x.Relations = []plugin.Relation{
			{Kind: "part_of", To: plugin.Key{Type: fake.TypeThing, UID: secretUIDs[(n+1)%len(secretUIDs)]}},
			{Kind: "part_of", To: plugin.Key{Type: fake.TypeThing, UID: "plain"}},
		}
		listing.Assets = append(listing.Assets, x)
	}
	a.list("s", listing)
	now := time.Now()
	var entries []fake.Entry
	for n, uid := range secretUIDs {
		key := plugin.Key{Type: fake.TypeThing, UID: uid}
		entries = append(entries,
			fake.Entry{Event: &plugin.Event{ID: "happened to " + uid, Type: "t", Subject: key, Time: now, Severity: plugin.Info, Message: "m"}},
			fake.Entry{Usage: &plugin.Usage{Subject: key, Meter: "cpu", Unit: "s", Start: now.Add(-time.Hour), End: now, Quantity: float64(n)}})
	}
	a.journal("w", entries...)
	a.start()
	a.wait("the first listing", func() bool { return len(a.versions()) == 1+len(secretUIDs) })
	a.wait("events and usage", func() bool { return len(a.records(wirev1.Class_CLASS_EVENTS)) == 2*len(secretUIDs) })

	byN := make(map[string]string) // what stands for each uid, by the document
	for _, v := range a.versions() {
		byN[string(v.GetDocument())] = v.GetUid()
	}
	uids := make([]string, len(secretUIDs))
	form := regexp.MustCompile(`^redacted-[0-9a-f]{32}$`)
	for n := range secretUIDs {
		uids[n] = byN[fmt.Sprintf(`{"n":%d}`, n)]
		if !form.MatchString(uids[n]) {
			t.Errorf("%s is recorded as %q", secretUIDs[n], uids[n])
		}
	}
	if different := slices.Compact(slices.Sorted(maps.Values(byN))); len(different) != 1+len(secretUIDs) {
		t.Errorf("uids are not told apart: %q", different)
	}
	// Edges, events and usage name the same.
	for _, v := range a.versions() {
		n := slices.Index(uids, v.GetUid())
		if n < 0 {
			continue
		}
		var to []string
		for _, r := range v.GetRelations() {
			to = append(to, r.GetUid())
		}
		want := []string{"plain", uids[(n+1)%len(uids)]}
		if slices.Sort(to); !slices.Equal(to, want) {
			t.Errorf("edges of %s lead to %q and not to %q", secretUIDs[n], to, want)
		}
	}
	events, usage := make(map[string]string), make(map[string]bool)
	for _, r := range a.records(wirev1.Class_CLASS_EVENTS) {
		if e := r.GetEvent(); e != nil {
			events[e.GetAssetUid()] = e.GetId()
		} else {
			usage[r.GetUsage().GetAssetUid()] = true
		}
	}
	ids := make(map[string]bool)
	for _, uid := range uids {
		if events[uid] == "" || !usage[uid] {
			t.Errorf("no event or usage names %s: %v, %v", uid, events, usage)
		}
		ids[events[uid]] = true
	}
	if len(ids) != len(uids) {
		t.Errorf("ids of events are not told apart: %v", ids)
	}
	noSecret := func() {
		t.Helper()
		for _, class := range []wirev1.Class{wirev1.Class_CLASS_ASSETS, wirev1.Class_CLASS_EVENTS} {
			for _, r := range a.records(class) {
				if text := protojson.Format(r) + string(r.GetAsset().GetDocument()); strings.Contains(text, "Zq") {
					t.Errorf("the spool has %s", text)
				}
			}
		}
		if err := a.seen.Assets(func(v *wirev1.AssetVersion) error {
			if text := protojson.Format(v) + string(v.GetDocument()); strings.Contains(text, "Zq") {
				t.Errorf("last seen has %s", text)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		r := &Recorder{Seen: a.seen}
		digests, _, err := r.Digest(t.Context())
		if err != nil || len(digests) == 0 {
			t.Fatalf("digests: %v, %v", digests, err)
		}
		l, err := r.Listing(t.Context(), "f/s", fake.TypeThing, "", 1<<20)
		if err != nil || len(l.GetAssets()) == 0 || strings.Contains(protojson.Format(l), "Zq") {
			t.Errorf("the listing for the aggregator: %v, %v", l, err)
		}
	}
	noSecret()

	// The same assets after a restart, with the key that was kept.
	was := a.history()
	a.stop()
	a.redact = rules("uid-key")
	a.start()
	a.wait("a sweep after the restart", func() bool { return a.observed("unchanged") > 2*len(secretUIDs) })
	a.expect(was...)

	// One is kept, and one changed; the others go.
	changed := listing.Assets[1]
	changed.Document = []byte(`{"n":0,"more":1}`)
	a.list("s", fake.Listing{Assets: []fake.Asset{listing.Assets[0], changed}, Keep: []string{secretUIDs[1]}})
	want := append(was, uids[0]+" updated more")
	gone := slices.Sorted(slices.Values(uids[2:]))
	for _, uid := range gone {
		want = append(want, uid+" deleted")
	}
	a.wait("deletions", func() bool { return len(a.history()) == len(want) })
	got := a.history()
	slices.Sort(got[len(was):])
	slices.Sort(want[len(was):])
	if !slices.Equal(got, want) {
		t.Errorf("history\n %q\n want\n %q", got, want)
	}
	noSecret()

	// Another key stands for other uids.
	if other := rules("another").UID(secretUIDs[0]); other == uids[0] || !form.MatchString(other) {
		t.Errorf("another key gives %s, and the first %s", other, uids[0])
	}
}

// TestRecalledUIDs shows that a collector that compares what was recorded with what
// it lists finds its own uids.
func TestRecalledUIDs(t *testing.T) {
	s, closeStores := newSink(t)
	defer func() {
		if err := closeStores(); err != nil {
			t.Error(err)
		}
	}()
	ctx := t.Context()
	k := plugin.Key{Type: "t.T", UID: "https://u:Zq@files"}
	recall := func() (uids []string) {
		t.Helper()
		if err := s.Recall(context.WithoutCancel(ctx), func(o plugin.Observation) error {
			uids = append(uids, strings.Clone(o.UID))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return uids
	}
	if err := s.Apply(ctx, "", plugin.Fact{Upsert: &plugin.Observation{Key: k, Document: []byte(`{}`)}}); err != nil {
		t.Fatal(err)
	}
	if got := recall(); !slices.Equal(got, []string{k.UID}) {
		t.Errorf("recalled %q", got)
	}
	// After a restart it is not known, until the collector says it again.
	s.raw.Clear()
	recorded := recall()
	if len(recorded) != 1 || strings.Contains(recorded[0], "Zq") {
		t.Fatalf("recalled %q", recorded)
	}
	sweep, err := s.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// What was recorded names the same asset.
	if err := sweep.Keep(ctx, plugin.Key{Type: k.Type, UID: recorded[0]}); err != nil {
		t.Fatal(err)
	}
	if err := sweep.Commit(ctx, ""); err != nil {
		t.Fatal(err)
	}
	if got := recall(); !slices.Equal(got, recorded) {
		t.Errorf("recalled %q", got)
	}
	if err := s.Apply(ctx, "", plugin.Fact{Delete: &k}); err != nil {
		t.Fatal(err)
	}
	if got := recall(); len(got) != 0 {
		t.Errorf("recalled %q", got)
	}
}

// TestRefusedUIDs shows that a uid that cannot be recorded is in no log.
func TestRefusedUIDs(t *testing.T) {
	s, closeStores := newSink(t)
	defer func() {
		if err := closeStores(); err != nil {
			t.Error(err)
		}
	}()
	var logged bytes.Buffer
	s.logger = slog.New(slog.NewTextHandler(&logged, nil))
	for _, uid := range []string{"password=Zq\xff", "password=Zq \ufffd", strings.Repeat("password=Zq ", 1<<10)} {
		if _, _, err := s.compare(s.replaceUIDs([]plugin.Fact{
			{Upsert: &plugin.Observation{Key: plugin.Key{Type: "t.T", UID: uid}, Document: []byte(`{}`)}},
			{Upsert: &plugin.Observation{Key: plugin.Key{Type: "t.T", UID: "u"}, Document: []byte(`{}`),
				Relations: []plugin.Relation{{Kind: "k", To: plugin.Key{Type: "t.T", UID: uid}}}}},
			{Usage: &plugin.Usage{Subject: plugin.Key{Type: "t.T", UID: uid}, Meter: "password=Zq"}},
		})); err != nil {
			t.Fatal(err)
		}
	}
	if text := logged.String(); strings.Contains(text, "Zq") || !strings.Contains(text, "refusing") {
		t.Errorf("the log has %s", text)
	}
}
