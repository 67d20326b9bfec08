// Package removal ends sites that are to be deleted: it shuts their agents out,
// removes what the warehouse has of them, and then what the registry has. It goes
// on where it was after a restart, for the registry knows what is to be deleted.
package removal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/registry"
)

// settled is for how long nothing of a site must have come in before it is
// forgotten: what its last sessions brought may still be on its way into the
// warehouse.
const settled = 30 * time.Second

// Warehouse is where the rows of sites lie.
type Warehouse interface {
	// DeleteSite removes the rows of a site and returns how many there were.
	DeleteSite(ctx context.Context, site string) (rows uint64, err error)
}

// Options configure a Remover. All but Forgotten and Settled are required.
type Options struct {
	Registry  *registry.Registry
	Warehouse Warehouse
	// Forgotten is called before a site is forgotten. It may be nil.
	Forgotten func(site string)
	Logger    *slog.Logger
	// Settled is how long to wait for what is on its way; for tests.
	Settled time.Duration
}

// Remover ends sites, one step at a time.
type Remover struct {
	o    Options
	wake chan struct{}
	// quiet is since when nothing was found of a site, by its name.
	quiet map[string]time.Time
}

// New returns a remover. Run must follow.
func New(o Options) *Remover {
	if o.Settled == 0 {
		o.Settled = settled
	}
	return &Remover{o: o, wake: make(chan struct{}, 1), quiet: make(map[string]time.Time)}
}

// Wake has a site that was just marked looked at now.
func (r *Remover) Wake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run ends sites until ctx ends. What fails is logged and tried again.
func (r *Remover) Run(ctx context.Context) error {
	pause := time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.wake:
		case <-time.After(pause):
		}
		left, err := r.step(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			r.o.Logger.ErrorContext(ctx, "a site cannot be deleted now; it is tried again", "error", err)
			pause = time.Minute
		case left:
			pause = min(r.o.Settled, time.Second)
		default:
			pause = time.Hour
		}
	}
}

// step does what can be done now. It reports whether there is more to do.
func (r *Remover) step(ctx context.Context) (left bool, err error) {
	var sites []registry.Site
	for site, err := range r.o.Registry.Sites(ctx, "") {
		if err != nil && !errors.Is(err, registry.ErrCorrupt) {
			return false, fmt.Errorf("looking for sites to delete: %w", err)
		}
		if err == nil && site.Deleted() {
			sites = append(sites, site)
		}
	}
	var errs []error
	for _, site := range sites {
		done, err := r.remove(ctx, site.Name)
		if err != nil {
			errs = append(errs, fmt.Errorf("site %s: %w", site.Name, err))
		}
		left = left || !done
	}
	return left, errors.Join(errs...)
}

func (r *Remover) remove(ctx context.Context, site string) (done bool, err error) {
	connected, err := r.o.Registry.CloseSite(ctx, registry.System, site, time.Now())
	if err != nil {
		return false, err
	}
	rows, err := r.o.Warehouse.DeleteSite(ctx, site)
	if err != nil {
		return false, err
	}
	now := time.Now()
	if rows > 0 {
		r.o.Logger.InfoContext(ctx, "rows of a site that is being deleted were removed", "site", site, "rows", rows)
	}
	since, known := r.quiet[site]
	if connected > 0 || rows > 0 || !known {
		r.quiet[site] = now
		return false, nil
	}
	if now.Sub(since) < r.o.Settled {
		return false, nil
	}
	if r.o.Forgotten != nil {
		r.o.Forgotten(site)
	}
	if err := r.o.Registry.ForgetSite(ctx, registry.System, site); err != nil {
		return false, err
	}
	delete(r.quiet, site)
	r.o.Logger.InfoContext(ctx, "site deleted", "site", site)
	return true, nil
}
