package session_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/xuri/excelize/v2"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/test/centre"
)

// exported runs an export and returns the file, if it came whole.
func exported(t *testing.T, api reevev1connect.ExportServiceClient, r *reevev1.ExportRequest) ([]byte, *reevev1.ExportSummary, error) {
	t.Helper()
	stream, err := api.Export(t.Context(), connect.NewRequest(r))
	if err != nil {
		return nil, nil, err
	}
	defer stream.Close()
	var file bytes.Buffer
	var summary *reevev1.ExportSummary
	for stream.Receive() {
		file.Write(stream.Msg().GetData())
		summary = stream.Msg().GetSummary()
	}
	if err := stream.Err(); err != nil {
		return nil, nil, err
	}
	sum := sha256.Sum256(file.Bytes())
	if summary == nil || summary.GetBytes() != int64(file.Len()) || !bytes.Equal(summary.GetSha256(), sum[:]) {
		t.Fatalf("the file of %d bytes is not what the summary says: %v", file.Len(), summary)
	}
	return file.Bytes(), summary, nil
}

func assetsTable(a *reevev1.ExportAssets) *reevev1.ExportTable {
	return &reevev1.ExportTable{Rows: &reevev1.ExportTable_Assets{Assets: a}}
}

func TestExport(t *testing.T) {
	c := centre.New(t)
	began := time.Now()
	api := reevev1connect.NewExportServiceClient(signedIn(t, c))
	const kind = "fake.test.Machine"
	var versions []warehouse.AssetVersion
	for i := range 2500 { // more than are read at once
		v := version("seoul-1", kind, fmt.Sprintf("u%04d", i), warehouse.Created)
		v.Name, v.Labels = fmt.Sprintf("=m%d", i), map[string]string{"app.kubernetes.io/name": "web"}
		v.Document = []byte(fmt.Sprintf(`{"big":12345678901234567890,"disks":[{"n":1},{"n":2}],"n":%d,"since":"2026-03-01T10:00:00Z",`+
			`"total":10}`, i))
		var err error
		if v.Fields, err = document.Fields(v.Document); err != nil {
			t.Fatal(err)
		}
		versions = append(versions, v)
	}
	gone := version("seoul-1", kind, "z", warehouse.Deleted)
	insert(t, c, append(versions, gone, version("seoul-1", "fake.test.Other", "o", warehouse.Created))...)
	if err := c.Store.Write(t.Context(), &warehouse.Group{ReceivedAt: time.Now(), Types: []warehouse.AssetType{{
		Origin: warehouse.Origin{Site: "seoul-1", AgentID: "a", SpoolID: "s"}, Name: kind, Title: "Machine", Layout: []byte(
			`{"columns":[{"title":"Used","path":"n","of":"total","format":"number"},{"title":"Disks","path":"disks","format":"count"},` +
				`{"title":"Age","path":"since","format":"age"}]}`),
	}}}); err != nil {
		t.Fatal(err)
	}

	file, summary, err := exported(t, api, &reevev1.ExportRequest{
		Format: reevev1.ExportFormat_EXPORT_FORMAT_CSV, TimeZone: "Asia/Seoul",
		Tables: []*reevev1.ExportTable{assetsTable(&reevev1.ExportAssets{Type: kind})},
	})
	if err != nil {
		t.Fatal(err)
	}
	records, err := csv.NewReader(bytes.NewReader(file)).ReadAll()
	if err != nil || len(records) != 2501 || summary.GetRows() != 2500 {
		t.Fatalf("%d records, %v: %v", len(records), summary, err)
	}
	if want := []string{"site", "project", "name", "uid", "state", "n", "total", "disks", "since", "created",
		"changed"}; !slices.Equal(records[0], want) {
		t.Errorf("columns %q", records[0])
	}
	if got := records[1235][:10]; !slices.Equal(got, []string{
		"seoul-1", "", "'=m1234", "u1234", "ACTIVE", "1234", "10", "2", "2026-03-01T19:00:00+09:00", ""}) {
		t.Errorf("row %q", got)
	}

	file, _, err = exported(t, api, &reevev1.ExportRequest{Format: reevev1.ExportFormat_EXPORT_FORMAT_JSONL,
		Tables: []*reevev1.ExportTable{assetsTable(&reevev1.ExportAssets{Type: kind, States: []reevev1.State{reevev1.State_STATE_ACTIVE},
			Columns: []*reevev1.ExportColumn{{Path: "@uid"}, {Path: "big"}, {Path: "disks.n"}, {Path: "@labels.app.kubernetes.io/name"},
				{Path: "not.there"}}})}})
	if first, _, _ := strings.Cut(string(file), "\n"); err != nil ||
		first != `{"uid":"u0000","big":12345678901234567890,"disks.n":[1,2],"labels.app.kubernetes.io/name":"web","not.there":null}` {
		t.Errorf("%v: %s", err, first)
	}

	file, summary, err = exported(t, api, &reevev1.ExportRequest{Format: reevev1.ExportFormat_EXPORT_FORMAT_CSV,
		Tables: []*reevev1.ExportTable{assetsTable(&reevev1.ExportAssets{Filter: `n>=1200 n<2300 labels.app.kubernetes.io/name=web`,
			OrderBy: "n desc", Columns: []*reevev1.ExportColumn{{Path: "n"}, {Path: "@type"}}})}})
	if err != nil {
		t.Fatal(err)
	}
	want := "n,type\r\n"
	for n := 2299; n >= 1200; n-- {
		want += fmt.Sprintf("%d,%s\r\n", n, kind)
	}
	// What was not taken in by ingest is not in the catalogue, which warns once it is read.
	if string(file) != want || summary.GetRows() != 1100 || len(summary.GetNotes()) > 3 {
		t.Errorf("filtered and sorted: %v, %.100q", summary, file)
	}
	if _, summary, err := exported(t, api, &reevev1.ExportRequest{Format: reevev1.ExportFormat_EXPORT_FORMAT_CSV,
		Tables: []*reevev1.ExportTable{assetsTable(&reevev1.ExportAssets{AsOf: timestamppb.New(began.Add(-time.Hour))})}}); err != nil ||
		summary.GetRows() != 0 {
		t.Errorf("as of an hour ago: %v, %v", summary, err)
	}

	file, _, err = exported(t, api, &reevev1.ExportRequest{Format: reevev1.ExportFormat_EXPORT_FORMAT_XLSX, Tables: []*reevev1.ExportTable{
		assetsTable(&reevev1.ExportAssets{Type: kind}), assetsTable(&reevev1.ExportAssets{Type: "fake.test.Other"}),
		{Name: "History", Rows: &reevev1.ExportTable_Changes{Changes: &reevev1.ExportChanges{Site: "seoul-1", Type: kind, Uid: "z"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	book, err := excelize.OpenReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	defer book.Close()
	if got := book.GetSheetList(); !slices.Equal(got, []string{kind, "fake.test.Other", "History (2)", "About"}) {
		t.Errorf("sheets %q", got)
	}
	history, err := book.GetRows("History (2)")
	if err != nil || len(history) != 2 || history[1][1] != "deleted" {
		t.Errorf("history %q: %v", history, err)
	}

	changed := func(r *reevev1.ListEstateChangesRequest) [][]string {
		t.Helper()
		file, _, err := exported(t, api, &reevev1.ExportRequest{Format: reevev1.ExportFormat_EXPORT_FORMAT_CSV,
			Tables: []*reevev1.ExportTable{{Rows: &reevev1.ExportTable_EstateChanges{EstateChanges: r}}}})
		if err != nil {
			t.Fatal(err)
		}
		records, err := csv.NewReader(bytes.NewReader(file)).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		return records
	}
	if all := changed(&reevev1.ListEstateChangesRequest{}); len(all) != 1+2502 {
		t.Errorf("%d records of all changes", len(all))
	}
	if gone := changed(&reevev1.ListEstateChangesRequest{Filter: "uid>=z", Operations: []reevev1.Change_Operation{
		reevev1.Change_OPERATION_DELETED}}); len(gone) != 2 || !slices.Equal(gone[1][1:6], []string{"seoul-1", kind, "z", "", "deleted"}) {
		t.Errorf("deleted is %q", gone)
	}

	audited := 0
	for e, err := range c.Registry.Store().Audit(t.Context(), began, time.Time{}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Action == "export.run" && e.Actor == "user:test" && strings.Contains(e.Detail, kind) {
			audited++
		}
	}
	if audited != 3 {
		t.Errorf("%d exports are in the audit trail, want 3", audited)
	}
}

func TestExportRefuses(t *testing.T) {
	c := centre.New(t)
	api := reevev1connect.NewExportServiceClient(signedIn(t, c))
	table := assetsTable(&reevev1.ExportAssets{})
	with := func(paths ...string) []*reevev1.ExportTable {
		a := &reevev1.ExportAssets{}
		for _, p := range paths {
			a.Columns = append(a.Columns, &reevev1.ExportColumn{Path: p})
		}
		return []*reevev1.ExportTable{assetsTable(a)}
	}
	many := make([]string, 257)
	for i := range many {
		many[i] = fmt.Sprint("p", i)
	}
	csv := reevev1.ExportFormat_EXPORT_FORMAT_CSV
	xlsx := reevev1.ExportFormat_EXPORT_FORMAT_XLSX
	for want, r := range map[string]*reevev1.ExportRequest{
		"format: 0 is not":       {Tables: []*reevev1.ExportTable{table}},
		"format: 9 is not":       {Format: 9, Tables: []*reevev1.ExportTable{table}},
		"tables: there must":     {Format: csv},
		"tables: 2 of them":      {Format: csv, Tables: []*reevev1.ExportTable{table, table}},
		"tables: 33 of them":     {Format: xlsx, Tables: slices.Repeat([]*reevev1.ExportTable{table}, 33)},
		`time_zone: "Local"`:     {Format: csv, TimeZone: "Local", Tables: []*reevev1.ExportTable{table}},
		`time_zone: "../../etc"`: {Format: csv, TimeZone: "../../etc", Tables: []*reevev1.ExportTable{table}},
		"plain: ":                {Format: xlsx, Plain: true, Tables: []*reevev1.ExportTable{table}},
		"tables[0].rows: ":       {Format: csv, Tables: []*reevev1.ExportTable{{}}},
		"tables[0].states[0]: ": {Format: csv, Tables: []*reevev1.ExportTable{assetsTable(
			&reevev1.ExportAssets{States: []reevev1.State{7}})}},
		`tables[0].columns[1].path: "@nam"`:     {Format: csv, Tables: with("a.b", "@nam")},
		"tables[0].columns[0].path: \"a..b\"":   {Format: csv, Tables: with("a..b")},
		"tables[0].columns[1].path: \"a\" is":   {Format: csv, Tables: with("a", "a")},
		"tables[0].columns: 257":                {Format: csv, Tables: with(many...)},
		"tables[0].filter: filter: at byte 4: ": {Format: csv, Tables: []*reevev1.ExportTable{assetsTable(&reevev1.ExportAssets{Filter: "n=1 OR"})}},
		"tables[0].order_by: ":                  {Format: csv, Tables: []*reevev1.ExportTable{assetsTable(&reevev1.ExportAssets{OrderBy: "a,,b"})}},
		"tables[0].estate_changes.filter: filter: at byte 4: ": {Format: csv, Tables: []*reevev1.ExportTable{{
			Rows: &reevev1.ExportTable_EstateChanges{EstateChanges: &reevev1.ListEstateChangesRequest{Filter: "n=1 OR"}}}}},
		"tables[0].estate_changes.operations[0]: ": {Format: csv, Tables: []*reevev1.ExportTable{{
			Rows: &reevev1.ExportTable_EstateChanges{EstateChanges: &reevev1.ListEstateChangesRequest{Operations: []reevev1.Change_Operation{9}}}}}},
		"tables[0].estate_changes.page_token: ": {Format: csv, Tables: []*reevev1.ExportTable{{
			Rows: &reevev1.ExportTable_EstateChanges{EstateChanges: &reevev1.ListEstateChangesRequest{PageToken: "x"}}}}},
		"tables[0].changes.uid": {Format: csv, Tables: []*reevev1.ExportTable{{
			Rows: &reevev1.ExportTable_Changes{Changes: &reevev1.ExportChanges{Site: "a", Type: "b"}}}}},
	} {
		_, _, err := exported(t, api, r)
		code(t, err, connect.CodeInvalidArgument, want)
	}
}

// TestExportIsStrict waits until the catalogue is read: before that it takes any path for known.
func TestExportIsStrict(t *testing.T) {
	c := centre.New(t)
	api := reevev1connect.NewExportServiceClient(signedIn(t, c))
	deadline := time.Now().Add(time.Minute)
	for {
		_, _, err := exported(t, api, &reevev1.ExportRequest{Format: reevev1.ExportFormat_EXPORT_FORMAT_CSV,
			Tables: []*reevev1.ExportTable{assetsTable(&reevev1.ExportAssets{Filter: "n=1", Strict: true})}})
		if err != nil {
			code(t, err, connect.CodeInvalidArgument, "tables[0].filter: filter: at byte 0: no asset has n")
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("a path that no asset has is taken")
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// TestExportThatIsCancelled shows that it gives back its place and its files.
func TestExportThatIsCancelled(t *testing.T) {
	c := centre.New(t)
	api := reevev1connect.NewExportServiceClient(signedIn(t, c))
	var versions []warehouse.AssetVersion
	for i := range 3000 {
		v := version("seoul-1", "fake.test.Machine", fmt.Sprintf("u%04d", i), warehouse.Created)
		v.Document = []byte(fmt.Sprintf(`{"text":"%s"}`, strings.Repeat("x", 10_000)))
		versions = append(versions, v)
	}
	insert(t, c, versions...)
	request := &reevev1.ExportRequest{Format: reevev1.ExportFormat_EXPORT_FORMAT_XLSX,
		Tables: []*reevev1.ExportTable{assetsTable(&reevev1.ExportAssets{Columns: []*reevev1.ExportColumn{{Path: "text"}}})}}
	var cancels []context.CancelFunc
	var streams []*connect.ServerStreamForClient[reevev1.ExportResponse]
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		stream, err := api.Export(ctx, connect.NewRequest(request))
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		if !stream.Receive() { // it has begun
			t.Fatal(stream.Err())
		}
		cancels, streams = append(cancels, cancel), append(streams, stream)
	}
	_, _, err := exported(t, api, request)
	code(t, err, connect.CodeResourceExhausted, "2 exports run already")
	for i, cancel := range cancels {
		cancel()
		for streams[i].Receive() {
		}
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		left, err := filepath.Glob(filepath.Join(filepath.Dir(c.CADir), "export", "*"))
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("cancelled exports have left %q", left)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if _, summary, err := exported(t, api, request); err != nil || summary.GetRows() != 3000 {
		t.Errorf("after that: %v, %v", summary, err)
	}
	if info, err := os.Stat(filepath.Join(filepath.Dir(c.CADir), "export")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v", info.Mode(), err)
	}
}
