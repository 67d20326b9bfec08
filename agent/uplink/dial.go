package uplink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/reeve-cloud/reeve/pkg/transport"
	"github.com/reeve-cloud/reeve/pkg/wire"
)

const (
	// headStart is how long one transport may take before the other is tried as
	// well.
	headStart = 2500 * time.Millisecond
	// grace is how much later than TCP QUIC may be where both are under way.
	grace = 300 * time.Millisecond
	// quicTimeout and tcpTimeout bound one try. A proxy may be slow. They double, up to
	// maxPatience times, while nothing answers in time, since the way may be slow; on
	// most ways a short time finds the address that works sooner.
	quicTimeout = 5 * time.Second
	tcpTimeout  = 6 * time.Second
	maxPatience = 8
	// lookupTimeout bounds the look-up of a name.
	lookupTimeout = 5 * time.Second
)

// target is one place where an aggregator may be: one record of a name.
type target struct {
	// address is what is configured: host:port.
	address string
	// quic is where it is reached over QUIC, unless it is not valid.
	quic netip.AddrPort
	// tcp is where it is reached over TCP, unless it is empty.
	tcp string
}

func (t target) String() string {
	if t.quic.IsValid() && t.quic.String() != t.address {
		return t.address + " (" + t.quic.Addr().String() + ")"
	}
	return t.address
}

// targets returns the places that an address stands for, in the resolver's order.
// A proxy resolves names itself, so behind one TCP is tried by the name, once.
func targets(ctx context.Context, address string, proxy transport.Proxy) ([]target, error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("the port %q is not a number", service)
	}
	through, err := proxy.For(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil && through == nil {
		return nil, err
	}
	var all []target
	for _, ip := range ips {
		t := target{address: address, quic: netip.AddrPortFrom(ip.Unmap(), uint16(port))}
		if through == nil {
			t.tcp = t.quic.String()
		}
		all = append(all, t)
	}
	if through != nil {
		if len(all) == 0 {
			all = []target{{address: address}}
		}
		all[0].tcp = address
	}
	return all, nil
}

// dialer makes one try over one transport.
type dialer func(ctx context.Context) (transport.Conn, error)

// clientTLS adapts a configuration to an address.
func clientTLS(config *tls.Config, address string) *tls.Config {
	c := config.Clone()
	c.NextProtos = []string{wire.ALPN}
	// For what stands between and goes by names. Nothing here does.
	c.ServerName, _, _ = net.SplitHostPort(address)
	return c
}

func dialQUIC(t target, config *tls.Config, timeout time.Duration) dialer {
	return func(ctx context.Context) (transport.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		return transport.DialQUIC(ctx, t.quic, clientTLS(config, t.address))
	}
}

func dialTCP(t target, proxy transport.Proxy, config *tls.Config, timeout time.Duration) dialer {
	return func(ctx context.Context) (transport.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		return transport.DialTCP(ctx, t.tcp, proxy, clientTLS(config, t.address))
	}
}

// connect connects over the transport that comes up first. QUIC is tried first,
// and TCP too if that takes long or fails: at once where a session over QUIC has
// just gone silent, and before QUIC where UDP was found to be blocked.
func (u *Uplink) connect(ctx context.Context, t target) (transport.Conn, error) {
	patience := time.Duration(max(u.patience, 1))
	var tries []dialer
	if t.quic.IsValid() {
		tries = append(tries, dialQUIC(t, u.TLS(), patience*quicTimeout))
	}
	if t.tcp != "" {
		tcp := dialTCP(t, u.Proxy, u.TLS(), patience*tcpTimeout)
		if time.Now().Before(u.blocked) {
			tries = append([]dialer{tcp}, tries...)
		} else {
			tries = append(tries, tcp)
		}
	}
	ahead := headStart
	if u.doubt {
		ahead = 0
	}
	began := time.Now()
	conn, err := race(ctx, ahead, tries...)
	if err == nil && time.Since(began) < quicTimeout/2 {
		u.patience = 1
	}
	return conn, err
}

// race makes the tries one after the other, the next as soon as one has failed or
// has not succeeded for a time. It returns the first connection, one over QUIC
// rather than one over TCP where both are there, and returns when no try is under
// way any more.
func race(ctx context.Context, ahead time.Duration, tries ...dialer) (transport.Conn, error) {
	type outcome struct {
		conn transport.Conn
		err  error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	outcomes := make(chan outcome, len(tries))
	var group sync.WaitGroup
	begun, ended := 0, 0
	begin := func() {
		if begun == len(tries) {
			return
		}
		try := tries[begun]
		begun++
		group.Go(func() {
			conn, err := try(ctx)
			outcomes <- outcome{conn, err}
		})
	}
	begin()
	wait := time.NewTimer(ahead)
	defer wait.Stop()
	var won transport.Conn
	var errs []error
	settle := func(o outcome) {
		ended++
		switch {
		case o.err != nil:
			errs = append(errs, Explain(o.err))
			// Whatever it was that answered over one, something else may over the other.
			if won == nil {
				begin()
			}
		case won == nil:
			won = o.conn
		case o.conn.Kind() == transport.QUIC && won.Kind() != transport.QUIC:
			discard(won)
			won = o.conn
		default:
			discard(o.conn)
		}
	}
	for won == nil && ended < begun {
		select {
		case o := <-outcomes:
			settle(o)
		case <-wait.C:
			begin()
		}
	}
	if won != nil && won.Kind() == transport.TCP && ended < begun {
		late := time.NewTimer(grace)
		defer late.Stop()
		select {
		case o := <-outcomes:
			settle(o)
		case <-late.C:
		}
	}
	cancel()
	group.Wait()
	for ended < begun {
		settle(<-outcomes)
	}
	if won == nil {
		return nil, joined(errs)
	}
	return won, nil
}

func discard(conn transport.Conn) {
	conn.Close(wire.CodeNone, "the other transport was quicker")
	conn.Wait()
}

// joined is several errors in one line.
func joined(errs []error) error {
	if len(errs) == 0 {
		return errors.New("the name has no address")
	}
	err := errs[0]
	for _, e := range errs[1:] {
		err = fmt.Errorf("%w; %w", err, e)
	}
	return err
}
