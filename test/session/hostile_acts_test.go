package session_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	"github.com/reeve-cloud/reeve/agent/enroll"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	"github.com/reeve-cloud/reeve/pkg/retry"
	"github.com/reeve-cloud/reeve/pkg/transport"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// hostileVariable, when it is set, makes the test binary hostile agents instead of the
// tests. They have a process of their own, of the lowest priority: what they take of
// this machine, honest agents would not feel if they were elsewhere.
const hostileVariable = "REEVE_TEST_HOSTILE"

func TestMain(m *testing.M) {
	if orders := os.Getenv(hostileVariable); orders != "" {
		if err := beHostile(orders); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	warehousetest.Main(m)
}

// hostileOrders say which agents the hostile process is, and of which aggregator.
type hostileOrders struct {
	Address string
	// Dirs have an identity each.
	Dirs []string
	// Costly is the one of them whose agent does only what is costly though it is in
	// order: the others soon have to wait for what is refused of them.
	Costly string
	// Longer is how many times as long each thing is that it does.
	Longer int
	// Heard are what each of the others must be told before it ends.
	Heard []string
}

// hostileReport is what a hostile agent says of itself at its end.
type hostileReport struct {
	Sessions int
	// Sent are the bytes of frames of data that it could send.
	Sent int64
	Told []string
}

// beHostile is the hostile process. It goes on until its input ends, and each agent
// has done each evil once and was told of it: on a busy machine a session may be too
// short for that.
func beHostile(orders string) error {
	var o hostileOrders
	if err := json.Unmarshal([]byte(orders), &o); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	agents := make([]*hostileAgent, len(o.Dirs))
	var all sync.WaitGroup
	for i, dir := range o.Dirs {
		id, err := enroll.Load(dir)
		if err != nil {
			return err
		}
		agents[i] = &hostileAgent{address: o.Address, id: id, told: make(map[string]int), acts: acts}
		if dir == o.Costly {
			agents[i].acts = slices.DeleteFunc(slices.Clone(acts), func(a act) bool { return !a.costly })
			for n := range agents[i].acts {
				agents[i].acts[n].lasts *= time.Duration(o.Longer)
			}
		}
		all.Go(func() { agents[i].run(ctx) })
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	for began := time.Now(); time.Since(began) < 3*time.Minute; time.Sleep(10 * time.Millisecond) {
		if !slices.ContainsFunc(agents, func(e *hostileAgent) bool {
			return e.done.Load() < int64(len(e.acts)) || len(e.acts) == len(acts) && !e.heardOf(o.Heard)
		}) {
			break
		}
	}
	cancel()
	all.Wait()
	reports := make([]hostileReport, len(agents))
	for i, e := range agents {
		reports[i] = hostileReport{Sessions: e.sessions, Sent: e.sent.Load(), Told: e.heard()}
	}
	return json.NewEncoder(os.Stdout).Encode(reports)
}

// hostileProcess is the hostile process, for the test.
type hostileProcess struct {
	t      *testing.T
	cmd    *exec.Cmd
	input  io.Closer
	output bytes.Buffer
}

func startHostile(t *testing.T, o hostileOrders) *hostileProcess {
	t.Helper()
	orders, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	p := &hostileProcess{t: t, cmd: exec.Command("nice", "-n", "19", os.Args[0])}
	p.cmd.Env = append(os.Environ(), hostileVariable+"="+string(orders))
	p.cmd.Stdout, p.cmd.Stderr = &p.output, t.Output()
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
	return p
}

// stop ends it, and returns what each agent says of itself.
func (p *hostileProcess) stop() (reports []hostileReport) {
	p.t.Helper()
	if err := p.input.Close(); err != nil {
		p.t.Error(err)
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Fatal("the hostile process: ", err)
	}
	if err := json.Unmarshal(p.output.Bytes(), &reports); err != nil {
		p.t.Fatal(err)
	}
	return reports
}

// hostileAgent is enrolled, and speaks the wire.
type hostileAgent struct {
	address  string
	id       *enroll.Identity
	acts     []act
	sessions int
	sent     atomic.Int64
	// done is how many evils have been done.
	done atomic.Int64
	mu   sync.Mutex
	told map[string]int
}

// numbers are what differs in texts that say the same.
var numbers = regexp.MustCompile(`[0-9]+`)

func (e *hostileAgent) hear(text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	text = numbers.ReplaceAllString(text, "N")
	if text = text[:min(len(text), 120)]; len(e.told) < 50 {
		e.told[text]++
	}
}

// heardOf reports whether it was told of all of that.
func (e *hostileAgent) heardOf(words []string) bool {
	told := e.heard()
	return !slices.ContainsFunc(words, func(w string) bool {
		return !slices.ContainsFunc(told, func(s string) bool { return strings.Contains(s, w) })
	})
}

func (e *hostileAgent) heard() (list []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for text, n := range e.told {
		list = append(list, fmt.Sprintf("%d times %s", n, text))
	}
	slices.Sort(list)
	return list
}

// run does one evil after the other, each in a session of its own.
func (e *hostileAgent) run(ctx context.Context) {
	home := strings.Repeat("ab", 16)
	for n := 0; ctx.Err() == nil; n++ {
		act := e.acts[n%len(e.acts)]
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
	sent    *atomic.Int64
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
	conn, err := transport.DialQUIC(dialling, netip.MustParseAddrPort(e.address), config)
	if err != nil {
		_ = retry.Sleep(ctx, 100*time.Millisecond)
		return
	}
	e.sessions++
	s := &evilSession{conn: conn, spool: spoolID, sent: &e.sent, durable: make(map[wirev1.Class]uint64)}
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
			if err = wire.WriteFrame(w, data); err == nil {
				s.sent.Add(int64(len(data)))
			}
		}
	}
}

// act is one kind of evil.
type act struct {
	name string
	// newSpool says that it begins a spool, costly that what it sends is in order, or
	// would be if there were not so much of it.
	newSpool, costly bool
	lasts            time.Duration
	do               func(context.Context, *evilSession)
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
	// manyValues are records of many short values, which is what takes the most processor
	// time for its bytes.
	manyValues = sync.OnceValue(func() *wirev1.Batch {
		var rs []*wirev1.Record
		for n := range 300 {
			doc := []byte(`{`)
			for k := range 300 {
				doc = fmt.Appendf(doc, `"k%d":%d,`, k, k*n)
			}
			rs = append(rs, thing(n, "t", "evil/s", 1<<40, append(doc, `"last":0}`...)))
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
	{"bombs without a size", false, false, time.Second, func(ctx context.Context, s *evilSession) {
		s.send(ctx, assets, func(uint64) *wirev1.Batch {
			return &wirev1.Batch{Count: wire.MaxCount, RawBytes: 0, Records: packedEmpty()}
		})
	}},
	{"bombs", false, false, time.Second, func(ctx context.Context, s *evilSession) {
		s.send(ctx, assets, func(uint64) *wirev1.Batch {
			return &wirev1.Batch{Count: wire.MaxCount, RawBytes: wire.MaxRecords, Records: packedEmpty()}
		})
	}},
	{"documents that lie", false, false, time.Second, func(ctx context.Context, s *evilSession) {
		s.send(ctx, assets, func(uint64) *wirev1.Batch {
			b := copied(documents())
			b.RawBytes = 1
			return b
		})
	}},
	{"large documents", false, true, time.Second, func(ctx context.Context, s *evilSession) {
		s.send(ctx, assets, func(uint64) *wirev1.Batch { return copied(documents()) })
	}},
	{"counts that lie", false, false, time.Second, func(ctx context.Context, s *evilSession) {
		s.send(ctx, assets, func(uint64) *wirev1.Batch {
			b := honestly(thing(1, "t", "evil/s", 1<<40, []byte("{}")))
			b.Count = 1 + mrand.Uint32N(wire.MaxCount)
			return b
		})
	}},
	{"a count beyond the limit", false, false, time.Second, func(ctx context.Context, s *evilSession) {
		s.send(ctx, assets, func(uint64) *wirev1.Batch {
			return &wirev1.Batch{Count: 1 << 31, RawBytes: 100, Records: packedEmpty()}
		})
	}},
	{"garbage", false, false, time.Second, func(ctx context.Context, s *evilSession) {
		if w, err := s.stream(ctx, assets); err == nil {
			_ = wire.WriteFrame(w, bytes.Repeat([]byte{0xff}, 1000))
		}
	}},
	{"numbers taken before", false, true, time.Second, func(ctx context.Context, s *evilSession) {
		s.durable[assets] = 0
		s.send(ctx, assets, func(uint64) *wirev1.Batch {
			return honestly(slices.Repeat([]*wirev1.Record{thing(1, "t", "evil/s", 1<<40, []byte("{}"))}, 50_000)...)
		})
	}},
	{"stalls on every lane", false, true, 2 * time.Second, func(ctx context.Context, s *evilSession) {
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
	{"stamps of the future", false, true, time.Second, func(ctx context.Context, s *evilSession) {
		n := 0
		s.send(ctx, assets, func(uint64) *wirev1.Batch {
			n++
			return honestly(thing(n%100, "t", "evil/s", uint64(7_200_000_000_000)<<16+uint64(n), []byte("{}")))
		})
	}},
	{"scopes and types", false, false, time.Second, func(ctx context.Context, s *evilSession) {
		s.send(ctx, assets, func(first uint64) *wirev1.Batch {
			var rs []*wirev1.Record
			for n := range 3000 {
				name := fmt.Sprint(first, ".", n)
				rs = append(rs, thing(n, "t"+name, "evil/"+name, 1<<40, []byte("{}")))
			}
			return honestly(rs...)
		})
	}},
	{"events of many types", false, false, time.Second, func(ctx context.Context, s *evilSession) {
		s.send(ctx, wirev1.Class_CLASS_EVENTS, func(first uint64) *wirev1.Batch {
			var rs []*wirev1.Record
			for n := range 3000 {
				name := fmt.Sprint(first, ".", n)
				rs = append(rs, &wirev1.Record{Body: &wirev1.Record_Event{Event: &wirev1.Event{Id: name, Type: "evil" + name, Scope: "evil/s"}}})
			}
			return honestly(rs...)
		})
	}},
	{"dead letters", false, false, time.Second, func(ctx context.Context, s *evilSession) {
		s.send(ctx, assets, func(uint64) *wirev1.Batch { return honestly(make([]*wirev1.Record, 1000)...) })
	}},
	{"paths", false, false, time.Second, func(ctx context.Context, s *evilSession) {
		doc := []byte(`{"` + strings.Repeat("k", 1<<20) + `":[` + strings.Repeat(`{"a":0},`, 100_000) + `0]}`)
		s.send(ctx, assets, func(uint64) *wirev1.Batch { return honestly(thing(1, "t", "evil/s", 1<<40, doc)) })
	}},
	{"digests", false, true, time.Second, func(ctx context.Context, s *evilSession) {
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
	{"many small batches", false, true, time.Second, func(ctx context.Context, s *evilSession) {
		one := honestly(thing(1, "t", "evil/s", 1<<40, []byte("{}")))
		s.send(ctx, assets, func(uint64) *wirev1.Batch { return copied(one) })
	}},
	{"many values", false, true, time.Second, func(ctx context.Context, s *evilSession) {
		s.send(ctx, assets, func(uint64) *wirev1.Batch { return copied(manyValues()) })
	}},
	{"spools", true, false, 200 * time.Millisecond, func(ctx context.Context, s *evilSession) {
		s.send(ctx, assets, func(uint64) *wirev1.Batch { return honestly(thing(1, "t", "evil/s", 1<<40, []byte("{}"))) })
	}},
}

func init() {
	// New spools, again and again: each takes a session.
	for range 40 {
		acts = append(acts, act{"spools", true, false, 100 * time.Millisecond, acts[len(acts)-1].do})
	}
}
