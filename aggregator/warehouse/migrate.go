package warehouse

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migration is one step of the schema. Steps are only ever added: a released
// one never changes.
type migration struct {
	version    uint32
	name       string
	statements []string
}

// loadMigrations reads the steps in order. Their files are named
// NNNN_name.sql, each number larger than the one before, and each statement in them
// ends with a semicolon at the end of a line.
func loadMigrations(files fs.FS) ([]migration, error) {
	entries, err := fs.ReadDir(files, "migrations")
	if err != nil {
		return nil, err
	}
	var steps []migration
	for _, e := range entries {
		number, name, ok := strings.Cut(strings.TrimSuffix(e.Name(), ".sql"), "_")
		version, err := strconv.ParseUint(number, 10, 32)
		if !ok || err != nil || len(number) != 4 || version == 0 || len(steps) > 0 && uint32(version) <= steps[len(steps)-1].version {
			return nil, fmt.Errorf("migration %s: must be named NNNN_name.sql, with a number of its own", e.Name())
		}
		data, err := fs.ReadFile(files, "migrations/"+e.Name())
		if err != nil {
			return nil, err
		}
		m := migration{version: uint32(version), name: name}
		for s := range strings.SplitSeq(string(data), ";\n") {
			if s = strings.TrimSpace(s); s != "" {
				m.statements = append(m.statements, s)
			}
		}
		steps = append(steps, m)
	}
	return steps, nil
}

// Settings that make inserts survive a power cut, and let a repeated insert be
// recognized. (A MergeTree does neither by default.)
const durable = "fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 10000"

// Settings that keep maps in buckets, so that reading one key of many is fast: all maps,
// or those that have a dozen keys on average, as fields do and labels do not.
const (
	bucketedMaps = ", map_serialization_version = 'with_buckets', map_serialization_version_for_zero_level_parts = 'basic'" +
		", map_buckets_strategy = 'constant', max_buckets_in_map = 16, map_buckets_min_avg_size = "
	allMaps, largeMaps = bucketedMaps + "0", bucketedMaps + "12"
)

// Settings that let buffers begin small, for each column of a part that is written
// has several, and a map in buckets a hundred: a megabyte for each at once made
// inserts fail for memory while parts were merged.
const smallBuffers = "min_columns_to_activate_adaptive_write_buffer = 1, adaptive_write_buffer_initial_size = 131072"

// Empty reports whether the warehouse has no schema: Migrate was never called on it.
func (w *Warehouse) Empty(ctx context.Context) (bool, error) {
	var tables uint64
	if err := w.conn.QueryRow(ctx, "SELECT count() FROM system.tables WHERE database = currentDatabase()").Scan(&tables); err != nil {
		return false, fmt.Errorf("looking whether the warehouse is empty: %w", err)
	}
	return tables == 0, nil
}

// behind is what is done behind the statements of a step: what takes long, goes on where
// it was cut off, and says how far it is.
var behind = map[uint32]func(*Warehouse, context.Context, *slog.Logger) error{
	7:  (*Warehouse).giveEdgesToNewest,
	30: (*Warehouse).relayout,
}

// Migrate brings the schema up to date. An interrupted migration is repeated:
// each statement is skipped if what it makes is there already.
func (w *Warehouse) Migrate(ctx context.Context, logger *slog.Logger) error {
	return w.MigrateTo(ctx, math.MaxUint32, logger)
}

// MigrateTo brings the schema up to a version, as an aggregator of that version would
// have: for tests of what Migrate makes of it.
func (w *Warehouse) MigrateTo(ctx context.Context, version uint32, logger *slog.Logger) error {
	steps, err := loadMigrations(migrationFiles)
	if err != nil {
		return err
	}
	if err := w.conn.Exec(ctx, `CREATE TABLE IF NOT EXISTS schema_migration (
		version UInt32, name String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
	) ENGINE = ReplacingMergeTree ORDER BY version SETTINGS `+durable); err != nil {
		return fmt.Errorf("preparing the schema: %w", err)
	}
	if err := w.makeReaderTable(ctx); err != nil {
		return err
	}
	var current uint32
	var applied []uint32
	if err := w.conn.QueryRow(ctx, `SELECT max(version), groupUniqArray(version) FROM schema_migration`).Scan(&current, &applied); err != nil {
		return fmt.Errorf("reading the schema version: %w", err)
	}
	if newest := steps[len(steps)-1].version; current > newest {
		return fmt.Errorf("the warehouse has schema version %d, this aggregator knows %d: use the newer aggregator", current, newest)
	}
	fill := []string{"${durable}", durable}
	for place, settings := range map[string]string{"${bucketed_maps}": allMaps, "${field_buckets}": largeMaps} {
		known, err := w.ifKnown(ctx, settings, "", "map_serialization_version", "max_buckets_in_map", "map_buckets_min_avg_size")
		if err != nil {
			return err
		}
		fill = append(fill, place, known)
	}
	buffers, err := w.ifKnown(ctx, smallBuffers, "fsync_after_insert = 1", "min_columns_to_activate_adaptive_write_buffer",
		"adaptive_write_buffer_initial_size")
	if err != nil {
		return err
	}
	filler := strings.NewReplacer(append(fill, "${small_buffers}", buffers)...)
	for _, m := range steps {
		if slices.Contains(applied, m.version) || m.version > version {
			continue
		}
		for _, s := range m.statements {
			if err := w.conn.Exec(ctx, filler.Replace(s)); err != nil && !alreadyThere(err) {
				return fmt.Errorf("migrating the schema to version %d (%s): %w", m.version, m.name, err)
			}
		}
		if then := behind[m.version]; then != nil {
			if err := then(w, ctx, logger); err != nil {
				return fmt.Errorf("migrating the schema to version %d (%s): %w", m.version, m.name, err)
			}
		}
		if err := w.conn.Exec(ctx, `INSERT INTO schema_migration (version, name) VALUES ($1, $2)`, m.version, m.name); err != nil {
			return fmt.Errorf("migrating the schema to version %d (%s): %w", m.version, m.name, err)
		}
		logger.Info("schema migrated", "version", m.version, "name", m.name)
	}
	if w.types, err = w.columnTypes(ctx); err != nil {
		return err
	}
	if w.types["asset"]["search"] == "" {
		return nil // of a version that has none
	}
	return w.loadSearches(ctx)
}

// columnTypes returns the types of all columns, by table and name.
func (w *Warehouse) columnTypes(ctx context.Context) (map[string]map[string]string, error) {
	rows, err := w.conn.Query(ctx, "SELECT table, name, type FROM system.columns WHERE database = currentDatabase()")
	if err != nil {
		return nil, fmt.Errorf("reading the schema: %w", err)
	}
	defer rows.Close()
	types := make(map[string]map[string]string)
	for rows.Next() {
		var table, name, kind string
		if err := rows.Scan(&table, &name, &kind); err != nil {
			return nil, fmt.Errorf("reading the schema: %w", err)
		}
		if types[table] == nil {
			types[table] = make(map[string]string)
		}
		types[table][name] = kind
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading the schema: %w", err)
	}
	return types, nil
}

// ifKnown returns settings of tables if the engine knows their names, and others
// if not. Without them everything works, more slowly or with more memory.
func (w *Warehouse) ifKnown(ctx context.Context, settings, others string, names ...string) (string, error) {
	var known uint64
	if err := w.conn.QueryRow(ctx, `SELECT count() FROM system.merge_tree_settings WHERE has($1, name)`, names).Scan(&known); err != nil {
		return "", fmt.Errorf("asking the engine for its settings: %w", err)
	}
	if known < uint64(len(names)) {
		return others, nil
	}
	return settings, nil
}

// codeTableExists is ClickHouse's TABLE_ALREADY_EXISTS.
const codeTableExists = 57

func alreadyThere(err error) bool {
	var ex *clickhouse.Exception
	return errors.As(err, &ex) && ex.Code == codeTableExists
}
