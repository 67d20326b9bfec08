package session_test

import (
	"context"
	"maps"
	"testing"
	"time"

	"connectrpc.com/connect"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
	"github.com/reeve-cloud/reeve/test/centre"
)

// heldSet is what a client of WatchAssets holds, with the token that it goes on with.
type heldSet struct {
	request *reevev1.WatchAssetsRequest
	set     map[string]uint64
}

// watch applies what comes until the set is as wanted.
func (h *heldSet) watch(t *testing.T, api reevev1connect.InventoryServiceClient, want map[string]uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stream, err := api.WatchAssets(ctx, connect.NewRequest(h.request))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	synced := false
	for stream.Receive() {
		m := stream.Msg()
		for _, c := range m.GetChanges() {
			a := c.GetAsset()
			held, in := h.set[a.GetUid()]
			switch {
			case in && a.GetVersion() <= held:
				t.Errorf("%s came again or late: %v", a.GetUid(), c)
			case !c.GetUnsure() && in == (c.GetKind() == reevev1.SetChange_KIND_ENTERED):
				t.Errorf("it is held: %v; told is %v", in, c)
			}
			if c.GetKind() == reevev1.SetChange_KIND_LEFT {
				delete(h.set, a.GetUid())
			} else {
				h.set[a.GetUid()] = a.GetVersion()
			}
		}
		if m.GetToken() != "" {
			h.request.Token = m.GetToken()
		}
		if synced = synced || m.GetSynced(); synced && maps.Equal(h.set, want) {
			return
		}
	}
	t.Fatalf("held is %v, wanted %v: %v", h.set, want, stream.Err())
}

// A set is held over a restart of the aggregator, whatever changes meanwhile.
func TestWatchAssets(t *testing.T) {
	c := centre.New(t)
	api := client(t, c)
	const filter = "n>=3"
	listed := func() map[string]uint64 {
		t.Helper()
		answer, err := api.ListAssets(t.Context(), connect.NewRequest(&reevev1.ListAssetsRequest{Filter: filter}))
		if err != nil {
			t.Fatal(err)
		}
		set := make(map[string]uint64)
		for _, a := range answer.Msg.GetAssets() {
			set[a.GetUid()] = a.GetVersion()
		}
		return set
	}
	e := newEdge(t, c)
	e.observe(6)
	e.arrived(6)
	h := heldSet{request: &reevev1.WatchAssetsRequest{Filter: filter, Initial: true}, set: make(map[string]uint64)}
	if len(listed()) != 4 {
		t.Fatalf("listed is %v", listed())
	}
	h.watch(t, api, listed())
	e.observe(3)
	e.arrived(9)
	h.watch(t, api, listed())
	c.Stop()
	e.observe(7)
	c.Start()
	e.arrived(16)
	h.watch(t, api, listed())

	for request, want := range map[*reevev1.WatchAssetsRequest]connect.Code{
		{Filter: "web"}:                             connect.CodeInvalidArgument,
		{Filter: "n>=4", Token: h.request.Token}:    connect.CodeInvalidArgument,
		{Filter: filter, Token: "x"}:                connect.CodeInvalidArgument,
		{Filter: filter, View: 9}:                   connect.CodeInvalidArgument,
		{Filter: "n.typo>1", Strict: true}:          connect.CodeInvalidArgument,
		{Filter: "related(runs_on, status=up) n>1"}: connect.CodeInvalidArgument,
	} {
		stream, err := api.WatchAssets(t.Context(), connect.NewRequest(request))
		if err != nil {
			t.Fatal(err)
		}
		if stream.Receive() || connect.CodeOf(stream.Err()) != want {
			t.Errorf("%v: %v, want %v", request, stream.Err(), want)
		}
		stream.Close()
	}
}
