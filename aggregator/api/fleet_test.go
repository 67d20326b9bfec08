package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/reeve-cloud/reeve/aggregator/registry"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
)

func TestCreateJoinToken(t *testing.T) {
	f := start(t, nil)
	shown, token := f.joinToken("lab", 0)
	if token.Site != "lab" || token.CA != f.ca.Pin().String() || token.ID != shown.GetId() ||
		strings.Join(token.Addresses, " ") != "reeve.example:7443" {
		t.Errorf("token: %+v", token)
	}
	life := shown.GetExpireTime().AsTime().Sub(shown.GetCreateTime().AsTime())
	if shown.GetMaxUses() != 1 || shown.GetUses() != 0 || life != time.Hour || shown.GetCreatedBy() != "admin" ||
		shown.GetLastUseTime() != nil {
		t.Errorf("shown: %v", shown)
	}
	res, err := f.fleet().CreateJoinToken(t.Context(), connect.NewRequest(&reevev1.CreateJoinTokenRequest{
		Site: "lab", Ttl: durationpb.New(maxTokenLife), MaxUses: maxTokenUses, Addresses: []string{"10.0.0.1:443", "[2001:db8::1]:443"},
	}))
	if err != nil || res.Msg.GetToken().GetMaxUses() != maxTokenUses {
		t.Errorf("the most that is allowed: %v, %v", res, err)
	}
	var audited []string
	for e, err := range f.registry.Store().Audit(t.Context(), time.Time{}, time.Time{}) {
		if err != nil {
			t.Fatal(err)
		}
		audited = append(audited, e.Actor+" "+e.Action)
	}
	if got := strings.Join(audited, ", "); got != "system api_token.create, user:admin join_token.create, user:admin site.create, "+
		"user:admin join_token.create" {
		t.Errorf("audited: %s", got)
	}
}

func TestBadJoinTokenRequests(t *testing.T) {
	f := start(t, nil)
	for name, test := range map[string]struct {
		request *reevev1.CreateJoinTokenRequest
		want    string
	}{
		"no site":          {&reevev1.CreateJoinTokenRequest{}, "site:"},
		"bad site":         {&reevev1.CreateJoinTokenRequest{Site: "Not A Name"}, "site:"},
		"no time":          {&reevev1.CreateJoinTokenRequest{Site: "lab", Ttl: durationpb.New(0)}, "ttl:"},
		"negative time":    {&reevev1.CreateJoinTokenRequest{Site: "lab", Ttl: durationpb.New(-1)}, "ttl:"},
		"too long":         {&reevev1.CreateJoinTokenRequest{Site: "lab", Ttl: durationpb.New(maxTokenLife + 1)}, "ttl:"},
		"impossible time":  {&reevev1.CreateJoinTokenRequest{Site: "lab", Ttl: &durationpb.Duration{Seconds: 1, Nanos: -1}}, "ttl:"},
		"negative uses":    {&reevev1.CreateJoinTokenRequest{Site: "lab", MaxUses: -1}, "max_uses:"},
		"too many uses":    {&reevev1.CreateJoinTokenRequest{Site: "lab", MaxUses: maxTokenUses + 1}, "max_uses:"},
		"bad address":      {&reevev1.CreateJoinTokenRequest{Site: "lab", Addresses: []string{"no-port"}}, "addresses:"},
		"many addresses":   {&reevev1.CreateJoinTokenRequest{Site: "lab", Addresses: make([]string, maxAddresses+1)}, "addresses:"},
		"a long address":   {&reevev1.CreateJoinTokenRequest{Site: "lab", Addresses: []string{strings.Repeat("x", 300) + ":1"}}, "addresses:"},
		"an empty address": {&reevev1.CreateJoinTokenRequest{Site: "lab", Addresses: []string{""}}, "addresses:"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := f.fleet().CreateJoinToken(t.Context(), connect.NewRequest(test.request))
			wantError(t, err, connect.CodeInvalidArgument, test.want)
		})
	}
	for range f.registry.Sites(t.Context(), "") {
		t.Error("a refused request left a site behind")
	}
	f = start(t, func(o *Options) { o.Addresses = nil })
	_, err := f.fleet().CreateJoinToken(t.Context(), connect.NewRequest(&reevev1.CreateJoinTokenRequest{Site: "lab"}))
	wantError(t, err, connect.CodeInvalidArgument, "addresses:", "set advertise")
}

func TestDoubtfulAddressesAreSaid(t *testing.T) {
	f := start(t, nil)
	for address, want := range map[string]string{
		"reeve:8443":           "a host name without a domain",
		"localhost:8443":       "only this very machine",
		"127.0.0.1:8443":       "only this very machine",
		"[::1]:8443":           "only this very machine",
		"0.0.0.0:8443":         "names none",
		"[fe80::1]:8443":       "on one link",
		"no.such.invalid:8443": "cannot resolve the name",
		"192.0.2.7:8443":       "",
		"[2001:db8::7]:8443":   "",
	} {
		res, err := f.fleet().CreateJoinToken(t.Context(),
			connect.NewRequest(&reevev1.CreateJoinTokenRequest{Site: "lab", Addresses: []string{address}}))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(res.Msg.GetWarnings(), "; "); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
		if got := res.Msg.GetToken().GetAddresses(); len(got) != 1 || got[0] != address {
			t.Errorf("%s: shown as %q", address, got)
		}
	}
}

func TestDeleteJoinToken(t *testing.T) {
	f := start(t, nil)
	shown, _ := f.joinToken("lab", 1)
	if _, err := f.fleet().DeleteJoinToken(t.Context(), connect.NewRequest(&reevev1.DeleteJoinTokenRequest{Id: shown.GetId()})); err != nil {
		t.Fatal(err)
	}
	_, err := f.fleet().DeleteJoinToken(t.Context(), connect.NewRequest(&reevev1.DeleteJoinTokenRequest{Id: shown.GetId()}))
	wantError(t, err, connect.CodeNotFound, shown.GetId())
	_, err = f.fleet().DeleteJoinToken(t.Context(), connect.NewRequest(&reevev1.DeleteJoinTokenRequest{Id: "../sites/lab"}))
	wantError(t, err, connect.CodeInvalidArgument, "id:")
}

func TestRevokeAgent(t *testing.T) {
	f := start(t, nil)
	id, _ := f.enroll("lab")
	stays, _ := f.enroll("lab")
	res, err := f.fleet().RevokeAgent(t.Context(), connect.NewRequest(&reevev1.RevokeAgentRequest{Id: id}))
	if err != nil || res.Msg.GetAgent().GetId() != id || res.Msg.GetAgent().GetRevokeTime() == nil {
		t.Fatalf("%v, %v", res, err)
	}
	for revoked, want := range map[bool]int{false: 1, true: 2} {
		list, err := f.fleet().ListAgents(t.Context(), connect.NewRequest(&reevev1.ListAgentsRequest{ShowRevoked: revoked}))
		if err != nil || len(list.Msg.GetAgents()) != want || !revoked && list.Msg.GetAgents()[0].GetId() != stays {
			t.Errorf("listed with revoked %v: %v, %v", revoked, list, err)
		}
	}
	sites, err := f.fleet().ListSites(t.Context(), connect.NewRequest(&reevev1.ListSitesRequest{}))
	if err != nil || sites.Msg.GetSites()[0].GetAgents() != 1 {
		t.Errorf("sites: %v, %v", sites, err)
	}
	var audited bool
	for e, err := range f.registry.Store().Audit(t.Context(), time.Time{}, time.Time{}) {
		if err != nil {
			t.Fatal(err)
		}
		audited = audited || e.Action == "agent.revoke" && e.Actor == "user:admin" && e.Key == registry.AgentPrefix+id && e.Address != ""
	}
	if !audited {
		t.Error("it was not audited")
	}
	_, err = f.fleet().RevokeAgent(t.Context(), connect.NewRequest(&reevev1.RevokeAgentRequest{Id: "0193c1a2-7f3e-4d5b-9c1d-2b6f0e9a8d7c"}))
	wantError(t, err, connect.CodeNotFound, "there is no agent")
	_, err = f.fleet().RevokeAgent(t.Context(), connect.NewRequest(&reevev1.RevokeAgentRequest{Id: "../sites/lab"}))
	wantError(t, err, connect.CodeInvalidArgument, "id:")
}

func TestCertificateAuthorities(t *testing.T) {
	f := start(t, nil)
	list := func() []*reevev1.CertificateAuthority {
		t.Helper()
		res, err := f.fleet().ListCertificateAuthorities(t.Context(), connect.NewRequest(&reevev1.ListCertificateAuthoritiesRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		return res.Msg.GetCertificateAuthorities()
	}
	retire := func(hash string, force bool) error {
		_, err := f.fleet().RetireCertificateAuthority(t.Context(),
			connect.NewRequest(&reevev1.RetireCertificateAuthorityRequest{Hash: hash, Force: force}))
		return err
	}
	id, _ := f.enroll("lab")
	_, token := f.joinToken("lab", 1)
	first := list()
	if len(first) != 1 || !first[0].GetSigning() || first[0].GetAgents() != 1 || first[0].GetHash() != token.CA {
		t.Fatalf("at first: %v", first)
	}
	old := first[0].GetHash()
	wantError(t, retire(old, true), connect.CodeFailedPrecondition, "rotate it first")
	wantError(t, retire("sha256:", true), connect.CodeInvalidArgument, "hash:")
	wantError(t, retire("sha256:"+strings.Repeat("0", 64), true), connect.CodeNotFound, "no certificate authority")
	for n := 2; ; n++ {
		res, err := f.fleet().RotateCertificateAuthority(t.Context(), connect.NewRequest(&reevev1.RotateCertificateAuthorityRequest{}))
		if err != nil {
			wantError(t, err, connect.CodeFailedPrecondition, "retire the oldest first")
			break
		}
		now := list()
		if len(now) != n || now[0].GetHash() != res.Msg.GetCertificateAuthority().GetHash() || !now[0].GetSigning() || now[1].GetSigning() ||
			now[n-1].GetHash() != old {
			t.Fatalf("after rotation %d: %v", n-1, now)
		}
	}
	wantError(t, retire(list()[1].GetHash(), true), connect.CodeFailedPrecondition, "oldest certificate authority first")
	wantError(t, retire(old, false), connect.CodeFailedPrecondition, "1 agents ("+id)
	wantError(t, retire(old, false), connect.CodeFailedPrecondition, "1 join tokens ("+token.ID)
	if _, err := f.registry.RevokeAgent(t.Context(), registry.System, id, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := f.registry.DeleteJoinToken(t.Context(), registry.System, token.ID); err != nil {
		t.Fatal(err)
	}
	if err := retire(old, false); err != nil {
		t.Errorf("when nobody needs it: %v", err)
	}
	if left := list(); len(left) != 3 || left[2].GetHash() == old {
		t.Errorf("left: %v", left)
	}
}

func TestPaging(t *testing.T) {
	f := start(t, nil)
	for i := range 7 {
		f.joinToken(fmt.Sprintf("site-%d", i), 1)
	}
	var names []string
	var pages int
	for token := ""; ; pages++ {
		res, err := f.fleet().ListSites(t.Context(), connect.NewRequest(&reevev1.ListSitesRequest{PageSize: 3, PageToken: token}))
		if err != nil {
			t.Fatal(err)
		}
		for _, site := range res.Msg.GetSites() {
			names = append(names, site.GetName())
		}
		if token = res.Msg.GetNextPageToken(); token == "" {
			break
		}
	}
	if got := strings.Join(names, " "); got != "site-0 site-1 site-2 site-3 site-4 site-5 site-6" || pages != 2 {
		t.Errorf("%d more pages: %s", pages, got)
	}
	// A page that ends with the list is the last.
	res, err := f.fleet().ListSites(t.Context(), connect.NewRequest(&reevev1.ListSitesRequest{PageSize: 7}))
	if err != nil || res.Msg.GetNextPageToken() != "" {
		t.Errorf("%v, %v", res, err)
	}
	res, err = f.fleet().ListSites(t.Context(), connect.NewRequest(&reevev1.ListSitesRequest{PageSize: 2}))
	if err != nil {
		t.Fatal(err)
	}
	token := res.Msg.GetNextPageToken()
	for name, call := range map[string]func() error{
		"negative size": func() error {
			_, err := f.fleet().ListSites(t.Context(), connect.NewRequest(&reevev1.ListSitesRequest{PageSize: -1}))
			wantError(t, err, connect.CodeInvalidArgument, "page_size:")
			return err
		},
		"garbage": func() error {
			_, err := f.fleet().ListSites(t.Context(), connect.NewRequest(&reevev1.ListSitesRequest{PageToken: "garbage!"}))
			return err
		},
		"other list": func() error {
			_, err := f.fleet().ListJoinTokens(t.Context(), connect.NewRequest(&reevev1.ListJoinTokensRequest{PageToken: token}))
			return err
		},
		"other filter": func() error {
			_, err := f.fleet().ListAgents(t.Context(),
				connect.NewRequest(&reevev1.ListAgentsRequest{Site: "lab", PageToken: encodePageToken("agents", "", "x")}))
			return err
		},
	} {
		err := call()
		wantError(t, err, connect.CodeInvalidArgument)
		if name != "negative size" {
			wantError(t, err, connect.CodeInvalidArgument, "page_token:")
		}
	}
}

func TestListSitesAndAgents(t *testing.T) {
	f := start(t, nil)
	one, _ := f.enroll("lab")
	f.enroll("lab")
	f.enroll("far")
	session, err := f.registry.AgentConnected(t.Context(), one, registry.Connection{
		Address: "192.0.2.1:5", Hostname: "node-1", Version: "v1.2.3", Platform: "linux/arm64", Collectors: []string{"host", "k8s"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	session.Backlog(12)

	sites, err := f.fleet().ListSites(t.Context(), connect.NewRequest(&reevev1.ListSitesRequest{}))
	if err != nil || len(sites.Msg.GetSites()) != 2 {
		t.Fatal(sites, err)
	}
	far, lab := sites.Msg.GetSites()[0], sites.Msg.GetSites()[1]
	if far.GetAgents() != 1 || far.GetConnectedAgents() != 0 || far.GetAssets() != 0 {
		t.Errorf("far: %v", far)
	}
	if lab.GetAgents() != 2 || lab.GetConnectedAgents() != 1 || lab.GetAssets() != 42 || lab.GetCreateTime() == nil {
		t.Errorf("lab: %v", lab)
	}

	agents, err := f.fleet().ListAgents(t.Context(), connect.NewRequest(&reevev1.ListAgentsRequest{Site: "lab"}))
	if err != nil || len(agents.Msg.GetAgents()) != 2 {
		t.Fatal(agents, err)
	}
	for _, a := range agents.Msg.GetAgents() {
		if a.GetId() == one {
			if !a.GetConnected() || a.GetVersion() != "v1.2.3" || a.GetPlatform() != "linux/arm64" || len(a.GetCollectors()) != 2 ||
				a.GetBacklogRecords() != 12 || a.GetAddress() != "192.0.2.1:5" || a.GetSeenTime() == nil {
				t.Errorf("connected agent: %v", a)
			}
		} else if a.GetConnected() || a.GetSeenTime() != nil || a.GetHostname() != "node-1" || a.GetCertificateExpireTime() == nil ||
			a.GetEnrollTime() == nil {
			t.Errorf("agent that never connected: %v", a)
		}
	}
	// One page after the other, with a filter.
	page1, err := f.fleet().ListAgents(t.Context(), connect.NewRequest(&reevev1.ListAgentsRequest{Site: "lab", PageSize: 1}))
	if err != nil {
		t.Fatal(err)
	}
	page2, err := f.fleet().ListAgents(t.Context(),
		connect.NewRequest(&reevev1.ListAgentsRequest{Site: "lab", PageSize: 1, PageToken: page1.Msg.GetNextPageToken()}))
	if err != nil || len(page2.Msg.GetAgents()) != 1 || page2.Msg.GetNextPageToken() != "" ||
		page2.Msg.GetAgents()[0].GetId() == page1.Msg.GetAgents()[0].GetId() {
		t.Errorf("second page: %v, %v", page2, err)
	}
	if res, err := f.fleet().ListAgents(t.Context(), connect.NewRequest(&reevev1.ListAgentsRequest{Site: "nosuch"})); err != nil ||
		len(res.Msg.GetAgents()) != 0 {
		t.Errorf("unknown site: %v, %v", res, err)
	}
	_, err = f.fleet().ListAgents(t.Context(), connect.NewRequest(&reevev1.ListAgentsRequest{Site: "Not A Name"}))
	wantError(t, err, connect.CodeInvalidArgument, "site:")
}

func TestCorruptObjectIsLeftOutOfLists(t *testing.T) {
	f := start(t, nil)
	f.joinToken("a", 1)
	f.joinToken("c", 1)
	if _, err := f.registry.Store().Apply(t.Context(), registry.System, registry.Op{
		Action: "test", Key: registry.SitePrefix + "b", Value: []byte("not JSON"), Revision: registry.Absent,
	}); err != nil {
		t.Fatal(err)
	}
	res, err := f.fleet().ListSites(t.Context(), connect.NewRequest(&reevev1.ListSitesRequest{}))
	if err != nil || len(res.Msg.GetSites()) != 2 {
		t.Errorf("%v, %v", res, err)
	}
	f.log.waitFor(t, "sites/b")
}

func TestSilentWarehouse(t *testing.T) {
	broken := errors.New("connection refused")
	f := start(t, func(o *Options) {
		o.Warehouse = func(context.Context) (string, string, error) { return "server", "", broken }
		o.AssetCounts = func(context.Context) (map[string]int64, error) { return nil, broken }
	})
	res, err := f.fleet().GetStatus(t.Context(), connect.NewRequest(&reevev1.GetStatusRequest{}))
	if err != nil || res.Msg.GetWarehouse() != "server" {
		t.Errorf("%v, %v", res, err)
	}
	_, err = f.fleet().ListSites(t.Context(), connect.NewRequest(&reevev1.ListSitesRequest{}))
	wantError(t, err, connect.CodeUnavailable, "counting assets")
	f.log.waitFor(t, "connection refused")
}
