// Package sqlgate lets statements of people at the warehouse: one SELECT over the
// views that are documented for them, with functions that are known to be harmless,
// and within limits of time, memory and size.
//
// What a statement does is decided by the engine's own parser, for two parsers
// can disagree. The engine brings the statement into its canonical form, which
// takes one statement and strips comments. That must be a SELECT that can stand in
// brackets, where INTO OUTFILE and FORMAT cannot. Of its syntax tree every node
// must be of a known kind (SETTINGS is not among them), and every function known,
// before the engine resolves anything, for resolving folds constants and so runs
// functions. Then the engine resolves it, and every table must be one of the views.
// The canonical form runs read-only.
//
// That is the first of two fences. The second is the engine's own: a statement stands
// in the database of a [warehouse.Reader], where row policies show it no more than the
// reader may see, whatever it turns out to be.
package sqlgate

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
)

const (
	// MaxStatement is how many bytes a statement has at most.
	MaxStatement = 64 << 10
	// MaxTime is how long one runs, and MaxMemory how many bytes it may use.
	MaxTime   = 60 * time.Second
	MaxMemory = 256 << 20
	// MaxRunning is how many statements run at once: ingest needs the engine too.
	MaxRunning = 2
	// maxError is how much of the engine's words is repeated.
	maxError = 1000
	// maxSpill is how many bytes a statement may put on the disk meanwhile.
	maxSpill = 1 << 30
)

// ErrBusy means that as many statements run as may.
var ErrBusy = errors.New("other statements are running: try again when they are done")

// Refusal is an error of the statement: why it is not run, or what the engine says
// is wrong with it.
type Refusal struct{ text string }

// Error implements error.
func (r *Refusal) Error() string { return r.text }

func refuse(format string, args ...any) error { return &Refusal{fmt.Sprintf(format, args...)} }

// Gate is the way to one reader's views. Its methods may be called concurrently.
type Gate struct {
	conn     driver.Conn
	database string
	views    []string
	// own is a connection of ours, which sees what the engine says of itself.
	own     driver.Conn
	running chan struct{}
	time    time.Duration

	learning sync.Mutex
	known    *functions
}

// New returns the gate to a reader of a warehouse.
func New(w *warehouse.Warehouse, r *warehouse.Reader) *Gate {
	g := &Gate{conn: r.Conn(), database: r.Database(), own: w.Conn(), running: make(chan struct{}, MaxRunning), time: MaxTime}
	for _, v := range warehouse.Views() {
		g.views = append(g.views, v.Name)
	}
	return g
}

// Check returns the canonical form of a statement that may run. The error is a
// Refusal unless the engine does not answer.
func (g *Gate) Check(ctx context.Context, statement string) (string, error) {
	if len(statement) > MaxStatement {
		return "", refuse("the statement has %d bytes: must be at most %d", len(statement), MaxStatement)
	}
	if strings.TrimSpace(statement) == "" {
		return "", refuse("the statement is empty")
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(limits()))
	var canonical string
	if err := g.conn.QueryRow(ctx, "SELECT formatQuerySingleLine({sql:String})",
		clickhouse.Named("sql", statement)).Scan(&canonical); err != nil {
		return "", explain(err)
	}
	if !strings.HasPrefix(canonical, "SELECT ") && !strings.HasPrefix(canonical, "WITH ") {
		return "", refuse("only a SELECT statement can be run")
	}
	tree, err := g.lines(ctx, "EXPLAIN AST SELECT * FROM ("+canonical+")")
	if err != nil {
		// What cannot stand in brackets has an end that does not belong to a SELECT.
		if r := new(Refusal); errors.As(err, &r) {
			return "", refuse("the statement must be one SELECT, without INTO OUTFILE and FORMAT: %s", r.text)
		}
		return "", err
	}
	known, err := g.functions(ctx)
	if err != nil {
		return "", err
	}
	if err := known.checkTree(tree); err != nil {
		return "", err
	}
	plan, err := g.lines(ctx, "EXPLAIN QUERY TREE run_passes = 1 "+canonical)
	if err != nil {
		return "", err
	}
	return canonical, g.checkTables(plan)
}

// Column is a column of an answer: its name, and its type as the engine calls it.
type Column struct{ Name, Type string }

// Run runs a statement and hands its columns and rows to use, whose error it
// returns. The rows are closed then.
func (g *Gate) Run(ctx context.Context, statement string, use func([]Column, driver.Rows) error) error {
	select {
	case g.running <- struct{}{}:
		defer func() { <-g.running }()
	default:
		return ErrBusy
	}
	within, cancel := context.WithTimeout(ctx, g.time)
	defer cancel()
	err := g.run(within, statement, use)
	if err != nil && within.Err() != nil && ctx.Err() == nil {
		return refuse("it took longer than %s: narrow it down, by site, type or time", g.time)
	}
	return err
}

func (g *Gate) run(ctx context.Context, statement string, use func([]Column, driver.Rows) error) error {
	canonical, err := g.Check(ctx, statement)
	if err != nil {
		return err
	}
	rows, err := g.conn.Query(clickhouse.Context(ctx, clickhouse.WithSettings(limits())), canonical)
	if err != nil {
		return explain(err)
	}
	defer rows.Close()
	columns, err := g.columns(ctx, canonical, rows)
	if err != nil {
		return err
	}
	if err := use(columns, rows); err != nil {
		return err
	}
	if err := rows.Err(); err != nil {
		return explain(err)
	}
	return nil
}

// columns returns the columns of an answer, also of one without rows, with which
// the engine sends none.
func (g *Gate) columns(ctx context.Context, canonical string, rows driver.Rows) (columns []Column, err error) {
	if names := rows.Columns(); len(names) > 0 {
		for i, c := range rows.ColumnTypes() {
			columns = append(columns, Column{Name: names[i], Type: c.DatabaseTypeName()})
		}
		return columns, nil
	}
	settings := limits()
	settings["describe_compact_output"] = 1
	described, err := g.conn.Query(clickhouse.Context(ctx, clickhouse.WithSettings(settings)), "DESCRIBE TABLE ("+canonical+")")
	if err != nil {
		return nil, explain(err)
	}
	defer described.Close()
	for described.Next() {
		var c Column
		if err := described.Scan(&c.Name, &c.Type); err != nil {
			return nil, err
		}
		columns = append(columns, c)
	}
	return columns, described.Err()
}

// limits are the settings that everything runs with. Read-only, a statement cannot
// change them, nor anything else.
func limits() clickhouse.Settings {
	return clickhouse.Settings{
		"readonly":           1,
		"max_execution_time": int(MaxTime.Seconds()),
		// What cannot be interrupted within a block is over with it.
		"max_block_size": 8192,
		"max_temporary_data_on_disk_size_for_query": maxSpill,
		"max_memory_usage":                          MaxMemory,
		"max_threads":                               2,
		"max_ast_depth":                             200,
		"max_ast_elements":                          10_000,
		"max_result_bytes":                          0,
		"max_query_size":                            4 * MaxStatement,
		"max_subquery_depth":                        20,
		"max_temporary_columns":                     1000,
	}
}

// lines returns the lines of text that a statement answers.
func (g *Gate) lines(ctx context.Context, statement string) (lines []string, err error) {
	rows, err := g.conn.Query(ctx, statement)
	if err != nil {
		return nil, explain(err)
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return nil, err
		}
		lines = append(lines, line)
	}
	if err := rows.Err(); err != nil {
		return nil, explain(err)
	}
	return lines, nil
}

// explain makes a Refusal of what the engine says of a statement. Other errors are
// not the statement's.
func explain(err error) error {
	e, ok := errors.AsType[*clickhouse.Exception](err)
	if !ok {
		return err
	}
	// What follows repeats the statement.
	text, _, _ := strings.Cut(e.Message, ": In scope ")
	text, _, _ = strings.Cut(text, " in scope ")
	// A page of what the parser would have liked better.
	text, _, _ = strings.Cut(text, ". Expected one of: ")
	if len(text) > maxError {
		text = strings.ToValidUTF8(text[:maxError], "") + "..."
	}
	return refuse("%s", text)
}

// nodes are the kinds of nodes that a syntax tree may have. A kind that is not
// among them, as Set is, which is SETTINGS, is refused: who knows what it does.
var nodes = []string{
	"SelectWithUnionQuery", "SelectIntersectExceptQuery", "SelectQuery", "ExpressionList", "WithElement", "Subquery",
	"Identifier", "Literal", "Function", "Asterisk", "QualifiedAsterisk", "ColumnsRegexpMatcher", "ColumnsListMatcher",
	"TablesInSelectQuery", "TablesInSelectQueryElement", "TableExpression", "TableIdentifier", "TableJoin", "ArrayJoin",
	"OrderByElement", "WindowDefinition", "WindowListElement",
}

// stateType is in the names of the types of states, in lower case.
const stateType = "aggregatefunction"

// tableFunctions are those that make rows of nothing.
var tableFunctions = []string{"numbers", "zeros", "generate_series", "generateSeries", "values"}

// checkTree looks at the lines of EXPLAIN AST, which are indented by depth.
func (f *functions) checkTree(lines []string) error {
	var parents []string
	for _, line := range lines {
		text := strings.TrimLeft(line, " ")
		depth := len(line) - len(text)
		kind, rest, _ := strings.Cut(text, " ")
		if !slices.Contains(nodes, kind) {
			if kind == "Set" {
				return refuse("SETTINGS cannot be given")
			}
			return refuse("the statement has a part that is not known to be harmless (%s)", kind)
		}
		if depth > len(parents) {
			return refuse("the statement cannot be understood")
		}
		parent := ""
		if depth > 0 {
			parent = parents[depth-1]
		}
		parents = append(parents[:depth], kind)
		name, _, _ := strings.Cut(rest, " (")
		switch {
		case kind == "Function" && parent == "TableExpression":
			if !slices.Contains(tableFunctions, name) {
				return refuse("the table function %s cannot be used", name)
			}
		case kind == "Function":
			if !f.harmless(name) {
				return refuse("the function %s cannot be used", name)
			}
		case kind == "Literal" && strings.Contains(strings.ToLower(rest), stateType):
			return refuse("states of aggregate functions cannot be used")
		case kind == "TableIdentifier":
			if strings.Contains(name, ".") {
				return refuse("the table %s cannot be read: name a view alone, without a database", name)
			}
		}
	}
	return nil
}

var (
	tableName         = regexp.MustCompile(`^ *TABLE id: \d+, (?:alias: [^,]*, )?table_name: ([^,]*)`)
	tableFunctionName = regexp.MustCompile(`^ *TABLE_FUNCTION id: \d+, (?:alias: [^,]*, )?table_function_name: ([^,]*)`)
)

// checkTables looks at the lines of EXPLAIN QUERY TREE: what the names of tables
// turned out to stand for, wherever they were written.
func (g *Gate) checkTables(lines []string) error {
	for _, line := range lines {
		text := strings.TrimLeft(line, " ")
		switch {
		case strings.Contains(strings.ToLower(text), stateType+"("):
			return refuse("states of aggregate functions cannot be used")
		case strings.HasPrefix(text, "TABLE_FUNCTION "):
			if m := tableFunctionName.FindStringSubmatch(line); m == nil || !slices.Contains(tableFunctions, m[1]) {
				return refuse("a table function of the statement cannot be used")
			}
		case text == "TABLE EXPRESSION":
		case strings.HasPrefix(text, "TABLE"):
			m := tableName.FindStringSubmatch(line)
			// system.one has the one row of a SELECT without a table.
			if m == nil || m[1] != "system.one" && !g.isView(m[1]) {
				return refuse("a table of the statement cannot be read: there are %s", strings.Join(g.views, ", "))
			}
		}
	}
	return nil
}

func (g *Gate) isView(table string) bool {
	view, ok := strings.CutPrefix(table, g.database+".")
	return ok && slices.Contains(g.views, view)
}
