package centre

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	"github.com/reeve-cloud/reeve/pkg/hlc"
)

// TestAwaitClock: a start at an earlier time than the aggregator has run at waits until
// the clock is right, and says so to health checks and callers.
func TestAwaitClock(t *testing.T) {
	warehousetest.Require(t)
	c := settings(t)
	knowAddresses(t, &c)
	ran := time.Now().Add(hlc.MaxSkew + 4*time.Second)
	if err := os.WriteFile(filepath.Join(c.DataDir, "clock"), []byte(ran.Format(time.RFC3339Nano)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	type result struct {
		centre *Centre
		err    error
	}
	opened := make(chan result, 1)
	go func() {
		a, err := New(context.Background(), c, slog.New(slog.DiscardHandler))
		opened <- result{a, err}
	}()
	var r result
	health, api := "", ""
	for waiting := true; waiting; {
		if answer := ask("http://" + c.HealthListen + "/readyz"); strings.Contains(answer, "set the clock") {
			health = answer
		}
		if answer := ask("https://" + c.Listen + "/reeve.v1.InventoryService/ListAssets"); strings.Contains(answer, "set the clock") {
			api = answer
		}
		select {
		case r = <-opened:
			waiting = false
		default:
		}
	}
	if r.err != nil {
		t.Fatal(r.err)
	}
	if time.Until(ran) > hlc.MaxSkew {
		t.Error("it did not wait")
	}
	if !strings.HasPrefix(health, "503") || !strings.Contains(api, `"code":"unavailable"`) {
		t.Errorf("while it waited, health checks were told %q and the API's callers %q", health, api)
	}
	r.centre.Start()
	if answer := ask("http://" + c.HealthListen + "/readyz"); !strings.HasPrefix(answer, "200") {
		t.Errorf("afterwards health checks are told %q", answer)
	}
	if err := r.centre.Stop(); err != nil {
		t.Fatal(err)
	}
}

// TestClockUnreadable: what nobody understands is no time.
func TestClockUnreadable(t *testing.T) {
	c := settings(t)
	if err := os.WriteFile(filepath.Join(c.DataDir, "clock"), []byte("soon"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), c, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "remove the file") {
		t.Errorf("error %v", err)
	}
}

// TestKeepClock: the aggregator ends when its clock is set back; a time to which it was
// set by mistake is not remembered; and a disk that takes nothing does not end it.
func TestKeepClock(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "clock")
	for name, test := range map[string]struct {
		off  time.Duration
		ends bool
	}{
		"set back by a day":            {-24 * time.Hour, true},
		"set back by half an hour":     {-30 * time.Minute, false},
		"set to ten years from now":    {87_600 * time.Hour, false},
		"set to half an hour from now": {30 * time.Minute, false},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			looked := 0
			now := func() time.Time {
				if looked++; looked == 9 {
					cancel()
				}
				if looked > 3 {
					return time.Now().Add(test.off)
				}
				return time.Now()
			}
			err := keepClock(ctx, file, now, time.Millisecond, 0, slog.New(slog.DiscardHandler))
			if ends := strings.Contains(err.Error(), "set back"); ends != test.ends {
				t.Errorf("it ended with %v", err)
			}
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			ran, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(string(data)))
			if err != nil || time.Since(ran).Abs() > time.Minute {
				t.Errorf("it remembers %q, %v", data, err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	looked := 0
	now := func() time.Time {
		if looked++; looked > 3 && looked < 8 {
			return time.Now().Add(87_600 * time.Hour)
		}
		return time.Now()
	}
	if err := keepClock(ctx, file, now, time.Millisecond, 0, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "was ahead") {
		t.Errorf("when a clock that was ahead was right again, it ended with %v", err)
	}
	young, end := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer end()
	unborn := filepath.Join(dir, "unborn")
	if err := keepClock(young, unborn, time.Now, time.Millisecond, time.Minute, slog.New(slog.DiscardHandler)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it ended with %v", err)
	}
	if _, err := os.Stat(unborn); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a time is remembered of which nobody knows yet whether it is right: %v", err)
	}
	looked = 0
	now = func() time.Time {
		if looked++; looked == 9 {
			cancel()
		}
		return time.Now()
	}
	if err := keepClock(ctx, filepath.Join(dir, "away", "clock"), now, time.Millisecond, 0, slog.New(slog.DiscardHandler)); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}
