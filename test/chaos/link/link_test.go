package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestSameSeedSameFate(t *testing.T) {
	bad := Rules{Loss: .3, Duplicate: .2, Reorder: .2, Delay: time.Millisecond, Jitter: time.Second}
	fates := func(seed, flow uint64, d Direction, rules func(n int) Rules) (list []fate) {
		dice := newDice(seed, flow, d)
		for n := range 1000 {
			list = append(list, rules(n).fate(dice.next()))
		}
		return list
	}
	always := func(int) Rules { return bad }
	want := fates(7, 1, Up, always)
	if !slices.Equal(want, fates(7, 1, Up, always)) {
		t.Error("the same seed, flow and direction have another fate")
	}
	for name, other := range map[string][]fate{
		"seed":      fates(8, 1, Up, always),
		"flow":      fates(7, 2, Up, always),
		"direction": fates(7, 1, Down, always),
	} {
		if slices.Equal(want, other) {
			t.Errorf("another %s has the same fate", name)
		}
	}
	later := fates(7, 1, Up, func(n int) Rules {
		if n < 500 {
			return Rules{Blackhole: n%2 == 0}
		}
		return bad
	})
	if !slices.Equal(want[500:], later[500:]) {
		t.Error("other rules before have shifted the draws behind them")
	}
	lost := 0
	for _, f := range want {
		if f.copies == 0 {
			lost++
		}
	}
	if lost < 200 || lost > 400 {
		t.Errorf("%d of 1000 were lost, by a rule of 30 %%", lost)
	}
}

// target is a UDP server that takes numbered datagrams down and says them back.
type target struct {
	conn *net.UDPConn

	mu       sync.Mutex
	numbers  []int
	sources  []string
	arrivals []time.Time
}

func newTarget(t *testing.T) *target {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s := &target{conn: conn}
	var wg sync.WaitGroup
	wg.Go(func() {
		buffer := make([]byte, 2000)
		for {
			n, from, err := conn.ReadFromUDP(buffer)
			if err != nil {
				return
			}
			s.mu.Lock()
			s.numbers = append(s.numbers, int(binary.BigEndian.Uint32(buffer)))
			s.sources = append(s.sources, from.String())
			s.arrivals = append(s.arrivals, time.Now())
			s.mu.Unlock()
			conn.WriteToUDP(buffer[:n], from)
		}
	})
	t.Cleanup(func() { conn.Close(); wg.Wait() })
	return s
}

// got waits until so many datagrams have come and returns their numbers.
func (s *target) got(t *testing.T, n int) []int {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		numbers := slices.Clone(s.numbers)
		s.mu.Unlock()
		if len(numbers) >= n {
			return numbers
		}
		if time.Now().After(end) {
			t.Fatalf("%d of %d datagrams came", len(numbers), n)
		}
	}
}

func newLink(t *testing.T, to string, seed uint64) *Link {
	t.Helper()
	l, err := Listen("127.0.0.1:0", to, seed)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func dial(t *testing.T, l *Link, network string) net.Conn {
	t.Helper()
	c, err := net.Dial(network, l.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// send sends datagrams with numbers, so slowly that no buffer overflows.
func send(t *testing.T, c net.Conn, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		data := make([]byte, 100)
		binary.BigEndian.PutUint32(data, uint32(n))
		if _, err := c.Write(data); err != nil {
			t.Fatal(err)
		}
		if n%20 == 19 {
			time.Sleep(time.Millisecond)
		}
	}
}

// TestDatagrams wants what comes out to be what the seed says.
func TestDatagrams(t *testing.T) {
	const count = 400
	for name, rules := range map[string]Rules{
		"perfect":   {},
		"loss":      {Loss: .3},
		"duplicate": {Duplicate: .3},
		"reorder":   {Reorder: .1, Delay: 5 * time.Millisecond},
		"jitter":    {Delay: 10 * time.Millisecond, Jitter: 30 * time.Millisecond},
		"all":       {Loss: .1, Duplicate: .1, Reorder: .1, Delay: 5 * time.Millisecond, Jitter: 5 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			const seed = 42
			var want []int
			dice := newDice(seed, 1, Up)
			for n := range count {
				for range rules.fate(dice.next()).copies {
					want = append(want, n)
				}
			}
			s := newTarget(t)
			l := newLink(t, s.conn.LocalAddr().String(), seed)
			l.Set(Up, rules)
			send(t, dial(t, l, "udp"), 0, count)
			got := s.got(t, len(want))
			if inOrder := slices.IsSorted(got); inOrder != (rules.Reorder == 0) {
				t.Errorf("in order: %v", inOrder)
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%d datagrams came, other ones than the %d of the seed", len(got), len(want))
			}
			c := l.Counts(Up)
			if c.Passed+c.Lost != count || c.Passed+c.Duplicated != int64(len(want)) {
				t.Errorf("counted %+v", c)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	s := newTarget(t)
	l := newLink(t, s.conn.LocalAddr().String(), 1)
	began := time.Now()
	for _, d := range Both {
		l.Set(d, Rules{Delay: 40 * time.Millisecond})
	}
	c := dial(t, l, "udp")
	for n := range 3 {
		send(t, c, n, n+1)
		data := make([]byte, 2000)
		if k, err := c.Read(data); err != nil || k != 100 || binary.BigEndian.Uint32(data) != uint32(n) {
			t.Fatalf("the answer to %d has %d bytes: %v", n, k, err)
		}
	}
	if took := time.Since(began); took < 240*time.Millisecond {
		t.Errorf("three times there and back took %s", took)
	}
}

func TestThrottle(t *testing.T) {
	s := newTarget(t)
	l := newLink(t, s.conn.LocalAddr().String(), 1)
	l.Set(Up, Rules{BytesPerSecond: 20_000})
	send(t, dial(t, l, "udp"), 0, 300) // 30 kB at once: 10 kB have room in the queue
	got := s.got(t, 100)
	s.mu.Lock()
	first, last := s.arrivals[0], s.arrivals[99]
	s.mu.Unlock()
	if took := last.Sub(first); took < 400*time.Millisecond {
		t.Errorf("10 kB at 20 kB/s took %s", took)
	}
	if c := l.Counts(Up); c.Lost == 0 || c.Passed+c.Lost != 300 {
		t.Errorf("counted %+v", c)
	}
	if !slices.IsSorted(got) {
		t.Error("they came in another order")
	}
}

func TestBlackhole(t *testing.T) {
	s := newTarget(t)
	l := newLink(t, s.conn.LocalAddr().String(), 1)
	c := dial(t, l, "udp")
	l.Set(Up, Rules{Blackhole: true})
	send(t, c, 0, 50)
	for l.Counts(Up).Lost < 50 {
		time.Sleep(time.Millisecond)
	}
	l.Set(Up, Rules{})
	send(t, c, 50, 60)
	if got := s.got(t, 10); got[0] != 50 || len(got) != 10 {
		t.Errorf("%v came", got)
	}
}

func TestRebind(t *testing.T) {
	s := newTarget(t)
	l := newLink(t, s.conn.LocalAddr().String(), 1)
	c := dial(t, l, "udp")
	for n := range 3 {
		send(t, c, n, n+1)
		if _, err := c.Read(make([]byte, 2000)); err != nil {
			t.Fatalf("answer %d: %v", n, err)
		}
		if err := l.Rebind(); err != nil {
			t.Fatal(err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.Sort(s.sources)
	if ports := slices.Compact(s.sources); len(ports) != 3 {
		t.Errorf("the target saw the client at %v", ports)
	}
}

// echo is a TCP server that says back what it hears. Its connections are handed
// over when they are made.
func echo(t *testing.T) (address string, conns chan net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conns = make(chan net.Conn, 10)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			conns <- c
			wg.Go(func() {
				defer c.Close()
				io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() { listener.Close(); wg.Wait() })
	return listener.Addr().String(), conns
}

func TestStreams(t *testing.T) {
	for name, rules := range map[string]Rules{
		"perfect": {},
		"bad":     {Loss: .2, Duplicate: .3, Reorder: .3, Delay: 2 * time.Millisecond, Jitter: 5 * time.Millisecond},
		"slow":    {BytesPerSecond: 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			address, _ := echo(t)
			l := newLink(t, address, 3)
			for _, d := range Both {
				l.Set(d, rules)
			}
			sent := make([]byte, 300_000)
			rand.NewChaCha8([32]byte{}).Read(sent)
			c := dial(t, l, "tcp")
			began := time.Now()
			wrote := make(chan error, 1)
			go func() {
				_, err := c.Write(sent)
				wrote <- errors.Join(err, c.(*net.TCPConn).CloseWrite())
			}()
			got, err := io.ReadAll(c)
			if err = errors.Join(err, <-wrote); err != nil || !bytes.Equal(got, sent) {
				t.Fatalf("%d of %d bytes came back, or others: %v", len(got), len(sent), err)
			}
			if least := 250 * time.Millisecond; rules.BytesPerSecond > 0 && time.Since(began) < least {
				t.Errorf("300 kB at 1 MiB/s came back within %s", least)
			}
		})
	}
}

func TestReset(t *testing.T) {
	address, conns := echo(t)
	l := newLink(t, address, 3)
	c := dial(t, l, "tcp")
	fmt.Fprint(c, "hello")
	if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	if n := l.Reset(); n != 1 {
		t.Errorf("%d connections were reset", n)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client sees %v", err)
	}
	(<-conns).Close()
	// A new one works.
	c = dial(t, l, "tcp")
	fmt.Fprint(c, "again")
	if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
		t.Error(err)
	}
}

func TestStreamInBlackhole(t *testing.T) {
	address, _ := echo(t)
	l := newLink(t, address, 3)
	l.Set(Up, Rules{Blackhole: true})
	c := dial(t, l, "tcp")
	fmt.Fprint(c, "hello")
	if err := c.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 5)); n > 0 {
		t.Fatalf("something came out of the hole: %v", err)
	}
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	l.Set(Up, Rules{})
	if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
		t.Error(err)
	}
}

func TestNobodyThere(t *testing.T) {
	l := newLink(t, "127.0.0.1:1", 3)
	c, err := net.Dial("tcp", l.Address())
	if err != nil {
		return // reset as soon as it was accepted
	}
	defer c.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a target that is not there said something")
	}
}
