package cli_test

import (
	"context"
	"errors"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
)

// filtered answers what the real server would say of a filter: that of "spec.nodName" has an
// error, and that of "zzz" a warning.
func filtered(field, filter string) ([]*reevev1.FilterProblem, error) {
	if at := strings.Index(filter, "spec.nodName"); at >= 0 {
		err := connect.NewError(connect.CodeInvalidArgument, errors.New(field+": no pod has spec.nodName"))
		detail, e := connect.NewErrorDetail(&reevev1.FilterError{Field: field, Filter: filter, Problems: []*reevev1.FilterProblem{
			{Start: int32(at), End: int32(at + len("spec.nodName")), Message: "no pod has spec.nodName", Mends: []string{"spec.nodeName"}}}})
		if e != nil {
			return nil, e
		}
		err.AddDetail(detail)
		return nil, err
	}
	if at := strings.Index(filter, "zzz"); at >= 0 {
		return []*reevev1.FilterProblem{{Start: int32(at), End: int32(at + 3), Message: "nothing has it"}}, nil
	}
	return nil, nil
}

func (fakeQuery) CountAssets(_ context.Context, r *connect.Request[reevev1.CountAssetsRequest]) (
	*connect.Response[reevev1.CountAssetsResponse], error) {
	warnings, err := filtered("selection.filter", r.Msg.GetSelection().GetFilter())
	return connect.NewResponse(&reevev1.CountAssetsResponse{Count: 4711, Filter: &reevev1.FilterAnswer{Warnings: warnings}}), err
}

func (fakeQuery) ListFacets(_ context.Context, r *connect.Request[reevev1.ListFacetsRequest]) (
	*connect.Response[reevev1.ListFacetsResponse], error) {
	m := &reevev1.ListFacetsResponse{}
	for _, f := range r.Msg.GetFields() {
		m.Facets = append(m.Facets, &reevev1.Facet{Field: f, DistinctValues: 3, MissingAssets: 2,
			Values: []*reevev1.FacetValue{{Value: "a\x1b[2J", Assets: 7}, {Value: r.Msg.GetSelection().GetFilter(), Assets: 5}}})
	}
	return connect.NewResponse(m), nil
}

// AnalyzeAssets answers what it was asked as the key of its one group.
func (fakeQuery) AnalyzeAssets(_ context.Context, r *connect.Request[reevev1.AnalyzeAssetsRequest]) (
	*connect.Response[reevev1.AnalyzeAssetsResponse], error) {
	asked, err := protojson.Marshal(r.Msg)
	m := &reevev1.AnalyzeAssetsResponse{Keys: []string{"asked"}, Values: []*reevev1.GroupColumn{{Name: "n"}, {Name: "at",
		Unit: reevev1.GroupColumn_UNIT_MOMENT}},
		Groups: []*reevev1.Group{{Keys: []string{strings.ReplaceAll(string(asked), " ", "")}, Values: numbers(3.5, 1772359200000)}},
		Others: &reevev1.Group{Values: numbers(2, nil)}, More: true}
	return connect.NewResponse(m), err
}

func numbers(list ...any) *reevev1.GroupNumbers {
	m := &reevev1.GroupNumbers{}
	for _, v := range list {
		n, err := structpb.NewValue(v)
		if err != nil {
			panic(err)
		}
		m.Numbers = append(m.Numbers, n)
	}
	return m
}

func (fakeQuery) QuerySeries(_ context.Context, r *connect.Request[reevev1.QuerySeriesRequest]) (
	*connect.Response[reevev1.QuerySeriesResponse], error) {
	start := r.Msg.GetStartTime().AsTime()
	return connect.NewResponse(&reevev1.QuerySeriesResponse{Keys: []string{"status"}, Values: []*reevev1.GroupColumn{{Name: "count"}},
		Times:  []*timestamppb.Timestamp{timestamppb.New(start), timestamppb.New(start.AddDate(0, 0, 1))},
		Series: []*reevev1.Series{{Keys: []string{"up"}, Points: []*reevev1.GroupNumbers{numbers(1), numbers(2)}}},
		Others: &reevev1.Series{Points: []*reevev1.GroupNumbers{numbers(0), numbers(9)}}}), nil
}

// JoinAssets answers one pair a page.
func (fakeQuery) JoinAssets(_ context.Context, r *connect.Request[reevev1.JoinAssetsRequest]) (
	*connect.Response[reevev1.JoinAssetsResponse], error) {
	left := &reevev1.Asset{Site: "s", Type: "a.b.Pod", Name: r.Msg.GetLeft().GetFilter(),
		Columns: []*reevev1.ColumnValues{{Values: []string{"x", "y"}}}}
	if r.Msg.GetPageToken() == "" {
		return connect.NewResponse(&reevev1.JoinAssetsResponse{NextPageToken: "2", Pairs: []*reevev1.AssetPair{{Left: left,
			Right: &reevev1.Asset{Site: "s",
				Type: "a.b.Node", Name: r.Msg.GetRight().GetFilter(), Columns: []*reevev1.ColumnValues{{Values: []string{"z"}}}}}}}), nil
	}
	return connect.NewResponse(&reevev1.JoinAssetsResponse{Pairs: []*reevev1.AssetPair{{Left: left}}}), nil
}

func (fakeQuery) ExplainQuery(_ context.Context, r *connect.Request[reevev1.ExplainQueryRequest]) (
	*connect.Response[reevev1.ExplainQueryResponse], error) {
	return connect.NewResponse(&reevev1.ExplainQueryResponse{Steps: []string{"The filter means " + r.Msg.GetSelection().GetFilter()},
		Statements: []*reevev1.ExplainedStatement{{Purpose: "candidates", Sql: "SELECT 1", Parameters: []*reevev1.ExplainedParameter{
			{Name: "p0", Type: "String", Value: r.Msg.GetOrderBy()}}}}}), nil
}

// SuggestFilter knows two paths of every type, and the values of one.
func (fakeQuery) SuggestFilter(_ context.Context, r *connect.Request[reevev1.SuggestFilterRequest]) (
	*connect.Response[reevev1.SuggestFilterResponse], error) {
	m := r.Msg
	typed := m.GetFilter()
	answer := &reevev1.SuggestFilterResponse{Start: int32(strings.LastIndexByte(typed, ' ') + 1), End: int32(len(typed))}
	list := []*reevev1.FilterSuggestion{{Text: "status", Kind: reevev1.FilterSuggestion_KIND_FIELD, Help: "of every asset"},
		{Text: "spec.nodeName", Kind: reevev1.FilterSuggestion_KIND_FIELD, Help: "text", Assets: 7},
		{Text: "spec.\x1b[2J", Kind: reevev1.FilterSuggestion_KIND_FIELD, Help: "text", Assets: 6}, // of a hostile site
		{Text: "spec.replicas", Kind: reevev1.FilterSuggestion_KIND_FIELD, Help: "number", Assets: 5}}
	if at := strings.IndexByte(typed, '='); at >= 0 {
		answer.Start, list = int32(at+1), nil
		if strings.HasSuffix(typed[:at], "spec.nodeName") {
			list = []*reevev1.FilterSuggestion{{Text: "n1", Kind: reevev1.FilterSuggestion_KIND_VALUE, Assets: 4},
				{Text: "n2", Kind: reevev1.FilterSuggestion_KIND_VALUE, Assets: 3}}
		}
	}
	for _, x := range list {
		if strings.HasPrefix(x.GetText(), typed[min(int(answer.GetStart()), len(typed)):]) {
			answer.Suggestions = append(answer.Suggestions, x)
		}
	}
	return connect.NewResponse(answer), nil
}
