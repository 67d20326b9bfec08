package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/reeve-cloud/reeve/aggregator/ingest/v1"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

func TestMain(m *testing.M) { warehousetest.Main(m) }

const (
	assets  = wirev1.Class_CLASS_ASSETS
	events  = wirev1.Class_CLASS_EVENTS
	spoolID = "00112233445566778899aabbccddeeff"
)

var agent = identity.Agent{Site: "west", ID: "0193c1a2-7f3e-4d5b-9c1d-2b6f0e9a8d7c"}

// faulty is a warehouse whose writes fail, before or after they took place.
type faulty struct {
	*warehouse.Warehouse
	mu     sync.Mutex
	before int // how many writes are to fail without taking place
	after  int // how many are to fail although they took place
	// refuses, if set, is the error for a group, of Write and Settle.
	refuses func(*warehouse.Group) error
	// settled, if set, is called behind each Settle.
	settled func()
}

var errFault = errors.New("told to fail")

func (f *faulty) Write(ctx context.Context, g *warehouse.Group) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.before > 0 {
		f.before--
		return errFault
	}
	if f.refuses != nil {
		if err := f.refuses(g); err != nil {
			return err
		}
	}
	if err := f.Warehouse.Write(ctx, g); err != nil {
		return err
	}
	if f.after > 0 {
		f.after--
		return errFault
	}
	return nil
}

func (f *faulty) Settle(ctx context.Context, g *warehouse.Group) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuses != nil {
		if err := f.refuses(g); err != nil {
			return err
		}
	}
	err := f.Warehouse.Settle(ctx, g)
	if f.settled != nil {
		f.settled()
	}
	return err
}

// centre is the ingesting half of an aggregator, over real stores.
type centre struct {
	t        *testing.T
	dir      string
	store    *faulty
	registry *registry.Registry
	ingest   *Ingest
	cancel   context.CancelFunc
	done     sync.WaitGroup
}

func newCentre(t *testing.T) *centre {
	c := &centre{t: t, dir: t.TempDir(), store: &faulty{Warehouse: warehousetest.New(t)}}
	var err error
	if c.registry, err = registry.Open(registry.Options{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.stop()
		if err := c.registry.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func (c *centre) start() {
	c.t.Helper()
	var err error
	if c.ingest, err = New(Options{Warehouse: c.store, Watermarks: c.registry, Dir: c.dir,
		Logger: slog.New(slog.DiscardHandler)}); err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.done.Go(func() {
		if err := c.ingest.Run(ctx); !errors.Is(err, context.Canceled) {
			c.t.Error(err)
		}
	})
	<-c.ingest.recovered
}

// open returns an inlet.
func (c *centre) open(agent identity.Agent, spoolID string) *Inlet {
	c.t.Helper()
	in, err := c.ingest.Open(c.t.Context(), agent, spoolID)
	if err != nil {
		c.t.Fatal(err)
	}
	return in
}

func (c *centre) stop() {
	if c.cancel != nil {
		c.cancel()
		c.done.Wait()
		c.cancel = nil
	}
}

func (c *centre) versions() int { return warehousetest.Rows(c.t, c.store.Warehouse, "asset_version") }

// refused is of how many records there are dead letters.
func (c *centre) refused() int {
	c.t.Helper()
	var n uint64
	if err := c.store.Conn().QueryRow(c.t.Context(), "SELECT sum(records) FROM dead_letter").Scan(&n); err != nil {
		c.t.Fatal(err)
	}
	return int(n)
}

func record(n uint64) *wirev1.Record {
	doc, err := json.Marshal(map[string]uint64{"n": n})
	if err != nil {
		panic(err)
	}
	return &wirev1.Record{Body: &wirev1.Record_Asset{Asset: &wirev1.AssetVersion{
		Type: "fake.test.Thing", Uid: fmt.Sprint("u", n%10), Version: 1_700_000_000_000<<16 + n, Operation: wirev1.Operation_OPERATION_UPDATED,
		Scope: "fake/s", Document: doc, Hash: make([]byte, 16),
		Relations: []*wirev1.Relation{{Kind: "part_of", Type: "fake.test.Thing", Uid: "root"}},
	}}}
}

func batch(t testing.TB, first uint64, records ...*wirev1.Record) []byte {
	t.Helper()
	data, err := wire.EncodeBatch(spoolID, assets, first, records)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func run(t testing.TB, first, last uint64) []byte {
	var rs []*wirev1.Record
	for n := first; n <= last; n++ {
		rs = append(rs, record(n))
	}
	return batch(t, first, rs...)
}

func submit(t testing.TB, in *Inlet, data []byte) {
	t.Helper()
	if err := in.Submit(t.Context(), assets, data); err != nil {
		t.Fatal(err)
	}
}

func durable(in *Inlet) uint64 { return durableOf(in, assets) }

func durableOf(in *Inlet, class wirev1.Class) uint64 {
	for _, w := range in.Durable() {
		if w.GetClass() == class {
			return w.GetSeq()
		}
	}
	return 0
}

func waitFor(t testing.TB, in *Inlet, seq uint64) { t.Helper(); waitForClass(t, in, assets, seq) }

func waitForClass(t testing.TB, in *Inlet, class wirev1.Class, seq uint64) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for durableOf(in, class) < seq {
		select {
		case <-in.Acks():
		case <-deadline:
			t.Fatalf("record %d is not durable, the last one that is is %d", seq, durableOf(in, class))
		}
	}
}

func TestCommitAndRepeat(t *testing.T) {
	c := newCentre(t)
	c.start()
	in := c.open(agent, spoolID)
	defer in.Close()
	submit(t, in, run(t, 1, 5))
	submit(t, in, run(t, 6, 6))
	waitFor(t, in, 6)
	// The agent lost the acknowledgement and sends again.
	submit(t, in, run(t, 1, 5))
	<-in.Acks()
	submit(t, in, run(t, 7, 7))
	waitFor(t, in, 7)
	if n := c.versions(); n != 7 {
		t.Fatalf("%d rows", n)
	}
	// Neither does a restart forget what was committed.
	c.stop()
	c.start()
	again := c.open(agent, spoolID)
	defer again.Close()
	if durable(again) != 7 {
		t.Fatalf("after a restart %d records are durable", durable(again))
	}
	submit(t, again, run(t, 6, 6))
	submit(t, again, run(t, 8, 8))
	waitFor(t, again, 8)
	if n := c.versions(); n != 8 {
		t.Fatalf("%d rows", n)
	}
}

func TestFaultsCountOnce(t *testing.T) {
	c := newCentre(t)
	c.start()
	in := c.open(agent, spoolID)
	defer in.Close()
	r := rand.New(rand.NewPCG(1, 2))
	seq := uint64(0)
	for range 12 {
		c.store.mu.Lock()
		c.store.before, c.store.after = r.IntN(2), r.IntN(2)
		c.store.mu.Unlock()
		n := uint64(1 + r.IntN(20))
		submit(t, in, run(t, seq+1, seq+n))
		seq += n
		waitFor(t, in, seq)
	}
	if n := c.versions(); n != int(seq) {
		t.Fatalf("%d rows of %d records", n, seq)
	}
}

func TestStoppedInTheMiddle(t *testing.T) {
	c := newCentre(t)
	for name, spoil := range map[string]func(*faulty){
		"before the insert": func(f *faulty) { f.before = 1 },
		"after the insert":  func(f *faulty) { f.after = 1 },
	} {
		c.start()
		in := c.open(agent, spoolID)
		first := durable(in) + 1
		base := c.versions()
		c.store.mu.Lock()
		spoil(c.store)
		c.store.mu.Unlock()
		submit(t, in, run(t, first, first+9))
		// The failed write leaves the group in the commit log; the aggregator
		// stops before it can try again.
		for {
			c.store.mu.Lock()
			failed := c.store.before+c.store.after == 0
			c.store.mu.Unlock()
			if failed {
				break
			}
			time.Sleep(time.Millisecond)
		}
		c.stop()
		in.Close()
		// The agent never comes back; the group is committed all the same.
		c.start()
		again := c.open(agent, spoolID)
		if durable(again) != first+9 || c.versions() != base+10 {
			t.Errorf("%s: record %d is durable, %d rows more", name, durable(again), c.versions()-base)
		}
		again.Close()
		c.stop()
	}
}

func TestTwoSessionsOfOneSpool(t *testing.T) {
	c := newCentre(t)
	c.start()
	const last = 200
	var wg sync.WaitGroup
	for range 3 { // dying sessions and their successors, all sending the same
		wg.Go(func() {
			in := c.open(agent, spoolID)
			defer in.Close()
			for n := uint64(1); n <= last; n++ {
				if err := in.Submit(t.Context(), assets, run(t, n, n)); err != nil {
					t.Error(err)
					return
				}
			}
			waitFor(t, in, last)
		})
	}
	wg.Wait()
	if n := c.versions(); n != last {
		t.Fatalf("%d rows", n)
	}
}

func TestOneAgentCannotTouchAnothersSpool(t *testing.T) {
	c := newCentre(t)
	c.start()
	thief := identity.Agent{Site: "east", ID: "11111111-7f3e-4d5b-9c1d-2b6f0e9a8d7c"}
	stolen := c.open(thief, spoolID)
	defer stolen.Close()
	submit(t, stolen, run(t, 1, 50))
	waitFor(t, stolen, 50)
	in := c.open(agent, spoolID)
	defer in.Close()
	if durable(in) != 0 {
		t.Fatal("another agent moved the watermark of this one's spool")
	}
}

func TestBadRecordsBecomeDeadLetters(t *testing.T) {
	c := newCentre(t)
	c.start()
	in := c.open(agent, spoolID)
	defer in.Close()
	spoil := func(change func(*wirev1.AssetVersion)) *wirev1.Record {
		r := record(3)
		change(r.GetAsset())
		return r
	}
	bad := []*wirev1.Record{
		{},
		{Body: &wirev1.Record_Event{Event: &wirev1.Event{Id: "e"}}},
		spoil(func(a *wirev1.AssetVersion) { a.Uid = "" }),
		spoil(func(a *wirev1.AssetVersion) { a.Uid = "a\x1b[31m" }),
		spoil(func(a *wirev1.AssetVersion) { a.Document = []byte(`{"a":`) }),
		spoil(func(a *wirev1.AssetVersion) { a.Document = []byte(`[]`) }),
		spoil(func(a *wirev1.AssetVersion) { a.Hash = nil }),
		spoil(func(a *wirev1.AssetVersion) { a.Version = 0 }),
		spoil(func(a *wirev1.AssetVersion) { a.Version = 1<<64 - 1 }),
		spoil(func(a *wirev1.AssetVersion) { a.Operation = 9 }),
		spoil(func(a *wirev1.AssetVersion) { a.ObservedAt = -1 << 60 }),
		spoil(func(a *wirev1.AssetVersion) { a.Relations = []*wirev1.Relation{{Kind: "x"}} }),
	}
	all := append([]*wirev1.Record{record(1)}, append(bad, record(2))...)
	submit(t, in, batch(t, 1, all...))
	waitFor(t, in, uint64(len(all)))
	if n := c.versions(); n != 2 {
		t.Errorf("%d versions, want the 2 good ones", n)
	}
	if n := warehousetest.Rows(t, c.store.Warehouse, "dead_letter"); n != len(bad) {
		t.Errorf("%d dead letters, want %d", n, len(bad))
	}
	// Those that say which asset they are of show with its scope.
	untaken, err := c.store.ScopeUntaken(t.Context(), agent.Site)
	if err != nil {
		t.Fatal(err)
	}
	if u := untaken[warehouse.SiteScope{Site: agent.Site, Scope: record(3).GetAsset().GetScope()}]; len(untaken) != 1 || u.Count != 1 ||
		u.Reason == "" || u.Time.IsZero() {
		t.Errorf("not taken are %+v", untaken)
	}
	// A batch that cannot even be decompressed.
	b := &wirev1.Batch{SpoolId: spoolID, Class: assets, FirstSeq: uint64(len(all)) + 1, Count: 4, Records: []byte("no zstd")}
	submit(t, in, marshal(t, b))
	waitFor(t, in, uint64(len(all))+4)
	if n := warehousetest.Rows(t, c.store.Warehouse, "dead_letter"); n != len(bad)+1 {
		t.Errorf("%d dead letters, want %d", n, len(bad)+1)
	}
}

func typeRecord(n uint64, title, layout string) *wirev1.Record {
	return &wirev1.Record{Body: &wirev1.Record_AssetType{AssetType: &wirev1.AssetType{
		Name: "fake.test.Thing", Title: title, Layout: []byte(layout), Version: 1_700_000_000_000<<16 + n,
	}}}
}

// types returns what is known of all types.
func (c *centre) types() string {
	c.t.Helper()
	list, err := c.store.Types(c.t.Context(), warehouse.TypeQuery{Limit: 10})
	if err != nil {
		c.t.Fatal(err)
	}
	var all []string
	for _, t := range list {
		all = append(all, fmt.Sprint(t.Name, " ", t.Title, " ", string(t.Layout)))
	}
	return strings.Join(all, "; ")
}

func TestAssetTypes(t *testing.T) {
	c := newCentre(t)
	c.start()
	in := c.open(agent, spoolID)
	defer in.Close()
	const layout = `{"icon":"pod"}`
	// They share their class, and its numbers, with assets.
	submit(t, in, batch(t, 1, typeRecord(1, "Old", ""), record(2), typeRecord(3, "New", layout)))
	waitFor(t, in, 3)
	want := "fake.test.Thing New " + layout
	if got := c.types(); got != want || c.versions() != 1 {
		t.Fatalf("%q, %d versions", got, c.versions())
	}
	bad := []*wirev1.Record{
		typeRecord(4, "Bad", `{"icon":"dragon"}`),
		typeRecord(5, "Bad", `{"columns":[{"title":"A"}]}`),
		typeRecord(6, "Bad\x1b[31m", layout),
		typeRecord(7, strings.Repeat("x", wire.MaxName+1), layout),
		typeRecord(8, "Bad", layout),
		typeRecord(9, "Bad", layout),
	}
	bad[4].GetAssetType().Name = ""
	bad[5].GetAssetType().Version = 0
	submit(t, in, batch(t, 4, bad...))
	waitFor(t, in, 9)
	if got := c.types(); got != want {
		t.Errorf("%q", got)
	}
	var reasons []string
	if err := c.store.Conn().QueryRow(t.Context(), "SELECT groupArray(reason) FROM (SELECT * FROM dead_letter ORDER BY first_seq)").Scan(
		&reasons); err != nil {
		t.Fatal(err)
	}
	parts := []string{`icon: "dragon"`, "columns[0].path", "title: has control", "title: must have", "name: must have", "version: 0"}
	for i, part := range parts {
		if len(reasons) != len(parts) || !strings.Contains(reasons[i], part) {
			t.Fatalf("reasons %q: want %q in the one of place %d", reasons, part, i)
		}
	}
	// What was inserted although nobody knew it is settled, and an older word
	// does not come back.
	for n, spoil := range []func(*faulty){func(f *faulty) { f.before = 1 }, func(f *faulty) { f.after = 1 }} {
		seq := uint64(10 + n)
		c.store.mu.Lock()
		spoil(c.store)
		c.store.mu.Unlock()
		submit(t, in, batch(t, seq, typeRecord(seq, fmt.Sprint("Title ", seq), layout)))
		waitFor(t, in, seq)
		if got := c.types(); got != fmt.Sprintf("fake.test.Thing Title %d %s", seq, layout) {
			t.Errorf("%q", got)
		}
	}
	submit(t, in, batch(t, 12, typeRecord(2, "Late", layout)))
	waitFor(t, in, 12)
	if got := c.types(); got != "fake.test.Thing Title 11 "+layout {
		t.Errorf("%q", got)
	}
}

// TestAssetTypesFromTheCommitLog stops between the insert and its success.
func TestAssetTypesFromTheCommitLog(t *testing.T) {
	c := newCentre(t)
	c.start()
	in := c.open(agent, spoolID)
	c.store.mu.Lock()
	c.store.before = 1
	c.store.mu.Unlock()
	submit(t, in, batch(t, 1, typeRecord(1, "Thing", "")))
	for failed := false; !failed; time.Sleep(time.Millisecond) {
		c.store.mu.Lock()
		failed = c.store.before == 0
		c.store.mu.Unlock()
	}
	c.stop()
	in.Close()
	c.start()
	if got := c.types(); got != "fake.test.Thing Thing " {
		t.Errorf("%q", got)
	}
}

func TestAssetTypeInAnotherClass(t *testing.T) {
	err := addRecord(&warehouse.Group{}, origin{}, wirev1.Class_CLASS_EVENTS, typeRecord(1, "Thing", ""))
	if err == nil || !strings.Contains(err.Error(), "another class") {
		t.Error(err)
	}
}

// periodStart is when the periods of usageRecord start.
var periodStart = time.Now().Add(-time.Hour).Truncate(time.Hour).UTC()

// usageRecord is the nth word on a period: n minutes of it, with 60 units each.
func usageRecord(n uint64, change func(*wirev1.Usage)) *wirev1.Record {
	u := &wirev1.Usage{
		AssetType: "fake.test.Thing", AssetUid: "u", Scope: "fake/s", Meter: "cpu.used", Unit: "core.second",
		Start: periodStart.UnixMilli(), End: periodStart.Add(time.Duration(n) * time.Minute).UnixMilli(),
		Quantity: float64(60 * n), Version: 1_700_000_000_000<<16 + n,
	}
	change(u)
	return &wirev1.Record{Body: &wirev1.Record_Usage{Usage: u}}
}

func usageBatch(t testing.TB, first uint64, records ...*wirev1.Record) []byte {
	t.Helper()
	data, err := wire.EncodeBatch(spoolID, events, first, records)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// usage returns how many periods there are, and what was used in all of them.
func (c *centre) usage() string {
	c.t.Helper()
	var periods uint64
	var sum float64
	if err := c.store.Conn().QueryRow(c.t.Context(), "SELECT count(), sum(quantity) FROM usage FINAL").Scan(&periods, &sum); err != nil {
		c.t.Fatal(err)
	}
	return fmt.Sprint(periods, " periods, ", sum)
}

func TestUsage(t *testing.T) {
	c := newCentre(t)
	c.start()
	in := c.open(agent, spoolID)
	defer in.Close()
	seq := uint64(0)
	send := func(want string, records ...*wirev1.Record) {
		t.Helper()
		if err := in.Submit(t.Context(), events, usageBatch(t, seq+1, records...)); err != nil {
			t.Fatal(err)
		}
		seq += uint64(len(records))
		waitForClass(t, in, events, seq)
		if got := c.usage(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	same := func(*wirev1.Usage) {}
	// Later words replace earlier ones, in one batch and over several.
	send("1 periods, 120", usageRecord(1, same), usageRecord(2, same))
	send("1 periods, 180", usageRecord(3, same))
	// Another asset, meter or start is another period; an event goes beside it.
	send("4 periods, 720",
		usageRecord(3, func(u *wirev1.Usage) { u.AssetUid = "v" }),
		usageRecord(3, func(u *wirev1.Usage) { u.Meter = "gpu.used" }),
		&wirev1.Record{Body: &wirev1.Record_Event{Event: &wirev1.Event{Id: "e", Type: "t", Scope: "fake/s"}}},
		usageRecord(3, func(u *wirev1.Usage) { u.Start++ }))
	if n := warehousetest.Rows(t, c.store.Warehouse, "event"); n != 1 {
		t.Errorf("%d events", n)
	}
	// What was inserted although nobody knew it is settled, and an older word
	// does not come back.
	for n, spoil := range []func(*faulty){func(f *faulty) { f.before = 1 }, func(f *faulty) { f.after = 1 }} {
		c.store.mu.Lock()
		spoil(c.store)
		c.store.mu.Unlock()
		send(fmt.Sprint("4 periods, ", 780+60*n), usageRecord(uint64(4+n), same))
	}
	send("4 periods, 840", usageRecord(1, same))

	// Neither is it lost by a stop between the commit log and the insert.
	c.store.mu.Lock()
	c.store.before = 1
	c.store.mu.Unlock()
	if err := in.Submit(t.Context(), events, usageBatch(t, seq+1, usageRecord(6, same))); err != nil {
		t.Fatal(err)
	}
	for failed := false; !failed; time.Sleep(time.Millisecond) {
		c.store.mu.Lock()
		failed = c.store.before == 0
		c.store.mu.Unlock()
	}
	c.stop()
	c.start()
	if got := c.usage(); got != "4 periods, 900" {
		t.Errorf("from the commit log: %s", got)
	}
}

func TestBadUsageBecomesDeadLetters(t *testing.T) {
	c := newCentre(t)
	c.start()
	in := c.open(agent, spoolID)
	defer in.Close()
	bad := []struct {
		change func(*wirev1.Usage)
		reason string
	}{
		{func(u *wirev1.Usage) { u.AssetType = "" }, "asset type: must have"},
		{func(u *wirev1.Usage) { u.AssetUid = "a\x1b[31m" }, "asset uid: has control"},
		{func(u *wirev1.Usage) { u.Scope = "" }, "scope: must have"},
		{func(u *wirev1.Usage) { u.Meter = strings.Repeat("m", wire.MaxName+1) }, "meter: must have"},
		{func(u *wirev1.Usage) { u.Unit = "" }, "unit: must have"},
		{func(u *wirev1.Usage) { u.Version = 0 }, "version: 0"},
		{func(u *wirev1.Usage) { u.End = u.Start }, "period: it starts"},
		{func(u *wirev1.Usage) { u.Start = -1 }, "start: -1"},
		{func(u *wirev1.Usage) { u.End = 1 << 60 }, "end: 1152921504606846976"},
		{func(u *wirev1.Usage) { u.Start = 0 }, "start: 1970-01-01"},
		{func(u *wirev1.Usage) { u.Start = 1 }, "start: 1970-01-01"},
		{func(u *wirev1.Usage) { u.Start = periodStart.AddDate(5, 0, 0).UnixMilli(); u.End = u.Start + 1 }, "is the clock right?"},
		{func(u *wirev1.Usage) { u.Quantity = math.NaN() }, "quantity: NaN"},
		{func(u *wirev1.Usage) { u.Quantity = math.Inf(1) }, "quantity: +Inf"},
		{func(u *wirev1.Usage) { u.Quantity = -1 }, "quantity: -1"},
	}
	records := []*wirev1.Record{usageRecord(1, func(*wirev1.Usage) {})}
	for i := range bad {
		records = append(records, usageRecord(uint64(i+2), bad[i].change))
	}
	if err := in.Submit(t.Context(), events, usageBatch(t, 1, records...)); err != nil {
		t.Fatal(err)
	}
	waitForClass(t, in, events, uint64(len(records)))
	if got := c.usage(); got != "1 periods, 60" {
		t.Errorf("%s", got)
	}
	var reasons []string
	if err := c.store.Conn().QueryRow(t.Context(), "SELECT groupArray(reason) FROM (SELECT * FROM dead_letter ORDER BY first_seq)").Scan(
		&reasons); err != nil {
		t.Fatal(err)
	}
	if len(reasons) != len(bad) {
		t.Fatalf("reasons %q", reasons)
	}
	for i := range bad {
		if !strings.Contains(reasons[i], bad[i].reason) {
			t.Errorf("reason %q: want %q in it", reasons[i], bad[i].reason)
		}
	}
	if err := addRecord(&warehouse.Group{}, origin{}, assets, records[0]); err == nil || !strings.Contains(err.Error(), "another class") {
		t.Error(err)
	}
}

// TestUsageOfManyMonths has as many as are taken, which is as many partitions.
func TestUsageOfManyMonths(t *testing.T) {
	c := newCentre(t)
	c.start()
	in := c.open(agent, spoolID)
	defer in.Close()
	var records []*wirev1.Record
	for month := -200; month <= 200; month++ {
		start := time.Now().AddDate(0, month, 0).UnixMilli()
		records = append(records, usageRecord(1, func(u *wirev1.Usage) { u.Start, u.End = start, start+1000 }))
	}
	if err := in.Submit(t.Context(), events, usageBatch(t, 1, records...)); err != nil {
		t.Fatal(err)
	}
	waitForClass(t, in, events, uint64(len(records)))
	taken, refused := warehousetest.Rows(t, c.store.Warehouse, "usage"), c.refused()
	if taken < 94 || taken+refused != len(records) {
		t.Errorf("%d months were taken and %d refused", taken, refused)
	}
}

func gapRecord(first, last uint64, change func(*wirev1.Gap)) *wirev1.Record {
	g := &wirev1.Gap{
		Reason: wirev1.Gap_REASON_BUDGET, FirstSeq: first, LastSeq: last, Versions: last - first, AssetTypes: 1,
		From: 1_700_000_000_000, To: 1_700_000_060_000,
	}
	change(g)
	return &wirev1.Record{Body: &wirev1.Record_Gap{Gap: g}}
}

// gaps returns what is missing, as records and versions of each gap.
func (c *centre) gaps() string {
	c.t.Helper()
	var list []string
	if err := c.store.Conn().QueryRow(c.t.Context(),
		`SELECT groupArray(concat(class, ' ', toString(first_seq), '-', toString(last_seq), ' ', reason, ' ', toString(versions),
		' ', toString(asset_types), ' ', toString(events), ' ', toString(usages), ' ', toString(unknown), ' ', toString(toUnixTimestamp(latest) - toUnixTimestamp(earliest))))
		FROM (SELECT * FROM gap FINAL ORDER BY class, last_seq)`).Scan(&list); err != nil {
		c.t.Fatal(err)
	}
	return strings.Join(list, "; ")
}

func TestGaps(t *testing.T) {
	c := newCentre(t)
	c.start()
	in := c.open(agent, spoolID)
	defer in.Close()
	same := func(*wirev1.Gap) {}
	submit(t, in, run(t, 1, 3))
	waitFor(t, in, 3)
	// What had been taken is not missing, although the agent could not know.
	submit(t, in, batch(t, 3, gapRecord(1, 3, same)))
	waitFor(t, in, 3)
	if got := c.gaps(); got != "" {
		t.Errorf("%q", got)
	}
	// Records that were kept, and the gap for the others in front of them.
	relation := &wirev1.Relation{Kind: "on", Type: "fake.test.Host", Uid: "h"}
	submit(t, in, batch(t, 9, record(9), gapRecord(4, 10, func(g *wirev1.Gap) {
		g.Versions, g.Unknown = 4, 1
		g.Ended = []*wirev1.EndedRelation{{Type: "fake.test.Thing", Uid: "u", Version: 7, Relation: relation}}
	})))
	waitFor(t, in, 10)
	want := "assets 4-10 budget 4 1 0 0 1 60"
	if got := c.gaps(); got != want || c.versions() != 4 {
		t.Errorf("%q, %d versions", got, c.versions())
	}
	var ended uint64
	if err := c.store.Conn().QueryRow(t.Context(), "SELECT version FROM relation FINAL WHERE dir = 'out' AND deleted AND to_uid = 'h'").Scan(
		&ended); err != nil || ended != 7 {
		t.Errorf("the edge ended with version %d: %v", ended, err)
	}
	// Inserts that fail, before they took place and after.
	for n, spoil := range []func(*faulty){func(f *faulty) { f.before = 1 }, func(f *faulty) { f.after = 1 }} {
		c.store.mu.Lock()
		spoil(c.store)
		c.store.mu.Unlock()
		last := uint64(20 + 10*n)
		submit(t, in, batch(t, last, gapRecord(last-9, last, func(g *wirev1.Gap) { g.Reason = wirev1.Gap_REASON_DISK })))
		waitFor(t, in, last)
		want += fmt.Sprintf("; assets %d-%d disk 9 1 0 0 0 60", last-9, last)
		if got := c.gaps(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	data, err := wire.EncodeBatch(spoolID, events, 100, []*wirev1.Record{gapRecord(1, 100, func(g *wirev1.Gap) {
		*g = wirev1.Gap{Reason: 99, FirstSeq: 1, LastSeq: 100, Events: 60, Usage: 40}
	})})
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Submit(t.Context(), events, data); err != nil {
		t.Fatal(err)
	}
	waitForClass(t, in, events, 100)
	want += "; events 1-100 unknown 0 0 60 40 0 0"
	if got := c.gaps(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	// The statement in docs/aggregator.md.
	var sites uint64
	if err := c.store.Conn().QueryRow(t.Context(), `SELECT count() FROM (
		SELECT site, agent_id, class, reason, sum(versions), sum(events), sum(usages), sum(unknown), min(earliest), max(latest)
		FROM gap FINAL WHERE received_at > now() - INTERVAL 1 DAY GROUP BY site, agent_id, class, reason)`).Scan(&sites); err != nil || sites != 3 {
		t.Errorf("%d rows: %v", sites, err)
	}
	bad := []*wirev1.Record{
		gapRecord(31, 32, same),
		gapRecord(0, 32, same),
		gapRecord(31, 33, func(g *wirev1.Gap) { g.Versions = 3 }),
		gapRecord(31, 34, func(g *wirev1.Gap) { g.Unknown = 1<<64 - 1 }),
		gapRecord(31, 35, func(g *wirev1.Gap) { g.From = -1 }),
		gapRecord(31, 36, func(g *wirev1.Gap) { g.To = 1 << 62 }),
		gapRecord(31, 37, func(g *wirev1.Gap) { g.Ended = []*wirev1.EndedRelation{{Type: "t", Uid: "u", Version: 1}} }),
		gapRecord(31, 38, func(g *wirev1.Gap) {
			g.Ended = []*wirev1.EndedRelation{{Uid: "u", Version: 1, Relation: relation}}
		}),
	}
	submit(t, in, batch(t, 31, bad...))
	waitFor(t, in, 38)
	if n := warehousetest.Rows(t, c.store.Warehouse, "dead_letter"); n != len(bad) || c.gaps() != want {
		t.Errorf("%d dead letters of %d, gaps %q", n, len(bad), c.gaps())
	}
}

func TestProtocolViolations(t *testing.T) {
	c := newCentre(t)
	c.start()
	in := c.open(agent, spoolID)
	defer in.Close()
	submit(t, in, run(t, 1, 5))
	waitFor(t, in, 5)
	for name, data := range map[string][]byte{
		"garbage":          []byte("garbage"),
		"overlap":          run(t, 4, 8),
		"another spool":    marshal(t, &wirev1.Batch{SpoolId: "ffffffffffffffffffffffffffffffff", Class: assets, FirstSeq: 6, Count: 1}),
		"another class":    marshal(t, &wirev1.Batch{SpoolId: spoolID, Class: wirev1.Class_CLASS_EVENTS, FirstSeq: 6, Count: 1}),
		"no records":       marshal(t, &wirev1.Batch{SpoolId: spoolID, Class: assets, FirstSeq: 6}),
		"too many to hold": marshal(t, &wirev1.Batch{SpoolId: spoolID, Class: assets, FirstSeq: 6, Count: 1, RawBytes: 1 << 31}),
	} {
		if err := in.Submit(t.Context(), assets, data); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A hole is a loss that the agent has declared; what follows is taken.
	submit(t, in, run(t, 9, 9))
	waitFor(t, in, 9)
}

func FuzzThaw(f *testing.F) {
	f.Add(run(f, 1, 3))
	f.Add(batch(f, 1, typeRecord(1, "Thing", `{"icon":"pod"}`), typeRecord(2, "Thing", `{"icon":1}`)))
	f.Add(usageBatch(f, 1, usageRecord(1, func(*wirev1.Usage) {}), usageRecord(2, func(u *wirev1.Usage) { u.Quantity = math.NaN() })))
	f.Add(batch(f, 9, record(9), gapRecord(4, 10, func(g *wirev1.Gap) { g.Versions = 4 })))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := wire.DecodeBatch(data)
		if err != nil {
			return
		}
		g := &warehouse.Group{}
		addBatch(g, &ingestv1.Entry{Site: "s"}, b, part{})
		if len(g.Types)+len(g.Versions)+len(g.Events)+len(g.Usage)+len(g.Gaps)+len(g.DeadLetters) == 0 {
			t.Fatal("records vanished")
		}
	})
}

func BenchmarkThaw(b *testing.B) {
	data := run(b, 1, 1000)
	bt, err := wire.DecodeBatch(data)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		addBatch(&warehouse.Group{}, &ingestv1.Entry{Site: "s"}, bt, part{})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/record")
}

func marshal(t testing.TB, b *wirev1.Batch) []byte {
	t.Helper()
	data, err := proto.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
