package catalogue

import (
	"strings"
	"time"

	"github.com/reeve-cloud/reeve/pkg/document"
)

// Kind is what the values at a path are. Documents tell numbers from texts, and the
// warehouse's fields do not, so it goes by the form of the values.
type Kind string

// The kinds. A Quantity is a number with a unit, such as 500m, 256Mi or 4GiB; where some
// values have one and others not, all are quantities.
const (
	Text     Kind = "text"
	Number   Kind = "number"
	Quantity Kind = "quantity"
	Time     Kind = "time"
	Boolean  Kind = "boolean"
)

// kindOf returns what one value is.
func kindOf(value string) Kind {
	switch value {
	case "":
		return Text
	case "true", "false":
		return Boolean
	}
	if c := value[0]; c != '-' && c != '+' && c != '.' && (c < '0' || c > '9') {
		return Text
	}
	if isTime(value) {
		return Time
	}
	digits := numberEnd(value)
	switch unit := strings.TrimPrefix(value[digits:], " "); {
	case digits == 0:
		return Text
	case digits == len(value):
		return Number
	case units[unit]:
		return Quantity
	}
	return Text
}

// kindOfAll returns what the values are that share a path in one asset.
func kindOfAll(values string) (k Kind) {
	for value := range strings.SplitSeq(values, document.Separator) {
		k = k.join(kindOf(value))
	}
	return k
}

var units = map[string]bool{
	"n": true, "u": true, "m": true, "k": true, "K": true, "M": true, "G": true, "T": true, "P": true, "E": true,
	"Ki": true, "Mi": true, "Gi": true, "Ti": true, "Pi": true, "Ei": true,
	"B": true, "kB": true, "KB": true, "MB": true, "GB": true, "TB": true, "PB": true,
	"KiB": true, "MiB": true, "GiB": true, "TiB": true, "PiB": true,
}

// numberEnd returns how many bytes at the start of a text are a number.
func numberEnd(s string) int {
	i, digits := 0, 0
	if s[0] == '-' || s[0] == '+' {
		i++
	}
	for dot := false; i < len(s); i++ {
		switch {
		case s[i] >= '0' && s[i] <= '9':
			digits++
			continue
		case s[i] == '.' && !dot:
			dot = true
			continue
		}
		break
	}
	if digits == 0 {
		return 0
	}
	if i+1 < len(s) && (s[i] == 'e' || s[i] == 'E') {
		j := i + 1
		if s[j] == '-' || s[j] == '+' {
			j++
		}
		exponent := j
		for j < len(s) && s[j] >= '0' && s[j] <= '9' {
			j++
		}
		if j > exponent {
			return j
		}
	}
	return i
}

// timeLayouts are the forms of times in documents: Kubernetes', OpenStack's without a
// zone, and days.
var timeLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", time.DateTime, time.DateOnly}

func isTime(s string) bool {
	if len(s) < len(time.DateOnly) || len(s) > 40 || s[4] != '-' || s[7] != '-' {
		return false
	}
	for _, layout := range timeLayouts {
		if _, err := time.Parse(layout, s); err == nil {
			return true
		}
	}
	return false
}

// join returns what values are together of which some are of one kind and some of
// another. Nothing is known of "".
func (k Kind) join(other Kind) Kind {
	switch {
	case k == "" || k == other:
		return other
	case other == "":
		return k
	case k == Number && other == Quantity || k == Quantity && other == Number:
		return Quantity
	}
	return Text
}
