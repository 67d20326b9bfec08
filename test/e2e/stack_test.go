//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
)

const site = "e2e"

// environment is what every program gets: nothing of the tester's own settings.
func environment(home string, own map[string]string) []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "LANG=C.UTF-8"}
	for _, name := range slices.Sorted(maps.Keys(own)) {
		env = append(env, name+"="+own[name])
	}
	return env
}

// aggregator is an aggregator with its state, over any number of runs, and a
// client that is signed in to it.
type aggregator struct {
	*process
	t       *testing.T
	home    string
	dir     string
	address string
	health  string
	caHash  string
	env     map[string]string
}

// newAggregator starts an aggregator with the embedded warehouse and signs in.
func newAggregator(t *testing.T) *aggregator {
	t.Helper()
	a := prepareAggregator(t)
	a.start()
	a.login()
	return a
}

// prepareAggregator prepares an aggregator and starts nothing.
func prepareAggregator(t *testing.T) *aggregator {
	t.Helper()
	ports := freePorts(t, 2)
	home := t.TempDir()
	a := &aggregator{
		t: t, home: home, dir: filepath.Join(home, "aggregator"),
		address: fmt.Sprintf("127.0.0.1:%d", ports[0]),
		health:  fmt.Sprintf("127.0.0.1:%d", ports[1]),
	}
	a.env = map[string]string{
		"REEVE_DATA_DIR": a.dir, "REEVE_LISTEN": a.address, "REEVE_ADVERTISE": a.address,
		"REEVE_HEALTH_LISTEN": a.health, "REEVE_ENGINE_LIBRARY": programs.engine, "REEVE_LOG_LEVEL": "debug",
	}
	return a
}

// start starts it and waits until it is ready.
func (a *aggregator) start() {
	a.t.Helper()
	a.launch()
	a.ready()
}

func (a *aggregator) launch() {
	a.t.Helper()
	a.process = start(a.t, "aggregator", a.home, environment(a.home, a.env), programs.aggregator)
}

func (a *aggregator) ready() {
	a.t.Helper()
	eventually(a.t, 90*time.Second, "the aggregator is ready", func() error {
		if a.ended() {
			a.t.Fatalf("the aggregator has ended: %v", a.err)
		}
		_, err := get("http://" + a.health + "/readyz")
		return err
	})
}

func (a *aggregator) login() {
	a.t.Helper()
	hash, err := run(a.home, environment(a.home, nil), programs.aggregator, "ca-hash", "--data-dir", a.dir)
	if err != nil {
		a.t.Fatal(err)
	}
	a.caHash = strings.TrimSpace(hash)
	a.mustReeve("login", a.address, "--ca-hash", a.caHash, "--token-file", filepath.Join(a.dir, "admin-token"))
}

// engine returns the engine's process, or 0 while there is none.
func (a *aggregator) engine() int {
	for _, pid := range descendants(a.pid()) {
		arguments, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && strings.HasPrefix(string(arguments), programs.aggregator+"\x00engine\x00") {
			return pid
		}
	}
	return 0
}

// reeve runs the client and returns what it printed.
func (a *aggregator) reeve(args ...string) (string, error) {
	return run(a.home, environment(a.home, map[string]string{"REEVE_CONFIG": filepath.Join(a.home, "cli.yaml")}), programs.reeve, args...)
}

func (a *aggregator) mustReeve(args ...string) string {
	a.t.Helper()
	out, err := a.reeve(args...)
	if err != nil {
		a.t.Fatal(err)
	}
	return out
}

// joinToken makes a join token.
func (a *aggregator) joinToken(args ...string) string {
	a.t.Helper()
	return strings.TrimSpace(a.mustReeve(append([]string{"token", "create", "--site", site}, args...)...))
}

// read runs a verb of the client that prints one message of the API.
func (a *aggregator) read(into proto.Message, args ...string) error {
	out, err := a.reeve(append(args, "-o", "json")...)
	if err != nil {
		return err
	}
	return protojson.Unmarshal([]byte(out), into)
}

// assets lists assets by uid.
func (a *aggregator) assets(args ...string) map[string]*reevev1.Asset {
	a.t.Helper()
	var list reevev1.ListAssetsResponse
	if err := a.read(&list, append([]string{"get", "assets"}, args...)...); err != nil {
		a.t.Fatal(err)
	}
	byUID := make(map[string]*reevev1.Asset, len(list.GetAssets()))
	for _, asset := range list.GetAssets() {
		if byUID[asset.GetUid()] != nil {
			a.t.Fatalf("the asset %s is listed twice", asset.GetUid())
		}
		byUID[asset.GetUid()] = asset
	}
	return byUID
}

func (a *aggregator) asset(uid string) (*reevev1.Asset, error) {
	var answer reevev1.GetAssetResponse
	err := a.read(&answer, "get", "asset", uid)
	return answer.GetAsset(), err
}

// changes returns the versions of an asset, newest first.
func (a *aggregator) changes(uid string, args ...string) []*reevev1.Change {
	a.t.Helper()
	var list reevev1.ListChangesResponse
	if err := a.read(&list, append([]string{"get", "changes", uid}, args...)...); err != nil {
		a.t.Fatal(err)
	}
	return list.GetChanges()
}

// agent is an agent with its state, over any number of runs.
type agent struct {
	*process
	t       *testing.T
	name    string
	path    string
	home    string
	dir     string
	health  string
	config  string
	env     map[string]string
	joining string
	// netns is the network namespace that it runs in; "" is the test's own.
	netns string
}

// newAgent prepares an agent with the fake collector on a directory, or with the
// host collector, as it is shipped, if that is "".
func newAgent(t *testing.T, name, fakeDir string) *agent {
	t.Helper()
	home := t.TempDir()
	a := &agent{
		t: t, name: name, path: programs.agent, home: home, dir: filepath.Join(home, "agent"),
		health: fmt.Sprintf("127.0.0.1:%d", freePorts(t, 1)[0]), config: filepath.Join(home, "agent.yaml"),
		joining: filepath.Join(home, "join-token"),
	}
	collectors := "- plugin: host\n"
	if fakeDir != "" {
		a.path = programs.fakeAgent
		collectors = fmt.Sprintf("- plugin: fake\n  options: {directory: %q}\n", fakeDir)
	}
	writeFile(t, a.config, "collectors:\n"+collectors)
	a.env = map[string]string{"REEVE_DATA_DIR": a.dir, "REEVE_HEALTH_LISTEN": a.health, "REEVE_LOG_LEVEL": "debug"}
	return a
}

// join gives it a join token and starts it.
func (a *agent) join(token string) *agent {
	a.t.Helper()
	writeFile(a.t, a.joining, token)
	a.env["REEVE_JOIN_TOKEN_FILE"] = a.joining
	a.start()
	return a
}

func (a *agent) start() {
	a.t.Helper()
	path, args := a.path, []string{"--config", a.config}
	if a.netns != "" {
		path, args = "ip", append([]string{"netns", "exec", a.netns, a.path}, args...)
	}
	a.process = start(a.t, a.name, a.home, environment(a.home, a.env), path, args...)
}

// command runs a subcommand of the program with its settings.
func (a *agent) command(args ...string) (string, error) {
	return run(a.home, environment(a.home, a.env), a.path, append([]string{"--config", a.config}, args...)...)
}

// metric returns a metric of the agent; series is its name with labels, as exposed.
func (a *agent) metric(series string) (float64, error) { return metric(a.health, series) }

// acknowledged is the number of the last asset record that the aggregator has
// acknowledged to this run of the agent.
func (a *agent) acknowledged() (int, error) {
	n, err := a.metric(`reeve_agent_acknowledged_record{class="assets"}`)
	return int(n), err
}

// shipped waits until the aggregator has acknowledged a record, and no later one.
func (a *agent) shipped(last int, limit time.Duration) {
	a.t.Helper()
	eventually(a.t, limit, fmt.Sprintf("record %d of the %s is acknowledged", last, a.name), func() error {
		n, err := a.acknowledged()
		if err == nil && n > last {
			a.t.Fatalf("record %d of the %s is acknowledged, but there should be only %d", n, a.name, last)
		}
		if err == nil && n < last {
			err = fmt.Errorf("only %d is", n)
		}
		return err
	})
}

// run runs a program to its end. The error has what it said.
func run(dir string, env []string, path string, args ...string) (stdout string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	var out, complaint strings.Builder
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, &out, &complaint
	if err := cmd.Run(); err != nil {
		said := strings.TrimSpace(complaint.String() + out.String())
		return out.String(), fmt.Errorf("%s %s: %w: %.2000s", filepath.Base(path), strings.Join(args, " "), err, said)
	}
	return out.String(), nil
}

var client = http.Client{Timeout: 10 * time.Second}

func get(url string) (lines []string, err error) {
	r, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	s := bufio.NewScanner(r.Body)
	for s.Scan() {
		lines = append(lines, s.Text())
	}
	if r.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %s", url, r.Status, strings.Join(lines, " "))
	}
	return lines, s.Err()
}

func metric(health, series string) (float64, error) {
	lines, err := get("http://" + health + "/metrics")
	if err != nil {
		return 0, err
	}
	for _, line := range lines {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, errors.New("there is no metric " + series)
}

func writeFile(t *testing.T, file, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(content), 0o600)); err != nil {
		t.Fatal(err)
	}
}
