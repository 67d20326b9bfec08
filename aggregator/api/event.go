package api

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
	"github.com/reeve-cloud/reeve/pkg/nearest"
)

var _ reevev1connect.EventServiceHandler = (*Inventory)(nil)

// severities are those that events have.
var severities = []string{"info", "warning", "error"}

// ListEvents implements the event service.
func (s *Inventory) ListEvents(ctx context.Context, r *connect.Request[reevev1.ListEventsRequest]) (
	*connect.Response[reevev1.ListEventsResponse], error) {
	m := r.Msg
	size, err := checkPageSize(m.GetPageSize())
	if err != nil {
		return nil, err
	}
	for i, severity := range m.GetSeverities() {
		if !slices.Contains(severities, severity) {
			return nil, invalid(fmt.Sprintf("severities[%d]", i), "%q: must be info, warning or error%s", short(severity),
				nearest.Hint(severity, severities))
		}
	}
	from, err := momentOf("start_time", m.GetStartTime())
	if err != nil {
		return nil, err
	}
	until, err := momentOf("end_time", m.GetEndTime())
	if err != nil {
		return nil, err
	}
	filter := fmt.Sprintf("%q %q %q %q %q %d %d", m.GetSite(), m.GetType(), m.GetAssetUid(), m.GetAssetType(), m.GetSeverities(),
		from.UnixMilli(), until.UnixMilli())
	after, err := decodePageToken(m.GetPageToken(), "events", filter)
	if err != nil {
		return nil, err
	}
	q := warehouse.EventQuery{
		Site: m.GetSite(), Type: m.GetType(), AssetUID: m.GetAssetUid(), AssetType: m.GetAssetType(), Severities: m.GetSeverities(),
		From: from, Until: until, Limit: size + 1, WithData: m.GetView() == reevev1.EventView_EVENT_VIEW_FULL,
	}
	if after != "" {
		if err := json.Unmarshal([]byte(after), &q.After); err != nil || q.After == nil {
			return nil, invalid("page_token", "%w", errPageToken)
		}
	}
	list, err := s.Warehouse.Events(ctx, q)
	if err != nil {
		return nil, s.unavailable(ctx, err)
	}
	response := &reevev1.ListEventsResponse{}
	if len(list) > size {
		list = list[:size]
		key, err := json.Marshal(list[size-1].Key())
		if err != nil {
			return nil, s.unavailable(ctx, err)
		}
		response.NextPageToken = encodePageToken("events", filter, string(key))
	}
	for i := range list {
		e := &list[i]
		data, err := structOf(e.Data)
		if err != nil {
			return nil, s.unavailable(ctx, err)
		}
		response.Events = append(response.Events, &reevev1.Event{
			Id: e.ID, Type: e.Type, Source: e.Source, Site: e.Site, AssetType: e.AssetType, AssetUid: e.AssetUID, Time: timestamp(e.Time),
			Severity: e.Severity, Message: e.Message, ReceiveTime: timestamp(e.ReceivedAt), AgentId: e.AgentID, Data: data,
		})
	}
	return connect.NewResponse(response), nil
}

// momentOf returns a time of a request: the zero time if it has none.
func momentOf(field string, t *timestamppb.Timestamp) (time.Time, error) {
	if t == nil {
		return time.Time{}, nil
	}
	if err := t.CheckValid(); err != nil {
		return time.Time{}, invalid(field, "%w", err)
	}
	// What the warehouse can hold; nothing happened before or after.
	at, first, last := t.AsTime(), time.Unix(0, 0), time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
	switch {
	case at.Before(first):
		return first, nil
	case at.After(last):
		return last, nil
	}
	return at, nil
}

// ListEventTypes implements the event service.
func (s *Inventory) ListEventTypes(ctx context.Context, r *connect.Request[reevev1.ListEventTypesRequest]) (
	*connect.Response[reevev1.ListEventTypesResponse], error) {
	m := r.Msg
	size, err := checkPageSize(m.GetPageSize())
	if err != nil {
		return nil, err
	}
	filter := fmt.Sprintf("%q", m.GetSite())
	after, err := decodePageToken(m.GetPageToken(), "event types", filter)
	if err != nil {
		return nil, err
	}
	list, err := s.Warehouse.EventTypes(ctx, warehouse.EventTypeQuery{Site: m.GetSite(), After: after, Limit: size + 1})
	if err != nil {
		return nil, s.unavailable(ctx, err)
	}
	response := &reevev1.ListEventTypesResponse{}
	if len(list) > size {
		list = list[:size]
		response.NextPageToken = encodePageToken("event types", filter, list[size-1].Name)
	}
	for _, t := range list {
		response.EventTypes = append(response.EventTypes, &reevev1.EventType{Name: t.Name, LatestTime: timestamp(t.Latest)})
	}
	return connect.NewResponse(response), nil
}
