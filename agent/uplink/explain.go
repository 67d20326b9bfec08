package uplink

import (
	"errors"
	"fmt"

	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/transport"
)

// endedWith reports whether the aggregator ended a session with the code.
func endedWith(err error, code uint64) bool {
	var closed *transport.CloseError
	return errors.As(err, &closed) && closed.Remote && closed.Code == code
}

// Explain puts the errors of connections into words that a person can act on.
func Explain(err error) error {
	var before *explained
	var closed *transport.CloseError
	switch {
	case err == nil, errors.As(err, &before):
		return err
	case errors.Is(err, identity.ErrWrongCA):
		return &explained{fmt.Sprintf("%v; if the aggregator's authority was replaced and retired while this agent was away, %s", err,
			identity.JoinAnew), err}
	case errors.Is(err, transport.ErrNotOffered):
		return &explained{"the aggregator takes no sessions over TCP: it may be older than this agent" + because(err), err}
	case errors.Is(err, transport.ErrNoAnswer):
		return &explained{"no answer: is the aggregator up, and is its port open on the way, over UDP or TCP?" + because(err), err}
	case errors.Is(err, transport.ErrSilent):
		return &explained{"the aggregator has gone silent" + because(err), err}
	case errors.Is(err, transport.ErrForgotten):
		return &explained{"the aggregator was restarted" + because(err), err}
	case errors.As(err, &closed) && closed.Remote && closed.Message != "":
		return &explained{"the aggregator ended the session: " + closed.Message, err}
	case errors.Is(err, transport.ErrRefused):
		return &explained{"the aggregator does not accept this agent's certificate: it belongs to another aggregator, or to a certificate " +
			"authority that was retired; " +
			"if so, " + identity.JoinAnew + because(err), err}
	}
	return err
}

// explained is an error in words for people, over the error itself.
type explained struct {
	words string
	err   error
}

func (e *explained) Error() string { return e.words }
func (e *explained) Unwrap() error { return e.err }

func because(err error) string { return fmt.Sprintf(" (%v)", err) }
