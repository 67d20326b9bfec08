// Package enroll gets an agent its identity, keeps it fresh, and stores it.
//
// Joining trades a join token for a certificate: the key is made here and never
// leaves, the token pins the aggregator's CA, and the aggregator gives the agent
// its name. The certificate is short-lived and renewed after two thirds of its
// life, by itself, with a new key: the token is not needed again.
package enroll

import (
	"context"
	"crypto"
	cryptorand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"connectrpc.com/connect"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
	"github.com/reeve-cloud/reeve/pkg/atomicfile"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/retry"
	"github.com/reeve-cloud/reeve/pkg/transport"
)

// ErrNotEnrolled means that the directory holds no identity.
var ErrNotEnrolled = errors.New("not enrolled")

// ErrRefused means that the aggregator refused the token or certificate.
// Trying the same again will not help.
var ErrRefused = errors.New("the aggregator refuses")

const (
	nameFile = "agent.json"
	keyFile  = "agent.key"
	// nextKeyFile is the key of a renewal that is under way.
	nextKeyFile = "agent.key.next"
	certFile    = "agent.crt"
	caFile      = "ca.crt"

	// callTimeout bounds a call. Where nothing answers in time it grows, up to
	// lastCallTimeout: the way may be slow.
	callTimeout     = 20 * time.Second
	lastCallTimeout = time.Minute
	// A renewal that was refused is tried so seldom.
	firstRefusedRetry = 2 * time.Minute
	lastRefusedRetry  = 15 * time.Minute
	// shortestRenewal is how long a renewed certificate is left alone.
	shortestRenewal = time.Hour
)

// Identity is an enrolled agent's identity.
type Identity struct {
	// Agent is who the agent is.
	Agent identity.Agent
	// Addresses are where the join token said that the aggregator is.
	Addresses []string
	// Proxy leads to aggregators. It may be nil.
	Proxy transport.Proxy

	dir string
	// soon asks KeepFresh to renew early.
	soon chan early

	mu   sync.Mutex
	cert *tls.Certificate
	cas  []*x509.Certificate
}

// early asks for a certificate to be renewed within a time.
type early struct {
	leaf   *x509.Certificate
	within time.Duration
}

// stored is the content of agent.json. It is written last and says that the
// rest is there.
type stored struct {
	Version   int      `json:"v"`
	Site      string   `json:"site"`
	ID        string   `json:"id"`
	Addresses []string `json:"addresses"`
}

// Load reads the identity in dir. The error is ErrNotEnrolled if there is none.
func Load(dir string) (*Identity, error) {
	data, err := os.ReadFile(filepath.Join(dir, nameFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotEnrolled
	}
	if err != nil {
		return nil, fmt.Errorf("reading the identity: %w", err)
	}
	var s stored
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("reading the identity: %s is damaged (%w): restore it; or else %s", filepath.Join(dir, nameFile), err,
			identity.JoinAnew)
	}
	if s.Version != 1 {
		return nil, fmt.Errorf("reading the identity: %s has the format %d, of a newer version of the agent: use that one",
			filepath.Join(dir, nameFile), s.Version)
	}
	pair, err := loadPair(dir)
	if unread := new(fs.PathError); errors.As(err, &unread) {
		// The identity may be as good as ever.
		return nil, fmt.Errorf("reading the identity: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the identity: the certificate and the key in %s do not belong together, or are damaged (%w): restore "+
			"them; or else %s",
			dir, err, identity.JoinAnew)
	}
	cas, err := readCertificates(filepath.Join(dir, caFile))
	if err != nil {
		return nil, fmt.Errorf("reading the identity: %w", err)
	}
	return &Identity{
		Agent: identity.Agent{Site: s.Site, ID: s.ID}, Addresses: s.Addresses,
		dir: dir, cert: &pair, cas: cas, soon: make(chan early, 1),
	}, nil
}

// loadPair reads the certificate and its key. After a renewal that was cut short
// between the two, the key is the next one.
func loadPair(dir string) (tls.Certificate, error) {
	pair, err := readPair(dir, keyFile)
	if err == nil {
		return pair, nil
	}
	next, nextErr := readPair(dir, nextKeyFile)
	if nextErr != nil {
		return pair, err
	}
	return next, takeOver(dir)
}

func readPair(dir, key string) (tls.Certificate, error) {
	return tls.LoadX509KeyPair(filepath.Join(dir, certFile), filepath.Join(dir, key))
}

// takeOver puts the next key in the place of the one before.
func takeOver(dir string) error {
	err := os.Rename(filepath.Join(dir, nextKeyFile), filepath.Join(dir, keyFile))
	if err == nil {
		err = atomicfile.SyncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("taking over the renewed key: %w", err)
	}
	return nil
}

func readCertificates(file string) ([]*x509.Certificate, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%s: holds no certificate", file)
	}
	return certs, nil
}

// Join enrolls with a token at the first of the addresses that answers, and
// stores the identity in dir. It tries until ctx ends or an aggregator refuses.
func Join(ctx context.Context, dir string, token identity.JoinToken, addresses []string, hostname string, proxy transport.Proxy,
	logger *slog.Logger) (*Identity, error) {
	if len(addresses) == 0 {
		addresses = token.Addresses
	}
	pin, err := token.Pin()
	if err != nil {
		return nil, err
	}
	key, err := joiningKey(dir)
	if err != nil {
		return nil, err
	}
	csr, err := newRequest(key)
	if err != nil {
		return nil, err
	}
	pause := retry.BackOff(time.Second, time.Minute)
	for timeout := callTimeout; ; timeout = min(2*timeout, lastCallTimeout) {
		var wrong error // of the last one that answered and is another
		strangers := true
		for _, address := range addresses {
			id, err := atPlaces(ctx, address, proxy, func(place string) (*Identity, error) {
				ctx, cancel := context.WithTimeout(ctx, timeout)
				defer cancel()
				return join(ctx, address, place, pin, proxy, &reevev1.EnrollRequest{
					TokenId: token.ID, TokenSecret: token.Secret, CertificateRequest: csr, Hostname: hostname,
				})
			})
			if err == nil {
				id.dir, id.Addresses, id.Proxy, id.cert.PrivateKey = dir, addresses, proxy, key
				if err := id.store(); err != nil {
					return nil, err
				}
				logger.Info("enrolled", "site", id.Agent.Site, "agent_id", id.Agent.ID, "aggregator", address)
				return id, nil
			}
			err = fmt.Errorf("enrolling at %s: %w", address, err)
			if errors.Is(err, ErrRefused) {
				return nil, err
			}
			if errors.Is(err, identity.ErrWrongCA) {
				wrong = err
			} else {
				strangers = false
			}
			logger.Warn("enrolling failed; trying again", "aggregator", address, "error", err)
		}
		// Where all have answered, and none is the one, waiting changes nothing.
		if wrong != nil && strangers {
			return nil, wrong
		}
		if err := retry.Sleep(ctx, pause.NextBackOff()); err != nil {
			return nil, err
		}
	}
}

// atPlaces tries the places that an address stands for in turn, until one of them is
// the aggregator: until there is no error, or a refusal. Of several errors it returns
// one that may pass, if there is one.
func atPlaces[T any](ctx context.Context, address string, proxy transport.Proxy, try func(place string) (T, error)) (result T, err error) {
	places, err := transport.Places(ctx, address, proxy)
	if err != nil {
		return result, err
	}
	err = errors.New("the name has no address")
	for n, place := range places {
		result, failed := try(place)
		if failed == nil || errors.Is(failed, ErrRefused) {
			return result, failed
		}
		if n == 0 || errors.Is(err, identity.ErrWrongCA) {
			err = failed
		}
	}
	return result, err
}

// joiningKey returns the key to join with, which is on disk before it is used:
// an agent that dies before the answer has arrived asks again with the same key,
// and the aggregator gives it the same identity without using up the token again.
func joiningKey(dir string) (crypto.Signer, error) {
	file := filepath.Join(dir, keyFile)
	key, err := identity.ReadKey(file)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if key, err = identity.NewKey(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("storing the key: %w", err)
	}
	if err := identity.WriteKey(file, key); err != nil {
		return nil, fmt.Errorf("storing the key: %w", err)
	}
	return key, nil
}

func join(ctx context.Context, address, place string, pin identity.Pin, proxy transport.Proxy, request *reevev1.EnrollRequest) (*Identity,
	error) {
	client, done := dial(address, place, identity.PinnedClient(pin), proxy)
	defer done()
	response, err := client.Enroll(ctx, connect.NewRequest(request))
	if err != nil {
		return nil, explain(err)
	}
	cert, cas, err := parse(response.Msg.GetCertificate(), response.Msg.GetCaCertificates())
	if err != nil {
		return nil, err
	}
	return &Identity{
		Agent: identity.Agent{Site: response.Msg.GetSite(), ID: response.Msg.GetAgentId()},
		cert:  &tls.Certificate{Certificate: [][]byte{cert.Raw}, Leaf: cert}, cas: cas, soon: make(chan early, 1),
	}, nil
}

// Check asks the aggregator at an address whether the agent could join with a token
// now. The token is not used. dir is where the identity would lie. The error is
// ErrRefused as it would be when joining, and [ErrCannotTell] where an aggregator that
// is the one that the token speaks of is too old to say.
func Check(ctx context.Context, dir, address string, token identity.JoinToken, proxy transport.Proxy) error {
	pin, err := token.Pin()
	if err != nil {
		return err
	}
	request := &reevev1.CheckJoinTokenRequest{TokenId: token.ID, TokenSecret: token.Secret}
	if key, err := identity.ReadKey(filepath.Join(dir, keyFile)); err == nil {
		if request.PublicKey, err = x509.MarshalPKIXPublicKey(key.Public()); err != nil {
			return fmt.Errorf("encoding the public key: %w", err)
		}
	}
	_, err = atPlaces(ctx, address, proxy, func(place string) (struct{}, error) {
		client, done := dial(address, place, identity.PinnedClient(pin), proxy)
		defer done()
		_, err := client.CheckJoinToken(ctx, connect.NewRequest(request))
		if connect.CodeOf(err) == connect.CodeUnimplemented {
			return struct{}{}, ErrCannotTell
		}
		return struct{}{}, explain(err)
	})
	return err
}

// ErrCannotTell means that an aggregator is older than the question whether it would
// take a join token.
var ErrCannotTell = errors.New("the aggregator is too old to say whether it takes the token")

// dial returns a client of the enrollment service at one of an address's places.
func dial(address, place string, config *tls.Config, proxy transport.Proxy) (reevev1connect.EnrollmentServiceClient, func()) {
	t := &http.Transport{
		TLSClientConfig:   config,
		ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return transport.DialThrough(ctx, place, proxy)
		},
	}
	return reevev1connect.NewEnrollmentServiceClient(&http.Client{Transport: t}, "https://"+address), t.CloseIdleConnections
}

// explain tells refusals from passing faults.
func explain(err error) error {
	if err == nil {
		return nil
	}
	switch connect.CodeOf(err) {
	case connect.CodeUnauthenticated, connect.CodePermissionDenied, connect.CodeInvalidArgument, connect.CodeNotFound,
		connect.CodeFailedPrecondition:
		if ce, ok := errors.AsType[*connect.Error](err); ok {
			return fmt.Errorf("%w: %s", ErrRefused, ce.Message())
		}
	}
	return err
}

func newRequest(key crypto.Signer) ([]byte, error) {
	csr, err := x509.CreateCertificateRequest(cryptorand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("making the certificate request: %w", err)
	}
	return csr, nil
}

func parse(certificate []byte, authorities [][]byte) (*x509.Certificate, []*x509.Certificate, error) {
	cert, err := x509.ParseCertificate(certificate)
	if err != nil {
		return nil, nil, fmt.Errorf("the aggregator sent a damaged certificate: %w", err)
	}
	if len(authorities) == 0 {
		return nil, nil, errors.New("the aggregator sent no CA certificate")
	}
	var cas []*x509.Certificate
	for _, der := range authorities {
		ca, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, nil, fmt.Errorf("the aggregator sent a damaged CA certificate: %w", err)
		}
		cas = append(cas, ca)
	}
	return cert, cas, nil
}

// store writes the identity beside its key.
func (i *Identity) store() error {
	data, err := json.Marshal(stored{Version: 1, Site: i.Agent.Site, ID: i.Agent.ID, Addresses: i.Addresses})
	if err != nil {
		return err
	}
	// The name comes last: it says that the rest is there.
	if err = i.storeCertificates(); err == nil {
		err = atomicfile.Write(filepath.Join(i.dir, nameFile), data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("storing the identity: %w", err)
	}
	return nil
}

func (i *Identity) storeCertificates() error {
	var cas [][]byte
	for _, c := range i.cas {
		cas = append(cas, c.Raw)
	}
	return errors.Join(
		identity.WriteCertificates(filepath.Join(i.dir, caFile), cas...),
		identity.WriteCertificates(filepath.Join(i.dir, certFile), i.cert.Certificate...))
}

// storeRenewed stores a renewed certificate, whose key lies in nextKeyFile.
func (i *Identity) storeRenewed() error {
	err := i.storeCertificates()
	if err == nil {
		err = takeOver(i.dir)
	}
	if err != nil {
		return fmt.Errorf("storing the renewed certificate: %w", err)
	}
	return nil
}

// Certificate returns the present certificate.
func (i *Identity) Certificate() *tls.Certificate {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.cert
}

// ClientTLS returns the configuration to reach aggregators with.
func (i *Identity) ClientTLS() *tls.Config {
	i.mu.Lock()
	pool := x509.NewCertPool()
	for _, c := range i.cas {
		pool.AddCert(c)
	}
	i.mu.Unlock()
	return identity.AgentClient(pool, i.Certificate)
}

// RenewSoon asks KeepFresh to renew the certificate at some moment within the
// time, rather than in its own good time. It does not wait.
func (i *Identity) RenewSoon(within time.Duration) {
	select {
	case i.soon <- early{i.Certificate().Leaf, within}:
	default: // it is asked already
	}
}

// KeepFresh renews the certificate in time until ctx ends. It serves one caller.
func (i *Identity) KeepFresh(ctx context.Context, addresses []string, logger *slog.Logger) error {
	pause, longPause := retry.BackOff(time.Second, time.Minute), retry.BackOff(firstRefusedRetry, lastRefusedRetry)
	wait := untilRenewal(i.Certificate().Leaf)
	for {
		if err := i.waitForRenewal(ctx, wait); err != nil {
			return err
		}
		if err := i.Renew(ctx, addresses); err != nil {
			level := slog.LevelWarn
			if wait = pause.NextBackOff(); errors.Is(err, ErrRefused) {
				wait, level = longPause.NextBackOff(), slog.LevelError
			}
			logger.Log(ctx, level, "renewing the certificate failed", "error", err, "expires", i.Certificate().Leaf.NotAfter, "retry_in",
				wait.Round(time.Second))
			continue
		}
		pause.Reset()
		longPause.Reset()
		leaf := i.Certificate().Leaf
		logger.Info("renewed the certificate", "expires", leaf.NotAfter)
		// With a clock that is far ahead the new one looks old as well.
		wait = max(untilRenewal(leaf), shortestRenewal)
	}
}

// waitForRenewal waits for so long, or until a renewal is wanted earlier.
func (i *Identity) waitForRenewal(ctx context.Context, wait time.Duration) error {
	due := time.Now().Add(wait)
	t := time.NewTimer(wait)
	defer t.Stop()
	for {
		select {
		case e := <-i.soon:
			if e.leaf == i.Certificate().Leaf { // else it was renewed in the meantime
				t.Reset(min(rand.N(e.within+1), time.Until(due)))
			}
		case <-t.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// untilRenewal is how long to wait before a certificate is renewed: until two
// thirds of the time from its issue to its end are over, or up to a tenth of that
// time earlier, so that agents that joined together do not renew together. It
// does not trust this machine's clock to be right.
func untilRenewal(leaf *x509.Certificate) time.Duration {
	const life = identity.AgentCertificateLife
	// A serial number is random, and the same after a restart.
	share := new(big.Int).Mod(leaf.SerialNumber, big.NewInt(1000)).Int64()
	due := leaf.NotAfter.Add(-life/3 - life/10*time.Duration(share)/1000)
	return min(time.Until(due), life-life/3)
}

// Renew gets a new certificate at the first of the addresses that gives one.
func (i *Identity) Renew(ctx context.Context, addresses []string) (err error) {
	for _, address := range addresses {
		_, err = atPlaces(ctx, address, i.Proxy, func(place string) (struct{}, error) {
			return struct{}{}, i.renew(ctx, address, place)
		})
		if err == nil {
			return nil
		}
		err = fmt.Errorf("at %s: %w", address, err)
	}
	return err
}

func (i *Identity) renew(ctx context.Context, address, place string) error {
	ctx, cancel := context.WithTimeout(ctx, lastCallTimeout)
	defer cancel()
	key, err := identity.NewKey()
	if err != nil {
		return err
	}
	// The next key of before may be that of the certificate which lies here, where its
	// last step failed. No other takes its place until that is done.
	if _, err := loadPair(i.dir); err != nil {
		return fmt.Errorf("before another key is made: %w", err)
	}
	// On disk before it is used, as when joining.
	if err := identity.WriteKey(filepath.Join(i.dir, nextKeyFile), key); err != nil {
		return fmt.Errorf("storing the key: %w", err)
	}
	csr, err := newRequest(key)
	if err != nil {
		return err
	}
	client, done := dial(address, place, i.ClientTLS(), i.Proxy)
	defer done()
	response, err := client.Renew(ctx, connect.NewRequest(&reevev1.RenewRequest{CertificateRequest: csr}))
	if err != nil {
		return explain(err)
	}
	cert, cas, err := parse(response.Msg.GetCertificate(), response.Msg.GetCaCertificates())
	if err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.cert = &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
	i.cas = cas
	return i.storeRenewed()
}
