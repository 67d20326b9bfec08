package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
)

// objectVersion is the version of the JSON that is written; all up to it are
// read.
const objectVersion = 1

// chunk is how many objects are read at a time.
const chunk = 256

// encode returns the JSON object of v with the field "v" in front.
func encode(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding a registry object: %w", err)
	}
	return append(fmt.Appendf(nil, `{"v":%d,`, objectVersion), data[1:]...), nil
}

// decode reads what encode wrote. The error is ErrCorrupt.
func decode[T any](key string, data []byte) (v T, err error) {
	var head struct {
		V int `json:"v"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return v, fmt.Errorf("registry object %q: %w: %w", key, ErrCorrupt, err)
	}
	if head.V < 1 || head.V > objectVersion {
		return v, fmt.Errorf("registry object %q: %w: its format has version %d, this program reads up to %d", key, ErrCorrupt, head.V,
			objectVersion)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return v, fmt.Errorf("registry object %q: %w: %w", key, ErrCorrupt, err)
	}
	return v, nil
}

// get returns the object under prefix + id and its revision.
func get[T any](ctx context.Context, s *Store, prefix, id string) (v T, revision int64, err error) {
	kv, err := s.Get(ctx, prefix+id)
	if err != nil {
		return v, 0, err
	}
	v, err = decode[T](kv.Key, kv.Value)
	return v, kv.ModRevision, err
}

// each returns the objects under the prefix whose ids come after the one given,
// in order. What cannot be read comes as an ErrCorrupt, and the others follow;
// any other error is the last.
func each[T any](ctx context.Context, s *Store, prefix, after string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		after := prefix + after
		for {
			kvs, _, err := s.List(ctx, prefix, after, chunk)
			if err != nil {
				yield(none, err)
				return
			}
			for _, kv := range kvs {
				v, err := none, kv.Err
				if err == nil {
					v, err = decode[T](kv.Key, kv.Value)
				}
				if !yield(v, err) {
					return
				}
			}
			if len(kvs) < chunk {
				return
			}
			after = kvs[len(kvs)-1].Key
		}
	}
}
