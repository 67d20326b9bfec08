package warehouse_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
)

func TestRefused(t *testing.T) {
	ex := func(code int32, message string) error { return &clickhouse.Exception{Code: code, Message: message} }
	for _, c := range []struct {
		name string
		err  error
		want bool
	}{
		{"none", nil, false},
		{"stopped", context.Canceled, false},
		{"too late", fmt.Errorf("x: %w", context.DeadlineExceeded), false},
		{"the connection ended", io.ErrUnexpectedEOF, false},
		{"the engine is away", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, false},
		{"nobody knows", errors.New("something"), false},
		{"no code", ex(0, "something"), false},
		{"memory", ex(241, "memory limit exceeded"), true},
		{"a value", ex(321, "value is out of range"), true},
		{"a text", ex(131, "too large string size"), true},
		{"an unknown code", ex(100_000, "something new"), true},
		{"too many parts", ex(252, "Too many parts (3000) in all data parts"), false},
		{"too many partitions", ex(252, "Too many partitions for single INSERT block (more than 100)"), true},
		{"a full disk", ex(243, "Cannot reserve 1.00 MiB, not enough space"), false},
		{"a full disk, by another code", ex(1001, "std::exception: filesystem error: No space left on device"), false},
		{"no descriptors", ex(76, "Cannot open file"), false},
		{"no descriptors, by another code", ex(1001, "errno: 24, strerror: Too many open files"), false},
		{"no table", ex(60, "Table reeve.asset does not exist"), false},
		{"no permission", ex(497, "Not enough privileges"), false},
		{"read only", ex(242, "Table is in readonly mode"), false},
		{"wrapped", fmt.Errorf("inserting into asset: %w", ex(241, "memory")), true},
	} {
		if got := warehouse.Refused(c.err); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// TestCodesOfTrouble holds the names of the codes against the engine's.
func TestCodesOfTrouble(t *testing.T) {
	w := warehousetest.New(t)
	for code, name := range warehouse.CodesOfTrouble {
		var got string
		if err := w.Conn().QueryRow(t.Context(), "SELECT errorCodeToName($1)", uint32(code)).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got != name {
			t.Errorf("%d is %s, not %s", code, got, name)
		}
	}
}
