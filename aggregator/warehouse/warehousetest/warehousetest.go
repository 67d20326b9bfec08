// Package warehousetest gives tests a real warehouse: the embedded engine in a
// process of its own, over a directory that goes with the test.
package warehousetest

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/embedded"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/engine"
)

// Main is what TestMain must call: the test binary is also the engine's process,
// for the library holds one storage directory a process, and tests want several.
func Main(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "engine" {
		o, socket, err := embedded.ParseArguments(os.Args[2:])
		if err == nil {
			o.Logger = slog.New(slog.DiscardHandler)
			err = embedded.Serve(context.Background(), o, socket, os.Stdin)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Require skips the test where the engine's library is not here, or fails it if
// REEVE_ENGINE_REQUIRED is set.
func Require(t testing.TB) {
	t.Helper()
	if _, err := engine.Find(""); err != nil {
		if os.Getenv("REEVE_ENGINE_REQUIRED") != "" {
			t.Fatal(err)
		}
		t.Skip("the engine's library is not here: ", err)
	}
}

// New returns an empty warehouse with its schema, where Require lets it.
func New(t testing.TB) *warehouse.Warehouse {
	t.Helper()
	w := Empty(t)
	if err := w.Migrate(t.Context(), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	return w
}

// Empty returns a warehouse without a schema, where Require lets it.
func Empty(t testing.TB) *warehouse.Warehouse {
	t.Helper()
	Require(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	w, err := warehouse.Open(t.Context(), warehouse.Options{
		Address: "embedded:" + t.TempDir(), EngineCommand: []string{exe, "engine"}, Logger: logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// Rows counts the rows of a table as they lie there, replaced ones included.
func Rows(t testing.TB, w *warehouse.Warehouse, table string) int {
	t.Helper()
	var n uint64
	if err := w.Conn().QueryRow(context.Background(), "SELECT count() FROM "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return int(n)
}
