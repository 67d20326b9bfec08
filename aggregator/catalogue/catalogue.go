// Package catalogue knows what there is to ask for: the paths of each type's documents,
// what kind of values they have, how many assets have them, and frequent values. It
// answers from memory, in microseconds, so that a filter can be completed while it is
// typed.
//
// It learns from what ingest commits (Learn), without a statement. The path of a new
// asset, and its values, are there at once. Counts are about right between two counts of
// the whole type (Run makes them in the background, one type at a time, with one thread
// and a bound on memory): creations and deletions are counted, and of a change what is
// new, but not what it was before. Counted says when they were exact.
//
// What it knows lies in the table path as well, and is read at the start; what came since
// it was written last is looked up in the table asset. Where that is lost or missing,
// everything is counted again.
//
// All is bounded, whatever documents are like: types, paths of a type, values of a path,
// their lengths, and what one site can put in of what no other site has. What is beyond
// that is left out, and an answer says so.
//
// # Access
//
// Each path and value knows its sites, and a Scope tells which of them a caller sees: what
// is in none of these is not told, and with a Scope no counts are, for they are of all
// sites. Whoever sees only a part of a site, such as some projects, must be given a Scope
// without that site: what is in their part is for the warehouse to say, whose statements
// have the whole condition.
package catalogue

import (
	"cmp"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The bounds. Of paths and values that only one site has, one site may have a part.
const (
	maxTypes       = 2_000
	maxPaths       = 2_000
	maxSitePaths   = maxPaths / 4
	maxPathLength  = 256
	maxValues      = 32
	maxSiteValues  = maxValues / 2
	maxValueLength = 128
	// maxElements is of how many values of one asset at a path notice is taken.
	maxElements = 64
	// maxBytes is about what all of it may take.
	maxBytes = 48 << 20
)

// Scope is which sites a caller sees. Nil is all of them.
type Scope interface {
	Sees(site string) bool
}

// Path is a path that some documents have.
type Path struct {
	Path string
	Kind Kind
	// List says that some assets have several values at it.
	List bool
	// Assets is about how many assets have it, and Counted when that was exact. Both are
	// zero for a caller who does not see all sites.
	Assets  uint64
	Counted time.Time
}

// Value is a value at a path.
type Value struct {
	Value string
	// Assets is about how many assets have it: zero for a caller who does not see all
	// sites.
	Assets uint64
}

// Catalogue is safe for concurrent use.
type Catalogue struct {
	store Store
	mu    sync.RWMutex
	types map[string]*kindOfAsset
	// numbers are those of sites, and names the sites of the numbers.
	numbers map[string]int
	names   []string

	bytes atomic.Int64
	clock atomic.Uint64
	// wanted has types that are to be counted again.
	wanted chan string
	// loaded says that what was known is here, and looked that it was looked for types that
	// were never counted.
	loaded, looked atomic.Bool
	logger         *slog.Logger
}

// kindOfAsset is what is known of one type.
type kindOfAsset struct {
	name string
	mu   sync.RWMutex
	// paths are at most maxPaths, and own is how many of them are of one site only.
	paths map[string]*entry
	own   map[int]int
	// idle are some that no asset has any more, and make room for others; full says that
	// some are left out.
	idle []string
	full bool
	// usual are the paths of the document before by their places: those of the next one are
	// mostly the same.
	usual []*entry
	// counted is when the whole type was counted, or zero; changed is how much came since.
	counted time.Time
	changed uint64
	// unwritten is how much came since all counts were written.
	unwritten uint64
	// gone are paths that are to be deleted from the table, and dirty says that anything
	// differs from it.
	gone  map[string]struct{}
	dirty bool
}

// entry is a path.
type entry struct {
	// path is empty when it was dropped.
	path    string
	kind    Kind
	list    bool
	assets  uint64
	sites   siteSet
	values  map[string]*valueEntry
	more    bool
	counted time.Time
	// born orders entries and counts: see kindOfAsset.replace.
	born uint64
	// hits is how many values were there already, refused how many found no room, and
	// passed how many were not looked for.
	hits, refused, passed uint
	// last is the value that came last, for the next one is often the same.
	last      *valueEntry
	lastValue string
	dirty     bool
}

type valueEntry struct {
	value  string
	assets uint64
	sites  siteSet
}

// New returns a catalogue that is empty until Run has read what it knew.
func New(store Store, logger *slog.Logger) *Catalogue {
	return &Catalogue{store: store, types: make(map[string]*kindOfAsset), numbers: make(map[string]int), wanted: make(chan string, maxTypes),
		logger: logger}
}

// seen returns the sites that a caller sees, and whether those are all.
func (c *Catalogue) seen(scope Scope) (sites siteSet, all bool) {
	if scope == nil {
		return nil, true
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	for n, name := range c.names {
		if scope.Sees(name) {
			sites.add(n)
		}
	}
	return sites, false
}

// of returns what is known of a type, or of all where the name is empty.
func (c *Catalogue) of(name string) (list []*kindOfAsset) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if name != "" {
		if t := c.types[name]; t != nil {
			list = append(list, t)
		}
		return list
	}
	for _, t := range c.types {
		list = append(list, t)
	}
	return list
}

// Paths lists paths of a type, or of all types if it is empty, that begin with a prefix,
// or of which a key does, whatever the case of letters: first those that begin with it,
// each part by how many assets have them. complete is false if there may be more than
// what the limit or the catalogue's bounds let through.
func (c *Catalogue) Paths(scope Scope, kind, prefix string, limit int) (list []Path, complete bool) {
	sites, all := c.seen(scope)
	type found struct {
		Path
		rank   int
		weight uint64
	}
	matches, complete := make(map[string]*found), true
	prefix = strings.ToLower(prefix)
	for _, t := range c.of(kind) {
		t.mu.RLock()
		complete = complete && !t.full
		for path, e := range t.paths {
			rank := match(path, prefix)
			weight := e.assets
			if !all && weight > 0 {
				weight = uint64(e.sites.common(sites))
			}
			if rank < 0 || weight == 0 {
				continue
			}
			f := matches[path]
			if f == nil {
				f = &found{Path: Path{Path: path}, rank: rank}
				matches[path] = f
			}
			f.Kind, f.List, f.weight = f.Kind.join(e.kind), f.List || e.list, f.weight+weight
			if all {
				f.Assets += e.assets
				if f.Counted.IsZero() || e.counted.Before(f.Counted) {
					f.Counted = e.counted
				}
			}
		}
		t.mu.RUnlock()
	}
	sorted := make([]*found, 0, len(matches))
	for _, f := range matches {
		sorted = append(sorted, f)
	}
	slices.SortFunc(sorted, func(a, b *found) int {
		return cmp.Or(a.rank-b.rank, cmp.Compare(b.weight, a.weight), strings.Compare(a.Path.Path, b.Path.Path))
	})
	if len(sorted) > limit {
		sorted, complete = sorted[:max(limit, 0)], false
	}
	for _, f := range sorted {
		list = append(list, f.Path)
	}
	return list, complete
}

// match returns 0 if a path begins with a prefix in lower case, 1 if a key of it does, and
// -1 otherwise.
func match(path, prefix string) int {
	for start := 0; ; {
		if len(path)-start >= len(prefix) && strings.EqualFold(path[start:start+len(prefix)], prefix) {
			return min(start, 1)
		}
		dot := strings.IndexByte(path[start:], '.')
		if dot < 0 {
			return -1
		}
		start += dot + 1
	}
}

// Values lists frequent values at a path of a type, or of all types if it is empty, that
// begin with a prefix, whatever the case of letters, by how many assets have them.
// complete is false if there may be others.
func (c *Catalogue) Values(scope Scope, kind, path, prefix string, limit int) (list []Value, complete bool) {
	sites, all := c.seen(scope)
	weights, complete := make(map[string]uint64), true
	for _, t := range c.of(kind) {
		t.mu.RLock()
		if e := t.paths[path]; e != nil {
			complete = complete && !e.more
			for value, v := range e.values {
				weight := v.assets
				if !all && weight > 0 {
					weight = uint64(v.sites.common(sites))
				}
				if weight > 0 && len(value) >= len(prefix) && strings.EqualFold(value[:len(prefix)], prefix) {
					weights[value] += weight
				}
			}
		}
		t.mu.RUnlock()
	}
	for value, weight := range weights {
		list = append(list, Value{value, weight})
	}
	slices.SortFunc(list, func(a, b Value) int {
		return cmp.Or(cmp.Compare(b.Assets, a.Assets), strings.Compare(a.Value, b.Value))
	})
	if len(list) > limit {
		list, complete = list[:max(limit, 0)], false
	}
	if !all {
		for i := range list {
			list[i].Assets = 0
		}
	}
	return list, complete
}

// Kind returns what the values at a path of a type are, or of all types if it is empty,
// and whether any asset has it, or had it, that the caller sees.
func (c *Catalogue) Kind(scope Scope, kind, path string) (k Kind, known bool) {
	sites, all := c.seen(scope)
	for _, t := range c.of(kind) {
		t.mu.RLock()
		if e := t.paths[path]; e != nil && (all || e.sites.common(sites) > 0) {
			k, known = k.join(e.kind), true
		}
		t.mu.RUnlock()
	}
	return k, known
}

// Types lists the types that have a path, or all types of which anything is known if it
// is empty, in order.
func (c *Catalogue) Types(scope Scope, path string) (list []string) {
	sites, all := c.seen(scope)
	for _, t := range c.of("") {
		t.mu.RLock()
		has := false
		if path != "" {
			e := t.paths[path]
			has = e != nil && (all || e.sites.common(sites) > 0)
		} else {
			for _, e := range t.paths {
				if has = all || e.sites.common(sites) > 0; has {
					break
				}
			}
		}
		t.mu.RUnlock()
		if has {
			list = append(list, t.name)
		}
	}
	slices.Sort(list)
	return list
}
