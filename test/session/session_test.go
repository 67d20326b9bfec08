// Package session_test holds an agent's uplink and enrollment against a real
// gateway, API, ingest and warehouse in one process, where faults can be put
// between them that real programs would not make.
package session_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mrand "math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/agent/enroll"
	"github.com/reeve-cloud/reeve/agent/spool"
	"github.com/reeve-cloud/reeve/agent/uplink"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/transport"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
	"github.com/reeve-cloud/reeve/test/centre"
)

const assets = wirev1.Class_CLASS_ASSETS

// edge is an agent's spool and uplink.
type edge struct {
	t     *testing.T
	c     *centre.Centre
	spool *spool.Spool
	link  *uplink.Uplink
	id    *enroll.Identity
	log   *centre.Log
	sent  int
	// stop ends the uplink, close the spool.
	stop  func()
	close func() error
}

func newEdge(t *testing.T, c *centre.Centre) *edge {
	t.Helper()
	return newEdgeWith(t, c, nil)
}

// newEdgeWith starts an agent with other settings. The change may be nil.
func newEdgeWith(t *testing.T, c *centre.Centre, change func(*uplink.Uplink)) *edge {
	t.Helper()
	return startEdge(t, c, c.Join(t.TempDir()), t.TempDir(), change)
}

// startEdge starts an uplink with an identity and a spool directory. The change
// may be nil.
func startEdge(t *testing.T, c *centre.Centre, id *enroll.Identity, spoolDir string, change func(*uplink.Uplink)) *edge {
	t.Helper()
	sp, err := spool.Open(spool.Options{Dir: spoolDir})
	if err != nil {
		t.Fatal(err)
	}
	log := &centre.Log{}
	e := &edge{t: t, c: c, spool: sp, close: sync.OnceValue(sp.Close), id: id, log: log, link: &uplink.Uplink{
		Spool: sp, Clock: hlc.New(0), Addresses: []string{c.Address}, TLS: id.ClientTLS, Hostname: "host",
		Logger: slog.New(slog.NewTextHandler(log, nil)),
	}}
	if change != nil {
		change(e.link)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := e.link.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	e.stop = func() {
		cancel()
		wg.Wait()
	}
	t.Cleanup(func() {
		e.stop()
		if err := e.close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func (e *edge) observe(n int) {
	e.t.Helper()
	for range n {
		e.sent++
		r := &wirev1.Record{Body: &wirev1.Record_Asset{Asset: &wirev1.AssetVersion{
			Type: "fake.test.Thing", Uid: fmt.Sprint("u", e.sent%5), Version: uint64(e.link.Clock.Next()),
			Operation: wirev1.Operation_OPERATION_UPDATED,
			Scope:     "fake/s", Document: fmt.Appendf(nil, `{"n":%d}`, e.sent), Hash: make([]byte, 16),
		}}}
		if err := e.spool.Append(e.t.Context(), assets, []*wirev1.Record{r}); err != nil {
			e.t.Fatal(err)
		}
	}
}

// arrived waits until everything is acknowledged, and counts the rows.
func (e *edge) arrived(rows int) {
	e.t.Helper()
	centre.WaitFor(e.t, "everything acknowledged", func() bool { return e.spool.Stat()[0].Waiting == 0 })
	if got := warehousetest.Rows(e.t, e.c.Store, "asset_version"); got != rows {
		e.t.Fatalf("%d rows, want %d", got, rows)
	}
}

func TestShipAndReconnect(t *testing.T) {
	c := centre.New(t)
	e := newEdge(t, c)
	e.observe(20)
	e.arrived(20)
	for range 3 {
		c.Stop()
		e.observe(10)
		c.Start()
		e.observe(10)
		e.arrived(e.sent)
	}
	centre.WaitFor(t, "the agent to count as connected", func() bool {
		for _, l := range c.Registry.AllLiveness() {
			return l.Connected
		}
		return false
	})
}

// TestNoBacklogIsLeft: an agent whose records have all arrived is not remembered with
// some that wait, also when it stops before it would have said so in its own time.
func TestNoBacklogIsLeft(t *testing.T) {
	c := centre.New(t)
	e := newEdge(t, c)
	for range 3 {
		e.observe(200)
		e.arrived(e.sent)
		centre.WaitFor(t, "the centre to know that nothing waits", func() bool {
			for _, l := range c.Registry.AllLiveness() {
				return l.BacklogRecords == 0
			}
			return false
		})
	}
}

func TestRefusedEnrollment(t *testing.T) {
	c := centre.New(t)
	other, err := identity.MakeCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	usedUp, joined := c.Token("west", 1, time.Hour), t.TempDir()
	if _, err := enroll.Join(t.Context(), joined, usedUp, nil, "first", nil, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	expired := c.Token("west", 1, time.Millisecond)
	time.Sleep(5 * time.Millisecond)
	wrongSecret := c.Token("west", 1, time.Hour)
	wrongSecret.Secret = "x"
	wrongCA := c.Token("west", 1, time.Hour)
	wrongCA.CA = other.Pin().String()
	for name, test := range map[string]struct {
		token identity.JoinToken
		want  error
	}{
		"used up": {usedUp, enroll.ErrRefused}, "expired": {expired, enroll.ErrRefused},
		"wrong secret": {wrongSecret, enroll.ErrRefused}, "wrong CA": {wrongCA, identity.ErrWrongCA},
	} {
		dir := t.TempDir()
		asked := enroll.Check(t.Context(), dir, c.Address, test.token, nil)
		if !errors.Is(asked, test.want) {
			t.Errorf("%s: asked beforehand: %v", name, asked)
		}
		if _, err := enroll.Join(t.Context(), dir, test.token, nil, "h", nil, slog.New(slog.DiscardHandler)); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), test.token.Secret) && len(test.token.Secret) > 1 {
			t.Errorf("%s: the secret is in the error: %v", name, err)
		}
		if _, err := enroll.Load(dir); !errors.Is(err, enroll.ErrNotEnrolled) {
			t.Errorf("%s: an identity was left behind: %v", name, err)
		}
	}
	good := c.Token("west", 1, time.Hour)
	for range 3 {
		if err := enroll.Check(t.Context(), t.TempDir(), c.Address, good, nil); err != nil {
			t.Errorf("a token that is not used up by it: %v", err)
		}
	}
	if err := enroll.Check(t.Context(), joined, c.Address, usedUp, nil); err != nil {
		t.Errorf("the agent that used it up: %v", err)
	}
	e := newEdge(t, c)
	e.observe(3)
	e.arrived(3)
}

// TestJoinElsewhere joins where the first address is that of another aggregator.
func TestJoinElsewhere(t *testing.T) {
	c, other := centre.New(t), centre.New(t)
	token := c.Token("west", 1, time.Hour)
	dir := t.TempDir()
	id, err := enroll.Join(t.Context(), dir, token, []string{other.Address, c.Address}, "h", nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := id.Renew(t.Context(), []string{other.Address, c.Address}); err != nil {
		t.Errorf("renewing there: %v", err)
	}
	if _, err := enroll.Join(t.Context(), t.TempDir(), token, []string{other.Address, other.Address}, "h", nil,
		slog.New(slog.DiscardHandler)); !errors.Is(err, identity.ErrWrongCA) {
		t.Errorf("where all are others: %v", err)
	}
}

func TestForeignCertificate(t *testing.T) {
	c, other := centre.New(t), centre.New(t)
	foreign := other.Join(t.TempDir())
	config := foreign.ClientTLS()
	// It would refuse this centre itself, which is not what is to be tested.
	config.VerifyConnection = nil
	_, err := uplink.Probe(t.Context(), c.Address, nil, config)
	if err == nil {
		t.Fatal("a certificate of another CA opened a session")
	}
	if text := uplink.Explain(err).Error(); !strings.Contains(text, "does not accept this agent's certificate") {
		t.Errorf("the agent says: %s", text)
	}
	c.Logged("whose certificate is not one of this aggregator's agents")
	over := dial(t, transport.TCP, c, config)
	<-over.Done()
	if text := uplink.Explain(over.Cause()).Error(); !strings.Contains(text, "does not accept this agent's certificate") {
		t.Errorf("over TCP the agent says: %s", text)
	}
	// Nor does a foreign aggregator get anything of ours.
	mine := c.Join(t.TempDir())
	if _, err := uplink.Probe(t.Context(), other.Address, nil, mine.ClientTLS()); !errors.Is(err, identity.ErrWrongCA) {
		t.Errorf("a foreign aggregator: %v", err)
	}
}

// kinds are the transports that the tests of the protocol run over.
var kinds = []transport.Kind{transport.QUIC, transport.TCP}

// dial connects over a transport and leaves the rest to the test.
func dial(t *testing.T, kind transport.Kind, c *centre.Centre, config *tls.Config) transport.Conn {
	t.Helper()
	config.NextProtos = []string{wire.ALPN}
	var conn transport.Conn
	var err error
	if kind == transport.QUIC {
		conn, err = transport.DialQUIC(t.Context(), netip.MustParseAddrPort(c.Address), config)
	} else {
		conn, err = transport.DialTCP(t.Context(), c.Address, nil, config)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close(wire.CodeNone, "")
		conn.Wait()
	})
	return conn
}

// raw connects as an enrolled agent.
func raw(t *testing.T, kind transport.Kind, c *centre.Centre) transport.Conn {
	t.Helper()
	return dial(t, kind, c, c.Join(t.TempDir()).ClientTLS())
}

func hello(t *testing.T, conn transport.Conn, h *wirev1.Hello) transport.Stream {
	t.Helper()
	s, err := conn.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := wire.WriteMessage(s, &wirev1.Control{Message: &wirev1.Control_Hello{Hello: h}}); err != nil {
		t.Fatal(err)
	}
	return s
}

var goodHello = &wirev1.Hello{Protocol: 1, SpoolId: "00112233445566778899aabbccddeeff"}

func TestHostileAgents(t *testing.T) {
	c := centre.New(t)
	e := newEdge(t, c)
	garbage := make([]byte, 1<<20)
	mrand.NewChaCha8([32]byte{1}).Read(garbage)
	stream := func(conn transport.Conn) io.Writer {
		s, err := conn.OpenSendStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for name, attack := range map[string]func(transport.Conn){
		"garbage for a hello": func(conn transport.Conn) {
			s, err := conn.OpenStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			s.Write(garbage)
		},
		"a huge frame": func(conn transport.Conn) {
			s, err := conn.OpenStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			s.Write(binary.BigEndian.AppendUint32(nil, 1<<31))
		},
		"no hello first": func(conn transport.Conn) {
			s, err := conn.OpenStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := wire.WriteMessage(s, &wirev1.Control{Message: &wirev1.Control_Ack{Ack: &wirev1.Ack{}}}); err != nil {
				t.Fatal(err)
			}
		},
		"an old protocol":  func(conn transport.Conn) { hello(t, conn, &wirev1.Hello{SpoolId: goodHello.SpoolId}) },
		"a wrong spool id": func(conn transport.Conn) { hello(t, conn, &wirev1.Hello{Protocol: 1, SpoolId: "../../etc/passwd"}) },
		"garbage for data": func(conn transport.Conn) { hello(t, conn, goodHello); stream(conn).Write(garbage) },
		"garbage for batch": func(conn transport.Conn) {
			hello(t, conn, goodHello)
			s := stream(conn)
			if err := wire.WriteMessage(s, &wirev1.DataHeader{Class: assets}); err != nil {
				t.Fatal(err)
			}
			if err := wire.WriteFrame(s, garbage); err != nil {
				t.Fatal(err)
			}
		},
		"an unknown class": func(conn transport.Conn) {
			hello(t, conn, goodHello)
			if err := wire.WriteMessage(stream(conn), &wirev1.DataHeader{Class: 77}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		for _, kind := range kinds {
			conn := raw(t, kind, c)
			attack(conn)
			select {
			case <-conn.Done():
			case <-time.After(30 * time.Second):
				t.Fatalf("%s over %s: the connection stays", name, kind)
			}
			var closed *transport.CloseError
			if err := conn.Cause(); !errors.As(err, &closed) || !closed.Remote || closed.Code == wire.CodeNone || closed.Message == "" {
				t.Errorf("%s over %s: ended with %v, which says nothing", name, kind, err)
			}
			e.observe(1)
			e.arrived(e.sent)
		}
	}
}

func TestNewerSessionTakesOver(t *testing.T) {
	c := centre.New(t)
	id := c.Join(t.TempDir())
	open := func(kind transport.Kind) transport.Conn {
		conn := dial(t, kind, c, id.ClientTLS())
		s := hello(t, conn, goodHello)
		var w wirev1.Control
		if err := wire.ReadMessage(bufio.NewReader(s), wire.MaxControlFrame, &w); err != nil || w.GetWelcome() == nil {
			t.Fatalf("%v, %v", &w, err)
		}
		return conn
	}
	older := open(transport.QUIC)
	for _, kind := range []transport.Kind{transport.TCP, transport.TCP, transport.QUIC, transport.QUIC} {
		newer := open(kind)
		<-older.Done()
		var closed *transport.CloseError
		if err := older.Cause(); !errors.As(err, &closed) || !closed.Remote || closed.Code != wire.CodeReplaced {
			t.Fatalf("the older session ended with %v", err)
		}
		if l := c.Registry.Liveness(id.Agent.ID); !l.Connected || l.Transport != string(kind) {
			t.Fatalf("after a newer session over %s the agent counts as %+v", kind, l)
		}
		older = newer
	}
}

func TestGarbageDatagrams(t *testing.T) {
	c := centre.New(t)
	e := newEdge(t, c)
	conn, err := net.Dial("udp", c.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	source := mrand.NewChaCha8([32]byte{2})
	for range 1000 {
		data := make([]byte, 1100)
		source.Read(data)
		conn.Write(data)
	}
	c.Logged("dropped datagrams that are not QUIC")
	c.Logged("dropped datagrams that look like QUIC and are not")
	e.observe(5)
	e.arrived(5)
	if n := strings.Count(c.Log.String(), "dropped datagrams"); n > 10 {
		t.Errorf("%d log lines for one flood", n)
	}
}
