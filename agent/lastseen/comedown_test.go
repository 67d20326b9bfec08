package lastseen

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/agent/spool"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// TestTypesComeDown: types that were announced by a clock that was far ahead do not pull
// the clock up again when they are sent once more, nor are they newer for ever than what
// the aggregator has of them.
func TestTypesComeDown(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(filepath.Join(dir, "seen"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	sp, err := spool.Open(spool.Options{Dir: filepath.Join(dir, "spool"), Apply: s.Apply, Applied: s.Applied, BeforeTrim: s.Sync, Recall: s.Recall})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := sp.Close(); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := s.Adopt(sp.ID()); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	to, ahead := hlc.FromTime(now), hlc.FromTime(now.AddDate(10, 0, 0))
	announce := func(types ...*wirev1.AssetType) {
		t.Helper()
		var records []*wirev1.Record
		for _, a := range types {
			records = append(records, wire.TypeRecord(a))
		}
		if err := sp.Append(t.Context(), wirev1.Class_CLASS_ASSETS, records); err != nil {
			t.Fatal(err)
		}
	}
	before := uint64(hlc.FromTime(now.AddDate(0, 0, -1)))
	announce(&wirev1.AssetType{Name: "a.b.Late", Version: uint64(ahead)}, &wirev1.AssetType{Name: "a.b.Right", Version: before})
	if err := s.ComeDown(to); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]uint64{"a.b.Late": uint64(to), "a.b.Right": before} {
		a, err := s.AssetType(name)
		if err != nil || a.GetVersion() != want {
			t.Errorf("the version of %s is %v, %v", name, hlc.Stamp(a.GetVersion()).Time(), err)
		}
		announce(a) // again
	}
	if stamp, err := s.Clock(); err != nil || stamp != to {
		t.Errorf("the clock is at %v, %v", stamp.Time(), err)
	}
}
