package scope

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/registry"
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

// TestFreed: an agent that was refused a scope hears when it could have it: its holder has
// given it up, is silent, or was revoked. It hears nothing while the holder lives.
func TestFreed(t *testing.T) {
	for name, free := range map[string]func(f *fixture, holder identity.Agent, session *registry.Session){
		"given up": func(f *fixture, holder identity.Agent, _ *registry.Session) { f.release(holder) },
		"silent": func(f *fixture, _ identity.Agent, session *registry.Session) {
			f.s.takeOverAfter = 0
			session.Close()
		},
		"revoked": func(f *fixture, holder identity.Agent, _ *registry.Session) {
			if _, err := f.reg.RevokeAgent(f.t.Context(), registry.System, holder.ID, time.Now()); err != nil {
				f.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			holder, held := f.join("holder")
			defer held.Close()
			f.claim(holder, 0, false)
			standby, session := f.join("standby")
			defer session.Close()
			s := f.s.Session(standby, nil)
			if _, err := s.answer(t.Context(), []*wirev1.ScopeClaim{{Scope: "k/pods"}, {Scope: "k/nodes"}}); err != nil {
				t.Fatal(err)
			}
			if free, err := s.freed(t.Context()); err != nil || free {
				t.Errorf("while the holder lives: %v, %v", free, err)
			}
			free(f, holder, held)
			f.s.lookAgain = time.Millisecond
			told := make(chan *wirev1.Control, 1)
			s.say = func(c *wirev1.Control) error {
				select {
				case told <- c:
				default:
				}
				return nil
			}
			ctx, cancel := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Go(func() { _ = s.Run(ctx) })
			defer running.Wait()
			defer cancel()
			if c := <-told; c.GetFreed() == nil {
				t.Errorf("it was told %v", c)
			}
		})
	}
}
