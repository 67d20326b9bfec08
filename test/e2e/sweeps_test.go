//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/plugins/fake"
)

// TestSweeps lets listings fail in every way there is. None of them may delete
// anything, nor hold up another scope; the complete one that follows deletes
// exactly what it no longer has.
func TestSweeps(t *testing.T) {
	const total, kept, every = 600, 590, "100ms"
	a := newAggregator(t)
	dir := t.TempDir()
	shaky, steady := newScope(t, dir, "shaky"), newScope(t, dir, "steady")

	// generation is in every document, so that a failing sweep has news to tell
	// before it fails.
	listing := func(prefix string, n, generation int) fake.Listing {
		l := fake.Listing{SweepEvery: every}
		for i := range n {
			l.Assets = append(l.Assets, thing(fmt.Sprintf("%s-%03d", prefix, i), map[string]any{"i": i, "generation": generation}))
		}
		return l
	}
	shaky.list(listing("shaky", total, 0))
	steady.list(listing("steady", 20, 0))
	g := newAgent(t, "agent", dir).join(a.joinToken())

	states := func() map[string]int {
		n := make(map[string]int)
		for _, asset := range a.assets("--state", "active,disconnected,deleted") {
			scope := asset.GetScope()[len("fake/"):]
			switch asset.GetState() {
			case reevev1.State_STATE_ACTIVE:
				n[scope+" active"]++
			case reevev1.State_STATE_DELETED:
				n[scope+" deleted"]++
			default:
				n[scope+" otherwise"]++
			}
		}
		return n
	}
	await := func(what string, want map[string]int) {
		t.Helper()
		eventually(t, 20*time.Second, what, func() error {
			got := states()
			for k, n := range want {
				if got[k] != n {
					return fmt.Errorf("wanted are %v, there are %v", want, got)
				}
			}
			return nil
		})
	}
	await("all is listed", map[string]int{"shaky active": total, "steady active": 20})

	gone := 0
	for i, failure := range []struct {
		name string
		make func()
	}{
		{"fails half-way", func() {
			l := listing("shaky", total, 1)
			l.Error, l.FailAfter = "the API went away", total/2
			shaky.list(l)
		}},
		{"fails at once", func() {
			l := listing("shaky", total, 2)
			l.Error = "not authorized"
			shaky.list(l)
		}},
		{"ends without a commit", func() {
			l := listing("shaky", total/3, 3)
			l.NoCommit = true
			shaky.list(l)
		}},
		{"panics", func() {
			l := listing("shaky", total/3, 4)
			l.Panic = true
			shaky.list(l)
		}},
		{"cannot be read", func() {
			if err := os.Remove(filepath.Join(shaky.dir, "listing.json")); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		failed := sweeps(t, g, "shaky", "failed")
		failure.make()
		eventually(t, 30*time.Second, "a listing "+failure.name, func() error {
			// One that began before may be counted first, so it takes two.
			if n := sweeps(t, g, "shaky", "failed"); n < failed+2 {
				return fmt.Errorf("%v sweeps failed", n-failed)
			}
			return nil
		})
		// Meanwhile the other scope goes on: it loses one. That arrives behind
		// anything that the failed sweeps may have said.
		gone++
		steady.list(listing("steady", 20-gone, i+1))
		await("the other scope goes on", map[string]int{"steady active": 20 - gone, "steady deleted": gone})
		if got := states(); got["shaky active"] != total || got["shaky deleted"] != 0 {
			t.Errorf("a listing that %s left behind %v; it must leave all %d active", failure.name, got, total)
		}
		// Works again, so that the next failure is tried soon.
		committed := sweeps(t, g, "shaky", "committed")
		shaky.list(listing("shaky", total, 0))
		eventually(t, 60*time.Second, "the listing works again", func() error {
			if n := sweeps(t, g, "shaky", "committed"); n < committed+1 {
				return fmt.Errorf("no sweep was committed")
			}
			return nil
		})
	}

	shaky.list(listing("shaky", kept, 9))
	await("a complete listing deletes what is gone", map[string]int{"shaky active": kept, "shaky deleted": total - kept})
	for i := kept; i < total; i++ {
		history := a.changes(fmt.Sprintf("shaky-%03d", i))
		deletions := 0
		for _, c := range history {
			if c.GetOperation() == reevev1.Change_OPERATION_DELETED {
				deletions++
			}
		}
		if deletions != 1 || history[0].GetOperation() != reevev1.Change_OPERATION_DELETED {
			t.Errorf("the history of shaky-%03d does not end with its one deletion: %v", i, history)
		}
	}
	t.Logf("sweeps of the failing scope: %.0f committed, %.0f failed", sweeps(t, g, "shaky", "committed"), sweeps(t, g, "shaky", "failed"))
}

// sweeps returns how many sweeps of a scope of the fake collector ended in a way.
func sweeps(t *testing.T, g *agent, scope, outcome string) float64 {
	t.Helper()
	n, err := g.metric(fmt.Sprintf(`reeve_agent_sweeps_total{collector="fake",outcome="%s",scope="%s"}`, outcome, scope))
	if err != nil {
		return 0 // there was none yet
	}
	return n
}
