package centre

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/reeve-cloud/reeve/aggregator/config"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

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

// TestNothingIsMadeAnew takes parts of an aggregator's directory away. It refuses to
// start, says what is missing and what to do, and makes nothing in its place.
func TestNothingIsMadeAnew(t *testing.T) {
	warehousetest.Require(t)
	c := settings(t)
	a, err := New(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	spool := registry.SpoolClass{Spool: strings.Repeat("ab", 16), Class: wirev1.Class_CLASS_ASSETS}
	if err := a.Registry().SetWatermarks(t.Context(), map[registry.SpoolClass]uint64{spool: 7}); err != nil {
		t.Fatal(err)
	}
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	// Its socket is left over, and cannot be copied.
	if err := os.RemoveAll(filepath.Join(c.DataDir, "warehouse", "run")); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		gone []string
		want []string
	}{
		"certificate": {[]string{"ca/ca.crt"}, []string{"ca.crt is missing", "backup"}},
		"key":         {[]string{"ca/ca.key"}, []string{"ca.key is missing", "backup"}},
		"CA":          {[]string{"ca"}, []string{"the certificate authority in", "ca is missing", "backup", "join again"}},
		"registry": {[]string{"registry"}, []string{"the registry in", "is missing", "a certificate authority in", "a warehouse in",
			"backup"}},
		"contents":          {[]string{"registry/MANIFEST"}, []string{"the registry in", "is missing"}},
		"CA and registry":   {[]string{"registry", "ca"}, []string{"the registry in", "is missing", "a warehouse in"}},
		"warehouse":         {[]string{"warehouse"}, []string{"the warehouse is empty", "--new-warehouse"}},
		"all but the token": {[]string{"registry", "ca", "warehouse"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := c
			from := c.DataDir
			c.DataDir = t.TempDir()
			c.Warehouse = "embedded:" + filepath.Join(c.DataDir, "warehouse")
			if err := os.CopyFS(c.DataDir, os.DirFS(from)); err != nil {
				t.Fatal(err)
			}
			for _, g := range test.gone {
				if err := os.RemoveAll(filepath.Join(c.DataDir, g)); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 { // the first refusal leaves nothing that the second one takes for what was missing
				a, err := New(t.Context(), c, slog.New(slog.DiscardHandler))
				if test.want == nil {
					if err != nil {
						t.Fatal(err)
					}
					if err := a.Stop(); err != nil {
						t.Fatal(err)
					}
					continue
				}
				if err == nil {
					t.Fatal("it started", a.Stop())
				}
				for _, w := range test.want {
					if !strings.Contains(err.Error(), w) {
						t.Errorf("error without %q: %v", w, err)
					}
				}
			}
			if name != "warehouse" {
				return
			}
			c.NewWarehouse = true
			a, err := New(t.Context(), c, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			if err := a.Stop(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestFirstStartCutShort is killed between the registry and the CA.
func TestFirstStartCutShort(t *testing.T) {
	warehousetest.Require(t)
	c := settings(t)
	r, err := registry.Open(registry.Options{Dir: RegistryDir(c)})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	a, err := New(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
}
