package centre

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/config"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	"github.com/reeve-cloud/reeve/pkg/identity"
)

// fewFiles has the test binary be an aggregator with few descriptors. The value is
// its data directory.
const fewFiles = "REEVE_TEST_FEW_FILES"

const descriptors = 1024

// TestMain runs the tests, or what they start: an engine, or an aggregator.
func TestMain(m *testing.M) {
	if dir := os.Getenv(fewFiles); dir != "" && len(os.Args) == 1 {
		if err := serveWithFewFiles(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	warehousetest.Main(m)
}

func serveWithFewFiles(dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: descriptors, Max: descriptors}); err != nil {
		return err
	}
	c := config.Default()
	c.DataDir, c.Listen, c.HealthListen = dir, "127.0.0.1:0", ""
	if err := c.Finish(); err != nil {
		return err
	}
	a, err := New(ctx, c, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		return err
	}
	a.Start()
	fmt.Println(a.Addr(), a.CA().Pin())
	select {
	case <-ctx.Done():
	case <-a.Done():
	}
	return a.Stop()
}

// TestSilentConnectionsLeaveDescriptors has strangers open more connections than the
// aggregator may have files. It keeps enough for itself, and whoever has something to
// say is heard at once.
func TestSilentConnectionsLeaveDescriptors(t *testing.T) {
	warehousetest.Require(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fewFiles+"="+t.TempDir())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	t.Cleanup(func() {
		if !ended {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	address, hash, _ := strings.Cut(strings.TrimSpace(line), " ")
	pin, err := identity.ParsePin(hash)
	if err != nil {
		t.Fatal(err)
	}
	for i := range descriptors + 100 {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, byte(1+i%20), 1)}, Timeout: 10 * time.Second}
		conn, err := d.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if i%100 != 99 {
			continue
		}
		// A handshake from elsewhere.
		heard, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", address, identity.PinnedClient(pin))
		if err != nil {
			t.Fatalf("beside %d silent connections: %v", i+1, err)
		}
		heard.Close()
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(files); n > descriptors-300 {
		t.Errorf("%d of %d descriptors are in use", n, descriptors)
	}
	ended = true
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}
