package cli_test

import (
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/protobuf/encoding/protojson"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/tui/cli"
	"github.com/reeve-cloud/reeve/tui/verb"
)

var update = flag.Bool("update", false, "write what the scripts get into their golden files")

// testNow is the moment that the client believes it is.
var testNow = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"reeve": func() {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
			context.AfterFunc(ctx, stop)
			system := verb.Host()
			system.Now = func() time.Time { return testNow }
			os.Exit(cli.Run(ctx, os.Args[1:], system))
		},
	})
}

func TestScript(t *testing.T) {
	inventory, err := os.ReadFile(filepath.Join("testdata", "inventory.json"))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Values[scriptKey{}] = &script{inventory: inventory}
			e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
			// The race detector otherwise holds each process back for a second.
			e.Setenv("GORACE", "atexit_sleep_ms=0")
			return os.WriteFile(filepath.Join(e.WorkDir, "token"), []byte(testToken+"\n"), 0o600)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"server":   scriptServer,
			"push":     scriptPush,
			"watchers": scriptWatchers,
			"waitfor":  scriptWaitFor,
			"calls":    scriptCalls,
			"exits":    scriptExits,
		},
	})
}

type scriptKey struct{}

// script is what belongs to one script.
type script struct {
	inventory []byte
	server    *fakeServer
}

func scriptOf(ts *testscript.TestScript) *script { return ts.Value(scriptKey{}).(*script) }

// scriptServer is the command
//
//	server start [PAGE-SIZE [INVENTORY]]
//	server stop
//	server restart
//
// The first sets SERVER, ADDRESS and CA_HASH, and writes the file ca.pem.
func scriptServer(ts *testscript.TestScript, _ bool, args []string) {
	s := scriptOf(ts)
	switch args[0] {
	case "stop":
		ts.Check(s.server.stop())
		return
	case "restart":
		ts.Check(s.server.start())
		return
	}
	page := 1000
	var err error
	if len(args) > 1 {
		page, err = strconv.Atoi(args[1])
		ts.Check(err)
	}
	if len(args) > 2 {
		s.inventory = []byte(ts.ReadFile(args[2]))
	}
	s.server, err = newFakeServer(ts.MkAbs("ca"), page, s.inventory)
	ts.Check(err)
	ts.Check(s.server.start())
	ts.Defer(func() { _ = s.server.stop() })
	ts.Setenv("ADDRESS", s.server.address)
	ts.Setenv("SERVER", "https://"+s.server.address)
	ts.Setenv("CA_HASH", s.server.ca.Pin().String())
	ts.Check(os.WriteFile(ts.MkAbs("ca.pem"), s.server.caPEM(), 0o600))
}

// scriptPush is the command "push FILE": it sends changes to all watchers.
func scriptPush(ts *testscript.TestScript, _ bool, args []string) {
	m := new(reevev1.WatchChangesResponse)
	ts.Check(protojson.Unmarshal([]byte(ts.ReadFile(args[0])), m))
	scriptOf(ts).server.push(m)
}

// scriptWatchers is the command "watchers N": it waits for as many.
func scriptWatchers(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	wait(ts, "watchers", func() bool { return scriptOf(ts).server.watching() == n })
}

// scriptWaitFor is the command "waitfor FILE PATTERN": it waits for the pattern to
// be in the file.
func scriptWaitFor(ts *testscript.TestScript, _ bool, args []string) {
	pattern, err := regexp.Compile(args[1])
	ts.Check(err)
	wait(ts, args[1], func() bool {
		data, err := os.ReadFile(ts.MkAbs(args[0]))
		return err == nil && pattern.Match(data)
	})
}

// scriptCalls is the command "calls PATH N": it waits for as many calls. With ! it
// checks that there are not as many.
func scriptCalls(ts *testscript.TestScript, neg bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	reached := func() bool { return scriptOf(ts).server.countCalls(args[0]) >= n }
	if !neg {
		wait(ts, "calls", reached)
	} else if reached() {
		ts.Fatalf("%d calls of %s", scriptOf(ts).server.countCalls(args[0]), args[0])
	}
}

// scriptExits is the command "exits CODE COMMAND ARG...".
func scriptExits(ts *testscript.TestScript, _ bool, args []string) {
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d", code)
	}
}

func wait(ts *testscript.TestScript, what string, done func() bool) {
	for range 1000 {
		if done() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	ts.Fatalf("waited too long for %s", what)
}
