package collect

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"google.golang.org/protobuf/proto"

	"github.com/reeve-cloud/reeve/pkg/layout"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/pkg/retry"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// announce tells the centre of the types that a collector and its scopes have,
// before their assets come. It tries until it can, or ctx ends: where types
// cannot be recorded, neither can assets.
func (c *collectorRun) announce(ctx context.Context, scopes []plugin.Scope) {
	types := slices.Clone(c.Description.Types)
	for _, s := range scopes {
		types = append(types, s.Types...)
	}
	pause := retry.BackOff(c.retryAfter, lastRetry)
	for {
		err := c.recorder.recordTypes(ctx, types)
		if err == nil || ctx.Err() != nil {
			return
		}
		wait := pause.NextBackOff()
		c.logger.Error("recording asset types", "error", err, "retry_in", wait)
		if retry.Sleep(ctx, wait) != nil {
			return
		}
	}
}

// recordTypes appends the types whose title or layout is not what was recorded
// last. Of several with one name the last counts.
func (r *Recorder) recordTypes(ctx context.Context, types []plugin.Type) error {
	changed := make(map[string]*wirev1.AssetType)
	for _, t := range types {
		delete(changed, t.Name)
		if err := checkKey(plugin.Key{Type: t.Name, UID: t.Name}); err != nil {
			r.Logger.Warn("refusing an asset type", "error", err)
			continue
		}
		// What the centre would refuse does not go there: without its layout a
		// type is still shown, in the way of those that have none.
		if len(t.Layout) > 0 {
			if _, err := layout.Parse(t.Layout); err != nil {
				r.Logger.Warn("leaving out the layout of an asset type", "type", t.Name, "error", err)
				t.Layout = nil
			}
		}
		title := r.text(t.Title)
		last, err := r.Seen.assetType(t.Name)
		if err != nil {
			return err
		}
		if last == nil || last.GetTitle() != title || !bytes.Equal(last.GetLayout(), t.Layout) {
			changed[t.Name] = &wirev1.AssetType{Name: t.Name, Title: title, Layout: t.Layout}
		}
	}
	records := make([]*wirev1.Record, 0, len(changed))
	for _, name := range slices.Sorted(maps.Keys(changed)) {
		changed[name].Version = uint64(r.Clock.Next())
		records = append(records, typeRecord(changed[name]))
	}
	return r.appendTypes(ctx, records)
}

// resendTypes appends all types again, as they were recorded last.
func (r *Recorder) resendTypes(ctx context.Context) error {
	var records []*wirev1.Record
	if err := r.Seen.types(func(t *wirev1.AssetType) error {
		records = append(records, typeRecord(t))
		return nil
	}); err != nil {
		return err
	}
	return r.appendTypes(ctx, records)
}

func (r *Recorder) appendTypes(ctx context.Context, records []*wirev1.Record) error {
	for part := range slices.Chunk(records, flushBytes/layout.MaxSize) {
		if err := r.Spool.Append(ctx, wirev1.Class_CLASS_ASSETS, part); err != nil {
			return err
		}
	}
	return nil
}

func typeRecord(t *wirev1.AssetType) *wirev1.Record {
	return &wirev1.Record{Body: &wirev1.Record_AssetType{AssetType: t}}
}

// typeFormat is what a stored type begins with.
const typeFormat = 1

func typeKey(name string) []byte { return append([]byte{typePrefix}, name...) }

func encodeType(t *wirev1.AssetType) ([]byte, error) {
	value, err := proto.MarshalOptions{}.MarshalAppend([]byte{typeFormat}, t)
	if err != nil {
		return nil, fmt.Errorf("encoding an asset type: %w", err)
	}
	return value, nil
}

func decodeType(value []byte) (*wirev1.AssetType, error) {
	if len(value) == 0 || value[0] != typeFormat {
		return nil, fmt.Errorf("%w: an asset type in a format that this version does not know", ErrDamaged)
	}
	t := new(wirev1.AssetType)
	if err := proto.Unmarshal(value[1:], t); err != nil {
		return nil, fmt.Errorf("%w: decoding an asset type: %w", ErrDamaged, err)
	}
	return t, nil
}

// types calls visit for every type.
func (s *LastSeen) types(visit func(*wirev1.AssetType) error) error {
	return s.scan([]byte{typePrefix}, func(item *badger.Item) error {
		return itemValue(item, func(v []byte) error {
			t, err := decodeType(v)
			if err != nil {
				return err
			}
			return visit(t)
		})
	})
}

// assetType returns a type as it was recorded last, or nil.
func (s *LastSeen) assetType(name string) (*wirev1.AssetType, error) {
	v, err := s.get(typeKey(name))
	if err != nil || v == nil {
		return nil, err
	}
	t, err := decodeType(v)
	return t, s.check(err)
}
