package registry

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

var writeFixture = flag.String("write-fixture", "", "write the registry of this version into this directory of testdata")

// What the registries in testdata have.
var (
	fixtureTime  = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	fixtureSpool = strings.Repeat("0123456789abcdef", 2)
)

// fillFixture makes one object of each kind.
func fillFixture(t *testing.T, r *Registry) {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	token, secret, err := r.CreateJoinToken(ctx, admin, JoinToken{
		Site: "lab", MaxUses: 3, CreateTime: fixtureTime, ExpireTime: fixtureTime.Add(time.Hour), CreatedBy: "admin",
		Addresses: []string{"reeve.example.org:8443"}, CA: "sha256:0a",
	})
	must(err)
	agent, err := r.Enroll(ctx, Enrollment{
		TokenID: token.ID, Secret: secret, PublicKey: []byte("key"), Hostname: "node-1", Address: "192.0.2.1:5", Now: fixtureTime,
		CAs:   []string{"sha256:0a"},
		Issue: func(string, string) (time.Time, error) { return fixtureTime.Add(24 * time.Hour), nil },
	})
	must(err)
	session, err := r.AgentConnected(ctx, agent.ID, Connection{Address: "192.0.2.1:5", Hostname: "node-1b", Version: "v1",
		Platform: "linux/amd64", Collectors: []string{"host"}, Transport: "quic"})
	must(err)
	session.Backlog(7)
	session.Close()
	api, _ := NewAPIToken("admin", RoleAdmin)
	api.ID, api.CreateTime, api.SecretHash = "fixture", fixtureTime, strings.Repeat("ab", 32)
	must(r.AddAPIToken(ctx, System, api))
	must(r.AuthorityRotated(ctx, admin, "sha256:0a", fixtureTime))
	must(r.SetWatermarks(ctx, map[SpoolClass]uint64{{fixtureSpool, wirev1.Class_CLASS_ASSETS}: 12345}))
}

// TestRegistriesOfPastVersions reads the registry that each version left behind, and
// writes to it.
func TestRegistriesOfPastVersions(t *testing.T) {
	if *writeFixture != "" {
		dir := filepath.Join("testdata", *writeFixture)
		r, err := Open(Options{Dir: dir, now: func() time.Time { return fixtureTime }})
		if err != nil {
			t.Fatal(err)
		}
		fillFixture(t, r)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir("testdata")
	if err != nil || len(entries) == 0 {
		t.Fatal("there is no registry of a past version: ", err)
	}
	for _, e := range entries {
		t.Run(e.Name(), func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", e.Name()))); err != nil {
				t.Fatal(err)
			}
			r := open1(t, Options{Dir: dir})
			ctx := t.Context()
			var tokens []JoinToken
			for token, err := range r.JoinTokens(ctx, "") {
				if err != nil {
					t.Fatal(err)
				}
				tokens = append(tokens, token)
			}
			if len(tokens) != 1 || tokens[0].Site != "lab" || tokens[0].Uses != 1 || tokens[0].MaxUses != 3 ||
				!tokens[0].ExpireTime.Equal(fixtureTime.Add(time.Hour)) {
				t.Errorf("join tokens: %+v", tokens)
			}
			var agents []Agent
			for agent, err := range r.Agents(ctx, "") {
				if err != nil {
					t.Fatal(err)
				}
				agents = append(agents, agent)
			}
			if len(agents) != 1 || agents[0].Site != "lab" || agents[0].Hostname != "node-1b" || agents[0].BacklogRecords != 7 ||
				agents[0].Transport != "quic" ||
				!agents[0].SeenTime.Equal(fixtureTime) || !agents[0].CertificateExpireTime.Equal(fixtureTime.Add(24*time.Hour)) || agents[0].Revoked() {
				t.Fatalf("agents: %+v", agents)
			}
			if site, err := r.Site(ctx, "lab"); err != nil || !site.CreateTime.Equal(fixtureTime) {
				t.Errorf("site: %+v, %v", site, err)
			}
			if _, err := r.CheckAPIToken(ctx, "fixture", "wrong", fixtureTime); !errors.Is(err, ErrTokenUnknown) {
				t.Error(err)
			}
			for token, err := range r.APITokens(ctx, "") {
				if err != nil || token.ID != "fixture" || token.User != "admin" || token.Role != RoleAdmin ||
					token.Expired(fixtureTime.AddDate(100, 0, 0)) {
					t.Errorf("API token: %+v, %v", token, err)
				}
			}
			if got := r.Watermark(fixtureSpool, wirev1.Class_CLASS_ASSETS); got != 12345 {
				t.Errorf("watermark %d", got)
			}
			audit, _, corrupt, err := r.Store().AuditPage(ctx, AuditFilter{}, "", 100)
			if err != nil || corrupt != 0 || len(audit) != 6 || audit[0].Action != "ca.rotate" || audit[5].Actor != admin.Name ||
				audit[5].Action != "join_token.create" {
				t.Errorf("audit: %+v, %d, %v", audit, corrupt, err)
			}
			if _, err := r.RevokeAgent(ctx, admin, agents[0].ID, fixtureTime); err != nil {
				t.Errorf("revoking: %v", err)
			}
		})
	}
}
