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

// TestRetentionOnTheCommandLine plans rules, sets them, and takes them away again.
func TestRetentionOnTheCommandLine(t *testing.T) {
	c := centre.New(t)
	const kind = "fake.test.Machine"
	g := &warehouse.Group{ID: uuid.New(), ReceivedAt: time.Now().Add(-72 * time.Hour).Truncate(time.Millisecond), Types: []warehouse.AssetType{{
		Origin: warehouse.Origin{Site: "west", AgentID: "a", SpoolID: "s"}, Name: kind}}}
	for i := range 40 {
		v := version("west", kind, "a", warehouse.Updated)
		v.Seq, v.Version, v.Name = uint64(i+1), uint64(hlc.FromTime(time.Now().Add(-time.Duration(40-i)*12*time.Hour))), fmt.Sprint("v", i)
		g.Versions = append(g.Versions, v)
	}
	if err := c.Store.Write(t.Context(), g); err != nil {
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
	run := func(ok bool, want string, args ...string) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		code := cli.Run(t.Context(), args, verb.System{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Dir: home, Now: time.Now,
			Getenv: func(name string) string { return map[string]string{"HOME": home}[name] }})
		if out := stdout.String() + stderr.String(); (code == 0) != ok || !strings.Contains(out, want) {
			t.Errorf("reeve %s: exits with %d and says %s\nwant %q in it", strings.Join(args, " "), code, out, want)
		}
	}
	run(true, "Signed in", "login", c.Address, "--ca-hash", c.CA.Pin().String(), "--token-file", tokenFile)
	run(true, "there are no rules", "retention", "show")
	run(false, "is no number of days", "retention", "plan", "all=soon")
	run(false, "must be all=DAYS", "retention", "plan", "al=5d")
	run(false, "rules[0].daily_days: 3", "retention", "plan", "all=5d daily=3d")
	run(true, "nothing was changed", "retention", "plan", "type=machines all=5d")
	run(true, kind, "retention", "plan", "all=5d daily=10d")
	run(true, "nothing was changed", "retention", "set", "all=5d")
	run(true, "there are no rules", "retention", "show")
	run(true, "once a day since", "retention", "set", "all=5d daily=10d", "--yes")
	run(true, "rule: all=5d daily=10d", "retention", "show")
	run(true, "no rules any more", "retention", "off")
	run(true, "there are no rules", "retention", "show")
}
