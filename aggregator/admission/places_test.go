package admission

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

func TestPlaces(t *testing.T) {
	p := NewPlaces(Limits{Each: [kinds]int{Stranger: 4, Caller: 2, Agent: 3}, PerKey: [kinds]int{Stranger: 3, Caller: 2, Agent: 2}})
	var evicted []string
	enter := func(network, name string) *Place {
		t.Helper()
		pl, err := p.Enter(network, func() { evicted = append(evicted, name) })
		if err != nil {
			t.Fatal(err)
		}
		return pl
	}
	enter("a", "a1")
	a2 := enter("a", "a2")
	enter("a", "a3")
	if _, err := p.Enter("a", nil); !errors.Is(err, ErrFull) {
		t.Errorf("a fourth one of one network: %v", err)
	}
	// All places are taken: who has most gives up its oldest, and nobody else.
	enter("b", "b1")
	enter("c", "c1")
	if fmt.Sprint(evicted) != "[a1]" || p.Taken(Stranger) != 4 {
		t.Errorf("evicted %v, %d taken", evicted, p.Taken(Stranger))
	}
	// One that has shown who it is takes no place of strangers, and cannot be evicted.
	if err := a2.Become(Agent, "x"); err != nil || p.Taken(Stranger) != 3 || p.Taken(Agent) != 1 || a2.Stranger() {
		t.Error(err)
	}
	d := enter("d", "d1")
	if err := d.Become(Agent, "x"); err != nil {
		t.Error(err)
	}
	e := enter("e", "e1")
	if err := e.Become(Agent, "x"); !errors.Is(err, ErrFull) || !e.Stranger() {
		t.Errorf("a third one of one agent: %v", err)
	}
	if err := e.Become(Agent, "y"); err != nil {
		t.Error(err)
	}
	f := enter("f", "f1")
	if err := f.Become(Agent, "z"); !errors.Is(err, ErrFull) {
		t.Errorf("a fourth one of agents: %v", err)
	}
	if err := f.Become(Caller, "token"); err != nil {
		t.Error(err)
	}
	for range 2 {
		d.Leave()
		e.Leave()
	}
	if p.Taken(Agent) != 1 {
		t.Errorf("%d agents", p.Taken(Agent))
	}
	// An evicted one cannot become anything, and leaves nothing twice.
	g := enter("g", "g1")
	g.Leave()
	if err := g.Become(Caller, "token"); !errors.Is(err, ErrFull) || p.Taken(Caller) != 1 {
		t.Error(err)
	}
}

// TestPlacesAddUp has connections come, prove themselves and go in any order.
func TestPlacesAddUp(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	l := LimitsFor(100)
	p := NewPlaces(l)
	var open []*Place
	for range 20_000 {
		switch r.IntN(3) {
		case 0:
			if pl, err := p.Enter(fmt.Sprint(r.IntN(20)), func() {}); err == nil {
				open = append(open, pl)
			}
		case 1:
			if len(open) > 0 {
				_ = open[r.IntN(len(open))].Become(Kind(1+r.IntN(2)), fmt.Sprint(r.IntN(30)))
			}
		default:
			if len(open) > 0 {
				i := r.IntN(len(open))
				open[i].Leave()
				open = append(open[:i], open[i+1:]...)
			}
		}
		for k := range kinds {
			if n := p.Taken(k); n < 0 || n > l.Each[k] {
				t.Fatalf("%d %ss", n, k)
			}
		}
	}
	for _, pl := range open {
		pl.Leave()
	}
	for k := range kinds {
		if p.Taken(k) != 0 || len(p.keys[k]) != 0 {
			t.Errorf("%d %ss are left", p.Taken(k), k)
		}
	}
}

func TestPlacesWithin(t *testing.T) {
	for _, test := range []struct {
		descriptors int
		engine      bool
		want        int
	}{
		{4096, false, 3584}, {4096, true, 1536}, {1024, false, 512}, {256, false, 128}, {1 << 30, false, mostPlaces},
	} {
		got := PlacesWithin(test.descriptors, test.engine)
		if got != test.want {
			t.Errorf("%d, %v: %d", test.descriptors, test.engine, got)
		}
		sum := 0
		for _, n := range LimitsFor(got).Each {
			sum += n
		}
		if sum > got {
			t.Errorf("%d places of %d are given away", sum, got)
		}
	}
	if n, err := Descriptors(); err != nil || n < 16 {
		t.Errorf("%d descriptors: %v", n, err)
	}
}
