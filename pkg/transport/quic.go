package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

// DialQUIC connects to an address over QUIC. The configuration names the
// protocols (ALPN).
//
// The socket is bound to no local address. So each datagram leaves from the
// address that the routes say at that moment, and when that changes, the
// connection goes on: the aggregator validates the new path and takes it.
func DialQUIC(ctx context.Context, address netip.AddrPort, config *tls.Config) (Conn, error) {
	// How long an answer may take is for the caller to say.
	patience := 5 * time.Second
	if deadline, ok := ctx.Deadline(); ok {
		patience = max(time.Until(deadline), time.Millisecond)
	}
	conn, err := quic.DialAddr(ctx, address.String(), config, &quic.Config{
		HandshakeIdleTimeout: patience,
		InitialPacketSize:    InitialPacketSize,
		MaxIdleTimeout:       45 * time.Second,
		// Shorter than the time for which routers usually keep a UDP mapping.
		KeepAlivePeriod: 10 * time.Second,
		// An aggregator opens no streams and says little.
		MaxIncomingStreams:             -1,
		MaxIncomingUniStreams:          -1,
		InitialStreamReceiveWindow:     64 << 10,
		MaxStreamReceiveWindow:         256 << 10,
		InitialConnectionReceiveWindow: 64 << 10,
		MaxConnectionReceiveWindow:     512 << 10,
	})
	if err != nil {
		err = translate(err)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) && errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrSilent) {
			err = ErrNoAnswer
		}
		return nil, fmt.Errorf("connecting over QUIC: %w", err)
	}
	return FromQUIC(conn), nil
}

// InitialPacketSize is with how many bytes packets begin, on both sides. Every path that
// QUIC may use takes 1,200 bytes. The library's 1,280 do not fit into packets of IP with
// 1,280 bytes, and where tunnels drop what is too large without a word nothing gets
// through. Packets grow where the path has room.
const InitialPacketSize = 1200

// FromQUIC makes a Conn of a connection of quic-go.
func FromQUIC(conn *quic.Conn) Conn { return &quicConn{conn: conn} }

type quicConn struct {
	conn *quic.Conn

	mu sync.Mutex
	// asked is when something was sent after the peer was heard last; zero if
	// nothing was. received and sent are the counts of packets at that time.
	asked          time.Time
	received, sent uint64
}

// translate puts the errors of quic-go into this package's.
func translate(err error) error {
	var idle *quic.IdleTimeoutError
	var handshake *quic.HandshakeTimeoutError
	var reset *quic.StatelessResetError
	var app *quic.ApplicationError
	var transport *quic.TransportError
	switch {
	case errors.As(err, &app):
		return &CloseError{Remote: app.Remote, Code: uint64(app.ErrorCode), Message: app.ErrorMessage}
	case errors.As(err, &handshake):
		return fmt.Errorf("%w: %w", ErrNoAnswer, err)
	case errors.As(err, &idle):
		return fmt.Errorf("%w: %w", ErrSilent, err)
	case errors.As(err, &reset):
		return fmt.Errorf("%w: %w", ErrForgotten, err)
	case errors.As(err, &transport) && transport.Remote && transport.ErrorCode.IsCryptoError():
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

func (c *quicConn) OpenStream(ctx context.Context) (Stream, error) {
	s, err := c.conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, translate(err)
	}
	return &quicStream{Stream: s, conn: c}, nil
}

func (c *quicConn) AcceptStream(ctx context.Context) (Stream, error) {
	s, err := c.conn.AcceptStream(ctx)
	if err != nil {
		return nil, translate(err)
	}
	return &quicStream{Stream: s, conn: c}, nil
}

func (c *quicConn) OpenSendStream(ctx context.Context) (io.Writer, error) {
	s, err := c.conn.OpenUniStreamSync(ctx)
	if err != nil {
		return nil, translate(err)
	}
	return &quicWriter{conn: c, stream: s}, nil
}

func (c *quicConn) AcceptReceiveStream(ctx context.Context) (io.Reader, error) {
	s, err := c.conn.AcceptUniStream(ctx)
	if err != nil {
		return nil, translate(err)
	}
	return quicReader{s}, nil
}

func (c *quicConn) Close(code uint64, message string) {
	// The error says only that the connection has ended already.
	_ = c.conn.CloseWithError(quic.ApplicationErrorCode(code), cut(message))
}

func (c *quicConn) Done() <-chan struct{} { return c.conn.Context().Done() }

func (c *quicConn) Cause() error { return translate(context.Cause(c.conn.Context())) }

func (c *quicConn) Wait() { <-c.Done() }

func (c *quicConn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

func (c *quicConn) PeerCertificates() []*x509.Certificate {
	return c.conn.ConnectionState().TLS.PeerCertificates
}

func (c *quicConn) Kind() Kind { return QUIC }

// ask notes that the peer is about to be sent something.
func (c *quicConn) ask() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if stats := c.conn.ConnectionStats(); c.asked.IsZero() || stats.PacketsReceived != c.received {
		c.asked, c.received, c.sent = time.Now(), stats.PacketsReceived, stats.PacketsSent
	}
}

func (c *quicConn) Unanswered() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	stats := c.conn.ConnectionStats()
	switch {
	case c.asked.IsZero():
		return 0
	case stats.PacketsReceived != c.received:
		c.asked = time.Time{}
		return 0
	case stats.PacketsSent == c.sent:
		return 0 // flow control keeps it here
	}
	// What was sent once more, because it was lost, is answered no sooner than this.
	due := 2*stats.SmoothedRTT + 4*stats.MeanDeviation
	return max(time.Since(c.asked)-due, 0)
}

type quicStream struct {
	*quic.Stream
	conn    *quicConn
	writing sync.Mutex
}

func (s *quicStream) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	return n, translateStream(err)
}

func (s *quicStream) Write(p []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.conn.ask()
	n, err := s.Stream.Write(p)
	return n, translateStream(err)
}

type quicWriter struct {
	conn   *quicConn
	stream *quic.SendStream
}

func (w *quicWriter) Write(p []byte) (int, error) {
	w.conn.ask()
	n, err := w.stream.Write(p)
	return n, translateStream(err)
}

type quicReader struct{ stream *quic.ReceiveStream }

func (r quicReader) Read(p []byte) (int, error) {
	n, err := r.stream.Read(p)
	return n, translateStream(err)
}

// translateStream leaves io.EOF as it is, which readers compare with.
func translateStream(err error) error {
	if err == nil || err == io.EOF { //nolint:errorlint // a wrapped one is no clean end
		return err
	}
	return translate(err)
}
