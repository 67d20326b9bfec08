// Package link is a bad network in user space: a proxy for UDP and TCP on one
// port number that loses, delays, reorders, repeats and throttles what passes
// through it, changes the source ports of clients as a NAT does, and cuts
// connections.
//
// What happens to the n-th datagram or piece of a flow is drawn from the seed,
// the number of the flow, the direction and n, and from nothing else. So two
// links with one seed treat the same traffic alike, and a change of the rules
// shifts no later draw.
package link

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Direction is where something travels to.
type Direction int

// The directions: up is from the client to the target.
const (
	Up Direction = iota
	Down
)

// Both is both directions.
var Both = []Direction{Up, Down}

// Rules say how one direction behaves. The zero value is a perfect link.
//
// A stream of TCP stays whole whatever the rules are: a piece that is lost
// comes later, by the time of a retransmission, and nothing overtakes it or
// comes twice. A black hole holds it up until the hole closes.
type Rules struct {
	// Loss, Duplicate and Reorder are the shares, from 0 to 1, of datagrams that
	// are dropped, sent twice, and held back until others have overtaken them.
	Loss, Duplicate, Reorder float64
	// Delay is added to everything, and of Jitter a random part.
	Delay, Jitter time.Duration
	// BytesPerSecond is what passes, of all flows together. Zero is no limit.
	BytesPerSecond int
	// MaxDatagram is how many bytes a datagram may have, without the headers of UDP
	// and IP; a larger one is lost without a word. Zero is no limit.
	MaxDatagram int
	// Blackhole lets nothing pass.
	Blackhole bool
}

const (
	// queueTime is how long a datagram may wait for its turn on a throttled
	// link. What would wait for longer is dropped, as routers do.
	queueTime = 500 * time.Millisecond
	// heldBack is the most by which a datagram is held back to be overtaken.
	heldBack = 100 * time.Millisecond
	// retransmission is what a lost piece of a TCP stream costs.
	retransmission = 200 * time.Millisecond
	// narrowBuffer is what the kernel may take of a stream from the sender where the
	// line is throttled, in bytes.
	narrowBuffer = 32 << 10
	// idleFlow is how long a UDP flow is kept that the target says nothing to.
	idleFlow = 2 * time.Minute
)

// draw is the luck of one datagram. All of it is drawn whatever the rules are.
type draw struct {
	loss, duplicate, reorder, jitter, held float64
}

// dice draw for one direction of one flow.
type dice struct{ r *rand.Rand }

func newDice(seed, flow uint64, d Direction) *dice {
	return &dice{rand.New(rand.NewPCG(seed, flow<<1|uint64(d)))}
}

func (d *dice) next() draw {
	return draw{d.r.Float64(), d.r.Float64(), d.r.Float64(), d.r.Float64(), d.r.Float64()}
}

// fate is what becomes of one datagram.
type fate struct {
	copies int
	// delay counts from when the line has taken it.
	delay time.Duration
	// overtaken says that those behind it need not wait for it.
	overtaken bool
}

func (r Rules) fate(d draw) fate {
	f := fate{copies: 1, delay: r.Delay + time.Duration(d.jitter*float64(r.Jitter))}
	if d.duplicate < r.Duplicate {
		f.copies = 2
	}
	if d.reorder < r.Reorder {
		f.overtaken = true
		f.delay += time.Duration(d.held * float64(heldBack))
	}
	if r.Blackhole || d.loss < r.Loss {
		f.copies = 0
	}
	return f
}

// Counts are what has happened in one direction.
type Counts struct {
	// Passed, Lost, Duplicated and Reordered count datagrams; Lost has those
	// that a throttled link had no room for and those in a black hole.
	Passed, Lost, Duplicated, Reordered int64
	// Bytes are those passed, of datagrams and of streams.
	Bytes int64
}

// Link is a proxy for one target. Its methods may be called by several
// goroutines.
type Link struct {
	target string
	seed   uint64
	udp    *net.UDPConn
	tcp    net.Listener
	lines  [2]*line
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	flows  atomic.Uint64

	mu      sync.Mutex
	clients map[string]*flow
	streams map[*net.TCPConn]struct{}
}

// Listen starts a link on an address, for UDP and TCP. With port 0 the kernel
// chooses one. Close must follow.
func Listen(address, target string, seed uint64) (*Link, error) {
	tcp, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	at := tcp.Addr().(*net.TCPAddr)
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: at.IP, Port: at.Port, Zone: at.Zone})
	if err != nil {
		return nil, fmt.Errorf("link: %w", errors.Join(err, tcp.Close()))
	}
	l := &Link{
		target: target, seed: seed, udp: udp, tcp: tcp,
		clients: make(map[string]*flow), streams: make(map[*net.TCPConn]struct{}),
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	for _, d := range Both {
		l.lines[d] = newLine()
		l.wg.Go(func() { l.lines[d].run(l.ctx) })
	}
	l.wg.Go(l.acceptDatagrams)
	l.wg.Go(l.acceptStreams)
	return l, nil
}

// Address is where clients connect to.
func (l *Link) Address() string { return l.tcp.Addr().String() }

// Set changes the rules of a direction. What is on its way stays on it.
func (l *Link) Set(d Direction, r Rules) { l.lines[d].set(r) }

// Counts returns what has happened in a direction.
func (l *Link) Counts(d Direction) Counts { return l.lines[d].counted() }

// Rebind gives every UDP client another source port towards the target, as a
// NAT does that has forgotten them. What the target sends to the old ports is
// lost.
func (l *Link) Rebind() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() != nil {
		return nil
	}
	for _, f := range l.clients {
		if err := l.connect(f); err != nil {
			return err
		}
	}
	return nil
}

// Reset ends every TCP connection with an RST, on both sides, and returns how
// many connections there were.
func (l *Link) Reset() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.streams {
		// The errors say that it is closed already.
		_ = c.SetLinger(0)
		_ = c.Close()
	}
	return len(l.streams) / 2
}

// Close ends the link and everything that passes through it.
func (l *Link) Close() error {
	l.cancel()
	err := errors.Join(l.tcp.Close(), l.udp.Close())
	l.mu.Lock()
	for _, f := range l.clients {
		_ = f.conn.Close()
	}
	for c := range l.streams {
		_ = c.Close()
	}
	l.mu.Unlock()
	l.wg.Wait()
	return err
}

// flow is one UDP client.
type flow struct {
	client *net.UDPAddr
	dice   [2]*dice
	// conn leads to the target. It is guarded by the link's mu.
	conn *net.UDPConn
}

// connect gives a flow a new port towards the target. l.mu is held.
func (l *Link) connect(f *flow) error {
	to, err := net.ResolveUDPAddr("udp", l.target)
	if err != nil {
		return fmt.Errorf("link: %w", err)
	}
	conn, err := net.DialUDP("udp", nil, to)
	if err != nil {
		return fmt.Errorf("link: %w", err)
	}
	if f.conn != nil {
		_ = f.conn.Close()
	}
	f.conn = conn
	l.wg.Go(func() { l.answers(f, conn) })
	return nil
}

func (l *Link) acceptDatagrams() {
	buffer := make([]byte, 64<<10)
	for {
		n, from, err := l.udp.ReadFromUDP(buffer)
		if err != nil {
			return // closed: reading from a socket that listens does not fail otherwise
		}
		f := l.flowOf(from)
		if f == nil {
			continue // no port to be had: lost
		}
		data := append([]byte(nil), buffer[:n]...)
		l.lines[Up].datagram(n, f.dice[Up], func() {
			l.mu.Lock()
			conn := f.conn
			l.mu.Unlock()
			// A target that is away loses it, like any network.
			_, _ = conn.Write(data)
		})
	}
}

func (l *Link) flowOf(from *net.UDPAddr) *flow {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.clients[from.String()]
	if f == nil && l.ctx.Err() == nil {
		number := l.flows.Add(1)
		f = &flow{client: from, dice: [2]*dice{newDice(l.seed, number, Up), newDice(l.seed, number, Down)}}
		if l.connect(f) != nil {
			return nil
		}
		l.clients[from.String()] = f
	}
	return f
}

// answers carries what the target says to a flow, until its port changes or it
// has been idle for long.
func (l *Link) answers(f *flow, conn *net.UDPConn) {
	buffer := make([]byte, 64<<10)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(idleFlow))
		n, err := conn.Read(buffer)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			l.mu.Lock()
			if f.conn == conn {
				delete(l.clients, f.client.String())
			}
			l.mu.Unlock()
			_ = conn.Close()
			return
		case err != nil:
			continue // nobody listens there at the moment
		}
		data := append([]byte(nil), buffer[:n]...)
		l.lines[Down].datagram(n, f.dice[Down], func() { _, _ = l.udp.WriteToUDP(data, f.client) })
	}
}

func (l *Link) acceptStreams() {
	for {
		client, err := l.tcp.Accept()
		if err != nil {
			if l.ctx.Err() != nil {
				return
			}
			continue
		}
		l.wg.Go(func() { l.carry(client.(*net.TCPConn), l.flows.Add(1)) })
	}
}

// carry is one TCP connection from its beginning to its end.
func (l *Link) carry(client *net.TCPConn, number uint64) {
	defer client.Close()
	// The connection comes about when its first packet could pass.
	if l.lines[Up].open(l.ctx) != nil {
		return
	}
	conn, err := (&net.Dialer{}).DialContext(l.ctx, "tcp", l.target)
	if err != nil {
		_ = client.SetLinger(0) // refused
		return
	}
	target := conn.(*net.TCPConn)
	defer target.Close()
	for d, from := range []*net.TCPConn{Up: client, Down: target} {
		// The kernel's own room is none of the way's.
		if l.lines[d].throttled() {
			_ = from.SetReadBuffer(narrowBuffer)
		}
	}
	l.mu.Lock()
	l.streams[client], l.streams[target] = struct{}{}, struct{}{}
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.streams, client)
		delete(l.streams, target)
	}()
	// Reading and writing end when the connections do. One that breaks on one
	// side breaks on the other.
	ctx, broken := context.WithCancel(l.ctx)
	defer broken()
	defer context.AfterFunc(ctx, func() {
		for _, c := range []*net.TCPConn{client, target} {
			_ = c.SetLinger(0)
			_ = c.Close()
		}
	})()
	var wg sync.WaitGroup
	for d, ends := range [2][2]*net.TCPConn{Up: {client, target}, Down: {target, client}} {
		wg.Go(func() {
			if !l.lines[d].stream(ctx, ends[0], ends[1], newDice(l.seed, number, Direction(d))) {
				broken()
			}
		})
	}
	wg.Wait()
}

// earliest orders what is on its way by when it is due, and what is due at once
// by when it came.
func earliest(a, b parcel) int {
	return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.number, b.number))
}
