package api

import (
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"

	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/filter"
	"github.com/reeve-cloud/reeve/pkg/hlc"
)

// everything is what every caller may see, as long as access is not divided.
var everything = query.All()

// ListAssets implements the inventory service.
func (s *Inventory) ListAssets(ctx context.Context, r *connect.Request[reevev1.ListAssetsRequest]) (
	*connect.Response[reevev1.ListAssetsResponse], error) {
	m := r.Msg
	size, err := checkPageSize(m.GetPageSize())
	if err != nil {
		return nil, err
	}
	selection, err := selectionOf(&reevev1.AssetSelection{Filter: m.GetFilter(), Site: m.GetSite(), Type: m.GetType(), States: m.GetStates(),
		AsOf: m.GetAsOf(), Strict: m.GetStrict()})
	if err != nil {
		return nil, err
	}
	order, err := query.ParseOrder(m.GetOrderBy())
	if err != nil {
		return nil, queryError(ctx, s.Logger, err)
	}
	total, ok := map[reevev1.TotalSize]query.Total{
		reevev1.TotalSize_TOTAL_SIZE_UNSPECIFIED: query.TotalNone, reevev1.TotalSize_TOTAL_SIZE_AT_LEAST: query.TotalAtLeast,
		reevev1.TotalSize_TOTAL_SIZE_EXACT: query.TotalExact,
	}[m.GetTotal()]
	if !ok {
		return nil, invalid("total", "%d is not a way of counting", m.GetTotal())
	}
	silent := s.silent()
	page, err := s.Engine.List(ctx, everything, query.ListQuery{
		Selection: selection, Sort: order, Columns: m.GetColumns(), Limit: size, Token: m.GetPageToken(),
		Documents: m.GetView() == reevev1.AssetView_ASSET_VIEW_FULL, DocumentBytes: pageBytes, Total: total,
	})
	if err != nil {
		return nil, filterError("filter", m.GetFilter(), queryError(ctx, s.Logger, err))
	}
	response := &reevev1.ListAssetsResponse{NextPageToken: page.Next, CanonicalFilter: page.Filter, Warnings: problems(page.Warnings)}
	if total != query.TotalNone {
		response.TotalSize, response.TotalExact = page.Total, page.Exact
	}
	for i := range page.Rows {
		a, err := s.asset(&page.Rows[i].Asset, silent)
		if err != nil {
			return nil, s.unavailable(ctx, err)
		}
		a.Columns = columnValues(page.Rows[i].Values)
		response.Assets = append(response.Assets, a)
	}
	return connect.NewResponse(response), nil
}

func columnValues(values [][]string) (columns []*reevev1.ColumnValues) {
	for _, v := range values {
		columns = append(columns, &reevev1.ColumnValues{Values: v})
	}
	return columns
}

// selectionOf reads what a request selects.
func selectionOf(m *reevev1.AssetSelection) (selection query.Selection, err error) {
	selection = query.Selection{Filter: m.GetFilter(), Site: m.GetSite(), Type: m.GetType(), Strict: m.GetStrict()}
	if len(m.GetStates()) > 0 {
		if selection.States, err = wantedStates(m.GetStates()); err != nil {
			return selection, err
		}
	}
	selection.Moment, err = asOf(m.GetAsOf())
	return selection, err
}

// problems are warnings, or errors, of a filter.
func problems(list []*filter.Error) (problems []*reevev1.FilterProblem) {
	for _, e := range list {
		problems = append(problems, &reevev1.FilterProblem{Start: int32(e.Start), End: int32(e.End), Message: e.Message, Mends: e.Mends})
	}
	return problems
}

// filterError is an error, with the places of what is wrong as a detail if it is a
// filter's. field names it in the request.
func filterError(field, text string, err error) error {
	list, ok := errors.AsType[filter.Errors](err)
	if !ok || errors.Is(err, query.ErrRequest) {
		return err
	}
	answer := connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("%s: %w", field, list))
	detail, err := connect.NewErrorDetail(&reevev1.FilterError{Field: field, Filter: text, Problems: problems(list)})
	if err == nil { // it is a message of this API
		answer.AddDetail(detail)
	}
	return answer
}

// assetThen is an asset as of a moment.
func (s *Inventory) assetThen(ctx context.Context, m *reevev1.GetAssetRequest) (*connect.Response[reevev1.GetAssetResponse], error) {
	if m.GetUid() == "" {
		return nil, invalid("uid", "must not be empty")
	}
	moment, err := asOf(m.GetAsOf())
	if err != nil {
		return nil, err
	}
	rows, err := s.Engine.Get(ctx, everything, m.GetSite(), m.GetType(), m.GetUid(), moment)
	if err != nil {
		return nil, queryError(ctx, s.Logger, err)
	}
	keys := make([]warehouse.AssetKey, len(rows))
	for i := range rows {
		keys[i] = warehouse.AssetKey{Site: rows[i].Site, Type: rows[i].Type, UID: rows[i].UID}
	}
	if err := exactlyOne(m.GetUid(), keys); err != nil {
		return nil, err
	}
	response := &reevev1.GetAssetResponse{}
	if response.Asset, err = s.asset(&rows[0].Asset, nil); err != nil {
		return nil, s.unavailable(ctx, err)
	}
	relations, known, err := s.Warehouse.RelationsAt(ctx, keys[0], hlc.Stamp(moment.Stamp()), maxRelations)
	if err != nil {
		return nil, s.unavailable(ctx, err)
	}
	response.RelationsUnknown = !known
	for _, e := range relations {
		response.Relations = append(response.Relations, &reevev1.Relation{
			Kind: e.Kind, FromType: e.FromType, FromUid: e.FromUID, ToType: e.ToType, ToUid: e.ToUID,
		})
	}
	return connect.NewResponse(response), nil
}
