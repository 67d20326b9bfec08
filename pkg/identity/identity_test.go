package identity

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
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
	ca, err := MakeCA(t.TempDir())
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
	first, err := MakeCA(dir)
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

// TestRotation takes a CA through its life, and holds against it at each step who
// trusts what.
func TestRotation(t *testing.T) {
	dir := t.TempDir()
	ca, err := MakeCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	server := &ServerCertificate{CA: ca}
	type trusting struct {
		pin    Pin
		agent  *tls.Certificate
		config *tls.Config
	}
	enrolled := func() trusting {
		agent, roots := newAgentCertificate(t, ca, Agent{Site: "s", ID: uuid.NewString()}), ca.Pool()
		return trusting{ca.Pin(), agent, AgentClient(roots, func() *tls.Certificate { return agent })}
	}
	check := func(step string, who trusting, want bool) {
		t.Helper()
		cert, err := server.Get()
		if err != nil {
			t.Fatal(err)
		}
		for name, config := range map[string]*tls.Config{"pinned": PinnedClient(who.pin), "enrolled": who.config} {
			_, err := handshake(t, &tls.Config{Certificates: []tls.Certificate{*cert}, ClientAuth: tls.RequestClientCert}, config)
			if (err == nil) != want || err != nil && !errors.Is(err, ErrWrongCA) {
				t.Errorf("%s: %s: %v", step, name, err)
			}
		}
		if _, err := ca.VerifyAgent(who.agent.Leaf, 0); (err == nil) != want {
			t.Errorf("%s: verifying the agent: %v", step, err)
		}
	}
	reload := func() {
		t.Helper()
		if ca, err = LoadCA(dir); err != nil {
			t.Fatal(err)
		}
		server = &ServerCertificate{CA: ca}
	}
	who := []trusting{enrolled()}
	for n := range maxRoots - 1 {
		changed := ca.Changed()
		pin, err := ca.Rotate()
		if err != nil {
			t.Fatal(err)
		}
		<-changed
		if ca.Pin() != pin || len(ca.Certificates()) != n+2 {
			t.Fatalf("%v signs of %d, not %v", ca.Pin(), len(ca.Certificates()), pin)
		}
		who = append(who, enrolled())
		for range 2 {
			for i, w := range who {
				check(fmt.Sprintf("rotation %d, who knew the CA of rotation %d", n+1, i), w, true)
			}
			reload()
		}
	}
	if _, err := ca.Rotate(); err == nil {
		t.Error("there may be any number of authorities")
	}
	if err := ca.Retire(ca.Pin()); err == nil {
		t.Error("the authority that signs was retired")
	}
	if err := ca.Retire(Pin{}); !errors.Is(err, ErrUnknownCA) {
		t.Errorf("retiring another's: %v", err)
	}
	if err := ca.Retire(who[1].pin); err == nil {
		t.Error("one in the middle was retired")
	}
	for gone := range maxRoots - 1 {
		if err := ca.Retire(who[gone].pin); err != nil {
			t.Fatal(err)
		}
		check("retired", who[gone], false)
		reload()
		check("retired", who[gone], false)
		for _, w := range who[gone+1:] {
			check("retired others", w, true)
		}
	}
	if len(ca.current().crossed) != 0 || len(ca.Pins()) != 1 {
		t.Errorf("left over: %d, %v", len(ca.current().crossed), ca.Pins())
	}
}

// TestMissingFiles takes files of a CA away. It is never made anew over what is left,
// and what is read makes nothing.
func TestMissingFiles(t *testing.T) {
	for _, test := range []struct {
		gone []string
		want string
		pin  bool // the pin can be read
	}{
		{gone: []string{caFile}, want: caFile + " is missing"},
		{gone: []string{keyFile}, want: keyFile + " is missing", pin: true},
		{gone: []string{caFile, keyFile}, want: ErrNoCA.Error()},
	} {
		dir := filepath.Join(t.TempDir(), "ca")
		ca, err := MakeCA(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := MakeCA(dir); err == nil {
			t.Fatal("made over another one")
		}
		for _, name := range test.gone {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		before, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := LoadCA(dir); err == nil || !strings.Contains(err.Error(), test.want) || errors.Is(err, ErrNoCA) != (len(test.gone) == 2) {
			t.Errorf("without %v: %v", test.gone, err)
		}
		if pin, err := ReadPin(dir); (err == nil) != test.pin || test.pin && pin != ca.Pin() {
			t.Errorf("without %v: the pin: %v", test.gone, err)
		}
		if len(before) > 0 {
			if _, err := MakeCA(dir); err == nil {
				t.Errorf("without %v: made anew over what is left", test.gone)
			}
		}
		after, err := os.ReadDir(dir)
		if err != nil || len(after) != len(before) {
			t.Errorf("without %v: %d files, and %d before: %v", test.gone, len(after), len(before), err)
		}
	}
	nowhere := filepath.Join(t.TempDir(), "nonexistent")
	_, err := LoadCA(nowhere)
	if !errors.Is(err, ErrNoCA) {
		t.Error(err)
	}
	if _, err := ReadPin(nowhere); !errors.Is(err, ErrNoCA) {
		t.Error(err)
	}
	if _, err := os.Stat(nowhere); !errors.Is(err, os.ErrNotExist) {
		t.Error("reading made a directory")
	}
}

// TestMakingCutShort is killed while it makes a CA: the next one makes it whole.
func TestMakingCutShort(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	if err := os.Mkdir(dir+".new", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir+".new", keyFile), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadCA(dir); !errors.Is(err, ErrNoCA) {
		t.Fatal(err)
	}
	if _, err := MakeCA(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir + ".new"); !errors.Is(err, os.ErrNotExist) {
		t.Error("something is left")
	}
}

// TestRotationCutShort has the key of a rotation not yet in its place.
func TestRotationCutShort(t *testing.T) {
	dir := t.TempDir()
	ca, err := MakeCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	key, next := filepath.Join(dir, keyFile), filepath.Join(dir, nextKeyFile)
	old, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	pin, err := ca.Rotate()
	if err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(key); err != nil || bytes.Equal(data, old) {
		t.Fatalf("the old key is still there: %v", err)
	}
	if err := errors.Join(os.Rename(key, next), os.WriteFile(key, old, 0o600)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if ca, err = LoadCA(dir); err != nil || ca.Pin() != pin {
			t.Fatalf("%v", err)
		}
	}
	// Before the certificates were written: the next key counts for nothing.
	stray, err := NewKey()
	if err == nil {
		err = WriteKey(next, stray)
	}
	if err != nil {
		t.Fatal(err)
	}
	if ca, err = LoadCA(dir); err != nil || ca.Pin() != pin {
		t.Fatalf("%v", err)
	}
}

// TestOldCACanBeRotated is of a CA of the first version, which may sign agents and
// aggregators only.
func TestOldCACanBeRotated(t *testing.T) {
	dir := t.TempDir()
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "Reeve CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := issue(template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(WriteKey(filepath.Join(dir, keyFile), key), WriteCertificates(filepath.Join(dir, caFile), der)); err != nil {
		t.Fatal(err)
	}
	ca, err := LoadCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	pin := ca.Pin()
	for range 2 {
		if err := ca.LetSignNext(); err != nil || ca.Pin() != pin {
			t.Fatal(err)
		}
	}
	roots := ca.Pool()
	if _, err := ca.Rotate(); err != nil {
		t.Fatal(err)
	}
	cert, err := ca.IssueAggregator(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, config := range []*tls.Config{PinnedClient(pin), AgentClient(roots, func() *tls.Certificate { return nil })} {
		if _, err := handshake(t, &tls.Config{Certificates: []tls.Certificate{*cert}}, config); err != nil {
			t.Error(err)
		}
	}
}

func FuzzLoadCA(f *testing.F) {
	dir := f.TempDir()
	ca, err := MakeCA(dir)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := ca.Rotate(); err != nil {
		f.Fatal(err)
	}
	certs, err := os.ReadFile(filepath.Join(dir, caFile))
	if err != nil {
		f.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(dir, keyFile))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(certs)
	f.Add(certs[:len(certs)/2])
	f.Fuzz(func(t *testing.T, certs []byte) {
		dir := t.TempDir()
		if err := errors.Join(os.WriteFile(filepath.Join(dir, caFile), certs, 0o600),
			os.WriteFile(filepath.Join(dir, keyFile), key, 0o600)); err != nil {
			t.Fatal(err)
		}
		ca, err := LoadCA(dir)
		if err != nil {
			return
		}
		if _, err := ca.IssueAggregator(nil); err != nil {
			t.Fatalf("what was read cannot sign: %v", err)
		}
	})
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
	}, ca.Certificate(), key.Public(), ca.set.key)
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
			if err != nil && (!errors.As(err, &expired) || errors.Is(err, ErrWrongCA) ||
				!strings.Contains(err.Error(), off().UTC().Format(time.RFC3339))) {
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

func TestCleanName(t *testing.T) {
	for name, want := range map[string]string{
		"node-1":                "node-1",
		"b\u00fcro":             "b\u00fcro",
		"a\nb\x1b[31m\x00":      "a\ufffdb\ufffd[31m\ufffd",
		"caf\xe9":               "caf\ufffd",
		"\u202eoverride":        "\ufffdoverride",
		"":                      "",
		strings.Repeat("x", 65): strings.Repeat("x", 64),
		// Not cut in the middle of a character, however it ends.
		strings.Repeat("\xff", 64):   strings.Repeat("\ufffd", 21),
		strings.Repeat("\u00fc", 33): strings.Repeat("\u00fc", 32),
	} {
		if got := CleanName(name, 64); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
