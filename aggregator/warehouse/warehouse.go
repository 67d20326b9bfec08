// Package warehouse keeps the inventory, its history, events and costs in
// ClickHouse: a server or cluster, or the embedded engine, by the same driver
// and the same statements.
//
// It knows rows and nothing of agents. Writing is in groups ([Group]), each row
// exactly once also when an insert was cut off and nobody knows whether it took
// place; see [Warehouse.Write] and [Warehouse.Settle].
package warehouse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/reeve-cloud/reeve/aggregator/warehouse/embedded"
)

// Database is the name of the database that holds all tables.
const Database = "reeve"

// Options say which ClickHouse to use.
type Options struct {
	// Address is embedded:DIR, or the address of a server as a URL:
	// clickhouse://user@host:9000/?secure=true
	Address string
	// Password for a server, so that the address need not hold it.
	Password string
	// Engine is for the embedded engine; its Dir comes from Address.
	Engine embedded.Options
	// EngineCommand is the command that runs the engine in a process of its
	// own. Empty means inside this process.
	EngineCommand []string
	Logger        *slog.Logger
}

// Warehouse is an open warehouse.
type Warehouse struct {
	conn driver.Conn
	// inserts has one connection, for each keeps the room that the largest insert
	// over it took, and those of conn are used by turns.
	inserts driver.Conn
	// options are those that conn was opened with; readers the connections of readers,
	// under closing.
	options clickhouse.Options
	closing sync.Mutex
	readers []driver.Conn
	// types are those of the columns, by table and name.
	types map[string]map[string]string
	// search has the paths that a search by words looks at.
	search  searches
	copying atomic.Pointer[copying]
	engine  interface{ Close() error }
	kind    string
	version string
}

const embeddedScheme = "embedded:"

// EmbeddedDir returns the directory of an embedded warehouse: false if the address
// is that of a server.
func EmbeddedDir(address string) (dir string, ok bool) {
	return strings.CutPrefix(address, embeddedScheme)
}

// CheckAddress returns an error unless address is of a form that Open takes.
func CheckAddress(address string) error {
	if dir, ok := EmbeddedDir(address); ok {
		if dir == "" {
			return errors.New(`warehouse "embedded:": the directory is missing`)
		}
		return nil
	}
	_, err := serverOptions(Options{Address: address})
	return err
}

// serverOptions reads a server's address. Errors do not repeat it: there may be
// a password in it.
func serverOptions(o Options) (*clickhouse.Options, error) {
	scheme, _, ok := strings.Cut(o.Address, "://")
	if !ok || scheme != "clickhouse" {
		return nil, errors.New("warehouse address: must be embedded:DIR or clickhouse://USER@HOST:9000")
	}
	c, err := clickhouse.ParseDSN(o.Address)
	if err != nil {
		return nil, errors.New("warehouse address: must be embedded:DIR or clickhouse://USER@HOST:9000; it cannot be read")
	}
	if o.Password != "" {
		c.Auth.Password = o.Password
	}
	if c.Compression == nil {
		c.Compression = &clickhouse.Compression{Method: clickhouse.CompressionLZ4}
	}
	return c, nil
}

// Open connects, starts the embedded engine if that is what the address says,
// and makes the database. Migrate must follow.
func Open(ctx context.Context, o Options) (*Warehouse, error) {
	w := &Warehouse{kind: "server", search: searches{types: make(map[string]*typeSearch)}}
	var options *clickhouse.Options
	if dir, ok := EmbeddedDir(o.Address); ok {
		w.kind = "embedded"
		dial, err := w.startEngine(ctx, dir, o)
		if err != nil {
			return nil, fmt.Errorf("starting the embedded engine: %w", err)
		}
		options = embedded.ClientOptions(dial)
	} else {
		var err error
		if options, err = serverOptions(o); err != nil {
			return nil, err
		}
	}
	if err := w.connect(ctx, options); err != nil {
		return nil, errors.Join(fmt.Errorf("connecting to the warehouse: %w", err), w.Close())
	}
	return w, nil
}

func (w *Warehouse) startEngine(ctx context.Context, dir string, o Options) (func(context.Context) (net.Conn, error), error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	o.Engine.Dir, o.Engine.Logger = dir, o.Logger
	if o.Engine.Config, err = writeFence(filepath.Join(dir, "access")); err != nil {
		return nil, fmt.Errorf("writing the engine's row policies: %w", err)
	}
	if len(o.EngineCommand) == 0 {
		e, err := embedded.Open(ctx, o.Engine)
		if err != nil {
			return nil, err
		}
		w.engine = e
		return e.DialContext, nil
	}
	p, err := embedded.Start(ctx, o.Engine, o.EngineCommand)
	if err != nil {
		return nil, err
	}
	w.engine = p
	return p.DialContext, nil
}

// freeMemory is the setting that gives a statement one thread only, unless there is a
// gigabyte of memory free for each: at the limits of a small machine always.
const freeMemory = "max_threads_min_free_memory_per_thread"

func (w *Warehouse) connect(ctx context.Context, options *clickhouse.Options) error {
	// The database is made over a connection that does not name it yet.
	options.Auth.Database = ""
	first, err := clickhouse.Open(options)
	if err != nil {
		return err
	}
	err = first.QueryRow(ctx, "SELECT version()").Scan(&w.version)
	if err == nil {
		err = first.Exec(ctx, "CREATE DATABASE IF NOT EXISTS "+Database)
	}
	var known uint64
	if err == nil {
		err = first.QueryRow(ctx, "SELECT count() FROM system.settings WHERE name = $1", freeMemory).Scan(&known)
	}
	if known > 0 {
		if options.Settings == nil {
			options.Settings = make(clickhouse.Settings)
		}
		options.Settings[freeMemory] = 0
	}
	if err = errors.Join(err, first.Close()); err != nil {
		return err
	}
	options.Auth.Database = Database
	w.options = *options
	if w.conn, err = clickhouse.Open(options); err != nil {
		return err
	}
	one := *options
	one.MaxOpenConns, one.MaxIdleConns, one.ConnMaxLifetime = 1, 1, time.Minute
	w.inserts, err = clickhouse.Open(&one)
	return err
}

// Conn is the driver's connection, with the database chosen.
func (w *Warehouse) Conn() driver.Conn { return w.conn }

// Kind is "embedded" or "server".
func (w *Warehouse) Kind() string { return w.kind }

// Version is that of ClickHouse.
func (w *Warehouse) Version() string { return w.version }

// Ping returns nil if the warehouse answers.
func (w *Warehouse) Ping(ctx context.Context) error {
	var one uint8
	if err := w.conn.QueryRow(ctx, "SELECT 1").Scan(&one); err != nil {
		return fmt.Errorf("warehouse: %w", err)
	}
	return nil
}

// Close closes the connections, and stops the engine if it is embedded.
func (w *Warehouse) Close() error {
	var errs []error
	w.closing.Lock()
	defer w.closing.Unlock()
	for _, c := range append(w.readers, w.inserts, w.conn) {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	if w.engine != nil {
		errs = append(errs, w.engine.Close())
	}
	return errors.Join(errs...)
}

// zero is how the warehouse says "unknown" of a time.
var zero = time.Unix(0, 0).UTC()

func orZero(t time.Time) time.Time {
	if t.IsZero() {
		return zero
	}
	return t
}
