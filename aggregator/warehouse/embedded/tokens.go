package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The engine writes an insert's deduplication token to the table's log first
// and gives the finished part its name after that. Killed between the two (a
// tenth of a millisecond), it comes back knowing the token but without the
// rows, and drops the insert silently when it is sent again. So before the
// engine opens a storage, the tokens of parts that are not there are taken out
// of the logs, in the logs' own terms: a record that drops them is appended.
//
// A log is "deduplication_log_N.txt" in "deduplication_logs" of a table's
// directory; its lines are operation, part and block id, divided by tabs.

const (
	tokenAdded   = "1"
	tokenDropped = "2"
)

// forgetAbsentTokens mends the token logs of all tables in the storage. Nothing
// else may have the storage open. A log that it does not understand is left as
// it is, with a warning.
func forgetAbsentTokens(dir string, log *slog.Logger) error {
	for _, pattern := range []string{"store/*/*", "data/*/*"} {
		logDirs, err := filepath.Glob(filepath.Join(escapeGlob(dir), pattern, "deduplication_logs"))
		if err != nil {
			return fmt.Errorf("look for token logs: %w", err)
		}
		for _, logDir := range logDirs {
			dropped, err := mendTokenLogs(logDir)
			switch {
			case errors.Is(err, errTokenLog):
				log.Warn("token log of a table is not understood, left as it is", "error", err)
			case err != nil:
				return fmt.Errorf("mend token logs: %w", err)
			case dropped > 0:
				log.Info("forgot the tokens of inserts that were cut off before their rows were in place", "table", filepath.Dir(logDir), "tokens",
					dropped)
			}
		}
	}
	return nil
}

// escapeGlob makes a pattern that matches just the path.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// errTokenLog is the error of a log in a form that is not known here.
var errTokenLog = errors.New("unknown form of token log")

// mendTokenLogs mends one table's logs and tells how many tokens it dropped.
func mendTokenLogs(logDir string) (dropped int, err error) {
	logs, err := tokenLogs(logDir)
	if err != nil || len(logs) == 0 {
		return 0, err
	}
	tokens := map[string]string{} // block id to part
	for i, path := range logs {
		content, err := os.ReadFile(path)
		if err != nil {
			return 0, err
		}
		whole, err := replayTokens(content, tokens)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		// A record that a power failure cut short would hide those after it.
		if whole < len(content) && i == len(logs)-1 {
			if err := os.Truncate(path, int64(whole)); err != nil {
				return 0, err
			}
		}
	}
	present, err := partsIn(filepath.Dir(logDir))
	if err != nil {
		return 0, err
	}
	var records []byte
	for _, id := range slices.Sorted(maps.Keys(tokens)) {
		p, ok := parsePart(tokens[id])
		if !ok {
			return 0, fmt.Errorf("%s: part %q: %w", logDir, tokens[id], errTokenLog)
		}
		if !slices.ContainsFunc(present[p.partition], func(q part) bool { return q.min <= p.min && p.max <= q.max }) {
			records = fmt.Appendf(records, "%s\t%s\t%s\n", tokenDropped, tokens[id], id)
			dropped++
		}
	}
	if dropped == 0 {
		return 0, nil
	}
	f, err := os.OpenFile(logs[len(logs)-1], os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return 0, err
	}
	_, err = f.Write(records)
	return dropped, errors.Join(err, f.Sync(), f.Close())
}

// tokenLogs gives the paths of a table's logs, oldest first.
func tokenLogs(logDir string) ([]string, error) {
	entries, err := os.ReadDir(logDir)
	if err != nil {
		return nil, err
	}
	numbers := map[int]string{}
	for _, entry := range entries {
		name, isText := strings.CutSuffix(entry.Name(), ".txt")
		digits, isLog := strings.CutPrefix(name, "deduplication_log_")
		number, err := strconv.Atoi(digits)
		if !isText || !isLog || err != nil || number < 0 {
			return nil, fmt.Errorf("%s: %w", filepath.Join(logDir, entry.Name()), errTokenLog)
		}
		numbers[number] = filepath.Join(logDir, entry.Name())
	}
	var paths []string
	for _, number := range slices.Sorted(maps.Keys(numbers)) {
		paths = append(paths, numbers[number])
	}
	return paths, nil
}

// replayTokens applies a log's records to tokens and gives the length of the
// whole ones; only the last may be cut short.
func replayTokens(content []byte, tokens map[string]string) (whole int, err error) {
	for whole < len(content) {
		line, _, ended := bytes.Cut(content[whole:], []byte("\n"))
		if !ended {
			return whole, nil
		}
		fields := strings.Split(string(line), "\t")
		switch {
		case len(fields) == 3 && fields[0] == tokenAdded && fields[1] != "" && fields[2] != "":
			tokens[fields[2]] = fields[1]
		case len(fields) == 3 && fields[0] == tokenDropped && fields[2] != "":
			delete(tokens, fields[2])
		default:
			return whole, fmt.Errorf("record %.100q: %w", line, errTokenLog)
		}
		whole += len(line) + 1
	}
	return whole, nil
}

// part is what the name of a part says: "partition_min_max_level[_mutation]",
// the numbers being those of the inserts that it holds.
type part struct {
	partition string
	min, max  uint64
}

func parsePart(name string) (part, bool) {
	fields := strings.Split(name, "_")
	if len(fields) != 4 && len(fields) != 5 || fields[0] == "" {
		return part{}, false
	}
	var numbers [4]uint64
	for i, field := range fields[1:] {
		var err error
		if numbers[i], err = strconv.ParseUint(field, 10, 64); err != nil {
			return part{}, false
		}
	}
	return part{partition: fields[0], min: numbers[0], max: numbers[1]}, numbers[0] <= numbers[1]
}

// partsIn gives the parts in a table's directory, by partition. Parts that are
// being written have names that are none.
func partsIn(table string) (map[string][]part, error) {
	entries, err := os.ReadDir(table)
	if err != nil {
		return nil, err
	}
	parts := map[string][]part{}
	for _, entry := range entries {
		if p, ok := parsePart(entry.Name()); ok && entry.Type() == fs.ModeDir {
			parts[p.partition] = append(parts[p.partition], p)
		}
	}
	return parts, nil
}
