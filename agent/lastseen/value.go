package lastseen

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// Values begin with the format that they are in. S2 takes a ninth of the time
// of Zstandard, which earlier versions wrote, and a third more room.
const (
	zstdFormat = 1
	s2Format   = 2
)

var zstdDecoder = sync.OnceValue(func() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(wire.MaxRecords))
	if err != nil {
		panic(err) // wrong options are the only cause
	}
	return d
})

var raws = sync.Pool{New: func() any { return new([]byte) }}

// pack encodes a version behind what a value begins with.
func pack(head []byte, a *wirev1.AssetVersion) ([]byte, error) {
	scratch := raws.Get().(*[]byte)
	defer raws.Put(scratch)
	raw, err := proto.MarshalOptions{}.MarshalAppend((*scratch)[:0], a)
	if err != nil {
		return nil, err
	}
	*scratch = raw
	value := make([]byte, len(head)+s2.MaxEncodedLen(len(raw)))
	copy(value, head)
	return value[:len(head)+len(s2.Encode(value[len(head):], raw))], nil
}

// unpack is the reverse, for what lies behind the head. Errors are ErrDamaged.
func unpack(format byte, packed []byte) (*wirev1.AssetVersion, error) {
	var raw []byte
	var err error
	if format == zstdFormat {
		raw, err = zstdDecoder().DecodeAll(packed, nil)
	} else if n, _ := s2.DecodedLen(packed); n > wire.MaxRecords { // no record is that large
		err = s2.ErrTooLarge
	} else {
		raw, err = s2.Decode(nil, packed)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: decompressing what was last seen: %w", ErrDamaged, err)
	}
	a := new(wirev1.AssetVersion)
	if err := proto.Unmarshal(raw, a); err != nil {
		return nil, fmt.Errorf("%w: decoding what was last seen: %w", ErrDamaged, err)
	}
	return a, nil
}

// split takes a value apart whose head has size bytes behind the format.
func split(value []byte, size int) (format byte, head, packed []byte, err error) {
	if len(value) < 1+size || value[0] != zstdFormat && value[0] != s2Format {
		return 0, nil, nil, fmt.Errorf("%w: last seen: a value in a format that this version does not know", ErrDamaged)
	}
	return value[0], value[1 : 1+size], value[1+size:], nil
}

// encodeValue keeps of a version what the next one is compared with.
func encodeValue(a *wirev1.AssetVersion) ([]byte, error) {
	changed, removed := a.Changed, a.RemovedRelations
	a.Changed, a.RemovedRelations = nil, nil
	value, err := pack(append([]byte{s2Format}, a.GetHash()...), a)
	a.Changed, a.RemovedRelations = changed, removed
	if err != nil {
		return nil, fmt.Errorf("encoding what was last seen: %w", err)
	}
	return value, nil
}

func encodeDeletion(a *wirev1.AssetVersion, seq uint64) ([]byte, error) {
	value, err := pack(binary.BigEndian.AppendUint64([]byte{s2Format}, seq), a)
	if err != nil {
		return nil, fmt.Errorf("encoding a deletion: %w", err)
	}
	return value, nil
}

func decodeDeletion(value []byte) (seq uint64, a *wirev1.AssetVersion, err error) {
	format, head, packed, err := split(value, 8)
	if err != nil {
		return 0, nil, err
	}
	if a, err = unpack(format, packed); err != nil {
		return 0, nil, err
	}
	return binary.BigEndian.Uint64(head), a, nil
}

// Seen is what was last seen of an asset.
type Seen struct {
	// Hash is that of all that was stable in it.
	Hash document.Hash
	// Either version is set, or the value as it is stored.
	format  byte
	packed  []byte
	version *wirev1.AssetVersion
}

// hashOf returns the hash that a stored asset begins with.
func hashOf(value []byte) ([]byte, error) {
	_, hash, _, err := split(value, len(document.Hash{}))
	return hash, err
}

// decodeValue takes a stored asset apart. What it returns refers to value.
func decodeValue(value []byte) (*Seen, error) {
	format, hash, packed, err := split(value, len(document.Hash{}))
	if err != nil {
		return nil, err
	}
	return &Seen{Hash: document.Hash(hash), format: format, packed: packed}, nil
}

// Version returns the version. It must not be changed.
func (s *Seen) Version() (*wirev1.AssetVersion, error) {
	if s.version == nil {
		a, err := unpack(s.format, s.packed)
		if err != nil {
			return nil, err
		}
		s.version, s.packed = a, nil
	}
	return s.version, nil
}

// Of is what is seen with a version that is not stored yet.
func Of(a *wirev1.AssetVersion) *Seen {
	return &Seen{Hash: document.Hash(a.GetHash()), version: a}
}
