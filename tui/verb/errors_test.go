package verb

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/tui/config"
)

func TestExplain(t *testing.T) {
	c := config.Context{Name: "c", Server: "https://host:1", CAHash: "sha256:00", Token: "s3cret"}
	dial := func(err error) error {
		return connect.NewError(connect.CodeUnavailable, &url.Error{Op: "Post", URL: c.Server,
			Err: &net.OpError{Op: "dial", Net: "tcp", Err: err}})
	}
	wire := func(code connect.Code) error { return connect.NewWireError(code, errors.New("words")) }
	for want, err := range map[string]error{
		"connection to host:1 refused: is the aggregator running?": dial(
			os.NewSyscallError("connect", syscall.ECONNREFUSED)),
		"host nowhere not found": dial(
			&net.DNSError{Err: "no such host", Name: "nowhere", IsNotFound: true}),
		"host:1 cannot be reached from here": dial(
			os.NewSyscallError("connect", syscall.EHOSTUNREACH)),
		"no answer from host:1: is": dial(os.ErrDeadlineExceeded),
		"cannot reach host:1: odd":  dial(errors.New("odd")),
		"no answer from host:1 within 30s": connect.NewError(connect.CodeDeadlineExceeded,
			context.DeadlineExceeded),
		"is from an unknown CA: give --ca-hash": dial(x509.UnknownAuthorityError{}),
		"certificate of host:1 is not valid":    dial(x509.CertificateInvalidError{Reason: x509.Expired}),
		"does not belong to the CA with hash":   dial(fmt.Errorf("tls: %w", identity.ErrWrongCA)),
		"host:1 broke the connection off": connect.NewError(connect.CodeUnavailable,
			io.ErrUnexpectedEOF),
		"sign in again with reeve login https://host:1 --ca-hash sha256:00 --context c": wire(connect.CodeUnauthenticated),
		"not allowed: words":                       wire(connect.CodePermissionDenied),
		"words":                                    wire(connect.CodeInvalidArgument),
		"does not know this call":                  wire(connect.CodeUnimplemented),
		"try again later: words":                   wire(connect.CodeUnavailable),
		"answered with an error (internal): words": wire(connect.CodeInternal),
		"not of a call":                            errors.New("not of a call"),
	} {
		got := explain(err, c, 30*time.Second)
		if !strings.Contains(got.Error(), want) || strings.Contains(got.Error(), "s3cret") {
			t.Errorf("%v: got %q, want %q", err, got, want)
		}
		if !errors.Is(got, err) {
			t.Errorf("%v: the cause is lost", err)
		}
		if again := explain(got, c, 0); again != got { //nolint:errorlint // the very same one
			t.Errorf("%v: explained twice: %v", err, again)
		}
	}
}
