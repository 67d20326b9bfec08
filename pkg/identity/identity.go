// Package identity is how the programs know each other.
//
// An aggregator has its own certificate authority. Each agent makes a key,
// which never leaves it, and trades a [JoinToken] for a short-lived certificate
// that carries its name as a SPIFFE-style URI. The token pins the CA by the
// hash of its public key ([Pin]), so the very first connection is already
// verified. Host names and addresses play no part: a private cloud has few that
// can be relied on.
package identity

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
)

const (
	scheme      = "spiffe"
	trustDomain = "reeve"
	// aggregatorPath is the URI path that every aggregator's certificate has.
	aggregatorPath = "/aggregator"
)

// JoinAnew is what to do with an agent whose identity does not serve any more. A
// new spool makes it send everything again: what it brought before belongs to the
// old identity.
const JoinAnew = "stop the agent, move the directories identity and spool in its data directory away, and start it with a new join token"

// Revoked is what an agent that was revoked is told.
const Revoked = "this agent was revoked; if it is to come back, " + JoinAnew

// ErrNotAgent means that a certificate does not name an agent.
var ErrNotAgent = errors.New("certificate does not name a reeve agent")

var siteName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// CheckSiteName returns an error that says what a site's name must look like,
// unless name does.
func CheckSiteName(name string) error {
	if !siteName.MatchString(name) {
		return fmt.Errorf("site name %q: must be 1 to 63 lower-case letters, digits and hyphens, and begin and end with a letter or digit", name)
	}
	return nil
}

// CleanName returns what a machine says of itself (its host name, a version) as it
// can be kept and shown: valid UTF-8 of at most so many bytes, with U+FFFD for each
// character that cannot be printed.
func CleanName(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return utf8.RuneError
		}
		return r
	}, text)
	for len(text) > most {
		_, last := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-last]
	}
	return text
}

// Agent is who an agent is.
type Agent struct {
	Site string
	// ID is a UUID that the aggregator gave it at enrollment.
	ID string
}

func (a Agent) String() string { return a.Site + "/" + a.ID }

// uri returns spiffe://reeve/site/SITE/agent/ID.
func (a Agent) uri() *url.URL {
	return &url.URL{Scheme: scheme, Host: trustDomain, Path: "/site/" + a.Site + "/agent/" + a.ID}
}

// AgentOf reads the agent's name out of a certificate. The certificate must
// have been verified already. The error is ErrNotAgent.
func AgentOf(cert *x509.Certificate) (Agent, error) {
	if len(cert.URIs) != 1 {
		return Agent{}, fmt.Errorf("%w: it has %d URI names, not 1", ErrNotAgent, len(cert.URIs))
	}
	return parseAgentURI(cert.URIs[0])
}

func parseAgentURI(u *url.URL) (Agent, error) {
	parts := strings.Split(u.Path, "/")
	if u.Scheme != scheme || u.Host != trustDomain || len(parts) != 5 ||
		parts[0] != "" || parts[1] != "site" || parts[3] != "agent" {
		return Agent{}, fmt.Errorf("%w: URI name %q", ErrNotAgent, u)
	}
	a := Agent{Site: parts[2], ID: parts[4]}
	if err := CheckSiteName(a.Site); err != nil {
		return Agent{}, fmt.Errorf("%w: %w", ErrNotAgent, err)
	}
	if id, err := uuid.Parse(a.ID); err != nil || id.String() != a.ID {
		return Agent{}, fmt.Errorf("%w: agent id %q is not a UUID", ErrNotAgent, a.ID)
	}
	return a, nil
}

func isAggregator(cert *x509.Certificate) bool {
	for _, u := range cert.URIs {
		if u.Scheme == scheme && u.Host == trustDomain && u.Path == aggregatorPath {
			return true
		}
	}
	return false
}
