//go:build e2e

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/test/aims"
)

// process is one run of a program. Its output goes to a file, to which further
// runs under the same name append. It is killed when the test ends.
type process struct {
	t       *testing.T
	name    string
	cmd     *exec.Cmd
	logFile string
	// done is closed when it has ended; err says how.
	done chan struct{}
	err  error
}

// start runs a program with exactly this environment.
func start(t *testing.T, name, dir string, env []string, path string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, logFile: logFile(t, name), done: make(chan struct{})}
	out, err := os.OpenFile(p.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p.cmd = exec.Command(path, args...)
	p.cmd.Dir, p.cmd.Env = dir, env
	p.cmd.Stdout, p.cmd.Stderr = out, out
	// The terminal's interrupt is the test's; the test ends its processes.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() { p.kill() })
	return p
}

// logFile names the file with the output of a program. Its end is shown when the
// test fails; all of it stays in _artifacts.
func logFile(t *testing.T, name string) string {
	file := filepath.Join(t.ArtifactDir(), name+".log")
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("the end of what the %s said:\n%s", name, tail(file, 60))
			}
		})
	}
	return file
}

func tail(file string, lines int) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	// The store's own chatter buries the rest.
	all = slices.DeleteFunc(all, func(line string) bool { return strings.Contains(line, `level=DEBUG msg="badger: `) })
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// kill ends it and all that it started with SIGKILL, and waits until they are
// gone.
func (p *process) kill() {
	family := append(descendants(p.pid()), p.pid())
	for _, pid := range family {
		// It may have ended.
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	<-p.done
	for _, pid := range family {
		waitGone(p.t, pid)
	}
}

// killAlone ends it alone with SIGKILL. What it started must see to itself, and
// be gone when the test ends.
func (p *process) killAlone() {
	p.t.Helper()
	if p.ended() {
		p.t.Fatalf("the %s was to be killed but has ended already: %v", p.name, p.err)
	}
	for _, pid := range descendants(p.pid()) {
		p.t.Cleanup(func() { waitGone(p.t, pid) })
	}
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	<-p.done
}

// stop asks it to end and wants it to do so without an error.
func (p *process) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatalf("stopping the %s: %v (%v)", p.name, err, p.err)
	}
	if err := p.wait(time.Minute); err != nil {
		p.t.Fatalf("stopping the %s: %v", p.name, err)
	}
}

// wait waits for its end and returns how it ended.
func (p *process) wait(limit time.Duration) error {
	p.t.Helper()
	select {
	case <-p.done:
		return p.err
	case <-time.After(limit):
		p.t.Fatalf("the %s has not ended within %s", p.name, limit)
		return nil
	}
}

// position is where its output ends now.
func (p *process) position() int64 {
	info, err := os.Stat(p.logFile)
	if err != nil {
		p.t.Fatal(err)
	}
	return info.Size()
}

// says waits until a line of its output behind a position has all the words, and
// returns it.
func (p *process) says(from int64, limit time.Duration, words ...string) string {
	p.t.Helper()
	var found string
	eventually(p.t, limit, fmt.Sprintf("the %s says %q", p.name, words), func() error {
		f, err := os.Open(p.logFile)
		if err != nil {
			return err
		}
		defer f.Close()
		data, err := io.ReadAll(io.NewSectionReader(f, from, 1<<30))
		if err != nil {
			return err
		}
	lines:
		for line := range strings.Lines(string(data)) {
			for _, w := range words {
				if !strings.Contains(line, w) {
					continue lines
				}
			}
			found = strings.TrimSpace(line)
			return nil
		}
		return errors.New("it did not")
	})
	return found
}

// eventually waits until check returns nil.
func eventually(t *testing.T, limit time.Duration, what string, check func() error) {
	t.Helper()
	const pause = 20 * time.Millisecond
	for end := time.Now().Add(limit); ; time.Sleep(pause) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited %s in vain: %s: %v", limit, what, err)
		}
	}
}

// stat returns what /proc says of a process: its state and its parent.
func stat(pid int) (state byte, parent int, ok bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, false
	}
	// The name in parentheses may have anything in it.
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 2 {
		return 0, 0, false
	}
	parent, err = strconv.Atoi(fields[1])
	return fields[0][0], parent, err == nil
}

// descendants returns the processes below one.
func descendants(root int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	children := make(map[int][]int)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if state, parent, ok := stat(pid); ok && state != 'Z' {
			children[parent] = append(children[parent], pid)
		}
	}
	var all []int
	for next := children[root]; len(next) > 0; {
		pid := next[0]
		all = append(all, pid)
		next = append(next[1:], children[pid]...)
	}
	return all
}

func waitGone(t *testing.T, pid int) {
	t.Helper()
	eventually(t, time.Minute, fmt.Sprintf("process %d is gone", pid), func() error {
		if state, _, ok := stat(pid); ok && state != 'Z' {
			return fmt.Errorf("it is there, in state %c", state)
		}
		return nil
	})
}

// missed takes note of a figure that is short of its aim, which is no failure.
func missed(t *testing.T, what string, got, aim any) {
	t.Helper()
	if err := aims.Missed(t.Logf, what, got, aim); err != nil {
		t.Error(err)
	}
}

// claim keeps a port to this process until the test ends, also while nothing listens
// on it: the tests of a cloud run in a process of their own beside the others. Their
// word for it is a socket that has a name and no file.
func claim(t *testing.T, port int) bool {
	t.Helper()
	l, err := net.Listen("unix", fmt.Sprintf("@reeve-e2e-port-%d", port))
	if err != nil {
		return false
	}
	t.Cleanup(func() { _ = l.Close() }) // there is nothing to lose
	return true
}

// freePorts returns ports of the loopback that are free for TCP and UDP. They
// lie below those that the kernel gives to whoever wants any, so they stay free
// while a program is away.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	for range 1000 {
		port := 20000 + rand.IntN(10000)
		if !claim(t, port) {
			continue
		}
		address := fmt.Sprintf("127.0.0.1:%d", port)
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		u, err := net.ListenPacket("udp", address)
		if err == nil {
			ports = append(ports, port)
			err = u.Close()
		}
		if err = errors.Join(err, l.Close()); err == nil && len(ports) == n {
			return ports
		}
	}
	t.Fatal("found no free ports")
	return nil
}
