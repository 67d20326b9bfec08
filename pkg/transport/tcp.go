package transport

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-yamux/v5"

	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// The first byte of a stream over TCP says what it is.
const (
	kindControl = 1 // a stream with two directions
	kindData    = 2 // a stream on which only its opener sends
	kindGoodbye = 3 // one Goodbye message, and then the connection ends
)

const (
	// farewell is how long the other side may take to hear why a connection
	// ends, and to close it.
	farewell = time.Second
	// kindTimeout is how long the first byte of a stream may take after the
	// stream was opened.
	kindTimeout = 5 * time.Second
	// openStreams is how many streams a peer may have open at once, as over QUIC:
	// the control stream, eight data streams, and the goodbye.
	openStreams = 10
)

// DialTCP connects to an address (host:port) over TCP, through a proxy if that is
// not nil. The configuration names the protocols (ALPN).
func DialTCP(ctx context.Context, address string, proxy Proxy, config *tls.Config) (Conn, error) {
	raw, err := DialThrough(ctx, address, proxy)
	if err != nil {
		return nil, fmt.Errorf("connecting over TCP: %w", err)
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		var remote *net.OpError
		switch {
		case errors.Is(ctx.Err(), context.DeadlineExceeded):
			err = fmt.Errorf("%w to the TLS handshake", ErrNoAnswer)
		case strings.Contains(err.Error(), "no application protocol"):
			err = ErrNotOffered
		case errors.As(err, &remote) && remote.Op == "remote error":
			err = fmt.Errorf("%w: %w", ErrRefused, err)
		}
		return nil, fmt.Errorf("connecting over TCP: %w", err)
	}
	if conn.ConnectionState().NegotiatedProtocol == "" {
		raw.Close()
		return nil, fmt.Errorf("connecting over TCP: %w", ErrNotOffered)
	}
	return newTCP(conn, conn.ConnectionState().PeerCertificates, true)
}

// FromTCP makes the accepting side's Conn of a connection whose TLS handshake is
// done.
func FromTCP(conn *tls.Conn) (Conn, error) {
	return newTCP(conn, conn.ConnectionState().PeerCertificates, false)
}

func newTCP(conn net.Conn, peer []*x509.Certificate, client bool) (Conn, error) {
	config := yamux.DefaultConfig()
	// What strangers do is for their own log.
	config.LogOutput = io.Discard
	config.AcceptBacklog = openStreams
	config.MaxIncomingStreams = openStreams
	// Agents that wait for the warehouse wait in these.
	config.MaxStreamWindowSize = 1 << 20
	// A heartbeat waits for no more than what is written already.
	config.MaxMessageSize = 16 << 10
	// The session's heartbeats do that.
	config.EnableKeepAlive = false
	// On a narrow way what is before it takes its time. Who is dead shows by its silence.
	config.ConnectionWriteTimeout = 45 * time.Second
	open := yamux.Server
	if client {
		open = yamux.Client
	}
	session, err := open(conn, config, nil)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("multiplexing a TCP connection: %w", err)
	}
	c := &tcpConn{
		session: session, remote: conn.RemoteAddr(), peer: peer,
		control: make(chan *tcpStream, 1), data: make(chan *tcpStream, openStreams),
		streams: make(map[*tcpStream]struct{}), gone: make(chan struct{}),
	}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	go c.run()
	return c, nil
}

type tcpConn struct {
	session *yamux.Session
	remote  net.Addr
	peer    []*x509.Certificate
	// ctx ends with the connection; its cause is why.
	ctx    context.Context
	cancel context.CancelCauseFunc
	// gone is closed when run has ended.
	gone          chan struct{}
	control, data chan *tcpStream

	mu sync.Mutex
	// streams are those that must be woken when the connection ends.
	streams map[*tcpStream]struct{}
}

// run lives as long as the connection. Why that ends is settled before its
// streams fail.
func (c *tcpConn) run() {
	defer close(c.gone)
	accepting := make(chan error, 1)
	go func() { accepting <- c.accept() }()
	select {
	case err := <-accepting:
		c.end(err)
		c.closeSession()
	case <-c.ctx.Done():
		c.sayGoodbye(accepting)
		c.closeSession()
	}
}

// closeSession closes what is below, which also ends accept. The error says only
// that the peer was quicker.
func (c *tcpConn) closeSession() { _ = c.session.Close() }

// sayGoodbye tells the peer why the connection ends, and gives it a moment to
// close its side: closed from here at once, the words could be lost on the way.
func (c *tcpConn) sayGoodbye(accepting <-chan error) {
	why, ok := errors.AsType[*CloseError](c.Cause())
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	stream, err := c.session.OpenStream(ctx)
	if err != nil {
		return // then the peer cannot be told
	}
	deadline, _ := ctx.Deadline()
	if err := stream.SetDeadline(deadline); err != nil {
		return
	}
	w := bufio.NewWriter(stream)
	w.WriteByte(kindGoodbye) // its error is that of Flush
	err = wire.WriteMessage(w, &wirev1.Goodbye{Code: uint32(why.Code), Message: why.Message})
	if err = errors.Join(err, w.Flush()); err != nil {
		return
	}
	select {
	case <-accepting:
	case <-ctx.Done():
	}
}

// accept sorts the streams that the peer opens, until the connection ends, and
// returns why. A peer that opens a stream and does not say what it is holds up
// only itself.
func (c *tcpConn) accept() error {
	for {
		stream, err := c.session.AcceptStream()
		if err != nil {
			return lost(err)
		}
		if err := stream.SetReadDeadline(time.Now().Add(kindTimeout)); err != nil {
			return lost(err)
		}
		var kind [1]byte
		if _, err := io.ReadFull(stream, kind[:]); err != nil {
			return lost(err)
		}
		switch kind[0] {
		case kindGoodbye:
			return readGoodbye(stream)
		case kindControl, kindData:
		default:
			return fmt.Errorf("the peer opened a stream of kind %d, which is unknown", kind[0])
		}
		if err := stream.SetReadDeadline(time.Time{}); err != nil {
			return lost(err)
		}
		queue := c.control
		if kind[0] == kindData {
			queue = c.data
			if err := stream.CloseWrite(); err != nil {
				return lost(err)
			}
		}
		s, err := c.adopt(stream)
		if err != nil {
			return err
		}
		select {
		case queue <- s:
		default:
			return errors.New("the peer opened more streams than it may")
		}
	}
}

// readGoodbye returns why the peer ends the connection.
func readGoodbye(r io.Reader) error {
	var g wirev1.Goodbye
	if err := wire.ReadMessage(bufio.NewReader(r), 4*closeErrorLimit, &g); err != nil {
		return lost(fmt.Errorf("reading the peer's goodbye: %w", err))
	}
	return &CloseError{Remote: true, Code: uint64(g.GetCode()), Message: cut(strings.ToValidUTF8(g.GetMessage(), "?"))}
}

// lost puts what ended a connection below the streams into this package's terms.
// It hides io.EOF, which would say that a stream has ended well.
func lost(err error) error {
	switch {
	case errors.Is(err, yamux.ErrConnectionWriteTimeout) || errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: %w", ErrSilent, err)
	case errors.Is(err, io.EOF) || errors.Is(err, yamux.ErrRemoteGoAway):
		return errors.New("the peer has closed the connection without a word")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the peer has closed the connection in the middle of a word")
	}
	return fmt.Errorf("the TCP connection broke: %w", err)
}

// end settles why the connection has ended and wakes all that wait in it. Only
// the first call has an effect.
func (c *tcpConn) end(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancel(cause)
	for s := range c.streams {
		// They fail only for streams that are closed.
		_ = s.stream.SetDeadline(time.Unix(1, 0))
	}
	clear(c.streams)
}

// adopt makes a stream one of the connection's.
func (c *tcpConn) adopt(stream *yamux.Stream) (*tcpStream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return nil, c.Cause()
	}
	s := &tcpStream{conn: c, stream: stream}
	c.streams[s] = struct{}{}
	return s, nil
}

// failed returns the error of something that failed: why the connection has
// ended, if it has.
func (c *tcpConn) failed(err error) error {
	if err == nil || err == io.EOF && c.ctx.Err() == nil { //nolint:errorlint // a wrapped one is no clean end
		return err
	}
	if c.session.IsClosed() {
		<-c.ctx.Done() // run is about to settle it
	}
	if cause := c.Cause(); cause != nil {
		return cause
	}
	return err
}

func (c *tcpConn) open(ctx context.Context, kind byte) (*tcpStream, error) {
	stream, err := c.session.OpenStream(ctx)
	if err != nil {
		return nil, c.failed(err)
	}
	s, err := c.adopt(stream)
	if err != nil {
		return nil, err
	}
	_, err = s.Write([]byte{kind})
	return s, err
}

func (c *tcpConn) OpenStream(ctx context.Context) (Stream, error) {
	s, err := c.open(ctx, kindControl)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (c *tcpConn) OpenSendStream(ctx context.Context) (io.Writer, error) {
	s, err := c.open(ctx, kindData)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (c *tcpConn) take(ctx context.Context, queue <-chan *tcpStream) (*tcpStream, error) {
	select {
	case s := <-queue:
		return s, nil
	case <-c.ctx.Done():
		return nil, c.Cause()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *tcpConn) AcceptStream(ctx context.Context) (Stream, error) {
	s, err := c.take(ctx, c.control)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (c *tcpConn) AcceptReceiveStream(ctx context.Context) (io.Reader, error) {
	s, err := c.take(ctx, c.data)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (c *tcpConn) Close(code uint64, message string) {
	c.end(&CloseError{Code: code, Message: cut(message)})
}

func (c *tcpConn) Done() <-chan struct{} { return c.ctx.Done() }

func (c *tcpConn) Cause() error { return context.Cause(c.ctx) }

func (c *tcpConn) Wait() { <-c.gone }

// Unanswered cannot be told from here: the kernel takes the answers. A dead peer
// shows by the missing heartbeats.
func (c *tcpConn) Unanswered() time.Duration { return 0 }

func (c *tcpConn) RemoteAddr() net.Addr { return c.remote }

func (c *tcpConn) PeerCertificates() []*x509.Certificate { return c.peer }

func (c *tcpConn) Kind() Kind { return TCP }

type tcpStream struct {
	conn    *tcpConn
	stream  *yamux.Stream
	writing sync.Mutex
}

func (s *tcpStream) Read(p []byte) (int, error) {
	n, err := s.stream.Read(p)
	if err == io.EOF { //nolint:errorlint // a wrapped one is no clean end
		s.conn.forget(s)
	}
	return n, s.conn.failed(err)
}

func (s *tcpStream) Write(p []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	n, err := s.stream.Write(p)
	return n, s.conn.failed(err)
}

func (s *tcpStream) SetReadDeadline(t time.Time) error {
	return s.deadline(s.stream.SetReadDeadline, t)
}

func (s *tcpStream) SetWriteDeadline(t time.Time) error {
	return s.deadline(s.stream.SetWriteDeadline, t)
}

// deadline leaves the streams of a connection that has ended awake.
func (s *tcpStream) deadline(set func(time.Time) error, t time.Time) error {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if s.conn.ctx.Err() != nil {
		return s.conn.Cause()
	}
	return set(t)
}

// forget drops a stream that the peer has finished.
func (c *tcpConn) forget(s *tcpStream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.streams, s)
}
