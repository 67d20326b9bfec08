package layout

import (
	"fmt"
	"testing"
	"time"
)

func TestShow(t *testing.T) {
	s := subject(t, `{"meta":{"n":2,"b":"x"},"list":[{"n":3,"a":"z"},{"n":1},{"a":"y","n":2},7],"words":["p","q"],"text":"# hello","empty":{},
		"parts":[{"name":"used","bytes":2048},{"name":"free","bytes":1024}]}`)
	s.Basics["uid"] = `u"1`
	one := `"columns":[{"title":"N","path":"n"}]`
	for text, want := range map[string]string{
		`"kind":"table","path":"list","columns":[{"title":"A","titles":{"ko":"가"},"path":"a"},{"title":"N","path":"n"}],"sort":{"path":"n"}`: "" +
			`[가 N] [[ ] [ 1] [y 2] [z 3]]`,
		`"kind":"table","path":"list",` + one + `,"sort":{"path":"n","descending":true}`:               `[N] [[3] [2] [1] []]`,
		`"kind":"records","path":"list"`:                                                               `[n a ] [[3 z ] [1  ] [2 y ] [  7]]`,
		`"kind":"fields","path":"meta"`:                                                                `[] [[b x] [n 2]]`,
		`"kind":"fields","columns":[{"title":"U","path":"@uid"},{"title":"No","path":"not.there"}]`:    `[] [[U u"1]]`,
		`"kind":"list","path":"words"`:                                                                 `[] [[p] [q]]`,
		`"kind":"markdown","path":"text"`:                                                              `[] [] # hello`,
		`"kind":"markdown","text":"hi","texts":{"ko":"안녕"}`:                                            `[] [] 안녕`,
		`"kind":"raw","path":"meta"`:                                                                   "[] [] {\n  \"b\": \"x\",\n  \"n\": 2\n}",
		`"kind":"card","path":"meta.n"`:                                                                `[] [[2]]`,
		`"kind":"chart","chart":"donut","path":"parts","name":"name","value":"bytes","format":"bytes"`: `[] [[used 2KiB] [free 1KiB]]`,
		`"kind":"group","path":"meta","sections":[{"title":"B","kind":"fields","columns":[{"title":"B","path":"b"}]},` +
			`{"title":"E","kind":"list","path":"none"}]`: `[] [] (B [] [[B x]])`,
		`"kind":"query","query":{"filter":"owner={@uid} AND name~\"a{{2}\""},` + one:     `[N] [] owner="u\"1" AND name~"a{2}"`,
		`"kind":"chart","chart":"bar","query":{"by":"@status","filter":"x={not.there}"}`: `[] [] x=""`,
		// Nothing is there.
		`"kind":"table","path":"none","columns":[{"title":"A","path":"a"}]`:    `nothing`,
		`"kind":"fields","path":"empty"`:                                       `nothing`,
		`"kind":"group","path":"none","sections":[{"title":"R","kind":"raw"}]`: `nothing`,
		`"kind":"card","path":"none"`:                                          `nothing`,
		`"kind":"raw","path":"none"`:                                           `nothing`,
	} {
		l, err := Parse([]byte(section(text)))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		shown, ok := l.Sections[0].Show(s, "ko-KR", func(time.Time) string { return "" })
		got := "nothing"
		if ok {
			got = fmt.Sprint(shown.Heading, " ", shown.Rows)
			if shown.Text != "" {
				got += " " + shown.Text
			}
			for _, inner := range shown.Sections {
				got += fmt.Sprint(" (", inner.Title, " ", inner.Heading, " ", inner.Rows, ")")
			}
			if shown.Query != nil {
				got += " " + shown.Query.Filter
			}
		}
		if got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", text, got, want)
		}
	}
}
