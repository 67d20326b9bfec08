package api

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// quietLog writes lines of one kind, but so few that a flood of what causes them
// does not fill the disk. It says how many it left out.
type quietLog struct {
	logger  *slog.Logger
	limiter *rate.Limiter

	mu      sync.Mutex
	leftOut int
}

func newQuietLog(logger *slog.Logger) *quietLog {
	return &quietLog{logger: logger, limiter: rate.NewLimiter(rate.Every(5*time.Second), 20)}
}

func (q *quietLog) log(ctx context.Context, level slog.Level, msg string, args ...any) {
	if !q.logger.Enabled(ctx, level) {
		return
	}
	q.mu.Lock()
	if !q.limiter.Allow() {
		q.leftOut++
		q.mu.Unlock()
		return
	}
	if q.leftOut > 0 {
		args = append(args, "like_lines_left_out", q.leftOut)
		q.leftOut = 0
	}
	q.mu.Unlock()
	q.logger.Log(ctx, level, msg, args...) //nolint:sloglint // callers have constants
}
