package api

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/filter"
)

// asOf is as of when something is asked: now, if nothing is said.
func asOf(at *timestamppb.Timestamp) (query.Moment, error) {
	if at == nil {
		return query.Moment{}, nil
	}
	if err := at.CheckValid(); err != nil {
		return query.Moment{}, invalid("as_of", "%w", err)
	}
	if at.AsTime().Before(time.Unix(0, 0)) {
		return query.Moment{}, invalid("as_of", "%s: must not be before 1970", at.AsTime().Format(time.RFC3339))
	}
	return query.At(at.AsTime()), nil
}

// queryError is the answer for an error of a query.
func queryError(ctx context.Context, logger *slog.Logger, err error) error {
	if ctx.Err() != nil {
		return connect.NewError(connect.CodeCanceled, ctx.Err())
	}
	if _, ok := errors.AsType[*query.LimitError](err); ok {
		return connect.NewError(connect.CodeResourceExhausted, err)
	}
	if errors.Is(err, query.ErrRequest) {
		return connect.NewError(connect.CodeInvalidArgument, err)
	}
	if _, ok := errors.AsType[filter.Errors](err); ok {
		return filterError("filter", "", err)
	}
	logger.ErrorContext(ctx, "the warehouse failed a query", "error", err)
	return connect.NewError(connect.CodeUnavailable, errors.New("the warehouse does not answer; the aggregator's log says why"))
}

// stateOf is a state of the warehouse in the API.
func stateOf(st warehouse.State) reevev1.State {
	switch st {
	case warehouse.Gone:
		return reevev1.State_STATE_DELETED
	case warehouse.Disconnected:
		return reevev1.State_STATE_DISCONNECTED
	case warehouse.Active:
		return reevev1.State_STATE_ACTIVE
	}
	return reevev1.State_STATE_UNSPECIFIED
}
