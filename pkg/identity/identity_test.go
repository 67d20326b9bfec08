package identity

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/reeve-cloud/reeve/pkg/hlc"
)

func newCA(t *testing.T) *CA {
	t.Helper()
	ca, err := LoadCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func newAgentCertificate(t *testing.T, ca *CA, a Agent) *tls.Certificate {
	t.Helper()
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := ca.IssueAgent(a, csr)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// handshake runs a TLS handshake and returns each side's error.
func handshake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	a, b := net.Pipe()
	done := make(chan error, 1)
	go func() {
		s := tls.Server(a, server)
		_, err := io.Copy(io.Discard, s) // reads the client's certificate too
		s.Close()
		done <- err
	}()
	c := tls.Client(b, client)
	clientErr = c.Handshake()
	c.Close()
	return <-done, clientErr
}

func TestReloadedCAIsTheSame(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	first, err := LoadCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := LoadCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	if first.Pin() != second.Pin() {
		t.Fatal("a reloaded CA has another pin")
	}
	info, err := os.Stat(filepath.Join(dir, "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Fatalf("the CA's key has mode %v", info.Mode())
	}
}

func TestPinnedClient(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	cert, err := ca.IssueAggregator([]string{"localhost", "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	server := &tls.Config{Certificates: []tls.Certificate{*cert}}
	if _, err := handshake(t, server, PinnedClient(ca.Pin())); err != nil {
		t.Fatalf("the right pin: %v", err)
	}
	if _, err := handshake(t, server, PinnedClient(other.Pin())); !errors.Is(err, ErrWrongCA) {
		t.Fatalf("a wrong pin: %v", err)
	}
	// A certificate of the CA that is not an aggregator's must not pass for one.
	agent := newAgentCertificate(t, ca, Agent{Site: "s", ID: uuid.NewString()})
	agent.Certificate = append(agent.Certificate, ca.Certificate().Raw)
	if _, err := handshake(t, &tls.Config{Certificates: []tls.Certificate{*agent}}, PinnedClient(ca.Pin())); err == nil {
		t.Fatal("an agent passed for an aggregator")
	}
}

func TestPinnedClientNeedsASignedChain(t *testing.T) {
	// A man in the middle can show the real CA certificate behind his own.
	ca, thief := newCA(t), newCA(t)
	cert, err := thief.IssueAggregator(nil)
	if err != nil {
		t.Fatal(err)
	}
	cert.Certificate = append(cert.Certificate, ca.Certificate().Raw)
	if _, err := handshake(t, &tls.Config{Certificates: []tls.Certificate{*cert}}, PinnedClient(ca.Pin())); !errors.Is(err, ErrWrongCA) {
		t.Fatalf("a stolen CA certificate passed: %v", err)
	}
}

func TestVerifyAgent(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	want := Agent{Site: "west-1", ID: uuid.NewString()}
	cert := newAgentCertificate(t, ca, want).Leaf
	got, err := ca.VerifyAgent(cert, 0)
	if err != nil || got != want {
		t.Fatalf("got %v, %v", got, err)
	}
	if _, err := other.VerifyAgent(cert, 0); err == nil {
		t.Fatal("a foreign certificate was accepted")
	}
	server, err := ca.IssueAggregator(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.VerifyAgent(server.Leaf, 0); err == nil {
		t.Fatal("an aggregator's certificate passed for an agent's")
	}
}

func TestParseAgentURI(t *testing.T) {
	id := "0193c1a2-7f3e-4d5b-9c1d-2b6f0e9a8d7c"
	for _, test := range []struct {
		uri string
		ok  bool
	}{
		{"spiffe://reeve/site/west/agent/" + id, true},
		{"spiffe://reeve/site/West/agent/" + id, false},
		{"spiffe://reeve/site/west/agent/" + strings.ToUpper(id), false},
		{"spiffe://reeve/site/west/agent/7", false},
		{"spiffe://reeve/site/west/agent/" + id + "/x", false},
		{"spiffe://other/site/west/agent/" + id, false},
		{"https://reeve/site/west/agent/" + id, false},
		{"spiffe://reeve/aggregator", false},
	} {
		u, err := url.Parse(test.uri)
		if err != nil {
			t.Fatal(err)
		}
		a, err := parseAgentURI(u)
		if (err == nil) != test.ok {
			t.Errorf("%s: %v, %v", test.uri, a, err)
		}
		if err == nil && a.uri().String() != test.uri {
			t.Errorf("%s came back as %s", test.uri, a.uri())
		}
	}
}

func TestExpiredCertificateServesInItsGraceOnly(t *testing.T) {
	ca := newCA(t)
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	a := Agent{Site: "s", ID: uuid.NewString()}
	ended := time.Now().Add(-30 * time.Minute)
	der, err := issue(&x509.Certificate{
		URIs: []*url.URL{a.uri()}, NotBefore: ended.Add(-20 * time.Minute), NotAfter: ended,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, ca.cert, key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	for grace, ok := range map[time.Duration]bool{0: false, 10 * time.Minute: false, time.Hour: true} {
		if _, err := ca.VerifyAgent(cert, grace); (err == nil) != ok {
			t.Errorf("grace %v: %v", grace, err)
		}
	}
}

// TestClocks holds certificates against clocks that are off.
func TestClocks(t *testing.T) {
	ca := newCA(t)
	server, err := ca.IssueAggregator(nil)
	if err != nil {
		t.Fatal(err)
	}
	agent := newAgentCertificate(t, ca, Agent{Site: "s", ID: uuid.NewString()})
	now := time.Now()
	for _, test := range []struct {
		name string
		off  time.Duration
		// server is whether an agent whose clock is off accepts the aggregator;
		// client is whether an aggregator whose clock is off accepts the agent.
		server, client bool
	}{
		{"right", 0, true, true},
		{"59 minutes ahead", 59 * time.Minute, true, true},
		{"59 minutes behind", -59 * time.Minute, true, true},
		{"2 hours ahead", 2 * time.Hour, true, true},
		{"2 hours behind", -2 * time.Hour, true, true},
		{"without a battery", -40 * 365 * 24 * time.Hour, true, true},
		{"a day and 59 minutes ahead", 24*time.Hour + 59*time.Minute, true, true},
		{"a day and 2 hours ahead", 26 * time.Hour, true, false},
		{"30 days and 59 minutes ahead", serverLife + 59*time.Minute, true, false},
		{"30 days and 2 hours ahead", serverLife + 2*time.Hour, false, false},
	} {
		off := func() time.Time { return now.Add(test.off) }
		pinned := PinnedClient(ca.Pin())
		pinned.Time = off
		roots := x509.NewCertPool()
		roots.AddCert(ca.Certificate())
		enrolled := AgentClient(roots, func() *tls.Certificate { return agent })
		enrolled.Time = off
		for name, client := range map[string]*tls.Config{"joining": pinned, "enrolled": enrolled} {
			_, err := handshake(t, &tls.Config{Certificates: []tls.Certificate{*server}}, client)
			if (err == nil) != test.server {
				t.Errorf("%s, %s: %v", test.name, name, err)
			}
			var expired *ExpiredError
			if err != nil && (!errors.As(err, &expired) || errors.Is(err, ErrWrongCA) || !strings.Contains(err.Error(), off().UTC().Format(time.RFC3339))) {
				t.Errorf("%s, %s: not clear: %v", test.name, name, err)
			}
		}
		ca.now = off
		got, err := ca.VerifyAgent(agent.Leaf, hlc.MaxSkew)
		var expired *ExpiredError
		if (err == nil) != test.client || err != nil && (!errors.As(err, &expired) || got.ID == "") {
			t.Errorf("%s, the aggregator: %v, %v", test.name, got, err)
		}
		ca.now = time.Now
	}
}

func TestJoinToken(t *testing.T) {
	ca := newCA(t)
	want := JoinToken{Site: "west", Addresses: []string{"centre.example:8443"}, CA: ca.Pin().String(), ID: "abc", Secret: NewSecret()}
	s, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseJoinToken(" " + s + "\n")
	if err != nil {
		t.Fatal(err)
	}
	if got.Secret != want.Secret || got.Site != want.Site || got.CA != want.CA {
		t.Fatalf("got %+v", got)
	}
	for _, bad := range []string{"", "x", s[:len(s)-2], s + "A", strings.Repeat("x", 10<<10), "reeve-join-2." + s[len(joinTokenPrefix):]} {
		if _, err := ParseJoinToken(bad); err == nil {
			t.Errorf("accepted %.40q", bad)
		}
	}
}

func TestSecret(t *testing.T) {
	s := NewSecret()
	if !SecretMatches(s, HashSecret(s)) || SecretMatches(s+"x", HashSecret(s)) || SecretMatches("", HashSecret(s)) {
		t.Fatal("secrets are not told apart")
	}
}

func FuzzParseJoinToken(f *testing.F) {
	s, err := JoinToken{Site: "west", Addresses: []string{"a:1"}, CA: Pin{}.String(), ID: "i", Secret: "s"}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s)
	f.Add("reeve-join-1.e30")
	f.Fuzz(func(t *testing.T, s string) {
		token, err := ParseJoinToken(s)
		if err != nil {
			return
		}
		again, err := token.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseJoinToken(again); err != nil {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
	})
}

func FuzzAgentURI(f *testing.F) {
	f.Add("spiffe://reeve/site/west/agent/0193c1a2-7f3e-4d5b-9c1d-2b6f0e9a8d7c")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := url.Parse(s)
		if err != nil {
			return
		}
		if a, err := parseAgentURI(u); err == nil && CheckSiteName(a.Site) != nil {
			t.Fatalf("%q gave site %q", s, a.Site)
		}
	})
}
