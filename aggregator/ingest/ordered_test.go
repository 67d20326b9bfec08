package ingest

import (
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/hlc"
)

// TestOrdered: records of a clock that is far ahead are ordered as they were recorded, and
// around when they came.
func TestOrdered(t *testing.T) {
	received := time.UnixMilli(1_800_000_000_123)
	limit := uint64(hlc.FromTime(received.Add(hlc.MaxSkew)))
	if order, claimed := (origin{received: received}).ordered(limit); order != limit || claimed != 0 {
		t.Errorf("a stamp within the skew: %d, %d", order, claimed)
	}
	for _, first := range []uint64{1, 1<<16 - 100, 1<<20 - 100, 3<<16 - 1} {
		var last uint64
		for seq := first; seq < first+groupRecords; seq++ {
			order, claimed := origin{Origin: warehouse.Origin{Seq: seq}, received: received}.ordered(limit + 1)
			at := hlc.Stamp(order).Time()
			if order <= last || claimed != limit+1 || at.Before(received) || at.Sub(received) > 256*time.Millisecond {
				t.Fatalf("record %d comes at %v, behind %d: %d, claimed %d", seq, at, last, order, claimed)
			}
			last = order
		}
	}
}
