package collect

import (
	"encoding/json"
	"log/slog"
	"testing"

	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/fake"
)

// TestApplyDuringSweep: what is applied while a sweep is open is newer than what the sweep
// has listed before, and older than what it lists later.
func TestApplyDuringSweep(t *testing.T) {
	a := newAgent(t)
	a.start()
	defer a.stop()
	r := &Recorder{Seen: a.seen, Spool: a.spool, Clock: hlc.New(0), Logger: slog.New(slog.DiscardHandler)}
	s := &sink{Recorder: r, id: scopeID{"x", "y"}, logger: slog.New(slog.DiscardHandler), volatile: func(string) document.Paths { return nil }}
	observe := func(uid, v string) plugin.Observation {
		return plugin.Observation{Key: plugin.Key{Type: fake.TypeThing, UID: uid}, Document: json.RawMessage(`{"v":"` + v + `"}`)}
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	w, err := s.Begin(t.Context())
	check(err)
	check(w.Upsert(t.Context(), observe("a", "listed"), observe("b", "listed"), observe("c", "listed"), observe("d", "listed")))
	newer, gone, again := observe("a", "newer"), plugin.Key{Type: fake.TypeThing, UID: "b"}, observe("d", "applied")
	check(s.Apply(t.Context(), "", plugin.Fact{Upsert: &newer}, plugin.Fact{Delete: &gone}, plugin.Fact{Upsert: &again}))
	check(w.Upsert(t.Context(), observe("d", "listed later")))
	check(w.Commit(t.Context(), ""))
	for uid, want := range map[string]string{"a": `{"v":"newer"}`, "b": "", "c": `{"v":"listed"}`, "d": `{"v":"listed later"}`} {
		last, err := a.seen.Asset("x/y", plugin.Key{Type: fake.TypeThing, UID: uid})
		check(err)
		got := ""
		if last != nil {
			v, err := last.Version()
			check(err)
			got = string(v.GetDocument())
		}
		if got != want {
			t.Errorf("%s is %q, want %q", uid, got, want)
		}
	}
}

// selective is a collector whose configuration leaves scopes out.
type selective struct {
	plugin.Collector
	out map[string]bool
}

func (s selective) Selects(scope string) bool { return !s.out[scope] }

func TestLeftOut(t *testing.T) {
	sources := []Source{
		{Name: "k", Collector: selective{out: map[string]bool{"core/configmaps": true}}},
		{Name: "plain", Collector: struct{ plugin.Collector }{}},
	}
	counts := map[string]int{"k/core/configmaps": 10, "k/core/pods": 85, "plain/s": 5, "removed/s": 50}
	left := LeftOut(sources, counts)
	if len(left) != 2 || left[0] != (Left{Scope: "k/core/configmaps", Assets: 10}) ||
		left[1] != (Left{Scope: "removed/s", Assets: 50, Unconfigured: true}) {
		t.Errorf("left out are %+v", left)
	}
	if MustWait(left, counts) {
		t.Error("10 of 150 wait")
	}
	counts["k/core/configmaps"] = 16
	if !MustWait(LeftOut(sources, counts), counts) {
		t.Error("16 of 156 do not wait")
	}
	var l leaving
	if !l.admit(6, 100) || !l.admit(4, 100) || l.admit(1, 100) {
		t.Error("small parts do not add up")
	}
}
