package wire

import (
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// The codecs keep their tables between calls, and are safe for concurrent use.
// They are made on first use: an idle agent needs neither.
var (
	encoder = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1),
			zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
		if err != nil {
			panic(err) // wrong options are the only cause
		}
		return e
	})
	decoder = sync.OnceValue(func() *zstd.Decoder { return newDecoder(runtime.GOMAXPROCS(0)) })
)

// newDecoder returns a decoder that writes no more than there is room for, whatever the
// bytes say.
func newDecoder(concurrency int) *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(concurrency), zstd.WithDecodeAllCapLimit(true),
		zstd.WithDecoderMaxMemory(MaxRecords), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic(err)
	}
	return d
}

// ErrTooLarge means that records are more than one batch may have: whoever has more
// makes several batches.
var ErrTooLarge = errors.New("too large for a batch")

// EncodeBatch numbers records from firstSeq and freezes them. There may be MaxCount of
// them, with MaxRecords bytes, and with MaxBatch bytes when they are compressed, and they
// must not take more memory than [CheckRecords] allows. The error is ErrTooLarge where
// there is more: what is encoded is never refused when it is decoded.
func EncodeBatch(spoolID string, class wirev1.Class, firstSeq uint64, records []*wirev1.Record) ([]byte, error) {
	if len(records) > MaxCount {
		return nil, fmt.Errorf("%w: %d records, at most %d are allowed", ErrTooLarge, len(records), MaxCount)
	}
	raw, err := proto.Marshal(&wirev1.Records{Records: records})
	if err != nil {
		return nil, fmt.Errorf("encoding records: %w", err)
	}
	if len(raw) > MaxRecords {
		return nil, fmt.Errorf("%w: %d bytes of records, at most %d are allowed", ErrTooLarge, len(raw), MaxRecords)
	}
	if _, err := weigh(raw, uint32(len(records)), nil); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	data, err := proto.Marshal(&wirev1.Batch{
		SpoolId:  spoolID,
		Class:    class,
		FirstSeq: firstSeq,
		Count:    uint32(len(records)),
		RawBytes: uint32(len(raw)),
		Records:  encoder().EncodeAll(raw, nil),
	})
	if err != nil {
		return nil, fmt.Errorf("encoding a batch: %w", err)
	}
	if len(data) > MaxBatch {
		return nil, fmt.Errorf("%w: %d bytes compressed, at most %d are allowed", ErrTooLarge, len(data), MaxBatch)
	}
	return data, nil
}

// DecodeBatch reads and checks a batch's envelope. Its records stay compressed;
// DecodeRecords reads them.
func DecodeBatch(data []byte) (*wirev1.Batch, error) {
	b := new(wirev1.Batch)
	if err := proto.Unmarshal(data, b); err != nil {
		return nil, fmt.Errorf("decoding a batch: %w", err)
	}
	if err := CheckSpoolID(b.GetSpoolId()); err != nil {
		return nil, fmt.Errorf("batch: %w", err)
	}
	switch {
	case !KnownClass(b.GetClass()):
		return nil, fmt.Errorf("batch: class %d is unknown", b.GetClass())
	case b.GetFirstSeq() == 0:
		return nil, errors.New("batch: records are numbered from 1, not 0")
	case b.GetCount() == 0:
		return nil, errors.New("batch: it has no records")
	case b.GetCount() > MaxCount:
		return nil, fmt.Errorf("batch: %d records, %d allowed", b.GetCount(), MaxCount)
	case b.GetFirstSeq() > 1<<62:
		return nil, fmt.Errorf("batch: record number %d is out of range", b.GetFirstSeq())
	case b.GetRawBytes() > MaxRecords:
		return nil, fmt.Errorf("batch: %d bytes of records, %d allowed", b.GetRawBytes(), MaxRecords)
	}
	return b, nil
}

// DecodeRecords decompresses and reads a batch's records. There are as many as
// the envelope says, with as many bytes. What [CheckRecords] refuses it does not read.
func DecodeRecords(b *wirev1.Batch) ([]*wirev1.Record, error) {
	var rs wirev1.Records
	if err := withRecords(b, func(raw []byte) error {
		if _, err := weigh(raw, b.GetCount(), nil); err != nil {
			return err
		}
		if err := proto.Unmarshal(raw, &rs); err != nil {
			return fmt.Errorf("decoding records: %w", err)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	return rs.GetRecords(), nil
}

// withRecords has use read a batch's records, decompressed. They must be as many bytes
// as the envelope says; no more is decompressed. They are use's only until it returns.
func withRecords(b *wirev1.Batch, use func(raw []byte) error) error {
	size := int(b.GetRawBytes())
	if size == 0 || size > MaxRecords {
		return fmt.Errorf("batch: its envelope says %d bytes of records, 1 to %d are allowed", size, MaxRecords)
	}
	// The frame says how large its content is: a lie costs nothing.
	var head zstd.Header
	if err := head.Decode(b.GetRecords()); err != nil {
		return fmt.Errorf("decompressing records: %w", err)
	}
	if head.HasFCS && head.FrameContentSize != uint64(size) {
		return fmt.Errorf("batch: %d bytes of records, its envelope says %d", head.FrameContentSize, size)
	}
	buf, _ := buffers.Get().(*[]byte)
	if buf == nil || cap(*buf) < size+1 {
		fresh := make([]byte, 0, size+1)
		buf = &fresh
	}
	defer func() {
		if cap(*buf) <= keptBuffer {
			buffers.Put(buf)
		}
	}()
	d := decoder()
	if cap(*buf) > keptBuffer {
		// A decoder keeps what it wrote last.
		d = newDecoder(1)
		defer d.Close()
	}
	// One byte more than there may be, to see that there is more.
	raw, err := d.DecodeAll(b.GetRecords(), (*buf)[:0:size+1])
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) || err == nil && len(raw) != size {
		return fmt.Errorf("batch: it has not the %d bytes of records that its envelope says", size)
	}
	if err != nil {
		return fmt.Errorf("decompressing records: %w", err)
	}
	return use(raw)
}

// keptBuffer is the size in bytes of the largest buffer that is used again: the usual
// batch fits into it.
const keptBuffer = 4 << 20

var buffers sync.Pool

// LastSeq is the number of the last record in a batch.
func LastSeq(b *wirev1.Batch) uint64 {
	return b.GetFirstSeq() + uint64(b.GetCount()) - 1
}

// CheckSpoolID returns an error unless id is 32 lower-case hexadecimal digits.
func CheckSpoolID(id string) error {
	raw, err := hex.DecodeString(id)
	if err != nil || len(raw) != 16 || hex.EncodeToString(raw) != id {
		return fmt.Errorf("spool id %q: must be 32 lower-case hexadecimal digits", id)
	}
	return nil
}

// AssetRecord is the record of a version.
func AssetRecord(a *wirev1.AssetVersion) *wirev1.Record {
	return &wirev1.Record{Body: &wirev1.Record_Asset{Asset: a}}
}

// TypeRecord is the record of an asset type.
func TypeRecord(t *wirev1.AssetType) *wirev1.Record {
	return &wirev1.Record{Body: &wirev1.Record_AssetType{AssetType: t}}
}
