//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/test/aims"
)

var backlog = flag.Int("backlog", 100, "how many MB wait in the spool of the agent whose start TestBacklog measures")

// TestBacklog starts an agent that has much to send, without an aggregator and with
// one, and says how much memory that takes at its peak.
//
//	make e2e ARGS="-run 'TestBacklog\$\$' -backlog 2000"
func TestBacklog(t *testing.T) {
	centre := newAggregator(t)
	parent := t.TempDir()
	newScope(t, parent, "s").tell() // a scope with a journal is watched
	a := newAgent(t, "agent", parent)
	a.env["REEVE_LOG_LEVEL"] = "info"
	a.env["REEVE_SPOOL_MAX_BYTES"] = fmt.Sprint(2*(*backlog)*1_000_000 + 100_000_000)
	a.join(centre.joinToken())
	a.says(0, time.Minute, "session established")
	centre.stop()

	things := writeJournal(t, filepath.Join(parent, "s", "journal.ndjson"), *backlog*1_000_000)
	eventually(t, 20*time.Minute, "all of it is in the spool", func() error {
		var n float64
		for _, outcome := range []string{"created", "updated"} {
			m, err := a.metric(fmt.Sprintf("reeve_agent_observations_total{collector=%q,outcome=%q}", "fake", outcome))
			if err != nil {
				return err
			}
			n += m
		}
		if int(n) < things {
			return fmt.Errorf("%.0f of %d things were observed", n, things)
		}
		return nil
	})
	waiting, err := a.metric(`reeve_agent_spool_bytes{class="assets"}`)
	if err != nil {
		t.Fatal(err)
	}
	if waiting < float64(*backlog)*1e6*9/10 {
		t.Fatalf("the spool has %.0f MB", waiting/1e6)
	}
	t.Logf("collecting it:                          %s", peak(t, a))

	for _, with := range []string{"without an aggregator", "with an aggregator"} {
		a.kill()
		if with == "with an aggregator" {
			centre.start()
		}
		a.start()
		time.Sleep(20 * time.Second)
		t.Logf("start with %.0f MB, %s: %s", waiting/1e6, with, peak(t, a))
		if kB := memory(t, a.pid(), "status", "VmHWM"); kB > 64<<10 {
			if err := aims.Missed(t.Logf, fmt.Sprintf("memory of an agent's start with a backlog of %.0f MB, %s", waiting/1e6, with),
				fmt.Sprintf("%d MiB", kB>>10), "64 MiB"); err != nil {
				t.Error(err)
			}
		}
	}
}

// peak says how much memory a process has had resident, and what it has now.
func peak(t *testing.T, a *agent) string {
	t.Helper()
	return fmt.Sprintf("resident at its peak %d MiB, now %d MiB, %d of its own", memory(t, a.pid(), "status", "VmHWM")>>10,
		memory(t, a.pid(), "status", "VmRSS")>>10, memory(t, a.pid(), "status", "RssAnon")>>10)
}

// writeJournal tells a scope of so many bytes of versions, compressed, and returns how many there are.
func writeJournal(t *testing.T, file string, size int) (versions int) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	enc := json.NewEncoder(w)
	random := rand.New(rand.NewPCG(1, 2))
	const numbers, digits = 20_000, 9
	list := make([]int, numbers)
	for written := 0; written < size; written += numbers * digits / 2 {
		for i := range list {
			list[i] = 100_000_000 + random.IntN(900_000_000)
		}
		a := thing(fmt.Sprint("thing-", versions%1_000), map[string]any{"n": versions, "list": list})
		if err := enc.Encode(upsert(a)); err != nil {
			t.Fatal(err)
		}
		versions++
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return versions
}
