package registry

import (
	"context"
	"iter"
	"time"
)

// SitePrefix begins the keys of sites; the name follows.
const SitePrefix = "sites/"

// Site is one private environment behind one boundary.
type Site struct {
	Name       string    `json:"name"`
	CreateTime time.Time `json:"create_time"`
}

// Site returns the site with the name. The error is ErrNotFound or ErrCorrupt
// among others.
func (r *Registry) Site(ctx context.Context, name string) (Site, error) {
	site, _, err := get[Site](ctx, r.store, SitePrefix, name)
	return site, err
}

// Sites returns the sites whose names come after the one given, by name. A site
// that cannot be read comes as an ErrCorrupt, and the others follow; any other
// error is the last.
func (r *Registry) Sites(ctx context.Context, after string) iter.Seq2[Site, error] {
	return each[Site](ctx, r.store, SitePrefix, after)
}
