package collect

import (
	"context"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// What follows is what the uplink compares with the aggregator (uplink.Inventory).

// Digest sums up what was last seen, by scope and type.
func (r *Recorder) Digest(ctx context.Context) ([]*wirev1.ScopeDigest, error) {
	var list []*wirev1.ScopeDigest
	var sum wire.Digest
	err := r.Seen.scan([]byte{assetPrefix}, func(item *badger.Item) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		scope, k := splitAssetKey(item.Key())
		if n := len(list); n == 0 || list[n-1].GetScope() != scope || list[n-1].GetType() != k.Type {
			list, sum = append(list, &wirev1.ScopeDigest{Scope: scope, Type: k.Type}), wire.Digest{}
		}
		if err := withHash(item, func(hash []byte) { sum.Add(k.UID, hash) }); err != nil {
			return err
		}
		last := list[len(list)-1]
		last.Assets, last.Sum = sum.Assets, sum.Sum
		return nil
	})
	return list, err
}

// Types lists the versions of the types that were recorded.
func (r *Recorder) Types(ctx context.Context) ([]*wirev1.TypeVersion, error) {
	var list []*wirev1.TypeVersion
	err := r.Seen.types(func(t *wirev1.AssetType) error {
		list = append(list, &wirev1.TypeVersion{Name: t.GetName(), Version: t.GetVersion()})
		return ctx.Err()
	})
	return list, err
}

// RestoreTypes appends types again, as they were recorded last.
func (r *Recorder) RestoreTypes(ctx context.Context, names []string) error {
	done := r.Seen.restore()
	defer done()
	var records []*wirev1.Record
	for _, name := range names {
		t, err := r.Seen.assetType(name)
		if err != nil {
			return err
		}
		if t == nil {
			return fmt.Errorf("the aggregator misses the type %s, which was not announced", name)
		}
		records = append(records, typeRecord(t))
	}
	return r.appendTypes(ctx, records)
}

// withHash calls use with the hash of a stored asset.
func withHash(item *badger.Item, use func([]byte)) error {
	return itemValue(item, func(v []byte) error {
		hash, err := hashOf(v)
		if err == nil {
			use(hash)
		}
		return err
	})
}

// errFull ends a scan that has enough.
var errFull = errors.New("enough")

// Listing lists what was last seen of a type in a scope whose uid is above after,
// as much as fits into so many bytes, or all of it.
func (r *Recorder) Listing(ctx context.Context, scope, typ, after string, bytes int) (*wirev1.Listing, error) {
	l := &wirev1.Listing{Scope: scope, Type: typ, After: after}
	size := 0
	err := r.Seen.scanFrom(assetKey(scope, plugin.Key{Type: typ}), assetKey(scope, plugin.Key{Type: typ, UID: after}), func(item *badger.Item) error {
		_, k := splitAssetKey(item.Key())
		if k.UID == after {
			return ctx.Err()
		}
		if size += len(k.UID) + len(document.Hash{}) + 8; size > bytes && len(l.Assets) > 0 {
			l.Until = l.Assets[len(l.Assets)-1].GetUid()
			return errFull
		}
		return withHash(item, func(hash []byte) {
			l.Assets = append(l.Assets, &wirev1.Listed{Uid: k.UID, Hash: append([]byte(nil), hash...)})
		})
	})
	if errors.Is(err, errFull) {
		err = nil
	}
	return l, err
}

// Restore appends again those of a listing that are named by their uids, as the
// versions that they are, and returns how many. What has changed since the listing
// is left out: it is on its way.
func (r *Recorder) Restore(ctx context.Context, l *wirev1.Listing, uids []string) (restored int, err error) {
	listed := make(map[string]document.Hash, len(l.GetAssets()))
	for _, a := range l.GetAssets() {
		listed[a.GetUid()] = document.Hash(a.GetHash())
	}
	done := r.Seen.restore()
	defer done()
	again := resending{ctx: ctx, to: r.Spool}
	for _, uid := range uids {
		hash, ok := listed[uid]
		if !ok {
			return again.sent, fmt.Errorf("the aggregator misses %s, which was not listed", uid)
		}
		last, err := r.Seen.asset(l.GetScope(), plugin.Key{Type: l.GetType(), UID: uid})
		if err != nil {
			return again.sent, err
		}
		if last == nil || last.hash != hash {
			continue
		}
		a, err := last.unpack()
		if err == nil {
			err = again.add(a)
		}
		if err != nil {
			return again.sent, r.Seen.check(err)
		}
	}
	err = again.flush()
	return again.sent, err
}

// Gone returns those of the assets that are not known here.
func (r *Recorder) Gone(scope, typ string, assets []*wirev1.Unlisted) (gone []*wirev1.Unlisted, err error) {
	for _, a := range assets {
		last, err := r.Seen.asset(scope, plugin.Key{Type: typ, UID: a.GetUid()})
		if err != nil {
			return nil, err
		}
		if last == nil {
			gone = append(gone, a)
		}
	}
	return gone, nil
}
