package reconcile

import (
	"fmt"
	"testing"
)

func TestBySize(t *testing.T) {
	sizes := map[string]uint64{"a": 4, "b": 6, "c": 1, "d": 50, "e": 2, "f": 0}
	for uids, want := range map[string]string{
		"abc": "[[a b] [c]]", "acd": "[[a c] [d]]", "dd": "[[d] [d]]", "xa": "[[a]]", "xyz": "[]", "": "[]", "fffde": "[[f f f] [d] [e]]",
	} {
		var list []string
		for _, uid := range uids {
			list = append(list, string(uid))
		}
		if got := fmt.Sprint(bySize(list, sizes, 10)); got != want {
			t.Errorf("%s: %s, want %s", uids, got, want)
		}
	}
}
