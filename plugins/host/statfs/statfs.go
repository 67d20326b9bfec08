// Package statfs asks filesystems how full they are, none of which can hold up others.
package statfs

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// statfsLimit is how long a filesystem may take to say how full it is.
const statfsLimit = 2 * time.Second

// ErrUnresponsive means that a filesystem did not answer in time: most often an
// NFS server that is gone.
var ErrUnresponsive = errors.New("the filesystem does not answer")

// Usage is what statfs(2) says. All of it is volatile: even the total number
// of inodes, and on ZFS or NFS the total size, move with what is free.
type Usage struct {
	Total     uint64  `json:"total"`
	Used      uint64  `json:"used"`
	Free      uint64  `json:"free"`
	Available uint64  `json:"available"`
	Inodes    *Inodes `json:"inodes,omitempty"`
}

// Inodes are the numbers of its files.
type Inodes struct {
	Total uint64 `json:"total"`
	Used  uint64 `json:"used"`
	Free  uint64 `json:"free"`
}

// Prober asks filesystems how full they are. A call into a dead filesystem
// cannot be broken off, so its goroutine stays behind; the prober keeps account
// of it and starts no second one for the same mount point until it came back.
type Prober struct {
	// Statfs asks one, for as long as that likes, and Limit is how long all are waited for.
	Statfs func(path string) (Result, error)
	Limit  time.Duration

	mu      sync.Mutex
	pending map[string]*probe
}

// probe is one call under way, or its result once done is closed.
type probe struct {
	done   chan struct{}
	result Result
	err    error
}

// Result is what a filesystem says.
type Result struct {
	Usage  Usage
	Number string // "major:minor" of what is at the path
	IsDir  bool
}

// NewProber returns one that has asked nothing yet.
func NewProber() *Prober {
	return &Prober{Statfs: statfs, Limit: statfsLimit, pending: map[string]*probe{}}
}

// start begins to ask, or finds the call that hangs since an earlier sweep.
func (p *Prober) start(path string) (call *probe, hung bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if call, ok := p.pending[path]; ok {
		return call, true
	}
	call = &probe{done: make(chan struct{})}
	p.pending[path] = call
	go func() {
		call.result, call.err = p.Statfs(path)
		p.mu.Lock()
		delete(p.pending, path)
		p.mu.Unlock()
		close(call.done)
	}()
	return call, false
}

// Stuck counts the calls that have not come back.
func (p *Prober) Stuck() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.pending)
}

// Answer is a filesystem's answer, or why there is none.
type Answer struct {
	Result
	Err error
}

// Ask asks all filesystems at once and waits for them until the limit.
func (p *Prober) Ask(ctx context.Context, paths []string) ([]Answer, error) {
	calls := make([]*probe, len(paths))
	hung := make([]bool, len(paths))
	for i, path := range paths {
		calls[i], hung[i] = p.start(path)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, p.Limit, ErrUnresponsive)
	defer cancel()
	answers := make([]Answer, len(paths))
	for i, call := range calls {
		wait := ctx.Done()
		if hung[i] {
			wait = closed // it had its time in an earlier sweep
		}
		// An answer that is there counts, even when time is up.
		select {
		case <-call.done:
			answers[i] = Answer{call.result, call.err}
			continue
		default:
		}
		select {
		case <-call.done:
			answers[i] = Answer{call.result, call.err}
		case <-wait:
			answers[i].Err = ErrUnresponsive
		}
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, ErrUnresponsive) {
		return nil, cause
	}
	return answers, nil
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// statfs asks one filesystem. It blocks for as long as that likes.
func statfs(path string) (Result, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return Result{}, err
	}
	var sfs unix.Statfs_t
	if err := unix.Statfs(path, &sfs); err != nil {
		return Result{}, err
	}
	size := uint64(sfs.Frsize)
	if size == 0 {
		size = uint64(sfs.Bsize)
	}
	return Result{
		Usage:  usageOf(&sfs, size),
		Number: deviceNumber(uint64(st.Dev)),
		IsDir:  st.Mode&unix.S_IFMT == unix.S_IFDIR,
	}, nil
}

// usageOf makes numbers of what a filesystem said. Some say less than nothing is
// free (what is reserved counts as used), or more than fits into a number.
func usageOf(sfs *unix.Statfs_t, blockSize uint64) Usage {
	count := func(n uint64) uint64 {
		if int64(n) < 0 {
			return 0
		}
		return n
	}
	size := func(blocks uint64) uint64 {
		over, bytes := bits.Mul64(blocks, blockSize)
		if over > 0 {
			return math.MaxUint64
		}
		return bytes
	}
	total, free := count(sfs.Blocks), count(sfs.Bfree)
	u := Usage{Total: size(total), Used: size(total - min(total, free)), Free: size(free), Available: size(count(sfs.Bavail))}
	if files := count(sfs.Files); files > 0 {
		free := count(sfs.Ffree)
		u.Inodes = &Inodes{Total: files, Used: files - min(files, free), Free: free}
	}
	return u
}

func deviceNumber(dev uint64) string {
	return fmt.Sprintf("%d:%d", unix.Major(dev), unix.Minor(dev))
}
