// Package graph walks the relations of assets: what is around one, what depends on it, and
// which ways lead from one to another; across sites and providers, now or as of a moment.
//
// A walk goes step by step, and a step is one range of the key of the table relation for
// each asset. What an asset has many of is not walked but counted, as a [Group]: 47 pods of
// a node are one thing to look at, until somebody asks for them.
//
// # Where an edge leads
//
// An edge names the type and the uid of the asset that it leads to, and not its site. It is
// that of the same site, if there ever was such an asset; otherwise, where the two are of
// different providers, those of other sites; otherwise it leads to something that nobody has
// seen, which is a node all the same ([Node.Missing]).
//
// # As of a moment
//
// The edges of an asset are part of each of its versions, so those that lead from it are the
// newest version's that is not later. What once had an edge to it is known by the table
// relation, where edges that ended stay.
package graph

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
)

// What a walk has at most, and what it has if nobody says.
const (
	MaxDepth     = 10
	MaxNodes     = 2_000
	DefaultNodes = 200
	MaxFold      = 500
	DefaultFold  = 12
	// maxKinds is how many kinds, or types, a request may name.
	maxKinds = 100
)

// Direction is which edges are walked along.
type Direction uint8

// The directions.
const (
	Both Direction = iota
	// Out is along edges, from where they begin to where they lead.
	Out
	// In is against them.
	In
)

// Request asks for what is around an asset.
type Request struct {
	Start warehouse.AssetKey
	// Depth is how many steps are taken: 1 to MaxDepth.
	Depth     int
	Direction Direction
	// Kinds and Types narrow which relations, and to assets of which types, are walked along,
	// unless they are empty. ExceptKinds are not walked along.
	Kinds, ExceptKinds, Types []string
	// To narrows what is answered to assets of these types, and to what is on the ways to
	// them, unless it is empty.
	To     []string
	Moment query.Moment
	// Nodes is how many assets are shown at most; 0 is DefaultNodes.
	Nodes int
	// Fold is how many assets of one type that one asset has the same relation to are shown:
	// where there are more, they are a group. 0 is DefaultFold.
	Fold int
}

// NotDependencies are the kinds of relations along which trouble does not travel: those that
// say who may do what, what a thing was made of, and what it is grouped with. What depends on
// an asset is what leads to it by any other.
var NotDependencies = []string{
	"allows", "copy_of", "granted_on", "granted_to", "grants", "includes", "member_of", "selected_by", "shared_with", "snapshot_of",
}

// Node is an asset of a graph.
type Node struct {
	query.Found
	// Missing says that only edges name it: there is no such asset.
	Missing bool
	// Depth is how many steps it is away.
	Depth int
	// More says that it has neighbours that are not shown, for there was no room.
	More bool
}

// Edge is a relation between two nodes, which are given by their places.
type Edge struct {
	From, To int
	Kind     string
}

// Group is what a node has many of: assets of one type that it has the same relation to.
type Group struct {
	// Of is the place of the node.
	Of int
	// Out says that the relations lead from the node.
	Out        bool
	Kind, Type string
	// Count is how many there are beside those that are shown.
	Count int
}

// Graph is what was found. The first node is that which was asked for.
type Graph struct {
	Nodes  []Node
	Edges  []Edge
	Groups []Group
	// Partial says that nodes have neighbours for which there was no room.
	Partial bool
	// Unknown says that some edges of that moment are not known: versions of before edges
	// were part of them do not have them.
	Unknown bool
}

// ErrNotFound means that there is no asset to begin with.
var ErrNotFound = errors.New("there is no such asset")

// Walker walks.
type Walker struct{ engine *query.Engine }

// New returns a Walker that asks an engine.
func New(e *query.Engine) *Walker { return &Walker{engine: e} }

func (r *Request) check() error {
	switch {
	case r.Depth < 1 || r.Depth > MaxDepth:
		return query.Wrong("depth", "%d: must be 1 to %d", r.Depth, MaxDepth)
	case r.Nodes < 0 || r.Nodes > MaxNodes:
		return query.Wrong("nodes", "%d: must be 1 to %d", r.Nodes, MaxNodes)
	case r.Fold < 0 || r.Fold > MaxFold:
		return query.Wrong("fold", "%d: must be 1 to %d", r.Fold, MaxFold)
	}
	for part, list := range map[string][]string{"kinds": r.Kinds, "except_kinds": r.ExceptKinds, "types": r.Types, "to": r.To} {
		if len(list) > maxKinds {
			return query.Wrong(part, "%d: must be at most %d", len(list), maxKinds)
		}
	}
	r.Nodes, r.Fold = cmp.Or(r.Nodes, DefaultNodes), cmp.Or(r.Fold, DefaultFold)
	return nil
}

// Walk returns what is around an asset.
func (w *Walker) Walk(ctx context.Context, scope query.Scope, r Request) (*Graph, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	b := newBuilder(w, scope, r)
	start, err := b.find(ctx, []warehouse.AssetKey{r.Start})
	if err != nil {
		return nil, err
	}
	if len(start) == 0 {
		return nil, ErrNotFound
	}
	b.node(start[r.Start], 0)
	for depth := 1; depth <= r.Depth; depth++ {
		more, err := b.step(ctx, depth)
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
	}
	b.finish()
	if len(r.To) > 0 {
		b.graph.keep(r.To)
	}
	return &b.graph, nil
}

// keep leaves only assets and groups of some types, and what is on the ways to them.
func (g *Graph) keep(types []string) {
	kept := make([]bool, len(g.Nodes))
	for i := range g.Nodes {
		kept[i] = i == 0 || slices.Contains(types, g.Nodes[i].Type)
	}
	g.Groups = slices.DeleteFunc(g.Groups, func(u Group) bool { return !slices.Contains(types, u.Type) })
	for _, u := range g.Groups {
		kept[u.Of] = true
	}
	// Nodes stand in the order of their depth, so what is farther away is decided before.
	nearer := make([][]int, len(g.Nodes))
	for _, e := range g.Edges {
		from, to := e.From, e.To
		if g.Nodes[from].Depth < g.Nodes[to].Depth {
			from, to = to, from
		}
		if g.Nodes[from].Depth > g.Nodes[to].Depth {
			nearer[from] = append(nearer[from], to)
		}
	}
	for i := len(g.Nodes) - 1; i > 0; i-- {
		if kept[i] {
			for _, n := range nearer[i] {
				kept[n] = true
			}
		}
	}
	places, nodes := make([]int, len(g.Nodes)), g.Nodes[:0]
	for i, n := range g.Nodes {
		if kept[i] {
			places[i] = len(nodes)
			nodes = append(nodes, n)
		}
	}
	g.Nodes = nodes
	g.Edges = slices.DeleteFunc(g.Edges, func(e Edge) bool { return !kept[e.From] || !kept[e.To] })
	for i := range g.Edges {
		g.Edges[i].From, g.Edges[i].To = places[g.Edges[i].From], places[g.Edges[i].To]
	}
	for i := range g.Groups {
		g.Groups[i].Of = places[g.Groups[i].Of]
	}
}

// builder makes a graph.
type builder struct {
	*Walker
	scope query.Scope
	r     Request
	graph Graph
	// places has the nodes by their keys.
	places map[warehouse.AssetKey]int
	edges  map[Edge]struct{}
	// found remembers what was looked for: nil for what there is not.
	found map[warehouse.AssetKey]*query.Found
	// frontier has the nodes of the step before.
	frontier []int
}

func newBuilder(w *Walker, scope query.Scope, r Request) *builder {
	return &builder{
		Walker: w, scope: scope, r: r, places: make(map[warehouse.AssetKey]int), edges: make(map[Edge]struct{}),
		found: make(map[warehouse.AssetKey]*query.Found),
	}
}

// node adds a node, unless it is there, and returns its place.
func (b *builder) node(f *query.Found, depth int) int {
	if i, ok := b.places[f.AssetKey]; ok {
		return i
	}
	i := len(b.graph.Nodes)
	b.places[f.AssetKey] = i
	b.graph.Nodes = append(b.graph.Nodes, Node{Found: *f, Missing: f.Version == 0, Depth: depth})
	b.frontier = append(b.frontier, i)
	return i
}

func (b *builder) edge(from, to int, kind string) {
	e := Edge{from, to, kind}
	if _, ok := b.edges[e]; ok {
		return
	}
	b.edges[e] = struct{}{}
	b.graph.Edges = append(b.graph.Edges, e)
}

// step adds the neighbours of the frontier. more says that there are new ones.
func (b *builder) step(ctx context.Context, depth int) (more bool, err error) {
	frontier := b.frontier
	b.frontier = nil
	keys := make([]warehouse.AssetKey, len(frontier))
	for i, place := range frontier {
		keys[i] = b.graph.Nodes[place].AssetKey
	}
	bundles, unknown, err := b.neighbours(ctx, keys)
	if err != nil {
		return false, err
	}
	b.graph.Unknown = b.graph.Unknown || unknown
	bundles, err = b.resolve(ctx, bundles)
	if err != nil {
		return false, err
	}
	for i := range bundles {
		b.take(&bundles[i], depth)
	}
	return len(b.frontier) > 0, nil
}

// take adds a bundle: its members as nodes, and what there is no room for as a group.
func (b *builder) take(u *bundle, depth int) {
	of, rest := b.places[u.of], 0
	if u.members == nil {
		rest = u.count
	}
	for _, f := range slices.Concat(u.known, u.members) {
		if _, there := b.places[f.AssetKey]; !there && len(b.graph.Nodes) >= b.r.Nodes {
			b.graph.Nodes[of].More, b.graph.Partial = true, true
			rest++
			continue
		}
		if place := b.node(f, depth); u.out {
			b.edge(of, place, u.kind)
		} else {
			b.edge(place, of, u.kind)
		}
	}
	if rest == 0 {
		return
	}
	for i := range b.graph.Groups {
		if g := &b.graph.Groups[i]; g.Of == of && g.Out == u.out && g.Kind == u.kind && g.Type == u.typ {
			g.Count += rest
			return
		}
	}
	b.graph.Groups = append(b.graph.Groups, Group{Of: of, Out: u.out, Kind: u.kind, Type: u.typ, Count: rest})
}

// finish puts edges and groups in order.
func (b *builder) finish() {
	slices.SortFunc(b.graph.Edges, func(x, y Edge) int {
		return cmp.Or(cmp.Compare(x.From, y.From), cmp.Compare(x.To, y.To), cmp.Compare(x.Kind, y.Kind))
	})
	slices.SortFunc(b.graph.Groups, func(x, y Group) int {
		return cmp.Or(cmp.Compare(x.Of, y.Of), cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Type, y.Type))
	})
}

// find looks for assets that were not looked for before, and returns those that there are.
func (b *builder) find(ctx context.Context, keys []warehouse.AssetKey) (map[warehouse.AssetKey]*query.Found, error) {
	var ask []warehouse.AssetKey
	for _, k := range keys {
		if _, known := b.found[k]; !known {
			b.found[k] = nil
			ask = append(ask, k)
		}
	}
	list, err := b.engine.Find(ctx, b.scope, b.r.Moment, ask)
	if err != nil {
		return nil, fmt.Errorf("looking up assets of a graph: %w", err)
	}
	for i := range list {
		b.found[list[i].AssetKey] = &list[i]
	}
	there := make(map[warehouse.AssetKey]*query.Found, len(keys))
	for _, k := range keys {
		if f := b.found[k]; f != nil {
			there[k] = f
		}
	}
	return there, nil
}
