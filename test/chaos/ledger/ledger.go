// Package ledger says whether what a centre has of an agent's records and the gaps that
// it was told of add up: each record is there, or counted in exactly one gap, and no gap
// tells of what arrived.
//
// A spool numbers its records from 1 without holes, so every number must be accounted
// for. The tables of the centre keep one of several rows that say the same, so the number
// of a row that was replaced is accounted for by the one that took its place.
package ledger

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// Gap is what an agent says that it gave up, in the numbers First to Last.
type Gap struct {
	First, Last uint64
	// Versions, Events and Usages are how many of each are missing.
	Versions, Events, Usages uint64
}

// Told is an event or a usage that a collector tells of.
type Told struct {
	// Key is shared by those of which the centre keeps the last one only.
	Key   string
	Event bool
}

// Row is a record that the centre has.
type Row struct {
	Seq uint64
	// Told is which one of what was told it is, or Other.
	Told int
}

// Other is a record that the collector did not tell of.
const Other = -1

// Sums are what a ledger comes to.
type Sums struct {
	// Lost is how many of what was told are in gaps and nowhere else.
	Lost int
	// GivenUp is how many records are in gaps.
	GivenUp int
	// Repeated is how many records say what an earlier one had said: a collector that
	// does not know how far it came tells of the last of it once more. What is in gaps and
	// was not told of by the collector counts as well.
	Repeated int
}

// Events holds the rows of one log of events and usage, which has the records 1 to last,
// against what its collector told of, in this order, and the gaps of that log. The rows
// may have those that are about to be replaced.
//
// Where a collector began again, and which events in a gap are not its own, is nowhere
// said. What is in no row is therefore taken to be what makes all of it add up; an error
// means that nothing does.
func Events(told []Told, rows []Row, gaps []Gap, last uint64) (Sums, error) {
	b := book{told: told, rows: make(map[uint64]int), kept: make(map[string]uint64), last: last}
	sums := Sums{Repeated: int(last) - len(told)}
	for _, r := range rows {
		if r.Seq == 0 || r.Seq > last || r.Told >= len(told) {
			return sums, fmt.Errorf("there is a row of record %d, which is none of %d", r.Seq, last)
		}
		if before, ok := b.rows[r.Seq]; ok && before != r.Told {
			return sums, fmt.Errorf("record %d is there as two things", r.Seq)
		}
		b.rows[r.Seq] = r.Told
		if r.Told != Other {
			key := told[r.Told].Key
			b.kept[key] = max(b.kept[key], r.Seq)
		}
	}
	for _, n := range b.rows {
		if n == Other {
			sums.Repeated--
		}
	}
	gaps, err := inOrder(gaps, last)
	if err != nil {
		return sums, err
	}
	b.gaps = gaps
	for _, g := range gaps {
		if g.Versions != 0 || g.Events+g.Usages != g.Last-g.First+1 {
			return sums, fmt.Errorf("%v does not tell of as many records as it has", g)
		}
		sums.GivenUp += int(g.Last - g.First + 1)
	}
	for seq := range b.rows {
		if g, ok := b.gap(seq); ok {
			return sums, fmt.Errorf("record %d arrived, and %v tells that it was given up", seq, g)
		}
	}
	lost := make(map[string]bool)
	for _, t := range told {
		if b.kept[t.Key] == 0 {
			lost[t.Key] = true
		}
	}
	sums.Lost = len(lost)
	return sums, b.follow()
}

// inOrder sorts gaps, of which no two may share a record.
func inOrder(gaps []Gap, last uint64) ([]Gap, error) {
	gaps = slices.SortedFunc(slices.Values(gaps), func(a, b Gap) int { return cmp.Compare(a.First, b.First) })
	for i, g := range gaps {
		if g.First == 0 || g.First > g.Last || g.Last > last {
			return nil, fmt.Errorf("%v is of none of %d records", g, last)
		}
		if i > 0 && g.First <= gaps[i-1].Last {
			return nil, fmt.Errorf("%v and %v share records", gaps[i-1], g)
		}
	}
	return gaps, nil
}

func (g Gap) String() string {
	return fmt.Sprintf("the gap of records %d to %d (%d versions, %d events, %d usages)", g.First, g.Last, g.Versions, g.Events, g.Usages)
}

// book is a log of which not every record is known.
type book struct {
	told []Told
	// rows is what of told a record is, kept the last record that says something.
	rows map[uint64]int
	kept map[string]uint64
	gaps []Gap
	last uint64
}

func (b book) gap(seq uint64) (Gap, bool) {
	i, _ := slices.BinarySearchFunc(b.gaps, seq, func(g Gap, seq uint64) int { return cmp.Compare(g.Last, seq) })
	if i < len(b.gaps) && b.gaps[i].First <= seq {
		return b.gaps[i], true
	}
	return Gap{}, false
}

// place is how far a collector has come: what it told of last, and how many events have
// been told of in the gap that has the record.
type place struct{ told, events int }

// follow goes through all records with each place at which the collector can have been.
// It goes on with the next of what it tells of, or begins again with an earlier one.
func (b book) follow() error {
	places := map[place]bool{{told: -1}: true}
	for seq := uint64(1); seq <= b.last; seq++ {
		if b.isOther(seq) {
			continue
		}
		places = b.step(seq, places)
		if g, ok := b.gap(seq); ok && seq == g.Last {
			maps.DeleteFunc(places, func(p place, _ bool) bool { return p.events != int(g.Events) })
			ended := make(map[place]bool)
			for p := range places {
				ended[place{told: p.told}] = true
			}
			places = ended
		}
		if len(places) == 0 {
			return fmt.Errorf("record %d: %w", seq, b.why(seq))
		}
	}
	if !places[place{told: len(b.told) - 1}] {
		return fmt.Errorf("the last of %d records is not the last that was told of", b.last)
	}
	return nil
}

func (b book) isOther(seq uint64) bool {
	n, ok := b.rows[seq]
	return ok && n == Other
}

func (b book) why(seq uint64) error {
	if n, ok := b.rows[seq]; ok {
		return fmt.Errorf("it is number %d of what was told, and what comes before is missing without a gap", n)
	}
	if g, ok := b.gap(seq); ok {
		return fmt.Errorf("%v does not tell of what is missing there", g)
	}
	return fmt.Errorf("it is missing, in no gap, and nothing has taken its place")
}

// step returns the places after a record.
func (b book) step(seq uint64, from map[place]bool) map[place]bool {
	if n, ok := b.rows[seq]; ok {
		next := make(map[place]bool)
		for p := range from {
			if n <= p.told+1 {
				next[place{told: n}] = true
			}
		}
		return next
	}
	_, given := b.gap(seq)
	least := b.least(seq)
	next := make(map[place]bool)
	for p := range from {
		if given { // an event that the collector did not tell of
			next[place{p.told, p.events + 1}] = true
		}
		for n := least; n <= min(p.told+1, len(b.told)-1); n++ {
			switch t := b.told[n]; {
			case given && t.Event:
				next[place{n, p.events + 1}] = true
			case given:
				next[place{n, p.events}] = true
			case b.kept[t.Key] > seq:
				next[place{told: n}] = true
			}
		}
	}
	return next
}

// least is the earliest of what was told that a record can be, for the next that is known
// to come behind it in time.
func (b book) least(seq uint64) int {
	steps := 0
	for ; seq <= b.last; seq++ {
		n, known := b.rows[seq]
		if known && n == Other {
			continue
		}
		if known {
			return max(n-steps, 0)
		}
		steps++
	}
	return max(len(b.told)-steps, 0)
}

// Versions holds the versions of one log of assets against what its collector told of:
// the assets' names, in order, of which the n-th is record n plus before. There are the
// ones of which arrived says so, and gaps are those of that log. A version may be given
// up only if a later one of the same asset arrived.
func Versions(told []string, arrived []bool, before uint64, gaps []Gap) (Sums, error) {
	var sums Sums
	last := before + uint64(len(told))
	gaps, err := inOrder(gaps, last)
	if err != nil {
		return sums, err
	}
	b := book{gaps: gaps}
	missing := make(map[Gap]uint64)
	superseded := make(map[string]bool)
	for n, t := range slices.Backward(told) {
		if arrived[n] {
			superseded[t] = true
			continue
		}
		sums.Lost++
		seq := before + uint64(n) + 1
		g, ok := b.gap(seq)
		if !ok {
			return sums, fmt.Errorf("version %d is missing, and in no gap", seq)
		}
		if !superseded[t] {
			return sums, fmt.Errorf("version %d was given up, and is the newest of %s that there is", seq, t)
		}
		missing[g]++
	}
	for _, g := range gaps {
		if g.Events+g.Usages != 0 || g.Versions != missing[g] {
			return sums, fmt.Errorf("%v, and %d versions are missing there", g, missing[g])
		}
		sums.GivenUp += int(g.Versions)
	}
	return sums, nil
}
