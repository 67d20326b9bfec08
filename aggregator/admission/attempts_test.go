package admission

import (
	"fmt"
	"testing"
	"time"
)

func TestAttempts(t *testing.T) {
	a := NewAttempts(1, 2)
	now := time.Now()
	count := func(key string, at time.Time) (n int) {
		for a.Allow(key, at) {
			n++
		}
		return n
	}
	if got := count("x", now); got != 2 {
		t.Errorf("burst of %d", got)
	}
	if got := count("y", now); got != 2 {
		t.Errorf("another key: burst of %d", got)
	}
	if got := count("x", now.Add(time.Second)); got != 1 {
		t.Errorf("after a second: %d", got)
	}
	// Many keys are not remembered for ever, and not without bound.
	for i := range 3 * maxAttempts {
		a.Allow(fmt.Sprint(i), now.Add(2*time.Second))
	}
	if len(a.keys) > maxAttempts {
		t.Errorf("%d keys", len(a.keys))
	}
	if a.Allow("new", now.Add(2*time.Second)) {
		t.Error("with a full table new keys have no limit")
	}
	if !a.Allow("new", now.Add(time.Minute)) || len(a.keys) != 1 {
		t.Errorf("after a minute: %d keys", len(a.keys))
	}
}

func TestNetwork(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1:80":                     "192.0.2.1",
		"[::ffff:192.0.2.1]:80":            "192.0.2.1",
		"[2001:db8:1:2:3:4:5:6]:80":        "2001:db8:1:2::/64",
		"[fe80::1%eth0]:80":                "fe80::/64",
		"not an address but better than 0": "not an address but better than 0",
	} {
		if got := Network(address); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}
