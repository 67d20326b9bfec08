package ingest

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

var fixture = flag.String("fixture", "", "write a commit log of this version into testdata/NAME; those of a released version never change")

var fixtureID = uuid.MustParse("0193c1a2-7f3e-4d5b-9c1d-2b6f0e9a8d7c")

// TestCommitLogsOfReleasedVersions: what an aggregator of an earlier version was
// committing when it ended is settled by this one.
func TestCommitLogsOfReleasedVersions(t *testing.T) {
	if *fixture != "" {
		dir := filepath.Join("testdata", *fixture)
		l, err := openCommitLog(dir)
		if err != nil {
			t.Fatal(err)
		}
		period := usageRecord(1, func(u *wirev1.Usage) { u.Start, u.End = 1_795_000_000_000, 1_795_000_060_000 })
		batches := []*pending{
			{agent: agent, data: run(t, 1, 3)},
			{agent: agent, data: batch(t, 4, typeRecord(1, "Thing", `{"icon":"pod"}`), gapRecord(4, 5, func(g *wirev1.Gap) { g.Versions = 1 }))},
			{agent: agent, data: usageBatch(t, 1, period,
				&wirev1.Record{Body: &wirev1.Record_Event{Event: &wirev1.Event{Id: "e", Type: "t", Scope: "fake/s"}}})},
			{agent: agent, data: run(t, 6, 7), refused: "it was refused"},
		}
		if _, err := l.write(fixtureID, freeze(fixtureID, time.UnixMilli(1_795_000_000_000), batches, nil)); err != nil {
			t.Fatal(err)
		}
	}
	dirs, err := filepath.Glob("testdata/v*")
	if err != nil || len(dirs) == 0 {
		t.Fatal("there are none:", err)
	}
	for _, dir := range dirs {
		c := newCentre(t)
		name := fixtureID.String() + groupSuffix
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(c.dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
		c.start()
		in := c.open(agent, spoolID)
		if durable(in) != 7 || durableOf(in, events) != 2 || c.versions() != 3 || c.refused() != 2 {
			t.Errorf("%s: %d and %d records are durable, %d versions, %d refused", dir, durable(in), durableOf(in, events), c.versions(),
				c.refused())
		}
		if got := c.usage() + "; " + c.gaps() + "; " + c.types(); got != "1 periods, 60; assets 4-5 budget 1 1 0 0 0 60; fake.test.Thing "+
			"Thing {\"icon\":\"pod\"}" {
			t.Errorf("%s: %s", dir, got)
		}
		in.Close()
		c.stop()
	}
}
