package lastseen

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/reeve-cloud/reeve/agent/spool"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// stores are a store and the spool that feeds it.
func stores(t *testing.T) (*Store, *spool.Spool) {
	t.Helper()
	dir := t.TempDir()
	s, err := Open(filepath.Join(dir, "seen"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	sp, err := spool.Open(spool.Options{Dir: filepath.Join(dir, "spool"), Apply: s.Apply, Applied: s.Applied, BeforeTrim: s.Sync,
		Recall: s.Recall})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(sp.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	if _, err := s.Adopt(sp.ID()); err != nil {
		t.Fatal(err)
	}
	return s, sp
}

func asset(scope, uid, document string, version uint64) *wirev1.AssetVersion {
	return &wirev1.AssetVersion{
		Type: "t", Uid: uid, Scope: scope, Version: version, Operation: wirev1.Operation_OPERATION_UPDATED, Document: []byte(document),
		Hash: make([]byte, 16),
	}
}

func put(t *testing.T, sp *spool.Spool, checkpoint string, versions ...*wirev1.AssetVersion) {
	t.Helper()
	var records []*wirev1.Record
	for _, a := range versions {
		records = append(records, wire.AssetRecord(a))
	}
	var c []spool.Checkpoint
	if checkpoint != "" {
		c = append(c, spool.Checkpoint{Scope: versions[0].GetScope(), Value: checkpoint})
	}
	if err := sp.Append(t.Context(), wirev1.Class_CLASS_ASSETS, records, c...); err != nil {
		t.Fatal(err)
	}
}

// known is what is known of a scope: "uid=document".
func known(t *testing.T, s *Store, scope string) (list []string) {
	t.Helper()
	if err := s.ScopeAssets(scope, func(a *wirev1.AssetVersion) error {
		if a.GetScope() != scope {
			t.Errorf("%s says that it is of %s", a.GetUid(), a.GetScope())
		}
		list = append(list, a.GetUid()+"="+string(a.GetDocument()))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestScopeStates(t *testing.T) {
	s, sp := stores(t)
	state := func(scope string) Scope {
		t.Helper()
		st, err := s.Scope(scope)
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	if st := state("c/new"); st != (Scope{}) {
		t.Errorf("a scope that nobody knows: %+v", st)
	}
	put(t, sp, "", asset("c/partial", "a", "{}", 1))
	if st := state("c/partial"); !st.Completed.IsZero() {
		t.Errorf("a scope without a complete listing: %+v", st)
	}
	// What earlier versions left behind: a checkpoint came with a complete listing.
	put(t, sp, "7", asset("c/old", "a", "{}", 2))
	if st := state("c/old"); st.Completed.IsZero() || st.Epoch != 0 {
		t.Errorf("a scope of an earlier version: %+v", st)
	}
	want := Scope{Epoch: 3, Completed: time.UnixMilli(1_800_000_000_123).UTC()}
	if err := s.SetScope("c/old", want); err != nil {
		t.Fatal(err)
	}
	if st := state("c/old"); st != want {
		t.Errorf("%+v, want %+v", st, want)
	}
	if all, err := s.AllScopes(); err != nil || fmt.Sprint(all) != "[c/old c/partial]" {
		t.Errorf("all are %q, %v", all, err)
	}
	if counts, err := s.Counts(); err != nil || fmt.Sprint(counts) != "map[c/old:1 c/partial:1]" {
		t.Errorf("%v, %v", counts, err)
	}
	if err := s.ForgetScope("c/old"); err != nil {
		t.Fatal(err)
	}
	if st := state("c/old"); st != (Scope{}) || known(t, s, "c/old") != nil {
		t.Errorf("a scope that was forgotten: %+v, %v", st, known(t, s, "c/old"))
	}
	if c, err := s.Checkpoint("c/old"); err != nil || c != "" {
		t.Errorf("its checkpoint is %q, %v", c, err)
	}
}

// TestSeeds: what is seeded takes the place of what was known, of that scope alone, and
// holds only when all of it is there.
func TestSeeds(t *testing.T) {
	s, sp := stores(t)
	put(t, sp, "5", asset("c/s", "a", `{"v":1}`, 1), asset("c/s", "b", `{"v":1}`, 1))
	put(t, sp, "", asset("c/s2", "a", `{"v":1}`, 1))
	if err := s.SetScope("c/s", Scope{Epoch: 1, Completed: time.Now()}); err != nil {
		t.Fatal(err)
	}
	pages := [][]*wirev1.AssetVersion{{asset("c/s", "b", `{"v":2}`, 4)}, {asset("c/s", "c", `{"v":2}`, 5)}}
	broken := errors.New("cut")
	n := 0
	err := s.Seed("c/s", Scope{Epoch: 2}, func() ([]*wirev1.AssetVersion, error) {
		if n++; n > 1 {
			return nil, broken
		}
		return pages[0], nil
	})
	if !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if st, err := s.Scope("c/s"); err != nil || st != (Scope{}) {
		t.Errorf("a seed that was cut off: %+v, %v", st, err)
	}
	n = 0
	if err := s.Seed("c/s", Scope{Epoch: 2}, func() ([]*wirev1.AssetVersion, error) {
		if n++; n > len(pages) {
			return nil, nil
		}
		return pages[n-1], nil
	}); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(known(t, s, "c/s")); got != `[b={"v":2} c={"v":2}]` {
		t.Errorf("known is %s", got)
	}
	if st, err := s.Scope("c/s"); err != nil || st != (Scope{Epoch: 2}) {
		t.Errorf("the state is %+v, %v", st, err)
	}
	if c, err := s.Checkpoint("c/s"); err != nil || c != "" {
		t.Errorf("the checkpoint is %q, %v", c, err)
	}
	if got := fmt.Sprint(known(t, s, "c/s2")); got != `[a={"v":1}]` {
		t.Errorf("of the other scope is known %s", got)
	}
	if err := s.Seed("c/s", Scope{Epoch: 3}, func() ([]*wirev1.AssetVersion, error) {
		return []*wirev1.AssetVersion{asset("c/other", "x", "{}", 1)}, nil
	}); err == nil {
		t.Error("what is of another scope was taken")
	}
}

func TestRename(t *testing.T) {
	s, sp := stores(t)
	put(t, sp, "5", asset("host/network", "eth0", `{"v":1}`, 1))
	put(t, sp, "", asset("host/storage", "sda", `{"v":1}`, 1))
	for range 2 {
		if err := s.Rename("host/network", "host/network@m"); err != nil {
			t.Fatal(err)
		}
	}
	if got := fmt.Sprint(known(t, s, "host/network@m"), known(t, s, "host/network"),
		known(t, s, "host/storage")); got != `[eth0={"v":1}] [] [sda={"v":1}]` {
		t.Errorf("known is %s", got)
	}
	if st, err := s.Scope("host/network@m"); err != nil || st.Completed.IsZero() {
		t.Errorf("%+v, %v", st, err)
	}
	if c, err := s.Checkpoint("host/network@m"); err != nil || c != "5" {
		t.Errorf("the checkpoint is %q, %v", c, err)
	}
	// Where both are known the new one holds.
	put(t, sp, "", asset("host/network", "eth1", `{"v":1}`, 2))
	if err := s.Rename("host/network", "host/network@m"); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(known(t, s, "host/network@m")); got != `[eth0={"v":1}]` {
		t.Errorf("known is %s", got)
	}
}

// TestComeDown: stamps of a clock that was wrong come down, those that are right stay.
func TestComeDown(t *testing.T) {
	s, sp := stores(t)
	now := hlc.FromTime(time.Now())
	future := uint64(now) + uint64(365*24*time.Hour/time.Millisecond)<<16
	right, wrong := asset("c/s", "right", `{"v":1}`, uint64(now)-5), asset("c/s", "wrong", `{"v":1}`, future)
	put(t, sp, "", right, wrong)
	if err := s.ComeDown(now); err != nil {
		t.Fatal(err)
	}
	for uid, want := range map[string]uint64{"right": uint64(now) - 5, "wrong": uint64(now)} {
		last, err := s.Asset("c/s", plugin.Key{Type: "t", UID: uid})
		if err != nil {
			t.Fatal(err)
		}
		a, err := last.Version()
		if err != nil || a.GetVersion() != want || !proto.Equal(a, asset("c/s", uid, `{"v":1}`, want)) {
			t.Errorf("%s is %v, %v", uid, a, err)
		}
	}
	if clock, err := s.Clock(); err != nil || clock != now {
		t.Errorf("the clock is %d, want %d, %v", clock, now, err)
	}
	// What is said from now on counts, and moves the clock again.
	put(t, sp, "", asset("c/s", "wrong", `{"v":2}`, uint64(now)+1))
	if got := fmt.Sprint(known(t, s, "c/s")); got != `[right={"v":1} wrong={"v":2}]` {
		t.Errorf("known is %s", got)
	}
	if clock, err := s.Clock(); err != nil || clock != now+1 {
		t.Errorf("the clock is %d, %v", clock, err)
	}
}
