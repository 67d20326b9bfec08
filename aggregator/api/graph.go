package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/reeve-cloud/reeve/aggregator/graph"
	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
)

// impactDepth is how many steps an impact goes if nobody says.
const impactDepth = 6

// Graph is the graph service.
type Graph struct {
	Inventory *Inventory
	Walker    *graph.Walker
}

var _ reevev1connect.GraphServiceHandler = (*Graph)(nil)

// GetGraph implements the graph service.
func (s *Graph) GetGraph(ctx context.Context, r *connect.Request[reevev1.GetGraphRequest]) (*connect.Response[reevev1.GetGraphResponse], error) {
	m := r.Msg
	direction, ok := map[reevev1.Direction]graph.Direction{
		reevev1.Direction_DIRECTION_UNSPECIFIED: graph.Both, reevev1.Direction_DIRECTION_BOTH: graph.Both,
		reevev1.Direction_DIRECTION_OUT: graph.Out, reevev1.Direction_DIRECTION_IN: graph.In,
	}[m.GetDirection()]
	if !ok {
		return nil, invalid("direction", "%d is not a direction", m.GetDirection())
	}
	g, err := s.walk(ctx, m.GetAsset(), m.GetAsOf(), graph.Request{
		Depth: cmp.Or(int(m.GetDepth()), 1), Direction: direction, Kinds: m.GetKinds(), Types: m.GetTypes(),
		Nodes: int(m.GetMaxNodes()), Fold: int(m.GetFold()),
	})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&reevev1.GetGraphResponse{Graph: g}), nil
}

// GetImpact implements the graph service.
func (s *Graph) GetImpact(ctx context.Context, r *connect.Request[reevev1.GetImpactRequest]) (*connect.Response[reevev1.GetImpactResponse], error) {
	m := r.Msg
	q := graph.Request{
		Depth: cmp.Or(int(m.GetDepth()), impactDepth), Direction: graph.In, Kinds: m.GetKinds(), To: m.GetTypes(),
		Nodes: int(m.GetMaxNodes()), Fold: int(m.GetFold()),
	}
	if len(q.Kinds) == 0 {
		q.ExceptKinds = graph.NotDependencies
	}
	g, err := s.walk(ctx, m.GetAsset(), m.GetAsOf(), q)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&reevev1.GetImpactResponse{Graph: g}), nil
}

func (s *Graph) walk(ctx context.Context, asset *reevev1.AssetName, at *timestamppb.Timestamp, q graph.Request) (*reevev1.Graph, error) {
	var err error
	if q.Moment, err = asOf(at); err != nil {
		return nil, err
	}
	if q.Start, err = s.named(ctx, "asset", asset); err != nil {
		return nil, err
	}
	g, err := s.Walker.Walk(ctx, query.All(), q)
	if err != nil {
		return nil, s.failed(ctx, asset, err)
	}
	return graphOf(g), nil
}

// FindPath implements the graph service.
func (s *Graph) FindPath(ctx context.Context, r *connect.Request[reevev1.FindPathRequest]) (*connect.Response[reevev1.FindPathResponse], error) {
	m := r.Msg
	q := graph.PathRequest{Steps: int(m.GetMaxSteps()), Kinds: m.GetKinds()}
	var err error
	if q.Moment, err = asOf(m.GetAsOf()); err != nil {
		return nil, err
	}
	if q.From, err = s.named(ctx, "from", m.GetFrom()); err != nil {
		return nil, err
	}
	if q.To, err = s.named(ctx, "to", m.GetTo()); err != nil {
		return nil, err
	}
	g, err := s.Walker.Path(ctx, query.All(), q)
	if err != nil {
		return nil, s.failed(ctx, m.GetFrom(), err)
	}
	answer := &reevev1.FindPathResponse{Partial: g.Partial}
	if len(g.Nodes) > 0 {
		answer.Graph = graphOf(g)
	}
	return connect.NewResponse(answer), nil
}

// named returns the key of the one asset that a part of a request names.
func (s *Graph) named(ctx context.Context, part string, name *reevev1.AssetName) (warehouse.AssetKey, error) {
	if name.GetUid() == "" {
		return warehouse.AssetKey{}, invalid(part+".uid", "must not be empty")
	}
	found, err := s.Inventory.find(ctx, name, nil, false)
	if err != nil {
		return warehouse.AssetKey{}, err
	}
	return warehouse.AssetKey{Site: found.Site, Type: found.Type, UID: found.UID}, nil
}

// failed is the answer for an error of a walk.
func (s *Graph) failed(ctx context.Context, asset *reevev1.AssetName, err error) error {
	if errors.Is(err, graph.ErrNotFound) {
		return connect.NewError(connect.CodeNotFound, fmt.Errorf("there was no asset %q at that moment", asset.GetUid()))
	}
	return queryError(ctx, s.Inventory.Logger, err)
}

func graphOf(g *graph.Graph) *reevev1.Graph {
	m := &reevev1.Graph{Partial: g.Partial, UnknownRelations: g.Unknown}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		m.Nodes = append(m.Nodes, &reevev1.GraphNode{
			Uid: n.UID, Type: n.Type, Site: n.Site, Name: n.Name, State: stateOf(n.State), Status: n.Status, Project: n.Project, Region: n.Region,
			Missing: n.Missing, Depth: int32(n.Depth), More: n.More,
		})
	}
	for _, e := range g.Edges {
		m.Edges = append(m.Edges, &reevev1.GraphEdge{From: int32(e.From), To: int32(e.To), Kind: e.Kind})
	}
	for _, u := range g.Groups {
		m.Groups = append(m.Groups, &reevev1.GraphGroup{Node: int32(u.Of), Out: u.Out, Kind: u.Kind, Type: u.Type, Count: int64(u.Count)})
	}
	return m
}
