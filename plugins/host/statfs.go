package host

import (
	"context"
	"errors"
	"math"
	"math/bits"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// statfsLimit is how long a filesystem may take to say how full it is.
const statfsLimit = 2 * time.Second

// errUnresponsive means that a filesystem did not answer in time: most often an
// NFS server that is gone.
var errUnresponsive = errors.New("the filesystem does not answer")

// fsUsage is what statfs(2) says. All of it is volatile: even the total number
// of inodes, and on ZFS or NFS the total size, move with what is free.
type fsUsage struct {
	Total     uint64  `json:"total"`
	Used      uint64  `json:"used"`
	Free      uint64  `json:"free"`
	Available uint64  `json:"available"`
	Inodes    *inodes `json:"inodes,omitempty"`
}

type inodes struct {
	Total uint64 `json:"total"`
	Used  uint64 `json:"used"`
	Free  uint64 `json:"free"`
}

// prober asks filesystems how full they are. A call into a dead filesystem
// cannot be broken off, so its goroutine stays behind; the prober keeps account
// of it and starts no second one for the same mount point until it came back.
type prober struct {
	statfs func(path string) (probeResult, error)
	limit  time.Duration

	mu      sync.Mutex
	pending map[string]*probe
}

// probe is one call under way, or its result once done is closed.
type probe struct {
	done   chan struct{}
	result probeResult
	err    error
}

type probeResult struct {
	usage  fsUsage
	number string // "major:minor" of what is at the path
	isDir  bool
}

func newProber() *prober {
	return &prober{statfs: statfs, limit: statfsLimit, pending: map[string]*probe{}}
}

// start begins to ask, or finds the call that hangs since an earlier sweep.
func (p *prober) start(path string) (call *probe, hung bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if call, ok := p.pending[path]; ok {
		return call, true
	}
	call = &probe{done: make(chan struct{})}
	p.pending[path] = call
	go func() {
		call.result, call.err = p.statfs(path)
		p.mu.Lock()
		delete(p.pending, path)
		p.mu.Unlock()
		close(call.done)
	}()
	return call, false
}

// stuck counts the calls that have not come back.
func (p *prober) stuck() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.pending)
}

// answer is a filesystem's answer, or why there is none.
type answer struct {
	probeResult
	err error
}

// ask asks all filesystems at once and waits for them until the limit.
func (p *prober) ask(ctx context.Context, paths []string) ([]answer, error) {
	calls := make([]*probe, len(paths))
	hung := make([]bool, len(paths))
	for i, path := range paths {
		calls[i], hung[i] = p.start(path)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, p.limit, errUnresponsive)
	defer cancel()
	answers := make([]answer, len(paths))
	for i, call := range calls {
		wait := ctx.Done()
		if hung[i] {
			wait = closed // it had its time in an earlier sweep
		}
		// An answer that is there counts, even when time is up.
		select {
		case <-call.done:
			answers[i] = answer{call.result, call.err}
			continue
		default:
		}
		select {
		case <-call.done:
			answers[i] = answer{call.result, call.err}
		case <-wait:
			answers[i].err = errUnresponsive
		}
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, errUnresponsive) {
		return nil, cause
	}
	return answers, nil
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// statfs asks one filesystem. It blocks for as long as that likes.
func statfs(path string) (probeResult, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return probeResult{}, err
	}
	var sfs unix.Statfs_t
	if err := unix.Statfs(path, &sfs); err != nil {
		return probeResult{}, err
	}
	size := uint64(sfs.Frsize)
	if size == 0 {
		size = uint64(sfs.Bsize)
	}
	return probeResult{
		usage:  usageOf(&sfs, size),
		number: deviceNumber(uint64(st.Dev)),
		isDir:  st.Mode&unix.S_IFMT == unix.S_IFDIR,
	}, nil
}

// usageOf makes numbers of what a filesystem said. Some say less than nothing is
// free (what is reserved counts as used), or more than fits into a number.
func usageOf(sfs *unix.Statfs_t, blockSize uint64) fsUsage {
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
	u := fsUsage{Total: size(total), Used: size(total - min(total, free)), Free: size(free), Available: size(count(sfs.Bavail))}
	if files := count(sfs.Files); files > 0 {
		free := count(sfs.Ffree)
		u.Inodes = &inodes{Total: files, Used: files - min(files, free), Free: free}
	}
	return u
}
