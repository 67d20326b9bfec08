package api

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxAttempts is how many keys are told apart at a time.
const maxAttempts = 4096

// attempts bounds how often each key may try something. It forgets keys that
// would be allowed a full burst anyway; if that is not enough, new keys share
// one limit.
type attempts struct {
	limit rate.Limit
	burst int

	mu     sync.Mutex
	keys   map[string]*rate.Limiter
	shared *rate.Limiter
	swept  time.Time
}

func newAttempts(perSecond float64, burst int) *attempts {
	limit := rate.Limit(perSecond)
	return &attempts{limit: limit, burst: burst, keys: make(map[string]*rate.Limiter), shared: rate.NewLimiter(limit, burst)}
}

func (a *attempts) allow(key string, now time.Time) bool {
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

func (a *attempts) sweep(now time.Time) {
	a.swept = now
	for key, l := range a.keys {
		if l.TokensAt(now) >= float64(a.burst) {
			delete(a.keys, key)
		}
	}
}

// network returns what one client can be expected to have: an IPv4 address, or
// the IPv6 network of 64 bits.
func network(address string) string {
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
