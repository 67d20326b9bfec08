package wire

import (
	"cmp"
	"fmt"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

const (
	// SeedPiece is the size in bytes of the pieces that a seed is sent in: heartbeats
	// pass between them on slow links.
	SeedPiece = 16 << 10
	// maxSeedPieces is how many one message of a seed may have.
	maxSeedPieces = MaxBatch / SeedPiece
)

// seedDecoder reads seeds, whose size nothing tells before.
var seedDecoder = sync.OnceValue(func() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxRecords), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic(err) // wrong options are the only cause
	}
	return d
})

// PackSeed makes the messages that carry versions to an agent. What is in to is set in
// each, and its end in the last.
func PackSeed(versions []*wirev1.AssetVersion, to *wirev1.Seed) ([]*wirev1.Seed, error) {
	records := &wirev1.Records{}
	for _, a := range versions {
		records.Records = append(records.Records, AssetRecord(a))
	}
	raw, err := proto.Marshal(records)
	if err != nil {
		return nil, fmt.Errorf("encoding a seed: %w", err)
	}
	if len(raw) > MaxRecords {
		return nil, fmt.Errorf("seed of %d bytes: at most %d are allowed", len(raw), MaxRecords)
	}
	packed := encoder().EncodeAll(raw, nil)
	var list []*wirev1.Seed
	for more := true; more; {
		n := min(len(packed), SeedPiece)
		more = n < len(packed)
		m := &wirev1.Seed{Scope: to.GetScope(), Epoch: to.GetEpoch(), Piece: packed[:n], More: more}
		if packed = packed[n:]; !more {
			m.UntilType, m.UntilUid, m.End = to.GetUntilType(), to.GetUntilUid(), to.GetEnd()
		}
		list = append(list, m)
	}
	if len(list) > maxSeedPieces {
		return nil, fmt.Errorf("seed of %d pieces: at most %d are allowed", len(list), maxSeedPieces)
	}
	return list, nil
}

// SeedPieces gathers the pieces of one message of a seed. Its zero value has none.
type SeedPieces struct {
	packed []byte
	pieces int
}

// Add takes the next piece. When it is the last, done is true, and versions are what the
// message has.
func (p *SeedPieces) Add(m *wirev1.Seed) (versions []*wirev1.AssetVersion, done bool, err error) {
	if p.pieces++; p.pieces > maxSeedPieces || len(m.GetPiece()) > SeedPiece {
		return nil, false, fmt.Errorf("seed: more than %d pieces, or one of more than %d bytes", maxSeedPieces, SeedPiece)
	}
	if p.packed = append(p.packed, m.GetPiece()...); m.GetMore() {
		return nil, false, nil
	}
	raw, err := seedDecoder().DecodeAll(p.packed, nil)
	if err != nil {
		return nil, false, fmt.Errorf("decompressing a seed: %w", err)
	}
	var records wirev1.Records
	if err := proto.Unmarshal(raw, &records); err != nil {
		return nil, false, fmt.Errorf("decoding a seed: %w", err)
	}
	for _, r := range records.GetRecords() {
		if r.GetAsset() == nil {
			return nil, false, fmt.Errorf("seed: a record that is no asset")
		}
		versions = append(versions, r.GetAsset())
	}
	return versions, true, nil
}

// CompareRelations is the order of relations: by kind, type and uid.
func CompareRelations(a, b *wirev1.Relation) int {
	return cmp.Or(strings.Compare(a.GetKind(), b.GetKind()), strings.Compare(a.GetType(), b.GetType()),
		strings.Compare(a.GetUid(), b.GetUid()))
}
