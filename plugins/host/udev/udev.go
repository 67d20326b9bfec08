// Package udev reads what udev recorded of devices.
package udev

import (
	"strings"

	"github.com/reeve-cloud/reeve/plugins/host/tree"
)

// Properties reads what was recorded of a block device, by its "major:minor". Without udev, as
// in a container, there is nothing.
func Properties(t tree.Tree, deviceNumber string) map[string]string {
	text := t.Text("run/udev/data/b" + deviceNumber)
	if text == "" {
		return nil
	}
	props := map[string]string{}
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, "E:")
		if !ok {
			continue
		}
		if name, val, ok := strings.Cut(strings.TrimRight(rest, "\n"), "="); ok {
			props[name] = val
		}
	}
	return props
}

// Unescape undoes the \xNN of udev's *_ENC properties.
func Unescape(s string) string {
	if !strings.Contains(s, `\x`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && s[i+1] == 'x' {
			if hi, lo := hexDigit(s[i+2]), hexDigit(s[i+3]); hi >= 0 && lo >= 0 {
				b.WriteByte(byte(hi<<4 | lo))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
