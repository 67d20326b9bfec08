package identity

import (
	"crypto/tls"
	"sync"
)

// ServerCertificate is an aggregator's own certificate, made when it is first
// needed, kept in memory, and made anew when a third of its life is left or the
// authorities have changed.
type ServerCertificate struct {
	CA *CA
	// Hosts are the names and addresses that browsers know it by.
	Hosts []string

	mu   sync.Mutex
	cert *tls.Certificate
	by   *authorities
}

// Get returns the certificate.
func (s *ServerCertificate) Get() (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, by := s.CA.now(), s.CA.current()
	if s.cert != nil && s.by == by && now.Before(s.cert.Leaf.NotAfter.Add(-serverLife/3)) {
		return s.cert, nil
	}
	cert, err := by.issueAggregator(s.Hosts, now)
	if err != nil {
		return nil, err
	}
	s.cert, s.by = cert, by
	return cert, nil
}
