//go:build e2e

package e2e

import (
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// devRun is `make run`, whose programs are built, in a directory of its own.
type devRun struct {
	*process
	home string
	port int
	// listed is how long it took until the first asset was listed at the centre.
	listed time.Duration
}

// launchRun starts it and does not wait.
func launchRun(t *testing.T, name, home string, port int) *process {
	t.Helper()
	env := environment(home, map[string]string{
		"REEVE_RUN_DIR": filepath.Join(home, ".reeve"), "REEVE_RUN_PORT": strconv.Itoa(port), "CHDB_LIB_PATH": programs.engine,
	})
	return start(t, name, home, env, programs.dev)
}

func startRun(t *testing.T, home string, port int) *devRun {
	t.Helper()
	began := time.Now()
	r := &devRun{process: launchRun(t, "run", home, port), home: home, port: port}
	from := r.position()
	eventually(t, 2*time.Minute, "the first asset is listed", func() error {
		if r.ended() {
			t.Fatalf("it has ended: %v", r.err)
		}
		out, err := r.reeve("get", "assets", "--no-headers", "--limit", "1")
		if err == nil && out == "" {
			err = fmt.Errorf("there is none")
		}
		return err
	})
	r.listed = time.Since(began)
	r.says(from, 10*time.Second, "Reeve runs")
	return r
}

// reeve runs the client as a user does in the checkout: told nothing.
func (r *devRun) reeve(args ...string) (string, error) {
	return run(r.home, environment(r.home, nil), programs.reeve, args...)
}

// find returns the process of a program by its command line's beginning.
func (r *devRun) find(commandLine ...string) int {
	r.t.Helper()
	want := strings.Join(commandLine, "\x00")
	for _, pid := range descendants(r.pid()) {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if got := strings.TrimRight(string(data), "\x00"); err == nil && (got == want || strings.HasPrefix(got, want+"\x00")) {
			return pid
		}
	}
	r.t.Fatalf("no process %q", commandLine)
	return 0
}

// TestRun starts, interrupts and starts again what `make run` runs.
func TestRun(t *testing.T) {
	home, port := t.TempDir(), freePorts(t, 1)[0]
	r := startRun(t, home, port)
	t.Logf("first run:  the first asset was listed after %4d ms", r.listed.Milliseconds())
	first, err := r.reeve("get", "agents", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	if token, err := os.Stat(filepath.Join(home, ".reeve", "agent", "join-token")); err == nil {
		t.Errorf("the used join token is still there: %v", token.Name())
	}

	second := launchRun(t, "second run", t.TempDir(), port)
	if err := second.wait(30 * time.Second); err == nil {
		t.Error("a second run on the same port ended without an error")
	}
	second.says(0, time.Second, strconv.Itoa(port), "is in use", "REEVE_RUN_PORT=")

	// Ctrl-C in a terminal goes to the whole group.
	family := descendants(r.pid())
	if err := syscall.Kill(-r.pid(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := r.wait(time.Minute); err != nil {
		t.Errorf("interrupted, it ended with %v", err)
	}
	for _, pid := range family {
		waitGone(t, pid)
	}

	from := r.position()
	r = startRun(t, home, port)
	t.Logf("second run: the first asset was listed after %4d ms", r.listed.Milliseconds())
	again, err := r.reeve("get", "agents", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	if id := quoted(first, "id"); id == "" || id != quoted(again, "id") {
		t.Errorf("the agent enrolled anew: there was %s, now there is %s", first, again)
	}

	// When one dies, the other is stopped.
	family = descendants(r.pid())
	if err := syscall.Kill(r.find(programs.agent), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := r.wait(time.Minute); err == nil {
		t.Error("it ended without an error though the agent died")
	}
	r.says(from, time.Second, "the agent was ended by SIGKILL")
	for _, pid := range family {
		waitGone(t, pid)
	}
}

// quoted returns the first text in a JSON document that a key has.
func quoted(document, key string) string {
	_, rest, _ := strings.Cut(document, `"`+key+`":`)
	_, rest, _ = strings.Cut(rest, `"`)
	text, _, _ := strings.Cut(rest, `"`)
	return text
}

// TestFigures prints what the programs need. The ceilings are generous: they are
// there to notice when something is off by a factor.
func TestFigures(t *testing.T) {
	const rest = 30 * time.Second
	r := startRun(t, t.TempDir(), freePorts(t, 1)[0])
	time.Sleep(rest)

	var table strings.Builder
	line := func(what string, format string, args ...any) {
		fmt.Fprintf(&table, "\n  %-52s %s", what, fmt.Sprintf(format, args...))
	}
	line("from `make run` (built) to the first asset listed", "%.2f s", r.listed.Seconds())
	for _, p := range []struct {
		name    string
		pid     int
		ceiling int
	}{
		{"agent", r.find(programs.agent), 80 << 10},
		{"aggregator", r.find(programs.aggregator), 150 << 10},
		{"engine", r.find(programs.aggregator, "engine"), 1 << 20},
	} {
		resident := memory(t, p.pid, "status", "VmRSS")
		if resident > p.ceiling {
			t.Errorf("the %s has %d kB resident; more than %d is too much", p.name, resident, p.ceiling)
		}
		line(fmt.Sprintf("%s, resident after %.0f s at rest", p.name, rest.Seconds()),
			"%.1f MiB (%.1f of its own: anonymous; PSS %.1f)", float64(resident)/1024,
			float64(memory(t, p.pid, "status", "RssAnon"))/1024, float64(memory(t, p.pid, "smaps_rollup", "Pss"))/1024)
	}
	for _, path := range []string{programs.agent, programs.aggregator, programs.reeve} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		line(filepath.Base(path)+", size of the program", "%.1f MB", float64(info.Size())/1e6)
	}
	t.Log(table.String())

	info, err := os.Stat(programs.agent)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 60e6 {
		t.Errorf("the agent has %d bytes; it must stay below 60 MB", info.Size())
	}
	checkStatic(t, programs.agent)
}

// memory returns a figure in kB that /proc has of a process; 0 if it cannot be read.
func memory(t *testing.T, pid int, file, name string) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		if file == "status" {
			t.Fatal(err)
		}
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); f[0] == name+":" {
			n, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	return 0
}

// checkStatic wants a program without an interpreter, without libraries, and
// without the engine's binding.
func checkStatic(t *testing.T, path string) {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Errorf("%s is not static: it has an interpreter", path)
		}
	}
	if libraries, err := f.ImportedLibraries(); err == nil && len(libraries) > 0 {
		t.Errorf("%s is not static: it needs %v", path, libraries)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), "chdb_connect") {
		t.Errorf("%s has the engine's binding in it", path)
	}
}
