package admission

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxAttempts is how many keys are told apart at a time.
const maxAttempts = 4096

// Attempts bounds how often each key may try something. It forgets keys that
// would be allowed a full burst anyway; if that is not enough, new keys share
// one limit.
type Attempts struct {
	limit rate.Limit
	burst int

	mu     sync.Mutex
	keys   map[string]*rate.Limiter
	shared *rate.Limiter
	swept  time.Time
}

// NewAttempts lets each key try a burst of times at once, and then so often a
// second.
func NewAttempts(perSecond float64, burst int) *Attempts {
	limit := rate.Limit(perSecond)
	return &Attempts{limit: limit, burst: burst, keys: make(map[string]*rate.Limiter), shared: rate.NewLimiter(limit, burst)}
}

// Allow counts an attempt, and reports whether the key may make it.
func (a *Attempts) Allow(key string, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.keys[key]
	if l == nil {
		if len(a.keys) >= maxAttempts && now.Sub(a.swept) >= time.Second {
			a.sweep(now)
		}
		if len(a.keys) >= maxAttempts {
			return a.shared.AllowN(now, 1)
		}
		l = rate.NewLimiter(a.limit, a.burst)
		a.keys[key] = l
	}
	return l.AllowN(now, 1)
}

func (a *Attempts) sweep(now time.Time) {
	a.swept = now
	for key, l := range a.keys {
		if l.TokensAt(now) >= float64(a.burst) {
			delete(a.keys, key)
		}
	}
}

// Network returns what one client can be expected to have: an IPv4 address, or
// the IPv6 network of 64 bits.
func Network(address string) string {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return address
	}
	ip := ap.Addr().Unmap()
	if ip.Is4() {
		return ip.String()
	}
	p, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return ip.String()
	}
	return p.String()
}
