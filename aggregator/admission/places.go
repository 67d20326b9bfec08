// Package admission bounds what peers may begin at the aggregator's doors: how
// often (Attempts), and how many connections at once (Places).
package admission

import (
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Kind is what is known of who is behind a connection.
type Kind int

const (
	// Stranger is whoever has not proved anything yet.
	Stranger Kind = iota
	// Caller has shown a good bearer token.
	Caller
	// Agent has shown a certificate of this aggregator's CA.
	Agent
	kinds
)

func (k Kind) String() string {
	return [...]string{"stranger", "caller", "agent"}[k]
}

// ErrFull means that there is no place.
var ErrFull = errors.New("too many connections")

// Limits say how many connections there may be.
type Limits struct {
	// Each has the limit of each kind. None takes places from another.
	Each [kinds]int
	// PerKey has the limit for what one of a kind may have: one network of
	// strangers, one token, one agent.
	PerKey [kinds]int
}

// LimitsFor divides places among the kinds: a half for agents, a quarter each for
// callers and strangers. So strangers, however many, keep no agent from renewing
// its certificate, and nobody from calling.
func LimitsFor(places int) Limits {
	quarter := max(places/4, 1)
	return Limits{
		Each: [kinds]int{Stranger: quarter, Caller: quarter, Agent: 2 * quarter},
		// Hundreds of agents of one site may come at once from behind one address. An
		// agent needs one connection, and a second one while it changes.
		PerKey: [kinds]int{Stranger: min(256, max(quarter/2, 1)), Caller: min(256, max(quarter/2, 1)), Agent: 8},
	}
}

// Places are the connections that there are.
type Places struct {
	limits Limits

	mu    sync.Mutex
	total [kinds]int
	keys  [kinds]map[string][]*Place
	order uint64
}

// NewPlaces returns Places of which none is taken.
func NewPlaces(l Limits) *Places {
	p := &Places{limits: l}
	for k := range p.keys {
		p.keys[k] = make(map[string][]*Place)
	}
	return p
}

// Place is that of one connection.
type Place struct {
	of   *Places
	kind Kind
	key  string
	// entered tells which of two came first.
	entered uint64
	left    bool
	evict   func()
}

// Enter gives a stranger from a network (see Network) a place; Leave must follow. If
// all places of strangers are taken, the network that has the most of them gives up
// its oldest: evict is called for that one, and must end its connection; it must not
// wait. The error is ErrFull if the network has as many as one may have.
func (p *Places) Enter(network string, evict func()) (*Place, error) {
	p.mu.Lock()
	if n := len(p.keys[Stranger][network]); n >= p.limits.PerKey[Stranger] {
		p.mu.Unlock()
		return nil, fmt.Errorf("%w from %s that have shown no credentials: there are %d", ErrFull, network, n)
	}
	var victim *Place
	if p.total[Stranger] >= p.limits.Each[Stranger] {
		victim = p.heaviest()
		p.remove(victim)
	}
	p.order++
	place := &Place{of: p, key: network, entered: p.order, evict: evict}
	p.add(place)
	p.mu.Unlock()
	if victim != nil {
		victim.evict()
	}
	return place, nil
}

// heaviest returns the oldest place of the network with the most strangers.
func (p *Places) heaviest() *Place {
	var found []*Place
	for _, places := range p.keys[Stranger] {
		if found == nil || len(places) > len(found) || len(places) == len(found) && places[0].entered < found[0].entered {
			found = places
		}
	}
	return found[0]
}

// Become takes note that the one behind a stranger's connection has proved to be
// something else. The key says who. It changes nothing if that is known already. The
// error is ErrFull.
func (pl *Place) Become(kind Kind, key string) error {
	p := pl.of
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case pl.left:
		return fmt.Errorf("%w: this one has to end", ErrFull)
	case pl.kind != Stranger:
		return nil
	case p.total[kind] >= p.limits.Each[kind]:
		return fmt.Errorf("%w of %ss: there are %d", ErrFull, kind, p.total[kind])
	case len(p.keys[kind][key]) >= p.limits.PerKey[kind]:
		return fmt.Errorf("%w of this %s: there are %d", ErrFull, kind, len(p.keys[kind][key]))
	}
	p.remove(pl)
	pl.left, pl.kind, pl.key = false, kind, key
	p.add(pl)
	return nil
}

// Stranger reports whether nothing is known of who is behind the connection.
func (pl *Place) Stranger() bool {
	pl.of.mu.Lock()
	defer pl.of.mu.Unlock()
	return pl.kind == Stranger
}

// Leave gives the place back. It may be called more than once.
func (pl *Place) Leave() {
	pl.of.mu.Lock()
	defer pl.of.mu.Unlock()
	if !pl.left {
		pl.of.remove(pl)
	}
}

// End ends the connections of one that has shown who it is.
func (p *Places) End(kind Kind, key string) {
	p.mu.Lock()
	places := slices.Clone(p.keys[kind][key])
	p.mu.Unlock()
	for _, pl := range places {
		pl.evict()
	}
}

// Taken returns how many places of a kind are taken.
func (p *Places) Taken(kind Kind) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.total[kind]
}

// add is called with mu held, as remove is.
func (p *Places) add(pl *Place) {
	p.total[pl.kind]++
	p.keys[pl.kind][pl.key] = append(p.keys[pl.kind][pl.key], pl)
}

func (p *Places) remove(pl *Place) {
	pl.left = true
	p.total[pl.kind]--
	places := p.keys[pl.kind][pl.key]
	for i := range places {
		if places[i] == pl {
			places = append(places[:i], places[i+1:]...)
			break
		}
	}
	if len(places) == 0 {
		delete(p.keys[pl.kind], pl.key)
		return
	}
	p.keys[pl.kind][pl.key] = places
}

const (
	// reservedDescriptors are kept for the registry, the commit log, the warehouse's
	// connections, and what else is open.
	reservedDescriptors = 512
	// mostPlaces is more than sessions are let in.
	mostPlaces = 40_000
)

// PlacesWithin returns how many connections there may be with so many file
// descriptors, of which an engine inside the process takes half.
func PlacesWithin(descriptors int, engine bool) int {
	if engine {
		descriptors /= 2
	}
	return min(max(descriptors-reservedDescriptors, descriptors/2), mostPlaces)
}
