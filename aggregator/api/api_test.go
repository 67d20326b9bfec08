package api

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/reeve-cloud/reeve/aggregator/registry"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
	"github.com/reeve-cloud/reeve/pkg/identity"
)

// logBuffer takes what the server logs.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// waitFor returns the first line with the text, when it is there.
func (b *logBuffer) waitFor(t *testing.T, text string) string {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		for line := range strings.Lines(b.String()) {
			if strings.Contains(line, text) {
				return line
			}
		}
	}
	t.Fatalf("not logged: %q; but:\n%s", text, b.String())
	return ""
}

// fixture is a running server.
type fixture struct {
	*Server
	t        *testing.T
	ca       *identity.CA
	caDir    string
	registry *registry.Registry
	bearer   string
	log      *logBuffer
	metrics  *prometheus.Registry
	stop     func() error
}

func start(t *testing.T, change func(*Options)) *fixture {
	t.Helper()
	f := &fixture{t: t, log: &logBuffer{}, metrics: prometheus.NewRegistry()}
	dir := t.TempDir()
	var err error
	f.caDir = filepath.Join(dir, "ca")
	writeOldCA(t, f.caDir)
	if f.ca, err = identity.LoadCA(f.caDir); err != nil {
		t.Fatal(err)
	}
	if f.registry, err = registry.Open(registry.Options{Dir: filepath.Join(dir, "registry")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.registry.Close(); err != nil {
			t.Error(err)
		}
	})
	file, err := EnsureAdminToken(t.Context(), f.registry, dir)
	if err != nil {
		t.Fatal(err)
	}
	token, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	f.bearer = strings.TrimSpace(string(token))
	certificate := &identity.ServerCertificate{CA: f.ca, Hosts: []string{"127.0.0.1"}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Listener:    listener,
		Certificate: certificate.Get,
		CA:          f.ca,
		Registry:    f.registry,
		Addresses:   []string{"reeve.example:7443"},
		Warehouse:   func(context.Context) (string, string, error) { return "embedded", "26.3", nil },
		Ingest:      func() error { return nil },
		AssetCounts: func(context.Context) (map[string]int64, error) { return map[string]int64{"lab": 42}, nil },
		Metrics:     f.metrics,
		Logger:      slog.New(slog.NewTextHandler(f.log, nil)),
	}
	if change != nil {
		change(&o)
	}
	if f.Server, err = New(o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- f.Serve(ctx) }()
	f.stop = sync.OnceValue(func() error {
		cancel()
		return <-served
	})
	t.Cleanup(func() {
		if err := f.stop(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *fixture) url() string { return "https://" + f.Addr().String() }

// client returns an HTTP client that shows the certificate, if any.
func (f *fixture) client(certificate *tls.Certificate) *http.Client {
	config := identity.PinnedClient(f.ca.Pin())
	if certificate != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	f.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}

// with returns an option that sends the Authorization header.
func with(authorization string) connect.ClientOption {
	return connect.WithInterceptors(authorizer(authorization))
}

type authorizer string

func (a authorizer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		req.Header().Set("Authorization", string(a))
		return next(ctx, req)
	}
}

func (a authorizer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		if conn.RequestHeader().Values("Authorization") == nil { // the innermost counts
			conn.RequestHeader().Set("Authorization", string(a))
		}
		return conn
	}
}

func (a authorizer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

func (f *fixture) fleet(options ...connect.ClientOption) reevev1connect.FleetServiceClient {
	return reevev1connect.NewFleetServiceClient(f.client(nil), f.url(),
		append([]connect.ClientOption{with("Bearer " + f.bearer)}, options...)...)
}

func (f *fixture) enrollment(certificate *tls.Certificate) reevev1connect.EnrollmentServiceClient {
	return reevev1connect.NewEnrollmentServiceClient(f.client(certificate), f.url())
}

// joinToken makes a join token.
func (f *fixture) joinToken(site string, uses int32) (*reevev1.JoinToken, identity.JoinToken) {
	f.t.Helper()
	res, err := f.fleet().CreateJoinToken(f.t.Context(), connect.NewRequest(&reevev1.CreateJoinTokenRequest{Site: site, MaxUses: uses}))
	if err != nil {
		f.t.Fatal(err)
	}
	token, err := identity.ParseJoinToken(res.Msg.GetSecret())
	if err != nil {
		f.t.Fatal(err)
	}
	return res.Msg.GetToken(), token
}

func newRequest(t *testing.T) (crypto.Signer, []byte) {
	t.Helper()
	key, err := identity.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return key, der
}

func enrollRequest(token identity.JoinToken, csr []byte) *connect.Request[reevev1.EnrollRequest] {
	return connect.NewRequest(&reevev1.EnrollRequest{
		TokenId: token.ID, TokenSecret: token.Secret, CertificateRequest: csr, Hostname: "node-1",
	})
}

// enroll lets an agent join and returns its id and certificate.
func (f *fixture) enroll(site string) (string, *tls.Certificate) {
	f.t.Helper()
	_, token := f.joinToken(site, 1)
	key, csr := newRequest(f.t)
	res, err := f.enrollment(nil).Enroll(f.t.Context(), enrollRequest(token, csr))
	if err != nil {
		f.t.Fatal(err)
	}
	return res.Msg.GetAgentId(), &tls.Certificate{Certificate: [][]byte{res.Msg.GetCertificate()}, PrivateKey: key}
}

// wantError checks an error's code and that its text has all the parts.
func wantError(t *testing.T, err error, code connect.Code, parts ...string) {
	t.Helper()
	var e *connect.Error
	if !errors.As(err, &e) || e.Code() != code {
		t.Errorf("error %v: want code %v", err, code)
		return
	}
	for _, part := range parts {
		if !strings.Contains(e.Message(), part) {
			t.Errorf("error %q: want %q in it", e.Message(), part)
		}
	}
}

// metric returns the sum of a metric whose labels have the value.
func (f *fixture) metric(name, value string) (sum float64) {
	f.t.Helper()
	families, err := f.metrics.Gather()
	if err != nil {
		f.t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			match := value == ""
			for _, l := range m.GetLabel() {
				match = match || l.GetValue() == value
			}
			if match {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

func TestOptionsAreChecked(t *testing.T) {
	if _, err := New(Options{}); err == nil || !strings.Contains(err.Error(), "Listener") {
		t.Errorf("%v", err)
	}
}

func TestBearerToken(t *testing.T) {
	f := start(t, nil)
	foreign := formatBearer("abcdefghijkl", identity.NewSecret())
	id, _, _ := strings.Cut(f.bearer, ".")
	for name, test := range map[string]struct{ header, want, reason string }{
		"missing":      {"", "send the header", "missing"},
		"other scheme": {"Basic YTpi", "malformed", "malformed"},
		"no dot":       {"Bearer abc", "malformed", "malformed"},
		"unknown":      {"Bearer " + foreign, "unknown", "unknown"},
		"wrong secret": {"Bearer " + formatBearer(id, "wrong"), "unknown", "unknown"},
	} {
		before := f.metric("reeve_api_refused_calls_total", test.reason)
		_, err := f.fleet(with(test.header)).GetStatus(t.Context(), connect.NewRequest(&reevev1.GetStatusRequest{}))
		wantError(t, err, connect.CodeUnauthenticated, test.want)
		if got := f.metric("reeve_api_refused_calls_total", test.reason); got != before+1 {
			t.Errorf("%s: metric %v, was %v", name, got, before)
		}
	}
	if line := f.log.waitFor(t, "refused an API call"); !strings.Contains(line, "address=127.0.0.1:") {
		t.Errorf("log line: %s", line)
	}
	for name, options := range map[string][]connect.ClientOption{
		"Connect": nil, "JSON": {connect.WithProtoJSON()}, "GET": {connect.WithHTTPGet()},
		"gRPC": {connect.WithGRPC()}, "gRPC-Web": {connect.WithGRPCWeb()}, "lower case": {with("bearer " + f.bearer)},
	} {
		res, err := f.fleet(options...).GetStatus(t.Context(), connect.NewRequest(&reevev1.GetStatusRequest{}))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if m := res.Msg; m.GetUser() != "admin" || m.GetWarehouse() != "embedded" || m.GetWarehouseVersion() != "26.3" || m.GetVersion() == "" {
			t.Errorf("%s: %v", name, m)
		}
	}
	_, secret, _ := strings.Cut(f.bearer, ".")
	if strings.Contains(f.log.String(), secret) {
		t.Error("the log has a secret")
	}
}

func TestFloodOfRefusalsDoesNotFloodTheLog(t *testing.T) {
	f := start(t, nil)
	fleet := f.fleet(with(""))
	for range 100 {
		if _, err := fleet.GetStatus(t.Context(), connect.NewRequest(&reevev1.GetStatusRequest{})); err == nil {
			t.Fatal("let in")
		}
	}
	if n := strings.Count(f.log.String(), "refused an API call"); n < 20 || n > 25 {
		t.Errorf("%d lines", n)
	}
	if got := f.metric("reeve_api_refused_calls_total", "missing"); got != 100 {
		t.Errorf("metric %v", got)
	}
}

func TestEnsureAdminToken(t *testing.T) {
	r, dir := openEmpty(t), t.TempDir()
	if _, err := EnsureAdminToken(t.Context(), r, filepath.Join(dir, "nosuch")); err == nil {
		t.Error("a directory that is not there: no error")
	}
	file, err := EnsureAdminToken(t.Context(), r, dir)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("file: %v, %v", info, err)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	id, secret, err := parseBearer("Bearer " + strings.TrimSpace(string(content)))
	if err != nil {
		t.Fatal(err)
	}
	if token, err := r.CheckAPIToken(t.Context(), id, secret, time.Now()); err != nil || token.User != "admin" {
		t.Errorf("the token in the file: %v, %v", token, err)
	}
	if file, err := EnsureAdminToken(t.Context(), r, dir); err != nil || file != "" {
		t.Errorf("with a token: %q, %v", file, err)
	}
	// That it was revoked is somebody's will, and no first start.
	other, _ := registry.NewAPIToken("other", registry.RoleAdmin)
	other.ExpireTime = time.Now().Add(time.Millisecond)
	if err := errors.Join(r.AddAPIToken(t.Context(), registry.System, other),
		r.DeleteAPIToken(t.Context(), registry.System, id, time.Time{})); err != nil {
		t.Fatal(err)
	}
	if file, err := EnsureAdminToken(t.Context(), r, dir); err != nil || file != "" {
		t.Errorf("with the token revoked: %q, %v", file, err)
	}
}

func openEmpty(t *testing.T) *registry.Registry {
	t.Helper()
	r, err := registry.Open(registry.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// writeOldCA makes a CA that was there a year ago: agents' certificates that have
// ended since must be verified as of then.
func writeOldCA(t *testing.T, dir string) {
	t.Helper()
	key, err := identity.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Reeve CA"},
		NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(9, 0, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Mkdir(dir, 0o700), identity.WriteKey(filepath.Join(dir, "ca.key"), key),
		identity.WriteCertificates(filepath.Join(dir, "ca.crt"), der)); err != nil {
		t.Fatal(err)
	}
}

// certificateOf signs an agent's certificate with other dates or by another CA
// than usual.
func certificateOf(t *testing.T, caDir, uri string, end time.Time) *tls.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(caDir, "ca.crt"), filepath.Join(caDir, "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	key, err := identity.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "agent"}, URIs: []*url.URL{u},
		NotBefore: time.Now().Add(-30 * time.Minute), NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if end.Before(time.Now()) {
		template.NotBefore = end.Add(-30 * time.Minute)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, pair.Leaf, key.Public(), pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
