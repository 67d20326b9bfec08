package watch

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/ingest"
	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/filter"
)

// One that reads nothing is cut off before it holds more than it may, and the others go on.
func TestSlowReader(t *testing.T) {
	progress := ingest.NewProgress(time.Time{})
	progress.Settled()
	tail := &Tail{o: Options{Progress: progress}, seats: make(map[*seat]struct{}), wake: make(chan struct{}, 1), moved: make(chan struct{}),
		removed: make(map[string]uint64)}
	slow, place, err := tail.sit(t.Context(), "", 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	quick, _, err := tail.sit(t.Context(), "", 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	const size = behindBytes / 4
	for n := range 8 {
		to := Place{At: int64(n) + 1}
		tail.publish(place, &step{to: to, bytes: size})
		place = to
		if s, _, err := tail.next(quick); err != nil || s == nil || s.to.At != to.At {
			t.Fatalf("step %d: %v, %v", n, s, err)
		}
		if slow.bytes > behindBytes {
			t.Fatalf("it holds %d bytes", slow.bytes)
		}
	}
	if _, _, err := tail.next(slow); !errors.Is(err, ErrFellBehind) {
		t.Fatalf("it goes on: %v", err)
	}
	if slow.steps != nil || len(tail.seats) != 1 {
		t.Error("what it was to read is still held")
	}
}

// A token is read as it was made, also at the limits.
func TestTokens(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		w := token{Binding: "b", Kinds: "43", Issued: r.Int64(), Place: Place{At: r.Int64()}}
		if r.IntN(4) == 0 {
			w.At = math.MaxInt64
		}
		for i := range r.IntN(maxMissing + 1) {
			w.Missing = append(w.Missing, Missing{At: int64(i), From: r.Uint64()})
		}
		if len(w.Missing) > 0 && r.IntN(4) == 0 {
			w.Missing[0].From = math.MaxUint64
		}
		if w.At < int64(len(w.Missing)) {
			continue
		}
		got, err := decodeToken(w.encode(), "b")
		if err != nil || !got.equal(w.Place) || got.Issued != w.Issued || got.Kinds != w.Kinds {
			t.Fatalf("%v became %v, %v", w, got, err)
		}
		if _, err := decodeToken(w.encode(), "c"); !errors.Is(err, ErrToken) {
			t.Fatalf("a token of another watch: %v", err)
		}
	}
}

func FuzzToken(f *testing.F) {
	f.Add(token{Binding: "b", Place: Place{At: 5, Missing: []Missing{{1, 2}, {5, 7}}}}.encode())
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		w, err := decodeToken(text, "b")
		if err != nil {
			return
		}
		if again, err := decodeToken(w.encode(), "b"); err != nil || !again.equal(w.Place) {
			t.Fatalf("%v: %v", again, err)
		}
	})
}

// BenchmarkFilters holds a change, that is two versions, against the filters of 200 readers, one
// reader after the other: docs/query.md has what it showed.
func BenchmarkFilters(b *testing.B) {
	const readers = 200
	engine := query.New(query.Options{Warehouse: warehousetest.New(b)})
	for name, text := range map[string]string{
		"usual":   "type:server status=up spec.n>%d labels.app=web",
		"hostile": `spec.text~"(a|aa)+$" OR spec.text~"(x+x+)+y%d" OR spec.text:zzzz OR spec:(a OR b OR c OR d OR e)`,
	} {
		b.Run(name, func(b *testing.B) {
			var all []*terms
			for i := range readers {
				p, err := engine.Plan(b.Context(), query.All(), query.Selection{Filter: fmt.Sprintf(text, i)})
				if err != nil {
					b.Fatal(err)
				}
				t, err := termsOf(p, time.Now())
				if err != nil {
					b.Fatal(err)
				}
				all = append(all, t)
			}
			doc := []byte(`{"spec":{"n":5,"text":"`)
			for range 200 {
				doc = append(doc, "aaaaaaaaaa"...)
			}
			doc = append(doc, `"}}`...)
			fields, err := document.Fields(doc)
			if err != nil {
				b.Fatal(err)
			}
			seen := filter.Asset{Type: "a.b.Server", Status: "up", Labels: map[string]string{"app": "web"}, Document: doc, Fields: fields}
			of := func(n uint64) *version {
				return &version{Change: warehouse.Change{AssetVersion: warehouse.AssetVersion{Type: seen.Type, Version: n, Operation: warehouse.Updated,
					Document: doc}}, seen: seen}
			}
			s := &step{assets: []*asset{{AssetKey: warehouse.AssetKey{Type: seen.Type}, before: of(1), fresh: []*version{of(2)}}}}
			for b.Loop() {
				for _, t := range all {
					if _, err := t.transitions(s, false); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
