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

// TestAdjust: within an hour the wall clock is followed; beyond it the other clock is; and
// stamps run backwards only where they were far ahead of what is right.
func TestAdjust(t *testing.T) {
	wall := time.UnixMilli(1_700_000_000_000)
	for name, test := range map[string]struct {
		// stored is the last stamp, and ahead how far the right clock is.
		stored, ahead time.Duration
		back          bool
		next          time.Duration
	}{
		"right":                                {0, 0, false, 0},
		"half an hour behind":                  {0, 30 * time.Minute, false, 0},
		"ten years behind":                     {0, 87_600 * time.Hour, false, 87_600 * time.Hour},
		"ten years ahead":                      {0, -87_600 * time.Hour, true, -87_600 * time.Hour},
		"it was ten years ahead":               {87_600 * time.Hour, 0, true, 0},
		"it was half an hour ahead":            {30 * time.Minute, 0, false, 30 * time.Minute},
		"55 minutes ahead, set back by 110":    {110 * time.Minute, 55 * time.Minute, false, 110 * time.Minute},
		"it was ahead and is behind by a year": {87_600 * time.Hour, 8_760 * time.Hour, true, 8_760 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			c := On(func() time.Time { return wall }, FromTime(wall.Add(test.stored)))
			from, back := c.Adjust(test.ahead)
			want := FromTime(wall.Add(test.next))
			if next := c.Next(); back != test.back || next < want || next > want+2 || from > next {
				t.Errorf("back: %v, from %v, next %v, want %v", back, from.Time(), next.Time(), want.Time())
			}
		})
	}
}
