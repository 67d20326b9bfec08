package centre

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
)

// What the documents say to watch is there before anything has happened.
func TestFreshMetrics(t *testing.T) {
	warehousetest.Require(t)
	document, err := os.ReadFile("../../docs/aggregator.md")
	if err != nil {
		t.Fatal(err)
	}
	watched := regexp.MustCompile("`(reeve_[a-z_]+)(\\{[^}]*\\})?`").FindAllStringSubmatch(string(document), -1)
	if len(watched) < 7 {
		t.Fatalf("the document names %d metrics", len(watched))
	}
	a, err := New(context.Background(), settings(t), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	a.Start()
	defer func() {
		if err := a.Stop(); err != nil {
			t.Error(err)
		}
	}()
	response, err := http.Get("http://" + a.HealthAddr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range watched {
		found := false
		for line := range strings.Lines(string(body)) {
			found = found || strings.HasPrefix(line, m[1]) && strings.Contains(line, strings.Trim(m[2], "{}"))
		}
		if !found {
			t.Errorf("%s%s is not there", m[1], m[2])
		}
	}
}
