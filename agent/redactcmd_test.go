package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRedactTest(t *testing.T) {
	dir := t.TempDir()
	settings := filepath.Join(dir, "agent.yaml")
	if err := os.WriteFile(settings, []byte("redact:\n  keys: [\"*_adr\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		file, content string
		args          []string
		out, why      string
	}{
		"a JSON document": {"a.json", `{"b":{"password":"Zq"},"a":[1]}`, nil,
			"{\n  \"a\": [\n    1\n  ],\n  \"b\": {\n    \"password\": \"[redacted]\"\n  }\n}\n",
			"b.password: name \"password\"\n1 masked\n"},
		"several, on standard input": {"", `{"a":1}` + "\n" + `[{"name":"TOKEN","value":"Zq"}]`, nil,
			"{\n  \"a\": 1\n}\n[\n  {\n    \"name\": \"TOKEN\",\n    \"value\": \"[redacted]\"\n  }\n]\n",
			"document 2: [0].value: name \"token\"\n1 masked\n"},
		"YAML": {"a.yml", "a: 1 # Zq\nenv:\n- {name: DB_PASS, value: Zq}\n---\nx: y\n", nil,
			"a: 1\nenv:\n- name: DB_PASS\n  value: \"[redacted]\"\n---\nx: \"y\"\n",
			"document 1: env[0].value: name \"pass\"\n1 masked\n"},
		"YAML on standard input": {"", "apiVersion: v1\nmetadata: {name: a}\n", nil, "apiVersion: v1\nmetadata:\n  name: a\n", "0 masked\n"},
		"a text":                 {"a.conf", "port 1\nrequirepass Zq\n", nil, "port 1\nrequirepass [redacted]\n", "line 2: name \"requirepass\"\n1 masked\n"},
		"YAML as a text": {"a.yaml", "password: Zq # hm\n", []string{"--as", "text"}, "password: [redacted]\n",
			"name \"password\"\n1 masked\n"},
		"the agent's own names": {"a.json", `{"home_adr":"Zq"}`, []string{"-c", settings}, "{\n  \"home_adr\": \"[redacted]\"\n}\n",
			"home_adr: redact.keys[0]\n1 masked\n"},
	} {
		t.Run(name, func(t *testing.T) {
			file := "-"
			if c.file != "" {
				file = filepath.Join(dir, c.file)
				if err := os.WriteFile(file, []byte(c.content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			out, why, err := runRedact(c.content, append([]string{"--why", file}, c.args...)...)
			if err != nil {
				t.Fatal(err)
			}
			if out != c.out {
				t.Errorf("printed\n%s\nwant\n%s", out, c.out)
			}
			if why != c.why {
				t.Errorf("says\n%s\nwant\n%s", why, c.why)
			}
		})
	}
}

// TestRedactTestErrors shows that what cannot be read is an error that has nothing
// of the file in it.
func TestRedactTestErrors(t *testing.T) {
	for content, args := range map[string][]string{
		`{"password":"Zq"`:                  {"--as", "json"},
		`"Zq"`:                              {"--as", "json"},
		`{"password:Zq":1,"password:Zq":2}`: {"--as", "json"},
		"a: b: Zq":                          {"--as", "yaml"},
		"password: \"Zq":                    {"--as", "yaml"},
		"a: *Zq":                            {"--as", "yaml"},
		`{"a":"Zq"}`:                        {"--as", "xml"},
		strings.Repeat("[", 1<<16):          {"--as", "json"},
		`{"a":"Zq"} {"password":"Zq" `:      {"--as", "json"},
	} {
		out, why, err := runRedact(content, append(args, "--why", "-")...)
		if err == nil {
			t.Errorf("%.40q: taken", content)
		} else if strings.Contains(out+why+err.Error(), "Zq") {
			t.Errorf("%.40q: gave %s %s %v", content, out, why, err)
		}
	}
	if _, _, err := runRedact("", "/nonexistent"); err == nil {
		t.Error("a file that is not there was taken")
	}
}

func runRedact(stdin string, args ...string) (out, why string, err error) {
	var o, w bytes.Buffer
	cmd := command()
	cmd.SetArgs(append([]string{"redact", "test"}, args...))
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&o)
	cmd.SetErr(&w)
	err = cmd.Execute()
	return o.String(), w.String(), err
}
