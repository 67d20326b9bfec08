package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/reeve-cloud/reeve/aggregator/metric"
	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/query/analyze"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
	"github.com/reeve-cloud/reeve/pkg/filter"
)

// Metric is the metric service: of metrics that people keep, not of those of the aggregator
// itself.
type Metric struct {
	Registry  *registry.Registry
	Warehouse *warehouse.Warehouse
	Engine    *query.Engine
	Sampler   *metric.Sampler
	// Known returns since when the history has everything.
	Known  func(context.Context) (time.Time, error)
	Logger *slog.Logger
}

var _ reevev1connect.MetricServiceHandler = (*Metric)(nil)

var errOtherQuestion = errors.New("the question is another one than before, so its samples would not compare with those that there are: " +
	"give the metric another name, or set begin_anew to begin its series anew, without them")

// failed is the answer for an error of a call about a metric.
func (s *Metric) failed(ctx context.Context, name, place, text string, err error) error {
	if e, ok := errors.AsType[*metric.FieldError](err); ok {
		return invalid(e.Field, "%w", e.Reason)
	}
	switch {
	case ctx.Err() != nil:
		return connect.NewError(connect.CodeCanceled, ctx.Err())
	case errors.Is(err, registry.ErrNotFound):
		return connect.NewError(connect.CodeNotFound, fmt.Errorf("name: there is no metric %q", short(name)))
	case errors.Is(err, registry.ErrTooMany), errors.Is(err, metric.ErrLimit):
		return connect.NewError(connect.CodeResourceExhausted, err)
	case errors.Is(err, errOtherQuestion):
		return connect.NewError(connect.CodeFailedPrecondition, err)
	}
	if e, ok := errors.AsType[*connect.Error](err); ok {
		return e
	}
	if list, ok := errors.AsType[filter.Errors](err); ok && !errors.Is(err, query.ErrRequest) {
		return filterError(place, text, list)
	}
	return queryError(ctx, s.Logger, err)
}

// found returns the metric of a name.
func (s *Metric) found(ctx context.Context, name string) (registry.Metric, error) {
	if metric.CheckName(name) != nil {
		return registry.Metric{}, registry.ErrNotFound
	}
	return s.Registry.Metric(ctx, name)
}

// metricOf returns a metric as it is to be kept.
func metricOf(m *reevev1.Metric) (out registry.Metric, question metric.Question, err error) {
	selection := m.GetSelection()
	switch {
	case selection.GetAsOf() != nil:
		return out, question, invalid("metric.selection.as_of", "must be empty: each sample is as of its moment")
	case len(selection.GetStates()) > 0:
		return out, question, invalid("metric.selection.states", "must be empty: ask for deleted assets in the filter, by state:DELETED")
	case selection.GetStrict():
		return out, question, invalid("metric.selection.strict", "must be empty")
	}
	if err := checkGroups(m.GetLabels(), m.GetValues()); err != nil {
		return out, question, under("metric", err)
	}
	for _, k := range m.GetLabels() {
		if k.GetField() == "" {
			return out, question, invalid("metric.labels", "a field is missing")
		}
	}
	asked := analyze.Query{Selection: query.Selection{Filter: selection.GetFilter(), Site: selection.GetSite(), Type: selection.GetType()},
		Keys: keysOf(m.GetLabels()), Measures: measuresOf(m.GetValues()), Limit: int(m.GetLimit())}
	question = metric.NewQuestion(asked)
	text, err := question.Encode()
	if err != nil {
		return out, question, err
	}
	interval := metric.DefaultInterval
	if d := m.GetInterval(); d != nil {
		if err := d.CheckValid(); err != nil {
			return out, question, invalid("metric.interval", "%w", err)
		}
		interval = d.AsDuration()
	}
	if interval%time.Second != 0 {
		return out, question, invalid("metric.interval", "%v: must be whole minutes", interval)
	}
	return registry.Metric{Name: m.GetName(), Title: m.GetTitle(), Description: m.GetDescription(), Unit: m.GetUnit(), Question: text,
		IntervalSeconds: int64(interval / time.Second), KeepDays: int64(m.GetKeepDays()), Disabled: m.GetDisabled()}, question, nil
}

// SaveMetric implements the metric service.
func (s *Metric) SaveMetric(ctx context.Context, r *connect.Request[reevev1.SaveMetricRequest]) (
	*connect.Response[reevev1.SaveMetricResponse], error) {
	asked, question, err := metricOf(r.Msg.GetMetric())
	fail := func(err error) error {
		return s.failed(ctx, asked.Name, "metric.selection.filter", question.Filter, err)
	}
	if err != nil {
		return nil, fail(err)
	}
	if err := metric.Check(&asked); err != nil {
		if e, ok := errors.AsType[*metric.FieldError](err); ok {
			err = &metric.FieldError{Field: "metric." + e.Field, Reason: e.Reason}
		}
		return nil, fail(err)
	}
	answer, err := metric.Ask(ctx, s.Engine, &question, query.Moment{}, query.Interactive)
	if err != nil {
		return nil, fail(err)
	}
	caller, now := CallerFrom(ctx), time.Now()
	saved, err := s.Registry.ChangeMetric(ctx, caller.Actor(), "metric.save", asked.Name, func(m *registry.Metric) error {
		switch {
		case m.Series == "":
			m.Series, m.SeriesTime, m.CreateTime = registry.NewSeries(), now, now
		case bytes.Equal(m.Question, asked.Question):
		case !r.Msg.GetBeginAnew():
			return errOtherQuestion
		default:
			m.Series, m.SeriesTime, m.Backfill = registry.NewSeries(), now, nil
		}
		m.Title, m.Description, m.Unit, m.Question = asked.Title, asked.Description, asked.Unit, asked.Question
		m.IntervalSeconds, m.KeepDays, m.Disabled = asked.IntervalSeconds, asked.KeepDays, asked.Disabled
		m.UpdatedBy, m.UpdateTime = caller.User, now
		return nil
	})
	if err != nil {
		return nil, fail(err)
	}
	s.Sampler.Wake()
	shown, err := s.shown(&saved)
	if err != nil {
		return nil, fail(err)
	}
	return connect.NewResponse(&reevev1.SaveMetricResponse{Metric: shown, Sample: analysisOf(answer)}), nil
}

func analysisOf(a *analyze.Analysis) *reevev1.AnalyzeAssetsResponse {
	m := &reevev1.AnalyzeAssetsResponse{Keys: a.Keys, Values: columnsOf(a.Values, a.Kinds), Others: groupOf(a.Others), More: a.More,
		Filter: answerOf(a.Answered)}
	for i := range a.Groups {
		m.Groups = append(m.Groups, groupOf(&a.Groups[i]))
	}
	return m
}

// shown is a metric as callers see it.
func (s *Metric) shown(m *registry.Metric) (*reevev1.Metric, error) {
	question, err := metric.ParseQuestion(m.Question)
	if err != nil {
		return nil, err
	}
	asked, err := question.Analysis(query.Moment{}, query.Interactive)
	if err != nil {
		return nil, err
	}
	out := &reevev1.Metric{Name: m.Name, Title: m.Title, Description: m.Description, Unit: m.Unit,
		Selection: &reevev1.AssetSelection{Filter: question.Filter, Site: question.Site, Type: question.Type}, Limit: int32(question.Groups),
		Interval: durationpb.New(time.Duration(m.IntervalSeconds) * time.Second), KeepDays: int32(m.KeepDays), Disabled: m.Disabled,
		UpdateUser: m.UpdatedBy, CreateTime: timestamp(m.CreateTime), UpdateTime: timestamp(m.UpdateTime)}
	for _, k := range asked.Keys {
		out.Labels = append(out.Labels, &reevev1.GroupKey{Field: k.Field, Name: k.Name, Bucket: reevev1.GroupKey_Bucket(k.Bucket), Each: k.Each})
	}
	for _, v := range asked.Measures {
		function := reevev1.GroupValue_FUNCTION_COUNT
		for f, of := range functions {
			if of == v.Function && f != reevev1.GroupValue_FUNCTION_UNSPECIFIED {
				function = f
			}
		}
		out.Values = append(out.Values, &reevev1.GroupValue{Name: v.Name, Function: function, Field: v.Field, Level: v.Level, Filter: v.Filter})
	}
	st := s.Sampler.Status(m.Name)
	out.Status = &reevev1.MetricStatus{Samples: int64(st.Samples), FirstTime: timestamp(st.First), LastTime: timestamp(st.Last),
		Groups: int32(st.Groups), Others: st.Others, Left: int64(st.Left)}
	if !m.Disabled {
		out.Status.Due = int64(st.Due)
	}
	if st.Error != nil {
		out.Status.Error, out.Status.ErrorTime, out.Status.RetryTime = st.Error.Error(), timestamp(st.Failed), timestamp(st.Retry)
	}
	if b := m.Backfill; b != nil {
		out.Status.Backfill = &reevev1.MetricBackfill{StartTime: timestamp(b.From), EndTime: timestamp(b.To), Moments: int64(st.Wanted),
			Done: int64(st.Filled)}
	}
	return out, nil
}

// ListMetrics implements the metric service.
func (s *Metric) ListMetrics(ctx context.Context, r *connect.Request[reevev1.ListMetricsRequest]) (
	*connect.Response[reevev1.ListMetricsResponse], error) {
	size, err := checkPageSize(r.Msg.GetPageSize())
	if err != nil {
		return nil, err
	}
	after, err := decodePageToken(r.Msg.GetPageToken(), "metrics", "")
	if err != nil {
		return nil, err
	}
	response := &reevev1.ListMetricsResponse{}
	for m, err := range s.Registry.Metrics(ctx, after) {
		if errors.Is(err, registry.ErrCorrupt) {
			s.Logger.ErrorContext(ctx, "a metric is left out of a list", "error", err)
			continue
		}
		if err != nil {
			return nil, s.failed(ctx, "", "", "", err)
		}
		if len(response.Metrics) == size {
			response.NextPageToken = encodePageToken("metrics", "", response.Metrics[size-1].GetName())
			break
		}
		shown, err := s.shown(&m)
		if err != nil {
			return nil, s.failed(ctx, m.Name, "", "", err)
		}
		response.Metrics = append(response.Metrics, shown)
	}
	return connect.NewResponse(response), nil
}

// DeleteMetric implements the metric service.
func (s *Metric) DeleteMetric(ctx context.Context, r *connect.Request[reevev1.DeleteMetricRequest]) (
	*connect.Response[reevev1.DeleteMetricResponse], error) {
	name := r.Msg.GetName()
	_, err := s.found(ctx, name)
	if err == nil {
		err = s.Registry.DeleteMetric(ctx, CallerFrom(ctx).Actor(), name)
	}
	if err != nil {
		return nil, s.failed(ctx, name, "", "", err)
	}
	return connect.NewResponse(&reevev1.DeleteMetricResponse{}), nil
}

// RunMetric implements the metric service.
func (s *Metric) RunMetric(ctx context.Context, r *connect.Request[reevev1.RunMetricRequest]) (
	*connect.Response[reevev1.RunMetricResponse], error) {
	moment, err := asOf(r.Msg.GetAsOf())
	if err != nil {
		return nil, err
	}
	m, err := s.found(ctx, r.Msg.GetName())
	if err != nil {
		return nil, s.failed(ctx, r.Msg.GetName(), "", "", err)
	}
	question, err := metric.ParseQuestion(m.Question)
	if err != nil {
		return nil, s.failed(ctx, m.Name, "", "", err)
	}
	answer, err := metric.Ask(ctx, s.Engine, &question, moment, query.Interactive)
	if err != nil {
		return nil, s.failed(ctx, m.Name, "metric.selection.filter", question.Filter, err)
	}
	return connect.NewResponse(&reevev1.RunMetricResponse{Sample: analysisOf(answer), Unit: m.Unit}), nil
}

// moment reads a time of a request, which may be absent.
func moment(field string, at *timestamppb.Timestamp) (time.Time, error) {
	if at == nil {
		return time.Time{}, nil
	}
	if err := at.CheckValid(); err != nil || at.AsTime().Unix() < 0 {
		return time.Time{}, invalid(field, "it must be a moment from 1970 on")
	}
	return at.AsTime(), nil
}

// QueryMetric implements the metric service.
func (s *Metric) QueryMetric(ctx context.Context, r *connect.Request[reevev1.QueryMetricRequest]) (
	*connect.Response[reevev1.QueryMetricResponse], error) {
	m, err := s.found(ctx, r.Msg.GetName())
	if err != nil {
		return nil, s.failed(ctx, r.Msg.GetName(), "", "", err)
	}
	if _, ok := reevev1.QueryMetricRequest_Aggregate_name[int32(r.Msg.GetAggregate())]; !ok {
		return nil, invalid("aggregate", "%d is none", r.Msg.GetAggregate())
	}
	q := metric.SeriesQuery{Filter: r.Msg.GetFilter(), Aggregate: metric.Aggregate(r.Msg.GetAggregate()), By: r.Msg.GetBy()}
	if q.From, err = moment("start_time", r.Msg.GetStartTime()); err != nil {
		return nil, err
	}
	if q.To, err = moment("end_time", r.Msg.GetEndTime()); err != nil {
		return nil, err
	}
	if d := r.Msg.GetStep(); d != nil {
		if err := d.CheckValid(); err != nil || d.AsDuration() <= 0 {
			return nil, invalid("step", "it must be longer than nothing")
		}
		q.Step = d.AsDuration()
	}
	a, err := metric.Read(ctx, s.Warehouse, &m, q, time.Now())
	if err != nil {
		return nil, s.failed(ctx, m.Name, "filter", q.Filter, err)
	}
	out := &reevev1.QueryMetricResponse{Labels: a.Labels, Values: a.Values, Unit: m.Unit, Step: durationpb.New(a.Step), MoreGaps: a.MoreGaps,
		CanonicalFilter: a.Filter, Warnings: a.Warnings}
	for _, t := range a.Times {
		out.Times = append(out.Times, timestamppb.New(t))
	}
	line := func(l *metric.Line) *reevev1.Series {
		series := &reevev1.Series{Keys: l.Labels}
		for _, p := range l.Points {
			series.Points = append(series.Points, numbersOf(p))
		}
		return series
	}
	for i := range a.List {
		out.Series = append(out.Series, line(&a.List[i]))
	}
	if a.Others != nil {
		out.Others = line(a.Others)
	}
	for _, g := range a.Gaps {
		out.Gaps = append(out.Gaps, &reevev1.MetricGap{StartTime: timestamppb.New(g.From), EndTime: timestamppb.New(g.To), Moments: int64(g.Moments)})
	}
	return connect.NewResponse(out), nil
}

// BackfillMetric implements the metric service.
func (s *Metric) BackfillMetric(ctx context.Context, r *connect.Request[reevev1.BackfillMetricRequest]) (
	*connect.Response[reevev1.BackfillMetricResponse], error) {
	name, now := r.Msg.GetName(), time.Now()
	fail := func(err error) error { return s.failed(ctx, name, "", "", err) }
	m, err := s.found(ctx, name)
	if err != nil {
		return nil, fail(err)
	}
	var b *registry.MetricBackfill
	response := &reevev1.BackfillMetricResponse{}
	if !r.Msg.GetStop() {
		first, err := moment("start_time", r.Msg.GetStartTime())
		if err != nil {
			return nil, err
		}
		last, err := moment("end_time", r.Msg.GetEndTime())
		if err != nil {
			return nil, err
		}
		known, err := s.Known(ctx)
		if err != nil {
			return nil, fail(err)
		}
		if b, response.Moments, err = metric.NewBackfill(&m, first, last, known, now); err != nil {
			return nil, fail(err)
		}
		b.Again = r.Msg.GetAgain()
		response.StartTime, response.EndTime = timestamppb.New(b.From), timestamppb.New(b.To)
	}
	if r.Msg.GetValidateOnly() {
		return connect.NewResponse(response), nil
	}
	_, err = s.Registry.ChangeMetric(ctx, CallerFrom(ctx).Actor(), "metric.backfill", name, func(now *registry.Metric) error {
		if now.Series != m.Series {
			return registry.ErrNotFound // it was deleted, or began anew, meanwhile
		}
		now.Backfill = b
		return nil
	})
	if err != nil {
		return nil, fail(err)
	}
	s.Sampler.Wake()
	return connect.NewResponse(response), nil
}
