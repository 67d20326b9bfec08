package embedded

import (
	"net/http"
	"strings"
	"testing"
)

func TestSplitInsert(t *testing.T) {
	for _, test := range []struct{ statement, insert, format string }{
		{"INSERT INTO t FORMAT Native", "INSERT INTO t", "Native"},
		{" insert into t (a, b)\nSETTINGS x = 1\nformat CSV ; ", " insert into t (a, b)\nSETTINGS x = 1", "CSV"},
		{"-- why\n/* because */ INSERT INTO t FORMAT TSV", "-- why\n/* because */ INSERT INTO t", "TSV"},
		{"INSERT INTO t VALUES (1)", "", ""},
		{"INSERT INTO t SELECT 1", "", ""},
		{"SELECT 1 FORMAT Native", "", ""},
		{"INSERT INTO t FORMAT CSV\n1,2", "", ""},
		{"INSERT INTO t VALUES ('a FORMAT Native')", "", ""},
		{"", "", ""},
	} {
		insert, format, ok := splitInsert(test.statement)
		if insert != test.insert || format != test.format || ok != (test.format != "") {
			t.Errorf("%q splits into %q %q %v", test.statement, insert, format, ok)
		}
	}
}

func TestPreparations(t *testing.T) {
	r, err := parseRequest(http.MethodPost,
		"database=a%60b&max_threads=2&insert_deduplication_token=it%27s+%5C&log_comment=c&user=x&default_format=Native&query_id=7&param_x=1&client_protocol_version=54460")
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(r.preparations("m "), "\n")
	want := "USE `a\\`b`\nSET insert_deduplication_token='it\\'s \\\\', log_comment='m c', max_threads='2'"
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if r.format != "Native" || r.revision != 54460 || len(r.parameters) != 1 || r.readOnly {
		t.Errorf("got %+v", r)
	}
}

// unquote reads a quoted text as the engine does and gives what follows it.
func unquote(t *testing.T, s string, mark byte) (text, rest string) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == mark:
			return b.String(), s[i+1:]
		case s[i] == '\\' && s[i+1] == '0':
			b.WriteByte(0)
			i++
		case s[i] == '\\':
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	t.Fatalf("%q does not end", s)
	return "", ""
}

// FuzzRequest checks that nothing in a URL panics, and that no value leaves its
// quotes in the statements made of it.
func FuzzRequest(f *testing.F) {
	f.Add("query=INSERT+INTO+t+FORMAT+Native&max_threads=1")
	f.Add("database=%60%5C&a=%27%5C%00%27")
	f.Add("param_=&=&%zz&a;b")
	f.Add("default_format=a+b&client_protocol_version=-1&compress=1")
	f.Fuzz(func(t *testing.T, query string) {
		r, err := parseRequest(http.MethodPost, query)
		if err != nil {
			return
		}
		for _, statement := range r.preparations("m ") {
			if quoted, ok := strings.CutPrefix(statement, "USE "); ok {
				if name, rest := unquote(t, quoted, '`'); name != r.database || rest != "" {
					t.Fatalf("database %q became %q", r.database, statement)
				}
				continue
			}
			rest := strings.TrimPrefix(statement, "SET ")
			n := 0
			for ; rest != ""; n++ {
				name, quoted, _ := strings.Cut(strings.TrimPrefix(rest, ", "), "=")
				var value string
				value, rest = unquote(t, quoted, '\'')
				if name == "log_comment" {
					value = strings.TrimPrefix(value, "m ")
				}
				if want, ok := r.settings[name]; !ok || want != value {
					t.Fatalf("setting %q=%q is in %q", name, value, statement)
				}
			}
			if n != len(r.settings) {
				t.Fatalf("%d of %d settings are in %q", n, len(r.settings), statement)
			}
		}
		splitInsert(r.statement)
	})
}

// FuzzSplitInsert checks that an INSERT put together again is the same text, up to space.
func FuzzSplitInsert(f *testing.F) {
	f.Add("INSERT INTO t FORMAT Native")
	f.Add("/**/--\n#\nINSERT FORMAT x FORMAT y;;")
	f.Fuzz(func(t *testing.T, statement string) {
		insert, format, ok := splitInsert(statement)
		if !ok {
			return
		}
		if !strings.HasPrefix(statement, insert) || !strings.Contains(statement[len(insert):], format) || format == "" {
			t.Fatalf("%q split into %q and %q", statement, insert, format)
		}
	})
}

// FuzzEngineError checks that no message makes the answer lack a code.
func FuzzEngineError(f *testing.F) {
	f.Add("Code: 60. DB::Exception: x")
	f.Add("Code: 999999999999. ")
	f.Fuzz(func(t *testing.T, text string) {
		err := newEngineError(text)
		if err == nil {
			return
		}
		if _, code, message := describe(err); code <= 0 || !strings.HasPrefix(message, "Code: ") {
			t.Fatalf("%q is described as %d %q", text, code, message)
		}
	})
}
