package lastseen

import (
	"fmt"

	"github.com/dgraph-io/badger/v4"
	"google.golang.org/protobuf/proto"

	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

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

// Types calls visit for every type.
func (s *Store) Types(visit func(*wirev1.AssetType) error) error {
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

// AssetType returns a type as it was recorded last, or nil.
func (s *Store) AssetType(name string) (*wirev1.AssetType, error) {
	v, err := s.get(typeKey(name))
	if err != nil || v == nil {
		return nil, err
	}
	t, err := decodeType(v)
	return t, s.Check(err)
}
