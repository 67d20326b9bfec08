package warehouse

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// codesOfTrouble are ClickHouse's codes of what says nothing of the rows: the engine or
// its machine is in trouble, or has not the schema that it should have. The same rows
// are taken when that is over.
var codesOfTrouble = map[int32]string{
	3:   "UNEXPECTED_END_OF_FILE",
	16:  "NO_SUCH_COLUMN_IN_TABLE",
	23:  "CANNOT_READ_FROM_ISTREAM",
	24:  "CANNOT_WRITE_TO_OSTREAM",
	32:  "ATTEMPT_TO_READ_AFTER_EOF",
	60:  "UNKNOWN_TABLE",
	74:  "CANNOT_READ_FROM_FILE_DESCRIPTOR",
	75:  "CANNOT_WRITE_TO_FILE_DESCRIPTOR",
	76:  "CANNOT_OPEN_FILE",
	77:  "CANNOT_CLOSE_FILE",
	81:  "UNKNOWN_DATABASE",
	87:  "CANNOT_SEEK_THROUGH_FILE",
	88:  "CANNOT_TRUNCATE_FILE",
	95:  "CANNOT_READ_FROM_SOCKET",
	96:  "CANNOT_WRITE_TO_SOCKET",
	159: "TIMEOUT_EXCEEDED",
	160: "TOO_SLOW",
	164: "READONLY",
	173: "CANNOT_ALLOCATE_MEMORY",
	192: "UNKNOWN_USER",
	193: "WRONG_PASSWORD",
	194: "REQUIRED_PASSWORD",
	198: "DNS_ERROR",
	201: "QUOTA_EXCEEDED",
	202: "TOO_MANY_SIMULTANEOUS_QUERIES",
	203: "NO_FREE_CONNECTION",
	204: "CANNOT_FSYNC",
	209: "SOCKET_TIMEOUT",
	210: "NETWORK_ERROR",
	218: "TABLE_IS_DROPPED",
	225: "NO_ZOOKEEPER",
	236: "ABORTED",
	242: "TABLE_IS_READ_ONLY",
	243: "NOT_ENOUGH_SPACE",
	252: "TOO_MANY_PARTS",
	279: "ALL_CONNECTION_TRIES_FAILED",
	285: "TOO_FEW_LIVE_REPLICAS",
	286: "UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE",
	290: "LIMIT_EXCEEDED",
	298: "CANNOT_PIPE",
	299: "CANNOT_FORK",
	319: "UNKNOWN_STATUS_OF_INSERT",
	373: "SESSION_IS_LOCKED",
	394: "QUERY_WAS_CANCELLED",
	415: "ALL_REPLICAS_LOST",
	439: "CANNOT_SCHEDULE_TASK",
	473: "DEADLOCK_AVOIDED",
	497: "ACCESS_DENIED",
	499: "S3_ERROR",
	516: "AUTHENTICATION_FAILED",
	571: "DATABASE_REPLICATION_FAILED",
	999: "KEEPER_EXCEPTION",
}

const (
	codeTooManyParts = 252
	// tooManyPartitions is in the text of the error of that code which is about the
	// rows: an insert that touches too many partitions at once.
	tooManyPartitions = "partitions for single INSERT"
)

// outOfResources are in texts of errors that come with codes of anything: of what the
// machine has none left of.
var outOfResources = []string{"No space left on device", "Too many open files", "Disk quota exceeded", "Read-only file system",
	"Input/output error"}

// Refused reports whether an error of Write or Settle is about the rows: the warehouse
// answers, and does not take them. It takes others, so it may be that it never takes
// these. Also that it had not the memory for so many counts as such. Any other error,
// and one that nobody knows, of the connection, the engine or its disk, passes.
func Refused(err error) bool {
	var network net.Error
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return false
	}
	if _, ours := errors.AsType[*rowsError](err); ours {
		return true
	}
	var ex *clickhouse.Exception
	if !errors.As(err, &ex) || ex.Code == 0 {
		return false
	}
	for _, text := range outOfResources {
		if strings.Contains(ex.Message, text) {
			return false
		}
	}
	if ex.Code == codeTooManyParts && strings.Contains(ex.Message, tooManyPartitions) {
		return true
	}
	_, trouble := codesOfTrouble[ex.Code]
	return !trouble
}

// rowsError is an error of the driver about rows that it cannot send.
type rowsError struct{ err error }

func (e *rowsError) Error() string { return e.err.Error() }
func (e *rowsError) Unwrap() error { return e.err }
