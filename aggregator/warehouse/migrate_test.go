package warehouse

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"
)

func TestLoadMigrations(t *testing.T) {
	for _, c := range []struct {
		names string
		want  string
	}{
		{"0001_a.sql 0002_b.sql 0020_c.sql", "1 2 20"},
		{"0001_a.sql 0001_b.sql", "must be named"},
		{"0000_a.sql", "must be named"},
		{"1_a.sql", "must be named"},
		{"0001.sql", "must be named"},
		{"a_0001.sql", "must be named"},
	} {
		files := fstest.MapFS{}
		for name := range strings.FieldsSeq(c.names) {
			files["migrations/"+name] = &fstest.MapFile{Data: []byte("SELECT 1;\nSELECT 2;\n")}
		}
		steps, err := loadMigrations(files)
		var got []string
		for _, s := range steps {
			got = append(got, fmt.Sprint(s.version))
		}
		if text := strings.Join(got, " ") + fmt.Sprint(err); !strings.Contains(text, c.want) {
			t.Errorf("%s: %s", c.names, text)
		}
	}
}

// CheckEventKey is run by the tests that have an engine: it goes back to the table of
// before, and migrates it with its rows, from wherever an earlier try was cut off.
func CheckEventKey(t *testing.T, w *Warehouse) {
	t.Helper()
	exec := func(statement string) {
		t.Helper()
		if err := w.conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	at := time.UnixMilli(1_700_000_000_000).UTC()
	event := func(source string) Event {
		return Event{Origin: Origin{Site: "west"}, ID: "e1", Type: "t", Source: source, Time: at, Message: "m"}
	}
	exec("CREATE TABLE before AS event ENGINE = ReplacingMergeTree PARTITION BY toYYYYMM(received_at) ORDER BY (site, time, id) SETTINGS " +
		durable)
	exec("DROP TABLE event")
	exec("RENAME TABLE before TO event")
	if err := w.Write(t.Context(), &Group{ID: uuid.New(), ReceivedAt: at, Events: []Event{event("/sites/west/a")}}); err != nil {
		t.Fatal(err)
	}
	steps, err := loadMigrations(migrationFiles)
	if err != nil {
		t.Fatal(err)
	}
	var step migration
	for _, s := range steps {
		if s.name == "event_source" {
			step = s
		}
	}
	for cut := range len(step.statements) + 1 {
		for _, s := range step.statements[:cut] {
			if err := w.conn.Exec(t.Context(), strings.ReplaceAll(s, "${durable}", durable)); err != nil && !alreadyThere(err) {
				t.Fatal(err)
			}
		}
		exec(fmt.Sprintf("ALTER TABLE schema_migration DELETE WHERE version = %d SETTINGS mutations_sync = 1", step.version))
		if err := w.Migrate(t.Context(), slog.New(slog.DiscardHandler)); err != nil {
			t.Fatalf("cut off behind %d statements: %v", cut, err)
		}
		list, err := w.Events(t.Context(), EventQuery{Limit: 10})
		if err != nil || len(list) != 1 || list[0].Message != "m" {
			t.Fatalf("cut off behind %d statements there are %d events, %v", cut, len(list), err)
		}
	}
	// Two sources may have one id at one time, and a repetition is none more.
	for range 2 {
		if err := w.Write(t.Context(), &Group{ID: uuid.New(), ReceivedAt: at,
			Events: []Event{event("/sites/west/a"), event("/sites/west/b")}}); err != nil {
			t.Fatal(err)
		}
	}
	exec("OPTIMIZE TABLE event FINAL")
	var rows uint64
	if err := w.conn.QueryRow(t.Context(), "SELECT count() FROM event").Scan(&rows); err != nil || rows != 2 {
		t.Errorf("%d rows, %v", rows, err)
	}
}
