package collect

import (
	"encoding/base64"
	"math/rand/v2"
	"testing"

	"github.com/reeve-cloud/reeve/agent/spool"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// TestAllEdgesChange has an asset with nearly as many edges as it may have get others,
// of which nothing compresses: what ends and what begins must be recorded.
func TestAllEdgesChange(t *testing.T) {
	s, closeStores := newSink(t)
	random := rand.NewChaCha8([32]byte{7})
	want := make(map[string]bool)
	edges := func() (list []plugin.Relation) {
		clear(want)
		for range 5500 {
			uid := make([]byte, 750)
			random.Read(uid)
			text := base64.StdEncoding.EncodeToString(uid)
			list, want[text] = append(list, plugin.Relation{Kind: "on", To: plugin.Key{Type: "t", UID: text}}), true
		}
		return list
	}
	for range 3 {
		if err := s.Apply(t.Context(), "", plugin.Fact{Upsert: &plugin.Observation{Key: plugin.Key{Type: "t", UID: "a"}, Document: []byte(`{}`),
			Relations: edges()}}); err != nil {
			t.Fatal(err)
		}
	}
	sp := s.Spool.(*spool.Spool)
	r := sp.Reader(wirev1.Class_CLASS_ASSETS, 1)
	got := make(map[string]bool)
	for last := uint64(0); last+1 < sp.Next(wirev1.Class_CLASS_ASSETS); {
		f, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		last = f.Last
		records, err := f.Records()
		if err != nil {
			t.Fatal(err)
		}
		for _, record := range records {
			for _, e := range record.GetAsset().GetRemovedRelations() {
				delete(got, e.GetUid())
			}
			for _, e := range record.GetAsset().GetRelations() {
				got[e.GetUid()] = true
			}
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d edges are left, want %d", len(got), len(want))
	}
	for uid := range want {
		if !got[uid] {
			t.Fatal("an edge is missing")
		}
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := closeStores(); err != nil {
		t.Error(err)
	}
}
