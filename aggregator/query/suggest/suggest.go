// Package suggest completes filters while they are typed: fields and values from the catalogue, and values of what
// every asset has from the warehouse.
package suggest

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/reeve-cloud/reeve/aggregator/catalogue"
	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/pkg/filter"
)

// Kind is what a suggestion is.
type Kind uint8

// The kinds of suggestions.
const (
	Field Kind = iota + 1
	Operator
	Value
	Keyword
	Relation
)

// Suggestion is a text that may stand where somebody types.
type Suggestion struct {
	// Text is as it stands in the filter.
	Text string
	Kind Kind
	Help string
	// Assets is about how many have it, or 0.
	Assets uint64
}

// MaxSuggestions is how many suggestions there are at most.
const MaxSuggestions = 100

// patience is how long values that the catalogue does not have are looked for.
const patience = 200 * time.Millisecond

// Query asks what may stand at a byte of a filter.
type Query struct {
	Filter string
	Cursor int
	// Site and Type are what is asked for anyway; both may be empty.
	Site, Type string
	// Limit is how many suggestions there are at most; 0 is 20.
	Limit int
}

// Suggestions stand in place of the bytes from Start to End.
type Suggestions struct {
	Start, End int
	List       []Suggestion
}

// Completer suggests what may stand in a filter. Its methods may be called concurrently.
type Completer struct {
	engine *query.Engine
	paths  *catalogue.Catalogue
	logger *slog.Logger
}

// New returns a Completer. It may have no catalogue: then it knows of no paths.
func New(engine *query.Engine, paths *catalogue.Catalogue, logger *slog.Logger) *Completer {
	return &Completer{engine, paths, logger}
}

// suggester finds suggestions for one caller.
type suggester struct {
	*Completer
	scope query.Scope
	query Query
	// paths are nil where the caller may not know of all of them.
	paths *catalogue.Catalogue
}

// Suggest returns what may stand where somebody types. Fields and their values come from
// the catalogue, without a statement; values of what every asset has, and relations, take
// one, which is given up when it takes long.
func (c *Completer) Suggest(ctx context.Context, scope query.Scope, q Query) (*Suggestions, error) {
	if q.Limit < 0 || q.Limit > MaxSuggestions {
		return nil, query.Wrong("limit", "%d: must be 0 to %d", q.Limit, MaxSuggestions)
	}
	if q.Cursor < 0 || q.Cursor > len(q.Filter) {
		return nil, query.Wrong("cursor", "%d: the filter has %d bytes", q.Cursor, len(q.Filter))
	}
	q.Limit = cmp.Or(q.Limit, 20)
	g := suggester{Completer: c, scope: scope, query: q}
	if scope.Everything() {
		g.paths = c.paths
	}
	at := filter.Complete(q.Filter, q.Cursor)
	kind := cmp.Or(q.Type, g.typeIn(q.Filter))
	answer := &Suggestions{Start: at.Start, End: at.End}
	switch at.Want {
	case filter.WantTerm, filter.WantMember:
		answer.List = g.fields(at, kind, q.Limit)
	case filter.WantValue:
		answer.List = g.values(ctx, at, kind, q.Limit)
	case filter.WantRelation:
		answer.List = g.relations(ctx, at)
	}
	answer.List = answer.List[:min(len(answer.List), q.Limit)]
	return answer, nil
}

// types are the names of types of which anything is known.
func (g *suggester) types() []string {
	if g.paths == nil {
		return nil
	}
	return g.paths.Types(nil, "")
}

// typeIn is the one type that a filter asks for, if it can be read as it stands: all else
// is suggested of that.
func (g *suggester) typeIn(text string) string {
	f, err := filter.Parse(text)
	if err != nil {
		return ""
	}
	var found []string
	for _, n := range query.Conjuncts(f.Root) {
		c, ok := n.(*filter.Compare)
		if !ok || c.Field.Space != filter.Fixed || c.Field.Name != "type" || len(c.Values) != 1 || c.Op != filter.Equal && c.Op != filter.Has {
			continue
		}
		for _, name := range g.types() {
			whole := c.Op == filter.Equal && name == c.Values[0].Text
			if whole || c.Op == filter.Has && strings.Contains(filter.Fold(name), filter.Fold(c.Values[0].Text)) {
				found = append(found, name)
			}
		}
	}
	if len(found) == 1 {
		return found[0]
	}
	return ""
}

// operators that may stand behind a field of a kind.
var operators = []struct {
	text, help string
	ordering   bool
}{
	{"=", "is exactly; * stands for any text at the ends", false}, {":", "contains, in any case", false}, {"!=", "is not", false},
	{":*", "has any value", false}, {"~", "matches a regular expression", false}, {">", "more than", true}, {">=", "at least", true},
	{"<", "less than", true}, {"<=", "at most", true},
}

func (g *suggester) fields(c filter.Completion, kind string, limit int) []Suggestion {
	var list []Suggestion
	prefix := filter.Fold(c.Prefix)
	if c.Field.Space != 0 && c.Want == filter.WantTerm && c.Prefix != "" && g.known(c.Field, kind) {
		for _, o := range operators {
			list = append(list, Suggestion{Text: c.Prefix + o.text, Kind: Operator, Help: o.help})
		}
	}
	if c.Want == filter.WantTerm {
		for _, f := range filter.FixedFields {
			if strings.HasPrefix(f.Name, prefix) && f.Name != c.Prefix {
				list = append(list, Suggestion{Text: f.Name, Kind: Field, Help: f.Help})
			}
		}
		if strings.HasPrefix("labels", prefix) {
			list = append(list, Suggestion{Text: "labels.", Kind: Field, Help: "what the source has labelled it with"})
		}
	}
	under := ""
	if c.Under != "" {
		under = c.Under + "."
	}
	var paths []catalogue.Path
	if g.paths != nil {
		paths, _ = g.paths.Paths(nil, kind, under+c.Prefix, limit)
	}
	for _, p := range paths {
		rest, ok := strings.CutPrefix(p.Path, under)
		if !ok || under != "" && !strings.HasPrefix(filter.Fold(rest), prefix) {
			continue
		}
		list = append(list, Suggestion{Text: filter.Field{Space: filter.Document, Name: rest}.String(), Kind: Field,
			Help: string(p.Kind), Assets: p.Assets})
	}
	if c.Want == filter.WantTerm {
		for _, f := range []struct{ text, help string }{{"related(", "has a relation to an asset: related(runs_on, name=x)"},
			{"unrelated(", "has no relation to such an asset"}, {"NOT ", "the exact complement of what follows"}} {
			if strings.HasPrefix(filter.Fold(f.text), prefix) && (prefix != "" || f.text != "NOT ") {
				list = append(list, Suggestion{Text: f.text, Kind: Keyword, Help: f.help})
			}
		}
		if c.Joins {
			for _, word := range []string{"AND", "OR"} {
				if strings.HasPrefix(word, strings.ToUpper(c.Prefix)) {
					list = append(list, Suggestion{Text: word + " ", Kind: Keyword})
				}
			}
		}
	}
	return list
}

// known reports whether a field is there to be compared.
func (g *suggester) known(f filter.Field, kind string) bool {
	if f.Space != filter.Document {
		return f.Space == filter.Fixed || f.Name != ""
	}
	if g.paths == nil {
		return false
	}
	_, known := g.paths.Kind(nil, kind, f.Name)
	return known
}

// values are frequent values of a field.
func (g *suggester) values(ctx context.Context, c filter.Completion, kind string, limit int) []Suggestion {
	var list []Suggestion
	add := func(value, help string, assets uint64) {
		list = append(list, Suggestion{Text: filter.Plain(value), Kind: Value, Help: help, Assets: assets})
	}
	prefix := filter.Fold(c.Prefix)
	switch {
	case c.Field.Space == filter.Fixed && c.Field.Name == "type":
		for _, name := range g.types() {
			if strings.Contains(filter.Fold(name), prefix) {
				add(name, "", 0)
			}
		}
		slices.SortStableFunc(list, func(a, b Suggestion) int {
			return cmp.Compare(strings.Index(filter.Fold(a.Text), prefix), strings.Index(filter.Fold(b.Text), prefix))
		})
	case c.Field.Space == filter.Fixed && c.Field.Name == "state":
		for _, state := range []string{"ACTIVE", "DISCONNECTED", "DELETED"} {
			if strings.HasPrefix(filter.Fold(state), prefix) {
				add(state, "", 0)
			}
		}
	case c.Field.Space == filter.Fixed && slices.Contains([]string{"created", "updated", "observed"}, c.Field.Name):
		for _, at := range []struct{ text, help string }{{"now-1h", "an hour ago"}, {"now-1d", "a day ago"}, {"now-7d", "a week ago"},
			{"now-30d", "30 days ago"}} {
			if strings.HasPrefix(at.text, prefix) {
				add(at.text, at.help, 0)
			}
		}
	case c.Field.Space != filter.Document:
		for _, v := range g.looked(ctx, c, kind, limit) {
			add(v.text, "", v.assets)
		}
	case g.paths != nil:
		var path strings.Builder
		path.WriteString(c.Field.Name)
		for _, p := range c.Field.Picks {
			if p.Path != "" {
				path.WriteString("." + p.Path)
			}
		}
		values, _ := g.paths.Values(nil, kind, path.String(), c.Prefix, limit)
		for _, v := range values {
			add(v.Value, "", v.Assets)
		}
	}
	return list
}

// value is one that assets have, and about how many.
type value struct {
	text   string
	assets uint64
}

// looked are values of an attribute or a label that begin with what is typed, as the table
// has them: about as often as they are told.
func (g *suggester) looked(ctx context.Context, c filter.Completion, kind string, limit int) []value {
	var list []value
	g.quickly(ctx, kind, func(p *query.Plan, s *query.Statement) {
		src := new(query.Source)
		text := p.TextOf(c.Field)(s, src)
		begins := filter.Compare{Field: c.Field, Op: filter.Exists}
		if c.Prefix != "" {
			begins.Op, begins.Values = filter.Has, []filter.Value{{Text: c.Prefix, After: true}}
		}
		s.Put("SELECT ", text, " AS value_, count() AS n FROM asset WHERE ", strings.Join(append(p.Where(s, src), p.Condition(s, src, &begins)), " AND "),
			" GROUP BY value_ ORDER BY n DESC, value_ LIMIT ", strconv.Itoa(limit))
	}, func(rows driver.Rows) error {
		var v value
		err := rows.Scan(&v.text, &v.assets)
		list = append(list, v)
		return err
	})
	return list
}

// quickly runs a statement that is given up when it takes long: somebody types.
func (g *suggester) quickly(ctx context.Context, kind string, make func(*query.Plan, *query.Statement), row func(driver.Rows) error) {
	p, err := g.engine.Plan(ctx, g.scope, query.Selection{Site: g.query.Site, Type: kind})
	if err == nil {
		s := new(query.Statement)
		make(p, s)
		err = p.RunWithin(ctx, patience, "looking for values", s, row)
	}
	if limit := new(query.LimitError); err != nil && !errors.As(err, &limit) && ctx.Err() == nil {
		g.logger.WarnContext(ctx, "values for a completion cannot be looked for", "error", err)
	}
}

func (g *suggester) relations(ctx context.Context, c filter.Completion) []Suggestion {
	var list []Suggestion
	if g.scope.Everything() {
		g.quickly(ctx, "", func(_ *query.Plan, s *query.Statement) {
			s.Put("SELECT toString(kind), count() AS n FROM relation WHERE dir = 'out' AND startsWith(kind, ", s.Text(c.Prefix),
				") GROUP BY kind ORDER BY n DESC LIMIT 50")
		}, func(rows driver.Rows) error {
			r := Suggestion{Kind: Relation}
			err := rows.Scan(&r.Text, &r.Assets)
			list = append(list, r)
			return err
		})
	}
	if c.Prefix == "" {
		list = append(list, Suggestion{Text: "*", Kind: Relation, Help: "any relation"})
	}
	return list
}
