package collect

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// What follows is what the uplink compares with the aggregator (uplink.Inventory).

// Digest sums up what was last seen, by scope and type, of the scopes of which all is
// known, and names those.
func (r *Recorder) Digest(ctx context.Context) (list []*wirev1.ScopeDigest, complete []string, err error) {
	if complete, err = r.completeScopes(); err != nil {
		return nil, nil, err
	}
	for _, scope := range complete {
		var last *wirev1.ScopeDigest
		var sum wire.Digest
		if err := r.Seen.Hashes(scope, plugin.Key{}, func(k plugin.Key, hash []byte) error {
			if last == nil || last.GetType() != k.Type {
				last, sum = &wirev1.ScopeDigest{Scope: scope, Type: k.Type}, wire.Digest{}
				list = append(list, last)
			}
			sum.Add(k.UID, hash)
			last.Assets, last.Sum = sum.Assets, sum.Sum
			return ctx.Err()
		}); err != nil {
			return nil, nil, err
		}
	}
	return list, complete, nil
}

// completeScopes lists the scopes of which all is known.
func (r *Recorder) completeScopes() (list []string, err error) {
	scopes, err := r.Seen.AllScopes()
	if err != nil {
		return nil, err
	}
	for _, scope := range scopes {
		complete, err := r.complete(scope)
		if err != nil {
			return nil, err
		}
		if complete {
			list = append(list, scope)
		}
	}
	return list, nil
}

// complete reports whether all is known of a scope, and the agent holds it: only then
// what is not known is not there.
func (r *Recorder) complete(scope string) (bool, error) {
	if r.Holdings != nil && !r.Holdings.complete(scope) {
		return false, nil
	}
	state, err := r.Seen.Scope(scope)
	return !state.Completed.IsZero(), err
}

// Types lists the versions of the types that were recorded.
func (r *Recorder) Types(ctx context.Context) ([]*wirev1.TypeVersion, error) {
	var list []*wirev1.TypeVersion
	err := r.Seen.Types(func(t *wirev1.AssetType) error {
		list = append(list, &wirev1.TypeVersion{Name: t.GetName(), Version: t.GetVersion()})
		return ctx.Err()
	})
	return list, err
}

// RestoreTypes appends types again, as they were recorded last.
func (r *Recorder) RestoreTypes(ctx context.Context, names []string) error {
	done := r.Seen.Restoring()
	defer done()
	var records []*wirev1.Record
	for _, name := range names {
		t, err := r.Seen.AssetType(name)
		if err != nil {
			return err
		}
		if t == nil {
			return fmt.Errorf("the aggregator misses the type %s, which was not announced", name)
		}
		records = append(records, wire.TypeRecord(t))
	}
	return r.appendTypes(ctx, records)
}

// errFull ends a listing that has enough.
var errFull = errors.New("enough")

// Listing lists what was last seen of a type in a scope whose uid is above after,
// as much as fits into so many bytes, or all of it.
func (r *Recorder) Listing(ctx context.Context, scope, typ, after string, bytes int) (*wirev1.Listing, error) {
	l := &wirev1.Listing{Scope: scope, Type: typ, After: after}
	size := 0
	err := r.Seen.Hashes(scope, plugin.Key{Type: typ, UID: after}, func(k plugin.Key, hash []byte) error {
		if k.Type != typ {
			return errFull
		}
		if k.UID == after {
			return ctx.Err()
		}
		if size += len(k.UID) + len(document.Hash{}) + 8; size > bytes && len(l.Assets) > 0 {
			l.Until = l.Assets[len(l.Assets)-1].GetUid()
			return errFull
		}
		l.Assets = append(l.Assets, &wirev1.Listed{Uid: k.UID, Hash: append([]byte(nil), hash...)})
		return nil
	})
	if errors.Is(err, errFull) {
		err = nil
	}
	return l, err
}

// Restore appends again those of a listing that are named by their uids, and returns
// how many: as the versions that they are, or, where what the aggregator has is newer
// by its stamp (held, or zero) and not what is true, as new ones. What has changed
// since the listing is left out: it is on its way.
func (r *Recorder) Restore(ctx context.Context, l *wirev1.Listing, uids []string, held []uint64) (restored int, err error) {
	listed := make(map[string]document.Hash, len(l.GetAssets()))
	for _, a := range l.GetAssets() {
		listed[a.GetUid()] = document.Hash(a.GetHash())
	}
	done := r.Seen.Restoring()
	defer done()
	again := resending{ctx: ctx, to: r.Spool}
	for i, uid := range uids {
		hash, ok := listed[uid]
		if !ok {
			return again.sent, fmt.Errorf("the aggregator misses %s, which was not listed", uid)
		}
		last, err := r.Seen.Asset(l.GetScope(), plugin.Key{Type: l.GetType(), UID: uid})
		if err != nil {
			return again.sent, err
		}
		if last == nil || last.Hash != hash {
			continue
		}
		a, err := last.Version()
		if err != nil {
			return again.sent, r.Seen.Check(err)
		}
		if i < len(held) && held[i] >= a.GetVersion() {
			r.Clock.Observe(hlc.Stamp(held[i]))
			a = proto.CloneOf(a)
			a.Version, a.Operation, a.Changed = uint64(r.Clock.Next()), wirev1.Operation_OPERATION_UPDATED, []string{corrected}
		}
		if err := again.add(r.vouched(a)); err != nil {
			return again.sent, err
		}
	}
	err = again.flush()
	return again.sent, err
}

// vouched is a version as the holder of its scope sends it again: with the epoch of now.
// With the one in which it was recorded, or none, as what was seeded, it would be refused
// of an agent that had lost the scope in between.
func (r *Recorder) vouched(a *wirev1.AssetVersion) *wirev1.AssetVersion {
	if r.Holdings == nil {
		return a
	}
	if epoch := r.Holdings.heldEpoch(a.GetScope()); epoch > a.GetEpoch() {
		a = proto.CloneOf(a)
		a.Epoch = epoch
	}
	return a
}

// corrected is what changed in a version that puts right what the aggregator has.
const corrected = "@corrected"

// Gone returns those of the assets that are not known here, if all is known of their
// scope. Otherwise that says nothing of them.
func (r *Recorder) Gone(scope, typ string, assets []*wirev1.Unlisted) (gone []*wirev1.Unlisted, err error) {
	if complete, err := r.complete(scope); err != nil || !complete {
		return nil, err
	}
	for _, a := range assets {
		last, err := r.Seen.Asset(scope, plugin.Key{Type: typ, UID: a.GetUid()})
		if err != nil {
			return nil, err
		}
		if last == nil {
			gone = append(gone, a)
		}
	}
	return gone, nil
}
