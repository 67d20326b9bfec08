package host

import (
	"context"
	"time"
)

// burst turns a flood of changes into few listings. Changes are waited for
// until none came for the quiet time, but not longer than the limit, and two
// listings are apart by the gap and by a multiple of what one of them took, so
// that a machine where nothing ever rests does not spend a core on being seen.
type burst struct {
	quiet, limit, gap time.Duration

	started, ended time.Time
}

// restFactor times the duration of a listing is the rest after it.
const restFactor = 4

func newBurst() *burst {
	return &burst{quiet: 100 * time.Millisecond, limit: 500 * time.Millisecond, gap: 500 * time.Millisecond}
}

// begin and end mark a listing.
func (b *burst) begin() { b.started = time.Now() }
func (b *burst) end()   { b.ended = time.Now() }

// wait returns when it is time to list again, which is never before a change.
func (b *burst) wait(ctx context.Context, changes <-chan struct{}) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-changes:
	}
	first := time.Now()
	for {
		if err := sleep(ctx, b.quiet); err != nil {
			return err
		}
		if !drain(changes) || time.Since(first) >= b.limit {
			break
		}
	}
	rest := max(b.gap-time.Since(b.started), restFactor*b.ended.Sub(b.started)-time.Since(b.ended))
	if err := sleep(ctx, rest); err != nil {
		return err
	}
	drain(changes) // the listing that follows sees them
	return nil
}

// drain takes a pending change, if there is one.
func drain(changes <-chan struct{}) bool {
	select {
	case <-changes:
		return true
	default:
		return false
	}
}

// poke notes a change on a channel with room for one.
func poke(changes chan<- struct{}) {
	select {
	case changes <- struct{}{}:
	default:
	}
}
