package session_test

import (
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/test/centre"
)

// TestGraph asks for graphs over the API: from a pod to the hypervisor in another site.
func TestGraph(t *testing.T) {
	c := centre.New(t)
	hour := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	g := &warehouse.Group{ID: uuid.New(), ReceivedAt: hour}
	for i, v := range []struct{ site, typ, uid, kind, toType, to string }{
		{"cluster", "kubernetes.core.Pod", "pod", "runs_on", "kubernetes.core.Node", "node"},
		{"cluster", "kubernetes.core.Node", "node", "backed_by", "openstack.compute.Server", "server"},
		{"cloud", "openstack.compute.Server", "server", "runs_on", "openstack.compute.Hypervisor", "cmp"},
		{"cloud", "openstack.compute.Hypervisor", "cmp", "part_of", "openstack.compute.Region", "nobody"},
	} {
		a := version(v.site, v.typ, v.uid, warehouse.Created)
		a.Version, a.Document, a.Name = uint64(hlc.FromTime(hour))+uint64(i), []byte(`{}`), v.uid
		a.Edges = []warehouse.Relation{{Site: v.site, FromType: v.typ, FromUID: v.uid, Kind: v.kind, ToType: v.toType, ToUID: v.to, Version: a.Version}}
		g.Versions, g.Relations = append(g.Versions, a), append(g.Relations, a.Edges...)
	}
	if err := c.Store.Write(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	api := reevev1connect.NewGraphServiceClient(signedIn(t, c))
	for _, at := range []*timestamppb.Timestamp{nil, timestamppb.New(hour.Add(time.Minute))} {
		res, err := api.GetGraph(t.Context(), connect.NewRequest(&reevev1.GetGraphRequest{Asset: &reevev1.AssetName{Uid: "pod"}, Depth: 5, AsOf: at}))
		if err != nil {
			t.Fatal(err)
		}
		nodes := res.Msg.GetGraph().GetNodes()
		if len(nodes) != 5 || nodes[2].GetSite() != "cloud" || nodes[3].GetUid() != "cmp" || !nodes[4].GetMissing() {
			t.Errorf("around the pod: %v", nodes)
		}
		impact, err := api.GetImpact(t.Context(), connect.NewRequest(&reevev1.GetImpactRequest{Asset: &reevev1.AssetName{Uid: "cmp"}, AsOf: at}))
		if err != nil {
			t.Fatal(err)
		}
		if n := impact.Msg.GetGraph().GetNodes(); len(n) != 4 || n[3].GetUid() != "pod" || n[3].GetDepth() != 3 {
			t.Errorf("what depends on the hypervisor: %v", n)
		}
		path, err := api.FindPath(t.Context(), connect.NewRequest(&reevev1.FindPathRequest{
			From: &reevev1.AssetName{Uid: "cmp"}, To: &reevev1.AssetName{Uid: "pod"}, AsOf: at}))
		if err != nil {
			t.Fatal(err)
		}
		if len(path.Msg.GetGraph().GetNodes()) != 4 || len(path.Msg.GetGraph().GetEdges()) != 3 {
			t.Errorf("the way: %v", path.Msg)
		}
	}
	for what, call := range map[string]func() error{
		"uid": func() error {
			_, err := api.GetGraph(t.Context(), connect.NewRequest(&reevev1.GetGraphRequest{}))
			return err
		},
		"depth": func() error {
			_, err := api.GetGraph(t.Context(), connect.NewRequest(&reevev1.GetGraphRequest{Asset: &reevev1.AssetName{Uid: "pod"}, Depth: 11}))
			return err
		},
		"steps": func() error {
			name := &reevev1.AssetName{Uid: "pod"}
			_, err := api.FindPath(t.Context(), connect.NewRequest(&reevev1.FindPathRequest{From: name, To: name, MaxSteps: 99}))
			return err
		},
	} {
		code(t, call(), connect.CodeInvalidArgument, what)
	}
	_, err := api.GetGraph(t.Context(), connect.NewRequest(&reevev1.GetGraphRequest{Asset: &reevev1.AssetName{Uid: "nope"}}))
	code(t, err, connect.CodeNotFound, "nope")
	_, err = api.GetGraph(t.Context(), connect.NewRequest(&reevev1.GetGraphRequest{
		Asset: &reevev1.AssetName{Uid: "pod"}, AsOf: timestamppb.New(hour.Add(-time.Hour))}))
	code(t, err, connect.CodeNotFound, "at that moment")
}
