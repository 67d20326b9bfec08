package watch_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/reeve-cloud/reeve/aggregator/ingest"
	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	"github.com/reeve-cloud/reeve/aggregator/watch"
	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/filter"
	"github.com/reeve-cloud/reeve/pkg/hlc"
)

func TestMain(m *testing.M) { warehousetest.Main(m) }

// kinds is a catalogue that knows kinds, which may change, and all paths but one.
type kinds struct {
	mu sync.Mutex
	of map[string]filter.Kind
}

func (k *kinds) Kind(_, path string) filter.Kind {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.of[path]
}
func (k *kinds) set(path string, kind filter.Kind) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.of[path] = kind
}
func (k *kinds) Known(_, path string) (bool, []string) {
	return path != "spec.wrod", []string{"spec.word"}
}
func (k *kinds) Below(string, string) ([]string, bool) { return nil, false }

// estate is a warehouse that groups come into, with what watches it. A restart makes all
// anew but the warehouse.
type estate struct {
	*testing.T
	warehouse *warehouse.Warehouse
	engine    *query.Engine
	kinds     *kinds
	progress  *ingest.Progress
	tail      *watch.Tail
	stop      func()
	mu        sync.Mutex
	removed   string
	ahead     time.Duration
}

func newEstate(t *testing.T) *estate {
	e := &estate{T: t, warehouse: warehousetest.New(t), kinds: &kinds{of: map[string]filter.Kind{"spec.n": filter.Numeric}}}
	e.engine = query.New(query.Options{Warehouse: e.warehouse, Catalogue: e.kinds})
	e.start(time.Time{})
	t.Cleanup(func() { e.stop() })
	return e
}

// start begins to follow, as an aggregator does whose warehouse has a newest group.
func (e *estate) start(newest time.Time) {
	e.Helper()
	e.progress = ingest.NewProgress(newest)
	e.progress.Settled()
	tail, err := watch.New(e.Context(), watch.Options{Engine: e.engine, Progress: e.progress, Logger: slog.New(slog.DiscardHandler),
		Removed: func(context.Context, string, time.Time) (string, error) {
			e.mu.Lock()
			defer e.mu.Unlock()
			return e.removed, nil
		},
		Now: func() time.Time {
			e.mu.Lock()
			defer e.mu.Unlock()
			return time.Now().Add(e.ahead)
		}})
	if err != nil {
		e.Fatal(err)
	}
	e.tail = tail
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- tail.Run(ctx) }()
	e.stop = func() { cancel(); <-ended }
}

// thing is an asset of the model.
type thing struct{ site, kind, uid string }

func row(th *thing, stamp uint64, operation warehouse.Operation, name string, doc map[string]any, labels map[string]string) warehouse.AssetVersion {
	text, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	if text, err = document.Canonical(text); err != nil {
		panic(err)
	}
	fields, err := document.Fields(text)
	if err != nil {
		panic(err)
	}
	return warehouse.AssetVersion{
		Origin: warehouse.Origin{Site: th.site, AgentID: "agent-" + th.site, SpoolID: "s"}, Type: th.kind, UID: th.uid, Version: stamp, Operation: operation,
		Scope: "fake/all", Name: name, Status: []string{"up", "down", ""}[stamp%3], Labels: labels, Document: text, Fields: fields,
		ObservedAt: hlc.Stamp(stamp).Time().Truncate(time.Millisecond), Changed: []string{"spec.n"},
	}
}

// write commits versions as a group.
func (e *estate) write(list ...warehouse.AssetVersion) { e.finish(e.begin(list...)) }

// begin opens a group, and finish makes it readable.
func (e *estate) begin(list ...warehouse.AssetVersion) *warehouse.Group {
	return &warehouse.Group{ID: uuid.New(), ReceivedAt: e.progress.Begin(time.Now()), Versions: list}
}

func (e *estate) finish(g *warehouse.Group) {
	e.Helper()
	if err := e.warehouse.Write(e.Context(), g); err != nil {
		e.Fatal(err)
	}
	e.progress.Done(g.ReceivedAt.UnixMilli(), len(g.Versions) > 0)
}

// reader holds a set by what a watch tells it.
type reader struct {
	*estate
	request watch.Request
	mu      sync.Mutex
	set     map[string]uint64
	token   string
	wrong   []string
	synced  bool
	count   int
	cancel  context.CancelFunc
	ended   chan error
}

func (e *estate) reader(text string) *reader {
	return &reader{estate: e, request: watch.Request{Filter: text, Initial: true}, set: make(map[string]uint64)}
}

// connect watches until disconnect.
func (r *reader) connect() {
	ctx, cancel := context.WithCancel(r.Context())
	request := r.request
	request.Token = r.token
	r.mu.Lock()
	r.synced = false
	r.mu.Unlock()
	if r.token == "" {
		clear(r.set)
	}
	ended := make(chan error, 1)
	r.cancel, r.ended = cancel, ended
	tail := r.tail
	go func() {
		ended <- tail.Watch(ctx, query.All(), request, func(m *watch.Message) error { return r.take(ctx, m) })
	}()
}

func (r *reader) disconnect() error {
	r.cancel()
	return <-r.ended
}

// take applies a message, and holds it against what the reader has.
func (r *reader) take(ctx context.Context, m *watch.Message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err() // it was cut off, and does not have this one
	}
	for _, c := range m.Transitions {
		v := c.Version
		key := v.Site + " " + v.Type + " " + v.UID
		r.count++
		had, in := r.set[key]
		switch {
		case c.Unsure:
			r.wrong = append(r.wrong, fmt.Sprintf("%s: unsure", key))
		case in != (c.Kind != watch.Entered):
			r.wrong = append(r.wrong, fmt.Sprintf("%s: %d, held: %v", key, c.Kind, in))
		case in && v.Version < had:
			r.wrong = append(r.wrong, fmt.Sprintf("%s: version %d behind %d", key, v.Version, had))
		}
		if c.Kind == watch.Left {
			delete(r.set, key)
		} else {
			r.set[key] = v.Version
		}
	}
	if m.Token != "" {
		r.token = m.Token
	}
	r.synced = r.synced || m.Synced
	return nil
}

// listed is what a list answers.
func (e *estate) listed(text string) map[string]uint64 {
	e.Helper()
	set := make(map[string]uint64)
	q := query.ListQuery{Selection: query.Selection{Filter: text}, Limit: query.MaxPage}
	for {
		page, err := e.engine.List(e.Context(), query.All(), q)
		if err != nil {
			e.Fatalf("%s: %v", text, err)
		}
		for _, row := range page.Rows {
			set[row.Site+" "+row.Type+" "+row.UID] = row.Version
		}
		if page.Next == "" {
			return set
		}
		q.Token = page.Next
	}
}

// agrees waits until the reader holds what is listed. A version that says the same with another stamp
// is told of as well.
func (r *reader) agrees(when string) {
	r.Helper()
	want := r.listed(r.request.Filter)
	deadline := time.Now().Add(time.Minute)
	for {
		r.mu.Lock()
		same, wrong := r.synced && maps.Equal(r.set, want), slices.Clone(r.wrong)
		got := maps.Clone(r.set)
		r.mu.Unlock()
		if len(wrong) > 0 {
			r.Fatalf("%s: %s: %s", when, r.request.Filter, strings.Join(wrong, "; "))
		}
		if same {
			return
		}
		select {
		case err := <-r.ended:
			r.Fatalf("%s: %s: the watch ended: %v", when, r.request.Filter, err)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			r.Fatalf("%s: %s: the reader holds\n%v\nand listed is\n%v", when, r.request.Filter, got, want)
		}
	}
}

// randomFilter is one that can be watched.
func randomFilter(r *rand.Rand) string {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	term := func() string {
		return pick("", "-") + pick("type:server", "type=fake.b.Pod", "site=west", "uid>u2", "name:a", "name=bb*", "status=up", "status:*", "labels.app:*",
			"labels.app=web", "spec.n>4", "spec.n<=2", "spec.word=x", "spec.word~\"^[xy]\"", "spec:*", "list[k=a].v>1", "observed>2026-03-01T12:00:00Z",
			"spec.tags:(x OR z)", "agent=agent-west")
	}
	switch r.IntN(5) {
	case 0:
		return ""
	case 1:
		return term()
	case 2:
		return term() + " " + term()
	case 3:
		return term() + " OR " + term()
	}
	return term() + " -(" + term() + " OR " + term() + ")"
}

// history makes random groups.
type history struct {
	*rand.Rand
	things []*thing
	start  time.Time
	stamps map[*thing]map[uint64]warehouse.AssetVersion
}

func newHistory(seed uint64, things int) *history {
	h := &history{Rand: rand.New(rand.NewPCG(seed, 7)), start: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC),
		stamps: make(map[*thing]map[uint64]warehouse.AssetVersion)}
	for i := range things {
		h.things = append(h.things, &thing{site: []string{"west", "east"}[i%2], kind: []string{"fake.a.Server", "fake.b.Pod"}[h.IntN(2)],
			uid: fmt.Sprintf("u%d", i/2)})
	}
	return h
}

// first makes the first version of each thing, older than all others.
func (h *history) first() (list []warehouse.AssetVersion) {
	for i, th := range h.things {
		v := h.version(th, uint64(hlc.FromTime(h.start.Add(-time.Hour)))+uint64(i), warehouse.Created)
		h.stamps[th] = map[uint64]warehouse.AssetVersion{v.Version: v}
		list = append(list, v)
	}
	return list
}

// group makes versions of some things: new ones, deletions and creations anew, and some that are
// late. With again there are stamps that there were before: with the same content, or with another.
func (h *history) group(again bool) (list []warehouse.AssetVersion) {
	for range 1 + h.IntN(6) {
		th := h.things[h.IntN(len(h.things))]
		known := h.stamps[th]
		stamp := uint64(hlc.FromTime(h.start.Add(time.Duration(h.IntN(24*60)) * time.Minute)))
		if again && h.IntN(5) == 0 {
			stamp = slices.Sorted(maps.Keys(known))[h.IntN(len(known))]
			if h.IntN(2) == 0 {
				list = append(list, known[stamp])
				continue
			}
		} else if _, ok := known[stamp]; ok {
			continue
		}
		v := h.version(th, stamp, warehouse.Operation(1+h.IntN(3)))
		known[stamp] = v
		list = append(list, v)
	}
	return list
}

func (h *history) version(th *thing, stamp uint64, operation warehouse.Operation) warehouse.AssetVersion {
	doc := map[string]any{"spec": map[string]any{"n": h.IntN(8), "word": []string{"x", "y", "zx"}[h.IntN(3)], "tags": []any{"x", "y"}[:h.IntN(3)]},
		"list": []any{map[string]any{"k": "a", "v": h.IntN(3)}, map[string]any{"k": "b", "v": 9}}}
	labels := map[string]string{}
	if h.IntN(2) == 0 {
		labels["app"] = []string{"web", "db"}[h.IntN(2)]
	}
	return row(th, stamp, operation, []string{"aa", "bb1", "cAb"}[h.IntN(3)], doc, labels)
}

// TestReadersHoldWhatIsListed makes random histories, in which groups become readable out of
// order as well, and holds after each what readers have against what is listed. Readers come and
// go, and now and then the aggregator is started anew.
func TestReadersHoldWhatIsListed(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			e, h := newEstate(t), newHistory(seed, 24)
			// Of two versions with one stamp the engine keeps one, as soon as it merges the parts: what the
			// other one was cannot be known then (docs/query.md).
			if err := e.warehouse.Conn().Exec(t.Context(), "ALTER TABLE asset_version MODIFY SETTING max_bytes_to_merge_at_max_space_in_pool = 1"); err != nil {
				t.Fatal(err)
			}
			e.write(h.first()...)
			var readers []*reader
			for range 6 {
				r := e.reader(randomFilter(h.Rand))
				r.connect()
				r.agrees("at the beginning")
				readers = append(readers, r)
			}
			online := make(map[*reader]bool)
			for _, r := range readers {
				online[r] = true
			}
			var open *warehouse.Group
			total := 0
			for round := range 45 {
				when := fmt.Sprintf("round %d", round)
				switch n := h.IntN(10); {
				case n == 0 && open == nil:
					open = e.begin(h.group(false)...) // it is readable later than those behind it
				case n < 4:
					r := readers[h.IntN(len(readers))]
					if online[r] {
						if err := r.disconnect(); !errors.Is(err, context.Canceled) {
							t.Fatal(err)
						}
					} else {
						r.connect()
					}
					online[r] = !online[r]
				case n == 4 && round%3 == 0 && open == nil:
					for _, r := range readers {
						if online[r] {
							_ = r.disconnect() // of which the others were told
						}
					}
					e.stop()
					newest, err := e.warehouse.NewestReceived(t.Context(), time.Now().Add(hlc.MaxSkew))
					if err != nil {
						t.Fatal(err)
					}
					e.start(newest)
					for _, r := range readers {
						if online[r] {
							r.connect()
						}
					}
				}
				e.write(h.group(open == nil)...)
				if open != nil && h.IntN(3) == 0 {
					e.finish(open)
					open = nil
				}
				if open != nil {
					continue // those behind it may be told before it
				}
				for _, r := range readers {
					if online[r] {
						r.agrees(when)
					}
				}
			}
			if open != nil {
				e.finish(open)
			}
			for _, r := range readers {
				if !online[r] {
					r.connect()
				}
				r.agrees("at the end")
				if err := r.disconnect(); !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
				total += r.count
			}
			if total == 0 {
				t.Fatal("nothing was told")
			}
		})
	}
}
