package wire

import (
	"bytes"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/reeve-cloud/reeve/pkg/document"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

const (
	// usual is by which factor records usually grow when they are decoded and made
	// into rows.
	usual = 6
	// maxDecoded is what a batch's records may become. It is enough for the largest
	// batch of usual records.
	maxDecoded = usual * MaxRecords

	// What things take in memory beside their bytes, decoded and as rows: a record, an
	// element of a list or a map, an edge, and a value of a document.
	recordOverhead   = 1000
	elementOverhead  = 96 // a map that has just grown is not half full
	relationOverhead = 300
	valueOverhead    = 48
)

// Name is a text of a record by which things are told apart, of which an agent has
// few: each new one costs the centre.
type Name int

// The kinds of names.
const (
	NameType  Name = iota // of an asset
	NameScope             // "collector/scope"
	NameEvent             // the type of an event
	NameMeter             // of a usage
	Names                 // how many kinds there are
)

// CheckRecords returns an error if a batch's records cannot be read, are not as many or
// not as large as the envelope says, or would take too much memory. It decodes none, and
// needs memory for the raw bytes only. The cost is what they take in memory as records,
// in bytes of usual records: at least RawBytes. It calls named, which may be nil, with
// each name in them; the bytes are the caller's until named returns.
func CheckRecords(b *wirev1.Batch, named func(Name, []byte)) (cost int, err error) {
	err = withRecords(b, func(raw []byte) error {
		decoded, err := weigh(raw, b.GetCount(), named)
		cost = max(decoded/usual, len(raw))
		return err
	})
	return cost, err
}

// weigh walks over a Records message and returns about how many bytes it takes decoded.
func weigh(raw []byte, count uint32, named func(Name, []byte)) (decoded int, err error) {
	records := uint32(0)
	for len(raw) > 0 {
		num, value, rest, err := field(raw)
		if err != nil {
			return 0, err
		}
		raw = rest
		if num != 1 || value == nil {
			decoded += elementOverhead
			continue
		}
		if records++; records > count {
			return 0, fmt.Errorf("batch: more records than the %d that its envelope says", count)
		}
		n, err := weighRecord(value, named)
		if err != nil {
			return 0, fmt.Errorf("record %d of the batch: %w", records, err)
		}
		if decoded += recordOverhead + n; decoded > maxDecoded {
			return 0, fmt.Errorf("batch: its records would take more than %d bytes of memory", maxDecoded)
		}
	}
	if records != count {
		return 0, fmt.Errorf("batch: %d records, its envelope says %d", records, count)
	}
	return decoded, nil
}

// field takes the first field of a message. The value is nil unless it is one of
// length-delimited bytes.
func field(raw []byte) (num protowire.Number, value, rest []byte, err error) {
	num, kind, n := protowire.ConsumeTag(raw)
	if n < 0 {
		return 0, nil, nil, fmt.Errorf("decoding records: %w", protowire.ParseError(n))
	}
	raw = raw[n:]
	if kind == protowire.BytesType {
		value, n = protowire.ConsumeBytes(raw)
	} else {
		n = protowire.ConsumeFieldValue(num, kind, raw)
	}
	if n < 0 {
		return 0, nil, nil, fmt.Errorf("decoding records: %w", protowire.ParseError(n))
	}
	return num, value, raw[n:], nil
}

// The numbers of fields in wire.proto.
const (
	recordAsset, recordEvent, recordType, recordUsage = 1, 2, 3, 4

	assetType, assetScope, assetLabels, assetDocument = 1, 5, 10, 14
	assetRelations, assetRemoved                      = 17, 18
	eventType, eventScope, eventData                  = 2, 3, 9
	usageScope, usageMeter                            = 3, 4
	typeName                                          = 1
	gapEnded                                          = 11
)

func weighRecord(raw []byte, named func(Name, []byte)) (decoded int, err error) {
	for len(raw) > 0 {
		kind, body, rest, err := field(raw)
		if err != nil {
			return 0, err
		}
		raw = rest
		decoded += elementOverhead
		for len(body) > 0 {
			num, value, rest, err := field(body)
			if err != nil {
				return 0, err
			}
			body = rest
			decoded += weighField(kind, num, value)
			if named != nil && value != nil {
				if name, ok := nameOf(kind, num); ok {
					named(name, value)
				}
			}
		}
	}
	return decoded, nil
}

func weighField(kind, num protowire.Number, value []byte) int {
	size := elementOverhead + len(value)
	switch {
	case kind == recordAsset && num == assetDocument:
		values, paths := document.Weigh(value)
		return size + len(value) + values*valueOverhead + paths
	case kind == recordAsset && (num == assetRelations || num == assetRemoved), num == gapEnded:
		return size + len(value) + relationOverhead
	case kind == recordEvent && num == eventData:
		return size + 2*len(value) + bytes.Count(value, []byte{','})*valueOverhead
	}
	return size
}

func nameOf(kind, num protowire.Number) (Name, bool) {
	switch {
	case kind == recordAsset && num == assetType, kind == recordType && num == typeName:
		return NameType, true
	case kind == recordAsset && num == assetScope, kind == recordEvent && num == eventScope, kind == recordUsage && num == usageScope:
		return NameScope, true
	case kind == recordEvent && num == eventType:
		return NameEvent, true
	case kind == recordUsage && num == usageMeter:
		return NameMeter, true
	}
	return 0, false
}
