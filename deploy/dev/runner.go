package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stopPatience is how long a program may take to stop when asked to.
const stopPatience = time.Minute

// runner runs the programs. The end of one ends everything.
type runner struct {
	terminal *terminal
	bin      string // where the programs are
	stop     context.CancelCauseFunc

	mu      sync.Mutex
	running []*process // in the order of their start
}

type process struct {
	name  string
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has
	how   string        // it ended; empty: well
}

func (r *runner) program(name string) string { return filepath.Join(r.bin, name) }

// start starts a program that is to run until the end.
func (r *runner) start(name string, env []string, args ...string) error {
	cmd := exec.Command(r.program("reeve-"+name), args...)
	cmd.Env = env
	// In a process group of its own, so that Ctrl-C reaches only this process,
	// which then stops the programs in their order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, stderr := r.terminal.lines(name), r.terminal.lines(name)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	// What a program leaves running does not hold up its end.
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("the %s cannot be started: %w", name, err)
	}
	p := &process{name: name, cmd: cmd, ended: make(chan struct{})}
	r.mu.Lock()
	r.running = append(r.running, p)
	r.mu.Unlock()
	go func() { // ends with the program, which stopAll waits for
		err := cmd.Wait()
		stdout.flush()
		stderr.flush()
		p.how = howEnded(cmd.ProcessState, err)
		how := p.how
		if how == "" {
			how = "ended with exit status 0"
		}
		r.stop(fmt.Errorf("the %s %s; what it said is above", name, how))
		close(p.ended)
	}()
	return nil
}

// howEnded says how a program ended, nothing if that was well.
func howEnded(state *os.ProcessState, err error) string {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return "was ended by " + unix.SignalName(status.Signal())
	}
	if code := state.ExitCode(); code != 0 {
		return fmt.Sprintf("ended with exit status %d", code)
	}
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return fmt.Sprintf("ended: %v", err)
	}
	return ""
}

// call runs a program to its end and returns what it printed.
func (r *runner) call(ctx context.Context, name string, env []string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, r.program(name), args...)
	var stdout, stderr bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		said := strings.TrimSpace(stderr.String())
		if said == "" {
			said = err.Error()
		}
		return "", fmt.Errorf("%s %s failed:\n%s", name, strings.Join(args, " "), said)
	}
	return stdout.String(), nil
}

// stopAll stops the programs, the last started first.
func (r *runner) stopAll() error {
	var failed error
	for _, p := range slices.Backward(r.processes()) {
		select {
		case <-p.ended:
			continue // main has the reason
		default:
		}
		r.terminal.say("stopping the " + p.name)
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended just now
		patience := time.AfterFunc(stopPatience, func() {
			r.terminal.say("the " + p.name + " does not stop; killing it")
			_ = p.cmd.Process.Kill()
		})
		<-p.ended
		patience.Stop()
		if p.how != "" && failed == nil {
			failed = fmt.Errorf("the %s %s when it was stopped", p.name, p.how)
		}
	}
	return failed
}

func (r *runner) killAll() {
	for _, p := range r.processes() {
		_ = p.cmd.Process.Kill() // it may have ended
	}
}

func (r *runner) processes() []*process {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.running)
}
