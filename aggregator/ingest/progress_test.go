package ingest

import (
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/pkg/hlc"
)

// TestProgress: each group has a time of its own, later than those before it, whatever the
// clock says; and a group of a time that has yet to come, which was begun while the clock
// was wrong, neither makes those that follow wait for that time nor hides them.
func TestProgress(t *testing.T) {
	now := time.UnixMilli(time.Now().UnixMilli()).UTC()
	p := NewProgress(now.Add(-time.Second))
	future := now.Add(10 * 365 * 24 * time.Hour).UnixMilli()
	p.Left(future)
	p.Done(future, true)
	p.Left(now.UnixMilli() + 5)
	p.Done(now.UnixMilli()+5, true)
	p.Settled()
	readable, more, err := p.Now(t.Context())
	if err != nil || readable.At != now.UnixMilli()+5 {
		t.Fatalf("readable %v, want %d; %v", readable, now.UnixMilli()+5, err)
	}
	var before time.Time
	for _, clock := range []time.Time{now, now, now.Add(-30 * time.Minute), now.Add(time.Second)} {
		at := p.Begin(clock)
		if !at.After(before) || at.UnixMilli() <= now.UnixMilli()+5 || at.Sub(now) > hlc.MaxSkew {
			t.Errorf("a group was received at %v, after %v", at, before)
		}
		before = at
		p.Done(at.UnixMilli(), true)
	}
	select {
	case <-more:
	default:
		t.Error("nobody was told of new groups")
	}
	if readable, _, err = p.Now(t.Context()); err != nil || readable.At != before.UnixMilli() {
		t.Errorf("readable %v, want %d; %v", readable, before.UnixMilli(), err)
	}
}
