package inventory

import (
	"errors"
	"io"
	"syscall"
	"testing"

	"connectrpc.com/connect"

	"github.com/reeve-cloud/reeve/pkg/identity"
)

func TestRetriable(t *testing.T) {
	for _, err := range []error{
		connect.NewError(connect.CodeUnavailable, io.EOF),
		connect.NewWireError(connect.CodeResourceExhausted, errors.New("fell behind")),
		connect.NewError(connect.CodeUnknown, syscall.ECONNRESET),
	} {
		if !retriable(err) {
			t.Errorf("%v is not retriable", err)
		}
	}
	for _, err := range []error{
		connect.NewWireError(connect.CodeUnauthenticated, errors.New("expired")),
		connect.NewError(connect.CodeUnavailable, identity.ErrWrongCA),
		&printError{io.ErrClosedPipe},
	} {
		if retriable(err) {
			t.Errorf("%v is retriable", err)
		}
	}
}

func TestBackoff(t *testing.T) {
	for failures := range 100 {
		if d := backoff(failures); d < minBackoff/2 || d > maxBackoff {
			t.Errorf("after %d failures: %s", failures, d)
		}
	}
	if d := backoff(20); d < maxBackoff/2 {
		t.Errorf("after 20 failures: %s", d)
	}
}
