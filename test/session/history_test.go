package session_test

import (
	"fmt"
	"math"
	"slices"
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

// TestHistory asks what changed: of one asset between moments, and of all.
func TestHistory(t *testing.T) {
	c := centre.New(t)
	start := time.Now().Add(-100 * time.Hour).Truncate(time.Millisecond)
	at := func(hour int) time.Time { return start.Add(time.Duration(hour) * time.Hour) }
	put := func(hour int, uid string, op warehouse.Operation, doc string, edges ...string) {
		t.Helper()
		v := version("west", "fake.test.Thing", uid, op)
		v.Version, v.Document, v.Name, v.ObservedAt = uint64(hlc.FromTime(at(hour))), []byte(doc), "name-"+uid, at(hour)
		for _, to := range edges {
			v.Edges = append(v.Edges, warehouse.Relation{Site: "west", Kind: "uses", ToType: "fake.test.Thing", ToUID: to})
		}
		// Twice, as a group that was inserted again.
		for range 2 {
			if err := c.Store.Write(t.Context(), &warehouse.Group{ID: uuid.New(), ReceivedAt: at(hour), Versions: []warehouse.AssetVersion{v}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(1, "a", warehouse.Created, `{"ports":[{"name":"x","port":1}],"size":1}`, "b", "c")
	put(2, "b", warehouse.Created, `{"size":7}`)
	put(3, "a", warehouse.Updated, `{"ports":[{"name":"x","port":2},{"name":"y","port":3}],"size":1}`, "c", "d")
	put(4, "a", warehouse.Updated, `{"ports":[{"name":"y","port":3}],"big":9007199254740993,"size":1}`, "c", "d")
	put(5, "a", warehouse.Deleted, `{}`)
	api := reevev1connect.NewHistoryServiceClient(signedIn(t, c))

	diff := func(r *reevev1.DiffAssetRequest) (lines []string) {
		t.Helper()
		r.Asset = &reevev1.AssetName{Uid: "a"}
		res, err := api.DiffAsset(t.Context(), connect.NewRequest(r))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range res.Msg.GetChanges() {
			lines = append(lines, fmt.Sprint(p.GetOperation(), " ", p.GetPath(), " ", p.GetOld().AsInterface(), " ", p.GetNew().AsInterface()))
		}
		for _, e := range res.Msg.GetRelations() {
			lines = append(lines, fmt.Sprint(e.GetOperation(), " ", e.GetKind(), " ", e.GetToUid()))
		}
		return lines
	}
	for name, d := range map[string]struct {
		request *reevev1.DiffAssetRequest
		want    []string
	}{
		"between two moments": {&reevev1.DiffAssetRequest{FromTime: timestamppb.New(at(2)), ToTime: timestamppb.New(at(3))}, []string{
			"OPERATION_CHANGED ports[name=x].port 1 2", "OPERATION_ADDED ports[name=y] <nil> map[name:y port:3]",
			"OPERATION_ADDED uses d", "OPERATION_REMOVED uses b"}},
		"by versions": {&reevev1.DiffAssetRequest{FromVersion: uint64(hlc.FromTime(at(3))), ToVersion: uint64(hlc.FromTime(at(4)))}, []string{
			"OPERATION_ADDED big <nil> 9007199254740993", "OPERATION_REMOVED ports[name=x] map[name:x port:2] <nil>"}},
		"its creation": {&reevev1.DiffAssetRequest{ToTime: timestamppb.New(at(1))}, []string{
			"OPERATION_ADDED ports <nil> [map[name:x port:1]]", "OPERATION_ADDED size <nil> 1", "OPERATION_ADDED uses b", "OPERATION_ADDED uses c"}},
		"nothing": {&reevev1.DiffAssetRequest{FromTime: timestamppb.New(at(1)), ToTime: timestamppb.New(at(2))}, nil},
	} {
		if got := diff(d.request); !slices.Equal(got, d.want) {
			t.Errorf("%s: %q\nwant %q", name, got, d.want)
		}
	}
	// Without anything it is the last change: all of it went.
	if got := diff(&reevev1.DiffAssetRequest{}); len(got) != 5 || got[0] != "OPERATION_REMOVED big 9007199254740993 <nil>" {
		t.Errorf("the last change: %q", got)
	}

	list := func(r *reevev1.ListEstateChangesRequest) (lines []string) {
		t.Helper()
		r.PageSize = 2
		for range 10 {
			res, err := api.ListEstateChanges(t.Context(), connect.NewRequest(r))
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range res.Msg.GetChanges() {
				hour := hlc.Stamp(v.GetVersion()).Time().Sub(start).Round(time.Second) / time.Hour
				lines = append(lines, fmt.Sprint(v.GetUid(), int(hour)))
			}
			if r.PageToken = res.Msg.GetNextPageToken(); r.PageToken == "" {
				break
			}
		}
		return lines
	}
	for name, l := range map[string]struct {
		request *reevev1.ListEstateChangesRequest
		want    []string
	}{
		"all":        {&reevev1.ListEstateChangesRequest{}, []string{"a5", "a4", "a3", "b2", "a1"}},
		"a window":   {&reevev1.ListEstateChangesRequest{StartTime: timestamppb.New(at(2)), EndTime: timestamppb.New(at(4))}, []string{"a4", "a3", "b2"}},
		"a filter":   {&reevev1.ListEstateChangesRequest{Filter: "size>5"}, []string{"b2"}},
		"deleted":    {&reevev1.ListEstateChangesRequest{Operations: []reevev1.Change_Operation{reevev1.Change_OPERATION_DELETED}}, []string{"a5"}},
		"by element": {&reevev1.ListEstateChangesRequest{Filter: "ports[name=x].port=2"}, []string{"a3"}},
		"other site": {&reevev1.ListEstateChangesRequest{Site: "east"}, nil},
	} {
		if got := list(l.request); !slices.Equal(got, l.want) {
			t.Errorf("%s: %q, want %q", name, got, l.want)
		}
	}
	_, err := api.ListEstateChanges(t.Context(), connect.NewRequest(&reevev1.ListEstateChangesRequest{Filter: "size>"}))
	code(t, err, connect.CodeInvalidArgument, "filter")
	_, err = api.ListEstateChanges(t.Context(), connect.NewRequest(&reevev1.ListEstateChangesRequest{PageToken: "x"}))
	code(t, err, connect.CodeInvalidArgument, "page_token")
	_, err = api.DiffAsset(t.Context(), connect.NewRequest(&reevev1.DiffAssetRequest{Asset: &reevev1.AssetName{Uid: "a"}, ToVersion: math.MaxUint64}))
	code(t, err, connect.CodeNotFound, "no version")
	_, err = api.DiffAsset(t.Context(), connect.NewRequest(&reevev1.DiffAssetRequest{Asset: &reevev1.AssetName{Uid: "a"}, ToTime: timestamppb.New(at(0))}))
	code(t, err, connect.CodeNotFound, "not there yet")
}
