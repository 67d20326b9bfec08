package catalogue

import (
	"context"
	"errors"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/retry"
)

const (
	// A type is counted again when a tenth of it has changed, and leastChanged versions
	// at least, but not within countPause; or after any change when it was counted
	// countAge ago.
	changedPart, leastChanged = 10, 1_000
	countPause, countAge      = 15 * time.Minute, 12 * time.Hour
	// countRest is how many times as long as a count took there is a rest behind it, so
	// that counting takes a tenth of one thread at most.
	countRest = 9
	// lookEvery is how often it is looked what is to be counted.
	lookEvery = time.Minute
)

// countAll counts types until ctx ends: at the start those that never were, and then
// those of which much has changed, or that somebody wants counted.
func (c *Catalogue) countAll(ctx context.Context) error {
	look := time.NewTimer(0)
	defer look.Stop()
	failed := make(map[string]time.Time)
	for {
		var due []string
		select {
		case kind := <-c.wanted:
			due = append(due, kind)
		case <-look.C:
			look.Reset(lookEvery)
			var err error
			if due, err = c.due(ctx, failed); err != nil && ctx.Err() == nil {
				c.logger.Error("looking which types' paths are to be counted did not succeed; it is tried again", "error", err)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		for _, kind := range due {
			began := time.Now()
			err := c.count(ctx, kind)
			took := time.Since(began)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				failed[kind] = time.Now()
				c.logger.Error("the paths of a type could not be counted; their counts stay as they are, and it is tried again later", "type", kind,
					"error", err)
			} else {
				delete(failed, kind)
				c.logger.Debug("counted the paths of a type", "type", kind, "took", took.Round(time.Millisecond))
			}
			if err := retry.Sleep(ctx, countRest*took); err != nil {
				return err
			}
		}
	}
}

// due returns the types that are to be counted.
func (c *Catalogue) due(ctx context.Context, failed map[string]time.Time) (due []string, err error) {
	var counts map[string]uint64
	for _, t := range c.of("") {
		t.mu.RLock()
		changed, counted := t.changed, t.counted
		t.mu.RUnlock()
		if changed >= leastChanged && counts == nil {
			if counts, err = c.store.TypeCounts(ctx); err != nil {
				return nil, err
			}
		}
		age := time.Since(counted)
		if changed > 0 && age > countAge || changed >= max(leastChanged, counts[t.name]/changedPart) && age > countPause {
			if time.Since(failed[t.name]) > time.Hour {
				due = append(due, t.name)
			}
		}
	}
	if c.looked.Load() {
		return due, nil
	}
	// Types of which nothing is known, for what was known is lost, or never was.
	if counts, err = c.store.TypeCounts(ctx); err != nil {
		return due, err
	}
	for name := range counts {
		if t := c.of(name); len(t) == 0 || t[0].neverCounted() {
			due = append(due, name)
			c.typeNamed(name) // so that it is known not to be counted
		}
	}
	c.looked.Store(true)
	return due, nil
}

func (t *kindOfAsset) neverCounted() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.counted.IsZero() && t.changed == 0
}

// count counts the paths of a type and puts them in the place of what is known.
func (c *Catalogue) count(ctx context.Context, kind string) error {
	t := c.typeNamed(kind)
	if t == nil {
		return errors.New("there are too many types")
	}
	t.mu.RLock()
	changed := t.changed
	t.mu.RUnlock()
	began := c.next()
	list, err := c.store.CountPaths(ctx, kind, warehouse.PathLimits{Paths: maxPaths, Values: maxValues, PathLength: maxPathLength,
		ValueLength: maxValueLength})
	if err != nil {
		return err
	}
	numbers := make([][]int, len(list))
	for i := range list {
		for _, site := range list[i].Sites {
			numbers[i] = append(numbers[i], c.number(site))
		}
	}
	t.replace(c, list, numbers, began)
	t.mu.Lock()
	t.changed -= min(changed, t.changed)
	t.mu.Unlock()
	return nil
}

// replace puts what was counted in the place of what is known. Paths that were learned
// after the count began stay.
func (t *kindOfAsset) replace(c *Catalogue, list []warehouse.CountedPath, numbers [][]int, began uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	counted := make(map[string]struct{}, len(list))
	for i := range list {
		counted[list[i].Path.Path] = struct{}{}
	}
	t.idle = nil
	for path, e := range t.paths {
		switch _, there := counted[path]; {
		case e.born >= began:
		case there:
			t.drop(c, path, e)
		default:
			// No asset has it any more, but the history has, which can be asked as well.
			for value := range e.values {
				e.dropValue(c, value)
			}
			e.assets, e.more, e.counted = 0, true, time.Now()
			t.touch(e)
			t.idle = append(t.idle, path)
		}
	}
	t.full = t.full || len(list) == maxPaths
	t.counted = time.Now()
	for i := range list {
		p := &list[i]
		var kind Kind
		for _, sample := range p.Samples {
			kind = kind.join(kindOfAll(sample))
		}
		for _, v := range p.Values {
			kind = kind.join(kindOf(v.Value))
		}
		p.Kind = string(kind)
		// What was learned since is in both.
		if e := t.paths[p.Path.Path]; e != nil {
			e.assets = 0
			for _, v := range e.values {
				v.assets = 0
			}
		}
		if e := t.put(c, &p.Path, numbers[i]); e != nil {
			t.touch(e)
			if e.assets == 0 {
				t.idle = append(t.idle, p.Path.Path)
			}
		}
	}
}
