package ledger

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// tells are events a to e, and two usages of one period behind b and d.
var tells = []Told{{"a", true}, {"b", true}, {"u", false}, {"c", true}, {"d", true}, {"u", false}, {"e", true}}

func rows(pairs ...int) (list []Row) {
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, Row{uint64(pairs[i]), pairs[i+1]})
	}
	return list
}

func TestEvents(t *testing.T) {
	for _, c := range []struct {
		name string
		rows []Row
		gaps []Gap
		last uint64
		want Sums
		err  string
	}{
		{"all there", rows(1, 0, 2, 1, 3, 2, 4, 3, 5, 4, 6, 5, 7, 6), nil, 7, Sums{}, ""},
		{"one usage replaced", rows(1, 0, 2, 1, 4, 3, 5, 4, 6, 5, 7, 6), nil, 7, Sums{}, ""},
		{"something else between", rows(1, 0, 2, 1, 3, Other, 4, 2, 5, 3, 6, 4, 7, 5, 8, 6), nil, 8, Sums{}, ""},
		{"told again", rows(1, 0, 4, 1, 5, 2, 6, 3, 7, 4, 8, 5, 9, 6), nil, 9, Sums{Repeated: 2}, ""},
		{"an event given up", rows(1, 0, 3, 2, 4, 3, 5, 4, 6, 5, 7, 6), []Gap{{2, 2, 0, 1, 0}}, 7, Sums{Lost: 1, GivenUp: 1}, ""},
		{"an event and a usage given up", rows(1, 0, 4, 3, 5, 4, 6, 5, 7, 6), []Gap{{2, 3, 0, 1, 1}}, 7, Sums{Lost: 1, GivenUp: 2}, ""},
		{"the newer usage given up", rows(1, 0, 2, 1, 3, 2, 4, 3, 5, 4, 7, 6), []Gap{{6, 6, 0, 0, 1}}, 7, Sums{GivenUp: 1}, ""},
		{"what was given up is told again", rows(1, 0, 3, 1, 4, 2, 5, 3, 6, 4, 7, 5, 8, 6), []Gap{{2, 2, 0, 1, 0}}, 8,
			Sums{GivenUp: 1, Repeated: 1}, ""},
		{"the end given up", rows(1, 0, 2, 1, 3, 2, 4, 3), []Gap{{5, 7, 0, 2, 1}}, 7, Sums{Lost: 2, GivenUp: 3}, ""},
		{"something else given up", rows(1, 0, 2, 1, 4, 2, 5, 3, 6, 4, 7, 5, 8, 6), []Gap{{3, 3, 0, 1, 0}}, 8,
			Sums{GivenUp: 1, Repeated: 1}, ""},
		{"something else given up beside an event", rows(1, 0, 4, 2, 5, 3, 6, 4, 7, 5, 8, 6), []Gap{{2, 3, 0, 2, 0}}, 8,
			Sums{Lost: 1, GivenUp: 2, Repeated: 1}, ""},
		{"all given up", nil, []Gap{{1, 3, 0, 2, 1}, {4, 7, 0, 3, 1}}, 7, Sums{Lost: 6, GivenUp: 7}, ""},

		{"an event missing", rows(1, 0, 3, 2, 4, 3, 5, 4, 6, 5, 7, 6), nil, 7, Sums{Lost: 1}, "record 2: it is missing"},
		{"the last missing", rows(1, 0, 2, 1, 3, 2, 4, 3, 5, 4, 6, 5), nil, 7, Sums{Lost: 1}, "record 7: it is missing"},
		{"the last never told", rows(1, 0, 2, 1, 3, 2, 4, 3, 5, 4, 6, 5), nil, 6, Sums{Lost: 1, Repeated: -1}, "not the last"},
		{"passed over", rows(1, 0, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6), nil, 6, Sums{Lost: 1, Repeated: -1}, "what comes before is missing"},
		{"the newer usage missing", rows(1, 0, 2, 1, 3, 2, 4, 3, 5, 4, 7, 6), nil, 7, Sums{}, "record 6: it is missing"},
		{"a gap of what arrived", rows(1, 0, 2, 1, 3, 2, 4, 3, 5, 4, 6, 5, 7, 6), []Gap{{2, 2, 0, 1, 0}}, 7, Sums{GivenUp: 1}, "arrived"},
		{"a gap of more than there was", rows(1, 0, 3, 2, 4, 3, 5, 4, 6, 5, 7, 6), []Gap{{2, 2, 0, 2, 0}}, 7, Sums{}, "as many"},
		{"a gap of the wrong kind", rows(1, 0, 3, 2, 4, 3, 5, 4, 6, 5, 7, 6), []Gap{{2, 2, 0, 0, 1}}, 7, Sums{Lost: 1, GivenUp: 1},
			"does not tell of what"},
		{"one gap twice", rows(1, 0, 4, 3, 5, 4, 6, 5, 7, 6), []Gap{{2, 3, 0, 1, 1}, {3, 3, 0, 0, 1}}, 7, Sums{}, "share"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Events(tells, c.rows, c.gaps, c.last)
			if c.err == "" && (err != nil || got != c.want) {
				t.Errorf("%+v, %v; want %+v", got, err, c.want)
			}
			if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("%v; want %q", err, c.err)
			}
		})
	}
}

// TestEventsOfAnyCourse draws what a collector, a spool and a centre do, which adds up,
// and then takes one thing away: that must be missed where the collector told of nothing
// twice. (Where it did, what was told again may pass for what is in a gap.)
func TestEventsOfAnyCourse(t *testing.T) {
	missed := 0
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		var told []Told
		for n := range 20 + r.IntN(100) {
			if r.IntN(3) == 0 {
				told = append(told, Told{Key: fmt.Sprint("usage ", n/9)})
			} else {
				told = append(told, Told{fmt.Sprint("event ", n), true})
			}
		}
		var log []int
		for n := 0; n < len(told); n++ {
			log = append(log, n)
			if seed%2 == 0 && r.IntN(15) == 0 {
				n = max(-1, n-1-r.IntN(4))
			}
		}
		var gaps []Gap
		given := make([]bool, len(log))
		for first := r.IntN(30); first < len(log); first += 2 + r.IntN(40) {
			g := Gap{First: uint64(first + 1)}
			for end := min(first+1+r.IntN(12), len(log)); first < end; first++ {
				g.Last = uint64(first + 1)
				given[first] = true
				if told[log[first]].Event {
					g.Events++
				} else {
					g.Usages++
				}
			}
			gaps = append(gaps, g)
		}
		newest := make(map[string]int)
		for i, n := range log {
			if !given[i] {
				newest[told[n].Key] = i
			}
		}
		var have []Row
		for i, n := range log {
			if !given[i] && (newest[told[n].Key] == i || r.IntN(2) == 0) {
				have = append(have, Row{uint64(i + 1), n})
			}
		}
		sums, err := Events(told, have, gaps, uint64(len(log)))
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if sums.Repeated != len(log)-len(told) {
			t.Fatalf("seed %d: %+v, %d records of %d", seed, sums, len(log), len(told))
		}
		if sums.Repeated > 0 {
			continue
		}
		for i, row := range have {
			if newest[told[row.Told].Key] != int(row.Seq-1) {
				continue
			}
			missed++
			if _, err := Events(told, slices.Delete(slices.Clone(have), i, i+1), gaps, uint64(len(log))); err == nil {
				t.Fatalf("seed %d: record %d is not missed", seed, row.Seq)
			}
		}
		for i, g := range gaps {
			if g.Events == 0 {
				continue // a later usage of the same period is as good
			}
			missed++
			if _, err := Events(told, have, slices.Delete(slices.Clone(gaps), i, i+1), uint64(len(log))); err == nil {
				t.Fatalf("seed %d: %v is not missed", seed, gaps[i])
			}
		}
	}
	if missed < 1000 {
		t.Errorf("only %d things were taken away", missed)
	}
}

func TestVersions(t *testing.T) {
	told := []string{"a", "b", "a", "b", "c"}
	for _, c := range []struct {
		name    string
		arrived string
		gaps    []Gap
		want    Sums
		err     string
	}{
		{"all there", "yyyyy", nil, Sums{}, ""},
		{"a superseded one given up", "nyyyy", []Gap{{2, 2, 1, 0, 0}}, Sums{Lost: 1, GivenUp: 1}, ""},
		{"a gap around what arrived", "nyyyy", []Gap{{2, 4, 1, 0, 0}}, Sums{Lost: 1, GivenUp: 1}, ""},
		{"two given up", "nnyyy", []Gap{{2, 3, 2, 0, 0}}, Sums{Lost: 2, GivenUp: 2}, ""},

		{"one missing", "nyyyy", nil, Sums{}, "in no gap"},
		{"one missing beside a gap", "nnyyy", []Gap{{2, 2, 1, 0, 0}}, Sums{}, "in no gap"},
		{"the newest given up", "yynyy", []Gap{{4, 4, 1, 0, 0}}, Sums{}, "newest"},
		{"a gap of what arrived", "yyyyy", []Gap{{2, 2, 1, 0, 0}}, Sums{}, "0 versions are missing"},
		{"a gap of less", "nnyyy", []Gap{{2, 3, 1, 0, 0}}, Sums{}, "2 versions are missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var arrived []bool
			for _, y := range c.arrived {
				arrived = append(arrived, y == 'y')
			}
			got, err := Versions(told, arrived, 1, c.gaps)
			if c.err == "" && (err != nil || got != c.want) {
				t.Errorf("%+v, %v; want %+v", got, err, c.want)
			}
			if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("%v; want %q", err, c.err)
			}
		})
	}
}
