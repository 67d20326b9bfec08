package notify

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Most tests of this file need a RabbitMQ, such as that of the lab
// (deploy/lab/openstack): REEVE_AMQP_URL=amqp://user:password@host:5672/ with one
// host. The user must be allowed to make exchanges.

func brokerURL(t *testing.T) string {
	t.Helper()
	url := os.Getenv("REEVE_AMQP_URL")
	if url == "" {
		t.Skip("REEVE_AMQP_URL is not set")
	}
	return url
}

// sender is what a service does, with an exchange of its own.
type sender struct {
	t        *testing.T
	channel  *amqp.Channel
	exchange string
}

func newSender(t *testing.T, url string) *sender {
	t.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal("connect")
	}
	channel, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	s := &sender{t: t, channel: channel, exchange: "reeve-test-" + strings.ToLower(rand.Text())}
	t.Cleanup(func() {
		_ = channel.ExchangeDelete(s.exchange, false, false)
		_ = conn.Close()
	})
	return s
}

func (s *sender) declare() {
	s.t.Helper()
	if err := s.channel.ExchangeDeclare(s.exchange, "topic", false, false, false, false, nil); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sender) send(key, body string) {
	s.t.Helper()
	if err := s.channel.PublishWithContext(s.t.Context(), s.exchange, key, false, false,
		amqp.Publishing{ContentType: "application/json", Body: []byte(body)}); err != nil {
		s.t.Fatal(err)
	}
}

// listening runs Listen until the test ends or stop is called, which returns why
// it ended.
type listening struct {
	connected chan struct{}
	got       chan Notification
	stop      func() error
	done      chan struct{}
	err       error
}

func listen(t *testing.T, o Options) *listening {
	ctx, cancel := context.WithCancel(context.Background())
	l := &listening{connected: make(chan struct{}, 10), got: make(chan Notification, 10), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		l.err = Listen(ctx, o, func() { l.connected <- struct{}{} }, func(n Notification) { l.got <- n })
	}()
	l.stop = func() error {
		cancel()
		<-l.done
		return l.err
	}
	t.Cleanup(func() { _ = l.stop() })
	return l
}

// wait waits for something to come through a channel.
func wait[T any](t *testing.T, l *listening, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-l.done:
		t.Fatalf("while waiting for %s: %v", what, l.err)
	case <-time.After(20 * time.Second):
		t.Fatalf("no %s", what)
	}
	return v
}

func TestListen(t *testing.T) {
	url := brokerURL(t)
	defer func(d time.Duration) { findEvery = d }(findEvery)
	findEvery = 200 * time.Millisecond
	first, second := newSender(t, url), newSender(t, url)
	first.declare()
	log := &syncBuffer{}
	l := listen(t, Options{URL: url, Exchanges: []string{first.exchange, second.exchange}, Queue: "reeve-test",
		Logger: slog.New(slog.NewTextHandler(log, nil))})
	wait(t, l, "connection", l.connected)

	// What cannot be read is passed over, and said once.
	for range 3 {
		first.send("notifications.info", "{")
	}
	first.send("notifications.error", `{"event_type": "`+strings.Repeat("x", maxBody)+`"}`)
	first.send("others.info", `{"event_type": "other"}`)
	first.send("versioned_notifications.error",
		`{"oslo.version": "2.0", "oslo.message": "{\"event_type\": \"one\", \"priority\": \"ERROR\"}"}`)
	if n := wait(t, l, "notification", l.got); n.EventType != "one" || n.Priority != "ERROR" {
		t.Errorf("got %+v", n)
	}
	if lines := strings.Count(log.String(), "passed over"); lines != 2 {
		t.Errorf("%d lines of what was passed over, want 2:\n%s", lines, log)
	}

	// An exchange that appears later is read too, and the caller knows that there
	// was a time when it was not.
	second.declare()
	wait(t, l, "second connection", l.connected)
	second.send("notifications.info", `{"event_type": "two"}`)
	if n := wait(t, l, "notification", l.got); n.EventType != "two" {
		t.Errorf("got %+v", n)
	}

	// More than the broker sends at once.
	const many = 5 * prefetch
	go func() {
		for range many {
			first.send("notifications.info", `{"event_type": "many"}`)
		}
	}()
	for range many {
		wait(t, l, "one of many", l.got)
	}

	begun := time.Now()
	if err := l.stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	if took := time.Since(begun); took > closeTime {
		t.Errorf("ending took %v", took)
	}
	if password := passwordOf(t, url); strings.Contains(log.String(), password) {
		t.Error("the log has the password")
	}
}

func passwordOf(t *testing.T, url string) string {
	t.Helper()
	a, err := parseAddress(url)
	if err != nil {
		t.Fatal(err)
	}
	return a.hosts[0].password
}

func TestErrorsSayWhatToDo(t *testing.T) {
	l := &listener{o: Options{Queue: "reeve"}, user: "u"}
	answer := func(code int, reason string) error {
		return fmt.Errorf("x: %w", &amqp.Error{Code: code, Reason: reason, Server: true})
	}
	tests := []struct {
		got  error
		want string
	}{
		{l.explain(answer(amqp.AccessRefused, "ACCESS_REFUSED - configure access to queue 'reeve.x' in vhost '/' refused for user 'u'")),
			`user "u" is not allowed to have a queue of its own: it needs the permissions to configure '^reeve\.', to write '^reeve\.', and to ` +
				`read`},
		{l.explain(answer(amqp.ResourceError, "no more queues")), "no more queues, code 506"},
		{l.explain(io.EOF), "EOF"},
		{explainOpen(answer(amqp.AccessRefused, "ACCESS_REFUSED - Login was refused"), "u", "/"), `refuses user "u": check user and password`},
		{explainOpen(amqp.ErrCredentials, "u", "/"), `hangs up on user "u": check user and password`},
		{explainOpen(amqp.ErrVhost, "u", "v"), `vhost "v" is not there or not for user "u"`},
		{explainOpen(answer(amqp.NotAllowed, "NOT_ALLOWED - access to vhost 'v' refused for user 'u'"), "u", "v"),
			`vhost "v" is not there or not for user "u"`},
		{explainOpen(amqp.ErrSASL, "u", "v"), "takes neither a password"},
		{explainOpen(&amqp.Error{Code: amqp.FrameError, Reason: "EOF"}, "u", "v"), "does not speak AMQP"},
		{explainOpen(io.EOF, "u", "v"), "EOF"},
	}
	for _, test := range tests {
		if !strings.Contains(test.got.Error(), test.want) {
			t.Errorf("%q, want %q", test.got, test.want)
		}
	}
}

func TestTrySaysWhatIsWrong(t *testing.T) {
	url := brokerURL(t)
	a, err := parseAddress(url)
	if err != nil {
		t.Fatal(err)
	}
	h := a.hosts[0]
	deaf, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	go func() { // until the listener is closed
		for {
			conn, err := deaf.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.0 400 What?\r\n\r\n")
			_ = conn.Close()
		}
	}()
	tests := []struct {
		name, url, want string
		exchanges       []string
	}{
		{"password", fmt.Sprintf("amqp://%s:wrong-password@%s/", h.user, h.addr), "hangs up on user", nil},
		{"vhost", fmt.Sprintf("amqp://%s:%s@%s/wrong-vhost", h.user, h.password, h.addr), `vhost "wrong-vhost" is not there`, nil},
		{"exchanges", url, "none of the exchanges reeve-test-none is there", []string{"reeve-test-none"}},
		{"port", fmt.Sprintf("amqp://%s:wrong-password@%s/", h.user, deaf.Addr()), "does not speak AMQP", nil},
		{"tls", fmt.Sprintf("amqps://%s:wrong-password@%s/", h.user, h.addr), "tls", nil},
		{"user", "amqp://" + h.addr, "no user", nil},
		{"closed", "amqp://u:wrong-password@127.0.0.1:1,u:wrong-password@127.0.0.1:2", "127.0.0.1:2: dial tcp", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			begun := time.Now()
			_, err := Try(t.Context(), Options{URL: test.url, Exchanges: test.exchanges, Queue: "reeve-test"})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error %v, want one of %q", err, test.want)
			}
			t.Log(err, time.Since(begun).Round(time.Millisecond))
			if strings.Contains(err.Error(), "wrong-password") || strings.Contains(err.Error(), h.password) {
				t.Error("the error has the password")
			}
		})
	}
}

// One of the hosts that does not answer is no reason not to use another.
func TestTryUsesAnotherHost(t *testing.T) {
	url := brokerURL(t)
	s := newSender(t, url)
	s.declare()
	scheme, rest, _ := strings.Cut(url, "://")
	userinfo, _, _ := strings.Cut(rest, "@")
	for range 5 {
		exchanges, err := Try(t.Context(), Options{URL: scheme + "://" + userinfo + "@127.0.0.1:1," + rest,
			Exchanges: []string{s.exchange, "reeve-test-none"}, Queue: "reeve-test"})
		if err != nil || len(exchanges) != 1 || exchanges[0] != s.exchange {
			t.Fatalf("%v, %v", exchanges, err)
		}
	}
}

// A broker that is silent without an end of the connection is noticed.
func TestListenNoticesSilence(t *testing.T) {
	url := brokerURL(t)
	if testing.Short() {
		t.Skip("it takes up to half a minute")
	}
	a, err := parseAddress(url)
	if err != nil {
		t.Fatal(err)
	}
	s := newSender(t, url)
	s.declare()
	between, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer between.Close()
	silent := make(chan struct{})
	go func() { // until the test ends
		client, err := between.Accept()
		if err != nil {
			return
		}
		defer client.Close()
		broker, err := net.Dial("tcp", a.hosts[0].addr)
		if err != nil {
			return
		}
		defer broker.Close()
		go func() { _, _ = io.Copy(broker, client) }()
		buf := make([]byte, 32<<10)
		for {
			n, err := broker.Read(buf)
			if err != nil {
				<-t.Context().Done()
				return
			}
			select {
			case <-silent: // it is read, and goes nowhere
			default:
				_, _ = client.Write(buf[:n])
			}
		}
	}()
	through := fmt.Sprintf("amqp://%s:%s@%s/", a.hosts[0].user, a.hosts[0].password, between.Addr())
	l := listen(t, Options{URL: through, Exchanges: []string{s.exchange}, Queue: "reeve-test"})
	wait(t, l, "connection", l.connected)
	close(silent)
	begun := time.Now()
	select {
	case <-l.done:
	case <-time.After(30 * time.Second):
		t.Fatal("not noticed in 30 s")
	}
	t.Logf("after %v: %v", time.Since(begun).Round(time.Millisecond), l.err)
}

// syncBuffer is a log that is read while it is written.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
