package sqlgate

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// categories of the engine's functions that compute from their arguments alone.
var categories = []string{
	"Aggregate Functions", "Arithmetic", "Arrays", "Bit", "Comparison", "Conditional", "Dates and Times", "Distance", "Encoding",
	"Hash", "IP Address", "JSON", "Logical", "Map", "Mathematical", "Null", "Random Number", "Rounding", "String", "String Replacement",
	"String Search", "String Splitting", "Time Window", "Tuple", "Type Conversion", "URL", "UUID",
}

// others are harmless functions of the category that has all sorts of them.
var others = []string{
	"bar", "byteSize", "countDigits", "formatReadableDecimalSize", "formatReadableQuantity", "formatReadableSize", "formatReadableTimeDelta",
	"identity", "ignore", "materialize", "parseReadableSize", "parseReadableSizeOrNull", "parseTimeDelta", "rowNumberInAllBlocks",
	"runningDifference", "toTypeName", "transform", "version",
	// Parts of the syntax that are functions to the parser.
	"lambda", "exists", "caseWithExpression", "caseWithExpr", "caseWithoutExpression", "caseWithoutExpr", "grouping", "untuple",
}

// never are functions of those categories that are not harmless after all, or of
// which nobody knows what they do.
var never = []string{
	"chdb", "aggThrow", "nowInBlock", "nowInBlock64", "serverTimezone", "flameGraph",
	// They write in formats, some of which read files of templates and schemas, and
	// look for trained models.
	"formatRow", "formatRowNoNewline", "groupFormat", "naiveBayesNgrams",
	// A few calls take hours, and the engine cannot interrupt one.
	"editDistance", "editDistanceUTF8", "damerauLevenshteinDistance", "jaroSimilarity", "jaroWinklerSimilarity", "arrayLevenshteinDistance",
	"arrayLevenshteinDistanceWeighted", "arraySimilarity", "arrayAutocorrelation", "arrayFold", "sqidEncode", "sqidDecode",
	"multiFuzzyMatchAny", "multiFuzzyMatchAnyIndex", "multiFuzzyMatchAllIndices", "multiMatchAny", "multiMatchAnyIndex", "multiMatchAllIndices",
}

// combinators are what the names of aggregate functions may end with. Those that
// make and take states are not among them: a state that was made up by hand has
// brought the engine down before.
var combinators = []string{"If", "Array", "Map", "Distinct", "OrNull", "OrDefault", "ForEach", "ArgMin", "ArgMax", "Resample"}

// functions are those that statements may use.
type functions struct {
	// names are as they are written; lower those that may be written in any case.
	names, lower, aggregates map[string]bool
}

// functions asks the engine for its functions, once.
func (g *Gate) functions(ctx context.Context) (*functions, error) {
	g.learning.Lock()
	defer g.learning.Unlock()
	if g.known != nil {
		return g.known, nil
	}
	rows, err := g.own.Query(ctx, `SELECT name, alias_to, categories, is_aggregate = 1, case_insensitive = 1, origin = 'System' FROM `+
		`system.functions`)
	if err != nil {
		return nil, fmt.Errorf("asking the engine for its functions: %w", err)
	}
	defer rows.Close()
	type function struct {
		name, alias, categories        string
		aggregate, insensitive, system bool
	}
	all := make(map[string]function)
	for rows.Next() {
		var fn function
		if err := rows.Scan(&fn.name, &fn.alias, &fn.categories, &fn.aggregate, &fn.insensitive, &fn.system); err != nil {
			return nil, fmt.Errorf("asking the engine for its functions: %w", err)
		}
		all[fn.name] = fn
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("asking the engine for its functions: %w", err)
	}
	known := &functions{names: make(map[string]bool), lower: make(map[string]bool), aggregates: make(map[string]bool)}
	for name, fn := range all {
		of := fn
		if fn.alias != "" {
			of = all[fn.alias]
		}
		if !fn.system || !of.system || slices.Contains(never, of.name) || slices.Contains(never, name) {
			continue
		}
		if !slices.Contains(others, of.name) && !slices.Contains(categories, of.categories) {
			continue
		}
		known.names[name] = true
		if fn.insensitive {
			known.lower[strings.ToLower(name)] = true
		}
		if of.aggregate {
			known.aggregates[name] = true
		}
	}
	for _, name := range others {
		known.names[name] = true
	}
	g.known = known
	return known, nil
}

// harmless reports whether a statement may use a function.
func (f *functions) harmless(name string) bool {
	if f.names[name] || f.lower[strings.ToLower(name)] {
		return true
	}
	for _, end := range combinators {
		if base, ok := strings.CutSuffix(name, end); ok && base != "" &&
			(f.aggregates[base] || f.aggregates[strings.ToLower(base)] || f.harmlessAggregate(base)) {
			return true
		}
	}
	return false
}

// harmlessAggregate is harmless for what has more than one combinator.
func (f *functions) harmlessAggregate(name string) bool {
	for _, end := range combinators {
		if base, ok := strings.CutSuffix(name, end); ok && base != "" && (f.aggregates[base] || f.harmlessAggregate(base)) {
			return true
		}
	}
	return false
}
