package registry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"
)

// SitePrefix begins the keys of sites; the name follows.
const SitePrefix = "sites/"

// Site is one private environment behind one boundary.
type Site struct {
	Name       string    `json:"name"`
	CreateTime time.Time `json:"create_time"`
	// DeleteTime is since when the site is being deleted: zero if it is not.
	DeleteTime time.Time `json:"delete_time,omitzero"`
}

// ErrSiteDeleted means that a site is being deleted.
var ErrSiteDeleted = errors.New("the site is being deleted")

// Deleted reports whether the site is being deleted.
func (s *Site) Deleted() bool { return !s.DeleteTime.IsZero() }

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

// DeleteSite notes that a site is to go: no agent joins it from now on, and nobody
// makes a token for it. CloseSite and ForgetSite must follow, again and again until
// they are through, also after a restart. The site is as it was if it was being
// deleted before. The error is ErrNotFound among others.
func (r *Registry) DeleteSite(ctx context.Context, by Actor, name string, now time.Time) (Site, error) {
	for {
		site, revision, err := get[Site](ctx, r.store, SitePrefix, name)
		if err != nil || site.Deleted() {
			return site, err
		}
		site.DeleteTime = now
		value, err := encode(site)
		if err != nil {
			return Site{}, err
		}
		_, err = r.store.Apply(ctx, by, Op{Action: "site.delete", Key: SitePrefix + name, Value: value, Revision: revision})
		if errors.Is(err, ErrConflict) {
			continue
		}
		if err != nil {
			return Site{}, fmt.Errorf("deleting site %s: %w", name, err)
		}
		return site, nil
	}
}

// CloseSite deletes the join tokens of a site and revokes its agents. It reports
// how many of them still have a session: those are cut by who watches them.
func (r *Registry) CloseSite(ctx context.Context, by Actor, name string, now time.Time) (connected int, err error) {
	var tokens []string
	for t, err := range r.JoinTokens(ctx, "") {
		if err != nil && !errors.Is(err, ErrCorrupt) {
			return 0, err
		}
		if err == nil && t.Site == name {
			tokens = append(tokens, t.ID)
		}
	}
	for _, id := range tokens {
		if err := r.DeleteJoinToken(ctx, by, id); err != nil && !errors.Is(err, ErrNotFound) {
			return 0, err
		}
	}
	agents, err := r.agentsOf(ctx, name)
	if err != nil {
		return 0, err
	}
	for _, a := range agents {
		if a.Connected {
			connected++
		}
		if a.Revoked() {
			continue
		}
		if _, err := r.RevokeAgent(ctx, by, a.ID, now); err != nil && !errors.Is(err, ErrNotFound) {
			return connected, err
		}
	}
	return connected, nil
}

// ForgetSite removes a closed site and its agents. Their certificates serve for
// nothing: an agent that is not known is refused as one that was revoked is.
func (r *Registry) ForgetSite(ctx context.Context, by Actor, name string) error {
	agents, err := r.agentsOf(ctx, name)
	if err != nil {
		return err
	}
	for _, a := range agents {
		if err := r.forgetAgent(ctx, by, a.ID); err != nil {
			return err
		}
	}
	if err := r.forgetScopes(ctx, by, name); err != nil {
		return err
	}
	_, err = r.store.Apply(ctx, by, Op{Action: "site.forget", Key: SitePrefix + name, Revision: AnyRevision})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// ForgottenSite returns the last site that was forgotten since a time, or nothing. It looks for one site,
// unless that is empty.
func (r *Registry) ForgottenSite(ctx context.Context, site string, since time.Time) (string, error) {
	for position := ""; ; {
		entries, next, _, err := r.store.AuditPage(ctx, AuditFilter{From: since, Action: "site.forget"}, position, 100)
		if err != nil {
			return "", fmt.Errorf("looking for sites that were deleted: %w", err)
		}
		for _, e := range entries {
			if name := strings.TrimPrefix(e.Key, SitePrefix); site == "" || site == name {
				return name, nil
			}
		}
		if next == "" {
			return "", nil
		}
		position = next
	}
}

func (r *Registry) agentsOf(ctx context.Context, site string) (agents []Agent, err error) {
	for a, err := range r.Agents(ctx, "") {
		if err != nil && !errors.Is(err, ErrCorrupt) {
			return nil, err
		}
		if err == nil && a.Site == site {
			agents = append(agents, a)
		}
	}
	return agents, nil
}
