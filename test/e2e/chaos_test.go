//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/fake"
	"github.com/reeve-cloud/reeve/test/chaos/link"
)

var (
	chaosKills  = flag.Int("kills", 24, "how many processes the chaos test kills")
	chaosFaults = flag.Int("faults", 18, "how many faults of the network it makes")
	chaosJumps  = flag.Int("jumps", 6, "how often the chaos test sets an agent's clock to another time, up to an hour off")
	chaosDisks  = flag.Bool("full-disks", false,
		"let the chaos test fill the agents' disks, too: they are small file systems in memory, which takes root")
)

const (
	chaosAgents = 3
	// chaosLines is how many changes each agent sees for each kill and fault.
	chaosLines = 60
	// chaosCalm is after how many blows all that is left must come through.
	chaosCalm = 12
)

// blow is one thing that happens to the system.
type blow struct {
	kind string
	// agent is whose process, link or disk it is.
	agent int
	// up and down are what a fault of the network makes of the link, for so long.
	up, down link.Rules
	lasts    time.Duration
	// ahead is how far a clock that jumps is ahead afterwards.
	ahead time.Duration
	// pause is how long it takes until the next one.
	pause time.Duration
}

// faults are what can happen to a link.
var faults = map[string]func(r *rand.Rand) link.Rules{
	"loss": func(*rand.Rand) link.Rules { return link.Rules{Loss: .3} },
	"delay": func(*rand.Rand) link.Rules {
		return link.Rules{Delay: 300 * time.Millisecond, Jitter: 100 * time.Millisecond}
	},
	"reorder":   func(*rand.Rand) link.Rules { return link.Rules{Reorder: .3, Delay: 10 * time.Millisecond} },
	"duplicate": func(*rand.Rand) link.Rules { return link.Rules{Duplicate: .3} },
	"cap":       func(*rand.Rand) link.Rules { return link.Rules{BytesPerSecond: 256_000 / 8} },
	"blackhole": func(*rand.Rand) link.Rules { return link.Rules{Blackhole: true} },
	"all": func(r *rand.Rand) link.Rules {
		return link.Rules{Loss: .1 * r.Float64(), Duplicate: .1 * r.Float64(), Reorder: .2 * r.Float64(),
			Delay: 100 * time.Millisecond, Jitter: 100 * time.Millisecond, BytesPerSecond: 1e6 / 8}
	},
	// These do something to a link and leave its rules alone.
	"rebind": nil,
	"reset":  nil,
}

// drawBlows draws what happens, all of it from r.
func drawBlows(r *rand.Rand) []blow {
	var blows []blow
	for range *chaosKills {
		blows = append(blows, blow{kind: "kill " + []string{"agent", "aggregator", "engine"}[r.IntN(3)]})
	}
	names := slices.Sorted(maps.Keys(faults))
	for range *chaosFaults {
		b := blow{kind: names[r.IntN(len(names))], lasts: time.Second + time.Duration(r.IntN(7000))*time.Millisecond}
		if make := faults[b.kind]; make != nil {
			b.up, b.down = make(r), make(r)
			// Some are one-sided.
			switch r.IntN(4) {
			case 0:
				b.up = link.Rules{}
			case 1:
				b.down = link.Rules{}
			}
		}
		blows = append(blows, b)
	}
	for range *chaosJumps {
		blows = append(blows, blow{kind: "clock jump", ahead: time.Duration(r.IntN(110)-55) * time.Minute})
	}
	if *chaosDisks {
		for range 1 + len(blows)/10 {
			blows = append(blows, blow{kind: "full disk", lasts: time.Second + time.Duration(r.IntN(4000))*time.Millisecond})
		}
	}
	r.Shuffle(len(blows), func(i, j int) { blows[i], blows[j] = blows[j], blows[i] })
	for i := range blows {
		blows[i].agent = r.IntN(chaosAgents)
		blows[i].pause = time.Duration(r.IntN(2500)) * time.Millisecond
	}
	return blows
}

// edge is one site of the chaos test: an agent behind a link, and its truth.
type edge struct {
	*agent
	site    string
	journal *scope
	link    *link.Link
	truth   *truth
	entries []fake.Entry
	// told are the events and the usage of entries. No two usages have one quantity.
	told []fake.Entry
	// recorded is how many events and usages the agent has recorded in all.
	recorded uint64
	// heal is when the fault of the link ends, freed when the disk has room
	// again; zero where all is well.
	heal, freed time.Time
}

func newEdge(t *testing.T, a *aggregator, number int) *edge {
	t.Helper()
	e := &edge{site: fmt.Sprintf("chaos-%d", number)}
	r := rand.New(rand.NewPCG(*seed, uint64(10+number)))
	e.truth = makeTruth(t, r, (*chaosKills+*chaosFaults)*chaosLines, 300)
	start := time.Now().UTC().Truncate(time.Hour).Add(-1000 * time.Hour)
	for i, entry := range e.truth.entries {
		e.entries = append(e.entries, entry)
		subject := plugin.Key{Type: fake.TypeThing, UID: "thing-000"}
		switch i % 10 {
		case 3:
			e.told = append(e.told, fake.Entry{Event: &plugin.Event{
				ID: fmt.Sprintf("event-%d", i), Type: "cloud.reeve.test.chaos", Time: start.Add(time.Duration(i) * time.Second),
				Severity: plugin.Warning, Subject: subject, Message: fmt.Sprintf("line %d", i), Data: json.RawMessage(`{}`),
			}})
		case 7: // each period is told of three times
			from := start.Add(time.Duration(i/30) * time.Hour)
			u := &plugin.Usage{Subject: subject, Meter: "cpu.used", Unit: "core.second", Start: from, End: from.Add(time.Hour), Quantity: float64(i)}
			e.told = append(e.told, fake.Entry{Usage: u})
		default:
			continue
		}
		e.entries = append(e.entries, e.told[len(e.told)-1])
	}
	l, err := link.Listen("127.0.0.1:0", a.address, *seed+uint64(number))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	e.link = l
	dir := t.TempDir()
	e.journal = newScope(t, dir, "things")
	e.journal.tell() // so that the scope is watched from the start
	e.agent = newAgent(t, fmt.Sprintf("agent %d", number), dir)
	e.env["REEVE_AGGREGATORS"] = l.Address()
	e.env[fake.ClockFile] = filepath.Join(t.TempDir(), "clock")
	if *chaosDisks {
		e.smallDisk()
	}
	e.join(a.joinToken("--site", e.site))
	return e
}

// smallDisk puts the agent's state on a file system of its own that is soon full.
func (e *edge) smallDisk() {
	t := e.agent.t
	t.Helper()
	if err := os.MkdirAll(e.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", e.dir, "tmpfs", 0, "size=256m,mode=0700"); err != nil {
		t.Fatalf("mounting a small disk for %s (it takes root): %v", e.name, err)
	}
	t.Cleanup(func() {
		e.kill()
		if err := syscall.Unmount(e.dir, 0); err != nil {
			t.Errorf("unmounting the disk of %s: %v", e.name, err)
		}
	})
}

// ballast is the file that fills a small disk.
func (e *edge) ballast() string { return filepath.Join(e.dir, "ballast") }

func (e *edge) fillDisk() error {
	f, err := os.Create(e.ballast())
	if err != nil {
		return err
	}
	defer f.Close()
	zeros := make([]byte, 64<<10)
	for {
		if _, err := f.Write(zeros); errors.Is(err, syscall.ENOSPC) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// write writes the journal, a little at a time, until stop is closed, and then all
// that is left of it.
func (e *edge) write(over time.Duration, stop <-chan struct{}) {
	const part = 6
	pause := over * part / time.Duration(len(e.entries))
	for entries := range slices.Chunk(e.entries, part) {
		e.journal.tell(entries...)
		select {
		case <-time.After(pause):
		case <-stop:
		}
	}
}

// chaos is a run of the chaos test.
type chaos struct {
	t     *testing.T
	a     *aggregator
	edges []*edge
	count map[string]int
	// launched is where the log of the aggregator's present run begins, and
	// engineKilled whether its engine was killed since.
	launched     int64
	engineKilled bool
}

func (c *chaos) launch() {
	c.launched, c.engineKilled = c.a.position(), false
	c.a.launch()
}

// killEngine kills the engine as soon as there is one.
func (c *chaos) killEngine() {
	pid := 0
	for end := time.Now().Add(time.Minute); pid == 0; c.pass(20 * time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatal("there is no engine for a minute")
		}
		pid = c.a.engine()
	}
	// It may have ended.
	_ = syscall.Kill(pid, syscall.SIGKILL)
	c.engineKilled = true
}

// wasReady says whether an aggregator was ready since a position of its log.
func (a *aggregator) wasReady(since int64) bool {
	data, err := os.ReadFile(a.logFile)
	if err != nil {
		a.t.Fatal(err)
	}
	return strings.Contains(string(data[since:]), "aggregator is ready")
}

// strike lets something happen.
func (c *chaos) strike(b blow) {
	t, e := c.t, c.edges[b.agent]
	t.Helper()
	c.count[b.kind]++
	switch b.kind {
	case "kill agent":
		e.killAlone()
		e.start()
	case "kill aggregator":
		c.pass(0)
		c.a.killAlone()
		c.launch()
	case "kill engine":
		c.killEngine()
	case "full disk":
		e.freed = time.Now().Add(b.lasts)
		if err := e.fillDisk(); err != nil {
			t.Fatalf("filling the disk of %s: %v", e.name, err)
		}
	case "clock jump":
		file := e.env[fake.ClockFile]
		writeFile(t, file+".new", b.ahead.String())
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	case "rebind":
		if err := e.link.Rebind(); err != nil {
			t.Fatal(err)
		}
	case "reset":
		e.link.Reset()
	default:
		e.link.Set(link.Up, b.up)
		e.link.Set(link.Down, b.down)
		e.heal = time.Now().Add(b.lasts)
	}
}

// pass lets time pass, and with it faults.
func (c *chaos) pass(d time.Duration) {
	for end := time.Now().Add(d); ; time.Sleep(20 * time.Millisecond) {
		now := time.Now()
		for _, e := range c.edges {
			if !e.heal.IsZero() && now.After(e.heal) {
				e.restore()
			}
			if !e.freed.IsZero() && now.After(e.freed) {
				e.free()
			}
			if e.ended() {
				// A full disk may end an agent; nothing else may.
				if !*chaosDisks {
					c.t.Fatalf("the %s ended by itself: %v", e.name, e.err)
				}
				if e.freed.IsZero() {
					c.count["an agent ended by a full disk"]++
					e.start()
				}
			}
		}
		if c.a.ended() {
			// Its engine was killed while both started, and that is the one thing
			// that may end it: what runs it starts it again.
			if !c.engineKilled || c.a.wasReady(c.launched) {
				c.t.Fatalf("the aggregator ended by itself: %v: %s", c.a.err, tail(c.a.logFile, 1))
			}
			c.count["aggregator ended with its engine"]++
			c.launch()
		}
		if now.After(end) {
			return
		}
	}
}

func (e *edge) restore() {
	for _, d := range link.Both {
		e.link.Set(d, link.Rules{})
	}
	e.heal = time.Time{}
}

func (e *edge) free() {
	if err := os.Remove(e.ballast()); err != nil {
		e.agent.t.Fatal(err)
	}
	e.freed = time.Time{}
}

// calm ends all faults and waits until something new comes through everywhere.
func (c *chaos) calm() {
	c.t.Helper()
	for _, e := range c.edges {
		e.restore()
		if !e.freed.IsZero() {
			e.free()
		}
	}
	eventually(c.t, 90*time.Second, "the aggregator is ready", func() error {
		c.pass(0)
		_, err := get("http://" + c.a.health + "/readyz")
		return err
	})
	for _, e := range c.edges {
		var before int
		eventually(c.t, time.Minute, "something of the "+e.name+" is acknowledged", func() error {
			n, err := e.acknowledged()
			switch {
			case err != nil:
				return err
			case n >= typeRecords+len(e.truth.lines): // all is done
			case before == 0:
				before = n
				fallthrough
			case n <= before:
				return fmt.Errorf("record %d is the last", n)
			}
			return nil
		})
	}
}

// TestChaos lets several agents, each a site behind a bad link, tell of changes to
// one aggregator, while processes are killed and links fail, all drawn from one
// seed. In the end the warehouse must hold exactly what the journals say: nothing
// missing, nothing twice. What an agent gave up on a full disk is missing, and its
// gaps must tell of just that.
func TestChaos(t *testing.T) {
	t.Logf("seed %d (-seed repeats it)", *seed)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("this was seed %d, -kills %d -faults %d -jumps %d", *seed, *chaosKills, *chaosFaults, *chaosJumps)
		}
	})
	blows := drawBlows(rand.New(rand.NewPCG(*seed, 3)))
	c := &chaos{t: t, a: newAggregator(t), count: make(map[string]int)}
	for i := range chaosAgents {
		c.edges = append(c.edges, newEdge(t, c.a, i))
	}
	for _, e := range c.edges {
		eventually(t, time.Minute, "the "+e.name+" has a session", func() error {
			_, err := get("http://" + e.health + "/readyz")
			return err
		})
	}

	began := time.Now()
	var length time.Duration
	for _, b := range blows {
		length += b.pause
	}
	stop := make(chan struct{})
	var writing sync.WaitGroup
	written := sync.OnceFunc(func() { close(stop); writing.Wait() })
	defer written()
	for _, e := range c.edges {
		writing.Go(func() { e.write(length, stop) })
	}
	for i, b := range blows {
		c.strike(b)
		c.pass(b.pause)
		if i%chaosCalm == chaosCalm-1 {
			c.calm()
		}
	}
	c.calm()
	written()
	t.Logf("%d blows in %.0f s:%s", len(blows), time.Since(began).Seconds(), table(c.count))

	for _, e := range c.edges {
		e.shipped(typeRecords+len(e.truth.lines), 3*time.Minute)
		eventually(t, time.Minute, "nothing waits in the spool of the "+e.name, func() error { return nothingWaits(e.agent) })
		if out, err := e.command("spool", "check"); err != nil {
			t.Errorf("the spool of the %s is damaged: %v %s", e.name, err, out)
		}
		first, _, err := spooled(e.agent)
		if err != nil || first == 1 {
			t.Errorf("the spool of the %s still begins with record %d (%v): it never gave up what was acknowledged, so that was not tested", e.name,
				first, err)
		}
		last, err := recorded(e.agent)
		if err != nil {
			t.Fatal(err)
		}
		e.recorded = last["events"]
		e.stop()
		t.Logf("link of the %s: up %+v, down %+v", e.name, e.link.Counts(link.Up), e.link.Counts(link.Down))
	}
	c.a.stop()

	db := openWarehouse(c.a)
	checkTables(t, db)
	for _, e := range c.edges {
		t.Logf("%s:", e.site)
		rows := versions(t, db, e.site)
		stamps := make(map[uint64]bool)
		for _, row := range rows {
			stamps[row.Version] = true
		}
		t.Logf("versions expected %d, found %d, duplicated %d", len(e.truth.lines), len(rows), len(rows)-len(stamps))
		e.compareVersions(rows, gapsOf(t, db, e, "assets"))
		compareAssets(t, e.truth, db, e.site)
		compareRelations(t, e.truth, db, e.site)
		e.compareEvents(db, gapsOf(t, db, e, "events"))
	}
	if n := count(t, db, "SELECT count() FROM dead_letter"); n != 0 {
		t.Errorf("there are %d dead letters", n)
	}
}

func table(counts map[string]int) string {
	var s strings.Builder
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(&s, "\n  %-32s %5d", kind, counts[kind])
	}
	return s.String()
}

// nothingWaits returns an error as long as something in an agent's spool is not
// acknowledged.
func nothingWaits(g *agent) error {
	last, err := recorded(g)
	if err != nil {
		return err
	}
	for class, n := range last {
		acknowledged, err := g.metric(fmt.Sprintf("reeve_agent_acknowledged_record{class=%q}", class))
		if err != nil {
			return err
		}
		if uint64(acknowledged) < n {
			return fmt.Errorf("of %d %s %.0f are acknowledged", n, class, acknowledged)
		}
	}
	return nil
}

// recorded returns how many records an agent has recorded, by class.
func recorded(g *agent) (map[string]uint64, error) {
	out, err := g.command("spool", "stat")
	if err != nil {
		return nil, err
	}
	last := make(map[string]uint64)
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 3 || f[0] == "CLASS" {
			continue
		}
		if last[f[0]], err = strconv.ParseUint(f[2], 10, 64); err != nil {
			return nil, fmt.Errorf("spool stat says %q: %w", line, err)
		}
	}
	if len(last) != 2 {
		return nil, fmt.Errorf("spool stat says %q, which is not of two classes", out)
	}
	return last, nil
}

// checkTables wants no view or roll-up that the comparison does not know of.
func checkTables(t *testing.T, db driver.Conn) {
	t.Helper()
	var rows []struct {
		Name   string `ch:"name"`
		Engine string `ch:"engine"`
	}
	if err := db.Select(t.Context(), &rows, `
		SELECT name, engine FROM system.tables WHERE database = 'reeve'
		AND (engine LIKE '%View' OR engine LIKE '%AggregatingMergeTree' OR engine LIKE '%SummingMergeTree')`); err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		t.Errorf("the warehouse has %s (%s), and this test does not compare what it counts", row.Name, row.Engine)
	}
}
