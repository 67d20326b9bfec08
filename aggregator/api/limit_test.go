package api

import (
	"errors"
	"net"
	"testing"
)

// TestLimitedListener has one place, which a connection holds until it is closed or
// leaves it.
func TestLimitedListener(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limit(inner, 1)
	accepted := make(chan net.Conn)
	ended := make(chan error, 1)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- conn
		}
	}()
	for range 4 {
		conn, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	first := <-accepted
	if n := len(l.places); n != 1 {
		t.Errorf("%d places are taken", n)
	}
	first.(*limitedConn).leave()
	second := <-accepted
	// It has left already.
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	select {
	case <-accepted:
		t.Error("there was one place for two")
	default:
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	(<-accepted).Close()
	(<-accepted).Close()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}
