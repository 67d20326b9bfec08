// Command dev runs an aggregator and one agent on this machine in one terminal,
// from the programs that lie beside it in bin/. `make run` builds them all.
//
// All state lies in .reeve/ of the checkout; bin/reeve finds the sign-in there by
// itself. Ctrl-C stops both in order, a second one at once. What can be set:
//
//	REEVE_RUN_PORT  the aggregator's port (8443). The health ports lie 1022
//	                (aggregator, 9465) and 1021 (agent, 9464) above it.
//	REEVE_RUN_DIR   another directory than .reeve for the state
//	REEVE_LOG_LEVEL, REEVE_WAREHOUSE, REEVE_ENGINE_PROCESS  as the programs have them
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/reeve-cloud/reeve/pkg/retry"
)

const site = "local"

// errStopped is why everything ends when a person wants that.
var errStopped = errors.New("stopped")

func main() {
	t := newTerminal(os.Stdout)
	ctx, stop := context.WithCancelCause(context.Background())
	t.gone = func() { stop(errStopped) } // nobody reads any more
	r := &runner{terminal: t, stop: stop}

	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	signal.Ignore(syscall.SIGPIPE)
	go func() { // ends with this process
		<-signals
		stop(errStopped)
		<-signals
		r.killAll()
	}()

	err := start(ctx, r)
	if err == nil {
		<-ctx.Done()
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause // what came first, rather than what followed from it
	}
	stop(err)
	if errors.Is(err, errStopped) {
		err = nil
	}
	if failed := r.stopAll(); err == nil {
		err = failed
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s %s\n", t.prefix("run"), t.paint(red, err.Error()))
		os.Exit(1)
	}
	t.say("stopped")
}

// start brings everything up and says how to look around.
func start(ctx context.Context, r *runner) error {
	began := time.Now()
	executable, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the programs: %w", err)
	}
	r.bin = filepath.Dir(executable)
	for _, name := range []string{"reeve", "reeve-agent", "reeve-aggregator"} {
		if _, err := os.Stat(r.program(name)); err != nil {
			return fmt.Errorf("bin/%s is missing: run `make build`, or `make run`", name)
		}
	}
	usual := filepath.Join(filepath.Dir(r.bin), ".reeve")
	state := usual
	if dir := os.Getenv("REEVE_RUN_DIR"); dir != "" {
		if state, err = filepath.Abs(dir); err != nil {
			return err
		}
	}
	port, err := choosePorts()
	if err != nil {
		return err
	}
	engine, err := fetchEngine(ctx, r.program("reeve-aggregator"))
	if err != nil {
		return err
	}

	aggregatorDir, agentDir := filepath.Join(state, "aggregator"), filepath.Join(state, "agent")
	for _, dir := range []string{state, aggregatorDir, agentDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if err := os.Chmod(state, 0o700); err != nil {
		return err
	}
	address, adminToken, client := addressOf(port), filepath.Join(aggregatorDir, "admin-token"), filepath.Join(state, "cli.yaml")
	cli := func(args ...string) (string, error) {
		return r.call(ctx, "reeve", environment(map[string]string{"REEVE_CONFIG": client}), args...)
	}

	if err := r.start("aggregator", environment(map[string]string{
		"REEVE_DATA_DIR": aggregatorDir, "REEVE_LISTEN": address, "REEVE_ADVERTISE": address,
		"REEVE_HEALTH_LISTEN": addressOf(port + aggregatorHealth), "REEVE_ENGINE_LIBRARY": engine, "REEVE_LOG_FORMAT": "json",
	}, "REEVE_WAREHOUSE", "REEVE_ENGINE_PROCESS", "REEVE_LOG_LEVEL")); err != nil {
		return err
	}
	if err := until(ctx, "the aggregator's start", 2*time.Minute, func() (bool, error) {
		return isReady(ctx, port+aggregatorHealth), nil
	}); err != nil {
		return err
	}
	pin, err := r.call(ctx, "reeve-aggregator", environment(nil), "ca-hash", "--data-dir", aggregatorDir)
	if err != nil {
		return err
	}
	pin = strings.TrimSpace(pin)
	if _, err := cli("login", address, "--context", site, "--ca-hash", pin, "--token-file", adminToken); err != nil {
		return err
	}
	if err := startAgent(ctx, r, state, agentDir, port, cli); err != nil {
		return err
	}
	if err := until(ctx, "the first asset's arrival", time.Minute, func() (bool, error) {
		out, err := cli("get", "assets", "--site", site, "--limit", "1", "-o", "json")
		if err != nil {
			return false, err
		}
		var list struct{ Assets []json.RawMessage }
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			return false, fmt.Errorf("read what `reeve get assets` prints: %w", err)
		}
		return len(list.Assets) > 0, nil
	}); err != nil {
		return err
	}

	wipe := ""
	if state == usual {
		wipe = "; `make clean` removes it"
	}
	r.terminal.print(fmt.Sprintf(`
%[1]s Look around from another terminal, here:

  %[2]s get assets                  what this machine consists of
  %[2]s get asset UID               one asset with its document and relations
  %[2]s get changes UID             its history
  %[2]s watch                       changes as they arrive (as root: ip link add reeve0 type veth)
  %[2]s get agents                  who reports
  %[2]s --help                      the rest

  API            https://%[3]s  (Connect, gRPC and gRPC-Web; there is no web console yet)
  sign-in token  %[4]s; the CA's hash is %[5]s
  client         %[6]s signs %[2]s in, in this directory and below
  health         http://%[7]s/metrics (aggregator), http://%[8]s/metrics (agent)
  state          %[9]s%[10]s

Ctrl-C stops both.
`,
		r.terminal.paint(bold, fmt.Sprintf("Reeve runs: the first asset was listed after %.1f s.", time.Since(began).Seconds())),
		here(r.program("reeve")), address, here(adminToken), pin, here(client),
		addressOf(port+aggregatorHealth), addressOf(port+agentHealth), here(state), wipe))
	return nil
}

// startAgent starts the agent, which needs a join token the first time.
func startAgent(ctx context.Context, r *runner, state, dir string, port int, cli func(...string) (string, error)) error {
	settings, joinToken := filepath.Join(state, "agent.yaml"), filepath.Join(dir, "join-token")
	enrolled := func() (bool, error) {
		_, err := os.Stat(filepath.Join(dir, "identity", "agent.json"))
		if errors.Is(err, os.ErrNotExist) {
			return false, nil
		}
		return err == nil, err
	}
	removeToken := func() error {
		if err := os.Remove(joinToken); !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	own := map[string]string{
		"REEVE_DATA_DIR": dir, "REEVE_AGGREGATORS": addressOf(port),
		"REEVE_HEALTH_LISTEN": addressOf(port + agentHealth), "REEVE_LOG_FORMAT": "json",
	}
	known, err := enrolled()
	if err != nil {
		return err
	}
	if err := removeToken(); err != nil {
		return err
	}
	if !known {
		token, err := cli("token", "create", "--site", site, "--ttl", "15m")
		if err != nil {
			return err
		}
		if err := os.WriteFile(joinToken, []byte(token), 0o600); err != nil {
			return err
		}
		own["REEVE_JOIN_TOKEN_FILE"] = joinToken
	}
	if err := writeSettings(settings); err != nil {
		return err
	}
	if err := r.start("agent", environment(own, "REEVE_LOG_LEVEL"), "--config", settings); err != nil {
		return err
	}
	if err := until(ctx, "the agent's enrollment", time.Minute, enrolled); err != nil {
		return err
	}
	return removeToken()
}

var machineID = regexp.MustCompile(`^[0-9a-f]{32}\s*$`)

// writeSettings writes the agent's settings on the first run; from then on they
// are the user's.
func writeSettings(file string) error {
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	text := "# Settings of the agent that `make run` starts; yours to change.\ncollectors:\n  - plugin: host\n"
	known := false
	for _, path := range []string{"/etc/machine-id", "/var/lib/dbus/machine-id"} {
		id, err := os.ReadFile(path)
		known = known || err == nil && machineID.Match(id)
	}
	if !known {
		// Containers often have no machine id; the agent would not know what to call this machine.
		text += "    options:\n      # This machine has no /etc/machine-id, so it was given a name.\n      id: " + uuid.NewString() + "\n"
	}
	return os.WriteFile(file, []byte(text), 0o600)
}

// fetchEngine makes sure that the engine is there, and returns its path.
func fetchEngine(ctx context.Context, aggregator string) (string, error) {
	cmd := exec.CommandContext(ctx, aggregator, "engine", "fetch")
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	out, err := cmd.Output()
	if err != nil {
		return "", errors.New("there is no engine; what was tried is above")
	}
	return strings.TrimSpace(string(out)), nil
}

// until waits for a condition.
func until(ctx context.Context, what string, patience time.Duration, check func() (bool, error)) error {
	for end := time.Now().Add(patience); ; {
		done, err := check()
		if done || err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s did not happen within %s; see above why", what, patience)
		}
		if err := retry.Sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// environment is that of a program: ours without what is meant for another one.
func environment(own map[string]string, passed ...string) []string {
	var env []string
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "REEVE_") || slices.Contains(passed, name) {
			env = append(env, entry)
		}
	}
	for name, value := range own {
		env = append(env, name+"="+value)
	}
	return env
}

// here shortens a path to one from the working directory, where it is below that.
func here(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	short, err := filepath.Rel(wd, path)
	if err != nil || strings.HasPrefix(short, "..") {
		return path
	}
	return short
}
