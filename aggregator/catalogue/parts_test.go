package catalogue

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
)

// TestCountManyParts: a count has its memory also where a table has many parts, each with
// a hundred streams that are read side by side.
func TestCountManyParts(t *testing.T) {
	e := &estate{t: t, store: warehousetest.New(t)}
	c := New(e.store, slog.New(slog.DiscardHandler))
	const parts, each = 40, 1500
	// Nothing is merged, and parts are as if merges had made them.
	if err := e.store.Conn().Exec(t.Context(), "ALTER TABLE asset MODIFY SETTING max_bytes_to_merge_at_max_space_in_pool = 1, "+
		"map_serialization_version_for_zero_level_parts = 'with_buckets'"); err != nil {
		t.Fatal(err)
	}
	for part := range parts {
		if err := e.store.Conn().Exec(t.Context(), fmt.Sprintf(`INSERT INTO asset (site, type, uid, version, fields)
			SELECT 'west', 'k.core.Pod', toString(number * %d + %d), 1,
				mapFromArrays(arrayMap(i -> concat('spec.path.', toString(i)), range(60)), arrayMap(i -> concat(toString(number), '-', toString(i)), range(60)))
			FROM numbers(%d)`, parts, part, each)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.count(t.Context(), "k.core.Pod"); err != nil {
		t.Fatal(err)
	}
	list, _ := c.Paths(nil, "k.core.Pod", "", 1_000_000)
	if len(list) != 60 || list[0].Assets != parts*each {
		t.Errorf("%d paths, %+v", len(list), list[:min(len(list), 1)])
	}
}
