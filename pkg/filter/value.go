package filter

import (
	"strconv"
	"strings"
	"time"
)

// units are what may stand behind a number: those of Kubernetes, of SI and of IEC, with or without the B of bytes.
// A number is multiplied with what stands here, or, if that is negative, divided by it.
var units = map[string]float64{
	"n": -1e9, "u": -1e6, "m": -1e3, "": 1, "B": 1,
	"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
	"kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "PB": 1e15, "EB": 1e18,
	"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "Pi": 1 << 50, "Ei": 1 << 60,
	"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "PiB": 1 << 50, "EiB": 1 << 60,
}

// maxNumber is the length of the longest text that is a number, a moment or a duration.
const maxNumber = 64

// Number returns what a text is as a number or a quantity: decimal digits with a sign, a point and an
// exponent where needed, then perhaps a space and a unit (docs/filter.md lists them). It is the nearest floating
// point number of the digits, and that times the unit. Other texts are none.
func Number(text string) (float64, bool) {
	digits, unit := splitNumber(text, true)
	if digits == "" {
		return 0, false
	}
	factor, ok := units[strings.TrimPrefix(unit, " ")]
	if !ok || unit == " " {
		return 0, false
	}
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil {
		return 0, false
	}
	if factor < 0 {
		return n / -factor, true
	}
	return n * factor, true
}

// splitNumber parts the digits that a text begins with from what is behind them. There are none if the text is no number,
// or too long.
func splitNumber(text string, signed bool) (digits, rest string) {
	if len(text) > maxNumber {
		return "", text
	}
	i := 0
	if signed && strings.HasPrefix(text, "-") {
		i = 1
	}
	n := digitsOf(text[i:])
	if n == 0 {
		return "", text
	}
	i += n
	if i < len(text) && text[i] == '.' {
		if n = digitsOf(text[i+1:]); n == 0 {
			return "", text
		}
		i += 1 + n
	}
	if signed && i < len(text) && text[i]|0x20 == 'e' {
		k := i + 1
		if k < len(text) && (text[k] == '-' || text[k] == '+') {
			k++
		}
		if n = digitsOf(text[k:]); n == 1 || n == 2 {
			i = k + n
		}
	}
	return text[:i], text[i:]
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func digitsOf(s string) int {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return i
		}
	}
	return len(s)
}

// Moment returns what a text is as a moment, in milliseconds since 1970; what is finer is cut off. It is a date, or a
// date and a time as in RFC 3339, where seconds and zone may be missing (then it is UTC) and a space may stand for the T.
// Years are 1970 to 2199.
func Moment(text string) (int64, bool) {
	s := text
	year, ok1 := take(&s, 4, 1970, 2199, "-")
	month, ok2 := take(&s, 2, 1, 12, "-")
	day, ok3 := take(&s, 2, 1, 31, "")
	if !ok1 || !ok2 || !ok3 || day > daysOf(year, month) || len(text) > maxNumber {
		return 0, false
	}
	date := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC).UnixMilli()
	if s == "" {
		return date, true
	}
	if s[0] != 'T' && s[0] != ' ' {
		return 0, false
	}
	s = s[1:]
	hour, ok1 := take(&s, 2, 0, 23, ":")
	minute, ok2 := take(&s, 2, 0, 59, "")
	if !ok1 || !ok2 {
		return 0, false
	}
	second, milli := 0, 0
	if strings.HasPrefix(s, ":") {
		s = s[1:]
		if second, ok1 = take(&s, 2, 0, 59, ""); !ok1 {
			return 0, false
		}
		if strings.HasPrefix(s, ".") {
			n := digitsOf(s[1:])
			if n == 0 || n > 9 {
				return 0, false
			}
			milli, _ = strconv.Atoi((s[1:1+n] + "00")[:3])
			s = s[1+n:]
		}
	}
	offset, ok := zone(s)
	at := date + int64(hour*3600+minute*60+second-offset)*1000 + int64(milli)
	return at, ok
}

// zone returns how many seconds a zone is east of UTC.
func zone(s string) (seconds int, ok bool) {
	if s == "" || s == "Z" {
		return 0, true
	}
	sign := 1
	switch s[0] {
	case '-':
		sign = -1
	case '+':
	default:
		return 0, false
	}
	s = s[1:]
	hours, ok1 := take(&s, 2, 0, 14, "")
	s = strings.TrimPrefix(s, ":")
	minutes, ok2 := take(&s, 2, 0, 59, "")
	return sign * (hours*3600 + minutes*60), ok1 && ok2 && s == ""
}

// take takes a number of so many digits, within bounds, and what follows it.
func take(s *string, digits, least, most int, behind string) (int, bool) {
	if len(*s) < digits || digitsOf((*s)[:digits]) != digits {
		return 0, false
	}
	n, _ := strconv.Atoi((*s)[:digits])
	rest, ok := strings.CutPrefix((*s)[digits:], behind)
	*s = rest
	return n, ok && least <= n && n <= most
}

func daysOf(year, month int) int {
	return time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// spans are the units of durations, the longest first, in seconds. Those that are negative divide.
var spans = [...]struct {
	name    string
	seconds float64
}{{"w", 604800}, {"d", 86400}, {"h", 3600}, {"m", 60}, {"s", 1}, {"ms", -1e3}, {"us", -1e6}, {"ns", -1e9}}

// Duration returns what a text is as a duration, in seconds: numbers with the units w, d, h, m, s, ms, us, ns, each at
// most once and in this order, as 1h30m or 1.5s; or a number alone, which has no sign and no exponent. The parts are
// added up in that order.
func Duration(text string) (float64, bool) {
	if len(text) > maxNumber {
		return 0, false
	}
	if digits, rest := splitNumber(text, false); digits != "" && rest == "" {
		n, err := strconv.ParseFloat(digits, 64)
		return n, err == nil
	}
	total, from := 0.0, 0
	for rest := text; rest != ""; {
		digits, behind := splitNumber(rest, false)
		if digits == "" {
			return 0, false
		}
		n, err := strconv.ParseFloat(digits, 64)
		if err != nil {
			return 0, false
		}
		letters := run(behind, func(r rune) bool { return 'a' <= r && r <= 'z' })
		for from < len(spans) && spans[from].name != behind[:letters] {
			from++
		}
		if from == len(spans) {
			return 0, false
		}
		// The conversion keeps processors from doing both in one step, which rounds differently.
		if s := spans[from].seconds; s < 0 {
			total += float64(n / -s)
		} else {
			total += float64(n * s)
		}
		from++
		rest = behind[letters:]
	}
	return total, text != ""
}

// moment is what a value is as a moment: one as Moment reads it, or one that is told from now on: now, now-7d, now+1h,
// -7d, +1h.
func moment(text string, now time.Time) (int64, bool) {
	if at, ok := Moment(text); ok {
		return at, true
	}
	rest, isNow := strings.CutPrefix(text, "now")
	if isNow && rest == "" {
		return now.UnixMilli(), true
	}
	if rest == "" || rest[0] != '-' && rest[0] != '+' || isDigit(rest[len(rest)-1]) {
		return 0, false
	}
	seconds, ok := Duration(rest[1:])
	if !ok || seconds > 1e10 {
		return 0, false
	}
	if rest[0] == '-' {
		seconds = -seconds
	}
	return now.UnixMilli() + int64(seconds*1000), true
}

func isTime(text string) bool {
	_, ok := moment(text, time.Time{})
	return ok
}

// Bound is what an ordering comparison holds values against.
type Bound struct {
	// As says how: as a Text, byte by byte; as a Numeric by Number; as a Time by Moment; as a Span by
	// Duration. Values that are no such thing do not hold.
	As Kind
	// Text is for Text, Number for Numeric and Span (in seconds), Moment for Time (in milliseconds since 1970).
	Text   string
	Number float64
	Moment int64
}

// Bound returns what the only value of an ordering comparison, or of Equal with a fixed field that is a Time, is held against, given
// the kind that the field's values were seen to be. The form of the value decides, and the kind only where it has several.
func (c *Compare) Bound(kind Kind, now time.Time) Bound {
	return c.Field.bound(c.Values[0].Text, kind, now)
}

func (f Field) bound(text string, kind Kind, now time.Time) Bound {
	if f.Space == Fixed {
		kind = f.kind()
	}
	if f.Space == Fixed && kind == Text {
		return Bound{As: Text, Text: text}
	}
	at, isMoment := moment(text, now)
	number, isNumber := Number(text)
	seconds, isSpan := Duration(text)
	switch {
	case isSpan && kind == Span:
		return Bound{As: Span, Number: seconds}
	case isNumber && kind == Numeric:
		return Bound{As: Numeric, Number: number}
	case isMoment:
		return Bound{As: Time, Moment: at}
	case isNumber:
		return Bound{As: Numeric, Number: number}
	case isSpan:
		return Bound{As: Span, Number: seconds}
	}
	return Bound{As: Text, Text: text}
}

// holds reports whether a value of a field stands to the bound as the operator says.
func (b Bound) holds(op Op, value string) bool {
	switch b.As {
	case Numeric:
		n, ok := Number(value)
		return ok && ordered(op, compare(n, b.Number))
	case Time:
		at, ok := Moment(value)
		return ok && ordered(op, compare(at, b.Moment))
	case Span:
		n, ok := Duration(value)
		return ok && ordered(op, compare(n, b.Number))
	}
	return ordered(op, strings.Compare(value, b.Text))
}

func compare[T int64 | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func ordered(op Op, c int) bool {
	switch op {
	case Less:
		return c < 0
	case LessEqual:
		return c <= 0
	case Greater:
		return c > 0
	case GreaterEqual:
		return c >= 0
	}
	return c == 0
}
