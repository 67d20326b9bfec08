package uplink

import (
	"errors"
	"fmt"

	"github.com/quic-go/quic-go"

	"github.com/reeve-cloud/reeve/pkg/identity"
)

// endedWith reports whether the aggregator ended a session with the code.
func endedWith(err error, code quic.ApplicationErrorCode) bool {
	var app *quic.ApplicationError
	return errors.As(err, &app) && app.Remote && app.ErrorCode == code
}

// Explain puts the errors of QUIC into words that a person can act on.
func Explain(err error) error {
	var idle *quic.IdleTimeoutError
	var handshake *quic.HandshakeTimeoutError
	var reset *quic.StatelessResetError
	var app *quic.ApplicationError
	var transport *quic.TransportError
	switch {
	case errors.Is(err, identity.ErrWrongCA):
		return fmt.Errorf("%w; if the aggregator's authority was replaced and retired while this agent was away, %s", err, identity.JoinAnew)
	case errors.As(err, &handshake):
		return fmt.Errorf("no answer: is the aggregator up, and is its UDP port open on the way? (%w)", err)
	case errors.As(err, &idle):
		return fmt.Errorf("the aggregator has gone silent (%w)", err)
	case errors.As(err, &reset):
		return fmt.Errorf("the aggregator was restarted (%w)", err)
	case errors.As(err, &app) && app.Remote && app.ErrorMessage != "":
		return fmt.Errorf("the aggregator ended the session: %s", app.ErrorMessage)
	case errors.As(err, &transport) && transport.Remote && transport.ErrorCode.IsCryptoError():
		return fmt.Errorf("the aggregator does not accept this agent's certificate: it belongs to another aggregator, or to a certificate authority that was retired; "+
			"if so, %s (%w)", identity.JoinAnew, err)
	}
	return err
}
