package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/reeve-cloud/reeve/aggregator/registry"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/identity"
)

func TestEnroll(t *testing.T) {
	f := start(t, nil)
	shown, token := f.joinToken("lab", 1)
	_, csr := newRequest(t)
	res, err := f.enrollment(nil).Enroll(t.Context(), enrollRequest(token, csr))
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(res.Msg.GetCertificate())
	if err != nil {
		t.Fatal(err)
	}
	agent, err := f.ca.VerifyAgent(certificate, 0)
	if err != nil || agent.Site != "lab" || agent.ID != res.Msg.GetAgentId() || res.Msg.GetSite() != "lab" {
		t.Errorf("agent %v, %v; answer %v", agent, err, res.Msg)
	}
	if cas := res.Msg.GetCaCertificates(); len(cas) != 1 || string(cas[0]) != string(f.ca.Certificate().Raw) {
		t.Error("wrong CA certificates")
	}
	known, err := f.registry.Agent(t.Context(), agent.ID)
	if err != nil || known.Hostname != "node-1" || known.JoinToken != shown.GetId() ||
		!known.CertificateExpireTime.Equal(certificate.NotAfter) {
		t.Errorf("recorded: %+v, %v", known, err)
	}
	if line := f.log.waitFor(t, "an agent joined"); !strings.Contains(line, agent.ID) || strings.Contains(f.log.String(), token.Secret) {
		t.Errorf("log line: %s", line)
	}

	// The answer was lost: the same request again gets the same agent.
	again, err := f.enrollment(nil).Enroll(t.Context(), enrollRequest(token, csr))
	if err != nil || again.Msg.GetAgentId() != agent.ID {
		t.Errorf("again: %v, %v", again, err)
	}
	_, other := newRequest(t)
	_, err = f.enrollment(nil).Enroll(t.Context(), enrollRequest(token, other))
	wantError(t, err, connect.CodePermissionDenied, "used up")
	if f.metric("reeve_api_refused_enrollments_total", "used_up_token") != 1 {
		t.Error("not counted")
	}
	line := f.log.waitFor(t, "refused an agent")
	if !strings.Contains(line, "used up") || !strings.Contains(line, "address=127.0.0.1:") || !strings.Contains(line, token.ID) {
		t.Errorf("log line: %s", line)
	}
	list, err := f.fleet().ListJoinTokens(t.Context(), connect.NewRequest(&reevev1.ListJoinTokensRequest{}))
	if err != nil || list.Msg.GetTokens()[0].GetUses() != 1 || list.Msg.GetTokens()[0].GetLastUseTime() == nil {
		t.Errorf("tokens: %v, %v", list, err)
	}
}

func TestTokensThatDoNotServe(t *testing.T) {
	f := start(t, nil)
	_, csr := newRequest(t)
	enroll := func(token identity.JoinToken) error {
		_, err := f.enrollment(nil).Enroll(t.Context(), enrollRequest(token, csr))
		return err
	}
	res, err := f.fleet().CreateJoinToken(t.Context(),
		connect.NewRequest(&reevev1.CreateJoinTokenRequest{Site: "lab", Ttl: durationpb.New(time.Nanosecond)}))
	if err != nil {
		t.Fatal(err)
	}
	expired, err := identity.ParseJoinToken(res.Msg.GetSecret())
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, enroll(expired), connect.CodePermissionDenied, "expired")

	shown, token := f.joinToken("lab", 1)
	wrong := token
	wrong.Secret = identity.NewSecret()
	wantError(t, enroll(wrong), connect.CodeUnauthenticated, "unknown")
	wrong = token
	wrong.ID = "nosuch"
	wantError(t, enroll(wrong), connect.CodeUnauthenticated, "unknown")
	wrong.ID = ""
	wantError(t, enroll(wrong), connect.CodeInvalidArgument, "token_id")
	wrong.ID = strings.Repeat("x", 5000) + "\n"
	wantError(t, enroll(wrong), connect.CodeInvalidArgument, "token_id")

	if _, err := f.fleet().DeleteJoinToken(t.Context(), connect.NewRequest(&reevev1.DeleteJoinTokenRequest{Id: shown.GetId()})); err != nil {
		t.Fatal(err)
	}
	wantError(t, enroll(token), connect.CodeUnauthenticated, "unknown")
	for range f.registry.Agents(t.Context(), "") {
		t.Error("an agent got in")
	}
}

func TestGarbageRequestsCostNoUse(t *testing.T) {
	f := start(t, nil)
	_, token := f.joinToken("lab", 1)
	_, good := newRequest(t)
	forged := append([]byte(nil), good...)
	forged[len(forged)-1] ^= 1
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	otherKey, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, p384)
	if err != nil {
		t.Fatal(err)
	}
	for name, csr := range map[string][]byte{
		"none": nil, "garbage": []byte("garbage"), "cut off": good[:len(good)/2], "forged": forged, "other kind of key": otherKey,
	} {
		_, err := f.enrollment(nil).Enroll(t.Context(), enrollRequest(token, csr))
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
		wantError(t, err, connect.CodeInvalidArgument, "certificate_request:")
	}
	if _, err := f.enrollment(nil).Enroll(t.Context(), enrollRequest(token, good)); err != nil {
		t.Errorf("the use was lost: %v", err)
	}
}

// TestOddNames has machines with names that nobody should have. They join, and their
// names can be shown.
func TestOddNames(t *testing.T) {
	f := start(t, nil)
	for hostname, want := range map[string]string{
		strings.Repeat("x", 300): strings.Repeat("x", maxHostname), "two\nlines\x1b[31m": "two\ufffdlines\ufffd[31m", "": "",
	} {
		_, token := f.joinToken("lab", 1)
		_, csr := newRequest(t)
		req := enrollRequest(token, csr)
		req.Msg.Hostname = hostname
		res, err := f.enrollment(nil).Enroll(t.Context(), req)
		if err != nil {
			t.Errorf("%q: %v", hostname, err)
			continue
		}
		if a, err := f.registry.Agent(t.Context(), res.Msg.GetAgentId()); err != nil || a.Hostname != want {
			t.Errorf("%q is kept as %q, %v", hostname, a.Hostname, err)
		}
	}
}

func TestRenew(t *testing.T) {
	f := start(t, nil)
	id, certificate := f.enroll("lab")
	_, csr := newRequest(t) // with another key
	renew := func(shown *tls.Certificate, csr []byte) ([]byte, error) {
		res, err := f.enrollment(shown).Renew(t.Context(), connect.NewRequest(&reevev1.RenewRequest{CertificateRequest: csr}))
		if err != nil {
			return nil, err
		}
		return res.Msg.GetCertificate(), nil
	}
	der, err := renew(certificate, csr)
	if err != nil {
		t.Fatal(err)
	}
	renewed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if agent, err := f.ca.VerifyAgent(renewed, 0); err != nil || agent.ID != id {
		t.Errorf("renewed: %v, %v", agent, err)
	}
	_, err = renew(nil, csr)
	wantError(t, err, connect.CodeUnauthenticated, "no client certificate")
	_, err = renew(certificate, []byte("garbage"))
	wantError(t, err, connect.CodeInvalidArgument, "certificate_request:")

	uri := "spiffe://reeve/site/lab/agent/" + id
	caDir := f.caDir
	ended := certificateOf(t, caDir, uri, time.Now().Add(-20*24*time.Hour))
	if _, err := renew(ended, csr); err != nil {
		t.Errorf("ended, in its grace: %v", err)
	}
	_, err = renew(certificateOf(t, caDir, uri, time.Now().Add(-31*24*time.Hour)), csr)
	wantError(t, err, connect.CodeUnauthenticated, "does not serve")

	foreignDir := t.TempDir()
	if _, err := identity.MakeCA(foreignDir); err != nil {
		t.Fatal(err)
	}
	_, err = renew(certificateOf(t, foreignDir, uri, time.Now().Add(time.Hour)), csr)
	wantError(t, err, connect.CodeUnauthenticated, "does not serve")
	_, err = renew(certificateOf(t, caDir, "spiffe://reeve/aggregator", time.Now().Add(time.Hour)), csr)
	wantError(t, err, connect.CodeUnauthenticated, "does not serve")
	_, err = renew(certificateOf(t, caDir, "spiffe://reeve/site/other/agent/"+id, time.Now().Add(time.Hour)), csr)
	wantError(t, err, connect.CodePermissionDenied, "does not know")
	if got := f.metric("reeve_api_refused_enrollments_total", "bad_certificate"); got != 3 {
		t.Errorf("metric %v", got)
	}

	if _, err := f.registry.RevokeAgent(t.Context(), registry.System, id, time.Now()); err != nil {
		t.Fatal(err)
	}
	_, err = renew(certificate, csr)
	wantError(t, err, connect.CodePermissionDenied, "revoked")
}

func TestRenewalsOfOneAgentAreLimited(t *testing.T) {
	f := start(t, nil)
	_, certificate := f.enroll("lab")
	_, csr := newRequest(t)
	client := f.enrollment(certificate)
	var err error
	for range 6 {
		_, err = client.Renew(t.Context(), connect.NewRequest(&reevev1.RenewRequest{CertificateRequest: csr}))
	}
	wantError(t, err, connect.CodeResourceExhausted, "too often")
}

func TestEnrollmentsOfOneAddressAreLimited(t *testing.T) {
	f := start(t, nil)
	client := f.enrollment(nil)
	var limited bool
	for range 1000 {
		_, err := client.Enroll(t.Context(), connect.NewRequest(&reevev1.EnrollRequest{}))
		if limited = connect.CodeOf(err) == connect.CodeResourceExhausted; limited {
			break
		}
	}
	if !limited {
		t.Error("1000 attempts were let through")
	}
	f.check()
}
