package api

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/query/analyze"
	"github.com/reeve-cloud/reeve/aggregator/query/suggest"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/filter"
)

func answerOf(a query.Answered) *reevev1.FilterAnswer {
	return &reevev1.FilterAnswer{CanonicalFilter: a.Filter, Warnings: problems(a.Warnings)}
}

// failed is the answer for an error of a question about a selection.
func (s *Query) failed(ctx context.Context, m *reevev1.AssetSelection, err error) error {
	return filterError("selection.filter", m.GetFilter(), queryError(ctx, s.Logger, err))
}

// CountAssets implements the query service.
func (s *Query) CountAssets(ctx context.Context, r *connect.Request[reevev1.CountAssetsRequest]) (
	*connect.Response[reevev1.CountAssetsResponse], error) {
	selection, err := selectionOf(r.Msg.GetSelection())
	if err != nil {
		return nil, err
	}
	counted, err := s.Engine.Count(ctx, everything, selection)
	if err != nil {
		return nil, s.failed(ctx, r.Msg.GetSelection(), err)
	}
	return connect.NewResponse(&reevev1.CountAssetsResponse{Count: counted.Count, Filter: answerOf(counted.Answered)}), nil
}

// ListFacets implements the query service.
func (s *Query) ListFacets(ctx context.Context, r *connect.Request[reevev1.ListFacetsRequest]) (
	*connect.Response[reevev1.ListFacetsResponse], error) {
	m := r.Msg
	selection, err := selectionOf(m.GetSelection())
	if err != nil {
		return nil, err
	}
	facets, err := analyze.FacetsOf(ctx, s.Engine, everything, analyze.FacetQuery{Selection: selection, Fields: m.GetFields(), Limit: int(m.GetLimit())})
	if err != nil {
		return nil, s.failed(ctx, m.GetSelection(), err)
	}
	response := &reevev1.ListFacetsResponse{Filter: answerOf(facets.Answered)}
	for _, f := range facets.Facets {
		facet := &reevev1.Facet{Field: f.Field, DistinctValues: f.Distinct, MissingAssets: f.Missing}
		for _, v := range f.Values {
			facet.Values = append(facet.Values, &reevev1.FacetValue{Value: v.Value, Assets: v.Count})
		}
		response.Facets = append(response.Facets, facet)
	}
	return connect.NewResponse(response), nil
}

func keyOf(m *reevev1.GroupKey) analyze.Key {
	return analyze.Key{Name: m.GetName(), Field: m.GetField(), Bucket: analyze.Bucket(m.GetBucket()), Each: m.GetEach()}
}

func keysOf(list []*reevev1.GroupKey) (keys []analyze.Key) {
	for _, m := range list {
		keys = append(keys, keyOf(m))
	}
	return keys
}

func measuresOf(list []*reevev1.GroupValue) (measures []analyze.Measure) {
	for _, m := range list {
		measures = append(measures, analyze.Measure{Name: m.GetName(), Function: functions[m.GetFunction()], Field: m.GetField(),
			Level:  m.GetLevel(),
			Filter: m.GetFilter()})
	}
	return measures
}

var functions = map[reevev1.GroupValue_Function]analyze.Function{
	reevev1.GroupValue_FUNCTION_UNSPECIFIED: analyze.Count, reevev1.GroupValue_FUNCTION_COUNT: analyze.Count,
	reevev1.GroupValue_FUNCTION_DISTINCT: analyze.Distinct, reevev1.GroupValue_FUNCTION_SUM: analyze.Sum, reevev1.GroupValue_FUNCTION_AVERAGE: analyze.Average,
	reevev1.GroupValue_FUNCTION_MIN: analyze.Min, reevev1.GroupValue_FUNCTION_MAX: analyze.Max, reevev1.GroupValue_FUNCTION_QUANTILE: analyze.Quantile,
}

// checkGroups refuses words that are none of the API's.
func checkGroups(keys []*reevev1.GroupKey, values []*reevev1.GroupValue) error {
	for _, k := range keys {
		if _, ok := reevev1.GroupKey_Bucket_name[int32(k.GetBucket())]; !ok {
			return invalid("group_by", "%d is not a length of periods", k.GetBucket())
		}
	}
	for _, v := range values {
		if _, ok := functions[v.GetFunction()]; !ok {
			return invalid("values", "%d is not a function", v.GetFunction())
		}
	}
	return nil
}

func columnsOf(names []string, kinds []filter.Kind) (columns []*reevev1.GroupColumn) {
	for i, name := range names {
		c := &reevev1.GroupColumn{Name: name}
		switch kinds[i] {
		case filter.Time:
			c.Unit = reevev1.GroupColumn_UNIT_MOMENT
		case filter.Span:
			c.Unit = reevev1.GroupColumn_UNIT_DURATION
		}
		columns = append(columns, c)
	}
	return columns
}

func numbersOf(values []*float64) *reevev1.GroupNumbers {
	m := &reevev1.GroupNumbers{}
	for _, v := range values {
		if v == nil {
			m.Numbers = append(m.Numbers, structpb.NewNullValue())
		} else {
			m.Numbers = append(m.Numbers, sqlValue(*v, ""))
		}
	}
	return m
}

func groupOf(g *analyze.Group) *reevev1.Group {
	if g == nil {
		return nil
	}
	m := &reevev1.Group{Keys: g.Keys, Values: numbersOf(g.Values)}
	for _, p := range g.Pivot {
		m.Pivot = append(m.Pivot, numbersOf(p))
	}
	return m
}

// AnalyzeAssets implements the query service.
func (s *Query) AnalyzeAssets(ctx context.Context, r *connect.Request[reevev1.AnalyzeAssetsRequest]) (
	*connect.Response[reevev1.AnalyzeAssetsResponse], error) {
	m := r.Msg
	selection, err := selectionOf(m.GetSelection())
	if err != nil {
		return nil, err
	}
	if err := checkGroups(append(m.GetGroupBy(), m.GetPivot()), m.GetValues()); err != nil {
		return nil, err
	}
	q := analyze.Query{
		Selection: selection, Keys: keysOf(m.GetGroupBy()), Measures: measuresOf(m.GetValues()), Having: m.GetHaving(),
		PivotLimit: int(m.GetPivotLimit()), Limit: int(m.GetLimit()), Others: m.GetOthers(), Totals: m.GetTotals(),
	}
	if m.GetPivot() != nil {
		pivot := keyOf(m.GetPivot())
		q.Pivot = &pivot
	}
	for _, c := range m.GetComputed() {
		q.Computed = append(q.Computed, analyze.Computed{Name: c.GetName(), Expression: c.GetExpression()})
	}
	if q.Sort, err = query.ParseOrder(m.GetOrderBy()); err != nil {
		return nil, s.failed(ctx, m.GetSelection(), err)
	}
	a, err := analyze.Analyze(ctx, s.Engine, everything, q)
	if err != nil {
		return nil, s.failed(ctx, m.GetSelection(), err)
	}
	response := &reevev1.AnalyzeAssetsResponse{
		Keys: a.Keys, Values: columnsOf(a.Values, a.Kinds), PivotValues: a.PivotValues, PivotOthers: a.PivotOthers,
		Others: groupOf(a.Others), Totals: groupOf(a.Totals), More: a.More, Filter: answerOf(a.Answered),
	}
	for i := range a.Groups {
		response.Groups = append(response.Groups, groupOf(&a.Groups[i]))
	}
	return connect.NewResponse(response), nil
}

// QuerySeries implements the query service.
func (s *Query) QuerySeries(ctx context.Context, r *connect.Request[reevev1.QuerySeriesRequest]) (
	*connect.Response[reevev1.QuerySeriesResponse], error) {
	m := r.Msg
	if m.GetSelection().GetAsOf() != nil {
		return nil, invalid("selection.as_of", "a series has moments of its own: start_time and end_time")
	}
	selection, err := selectionOf(m.GetSelection())
	if err != nil {
		return nil, err
	}
	if err := checkGroups(m.GetGroupBy(), m.GetValues()); err != nil {
		return nil, err
	}
	q := analyze.SeriesQuery{Selection: selection, Interval: analyze.Bucket(m.GetInterval()), Keys: keysOf(m.GetGroupBy()),
		Measures: measuresOf(m.GetValues()),
		Limit:    int(m.GetLimit()), Others: m.GetOthers()}
	for _, t := range []struct {
		name string
		from *timestamppb.Timestamp
		to   *time.Time
	}{{"start_time", m.GetStartTime(), &q.From}, {"end_time", m.GetEndTime(), &q.To}} {
		if t.from == nil {
			continue
		}
		if err := t.from.CheckValid(); err != nil || t.from.AsTime().Unix() < 0 {
			return nil, invalid(t.name, "it must be a moment from 1970 on")
		}
		*t.to = t.from.AsTime()
	}
	a, err := analyze.SeriesOf(ctx, s.Engine, everything, q)
	if err != nil {
		return nil, s.failed(ctx, m.GetSelection(), err)
	}
	seriesOf := func(x *analyze.Series) *reevev1.Series {
		out := &reevev1.Series{Keys: x.Keys}
		for _, p := range x.Points {
			out.Points = append(out.Points, numbersOf(p))
		}
		return out
	}
	response := &reevev1.QuerySeriesResponse{Keys: a.Keys, Values: columnsOf(a.Values, a.Kinds), Filter: answerOf(a.Answered)}
	for _, t := range a.Times {
		response.Times = append(response.Times, timestamppb.New(t))
	}
	for i := range a.Series {
		response.Series = append(response.Series, seriesOf(&a.Series[i]))
	}
	if a.Others != nil {
		response.Others = seriesOf(a.Others)
	}
	return connect.NewResponse(response), nil
}

// JoinAssets implements the query service.
func (s *Query) JoinAssets(ctx context.Context, r *connect.Request[reevev1.JoinAssetsRequest]) (
	*connect.Response[reevev1.JoinAssetsResponse], error) {
	m := r.Msg
	size, err := checkPageSize(m.GetPageSize())
	if err != nil {
		return nil, err
	}
	q := analyze.JoinQuery{Relation: m.GetRelation(), LeftColumns: m.GetLeftColumns(), RightColumns: m.GetRightColumns(), Outer: m.GetOuter(),
		Limit: size, Token: m.GetPageToken()}
	if q.Left, err = selectionOf(m.GetLeft()); err != nil {
		return nil, err
	}
	if q.Right, err = selectionOf(m.GetRight()); err != nil {
		return nil, err
	}
	pairs, err := analyze.Join(ctx, s.Engine, everything, q)
	if err != nil {
		return nil, queryError(ctx, s.Logger, err)
	}
	response := &reevev1.JoinAssetsResponse{NextPageToken: pairs.Next, LeftFilter: answerOf(pairs.Left), RightFilter: answerOf(pairs.Right)}
	end := func(e *analyze.PairEnd) *reevev1.Asset {
		if e == nil {
			return nil
		}
		return &reevev1.Asset{Uid: e.UID, Type: e.Type, Site: e.Site, Name: e.Name, Columns: columnValues(e.Values)}
	}
	for i := range pairs.Pairs {
		p := &pairs.Pairs[i]
		response.Pairs = append(response.Pairs, &reevev1.AssetPair{Left: end(&p.Left), Right: end(p.Right)})
	}
	return connect.NewResponse(response), nil
}

// SuggestFilter implements the query service.
func (s *Query) SuggestFilter(ctx context.Context, r *connect.Request[reevev1.SuggestFilterRequest]) (
	*connect.Response[reevev1.SuggestFilterResponse], error) {
	m := r.Msg
	found, err := s.Completer.Suggest(ctx, everything, suggest.Query{Filter: m.GetFilter(), Cursor: int(m.GetCursor()),
		Site: m.GetSite(), Type: m.GetType(),
		Limit: int(m.GetLimit())})
	if err != nil {
		return nil, queryError(ctx, s.Logger, err)
	}
	response := &reevev1.SuggestFilterResponse{Start: int32(found.Start), End: int32(found.End)}
	for _, x := range found.List {
		response.Suggestions = append(response.Suggestions, &reevev1.FilterSuggestion{
			Text: x.Text, Kind: reevev1.FilterSuggestion_Kind(x.Kind), Help: x.Help, Assets: int64(x.Assets),
		})
	}
	return connect.NewResponse(response), nil
}

// ExplainQuery implements the query service.
func (s *Query) ExplainQuery(ctx context.Context, r *connect.Request[reevev1.ExplainQueryRequest]) (
	*connect.Response[reevev1.ExplainQueryResponse], error) {
	m := r.Msg
	size, err := checkPageSize(m.GetPageSize())
	if err != nil {
		return nil, err
	}
	selection, err := selectionOf(m.GetSelection())
	if err != nil {
		return nil, err
	}
	order, err := query.ParseOrder(m.GetOrderBy())
	if err != nil {
		return nil, queryError(ctx, s.Logger, err)
	}
	x, err := s.Engine.Explain(ctx, everything, query.ListQuery{Selection: selection, Sort: order, Columns: m.GetColumns(), Limit: size})
	if err != nil {
		return nil, s.failed(ctx, m.GetSelection(), err)
	}
	response := &reevev1.ExplainQueryResponse{Filter: answerOf(x.Answered), Steps: x.Steps}
	for _, st := range x.Statements {
		out := &reevev1.ExplainedStatement{Purpose: st.Purpose, Sql: st.SQL}
		for _, p := range st.Parameters {
			out.Parameters = append(out.Parameters, &reevev1.ExplainedParameter{Name: p.Name, Type: p.Type, Value: p.Value})
		}
		response.Statements = append(response.Statements, out)
	}
	return connect.NewResponse(response), nil
}
