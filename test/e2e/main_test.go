//go:build e2e

package e2e

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

var (
	seed = flag.Uint64("seed", uint64(time.Now().UnixNano()), "what the changes of the chaos test are made of, and what happens when")
	away = flag.Duration("away", time.Minute, "how long the aggregator stays away in the test of that")
)

// programs are the paths of what is tested.
var programs struct {
	// The programs as they are shipped.
	reeve, agent, aggregator string
	// dev is what `make run` runs.
	dev string
	// fakeAgent is the agent with the collector of plugins/fake beside the host
	// collector.
	fakeAgent string
	// engine is the engine's library.
	engine string
	// root is the checkout.
	root string
}

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "reeve-e2e-")
	code := 1
	if err == nil {
		err = prepare(dir)
	}
	if err == nil {
		code = m.Run()
	}
	if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
	}
	os.Exit(code)
}

func prepare(dir string) error {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		return err
	}
	bin := filepath.Join(root, "bin")
	programs.root = root
	programs.reeve = filepath.Join(bin, "reeve")
	programs.agent = filepath.Join(bin, "reeve-agent")
	programs.aggregator = filepath.Join(bin, "reeve-aggregator")
	programs.dev = filepath.Join(bin, "reeve-dev")
	for _, path := range []string{programs.reeve, programs.agent, programs.aggregator, programs.dev} {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("%w; run the tests by `make e2e`, which builds it", err)
		}
	}
	if programs.engine = os.Getenv("CHDB_LIB_PATH"); programs.engine == "" {
		return fmt.Errorf("CHDB_LIB_PATH must name the engine; `make e2e` sets it")
	}
	programs.fakeAgent = filepath.Join(dir, "reeve-agent-fake")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-tags", "fakecollector", "-o",
		programs.fakeAgent, "./agent")
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the agent with the fake collector: %w\n%s", err, out)
	}
	return nil
}
