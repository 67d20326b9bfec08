package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
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
	"slices"
	"sync"
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

// The files of a CA.
const (
	// caFile has the authority that signs, first, and all else that is shown
	// and trusted.
	caFile = "ca.crt"
	// keyFile is the key of the one that signs.
	keyFile = "ca.key"
	// nextKeyFile is the key of a rotation that is under way.
	nextKeyFile = "ca.key.next"
)

// maxRoots bounds the chain that an aggregator shows.
const maxRoots = 4

// ErrTooManyCAs means that one must be retired before there can be another.
var ErrTooManyCAs = fmt.Errorf("there are %d certificate authorities already: retire the oldest first", maxRoots)

// ErrUnknownCA means that there is no such authority here.
var ErrUnknownCA = errors.New("there is no such certificate authority")

// CA is an aggregator's certificate authority. It can be changed while it is in
// use: [CA.Rotate] makes a new authority that signs from then on, and those
// before it stay trusted until [CA.Retire].
//
// The new one is signed by the one before as well. So whoever trusts one of the
// old ones only, an agent that was away or a join token, trusts what the new one
// signs by the chain that an aggregator shows, and learns of the new one when
// it renews its certificate.
type CA struct {
	dir string
	now func() time.Time

	mu  sync.Mutex
	set *authorities
	// changed is closed when the set is replaced.
	changed chan struct{}
}

// authorities do not change once made.
type authorities struct {
	// key is that of the first root.
	key crypto.Signer
	// roots sign themselves and are trusted. The first signs, the newest of the
	// others follows.
	roots []*x509.Certificate
	// crossed are roots as signed by the one before them.
	crossed []*x509.Certificate
}

// ErrNoCA means that a directory holds neither certificates nor keys of a CA.
var ErrNoCA = errors.New("there is no certificate authority")

// LoadCA reads the CA out of dir. It never makes one. The error is ErrNoCA if
// nothing of one is there.
func LoadCA(dir string) (*CA, error) {
	set, err := loadAuthorities(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate authority in %s: %w", dir, err)
	}
	return &CA{dir: dir, now: time.Now, set: set, changed: make(chan struct{})}, nil
}

// MakeCA makes a CA in dir, which must be empty or not exist. All of it is there at
// once, or nothing: what a kill leaves behind is in a directory beside it, whose
// name ends with ".new". The key file is readable by its owner only.
func MakeCA(dir string) (*CA, error) {
	if err := makeCA(dir); err != nil {
		return nil, fmt.Errorf("making the certificate authority in %s: %w", dir, err)
	}
	return LoadCA(dir)
}

// ReadPin returns the pin of the authority that signs, of a CA that may be in use.
// It changes nothing, and needs no key. The error is ErrNoCA if there is none.
func ReadPin(dir string) (Pin, error) {
	data, err := os.ReadFile(filepath.Join(dir, caFile))
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNoCA
	}
	if err != nil {
		return Pin{}, fmt.Errorf("reading the certificate authority in %s: %w", dir, err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return Pin{}, fmt.Errorf("%s: holds no certificate", filepath.Join(dir, caFile))
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return Pin{}, fmt.Errorf("%s: %w", filepath.Join(dir, caFile), err)
	}
	return PinOf(c), nil
}

// missing returns an error that says what of a CA is not there, and the mend; nil
// if there are certificates and a key. An authority without its key, or a key
// without its certificates, is damage: a new one in its place would shut out every
// agent.
func missing(dir string) error {
	there := make(map[string]bool)
	for _, name := range []string{caFile, keyFile, nextKeyFile} {
		_, err := os.Stat(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		there[name] = err == nil
	}
	key := there[keyFile] || there[nextKeyFile]
	switch {
	case !there[caFile] && !key:
		return ErrNoCA
	case !there[caFile]:
		return fmt.Errorf("%s is missing, though there is a key: bring the file back from a backup; it is not made anew, for no agent would "+
			"trust the new one", caFile)
	case !key:
		return fmt.Errorf("%s is missing, though there is %s: bring the file back from a backup; it is not made anew, for no agent would "+
			"trust the new one", keyFile, caFile)
	}
	return nil
}

func loadAuthorities(dir string) (*authorities, error) {
	if err := missing(dir); err != nil {
		return nil, err
	}
	certs, key, next := filepath.Join(dir, caFile), filepath.Join(dir, keyFile), filepath.Join(dir, nextKeyFile)
	pair, err := tls.LoadX509KeyPair(certs, key)
	if err != nil {
		// A rotation that was cut short between certificates and key.
		var nextErr error
		if pair, nextErr = tls.LoadX509KeyPair(certs, next); nextErr != nil {
			return nil, err
		}
		if err := os.Rename(next, key); err != nil {
			return nil, fmt.Errorf("taking over the new key: %w", err)
		}
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: a %T cannot sign", keyFile, pair.PrivateKey)
	}
	set := &authorities{key: signer}
	for i, der := range pair.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("%s: certificate %d: %w", caFile, i+1, err)
		}
		self := c.CheckSignatureFrom(c) == nil
		switch {
		case !c.IsCA || i == 0 && !self:
			return nil, fmt.Errorf("%s and %s are not those of a CA", caFile, keyFile)
		case self:
			set.roots = append(set.roots, c)
		default:
			set.crossed = append(set.crossed, c)
		}
	}
	return set, nil
}

// store writes the certificates.
func (a *authorities) store(dir string) error {
	return WriteCertificates(filepath.Join(dir, caFile), a.chain()...)
}

// chain returns all certificates: roots first, for it is they that pins are
// looked for in.
func (a *authorities) chain() [][]byte {
	var ders [][]byte
	for _, c := range slices.Concat(a.roots, a.crossed) {
		ders = append(ders, c.Raw)
	}
	return ders
}

func makeCA(dir string) error {
	key, err := NewKey()
	if err != nil {
		return err
	}
	root, err := newRoot(key, time.Now())
	if err != nil {
		return err
	}
	fresh := filepath.Clean(dir) + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	if err := os.MkdirAll(fresh, 0o700); err != nil {
		return err
	}
	if err := WriteKey(filepath.Join(fresh, keyFile), key); err != nil {
		return err
	}
	if err := (&authorities{roots: []*x509.Certificate{root}}).store(fresh); err != nil {
		return err
	}
	// A directory with something in it is not removed.
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(fresh, dir); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(filepath.Clean(dir)))
}

// newRoot makes an authority that signs itself.
func newRoot(key crypto.Signer, now time.Time) (*x509.Certificate, error) {
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	pin := Pin(sha256.Sum256(public))
	return signCA(&x509.Certificate{
		Subject:   pkix.Name{CommonName: fmt.Sprintf("Reeve CA %s %x", now.UTC().Format(time.DateOnly), pin[:4])},
		NotBefore: now.Add(-backdate),
		NotAfter:  now.Add(caLife),
	}, nil, key.Public(), key)
}

// signCA signs an authority: by itself if the parent is nil.
func signCA(template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) (*x509.Certificate, error) {
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	if parent == nil {
		parent = template
	}
	der, err := issue(template, parent, public, signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func (ca *CA) current() *authorities {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return ca.set
}

// replace takes a new set over, once it is stored. It is called with mu held.
func (ca *CA) replace(set *authorities) {
	ca.set = set
	close(ca.changed)
	ca.changed = make(chan struct{})
}

// Changed returns a channel that is closed when the authorities change next.
func (ca *CA) Changed() <-chan struct{} {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return ca.changed
}

// Rotate makes a new authority, which signs from now on, and returns its pin. The
// key of the one before is destroyed.
func (ca *CA) Rotate() (Pin, error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	pin, err := ca.rotate()
	if err != nil {
		return Pin{}, fmt.Errorf("rotating the certificate authority in %s: %w", ca.dir, err)
	}
	return pin, nil
}

func (ca *CA) rotate() (Pin, error) {
	old := ca.set
	if err := old.mayRotate(); err != nil {
		return Pin{}, err
	}
	key, err := NewKey()
	if err != nil {
		return Pin{}, err
	}
	root, err := newRoot(key, ca.now())
	if err != nil {
		return Pin{}, err
	}
	crossed, err := signCA(&x509.Certificate{
		Subject: root.Subject, NotBefore: root.NotBefore, NotAfter: root.NotAfter, SubjectKeyId: root.SubjectKeyId,
	}, old.roots[0], key.Public(), old.key)
	if err != nil {
		return Pin{}, err
	}
	set := &authorities{
		key:     key,
		roots:   append([]*x509.Certificate{root}, old.roots...),
		crossed: append([]*x509.Certificate{crossed}, old.crossed...),
	}
	next := filepath.Join(ca.dir, nextKeyFile)
	if err := WriteKey(next, key); err != nil {
		return Pin{}, err
	}
	if err := set.store(ca.dir); err != nil {
		return Pin{}, err
	}
	// From here on it holds, whatever happens: see loadAuthorities.
	ca.replace(set)
	if err := os.Rename(next, filepath.Join(ca.dir, keyFile)); err != nil {
		return Pin{}, fmt.Errorf("putting the new key in its place: %w", err)
	}
	return PinOf(root), atomicfile.SyncDir(ca.dir)
}

// MayRotate returns ErrTooManyCAs if Rotate would.
func (ca *CA) MayRotate() error { return ca.current().mayRotate() }

func (a *authorities) mayRotate() error {
	if len(a.roots) >= maxRoots {
		return ErrTooManyCAs
	}
	return nil
}

// Retire ends the trust in the oldest authority. Who trusts that one only could
// not follow the chain past one in the middle. The error is ErrUnknownCA among
// others.
func (ca *CA) Retire(pin Pin) error {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	old := ca.set
	if err := old.mayRetire(pin); err != nil {
		return err
	}
	last := len(old.roots) - 1
	gone := old.roots[last]
	set := &authorities{key: old.key, roots: old.roots[:last:last]}
	for _, c := range old.crossed {
		if PinOf(c) != pin && c.CheckSignatureFrom(gone) != nil {
			set.crossed = append(set.crossed, c)
		}
	}
	if err := set.store(ca.dir); err != nil {
		return fmt.Errorf("retiring certificate authority %s: %w", pin, err)
	}
	ca.replace(set)
	return nil
}

// MayRetire returns the error that Retire would return for a reason that is not
// the disk's.
func (ca *CA) MayRetire(pin Pin) error { return ca.current().mayRetire(pin) }

func (a *authorities) mayRetire(pin Pin) error {
	i := slices.IndexFunc(a.roots, func(c *x509.Certificate) bool { return PinOf(c) == pin })
	switch {
	case i < 0:
		return ErrUnknownCA
	case i == 0:
		return errors.New("this certificate authority signs: rotate it first")
	case i < len(a.roots)-1:
		return fmt.Errorf("retire the oldest certificate authority first, which is %s", PinOf(a.roots[len(a.roots)-1]))
	}
	return nil
}

// LetSignNext gives an authority of the first version, which may sign no other
// authority, a certificate with which it may. Its key and pin stay.
func (ca *CA) LetSignNext() error {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	old := ca.set
	root := old.roots[0]
	if !root.MaxPathLenZero {
		return nil
	}
	root, err := signCA(&x509.Certificate{
		Subject: root.Subject, NotBefore: root.NotBefore, NotAfter: root.NotAfter, SubjectKeyId: root.SubjectKeyId,
	}, nil, old.key.Public(), old.key)
	if err != nil {
		return err
	}
	set := &authorities{key: old.key, roots: append([]*x509.Certificate{root}, old.roots[1:]...), crossed: old.crossed}
	if err := set.store(ca.dir); err != nil {
		return fmt.Errorf("storing the certificate authority in %s: %w", ca.dir, err)
	}
	ca.replace(set)
	return nil
}

// CreateTime returns when an authority was made, which is not the beginning of its
// certificate.
func CreateTime(ca *x509.Certificate) time.Time { return ca.NotAfter.Add(-caLife) }

// Certificate returns the certificate of the authority that signs.
func (ca *CA) Certificate() *x509.Certificate { return ca.current().roots[0] }

// Certificates returns those of all authorities that are trusted: the one that
// signs first, then the newest of the others.
func (ca *CA) Certificates() []*x509.Certificate { return slices.Clone(ca.current().roots) }

// Pin returns the pin of the authority that signs.
func (ca *CA) Pin() Pin { return PinOf(ca.Certificate()) }

// Pins returns the pins of the Certificates.
func (ca *CA) Pins() []string {
	var pins []string
	for _, c := range ca.current().roots {
		pins = append(pins, PinOf(c).String())
	}
	return pins
}

// Pool returns the Certificates as a pool.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range ca.current().roots {
		pool.AddCert(c)
	}
	return pool
}

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
	now, set := ca.now(), ca.current()
	return issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: a.ID},
		URIs:        []*url.URL{a.uri()},
		NotBefore:   now.Add(-backdate),
		NotAfter:    now.Add(AgentCertificateLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, set.roots[0], csr.PublicKey, set.key)
}

// IssueAggregator makes an aggregator's certificate, with a new key, that also
// names the hosts (names or IP addresses) for the sake of browsers. Its chain
// includes all authorities.
func (ca *CA) IssueAggregator(hosts []string) (*tls.Certificate, error) {
	return ca.current().issueAggregator(hosts, ca.now())
}

func (a *authorities) issueAggregator(hosts []string, now time.Time) (*tls.Certificate, error) {
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
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
	der, err := issue(template, a.roots[0], key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: append([][]byte{der}, a.chain()...), PrivateKey: key, Leaf: leaf}, nil
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
