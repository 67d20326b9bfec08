package redact

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestExplain(t *testing.T) {
	rules, err := New([]string{"x_*", "*_adr"}, []string{"ACME-[0-9]+"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		in   string
		want []Finding
	}{
		{`{"spec":{"env":[{"name":"A","value":"b"},{"name":"DB_PASSWORD","value":"Zq"}]}}`,
			[]Finding{{"spec.env[1].value", 0, `name "password"`}}},
		{`{"args":["mysql","-pZq1","--token","Zq2"]}`, []Finding{{"args[1]", 0, "argument of mysql"}, {"args[3]", 0, `name "token"`}}},
		{`{"a":"{\"b\":[{\"apiKey\":\"Zq\"}]}"}`, []Finding{{"a: b[0].apiKey", 0, `name "api key"`}}},
		{`{"tags":{"password:Zq":""}}`, []Finding{{"tags.password:[redacted]", 0, `name "password"`}}},
		{`{"home_adr":"Zq","m":"ACME-1","x_1":5}`, []Finding{
			{"home_adr", 0, "redact.keys[1]"}, {"m", 0, "redact.patterns[0]"}, {"x_1", 0, "redact.keys[0]"}}},
		{`{"dbCredentials":{"user":"Zq"}}`, []Finding{{"dbCredentials.user", 0, `name "credentials"`}}},
		{"a\n-----BEGIN PRIVATE KEY-----\nZq\n-----END PRIVATE KEY-----\npass: Zq\nsee postgres://u:Zq@h/d", []Finding{
			{"", 2, "private key"}, {"", 3, `name "pass"`}, {"", 4, "password in an address"}}},
		{"token=Zq", []Finding{{"", 0, `name "token"`}}},
	} {
		var clean string
		var found []Finding
		if strings.HasPrefix(c.in, "{") {
			doc, got, err := rules.ExplainDocument([]byte(canonical(t, c.in)))
			if err != nil {
				t.Fatal(err)
			}
			clean, found = string(doc), got
		} else {
			clean, found = rules.ExplainText(c.in)
		}
		if strings.Contains(clean, "Zq") {
			t.Errorf("%s gave %s", c.in, clean)
		}
		if !slices.Equal(found, c.want) {
			t.Errorf("%s\n gave %+v\n want %+v", c.in, found, c.want)
		}
	}
}

// TestExplainedIsMasked shows that what is explained is what leaves, that there is a
// reason for each mask, and that no reason has anything of the secret in it.
func TestExplainedIsMasked(t *testing.T) {
	for _, file := range []string{"testdata/secrets.txt", "testdata/harmless.txt"} {
		cases, _ := corpus(t, file)
		for _, c := range cases {
			want := clean(t, c[0])
			var got string
			var found []Finding
			if strings.HasPrefix(c[0], `{"`) && json.Valid([]byte(c[0])) {
				doc, f, err := builtin.ExplainDocument([]byte(canonical(t, c[0])))
				if err != nil {
					t.Fatal(err)
				}
				got, found = string(doc), f
			} else {
				got, found = builtin.ExplainText(c[0])
			}
			if got != want {
				t.Errorf("%q explained gave %q, and not %q", c[0], got, want)
			}
			if masks := strings.Count(got, Mask) - strings.Count(c[0], Mask); masks != len(found) {
				t.Errorf("%q gave %q with %d masks and reasons for %d: %v", c[0], got, masks, len(found), found)
			}
			for _, f := range found {
				if strings.Contains(f.Path+f.Rule, "Zq") || f.Rule == "" || f.Rule == "name" {
					t.Errorf("%q is explained by %+v", c[0], f)
				}
			}
		}
	}
}
