package main

import (
	"context"
	"crypto/md5"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/reeve-cloud/reeve/aggregator/catalogue"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/test/estate"
)

const (
	// groupRows is how many versions are inserted at once while loading.
	groupRows = 6_000
	// history is how far back the versions reach.
	history = 60 * 24 * time.Hour
	// One asset of so many has changed before, one to three times.
	changedOf = 8
)

// world is the estate of all sites, and how often each asset has changed.
type world struct {
	sites, assets int
	estates       []*estate.Estate
	// generations of each asset, by site.
	generations [][]uint8
	start       time.Time
}

func newWorld(seed uint64, sites, assets int, now time.Time) *world {
	w := &world{sites: sites, assets: assets, start: now.Add(-history).Truncate(time.Hour)}
	for s := range sites {
		w.estates = append(w.estates, estate.NewWide(seed, s))
		g := make([]uint8, assets)
		for a := range g {
			if g[a] = 1; (s+a)%changedOf == 0 {
				g[a] += uint8(1 + (s*7+a)%3)
			}
		}
		w.generations = append(w.generations, g)
	}
	return w
}

func siteName(s int) string { return fmt.Sprintf("site-%05d", s) }

// at is when an asset got a generation: the first in the first five days, the others spread
// over the rest.
func (w *world) at(site, asset, generation int) time.Time {
	h := uint64(site)*1_000_003 + uint64(asset)*7919 + uint64(generation)*104_729
	if generation == 1 {
		return w.start.Add(time.Duration(h%(5*24*3600)) * time.Second)
	}
	// Later generations are later.
	part := (history - 6*24*time.Hour) / 4
	return w.start.Add(5*24*time.Hour + time.Duration(generation-2)*part + time.Duration(h%uint64(part/time.Second))*time.Second)
}

// version is one version of an asset, as a row.
func (w *world) version(site, asset, generation int, at time.Time) (warehouse.AssetVersion, []warehouse.Relation, error) {
	a := w.estates[site].Version(asset, generation)
	fields, err := document.Fields(a.GetDocument())
	if err != nil {
		return warehouse.AssetVersion{}, nil, err
	}
	stamp := uint64(hlc.FromTime(at)) | uint64(asset&0xfff)
	v := warehouse.AssetVersion{
		Origin: warehouse.Origin{Site: siteName(site), AgentID: "agent-" + siteName(site), SpoolID: "bench", Seq: uint64(asset*8 + generation)},
		Type:   a.GetType(), UID: a.GetUid(), Version: stamp, ClaimedVersion: stamp, Operation: warehouse.Created,
		Scope: a.GetScope(), Name: a.GetName(), Region: a.GetRegion(), Project: a.GetProject(), Status: a.GetStatus(), Labels: a.GetLabels(),
		Hash: document.Hash(md5.Sum(a.GetDocument())), Document: a.GetDocument(), Fields: fields,
		CreatedAt: time.UnixMilli(a.GetCreatedAt()), UpdatedAt: time.UnixMilli(a.GetUpdatedAt()), ObservedAt: at,
	}
	if generation > 1 {
		v.Operation, v.Changed = warehouse.Updated, []string{"status"}
	}
	for _, r := range a.GetRelations() {
		v.Edges = append(v.Edges, warehouse.Relation{
			Site: v.Site, FromType: v.Type, FromUID: v.UID, Kind: r.GetKind(), ToType: r.GetType(), ToUID: r.GetUid(), Version: stamp,
		})
	}
	return v, v.Edges, nil
}

// load writes all versions, site by site, as ingest does in large groups.
func (w *world) load(ctx context.Context, to *warehouse.Warehouse, say func(string, ...any)) (versions int, err error) {
	g := &warehouse.Group{}
	flush := func() error {
		if len(g.Versions) == 0 {
			return nil
		}
		g.ID, g.ReceivedAt = uuid.New(), time.Now().UTC().Truncate(time.Millisecond)
		if err := to.Write(ctx, g); err != nil {
			return fmt.Errorf("loading: %w", err)
		}
		versions += len(g.Versions)
		g = &warehouse.Group{}
		return nil
	}
	for s := range w.sites {
		for a := range w.assets {
			for generation := 1; generation <= int(w.generations[s][a]); generation++ {
				v, edges, err := w.version(s, a, generation, w.at(s, a, generation))
				if err != nil {
					return versions, err
				}
				g.Versions, g.Relations = append(g.Versions, v), append(g.Relations, edges...)
				if len(g.Versions) == groupRows {
					if err := flush(); err != nil {
						return versions, err
					}
				}
			}
		}
		if s%200 == 199 {
			say("%d sites of %d loaded", s+1, w.sites)
		}
	}
	return versions, flush()
}

// taught is how many sites the catalogue learns of: they have all types and paths.
const taught = 100

// teach lets a catalogue learn what ingest would have taught it.
func (w *world) teach(paths *catalogue.Catalogue) error {
	for s := range min(taught, w.sites) {
		g := new(warehouse.Group)
		for a := range w.assets {
			v, _, err := w.version(s, a, int(w.generations[s][a]), w.start)
			if err != nil {
				return err
			}
			g.Versions = append(g.Versions, v)
		}
		paths.Learn(g)
	}
	return nil
}

// churn changes assets at a rate until ctx ends, in a group every pause.
func (w *world) churn(ctx context.Context, to *warehouse.Warehouse, perSecond int, pause time.Duration) error {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	next := 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		g := &warehouse.Group{ID: uuid.New(), ReceivedAt: time.Now().UTC().Truncate(time.Millisecond)}
		for range int(float64(perSecond) * pause.Seconds()) {
			// A stride that is prime to the count reaches every asset once before any twice.
			next = (next + 499_979) % (w.sites * w.assets)
			s, a := next/w.assets, next%w.assets
			w.generations[s][a]++
			v, edges, err := w.version(s, a, int(w.generations[s][a]), g.ReceivedAt)
			if err != nil {
				return err
			}
			g.Versions, g.Relations = append(g.Versions, v), append(g.Relations, edges...)
		}
		if err := to.Write(ctx, g); err != nil && ctx.Err() == nil {
			return fmt.Errorf("churning: %w", err)
		}
	}
}
