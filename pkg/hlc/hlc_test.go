package hlc

import (
	"testing"
	"time"
)

func TestClock(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	c := New(0)
	c.now = func() time.Time { return now }

	a, b := c.Next(), c.Next()
	if a != FromTime(now) || b != a+1 {
		t.Fatalf("stamps in one millisecond: %d, %d", a, b)
	}
	now = now.Add(-time.Minute)
	if s := c.Next(); s != b+1 {
		t.Fatalf("a clock set back must not set stamps back: %d after %d", s, b)
	}
	now = now.Add(time.Hour)
	if s := c.Next(); s != FromTime(now) {
		t.Fatalf("stamp %v, want the wall clock %v", s.Time(), now)
	}
	ahead := FromTime(now.Add(time.Minute))
	if !c.Observe(ahead) || c.Next() <= ahead {
		t.Fatal("a peer a minute ahead was not followed")
	}
	if c.Observe(FromTime(now.Add(2 * time.Hour))) {
		t.Fatal("a peer two hours ahead was followed")
	}
	if got := c.Now(); got != ahead+1 {
		t.Fatalf("Now used up a stamp: %d, want %d", got, ahead+1)
	}
}

func TestRestart(t *testing.T) {
	future := FromTime(time.Now().Add(10 * time.Minute))
	if s := New(future).Next(); s <= future {
		t.Fatalf("a stamp after a restart is not later than before it: %d, %d", s, future)
	}
}

func TestStampTime(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123).UTC()
	if got := (FromTime(at) + 7).Time(); !got.Equal(at) {
		t.Fatalf("got %v, want %v", got, at)
	}
	if FromTime(time.Unix(-5, 0)) != 0 {
		t.Fatal("a time before 1970 must give stamp 0")
	}
}
