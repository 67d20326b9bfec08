// Package transport carries sessions between an agent and an aggregator: over
// QUIC, or over TCP where UDP does not get through.
//
// Both look the same from outside, so that what is said in a session knows
// nothing of its transport: streams that do not hold each other up, flow control
// by stream, and an end with a code and words that reach the other side. Over TCP
// the streams are multiplexed with yamux inside TLS 1.3. docs/wire.md has what is
// on the wire.
package transport

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
	"unicode/utf8"
)

// Kind is what a connection runs over.
type Kind string

// The kinds of connections.
const (
	QUIC Kind = "quic"
	TCP  Kind = "tcp"
)

// Conn is a connection with mutual TLS. When it has ended, all that is called on
// it and on its streams fails with the error that Cause returns.
type Conn interface {
	// OpenStream opens a stream with two directions.
	OpenStream(ctx context.Context) (Stream, error)
	// AcceptStream waits for a stream with two directions.
	AcceptStream(ctx context.Context) (Stream, error)
	// OpenSendStream opens a stream on which only this side sends.
	OpenSendStream(ctx context.Context) (io.Writer, error)
	// AcceptReceiveStream waits for a stream on which only the peer sends. Its
	// reads end with io.EOF where the peer has closed it.
	AcceptReceiveStream(ctx context.Context) (io.Reader, error)
	// Close ends the connection and tells the peer why. Only the first call has
	// an effect, and none where the connection has ended already. It does not
	// wait until the peer has heard: Wait does.
	Close(code uint64, message string)
	// Done is closed when the connection has ended.
	Done() <-chan struct{}
	// Cause is why the connection has ended: a *CloseError, one of this
	// package's errors, or another one. It is nil before.
	Cause() error
	// Wait returns when the connection has ended and nothing of it runs on.
	Wait()
	// Unanswered is for how long the peer has owed an answer to what was sent to it,
	// beyond the time that one takes on this way: zero where it owes none, or where
	// the transport cannot tell.
	Unanswered() time.Duration
	RemoteAddr() net.Addr
	// PeerCertificates are what the peer has shown, its own first. That it holds
	// the key is certain, and nothing else.
	PeerCertificates() []*x509.Certificate
	Kind() Kind
}

// Stream is one of the streams of a connection. Writes are not mixed with each
// other.
type Stream interface {
	io.ReadWriter
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// CloseError says that one side ended a connection with Close.
type CloseError struct {
	// Remote says that it was the peer.
	Remote  bool
	Code    uint64
	Message string
}

func (e *CloseError) Error() string {
	side := "this side"
	if e.Remote {
		side = "the peer"
	}
	if e.Message == "" {
		return fmt.Sprintf("%s has closed the connection (code %d)", side, e.Code)
	}
	return fmt.Sprintf("%s has closed the connection: %s (code %d)", side, e.Message, e.Code)
}

// What ends connections, or keeps them from coming up, beside Close.
var (
	// ErrNoAnswer means that nothing answers at the address in time.
	ErrNoAnswer = errors.New("no answer")
	// ErrSilent means that nothing was heard from the peer any more.
	ErrSilent = errors.New("the peer has gone silent")
	// ErrForgotten means that the peer does not know the connection (any more).
	ErrForgotten = errors.New("the peer does not know this connection")
	// ErrRefused means that the peer broke off the TLS handshake.
	ErrRefused = errors.New("the peer has refused the TLS handshake")
	// ErrNotOffered means that the peer has something else behind its TCP port.
	ErrNotOffered = errors.New("the peer does not offer sessions over TCP")
)

// closeErrorLimit is the size of the words of an end. With QUIC they must fit
// into one packet.
const closeErrorLimit = 500

// cut makes words of an end: UTF-8, as protobuf wants them, and no more than may be.
func cut(message string) string {
	message = strings.ToValidUTF8(message, "?")
	if len(message) <= closeErrorLimit {
		return message
	}
	end := closeErrorLimit
	for !utf8.RuneStart(message[end]) {
		end--
	}
	return message[:end]
}
