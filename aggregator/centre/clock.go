package centre

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/reeve-cloud/reeve/pkg/atomicfile"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/retry"
)

// What agents record is ordered by the aggregator's clock where theirs is far off, so
// the aggregator must not work while its own is far behind: what came in that time
// would be older than what is there, and be lost from sight. Machines without a
// battery start in 1970, or in the year of their image, and are right some seconds
// later. So the aggregator remembers until when it has run, and waits at its start
// while the clock says an earlier time; agents keep what they have meanwhile.

const (
	// lookAtClock is how often the running aggregator looks at its clock.
	lookAtClock = 30 * time.Second
	// trustClock is for how long it must have run until it remembers the time: a clock that is
	// ahead at the start of the machine is set right soon.
	trustClock = 10 * time.Minute
)

// clockFile holds the time until which the aggregator has run.
func (a *Centre) clockFile() string { return filepath.Join(a.config.DataDir, "clock") }

// awaitClock waits until this machine's clock is no more than hlc.MaxSkew behind the
// time at which the aggregator ran last. Health checks and callers are told meanwhile.
func (a *Centre) awaitClock(ctx context.Context, certificate func() (*tls.Certificate, error)) error {
	data, err := os.ReadFile(a.clockFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading until when the aggregator has run: %w", err)
	}
	ran, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(string(data)))
	if err != nil {
		return fmt.Errorf("reading until when the aggregator has run: %s: %w: remove the file if this machine's clock is right",
			a.clockFile(), err)
	}
	behind := func() bool { return time.Until(ran) > hlc.MaxSkew }
	if !behind() {
		return nil
	}
	say := func() string {
		return fmt.Sprintf("this machine's clock says %s, but the aggregator has run at %s already: set the clock, and the aggregator "+
			"goes on by itself; if it is right, and was wrong then, remove %s and restart",
			time.Now().UTC().Format(time.RFC3339), ran.UTC().Format(time.RFC3339), a.clockFile())
	}
	a.logger.Error("waiting until this machine's clock is right", "reason", say())
	return a.tellToWait(ctx, certificate, say, func() error {
		for behind() {
			if err := retry.Sleep(ctx, time.Second); err != nil {
				return fmt.Errorf("waiting for this machine's clock: %w", err)
			}
		}
		a.logger.Info("the clock has been set, and the aggregator goes on")
		return nil
	})
}

// keepClock remembers until when the aggregator has run, and ends it when the clock is
// set back by more than hlc.MaxSkew: at the next start it waits. It also ends it when a
// clock that was set ahead by as much is right again: what is received has times that never
// run backwards in one run (ingest.Progress).
func (a *Centre) keepClock(ctx context.Context) error {
	return keepClock(ctx, a.clockFile(), time.Now, lookAtClock, trustClock, a.logger)
}

func keepClock(ctx context.Context, file string, now func() time.Time, every, trust time.Duration, logger *slog.Logger) error {
	// By the monotonic clock: a time to which the wall clock was set by mistake is not
	// remembered before the next start.
	began, from, failing, wasAhead := now().Round(0), time.Now(), false, false
	for {
		ran := began.Add(time.Since(from))
		if at := now(); ran.Sub(at) > hlc.MaxSkew {
			return fmt.Errorf("this machine's clock was set back from %s to %s", ran.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
		}
		ahead := now().Sub(ran) > hlc.MaxSkew
		switch {
		case ahead && !wasAhead:
			// So it is behind a sleep of the machine, too, which the monotonic clock does not count.
			logger.Warn("this machine's clock was set ahead: is it right?", "clock", now().UTC(), "expected", ran.UTC())
		case !ahead && wasAhead:
			return fmt.Errorf("this machine's clock was ahead, and is %s again: times of what is received begin anew with the next start",
				now().UTC().Format(time.RFC3339))
		}
		wasAhead = ahead
		var err error
		if time.Since(from) >= trust {
			err = atomicfile.Write(file, []byte(ran.UTC().Format(time.RFC3339Nano)+"\n"), 0o600)
		}
		if err != nil && !failing {
			// A full disk is no reason to end; the one of before serves as well.
			logger.Warn("until when the aggregator has run cannot be stored", "error", err)
		}
		failing = err != nil
		if err := retry.Sleep(ctx, every); err != nil {
			return err
		}
	}
}
