package spool

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// A segment begins with a header of segmentHeaderSize bytes: the magic, and the
// class as a byte. Frames follow, each with a header of frameHeaderSize bytes,
// all numbers little-endian:
//
//	crc    uint32  CRC-32C of all that follows in the frame
//	batch  uint32  length of the batch
//	local  uint32  length of the part that is not shipped: checkpoints as JSON
//	count  uint32  number of records
//	first  uint64  number of the first record
//
// Segments in which there are stubs have another magic, and the stubs among
// their frames the highest bit of count set.
const (
	segmentMagic      = "reeve-seg-1"
	segmentMagicStubs = "reeve-seg-2"
	segmentHeaderSize = len(segmentMagic) + 1
	frameHeaderSize   = 24
	stubBit           = 1 << 31
	// maxLocal bounds the part that is not shipped.
	maxLocal = 16 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func segmentHeader(magic string, class wirev1.Class) []byte {
	return append([]byte(magic), byte(class))
}

// encodeFrame returns a frame's bytes on disk.
func encodeFrame(f Frame) ([]byte, error) {
	var local []byte
	if len(f.Checkpoints) > 0 {
		var err error
		if local, err = json.Marshal(f.Checkpoints); err != nil {
			return nil, fmt.Errorf("encoding checkpoints: %w", err)
		}
	}
	if len(local) > maxLocal {
		return nil, fmt.Errorf("checkpoints of %d bytes: %d allowed", len(local), maxLocal)
	}
	buf := make([]byte, frameHeaderSize, frameHeaderSize+len(f.Batch)+len(local))
	binary.LittleEndian.PutUint32(buf[4:], uint32(len(f.Batch)))
	binary.LittleEndian.PutUint32(buf[8:], uint32(len(local)))
	count := uint32(f.Last - f.First + 1)
	if f.Stub {
		count |= stubBit
	}
	binary.LittleEndian.PutUint32(buf[12:], count)
	binary.LittleEndian.PutUint64(buf[16:], f.First)
	buf = append(append(buf, f.Batch...), local...)
	binary.LittleEndian.PutUint32(buf, crc32.Checksum(buf[4:], castagnoli))
	return buf, nil
}

// errTorn means that the bytes end in the middle of a frame, or that the last
// frame is not what its checksum says: a crash cut it off.
var errTorn = errors.New("frame is cut off")

// readFrame reads the frame at an offset of a segment that ends at end, and
// returns it with the offset behind it. At the end it returns io.EOF; errTorn
// and ErrCorrupt are the other outcomes beside errors of r.
func readFrame(r io.ReaderAt, class wirev1.Class, at, end int64) (Frame, int64, error) {
	if at == end {
		return Frame{}, at, io.EOF
	}
	var head [frameHeaderSize]byte
	if end-at < frameHeaderSize {
		return Frame{}, at, errTorn
	}
	if _, err := r.ReadAt(head[:], at); err != nil {
		return Frame{}, at, err
	}
	batchLen, localLen := int64(binary.LittleEndian.Uint32(head[4:])), int64(binary.LittleEndian.Uint32(head[8:]))
	count, first := binary.LittleEndian.Uint32(head[12:]), binary.LittleEndian.Uint64(head[16:])
	stub := count&stubBit != 0
	count &^= stubBit
	next := at + frameHeaderSize + batchLen + localLen
	if next > end {
		return Frame{}, at, errTorn
	}
	if batchLen > wire.MaxBatch || localLen > maxLocal {
		return Frame{}, at, fmt.Errorf("%w: impossible frame header at offset %d", ErrCorrupt, at)
	}
	body := make([]byte, batchLen+localLen)
	if _, err := r.ReadAt(body, at+frameHeaderSize); err != nil && !errors.Is(err, io.EOF) {
		return Frame{}, at, err
	}
	sum := crc32.Update(crc32.Checksum(head[4:], castagnoli), castagnoli, body)
	if sum != binary.LittleEndian.Uint32(head[:]) || count == 0 || first == 0 {
		if next == end {
			return Frame{}, at, errTorn
		}
		return Frame{}, at, fmt.Errorf("%w: wrong checksum of the frame at offset %d", ErrCorrupt, at)
	}
	f := Frame{Class: class, First: first, Last: first + uint64(count) - 1, Stub: stub, Batch: body[:batchLen:batchLen]}
	if localLen > 0 {
		if err := json.Unmarshal(body[batchLen:], &f.Checkpoints); err != nil {
			return Frame{}, at, fmt.Errorf("%w: checkpoints at offset %d: %w", ErrCorrupt, at, err)
		}
	}
	return f, next, nil
}
