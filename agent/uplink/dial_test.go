package uplink

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/transport"
)

// stub is a connection that can only be closed.
type stub struct {
	transport.Conn
	kind   transport.Kind
	closed atomic.Bool
}

func (s *stub) Kind() transport.Kind { return s.kind }
func (s *stub) Close(uint64, string) { s.closed.Store(true) }
func (s *stub) Wait()                {}

func TestRace(t *testing.T) {
	failure := errors.New("broken")
	const never, atOnce = time.Hour, 0
	for name, test := range map[string]struct {
		ahead time.Duration
		// first and second are what the tries return; nil waits until it is cancelled.
		first, second any
		// want is the kind of the connection or the error; nil is any connection.
		want any
	}{
		"the first comes up":               {never, transport.QUIC, transport.TCP, transport.QUIC},
		"the first fails":                  {never, failure, transport.TCP, transport.TCP},
		"the first hangs":                  {atOnce, nil, transport.TCP, transport.TCP},
		"both fail":                        {never, failure, failure, failure},
		"TCP is tried first and fails":     {never, failure, transport.QUIC, transport.QUIC},
		"another CA answers first":         {never, identity.ErrWrongCA, transport.TCP, transport.TCP},
		"another CA answers over TCP":      {never, identity.ErrWrongCA, transport.QUIC, transport.QUIC},
		"another CA answers over both":     {never, identity.ErrWrongCA, identity.ErrWrongCA, identity.ErrWrongCA},
		"both come up, QUIC is tried last": {atOnce, transport.TCP, transport.QUIC, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var made []*stub
			var tries atomic.Int32
			try := func(what any) dialer {
				kind, ok := what.(transport.Kind)
				conn := &stub{kind: kind}
				if ok {
					made = append(made, conn)
				}
				return func(ctx context.Context) (transport.Conn, error) {
					tries.Add(1)
					defer tries.Add(-1)
					switch what := what.(type) {
					case error:
						return nil, what
					case transport.Kind:
						return conn, nil
					}
					<-ctx.Done()
					return nil, ctx.Err()
				}
			}
			conn, err := race(t.Context(), test.ahead, try(test.first), try(test.second))
			if n := tries.Load(); n != 0 {
				t.Errorf("%d tries are under way still", n)
			}
			switch want := test.want.(type) {
			case error:
				if !errors.Is(err, want) {
					t.Fatalf("%v, want %v", err, want)
				}
				return
			case transport.Kind:
				if err != nil || conn.Kind() != want {
					t.Fatalf("%v, %v; want %s", conn, err, want)
				}
			default:
				if err != nil {
					t.Fatal(err)
				}
			}
			for _, s := range made {
				if s == conn && s.closed.Load() {
					t.Error("the connection that won is closed")
				}
			}
		})
	}
}

// TestRacePrefersQUIC has TCP come up first and QUIC a little later.
func TestRacePrefersQUIC(t *testing.T) {
	tcp, quic := &stub{kind: transport.TCP}, &stub{kind: transport.QUIC}
	up := make(chan struct{})
	conn, err := race(t.Context(), 0,
		func(context.Context) (transport.Conn, error) { <-up; return quic, nil },
		func(context.Context) (transport.Conn, error) { close(up); return tcp, nil })
	if err != nil || conn != transport.Conn(quic) {
		t.Fatalf("%v, %v", conn, err)
	}
	if !tcp.closed.Load() || quic.closed.Load() {
		t.Error("the wrong one is closed")
	}
}

func TestTargets(t *testing.T) {
	through := transport.FixedProxy(&url.URL{Scheme: "http", Host: "proxy.example:3128"})
	for name, test := range map[string]struct {
		address string
		proxy   transport.Proxy
		want    []target
		bad     bool
	}{
		"an address":              {address: "192.0.2.1:8443", want: []target{{tcp: "192.0.2.1:8443"}}},
		"an IPv6 address":         {address: "[2001:db8::1]:8443", want: []target{{tcp: "[2001:db8::1]:8443"}}},
		"an address, by a proxy":  {address: "192.0.2.1:8443", proxy: through, want: []target{{tcp: "192.0.2.1:8443"}}},
		"no port":                 {address: "192.0.2.1", bad: true},
		"a port that is too high": {address: "192.0.2.1:99999", bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := targets(t.Context(), test.address, test.proxy)
			if (err != nil) != test.bad || len(got) != len(test.want) {
				t.Fatalf("%v, %v", got, err)
			}
			for i, g := range got {
				if g.address != test.address || g.tcp != test.want[i].tcp || g.quic.String() != test.address {
					t.Errorf("%+v", g)
				}
			}
		})
	}
	// A name that this machine cannot resolve may be one that the proxy can.
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	got, err := targets(ended, "reeve.invalid:8443", through)
	if err != nil || len(got) != 1 || got[0].tcp != "reeve.invalid:8443" || got[0].quic.IsValid() {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := targets(ended, "reeve.invalid:8443", nil); err == nil {
		t.Errorf("without a proxy: %v", got)
	}
}

func TestPauseBetweenProbes(t *testing.T) {
	for failures, want := range map[int]time.Duration{
		0: probeEvery, 1: probeEvery, 2: probeEvery, 3: 2 * probeEvery, 4: 4 * probeEvery, 100: probeRarely,
	} {
		if got := pauseBetweenProbes(failures); got != want {
			t.Errorf("after %d: %v, want %v", failures, got, want)
		}
	}
}

func TestPaced(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 1000)
	limit := rate.NewLimiter(rate.Limit(1<<30), 64)
	var parts parts
	n, err := paced{t.Context(), &parts, limit}.Write(data)
	if err != nil || n != len(data) || !bytes.Equal(bytes.Join(parts, nil), data) {
		t.Fatalf("%d, %v", n, err)
	}
	for _, p := range parts {
		if len(p) > limit.Burst() {
			t.Fatalf("%d bytes at once", len(p))
		}
	}
	// A limit that allows nothing more ends with its context.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	slow := rate.NewLimiter(1, 64)
	if n, err := (paced{ctx, &parts, slow}).Write(data); err == nil || n > 64 {
		t.Errorf("%d, %v", n, err)
	}
}

type parts [][]byte

func (p *parts) Write(data []byte) (int, error) {
	*p = append(*p, bytes.Clone(data))
	return len(data), nil
}
