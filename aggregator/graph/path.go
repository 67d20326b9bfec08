package graph

import (
	"cmp"
	"context"

	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
)

const (
	// MaxSteps is how long a way is at most, and DefaultSteps if nobody says.
	MaxSteps     = 16
	DefaultSteps = 8
	// maxVisited is how many assets are looked at for a way.
	maxVisited = 5_000
)

// PathRequest asks which ways lead from one asset to another, along edges or against them.
type PathRequest struct {
	From, To warehouse.AssetKey
	// Steps is how many there are at most; 0 is DefaultSteps.
	Steps              int
	Kinds, ExceptKinds []string
	Moment             query.Moment
}

// Path returns all shortest ways from one asset to another, as one graph: its first node is
// where they begin. It has no nodes where there is no way. Partial says that not all ways
// could be tried: what an asset has more than MaxFold of is passed by, and so is the rest
// when too many assets have been looked at.
func (w *Walker) Path(ctx context.Context, scope query.Scope, r PathRequest) (*Graph, error) {
	r.Steps = cmp.Or(r.Steps, DefaultSteps)
	if r.Steps < 1 || r.Steps > MaxSteps {
		return nil, query.Wrong("steps", "%d: must be 1 to %d", r.Steps, MaxSteps)
	}
	walk := Request{Depth: 1, Kinds: r.Kinds, ExceptKinds: r.ExceptKinds, Moment: r.Moment, Fold: MaxFold}
	if err := walk.check(); err != nil {
		return nil, err
	}
	b := newBuilder(w, scope, walk)
	found, err := b.find(ctx, []warehouse.AssetKey{r.From, r.To})
	if err != nil {
		return nil, err
	}
	if found[r.From] == nil || found[r.To] == nil {
		return nil, ErrNotFound
	}
	s := search{builder: b, sides: [2]side{
		newSide(b.node(found[r.From], 0)), newSide(b.node(found[r.To], 0)),
	}}
	for r.From != r.To && s.length(r.Steps) == 0 {
		if more, err := s.step(ctx, r.Steps); err != nil {
			return nil, err
		} else if !more {
			return &Graph{Partial: b.graph.Partial, Unknown: b.graph.Unknown}, nil
		}
	}
	return s.ways(r.Steps), nil
}

// search looks for ways from both of their ends, in turns.
type search struct {
	*builder
	sides [2]side
}

// side is what was found from one end.
type side struct {
	// steps has how far each node is away, and before what was before it on all shortest ways.
	steps    map[int]int
	before   map[int][]hop
	frontier []int
	taken    int
}

// hop is a step of a way, along an edge or against it.
type hop struct {
	from int
	edge Edge
}

func newSide(at int) side {
	return side{steps: map[int]int{at: 0}, before: make(map[int][]hop), frontier: []int{at}}
}

// length is that of the shortest ways found, or 0.
func (s *search) length(most int) (length int) {
	for place, n := range s.sides[0].steps {
		if m, both := s.sides[1].steps[place]; both && n+m <= most && (length == 0 || n+m < length) {
			length = n + m
		}
	}
	return length
}

// step takes a step from the end that has fewer ways to go on. more is false if there is none.
func (s *search) step(ctx context.Context, most int) (more bool, err error) {
	a, z := &s.sides[0], &s.sides[1]
	if len(a.frontier) == 0 || len(z.frontier) > 0 && len(z.frontier) < len(a.frontier) {
		a, z = z, a
	}
	if len(a.frontier) == 0 || len(z.frontier) == 0 || a.taken+z.taken == most {
		return false, nil
	}
	if len(s.graph.Nodes) > maxVisited {
		s.graph.Partial = true
		return false, nil
	}
	keys := make([]warehouse.AssetKey, len(a.frontier))
	for i, place := range a.frontier {
		keys[i] = s.graph.Nodes[place].AssetKey
	}
	bundles, unknown, err := s.neighbours(ctx, keys)
	if err != nil {
		return false, err
	}
	s.graph.Unknown = s.graph.Unknown || unknown
	if bundles, err = s.resolve(ctx, bundles); err != nil {
		return false, err
	}
	a.frontier = nil
	a.taken++
	for i := range bundles {
		u := &bundles[i]
		s.graph.Partial = s.graph.Partial || u.members == nil
		of := s.places[u.of]
		for _, list := range [][]*query.Found{u.known, u.members} {
			for _, f := range list {
				place := s.node(f, 0)
				e := Edge{of, place, u.kind}
				if !u.out {
					e.From, e.To = place, of
				}
				a.reach(place, hop{of, e})
			}
		}
	}
	return true, nil
}

// reach notes that a step leads to a node, if no shorter way does.
func (d *side) reach(place int, by hop) {
	n, there := d.steps[place]
	if !there {
		n = d.taken
		d.steps[place] = n
		d.frontier = append(d.frontier, place)
	}
	if n == d.taken {
		d.before[place] = append(d.before[place], by)
	}
}

// ways returns all shortest ways as one graph.
func (s *search) ways(most int) *Graph {
	length := s.length(most)
	g := Graph{Partial: s.graph.Partial, Unknown: s.graph.Unknown}
	on := make(map[int]int) // places in g by those in s
	node := func(place int) int {
		if i, ok := on[place]; ok {
			return i
		}
		n := s.graph.Nodes[place]
		n.Depth = length - s.sides[1].steps[place]
		if steps, ok := s.sides[0].steps[place]; ok {
			n.Depth = steps
		}
		on[place] = len(g.Nodes)
		g.Nodes = append(g.Nodes, n)
		return on[place]
	}
	edges := make(map[Edge]struct{})
	node(0)
	for i := range s.sides {
		d := &s.sides[i]
		var back func(place int)
		done := make(map[int]struct{})
		back = func(place int) {
			if _, twice := done[place]; twice {
				return
			}
			done[place] = struct{}{}
			for _, h := range d.before[place] {
				e := Edge{node(h.edge.From), node(h.edge.To), h.edge.Kind}
				if _, twice := edges[e]; !twice {
					edges[e] = struct{}{}
					g.Edges = append(g.Edges, e)
				}
				back(h.from)
			}
		}
		for place := range s.graph.Nodes {
			n, one := s.sides[0].steps[place]
			if m, both := s.sides[1].steps[place]; one && both && n+m == length {
				back(place)
			}
		}
	}
	s.graph, s.places = g, nil
	s.finish()
	return &s.graph
}
