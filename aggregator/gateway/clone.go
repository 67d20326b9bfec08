package gateway

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// answerTimeout is how long the process that has an agent's session may take to
// answer, when another one comes with the same identity. An agent that was killed
// and started again waits for so long.
const answerTimeout = 3 * time.Second

// process is what an agent's process says of itself.
type process struct {
	// instance is its random name, empty from agents of the version before.
	instance, spool, hostname, address string
	// displaced is the instance whose session it took over without an answer.
	displaced string
}

// pings are the questions to an agent that wait for an answer.
type pings struct {
	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan struct{}
}

func (p *pings) ask() (number uint64, answered chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting == nil {
		p.waiting = make(map[uint64]chan struct{})
	}
	p.last++
	answered = make(chan struct{})
	p.waiting[p.last] = answered
	return p.last, answered
}

// answered takes note of an answer. Numbers that were not asked are passed over.
func (p *pings) answered(number uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.waiting[number]; c != nil {
		close(c)
		delete(p.waiting, number)
	}
}

func (p *pings) forget(number uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, number)
}

// alive asks the agent for a sign of life, and reports whether it gave one.
func (s *session) alive(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	select {
	case <-s.welcomed:
	case <-s.conn.Done():
		return false
	case <-ctx.Done():
		return false
	}
	number, answered := s.pings.ask()
	defer s.pings.forget(number)
	if err := s.say(&wirev1.Control{Message: &wirev1.Control_Ping{Ping: &wirev1.Ping{Number: number}}}); err != nil {
		return false
	}
	select {
	case <-answered:
		return true
	case <-s.conn.Done():
	case <-ctx.Done():
	}
	return false
}

// admit gives a session its place, in which another one of the same agent may be.
//
// Usually that one is the past of the same process, or of one that was started
// again: then it ends. But if it is of another process, and that answers, then two
// machines use one identity. The one that was there first goes on undisturbed,
// for two that take turns would hinder each other for ever, and with copies of
// one spool would lose records: both number theirs alike.
func (g *Gateway) admit(ctx context.Context, s *session) error {
	older := g.current(s.agent.ID)
	if older == nil || older.instance == "" || s.instance == "" {
		return g.add(s)
	}
	if older.instance == s.instance {
		s.displaced = older.displaced
		return g.add(s)
	}
	if !older.alive(ctx) {
		s.displaced = older.instance
		return g.add(s)
	}
	if older.displaced == s.instance {
		// It was there first and was only slow to answer.
		s.notice = s.tell(older)
		err := held(older, s)
		g.refusals.log("clone", older.conn.RemoteAddr(), "ended the session of a clone of agent "+s.agent.String(), err)
		older.endBecause(err)
		return g.add(s)
	}
	if err := older.say(older.tell(s)); err != nil {
		g.o.Logger.Warn("an agent could not be told of its clone", "site", s.agent.Site, "agent_id", s.agent.ID, "error", err)
	}
	return held(s, older)
}

func (g *Gateway) current(id string) *session {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.sessions[id]
}

// held is what a clone is told. It fits into one packet.
func held(clone, first *session) error {
	spools := "another spool"
	if clone.spool == first.spool {
		spools = "a copy of its spool"
	}
	return end(wire.CodeClone, "this agent's identity is in use by %s at %s, which was first and goes on; this one, %s at %s, has %s and "+
		"is held off. "+
		"If this is the copy, %s", brief(first.hostname), first.address, brief(clone.hostname), clone.address, spools, identity.JoinAnew)
}

// tell takes note that the first of two clones goes on, for people to see, and
// returns what to tell it.
func (s *session) tell(clone *session) *wirev1.Control {
	s.o.Registry.AgentCloned(s.agent.ID, registry.Clone{Hostname: clone.hostname, Address: clone.address, SeenTime: time.Now()})
	return &wirev1.Control{Message: &wirev1.Control_Notice{Notice: &wirev1.Notice{Message: fmt.Sprintf(
		"another machine, %s at %s, uses a copy of this agent's identity and is held off: there, %s", brief(clone.hostname), clone.address,
		identity.JoinAnew)}}}
}

func brief(hostname string) string { return identity.CleanName(hostname, 64) }
