package warehouse

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// A key of a table cannot be changed: its rows are copied, in pieces, into one that has
// the other key and takes its name then, in one step. Each piece is noted in
// schema_progress when it is done, so a copy that was cut off goes on behind the last
// one; the piece that was under way is copied again, and replaces itself. Nothing is
// written meanwhile, for nobody ingests before the schema is up to date.

// A piece has at most so many rows, and so many bytes of documents or one row. Tests
// make them small.
var pieceRows, pieceBytes uint64 = 20_000, 32 << 20

// tellEvery is how often the log says how far a copy is.
const tellEvery = 5 * time.Second

// relaid is a table that is copied.
type relaid struct {
	name string
	// key are the columns that the table is ordered by before, and sorted what it is
	// ordered by afterwards, as the engine writes it.
	key    []string
	sorted string
	// numbers are those columns of the key that are no texts.
	numbers []string
	// size is the expression for what a row takes beside its key.
	size string
	// insert and selects are the columns of the copy and the expressions for them; from
	// is what they are of, with the condition of the piece in place of %s.
	insert, selects []string
	from            string
}

// same are columns that are copied as they are.
func same(columns string) (list []string) { return strings.Split(columns, " ") }

// searchOf is filter.SearchText in SQL, where paths are the layout's. The first three of
// the letters that are no smaller ones there are put aside while the others are folded.
const searchOf = `translateUTF8(lowerUTF8(translateUTF8(substring(arrayStringConcat(arrayFilter(t -> t != '', arrayConcat([name, uid, toString(project)], ` +
	`arrayMap(k -> labels[k], arraySort(mapKeys(labels))), arrayMap(p -> replaceAll(fields[p], '\x1f', '\n'), paths))), '\n'), 1, 16384), ` +
	"'\u0130\u212a', '\ue000\ue001')), '\ue000\ue001\u03c2', '\u0130\u212a\u03c3')"

var relaidTables = []relaid{
	{
		name: "asset", key: same("site type uid"), sorted: "type, site, uid", size: "length(document)",
		insert: append(same(assetColumns), "search"), selects: append(same(assetColumns), searchOf),
		from: `(SELECT * FROM asset FINAL WHERE %s) AS a LEFT JOIN (SELECT site AS told_site, name AS told_type, ` +
			`JSONExtract(layout, 'search', 'Array(String)') AS paths FROM asset_type FINAL) AS l ON l.told_site = a.site AND l.told_type = a.type`,
	},
	{
		name: "asset_version", key: same("site type uid version"), sorted: "type, site, uid, version", numbers: same("version"),
		size: "length(document)", insert: same(versionColumns), selects: same(versionColumns), from: "asset_version FINAL WHERE %s",
	},
	{
		name: "relation", key: same("site from_uid from_type kind to_type to_uid"), sorted: "from_id, dir, kind, to_id, site", size: "0",
		insert: same("site dir from_type from_uid kind to_type to_uid version deleted received_at ingest_id"),
		selects: []string{"site", "seen AS dir", "if(seen = 'out', r.from_type, r.to_type)", "if(seen = 'out', r.from_uid, r.to_uid)", "kind",
			"if(seen = 'out', r.to_type, r.from_type)", "if(seen = 'out', r.to_uid, r.from_uid)", "version", "deleted", "received_at", "ingest_id"},
		from: `(SELECT * FROM relation FINAL WHERE %s) AS r ` +
			`ARRAY JOIN if(splitByChar('.', toString(r.from_type))[1] = splitByChar('.', toString(r.to_type))[1], ['out', 'in'], ['out', 'in', 'far']) AS seen`,
	},
}

const (
	assetColumns = "site type uid version deleted scope name region project status labels hash document fields " +
		"created_at updated_at observed_at received_at agent_id ingest_id"
	versionColumns = "site type uid version claimed_version operation scope name region project status labels hash document changed " +
		"edges.kind edges.type edges.uid edges_known created_at updated_at observed_at received_at agent_id spool_id seq ingest_id"
)

// copying is how far a copy is.
type copying struct {
	table    string
	rows, of uint64
}

// Migrating says how far a migration is that takes long, and nothing if none is under way.
func (w *Warehouse) Migrating() string {
	c := w.copying.Load()
	if c == nil {
		return ""
	}
	return fmt.Sprintf("the warehouse is brought up to date: %d of %d rows of table %s are copied", c.rows, c.of, c.table)
}

// relayout gives the tables of the inventory their new keys.
func (w *Warehouse) relayout(ctx context.Context, logger *slog.Logger) error {
	defer w.copying.Store(nil)
	for i := range relaidTables {
		t := &relaidTables[i]
		var sorted string
		if err := w.conn.QueryRow(ctx, "SELECT sorting_key FROM system.tables WHERE database = currentDatabase() AND name = $1",
			t.name).Scan(&sorted); err != nil {
			return fmt.Errorf("looking how %s is ordered: %w", t.name, err)
		}
		if sorted != t.sorted {
			if err := w.copyTable(ctx, t, logger); err != nil {
				return fmt.Errorf("copying %s to its new layout: %w", t.name, err)
			}
			if err := w.conn.Exec(ctx, fmt.Sprintf("EXCHANGE TABLES %s AND %s_next", t.name, t.name)); err != nil {
				return fmt.Errorf("giving %s its new layout: %w", t.name, err)
			}
		}
		// What has the other name now is the table of before, or an empty one.
		if err := w.conn.Exec(ctx, fmt.Sprintf("DROP TABLE IF EXISTS %s_next SYNC SETTINGS max_table_size_to_drop = 0", t.name)); err != nil {
			return fmt.Errorf("removing what %s was before: %w", t.name, err)
		}
	}
	if err := w.conn.Exec(ctx, "TRUNCATE TABLE schema_progress"); err != nil {
		return fmt.Errorf("clearing the notes of the copies: %w", err)
	}
	return nil
}

func (w *Warehouse) copyTable(ctx context.Context, t *relaid, logger *slog.Logger) error {
	var c copying
	var noted string
	if err := w.conn.QueryRow(ctx, "SELECT argMax(after, rows), max(rows) FROM schema_progress WHERE name = $1", t.name).
		Scan(&noted, &c.rows); err != nil {
		return fmt.Errorf("reading how far it is: %w", err)
	}
	var after []string
	if noted != "" {
		if err := json.Unmarshal([]byte(noted), &after); err != nil || len(after) != len(t.key) {
			return fmt.Errorf("schema_progress has %q: remove its row, and the copy begins anew", noted)
		}
	}
	if err := w.conn.QueryRow(ctx, "SELECT count() FROM "+t.name).Scan(&c.of); err != nil {
		return fmt.Errorf("counting rows: %w", err)
	}
	c.table = t.name
	if c.rows == 0 && c.of > 0 {
		if err := w.roomFor(ctx, t.name); err != nil {
			return err
		}
	}
	told := time.Now()
	for {
		w.copying.Store(&copying{c.table, c.rows, max(c.of, c.rows)})
		until, rows, err := w.piece(ctx, t, after)
		if err != nil || rows == 0 {
			return err
		}
		if err := w.copyPiece(ctx, t, after, until); err != nil {
			return err
		}
		after, c.rows = until, c.rows+rows
		note, err := json.Marshal(after)
		if err != nil {
			return err
		}
		if err := w.conn.Exec(ctx, "INSERT INTO schema_progress (name, after, rows, of) VALUES ($1, $2, $3, $4)", t.name, string(note), c.rows,
			c.of); err != nil {
			return fmt.Errorf("noting how far it is: %w", err)
		}
		if time.Since(told) > tellEvery {
			told = time.Now()
			logger.Info("copying a table to its new layout; the aggregator serves when it is done", "table", t.name, "rows", c.rows, "of",
				max(c.of, c.rows))
		}
	}
}

// roomFor returns an error if there is no room on the disk for a second copy of a table.
func (w *Warehouse) roomFor(ctx context.Context, table string) error {
	var size, free uint64
	if err := w.conn.QueryRow(ctx, `SELECT (SELECT sum(bytes_on_disk) FROM system.parts WHERE database = currentDatabase() AND active AND table = $1),
		(SELECT min(unreserved_space) FROM system.disks WHERE type = 'Local')`, table).Scan(&size, &free); err != nil {
		return fmt.Errorf("looking for room on the disk: %w", err)
	}
	if free > 0 && free < size+size/10 {
		return fmt.Errorf("it has %d MB, and %d MB are free on the warehouse's disk: it needs room for a second copy until it is done; make room and "+
			"start again", size>>20, free>>20)
	}
	return nil
}

// piece returns the last key of the next piece behind a key, and how many rows it has.
func (w *Warehouse) piece(ctx context.Context, t *relaid, after []string) (until []string, n uint64, err error) {
	where, parameters := t.between(after, nil)
	texts := make([]string, len(t.key))
	for i, column := range t.key {
		texts[i] = "toString(" + column + ")"
	}
	rows, err := w.conn.Query(ctx, fmt.Sprintf("SELECT [%s], toUInt64(%s) FROM %s WHERE %s ORDER BY %s LIMIT %d", strings.Join(texts, ", "), t.size,
		t.name, where, strings.Join(t.key, ", "), pieceRows), parameters...)
	if err != nil {
		return nil, 0, fmt.Errorf("listing the next rows: %w", err)
	}
	type row struct {
		key  []string
		size uint64
	}
	list, err := scan(rows, func(r *row) []any { return []any{&r.key, &r.size} })
	if err != nil {
		return nil, 0, err
	}
	var bytes uint64
	for _, r := range list {
		if bytes += r.size; n > 0 && bytes > pieceBytes {
			break
		}
		until, n = r.key, n+1
	}
	return until, n, nil
}

func (w *Warehouse) copyPiece(ctx context.Context, t *relaid, after, until []string) error {
	where, parameters := t.between(after, until)
	quoted := func(list []string) string { return strings.Join(list, ", ") }
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
		"max_partitions_per_insert_block": 0, "async_insert": 0, "insert_deduplicate": 0, "join_use_nulls": 0}))
	if err := w.conn.Exec(ctx, fmt.Sprintf("INSERT INTO %s_next (%s) SELECT %s FROM %s", t.name, quoted(t.insert), quoted(t.selects),
		fmt.Sprintf(t.from, where)), parameters...); err != nil {
		return fmt.Errorf("behind %q: %w", after, err)
	}
	return nil
}

// between is the condition for keys above after, unless that is nil, and not above until,
// unless that is. The engine looks up the range of one column in a key and not that of
// several together, so those that the two have in common are said as well.
func (t *relaid) between(after, until []string) (string, []any) {
	var c where
	bound := func(values []string, prefix, operator string) {
		if values == nil {
			return
		}
		places := make([]string, len(t.key))
		for i, column := range t.key {
			kind := "String"
			if slices.Contains(t.numbers, column) {
				kind = "UInt64"
			}
			places[i] = fmt.Sprintf("{%s%d:%s}", prefix, i, kind)
			c.parameters = append(c.parameters, clickhouse.Named(fmt.Sprint(prefix, i), values[i]))
		}
		c.add(fmt.Sprintf("(%s) %s (%s)", strings.Join(t.key, ", "), operator, strings.Join(places, ", ")))
		for i, column := range t.key {
			if i > 0 && (after == nil || until == nil || after[i-1] != until[i-1]) {
				break
			}
			c.add(fmt.Sprintf("%s %s= %s", column, operator[:1], places[i]))
		}
	}
	bound(after, "a", ">")
	bound(until, "u", "<=")
	if len(c.conditions) == 0 {
		return "1", nil
	}
	return strings.Join(c.conditions, " AND "), c.parameters
}
