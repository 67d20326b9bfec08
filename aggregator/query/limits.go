package query

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Class says who waits for an answer, and so what it may cost.
type Class uint8

// The classes. The zero one is Interactive.
const (
	// Interactive is for a person, or a program, that waits.
	Interactive Class = iota
	// Export is for what is streamed to a file.
	Export
	// Background is for what nobody waits for.
	Background
)

// String is the class's name.
func (c Class) String() string {
	switch c {
	case Export:
		return "export"
	case Background:
		return "background"
	}
	return "interactive"
}

// Limits are what one statement may cost.
type Limits struct {
	Time time.Duration
	// Memory is that of the engine, in bytes.
	Memory uint64
	// Rows is how many rows are read of tables.
	Rows uint64
	// Documents is how many expressions a statement has that read something out of a document:
	// two for each condition on elements of an array, and one for each of their paths and for
	// each path of the past. The engine takes some ten milliseconds to understand one, before
	// it looks at the time.
	Documents int
	// ResultBytes is the size of what is answered, in the engine's memory.
	ResultBytes uint64
	// Threads is how many threads work on it; 0 leaves that to the engine.
	Threads int
	// Priority is the lower, the later it has its turn: the engine lets what has a
	// smaller number go first.
	Priority int
}

// Limits are those of a class. A statement reads a table of versions once or twice, so
// 200 million rows is an estate of millions of assets with a long history.
func (c Class) Limits() Limits {
	const mega = 1 << 20
	switch c {
	case Export:
		return Limits{Time: 2 * time.Minute, Memory: 384 * mega, Rows: 1_000_000_000, Documents: 400, ResultBytes: 256 * mega, Threads: 1, Priority: 2}
	case Background:
		return Limits{Time: 5 * time.Minute, Memory: 384 * mega, Rows: 1_000_000_000, Documents: 400, ResultBytes: 64 * mega, Threads: 1, Priority: 3}
	}
	return Limits{Time: 10 * time.Second, Memory: 512 * mega, Rows: 200_000_000, Documents: 150, ResultBytes: 64 * mega, Priority: 1}
}

func (l Limits) settings() clickhouse.Settings {
	s := clickhouse.Settings{
		"readonly": 1,
		// Without it the engine takes one thread for a statement under a limit of 1 GiB.
		"max_threads_min_free_memory_per_thread": 0,
		"max_execution_time":                     l.Time.Seconds(),
		"timeout_overflow_mode":                  "throw",
		"max_memory_usage":                       l.Memory,
		"max_rows_to_read":                       l.Rows,
		"max_result_bytes":                       l.ResultBytes,
		"result_overflow_mode":                   "throw",
		"priority":                               l.Priority,
		"max_query_size":                         maxStatementSize,
		"max_ast_depth":                          2000,
		"max_ast_elements":                       200_000,
		"max_expanded_ast_elements":              1_000_000,
		"max_subquery_depth":                     100,
		// Of a number that a double cannot hold simdjson says that all of the document is
		// none.
		"allow_simdjson": 0,
		// The quick way of reading decimals is not exact.
		"precise_float_parsing": 1,
		// All tables of a statement are as of one moment.
		"enable_shared_storage_snapshot_in_query": 1,
		// What is sorted or grouped beyond this goes to disk.
		"max_bytes_before_external_group_by": l.Memory / 3,
		"max_bytes_before_external_sort":     l.Memory / 3,
	}
	if l.Threads > 0 {
		s["max_threads"] = l.Threads
	}
	return s
}

// patience is how long the engine is waited for that should have given up.
const patience = 500 * time.Millisecond

// maxStatementSize is how many bytes the text of a statement has at most, its values not
// among them.
const maxStatementSize = 4 << 20

// LimitError says that a query costs more than its class may.
type LimitError struct {
	Class Class
	// What is the limit, in words.
	What string
	// Hint says what to do.
	Hint string
}

// Error implements error.
func (e *LimitError) Error() string {
	return fmt.Sprintf("the query takes more than %s, which is the limit of %s queries: %s", e.What, e.Class, e.Hint)
}

// ErrUnavailable means that the warehouse failed, and not the query.
var ErrUnavailable = errors.New("the warehouse does not answer")

// The engine's codes for limits that are passed.
const (
	codeTooManyRows        = 158
	codeTimeout            = 159
	codeTooSlow            = 160
	codeMemoryLimit        = 241
	codeTooManyBytes       = 307
	codeTooManyRowsOrBytes = 396
	// Of statements that are too large to be understood.
	codeTooDeep          = 167
	codeTooBig           = 168
	codeTooDeepRecursion = 306
)

// within returns a context that ends when all statements of a question together have taken as
// long as one may.
func (c Class) within(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := c.Limits().Time
	return context.WithTimeoutCause(ctx, limit+patience, &LimitError{c, fmt.Sprintf("%v", limit), hint})
}

// hint says how to narrow a query.
const hint = "narrow it down, by a type, a site or a field that few assets have, or ask for fewer groups and columns"

// explainError puts an error of the engine into words.
func (c Class) explainError(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	}
	limits := c.Limits()
	exception, ok := errors.AsType[*clickhouse.Exception](err)
	if ok {
		switch exception.Code {
		case codeTimeout, codeTooSlow:
			return &LimitError{c, fmt.Sprintf("%v", limits.Time), hint}
		case codeMemoryLimit:
			return &LimitError{c, fmt.Sprintf("%d MiB of memory", limits.Memory>>20), hint}
		case codeTooManyRows, codeTooManyBytes:
			return &LimitError{c, fmt.Sprintf("%d rows to read", limits.Rows), hint}
		case codeTooDeep, codeTooBig, codeTooDeepRecursion:
			return &LimitError{c, "a statement may be long", "ask with fewer terms, and fewer paths and elements of documents, above all of " +
				"the past"}
		case codeTooManyRowsOrBytes:
			return &LimitError{c, fmt.Sprintf("%d MiB of answer", limits.ResultBytes>>20), hint}
		}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &LimitError{c, fmt.Sprintf("%v", limits.Time), hint}
	}
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, doing, err)
}

// Run runs a statement of a question and calls row for each of its rows, with what scans it. doing says
// what for, in errors.
func (p *Plan) Run(ctx context.Context, doing string, s *Statement, row func(driver.Rows) error) error {
	return p.engine.run(ctx, p.selection.Class, doing, s, row)
}

// RunWithin is Run with less time than the class of the question has.
func (p *Plan) RunWithin(ctx context.Context, limit time.Duration, doing string, s *Statement, row func(driver.Rows) error) error {
	limits := p.selection.Class.Limits()
	limits.Time = limit
	return p.engine.runWith(ctx, p.selection.Class, limits.settings(), doing, s, row)
}

// run runs a statement and calls row for each of its rows, with what scans it.
func (e *Engine) run(ctx context.Context, class Class, doing string, s *Statement, row func(driver.Rows) error) error {
	return e.runWith(ctx, class, class.Limits().settings(), doing, s, row)
}

func (e *Engine) runWith(ctx context.Context, class Class, settings clickhouse.Settings, doing string, s *Statement,
	row func(driver.Rows) error) error {
	if n := s.Len(); n > maxStatementSize {
		return &LimitError{class, fmt.Sprintf("%d bytes of statement", maxStatementSize), "ask for less at once"}
	}
	if most := class.Limits().Documents; s.documents > most {
		return &LimitError{class, fmt.Sprintf("%d readings of documents in a statement", most), "ask with fewer conditions on elements of arrays, " +
			"such as conditions[type=Ready].status=True, and for fewer of them and of paths of the past as columns and groups"}
	}
	// The engine keeps its limit by itself, but not while it understands a statement, nor when
	// it hangs.
	if s.eager {
		settings["query_plan_optimize_lazy_materialization"] = 0
	}
	within, cancel := context.WithTimeout(ctx, class.Limits().Time+patience)
	defer cancel()
	rows, err := e.conn.Query(clickhouse.Context(within, clickhouse.WithSettings(settings)), s.String(), s.values...)
	if err != nil {
		return class.explainError(ctx, doing, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return class.explainError(ctx, doing, err)
	}
	return nil
}
