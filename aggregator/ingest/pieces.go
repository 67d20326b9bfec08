package ingest

import (
	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/reeve-cloud/reeve/aggregator/ingest/v1"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// A batch that is larger than usual is inserted in pieces of about so many bytes, and so
// many records at most: each takes some tenths of a second, and what others send is
// inserted between them. They are parts of its group, and always the same ones: an
// aggregator that is started in the middle goes on with them.
const (
	pieceBytes   = 2 << 20
	pieceRecords = 2_000
)

// inPieces hands the rows of a part of a group to do, in pieces if it is one large batch.
func (i *Ingest) inPieces(stored *ingestv1.Group, p part, do func(part, *warehouse.Group) error) error {
	records, cuts := pieces(stored, p)
	if len(cuts) < 2 {
		g, _, err := thawPart(stored, p)
		if err != nil {
			return err
		}
		return do(p, g)
	}
	e := stored.GetEntries()[p.first]
	b, err := wire.DecodeBatch(e.GetBatch())
	if err != nil {
		return err
	}
	b.Records = nil // they are read
	from := 0
	for _, to := range cuts {
		piece := p
		piece.from, piece.to, piece.within = from, to, &p
		g, err := emptyPart(stored, piece)
		if err != nil {
			return err
		}
		l := lettersOf(g, e, b)
		l.brief = l.brief || from > 0 // the first piece has those that are kept
		addRecords(g, l, e, b, piece, records)
		if err := do(piece, g); err != nil {
			return err
		}
		clear(records[from:to]) // they take no room any more
		from = to
	}
	return nil
}

// pieces returns the records of a part that is one whole batch, and where its pieces end:
// none if it is not one, or cannot be read.
func pieces(stored *ingestv1.Group, p part) (records []*wirev1.Record, cuts []int) {
	if p.end-p.first != 1 || p.to != 0 {
		return nil, nil
	}
	e := stored.GetEntries()[p.first]
	b, err := wire.DecodeBatch(e.GetBatch())
	if err != nil || b.GetRawBytes() <= pieceBytes && b.GetCount() <= pieceRecords {
		return nil, nil
	}
	if records, err = readRecords(e, b); err != nil {
		return nil, nil
	}
	size, from := 0, 0
	for n, r := range records {
		next := proto.Size(r)
		if n > from && (size+next > pieceBytes || n-from == pieceRecords) {
			cuts = append(cuts, n)
			size, from = 0, n
		}
		size += next
	}
	return records, append(cuts, len(records))
}
