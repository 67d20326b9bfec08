package edge

import (
	"fmt"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxHostname is the longest host name that there is (RFC 1035), in bytes.
const maxHostname = 253

// hostname is the name of this machine, as it may be told to others.
func hostname() (string, error) {
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("finding out the host name: %w", err)
	}
	return cleanHostname(name), nil
}

// cleanHostname makes text of a name that the kernel takes as it comes: without
// what is not UTF-8 and what does not print, and no longer than a name may be.
func cleanHostname(name string) string {
	name = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || unicode.IsSpace(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(name, ""))
	for len(name) > maxHostname {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	if name == "" {
		return "unnamed"
	}
	return name
}
