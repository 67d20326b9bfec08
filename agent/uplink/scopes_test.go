package uplink

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reeve-cloud/reeve/pkg/transport"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// asked is a control stream on which the aggregator answers what is written.
type asked struct {
	transport.Stream
	answer func()
}

func (a asked) Write(b []byte) (int, error) {
	a.answer()
	return len(b), nil
}

// told keeps what was granted.
type told struct {
	Scopes
	grants []*wirev1.ScopeGrant
}

func (*told) Claims() []*wirev1.ScopeClaim { return []*wirev1.ScopeClaim{{Scope: "k/pods", Epoch: 1}} }

func (g *told) Granted(_ []*wirev1.ScopeClaim, grants []*wirev1.ScopeGrant) ([]*wirev1.ScopeGrant, bool, error) {
	g.grants = grants
	return nil, false, nil
}

func (*told) Seed(context.Context, *wirev1.ScopeGrant, func(context.Context) error, func() ([]*wirev1.AssetVersion, error)) error {
	return nil
}

// TestLateGrants: what the aggregator says of claims after nobody waits for it any more is
// not taken for its answer to the next ones.
func TestLateGrants(t *testing.T) {
	grants := func(list ...*wirev1.ScopeGrant) *wirev1.Control {
		return &wirev1.Control{Message: &wirev1.Control_Grants{Grants: &wirev1.Grants{Grants: list}}}
	}
	g := &told{}
	s := &session{Uplink: &Uplink{Scopes: g, Logger: slog.New(slog.DiscardHandler)}, grants: make(chan *wirev1.Control, 8)}
	for _, late := range []*wirev1.Control{grants(), {Message: &wirev1.Control_Seed{Seed: &wirev1.Seed{Scope: "k/pods"}}}, grants()} {
		if err := take(s.grants, late); err != nil {
			t.Fatal(err)
		}
	}
	answered := false
	s.control = asked{answer: func() {
		if !answered {
			answered = true
			s.grants <- grants(&wirev1.ScopeGrant{Scope: "k/pods", Holder: "another"})
		}
	}}
	if _, err := s.claimOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(g.grants) != 1 || g.grants[0].GetHolder() != "another" {
		t.Errorf("granted was %v", g.grants)
	}
}

// refusing are scopes that another agent holds.
type refusing struct {
	Scopes
	asked chan struct{}
}

func (*refusing) Changed() <-chan struct{} { return nil }

func (*refusing) Claims() []*wirev1.ScopeClaim { return []*wirev1.ScopeClaim{{Scope: "k/pods"}} }

func (r *refusing) Granted([]*wirev1.ScopeClaim, []*wirev1.ScopeGrant) ([]*wirev1.ScopeGrant, bool, error) {
	r.asked <- struct{}{}
	return nil, true, nil
}

// TestStandby: an agent whose scope another one holds asks more and more seldom, and at
// once when it hears that a scope has come free. Where the aggregator does not tell, it
// goes on asking as often.
func TestStandby(t *testing.T) {
	for _, tells := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r := &refusing{asked: make(chan struct{}, 1)}
			s := &session{Uplink: &Uplink{Scopes: r, Logger: slog.New(slog.DiscardHandler)}, grants: make(chan *wirev1.Control, 8),
				freed: make(chan struct{}, 1), tellsOfFreed: tells}
			s.control = asked{answer: func() {
				s.grants <- &wirev1.Control{Message: &wirev1.Control_Grants{Grants: &wirev1.Grants{}}}
			}}
			done := make(chan error, 1)
			go func() { done <- s.claim(ctx) }()
			began, times := time.Now(), 0
			for time.Since(began) < 24*time.Hour {
				<-r.asked
				times++
			}
			if least, most := 24*6/2, 24*6*2+10; tells && (times < least || times > most) {
				t.Errorf("it asked %d times in a day, %d to %d are meant", times, least, most)
			}
			if !tells && times < 24*3600/31 {
				t.Errorf("it asked %d times in a day", times)
			}
			synctest.Wait()
			waiting := time.Now()
			s.freed <- struct{}{}
			<-r.asked
			if waited := time.Since(waiting); waited > 0 {
				t.Errorf("it asked %v after a scope had come free", waited)
			}
			cancel()
			<-done
		})
	}
}
