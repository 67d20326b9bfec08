package transport

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-yamux/v5"
	"github.com/quic-go/quic-go"

	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// ends are the TLS configurations of an aggregator and an agent.
type ends struct {
	server, client *tls.Config
	agent          *x509.Certificate
}

func newEnds(t testing.TB) ends {
	t.Helper()
	ca, err := identity.MakeCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.IssueAggregator([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	key, err := identity.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	der, err := ca.IssueAgent(identity.Agent{Site: "west", ID: "00000000-0000-4000-8000-000000000001"}, request)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.Certificate())
	client := identity.AgentClient(pool, func() *tls.Certificate {
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	})
	client.NextProtos = []string{wire.ALPN}
	return ends{
		server: &tls.Config{
			MinVersion: tls.VersionTLS13, NextProtos: []string{wire.ALPN},
			ClientAuth: tls.RequireAnyClientCert, Certificates: []tls.Certificate{*cert},
		},
		client: client, agent: leaf,
	}
}

// both runs a test over both transports, each with a connection.
func both(t *testing.T, test func(t *testing.T, client, server Conn)) {
	t.Run("QUIC", func(t *testing.T) {
		e := newEnds(t)
		l, err := quic.ListenAddr("127.0.0.1:0", e.server, &quic.Config{MaxIncomingStreams: 1, MaxIncomingUniStreams: 8})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		client, err := DialQUIC(t.Context(), l.Addr().(*net.UDPAddr).AddrPort(), e.client)
		if err != nil {
			t.Fatal(err)
		}
		accepted, err := l.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		run(t, e, client, FromQUIC(accepted), QUIC, test)
	})
	t.Run("TCP", func(t *testing.T) {
		e := newEnds(t)
		client, server := pairTCP(t, e)
		run(t, e, client, server, TCP, test)
	})
}

func run(t *testing.T, e ends, client, server Conn, kind Kind, test func(t *testing.T, client, server Conn)) {
	if client.Kind() != kind || server.Kind() != kind {
		t.Errorf("the kinds are %s and %s", client.Kind(), server.Kind())
	}
	if got := server.PeerCertificates(); len(got) != 1 || !got[0].Equal(e.agent) {
		t.Errorf("the agent shows %v", got)
	}
	if len(client.PeerCertificates()) == 0 {
		t.Error("the aggregator shows no certificate")
	}
	test(t, client, server)
	client.Close(wire.CodeNone, "")
	server.Close(wire.CodeNone, "")
	client.Wait()
	server.Wait()
}

// pairTCP returns both sides of a connection over TCP.
func pairTCP(t *testing.T, e ends) (client, server Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan Conn, 1)
	go func() {
		defer close(accepted)
		raw, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		conn := tls.Server(raw, e.server)
		if err := conn.Handshake(); err != nil {
			t.Error(err)
			return
		}
		server, err := FromTCP(conn)
		if err != nil {
			t.Error(err)
			return
		}
		accepted <- server
	}()
	client, err = DialTCP(t.Context(), l.Addr().String(), nil, e.client)
	if err != nil {
		t.Fatal(err)
	}
	server, ok := <-accepted
	if !ok {
		t.FailNow()
	}
	return client, server
}

// control opens the control stream and says a word on it.
func control(t *testing.T, client, server Conn) (ours, theirs Stream) {
	t.Helper()
	ours, err := client.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ours.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if theirs, err = server.AcceptStream(t.Context()); err != nil {
		t.Fatal(err)
	}
	want(t, theirs, "hello")
	return ours, theirs
}

func want(t *testing.T, r io.Reader, text string) {
	t.Helper()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != text {
		t.Fatalf("read %q, %v; want %q", got, err, text)
	}
}

func TestStreams(t *testing.T) {
	both(t, func(t *testing.T, client, server Conn) {
		ours, theirs := control(t, client, server)
		if _, err := theirs.Write([]byte("welcome")); err != nil {
			t.Fatal(err)
		}
		want(t, ours, "welcome")

		// Several at once, each with more than a window.
		const streams, size = 4, 3 << 20
		var sums sync.Map
		var group sync.WaitGroup
		for n := range streams {
			group.Go(func() {
				data := make([]byte, size)
				rand.Read(data)
				data[0] = byte(n)
				sums.Store(byte(n), sha256.Sum256(data))
				w, err := client.OpenSendStream(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if n, err := w.Write(data); err != nil || n != size {
					t.Errorf("wrote %d, %v", n, err)
				}
			})
			group.Go(func() {
				r, err := server.AcceptReceiveStream(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				got := make([]byte, size)
				if _, err := io.ReadFull(r, got); err != nil {
					t.Error(err)
				}
				defer func() { sums.Store(got[0], sha256.Sum256(got) == load(&sums, got[0])) }()
			})
		}
		group.Wait()
		for n := range streams {
			if same, _ := sums.Load(byte(n)); same != true {
				t.Errorf("stream %d arrived with other bytes", n)
			}
		}
	})
}

func load(m *sync.Map, key byte) [sha256.Size]byte {
	sum, _ := m.Load(key)
	s, _ := sum.([sha256.Size]byte)
	return s
}

func TestStalledStreamHoldsUpNoOther(t *testing.T) {
	both(t, func(t *testing.T, client, server Conn) {
		ours, theirs := control(t, client, server)
		stalled, err := client.OpenSendStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		written := make(chan error, 1)
		go func() {
			_, err := stalled.Write(make([]byte, 64<<20)) // nobody reads it
			written <- err
		}()
		for range 100 {
			if _, err := ours.Write([]byte("beat")); err != nil {
				t.Fatal(err)
			}
			want(t, theirs, "beat")
		}
		client.Close(wire.CodeStopping, "enough")
		if err := <-written; err == nil {
			t.Error("what nobody takes was written")
		}
	})
}

// TestClose has one side end the connection while all that can wait is waiting on
// both sides.
func TestClose(t *testing.T) {
	for _, byServer := range []bool{false, true} {
		both(t, func(t *testing.T, client, server Conn) {
			ours, theirs := control(t, client, server)
			w, err := client.OpenSendStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			errs := make(map[string]chan error)
			wait := func(name string, do func() error) {
				c := make(chan error, 1)
				errs[name] = c
				go func() { c <- do() }()
			}
			if _, err := w.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			r, err := server.AcceptReceiveStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			want(t, r, "x")
			wait("client read", func() error { _, err := ours.Read(make([]byte, 1)); return err })
			wait("server read", func() error { _, err := theirs.Read(make([]byte, 1)); return err })
			wait("server accept", func() error { _, err := server.AcceptReceiveStream(context.Background()); return err })
			wait("client write", func() error { _, err := w.Write(make([]byte, 64<<20)); return err })

			closing, other := client, server
			if byServer {
				closing, other = server, client
			}
			text := strings.Repeat("because ", 100)
			closing.Close(wire.CodeReplaced, text)
			closing.Close(wire.CodeNone, "only the first counts")
			for name, c := range errs {
				var closed *CloseError
				if err := <-c; !errors.As(err, &closed) {
					t.Errorf("%s: %v", name, err)
				} else if closed.Code != wire.CodeReplaced || closed.Remote != (strings.HasPrefix(name, "client") == byServer) {
					t.Errorf("%s: %+v", name, closed)
				}
			}
			<-other.Done()
			var closed *CloseError
			if !errors.As(other.Cause(), &closed) || !closed.Remote || closed.Message != text[:500] {
				t.Errorf("the other side hears %v", other.Cause())
			}
			if !errors.As(closing.Cause(), &closed) || closed.Remote {
				t.Errorf("this side has %v", closing.Cause())
			}
			if _, err := closing.OpenStream(t.Context()); !errors.As(err, &closed) {
				t.Errorf("a stream on a closed connection: %v", err)
			}
			closing.Wait()
			other.Wait()
		})
	}
}

func TestDeadline(t *testing.T) {
	both(t, func(t *testing.T, client, server Conn) {
		ours, theirs := control(t, client, server)
		if err := theirs.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		_, err := theirs.Read(make([]byte, 1))
		var timeout interface{ Timeout() bool }
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("behind the deadline: %v", err)
		}
		// It can be had later again.
		if err := theirs.SetReadDeadline(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if _, err := ours.Write([]byte("late")); err != nil {
			t.Fatal(err)
		}
		want(t, theirs, "late")
		// And does not outlive the connection.
		server.Close(wire.CodeSilent, "silent")
		if _, err := theirs.Read(make([]byte, 1)); errors.As(err, &timeout) && timeout.Timeout() || err == nil {
			t.Errorf("on a closed connection: %v", err)
		}
	})
}

func TestAcceptWaitsForItsContext(t *testing.T) {
	both(t, func(t *testing.T, client, server Conn) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := server.AcceptStream(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("a stream: %v", err)
		}
		if _, err := server.AcceptReceiveStream(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("a receive stream: %v", err)
		}
		if server.Cause() != nil || client.Cause() != nil {
			t.Errorf("it ended: %v, %v", server.Cause(), client.Cause())
		}
	})
}

// rawTCP is a peer that does as it likes on a connection to an accepting side.
func rawTCP(t testing.TB) (net.Conn, Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	server, err := newTCP(conn, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		raw.Close()
		server.Close(wire.CodeNone, "")
		server.Wait()
	})
	return raw, server
}

// TestHostilePeers holds the accepting side of TCP against peers that keep to
// nothing. Each connection ends by itself and says why.
func TestHostilePeers(t *testing.T) {
	session := func(t *testing.T, raw net.Conn) *yamux.Session {
		config := yamux.DefaultConfig()
		config.LogOutput = io.Discard
		s, err := yamux.Client(raw, config, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	open := func(t *testing.T, s *yamux.Session, data []byte) {
		stream, err := s.OpenStream(t.Context())
		if err == nil {
			_, err = stream.Write(data)
		}
		if err != nil && !s.IsClosed() {
			t.Error(err)
		}
	}
	for name, attack := range map[string]func(t *testing.T, raw net.Conn){
		"HTTP":    func(t *testing.T, raw net.Conn) { io.WriteString(raw, "GET / HTTP/1.1\r\nHost: reeve\r\n\r\n") },
		"nothing": func(t *testing.T, raw net.Conn) { raw.Close() },
		"a huge frame": func(t *testing.T, raw net.Conn) {
			frame := []byte{0, 0, 0, 1, 0, 0, 0, 1} // data, SYN, stream 1
			raw.Write(binary.BigEndian.AppendUint32(frame, 1<<31))
		},
		"a kind that is unknown": func(t *testing.T, raw net.Conn) { open(t, session(t, raw), []byte{9}) },
		"a goodbye that is none": func(t *testing.T, raw net.Conn) {
			open(t, session(t, raw), []byte{kindGoodbye, 0, 0, 0, 2, 0xff, 0xff})
		},
		"a goodbye that is too long": func(t *testing.T, raw net.Conn) {
			open(t, session(t, raw), []byte{kindGoodbye, 0xff, 0, 0, 0})
		},
		"two control streams": func(t *testing.T, raw net.Conn) {
			s := session(t, raw)
			open(t, s, []byte{kindControl})
			open(t, s, []byte{kindControl})
		},
	} {
		t.Run(name, func(t *testing.T) {
			raw, server := rawTCP(t)
			attack(t, raw)
			select {
			case <-server.Done():
			case <-time.After(30 * time.Second):
				t.Fatal("the connection stays")
			}
			if err := server.Cause(); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("the cause is %v", err)
			}
			t.Log(server.Cause())
		})
	}
	t.Run("streams without end", func(t *testing.T) {
		raw, server := rawTCP(t)
		s := session(t, raw)
		for range 200 {
			stream, err := s.OpenStream(t.Context())
			if err != nil {
				break
			}
			if _, err := stream.Write([]byte{kindData, 1}); err != nil {
				break
			}
			if n := server.(*tcpConn).session.NumStreams(); n > openStreams {
				t.Fatalf("%d streams are open", n)
			}
		}
	})
}

func TestGoodbyeWords(t *testing.T) {
	var frame bytes.Buffer
	if err := wire.WriteMessage(&frame, &wirev1.Goodbye{Code: wire.CodeIdentity, Message: "gone"}); err != nil {
		t.Fatal(err)
	}
	var closed *CloseError
	if err := readGoodbye(&frame); !errors.As(err, &closed) ||
		*closed != (CloseError{Remote: true, Code: wire.CodeIdentity, Message: "gone"}) {
		t.Errorf("%v", err)
	}
}

func TestNobodyThere(t *testing.T) {
	e := newEnds(t)
	l, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}) // it never answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := DialQUIC(ctx, l.LocalAddr().(*net.UDPAddr).AddrPort(), e.client); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("QUIC: %v", err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0") // it takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := DialTCP(ctx, tcp.Addr().String(), nil, e.client); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("TCP: %v", err)
	}
}

// TestOldAggregator dials a TCP port behind which there is TLS, but no sessions.
func TestOldAggregator(t *testing.T) {
	for _, protocols := range [][]string{{"h2", "http/1.1"}, nil} {
		e := newEnds(t)
		e.server.NextProtos = protocols
		l, err := tls.Listen("tcp", "127.0.0.1:0", e.server)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			if conn, err := l.Accept(); err == nil {
				_ = conn.(*tls.Conn).Handshake()
				conn.Close()
			}
		}()
		if _, err := DialTCP(t.Context(), l.Addr().String(), nil, e.client); !errors.Is(err, ErrNotOffered) {
			t.Errorf("with %v: %v", protocols, err)
		}
	}
}

// relay forwards datagrams between one client and a server. It can be told to
// drop all, and to send from another address.
type relay struct {
	t       *testing.T
	front   *net.UDPConn
	server  *net.UDPAddr
	mu      sync.Mutex
	drop    bool
	back    *net.UDPConn
	client  netip.AddrPort
	running sync.WaitGroup
}

func newRelay(t *testing.T, server net.Addr) *relay {
	t.Helper()
	front, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{t: t, front: front, server: server.(*net.UDPAddr)}
	r.rebind()
	r.running.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := front.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			r.mu.Lock()
			r.client = from
			if !r.drop {
				r.back.WriteTo(buf[:n], r.server)
			}
			r.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		front.Close()
		r.back.Close()
		r.running.Wait()
	})
	return r
}

// rebind gives the client another address, as a router does whose table was
// cleared.
func (r *relay) rebind() {
	back, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	if r.back != nil {
		r.back.Close()
	}
	r.back = back
	r.mu.Unlock()
	r.running.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, err := back.Read(buf)
			if err != nil {
				return
			}
			r.mu.Lock()
			if !r.drop {
				r.front.WriteToUDPAddrPort(buf[:n], r.client)
			}
			r.mu.Unlock()
		}
	})
}

func throughRelay(t *testing.T, do func(r *relay, client, server Conn)) {
	e := newEnds(t)
	l, err := quic.ListenAddr("127.0.0.1:0", e.server, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := newRelay(t, l.Addr())
	client, err := DialQUIC(t.Context(), r.front.LocalAddr().(*net.UDPAddr).AddrPort(), e.client)
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	do(r, client, FromQUIC(accepted))
	client.Close(wire.CodeNone, "")
}

// TestRebinding changes the address that the aggregator sees, in the middle of a
// connection. It goes on.
func TestRebinding(t *testing.T) {
	throughRelay(t, func(r *relay, client, server Conn) {
		ours, theirs := control(t, client, server)
		before := server.RemoteAddr().String()
		for n := range 3 {
			r.rebind()
			text := fmt.Sprintf("after the change %d", n)
			if _, err := ours.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
			want(t, theirs, text)
			if _, err := theirs.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
			want(t, ours, text)
		}
		t.Logf("the aggregator saw %s, then %s", before, server.RemoteAddr())
	})
}

// TestUnanswered finds out that datagrams do not get through any more.
func TestUnanswered(t *testing.T) {
	throughRelay(t, func(r *relay, client, server Conn) {
		ours, theirs := control(t, client, server)
		eventually := func(what string, ok func() bool) {
			t.Helper()
			for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal(what)
				}
			}
		}
		eventually("the first word stays unanswered", func() bool { return client.Unanswered() == 0 })
		// Nobody looks between this and what follows: what was answered must not hide
		// what is not.
		if _, err := ours.Write([]byte("hello?")); err != nil {
			t.Fatal(err)
		}
		want(t, theirs, "hello?")
		if _, err := theirs.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		want(t, ours, "hello")
		r.mu.Lock()
		r.drop = true
		r.mu.Unlock()
		if _, err := ours.Write([]byte("anybody?")); err != nil {
			t.Fatal(err)
		}
		eventually("it is taken for answered", func() bool { return client.Unanswered() > 500*time.Millisecond })
		r.mu.Lock()
		r.drop = false
		r.mu.Unlock()
		want(t, theirs, "anybody?") // it is sent again
		eventually("it stays unanswered", func() bool { return client.Unanswered() == 0 })
	})
}

// FuzzTCPPeer gives the accepting side bytes of any kind, below the streams and on
// one.
func FuzzTCPPeer(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), false)
	f.Add([]byte{0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, kindControl}, false)
	f.Add([]byte{kindGoodbye, 0, 0, 0, 6, 18, 4, 'g', 'o', 'n', 'e'}, true)
	f.Add([]byte{kindData, 0, 0, 0, 2, 8, 1}, true)
	f.Fuzz(func(t *testing.T, data []byte, stream bool) {
		near, far := net.Pipe()
		server, err := newTCP(near, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		go io.Copy(io.Discard, far)
		if stream {
			// Data, SYN, stream 1.
			data = append(binary.BigEndian.AppendUint32([]byte{0, 0, 0, 1, 0, 0, 0, 1}, uint32(len(data))), data...)
		}
		far.SetWriteDeadline(time.Now().Add(10 * time.Second))
		far.Write(data) // an error says that it has closed
		far.Close()
		<-server.Done()
		if server.Cause() == nil {
			t.Error("it ended without a cause")
		}
		server.Wait()
	})
}
