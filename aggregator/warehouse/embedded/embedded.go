// Package embedded is the ClickHouse engine without a ClickHouse server: the
// shared library libchdb, reached by the ordinary driver (clickhouse-go) over
// HTTP on a connection that never leaves the machine. The statements, types
// and errors are those of a server, so the warehouse has one code path.
//
// There are two ways to run it:
//
//   - [Open] runs the engine inside this process.
//   - [Start] runs it in a process of its own and starts that again when it
//     dies: a fault in the engine, or the kernel's out-of-memory killer, then
//     takes down neither the caller nor what the caller holds in memory. The
//     child calls [Serve].
//
// Either gives a DialContext; [ClientOptions] makes driver options of it.
//
// # The HTTP interface
//
// [Engine.Handler] speaks the part of ClickHouse's HTTP interface that the
// driver uses: the statement in the body, or in ?query= with the data of an
// INSERT in the body; param_NAME for {NAME:Type} places; database;
// default_format; every other URL parameter is a setting, for that statement
// only. Results and INSERT data are streamed. An error has a status of 4xx or
// 5xx, the code in X-ClickHouse-Exception-Code and the message as body; an error
// after the first bytes of a result is appended to them in ClickHouse's
// __exception__ frame. One statement a request: several, separated by
// semicolons, are refused as a server does. When the client goes away, its
// statement is killed. /ping answers without asking the engine.
//
// Not supported: compression of any kind (the bytes cross a local socket),
// sessions, and external tables. No request is authenticated: who can
// reach the listener may do everything, so it is a socket in a directory of
// mode 0700, or memory.
//
// # Safety of data
//
// The engine syncs an INSERT to disk before it answers only for tables with
// fsync_after_insert=1 and fsync_part_directory=1, and remembers
// insert_deduplication_token only for tables with a
// non_replicated_deduplication_window; both are the schema's business. Then an
// insert that was answered is there after a crash at any moment, and one that
// was not can be sent again under its token and counts once.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/warehouse/engine"
)

// DefaultMemoryLimit is what the engine may use where [Options] does not say.
const DefaultMemoryLimit = 1 << 30

// minMemoryLimit is the least that lets the engine insert and merge.
const minMemoryLimit = 128 << 20

const (
	// maxStatements bounds the statements running at once; further ones wait.
	maxStatements = 24
	// lockPatience is how long Open waits for a predecessor to let go of the storage.
	lockPatience = 15 * time.Second
	// closePatience is how long Close waits for killed statements to end.
	closePatience = 30 * time.Second
)

// ErrClosed is the error of an engine or process that was closed.
var ErrClosed = errors.New("engine is closed")

// ErrInUse is the error of [Open] when this process has an engine open
// already: the library holds one storage directory at a time.
var ErrInUse = errors.New("an engine is open in this process already")

// Options say where the engine lies and what it may use.
type Options struct {
	// Dir is the storage directory, made with mode 0700 when missing. Required.
	Dir string
	// Library is the path of libchdb.so; empty: see [engine.Find].
	Library string
	// MemoryLimit is how many bytes the engine may use for statements, merges
	// and caches; caches are sized by it, and one statement may have half of
	// it. 0 means [DefaultMemoryLimit]; less than 128 MiB is refused. The
	// process needs about 50 MB more, and some 150 MB of the library's own
	// pages, which the kernel can drop. The engine itself never goes beyond nine
	// tenths of the memory of machine or control group. Freed memory goes back to
	// the kernel after half a second ([Start]) or five ([Open], unless the
	// environment says JE_MALLOC_CONF=dirty_decay_ms:500,muzzy_decay_ms:0).
	MemoryLimit int64
	// Config is the path of a configuration file for the engine, such as one that
	// names a users_config; empty: engine.xml in Dir, if it is there.
	Config string
	// Logger gets what an operator should know; nil means slog.Default().
	Logger *slog.Logger
}

// resolve checks the options and fills in what they leave open.
func (o Options) resolve() (Options, error) {
	if o.Dir == "" {
		return o, errors.New("engine options: Dir is empty, it has to name the storage directory")
	}
	// With a relative path the engine fails every insert that syncs.
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return o, fmt.Errorf("engine options: make %s absolute: %w", o.Dir, err)
	}
	o.Dir = dir
	switch {
	case o.MemoryLimit == 0:
		o.MemoryLimit = DefaultMemoryLimit
	case o.MemoryLimit < minMemoryLimit:
		return o, fmt.Errorf("engine options: MemoryLimit is %d bytes, the engine needs at least %d", o.MemoryLimit, minMemoryLimit)
	}
	if o.Library, err = engine.Find(o.Library); err != nil {
		return o, err
	}
	if o.Config == "" {
		o.Config = filepath.Join(o.Dir, "engine.xml")
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o, nil
}

// serverArguments are read once, by the first connection.
func (o Options) serverArguments() []string {
	part := func(divisor int64) int64 { return o.MemoryLimit / divisor }
	arguments := []string{
		// Without this the engine would take up a config.xml of the working
		// directory, the home directory or /etc.
		"--config-file=" + o.Config,
	}
	for _, s := range []struct {
		name  string
		value int64
	}{
		{"max_server_memory_usage", o.MemoryLimit},
		{"merges_mutations_memory_usage_soft_limit", part(2)},
		{"mark_cache_size", part(16)},
		{"primary_index_cache_size", part(16)},
		{"uncompressed_cache_size", 0},
		{"index_mark_cache_size", part(64)},
		{"index_uncompressed_cache_size", 0},
		{"query_condition_cache_size", part(64)},
		{"vector_similarity_index_cache_size", part(64)},
		{"text_index_tokens_cache_size", part(64)},
		{"text_index_header_cache_size", part(64)},
		{"text_index_postings_cache_size", part(64)},
		{"compiled_expression_cache_size", part(64)},
		{"mmap_cache_size", 100},
		{"max_thread_pool_size", 1000},
		{"max_thread_pool_free_size", 16},
	} {
		arguments = append(arguments, fmt.Sprintf("--%s=%d", s.name, s.value))
	}
	return arguments
}

// connectionArguments are read by every connection.
func (o Options) connectionArguments() []string {
	return []string{
		"--path=" + o.Dir, // must be the same each time
		// As on a server: the library would run any expression as a SELECT.
		"--implicit_select=0",
		"--allow_introspection_functions=0",
		// Blocks come large already; a lone one would wait half a second.
		"--async_insert=0",
		// One greedy statement must not fail the others.
		fmt.Sprintf("--max_memory_usage=%d", o.MemoryLimit/2),
		// Small blocks of one INSERT are gathered up to this; by default 256 MB.
		fmt.Sprintf("--min_insert_block_size_bytes=%d", o.MemoryLimit/16),
	}
}

// Engine is the ClickHouse engine inside this process. Its methods may be
// called by several goroutines.
type Engine struct {
	lib       *library
	log       *slog.Logger
	arguments []string // of every connection
	version   string
	timezone  string

	slots     chan struct{} // one for each statement that may run at once
	stuck     chan struct{} // has one when a killed statement goes on
	nextMark  atomic.Uint64
	anchor    *connection // keeps the engine up between statements, and kills them
	anchoring sync.Mutex

	ctx      context.Context // ends when the engine closes
	cancel   context.CancelFunc
	listener *memoryListener
	server   *http.Server
	serving  sync.WaitGroup

	closing  sync.Once
	closeErr error
}

// openEngine tells whether this process has an engine.
var openEngine atomic.Bool

// Open starts the engine in this process, on the storage in o.Dir. It waits up
// to 15 seconds, or until ctx ends, for another process to let go of the
// storage, for a predecessor may still be going away. Only one engine can be
// open in a process: [ErrInUse] otherwise.
//
// Before the engine gets the storage, deduplication tokens of inserts that a
// killed predecessor noted but did not finish are taken out: the engine would
// take those inserts for done when they are sent again.
func Open(ctx context.Context, o Options) (*Engine, error) {
	o, err := o.resolve()
	if err != nil {
		return nil, err
	}
	if !openEngine.CompareAndSwap(false, true) {
		return nil, fmt.Errorf("open engine on %s: %w", o.Dir, ErrInUse)
	}
	e, err := open(ctx, o)
	if err != nil {
		openEngine.Store(false)
		return nil, fmt.Errorf("open engine on %s: %w", o.Dir, err)
	}
	return e, nil
}

func open(ctx context.Context, o Options) (*Engine, error) {
	lib, err := loadLibrary(o.Library)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make storage directory: %w", err)
	}
	if err := prepareStorage(ctx, o.Dir, o.Logger); err != nil {
		return nil, err
	}
	e := &Engine{
		lib:       lib,
		log:       o.Logger,
		arguments: o.connectionArguments(),
		slots:     make(chan struct{}, maxStatements),
		stuck:     make(chan struct{}, 1),
		listener:  newMemoryListener(),
	}
	started := time.Now()
	if e.anchor, err = e.connect(o.serverArguments()...); err != nil {
		return nil, err
	}
	out, err := e.anchor.query("SELECT version(), timezone()", "TSVRaw", nil)
	if err != nil {
		e.anchor.close()
		return nil, fmt.Errorf("ask the engine for its version: %w", err)
	}
	e.version, e.timezone, _ = strings.Cut(strings.TrimSpace(string(out)), "\t")

	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.server = newServer(e)
	e.serving.Go(func() { _ = e.server.Serve(e.listener) }) // ends with the listener
	e.log.Info("engine is open", "dir", o.Dir, "version", e.version, "memory_limit", o.MemoryLimit,
		"took", time.Since(started).Round(time.Millisecond))
	return e, nil
}

// prepareStorage waits until no other process holds the lock of the storage,
// and mends what a killed one has left. The engine would refuse a locked
// storage at once, and say so on stderr only.
func prepareStorage(ctx context.Context, dir string, log *slog.Logger) error {
	status := filepath.Join(dir, "status") // the engine's lock file
	deadline := time.Now().Add(lockPatience)
	for {
		lock, err := lockFile(status)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil // nothing is stored yet
		case err == nil:
			err = forgetAbsentTokens(dir, log)
			return errors.Join(err, lock.Close())
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return fmt.Errorf("lock the storage: %w", err)
		case time.Now().After(deadline):
			holder, _ := os.ReadFile(status)
			return fmt.Errorf("the storage is in use by another process, waited %s for it (%s says %q)",
				lockPatience, status, strings.Join(strings.Fields(string(holder)), " "))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for another process to release the storage: %w", context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// lockFile locks an existing file until it is closed, or fails with
// [syscall.EWOULDBLOCK] when another process has locked it.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// Handler gives the HTTP interface, see the package's comment.
func (e *Engine) Handler() http.Handler { return http.HandlerFunc(e.serveHTTP) }

// DialContext connects to the HTTP interface through memory.
func (e *Engine) DialContext(ctx context.Context) (net.Conn, error) {
	return e.listener.dial(ctx)
}

// Close kills the statements that run, waits for them, and closes the engine,
// which ends its merges and releases the storage. The storage can be opened
// again afterwards. It fails when a statement does not end within 30 seconds:
// then the engine stays up until the process ends. Further calls give the
// first one's error.
func (e *Engine) Close() error {
	e.closing.Do(func() { e.closeErr = e.close() })
	return e.closeErr
}

func (e *Engine) close() error {
	e.cancel() // from now on no statement starts, and those running are killed
	patience := time.After(closePatience)
	for range maxStatements {
		select {
		case e.slots <- struct{}{}:
		case <-patience:
			return fmt.Errorf("close engine: statements still run %s after they were killed", closePatience)
		}
	}
	// The handlers have no statement left, only words to write.
	_ = e.server.Close()
	e.serving.Wait()
	e.anchoring.Lock()
	defer e.anchoring.Unlock()
	e.anchor.close()
	openEngine.Store(false)
	return nil
}

// memoryListener is a net.Listener whose connections are pipes.
type memoryListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newMemoryListener() *memoryListener {
	return &memoryListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *memoryListener) dial(ctx context.Context) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, fmt.Errorf("dial engine: %w", ErrClosed)
	case <-ctx.Done():
		return nil, fmt.Errorf("dial engine: %w", context.Cause(ctx))
	}
}

// Accept implements net.Listener.
func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *memoryListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *memoryListener) Addr() net.Addr { return memoryAddr{} }

type memoryAddr struct{}

func (memoryAddr) Network() string { return "memory" }
func (memoryAddr) String() string  { return "engine" }
