package query

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// TestLimitsInWords: what a query costs too much says so, and what else fails does not.
func TestLimitsInWords(t *testing.T) {
	for code, limit := range map[int32]bool{
		codeTooManyRows: true, codeTimeout: true, codeTooSlow: true, codeMemoryLimit: true, codeTooManyBytes: true, codeTooManyRowsOrBytes: true,
		codeTooDeep: true, codeTooBig: true, codeTooDeepRecursion: true, 60: false, 47: false,
	} {
		err := Interactive.explainError(t.Context(), "counting", fmt.Errorf("sending: %w", &clickhouse.Exception{Code: code}))
		var e *LimitError
		if errors.As(err, &e) != limit || errors.Is(err, ErrUnavailable) == limit {
			t.Errorf("code %d: %v", code, err)
		}
	}
	var e *LimitError
	if err := Export.explainError(t.Context(), "counting", fmt.Errorf("x: %w", context.DeadlineExceeded)); !errors.As(err, &e) ||
		e.Class != Export {
		t.Errorf("an engine that took too long: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Interactive.explainError(gone, "counting", context.Canceled); errors.As(err, &e) || !errors.Is(err, context.Canceled) {
		t.Errorf("a caller who went away: %v", err)
	}
}
