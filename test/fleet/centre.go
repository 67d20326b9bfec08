package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// centre is an aggregator of our own, in a process of its own, with the engine in
// another.
type centre struct {
	program, library string
	dir              string
	address, health  string
	caHash, token    string
	cmd              *exec.Cmd
	done             chan struct{}
	err              error
}

// startCentre starts an aggregator and waits until it is ready. Its log is in dir.
func startCentre(ctx context.Context, dir string) (*centre, error) {
	program, err := filepath.Abs(filepath.Join("bin", "reeve-aggregator"))
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(program); err != nil {
		return nil, fmt.Errorf("%w; run `make build` first, in the checkout, or name an aggregator with -aggregator", err)
	}
	c := &centre{program: program, library: os.Getenv("CHDB_LIB_PATH"), dir: filepath.Join(dir, "aggregator"), done: make(chan struct{})}
	if c.address, err = freePort(); err != nil {
		return nil, err
	}
	if c.health, err = freePort(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "aggregator.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c.cmd = exec.Command(program)
	c.cmd.Stdout, c.cmd.Stderr = log, log
	c.cmd.Env = append(os.Environ(), "REEVE_DATA_DIR="+c.dir, "REEVE_LISTEN="+c.address, "REEVE_ADVERTISE="+c.address,
		"REEVE_HEALTH_LISTEN="+c.health, "REEVE_ENGINE_LIBRARY="+c.library, "REEVE_LOG_LEVEL=info")
	// The terminal's interrupt is ours, and we stop it.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // ends with the process, which stop waits for
		c.err = c.cmd.Wait()
		close(c.done)
	}()
	if err := c.ready(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the aggregator: %w; its log is %s", err, log.Name()), c.stop())
	}
	hash, err := exec.Command(program, "ca-hash", "--data-dir", c.dir).Output()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("asking for the CA's hash: %w", err), c.stop())
	}
	token, err := os.ReadFile(filepath.Join(c.dir, "admin-token"))
	if err != nil {
		return nil, errors.Join(err, c.stop())
	}
	c.caHash, c.token = strings.TrimSpace(string(hash)), strings.TrimSpace(string(token))
	return c, nil
}

// freePort returns an address of the loopback that is free for TCP and UDP.
func freePort() (string, error) {
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		u, err := net.ListenPacket("udp", l.Addr().String())
		l.Close()
		if err == nil {
			return l.Addr().String(), u.Close()
		}
	}
}

func (c *centre) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		r, err := http.Get("http://" + c.health + "/readyz")
		if err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-c.done:
			return fmt.Errorf("it has ended: %w", c.err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stop asks it to end and waits until it has.
func (c *centre) stop() error {
	// The error says that it has ended.
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	<-c.done
	return c.err
}

// metrics returns the aggregator's figures by name with labels.
func (c *centre) metrics() (map[string]float64, error) {
	r, err := http.Get("http://" + c.health + "/metrics")
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	all := make(map[string]float64)
	s := bufio.NewScanner(r.Body)
	for s.Scan() {
		name, value, found := strings.Cut(s.Text(), " ")
		if f, err := strconv.ParseFloat(value, 64); found && err == nil {
			all[name] = f
		}
	}
	return all, s.Err()
}

// engine returns the engine's process, or 0 if there is none.
func (c *centre) engine() int {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", c.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for _, t := range tasks {
		data, err := os.ReadFile(t)
		if err != nil {
			continue // a thread that has ended
		}
		for field := range strings.FieldsSeq(string(data)) {
			if pid, err := strconv.Atoi(field); err == nil {
				return pid // an aggregator has one child
			}
		}
	}
	return 0
}

// usage is what a process has needed so far.
type usage struct {
	cpu time.Duration
	// resident is what is in memory, own what of it is no file's pages. Both in KiB.
	resident, own int
}

func usageOf(pid int) (u usage, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	// The name in parentheses may have anything in it.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	for _, f := range fields[11:13] {
		ticks, err := strconv.Atoi(f)
		if err != nil {
			return u, err
		}
		u.cpu += time.Duration(ticks) * 10 * time.Millisecond
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(status)) {
		f := strings.Fields(line)
		switch f[0] {
		case "VmRSS:":
			u.resident, err = strconv.Atoi(f[1])
		case "RssAnon:":
			u.own, err = strconv.Atoi(f[1])
		}
		if err != nil {
			return u, err
		}
	}
	return u, nil
}

// watcher samples what processes need.
type watcher struct {
	pids []int

	mu sync.Mutex
	// most is the most that each had resident since the last reset, and then of
	// all together, last what they had in the last sample.
	most, last []int
}

// watch samples until ctx ends.
func (w *watcher) watch(ctx context.Context) {
	for {
		w.sample()
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
}

func (w *watcher) sample() {
	now, sum := make([]int, 0, len(w.pids)+1), 0
	for _, pid := range w.pids {
		u, err := usageOf(pid)
		if err != nil {
			return // it is about to end
		}
		now, sum = append(now, u.resident), sum+u.resident
	}
	now = append(now, sum)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = now
	for i, n := range now {
		if len(w.most) <= i {
			w.most = append(w.most, 0)
		}
		w.most[i] = max(w.most[i], n)
	}
}

// take returns the most and the last and begins anew.
func (w *watcher) take() (most, last []int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	most, last = w.most, w.last
	w.most = nil
	return most, last
}
