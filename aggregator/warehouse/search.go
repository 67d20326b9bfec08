package warehouse

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/reeve-cloud/reeve/pkg/filter"
	"github.com/reeve-cloud/reeve/pkg/layout"
)

// searches has the paths that a search by words looks at, by type and site, as the
// layouts say that lie in asset_type. Most sites say the same of a type, so each type has
// what holds by default and what is different in some sites.
//
// A layout that changes says what is searched of the versions that come after it.
type searches struct {
	mu    sync.RWMutex
	types map[string]*typeSearch
}

type typeSearch struct {
	paths []string
	sites map[string][]string
}

// maxSearchTypes is of how many types layouts are looked at: names are cheap to make up.
const maxSearchTypes = 10_000

// searchPaths returns the paths that a layout has a search look at: none if it cannot be
// read, for that has been refused before.
func searchPaths(text []byte) []string {
	if len(text) == 0 {
		return nil
	}
	l, err := layout.Parse(text)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(l.Search, func(path string) bool { return strings.HasPrefix(path, "@") })
}

// set takes note of what a site says of a type.
func (s *searches) set(site, kind string, paths []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.types[kind]
	switch {
	case t == nil && len(s.types) >= maxSearchTypes:
	case t == nil:
		s.types[kind] = &typeSearch{paths: paths}
	case slices.Equal(t.paths, paths):
		delete(t.sites, site)
	default:
		if t.sites == nil {
			t.sites = make(map[string][]string)
		}
		t.sites[site] = paths
	}
}

// of returns the paths for a type in a site.
func (s *searches) of(site, kind string) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := s.types[kind]
	if t == nil {
		return nil
	}
	if paths, differs := t.sites[site]; differs {
		return paths
	}
	return t.paths
}

// note takes note of the layouts of a group.
func (s *searches) note(g *Group) {
	for i := range g.Types {
		t := &g.Types[i]
		s.set(t.Site, t.Name, searchPaths(t.Layout))
	}
}

// text returns what a search looks at of a version.
func (s *searches) text(v *AssetVersion) string {
	return filter.SearchText(&filter.Asset{Name: v.Name, UID: v.UID, Project: v.Project, Labels: v.Labels, Fields: v.Fields}, s.of(v.Site, v.Type))
}

// loadSearches reads the layouts that sites have told. What most sites say of a type
// comes first, and so holds by default.
func (w *Warehouse) loadSearches(ctx context.Context) error {
	rows, err := w.conn.Query(ctx, `SELECT name, layout, groupArray(site) FROM asset_type FINAL GROUP BY name, layout ORDER BY count() DESC, name, layout`)
	if err != nil {
		return fmt.Errorf("reading the layouts of types: %w", err)
	}
	type told struct {
		name   string
		layout []byte
		sites  []string
	}
	list, err := scan(rows, func(t *told) []any { return []any{&t.name, (*text)(&t.layout), &t.sites} })
	if err != nil {
		return err
	}
	fresh := &searches{types: make(map[string]*typeSearch)}
	for _, t := range list {
		paths := searchPaths(t.layout)
		for _, site := range t.sites {
			fresh.set(site, t.name, paths)
		}
	}
	w.search.mu.Lock()
	defer w.search.mu.Unlock()
	w.search.types = fresh.types
	return nil
}

// SearchPaths returns the paths that searches by words look at, each with the types whose
// layouts name it, in any site.
func (w *Warehouse) SearchPaths() map[string][]string {
	w.search.mu.RLock()
	defer w.search.mu.RUnlock()
	paths := make(map[string][]string)
	for kind, t := range w.search.types {
		lists := [][]string{t.paths}
		for _, list := range t.sites {
			lists = append(lists, list)
		}
		for _, path := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(lists...)))) {
			paths[path] = append(paths[path], kind)
		}
	}
	for _, kinds := range paths {
		slices.Sort(kinds)
	}
	return paths
}
