//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestKillsAtStart kills the aggregator while it makes its state, and agents
// while they enroll with a token that is good for one. Both must get there when
// they are started again.
func TestKillsAtStart(t *testing.T) {
	t.Logf("seed %d (-seed repeats it)", *seed)
	r := rand.New(rand.NewPCG(*seed, 2))
	const aggregatorKills, agents = 12, 20

	a := prepareAggregator(t)
	for range aggregatorKills {
		a.launch()
		time.Sleep(time.Duration(r.IntN(700)) * time.Millisecond)
		a.killAlone()
	}
	a.start()
	a.login()

	dir := t.TempDir()
	newScope(t, dir, "things").tell(upsert(thing("thing", map[string]any{"is": "there"})))
	for i := range agents {
		g := newAgent(t, fmt.Sprintf("agent %d", i), dir).join(a.joinToken())
		time.Sleep(time.Duration(r.IntN(60)) * time.Millisecond)
		g.killAlone()
		g.start()
		eventually(t, 20*time.Second, "the agent has a session", func() error {
			if g.ended() {
				t.Fatalf("killed while it enrolled and started again, agent %d ended: %v", i, g.err)
			}
			_, err := get("http://" + g.health + "/readyz")
			return err
		})
		g.stop()
	}
	a.stop()
	t.Logf("killed at its start: the aggregator %d times, %d agents", aggregatorKills, agents)
}
