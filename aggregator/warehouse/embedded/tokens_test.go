package embedded

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTokenOfAbsentPart puts a table into the state of an engine that was
// killed after it noted a token and before it put the rows in place.
func TestTokenOfAbsentPart(t *testing.T) {
	p := startProcess(t, t.TempDir())
	conn := connect(t, p.DialContext)
	mustExec(t, conn, `CREATE TABLE source (a UInt64, b String) ENGINE = ReplacingMergeTree ORDER BY a
		SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 10000`)
	send := func() {
		t.Helper()
		for i, token := range []string{"one", "two", "three"} {
			if err := sendToken(t.Context(), conn, "source", token, i*10, 10); err != nil {
				t.Fatal(err)
			}
		}
	}
	send()
	path := ask[string](t, t.Context(), conn, "SELECT path FROM system.parts WHERE table = 'source' AND name = 'all_2_2_1'")
	pid := p.PID()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	unfinished := filepath.Join(filepath.Dir(filepath.Clean(path)), "tmp_insert_all_2_2_1")
	if err := os.Rename(path, unfinished); err != nil {
		t.Fatal(err)
	}
	for p.PID() == pid || p.PID() == 0 {
		time.Sleep(time.Millisecond)
	}
	for range 2 {
		send()
		if n := ask[uint64](t, t.Context(), conn, "SELECT count() FROM source"); n != 30 {
			t.Fatalf("%d rows, want 30", n)
		}
	}
}

func TestMendTokenLogs(t *testing.T) {
	table := t.TempDir()
	logDir := filepath.Join(table, "deduplication_logs")
	for _, dir := range []string{logDir, filepath.Join(table, "all_1_3_1"), filepath.Join(table, "all_7_7_0_9"),
		filepath.Join(table, "202601_1_1_0"),
		filepath.Join(table, "tmp_insert_all_5_5_1"), filepath.Join(table, "detached")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, content string) string {
		path := filepath.Join(logDir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("deduplication_log_9.txt", "1\tall_1_1_0\tmerged\n1\tall_4_4_0\tdropped\n2\tall_4_4_0\tdropped\n1\tall_5_5_1\tabsent\n1\tall_6_6_0\tsent again\n")
	last := write("deduplication_log_10.txt", "1\tall_7_7_0\tsent again\n1\t202601_1_1_0\tthere\n1\t202602_1_1_0\tother partition\n1\tall_8")
	dropped, err := mendTokenLogs(logDir)
	if err != nil || dropped != 2 {
		t.Fatalf("dropped %d, %v", dropped, err)
	}
	want := "1\tall_7_7_0\tsent again\n1\t202601_1_1_0\tthere\n1\t202602_1_1_0\tother " +
		"partition\n2\tall_5_5_1\tabsent\n2\t202602_1_1_0\tother partition\n"
	if got, _ := os.ReadFile(last); string(got) != want {
		t.Errorf("the log is\n%s\nwant\n%s", got, want)
	}
	if dropped, err := mendTokenLogs(logDir); dropped != 0 || err != nil {
		t.Errorf("mending again dropped %d, %v", dropped, err)
	}

	strange := write("deduplication_log_11.txt", "3\tall_9_9_0\tx\n")
	if _, err := mendTokenLogs(logDir); !errors.Is(err, errTokenLog) {
		t.Errorf("a strange log: %v", err)
	}
	if got, _ := os.ReadFile(strange); string(got) != "3\tall_9_9_0\tx\n" {
		t.Errorf("the strange log was changed to %q", got)
	}
	if err := forgetAbsentTokens(t.TempDir(), slog.New(slog.DiscardHandler)); err != nil {
		t.Errorf("an empty storage: %v", err)
	}
}

// FuzzReplayTokens checks that records are read to the last whole one.
func FuzzReplayTokens(f *testing.F) {
	f.Add([]byte("1\tall_1_1_0\tid\n2\tall_1_1_0\tid\n1\tall"))
	f.Add([]byte("\n\x00\t\t\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		tokens := map[string]string{}
		whole, err := replayTokens(content, tokens)
		if whole < 0 || whole > len(content) || whole > 0 && content[whole-1] != '\n' {
			t.Fatalf("%d of %d bytes are whole", whole, len(content))
		}
		if err == nil && strings.Contains(string(content[whole:]), "\n") {
			t.Fatalf("%q was left", content[whole:])
		}
		for _, name := range tokens {
			if p, ok := parsePart(name); ok && p.min > p.max {
				t.Fatalf("part %q", name)
			}
		}
	})
}
