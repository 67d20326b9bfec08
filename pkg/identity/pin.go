package identity

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strings"
)

// Pin identifies a certificate authority by its public key: the SHA-256 of the
// certificate's SubjectPublicKeyInfo (as in RFC 7469). It survives a reissue of
// the CA's certificate with the same key.
type Pin [sha256.Size]byte

const pinPrefix = "sha256:"

// PinOf returns the pin of a CA certificate.
func PinOf(ca *x509.Certificate) Pin {
	return sha256.Sum256(ca.RawSubjectPublicKeyInfo)
}

// String returns the form that people see: sha256: and 64 hexadecimal digits.
func (p Pin) String() string { return pinPrefix + hex.EncodeToString(p[:]) }

// ParsePin reads what String writes.
func ParsePin(s string) (Pin, error) {
	digits, ok := strings.CutPrefix(s, pinPrefix)
	if !ok {
		return Pin{}, fmt.Errorf("CA hash %q: must begin with %q", s, pinPrefix)
	}
	raw, err := hex.DecodeString(digits)
	if err != nil || len(raw) != sha256.Size {
		return Pin{}, fmt.Errorf("CA hash %q: must have %d hexadecimal digits behind %q", s, 2*sha256.Size, pinPrefix)
	}
	return Pin(raw), nil
}
