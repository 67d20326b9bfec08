package session_test

import (
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
	"github.com/reeve-cloud/reeve/test/centre"
)

func TestDeleteSite(t *testing.T) {
	c := centre.New(t)
	e := newEdge(t, c)
	e.observe(3)
	e.arrived(3)
	insert(t, c, version("east", "fake.test.Thing", "a", warehouse.Created))
	c.Token("east", 1, time.Hour)
	token := c.Token("west", 1, time.Hour)
	fleet := reevev1connect.NewFleetServiceClient(signedIn(t, c))
	remove := func(name string, only bool) (*reevev1.DeleteSiteResponse, error) {
		answer, err := fleet.DeleteSite(t.Context(), connect.NewRequest(&reevev1.DeleteSiteRequest{Name: name, ValidateOnly: only}))
		if err != nil {
			return nil, err
		}
		return answer.Msg, nil
	}
	for name, want := range map[string]string{"wets": "there is no site wets; is it west?", "No Name": "name: "} {
		if _, err := remove(name, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}

	// What would be, which changes nothing.
	m, err := remove("west", true)
	// The edge joined with a token of its own.
	if err != nil || m.GetSite().GetAgents() != 1 || m.GetSite().GetConnectedAgents() != 1 || m.GetJoinTokens() != 2 ||
		m.GetStoredAssets() != 3 || m.GetStoredVersions() != 3 ||
		m.GetSite().GetDeleteTime() != nil {
		t.Fatalf("%v, %v", m, err)
	}
	e.observe(1)
	e.arrived(5) // with that of the other site

	if m, err = remove("west", false); err != nil || m.GetSite().GetDeleteTime() == nil {
		t.Fatalf("%v, %v", m, err)
	}
	centre.WaitFor(t, "the session to be cut", func() bool { return !e.link.Connected() })
	centre.WaitFor(t, "the rows to be gone", func() bool {
		left, err := c.Store.CountSite(t.Context(), "west")
		return err == nil && left == warehouse.SiteCounts{}
	})
	if n, err := c.Registry.UseJoinToken(t.Context(), token.ID, token.Secret, time.Now()); err == nil {
		t.Errorf("a join token of the site serves: %v", n)
	}
	_, err = fleet.CreateJoinToken(t.Context(), connect.NewRequest(&reevev1.CreateJoinTokenRequest{Site: "west"}))
	code(t, err, connect.CodeFailedPrecondition, "is being deleted")
	sites, err := fleet.ListSites(t.Context(), connect.NewRequest(&reevev1.ListSitesRequest{}))
	if err != nil || len(sites.Msg.GetSites()) != 2 || sites.Msg.GetSites()[1].GetDeleteTime() == nil ||
		sites.Msg.GetSites()[0].GetAssets() != 1 {
		t.Errorf("%v, %v", sites, err)
	}
	// A restart goes on with it.
	c.Stop()
	c.Start()
	if site, err := c.Registry.Site(t.Context(), "west"); err != nil || !site.Deleted() {
		t.Errorf("after a restart: %+v, %v", site, err)
	}
	// Nobody else was touched.
	if left, err := c.Store.CountSite(t.Context(), "east"); err != nil || left.Assets != 1 {
		t.Errorf("the other site: %+v, %v", left, err)
	}
	tokens := 0
	for _, err := range c.Registry.JoinTokens(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		tokens++
	}
	if a, err := c.Registry.Agent(t.Context(), e.id.Agent.ID); err != nil || !a.Revoked() || tokens != 1 {
		t.Errorf("%+v, %v, %d tokens", a, err, tokens)
	}
}
