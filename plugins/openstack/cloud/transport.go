package cloud

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/reeve-cloud/reeve/pkg/retry"
)

const (
	// Requests to one host begin at so many a second. A host that refuses some
	// gets half as many, and then one more with each that it answers.
	firstRate = 20
	lowRate   = 0.5
	highRate  = 50

	// A request that fails in a way that may pass is made again, so many times.
	tries      = 5
	firstPause = 500 * time.Millisecond
	lastPause  = 20 * time.Second
	// longestWait is how long Retry-After may ask a request to wait. For longer than
	// that nothing waits: the request fails, and so do all that follow until then, or
	// until an hour is over.
	longestWait  = time.Minute
	longestPause = time.Hour
	// headerWait is how long a service may take to begin its answer: a page of
	// a thousand servers takes some ten seconds.
	headerWait = 2 * time.Minute
	// hungPause is how long a service that did not begin its answer is left alone:
	// it would hold up what others list.
	hungPause = 2 * time.Minute
	// silence is how long an answer may stand still.
	silence = time.Minute
)

// transport paces requests, and makes those again that may be.
type transport struct {
	next http.RoundTripper
	// first is the pause behind a first failure. It is shorter in tests.
	first time.Duration

	requests atomic.Int64

	mu     sync.Mutex
	limits map[string]*rate.Limiter
	// pauses are until when services want to be left alone, by host and the first
	// part of the path: many stand behind one host.
	pauses map[string]pause
}

// pause is until when a service is left alone, and why.
type pause struct {
	until time.Time
	why   string
}

func newTransport(config *tls.Config) *transport {
	return &transport{
		next: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
			TLSClientConfig:       config,
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: headerWait,
			MaxIdleConnsPerHost:   4,
			IdleConnTimeout:       30 * time.Second,
		},
		first:  firstPause,
		limits: make(map[string]*rate.Limiter),
		pauses: make(map[string]pause),
	}
}

func pauseKey(u *url.URL) string {
	first, _, _ := strings.Cut(strings.TrimLeft(u.Path, "/"), "/")
	return u.Host + "/" + first
}

// paused returns why a service is left alone now, or nil.
func (t *transport) paused(u *url.URL) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, ok := t.pauses[pauseKey(u)]
	if !ok {
		return nil
	}
	if time.Now().Before(p.until) {
		return fmt.Errorf("it %s, and gets no requests until %s", p.why, p.until.UTC().Format(time.RFC3339))
	}
	delete(t.pauses, pauseKey(u))
	return nil
}

func (t *transport) pause(u *url.URL, length time.Duration, why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pauses[pauseKey(u)] = pause{time.Now().Add(min(length, longestPause)), why}
}

func (t *transport) limiter(host string) *rate.Limiter {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.limits[host]
	if l == nil {
		l = rate.NewLimiter(firstRate, firstRate)
		t.limits[host] = l
	}
	return l
}

// learn makes requests to a host more or less frequent.
func (t *transport) learn(l *rate.Limiter, refused bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if refused {
		l.SetLimit(max(lowRate, l.Limit()/2))
		l.SetBurst(1)
		return
	}
	if l.Limit() < highRate {
		l.SetLimit(min(highRate, l.Limit()+1/max(1, l.Limit())))
		l.SetBurst(max(1, int(l.Limit())))
	}
}

// RoundTrip implements [http.RoundTripper].
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	limit := t.limiter(r.URL.Host)
	pauses := retry.BackOff(t.first, lastPause)
	// Logging in is a POST and changes nothing: it may be made again too.
	again := r.Body == nil || r.GetBody != nil
	if err := t.paused(r.URL); err != nil {
		return nil, err
	}
	for n := 1; ; n++ {
		if err := limit.Wait(r.Context()); err != nil {
			// The request's turn comes after its time is up. That is no fault of the
			// service's, and the caller knows what it means when the time is up.
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		try := r
		if n > 1 && r.GetBody != nil {
			body, err := r.GetBody()
			if err != nil {
				return nil, err
			}
			try = r.Clone(r.Context())
			try.Body = body
		}
		t.requests.Add(1)
		answer, err := t.next.RoundTrip(try)
		pause := pauses.NextBackOff()
		switch {
		case hangs(err) && r.Context().Err() == nil:
			t.pause(r.URL, hungPause, "did not begin to answer")
			return nil, err
		case err != nil:
			if !again || n == tries || r.Context().Err() != nil || !passing(err) {
				return nil, err
			}
		case !refused(answer.StatusCode):
			if answer.StatusCode < 400 {
				t.learn(limit, false)
			}
			answer.Body = &watchedBody{answer.Body}
			return answer, nil
		default:
			t.learn(limit, limits(answer.StatusCode) || answer.StatusCode == http.StatusServiceUnavailable)
			asked, says := retryAfter(answer.Header, time.Now())
			if says && asked > longestWait {
				t.pause(r.URL, asked, "has asked for a pause")
				return answer, nil
			}
			if !again || n == tries {
				return answer, nil
			}
			// The body of an answer that is not taken is read, so that its connection
			// can be used again.
			_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10))
			answer.Body.Close()
			if says {
				pause = max(pause, asked)
			}
		}
		if err := retry.Sleep(r.Context(), pause); err != nil {
			return nil, err
		}
	}
}

// refused reports whether a status says that the same request may succeed later.
func refused(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return limits(status)
}

// limits reports whether a status says that there were too many requests. Older
// limiters answer 413 to what has no body that could be too large, Swift's 498.
func limits(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusRequestEntityTooLarge || status == 498
}

// passing reports whether what went wrong with a connection may pass. A
// certificate that is not trusted does not become so by asking again.
func passing(err error) bool {
	var unknown *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	return !errors.As(err, &unknown) && !errors.As(err, &record)
}

// hangs reports whether a service took a request and did not answer.
func hangs(err error) bool {
	var timeout net.Error
	var dial *net.OpError
	return errors.As(err, &timeout) && timeout.Timeout() && !errors.As(err, &dial)
}

// retryAfter reads the header of that name, which has seconds or a date.
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	text := h.Get("Retry-After")
	if text == "" {
		return 0, false
	}
	if seconds, err := strconv.ParseFloat(text, 64); err == nil && seconds >= 0 && seconds < 1e6 {
		return time.Duration(seconds * float64(time.Second)), true
	}
	if at, err := http.ParseTime(text); err == nil && at.After(now) {
		return at.Sub(now), true
	}
	return 0, false
}

// watchedBody ends an answer that stands still.
type watchedBody struct{ io.ReadCloser }

func (b *watchedBody) Read(p []byte) (int, error) {
	var silent atomic.Bool
	timer := time.AfterFunc(silence, func() {
		silent.Store(true)
		b.ReadCloser.Close()
	})
	defer timer.Stop()
	n, err := b.ReadCloser.Read(p)
	if err != nil && silent.Load() {
		err = fmt.Errorf("the answer stood still for %v", silence)
	}
	return n, err
}
