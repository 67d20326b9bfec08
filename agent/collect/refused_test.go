package collect

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
	"github.com/reeve-cloud/reeve/plugins/fake"
)

// unseen are documents as custom resources and devices may have them: what is not fit
// to be recorded is true.
func unseen() map[string]struct {
	document json.RawMessage
	refused  bool
} {
	type unseen = struct {
		document json.RawMessage
		refused  bool
	}
	keys := func(n int, name string) json.RawMessage {
		object := make(map[string]int, n)
		for i := range n {
			object[fmt.Sprintf(name, i)] = i
		}
		text, _ := json.Marshal(map[string]any{"spec": object})
		return text
	}
	nested := func(n int) json.RawMessage {
		return json.RawMessage(strings.Repeat(`{"in":`, n) + "1" + strings.Repeat("}", n))
	}
	texts, _ := json.Marshal(map[string]any{"lines": slices.Repeat([]string{strings.Repeat("many words ", 100)}, 1300)})
	return map[string]unseen{
		"nested-128": {nested(128), false}, "nested-129": {nested(129), true}, "nested-140": {nested(140), true},
		"nested-5000": {nested(5000), true},
		"lists-140":   {json.RawMessage(`{"in":` + strings.Repeat("[", 139) + strings.Repeat("]", 139) + `}`), true},
		"1.4-MB":      {texts, false}, "5-MB": {json.RawMessage(`{"blob":"` + strings.Repeat("many words ", 500_000) + `"}`), true},
		"40000-keys": {keys(40_000, "k%d"), false}, "40000-long-keys": {keys(40_000, strings.Repeat("long", 60)+"%d"), true},
		"no-object": {json.RawMessage(`[{}]`), true}, "empty": {json.RawMessage(`{}`), false},
		"keys-of-blanks": {json.RawMessage(`{" ":{"":{".":1}},"a.b":[{"*":null}]}`), false},
		"large-numbers":  {json.RawMessage(`{"n":18446744073709551616,"f":1e400,"d":-0.0}`), false},
	}
}

// TestUnseenTypes: whatever a source has arrives or is told: it is never missing in
// silence, and holds up no other.
func TestUnseenTypes(t *testing.T) {
	a := newAgent(t)
	l := fake.Listing{}
	refused := 0
	for uid, u := range unseen() {
		l.Assets = append(l.Assets, thing(uid, string(u.document)))
		if u.refused {
			refused++
		}
	}
	a.list("s", l)
	a.start()
	a.wait("all is listed", func() bool { return a.observed("unchanged") >= 2*(len(l.Assets)-refused) })
	arrived := make(map[string]bool)
	for _, v := range a.versions() {
		arrived[v.GetUid()] = true
	}
	for uid, u := range unseen() {
		if arrived[uid] == u.refused {
			t.Errorf("%s: arrived %v, refused %v", uid, arrived[uid], u.refused)
		}
	}
	events := 0
	for _, r := range a.records(wirev1.Class_CLASS_EVENTS) {
		if r.GetEvent().GetType() == "cloud.reeve.agent.scope.untaken" {
			events++
		}
	}
	if events != 1 {
		t.Errorf("it was told %d times", events)
	}
}

// TestUntaken: how much of a scope cannot be taken is claimed with it, until it can be
// taken or is gone, also behind a restart; and what nobody knows what it is keeps what
// is missing.
func TestUntaken(t *testing.T) {
	a := newAgent(t)
	a.sources = []Source{}
	a.start()
	const deep = 140
	holdings := func() *Holdings {
		h, err := NewHoldings(a.seen, []string{"f"}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	h, clock := holdings(), hlc.New(0)
	open := func() *sink {
		s := &sink{
			Recorder: &Recorder{Seen: a.seen, Spool: a.spool, Clock: clock, Logger: slog.New(slog.DiscardHandler), Holdings: h},
			id:       scopeID{"f", "s"}, logger: slog.New(slog.DiscardHandler), volatile: func(string) document.Paths { return nil },
		}
		run := &scopeRun{collectorRun: &collectorRun{recorder: s.Recorder}, sink: s}
		if err := run.claim(); err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	sweep := func(unread int, documents map[string]string) {
		t.Helper()
		w, err := s.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for uid, doc := range documents {
			if err := w.Upsert(t.Context(), plugin.Observation{Key: plugin.Key{Type: fake.TypeThing, UID: uid}, Document: []byte(doc)}); err != nil {
				t.Fatal(err)
			}
		}
		for range unread {
			if err := w.Unread(t.Context(), plugin.Key{}, "no name, password=hunter2"); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Commit(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
	}
	claimed := func(what string, n int, reason string) {
		t.Helper()
		c := h.Claims()[0]
		if int(c.GetUntaken()) != n || !strings.Contains(c.GetUntakenReason(), reason) || (c.GetUntakenAt() == 0) != (n == 0) ||
			strings.Contains(c.GetUntakenReason(), "hunter2") {
			t.Errorf("%s: %d for %q", what, c.GetUntaken(), c.GetUntakenReason())
		}
	}
	nested := strings.Repeat(`{"in":`, deep) + "1" + strings.Repeat("}", deep)
	sweep(0, map[string]string{"a": `{}`, "b": `{}`})
	claimed("all is taken", 0, "")
	sweep(0, map[string]string{"a": nested, "b": `{}`, "c": nested})
	claimed("two are too deep", 2, "nested deeper")
	sweep(3, map[string]string{"a": `{}`})
	claimed("nobody knows what three are", 3, "no name")
	a.expect("a created", "b created")
	h = holdings()
	s = open()
	claimed("behind a restart", 3, "no name")
	if err := s.Apply(t.Context(), "", plugin.Fact{Unread: &plugin.Unread{Why: "odd"}}); err != nil {
		t.Fatal(err)
	}
	sweep(0, map[string]string{"a": `{}`, "c": nested})
	claimed("a listing says better", 1, "nested deeper")
	if err := s.Apply(t.Context(), "", plugin.Fact{Delete: &plugin.Key{Type: fake.TypeThing, UID: "c"}}); err != nil {
		t.Fatal(err)
	}
	claimed("it is gone", 0, "")
	h = holdings()
	open()
	claimed("and behind a restart", 0, "")
}
