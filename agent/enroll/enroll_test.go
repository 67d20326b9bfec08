package enroll

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/reeve-cloud/reeve/pkg/identity"
)

// certify makes a certificate for a key and stores it in dir.
func certify(t *testing.T, ca *identity.CA, dir string, key crypto.Signer) {
	t.Helper()
	csr, err := newRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := ca.IssueAgent(identity.Agent{Site: "west", ID: uuid.NewString()}, csr)
	if err != nil {
		t.Fatal(err)
	}
	if err := identity.WriteCertificates(filepath.Join(dir, certFile), der); err != nil {
		t.Fatal(err)
	}
}

func newKey(t *testing.T, file string) crypto.Signer {
	t.Helper()
	key, err := identity.NewKey()
	if err == nil {
		err = identity.WriteKey(file, key)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestRenewalCutShort stops a renewal at each step.
func TestRenewalCutShort(t *testing.T) {
	ca, err := identity.MakeCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"before it", "with the next key made", "with the certificate stored", "with the key in its place"} {
		dir := t.TempDir()
		want := newKey(t, filepath.Join(dir, keyFile))
		certify(t, ca, dir, want)
		if name != "before it" {
			next := newKey(t, filepath.Join(dir, nextKeyFile))
			if name != "with the next key made" {
				want = next
				certify(t, ca, dir, next)
			}
			if name == "with the key in its place" {
				if err := os.Rename(filepath.Join(dir, nextKeyFile), filepath.Join(dir, keyFile)); err != nil {
					t.Fatal(err)
				}
			}
		}
		for range 2 {
			pair, err := loadPair(dir)
			if err != nil || !pair.PrivateKey.(*ecdsa.PrivateKey).Equal(want) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	dir := t.TempDir()
	certify(t, ca, dir, newKey(t, filepath.Join(dir, keyFile)))
	newKey(t, filepath.Join(dir, keyFile))
	newKey(t, filepath.Join(dir, nextKeyFile))
	if _, err := loadPair(dir); err == nil {
		t.Error("a key of another certificate was taken")
	}
}

// TestRenewalAfterAHalfOne renews where the last step of the renewal before failed:
// the only key that belongs to the certificate must not be overwritten.
func TestRenewalAfterAHalfOne(t *testing.T) {
	ca, err := identity.MakeCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	next := newKey(t, filepath.Join(dir, nextKeyFile))
	certify(t, ca, dir, next)
	// What lies in the way of the rename.
	if err := os.MkdirAll(filepath.Join(dir, keyFile, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	id := &Identity{dir: dir}
	for range 3 {
		if err := id.renew(t.Context(), "127.0.0.1:1", "127.0.0.1:1"); err == nil ||
			!strings.Contains(err.Error(), "before another key is made") {
			t.Fatalf("renewing: %v", err)
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, keyFile)); err != nil {
		t.Fatal(err)
	}
	pair, err := loadPair(dir)
	if err != nil || !pair.PrivateKey.(*ecdsa.PrivateKey).Equal(next) {
		t.Errorf("the key is gone: %v", err)
	}
}

// TestAdvice makes sure that nobody is told to give up an identity which is as good as
// ever.
func TestAdvice(t *testing.T) {
	ca, err := identity.MakeCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		spoil  func(dir string) error
		advice bool
	}{
		"the key cannot be read": {func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, keyFile)), os.Mkdir(filepath.Join(dir, keyFile), 0o700))
		}, false},
		"the key is missing":         {func(dir string) error { return os.Remove(filepath.Join(dir, keyFile)) }, false},
		"the certificate is missing": {func(dir string) error { return os.Remove(filepath.Join(dir, certFile)) }, false},
		"a newer version has written it": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, nameFile), []byte(`{"v":2}`),
				0o600)
		}, false},
		"the key is another's": {func(dir string) error { newKey(t, filepath.Join(dir, keyFile)); return nil }, true},
		"the name is damaged": {func(dir string) error { return os.WriteFile(filepath.Join(dir, nameFile), []byte(`{"v`), 0o600) },
			true},
	} {
		dir := t.TempDir()
		certify(t, ca, dir, newKey(t, filepath.Join(dir, keyFile)))
		err := os.WriteFile(filepath.Join(dir, nameFile),
			[]byte(`{"v":1,"site":"west","id":"0193c1a2-7f3e-4d5b-9c1d-2b6f0e9a8d7c","addresses":["a:1"]}`), 0o600)
		if err := errors.Join(err, c.spoil(dir)); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(dir); err == nil || errors.Is(err, ErrNotEnrolled) || strings.Contains(err.Error(), "join token") != c.advice {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUntilRenewal(t *testing.T) {
	const life = identity.AgentCertificateLife
	now := time.Now()
	for _, test := range []struct {
		name      string
		left      time.Duration
		serial    int64
		want, off time.Duration
	}{
		{"new", life, 0, life * 2 / 3, 0},
		{"new, with jitter", life, 500, life*2/3 - life/20, 0},
		{"half over", life / 2, 0, life / 6, 0},
		{"due", life / 3, 0, 0, 0},
		{"ended", -time.Hour, 0, -time.Hour - life/3, 0},
		{"with a clock that is decades behind", 40 * 365 * life, 0, life * 2 / 3, 0},
	} {
		got := untilRenewal(&x509.Certificate{SerialNumber: big.NewInt(test.serial), NotAfter: now.Add(test.left)})
		if diff := got - test.want; diff > time.Second || diff < -time.Minute {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(`{"v":1,"site":"west","id":"0193c1a2-7f3e-4d5b-9c1d-2b6f0e9a8d7c","addresses":["a:1"]}`),
		[]byte("-----BEGIN CERTIFICATE-----"))
	f.Fuzz(func(t *testing.T, name, certificate []byte) {
		dir := t.TempDir()
		for file, data := range map[string][]byte{nameFile: name, certFile: certificate, caFile: certificate, keyFile: certificate} {
			if err := os.WriteFile(filepath.Join(dir, file), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Load(dir); err == nil || errors.Is(err, ErrNotEnrolled) {
			t.Fatalf("garbage was read as an identity: %v, %.40q", err, bytes.TrimSpace(name))
		}
	})
}
