package watch

import (
	"fmt"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/ingest"
	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
)

// TestLongHistories reads a step of assets that have changed often: none of their documents but
// two is read.
func TestLongHistories(t *testing.T) {
	w := warehousetest.New(t)
	tail, err := New(t.Context(), Options{Engine: query.New(query.Options{Warehouse: w}), Progress: ingest.NewProgress(time.Time{})})
	if err != nil {
		t.Fatal(err)
	}
	const before, after = 1772323200000, 1782323200000
	for n, of := range []struct{ assets, versions, at int }{{40, 5000, before}, {40, 1, after}} {
		if err := w.Conn().Exec(t.Context(), fmt.Sprintf(`INSERT INTO asset_version (site, type, uid, version, operation, name, document, received_at)
			SELECT 'west', 'a.b.C', toString(intDiv(number, %d)), bitShiftLeft(toUInt64(%d + number %% %[1]d), 16), 'updated', 'x',
			concat('{"a":"', repeat(hex(cityHash64(number)), %[3]d), '"}'), fromUnixTimestamp64Milli(toInt64(%[2]d), 'UTC') FROM numbers(%[4]d)
			SETTINGS max_block_size = 4000, max_threads = 1, min_insert_block_size_rows = 20000, min_insert_block_size_bytes = 100000000`,
			of.versions, of.at, 250-249*n, of.assets*of.versions)); err != nil {
			t.Fatal(err)
		}
	}
	s, err := tail.read(t.Context(), tail.all, Place{At: before}, Place{At: after})
	if err != nil || len(s.assets) != 40 || s.assets[0].before == nil {
		t.Fatalf("%+v, %v", s, err)
	}
}
