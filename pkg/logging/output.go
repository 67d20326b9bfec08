package logging

import (
	"io"
	"log/slog"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// maxWaiting is how many bytes of lines may wait for whoever reads them.
	maxWaiting = 1 << 20
	// lastWords is how long Close waits for what waits to be written.
	lastWords = 2 * time.Second
)

// Open returns a logger that writes to w, one line an event, and the output between
// the two, which must be closed: logging never waits for w. From then on the process
// survives that the reader of its output goes away.
func Open(w io.Writer, o Options) (*slog.Logger, *Output, error) {
	direct, err := New(w, o)
	if err != nil {
		return nil, nil, err
	}
	out := &Output{w: w, direct: direct, wake: make(chan struct{}, 1), done: make(chan struct{})}
	logger, err := New(out, o)
	if err != nil {
		return nil, nil, err
	}
	// A program that writes its log into a pipe without a reader would otherwise die
	// of it, which a supervisor takes for an end in order.
	signal.Ignore(syscall.SIGPIPE)
	go out.run()
	return logger, out, nil
}

// Output hands lines on to a writer that may be slow, or gone. What finds no room
// meanwhile is dropped and counted; the log says so once it is read again.
type Output struct {
	w io.Writer
	// direct writes to w, as part of run.
	direct *slog.Logger
	wake   chan struct{}
	done   chan struct{}

	mu      sync.Mutex
	lines   [][]byte
	bytes   int
	dropped uint64
	closed  bool
}

// dropped counts for all outputs.
var dropped atomic.Uint64

// Dropped is how many lines of its log this process has dropped.
func Dropped() uint64 { return dropped.Load() }

// drop counts a line. o.mu is held.
func (o *Output) drop() {
	o.dropped++
	dropped.Add(1)
}

// Write takes a line. It never waits, and never fails.
func (o *Output) Write(line []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.bytes+len(line) > maxWaiting {
		o.drop()
		return len(line), nil
	}
	o.lines = append(o.lines, append([]byte(nil), line...))
	o.bytes += len(line)
	select {
	case o.wake <- struct{}{}:
	default:
	}
	return len(line), nil
}

// Dropped is how many lines this output has dropped.
func (o *Output) Dropped() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.dropped
}

// Close writes what waits, for at most two seconds. Lines that come later are dropped.
func (o *Output) Close() {
	o.mu.Lock()
	if !o.closed {
		o.closed = true
		close(o.wake)
	}
	o.mu.Unlock()
	select {
	case <-o.done:
	case <-time.After(lastWords):
	}
}

func (o *Output) run() {
	defer close(o.done)
	told := uint64(0)
	for range o.wake {
		for {
			o.mu.Lock()
			if len(o.lines) == 0 {
				o.mu.Unlock()
				break
			}
			line := o.lines[0]
			o.lines = o.lines[1:]
			o.mu.Unlock()
			_, err := o.w.Write(line)
			o.mu.Lock()
			o.bytes -= len(line)
			if err != nil {
				o.drop()
			}
			lost := o.dropped - told
			o.mu.Unlock()
			if err == nil && lost > 0 {
				o.direct.Warn("lines of this log were dropped: whoever reads it was too slow, or gone", "lines", lost)
				told += lost
			}
		}
	}
}
