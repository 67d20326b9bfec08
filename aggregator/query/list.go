package query

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/filter"
)

const (
	// MaxPage is how many assets a page has at most.
	MaxPage = 1000
	// MaxSort and MaxColumns are how many fields a list is sorted by, and shows.
	MaxSort    = 8
	MaxColumns = 100
	// sortedBy is how many characters of a text count where lists are sorted by it.
	sortedBy = 256
	// totalBudget is how long counting may take where at least so many is an answer.
	totalBudget = 300 * time.Millisecond
)

// Order is a field that a list is sorted by. What has no value comes last.
type Order struct {
	// Field is written as in a filter.
	Field string
	Desc  bool
}

// ParseOrder reads fields parted by commas, each of which may have asc or desc behind it.
func ParseOrder(text string) ([]Order, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var list []Order
	for _, one := range splitList(text) {
		o := Order{Field: one}
		if name, way, ok := cutLast(one, " "); ok && (way == "asc" || way == "desc") {
			o.Field, o.Desc = name, way == "desc"
		}
		if o.Field == "" {
			return nil, wrong("order_by", "%q: a field is missing between the commas", text)
		}
		list = append(list, o)
	}
	return list, nil
}

// splitList parts a text at commas that are not in quotes or brackets.
func splitList(text string) []string {
	var list []string
	from, quoted, open := 0, false, 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[':
			open++
		case c == ']':
			open--
		case c == ',' && open <= 0:
			list = append(list, strings.TrimSpace(text[from:i]))
			from = i + 1
		}
	}
	return append(list, strings.TrimSpace(text[from:]))
}

func cutLast(text, separator string) (before, after string, ok bool) {
	i := strings.LastIndex(text, separator)
	if i < 0 {
		return text, "", false
	}
	return strings.TrimSpace(text[:i]), text[i+len(separator):], true
}

// Total says how exactly assets are counted beside a list.
type Total uint8

// The ways of counting.
const (
	// TotalNone counts nothing.
	TotalNone Total = iota
	// TotalAtLeast counts for a moment, and says whether it came to the end.
	TotalAtLeast
	// TotalExact counts all.
	TotalExact
)

// ListQuery asks for a page of assets.
type ListQuery struct {
	Selection
	// Sort may be empty: then the order is that of site, type and uid, by which all lists
	// are sorted in the end.
	Sort []Order
	// Columns are fields, as in a filter, whose values are read.
	Columns []string
	// Limit is how many assets the page has at most, up to MaxPage; 0 is 100.
	Limit int
	// Token is the Next of the page before, with all else unchanged; only the limit may change.
	Token string
	// Documents reads the documents, as many as have DocumentBytes together, but one at
	// least: the page ends with them.
	Documents     bool
	DocumentBytes int
	Total         Total
}

// Row is an asset of a list.
type Row struct {
	warehouse.Asset
	// Values has the values of each column.
	Values [][]string

	// ID is the asset's in one number.
	ID uint64

	ingest uuid.UUID
	// past says that it is of the history, and so exact.
	past bool
	sort []any
	size uint64
}

// Page is a part of a list.
type Page struct {
	Answered
	Rows []Row
	// Next is empty on the last page.
	Next string
	// Total is how many assets are selected, at least unless Exact. It is -1 if they were
	// not counted.
	Total int64
	Exact bool
}

// ErrToken means that a page token is not one of this list.
var ErrToken = errors.New("must be the next_page_token of the page before, unchanged")

// sortKey is an expression by which rows are sorted: first whether it has a value, then by
// that.
type sortKey struct {
	field filter.Field
	desc  bool
	// kind is the engine's type of the value.
	kind string
	// value and missing are its expressions for rows of a source.
	value, missing func(*Statement, *Source) string
}

// list is what a list is made of.
type list struct {
	*Plan
	query   ListQuery
	columns []filter.Field
	sort    []sortKey
}

func (e *Engine) newList(ctx context.Context, scope Scope, q ListQuery) (*list, error) {
	p, err := e.Plan(ctx, scope, q.Selection)
	if err != nil {
		return nil, err
	}
	l := &list{Plan: p, query: q}
	switch {
	case len(q.Sort) > MaxSort:
		return nil, wrong("order_by", "%d fields: there may be %d", len(q.Sort), MaxSort)
	case len(q.Columns) > MaxColumns:
		return nil, wrong("columns", "%d fields: there may be %d", len(q.Columns), MaxColumns)
	case q.Limit < 0 || q.Limit > MaxPage:
		return nil, wrong("page_size", "%d: must be 0 to %d", q.Limit, MaxPage)
	}
	l.query.Limit = cmp.Or(q.Limit, 100)
	for _, text := range q.Columns {
		f, err := p.Field("columns", text)
		if err != nil {
			return nil, err
		}
		l.columns = append(l.columns, f)
	}
	for _, o := range q.Sort {
		f, err := p.Field("order_by", o.Field)
		if err != nil {
			return nil, err
		}
		if f.Space == filter.Label && f.Name == "" {
			return nil, wrong("order_by", "labels: a list is sorted by one of them, as in labels.app")
		}
		k := p.sortKey(f)
		k.desc = o.Desc
		l.sort = append(l.sort, k)
	}
	for _, name := range []string{"site", "type", "uid"} {
		if !slices.ContainsFunc(l.sort, func(k sortKey) bool { return k.field.Space == filter.Fixed && k.field.Name == name }) {
			l.sort = append(l.sort, p.sortKey(filter.Field{Space: filter.Fixed, Name: name}))
		}
	}
	return l, nil
}

// sortKey returns the key of a field, by the kind of its values.
func (p *Plan) sortKey(f filter.Field) sortKey {
	v := p.value(f)
	k := sortKey{field: f, kind: v.kind, value: v.of, missing: v.missing}
	if column, ok := attributes[f.Name]; ok && f.Space == filter.Fixed && v.kind == "String" {
		// As it is stored it is sorted much quicker.
		k.value = func(*Statement, *Source) string { return column }
		if f.Name == "site" || f.Name == "type" || f.Name == "uid" {
			k.missing = func(*Statement, *Source) string { return "toUInt8(0)" }
		}
	}
	if f.Space != filter.Fixed && v.kind == "String" {
		k.value = func(s *Statement, src *Source) string {
			return fmt.Sprintf("substringUTF8(%s, 1, %d)", v.of(s, src), sortedBy)
		}
	}
	return k
}

// tokenBinding is what a token of the list holds for.
func (l *list) tokenBinding() string {
	var b strings.Builder
	b.WriteString(l.Binding())
	for _, k := range l.sort {
		fmt.Fprintf(&b, " %s %v %s", k.field, k.desc, k.kind)
	}
	return b.String()
}

// List returns a page of assets. An asset that does not change while pages are read is on
// exactly one of them.
func (e *Engine) List(ctx context.Context, scope Scope, q ListQuery) (*Page, error) {
	l, err := e.newList(ctx, scope, q)
	if err != nil {
		return nil, err
	}
	after, err := DecodeToken(q.Token, l.tokenBinding(), len(l.sort))
	if err != nil {
		return nil, err
	}
	ctx, cancel := q.Class.within(ctx)
	defer cancel()
	page := &Page{Answered: l.Answered, Total: -1}
	if page.Rows, err = l.read(ctx, after); err != nil {
		return nil, err
	}
	more := len(page.Rows) > l.query.Limit
	if more {
		page.Rows = page.Rows[:l.query.Limit]
	}
	if q.Documents && len(page.Rows) > 0 {
		fit := l.fitting(page.Rows)
		more = more || fit < len(page.Rows)
		page.Rows = page.Rows[:fit]
		if err := l.documents(ctx, page.Rows); err != nil {
			return nil, err
		}
	}
	if more {
		page.Next = EncodeToken(l.tokenBinding(), page.Rows[len(page.Rows)-1].sort)
	}
	if q.Total != TotalNone {
		if q.Token == "" && !more {
			page.Total, page.Exact = int64(len(page.Rows)), true
		} else if page.Total, page.Exact, err = l.total(ctx, q.Total); err != nil {
			return nil, err
		}
		if !page.Exact {
			page.Total = max(page.Total, int64(len(page.Rows)))
		}
	}
	return page, nil
}

// All goes through all pages of a list, for whoever streams it. Limit is the size of the
// pages. What is wrong comes as the last pair.
func (e *Engine) All(ctx context.Context, scope Scope, q ListQuery) iter.Seq2[*Page, error] {
	return func(yield func(*Page, error) bool) {
		for {
			page, err := e.List(ctx, scope, q)
			if !yield(page, err) || err != nil || page.Next == "" {
				return
			}
			q.Token, q.Total = page.Next, TotalNone
		}
	}
}

// read returns the rows behind a key, one more than the limit if there are so many.
func (l *list) read(ctx context.Context, after []any) ([]Row, error) {
	want := l.query.Limit + 1
	var rows []Row
	seen := make(map[warehouse.AssetKey]bool)
	for round := 0; ; round++ {
		// A fifth more, for some may turn out to be old. Where nearly all are, as where much was
		// deleted and the table is not merged yet, more and more are asked for; but not of the
		// past: there an asset was missing from such a list in TestLists, and why is not known.
		n := (want-len(rows))*6/5 + 1
		if round > 0 && l.selection.Moment.Now() {
			n = max(n, min(100<<min(round, 6), 5_000))
		}
		asked := l.engine.now()
		candidates, err := l.candidates(ctx, after, n)
		if err != nil {
			return nil, err
		}
		if len(candidates) == 0 {
			return rows, nil
		}
		last := candidates[len(candidates)-1].sort
		newest, err := l.newest(ctx, candidates, asked)
		if err != nil {
			return nil, err
		}
		for _, r := range newest {
			if key := r.key(); !seen[key] {
				seen[key] = true
				rows = append(rows, r)
			}
		}
		if len(rows) >= want || len(candidates) < n {
			return rows[:min(len(rows), want)], nil
		}
		after = last
	}
}

func (r *Row) key() warehouse.AssetKey {
	return warehouse.AssetKey{Site: r.Site, Type: r.Type, UID: r.UID}
}

// candidates returns rows behind a key that were the newest of their assets at some time.
func (l *list) candidates(ctx context.Context, after []any, limit int) ([]Row, error) {
	s := l.candidateStatement(after, limit)
	var rows []Row
	err := l.engine.run(ctx, l.selection.Class, "listing assets", s, func(answer driver.Rows) error {
		r, err := l.scan(answer)
		rows = append(rows, r)
		return err
	})
	return rows, err
}

func (l *list) candidateStatement(after []any, limit int) *Statement {
	s := new(Statement)
	if l.selection.Moment.Now() {
		s.Put(l.page(s, "asset", nil, after, limit))
		return s
	}
	unchanged := []string{"version <= " + s.Whole(l.selection.Moment.stamp())}
	s.Put("SELECT * FROM (SELECT * FROM (", l.page(s, "asset", unchanged, after, limit), ") UNION ALL SELECT * FROM (",
		l.page(s, "", nil, after, limit), ")) ORDER BY ", l.order(), " LIMIT ", fmt.Sprint(limit))
	return s
}

// page returns a SELECT of a page's rows of a table, or, without one, of the history.
func (l *list) page(s *Statement, table string, conditions []string, after []any, limit int) string {
	src := &Source{History: table == ""}
	conditions = append(conditions, l.Where(s, src)...)
	if after != nil {
		conditions = append(conditions, l.behind(s, src, after))
	}
	ingest, past := "ingest_id", "false"
	if src.History {
		past = "true"
	}
	columns := []string{"id", "site", "type", "uid", "version", "toUInt8(" + l.state(s, src) + ") AS state_", "scope", "name", "region",
		"project", "status",
		"labels", "created_at", "updated_at", "observed_at", "received_at", "agent_id", ingest, past + " AS past_", "document.size AS size_"}
	for i, f := range l.columns {
		columns = append(columns, fmt.Sprintf("%s AS c%d", l.TextOf(f)(s, src), i))
	}
	for i, k := range l.sort {
		columns = append(columns, fmt.Sprintf("%s AS m%d", k.missing(s, src), i), fmt.Sprintf("%s AS s%d", k.value(s, src), i))
	}
	order := " ORDER BY " + l.order()
	if src.History {
		// What is there twice is left out by whoever reads it: the engine would read all columns of
		// all rows for that.
		return src.With(s) + "SELECT " + strings.Join(columns, ", ") + " FROM " + l.past(s, conditions) + order + " LIMIT " + fmt.Sprint(limit)
	}
	return "SELECT " + strings.Join(columns, ", ") + " FROM " + table + where(conditions) + order + " LIMIT " + fmt.Sprint(limit)
}

func descending(desc bool) string {
	if desc {
		return " DESC"
	}
	return ""
}

// order is what rows are sorted by, in the names that page gives its columns.
func (l *list) order() string {
	var order []string
	for i, k := range l.sort {
		order = append(order, fmt.Sprintf("m%d, s%d%s", i, i, descending(k.desc)))
	}
	return strings.Join(order, ", ")
}

// behind is the condition that a row comes behind a key, which has whether there is a
// value and the value for each part of the order.
func (l *list) behind(s *Statement, src *Source, after []any) string {
	var either []string
	same := ""
	for i, k := range l.sort {
		missing, value := after[2*i].(bool), after[2*i+1]
		m, v := k.missing(s, src), k.value(s, src)
		place := s.Bind(k.kind, fmt.Sprint(value))
		beyond := ">"
		if k.desc {
			beyond = "<"
		}
		if missing {
			same += m + " AND "
			continue
		}
		either = append(either, fmt.Sprintf("(%s(%s OR %s %s %s))", same, m, v, beyond, place))
		same += fmt.Sprintf("NOT (%s) AND %s = %s AND ", m, v, place)
	}
	return bracket(strings.Join(either, " OR "))
}

// scan reads a row of a page.
func (l *list) scan(answer driver.Rows) (Row, error) {
	var r Row
	var state uint8
	texts := make([]string, len(l.columns))
	targets := []any{&r.ID, &r.Site, &r.Type, &r.UID, &r.Version, &state, &r.Scope, &r.Name, &r.Region, &r.Project, &r.Status, &r.Labels,
		&r.CreatedAt, &r.UpdatedAt, &r.ObservedAt, &r.ReceivedAt, &r.AgentID, &r.ingest, &r.past, &r.size}
	for i := range texts {
		targets = append(targets, &texts[i])
	}
	missing := make([]uint8, len(l.sort))
	values := make([]any, len(l.sort))
	for i, k := range l.sort {
		switch k.kind {
		case "Float64":
			values[i] = new(float64)
		case "Int64":
			values[i] = new(int64)
		default:
			values[i] = new(string)
		}
		targets = append(targets, &missing[i], values[i])
	}
	if err := answer.Scan(targets...); err != nil {
		return r, fmt.Errorf("reading the warehouse's answer: %w", err)
	}
	r.State = warehouse.State(state)
	for _, at := range []*time.Time{&r.CreatedAt, &r.UpdatedAt, &r.ObservedAt, &r.ReceivedAt} {
		if at.UnixMilli() == 0 {
			*at = time.Time{}
		}
	}
	for _, text := range texts {
		r.Values = append(r.Values, SplitValues(text))
	}
	for i := range l.sort {
		var v any
		switch p := values[i].(type) {
		case *float64:
			v = strconv.FormatFloat(*p, 'g', -1, 64)
		case *int64:
			v = strconv.FormatInt(*p, 10)
		case *string:
			v = *p
		}
		r.sort = append(r.sort, missing[i] != 0, v)
	}
	return r, nil
}

// fitting returns how many of the rows have documents of so many bytes together, one at
// least.
func (l *list) fitting(rows []Row) int {
	var sum uint64
	for i := range rows {
		if sum += rows[i].size; i > 0 && sum > uint64(cmp.Or(l.query.DocumentBytes, 4<<20)) {
			return i
		}
	}
	return len(rows)
}

// documents reads the documents of rows.
func (l *list) documents(ctx context.Context, rows []Row) error {
	for _, past := range []bool{false, true} {
		var ids, versions []uint64
		for i := range rows {
			if rows[i].past == past {
				ids, versions = append(ids, rows[i].ID), append(versions, rows[i].Version)
			}
		}
		if len(ids) == 0 {
			continue
		}
		type of struct {
			warehouse.AssetKey
			version
		}
		texts := make(map[of]string, len(ids))
		s := new(Statement)
		s.Put("SELECT site, type, uid, version, ingest_id, document FROM ", map[bool]string{false: "asset", true: "asset_version"}[past],
			" PREWHERE (id, version) IN (arrayZip(", s.Wholes(ids), ", ", s.Wholes(versions), "))")
		err := l.engine.run(ctx, l.selection.Class, "reading documents", s, func(answer driver.Rows) error {
			var v of
			var text string
			if err := answer.Scan(&v.Site, &v.Type, &v.UID, &v.number, &v.ingest, &text); err != nil {
				return fmt.Errorf("reading the warehouse's answer: %w", err)
			}
			texts[v] = text
			return nil
		})
		if err != nil {
			return err
		}
		for i := range rows {
			if r := &rows[i]; r.past == past {
				r.Document = []byte(texts[of{r.key(), r.version()}])
			}
		}
	}
	return nil
}

// total counts what is selected.
func (l *list) total(ctx context.Context, how Total) (n int64, exact bool, err error) {
	if how == TotalExact {
		n, err = l.count(ctx)
		return n, true, err
	}
	s := l.countStatement()
	limits := l.selection.Class.Limits()
	limits.Time = totalBudget
	settings := limits.settings()
	if !strings.Contains(s.String(), " IN (SELECT ") {
		// What is counted until then is so much at least. Not so where the time ends while a
		// set is made that a condition looks into.
		settings["timeout_overflow_mode"] = "break"
	}
	start := time.Now()
	err = l.engine.runWith(ctx, l.selection.Class, settings, "counting assets", s, scanCount(&n))
	if limit := new(LimitError); errors.As(err, &limit) {
		return 0, false, nil
	}
	return n, time.Since(start) < totalBudget, err
}

func (p *Plan) countStatement() *Statement {
	s := new(Statement)
	s.Put("SELECT count() FROM ", p.Rows(s))
	return s
}

func scanCount(n *int64) func(driver.Rows) error {
	return func(answer driver.Rows) error {
		var count uint64
		if err := answer.Scan(&count); err != nil {
			return fmt.Errorf("reading the warehouse's answer: %w", err)
		}
		*n = int64(count)
		return nil
	}
}

func (p *Plan) count(ctx context.Context) (n int64, err error) {
	err = p.engine.run(ctx, p.selection.Class, "counting assets", p.countStatement(), scanCount(&n))
	return n, err
}

// Counted is how many assets a selection has.
type Counted struct {
	Answered
	Count int64
}

// Count counts the assets of a selection, exactly.
func (e *Engine) Count(ctx context.Context, scope Scope, q Selection) (*Counted, error) {
	p, err := e.Plan(ctx, scope, q)
	if err != nil {
		return nil, err
	}
	n, err := p.count(ctx)
	if err != nil {
		return nil, err
	}
	return &Counted{Answered: p.Answered, Count: n}, nil
}
