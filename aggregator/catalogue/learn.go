package catalogue

import (
	"slices"
	"strings"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/document"
)

const (
	// About what an entry takes, beside its texts and sites.
	entryBytes, valueBytes = 240, 120
	// Of values for which there is no room one in so many takes the place of a rare one.
	secondChance = 32
	// mostUsual is for how many places of documents their paths are remembered.
	mostUsual = 256
	// manyRefused is how many values have found no room when it is time to ask how many
	// have found themselves there.
	manyRefused = 256
)

// Learn takes in what of a group is new. It waits for nothing but its locks.
func (c *Catalogue) Learn(g *warehouse.Group) {
	for i := range g.Versions {
		c.learn(&g.Versions[i])
	}
}

func (c *Catalogue) learn(v *warehouse.AssetVersion) {
	t := c.typeNamed(v.Type)
	if t == nil {
		return
	}
	site := c.number(v.Site)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changed++
	t.unwritten++
	switch v.Operation {
	case warehouse.Deleted:
		for i := range v.Fields {
			t.forgetOne(&v.Fields[i])
		}
	case warehouse.Created:
		for i := range v.Fields {
			t.learn(c, &v.Fields[i], i, site, 1)
		}
	case warehouse.Updated:
		for i := range v.Fields {
			// What did not change was learned before, but of versions from before the
			// centre knew the asset.
			if f := &v.Fields[i]; t.paths[f.Path] == nil || slices.Contains(v.Changed, f.Path) {
				t.learn(c, f, i, site, 1)
			}
		}
	default: // it was there before: nothing is counted
		for i := range v.Fields {
			t.learn(c, &v.Fields[i], i, site, 0)
		}
	}
}

// typeNamed returns what is known of a type, or nil if there are too many.
func (c *Catalogue) typeNamed(name string) *kindOfAsset {
	c.mu.RLock()
	t := c.types[name]
	c.mu.RUnlock()
	if t != nil {
		return t
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if t = c.types[name]; t == nil && len(c.types) < maxTypes {
		t = newKind(name)
		c.types[name] = t
	}
	return t
}

func newKind(name string) *kindOfAsset {
	return &kindOfAsset{name: name, paths: make(map[string]*entry), own: make(map[int]int), gone: make(map[string]struct{})}
}

// number returns a site's number.
func (c *Catalogue) number(site string) int {
	c.mu.RLock()
	n, known := c.numbers[site]
	c.mu.RUnlock()
	if known {
		return n
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n, known = c.numbers[site]; !known {
		n = len(c.names)
		c.numbers[site] = n
		c.names = append(c.names, site)
	}
	return n
}

// find returns what is known of a path, or nil. Most documents have the paths of the one
// before, in the same places.
func (t *kindOfAsset) find(path string, place int) *entry {
	if place < len(t.usual) && t.usual[place] != nil && t.usual[place].path == path && path != "" {
		return t.usual[place]
	}
	e := t.paths[path]
	if e != nil && place < mostUsual {
		for len(t.usual) <= place {
			t.usual = append(t.usual, nil)
		}
		t.usual[place] = e
	}
	return e
}

// learn takes in a path that an asset of a site has, in a place of its document. t.mu is
// held, as for all that follows.
func (t *kindOfAsset) learn(c *Catalogue, f *document.Field, place, site int, count uint64) {
	e := t.find(f.Path, place)
	if e == nil {
		if e = t.add(c, f.Path, site, false); e == nil {
			t.full = true
			return
		}
		// Counted once at least: it is there.
		count = max(count, 1)
	} else if !e.sites.has(site) {
		if e.sites.len() == 1 {
			t.own[t.owner(e)]--
		}
		e.sites.add(site)
		t.touch(e)
	}
	e.assets += count
	rest, more := f.Value, true
	for n := 0; more; n++ {
		var value string
		value, rest, more = strings.Cut(rest, document.Separator)
		if more && !e.list {
			e.list = true
			t.touch(e)
		}
		if n == maxElements {
			e.more = true
			break
		}
		t.learnValue(c, e, value, site, count)
	}
}

// owner is the only site of a path.
func (t *kindOfAsset) owner(e *entry) (site int) {
	for n := range e.sites.all {
		site = n
	}
	return site
}

// add makes room for a path of a site, and of others if it is shared, or returns nil.
func (t *kindOfAsset) add(c *Catalogue, path string, site int, shared bool) *entry {
	size := int64(entryBytes + len(path))
	if full := len(t.paths) >= maxPaths || !shared && t.own[site] >= maxSitePaths; full && len(t.idle) > 0 {
		t.full = true
		last := len(t.idle) - 1
		if e := t.paths[t.idle[last]]; e != nil && e.assets == 0 {
			t.drop(c, t.idle[last], e)
		}
		t.idle = t.idle[:last]
	}
	if len(t.paths) >= maxPaths || !shared && t.own[site] >= maxSitePaths || len(path) > maxPathLength || c.bytes.Load()+size > maxBytes {
		return nil
	}
	c.bytes.Add(size)
	path = strings.Clone(path)
	e := &entry{path: path, born: c.next()}
	e.sites.add(site)
	t.paths[path] = e
	t.own[site]++
	delete(t.gone, path)
	t.touch(e)
	return e
}

func (t *kindOfAsset) touch(e *entry) { e.dirty, t.dirty = true, true }

func (t *kindOfAsset) learnValue(c *Catalogue, e *entry, value string, site int, count uint64) {
	if value == "" {
		return
	}
	if len(value) > maxValueLength {
		if !e.more || e.kind != Text {
			e.kind, e.more = Text, true
			t.touch(e)
		}
		return
	}
	// Where nearly all values differ, as names and times do, looking for frequent ones
	// costs more than it brings.
	if e.refused > manyRefused && e.hits < e.refused/8 {
		if e.passed++; e.passed%secondChance != 0 {
			return
		}
	}
	v := e.last
	if v == nil || e.lastValue != value {
		v = e.values[value]
	}
	if v != nil {
		if v != e.last {
			// The catalogue's own text, for the other one holds a whole document.
			e.last, e.lastValue = v, v.value
		}
		e.hits++
		v.assets += count
		if !v.sites.has(site) {
			v.sites.add(site)
			t.touch(e)
		}
		return
	}
	if e.kind != Text {
		if kind := e.kind.join(kindOf(value)); kind != e.kind {
			e.kind = kind
			t.touch(e)
		}
	}
	if !e.room(c, site, len(value)) {
		if !e.more {
			e.more = true
			t.touch(e)
		}
		return
	}
	if e.values == nil {
		e.values = make(map[string]*valueEntry)
	}
	v = &valueEntry{value: strings.Clone(value), assets: max(count, 1)}
	v.sites.add(site)
	e.values[v.value] = v
	c.bytes.Add(int64(valueBytes + len(value)))
	t.touch(e)
}

// room makes room for another value of a site, at the cost of a rare one now and then, and
// reports whether there is.
func (e *entry) room(c *Catalogue, site, size int) bool {
	if c.bytes.Load()+int64(valueBytes+size) > maxBytes {
		return false
	}
	if len(e.values) < maxSiteValues {
		return true
	}
	e.refused++
	if e.refused%secondChance != 0 && (len(e.values) >= maxValues || e.ofSite(site) >= maxSiteValues) {
		return false
	}
	if len(e.values) < maxValues && e.ofSite(site) < maxSiteValues {
		return true
	}
	for value, v := range e.values {
		if v.assets <= 1 && (len(e.values) < maxValues || v.sites.has(site) || e.ofSite(site) < maxSiteValues) {
			e.dropValue(c, value)
			e.more = true
			return true
		}
	}
	return false
}

// ofSite is how many values only one site has.
func (e *entry) ofSite(site int) (n int) {
	for _, v := range e.values {
		if v.sites.has(site) && v.sites.len() == 1 {
			n++
		}
	}
	return n
}

// forgetOne takes notice that an asset is gone.
func (t *kindOfAsset) forgetOne(f *document.Field) {
	e := t.paths[f.Path]
	if e == nil {
		return
	}
	e.assets -= min(e.assets, 1)
	for value := range strings.SplitSeq(f.Value, document.Separator) {
		if v := e.values[value]; v != nil {
			v.assets -= min(v.assets, 1)
		}
	}
}

// next is a number larger than all before.
func (c *Catalogue) next() uint64 { return c.clock.Add(1) }
