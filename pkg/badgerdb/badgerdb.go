// Package badgerdb opens badger databases for small values that change in place:
// sized for small machines, and openable again after a kill at any moment.
package badgerdb

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// Open opens or makes the database in dir. Beyond what both programs need, tune
// sets what differs. The error is ErrDamaged only where that is certain.
func Open(dir string, logger *slog.Logger, tune func(badger.Options) badger.Options) (*badger.DB, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := removeUnborn(dir); err != nil {
		return nil, err
	}
	if err := accessible(dir); err != nil {
		return nil, explain(err)
	}
	db, err := badger.Open(tune(badger.DefaultOptions(dir).
		WithMemTableSize(8 << 20).
		WithNumMemtables(2).
		WithNumCompactors(2).
		WithCompression(options.None).
		WithNumVersionsToKeep(1).
		// Writers take turns; nothing is read and written by two at once.
		WithDetectConflicts(false).
		WithMetricsEnabled(false).
		WithLogger(badgerLogger{logger})))
	if err != nil {
		return nil, explain(classify(err))
	}
	return db, nil
}

// removeUnborn removes the logs that have no length yet. Badger makes a file and
// then gives it its size; killed in between, it leaves one that it later refuses
// to open (badger 4.9: "Create a new file"). Nothing was ever in it.
func removeUnborn(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext != ".mem" && ext != ".vlog" {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if info.Size() > 0 {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("removing an empty log that a kill left behind: %w", err)
		}
	}
	return nil
}

// badgerLogger hands on what badger says: its own progress only as debug.
type badgerLogger struct{ logger *slog.Logger }

func (l badgerLogger) Errorf(format string, args ...any)   { log(l.logger.Error, format, args) }
func (l badgerLogger) Warningf(format string, args ...any) { log(l.logger.Warn, format, args) }
func (l badgerLogger) Infof(format string, args ...any)    { log(l.logger.Debug, format, args) }
func (l badgerLogger) Debugf(format string, args ...any)   { log(l.logger.Debug, format, args) }

func log(to func(string, ...any), format string, args []any) {
	to("badger: " + strings.TrimSpace(fmt.Sprintf(format, args...)))
}
