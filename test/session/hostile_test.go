package session_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	mrand "math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	"github.com/reeve-cloud/reeve/agent/enroll"
	"github.com/reeve-cloud/reeve/agent/spool"
	"github.com/reeve-cloud/reeve/agent/uplink"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/retry"
	"github.com/reeve-cloud/reeve/pkg/transport"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
	"github.com/reeve-cloud/reeve/test/centre"
)

var (
	hostileFor = flag.Duration("hostile-for", 8*time.Second,
		"how long TestBesideHostileAgents measures honest agents alone, and then beside hostile ones; from a minute on their delays are held "+
			"against each other")
	hostileAgents = flag.Int("hostile-honest", 50, "how many honest agents there are in TestBesideHostileAgents")
)

// moreMemory is how many bytes of heap the aggregator may take more than without
// hostile agents: what its queue may hold, decoded, with garbage.
const moreMemory = 1 << 30

// TestBesideHostileAgents: two enrolled agents, one of a site of its own and one of a site of
// honest ones, do to the aggregator what they can. It stays within its memory, everything
// honest arrives exactly, and the hostile ones are told and counted.
//
//	go test ./test/session -run BesideHostileAgents -hostile-for 10m -timeout 30m -v
func TestBesideHostileAgents(t *testing.T) {
	c := centre.New(t)
	const sites = 10
	var honest []*honestAgent
	for n := range *hostileAgents {
		honest = append(honest, newHonestAgent(t, c, fmt.Sprint("site", n%sites)))
	}
	alone := measure(t, honest, nil)

	var evil []*hostileAgent
	for _, site := range []string{"evil", "site0"} {
		evil = append(evil, &hostileAgent{c: c, id: join(t, c, site), told: make(map[string]int)})
	}
	beside := measure(t, honest, evil)

	t.Logf("alone: %v", alone)
	t.Logf("beside hostile agents: %v", beside)
	for _, e := range evil {
		t.Logf("%d sessions of a hostile agent, which was told %v", e.sessions, e.told)
		for _, want := range []string{"cannot be read", "protocol violation", "new spool"} {
			if !slices.ContainsFunc(e.heard(), func(s string) bool { return strings.Contains(s, want) }) {
				t.Errorf("a hostile agent was not told of %q", want)
			}
		}
	}
	if beside.heap > alone.heap+moreMemory {
		t.Errorf("the heap had %d MiB at most, %d MiB without hostile agents", beside.heap>>20, alone.heap>>20)
	}
	if *hostileFor >= time.Minute && beside.p99 > alone.p99*12/10 {
		t.Errorf("honest agents wait for %v, and for %v without hostile ones (99 of 100)", beside.p99, alone.p99)
	}
	// Everything that is honest is there, once.
	for _, h := range honest {
		var rows, versions uint64
		if err := c.Store.Conn().QueryRow(t.Context(), "SELECT count(), uniqExact(version) FROM asset_version WHERE agent_id = $1",
			h.agent).Scan(&rows, &versions); err != nil {
			t.Fatal(err)
		}
		if rows != h.sent || versions != h.sent {
			t.Errorf("%d rows, %d versions of %d that an honest agent sent", rows, versions, h.sent)
		}
	}
	// The hostile ones are counted: dead letters with their names.
	for _, e := range evil {
		var letters uint64
		if err := c.Store.Conn().QueryRow(t.Context(), "SELECT count() FROM dead_letter WHERE agent_id = $1",
			e.id.Agent.ID).Scan(&letters); err != nil {
			t.Fatal(err)
		}
		if letters == 0 {
			t.Error("there are no dead letters of a hostile agent")
		}
		if n := strings.Count(c.Log.String(), e.id.Agent.ID); n > 100+200*int(hostileFor.Minutes()+1)+4*e.sessions {
			t.Errorf("the log has %d lines of one agent", n)
		}
	}
	if n := warehousetest.Rows(t, c.Store, "dead_letter"); n > 2*(1_000+64)+int(hostileFor.Seconds()) {
		t.Errorf("%d dead letters", n)
	}
}

func join(t *testing.T, c *centre.Centre, site string) *enroll.Identity {
	t.Helper()
	for {
		id, err := enroll.Join(t.Context(), t.TempDir(), c.Token(site, 1, time.Hour), nil, "host", nil, slog.New(slog.DiscardHandler))
		if err == nil {
			return id
		}
		if !strings.Contains(err.Error(), "too many") {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond) // so many may join from one address
	}
}

// honestAgent observes something now and then.
type honestAgent struct {
	agent string
	spool *spool.Spool
	clock *hlc.Clock
	sent  uint64
}

func newHonestAgent(t *testing.T, c *centre.Centre, site string) *honestAgent {
	t.Helper()
	id := join(t, c, site)
	sp, err := spool.Open(spool.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	h := &honestAgent{agent: id.Agent.ID, spool: sp, clock: hlc.New(0)}
	link := &uplink.Uplink{Spool: sp, Clock: h.clock, Addresses: []string{c.Address}, TLS: id.ClientTLS, Hostname: "host",
		Logger: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := link.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
		if err := sp.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// observe records something and returns how long it took until it was acknowledged.
func (h *honestAgent) observe(ctx context.Context) (time.Duration, error) {
	h.sent++
	r := &wirev1.Record{Body: &wirev1.Record_Asset{Asset: &wirev1.AssetVersion{
		Type: "fake.test.Thing", Uid: fmt.Sprint(h.agent, h.sent%5), Version: uint64(h.clock.Next()),
		Operation: wirev1.Operation_OPERATION_UPDATED,
		Scope:     "fake/s", Document: fmt.Appendf(nil, `{"n":%d,"text":%q}`, h.sent, strings.Repeat("x", mrand.IntN(4000))), Hash: make([]byte, 16),
	}}}
	began := time.Now()
	if err := h.spool.Append(ctx, assets, []*wirev1.Record{r}); err != nil {
		return 0, err
	}
	for h.spool.Stat()[0].Waiting > 0 {
		if err := retry.Sleep(ctx, 2*time.Millisecond); err != nil {
			return 0, err
		}
	}
	return time.Since(began), nil
}

// figures are what was measured.
type figures struct {
	count    int
	p50, p99 time.Duration
	heap     uint64
}

func (f figures) String() string {
	return fmt.Sprintf("%d records, p50 %v, p99 %v, heap at most %d MiB", f.count, f.p50.Round(time.Millisecond),
		f.p99.Round(time.Millisecond), f.heap>>20)
}

// measure has honest agents observe for a while, beside hostile ones, and waits until
// everything has arrived.
func measure(t *testing.T, honest []*honestAgent, evil []*hostileAgent) (f figures) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	time.AfterFunc(*hostileFor, func() {
		defer cancel()
		// Each evil is done once at least.
		for began := time.Now(); time.Since(began) < 3*time.Minute; time.Sleep(10 * time.Millisecond) {
			if !slices.ContainsFunc(evil, func(e *hostileAgent) bool { return e.done.Load() < int64(len(acts)) }) {
				return
			}
		}
	})
	var mu sync.Mutex
	var delays []time.Duration
	var all sync.WaitGroup
	for _, e := range evil {
		all.Go(func() { e.run(ctx) })
	}
	for _, h := range honest {
		all.Go(func() {
			for ctx.Err() == nil {
				took, err := h.observe(t.Context()) // what was begun is finished
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				delays = append(delays, took)
				mu.Unlock()
				_ = retry.Sleep(ctx, time.Duration(mrand.IntN(400))*time.Millisecond)
			}
		})
	}
	var heap atomic.Uint64
	sampled := make(chan struct{})
	go func() {
		defer close(sampled)
		for ctx.Err() == nil {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			heap.Store(max(heap.Load(), m.HeapInuse))
			_ = retry.Sleep(ctx, 100*time.Millisecond)
		}
	}()
	all.Wait()
	<-sampled
	slices.Sort(delays)
	if len(delays) == 0 {
		t.Fatal("nothing was measured")
	}
	return figures{count: len(delays), p50: delays[len(delays)/2], p99: delays[len(delays)*99/100], heap: heap.Load()}
}

// hostileAgent is enrolled, and speaks the wire.
type hostileAgent struct {
	c        *centre.Centre
	id       *enroll.Identity
	sessions int
	// done is how many evils have been done.
	done atomic.Int64
	mu   sync.Mutex
	told map[string]int
}

func (e *hostileAgent) hear(text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if text = text[:min(len(text), 90)]; len(e.told) < 50 {
		e.told[text]++
	}
}

func (e *hostileAgent) heard() (list []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for text := range e.told {
		list = append(list, text)
	}
	return list
}

// run does one evil after the other, each in a session of its own.
func (e *hostileAgent) run(ctx context.Context) {
	home := strings.Repeat("ab", 16)
	for n := 0; ctx.Err() == nil; n++ {
		act := acts[n%len(acts)]
		spoolID := home
		if act.newSpool {
			var id [16]byte
			_, _ = rand.Read(id[:])
			spoolID = hex.EncodeToString(id[:])
		}
		e.session(ctx, spoolID, act)
		e.done.Store(int64(n + 1))
	}
}

// evilSession is one session of a hostile agent.
type evilSession struct {
	conn    transport.Conn
	control transport.Stream
	spool   string
	writing sync.Mutex
	durable map[wirev1.Class]uint64
}

func (e *hostileAgent) session(ctx context.Context, spoolID string, act act) {
	ctx, cancel := context.WithTimeout(ctx, act.lasts)
	defer cancel()
	dialling, cancelDial := context.WithTimeout(ctx, 3*time.Second)
	defer cancelDial()
	config := e.id.ClientTLS()
	config.NextProtos = []string{wire.ALPN}
	conn, err := transport.DialQUIC(dialling, netip.MustParseAddrPort(e.c.Address), config)
	if err != nil {
		_ = retry.Sleep(ctx, 100*time.Millisecond)
		return
	}
	e.sessions++
	s := &evilSession{conn: conn, spool: spoolID, durable: make(map[wirev1.Class]uint64)}
	defer conn.Wait()
	defer conn.Close(wire.CodeNone, "")
	stop := context.AfterFunc(ctx, func() { conn.Close(wire.CodeNone, "") })
	defer stop()
	if s.control, err = conn.OpenStream(ctx); err != nil {
		return
	}
	if err := s.say(&wirev1.Control{Message: &wirev1.Control_Hello{Hello: &wirev1.Hello{
		Protocol: wire.MaxProtocol, SpoolId: spoolID, InstanceId: "evil", Hostname: "evil", Time: time.Now().UnixMilli(),
	}}}); err != nil {
		return
	}
	r := bufio.NewReader(s.control)
	var welcome wirev1.Control
	if err := wire.ReadMessage(r, wire.MaxControlFrame, &welcome); err != nil || welcome.GetWelcome() == nil {
		<-conn.Done()
		e.hear(fmt.Sprint(conn.Cause()))
		_ = retry.Sleep(ctx, 20*time.Millisecond)
		return
	}
	for _, w := range welcome.GetWelcome().GetDurable() {
		s.durable[w.GetClass()] = w.GetSeq()
	}
	var listening sync.WaitGroup
	defer listening.Wait()
	listening.Go(func() {
		for {
			var m wirev1.Control
			if err := wire.ReadMessage(r, wire.MaxControlFrame, &m); err != nil {
				return
			}
			if n := m.GetNotice(); n != nil {
				e.hear(n.GetMessage())
			}
		}
	})
	listening.Go(func() {
		for s.say(&wirev1.Control{Message: &wirev1.Control_Heartbeat{Heartbeat: &wirev1.Heartbeat{Clock: 1 << 62}}}) == nil {
			if retry.Sleep(ctx, time.Second) != nil {
				return
			}
		}
	})
	act.do(ctx, s)
	select {
	case <-conn.Done():
		if ctx.Err() == nil {
			e.hear(fmt.Sprint(conn.Cause()))
		}
	case <-ctx.Done():
	}
}

func (s *evilSession) say(c *wirev1.Control) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return wire.WriteMessage(s.control, c)
}

// stream opens a data stream of a class.
func (s *evilSession) stream(ctx context.Context, class wirev1.Class) (io.Writer, error) {
	w, err := s.conn.OpenSendStream(ctx)
	if err != nil {
		return nil, err
	}
	return w, wire.WriteMessage(w, &wirev1.DataHeader{Class: class})
}

// send sends batches until the session ends.
func (s *evilSession) send(ctx context.Context, class wirev1.Class, batch func(first uint64) *wirev1.Batch) {
	w, err := s.stream(ctx, class)
	for first := s.durable[class] + 1; err == nil && ctx.Err() == nil; {
		b := batch(first)
		b.SpoolId, b.Class, b.FirstSeq = s.spool, class, first
		var data []byte
		if data, err = proto.Marshal(b); err == nil {
			first += uint64(b.GetCount())
			err = wire.WriteFrame(w, data)
		}
	}
}

// act is one kind of evil.
type act struct {
	name     string
	newSpool bool
	lasts    time.Duration
	do       func(context.Context, *evilSession)
}

var best = sync.OnceValue(func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		panic(err)
	}
	return e
})

// of is a batch of raw records, that says what it likes.
func of(raw []byte, count, rawBytes int) *wirev1.Batch {
	return &wirev1.Batch{Count: uint32(count), RawBytes: uint32(rawBytes), Records: best().EncodeAll(raw, nil)}
}

func honestly(records ...*wirev1.Record) *wirev1.Batch {
	raw, err := proto.Marshal(&wirev1.Records{Records: records})
	if err != nil {
		panic(err)
	}
	return of(raw, len(records), len(raw))
}

// The bombs: a few kilobytes that are 64 MiB of empty records, and of documents.
var (
	emptyRecords = sync.OnceValue(func() []byte { return bytes.Repeat([]byte{0x0a, 0x00}, wire.MaxRecords/2) })
	packedEmpty  = sync.OnceValue(func() []byte { return best().EncodeAll(emptyRecords(), nil) })
	documents    = sync.OnceValue(func() *wirev1.Batch {
		doc := append(append([]byte(`{"a":"`), bytes.Repeat([]byte("x"), 4<<20-100)...), `"}`...)
		var rs []*wirev1.Record
		for n := range 14 {
			rs = append(rs, thing(n, "t", "evil/s", 1<<40, doc))
		}
		return honestly(rs...)
	})
)

func thing(n int, typ, scope string, version uint64, doc []byte) *wirev1.Record {
	return &wirev1.Record{Body: &wirev1.Record_Asset{Asset: &wirev1.AssetVersion{
		Type: typ, Uid: fmt.Sprint("evil", n), Scope: scope, Version: version, Operation: 1, Hash: make([]byte, 16), Document: doc,
	}}}
}

func copied(b *wirev1.Batch) *wirev1.Batch { return proto.CloneOf(b) }

var acts = []act{
	{"bombs without a size", false, time.Second, func(ctx context.Context, s *evilSession) {
		s.send(ctx, assets, func(uint64) *wirev1.Batch {
			return &wirev1.Batch{Count: wire.MaxCount, RawBytes: 0, Records: packedEmpty()}
		})
	}},
	{"bombs", false, time.Second, func(ctx context.Context, s *evilSession) {
		s.send(ctx, assets, func(uint64) *wirev1.Batch {
			return &wirev1.Batch{Count: wire.MaxCount, RawBytes: wire.MaxRecords, Records: packedEmpty()}
		})
	}},
	{"documents that lie", false, time.Second, func(ctx context.Context, s *evilSession) {
		s.send(ctx, assets, func(uint64) *wirev1.Batch {
			b := copied(documents())
			b.RawBytes = 1
			return b
		})
	}},
	{"large documents", false, time.Second, func(ctx context.Context, s *evilSession) {
		s.send(ctx, assets, func(uint64) *wirev1.Batch { return copied(documents()) })
	}},
	{"counts that lie", false, time.Second, func(ctx context.Context, s *evilSession) {
		s.send(ctx, assets, func(uint64) *wirev1.Batch {
			b := honestly(thing(1, "t", "evil/s", 1<<40, []byte("{}")))
			b.Count = 1 + mrand.Uint32N(wire.MaxCount)
			return b
		})
	}},
	{"a count beyond the limit", false, time.Second, func(ctx context.Context, s *evilSession) {
		s.send(ctx, assets, func(uint64) *wirev1.Batch {
			return &wirev1.Batch{Count: 1 << 31, RawBytes: 100, Records: packedEmpty()}
		})
	}},
	{"garbage", false, time.Second, func(ctx context.Context, s *evilSession) {
		if w, err := s.stream(ctx, assets); err == nil {
			_ = wire.WriteFrame(w, bytes.Repeat([]byte{0xff}, 1000))
		}
	}},
	{"numbers taken before", false, time.Second, func(ctx context.Context, s *evilSession) {
		s.durable[assets] = 0
		s.send(ctx, assets, func(uint64) *wirev1.Batch {
			return honestly(slices.Repeat([]*wirev1.Record{thing(1, "t", "evil/s", 1<<40, []byte("{}"))}, 50_000)...)
		})
	}},
	{"stalls on every lane", false, 2 * time.Second, func(ctx context.Context, s *evilSession) {
		for n := range 8 {
			w, err := s.stream(ctx, []wirev1.Class{assets, wirev1.Class_CLASS_EVENTS, wirev1.Class_CLASS_CHARGES}[n%3])
			if err != nil {
				return
			}
			var head [4]byte
			binary.BigEndian.PutUint32(head[:], wire.MaxBatch)
			if _, err := w.Write(append(head[:], make([]byte, 1<<20)...)); err != nil {
				return
			}
		}
	}},
	{"stamps of the future", false, time.Second, func(ctx context.Context, s *evilSession) {
		n := 0
		s.send(ctx, assets, func(uint64) *wirev1.Batch {
			n++
			return honestly(thing(n%100, "t", "evil/s", uint64(7_200_000_000_000)<<16+uint64(n), []byte("{}")))
		})
	}},
	{"scopes and types", false, time.Second, func(ctx context.Context, s *evilSession) {
		s.send(ctx, assets, func(first uint64) *wirev1.Batch {
			var rs []*wirev1.Record
			for n := range 3000 {
				name := fmt.Sprint(first, ".", n)
				rs = append(rs, thing(n, "t"+name, "evil/"+name, 1<<40, []byte("{}")))
			}
			return honestly(rs...)
		})
	}},
	{"events of many types", false, time.Second, func(ctx context.Context, s *evilSession) {
		s.send(ctx, wirev1.Class_CLASS_EVENTS, func(first uint64) *wirev1.Batch {
			var rs []*wirev1.Record
			for n := range 3000 {
				name := fmt.Sprint(first, ".", n)
				rs = append(rs, &wirev1.Record{Body: &wirev1.Record_Event{Event: &wirev1.Event{Id: name, Type: "evil" + name, Scope: "evil/s"}}})
			}
			return honestly(rs...)
		})
	}},
	{"dead letters", false, time.Second, func(ctx context.Context, s *evilSession) {
		s.send(ctx, assets, func(uint64) *wirev1.Batch { return honestly(make([]*wirev1.Record, 1000)...) })
	}},
	{"paths", false, time.Second, func(ctx context.Context, s *evilSession) {
		doc := []byte(`{"` + strings.Repeat("k", 1<<20) + `":[` + strings.Repeat(`{"a":0},`, 100_000) + `0]}`)
		s.send(ctx, assets, func(uint64) *wirev1.Batch { return honestly(thing(1, "t", "evil/s", 1<<40, doc)) })
	}},
	{"digests", false, time.Second, func(ctx context.Context, s *evilSession) {
		for ctx.Err() == nil {
			d := &wirev1.Digest{AsOf: 1 << 62, More: true}
			for n := range 500 {
				d.Scopes = append(d.Scopes, &wirev1.ScopeDigest{Scope: fmt.Sprint("evil/", mrand.Int(), n), Type: "t", Assets: 1})
			}
			if s.say(&wirev1.Control{Message: &wirev1.Control_Digest{Digest: d}}) != nil {
				return
			}
		}
	}},
	{"spools", true, 200 * time.Millisecond, func(ctx context.Context, s *evilSession) {
		s.send(ctx, assets, func(uint64) *wirev1.Batch { return honestly(thing(1, "t", "evil/s", 1<<40, []byte("{}"))) })
	}},
}

func init() {
	// New spools, again and again: each takes a session.
	for range 40 {
		acts = append(acts, act{"spools", true, 100 * time.Millisecond, acts[len(acts)-1].do})
	}
}
