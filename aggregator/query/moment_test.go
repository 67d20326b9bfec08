package query

import (
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/pkg/hlc"
)

// TestMoment wants all versions of a moment's millisecond within it, and none of the next.
func TestMoment(t *testing.T) {
	for ms := range int64(4) {
		at := time.UnixMilli(1_795_719_893_000 + ms)
		first, next := uint64(hlc.FromTime(at)), uint64(hlc.FromTime(at.Add(time.Millisecond)))
		if got := At(at.Add(900 * time.Microsecond)).Stamp(); got < first || got != next-1 {
			t.Errorf("the last version of %d is %d, not %d", ms, got, next-1)
		}
	}
}
