package centre

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/config"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
)

// TestTellsToWait: while a warehouse of before is migrated, health checks and the API say
// how far it is, and afterwards all is as ever.
func TestTellsToWait(t *testing.T) {
	warehousetest.Require(t)
	c := settings(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	a, err := New(t.Context(), c, logger)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	dir, _ := warehouse.EmbeddedDir(c.Warehouse)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	w, err := warehouse.Open(t.Context(), warehouse.Options{Address: c.Warehouse, EngineCommand: []string{exe, "engine"}, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	err = w.MigrateTo(t.Context(), 20, logger)
	if err == nil {
		err = w.Conn().Exec(t.Context(), `INSERT INTO relation (site, from_type, from_uid, kind, to_type, to_uid, version, received_at)
			SELECT 'west', 'k.core.Pod', toString(number), 'runs_on', 'k.core.Node', toString(number % 100), 1, now64(3) FROM numbers(100000)`)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}

	knowAddresses(t, &c)
	opened := make(chan error, 1)
	go func() {
		var err error
		a, err = New(context.Background(), c, logger)
		opened <- err
	}()
	health, api := "", ""
	told := func(answer string) bool {
		return strings.HasPrefix(answer, "503") && strings.Contains(answer, "rows of table relation are copied")
	}
	for waiting := true; waiting; {
		if answer := ask("http://" + c.HealthListen + "/readyz"); told(answer) {
			health = answer
		}
		if answer := ask("https://" + c.Listen + "/reeve.v1.InventoryService/ListAssets"); told(answer) {
			api = answer
		}
		select {
		case err = <-opened:
			waiting = false
		default:
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if health == "" || !strings.Contains(api, `"code":"unavailable"`) {
		t.Errorf("while it was migrated, health checks were told %q and the API's callers %q", health, api)
	}
	a.Start()
	if answer := ask("http://" + c.HealthListen + "/readyz"); !strings.HasPrefix(answer, "200") {
		t.Errorf("afterwards health checks are told %q", answer)
	}
	if answer := ask("https://" + c.Listen + "/reeve.v1.InventoryService/ListAssets"); answer == "" || strings.HasPrefix(answer, "503") {
		t.Errorf("afterwards the API's callers are told %q", answer)
	}
	if n := warehousetest.Rows(t, a.Warehouse(), "relation FINAL"); n != 200_000 {
		t.Errorf("%d rows", n)
	}
	if err := a.Stop(); err != nil {
		t.Error(err)
	}
}

// knowAddresses chooses the addresses, which must be known before New returns.
func knowAddresses(t *testing.T, c *config.Config) {
	t.Helper()
	for _, address := range []*string{&c.Listen, &c.HealthListen} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		*address = l.Addr().String()
		l.Close()
	}
}

var client = &http.Client{Timeout: time.Second, Transport: &http.Transport{
	DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}

// ask returns the status and the body of an answer, or "" if there is none.
func ask(url string) string {
	response, err := client.Get(url)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return ""
	}
	return response.Status + " " + string(body)
}
