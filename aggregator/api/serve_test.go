package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
	"github.com/reeve-cloud/reeve/pkg/identity"
)

// check fails the test unless the server answers.
func (f *fixture) check() {
	f.t.Helper()
	if _, err := f.fleet().GetStatus(f.t.Context(), connect.NewRequest(&reevev1.GetStatusRequest{})); err != nil {
		f.t.Errorf("the service does not go on: %v", err)
	}
}

func TestConnectionsThatAreNotTLSAreRefused(t *testing.T) {
	for name, test := range map[string]struct{ send, reason string }{
		"HTTP":             {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "plain HTTP"},
		"SSH":              {"SSH-2.0-OpenSSH_9.9\r\n", "not those of TLS"},
		"zeros":            {strings.Repeat("\x00", 1000), "not those of TLS"},
		"handshake-like":   {"\x16\x03\x01\xff\xff" + strings.Repeat("x", 100), "not those of TLS"},
		"broken handshake": {"\x16\x03\x01\x00\x05\x01\x00\x00\x01x", "tls: "},
		"HTTP/2":           {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "not those of TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, nil)
			conn, err := net.Dial("tcp", f.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Write([]byte(test.send)); err != nil {
				t.Fatal(err)
			}
			_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			_, _ = io.Copy(io.Discard, conn) // until the server hangs up
			line := f.log.waitFor(t, "refused a connection")
			if !strings.Contains(line, test.reason) || !strings.Contains(line, conn.LocalAddr().String()) {
				t.Errorf("log line: %s", line)
			}
			if got := f.metric("reeve_api_refused_connections_total", ""); got != 1 {
				t.Errorf("metric %v", got)
			}
			f.check()
		})
	}
}

func TestFloodOfGarbageConnectionsDoesNotFloodTheLog(t *testing.T) {
	f := start(t, nil)
	for range 100 {
		conn, err := net.Dial("tcp", f.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte("garbage garbage"))
		_, _ = io.Copy(io.Discard, conn)
		conn.Close()
	}
	f.check()
	if n := strings.Count(f.log.String(), notTLS); n < 20 || n > 25 {
		t.Errorf("%d lines", n)
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	f := start(t, nil)
	config := identity.PinnedClient(f.ca.Pin())
	config.MinVersion, config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if conn, err := tls.Dial("tcp", f.Addr().String(), config); err == nil {
		conn.Close()
		t.Error("TLS 1.2 accepted")
	}
	f.log.waitFor(t, "no common TLS version")
}

func TestOversizedBodies(t *testing.T) {
	f := start(t, nil)
	_, err := f.fleet().CreateJoinToken(t.Context(),
		connect.NewRequest(&reevev1.CreateJoinTokenRequest{Site: strings.Repeat("x", 2*maxMessage)}))
	wantError(t, err, connect.CodeResourceExhausted)

	// Small on the wire, large when unpacked.
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write([]byte(`{"site":"`))
	for range 20 {
		_, _ = z.Write(bytes.Repeat([]byte("x"), 1<<20))
	}
	_ = z.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url()+reevev1connect.FleetServiceCreateJoinTokenProcedure, &bomb)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Content-Encoding", "gzip")
	req.Header.Set("Authorization", "Bearer "+f.bearer)
	res, err := f.client(nil).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if !strings.Contains(string(answer), "resource_exhausted") {
		t.Errorf("answer: %s %s", res.Status, answer)
	}

	// Large headers.
	req, err = http.NewRequestWithContext(t.Context(), http.MethodGet, f.url(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Large", strings.Repeat("x", 1<<20))
	if res, err := f.client(nil).Do(req); err == nil {
		res.Body.Close()
		if res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("large header: %s", res.Status)
		}
	}
	f.check()
}

// TestRefusedBeforeTheBody shows that a stranger's body is not waited for.
func TestRefusedBeforeTheBody(t *testing.T) {
	f := start(t, nil)
	body, never := io.Pipe()
	defer never.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url()+reevev1connect.FleetServiceListSitesProcedure, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/proto")
	res, err := f.client(nil).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusUnauthorized {
		t.Errorf("status %s", res.Status)
	}
}

// inventory is a stand-in with one well-behaved method, one that panics and a
// stream that goes on.
type inventory struct {
	reevev1connect.UnimplementedInventoryServiceHandler
	caller chan Caller
}

func (i inventory) ListAssets(context.Context, *connect.Request[reevev1.ListAssetsRequest]) (*connect.Response[reevev1.ListAssetsResponse],
	error) {
	panic("at the disco")
}

func (i inventory) WatchChanges(ctx context.Context, _ *connect.Request[reevev1.WatchChangesRequest],
	stream *connect.ServerStream[reevev1.WatchChangesResponse]) error {
	i.caller <- CallerFrom(ctx)
	if err := stream.Send(&reevev1.WatchChangesResponse{}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func (f *fixture) inventory(options ...connect.ClientOption) reevev1connect.InventoryServiceClient {
	return reevev1connect.NewInventoryServiceClient(f.client(nil), f.url(),
		append([]connect.ClientOption{with("Bearer " + f.bearer)}, options...)...)
}

func TestPanicCostsOneCall(t *testing.T) {
	f := start(t, func(o *Options) { o.Inventory = inventory{} })
	_, err := f.inventory().ListAssets(t.Context(), connect.NewRequest(&reevev1.ListAssetsRequest{}))
	wantError(t, err, connect.CodeInternal, "log")
	line := f.log.waitFor(t, "an API call panicked")
	for _, part := range []string{"at the disco", "serve_test.go", "ListAssets"} {
		if !strings.Contains(line, part) {
			t.Errorf("log line without %q: %s", part, line)
		}
	}
	if f.metric("reeve_api_panics_total", "") != 1 || f.metric("reeve_api_calls_total", "internal") != 1 {
		t.Error("not counted")
	}
	f.check()
}

func TestStreamsAreAuthenticatedAndCutAtTheEnd(t *testing.T) {
	for name, option := range map[string]connect.ClientOption{
		"Connect": connect.WithClientOptions(), "gRPC": connect.WithGRPC(), "gRPC-Web": connect.WithGRPCWeb(),
	} {
		t.Run(name, func(t *testing.T) {
			service := inventory{caller: make(chan Caller, 1)}
			f := start(t, func(o *Options) { o.Inventory = service })
			refused, err := f.inventory(option, with("")).WatchChanges(t.Context(), connect.NewRequest(&reevev1.WatchChangesRequest{}))
			if err == nil {
				refused.Receive()
				err = refused.Err()
				refused.Close()
			}
			wantError(t, err, connect.CodeUnauthenticated)

			stream, err := f.inventory(option).WatchChanges(t.Context(), connect.NewRequest(&reevev1.WatchChangesRequest{}))
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Close()
			if !stream.Receive() {
				t.Fatal(stream.Err())
			}
			if c := <-service.caller; c.User != "admin" || c.Address == "" {
				t.Errorf("caller %+v", c)
			}
			begin := time.Now()
			if err := f.stop(); err != nil {
				t.Error(err)
			}
			if d := time.Since(begin); d > stopTimeout/2 {
				t.Errorf("stopping took %s", d)
			}
			if stream.Receive() {
				t.Error("a message after the end")
			}
			wantError(t, stream.Err(), connect.CodeUnavailable, "stopping")
		})
	}
}

func TestInventoryIsOptional(t *testing.T) {
	f := start(t, nil)
	_, err := f.inventory().ListAssets(t.Context(), connect.NewRequest(&reevev1.ListAssetsRequest{}))
	wantError(t, err, connect.CodeUnimplemented)
}

// SQL that is off says why, and asks nothing.
func TestSQLThatIsOff(t *testing.T) {
	f := start(t, func(o *Options) { o.Query = &Query{NoGate: "the engine is without policies"} })
	client := reevev1connect.NewQueryServiceClient(f.client(nil), f.url(), with("Bearer "+f.bearer))
	_, err := client.GetSQLSchema(t.Context(), connect.NewRequest(&reevev1.GetSQLSchemaRequest{}))
	wantError(t, err, connect.CodeFailedPrecondition)
	stream, err := client.RunSQL(t.Context(), connect.NewRequest(&reevev1.RunSQLRequest{Statement: "SELECT 1"}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if stream.Receive() || !strings.Contains(stream.Err().Error(), "without policies") {
		t.Errorf("%v", stream.Err())
	}
}

func TestReflection(t *testing.T) {
	f := start(t, nil)
	client := grpcreflect.NewClient(f.client(nil), f.url(), connect.WithGRPC(), with("Bearer "+f.bearer))
	stream := client.NewStream(t.Context())
	defer stream.Close()
	names, err := stream.ListServices()
	if err != nil {
		t.Fatal(err)
	}
	// Each that there is, so that a new one is not forgotten.
	var want []protoreflect.FullName
	protoregistry.GlobalFiles.RangeFilesByPackage("reeve.v1", func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			want = append(want, file.Services().Get(i).FullName())
		}
		return true
	})
	slices.Sort(names)
	slices.Sort(want)
	if len(want) == 0 || !slices.Equal(names, want) {
		t.Errorf("services: %v, want %v", names, want)
	}
}

func TestFailedListener(t *testing.T) {
	f := start(t, nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	o := f.options
	o.Listener, o.Metrics = listener, nil
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(t.Context()); err == nil || !strings.Contains(err.Error(), "serving the API") {
		t.Errorf("%v", err)
	}
}

func TestStopDoesNotWaitForSilentConnections(t *testing.T) {
	f := start(t, nil)
	conn, err := tls.Dial("tcp", f.Addr().String(), identity.PinnedClient(f.ca.Pin()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	begin := time.Now()
	if err := f.stop(); err != nil {
		t.Error(err)
	}
	if d := time.Since(begin); d > stopTimeout/2 {
		t.Errorf("stopping took %s", d)
	}
	if strings.Contains(f.log.String(), "cut off") {
		t.Errorf("log: %s", f.log)
	}
}

func TestCallsMayFinish(t *testing.T) {
	begun, finish := make(chan bool), make(chan bool)
	f := start(t, func(o *Options) {
		o.Warehouse = func(context.Context) (string, string, error) {
			begun <- true
			<-finish
			return "embedded", "26.3", nil
		}
	})
	answered := make(chan error, 1)
	fleet := f.fleet()
	go func() {
		_, err := fleet.GetStatus(context.Background(), connect.NewRequest(&reevev1.GetStatusRequest{}))
		answered <- err
	}()
	<-begun
	stopped := make(chan error, 1)
	go func() { stopped <- f.stop() }()
	time.Sleep(100 * time.Millisecond)
	close(finish)
	if err := <-answered; err != nil {
		t.Errorf("a call under way: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestCallsThatDoNotFinishAreCutOff(t *testing.T) {
	t.Parallel()
	begun := make(chan bool)
	f := start(t, func(o *Options) {
		o.Warehouse = func(ctx context.Context) (string, string, error) {
			begun <- true
			<-ctx.Done()
			return "", "", ctx.Err()
		}
	})
	answered := make(chan error, 1)
	fleet := f.fleet()
	go func() {
		_, err := fleet.GetStatus(context.Background(), connect.NewRequest(&reevev1.GetStatusRequest{}))
		answered <- err
	}()
	<-begun
	begin := time.Now()
	if err := f.stop(); err != nil {
		t.Error(err)
	}
	if d := time.Since(begin); d < stopTimeout || d > stopTimeout+2*time.Second {
		t.Errorf("stopping took %s", d)
	}
	if <-answered == nil {
		t.Error("answered")
	}
	f.log.waitFor(t, "cut off")
	if strings.Contains(f.log.String(), "go on though") {
		t.Errorf("log: %s", f.log)
	}
}
