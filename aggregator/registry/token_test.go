package registry

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestJoinTokenMayBeUsedSoOften(t *testing.T) {
	for _, maxUses := range []int{1, 7} {
		r := open1(t, Options{})
		token, secret, err := r.CreateJoinToken(t.Context(), admin, newToken("lab", maxUses))
		if err != nil {
			t.Fatal(err)
		}
		var in, usedUp atomic.Int32
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				switch _, err := r.UseJoinToken(t.Context(), token.ID, secret, time.Now()); {
				case err == nil:
					in.Add(1)
				case errors.Is(err, ErrTokenUsedUp):
					usedUp.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if int(in.Load()) != maxUses || int(usedUp.Load()) != 100-maxUses {
			t.Errorf("%d uses allowed: %d got in, %d did not", maxUses, in.Load(), usedUp.Load())
		}
		for got, err := range r.JoinTokens(t.Context(), "") {
			if err != nil || got.Uses != maxUses || got.LastUseTime.IsZero() {
				t.Errorf("stored: %+v, %v", got, err)
			}
		}
	}
}

func TestJoinTokenErrors(t *testing.T) {
	r := open1(t, Options{})
	ctx := t.Context()
	token, secret, err := r.CreateJoinToken(ctx, admin, newToken("lab", 1))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		id, secret string
		now        time.Time
		want       error
	}{
		"unknown id":               {"nosuch", secret, time.Now(), ErrTokenUnknown},
		"wrong secret":             {token.ID, "wrong", time.Now(), ErrTokenUnknown},
		"no secret":                {token.ID, "", time.Now(), ErrTokenUnknown},
		"wrong secret and expired": {token.ID, "wrong", token.ExpireTime, ErrTokenUnknown},
		"expired":                  {token.ID, secret, token.ExpireTime, ErrTokenExpired},
	} {
		if _, err := r.UseJoinToken(ctx, test.id, test.secret, test.now); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := r.DeleteJoinToken(ctx, admin, token.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := r.UseJoinToken(ctx, token.ID, secret, time.Now()); !errors.Is(err, ErrTokenUnknown) {
		t.Errorf("deleted: %v", err)
	}
	if err := r.DeleteJoinToken(ctx, admin, token.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleting again: %v", err)
	}
	if _, err := r.Site(ctx, "lab"); err != nil {
		t.Errorf("the site goes with its token: %v", err)
	}
	if _, _, err := r.CreateJoinToken(ctx, admin, newToken("No Name", 1)); err == nil {
		t.Error("bad site name accepted")
	}
}

func TestConcurrentFirstTokensMakeOneSite(t *testing.T) {
	r := open1(t, Options{})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, _, err := r.CreateJoinToken(t.Context(), admin, newToken("lab", 1)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var sites, tokens int
	for range r.Sites(t.Context(), "") {
		sites++
	}
	for range r.JoinTokens(t.Context(), "") {
		tokens++
	}
	if sites != 1 || tokens != 20 {
		t.Errorf("%d sites, %d tokens", sites, tokens)
	}
}

func TestEnroll(t *testing.T) {
	r := open1(t, Options{})
	ctx := t.Context()
	token, secret, err := r.CreateJoinToken(ctx, admin, newToken("lab", 1))
	if err != nil {
		t.Fatal(err)
	}
	expire := time.Now().Add(24 * time.Hour)
	request := func(key string, issueErr error) Enrollment {
		return Enrollment{
			TokenID: token.ID, Secret: secret, PublicKey: []byte(key), Hostname: "node-1", Now: time.Now(),
			Issue: func(site, id string) (time.Time, error) { return expire, issueErr },
		}
	}
	broken := errors.New("no certificate")
	if _, err := r.Enroll(ctx, request("key 1", broken)); !errors.Is(err, broken) {
		t.Fatalf("failed issue: %v", err)
	}
	agent, err := r.Enroll(ctx, request("key 1", nil))
	if err != nil {
		t.Fatalf("a failed issue cost a use: %v", err)
	}
	if agent.Site != "lab" || agent.JoinToken != token.ID || !agent.CertificateExpireTime.Equal(expire) {
		t.Errorf("agent: %+v", agent)
	}
	again, err := r.Enroll(ctx, request("key 1", nil))
	if err != nil || again.ID != agent.ID {
		t.Errorf("the same request again: %+v, %v", again, err)
	}
	if _, err := r.Enroll(ctx, request("key 2", nil)); !errors.Is(err, ErrTokenUsedUp) {
		t.Errorf("another agent: %v", err)
	}
	wrong := request("key 1", nil)
	wrong.Secret = "wrong"
	if _, err := r.Enroll(ctx, wrong); !errors.Is(err, ErrTokenUnknown) {
		t.Errorf("a known key with a wrong secret: %v", err)
	}

	r = reopen(t, r, Options{})
	if got, err := r.Agent(ctx, agent.ID); err != nil || got.Hostname != "node-1" || got.Connected || !got.SeenTime.IsZero() {
		t.Errorf("stored: %+v, %v", got, err)
	}
	later := expire.Add(time.Hour)
	if err := r.AgentRenewed(ctx, Actor{Name: "agent:" + agent.ID}, agent.ID, later, nil); err != nil {
		t.Fatal(err)
	}
	if got, _ := r.Agent(ctx, agent.ID); !got.CertificateExpireTime.Equal(later) {
		t.Errorf("renewed: %+v", got)
	}
	if _, err := r.RevokeAgent(ctx, admin, agent.ID, later); err != nil {
		t.Fatal(err)
	}
	if err := r.AgentRenewed(ctx, Actor{Name: "agent:" + agent.ID}, agent.ID, later, nil); !errors.Is(err, ErrAgentRevoked) {
		t.Errorf("renewing a revoked agent: %v", err)
	}
	if _, err := r.Enroll(ctx, request("key 1", nil)); !errors.Is(err, ErrAgentRevoked) {
		t.Errorf("a revoked agent joins with its old key: %v", err)
	}
}

func TestConcurrentEnrollments(t *testing.T) {
	r := open1(t, Options{})
	token, secret, err := r.CreateJoinToken(t.Context(), admin, newToken("lab", 5))
	if err != nil {
		t.Fatal(err)
	}
	var in atomic.Int32
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			_, err := r.Enroll(t.Context(), Enrollment{
				TokenID: token.ID, Secret: secret, PublicKey: []byte{byte(i)}, Now: time.Now(),
				Issue: func(string, string) (time.Time, error) { return time.Now(), nil },
			})
			if err == nil {
				in.Add(1)
			} else if !errors.Is(err, ErrTokenUsedUp) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var agents int32
	for range r.Agents(t.Context(), "") {
		agents++
	}
	if in.Load() != 5 || agents != 5 {
		t.Errorf("%d got in, %d agents are recorded, 5 were allowed", in.Load(), agents)
	}
}

func TestAPIToken(t *testing.T) {
	r := open1(t, Options{})
	ctx, now := context.Background(), time.Now()
	token, secret := NewAPIToken("admin", RoleAdmin)
	if _, err := r.CheckAPIToken(ctx, token.ID, secret, now); !errors.Is(err, ErrTokenUnknown) {
		t.Errorf("before it is stored: %v", err)
	}
	if err := r.AddAPIToken(ctx, System, token); err != nil {
		t.Fatal(err)
	}
	if got, err := r.CheckAPIToken(ctx, token.ID, secret, now); err != nil || got.User != "admin" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := r.CheckAPIToken(ctx, token.ID, "wrong", now); !errors.Is(err, ErrTokenUnknown) {
		t.Errorf("wrong secret: %v", err)
	}
	// The last one that serves cannot be deleted; one that has ended is none.
	short, shortSecret := NewAPIToken("ci", RoleAdmin)
	short.ExpireTime = now.Add(time.Hour)
	if err := r.AddAPIToken(ctx, admin, short); err != nil {
		t.Fatal(err)
	}
	later := now.Add(time.Hour)
	if _, err := r.CheckAPIToken(ctx, short.ID, shortSecret, now); err != nil {
		t.Error(err)
	}
	if _, err := r.CheckAPIToken(ctx, short.ID, shortSecret, later); !errors.Is(err, ErrTokenExpired) {
		t.Errorf("ended: %v", err)
	}
	if err := r.DeleteAPIToken(ctx, admin, token.ID, later); !errors.Is(err, ErrLastToken) {
		t.Errorf("the last one: %v", err)
	}
	if err := r.DeleteAPIToken(ctx, admin, "nosuch", later); !errors.Is(err, ErrNotFound) {
		t.Errorf("none: %v", err)
	}
	if err := r.DeleteAPIToken(ctx, admin, token.ID, now); err != nil {
		t.Fatal(err)
	}
	if _, err := r.CheckAPIToken(ctx, token.ID, secret, now); !errors.Is(err, ErrTokenUnknown) {
		t.Errorf("deleted: %v", err)
	}
	if err := r.DeleteAPIToken(ctx, admin, short.ID, later); err != nil {
		t.Errorf("one that has ended: %v", err)
	}
	if err := r.AddAPIToken(ctx, admin, APIToken{ID: "x", User: "u", Role: "king"}); err == nil {
		t.Error("unknown role accepted")
	}
}
