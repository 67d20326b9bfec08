package api

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestAttempts(t *testing.T) {
	a := newAttempts(1, 2)
	now := time.Now()
	count := func(key string, at time.Time) (n int) {
		for a.allow(key, at) {
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
		a.allow(fmt.Sprint(i), now.Add(2*time.Second))
	}
	if len(a.keys) > maxAttempts {
		t.Errorf("%d keys", len(a.keys))
	}
	if a.allow("new", now.Add(2*time.Second)) {
		t.Error("with a full table new keys have no limit")
	}
	if !a.allow("new", now.Add(time.Minute)) || len(a.keys) != 1 {
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
		if got := network(address); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

func FuzzPageToken(f *testing.F) {
	f.Add(encodePageToken("sites", "", "lab"))
	f.Add(encodePageToken("sites", "x", "lab"))
	f.Add("")
	f.Add("e30")
	f.Add("garbage!")
	f.Fuzz(func(t *testing.T, token string) {
		after, err := decodePageToken(token, "sites", "")
		if err != nil {
			if !strings.HasPrefix(err.Error(), "invalid_argument: page_token: ") {
				t.Errorf("error %v", err)
			}
			return
		}
		if token == "" {
			if after != "" {
				t.Errorf("the first page begins after %q", after)
			}
			return
		}
		again, err := decodePageToken(encodePageToken("sites", "", after), "sites", "")
		if err != nil || again != after {
			t.Errorf("%q: %q comes back as %q, %v", token, after, again, err)
		}
	})
}

func FuzzBearer(f *testing.F) {
	f.Add("Bearer id.SECRET")
	f.Add("bearer  id.SECRET ")
	f.Add("Basic YTpi")
	f.Add("Bearer")
	f.Add("")
	f.Fuzz(func(t *testing.T, header string) {
		id, secret, err := parseBearer(header)
		if err != nil {
			if id != "" || secret != "" {
				t.Error("half a token with an error")
			}
			return
		}
		if !isTokenPart(id) || !isTokenPart(secret) {
			t.Errorf("%q, %q", id, secret)
		}
		id2, secret2, err := parseBearer("Bearer " + formatBearer(id, secret))
		if err != nil || id2 != id || secret2 != secret {
			t.Errorf("%q.%q comes back as %q.%q, %v", id, secret, id2, secret2, err)
		}
	})
}

func TestExplainHandshake(t *testing.T) {
	for problem, want := range map[string]string{
		"read tcp 127.0.0.1:1->127.0.0.1:2: i/o timeout": "WARN it sent nothing",
		"EOF": "DEBUG EOF",
		"read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer": "DEBUG read tcp",
		"remote error: tls: bad certificate":                                "WARN remote error",
		"tls: something new":                                                "WARN tls: something new",
	} {
		level, message, reason := explainHandshake(problem)
		if got := level.String() + " " + reason; !strings.HasPrefix(got, want) || message == "" {
			t.Errorf("%s: %s, %s", problem, message, got)
		}
	}
}
