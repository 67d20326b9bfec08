package session_test

import (
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/reeve-cloud/reeve/agent/uplink"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
	"github.com/reeve-cloud/reeve/test/centre"
)

// logged waits until a text is in the agent's log.
func (e *edge) logged(text string) {
	e.t.Helper()
	centre.WaitFor(e.t, "the agent to log "+text, func() bool { return strings.Contains(e.log.String(), text) })
}

func TestRevokedAgentIsCut(t *testing.T) {
	c := centre.New(t)
	e := newEdge(t, c)
	other := newEdge(t, c)
	e.observe(3)
	e.arrived(3)
	fleet := reevev1connect.NewFleetServiceClient(signedIn(t, c))
	began := time.Now()
	if _, err := fleet.RevokeAgent(t.Context(), connect.NewRequest(&reevev1.RevokeAgentRequest{Id: e.id.Agent.ID})); err != nil {
		t.Fatal(err)
	}
	centre.WaitFor(t, "the session to be cut", func() bool { return !e.link.Connected() })
	t.Logf("cut %v after the call", time.Since(began))
	e.logged("this agent was revoked")
	c.Logged("this agent was revoked")
	if n := strings.Count(e.log.String(), "no session with the aggregator"); n != 1 {
		t.Errorf("the agent tried again at once: %s", e.log)
	}
	// It gets in no more, neither for a session nor for a certificate.
	_, err := uplink.Probe(t.Context(), c.Address, e.id.ClientTLS())
	if err == nil || !strings.Contains(uplink.Explain(err).Error(), "was revoked") {
		t.Errorf("a revoked agent: %v", err)
	}
	c.Logged("refused a session of agent " + e.id.Agent.String())
	if err := e.id.Renew(t.Context(), []string{c.Address}); err == nil || !strings.Contains(err.Error(), "was revoked") {
		t.Errorf("a revoked agent renews: %v", err)
	}
	// What it brought is there, without being active.
	c.Stop()
	c.Start()
	inventory := client(t, c)
	centre.WaitFor(t, "its assets to be disconnected", func() bool {
		list, err := inventory.ListAssets(t.Context(), connect.NewRequest(&reevev1.ListAssetsRequest{States: []reevev1.State{reevev1.State_STATE_DISCONNECTED}}))
		return err == nil && len(list.Msg.GetAssets()) == 3 && list.Msg.GetAssets()[0].GetDisconnectTime().AsTime().After(began.Add(-time.Minute))
	})
	// Nobody else was touched.
	other.observe(1)
	other.arrived(4)
}
