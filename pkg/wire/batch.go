package wire

import (
	"encoding/hex"
	"errors"
	"fmt"
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
	decoder = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderMaxMemory(MaxRecords), zstd.WithDecoderLowmem(true))
		if err != nil {
			panic(err)
		}
		return d
	})
)

// EncodeBatch numbers records from firstSeq and freezes them.
func EncodeBatch(spoolID string, class wirev1.Class, firstSeq uint64, records []*wirev1.Record) ([]byte, error) {
	raw, err := proto.Marshal(&wirev1.Records{Records: records})
	if err != nil {
		return nil, fmt.Errorf("encoding records: %w", err)
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
		return nil, fmt.Errorf("batch of %d bytes: the largest allowed has %d", len(data), MaxBatch)
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
	case b.GetFirstSeq() > 1<<62:
		return nil, fmt.Errorf("batch: record number %d is out of range", b.GetFirstSeq())
	case b.GetRawBytes() > MaxRecords:
		return nil, fmt.Errorf("batch: %d bytes of records, %d allowed", b.GetRawBytes(), MaxRecords)
	}
	return b, nil
}

// DecodeRecords decompresses and reads a batch's records. There are as many as
// the envelope says.
func DecodeRecords(b *wirev1.Batch) ([]*wirev1.Record, error) {
	raw, err := decoder().DecodeAll(b.GetRecords(), make([]byte, 0, b.GetRawBytes()))
	if err != nil {
		return nil, fmt.Errorf("decompressing records: %w", err)
	}
	var rs wirev1.Records
	if err := proto.Unmarshal(raw, &rs); err != nil {
		return nil, fmt.Errorf("decoding records: %w", err)
	}
	if len(rs.GetRecords()) != int(b.GetCount()) {
		return nil, fmt.Errorf("batch: %d records, its envelope says %d", len(rs.GetRecords()), b.GetCount())
	}
	return rs.GetRecords(), nil
}

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
