package collect

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/reeve-cloud/reeve/agent/lastseen"
	"github.com/reeve-cloud/reeve/agent/redact"
	"github.com/reeve-cloud/reeve/agent/spool"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
	"github.com/reeve-cloud/reeve/plugins/fake"
)

// agent is the collecting half of an agent, over real stores.
type agent struct {
	t     *testing.T
	state string // its stores
	world string // what the fake collector observes
	// sources, if set, are run instead of it.
	sources []Source
	// redact is nil for the built-in rules.
	redact *redact.Rules

	seen    *lastseen.Store
	spool   *spool.Spool
	metrics *prometheus.Registry
	cancel  context.CancelFunc
	done    sync.WaitGroup
}

func newAgent(t *testing.T) *agent {
	a := &agent{t: t, state: t.TempDir(), world: t.TempDir()}
	t.Cleanup(a.stop)
	return a
}

func (a *agent) start() {
	a.t.Helper()
	logger := slog.New(slog.DiscardHandler)
	var err error
	if a.seen, err = lastseen.Open(filepath.Join(a.state, "seen"), logger); err != nil {
		a.t.Fatal(err)
	}
	if a.spool, err = spool.Open(spool.Options{
		Dir: filepath.Join(a.state, "spool"), Apply: a.seen.Apply, Applied: a.seen.Applied, BeforeTrim: a.seen.Sync, Recall: a.seen.Recall,
	}); err != nil {
		a.t.Fatal(err)
	}
	if _, err := a.seen.Adopt(a.spool.ID()); err != nil {
		a.t.Fatal(err)
	}
	stamp, err := a.seen.Clock()
	if err != nil {
		a.t.Fatal(err)
	}
	options, err := json.Marshal(map[string]string{"directory": a.world})
	if err != nil {
		a.t.Fatal(err)
	}
	collector, err := fake.Plugin{}.New(plugin.Config{Name: "f", Options: options, Logger: logger})
	if err != nil {
		a.t.Fatal(err)
	}
	a.metrics = prometheus.NewRegistry()
	sources := a.sources
	if sources == nil {
		sources = []Source{{Name: "f", Description: fake.Plugin{}.Describe(), Collector: collector}}
	}
	runner := &Runner{
		Recorder:   &Recorder{Seen: a.seen, Spool: a.spool, Clock: hlc.New(stamp), Logger: logger, Metrics: NewMetrics(a.metrics), Redact: a.redact},
		Sources:    sources,
		RetryAfter: 10 * time.Millisecond,
	}
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	a.done.Go(func() { runner.Run(ctx) })
}

func (a *agent) stop() {
	if a.cancel == nil {
		return
	}
	a.cancel()
	a.cancel = nil
	a.done.Wait()
	if err := a.spool.Close(); err != nil {
		a.t.Error(err)
	}
	if err := a.seen.Close(); err != nil {
		a.t.Error(err)
	}
}

func (a *agent) write(name string, data []byte) {
	a.t.Helper()
	file := filepath.Join(a.world, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		a.t.Fatal(err)
	}
	// In one step: the collector reads at any moment.
	if err := os.WriteFile(file+".new", data, 0o600); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		a.t.Fatal(err)
	}
}

func (a *agent) list(scope string, l fake.Listing) {
	a.t.Helper()
	l.SweepEvery = "30ms"
	data, err := json.Marshal(l)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(scope+"/listing.json", data)
}

func (a *agent) journal(scope string, entries ...fake.Entry) {
	a.t.Helper()
	dir := filepath.Join(a.world, scope)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		a.t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "journal.ndjson"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		a.t.Fatal(err)
	}
	defer f.Close()
	for _, e := range entries {
		if err := json.NewEncoder(f).Encode(e); err != nil {
			a.t.Fatal(err)
		}
	}
}

func thing(uid, doc string) fake.Asset {
	return fake.Asset{UID: uid, Document: json.RawMessage(doc)}
}

// records returns all records of a class in the spool.
func (a *agent) records(class wirev1.Class) []*wirev1.Record {
	a.t.Helper()
	var all []*wirev1.Record
	r := a.spool.Reader(class, 1)
	defer r.Close()
	for next := uint64(1); next < a.spool.Next(class); {
		f, err := r.Next(a.t.Context())
		if err != nil {
			a.t.Fatal(err)
		}
		rs, err := f.Records()
		if err != nil {
			a.t.Fatal(err)
		}
		all = append(all, rs...)
		next = f.Last + 1
	}
	return all
}

// versions returns the versions of assets in the spool.
func (a *agent) versions() []*wirev1.AssetVersion {
	var all []*wirev1.AssetVersion
	for _, r := range a.records(wirev1.Class_CLASS_ASSETS) {
		if v := r.GetAsset(); v != nil {
			all = append(all, v)
		}
	}
	return all
}

// observed returns how often the metrics say that something was observed with
// an outcome.
func (a *agent) observed(outcome string) int {
	a.t.Helper()
	families, err := a.metrics.Gather()
	if err != nil {
		a.t.Fatal(err)
	}
	n := 0.0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == "reeve_agent_observations_total" && l.GetName() == "outcome" && l.GetValue() == outcome {
					n += m.GetCounter().GetValue()
				}
			}
		}
	}
	return int(n)
}

// history returns the versions in the spool as "uid operation changed".
func (a *agent) history() []string {
	var lines []string
	last := make(map[string]uint64)
	for _, v := range a.versions() {
		if v.GetVersion() <= last[v.GetUid()] {
			a.t.Errorf("version %d of %s is not later than %d", v.GetVersion(), v.GetUid(), last[v.GetUid()])
		}
		last[v.GetUid()] = v.GetVersion()
		op := strings.ToLower(strings.TrimPrefix(v.GetOperation().String(), "OPERATION_"))
		lines = append(lines, strings.TrimSpace(fmt.Sprint(v.GetUid(), " ", op, " ", strings.Join(v.GetChanged(), ","))))
	}
	return lines
}

func (a *agent) wait(what string, ok func() bool) {
	a.t.Helper()
	for range 2000 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	a.t.Fatalf("%s: did not happen; history: %q", what, a.history())
}

func (a *agent) expect(want ...string) {
	a.t.Helper()
	a.wait(fmt.Sprintf("%q", want), func() bool { return slices.Equal(a.history(), want) })
}

// settle lets several more sweeps pass.
func (a *agent) settle() { time.Sleep(200 * time.Millisecond) }

func TestChangesOnly(t *testing.T) {
	a := newAgent(t)
	x := thing("x", `{"a":1,"labels":{"k":"v"},"volatile":{"free":1}}`)
	x.Relations = []plugin.Relation{{Kind: "part_of", To: plugin.Key{Type: fake.TypeThing, UID: "y"}}}
	a.list("s", fake.Listing{Assets: []fake.Asset{x, thing("y", `{}`)}})
	a.start()
	a.expect("x created", "y created")

	x.Document = json.RawMessage(`{"volatile":{"free":2},"a":1,"labels":{"k":"v"}}`)
	a.list("s", fake.Listing{Assets: []fake.Asset{thing("y", `{}`), x}})
	a.settle()
	a.expect("x created", "y created")

	x.Document = json.RawMessage(`{"a":1,"labels":{},"volatile":{"free":3}}`)
	x.Relations = nil
	a.list("s", fake.Listing{Assets: []fake.Asset{x, thing("y", `{}`)}})
	a.expect("x created", "y created", "x updated labels,labels.k")
	last := a.versions()[2]
	if len(last.GetRemovedRelations()) != 1 || last.GetRemovedRelations()[0].GetUid() != "y" {
		t.Errorf("removed relations: %v", last.GetRemovedRelations())
	}

	x.Status = "up"
	a.list("s", fake.Listing{Assets: []fake.Asset{x}})
	a.expect("x created", "y created", "x updated labels,labels.k", "x updated @status", "y deleted")

	// A restarted agent says nothing again.
	a.stop()
	a.start()
	a.settle()
	a.expect("x created", "y created", "x updated labels,labels.k", "x updated @status", "y deleted")

	a.list("s", fake.Listing{Assets: []fake.Asset{x, thing("y", `{"back":true}`)}})
	a.expect("x created", "y created", "x updated labels,labels.k", "x updated @status", "y deleted", "y created")
}

func TestFailedSweepsDeleteNothing(t *testing.T) {
	three := []fake.Asset{thing("a", `{}`), thing("b", `{}`), thing("c", `{}`)}
	for name, broken := range map[string]fake.Listing{
		"error half-way": {Assets: three, FailAfter: 1, Error: "connection reset"},
		"error at once":  {Assets: three, FailAfter: 0, Error: "forbidden"},
		"no commit":      {Assets: three[:1], NoCommit: true},
		"panic":          {Assets: three[:1], Panic: true},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAgent(t)
			a.list("s", fake.Listing{Assets: three})
			a.list("other", fake.Listing{Assets: []fake.Asset{thing("o", `{}`)}})
			a.start()
			a.wait("first sweep", func() bool { return len(a.history()) == 4 })
			before := a.history()

			a.list("s", broken)
			failing := func() int {
				n := 0
				for _, r := range a.records(wirev1.Class_CLASS_EVENTS) {
					if strings.HasSuffix(r.GetEvent().GetType(), ".failing") {
						n++
					}
				}
				return n
			}
			a.wait("the failure is an event", func() bool { return failing() > 0 })
			a.settle()
			if got := a.history(); !slices.Equal(got, before) {
				t.Fatalf("history %q, before the failure %q", got, before)
			}
			if n := failing(); n != 1 {
				t.Errorf("%d events for one row of failures", n)
			}
			// The other scope went on meanwhile.
			a.list("other", fake.Listing{})
			a.wait("other scope", func() bool { return slices.Contains(a.history(), "o deleted") })
			// The next complete listing does delete.
			a.list("s", fake.Listing{Assets: three[1:]})
			a.wait("recovery", func() bool { return slices.Contains(a.history(), "a deleted") })
			if slices.Contains(a.history(), "b deleted") {
				t.Error("b was deleted")
			}
		})
	}
}

// TestSourceErrors: what a source of several scopes does not give is said once.
func TestSourceErrors(t *testing.T) {
	a := newAgent(t)
	list := func(l fake.Listing) {
		for _, scope := range []string{"r", "s", "t"} {
			l.Assets = []fake.Asset{thing(scope+"1", `{}`), thing(scope+"2", `{}`)}
			a.list(scope, l)
		}
	}
	events := func() (all []string) {
		for _, r := range a.records(wirev1.Class_CLASS_EVENTS) {
			all = append(all, strings.TrimPrefix(r.GetEvent().GetType(), "cloud.reeve.agent."))
		}
		return all
	}
	list(fake.Listing{})
	a.start()
	a.wait("first sweeps", func() bool { return len(a.history()) == 6 })
	before := a.history()
	list(fake.Listing{Error: "connection refused", Source: "the cloud"})
	a.wait("the failure is an event", func() bool { return len(events()) > 0 })
	a.settle()
	if got := events(); !slices.Equal(got, []string{"source.failing"}) {
		t.Errorf("the events are %q", got)
	}
	// One of them fails for a reason of its own meanwhile.
	a.list("s", fake.Listing{Error: "forbidden"})
	a.wait("its own failure is an event", func() bool { return len(events()) > 1 })
	list(fake.Listing{})
	a.wait("the recovery is an event", func() bool { return len(events()) > 3 })
	a.settle()
	got := events()
	slices.Sort(got)
	if want := []string{"scope.failing", "scope.recovered", "source.failing", "source.recovered"}; !slices.Equal(got, want) {
		t.Errorf("the events are %q, want %q", got, want)
	}
	if got := a.history(); !slices.Equal(got, before) {
		t.Errorf("the history is %q, and was %q", got, before)
	}
}

func TestKeep(t *testing.T) {
	a := newAgent(t)
	a.list("s", fake.Listing{Assets: []fake.Asset{thing("a", `{}`), thing("b", `{}`), thing("c", `{}`)}})
	a.start()
	a.expect("a created", "b created", "c created")
	a.list("s", fake.Listing{Assets: []fake.Asset{thing("a", `{}`)}, Keep: []string{"b", "never-recorded"}})
	a.expect("a created", "b created", "c created", "c deleted")
	a.settle()
	a.expect("a created", "b created", "c created", "c deleted")
}

func TestAnotherAssetOfTheSameKey(t *testing.T) {
	a := newAgent(t)
	first := fake.Asset{UID: "a", Document: json.RawMessage(`{"n":1}`), CreatedAt: time.Unix(1000, 0)}
	second := fake.Asset{UID: "a", Document: json.RawMessage(`{"n":2}`), CreatedAt: time.Unix(2000, 0)}
	a.list("s", fake.Listing{Assets: []fake.Asset{first}})
	a.start()
	a.expect("a created")
	a.list("s", fake.Listing{Assets: []fake.Asset{second}})
	a.expect("a created", "a deleted", "a created")
	if last := a.versions()[1]; string(last.GetDocument()) != `{"n":1}` {
		t.Errorf("the deletion carries %s, which is not the state that was deleted", last.GetDocument())
	}
	// A source that stops saying when is no reason to delete.
	second.CreatedAt, second.Document = time.Time{}, json.RawMessage(`{"n":3}`)
	a.list("s", fake.Listing{Assets: []fake.Asset{second}})
	a.expect("a created", "a deleted", "a created", "a updated n")
	a.settle()
	a.expect("a created", "a deleted", "a created", "a updated n")
}

func TestRecall(t *testing.T) {
	a := newAgent(t)
	asset := fake.Asset{
		UID: "a", Name: "A", Status: "up", Labels: map[string]string{"team": "x"}, CreatedAt: time.Unix(1000, 0).UTC(),
		Document: json.RawMessage(`{"n":1,"password":"abcdefgh"}`),
	}
	a.list("s", fake.Listing{Assets: []fake.Asset{asset, thing("b", `{}`)}})
	a.list("other", fake.Listing{Assets: []fake.Asset{thing("c", `{}`)}})
	a.start()
	a.wait("first sweep", func() bool { return len(a.history()) == 3 })
	s := sink{Recorder: &Recorder{Seen: a.seen}, id: scopeID{"f", "s"}}
	var recalled []plugin.Observation
	if err := s.Recall(t.Context(), func(o plugin.Observation) error {
		recalled = append(recalled, o)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(recalled) != 2 || recalled[1].UID != "b" {
		t.Fatalf("recalled %v", recalled)
	}
	o := recalled[0]
	if o.Type != fake.TypeThing || o.UID != "a" || o.Name != "A" || o.Status != "up" || o.Labels["team"] != "x" ||
		!o.CreatedAt.Equal(asset.CreatedAt) ||
		string(o.Document) != `{"n":1,"password":"[redacted]"}` {
		t.Errorf("recalled %+v", o)
	}
}

func TestGoneScopes(t *testing.T) {
	a := newAgent(t)
	a.list("s", fake.Listing{Assets: []fake.Asset{thing("a", `{}`)}})
	a.list("r", fake.Listing{Assets: []fake.Asset{thing("b", `{}`)}})
	a.start()
	a.wait("first sweep", func() bool { return len(a.history()) == 2 })
	a.write("s/gone", nil)
	a.wait("scope gone", func() bool { return slices.Contains(a.history(), "a deleted") })
	// A scope that goes while the agent is away.
	a.stop()
	a.write("r/gone", nil)
	a.start()
	a.wait("scope gone", func() bool { return slices.Contains(a.history(), "b deleted") })
	// It comes back.
	if err := os.Remove(filepath.Join(a.world, "r/gone")); err != nil {
		t.Fatal(err)
	}
	a.wait("scope back", func() bool {
		history := a.history()
		return history[len(history)-1] == "b created"
	})
}

func TestWatchResumesExactly(t *testing.T) {
	a := newAgent(t)
	var want []string
	entries := 0
	add := func(n int) {
		for range n {
			entries++
			uid := fmt.Sprint("u", entries%7)
			a.journal("w", fake.Entry{Upsert: &fake.Asset{UID: uid, Document: json.RawMessage(fmt.Sprintf(`{"n":%d}`, entries))}})
			if entries <= 7 {
				want = append(want, uid+" created")
			} else {
				want = append(want, uid+" updated n")
			}
		}
	}
	for range 5 {
		add(40)
		a.start()
		time.Sleep(15 * time.Millisecond)
		add(10)
		a.stop() // at some moment in the middle
	}
	a.start()
	a.expect(want...)
	a.journal("w", fake.Entry{Delete: "u1"}, fake.Entry{Delete: "never seen"},
		fake.Entry{Event: &plugin.Event{ID: "e1", Type: "t", Severity: plugin.Info, Message: "token=abcdefgh"}})
	a.expect(append(want, "u1 deleted")...)
	a.wait("event", func() bool { return len(a.records(wirev1.Class_CLASS_EVENTS)) == 1 })
	if e := a.records(wirev1.Class_CLASS_EVENTS)[0].GetEvent(); e.GetId() != "e1" || strings.Contains(e.GetMessage(), "abcdefgh") {
		t.Errorf("event %v", e)
	}
}

func TestUsage(t *testing.T) {
	a := newAgent(t)
	start := time.Now().Add(-time.Hour).Truncate(time.Millisecond).UTC()
	used := func(change func(*plugin.Usage)) fake.Entry {
		u := plugin.Usage{
			Subject: plugin.Key{Type: fake.TypeThing, UID: "a"}, Meter: "cpu.used", Unit: "core.second",
			Start: start, End: start.Add(time.Minute), Quantity: 1.5,
		}
		change(&u)
		return fake.Entry{Usage: &u}
	}
	unfit := []fake.Entry{
		used(func(u *plugin.Usage) { u.Subject.UID = "" }),
		used(func(u *plugin.Usage) { u.Subject.Type = strings.Repeat("t", wire.MaxName+1) }),
		used(func(u *plugin.Usage) { u.Meter = "" }),
		used(func(u *plugin.Usage) { u.Unit = "core\nsecond" }),
		used(func(u *plugin.Usage) { u.Start = time.Time{} }),
		used(func(u *plugin.Usage) { u.End = u.Start.Add(time.Microsecond) }),
		used(func(u *plugin.Usage) { u.Start, u.End = u.End, u.Start }),
		used(func(u *plugin.Usage) { u.Quantity = -1 }),
		used(func(u *plugin.Usage) { u.Start, u.End = u.Start.AddDate(-5, 0, 0), u.End.AddDate(-5, 0, 0) }),
	}
	a.journal("w", used(func(*plugin.Usage) {}))
	a.journal("w", unfit...)
	a.journal("w", used(func(u *plugin.Usage) { u.End, u.Quantity = u.End.Add(time.Minute), 3 }))
	a.start()
	a.wait("the usage is in the spool", func() bool { return len(a.records(wirev1.Class_CLASS_EVENTS)) == 2 })
	records := a.records(wirev1.Class_CLASS_EVENTS)
	first, second := records[0].GetUsage(), records[1].GetUsage()
	if first.GetAssetType() != fake.TypeThing || first.GetAssetUid() != "a" || first.GetScope() != "f/w" || first.GetMeter() != "cpu.used" ||
		first.GetUnit() != "core.second" || first.GetStart() != start.UnixMilli() || first.GetEnd() != start.UnixMilli()+60_000 ||
		first.GetQuantity() != 1.5 {
		t.Errorf("recorded %v", first)
	}
	if second.GetQuantity() != 3 || second.GetVersion() <= first.GetVersion() {
		t.Errorf("recorded %v behind %v", second, first)
	}
	if n := a.observed("refused"); n != len(unfit) {
		t.Errorf("%d were refused, want %d", n, len(unfit))
	}
	// The clock that gave them their versions does not fall back over a restart.
	if stamp, err := a.seen.Clock(); err != nil || uint64(stamp) < second.GetVersion() {
		t.Errorf("the clock stands at %d (%v), the last version is %d", stamp, err, second.GetVersion())
	}
}

func TestUnfitObservationsHoldUpNothing(t *testing.T) {
	a := newAgent(t)
	a.list("s", fake.Listing{Assets: []fake.Asset{thing("a", `{}`), thing("b", `{}`)}})
	a.start()
	a.expect("a created", "b created")
	a.list("s", fake.Listing{Assets: []fake.Asset{thing("a", `[]`), thing("", `{}`), thing("c", `{"x":1}`)}})
	a.expect("a created", "b created", "c created", "b deleted")
}

func TestSecretsStayOut(t *testing.T) {
	const canary = "c4n4ry-v4lue"
	a := newAgent(t)
	x := thing("x", `{"password":"`+canary+`","env":["API_TOKEN=`+canary+`"],"plain":"p"}`)
	x.Labels = map[string]string{"secret": canary}
	x.Name, x.Status = "password="+canary, "token="+canary
	a.list("s", fake.Listing{Assets: []fake.Asset{x}})
	a.start()
	a.wait("created", func() bool { return len(a.history()) == 1 })
	a.stop()
	files := 0
	if err := filepath.WalkDir(a.state, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), canary) {
			t.Errorf("the secret lies in %s", path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if files < 4 {
		t.Fatalf("only %d files were looked at", files)
	}
	a.start()
	if v := a.versions()[0]; strings.Contains(v.String(), canary) || !strings.Contains(string(v.GetDocument()), `"plain":"p"`) {
		t.Errorf("%s", v)
	}
}

func TestResendAfterALostSpool(t *testing.T) {
	a := newAgent(t)
	a.list("s", fake.Listing{Assets: []fake.Asset{thing("a", `{"n":1}`), thing("b", `{}`)}})
	a.start()
	a.expect("a created", "b created")
	versions := func() map[string]uint64 {
		m := make(map[string]uint64)
		for _, v := range a.versions() {
			m[v.GetUid()] = v.GetVersion()
		}
		return m
	}
	before := versions()
	a.stop()
	if err := os.RemoveAll(filepath.Join(a.state, "spool")); err != nil {
		t.Fatal(err)
	}
	seen, err := lastseen.Open(filepath.Join(a.state, "seen"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	sp, err := spool.Open(spool.Options{Dir: filepath.Join(a.state, "spool"), Apply: seen.Apply, Applied: seen.Applied})
	if err != nil {
		t.Fatal(err)
	}
	adopt := func(want bool) {
		t.Helper()
		if resend, err := seen.Adopt(sp.ID()); err != nil || resend != want {
			t.Fatalf("resend %v, %v", resend, err)
		}
	}
	adopt(true)
	adopt(true) // the agent died before it had sent all again
	r := &Recorder{Seen: seen, Spool: sp, Clock: hlc.New(0), Logger: slog.New(slog.DiscardHandler)}
	if n, err := r.Resend(t.Context()); err != nil || n != 2 {
		t.Fatalf("%d, %v", n, err)
	}
	a.spool = sp
	if got := a.types(); !slices.Equal(got, []string{fake.TypeThing + " Thing"}) {
		t.Fatalf("types %q", got)
	}
	adopt(false)
	if err := sp.Close(); err != nil {
		t.Fatal(err)
	}
	if err := seen.Close(); err != nil {
		t.Fatal(err)
	}
	a.start()
	a.settle()
	after := versions()
	if len(after) != 2 || after["a"] != before["a"] || after["b"] != before["b"] {
		t.Fatalf("versions %v, before %v", after, before)
	}
}
