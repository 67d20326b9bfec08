package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/reeve-cloud/reeve/aggregator/admission"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
	"github.com/reeve-cloud/reeve/pkg/identity"
)

// from dials the server from one of the addresses of loopback.
func (f *fixture) from(address string) net.Conn {
	f.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	conn, err := d.DialContext(f.t.Context(), "tcp", f.Addr().String())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { conn.Close() })
	return conn
}

// closed waits until the server has closed a connection.
func closed(t *testing.T, conn net.Conn) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, context.DeadlineExceeded) || err != nil &&
		strings.Contains(err.Error(), "timeout") {
		t.Errorf("%s is still open: %v", conn.LocalAddr(), err)
	}
}

// TestSilentStrangers has strangers come and say nothing, more than there are places.
// Those who have something to say get in, whoever they are.
func TestSilentStrangers(t *testing.T) {
	places := admission.NewPlaces(admission.LimitsFor(32)) // 8 strangers, 4 of a network
	f := start(t, func(o *Options) { o.Places = places })
	_, joined := f.enroll("lab")
	for i := range 5 {
		for range 20 {
			f.from(fmt.Sprintf("127.0.1.%d", 1+i))
		}
		client := f.client(nil)
		fleet := reevev1connect.NewFleetServiceClient(client, f.url(), with("Bearer "+f.bearer))
		if _, err := fleet.GetStatus(t.Context(), connect.NewRequest(&reevev1.GetStatusRequest{})); err != nil {
			t.Errorf("a caller cannot call: %v", err)
		}
		client.CloseIdleConnections()
		if _, err := f.renewWith(joined); err != nil {
			t.Errorf("an agent cannot renew: %v", err)
		}
	}
	if n := places.Taken(admission.Stranger); n > 8 {
		t.Errorf("%d strangers", n)
	}
	f.log.waitFor(t, "refused a connection")
}

// TestPlacesOfAgents has an agent open more connections than one may have.
func TestPlacesOfAgents(t *testing.T) {
	places := admission.NewPlaces(admission.LimitsFor(64))
	f := start(t, func(o *Options) { o.Places = places })
	_, certificate := f.enroll("lab")
	config := identity.PinnedClient(f.ca.Pin())
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	var conns []*tls.Conn
	for range 12 {
		conn, err := tls.Dial("tcp", f.Addr().String(), config)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	line := f.log.waitFor(t, "refused a connection of an agent")
	if !strings.Contains(line, "agent_id=") || !strings.Contains(line, "site=") {
		t.Error(line)
	}
	open := 0
	for _, conn := range conns {
		_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		var timeout net.Error
		if _, err := conn.Read(make([]byte, 1)); errors.As(err, &timeout) && timeout.Timeout() {
			open++
		}
	}
	if open != 8 || places.Taken(admission.Agent) != 8 {
		t.Errorf("%d of 12 are open, %d places are taken", open, places.Taken(admission.Agent))
	}
	f.check()
}

// TestStrangersAreCut lets strangers be idle, and one go on for too long.
func TestStrangersAreCut(t *testing.T) {
	for name, test := range map[string]struct {
		protocol string
		call     string
		change   func(*Options)
	}{
		"idle HTTP/1": {"http/1.1", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", func(o *Options) { o.strangerIdle = 50 * time.Millisecond }},
		"idle HTTP/2": {"h2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
			func(o *Options) { o.strangerIdle = 50 * time.Millisecond }},
		"life HTTP/1":   {"http/1.1", "GET / HTTP/1.1\r\n", func(o *Options) { o.strangerLife = 300 * time.Millisecond }},
		"half a hello":  {"", "\x16\x03\x01\x02\x00\x01", func(o *Options) { o.strangerLife = 300 * time.Millisecond }},
		"not one octet": {"", "", func(o *Options) { o.strangerLife = 300 * time.Millisecond }},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, test.change)
			conn := f.from("127.0.0.1")
			if test.protocol != "" {
				config := identity.PinnedClient(f.ca.Pin())
				config.NextProtos = []string{test.protocol}
				conn = tls.Client(conn, config)
			}
			if _, err := conn.Write([]byte(test.call)); err != nil {
				t.Fatal(err)
			}
			closed(t, conn)
		})
	}
}

// TestCallersAreNotCut has a caller that is idle for longer than a stranger may be.
func TestCallersAreNotCut(t *testing.T) {
	places := admission.NewPlaces(admission.LimitsFor(64))
	f := start(t, func(o *Options) {
		o.Places, o.strangerIdle, o.strangerLife = places, 20*time.Millisecond, 100*time.Millisecond
	})
	client := reevev1connect.NewFleetServiceClient(f.client(nil), f.url(), with("Bearer "+f.bearer))
	call := func() {
		t.Helper()
		if _, err := client.GetStatus(t.Context(), connect.NewRequest(&reevev1.GetStatusRequest{})); err != nil {
			t.Fatal(err)
		}
	}
	call()
	time.Sleep(300 * time.Millisecond)
	if n := places.Taken(admission.Caller); n != 1 {
		t.Errorf("%d callers", n)
	}
	call()
	if n := places.Taken(admission.Caller); n != 1 {
		t.Errorf("%d callers", n)
	}
}

func TestExplainHandshake(t *testing.T) {
	record := func(header string) error {
		e := tls.RecordHeaderError{Msg: "first record"}
		copy(e.RecordHeader[:], header)
		return e
	}
	for _, test := range []struct {
		err  error
		old  bool
		want string
	}{
		{context.DeadlineExceeded, false, "WARN it sent nothing"},
		{io.EOF, false, "DEBUG EOF"},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, false, "DEBUG read: connection reset"},
		{&net.OpError{Op: "remote error", Err: tls.AlertError(42)}, false, "WARN remote error: tls: bad certificate"},
		{errors.New("tls: client offered only unsupported versions"), true, "WARN the client must have TLS 1.3"},
		{errors.New("tls: something new"), false, "WARN tls: something new"},
		{record("GET /"), false, "WARN it speaks plain HTTP"},
		{record("SSH-2"), false, "WARN its first bytes"},
	} {
		level, message, reason := explainHandshake(test.err, test.old)
		if got := level.String() + " " + reason; !strings.HasPrefix(got, test.want) || message == "" {
			t.Errorf("%v: %s, %s", test.err, message, got)
		}
	}
}

func (f *fixture) renewWith(certificate *tls.Certificate) (*connect.Response[reevev1.RenewResponse], error) {
	_, csr := newRequest(f.t)
	return f.enrollment(certificate).Renew(f.t.Context(), connect.NewRequest(&reevev1.RenewRequest{CertificateRequest: csr}))
}
