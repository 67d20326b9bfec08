package embedded

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// startPatience is how long a started engine may take until it answers;
	// loading many parts takes a while.
	startPatience = 2 * time.Minute
	// processPatience is how long DialContext waits for an engine that is being started again.
	processPatience = time.Minute
	// stopPatience is how long an engine may take to stop when asked to.
	stopPatience = 45 * time.Second

	// A running engine is asked each probeEvery whether it answers. One that does not
	// within hungAfter hangs, and is killed.
	probeEvery = 10 * time.Second
	hungAfter  = time.Minute

	minRestartDelay = 50 * time.Millisecond
	maxRestartDelay = 5 * time.Second
	// steadyAfter is the age at which a process counts as healthy, so that the
	// next restart is quick again.
	steadyAfter = 30 * time.Second

	// maxSocketPath is the longest path a unix socket can have everywhere.
	maxSocketPath = 103
)

// ErrParentGone is the error of [Serve] when the process that started this one
// has died. The caller should exit at once: the engine is still open and holds
// the storage, and what it has acknowledged is on disk.
var ErrParentGone = errors.New("the process that started the engine is gone")

// ErrStuck is the error of [Serve] when a statement that may only read, and was killed,
// does not end. The caller should exit at once, as with [ErrParentGone].
var ErrStuck = errors.New("a statement does not end though it was killed: giving the engine up")

// Serve opens the engine and serves its HTTP interface on the unix socket,
// which it makes (in place of a stale one) once it holds the storage. When ctx
// ends it closes the engine and returns nil. When parent, normally the
// standard input, yields EOF it returns [ErrParentGone] at once, with the
// engine left as it is; nil is never EOF. It reads parent until the process
// ends.
func Serve(ctx context.Context, o Options, socket string, parent io.Reader) error {
	gone := make(chan struct{})
	if parent != nil {
		go func() { // ends with the parent or this process
			_, _ = io.Copy(io.Discard, parent)
			close(gone)
		}()
	}
	// The engine's calls cannot be interrupted, so they run beside the watch
	// over the parent; when it is gone, the process is about to end.
	served := make(chan error, 1)
	go func() { served <- serve(ctx, o, socket) }()
	select {
	case err := <-served:
		return err
	case <-gone:
		return ErrParentGone
	}
}

func serve(ctx context.Context, o Options, socket string) error {
	e, err := Open(ctx, o)
	if err != nil {
		return err
	}
	listener, err := listen(socket)
	if err != nil {
		return errors.Join(err, e.Close())
	}
	server := newServer(e)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case <-ctx.Done():
		// Closing the engine first lets the handlers answer that they were killed.
		err = e.Close()
		_ = server.Close() // removes the socket
		<-failed
		return err
	case <-e.stuck:
		return ErrStuck // closing would wait for the statement
	case err := <-failed:
		return errors.Join(fmt.Errorf("serve engine socket: %w", err), e.Close())
	}
}

// listen makes the socket, in place of a stale one: no one else serves on it,
// as this process holds the storage.
func listen(socket string) (net.Listener, error) {
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove stale engine socket: %w", err)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("listen on engine socket: %w", err)
	}
	return listener, nil
}

// arguments are what [Process] appends to its command; [ParseArguments] reads them.
func arguments(o Options, socket string) []string {
	return []string{
		"--dir", o.Dir, "--socket", socket, "--library", o.Library, "--config", o.Config,
		"--memory", strconv.FormatInt(o.MemoryLimit, 10),
	}
}

// ParseArguments reads the arguments that [Process] appends to its command
// into what [Serve] takes. The options' Logger is left to the caller.
func ParseArguments(args []string) (o Options, socket string, err error) {
	flags := flag.NewFlagSet("engine", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&o.Dir, "dir", "", "storage directory")
	flags.StringVar(&socket, "socket", "", "path of the unix socket to serve on")
	flags.StringVar(&o.Library, "library", "", "path of libchdb.so")
	flags.StringVar(&o.Config, "config", "", "path of the engine's configuration")
	flags.Int64Var(&o.MemoryLimit, "memory", 0, "bytes the engine may use")
	if err := flags.Parse(args); err != nil {
		return Options{}, "", fmt.Errorf("engine arguments: %w", err)
	}
	switch {
	case flags.NArg() > 0:
		return Options{}, "", fmt.Errorf("engine arguments: %q is none", flags.Arg(0))
	case o.Dir == "":
		return Options{}, "", errors.New("engine arguments: --dir is missing")
	case socket == "":
		return Options{}, "", errors.New("engine arguments: --socket is missing")
	}
	return o, socket, nil
}

// Process is an engine in a process of its own, which is started again
// whenever it dies, and killed when it hangs. Its methods may be called by several goroutines.
type Process struct {
	options Options
	command []string
	timing  timing
	log     *slog.Logger
	socket  string
	tempDir string // of the socket, removed by Close; empty when the socket lies in the storage

	stopping chan struct{} // closed by Close
	stopOnce sync.Once
	done     chan struct{} // closed when the supervisor has ended
	stopErr  error         // set before done is closed

	mu    sync.Mutex
	ready chan struct{} // closed while the engine answers
	pid   int           // 0 while none runs
}

// Start runs command with arguments for [ParseArguments] appended and waits
// until the engine answers. Should that first process end before, or ctx, Start
// fails with what it said. Afterwards ctx is of no effect, and the process runs
// until [Process.Close]: when it dies it is started again, at once at first,
// with growing delays when it keeps dying.
//
// The command's standard input is a pipe that this process holds open and
// never writes to; what it writes to standard error is logged.
func Start(ctx context.Context, o Options, command []string) (*Process, error) {
	return start(ctx, o, command, timing{maxRestartDelay, probeEvery, hungAfter})
}

// timing is how long a process waits.
type timing struct {
	maxDelay              time.Duration // between restarts
	probeEvery, hungAfter time.Duration
}

func start(ctx context.Context, o Options, command []string, t timing) (*Process, error) {
	o, err := o.resolve()
	if err != nil {
		return nil, err
	}
	if len(command) == 0 {
		return nil, errors.New("start engine: no command given")
	}
	p := &Process{
		options:  o,
		command:  command,
		timing:   t,
		log:      o.Logger,
		stopping: make(chan struct{}),
		done:     make(chan struct{}),
		ready:    make(chan struct{}),
	}
	if err := p.placeSocket(); err != nil {
		return nil, fmt.Errorf("start engine: %w", err)
	}
	first, err := p.launch(ctx)
	if err != nil {
		p.removeSocket()
		return nil, fmt.Errorf("start engine: %w", err)
	}
	p.setReady(first.pid())
	go p.supervise(first) // ends with Close, which waits for it
	return p, nil
}

// placeSocket chooses where the socket lies: in a directory of the storage, or
// a temporary one when that path is too long for a socket.
func (p *Process) placeSocket() error {
	dir := filepath.Join(p.options.Dir, "run")
	if len(filepath.Join(dir, "engine.sock")) > maxSocketPath {
		base := os.Getenv("XDG_RUNTIME_DIR")
		if base == "" || len(base) > maxSocketPath/2 {
			base = "/tmp"
		}
		var err error
		if dir, err = os.MkdirTemp(base, "reeve-engine-"); err != nil {
			return fmt.Errorf("make directory for the engine's socket: %w", err)
		}
		p.tempDir = dir
	} else {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make directory for the engine's socket: %w", err)
		}
		if err := os.Chmod(dir, 0o700); err != nil {
			return fmt.Errorf("close directory of the engine's socket to others: %w", err)
		}
	}
	p.socket = filepath.Join(dir, "engine.sock")
	return nil
}

func (p *Process) removeSocket() {
	if p.tempDir != "" {
		_ = os.RemoveAll(p.tempDir)
	}
}

// DialContext connects to the engine's HTTP interface. While the engine is
// being started again it waits, up to a minute or until ctx ends.
func (p *Process) DialContext(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, processPatience,
		fmt.Errorf("engine process did not come back within %s", processPatience))
	defer cancel()
	for {
		p.mu.Lock()
		ready := p.ready
		p.mu.Unlock()
		select {
		case <-ready:
		case <-p.stopping:
			return nil, fmt.Errorf("dial engine process: %w", ErrClosed)
		case <-ctx.Done():
			return nil, fmt.Errorf("dial engine process: %w", context.Cause(ctx))
		}
		conn, err := new(net.Dialer).DialContext(ctx, "unix", p.socket)
		if err == nil {
			return conn, nil
		}
		// It has just died; the supervisor is about to notice.
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("dial engine process: %w", errors.Join(context.Cause(ctx), err))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// PID gives the process number of the engine, 0 while none answers.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid
}

// Close stops the engine and waits for its end; it asks first, and kills the
// process after 45 seconds, which is the error then. Further calls give the
// same.
func (p *Process) Close() error {
	p.stopOnce.Do(func() { close(p.stopping) })
	<-p.done
	return p.stopErr
}

func (p *Process) setReady(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pid = pid
	close(p.ready)
}

func (p *Process) setDown() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pid = 0
	p.ready = make(chan struct{})
}

// supervise watches over the running child and its successors.
func (p *Process) supervise(c *child) {
	defer close(p.done)
	defer p.removeSocket()
	delay := minRestartDelay
	started := time.Now()
	for {
		if c != nil {
			if !p.watch(c) {
				p.stopErr = c.stop()
				return
			}
			p.setDown()
			if time.Since(started) > steadyAfter {
				delay = minRestartDelay
			}
			p.log.Error("engine process died, starting it again", "pid", c.pid(), "cause", c.cause(), "after",
				time.Since(started).Round(time.Millisecond), "delay", delay)
		}
		select {
		case <-p.stopping:
			return
		case <-time.After(delay):
		}
		delay = min(2*delay, p.timing.maxDelay)
		var err error
		started = time.Now()
		if c, err = p.launch(context.Background()); err != nil {
			if errors.Is(err, ErrClosed) {
				return
			}
			p.log.Error("engine process did not start, trying again", "error", err, "delay", delay)
			continue
		}
		p.log.Info("engine process answers again", "pid", c.pid(), "took", time.Since(started).Round(time.Millisecond))
		p.setReady(c.pid())
	}
}

// watch waits until a child has ended, and reports whether it did before Close. It
// kills one that hangs: whatever waits for an answer of it fails, and is repeated.
func (p *Process) watch(c *child) (ended bool) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var probing sync.WaitGroup
	defer probing.Wait()
	defer cancel()
	probing.Go(func() { p.probe(ctx, c) })
	select {
	case <-c.exited:
		return true
	case <-p.stopping:
		return false
	}
}

// probe asks a child now and then whether it answers, until ctx ends, and kills it if
// it does not.
func (p *Process) probe(ctx context.Context, c *child) {
	for {
		select {
		case <-time.After(p.timing.probeEvery):
		case <-ctx.Done():
			return
		}
		began := time.Now()
		for !p.asked(ctx, alivePath, c.pid(), p.timing.hungAfter) {
			if ctx.Err() != nil {
				return
			}
			if time.Since(began) >= p.timing.hungAfter {
				p.log.Error("engine process does not answer, killing it", "pid", c.pid(), "silent_for", time.Since(began).Round(time.Second))
				_ = c.cmd.Process.Kill() // fails when it has ended
				return
			}
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
				return
			}
		}
	}
}

// launch starts a child and waits until it answers. When it does not, it is
// stopped.
func (p *Process) launch(ctx context.Context) (*child, error) {
	c, err := startChild(p.command, arguments(p.options, p.socket), p.log)
	if err != nil {
		return nil, err
	}
	patience := time.After(startPatience)
	for {
		if p.answers(ctx, c.pid()) {
			return c, nil
		}
		select {
		case <-c.exited:
			return nil, fmt.Errorf("the process ended before it answered: %s", c.cause())
		case <-time.After(10 * time.Millisecond):
			continue
		case <-p.stopping:
			err = ErrClosed
		case <-ctx.Done():
			err = fmt.Errorf("wait for the engine to answer: %w", context.Cause(ctx))
		case <-patience:
			err = fmt.Errorf("the engine did not answer within %s", startPatience)
		}
		_ = c.stop()
		return nil, err
	}
}

// answers tells whether the engine of the given process answers; another
// process may hold the storage, and the socket with it.
func (p *Process) answers(ctx context.Context, pid int) bool {
	return p.asked(ctx, "/ping", pid, time.Second)
}

// asked tells whether the engine of the given process answers a path within a time.
func (p *Process) asked(ctx context.Context, path string, pid int, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", p.socket)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine"+path, nil)
	if err != nil {
		return false
	}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK && response.Header.Get(pidHeader) == strconv.Itoa(pid)
}

// child is one run of the engine's process.
type child struct {
	cmd    *exec.Cmd
	stdin  io.Closer // closing it tells the child that its parent is gone
	stderr *lineLogger
	exited chan struct{}
	err    error // of the exit, set before exited is closed
}

func startChild(command, arguments []string, log *slog.Logger) (*child, error) {
	c := &child{stderr: &lineLogger{}, exited: make(chan struct{})}
	c.cmd = exec.Command(command[0], append(command[1:len(command):len(command)], arguments...)...)
	c.cmd.Stderr = c.stderr
	c.cmd.WaitDelay = time.Second // for a stderr that something else holds open
	c.cmd.Env = childEnvironment(os.Environ())
	// An interrupt from the terminal is for this process; the child is stopped in its turn.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe to engine process: %w", err)
	}
	c.stdin = stdin
	if err := c.cmd.Start(); err != nil {
		_ = stdin.Close()
		return nil, fmt.Errorf("start engine process: %w", err)
	}
	c.stderr.setLogger(log.With("pid", c.pid()))
	go func() { // ends with the child; stop and supervise wait for exited
		c.err = c.cmd.Wait()
		close(c.exited)
	}()
	return c, nil
}

// childEnvironment makes the engine's allocator give unused memory back within
// half a second in place of five, unless the operator has set it otherwise:
// until then it counts against the machine but not against the memory limit.
func childEnvironment(environ []string) []string {
	const name = "JE_MALLOC_CONF="
	for _, variable := range environ {
		if strings.HasPrefix(variable, name) {
			return environ
		}
	}
	return append(environ, name+"dirty_decay_ms:500,muzzy_decay_ms:0")
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// cause says how the child ended; call it after exited is closed.
func (c *child) cause() string {
	cause := "exit status 0"
	if c.err != nil {
		cause = c.err.Error()
	}
	if last := c.stderr.last(); last != "" {
		cause += ": " + last
	}
	return cause
}

// stop asks the child to end, kills it when it does not, and waits for its end.
func (c *child) stop() error {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // fails when it has ended already
	select {
	case <-c.exited:
		return nil
	case <-time.After(stopPatience):
	}
	_ = c.cmd.Process.Kill()
	<-c.exited
	return fmt.Errorf("engine process %d did not stop within %s and was killed", c.pid(), stopPatience)
}

// lineLogger logs what is written to it line by line and remembers the end.
type lineLogger struct {
	mu      sync.Mutex
	log     *slog.Logger
	partial []byte
	recent  []string
}

const (
	maxLine        = 4096
	maxRecentLines = 5
)

func (l *lineLogger) setLogger(log *slog.Logger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.log = log
}

// Write implements io.Writer.
func (l *lineLogger) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partial = append(l.partial, b...)
	for {
		line, rest, found := strings.Cut(string(l.partial), "\n")
		if !found && len(l.partial) < maxLine {
			return len(b), nil
		}
		l.partial = []byte(rest)
		line = strings.TrimSpace(line[:min(len(line), maxLine)])
		if line == "" {
			continue
		}
		if l.log != nil {
			l.log.Warn("engine process says", "line", line)
		}
		l.recent = append(l.recent, line)
		if len(l.recent) > maxRecentLines {
			l.recent = l.recent[1:]
		}
	}
}

func (l *lineLogger) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := l.recent
	if rest := strings.TrimSpace(string(l.partial)); rest != "" {
		lines = append(slices.Clip(lines), rest)
	}
	return strings.Join(lines, " | ")
}
