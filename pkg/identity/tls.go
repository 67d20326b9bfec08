package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/reeve-cloud/reeve/pkg/hlc"
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
	config := &tls.Config{
		MinVersion: tls.VersionTLS13,
		// The standard check wants a host name. VerifyConnection does all that
		// it does, with the URI name in the host name's place.
		InsecureSkipVerify: true,
	}
	config.VerifyConnection = func(cs tls.ConnectionState) error {
		now := time.Now
		if config.Time != nil {
			now = config.Time
		}
		pool, err := roots(cs.PeerCertificates)
		if err != nil {
			return err
		}
		return verifyServer(cs.PeerCertificates, pool, now())
	}
	return config
}

func verifyServer(chain []*x509.Certificate, roots *x509.CertPool, now time.Time) error {
	leaf := chain[0]
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: intermediates,
		CurrentTime:   within(leaf, now),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}); err != nil {
		return fmt.Errorf("%w: %w", ErrWrongCA, err)
	}
	if !isAggregator(leaf) {
		return errors.New("the server's certificate is not that of a reeve aggregator")
	}
	if now.After(leaf.NotAfter.Add(hlc.MaxSkew)) {
		return fmt.Errorf("the aggregator's %w: set the clock of the machine that is wrong", &ExpiredError{End: leaf.NotAfter, Now: now})
	}
	return nil
}

// within returns the moment in a certificate's life that is nearest to now.
//
// Who checks a certificate decides itself how long after its end it serves. One
// that does not hold yet always serves: the CA has signed it already, so it is
// this machine's clock that is behind, be it by an hour or, without a battery, by
// decades.
func within(cert *x509.Certificate, now time.Time) time.Time {
	switch {
	case now.Before(cert.NotBefore):
		return cert.NotBefore
	case now.After(cert.NotAfter):
		return cert.NotAfter
	}
	return now
}

// ExpiredError means that a certificate is good but for its time.
type ExpiredError struct {
	// End is the certificate's, Now what this machine's clock says.
	End, Now time.Time
}

func (e *ExpiredError) Error() string {
	return fmt.Sprintf("certificate ended at %s, and this machine's clock says %s", e.End.UTC().Format(time.RFC3339),
		e.Now.UTC().Format(time.RFC3339))
}

// VerifyAgent checks that a certificate that a client has proved to hold was
// issued by the CA to an agent, and returns the agent. An ended certificate is
// accepted for grace after its end; later the error is an ExpiredError, and the
// agent is returned with it.
func (ca *CA) VerifyAgent(cert *x509.Certificate, grace time.Duration) (Agent, error) {
	now := ca.now()
	if _, err := cert.Verify(x509.VerifyOptions{
		Roots:       ca.Pool(),
		CurrentTime: within(cert, now),
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return Agent{}, fmt.Errorf("verifying the client certificate: %w", err)
	}
	agent, err := AgentOf(cert)
	if err == nil && now.After(cert.NotAfter.Add(grace)) {
		err = fmt.Errorf("the agent's %w", &ExpiredError{End: cert.NotAfter, Now: now})
	}
	return agent, err
}
