package catalogue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/retry"
)

// Store is where the catalogue lies, and what it is counted from.
type Store interface {
	Paths(ctx context.Context, take func(warehouse.Path)) error
	SetPaths(context.Context, []warehouse.Path) error
	CountPaths(ctx context.Context, kind string, limits warehouse.PathLimits) ([]warehouse.CountedPath, error)
	ReceivedSince(ctx context.Context, since time.Time, limit int, take func(*warehouse.AssetVersion)) (all bool, err error)
	TypeCounts(context.Context) (map[string]uint64, error)
}

const (
	// writeEvery is how often what is new is written, and countsEvery how often counts are
	// that changed alone.
	writeEvery, countsEvery = 30 * time.Second, 10 * time.Minute
	// slack is how much further back than it was written last it is looked for what came
	// since: a group is committed some time after it was received.
	slack = time.Minute
	// mostMissed is how many assets are looked at that came since. If there are more,
	// their types are counted.
	mostMissed = 50_000
	// rowsAtOnce is how many paths are written in one insert.
	rowsAtOnce = 5_000
	// lastWords is how long writing what is new may take at the end.
	lastWords = 10 * time.Second
)

// Run reads what was known, and then writes what is new and counts what was not counted
// for long, until ctx ends.
func (c *Catalogue) Run(ctx context.Context) error {
	if err := c.trying(ctx, "reading the catalogue of paths", c.load); err != nil {
		return err
	}
	counting := make(chan error, 1)
	go func() { counting <- c.countAll(ctx) }()
	write := time.NewTicker(writeEvery)
	defer write.Stop()
	counts := time.Now()
	for {
		select {
		case <-write.C:
			all := time.Since(counts) >= countsEvery
			if all {
				counts = time.Now()
			}
			if err := c.write(ctx, all); err != nil && ctx.Err() == nil {
				c.logger.Error("the catalogue of paths could not be written; it is tried again", "error", err)
			}
		case err := <-counting:
			// It ends with ctx. What is new is written, for which there is some time yet.
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
			defer cancel()
			if e := c.write(last, true); e != nil {
				c.logger.Warn("the catalogue of paths could not be written; what came last is looked up at the next start", "error", e)
			}
			return err
		}
	}
}

// trying does something until it succeeds or ctx ends.
func (c *Catalogue) trying(ctx context.Context, what string, do func(context.Context) error) error {
	pause := retry.BackOff(time.Second, time.Minute)
	for {
		err := do(ctx)
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		wait := pause.NextBackOff()
		c.logger.Error("the catalogue of paths is behind", "doing", what, "error", err, "retry_in", wait.Round(time.Millisecond))
		if err := retry.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// load reads what lies in the warehouse, and what came since it was written.
func (c *Catalogue) load(ctx context.Context) error {
	var written time.Time
	var paths []warehouse.Path
	if err := c.store.Paths(ctx, func(p warehouse.Path) {
		if p.Type == "" {
			written = p.Counted
			return
		}
		paths = append(paths, p)
	}); err != nil {
		return err
	}
	// Once: what is there counts together with what was learned meanwhile.
	if !c.loaded.Load() {
		for i := range paths {
			c.restore(&paths[i])
		}
		c.loaded.Store(true)
	}
	if written.IsZero() {
		return nil // what there is has not been counted, and will be
	}
	all, err := c.store.ReceivedSince(ctx, written.Add(-slack), mostMissed, c.learn)
	if err != nil || all {
		return err
	}
	for _, t := range c.of("") {
		c.want(t.name)
	}
	return nil
}

// restore takes in a path from the warehouse. What was learned of it meanwhile stays.
func (c *Catalogue) restore(p *warehouse.Path) {
	t := c.typeNamed(p.Type)
	if t == nil {
		return
	}
	numbers := make([]int, len(p.Sites))
	for i, site := range p.Sites {
		numbers[i] = c.number(site)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counted.Before(p.Counted) {
		t.counted = p.Counted
	}
	t.put(c, p, numbers)
}

// put takes in a path with its values, as they lie in the warehouse or were counted.
func (t *kindOfAsset) put(c *Catalogue, p *warehouse.Path, numbers []int) *entry {
	if len(numbers) == 0 {
		return nil
	}
	e := t.paths[p.Path]
	if e == nil {
		if e = t.add(c, p.Path, numbers[0], len(numbers) > 1); e == nil {
			t.full = true
			return nil
		}
	}
	for _, n := range numbers {
		if e.sites.has(n) {
			continue
		}
		if e.sites.len() == 1 {
			t.own[t.owner(e)]--
		}
		e.sites.add(n)
	}
	e.kind, e.list, e.more = e.kind.join(Kind(p.Kind)), e.list || p.List, e.more || p.More
	e.assets += p.Assets
	if e.counted.Before(p.Counted) {
		e.counted = p.Counted
	}
	for _, v := range p.Values {
		known := e.values[v.Value]
		if known == nil {
			if len(e.values) >= maxValues || c.bytes.Load()+int64(valueBytes+len(v.Value)) > maxBytes {
				e.more = true
				continue
			}
			if e.values == nil {
				e.values = make(map[string]*valueEntry)
			}
			known = &valueEntry{value: v.Value}
			e.values[v.Value] = known
			c.bytes.Add(int64(valueBytes + len(v.Value)))
		}
		known.assets += v.Assets
		for i, n := range numbers {
			if i/8 < len(v.Sites) && v.Sites[i/8]&(1<<(i%8)) != 0 {
				known.sites.add(n)
			}
		}
	}
	return e
}

// write writes the paths that are new or have new values, and, if all is true, those of
// which only counts changed.
func (c *Catalogue) write(ctx context.Context, all bool) error {
	began := time.Now()
	c.mu.RLock()
	names := slices.Clone(c.names)
	c.mu.RUnlock()
	version := uint64(began.UnixNano())
	var rows []warehouse.Path
	flush := func() error {
		if len(rows) == 0 {
			return nil
		}
		err := c.store.SetPaths(ctx, rows)
		rows = rows[:0]
		return err
	}
	touched := false
	for _, t := range c.of("") {
		list := t.rows(names, version, all)
		touched = touched || len(list) > 0
		if rows = append(rows, list...); len(rows) >= rowsAtOnce {
			if err := flush(); err != nil {
				t.spoil()
				return err
			}
		}
	}
	if len(rows) > 0 || touched {
		// Behind all others: until when they have everything.
		rows = append(rows, warehouse.Path{Counted: began, Version: version})
	}
	if err := flush(); err != nil {
		for _, t := range c.of("") {
			t.spoil()
		}
		return err
	}
	return nil
}

// spoil has all of a type be written again.
func (t *kindOfAsset) spoil() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dirty = true
	for _, e := range t.paths {
		e.dirty = true
	}
}

// rows returns the rows to be written, which count as written then.
func (t *kindOfAsset) rows(names []string, version uint64, all bool) (rows []warehouse.Path) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all = all && t.unwritten > 0
	if !t.dirty && !all {
		return nil
	}
	later := false
	for path, e := range t.paths {
		if e.dirty || all {
			if row, ok := e.row(names); ok {
				row.Type, row.Path, row.Version = t.name, path, version
				rows = append(rows, row)
				e.dirty = false
			} else {
				later = true
			}
		}
	}
	for path := range t.gone {
		rows = append(rows, warehouse.Path{Type: t.name, Path: path, Deleted: true, Version: version})
	}
	clear(t.gone)
	t.dirty = later
	if all {
		t.unwritten = 0
	}
	return rows
}

// row returns what is written of an entry: not yet if one of its sites has no name among
// these.
func (e *entry) row(names []string) (row warehouse.Path, ok bool) {
	row = warehouse.Path{Kind: string(e.kind), List: e.list, Assets: e.assets, More: e.more, Counted: e.counted}
	places := make(map[int]int, e.sites.len())
	for n := range e.sites.all {
		if n >= len(names) {
			return row, false
		}
		places[n] = len(row.Sites)
		row.Sites = append(row.Sites, names[n])
	}
	for _, value := range slices.Sorted(maps.Keys(e.values)) {
		v := e.values[value]
		bits := make([]byte, (len(row.Sites)+7)/8)
		for n := range v.sites.all {
			if place, there := places[n]; there {
				bits[place/8] |= 1 << (place % 8)
			}
		}
		row.Values = append(row.Values, warehouse.PathValue{Value: value, Assets: v.assets, Sites: bits})
	}
	return row, true
}

// Forget takes a site out of everything. It has no assets any more.
func (c *Catalogue) Forget(site string) {
	c.mu.RLock()
	n, known := c.numbers[site]
	c.mu.RUnlock()
	if !known {
		return
	}
	for _, t := range c.of("") {
		t.mu.Lock()
		for path, e := range t.paths {
			if !e.sites.has(n) {
				continue
			}
			t.touch(e)
			if e.sites.len() == 1 {
				t.drop(c, path, e)
				continue
			}
			e.sites.remove(n)
			if e.sites.len() == 1 {
				t.own[t.owner(e)]++
			}
			for value, v := range e.values {
				if v.sites.remove(n); v.sites.len() == 0 {
					e.dropValue(c, value)
				}
			}
		}
		// The counts are of all sites.
		t.changed, t.counted = t.changed+1, time.Time{}
		t.mu.Unlock()
	}
}

// drop takes a path out.
func (t *kindOfAsset) drop(c *Catalogue, path string, e *entry) {
	for value := range e.values {
		e.dropValue(c, value)
	}
	if e.sites.len() == 1 {
		t.own[t.owner(e)]--
	}
	delete(t.paths, path)
	e.path = ""
	t.gone[path] = struct{}{}
	t.dirty = true
	c.bytes.Add(-int64(entryBytes + len(path)))
}

func (e *entry) dropValue(c *Catalogue, value string) {
	if v := e.values[value]; v == e.last {
		e.last, e.lastValue = nil, ""
	}
	delete(e.values, value)
	c.bytes.Add(-int64(valueBytes + len(value)))
}

var errCut = errors.New("there are more types than are counted")

// Recount has a type, or all if it is empty, be counted again in the background.
func (c *Catalogue) Recount(ctx context.Context, kind string) error {
	if kind != "" {
		return c.want(kind)
	}
	counts, err := c.store.TypeCounts(ctx)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		if err := c.want(name); err != nil {
			return err
		}
	}
	return nil
}

func (c *Catalogue) want(kind string) error {
	select {
	case c.wanted <- kind:
		return nil
	default:
		return fmt.Errorf("counting the paths of %s again: %w", kind, errCut)
	}
}
