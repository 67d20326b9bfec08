package session_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/test/centre"
	"github.com/reeve-cloud/reeve/tui/cli"
	"github.com/reeve-cloud/reeve/tui/verb"
)

// TestMetricsOnTheCommandLine keeps a metric by the client's verbs, fills it out of the
// history, and looks at its series.
func TestMetricsOnTheCommandLine(t *testing.T) {
	c := centre.New(t)
	const kind = "fake.test.Machine"
	at := func(minutes int) time.Time {
		return time.Now().Add(time.Duration(minutes) * time.Minute).Truncate(time.Millisecond)
	}
	for i, v := range []struct {
		uid, status string
		minutes     int
		operation   warehouse.Operation
	}{{"a", "up", -60, warehouse.Created}, {"b", "up", -60, warehouse.Created}, {"c", "down", -50, warehouse.Created},
		{"a", "down", -20, warehouse.Updated}, {"b", "up", -10, warehouse.Deleted}} {
		version := version("west", kind, v.uid, v.operation)
		version.Status, version.Version, version.Seq = v.status, uint64(hlc.FromTime(at(v.minutes))), uint64(i+1)
		if err := c.Store.Write(t.Context(), &warehouse.Group{ID: uuid.New(), ReceivedAt: at(v.minutes),
			Versions: []warehouse.AssetVersion{version}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Store.Write(t.Context(), &warehouse.Group{Types: []warehouse.AssetType{{
		Origin: warehouse.Origin{Site: "west", AgentID: "a", SpoolID: "s"}, Name: kind}}}); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	token, secret := registry.NewAPIToken("ann", "admin")
	if err := c.Registry.AddAPIToken(t.Context(), registry.System, token); err != nil {
		t.Fatal(err)
	}
	tokenFile := filepath.Join(home, "token")
	if err := os.WriteFile(tokenFile, []byte(token.ID+"."+secret), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (out string, code int) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		code = cli.Run(t.Context(), args, verb.System{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Dir: home, Now: time.Now,
			Getenv: func(name string) string { return map[string]string{"HOME": home}[name] }})
		return stdout.String() + stderr.String(), code
	}
	must := func(want string, args ...string) string {
		t.Helper()
		out, code := run(args...)
		if code != 0 || !strings.Contains(out, want) {
			t.Fatalf("reeve %s: exits with %d and says %s\nwant %q in it", strings.Join(args, " "), code, out, want)
		}
		return out
	}
	refused := func(want string, args ...string) {
		t.Helper()
		if out, code := run(args...); code == 0 || !strings.Contains(out, want) {
			t.Errorf("reeve %s: exits with %d and says %s\nwant %q in it", strings.Join(args, " "), code, out, want)
		}
	}
	must("Signed in", "login", c.Address, "--ca-hash", c.CA.Pin().String(), "--token-file", tokenFile)

	save := []string{"metric", "save", "machines", "--type", "machines", "--by", "status", "--value", "n=count()", "--every", "1m"}
	refused("must be 1m0s to", append(save, "--every", "10s")...)
	refused("^", append(save, "-l", "status=(up")...)
	refused("DISCONNECTED", append(save, "-l", "state:DISCONNECTED")...)
	refused("must be hour, day", append(save, "--by", "created:decade")...)
	refused("sum and no average", append(save, "--value", "x=avg(created)")...)
	refused("name: must be", "metric", "save", "../etc")
	must("machines: every 1m0s, 1 groups now", save...)
	must("every 1m0s", append(save, "--title", "Machines")...)
	refused("begin_anew", append(save, "-l", "status=up")...)
	must("down     2", "metric", "run", "machines")
	must("up       2", "metric", "run", "machines", "--as-of", "-30m")
	for _, name := range []string{"assets", "pods.by-phase", "servers.by-status", "servers.capacity", "machines"} {
		must(name, "get", "metrics")
	}
	refused(`there is no metric "nope"`, "metric", "series", "nope")
	refused("--since is missing", "metric", "backfill", "machines")
	refused("before all of the history", "metric", "backfill", "machines", "--since", "-3h", "--until", "-2h")
	must("no moment that is known", "metric", "backfill", "machines", "--since", "-30d", "--dry-run")
	must("moments, from", "metric", "backfill", "machines", "--since", "-40m")
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		out := must("machines", "metric", "list")
		if _, line, _ := strings.Cut(out, "machines"); !strings.Contains(strings.Split(line, "\n")[0], "backfill") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the backfill does not end: %s", out)
		}
	}
	sample := func(minutes int, status, n string) string {
		return fmt.Sprintf("%s,%s,%s\n", at(minutes).Truncate(time.Minute).UTC().Format(time.RFC3339), status, n)
	}
	out := must("TIME,STATUS,N\n", "metric", "series", "machines", "--since", "-45m", "-o", "csv")
	for _, want := range []string{sample(-30, "up", "2"), sample(-30, "down", "1"), sample(-15, "up", "1"), sample(-15, "down", "2"),
		sample(-5, "down", "2")} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if strings.Contains(out, sample(-5, "up", "")[:25]) {
		t.Errorf("what is gone is in\n%s", out)
	}
	must("█", "metric", "series", "machines", "--since", "-39m", "-l", "status=down")
	must("samples are missing", "metric", "series", "machines", "--since", "-2h")
	must(`"values":`, "metric", "series", "machines", "--aggregate", "sum", "-o", "json")
	refused("is no label of the metric", "metric", "series", "machines", "-l", "stat=up")
	refused("multiple of the metric's interval", "metric", "series", "machines", "--step", "90s")
	refused("median", "metric", "series", "machines", "--aggregate", "median")
	must("no backfill under way", "metric", "backfill", "machines", "--stop")
	must("", "metric", "delete", "machines")
	refused(`no metric "machines"`, "metric", "delete", "machines")
}
