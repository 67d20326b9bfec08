package api

import (
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/watch"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
)

// WatchAssets implements the inventory service.
func (s *Inventory) WatchAssets(ctx context.Context, r *connect.Request[reevev1.WatchAssetsRequest],
	out *connect.ServerStream[reevev1.WatchAssetsResponse]) error {
	m := r.Msg
	if _, ok := reevev1.AssetView_name[int32(m.GetView())]; !ok {
		return invalid("view", "%d is not a view", m.GetView())
	}
	err := s.Tail.Watch(ctx, everything, watch.Request{
		Filter: m.GetFilter(), Site: m.GetSite(), Type: m.GetType(), Strict: m.GetStrict(), Initial: m.GetInitial(), Token: m.GetToken(),
		Documents: m.GetView() == reevev1.AssetView_ASSET_VIEW_FULL,
	}, func(told *watch.Message) error { return sendSet(told, out) })
	_, stale := errors.AsType[*watch.StaleError](err)
	_, told := errors.AsType[*connect.Error](err)
	switch {
	case told || ctx.Err() != nil:
		return err
	case stale:
		return connect.NewError(connect.CodeOutOfRange, err)
	case errors.Is(err, watch.ErrFellBehind):
		return connect.NewError(connect.CodeResourceExhausted, err)
	case errors.Is(err, watch.ErrToken):
		return invalid("token", "%w", err)
	}
	return filterError("filter", m.GetFilter(), queryError(ctx, s.Logger, err))
}

// sendSet sends what a watch tells, as one message: who has a part of it without the token would
// be told of that part again. It is bounded by what a step of the watch has.
func sendSet(m *watch.Message, out *connect.ServerStream[reevev1.WatchAssetsResponse]) error {
	response := &reevev1.WatchAssetsResponse{Token: m.Token, Synced: m.Synced}
	if m.Answered != nil {
		response.CanonicalFilter, response.Warnings = m.Answered.Filter, problems(m.Answered.Warnings)
	}
	for i := range m.Transitions {
		c, err := setChange(&m.Transitions[i])
		if err != nil {
			return fmt.Errorf("a version of %s: %w", m.Transitions[i].Version.UID, err)
		}
		response.Changes = append(response.Changes, c)
	}
	return out.Send(response)
}

// setKinds are the kinds of changes in the API.
var setKinds = map[watch.Kind]reevev1.SetChange_Kind{
	watch.Entered: reevev1.SetChange_KIND_ENTERED, watch.Changed: reevev1.SetChange_KIND_CHANGED, watch.Left: reevev1.SetChange_KIND_LEFT,
}

func setChange(tr *watch.Transition) (*reevev1.SetChange, error) {
	v := tr.Version
	m := &reevev1.SetChange{
		Kind: setKinds[tr.Kind], Unsure: tr.Unsure, ChangedPaths: v.Changed, ReceiveTime: timestamp(v.ReceivedAt),
		Asset: &reevev1.Asset{
			Uid: v.UID, Type: v.Type, Site: v.Site, Name: v.Name, Status: v.Status, Region: v.Region, Project: v.Project, Labels: v.Labels,
			Scope: v.Scope, AgentId: v.AgentID, Version: v.Version, CreateTime: timestamp(v.CreatedAt), UpdateTime: timestamp(v.UpdatedAt),
			ObserveTime: timestamp(v.ObservedAt), State: reevev1.State_STATE_ACTIVE,
		},
	}
	if !tr.Initial {
		m.Operation = basicChange(&v.AssetVersion, v.ReceivedAt).GetOperation()
	}
	if v.Operation == warehouse.Deleted {
		m.Asset.State, m.Asset.DeleteTime = reevev1.State_STATE_DELETED, timestamp(v.ObservedAt)
	}
	if tr.Kind == watch.Left {
		m.Reason = reevev1.SetChange_REASON_NO_MATCH
		if v.Operation == warehouse.Deleted {
			m.Reason = reevev1.SetChange_REASON_DELETED
		}
	}
	var err error
	m.Asset.Document, err = structOf(v.Document)
	return m, err
}
