package warehouse

import (
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/reeve-cloud/reeve/aggregator/warehouse/embedded"
)

// CodesOfTrouble is for tests.
var CodesOfTrouble = codesOfTrouble

// SmallPieces has migrations copy tables in pieces of so many rows and bytes.
func SmallPieces(t *testing.T, rows, bytes uint64) {
	oldRows, oldBytes := pieceRows, pieceBytes
	pieceRows, pieceBytes = rows, bytes
	t.Cleanup(func() { pieceRows, pieceBytes = oldRows, oldBytes })
}

// Over has the warehouse make its statements over another connection from now on, made
// of the one that it has.
func (w *Warehouse) Over(with func(driver.Conn) driver.Conn) { w.conn = with(w.conn) }

// EnginePID is the process of the embedded engine: 0 while it is started again.
func (w *Warehouse) EnginePID() int { return w.engine.(*embedded.Process).PID() }

// PolicyStatements are those that give a server the policies.
func PolicyStatements() (list []string) {
	for _, p := range policies() {
		if p.database == Database {
			list = append(list, p.statement())
		}
	}
	return list
}
