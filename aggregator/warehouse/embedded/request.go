package embedded

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// request is what the URL of a statement says.
type request struct {
	statement  string // from ?query=
	database   string
	format     string // of the output, unless the statement names one
	revision   int    // of the native protocol, as the client would speak it
	parameters []parameter
	settings   map[string]string
	readOnly   bool
}

// ignoredParameters are neither settings nor of any consequence here.
var ignoredParameters = map[string]bool{
	"user": true, "password": true, "quota_key": true, "query_id": true, "role": true,
	"wait_end_of_query": true, "buffer_size": true, "stacktrace": true,
	"compress": true, "decompress": true, // refused when on
}

// unsupportedParameters are refused, for without them the answer would be another.
var unsupportedParameters = []string{"session_id", "session_check", "session_timeout", "close_session"}

var (
	namePattern   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]{0,127}$`)
	formatPattern = regexp.MustCompile(`^[A-Za-z0-9_]{1,64}$`)
)

// parseRequest reads the URL's query part.
func parseRequest(method, rawQuery string) (*request, error) {
	values, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, fmt.Errorf("URL parameters: %w", err)
	}
	r := &request{format: "TabSeparated", settings: map[string]string{}, readOnly: method != http.MethodPost}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		value := values[name][len(values[name])-1]
		switch parameterName, isParameter := strings.CutPrefix(name, "param_"); {
		case slices.Contains(unsupportedParameters, name):
			return nil, fmt.Errorf("URL parameter %q: the embedded engine has no sessions", name)
		case (name == "compress" || name == "decompress") && value != "" && value != "0":
			return nil, fmt.Errorf("URL parameter %q: the embedded engine does not compress, set the client's compression to none", name)
		case ignoredParameters[name]:
		case name == "query":
			r.statement = value
		case name == "database":
			r.database = value
		case name == "default_format":
			if !formatPattern.MatchString(value) {
				return nil, fmt.Errorf("URL parameter default_format: %q is no format's name", value)
			}
			r.format = value
		case name == "client_protocol_version":
			if r.revision, err = strconv.Atoi(value); err != nil || r.revision < 0 {
				return nil, fmt.Errorf("URL parameter client_protocol_version: %q is no revision", value)
			}
		case isParameter:
			if parameterName == "" {
				return nil, fmt.Errorf("URL parameter %q lacks the parameter's name", name)
			}
			r.parameters = append(r.parameters, parameter{name: parameterName, value: value})
		case !namePattern.MatchString(name):
			return nil, fmt.Errorf("URL parameter %q is no setting's name", name)
		default:
			r.settings[name] = value
		}
	}
	return r, nil
}

// preparations are the statements that put the request's database and settings
// into effect. mark goes before the request's log comment, if it has one.
func (r *request) preparations(mark string) []string {
	var statements []string
	if r.database != "" {
		statements = append(statements, "USE "+quoteName(r.database))
	}
	if len(r.settings) == 0 {
		return statements
	}
	assignments := make([]string, 0, len(r.settings))
	for _, name := range slices.Sorted(maps.Keys(r.settings)) {
		value := r.settings[name]
		if name == "log_comment" {
			value = mark + value
		}
		assignments = append(assignments, name+"="+quoteString(value))
	}
	return append(statements, "SET "+strings.Join(assignments, ", "))
}

// quoteString makes a string literal.
func quoteString(s string) string { return quote(s, '\'') }

// quoteName makes a quoted identifier.
func quoteName(s string) string { return quote(s, '`') }

func quote(s string, mark byte) string {
	b := make([]byte, 0, len(s)+2)
	b = append(b, mark)
	for i := range len(s) {
		switch s[i] {
		case mark, '\\':
			b = append(b, '\\', s[i])
		case 0:
			b = append(b, '\\', '0')
		default:
			b = append(b, s[i])
		}
	}
	return string(append(b, mark))
}

// insertFormat matches the FORMAT clause that ends an INSERT whose data follow
// apart. A match inside a trailing comment does no harm: the engine gets the
// same words in the same place again.
var insertFormat = regexp.MustCompile(`(?is)^(.*\S)\s+FORMAT\s+([A-Za-z0-9_]{1,64})[\s;]*$`)

// splitInsert tells whether the statement is an INSERT that takes its data
// from the request's body, and splits it into what stands before the FORMAT
// clause and the format's name.
func splitInsert(statement string) (insert, format string, ok bool) {
	if !strings.EqualFold(firstWord(statement), "INSERT") {
		return "", "", false
	}
	m := insertFormat.FindStringSubmatch(statement)
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}

// firstWord gives the first run of letters after space and comments.
func firstWord(s string) string {
	for {
		s = strings.TrimLeft(s, " \t\r\n\f\v")
		var end string
		switch {
		case strings.HasPrefix(s, "--"), strings.HasPrefix(s, "#"):
			end = "\n"
		case strings.HasPrefix(s, "/*"):
			s, end = s[2:], "*/"
		default:
			n := strings.IndexFunc(s, func(c rune) bool { return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') })
			if n < 0 {
				n = len(s)
			}
			return s[:n]
		}
		_, rest, found := strings.Cut(s, end)
		if !found {
			return ""
		}
		s = rest
	}
}
