package centre

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/reeve-cloud/reeve/aggregator/config"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
)

func TestMain(m *testing.M) { warehousetest.Main(m) }

func settings(t *testing.T) config.Config {
	t.Helper()
	c := config.Default()
	c.DataDir, c.Listen, c.HealthListen = t.TempDir(), "127.0.0.1:0", "127.0.0.1:0"
	if err := c.Finish(); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestLife starts an aggregator twice over one directory.
func TestLife(t *testing.T) {
	warehousetest.Require(t)
	c := settings(t)
	var pin string
	for range 2 {
		a, err := New(context.Background(), c, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		a.Start()
		// The second one has what the first one made, at the same address.
		if pin != "" && pin != a.CA().Pin().String() {
			t.Error("the second start has another CA")
		}
		pin, c.Listen = a.CA().Pin().String(), a.Addr().String()
		response, err := http.Get("http://" + a.HealthAddr().String() + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK {
			t.Errorf("/readyz: %s %q %v", response.Status, body, err)
		}
		select {
		case <-a.Done():
			t.Error("it has ended by itself")
		default:
		}
		if err := a.Stop(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPortTaken finds the port taken: nothing is made then, and nothing stays open.
func TestPortTaken(t *testing.T) {
	c := settings(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c.Listen = taken.Addr().String()
	if _, err := New(t.Context(), c, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("error %v", err)
	}
}

// TestFailedStart fails behind the sockets, which must be free again.
func TestFailedStart(t *testing.T) {
	c := settings(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.Listen = free.Addr().String()
	free.Close()
	c.Engine.Library = "/nonexistent/libchdb.so"
	if _, err := New(t.Context(), c, slog.New(slog.DiscardHandler)); err == nil {
		t.Fatal("it started without an engine")
	}
	tcp, err := net.Listen("tcp", c.Listen)
	if err != nil {
		t.Fatal(err)
	}
	tcp.Close()
	udp, err := net.ListenPacket("udp", c.Listen)
	if err != nil {
		t.Fatal(err)
	}
	udp.Close()
}
