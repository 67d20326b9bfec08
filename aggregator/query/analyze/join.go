package analyze

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/filter"
)

// JoinQuery asks for pairs of assets that have a relation. The moment is that of the left
// selection.
type JoinQuery struct {
	Left, Right query.Selection
	// Relation is its kind, in either direction; empty is any.
	Relation                  string
	LeftColumns, RightColumns []string
	// Outer has also what is left and has no such relation.
	Outer bool
	// Limit is how many pairs a page has at most, up to query.MaxPage; 0 is 100.
	Limit int
	Token string
}

// PairEnd is an asset of a pair.
type PairEnd struct {
	warehouse.AssetKey
	Name   string
	Values [][]string
}

// Pair is two assets that have a relation. Right is nil where there is none.
type Pair struct {
	Left  PairEnd
	Right *PairEnd
}

// Pairs are a page, in the order of the keys of both.
type Pairs struct {
	Left, Right query.Answered
	Pairs       []Pair
	Next        string
}

// joined is one side of a join.
type joined struct {
	*query.Plan
	letter  string
	columns []filter.Field
}

func side(ctx context.Context, e *query.Engine, scope query.Scope, letter, part string, selection query.Selection, columns []string) (*joined, error) {
	if len(columns) > query.MaxColumns {
		return nil, query.Wrong(part+"_columns", "%d fields: there may be %d", len(columns), query.MaxColumns)
	}
	p, err := e.Plan(ctx, scope, selection)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", part, err)
	}
	j := &joined{Plan: p, letter: letter}
	for _, text := range columns {
		f, err := p.Field(part+"_columns", text)
		if err != nil {
			return nil, err
		}
		j.columns = append(j.columns, f)
	}
	return j, nil
}

// names are those of the columns of a side.
func (j *joined) names() []string {
	names := []string{j.letter + "site", j.letter + "type", j.letter + "uid", j.letter + "name"}
	for i := range j.columns {
		names = append(names, j.letter+"c"+strconv.Itoa(i))
	}
	return names
}

// ends returns a SELECT, in brackets, of the assets of a side, each twice: with its site
// and number, and with the number of its type and uid anywhere, as [query.Plan.Edges] has them.
func (j *joined) ends(s *query.Statement) string {
	columns := []query.Column{query.Constant(j.letter+"site", "toString(site)"), query.Constant(j.letter+"type", "toString(type)"),
		query.Constant(j.letter+"uid", "uid"),
		query.Constant(j.letter+"name", "name"), query.Constant(j.letter+"id", "id")}
	for i, f := range j.columns {
		columns = append(columns, query.Column{Name: j.letter + "c" + strconv.Itoa(i), Of: j.TextOf(f)})
	}
	return fmt.Sprintf("(SELECT *, arrayJoin([(%[1]ssite, %[1]sid), ('', sipHash64('', %[1]stype, %[1]suid))]) AS %[1]send FROM %[2]s)",
		j.letter,
		j.Rows(s, columns...))
}

// Join lists pairs of assets that have a relation. Of assets that have several relations
// there is one pair.
func Join(ctx context.Context, e *query.Engine, scope query.Scope, q JoinQuery) (*Pairs, error) {
	if q.Limit < 0 || q.Limit > query.MaxPage {
		return nil, query.Wrong("page_size", "%d: must be 0 to %d", q.Limit, query.MaxPage)
	}
	limit := cmp.Or(q.Limit, 100)
	q.Right.Moment = q.Left.Moment
	left, err := side(ctx, e, scope, "l", "left", q.Left, q.LeftColumns)
	if err != nil {
		return nil, err
	}
	right, err := side(ctx, e, scope, "r", "right", q.Right, q.RightColumns)
	if err != nil {
		return nil, err
	}
	binding := fmt.Sprintf("%s %s %q %v", left.Binding(), right.Binding(), q.Relation, q.Outer)
	const keys = 6
	after, err := query.DecodeToken(q.Token, binding, keys)
	if err != nil {
		return nil, err
	}
	s := joinStatement(left, right, q, after, limit)
	answer := &Pairs{Left: left.Answered, Right: right.Answered}
	err = left.Run(ctx, "joining assets", s, func(rows driver.Rows) error {
		p, err := scanPair(rows, left, right)
		answer.Pairs = append(answer.Pairs, p)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(answer.Pairs) > limit {
		answer.Pairs = answer.Pairs[:limit]
		last := answer.Pairs[limit-1]
		if last.Right == nil {
			last.Right = new(PairEnd)
		}
		var key []any
		for _, k := range []warehouse.AssetKey{last.Left.AssetKey, last.Right.AssetKey} {
			key = append(key, false, k.Site, false, k.Type, false, k.UID)
		}
		answer.Next = query.EncodeToken(binding, key)
	}
	return answer, nil
}

func joinStatement(left, right *joined, q JoinQuery, after []any, limit int) *query.Statement {
	s := new(query.Statement)
	how := "INNER"
	if q.Outer {
		how = "LEFT"
	}
	names := append(left.names(), right.names()...)
	related := "(SELECT " + strings.Join(right.names(), ", ") + ", end.1 AS other_ FROM (" + left.Edges(s, q.Relation) +
		") AS e_ INNER JOIN " + right.ends(s) +
		" AS r_ ON e_.end.2 = r_.rend)"
	paired := "SELECT DISTINCT " + strings.Join(names, ", ") + " FROM " + left.ends(s) + " AS l_ " + how + " JOIN " + related +
		" AS x_ ON l_.lend = x_.other_"
	s.Put("SELECT ", strings.Join(names, ", "), " FROM (")
	if q.Outer {
		// Of the two ends of an asset one may have pairs where the other has none.
		s.Put("SELECT *, max(ruid != '') OVER (PARTITION BY lsite, ltype, luid) AS some_ FROM (", paired, ")) WHERE (ruid != '' OR some_ = 0)")
	} else {
		s.Put(paired, ") WHERE 1")
	}
	const key = "lsite, ltype, luid, rsite, rtype, ruid"
	if after != nil {
		places := make([]string, 6)
		for i := range places {
			places[i] = s.Text(after[2*i+1].(string))
		}
		s.Put(" AND (", key, ") > (", strings.Join(places, ", "), ")")
	}
	s.Put(" ORDER BY ", key, " LIMIT ", strconv.Itoa(limit+1))
	return s
}

func scanPair(rows driver.Rows, left, right *joined) (Pair, error) {
	var p Pair
	var other PairEnd
	lefts, rights := make([]string, len(left.columns)), make([]string, len(right.columns))
	targets := []any{&p.Left.Site, &p.Left.Type, &p.Left.UID, &p.Left.Name}
	for i := range lefts {
		targets = append(targets, &lefts[i])
	}
	targets = append(targets, &other.Site, &other.Type, &other.UID, &other.Name)
	for i := range rights {
		targets = append(targets, &rights[i])
	}
	if err := rows.Scan(targets...); err != nil {
		return p, fmt.Errorf("reading the warehouse's answer: %w", err)
	}
	for _, text := range lefts {
		p.Left.Values = append(p.Left.Values, query.SplitValues(text))
	}
	if other.UID != "" {
		for _, text := range rights {
			other.Values = append(other.Values, query.SplitValues(text))
		}
		p.Right = &other
	}
	return p, nil
}
