package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// ErrWrongCA means that a server does not belong to the expected CA.
var ErrWrongCA = errors.New("the server's certificate authority is not the expected one")

// PinnedClient returns a client configuration that accepts exactly the
// aggregators of the CA with the pin, whatever name or address they are
// reached by.
func PinnedClient(pin Pin) *tls.Config {
	return verifyingClient(func(chain []*x509.Certificate) (*x509.CertPool, error) {
		for _, c := range chain[1:] {
			if c.IsCA && PinOf(c) == pin {
				pool := x509.NewCertPool()
				pool.AddCert(c)
				return pool, nil
			}
		}
		return nil, fmt.Errorf("%w: none of the %d certificates that it shows has CA hash %s", ErrWrongCA, len(chain), pin)
	})
}

// AgentClient returns the client configuration of an enrolled agent: it trusts
// the aggregators of the CAs in the pool and shows the certificate that the
// function returns at that moment.
func AgentClient(trust *x509.CertPool, certificate func() *tls.Certificate) *tls.Config {
	c := verifyingClient(func([]*x509.Certificate) (*x509.CertPool, error) { return trust, nil })
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return certificate(), nil
	}
	return c
}

func verifyingClient(roots func(chain []*x509.Certificate) (*x509.CertPool, error)) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		// The standard check wants a host name. VerifyConnection does all that
		// it does, with the URI name in the host name's place.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			pool, err := roots(cs.PeerCertificates)
			if err != nil {
				return err
			}
			leaf := cs.PeerCertificates[0]
			intermediates := x509.NewCertPool()
			for _, c := range cs.PeerCertificates[1:] {
				intermediates.AddCert(c)
			}
			if _, err := leaf.Verify(x509.VerifyOptions{
				Roots:         pool,
				Intermediates: intermediates,
				KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
			}); err != nil {
				return fmt.Errorf("%w: %w", ErrWrongCA, err)
			}
			if !isAggregator(leaf) {
				return errors.New("the server's certificate is not that of a reeve aggregator")
			}
			return nil
		},
	}
}

// VerifyAgent checks that a certificate that a client has proved to hold was
// issued by the CA to an agent, and returns the agent. An ended certificate is
// accepted for grace after its end.
func (ca *CA) VerifyAgent(cert *x509.Certificate, grace time.Duration) (Agent, error) {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	now := time.Now()
	if now.After(cert.NotAfter) && now.Before(cert.NotAfter.Add(grace)) {
		now = cert.NotAfter
	}
	if _, err := cert.Verify(x509.VerifyOptions{
		Roots:       pool,
		CurrentTime: now,
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return Agent{}, fmt.Errorf("verifying the client certificate: %w", err)
	}
	return AgentOf(cert)
}
