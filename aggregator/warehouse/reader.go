package warehouse

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

const (
	// readerTable says what each reader may see.
	readerTable = "reader"
	// readerPrefix begins the names of readers' databases.
	readerPrefix = Database + "_reader_"
	// readerConnections is how many statements run at once over a reader.
	readerConnections = 4
)

// ReaderScope is what a reader may see.
type ReaderScope struct {
	// Name tells readers apart: lower-case letters, digits and underscores.
	Name string
	// Everything lets it see all sites; Sites are those that it may see otherwise.
	Everything bool
	Sites      []string
}

var readerName = regexp.MustCompile(`^[a-z0-9_]{1,48}$`)

// Reader is a way into the warehouse for statements of people: a database of its own,
// with the views and nothing else, in which the engine shows what the reader may see.
type Reader struct {
	conn     driver.Conn
	database string
}

// Conn is a connection that stands in the reader's database.
func (r *Reader) Conn() driver.Conn { return r.conn }

// Database is the name of the reader's database.
func (r *Reader) Database() string { return r.database }

// makeReaderTable makes the table of readers. It must be there before any table is
// asked that has a policy, for the policies ask it.
func (w *Warehouse) makeReaderTable(ctx context.Context) error {
	if err := w.conn.Exec(ctx, `CREATE TABLE IF NOT EXISTS `+readerTable+` (
		name String, everything Bool, sites Array(String), version UInt64
	) ENGINE = ReplacingMergeTree(version) ORDER BY name SETTINGS `+durable); err != nil {
		return fmt.Errorf("preparing the schema: %w", err)
	}
	return nil
}

// Reader makes a reader, or brings one up to date: its database, its views, and what it
// may see, from then on. It is closed with the warehouse. Migrate must have been called.
func (w *Warehouse) Reader(ctx context.Context, s ReaderScope) (*Reader, error) {
	if !readerName.MatchString(s.Name) {
		return nil, fmt.Errorf("reader %q: the name must be 1 to 48 lower-case letters, digits and underscores", s.Name)
	}
	database := readerPrefix + s.Name
	failed := func(err error) error { return fmt.Errorf("making the database of reader %s: %w", s.Name, err) }
	// What it may see first, so that the views never show more.
	if s.Sites == nil {
		s.Sites = []string{}
	}
	if err := w.conn.Exec(ctx, `INSERT INTO `+readerTable+` (name, everything, sites, version)
		SELECT {name:String}, {everything:Bool}, {sites:Array(String)}, (SELECT max(version) FROM `+readerTable+` WHERE name = {name:String}) + 1`,
		clickhouse.Named("name", database), clickhouse.Named("everything", s.Everything), clickhouse.Named("sites", s.Sites)); err != nil {
		return nil, failed(err)
	}
	if err := w.conn.Exec(ctx, "CREATE DATABASE IF NOT EXISTS "+database); err != nil {
		return nil, failed(err)
	}
	for i := range views {
		if err := w.conn.Exec(ctx, views[i].statement(database)); err != nil {
			return nil, failed(err)
		}
	}
	options := w.options
	options.Auth.Database = database
	options.MaxOpenConns, options.MaxIdleConns = readerConnections, 1
	conn, err := clickhouse.Open(&options)
	if err != nil {
		return nil, failed(err)
	}
	w.closing.Lock()
	defer w.closing.Unlock()
	w.readers = append(w.readers, conn)
	return &Reader{conn: conn, database: database}, nil
}

// Types returns the types of the views' columns, by view and column.
func (r *Reader) Types(ctx context.Context) (map[string]map[string]string, error) {
	types := make(map[string]map[string]string)
	for _, v := range views {
		rows, err := r.conn.Query(clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"describe_compact_output": 1})),
			"DESCRIBE TABLE "+v.Name)
		if err != nil {
			return nil, fmt.Errorf("describing the view %s: %w", v.Name, err)
		}
		types[v.Name], err = scanMap(rows, func(name, kind *string) []any { return []any{name, kind} })
		if err != nil {
			return nil, fmt.Errorf("describing the view %s: %w", v.Name, err)
		}
		// Tuples come with a line for each part.
		for name, kind := range types[v.Name] {
			types[v.Name][name] = strings.ReplaceAll(strings.Join(strings.Fields(kind), " "), "( ", "(")
		}
	}
	return types, nil
}
