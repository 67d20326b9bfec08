package verb

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"connectrpc.com/connect"

	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/tui/config"
)

// usageError means that the command line is wrong.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

// Usagef returns an error that says what is wrong with the command line.
func Usagef(format string, args ...any) error {
	return &usageError{text: fmt.Sprintf(format, args...)}
}

// IsUsage reports whether an error says that the command line is wrong.
func IsUsage(err error) bool {
	_, ok := errors.AsType[*usageError](err)
	return ok
}

// Explained is an error in words that the user can act on.
type Explained struct {
	Text string
	// More are lines that show what is meant.
	More  []string
	Cause error
}

func (e *Explained) Error() string { return e.Text }
func (e *Explained) Unwrap() error { return e.Cause }

// explain puts an error of a call into words. Errors that are not of a call, or
// are in words already, stay as they are.
func explain(err error, c config.Context, timeout time.Duration) error {
	if _, ok := errors.AsType[*Explained](err); ok {
		return err
	}
	e, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return err
	}
	if lines := filterLines(e); len(lines) > 0 {
		return &Explained{Text: lines[0], More: lines[1:], Cause: err}
	}
	text := explainTransport(e, c, timeout)
	if text == "" {
		text = explainCode(e, c, timeout)
	}
	return &Explained{Text: text, Cause: err}
}

// explainTransport returns the words for an error below the API, or "".
func explainTransport(err error, c config.Context, timeout time.Duration) string {
	address := strings.TrimPrefix(c.Server, "https://")
	var (
		unknownCA    x509.UnknownAuthorityError
		wrongHost    x509.HostnameError
		invalid      x509.CertificateInvalidError
		verification *tls.CertificateVerificationError
		record       tls.RecordHeaderError
		resolve      *net.DNSError
		timedOut     net.Error
	)
	switch {
	case errors.Is(err, identity.ErrWrongCA):
		return fmt.Sprintf("%s does not belong to the CA with hash %s: compare that with the ca-hash that the aggregator prints when it "+
			"starts; if they differ, do not send it the token", address, c.CAHash)
	case errors.As(err, &unknownCA):
		return fmt.Sprintf("the certificate of %s is from an unknown CA: give --ca-hash sha256:..., which the aggregator prints as ca-hash "+
			"when it starts, to reeve login", address)
	case errors.As(err, &wrongHost), errors.As(err, &invalid), errors.As(err, &verification):
		return fmt.Sprintf("the certificate of %s is not valid: %v", address, cause(err))
	case errors.As(err, &record):
		return fmt.Sprintf("%s does not speak TLS: is it the address of the aggregator's API?", address)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("connection to %s refused: is the aggregator running?", address)
	case errors.As(err, &resolve):
		return fmt.Sprintf("host %s not found: is the address of the server right?", resolve.Name)
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return fmt.Sprintf("%s cannot be reached from here: %v", address, cause(err))
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("no answer from %s within %s (--timeout)", address, timeout)
	case errors.As(err, &timedOut) && timedOut.Timeout():
		return fmt.Sprintf("no answer from %s: is the aggregator running, and does a firewall let you through?", address)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fmt.Sprintf("%s broke the connection off: %v", address, cause(err))
	case connect.CodeOf(err) == connect.CodeUnavailable && !connect.IsWireError(err):
		return fmt.Sprintf("cannot reach %s: %v", address, cause(err))
	}
	return ""
}

// explainCode returns the words for an error that the server answered.
func explainCode(err *connect.Error, c config.Context, timeout time.Duration) string {
	message := err.Message()
	if message == "" {
		message = err.Code().String()
	}
	switch err.Code() {
	case connect.CodeUnauthenticated:
		return fmt.Sprintf("%s does not accept the token: sign in again with %s", c.Server, loginAgain(c))
	case connect.CodePermissionDenied:
		return "not allowed: " + message
	case connect.CodeNotFound, connect.CodeInvalidArgument, connect.CodeFailedPrecondition, connect.CodeAlreadyExists, connect.CodeOutOfRange:
		return message
	case connect.CodeUnimplemented:
		return fmt.Sprintf("%s does not know this call: is it a Reeve aggregator, and not older than this client? (%s)", c.Server, message)
	case connect.CodeDeadlineExceeded:
		return fmt.Sprintf("no answer from %s within %s (--timeout)", c.Server, timeout)
	case connect.CodeUnavailable:
		return fmt.Sprintf("%s is not available now, try again later: %s", c.Server, message)
	default:
		return fmt.Sprintf("%s answered with an error (%s): %s", c.Server, err.Code(), message)
	}
}

// loginAgain returns the command to renew a context's token with.
func loginAgain(c config.Context) string {
	command := "reeve login " + c.Server
	if c.CAHash != "" {
		command += " --ca-hash " + c.CAHash
	}
	if c.Name != "" {
		command += " --context " + c.Name
	}
	return command
}

// cause returns the innermost of a chain of errors, which has the least of the
// layers in between in its text.
func cause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// IsVerification reports whether a server failed to prove who it is.
func IsVerification(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	return errors.Is(err, identity.ErrWrongCA)
}
