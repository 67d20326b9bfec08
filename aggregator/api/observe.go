package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"connectrpc.com/connect"
)

func errInternal() error {
	return connect.NewError(connect.CodeInternal, errors.New("internal error: the aggregator's log says more"))
}

func errStopping() error {
	return connect.NewError(connect.CodeUnavailable, errors.New("the aggregator is stopping: call again"))
}

// recovered turns a handler's panic into an error.
func (s *Server) recovered(ctx context.Context, spec connect.Spec, _ http.Header, p any) error {
	s.logPanic(ctx, spec.Procedure, p)
	return errInternal()
}

// observer counts calls, and cuts streams when the server stops.
type observer struct{ server *Server }

var _ connect.Interceptor = observer{}

func (o observer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		begin := time.Now()
		res, err := next(ctx, req)
		o.server.metrics.observe(req.Spec().Procedure, err, time.Since(begin))
		return res, err
	}
}

func (o observer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (o observer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		begin := time.Now()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(o.server.streams, cancel)()
		if expires := CallerFrom(ctx).expires; !expires.IsZero() {
			var end context.CancelFunc
			ctx, end = context.WithDeadline(ctx, expires)
			defer end()
		}

		control := exchangeOf(ctx).control
		_ = control.SetWriteDeadline(time.Time{})
		err := next(ctx, timedStream{conn, control})
		if o.server.streams.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
			err = errStopping()
		}
		_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
		o.server.metrics.observe(conn.Spec().Procedure, err, time.Since(begin))
		return err
	}
}

// timedStream bounds the time that each message of a stream may take.
type timedStream struct {
	connect.StreamingHandlerConn
	control *http.ResponseController
}

func (t timedStream) Send(msg any) error {
	_ = t.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	defer func() { _ = t.control.SetWriteDeadline(time.Time{}) }()
	return t.StreamingHandlerConn.Send(msg)
}
