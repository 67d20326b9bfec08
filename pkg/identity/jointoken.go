package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
)

// JoinToken lets an agent join a site. It says all that a new agent must know.
type JoinToken struct {
	Site string `json:"site"`
	// Addresses are where the aggregator is reached: host:port, tried in order.
	Addresses []string `json:"addresses"`
	// CA is the pin of the aggregator's CA.
	CA string `json:"ca"`
	// ID is the token's handle and no secret; Secret is what authorizes.
	ID     string `json:"id"`
	Secret string `json:"secret"`
}

// joinTokenPrefix names the format and its version, so that a pasted string is
// recognized and secret scanners can look for it.
const joinTokenPrefix = "reeve-join-1."

const maxJoinToken = 8 << 10

var tokenEncoding = base64.RawURLEncoding.Strict()

// Encode returns the token as one string.
func (t JoinToken) Encode() (string, error) {
	data, err := json.Marshal(t)
	if err != nil {
		return "", fmt.Errorf("encoding the join token: %w", err)
	}
	return joinTokenPrefix + tokenEncoding.EncodeToString(data), nil
}

// Pin returns the pin of the aggregator's CA.
func (t JoinToken) Pin() (Pin, error) { return ParsePin(t.CA) }

// ParseJoinToken reads what Encode wrote and checks that nothing is missing.
// Errors do not repeat the token.
func ParseJoinToken(s string) (JoinToken, error) {
	t, err := parseJoinToken(strings.TrimSpace(s))
	if err != nil {
		return JoinToken{}, fmt.Errorf("join token: %w", err)
	}
	return t, nil
}

func parseJoinToken(s string) (t JoinToken, err error) {
	if len(s) > maxJoinToken {
		return t, fmt.Errorf("longer than %d bytes", maxJoinToken)
	}
	body, ok := strings.CutPrefix(s, joinTokenPrefix)
	if !ok {
		return t, fmt.Errorf("must begin with %q", joinTokenPrefix)
	}
	data, err := tokenEncoding.DecodeString(body)
	if err != nil {
		return t, errors.New("damaged: copy it whole")
	}
	if err := json.Unmarshal(data, &t); err != nil {
		return t, errors.New("damaged: copy it whole")
	}
	if err := CheckSiteName(t.Site); err != nil {
		return t, err
	}
	if t.ID == "" || t.Secret == "" {
		return t, errors.New("names no token")
	}
	if _, err := t.Pin(); err != nil {
		return t, err
	}
	if len(t.Addresses) == 0 {
		return t, errors.New("names no aggregator address")
	}
	for _, a := range t.Addresses {
		if err := CheckAddress(a); err != nil {
			return t, err
		}
	}
	return t, nil
}

// CheckAddress returns an error unless address has the form host:port.
func CheckAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || port == "" {
		return fmt.Errorf("address %q: must have the form host:port", address)
	}
	return nil
}

// Doubt returns why agents on other machines may not reach an aggregator by an
// address of the form host:port, or "" if nothing speaks against it.
func Doubt(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err.Error()
	}
	ip := net.ParseIP(host)
	switch {
	case ip != nil && ip.IsUnspecified():
		return "it stands for every address of a machine, and names none"
	case ip != nil && ip.IsLoopback(), host == "localhost", strings.HasSuffix(host, ".localhost"):
		return "only this very machine reaches it"
	case ip != nil && ip.IsLinkLocalUnicast():
		return "it is only good on one link"
	case ip == nil && !strings.Contains(strings.TrimSuffix(host, "."), "."):
		return "it is a host name without a domain, which other machines may not know"
	}
	return ""
}

// NewSecret returns 128 random bits as text.
func NewSecret() string {
	return rand.Text()
}

// HashSecret returns what to store of a secret. Secrets are random and long, so
// a plain hash keeps them.
func HashSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return base64.RawStdEncoding.EncodeToString(sum[:])
}

// SecretMatches reports whether hash is that of the secret, in a time that does
// not depend on how much of it is right.
func SecretMatches(secret, hash string) bool {
	return subtle.ConstantTimeCompare([]byte(HashSecret(secret)), []byte(hash)) == 1
}
