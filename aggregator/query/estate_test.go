package query_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/filter"
	"github.com/reeve-cloud/reeve/pkg/hlc"
)

// The plain model of an estate: it shares no code with what is tested. Of every asset it
// has all versions, in the order in which they arrived.
type estate struct {
	warehouse *warehouse.Warehouse
	things    []*thing
	// start is before all versions, and end behind them.
	start, end time.Time
	// search has the paths that words are looked for at, by type.
	search map[string][]string
}

type thing struct {
	site, kind, uid string
	versions        []*state
}

// state is a version of a thing.
type state struct {
	of                                          *thing
	stamp                                       uint64
	deleted                                     bool
	name, region, project, status, scope, agent string
	created, updated, observed                  time.Time
	labels                                      map[string]string
	doc                                         map[string]any
	edges                                       []edge
	// texts is the document, flattened.
	texts map[string][]string
}

type edge struct{ kind, toType, toUID string }

// at returns the newest version that is not later: of two with one stamp the one that
// arrived later. A thing that is not there yet has none.
func (t *thing) at(stamp uint64) *state {
	var newest *state
	for _, v := range t.versions {
		if v.stamp <= stamp && (newest == nil || v.stamp >= newest.stamp) {
			newest = v
		}
	}
	return newest
}

// alive are the newest versions of what is not deleted.
func (e *estate) alive(stamp uint64) []*state {
	var list []*state
	for _, t := range e.things {
		if v := t.at(stamp); v != nil && !v.deleted {
			list = append(list, v)
		}
	}
	return list
}

func (v *state) key() string { return v.of.site + " " + v.of.kind + " " + v.of.uid }

// flatten gathers the texts of a decoded document by path.
func flatten(v any, path string, texts map[string][]string) {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			below := k
			if path != "" {
				below = path + "." + k
			}
			flatten(v[k], below, texts)
		}
	case []any:
		for _, e := range v {
			flatten(e, path, texts)
		}
	case string:
		if v != "" {
			texts[path] = append(texts[path], v)
		}
	case bool:
		texts[path] = append(texts[path], fmt.Sprint(v))
	case int:
		texts[path] = append(texts[path], fmt.Sprint(v))
	case float64:
		texts[path] = append(texts[path], fmt.Sprint(v))
	}
}

// What documents are made of. quantities have what each is as a number.
var (
	words      = []string{"alpha", "Beta", "gamma-1", "a b", `q"uo\te`, "ü", "100%", "x_y", "(", "alphabet", "ALPHA", "node-1.x"}
	quantities = map[string]float64{"4Gi": 4 << 30, "512Mi": 512 << 20, "100m": 0.1, "2": 2, "2.5": 2.5, "1e3": 1000, "0": 0, "-7": -7,
		"3 GB": 3e9}
	moments_ = map[string]time.Time{
		"2026-03-01T10:00:00Z":      time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC),
		"2026-03-01T12:00:00+02:00": time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC),
		"2026-03-02":                time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC),
		"2026-03-01T10:00:00.5Z":    time.Date(2026, 3, 1, 10, 0, 0, 5e8, time.UTC),
	}
	durations = map[string]float64{"90s": 90, "1h30m": 5400, "2d": 172800, "250us": 0.00025}
	sites     = []string{"west", "east"}
	kinds     = []string{"fake.a.Server", "fake.a.Volume", "other.b.Pod"}
	edgeKinds = []string{"runs_on", "attached_to"}
	statuses  = []string{"up", "down", "", "Error"}
)

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

func pickKey[V any](r *rand.Rand, m map[string]V) string { return pick(r, slices.Sorted(maps.Keys(m))) }

func randomDocument(r *rand.Rand) map[string]any {
	spec := map[string]any{}
	doc := map[string]any{"spec": spec}
	maybe := func(share float64, set func()) {
		if r.Float64() < share {
			set()
		}
	}
	maybe(0.8, func() { spec["word"] = pick(r, words) })
	maybe(0.8, func() { spec["size"] = pickKey(r, quantities) })
	maybe(0.3, func() { spec["size"] = pick(r, []any{2, 8, 2.5, "none", true}) })
	maybe(0.6, func() { spec["when"] = pickKey(r, moments_) })
	maybe(0.6, func() { spec["took"] = pickKey(r, durations) })
	maybe(0.5, func() { spec["flag"] = r.IntN(2) == 0 })
	maybe(0.3, func() { spec["empty"] = pick(r, []any{nil, "", []any{}, map[string]any{"x": nil}}) })
	maybe(0.5, func() {
		var list []any
		for range r.IntN(4) {
			list = append(list, pick(r, words))
		}
		doc["tags"] = list
	})
	maybe(0.6, func() {
		var list []any
		for range r.IntN(4) {
			item := map[string]any{"type": pick(r, []any{"Ready", "Live", 3, true, ""}), "status": pick(r, []any{"True", "False", nil})}
			maybe(0.5, func() { item["n"] = r.IntN(5) })
			maybe(0.4, func() {
				item["sub"] = []any{map[string]any{"x": pick(r, words), "k": "v"}, map[string]any{"x": pick(r, words), "k": "w"}}
			})
			list = append(list, item)
		}
		maybe(0.2, func() { list = append(list, "odd", []any{map[string]any{"type": "Ready", "status": "nested"}}) })
		doc["conditions"] = list
	})
	maybe(0.5, func() {
		doc["meta"] = map[string]any{"app.io/name": pick(r, words), "app": map[string]any{"io/name": pick(r, words)},
			"deep": map[string]any{"er": []any{
				map[string]any{"leaf": pick(r, words)}, map[string]any{"leaf": r.IntN(3)}}}}
	})
	maybe(0.3, func() { doc["spec.word"] = pick(r, words) })
	return doc
}

func randomState(r *rand.Rand, t *thing, stamp uint64, others []*thing) *state {
	v := &state{of: t, stamp: stamp, name: pick(r, words) + fmt.Sprint(r.IntN(20)), region: pick(r, []string{"r1", "r2", ""}),
		project: pick(r, []string{"p1", "p2", ""}), status: pick(r, statuses), scope: "fake/" + t.kind, agent: "agent-" + t.site,
		observed: hlc.Stamp(stamp).Time(), labels: map[string]string{}, doc: randomDocument(r)}
	if r.IntN(3) > 0 {
		v.created = time.Date(2026, 3, 1, r.IntN(24), 0, 0, r.IntN(1000)*1e6, time.UTC)
	}
	for range r.IntN(3) {
		v.labels[pick(r, []string{"app", "tier", "app.io/x", "ü"})] = pick(r, append([]string{""}, words...))
	}
	for range r.IntN(3) {
		to := pick(r, others)
		e := edge{pick(r, edgeKinds), to.kind, to.uid}
		if r.IntN(6) == 0 {
			e.toUID = "nobody"
		}
		if !slices.Contains(v.edges, e) {
			v.edges = append(v.edges, e)
		}
	}
	v.texts = make(map[string][]string)
	flatten(v.doc, "", v.texts)
	return v
}

// newEstate makes things with histories, and writes them into a warehouse as they arrive.
func newEstate(t *testing.T, w *warehouse.Warehouse, seed uint64, things, versions int) *estate {
	r := rand.New(rand.NewPCG(seed, 1))
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	e := &estate{warehouse: w, start: start, end: start.Add(72 * time.Hour), search: map[string][]string{}}
	for i := range things {
		e.things = append(e.things, &thing{site: pick(r, sites), kind: pick(r, kinds), uid: fmt.Sprintf("u%03d", i)})
	}
	// Some uids are there in both sites.
	for i := range things / 10 {
		e.things[i].site, e.things[things-1-i].site = "west", "east"
		e.things[things-1-i].uid, e.things[things-1-i].kind = e.things[i].uid, e.things[i].kind
	}
	stampAt := func(offset time.Duration) uint64 { return uint64(hlc.FromTime(start.Add(offset))) + uint64(r.IntN(3)) }
	write := func(list []*state) {
		g := &warehouse.Group{ID: uuid.New(), ReceivedAt: time.Now().UTC().Truncate(time.Millisecond)}
		newest := make(map[*thing]*state)
		for _, v := range list {
			doc, err := json.Marshal(v.doc)
			if err != nil {
				t.Fatal(err)
			}
			if doc, err = document.Canonical(doc); err != nil {
				t.Fatal(err)
			}
			fields, err := document.Fields(doc)
			if err != nil {
				t.Fatal(err)
			}
			row := warehouse.AssetVersion{
				Origin: warehouse.Origin{Site: v.of.site, AgentID: v.agent, SpoolID: "s"}, Type: v.of.kind, UID: v.of.uid, Version: v.stamp,
				Operation: warehouse.Updated, Scope: v.scope, Name: v.name, Region: v.region, Project: v.project, Status: v.status, Labels: v.labels,
				Document: doc, Fields: fields, CreatedAt: v.created, UpdatedAt: v.updated, ObservedAt: v.observed,
			}
			if v.deleted {
				row.Operation = warehouse.Deleted
			}
			for _, x := range v.edges {
				row.Edges = append(row.Edges, warehouse.Relation{Site: v.of.site, FromType: v.of.kind, FromUID: v.of.uid, Kind: x.kind,
					ToType: x.toType,
					ToUID:  x.toUID, Version: v.stamp})
			}
			g.Versions = append(g.Versions, row)
			newest[v.of] = v.of.at(1 << 63)
		}
		// Relations are told of as ingest does: what the newest version has, and what it has
		// no more.
		for th, last := range newest {
			for _, old := range th.versions {
				for _, x := range old.edges {
					gone := last.deleted || !slices.Contains(last.edges, x)
					g.Relations = append(g.Relations, warehouse.Relation{Site: th.site, FromType: th.kind, FromUID: th.uid, Kind: x.kind, ToType: x.toType,
						ToUID: x.toUID, Version: last.stamp, Deleted: gone})
				}
			}
		}
		if err := w.Write(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	// What arrives, in some order: stamps go back and forth, and some come twice.
	for round := range versions {
		var group []*state
		for _, th := range e.things {
			if round > 0 && r.IntN(3) == 0 {
				continue
			}
			stamp := stampAt(time.Duration(r.IntN(71*60)) * time.Minute)
			if len(th.versions) > 0 && r.IntN(8) == 0 {
				stamp = pick(r, th.versions).stamp
			}
			v := randomState(r, th, stamp, e.things)
			if v.deleted = r.IntN(5) == 0; v.deleted {
				v.edges = nil
			}
			// One group has of each stamp only one.
			th.versions = append(th.versions, v)
			group = append(group, v)
		}
		write(group)
		// What replaces a version with the same stamp must be seen to come later.
		time.Sleep(2 * time.Millisecond)
	}
	return e
}

// newEngine returns an engine over a new warehouse with an estate.
func newEngine(t *testing.T, seed uint64, things, versions int) (*query.Engine, *estate) {
	t.Helper()
	estate := newEstate(t, warehousetest.New(t), seed, things, versions)
	return estate.engine(query.Options{}), estate
}

// engine returns one with options of its own.
func (e *estate) engine(o query.Options) *query.Engine {
	o.Warehouse, o.Now = e.warehouse, func() time.Time { return e.end }
	return query.New(o)
}

// asset is a version as package filter has it.
func (v *state) asset(t *testing.T) *filter.Asset {
	doc, err := json.Marshal(v.doc)
	if err != nil {
		t.Fatal(err)
	}
	if doc, err = document.Canonical(doc); err != nil {
		t.Fatal(err)
	}
	fields, err := document.Fields(doc)
	if err != nil {
		t.Fatal(err)
	}
	a := &filter.Asset{Name: v.name, UID: v.of.uid, Type: v.of.kind, Site: v.of.site, Region: v.region, Project: v.project, Status: v.status,
		State: "ACTIVE", Scope: v.scope, Agent: v.agent, Created: v.created, Updated: v.updated, Observed: v.observed, Labels: v.labels,
		Fields: fields, Document: doc}
	if v.deleted {
		a.State = "DELETED"
	}
	a.Search = filter.SearchText(a, nil)
	return a
}

// question is a filter with what it means, said in Go.
type question struct {
	text  string
	holds func(*state, func(*thing) *state) bool
}

// text is how many ways a text can be written in a filter.
func quoted(text string) string { return filter.Quote(text) }

// lower folds A to Z.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 32
		}
		return r
	}, s)
}
