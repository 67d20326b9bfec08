package cloud

import (
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// message finds the message in the body of an error.
func message(body []byte) string {
	const most = 300
	text := ""
	var all map[string]jsontext.Value
	if json.Unmarshal(body, &all, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) == nil {
		text = findMessage(all, 3)
	}
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + " ..."
	}
	return text
}

// findMessage looks where services put their message: {"forbidden": {"message"}},
// {"error": {"message"}}, {"NeutronError": {"message"}}, {"faultstring"},
// {"errors": [{"detail"}]}.
func findMessage(all map[string]jsontext.Value, depth int) string {
	for _, name := range []string{"message", "faultstring", "detail", "description", "title", "error_message"} {
		if v := all[name]; v.Kind() == '"' {
			var s string
			if json.Unmarshal(v, &s, jsontext.AllowInvalidUTF8(true)) == nil && s != "" {
				return s
			}
		}
	}
	if depth == 0 {
		return ""
	}
	for _, v := range all {
		if v.Kind() == '[' {
			var list []jsontext.Value
			if json.Unmarshal(v, &list, jsontext.AllowInvalidUTF8(true)) != nil || len(list) == 0 {
				continue
			}
			v = list[0]
		}
		var inner map[string]jsontext.Value
		if v.Kind() == '{' && json.Unmarshal(v, &inner, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) == nil {
			if text := findMessage(inner, depth-1); text != "" {
				return text
			}
		}
	}
	return ""
}
