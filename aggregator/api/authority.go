package api

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/identity"
)

func (s fleetService) ListCertificateAuthorities(ctx context.Context,
	_ *connect.Request[reevev1.ListCertificateAuthoritiesRequest]) (*connect.Response[reevev1.ListCertificateAuthoritiesResponse], error) {
	agents := make(map[string]int32)
	for a, err := range readable(ctx, s.Server, s.options.Registry.Agents(ctx, "")) {
		if err != nil {
			return nil, s.failed(ctx, "counting agents", err)
		}
		if !a.Revoked() && len(a.CAs) > 0 {
			agents[a.CAs[0]]++
		}
	}
	res := &reevev1.ListCertificateAuthoritiesResponse{}
	for i, c := range s.options.CA.Certificates() {
		m := certificateAuthority(c)
		m.Signing, m.Agents = i == 0, agents[m.Hash]
		res.CertificateAuthorities = append(res.CertificateAuthorities, m)
	}
	return connect.NewResponse(res), nil
}

func certificateAuthority(c *x509.Certificate) *reevev1.CertificateAuthority {
	return &reevev1.CertificateAuthority{Hash: identity.PinOf(c).String(), CreateTime: timestamp(identity.CreateTime(c)),
		ExpireTime: timestamp(c.NotAfter)}
}

func (s fleetService) RotateCertificateAuthority(ctx context.Context,
	_ *connect.Request[reevev1.RotateCertificateAuthorityRequest]) (*connect.Response[reevev1.RotateCertificateAuthorityResponse], error) {
	caller, old := CallerFrom(ctx), s.options.CA.Pin().String()
	if err := s.options.CA.MayRotate(); err != nil {
		return nil, connect.NewError(connect.CodeFailedPrecondition, err)
	}
	// First, so that there is no change that is not in the audit trail.
	if err := s.options.Registry.AuthorityRotated(ctx, caller.Actor(), old, time.Now()); err != nil {
		return nil, s.failed(ctx, "rotating the certificate authority", err)
	}
	pin, err := s.options.CA.Rotate()
	if err != nil {
		return nil, s.failed(ctx, "rotating the certificate authority", err)
	}
	s.options.Logger.InfoContext(ctx, "a new certificate authority signs from now on", "ca_hash", pin.String(), "before", old, "user",
		caller.User, "address", caller.Address)
	m := certificateAuthority(s.options.CA.Certificate())
	m.Signing = true
	return connect.NewResponse(&reevev1.RotateCertificateAuthorityResponse{CertificateAuthority: m}), nil
}

func (s fleetService) RetireCertificateAuthority(ctx context.Context,
	req *connect.Request[reevev1.RetireCertificateAuthorityRequest]) (*connect.Response[reevev1.RetireCertificateAuthorityResponse], error) {
	caller := CallerFrom(ctx)
	pin, err := identity.ParsePin(req.Msg.GetHash())
	if err != nil {
		return nil, invalid("hash", "%w", err)
	}
	if err := s.options.CA.MayRetire(pin); errors.Is(err, identity.ErrUnknownCA) {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("hash: there is no certificate authority %s", pin))
	} else if err != nil {
		return nil, connect.NewError(connect.CodeFailedPrecondition, err)
	}
	if !req.Msg.GetForce() {
		needed, err := s.needed(ctx, pin.String(), time.Now())
		if err != nil {
			return nil, s.failed(ctx, "looking who needs the certificate authority", err)
		}
		if needed != "" {
			return nil, connect.NewError(connect.CodeFailedPrecondition,
				fmt.Errorf("the certificate authority is still needed by %s: wait for them, revoke or delete them, or use force", needed))
		}
	}
	if err := s.options.Registry.AuthorityRetired(ctx, caller.Actor(), pin.String(), time.Now()); err != nil {
		return nil, s.failed(ctx, "retiring a certificate authority", err)
	}
	if err := s.options.CA.Retire(pin); err != nil {
		return nil, s.failed(ctx, "retiring a certificate authority", err)
	}
	s.options.Logger.InfoContext(ctx, "certificate authority retired", "ca_hash", pin.String(), "force", req.Msg.GetForce(), "user",
		caller.User, "address", caller.Address)
	return connect.NewResponse(&reevev1.RetireCertificateAuthorityResponse{}), nil
}

// needed says which agents and join tokens could do nothing any more without an
// authority that does not sign: it is empty if there are none.
func (s fleetService) needed(ctx context.Context, hash string, now time.Time) (string, error) {
	const named = 5
	var agents, tokens []string
	for a, err := range readable(ctx, s.Server, s.options.Registry.Agents(ctx, "")) {
		if err != nil {
			return "", err
		}
		// Of one of a version before nothing is known until it renews.
		theirs := len(a.CAs) == 0 || a.CAs[0] == hash
		if theirs && !a.Revoked() && now.Before(a.CertificateExpireTime.Add(identity.RenewalGrace)) {
			agents = append(agents, a.ID+" on "+a.Hostname)
		}
	}
	for t, err := range readable(ctx, s.Server, s.options.Registry.JoinTokens(ctx, "")) {
		if err != nil {
			return "", err
		}
		if (t.CA == "" || t.CA == hash) && t.Uses < t.MaxUses && now.Before(t.ExpireTime) {
			tokens = append(tokens, t.ID)
		}
	}
	var parts []string
	for _, of := range []struct {
		what string
		list []string
	}{{"agents", agents}, {"join tokens", tokens}} {
		if n := len(of.list); n > 0 {
			names := strings.Join(of.list[:min(n, named)], ", ")
			if n > named {
				names += ", ..."
			}
			parts = append(parts, fmt.Sprintf("%d %s (%s)", n, of.what, names))
		}
	}
	return strings.Join(parts, " and by "), nil
}
