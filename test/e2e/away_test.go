//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// TestAway stops the aggregator for a while. The agent goes on, even over a
// restart of its own, and all of it arrives later and in order.
func TestAway(t *testing.T) {
	r := rand.New(rand.NewPCG(*seed, 1))
	const before, after = 200, 200
	pace := 100 * time.Millisecond
	during := int(*away / pace)
	tr := makeTruth(t, r, before+during+after, 50)

	a := newAggregator(t)
	dir := t.TempDir()
	journal := newScope(t, dir, "things")
	journal.tell(tr.entries[:before]...)
	g := newAgent(t, "agent", dir).join(a.joinToken())
	g.shipped(typeRecords+before, time.Minute)

	a.stop()
	stopped := time.Now()
	for i, e := range tr.entries[before : before+during] {
		journal.tell(e)
		if i == during/2 {
			g.stop()
			g.start()
		}
		time.Sleep(pace)
	}
	eventually(t, time.Minute, "all that happened meanwhile is in the spool", func() error {
		_, n, err := spooled(g)
		if err == nil && n != typeRecords+before+during {
			err = fmt.Errorf("record %d is the last", n)
		}
		return err
	})
	if _, err := get("http://" + g.health + "/readyz"); err == nil {
		t.Error("the agent says that it is ready though there is no aggregator")
	}
	back := time.Now()
	a.start()
	journal.tell(tr.entries[before+during:]...)
	g.shipped(typeRecords+len(tr.entries), 2*time.Minute)
	caughtUp := time.Now()
	g.stop()
	a.stop()

	db := openWarehouse(a)
	rows := versions(t, db, site)
	compareVersions(t, tr, rows)
	compareAssets(t, tr, db, site)
	for i, row := range rows {
		observed, received := time.UnixMilli(row.Observed), time.UnixMilli(row.Received)
		if i < before || i >= before+during {
			continue
		}
		if observed.Before(stopped.Add(-time.Second)) || observed.After(back) || received.Before(back) {
			t.Fatalf("version %d happened while the aggregator was away (%s to %s), but was observed at %s and received at %s", i+1, stopped, back,
				observed, received)
		}
	}
	t.Logf("away for %.0f s, %d changes meanwhile; all there %.1f s after the start", back.Sub(stopped).Seconds(), during,
		caughtUp.Sub(back).Seconds())
}

// spooled returns the numbers of the first and last asset record in an agent's
// spool.
func spooled(g *agent) (first, last int, err error) {
	out, err := g.command("spool", "export")
	if err != nil {
		return 0, 0, err
	}
	dec := json.NewDecoder(strings.NewReader(out))
	for dec.More() {
		var line struct {
			Class string
			Seq   int
		}
		if err := dec.Decode(&line); err != nil {
			return 0, 0, err
		}
		if line.Class == "assets" {
			if first == 0 {
				first = line.Seq
			}
			last = line.Seq
		}
	}
	return first, last, nil
}
