package query_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/pkg/filter"
	"github.com/reeve-cloud/reeve/pkg/hlc"
)

// worldAt returns the model as of a moment. Of no thing it has what now is.
func (e *estate) worldAt(m query.Moment) func(*thing) *state {
	stamp, now := uint64(1<<63), e.end
	if !m.Now() {
		stamp, now = uint64(hlc.FromTime(m.Time()))|0xffff, m.Time()
	}
	return func(t *thing) *state {
		if t == nil {
			return &state{created: now}
		}
		return t.at(stamp)
	}
}

// answer is which assets the model says a question has.
func (e *estate) answer(q question, m query.Moment) []string {
	at := e.worldAt(m)
	var keys []string
	for _, t := range e.things {
		if v := at(t); v != nil && !v.deleted && q.holds(v, at) {
			keys = append(keys, v.key())
		}
	}
	slices.Sort(keys)
	return keys
}

// asked answers many selections by one statement.
func asked(t *testing.T, e *query.Engine, selections []query.Selection) [][]string {
	t.Helper()
	var s query.Statement
	var first *query.Plan
	for i, selection := range selections {
		p, err := e.Plan(t.Context(), query.All(), selection)
		if err != nil {
			t.Fatalf("%s: %v", selection.Filter, err)
		}
		if first == nil {
			first = p
		} else {
			s.Put(" UNION ALL ")
		}
		s.Put("SELECT toUInt64(", fmt.Sprint(i), "), groupArray(k) FROM ", p.Rows(&s, query.Constant("k", "concat(site, ' ', type, ' ', uid)")))
	}
	answers := make([][]string, len(selections))
	err := first.Run(t.Context(), "testing", &s, func(rows driver.Rows) error {
		var i uint64
		var keys []string
		if err := rows.Scan(&i, &keys); err != nil {
			return err
		}
		slices.Sort(keys)
		answers[i] = keys
		return nil
	})
	if err != nil {
		for _, selection := range selections {
			t.Log(selection.Filter)
		}
		t.Fatal(err)
	}
	return answers
}

// TestFiltersAsTheModelHasThem holds the engine's SQL against package filter and against
// the model, now and as of moments.
func TestFiltersAsTheModelHasThem(t *testing.T) {
	without, estate := newEngine(t, 7, 150, 6)
	g := &generator{Rand: rand.New(rand.NewPCG(3, 4)), estate: estate}
	known := &allPaths{}
	for _, v := range estate.alive(1 << 63) {
		for path := range v.texts {
			known.paths = append(known.paths, path)
		}
	}
	with := estate.engine(query.Options{Catalogue: known})
	moments := []query.Moment{{}, query.At(estate.start.Add(20 * time.Hour)), {}, query.At(estate.start.Add(50*time.Hour + 30*time.Minute)),
		query.At(estate.start.Add(time.Hour))}
	// Questions of the past take the engine many times as long to understand.
	rounds, count, found := 50, 0, 0
	if testing.Short() {
		rounds = 10
	}
	for round := range rounds {
		var questions []question
		var selections []query.Selection
		// With the catalogue, and without.
		e := without
		if round%2 == 0 {
			e = with
		}
		moment := moments[round%len(moments)]
		batch := 5
		if moment.Now() {
			batch = 50
		}
		count += batch
		for range batch {
			q := g.question(g.IntN(4))
			questions = append(questions, q)
			selections = append(selections, query.Selection{Filter: q.text, Moment: moment})
		}
		answers := asked(t, e, selections)
		for i, q := range questions {
			want := estate.answer(q, selections[i].Moment)
			if len(want) > 0 {
				found++
			}
			if !slices.Equal(answers[i], want) {
				t.Errorf("%s at %v:\n the engine has %d %v\n the model has  %d %v", q.text, selections[i].Moment.Time(), len(answers[i]),
					few(answers[i], want),
					len(want), few(want, answers[i]))
			}
			if strings.Contains(q.text, "related(") {
				continue // which package filter leaves to those who ask
			}
			f, err := filter.Parse(q.text)
			if err != nil {
				t.Fatal(err)
			}
			at := estate.worldAt(selections[i].Moment)
			var evaluated []string
			for _, th := range estate.things {
				if v := at(th); v != nil && !v.deleted {
					ok, err := f.Match(v.asset(t), &filter.Env{Now: at(nil).created})
					if err != nil {
						t.Fatal(err)
					}
					if ok {
						evaluated = append(evaluated, v.key())
					}
				}
			}
			if slices.Sort(evaluated); !slices.Equal(evaluated, want) {
				t.Errorf("%s:\n package filter has %v\n the model has      %v", q.text, few(evaluated, want), few(want, evaluated))
			}
		}
		if t.Failed() {
			return
		}
	}
	if found < count/4 {
		t.Errorf("only %d of %d questions have an answer", found, count)
	}
}

// few are those of a list that are not in another one, up to five.
func few(list, other []string) []string {
	var only []string
	for _, k := range list {
		if !slices.Contains(other, k) && len(only) < 5 {
			only = append(only, k)
		}
	}
	return only
}

// allPaths is a catalogue that knows all paths.
type allPaths struct {
	kindsOf
	paths []string
}

func (a *allPaths) Below(_, path string) (list []string, complete bool) {
	for _, p := range a.paths {
		if (p == path || strings.HasPrefix(p, path+".")) && !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	return list, true
}
