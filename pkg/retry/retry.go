// Package retry paces what is tried again: later and later, with jitter, so that
// a fleet that lost its aggregator does not come back all at once.
package retry

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// BackOff returns a sequence of pauses (NextBackOff) that grow from about first
// to about last, and begin anew with Reset.
func BackOff(first, last time.Duration) *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = first, last
	return b
}

// Sleep waits for d, or until ctx ends and then returns its error.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
