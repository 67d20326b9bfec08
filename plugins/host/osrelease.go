package host

import "strings"

// parseOSRelease reads the os-release(5) format: shell assignments, whose values
// may be quoted.
func parseOSRelease(text string) map[string]string {
	vars := map[string]string{}
	for line := range strings.Lines(text) {
		name, val, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		vars[name] = unquote(val)
	}
	return vars
}

func unquote(s string) string {
	if len(s) < 2 || s[0] != s[len(s)-1] || (s[0] != '"' && s[0] != '\'') {
		return s
	}
	quote := s[0]
	s = s[1 : len(s)-1]
	if quote == '\'' {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && strings.IndexByte("\"$`\\", s[i+1]) >= 0 {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
