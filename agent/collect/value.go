package collect

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	"github.com/reeve-cloud/reeve/pkg/document"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

var (
	valueEncoder = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(64<<10), zstd.WithLowerEncoderMem(true))
		if err != nil {
			panic(err) // wrong options are the only cause
		}
		return e
	})
	valueDecoder = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
		if err != nil {
			panic(err)
		}
		return d
	})
)

// encodeValue keeps of a version what the next one is compared with.
func encodeValue(a *wirev1.AssetVersion) ([]byte, error) {
	changed, removed := a.Changed, a.RemovedRelations
	a.Changed, a.RemovedRelations = nil, nil
	raw, err := proto.Marshal(a)
	a.Changed, a.RemovedRelations = changed, removed
	if err != nil {
		return nil, fmt.Errorf("encoding what was last seen: %w", err)
	}
	value := append([]byte{valueFormat}, a.GetHash()...)
	return valueEncoder().EncodeAll(raw, value), nil
}

func encodeDeletion(a *wirev1.AssetVersion, seq uint64) ([]byte, error) {
	raw, err := proto.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("encoding a deletion: %w", err)
	}
	value := binary.BigEndian.AppendUint64([]byte{valueFormat}, seq)
	return valueEncoder().EncodeAll(raw, value), nil
}

func decodeDeletion(value []byte) (seq uint64, a *wirev1.AssetVersion, err error) {
	if len(value) < 9 || value[0] != valueFormat {
		return 0, nil, fmt.Errorf("%w: last seen: a deletion in a format that this version does not know", ErrDamaged)
	}
	raw, err := valueDecoder().DecodeAll(value[9:], nil)
	if err != nil {
		return 0, nil, fmt.Errorf("%w: decompressing a deletion: %w", ErrDamaged, err)
	}
	a = new(wirev1.AssetVersion)
	if err := proto.Unmarshal(raw, a); err != nil {
		return 0, nil, fmt.Errorf("%w: decoding a deletion: %w", ErrDamaged, err)
	}
	return binary.BigEndian.Uint64(value[1:9]), a, nil
}

// seen is what was last seen of an asset.
type seen struct {
	hash document.Hash
	// One of the two is set: the value as stored, or the version itself.
	packed  []byte
	version *wirev1.AssetVersion
}

// splitValue takes a stored asset apart: its hash, and the compressed version.
func splitValue(value []byte) (hash, packed []byte, err error) {
	const head = 1 + len(document.Hash{})
	if len(value) < head || value[0] != valueFormat {
		return nil, nil, fmt.Errorf("%w: last seen: a value in a format that this version does not know", ErrDamaged)
	}
	return value[1:head], value[head:], nil
}

func decodeValue(value []byte) (*seen, error) {
	hash, packed, err := splitValue(value)
	if err != nil {
		return nil, err
	}
	return &seen{hash: document.Hash(hash), packed: bytes.Clone(packed)}, nil
}

// unpack returns the version. It must not be changed.
func (s *seen) unpack() (*wirev1.AssetVersion, error) {
	if s.version == nil {
		raw, err := valueDecoder().DecodeAll(s.packed, nil)
		if err != nil {
			return nil, fmt.Errorf("%w: decompressing what was last seen: %w", ErrDamaged, err)
		}
		a := new(wirev1.AssetVersion)
		if err := proto.Unmarshal(raw, a); err != nil {
			return nil, fmt.Errorf("%w: decoding what was last seen: %w", ErrDamaged, err)
		}
		s.version, s.packed = a, nil
	}
	return s.version, nil
}
