package api

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/reeve-cloud/reeve/aggregator/admission"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
	"github.com/reeve-cloud/reeve/pkg/identity"
)

const maxHostname = 253

// maxPublicKey is the size in bytes of the largest public key that is looked at.
const maxPublicKey = 4 << 10

type enrollmentService struct{ *Server }

var _ reevev1connect.EnrollmentServiceHandler = enrollmentService{}

// refusal is why an agent is not let in. Its reason is one word, for metrics.
type refusal struct {
	reason string
	code   connect.Code
	text   string
}

func (r *refusal) Error() string { return r.text }

// admitEnrollment bounds how often one client may try to enroll. It runs before
// the call's body is read.
func (s *Server) admitEnrollment(ctx context.Context, spec connect.Spec, peer connect.Peer, _ http.Header) (context.Context, error) {
	asks := spec.Procedure == reevev1connect.EnrollmentServiceEnrollProcedure ||
		spec.Procedure == reevev1connect.EnrollmentServiceCheckJoinTokenProcedure
	if asks && !s.enrollAttempts.Allow(admission.Network(peer.Addr), time.Now()) {
		return nil, s.refuse(ctx, "enroll", peer.Addr, &refusal{"too_often", connect.CodeResourceExhausted,
			"too many enrollments from this address: try again in a few seconds"})
	}
	return ctx, nil
}

// refuse counts and logs a refusal and returns it as an answer.
func (s *Server) refuse(ctx context.Context, what, address string, r *refusal, args ...any) error {
	s.metrics.refusedEnrollments.WithLabelValues(r.reason).Inc()
	s.refusedEnrollments.log(ctx, slog.LevelWarn, "refused an agent",
		append([]any{"request", what, "reason", r.text, "address", address}, args...)...)
	return connect.NewError(r.code, errors.New(r.text))
}

func (s enrollmentService) Enroll(ctx context.Context, req *connect.Request[reevev1.EnrollRequest]) (
	*connect.Response[reevev1.EnrollResponse], error) {
	address, m := req.Peer().Addr, req.Msg
	agent, certificate, err := s.enroll(ctx, address, m)
	if r := (*refusal)(nil); errors.As(err, &r) {
		return nil, s.refuse(ctx, "enroll", address, r, "token_id", shorten(m.GetTokenId()), "hostname", shorten(m.GetHostname()))
	}
	if err != nil {
		return nil, s.failed(ctx, "enrolling an agent", err)
	}
	s.options.Logger.InfoContext(ctx, "an agent joined", "agent_id", agent.ID, "site", agent.Site,
		"hostname", agent.Hostname, "token_id", agent.JoinToken, "address", address)
	return connect.NewResponse(&reevev1.EnrollResponse{
		AgentId:        agent.ID,
		Site:           agent.Site,
		Certificate:    certificate,
		CaCertificates: s.authorities(),
	}), nil
}

func (s enrollmentService) enroll(ctx context.Context, address string, m *reevev1.EnrollRequest) (agent registry.Agent, certificate []byte,
	err error) {
	if !isTokenPart(m.GetTokenId()) || !isTokenPart(m.GetTokenSecret()) {
		return agent, nil, badRequest("token_id, token_secret: must be those of a join token")
	}
	request, err := x509.ParseCertificateRequest(m.GetCertificateRequest())
	if err != nil {
		return agent, nil, badRequest("certificate_request: must be a PKCS #10 certificate request in DER")
	}
	agent, err = s.options.Registry.Enroll(ctx, registry.Enrollment{
		TokenID: m.GetTokenId(), Secret: m.GetTokenSecret(),
		PublicKey: request.RawSubjectPublicKeyInfo,
		Hostname:  identity.CleanName(m.GetHostname(), maxHostname),
		Address:   address,
		Now:       time.Now(),
		CAs:       s.options.CA.Pins(),
		Issue: func(site, id string) (expire time.Time, err error) {
			certificate, expire, err = s.issue(identity.Agent{Site: site, ID: id}, m.GetCertificateRequest())
			return expire, err
		},
	})
	return agent, certificate, tokenRefusal(err)
}

// tokenRefusal makes a refusal of what the registry says of a join token.
func tokenRefusal(err error) error {
	switch {
	case errors.Is(err, registry.ErrTokenUnknown):
		return &refusal{"unknown_token", connect.CodeUnauthenticated,
			"the join token is unknown: it was deleted, is damaged, or is another aggregator's; make a new one"}
	case errors.Is(err, registry.ErrTokenExpired):
		return &refusal{"expired_token", connect.CodePermissionDenied, "the join token has expired: make a new one"}
	case errors.Is(err, registry.ErrTokenUsedUp):
		return &refusal{"used_up_token", connect.CodePermissionDenied,
			"the join token is used up: as many agents have joined with it as may; make a new one"}
	case errors.Is(err, registry.ErrAgentRevoked):
		return &refusal{"revoked_agent", connect.CodePermissionDenied, identity.Revoked}
	}
	return err
}

// CheckJoinToken answers whether Enroll would let an agent in.
func (s enrollmentService) CheckJoinToken(ctx context.Context,
	req *connect.Request[reevev1.CheckJoinTokenRequest]) (*connect.Response[reevev1.CheckJoinTokenResponse], error) {
	site, err := s.checkJoinToken(ctx, req.Msg)
	if r := (*refusal)(nil); errors.As(err, &r) {
		return nil, s.refuse(ctx, "check", req.Peer().Addr, r, "token_id", shorten(req.Msg.GetTokenId()))
	}
	if err != nil {
		return nil, s.failed(ctx, "checking a join token", err)
	}
	return connect.NewResponse(&reevev1.CheckJoinTokenResponse{Site: site}), nil
}

func (s enrollmentService) checkJoinToken(ctx context.Context, m *reevev1.CheckJoinTokenRequest) (site string, err error) {
	if !isTokenPart(m.GetTokenId()) || !isTokenPart(m.GetTokenSecret()) {
		return "", badRequest("token_id, token_secret: must be those of a join token")
	}
	if len(m.GetPublicKey()) > maxPublicKey {
		return "", badRequest(fmt.Sprintf("public_key: must be at most %d bytes", maxPublicKey))
	}
	site, err = s.options.Registry.CheckEnrollment(ctx, m.GetTokenId(), m.GetTokenSecret(), m.GetPublicKey(), time.Now())
	return site, tokenRefusal(err)
}

func (s enrollmentService) Renew(ctx context.Context, req *connect.Request[reevev1.RenewRequest]) (
	*connect.Response[reevev1.RenewResponse], error) {
	address := req.Peer().Addr
	agent, certificate, err := s.renew(ctx, address, req.Msg)
	if r := (*refusal)(nil); errors.As(err, &r) {
		return nil, s.refuse(ctx, "renew", address, r, "agent_id", agent.ID)
	}
	if err != nil {
		return nil, s.failed(ctx, "renewing a certificate", err)
	}
	s.options.Logger.DebugContext(ctx, "an agent's certificate was renewed", "agent_id", agent.ID, "site", agent.Site, "address", address)
	return connect.NewResponse(&reevev1.RenewResponse{
		Certificate:    certificate,
		CaCertificates: s.authorities(),
	}), nil
}

func (s enrollmentService) renew(ctx context.Context, address string, m *reevev1.RenewRequest) (agent identity.Agent, certificate []byte,
	err error) {
	shown := exchangeOf(ctx).certificate
	if shown == nil {
		return agent, nil, &refusal{"no_certificate", connect.CodeUnauthenticated,
			"no client certificate: renew over a TLS connection made with the agent's certificate, with no proxy in between that ends TLS"}
	}
	agent, err = s.options.CA.VerifyAgent(shown, identity.RenewalGrace)
	if err != nil {
		return agent, nil, &refusal{"bad_certificate", connect.CodeUnauthenticated,
			fmt.Sprintf("the client certificate does not serve (%v): %s", err, identity.JoinAnew)}
	}
	revoked := &refusal{"revoked_agent", connect.CodePermissionDenied, identity.Revoked}
	known, err := s.options.Registry.Agent(ctx, agent.ID)
	if errors.Is(err, registry.ErrNotFound) || err == nil && known.Site != agent.Site {
		return agent, nil, &refusal{"unknown_agent", connect.CodePermissionDenied,
			"this aggregator does not know the agent, it may have been set up anew: " + identity.JoinAnew}
	}
	if err != nil {
		return agent, nil, err
	}
	if known.Revoked() {
		return agent, nil, revoked
	}
	if !s.renewAttempts.Allow(agent.ID, time.Now()) {
		return agent, nil, &refusal{"too_often", connect.CodeResourceExhausted, "this agent renews too often: try again in a minute"}
	}
	// Asked for before the certificate is issued: if the authorities change in
	// between, the agent is asked to renew again.
	cas := s.options.CA.Pins()
	certificate, expire, err := s.issue(agent, m.GetCertificateRequest())
	if err != nil {
		return agent, nil, err
	}
	err = s.options.Registry.AgentRenewed(ctx, registry.Actor{Name: "agent:" + agent.ID, Address: address}, agent.ID, expire, cas)
	if errors.Is(err, registry.ErrAgentRevoked) {
		return agent, nil, revoked
	}
	return agent, certificate, err
}

// authorities returns the certificates that an agent is to trust from now on.
func (s enrollmentService) authorities() (ders [][]byte) {
	for _, c := range s.options.CA.Certificates() {
		ders = append(ders, c.Raw)
	}
	return ders
}

// issue makes an agent's certificate and returns its end. The error is a refusal
// if it is the request's fault.
func (s enrollmentService) issue(agent identity.Agent, request []byte) (der []byte, expire time.Time, err error) {
	der, err = s.options.CA.IssueAgent(agent, request)
	if err != nil {
		return nil, time.Time{}, badRequest("certificate_request: " + err.Error())
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("reading the certificate just made: %w", err)
	}
	return der, certificate.NotAfter, nil
}

func badRequest(text string) *refusal {
	return &refusal{"bad_request", connect.CodeInvalidArgument, text}
}

// shorten keeps what a stranger sent from filling a log line.
func shorten(s string) string {
	const enough = 64
	if len(s) > enough {
		return s[:enough] + "..."
	}
	return s
}
