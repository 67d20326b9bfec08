//go:build unix

package logging

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestMain is a program whose log nobody reads, where that was asked for.
func TestMain(m *testing.M) {
	if os.Getenv("REEVE_TEST_PIPE") == "" {
		os.Exit(m.Run())
	}
	logger, out, err := Open(os.Stderr, Defaults)
	if err != nil {
		panic(err)
	}
	for i := range 100 {
		logger.Info("nobody reads this", "number", i)
	}
	out.Close()
	fmt.Println("alive, dropped", out.Dropped())
}

// TestReaderGone runs a program with a log in a pipe whose reader is gone.
func TestReaderGone(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "REEVE_TEST_PIPE=1")
	cmd.Stderr = w
	out, err := cmd.Output()
	w.Close()
	if err != nil || strings.TrimSpace(string(out)) != "alive, dropped 100" {
		t.Errorf("it said %q and ended with %v", out, err)
	}
}

// TestStalledReader logs more than a pipe and the output hold while nobody reads, and
// reads later.
func TestStalledReader(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	logger, out, err := Open(w, Options{Level: "info", Format: "json"})
	if err != nil {
		t.Fatal(err)
	}
	const total = 30_000
	for i := range total {
		logger.Info("a line that has some length, for the pipe to fill up", "number", i)
	}
	lost := out.Dropped()
	if lost == 0 || lost == total {
		t.Fatalf("%d of %d lines were dropped", lost, total)
	}
	read := make(chan int)
	var told uint64
	go func() {
		lines := bufio.NewScanner(r)
		n := 0
		for lines.Scan() {
			var line struct{ Lines uint64 }
			if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
				t.Errorf("%s: %v", lines.Text(), err)
			}
			if told += line.Lines; line.Lines == 0 {
				n++
			}
		}
		read <- n
	}()
	out.Close()
	w.Close()
	if n := <-read; uint64(n)+lost != total || told != lost {
		t.Errorf("%d lines arrive and %d were dropped of %d; the log says %d", n, lost, total, told)
	}
}

// TestNeverRead closes an output whose writer does not come back.
func TestNeverRead(t *testing.T) {
	r, w := io.Pipe()
	logger, out, err := Open(w, Defaults)
	if err != nil {
		t.Fatal(err)
	}
	logger.Info("nobody will ever read this")
	out.Close()
	out.Close()
	logger.Info("nor this")
	if out.Dropped() != 1 {
		t.Errorf("%d dropped", out.Dropped())
	}
	r.Close()
	<-out.done
}

func TestOutput(t *testing.T) {
	var b bytes.Buffer
	logger, out, err := Open(&b, Defaults)
	if err != nil {
		t.Fatal(err)
	}
	logger.Info("hello", "number", 7)
	out.Close()
	if !strings.Contains(b.String(), "msg=hello number=7") || out.Dropped() != 0 {
		t.Errorf("%q, %d dropped", b.String(), out.Dropped())
	}
	if _, _, err := Open(&b, Options{Level: "loud", Format: "text"}); err == nil {
		t.Error("a level that there is not passed")
	}
}
