package registry

import (
	"context"
	"fmt"
	"time"
)

// authorityPrefix begins the keys of what was done to certificate authorities; the
// pin follows.
const authorityPrefix = "certificate-authorities/"

// authority is when an authority was replaced and retired. The authorities
// themselves are files: package identity.
type authority struct {
	RotateTime time.Time `json:"rotate_time,omitzero"`
	RetireTime time.Time `json:"retire_time,omitzero"`
}

// AuthorityRotated audits that the authority with the pin is replaced by a new
// one.
func (r *Registry) AuthorityRotated(ctx context.Context, by Actor, pin string, now time.Time) error {
	return r.noteAuthority(ctx, by, "ca.rotate", pin, authority{RotateTime: now})
}

// AuthorityRetired audits that the authority with the pin is retired.
func (r *Registry) AuthorityRetired(ctx context.Context, by Actor, pin string, now time.Time) error {
	return r.noteAuthority(ctx, by, "ca.retire", pin, authority{RetireTime: now})
}

func (r *Registry) noteAuthority(ctx context.Context, by Actor, action, pin string, a authority) error {
	value, err := encode(a)
	if err == nil {
		_, err = r.store.Apply(ctx, by, Op{Action: action, Key: authorityPrefix + pin, Value: value, Revision: AnyRevision})
	}
	if err != nil {
		return fmt.Errorf("noting the change of certificate authority %s: %w", pin, err)
	}
	return nil
}
