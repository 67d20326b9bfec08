// Package notify reads the notifications that OpenStack's services send through
// oslo.messaging: what was created, changed and deleted, moments after it was.
//
// Nothing is taken from anyone else. A [Listen] has a queue of its own, which is
// bound to the services' exchanges, holds little, and goes when the connection
// does. What is sent while nobody listens is lost, and what the broker drops
// from a full queue too: notifications say where to look, and lists stay what is
// believed. Not everything that happens is told of, either.
package notify

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Options says where notifications are.
type Options struct {
	// URL is the message broker, as in a service's transport_url:
	// rabbit://user:password@host:5672,user:password@host:5672/vhost, or with
	// amqp or amqps for rabbit. amqps and ?ssl=1 stand for TLS.
	URL string
	// TLS is how the broker is authenticated and, with certificates of ours, how
	// we are. With it there is TLS whatever the URL says.
	TLS *tls.Config
	// Exchanges are where the services send to (their control_exchange). By
	// default they are [Exchanges].
	Exchanges []string
	// Topics are the services' topics. By default they are [Topics].
	Topics []string
	// Queue is how the name of our own queue begins: "reeve" by default.
	Queue string
	// Logger may be nil.
	Logger *slog.Logger
}

// Exchanges are those of OpenStack's services, as far as they are not set
// otherwise. Cinder's is openstack.
var Exchanges = []string{"nova", "neutron", "cinder", "glance", "keystone", "octavia", "openstack", "heat", "manila", "designate",
	"ironic", "magnum"}

// Topics are those of services that leave them alone. Nova has the second one for
// its versioned notifications, and Ironic the third.
var Topics = []string{"notifications", "versioned_notifications", "ironic_versioned_notifications"}

const (
	dialTimeout = 10 * time.Second
	closeTime   = 2 * time.Second
	// A connection on which nothing came for one and a half times this long is
	// dead: the broker sends something twice in it.
	heartbeat = 10 * time.Second
	// complainEvery is how often it is logged that messages of one sort were
	// passed over.
	complainEvery = time.Hour

	prefetch = 64
	maxBody  = 1 << 20
	frameMax = 128 << 10

	maxQueueLength = 10_000
	maxQueueBytes  = 64 << 20
	maxQueueAge    = 10 * time.Minute
)

// findEvery is how often exchanges are looked for that were not there. A test does
// not wait so long.
var findEvery = 30 * time.Second

// Listen connects and calls handle for each notification, one at a time, until
// ctx ends or the connection fails; it returns why. It calls connected when
// reading has begun, and again whenever an exchange is read that was not there
// before: what happened earlier may have been missed.
//
// Each notification comes once, but a service may tell of one happening in
// several.
func Listen(ctx context.Context, o Options, connected func(), handle func(Notification)) error {
	l, err := open(ctx, o)
	if err != nil {
		return err
	}
	defer l.close()
	messages, err := l.consume()
	if err != nil {
		return l.ended(ctx, err)
	}
	l.log.Info("Reading notifications", "exchanges", l.bound, "not_there", l.missing())
	connected()

	find := time.NewTicker(findEvery)
	defer find.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-find.C:
			found, err := l.bind()
			if err != nil {
				return l.ended(ctx, err)
			}
			if len(found) > 0 {
				l.log.Info("Reading notifications of more services", "exchanges", found)
				connected()
			}
		case m, ok := <-messages:
			if !ok {
				return l.ended(ctx, nil)
			}
			if n, err := l.parse(m); err != nil {
				l.complain(m, err)
			} else {
				handle(n)
			}
			if err := m.Ack(false); err != nil {
				return l.ended(ctx, err)
			}
		}
	}
}

// Try does all that Listen does before it reads, and returns the exchanges that
// are there.
func Try(ctx context.Context, o Options) (exchanges []string, err error) {
	l, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer l.close()
	return l.bound, nil
}

// listener is one connection with its queue.
type listener struct {
	o    Options
	log  *slog.Logger
	user string

	conn    *amqp.Connection
	release func() bool
	closed  chan *amqp.Error
	channel *amqp.Channel
	queue   string

	// bound are the exchanges that are read, and refused those that may not be.
	bound   []string
	refused map[string]bool
	passed  map[string]*passedOver
}

// passedOver counts messages of one sort that were passed over.
type passedOver struct {
	count int
	told  time.Time
}

// open connects, and makes a queue that is bound to all exchanges there are.
func open(ctx context.Context, o Options) (*listener, error) {
	if len(o.Exchanges) == 0 {
		o.Exchanges = Exchanges
	}
	if len(o.Topics) == 0 {
		o.Topics = Topics
	}
	if o.Queue == "" {
		o.Queue = "reeve"
	}
	l := &listener{o: o, log: o.Logger, refused: make(map[string]bool), passed: make(map[string]*passedOver)}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	a, err := parseAddress(o.URL)
	if err != nil {
		return nil, err
	}
	if err := l.connect(ctx, a); err != nil {
		return nil, err
	}
	if err := l.declare(); err != nil {
		l.close()
		return nil, l.ended(ctx, err)
	}
	return l, nil
}

// connect tries the hosts of an address, in an order that spreads agents over
// them.
func (l *listener) connect(ctx context.Context, a address) error {
	var errs []error
	for _, i := range mathrand.Perm(len(a.hosts)) {
		err := l.dial(ctx, a, a.hosts[i])
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		errs = append(errs, fmt.Errorf("connect to the message broker at %s: %w", a.hosts[i].addr, err))
	}
	return errors.Join(errs...)
}

// dial does not leave dialing to the library, which would read the URL its own
// way, say it in errors, and not stop when ctx ends.
func (l *listener) dial(ctx context.Context, a address, h host) error {
	dialing, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var d net.Dialer
	raw, err := d.DialContext(dialing, "tcp", h.addr)
	if err != nil {
		return err
	}
	conn := raw
	config := amqp.Config{
		Vhost: a.vhost, Heartbeat: heartbeat, FrameSize: frameMax, Locale: "en_US",
		Properties: amqp.Table{"product": "reeve", "connection_name": l.o.Queue},
		SASL: []amqp.Authentication{
			&amqp.PlainAuth{Username: h.user, Password: h.password}, &amqp.AMQPlainAuth{Username: h.user, Password: h.password},
		},
	}
	if a.tls || l.o.TLS != nil {
		client := &tls.Config{MinVersion: tls.VersionTLS12}
		if l.o.TLS != nil {
			client = l.o.TLS.Clone()
		}
		if client.ServerName == "" {
			client.ServerName, _, _ = net.SplitHostPort(h.addr)
		}
		secure := tls.Client(raw, client)
		if err := secure.HandshakeContext(dialing); err != nil {
			_ = raw.Close()
			return err
		}
		conn = secure
		if h.user == "" && len(client.Certificates) > 0 {
			config.SASL = []amqp.Authentication{&amqp.ExternalAuth{}}
		}
	}
	if h.user == "" && len(config.SASL) > 1 {
		_ = raw.Close()
		return errors.New("the URL has no user and password")
	}
	// When ctx ends, calls to a broker that does not answer end soon after.
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Now().Add(closeTime)) })
	if err := raw.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		stop()
		_ = raw.Close()
		return err
	}
	opened, err := amqp.Open(conn, config)
	if err == nil && ctx.Err() != nil {
		_ = opened.CloseDeadline(time.Now().Add(closeTime))
		err = ctx.Err()
	}
	if err != nil {
		stop()
		_ = raw.Close()
		return explainOpen(err, h.user, a.vhost)
	}
	l.user, l.conn, l.release = h.user, opened, stop
	l.closed = opened.NotifyClose(make(chan *amqp.Error, 1))
	return nil
}

// close says farewell to the broker, if it still listens.
func (l *listener) close() {
	_ = l.conn.CloseDeadline(time.Now().Add(closeTime))
	l.release()
}

// declare makes the queue and binds it.
func (l *listener) declare() error {
	channel, err := l.conn.Channel()
	if err != nil {
		return fmt.Errorf("open a channel: %w", err)
	}
	l.channel = channel
	// Nobody else can have a queue of this name, also not the one that our last
	// connection had and that the broker may not have noticed the end of.
	l.queue = l.o.Queue + "." + strings.ToLower(rand.Text())
	_, err = channel.QueueDeclare(l.queue, false, true, true, false, amqp.Table{
		"x-queue-type":       "classic", // whatever the vhost's default is
		"x-max-length":       int32(maxQueueLength),
		"x-max-length-bytes": int64(maxQueueBytes),
		"x-overflow":         "drop-head",
		"x-message-ttl":      int32(maxQueueAge / time.Millisecond),
	})
	if err != nil {
		return fmt.Errorf("make a queue: %w", l.explain(err))
	}
	if _, err := l.bind(); err != nil {
		return err
	}
	if len(l.bound) > 0 {
		return nil
	}
	if len(l.refused) > 0 {
		return l.permissions("read the exchanges of the services")
	}
	return fmt.Errorf("none of the exchanges %s is there: is this the broker and the vhost that the services send their notifications to, "+
		"and do they send any ([oslo_messaging_notifications] driver = messagingv2)?", strings.Join(l.o.Exchanges, ", "))
}

// bind binds the queue to the exchanges that it is not bound to, and returns those
// that were there.
func (l *listener) bind() (found []string, err error) {
	for _, exchange := range l.missing() {
		err := l.bindTo(exchange)
		var answer *amqp.Error
		switch {
		case err == nil:
			found = append(found, exchange)
			l.bound = append(l.bound, exchange)
		case errors.As(err, &answer) && answer.Server && answer.Code == amqp.NotFound:
			// The service is not here, or not yet.
		case errors.As(err, &answer) && answer.Server && answer.Code == amqp.AccessRefused:
			if !l.refused[exchange] {
				l.refused[exchange] = true
				l.log.Warn("An exchange may not be read", "exchange", exchange, "reason", answer.Reason)
			}
		default:
			return found, fmt.Errorf("bind the queue to %s: %w", exchange, err)
		}
	}
	return found, nil
}

// bindTo uses a channel of its own: the broker closes one on which an exchange
// was named that is not there.
func (l *listener) bindTo(exchange string) error {
	channel, err := l.conn.Channel()
	if err != nil {
		return err
	}
	defer func() { _ = channel.Close() }()
	for _, topic := range l.o.Topics {
		if err := channel.QueueBind(l.queue, topic+".*", exchange, false, nil); err != nil {
			return err
		}
	}
	return nil
}

// missing are the exchanges that are not read.
func (l *listener) missing() []string {
	return slices.DeleteFunc(slices.Clone(l.o.Exchanges), func(e string) bool { return slices.Contains(l.bound, e) })
}

// consume begins to read. Messages are acknowledged, although none is worth a
// second delivery: the broker sends no more than some before they are.
func (l *listener) consume() (<-chan amqp.Delivery, error) {
	if err := l.channel.Qos(prefetch, 0, false); err != nil {
		return nil, fmt.Errorf("limit what the broker sends at once: %w", err)
	}
	messages, err := l.channel.Consume(l.queue, l.queue, false, true, false, false, nil)
	if err != nil {
		return nil, fmt.Errorf("read the queue: %w", l.explain(err))
	}
	return messages, nil
}

func (l *listener) parse(m amqp.Delivery) (Notification, error) {
	if len(m.Body) > maxBody {
		return Notification{}, fmt.Errorf("it has more than %d bytes", maxBody)
	}
	return Parse(m.Body)
}

// complain logs that a message was passed over, and soon only counts them.
func (l *listener) complain(m amqp.Delivery, err error) {
	sort := m.Exchange + " " + m.RoutingKey
	p := l.passed[sort]
	if p == nil {
		p = &passedOver{}
		l.passed[sort] = p
	}
	p.count++
	if time.Since(p.told) < complainEvery {
		return
	}
	p.told = time.Now()
	l.log.Warn("A notification is passed over", "exchange", m.Exchange, "topic", m.RoutingKey, "bytes", len(m.Body),
		"reason", err, "so_far", p.count)
}

// ended returns why reading ended, of which the failed call often knows less than
// the connection.
func (l *listener) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	select {
	case why := <-l.closed:
		if why != nil {
			return fmt.Errorf("the connection to the message broker ended: %w", plain(why))
		}
	default:
	}
	if err != nil {
		return err
	}
	return errors.New("the message broker ended the reading of notifications: the queue was deleted, or one of its nodes went away")
}

// explain makes what the broker says of the queue into something to act on.
func (l *listener) explain(err error) error {
	var answer *amqp.Error
	if !errors.As(err, &answer) {
		return err
	}
	if answer.Code == amqp.AccessRefused {
		return fmt.Errorf("%w (%w)", l.permissions("have a queue of its own"), plain(answer))
	}
	return plain(answer)
}

func (l *listener) permissions(what string) error {
	own := "^" + l.o.Queue + `\.`
	return fmt.Errorf("user %q is not allowed to %s: it needs the permissions to configure '%s', to write '%s', and to read that and the "+
		"exchanges of the services "+
		"(rabbitmqctl set_permissions -p VHOST USER CONFIGURE WRITE READ)", l.user, what, own, own)
}

// explainOpen makes why a connection was not opened into something to act on. The
// broker hangs up without a word when it does not like the password, and the
// library says that in words of its own.
func explainOpen(err error, user, vhost string) error {
	var answer *amqp.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, os.ErrDeadlineExceeded), !errors.As(err, &answer):
		return err
	case answer == amqp.ErrCredentials:
		return fmt.Errorf("the broker hangs up on user %q: check user and password (%w)", user, plain(answer))
	case answer.Server && answer.Code == amqp.AccessRefused:
		return fmt.Errorf("the broker refuses user %q: check user and password (%w)", user, plain(answer))
	case answer == amqp.ErrSASL:
		return errors.New("the broker takes neither a password nor, without one, the certificate")
	case answer == amqp.ErrVhost, answer.Server && (answer.Code == amqp.NotAllowed || answer.Code == amqp.NotFound):
		return fmt.Errorf("vhost %q is not there or not for user %q: it is what comes after the last / of the URL, where %%2F or nothing is "+
			"the vhost / (%w)",
			vhost, user, plain(answer))
	case !answer.Server && answer.Code == amqp.FrameError:
		return fmt.Errorf("it does not speak AMQP, or only with TLS (amqps): check the port (%w)", plain(answer))
	}
	return plain(answer)
}

// brokerError is an answer of the broker, or an error of the library, said
// shortly.
type brokerError struct{ answer *amqp.Error }

func plain(e *amqp.Error) error { return brokerError{e} }

// Error implements [error].
func (e brokerError) Error() string {
	if !e.answer.Server {
		return e.answer.Reason
	}
	return e.answer.Reason + ", code " + strconv.Itoa(e.answer.Code)
}

// Unwrap returns the answer.
func (e brokerError) Unwrap() error { return e.answer }
