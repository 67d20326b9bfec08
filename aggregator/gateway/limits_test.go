package gateway

import (
	"errors"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/admission"
	"github.com/reeve-cloud/reeve/pkg/wire"
)

// TestConnectionsOfAnAgent counts all connections of an agent, whether it has said
// hello or not, and how often it begins one.
func TestConnectionsOfAnAgent(t *testing.T) {
	g := &Gateway{open: make(map[string]int), attempts: admission.NewAttempts(sessionRate, sessionBurst)}
	for range maxOpen {
		if err := g.enter("a"); err != nil {
			t.Fatal(err)
		}
	}
	var e *ended
	if err := g.enter("a"); !errors.As(err, &e) || e.code != wire.CodeStopping {
		t.Errorf("one more: %v", err)
	}
	if err := g.enter("b"); err != nil {
		t.Errorf("another agent: %v", err)
	}
	for range maxOpen {
		g.leave("a")
	}
	g.leave("b")
	if len(g.open) != 0 {
		t.Errorf("left over: %v", g.open)
	}
	began := 0
	for range 2 * sessionBurst {
		if g.enter("a") == nil {
			began++
			g.leave("a")
		}
	}
	if most := sessionBurst - maxOpen; began > most || began < most-2 {
		t.Errorf("%d sessions could begin at once", began)
	}
	if !g.attempts.Allow("a", time.Now().Add(time.Minute)) {
		t.Error("it may not come back after a minute")
	}
}
