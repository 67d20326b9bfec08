package query

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/reeve-cloud/reeve/pkg/document"
)

// The newest version of an asset has its document flattened beside it; earlier versions,
// and the elements of an array one by one, are read from the document itself. What is
// read is the same, but for two things: numbers come in the engine's shortest form (1.50
// is 1.5), and of arrays that lie directly in arrays so many are passed through, the outer
// one among them:
const nestedArrays = 2

// passArrays returns, for an expression that is an array of raw JSON values, one in which
// arrays are replaced by their elements.
func passArrays(raws string) string {
	for range nestedArrays {
		raws = "arrayFlatten(arrayMap(e -> if(startsWith(e, '['), JSONExtractArrayRaw(e), [e]), " + raws + "))"
	}
	return raws
}

// below returns, for an expression that is an array of raw JSON values, the raw values at
// a path in them. Keys may have dots in them, so each row of keys is tried as one key as
// well: a value carries with it how many keys of the path led to it.
func below(s *Statement, raws, path string) string {
	s.documents++
	keys := strings.Split(path, ".")
	found := "arrayMap(e -> (toUInt8(0), e), " + passArrays(raws) + ")"
	for i := range keys {
		at := strconv.Itoa(i)
		if i > 0 {
			for range nestedArrays {
				found = fmt.Sprintf("arrayFlatten(arrayMap(t -> if(t.1 = %s AND startsWith(t.2, '['), "+
					"arrayMap(e -> (t.1, e), JSONExtractArrayRaw(t.2)), [t]), %s))", at, found)
			}
		}
		var names, ends []string
		for j := i + 1; j <= len(keys); j++ {
			names, ends = append(names, strings.Join(keys[i:j], ".")), append(ends, strconv.Itoa(j))
		}
		found = fmt.Sprintf("arrayFilter(t -> t.2 != '', arrayFlatten(arrayMap(t -> if(t.1 = %s, "+
			"arrayMap((n, k) -> (toUInt8(n), JSONExtractRaw(t.2, k)), [%s], %s), [t]), %s)))", at, strings.Join(ends, ", "), s.Texts(names), found)
	}
	return "arrayMap(t -> t.2, " + found + ")"
}

// searched returns an expression of the texts at all of some paths that are for the type of a
// row, a line each. However many paths there are it is one expression, as [below] is of one: the
// engine takes long to understand those.
func searched(s *Statement, paths []searchPath) string {
	s.documents++
	texts, types, depth := make([]string, len(paths)), make([]string, len(paths)), 0
	for i, p := range paths {
		texts[i], types[i] = p.path, strings.Join(p.types, "\n")
		depth = max(depth, strings.Count(p.path, ".")+1)
	}
	found := "arrayMap(e -> (toUInt8(0), e), " + passArrays("[document]") + ")"
	for i := range depth {
		at := strconv.Itoa(i)
		if i > 0 {
			for range nestedArrays {
				found = fmt.Sprintf("arrayFlatten(arrayMap(t -> if(t.1 = %s AND t.1 < length(k) AND startsWith(t.2, '['), "+
					"arrayMap(e -> (t.1, e), JSONExtractArrayRaw(t.2)), [t]), %s))", at, found)
			}
		}
		found = fmt.Sprintf("arrayFilter(t -> t.2 != '', arrayFlatten(arrayMap(t -> if(t.1 = %[1]s AND t.1 < length(k), arrayMap(n -> (toUInt8(n), "+
			"JSONExtractRaw(t.2, arrayStringConcat(arraySlice(k, %[1]s + 1, n - %[1]s), '.'))), range(%[1]s + 1, length(k) + 1)), [t]), %[2]s)))", at, found)
	}
	return fmt.Sprintf("replaceAll(arrayStringConcat(arrayFlatten(arrayMap(p -> arrayMap(k -> %s, [splitByChar('.', p)])[1], "+
		"arrayFilter((p, t) -> has(splitByChar('\n', t), toString(type)), %s, %s))), '\n'), %s, '\n')",
		scalars("arrayMap(t -> t.2, "+found+")"), s.Texts(texts), s.Texts(types), s.Text(document.Separator))
}

// scalars returns, for an expression that is an array of raw JSON values, the texts of
// those that have one, as document.Fields has them.
func scalars(raws string) string {
	return "arrayFilter(e -> e != '', arrayMap(e -> multiIf(startsWith(e, '\"'), JSONExtractString(e), " +
		"e = 'null' OR startsWith(e, '{') OR startsWith(e, '['), '', e), " + passArrays(raws) + "))"
}

// plainPath is a path whose keys are written in JSON as they are.
var plainPath = regexp.MustCompile(`^[-A-Za-z0-9_/:.]+$`)

// maxPlain is how many keys such a path has at most: the engine looks for 255 texts at once.
const maxPlain = 20

// textsAt returns the texts that fields has of a path, as an array, read from a document. Where
// the path leads from object to object to something that has one text, and no key has a dot
// that the path has, that is all there is.
func textsAt(s *Statement, doc, path string) string {
	all := scalars(below(s, "["+doc+"]", path))
	if !plainPath.MatchString(path) {
		return all
	}
	keys := strings.Split(path, ".")
	if len(keys) > maxPlain {
		return all
	}
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = s.Text(k)
	}
	plain := ""
	var dotted []string
	for i := range keys {
		for j := i + 2; j <= len(keys); j++ {
			dotted = append(dotted, `"`+strings.Join(keys[i:j], ".")+`"`)
		}
	}
	if len(dotted) > 0 {
		plain = "multiSearchAny(" + doc + ", " + s.Texts(dotted) + ") = 0 AND "
	}
	// In no lambda, so that the engine takes the general way for those only that need it.
	raw := "JSONExtractRaw(" + doc + ", " + strings.Join(names, ", ") + ")"
	return fmt.Sprintf("multiIf(%[1]smatch(%[2]s, '^[-0-9tf]'), [%[2]s], %[1]sstartsWith(%[2]s, '\"'), arrayFilter(e -> e != '', "+
		"[JSONExtractString(%[2]s)]), %[3]s)", plain, raw, all)
}

// anything is true of a raw JSON value in which there is a value anywhere: behind names,
// brackets, nulls and empty texts there is something else.
func anything(raw string) string {
	return fmt.Sprintf(`match(%s, '^(?:"(?:[^"\\\\]|\\\\.)*":|[{}\\[\\],]|""|null)*(?:"(?:[^"\\\\]|\\\\.)+"(?:[,\\]}]|$)|[-0-9tf])')`, raw)
}

// memberText returns the text of a member of a raw JSON object, if that is a text, a
// number, or true or false. Of what is no member it is a text that no filter can have.
func memberText(s *Statement, object, key string) string {
	s.documents++
	return once(fmt.Sprintf("JSONExtractRaw(%s, %s)", object, s.Text(key)),
		"multiIf(startsWith(g, '\"'), JSONExtractString(g), g IN ('', 'null') OR startsWith(g, '{') OR startsWith(g, '['), '\\0', g)")
}
