package gateway

import (
	"bufio"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/reeve-cloud/reeve/aggregator/ingest"
	"github.com/reeve-cloud/reeve/aggregator/reconcile"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/scope"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/retry"
	"github.com/reeve-cloud/reeve/pkg/transport"
	"github.com/reeve-cloud/reeve/pkg/version"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// session is one agent's session.
type session struct {
	*Gateway
	conn    transport.Conn
	agent   identity.Agent
	control transport.Stream
	inlet   *ingest.Inlet
	compare *reconcile.Session
	scopes  *scope.Session
	seen    *registry.Session
	process
	pings pings
	// welcomed is closed when the agent has its welcome.
	welcomed chan struct{}
	// notice is to be said behind the welcome, if there is one.
	notice *wirev1.Control
	// cert is the agent's certificate.
	cert    *x509.Certificate
	writing sync.Mutex
}

// ended is an error that says how to end a session.
type ended struct {
	code uint64
	err  error
}

func (e *ended) Error() string { return e.err.Error() }
func (e *ended) Unwrap() error { return e.err }

func end(code uint64, format string, args ...any) error {
	return &ended{code, fmt.Errorf(format, args...)}
}

// serve runs a connection to its end.
func (g *Gateway) serve(ctx context.Context, conn transport.Conn) {
	defer conn.Wait()
	s := &session{Gateway: g, conn: conn, welcomed: make(chan struct{})}
	// Reads and writes on streams end when the connection does.
	stop := context.AfterFunc(ctx, func() { s.end(wire.CodeStopping, stopping) })
	defer stop()
	err := s.run(ctx)
	s.endBecause(err)
	logger := g.o.Logger.With("site", s.agent.Site, "agent_id", s.agent.ID, "address", conn.RemoteAddr().String())
	var closed *transport.CloseError
	switch cause := conn.Cause(); {
	case s.seen == nil && errors.As(err, &closed) && closed.Remote && closed.Code == wire.CodeNone:
		// It needed the connection no more: the other transport was quicker.
	case s.seen == nil && err != nil:
		kind := "session"
		if e := (*ended)(nil); errors.As(err, &e) && e.code == wire.CodeClone {
			kind = "clone" // others from its address must not hide it
		}
		g.refusals.log(kind, conn.RemoteAddr(), "refused a session of agent "+s.agent.String(), err)
	case s.seen == nil:
	case ctx.Err() != nil:
	default:
		logger.Info("agent has disconnected", "reason", reason(err, cause))
	}
}

// reason picks what says most about why a session ended.
func reason(err, cause error) string {
	var closed *transport.CloseError
	switch {
	case errors.Is(cause, transport.ErrSilent):
		return "it has gone silent"
	case errors.As(cause, &closed) && closed.Message != "":
		return closed.Message // of whichever side
	case errors.As(cause, &closed) && closed.Remote:
		return "it has closed the connection"
	case err != nil:
		return err.Error()
	}
	return cause.Error()
}

// stopping is what agents hear when the aggregator goes.
const stopping = "the aggregator is stopping"

// endBecause closes the connection with the code and the words of an error.
func (s *session) endBecause(err error) {
	var e *ended
	switch {
	case err == nil:
		s.end(wire.CodeNone, "")
	case errors.As(err, &e):
		s.end(e.code, e.Error())
	case errors.Is(err, ingest.ErrProtocol) || errors.Is(err, reconcile.ErrProtocol) || errors.Is(err, scope.ErrProtocol) ||
		errors.Is(err, wire.ErrFrameTooLarge):
		s.end(wire.CodeProtocol, err.Error())
	default:
		s.end(wire.CodeStopping, err.Error())
	}
}

// end closes the connection. Only the first call has an effect.
func (s *session) end(code uint64, message string) { s.conn.Close(code, message) }

func (s *session) run(ctx context.Context) error {
	s.cert = s.conn.PeerCertificates()[0]
	var err error
	s.agent, err = s.o.CA.VerifyAgent(s.cert, hlc.MaxSkew)
	if expired := (*identity.ExpiredError)(nil); errors.As(err, &expired) {
		return endExpired(expired)
	}
	if err != nil {
		return end(wire.CodeIdentity, "%w", err)
	}
	if err := s.enter(s.agent.ID); err != nil {
		return err
	}
	defer s.leave(s.agent.ID)
	known, err := s.o.Registry.Agent(ctx, s.agent.ID)
	if errors.Is(err, registry.ErrNotFound) || err == nil && known.Site != s.agent.Site {
		return end(wire.CodeIdentity, "this aggregator does not know agent %s, it may have been set up anew: %s", s.agent, identity.JoinAnew)
	}
	if err != nil {
		return err
	}
	if known.Revoked() {
		return end(wire.CodeIdentity, identity.Revoked)
	}
	r, hello, err := s.greet(ctx)
	if err != nil {
		return err
	}
	protocol, err := wire.Negotiate(hello.GetProtocol())
	if err != nil {
		return end(wire.CodeVersion, "%w", err)
	}
	welcome := &wirev1.Welcome{
		Protocol:          protocol,
		AggregatorVersion: version.String(),
		Clock:             uint64(s.o.Clock.Now()),
		MaxBatchBytes:     wire.MaxBatch,
		WindowBytes:       windowBytes,
		HeartbeatSeconds:  uint32(heartbeat / time.Second),
		Time:              time.Now().UnixMilli(),
	}
	if hello.GetSpoolId() == "" {
		// The agent only tries whether it could have a session.
		s.metrics.trials.Inc()
		defer s.metrics.trials.Dec()
		if err := s.say(&wirev1.Control{Message: &wirev1.Control_Welcome{Welcome: welcome}}); err != nil {
			return err
		}
		return s.waitForEnd(ctx)
	}
	if err := wire.CheckSpoolID(hello.GetSpoolId()); err != nil {
		return end(wire.CodeProtocol, "%w", err)
	}
	if hello.GetSpoolId() == scope.SpoolID {
		return end(wire.CodeProtocol, "the spool id %s is not for agents", scope.SpoolID)
	}
	return s.ship(ctx, r, hello, welcome)
}

// endExpired tells an agent what to do about its certificate's end.
func endExpired(e *identity.ExpiredError) error {
	when := fmt.Sprintf("the certificate ended at %s, and the aggregator's clock says %s", e.End.UTC().Format(time.RFC3339),
		e.Now.UTC().Format(time.RFC3339))
	if e.Now.After(e.End.Add(identity.RenewalGrace)) {
		return end(wire.CodeIdentity, "%s: it cannot be renewed any more: %s", when, identity.JoinAnew)
	}
	return end(wire.CodeExpired, "%s: renew it and come back", when)
}

// waitForExpiry ends a session that outlives its certificate.
func (s *session) waitForExpiry(ctx context.Context) error {
	if err := retry.Sleep(ctx, time.Until(s.cert.NotAfter.Add(hlc.MaxSkew))); err != nil {
		return err
	}
	return endExpired(&identity.ExpiredError{End: s.cert.NotAfter, Now: time.Now()})
}

// followAuthorities has the agent renew its certificate whenever it has not heard
// of the authorities that there are now, and ends a session whose certificate is
// of one that was retired.
func (s *session) followAuthorities(ctx context.Context) error {
	for {
		changed := s.o.CA.Changed()
		if s.checkIssuer(s.cert) != nil {
			return end(wire.CodeExpired, "the certificate authority that signed the certificate of this session was retired: come back with the "+
				"present certificate")
		}
		known, err := s.o.Registry.Agent(ctx, s.agent.ID)
		if err != nil {
			return fmt.Errorf("looking which authorities agent %s knows: %w", s.agent, err)
		}
		if !slices.Equal(known.CAs, s.o.CA.Pins()) {
			if err := s.say(&wirev1.Control{Message: &wirev1.Control_Renew{Renew: &wirev1.Renew{WithinSeconds: uint32(
				renewWithin / time.Second)}}}); err != nil {
				return fmt.Errorf("asking the agent to renew its certificate: %w", err)
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// checkClock warns of an agent whose clock is too far off. Its session goes on:
// it loses nothing, but its times are wrong.
func (s *session) checkClock(hello *wirev1.Hello) {
	there, here := time.UnixMilli(hello.GetTime()), time.Now()
	if hello.GetTime() != 0 && hlc.TooFarApart(there, here) {
		s.o.Logger.Warn("an agent's clock and this machine's are more than an hour apart: set the one that is wrong", "site", s.agent.Site,
			"agent_id", s.agent.ID, "hostname", cut(hello.GetHostname()), "agent_clock", there.UTC(), "aggregator_clock", here.UTC())
	}
}

// greet accepts the control stream and reads the hello.
func (s *session) greet(ctx context.Context) (*bufio.Reader, *wirev1.Hello, error) {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	control, err := s.conn.AcceptStream(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("waiting for the control stream: %w", err)
	}
	s.control = control
	if err := control.SetReadDeadline(time.Now().Add(helloTimeout)); err != nil {
		return nil, nil, err
	}
	r := bufio.NewReader(control)
	var c wirev1.Control
	if err := wire.ReadMessage(r, wire.MaxControlFrame, &c); err != nil {
		return nil, nil, end(wire.CodeProtocol, "reading the hello: %w", err)
	}
	if c.GetHello() == nil {
		return nil, nil, end(wire.CodeProtocol, "the first message must be a hello")
	}
	return r, c.GetHello(), nil
}

// waitForEnd waits for the agent to close a connection that it only tried.
func (s *session) waitForEnd(ctx context.Context) error {
	t := time.NewTimer(helloTimeout)
	defer t.Stop()
	select {
	case <-s.conn.Done():
	case <-t.C:
	case <-ctx.Done():
	}
	return nil
}

// ship runs an established session.
func (s *session) ship(ctx context.Context, r *bufio.Reader, hello *wirev1.Hello, welcome *wirev1.Welcome) (err error) {
	s.process = process{
		instance: cut(hello.GetInstanceId()), spool: hello.GetSpoolId(), hostname: cut(hello.GetHostname()),
		address: s.conn.RemoteAddr().String(),
	}
	if err := s.admit(ctx, s); err != nil {
		return err
	}
	defer s.remove(s)
	s.seen, err = s.o.Registry.AgentConnected(ctx, s.agent.ID, registry.Connection{
		Address:    s.conn.RemoteAddr().String(),
		Hostname:   cut(hello.GetHostname()),
		Version:    cut(hello.GetAgentVersion()),
		Platform:   cut(hello.GetPlatform()),
		Collectors: cutAll(hello.GetCollectors()),
		Transport:  string(s.conn.Kind()),
	})
	if errors.Is(err, registry.ErrAgentRevoked) {
		return end(wire.CodeIdentity, identity.Revoked)
	}
	if err != nil {
		return fmt.Errorf("noting the session of agent %s: %w", s.agent, err)
	}
	defer s.seen.Close()
	s.inlet, err = s.o.Ingest.Open(ctx, s.agent, hello.GetSpoolId())
	if errors.Is(err, ingest.ErrTooManySpools) {
		return end(wire.CodeProtocol, "%w", err)
	}
	if err != nil {
		return err
	}
	defer s.inlet.Close()
	welcome.Compares = true
	s.compare = s.o.Reconciler.Session(s.agent, s.say)
	welcome.GrantsScopes, welcome.TellsOfFreed = true, true
	s.scopes = s.o.Scopes.Session(s.agent, s.say)
	welcome.Durable = s.inlet.Durable()
	if err := s.say(&wirev1.Control{Message: &wirev1.Control_Welcome{Welcome: welcome}}); err != nil {
		return fmt.Errorf("sending the welcome: %w", err)
	}
	close(s.welcomed)
	if s.notice != nil {
		if err := s.say(s.notice); err != nil {
			return fmt.Errorf("telling the agent of its clone: %w", err)
		}
	}
	s.o.Logger.Info("agent has connected", "site", s.agent.Site, "agent_id", s.agent.ID, "hostname", cut(hello.GetHostname()),
		"agent_version", cut(hello.GetAgentVersion()), "address", s.conn.RemoteAddr().String(), "transport", s.conn.Kind())
	s.checkClock(hello)

	group, sessionCtx := errgroup.WithContext(ctx)
	// The first part that ends ends the connection, and so the other parts.
	stop := context.AfterFunc(sessionCtx, func() {
		if ctx.Err() != nil {
			s.end(wire.CodeStopping, stopping)
			return
		}
		s.endBecause(context.Cause(sessionCtx))
	})
	defer stop()
	group.Go(func() error { return s.listen(r) })
	group.Go(func() error { return s.answer(sessionCtx) })
	group.Go(func() error { return s.compare.Run(sessionCtx) })
	group.Go(func() error { return s.scopes.Run(sessionCtx) })
	group.Go(func() error { return s.waitForExpiry(sessionCtx) })
	group.Go(func() error { return s.followAuthorities(sessionCtx) })
	group.Go(func() error {
		for {
			stream, err := s.conn.AcceptReceiveStream(sessionCtx)
			if err != nil {
				return err
			}
			group.Go(func() error { return s.receive(sessionCtx, stream) })
		}
	})
	return group.Wait()
}

// listen takes what the agent says on the control stream.
func (s *session) listen(r *bufio.Reader) error {
	for {
		if err := s.control.SetReadDeadline(time.Now().Add(heartbeat)); err != nil {
			return err
		}
		var c wirev1.Control
		if err := wire.ReadMessage(r, wire.MaxControlFrame, &c); err != nil {
			if errors.Is(err, io.EOF) {
				return end(wire.CodeNone, "the agent closed its control stream")
			}
			var timeout interface{ Timeout() bool }
			if errors.As(err, &timeout) && timeout.Timeout() {
				return end(wire.CodeSilent, "nothing was heard from the agent for %v", heartbeat)
			}
			return fmt.Errorf("listening to the agent: %w", err)
		}
		if b := c.GetHeartbeat(); b != nil {
			s.o.Clock.Observe(hlc.Stamp(b.GetClock()))
			var waiting uint64
			for _, l := range b.GetBacklog() {
				waiting += l.GetRecords()
			}
			s.seen.Backlog(waiting)
			s.pings.answered(b.GetAnswers())
		}
		if err := s.compare.Take(&c); err != nil {
			return err
		}
		if err := s.scopes.Take(&c); err != nil {
			return err
		}
		// Anything else comes from a newer agent and can be passed over.
	}
}

// answer sends acknowledgements and heartbeats.
func (s *session) answer(ctx context.Context) error {
	t := time.NewTicker(heartbeat / 3)
	defer t.Stop()
	for {
		var c *wirev1.Control
		select {
		case text := <-s.inlet.Notices():
			c = &wirev1.Control{Message: &wirev1.Control_Notice{Notice: &wirev1.Notice{Message: text}}}
		case <-s.inlet.Acks():
			c = &wirev1.Control{Message: &wirev1.Control_Ack{Ack: &wirev1.Ack{Durable: s.inlet.Durable()}}}
		case <-t.C:
			c = &wirev1.Control{Message: &wirev1.Control_Heartbeat{Heartbeat: &wirev1.Heartbeat{Clock: uint64(s.o.Clock.Now())}}}
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := s.say(c); err != nil {
			return fmt.Errorf("answering the agent: %w", err)
		}
	}
}

func (s *session) say(c *wirev1.Control) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.control.SetWriteDeadline(time.Now().Add(heartbeat)); err != nil {
		return err
	}
	return wire.WriteMessage(s.control, c)
}

// receive takes the batches of one data stream.
func (s *session) receive(ctx context.Context, stream io.Reader) error {
	r := bufio.NewReaderSize(heard{s, stream}, 4<<10)
	var head wirev1.DataHeader
	if err := wire.ReadMessage(r, wire.MaxControlFrame, &head); err != nil {
		return fmt.Errorf("%w: the header of a data stream: %w", ingest.ErrProtocol, err)
	}
	if !wire.KnownClass(head.GetClass()) {
		return fmt.Errorf("%w: data of class %d, which is unknown", ingest.ErrProtocol, head.GetClass())
	}
	for {
		size, err := wire.ReadSize(r, wire.MaxBatch)
		if errors.Is(err, io.EOF) {
			return nil // the agent has no more of this class
		}
		if err != nil {
			return fmt.Errorf("receiving %s: %w", wire.ClassName(head.GetClass()), err)
		}
		if err := s.inlet.Receive(ctx, head.GetClass(), size, r); err != nil {
			return fmt.Errorf("receiving %s: %w", wire.ClassName(head.GetClass()), err)
		}
		s.metrics.received.WithLabelValues(wire.ClassName(head.GetClass())).Add(float64(size))
		s.seen.Seen()
	}
}

// heard counts what arrives of data as a sign of life. Over TCP a heartbeat may
// wait behind it for longer than a silence may last.
type heard struct {
	*session
	io.Reader
}

func (h heard) Read(p []byte) (int, error) {
	n, err := h.Reader.Read(p)
	if n > 0 {
		// It fails only when the connection has ended, which Read says itself.
		_ = h.control.SetReadDeadline(time.Now().Add(heartbeat))
	}
	return n, err
}

// cut bounds what an agent says of itself.
func cut(text string) string {
	const most = 256
	return identity.CleanName(text, most)
}

func cutAll(texts []string) []string {
	const most = 64
	var list []string
	for _, t := range texts[:min(len(texts), most)] {
		list = append(list, cut(t))
	}
	return list
}
