package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/reeve-cloud/reeve/pkg/atomicfile"
	"github.com/reeve-cloud/reeve/pkg/hlc"
)

const (
	// AgentCertificateLife is how long an agent's certificate holds. It is
	// renewed after two thirds of that.
	AgentCertificateLife = 24 * time.Hour
	// RenewalGrace is how long after its end a certificate still serves to get
	// a new one, and nothing else: an agent that was cut off for weeks comes
	// back by itself.
	RenewalGrace = 30 * 24 * time.Hour

	caLife     = 10 * 365 * 24 * time.Hour
	serverLife = 30 * 24 * time.Hour
	// backdate lets a peer use a certificate at once whose clock is behind.
	backdate = hlc.MaxSkew + 10*time.Minute
)

// CA is an aggregator's certificate authority.
type CA struct {
	cert *x509.Certificate
	key  crypto.Signer
	now  func() time.Time
}

// LoadCA reads the CA out of dir, or makes one there. The key file is readable
// by its owner only.
func LoadCA(dir string) (*CA, error) {
	certFile, keyFile := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	if _, err := os.Stat(certFile); errors.Is(err, fs.ErrNotExist) {
		if err := makeCA(dir, certFile, keyFile); err != nil {
			return nil, fmt.Errorf("making the certificate authority in %s: %w", dir, err)
		}
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate authority in %s: %w", dir, err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA {
		return nil, fmt.Errorf("reading the certificate authority in %s: ca.crt and ca.key are not those of a CA", dir)
	}
	return &CA{cert: pair.Leaf, key: key, now: time.Now}, nil
}

func makeCA(dir, certFile, keyFile string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	key, err := NewKey()
	if err != nil {
		return err
	}
	now := time.Now()
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "Reeve CA " + now.UTC().Format("2006-01-02")},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := issue(template, template, key.Public(), key)
	if err != nil {
		return err
	}
	if err := WriteKey(keyFile, key); err != nil {
		return err
	}
	// The certificate comes last: it is what says that a CA is there.
	return WriteCertificates(certFile, der)
}

// Certificate returns the CA's own certificate.
func (ca *CA) Certificate() *x509.Certificate { return ca.cert }

// Pin returns the CA's pin.
func (ca *CA) Pin() Pin { return PinOf(ca.cert) }

// IssueAgent makes a client certificate for the public key of a PKCS #10
// request in DER. Nothing else of the request is used.
func (ca *CA) IssueAgent(a Agent, request []byte) (der []byte, err error) {
	csr, err := x509.ParseCertificateRequest(request)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate request: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("checking the certificate request's signature: %w", err)
	}
	if key, ok := csr.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("certificate request: the key must be ECDSA P-256")
	}
	now := ca.now()
	return issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: a.ID},
		URIs:        []*url.URL{a.uri()},
		NotBefore:   now.Add(-backdate),
		NotAfter:    now.Add(AgentCertificateLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, ca.cert, csr.PublicKey, ca.key)
}

// IssueAggregator makes an aggregator's certificate, with a new key, that also
// names the hosts (names or IP addresses) for the sake of browsers. Its chain
// includes the CA.
func (ca *CA) IssueAggregator(hosts []string) (*tls.Certificate, error) {
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	now := ca.now()
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "Reeve aggregator"},
		URIs:        []*url.URL{{Scheme: scheme, Host: trustDomain, Path: aggregatorPath}},
		NotBefore:   now.Add(-backdate),
		NotAfter:    now.Add(serverLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if h != "" {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := issue(template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, ca.cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// issue signs a certificate. Its time is kept within its parent's, so that there
// is no moment of it at which the chain does not hold.
func issue(template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) ([]byte, error) {
	if template.NotBefore.Before(parent.NotBefore) {
		template.NotBefore = parent.NotBefore
	}
	if template.NotAfter.After(parent.NotAfter) {
		template.NotAfter = parent.NotAfter
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate: %w", err)
	}
	return der, nil
}

// NewKey makes a private key of the kind that every certificate here has.
func NewKey() (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	return key, nil
}

// WriteKey stores a private key as PEM, readable by its owner only.
func WriteKey(file string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encoding the private key: %w", err)
	}
	return writeFile(file, 0o600, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// ReadKey reads what WriteKey stored. The error is fs.ErrNotExist if there is no
// such file.
func ReadKey(file string) (crypto.Signer, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s: holds no key", file)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: a %T cannot sign", file, parsed)
	}
	return key, nil
}

// WriteCertificates stores certificates, given in DER, as one PEM file.
func WriteCertificates(file string, ders ...[]byte) error {
	var blocks []*pem.Block
	for _, der := range ders {
		blocks = append(blocks, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	return writeFile(file, 0o644, blocks...)
}

func writeFile(file string, mode fs.FileMode, blocks ...*pem.Block) error {
	var data []byte
	for _, b := range blocks {
		data = append(data, pem.EncodeToMemory(b)...)
	}
	return atomicfile.Write(file, data, mode)
}
