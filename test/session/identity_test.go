package session_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/reeve-cloud/reeve/agent/enroll"
	"github.com/reeve-cloud/reeve/agent/uplink"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/transport"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
	"github.com/reeve-cloud/reeve/test/centre"
)

// logged waits until a text is in the agent's log.
func (e *edge) logged(text string) {
	e.t.Helper()
	centre.WaitFor(e.t, "the agent to log "+text, func() bool { return strings.Contains(e.log.String(), text) })
}

func TestRevokedAgentIsCut(t *testing.T) {
	c := centre.New(t)
	e := newEdge(t, c)
	other := newEdge(t, c)
	e.observe(3)
	e.arrived(3)
	fleet := reevev1connect.NewFleetServiceClient(signedIn(t, c))
	began := time.Now()
	if _, err := fleet.RevokeAgent(t.Context(), connect.NewRequest(&reevev1.RevokeAgentRequest{Id: e.id.Agent.ID})); err != nil {
		t.Fatal(err)
	}
	centre.WaitFor(t, "the session to be cut", func() bool { return !e.link.Connected() })
	t.Logf("cut %v after the call", time.Since(began))
	e.logged("this agent was revoked")
	c.Logged("this agent was revoked")
	if n := strings.Count(e.log.String(), "no session with the aggregator"); n != 1 {
		t.Errorf("the agent tried again at once: %s", e.log)
	}
	// It gets in no more, neither for a session nor for a certificate.
	_, err := uplink.Probe(t.Context(), c.Address, nil, e.id.ClientTLS())
	if err == nil || !strings.Contains(uplink.Explain(err).Error(), "was revoked") {
		t.Errorf("a revoked agent: %v", err)
	}
	c.Logged("refused a session of agent " + e.id.Agent.String())
	if err := e.id.Renew(t.Context(), []string{c.Address}); err == nil || !strings.Contains(err.Error(), "was revoked") {
		t.Errorf("a revoked agent renews: %v", err)
	}
	// What it brought is there, without being active.
	c.Stop()
	c.Start()
	inventory := client(t, c)
	centre.WaitFor(t, "its assets to be disconnected", func() bool {
		list, err := inventory.ListAssets(t.Context(),
			connect.NewRequest(&reevev1.ListAssetsRequest{States: []reevev1.State{reevev1.State_STATE_DISCONNECTED}}))
		return err == nil && len(list.Msg.GetAssets()) == 3 && list.Msg.GetAssets()[0].GetDisconnectTime().AsTime().After(began.Add(-time.Minute))
	})
	// Nobody else was touched.
	other.observe(1)
	other.arrived(4)
}

// endsAt gives the identity in dir a certificate with that end, and loads it.
func endsAt(t *testing.T, c *centre.Centre, dir string, end time.Time) *enroll.Identity {
	t.Helper()
	ca, err := tls.LoadX509KeyPair(filepath.Join(c.CADir, "ca.crt"), filepath.Join(c.CADir, "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	id, err := enroll.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	old := id.Certificate().Leaf
	// As old as the test's CA allows.
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(7), URIs: []*url.URL{old.URIs[0]}, NotBefore: end.Add(-time.Minute), NotAfter: end,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, ca.Leaf, old.PublicKey, ca.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "agent.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		0o600); err != nil {
		t.Fatal(err)
	}
	if id, err = enroll.Load(dir); err != nil {
		t.Fatal(err)
	}
	return id
}

// keepFresh runs an identity's KeepFresh until the test ends.
func keepFresh(t *testing.T, c *centre.Centre, id *enroll.Identity) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { id.KeepFresh(ctx, []string{c.Address}, slog.New(slog.DiscardHandler)) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
}

// TestExpiredCertificate is of an agent that was off for longer than its
// certificate's life.
func TestExpiredCertificate(t *testing.T) {
	c := centre.New(t)
	dir := t.TempDir()
	id := c.Join(dir)
	stale := endsAt(t, c, dir, time.Now().Add(-65*time.Minute))
	_, err := uplink.Probe(t.Context(), c.Address, nil, stale.ClientTLS())
	if err == nil || !strings.Contains(uplink.Explain(err).Error(), "renew it and come back") {
		t.Fatalf("with an ended certificate: %v", err)
	}
	c.Logged("renew it and come back")
	keepFresh(t, c, stale)
	centre.WaitFor(t, "renewal", func() bool { return stale.Certificate().Leaf.NotAfter.After(time.Now()) })
	var reloaded *enroll.Identity
	centre.WaitFor(t, "the renewed identity to be stored", func() bool {
		reloaded, err = enroll.Load(dir)
		return err == nil && reloaded.Certificate().Leaf.NotAfter.After(time.Now())
	})
	if reloaded.Agent != id.Agent {
		t.Fatalf("the renewed identity is that of %v, not %v", reloaded.Agent, id.Agent)
	}
	if reloaded.Certificate().Leaf.PublicKey.(*ecdsa.PublicKey).Equal(id.Certificate().Leaf.PublicKey) {
		t.Error("the renewed certificate has the old key")
	}
	if _, err := uplink.Probe(t.Context(), c.Address, nil, reloaded.ClientTLS()); err != nil {
		t.Fatal(err)
	}
}

// TestSessionOutlivesItsCertificate ends a session an hour after the end of its
// certificate, and has the agent come back with a new one by itself.
func TestSessionOutlivesItsCertificate(t *testing.T) {
	c := centre.New(t)
	dir := t.TempDir()
	c.Join(dir)
	const left = 3 * time.Second
	var asked atomic.Int32
	id := endsAt(t, c, dir, time.Now().Add(-hlc.MaxSkew+left))
	e := startEdge(t, c, id, t.TempDir(), func(u *uplink.Uplink) {
		u.Renew = func(within time.Duration) {
			asked.Add(1)
			if err := id.Renew(t.Context(), []string{c.Address}); err != nil {
				t.Error(err)
			}
		}
	})
	e.observe(3)
	e.arrived(3)
	e.logged("the certificate ended at")
	e.observe(3)
	e.arrived(6)
	if n := asked.Load(); n != 1 || !id.Certificate().Leaf.NotAfter.After(time.Now()) {
		t.Errorf("the certificate was renewed %d times", n)
	}
}

// TestRenewalUnderASession changes the certificate while batches are shipped.
func TestRenewalUnderASession(t *testing.T) {
	c := centre.New(t)
	e := newEdge(t, c)
	e.observe(3)
	e.arrived(3)
	for range 3 {
		old := e.id.Certificate()
		if err := e.id.Renew(t.Context(), []string{c.Address}); err != nil {
			t.Fatal(err)
		}
		if e.id.Certificate().PrivateKey.(*ecdsa.PrivateKey).Equal(old.PrivateKey) {
			t.Error("it has the old key")
		}
		e.observe(3)
		e.arrived(e.sent)
	}
	if n := strings.Count(e.log.String(), "session established"); n != 1 {
		t.Errorf("%d sessions", n)
	}
	c.Stop()
	c.Start()
	e.observe(3)
	e.arrived(e.sent)
}

// TestClocks runs agents whose clocks are off.
func TestClocks(t *testing.T) {
	c := centre.New(t)
	rows := 0
	for _, test := range []struct {
		off  time.Duration
		warn bool
	}{
		{59 * time.Minute, false}, {-59 * time.Minute, false}, {2 * time.Hour, true}, {-2 * time.Hour, true},
	} {
		now := func() time.Time { return time.Now().Add(test.off) }
		id := c.Join(t.TempDir())
		e := startEdge(t, c, id, t.TempDir(), func(u *uplink.Uplink) {
			u.Now, u.Hostname = now, "off-by-"+test.off.String()
			u.Clock = hlc.New(hlc.FromTime(time.Now().Add(max(test.off, 0))))
			u.TLS = func() *tls.Config {
				config := id.ClientTLS()
				config.Time = now
				return config
			}
		})
		e.observe(3)
		rows += 3
		e.arrived(rows)
		if err := id.Renew(t.Context(), []string{c.Address}); err != nil {
			t.Errorf("off by %v: %v", test.off, err)
		}
		e.stop()
		if got := strings.Contains(e.log.String(), "more than an hour apart"); got != test.warn {
			t.Errorf("off by %v: the agent says %s", test.off, e.log)
		}
		warned := false
		for line := range strings.Lines(c.Log.String()) {
			warned = warned || strings.Contains(line, "more than an hour apart") && strings.Contains(line, "hostname=off-by-"+test.off.String()) &&
				strings.Contains(line, "agent_clock=") && strings.Contains(line, "aggregator_clock=")
		}
		if warned != test.warn {
			t.Errorf("off by %v: the aggregator warned: %v", test.off, warned)
		}
	}
}

// startClone starts another uplink with the identity of an agent, in a directory
// of its own or in a copy of the agent's spool.
func startClone(t *testing.T, e *edge, spoolDir string) *edge {
	t.Helper()
	clone := startEdge(t, e.c, e.id, spoolDir, func(u *uplink.Uplink) { u.Hostname = "copy" })
	clone.sent = 1000 // other assets
	return clone
}

func agentOf(t *testing.T, c *centre.Centre, id string) *reevev1.Agent {
	t.Helper()
	list, err := reevev1connect.NewFleetServiceClient(signedIn(t, c)).ListAgents(t.Context(), connect.NewRequest(&reevev1.ListAgentsRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list.Msg.GetAgents() {
		if a.GetId() == id {
			return a
		}
	}
	t.Fatalf("no agent %s", id)
	return nil
}

func TestClones(t *testing.T) {
	for name, sameSpool := range map[string]bool{"another spool": false, "a copy of its spool": true} {
		t.Run(name, func(t *testing.T) {
			c := centre.New(t)
			dir := t.TempDir()
			e := startEdge(t, c, c.Join(t.TempDir()), dir, nil)
			e.observe(5)
			e.arrived(5)
			copied := t.TempDir()
			if sameSpool {
				if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
					t.Fatal(err)
				}
			}
			clone := startClone(t, e, copied)
			clone.observe(5)
			clone.logged("this agent's identity is in use by host at 127.0.0.1:")
			clone.logged("has " + name + " and is held off")
			e.logged("another machine, copy at 127.0.0.1:")
			c.Logged("level=WARN msg=\"refused a session of agent " + e.id.Agent.String())
			e.observe(5)
			e.arrived(10)
			if a := agentOf(t, c, e.id.Agent.ID); a.GetClone().GetHostname() != "copy" || a.GetHostname() != "host" || !a.GetConnected() {
				t.Errorf("shown as %v", a)
			}
			if n := strings.Count(e.log.String(), "session established"); n != 1 {
				t.Errorf("the first had %d sessions", n)
			}
			if strings.Contains(clone.log.String(), "session established") {
				t.Error("the clone had a session")
			}
			if n := strings.Count(clone.log.String(), "no session with the aggregator"); n != 1 {
				t.Errorf("the clone tried %d times", n)
			}
			// A held-off clone has lost nothing.
			if waiting := clone.spool.Stat()[0].Waiting; waiting < 5 {
				t.Errorf("%d records wait at the clone", waiting)
			}
		})
	}
}

// TestRestartIsNoClone starts an agent again whose old process vanished without a
// word, and one that says goodbye.
func TestRestartIsNoClone(t *testing.T) {
	c := centre.New(t)
	id := c.Join(t.TempDir())
	// The old process: its connection stays open at the gateway, and it does not
	// answer any more.
	hello(t, dial(t, transport.QUIC, c, id.ClientTLS()), &wirev1.Hello{Protocol: 1, SpoolId: goodHello.SpoolId, InstanceId: "old"})
	c.Logged("agent has connected")
	dir := t.TempDir()
	sent := 0
	for range 3 {
		e := startEdge(t, c, id, dir, nil)
		e.sent = sent
		e.observe(3)
		sent += 3
		e.arrived(sent)
		e.stop()
		if err := e.close(); err != nil {
			t.Fatal(err)
		}
		if text := e.log.String(); strings.Contains(text, "identity is in use") {
			t.Errorf("a restarted agent was taken for a clone: %s", text)
		}
	}
	if a := agentOf(t, c, id.Agent.ID); a.GetClone() != nil {
		t.Errorf("shown as %v", a)
	}
}

// TestFirstOfTwoClonesComesBack lets the first be too slow once.
func TestFirstOfTwoClonesComesBack(t *testing.T) {
	c := centre.New(t)
	id := c.Join(t.TempDir())
	open := func() transport.Conn {
		conn := dial(t, transport.QUIC, c, id.ClientTLS())
		hello(t, conn, &wirev1.Hello{Protocol: 1, SpoolId: goodHello.SpoolId, InstanceId: "first", Hostname: "first"})
		return conn
	}
	first := open()
	c.Logged("agent has connected")
	clone := startEdge(t, c, id, t.TempDir(), nil)
	clone.logged("session established") // the first one did not answer
	<-first.Done()
	again := open()
	clone.logged("is in use by first at 127.0.0.1:")
	if a := agentOf(t, c, id.Agent.ID); a.GetClone().GetHostname() != "host" {
		t.Errorf("shown as %v", a)
	}
	select {
	case <-again.Done():
		t.Error("the first was ended")
	default:
	}
}

// TestRotateCA changes the aggregator's authority under agents that ship all the
// while.
func TestRotateCA(t *testing.T) {
	c := centre.New(t)
	var edges []*edge
	for range 2 {
		id := c.Join(t.TempDir())
		edges = append(edges, startEdge(t, c, id, t.TempDir(), func(u *uplink.Uplink) {
			// Otherwise spread over minutes.
			u.Renew = func(time.Duration) { id.RenewSoon(0) }
		}))
		keepFresh(t, c, id)
	}
	edges[1].sent = 1000
	ship := func() {
		t.Helper()
		for _, e := range edges {
			e.observe(5)
		}
		for _, e := range edges {
			centre.WaitFor(t, "everything acknowledged", func() bool { return e.spool.Stat()[0].Waiting == 0 })
		}
	}
	away, lost := c.Join(t.TempDir()), c.Join(t.TempDir())
	token := c.Token("west", 1, time.Hour)
	ship()

	old := c.CA.Pin().String()
	fleet := reevev1connect.NewFleetServiceClient(signedIn(t, c)) // it knows the old authority only
	if _, err := fleet.RotateCertificateAuthority(t.Context(), connect.NewRequest(&reevev1.RotateCertificateAuthorityRequest{})); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	signed := func(by string) int32 {
		list, err := fleet.ListCertificateAuthorities(t.Context(), connect.NewRequest(&reevev1.ListCertificateAuthoritiesRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		for _, ca := range list.Msg.GetCertificateAuthorities() {
			if ca.GetHash() == by {
				return ca.GetAgents()
			}
		}
		return -1
	}
	centre.WaitFor(t, "connected agents to move over", func() bool {
		ship()
		return signed(c.CA.Pin().String()) == 2
	})
	t.Logf("agents moved over %v after the rotation", time.Since(began))

	retire := func(force bool) error {
		_, err := fleet.RetireCertificateAuthority(t.Context(),
			connect.NewRequest(&reevev1.RetireCertificateAuthorityRequest{Hash: old, Force: force}))
		return err
	}
	err := retire(false)
	code(t, err, connect.CodeFailedPrecondition, "2 agents (")
	code(t, err, connect.CodeFailedPrecondition, away.Agent.ID)
	code(t, err, connect.CodeFailedPrecondition, "1 join tokens ("+token.ID+")")
	ship()
	// Who was away all the while comes back by itself, also after another rotation.
	if _, err := fleet.RotateCertificateAuthority(t.Context(), connect.NewRequest(&reevev1.RotateCertificateAuthorityRequest{})); err != nil {
		t.Fatal(err)
	}
	back := startEdge(t, c, away, t.TempDir(), func(u *uplink.Uplink) { u.Renew = func(time.Duration) { away.RenewSoon(0) } })
	keepFresh(t, c, away)
	back.sent = 2000
	edges = append(edges, back)
	ship()
	if _, err := enroll.Join(t.Context(), t.TempDir(), token, nil, "late", nil, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatalf("a token from before the rotation: %v", err)
	}
	centre.WaitFor(t, "all that are connected to move over", func() bool {
		ship()
		return signed(c.CA.Pin().String()) == 4
	})
	code(t, retire(false), connect.CodeFailedPrecondition, "needed by 1 agents ("+lost.Agent.ID+" on host):")
	for _, e := range edges {
		if text := e.log.String(); strings.Contains(text, "no session") {
			t.Errorf("an agent lost its session before the authority was retired: %s", text)
		}
	}

	pinned, address := signedIn(t, c) // with the newest authority
	fleet = reevev1connect.NewFleetServiceClient(pinned, address)
	if err := retire(true); err != nil {
		t.Fatal(err)
	}
	ship()
	centre.WaitFor(t, "agents to forget the retired authority", func() bool {
		for _, e := range edges {
			if a, err := c.Registry.Agent(t.Context(), e.id.Agent.ID); err != nil || !slices.Equal(a.CAs, c.CA.Pins()) {
				return false
			}
		}
		return true
	})
	ship()
	for _, e := range edges {
		for line := range strings.Lines(e.log.String()) {
			if strings.Contains(line, "no session") && !strings.Contains(line, "was retired: come back") {
				t.Errorf("a session failed: %s", line)
			}
		}
		if n := strings.Count(e.log.String(), "session established"); n > 2 {
			t.Errorf("%d sessions: %s", n, e.log)
		}
	}
	if got := warehousetest.Rows(t, c.Store, "asset_version"); got != edges[0].sent+edges[1].sent-1000+edges[2].sent-2000 {
		t.Errorf("%d rows", got)
	}

	// Who was not back in time is told so, at both sides.
	_, err = uplink.Probe(t.Context(), c.Address, nil, lost.ClientTLS())
	if err == nil || !strings.Contains(uplink.Explain(err).Error(), "retired while this agent was away, stop the agent") {
		t.Errorf("a lost agent: %v", err)
	}
	config := lost.ClientTLS()
	config.VerifyConnection = nil
	_, err = uplink.Probe(t.Context(), c.Address, nil, config)
	if err == nil || !strings.Contains(uplink.Explain(err).Error(), "a certificate authority that was retired") {
		t.Errorf("a lost agent: %v", err)
	}
	c.Logged("whose certificate is not one of this aggregator's agents")
	var audited []string
	for e, err := range c.Registry.Store().Audit(t.Context(), began.Add(-time.Minute), time.Time{}) {
		if err == nil && strings.HasPrefix(e.Action, "ca.") {
			audited = append(audited, e.Actor+" "+e.Action)
		}
	}
	if got := strings.Join(audited, ", "); got != "user:test ca.rotate, user:test ca.rotate, user:test ca.retire" {
		t.Errorf("audited: %s", got)
	}
}
