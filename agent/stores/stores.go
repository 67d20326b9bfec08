// Package stores opens what an agent keeps in its data directory, what was last
// seen (package collect) and the spool, and brings both into order again after
// whatever has happened to them.
//
// Nothing is thrown away on a guess. The directory is locked before anything in
// it is touched. A store is put aside, and a new one begun, only where it is
// certain that it is damaged; whatever else keeps a store from being opened is an
// error to start with, and leaves everything as it is.
package stores

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/reeve-cloud/reeve/agent/collect"
	"github.com/reeve-cloud/reeve/agent/lastseen"
	"github.com/reeve-cloud/reeve/agent/spool"
	"github.com/reeve-cloud/reeve/pkg/dirlock"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/pkg/retry"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// Options say where the stores are.
type Options struct {
	// Dir is the data directory. It is made if it does not exist.
	Dir string
	// MaxBytes is the spool's budget.
	MaxBytes int64
	Logger   *slog.Logger
}

// Stores are what an agent keeps on disk.
type Stores struct {
	Seen  *lastseen.Store
	Spool *spool.Spool

	dir    string
	lock   *dirlock.Lock
	logger *slog.Logger
	// lost is poked when something in the spool was lost.
	lost chan struct{}
}

// minFree is what the agent leaves free on its filesystem. Last seen writes
// through memory maps: without room for them the kernel ends the process.
const minFree = 32 << 20

// Open locks the data directory and opens the stores in it. The error is
// [dirlock.ErrHeld] if another agent has them. From then on the process writes
// why it crashes, should it, into the directory.
func Open(o Options) (s *Stores, err error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	s = &Stores{dir: o.Dir, logger: o.Logger, lost: make(chan struct{}, 1)}
	if s.lock, err = dirlock.Take(o.Dir); err != nil {
		return nil, fmt.Errorf("the data directory cannot be used: %w", err)
	}
	if err := s.open(o.MaxBytes); err != nil {
		return nil, errors.Join(err, s.closeAll())
	}
	return s, nil
}

func (s *Stores) open(maxBytes int64) (err error) {
	if s.Seen, err = s.openLastSeen(); err != nil {
		return err
	}
	s.Seen.MinFree = minFree
	options := spool.Options{
		Dir: filepath.Join(s.dir, "spool"), MaxBytes: maxBytes, MinFree: minFree, Logger: s.logger,
		Apply: s.Seen.Apply, Applied: s.Seen.Applied, BeforeTrim: s.Seen.Sync, Recall: s.Seen.Recall, Damaged: s.damaged,
	}
	s.Spool, err = spool.Open(options)
	if errors.Is(err, spool.ErrCorrupt) {
		aside, moved := putAside(options.Dir)
		if moved != nil {
			return errors.Join(err, moved)
		}
		s.logger.Error("the spool cannot be read and was put aside; all assets are sent again, events that waited in it are lost",
			"error", err, "moved_to", aside)
		if err := s.Seen.MustResend("the spool cannot be read and was put aside: events that waited in it are lost"); err != nil {
			return err
		}
		s.Spool, err = spool.Open(options)
	}
	if err != nil {
		return err
	}
	resend, err := s.Seen.Adopt(s.Spool.ID())
	if err == nil && resend {
		// What was lost may never have been applied: collectors look at everything
		// again before they go on from where they were.
		err = s.Seen.ForgetCheckpoints()
	}
	if err != nil {
		return err
	}
	s.tidyAside()
	return nil
}

// damaged takes note of damage in the spool.
func (s *Stores) damaged(d spool.Damage) error {
	if err := s.Seen.MustResend(fmt.Sprintf("the spool was damaged: %d records of %s are lost", d.Records,
		wire.ClassName(d.Class))); err != nil {
		return err
	}
	select {
	case s.lost <- struct{}{}:
	default:
	}
	return nil
}

// Close closes the stores in order, and gives the directory back.
func (s *Stores) Close() error {
	if err := s.closeAll(); err != nil {
		return fmt.Errorf("closing the stores: %w", err)
	}
	return nil
}

func (s *Stores) closeAll() error {
	var errs []error
	if s.Spool != nil {
		errs = append(errs, s.Spool.Close())
	}
	if s.Seen != nil {
		if err := s.Seen.Close(); err != nil {
			errs = append(errs, err)
		} else {
			errs = append(errs, remove(s.file(seenCrashes)))
		}
	}
	return errors.Join(append(errs, s.lock.Release())...)
}

// MakeGood tells the centre of damage and sends everything again, whenever
// something was lost, until ctx ends or only a restart helps. It tries until it
// can.
func (s *Stores) MakeGood(ctx context.Context, recorder *collect.Recorder) error {
	pause := retry.BackOff(time.Second, time.Minute)
	for {
		err := s.tellAndResend(ctx, recorder)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			wait := pause.NextBackOff()
			s.logger.Error("sending again what was lost", "error", err, "retry_in", wait.Round(time.Millisecond))
			if err := retry.Sleep(ctx, wait); err != nil {
				return err
			}
			continue
		}
		pause.Reset()
		select {
		case <-s.lost:
		case err := <-s.Seen.Damaged():
			// Only a new one helps, and that takes a restart.
			return errors.Join(err, os.WriteFile(s.file(seenDamaged), nil, 0o600))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Stores) tellAndResend(ctx context.Context, recorder *collect.Recorder) error {
	must, why, err := s.Seen.MustBeResent()
	if err != nil || !must {
		return err
	}
	for _, text := range why {
		if err := recorder.Tell(ctx, "cloud.reeve.agent.spool.damaged", plugin.Error, text); err != nil {
			return err
		}
	}
	n, err := recorder.Resend(ctx)
	if err != nil {
		return err
	}
	s.logger.Warn("what was last seen is sent again, for something that waited was lost", "assets", n)
	return nil
}

// CollectGarbage frees what the stores do not need any more, now and then until
// ctx ends.
func (s *Stores) CollectGarbage(ctx context.Context) error {
	// What is not collected is what the next start opens, and maps into memory.
	t := time.NewTicker(time.Minute)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if err := errors.Join(s.Seen.Forget(s.Spool.Acked(wirev1.Class_CLASS_ASSETS)), s.Seen.CollectGarbage()); err != nil {
				s.logger.Warn("tidying up the last-seen store", "error", err)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Register registers metrics of the spool.
func (s *Stores) Register(r prometheus.Registerer) {
	for i, class := range spool.Classes {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "reeve_agent_spool_bytes", Help: "Size of the spool's log on disk.",
			ConstLabels: prometheus.Labels{"class": wire.ClassName(class)},
		}, func() float64 { return float64(s.Spool.Stat()[i].Bytes) }))
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name:        "reeve_agent_spool_given_up_records",
			Help:        "Records in the spool's log that were given up, owed ones included, and are not acknowledged yet.",
			ConstLabels: prometheus.Labels{"class": wire.ClassName(class)},
		}, func() float64 { return float64(s.Spool.Stat()[i].GivenUp) }))
	}
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "reeve_agent_spool_failing", Help: "1 while nothing can be appended to the spool.",
	}, func() float64 {
		if s.Spool.Err() != nil {
			return 1
		}
		return 0
	}))
}
