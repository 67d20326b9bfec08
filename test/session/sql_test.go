package session_test

import (
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
	"github.com/reeve-cloud/reeve/test/centre"
)

func TestSQLOverTheAPI(t *testing.T) {
	c := centre.New(t)
	began := time.Now()
	api := reevev1connect.NewQueryServiceClient(signedIn(t, c))
	run := func(r *reevev1.RunSQLRequest) (columns []string, rows []string, truncated bool, err error) {
		t.Helper()
		stream, err := api.RunSQL(t.Context(), connect.NewRequest(r))
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		for stream.Receive() {
			m := stream.Msg()
			for _, column := range m.GetColumns() {
				columns = append(columns, column.GetName()+" "+column.GetType())
			}
			for _, row := range m.GetRows() {
				text, err := protojson.Marshal(row)
				if err != nil {
					t.Fatal(err)
				}
				rows = append(rows, strings.ReplaceAll(string(text), ", ", ","))
			}
			truncated = m.GetTruncated()
		}
		return columns, rows, truncated, stream.Err()
	}

	// A value of each kind that the tables, or what is computed of them, can have.
	const kinds = `SELECT 1 AS u, toUInt64(18446744073709551615) AS large, -1 AS i, 1.5 AS f, nan AS n, 'x' AS s, unhex('ff00') AS b, NULL ` +
		`AS none, toNullable(2) AS some,
		true AS yes, toDate('2026-03-01') AS d, toDateTime('2026-03-01 12:00:00', 'UTC') AS dt, toDateTime64('2026-03-01 12:00:00.125', 3, 'UTC') AS dt64,
		toDecimal64(1.25, 4) AS dec, toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0') AS id, [1, 2] AS list, map('k', 'v') AS m, (1, 'a') AS pair, toInt128(-5) AS wide,
		toLowCardinality('lc') AS lc, toIPv4('192.0.2.1') AS ip, CAST('a', 'Enum8(\'a\' = 1)') AS e, [toNullable('z'), NULL] AS holes`
	columns, rows, _, err := run(&reevev1.RunSQLRequest{Statement: kinds})
	if err != nil {
		t.Fatal(err)
	}
	want := `[1,"18446744073709551615",-1,1.5,"NaN","x","0xff00",null,2,true,"2026-03-01","2026-03-01T12:00:00Z","2026-03-01T12:00:00.125Z",` +
		`"1.25","61f0c404-5cb3-11e7-907b-a6006ad3dba0",[1,2],{"k":"v"},[1,"a"],"-5","lc","192.0.2.1","a",["z",null]]`
	if len(rows) != 1 || rows[0] != want {
		t.Errorf("got  %s\nwant %s", rows, want)
	}
	if len(columns) != 23 || columns[0] != "u UInt8" || columns[12] != "dt64 DateTime64(3, 'UTC')" {
		t.Errorf("%q", columns)
	}

	if columns, rows, _, err := run(&reevev1.RunSQLRequest{Statement: "SELECT uid FROM assets WHERE uid = 'none'"}); err != nil ||
		len(rows) != 0 || len(columns) != 1 {
		t.Errorf("nothing: %q, %q, %v", columns, rows, err)
	}
	for _, test := range []struct {
		r         *reevev1.RunSQLRequest
		rows      int
		truncated bool
	}{
		{&reevev1.RunSQLRequest{Statement: "SELECT number FROM numbers(1501)"}, 1501, false},
		{&reevev1.RunSQLRequest{Statement: "SELECT number FROM numbers(1501)", MaxRows: 1501}, 1501, false},
		{&reevev1.RunSQLRequest{Statement: "SELECT number FROM numbers(1501)", MaxRows: 1500}, 1500, true},
		{&reevev1.RunSQLRequest{Statement: "SELECT number FROM numbers(100000000)"}, 100_000, true},
		{&reevev1.RunSQLRequest{Statement: "SELECT repeat('x', 1000000) FROM numbers(200)"}, 67, true},
	} {
		if _, rows, truncated, err := run(test.r); err != nil || len(rows) != test.rows || truncated != test.truncated {
			t.Errorf("%v: %d rows, truncated %v, %v", test.r, len(rows), truncated, err)
		}
	}
	for _, r := range []*reevev1.RunSQLRequest{
		{Statement: "DROP TABLE asset"}, {Statement: ""}, {Statement: strings.Repeat("x", 100_000)}, {Statement: "SELECT 1", MaxRows: -1},
		{Statement: "SELECT file('/etc/passwd')"}, {Statement: "SELECT * FROM system.processes"}, {Statement: "SELECT toUInt8(uid) FROM nothing"},
		// It fails after rows have been answered.
		{Statement: "SELECT toUInt8(if(number = 90000, 'x', '1')) FROM numbers(100000)"},
	} {
		if _, _, _, err := run(r); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("%.100v: %v", r, err)
		}
	}

	// Who asked what is known, of what was refused as well.
	found := map[string]bool{}
	for e, err := range c.Registry.Store().Audit(t.Context(), began, time.Time{}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Action == "sql.run" && e.Actor == "user:test" && e.Address != "" {
			found[e.Detail] = true
		}
	}
	for _, statement := range []string{kinds, "DROP TABLE asset", "SELECT file('/etc/passwd')"} {
		if !found[statement] {
			t.Errorf("the audit trail is without %q", statement)
		}
	}
}
