package scope

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/pkg/identity"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// TestSlowReaders: agents that do not read what they are told hold up nobody's claims.
func TestSlowReaders(t *testing.T) {
	f := newFixture(t)
	none := func() error { return nil }
	f.s.warehouse = &between{counted: *f.w, types: none, assets: none, holders: none}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	defer done.Wait()
	defer cancel()
	begin := func(a identity.Agent, say func(*wirev1.Control) error) *Session {
		s := f.s.Session(a, say)
		done.Go(func() {
			if err := s.Run(ctx); ctx.Err() == nil {
				t.Error(err)
			}
		})
		return s
	}
	slow, session := f.join("slow")
	defer session.Close()
	f.claim(slow, 0, false)
	stalled := make(chan struct{}, atOnce)
	for range atOnce {
		s := begin(slow, func(*wirev1.Control) error {
			stalled <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		})
		if err := s.Take(&wirev1.Control{Message: &wirev1.Control_SeedRequest{SeedRequest: &wirev1.SeedRequest{Scope: "k/pods", Epoch: 1}}}); err != nil {
			t.Fatal(err)
		}
		<-stalled
	}
	other, session := f.join("other")
	defer session.Close()
	answered := make(chan *wirev1.Control, 1)
	s := begin(other, func(c *wirev1.Control) error { answered <- c; return nil })
	if err := s.Take(&wirev1.Control{Message: &wirev1.Control_Scopes{Scopes: &wirev1.Scopes{Scopes: []*wirev1.ScopeClaim{{Scope: "k/nodes"}}}}}); err != nil {
		t.Fatal(err)
	}
	select {
	case c := <-answered:
		if g := c.GetGrants().GetGrants(); len(g) != 1 || g[0].GetEpoch() != 1 {
			t.Errorf("the answer is %v", c)
		}
	case <-time.After(20 * time.Second):
		t.Error("claims are not answered while others do not read")
	}
}
