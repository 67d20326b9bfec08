package collect

import (
	"bytes"
	"context"
	"maps"
	"slices"

	"github.com/reeve-cloud/reeve/pkg/layout"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/pkg/retry"
	"github.com/reeve-cloud/reeve/pkg/wire"
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
		last, err := r.Seen.AssetType(t.Name)
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
		records = append(records, wire.TypeRecord(changed[name]))
	}
	return r.appendTypes(ctx, records)
}

// resendTypes appends all types again, as they were recorded last.
func (r *Recorder) resendTypes(ctx context.Context) error {
	var records []*wirev1.Record
	if err := r.Seen.Types(func(t *wirev1.AssetType) error {
		records = append(records, wire.TypeRecord(t))
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
