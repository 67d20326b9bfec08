//go:build e2e

package e2e

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/reeve-cloud/reeve/pkg/identity"
)

// TestRefusals knocks at the door in all the wrong ways. Each is refused with a
// line in a log that says why, and none of them disturbs the agent that may in.
func TestRefusals(t *testing.T) {
	a := newAggregator(t)
	dir := t.TempDir()
	journal := newScope(t, dir, "things")
	told := 0
	tell := func() {
		journal.tell(upsert(thing("good", map[string]any{"told": told})))
		told++
	}
	tell()
	token := a.joinToken()
	good := newAgent(t, "good agent", dir).join(token)
	good.shipped(typeRecords+told, time.Minute)
	pid := a.pid()

	step := func(name string, do func()) {
		t.Helper()
		t.Logf("--- %s", name)
		do()
	}
	// serves wants all to go on as before.
	serves := func() {
		t.Helper()
		tell()
		good.shipped(typeRecords+told, 30*time.Second)
		if a.ended() || a.pid() != pid {
			t.Fatal("the aggregator did not survive it")
		}
	}
	// refused starts an agent that must end by itself and say why.
	refused := func(name, token string, agentSays, aggregatorSays []string) {
		t.Helper()
		from := a.position()
		g := newAgent(t, name, dir).join(token)
		if err := g.wait(30 * time.Second); err == nil {
			t.Error("the refused agent ended without an error")
		}
		t.Logf("agent:      %s", g.says(0, time.Second, agentSays...))
		if aggregatorSays != nil {
			t.Logf("aggregator: %s", a.says(from, 5*time.Second, aggregatorSays...))
		}
		if _, err := os.Stat(filepath.Join(g.dir, "identity", "agent.json")); err == nil {
			t.Error("the refused agent has got an identity")
		}
		serves()
	}

	step("used-up token", func() {
		refused("agent with a used-up token", token, []string{"join token is used up"}, []string{"refused an agent", "used up"})
	})
	step("expired token", func() {
		short := a.joinToken("--ttl", "1s")
		time.Sleep(1100 * time.Millisecond)
		refused("agent with an expired token", short, []string{"join token has expired"}, []string{"refused an agent", "expired"})
	})
	step("unknown token", func() {
		unknown := editToken(t, token, func(j *identity.JoinToken) { j.Secret = identity.NewSecret() })
		refused("agent with an unknown token", unknown, []string{"join token is unknown"}, []string{"refused an agent", "unknown"})
	})
	step("wrong CA hash", func() {
		ca, err := identity.MakeCA(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		fresh := a.joinToken()
		wrong := editToken(t, fresh, func(j *identity.JoinToken) { j.CA = ca.Pin().String() })
		refused("agent with a wrong CA hash", wrong, []string{"certificate authority is not the expected one"},
			[]string{"refused the TLS handshake"})
		// The agent broke off before it sent the token, so it is still good.
		g := newAgent(t, "agent with the same token", dir).join(fresh)
		g.says(0, 20*time.Second, "enrolled")
		g.stop()
	})
	step("wrong CA hash of the client", func() {
		ca, err := identity.MakeCA(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		_, err = a.reeve("login", a.address, "--context", "wrong", "--ca-hash", ca.Pin().String(), "--token-file",
			filepath.Join(a.dir, "admin-token"))
		if err == nil {
			t.Fatal("the client signed in to an aggregator of another CA")
		}
		t.Logf("client:     %v", err)
	})
	step("foreign certificate", func() {
		foreign, err := identity.MakeCA(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		own := filepath.Join(a.dir, "ca", "ca.crt") // so that the agent believes the aggregator
		from := a.position()
		g := newAgent(t, "agent with a foreign certificate", dir)
		forge(t, g, foreign, own, a.address)
		g.start()
		t.Logf("agent:      %s", g.says(0, 20*time.Second, "no session with the aggregator", "does not accept this agent's certificate"))
		t.Logf("aggregator: %s", a.says(from, 5*time.Second, "certificate is not one of this aggregator's agents"))
		g.stop()
		serves()
	})
	step("foreign aggregator", func() {
		// The other way round: an agent that belongs to another aggregator's CA.
		foreign, err := identity.MakeCA(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		ca := filepath.Join(t.TempDir(), "ca.crt")
		if err := identity.WriteCertificates(ca, foreign.Certificate().Raw); err != nil {
			t.Fatal(err)
		}
		g := newAgent(t, "agent of another aggregator", dir)
		forge(t, g, foreign, ca, a.address)
		g.start()
		t.Logf("agent:      %s", g.says(0, 20*time.Second, "no session with the aggregator", "certificate authority is not the expected one"))
		g.stop()
		serves()
	})
	step("plain TCP", func() {
		for _, hello := range []string{"GET / HTTP/1.1\r\nHost: reeve\r\n\r\n", "hello, is anybody there?\r\n"} {
			from := a.position()
			c, err := net.Dial("tcp", a.address)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write([]byte(hello)); err != nil {
				t.Fatal(err)
			}
			t.Logf("aggregator: %s", a.says(from, 10*time.Second, "refused a connection that is not TLS", c.LocalAddr().String()))
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		}
		serves()
	})
	step("garbage", func() {
		from := a.position()
		c, err := net.Dial("udp", a.address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		garbage := make([]byte, 1<<20)
		if _, err := rand.Read(garbage); err != nil {
			t.Fatal(err)
		}
		for sent := 0; sent < len(garbage); sent += 1024 {
			if _, err := c.Write(garbage[sent : sent+1024]); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("aggregator: %s", a.says(from, 10*time.Second, "dropped datagrams"))
		serves()
	})

	// None of those who were refused are known at the centre.
	out := a.mustReeve("get", "agents", "--no-headers")
	if n := strings.Count(out, "\n"); n != 2 {
		t.Errorf("two agents may have joined, but known are:\n%s", out)
	}
	good.stop()
	a.stop()
}

// editToken returns a join token with something else in it.
func editToken(t *testing.T, token string, edit func(*identity.JoinToken)) string {
	t.Helper()
	j, err := identity.ParseJoinToken(token)
	if err != nil {
		t.Fatal(err)
	}
	edit(&j)
	text, err := j.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// forge gives an agent an identity that a CA issued and that trusts the CA in a
// file.
func forge(t *testing.T, g *agent, issuer *identity.CA, trust, address string) {
	t.Helper()
	key, err := identity.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	id := identity.Agent{Site: site, ID: uuid.NewString()}
	der, err := issuer.IssueAgent(id, request)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(trust)
	if err != nil {
		t.Fatal(err)
	}
	name, err := json.Marshal(map[string]any{"v": 1, "site": id.Site, "id": id.ID, "addresses": []string{address}})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(g.dir, "identity")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		identity.WriteKey(filepath.Join(dir, "agent.key"), key),
		identity.WriteCertificates(filepath.Join(dir, "agent.crt"), der),
		os.WriteFile(filepath.Join(dir, "ca.crt"), ca, 0o600),
		os.WriteFile(filepath.Join(dir, "agent.json"), name, 0o600),
	); err != nil {
		t.Fatal(fmt.Errorf("forging an identity: %w", err))
	}
}
