package query

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/reeve-cloud/reeve/aggregator/catalogue"
	"github.com/reeve-cloud/reeve/pkg/filter"
)

// SuggestionKind is what a suggestion is.
type SuggestionKind uint8

// The kinds of suggestions.
const (
	SuggestField SuggestionKind = iota + 1
	SuggestOperator
	SuggestValue
	SuggestKeyword
	SuggestRelation
)

// Suggestion is a text that may stand where somebody types.
type Suggestion struct {
	// Text is as it stands in the filter.
	Text string
	Kind SuggestionKind
	Help string
	// Assets is about how many have it, or 0.
	Assets uint64
}

// MaxSuggestions is how many suggestions there are at most.
const MaxSuggestions = 100

// suggestPatience is how long values that the catalogue does not have are looked for.
const suggestPatience = 200 * time.Millisecond

// SuggestQuery asks what may stand at a byte of a filter.
type SuggestQuery struct {
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

// suggester finds suggestions for one caller.
type suggester struct {
	*Engine
	scope Scope
	query SuggestQuery
	paths *catalogue.Catalogue
}

// Suggest returns what may stand where somebody types. Fields and their values come from
// the catalogue, without a statement; values of what every asset has, and relations, take
// one, which is given up when it takes long.
func (e *Engine) Suggest(ctx context.Context, scope Scope, q SuggestQuery) (*Suggestions, error) {
	if q.Limit < 0 || q.Limit > MaxSuggestions {
		return nil, wrong("limit", "%d: must be 0 to %d", q.Limit, MaxSuggestions)
	}
	if q.Cursor < 0 || q.Cursor > len(q.Filter) {
		return nil, wrong("cursor", "%d: the filter has %d bytes", q.Cursor, len(q.Filter))
	}
	q.Limit = cmp.Or(q.Limit, 20)
	g := suggester{Engine: e, scope: scope, query: q}
	if known, ok := e.catalogue.(paths); ok && scope.all {
		g.paths = known.all
	}
	c := filter.Complete(q.Filter, q.Cursor)
	kind := cmp.Or(q.Type, g.typeIn(q.Filter))
	answer := &Suggestions{Start: c.Start, End: c.End}
	switch c.Want {
	case filter.WantTerm, filter.WantMember:
		answer.List = g.fields(c, kind, q.Limit)
	case filter.WantValue:
		answer.List = g.values(ctx, c, kind, q.Limit)
	case filter.WantRelation:
		answer.List = g.relations(ctx, c)
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
	for _, n := range conjuncts(f.Root) {
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
			list = append(list, Suggestion{Text: c.Prefix + o.text, Kind: SuggestOperator, Help: o.help})
		}
	}
	if c.Want == filter.WantTerm {
		for _, f := range filter.FixedFields {
			if strings.HasPrefix(f.Name, prefix) && f.Name != c.Prefix {
				list = append(list, Suggestion{Text: f.Name, Kind: SuggestField, Help: f.Help})
			}
		}
		if strings.HasPrefix("labels", prefix) {
			list = append(list, Suggestion{Text: "labels.", Kind: SuggestField, Help: "what the source has labelled it with"})
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
		list = append(list, Suggestion{Text: filter.Field{Space: filter.Document, Name: rest}.String(), Kind: SuggestField,
			Help: string(p.Kind), Assets: p.Assets})
	}
	if c.Want == filter.WantTerm {
		for _, f := range []struct{ text, help string }{{"related(", "has a relation to an asset: related(runs_on, name=x)"},
			{"unrelated(", "has no relation to such an asset"}, {"NOT ", "the exact complement of what follows"}} {
			if strings.HasPrefix(filter.Fold(f.text), prefix) && (prefix != "" || f.text != "NOT ") {
				list = append(list, Suggestion{Text: f.text, Kind: SuggestKeyword, Help: f.help})
			}
		}
		if c.Joins {
			for _, word := range []string{"AND", "OR"} {
				if strings.HasPrefix(word, strings.ToUpper(c.Prefix)) {
					list = append(list, Suggestion{Text: word + " ", Kind: SuggestKeyword})
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
		list = append(list, Suggestion{Text: filter.Plain(value), Kind: SuggestValue, Help: help, Assets: assets})
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
	case c.Field.Space == filter.Fixed && isTime(c.Field.Name):
		for _, at := range []struct{ text, help string }{{"now-1h", "an hour ago"}, {"now-1d", "a day ago"}, {"now-7d", "a week ago"},
			{"now-30d", "30 days ago"}} {
			if strings.HasPrefix(at.text, prefix) {
				add(at.text, at.help, 0)
			}
		}
	case c.Field.Space != filter.Document:
		for _, v := range g.looked(ctx, c, kind, limit) {
			add(v.Value, "", uint64(v.Count))
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

// looked are values of an attribute or a label that begin with what is typed, as the table
// has them: about as often as they are told.
func (g *suggester) looked(ctx context.Context, c filter.Completion, kind string, limit int) []FacetValue {
	p := &plan{engine: g.Engine, scope: g.scope, selection: Selection{Site: g.query.Site, Type: kind}, filter: &filter.Filter{}}
	s := new(statement)
	text := p.textOf(c.Field)(s, new(source))
	conditions := append(p.keys(s), "NOT deleted", text+" != ''")
	if c.Prefix != "" {
		prefix := filter.Fold(c.Prefix)
		conditions = append(conditions, "startsWith("+folded(text, prefix)+", "+s.text(prefix)+")")
	}
	s.put("SELECT ", text, " AS value_, count() AS n FROM asset", where(conditions), " GROUP BY value_ ORDER BY n DESC, value_ LIMIT ",
		strconv.Itoa(limit))
	var list []FacetValue
	g.quickly(ctx, s, func(rows driver.Rows) error {
		var v FacetValue
		var n uint64
		err := rows.Scan(&v.Value, &n)
		v.Count = int64(n)
		list = append(list, v)
		return err
	})
	return list
}

// quickly runs a statement that is given up when it takes long: somebody types.
func (g *suggester) quickly(ctx context.Context, s *statement, row func(driver.Rows) error) {
	limits := Interactive.Limits()
	limits.Time = suggestPatience
	if err := g.runWith(ctx, Interactive, limits.settings(), "looking for values", s, row); err != nil {
		if limit := new(LimitError); !errors.As(err, &limit) && ctx.Err() == nil {
			g.logger.WarnContext(ctx, "values for a completion cannot be looked for", "error", err)
		}
	}
}

func (g *suggester) relations(ctx context.Context, c filter.Completion) []Suggestion {
	var list []Suggestion
	if g.scope.all {
		s := new(statement)
		s.put("SELECT toString(kind), count() AS n FROM relation WHERE dir = 'out' AND startsWith(kind, ", s.text(c.Prefix),
			") GROUP BY kind ORDER BY n DESC LIMIT 50")
		g.quickly(ctx, s, func(rows driver.Rows) error {
			r := Suggestion{Kind: SuggestRelation}
			err := rows.Scan(&r.Text, &r.Assets)
			list = append(list, r)
			return err
		})
	}
	if c.Prefix == "" {
		list = append(list, Suggestion{Text: "*", Kind: SuggestRelation, Help: "any relation"})
	}
	return list
}
