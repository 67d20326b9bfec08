package untaken

import (
	"fmt"
	"testing"

	"github.com/reeve-cloud/reeve/pkg/plugin"
)

func TestCounter(t *testing.T) {
	var c Counter
	key := func(n int) plugin.Key { return plugin.Key{Type: "x.y.Z", UID: fmt.Sprint(n)} }
	want := func(what string, count int, why string) {
		t.Helper()
		if got := c.Tally(); got.Count != count || got.Why != why || got.At.IsZero() != (count == 0) {
			t.Errorf("%s: %+v, want %d, %q", what, got, count, why)
		}
	}
	want("nothing", 0, "")
	if !c.Refused(key(1), "deep") || c.Refused(key(1), "deep") || !c.Refused(key(1), "large") || !c.Refused(key(2), "deep") {
		t.Error("what is news")
	}
	want("two", 2, "deep")
	c.Taken(key(2))
	c.Taken(key(3))
	want("one is taken", 1, "deep")
	c.Listed(func(plugin.Key) bool { return true }, 4, "no name")
	want("a listing", 5, "no name")
	c.Listed(func(plugin.Key) bool { return false }, 0, "")
	want("it is gone", 0, "")
	c.Resume(Tally{Count: 3, Why: "before", At: c.at})
	want("resumed", 3, "before")
	c.Refused(key(1), "deep")
	want("resumed, and one that may be one of them", 3, "deep")
	c.Listed(func(plugin.Key) bool { return true }, 0, "")
	want("a listing says better", 1, "deep")
	for i := range 2 * maxKeys {
		c.Refused(key(i), "many")
	}
	want("bounded", maxKeys, "many")
}
