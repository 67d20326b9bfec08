package session_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
	"github.com/reeve-cloud/reeve/test/centre"
)

func TestEventsOverTheAPI(t *testing.T) {
	c := centre.New(t)
	now := time.Now().UTC().Truncate(time.Millisecond)
	g := &warehouse.Group{ID: uuid.New(), ReceivedAt: now}
	var want []string
	for n := range 10 {
		// Three at each moment.
		g.Events = append(g.Events, warehouse.Event{
			Origin: warehouse.Origin{Site: "west", AgentID: "a"}, ID: fmt.Sprint("e", n), Type: "cloud.test.thing", Source: "/sites/west/test/s",
			AssetType: "fake.test.Thing", AssetUID: "u", Time: now.Add(-time.Duration(n/3) * time.Minute), Severity: "warning",
			Message: "it happened", Data: []byte(`{"n":12345678901234567890}`),
		})
		want = append(want, fmt.Sprint("e", n))
	}
	if err := c.Store.Write(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	api := reevev1connect.NewEventServiceClient(signedIn(t, c))
	list := func(r *reevev1.ListEventsRequest) (events []*reevev1.Event, err error) {
		for {
			answer, err := api.ListEvents(t.Context(), connect.NewRequest(r))
			if err != nil {
				return nil, err
			}
			events = append(events, answer.Msg.GetEvents()...)
			if r.PageToken = answer.Msg.GetNextPageToken(); r.PageToken == "" {
				return events, nil
			}
		}
	}
	all, err := list(&reevev1.ListEventsRequest{PageSize: 4, View: reevev1.EventView_EVENT_VIEW_FULL})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i, e := range all {
		got = append(got, e.GetId())
		if i > 0 && e.GetTime().AsTime().After(all[i-1].GetTime().AsTime()) {
			t.Errorf("%s is newer than the one before it", e.GetId())
		}
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("pages have %v", got)
	}
	first := all[0]
	if first.GetData().GetFields()["n"].GetStringValue() != "12345678901234567890" || first.GetAssetUid() != "u" ||
		first.GetSeverity() != "warning" ||
		!first.GetTime().AsTime().Equal(now) || !first.GetReceiveTime().AsTime().Equal(now) || first.GetAgentId() != "a" {
		t.Errorf("%v", first)
	}
	for name, r := range map[string]*reevev1.ListEventsRequest{
		"another site": {Site: "east"}, "another type": {Type: "x"}, "another asset": {AssetUid: "v"}, "a type of asset": {AssetType: "x"},
		"a severity": {Severities: []string{"info", "error"}}, "later": {StartTime: timestamppb.New(now.Add(time.Minute))},
		"earlier":         {EndTime: timestamppb.New(now.Add(-time.Hour))},
		"the end of time": {StartTime: timestamppb.New(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))},
	} {
		if events, err := list(r); err != nil || len(events) != 0 {
			t.Errorf("%s: %d events, %v", name, len(events), err)
		}
	}
	if events, err := list(&reevev1.ListEventsRequest{StartTime: timestamppb.New(now), Severities: []string{"warning"}}); err != nil ||
		len(events) != 3 || events[0].GetData() != nil {
		t.Errorf("of now: %v, %v", events, err)
	}
	for name, r := range map[string]*reevev1.ListEventsRequest{
		"severity": {Severities: []string{"waring"}}, "size": {PageSize: -1}, "token": {PageToken: "x"},
		"time": {StartTime: &timestamppb.Timestamp{Nanos: -1}},
	} {
		if _, err := list(r); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	types, err := api.ListEventTypes(t.Context(), connect.NewRequest(&reevev1.ListEventTypesRequest{Site: "west"}))
	if err != nil || len(types.Msg.GetEventTypes()) != 1 || types.Msg.GetEventTypes()[0].GetName() != "cloud.test.thing" {
		t.Errorf("%v, %v", types, err)
	}
}
