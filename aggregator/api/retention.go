package api

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"connectrpc.com/connect"

	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/retention"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
)

// Retention is the retention service.
type Retention struct {
	Registry  *registry.Registry
	Warehouse *warehouse.Warehouse
	Thinner   *retention.Thinner
	Logger    *slog.Logger
}

var _ reevev1connect.RetentionServiceHandler = (*Retention)(nil)

func (s *Retention) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return connect.NewError(connect.CodeCanceled, ctx.Err())
	}
	s.Logger.ErrorContext(ctx, "a call about retention failed", "error", err)
	return connect.NewError(connect.CodeUnavailable, errors.New("the registry or the warehouse does not answer; the aggregator's log says why"))
}

func retentionCuts(list []registry.Thinned) (out []*reevev1.RetentionCut) {
	for _, c := range list {
		out = append(out, &reevev1.RetentionCut{Site: c.Site, Type: c.Type, AllSince: timestamp(c.Cut), DailySince: timestamp(c.Daily),
			WeeklySince: timestamp(c.Weekly), MonthlySince: timestamp(c.Monthly)})
	}
	return out
}

// GetRetention implements the retention service.
func (s *Retention) GetRetention(ctx context.Context, _ *connect.Request[reevev1.GetRetentionRequest]) (
	*connect.Response[reevev1.GetRetentionResponse], error) {
	kept, err := s.Registry.Retention(ctx)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	p := s.Thinner.Progress()
	out := &reevev1.GetRetentionResponse{UpdateUser: kept.UpdatedBy, UpdateTime: timestamp(kept.UpdateTime), Thinned: retentionCuts(kept.Thinned),
		Progress: &reevev1.RetentionProgress{Running: p.Running, Waiting: p.Waiting, Doomed: int64(p.Doomed), Removed: int64(p.Removed),
			FinishTime: timestamp(p.Finished)}}
	if p.Error != nil {
		out.Progress.Error = p.Error.Error()
	}
	for _, r := range kept.Rules {
		out.Rules = append(out.Rules, &reevev1.RetentionRule{Site: r.Site, Type: r.Type, AllDays: int32(r.All), DailyDays: int32(r.Daily),
			WeeklyDays: int32(r.Weekly), MonthlyDays: int32(r.Monthly)})
	}
	return connect.NewResponse(out), nil
}

// SetRetention implements the retention service.
func (s *Retention) SetRetention(ctx context.Context, r *connect.Request[reevev1.SetRetentionRequest]) (
	*connect.Response[reevev1.SetRetentionResponse], error) {
	var rules []registry.RetentionRule
	for _, m := range r.Msg.GetRules() {
		rules = append(rules, registry.RetentionRule{Site: m.GetSite(), Type: m.GetType(), All: int(m.GetAllDays()), Daily: int(m.GetDailyDays()),
			Weekly: int(m.GetWeeklyDays()), Monthly: int(m.GetMonthlyDays())})
	}
	if err := retention.CheckRules(rules); err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err) // it says which field itself
	}
	now := time.Now()
	effects, err := retention.Plan(ctx, s.Warehouse, rules, now)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	out := &reevev1.SetRetentionResponse{Cuts: retentionCuts(retention.Cuts(rules, now))}
	for _, e := range effects {
		out.Effects = append(out.Effects, &reevev1.RetentionEffect{Type: e.Type, Versions: int64(e.Versions), Removed: int64(e.Doomed),
			Bytes: int64(e.Bytes)})
	}
	if r.Msg.GetValidateOnly() {
		return connect.NewResponse(out), nil
	}
	caller := CallerFrom(ctx)
	if _, err := s.Registry.ChangeRetention(ctx, caller.Actor(), "retention.set", func(kept *registry.Retention) error {
		kept.Rules, kept.UpdatedBy, kept.UpdateTime = rules, caller.User, now
		return nil
	}); err != nil {
		return nil, s.failed(ctx, err)
	}
	return connect.NewResponse(out), nil
}
