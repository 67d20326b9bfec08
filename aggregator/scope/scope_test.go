package scope

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// counted is a warehouse that has so many assets of each scope and takes note of holders.
type counted struct {
	Warehouse
	assets int64
	told   map[string]warehouse.ScopeHolder
}

func (c *counted) ScopeCounts(_ context.Context, site string, scopes []string) (map[warehouse.SiteScope]int64, error) {
	counts := make(map[warehouse.SiteScope]int64)
	for _, s := range scopes {
		counts[warehouse.SiteScope{Site: site, Scope: s}] = c.assets
	}
	return counts, nil
}

func (c *counted) SetScopes(_ context.Context, scopes []warehouse.ScopeHolder) error {
	for _, s := range scopes {
		c.told[s.Scope] = s
	}
	return nil
}

// fixture is Scopes over a real registry, in which agents join.
type fixture struct {
	t   *testing.T
	reg *registry.Registry
	w   *counted
	s   *Scopes
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	reg, err := registry.Open(registry.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := reg.Close(); err != nil {
			t.Error(err)
		}
	})
	f := &fixture{t: t, reg: reg, w: &counted{assets: 5, told: make(map[string]warehouse.ScopeHolder)}}
	f.open()
	return f
}

func (f *fixture) open() {
	f.t.Helper()
	var err error
	if f.s, err = Open(f.t.Context(), f.reg, f.w, hlc.New(0), slog.New(slog.DiscardHandler)); err != nil {
		f.t.Fatal(err)
	}
}

// join makes an agent, which is connected until its session is closed.
func (f *fixture) join(host string) (identity.Agent, *registry.Session) {
	f.t.Helper()
	now := time.Now()
	token, secret, err := f.reg.CreateJoinToken(f.t.Context(), registry.System, registry.JoinToken{
		Site: "west", MaxUses: 1, CreateTime: now, ExpireTime: now.Add(time.Hour), CreatedBy: "test", CA: identity.Pin{}.String()})
	if err != nil {
		f.t.Fatal(err)
	}
	a, err := f.reg.Enroll(f.t.Context(), registry.Enrollment{TokenID: token.ID, Secret: secret, PublicKey: []byte(host), Hostname: host,
		Now:   now,
		Issue: func(string, string) (time.Time, error) { return now.Add(time.Hour), nil }})
	if err != nil {
		f.t.Fatal(err)
	}
	session, err := f.reg.AgentConnected(f.t.Context(), a.ID, registry.Connection{Hostname: host})
	if err != nil {
		f.t.Fatal(err)
	}
	return identity.Agent{Site: "west", ID: a.ID}, session
}

// claim has an agent claim one scope, and returns the answer: "as claimed", or its epoch,
// "seed", and who holds it.
func (f *fixture) claim(a identity.Agent, epoch uint64, complete bool) string {
	f.t.Helper()
	grants, err := f.s.claim(f.t.Context(), a, []*wirev1.ScopeClaim{{Scope: "k/pods", Epoch: epoch, Complete: complete}})
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.s.write(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	if len(grants) == 0 {
		return "as claimed"
	}
	g := grants[0]
	text := []string{fmt.Sprint(g.GetEpoch())}
	if g.GetSeed() {
		text = append(text, "seed")
	}
	if g.GetHostname() != "" {
		text = append(text, "held by "+g.GetHostname())
	}
	return strings.Join(text, " ")
}

func (f *fixture) expect(what, got, want string) {
	f.t.Helper()
	if got != want {
		f.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func (f *fixture) release(a identity.Agent) {
	f.t.Helper()
	if _, err := f.s.claim(f.t.Context(), a, nil); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) holder() string {
	st, _ := f.s.Get("west", "k/pods")
	return st.Holder
}

func TestHolders(t *testing.T) {
	f := newFixture(t)
	one, session := f.join("one")
	two, _ := f.join("two")
	f.expect("a first claim by an agent that knows nothing", f.claim(one, 0, false), "1 seed")
	f.expect("the same again", f.claim(one, 1, false), "as claimed")
	f.expect("it knows all now", f.claim(one, 1, true), "as claimed")
	f.expect("it has lost what it knew", f.claim(one, 0, false), "1 seed")
	f.expect("it comes from a version without epochs", f.claim(one, 0, true), "1")
	f.expect("another one claims it", f.claim(two, 0, false), "0 held by one")
	if f.holder() != one.ID || f.w.told["k/pods"].AgentID != one.ID {
		t.Errorf("the holder is %s, the warehouse was told %v", f.holder(), f.w.told)
	}

	// Over a restart of the aggregator.
	f.open()
	f.expect("after a restart", f.claim(one, 1, true), "as claimed")
	f.expect("after a restart, the other", f.claim(two, 0, false), "0 held by one")

	// A holder that is silent is waited for, from when it could be heard.
	session.Close()
	f.expect("the holder is silent since a moment ago", f.claim(two, 0, false), "0 held by one")
	f.s.takeOverAfter = 0
	f.expect("the holder has been silent for long", f.claim(two, 0, false), "2 seed")
	session, err := f.reg.AgentConnected(t.Context(), one.ID, registry.Connection{Hostname: "one"})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	f.s.takeOverAfter = time.Minute
	f.expect("it comes back", f.claim(one, 1, true), "0 held by two")

	// What it recorded since is refused, also when it has the scope again.
	fences := f.s.Fences(one)
	if len(fences) != 1 || fences[0].GetEpoch() != 2 || fences[0].GetSince() == 0 || len(f.s.Fences(two)) != 0 {
		t.Errorf("the fences are %v and %v", fences, f.s.Fences(two))
	}
	f.release(two)
	if f.holder() != "" {
		t.Errorf("the holder is %s", f.holder())
	}
	f.expect("the first has it again, and knows what was", f.claim(one, 1, true), "3 seed")
	if fences := f.s.Fences(one); len(fences) != 1 || fences[0].GetEpoch() != 3 {
		t.Errorf("the fences are %v", fences)
	}

	f.release(one)
	f.expect("nobody had it since", f.claim(one, 3, true), "as claimed")
	f.expect("a registry from a backup", f.claim(one, 7, true), "8 seed")
	if _, err := f.reg.RevokeAgent(t.Context(), registry.System, one.ID, time.Now()); err != nil {
		t.Fatal(err)
	}
	f.expect("a holder that is revoked", f.claim(two, 2, true), "9 seed")
	f.w.assets = 0
	f.release(two)
	if err := f.s.markEnded(t.Context(), registry.System, key{"west", "k/pods"}, Status{Epoch: 9}); err != nil {
		t.Fatal(err)
	}
	f.expect("what was ended begins anew", f.claim(two, 9, true), "11 seed")
}

// TestFormerHolders: what a former holder records later is refused, however many others
// have had the scope since.
func TestFormerHolders(t *testing.T) {
	f := newFixture(t)
	var agents []identity.Agent
	for n := range 40 {
		a, session := f.join(fmt.Sprint("agent", n))
		defer session.Close()
		agents = append(agents, a)
	}
	check := func(what string) {
		t.Helper()
		for n, a := range agents[:len(agents)-1] {
			fences := f.s.Fences(a)
			if len(fences) != 1 || fences[0].GetEpoch() != uint64(len(agents)) || fences[0].GetSince() == 0 {
				t.Errorf("%s, the fences of holder %d are %v", what, n, fences)
			}
		}
		if fences := f.s.Fences(agents[len(agents)-1]); len(fences) != 0 {
			t.Errorf("%s, the fences of the holder are %v", what, fences)
		}
	}
	for n, a := range agents {
		if _, err := f.s.claim(t.Context(), a, []*wirev1.ScopeClaim{{Scope: "k/pods", Epoch: uint64(n), Complete: true}}); err != nil {
			t.Fatal(err)
		}
		if n < len(agents)-1 {
			f.release(a)
		}
	}
	check("at once")
	f.open()
	check("after a restart")
	f.release(agents[len(agents)-1])
	if err := f.s.markEnded(t.Context(), registry.System, key{"west", "k/pods"}, Status{Epoch: uint64(len(agents))}); err != nil {
		t.Fatal(err)
	}
	for n, a := range agents {
		if fences := f.s.Fences(a); len(fences) != 1 {
			t.Errorf("when it has ended, the fences of holder %d are %v", n, fences)
		}
	}
}

// TestFormerHoldersOfManyScopes: what is remembered of as many scopes as an agent may have
// can be stored.
func TestFormerHoldersOfManyScopes(t *testing.T) {
	f := newFixture(t)
	claims := make([]*wirev1.ScopeClaim, wire.MaxClaims)
	for i := range claims {
		claims[i] = &wirev1.ScopeClaim{Scope: fmt.Sprintf("k/%0*d", wire.MaxClaimNames/wire.MaxClaims-3, i), Complete: true}
	}
	for n := range leastFormer + 3 {
		a, session := f.join(fmt.Sprint("agent", n))
		defer session.Close()
		for _, c := range claims {
			c.Epoch = uint64(n)
		}
		if _, err := f.s.claim(t.Context(), a, claims); err != nil {
			t.Fatal(err)
		}
		f.release(a)
	}
	f.open()
	st, _ := f.s.Get("west", claims[7].GetScope())
	if n := len(f.s.scopes[key{"west", claims[7].GetScope()}].Former); n != leastFormer || st.Epoch != leastFormer+3 {
		t.Errorf("%d former holders in epoch %d", n, st.Epoch)
	}
}

// TestBounds: what an agent may claim is bounded before anything is stored on its word.
func TestBounds(t *testing.T) {
	f := newFixture(t)
	one, session := f.join("one")
	defer session.Close()
	many := &wirev1.Scopes{More: true}
	for i := range wire.MaxClaims - 1 {
		many.Scopes = append(many.Scopes, &wirev1.ScopeClaim{Scope: fmt.Sprintf("k/%d", i)})
	}
	for name, parts := range map[string][]*wirev1.Scopes{
		"many scopes":    {many, many},
		"no name":        {{Scopes: []*wirev1.ScopeClaim{{}}}},
		"control letter": {{Scopes: []*wirev1.ScopeClaim{{Scope: "k/a\x1fb"}}}},
		"long names": {{Scopes: func() (list []*wirev1.ScopeClaim) {
			for i := range 200 {
				list = append(list, &wirev1.ScopeClaim{Scope: fmt.Sprint(i, "/", strings.Repeat("x", 1000))})
			}
			return list
		}()}},
	} {
		s := f.s.Session(one, nil)
		var err error
		for _, p := range parts {
			if err = s.Take(&wirev1.Control{Message: &wirev1.Control_Scopes{Scopes: p}}); err != nil {
				break
			}
		}
		if err == nil || !strings.Contains(err.Error(), ErrProtocol.Error()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// As many as are allowed can be stored.
	var most []*wirev1.ScopeClaim
	for i := range wire.MaxClaims {
		most = append(most, &wirev1.ScopeClaim{Scope: fmt.Sprintf("k/%0*d", wire.MaxClaimNames/wire.MaxClaims-3, i), Complete: true})
	}
	if grants, err := f.s.claim(t.Context(), one, most); err != nil || len(grants) != wire.MaxClaims {
		t.Errorf("%d grants, %v", len(grants), err)
	}
	// An agent whose scopes have other names each time takes no more than that.
	other := make([]*wirev1.ScopeClaim, wire.MaxClaims)
	for round := range 3 {
		for i := range other {
			other[i] = &wirev1.ScopeClaim{Scope: fmt.Sprintf("%d/%0*d", round, wire.MaxClaimNames/wire.MaxClaims-3, i), Complete: true}
		}
		if _, err := f.s.claim(t.Context(), one, other); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(f.s.List("")); n != wire.MaxClaims {
		t.Errorf("%d scopes are known", n)
	}
	f.open()
	if n := len(f.s.List("")); n != wire.MaxClaims {
		t.Errorf("%d scopes are known after a restart", n)
	}
	if _, err := f.s.claim(t.Context(), one, most); err != nil {
		t.Fatal(err)
	}
	if _, ok := f.s.Get("west", most[wire.MaxClaims-1].GetScope()); !ok {
		t.Error("the last one is not there")
	}
}
