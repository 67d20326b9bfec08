// Package wire is the conversation between an agent and an aggregator, and the
// bytes of a batch.
//
// A session is one connection over QUIC or TCP (ALPN [ALPN]) with mutual TLS;
// package transport makes both look the same. The agent opens one bidirectional
// control stream, says hello, and is welcomed with what the aggregator already
// holds of its spool. Then it opens one unidirectional data stream a class, names
// the class in a first frame, and sends batches in their order, each as the frozen
// bytes that lie in its spool. Acknowledgements and heartbeats travel on the
// control stream.
//
// Everything on a stream is a frame: a 4-byte big-endian length and that many
// bytes of one protobuf message. docs/wire.md is the specification.
package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// ALPN is the TLS application protocol of sessions.
const ALPN = "reeve/1"

// Protocol versions that this code speaks.
const (
	MinProtocol = 1
	MaxProtocol = 1
)

// Codes that end connections, with words beside them: as QUIC's application error,
// or in a goodbye message over TCP.
const (
	CodeNone     = 0
	CodeProtocol = 1
	CodeIdentity = 2
	CodeStopping = 3
	CodeReplaced = 4
	CodeSilent   = 5
	CodeVersion  = 6
	CodeExpired  = 7
	CodeClone    = 8
)

const (
	// MaxControlFrame is the size in bytes of the largest control message.
	MaxControlFrame = 64 << 10
	// MaxBatch is the size in bytes of the largest encoded batch. A batch is
	// closed well below it, so that a single large document still fits.
	MaxBatch = 8 << 20
	// MaxClaims is how many scopes an agent may claim, and MaxClaimNames how many bytes
	// their names may have in all.
	MaxClaims     = 1_500
	MaxClaimNames = 96 << 10
	// MaxRecords is the size in bytes of the largest decompressed batch.
	MaxRecords = 64 << 20
	// MaxCount is how many records a batch may have.
	MaxCount = 1 << 16
)

// ErrFrameTooLarge means that a peer announced a frame above the limit.
var ErrFrameTooLarge = errors.New("frame too large")

// WriteFrame sends one frame.
func WriteFrame(w io.Writer, payload []byte) error {
	var head [4]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(payload)))
	if _, err := w.Write(head[:]); err != nil {
		return err
	}
	_, err := w.Write(payload)
	return err
}

// ReadFrame receives one frame of at most limit bytes. It returns io.EOF only
// at the bound between two frames. Memory grows with what arrives, not with
// what the length announces.
func ReadFrame(r *bufio.Reader, limit int) ([]byte, error) {
	n, err := ReadSize(r, limit)
	if err != nil {
		return nil, err
	}
	return ReadPayload(r, n)
}

// ReadSize receives how many bytes the next frame has, at most limit. ReadPayload
// must follow. It returns io.EOF only at the bound between two frames.
func ReadSize(r *bufio.Reader, limit int) (int, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if uint64(n) > uint64(limit) {
		return 0, fmt.Errorf("%w: %d bytes announced, %d allowed", ErrFrameTooLarge, n, limit)
	}
	return int(n), nil
}

// ReadPayload receives the n bytes of a frame. Memory grows with what arrives.
func ReadPayload(r *bufio.Reader, n int) ([]byte, error) {
	const chunk = 256 << 10
	buf := make([]byte, 0, min(n, chunk))
	for len(buf) < n {
		part := min(n-len(buf), chunk)
		at := len(buf)
		buf = append(buf, make([]byte, part)...)
		if _, err := io.ReadFull(r, buf[at:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return buf, nil
}

// WriteMessage sends one message as a frame.
func WriteMessage(w io.Writer, m proto.Message) error {
	payload, err := proto.Marshal(m)
	if err != nil {
		return fmt.Errorf("encoding a %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	return WriteFrame(w, payload)
}

// ReadMessage receives one frame into m.
func ReadMessage(r *bufio.Reader, limit int, m proto.Message) error {
	payload, err := ReadFrame(r, limit)
	if err != nil {
		return err
	}
	if err := proto.Unmarshal(payload, m); err != nil {
		return fmt.Errorf("decoding a %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	return nil
}

// Negotiate picks the protocol version to speak with a peer that speaks up to
// highest.
func Negotiate(highest uint32) (uint32, error) {
	if highest < MinProtocol {
		return 0, fmt.Errorf("the peer speaks protocol version %d at most, the lowest that is understood here is %d: upgrade the peer", highest,
			MinProtocol)
	}
	return min(highest, MaxProtocol), nil
}

// KnownClass reports whether c is a class that exists.
func KnownClass(c wirev1.Class) bool {
	_, ok := wirev1.Class_name[int32(c)]
	return ok && c != wirev1.Class_CLASS_UNSPECIFIED
}

// ClassName is the class in the words of logs and metrics: "assets".
func ClassName(c wirev1.Class) string {
	switch c {
	case wirev1.Class_CLASS_ASSETS:
		return "assets"
	case wirev1.Class_CLASS_EVENTS:
		return "events"
	case wirev1.Class_CLASS_CHARGES:
		return "charges"
	}
	return fmt.Sprintf("class-%d", c)
}
