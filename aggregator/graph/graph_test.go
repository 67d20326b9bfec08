package graph

import (
	"errors"
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
	"github.com/reeve-cloud/reeve/pkg/hlc"
)

func TestMain(m *testing.M) { warehousetest.Main(m) }

type key = warehouse.AssetKey

// history is the truth: of every asset all versions, each with its edges. It shares no code
// with what is tested.
type history struct {
	versions map[key][]version
	start    time.Time
}

type version struct {
	at      int // minutes after the start
	deleted bool
	edges   []end
}

type end struct{ kind, typ, uid string }

func (h *history) time(minute int) time.Time { return h.start.Add(time.Duration(minute) * time.Minute) }

func (h *history) stamp(minute int) uint64 { return uint64(hlc.FromTime(h.time(minute))) }

// put adds a version of an asset.
func (h *history) put(k key, at int, deleted bool, edges ...end) {
	if h.versions == nil {
		h.versions = make(map[key][]version)
		h.start = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	}
	h.versions[k] = append(h.versions[k], version{at, deleted, edges})
}

// write writes all versions, in an order and in groups of its own.
func (h *history) write(t *testing.T, w *warehouse.Warehouse, r *rand.Rand) {
	t.Helper()
	type one struct {
		k    key
		n    int
		last []end
	}
	var all []one
	for _, k := range slices.SortedFunc(maps.Keys(h.versions), compareKeys) {
		var last []end
		for n, v := range h.versions[k] {
			all = append(all, one{k, n, last})
			last = v.edges
		}
	}
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for part := range slices.Chunk(all, 200) {
		g := &warehouse.Group{ID: uuid.New(), ReceivedAt: h.start}
		for _, o := range part {
			v := h.versions[o.k][o.n]
			stamp := h.stamp(v.at)
			operation := warehouse.Updated
			switch {
			case v.deleted:
				operation = warehouse.Deleted
			case o.n == 0:
				operation = warehouse.Created
			}
			row := warehouse.AssetVersion{
				Origin: warehouse.Origin{Site: o.k.Site, AgentID: "agent"}, Type: o.k.Type, UID: o.k.UID, Version: stamp, Operation: operation,
				Name: "name of " + o.k.UID, Document: []byte(`{}`), ObservedAt: h.time(v.at),
			}
			relation := func(e end, deleted bool) warehouse.Relation {
				return warehouse.Relation{Site: o.k.Site, FromType: o.k.Type, FromUID: o.k.UID, Kind: e.kind, ToType: e.typ, ToUID: e.uid,
					Version: stamp, Deleted: deleted}
			}
			for _, e := range v.edges {
				row.Edges = append(row.Edges, relation(e, false))
			}
			g.Relations = append(g.Relations, row.Edges...)
			for _, e := range o.last {
				if !slices.Contains(v.edges, e) {
					g.Relations = append(g.Relations, relation(e, true))
				}
			}
			g.Versions = append(g.Versions, row)
		}
		if err := w.Write(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
}

// at returns the newest version of an asset that is not later, or false.
func (h *history) at(k key, minute int) (version, bool) {
	list := h.versions[k]
	for _, l := range slices.Backward(list) {
		if l.at <= minute {
			return l, true
		}
	}
	return version{}, false
}

type edge struct {
	from, to key
	kind     string
}

// edges returns all edges at a moment, with where they lead.
func (h *history) edges(minute int) map[edge]struct{} {
	set := make(map[edge]struct{})
	for k := range h.versions {
		v, ok := h.at(k, minute)
		if !ok || v.deleted {
			continue
		}
		for _, e := range v.edges {
			near := key{Site: k.Site, Type: e.typ, UID: e.uid}
			targets := []key{near}
			if _, there := h.at(near, minute); !there && providerOf(k.Type) != providerOf(e.typ) {
				var far []key
				for other := range h.versions {
					if _, there := h.at(other, minute); there && other.Type == e.typ && other.UID == e.uid {
						far = append(far, other)
					}
				}
				if len(far) > 0 {
					targets = far
				}
			}
			for _, to := range targets {
				set[edge{k, to, e.kind}] = struct{}{}
			}
		}
	}
	return set
}

// walk returns the nodes with their depths, and the edges between what was reached before
// the last step and its neighbours.
func (h *history) walk(minute int, start key, depth int, direction Direction, kinds, types []string) (map[key]int, map[edge]struct{}) {
	all := h.edges(minute)
	nodes, seen := map[key]int{start: 0}, make(map[edge]struct{})
	for step := 1; step <= depth; step++ {
		next := make(map[key]int)
		for e := range all {
			if len(kinds) > 0 && !slices.Contains(kinds, e.kind) {
				continue
			}
			to := func(k key) bool { return len(types) == 0 || slices.Contains(types, k.Type) }
			if d, ok := nodes[e.from]; ok && d == step-1 && direction != In && to(e.to) {
				seen[e] = struct{}{}
				next[e.to] = step
			}
			if d, ok := nodes[e.to]; ok && d == step-1 && direction != Out && to(e.from) {
				seen[e] = struct{}{}
				next[e.from] = step
			}
		}
		for k, d := range next {
			if _, ok := nodes[k]; !ok {
				nodes[k] = d
			}
		}
	}
	return nodes, seen
}

func newWalker(w *warehouse.Warehouse) *Walker {
	return New(query.New(query.Options{Warehouse: w}))
}

// randomHistory is one of two sites, with types of two providers, edges that come and go,
// assets that end and come back, and edges to what is not there, or in the other site.
func randomHistory(r *rand.Rand, assets, minutes int) *history {
	types := []string{"a.x.Server", "a.x.Volume", "b.y.Pod"}
	kinds := []string{"uses", "runs_on"}
	// Most edges lead to what there is.
	target := func() (typ, uid string) {
		n := r.IntN(assets)
		typ = types[n%3]
		if r.IntN(6) == 0 {
			typ = types[r.IntN(3)]
		}
		return typ, fmt.Sprintf("u%03d", n)
	}
	h := &history{}
	for i := range assets {
		k := key{Site: []string{"east", "west"}[r.IntN(2)], Type: types[i%3], UID: fmt.Sprintf("u%03d", i)}
		if i%20 == 0 { // of some there is one in each site
			other := k
			other.Site = map[string]string{"east": "west", "west": "east"}[k.Site]
			h.put(other, 0, false)
		}
		for at := r.IntN(minutes / 4); at < minutes; at += 1 + r.IntN(minutes/2) {
			var edges []end
			if deleted := r.IntN(6) == 0; !deleted {
				for range r.IntN(3) {
					typ, uid := target()
					e := end{kinds[r.IntN(2)], typ, uid}
					if !slices.Contains(edges, e) {
						edges = append(edges, e)
					}
				}
				h.put(k, at, false, edges...)
			} else if len(h.versions[k]) > 0 {
				h.put(k, at, true)
			}
		}
	}
	return h
}

// TestModel walks random histories from random assets, now and as of random moments, and
// holds nodes and edges against the model.
func TestModel(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	const minutes = 1000
	h := randomHistory(r, 240, minutes)
	w := warehousetest.New(t)
	h.write(t, w, r)
	walker := newWalker(w)
	keys := slices.SortedFunc(maps.Keys(h.versions), compareKeys)
	for n := range 90 {
		start := keys[r.IntN(len(keys))]
		minute := r.IntN(minutes)
		q := Request{Start: start, Depth: 1 + r.IntN(4), Direction: Direction(r.IntN(3)), Nodes: MaxNodes, Fold: MaxFold,
			Moment: query.At(h.time(minute))}
		if n%3 == 0 {
			minute, q.Moment = minutes, query.Moment{}
		}
		if r.IntN(3) == 0 {
			q.Kinds = []string{"uses"}
		}
		if r.IntN(4) == 0 {
			q.Types = []string{"a.x.Volume", "b.y.Pod"}
		}
		g, err := walker.Walk(t.Context(), query.All(), q)
		if _, there := h.at(start, minute); !there {
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("from %v, which is not there: %v", start, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		nodes, edges := h.walk(minute, start, q.Depth, q.Direction, q.Kinds, q.Types)
		gotNodes, gotEdges := make(map[key]int), make(map[edge]struct{})
		for _, n := range g.Nodes {
			gotNodes[n.AssetKey] = n.Depth
			v, there := h.at(n.AssetKey, minute)
			if n.Missing == there || there && (n.State == warehouse.Gone) != v.deleted {
				t.Errorf("%v: missing %v, state %v; it is there: %v, deleted %v", n.AssetKey, n.Missing, n.State, there, v.deleted)
			}
		}
		for _, e := range g.Edges {
			gotEdges[edge{g.Nodes[e.From].AssetKey, g.Nodes[e.To].AssetKey, e.Kind}] = struct{}{}
		}
		if !maps.Equal(gotNodes, nodes) || !maps.Equal(gotEdges, edges) || len(g.Groups) > 0 || g.Partial || g.Unknown {
			t.Fatalf("from %v, %d steps, direction %v, kinds %v, at minute %d:\ngot  %v\n     %v\nwant %v\n     %v\n%v %v %v", start, q.Depth, q.Direction,
				q.Kinds, minute, gotNodes, gotEdges, nodes, edges, g.Groups, g.Partial, g.Unknown)
		}
	}
}

// TestPath holds the lengths of ways against the model, and looks that they are ways.
func TestPath(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	const minutes = 200
	h := randomHistory(r, 48, minutes)
	w := warehousetest.New(t)
	h.write(t, w, r)
	walker := newWalker(w)
	keys := slices.SortedFunc(maps.Keys(h.versions), compareKeys)
	found := 0
	for n := range 90 {
		from, to := keys[r.IntN(len(keys))], keys[r.IntN(len(keys))]
		minute := r.IntN(minutes)
		q := PathRequest{From: from, To: to, Steps: 6, Moment: query.At(h.time(minute))}
		if n%2 == 0 {
			minute, q.Moment = minutes, query.Moment{}
		}
		g, err := walker.Path(t.Context(), query.All(), q)
		_, a := h.at(from, minute)
		_, b := h.at(to, minute)
		if !a || !b {
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("between %v and %v, of which one is not there: %v", from, to, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		nodes, _ := h.walk(minute, from, 6, Both, nil, nil)
		want, reached := nodes[to]
		if !reached {
			if len(g.Nodes) > 0 {
				t.Errorf("a way from %v to %v: %v", from, to, g)
			}
			continue
		}
		found++
		if len(g.Nodes) == 0 || g.Nodes[0].AssetKey != from {
			t.Fatalf("from %v to %v in %d steps: %v", from, to, want, g)
		}
		// Every node but the ends has an edge to one that is nearer, and one that is further.
		all := h.edges(minute)
		last := g.Nodes[0]
		near, further := map[int]bool{}, map[int]bool{}
		for _, e := range g.Edges {
			x, y := g.Nodes[e.From], g.Nodes[e.To]
			if _, ok := all[edge{x.AssetKey, y.AssetKey, e.Kind}]; !ok {
				t.Errorf("%v %s %v is no edge", x.AssetKey, e.Kind, y.AssetKey)
			}
			switch x.Depth - y.Depth {
			case 1:
				near[e.From], further[e.To] = true, true
			case -1:
				near[e.To], further[e.From] = true, true
			default:
				t.Errorf("an edge between %d and %d steps", x.Depth, y.Depth)
			}
		}
		for i, n := range g.Nodes {
			if nodes[n.AssetKey] != n.Depth {
				t.Errorf("%v is %d steps away, not %d", n.AssetKey, nodes[n.AssetKey], n.Depth)
			}
			if n.Depth > last.Depth {
				last = n
			}
			if i > 0 && !near[i] || n.AssetKey != to && !further[i] {
				t.Errorf("%v leads nowhere", n.AssetKey)
			}
		}
		if last.AssetKey != to || last.Depth != want {
			t.Errorf("from %v to %v: %v in %d steps, want %d", from, to, last.AssetKey, last.Depth, want)
		}
	}
	if found < 8 {
		t.Errorf("only %d ways were found", found)
	}
}

// TestFold wants groups where there are many, and what there is no room for counted.
func TestFold(t *testing.T) {
	h := &history{}
	node := key{Site: "east", Type: "k.core.Node", UID: "n"}
	h.put(node, 0, false, end{"backed_by", "o.compute.Server", "s"})
	h.put(key{Site: "west", Type: "o.compute.Server", UID: "s"}, 0, false)
	for i := range 47 {
		h.put(key{Site: "east", Type: "k.core.Pod", UID: fmt.Sprintf("p%02d", i)}, 0, false, end{"runs_on", node.Type, node.UID})
	}
	for i := range 5 {
		h.put(key{Site: "east", Type: "k.core.Lease", UID: fmt.Sprintf("l%02d", i)}, 0, false, end{"owned_by", node.Type, node.UID})
	}
	w := warehousetest.New(t)
	h.write(t, w, rand.New(rand.NewPCG(1, 1)))
	walker := newWalker(w)
	for _, moment := range []query.Moment{{}, query.At(h.time(1))} {
		g, err := walker.Walk(t.Context(), query.All(), Request{Start: node, Depth: 3, Moment: moment})
		if err != nil {
			t.Fatal(err)
		}
		want := []Group{{Of: 0, Kind: "runs_on", Type: "k.core.Pod", Count: 47}}
		if len(g.Nodes) != 7 || !slices.Equal(g.Groups, want) || g.Partial {
			t.Errorf("%d nodes, groups %v, partial %v", len(g.Nodes), g.Groups, g.Partial)
		}
		// From a pod its siblings are a group without itself.
		g, err = walker.Walk(t.Context(), query.All(), Request{Start: key{Site: "east", Type: "k.core.Pod", UID: "p07"}, Depth: 3, Moment: moment})
		if err != nil {
			t.Fatal(err)
		}
		if want := []Group{{Of: 1, Kind: "runs_on", Type: "k.core.Pod", Count: 46}}; !slices.Equal(g.Groups, want) {
			t.Errorf("from a pod: groups %v", g.Groups)
		}
		// No room.
		g, err = walker.Walk(t.Context(), query.All(), Request{Start: node, Depth: 3, Moment: moment, Nodes: 4, Fold: 500})
		if err != nil {
			t.Fatal(err)
		}
		shown := 0
		for _, x := range g.Groups {
			shown += x.Count
		}
		if len(g.Nodes) != 4 || !g.Partial || !g.Nodes[0].More || shown+3 != 47+5+1 {
			t.Errorf("%d nodes, partial %v, more %v, %v", len(g.Nodes), g.Partial, g.Nodes[0].More, g.Groups)
		}
	}
	// What depends on the server: the node in another site, and all that is on it.
	g, err := walker.Walk(t.Context(), query.All(), Request{Start: key{Site: "west", Type: "o.compute.Server", UID: "s"}, Depth: 6, Direction: In,
		ExceptKinds: NotDependencies})
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Nodes) != 7 || len(g.Groups) != 1 || g.Groups[0].Count != 47 {
		t.Errorf("impact: %v", g)
	}
	// Which pods that are: with the ways to them, and all of them.
	q := Request{Start: key{Site: "west", Type: "o.compute.Server", UID: "s"}, Depth: 6, Direction: In, To: []string{"k.core.Pod"}}
	all, err := walker.Walk(t.Context(), query.All(), q)
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range all.Nodes {
		if want := []string{"o.compute.Server", "k.core.Node", "k.core.Pod"}[min(i, 2)]; n.Type != want {
			t.Errorf("node %d of the ways to pods is %s, want %s", i, n.Type, want)
		}
	}
	if want := []Group{{Of: 1, Kind: "runs_on", Type: "k.core.Pod", Count: 47}}; !slices.Equal(all.Groups, want) || len(all.Nodes) != len(all.Edges)+1 {
		t.Errorf("ways to pods: %d nodes, groups %v, edges %v", len(all.Nodes), all.Groups, all.Edges)
	}
	q.To = []string{"k.core.Nothing"}
	if g, err = walker.Walk(t.Context(), query.All(), q); err != nil || len(g.Nodes) != 1 || len(g.Edges)+len(g.Groups) != 0 {
		t.Errorf("ways to what there is nothing of: %v, %v", g, err)
	}
}

func providerOf(typ string) string { return typ[:strings.IndexByte(typ, '.')] }
