package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/reeve-cloud/reeve/aggregator/diff"
	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
	"github.com/reeve-cloud/reeve/pkg/filter"
)

// History is the history service.
type History struct{ Inventory *Inventory }

var _ reevev1connect.HistoryServiceHandler = (*History)(nil)

// ListEstateChanges implements the history service.
func (s *History) ListEstateChanges(ctx context.Context, r *connect.Request[reevev1.ListEstateChangesRequest]) (
	*connect.Response[reevev1.ListEstateChangesResponse], error) {
	m := r.Msg
	size, err := checkPageSize(m.GetPageSize())
	if err != nil {
		return nil, err
	}
	q, err := changesQuery(m)
	if err != nil {
		return nil, err
	}
	q.Limit, q.Token = size, m.GetPageToken()
	page, err := s.Inventory.Engine.Changes(ctx, query.All(), q)
	if _, ok := errors.AsType[filter.Errors](err); ok {
		return nil, filterError("filter", m.GetFilter(), err)
	}
	if err != nil {
		return nil, queryError(ctx, s.Inventory.Logger, err)
	}
	answer := &reevev1.ListEstateChangesResponse{NextPageToken: page.Next, CanonicalFilter: page.Filter}
	for i := range page.Rows {
		answer.Changes = append(answer.Changes, basicChange(&page.Rows[i].AssetVersion, page.Rows[i].ReceivedAt))
	}
	return connect.NewResponse(answer), nil
}

// changesQuery reads what changes are asked for, without the page.
func changesQuery(m *reevev1.ListEstateChangesRequest) (q query.ChangesQuery, err error) {
	q.Filter, q.Site, q.Type = m.GetFilter(), m.GetSite(), m.GetType()
	if q.Moment, err = asOf(m.GetEndTime()); err != nil {
		return q, err
	}
	since, err := asOf(m.GetStartTime())
	if err != nil {
		return q, err
	}
	q.Since = since.Time()
	for i, o := range m.GetOperations() {
		operation, ok := map[reevev1.Change_Operation]warehouse.Operation{
			reevev1.Change_OPERATION_CREATED: warehouse.Created, reevev1.Change_OPERATION_UPDATED: warehouse.Updated,
			reevev1.Change_OPERATION_DELETED: warehouse.Deleted,
		}[o]
		if !ok {
			return q, invalid(fmt.Sprintf("operations[%d]", i), "%d is not an operation", o)
		}
		q.Operations = append(q.Operations, operation)
	}
	return q, nil
}

// DiffAsset implements the history service.
func (s *History) DiffAsset(ctx context.Context, r *connect.Request[reevev1.DiffAssetRequest]) (*connect.Response[reevev1.DiffAssetResponse], error) {
	m := r.Msg
	if m.GetAsset().GetUid() == "" {
		return nil, invalid("asset.uid", "must not be empty")
	}
	asset, err := s.Inventory.find(ctx, m.GetAsset(), nil, false)
	if err != nil {
		return nil, err
	}
	k := warehouse.AssetKey{Site: asset.Site, Type: asset.Type, UID: asset.UID}
	later, err := s.version(ctx, k, "to", m.GetToVersion(), m.GetToTime(), math.MaxUint64, false)
	if err != nil {
		return nil, err
	}
	if later == nil {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("asset %q was not there yet", k.UID))
	}
	earlier, err := s.version(ctx, k, "from", m.GetFromVersion(), m.GetFromTime(), later.Version, true)
	if err != nil {
		return nil, err
	}
	if earlier != nil && earlier.Version > later.Version {
		return nil, invalid("from", "it is later than to")
	}
	answer := &reevev1.DiffAssetResponse{To: basicChange(&later.AssetVersion, later.ReceivedAt)}
	var before []byte
	var edges []warehouse.Relation
	if earlier != nil {
		answer.From = basicChange(&earlier.AssetVersion, earlier.ReceivedAt)
		if earlier.Operation != warehouse.Deleted {
			before, edges = earlier.Document, earlier.Edges
		}
	}
	after, left := later.Document, later.Edges
	if later.Operation == warehouse.Deleted {
		after, left = nil, nil
	}
	changes, err := diff.Of(before, after)
	if err != nil {
		return nil, s.Inventory.unavailable(ctx, err)
	}
	for i := range changes {
		c := &changes[i]
		p := &reevev1.PathChange{Path: c.String(), Operation: pathOperations[c.Operation]}
		if p.Old, err = valueOf(c.Old); err == nil {
			p.New, err = valueOf(c.New)
		}
		if err != nil {
			return nil, s.Inventory.unavailable(ctx, err)
		}
		answer.Changes = append(answer.Changes, p)
	}
	answer.Relations = append(relationsWithout(left, edges, reevev1.PathChange_OPERATION_ADDED),
		relationsWithout(edges, left, reevev1.PathChange_OPERATION_REMOVED)...)
	return connect.NewResponse(answer), nil
}

var pathOperations = map[diff.Operation]reevev1.PathChange_Operation{
	diff.Added: reevev1.PathChange_OPERATION_ADDED, diff.Removed: reevev1.PathChange_OPERATION_REMOVED,
	diff.Changed: reevev1.PathChange_OPERATION_CHANGED, diff.Reordered: reevev1.PathChange_OPERATION_REORDERED,
}

// version returns a version by its number, or by a time, or else the newest up to a stamp,
// or before it.
func (s *History) version(ctx context.Context, k warehouse.AssetKey, part string, number uint64, at *timestamppb.Timestamp, stamp uint64,
	before bool) (*warehouse.Change, error) {
	if number > 0 && at != nil {
		return nil, invalid(part, "give a version or a time, and not both")
	}
	if at != nil {
		moment, err := asOf(at)
		if err != nil {
			return nil, err
		}
		stamp, before = moment.Stamp(), false
	} else if number > 0 {
		stamp, before = number, false
	}
	found, err := s.Inventory.Engine.Version(ctx, query.All(), k, stamp, before)
	if err != nil {
		return nil, queryError(ctx, s.Inventory.Logger, err)
	}
	if number > 0 && (found == nil || found.Version != number) {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("%s: asset %q has no version %d", part, k.UID, number))
	}
	return found, nil
}

// relationsWithout are those of one list that are not in another.
func relationsWithout(list, others []warehouse.Relation, operation reevev1.PathChange_Operation) (changes []*reevev1.RelationChange) {
	for _, e := range list {
		if !slices.ContainsFunc(others, func(o warehouse.Relation) bool {
			return o.Kind == e.Kind && o.ToType == e.ToType && o.ToUID == e.ToUID
		}) {
			changes = append(changes, &reevev1.RelationChange{Operation: operation, Kind: e.Kind, ToType: e.ToType, ToUid: e.ToUID})
		}
	}
	return changes
}

// valueOf makes a message of a JSON value: nil of none.
func valueOf(raw json.RawMessage) (*structpb.Value, error) {
	if raw == nil {
		return nil, nil
	}
	st, err := structOf(slices.Concat([]byte(`{"v":`), raw, []byte(`}`)))
	if err != nil {
		return nil, err
	}
	return st.GetFields()["v"], nil
}
