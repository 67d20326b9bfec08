package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/reeve-cloud/reeve/aggregator/ingest/v1"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// packed is a batch of raw records that says of itself what it likes.
func packed(t testing.TB, first uint64, raw []byte, count, rawBytes int) []byte {
	t.Helper()
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	return marshal(t, &wirev1.Batch{
		SpoolId: spoolID, Class: assets, FirstSeq: first, Count: uint32(count), RawBytes: uint32(rawBytes), Records: e.EncodeAll(raw, nil),
	})
}

// bombs are batches of kilobytes that would take gigabytes.
func bombs(t testing.TB, first uint64) map[string][]byte {
	empty := bytes.Repeat([]byte{0x0a, 0x00}, wire.MaxRecords/2)
	doc := append(append([]byte(`{"a":"`), bytes.Repeat([]byte("x"), 4<<20-100)...), `"}`...)
	var many []*wirev1.Record
	for range 12 {
		many = append(many, &wirev1.Record{Body: &wirev1.Record_Asset{Asset: &wirev1.AssetVersion{
			Type: "t", Uid: "u", Scope: "s", Version: 1 << 40, Operation: 1, Hash: make([]byte, 16), Document: doc}}})
	}
	documents, err := proto.Marshal(&wirev1.Records{Records: many})
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"empty records, no size":      packed(t, first, empty, wire.MaxCount, 0),
		"empty records":               packed(t, first, empty, wire.MaxCount, len(empty)),
		"empty records, counted less": packed(t, first, empty, 1, len(empty)),
		"documents, no size":          packed(t, first, documents, 12, 0),
		"documents, too small a size": packed(t, first, documents, 12, 1000),
	}
}

// TestBombs: what one small batch becomes is a dead letter.
func TestBombs(t *testing.T) {
	for name, data := range bombs(t, 1) {
		before := heap()
		id := uuid.New()
		g, marks, err := thaw(&ingestv1.Group{Id: id[:], ReceivedAt: time.Now().UnixMilli(),
			Entries: []*ingestv1.Entry{{Site: "s", AgentId: "a", Batch: data}}})
		took := int64(heap() - before)
		if err != nil || len(g.DeadLetters) != 1 || len(g.Versions) != 0 || len(marks) != 1 {
			t.Errorf("%s: %d dead letters, %d versions, %v", name, len(g.DeadLetters), len(g.Versions), err)
		}
		if took > 1<<20 {
			t.Errorf("%s: %d bytes of batch take %d", name, len(data), took)
		}
		runtime.KeepAlive(g)
	}
}

// TestBombsAreRefusedBeforeTheCommitLog: an agent that sends nothing else gets told, and
// what it sends behind them is taken.
func TestBombsAreRefusedBeforeTheCommitLog(t *testing.T) {
	c := newCentre(t)
	c.start()
	in := c.open(agent, spoolID)
	defer in.Close()
	seq := uint64(0)
	for _, data := range bombs(t, 1) {
		b, err := wire.DecodeBatch(data)
		if err != nil {
			t.Fatal(err)
		}
		b.FirstSeq = seq + 1
		seq = wire.LastSeq(b)
		submit(t, in, marshal(t, b))
	}
	submit(t, in, run(t, seq+1, seq+3))
	waitFor(t, in, seq+3)
	if n := warehousetest.Rows(t, c.store.Warehouse, "dead_letter"); n != 5 || c.refused() != int(seq) || c.versions() != 3 {
		t.Errorf("%d dead letters of %d records, %d versions", n, c.refused(), c.versions())
	}
	select {
	case text := <-in.Notices():
		if !strings.Contains(text, "cannot be read") {
			t.Errorf("it is told %q", text)
		}
	default:
		t.Error("it is not told")
	}
}

// TestTooManyNames: an agent makes so many scopes and types, and no more.
func TestTooManyNames(t *testing.T) {
	c := newCentre(t)
	c.start()
	in := c.open(agent, spoolID)
	defer in.Close()
	most := mostNames[wire.NameType]
	var rs []*wirev1.Record
	for n := range most + 1 {
		r := typeRecord(uint64(n+1), "Thing", "")
		r.GetAssetType().Name = fmt.Sprint("t", n)
		rs = append(rs, r)
	}
	submit(t, in, batch(t, 1, rs[:most]...))
	submit(t, in, batch(t, uint64(most)+1, rs[most]))
	submit(t, in, batch(t, uint64(most)+2, rs[0])) // which it has
	waitFor(t, in, uint64(most)+2)
	var types uint64
	if err := c.store.Conn().QueryRow(t.Context(), "SELECT uniqExact(name) FROM asset_type").Scan(&types); err != nil || int(types) != most {
		t.Errorf("%d types, %v", types, err)
	}
	if c.refused() != 1 {
		t.Errorf("%d were refused", c.refused())
	}
}

// TestTooManySpools: an agent begins so many spools, and no more; those that it has
// take more.
func TestTooManySpools(t *testing.T) {
	c := newCentre(t)
	c.start()
	id := func(n int) string { return fmt.Sprintf("%032x", n+1) }
	var err error
	for n := range newSpools + 1 {
		var in *Inlet
		if in, err = c.ingest.Open(t.Context(), agent, id(n)); err == nil {
			data, encodeErr := wire.EncodeBatch(id(n), assets, 1, []*wirev1.Record{record(uint64(n + 1))})
			if encodeErr != nil {
				t.Fatal(encodeErr)
			}
			submit(t, in, data)
			waitFor(t, in, 1)
			in.Close()
		}
	}
	if !errors.Is(err, ErrTooManySpools) {
		t.Errorf("the error is %v", err)
	}
	c.open(agent, id(0)).Close()
	c.open(identity.Agent{Site: "west", ID: "another"}, id(99)).Close()
	// A group forgets its spools when it has told of them.
	left := func() int {
		c.ingest.mu.Lock()
		defer c.ingest.mu.Unlock()
		return len(c.ingest.spools)
	}
	for range 500 {
		if left() == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d spools are remembered that nobody uses", left())
}

// TestAFloodOfDeadLetters: few are kept, all are counted, and the agent slows down.
func TestAFloodOfDeadLetters(t *testing.T) {
	c := newCentre(t)
	c.start()
	in := c.open(agent, spoolID)
	defer in.Close()
	seq, batches := uint64(0), 0
	for !in.conduct.brief() {
		if batches++; batches > deadLetters {
			t.Fatal("there is no end")
		}
		submit(t, in, batch(t, seq+1, make([]*wirev1.Record, 1000)...))
		seq += 1000
		waitFor(t, in, seq)
	}
	kept := warehousetest.Rows(t, c.store.Warehouse, "dead_letter")
	if kept > deadLetters+maxLetters+1 || c.refused() != int(seq) {
		t.Errorf("%d dead letters of %d records in %d batches", kept, c.refused(), batches)
	}
	// From then on only sums.
	in.conduct.free = time.Now().Add(-crawl)
	submit(t, in, batch(t, seq+1, make([]*wirev1.Record, 1000)...))
	waitFor(t, in, seq+1000)
	if n := warehousetest.Rows(t, c.store.Warehouse, "dead_letter"); n != kept+1 || c.refused() != int(seq)+1000 {
		t.Errorf("%d dead letters of %d records", n, c.refused())
	}
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConduct()
		began := time.Now()
		if err := c.pace(t.Context()); err != nil || time.Since(began) != 0 {
			t.Errorf("an agent waits for %v, %v", time.Since(began), err)
		}
		c.lettered(deadLetters + 10)
		for n := range 3 {
			if err := c.pace(t.Context()); err != nil || time.Since(began) != time.Duration(n+1)*crawl {
				t.Errorf("batch %d comes after %v, %v", n, time.Since(began), err)
			}
		}
		// It gets better.
		time.Sleep(20 * deadLetterEvery)
		began = time.Now()
		if err := c.pace(t.Context()); err != nil || time.Since(began) != 0 || c.brief() {
			t.Errorf("an agent waits for %v, %v", time.Since(began), err)
		}
	})
}

// memory is the error of an engine that has not as much.
var memory = &clickhouse.Exception{Code: 241, Name: "MEMORY_LIMIT_EXCEEDED", Message: "(total) memory limit exceeded"}

// poisonous refuses every group in which a record has the uid "poison", and groups of
// more than so many versions.
func poisonous(most int) func(*warehouse.Group) error {
	return func(g *warehouse.Group) error {
		if len(g.Versions) > most {
			return fmt.Errorf("inserting into asset: %w", memory)
		}
		for _, v := range g.Versions {
			if v.UID == "poison" {
				return fmt.Errorf("inserting into asset: %w", memory)
			}
		}
		return nil
	}
}

// TestPoison: what the warehouse never takes is a dead letter in the end, and all else
// is there once, whatever it takes at a time.
func TestPoison(t *testing.T) {
	for _, most := range []int{1000, 3} {
		c := newCentre(t)
		c.store.refuses = poisonous(most)
		c.start()
		in := c.open(agent, spoolID)
		other := c.open(identity.Agent{Site: "east", ID: "another"}, spoolID)
		poison := record(7)
		poison.GetAsset().Uid = "poison"
		submit(t, in, run(t, 1, 6))
		submit(t, in, batch(t, 7, poison, record(8), record(9), record(10)))
		submit(t, other, run(t, 1, 5))
		waitFor(t, in, 10)
		waitFor(t, other, 5)
		submit(t, in, run(t, 11, 12))
		waitFor(t, in, 12)
		var reason string
		var seq uint64
		if err := c.store.Conn().QueryRow(t.Context(), "SELECT reason, first_seq FROM dead_letter").Scan(&reason, &seq); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(reason, "memory limit") || seq != 7 || c.refused() != 1 || c.versions() != 16 {
			t.Errorf("record %d: %q, %d versions", seq, reason, c.versions())
		}
		if c.ingest.Err() != nil {
			t.Error(c.ingest.Err())
		}
		in.Close()
		other.Close()
		c.stop()
	}
}

// TestPoisonAfterARestart: the aggregator stops while it splits, and another one goes on.
func TestPoisonAfterARestart(t *testing.T) {
	c := newCentre(t)
	refuses := poisonous(2)
	refused := make(chan struct{}, 1000)
	c.store.refuses = func(g *warehouse.Group) error {
		err := refuses(g)
		if err != nil && len(g.Versions) < 4 {
			refused <- struct{}{}
		}
		return err
	}
	c.start()
	in := c.open(agent, spoolID)
	poison := record(7)
	poison.GetAsset().Uid = "poison"
	submit(t, in, batch(t, 1, record(1), record(2), record(3), record(4), record(5), record(6), poison, record(8)))
	<-refused
	c.stop()
	in.Close()
	for range 2 {
		c.start()
		in = c.open(agent, spoolID)
		if durable(in) != 8 || c.refused() != 1 || c.versions() != 7 {
			t.Errorf("%d records are durable, %d refused, %d versions", durable(in), c.refused(), c.versions())
		}
		in.Close()
		c.stop()
	}
}

// stored leaves a group in the commit log, as an aggregator does that dies.
func (c *centre) stored(t *testing.T, batches ...[]byte) (name string) {
	t.Helper()
	l, err := openCommitLog(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []*pending
	for _, data := range batches {
		all = append(all, &pending{agent: agent, data: data})
	}
	id := uuid.New()
	name, err = l.write(id, freeze(id, time.Now(), all, nil))
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// TestAGroupThatNobodyCanRead is set aside; the aggregator starts all the same.
func TestAGroupThatNobodyCanRead(t *testing.T) {
	c := newCentre(t)
	c.stored(t, []byte("no batch"))
	c.stored(t)
	name := c.stored(t, run(t, 1, 3))
	if err := os.WriteFile(filepath.Join(c.dir, uuid.NewString()+groupSuffix), []byte("no group"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.start()
	if n := c.versions(); n != 3 {
		t.Errorf("%d versions", n)
	}
	if _, err := os.Stat(filepath.Join(c.dir, name)); !errors.Is(err, os.ErrNotExist) {
		t.Error("the good one is still there:", err)
	}
	aside, err := os.ReadDir(filepath.Join(c.dir, asideFolder))
	if err != nil || len(aside) != 3 {
		t.Errorf("%d were set aside, %v", len(aside), err)
	}
	c.stop()
	c.start()
	if left, err := c.ingest.log.list(); err != nil || len(left) != 0 {
		t.Errorf("%v are left, %v", left, err)
	}
}

// TestAGroupThatKills: the aggregator dies of a batch, at each start. In the end that
// batch is set aside, and what was beside it is there.
func TestAGroupThatKills(t *testing.T) {
	c := newCentre(t)
	name := c.stored(t, run(t, 1, 3), run(t, 4, 6), run(t, 7, 9))
	deaths := 0
	for ; ; deaths++ {
		if deaths > 5 {
			t.Fatal("it dies again and again")
		}
		if !c.dies(t, 5) {
			break
		}
	}
	c.start()
	in := c.open(agent, spoolID)
	defer in.Close()
	if c.versions() != 6 || c.refused() != 3 || durable(in) != 9 {
		t.Errorf("%d versions, %d refused, %d durable after %d deaths", c.versions(), c.refused(), durable(in), deaths)
	}
	aside, err := os.ReadDir(filepath.Join(c.dir, asideFolder))
	if err != nil || len(aside) != 1 || !strings.HasPrefix(aside[0].Name(), strings.TrimSuffix(name, groupSuffix)) {
		t.Errorf("%v were set aside, %v", aside, err)
	}
	if left, err := c.ingest.log.list(); err != nil || len(left) != 0 {
		t.Errorf("%v are left, %v", left, err)
	}
}

// TestAGroupThatKillsAmongMany: the batch that the aggregator dies of is found among a
// thousand without dying a thousand times, and without settling them one by one.
func TestAGroupThatKillsAmongMany(t *testing.T) {
	c := newCentre(t)
	var batches [][]byte
	for n := range uint64(1000) {
		batches = append(batches, run(t, n+1, n+1))
	}
	c.stored(t, batches...)
	deaths := 0
	for ; c.dies(t, 617); deaths++ {
		if deaths > 8 {
			t.Fatal("it dies again and again")
		}
	}
	if c.versions() != 999 || c.refused() != 1 {
		t.Errorf("%d versions, %d refused after %d deaths", c.versions(), c.refused(), deaths)
	}
}

// TestKilledWhileItSettles: an aggregator that is killed again and again, whatever the
// group has to do with it, is not kept from taking new batches by what it settles for
// long; and each row is there once, also where the group is divided meanwhile.
func TestKilledWhileItSettles(t *testing.T) {
	for _, when := range []struct {
		name string
		// dies is behind how many inserts of the group, or of its parts, each start is killed.
		dies []int
	}{
		{"at once", []int{0, 0, 0, 0}},
		{"behind the whole", []int{1, 1, 1}},
		{"behind parts", []int{0, 0, 3, 2, 1, 5}},
		{"behind the whole and behind parts", []int{0, 1, 4, 1, 1, 0, 2}},
	} {
		t.Run(when.name, func(t *testing.T) {
			c := newCentre(t)
			var batches [][]byte
			for n := range uint64(600) {
				batches = append(batches, run(t, n+1, n+1))
			}
			c.stored(t, batches...)
			for _, left := range when.dies {
				if !c.diesBehind(t, left) {
					t.Fatal("it did not die")
				}
			}
			settled := 0
			c.store.refuses = func(*warehouse.Group) error { settled++; return nil }
			c.start()
			c.store.refuses = nil
			if most := cells * (1 + len(when.dies)); settled > most {
				t.Errorf("it settled %d parts, at most %d are meant", settled, most)
			}
			if c.versions() != 600 {
				t.Errorf("%d rows of 600 versions", c.versions())
			}
		})
	}
}

// diesBehind starts an aggregator that is killed when a group, or so many parts of one,
// have been inserted, and it does not know that of the last.
func (c *centre) diesBehind(t *testing.T, left int) (died bool) {
	t.Helper()
	defer func() {
		c.store.refuses, c.store.settled = nil, nil
		if recover() != nil {
			died = true
			c.store.mu.TryLock()
			c.store.mu.Unlock()
		}
	}()
	c.store.settled = func() {
		if left--; left <= 0 {
			panic("killed")
		}
	}
	c.store.refuses = func(*warehouse.Group) error {
		if left == 0 {
			panic("killed")
		}
		return nil
	}
	i, err := New(Options{Warehouse: c.store, Watermarks: c.registry, Dir: c.dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := i.recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	return false
}

// TestCells: parts are made of parts, and of each other they have all or nothing.
func TestCells(t *testing.T) {
	for _, all := range []int{1, 2, 15, 16, 17, 300, 5000} {
		inside := func(a, b part) bool { return a.first >= b.first && a.end <= b.end }
		var seen []part
		for begin := 0; begin < all; {
			p := cell(part{end: all}, begin, max(all-1, 1))
			for size := p.end - p.first; ; size = (size + 1) / 2 {
				q := cell(part{end: all}, begin, size)
				if q.first != begin || q.end <= begin || q.end > all || q.end-q.first > size {
					t.Fatalf("of %d from %d, at most %d: %+v", all, begin, size, q)
				}
				for w := q.within; w != nil; w = w.within {
					if !inside(q, *w) {
						t.Fatalf("%+v is not within %+v", q, *w)
					}
				}
				seen = append(seen, q)
				if size == 1 {
					break
				}
			}
			begin = p.end
		}
		for _, a := range seen {
			for _, b := range seen {
				if apart := a.end <= b.first || b.end <= a.first; !apart && !inside(a, b) && !inside(b, a) {
					t.Fatalf("%+v and %+v overlap", a, b)
				}
			}
			if len(seen) > 2000 {
				break
			}
		}
	}
}

// dies starts an aggregator that dies when it inserts a record, and reports whether it
// did.
func (c *centre) dies(t *testing.T, seq uint64) (died bool) {
	t.Helper()
	c.store.refuses = func(g *warehouse.Group) error {
		for _, v := range g.Versions {
			if v.Seq == seq {
				panic("out of memory")
			}
		}
		return nil
	}
	defer func() {
		c.store.refuses = nil
		if recover() != nil {
			died = true
			c.store.mu.TryLock()
			c.store.mu.Unlock()
		}
	}()
	i, err := New(Options{Warehouse: c.store, Watermarks: c.registry, Dir: c.dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := i.recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	return false
}

// TestTheDiskIsFull: nothing is taken while the commit log cannot be written, it is
// said, and it goes on by itself.
func TestTheDiskIsFull(t *testing.T) {
	c := newCentre(t)
	c.start()
	in := c.open(agent, spoolID)
	defer in.Close()
	submit(t, in, run(t, 1, 1))
	waitFor(t, in, 1)
	away := c.dir + ".away"
	if err := os.Rename(c.dir, away); err != nil {
		t.Fatal(err)
	}
	submit(t, in, run(t, 2, 3))
	deadline := time.Now().Add(30 * time.Second)
	for c.ingest.Err() == nil {
		if time.Now().After(deadline) {
			t.Fatal("it says nothing")
		}
		time.Sleep(time.Millisecond)
	}
	if err := c.ingest.Err(); !strings.Contains(err.Error(), "commit log") {
		t.Error(err)
	}
	if durable(in) != 1 {
		t.Errorf("%d are durable", durable(in))
	}
	if err := os.Rename(away, c.dir); err != nil {
		t.Fatal(err)
	}
	waitFor(t, in, 3)
	if err := c.ingest.Err(); err != nil {
		t.Error(err)
	}
}
